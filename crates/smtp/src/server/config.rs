//! What a server session is told at its start, and its limits.

use mail::Timestamp;
use std::net::IpAddr;
use std::time::Duration;
use wire::Tls;
use wire::sasl::Mechanism;

/// Who may send what over this listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Mail from other servers for our domains (port 25); no AUTH is needed.
    Mx,
    /// Mail from our users (ports 587 and 465): MAIL needs AUTH (RFC 6409 §4.3).
    Submission,
    /// Mail from a local server: LHLO, one reply for each recipient at the end of data (RFC 2033).
    Lmtp,
}

/// What every connection of a listener has in common; share it by `Arc`.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each switches one extension or rule of its own")]
pub struct Config {
    /// Our name in the greeting and in EHLO's reply.
    pub hostname: String,
    /// The words behind it in the greeting; may be empty.
    pub greeting: String,
    /// Who may send what.
    pub role: Role,
    /// Whether STARTTLS is offered while there is no TLS (RFC 3207).
    pub starttls: bool,
    /// What AUTH offers; empty: no AUTH at all. `-PLUS` is offered only where TLS can bind.
    pub mechanisms: Vec<Mechanism>,
    /// Whether AUTH is offered under TLS only. With `false` passwords may cross the wire in clear.
    pub auth_needs_tls: bool,
    /// Whether MAIL is refused until there is TLS (530 5.7.0).
    pub mail_needs_tls: bool,
    /// Whether CHUNKING is offered (RFC 3030).
    pub chunking: bool,
    /// Whether BINARYMIME is offered, with CHUNKING (RFC 3030 §3).
    pub binary_mime: bool,
    /// Whether SMTPUTF8 is offered (RFC 6531).
    pub smtputf8: bool,
    /// Whether DSN is offered (RFC 3461).
    pub dsn: bool,
    /// Whether REQUIRETLS is offered, over TLS (RFC 8689).
    pub requiretls: bool,
    /// Whether LIMITS is offered (RFC 9422). Off by default, as all that follow: they need a handler that knows them.
    pub limits_offered: bool,
    /// Whether MT-PRIORITY is offered (RFC 6710).
    pub mt_priority: bool,
    /// Whether DELIVERBY is offered (RFC 2852).
    pub deliver_by: bool,
    /// How far ahead a message may be released; `None`: FUTURERELEASE is not offered (RFC 4865).
    pub hold_max: Option<Duration>,
    /// Whether ETRN is offered (RFC 1985).
    pub etrn: bool,
    /// From which SCRAM verifiers of unknown logins are invented ([`wire::sasl::Exchange::pretending`]).
    pub pretence_key: [u8; 32],
    /// Every bound.
    pub limits: Limits,
}

impl Config {
    /// A listener of this role with every extension and no TLS and no AUTH.
    pub fn new(hostname: &str, role: Role) -> Self {
        Self {
            hostname: hostname.to_owned(),
            greeting: "Postrider".to_owned(),
            role,
            starttls: false,
            mechanisms: Vec::new(),
            auth_needs_tls: true,
            mail_needs_tls: false,
            chunking: true,
            smtputf8: true,
            dsn: true,
            requiretls: true,
            binary_mime: false,
            limits_offered: false,
            mt_priority: false,
            deliver_by: false,
            hold_max: None,
            etrn: false,
            pretence_key: [0; 32],
            limits: Limits::default(),
        }
    }
}

/// What is particular to one connection.
#[derive(Debug, Clone)]
pub struct Connection {
    /// The peer's address.
    pub peer: IpAddr,
    /// Fresh for each connection: at least 24 printable ASCII octets without a comma.
    pub nonce: String,
    /// The TLS that is already up (implicit TLS, port 465).
    pub tls: Option<Tls>,
    /// The time of day.
    pub wall: Timestamp,
    /// Whether the peer is a proxy of ours that may say for whom it speaks (XCLIENT).
    pub xclient: bool,
}

/// Every bound of a server session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Longest command line, octets without CRLF; 500 5.5.2. RFC 5321 §4.5.3.1.4 asks for 512 and each
    /// extension adds some (RFC 3461 §5, RFC 6531 §3.4, RFC 4954 §4).
    pub command_octets_max: usize,
    /// Longest line of an AUTH exchange, octets without CRLF; 500 5.5.6 (RFC 4954 §4.1: 12,288).
    pub auth_octets_max: usize,
    /// Most recipients of one transaction; 452 4.5.3 (RFC 5321 §4.5.3.1.8: at least 100).
    pub recipients_max: usize,
    /// Largest message, octets; 552 5.3.4 (RFC 1870).
    pub message_octets_max: u64,
    /// How many octets of a refused message are read and dropped, to hear its end; then 421 4.3.2 at once.
    pub discard_octets_max: u64,
    /// Most transactions of one connection; 421 4.7.0 at the next MAIL.
    pub transactions_max: usize,
    /// Most refused commands of one connection; 421 4.7.0. Refused recipients count too.
    pub errors_max: usize,
    /// Most commands between two messages that do nothing (NOOP, RSET, HELP, VRFY, EHLO); 421 4.7.0.
    pub idle_commands_max: usize,
    /// Most failed AUTH commands of one connection; 421 4.7.0.
    pub auth_failures_max: usize,
    /// Longest wait for a command; 421 4.4.2 (RFC 5321 §4.5.3.2.7: at least 5 minutes).
    pub idle_max: Duration,
    /// Longest wait for the next octets of a message; 421 4.4.2 (RFC 5321 §4.5.3.2.5: the client waits 3 minutes).
    pub data_idle_max: Duration,
    /// Longest connection; 421 4.4.2.
    pub session_max: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            command_octets_max: 4096,
            auth_octets_max: 12_288,
            recipients_max: 1000,
            message_octets_max: 50 * 1024 * 1024,
            discard_octets_max: 100 * 1024 * 1024,
            transactions_max: 1000,
            errors_max: 100,
            idle_commands_max: 100,
            auth_failures_max: 3,
            idle_max: Duration::from_mins(5),
            data_idle_max: Duration::from_mins(3),
            session_max: Duration::from_hours(2),
        }
    }
}
