//! What of the queue comes to the board next: read in the store's order, as far as there is room.
//!
//! The lanes' first parts are read in order and, with what follows in their lanes, merged: so the parts come by rank
//! and turn over the whole queue, and no more is read than is used but for a few parts of each lane. A lane whose
//! destination has no room is left alone as a whole; where many such lanes are in the way they are passed over for a
//! while, in the store. What is on the board is taken and not met here.
//!
//! Cost: for each part a bounded number of keys, however long the queue is; a test counts them.

use super::board::{Board, Job, Room};
use crate::detour::{self, Probes};
use crate::outbox;
use crate::return_path;
use crate::route::{self, Destination};
use crate::settings::Settings;
use crate::source::{self, Choice, Source};
use mail::{Address, Domain, ReceiptId, Timestamp, TlsDemand};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::sync::Arc;
use store::{Part, QueueMessage, ReadTx, Result, WriteTx};

/// Why mail waits whose sources have sent enough for a day.
pub(super) const SPENT: &str = "the addresses it may go from warm up and have sent to this domain what they may today";
/// Lanes whose first parts are read at once.
const FIRSTS: usize = 32;
/// Parts of a lane that are read at once.
const FOLLOWING: usize = 8;
/// Lanes without room that are met before the further ones are passed over.
const FULL_MAX: usize = 64;
/// Parts and lanes that are looked at for each that there is room for.
const LOOKED_AT_EACH: usize = 4;

/// What is to be taken.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) picks: Vec<Pick>,
    /// Messages that are still in their sender's Outbox.
    pub(super) waiting: Vec<ReceiptId>,
    /// Lanes that are in the way of others.
    pass: Vec<Domain>,
    /// There is more to be read at once.
    pub(super) more: bool,
    /// There is more, for which there is no room.
    pub(super) crowded: bool,
    /// When something becomes due.
    pub(super) next: Option<Timestamp>,
}

/// Parts of a message that go the same way.
#[derive(Debug)]
pub(super) struct Pick {
    parts: Vec<Part>,
    destination: Destination,
    sender: Arc<str>,
    /// Why they are not tried.
    down: Option<(Timestamp, String)>,
}

/// What was taken.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) jobs: Vec<Job>,
    /// Why they are not tried.
    pub(super) down: Option<(Timestamp, String)>,
}

impl Plan {
    pub(super) fn is_empty(&self) -> bool {
        self.picks.is_empty() && self.pass.is_empty()
    }
}

/// Plans to take up to `max` parts.
pub(super) fn plan(tx: &ReadTx, now: Timestamp, max: usize, board: &Board, settings: &Settings, probes: &Probes) -> Result<Plan> {
    let mut planner = Planner {
        tx,
        now,
        board,
        settings,
        probes,
        plan: Plan { next: tx.queue_next()?, ..Plan::default() },
        local: BTreeMap::new(),
        messages: BTreeMap::new(),
        picked: BTreeSet::new(),
        destinations: BTreeMap::new(),
        senders: BTreeMap::new(),
        full: 0,
    };
    let mut merge = Merge { tx, heap: BinaryHeap::new(), following: BTreeMap::new(), firsts: VecDeque::new(), last: None, read_all: false };
    let mut looked_at = 0;
    while let Some(part) = merge.next()? {
        if planner.plan.picks.len() >= max || looked_at >= max.saturating_mul(LOOKED_AT_EACH).saturating_add(FULL_MAX) {
            planner.plan.more = planner.plan.picks.len() >= max || !planner.plan.pass.is_empty();
            planner.plan.crowded = true;
            break;
        }
        looked_at += 1;
        if planner.look(&part)? {
            merge.advance(&part)?;
        }
    }
    Ok(planner.plan)
}

struct Planner<'a> {
    tx: &'a ReadTx,
    now: Timestamp,
    board: &'a Board,
    settings: &'a Settings,
    probes: &'a Probes,
    plan: Plan,
    /// Which domains are ours.
    local: BTreeMap<Domain, bool>,
    messages: BTreeMap<ReceiptId, Arc<QueueMessage>>,
    /// What was picked with another lane's part.
    picked: BTreeSet<(ReceiptId, Domain)>,
    destinations: BTreeMap<Destination, usize>,
    senders: BTreeMap<Arc<str>, usize>,
    full: usize,
}

impl Planner<'_> {
    /// Picks a part if there is room. False: its lane has none.
    fn look(&mut self, part: &Part) -> Result<bool> {
        if self.picked.contains(&(part.receipt, part.lane.clone())) {
            return Ok(true);
        }
        let Some(message) = self.message(part.receipt)? else { return Ok(true) };
        if outbox::waits(self.tx, &message)? {
            self.plan.waiting.push(part.receipt);
            return Ok(true);
        }
        let usual = way(self.tx, &message, &part.lane, self.settings, &mut self.local)?;
        let destination = detour::probing(self.tx, &part.lane, usual, self.now, self.probes, self.settings.fallback.as_ref())?;
        let (destination, spent) = self.sourced(&message, &part.lane, destination)?;
        let sender: Arc<str> = message.sender().into();
        let before = [
            self.plan.picks.len(),
            self.destinations.get(&destination).copied().unwrap_or_default(),
            self.senders.get(&sender).copied().unwrap_or_default(),
        ];
        let room = match destination {
            Destination::Local => Room::Free,
            _ if spent => Room::Down(source::tomorrow(self.now, part.receipt), SPENT.to_owned()),
            _ => self.board.room(&destination, (&sender, part.rank), before, self.now, &self.settings.queue),
        };
        let down = match room {
            Room::Free => None,
            Room::Down(until, words) => Some((until, words)),
            Room::SenderFull => {
                self.plan.crowded = true;
                return Ok(true);
            }
            Room::Full => {
                self.plan.crowded = true;
                self.full += 1;
                if self.full > FULL_MAX {
                    self.plan.pass.push(part.lane.clone());
                }
                return Ok(false);
            }
        };
        let parts = self.with_siblings(part, &message, &destination)?;
        *self.destinations.entry(destination.clone()).or_default() += 1;
        *self.senders.entry(Arc::clone(&sender)).or_default() += 1;
        self.plan.picks.push(Pick { parts, destination, sender, down });
        Ok(true)
    }

    /// From which of our addresses mail goes to a domain's exchangers, and whether that may send no more there today.
    fn sourced(&self, message: &QueueMessage, domain: &Domain, destination: Destination) -> Result<(Destination, bool)> {
        let sources = &self.settings.delivery.sources;
        if sources.is_empty() || !destination.is_direct() {
            return Ok((destination, false));
        }
        let today = return_path::day(self.now);
        let sent = |source: &Source| -> Result<u64> {
            let planned = self.destinations.get(&destination.clone().from_source(&source.name)).copied().unwrap_or_default();
            Ok(self.tx.sent(today, &source.name, domain)?.saturating_add(planned as u64))
        };
        Ok(match source::choose(sources, message.reverse_path.0.as_ref(), message.receipt, self.now, sent)? {
            Choice::Any => (destination, false),
            Choice::From(source) => (destination.from_source(&source.name), false),
            Choice::Tomorrow => (destination, true),
        })
    }

    fn message(&mut self, receipt: ReceiptId) -> Result<Option<Arc<QueueMessage>>> {
        if let Some(message) = self.messages.get(&receipt) {
            return Ok(Some(Arc::clone(message)));
        }
        let message = self.tx.queue_message(receipt)?.map(Arc::new);
        self.messages.extend(message.clone().map(|message| (receipt, message)));
        Ok(message)
    }

    /// The part and those of other lanes that can share its transaction.
    fn with_siblings(&mut self, part: &Part, message: &QueueMessage, destination: &Destination) -> Result<Vec<Part>> {
        let mut parts = vec![part.clone()];
        if !matches!(destination, Destination::Smarthost(..)) {
            return Ok(parts);
        }
        for lane in message.lanes().into_keys().filter(|lane| **lane != part.lane) {
            if way(self.tx, message, lane, self.settings, &mut self.local)? == *destination
                && let Some(sibling) = self.tx.queue_ready_part(part.receipt, lane)?
                && self.picked.insert((part.receipt, lane.clone()))
            {
                parts.push(sibling);
            }
        }
        Ok(parts)
    }
}

/// Where mail of a message for a domain goes.
fn way(
    tx: &ReadTx,
    message: &QueueMessage,
    domain: &Domain,
    settings: &Settings,
    local: &mut BTreeMap<Domain, bool>,
) -> Result<Destination> {
    let sender = message.reverse_path.0.as_ref().map(Address::domain);
    // A report goes on where REQUIRETLS is not to be had rather than not at all (RFC 8689 §5).
    let demand = if sender.is_none() && message.tls == TlsDemand::Required { TlsDemand::ByPolicy } else { message.tls };
    let is_local = match local.get(domain) {
        Some(is_local) => *is_local,
        None => *local.entry(domain.clone()).or_insert(tx.domain(domain)?.is_some()),
    };
    let direct = route::route(&settings.routes, domain, sender, is_local).demanding(demand);
    detour::way(tx, direct, settings.fallback.as_ref())
}

/// Takes what was planned, as far as it is still to be had.
pub(super) fn take(tx: &mut WriteTx, plan: &Plan, now: Timestamp, settings: &Settings) -> Result<Vec<Taken>> {
    let until = now.after(settings.queue.crowded_wait);
    plan.pass.iter().try_for_each(|lane| tx.queue_pass(lane, Some(until)))?;
    let parts: Vec<Part> = plan.picks.iter().flat_map(|pick| pick.parts.iter().cloned()).collect();
    let taken: BTreeMap<Part, QueueMessage> = tx.queue_take(&parts)?.into_iter().collect();
    let mut all = Vec::new();
    for pick in &plan.picks {
        let mine: Vec<&Part> = pick.parts.iter().filter(|part| taken.contains_key(part)).collect();
        let Some(first) = mine.first() else { continue };
        let Some(message) = taken.get(*first).cloned() else { continue };
        let lanes = mine.iter().map(|part| &part.lane).collect();
        let jobs = jobs(tx, &Arc::new(message), pick, first, &lanes, now, settings)?;
        if pick.down.is_none() {
            count(tx, &jobs, now, settings)?;
        }
        all.push(Taken { jobs, down: pick.down.clone() });
    }
    Ok(all)
}

/// Counts what addresses that warm up send.
fn count(tx: &mut WriteTx, jobs: &[Job], now: Timestamp, settings: &Settings) -> Result<()> {
    let today = return_path::day(now);
    for job in jobs {
        let name = job.destination.source();
        let Some(source) = name.and_then(|name| settings.delivery.sources.iter().find(|source| *source.name == *name)) else { continue };
        let (Destination::Mx(domain, _), Some(_)) = (&job.destination, source.allowance(today)) else { continue };
        tx.sent_add(today, &source.name, domain, job.recipients.len() as u64)?;
    }
    Ok(())
}

/// The transactions that a pick makes: what leaves under different reverse-paths cannot share one, nor can too many.
/// What gets no mail of the message's account is decided here, without asking anybody.
fn jobs(
    tx: &ReadTx,
    message: &Arc<QueueMessage>,
    pick: &Pick,
    first: &Part,
    lanes: &BTreeSet<&Domain>,
    now: Timestamp,
    settings: &Settings,
) -> Result<Vec<Job>> {
    let mut ways: BTreeMap<(Destination, Option<&Address>), Vec<usize>> = BTreeMap::new();
    for (place, entry) in message.recipients.iter().enumerate() {
        let address = &entry.recipient.address;
        if !lanes.contains(address.domain()) || entry.next().is_none_or(|next| next > now) {
            continue;
        }
        let is_suppressed = pick.destination != Destination::Local && tx.suppressed(message.account, address, now)?.is_some();
        let destination = if is_suppressed { Destination::Local } else { pick.destination.clone() };
        let return_path = u32::try_from(place).ok().and_then(|place| message.return_paths.get(&place));
        ways.entry((destination, return_path)).or_default().push(place);
    }
    let job = |destination: &Destination, recipients: &[usize]| {
        let domains = recipients.iter().filter_map(|place| message.recipients.get(*place)).map(|entry| entry.recipient.address.domain());
        let lanes: BTreeSet<&Domain> = domains.collect();
        Job {
            message: Arc::clone(message),
            destination: destination.clone(),
            recipients: recipients.to_vec(),
            lanes: lanes.into_iter().cloned().collect(),
            rank: first.rank,
            tag: first.tag,
            turn: None,
            sender: Arc::clone(&pick.sender),
            given_back: false,
            active: false,
        }
    };
    let recipients_max = settings.delivery.recipients_max.max(1);
    let chunks = ways.iter().flat_map(|((destination, _), places)| places.chunks(recipients_max).map(move |places| (destination, places)));
    let mut jobs: Vec<Job> = chunks.map(|(destination, places)| job(destination, places)).collect();
    // What has nobody to be tried for is finished or waits again.
    let served: BTreeSet<&Domain> = jobs.iter().flat_map(|job| &job.lanes).collect();
    let unserved: Vec<Domain> = lanes.iter().filter(|lane| !served.contains(**lane)).map(|lane| (*lane).clone()).collect();
    if !unserved.is_empty() {
        jobs.push(Job { lanes: unserved, ..job(&pick.destination, &[]) });
    }
    Ok(jobs)
}

/// The parts of all open lanes, in order.
struct Merge<'a> {
    tx: &'a ReadTx,
    /// The next part of each lane that was begun.
    heap: BinaryHeap<Reverse<Part>>,
    following: BTreeMap<Domain, VecDeque<Part>>,
    /// The first parts of lanes that were not.
    firsts: VecDeque<Part>,
    last: Option<Part>,
    read_all: bool,
}

impl Merge<'_> {
    fn next(&mut self) -> Result<Option<Part>> {
        if self.firsts.is_empty() && !self.read_all {
            let firsts = self.tx.queue_firsts(self.last.as_ref(), FIRSTS)?;
            self.read_all = firsts.len() < FIRSTS;
            self.last = firsts.last().cloned().or(self.last.take());
            self.firsts = firsts.into();
        }
        let begun = self.heap.peek().map(|Reverse(part)| part);
        Ok(match (begun, self.firsts.front()) {
            (Some(begun), Some(first)) if first < begun => self.firsts.pop_front(),
            (None, _) => self.firsts.pop_front(),
            _ => self.heap.pop().map(|Reverse(part)| part),
        })
    }

    /// What follows a part in its lane comes into the order.
    fn advance(&mut self, part: &Part) -> Result<()> {
        let following = self.following.entry(part.lane.clone()).or_default();
        if following.is_empty() {
            following.extend(self.tx.queue_lane(&part.lane, Some(part), FOLLOWING)?);
        }
        self.heap.extend(following.pop_front().map(Reverse));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mail::event::Source;
    use mail::{AccountId, BodyType, Recipient, ReversePath, Terms};
    use std::path::Path;
    use std::time::Duration;
    use store::{Body, QueueRecipient, RecipientState, Store};

    const NOW: Timestamp = Timestamp(1_000_000);

    /// The n-th message: one of 50 senders, to one of 1,000 domains; a tenth waits for its time, or is urgent.
    fn message(n: u64, body: &Body) -> QueueMessage {
        let (n32, kind) = (u32::try_from(n).unwrap(), n % 10);
        let next = if kind == 3 { NOW.after(Duration::from_hours(1)) } else { NOW };
        let address = Address::parse(&format!("x@d{}.example", (n * 7) % 1_000)).unwrap();
        let state = RecipientState::Open { attempts: 0, next, delay_reported: false, last: None };
        let priority = mail::Priority::new(if kind == 7 { 2 } else { 0 }).unwrap();
        QueueMessage {
            receipt: ReceiptId(n),
            source: Source::Submission,
            reverse_path: ReversePath(None),
            ret: None,
            envelope_id: None,
            body: BodyType::SevenBit,
            smtputf8: false,
            blob: body.hash(),
            skip_octets: 0,
            octets: body.octets(),
            accepted: NOW,
            expires: NOW.after(Duration::from_hours(100)),
            held: false,
            account: Some(AccountId(n32 % 50)),
            recipients: vec![QueueRecipient { recipient: Recipient::new(address), state }],
            tls: TlsDemand::ByPolicy,
            terms: Terms { priority, ..Terms::default() },
            return_paths: BTreeMap::new(),
            held_by: None,
            release_request: None,
        }
    }

    fn filled(store: &Store, messages: u64) {
        let body = Body::new(b"Subject: hello\r\n\r\nhello\r\n");
        for first in (1..=messages).step_by(1_000) {
            let body = body.clone();
            let add = move |tx: &mut WriteTx| {
                (first..(first + 1_000).min(messages + 1)).try_for_each(|n| tx.queue_add(&message(n, &body), &body))
            };
            store.write_blocking(add).unwrap();
        }
    }

    /// What this process has used of processors, microseconds; 0 where that cannot be had.
    fn cpu_micros() -> u64 {
        let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let fields: Vec<&str> = text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = |place: usize| fields.get(place).and_then(|field| field.parse::<u64>().ok()).unwrap_or_default();
        (ticks(11) + ticks(12)) * 10_000
    }

    #[derive(Debug, Clone, Copy)]
    struct Cost {
        attempts: usize,
        keys: u64,
        cpu_micros: u64,
    }

    /// Takes messages in batches, delivers them and says what it cost.
    fn worked(store: &Store, batches: usize, each: usize) -> Cost {
        let settings = Arc::new(Settings::new(Domain::parse("mx.a.example").unwrap()));
        let mut cost = Cost { attempts: 0, keys: 0, cpu_micros: 0 };
        let began = cpu_micros();
        for _ in 0..batches {
            let (board, with) = (Board::default(), Arc::clone(&settings));
            let (plan, read) =
                store.read_blocking(move |tx| Ok((plan(tx, NOW, each, &board, &with, &Probes::default())?, tx.keys_read()))).unwrap();
            let with = Arc::clone(&settings);
            let plan = Arc::new(plan);
            let write = move |tx: &mut WriteTx| {
                let before = tx.keys_read();
                let taken = take(tx, &plan, NOW, &with)?;
                Ok((taken, tx.keys_read() - before))
            };
            let (taken, took) = store.write_blocking(write).unwrap();
            let receipts: Vec<ReceiptId> = taken.iter().flat_map(|taken| &taken.jobs).map(|job| job.message.receipt).collect();
            cost.attempts += receipts.len();
            let finish = move |tx: &mut WriteTx| {
                let before = tx.keys_read();
                receipts.iter().try_for_each(|receipt| tx.queue_remove(*receipt))?;
                Ok(tx.keys_read() - before)
            };
            cost.keys += read + took + store.write_blocking(finish).unwrap();
        }
        cost.cpu_micros = cpu_micros() - began;
        cost
    }

    #[test]
    fn an_attempt_reads_no_more_keys_in_a_longer_queue() {
        let of_100_attempts = |messages| {
            let store = Store::memory();
            filled(&store, messages);
            let cost = worked(&store, 2, 50);
            assert_eq!(cost.attempts, 100);
            cost.keys
        };
        let (short, long) = (of_100_attempts(200), of_100_attempts(4_000));
        assert!(2 * long < 3 * short && long < 6_000, "of 100 attempts: {short} keys, {long} keys");
    }

    #[test]
    fn what_is_urgent_is_taken_first_and_then_senders_by_turns() {
        let store = Store::memory();
        filled(&store, 1_000);
        let settings = Settings::new(Domain::parse("mx.a.example").unwrap());
        let plan = store.read_blocking(move |tx| plan(tx, NOW, 500, &Board::default(), &settings, &Probes::default())).unwrap();
        let order: Vec<(u8, u64)> = plan.picks.iter().map(|pick| (pick.parts[0].rank, pick.parts[0].tag)).collect();
        assert!(order.is_sorted(), "{order:?}");
        assert_eq!(order.iter().filter(|(rank, _)| *rank == 7).count(), 100, "all that is urgent");
        assert!(plan.picks.iter().all(|pick| pick.parts[0].receipt.0 % 10 != 3), "nothing whose time has not come");
    }

    /// `POSTRIDER_QUEUE_SIZES=1000,10000 cargo test --profile ci -p postrider-mta --lib -- --ignored --nocapture cost`
    #[test]
    #[ignore = "takes minutes: it fills queues on disk"]
    fn cost_of_an_attempt_by_the_length_of_the_queue() {
        let sizes = std::env::var("POSTRIDER_QUEUE_SIZES").unwrap_or_else(|_| "1000,10000,100000,1000000".to_owned());
        for size in sizes.split(',').map(|size| size.parse().unwrap()) {
            let place = std::env::temp_dir().join(format!("postrider-queue-cost-{}-{size}", std::process::id()));
            let store = Store::open(&store::Settings::at(Path::new(&place))).unwrap();
            let (began, cpu) = (std::time::Instant::now(), cpu_micros());
            filled(&store, size);
            println!("{size}: filled in {:?}, {} µs of CPU each", began.elapsed(), (cpu_micros() - cpu) / size);
            let Cost { attempts, keys, cpu_micros } = worked(&store, 8, 100);
            let each = |of: u64| of / attempts as u64;
            println!("{size}: {attempts} attempts, {} keys and {} µs of CPU each", each(keys), each(cpu_micros));
            drop(store);
            std::fs::remove_dir_all(&place).unwrap();
        }
    }
}
