//! Mailboxes and their messages: names, roles, counters, marks, keywords.

use super::Check;
use super::feeds::Feed;
use crate::error::Result;
use crate::index::{Direction, KeyRange};
use crate::key;
use crate::mailbox::{DELIMITER, KeywordRecord, MailboxRecord, NameRecord, RoleRecord};
use crate::message::MessageRecord;
use crate::schema::Space;
use crate::uid::Counters;
use mail::{AccountId, Flag, MailboxId, ModSeq, Uid, UidSet};
use std::collections::{BTreeMap, BTreeSet};

/// What is known of an account's mailboxes while they are walked through.
struct Mailboxes {
    account: AccountId,
    records: BTreeMap<MailboxId, MailboxRecord>,
}

impl Check<'_> {
    pub(super) fn mailboxes(&mut self, account: AccountId, counters: &Counters) -> Result<()> {
        let prefix = KeyRange::prefix(&key::account(account));
        let mut all = Mailboxes { account, records: BTreeMap::new() };
        let mut numberings = BTreeSet::new();
        for (key, record) in self.records::<MailboxRecord>(&prefix)? {
            let id = MailboxId(key::number_u32(&key, 4).unwrap_or_default());
            self.bounds(&key, id, &record, counters);
            if !numberings.insert(record.uid_validity) {
                self.find(Space::Mailbox, &key, format!("uid_validity {} is another mailbox's too", record.uid_validity));
            }
            all.records.insert(id, record);
        }
        self.same(Space::Counters, &key::account(account), "mailboxes", u64::from(counters.mailboxes), all.records.len() as u64);
        self.names(&all)?;
        self.roles(&all)?;
        self.homeless(&all)?;
        for (id, record) in &all.records {
            self.messages(account, *id, record)?;
        }
        Ok(())
    }

    fn bounds(&mut self, key: &[u8], id: MailboxId, record: &MailboxRecord, counters: &Counters) {
        for (name, is, max) in [
            ("its number", u64::from(id.0), u64::from(counters.mailbox.0)),
            ("mod_seq", record.mod_seq.0, counters.mod_seq.0),
            ("uid_validity", u64::from(record.uid_validity.0), u64::from(counters.uid_validity.0)),
            ("change_floor", record.change_floor.0, record.mod_seq.0),
        ] {
            if is > max {
                self.find(Space::Mailbox, key, format!("{name} is {is}, at most {max} expected"));
            }
        }
    }

    fn names(&mut self, all: &Mailboxes) -> Result<()> {
        let prefix = KeyRange::prefix(&key::account(all.account));
        let mut names = BTreeMap::new();
        for (key, NameRecord(id)) in self.records::<NameRecord>(&prefix)? {
            let name = key::text(&key, 4).unwrap_or_default().to_owned();
            if all.records.get(&id).is_none_or(|record| record.name != name) {
                self.find(Space::MailboxName, &key, format!("{name:?} stands for mailbox {id}, which has another name or does not exist"));
            }
            names.insert(name, id);
        }
        if !names.contains_key("INBOX") {
            self.find(Space::MailboxName, &key::name(all.account, "INBOX"), "there is no INBOX");
        }
        for (id, record) in &all.records {
            let key = key::mailbox(all.account, *id);
            if names.get(&record.name) != Some(id) {
                self.find(Space::Mailbox, &key, format!("its name {:?} does not lead to it", record.name));
            }
            if let Some((parent, _)) = record.name.rsplit_once(DELIMITER)
                && !names.contains_key(parent)
            {
                self.find(Space::Mailbox, &key, format!("its parent {parent:?} does not exist"));
            }
        }
        Ok(())
    }

    fn roles(&mut self, all: &Mailboxes) -> Result<()> {
        let prefix = KeyRange::prefix(&key::account(all.account));
        let mut found = BTreeSet::new();
        for (key, RoleRecord(id)) in self.records::<RoleRecord>(&prefix)? {
            let role = all.records.get(&id).and_then(|record| record.role);
            if role.is_none_or(|role| key::role(all.account, role) != key) {
                self.find(Space::MailboxRole, &key, format!("leads to mailbox {id}, which does not have the role"));
            }
            found.insert(id);
        }
        for (id, record) in &all.records {
            if record.role.is_some() && !found.contains(id) {
                self.find(Space::Mailbox, &key::mailbox(all.account, *id), "its role does not lead to it");
            }
        }
        Ok(())
    }

    /// Keys of mailboxes that do not exist.
    fn homeless(&mut self, all: &Mailboxes) -> Result<()> {
        for space in [Space::Message, Space::Deleted, Space::Pop3Message, Space::Keyword, Space::Change, Space::Grant, Space::Annotation] {
            let mut next = Some(u32::from(matches!(space, Space::Change | Space::Annotation)));
            while let Some(mailbox) = next {
                let end = KeyRange::prefix(&key::account(all.account)).to;
                let range = KeyRange { from: key::mailbox(all.account, MailboxId(mailbox)), to: end };
                let first = self.tx.keys(space, &range, 1)?.pop();
                let Some((key, id)) = first.and_then(|key| key::number_u32(&key, 4).map(|id| (key, id))) else { break };
                if !all.records.contains_key(&MailboxId(id)) {
                    self.find(space, &key, format!("belongs to mailbox {id}, which does not exist"));
                }
                next = id.checked_add(1);
            }
        }
        Ok(())
    }

    fn messages(&mut self, account: AccountId, id: MailboxId, record: &MailboxRecord) -> Result<()> {
        self.figures(|figures| figures.mailboxes += 1);
        let feed = self.feed(account, id, record)?;
        let keywords = self.keywords(account, id)?;
        let mut counted = MailboxRecord { emails: 0, unseen: 0, deleted: 0, octets: 0, ..record.clone() };
        let (mut there, mut deleted, mut came) = (UidSet::new(), UidSet::new(), ModSeq(0));
        let range = KeyRange::prefix(&key::mailbox(account, id));
        for (key, message) in self.records::<MessageRecord>(&range)? {
            let uid = key::message_uid(&key).unwrap_or_default();
            self.message(&key, uid, &message, record, &feed, came);
            self.place(account, id, &key, uid, &message)?;
            if let Some(keyword) =
                message.flags.keywords().iter().find(|keyword| !keywords.contains(&keyword.as_str().to_ascii_lowercase()))
            {
                self.find(Space::Message, &key, format!("its keyword {} is not among the mailbox's", keyword.as_str()));
            }
            if message.flags.contains(&Flag::Deleted) {
                deleted.insert(uid);
            }
            came = came.max(message.came);
            counted.message_in(&message);
            there.insert(uid);
        }
        self.figures(|figures| figures.messages += u64::from(there.len()));
        let key = key::mailbox(account, id);
        self.same(Space::Mailbox, &key, "emails", record.emails, counted.emails);
        self.same(Space::Mailbox, &key, "unseen", record.unseen, counted.unseen);
        self.same(Space::Mailbox, &key, "deleted", record.deleted, counted.deleted);
        self.same(Space::Mailbox, &key, "octets", record.octets, counted.octets);
        self.marks(account, id, &deleted)?;
        self.vanished(&key, record, &feed, &there);
        Ok(())
    }

    fn message(&mut self, key: &[u8], uid: Uid, message: &MessageRecord, record: &MailboxRecord, feed: &Feed, came: ModSeq) {
        if uid.0 == 0 || uid >= record.uid_next {
            self.find(Space::Message, key, format!("its Uid {uid} is not below the mailbox's next, {}", record.uid_next));
        }
        if message.mod_seq > record.mod_seq {
            self.find(Space::Message, key, format!("its mod_seq {} is above the mailbox's, {}", message.mod_seq, record.mod_seq));
        }
        if message.came > message.mod_seq || message.came < came {
            self.find(Space::Message, key, format!("it came at {}, after its mod_seq or before its forerunner", message.came));
        }
        if message.mod_seq > message.came && message.mod_seq > record.change_floor {
            let told = feed.flags.get(&uid).copied().unwrap_or_default();
            self.same(Space::Message, key, "the last change of flags in the feed", told, message.mod_seq);
        }
    }

    fn keywords(&mut self, account: AccountId, id: MailboxId) -> Result<BTreeSet<String>> {
        let records = self.records::<KeywordRecord>(&KeyRange::prefix(&key::mailbox(account, id)))?;
        Ok(records.into_iter().map(|(_, KeywordRecord(keyword))| keyword.as_str().to_ascii_lowercase()).collect())
    }

    fn marks(&mut self, account: AccountId, id: MailboxId, deleted: &UidSet) -> Result<()> {
        let range = KeyRange::prefix(&key::mailbox(account, id));
        let marks = self.tx.gather(Space::Deleted, &range, Direction::Forward, usize::MAX, |key, _| Ok(key::message_uid(key)))?;
        let marks: UidSet = marks.into_iter().flatten().collect();
        for uid in marks.subtract(deleted).iter() {
            self.find(Space::Deleted, &key::message(account, id, uid), "marks a message that does not have \\Deleted or does not exist");
        }
        for uid in deleted.subtract(&marks).iter() {
            self.find(Space::Message, &key::message(account, id, uid), "has \\Deleted and no mark");
        }
        Ok(())
    }
}
