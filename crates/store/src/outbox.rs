//! The Outbox: what an account sends and is to leave later, where its sender sees it and can call it back.
//!
//! A message that waits is in the queue, held until its time, and its sender's copy is in the mailbox with the role
//! Outbox. What becomes of the copy, by whatever protocol, becomes of the message, in the same commit:
//!
//! ```text
//!            \Deleted set                     the copy leaves the mailbox
//! Withheld ◀─────────────▶ Waiting ─────────────────────────────────────────▶ withdrawn: out of the queue
//!            \Deleted gone     │ its time comes
//!                              ▼
//!                          Released ──▶ every recipient has it: the copy goes
//!                              └──────▶ one has failed: another copy that says so stays
//! ```
//!
//! What is [`OutboxState::Released`] is on its way: from then on the copy is only a copy. Whoever works the queue
//! releases a message in a commit of its own before it hands it to anybody, so that either the sender or the queue
//! comes first and never both.
//!
//! Not the schedule: when a message's time comes is the queue's to say (`mta::queue`).
//!
//! Invariants: an entry, its link and its queued message are there together or not at all; an entry's email has a
//! place in the entry's mailbox; what waits and is withheld is held in the queue.

use crate::email::NewEmail;
use crate::error::{Error, Result};
use crate::index::KeyRange;
use crate::key;
use crate::message::{FlagChange, Message, Which};
use crate::record::{Record, unreadable};
use crate::schema::Space;
use crate::tx::{ReadTx, WriteTx};
use crate::{Added, Body};
use mail::digest::Digest;
use mail::{AccountId, EmailId, Event, Flag, Flags, Keyword, MailboxId, ReceiptId, Role, Timestamp, TrailEntry, UidSet};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Longest time that everything an account sends can be made to wait. Our own bound: it is there to call back what
/// was sent too soon.
pub const HOLD_MAX: Duration = Duration::from_hours(24);

/// It waits (RFC 5788 §3.4.3).
const PENDING: &str = "$SubmitPending";
/// It is on its way (RFC 5788 §3.4.4).
const SUBMITTED: &str = "$Submitted";
/// A recipient did not get it; ours.
const FAILED: &str = "$SubmitFailed";

/// How far a message in the Outbox is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum OutboxState {
    /// Its time has not come.
    Waiting,
    /// Its copy has `\Deleted`: it does not leave, whatever the time, until that is taken back.
    Withheld,
    /// It is on its way.
    Released,
}

/// What the Outbox knows of a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OutboxRecord {
    pub(crate) receipt: ReceiptId,
    pub(crate) mailbox: MailboxId,
    pub(crate) state: OutboxState,
    /// The copy says of a recipient that it failed.
    pub(crate) failed: bool,
    /// Octets at its start that say so.
    pub(crate) added_octets: u32,
}

impl Record for OutboxRecord {
    const SPACE: Space = Space::Outbox;
    const NAME: &'static str = "outbox record";
}

/// The sender's copy of a queued message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OutboxLink {
    pub(crate) account: AccountId,
    pub(crate) email: EmailId,
}

impl Record for OutboxLink {
    const SPACE: Space = Space::OutboxLink;
    const NAME: &'static str = "outbox link";
}

/// How long everything an account sends waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HoldRecord {
    pub(crate) seconds: u32,
}

impl Record for HoldRecord {
    const SPACE: Space = Space::Hold;
    const NAME: &'static str = "hold record";
}

/// A queued message whose sender has a copy in the Outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outgoing {
    /// Whose.
    pub account: AccountId,
    /// The mailbox.
    pub mailbox: MailboxId,
    /// The copy.
    pub email: EmailId,
    /// How far it is.
    pub state: OutboxState,
    /// Octets at the start of the copy that [`WriteTx::outbox_failed`] has put there.
    pub added_octets: u32,
}

/// The flags of a copy that is taken out of the Outbox: what they say of sending is no longer so, and among the drafts
/// it is one.
pub(crate) fn flags_outside(flags: &Flags, to: Option<Role>) -> Flags {
    let mut outside = flags.clone();
    for name in [PENDING, SUBMITTED, FAILED] {
        outside.remove(&keyword(name));
    }
    if to == Some(Role::Drafts) {
        outside.insert(Flag::Draft);
    }
    outside
}

fn keyword(name: &str) -> Flag {
    // The names above are keywords; what is not would be no flag of the message.
    Keyword::parse(name).map_or(Flag::Seen, Flag::Keyword)
}

impl ReadTx {
    /// The sender's copy of a queued message, if the Outbox has one.
    ///
    /// # Errors
    /// When the store fails.
    pub fn outgoing(&self, receipt: ReceiptId) -> Result<Option<Outgoing>> {
        let Some((OutboxLink { account, email }, record)) = self.outbox_entry(receipt)? else { return Ok(None) };
        let OutboxRecord { mailbox, state, added_octets, .. } = record;
        Ok(Some(Outgoing { account, mailbox, email, state, added_octets }))
    }

    /// Whether a queued message must be released before it is handed to anybody.
    ///
    /// # Errors
    /// When the store fails.
    pub fn outbox_waits(&self, receipt: ReceiptId) -> Result<bool> {
        Ok(self.outbox_entry(receipt)?.is_some_and(|(_, record)| record.state != OutboxState::Released))
    }

    /// How long everything that an account sends waits in its Outbox.
    ///
    /// # Errors
    /// When the store fails.
    pub fn hold(&self, account: AccountId) -> Result<Option<Duration>> {
        Ok(self.record::<HoldRecord>(&key::account(account))?.map(|record| Duration::from_secs(record.seconds.into())))
    }

    fn outbox_entry(&self, receipt: ReceiptId) -> Result<Option<(OutboxLink, OutboxRecord)>> {
        let Some(link) = self.record::<OutboxLink>(&key::receipt(receipt))? else { return Ok(None) };
        let key = key::email(link.account, link.email);
        let record = self.record(&key)?.ok_or_else(|| unreadable::<OutboxRecord>(&key))?;
        Ok(Some((link, record)))
    }

    /// Whether anything of an account is in its Outbox: mostly not.
    pub(crate) fn outbox_knows(&self, account: AccountId) -> Result<bool> {
        Ok(!self.keys(Space::Outbox, &KeyRange::prefix(&key::account(account)), 1)?.is_empty())
    }
}

impl WriteTx {
    /// Sets how long everything that an account sends waits; none: nothing waits unless the sender's program asks.
    ///
    /// # Errors
    /// When there is no such account, or it is longer than [`HOLD_MAX`].
    pub fn hold_set(&mut self, account: AccountId, hold: Option<Duration>) -> Result<()> {
        self.account_record(account)?;
        let Some(hold) = hold.filter(|hold| !hold.is_zero()) else {
            self.delete(Space::Hold, &key::account(account));
            return Ok(());
        };
        if hold > HOLD_MAX {
            return Err(Error::Invalid("mail is held for at most 24 hours".into()));
        }
        self.save(&key::account(account), &HoldRecord { seconds: u32::try_from(hold.as_secs()).unwrap_or(u32::MAX) })
    }

    /// Puts the sender's copy of a queued message into its Outbox, which is made if there is none. `None`: there is no
    /// room for it; the message waits all the same.
    ///
    /// # Errors
    /// When there is no such account or queued message, or the store fails.
    pub fn outbox_add(
        &mut self,
        account: AccountId,
        receipt: ReceiptId,
        body: &Body,
        digest: &Digest,
        now: Timestamp,
    ) -> Result<Option<(MailboxId, Added)>> {
        if self.queue_message(receipt)?.is_none() {
            return Err(Error::NotFound("queued message".into()));
        }
        let placed = self.mailbox_needed(account, Role::Outbox).and_then(|mailbox| {
            let added = self.outbox_place(account, mailbox, body, digest, &[PENDING], &[Flag::Seen], now)?;
            Ok((mailbox, added))
        });
        let (mailbox, added) = match placed {
            Ok(placed) => placed,
            Err(Error::OverQuota { .. } | Error::TooManyEmails { .. } | Error::Limit(_)) => return Ok(None),
            Err(error) => return Err(error),
        };
        let record = OutboxRecord { receipt, mailbox, state: OutboxState::Waiting, failed: false, added_octets: 0 };
        self.outbox_save(account, added.email, &record)?;
        Ok(Some((mailbox, added)))
    }

    #[expect(clippy::too_many_arguments, reason = "the inside of the two ways into the Outbox")]
    fn outbox_place(
        &mut self,
        account: AccountId,
        mailbox: MailboxId,
        body: &Body,
        digest: &Digest,
        keywords: &[&str],
        flags: &[Flag],
        now: Timestamp,
    ) -> Result<Added> {
        // Those to come are noted now: a release must not fail because the mailbox has too many.
        let all: Vec<_> = [PENDING, SUBMITTED, FAILED].iter().filter_map(|name| Keyword::parse(name).ok()).collect();
        self.keywords_note(account, mailbox, &all)?;
        let flags = keywords.iter().map(|name| keyword(name)).chain(flags.iter().cloned()).collect();
        self.email_add(account, mailbox, NewEmail { body, digest, flags, internal_date: now, saved: now })
    }

    fn outbox_save(&mut self, account: AccountId, email: EmailId, record: &OutboxRecord) -> Result<()> {
        self.save(&key::email(account, email), record)?;
        self.save(&key::receipt(record.receipt), &OutboxLink { account, email })
    }

    fn outbox_drop(&mut self, account: AccountId, email: EmailId, receipt: ReceiptId) {
        self.delete(Space::Outbox, &key::email(account, email));
        self.delete(Space::OutboxLink, &key::receipt(receipt));
    }

    /// A message's time has come: from here on it is on its way. False: it is not in the Outbox, is withheld or held, or
    /// is on its way already.
    ///
    /// # Errors
    /// When the store fails.
    pub fn outbox_release(&mut self, receipt: ReceiptId, now: Timestamp) -> Result<bool> {
        let Some((OutboxLink { account, email }, record)) = self.outbox_entry(receipt)? else { return Ok(false) };
        let is_held = self.queue_message(receipt)?.is_none_or(|message| message.held);
        if record.state == OutboxState::Released || is_held {
            return Ok(false);
        }
        let record = OutboxRecord { state: OutboxState::Released, ..record };
        self.outbox_save(account, email, &record)?;
        self.outbox_reflag(account, email, record.mailbox, &[PENDING], &[keyword(SUBMITTED)])?;
        self.trail_append(receipt, &[TrailEntry { at: now, event: Event::Released { account } }])?;
        // Its time in the queue stays: who watches the queue looks again.
        self.announce_queue();
        Ok(true)
    }

    /// Takes keywords from the copy and gives it flags.
    fn outbox_reflag(&mut self, account: AccountId, email: EmailId, mailbox: MailboxId, without: &[&str], with: &[Flag]) -> Result<()> {
        for (from, to) in self.uids_of_email(account, email, mailbox)?.ranges() {
            for message in self.messages(account, mailbox, from, to, usize::MAX)? {
                let mut flags = message.flags;
                for name in without {
                    flags.remove(&keyword(name));
                }
                for flag in with {
                    flags.insert(flag.clone());
                }
                let uid = UidSet::range(message.uid, message.uid);
                self.flags_change(account, mailbox, &uid, &FlagChange::Set(flags), None)?;
            }
        }
        Ok(())
    }

    /// Recipients have failed for good: the copy is replaced by one that says so, `added_octets` longer at its start
    /// than the message, unseen and flagged, and that stays. Nothing happens to a copy that is gone.
    ///
    /// # Errors
    /// When the store fails.
    pub fn outbox_failed(&mut self, receipt: ReceiptId, body: &Body, digest: &Digest, added_octets: u32, now: Timestamp) -> Result<()> {
        let Some((OutboxLink { account, email }, record)) = self.outbox_entry(receipt)? else { return Ok(()) };
        let old_octets = self.email(account, email)?.map_or(0, |email| email.octets);
        let keywords: &[&str] = if record.state == OutboxState::Released { &[FAILED] } else { &[FAILED, PENDING] };
        let failed = OutboxRecord { failed: true, ..record };
        if !self.quota(account)?.has_room(body.octets().saturating_sub(old_octets)) {
            self.outbox_save(account, email, &failed)?;
            return self.outbox_reflag(account, email, failed.mailbox, &[SUBMITTED], &[keyword(FAILED), Flag::Flagged]);
        }
        self.outbox_drop(account, email, receipt);
        let gone = self.uids_of_email(account, email, failed.mailbox)?;
        self.messages_remove(account, failed.mailbox, &gone, Which::All)?;
        let added = self.outbox_place(account, failed.mailbox, body, digest, keywords, &[Flag::Flagged], now)?;
        self.outbox_save(account, added.email, &OutboxRecord { added_octets, ..failed })
    }

    /// A message has left the queue: its copy goes, unless it says of a recipient that it failed.
    pub(crate) fn outbox_sent(&mut self, receipt: ReceiptId) -> Result<()> {
        let Some((OutboxLink { account, email }, record)) = self.outbox_entry(receipt)? else { return Ok(()) };
        self.outbox_drop(account, email, receipt);
        if record.failed {
            return Ok(());
        }
        let gone = self.uids_of_email(account, email, record.mailbox)?;
        self.messages_remove(account, record.mailbox, &gone, Which::All).map(drop)
    }

    /// An email has left a mailbox: if that was the last of a copy in the Outbox, what waited is not sent.
    pub(crate) fn outbox_left(&mut self, account: AccountId, mailbox: MailboxId, email: EmailId) -> Result<()> {
        let Some(record) = self.record::<OutboxRecord>(&key::email(account, email))? else { return Ok(()) };
        if record.mailbox != mailbox || !self.uids_of_email(account, email, mailbox)?.is_empty() {
            return Ok(());
        }
        self.outbox_drop(account, email, record.receipt);
        if record.state == OutboxState::Released { Ok(()) } else { self.outbox_withdraw(account, record.receipt) }
    }

    /// Takes a message that waits out of the queue.
    fn outbox_withdraw(&mut self, account: AccountId, receipt: ReceiptId) -> Result<()> {
        let Some(message) = self.queue_message(receipt)? else { return Ok(()) };
        self.queue_remove(receipt)?;
        let at = self.time().unwrap_or(message.accepted);
        self.trail_append(receipt, &[TrailEntry { at, event: Event::Withdrawn { account } }])
    }

    /// Messages of a mailbox have other flags: what waits and is marked as deleted does not leave.
    pub(crate) fn outbox_marked(&mut self, account: AccountId, mailbox: MailboxId, changed: &[Message]) -> Result<()> {
        for message in changed {
            let key = key::email(account, message.email);
            let Some(record) = self.record::<OutboxRecord>(&key)?.filter(|record| record.mailbox == mailbox) else { continue };
            let state = match (record.state, message.flags.contains(&Flag::Deleted)) {
                (OutboxState::Waiting, true) => OutboxState::Withheld,
                (OutboxState::Withheld, false) => OutboxState::Waiting,
                _ => continue,
            };
            let Some(mut queued) = self.queue_message(record.receipt)? else { continue };
            let withheld = state == OutboxState::Withheld;
            if queued.held == withheld {
                // An administrator holds it, or has let it go: that is not ours to change.
                continue;
            }
            queued.held = withheld;
            self.queue_put(&queued)?;
            self.save(&key, &OutboxRecord { state, ..record })?;
        }
        Ok(())
    }

    /// An account goes: what waits is not sent.
    pub(crate) fn outbox_forget(&mut self, account: AccountId) -> Result<()> {
        for (_, record) in self.records::<OutboxRecord>(&KeyRange::prefix(&key::account(account)))? {
            self.delete(Space::OutboxLink, &key::receipt(record.receipt));
            if record.state != OutboxState::Released {
                self.outbox_withdraw(account, record.receipt)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Store;
    use crate::queue::tests::queued;
    use crate::testing::{digest, findings, flags, inbox, message_text, now, said, tx, uids, world};
    use mail::Uid;

    /// Ann's message with receipt 7, held for an hour, and its copy.
    fn waiting() -> (Store, AccountId, MailboxId) {
        let (store, ann) = world();
        let outbox = tx(&store, move |tx| {
            assert!(tx.receipt_take(SEVEN)?);
            send(tx, ann, SEVEN, "one@x")
        });
        (store, ann, outbox)
    }

    const SEVEN: ReceiptId = ReceiptId(7);

    fn send(tx: &mut WriteTx, ann: AccountId, receipt: ReceiptId, id: &str) -> Result<MailboxId> {
        let body = Body::new(b"on the wire");
        let mut message = queued(receipt, &body, now().after(Duration::from_hours(1)));
        message.account = Some(ann);
        tx.queue_add(&message, &body)?;
        let (copy, digest) = (Body::new(message_text("Lunch", id, &[]).as_bytes()), digest("Lunch", id, &[]));
        let (mailbox, _) = tx.outbox_add(ann, receipt, &copy, &digest, now())?.unwrap();
        Ok(mailbox)
    }

    /// State of the copy, whether the queue has and holds the message, and what each mailbox has.
    fn look(tx: &ReadTx, ann: AccountId) -> String {
        let state = tx.outgoing(SEVEN).unwrap().map(|outgoing| format!("{:?}", outgoing.state));
        let queue = tx.queue_message(SEVEN).unwrap().map(|message| if message.held { "held" } else { "queued" });
        let mut out = format!("{} {}", state.unwrap_or_else(|| "-".into()), queue.unwrap_or("-"));
        for mailbox in tx.mailboxes(ann).unwrap() {
            for message in tx.messages(ann, mailbox.id, Uid(1), Uid(99), 99).unwrap() {
                let flags: Vec<_> = message.flags.iter().map(|flag| flag.to_string()).collect();
                out = format!("{out}; {} {} {}", mailbox.name, message.uid, flags.join(" "));
            }
        }
        out
    }

    fn check(act: impl Fn(&mut WriteTx, AccountId, MailboxId) -> Result<()> + Send + 'static, want: &str) {
        let (store, ann, outbox) = waiting();
        let act = std::sync::Mutex::new(act);
        let seen = tx(&store, move |tx| {
            (act.lock().unwrap())(tx, ann, outbox)?;
            Ok(look(tx, ann))
        });
        assert_eq!(seen, want);
        assert_eq!(findings(&store), [""; 0], "{want}");
    }

    fn to(tx: &ReadTx, ann: AccountId, role: Role) -> MailboxId {
        tx.mailbox_by_role(ann, role).unwrap().unwrap().id
    }

    const HERE: &str = "Waiting queued; Outbox 1 \\Seen $SubmitPending";

    #[test]
    fn what_becomes_of_the_copy_becomes_of_the_message() {
        check(|_, _, _| Ok(()), HERE);
        check(|tx, ann, outbox| tx.messages_destroy(ann, outbox, &uids("1")).map(drop), "- -");
        check(|tx, ann, outbox| tx.email_move(ann, outbox, &uids("1"), to(tx, ann, Role::Trash), now()).map(drop), "- -; Trash 1 \\Seen");
        check(
            |tx, ann, outbox| tx.email_move(ann, outbox, &uids("1"), to(tx, ann, Role::Drafts), now()).map(drop),
            "- -; Drafts 1 \\Seen \\Draft",
        );
        check(
            |tx, ann, outbox| tx.email_copy(ann, outbox, &uids("1"), to(tx, ann, Role::Drafts), now()).map(drop),
            "Waiting queued; Drafts 1 \\Seen \\Draft; Outbox 1 \\Seen $SubmitPending",
        );
        check(|tx, ann, outbox| tx.email_move(ann, outbox, &uids("1"), outbox, now()).map(drop), "Waiting queued; Outbox 2 \\Seen");
        check(WriteTx::mailbox_delete, "- -");
        check(|tx, ann, outbox| tx.mailbox_rename(ann, outbox, "Later", now()).map(drop), &HERE.replace("Outbox", "Later"));
        check(|tx, ann, outbox| tx.mailbox_set_role(ann, outbox, None), HERE);
        check(
            |tx, ann, outbox| {
                tx.mailbox_set_role(ann, outbox, None)?;
                tx.messages_destroy(ann, outbox, &uids("1")).map(drop)
            },
            "- -",
        );
    }

    #[test]
    fn what_is_marked_as_deleted_does_not_leave() {
        let mark = |tx: &mut WriteTx, ann, outbox, change| tx.flags_change(ann, outbox, &uids("1"), &change, None).map(drop);
        let add = || FlagChange::Add(flags("\\Deleted"));
        let remove = || FlagChange::Remove(flags("\\Deleted"));
        check(move |tx, ann, outbox| mark(tx, ann, outbox, add()), "Withheld held; Outbox 1 \\Seen \\Deleted $SubmitPending");
        check(
            move |tx, ann, outbox| {
                mark(tx, ann, outbox, add())?;
                mark(tx, ann, outbox, remove())
            },
            HERE,
        );
        check(
            move |tx, ann, outbox| {
                mark(tx, ann, outbox, add())?;
                tx.expunge(ann, outbox, &uids("1")).map(drop)
            },
            "- -",
        );
        // What an administrator holds stays held.
        check(
            move |tx, ann, outbox| {
                let mut message = tx.queue_message(SEVEN)?.unwrap();
                message.held = true;
                tx.queue_put(&message)?;
                mark(tx, ann, outbox, add())?;
                mark(tx, ann, outbox, remove())
            },
            "Waiting held; Outbox 1 \\Seen $SubmitPending",
        );
    }

    #[test]
    fn what_is_on_its_way_is_not_called_back() {
        let release = |tx: &mut WriteTx| {
            assert!(tx.outbox_waits(SEVEN)? && tx.outbox_release(SEVEN, now())?);
            assert!(!tx.outbox_waits(SEVEN)? && !tx.outbox_release(SEVEN, now())?);
            Ok(())
        };
        check(move |tx, _, _| release(tx), "Released queued; Outbox 1 \\Seen $Submitted");
        check(
            move |tx, ann, outbox| {
                release(tx)?;
                tx.messages_destroy(ann, outbox, &uids("1")).map(drop)
            },
            "- queued",
        );
        check(
            move |tx, ann, outbox| {
                release(tx)?;
                tx.flags_change(ann, outbox, &uids("1"), &FlagChange::Add(flags("\\Deleted")), None).map(drop)
            },
            "Released queued; Outbox 1 \\Seen \\Deleted $Submitted",
        );
        check(
            move |tx, _, _| {
                release(tx)?;
                tx.queue_remove(SEVEN)
            },
            "- -",
        );
        // The sender came first.
        check(
            move |tx, ann, outbox| {
                tx.messages_destroy(ann, outbox, &uids("1"))?;
                assert!(!tx.outbox_waits(SEVEN)? && !tx.outbox_release(SEVEN, now())?);
                Ok(())
            },
            "- -",
        );
        check(
            move |tx, ann, outbox| {
                tx.flags_change(ann, outbox, &uids("1"), &FlagChange::Add(flags("\\Deleted")), None)?;
                assert!(!tx.outbox_release(SEVEN, now())?);
                Ok(())
            },
            "Withheld held; Outbox 1 \\Seen \\Deleted $SubmitPending",
        );
    }

    #[test]
    fn who_failed_is_seen() {
        let text = format!("X-Failed-Recipients: x@y.example\r\n{}", message_text("Lunch", "one@x", &[]));
        let fail = move |tx: &mut WriteTx| tx.outbox_failed(SEVEN, &Body::new(text.as_bytes()), &Digest::of(text.as_bytes()), 34, now());
        let again = fail.clone();
        check(
            move |tx, _, _| {
                tx.outbox_release(SEVEN, now())?;
                fail(tx)?;
                assert_eq!(tx.outgoing(SEVEN)?.map(|outgoing| outgoing.added_octets), Some(34));
                tx.queue_remove(SEVEN)
            },
            "- -; Outbox 2 \\Flagged $SubmitFailed",
        );
        check(
            move |tx, ann, _| {
                let used = tx.quota(ann)?.used_octets;
                tx.account_set_quota(ann, Some(used))?;
                again(tx)
            },
            "Waiting queued; Outbox 1 \\Seen \\Flagged $SubmitFailed $SubmitPending",
        );
    }

    #[test]
    fn there_may_be_no_room() {
        let (store, ann) = world();
        tx(&store, move |tx| {
            let inbox = inbox(tx, ann).id;
            let body = Body::new(b"on the wire");
            let message = queued(SEVEN, &body, now());
            let copy = digest("Lunch", "one@x", &[]);
            assert_eq!(said(tx.outbox_add(ann, SEVEN, &body, &copy, now())), "queued message does not exist");
            tx.queue_add(&message, &body)?;
            tx.account_set_quota(ann, Some(1))?;
            assert_eq!(tx.outbox_add(ann, SEVEN, &body, &copy, now())?, None);
            assert_eq!(look(tx, ann), "- queued");
            assert_eq!(tx.uids(ann, inbox)?, UidSet::new());
            Ok(())
        });
    }

    #[test]
    fn an_outbox_is_made_where_there_is_none() {
        let (store, ann) = world();
        tx(&store, move |tx| {
            let taken = tx.mailbox_create(ann, "Outbox", None)?;
            assert_eq!(send(tx, ann, SEVEN, "one@x")?, taken);
            assert_eq!(tx.mailbox(ann, taken)?.unwrap().role, Some(Role::Outbox));
            tx.mailbox_set_role(ann, taken, None)?;
            tx.mailbox_set_role(ann, to(tx, ann, Role::Archive), None)?;
            tx.mailbox_set_role(ann, taken, Some(Role::Archive))?;
            let second = send(tx, ann, ReceiptId(8), "two@x")?;
            let mailbox = tx.mailbox(ann, second)?.unwrap();
            assert_eq!((mailbox.name.as_str(), mailbox.subscribed), ("Outbox 2", true));
            Ok(())
        });
    }

    #[test]
    fn an_account_takes_what_waits_with_it() {
        let (store, ann, _) = waiting();
        tx(&store, move |tx| {
            send(tx, ann, ReceiptId(8), "two@x")?;
            tx.outbox_release(ReceiptId(8), now())?;
            tx.happens_at(now().after(Duration::from_mins(5)));
            tx.account_remove(ann)?;
            assert_eq!((tx.queue_message(SEVEN)?, tx.queue_len()?), (None, 1));
            let last = tx.trail(SEVEN)?.pop().unwrap();
            assert_eq!((last.at, last.event), (now().after(Duration::from_mins(5)), Event::Withdrawn { account: ann }));
            Ok(())
        });
    }

    #[test]
    fn a_hold_is_set_and_bounded() {
        let (store, ann) = world();
        tx(&store, move |tx| {
            let ten = Some(Duration::from_secs(10));
            tx.hold_set(ann, ten)?;
            assert_eq!(tx.hold(ann)?, ten);
            tx.hold_set(ann, Some(Duration::ZERO))?;
            assert_eq!(tx.hold(ann)?, None);
            assert_eq!(said(tx.hold_set(ann, Some(HOLD_MAX + Duration::from_secs(1)))), "mail is held for at most 24 hours");
            Ok(())
        });
    }
}
