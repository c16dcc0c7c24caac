//! The change feed: what a client that knew a mailbox at one ModSeq must be told to know it now.
//!
//! Per mailbox there is an entry for each change of flags and each disappearance, by ModSeq. New
//! messages need none: a message knows the ModSeq at which it came, and since Uids ascend with it,
//! those newer than a ModSeq are found from the end of the mailbox. The list of mailboxes has a feed of its own under the
//! mailbox number 0, which no mailbox has.
//!
//! The feed is kept for [`CHANGES_MAX`] entries a mailbox, then the oldest are forgotten. Who asks for
//! a time before that gets exact messages all the same (by looking at each), and every Uid that does
//! not exist as vanished, as RFC 7162 §3.2.5.1 allows.
//!
//! Invariants: an entry is written in the commit of its change; reading costs what has changed, not
//! what is in the mailbox.

use crate::error::Result;
use crate::index::{Direction, KeyRange};
use crate::key;
use crate::mailbox::MailboxRecord;
use crate::message::{Message, read_message};
use crate::record::Record;
use crate::schema::Space;
use crate::tx::{ReadTx, WriteTx};
use crate::uid::Counters;
use mail::{AccountId, EmailId, MailboxId, ModSeq, Uid, UidSet};
use serde::{Deserialize, Serialize};
use std::ops::ControlFlow;

/// Entries kept for each mailbox, and for each account's list of mailboxes. Our own bound: about half
/// a megabyte for a mailbox that is never quiet.
pub const CHANGES_MAX: u32 = 10_000;
/// Entries forgotten at once when there are more.
const FORGET: usize = 64;
/// Most ranges or ids in one entry, so that no value grows beyond some 40 kB.
const ITEMS_MAX: usize = 4_000;

/// The feed of the list of mailboxes.
pub(crate) const LIST: MailboxId = MailboxId(0);

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ChangeRecord {
    /// These messages have other flags.
    Flags(UidSet),
    /// These messages are gone from the mailbox.
    Vanished(UidSet),
    /// These emails are gone from the account.
    Destroyed(Vec<EmailId>),
    /// These mailboxes were made, renamed, deleted, subscribed to, shared or given a role.
    Mailboxes(Vec<MailboxId>),
    /// An annotation was set or removed.
    Annotation(AnnotationChange),
}

/// An annotation that was set or removed (RFC 5464).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnnotationChange {
    /// Of which mailbox; 0: of the server.
    pub mailbox: MailboxId,
    /// Whose private one it is; `None`: it is shared.
    pub viewer: Option<AccountId>,
    /// Its whole name.
    pub entry: String,
}

impl Record for ChangeRecord {
    const SPACE: Space = Space::Change;
    const NAME: &'static str = "change record";
}

/// What changed in a mailbox.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MailboxChanges {
    /// Messages that came or have other flags, in order of Uid, as they are now.
    pub messages: Vec<Message>,
    /// Messages that are gone; also such as came and went in between.
    pub vanished: UidSet,
    /// False: the feed no longer reaches back that far, and `vanished` is every Uid below `uid_next`
    /// that does not exist.
    pub complete: bool,
    /// Whether the account's list of mailboxes changed (names, roles, subscriptions).
    pub list_changed: bool,
    /// The account's ModSeq now: what to ask from next time.
    pub mod_seq: ModSeq,
}

/// What kinds of changes there were in a mailbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MailboxNews {
    /// Messages came that are still there.
    pub came: bool,
    /// Messages went.
    pub went: bool,
    /// Messages have other flags.
    pub flags: bool,
}

/// What changed in an account's list of mailboxes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ListChanges {
    /// Mailboxes that were made, renamed, deleted, subscribed to, shared or given a role; each once.
    pub mailboxes: Vec<MailboxId>,
    /// Annotations that were set or removed, in order.
    pub annotations: Vec<AnnotationChange>,
    /// False: the feed no longer reaches back that far; look at every mailbox.
    pub complete: bool,
    /// The account's ModSeq now: what to ask from next time.
    pub mod_seq: ModSeq,
}

impl ReadTx {
    /// What changed in a mailbox after `since`.
    ///
    /// # Errors
    /// When there is no such mailbox.
    pub fn changes(&self, account: AccountId, mailbox: MailboxId, since: ModSeq) -> Result<MailboxChanges> {
        let counters = self.counters(account)?;
        let record = self.mailbox_record(account, mailbox)?;
        let mut changes = MailboxChanges {
            complete: since >= record.change_floor,
            list_changed: counters.list_mod_seq > since,
            mod_seq: counters.mod_seq,
            ..MailboxChanges::default()
        };
        match (record.mod_seq > since, changes.complete) {
            (false, _) => changes.complete = true,
            (true, true) => self.changes_read(account, mailbox, since, &mut changes)?,
            (true, false) => self.changes_by_looking(account, mailbox, since, &record, &mut changes)?,
        }
        Ok(changes)
    }

    /// What kinds of changes there were in a mailbox after `since`; costs what has changed, and reads no message but
    /// the last.
    ///
    /// # Errors
    /// When there is no such mailbox.
    pub fn mailbox_news(&self, account: AccountId, mailbox: MailboxId, since: ModSeq) -> Result<MailboxNews> {
        let record = self.mailbox_record(account, mailbox)?;
        if record.mod_seq <= since {
            return Ok(MailboxNews::default());
        }
        if since < record.change_floor {
            return Ok(MailboxNews { came: true, went: true, flags: true });
        }
        let mut news = MailboxNews { came: self.came_since(account, mailbox, since)?, ..MailboxNews::default() };
        for (_, record) in self.records(&key::changes_since(account, mailbox, since))? {
            news.flags |= matches!(record, ChangeRecord::Flags(_));
            news.went |= matches!(record, ChangeRecord::Vanished(_));
        }
        Ok(news)
    }

    fn came_since(&self, account: AccountId, mailbox: MailboxId, since: ModSeq) -> Result<bool> {
        let range = KeyRange::prefix(&key::mailbox(account, mailbox));
        let mut last = Ok(false);
        self.scan(Space::Message, &range, Direction::Back, |key, octets| {
            last = read_message(key, octets).map(|(_, came)| came > since);
            ControlFlow::Break(())
        })?;
        last
    }

    /// The ModSeq at which the account's list of mailboxes changed last.
    ///
    /// # Errors
    /// When there is no such account.
    pub fn list_mod_seq(&self, account: AccountId) -> Result<ModSeq> {
        Ok(self.counters(account)?.list_mod_seq)
    }

    fn changes_read(&self, account: AccountId, mailbox: MailboxId, since: ModSeq, changes: &mut MailboxChanges) -> Result<()> {
        let mut touched = UidSet::new();
        for (_, record) in self.records(&key::changes_since(account, mailbox, since))? {
            match record {
                ChangeRecord::Flags(uids) => touched = touched.union(&uids),
                ChangeRecord::Vanished(uids) => changes.vanished = changes.vanished.union(&uids),
                ChangeRecord::Destroyed(_) | ChangeRecord::Mailboxes(_) | ChangeRecord::Annotation(_) => {}
            }
        }
        let added = self.added_since(account, mailbox, since)?;
        let old = added.first().map_or(u32::MAX, |message| message.uid.0.saturating_sub(1));
        let touched = touched.subtract(&changes.vanished).intersect(&UidSet::range(Uid(1), Uid(old)));
        self.messages_of(account, mailbox, &touched, &mut changes.messages)?;
        changes.messages.extend(added);
        Ok(())
    }

    /// Messages that came after `since`, in order: they stand at the end of the mailbox.
    fn added_since(&self, account: AccountId, mailbox: MailboxId, since: ModSeq) -> Result<Vec<Message>> {
        let range = KeyRange::prefix(&key::mailbox(account, mailbox));
        let (mut added, mut failure) = (Vec::new(), None);
        self.scan(Space::Message, &range, Direction::Back, |key, octets| match read_message(key, octets) {
            Ok((_, came)) if came <= since => ControlFlow::Break(()),
            Ok((message, _)) => {
                added.push(message);
                ControlFlow::Continue(())
            }
            Err(error) => {
                failure = Some(error);
                ControlFlow::Break(())
            }
        })?;
        added.reverse();
        failure.map_or(Ok(added), Err)
    }

    fn changes_by_looking(
        &self,
        account: AccountId,
        mailbox: MailboxId,
        since: ModSeq,
        record: &MailboxRecord,
        changes: &mut MailboxChanges,
    ) -> Result<()> {
        let mut all = Vec::new();
        let every = UidSet::range(Uid(1), Uid(u32::MAX));
        self.messages_of(account, mailbox, &every, &mut all)?;
        let there: UidSet = all.iter().map(|message| message.uid).collect();
        let given = UidSet::range(Uid(0), Uid(record.uid_next.0.saturating_sub(1)));
        changes.vanished = given.subtract(&there);
        changes.messages = all.into_iter().filter(|message| message.mod_seq > since).collect();
        Ok(())
    }

    /// Which mailboxes of an account changed in name, role, subscription or being, after `since`.
    ///
    /// # Errors
    /// When there is no such account.
    pub fn list_changes(&self, account: AccountId, since: ModSeq) -> Result<ListChanges> {
        let counters = self.counters(account)?;
        let (mut mailboxes, mut annotations) = (Vec::new(), Vec::new());
        for (_, record) in self.records(&key::changes_since(account, LIST, since))? {
            match record {
                ChangeRecord::Mailboxes(ids) => mailboxes.extend(ids),
                ChangeRecord::Annotation(change) => annotations.push(change),
                ChangeRecord::Flags(_) | ChangeRecord::Vanished(_) | ChangeRecord::Destroyed(_) => {}
            }
        }
        mailboxes.sort_unstable();
        mailboxes.dedup();
        Ok(ListChanges { mailboxes, annotations, complete: since >= counters.list_floor, mod_seq: counters.mod_seq })
    }
}

/// How much of a feed is kept.
struct Window {
    floor: ModSeq,
    entries: u32,
}

impl WriteTx {
    /// Notes a change in a mailbox at its record's ModSeq.
    pub(crate) fn mailbox_changed(
        &mut self,
        account: AccountId,
        mailbox: MailboxId,
        record: &mut MailboxRecord,
        changes: &[ChangeRecord],
    ) -> Result<()> {
        let window = Window { floor: record.change_floor, entries: record.changes };
        let window = self.feed(account, mailbox, record.mod_seq, changes, window)?;
        (record.change_floor, record.changes) = (window.floor, window.entries);
        Ok(())
    }

    /// Notes a change of the list of mailboxes at the counters' ModSeq.
    pub(crate) fn list_changed(
        &mut self,
        account: AccountId,
        counters: &mut Counters,
        mailboxes: &[MailboxId],
        destroyed: &[EmailId],
    ) -> Result<()> {
        counters.list_mod_seq = counters.mod_seq;
        let lists = mailboxes.chunks(ITEMS_MAX).map(|ids| ChangeRecord::Mailboxes(ids.to_vec()));
        let changes: Vec<_> = lists.chain(destroyed_entries(destroyed)).collect();
        self.list_feed(account, counters, &changes)
    }

    /// Notes a changed annotation at the counters' ModSeq.
    pub(crate) fn annotated(&mut self, account: AccountId, counters: &mut Counters, change: AnnotationChange) -> Result<()> {
        counters.list_mod_seq = counters.mod_seq;
        self.list_feed(account, counters, &[ChangeRecord::Annotation(change)])
    }

    fn list_feed(&mut self, account: AccountId, counters: &mut Counters, changes: &[ChangeRecord]) -> Result<()> {
        let window = Window { floor: counters.list_floor, entries: counters.list_changes };
        let window = self.feed(account, LIST, counters.mod_seq, changes, window)?;
        (counters.list_floor, counters.list_changes) = (window.floor, window.entries);
        Ok(())
    }

    fn feed(
        &mut self,
        account: AccountId,
        mailbox: MailboxId,
        mod_seq: ModSeq,
        changes: &[ChangeRecord],
        mut window: Window,
    ) -> Result<Window> {
        for (part, change) in (0..=u16::MAX).zip(changes) {
            self.save(&key::change(account, mailbox, mod_seq, part), change)?;
            window.entries += 1;
        }
        if window.entries > CHANGES_MAX {
            self.feed_forget(account, mailbox, &mut window)?;
        }
        Ok(window)
    }

    fn feed_forget(&mut self, account: AccountId, mailbox: MailboxId, window: &mut Window) -> Result<()> {
        let oldest = self.keys(Space::Change, &KeyRange::prefix(&key::mailbox(account, mailbox)), FORGET)?;
        for key in &oldest {
            self.delete(Space::Change, key);
            window.entries = window.entries.saturating_sub(1);
        }
        if let Some(mod_seq) = oldest.last().and_then(|key| key::change_mod_seq(key)) {
            window.floor = window.floor.max(mod_seq);
        }
        Ok(())
    }
}

/// The entries for Uids, each of bounded size.
pub(crate) fn uid_entries(uids: &UidSet, entry: fn(UidSet) -> ChangeRecord) -> Vec<ChangeRecord> {
    let ranges: Vec<_> = uids.ranges().map(|(first, last)| (first.0, last.0)).collect();
    ranges.chunks(ITEMS_MAX).map(|ranges| entry(UidSet::from(ranges.to_vec()))).collect()
}

/// The entries for emails that are gone, each of bounded size.
pub(crate) fn destroyed_entries(emails: &[EmailId]) -> impl Iterator<Item = ChangeRecord> + '_ {
    emails.chunks(ITEMS_MAX).map(|emails| ChangeRecord::Destroyed(emails.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FlagChange;
    use crate::testing::{add, findings, flags, inbox, now, tx, uids, world};

    #[test]
    fn a_client_is_told_what_it_missed() {
        let (store, ann) = world();
        tx(&store, move |tx| {
            let id = inbox(tx, ann).id;
            let sent = tx.mailbox_by_role(ann, mail::Role::Sent)?.unwrap().id;
            for number in 0..6 {
                add(tx, ann, id, &format!("{number}@x"), "")?;
            }
            let since = tx.mod_seq(ann)?;
            tx.flags_change(ann, id, &uids("2:3"), &FlagChange::Add(flags("\\Seen")), None)?;
            tx.email_move(ann, id, &uids("3"), sent, now())?;
            add(tx, ann, id, "new@x", "")?;
            add(tx, ann, id, "short@x", "\\Deleted")?;
            tx.expunge(ann, id, &uids("1:9"))?;
            let shown = |mailbox, since| {
                let changes = tx.changes(ann, mailbox, since).unwrap();
                assert!(changes.complete);
                (changes.messages.iter().map(|m| m.uid.0).collect::<Vec<_>>(), changes.vanished)
            };
            assert_eq!(shown(id, since), (vec![2, 7], uids("3,8")));
            assert_eq!(shown(sent, since), (vec![1], uids("")));
            assert_eq!(shown(id, ModSeq(0)), (vec![1, 2, 4, 5, 6, 7], uids("3,8")));
            assert_eq!(shown(id, tx.mod_seq(ann)?), (vec![], uids("")));
            assert_eq!(shown(id, ModSeq(u64::MAX)), (vec![], uids("")));
            let kinds = |mailbox, since| tx.mailbox_news(ann, mailbox, since).unwrap();
            assert_eq!(kinds(id, since), MailboxNews { came: true, went: true, flags: true });
            assert_eq!(kinds(sent, since), MailboxNews { came: true, went: false, flags: false });
            assert_eq!(kinds(sent, tx.mod_seq(ann)?), MailboxNews::default());
            Ok(())
        });
    }

    #[test]
    fn what_is_forgotten_is_said_to_be() {
        let (store, ann) = world();
        tx(&store, move |tx| {
            let id = inbox(tx, ann).id;
            for number in 0..3 {
                add(tx, ann, id, &format!("{number}@x"), "")?;
            }
            tx.messages_destroy(ann, id, &uids("2"))?;
            let since = tx.mod_seq(ann)?;
            for round in 0..=CHANGES_MAX {
                let change = if round % 2 == 0 { FlagChange::Add(flags("\\Seen")) } else { FlagChange::Remove(flags("\\Seen")) };
                tx.flags_change(ann, id, &uids("3"), &change, None)?;
            }
            let old = tx.changes(ann, id, since)?;
            assert!(!old.complete);
            assert_eq!((old.messages.iter().map(|m| m.uid.0).collect::<Vec<_>>(), old.vanished), (vec![3], uids("2")));
            let record = tx.mailbox_record(ann, id)?;
            assert!(record.changes <= CHANGES_MAX && record.changes > CHANGES_MAX - 2 * u32::try_from(FORGET).unwrap());
            let young = tx.changes(ann, id, ModSeq(record.mod_seq.0 - 5))?;
            assert!(young.complete && young.messages.len() == 1 && young.vanished.is_empty());
            Ok(())
        });
        assert_eq!(findings(&store), [""; 0]);
    }

    #[test]
    fn a_scattered_change_is_told_in_parts_of_bounded_size() {
        let scattered: UidSet = (1..=20_000).map(|n| Uid(n * 2)).collect();
        let entries = uid_entries(&scattered, ChangeRecord::Flags);
        let octets: Vec<_> = entries.iter().map(|entry| crate::record::encode(entry).unwrap().len()).collect();
        assert!(entries.len() == 5 && octets.iter().all(|octets| *octets < 50_000), "{octets:?}");
        let joined = entries.into_iter().fold(UidSet::new(), |all, entry| match entry {
            ChangeRecord::Flags(uids) => all.union(&uids),
            other => panic!("{other:?}"),
        });
        assert_eq!(joined, scattered);
    }
}
