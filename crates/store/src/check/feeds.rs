//! The change feeds: entries within their mailbox's numbers, counted, and complete.

use super::Check;
use crate::change::{ChangeRecord, LIST};
use crate::error::Result;
use crate::index::KeyRange;
use crate::key;
use crate::mailbox::MailboxRecord;
use crate::schema::Space;
use crate::uid::Counters;
use mail::{AccountId, MailboxId, ModSeq, Uid, UidSet};
use std::collections::BTreeMap;

/// What a mailbox's feed tells.
#[derive(Default)]
pub(super) struct Feed {
    /// The last change of each message's flags.
    pub(super) flags: BTreeMap<Uid, ModSeq>,
    vanished: UidSet,
}

impl Check<'_> {
    pub(super) fn feed(&mut self, account: AccountId, id: MailboxId, record: &MailboxRecord) -> Result<Feed> {
        let mut feed = Feed::default();
        let entries = self.records::<ChangeRecord>(&KeyRange::prefix(&key::mailbox(account, id)))?;
        self.same(Space::Mailbox, &key::mailbox(account, id), "changes", u64::from(record.changes), entries.len() as u64);
        for (key, change) in entries {
            let mod_seq = self.entry(&key, record.mod_seq);
            let uids = match &change {
                ChangeRecord::Flags(uids) => {
                    feed.flags.extend(uids.iter().map(|uid| (uid, mod_seq)));
                    uids
                }
                ChangeRecord::Vanished(uids) => {
                    feed.vanished = feed.vanished.union(uids);
                    uids
                }
                ChangeRecord::Destroyed(_) => continue,
                ChangeRecord::Mailboxes(_) | ChangeRecord::Annotation(_) => {
                    self.find(Space::Change, &key, "tells of the list of mailboxes in a mailbox's feed");
                    continue;
                }
            };
            if uids.last().is_none_or(|uid| uid >= record.uid_next) {
                self.find(Space::Change, &key, format!("tells of Uids that were never given: {uids}"));
            }
        }
        Ok(feed)
    }

    /// The ModSeq of an entry, which is not above its mailbox's.
    fn entry(&mut self, key: &[u8], max: ModSeq) -> ModSeq {
        let mod_seq = key::change_mod_seq(key).unwrap_or_default();
        if mod_seq > max {
            self.find(Space::Change, key, format!("its mod_seq {mod_seq} is above the mailbox's, {max}"));
        }
        mod_seq
    }

    /// What is gone was told to be gone, and what was told to be gone is.
    pub(super) fn vanished(&mut self, mailbox: &[u8], record: &MailboxRecord, feed: &Feed, there: &UidSet) {
        let undead = feed.vanished.intersect(there);
        if !undead.is_empty() {
            self.find(Space::Mailbox, mailbox, format!("the feed tells that these are gone, and they are not: {undead}"));
        }
        let given = UidSet::range(Uid(0), Uid(record.uid_next.0.saturating_sub(1)));
        let untold = given.subtract(there).subtract(&feed.vanished);
        if record.change_floor == ModSeq(0) && !untold.is_empty() {
            self.find(Space::Mailbox, mailbox, format!("these are gone, and the feed does not tell: {untold}"));
        }
    }

    pub(super) fn list_feed(&mut self, account: AccountId, counters: &Counters) -> Result<()> {
        let entries = self.records::<ChangeRecord>(&KeyRange::prefix(&key::mailbox(account, LIST)))?;
        let key = key::account(account);
        self.same(Space::Counters, &key, "list_changes", u64::from(counters.list_changes), entries.len() as u64);
        for (key, change) in entries {
            self.entry(&key, counters.list_mod_seq);
            if matches!(change, ChangeRecord::Flags(_) | ChangeRecord::Vanished(_)) {
                self.find(Space::Change, &key, "tells of messages in the feed of the list of mailboxes");
            }
        }
        if counters.list_mod_seq > counters.mod_seq {
            self.find(Space::Counters, &key, "list_mod_seq is above mod_seq");
        }
        Ok(())
    }
}
