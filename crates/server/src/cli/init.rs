//! `postrider init`

use super::Context;
use super::user::PasswordFrom;
use crate::admin::{alias, domain, user};
use crate::config::{Config, DEFAULT_DATA};
use crate::failure::{Code, Failure, Result};
use crate::secret::ask;
use clap::Args;
use serde_json::json;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

#[derive(Debug, Args)]
pub(super) struct Init {
    /// The name this server gives itself, e.g. mail.example.org
    #[arg(long, value_name = "NAME")]
    hostname: Option<String>,
    /// The first domain whose mail is ours, e.g. example.org
    #[arg(long, value_name = "DOMAIN")]
    domain: Option<String>,
    /// The first user, e.g. ann@example.org
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<String>,
    /// Ask nothing: what is not said gets its default
    #[arg(long)]
    non_interactive: bool,
    /// Overwrite a config file that exists
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    password: PasswordFrom,
}

/// What was decided.
struct Plan {
    hostname: String,
    domain: Option<String>,
    admin: Option<String>,
    data: PathBuf,
}

impl Init {
    pub(super) fn run(self, context: &Context) -> Result<()> {
        let path = context.global.config.clone();
        if path.exists() && !self.force {
            let exists = Failure::new(Code::Exists, format!("{} exists already", path.display()));
            return Err(exists.hint("say --force to overwrite it, or name another with --config FILE"));
        }
        let plan = self.plan(context)?;
        let text = config_text(&plan);
        Config::parse(&path, &text)?;
        // Asked for before anything is written: an empty password leaves nothing half done.
        let password = plan.admin.as_ref().map(|admin| self.password.read(context, admin)).transpose()?;
        if context.global.dry_run {
            crate::output::print(&text);
            return Ok(());
        }
        write_config(&path, &text, self.force)?;
        crate::wire_up::make_private_directory(&plan.data)?;
        let link = crate::admin::link::Link::open(&plan.data, context.mail_settings()?, false)?;
        if let Some(name) = &plan.domain {
            ignore_existing(link.call(domain::Add { domain: name.clone() }))?;
        }
        if let (Some(admin), Some(password)) = (&plan.admin, &password) {
            let add = user::Add {
                address: admin.clone(),
                name: String::new(),
                password: password.clone(),
                quota_octets_max: None,
                create_domain: true,
            };
            ignore_existing(link.call(add))?;
            // Every domain has one (RFC 5321 §4.5.1), and reports go there.
            if let Some((name, domain)) = admin.rsplit_once('@')
                && !name.eq_ignore_ascii_case("postmaster")
            {
                let address = format!("postmaster@{domain}");
                ignore_existing(link.call(alias::Add { address, targets: vec![admin.clone()] }))?;
            }
        }
        let made = password.as_ref().and_then(|password| self.password.made(password));
        report(context, &path, &plan, made);
        Ok(())
    }

    fn plan(&self, context: &Context) -> Result<Plan> {
        let data = context.global.data.clone().unwrap_or_else(|| PathBuf::from(DEFAULT_DATA));
        // The server may be started from anywhere.
        let data = std::path::absolute(&data).unwrap_or(data);
        let answer = |given: &Option<String>, question: &str, default: &str| match given {
            Some(given) => Ok(given.clone()),
            None if self.non_interactive => Ok(default.to_owned()),
            None => ask(question, default),
        };
        let hostname = answer(&self.hostname, "name of this server", &machine_name())?;
        crate::admin::domain_name(&hostname)?;
        let parent = hostname.split_once('.').map_or("", |(_, parent)| parent).to_owned();
        let domain = answer(&self.domain, "domain whose mail it takes", if self.non_interactive { "" } else { &parent })?;
        let first = if domain.is_empty() || self.non_interactive { String::new() } else { format!("postmaster@{domain}") };
        let admin = answer(&self.admin, "first user", &first)?;
        Ok(Plan { hostname, domain: non_empty(domain, crate::admin::domain_name)?, admin: non_empty(admin, crate::admin::address)?, data })
    }
}

fn non_empty<T>(text: String, check: impl Fn(&str) -> Result<T>) -> Result<Option<String>> {
    if text.is_empty() {
        return Ok(None);
    }
    check(&text)?;
    Ok(Some(text))
}

fn machine_name() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    if crate::admin::domain_name(&name).is_ok() { name } else { "localhost".to_owned() }
}

fn ignore_existing<T>(result: Result<T>) -> Result<()> {
    match result {
        Err(failure) if failure.code != Code::Exists => Err(failure),
        _ => Ok(()),
    }
}

fn config_text(plan: &Plan) -> String {
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let mut text = format!(
        "# Postrider's settings. All keys: `postrider config schema`. After a change: `postrider reload`.\n\nhostname = {}\ndata = {}\n",
        quoted(&plan.hostname),
        quoted(&plan.data.display().to_string())
    );
    text.push_str(
        "\n# A certificate that clients trust. Until it is set a self-signed one is used.\n# [tls]\n# certificate = \"/etc/ssl/mail/fullchain.pem\"\n# key = \"/etc/ssl/mail/key.pem\"\n\n",
    );
    for listener in crate::config::Listener::standard() {
        let (protocol, address) = (listener.protocol, listener.address);
        text.extend(["[[listener]]\nprotocol = \"", protocol.name(), "\"\naddress = \"", &address.to_string(), "\"\n\n"]);
    }
    text.trim_end().to_owned() + "\n"
}

fn write_config(path: &Path, text: &str, force: bool) -> Result<()> {
    let unable = |error: std::io::Error| Failure::failed(&format!("cannot write {}", path.display()), error);
    if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
        std::fs::create_dir_all(directory).map_err(unable)?;
    }
    let mut options = std::fs::OpenOptions::new();
    options.write(true).mode(0o644);
    if force {
        options.create(true).truncate(true)
    } else {
        options.create_new(true)
    };
    options.open(path).and_then(|mut file| file.write_all(text.as_bytes())).map_err(unable)
}

fn report(context: &Context, path: &Path, plan: &Plan, made: Option<&str>) {
    let json = json!({ "config": path, "data": plan.data, "hostname": plan.hostname, "domain": plan.domain, "admin": plan.admin, "password": made });
    let mut words = format!("wrote {}\nmade  {}", path.display(), plan.data.display());
    if let Some(admin) = &plan.admin {
        let password = made.map(|password| format!(", password {password}")).unwrap_or_default();
        words.extend(["\nadded ", admin, &password]);
    }
    let option = if path == Path::new(crate::config::DEFAULT_PATH) { String::new() } else { format!("--config {} ", path.display()) };
    words.extend(["\n\nNext: postrider ", &option, "serve"]);
    if let Some(domain) = plan.domain.as_deref().or_else(|| Some(plan.admin.as_deref()?.rsplit_once('@')?.1)) {
        words.extend([
            "\nDNS:  postrider ",
            &option,
            "domain records ",
            domain,
            " prints what to publish, domain check ",
            domain,
            " says whether it is there",
        ]);
    }
    context.printer.done(&json, &words);
}
