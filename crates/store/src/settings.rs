//! What the engine can be told: where its files are, and its limits.

use std::path::PathBuf;
use std::time::Duration;

/// The engine's settings; every one but the place has a default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The data directory. One process at a time owns it.
    pub data: PathBuf,
    /// A segment of the log that is longer gets no further group, in octets. Default 64 MiB.
    pub segment_octets_max: u64,
    /// How much space of a segment is set aside at once, in octets. Default 4 MiB; 0: none.
    pub segment_ahead_octets: u64,
    /// Bodies up to this length are in the log; longer ones get a file of their own. Default 256 KiB.
    pub small_body_octets_max: usize,
    /// How many commits share a sync at most. Default 256.
    pub group_commits_max: usize,
    /// How many octets a group may have before it takes no further commit. Default 4 MiB.
    pub group_octets_max: usize,
    /// How many writes may wait; more wait before the door. Default 1024.
    pub writes_waiting_max: usize,
    /// How many reads may wait; more wait before the door. Default 1024.
    pub reads_waiting_max: usize,
    /// How many threads read. Default: two for each processor, at most 8.
    pub readers: usize,
    /// The writer's page cache in octets. Default 32 MiB.
    pub writer_cache_octets: usize,
    /// How much of the index gathers in memory before it is written, in octets; up to twice as much
    /// waits while it is. Default 8 MiB.
    pub recent_octets_max: usize,
    /// Each reader's page cache in octets. Default 4 MiB.
    pub reader_cache_octets: usize,
    /// How often the index is made durable. Default 2 s.
    pub checkpoint_interval: Duration,
    /// How much the index's own log may grow before that, in octets. Default 32 MiB.
    pub checkpoint_octets: u64,
    /// How many files stay open for reading. Default 256.
    pub open_files_max: usize,
    /// The size of the file that is given up when the disk is full, in octets. Default 32 MiB.
    pub reserve_octets: u64,
    /// When less is free, what adds mail is refused, in octets. Default 64 MiB.
    pub free_octets_min: u64,
    /// When no more is free, mail that was refused is not kept any more, in octets. Default 1 GiB.
    pub rejects_free_octets_min: u64,
    /// A segment of which at least this part is dead is rewritten, in percent. Default 50.
    pub dead_percent: u8,
    /// Everything is said again at the end of the log when this much of it is dead, in octets, and
    /// more than that would write. Default 64 MiB.
    pub restate_octets: u64,
    /// How fast bodies are moved out of dead segments, in octets per second. Default 32 MiB.
    pub reclaim_octets_per_second: u64,
    /// How often it is looked for space to reclaim. Default 10 s.
    pub reclaim_interval: Duration,
    /// Open a damaged log without its damaged records, each of which is reported. Default no.
    pub salvage: bool,
}

const MIB: u64 = 1 << 20;

impl Settings {
    /// The defaults, with the data in this directory.
    #[must_use]
    pub fn at(data: impl Into<PathBuf>) -> Self {
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self {
            data: data.into(),
            segment_octets_max: 64 * MIB,
            segment_ahead_octets: 4 * MIB,
            small_body_octets_max: 256 << 10,
            group_commits_max: 256,
            group_octets_max: 4 << 20,
            writes_waiting_max: 1024,
            reads_waiting_max: 1024,
            readers: (2 * processors).min(8),
            writer_cache_octets: 32 << 20,
            recent_octets_max: 8 << 20,
            reader_cache_octets: 4 << 20,
            checkpoint_interval: Duration::from_secs(2),
            checkpoint_octets: 32 * MIB,
            open_files_max: 256,
            reserve_octets: 32 * MIB,
            free_octets_min: 64 * MIB,
            rejects_free_octets_min: 1024 * MIB,
            dead_percent: 50,
            restate_octets: 64 * MIB,
            reclaim_octets_per_second: 32 * MIB,
            reclaim_interval: Duration::from_secs(10),
            salvage: false,
        }
    }

    /// What suits a simulated disk: no place, nothing set aside, held back or gathered.
    #[must_use]
    pub fn simulated() -> Self {
        let none = Self { segment_ahead_octets: 0, reserve_octets: 0, free_octets_min: 0, rejects_free_octets_min: 0, ..Self::at("") };
        Self { recent_octets_max: 0, ..none }
    }
}
