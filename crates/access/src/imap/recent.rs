//! Who was told first of a message: `\Recent` of IMAP4rev1 (RFC 3501 §2.3.2).
//!
//! IMAP4rev2 has dropped it, and it is not worth a write on disk: what counts is kept while the
//! process lives. Of a mailbox not yet selected in this time, the messages saved since the start are
//! recent.
//!
//! Invariant: no message is recent in two sessions that can change it.

use crate::imap::selected::Selected;
use mail::uid_set::UidSet;
use mail::{AccountId, MailboxId, SeqNum, Timestamp, Uid};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use store::ReadTx;

/// Mailboxes that are remembered. Our own bound: some 12 MB; then all are forgotten.
const MAILBOXES_MAX: usize = 500_000;

/// For each mailbox, up to which Uid sessions have been told of its messages.
#[derive(Debug)]
pub(crate) struct Recents {
    started: Timestamp,
    told: Mutex<HashMap<(AccountId, MailboxId), Uid>>,
}

impl Recents {
    pub(crate) fn since(started: Timestamp) -> Self {
        Self { started, told: Mutex::default() }
    }

    /// When the process started.
    pub(crate) const fn started(&self) -> Timestamp {
        self.started
    }

    /// Up to which Uid sessions have been told, if one was.
    pub(crate) fn told(&self, account: AccountId, mailbox: MailboxId) -> Option<Uid> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).get(&(account, mailbox)).copied()
    }

    /// Notes that a session is told of messages; those of them that no other was told of.
    pub(crate) fn claim(&self, account: AccountId, selected: &Selected, told: &UidSet) -> UidSet {
        let mut all = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MAILBOXES_MAX {
            all.clear();
        }
        let before = all.get(&(account, selected.mailbox)).copied().unwrap_or_default();
        let last = told.last().unwrap_or_default();
        if !selected.read_only {
            all.insert((account, selected.mailbox), before.max(last));
        }
        told.intersect(&UidSet::range(before.next(), Uid(u32::MAX)))
    }
}

/// The first message saved since `started`, found by halving: they were saved in order of Uid.
///
/// # Errors
/// When the store fails.
pub(crate) fn first_saved_since(
    tx: &ReadTx,
    account: AccountId,
    mailbox: MailboxId,
    uids: &UidSet,
    started: Timestamp,
) -> store::Result<Option<Uid>> {
    let (mut low, mut high) = (0, uids.len());
    while low < high {
        let middle = low + (high - low) / 2;
        let uid = uids.nth(SeqNum(middle + 1)).unwrap_or_default();
        let old = tx.message(account, mailbox, uid)?.is_some_and(|message| message.saved < started);
        if old {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    Ok(uids.nth(SeqNum(low + 1)))
}
