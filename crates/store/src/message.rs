//! Messages: what a mailbox holds in order of Uid, their flags, and how they go.
//!
//! A message is an email's place in one mailbox: it has its own flags, Uid and ModSeq, and one small
//! record with everything that FETCH needs short of the digest. The email itself is
//! [`crate::email`]'s.
//!
//! Invariants: a message's ModSeq is that of its last change, never above the account's; Uids ascend
//! with the ModSeq at which messages came; no change here costs more in a larger mailbox.

use crate::change::{ChangeRecord, uid_entries};
use crate::error::{Error, Result};
use crate::index::{Direction, KeyRange};
use crate::key;
use crate::lesson;
use crate::mailbox::MailboxRecord;
use crate::record::{Record, decode, unreadable};
use crate::schema::Space;
use crate::tx::{ReadTx, WriteTx};
use crate::uid::Counters;
use mail::grams::Heads;
use mail::{AccountId, BlobHash, EmailId, Flag, Flags, MailboxId, ModSeq, Rights, ThreadId, Timestamp, Uid, UidSet};
use serde::{Deserialize, Serialize};

/// Messages read at once by what walks through many.
const BATCH: usize = 512;
/// Messages removed by one commit where a whole mailbox or account goes, so that others come between. Our own bound.
pub(crate) const REMOVED_AT_ONCE: usize = 1_000;
/// Ranges of Uids this near to each other are read as one.
const GAP_MAX: u32 = 16;

/// A message in a mailbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its number in the mailbox.
    pub uid: Uid,
    /// The email it is.
    pub email: EmailId,
    /// The conversation it belongs to.
    pub thread: ThreadId,
    /// Its flags in this mailbox.
    pub flags: Flags,
    /// When it last changed.
    pub mod_seq: ModSeq,
    /// Octets of the message (RFC822.SIZE).
    pub octets: u64,
    /// INTERNALDATE; kept when copied.
    pub internal_date: Timestamp,
    /// When it was put into this mailbox (SAVEDATE, RFC 8514).
    pub saved: Timestamp,
    /// Its octets.
    pub blob: BlobHash,
    /// The full-text index of its subject and addresses.
    pub heads: Heads,
}

/// A message as stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MessageRecord {
    pub(crate) email: EmailId,
    pub(crate) thread: ThreadId,
    pub(crate) flags: Flags,
    pub(crate) mod_seq: ModSeq,
    /// The ModSeq at which it came into the mailbox.
    pub(crate) came: ModSeq,
    pub(crate) octets: u64,
    pub(crate) internal_date: Timestamp,
    pub(crate) saved: Timestamp,
    pub(crate) blob: BlobHash,
    pub(crate) heads: Heads,
}

/// The form before there was a full-text index.
#[derive(Deserialize)]
struct MessageRecord1 {
    email: EmailId,
    thread: ThreadId,
    flags: Flags,
    mod_seq: ModSeq,
    came: ModSeq,
    octets: u64,
    internal_date: Timestamp,
    saved: Timestamp,
    blob: BlobHash,
}

impl Record for MessageRecord {
    const SPACE: Space = Space::Message;
    const NAME: &'static str = "message record";
    const FORMAT: u8 = 2;

    fn upgrade(format: u8, octets: &[u8]) -> Option<Self> {
        if format != 1 {
            return None;
        }
        let MessageRecord1 { email, thread, flags, mod_seq, came, octets, internal_date, saved, blob } =
            postcard::from_bytes(octets).ok()?;
        Some(Self { email, thread, flags, mod_seq, came, octets, internal_date, saved, blob, heads: Heads::default() })
    }
}

impl MessageRecord {
    pub(crate) fn message(self, uid: Uid) -> Message {
        let Self { email, thread, flags, mod_seq, octets, internal_date, saved, blob, heads, came: _ } = self;
        Message { uid, email, thread, flags, mod_seq, octets, internal_date, saved, blob, heads }
    }
}

/// What to do with flags (RFC 9051 §6.4.6).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FlagChange {
    /// `FLAGS`: exactly these.
    Set(Flags),
    /// `+FLAGS`
    Add(Flags),
    /// `-FLAGS`
    Remove(Flags),
    /// `FLAGS` by somebody who may not change all of them: of those that the rights cover, exactly
    /// these (RFC 4314 §4).
    SetCovered(Flags, Rights),
}

/// What became of a change of flags. Uids that do not exist are in none of these.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FlagOutcome {
    /// Messages with other flags now, as they are now, in order.
    pub changed: Vec<Message>,
    /// Messages that had these flags already; their ModSeq stays.
    pub unchanged: UidSet,
    /// Messages left alone because they changed after `unchanged_since` (RFC 7162 §3.1.3, MODIFIED).
    pub modified: UidSet,
    /// The ModSeq of this change; if nothing changed, the account's last one.
    pub mod_seq: ModSeq,
}

/// What left a mailbox.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Expunged {
    /// The messages that are gone.
    pub uids: UidSet,
    /// The emails that no mailbox holds any more.
    pub destroyed: Vec<EmailId>,
    /// The ModSeq of this change; if nothing went, the account's last one.
    pub mod_seq: ModSeq,
}

/// Which messages go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Which {
    /// Those with `\Deleted`.
    Deleted,
    /// All.
    All,
}

/// Reads a message and the ModSeq at which it came.
pub(crate) fn read_message(key: &[u8], octets: &[u8]) -> Result<(Message, ModSeq)> {
    let uid = key::message_uid(key).ok_or_else(|| unreadable::<MessageRecord>(key))?;
    let record: MessageRecord = decode(key, octets)?;
    let came = record.came;
    Ok((record.message(uid), came))
}

impl ReadTx {
    /// A message; `None`: there is none with this Uid.
    pub fn message(&self, account: AccountId, mailbox: MailboxId, uid: Uid) -> Result<Option<Message>> {
        let record = self.record::<MessageRecord>(&key::message(account, mailbox, uid))?;
        Ok(record.map(|record| record.message(uid)))
    }

    /// The messages from one Uid to another, both with, in order, at most `max`: ask again from
    /// behind the last one for more.
    pub fn messages(&self, account: AccountId, mailbox: MailboxId, from: Uid, to: Uid, max: usize) -> Result<Vec<Message>> {
        let range = key::messages(account, mailbox, from, to);
        self.gather(Space::Message, &range, Direction::Forward, max, |key, octets| Ok(read_message(key, octets)?.0))
    }

    /// Adds the messages of a set that exist, in order.
    pub(crate) fn messages_of(&self, account: AccountId, mailbox: MailboxId, uids: &UidSet, found: &mut Vec<Message>) -> Result<()> {
        for (from, to) in spans(uids) {
            let span = self.messages(account, mailbox, from, to, usize::MAX)?;
            found.extend(span.into_iter().filter(|message| uids.contains(message.uid)));
        }
        Ok(())
    }

    /// Every Uid of a mailbox, found by looking at each.
    pub(crate) fn uids_counted(&self, account: AccountId, mailbox: MailboxId) -> Result<UidSet> {
        self.uids_of(Space::Message, account, mailbox, Uid(1), Uid(u32::MAX))
    }

    /// The Uids of the messages with `\Deleted`, from one Uid to another, both with.
    pub fn uids_deleted(&self, account: AccountId, mailbox: MailboxId, from: Uid, to: Uid) -> Result<UidSet> {
        self.uids_of(Space::Deleted, account, mailbox, from, to)
    }

    fn uids_of(&self, space: Space, account: AccountId, mailbox: MailboxId, from: Uid, to: Uid) -> Result<UidSet> {
        let mut uids = UidSet::new();
        self.scan(space, &key::messages(account, mailbox, from, to), Direction::Forward, |key, _| {
            uids.insert(key::message_uid(key).unwrap_or_default());
            std::ops::ControlFlow::Continue(())
        })?;
        Ok(uids)
    }

    fn message_records(&self, range: &KeyRange, max: usize) -> Result<Vec<(Uid, MessageRecord)>> {
        self.gather(Space::Message, range, Direction::Forward, max, |key, octets| {
            let uid = key::message_uid(key).ok_or_else(|| unreadable::<MessageRecord>(key))?;
            Ok((uid, decode(key, octets)?))
        })
    }
}

/// A walk through the messages of a set, a batch at a time, so that they can be changed on the way.
pub(crate) struct Walk {
    account: AccountId,
    mailbox: MailboxId,
    uids: UidSet,
    /// What is still to be visited, the next at the end.
    spans: Vec<(Uid, Uid)>,
}

impl Walk {
    pub(crate) fn new(account: AccountId, mailbox: MailboxId, uids: &UidSet) -> Self {
        let mut spans = spans(uids);
        spans.reverse();
        Self { account, mailbox, uids: uids.clone(), spans }
    }

    /// The next messages; empty at the end.
    pub(crate) fn next(&mut self, tx: &ReadTx) -> Result<Vec<(Uid, MessageRecord)>> {
        while let Some((from, to)) = self.spans.pop() {
            let mut batch = tx.message_records(&key::messages(self.account, self.mailbox, from, to), BATCH)?;
            if let Some((last, _)) = batch.last().filter(|(last, _)| batch.len() == BATCH && *last < to) {
                self.spans.push((last.next(), to));
            }
            batch.retain(|(uid, _)| self.uids.contains(*uid));
            if !batch.is_empty() {
                return Ok(batch);
            }
        }
        Ok(Vec::new())
    }
}

/// The ranges of a set, those that nearly touch taken together: reading over a few strangers is
/// cheaper than starting to read anew.
fn spans(uids: &UidSet) -> Vec<(Uid, Uid)> {
    let mut spans: Vec<(Uid, Uid)> = Vec::new();
    for (from, to) in uids.ranges() {
        match spans.last_mut() {
            Some(span) if from.0 - span.1.0 <= GAP_MAX => span.1 = to,
            _ => spans.push((from, to)),
        }
    }
    spans
}

impl FlagChange {
    fn flags(&self) -> &Flags {
        match self {
            Self::Set(flags) | Self::Add(flags) | Self::Remove(flags) | Self::SetCovered(flags, _) => flags,
        }
    }

    fn applied(&self, flags: &Flags) -> Result<Flags> {
        let mut changed = flags.clone();
        match self {
            Self::Set(exactly) => changed.clone_from(exactly),
            Self::SetCovered(exactly, rights) => {
                let kept = flags.iter().filter(|flag| !rights.cover(flag));
                changed = kept.chain(rights.covered(exactly).iter()).collect();
            }
            Self::Remove(without) => without.iter().for_each(|flag| {
                changed.remove(&flag);
            }),
            Self::Add(with) => with.iter().for_each(|flag| {
                changed.insert(flag);
            }),
        }
        // The set itself keeps its bound; silence would lose a flag.
        match self {
            Self::Add(with) if with.keywords().iter().any(|keyword| !changed.contains(&Flag::Keyword(keyword.clone()))) => {
                Err(Error::Limit("keywords of a message".into()))
            }
            _ => Ok(changed),
        }
    }
}

impl MailboxRecord {
    /// Counts a message in.
    pub(crate) fn message_in(&mut self, message: &MessageRecord) {
        self.emails += 1;
        self.octets = self.octets.saturating_add(message.octets);
        self.flags_in(&message.flags);
    }

    /// Counts a message out.
    pub(crate) fn message_out(&mut self, message: &MessageRecord) {
        self.emails = self.emails.saturating_sub(1);
        self.octets = self.octets.saturating_sub(message.octets);
        self.flags_out(&message.flags);
    }

    fn flags_in(&mut self, flags: &Flags) {
        self.unseen += u32::from(!flags.contains(&Flag::Seen));
        self.deleted += u32::from(flags.contains(&Flag::Deleted));
    }

    fn flags_out(&mut self, flags: &Flags) {
        self.unseen = self.unseen.saturating_sub(u32::from(!flags.contains(&Flag::Seen)));
        self.deleted = self.deleted.saturating_sub(u32::from(flags.contains(&Flag::Deleted)));
    }
}

impl WriteTx {
    /// Changes the flags of messages; those that changed after `unchanged_since` are left alone.
    ///
    /// All get the same new ModSeq; messages that have these flags already keep theirs.
    ///
    /// Fails with [`Error::Limit`] when a message or the mailbox would have too many keywords; then
    /// nothing may be kept of the transaction.
    pub fn flags_change(
        &mut self,
        account: AccountId,
        mailbox: MailboxId,
        uids: &UidSet,
        change: &FlagChange,
        unchanged_since: Option<ModSeq>,
    ) -> Result<FlagOutcome> {
        let mut record = self.mailbox_record(account, mailbox)?;
        let mut counters = self.counters(account)?;
        let mut lessons = Vec::new();
        let in_outbox = self.outbox_knows(account)?;
        let mut outcome = FlagOutcome { mod_seq: counters.mod_seq, ..FlagOutcome::default() };
        let mod_seq = counters.next_mod_seq();
        let mut walk = Walk::new(account, mailbox, uids);
        loop {
            let batch = walk.next(self)?;
            if batch.is_empty() {
                break;
            }
            for (uid, message) in batch {
                if unchanged_since.is_some_and(|since| message.mod_seq > since) {
                    outcome.modified.insert(uid);
                    continue;
                }
                let flags = change.applied(&message.flags)?;
                if flags == message.flags {
                    outcome.unchanged.insert(uid);
                    continue;
                }
                lessons.extend(lesson::of_flags(&message.flags, &flags, record.role).map(|class| (message.email, class)));
                outcome.changed.push(self.message_flags(account, mailbox, &mut record, uid, message, flags, mod_seq)?);
            }
        }
        if !outcome.changed.is_empty() {
            outcome.mod_seq = mod_seq;
            self.keywords_note(account, mailbox, change.added())?;
            let uids = outcome.changed.iter().map(|message| message.uid).collect();
            self.mailbox_advance(account, mailbox, record, &counters, &uid_entries(&uids, ChangeRecord::Flags))?;
        }
        if in_outbox {
            self.outbox_marked(account, mailbox, &outcome.changed)?;
        }
        for (email, class) in lessons.into_iter().take(lesson::LESSONS_MAX) {
            self.teach(account, &[email], class)?;
        }
        Ok(outcome)
    }

    #[expect(clippy::too_many_arguments, reason = "the inside of the loop above")]
    fn message_flags(
        &mut self,
        account: AccountId,
        mailbox: MailboxId,
        record: &mut MailboxRecord,
        uid: Uid,
        mut message: MessageRecord,
        flags: Flags,
        mod_seq: ModSeq,
    ) -> Result<Message> {
        record.flags_out(&message.flags);
        record.flags_in(&flags);
        let key = key::message(account, mailbox, uid);
        match (message.flags.contains(&Flag::Deleted), flags.contains(&Flag::Deleted)) {
            (false, true) => self.put(Space::Deleted, &key, Vec::new()),
            (true, false) => self.delete(Space::Deleted, &key),
            _ => {}
        }
        (message.flags, message.mod_seq) = (flags, mod_seq);
        self.save(&key, &message)?;
        Ok(message.message(uid))
    }

    /// Stores a mailbox's record and its account's counters after a change at the counters' ModSeq.
    pub(crate) fn mailbox_advance(
        &mut self,
        account: AccountId,
        mailbox: MailboxId,
        mut record: MailboxRecord,
        counters: &Counters,
        changes: &[ChangeRecord],
    ) -> Result<()> {
        record.mod_seq = counters.mod_seq;
        self.announce_mailbox(account, record.mod_seq, mailbox);
        self.mailbox_changed(account, mailbox, &mut record, changes)?;
        self.save(&key::mailbox(account, mailbox), &record)?;
        self.counters_save(account, counters)
    }

    /// Puts a message into its mailbox; the record counts it.
    pub(crate) fn message_put(
        &mut self,
        account: AccountId,
        mailbox: MailboxId,
        record: &mut MailboxRecord,
        message: &MessageRecord,
    ) -> Result<Uid> {
        let uid = record.next_uid()?;
        record.message_in(message);
        let key = key::message(account, mailbox, uid);
        if message.flags.contains(&Flag::Deleted) {
            self.put(Space::Deleted, &key, Vec::new());
        }
        self.save(&key, message)?;
        Ok(uid)
    }

    /// Removes those of the messages that have `\Deleted` (EXPUNGE, UID EXPUNGE, CLOSE). Costs what
    /// is removed: the whole mailbox may be asked for.
    pub fn expunge(&mut self, account: AccountId, mailbox: MailboxId, uids: &UidSet) -> Result<Expunged> {
        self.messages_remove(account, mailbox, uids, Which::Deleted)
    }

    /// Removes messages, whatever their flags (POP3's DELE, the other half of a move).
    pub fn messages_destroy(&mut self, account: AccountId, mailbox: MailboxId, uids: &UidSet) -> Result<Expunged> {
        self.messages_remove(account, mailbox, uids, Which::All)
    }

    /// Removes the first messages of a mailbox that has more than [`REMOVED_AT_ONCE`]; whether it has.
    pub(crate) fn messages_destroy_some(&mut self, account: AccountId, mailbox: MailboxId) -> Result<bool> {
        let range = key::messages(account, mailbox, Uid(1), Uid(u32::MAX));
        let keys = self.keys(Space::Message, &range, REMOVED_AT_ONCE + 1)?;
        if keys.len() <= REMOVED_AT_ONCE {
            return Ok(false);
        }
        let uids = keys.iter().take(REMOVED_AT_ONCE).filter_map(|key| key::message_uid(key)).collect();
        self.messages_destroy(account, mailbox, &uids)?;
        Ok(true)
    }

    pub(crate) fn messages_remove(&mut self, account: AccountId, mailbox: MailboxId, uids: &UidSet, which: Which) -> Result<Expunged> {
        let mut record = self.mailbox_record(account, mailbox)?;
        let mut counters = self.counters(account)?;
        let mut gone = Expunged { mod_seq: counters.mod_seq, ..Expunged::default() };
        let pop3_knows = self.pop3_knows(account, mailbox)?;
        let in_outbox = self.outbox_knows(account)?;
        let mut walk = Walk::new(account, mailbox, &self.going(account, mailbox, uids, which)?);
        loop {
            let batch = walk.next(self)?;
            if batch.is_empty() {
                break;
            }
            for (uid, message) in batch {
                record.message_out(&message);
                let key = key::message(account, mailbox, uid);
                self.delete(Space::Message, &key);
                if message.flags.contains(&Flag::Deleted) {
                    self.delete(Space::Deleted, &key);
                }
                if pop3_knows {
                    self.delete(Space::Pop3Message, &key);
                }
                if self.email_leave(account, &mut counters, message.email, mailbox, uid)? {
                    gone.destroyed.push(message.email);
                }
                if in_outbox {
                    self.outbox_left(account, mailbox, message.email)?;
                }
                gone.uids.insert(uid);
            }
        }
        if !gone.uids.is_empty() {
            gone.mod_seq = counters.next_mod_seq();
            let mut changes = uid_entries(&gone.uids, ChangeRecord::Vanished);
            changes.extend(crate::change::destroyed_entries(&gone.destroyed));
            self.mailbox_advance(account, mailbox, record, &counters, &changes)?;
        }
        Ok(gone)
    }

    fn going(&self, account: AccountId, mailbox: MailboxId, uids: &UidSet, which: Which) -> Result<UidSet> {
        match which {
            Which::All => Ok(uids.clone()),
            Which::Deleted => {
                let (from, to) = (uids.first().unwrap_or_default(), uids.last().unwrap_or_default());
                Ok(self.uids_deleted(account, mailbox, from, to)?.intersect(uids))
            }
        }
    }
}

impl FlagChange {
    /// The keywords that messages may have got.
    fn added(&self) -> &[mail::Keyword] {
        match self {
            Self::Remove(_) => &[],
            _ => self.flags().keywords(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{add, findings, flags, inbox, said, tx, uids, world};

    #[test]
    fn flags_change_as_store_says() {
        let (store, ann) = world();
        tx(&store, move |tx| {
            let id = inbox(tx, ann).id;
            for (name, with) in [("one@x", ""), ("two@x", "\\Seen"), ("three@x", "Work")] {
                add(tx, ann, id, name, with)?;
            }
            let all = uids("1:9");
            let outcome = tx.flags_change(ann, id, &all, &FlagChange::Add(flags("\\Seen")), None)?;
            assert_eq!(outcome.changed.iter().map(|m| m.uid.0).collect::<Vec<_>>(), [1, 3]);
            assert_eq!((outcome.unchanged, outcome.modified), (uids("2"), uids("")));
            assert_eq!(inbox(tx, ann).mod_seq, outcome.mod_seq);
            assert_eq!(inbox(tx, ann).unseen, 0);

            let since = outcome.mod_seq;
            let again = tx.flags_change(ann, id, &all, &FlagChange::Add(flags("\\Seen")), None)?;
            assert_eq!((again.changed, again.mod_seq, again.unchanged), (vec![], since, uids("1:3")), "nothing changed, nothing counts");

            tx.flags_change(ann, id, &uids("2"), &FlagChange::Set(flags("Play")), None)?;
            let conditional = tx.flags_change(ann, id, &all, &FlagChange::Add(flags("\\Flagged")), Some(since))?;
            assert_eq!((conditional.modified, conditional.changed.len()), (uids("2"), 2));
            let none = tx.flags_change(ann, id, &all, &FlagChange::Remove(flags("\\Flagged")), Some(ModSeq(0)))?;
            assert_eq!((none.modified, none.changed.len()), (uids("1:3"), 0));

            let removed = tx.flags_change(ann, id, &uids("3"), &FlagChange::Remove(flags("\\Flagged work \\Answered")), None)?;
            assert_eq!(removed.changed[0].flags, flags("\\Seen"));

            for (rights, want) in
                [("w", "\\Seen \\Flagged"), ("t", "\\Seen \\Flagged \\Deleted"), ("s", "\\Flagged \\Deleted"), ("wst", "Play")]
            {
                let set = if rights == "s" { "Play" } else { "\\Flagged \\Deleted" };
                let change = FlagChange::SetCovered(flags(if rights == "wst" { "Play" } else { set }), Rights::parse(rights).unwrap());
                tx.flags_change(ann, id, &uids("3"), &change, None)?;
                assert_eq!(tx.message(ann, id, Uid(3))?.unwrap().flags, flags(want), "{rights}");
            }
            let empty = tx.flags_change(ann, id, &uids(""), &FlagChange::Set(flags("")), None)?;
            assert_eq!((empty.changed.len(), empty.unchanged.len()), (0, 0));
            Ok(())
        });
        assert_eq!(findings(&store), [""; 0]);
    }

    #[test]
    fn a_message_has_only_so_many_keywords() {
        let (store, ann) = world();
        let error = store.write_blocking(move |tx| {
            let id = inbox(tx, ann).id;
            let many: Vec<_> = (0..Flags::KEYWORDS_MAX).map(|n| format!("k{n}")).collect();
            add(tx, ann, id, "one@x", &many.join(" "))?;
            tx.flags_change(ann, id, &uids("1"), &FlagChange::Add(flags("k0 \\Seen")), None)?;
            tx.flags_change(ann, id, &uids("1"), &FlagChange::Add(flags("more")), None)
        });
        assert_eq!(said(error), "limit reached: keywords of a message");
    }

    #[test]
    fn expunge_takes_what_is_deleted_and_asked_for() {
        let (store, ann) = world();
        tx(&store, move |tx| {
            let id = inbox(tx, ann).id;
            for (name, with) in [("one@x", "\\Deleted"), ("two@x", ""), ("three@x", "\\Deleted"), ("four@x", "\\Deleted")] {
                add(tx, ann, id, name, with)?;
            }
            assert_eq!((inbox(tx, ann).deleted, tx.uids_deleted(ann, id, Uid(2), Uid(9))?), (3, uids("3:4")));
            let before = tx.mod_seq(ann)?;
            assert_eq!(tx.expunge(ann, id, &uids("2"))?, Expunged { mod_seq: before, ..Expunged::default() });
            let gone = tx.expunge(ann, id, &uids("2:3"))?;
            assert_eq!((gone.uids, gone.destroyed, gone.mod_seq), (uids("3"), vec![EmailId(3)], before.next()));
            assert_eq!(tx.expunge(ann, id, &uids("1:4294967295"))?.uids, uids("1,4"));
            assert_eq!(tx.messages_destroy(ann, id, &uids("1:5"))?.uids, uids("2"));
            let mailbox = inbox(tx, ann);
            assert_eq!((mailbox.emails, mailbox.octets, mailbox.uid_next, tx.quota(ann)?.used_octets), (0, 0, Uid(5), 0));
            Ok(())
        });
        assert_eq!(findings(&store), [""; 0]);
    }

    #[test]
    fn messages_come_in_order_and_in_portions() {
        let (store, ann) = world();
        tx(&store, move |tx| {
            let id = inbox(tx, ann).id;
            for number in 0..5 {
                add(tx, ann, id, &format!("{number}@x"), "")?;
            }
            tx.messages_destroy(ann, id, &uids("3"))?;
            let shown = |from, to, max| {
                let messages = tx.messages(ann, id, Uid(from), Uid(to), max).unwrap();
                messages.iter().map(|m| m.uid.0).collect::<Vec<_>>()
            };
            for (from, to, max, want) in [
                (1, u32::MAX, 99, vec![1, 2, 4, 5]),
                (1, u32::MAX, 2, vec![1, 2]),
                (3, u32::MAX, 2, vec![4, 5]),
                (2, 4, 99, vec![2, 4]),
                (3, 3, 99, vec![]),
                (6, 9, 99, vec![]),
            ] {
                assert_eq!(shown(from, to, max), want, "{from} {to} {max}");
            }
            assert_eq!(tx.uids(ann, id)?, uids("1:2,4:5"));
            assert!(tx.message(ann, id, Uid(3))?.is_none() && tx.message(ann, id, Uid(4))?.is_some());
            Ok(())
        });
    }

    #[test]
    fn a_set_with_gaps_touches_no_stranger() {
        let (store, ann) = world();
        let many = u32::try_from(BATCH).unwrap() + 40;
        tx(&store, move |tx| {
            let id = inbox(tx, ann).id;
            for number in 0..many {
                add(tx, ann, id, &format!("{number}@x"), "")?;
            }
            let odd: UidSet = (1..=many).step_by(2).map(Uid).collect();
            for set in [uids("2,4:5,30,59,900"), odd] {
                let change = FlagChange::Add(flags("\\Flagged"));
                tx.flags_change(ann, id, &uids("1:4294967295"), &FlagChange::Set(flags("")), None)?;
                let since = tx.mod_seq(ann)?;
                let changed: UidSet = tx.flags_change(ann, id, &set, &change, None)?.changed.iter().map(|m| m.uid).collect();
                assert_eq!(changed, set.intersect(&tx.uids(ann, id)?));
                let told: UidSet = tx.changes(ann, id, since)?.messages.iter().map(|m| m.uid).collect();
                assert_eq!(told, changed);
            }
            Ok(())
        });
    }

    #[test]
    fn more_messages_than_a_batch_change_together() {
        let (store, ann) = world();
        let count = u32::try_from(BATCH).unwrap() * 2 + 3;
        tx(&store, move |tx| {
            let id = inbox(tx, ann).id;
            for number in 0..count {
                add(tx, ann, id, &format!("{number}@x"), "")?;
            }
            let all = uids("1:4294967295");
            assert_eq!(tx.flags_change(ann, id, &all, &FlagChange::Add(flags("\\Deleted")), None)?.changed.len(), count as usize);
            assert_eq!(tx.expunge(ann, id, &all)?.uids.len(), count);
            Ok(())
        });
        assert_eq!(findings(&store), [""; 0]);
    }
}
