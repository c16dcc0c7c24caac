//! Random operations against a simple model, and against a client that knows only what the change
//! feed tells it.
//!
//! After each run the mailboxes are what the model says, the client has converged, every counter is
//! what counting gives, and the check finds nothing.

use super::{add, findings, flags, now, tx, world};
use crate::schema::Space;
use crate::{FlagChange, Store};
use mail::{AccountId, Flags, MailboxId, ModSeq, Uid, UidSet};
use proptest::prelude::*;
use std::collections::BTreeMap;

#[derive(Debug, Clone)]
enum Step {
    Add { mailbox: usize, flags: usize },
    Flags { mailbox: usize, from: u32, len: u32, how: usize, flags: usize },
    Conditional { mailbox: usize, uid: u32, back: u64, flags: usize },
    Copy { from: usize, first: u32, len: u32, to: usize },
    Move { from: usize, first: u32, len: u32, to: usize },
    Expunge { mailbox: usize },
    Destroy { mailbox: usize, first: u32, len: u32 },
    Create { name: usize },
    Rename { mailbox: usize, name: usize },
    Delete { mailbox: usize },
    Sync,
}

const NAMES: [&str; 7] = ["a", "a/b", "a/b/c", "b", "b/a", "inbox/x", "ä"];
const FLAGS: [&str; 6] = ["", "\\Seen", "\\Deleted", "\\Seen \\Deleted Work", "work Play", "\\Flagged"];

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let (mailbox, uid, len) = (0..10usize, 1..12u32, 0..6u32);
    let which = 0..FLAGS.len();
    let name = 0..NAMES.len();
    prop::collection::vec(
        prop_oneof![
            6 => (mailbox.clone(), which.clone()).prop_map(|(mailbox, flags)| Step::Add { mailbox, flags }),
            4 => (mailbox.clone(), uid.clone(), len.clone(), 0..3usize, which.clone())
                .prop_map(|(mailbox, from, len, how, flags)| Step::Flags { mailbox, from, len, how, flags }),
            1 => (mailbox.clone(), uid.clone(), 0..6u64, which)
                .prop_map(|(mailbox, uid, back, flags)| Step::Conditional { mailbox, uid, back, flags }),
            2 => (mailbox.clone(), uid.clone(), len.clone(), mailbox.clone())
                .prop_map(|(from, first, len, to)| Step::Copy { from, first, len, to }),
            2 => (mailbox.clone(), uid.clone(), len.clone(), mailbox.clone())
                .prop_map(|(from, first, len, to)| Step::Move { from, first, len, to }),
            2 => mailbox.clone().prop_map(|mailbox| Step::Expunge { mailbox }),
            1 => (mailbox.clone(), uid, len).prop_map(|(mailbox, first, len)| Step::Destroy { mailbox, first, len }),
            2 => name.clone().prop_map(|name| Step::Create { name }),
            1 => (mailbox.clone(), name).prop_map(|(mailbox, name)| Step::Rename { mailbox, name }),
            1 => mailbox.prop_map(|mailbox| Step::Delete { mailbox }),
            3 => Just(Step::Sync),
        ],
        1..60,
    )
}

#[derive(Debug, Clone, Default, PartialEq)]
struct Folder {
    name: String,
    uid_next: u32,
    messages: BTreeMap<Uid, (Flags, String)>,
}

/// What a client knows.
#[derive(Default)]
struct Client {
    since: BTreeMap<MailboxId, ModSeq>,
    views: BTreeMap<MailboxId, BTreeMap<Uid, Flags>>,
}

struct World {
    store: Store,
    account: AccountId,
    boxes: BTreeMap<MailboxId, Folder>,
    client: Client,
    added: u32,
    mod_seq: ModSeq,
    numberings: BTreeMap<u32, MailboxId>,
}

impl World {
    fn new() -> Self {
        let (store, account) = world();
        let mut this = Self {
            store,
            account,
            boxes: BTreeMap::new(),
            client: Client::default(),
            added: 0,
            mod_seq: ModSeq(0),
            numberings: BTreeMap::new(),
        };
        this.learn_mailboxes();
        this
    }

    /// Takes new mailboxes into the model; their names are checked at the end of each step.
    fn learn_mailboxes(&mut self) {
        let account = self.account;
        for mailbox in tx(&self.store, move |tx| tx.mailboxes(account)) {
            let known = self.numberings.insert(mailbox.uid_validity.0, mailbox.id);
            assert!(known.is_none_or(|id| id == mailbox.id), "UidValidity {} is used again", mailbox.uid_validity);
            self.boxes.entry(mailbox.id).or_insert_with(|| Folder { name: mailbox.name, uid_next: 1, messages: BTreeMap::new() });
        }
    }

    fn pick(&self, number: usize) -> MailboxId {
        *self.boxes.keys().nth(number % self.boxes.len()).unwrap()
    }

    fn step(&mut self, step: &Step) {
        let account = self.account;
        match *step {
            Step::Add { mailbox, flags: which } => {
                let (id, name) = (self.pick(mailbox), format!("m{}@x", self.added));
                self.added += 1;
                let text = name.clone();
                let added = tx(&self.store, move |tx| add(tx, account, id, &name, FLAGS[which]));
                let model = self.boxes.get_mut(&id).unwrap();
                assert_eq!(added.uid.0, model.uid_next);
                model.uid_next += 1;
                model.messages.insert(added.uid, (flags(FLAGS[which]), text));
            }
            Step::Flags { mailbox, from, len, how, flags: which } => self.flags(self.pick(mailbox), from, len, how, which),
            Step::Conditional { mailbox, uid, back, flags: which } => self.conditional(self.pick(mailbox), Uid(uid), back, which),
            Step::Copy { from, first, len, to } => self.copy(self.pick(from), first, len, self.pick(to), false),
            Step::Move { from, first, len, to } => self.copy(self.pick(from), first, len, self.pick(to), true),
            Step::Expunge { mailbox } => {
                let id = self.pick(mailbox);
                let all = UidSet::range(Uid(1), Uid(u32::MAX));
                let gone = tx(&self.store, move |tx| tx.expunge(account, id, &all)).uids;
                let model = self.boxes.get_mut(&id).unwrap();
                let deleted = |flags: &Flags| flags.contains(&mail::Flag::Deleted);
                let expected: UidSet = model.messages.iter().filter(|(_, (flags, _))| deleted(flags)).map(|(uid, _)| *uid).collect();
                model.messages.retain(|_, (flags, _)| !deleted(flags));
                assert_eq!(gone, expected);
            }
            Step::Destroy { mailbox, first, len } => {
                let (id, range) = (self.pick(mailbox), UidSet::range(Uid(first), Uid(first + len)));
                let set = range.clone();
                let gone = tx(&self.store, move |tx| tx.messages_destroy(account, id, &set)).uids;
                let model = self.boxes.get_mut(&id).unwrap();
                let before: UidSet = model.messages.keys().copied().collect();
                assert_eq!(gone, before.intersect(&range));
                model.messages.retain(|uid, _| !range.contains(*uid));
            }
            Step::Create { name } => self.create(NAMES[name]),
            Step::Rename { mailbox, name } => self.rename(self.pick(mailbox), NAMES[name]),
            Step::Delete { mailbox } => self.delete(self.pick(mailbox)),
            Step::Sync => self.sync(),
        }
        self.learn_mailboxes();
        let mod_seq = tx(&self.store, move |tx| tx.mod_seq(account));
        assert!(mod_seq >= self.mod_seq, "the ModSeq went back");
        self.mod_seq = mod_seq;
    }

    fn flags(&mut self, id: MailboxId, from: u32, len: u32, how: usize, which: usize) {
        let (account, set) = (self.account, UidSet::range(Uid(from), Uid(from + len)));
        let with = flags(FLAGS[which]);
        let change = [FlagChange::Set(with.clone()), FlagChange::Add(with.clone()), FlagChange::Remove(with.clone())][how].clone();
        let uids = set.clone();
        let outcome = tx(&self.store, move |tx| tx.flags_change(account, id, &uids, &change, None));
        let mut expected = UidSet::new();
        for (uid, (flags, _)) in self.boxes.get_mut(&id).unwrap().messages.iter_mut().filter(|(uid, _)| set.contains(**uid)) {
            let before = flags.clone();
            match how {
                0 => flags.clone_from(&with),
                1 => *flags = flags.iter().chain(with.iter()).collect(),
                _ => *flags = flags.iter().filter(|flag| !with.contains(flag)).collect(),
            }
            if *flags != before {
                expected.insert(*uid);
            }
        }
        assert_eq!(outcome.changed.iter().map(|message| message.uid).collect::<UidSet>(), expected);
        assert!(outcome.modified.is_empty() && outcome.changed.iter().all(|message| message.mod_seq == outcome.mod_seq));
    }

    fn conditional(&mut self, id: MailboxId, uid: Uid, back: u64, which: usize) {
        let (account, since) = (self.account, ModSeq(self.mod_seq.0.saturating_sub(back)));
        let with = flags(FLAGS[which]);
        let (before, outcome) = tx(&self.store, move |tx| {
            let before = tx.message(account, id, uid)?;
            let uids = UidSet::range(uid, uid);
            Ok((before, tx.flags_change(account, id, &uids, &FlagChange::Set(flags(FLAGS[which])), Some(since))?))
        });
        let Some(before) = before else { return assert_eq!(outcome.modified, UidSet::new()) };
        assert_eq!(outcome.modified.contains(uid), before.mod_seq > since);
        if before.mod_seq <= since {
            self.boxes.get_mut(&id).unwrap().messages.get_mut(&uid).unwrap().0 = with;
        }
    }

    fn copy(&mut self, from: MailboxId, first: u32, len: u32, to: MailboxId, moving: bool) {
        let (account, set) = (self.account, UidSet::range(Uid(first), Uid(first + len)));
        let uids = set.clone();
        let pairs = tx(&self.store, move |tx| {
            if moving { tx.email_move(account, from, &uids, to, now()) } else { tx.email_copy(account, from, &uids, to, now()) }
        });
        let taken: Vec<_> =
            self.boxes[&from].messages.iter().filter(|(uid, _)| set.contains(**uid)).map(|(u, m)| (*u, m.clone())).collect();
        assert_eq!(pairs.iter().map(|(old, _)| *old).collect::<Vec<_>>(), taken.iter().map(|(old, _)| *old).collect::<Vec<_>>());
        for ((old, new), (_, message)) in pairs.into_iter().zip(taken) {
            let target = self.boxes.get_mut(&to).unwrap();
            assert_eq!(new.0, target.uid_next);
            target.uid_next += 1;
            target.messages.insert(new, message);
            if moving {
                self.boxes.get_mut(&from).unwrap().messages.remove(&old);
            }
        }
    }

    fn create(&mut self, name: &str) {
        let (account, name) = (self.account, crate::mailbox_name(name).unwrap());
        let exists = self.boxes.values().any(|model| model.name == name);
        let made = self.store.write_blocking(move |tx| tx.mailbox_create(account, &name, None));
        assert_eq!(made.is_err(), exists, "{made:?}");
    }

    fn rename(&mut self, id: MailboxId, to: &str) {
        let (account, to) = (self.account, crate::mailbox_name(to).unwrap());
        let from = self.boxes[&id].name.clone();
        let exists = self.boxes.values().any(|model| model.name == to);
        let below_itself = from != "INBOX" && to.starts_with(&format!("{from}/"));
        let name = to.clone();
        let renamed = self.store.write_blocking(move |tx| tx.mailbox_rename(account, id, &name, now()));
        assert_eq!(renamed.is_err(), exists || below_itself, "{from} {to} {renamed:?}");
        let Ok(new) = renamed else { return };
        self.learn_mailboxes();
        if from == "INBOX" {
            let messages = std::mem::take(&mut self.boxes.get_mut(&id).unwrap().messages);
            let target = self.boxes.get_mut(&new).unwrap();
            for (_, message) in messages {
                target.messages.insert(Uid(target.uid_next), message);
                target.uid_next += 1;
            }
            return;
        }
        for model in self.boxes.values_mut() {
            if model.name == from {
                model.name.clone_from(&to);
            } else if let Some(rest) = model.name.strip_prefix(&format!("{from}/")) {
                model.name = format!("{to}/{rest}");
            }
        }
    }

    fn delete(&mut self, id: MailboxId) {
        let account = self.account;
        let name = self.boxes[&id].name.clone();
        let children = self.boxes.values().any(|model| model.name.starts_with(&format!("{name}/")));
        let deleted = self.store.write_blocking(move |tx| tx.mailbox_delete(account, id));
        assert_eq!(deleted.is_err(), children || name == "INBOX", "{name} {deleted:?}");
        if deleted.is_ok() {
            self.boxes.remove(&id);
        }
    }

    /// The client asks each mailbox what changed and must then know it as it is.
    fn sync(&mut self) {
        let account = self.account;
        self.client.views.retain(|id, _| self.boxes.contains_key(id));
        for (id, model) in &self.boxes {
            let id = *id;
            let since = self.client.since.get(&id).copied().unwrap_or_default();
            let changes = tx(&self.store, move |tx| tx.changes(account, id, since));
            let view = self.client.views.entry(id).or_default();
            assert!(changes.complete);
            for uid in changes.vanished.iter() {
                view.remove(&uid);
            }
            for message in changes.messages {
                assert!(message.mod_seq > since, "told without need");
                view.insert(message.uid, message.flags);
            }
            let expected: BTreeMap<_, _> = model.messages.iter().map(|(uid, (flags, _))| (*uid, flags.clone())).collect();
            assert_eq!(*view, expected, "mailbox {id} since {since}");
            self.client.since.insert(id, changes.mod_seq);
        }
    }

    /// Everything is as the model says.
    fn compare(&mut self) {
        self.sync();
        let account = self.account;
        for (id, model) in &self.boxes {
            let id = *id;
            let (mailbox, uids, messages, subjects) = tx(&self.store, move |tx| {
                let messages = tx.messages(account, id, Uid(1), Uid(u32::MAX), usize::MAX)?;
                let ids = messages.iter().map(|message| Ok(tx.digest(account, message.email)?.message_id.unwrap_or_default()));
                let ids = ids.collect::<crate::Result<Vec<_>>>()?;
                Ok((tx.mailbox(account, id)?.unwrap(), tx.uids(account, id)?, messages, ids))
            });
            let shown: Vec<_> = messages.iter().zip(subjects).map(|(m, id)| (m.uid, (m.flags.clone(), id))).collect();
            assert_eq!(shown, model.messages.clone().into_iter().collect::<Vec<_>>());
            assert_eq!((mailbox.name.as_str(), mailbox.uid_next.0), (model.name.as_str(), model.uid_next));
            assert_eq!(uids, model.messages.keys().copied().collect());
            assert_eq!(mailbox.emails as usize, model.messages.len());
        }
        assert_eq!(findings(&self.store), [""; 0]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]
    #[test]
    fn the_store_is_what_the_model_says(steps in steps()) {
        let mut world = World::new();
        for step in &steps {
            world.step(step);
        }
        world.compare();
        let (account, store) = (world.account, world.store.clone());
        tx(&store, move |tx| tx.account_remove(account));
        let left = store.read_blocking(|tx| {
            let spaces = Space::ALL.iter().copied();
            let keys = spaces.map(|space| Ok((space, tx.keys(space, &crate::KeyRange::all(), 10)?.len())));
            keys.collect::<crate::Result<Vec<_>>>()
        }).unwrap();
        // What the account taught the server stays with the server.
        let kept = [Space::Meta, Space::Count, Space::Domain, Space::Segment, Space::ServerLesson];
        for (space, keys) in left {
            assert!(keys == 0 || kept.contains(&space), "{space:?} has {keys} keys left");
        }
    }
}
