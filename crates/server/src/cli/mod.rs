//! The command line: one file for each command, one table of them here.
//!
//! Results go to standard output, everything else to standard error; the exit code is 0 done,
//! 1 failed, 2 usage, 3 not found, 4 a check found problems, 5 the server cannot be reached.
//!
//! Invariant: no secret is ever an argument.

mod alias;
mod ban;
mod check;
mod check_dnsbl;
mod completions;
mod config;
mod demo;
mod detour;
mod dkim;
mod domain;
mod domain_check;
mod explain;
mod init;
mod mailbox;
mod outbound;
mod policy;
mod queue;
mod rejects;
mod reload;
mod report;
mod serve;
mod sim;
mod source;
mod status;
mod store;
mod suppression;
mod token;
mod trace;
mod user;
mod version;

use crate::admin::Operation;
use crate::admin::link::Link;
use crate::config::{Config, DEFAULT_PATH, Listener, Protocol};
use crate::failure::{Code, Result};
use crate::output::{Format, Printer};
use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand};
use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

/// Postrider: a complete mail server in one binary.
#[derive(Debug, Parser)]
#[command(name = "postrider", version, propagate_version = true, infer_long_args = false, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// What every command understands.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
struct Global {
    /// The config file
    #[arg(long, global = true, env = "POSTRIDER_CONFIG", value_name = "FILE", default_value = DEFAULT_PATH, help_heading = "Global options")]
    config: PathBuf,
    /// The data directory, instead of the one that the config file names
    #[arg(long, global = true, value_name = "DIR", help_heading = "Global options")]
    data: Option<PathBuf>,
    /// The form of the output
    #[arg(long, global = true, value_enum, default_value_t, value_name = "FORM", help_heading = "Global options")]
    output: Format,
    /// Print results only
    #[arg(long, short, global = true, help_heading = "Global options")]
    quiet: bool,
    /// No bold and no colour (also: `NO_COLOR` in the environment)
    #[arg(long, global = true, help_heading = "Global options")]
    no_color: bool,
    /// Answer every question with yes
    #[arg(long, short, global = true, help_heading = "Global options")]
    yes: bool,
    /// Try a change and show what it would do, but do not do it
    #[arg(long, global = true, help_heading = "Global options")]
    dry_run: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server
    Serve(serve::Serve),
    /// Run a server on loopback ports with two accounts and sample mail, to try things out
    Demo(demo::Demo),
    /// Make a config file, a data directory, a domain and its first account
    Init(init::Init),
    /// Show how the running server is
    Status(status::Status),
    /// Have the running server read its config and certificates again
    Reload(reload::Reload),
    /// Domains whose mail is ours
    #[command(subcommand)]
    Domain(domain::Domain),
    /// The keys that sign mail (DKIM)
    #[command(subcommand)]
    Dkim(dkim::Dkim),
    /// Users: accounts with mailboxes and a login
    #[command(subcommand)]
    User(user::User),
    /// Access tokens: passwords for single programs, made and revoked one by one
    #[command(subcommand)]
    Token(token::Token),
    /// Networks whose connections are not taken
    #[command(subcommand)]
    Ban(ban::Ban),
    /// Addresses that lead to users and to addresses elsewhere
    #[command(subcommand)]
    Alias(alias::Alias),
    /// Mailboxes that users share
    #[command(subcommand)]
    Mailbox(mailbox::Mailbox),
    /// Mail that waits for other servers
    #[command(subcommand)]
    Queue(queue::Queue),
    /// Mail that was refused and is kept for a while for those it was for
    #[command(subcommand)]
    Rejects(rejects::Rejects),
    /// Addresses elsewhere that get no mail, because it failed too often
    #[command(subcommand)]
    Suppression(suppression::Suppression),
    /// The addresses that mail goes out from
    #[command(subcommand)]
    Source(source::Source),
    /// Domains whose mail goes over the relay, because their servers refuse our address
    #[command(subcommand)]
    Detour(detour::Detour),
    /// What users send: how much, what they may, and what is held
    #[command(subcommand)]
    Outbound(outbound::Outbound),
    /// Show everything that happened to a message
    Trace(trace::Trace),
    /// Explain why a message went where it went, accepted or refused, or try one that nobody sends
    Explain(explain::Explain),
    /// What decides about mail: try other settings on what came
    #[command(subcommand)]
    Policy(policy::Policy),
    /// Show what a delivery to another server would do about TLS, step by step
    #[command(subcommand)]
    Check(check::Check),
    /// Reports of other servers
    #[command(subcommand)]
    Report(report::Report),
    /// The store: check it, measure it
    #[command(subcommand)]
    Store(store::StoreCommand),
    /// The config file: check it, show it, explain its keys
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// A simulated internet: try what servers do when things go wrong
    #[command(subcommand)]
    Sim(sim::Sim),
    /// Print a completion script for a shell
    Completions(completions::Completions),
    /// Show the version
    Version(version::Version),
}

/// Parses the command line, runs the command and says how it went.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return refuse(&error),
    };
    let context = Context::new(cli.global);
    match run(cli.command, &context) {
        Ok(code) => code,
        Err(failure) => {
            context.printer.failure(&failure);
            failure.exit()
        }
    }
}

/// What clap says: help and version are no failures. In JSON the refusal is an object like any other.
fn refuse(error: &clap::Error) -> ExitCode {
    let shown = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    let words: Vec<String> = std::env::args().collect();
    let json = words.iter().any(|word| word == "--output=json" || word == "--output=ndjson")
        || words.windows(2).any(|pair| matches!(pair, [option, form] if option == "--output" && form != "table"));
    if json && !shown {
        let text = error.render().to_string();
        let (message, hint) = text.split_once("\n\n").unwrap_or((text.trim(), ""));
        let failure = crate::failure::Failure::usage(message.trim_start_matches("error: ").trim()).hint(hint.trim());
        crate::output::print_json_line(&serde_json::json!({ "error": failure }));
    } else {
        let _gone = error.print();
    }
    ExitCode::from(if shown { 0 } else { Code::Usage.exit() })
}

fn run(command: Command, context: &Context) -> Result<ExitCode> {
    match command {
        Command::Serve(serve) => serve.run(context)?,
        Command::Demo(demo) => demo.run(context)?,
        Command::Init(init) => init.run(context)?,
        Command::Status(_) => status::Status::run(context)?,
        Command::Reload(_) => reload::Reload::run(context)?,
        Command::Domain(domain) => return domain.run(context),
        Command::Dkim(dkim) => dkim.run(context)?,
        Command::User(user) => user.run(context)?,
        Command::Token(token) => token.run(context)?,
        Command::Ban(ban) => ban.run(context)?,
        Command::Alias(alias) => alias.run(context)?,
        Command::Mailbox(mailbox) => mailbox.run(context)?,
        Command::Queue(queue) => queue.run(context)?,
        Command::Rejects(rejects) => rejects.run(context)?,
        Command::Suppression(suppression) => suppression.run(context)?,
        Command::Source(source) => source.run(context)?,
        Command::Detour(detour) => detour.run(context)?,
        Command::Outbound(outbound) => outbound.run(context)?,
        Command::Trace(trace) => trace.run(context)?,
        Command::Explain(explain) => explain.run(context)?,
        Command::Policy(policy) => policy.run(context)?,
        Command::Check(check) => return check.run(context),
        Command::Report(report) => report.run(context)?,
        Command::Store(store) => return store.run(context),
        Command::Config(config) => config.run(context)?,
        Command::Sim(sim) => return sim.run(context),
        Command::Completions(completions) => completions.run(),
        Command::Version(_) => version::Version::run(context),
    }
    Ok(ExitCode::SUCCESS)
}

/// What a command has at hand.
struct Context {
    printer: Printer,
    global: Global,
}

impl Context {
    fn new(global: Global) -> Self {
        let colour =
            !global.no_color && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()) && std::io::stdout().is_terminal();
        Self { printer: Printer { format: global.output, quiet: global.quiet, colour }, global }
    }

    /// The config, with what the command line says instead.
    fn config(&self) -> Result<Config> {
        let mut config = Config::load(&self.global.config)?;
        if let Some(data) = &self.global.data {
            config.data.clone_from(data);
        }
        Ok(config)
    }

    /// The data directory: no config is needed where the command line names it.
    fn data(&self) -> Result<PathBuf> {
        match &self.global.data {
            Some(data) => Ok(data.clone()),
            None => Ok(self.config()?.data),
        }
    }

    /// To the running server, or to the store.
    fn link(&self) -> Result<Link> {
        Link::open(&self.data()?, self.mail_settings()?, self.global.dry_run)
    }

    /// By which reports are made if no server runs: the config's, or defaults where there is none.
    fn mail_settings(&self) -> Result<mta::Settings> {
        match Config::load(&self.global.config) {
            Ok(config) => crate::mail_path::settings(&config),
            Err(_) => Ok(mta::Settings::new(crate::admin::domain_name("localhost")?)),
        }
    }

    /// Has an operation done.
    fn call<O: Operation>(&self, operation: O) -> Result<O::Answer> {
        self.link()?.call(operation)
    }

    /// `Added` or, in a dry run, `Would have added`.
    fn did(&self, done: &str, would: &str) -> String {
        if self.global.dry_run { format!("would {would}") } else { done.to_owned() }
    }
}

/// `--listen smtp=127.0.0.1:2525`
#[derive(Debug, Clone, Copy)]
pub(crate) struct Listen {
    protocol: Protocol,
    address: SocketAddr,
}

impl std::str::FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let (protocol, address) = text.split_once('=').ok_or("expected PROTOCOL=ADDRESS:PORT, e.g. smtp=127.0.0.1:2525")?;
        let address =
            address.parse().map_err(|_| format!("{address:?} is no address and port: expected e.g. 127.0.0.1:2525 or [::1]:0"))?;
        Ok(Self { protocol: protocol.parse()?, address })
    }
}

/// Settings that `serve` and `demo` take on the command line as well.
#[derive(Debug, Args)]
struct Overrides {
    /// Listen here, instead of where the config says for this protocol; may be repeated
    #[arg(long, value_name = "PROTOCOL=ADDRESS:PORT")]
    listen: Vec<Listen>,
    /// Ask this DNS resolver instead of the configured ones; may be repeated
    #[arg(long, value_name = "ADDRESS:PORT")]
    dns: Vec<SocketAddr>,
    /// Trust these authorities in outbound TLS, besides the system's (PEM)
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// Reach other domains' MX hosts on this port
    #[arg(long, value_name = "PORT")]
    outbound_port: Option<u16>,
    /// Make connections to other servers from this address
    #[arg(long, value_name = "ADDRESS")]
    source_address: Option<std::net::IpAddr>,
    /// How much is logged: error, warn, info, debug, trace, or a filter such as "info,mta=debug"
    #[arg(long, value_name = "LEVEL", env = "POSTRIDER_LOG")]
    log: Option<String>,
    /// The form of log lines
    #[arg(long, value_enum, value_name = "FORM")]
    log_format: Option<crate::config::LogFormat>,
}

impl Overrides {
    fn apply(&self, config: &mut Config) {
        for listen in &self.listen {
            let networks = config.listener.iter().find(|l| l.protocol == listen.protocol).map(|l| l.proxy_protocol_from.clone());
            let again = self.listen.iter().take_while(|other| !std::ptr::eq(*other, listen)).any(|other| other.protocol == listen.protocol);
            if !again {
                config.listener.retain(|listener| listener.protocol != listen.protocol);
            }
            let mut listener = Listener::new(listen.protocol, listen.address);
            listener.proxy_protocol_from = networks.unwrap_or_default();
            config.listener.push(listener);
        }
        if !self.dns.is_empty() {
            config.dns.clone_from(&self.dns);
        }
        if let Some(file) = &self.ca_file {
            config.tls.ca_file = Some(file.clone());
        }
        config.outbound_port = self.outbound_port.unwrap_or(config.outbound_port);
        config.source_address = self.source_address.or(config.source_address);
        config.log.format = self.log_format.unwrap_or(config.log.format);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commands_are_well_formed() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn ports_on_the_command_line_replace_those_of_their_protocol() {
        let mut config = Config::new(mail::Domain::parse("h").unwrap(), PathBuf::from("/d"));
        let others = config.listener.len() - 1;
        let cli = Cli::parse_from([
            "postrider",
            "serve",
            "--listen",
            "smtp=127.0.0.1:1",
            "--listen",
            "smtp=[::1]:2",
            "--listen",
            "lmtp=127.0.0.1:3",
        ]);
        let Command::Serve(serve) = cli.command else { panic!("serve") };
        serve.overrides().apply(&mut config);
        let smtp: Vec<String> = config.listener.iter().filter(|l| l.protocol == Protocol::Smtp).map(|l| l.address.to_string()).collect();
        assert_eq!(smtp, ["127.0.0.1:1", "[::1]:2"]);
        assert_eq!(config.listener.len(), others + 3);
    }
}
