//! What a mailbox is for (RFC 6154 §2, RFC 8621 §2).
//!
//! Roles are stored by their place: new ones come last.

use serde::{Deserialize, Serialize};

/// The role of a mailbox; at most one mailbox of an account has each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Role {
    /// Where new mail goes; always present, never deleted.
    Inbox,
    /// `\Drafts`
    Drafts,
    /// `\Sent`
    Sent,
    /// `\Junk`
    Junk,
    /// `\Trash`
    Trash,
    /// `\Archive`
    Archive,
    /// `\Scheduled`: what leaves at a later time.
    Outbox,
    /// What was refused and is kept for a while; no attribute stands for it.
    Rejects,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 8] = [Self::Inbox, Self::Drafts, Self::Sent, Self::Junk, Self::Trash, Self::Archive, Self::Outbox, Self::Rejects];
    /// Those of a new account's mailboxes, in the order they are made; others are made when they are needed.
    pub const INITIAL: [Self; 6] = [Self::Inbox, Self::Drafts, Self::Sent, Self::Junk, Self::Trash, Self::Archive];

    /// The mailbox made for this role: English names, because macOS Mail matches by name.
    pub const fn default_name(self) -> &'static str {
        match self {
            Self::Inbox => "INBOX",
            Self::Drafts => "Drafts",
            Self::Sent => "Sent",
            Self::Junk => "Junk",
            Self::Trash => "Trash",
            Self::Archive => "Archive",
            Self::Outbox => "Outbox",
            Self::Rejects => "Rejects",
        }
    }

    /// The SPECIAL-USE attribute of LIST (RFC 6154 §2, and IANA's registry for the Outbox); the inbox and the Rejects have none.
    pub const fn attribute(self) -> Option<&'static str> {
        match self {
            Self::Inbox | Self::Rejects => None,
            Self::Drafts => Some("\\Drafts"),
            Self::Sent => Some("\\Sent"),
            Self::Junk => Some("\\Junk"),
            Self::Trash => Some("\\Trash"),
            Self::Archive => Some("\\Archive"),
            Self::Outbox => Some("\\Scheduled"),
        }
    }
}
