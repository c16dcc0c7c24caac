//! The queue with its due index, and the trails with their Message-IDs.

use super::Check;
use crate::error::Result;
use crate::index::{Direction, KeyRange};
use crate::key;
use crate::queue::{QUEUE_LEN, QueueMessage};
use crate::schema::Space;
use crate::trail::{TrailRecord, message_ids};
use crate::uid::RECEIPT_LAST;
use mail::ReceiptId;
use std::collections::BTreeSet;
use std::ops::ControlFlow;

impl Check<'_> {
    pub(super) fn queue(&mut self) -> Result<()> {
        let mut due = BTreeSet::new();
        let messages = self.records::<QueueMessage>(&KeyRange::all())?;
        self.figures(|figures| figures.queued = messages.len() as u64);
        let len = self.tx.queue_len().unwrap_or_default();
        self.same(Space::Count, QUEUE_LEN, "the length of the queue", len, messages.len() as u64);
        for (key, message) in messages {
            if key::receipt(message.receipt) != key {
                self.find(Space::Queue, &key, format!("holds the message of receipt {}", message.receipt));
            }
            if message.recipients.is_empty() {
                self.find(Space::Queue, &key, "has no recipients");
            }
            self.hold(message.blob);
            due.extend(message.due().map(|at| key::queue_due(at, message.receipt)));
        }
        for key in self.tx.keys(Space::QueueDue, &KeyRange::all(), usize::MAX)? {
            if !due.remove(&key) {
                self.find(Space::QueueDue, &key, "no message of the queue is due then");
            }
        }
        for key in due {
            self.find(Space::QueueDue, &key, "is missing: a message of the queue would never be tried");
        }
        Ok(())
    }

    pub(super) fn trails(&mut self) -> Result<()> {
        let last = ReceiptId(self.tx.count(RECEIPT_LAST).unwrap_or_default());
        let (mut trails, mut unreadable, mut missing, mut above) = (BTreeSet::new(), Vec::new(), Vec::new(), Vec::new());
        let tx = self.tx;
        let mut failure = None;
        tx.scan(Space::Trail, &KeyRange::all(), Direction::Forward, |key, octets| {
            let receipt = ReceiptId(key::number_u64(key, 0).unwrap_or_default());
            trails.insert(receipt);
            if receipt > last {
                above.push(key.to_vec());
            }
            let Ok(part) = crate::record::decode::<TrailRecord>(key, octets) else {
                unreadable.push(key.to_vec());
                return ControlFlow::Continue(());
            };
            for hash in message_ids(&part) {
                match tx.has(Space::MessageId, &key::message_id(hash, receipt)) {
                    Ok(true) => {}
                    Ok(false) => missing.push(key::message_id(hash, receipt)),
                    Err(error) => failure = Some(error),
                }
            }
            ControlFlow::Continue(())
        })?;
        if let Some(error) = failure {
            return Err(error);
        }
        self.figures(|figures| figures.trails = trails.len() as u64);
        for (space, keys, what) in [
            (Space::Trail, unreadable, "the trail record cannot be read"),
            (Space::Trail, above, "its receipt is above the last one given"),
            (Space::MessageId, missing, "is missing: the trail names it"),
        ] {
            for key in keys {
                self.find(space, &key, what);
            }
        }
        self.message_ids()
    }

    /// Every entry of the index is named by its trail.
    fn message_ids(&mut self) -> Result<()> {
        for key in self.tx.keys(Space::MessageId, &KeyRange::all(), usize::MAX)? {
            let (hash, receipt) = (key::number_u64(&key, 0).unwrap_or_default(), key::number_u64(&key, 8).unwrap_or_default());
            let parts = self.tx.records::<TrailRecord>(&KeyRange::prefix(&key::receipt(ReceiptId(receipt)))).unwrap_or_default();
            if !parts.iter().any(|(_, part)| message_ids(part).contains(&hash)) {
                self.find(Space::MessageId, &key, "its receipt's trail does not name it");
            }
        }
        Ok(())
    }
}
