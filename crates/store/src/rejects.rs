//! The Rejects: mail of the last days that was refused, where its reader can look into it and take it out.
//!
//! A message in the mailbox with the role Rejects that was put there because it was refused has an entry here. What its
//! reader does with it, by whatever protocol, decides what becomes of it:
//!
//! ```text
//! kept ──▶ moved or copied elsewhere: mail like any other; as a lesson: wanted, or unwanted in Junk (`lesson`)
//!   ├────▶ deleted: gone; it teaches nothing
//!   └────▶ its days are over, or newer ones need the room: gone
//! ```
//!
//! What is kept is not in the quota until it is elsewhere too: nobody can be kept from getting wanted mail by mail that
//! was refused, and nobody sees an account filled by it. [`RejectsMax`] bounds it instead. What else is in the mailbox,
//! because somebody put it there, has no entry, counts like any mail, and stays until somebody takes it away.
//!
//! Not the decision to refuse or to keep: that is `mta::receive`'s.
//!
//! Invariants: an entry's email has a place in the entry's mailbox; an entry that does not count has no other; an entry,
//! its link and its keys are there together or not at all; the counters know how many entries there are.

use crate::Body;
use crate::email::NewEmail;
use crate::error::{Error, Result};
use crate::index::{Direction, KeyRange};
use crate::key;
use crate::message::Which;
use crate::record::{Record, decode, unreadable};
use crate::schema::Space;
use crate::tx::{ReadTx, WriteTx};
use crate::uid::Counters;
use filter::classifier::Class;
use filter::reputation::Subject;
use mail::digest::Digest;
use mail::{AccountId, EmailId, Event, Flags, MailboxId, ReceiptId, Role, Timestamp, TrailEntry, Uid, UidSet};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::ControlFlow;

/// How much an account keeps of what was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RejectsMax {
    /// Messages.
    pub messages: u32,
    /// Octets of them all.
    pub octets: u64,
}

/// A message that was refused and is to be kept.
#[derive(Debug, Clone, Copy)]
pub struct NewReject<'a> {
    /// Its receipt.
    pub receipt: ReceiptId,
    /// Its octets, with the fields that tell its reader why.
    pub body: &'a Body,
    /// Their digest.
    pub digest: &'a Digest,
    /// What the peer heard.
    pub reply: &'a str,
    /// Texts by which the same message is known when it is brought again: one that agrees is enough.
    pub known_by: &'a [String],
    /// Who brought it, as far as that is proven.
    pub subjects: &'a [Subject],
}

/// Where a refused message is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeptReject {
    /// The mailbox.
    pub mailbox: MailboxId,
    /// As what.
    pub email: EmailId,
    /// Under which Uid.
    pub uid: Uid,
    /// It was there already, because it was brought before.
    pub again: bool,
}

/// A message in the Rejects that was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reject {
    /// Whose.
    pub account: AccountId,
    /// The email.
    pub email: EmailId,
    /// The mailbox.
    pub mailbox: MailboxId,
    /// The receipt of the refusal.
    pub receipt: ReceiptId,
    /// When it was refused.
    pub at: Timestamp,
    /// Octets.
    pub octets: u64,
    /// What the peer heard.
    pub reply: String,
    /// It was copied to another mailbox, too.
    pub is_elsewhere: bool,
}

/// An entry as stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RejectRecord {
    pub(crate) receipt: ReceiptId,
    pub(crate) mailbox: MailboxId,
    pub(crate) at: Timestamp,
    pub(crate) octets: u64,
    /// Hashes by which the same message is known.
    pub(crate) known_by: Vec<u64>,
    pub(crate) reply: String,
    /// It is, or was, elsewhere too, and so it is in the quota.
    pub(crate) counted: bool,
}

impl Record for RejectRecord {
    const SPACE: Space = Space::Reject;
    const NAME: &'static str = "record of a refused message";
}

/// The refused message that is known by a hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RejectKey(pub(crate) EmailId);

impl Record for RejectKey {
    const SPACE: Space = Space::RejectKey;
    const NAME: &'static str = "key of a refused message";
}

/// What an account keeps of a receipt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RejectLink(pub(crate) EmailId);

impl Record for RejectLink {
    const SPACE: Space = Space::RejectLink;
    const NAME: &'static str = "link to a refused message";
}

impl RejectRecord {
    fn reject(self, account: AccountId, email: EmailId) -> Reject {
        let Self { receipt, mailbox, at, octets, reply, counted, known_by: _ } = self;
        Reject { account, email, mailbox, receipt, at, octets, reply, is_elsewhere: counted }
    }
}

impl ReadTx {
    /// What an account keeps of what was refused, the oldest first.
    ///
    /// # Errors
    /// When the store fails.
    pub fn rejects(&self, account: AccountId) -> Result<Vec<Reject>> {
        let records = self.reject_records(account, usize::MAX)?;
        Ok(records.into_iter().map(|(email, record)| record.reject(account, email)).collect())
    }

    /// An email, if it was refused and is still kept.
    ///
    /// # Errors
    /// When the store fails.
    pub fn reject(&self, account: AccountId, email: EmailId) -> Result<Option<Reject>> {
        Ok(self.record::<RejectRecord>(&key::email(account, email))?.map(|record| record.reject(account, email)))
    }

    /// What is kept of a receipt, for each account that keeps it; also where it had come before under another receipt,
    /// as long as the trail tells.
    ///
    /// # Errors
    /// When the store fails.
    pub fn rejects_by_receipt(&self, receipt: ReceiptId) -> Result<Vec<Reject>> {
        let mut places = BTreeMap::new();
        for (key, RejectLink(email)) in self.records::<RejectLink>(&KeyRange::prefix(&key::receipt(receipt)))? {
            let account = key::number_u32(&key, 8).map(AccountId).ok_or_else(|| unreadable::<RejectLink>(&key))?;
            places.insert(account, email);
        }
        for entry in self.trail(receipt)? {
            if let Event::Kept { account, email, again: true, .. } = entry.event {
                places.entry(account).or_insert(email);
            }
        }
        let found = places.into_iter().map(|(account, email)| self.reject(account, email));
        Ok(found.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
    }

    /// The accounts that keep something that was refused before a time.
    ///
    /// # Errors
    /// When the store fails.
    pub fn accounts_with_old_rejects(&self, before: Timestamp) -> Result<Vec<AccountId>> {
        let (mut found, mut from) = (Vec::new(), Some(0));
        while let Some(next) = from {
            let range = KeyRange { from: key::account(AccountId(next)), to: None };
            let first = self.gather(Space::Reject, &range, Direction::Forward, 1, |key, octets| {
                let account = key::number_u32(key, 0).ok_or_else(|| unreadable::<RejectRecord>(key))?;
                Ok((account, decode::<RejectRecord>(key, octets)?.at))
            })?;
            let Some((account, at)) = first.first().copied() else { break };
            if at < before {
                found.push(AccountId(account));
            }
            from = account.checked_add(1);
        }
        Ok(found)
    }

    /// The oldest entries of an account, at most `max` of them.
    fn reject_records(&self, account: AccountId, max: usize) -> Result<Vec<(EmailId, RejectRecord)>> {
        self.gather(Space::Reject, &KeyRange::prefix(&key::account(account)), Direction::Forward, max, read)
    }

    /// The oldest entries of an account, as long as `is_meant` says so.
    fn reject_records_while(
        &self,
        account: AccountId,
        mut is_meant: impl FnMut(&RejectRecord) -> bool,
    ) -> Result<Vec<(EmailId, RejectRecord)>> {
        let (mut found, mut failed) = (Vec::new(), None);
        self.scan(Space::Reject, &KeyRange::prefix(&key::account(account)), Direction::Forward, |key, octets| match read(key, octets) {
            Ok((email, record)) if is_meant(&record) => {
                found.push((email, record));
                ControlFlow::Continue(())
            }
            Ok(_) => ControlFlow::Break(()),
            Err(error) => {
                failed = Some(error);
                ControlFlow::Break(())
            }
        })?;
        failed.map_or(Ok(found), Err)
    }

    /// The same message, if it is kept already.
    fn reject_known(&self, account: AccountId, known_by: &[u64]) -> Result<Option<KeptReject>> {
        for hash in known_by {
            let Some(RejectKey(email)) = self.record::<RejectKey>(&key::reject_key(account, *hash))? else { continue };
            let Some(record) = self.record::<RejectRecord>(&key::email(account, email))? else { continue };
            let uid = self.uids_of_email(account, email, record.mailbox)?.first();
            return Ok(uid.map(|uid| KeptReject { mailbox: record.mailbox, email, uid, again: true }));
        }
        Ok(None)
    }
}

fn read(key: &[u8], octets: &[u8]) -> Result<(EmailId, RejectRecord)> {
    let email = key::number_u64(key, 4).map(EmailId).ok_or_else(|| unreadable::<RejectRecord>(key))?;
    Ok((email, decode(key, octets)?))
}

impl WriteTx {
    /// Keeps a refused message for an account, in its Rejects, which are made if there are none; the oldest make room.
    /// The same message is kept once. `None`: it is larger than everything that may be kept.
    ///
    /// # Errors
    /// When there is no such account, no mailbox can be made, the disk has little room ([`crate::Settings`]), or the store
    /// fails.
    pub fn reject_keep(&mut self, account: AccountId, new: NewReject<'_>, max: RejectsMax, now: Timestamp) -> Result<Option<KeptReject>> {
        self.account_record(account)?;
        let known_by: Vec<u64> = new.known_by.iter().map(|text| key::hash(text)).collect();
        if let Some(known) = self.reject_known(account, &known_by)? {
            return Ok(Some(known));
        }
        if max.messages == 0 || new.body.octets() > max.octets {
            return Ok(None);
        }
        if self.is_scarce() {
            return Err(Error::Limit("there is little room on the disk".into()));
        }
        let id = self.mailbox_needed(account, Role::Rejects)?;
        self.rejects_make_room(account, new.body.octets(), max)?;
        let (record, mut counters) = (self.mailbox_record(account, id)?, self.counters(account)?);
        counters.rejects = counters.rejects.saturating_add(1);
        counters.rejects_octets = counters.rejects_octets.saturating_add(new.body.octets());
        let NewReject { receipt, body, digest, reply, .. } = new;
        let email = NewEmail { body, digest, flags: Flags::default(), internal_date: now, saved: now };
        let added = self.email_put(account, id, record, counters, email)?;
        self.origin_note(account, added.email, new.subjects, now)?;
        for hash in &known_by {
            self.save(&key::reject_key(account, *hash), &RejectKey(added.email))?;
        }
        self.save(&key::reject_link(receipt, account), &RejectLink(added.email))?;
        let (octets, reply) = (body.octets(), reply.to_owned());
        let entry = RejectRecord { receipt, mailbox: id, at: now, octets, known_by, reply, counted: false };
        self.save(&key::email(account, added.email), &entry)?;
        Ok(Some(KeptReject { mailbox: id, email: added.email, uid: added.uid, again: false }))
    }

    /// The oldest go, so that one more of that size finds room.
    fn rejects_make_room(&mut self, account: AccountId, octets: u64, max: RejectsMax) -> Result<()> {
        let Counters { mut rejects, mut rejects_octets, .. } = self.counters(account)?;
        let gone = self.reject_records_while(account, |record| {
            let is_needed = rejects >= max.messages || rejects_octets.saturating_add(octets) > max.octets;
            rejects = rejects.saturating_sub(1);
            rejects_octets = rejects_octets.saturating_sub(record.octets);
            is_needed
        })?;
        self.rejects_remove(account, gone)
    }

    fn rejects_remove(&mut self, account: AccountId, gone: Vec<(EmailId, RejectRecord)>) -> Result<()> {
        let mut uids: BTreeMap<MailboxId, UidSet> = BTreeMap::new();
        for (email, record) in gone {
            let of_mailbox = uids.entry(record.mailbox).or_default();
            for uid in self.uids_of_email(account, email, record.mailbox)?.iter() {
                of_mailbox.insert(uid);
            }
        }
        uids.into_iter().try_for_each(|(mailbox, uids)| self.messages_remove(account, mailbox, &uids, Which::All).map(drop))
    }

    /// Removes what an account keeps of what was refused before a time, at most `max` messages of it; how many.
    ///
    /// # Errors
    /// When the store fails.
    pub fn rejects_expire(&mut self, account: AccountId, before: Timestamp, max: usize) -> Result<usize> {
        let mut left = max;
        let gone = self.reject_records_while(account, |record| {
            let is_meant = record.at < before && left > 0;
            left = left.saturating_sub(1);
            is_meant
        })?;
        let removed = gone.len();
        self.rejects_remove(account, gone)?;
        Ok(removed)
    }

    /// Takes a refused message out of the Rejects into the inbox, as its reader can. False: it is not kept any more.
    ///
    /// # Errors
    /// [`crate::Error::OverQuota`] when the account has no room for it; when the store fails.
    pub fn reject_release(&mut self, account: AccountId, email: EmailId, now: Timestamp) -> Result<bool> {
        let Some(reject) = self.reject(account, email)? else { return Ok(false) };
        let Some(inbox) = self.mailbox_by_role(account, Role::Inbox)? else { return Ok(false) };
        let uids = self.uids_of_email(account, email, reject.mailbox)?;
        Ok(!self.email_move(account, reject.mailbox, &uids, inbox.id, now)?.is_empty())
    }

    /// A kept email has come into another mailbox as well: from now on it counts like any other.
    ///
    /// # Errors
    /// [`crate::Error::OverQuota`] and [`crate::Error::TooManyEmails`] when it finds no room.
    pub(crate) fn reject_copied(
        &mut self,
        account: AccountId,
        counters: &mut Counters,
        email: EmailId,
        (mailbox, uid): (MailboxId, Uid),
        lesson: Option<Class>,
        now: Timestamp,
    ) -> Result<()> {
        if counters.rejects == 0 {
            return Ok(());
        }
        let key = key::email(account, email);
        let entry = self.record::<RejectRecord>(&key)?.filter(|entry| !entry.counted && entry.mailbox != mailbox);
        let Some(entry) = entry else { return Ok(()) };
        counters.email_in(entry.octets)?;
        if lesson == Some(Class::Ham) && self.has(Space::Rejection, &key::receipt(entry.receipt))? {
            let event = Event::Readmitted { account, mailbox, email, uid };
            self.trail_append(entry.receipt, &[TrailEntry { at: now, event }])?;
        }
        self.save(&key, &RejectRecord { counted: true, ..entry })
    }

    /// An email has lost a place; `places` are those it has left. Whether it is in the quota.
    pub(crate) fn reject_left(
        &mut self,
        account: AccountId,
        counters: &mut Counters,
        email: EmailId,
        places: &[(MailboxId, Uid)],
    ) -> Result<bool> {
        if counters.rejects == 0 {
            return Ok(true);
        }
        let key = key::email(account, email);
        let Some(entry) = self.record::<RejectRecord>(&key)? else { return Ok(true) };
        if places.iter().all(|(mailbox, _)| *mailbox != entry.mailbox) {
            counters.rejects = counters.rejects.saturating_sub(1);
            counters.rejects_octets = counters.rejects_octets.saturating_sub(entry.octets);
            self.delete(Space::Reject, &key);
            self.delete(Space::RejectLink, &key::reject_link(entry.receipt, account));
            for hash in &entry.known_by {
                self.delete(Space::RejectKey, &key::reject_key(account, *hash));
            }
        }
        Ok(entry.counted)
    }

    /// An account goes: nothing leads to what it keeps.
    pub(crate) fn rejects_forget(&mut self, account: AccountId) -> Result<()> {
        for (_, entry) in self.reject_records(account, usize::MAX)? {
            self.delete(Space::RejectLink, &key::reject_link(entry.receipt, account));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{account_add, add, digest, findings, inbox, message_text, now, said, tx, uids, world};
    use crate::{FlagChange, Store};
    use mail::event::Source;
    use mail::{EnhancedStatus, Flag, ReversePath};
    use std::time::Duration;

    const MAX: RejectsMax = RejectsMax { messages: 3, octets: 10_000 };

    fn later(minutes: u64) -> Timestamp {
        now().after(Duration::from_mins(minutes))
    }

    /// Refuses a message for an account that long after the beginning.
    fn refuse(tx: &mut WriteTx, account: AccountId, id: &str, minutes: u64, max: RejectsMax) -> Result<Option<KeptReject>> {
        let at = later(minutes);
        let receipt = tx.receipt_next(at)?;
        let (text, digest) = (message_text(id, id, &[]), digest(id, id, &[]));
        let subjects = Subject::all([192, 0, 2, 1].into(), None, []);
        let (body, known_by) = (Body::new(text.as_bytes()), [format!("id {id}"), format!("content {}", id.trim_end_matches('\''))]);
        let new = NewReject { receipt, body: &body, digest: &digest, reply: "550 no", known_by: &known_by, subjects: &subjects };
        let kept = tx.reject_keep(account, new, max, at)?;
        let mut events = vec![rejected()];
        events.extend(kept.map(|kept| event(account, kept, at)));
        let entries: Vec<_> = events.into_iter().map(|event| TrailEntry { at, event }).collect();
        tx.trail_reject(receipt, &entries, crate::REJECTIONS_MAX)?;
        Ok(kept)
    }

    fn event(account: AccountId, kept: KeptReject, until: Timestamp) -> Event {
        let KeptReject { mailbox, email, uid, again } = kept;
        Event::Kept { account, mailbox, email, uid, until, again }
    }

    fn rejected() -> Event {
        Event::Rejected {
            source: Source::Mx,
            peer: None,
            helo: String::new(),
            tls: None,
            account: None,
            reverse_path: ReversePath(None),
            recipients: Vec::new(),
            message_id: None,
            octets: 1,
            code: 550,
            status: EnhancedStatus::new(5, 7, 1),
            text: "no".into(),
        }
    }

    /// The store with one refused message, and its place.
    fn refused() -> (Store, AccountId, KeptReject) {
        let (store, ann) = world();
        let kept = tx(&store, move |tx| refuse(tx, ann, "one@x", 0, MAX)).unwrap();
        (store, ann, kept)
    }

    /// Subjects of what is in the Rejects.
    fn there(tx: &ReadTx, account: AccountId) -> Vec<String> {
        let Some(mailbox) = tx.mailbox_by_role(account, Role::Rejects).unwrap() else { return Vec::new() };
        let messages = tx.messages(account, mailbox.id, Uid(1), Uid(u32::MAX), 99).unwrap();
        messages.iter().map(|message| tx.digest(account, message.email).unwrap().message_id.unwrap()).collect()
    }

    #[test]
    fn what_was_refused_is_kept_once_and_is_in_no_quota() {
        let (store, ann) = world();
        tx(&store, move |tx| {
            assert_eq!(tx.mailbox_by_role(ann, Role::Rejects)?, None, "hidden until it is needed");
            tx.account_set_quota(ann, Some(1))?;
            let before = tx.quota(ann)?;
            let kept = refuse(tx, ann, "one@x", 0, MAX)?.unwrap();
            let again = refuse(tx, ann, "one@x", 5, MAX)?.unwrap();
            assert_eq!((kept.again, again), (false, KeptReject { again: true, ..kept }));
            assert_eq!(refuse(tx, ann, "one@x'", 5, MAX)?, Some(again), "another id, the same content");
            assert_eq!(tx.quota(ann)?, before);
            let rejects = tx.rejects(ann)?;
            let [one] = rejects.as_slice() else { panic!("{rejects:?}") };
            assert_eq!(
                (one.reply.as_str(), one.at, one.is_elsewhere, tx.mailbox(ann, one.mailbox)?.unwrap().subscribed),
                ("550 no", now(), false, true)
            );
            for (receipt, want) in tx.trail_receipts_latest(9)?.into_iter().zip([1, 1, 1, 0]) {
                assert_eq!(tx.rejects_by_receipt(receipt)?.len(), want, "also by the receipts under which it came again");
            }
            assert_eq!(tx.rejects_by_receipt(ReceiptId(7))?, []);
            Ok(())
        });
        assert_eq!(findings(&store), [""; 0]);
    }

    #[test]
    fn the_oldest_make_room() {
        let (store, ann) = world();
        tx(&store, move |tx| {
            let octets = message_text("1@x", "1@x", &[]).len() as u64;
            let mut check = |id: &str, max: RejectsMax, want: &str| {
                refuse(tx, ann, id, 0, max).unwrap();
                assert_eq!(there(tx, ann).join(" "), want, "{id} {max:?}");
            };
            for (id, want) in [("1@x", "1@x"), ("2@x", "1@x 2@x"), ("3@x", "1@x 2@x 3@x"), ("4@x", "2@x 3@x 4@x")] {
                check(id, MAX, want);
            }
            check("5@x", RejectsMax { octets: octets * 2, ..MAX }, "4@x 5@x");
            check("6@x", RejectsMax { octets: octets - 1, ..MAX }, "4@x 5@x");
            check("7@x", RejectsMax { messages: 0, ..MAX }, "4@x 5@x");
            check("1@x", MAX, "4@x 5@x 1@x");
            Ok(())
        });
        assert_eq!(findings(&store), [""; 0]);
    }

    #[test]
    fn what_its_reader_does_decides_what_it_teaches() {
        /// What is taught of wanted and unwanted mail, whether it counts now, and whether it is still kept.
        fn check(act: impl Fn(&mut WriteTx, AccountId, MailboxId) -> Result<()> + Send + 'static, want: ((u32, u32), bool, bool)) {
            let (store, ann, kept) = refused();
            let found = tx(&store, move |tx| {
                act(tx, ann, kept.mailbox)?;
                let known = tx.acquaintance(ann, &filter::Features::default())?.account.messages;
                let repute = tx.reputation(ann, &Subject::all([192, 0, 2, 1].into(), None, []), now())?[0].account;
                assert_eq!((repute.ham / 1000, repute.spam / 1000), (known.ham.into(), known.spam.into()), "of its host, too");
                Ok(((known.ham, known.spam), tx.quota(ann)?.emails == 1, tx.reject(ann, kept.email)?.is_some()))
            });
            assert_eq!(found, want);
            assert_eq!(findings(&store), [""; 0]);
        }
        fn moved(to: Role) -> impl Fn(&mut WriteTx, AccountId, MailboxId) -> Result<()> {
            move |tx, ann, rejects| {
                let to = tx.mailbox_by_role(ann, to)?.unwrap().id;
                tx.email_move(ann, rejects, &uids("1"), to, now()).map(drop)
            }
        }
        let marked = |names: &'static str| {
            move |tx: &mut WriteTx, ann: AccountId, rejects: MailboxId| {
                let change = FlagChange::Add(crate::testing::flags(names));
                tx.flags_change(ann, rejects, &uids("1"), &change, None).map(drop)
            }
        };
        check(|_, _, _| Ok(()), ((0, 0), false, true));
        check(moved(Role::Inbox), ((1, 0), true, false));
        check(moved(Role::Archive), ((1, 0), true, false));
        check(moved(Role::Junk), ((0, 1), true, false));
        check(moved(Role::Trash), ((0, 0), true, false));
        check(
            |tx, ann, rejects| {
                let own = tx.mailbox_create(ann, "Friends", None)?;
                tx.email_copy(ann, rejects, &uids("1"), own, now())?;
                tx.email_copy(ann, rejects, &uids("1"), own, now()).map(drop)
            },
            ((1, 0), true, true),
        );
        check(
            |tx, ann, rejects| {
                moved(Role::Inbox)(tx, ann, rejects)?;
                let (inbox, junk) = (inbox(tx, ann).id, tx.mailbox_by_role(ann, Role::Junk)?.unwrap().id);
                tx.email_move(ann, inbox, &uids("1"), junk, now()).map(drop)
            },
            ((0, 1), true, false),
        );
        check(
            |tx, ann, rejects| {
                moved(Role::Junk)(tx, ann, rejects)?;
                let junk = tx.mailbox_by_role(ann, Role::Junk)?.unwrap().id;
                tx.email_move(ann, junk, &uids("1"), rejects, now()).map(drop)
            },
            ((0, 1), true, false),
        );
        check(|tx, ann, rejects| tx.email_move(ann, rejects, &uids("1"), rejects, now()).map(drop), ((0, 0), false, true));
        check(|tx, ann, rejects| tx.messages_destroy(ann, rejects, &uids("1")).map(drop), ((0, 0), false, false));
        check(WriteTx::mailbox_delete, ((0, 0), false, false));
        for flags in ["\\Seen \\Answered", "$NotJunk", "$Junk"] {
            check(marked(flags), ((0, 0), false, true));
        }
        check(|tx, ann, _| tx.reject_release(ann, EmailId(1), now()).map(|released| assert!(released)), ((1, 0), true, false));
    }

    #[test]
    fn its_trail_tells_that_it_was_taken_out() {
        let (store, ann, kept) = refused();
        tx(&store, move |tx| {
            let receipt = tx.rejects(ann)?[0].receipt;
            assert!(tx.reject_release(ann, kept.email, later(5))?);
            assert!(!tx.reject_release(ann, kept.email, later(6))?, "it is there no more");
            let event = Event::Readmitted { account: ann, mailbox: inbox(tx, ann).id, email: kept.email, uid: Uid(1) };
            assert_eq!(tx.trail(receipt)?.last(), Some(&TrailEntry { at: later(5), event }));
            assert_eq!(tx.rejects_by_receipt(receipt)?, []);
            Ok(())
        });
    }

    #[test]
    fn without_room_it_stays_where_it_is() {
        let (store, ann, kept) = refused();
        let over = store.write_blocking(move |tx| {
            tx.account_set_quota(ann, Some(1))?;
            tx.reject_release(ann, kept.email, now())
        });
        assert!(said(over).starts_with("over quota"));
        let left = store.read_blocking(move |tx| tx.reject(ann, kept.email)).unwrap();
        assert!(left.is_some_and(|left| !left.is_elsewhere));
        assert_eq!(findings(&store), [""; 0]);
    }

    #[test]
    fn days_go_by() {
        let (store, ann) = world();
        tx(&store, move |tx| {
            for (id, minutes) in [("1@x", 0), ("2@x", 1), ("3@x", 5)] {
                refuse(tx, ann, id, minutes, MAX)?;
            }
            // Copied, not moved: its place in the Rejects goes, the other stays.
            let rejects = tx.mailbox_by_role(ann, Role::Rejects)?.unwrap().id;
            tx.email_copy(ann, rejects, &uids("1"), inbox(tx, ann).id, now())?;
            assert_eq!((tx.accounts_with_old_rejects(now())?, tx.accounts_with_old_rejects(later(1))?), (vec![], vec![ann]));
            assert_eq!(tx.rejects_expire(ann, later(2), 1)?, 1);
            assert_eq!((there(tx, ann).join(" "), inbox(tx, ann).emails), ("2@x 3@x".to_owned(), 1));
            assert_eq!(tx.rejects_expire(ann, later(2), 9)?, 1);
            assert_eq!((there(tx, ann).join(" "), tx.quota(ann)?.emails), ("3@x".to_owned(), 1));
            Ok(())
        });
        assert_eq!(findings(&store), [""; 0]);
    }

    #[test]
    fn what_somebody_put_there_is_mail_like_any_other() {
        let (store, ann, kept) = refused();
        tx(&store, move |tx| {
            add(tx, ann, kept.mailbox, "own@x", "")?;
            add(tx, ann, inbox(tx, ann).id, "moved@x", "")?;
            tx.email_move(ann, inbox(tx, ann).id, &uids("1"), kept.mailbox, now())?;
            for number in 0..4 {
                refuse(tx, ann, &format!("{number}@x"), 1, MAX)?;
            }
            tx.rejects_expire(ann, later(99), 99)?;
            assert_eq!((there(tx, ann).join(" "), tx.quota(ann)?.emails), ("own@x moved@x".to_owned(), 2));
            Ok(())
        });
        assert_eq!(findings(&store), [""; 0]);
    }

    #[test]
    fn names_that_are_taken_and_accounts_that_go() {
        let (store, ann) = world();
        tx(&store, move |tx| {
            tx.mailbox_create(ann, "Rejects", Some(Role::Outbox))?;
            let kept = refuse(tx, ann, "one@x", 0, MAX)?.unwrap();
            assert_eq!(tx.mailbox(ann, kept.mailbox)?.unwrap().name, "Rejects 2");
            tx.flags_change(ann, kept.mailbox, &uids("1"), &FlagChange::Add([Flag::Deleted].into_iter().collect()), None)?;
            tx.expunge(ann, kept.mailbox, &uids("1"))?;
            refuse(tx, ann, "one@x", 0, MAX)?;
            tx.account_remove(ann)?;
            assert!(tx.keys(Space::RejectLink, &KeyRange::all(), 9)?.is_empty());
            Ok(())
        });
        assert_eq!(findings(&store), [""; 0]);
    }

    #[test]
    fn refused_mail_takes_no_room_that_wanted_mail_will_need() {
        let settings = crate::Settings { rejects_free_octets_min: u64::MAX, ..crate::Settings::simulated() };
        let store = crate::Store::simulated(&crate::disk::sim::SimDisk::new(), &settings).unwrap();
        tx(&store, |tx| {
            tx.domain_add(&mail::Domain::parse("example.org").unwrap(), now())?;
            let ann = account_add(tx, "ann@example.org")?;
            let refused = refuse(tx, ann, "one", 0, MAX).map(drop);
            assert_eq!(said(refused), "limit reached: there is little room on the disk");
            assert_eq!(tx.rejects(ann)?, []);
            let inbox = inbox(tx, ann).id;
            add(tx, ann, inbox, "two@x", "").map(drop)
        });
    }
}
