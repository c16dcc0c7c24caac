//! The commit path: closures in, durable groups out.
//!
//! ```text
//! jobs ──▶ run each over the index and what the group changed so far ──▶ encode ──▶ append + sync
//!      ◀── answer ◀── publish ◀── apply to the index ◀──────────────────────────────────┘
//! ```
//!
//! Invariants
//! - No job of a group is answered before the group is durable and visible, failed ones included:
//!   they may have seen what others of the group did.
//! - A commit that is durable is answered as such, even if the index then fails; the store stops.

use crate::body::Body;
use crate::error::{Error, Result};
use crate::feed::{Feed, News};
use crate::figures::Counters;
use crate::files::{FileName, Files};
use crate::index::derive::derive;
use crate::index::{Index, Overlay, Position, Writer};
use crate::log::record::{self, Place};
use crate::log::{AppendError, Log, segment};
use crate::roster::Rosters;
use crate::schema::Space;
use crate::settings::Settings;
use crate::tx::{Appended, Done, ReadTx, WriteTx};
use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use tokio::sync::{oneshot, watch};

/// The file that is given up when the disk is full.
const RESERVE: &str = "log/reserve";

/// What readers, the writer and the keeper share.
pub(crate) struct Shared {
    pub(crate) settings: Settings,
    pub(crate) index: Arc<dyn Index>,
    pub(crate) files: Arc<Files>,
    pub(crate) feed: Arc<Feed>,
    pub(crate) rosters: Arc<Rosters>,
    pub(crate) counters: Counters,
    pub(crate) closed: AtomicBool,
    pub(crate) stopped: watch::Sender<Option<String>>,
    extent: Mutex<Extent>,
}

/// Which segments there are.
#[derive(Debug, Clone)]
pub(crate) struct Extent {
    /// Octets by segment.
    pub(crate) segments: BTreeMap<u64, u64>,
    /// The newest segment's header.
    pub(crate) header: segment::Header,
}

impl Shared {
    pub(crate) fn new(settings: Settings, index: Arc<dyn Index>, files: Arc<Files>, extent: Extent) -> Arc<Self> {
        Arc::new(Self {
            settings,
            index,
            files,
            feed: Feed::new(),
            rosters: Arc::default(),
            counters: Counters::default(),
            closed: AtomicBool::new(false),
            stopped: watch::Sender::new(None),
            extent: Mutex::new(extent),
        })
    }

    pub(crate) fn extent(&self) -> MutexGuard<'_, Extent> {
        self.extent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn read_tx(&self) -> Result<ReadTx> {
        if self.closed.load(Ordering::Relaxed) {
            return Err(Error::Closed);
        }
        self.counters.reads.fetch_add(1, Ordering::Relaxed);
        let reading = self.files.reading();
        Ok(ReadTx::new(self.index.view()?, self.files.clone(), reading, self.rosters.clone()))
    }

    pub(crate) fn stop(&self, why: &str) {
        tracing::error!(why, "the store has stopped");
        self.stopped.send_replace(Some(why.to_owned()));
    }
}

/// What a panicking closure leaves, or what it returned.
pub(crate) type Outcome<T> = std::thread::Result<Result<T>>;

/// A write that waits to be run.
pub(crate) trait Job: Send {
    /// Runs the closure; true: commit what it did.
    fn run(&mut self, tx: &mut WriteTx) -> bool;
    /// Tells the caller: what the closure returned, or why nothing was written.
    fn answer(self: Box<Self>, failure: Option<Error>);
}

struct Task<T, F> {
    work: F,
    outcome: Option<Outcome<T>>,
    answer: oneshot::Sender<Outcome<T>>,
}

impl<T: Send, F: FnMut(&mut WriteTx) -> Result<T> + Send> Job for Task<T, F> {
    fn run(&mut self, tx: &mut WriteTx) -> bool {
        let outcome = std::panic::catch_unwind(AssertUnwindSafe(|| (self.work)(tx)));
        matches!(self.outcome.insert(outcome), Ok(Ok(_)))
    }

    fn answer(self: Box<Self>, failure: Option<Error>) {
        let outcome = match (failure, self.outcome) {
            (None, Some(outcome)) => outcome,
            (Some(error), _) => Ok(Err(error)),
            (None, None) => Ok(Err(Error::Closed)),
        };
        // The caller may have gone; the commit stands.
        let _ = self.answer.send(outcome);
    }
}

/// A job for the writer, and where its outcome will be.
pub(crate) fn job<T: Send + 'static>(
    work: impl FnMut(&mut WriteTx) -> Result<T> + Send + 'static,
) -> (Box<dyn Job>, oneshot::Receiver<Outcome<T>>) {
    let (answer, outcome) = oneshot::channel();
    (Box::new(Task { work, outcome: None, answer }), outcome)
}

/// What a caller makes of an outcome: a panic goes on in the caller.
pub(crate) fn settle<T>(outcome: std::result::Result<Outcome<T>, oneshot::error::RecvError>) -> Result<T> {
    match outcome {
        Ok(Ok(result)) => result,
        Ok(Err(panic)) => std::panic::resume_unwind(panic),
        Err(_) => Err(Error::Closed),
    }
}

/// What the writer is asked to do.
pub(crate) enum Command {
    /// A transaction.
    Write(Box<dyn Job>),
    /// Begin a new segment; it says from which segment the index can be rebuilt. Answers its number.
    Roll(Option<(u64, u64)>, oneshot::Sender<Result<u64>>),
    /// Make the index durable between two groups, so that its own log can start over.
    Checkpoint,
}

/// The single writer.
pub(crate) struct Committer {
    shared: Arc<Shared>,
    log: Log,
    /// Away while a group runs.
    writer: Option<Box<dyn Writer>>,
    /// The last durable commit.
    sequence: u64,
}

/// A group in the making.
struct Group {
    tx: WriteTx,
    start: Place,
    buffer: Vec<u8>,
    jobs: Vec<Box<dyn Job>>,
    first: u64,
    next: u64,
    last_commit_at: usize,
    bodies: Vec<Body>,
    news: News,
}

impl Group {
    fn commits(&self) -> u64 {
        self.next - self.first
    }

    fn is_room(&self, settings: &Settings) -> bool {
        self.jobs.len() < settings.group_commits_max && self.buffer.len() < settings.group_octets_max
    }

    fn run(&mut self, job: &mut dyn Job) {
        self.tx.begin(Place { offset: self.start.offset + self.buffer.len() as u64, ..self.start });
        let commit = job.run(&mut self.tx);
        let done = self.tx.take();
        if commit {
            self.add(done);
        }
    }

    fn add(&mut self, done: Done) {
        self.news.merge(done.news);
        if done.changes.is_empty() && done.restated.is_empty() && done.appended.is_empty() {
            return;
        }
        for body in &done.appended {
            match body {
                Appended::Body(body) => self.add_body(body),
                Appended::Moved(record) => record.append(&mut self.buffer, self.start),
            }
        }
        self.last_commit_at = self.buffer.len();
        let operations = done.changes.iter().chain(done.restated.iter());
        record::append_commit(&mut self.buffer, self.start, (self.next, self.first), operations);
        self.next += 1;
        self.tx.lay(done.changes, &done.appended);
    }

    fn add_body(&mut self, body: &Body) {
        match body.record() {
            Some(record) => record.append(&mut self.buffer, self.start),
            None => self.bodies.push(body.clone()),
        }
    }
}

impl Committer {
    pub(crate) fn new(shared: Arc<Shared>, log: Log, writer: Box<dyn Writer>, sequence: u64) -> Self {
        let mut committer = Self { shared, log, writer: Some(writer), sequence };
        committer.note_extent();
        committer.watch_space();
        committer
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Does what is asked; `more` gives further jobs for the same group while there are any.
    pub(crate) fn run(&mut self, command: Command, more: &mut dyn FnMut() -> Option<Box<dyn Job>>) {
        match command {
            Command::Write(job) => self.group(job, more),
            Command::Roll(base, answer) => {
                let _ = answer.send(self.roll(base));
            }
            Command::Checkpoint => self.checkpoint(),
        }
    }

    /// Makes the index durable and gives back what was set aside: the store is closed.
    pub(crate) fn finish(&mut self) {
        self.checkpoint();
        self.log.give_back();
    }

    fn checkpoint(&mut self) {
        if let Some(Err(e)) = self.writer.as_mut().map(|writer| writer.checkpoint()) {
            tracing::warn!(error = %e, "the index could not be made durable; the log has everything");
        }
    }

    fn roll(&mut self, base: Option<(u64, u64)>) -> Result<u64> {
        match self.log.roll(self.sequence, base) {
            Ok(()) => {
                self.note_extent();
                Ok(self.log.header().number)
            }
            Err(e) => Err(self.refused(e)),
        }
    }

    fn refused(&self, e: AppendError) -> Error {
        match e {
            AppendError::Full => Error::Full,
            AppendError::Final(why) => {
                if self.shared.stopped.borrow().is_none() {
                    self.shared.stop(&why);
                }
                Error::Stopped(why)
            }
        }
    }

    fn note_extent(&mut self) {
        let (header, place) = (self.log.header(), self.log.place());
        let mut extent = self.shared.extent();
        extent.header = header;
        extent.segments.insert(place.segment, place.offset);
    }

    /// Whether anything may be written at all.
    fn ready(&mut self) -> Result<()> {
        if let Some(why) = self.shared.stopped.borrow().clone() {
            return Err(Error::Stopped(why));
        }
        if self.shared.closed.load(Ordering::Relaxed) {
            return Err(Error::Closed);
        }
        self.watch_space();
        if self.log.is_long()
            && let Err(Error::Stopped(why)) = self.roll(None)
        {
            return Err(Error::Stopped(why));
        }
        Ok(())
    }

    fn group(&mut self, first: Box<dyn Job>, more: &mut dyn FnMut() -> Option<Box<dyn Job>>) {
        let began = self.ready().and_then(|()| self.begin());
        let mut group = match began {
            Ok(group) => group,
            Err(e) => return first.answer(Some(e)),
        };
        let mut next = Some(first);
        while let Some(mut job) = next {
            group.run(&mut *job);
            group.jobs.push(job);
            next = if group.is_room(&self.shared.settings) { more() } else { None };
        }
        self.commit(group, true);
    }

    fn begin(&mut self) -> Result<Group> {
        let mut writer = self.writer.take().ok_or_else(|| Error::Stopped("the index is gone".into()))?;
        if let Err(e) = writer.begin() {
            self.writer = Some(writer);
            return Err(e);
        }
        let first = self.sequence + 1;
        let tx = WriteTx::new(writer, self.shared.files.clone(), self.shared.files.full.load(Ordering::Relaxed));
        Ok(Group {
            tx,
            start: self.log.place(),
            buffer: Vec::new(),
            jobs: Vec::new(),
            first,
            next: first,
            last_commit_at: 0,
            bodies: Vec::new(),
            news: News::default(),
        })
    }

    fn commit(&mut self, mut group: Group, again: bool) {
        if group.commits() == 0 {
            return self.nothing_to_write(group);
        }
        record::end_group(&mut group.buffer, group.start, group.last_commit_at);
        let began = Instant::now();
        match self.log.append(&group.buffer) {
            Ok(()) => {
                self.shared.counters.group(group.commits(), group.buffer.len() as u64, began.elapsed());
                self.durable(group);
            }
            Err(AppendError::Full) if again => self.without_bodies(group),
            Err(e) => self.failed(group, &e),
        }
    }

    fn nothing_to_write(&mut self, group: Group) {
        let (writer, _) = group.tx.into_parts();
        self.take_writer(writer);
        self.shared.feed.publish(&group.news);
        group.jobs.into_iter().for_each(|job| job.answer(None));
    }

    fn take_writer(&mut self, writer: Option<Box<dyn Writer>>) {
        self.writer = writer;
        if let Some(writer) = &mut self.writer {
            writer.end();
        }
    }

    fn failed(&mut self, group: Group, e: &AppendError) {
        let error = match e {
            AppendError::Full => self.refused(AppendError::Full),
            AppendError::Final(why) => self.refused(AppendError::Final(why.clone())),
        };
        // After a failed sync nobody knows whether the commit will be there: its files stay.
        if matches!(error, Error::Stopped(_)) {
            group.bodies.iter().filter_map(Body::spilled).for_each(crate::spill::Spilled::adopt);
        }
        let (writer, _) = group.tx.into_parts();
        self.take_writer(writer);
        group.jobs.into_iter().for_each(|job| job.answer(Some(error.clone())));
    }

    /// The disk is full: the same jobs again, with no new bodies and the space that was held back.
    fn without_bodies(&mut self, group: Group) {
        self.give_up_reserve();
        self.shared.counters.refused_full.fetch_add(1, Ordering::Relaxed);
        let jobs = group.jobs;
        let (writer, _) = group.tx.into_parts();
        self.take_writer(writer);
        let mut group = match self.begin() {
            Ok(group) => group,
            Err(e) => return jobs.into_iter().for_each(|job| job.answer(Some(e.clone()))),
        };
        for mut job in jobs {
            group.run(&mut *job);
            group.jobs.push(job);
        }
        self.commit(group, false);
    }

    fn durable(&mut self, group: Group) {
        self.sequence = group.next - 1;
        group.bodies.iter().filter_map(Body::spilled).for_each(crate::spill::Spilled::adopt);
        let (writer, changes) = group.tx.into_parts();
        self.writer = writer;
        self.note_extent();
        if let Err(e) = self.apply(changes) {
            self.shared.stop(&format!("the index failed: {e}"));
        }
        self.shared.feed.publish(&group.news);
        group.jobs.into_iter().for_each(|job| job.answer(None));
    }

    fn apply(&mut self, mut changes: Overlay) -> Result<()> {
        let Place { segment, offset } = self.log.place();
        let position = Position { segment, offset, sequence: self.sequence };
        let Some(writer) = &mut self.writer else { return Err(Error::Closed) };
        derive(&**writer, &mut changes)?;
        let changes = [Arc::new(changes)];
        if let Err(e) = writer.apply(&changes, position) {
            tracing::warn!(error = %e, "the index refused a commit; once more with the reserve given up");
            self.give_up_reserve();
            self.writer.as_mut().map_or(Ok(()), |writer| writer.apply(&changes, position))?;
        }
        for (number, change) in changes.iter().flat_map(|changes| changes.space(Space::File)) {
            if let (None, Ok(number)) = (change, number.as_slice().try_into()) {
                self.shared.files.condemn(FileName::Body(u64::from_be_bytes(number)));
            }
        }
        Ok(())
    }

    /// Notices that the disk fills up, and that there is room again.
    fn watch_space(&mut self) {
        let settings = &self.shared.settings;
        let Ok(free) = self.shared.files.disk().free_octets() else { return };
        let full = self.shared.files.full.load(Ordering::Relaxed);
        if free < settings.free_octets_min && !full {
            tracing::error!(free, "the disk is nearly full: new mail is refused");
            self.shared.files.full.store(true, Ordering::Relaxed);
        } else if full && free >= settings.free_octets_min.saturating_add(settings.reserve_octets) {
            self.hold_reserve();
            tracing::info!(free, "the disk has room again");
            self.shared.files.full.store(false, Ordering::Relaxed);
        }
    }

    fn give_up_reserve(&mut self) {
        self.shared.files.full.store(true, Ordering::Relaxed);
        if self.shared.files.disk().remove(RESERVE).is_ok() {
            tracing::error!("the disk is full: the reserve is given up, new mail is refused");
        }
    }

    /// Sets the reserve aside; without it a full disk is noticed all the same, only later.
    pub(crate) fn hold_reserve(&self) {
        let (disk, octets) = (self.shared.files.disk(), self.shared.settings.reserve_octets);
        if octets == 0 || disk.open(RESERVE).is_ok() {
            return;
        }
        let held = disk.create(RESERVE).and_then(|file| file.reserve(0, octets));
        if held.is_err() {
            let _ = disk.remove(RESERVE);
        }
    }
}
