//! The queue with its due index, and the trails with their Message-IDs.

use super::Check;
use crate::error::Result;
use crate::index::{Direction, KeyRange};
use crate::key;
use crate::queue::{QUEUE_LEN, QueueMessage};
use crate::schema::Space;
use crate::trail::{REJECTIONS, REJECTIONS_OCTETS, TrailRecord, message_ids, rejection_octets};
use crate::uid::RECEIPT_LAST;
use mail::{Domain, ReceiptId};
use std::collections::BTreeSet;
use std::ops::ControlFlow;

/// Under which key what is due is found by its lane.
fn waiting_of(due: &[u8]) -> Option<Vec<u8>> {
    Some(key::queue_waiting(key::text(due, 16)?, ReceiptId(key::number_u64(due, 8)?)))
}

impl Check<'_> {
    pub(super) fn queue(&mut self) -> Result<()> {
        let (mut due, mut parts) = (BTreeSet::new(), BTreeSet::new());
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
            self.lanes(&message, &mut due, &mut parts)?;
        }
        let mut waiting: BTreeSet<_> = due.iter().filter_map(|key| waiting_of(key)).collect();
        for key in self.tx.keys(Space::QueueDue, &KeyRange::all(), usize::MAX)? {
            if !due.remove(&key) {
                self.find(Space::QueueDue, &key, "no message of the queue is due then");
            }
        }
        for key in self.tx.keys(Space::QueueOrder, &KeyRange::prefix(&[7]), usize::MAX)? {
            if !waiting.remove(&key) {
                self.find(Space::QueueOrder, &key, "no message of the queue waits there");
            }
        }
        for key in waiting {
            self.find(Space::QueueOrder, &key, "is missing: a message that waits for its domain would not be found");
        }
        for key in due {
            self.find(Space::QueueDue, &key, "is missing: a message of the queue would never be tried");
        }
        for key in self.tx.keys(Space::QueuePart, &KeyRange::all(), usize::MAX)? {
            if !parts.contains(&key) {
                self.find(Space::QueuePart, &key, "no message of the queue has that part");
            }
        }
        self.order()
    }

    /// What is to be found of a message in the order of the queue.
    fn lanes(&mut self, message: &QueueMessage, due: &mut BTreeSet<Vec<u8>>, parts: &mut BTreeSet<Vec<u8>>) -> Result<()> {
        let lanes: BTreeSet<_> = message.recipients.iter().map(|entry| entry.recipient.address.domain()).collect();
        for lane in lanes {
            let key = key::queue_part(message.receipt, lane.as_str());
            let place = self.tx.queue_place(message.receipt, lane);
            match (place, message.lanes().get(lane)) {
                (Ok(Some(place)), at) if place.taken || at.is_some() => {
                    let (space, wanted) = if place.taken {
                        (Space::QueueOrder, key::queue_taken(message.receipt, lane.as_str()))
                    } else {
                        (Space::QueueReady, key::queue_ready(lane.as_str(), place.rank, place.tag, message.receipt))
                    };
                    parts.insert(key);
                    if !self.tx.has(space, &wanted)? {
                        self.find(space, &wanted, "is missing: a message of the queue would never be tried");
                    }
                }
                (Ok(None), Some(at)) => {
                    due.insert(key::queue_due(*at, message.receipt, lane.as_str()));
                }
                (Err(_), _) => self.find(Space::QueuePart, &key, "cannot be read"),
                _ => {}
            }
        }
        Ok(())
    }

    /// Whether each lane shows its first part, and no part is of nobody.
    fn order(&mut self) -> Result<()> {
        let mut firsts: BTreeSet<_> = self.tx.queue_firsts(None, usize::MAX)?.into_iter().collect();
        let mut last = None;
        for key in self.tx.keys(Space::QueueReady, &KeyRange::all(), usize::MAX)? {
            let text = key.iter().position(|octet| *octet == 0).and_then(|end| std::str::from_utf8(key.get(..end)?).ok());
            let Some(lane) = text.and_then(|text| Domain::parse(text).ok()) else {
                self.find(Space::QueueReady, &key, "names no lane");
                continue;
            };
            if last.as_ref() == Some(&lane) {
                continue;
            }
            for first in self.tx.queue_lane(&lane, None, 1)? {
                if !firsts.remove(&first) && self.tx.queue_lane_is_open(&lane)? {
                    self.find(Space::QueueOrder, lane.as_str().as_bytes(), "is missing: mail for the domain would not be tried");
                }
            }
            last = Some(lane);
        }
        for part in firsts {
            self.find(Space::QueueOrder, part.lane.as_str().as_bytes(), "is not what is first for the domain");
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
        self.rejections(&trails)?;
        self.message_ids()
    }

    /// Every refused message has a trail, and they are counted.
    fn rejections(&mut self, trails: &BTreeSet<ReceiptId>) -> Result<()> {
        let all = self.tx.gather(Space::Rejection, &KeyRange::all(), Direction::Forward, usize::MAX, |key, value| {
            Ok((ReceiptId(key::number_u64(key, 0).unwrap_or_default()), rejection_octets(value)))
        })?;
        for (receipt, _) in all.iter().filter(|(receipt, _)| !trails.contains(receipt)) {
            self.find(Space::Rejection, &key::receipt(*receipt), "it has no trail");
        }
        for (name, what, expected) in [
            (REJECTIONS, "the number of refused messages", all.len() as u64),
            (REJECTIONS_OCTETS, "the octets of refused messages' trails", all.iter().map(|(_, octets)| octets).sum()),
        ] {
            let counted = self.tx.count(name)?;
            if counted != expected {
                self.find(Space::Count, name, format!("{what} is {counted}, {expected} expected"));
            }
        }
        Ok(())
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
