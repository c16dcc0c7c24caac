//! Conversations (RFC 8621 §3).
//!
//! Two emails are of one thread when a message id of the one (Message-ID, References, In-Reply-To) is
//! one of the other's and their base subjects (RFC 5256 §2.1) are the same. Of the references the
//! first and the last few count: replies carry their whole ancestry, so that is enough to join, and
//! the work per message is bounded.
//!
//! Each message id has one entry that counts its emails per thread, so that the entry goes with the
//! last of them. An email keeps its thread for life (RFC 8474 §5.2): a late message that would join
//! two threads goes into the first found.

use crate::error::Result;
use crate::key;
use crate::record::Record;
use crate::schema::Space;
use crate::tx::WriteTx;
use mail::digest::Digest;
use mail::{AccountId, EmailId, ThreadId, header};
use serde::{Deserialize, Serialize};

/// How many of the newest references are looked up, beside the first one and the message's own id.
const REFERENCES_MAX: usize = 5;
/// How many ids of `In-Reply-To` are looked up.
const REPLIED_TO_MAX: usize = 2;
/// Most threads one message id is part of; beyond, the email is not found by this id. Our own bound
/// against mail made to grow the entry.
const THREADS_PER_ID_MAX: usize = 16;

/// One message id's emails in one thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Link {
    /// Hash of the base subject.
    pub(crate) subject: u64,
    pub(crate) thread: ThreadId,
    /// How many emails have the message id in this thread.
    pub(crate) emails: u32,
}

/// What is known by a message id.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct ThreadRecord(pub(crate) Vec<Link>);

impl Record for ThreadRecord {
    const SPACE: Space = Space::Thread;
    const NAME: &'static str = "thread record";
}

/// An email's place among the threads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Joined {
    pub(crate) thread: ThreadId,
    /// Hashes of the message ids that count this email.
    pub(crate) ids: Vec<u64>,
}

/// The hashes of an email's own id and of the references that count, the nearest first.
fn ids(digest: &Digest) -> Vec<u64> {
    let newest = digest.references.iter().rev().take(REFERENCES_MAX);
    // RFC 8621 §3 counts both fields; the digest has In-Reply-To among the references only where it stands alone.
    let replied_to = digest.envelope.in_reply_to.as_deref().into_iter().flat_map(header::message_ids).take(REPLIED_TO_MAX);
    let all = digest.message_id.iter().chain(newest).chain(digest.references.first()).map(String::as_str).chain(replied_to);
    let mut ids = Vec::new();
    for id in all.map(key::hash) {
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    ids
}

impl WriteTx {
    /// Finds the thread of a new email, or starts one, and counts the email.
    pub(crate) fn thread_join(&mut self, account: AccountId, email: EmailId, digest: &Digest) -> Result<Joined> {
        let subject = key::hash(&digest.base_subject.to_lowercase());
        let mut records = Vec::new();
        for id in ids(digest) {
            records.push((id, self.record::<ThreadRecord>(&key::thread(account, id))?.unwrap_or_default()));
        }
        let links = records.iter().flat_map(|(_, record)| &record.0);
        let thread = links.into_iter().find(|link| link.subject == subject).map_or(ThreadId(email.0), |link| link.thread);
        let mut joined = Joined { thread, ids: Vec::with_capacity(records.len()) };
        for (id, mut record) in records {
            if record.count(subject, thread) {
                self.save(&key::thread(account, id), &record)?;
                joined.ids.push(id);
            }
        }
        Ok(joined)
    }

    /// Counts an email out.
    pub(crate) fn thread_leave(&mut self, account: AccountId, joined: &Joined) -> Result<()> {
        for id in &joined.ids {
            let key = key::thread(account, *id);
            let Some(mut record) = self.record::<ThreadRecord>(&key)? else { continue };
            record.discount(joined.thread);
            if record.0.is_empty() {
                self.delete(Space::Thread, &key);
            } else {
                self.save(&key, &record)?;
            }
        }
        Ok(())
    }
}

impl ThreadRecord {
    fn count(&mut self, subject: u64, thread: ThreadId) -> bool {
        if let Some(link) = self.0.iter_mut().find(|link| link.thread == thread) {
            link.emails += 1;
        } else if self.0.len() < THREADS_PER_ID_MAX {
            self.0.push(Link { subject, thread, emails: 1 });
        } else {
            return false;
        }
        true
    }

    fn discount(&mut self, thread: ThreadId) {
        self.0.iter_mut().filter(|link| link.thread == thread).for_each(|link| link.emails = link.emails.saturating_sub(1));
        self.0.retain(|link| link.emails > 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{digest, findings, flags, inbox, message_text, now, tx, uids, world};
    use crate::{Body, NewEmail};
    use mail::MailboxId;

    fn put(tx: &mut WriteTx, account: AccountId, mailbox: MailboxId, subject: &str, id: &str, references: &[&str]) -> Result<u64> {
        let body = Body::new(message_text(subject, id, references).as_bytes());
        let digest = digest(subject, id, references);
        let new = NewEmail { body: &body, digest: &digest, flags: flags(""), internal_date: now(), saved: now() };
        Ok(tx.email_add(account, mailbox, new)?.thread.0)
    }

    #[test]
    fn conversations_join() {
        let (store, ann) = world();
        tx(&store, move |tx| {
            let inbox = inbox(tx, ann).id;
            let long: Vec<String> = (0..40).map(|n| format!("a{n}@x")).collect();
            let long: Vec<&str> = long.iter().map(String::as_str).collect();
            for (subject, id, references, want, why) in [
                ("Lunch", "1@x", &[][..], 1, "a first message"),
                ("Re: Lunch", "2@x", &["1@x"], 1, "an answer"),
                ("RE: LUNCH", "3@x", &["0@x", "9@x", "2@x"], 3, "another base subject: RE: is the digest's to take off"),
                ("lunch", "4@x", &["2@x"], 1, "case does not count"),
                ("Dinner", "5@x", &["2@x"], 5, "another subject"),
                ("Re: Dinner", "6@x", &["2@x", "5@x"], 5, "the nearest reference with this subject"),
                ("Lunch", "7@x", &[], 7, "the same subject alone joins nothing"),
                ("Late", "9@x", &["8@x"], 8, "the answer came before its question"),
                ("Late", "8@x", &[], 8, "and here is the question"),
                ("Late", "10@x", &["8@x"], 8, "and another answer"),
                ("Long", "a99@x", &long, 11, "a long list of references"),
                ("Long", "a100@x", &["a0@x"], 11, "the first of them counts"),
                ("Long", "a101@x", &["a38@x"], 11, "the last of them count"),
                ("Long", "a102@x", &["a20@x"], 14, "those in the middle do not"),
            ] {
                assert_eq!(put(tx, ann, inbox, subject, id, references)?, want, "{id}: {why}");
            }
            Ok(())
        });
        assert_eq!(findings(&store), [""; 0]);
    }

    #[test]
    fn ids_are_forgotten_with_their_last_email() {
        let (store, ann) = world();
        tx(&store, move |tx| {
            let inbox = inbox(tx, ann).id;
            put(tx, ann, inbox, "Lunch", "1@x", &[])?;
            put(tx, ann, inbox, "Lunch", "2@x", &["1@x"])?;
            tx.messages_destroy(ann, inbox, &uids("1"))?;
            assert_eq!(put(tx, ann, inbox, "Lunch", "3@x", &["1@x"])?, 1, "the answer still holds the thread");
            tx.messages_destroy(ann, inbox, &uids("1:9"))?;
            assert_eq!(put(tx, ann, inbox, "Lunch", "4@x", &["1@x"])?, 4);
            Ok(())
        });
        assert_eq!(findings(&store), [""; 0]);
    }

    #[test]
    fn one_id_cannot_be_made_to_grow() {
        let (store, ann) = world();
        tx(&store, move |tx| {
            let inbox = inbox(tx, ann).id;
            for number in 0..THREADS_PER_ID_MAX * 2 {
                put(tx, ann, inbox, &format!("subject {number}"), "same@x", &[])?;
            }
            let record: ThreadRecord = tx.record(&key::thread(ann, key::hash("same@x")))?.unwrap();
            assert_eq!(record.0.len(), THREADS_PER_ID_MAX);
            Ok(())
        });
        assert_eq!(findings(&store), [""; 0]);
    }
}
