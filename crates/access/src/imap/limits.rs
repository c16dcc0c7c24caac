//! What a session is told once: the host's settings and the limits of what a client may make grow.

use std::time::Duration;
use wire::sasl::Mechanism;

/// How IMAP is served; shared by all sessions of a listener.
#[derive(Debug, Clone)]
pub struct Config {
    /// The text of the greeting, after its `[CAPABILITY …]`.
    pub greeting: String,
    /// STARTTLS is offered (there is a certificate, and the connection is not TLS already).
    pub starttls: bool,
    /// Passwords are taken without TLS: for loopback and tests. Otherwise LOGINDISABLED.
    pub plaintext_login: bool,
    /// What AUTHENTICATE offers, the strongest first; of these, what the connection allows.
    pub mechanisms: Vec<Mechanism>,
    /// What ID answers: names and values (RFC 2971 §3.3).
    pub id: Vec<(String, String)>,
    /// Where the same mail is served by JMAP (RFC 9698); `None`, and not a word of it, where it is not.
    pub jmap_url: Option<String>,
    /// From which the SCRAM keys of unknown logins are invented: secret, the same for an installation.
    pub pretence_key: [u8; 32],
    /// The limits.
    pub limits: Limits,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            greeting: "Postrider ready".to_owned(),
            starttls: true,
            plaintext_login: false,
            mechanisms: vec![Mechanism::ScramSha256Plus, Mechanism::ScramSha256, Mechanism::Plain, Mechanism::Login],
            id: vec![("name".to_owned(), "Postrider".to_owned()), ("version".to_owned(), env!("CARGO_PKG_VERSION").to_owned())],
            jmap_url: None,
            pretence_key: [0; 32],
            limits: Limits::default(),
        }
    }
}

/// What a client may make grow, and how long it may be silent.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Octets of a line. 64 KiB; RFC 2683 §3.2.1.5 asks for 8,000 and clients send long sets. `BAD`.
    pub line_octets_max: usize,
    /// Octets of all literals of one command but APPEND's message. 256 KiB, our own. `BAD [TOOBIG]`.
    pub literals_octets_max: u64,
    /// The same before login. 8 KiB, our own.
    pub literals_octets_before_login_max: u64,
    /// Octets of a message that APPEND takes (RFC 7889). 64 MiB, our own. `NO [TOOBIG]`.
    pub append_octets_max: u64,
    /// Messages of one APPEND (RFC 3502). 100, our own: the small ones wait in memory. `NO [LIMIT]`.
    pub append_messages_max: u32,
    /// Parts of one APPEND: literals and URLs (RFC 4469). 1,000, our own. `NO [LIMIT]`.
    pub append_parts_max: u32,
    /// Octets of all messages of one APPEND. 256 MiB, our own. `NO [TOOBIG]`.
    pub append_octets_together_max: u64,
    /// Messages that one COPY or MOVE writes, all in one transaction (RFC 9738). 100,000, our own.
    /// `NO [MESSAGELIMIT]`.
    pub save_messages_max: u32,
    /// Messages that one SEARCH, FETCH, STORE, COPY, MOVE or UID EXPUNGE works on (RFC 9738); only the newest
    /// ones of more. None, our own: clients that do not know of it would miss mail. `OK [MESSAGELIMIT]`.
    pub command_messages_max: Option<u32>,
    /// Messages, and message ids they refer to, in one THREAD. 2,000,000, our own. `NO [LIMIT]`.
    pub thread_ids_max: usize,
    /// Octets that come out of COMPRESS from one read, between two questions to the store. 8 MiB, our own: what a
    /// thousandfold bomb would need a second for. `BYE [TOOBIG]`.
    pub inflated_octets_max: u64,
    /// Octets said to a client that has not taken them, beyond which no more of its input is inflated. 64 KiB, our own.
    pub unsent_octets_max: usize,
    /// Searches that one client has kept up to date (RFC 5267). 16, our own. `NO [NOUPDATE]`.
    pub contexts_max: usize,
    /// Messages of one of them that is sorted: 4 octets each. 50,000, our own. `NO [NOUPDATE]`.
    pub sorted_context_messages_max: usize,
    /// Changed messages that are looked at at once for searches that are kept up to date; with more, these
    /// end. 5,000, our own. `NO [NOUPDATE]`.
    pub context_changes_max: usize,
    /// New messages of the selected mailbox of which NOTIFY tells what it is asked, at once. 500, our own.
    /// `OK [NOTIFICATIONOVERFLOW]`, and NOTIFY is over.
    pub notify_messages_max: u32,
    /// Changed mailboxes of which NOTIFY tells at once. 1,000, our own: 100 KB. `OK [NOTIFICATIONOVERFLOW]`.
    pub notify_statuses_max: usize,
    /// Mailboxes of an account whose names NOTIFY watches, or whose STATUS it tells. 10,000, our own: a client's
    /// copy of the names. `NO [NOTIFICATIONOVERFLOW]`.
    pub notify_mailboxes_max: usize,
    /// Octets handed to the store at a time while a message comes in. 64 KiB, our own.
    pub chunk_octets_max: usize,
    /// Faulty commands before login. 20, our own. `BYE`.
    pub faults_before_login_max: u32,
    /// Failed logins on one connection. 5, our own. `BYE`.
    pub login_failures_max: u32,
    /// Silence before login. 3 minutes, as Dovecot has it. `BYE`.
    pub login_wait_max: Duration,
    /// Silence after login. 31 minutes; RFC 9051 §5.4 asks for at least 30. `BYE`.
    pub silence_max: Duration,
    /// Silence in IDLE. 61 minutes: clients renew it after 29 (RFC 2177 §3), phones sleep over it. `BYE`.
    pub idle_max: Duration,
    /// After which time a client hears how far its search is (RFC 9585), and again. 10 seconds, our own.
    pub progress_wait: Duration,
    /// Longest silence of our own in IDLE: an untagged OK ends it. 115 seconds.
    ///
    /// Deviation: Outlook drops or hangs a silent IDLE, and routers forget the connection.
    pub keep_alive: Duration,
}

impl Limits {
    /// Messages that one COPY or MOVE takes.
    pub fn copy_messages_max(&self) -> u32 {
        self.command_messages_max.map_or(self.save_messages_max, |max| max.min(self.save_messages_max))
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            line_octets_max: 64 * 1024,
            literals_octets_max: 256 * 1024,
            literals_octets_before_login_max: 8 * 1024,
            append_octets_max: 64 * 1024 * 1024,
            append_messages_max: 100,
            append_parts_max: 1000,
            append_octets_together_max: 256 * 1024 * 1024,
            save_messages_max: 100_000,
            command_messages_max: None,
            thread_ids_max: 2_000_000,
            inflated_octets_max: 8 * 1024 * 1024,
            unsent_octets_max: 64 * 1024,
            contexts_max: 16,
            sorted_context_messages_max: 50_000,
            context_changes_max: 5_000,
            notify_messages_max: 500,
            notify_statuses_max: 1_000,
            notify_mailboxes_max: 10_000,
            chunk_octets_max: 64 * 1024,
            faults_before_login_max: 20,
            login_failures_max: 5,
            login_wait_max: Duration::from_mins(3),
            silence_max: Duration::from_mins(31),
            idle_max: Duration::from_mins(61),
            progress_wait: Duration::from_secs(10),
            keep_alive: Duration::from_secs(115),
        }
    }
}
