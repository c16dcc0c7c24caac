//! What people's lessons say of senders, domains, hosts and networks: counted in the commit of the lesson.
//!
//! Who brought an email is noted when it is delivered ([`WriteTx::origin_note`]), because only then it is known what was
//! proven. An email of which nothing was noted teaches nothing here.
//!
//! Not the points: those are `filter::reputation`'s.
//!
//! Invariants
//! - Subjects are known by hashes.
//! - The counts of an account take at most [`SUBJECTS_ACCOUNT`] keys, the server's [`SUBJECTS_SERVER`]; beyond, a newer
//!   subject takes an older one's place.
//! - A lesson is as old as the email that it is about.

use crate::error::Result;
use crate::key;
use crate::record::Record;
use crate::schema::Space;
use crate::tx::{ReadTx, WriteTx};
use filter::classifier::Class;
use filter::reputation::{Known, Repute, Subject};
use mail::event::Source;
use mail::{AccountId, EmailId, Event, Timestamp};
use serde::{Deserialize, Serialize};

/// Most subjects of one account; a power of two.
pub(crate) const SUBJECTS_ACCOUNT: u64 = 1 << 13;
/// Most subjects of the server; a power of two.
pub(crate) const SUBJECTS_SERVER: u64 = 1 << 17;
/// Messages that a message says it answers, of which is asked whether the reader wrote them: the latest ones.
const ANSWERED_MAX: usize = 10;
/// The server among accounts: no account has this id.
const SERVER: AccountId = AccountId(0);

/// What was taught of a subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ReputationRecord {
    /// Whose it is, as the hash of its key.
    pub(crate) subject: u64,
    /// Thousandths of lessons.
    pub(crate) ham: u64,
    pub(crate) spam: u64,
    pub(crate) at: Timestamp,
}

impl Record for ReputationRecord {
    const SPACE: Space = Space::Reputation;
    const NAME: &'static str = "reputation";
}

/// Who brought an email.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OriginRecord {
    pub(crate) subjects: Vec<u64>,
    pub(crate) at: Timestamp,
}

impl Record for OriginRecord {
    const SPACE: Space = Space::Origin;
    const NAME: &'static str = "origin of an email";
}

impl ReadTx {
    /// What is known of subjects, for a reader.
    ///
    /// # Errors
    /// When the store fails.
    pub fn reputation(&self, account: AccountId, subjects: &[Subject], now: Timestamp) -> Result<Vec<Known>> {
        let known = |subject: &Subject| {
            let hash = hash(subject);
            let (account, server) = (self.repute(account, hash)?.aged(now), self.repute(SERVER, hash)?.aged(now));
            Ok(Known { subject: subject.clone(), account, server })
        };
        subjects.iter().map(known).collect()
    }

    fn repute(&self, account: AccountId, subject: u64) -> Result<Repute> {
        let found = self.record::<ReputationRecord>(&place(account, subject))?.filter(|record| record.subject == subject);
        Ok(found.map_or_else(Repute::default, |record| Repute { ham: record.ham, spam: record.spam, at: record.at }))
    }

    /// Whether one of these messages was sent by the account, as far as the trail goes back. Ids without brackets.
    ///
    /// # Errors
    /// When the store fails.
    pub fn has_sent_one(&self, account: AccountId, message_ids: &[String]) -> Result<bool> {
        for id in message_ids.iter().rev().take(ANSWERED_MAX) {
            for receipt in self.receipts_by_message_id(id)?.into_iter().take(ANSWERED_MAX) {
                if self.trail(receipt)?.iter().any(|entry| is_sending(&entry.event, account)) {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }
}

fn is_sending(event: &Event, of: AccountId) -> bool {
    matches!(event, Event::Accepted { source: Source::Submission, account: Some(account), .. } if *account == of)
}

impl WriteTx {
    /// Notes who brought an email.
    ///
    /// # Errors
    /// When the store fails.
    pub fn origin_note(&mut self, account: AccountId, email: EmailId, subjects: &[Subject], at: Timestamp) -> Result<()> {
        if subjects.is_empty() {
            return Ok(());
        }
        self.save(&key::email(account, email), &OriginRecord { subjects: subjects.iter().map(hash).collect(), at })
    }

    /// A lesson about an email, and the one that it takes back.
    pub(crate) fn teach_reputation(&mut self, account: AccountId, email: EmailId, before: Option<Class>, class: Class) -> Result<()> {
        let Some(origin) = self.record::<OriginRecord>(&key::email(account, email))? else { return Ok(()) };
        for subject in origin.subjects {
            for whose in [account, SERVER] {
                let repute = self.repute(whose, subject)?;
                let repute = before.map_or(repute, |before| repute.unlearn(before, origin.at)).learn(class, origin.at);
                self.repute_save(whose, subject, repute)?;
            }
        }
        Ok(())
    }

    /// Whoever brought this, brought it to an address that nobody was ever given: the server learns it.
    ///
    /// # Errors
    /// When the store fails.
    pub fn trap_sprung(&mut self, subjects: &[Subject], at: Timestamp) -> Result<()> {
        for subject in subjects {
            let hash = hash(subject);
            let repute = self.repute(SERVER, hash)?.learn(Class::Spam, at);
            self.repute_save(SERVER, hash, repute)?;
        }
        Ok(())
    }

    fn repute_save(&mut self, account: AccountId, subject: u64, repute: Repute) -> Result<()> {
        let key = place(account, subject);
        if repute.is_nothing() {
            self.delete(Space::Reputation, &key);
            return Ok(());
        }
        self.save(&key, &ReputationRecord { subject, ham: repute.ham, spam: repute.spam, at: repute.at })
    }
}

fn hash(subject: &Subject) -> u64 {
    key::hash(&subject.key())
}

/// Where a subject's counts are.
fn place(account: AccountId, subject: u64) -> Vec<u8> {
    let max = if account == SERVER { SUBJECTS_SERVER } else { SUBJECTS_ACCOUNT };
    key::reputation(account, u32::try_from(subject % max).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{account_add, add, findings, inbox, now, tx, uids, world};
    use mail::{ReversePath, Role, TrailEntry};

    fn subjects() -> Vec<Subject> {
        Subject::all([192, 0, 2, 1].into(), Some("joe@far.example"), ["far.example".to_owned()])
    }

    /// Wanted and unwanted, thousandths, of the first subject: the account's and the server's.
    fn known(tx: &ReadTx, account: AccountId) -> [(u64, u64); 2] {
        let known = tx.reputation(account, &subjects(), now()).unwrap();
        let first = known.first().unwrap();
        assert!(known.iter().all(|other| (other.account, other.server) == (first.account, first.server)));
        [first.account, first.server].map(|repute| (repute.ham, repute.spam))
    }

    #[test]
    fn lessons_teach_of_who_brought_the_email_and_are_taken_back() {
        let (store, ann) = world();
        tx(&store, move |tx| {
            let bob = account_add(tx, "bob@example.org")?;
            let (inbox, junk) = (inbox(tx, ann).id, tx.mailbox_by_role(ann, Role::Junk)?.unwrap().id);
            let (email, other) = (add(tx, ann, inbox, "one@x", "")?.email, add(tx, ann, inbox, "two@x", "")?.email);
            tx.origin_note(ann, email, &subjects(), now())?;
            tx.email_move(ann, inbox, &uids("1:2"), junk, now())?;
            assert_eq!(known(tx, ann), [(0, 1_000), (0, 1_000)], "the other email has no origin");
            assert_eq!(known(tx, bob), [(0, 0), (0, 1_000)]);
            tx.email_move(ann, junk, &uids("1"), inbox, now())?;
            assert_eq!(known(tx, ann), [(1_000, 0), (1_000, 0)]);
            tx.trap_sprung(&subjects(), now())?;
            assert_eq!(known(tx, ann), [(1_000, 0), (1_000, 1_000)]);
            tx.messages_destroy(ann, inbox, &uids("1:9"))?;
            assert!(!tx.has(Space::Origin, &key::email(ann, email))? && !tx.has(Space::Origin, &key::email(ann, other))?);
            Ok(())
        });
        assert_eq!(findings(&store), [""; 0]);
    }

    #[test]
    fn replies_are_known_by_what_the_account_sent() {
        let (store, ann) = world();
        tx(&store, move |tx| {
            let sent = |source, account, id: &str| Event::Accepted {
                source,
                peer: None,
                helo: String::new(),
                tls: None,
                account,
                reverse_path: ReversePath(None),
                message_id: Some(id.to_owned()),
                octets: 1,
            };
            for event in [sent(Source::Submission, Some(ann), "mine@x"), sent(Source::Mx, None, "theirs@x")] {
                let receipt = tx.receipt_next(now())?;
                tx.trail_append(receipt, &[TrailEntry { at: now(), event }])?;
            }
            for (ids, want) in [(&["mine@x"][..], true), (&["theirs@x"], false), (&["theirs@x", "mine@x"], true), (&[], false)] {
                let ids: Vec<String> = ids.iter().map(|id| (*id).to_owned()).collect();
                assert_eq!(tx.has_sent_one(ann, &ids)?, want, "{ids:?}");
            }
            assert!(!tx.has_sent_one(AccountId(77), &["mine@x".to_owned()])?);
            Ok(())
        });
    }
}
