//! The config file: one short TOML file, parsed once into a value.
//!
//! Every key has a default but `hostname`; [`keys::KEYS`] is the reference of them all, and a test
//! keeps the two in step. A bad file is refused with its line, its key and what was expected.
//!
//! Invariant: a [`Config`] is a value. Reload makes a new one and swaps it; a session keeps the one
//! it started with.

pub mod advisers;
pub mod keys;
pub mod list;
pub mod outbound;
pub mod problem;
pub mod queue_limit;
pub mod rejects;
pub mod relay;
pub mod returns;
pub mod sign_in;
pub mod source;
pub mod transport;
pub mod tried;
pub mod value;

pub use advisers::{Milter, MtaHook};
pub use list::{FirstContact, List};
pub use outbound::Outbound;
pub use problem::Problem;
pub use queue_limit::QueueLimit;
pub use rejects::Rejects;
pub use relay::RelayFallback;
pub use returns::{Bounces, Forwarding};
pub use sign_in::SignIn;
pub use source::Source;
pub use transport::Transport;
pub use value::{Network, NotASpan, Octets, Rate, Span};

use mail::Domain;
use mta::route::{Pattern, Target};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Where the config file is, unless `--config` or `POSTRIDER_CONFIG` says otherwise.
pub const DEFAULT_PATH: &str = "/etc/postrider/postrider.toml";

/// Where the mail is, unless the config says otherwise.
pub const DEFAULT_DATA: &str = "/var/lib/postrider";

/// Everything an operator can set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The name this server gives itself.
    pub hostname: Domain,
    /// The data directory.
    #[serde(default = "default_data")]
    pub data: PathBuf,
    /// Networks whose clients may send a password without TLS.
    #[serde(default)]
    pub allow_plaintext_login: Vec<Network>,
    /// Networks whose hosts may send anywhere through the MX port without signing in.
    #[serde(default)]
    pub relay_networks: Vec<Network>,
    /// Networks of proxies that may say by XCLIENT for whom they speak.
    #[serde(default)]
    pub xclient_from: Vec<Network>,
    /// Whether VRFY tells users and relay networks which addresses there are, and EXPN who is behind them.
    #[serde(default)]
    pub vrfy: bool,
    /// Addresses with a detail, `user+detail@domain`.
    #[serde(default)]
    pub subaddress: Subaddress,
    /// Resolvers; none means the system's.
    #[serde(default)]
    pub dns: Vec<SocketAddr>,
    /// The port of other servers' MX hosts.
    #[serde(default = "smtp_port")]
    pub outbound_port: u16,
    /// Names besides the hostname under which MX records know this server.
    #[serde(default)]
    pub own_names: Vec<Domain>,
    /// Where our connections to other servers come from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_address: Option<IpAddr>,
    /// Certificate, key and trust.
    #[serde(default)]
    pub tls: TlsFiles,
    /// The security of mail on its way to other servers.
    #[serde(default)]
    pub transport: Transport,
    /// Who mail is from.
    #[serde(default)]
    pub authentication: Authentication,
    /// Mail that addresses of ours lead elsewhere.
    #[serde(default)]
    pub forwarding: Forwarding,
    /// What comes back.
    #[serde(default)]
    pub bounces: Bounces,
    /// Who takes the mail for domains whose servers refuse our address.
    #[serde(default)]
    pub relay_fallback: RelayFallback,
    /// How long and how often.
    #[serde(default)]
    pub queue: Queue,
    /// What a peer may use up.
    #[serde(default)]
    pub limits: Limits,
    /// How long it is known what became of messages.
    #[serde(default)]
    pub trail: Trail,
    /// `[dkim]`
    #[serde(default)]
    pub dkim: Dkim,
    /// What is written to the log.
    #[serde(default)]
    pub log: Log,
    /// What users may send.
    #[serde(default)]
    pub outbound: Outbound,
    /// What becomes of failed sign-ins.
    #[serde(default)]
    pub sign_in: SignIn,
    /// Bearer tokens.
    #[serde(default)]
    pub oauth: OAuth,
    /// Telling wanted mail from unwanted.
    #[serde(default)]
    pub filter: Filter,
    /// Keeping what was refused.
    #[serde(default)]
    pub rejects: Rejects,
    /// POP3.
    #[serde(default)]
    pub pop3: Pop3,
    /// Ports.
    #[serde(default = "Listener::standard")]
    pub listener: Vec<Listener>,
    /// Block and allow lists.
    #[serde(default)]
    pub list: Vec<List>,
    /// Mail that does not go by MX.
    #[serde(default)]
    pub route: Vec<Route>,
    /// Programs that are asked about mail, by the milter protocol.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub milter: Vec<Milter>,
    /// The same, by MTA hooks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mta_hook: Vec<MtaHook>,
    /// From which of our addresses mail goes out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub source: Vec<Source>,
}

fn default_data() -> PathBuf {
    PathBuf::from(DEFAULT_DATA)
}

const fn smtp_port() -> u16 {
    25
}

/// `[filter]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Filter {
    /// Whether mail from other servers is judged.
    pub check: bool,
    /// From so many points on it goes to Junk.
    pub junk_points: u16,
    /// From so many points on it is refused; 0: never.
    pub reject_points: u16,
    /// Whether the filter learns from what users do.
    pub learn: bool,
    /// Addresses that nobody was ever given.
    pub traps: Vec<String>,
    /// What is done about hosts that never brought such mail.
    pub first_contact: FirstContact,
    /// By how much they are slowed.
    pub slow_by: Span,
    /// For how long they are put off.
    pub grey_for: Span,
}

impl Default for Filter {
    fn default() -> Self {
        let (traps, first_contact) = (Vec::new(), FirstContact::Off);
        let (slow_by, grey_for) = (Span::seconds(15), Span::minutes(5));
        Self { check: true, junk_points: 5, reject_points: 0, learn: true, traps, first_contact, slow_by, grey_for }
    }
}

/// `[authentication]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Authentication {
    /// Whether it is found out who mail is from.
    pub check: bool,
    /// What becomes of mail that its author's domain does not stand for.
    pub dmarc: Dmarc,
    /// Whether organizations are found by the list of public suffixes.
    pub public_suffixes: bool,
    /// Whether authors' domains get reports.
    pub reports: bool,
    /// How long one message may wait for DNS.
    pub wait: Span,
}

impl Default for Authentication {
    fn default() -> Self {
        Self { check: true, dmarc: Dmarc::Obey, public_suffixes: false, reports: true, wait: Span::seconds(20) }
    }
}

/// What becomes of mail that its author's domain does not stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dmarc {
    /// What the domain asks.
    Obey,
    /// It goes to Junk.
    Junk,
    /// Nothing.
    Ignore,
}

/// `[tls]`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TlsFiles {
    /// PEM file of the certificate and its chain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<PathBuf>,
    /// PEM file of the private key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
    /// PEM file of further authorities to trust in outbound TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
}

/// `[queue]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Queue {
    /// Waits between attempts; the last one is repeated.
    pub retry: Vec<Span>,
    /// How long delivery is tried.
    pub lifetime: Span,
    /// When the sender is told that it takes long.
    pub delay_warning: Span,
    /// Connections to other servers at once in all.
    pub connections: u32,
    /// Connections at once to one destination.
    pub connections_per_destination: u32,
    /// Messages over one connection.
    pub messages_per_connection: u32,
    /// How long a connection may take to open.
    pub connect_timeout: Span,
    /// How far ahead mail may be submitted; 0 is not at all.
    pub hold: Span,
    /// What single destinations and providers are allowed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub limits: Vec<QueueLimit>,
}

impl Default for Queue {
    fn default() -> Self {
        Self {
            retry: [5, 10, 20, 40, 60, 120, 180, 240].map(Span::minutes).to_vec(),
            lifetime: Span::days(5),
            delay_warning: Span::hours(4),
            connections: 200,
            connections_per_destination: 20,
            messages_per_connection: 200,
            connect_timeout: Span::seconds(30),
            hold: Span::days(60),
            limits: Vec::new(),
        }
    }
}

/// `[limits]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Largest message.
    pub message_octets: Octets,
    /// Connections at once in all.
    pub connections: usize,
    /// Connections at once from one address.
    pub connections_per_address: usize,
    /// Recipients of one message.
    pub recipients: usize,
    /// How long an SMTP client may be silent.
    pub smtp_idle: Span,
    /// How long an IMAP client may be silent.
    pub imap_idle: Span,
    /// Messages that one IMAP command works on; 0 is no limit.
    pub imap_messages: u32,
    /// How long a POP3 client may be silent.
    pub pop3_idle: Span,
    /// How long connections may go on after a request to stop.
    pub shutdown: Span,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message_octets: Octets(50 << 20),
            connections: 20_000,
            connections_per_address: 200,
            recipients: 1_000,
            smtp_idle: Span::minutes(5),
            imap_idle: Span::minutes(30),
            imap_messages: 0,
            pop3_idle: Span::minutes(10),
            shutdown: Span::seconds(10),
        }
    }
}

/// `[trail]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Trail {
    /// How long a trail is kept after its message was accepted.
    pub keep: Span,
}

impl Default for Trail {
    fn default() -> Self {
        Self { keep: Span::days(30) }
    }
}

/// `[dkim]`: keys that sign mail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Dkim {
    /// How old keys are when new ones take their place; zero: never by themselves.
    pub rotate: Span,
    /// How long keys are kept when they no longer sign.
    pub keep: Span,
}

impl Default for Dkim {
    fn default() -> Self {
        Self { rotate: Span::seconds(0), keep: Span::days(14) }
    }
}

impl Dkim {
    /// When keys change.
    pub const fn schedule(&self) -> crate::dkim_rotation::Schedule {
        crate::dkim_rotation::Schedule { rotate: self.rotate.0, keep: self.keep.0 }
    }
}

/// `[oauth]`: signing in with bearer tokens instead of a password.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OAuth {
    /// Whether the tokens of `postrider token add` are bearer tokens too.
    pub own_tokens: bool,
    /// The identity provider's name, as its tokens have it in `iss`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// File of its public keys: a JSON web key set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keys_file: Option<PathBuf>,
    /// One of these must be in a token's `aud`.
    pub audience: Vec<String>,
    /// Which claim is the login.
    pub login_claim: String,
    /// A scope that a token must have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// Where clients learn how to get a token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub discovery_url: Option<String>,
}

impl Default for OAuth {
    fn default() -> Self {
        Self {
            own_tokens: false,
            issuer: None,
            keys_file: None,
            audience: Vec::new(),
            login_claim: "email".to_owned(),
            scope: None,
            discovery_url: None,
        }
    }
}

/// `[pop3]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Pop3 {
    /// The least time between logins of an account.
    pub login_delay: Span,
    /// After how many days messages that a client has fetched are removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expire_days: Option<u32>,
    /// The form of unique ids.
    pub uidl_format: String,
    /// Whether one session at a time has an account's maildrop.
    pub exclusive: bool,
    /// The language of replies.
    pub language: Pop3Language,
}

impl Default for Pop3 {
    fn default() -> Self {
        Self {
            login_delay: Span::seconds(0),
            expire_days: None,
            uidl_format: "dovecot".to_owned(),
            exclusive: true,
            language: Pop3Language::En,
        }
    }
}

/// A language of POP3's replies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the words are the languages' own tags")]
pub enum Pop3Language {
    En,
    De,
}

/// `[log]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// How much.
    pub level: LogLevel,
    /// In which form.
    pub format: LogFormat,
}

impl Default for Log {
    fn default() -> Self {
        Self { level: LogLevel::Info, format: LogFormat::Text }
    }
}

/// How much is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the words are the levels' own names")]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// The form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// What is spoken on a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// SMTP from other servers (port 25).
    Smtp,
    /// SMTP from our accounts, STARTTLS (port 587).
    Submission,
    /// SMTP from our accounts, TLS from the first octet (port 465).
    Submissions,
    /// LMTP from local programs.
    Lmtp,
    /// IMAP with STARTTLS (port 143).
    Imap,
    /// IMAP, TLS from the first octet (port 993).
    Imaps,
    /// POP3 with STLS (port 110).
    Pop3,
    /// POP3, TLS from the first octet (port 995).
    Pop3s,
    /// HTTPS: the MTA-STS policy of our domains, nothing else (port 443).
    #[serde(rename = "mta-sts")]
    MtaSts,
    /// Prometheus metrics over HTTP.
    Metrics,
}

impl Protocol {
    /// Every protocol.
    pub const ALL: [Self; 10] = [
        Self::Smtp,
        Self::Submission,
        Self::Submissions,
        Self::Lmtp,
        Self::Imap,
        Self::Imaps,
        Self::Pop3,
        Self::Pop3s,
        Self::MtaSts,
        Self::Metrics,
    ];

    /// Its word in the config file.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Smtp => "smtp",
            Self::Submission => "submission",
            Self::Submissions => "submissions",
            Self::Lmtp => "lmtp",
            Self::Imap => "imap",
            Self::Imaps => "imaps",
            Self::Pop3 => "pop3",
            Self::Pop3s => "pop3s",
            Self::MtaSts => "mta-sts",
            Self::Metrics => "metrics",
        }
    }

    /// Whether users sign in there.
    pub const fn signs_in(self) -> bool {
        !matches!(self, Self::Smtp | Self::Lmtp | Self::MtaSts | Self::Metrics)
    }

    /// Whether TLS starts with the first octet.
    pub const fn implicit_tls(self) -> bool {
        matches!(self, Self::Submissions | Self::Imaps | Self::Pop3s | Self::MtaSts)
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Protocol {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|protocol| protocol.name() == text).ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(|protocol| protocol.name()).collect();
            format!("unknown protocol {text:?}: expected one of {}", names.join(", "))
        })
    }
}

/// `[[listener]]`: one port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listener {
    /// What is spoken there.
    pub protocol: Protocol,
    /// Address and port; port 0 takes a free one.
    pub address: SocketAddr,
    /// Networks whose connections begin with a PROXY header.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub proxy_protocol_from: Vec<Network>,
    /// PEM file of the authorities of clients' certificates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_ca_file: Option<PathBuf>,
}

impl Listener {
    /// A listener without extras.
    pub const fn new(protocol: Protocol, address: SocketAddr) -> Self {
        Self { protocol, address, proxy_protocol_from: Vec::new(), client_ca_file: None }
    }

    /// The ports of a mail server, on every address.
    pub fn standard() -> Vec<Self> {
        let ports = [
            (Protocol::Smtp, 25),
            (Protocol::Submission, 587),
            (Protocol::Submissions, 465),
            (Protocol::Imap, 143),
            (Protocol::Imaps, 993),
            (Protocol::Pop3s, 995),
        ];
        let any = |(protocol, port)| Self::new(protocol, SocketAddr::new(IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED), port));
        ports.into_iter().map(any).collect()
    }
}

/// `[[route]]`: mail that goes to given hosts instead of by MX.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// Only mail to these domains: `example.org`, `*.example.org`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recipient_domains: Vec<String>,
    /// Only mail from these domains.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sender_domains: Vec<String>,
    /// Hosts, `name`, `name:port` or `address:port`; none means by MX.
    #[serde(default)]
    pub hosts: Vec<String>,
    /// Whether the hosts are taken in a random order instead of the one written.
    #[serde(default)]
    pub balanced: bool,
    /// Whether the MX port takes mail for these recipient domains from anyone.
    #[serde(default)]
    pub accept: bool,
    /// File of the recipients of these domains; mail for others is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipients_file: Option<PathBuf>,
    /// Whether the domains' own servers are asked which recipients they have.
    #[serde(default)]
    pub call_ahead: bool,
    /// How long mail for them is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifetime: Option<Span>,
    /// Whether the connection must be encrypted.
    #[serde(default)]
    pub tls: RouteTls,
    /// File with the login on its first line and the password on its second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_file: Option<PathBuf>,
}

/// The TLS of a route.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RouteTls {
    /// Never.
    None,
    /// STARTTLS if it is offered, certificate not checked.
    #[default]
    Opportunistic,
    /// STARTTLS with a certificate that is checked, or no delivery.
    Required,
    /// TLS from the first octet with a certificate that is checked (port 465).
    Implicit,
}

/// What becomes of mail to `user+detail@domain`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Subaddress {
    /// Whether it goes into the user's mailbox that the detail names, if there is one.
    pub folders: bool,
    /// The characters of which one stands before the detail.
    pub separators: String,
}

impl Default for Subaddress {
    fn default() -> Self {
        Self { folders: false, separators: "+".to_owned() }
    }
}

impl Config {
    /// A config of defaults.
    pub fn new(hostname: Domain, data: PathBuf) -> Self {
        Self {
            hostname,
            data,
            allow_plaintext_login: Vec::new(),
            relay_networks: Vec::new(),
            xclient_from: Vec::new(),
            vrfy: false,
            subaddress: Subaddress::default(),
            dns: Vec::new(),
            outbound_port: smtp_port(),
            own_names: Vec::new(),
            source_address: None,
            tls: TlsFiles::default(),
            transport: Transport::default(),
            authentication: Authentication::default(),
            filter: Filter::default(),
            rejects: Rejects::default(),
            forwarding: Forwarding::default(),
            bounces: Bounces::default(),
            relay_fallback: RelayFallback::default(),
            queue: Queue::default(),
            limits: Limits::default(),
            trail: Trail::default(),
            dkim: Dkim::default(),
            log: Log::default(),
            outbound: Outbound::default(),
            sign_in: SignIn::default(),
            oauth: OAuth::default(),
            pop3: Pop3::default(),
            listener: Listener::standard(),
            list: Vec::new(),
            route: Vec::new(),
            milter: Vec::new(),
            mta_hook: Vec::new(),
            source: Vec::new(),
        }
    }

    /// Reads and checks a file.
    ///
    /// # Errors
    /// When it cannot be read or says something that cannot be.
    pub fn load(path: &Path) -> Result<Self, Problem> {
        let text = std::fs::read_to_string(path).map_err(|error| Problem::unreadable(path, &error))?;
        Self::parse(path, &text)
    }

    /// Reads and checks a text; `path` is for the messages.
    ///
    /// # Errors
    /// When it says something that cannot be.
    pub fn parse(path: &Path, text: &str) -> Result<Self, Problem> {
        let config: Self = toml::from_str(text).map_err(|error| Problem::from_toml(path, text, &error, &keys::names()))?;
        config.check().map_err(|(key, message)| Problem::at_key(path, text, &key, message))?;
        Ok(config)
    }

    /// What serde cannot see: keys that need each other, numbers that may not be zero.
    fn check(&self) -> Result<(), (String, String)> {
        self.check_tls()?;
        self.transport.check(&self.dns)?;
        self.forwarding.check()?;
        self.bounces.check()?;
        self.relay_fallback.check()?;
        self.check_queue()?;
        self.check_filter()?;
        self.rejects.check()?;
        self.check_limits()?;
        self.sign_in.check()?;
        self.check_oauth()?;
        self.check_pop3()?;
        self.check_lists()?;
        self.check_routes()?;
        self.check_advisers()?;
        self.check_listeners()
    }

    fn check_tls(&self) -> Result<(), (String, String)> {
        match (&self.tls.certificate, &self.tls.key) {
            (Some(_), None) => wrong("tls.certificate", "a certificate needs its private key: expected tls.key beside it"),
            (None, Some(_)) => wrong("tls.key", "a private key needs its certificate: expected tls.certificate beside it"),
            _ => Ok(()),
        }
    }

    fn check_oauth(&self) -> Result<(), (String, String)> {
        let OAuth { issuer, keys_file, audience, discovery_url, .. } = &self.oauth;
        match (issuer, keys_file) {
            (Some(_), None) => return wrong("oauth.issuer", "its tokens cannot be checked: expected oauth.keys_file beside it"),
            (None, Some(_)) => return wrong("oauth.keys_file", "expected oauth.issuer beside it, as its tokens have it in \"iss\""),
            _ => {}
        }
        if issuer.is_some() && audience.is_empty() {
            return wrong("oauth.issuer", "tokens made for other services would be taken: expected oauth.audience beside it");
        }
        if discovery_url.as_ref().is_some_and(|url| !url.starts_with("https://")) {
            return wrong("oauth.discovery_url", "expected an address that begins with https:// (RFC 7628 §3.2.2)");
        }
        Ok(())
    }

    fn check_pop3(&self) -> Result<(), (String, String)> {
        match self.pop3.uidl_format.parse::<access::pop3::UidlFormat>() {
            Ok(_) => Ok(()),
            Err(error) => wrong("pop3.uidl_format", &error.to_string()),
        }
    }

    fn check_queue(&self) -> Result<(), (String, String)> {
        if self.queue.retry.is_empty() {
            return wrong("queue.retry", "expected at least one wait, e.g. [\"5m\", \"30m\", \"4h\"]");
        }
        if self.queue.retry.iter().any(|wait| wait.0.is_zero()) {
            return wrong("queue.retry", "expected waits of at least 1s");
        }
        at_least_one("queue.connections", self.queue.connections as usize)?;
        at_least_one("queue.connections_per_destination", self.queue.connections_per_destination as usize)?;
        at_least_one("queue.messages_per_connection", self.queue.messages_per_connection as usize)?;
        self.queue.limits.iter().enumerate().try_for_each(|(place, limit)| limit.check(&format!("queue.limits[{place}]")))
    }

    fn check_filter(&self) -> Result<(), (String, String)> {
        let Filter { junk_points, reject_points, .. } = self.filter;
        if reject_points != 0 && reject_points <= junk_points {
            return wrong("filter.reject_points", "expected more than filter.junk_points, or 0 for never");
        }
        Ok(())
    }

    fn check_limits(&self) -> Result<(), (String, String)> {
        at_least_one("limits.connections", self.limits.connections)?;
        at_least_one("limits.connections_per_address", self.limits.connections_per_address)?;
        if self.limits.recipients < 100 {
            return wrong("limits.recipients", "expected at least 100 (RFC 5321 §4.5.3.1.8)");
        }
        if (1..1000).contains(&self.limits.imap_messages) {
            return wrong("limits.imap_messages", "expected 0 or at least 1000 (RFC 9738 §3)");
        }
        if self.limits.message_octets < Octets(64 << 10) {
            return wrong("limits.message_octets", "expected at least \"64 KiB\" (RFC 5321 §4.5.3.1.7)");
        }
        for (key, span) in [
            ("limits.smtp_idle", self.limits.smtp_idle),
            ("limits.imap_idle", self.limits.imap_idle),
            ("limits.pop3_idle", self.limits.pop3_idle),
        ] {
            if span.0.is_zero() {
                return wrong(key, "expected a span longer than 0s");
            }
        }
        Ok(())
    }

    fn check_routes(&self) -> Result<(), (String, String)> {
        self.route.iter().enumerate().try_for_each(|(place, route)| route.check(&format!("route[{place}]")))?;
        self.source
            .iter()
            .enumerate()
            .try_for_each(|(place, source)| source.check(&format!("source[{place}]"), self.source.get(..place).unwrap_or_default()))
    }

    fn check_advisers(&self) -> Result<(), (String, String)> {
        self.milter.iter().enumerate().try_for_each(|(place, milter)| milter.check(&format!("milter[{place}]")))?;
        self.mta_hook.iter().enumerate().try_for_each(|(place, hook)| hook.check(&format!("mta_hook[{place}]")))?;
        advisers::check_names(&self.milter, &self.mta_hook)
    }

    fn check_listeners(&self) -> Result<(), (String, String)> {
        for (place, listener) in self.listener.iter().enumerate() {
            let key = format!("listener[{place}].address");
            let twice = self.listener.iter().take(place).any(|other| other.address == listener.address && listener.address.port() != 0);
            if twice {
                return wrong(&key, "this address and port are already listened on");
            }
            if listener.protocol == Protocol::Metrics && !listener.address.ip().is_loopback() {
                return wrong(&key, "expected a loopback address for metrics, e.g. \"127.0.0.1:9464\"");
            }
            if listener.client_ca_file.is_some() && matches!(listener.protocol, Protocol::Smtp | Protocol::Lmtp | Protocol::Metrics) {
                let key = format!("listener[{place}].client_ca_file");
                return wrong(&key, "nobody signs in there: expected it at submission, submissions, imap, imaps, pop3 or pop3s");
            }
        }
        Ok(())
    }
}

impl Route {
    /// `key` is where it stands in the file: `route[2]`.
    fn check(&self, key: &str) -> Result<(), (String, String)> {
        if !self.recipient_domains.is_empty() && !self.sender_domains.is_empty() {
            return wrong(&format!("{key}.sender_domains"), "expected either recipient_domains or sender_domains, not both");
        }
        for (name, domains) in [("recipient_domains", &self.recipient_domains), ("sender_domains", &self.sender_domains)] {
            if let Some(bad) = domains.iter().find(|text| Pattern::parse(text).is_err()) {
                return wrong(&format!("{key}.{name}"), &format!("{bad:?} is no domain: expected \"example.org\" or \"*.example.org\""));
            }
        }
        if let Some(bad) = self.hosts.iter().find(|text| Target::parse(text).is_err()) {
            return wrong(
                &format!("{key}.hosts"),
                &format!("{bad:?} is no host: expected \"mx.example.org\", \"mx.example.org:587\" or \"192.0.2.7:25\""),
            );
        }
        let of_backup =
            [("recipients_file", self.recipients_file.is_some()), ("call_ahead", self.call_ahead), ("lifetime", self.lifetime.is_some())];
        if let Some((name, _)) = of_backup.iter().find(|(_, given)| *given && !self.accept) {
            return wrong(&format!("{key}.{name}"), "expected accept = true beside it: it is about mail that is taken from anyone");
        }
        if self.recipients_file.is_some() && self.call_ahead {
            return wrong(&format!("{key}.call_ahead"), "expected either recipients_file or call_ahead, not both");
        }
        if self.accept && self.recipient_domains.is_empty() {
            return wrong(&format!("{key}.accept"), "expected recipient_domains beside it: mail for every domain would make an open relay");
        }
        Ok(())
    }
}

fn wrong<T>(key: &str, message: &str) -> Result<T, (String, String)> {
    Err((key.to_owned(), message.to_owned()))
}

fn at_least_one(key: &str, number: usize) -> Result<(), (String, String)> {
    if number == 0 { wrong(key, "expected a number from 1") } else { Ok(()) }
}
