//! Copies of messages by somebody who may not do everything in the mailbox they go to, and copies
//! from one account to another.
//!
//! Within an account a copy is the same email at one more place ([`crate::email`]). In another account
//! it is another email: it counts in that account's quota and joins its threads. The octets are stored
//! once all the same.
//!
//! What such a copy teaches is the lesson of the account whose Junk it goes into or leaves, whoever acts: its owner
//! has let them.

use crate::email::{EmailRecord, digest_write};
use crate::error::Result;
use crate::lesson::{LESSONS_MAX, of_move};
use crate::message::{MessageRecord, Walk, Which};
use crate::thread::Joined;
use crate::tx::WriteTx;
use filter::classifier::Class;
use mail::{AccountId, EmailId, MailboxId, Rights, Role, Timestamp, Uid, UidSet};

/// A mailbox and whose it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The owner.
    pub account: AccountId,
    /// The mailbox.
    pub mailbox: MailboxId,
}

impl WriteTx {
    /// Copies messages into a mailbox of any account; of their flags, the copies have those that
    /// `rights` cover (RFC 4314 §4). Returns the old and the new Uids, in order; those that do not exist
    /// are left out.
    ///
    /// # Errors
    /// [`crate::Error::NotFound`] without such a mailbox, [`crate::Error::OverQuota`] without room in
    /// the account of the copies, [`crate::Error::Limit`] with too many keywords or copies.
    pub fn email_copy_to(&mut self, from: Place, uids: &UidSet, to: Place, rights: Rights, now: Timestamp) -> Result<Vec<(Uid, Uid)>> {
        if from.account == to.account && rights == Rights::ALL {
            return self.email_copy(from.account, from.mailbox, uids, to.mailbox, now);
        }
        let roles = (self.mailbox_record(from.account, from.mailbox)?.role, self.mailbox_record(to.account, to.mailbox)?.role);
        let lesson = Lesson::of(from.account, roles.0, to.account, roles.1);
        let mut taught = Vec::new();
        let below = self.mailbox_record(from.account, from.mailbox)?.uid_next.0.saturating_sub(1);
        let mut walk = Walk::new(from.account, from.mailbox, &uids.intersect(&UidSet::range(Uid(1), Uid(below))));
        let mut copied = Vec::new();
        loop {
            let batch = walk.next(self)?;
            if batch.is_empty() {
                break;
            }
            for (uid, message) in batch {
                let (flags, original) = (rights.covered(&message.flags), message.email);
                let (new, copy) = self.transfer(from.account, MessageRecord { flags, saved: now, ..message }, to)?;
                copied.push((uid, new));
                if taught.len() < LESSONS_MAX {
                    taught.push((original, copy));
                }
            }
        }
        if let Some(lesson) = lesson {
            self.teach_transfer(lesson, &taught)?;
        }
        Ok(copied)
    }

    fn teach_transfer(&mut self, lesson: Lesson, pairs: &[(EmailId, EmailId)]) -> Result<()> {
        let (account, class, emails): (_, _, Vec<EmailId>) = match lesson {
            Lesson::Copies(account, class) => (account, class, pairs.iter().map(|(_, copy)| *copy).collect()),
            Lesson::Originals(account, class) => (account, class, pairs.iter().map(|(original, _)| *original).collect()),
        };
        self.teach(account, &emails, class)
    }

    /// Moves messages into a mailbox of any account, as [`WriteTx::email_copy_to`] copies them.
    ///
    /// # Errors
    /// As there.
    pub fn email_move_to(&mut self, from: Place, uids: &UidSet, to: Place, rights: Rights, now: Timestamp) -> Result<Vec<(Uid, Uid)>> {
        let moved = self.email_copy_to(from, uids, to, rights, now)?;
        let gone = moved.iter().map(|(old, _)| *old).collect();
        self.messages_remove(from.account, from.mailbox, &gone, Which::All)?;
        Ok(moved)
    }

    /// The new Uid, and the email that it is in the account it goes to.
    fn transfer(&mut self, account: AccountId, message: MessageRecord, to: Place) -> Result<(Uid, EmailId)> {
        let mut record = self.mailbox_record(to.account, to.mailbox)?;
        let mut counters = self.counters(to.account)?;
        let mod_seq = counters.next_mod_seq();
        self.keywords_note(to.account, to.mailbox, message.flags.keywords())?;
        let copy = MessageRecord { mod_seq, came: mod_seq, ..message };
        if account == to.account {
            let uid = self.message_put(to.account, to.mailbox, &mut record, &copy)?;
            self.email_enter(to.account, copy.email, to.mailbox, uid)?;
            self.reject_copied(to.account, &mut counters, copy.email, (to.mailbox, uid), None, copy.saved)?;
            self.mailbox_advance(to.account, to.mailbox, record, &counters, &[])?;
            return Ok((uid, copy.email));
        }
        counters.email_in(copy.octets)?;
        let digest = self.digest(account, copy.email)?;
        let email = counters.next_email();
        let Joined { thread, ids } = self.thread_join(to.account, email, &digest)?;
        self.grams_copy((account, copy.email), (to.account, email))?;
        let copy = MessageRecord { email, thread, ..copy };
        let uid = self.message_put(to.account, to.mailbox, &mut record, &copy)?;
        self.blob_hold(&copy.blob)?;
        let places = vec![(to.mailbox, uid)];
        let stored = EmailRecord { blob: copy.blob, octets: copy.octets, thread, thread_ids: ids, places };
        self.email_save(to.account, email, &stored, &digest_write(&digest))?;
        self.mailbox_advance(to.account, to.mailbox, record, &counters, &[])?;
        Ok((uid, email))
    }
}

/// What a transfer teaches, and whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lesson {
    /// The account that gets the copies, about them.
    Copies(AccountId, Class),
    /// The account that they come from, about the originals.
    Originals(AccountId, Class),
}

impl Lesson {
    /// Between accounts only Junk says something: an archive of somebody else's does not.
    fn of(from: AccountId, from_role: Option<Role>, to: AccountId, to_role: Option<Role>) -> Option<Self> {
        if from == to {
            return of_move(from_role, to_role).map(|class| Self::Copies(to, class));
        }
        match (from_role, to_role) {
            (Some(Role::Junk | Role::Rejects), Some(Role::Junk | Role::Trash | Role::Rejects)) => None,
            (_, Some(Role::Junk)) => Some(Self::Copies(to, Class::Spam)),
            (Some(Role::Junk | Role::Rejects), _) => Some(Self::Originals(from, Class::Ham)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{account_add, add, findings, inbox, now, said, tx, uids, world};

    #[test]
    fn a_copy_in_another_account_is_its_own_and_shares_the_octets() {
        let (store, ann) = world();
        tx(&store, move |tx| {
            let bob = account_add(tx, "bob@example.org")?;
            let (from, to) = (inbox(tx, ann).id, inbox(tx, bob).id);
            for number in 0..3 {
                add(tx, ann, from, &format!("{number}@x"), "\\Seen \\Deleted Work")?;
            }
            let (from, to) = (Place { account: ann, mailbox: from }, Place { account: bob, mailbox: to });
            let copied = tx.email_copy_to(from, &uids("1:2,9"), to, Rights::SEEN, now())?;
            assert_eq!(copied, [(Uid(1), Uid(1)), (Uid(2), Uid(2))]);
            let (original, copy) = (tx.message(ann, from.mailbox, Uid(1))?.unwrap(), tx.message(bob, to.mailbox, Uid(1))?.unwrap());
            assert_eq!((original.blob, original.octets, original.internal_date), (copy.blob, copy.octets, copy.internal_date));
            assert_eq!(copy.flags, crate::testing::flags("\\Seen"));
            assert_eq!(tx.blob(&copy.blob)?.unwrap().references, 2);
            assert_eq!(tx.digest(bob, copy.email)?, tx.digest(ann, original.email)?);
            assert_eq!(tx.quota(bob)?.used_octets, 2 * copy.octets);
            tx.email_move_to(from, &uids("3"), to, Rights::ALL, now())?;
            assert_eq!((inbox(tx, ann).emails, inbox(tx, bob).emails), (2, 3));
            tx.account_remove(ann)?;
            assert!(!tx.blob_read(&copy.blob, 0, 10)?.is_empty());
            Ok(())
        });
        assert_eq!(findings(&store), [""; 0]);
    }

    #[test]
    fn a_copy_with_few_rights_loses_flags_and_fills_the_right_quota() {
        let (store, ann) = world();
        tx(&store, move |tx| {
            let bob = account_add(tx, "bob@example.org")?;
            let (from, to) = (inbox(tx, ann).id, inbox(tx, bob).id);
            let octets = add(tx, ann, from, "1@x", "\\Flagged \\Deleted").map(|_| tx.quota(ann).unwrap().used_octets)?;
            let (from, to) = (Place { account: ann, mailbox: from }, Place { account: bob, mailbox: to });
            assert_eq!(tx.email_copy_to(from, &uids("1"), from, Rights::WRITE, now())?, [(Uid(1), Uid(2))]);
            assert_eq!(tx.message(ann, from.mailbox, Uid(2))?.unwrap().flags, crate::testing::flags("\\Flagged"));
            tx.account_set_quota(bob, Some(octets + 1))?;
            assert_eq!(tx.email_copy_to(from, &uids("1"), to, Rights::ALL, now())?.len(), 1);
            let refused = said(tx.email_copy_to(from, &uids("1"), to, Rights::ALL, now()));
            assert_eq!(refused, format!("over quota: {octets} of {} octets are used", octets + 1));
            Ok(())
        });
    }

    #[test]
    fn what_goes_into_junk_or_leaves_it_teaches_its_owner() {
        let (store, ann) = world();
        tx(&store, move |tx| {
            let bob = account_add(tx, "bob@example.org")?;
            let place = |tx: &WriteTx, account, role| Place { account, mailbox: tx.mailbox_by_role(account, role).unwrap().unwrap().id };
            let [ann_in, ann_junk, ann_archive] = [Role::Inbox, Role::Junk, Role::Archive].map(|role| place(tx, ann, role));
            let [bob_in, bob_junk, bob_archive] = [Role::Inbox, Role::Junk, Role::Archive].map(|role| place(tx, bob, role));
            let taught = |tx: &WriteTx| {
                let of = |account| tx.acquaintance(account, &filter::Features::default()).unwrap().account.messages;
                [of(ann), of(bob)].map(|counts| (counts.ham, counts.spam))
            };
            for (from, to, rights, moves, want) in [
                (ann_in, bob_archive, Rights::ALL, true, [(0, 0), (0, 0)]),
                (ann_in, bob_junk, Rights::INSERT, false, [(0, 0), (0, 1)]),
                (bob_junk, ann_junk, Rights::ALL, false, [(0, 0), (0, 1)]),
                (bob_junk, ann_in, Rights::ALL, true, [(0, 0), (1, 0)]),
                // Somebody with few rights, within one account.
                (ann_in, ann_junk, Rights::INSERT, true, [(0, 1), (1, 0)]),
                (ann_junk, ann_archive, Rights::INSERT, false, [(1, 0), (1, 0)]),
                (bob_in, bob_in, Rights::INSERT, false, [(1, 0), (1, 0)]),
            ] {
                if tx.messages(from.account, from.mailbox, Uid(1), Uid(u32::MAX), 1)?.is_empty() {
                    add(tx, from.account, from.mailbox, "one@x", "")?;
                }
                let latest = tx.messages(from.account, from.mailbox, Uid(1), Uid(u32::MAX), 100)?.pop().unwrap().uid;
                let uids = UidSet::range(latest, latest);
                if moves {
                    tx.email_move_to(from, &uids, to, rights, now())?
                } else {
                    tx.email_copy_to(from, &uids, to, rights, now())?
                };
                assert_eq!(taught(tx), want, "{from:?} {to:?}");
            }
            Ok(())
        });
        assert_eq!(findings(&store), [""; 0]);
    }

    #[test]
    fn an_account_may_have_so_many_emails() {
        let (store, ann) = world();
        tx(&store, move |tx| {
            let id = inbox(tx, ann).id;
            add(tx, ann, id, "1@x", "")?;
            tx.account_set_quota_emails(ann, Some(2))?;
            assert!(tx.account(ann)?.unwrap().has_room(1 << 40));
            add(tx, ann, id, "2@x", "")?;
            assert!(!tx.account(ann)?.unwrap().has_room(0));
            assert_eq!(said(add(tx, ann, id, "3@x", "")), "over quota: it may have 2 emails");
            Ok(())
        });
    }
}
