//! What each account sends: how many messages, to how many people, how many of them strangers, how many in vain; hour
//! by hour for two weeks. And what an administrator has said about it: limits of its own, held, approved.
//!
//! Not the decision what is too much: that is `mta::outbound`'s.
//!
//! Invariants
//! - An account has at most [`HOURS_KEPT`] hours.
//! - What is counted is counted in the commit of what it counts.

use crate::error::{Error, Result};
use crate::index::KeyRange;
use crate::key;
use crate::record::Record;
use crate::schema::Space;
use crate::tx::{ReadTx, WriteTx};
use mail::{AccountId, Timestamp};
use serde::{Deserialize, Serialize};

/// Hours that are kept: two weeks. Our own choice.
pub const HOURS_KEPT: u32 = 14 * 24;
/// Longest reason, octets. Our own bound.
const REASON_OCTETS_MAX: usize = 500;

/// What an account sent in one hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Traffic {
    /// Messages.
    pub messages: u32,
    /// Recipients, each of each message.
    pub recipients: u32,
    /// Of them, those that it had never written to.
    pub strangers: u32,
    /// Recipients that could not be reached, in the hour when that was known.
    pub failed: u32,
}

impl Traffic {
    /// Both together.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self {
            messages: self.messages.saturating_add(other.messages),
            recipients: self.recipients.saturating_add(other.recipients),
            strangers: self.strangers.saturating_add(other.strangers),
            failed: self.failed.saturating_add(other.failed),
        }
    }
}

/// What one hour's record holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TrafficRecord(pub(crate) Traffic);

impl Record for TrafficRecord {
    const SPACE: Space = Space::Traffic;
    const NAME: &'static str = "count of what was sent";
}

/// Limits of one account, instead of those of the server. `Some(0)`: none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SendingLimits {
    /// Recipients within an hour.
    pub recipients_per_hour: Option<u32>,
    /// Recipients within a day.
    pub recipients_per_day: Option<u32>,
    /// Recipients within a day that it never wrote to before.
    pub strangers_per_day: Option<u32>,
    /// Messages within an hour.
    pub messages_per_hour: Option<u32>,
    /// Messages within a day.
    pub messages_per_day: Option<u32>,
}

/// The same before messages had limits.
#[derive(Deserialize)]
struct SendingLimits1 {
    recipients_per_hour: Option<u32>,
    recipients_per_day: Option<u32>,
    strangers_per_day: Option<u32>,
}

impl From<SendingLimits1> for SendingLimits {
    fn from(old: SendingLimits1) -> Self {
        let SendingLimits1 { recipients_per_hour, recipients_per_day, strangers_per_day } = old;
        Self { recipients_per_hour, recipients_per_day, strangers_per_day, ..Self::default() }
    }
}

/// What was said about an account's sending.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Sending {
    /// Its own limits.
    pub limits: SendingLimits,
    /// Its mail to others is kept in the queue since then.
    pub held: Option<Timestamp>,
    /// Why, for people.
    pub reason: String,
    /// Until then nothing that it does is taken for unusual.
    pub approved_until: Option<Timestamp>,
}

/// The same before messages had limits.
#[derive(Deserialize)]
struct Sending1 {
    limits: SendingLimits1,
    held: Option<Timestamp>,
    reason: String,
    approved_until: Option<Timestamp>,
}

impl Record for Sending {
    const SPACE: Space = Space::Sending;
    const NAME: &'static str = "state of sending";
    const FORMAT: u8 = 2;

    fn upgrade(format: u8, octets: &[u8]) -> Option<Self> {
        let old: Sending1 = (format == 1).then(|| postcard::from_bytes(octets).ok()).flatten()?;
        let Sending1 { limits, held, reason, approved_until } = old;
        Some(Self { limits: limits.into(), held, reason, approved_until })
    }
}

/// The hour of a time, since 1970.
#[must_use]
pub fn hour(at: Timestamp) -> u32 {
    u32::try_from(at.seconds().max(0) / 3600).unwrap_or(u32::MAX)
}

impl ReadTx {
    /// What an account sent, by hours, the oldest first; hours without anything are left out.
    ///
    /// # Errors
    /// When the store fails.
    pub fn traffic(&self, account: AccountId, since: u32) -> Result<Vec<(u32, Traffic)>> {
        let whole = KeyRange::prefix(&key::account(account));
        let range = KeyRange { from: key::traffic(account, since), ..whole };
        let records = self.records::<TrafficRecord>(&range)?;
        Ok(records.into_iter().filter_map(|(key, record)| Some((key::number_u32(&key, 4)?, record.0))).collect())
    }

    /// What was said about an account's sending.
    ///
    /// # Errors
    /// When the store fails.
    pub fn sending(&self, account: AccountId) -> Result<Sending> {
        Ok(self.record::<Sending>(&key::account(account))?.unwrap_or_default())
    }

    /// Whether an account has never written to an address.
    ///
    /// # Errors
    /// When the store fails.
    pub fn is_stranger(&self, account: AccountId, to: &mail::Address) -> Result<bool> {
        Ok(!self.is_correspondent(account, Some(&to.to_string().to_lowercase()))?)
    }
}

impl WriteTx {
    /// Counts what an account has sent. Hours that are too old are forgotten.
    ///
    /// # Errors
    /// When the store fails.
    pub fn traffic_add(&mut self, account: AccountId, sent: Traffic, now: Timestamp) -> Result<()> {
        let hour = hour(now);
        let key = key::traffic(account, hour);
        let before = self.record::<TrafficRecord>(&key)?;
        if before.is_none() {
            let old = KeyRange::new(&key::account(account), &key::traffic(account, hour.saturating_sub(HOURS_KEPT)));
            self.erase(Space::Traffic, &old)?;
        }
        self.save(&key, &TrafficRecord(before.map_or(sent, |before| before.0.and(sent))))
    }

    /// Says something about an account's sending.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is no such account.
    pub fn sending_set(&mut self, account: AccountId, sending: &Sending) -> Result<()> {
        if self.account(account)?.is_none() {
            return Err(Error::NotFound("account".into()));
        }
        let mut sending = sending.clone();
        sending.reason.truncate(sending.reason.floor_char_boundary(REASON_OCTETS_MAX));
        if sending == Sending::default() {
            self.delete(Space::Sending, &key::account(account));
            return Ok(());
        }
        self.save(&key::account(account), &sending)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{findings, said, tx, world};
    use std::time::Duration;

    const START: Timestamp = Timestamp(1_700_000_000_000);

    #[test]
    fn hours_add_up_and_old_ones_are_forgotten() {
        let (store, ann) = world();
        tx(&store, move |tx| {
            let one = Traffic { messages: 1, recipients: 3, strangers: 2, failed: 0 };
            let at = |hours: u64| START.after(Duration::from_hours(hours));
            for hours in [0, 0, 5, 14 * 24] {
                tx.traffic_add(ann, one, at(hours))?;
            }
            let two = Traffic { messages: 2, recipients: 6, strangers: 4, failed: 0 };
            let all = vec![(hour(START), two), (hour(at(5)), one), (hour(at(14 * 24)), one)];
            assert_eq!(tx.traffic(ann, 0)?, all);
            assert_eq!(tx.traffic(ann, hour(at(5)))?, all[1..]);
            tx.traffic_add(ann, one, at(14 * 24 + 1))?;
            assert_eq!(tx.traffic(ann, 0)?.len(), 3, "the first hour is gone");
            Ok(())
        });
    }

    #[test]
    fn what_is_said_is_kept_and_goes_with_the_account() {
        let (store, ann) = world();
        tx(&store, move |tx| {
            let sending = Sending { held: Some(START), reason: "x".repeat(1_000), ..Sending::default() };
            tx.sending_set(ann, &sending)?;
            assert_eq!(tx.sending(ann)?.reason.len(), 500);
            assert_eq!(said(tx.sending_set(AccountId(77), &sending)), "account does not exist");
            tx.traffic_add(ann, Traffic::default(), START)?;
            tx.account_remove(ann)?;
            assert_eq!((tx.sending(ann)?, tx.traffic(ann, 0)?), (Sending::default(), Vec::new()));
            Ok(())
        });
        assert_eq!(findings(&store), [""; 0]);
    }
}
