//! What is being worked on: the transactions that wait for a connection, and how each destination is.
//!
//! In memory only: everything on it is marked as taken in the store and put back after a crash.
//!
//! A destination has a *line* of transactions, in the store's order (rank, then tag). Destinations whose first mail
//! exchanger is the same, or is named by one limit, belong to one *provider*: they share what it is allowed, and a
//! connection goes on with the mail of another when their exchangers are the same.
//!
//! Room: one destination, provider or sender has a part of the window only, and the last quarter of it is for those
//! who have little there. Of the connections, too, the last quarter is for senders who have few.
//!
//! Invariant: what is on the board stays taken in the store until the outcomes of all jobs of the part are
//! committed; so nothing is leased twice.

use super::schedule::{self, Start, Waiting};
use crate::route::Destination;
use crate::settings::Queue as Settings;
use mail::{Domain, Priority, ReceiptId, Timestamp};
use net::Clock;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use store::QueueMessage;
use tokio::sync::Notify;

/// How far a line is searched for a job whose sender may have another connection.
const SEARCHED_MAX: usize = 32;
/// How often connections are dealt out at once.
const ROUNDS: usize = 3;
/// How many lines of a provider are looked at for a connection that could go on with another's mail.
const NEIGHBOURS_MAX: usize = 64;
/// Most destinations that are remembered for their last trouble alone.
const REMEMBERED_MAX: usize = 2_000;
/// How often lines are looked at that may be forgotten.
const SWEEP_EVERY: Duration = Duration::from_secs(5);

/// One transaction to be: a message and those of its recipients that go the same way.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    pub(crate) message: Arc<QueueMessage>,
    /// Where it goes.
    pub(crate) destination: Destination,
    /// Places in the message's list of recipients.
    pub(crate) recipients: Vec<usize>,
    /// The store's parts that it is of.
    pub(crate) lanes: Vec<Domain>,
    /// The store's order.
    pub(crate) rank: u8,
    pub(crate) tag: u64,
    /// Its turn in its line, once it has one.
    pub(crate) turn: Option<u64>,
    /// Who takes turns with others.
    pub(crate) sender: Arc<str>,
    /// It was given back once because its connection turned out to be stale.
    pub(crate) given_back: bool,
    /// A connection has it.
    pub(crate) active: bool,
}

/// Whether there is room for a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Room {
    Free,
    /// Its destination is left alone until then, because of this.
    Down(Timestamp, String),
    /// Its destination, or its provider, has enough waiting.
    Full,
    /// Its sender has.
    SenderFull,
}

/// What is known of a domain's mail exchangers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Exchangers {
    /// Who runs them.
    pub(crate) provider: String,
    /// Those that mail goes to first, in order of their names; what makes two destinations the same.
    pub(crate) hosts: Vec<Domain>,
}

/// A destination as it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DestinationView {
    /// Where mail goes.
    pub destination: String,
    /// Who runs its hosts, if that is known.
    pub provider: Option<String>,
    /// Transactions that wait for a connection.
    pub waiting: usize,
    /// Connections that it has.
    pub connections: u32,
    /// Connections that it may have now.
    pub allowed: u32,
    /// Whether these are fewer than at first.
    pub is_slowed: bool,
    /// The time between two messages, if they are spaced.
    pub pace: Duration,
    /// Until when it is left alone.
    pub down_until: Option<Timestamp>,
    /// What it said or did last that was not success.
    pub last: Option<(Timestamp, String)>,
}

/// The board. Clones are the same board.
#[derive(Debug, Clone, Default)]
pub(crate) struct Board(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    lines: BTreeMap<Destination, Line>,
    providers: BTreeMap<String, Provider>,
    /// How many jobs of each part are not finished.
    parts: BTreeMap<(ReceiptId, Domain), usize>,
    /// Messages with the number of their jobs: jobs of one message share it.
    messages: BTreeMap<ReceiptId, (Arc<QueueMessage>, usize)>,
    senders: BTreeMap<Arc<str>, Share>,
    jobs: usize,
    active: u32,
    /// Makes places in lines unique.
    serial: u64,
    sweep_at: Option<Timestamp>,
    closing: bool,
}

/// What a sender has of the board.
#[derive(Debug, Default, Clone, Copy)]
struct Share {
    jobs: usize,
    active: u32,
}

#[derive(Debug)]
struct Provider {
    state: schedule::Destination,
    lines: BTreeSet<Destination>,
    waiting: usize,
}

type Place = (u8, u64, u64);

#[derive(Debug)]
struct Line {
    state: schedule::Destination,
    jobs: BTreeMap<Place, Job>,
    arrived: Arc<Notify>,
    exchangers: Option<Exchangers>,
    /// How far each rank has come, and where the next job of each sender in it begins: who had much taken from the store
    /// before another came does not go before that one here.
    progress: BTreeMap<u8, u64>,
    turns: BTreeMap<(u8, Arc<str>), u64>,
}

impl Line {
    fn new(destination: &Destination, settings: &Settings) -> Self {
        let state = schedule::Destination::new(settings.bounds_of(destination));
        let (progress, turns) = (BTreeMap::new(), BTreeMap::new());
        Self { state, jobs: BTreeMap::new(), arrived: Arc::default(), exchangers: None, progress, turns }
    }

    /// Where a job stands that comes into the line.
    fn turn(&mut self, job: &Job) -> u64 {
        if self.jobs.is_empty() {
            self.turns.clear();
        }
        let progress = self.progress.get(&job.rank).copied().unwrap_or_default();
        let next = self.turns.entry((job.rank, Arc::clone(&job.sender))).or_default();
        let turn = progress.max(*next);
        *next = turn + 1;
        turn
    }

    /// The store's order of the first job: rank, then tag.
    fn order(&self) -> Option<(u8, u64)> {
        self.jobs.first_key_value().map(|(_, job)| (job.rank, job.tag))
    }

    fn first(&self) -> Option<Place> {
        self.jobs.first_key_value().map(|(place, _)| *place)
    }
}

impl Board {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Resolves when a connection ended or a job was finished.
    pub(crate) async fn changed(&self) {
        self.0.changed.notified().await;
    }

    /// How many jobs are on the board.
    pub(crate) fn len(&self) -> usize {
        self.state().jobs
    }

    /// Whether a job for a destination has room, when so many of the destination and of the sender are to come
    /// before it.
    pub(crate) fn room(
        &self,
        destination: &Destination,
        (sender, rank): (&str, u8),
        before: [usize; 3],
        now: Timestamp,
        settings: &Settings,
    ) -> Room {
        let state = self.state();
        let [all, of_destination, of_sender] = before;
        let crowded = (state.jobs + all) * 4 >= settings.window_max * 3;
        let little = (settings.window_max / 16).max(1);
        // What is more urgent than most finds room where the others have taken it.
        let is_urgent = rank < store::rank(Priority::NORMAL);
        let is_full = |has: usize, max: usize| if is_urgent { has >= 2 * max } else { has >= max || (crowded && has >= little) };
        let line = state.lines.get(destination);
        let provider = line.and_then(|line| state.provider(line));
        for known in line.map(|line| &line.state).into_iter().chain(provider.map(|provider| &provider.state)) {
            if let Some(until) = known.down_until.filter(|until| *until > now) {
                let words = known.last.as_ref().map_or("the destination cannot be reached", |(_, words)| words);
                return Room::Down(until, words.to_owned());
            }
        }
        if is_full(line.map_or(0, |line| line.jobs.len()) + of_destination, settings.waiting_max)
            || provider.is_some_and(|provider| is_full(provider.waiting + of_destination, settings.waiting_max))
        {
            return Room::Full;
        }
        let has = state.senders.get(sender).map_or(0, |share| share.jobs) + of_sender;
        if is_full(has, settings.sender_waiting_max) { Room::SenderFull } else { Room::Free }
    }

    /// Puts a job on the board. One for our own mailboxes, or one that is dealt with at once, is in no line.
    pub(crate) fn put(&self, mut job: Job, in_line: bool, settings: &Settings) -> Job {
        let mut state = self.state();
        job.message = state.enter(&job);
        if in_line {
            state.lines.entry(job.destination.clone()).or_insert_with(|| Line::new(&job.destination, settings));
            state.queue(job.clone());
        }
        job
    }

    /// A job leaves the board, because of an outcome that is about to be written; the lanes whose part of the message
    /// is finished by it are returned.
    pub(crate) fn leave(&self, job: &Job) -> Vec<Domain> {
        let released = self.state().leave(job);
        self.0.changed.notify_one();
        released
    }

    /// Takes a job for each connection that may be opened now.
    pub(crate) fn starts(&self, now: Timestamp, settings: &Settings) -> Vec<Job> {
        let mut state = self.state();
        if state.active >= settings.connections_total_max || state.closing {
            return Vec::new();
        }
        state.sweep(now);
        let mut jobs = Vec::new();
        // Who gets one may have enough by it, so that others come to have what was meant for the rest.
        for _ in 0..ROUNDS {
            let starts = schedule::schedule(now, state.waiting(settings), state.active, settings);
            let before = jobs.len();
            for start in starts {
                jobs.extend(state.start(&start, now, settings));
            }
            if jobs.len() == before || state.active >= settings.connections_total_max {
                break;
            }
        }
        jobs
    }

    /// When the next destination with waiting mail is no longer to be left alone.
    pub(crate) fn next_up(&self, now: Timestamp) -> Option<Timestamp> {
        let state = self.state();
        let waiting = state.lines.values().filter(|line| !line.jobs.is_empty());
        let known = waiting.flat_map(|line| [Some(&line.state), state.provider(line).map(|provider| &provider.state)]);
        let moments = known.flatten().flat_map(|known| [known.down_until, Some(known.next_message())]);
        moments.flatten().filter(|at| *at > now).min()
    }

    /// The next job for an open connection; waits up to `linger` for one.
    pub(crate) async fn next(&self, destination: &Destination, linger: Duration, clock: &dyn Clock) -> Option<Job> {
        let arrived = Arc::clone(&self.state().lines.get(destination)?.arrived);
        let idle = Idle::new(self, destination);
        let deadline = tokio::time::Instant::now() + linger;
        loop {
            let wait = match self.state().take_one(destination, clock.wall()) {
                Next::Job(job) => return Some(*job),
                Next::Over => break,
                Next::Wait(wait) => wait,
            };
            let until = wait.map_or(deadline, |wait| tokio::time::Instant::now() + wait);
            if until > deadline || (wait.is_none() && until <= tokio::time::Instant::now()) {
                break;
            }
            let _ = tokio::time::timeout_at(until, arrived.notified()).await;
        }
        drop(idle);
        None
    }

    /// Most messages over one connection to a destination, by its own limit and its provider's.
    pub(crate) fn messages_max(&self, destination: &Destination, settings: &Settings) -> usize {
        let state = self.state();
        let Some(line) = state.lines.get(destination) else { return settings.messages_per_connection };
        let provider = state.provider(line).map(|provider| provider.state.bounds().messages_max);
        line.state.bounds().messages_max.min(provider.unwrap_or(usize::MAX))
    }

    /// A destination whose mail a connection of another could take: it has the same exchangers, and its first job comes
    /// before all that waits for the connection's own. Not one of `but`.
    pub(crate) fn neighbour(&self, destination: &Destination, but: &BTreeSet<Destination>) -> Option<Destination> {
        let state = self.state();
        let own = state.lines.get(destination)?;
        let (known, first) = (own.exchangers.as_ref()?, own.order());
        let provider = state.providers.get(&known.provider)?;
        let others = provider.lines.iter().filter(|other| *other != destination && other.shares(destination) && !but.contains(*other));
        let first_of = |other: &Destination| {
            let line = state.lines.get(other)?;
            let before = line.order().filter(|order| first.is_none_or(|first| *order < first))?;
            (line.exchangers.as_ref()?.hosts == known.hosts).then_some(before)
        };
        let found = others.take(NEIGHBOURS_MAX).filter_map(|other| Some((first_of(other)?, other)));
        found.min_by_key(|(order, _)| *order).map(|(_, other)| other.clone())
    }

    /// The next job of another destination, for a connection that was opened for `destination`.
    pub(crate) fn take_from(&self, neighbour: &Destination, now: Timestamp) -> Option<Job> {
        match self.state().take_one(neighbour, now) {
            Next::Job(job) => Some(*job),
            Next::Over | Next::Wait(_) => None,
        }
    }

    /// A connection has found out who its destination's exchangers are. False: their provider has connections
    /// enough, and this one is not to be made.
    pub(crate) fn learn(&self, destination: &Destination, exchangers: Exchangers, now: Timestamp, settings: &Settings) -> bool {
        let mut guard = self.state();
        let state = &mut *guard;
        let Some(line) = state.lines.get_mut(destination) else { return true };
        if line.exchangers.as_ref() == Some(&exchangers) {
            return true;
        }
        let bounds = || exchangers.hosts.first().map_or_else(|| settings.bounds(), |host| settings.provider_of(host).1);
        let new = || Provider { state: schedule::Destination::new(bounds()), lines: BTreeSet::new(), waiting: 0 };
        let (waiting, active) = (line.jobs.len(), line.state.active);
        if let Some(before) = line.exchangers.take().and_then(|before| state.providers.get_mut(&before.provider)) {
            before.lines.remove(destination);
            before.waiting = before.waiting.saturating_sub(waiting);
            before.state.active = before.state.active.saturating_sub(active);
        }
        let provider = state.providers.entry(exchangers.provider.clone()).or_insert_with(new);
        provider.lines.insert(destination.clone());
        provider.waiting += waiting;
        provider.state.active += active;
        line.exchangers = Some(exchangers);
        let may = !provider.state.has_too_many() && !provider.state.is_down(now) && provider.state.next_message() <= now;
        if may {
            provider.state.leaves(now);
        }
        drop(guard);
        // Others may follow now.
        self.0.changed.notify_one();
        may
    }

    /// Puts those recipients of a job that the server did not want in the same transaction in a line of their own,
    /// at the front (RFC 5321 §4.5.3.1.10).
    pub(crate) fn split(&self, job: Job) {
        let mut state = self.state();
        state.enter(&job);
        state.queue(job);
        drop(state);
        self.0.changed.notify_one();
    }

    /// Puts a job back to the front of its line: its connection broke before the message was on its way.
    pub(crate) fn give_back(&self, job: Job) {
        self.state().requeue(Job { given_back: true, ..job });
        self.0.changed.notify_one();
    }

    /// Puts a job back to the front of its line: its provider has connections enough.
    pub(crate) fn put_off(&self, job: Job) {
        self.state().requeue(job);
        self.0.changed.notify_one();
    }

    /// The destination took or refused a message in an orderly way.
    pub(crate) fn succeeded(&self, destination: &Destination) {
        self.state().each(destination, schedule::Destination::succeeded);
    }

    /// The destination said that it has enough.
    pub(crate) fn complained(&self, destination: &Destination, words: &str, now: Timestamp) {
        self.state().each(destination, |known| known.complained(now, words));
    }

    /// The destination could not be reached for this job. Gives the jobs that have failed by that: none
    /// if other connections are at work, one of which may take it; all that wait if there are none.
    pub(crate) fn unreachable(&self, job: Job, words: &str, now: Timestamp, settings: &Settings) -> Vec<Job> {
        let mut state = self.state();
        let Some(line) = state.lines.get_mut(&job.destination) else { return vec![job] };
        line.state.unreachable(now, words, settings);
        let down = line.state.is_down(now);
        if !down && !job.given_back {
            state.requeue(Job { given_back: true, ..job });
            return Vec::new();
        }
        let destination = job.destination.clone();
        let others = if down { state.drain(&destination, |_| true) } else { Vec::new() };
        [job].into_iter().chain(others).collect()
    }

    /// Destinations for the mail of which somebody asked are left alone no more.
    pub(crate) fn forget_down(&self, is_meant: impl Fn(&Destination) -> bool) {
        let mut state = self.state();
        let meant: Vec<Destination> = state.lines.keys().filter(|destination| is_meant(destination)).cloned().collect();
        for destination in meant {
            state.each(&destination, |known| known.down_until = None);
        }
    }

    /// Takes everything that waits for a destination: nothing can be sent there at all.
    pub(crate) fn give_up(&self, destination: &Destination) -> Vec<Job> {
        self.state().drain(destination, |_| true)
    }

    /// Takes what waits for a connection and is for one of these domains.
    pub(crate) fn withdraw(&self, suspended: &BTreeSet<Domain>) -> Vec<Job> {
        let mut state = self.state();
        let destinations: Vec<Destination> = state.lines.keys().cloned().collect();
        let is_meant = |job: &Job| job.lanes.iter().any(|lane| suspended.contains(lane));
        destinations.iter().flat_map(|destination| state.drain(destination, is_meant)).collect()
    }

    /// A connection has ended.
    pub(crate) fn ended(&self, destination: &Destination) {
        let mut state = self.state();
        state.active = state.active.saturating_sub(1);
        state.each(destination, |known| known.active = known.active.saturating_sub(1));
        drop(state);
        self.0.changed.notify_one();
    }

    /// No more jobs are given to open connections.
    pub(crate) fn close(&self) {
        let mut state = self.state();
        state.closing = true;
        for line in state.lines.values() {
            line.arrived.notify_waiters();
        }
    }

    /// Every destination that something is known of.
    pub(crate) fn view(&self) -> Vec<DestinationView> {
        let state = self.state();
        let view = |(destination, line): (&Destination, &Line)| DestinationView {
            destination: destination.to_string(),
            provider: line.exchangers.as_ref().map(|known| known.provider.clone()),
            waiting: line.jobs.len(),
            connections: line.state.active,
            allowed: line.state.allowed,
            is_slowed: line.state.is_slowed(),
            pace: line.state.pace,
            down_until: line.state.down_until,
            last: line.state.last.clone(),
        };
        state.lines.iter().map(view).collect()
    }
}

/// What there is for an open connection.
enum Next {
    Job(Box<Job>),
    /// Nothing now; perhaps after this time, or when something arrives.
    Wait(Option<Duration>),
    /// The connection is to end.
    Over,
}

impl State {
    fn provider(&self, line: &Line) -> Option<&Provider> {
        self.providers.get(&line.exchangers.as_ref()?.provider)
    }

    /// The lines that could do with a connection.
    fn waiting<'a>(&'a self, settings: &'a Settings) -> impl Iterator<Item = Waiting<'a, Destination, &'a str>> {
        self.lines.iter().filter_map(|(key, line)| {
            let place = self.startable(line, settings)?;
            let (rank, tag) = line.jobs.get(&place).map(|job| (job.rank, job.tag))?;
            let provider = line.exchangers.as_ref().map(|known| known.provider.as_str());
            let provider = provider.and_then(|name| Some((name, &self.providers.get(name)?.state)));
            // One finds out whose exchangers they are before others follow.
            let is_known = line.exchangers.is_some() || !matches!(key, Destination::Mx(..));
            if !is_known && line.state.active > 0 {
                return None;
            }
            let waiting = if is_known { line.jobs.len() } else { 1 };
            Some(Waiting { key: key.clone(), waiting, first: (rank, tag), destination: &line.state, provider })
        })
    }

    /// Tells something to a destination's feedback and to its provider's.
    fn each(&mut self, destination: &Destination, tell: impl Fn(&mut schedule::Destination)) {
        let Some(line) = self.lines.get_mut(destination) else { return };
        tell(&mut line.state);
        if let Some(provider) = line.exchangers.as_ref().and_then(|known| self.providers.get_mut(&known.provider)) {
            tell(&mut provider.state);
        }
    }

    /// Counts a job; the message that it shares with others.
    fn enter(&mut self, job: &Job) -> Arc<QueueMessage> {
        self.jobs += 1;
        for lane in &job.lanes {
            *self.parts.entry((job.message.receipt, lane.clone())).or_default() += 1;
        }
        let share = self.senders.entry(Arc::clone(&job.sender)).or_default();
        share.jobs += 1;
        share.active += u32::from(job.active);
        let (message, jobs) = self.messages.entry(job.message.receipt).or_insert_with(|| (Arc::clone(&job.message), 0));
        *jobs += 1;
        Arc::clone(message)
    }

    fn leave(&mut self, job: &Job) -> Vec<Domain> {
        self.jobs = self.jobs.saturating_sub(1);
        if let Entry::Occupied(mut entry) = self.messages.entry(job.message.receipt) {
            entry.get_mut().1 = entry.get().1.saturating_sub(1);
            if entry.get().1 == 0 {
                entry.remove();
            }
        }
        if let Some(share) = self.senders.get_mut(&job.sender) {
            share.jobs = share.jobs.saturating_sub(1);
            share.active = share.active.saturating_sub(u32::from(job.active));
            if share.jobs == 0 {
                self.senders.remove(&job.sender);
            }
        }
        let mut released = Vec::new();
        for lane in &job.lanes {
            if let Entry::Occupied(mut entry) = self.parts.entry((job.message.receipt, lane.clone())) {
                *entry.get_mut() = entry.get().saturating_sub(1);
                if *entry.get() == 0 {
                    entry.remove();
                    released.push(lane.clone());
                }
            }
        }
        released
    }

    /// Puts a job into its line.
    fn queue(&mut self, job: Job) {
        self.serial += 1;
        let serial = self.serial;
        let Some(line) = self.lines.get_mut(&job.destination) else { return };
        let turn = job.turn.unwrap_or_else(|| line.turn(&job));
        line.jobs.insert((job.rank, turn, serial), Job { turn: Some(turn), ..job });
        line.arrived.notify_one();
        if let Some(provider) = line.exchangers.as_ref().and_then(|known| self.providers.get_mut(&known.provider)) {
            provider.waiting += 1;
        }
    }

    /// Puts a job that a connection had back into its line.
    fn requeue(&mut self, job: Job) {
        if job.active
            && let Some(share) = self.senders.get_mut(&job.sender)
        {
            share.active = share.active.saturating_sub(1);
        }
        self.queue(Job { active: false, ..job });
    }

    /// Takes a job out of its line, for a connection or because it is over.
    fn unqueue(&mut self, destination: &Destination, place: Place) -> Option<Job> {
        let line = self.lines.get_mut(destination)?;
        let job = line.jobs.remove(&place)?;
        let progress = line.progress.entry(place.0).or_default();
        *progress = place.1.max(*progress);
        if let Some(provider) = line.exchangers.as_ref().and_then(|known| self.providers.get_mut(&known.provider)) {
            provider.waiting = provider.waiting.saturating_sub(1);
        }
        Some(job)
    }

    fn drain(&mut self, destination: &Destination, is_meant: impl Fn(&Job) -> bool) -> Vec<Job> {
        let Some(line) = self.lines.get(destination) else { return Vec::new() };
        let places: Vec<Place> = line.jobs.iter().filter(|(_, job)| is_meant(job)).map(|(place, _)| *place).collect();
        places.into_iter().filter_map(|place| self.unqueue(destination, place)).collect()
    }

    /// Takes a job for a connection.
    fn take(&mut self, destination: &Destination, place: Place, now: Timestamp) -> Option<Job> {
        let mut job = self.unqueue(destination, place)?;
        job.active = true;
        if let Some(share) = self.senders.get_mut(&job.sender) {
            share.active += 1;
        }
        self.each(destination, |known| known.leaves(now));
        Some(job)
    }

    fn start(&mut self, start: &Start<Destination>, now: Timestamp, settings: &Settings) -> Vec<Job> {
        let mut jobs = Vec::new();
        for _ in 0..start.connections {
            let Some(place) = self.lines.get(&start.key).and_then(|line| self.startable(line, settings)) else { break };
            let Some(job) = self.take(&start.key, place, now) else { break };
            self.active += 1;
            self.each(&start.key, |known| known.active += 1);
            jobs.push(job);
        }
        jobs
    }

    /// The first job of a line whose sender may have another connection.
    fn startable(&self, line: &Line, settings: &Settings) -> Option<Place> {
        let crowded = self.active.saturating_mul(4) >= settings.connections_total_max.saturating_mul(3);
        let few = settings.connections_total_max.div_ceil(16);
        let may = |job: &Job| !crowded || self.senders.get(&job.sender).is_none_or(|share| share.active < few);
        line.jobs.iter().take(SEARCHED_MAX).find(|(_, job)| may(job)).map(|(place, _)| *place)
    }

    /// A job for a connection that is open already.
    fn take_one(&mut self, destination: &Destination, now: Timestamp) -> Next {
        let Some(line) = self.lines.get(destination).filter(|_| !self.closing) else { return Next::Over };
        let provider = self.provider(line).map(|provider| &provider.state);
        if line.state.has_too_many() || provider.is_some_and(schedule::Destination::has_too_many) {
            return Next::Over;
        }
        let Some(place) = line.first() else { return Next::Wait(None) };
        let at = provider.map_or(line.state.next_message(), |provider| provider.next_message().max(line.state.next_message()));
        if at > now {
            return Next::Wait(Some(at.since(now)));
        }
        self.take(destination, place, now).map_or(Next::Wait(None), |job| Next::Job(Box::new(job)))
    }

    /// Forgets destinations about which there is nothing left to remember.
    fn sweep(&mut self, now: Timestamp) {
        if self.sweep_at.is_some_and(|at| at > now) {
            return;
        }
        self.sweep_at = Some(now.after(SWEEP_EVERY));
        let providers = &mut self.providers;
        let full = self.lines.len() > REMEMBERED_MAX;
        self.lines.retain(|destination, line| {
            let keep = !line.jobs.is_empty() || !line.state.is_forgettable(now, full);
            if let Some(provider) = line.exchangers.as_ref().filter(|_| !keep).and_then(|known| providers.get_mut(&known.provider)) {
                provider.lines.remove(destination);
            }
            keep
        });
        providers.retain(|_, provider| !provider.lines.is_empty() || !provider.state.is_forgettable(now, full));
    }
}

/// Counts a connection as idle while it lives.
struct Idle<'a> {
    board: &'a Board,
    destination: &'a Destination,
}

impl<'a> Idle<'a> {
    fn new(board: &'a Board, destination: &'a Destination) -> Self {
        if let Some(line) = board.state().lines.get_mut(destination) {
            line.state.idle += 1;
        }
        Self { board, destination }
    }
}

impl Drop for Idle<'_> {
    fn drop(&mut self) {
        if let Some(line) = self.board.state().lines.get_mut(self.destination) {
            line.state.idle = line.state.idle.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mail::event::Source;
    use mail::{BlobHash, BodyType, ReversePath};
    use net::VirtualClock;

    const NOW: Timestamp = Timestamp(0);

    fn to(domain: &str) -> Destination {
        Destination::Mx(Domain::parse(domain).unwrap(), mail::TlsDemand::ByPolicy.into())
    }

    fn job(receipt: u64, sender: &str, domain: &str) -> Job {
        let message = QueueMessage {
            receipt: ReceiptId(receipt),
            source: Source::Mx,
            reverse_path: ReversePath(None),
            ret: None,
            envelope_id: None,
            body: BodyType::SevenBit,
            smtputf8: false,
            blob: BlobHash([0; 32]),
            skip_octets: 0,
            octets: 0,
            accepted: Timestamp(0),
            expires: Timestamp(0),
            held: false,
            account: None,
            recipients: Vec::new(),
            tls: mail::TlsDemand::ByPolicy,
            terms: mail::Terms::default(),
            return_paths: BTreeMap::new(),
            held_by: None,
            release_request: None,
        };
        Job {
            message: Arc::new(message),
            destination: to(domain),
            recipients: vec![0],
            lanes: vec![Domain::parse(domain).unwrap()],
            rank: 9,
            tag: receipt,
            turn: None,
            sender: sender.into(),
            given_back: false,
            active: false,
        }
    }

    fn settings() -> Settings {
        Settings { connections_initial: 2, waiting_max: 3, ..Settings::default() }
    }

    fn put(board: &Board, receipt: u64, domain: &str) {
        board.put(job(receipt, "ann", domain), true, &settings());
    }

    /// Whose exchangers they are is known: the destination may have more than one connection.
    fn known(board: &Board, domain: &str, settings: &Settings) {
        board.put(job(0, "nobody", domain), true, settings);
        board.learn(&to(domain), exchangers(domain, &[domain]), NOW, settings);
        board.give_up(&to(domain)).iter().for_each(|job| drop(board.leave(job)));
    }

    fn receipts(jobs: &[Job]) -> Vec<u64> {
        jobs.iter().map(|job| job.message.receipt.0).collect()
    }

    fn room(board: &Board, sender: &str, domain: &str, now: i64) -> Room {
        board.room(&to(domain), (sender, 9), [0; 3], Timestamp(now), &settings())
    }

    fn exchangers(provider: &str, hosts: &[&str]) -> Exchangers {
        Exchangers { provider: provider.to_owned(), hosts: hosts.iter().map(|host| Domain::parse(host).unwrap()).collect() }
    }

    #[test]
    fn a_part_is_released_when_all_its_jobs_have_left() {
        let board = Board::default();
        known(&board, "a.x", &settings());
        put(&board, 1, "a.x");
        put(&board, 1, "a.x");
        put(&board, 1, "b.x");
        let jobs = board.starts(NOW, &settings());
        assert_eq!(receipts(&jobs), [1, 1, 1]);
        assert!(jobs.iter().all(|job| Arc::ptr_eq(&job.message, &jobs[0].message)), "the message is in memory once");
        let released: Vec<_> = jobs.iter().map(|job| board.leave(job).len()).collect();
        assert_eq!((released, board.len()), (vec![0, 1, 1], 0));
        let state = board.state();
        assert!(state.messages.is_empty() && state.senders.is_empty() && state.parts.is_empty());
    }

    #[test]
    fn a_line_keeps_the_order_of_the_store_also_for_what_comes_back() {
        let board = Board::default();
        known(&board, "a.x", &settings());
        for (receipt, rank) in [(1, 9), (2, 13), (3, 9), (4, 6)] {
            board.put(Job { rank, ..job(receipt, "ann", "a.x") }, true, &settings());
        }
        let first = board.starts(NOW, &settings());
        assert_eq!(receipts(&first), [4, 1]);
        board.give_back(first[1].clone());
        let mut order = Vec::new();
        while let Some(job) = board.take_from(&to("a.x"), NOW) {
            order.push(job.message.receipt.0);
        }
        assert_eq!(order, [1, 3, 2]);
    }

    #[test]
    fn room_ends_where_a_destination_or_a_sender_has_enough() {
        let board = Board::default();
        for receipt in 1..=3 {
            put(&board, receipt, "a.x");
        }
        assert_eq!((room(&board, "ann", "a.x", 0), room(&board, "ann", "b.x", 0)), (Room::Full, Room::Free));
        let settings = Settings { sender_waiting_max: 3, ..settings() };
        let room = |sender, before| board.room(&to("b.x"), (sender, 9), before, NOW, &settings);
        assert_eq!((room("ann", [0; 3]), room("bob", [0; 3]), room("bob", [2, 0, 2])), (Room::SenderFull, Room::Free, Room::Free));
        assert_eq!((room("bob", [3, 0, 3]), room("bob", [3, 3, 0])), (Room::SenderFull, Room::Full), "what is to come counts");
    }

    #[test]
    fn the_last_quarter_of_the_window_is_for_those_who_have_little_there() {
        let board = Board::default();
        let settings = Settings { window_max: 16, waiting_max: 100, sender_waiting_max: 100, ..Settings::default() };
        for receipt in 0..12 {
            board.put(job(receipt, "bulk", &format!("{receipt}.x")), true, &settings);
        }
        let room = |sender, domain| board.room(&to(domain), (sender, 9), [0; 3], NOW, &settings);
        assert_eq!((room("bulk", "new.x"), room("ann", "new.x"), room("ann", "0.x")), (Room::SenderFull, Room::Free, Room::Full));
    }

    #[test]
    fn the_last_quarter_of_the_connections_is_for_senders_who_have_few() {
        let board = Board::default();
        let settings = Settings { connections_total_max: 8, ..Settings::default() };
        for receipt in 0..20 {
            board.put(job(receipt, "bulk", &format!("{receipt}.x")), true, &settings);
        }
        let mut jobs = board.starts(NOW, &settings);
        while let [job, ..] = board.starts(NOW, &settings).as_slice() {
            jobs.push(job.clone());
        }
        assert_eq!(jobs.len(), 6);
        board.put(job(99, "ann", "19.x"), true, &settings);
        assert_eq!(receipts(&board.starts(NOW, &settings)), [99], "it overtakes in its line too");
    }

    #[test]
    fn senders_take_turns_in_a_line_whoever_came_first() {
        let board = Board::default();
        for (receipt, sender) in [(1, "bulk"), (2, "bulk"), (3, "bulk"), (4, "bulk")] {
            board.put(job(receipt, sender, "a.x"), true, &settings());
        }
        let next = || board.take_from(&to("a.x"), NOW).map(|job| job.message.receipt.0);
        assert_eq!(next(), Some(1));
        board.put(job(5, "ann", "a.x"), true, &settings());
        assert_eq!([next(), next(), next(), next()], [Some(5), Some(2), Some(3), Some(4)]);
    }

    #[test]
    fn a_destination_that_is_down_is_tried_again_once_that_is_forgotten() {
        let board = Board::default();
        for domain in ["a.x", "b.x"] {
            put(&board, 1, domain);
            let job = board.starts(NOW, &settings()).remove(0);
            assert_eq!(board.unreachable(job, "refused", NOW, &settings()).len(), 1);
            board.ended(&to(domain));
            assert_eq!(room(&board, "ann", domain, 0), Room::Down(Timestamp(30_000), "refused".to_owned()));
        }
        board.forget_down(|destination| *destination == to("a.x"));
        assert_eq!(room(&board, "ann", "a.x", 0), Room::Free);
        assert!(matches!(room(&board, "ann", "b.x", 0), Room::Down(..)), "nobody asked for it");
    }

    #[test]
    fn an_unreachable_destination_takes_all_that_waits_with_it_unless_others_are_at_work() {
        let board = Board::default();
        known(&board, "a.x", &settings());
        for receipt in 1..=3 {
            put(&board, receipt, "a.x");
        }
        let mut started = board.starts(NOW, &settings());
        assert_eq!(receipts(&started), [1, 2]);
        let second = started.pop().unwrap();
        assert!(board.unreachable(second, "", NOW, &settings()).is_empty(), "the other connection may take it");
        board.ended(&to("a.x"));
        let first = started.pop().unwrap();
        assert_eq!(receipts(&board.unreachable(first, "", NOW, &settings())), [1, 2, 3]);
        assert_eq!(board.next_up(NOW), None, "nothing waits");
    }

    #[test]
    fn destinations_of_one_provider_share_its_connections_and_its_fate() {
        let board = Board::default();
        let settings = Settings { connections_initial: 2, connections_max: 2, ..Settings::default() };
        let known = exchangers("mx.p", &["mx.p"]);
        for (receipt, domain) in [(1, "a.x"), (2, "b.x"), (3, "c.x")] {
            board.put(job(receipt, "ann", domain), true, &settings);
        }
        let jobs = board.starts(NOW, &settings);
        let learnt: Vec<bool> = jobs.iter().map(|job| board.learn(&job.destination, known.clone(), NOW, &settings)).collect();
        assert_eq!(learnt, [true, true, false], "two connections are allowed");
        board.give_back(jobs[2].clone());
        board.ended(&to("c.x"));
        assert_eq!(receipts(&board.starts(NOW, &settings)), Vec::<u64>::new(), "it waits for the provider");
        assert_eq!(board.neighbour(&to("a.x"), &BTreeSet::new()), Some(to("c.x")), "or goes with another's connection");
        assert_eq!(board.neighbour(&to("a.x"), &[to("c.x")].into()), None);
        board.complained(&to("a.x"), "421 enough", NOW);
        assert!(board.take_from(&to("b.x"), NOW).is_none());
        board.ended(&to("a.x"));
        board.ended(&to("b.x"));
        assert_eq!(receipts(&board.starts(NOW, &settings)), [3]);
    }

    #[test]
    fn a_connection_goes_on_only_with_mail_for_the_same_hosts() {
        let board = Board::default();
        for (receipt, domain, hosts) in [(1, "a.x", &["m1.p", "m2.p"][..]), (2, "b.x", &["m1.p"]), (3, "c.x", &["m1.p", "m2.p"])] {
            put(&board, receipt, domain);
            board.learn(&to(domain), exchangers("p", hosts), NOW, &settings());
        }
        assert_eq!(board.neighbour(&to("a.x"), &BTreeSet::new()), None, "its own comes first");
        assert_eq!(board.take_from(&to("a.x"), NOW).map(|job| job.message.receipt.0), Some(1));
        assert_eq!(board.neighbour(&to("a.x"), &BTreeSet::new()), Some(to("c.x")));
    }

    #[test]
    fn what_is_suspended_is_withdrawn_and_nothing_else() {
        let board = Board::default();
        put(&board, 1, "a.x");
        put(&board, 2, "b.x");
        assert_eq!(receipts(&board.withdraw(&[Domain::parse("a.x").unwrap()].into())), [1]);
        assert_eq!(receipts(&board.starts(NOW, &settings())), [2]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_connection_gets_the_next_message_or_ends() {
        let (board, clock) = (Board::default(), VirtualClock::starting_at(NOW));
        put(&board, 1, "a.x");
        let key = board.starts(NOW, &settings()).remove(0).destination;
        let waiting = board.next(&key, Duration::from_secs(2), &clock);
        let arriving = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            put(&board, 2, "a.x");
            assert_eq!(board.starts(NOW, &settings()).len(), 0, "the idle connection takes it");
        };
        let (next, ()) = tokio::join!(waiting, arriving);
        assert_eq!(next.map(|job| job.message.receipt.0), Some(2));
        let began = tokio::time::Instant::now();
        assert!(board.next(&key, Duration::from_secs(2), &clock).await.is_none());
        assert_eq!(began.elapsed(), Duration::from_secs(2));
        board.close();
        put(&board, 3, "a.x");
        assert!(board.next(&key, Duration::from_secs(2), &clock).await.is_none(), "no more work once it is closed");
    }
}
