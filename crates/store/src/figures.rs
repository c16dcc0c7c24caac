//! What the engine counts, for metrics and reports.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of the buckets of sync times, in microseconds; one more bucket has no bound.
pub const SYNC_MICROS: [u64; 12] = [50, 100, 200, 400, 800, 1_600, 3_200, 6_400, 12_800, 51_200, 204_800, 1_000_000];

/// Running counts; read at any time.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    commits: AtomicU64,
    groups: AtomicU64,
    written_octets: AtomicU64,
    sync_micros: AtomicU64,
    sync_buckets: [AtomicU64; SYNC_MICROS.len() + 1],
    pub(crate) reads: AtomicU64,
    pub(crate) refused_full: AtomicU64,
    pub(crate) moved_octets: AtomicU64,
    pub(crate) segments_removed: AtomicU64,
}

impl Counters {
    pub(crate) fn group(&self, commits: u64, octets: u64, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.commits.fetch_add(commits, Ordering::Relaxed);
        self.groups.fetch_add(1, Ordering::Relaxed);
        self.written_octets.fetch_add(octets, Ordering::Relaxed);
        self.sync_micros.fetch_add(micros, Ordering::Relaxed);
        let bucket = SYNC_MICROS.iter().position(|bound| micros <= *bound).unwrap_or(SYNC_MICROS.len());
        if let Some(count) = self.sync_buckets.get(bucket) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn written_octets(&self) -> u64 {
        self.written_octets.load(Ordering::Relaxed)
    }

    pub(crate) fn figures(&self) -> Figures {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Figures {
            commits: of(&self.commits),
            groups: of(&self.groups),
            written_octets: of(&self.written_octets),
            sync_micros: of(&self.sync_micros),
            sync_buckets: self.sync_buckets.iter().map(of).collect(),
            reads: of(&self.reads),
            refused_full: of(&self.refused_full),
            moved_octets: of(&self.moved_octets),
            segments_removed: of(&self.segments_removed),
            ..Figures::default()
        }
    }
}

/// The engine's state and counts since it was opened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Figures {
    /// Durable commits.
    pub commits: u64,
    /// Groups of commits; each was one write and one sync.
    pub groups: u64,
    /// Octets appended to the log.
    pub written_octets: u64,
    /// Time spent writing and syncing, in microseconds.
    pub sync_micros: u64,
    /// Groups by the time their write and sync took, for each bound of [`SYNC_MICROS`], and beyond.
    pub sync_buckets: Vec<u64>,
    /// Read transactions.
    pub reads: u64,
    /// Commits refused because the disk was full.
    pub refused_full: u64,
    /// Octets of bodies moved to reclaim space.
    pub moved_octets: u64,
    /// Segments removed.
    pub segments_removed: u64,
    /// Segments of the log.
    pub segments: u64,
    /// Their length in octets, without what is set aside.
    pub log_octets: u64,
    /// How much of that is stored bodies.
    pub live_body_octets: u64,
    /// The index's length on disk, in octets.
    pub index_octets: u64,
    /// The length of the index's own log, in octets.
    pub index_wal_octets: u64,
    /// Writes that wait.
    pub writes_waiting: u64,
    /// Reads that wait.
    pub reads_waiting: u64,
    /// The disk is full: what adds mail is refused.
    pub full: bool,
}
