//! What is being worked on: the transactions that wait for a connection, and how each destination is.
//!
//! In memory only: everything on it can be read again from the store.
//!
//! Invariant: a message is on the board at most once, and stays until the outcomes of all its jobs
//! are committed; so nothing is leased twice.

use super::schedule::{self, Start, Waiting};
use crate::route::Destination;
use crate::settings::Queue as Settings;
use mail::{Priority, ReceiptId, Timestamp};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use store::QueueMessage;
use tokio::sync::Notify;

/// One transaction to be: a message and those of its recipients that go the same way.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    pub(crate) message: Arc<QueueMessage>,
    /// Places in the message's list of recipients.
    pub(crate) recipients: Vec<usize>,
    /// It was given back once because its connection turned out to be stale.
    pub(crate) given_back: bool,
}

impl Job {
    fn priority(&self) -> Priority {
        self.message.terms.priority
    }
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
    /// How many jobs of each message are not finished.
    messages: BTreeMap<ReceiptId, usize>,
    active: u32,
    closing: bool,
}

#[derive(Debug)]
struct Line {
    destination: schedule::Destination,
    jobs: VecDeque<Job>,
    arrived: Arc<Notify>,
}

impl Line {
    fn new(settings: &Settings) -> Self {
        Self { destination: schedule::Destination::new(settings), jobs: VecDeque::new(), arrived: Arc::default() }
    }

    /// Behind what is as urgent or more so (RFC 6710 §5.3).
    fn enter(&mut self, job: Job) {
        let place = self.jobs.iter().rposition(|other| other.priority() >= job.priority()).map_or(0, |place| place + 1);
        self.jobs.insert(place, job);
    }

    /// Until when no more can wait here; what is more urgent than all that waits finds room.
    fn closed_until(&self, job: &Job, now: Timestamp, settings: &Settings) -> Option<Timestamp> {
        let urgent = job.priority() > Priority::NORMAL && self.jobs.front().is_none_or(|first| first.priority() < job.priority());
        let crowded = (self.jobs.len() >= settings.waiting_max && !urgent).then(|| now.after(settings.crowded_wait));
        self.destination.down_until.filter(|until| *until > now).or(crowded)
    }
}

impl Board {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Resolves when a connection ended or a message was finished.
    pub(crate) async fn changed(&self) {
        self.0.changed.notified().await;
    }

    /// The messages on the board.
    pub(crate) fn messages(&self) -> BTreeSet<ReceiptId> {
        self.state().messages.keys().copied().collect()
    }

    /// How many messages are on the board.
    pub(crate) fn len(&self) -> usize {
        self.state().messages.len()
    }

    /// Puts a message's jobs on the board; those for destinations that are down or crowded are handed
    /// back with the moment until which they are, those for here without. A message that is there
    /// already is not taken again.
    pub(crate) fn put(
        &self,
        receipt: ReceiptId,
        jobs: Vec<(Destination, Job)>,
        now: Timestamp,
        settings: &Settings,
    ) -> Vec<(Job, Option<Timestamp>)> {
        let mut state = self.state();
        if jobs.is_empty() || state.messages.contains_key(&receipt) {
            return Vec::new();
        }
        state.messages.insert(receipt, jobs.len());
        let mut back = Vec::new();
        for (destination, job) in jobs {
            if destination == Destination::Local {
                back.push((job, None));
                continue;
            }
            let line = state.lines.entry(destination).or_insert_with(|| Line::new(settings));
            if let Some(until) = line.closed_until(&job, now, settings) {
                back.push((job, Some(until)));
                continue;
            }
            line.enter(job);
            line.arrived.notify_one();
        }
        back
    }

    /// One of the message's jobs is finished and committed.
    pub(crate) fn finished(&self, receipt: ReceiptId) {
        let mut state = self.state();
        if let Some(left) = state.messages.get_mut(&receipt) {
            *left -= 1;
            if *left == 0 {
                state.messages.remove(&receipt);
            }
        }
        drop(state);
        self.0.changed.notify_one();
    }

    /// Takes a job for each connection that may be opened now. Destinations about which there is
    /// nothing left to remember are forgotten.
    pub(crate) fn starts(&self, now: Timestamp, settings: &Settings) -> Vec<(Destination, Job)> {
        let mut state = self.state();
        state.lines.retain(|_, line| !line.jobs.is_empty() || !line.destination.is_forgettable(now));
        let active = state.active;
        let waiting = state.lines.iter().filter(|(_, line)| !line.jobs.is_empty());
        let waiting = waiting.map(|(key, line)| Waiting { key: key.clone(), waiting: line.jobs.len(), destination: &line.destination });
        let starts = schedule::schedule(now, waiting, active, settings);
        starts.into_iter().flat_map(|start| state.take(&start)).collect()
    }

    /// When the next destination with waiting mail is no longer to be left alone.
    pub(crate) fn next_up(&self, now: Timestamp) -> Option<Timestamp> {
        let state = self.state();
        let waiting = state.lines.values().filter(|line| !line.jobs.is_empty());
        waiting.filter_map(|line| line.destination.down_until).filter(|until| *until > now).min()
    }

    /// The next job for an open connection; waits up to `linger` for one.
    pub(crate) async fn next(&self, destination: &Destination, linger: Duration) -> Option<Job> {
        let arrived = match self.state().take_or_wait(destination)? {
            Ok(job) => return Some(job),
            Err(arrived) => arrived,
        };
        let idle = Idle { board: self, destination };
        let deadline = tokio::time::Instant::now() + linger;
        loop {
            let timely = tokio::time::timeout_at(deadline, arrived.notified()).await.is_ok();
            if let Some(job) = self.state().take_one(destination) {
                return Some(job);
            }
            if !timely || self.state().closing {
                drop(idle);
                return None;
            }
        }
    }

    /// Puts those recipients of a job that the server did not want in the same transaction in a line of their own,
    /// at the front (RFC 5321 §4.5.3.1.10).
    pub(crate) fn split(&self, destination: &Destination, job: Job) {
        let mut state = self.state();
        *state.messages.entry(job.message.receipt).or_default() += 1;
        if let Some(line) = state.lines.get_mut(destination) {
            line.jobs.push_front(job);
            line.arrived.notify_one();
        }
        drop(state);
        self.0.changed.notify_one();
    }

    /// Puts a job back to the front of its line: its connection broke before the message was on its way.
    pub(crate) fn give_back(&self, destination: &Destination, job: Job) {
        let mut state = self.state();
        if let Some(line) = state.lines.get_mut(destination) {
            line.jobs.push_front(Job { given_back: true, ..job });
        }
    }

    /// The destination took or refused a message in an orderly way.
    pub(crate) fn succeeded(&self, destination: &Destination, settings: &Settings) {
        if let Some(line) = self.state().lines.get_mut(destination) {
            line.destination.succeeded(settings);
        }
    }

    /// The destination could not be reached for this job. Gives the jobs that have failed by that: none
    /// if other connections are at work, one of which may take it; all that wait if there are none.
    pub(crate) fn unreachable(&self, destination: &Destination, job: Job, now: Timestamp, settings: &Settings) -> Vec<Job> {
        let mut state = self.state();
        let Some(line) = state.lines.get_mut(destination) else { return vec![job] };
        line.destination.unreachable(now, settings);
        let down = line.destination.is_down(now);
        if !down && !job.given_back {
            line.jobs.push_front(Job { given_back: true, ..job });
            line.arrived.notify_one();
            return Vec::new();
        }
        let others = if down { line.jobs.len() } else { 0 };
        [job].into_iter().chain(line.jobs.drain(..others)).collect()
    }

    /// No destination is left alone any more.
    pub(crate) fn forget_down(&self) {
        for line in self.state().lines.values_mut() {
            line.destination.down_until = None;
        }
    }

    /// Takes everything that waits for a destination: nothing can be sent there at all.
    pub(crate) fn give_up(&self, destination: &Destination) -> Vec<Job> {
        let mut state = self.state();
        state.lines.get_mut(destination).map(|line| line.jobs.drain(..).collect()).unwrap_or_default()
    }

    /// A connection has ended.
    pub(crate) fn ended(&self, destination: &Destination) {
        let mut state = self.state();
        state.active = state.active.saturating_sub(1);
        if let Some(line) = state.lines.get_mut(destination) {
            line.destination.active = line.destination.active.saturating_sub(1);
        }
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
}

impl State {
    fn take(&mut self, start: &Start<Destination>) -> Vec<(Destination, Job)> {
        let Some(line) = self.lines.get_mut(&start.key) else { return Vec::new() };
        let count = usize::try_from(start.connections).unwrap_or(usize::MAX).min(line.jobs.len());
        let jobs: Vec<_> = line.jobs.drain(..count).map(|job| (start.key.clone(), job)).collect();
        let taken = u32::try_from(jobs.len()).unwrap_or(u32::MAX);
        line.destination.active += taken;
        self.active += taken;
        jobs
    }

    fn take_one(&mut self, destination: &Destination) -> Option<Job> {
        if self.closing {
            return None;
        }
        let job = self.lines.get_mut(destination)?.jobs.pop_front()?;
        Some(job)
    }

    /// A job at once, or what to wait for, with the connection counted as idle.
    fn take_or_wait(&mut self, destination: &Destination) -> Option<Result<Job, Arc<Notify>>> {
        if let Some(job) = self.take_one(destination) {
            return Some(Ok(job));
        }
        let line = self.lines.get_mut(destination).filter(|_| !self.closing)?;
        line.destination.idle += 1;
        Some(Err(Arc::clone(&line.arrived)))
    }
}

/// Counts a connection as idle while it lives.
struct Idle<'a> {
    board: &'a Board,
    destination: &'a Destination,
}

impl Drop for Idle<'_> {
    fn drop(&mut self) {
        if let Some(line) = self.board.state().lines.get_mut(self.destination) {
            line.destination.idle = line.destination.idle.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mail::event::Source;
    use mail::{BlobHash, BodyType, Domain, ReversePath};

    fn to(domain: &str) -> Destination {
        Destination::Mx(Domain::parse(domain).unwrap(), mail::TlsDemand::ByPolicy)
    }

    fn job(receipt: u64) -> Job {
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
            return_paths: std::collections::BTreeMap::new(),
        };
        Job { message: Arc::new(message), recipients: vec![0], given_back: false }
    }

    fn settings() -> Settings {
        Settings { connections_initial: 2, waiting_max: 3, ..Settings::default() }
    }

    fn put(board: &Board, receipt: u64, destination: &str) -> Vec<Option<Timestamp>> {
        let jobs = vec![(to(destination), job(receipt))];
        board.put(ReceiptId(receipt), jobs, Timestamp(0), &settings()).into_iter().map(|(_, until)| until).collect()
    }

    fn receipts(jobs: &[(Destination, Job)]) -> Vec<u64> {
        jobs.iter().map(|(_, job)| job.message.receipt.0).collect()
    }

    #[test]
    fn a_message_is_on_the_board_once_until_all_its_jobs_are_finished() {
        let board = Board::default();
        let jobs = vec![(to("a.x"), job(1)), (to("b.x"), job(1))];
        board.put(ReceiptId(1), jobs, Timestamp(0), &settings());
        put(&board, 1, "a.x");
        assert_eq!(receipts(&board.starts(Timestamp(0), &settings())), [1, 1]);
        board.finished(ReceiptId(1));
        assert_eq!(board.len(), 1);
        board.finished(ReceiptId(1));
        assert_eq!(board.len(), 0);
    }

    #[test]
    fn what_is_urgent_goes_first_and_finds_room() {
        let board = Board::default();
        let urgent = |receipt, number| {
            let mut job = job(receipt);
            Arc::make_mut(&mut job.message).terms.priority = Priority::new(number).unwrap();
            let back = board.put(ReceiptId(receipt), vec![(to("a.x"), job)], Timestamp(0), &settings());
            back.into_iter().map(|(_, until)| until).collect::<Vec<_>>()
        };
        for (receipt, priority) in [(1, 0), (2, -4), (3, 0)] {
            assert_eq!(urgent(receipt, priority), []);
        }
        assert_eq!(urgent(4, 3), [], "there is room for what is more urgent than all");
        assert_eq!(urgent(5, 3), [Some(Timestamp(120_000))], "but not for more of it");
        let mut order = Vec::new();
        while let Some(job) = board.state().take_one(&to("a.x")) {
            order.push(job.message.receipt.0);
        }
        assert_eq!(order, [4, 1, 3, 2]);
    }

    #[test]
    fn a_destination_that_is_down_is_tried_again_once_that_is_forgotten() {
        let board = Board::default();
        put(&board, 1, "a.x");
        let (destination, job) = board.starts(Timestamp(0), &settings()).remove(0);
        board.unreachable(&destination, job, Timestamp(0), &settings());
        board.ended(&destination);
        assert!(matches!(put(&board, 2, "a.x").as_slice(), [Some(_)]));
        board.finished(ReceiptId(2));
        board.forget_down();
        assert_eq!(put(&board, 2, "a.x"), []);
        assert_eq!(receipts(&board.starts(Timestamp(0), &settings())), [2]);
    }

    #[test]
    fn what_has_no_place_is_handed_back() {
        let board = Board::default();
        for receipt in 1..=3 {
            assert_eq!(put(&board, receipt, "a.x"), []);
        }
        assert_eq!(put(&board, 4, "a.x"), [Some(Timestamp(120_000))], "crowded");
        assert_eq!(put(&board, 5, "b.x"), [], "another destination has room");
        let local = board.put(ReceiptId(6), vec![(Destination::Local, job(6))], Timestamp(0), &settings());
        assert!(matches!(local.as_slice(), [(_, None)]));
    }

    #[test]
    fn an_unreachable_destination_takes_all_that_waits_with_it_unless_others_are_at_work() {
        let board = Board::default();
        for receipt in 1..=3 {
            put(&board, receipt, "a.x");
        }
        let mut started = board.starts(Timestamp(0), &settings());
        assert_eq!(receipts(&started), [1, 2]);
        let (key, second) = started.pop().unwrap();
        assert!(board.unreachable(&key, second, Timestamp(0), &settings()).is_empty(), "the other connection may take it");
        board.ended(&key);
        let (_, first) = started.pop().unwrap();
        let failed: Vec<u64> = board.unreachable(&key, first, Timestamp(0), &settings()).iter().map(|job| job.message.receipt.0).collect();
        assert_eq!(failed, [1, 2, 3]);
        assert_eq!(put(&board, 7, "a.x"), [Some(Timestamp(30_000))], "down");
        assert_eq!(board.next_up(Timestamp(0)), None, "nothing waits");
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_connection_gets_the_next_message_or_ends() {
        let board = Board::default();
        put(&board, 1, "a.x");
        let (key, _) = board.starts(Timestamp(0), &settings()).pop().unwrap();
        let waiting = board.next(&key, Duration::from_secs(2));
        let arriving = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            put(&board, 2, "a.x");
            assert_eq!(board.starts(Timestamp(0), &settings()).len(), 0, "the idle connection takes it");
        };
        let (next, ()) = tokio::join!(waiting, arriving);
        assert_eq!(next.map(|job| job.message.receipt.0), Some(2));
        let began = tokio::time::Instant::now();
        assert!(board.next(&key, Duration::from_secs(2)).await.is_none());
        assert_eq!(began.elapsed(), Duration::from_secs(2));
        board.close();
        put(&board, 3, "a.x");
        assert!(board.next(&key, Duration::from_secs(2)).await.is_none(), "no more work once it is closed");
    }
}
