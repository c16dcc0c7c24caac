//! Plain counters of what the mail path does, for whoever publishes metrics.
//!
//! Not the record of what happened: that is the trail. Counters start at zero with the process.

use crate::bounce_class::{BounceClass, CLASSES_LEN};
use crate::list_trial::LeftAlone;
use std::sync::atomic::{AtomicU64, Ordering};

/// Messages and recipients since the start of the process.
#[derive(Debug, Default)]
pub struct Counters {
    /// Messages taken on the MX port.
    pub accepted_mx: AtomicU64,
    /// Messages taken on a submission port.
    pub accepted_submission: AtomicU64,
    /// Messages taken over LMTP.
    pub accepted_lmtp: AtomicU64,
    /// Commands refused with 4xx or 5xx: senders, recipients and messages.
    pub refused: AtomicU64,
    /// Refused messages that were kept for an account.
    pub rejects_kept: AtomicU64,
    /// Sign-ins that failed on a submission port.
    pub auth_failed: AtomicU64,
    /// Recipients stored in a mailbox.
    pub delivered: AtomicU64,
    /// Recipients handed to another server.
    pub relayed: AtomicU64,
    /// Attempts after which a recipient waits for another one.
    pub deferred: AtomicU64,
    /// Recipients that failed for good.
    pub bounced: AtomicU64,
    /// Times that an adviser could not be asked.
    pub advisers_failed: AtomicU64,
    /// Connections opened to other servers.
    pub connections: AtomicU64,
    /// Attempts that failed, by [`BounceClass::place`].
    pub failed: [AtomicU64; CLASSES_LEN],
    /// Lists in DNS that count for nothing now.
    pub left_alone: LeftAlone,
}

impl Counters {
    /// Counts a failed attempt.
    pub fn classified(&self, class: Option<BounceClass>) {
        if let Some(counter) = class.and_then(|class| self.failed.get(class.place())) {
            Self::count(counter);
        }
    }

    /// Adds one.
    pub fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}
