//! The full-text index: what SEARCH reads instead of messages, and how it is made anew.
//!
//! Each email has the grams of its texts under a key of its own, each message those of its subject and
//! addresses in its record (`mail::grams` has both forms and why they never miss). They are written with the
//! mail, so the index is always current; an email without them, or of an older form, is unknown and is read.
//!
//! Not postings by gram: a message has about a thousand different ones, a commit writes eight keys, and the
//! number of keys is what a commit costs. `docs/design/full-text-index.md` weighs it.

use crate::Store;
use crate::email::EmailRecord;
use crate::error::{Error, Result};
use crate::index::{Direction, KeyRange};
use crate::key;
use crate::message::MessageRecord;
use crate::record::decode_front;
use crate::schema::Space;
use crate::tx::{ReadTx, WriteTx};
use mail::digest::Digest;
use mail::grams::{Grams, Texts};
use mail::{AccountId, EmailId};
use std::ops::ControlFlow;

/// The form in which the bits are written; others are unknown.
const FORMAT: u8 = 1;
/// Emails are read as one range when that has at most so many times their number.
const SPARSE_MAX: u64 = 4;
/// Emails indexed by one transaction, and octets of theirs after which it takes no further one. Our own bounds.
const BATCH: usize = 64;
const BATCH_OCTETS: u64 = 16 << 20;

impl ReadTx {
    /// Visits the full-text bits of those of the emails that have them, in order; `emails` ascend.
    pub fn texts(&self, account: AccountId, emails: &[EmailId], mut visit: impl FnMut(EmailId, &[u8])) -> Result<()> {
        let (Some(first), Some(last)) = (emails.first(), emails.last()) else { return Ok(()) };
        if (last.0 - first.0) / SPARSE_MAX < emails.len() as u64 {
            return self.texts_between(account, *first, *last, |email, bits| {
                if emails.binary_search(&email).is_ok() {
                    visit(email, bits);
                }
            });
        }
        for email in emails {
            if let Some(octets) = self.get(Space::Grams, &key::email(account, *email))? {
                visit(*email, bits(&octets));
            }
        }
        Ok(())
    }

    fn texts_between(&self, account: AccountId, first: EmailId, last: EmailId, mut visit: impl FnMut(EmailId, &[u8])) -> Result<()> {
        let range = KeyRange::new(&key::email(account, first), &key::email(account, last.next()));
        self.scan(Space::Grams, &range, Direction::Forward, |key, octets| {
            visit(EmailId(key::number_u64(key, 4).unwrap_or_default()), bits(octets));
            ControlFlow::Continue(())
        })
    }

    /// The index of an email as it should be; `None`: it is gone.
    pub(crate) fn grams_made(&self, record: &EmailRecord) -> Result<Option<Grams>> {
        match self.blob_whole(&record.blob, record.octets) {
            Ok(message) => Ok(Some(Digest::of(&message).grams)),
            Err(Error::NotFound(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What of an email's index is not as it should be.
    pub(crate) fn grams_differ(&self, account: AccountId, id: EmailId, record: &EmailRecord, grams: &Grams) -> Result<bool> {
        let stored = self.get(Space::Grams, &key::email(account, id))?;
        if stored.as_deref() != Some(written(&grams.texts).as_slice()) {
            return Ok(true);
        }
        for (mailbox, uid) in &record.places {
            let message = self.record::<MessageRecord>(&key::message(account, *mailbox, *uid))?;
            if message.is_some_and(|message| message.heads != grams.heads) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The records of an account's emails from `from` on, at most a batch of them.
    pub(crate) fn email_batch(&self, account: AccountId, from: EmailId) -> Result<Vec<(EmailId, EmailRecord)>> {
        let range = KeyRange { from: key::email(account, from), ..KeyRange::prefix(&key::account(account)) };
        let mut octets_left = BATCH_OCTETS;
        let mut batch = Vec::new();
        let mut failure = None;
        self.scan(Space::Email, &range, Direction::Forward, |key, value| {
            match decode_front::<EmailRecord>(key, value) {
                Ok((record, _)) => {
                    octets_left = octets_left.saturating_sub(record.octets);
                    batch.push((EmailId(key::number_u64(key, 4).unwrap_or_default()), record));
                }
                Err(error) => failure = Some(error),
            }
            let full = batch.len() >= BATCH || octets_left == 0 || failure.is_some();
            if full { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        failure.map_or(Ok(batch), Err)
    }
}

fn bits(octets: &[u8]) -> &[u8] {
    match octets.split_first() {
        Some((&FORMAT, bits)) => bits,
        _ => &[],
    }
}

fn written(texts: &Texts) -> Vec<u8> {
    [&[FORMAT], texts.octets()].concat()
}

impl WriteTx {
    /// Writes the full-text bits of an email.
    pub(crate) fn grams_save(&mut self, account: AccountId, email: EmailId, texts: &Texts) {
        self.put(Space::Grams, &key::email(account, email), written(texts));
    }

    /// Gives an email the full-text bits of another.
    pub(crate) fn grams_copy(&mut self, from: (AccountId, EmailId), to: (AccountId, EmailId)) -> Result<()> {
        if let Some(octets) = self.get(Space::Grams, &key::email(from.0, from.1))? {
            self.put(Space::Grams, &key::email(to.0, to.1), octets);
        }
        Ok(())
    }

    /// Writes the index of an email and of its messages; nobody is told, because nobody sees a difference.
    fn email_index(&mut self, account: AccountId, id: EmailId, grams: &Grams) -> Result<()> {
        let Some((record, _)) = self.email_record(account, id)? else { return Ok(()) };
        self.grams_save(account, id, &grams.texts);
        for (mailbox, uid) in record.places {
            let key = key::message(account, mailbox, uid);
            if let Some(message) = self.record::<MessageRecord>(&key)? {
                self.save(&key, &MessageRecord { heads: grams.heads, ..message })?;
            }
        }
        Ok(())
    }
}

/// What was indexed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reindexed {
    /// Emails looked at.
    pub emails: u64,
    /// Those whose index was not as it should be, and is now.
    pub changed: u64,
    /// Where to go on; `None`: it is done.
    pub next: Option<(AccountId, EmailId)>,
}

/// Looks at the next few emails from `from` on, in the order of accounts and ids, and makes their full-text
/// index anew. Others read and write meanwhile.
pub fn reindex(store: &Store, from: Option<(AccountId, EmailId)>) -> Result<Reindexed> {
    let (account, from) = from.unwrap_or_default();
    let (batch, next) = store.read_blocking(move |tx| {
        let batch = tx.email_batch(account, from)?;
        let next = match batch.last() {
            Some((last, _)) => Some((account, last.next())),
            None => tx.account_ids()?.into_iter().find(|id| *id > account).map(|id| (id, EmailId(0))),
        };
        Ok((batch, next))
    })?;
    let emails = batch.len() as u64;
    let wrong = store.read_blocking(move |tx| {
        let mut wrong = Vec::new();
        for (id, record) in batch {
            if let Some(grams) = tx.grams_made(&record)?
                && tx.grams_differ(account, id, &record, &grams)?
            {
                wrong.push((id, grams));
            }
        }
        Ok(wrong)
    })?;
    let changed = wrong.len() as u64;
    if changed > 0 {
        store.write_blocking(move |tx| wrong.iter().try_for_each(|(id, grams)| tx.email_index(account, *id, grams)))?;
    }
    Ok(Reindexed { emails, changed, next })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{add, findings, inbox, now, tx, uids, world};
    use mail::Role;
    use mail::casemap::fold;
    use mail::grams::Pattern;

    fn rebuild(store: &Store) -> (u64, u64) {
        let (mut from, mut emails, mut changed) = (None, 0, 0);
        loop {
            let done = reindex(store, from).unwrap();
            emails += done.emails;
            changed += done.changed;
            match done.next {
                Some(next) => from = Some(next),
                None => return (emails, changed),
            }
        }
    }

    #[test]
    fn the_index_comes_and_goes_with_the_email() {
        let (store, ann) = world();
        tx(&store, move |tx| {
            let (inbox, sent) = (inbox(tx, ann).id, tx.mailbox_by_role(ann, Role::Sent)?.unwrap().id);
            let first = add(tx, ann, inbox, "giraffe@x", "")?.email;
            let second = add(tx, ann, inbox, "zebra@x", "")?.email;
            let held = |tx: &ReadTx, text: &str| {
                let (pattern, mut held) = (Pattern::of(&fold(text)), Vec::new());
                tx.texts(ann, &[first, second, EmailId(900)], |id, bits| {
                    if Texts::may_hold(bits, &pattern) {
                        held.push(id);
                    }
                })
                .unwrap();
                held
            };
            assert_eq!((held(tx, "text of giraffe"), held(tx, "text of"), held(tx, "okapi")), (vec![first], vec![first, second], vec![]));
            tx.email_move(ann, inbox, &uids("1"), sent, now())?;
            let moved = tx.message(ann, sent, mail::Uid(1))?.unwrap();
            let pattern = |text: &str| Pattern::of(&fold(text));
            assert!(moved.heads.may_hold(&pattern("giraffe")) && !moved.heads.may_hold(&pattern("zebra")));
            tx.messages_destroy(ann, sent, &uids("1"))?;
            assert_eq!(held(tx, "text of"), [second]);
            Ok(())
        });
        assert_eq!(findings(&store), [""; 0]);
    }

    #[test]
    fn an_index_that_is_lost_is_found_missing_and_made_anew() {
        let (store, ann) = world();
        tx(&store, move |tx| {
            let inbox = inbox(tx, ann).id;
            (0..BATCH + 3).try_for_each(|number| add(tx, ann, inbox, &format!("{number}@x"), "").map(|_| ()))
        });
        let all = (BATCH + 3) as u64;
        assert_eq!(rebuild(&store), (all, 0));
        let before = store.read_blocking(move |tx| tx.mod_seq(ann)).unwrap();
        tx(&store, move |tx| {
            tx.delete(Space::Grams, &key::email(ann, EmailId(1)));
            tx.put(Space::Grams, &key::email(ann, EmailId(2)), vec![99, 1, 2]);
            let key = key::message(ann, inbox(tx, ann).id, mail::Uid(5));
            let message = tx.record::<MessageRecord>(&key)?.unwrap();
            tx.save(&key, &MessageRecord { heads: mail::grams::Heads::default(), ..message })
        });
        let wrong = findings(&store);
        assert!(wrong.len() == 3 && wrong.iter().all(|finding| finding.contains("reindex")), "{wrong:?}");
        assert_eq!((rebuild(&store), rebuild(&store)), ((all, 3), (all, 0)));
        assert_eq!(findings(&store), [""; 0]);
        assert_eq!(store.read_blocking(move |tx| tx.mod_seq(ann)).unwrap(), before, "no client is told");
    }
}
