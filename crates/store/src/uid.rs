//! The only place where numbers are given out: Uid, UidValidity, ModSeq and the ids of an account.
//!
//! Invariants: a Uid comes from its mailbox's record and a ModSeq from the account's counters, in the
//! same commit as what they number; none is ever given twice. UidValidity ascends over all mailboxes
//! of an account, and an account made again under an old address starts above what its forerunner
//! used, so that a client never mistakes new mail for what it has kept.

use crate::error::{Error, Result};
use crate::index::{Direction, KeyRange};
use crate::key;
use crate::mailbox::MailboxRecord;
use crate::record::Record;
use crate::schema::Space;
use crate::tx::{ReadTx, WriteTx};
use mail::{AccountId, EmailId, MailboxId, ModSeq, ReceiptId, Timestamp, Uid, UidValidity};
use serde::{Deserialize, Serialize};

/// What an account counts; read and written by every change of the account.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Counters {
    /// The last one given.
    pub(crate) mod_seq: ModSeq,
    /// The last one given.
    pub(crate) email: EmailId,
    /// The last one given.
    pub(crate) mailbox: MailboxId,
    /// The last one given.
    pub(crate) uid_validity: UidValidity,
    /// Emails, each once however many mailboxes hold it, but for those that the Rejects alone hold.
    pub(crate) emails: u64,
    /// Octets of these emails and of the account's annotations: what the quota is measured by.
    pub(crate) used_octets: u64,
    /// Most octets they may take.
    pub(crate) quota_octets_max: Option<u64>,
    /// Mailboxes.
    pub(crate) mailboxes: u32,
    /// When the list of mailboxes last changed.
    pub(crate) list_mod_seq: ModSeq,
    /// Changes of the list of mailboxes up to this one are forgotten.
    pub(crate) list_floor: ModSeq,
    /// Keys of the list's change feed.
    pub(crate) list_changes: u32,
    /// Most emails; since format 2.
    pub(crate) quota_emails_max: Option<u64>,
    /// Entries of the Rejects; since format 3, as the next.
    pub(crate) rejects: u32,
    /// Octets of their emails. They are in `emails` and `used_octets` only where they are elsewhere too.
    pub(crate) rejects_octets: u64,
}

impl Record for Counters {
    const SPACE: Space = Space::Counters;
    const NAME: &'static str = "counters record";
    const FORMAT: u8 = 3;

    /// Earlier formats ended before the last fields: they read as if none were set and nothing counted.
    fn upgrade(format: u8, octets: &[u8]) -> Option<Self> {
        let missing: &[u8] = match format {
            1 => &[0, 0, 0],
            2 => &[0, 0],
            _ => return None,
        };
        postcard::from_bytes(&[octets, missing].concat()).ok()
    }
}

/// One number of the whole store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Count(pub(crate) u64);

impl Record for Count {
    const SPACE: Space = Space::Count;
    const NAME: &'static str = "count";
}

/// The last account id given.
const ACCOUNT_LAST: &[u8] = b"account_last";
/// The last receipt given.
pub(crate) const RECEIPT_LAST: &[u8] = b"receipt_last";
/// Accounts made from now on use UidValidities above this.
const UID_VALIDITY_FLOOR: &[u8] = b"uid_validity_floor";

impl Counters {
    pub(crate) fn next_mod_seq(&mut self) -> ModSeq {
        self.mod_seq = self.mod_seq.next();
        self.mod_seq
    }

    pub(crate) fn next_email(&mut self) -> EmailId {
        self.email = self.email.next();
        self.email
    }

    pub(crate) fn next_mailbox(&mut self) -> MailboxId {
        self.mailbox = self.mailbox.next();
        self.mailbox
    }

    pub(crate) fn next_uid_validity(&mut self) -> UidValidity {
        self.uid_validity = self.uid_validity.next();
        self.uid_validity
    }
}

impl MailboxRecord {
    /// The Uid for the next message.
    pub(crate) fn next_uid(&mut self) -> Result<Uid> {
        let uid = self.uid_next;
        if uid.0 == u32::MAX {
            return Err(Error::Limit("Uids of this mailbox".into()));
        }
        self.uid_next = uid.next();
        Ok(uid)
    }
}

impl ReadTx {
    pub(crate) fn counters(&self, account: AccountId) -> Result<Counters> {
        self.record(&key::account(account))?.ok_or(Error::NotFound("account".into()))
    }

    pub(crate) fn count(&self, name: &[u8]) -> Result<u64> {
        Ok(self.record::<Count>(name)?.unwrap_or_default().0)
    }

    /// The account's change counter: also its JMAP state.
    ///
    /// # Errors
    /// When there is no such account.
    pub fn mod_seq(&self, account: AccountId) -> Result<ModSeq> {
        Ok(self.counters(account)?.mod_seq)
    }
}

impl WriteTx {
    /// Writes the counters and tells those who watch the account once this is committed.
    pub(crate) fn counters_save(&mut self, account: AccountId, counters: &Counters) -> Result<()> {
        self.announce(account, counters.mod_seq);
        self.save(&key::account(account), counters)
    }

    pub(crate) fn count_save(&mut self, name: &[u8], count: u64) -> Result<()> {
        self.save(name, &Count(count))
    }

    pub(crate) fn next_account(&mut self) -> Result<AccountId> {
        let last = u32::try_from(self.count(ACCOUNT_LAST)?).map_err(|_| Error::Limit("accounts".into()))?;
        let next = last.checked_add(1).ok_or(Error::Limit("accounts".into()))?;
        self.count_save(ACCOUNT_LAST, u64::from(next))?;
        Ok(AccountId(next))
    }

    /// Where a new account's UidValidities start: the time in seconds, as is the custom, unless a
    /// removed account has used higher ones.
    pub(crate) fn uid_validity_start(&self, now: Timestamp) -> Result<UidValidity> {
        let floor = u32::try_from(self.count(UID_VALIDITY_FLOOR)?).unwrap_or(u32::MAX);
        Ok(UidValidity(u32::try_from(now.seconds()).unwrap_or(0).max(floor)))
    }

    /// Keeps what a removed account used from being used again.
    pub(crate) fn uid_validity_retire(&mut self, last: UidValidity) -> Result<()> {
        let floor = self.count(UID_VALIDITY_FLOOR)?.max(u64::from(last.0));
        self.count_save(UID_VALIDITY_FLOOR, floor)
    }

    /// A receipt that was never given before: the time in milliseconds and a counter, ascending even
    /// when the clock goes back.
    ///
    /// # Errors
    /// When the store fails.
    pub fn receipt_next(&mut self, now: Timestamp) -> Result<ReceiptId> {
        let from_clock = u64::try_from(now.0).unwrap_or(0) << 20;
        let next = from_clock.max(self.count(RECEIPT_LAST)?.saturating_add(1));
        self.count_save(RECEIPT_LAST, next)?;
        Ok(ReceiptId(next))
    }

    /// Takes a receipt that was chosen before the transaction (the time in milliseconds and a counter),
    /// so that it could be written into the message. False: it was given before, and is not taken.
    ///
    /// # Errors
    /// When the store fails.
    pub fn receipt_take(&mut self, receipt: ReceiptId) -> Result<bool> {
        let last = self.count(RECEIPT_LAST)?;
        if receipt.0 <= last && self.receipt_is_known(receipt)? {
            return Ok(false);
        }
        self.count_save(RECEIPT_LAST, last.max(receipt.0))?;
        Ok(true)
    }

    fn receipt_is_known(&self, receipt: ReceiptId) -> Result<bool> {
        let key = key::receipt(receipt);
        let trail = self.gather(Space::Trail, &KeyRange::prefix(&key), Direction::Forward, 1, |_, _| Ok(()))?;
        Ok(!trail.is_empty() || self.has(Space::Queue, &key)?)
    }
}

#[cfg(test)]
mod tests {
    use crate::Store;
    use mail::{Event, ReceiptId, Timestamp, TrailEntry};

    #[test]
    fn a_receipt_that_was_chosen_outside_is_taken_once() {
        let store = Store::memory();
        let event = Event::Handled { action: "hold".into(), recipient: None };
        let entry = TrailEntry { at: Timestamp(5), event };
        store
            .write_blocking(move |tx| {
                let (earlier, later) = (ReceiptId(5 << 20), ReceiptId((5 << 20) + 7));
                assert!(tx.receipt_take(later)?);
                tx.trail_append(later, std::slice::from_ref(&entry))?;
                assert!(tx.receipt_take(earlier)?, "one that was passed over");
                assert!(!tx.receipt_take(later)?);
                assert_eq!(tx.receipt_next(Timestamp(5))?, ReceiptId((5 << 20) + 8));
                Ok(())
            })
            .unwrap();
    }
}
