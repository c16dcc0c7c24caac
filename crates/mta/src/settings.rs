//! What an operator can choose about the mail path. Plain values with defaults; `server` reads them
//! from its configuration.
//!
//! Invariant: a session and an attempt keep the snapshot they started with.

use crate::advisers::Adviser;
use crate::outbound::Outbound;
use crate::queue::schedule::Bounds;
use crate::route::{Backup, Destination, Pattern, Rule, Sender, Smarthost};
use crate::source::Source;
use mail::{Address, Domain};
use net::Network;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use wire::sasl::client::Credentials;

/// Everything the mail path can be told.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Our own name: in greetings, Received fields, Message-IDs and reports.
    pub hostname: Domain,
    /// Taking mail.
    pub receive: Receive,
    /// What our own accounts may send.
    pub outbound: Outbound,
    /// When it is tried again.
    pub queue: Queue,
    /// Handing it on.
    pub delivery: Delivery,
    /// The security of its way.
    pub transport: Transport,
    /// Where it goes, in order.
    pub routes: Vec<Rule>,
    /// Domains whose mail we take when their own servers cannot.
    pub backups: Vec<Backup>,
    /// Mail that addresses of ours lead elsewhere.
    pub forwarding: Forwarding,
    /// When an address elsewhere gets no more mail.
    pub suppression: Suppression,
    /// The way to domains whose servers refuse our address; none: mail waits and fails as it comes.
    pub fallback: Option<Fallback>,
}

impl Settings {
    /// The defaults under a hostname.
    pub fn new(hostname: Domain) -> Self {
        let (receive, queue, delivery) = (Receive::default(), Queue::default(), Delivery::default());
        let (transport, forwarding, suppression) = (Transport::default(), Forwarding::default(), Suppression::default());
        Self {
            hostname,
            receive,
            outbound: Outbound::default(),
            queue,
            delivery,
            transport,
            routes: Vec::new(),
            backups: Vec::new(),
            forwarding,
            suppression,
            fallback: None,
        }
    }
}

/// Mail that addresses of ours lead elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forwarding {
    /// Whether senders elsewhere are rewritten (SRS). Default yes.
    pub rewrite: bool,
    /// The domain of rewritten senders; it must be ours. Default that of the address that leads elsewhere.
    pub rewrite_domain: Option<Domain>,
    /// Whether mail that its next server will not take for genuine is kept in a mailbox here, if there is one, instead
    /// of being sent there. Default yes.
    pub keep: bool,
    /// Whose mailbox keeps what is not sent where the address itself has none. Default nobody's: it is sent all the same.
    pub keep_at: Option<Address>,
    /// Whether what is forwarded is sealed (RFC 8617) if the domain of the address has a signing key. Default yes.
    pub seal: bool,
}

impl Default for Forwarding {
    fn default() -> Self {
        Self { rewrite: true, rewrite_domain: None, keep: true, keep_at: None, seal: true }
    }
}

/// The way to domains whose servers refuse our address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fallback {
    /// Who takes their mail.
    pub relay: Arc<Smarthost>,
    /// When the direct way is tried again; doubled each time that it is in vain.
    pub probe: Duration,
    /// The longest wait until then.
    pub probe_max: Duration,
}

/// When an address elsewhere gets no more mail of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Suppression {
    /// After so many failures because there is no such mailbox; 0: never. Default 2.
    pub after: u32,
    /// Failures that are further apart do not count together. Default 30 days.
    pub within: Duration,
    /// How long it gets none. Default 30 days.
    pub time: Duration,
}

impl Default for Suppression {
    fn default() -> Self {
        let days = |n: u64| Duration::from_hours(24 * n);
        Self { after: 2, within: days(30), time: days(30) }
    }
}

/// The security of transport to other servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transport {
    /// Whether servers are verified by TLSA records (RFC 7672). Default yes.
    pub dane: bool,
    /// Whether MTA-STS policies of other domains are kept (RFC 8461). Default yes.
    pub mta_sts: bool,
    /// Whether domains that ask for it get reports of what became of TLS (RFC 8460). Default yes.
    pub tls_reports: bool,
    /// The author of those reports. Default postmaster of the hostname.
    pub report_from: Option<Address>,
}

impl Default for Transport {
    fn default() -> Self {
        Self { dane: true, mta_sts: true, tls_reports: true, report_from: None }
    }
}

/// Taking mail.
#[derive(Debug, Clone)]
pub struct Receive {
    /// Most `Received` fields of a message before it is taken for looping. Default 50; at least 100
    /// would be RFC 5321 §6.3's word, but that multiplies the cost of a loop. Beyond: 554 5.4.6.
    pub hops_max: usize,
    /// Most octets of a message's header. Default 262,144. Beyond: 552 5.3.4.
    pub header_octets_max: usize,
    /// Whether a full mailbox is refused for good (552 5.2.2) instead of for now (452 4.2.2). Default no.
    pub over_quota_is_permanent: bool,
    /// Networks whose hosts may send anywhere through the MX port without signing in. Default none.
    pub relay_networks: Vec<Network>,
    /// Whether VRFY tells accounts and relay networks which addresses there are, and EXPN who is behind them. Default no:
    /// 252 and 502.
    pub verify: bool,
    /// Addresses with a detail.
    pub subaddress: Subaddress,
    /// Finding out who mail is from.
    pub authentication: Authentication,
    /// Telling wanted mail from unwanted.
    pub filter: Filter,
    /// Keeping what was refused.
    pub rejects: Rejects,
    /// Programs outside that are asked, in this order. Default none.
    pub advisers: Vec<Arc<Adviser>>,
}

/// Keeping what was refused, for those it was for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rejects {
    /// How long; zero: nothing is kept. Default 14 days.
    pub keep: Duration,
    /// Most messages of an account; the oldest make room. Default 500.
    pub messages_max: u32,
    /// Most octets of one message; longer ones are not kept. Default 10 MiB.
    pub message_octets_max: u64,
    /// Most octets of an account's together; the oldest make room. Default 100 MiB.
    pub octets_max: u64,
}

impl Default for Rejects {
    fn default() -> Self {
        Self { keep: Duration::from_hours(14 * 24), messages_max: 500, message_octets_max: 10 << 20, octets_max: 100 << 20 }
    }
}

/// Addresses with a detail: `user+detail@domain` (RFC 5233).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subaddress {
    /// Whether mail goes into the user's mailbox that the detail names, if there is one without a role. Default no.
    pub folders: bool,
    /// The characters of which one stands before the detail. Default `+`.
    pub separators: String,
}

impl Default for Subaddress {
    fn default() -> Self {
        Self { folders: false, separators: "+".to_owned() }
    }
}

/// Telling wanted mail from unwanted.
#[derive(Debug, Clone)]
pub struct Filter {
    /// Whether it is done at all. Default yes.
    pub is_on: bool,
    /// Where the lines are.
    pub judgement: filter::Settings,
    /// Block and allow lists that are asked about strangers. Default none.
    pub lists: Vec<filter::dnsbl::List>,
    /// How long they have to answer, from the start of the connection. Default 5 seconds.
    pub lists_wait: Duration,
    /// Addresses that nobody was ever given. Default none.
    pub traps: Vec<Address>,
    /// What is done about hosts that never brought such mail. Default nothing.
    pub first_contact: FirstContact,
}

impl Default for Filter {
    fn default() -> Self {
        Self {
            is_on: true,
            judgement: filter::Settings::default(),
            lists: Vec::new(),
            lists_wait: Duration::from_secs(5),
            traps: Vec::new(),
            first_contact: FirstContact::Off,
        }
    }
}

/// What is done about hosts that never brought mail from this sender to this reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FirstContact {
    /// Nothing.
    Off,
    /// The end of the message is answered so much later.
    Slow(Duration),
    /// They are to come again after this time (RFC 6647).
    Grey(Duration),
}

/// Finding out who mail is from.
#[derive(Debug, Clone)]
pub struct Authentication {
    /// Whether it is done at all. Default yes.
    pub is_on: bool,
    /// What is done about mail that its author's domain does not stand for. Default: what the domain asks.
    pub dmarc: Dmarc,
    /// How it is found out, and what it may cost.
    pub inspection: mailauth::Settings,
    /// Whether authors' domains that want reports get them (RFC 9990). Default yes.
    pub reports_dmarc: bool,
    /// How long one message may wait for DNS. Default 20 seconds; what is not answered by then counts as a
    /// failure of DNS.
    pub wait_max: Duration,
}

impl Default for Authentication {
    fn default() -> Self {
        let inspection = mailauth::Settings::default();
        Self { is_on: true, dmarc: Dmarc::Obey, inspection, reports_dmarc: true, wait_max: Duration::from_secs(20) }
    }
}

/// What is done about mail that its author's domain does not stand for (RFC 9989 §5.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dmarc {
    /// What the domain asks for: `reject` is refused, `quarantine` goes to Junk.
    Obey,
    /// Nothing is refused: both go to Junk.
    Junk,
    /// Only the results are written down.
    Ignore,
}

impl Default for Receive {
    fn default() -> Self {
        Self {
            hops_max: 50,
            header_octets_max: 256 * 1024,
            over_quota_is_permanent: false,
            relay_networks: Vec::new(),
            verify: false,
            subaddress: Subaddress::default(),
            authentication: Authentication::default(),
            filter: Filter::default(),
            rejects: Rejects::default(),
            advisers: Vec::new(),
        }
    }
}

/// When queued mail is tried, and what of it is kept in memory.
#[derive(Debug, Clone)]
pub struct Queue {
    /// The waits between attempts; the last one repeats. Default 5, 10, 20, 40 minutes, 1, 2, 3, 4 hours.
    pub retry: Vec<Duration>,
    /// How far a wait is moved to either side, in percent of it, so that what failed together is not
    /// tried together. Default 10.
    pub jitter_percent: u32,
    /// After this time a recipient fails. Default 5 days (RFC 5321 §4.5.4.1: at least 4 to 5).
    pub lifetime: Duration,
    /// After this time a sender is warned once that a recipient waits. Default 4 hours.
    pub warn_after: Duration,
    /// Connections to one destination at first. Default 4.
    pub connections_initial: u32,
    /// Most connections to one destination. Default 20.
    pub connections_max: u32,
    /// Most connections to all destinations. Default 200.
    pub connections_total_max: u32,
    /// Most messages over one connection. Default 200.
    pub messages_per_connection: usize,
    /// How long a destination that could not be reached is left alone; doubled each time, up to
    /// [`Queue::down_max`]. Default 30 seconds.
    pub down_initial: Duration,
    /// The longest time a destination is left alone. Default 10 minutes.
    pub down_max: Duration,
    /// Most messages being worked on or waiting for a connection in memory; the rest stays in the
    /// store until there is room. Default 10,000.
    pub window_max: usize,
    /// Most transactions that wait in memory for one destination or provider, so that it does not fill the window.
    /// Default 2,500.
    pub waiting_max: usize,
    /// Most transactions of one sender in memory. Default 5,000.
    pub sender_waiting_max: usize,
    /// How long domains are passed over when many that share one crowded destination are in the way of others.
    /// Default 15 seconds.
    pub crowded_wait: Duration,
    /// What single destinations and providers are allowed; the first that fits counts. Default none.
    pub limits: Vec<Limit>,
}

/// What destinations or providers are allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    /// Which.
    pub matching: Limited,
    /// Most connections.
    pub connections: Option<u32>,
    /// Most messages in a time.
    pub rate: Option<Rate>,
    /// Most messages over one connection.
    pub messages_per_connection: Option<usize>,
}

/// What a limit is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Limited {
    /// Each destination with mail for one of these recipient domains.
    Domains(Vec<Pattern>),
    /// All destinations together whose first mail exchanger is one of these: a provider.
    Exchangers(Vec<Pattern>),
    /// Each other destination.
    Everything,
}

/// Messages in a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// How many; at least 1.
    pub messages: u32,
    /// In which time.
    pub time: Duration,
}

impl Rate {
    /// The time from one message to the next: they are spaced evenly.
    pub fn space(self) -> Duration {
        self.time / self.messages.max(1)
    }
}

impl Queue {
    /// What a destination or a provider is allowed of which nothing else is said.
    pub fn bounds(&self) -> Bounds {
        let (connections_initial, connections_max) = (self.connections_initial, self.connections_max);
        Bounds { connections_initial, connections_max, rate: None, messages_max: self.messages_per_connection }
    }

    /// What a destination is allowed. A smarthost counts by the name of its first host.
    pub fn bounds_of(&self, destination: &Destination) -> Bounds {
        let domain = match destination {
            Destination::Mx(domain, ..) => Some(domain),
            Destination::Smarthost(smarthost, ..) => smarthost.targets.first().map(|target| &target.host),
            Destination::Local => None,
        };
        let fits = |limit: &&Limit| match (&limit.matching, domain) {
            (Limited::Domains(patterns), Some(domain)) => patterns.iter().any(|pattern| pattern.matches(domain)),
            (Limited::Everything, _) => true,
            _ => false,
        };
        self.limited(self.limits.iter().find(fits))
    }

    /// The provider that a mail exchanger belongs to, and what it is allowed: all hosts that one limit names are one
    /// provider, any other host is one by itself.
    pub fn provider_of(&self, exchanger: &Domain) -> (String, Bounds) {
        for limit in &self.limits {
            let Limited::Exchangers(patterns) = &limit.matching else { continue };
            if patterns.iter().any(|pattern| pattern.matches(exchanger)) {
                let name = patterns.first().map_or_else(String::new, ToString::to_string);
                return (name, self.limited(Some(limit)));
            }
        }
        (exchanger.to_string(), self.bounds())
    }

    fn limited(&self, limit: Option<&Limit>) -> Bounds {
        let mut bounds = self.bounds();
        if let Some(limit) = limit {
            bounds.connections_max = limit.connections.unwrap_or(bounds.connections_max);
            bounds.rate = limit.rate;
            bounds.messages_max = limit.messages_per_connection.unwrap_or(bounds.messages_max);
        }
        bounds
    }
}

impl Default for Queue {
    fn default() -> Self {
        let minutes = |n: u64| Duration::from_secs(n * 60);
        Self {
            retry: [5, 10, 20, 40, 60, 120, 180, 240].into_iter().map(minutes).collect(),
            jitter_percent: 10,
            lifetime: minutes(5 * 24 * 60),
            warn_after: minutes(4 * 60),
            connections_initial: 4,
            connections_max: 20,
            connections_total_max: 200,
            messages_per_connection: 200,
            down_initial: Duration::from_secs(30),
            down_max: minutes(10),
            window_max: 10_000,
            waiting_max: 2_500,
            sender_waiting_max: 5_000,
            crowded_wait: Duration::from_secs(15),
            limits: Vec::new(),
        }
    }
}

/// Handing mail to other servers.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// Most recipients in one transaction. Default 100 (RFC 5321 §4.5.3.1.8).
    pub recipients_max: usize,
    /// How long a connection is kept for the next message. Default 2 seconds.
    pub linger: Duration,
    /// How long connecting to one address may take. Default 30 seconds.
    pub connect_timeout: Duration,
    /// Most addresses tried in one attempt. Default 8.
    pub addresses_max: usize,
    /// Most MX hosts looked at. Default 20.
    pub hosts_max: usize,
    /// The port of MX hosts. Default 25; other values are for tests.
    pub port: u16,
    /// The source address of outgoing IPv4 connections, if it matters.
    pub source_ipv4: Option<IpAddr>,
    /// The source address of outgoing IPv6 connections, if it matters.
    pub source_ipv6: Option<IpAddr>,
    /// Names and addresses besides the hostname under which other servers find this one: an MX host
    /// among them is ourselves (RFC 5321 §5.1). Loopback addresses do not count by themselves.
    pub own_names: Vec<Domain>,
    /// What to sign in with at smarthosts, by the name that routes use.
    pub credentials: BTreeMap<String, Credentials>,
    /// Seed of the order among MX hosts of equal preference.
    pub seed: u64,
    /// Whose mail has a return path for each recipient (VERP). Default nobody's.
    pub return_paths: Vec<Sender>,
    /// From which of our addresses mail to mail exchangers goes, where that matters. Default none: from
    /// [`Delivery::source_ipv4`] and [`Delivery::source_ipv6`].
    pub sources: Vec<Source>,
}

impl Default for Delivery {
    fn default() -> Self {
        Self {
            recipients_max: 100,
            linger: Duration::from_secs(2),
            connect_timeout: Duration::from_secs(30),
            addresses_max: 8,
            hosts_max: 20,
            port: 25,
            source_ipv4: None,
            source_ipv6: None,
            own_names: Vec::new(),
            credentials: BTreeMap::new(),
            seed: 0,
            return_paths: Vec::new(),
            sources: Vec::new(),
        }
    }
}
