//! The commit path: closures in, durable groups out.
//!
//! ```text
//! jobs ──▶ run each over the index and what the group changed so far ──▶ encode ──▶ append + sync
//!      ◀── answer ◀── publish ◀── apply to the index ◀──────────────────────────────────┘
//! ```
//!
//! A job may be content with an early answer: once its changes are ordered and visible. A group of such jobs alone is
//! not appended; its commits wait in memory and are the first of the next group that is. After a power cut they are
//! gone, with all that came after them.
//!
//! Invariants
//! - No job of a group is answered before the group is durable and visible, failed ones included:
//!   they may have seen what others of the group did. What early commits did is the exception.
//! - The index is never told that it knows more of the log than is durable.
//! - What a power cut must not undo is never early: bodies and what refers to them, and whatever is announced to the
//!   watchers of an account.
//! - A commit that is durable is answered as such, even if the index then fails; the store stops.

use crate::body::Body;
use crate::error::{Error, Result};
use crate::feed::{Feed, News};
use crate::figures::Counters;
use crate::files::{FileName, Files};
use crate::index::derive::derive;
use crate::index::recent::RecentWriter;
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
    /// What it waits for.
    fn until(&self) -> Until;
    /// Tells the caller: what the closure returned, or why nothing was written.
    fn answer(self: Box<Self>, failure: Option<Error>);
}

/// What a caller waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Until {
    /// The changes are on the disk.
    Durable,
    /// They are ordered and visible.
    Visible,
}

struct Task<T, F> {
    until: Until,
    work: F,
    outcome: Option<Outcome<T>>,
    answer: oneshot::Sender<Outcome<T>>,
}

impl<T: Send, F: FnMut(&mut WriteTx) -> Result<T> + Send> Job for Task<T, F> {
    fn run(&mut self, tx: &mut WriteTx) -> bool {
        let outcome = std::panic::catch_unwind(AssertUnwindSafe(|| (self.work)(tx)));
        matches!(self.outcome.insert(outcome), Ok(Ok(_)))
    }

    fn until(&self) -> Until {
        self.until
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
    until: Until,
    work: impl FnMut(&mut WriteTx) -> Result<T> + Send + 'static,
) -> (Box<dyn Job>, oneshot::Receiver<Outcome<T>>) {
    let (answer, outcome) = oneshot::channel();
    (Box::new(Task { until, work, outcome: None, answer }), outcome)
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
    writer: Option<RecentWriter>,
    /// The last durable commit.
    sequence: u64,
    /// Visible, and to be the first of the next group that is appended.
    early: Records,
}

/// Records of commits that follow each other.
#[derive(Default)]
struct Records {
    buffer: Vec<u8>,
    commits: u64,
    last_commit_at: usize,
}

/// How much there is of some records.
#[derive(Clone, Copy)]
struct Mark {
    octets: usize,
    commits: u64,
    last_commit_at: usize,
}

impl Records {
    fn mark(&self) -> Mark {
        Mark { octets: self.buffer.len(), commits: self.commits, last_commit_at: self.last_commit_at }
    }

    fn back_to(mut self, mark: Mark) -> Self {
        self.buffer.truncate(mark.octets);
        Self { buffer: self.buffer, commits: mark.commits, last_commit_at: mark.last_commit_at }
    }
}

/// A group in the making.
struct Group {
    tx: WriteTx,
    start: Place,
    /// The sequence number of its first commit.
    first: u64,
    records: Records,
    /// How much of the records was early, before this group began.
    early: Mark,
    /// Somebody waits until it is durable.
    is_awaited: bool,
    jobs: Vec<Box<dyn Job>>,
    bodies: Vec<Body>,
    news: News,
}

impl Group {
    /// Nothing has been added to what was there when it began.
    fn is_empty(&self) -> bool {
        self.records.commits == self.early.commits
    }

    fn is_room(&self, settings: &Settings) -> bool {
        self.jobs.len() < settings.group_commits_max && self.records.buffer.len() < settings.group_octets_max
    }

    fn run(&mut self, job: &mut dyn Job) {
        self.tx.begin(Place { offset: self.start.offset + self.records.buffer.len() as u64, ..self.start });
        let commit = job.run(&mut self.tx);
        let done = self.tx.take();
        if commit {
            self.add(done, job.until());
        }
    }

    fn add(&mut self, done: Done, until: Until) {
        self.is_awaited |= until == Until::Durable || !done.may_be_undone();
        self.news.merge(done.news);
        if done.changes.is_empty() && done.restated.is_empty() && done.appended.is_empty() {
            return;
        }
        let records = &mut self.records;
        for body in &done.appended {
            match body {
                Appended::Body(body) => match body.record() {
                    Some(record) => record.append(&mut records.buffer, self.start),
                    None => self.bodies.push(body.clone()),
                },
                Appended::Moved(record) => record.append(&mut records.buffer, self.start),
            }
        }
        records.last_commit_at = records.buffer.len();
        let operations = done.changes.iter().chain(done.restated.iter());
        record::append_commit(&mut records.buffer, self.start, (self.first + records.commits, self.first), operations);
        records.commits += 1;
        self.tx.lay(done.changes, &done.appended);
    }

    /// Ends it without what was added: the writer, the jobs, and what was early before it began.
    fn abandon(self) -> (Option<RecentWriter>, Vec<Box<dyn Job>>, Records) {
        (self.tx.into_parts().0, self.jobs, self.records.back_to(self.early))
    }
}

impl Committer {
    pub(crate) fn new(shared: Arc<Shared>, log: Log, writer: RecentWriter, sequence: u64) -> Self {
        let mut committer = Self { shared, log, writer: Some(writer), sequence, early: Records::default() };
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
        self.catch_up();
        self.checkpoint();
        self.log.give_back();
    }

    fn checkpoint(&mut self) {
        if let Some(Err(e)) = self.writer.as_mut().map(Writer::checkpoint) {
            tracing::warn!(error = %e, "the index could not be made durable; the log has everything");
        }
    }

    /// Makes durable what was early.
    fn catch_up(&mut self) {
        if self.early.commits > 0
            && let Ok(group) = self.begin()
        {
            self.append(group, false);
        }
    }

    fn roll(&mut self, base: Option<(u64, u64)>) -> Result<u64> {
        // What is early belongs behind what this segment has.
        self.catch_up();
        if self.early.commits > 0 {
            return Err(self.shared.stopped.borrow().clone().map_or(Error::Full, Error::Stopped));
        }
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
        let tx = WriteTx::new(writer, self.shared.files.clone(), self.shared.files.full.load(Ordering::Relaxed));
        let records = std::mem::take(&mut self.early);
        Ok(Group {
            tx,
            start: self.log.place(),
            first: self.sequence + 1,
            early: records.mark(),
            records,
            is_awaited: false,
            jobs: Vec::new(),
            bodies: Vec::new(),
            news: News::default(),
        })
    }

    fn commit(&mut self, group: Group, again: bool) {
        let is_much = group.records.buffer.len() >= self.shared.settings.group_octets_max;
        if group.is_empty() {
            self.nothing_to_write(group);
        } else if group.is_awaited || is_much {
            self.append(group, again);
        } else {
            self.visible(group);
        }
    }

    fn append(&mut self, mut group: Group, again: bool) {
        let Records { buffer, commits, last_commit_at } = &mut group.records;
        record::end_group(buffer, group.start, *last_commit_at);
        let began = Instant::now();
        match self.log.append(buffer) {
            Ok(()) => {
                self.shared.counters.group(*commits, buffer.len() as u64, began.elapsed());
                self.durable(group);
            }
            Err(AppendError::Full) if again => self.without_bodies(group),
            Err(e) => self.failed(group, &e),
        }
    }

    fn nothing_to_write(&mut self, group: Group) {
        self.shared.feed.publish(&group.news);
        for job in self.abandon(group) {
            job.answer(None);
        }
    }

    /// As if the group had never begun.
    fn abandon(&mut self, group: Group) -> Vec<Box<dyn Job>> {
        let (writer, jobs, early) = group.abandon();
        self.early = early;
        self.writer = writer;
        if let Some(writer) = &mut self.writer {
            writer.end();
        }
        jobs
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
        for job in self.abandon(group) {
            job.answer(Some(error.clone()));
        }
    }

    /// The disk is full: the same jobs again, with no new bodies and the space that was held back.
    fn without_bodies(&mut self, group: Group) {
        self.give_up_reserve();
        self.shared.counters.refused_full.fetch_add(1, Ordering::Relaxed);
        let jobs = self.abandon(group);
        let mut group = match self.begin() {
            Ok(group) => group,
            Err(e) => return jobs.into_iter().for_each(|job| job.answer(Some(e.clone()))),
        };
        group.is_awaited = true;
        for mut job in jobs {
            group.run(&mut *job);
            group.jobs.push(job);
        }
        self.commit(group, false);
    }

    /// Shows what a group did; it is appended with the next one.
    fn visible(&mut self, group: Group) {
        self.early = group.records;
        let (writer, changes) = group.tx.into_parts();
        self.writer = writer;
        if let Some(writer) = &mut self.writer {
            writer.show(&Arc::new(changes));
        }
        self.shared.feed.publish(&group.news);
        group.jobs.into_iter().for_each(|job| job.answer(None));
    }

    fn durable(&mut self, group: Group) {
        self.sequence = group.first + group.records.commits - 1;
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
        derive(writer, &mut changes)?;
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
        self.shared.files.scarce.store(free <= settings.rejects_free_octets_min, Ordering::Relaxed);
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
