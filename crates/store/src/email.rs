//! Emails: what is stored once per account, however many mailboxes show it.
//!
//! An email has its octets, its digest, its thread and a list of its places (mailbox and Uid). A copy
//! is one more place; the email goes with its last one, and with it its hold on the blob, its octets
//! in the quota and its part in the threads.
//!
//! The digest stands behind the record in the same value. It is a cache: one that is too large to be
//! kept, or was written in another form, is made again from the message. The full-text index of the email's
//! texts has a key of its own (`grams`), because SEARCH reads many of those and no digest.
//!
//! Invariants: an email has a place or does not exist; every place is a message that names the email.

use crate::body::Body;
use crate::error::{Error, Result};
use crate::index::KeyRange;
use crate::key;
use crate::lesson;
use crate::mailbox::MailboxRecord;
use crate::message::{MessageRecord, Walk, Which};
use crate::outbox;
use crate::record::{Record, decode_front, encode, unreadable};
use crate::schema::Space;
use crate::thread::Joined;
use crate::tx::{ReadTx, WriteTx};
use crate::uid::Counters;
use mail::digest::Digest;
use mail::{AccountId, BlobHash, EmailId, Flags, MailboxId, ModSeq, Role, ThreadId, Timestamp, Uid, UidSet, UidValidity};
use serde::{Deserialize, Serialize};

/// Most places of one email: more copies are refused. Our own bound; every copy writes the list anew.
pub const PLACES_MAX: usize = 1_000;
/// Longest digest that is kept, octets; the digest of a longer one is made when it is asked for. Our
/// own bound: engines to come take 100 kB in a value.
pub const DIGEST_OCTETS_MAX: usize = 64 << 10;
/// The form in which digests are written; others are made again.
const DIGEST_FORMAT: u8 = 1;
/// Octets read at once when a digest is made again.
const READ_OCTETS: usize = 1 << 20;

/// A message to be stored.
#[derive(Debug, Clone)]
pub struct NewEmail<'a> {
    /// Its octets.
    pub body: &'a Body,
    /// Their digest.
    pub digest: &'a Digest,
    /// The flags it starts with.
    pub flags: Flags,
    /// INTERNALDATE: when it was received, or what APPEND says.
    pub internal_date: Timestamp,
    /// Now (SAVEDATE).
    pub saved: Timestamp,
}

/// Where a message was stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Added {
    /// Its number in the mailbox.
    pub uid: Uid,
    /// The email.
    pub email: EmailId,
    /// The conversation it joined or began.
    pub thread: ThreadId,
    /// The ModSeq at which it came.
    pub mod_seq: ModSeq,
    /// The mailbox's numbering (APPENDUID).
    pub uid_validity: UidValidity,
}

/// An email of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Email {
    /// Its number in the account.
    pub id: EmailId,
    /// The conversation it belongs to.
    pub thread: ThreadId,
    /// Octets of the message.
    pub octets: u64,
    /// Its octets.
    pub blob: BlobHash,
    /// The messages that it is, by mailbox and Uid; never none.
    pub places: Vec<(MailboxId, Uid)>,
}

/// An email as stored, in front of its digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct EmailRecord {
    pub(crate) blob: BlobHash,
    pub(crate) octets: u64,
    pub(crate) thread: ThreadId,
    /// Hashes of the message ids under which the threads count it.
    pub(crate) thread_ids: Vec<u64>,
    pub(crate) places: Vec<(MailboxId, Uid)>,
}

impl Record for EmailRecord {
    const SPACE: Space = Space::Email;
    const NAME: &'static str = "email record";
}

impl ReadTx {
    /// An email; `None`: the account has no such email.
    pub fn email(&self, account: AccountId, id: EmailId) -> Result<Option<Email>> {
        let found = self.email_record(account, id)?;
        Ok(found.map(|(record, _)| {
            let EmailRecord { blob, octets, thread, places, thread_ids: _ } = record;
            Email { id, thread, octets, blob, places }
        }))
    }

    /// The digest of an email: cached, or made again from the message.
    ///
    /// [`Error::NotFound`] when the account has no such email.
    pub fn digest(&self, account: AccountId, id: EmailId) -> Result<Digest> {
        let key = key::email(account, id);
        let octets = self.get(Space::Email, &key)?.ok_or_else(|| Error::NotFound("email".into()))?;
        let (record, cached) = decode_front::<EmailRecord>(&key, &octets)?;
        match digest_read(cached) {
            Some(digest) => Ok(digest),
            None => Ok(Digest::of(&self.blob_whole(&record.blob, record.octets)?)),
        }
    }

    /// The record of an email and the octets of its digest.
    pub(crate) fn email_record(&self, account: AccountId, id: EmailId) -> Result<Option<(EmailRecord, Vec<u8>)>> {
        let key = key::email(account, id);
        let Some(octets) = self.get(Space::Email, &key)? else { return Ok(None) };
        let (record, digest) = decode_front::<EmailRecord>(&key, &octets)?;
        Ok(Some((record, digest.to_vec())))
    }

    /// The messages of a mailbox that are an email.
    pub(crate) fn uids_of_email(&self, account: AccountId, email: EmailId, mailbox: MailboxId) -> Result<UidSet> {
        let places = self.email(account, email)?.map(|email| email.places).unwrap_or_default();
        Ok(places.into_iter().filter(|(place, _)| *place == mailbox).map(|(_, uid)| uid).collect())
    }

    fn email_record_needed(&self, account: AccountId, id: EmailId) -> Result<(EmailRecord, Vec<u8>)> {
        self.email_record(account, id)?.ok_or_else(|| unreadable::<EmailRecord>(&key::email(account, id)))
    }

    /// All octets of a blob.
    pub(crate) fn blob_whole(&self, blob: &BlobHash, octets: u64) -> Result<Vec<u8>> {
        let mut whole = Vec::new();
        while (whole.len() as u64) < octets {
            let chunk = self.blob_read(blob, whole.len() as u64, READ_OCTETS)?;
            if chunk.is_empty() {
                return Err(Error::corrupt(format!("blob {blob} is shorter than its email")));
            }
            whole.extend(chunk);
        }
        Ok(whole)
    }
}

pub(crate) fn digest_write(digest: &Digest) -> Vec<u8> {
    let octets = postcard::to_extend(digest, vec![DIGEST_FORMAT]).unwrap_or_default();
    if octets.len() > DIGEST_OCTETS_MAX { Vec::new() } else { octets }
}

pub(crate) fn digest_read(octets: &[u8]) -> Option<Digest> {
    match octets.split_first() {
        Some((&DIGEST_FORMAT, digest)) => postcard::from_bytes(digest).ok(),
        _ => None,
    }
}

impl WriteTx {
    /// Stores a message in a mailbox.
    ///
    /// [`Error::NotFound`] without such a mailbox, [`Error::OverQuota`] without room, [`Error::Full`]
    /// without disk, [`Error::Limit`] with too many keywords.
    pub fn email_add(&mut self, account: AccountId, mailbox: MailboxId, new: NewEmail<'_>) -> Result<Added> {
        let record = self.mailbox_record(account, mailbox)?;
        let mut counters = self.counters(account)?;
        counters.email_in(new.body.octets())?;
        self.email_put(account, mailbox, record, counters, new)
    }

    /// Stores a message that the counters have counted, in its mailbox.
    pub(crate) fn email_put(
        &mut self,
        account: AccountId,
        mailbox: MailboxId,
        mut record: MailboxRecord,
        mut counters: Counters,
        new: NewEmail<'_>,
    ) -> Result<Added> {
        self.keywords_note(account, mailbox, new.flags.keywords())?;
        let (email, mod_seq) = (counters.next_email(), counters.next_mod_seq());
        let Joined { thread, ids } = self.thread_join(account, email, new.digest)?;
        let (body, digest) = (new.body, new.digest);
        let message = new.message(email, thread, mod_seq);
        let uid = self.message_put(account, mailbox, &mut record, &message)?;
        self.blob_put(body)?;
        let stored = EmailRecord { blob: message.blob, octets: message.octets, thread, thread_ids: ids, places: vec![(mailbox, uid)] };
        self.email_save(account, email, &stored, &digest_write(digest))?;
        self.grams_save(account, email, &digest.grams.texts);
        let uid_validity = record.uid_validity;
        self.mailbox_advance(account, mailbox, record, &counters, &[])?;
        Ok(Added { uid, email, thread, mod_seq, uid_validity })
    }

    pub(crate) fn email_save(&mut self, account: AccountId, id: EmailId, record: &EmailRecord, digest: &[u8]) -> Result<()> {
        let mut octets = encode(record)?;
        octets.extend_from_slice(digest);
        self.put(Space::Email, &key::email(account, id), octets);
        Ok(())
    }

    /// Copies messages into a mailbox (which may be their own): the same emails with the same flags
    /// and INTERNALDATE under new Uids. Returns the old and the new Uids, in order; those that do
    /// not exist are left out.
    ///
    /// Copies cost nothing, but for what was refused ([`crate::rejects`]): [`Error::OverQuota`] if there is no room for it.
    pub fn email_copy(
        &mut self,
        account: AccountId,
        from: MailboxId,
        uids: &UidSet,
        to: MailboxId,
        now: Timestamp,
    ) -> Result<Vec<(Uid, Uid)>> {
        let role = self.mailbox_record(account, from)?.role;
        let mut record = self.mailbox_record(account, to)?;
        let lesson = lesson::of_move(role, record.role);
        let mut taught = Vec::new();
        let mut counters = self.counters(account)?;
        let mod_seq = counters.next_mod_seq();
        let mut copied = Vec::new();
        // A copy into the same mailbox must not find what it has just made.
        let given = UidSet::range(Uid(1), Uid(self.mailbox_record(account, from)?.uid_next.0.saturating_sub(1)));
        let mut walk = Walk::new(account, from, &uids.intersect(&given));
        loop {
            let batch = walk.next(self)?;
            if batch.is_empty() {
                break;
            }
            for (uid, message) in batch {
                let flags = if role == Some(Role::Outbox) { outbox::flags_outside(&message.flags, record.role) } else { message.flags };
                self.keywords_note(account, to, flags.keywords())?;
                let copy = MessageRecord { flags, mod_seq, came: mod_seq, saved: now, ..message };
                let new = self.message_put(account, to, &mut record, &copy)?;
                self.email_enter(account, copy.email, to, new)?;
                self.reject_copied(account, &mut counters, copy.email, (to, new), lesson, now)?;
                copied.push((uid, new));
                if lesson.is_some() && taught.len() < lesson::LESSONS_MAX {
                    taught.push(copy.email);
                }
            }
        }
        if !copied.is_empty() {
            self.mailbox_advance(account, to, record, &counters, &[])?;
        }
        if let Some(class) = lesson {
            self.teach(account, &taught, class)?;
        }
        Ok(copied)
    }

    /// Moves messages into a mailbox: a copy and the removal of the originals in one (RFC 6851).
    /// Returns the old and the new Uids, in order; those that do not exist are left out.
    pub fn email_move(
        &mut self,
        account: AccountId,
        from: MailboxId,
        uids: &UidSet,
        to: MailboxId,
        now: Timestamp,
    ) -> Result<Vec<(Uid, Uid)>> {
        let moved = self.email_copy(account, from, uids, to, now)?;
        let gone = moved.iter().map(|(old, _)| *old).collect();
        self.messages_remove(account, from, &gone, Which::All)?;
        Ok(moved)
    }

    pub(crate) fn email_enter(&mut self, account: AccountId, id: EmailId, mailbox: MailboxId, uid: Uid) -> Result<()> {
        let (mut record, digest) = self.email_record_needed(account, id)?;
        if record.places.len() >= PLACES_MAX {
            return Err(Error::Limit("copies of one email".into()));
        }
        record.places.push((mailbox, uid));
        self.email_save(account, id, &record, &digest)
    }

    /// Takes a place from an email; true if it was the last, and the email is gone.
    pub(crate) fn email_leave(
        &mut self,
        account: AccountId,
        counters: &mut Counters,
        id: EmailId,
        mailbox: MailboxId,
        uid: Uid,
    ) -> Result<bool> {
        let (mut record, digest) = self.email_record_needed(account, id)?;
        record.places.retain(|place| *place != (mailbox, uid));
        let is_counted = self.reject_left(account, counters, id, &record.places)?;
        if !record.places.is_empty() {
            self.email_save(account, id, &record, &digest)?;
            return Ok(false);
        }
        if is_counted {
            counters.email_out(record.octets);
        }
        self.delete(Space::Email, &key::email(account, id));
        self.delete(Space::Grams, &key::email(account, id));
        self.delete(Space::Taught, &key::email(account, id));
        self.delete(Space::Origin, &key::email(account, id));
        self.thread_leave(account, &Joined { thread: record.thread, ids: record.thread_ids })?;
        self.blob_release(&record.blob)?;
        Ok(true)
    }

    /// Lets go of the blobs of every email of an account; its keys are removed by the caller.
    pub(crate) fn emails_release(&mut self, account: AccountId) -> Result<()> {
        let range = KeyRange::prefix(&key::account(account));
        let read = |key: &[u8], octets: &[u8]| Ok(decode_front::<EmailRecord>(key, octets)?.0.blob);
        let blobs = self.gather(Space::Email, &range, crate::index::Direction::Forward, usize::MAX, read)?;
        blobs.iter().try_for_each(|blob| self.blob_release(blob))
    }
}

impl NewEmail<'_> {
    fn message(self, email: EmailId, thread: ThreadId, mod_seq: ModSeq) -> MessageRecord {
        MessageRecord {
            email,
            thread,
            flags: self.flags,
            mod_seq,
            came: mod_seq,
            octets: self.body.octets(),
            internal_date: self.internal_date,
            saved: self.saved,
            blob: self.body.hash(),
            heads: self.digest.grams.heads,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{add, digest, findings, flags, inbox, message_text, now, said, tx, uids, world};
    use std::time::Duration;

    #[test]
    fn a_copy_is_the_same_email_with_flags_of_its_own() {
        let (store, ann) = world();
        tx(&store, move |tx| {
            let (inbox_id, sent) = (inbox(tx, ann).id, tx.mailbox_by_role(ann, Role::Sent)?.unwrap().id);
            let added = add(tx, ann, inbox_id, "one@x", "\\Seen Work")?;
            add(tx, ann, inbox_id, "two@x", "")?;
            let used = tx.quota(ann)?;
            let later = now().after(Duration::from_mins(5));
            assert_eq!(tx.email_copy(ann, inbox_id, &uids("1,7"), sent, later)?, [(Uid(1), Uid(1))]);
            assert_eq!(tx.quota(ann)?, used, "a copy costs nothing");
            let copy = tx.message(ann, sent, Uid(1))?.unwrap();
            assert_eq!((copy.email, copy.thread, copy.internal_date, copy.saved), (added.email, added.thread, now(), later));
            tx.flags_change(ann, sent, &uids("1"), &crate::FlagChange::Set(flags("")), None)?;
            assert_eq!(tx.message(ann, inbox_id, Uid(1))?.unwrap().flags, flags("\\Seen Work"));
            assert_eq!(tx.email(ann, added.email)?.unwrap().places, [(inbox_id, Uid(1)), (sent, Uid(1))]);
            assert_eq!(tx.messages_destroy(ann, inbox_id, &uids("1"))?.destroyed, []);
            assert_eq!(tx.digest(ann, added.email)?.message_id.as_deref(), Some("one@x"));
            assert_eq!(tx.messages_destroy(ann, sent, &uids("1"))?.destroyed, [added.email]);
            assert_eq!((tx.email(ann, added.email)?, tx.blob(&copy.blob)?), (None, None));
            Ok(())
        });
        assert_eq!(findings(&store), [""; 0]);
    }

    #[test]
    fn a_move_may_be_within_one_mailbox() {
        let (store, ann) = world();
        tx(&store, move |tx| {
            let id = inbox(tx, ann).id;
            add(tx, ann, id, "one@x", "\\Deleted")?;
            add(tx, ann, id, "two@x", "")?;
            assert_eq!(tx.email_copy(ann, id, &uids("2:9"), id, now())?, [(Uid(2), Uid(3))]);
            assert_eq!(tx.email_move(ann, id, &uids("1"), id, now())?, [(Uid(1), Uid(4))]);
            assert_eq!((tx.uids(ann, id)?, tx.uids_deleted(ann, id, Uid(1), Uid(9))?), (uids("2:4"), uids("4")));
            assert_eq!(tx.email_move(ann, id, &uids("99"), id, now())?, []);
            Ok(())
        });
        assert_eq!(findings(&store), [""; 0]);
    }

    #[test]
    fn equal_octets_are_stored_once() {
        let (store, ann) = world();
        tx(&store, move |tx| {
            let id = inbox(tx, ann).id;
            let (first, second) = (add(tx, ann, id, "one@x", "")?, add(tx, ann, id, "one@x", "")?);
            assert!(first.email != second.email && first.thread == second.thread);
            let blob = tx.message(ann, id, Uid(1))?.unwrap().blob;
            assert_eq!(tx.blob(&blob)?.map(|blob| blob.references), Some(2));
            Ok(())
        });
        assert_eq!(findings(&store), [""; 0]);
    }

    #[test]
    fn mail_over_the_quota_is_refused_before_anything_is_written() {
        let (store, ann) = world();
        tx(&store, move |tx| {
            let id = inbox(tx, ann).id;
            add(tx, ann, id, "one@x", "")?;
            let used = tx.quota(ann)?.used_octets;
            tx.account_set_quota(ann, Some(used * 2 - 1))?;
            let before = tx.mod_seq(ann)?;
            assert!(said(add(tx, ann, id, "two@x", "Work")).starts_with("over quota"));
            assert_eq!((tx.mod_seq(ann)?, tx.mailbox_keywords(ann, id)?.len()), (before, 0));
            tx.account_set_quota(ann, Some(used * 2))?;
            add(tx, ann, id, "two@x", "")?;
            tx.account_set_quota(ann, Some(1))?;
            assert!(!tx.quota(ann)?.has_room(0));
            tx.email_copy(ann, id, &uids("1"), id, now())?;
            Ok(())
        });
        assert_eq!(findings(&store), [""; 0]);
    }

    #[test]
    fn a_digest_that_is_not_kept_is_made_again() {
        let (store, ann) = world();
        tx(&store, move |tx| {
            let id = inbox(tx, ann).id;
            let text = message_text("x", "one@x", &[]);
            let (body, mut large) = (Body::new(text.as_bytes()), digest("x", "one@x", &[]));
            large.preview = "x".repeat(DIGEST_OCTETS_MAX);
            let new = NewEmail { body: &body, digest: &large, flags: flags(""), internal_date: now(), saved: now() };
            let added = tx.email_add(ann, id, new)?;
            assert_eq!(tx.digest(ann, added.email)?, Digest::of(text.as_bytes()));
            assert_eq!(tx.email_record(ann, added.email)?.unwrap().1.len(), 0);
            let unknown = EmailId(99);
            assert_eq!(said(tx.digest(ann, unknown)), "email does not exist");
            Ok(())
        });
    }

    #[test]
    fn an_email_has_only_so_many_places() {
        let (store, ann) = world();
        let error = store.write_blocking(move |tx| {
            let id = inbox(tx, ann).id;
            add(tx, ann, id, "one@x", "")?;
            (0..PLACES_MAX).try_for_each(|_| tx.email_copy(ann, id, &uids("1"), id, now()).map(|_| ()))
        });
        assert_eq!(said(error), "limit reached: copies of one email");
    }
}
