//! What can go wrong in a transaction, and what that means for the mail at hand.
//!
//! Invariant: no message text, address list or secret is in an error.

use std::io;
use std::sync::Arc;

/// The outcome of everything that touches the store.
pub type Result<T> = std::result::Result<T, Error>;

/// Whether trying again later can help; unknown failure is transient: keep the mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Later may work (4yz).
    Transient,
    /// It will not work however often it is tried (5yz).
    Permanent,
}

/// Why a transaction failed; nothing of it was written.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// What was named does not exist.
    #[error("{0} does not exist")]
    NotFound(String),
    /// What was to be made exists already.
    #[error("{0} exists already")]
    Exists(String),
    /// The account's quota does not allow it.
    #[error("over quota: {used_octets} of {octets_max} octets are used")]
    OverQuota {
        /// What the account holds now.
        used_octets: u64,
        /// What it may hold.
        octets_max: u64,
    },
    /// The account may not have more emails.
    #[error("over quota: it may have {emails_max} emails")]
    TooManyEmails {
        /// How many it may have.
        emails_max: u64,
    },
    /// The disk is full: what adds mail is refused, deleting and reading go on (452 4.3.1).
    #[error("the disk is full")]
    Full,
    /// A named limit of the store would be passed.
    #[error("limit reached: {0}")]
    Limit(String),
    /// Stored data is not what was written.
    #[error("damaged: {what}")]
    Corrupt {
        /// What is damaged, where, and what it held as far as that is known.
        what: String,
    },
    /// The mailbox has mailboxes below it (RFC 9051 §6.3.5, `[HASCHILDREN]`).
    #[error("the mailbox has mailboxes below it")]
    HasChildren,
    /// Something else leads to it: a domain that has addresses.
    #[error("{0} is in use")]
    InUse(String),
    /// Somebody lacks the right to do that (RFC 4314).
    #[error("that is not allowed")]
    Denied,
    /// What the caller asked for makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// The operating system refused.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: String,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// The store has stopped: a sync failed, and nothing may be acknowledged any more.
    #[error("the store has stopped: {0}")]
    Stopped(String),
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
}

impl Error {
    /// Whether trying again later can help.
    #[must_use]
    pub const fn class(&self) -> Class {
        match self {
            Self::NotFound(_) | Self::Exists(_) | Self::HasChildren | Self::InUse(_) | Self::Denied | Self::Invalid(_) => Class::Permanent,
            _ => Class::Transient,
        }
    }

    pub(crate) fn corrupt(what: impl Into<String>) -> Self {
        Self::Corrupt { what: what.into() }
    }

    pub(crate) fn io(what: impl Into<String>, source: io::Error) -> Self {
        if source.kind() == io::ErrorKind::StorageFull { Self::Full } else { Self::Io { what: what.into(), source: Arc::new(source) } }
    }
}
