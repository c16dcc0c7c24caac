//! The keeper's thread: makes the index durable now and then, removes files, reclaims space.

use crate::commit::{Command, Shared};
use crate::door::Door;
use crate::reclaim::{self, Reclaim};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often it looks around.
const TICK: Duration = Duration::from_millis(250);

/// Tells the keeper to end.
#[derive(Default)]
pub(crate) struct Stop {
    stopped: Mutex<bool>,
    changed: Condvar,
}

impl Stop {
    pub(crate) fn stop(&self) {
        *self.stopped.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_all();
    }

    /// Waits; true: it is time to end.
    fn wait(&self, time: Duration) -> bool {
        let stopped = self.stopped.lock().unwrap_or_else(PoisonError::into_inner);
        if *stopped || time.is_zero() {
            return *stopped;
        }
        let (stopped, _) = self.changed.wait_timeout_while(stopped, time, |stopped| !*stopped).unwrap_or_else(PoisonError::into_inner);
        *stopped
    }
}

/// What the thread works with.
pub(crate) struct Keeper {
    pub(crate) shared: Arc<Shared>,
    pub(crate) door: Arc<Door>,
    pub(crate) stop: Arc<Stop>,
    /// Body files with lower numbers that nothing refers to are left over from an earlier process.
    pub(crate) orphans_below: u64,
}

impl Keeper {
    /// Until it is stopped.
    pub(crate) fn run(self) {
        self.remove_orphans();
        let (mut checkpointed, mut written, mut reclaimed) = (Instant::now(), 0, Instant::now());
        while !self.stop.wait(TICK) {
            let settings = &self.shared.settings;
            let new_octets = self.shared.counters.written_octets() - written;
            if new_octets >= settings.checkpoint_octets || (new_octets > 0 && checkpointed.elapsed() >= settings.checkpoint_interval) {
                written += new_octets;
                self.checkpoint();
                checkpointed = Instant::now();
            }
            self.shared.files.sweep();
            if reclaimed.elapsed() >= settings.reclaim_interval {
                self.reclaim();
                reclaimed = Instant::now();
            }
        }
    }

    fn remove_orphans(&self) {
        match reclaim::orphans(&self.shared, self.orphans_below) {
            Ok(0) => {}
            Ok(removed) => tracing::info!(removed, "drafts of an earlier process are removed"),
            Err(e) => tracing::warn!(error = %e, "looking for left-over drafts failed"),
        }
    }

    /// The bulk is moved beside the writer; when the index's own log has grown long all the same, the
    /// writer does the rest between two groups, so that it can start over.
    fn checkpoint(&self) {
        match self.shared.index.checkpoint() {
            Ok(wal_octets) if wal_octets >= self.shared.settings.checkpoint_octets => {
                // A closed queue means that the store is closing, which makes a checkpoint too.
                let _ = self.door.command(Command::Checkpoint);
            }
            Ok(_) => {}
            Err(e) => tracing::warn!(error = %e, "the index could not be made durable; the log has everything"),
        }
    }

    fn reclaim(&self) {
        let rate = self.shared.settings.reclaim_octets_per_second.max(1);
        let pause = |octets: u64| self.stop.wait(Duration::from_micros(octets.saturating_mul(1_000_000) / rate));
        let reclaim = Reclaim { shared: &self.shared, door: &self.door, pause: &pause };
        match reclaim.pass() {
            Ok(done) if done != reclaim::Reclaimed::default() => tracing::info!(?done, "space was reclaimed"),
            Ok(_) => {}
            Err(_) if self.shared.closed.load(Ordering::Relaxed) => {}
            Err(e) => tracing::warn!(error = %e, "space could not be reclaimed"),
        }
    }
}
