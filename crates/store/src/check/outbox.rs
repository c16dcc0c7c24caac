//! The Outbox: its entries, their links, and the messages and copies that they stand for.

use super::Check;
use crate::email::EmailRecord;
use crate::error::Result;
use crate::index::KeyRange;
use crate::key;
use crate::outbox::{OutboxLink, OutboxRecord, OutboxState};
use crate::record::decode_front;
use crate::schema::Space;
use mail::{AccountId, EmailId, ReceiptId};
use std::collections::BTreeMap;

impl Check<'_> {
    pub(super) fn outbox(&mut self) -> Result<()> {
        let links = self.records::<OutboxLink>(&KeyRange::all())?;
        let mut links: BTreeMap<_, _> = links.into_iter().map(|(key, link)| (key, (link.account, link.email))).collect();
        for (key, record) in self.records::<OutboxRecord>(&KeyRange::all())? {
            let account = AccountId(key::number_u32(&key, 0).unwrap_or_default());
            let email = EmailId(key::number_u64(&key, 4).unwrap_or_default());
            if links.remove(&key::receipt(record.receipt)) != Some((account, email)) {
                self.find(Space::Outbox, &key, format!("the queued message {} does not know it", record.receipt));
            }
            match self.tx.queue_message(record.receipt).ok().flatten() {
                None => self.find(Space::Outbox, &key, format!("its message {} is not in the queue", record.receipt)),
                Some(message) if record.state == OutboxState::Withheld && !message.held => {
                    self.find(Space::Outbox, &key, format!("its message {} is withheld and not held", record.receipt));
                }
                Some(_) => {}
            }
            if !self.has_copy(account, email, &record)? {
                self.find(Space::Outbox, &key, format!("its email is not in mailbox {}", record.mailbox));
            }
        }
        for (key, _) in links {
            let receipt = ReceiptId(key::number_u64(&key, 0).unwrap_or_default());
            self.find(Space::OutboxLink, &key, format!("no entry of an Outbox stands for the queued message {receipt}"));
        }
        Ok(())
    }

    fn has_copy(&self, account: AccountId, email: EmailId, record: &OutboxRecord) -> Result<bool> {
        let key = key::email(account, email);
        let octets = self.tx.get(Space::Email, &key)?;
        let email = octets.and_then(|octets| decode_front::<EmailRecord>(&key, &octets).ok().map(|(email, _)| email));
        Ok(email.is_some_and(|email| email.places.iter().any(|(mailbox, _)| *mailbox == record.mailbox)))
    }
}
