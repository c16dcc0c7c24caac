//! A simulated internet as a file describes it: hosts, domains, traffic, faults, and what is expected.
//!
//! Plain values; [`Scenario::check`] finds what serde cannot see, and [`crate::play`] brings them to life. Which
//! line of a file is wrong is found by who read it: the errors here name the key.
//!
//! Invariant: what has passed the check can be played.

mod check;
pub mod keys;
mod span;

pub use check::Wrong;
pub use span::{NotASpan, Span};

use crate::certificates::Shown;
use mail::{Address, Domain};
use serde::Deserialize;
use std::time::Duration;

/// The whole file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// What it shows, in a sentence.
    #[serde(default)]
    pub description: String,
    /// From which everything follows that is left to chance.
    #[serde(default = "seed_default")]
    pub seed: u64,
    /// When it ends at the latest, in its own time.
    #[serde(default = "deadline_default")]
    pub deadline: Span,
    /// The servers.
    pub host: Vec<HostPlan>,
    /// Domains that none of them serves.
    #[serde(default)]
    pub domain: Vec<DomainPlan>,
    /// Who sends to whom.
    #[serde(default)]
    pub traffic: Vec<Traffic>,
    /// What goes wrong.
    #[serde(default)]
    pub fault: Vec<Fault>,
    /// What must come of it, besides that nothing is lost and nothing comes twice.
    #[serde(default)]
    pub expect: Expect,
}

fn seed_default() -> u64 {
    1
}

/// Longer than any queue's lifetime, if that is not set.
fn deadline_default() -> Span {
    Span(Duration::from_hours(10 * 24))
}

/// `[[host]]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostPlan {
    /// What it calls itself; its name in DNS.
    pub name: Domain,
    /// Domains whose mail it keeps.
    #[serde(default)]
    pub domains: Vec<Domain>,
    /// Addresses with a mailbox at it.
    #[serde(default)]
    pub accounts: Vec<Address>,
    /// Domains whose mail it takes and passes on to their better exchangers.
    #[serde(default)]
    pub backup_for: Vec<Domain>,
    /// The preference of its MX records, for its domains and those that it is a backup for.
    #[serde(default = "mx_default")]
    pub mx: u16,
    /// It takes mail for everybody from every host of this world.
    #[serde(default)]
    pub relay: bool,
    /// It hands all mail for others to this host.
    #[serde(default)]
    pub smarthost: Option<Domain>,
    /// What it shows to who asks for STARTTLS.
    #[serde(default)]
    pub tls: Shown,
    /// Its names are signed, and TLSA records name its certificate.
    #[serde(default)]
    pub dane: bool,
    /// Its domains have an MTA-STS policy that names it.
    #[serde(default)]
    pub mta_sts: Option<StsMode>,
    /// Extensions that it does not offer.
    #[serde(default)]
    pub withholds: Vec<Extension>,
    /// Most recipients of one transaction.
    #[serde(default)]
    pub recipients_max: Option<usize>,
    /// How long a connection to it takes to make.
    #[serde(default)]
    pub latency: Span,
    /// Waits between attempts of its queue; the last one is repeated.
    #[serde(default)]
    pub retry: Vec<Span>,
    /// How long its queue tries.
    #[serde(default)]
    pub lifetime: Option<Span>,
    /// When its senders are told that it takes long.
    #[serde(default)]
    pub delay_warning: Option<Span>,
    /// Connections at once that it makes to one destination.
    #[serde(default)]
    pub connections_per_destination: Option<u32>,
}

fn mx_default() -> u16 {
    10
}

/// Whether an MTA-STS policy is enforced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StsMode {
    /// What breaks it is reported, and goes on.
    Testing,
    /// What breaks it does not go on.
    Enforce,
}

/// An extension of SMTP that a host can do without.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Extension {
    /// RFC 3030
    Chunking,
    /// RFC 6531
    Smtputf8,
    /// RFC 3461
    Dsn,
    /// RFC 8689
    Requiretls,
    /// RFC 9422
    Limits,
    /// RFC 6710
    MtPriority,
    /// RFC 2852
    DeliverBy,
}

/// `[[domain]]`: a domain that no host of this world serves.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DomainPlan {
    /// The domain.
    pub name: Domain,
    /// What DNS says of it, or what is behind that.
    pub dns: DnsPlan,
}

/// What a domain without a host has in DNS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DnsPlan {
    /// It takes no mail (RFC 7505).
    NullMx,
    /// There is no such domain.
    Missing,
    /// Its servers fail.
    Servfail,
    /// Its exchanger has no address.
    Dangling,
    /// At its exchanger's address nobody answers.
    BlackHole,
    /// At its exchanger's address connections are refused.
    Refused,
}

/// `[[traffic]]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Traffic {
    /// Who sends: an account of a host.
    pub from: Address,
    /// To whom: anybody, of this world or not.
    pub to: Vec<Address>,
    /// How many messages.
    #[serde(default = "one")]
    pub messages: u32,
    /// To how many of `to` each goes; chance has it which.
    #[serde(default = "one_recipient")]
    pub recipients: usize,
    /// When the first is sent.
    #[serde(default)]
    pub start: Span,
    /// How long after it the next.
    #[serde(default = "every_default")]
    pub every: Span,
    /// Octets of each text; chance has it how many, between the two.
    #[serde(default = "octets_default")]
    pub octets: [u32; 2],
}

fn one() -> u32 {
    1
}

fn one_recipient() -> usize {
    1
}

fn every_default() -> Span {
    Span(Duration::from_secs(1))
}

fn octets_default() -> [u32; 2] {
    [200, 200]
}

/// `[[fault]]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// What.
    pub kind: FaultKind,
    /// At which host; for faults of hosts.
    #[serde(default)]
    pub host: Option<Domain>,
    /// Of which domain; for faults of DNS.
    #[serde(default)]
    pub domain: Option<Domain>,
    /// How often, of 100 times; for faults that are left to chance.
    #[serde(default)]
    pub percent: Option<u8>,
    /// How long; for faults that are a delay.
    #[serde(default)]
    pub delay: Option<Span>,
    /// What is shown; for `certificate`.
    #[serde(default)]
    pub tls: Option<Shown>,
    /// Which host DNS names instead; for `lying-mx`.
    #[serde(default)]
    pub to: Option<Domain>,
    /// From when on.
    #[serde(default)]
    pub from: Span,
    /// Until when.
    #[serde(default)]
    pub until: Option<Span>,
    /// It comes again after this time.
    #[serde(default)]
    pub every: Option<Span>,
    /// For how long each time.
    #[serde(default)]
    pub lasting: Option<Span>,
}

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultKind {
    /// Connections are refused.
    Refuse,
    /// Connections are answered by nobody.
    BlackHole,
    /// Connections are greeted with 421.
    Busy,
    /// Recipients are answered with 450.
    DeferRecipients,
    /// Messages are answered with 451.
    DeferMessages,
    /// Messages are answered with 554.
    RefuseMessages,
    /// Connections break while something is sent.
    CutSending,
    /// Connections break while a reply is awaited.
    CutReceiving,
    /// Every command waits for its reply.
    Tarpit,
    /// Every message waits before it is taken.
    Slow,
    /// Every message that was taken waits for the words that say so.
    LateReply,
    /// Another certificate is shown, or none.
    Certificate,
    /// Questions about the domain fail.
    Servfail,
    /// What DNS says of the domain is bogus (DNSSEC).
    Bogus,
    /// DNS says that the domain takes no mail.
    NullMx,
    /// DNS names another host.
    LyingMx,
    /// The disk is full.
    DiskFull,
    /// A write fails, at random among the next; the server goes on as it can.
    DiskError,
    /// The process is killed at a random one of its next writes, and started again.
    Crash,
    /// The power goes at a random one of its next writes, and comes back: what was not synced may be lost.
    PowerCut,
}

/// `[expect]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Expect {
    /// Between a sender and a recipient mail comes in the order in which it was sent.
    pub order: bool,
    /// Every queue is empty at the end.
    pub quiet: bool,
    /// No recipient waits longer for what is delivered.
    pub wait_max: Option<Span>,
    /// What is expected of single domains.
    pub destination: Vec<ExpectDestination>,
    /// What is expected for single senders.
    pub sender: Vec<ExpectSender>,
}

/// `[[expect.sender]]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpectSender {
    /// Who sends.
    pub address: Address,
    /// No recipient of theirs waits longer for what is delivered.
    pub wait_max: Span,
}

/// `[[expect.destination]]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpectDestination {
    /// The recipients' domain.
    pub domain: Domain,
    /// No recipient waits longer for what is delivered.
    #[serde(default)]
    pub wait_max: Option<Span>,
    /// So many recipients at least have their mail at the end.
    #[serde(default)]
    pub delivered_min: Option<usize>,
    /// So many at most were given up.
    #[serde(default)]
    pub bounced_max: Option<usize>,
    /// So many at least were given up.
    #[serde(default)]
    pub bounced_min: Option<usize>,
}
