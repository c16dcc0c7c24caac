//! What a client session is told at its start, and its limits.

use std::time::Duration;
use wire::Tls;
use wire::sasl::client::Credentials;

/// Whether the connection is to be encrypted by STARTTLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsPolicy {
    /// Never: STARTTLS is not used even if it is offered.
    None,
    /// If it is offered. A server that offers it and then refuses it is served in clear (RFC 7435).
    Opportunistic,
    /// Or no mail is sent: 5.7.10 becomes a transient failure of the session.
    Required,
}

/// What the client must know at its start.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is one setting of its own; no two exclude each other")]
pub struct Config {
    /// Our name in EHLO.
    pub hostname: String,
    /// Whether STARTTLS is used.
    pub tls_policy: TlsPolicy,
    /// The TLS that is already up (implicit TLS).
    pub tls: Option<Tls>,
    /// Whether a server that does not offer REQUIRETLS under TLS gets no mail (RFC 8689 §4.2.1): 5.7.30 becomes
    /// a transient failure of the session.
    pub requiretls: bool,
    /// What to log in with; a server that does not take them gets no mail.
    pub credentials: Option<Credentials>,
    /// Whether PLAIN and LOGIN may be used without TLS.
    pub password_in_clear: bool,
    /// For SCRAM: at least 24 printable ASCII octets without a comma, fresh for each connection.
    pub nonce: String,
    /// LMTP: LHLO, and one reply for each recipient at the end of data (RFC 2033).
    pub lmtp: bool,
    /// Whether BDAT is used where CHUNKING is offered (RFC 3030).
    pub chunking: bool,
    /// Every bound.
    pub limits: Limits,
}

impl Config {
    /// Opportunistic TLS, no AUTH.
    pub fn new(hostname: &str) -> Self {
        Self {
            hostname: hostname.to_owned(),
            tls_policy: TlsPolicy::Opportunistic,
            tls: None,
            requiretls: false,
            credentials: None,
            password_in_clear: false,
            nonce: String::new(),
            lmtp: false,
            chunking: true,
            limits: Limits::default(),
        }
    }
}

/// Every bound of a client session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Longest line of a reply, octets without CRLF; over it the server is broken. RFC 5321 §4.5.3.1.5 allows
    /// 512, real servers say more.
    pub reply_octets_max: usize,
    /// Most lines of one reply; over it the server is broken. Our own bound.
    pub reply_lines_max: usize,
    /// Most recipients handed over in one transaction; those above it are refused transiently, 4.5.3.
    pub recipients_max: usize,
    /// Most commands sent before their replies are read, octets: both sides' windows must hold them
    /// (RFC 2920 §3.1).
    pub pipelined_octets_max: usize,
    /// Wait for the greeting (RFC 5321 §4.5.3.2.1: 5 minutes).
    pub greeting_max: Duration,
    /// Wait for the reply to EHLO, HELO, STARTTLS, AUTH and RSET. Our own, as MAIL.
    pub helo_max: Duration,
    /// Wait for the reply to MAIL (RFC 5321 §4.5.3.2.2: 5 minutes).
    pub mail_max: Duration,
    /// Wait for the reply to RCPT (RFC 5321 §4.5.3.2.3: 5 minutes).
    pub rcpt_max: Duration,
    /// Wait for 354 (RFC 5321 §4.5.3.2.4: 2 minutes).
    pub data_max: Duration,
    /// Wait for the reply to the end of data or to BDAT (RFC 5321 §4.5.3.2.6: 10 minutes).
    pub end_of_data_max: Duration,
    /// Wait for the reply to QUIT. Our own: nothing depends on it.
    pub quit_max: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            reply_octets_max: 4096,
            reply_lines_max: 100,
            recipients_max: 1000,
            pipelined_octets_max: 32 * 1024,
            greeting_max: Duration::from_mins(5),
            helo_max: Duration::from_mins(5),
            mail_max: Duration::from_mins(5),
            rcpt_max: Duration::from_mins(5),
            data_max: Duration::from_mins(2),
            end_of_data_max: Duration::from_mins(10),
            quit_max: Duration::from_secs(10),
        }
    }
}
