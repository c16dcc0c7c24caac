//! How much mail an account has and may have (RFC 9208).
//!
//! An email counts once, however many mailboxes hold it: that is what it costs us. So copying is
//! free, and a message comes off the account when its last mailbox lets go of it.

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
}

impl Quota {
    /// Whether an email of this size still finds room.
    pub const fn has_room(&self, octets: u64) -> bool {
        match self.octets_max {
            Some(max) => self.used_octets.saturating_add(octets) <= max,
            None => true,
        }
    }
}

impl Counters {
    pub(crate) const fn quota(&self) -> Quota {
        Quota { used_octets: self.used_octets, octets_max: self.quota_octets_max, emails: self.emails }
    }

    /// Counts a new email.
    pub(crate) fn email_in(&mut self, octets: u64) -> Result<()> {
        if !self.quota().has_room(octets) {
            return Err(Error::OverQuota { used_octets: self.used_octets, octets_max: self.quota_octets_max.unwrap_or(u64::MAX) });
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

impl ReadTx {
    /// An account's room; one small read.
    ///
    /// # Errors
    /// When there is no such account.
    pub fn quota(&self, account: AccountId) -> Result<Quota> {
        Ok(self.counters(account)?.quota())
    }
}
