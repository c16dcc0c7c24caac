//! What people teach about mail by what they do with it, and whom they write to.
//!
//! | what is done, by any protocol | what it teaches |
//! |---|---|
//! | moved or copied into Junk; `$Junk` set | unwanted |
//! | moved or copied out of Junk, but not into the Trash or the Rejects; `$NotJunk` set | wanted |
//! | moved or copied out of the Rejects, but not into Junk or the Trash | wanted |
//! | moved or copied into the Archive; answered (`\Answered` set outside Junk) | wanted |
//!
//! The features of the message (`filter::Features`) are counted for the account and for the server, in the
//! commit of the act. An email teaches one thing at a time: who changes his mind takes the first lesson
//! back. What the filter itself puts into Junk, and what is refused and kept, teaches nothing. Flags teach nothing in the
//! Rejects: programs set `$Junk` and `$NotJunk` by themselves on what they find, and nobody has asked for that mail.
//!
//! Not the judgement: that is `filter::judge`'s.
//!
//! Invariants
//! - Features are known by hashes: no word and no address is kept, but those of correspondents.
//! - The counts of an account take at most [`BUCKETS_ACCOUNT`] keys, the server's [`BUCKETS_SERVER`], the
//!   correspondents of an account [`CORRESPONDENTS_MAX`] twice.

use crate::email::digest_read;
use crate::error::Result;
use crate::key;
use crate::record::Record;
use crate::schema::Space;
use crate::tx::{ReadTx, WriteTx};
use filter::classifier::{Class, Counts, Known};
use filter::reputation::Subject;
use filter::{Features, Limits, lookalike};
use mail::digest::Digest;
use mail::{AccountId, Address, EmailId, Flag, Flags, Role, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Most counts of one account; a power of two.
pub const BUCKETS_ACCOUNT: u32 = 1 << 17;
/// Most counts of the server; a power of two.
pub const BUCKETS_SERVER: u32 = 1 << 20;
/// Most correspondents of one account; a power of two. Beyond, a newer one takes an older one's place.
pub const CORRESPONDENTS_MAX: u32 = 1 << 14;
/// Most emails that one act teaches, so that a move of a whole mailbox does not hold up the writer; the
/// first ones.
pub const LESSONS_MAX: usize = 50;

/// The count that says that nothing is learned.
const NOT_LEARNING: &[u8] = b"not_learning";

/// In how many messages a feature was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LessonRecord {
    pub(crate) ham: u32,
    pub(crate) spam: u32,
}

impl Record for LessonRecord {
    const SPACE: Space = Space::Lesson;
    const NAME: &'static str = "lesson";
}

/// The same for the whole server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ServerLessonRecord(pub(crate) LessonRecord);

impl Record for ServerLessonRecord {
    const SPACE: Space = Space::ServerLesson;
    const NAME: &'static str = "lesson of the server";
}

/// What an email has taught.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TaughtRecord {
    pub(crate) spam: bool,
}

impl Record for TaughtRecord {
    const SPACE: Space = Space::Taught;
    const NAME: &'static str = "record of a lesson";
}

/// Somebody to whom an account has written, or a domain of such.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CorrespondentRecord {
    pub(crate) name: String,
    pub(crate) last: Timestamp,
}

impl Record for CorrespondentRecord {
    const SPACE: Space = Space::Correspondent;
    const NAME: &'static str = "correspondent";
}

/// Everything that the store knows for the judgement of a message.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Acquaintance {
    /// What the whole server has taught.
    pub server: Known,
    /// What the account has.
    pub account: Known,
    /// The account has written to the author.
    pub is_correspondent: bool,
    /// The message answers one that the account sent, as far as the trail goes back.
    pub is_reply: bool,
    /// What was taught of those who bring it; empty where nobody said who they are.
    pub reputation: Vec<filter::reputation::Known>,
    /// The account's own domain, or one that it has written to, that the author's only looks like.
    pub imitated: Option<String>,
}

impl ReadTx {
    /// What is known about a message for one reader.
    pub fn acquaintance(&self, account: AccountId, features: &Features) -> Result<Acquaintance> {
        let buckets = features.buckets();
        let own = |bucket: Option<u32>| self.lesson(account, bucket);
        let of_account = buckets.iter().map(|bucket| own(Some(*bucket))).collect::<Result<_>>()?;
        let of_server = buckets.iter().map(|bucket| self.server_lesson(Some(*bucket))).collect::<Result<_>>()?;
        Ok(Acquaintance {
            server: Known { messages: self.server_lesson(None)?, features: of_server },
            account: Known { messages: own(None)?, features: of_account },
            is_correspondent: self.is_correspondent(account, features.author.as_deref())?,
            is_reply: self.has_sent_one(account, &features.answers)?,
            reputation: Vec::new(),
            imitated: self.imitated(account, features.author_domain.as_deref())?,
        })
    }

    /// The same, with what was taught of those who bring it.
    ///
    /// # Errors
    /// When the store fails.
    pub fn acquaintance_with(&self, account: AccountId, features: &Features, subjects: &[Subject], now: Timestamp) -> Result<Acquaintance> {
        Ok(Acquaintance { reputation: self.reputation(account, subjects, now)?, ..self.acquaintance(account, features)? })
    }

    fn lesson(&self, account: AccountId, bucket: Option<u32>) -> Result<Counts> {
        let bucket = bucket.map(|bucket| bucket % BUCKETS_ACCOUNT);
        Ok(self.record::<LessonRecord>(&key::lesson(account, bucket))?.map_or_else(Counts::default, LessonRecord::counts))
    }

    fn server_lesson(&self, bucket: Option<u32>) -> Result<Counts> {
        let bucket = bucket.map(|bucket| bucket % BUCKETS_SERVER);
        Ok(self.record::<ServerLessonRecord>(&key::server_lesson(bucket))?.map_or_else(Counts::default, |record| record.0.counts()))
    }

    pub(crate) fn is_correspondent(&self, account: AccountId, author: Option<&str>) -> Result<bool> {
        let Some(author) = author else { return Ok(false) };
        let found = self.record::<CorrespondentRecord>(&key::correspondent(account, false, slot(author)))?;
        Ok(found.is_some_and(|found| found.name == author))
    }

    fn imitated(&self, account: AccountId, domain: Option<&str>) -> Result<Option<String>> {
        let Some(domain) = domain else { return Ok(None) };
        let own = self.account(account)?.map(|account| account.address.domain().as_str().to_lowercase());
        let known = self.record::<CorrespondentRecord>(&key::correspondent(account, true, slot(&lookalike::skeleton(domain))))?;
        let known = [own, known.map(|known| known.name)];
        Ok(known.into_iter().flatten().find(|known| lookalike::is_lookalike(domain, known)))
    }

    /// What is looked at of an email.
    fn features(&self, account: AccountId, email: EmailId) -> Result<Option<Features>> {
        let Some((record, cached)) = self.email_record(account, email)? else { return Ok(None) };
        let limits = Limits::default();
        let octets = self.blob_read(&record.blob, 0, limits.message_octets_max)?;
        let digest = digest_read(&cached).unwrap_or_else(|| Digest::of(&octets));
        Ok(Some(Features::of(&octets, &digest, &limits)))
    }
}

impl LessonRecord {
    const fn counts(self) -> Counts {
        Counts { ham: self.ham, spam: self.spam }
    }

    const fn of(counts: Counts) -> Self {
        Self { ham: counts.ham, spam: counts.spam }
    }
}

/// Where somebody's name is kept.
fn slot(name: &str) -> u32 {
    u32::try_from(key::hash(name) % u64::from(CORRESPONDENTS_MAX)).unwrap_or_default()
}

/// What a move or copy from one mailbox to another teaches.
pub(crate) fn of_move(from: Option<Role>, to: Option<Role>) -> Option<Class> {
    match (from, to) {
        (Some(Role::Junk | Role::Rejects), Some(Role::Trash | Role::Rejects)) | (Some(Role::Junk), Some(Role::Junk)) => None,
        (_, Some(Role::Junk)) => Some(Class::Spam),
        (Some(Role::Junk | Role::Rejects), _) | (Some(Role::Inbox) | None, Some(Role::Archive)) => Some(Class::Ham),
        _ => None,
    }
}

/// What a change of flags teaches, in a mailbox of that role.
pub(crate) fn of_flags(before: &Flags, after: &Flags, role: Option<Role>) -> Option<Class> {
    if role == Some(Role::Rejects) {
        return None;
    }
    let has = |flags: &Flags, names: &[&str]| {
        flags.keywords().iter().any(|keyword| names.iter().any(|name| keyword.as_str().eq_ignore_ascii_case(name)))
    };
    let set = |names: &[&str]| has(after, names) && !has(before, names);
    let answered = after.contains(&Flag::Answered) && !before.contains(&Flag::Answered);
    if set(&["$Junk", "Junk"]) {
        Some(Class::Spam)
    } else if set(&["$NotJunk", "NotJunk", "NonJunk"]) || (answered && role != Some(Role::Junk)) {
        Some(Class::Ham)
    } else {
        None
    }
}

impl WriteTx {
    /// Learns from emails, at most [`LESSONS_MAX`] of them.
    pub(crate) fn teach(&mut self, account: AccountId, emails: &[EmailId], class: Class) -> Result<()> {
        if self.count(NOT_LEARNING)? > 0 {
            return Ok(());
        }
        emails.iter().take(LESSONS_MAX).try_for_each(|email| self.teach_one(account, *email, class))
    }

    /// Turns learning on or off. What was learned stays.
    ///
    /// # Errors
    /// When the store fails.
    pub fn learning_set(&mut self, learn: bool) -> Result<()> {
        if (self.count(NOT_LEARNING)? > 0) == learn {
            self.count_save(NOT_LEARNING, u64::from(!learn))?;
        }
        Ok(())
    }

    fn teach_one(&mut self, account: AccountId, email: EmailId, class: Class) -> Result<()> {
        let key = key::email(account, email);
        let before = self.record::<TaughtRecord>(&key)?.map(|taught| if taught.spam { Class::Spam } else { Class::Ham });
        if before == Some(class) {
            return Ok(());
        }
        let Some(features) = self.features(account, email)? else { return Ok(()) };
        let change = |counts: Counts| before.map_or(counts, |before| counts.unlearn(before)).learn(class);
        let masked = |max: u32| features.buckets().into_iter().map(|bucket| Some(bucket % max)).chain([None]).collect::<BTreeSet<_>>();
        for bucket in masked(BUCKETS_ACCOUNT) {
            let counts = change(self.lesson(account, bucket)?);
            self.save(&key::lesson(account, bucket), &LessonRecord::of(counts))?;
        }
        for bucket in masked(BUCKETS_SERVER) {
            let counts = change(self.server_lesson(bucket)?);
            self.save(&key::server_lesson(bucket), &ServerLessonRecord(LessonRecord::of(counts)))?;
        }
        self.teach_reputation(account, email, before, class)?;
        self.save(&key, &TaughtRecord { spam: class == Class::Spam })
    }

    /// Notes that an account has written to somebody.
    pub fn correspondent_note(&mut self, account: AccountId, to: &Address, now: Timestamp) -> Result<()> {
        let name = to.to_string().to_lowercase();
        let domain = to.domain().as_str().to_lowercase();
        let address = key::correspondent(account, false, slot(&name));
        let under = key::correspondent(account, true, slot(&lookalike::skeleton(&domain)));
        self.save(&address, &CorrespondentRecord { name, last: now })?;
        self.save(&under, &CorrespondentRecord { name: domain, last: now })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{add, address, findings, flags, inbox, now, tx, uids, world};
    use crate::{FlagChange, Mailbox};
    use mail::Uid;

    fn role(tx: &ReadTx, ann: AccountId, role: Role) -> Mailbox {
        tx.mailbox_by_role(ann, role).unwrap().unwrap()
    }

    /// Wanted and unwanted messages of the account and of the server.
    fn taught(tx: &ReadTx, ann: AccountId) -> [(u32, u32); 2] {
        let known = tx.acquaintance(ann, &Features::default()).unwrap();
        [known.account.messages, known.server.messages].map(|counts| (counts.ham, counts.spam))
    }

    #[test]
    fn moves_teach_and_can_be_taken_back() {
        let (store, ann) = world();
        tx(&store, move |tx| {
            let (inbox, junk, trash) = (inbox(tx, ann).id, role(tx, ann, Role::Junk).id, role(tx, ann, Role::Trash).id);
            let archive = role(tx, ann, Role::Archive).id;
            add(tx, ann, inbox, "one@x", "")?;
            let mut check = |from, uid: Uid, to, want| {
                let moved = tx.email_move(ann, from, &UidSet::range(uid, uid), to, now()).unwrap();
                assert_eq!(taught(tx, ann), [want, want]);
                moved[0].1
            };
            let uid = check(inbox, Uid(1), junk, (0, 1));
            let uid = check(junk, uid, inbox, (1, 0));
            let uid = check(inbox, uid, trash, (1, 0));
            let uid = check(trash, uid, junk, (0, 1));
            let uid = check(junk, uid, trash, (0, 1));
            let uid = check(trash, uid, inbox, (0, 1));
            check(inbox, uid, archive, (1, 0));
            Ok(())
        });
        assert_eq!(findings(&store), [""; 0]);
    }

    use mail::UidSet;

    #[test]
    fn learning_can_be_turned_off() {
        let (store, ann) = world();
        tx(&store, move |tx| {
            let (inbox, junk) = (inbox(tx, ann).id, role(tx, ann, Role::Junk).id);
            for (learn, want) in [(false, (0, 0)), (true, (0, 1))] {
                add(tx, ann, inbox, "one@x", "")?;
                tx.learning_set(learn)?;
                tx.email_move(ann, inbox, &uids("1:9"), junk, now())?;
                assert_eq!(taught(tx, ann), [want, want]);
            }
            Ok(())
        });
    }

    #[test]
    fn flags_teach() {
        let (store, ann) = world();
        tx(&store, move |tx| {
            let inbox = inbox(tx, ann).id;
            for _ in 0..3 {
                add(tx, ann, inbox, "one@x", "")?;
            }
            let mut check = |uid: &str, change: FlagChange, want| {
                tx.flags_change(ann, inbox, &uids(uid), &change, None).unwrap();
                assert_eq!(taught(tx, ann)[0], want, "{uid} {change:?}");
            };
            check("1", FlagChange::Add(flags("\\Seen Work")), (0, 0));
            check("1", FlagChange::Add(flags("$junk")), (0, 1));
            check("1", FlagChange::Remove(flags("$Junk")), (0, 1));
            check("1:2", FlagChange::Add(flags("NonJunk")), (2, 0));
            check("3", FlagChange::Add(flags("\\Answered")), (3, 0));
            Ok(())
        });
    }

    #[test]
    fn features_of_what_was_taught_are_known_and_go_with_the_account() {
        let (store, ann) = world();
        tx(&store, move |tx| {
            let (inbox, junk) = (inbox(tx, ann).id, role(tx, ann, Role::Junk).id);
            let email = add(tx, ann, inbox, "one@x", "")?.email;
            let features = tx.features(ann, email)?.unwrap();
            tx.email_move(ann, inbox, &uids("1"), junk, now())?;
            let known = tx.acquaintance(ann, &features)?;
            assert!(!features.list.is_empty() && known.account.features.iter().all(|counts| *counts == Counts { ham: 0, spam: 1 }));
            assert_eq!(known.account, known.server);
            tx.messages_destroy(ann, junk, &uids("1"))?;
            assert!(!tx.has(Space::Taught, &key::email(ann, email))?);
            Ok(())
        });
        assert_eq!(findings(&store), [""; 0]);
    }

    #[test]
    fn correspondents_are_known_and_their_imitators_too() {
        let (store, ann) = world();
        tx(&store, move |tx| {
            tx.correspondent_note(ann, &address("Bob@Friends.example"), now())?;
            let check = |author: &str, want: (bool, Option<&str>)| {
                let domain = author.split_once('@').map(|(_, domain)| domain.to_owned());
                let features = Features { author: Some(author.to_owned()), author_domain: domain, ..Features::default() };
                let found = tx.acquaintance(ann, &features).unwrap();
                assert_eq!((found.is_correspondent, found.imitated.as_deref()), want, "{author}");
            };
            check("bob@friends.example", (true, None));
            check("eve@friends.example", (false, None));
            check("bob@fr1ends.example", (false, Some("friends.example")));
            check("ann@examp1e.org", (false, Some("example.org")));
            check("x@y.example", (false, None));
            Ok(())
        });
    }

    #[test]
    fn one_act_teaches_only_so_much() {
        let (store, ann) = world();
        tx(&store, move |tx| {
            let (inbox, junk) = (inbox(tx, ann).id, role(tx, ann, Role::Junk).id);
            for _ in 0..LESSONS_MAX + 2 {
                add(tx, ann, inbox, "one@x", "")?;
            }
            tx.email_move(ann, inbox, &uids("1:60"), junk, now())?;
            assert_eq!(taught(tx, ann)[0], (0, u32::try_from(LESSONS_MAX).unwrap()));
            Ok(())
        });
    }
}
