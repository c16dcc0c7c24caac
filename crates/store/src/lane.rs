//! The order of the queue: which part of which message is tried next.
//!
//! A *part* is what a message has for one recipient domain; the domain is its *lane*.
//!
//! ```text
//!  queue_enter ──┬─ not before its time ─▶ waiting (QueueDue) ──queue_ready──▶ ready (QueueReady, QueueOrder)
//!                └─ at once ──────────────────────────────────────────────────▶   │ queue_take
//!                                           waiting ◀────────queue_back──────── taken
//! ```
//!
//! What is ready is in the order of rank (MT-PRIORITY), then of a tag. Tags make senders take turns (start-time fair
//! queueing): a sender's next part begins where its last one ends, but not before where the rank has come. So who
//! sends much waits behind who sends little, whatever came first. Each lane shows its first part in one index of all
//! lanes: who reads from there finds what is next, and can pass over a lane, without walking over what is in it.
//!
//! What is taken is in no order that anybody reads: a reader never walks over it. After a crash
//! [`WriteTx::queue_back_all`] puts it back.
//!
//! Invariants
//! - Each part with open recipients of a message that is not held is waiting, ready or taken, and one of them only.
//! - Each lane that has ready parts, is not suspended and not passed over, is in the index of lanes once, under its
//!   first part.

use crate::error::Result;
use crate::index::{Direction, KeyRange};
use crate::key;
use crate::queue::QueueMessage;
use crate::record::corrupt;
use crate::schema::Space;
use crate::tx::{ReadTx, WriteTx};
use mail::{Domain, Priority, ReceiptId, Timestamp};
use std::collections::{BTreeMap, BTreeSet};

/// How many ranks there are: priorities 9 to -9.
pub const RANKS: u8 = 19;

/// Octets of a message that count as much as the message itself, when senders take turns. Our own choice.
const OCTETS_PER_TURN: u64 = 1 << 20;

/// Where a priority stands: 0 is tried first.
pub const fn rank(priority: Priority) -> u8 {
    9_i8.saturating_sub(priority.number()).unsigned_abs()
}

/// A part of a message that is to be tried.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Part {
    /// The [`rank`] of its priority; the lowest is first.
    pub rank: u8,
    /// Its place among those of its rank; the lowest is first.
    pub tag: u64,
    /// The message.
    pub receipt: ReceiptId,
    /// The domain of its recipients.
    pub lane: Domain,
}

impl Part {
    fn ready_key(&self) -> Vec<u8> {
        key::queue_ready(self.lane.as_str(), self.rank, self.tag, self.receipt)
    }

    fn first_key(&self) -> Vec<u8> {
        key::queue_first(self.rank, self.tag, self.receipt, self.lane.as_str())
    }

    /// From a key that has rank, tag and receipt at `at`.
    fn read(key: &[u8], at: usize, lane: Domain) -> Option<Self> {
        Some(Self { rank: *key.get(at)?, tag: key::number_u64(key, at + 1)?, receipt: ReceiptId(key::number_u64(key, at + 9)?), lane })
    }
}

/// How far a part is that no longer waits for its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) taken: bool,
    pub(crate) rank: u8,
    pub(crate) tag: u64,
}

impl Place {
    fn encode(self) -> Vec<u8> {
        let mut octets = vec![u8::from(self.taken), self.rank];
        octets.extend(self.tag.to_be_bytes());
        octets
    }

    pub(crate) fn decode(octets: &[u8]) -> Option<Self> {
        Some(Self { taken: *octets.first()? != 0, rank: *octets.get(1)?, tag: key::number_u64(octets, 2)? })
    }
}

impl QueueMessage {
    /// Its lanes, and when each is due; none of a held message. A message without open recipients is due in the lane
    /// of its first one, so that it is finished.
    pub fn lanes(&self) -> BTreeMap<&Domain, Timestamp> {
        let mut lanes = BTreeMap::new();
        if self.held {
            return lanes;
        }
        for recipient in &self.recipients {
            if let Some(next) = recipient.next() {
                let due = lanes.entry(recipient.recipient.address.domain()).or_insert(next);
                *due = next.min(*due);
            }
        }
        if lanes.is_empty() {
            lanes.extend(self.recipients.first().map(|first| (first.recipient.address.domain(), self.accepted)));
        }
        lanes
    }

    /// Who takes turns with others by it: the account that sent it, else the domain of the reverse-path. All reports
    /// are one sender.
    pub fn sender(&self) -> String {
        match (self.account, &self.reverse_path.0) {
            (Some(account), _) => account.0.to_string(),
            (None, Some(address)) => format!("@{}", address.domain()),
            (None, None) => "<>".to_owned(),
        }
    }

    fn turns(&self) -> u64 {
        1 + self.octets / OCTETS_PER_TURN
    }
}

impl ReadTx {
    /// The first part of each open lane, what is to be tried first in front; behind `after`, at most `max`.
    pub fn queue_firsts(&self, after: Option<&Part>, max: usize) -> Result<Vec<Part>> {
        let range = KeyRange::prefix(&[1]);
        let range = after.map_or(range.clone(), |part| range.after(&part.first_key()));
        self.gather(Space::QueueOrder, &range, Direction::Forward, max, |key, _| {
            let lane = key::text(key, 18).and_then(|text| Domain::parse(text).ok());
            let part = lane.and_then(|lane| Part::read(key, 1, lane));
            part.ok_or_else(|| corrupt(Space::QueueOrder, key, "names no part"))
        })
    }

    /// What is to be tried in a lane, in order; behind `after`, at most `max`.
    pub fn queue_lane(&self, lane: &Domain, after: Option<&Part>, max: usize) -> Result<Vec<Part>> {
        let start = key::queue_lane(lane.as_str());
        let range = KeyRange::prefix(&start);
        let range = after.map_or(range.clone(), |part| range.after(&part.ready_key()));
        self.gather(Space::QueueReady, &range, Direction::Forward, max, |key, _| {
            Part::read(key, start.len(), lane.clone()).ok_or_else(|| corrupt(Space::QueueReady, key, "names no part"))
        })
    }

    /// When the next part's time comes, or that of a lane that is passed over.
    pub fn queue_next(&self) -> Result<Option<Timestamp>> {
        let first =
            |space, range: &KeyRange, at| self.gather(space, range, Direction::Forward, 1, move |key, _| Ok(key::moment_at(key, at)));
        let due = first(Space::QueueDue, &KeyRange::all(), 0)?.first().copied().flatten();
        let passed = first(Space::QueueOrder, &KeyRange::prefix(&[2]), 1)?.first().copied().flatten();
        Ok([due, passed].into_iter().flatten().min())
    }

    /// The messages that wait for their time in a lane, at most `max`.
    pub fn queue_waiting(&self, lane: &Domain, max: usize) -> Result<Vec<ReceiptId>> {
        let start = key::queue_waiting_in(lane.as_str());
        self.gather(Space::QueueOrder, &KeyRange::prefix(&start), Direction::Forward, max, |key, _| {
            Ok(ReceiptId(key::number_u64(key, start.len()).unwrap_or_default()))
        })
    }

    /// The lanes in which anything waits for its time. Costs a look-up for each, however much that is.
    pub fn queue_waiting_lanes(&self) -> Result<Vec<Domain>> {
        let (mut lanes, mut range) = (Vec::new(), KeyRange::prefix(&[7]));
        loop {
            let next = self.gather(Space::QueueOrder, &range, Direction::Forward, 1, |key, _| {
                let end = key.len().saturating_sub(9);
                let lane = key.get(1..end).and_then(|text| std::str::from_utf8(text).ok()).and_then(|text| Domain::parse(text).ok());
                lane.ok_or_else(|| corrupt(Space::QueueOrder, key, "names no lane"))
            })?;
            let Some(lane) = next.into_iter().next() else { return Ok(lanes) };
            range.from = KeyRange::prefix(&key::queue_waiting_in(lane.as_str())).to.unwrap_or_default();
            lanes.push(lane);
        }
    }

    /// Until when a lane is passed over, if it is.
    pub fn queue_passed_until(&self, lane: &Domain) -> Result<Option<Timestamp>> {
        let until = self.get(Space::QueueOrder, &key::queue_named(3, lane.as_str()))?;
        Ok(until.and_then(|octets| key::moment_at(&octets, 0)))
    }

    /// How far a part is; `None`: it waits for its time, or there is none.
    pub(crate) fn queue_place(&self, receipt: ReceiptId, lane: &Domain) -> Result<Option<Place>> {
        let key = key::queue_part(receipt, lane.as_str());
        let Some(octets) = self.get(Space::QueuePart, &key)? else { return Ok(None) };
        Place::decode(&octets).map(Some).ok_or_else(|| corrupt(Space::QueuePart, &key, "is no place"))
    }

    /// A part, if it is to be tried.
    pub fn queue_ready_part(&self, receipt: ReceiptId, lane: &Domain) -> Result<Option<Part>> {
        let place = self.queue_place(receipt, lane)?.filter(|place| !place.taken);
        Ok(place.map(|place| Part { rank: place.rank, tag: place.tag, receipt, lane: lane.clone() }))
    }

    /// Whether a part is being worked on.
    pub fn queue_is_taken(&self, receipt: ReceiptId, lane: &Domain) -> Result<bool> {
        Ok(self.queue_place(receipt, lane)?.is_some_and(|place| place.taken))
    }

    fn order_number(&self, key: &[u8]) -> Result<u64> {
        Ok(self.get(Space::QueueOrder, key)?.and_then(|octets| key::number_u64(&octets, 0)).unwrap_or_default())
    }

    pub(crate) fn queue_lane_is_open(&self, lane: &Domain) -> Result<bool> {
        Ok(!self.queue_is_suspended(lane)? && self.queue_passed_until(lane)?.is_none())
    }
}

impl WriteTx {
    /// Makes what is due ready, and opens the lanes whose time to be passed over is up; at most `max` of each. True:
    /// there is more.
    pub fn queue_ready(&mut self, now: Timestamp, max: usize) -> Result<bool> {
        let range = KeyRange { from: Vec::new(), to: Some(key::queue_due(Timestamp(now.0.saturating_add(1)), ReceiptId(0), "")) };
        let due = self.keys(Space::QueueDue, &range, max)?;
        for key in &due {
            self.delete(Space::QueueDue, key);
            let receipt = ReceiptId(key::number_u64(key, 8).unwrap_or_default());
            let lane = key::text(key, 16).and_then(|text| Domain::parse(text).ok());
            if let Some(lane) = &lane {
                self.delete(Space::QueueOrder, &key::queue_waiting(lane.as_str(), receipt));
            }
            if let (Some(lane), Some(message)) = (lane, self.queue_message(receipt)?) {
                self.lane_enter(&message, &lane)?;
            }
        }
        let range = KeyRange { to: Some(key::queue_passed(Timestamp(now.0.saturating_add(1)), "")), ..KeyRange::prefix(&[2]) };
        let passed = self.keys(Space::QueueOrder, &range, max)?;
        for key in &passed {
            if let Some(lane) = key::text(key, 9).and_then(|text| Domain::parse(text).ok()) {
                self.queue_pass(&lane, None)?;
            }
        }
        Ok(due.len() >= max || passed.len() >= max)
    }

    /// Takes parts to work on; those that were ready still are returned, with their messages.
    pub fn queue_take(&mut self, parts: &[Part]) -> Result<Vec<(Part, QueueMessage)>> {
        let mut lanes: BTreeMap<&Domain, &Part> = BTreeMap::new();
        for part in parts {
            let lowest = lanes.entry(&part.lane).or_insert(part);
            *lowest = part.min(*lowest);
        }
        let mut listed = Vec::new();
        for (lane, lowest) in lanes {
            listed.push((lane, self.lane_unlist_at(lowest)?));
        }
        let mut taken = Vec::new();
        for part in parts {
            if self.queue_place(part.receipt, &part.lane)? == Some(Place { taken: false, rank: part.rank, tag: part.tag })
                && let Some(message) = self.queue_message(part.receipt)?
            {
                self.take_one(part, &message)?;
                taken.push((part.clone(), message));
            }
        }
        for (lane, first) in listed {
            self.lane_list_from(lane, first)?;
        }
        Ok(taken)
    }

    /// Takes a lane out of the index of lanes; its first part, if that is this one: then nothing is walked over.
    fn lane_unlist_at<'a>(&mut self, part: &'a Part) -> Result<Option<&'a Part>> {
        let first_key = part.first_key();
        if self.has(Space::QueueOrder, &first_key)? {
            self.delete(Space::QueueOrder, &first_key);
            return Ok(Some(part));
        }
        self.lane_unlist(&part.lane).map(|()| None)
    }

    fn take_one(&mut self, part: &Part, message: &QueueMessage) -> Result<()> {
        let Part { rank, tag, receipt, ref lane } = *part;
        self.delete(Space::QueueReady, &part.ready_key());
        let place = Place { taken: true, rank, tag };
        self.put(Space::QueuePart, &key::queue_part(receipt, lane.as_str()), place.encode());
        self.add(Space::QueueOrder, &key::queue_taken(receipt, lane.as_str()), Vec::new());
        let progress = key::queue_progress(rank);
        if self.order_number(&progress)? < tag {
            self.put(Space::QueueOrder, &progress, tag.to_be_bytes().to_vec());
        }
        self.forget_sender(message, rank, tag)
    }

    /// Once nothing of a sender stands behind this part, nothing need be known of it.
    fn forget_sender(&mut self, message: &QueueMessage, rank: u8, tag: u64) -> Result<()> {
        let sender = key::queue_sender(rank, &message.sender());
        if self.order_number(&sender)? <= tag.saturating_add(message.turns()) {
            self.delete(Space::QueueOrder, &sender);
        }
        Ok(())
    }

    /// What was taken waits again, for the time that its recipients say; there is nothing to do if its message is gone.
    pub fn queue_back(&mut self, receipt: ReceiptId, lane: &Domain) -> Result<()> {
        if !self.queue_is_taken(receipt, lane)? {
            return Ok(());
        }
        self.delete(Space::QueuePart, &key::queue_part(receipt, lane.as_str()));
        self.delete(Space::QueueOrder, &key::queue_taken(receipt, lane.as_str()));
        let message = self.queue_message(receipt)?;
        if let Some(due) = message.and_then(|message| message.lanes().get(lane).copied()) {
            self.wait(receipt, lane, None, Some(due));
        }
        self.announce_queue();
        Ok(())
    }

    /// Puts back what was taken by somebody who is no more; at most `max`. True: there is more.
    pub fn queue_back_all(&mut self, max: usize) -> Result<bool> {
        let taken = self.keys(Space::QueueOrder, &KeyRange::prefix(&[4]), max)?;
        for key in &taken {
            let receipt = ReceiptId(key::number_u64(key, 1).unwrap_or_default());
            match key::text(key, 9).and_then(|text| Domain::parse(text).ok()) {
                Some(lane) => self.queue_back(receipt, &lane)?,
                None => self.delete(Space::QueueOrder, key),
            }
        }
        Ok(taken.len() >= max)
    }

    /// Passes a lane over until then; `None`: no longer.
    pub fn queue_pass(&mut self, lane: &Domain, until: Option<Timestamp>) -> Result<()> {
        self.lane_unlist(lane)?;
        let named = key::queue_named(3, lane.as_str());
        if let Some(before) = self.queue_passed_until(lane)? {
            self.delete(Space::QueueOrder, &key::queue_passed(before, lane.as_str()));
            self.delete(Space::QueueOrder, &named);
        }
        if let Some(until) = until {
            self.put(Space::QueueOrder, &key::queue_passed(until, lane.as_str()), Vec::new());
            self.put(Space::QueueOrder, &named, key::ordered(until).to_be_bytes().to_vec());
        }
        self.lane_list(lane)
    }

    /// Takes a lane out of the index of lanes while something about it changes; [`Self::lane_list`] puts it back.
    pub(crate) fn lane_unlist(&mut self, lane: &Domain) -> Result<()> {
        if let Some(first) = self.queue_lane(lane, None, 1)?.first() {
            self.delete(Space::QueueOrder, &first.first_key());
        }
        Ok(())
    }

    pub(crate) fn lane_list(&mut self, lane: &Domain) -> Result<()> {
        self.lane_list_from(lane, None)
    }

    /// The same when nothing comes before `from`.
    fn lane_list_from(&mut self, lane: &Domain, from: Option<&Part>) -> Result<()> {
        if let Some(first) = self.queue_lane(lane, from, 1)?.first()
            && self.queue_lane_is_open(lane)?
        {
            self.add(Space::QueueOrder, &first.first_key(), Vec::new());
        }
        Ok(())
    }

    /// Keeps the order in step with a message that was changed, came or went.
    pub(crate) fn lanes_change(&mut self, old: Option<&QueueMessage>, new: Option<&QueueMessage>) -> Result<()> {
        let Some(message) = new.or(old) else { return Ok(()) };
        let (before, after) = (old.map(QueueMessage::lanes).unwrap_or_default(), new.map(QueueMessage::lanes).unwrap_or_default());
        let known = old.iter().flat_map(|old| old.recipients.iter().map(|entry| entry.recipient.address.domain()));
        let lanes: BTreeSet<&Domain> = known.chain(after.keys().copied()).collect();
        for lane in lanes {
            let (was, is) = (before.get(lane).copied(), after.get(lane).copied());
            let place = if old.is_some() { self.queue_place(message.receipt, lane)? } else { None };
            match place {
                Some(place) if place.taken => self.taken_changed(message.receipt, lane, new.is_some()),
                Some(place) => {
                    if is.is_none_or(|is| was.is_none_or(|was| is > was)) {
                        self.lane_leave(message.receipt, lane, place)?;
                        self.wait(message.receipt, lane, None, is);
                    }
                }
                None if old.is_none() && is.is_some_and(|is| is <= message.accepted) => self.lane_enter(message, lane)?,
                None => self.wait(message.receipt, lane, was, is),
            }
        }
        Ok(())
    }

    /// What is being worked on stays so, unless its message is gone.
    fn taken_changed(&mut self, receipt: ReceiptId, lane: &Domain, is_there: bool) {
        if !is_there {
            self.delete(Space::QueuePart, &key::queue_part(receipt, lane.as_str()));
            self.delete(Space::QueueOrder, &key::queue_taken(receipt, lane.as_str()));
        }
    }

    fn wait(&mut self, receipt: ReceiptId, lane: &Domain, was: Option<Timestamp>, is: Option<Timestamp>) {
        if was == is {
            return;
        }
        if let Some(was) = was {
            self.delete(Space::QueueDue, &key::queue_due(was, receipt, lane.as_str()));
        }
        if let Some(is) = is {
            self.add(Space::QueueDue, &key::queue_due(is, receipt, lane.as_str()), Vec::new());
        }
        let by_lane = key::queue_waiting(lane.as_str(), receipt);
        match (was, is) {
            (None, Some(_)) => self.add(Space::QueueOrder, &by_lane, Vec::new()),
            (Some(_), None) => self.delete(Space::QueueOrder, &by_lane),
            _ => {}
        }
    }

    /// A part becomes ready: it gets its place in the order.
    fn lane_enter(&mut self, message: &QueueMessage, lane: &Domain) -> Result<()> {
        let (rank, turns) = (rank(message.terms.priority), message.turns());
        let sender = key::queue_sender(rank, &message.sender());
        let tag = self.order_number(&sender)?.max(self.order_number(&key::queue_progress(rank))?);
        self.put(Space::QueueOrder, &sender, tag.saturating_add(turns).to_be_bytes().to_vec());
        let part = Part { rank, tag, receipt: message.receipt, lane: lane.clone() };
        let place = Place { taken: false, rank, tag };
        self.add(Space::QueuePart, &key::queue_part(part.receipt, lane.as_str()), place.encode());
        self.lane_unlist_before(&part)?;
        self.add(Space::QueueReady, &part.ready_key(), Vec::new());
        Ok(())
    }

    /// A new part is listed instead of its lane's first one, if it comes before it.
    fn lane_unlist_before(&mut self, part: &Part) -> Result<()> {
        if self.lane_has_before(part)? || !self.queue_lane_is_open(&part.lane)? {
            return Ok(());
        }
        if let Some(first) = self.queue_lane(&part.lane, Some(part), 1)?.first() {
            self.delete(Space::QueueOrder, &first.first_key());
        }
        self.add(Space::QueueOrder, &part.first_key(), Vec::new());
        Ok(())
    }

    /// Whether anything in its lane comes before a part. Looked for from the part backwards: in a long lane a new part
    /// is among the last, and what has left the lane was in front.
    fn lane_has_before(&self, part: &Part) -> Result<bool> {
        let range = KeyRange::new(&key::queue_lane(part.lane.as_str()), &part.ready_key());
        Ok(!self.gather(Space::QueueReady, &range, Direction::Back, 1, |_, _| Ok(()))?.is_empty())
    }

    fn lane_leave(&mut self, receipt: ReceiptId, lane: &Domain, place: Place) -> Result<()> {
        let part = Part { rank: place.rank, tag: place.tag, receipt, lane: lane.clone() };
        self.lane_unlist(lane)?;
        self.delete(Space::QueueReady, &part.ready_key());
        self.delete(Space::QueuePart, &key::queue_part(receipt, lane.as_str()));
        if let Some(message) = self.queue_message(receipt)? {
            self.forget_sender(&message, place.rank, place.tag)?;
        }
        self.lane_list(lane)
    }
}

/// Brings a store whose queue was ordered by time alone to the order of lanes.
pub(crate) fn reorder(tx: &mut WriteTx) -> Result<()> {
    tx.erase(Space::QueueDue, &KeyRange::all())?;
    for (_, message) in tx.records::<QueueMessage>(&KeyRange::all())? {
        for (lane, due) in message.lanes() {
            tx.wait(message.receipt, lane, None, Some(due));
        }
    }
    Ok(())
}

/// Brings a store whose waiting parts are known by their time alone to know them by their lane too.
pub(crate) fn wait_by_lane(tx: &mut WriteTx) -> Result<()> {
    for due in tx.keys(Space::QueueDue, &KeyRange::all(), usize::MAX)? {
        if let (Some(receipt), Some(lane)) = (key::number_u64(&due, 8), key::text(&due, 16)) {
            tx.put(Space::QueueOrder, &key::queue_waiting(lane, ReceiptId(receipt)), Vec::new());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::tests::queued;
    use crate::testing::{address, now, tx};
    use crate::{Body, Store};
    use mail::{AccountId, ReversePath};
    use std::time::Duration;

    fn message(receipt: u64, account: u32, to: &str, priority: i8) -> (QueueMessage, Body) {
        let body = Body::new(b"a message");
        let mut message = queued(ReceiptId(receipt), &body, now());
        message.account = Some(AccountId(account));
        message.reverse_path = ReversePath(None);
        message.terms.priority = Priority::new(priority).unwrap();
        message.recipients[0].recipient.address = address(to);
        (message, body)
    }

    fn add(tx: &mut WriteTx, receipt: u64, account: u32, to: &str, priority: i8) {
        let (message, body) = message(receipt, account, to, priority);
        tx.queue_add(&message, &body).unwrap();
    }

    /// Takes what is first until nothing is left: the receipts.
    fn drained(tx: &mut WriteTx) -> Vec<u64> {
        let mut order = Vec::new();
        while let Some(first) = tx.queue_firsts(None, 1).unwrap().pop() {
            let taken = tx.queue_take(std::slice::from_ref(&first)).unwrap();
            assert_eq!(taken.into_iter().map(|(part, _)| part).collect::<Vec<_>>(), std::slice::from_ref(&first));
            order.push(first.receipt.0);
        }
        order
    }

    fn taken(tx: &WriteTx) -> usize {
        tx.keys(Space::QueueOrder, &KeyRange::prefix(&[4]), 99).unwrap().len()
    }

    #[test]
    fn priorities_come_first_over_the_whole_queue() {
        for ((a, b), want) in [((0, 0), vec![1, 2, 3]), ((0, 4), vec![3, 1, 2]), ((-1, 0), vec![3, 1, 2]), ((0, -9), vec![1, 2, 3])] {
            tx(&Store::memory(), move |tx| {
                add(tx, 1, 1, "x@a.example", a);
                add(tx, 2, 2, "x@a.example", a);
                add(tx, 3, 3, "x@b.example", b);
                assert_eq!(drained(tx), want, "{a} {b}");
                Ok(())
            });
        }
    }

    #[test]
    fn senders_take_turns_whatever_came_first() {
        tx(&Store::memory(), |tx| {
            for receipt in 1..=5 {
                add(tx, receipt, 1, "x@a.example", 0);
            }
            for (receipt, to) in [(6, "x@a.example"), (7, "x@b.example")] {
                add(tx, receipt, 2, to, 0);
            }
            let first: Vec<_> = (0..3).map(|_| tx.queue_firsts(None, 1).unwrap().remove(0)).collect();
            assert_eq!(first[0].receipt.0, 1);
            assert_eq!(drained(tx), [1, 6, 2, 7, 3, 4, 5]);
            add(tx, 8, 1, "x@a.example", 0);
            add(tx, 9, 2, "x@a.example", 0);
            assert_eq!(drained(tx), [8, 9], "what was had before does not count for ever");
            assert_eq!(tx.keys(Space::QueueOrder, &KeyRange::prefix(&[5]), 9)?, Vec::<Vec<u8>>::new(), "nothing is left of senders");
            Ok(())
        });
    }

    #[test]
    fn a_part_is_taken_once_and_comes_back_when_its_recipients_say() {
        tx(&Store::memory(), |tx| {
            add(tx, 1, 1, "x@a.example", 0);
            let first = tx.queue_firsts(None, 1)?;
            assert_eq!((tx.queue_take(&first)?.len(), tx.queue_take(&first)?.len(), taken(tx)), (1, 0, 1));
            let mut message = tx.queue_message(ReceiptId(1))?.unwrap();
            let later = now().after(Duration::from_mins(5));
            message.recipients[0].state = crate::RecipientState::Open { attempts: 1, next: later, delay_reported: false, last: None };
            tx.queue_put(&message)?;
            assert_eq!((tx.queue_next()?, taken(tx)), (None, 1), "a change leaves it to whoever has it");
            tx.queue_back(ReceiptId(1), &first[0].lane)?;
            assert_eq!((tx.queue_next()?, taken(tx)), (Some(later), 0));
            tx.queue_ready(now(), 9)?;
            assert_eq!(tx.queue_firsts(None, 9)?, []);
            assert!(!tx.queue_ready(later, 9)?);
            assert_eq!(drained(tx), [1]);
            assert!(!tx.queue_back_all(9)?);
            assert_eq!((tx.queue_next()?, taken(tx)), (Some(later), 0));
            Ok(())
        });
    }

    #[test]
    fn what_is_held_or_removed_is_in_no_order() {
        for step in ["ready", "taken", "waiting"] {
            for held in [true, false] {
                tx(&Store::memory(), move |tx| {
                    add(tx, 1, 1, "x@a.example", 0);
                    let first = tx.queue_firsts(None, 1)?;
                    if step != "ready" {
                        tx.queue_take(&first)?;
                    }
                    if step == "waiting" {
                        tx.queue_back_all(9)?;
                    }
                    let message = tx.queue_message(ReceiptId(1))?.unwrap();
                    if held {
                        tx.queue_put(&QueueMessage { held, ..message.clone() })?;
                    } else {
                        tx.queue_remove(ReceiptId(1))?;
                    }
                    tx.queue_back_all(9)?;
                    assert_eq!((tx.queue_firsts(None, 9)?, tx.queue_next()?, taken(tx)), (vec![], None, 0), "{step} {held}");
                    assert_eq!(tx.keys(Space::QueuePart, &KeyRange::all(), 9)?, Vec::<Vec<u8>>::new());
                    if held {
                        tx.queue_put(&message)?;
                        tx.queue_ready(now(), 9)?;
                        assert_eq!(drained(tx), [1], "released");
                    }
                    Ok(())
                });
            }
        }
    }

    #[test]
    fn a_lane_that_is_passed_over_or_suspended_hides_no_other() {
        tx(&Store::memory(), |tx| {
            let lane = Domain::parse("a.example").unwrap();
            for (receipt, to) in [(1, "x@a.example"), (2, "x@a.example"), (3, "x@b.example")] {
                add(tx, receipt, 1, to, 0);
            }
            let firsts = |tx: &WriteTx| tx.queue_firsts(None, 9).unwrap().iter().map(|part| part.receipt.0).collect::<Vec<_>>();
            assert_eq!(firsts(tx), [1, 3]);
            let until = now().after(Duration::from_secs(9));
            tx.queue_pass(&lane, Some(until))?;
            add(tx, 4, 2, "x@a.example", 0);
            assert_eq!((firsts(tx), tx.queue_next()?), (vec![3], Some(until)));
            tx.queue_suspend(&lane, "", now())?;
            tx.queue_ready(until, 9)?;
            assert_eq!((firsts(tx), tx.queue_next()?), (vec![3], None));
            assert!(tx.queue_resume(&lane)?);
            assert_eq!(drained(tx), [1, 4, 2, 3]);
            Ok(())
        });
    }

    #[test]
    fn what_waits_is_found_by_its_lane() {
        tx(&Store::memory(), |tx| {
            let later = now().after(Duration::from_mins(5));
            for (receipt, to) in [(1, "x@a.example"), (2, "x@a.example"), (3, "x@a.example.org"), (4, "x@b.a.example")] {
                let (mut message, body) = message(receipt, 1, to, 0);
                message.recipients[0].state = crate::RecipientState::Open { attempts: 1, next: later, delay_reported: false, last: None };
                tx.queue_add(&message, &body)?;
            }
            add(tx, 5, 1, "x@a.example", 0);
            let lane = Domain::parse("a.example").unwrap();
            let waiting = |tx: &WriteTx| tx.queue_waiting(&lane, 9).unwrap().iter().map(|receipt| receipt.0).collect::<Vec<_>>();
            let lanes = |tx: &WriteTx| tx.queue_waiting_lanes().unwrap().iter().map(ToString::to_string).collect::<Vec<_>>();
            assert_eq!(
                (waiting(tx), lanes(tx).as_slice()),
                (vec![1, 2], &["a.example", "a.example.org", "b.a.example"].map(str::to_owned)[..])
            );
            tx.queue_remove(ReceiptId(1))?;
            let mut held = tx.queue_message(ReceiptId(3))?.unwrap();
            held.held = true;
            tx.queue_put(&held)?;
            assert_eq!((waiting(tx), lanes(tx).len()), (vec![2], 2));
            tx.queue_ready(later, 9)?;
            assert_eq!((waiting(tx), lanes(tx)), (vec![], Vec::new()));
            assert_eq!(drained(tx).len(), 3);
            tx.queue_back_all(9)?;
            assert_eq!(waiting(tx), [2, 5]);
            tx.erase(Space::QueueOrder, &KeyRange::prefix(&[7]))?;
            wait_by_lane(tx)?;
            assert_eq!(waiting(tx), [2, 5], "of an older store");
            Ok(())
        });
    }

    #[test]
    fn a_message_for_many_domains_has_a_part_in_each_lane() {
        tx(&Store::memory(), |tx| {
            let (mut message, body) = message(1, 1, "x@a.example", 0);
            for to in ["y@a.example", "x@b.example"] {
                let entry = crate::QueueRecipient { recipient: mail::Recipient::new(address(to)), ..message.recipients[0].clone() };
                message.recipients.push(entry);
            }
            tx.queue_add(&message, &body)?;
            let firsts = tx.queue_firsts(None, 9)?;
            let lanes: Vec<_> = firsts.iter().map(|part| part.lane.as_str()).collect();
            assert_eq!(lanes, ["a.example", "b.example"]);
            tx.queue_take(&firsts[..1])?;
            assert_eq!(tx.queue_firsts(None, 9)?, &firsts[1..]);
            tx.queue_remove(ReceiptId(1))?;
            assert_eq!((tx.queue_firsts(None, 9)?, taken(tx)), (vec![], 0));
            Ok(())
        });
    }
}
