//! What a session is told once, and the limits of what a client may make grow.

use super::language::Language;
use super::uidl::UidlFormat;
use std::time::Duration;
use wire::Tls;
use wire::sasl::Mechanism;

/// How POP3 is served; share it by `Arc`.
#[derive(Debug, Clone)]
pub struct Config {
    /// The words of the greeting, after `+OK`. No `<`: that would promise APOP.
    pub greeting: String,
    /// STLS is offered while there is no TLS (RFC 2595 §4).
    pub stls: bool,
    /// What AUTH offers, the strongest first. Those that show the password are offered where
    /// passwords are taken, `-PLUS` where TLS can bind.
    pub mechanisms: Vec<Mechanism>,
    /// From which the SCRAM keys of unknown logins are invented: secret, the same for an installation.
    pub pretence_key: [u8; 32],
    /// The language of replies until the client chooses one (RFC 6856 §3).
    pub language: Language,
    /// The least time between logins of an account (RFC 2449 §6.5); zero: none.
    pub login_delay: Duration,
    /// After how many days messages that a client has fetched are removed (RFC 2449 §6.7); `None`: never.
    pub expire_days: Option<u32>,
    /// The form of unique ids, unless an account has its own.
    pub uidl_format: UidlFormat,
    /// One session at a time has an account's maildrop (RFC 1939 §4); otherwise any number.
    pub exclusive: bool,
    /// The limits.
    pub limits: Limits,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            greeting: "Postrider ready".to_owned(),
            stls: true,
            mechanisms: vec![Mechanism::ScramSha256Plus, Mechanism::ScramSha256, Mechanism::Plain],
            pretence_key: [0; 32],
            language: Language::default(),
            login_delay: Duration::ZERO,
            expire_days: None,
            uidl_format: UidlFormat::default(),
            exclusive: true,
            limits: Limits::default(),
        }
    }
}

/// What is particular to one connection.
#[derive(Debug, Clone, Default)]
pub struct Connection {
    /// Fresh for each connection: at least 24 printable ASCII octets without a comma.
    pub nonce: String,
    /// The TLS that is already up (port 995).
    pub tls: Option<Tls>,
    /// Passwords are taken without TLS too: for loopback and tests.
    pub plaintext_login: bool,
}

/// What a client may make grow, and how long it may be silent.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Octets of a command line without CRLF. 1,024; RFC 2449 §4 asks for 253. `-ERR`.
    pub command_octets_max: usize,
    /// Octets of a line of an AUTH exchange without CRLF. 12,288 (RFC 4954 §4.1 for SMTP). `-ERR`.
    pub auth_octets_max: usize,
    /// Refused commands of one connection. 50, our own. `-ERR`, and the connection ends.
    pub faults_max: u32,
    /// Failed logins of one connection. 3, our own. `-ERR`, and the connection ends.
    pub auth_failures_max: u32,
    /// Silence. 10 minutes, the least that RFC 1939 §3 allows. The connection ends without a word.
    pub idle_max: Duration,
    /// Octets of a message read from the store at a time. 64 KiB, our own.
    pub chunk_octets_max: usize,
    /// Messages of a maildrop; younger ones are seen when older ones are gone. 1,000,000, our own.
    pub messages_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            command_octets_max: 1024,
            auth_octets_max: 12_288,
            faults_max: 50,
            auth_failures_max: 3,
            idle_max: Duration::from_mins(10),
            chunk_octets_max: 64 * 1024,
            messages_max: 1_000_000,
        }
    }
}
