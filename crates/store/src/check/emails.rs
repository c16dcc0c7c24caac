//! Emails and messages name each other; counters, threads and blobs follow from them.

use super::Check;
use crate::email::EmailRecord;
use crate::error::Result;
use crate::index::{Direction, KeyRange};
use crate::key;
use crate::message::MessageRecord;
use crate::record::decode_front;
use crate::schema::Space;
use crate::thread::ThreadRecord;
use crate::uid::Counters;
use mail::{AccountId, EmailId, MailboxId, ThreadId, Uid};
use std::collections::BTreeMap;
use std::ops::ControlFlow;

/// How many emails a message id has in a thread.
type Links = BTreeMap<(u64, ThreadId), u32>;

impl Check<'_> {
    /// A message's email knows it.
    pub(super) fn place(&mut self, account: AccountId, mailbox: MailboxId, key: &[u8], uid: Uid, message: &MessageRecord) -> Result<()> {
        let email_key = key::email(account, message.email);
        let octets = self.tx.get(Space::Email, &email_key)?;
        let email = octets.and_then(|octets| decode_front::<EmailRecord>(&email_key, &octets).ok().map(|(email, _)| email));
        let Some(email) = email else {
            self.find(Space::Message, key, format!("its email {} does not exist", message.email));
            return Ok(());
        };
        if !email.places.contains(&(mailbox, uid)) {
            self.find(Space::Message, key, format!("its email {} does not know it", message.email));
        }
        if (message.blob, message.octets, message.thread) != (email.blob, email.octets, email.thread) {
            self.find(Space::Message, key, format!("blob, octets or thread differ from those of its email {}", message.email));
        }
        Ok(())
    }

    pub(super) fn emails(&mut self, account: AccountId, counters: &Counters) -> Result<()> {
        let (mut emails, mut octets, mut links) = (0, 0, Links::new());
        for (key, id, email) in self.email_records(account)? {
            if id > counters.email {
                self.find(Space::Email, &key, format!("its number is above the last one given, {}", counters.email));
            }
            if email.places.is_empty() {
                self.find(Space::Email, &key, "is in no mailbox");
            }
            self.places(account, &key, id, &email)?;
            self.hold(email.blob);
            emails += 1;
            octets += email.octets;
            for hash in &email.thread_ids {
                *links.entry((*hash, email.thread)).or_default() += 1;
            }
        }
        self.figures(|figures| figures.emails += emails);
        let key = key::account(account);
        let (apart, apart_octets) = self.rejects_of(account, counters)?;
        self.same(Space::Counters, &key, "emails", counters.emails + apart, emails);
        let annotations = self.annotations(account)?;
        self.same(Space::Counters, &key, "used_octets", counters.used_octets + apart_octets, octets + annotations);
        self.threads(account, &links)
    }

    fn email_records(&mut self, account: AccountId) -> Result<Vec<(Vec<u8>, EmailId, EmailRecord)>> {
        let (mut records, mut unreadable) = (Vec::new(), Vec::new());
        self.tx.scan(Space::Email, &KeyRange::prefix(&key::account(account)), Direction::Forward, |key, octets| {
            let id = EmailId(key::number_u64(key, 4).unwrap_or_default());
            match decode_front::<EmailRecord>(key, octets) {
                Ok((record, _)) => records.push((key.to_vec(), id, record)),
                Err(_) => unreadable.push(key.to_vec()),
            }
            ControlFlow::Continue(())
        })?;
        for key in unreadable {
            self.find(Space::Email, &key, "the email record cannot be read");
        }
        Ok(records)
    }

    fn places(&mut self, account: AccountId, key: &[u8], id: EmailId, email: &EmailRecord) -> Result<()> {
        for (mailbox, uid) in &email.places {
            let message = self.record::<MessageRecord>(&key::message(account, *mailbox, *uid))?;
            if message.is_none_or(|message| message.email != id) {
                self.find(Space::Email, key, format!("message {uid} of mailbox {mailbox} should be it and is not"));
            }
        }
        Ok(())
    }

    fn threads(&mut self, account: AccountId, links: &Links) -> Result<()> {
        let mut expected = links.clone();
        for (key, ThreadRecord(threads)) in self.records::<ThreadRecord>(&KeyRange::prefix(&key::account(account)))? {
            let hash = key::number_u64(&key, 4).unwrap_or_default();
            for link in threads {
                let emails = expected.remove(&(hash, link.thread)).unwrap_or_default();
                self.same(Space::Thread, &key, &format!("the emails of thread {}", link.thread), link.emails, emails);
            }
        }
        for ((hash, thread), emails) in expected {
            self.find(Space::Thread, &key::thread(account, hash), format!("{emails} emails of thread {thread} are not counted"));
        }
        Ok(())
    }
}
