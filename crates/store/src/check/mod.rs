//! Verifies a whole store: every record can be read, every reference leads somewhere, every counter
//! is what counting gives, every body has its hash; and names what is not so, by key.
//!
//! It only reads, and goes on after what it finds. Records, references and counters are compared in one
//! state of the store: one transaction, as long as reading the index takes, during which others read and
//! write as always; only what they write or remove cannot be tidied up. Bodies are read after that, a few
//! in each transaction. It keeps one entry a blob and the feed of one mailbox in memory.
//!
//! Not a repair: nothing is changed, and nothing is lost by looking.

mod accounts;
mod addresses;
mod blobs;
mod emails;
mod feeds;
mod grams;
mod mailboxes;
mod outbox;
mod queue;
mod rejects;
mod sharing;

use crate::Store;
use crate::error::Result;
use crate::index::{Direction, KeyRange};
use crate::record::{Record, decode};
use crate::schema::Space;
use crate::tx::ReadTx;
use mail::{AccountId, BlobHash, EmailId};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::ControlFlow;

/// Most findings that are listed; more are counted.
pub const FINDINGS_MAX: usize = 10_000;

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// In which space.
    pub space: Space,
    /// At which key.
    pub key: Vec<u8>,
    /// What is there and what should be.
    pub what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.space.table())?;
        self.key.iter().try_for_each(|octet| write!(f, "{octet:02x}"))?;
        write!(f, ": {}", self.what)
    }
}

/// What was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Figures {
    /// Accounts.
    pub accounts: u64,
    /// Mailboxes of all accounts.
    pub mailboxes: u64,
    /// Messages of all mailboxes.
    pub messages: u64,
    /// Emails of all accounts.
    pub emails: u64,
    /// Messages in the queue.
    pub queued: u64,
    /// Receipts with a trail.
    pub trails: u64,
    /// Stored bodies.
    pub blobs: u64,
    /// Octets of stored bodies that were read and hashed.
    pub octets_hashed: u64,
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// What is wrong; at most [`FINDINGS_MAX`].
    pub findings: Vec<Finding>,
    /// How many more there are.
    pub more: u64,
    /// What was looked at.
    pub figures: Figures,
}

impl Report {
    /// Whether nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.findings.is_empty() && self.more == 0
    }
}

/// Whether bodies are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bodies {
    /// Only their entries in the index are looked at.
    Skip,
    /// Each is read and hashed: as long as reading all mail takes.
    Read,
}

/// Checks a store; `progress` is called now and then.
///
/// Fails only when the store cannot be read at all: what is wrong in it is in the report.
pub fn check(store: &Store, bodies: Bodies, mut progress: impl FnMut(&Figures) + Send + 'static) -> Result<Report> {
    let (mut report, mut blobs, mut progress) = store.read_blocking(move |tx| {
        let (report, blobs) = Check::new(tx, Report::default(), &mut progress).run()?;
        Ok((report, blobs, progress))
    })?;
    while bodies == Bodies::Read && !blobs.is_empty() {
        (report, blobs, progress) = store.read_blocking(move |tx| {
            let mut check = Check::new(tx, report, &mut progress);
            check.bodies(&mut blobs);
            let report = check.told();
            Ok((report, blobs, progress))
        })?;
    }
    if bodies == Bodies::Read { grams(store, report, progress) } else { Ok(report) }
}

/// Compares the full-text index with the messages, a few in each transaction.
fn grams(store: &Store, mut report: Report, mut progress: impl FnMut(&Figures) + Send + 'static) -> Result<Report> {
    for account in store.read_blocking(ReadTx::account_ids)? {
        let mut next = Some(EmailId(0));
        while let Some(from) = next {
            (report, next, progress) = store.read_blocking(move |tx| {
                let mut check = Check::new(tx, report, &mut progress);
                // What cannot be read was found before.
                let next = check.grams(account, from).unwrap_or_default();
                let report = check.told();
                Ok((report, next, progress))
            })?;
        }
    }
    Ok(report)
}

/// A check at work.
struct Check<'a> {
    tx: &'a ReadTx,
    report: Report,
    /// How many hold each blob, as far as was seen.
    held: BTreeMap<BlobHash, u64>,
    accounts: BTreeSet<AccountId>,
    progress: &'a mut dyn FnMut(&Figures),
}

impl<'a> Check<'a> {
    fn new(tx: &'a ReadTx, report: Report, progress: &'a mut dyn FnMut(&Figures)) -> Self {
        Self { tx, report, held: BTreeMap::new(), accounts: BTreeSet::new(), progress }
    }

    /// Everything but the bodies; which bodies there are.
    fn run(mut self) -> Result<(Report, Vec<BlobHash>)> {
        self.accounts = self.tx.account_ids()?.into_iter().collect();
        self.addresses()?;
        for account in self.accounts.clone() {
            self.account(account)?;
        }
        self.strangers()?;
        self.shares()?;
        self.queue()?;
        self.outbox()?;
        self.rejects()?;
        self.trails()?;
        let blobs = self.blobs()?;
        Ok((self.told(), blobs))
    }

    /// What was found, after progress was told.
    fn told(self) -> Report {
        (self.progress)(&self.report.figures);
        self.report
    }

    fn find(&mut self, space: Space, key: &[u8], what: impl Into<String>) {
        if self.report.findings.len() < FINDINGS_MAX {
            self.report.findings.push(Finding { space, key: key.to_vec(), what: what.into() });
        } else {
            self.report.more += 1;
        }
    }

    /// Finds fault unless two things are the same.
    fn same<T: Copy + PartialEq + fmt::Display>(&mut self, space: Space, key: &[u8], name: &str, is: T, expected: T) {
        if is != expected {
            self.find(space, key, format!("{name} is {is}, {expected} expected"));
        }
    }

    /// The records of a range; those that cannot be read are found and left out.
    fn records<R: Record>(&mut self, range: &KeyRange) -> Result<Vec<(Vec<u8>, R)>> {
        let mut records = Vec::new();
        let mut unreadable = Vec::new();
        self.tx.scan(R::SPACE, range, Direction::Forward, |key, octets| {
            match decode::<R>(key, octets) {
                Ok(record) => records.push((key.to_vec(), record)),
                Err(_) => unreadable.push(key.to_vec()),
            }
            ControlFlow::Continue(())
        })?;
        for key in unreadable {
            self.find(R::SPACE, &key, format!("the {} cannot be read", R::NAME));
        }
        Ok(records)
    }

    /// The record at a key; none also if it cannot be read, which its own walk finds.
    fn record<R: Record>(&self, key: &[u8]) -> Result<Option<R>> {
        Ok(self.tx.get(R::SPACE, key)?.and_then(|octets| decode(key, &octets).ok()))
    }

    fn hold(&mut self, blob: BlobHash) {
        *self.held.entry(blob).or_default() += 1;
    }

    fn figures(&mut self, count: impl FnOnce(&mut Figures)) {
        count(&mut self.report.figures);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Credentials;
    use crate::key;
    use crate::mailbox::{MailboxRecord, NameRecord, RoleRecord};
    use crate::message::MessageRecord;
    use crate::queue::{QUEUE_LEN, QueueMessage, tests::queued};
    use crate::testing::{add, address, digest, findings, flags, message_text, now, tx, uids, world};
    use crate::thread::ThreadRecord;
    use crate::trail::{REJECTIONS, REJECTIONS_OCTETS};
    use crate::uid::{Count, Counters};
    use crate::{Body, FlagChange, NewAccount, NewEmail, Target, WriteTx};
    use mail::{Event, MailboxId, ModSeq, ReceiptId, Role, Timestamp, TrailEntry, Uid};

    const ANN: AccountId = AccountId(1);
    const INBOX: MailboxId = MailboxId(1);

    /// Two accounts, messages with flags and copies, something expunged, something queued, a trail.
    fn full() -> Store {
        let (store, _) = world();
        tx(&store, |tx| {
            let bob = NewAccount {
                address: address("bob@example.org"),
                name: "Bob".into(),
                credentials: Credentials::none(),
                quota_octets_max: None,
            };
            let bob = tx.account_create(bob, now())?;
            tx.alias_set(&address("all@example.org"), vec![Target::Account(ANN), Target::Account(bob)])?;
            for id in ["one@x", "two@x", "three@x"] {
                add(tx, ANN, INBOX, id, "Work")?;
            }
            let body = Body::new(message_text("one@x", "four@x", &["one@x"]).as_bytes());
            let answer = digest("one@x", "four@x", &["one@x"]);
            tx.email_add(ANN, INBOX, NewEmail { body: &body, digest: &answer, flags: flags(""), internal_date: now(), saved: now() })?;
            let sent = tx.mailbox_by_role(ANN, Role::Sent)?.unwrap();
            tx.email_copy(ANN, INBOX, &uids("1:2"), sent.id, now())?;
            tx.flags_change(ANN, INBOX, &uids("1:2"), &FlagChange::Add(flags("\\Deleted")), None)?;
            tx.expunge(ANN, INBOX, &uids("2"))?;
            let receipt = tx.receipt_next(now())?;
            let body = Body::new(b"queued");
            tx.queue_add(&queued(receipt, &body, now()), &body)?;
            let event = Event::Queued { recipient: address("x@y.example") };
            tx.trail_append(receipt, &[TrailEntry { at: now(), event }])?;
            tx.trail_index(receipt, "q@x")
        });
        store
    }

    fn change<R: Record>(tx: &mut WriteTx, key: &[u8], change: impl FnOnce(&mut R)) {
        let mut record = tx.record::<R>(key).unwrap().unwrap();
        change(&mut record);
        tx.save(key, &record).unwrap();
    }

    #[test]
    fn a_sound_store_has_no_findings() {
        let store = full();
        let report = check(&store, Bodies::Read, |_| {}).unwrap();
        assert_eq!(report.findings, []);
        let Figures { accounts, mailboxes, messages, emails, queued, trails, blobs, .. } = report.figures;
        assert_eq!((accounts, mailboxes, messages, emails, queued, trails, blobs), (2, 12, 5, 4, 1, 1, 5));
    }

    type Damage = fn(&mut WriteTx);

    /// Every kind of damage, and how it is named.
    const DAMAGES: &[(&str, &str, Damage)] = &[
        ("a counter", "mailbox 0000000100000001: emails is 9, 3 expected", |tx| {
            change::<MailboxRecord>(tx, &key::mailbox(ANN, INBOX), |record| record.emails = 9);
        }),
        ("unseen", "mailbox 0000000100000001: unseen is 0, 3 expected", |tx| {
            change::<MailboxRecord>(tx, &key::mailbox(ANN, INBOX), |record| record.unseen = 0);
        }),
        ("deleted", "mailbox 0000000100000001: deleted is 2, 1 expected", |tx| {
            change::<MailboxRecord>(tx, &key::mailbox(ANN, INBOX), |record| record.deleted = 2);
        }),
        ("octets", "mailbox 0000000100000001: octets is 1, ", |tx| {
            change::<MailboxRecord>(tx, &key::mailbox(ANN, INBOX), |record| record.octets = 1);
        }),
        ("the feed's count", "mailbox 0000000100000001: changes is 7, 2 expected", |tx| {
            change::<MailboxRecord>(tx, &key::mailbox(ANN, INBOX), |record| record.changes = 7);
        }),
        ("the next Uid", "message 000000010000000100000004: its Uid 4 is not below the mailbox's next, 4", |tx| {
            change::<MailboxRecord>(tx, &key::mailbox(ANN, INBOX), |record| record.uid_next = Uid(4));
        }),
        ("a mailbox's mod_seq", "its mod_seq 18 is above the mailbox's, 1", |tx| {
            change::<MailboxRecord>(tx, &key::mailbox(ANN, INBOX), |record| record.mod_seq = ModSeq(1));
        }),
        ("the account's mod_seq", "mod_seq is 19, at most 2 expected", |tx| {
            change::<Counters>(tx, &key::account(ANN), |counters| counters.mod_seq = ModSeq(2));
        }),
        ("UidValidity twice", "is another mailbox's too", |tx| {
            let first = tx.mailbox(ANN, INBOX).unwrap().unwrap().uid_validity;
            change::<MailboxRecord>(tx, &key::mailbox(ANN, MailboxId(2)), |record| record.uid_validity = first);
        }),
        ("quota", "counters 00000001: used_octets is 1, ", |tx| {
            change::<Counters>(tx, &key::account(ANN), |counters| counters.used_octets = 1);
        }),
        ("emails", "counters 00000001: emails is 1, 4 expected", |tx| {
            change::<Counters>(tx, &key::account(ANN), |counters| counters.emails = 1);
        }),
        ("mailboxes", "counters 00000001: mailboxes is 1, 6 expected", |tx| {
            change::<Counters>(tx, &key::account(ANN), |counters| counters.mailboxes = 1);
        }),
        ("counters gone", "counters 00000001: the counters are missing", |tx| tx.delete(Space::Counters, &key::account(ANN))),
        ("an account gone", "belongs to account 1, which does not exist", |tx| tx.delete(Space::Account, &key::account(ANN))),
        ("an alias to nobody", "leads to account 2, which does not exist", |tx| tx.delete(Space::Account, &key::account(AccountId(2)))),
        ("an address gone", "its address ann@example.org is not known as its own", |tx| tx.delete(Space::Address, b"ann@example.org")),
        ("a domain gone", "address 616e6e406578616d706c652e6f7267: its domain is not ours", |tx| tx.delete(Space::Domain, b"example.org")),
        ("a mailbox gone", "belongs to mailbox 1, which does not exist", |tx| tx.delete(Space::Mailbox, &key::mailbox(ANN, INBOX))),
        ("a name gone", "its name \"INBOX\" does not lead to it", |tx| tx.delete(Space::MailboxName, &key::name(ANN, "INBOX"))),
        ("a name too many", "\"x/y\" stands for mailbox 1", |tx| tx.save(&key::name(ANN, "x/y"), &NameRecord(INBOX)).unwrap()),
        ("a parent gone", "its parent \"p\" does not exist", |tx| {
            let id = tx.mailbox_create(ANN, "p/c", None).unwrap();
            let parent = tx.mailbox_id(ANN, "p").unwrap().unwrap();
            assert_ne!(id, parent);
            tx.delete(Space::MailboxName, &key::name(ANN, "p"));
        }),
        ("a role gone", "its role does not lead to it", |tx| tx.delete(Space::MailboxRole, &key::role(ANN, Role::Inbox))),
        ("a role elsewhere", "leads to mailbox 1, which does not have the role", |tx| {
            tx.save(&key::role(ANN, Role::Sent), &RoleRecord(INBOX)).unwrap();
        }),
        ("a keyword gone", "its keyword Work is not among the mailbox's", |tx| {
            tx.delete(Space::Keyword, &key::keyword(ANN, INBOX, "work"));
        }),
        ("a mark gone", "message 000000010000000100000001: has \\Deleted and no mark", |tx| {
            tx.delete(Space::Deleted, &key::message(ANN, INBOX, Uid(1)));
        }),
        ("a mark too many", "deleted 000000010000000100000003: marks a message that does not have \\Deleted", |tx| {
            tx.put(Space::Deleted, &key::message(ANN, INBOX, Uid(3)), Vec::new());
        }),
        ("a message gone", "message 3 of mailbox 1 should be it and is not", |tx| {
            tx.delete(Space::Message, &key::message(ANN, INBOX, Uid(3)));
        }),
        ("a message unreadable", "message 000000010000000100000003: the message record cannot be read", |tx| {
            tx.put(Space::Message, &key::message(ANN, INBOX, Uid(3)), vec![1, 2, 3]);
        }),
        ("a newer form", "message 000000010000000100000003: the message record cannot be read", |tx| {
            let mut octets = tx.get(Space::Message, &key::message(ANN, INBOX, Uid(3))).unwrap().unwrap();
            octets[0] = 99;
            tx.put(Space::Message, &key::message(ANN, INBOX, Uid(3)), octets);
        }),
        ("a vanished message told wrongly", "these are gone, and the feed does not tell: 3", |tx| {
            tx.delete(Space::Message, &key::message(ANN, INBOX, Uid(3)));
        }),
        ("a message back from the dead", "the feed tells that these are gone, and they are not: 2", |tx| {
            let message = tx.record::<MessageRecord>(&key::message(ANN, INBOX, Uid(3))).unwrap().unwrap();
            tx.save(&key::message(ANN, INBOX, Uid(2)), &message).unwrap();
        }),
        ("a flag change not told", "the last change of flags in the feed is 0, 18 expected", |tx| {
            let key = tx.keys(Space::Change, &KeyRange::prefix(&key::mailbox(ANN, INBOX)), 1).unwrap().remove(0);
            tx.delete(Space::Change, &key);
        }),
        ("an email gone", "its email 3 does not exist", |tx| tx.delete(Space::Email, &key::email(ANN, EmailId(3)))),
        ("an index gone", "the full-text index is not that of the message", |tx| tx.delete(Space::Grams, &key::email(ANN, EmailId(3)))),
        ("an email's number", "its number is above the last one given, 1", |tx| {
            change::<Counters>(tx, &key::account(ANN), |counters| counters.email = EmailId(1));
        }),
        ("a message of another blob", "blob, octets or thread differ from those of its email 3", |tx| {
            change::<MessageRecord>(tx, &key::message(ANN, INBOX, Uid(3)), |message| message.octets += 1);
        }),
        ("a message of another email", "its email 4 does not know it", |tx| {
            change::<MessageRecord>(tx, &key::message(ANN, INBOX, Uid(3)), |message| message.email = EmailId(4));
        }),
        ("a thread's count", "the emails of thread 1 is 9, 2 expected", |tx| {
            change::<ThreadRecord>(tx, &key::thread(ANN, key::hash("one@x")), |record| record.0[0].emails = 9);
        }),
        ("a thread gone", "2 emails of thread 1 are not counted", |tx| {
            tx.delete(Space::Thread, &key::thread(ANN, key::hash("one@x")));
        }),
        ("a due time gone", "is missing: a message of the queue would never be tried", |tx| {
            let key = tx.keys(Space::QueuePart, &KeyRange::all(), 1).unwrap().remove(0);
            tx.delete(Space::QueuePart, &key);
        }),
        ("a due time too many", "no message of the queue is due then", |tx| {
            tx.put(Space::QueueDue, &key::queue_due(Timestamp(1), ReceiptId(1), "y.example"), Vec::new());
        }),
        ("a part gone", "is missing: a message of the queue would never be tried", |tx| {
            let key = tx.keys(Space::QueueReady, &KeyRange::all(), 1).unwrap().remove(0);
            tx.delete(Space::QueueReady, &key);
        }),
        ("a lane gone", "is missing: mail for the domain would not be tried", |tx| {
            let key = tx.keys(Space::QueueOrder, &KeyRange::prefix(&[1]), 1).unwrap().remove(0);
            tx.delete(Space::QueueOrder, &key);
        }),
        ("the length of the queue", "the length of the queue is 5, 1 expected", |tx| tx.save(QUEUE_LEN, &Count(5)).unwrap()),
        ("a queued message gone", "no message of the queue has that part", |tx| {
            let key = tx.keys(Space::Queue, &KeyRange::all(), 1).unwrap().remove(0);
            tx.delete(Space::Queue, &key);
        }),
        ("a queued message elsewhere", "holds the message of receipt", |tx| {
            let (key, message) = tx.records::<QueueMessage>(&KeyRange::all()).unwrap().remove(0);
            tx.delete(Space::Queue, &key);
            tx.save(&key::receipt(ReceiptId(7)), &message).unwrap();
        }),
        ("a refused message's trail gone", "rejection 000000000000004d: it has no trail", |tx| {
            tx.put(Space::Rejection, &key::receipt(ReceiptId(77)), Vec::new());
        }),
        ("the number of refused messages", "the number of refused messages is 3, 0 expected", |tx| {
            tx.save(REJECTIONS, &Count(3)).unwrap();
        }),
        ("the octets of refused messages", "the octets of refused messages' trails is 3, 0 expected", |tx| {
            tx.save(REJECTIONS_OCTETS, &Count(3)).unwrap();
        }),
        ("a Message-ID gone", "is missing: the trail names it", |tx| {
            let key = tx.keys(Space::MessageId, &KeyRange::all(), 1).unwrap().remove(0);
            tx.delete(Space::MessageId, &key);
        }),
        ("a trail gone", "its receipt's trail does not name it", |tx| {
            tx.erase(Space::Trail, &KeyRange::all()).unwrap();
        }),
        ("receipts given twice", "its receipt is above the last one given", |tx| {
            tx.save(crate::uid::RECEIPT_LAST, &Count(1)).unwrap();
        }),
        ("a reference too many", "references is 2, 1 expected", |tx| tx.blob_hold(&Body::new(b"queued").hash()).unwrap()),
        ("a blob gone", "is missing; 1 hold it", |tx| tx.delete(Space::Blob, &Body::new(b"queued").hash().0)),
        ("a blob of nobody", "references is 1, 0 expected", |tx| tx.blob_put(&Body::new(b"nobody's")).unwrap()),
    ];

    #[test]
    fn every_damage_is_named() {
        for (name, want, damage) in DAMAGES {
            let store = full();
            tx(&store, move |tx| {
                damage(tx);
                Ok(())
            });
            let found = findings(&store);
            assert!(found.iter().any(|finding| finding.contains(want)), "{name}: {want:?} is not in {found:#?}");
        }
    }
}
