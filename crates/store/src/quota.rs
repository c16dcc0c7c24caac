//! How much mail an account has and may have (RFC 9208).
//!
//! An email counts once, however many mailboxes hold it: that is what it costs us. So copying is
//! free, and a message comes off the account when its last mailbox lets go of it. Annotations count
//! too. The number of emails can be limited besides. What was refused and is kept (`crate::rejects`) counts in neither.

use crate::error::{Error, Result};
use crate::tx::ReadTx;
use crate::uid::Counters;
use mail::AccountId;

/// An account's room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// Octets of its emails.
    pub used_octets: u64,
    /// Most octets; `None`: as much as the disk takes.
    pub octets_max: Option<u64>,
    /// How many emails it has.
    pub emails: u64,
    /// Most emails; `None`: as many as there is room for.
    pub emails_max: Option<u64>,
}

impl Quota {
    /// Whether an email of this size still finds room.
    #[must_use]
    pub fn has_room(&self, octets: u64) -> bool {
        self.refusal(octets).is_none()
    }

    /// Why an email of this size finds no room.
    pub const fn refusal(&self, octets: u64) -> Option<Error> {
        match (self.octets_max, self.emails_max) {
            (Some(octets_max), _) if self.used_octets.saturating_add(octets) > octets_max => {
                Some(Error::OverQuota { used_octets: self.used_octets, octets_max })
            }
            (_, Some(emails_max)) if self.emails >= emails_max => Some(Error::TooManyEmails { emails_max }),
            _ => None,
        }
    }
}

impl Counters {
    pub(crate) const fn quota(&self) -> Quota {
        Quota { used_octets: self.used_octets, octets_max: self.quota_octets_max, emails: self.emails, emails_max: self.quota_emails_max }
    }

    /// Counts a new email.
    pub(crate) fn email_in(&mut self, octets: u64) -> Result<()> {
        if let Some(refusal) = self.quota().refusal(octets) {
            return Err(refusal);
        }
        self.used_octets = self.used_octets.saturating_add(octets);
        self.emails += 1;
        Ok(())
    }

    /// Counts an email that is gone.
    pub(crate) fn email_out(&mut self, octets: u64) {
        self.used_octets = self.used_octets.saturating_sub(octets);
        self.emails = self.emails.saturating_sub(1);
    }
}

impl Counters {
    /// Counts something other than an email that has changed its size; shrinking is never refused.
    pub(crate) fn octets_change(&mut self, before: u64, now: u64) -> Result<()> {
        let used_octets = self.used_octets.saturating_sub(before).saturating_add(now);
        match self.quota_octets_max {
            Some(octets_max) if now > before && used_octets > octets_max => {
                Err(Error::OverQuota { used_octets: self.used_octets, octets_max })
            }
            _ => {
                self.used_octets = used_octets;
                Ok(())
            }
        }
    }
}

impl ReadTx {
    /// An account's room; one small read.
    ///
    /// # Errors
    /// When there is no such account.
    pub fn quota(&self, account: AccountId) -> Result<Quota> {
        Ok(self.counters(account)?.quota())
    }
}
