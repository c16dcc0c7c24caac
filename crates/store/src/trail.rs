//! Trails: what happened to each message under its receipt, and receipts by Message-ID.
//!
//! Appending writes one small value and reads none of the earlier ones. The Message-ID of an
//! `Accepted` or `Rejected` event is indexed by itself; further ones are added with [`WriteTx::trail_index`].
//!
//! Trails are swept by age, which is in the receipt; those of messages still in the queue stay. What was refused has a
//! trail too, but no right to much room: of those only the latest are kept, as many as [`REJECTIONS_MAX`] lets.
//!
//! Invariants
//! - Every entry of the Message-ID index is named by its receipt's trail, so that sweeping a trail finds it.
//! - Every entry of `Rejection` has a trail, and the counts of them and of their octets are exact.

use crate::error::Result;
use crate::index::{Direction, KeyRange};
use crate::key;
use crate::record::{Record, encode};
use crate::schema::Space;
use crate::tx::{ReadTx, WriteTx};
use mail::{Event, ReceiptId, Timestamp, TrailEntry};
use serde::{Deserialize, Serialize};

/// Most receipts found for one Message-ID; of more, the latest. Our own bound.
pub const RECEIPTS_MAX: usize = 1_000;

/// How much is kept of what was refused; the oldest make room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RejectionsMax {
    /// Messages with a trail.
    pub messages: u64,
    /// Octets of their trails.
    pub octets: u64,
}

/// What is kept of refused messages. Our own bound: 20,000 usual trails are some 100 MB, and whoever makes large ones
/// on purpose gets no more than twice that.
pub const REJECTIONS_MAX: RejectionsMax = RejectionsMax { messages: 20_000, octets: 200 << 20 };

/// How many refused messages have a trail.
pub(crate) const REJECTIONS: &[u8] = b"rejections";
/// How many octets their trails have.
pub(crate) const REJECTIONS_OCTETS: &[u8] = b"rejections_octets";

/// One part of a trail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum TrailRecord {
    /// What happened at one time.
    Entries(Vec<TrailEntry>),
    /// The hash of a Message-ID under which the receipt is found.
    MessageId(u64),
}

impl Record for TrailRecord {
    const SPACE: Space = Space::Trail;
    const NAME: &'static str = "trail record";
}

/// The hash of a Message-ID, with or without its brackets.
fn message_id_hash(message_id: &str) -> u64 {
    key::hash(message_id.trim().trim_start_matches('<').trim_end_matches('>'))
}

/// The Message-IDs that a part of a trail stands for, hashed.
pub(crate) fn message_ids(record: &TrailRecord) -> Vec<u64> {
    match record {
        TrailRecord::MessageId(hash) => vec![*hash],
        TrailRecord::Entries(entries) => entries.iter().filter_map(accepted_id).map(message_id_hash).collect(),
    }
}

/// The octets of a refused message's trail; those that were kept before octets were counted count as nothing.
pub(crate) fn rejection_octets(value: &[u8]) -> u64 {
    value.try_into().map_or(0, u64::from_be_bytes)
}

fn accepted_id(entry: &TrailEntry) -> Option<&str> {
    match &entry.event {
        Event::Accepted { message_id, .. } | Event::Rejected { message_id, .. } => message_id.as_deref(),
        _ => None,
    }
}

impl ReadTx {
    /// Everything that happened under a receipt, in order of writing; empty when nothing is known.
    pub fn trail(&self, receipt: ReceiptId) -> Result<Vec<TrailEntry>> {
        let parts = self.trail_parts(receipt)?.into_iter().map(|(_, part)| part);
        let entries = parts.filter_map(|part| match part {
            TrailRecord::Entries(entries) => Some(entries),
            TrailRecord::MessageId(_) => None,
        });
        Ok(entries.flatten().collect())
    }

    /// Receipts with a trail, those given after `after` and not later than `until`, at most `max` of them, in order.
    pub fn trail_receipts(&self, after: ReceiptId, until: Timestamp, max: usize) -> Result<Vec<ReceiptId>> {
        let end = ReceiptId(u64::try_from(until.0.saturating_add(1)).unwrap_or(0) << 20);
        let (mut found, mut after) = (Vec::new(), after);
        while found.len() < max {
            let range = KeyRange::new(&key::receipt(ReceiptId(after.0.saturating_add(1))), &key::receipt(end));
            let next = self.gather(Space::Trail, &range, Direction::Forward, 1, |key, _| Ok(key::number_u64(key, 0)))?;
            let Some(receipt) = next.first().copied().flatten().map(ReceiptId) else { break };
            found.push(receipt);
            after = receipt;
        }
        Ok(found)
    }

    /// The latest receipts with a trail, at most `max` of them, the latest first.
    pub fn trail_receipts_latest(&self, max: usize) -> Result<Vec<ReceiptId>> {
        let (mut found, mut end) = (Vec::new(), None);
        while found.len() < max {
            let range = KeyRange { from: Vec::new(), to: end.map(key::receipt) };
            let next = self.gather(Space::Trail, &range, Direction::Back, 1, |key, _| Ok(key::number_u64(key, 0)))?;
            let Some(receipt) = next.first().copied().flatten().map(ReceiptId) else { break };
            found.push(receipt);
            end = Some(receipt);
        }
        Ok(found)
    }

    fn trail_parts(&self, receipt: ReceiptId) -> Result<Vec<(Vec<u8>, TrailRecord)>> {
        self.records(&KeyRange::prefix(&key::receipt(receipt)))
    }

    /// The receipts of messages with a Message-ID, the latest first; with or without its brackets.
    pub fn receipts_by_message_id(&self, message_id: &str) -> Result<Vec<ReceiptId>> {
        let range = key::message_ids(message_id_hash(message_id));
        self.gather(Space::MessageId, &range, Direction::Back, RECEIPTS_MAX, |key, _| {
            let receipt = key::number_u64(key, 8).map(ReceiptId);
            receipt.ok_or_else(|| crate::record::corrupt(Space::MessageId, key, "holds no receipt"))
        })
    }
}

impl WriteTx {
    /// Adds what happened under a receipt.
    pub fn trail_append(&mut self, receipt: ReceiptId, entries: &[TrailEntry]) -> Result<()> {
        self.trail_add(receipt, entries).map(drop)
    }

    /// The same; how many octets it takes.
    fn trail_add(&mut self, receipt: ReceiptId, entries: &[TrailEntry]) -> Result<u64> {
        if entries.is_empty() {
            return Ok(0);
        }
        let record = TrailRecord::Entries(entries.to_vec());
        for hash in message_ids(&record) {
            self.put(Space::MessageId, &key::message_id(hash, receipt), Vec::new());
        }
        self.trail_part(receipt, &record)
    }

    /// Keeps the trail of a message that was refused; the oldest of such make room. The latest is kept in any case.
    pub fn trail_reject(&mut self, receipt: ReceiptId, entries: &[TrailEntry], max: RejectionsMax) -> Result<()> {
        let octets = self.trail_add(receipt, entries)?;
        self.put(Space::Rejection, &key::receipt(receipt), octets.to_be_bytes().to_vec());
        self.count_save(REJECTIONS, self.count(REJECTIONS)?.saturating_add(1))?;
        self.count_save(REJECTIONS_OCTETS, self.count(REJECTIONS_OCTETS)?.saturating_add(octets))?;
        while self.is_beyond(max)? {
            let oldest = self.gather(Space::Rejection, &KeyRange::all(), Direction::Forward, 1, |key, _| Ok(key::number_u64(key, 0)))?;
            let Some(oldest) = oldest.first().copied().flatten() else { return Ok(()) };
            self.trail_forget(ReceiptId(oldest))?;
        }
        Ok(())
    }

    fn is_beyond(&self, max: RejectionsMax) -> Result<bool> {
        let messages = self.count(REJECTIONS)?;
        Ok(messages > 1 && (messages > max.messages || self.count(REJECTIONS_OCTETS)? > max.octets))
    }

    /// Lets a receipt be found by a Message-ID beside that of its `Accepted` event.
    pub fn trail_index(&mut self, receipt: ReceiptId, message_id: &str) -> Result<()> {
        let hash = message_id_hash(message_id);
        let key = key::message_id(hash, receipt);
        if self.has(Space::MessageId, &key)? {
            return Ok(());
        }
        self.put(Space::MessageId, &key, Vec::new());
        self.trail_part(receipt, &TrailRecord::MessageId(hash)).map(drop)
    }

    /// Adds a part behind the others; how many octets it takes.
    fn trail_part(&mut self, receipt: ReceiptId, record: &TrailRecord) -> Result<u64> {
        let range = KeyRange::prefix(&key::receipt(receipt));
        let last = self.gather(Space::Trail, &range, Direction::Back, 1, |key, _| Ok(key::number_u32(key, 8)))?;
        let part = last.first().copied().flatten().map_or(0, |last| last.saturating_add(1));
        let octets = encode(record)?;
        let length = octets.len() as u64;
        self.put(Space::Trail, &key::trail(receipt, part), octets);
        Ok(length)
    }

    /// Forgets the trails of receipts given before a time, at most `max` of them, except of messages
    /// still in the queue; starts behind `after` (`ReceiptId(0)` at first). Returns where to go on;
    /// `None`: there is nothing left before that time.
    pub fn trail_sweep(&mut self, before: Timestamp, after: ReceiptId, max: usize) -> Result<Option<ReceiptId>> {
        let end = ReceiptId(u64::try_from(before.0).unwrap_or(0) << 20);
        let mut after = after;
        for _ in 0..max {
            let range = KeyRange::new(&key::receipt(ReceiptId(after.0.saturating_add(1))), &key::receipt(end));
            let first = self.gather(Space::Trail, &range, Direction::Forward, 1, |key, _| Ok(key::number_u64(key, 0)))?;
            let Some(receipt) = first.first().copied().flatten().map(ReceiptId) else { return Ok(None) };
            if !self.has(Space::Queue, &key::receipt(receipt))? {
                self.trail_forget(receipt)?;
            }
            after = receipt;
        }
        Ok(Some(after))
    }

    fn trail_forget(&mut self, receipt: ReceiptId) -> Result<()> {
        for (key, part) in self.trail_parts(receipt)? {
            for hash in message_ids(&part) {
                self.delete(Space::MessageId, &key::message_id(hash, receipt));
            }
            self.delete(Space::Trail, &key);
        }
        if let Some(value) = self.get(Space::Rejection, &key::receipt(receipt))? {
            self.delete(Space::Rejection, &key::receipt(receipt));
            self.count_save(REJECTIONS, self.count(REJECTIONS)?.saturating_sub(1))?;
            self.count_save(REJECTIONS_OCTETS, self.count(REJECTIONS_OCTETS)?.saturating_sub(rejection_octets(&value)))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::tests::queued;
    use crate::testing::{address, findings, now, tx};
    use crate::{Body, Store};
    use mail::ReversePath;
    use mail::event::Source;
    use std::time::Duration;

    fn accepted(message_id: &str) -> TrailEntry {
        let event = Event::Accepted {
            source: Source::Mx,
            peer: None,
            helo: "mx.example".into(),
            tls: None,
            account: None,
            reverse_path: ReversePath(None),
            message_id: Some(message_id.into()),
            octets: 1,
        };
        TrailEntry { at: now(), event }
    }

    fn relayed(to: &str) -> TrailEntry {
        TrailEntry { at: now(), event: Event::Relayed { recipient: address(to), host: "mx".into() } }
    }

    #[test]
    fn trails_grow_and_are_found_by_message_id() {
        let store = Store::memory();
        tx(&store, |tx| {
            let (first, second) = (tx.receipt_next(now())?, tx.receipt_next(now())?);
            assert!(second > first);
            tx.trail_append(first, &[accepted("a@x")])?;
            tx.trail_append(first, &[])?;
            tx.trail_append(first, &[relayed("b@y"), relayed("c@y")])?;
            tx.trail_append(second, &[accepted("a@x")])?;
            tx.trail_index(first, "<a@x>")?;
            tx.trail_index(first, "other@x")?;
            tx.trail_append(first, &[relayed("d@y")])?;
            assert_eq!(tx.trail(first)?, [accepted("a@x"), relayed("b@y"), relayed("c@y"), relayed("d@y")]);
            for (id, want) in [("a@x", vec![second, first]), ("<a@x>", vec![second, first]), ("other@x", vec![first]), ("A@x", vec![])] {
                assert_eq!(tx.receipts_by_message_id(id)?, want, "{id}");
            }
            Ok(())
        });
        assert_eq!(findings(&store), [""; 0]);
    }

    #[test]
    fn receipts_ascend_even_when_the_clock_goes_back() {
        let store = Store::memory();
        tx(&store, |tx| {
            let first = tx.receipt_next(now())?;
            let second = tx.receipt_next(Timestamp(now().0 - 60_000))?;
            let third = tx.receipt_next(now().after(Duration::from_millis(1)))?;
            assert!(first < second && second < third);
            assert_eq!(third.0 >> 20, u64::try_from(now().0).unwrap() + 1);
            Ok(())
        });
    }

    #[test]
    fn refused_mail_has_a_trail_but_not_for_ever() {
        let store = Store::memory();
        tx(&store, |tx| {
            let mut receipts = Vec::new();
            for minutes in 0..5 {
                let receipt = tx.receipt_next(now().after(Duration::from_mins(minutes)))?;
                tx.trail_reject(receipt, &[accepted(&format!("{minutes}@x"))], RejectionsMax { messages: 3, ..REJECTIONS_MAX })?;
                receipts.push(receipt);
            }
            let known: Vec<bool> = receipts.iter().map(|receipt| Ok(!tx.trail(*receipt)?.is_empty())).collect::<Result<_>>()?;
            assert_eq!(known, [false, false, true, true, true]);
            assert_eq!(tx.receipts_by_message_id("1@x")?, []);
            assert_eq!(tx.trail_receipts(ReceiptId(0), now().after(Duration::from_mins(3)), 9)?, receipts[2..4]);
            assert_eq!(tx.trail_receipts(receipts[2], now().after(Duration::from_mins(9)), 1)?, receipts[3..4]);
            assert_eq!(tx.trail_receipts_latest(2)?, [receipts[4], receipts[3]]);
            tx.trail_sweep(now().after(Duration::from_mins(4)), ReceiptId(0), 99)?;
            assert_eq!((tx.count(REJECTIONS)?, tx.keys(Space::Rejection, &KeyRange::all(), 9)?.len()), (1, 1));
            Ok(())
        });
        assert_eq!(findings(&store), [""; 0]);
    }

    #[test]
    fn large_trails_of_refused_mail_make_room_by_their_octets() {
        let store = Store::memory();
        tx(&store, |tx| {
            let mut kept = Vec::new();
            for size in [1_000, 1_000, 3_000, 9_000, 10] {
                let receipt = tx.receipt_next(now())?;
                tx.trail_reject(receipt, &[accepted(&"x".repeat(size))], RejectionsMax { messages: 9, octets: 5_200 })?;
                kept.push(tx.count(REJECTIONS)?);
            }
            assert_eq!(kept, [1, 2, 3, 1, 1]);
            Ok(())
        });
        assert_eq!(findings(&store), [""; 0]);
    }

    #[test]
    fn old_trails_are_swept_but_not_of_what_is_queued() {
        let store = Store::memory();
        tx(&store, |tx| {
            let at = |minutes| now().after(Duration::from_mins(minutes));
            let mut receipts = Vec::new();
            for minutes in 0..4 {
                let receipt = tx.receipt_next(at(minutes))?;
                tx.trail_append(receipt, &[accepted(&format!("{minutes}@x"))])?;
                tx.trail_index(receipt, "all@x")?;
                receipts.push(receipt);
            }
            let body = Body::new(b"held");
            tx.queue_add(&queued(receipts[1], &body, now()), &body)?;
            let next = tx.trail_sweep(at(3), ReceiptId(0), 2)?;
            assert_eq!(next, Some(receipts[1]));
            assert_eq!(tx.trail_sweep(at(3), receipts[1], 99)?, None);
            assert_eq!(tx.receipts_by_message_id("all@x")?, [receipts[3], receipts[1]]);
            assert_eq!(tx.trail(receipts[0])?, []);
            Ok(())
        });
        assert_eq!(findings(&store), [""; 0]);
    }
}
