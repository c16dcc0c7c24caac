//! The parts put together: opening and closing, the readers' threads, or everything in place.

use crate::backlog::Backlog;
use crate::commit::{self, Committer, Outcome, Shared, Until};
use crate::disk::Disk;
use crate::disk::real::RealDisk;
use crate::disk::sim::SimDisk;
use crate::door::{self, Door};
use crate::draft::Draft;
use crate::error::{Error, Result};
use crate::figures::Figures;
use crate::index::memory::Memory;
use crate::index::recent::Recent;
use crate::index::sqlite::{self, Sizes};
use crate::keeper::{Keeper, Stop};
use crate::lock::DataLock;
use crate::log::{Damage, OpenError};
use crate::migrate::{self, Step};
use crate::reclaim::{self, Reclaim, Reclaimed};
use crate::recover::{self, Parts, recover};
use crate::schema;
use crate::settings::Settings;
use crate::tx::{ReadTx, WriteTx};
use std::panic::AssertUnwindSafe;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use tokio::sync::oneshot;

/// A read that waits for a thread.
type ReadJob = Box<dyn FnOnce() + Send>;

/// The running engine.
pub(crate) struct Engine {
    shared: Arc<Shared>,
    door: Arc<Door>,
    /// None: reads run in place.
    readers: Option<Arc<Backlog<ReadJob>>>,
    /// None: what is applied is written to the index in place.
    recent: Option<Arc<Recent>>,
    stop: Arc<Stop>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    lock: Mutex<Option<DataLock>>,
}

impl Engine {
    /// On the system's files, with an index in SQLite and threads of its own.
    pub(crate) fn open(settings: &Settings) -> std::result::Result<Self, OpenError> {
        let lock = DataLock::take(&settings.data)?;
        let sizes = Sizes {
            writer_cache_octets: settings.writer_cache_octets,
            reader_cache_octets: settings.reader_cache_octets,
            // Short reads run in the callers' threads, about one a core.
            readers: settings.readers + std::thread::available_parallelism().map_or(2, usize::from),
        };
        let (index, writer) = sqlite::open(&settings.data.join("index.sqlite"), sizes)?;
        let disk: Arc<dyn Disk> = Arc::new(RealDisk::new(&settings.data));
        let (index, writer) = Recent::over(Arc::new(index), Box::new(writer), settings.recent_octets_max);
        let parts = Parts { disk, index: Arc::new(index.clone()), writer };
        let committer = migrated(recover(parts, settings)?, schema::FORMAT, migrate::STEPS)?;
        committer.hold_reserve();
        Self::with_threads(committer, index, Some(lock))
    }

    /// On a simulated disk, with an index in memory, in place.
    pub(crate) fn simulated(disk: &SimDisk, settings: &Settings) -> std::result::Result<Self, OpenError> {
        Self::in_place(disk, &Memory::default(), settings, migrate::STEPS)
    }

    /// The same with an index that knows something already.
    pub(crate) fn in_place(disk: &SimDisk, index: &Memory, settings: &Settings, steps: &[Step]) -> std::result::Result<Self, OpenError> {
        let (index, writer) = Recent::over(Arc::new(index.clone()), Box::new(index.clone()), settings.recent_octets_max);
        let parts = Parts { disk: Arc::new(disk.clone()), index: Arc::new(index), writer };
        let known = steps.last().map_or(schema::FORMAT, |step| step.to);
        let committer = migrated(recover(parts, settings)?, known, steps)?;
        committer.hold_reserve();
        let shared = committer.shared().clone();
        reclaim::orphans(&shared, shared.files.first_new_body())?;
        shared.files.sweep();
        let door = Arc::new(Door::InPlace(Box::new(Mutex::new(committer))));
        Ok(Self { shared, door, readers: None, recent: None, stop: Arc::default(), threads: Mutex::default(), lock: Mutex::default() })
    }

    fn with_threads(committer: Committer, recent: Arc<Recent>, lock: Option<DataLock>) -> std::result::Result<Self, OpenError> {
        let shared = committer.shared().clone();
        let writes = Backlog::new(shared.settings.writes_waiting_max);
        let reads: Arc<Backlog<ReadJob>> = Backlog::new(shared.settings.reads_waiting_max);
        let door = Arc::new(Door::Queue(writes.clone()));
        let engine = Self {
            shared: shared.clone(),
            door: door.clone(),
            readers: Some(reads.clone()),
            recent: Some(recent.clone()),
            stop: Arc::default(),
            threads: Mutex::default(),
            lock: Mutex::new(lock),
        };
        let keeper = Keeper { orphans_below: shared.files.first_new_body(), shared, door, stop: engine.stop.clone() };
        engine.spawn("store-writer", move || door::write_loop(committer, &writes))?;
        engine.spawn("store-keeper", move || keeper.run())?;
        engine.spawn("store-index", move || recent.attend())?;
        for number in 0..engine.shared.settings.readers.max(1) {
            let reads = reads.clone();
            engine.spawn(&format!("store-read-{number}"), move || read_loop(&reads))?;
        }
        Ok(engine)
    }

    /// When one cannot be started, dropping the engine ends those that were.
    fn spawn(&self, name: &str, body: impl FnOnce() + Send + 'static) -> std::result::Result<(), OpenError> {
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(body).map_err(|e| OpenError::io("starting a thread", e))?;
        self.threads.lock().unwrap_or_else(PoisonError::into_inner).push(thread);
        Ok(())
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    pub(crate) async fn read<T: Send + 'static>(&self, f: impl FnOnce(&ReadTx) -> Result<T> + Send + 'static) -> Result<T> {
        let Some(readers) = &self.readers else { return self.read_here(f) };
        let (answer, outcome) = oneshot::channel();
        let shared = self.shared.clone();
        let job = move || {
            let read = || f(&shared.read_tx()?);
            let outcome: Outcome<T> = std::panic::catch_unwind(AssertUnwindSafe(read));
            // The caller may have gone.
            let _ = answer.send(outcome);
        };
        readers.push(Box::new(job)).await?;
        commit::settle(outcome.await)
    }

    pub(crate) fn read_here<T>(&self, f: impl FnOnce(&ReadTx) -> Result<T>) -> Result<T> {
        f(&self.shared.read_tx()?)
    }

    pub(crate) async fn write<T: Send + 'static>(&self, f: impl FnMut(&mut WriteTx) -> Result<T> + Send + 'static) -> Result<T> {
        self.door.write_async(Until::Durable, f).await
    }

    pub(crate) async fn write_early<T: Send + 'static>(&self, f: impl FnMut(&mut WriteTx) -> Result<T> + Send + 'static) -> Result<T> {
        self.door.write_async(Until::Visible, f).await
    }

    pub(crate) fn write_here<T: Send + 'static>(&self, f: impl FnMut(&mut WriteTx) -> Result<T> + Send + 'static) -> Result<T> {
        self.door.write(f)
    }

    pub(crate) fn draft(&self) -> Draft {
        Draft::new(self.shared.files.clone(), self.shared.settings.small_body_octets_max)
    }

    pub(crate) fn reclaim(&self) -> Result<Reclaimed> {
        let reclaimed = Reclaim { shared: &self.shared, door: &self.door, pause: &|_| false }.pass()?;
        self.shared.files.sweep();
        Ok(reclaimed)
    }

    #[cfg(test)]
    pub(crate) fn roll(&self) -> Result<u64> {
        let (answer, number) = oneshot::channel();
        self.door.command(commit::Command::Roll(None, answer))?;
        crate::backlog::block_on(number).map_err(|_| Error::Closed)?
    }

    pub(crate) fn verify_log(&self) -> Result<Vec<Damage>> {
        let extent = self.shared.extent().clone();
        recover::verify(&**self.shared.files.disk(), &extent)
    }

    pub(crate) fn figures(&self) -> Result<Figures> {
        let live = reclaim::live(&self.shared.read_tx()?)?;
        let extent = self.shared.extent().clone();
        Ok(Figures {
            segments: extent.segments.len() as u64,
            log_octets: extent.segments.values().sum(),
            live_body_octets: live.values().sum(),
            index_octets: self.shared.index.octets(),
            index_wal_octets: self.shared.index.wal_octets(),
            writes_waiting: if let Door::Queue(backlog) = &*self.door { backlog.len() as u64 } else { 0 },
            reads_waiting: self.readers.as_ref().map_or(0, |readers| readers.len() as u64),
            full: self.shared.files.full.load(Ordering::Relaxed),
            ..self.shared.counters.figures()
        })
    }

    pub(crate) fn close(&self) {
        self.stop.stop();
        if let Door::Queue(backlog) = &*self.door {
            backlog.close();
        }
        if let Some(readers) = &self.readers {
            readers.close();
        }
        if let Some(recent) = &self.recent {
            recent.end();
        }
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        // The last clone of the store may have been in a closure that runs on one of these threads.
        let here = std::thread::current().id();
        for thread in threads.into_iter().filter(|thread| thread.thread().id() != here) {
            if thread.join().is_err() {
                tracing::error!("a thread of the store had panicked");
            }
        }
        let closed_before = self.shared.closed.swap(true, Ordering::Relaxed);
        if let (Door::InPlace(committer), false) = (&*self.door, closed_before) {
            committer.lock().unwrap_or_else(PoisonError::into_inner).finish();
        }
        self.shared.files.sweep();
        self.lock.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.close();
    }
}

fn read_loop(reads: &Backlog<ReadJob>) {
    while let Some(job) = reads.pop() {
        job();
    }
}

/// Brings keys and values to the format this program knows.
fn migrated(mut committer: Committer, known: u32, steps: &[Step]) -> std::result::Result<Committer, OpenError> {
    let found = run(&mut committer, |tx| migrate::found(tx))?;
    for step in migrate::plan(found, known, steps)? {
        tracing::info!(to = step.to, what = step.what, "the store is brought to a newer format");
        run(&mut committer, move |tx| step.apply(tx))?;
    }
    Ok(committer)
}

fn run<T: Send + 'static>(committer: &mut Committer, f: impl FnMut(&mut WriteTx) -> Result<T> + Send + 'static) -> Result<T> {
    let (job, mut outcome) = commit::job(Until::Durable, f);
    committer.run(commit::Command::Write(job), &mut || None);
    match outcome.try_recv() {
        Ok(Ok(result)) => result,
        _ => Err(Error::Stopped("a migration did not finish".into())),
    }
}
