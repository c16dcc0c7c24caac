//! The Rejects: their entries, keys and links, and the emails that they stand for.

use super::Check;
use crate::email::EmailRecord;
use crate::error::Result;
use crate::index::KeyRange;
use crate::key;
use crate::record::decode_front;
use crate::rejects::{RejectKey, RejectLink, RejectRecord};
use crate::schema::Space;
use crate::uid::Counters;
use mail::{AccountId, EmailId, ReceiptId};
use std::collections::{BTreeMap, BTreeSet};

/// What a whole account keeps.
#[derive(Default)]
struct Kept {
    entries: u32,
    octets: u64,
}

impl Check<'_> {
    pub(super) fn rejects(&mut self) -> Result<()> {
        let links = self.records::<RejectLink>(&KeyRange::all())?;
        let mut links: BTreeMap<_, _> = links.into_iter().map(|(key, RejectLink(email))| (key, email)).collect();
        let keys = self.records::<RejectKey>(&KeyRange::all())?;
        let mut keys: BTreeMap<_, _> = keys.into_iter().map(|(key, RejectKey(email))| (key, email)).collect();
        for (key, entry) in self.records::<RejectRecord>(&KeyRange::all())? {
            let account = AccountId(key::number_u32(&key, 0).unwrap_or_default());
            let email = EmailId(key::number_u64(&key, 4).unwrap_or_default());
            if links.remove(&key::reject_link(entry.receipt, account)) != Some(email) {
                self.find(Space::Reject, &key, format!("its receipt {} does not lead to it", entry.receipt));
            }
            let hashes: BTreeSet<u64> = entry.known_by.iter().copied().collect();
            for hash in hashes {
                if keys.remove(&key::reject_key(account, hash)) != Some(email) {
                    self.find(Space::Reject, &key, format!("the hash {hash} does not lead to it"));
                }
            }
            self.reject_places(&key, account, email, &entry)?;
        }
        for key in links.into_keys() {
            let receipt = ReceiptId(key::number_u64(&key, 0).unwrap_or_default());
            self.find(Space::RejectLink, &key, format!("nothing is kept of {receipt}"));
        }
        for key in keys.into_keys() {
            self.find(Space::RejectKey, &key, "nothing is kept that is known by it");
        }
        Ok(())
    }

    fn reject_places(&mut self, key: &[u8], account: AccountId, email: EmailId, entry: &RejectRecord) -> Result<()> {
        let email_key = key::email(account, email);
        let octets = self.tx.get(Space::Email, &email_key)?;
        let email = octets.and_then(|octets| decode_front::<EmailRecord>(&email_key, &octets).ok().map(|(email, _)| email));
        let Some(email) = email else {
            self.find(Space::Reject, key, "its email does not exist");
            return Ok(());
        };
        if email.places.iter().all(|(mailbox, _)| *mailbox != entry.mailbox) {
            self.find(Space::Reject, key, format!("its email is not in mailbox {}", entry.mailbox));
        }
        if !entry.counted && email.places.iter().any(|(mailbox, _)| *mailbox != entry.mailbox) {
            self.find(Space::Reject, key, "its email is elsewhere, too, and does not count");
        }
        if email.octets != entry.octets {
            self.find(Space::Reject, key, "its octets differ from those of its email");
        }
        Ok(())
    }

    /// Compares what the counters say that an account keeps; the emails and octets of it that do not count elsewhere.
    pub(super) fn rejects_of(&mut self, account: AccountId, counters: &Counters) -> Result<(u64, u64)> {
        let (mut all, mut apart) = (Kept::default(), (0, 0));
        for (_, entry) in self.records::<RejectRecord>(&KeyRange::prefix(&key::account(account)))? {
            all.entries += 1;
            all.octets += entry.octets;
            if !entry.counted {
                apart = (apart.0 + 1, apart.1 + entry.octets);
            }
        }
        let key = key::account(account);
        self.same(Space::Counters, &key, "rejects", counters.rejects, all.entries);
        self.same(Space::Counters, &key, "rejects_octets", counters.rejects_octets, all.octets);
        Ok(apart)
    }
}
