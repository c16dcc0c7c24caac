//! `postrider demo`

use super::{Context, Overrides};
use crate::config::{Config, Listener, LogLevel, Network, Protocol};
use crate::demo::{self, Account};
use crate::failure::{Failure, Result};
use crate::output::{Format, print, print_json_line, whole};
use crate::signals::Signals;
use crate::wire_up::{Port, Server, self_sign, self_signed_files};
use clap::Args;
use serde::Serialize;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;

/// The ports that are tried first; a free one is taken where one is in use.
const PORTS: [(Protocol, u16); 8] = [
    (Protocol::Smtp, 2525),
    (Protocol::Submission, 2587),
    (Protocol::Submissions, 2465),
    (Protocol::Imap, 2143),
    (Protocol::Imaps, 2993),
    (Protocol::Pop3, 2110),
    (Protocol::Pop3s, 2995),
    (Protocol::Metrics, 2464),
];

#[derive(Debug, Args)]
pub(super) struct Demo {
    #[command(flatten)]
    overrides: Overrides,
}

/// What is printed first with `--output json`.
#[derive(Serialize)]
struct Started {
    listeners: Vec<ListenerView>,
    accounts: Vec<Account>,
    ca_file: PathBuf,
    data: PathBuf,
}

#[derive(Serialize)]
struct ListenerView {
    name: String,
    address: String,
}

impl Demo {
    pub(super) fn run(self, context: &Context) -> Result<()> {
        let place = Place::new(context.global.data.clone())?;
        let mut config = config(&place.data)?;
        let pair = self_sign(&config)?;
        (config.tls.certificate, config.tls.key) = (Some(pair.certificate), Some(pair.key));
        self.overrides.apply(&mut config);
        crate::logging::start(&config.log, self.overrides.log.as_deref())?;
        crate::machine::raise_open_files();
        let printer = context.printer;
        super::serve::runtime()?.block_on(async move {
            let signals = Signals::listen()?;
            let server = Server::start(config, None, None, None).await?;
            let store = server.store().clone();
            let accounts = tokio::task::spawn_blocking(move || demo::furnish(&store)).await;
            let accounts = accounts.map_err(|error| Failure::failed("the demo's mail cannot be made", error))??;
            let started = started(&server.ports(), accounts, &place);
            match printer.format {
                Format::Table => greet(&started, &place, printer),
                _ => print_json_line(&started),
            }
            signals.run(server).await
        })
    }
}

/// Where the demo keeps its data; a temporary directory goes with it.
struct Place {
    data: PathBuf,
    temporary: bool,
}

impl Place {
    fn new(data: Option<PathBuf>) -> Result<Self> {
        if let Some(data) = data {
            crate::wire_up::make_private_directory(&data)?;
            let data = std::fs::canonicalize(&data).unwrap_or(data);
            return Ok(Self { data, temporary: false });
        }
        let data = std::env::temp_dir().join(format!("postrider-demo-{}", crate::random::nonce()?.get(..8).unwrap_or_default()));
        crate::wire_up::make_private_directory(&data)?;
        Ok(Self { data, temporary: true })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.temporary {
            let _left_behind = std::fs::remove_dir_all(&self.data);
        }
    }
}

fn config(data: &std::path::Path) -> Result<Config> {
    let hostname = crate::admin::domain_name(&format!("mx.{}", demo::DOMAIN))?;
    let mut config = Config::new(hostname, data.to_owned());
    config.listener = PORTS.iter().map(|(protocol, port)| Listener::new(*protocol, free(*port))).collect();
    config.allow_plaintext_login = ["127.0.0.0/8", "::1"].iter().filter_map(|text| text.parse::<Network>().ok()).collect();
    config.log.level = LogLevel::Warn;
    Ok(config)
}

/// The port on the loopback address, or 0 (any free one) if it is taken.
fn free(port: u16) -> SocketAddr {
    let wanted = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    if TcpListener::bind(wanted).is_ok() { wanted } else { SocketAddr::from((Ipv4Addr::LOCALHOST, 0)) }
}

fn started(ports: &[Port], accounts: Vec<Account>, place: &Place) -> Started {
    let view = |port: &Port| ListenerView { name: port.protocol.to_string(), address: port.address.to_string() };
    Started { listeners: ports.iter().map(view).collect(), accounts, ca_file: self_signed_files(&place.data).0, data: place.data.clone() }
}

fn greet(started: &Started, place: &Place, printer: crate::output::Printer) {
    print("Postrider is running. Nothing it does leaves this machine unless you send mail to other domains.\n");
    printer.list(&started.listeners, &[whole("listener"), whole("address")], |l| vec![l.name.clone(), l.address.clone()]);
    print("");
    printer.list(&started.accounts, &[whole("account"), whole("password")], |a| vec![a.address.clone(), a.password.clone()]);
    print(&format!(
        "\ncertificate  {}\ndata         {}{}\n",
        started.ca_file.display(),
        started.data.display(),
        if place.temporary { " (goes when the demo ends)" } else { "" }
    ));
    let lines = to_try(started);
    if !lines.is_empty() {
        print("To try, in another terminal:\n");
        for line in lines {
            print(&format!("  {line}"));
        }
    }
    print("\nCtrl+C stops it.");
}

/// A line to paste for each protocol that is listened on.
fn to_try(started: &Started) -> Vec<String> {
    let [first, second] = started.accounts.as_slice() else { return Vec::new() };
    let (ann, bob, password) = (&first.address, &second.address, &first.password);
    let ca = started.ca_file.display();
    let submit = |url: &str| {
        let letter = "printf 'Subject: hello\\r\\n\\r\\nHi Bob\\r\\n'";
        format!("{letter} | curl -s --url {url} --cacert {ca} -u {ann}:{password} --mail-from {ann} --mail-rcpt {bob} -T -")
    };
    let line = |listener: &ListenerView| {
        let (host, port) = listener.address.rsplit_once(':')?;
        let at = &listener.address;
        Some(match listener.name.as_str() {
            "smtp" => format!("swaks --server {host} --port {port} --from you@elsewhere.example --to {ann}"),
            "submission" => submit(&format!("smtp://{at} --ssl-reqd")),
            "submissions" => submit(&format!("smtps://{at}")),
            "imap" => format!("curl -s --url imap://{at}/INBOX -u {ann}:{password} -X 'STATUS INBOX (MESSAGES UNSEEN)'"),
            "imaps" => format!("curl -s --url 'imaps://{at}/INBOX;MAILINDEX=1' -u {ann}:{password} --cacert {ca}"),
            "pop3" => format!("curl -s --url pop3://{at}/ -u {ann}:{password}"),
            "pop3s" => format!("curl -s --url pop3s://{at}/1 -u {ann}:{password} --cacert {ca}"),
            "metrics" => format!("curl -s http://{at}/metrics"),
            _ => return None,
        })
    };
    let mut lines: Vec<String> = started.listeners.iter().filter_map(line).collect();
    lines.push(format!("postrider --data {} user list", started.data.display()));
    lines
}
