//! The Uids of mailboxes in use, in memory: what SELECT and sequence numbers need, at no cost that grows with
//! the mailbox.
//!
//! A roster is the state of a mailbox at its ModSeq. A reader that sees the mailbox at this ModSeq takes it as
//! it is; one that sees it later brings it up to date by what changed since and leaves it so for the next. All
//! sessions share one set until they are told different things.
//!
//! Not the truth: a roster can be forgotten at any time, and is when there are too many.
//!
//! Invariant: rosters are made from committed states only, of which a ModSeq names exactly one.

use crate::change::MailboxChanges;
use crate::error::Result;
use crate::mailbox::MailboxRecord;
use crate::tx::ReadTx;
use mail::{AccountId, Flag, MailboxId, ModSeq, Uid, UidSet};
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Most rosters that are kept. Our own bound.
const ROSTERS_MAX: usize = 8_192;
/// Most ranges of Uids in all of them. Our own bound: 24 MB.
const RANGES_MAX: usize = 2_000_000;
/// Messages looked at first to find one without `\Seen`: it is often the next.
const FIRST_LOOK: usize = 8;

type Place = (AccountId, MailboxId);

/// Every roster that is kept.
#[derive(Debug, Default)]
pub(crate) struct Rosters {
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    rosters: HashMap<Place, Roster>,
    ranges: usize,
    /// Counts every use.
    uses: u64,
}

/// A mailbox at a ModSeq.
#[derive(Debug, Clone)]
struct Roster {
    mod_seq: ModSeq,
    uids: UidSet,
    /// Every message below this one has `\Seen`.
    seen_below: Uid,
    used: u64,
}

impl Rosters {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, place: Place) -> Option<Roster> {
        let mut kept = self.kept();
        kept.uses += 1;
        let uses = kept.uses;
        let roster = kept.rosters.get_mut(&place)?;
        roster.used = uses;
        Some(roster.clone())
    }

    /// Keeps a roster unless a later one is kept already.
    fn keep(&self, place: Place, roster: Roster) {
        let mut kept = self.kept();
        if kept.rosters.get(&place).is_some_and(|known| known.mod_seq > roster.mod_seq) {
            return;
        }
        kept.uses += 1;
        kept.ranges += roster.uids.ranges().len();
        let roster = Roster { used: kept.uses, ..roster };
        if let Some(before) = kept.rosters.insert(place, roster) {
            kept.ranges -= before.uids.ranges().len();
        }
        if kept.rosters.len() > ROSTERS_MAX || kept.ranges > RANGES_MAX {
            kept.forget();
        }
    }
}

impl Kept {
    /// Forgets the half that was not used for longest.
    fn forget(&mut self) {
        let mut uses: Vec<u64> = self.rosters.values().map(|roster| roster.used).collect();
        let middle = uses.len() / 2;
        let (_, since, _) = uses.select_nth_unstable(middle);
        let since = *since;
        self.rosters.retain(|_, roster| roster.used > since);
        self.ranges = self.rosters.values().map(|roster| roster.uids.ranges().len()).sum();
    }
}

impl ReadTx {
    /// Every Uid of a mailbox; of none, if there is no such mailbox.
    pub fn uids(&self, account: AccountId, mailbox: MailboxId) -> Result<UidSet> {
        let Some(record) = self.mailbox_record_found(account, mailbox)? else { return Ok(UidSet::new()) };
        Ok(self.roster(account, mailbox, &record)?.uids)
    }

    /// The same, if it costs no more than what changed since somebody asked: a set that all share who ask.
    pub fn uids_known(&self, account: AccountId, mailbox: MailboxId) -> Result<Option<UidSet>> {
        let Some(record) = self.mailbox_record_found(account, mailbox)? else { return Ok(None) };
        let known = self.roster_kept(account, mailbox).is_some_and(|roster| roster.reaches(&record)) || dense(&record).is_some();
        if known { Ok(Some(self.roster(account, mailbox, &record)?.uids)) } else { Ok(None) }
    }

    /// The first message without `\Seen`, if it stands among the `searched_max` messages behind those that are
    /// known to have it.
    pub fn first_unseen(&self, account: AccountId, mailbox: MailboxId, searched_max: usize) -> Result<Option<Uid>> {
        let Some(record) = self.mailbox_record_found(account, mailbox)?.filter(|record| record.unseen > 0) else { return Ok(None) };
        let roster = self.roster(account, mailbox, &record)?;
        let (mut from, mut left, mut max) = (roster.seen_below, searched_max, FIRST_LOOK);
        let mut found = None;
        while found.is_none() && left > 0 {
            let messages = self.messages(account, mailbox, from, Uid(u32::MAX), max.min(left))?;
            let Some(last) = messages.last() else { break };
            found = messages.iter().find(|message| !message.flags.contains(&Flag::Seen)).map(|message| message.uid);
            from = found.unwrap_or(last.uid.next());
            left -= messages.len();
            max = max.saturating_mul(8);
        }
        if let Some(rosters) = self.rosters().filter(|_| from > roster.seen_below) {
            rosters.keep((account, mailbox), Roster { seen_below: from, ..roster });
        }
        Ok(found)
    }

    fn roster_kept(&self, account: AccountId, mailbox: MailboxId) -> Option<Roster> {
        self.rosters()?.find((account, mailbox))
    }

    fn roster(&self, account: AccountId, mailbox: MailboxId, record: &MailboxRecord) -> Result<Roster> {
        let kept = self.roster_kept(account, mailbox);
        let roster = match kept {
            Some(roster) if roster.mod_seq == record.mod_seq => return Ok(roster),
            Some(roster) if roster.reaches(record) => {
                let changes = self.changes(account, mailbox, roster.mod_seq)?;
                roster.after(record.mod_seq, &changes)
            }
            _ => {
                let uids = dense(record).map_or_else(|| self.uids_counted(account, mailbox), Ok)?;
                Roster { mod_seq: record.mod_seq, uids, seen_below: Uid(1), used: 0 }
            }
        };
        if let Some(rosters) = self.rosters() {
            rosters.keep((account, mailbox), roster.clone());
        }
        Ok(roster)
    }
}

/// The Uids of a mailbox that needs no look: it is empty, or none is missing.
fn dense(record: &MailboxRecord) -> Option<UidSet> {
    let last = Uid(record.uid_next.0.saturating_sub(1));
    match record.emails {
        0 => Some(UidSet::new()),
        emails if emails == last.0 => Some(UidSet::range(Uid(1), last)),
        _ => None,
    }
}

impl Roster {
    /// Whether the changes since are known.
    fn reaches(&self, record: &MailboxRecord) -> bool {
        (record.change_floor..=record.mod_seq).contains(&self.mod_seq)
    }

    /// The roster after changes.
    fn after(mut self, mod_seq: ModSeq, changes: &MailboxChanges) -> Self {
        self.mod_seq = mod_seq;
        if !changes.vanished.is_empty() {
            self.uids = self.uids.subtract(&changes.vanished);
        }
        for message in &changes.messages {
            self.uids.insert(message.uid);
            if message.uid < self.seen_below && !message.flags.contains(&Flag::Seen) {
                self.seen_below = message.uid;
            }
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{add, flags, inbox, tx, uids, world};
    use crate::{FlagChange, Store};

    fn seen(store: &Store, account: AccountId, mailbox: MailboxId) -> (UidSet, Option<u32>) {
        store
            .read_blocking(move |tx| {
                let uids = tx.uids(account, mailbox)?;
                assert_eq!(tx.uids_known(account, mailbox)?.as_ref(), Some(&uids), "it is known from now on");
                assert_eq!(tx.uids_counted(account, mailbox)?, uids);
                Ok((uids, tx.first_unseen(account, mailbox, 100)?.map(|uid| uid.0)))
            })
            .unwrap()
    }

    #[test]
    fn a_roster_follows_what_happens() {
        let (store, ann) = world();
        let id = tx(&store, move |tx| Ok(inbox(tx, ann).id));
        assert_eq!(seen(&store, ann, id), (uids(""), None));
        tx(&store, move |tx| (0..20).try_for_each(|n| add(tx, ann, id, &format!("{n}@x"), "").map(|_| ())));
        assert_eq!(seen(&store, ann, id), (uids("1:20"), Some(1)));
        tx(&store, move |tx| tx.flags_change(ann, id, &uids("1:12"), &FlagChange::Add(flags("\\Seen")), None));
        assert_eq!(seen(&store, ann, id).1, Some(13));
        tx(&store, move |tx| tx.messages_destroy(ann, id, &uids("3,13:14,20")));
        assert_eq!(seen(&store, ann, id), (uids("1:2,4:12,15:19"), Some(15)));
        tx(&store, move |tx| tx.flags_change(ann, id, &uids("5"), &FlagChange::Remove(flags("\\Seen")), None));
        tx(&store, move |tx| add(tx, ann, id, "new@x", ""));
        assert_eq!(seen(&store, ann, id), (uids("1:2,4:12,15:19,21"), Some(5)));
        tx(&store, move |tx| tx.flags_change(ann, id, &uids("1:99"), &FlagChange::Add(flags("\\Seen")), None));
        assert_eq!(seen(&store, ann, id).1, None);
        assert_eq!(store.read_blocking(move |tx| tx.uids(ann, MailboxId(99))).unwrap(), uids(""));
    }

    #[test]
    fn what_is_not_committed_leaves_no_roster() {
        let (store, ann) = world();
        let id = tx(&store, move |tx| Ok(inbox(tx, ann).id));
        tx(&store, move |tx| add(tx, ann, id, "1@x", ""));
        let failed = store.write_blocking(move |tx| {
            add(tx, ann, id, "2@x", "")?;
            tx.messages_destroy(ann, id, &uids("1"))?;
            assert_eq!((tx.uids(ann, id)?, tx.first_unseen(ann, id, 9)?), (uids("2"), Some(Uid(2))));
            Err::<(), _>(crate::Error::Full)
        });
        assert!(failed.is_err());
        tx(&store, move |tx| add(tx, ann, id, "3@x", ""));
        assert_eq!(seen(&store, ann, id), (uids("1:2"), Some(1)));
    }

    #[test]
    fn only_so_many_are_kept() {
        let rosters = Rosters::default();
        let roster = |ranges: u32| {
            let uids = (1..=ranges).map(|n| Uid(n * 2)).collect();
            Roster { mod_seq: ModSeq(1), uids, seen_below: Uid(1), used: 0 }
        };
        for number in 0..=ROSTERS_MAX {
            rosters.keep((AccountId(1), MailboxId(u32::try_from(number).unwrap())), roster(1));
        }
        let kept = rosters.kept().rosters.len();
        assert!(kept <= ROSTERS_MAX / 2 + 1 && rosters.find((AccountId(1), MailboxId(0))).is_none());
        let last = (AccountId(1), MailboxId(u32::try_from(ROSTERS_MAX).unwrap()));
        assert!(rosters.find(last).is_some());
        rosters.keep(last, Roster { mod_seq: ModSeq(0), ..roster(3) });
        assert_eq!(rosters.find(last).map(|roster| roster.uids.len()), Some(1), "an older one does not replace it");
        let ranges = rosters.kept().rosters.values().map(|roster| roster.uids.ranges().len()).sum::<usize>();
        assert_eq!(rosters.kept().ranges, ranges);
    }
}
