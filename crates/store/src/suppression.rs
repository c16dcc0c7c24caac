//! Addresses elsewhere to which an account's mail failed for good, again and again: they get none for a time.
//!
//! Not when that is: `mta` counts failures and decides; the store keeps what it decided.
//!
//! Invariant: entries that nobody needs any more are swept, so that what spammers make users write to does not stay.

use crate::error::{Error, Result};
use crate::index::KeyRange;
use crate::key::{self, Key};
use crate::record::{Record, unreadable};
use crate::schema::Space;
use crate::tx::{ReadTx, WriteTx};
use mail::{AccountId, Address, Timestamp};
use serde::{Deserialize, Serialize};

/// What is known of an address that mail to failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suppression {
    /// As it was written.
    pub address: Address,
    /// How often mail to it failed for good, lately; 0: an administrator put it here.
    pub failures: u32,
    /// When that was last, or when the administrator did it.
    pub last: Timestamp,
    /// Until when it gets no mail; `None`: it still does. [`FOR_EVER`] has no end.
    pub until: Option<Timestamp>,
    /// The last failure, or the administrator's reason, in words.
    pub reason: String,
}

/// The end of what has none.
pub const FOR_EVER: Timestamp = Timestamp(i64::MAX);

impl Record for Suppression {
    const SPACE: Space = Space::Suppression;
    const NAME: &'static str = "suppression";
}

/// Who writes to the address; `None`: whoever it is.
type Writer = Option<AccountId>;

fn key(writer: Writer, address: &Address) -> Vec<u8> {
    let mut key = key::account(writer.unwrap_or(AccountId(0)));
    key.extend(Key::default().text(&address.key()).done());
    key
}

impl ReadTx {
    /// What is known of an address for one account's mail, or for everybody's.
    ///
    /// # Errors
    /// When the store fails.
    pub fn suppression(&self, writer: Option<AccountId>, address: &Address) -> Result<Option<Suppression>> {
        self.record(&key(writer, address))
    }

    /// Why an address gets no mail of an account at a time; `None`: it does.
    ///
    /// # Errors
    /// When the store fails.
    pub fn suppressed(&self, account: Option<AccountId>, address: &Address, now: Timestamp) -> Result<Option<Suppression>> {
        let holds = |found: &Suppression| found.until.is_some_and(|until| until > now);
        if let Some(found) = self.suppression(None, address)?.filter(holds) {
            return Ok(Some(found));
        }
        let Some(account) = account else { return Ok(None) };
        Ok(self.suppression(Some(account), address)?.filter(holds))
    }

    /// All that is known, in order of accounts; `None` is for everybody's mail.
    ///
    /// # Errors
    /// When the store fails.
    pub fn suppressions(&self) -> Result<Vec<(Option<AccountId>, Suppression)>> {
        let read = |(key, record): (Vec<u8>, Suppression)| {
            let account = key::number_u32(&key, 0).ok_or_else(|| unreadable::<Suppression>(&key))?;
            Ok(((account > 0).then_some(AccountId(account)), record))
        };
        self.records(&KeyRange::all())?.into_iter().map(read).collect()
    }
}

impl WriteTx {
    /// Sets what is known of an address.
    ///
    /// # Errors
    /// When there is no such account.
    pub fn suppression_set(&mut self, writer: Option<AccountId>, suppression: &Suppression) -> Result<()> {
        if let Some(account) = writer {
            self.account(account)?.ok_or(Error::NotFound("account".into()))?;
        }
        self.save(&key(writer, &suppression.address), suppression)
    }

    /// Forgets what is known of an address.
    ///
    /// # Errors
    /// When nothing is.
    pub fn suppression_remove(&mut self, writer: Option<AccountId>, address: &Address) -> Result<()> {
        self.suppression(writer, address)?.ok_or(Error::NotFound("suppression".into()))?;
        self.delete(Space::Suppression, &key(writer, address));
        Ok(())
    }

    /// Forgets what is over, and failures that were before a time.
    ///
    /// # Errors
    /// When the store fails.
    pub fn suppressions_sweep(&mut self, before: Timestamp, now: Timestamp) -> Result<()> {
        for (key, known) in self.records::<Suppression>(&KeyRange::all())? {
            if known.last < before && known.until.is_none_or(|until| until <= now) {
                self.delete(Space::Suppression, &key);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{address, findings, now, said, tx, world};
    use std::time::Duration;

    #[test]
    fn addresses_are_suppressed_for_an_account_or_for_all_until_the_time_is_over() {
        let (store, ann) = world();
        tx(&store, move |tx| {
            let later = |minutes| now().after(Duration::from_mins(minutes));
            let entry =
                |text: &str, until| Suppression { address: address(text), failures: 1, last: now(), until, reason: "no such user".into() };
            tx.suppression_set(Some(ann), &entry("X@y.example", Some(later(9))))?;
            tx.suppression_set(Some(ann), &entry("counted@y.example", None))?;
            tx.suppression_set(None, &entry("all@y.example", Some(FOR_EVER)))?;
            assert_eq!(said(tx.suppression_set(Some(AccountId(9)), &entry("x@y.example", None))), "account does not exist");
            for (account, to, minutes, want) in [
                (Some(ann), "x@Y.example", 8, true),
                (Some(ann), "x@y.example", 9, false),
                (None, "x@y.example", 8, false),
                (Some(ann), "counted@y.example", 0, false),
                (Some(ann), "all@y.example", 99, true),
                (None, "all@y.example", 99, true),
            ] {
                assert_eq!(tx.suppressed(account, &address(to), later(minutes))?.is_some(), want, "{to}");
            }
            assert_eq!(tx.suppressions()?.len(), 3);
            tx.suppressions_sweep(later(1), later(8))?;
            let left: Vec<_> = tx.suppressions()?.into_iter().map(|(_, entry)| entry.address.to_string()).collect();
            assert_eq!(left, ["all@y.example", "X@y.example"]);
            tx.suppression_remove(None, &address("all@y.example"))?;
            assert_eq!(said(tx.suppression_remove(None, &address("all@y.example"))), "suppression does not exist");
            tx.account_remove(ann)?;
            assert_eq!(tx.suppressions()?, []);
            Ok(())
        });
        assert_eq!(findings(&store), [""; 0]);
    }
}
