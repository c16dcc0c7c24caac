//! The log: the truth of the store, appended group by group, each durable before it is answered.
//!
//! What this is not: it does not know what keys and values mean (`tx` and above), nor who waits for
//! a commit (`commit`).
//!
//! Invariants
//! - One writer. [`Log::append`] returns only after the sync; what it has returned for is never lost.
//! - A failed sync is final: the log appends nothing more.
//! - The number of a segment is never used again while a later one exists.

pub(crate) mod record;
pub(crate) mod replay;
pub(crate) mod segment;

use crate::disk::{Disk, File};
use crate::error::Error;
use std::io;
use std::sync::Arc;

/// Why a store cannot be opened. It was not changed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum OpenError {
    /// Another process has the data directory open.
    #[error("another process{} has the data directory open", pid.map(|pid| format!(" ({pid})")).unwrap_or_default())]
    Locked {
        /// Its process id, if it could be read.
        pid: Option<u32>,
    },
    /// A newer version of this program has written the store.
    #[error("the store has format {found}, this program knows formats up to {known}")]
    NewerFormat {
        /// The store's format.
        found: u32,
        /// The newest this program can read.
        known: u32,
    },
    /// The log is damaged at places that were synced; nothing was skipped.
    #[error("the log is damaged: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Damaged(Vec<Damage>),
    /// The operating system refused.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: String,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// The index or a migration failed.
    #[error(transparent)]
    Store(#[from] Error),
}

impl OpenError {
    pub(crate) fn io(what: impl Into<String>, source: io::Error) -> Self {
        Self::Io { what: what.into(), source: Arc::new(source) }
    }
}

/// A place of the log that is not what was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The segment's number.
    pub segment: u64,
    /// Where in it, in octets.
    pub offset: u64,
    /// What it held, as far as can be told.
    pub what: String,
}

impl std::fmt::Display for Damage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "segment {} at {}: {}", self.segment, self.offset, self.what)
    }
}

/// How the log lays out its files.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layout {
    /// A segment that is longer gets no further group, in octets.
    pub(crate) segment_octets_max: u64,
    /// How much space is set aside at once, in octets; 0: none.
    pub(crate) ahead_octets: u64,
}

/// Why a group was not appended.
#[derive(Debug)]
pub(crate) enum AppendError {
    /// There was no space; the log is as before.
    Full,
    /// Nothing may be appended any more; why.
    Final(String),
}

/// The end of the log, to which groups are appended.
pub(crate) struct Log {
    disk: Arc<dyn Disk>,
    layout: Layout,
    file: Arc<dyn File>,
    header: segment::Header,
    /// Where the next record begins.
    tail: u64,
    /// How far space was set aside.
    reserved: u64,
    failed: Option<String>,
}

impl Log {
    /// Goes on with the newest segment, whose whole commits end at `tail`: what is beyond is cut.
    pub(crate) fn resume(disk: Arc<dyn Disk>, layout: Layout, header: segment::Header, tail: u64) -> Result<Self, OpenError> {
        let file = disk.open(&segment::path(header.number)).map_err(|e| OpenError::io("opening the log", e))?;
        let cut = |file: &dyn File| {
            file.truncate(tail)?;
            file.sync()
        };
        if file.octets().map_err(|e| OpenError::io("opening the log", e))? > tail {
            cut(&*file).map_err(|e| OpenError::io("cutting the torn end of the log", e))?;
        }
        Ok(Self { disk, layout, file, header, tail, reserved: tail, failed: None })
    }

    /// Begins with a new segment.
    pub(crate) fn begin(disk: Arc<dyn Disk>, layout: Layout, header: segment::Header) -> Result<Self, OpenError> {
        let file = new_segment(&*disk, header).map_err(|e| OpenError::io("making a segment of the log", e))?;
        Ok(Self { disk, layout, file, header, tail: segment::HEADER_OCTETS, reserved: 0, failed: None })
    }

    /// Where the next record begins.
    pub(crate) fn place(&self) -> record::Place {
        record::Place { segment: self.header.number, offset: self.tail }
    }

    pub(crate) fn header(&self) -> segment::Header {
        self.header
    }

    /// Whether the next group should begin a new segment.
    pub(crate) fn is_long(&self) -> bool {
        self.tail >= self.layout.segment_octets_max
    }

    /// Appends a whole group and makes it durable.
    pub(crate) fn append(&mut self, group: &[u8]) -> Result<(), AppendError> {
        if let Some(why) = &self.failed {
            return Err(AppendError::Final(why.clone()));
        }
        self.set_aside(group.len() as u64);
        if let Err(e) = self.file.write_at(group, self.tail) {
            return Err(self.take_back(&e));
        }
        if let Err(e) = self.file.sync() {
            return Err(self.fail(&format!("a sync of the log failed: {e}")));
        }
        self.tail += group.len() as u64;
        Ok(())
    }

    /// Closes this segment and begins the next; `base` is where a rebuild begins from now on.
    pub(crate) fn roll(&mut self, sequence: u64, base: Option<(u64, u64)>) -> Result<(), AppendError> {
        if let Some(why) = &self.failed {
            return Err(AppendError::Final(why.clone()));
        }
        let (base, base_octets) = base.unwrap_or((self.header.base, self.header.base_octets));
        let header = segment::Header { number: self.header.number + 1, base, base_octets, sequence };
        match new_segment(&*self.disk, header) {
            Ok(file) => self.enter(header, file),
            Err(e) if e.kind() == io::ErrorKind::StorageFull => return Err(self.abandon(header)),
            Err(e) => return Err(self.fail(&format!("a new segment of the log failed: {e}"))),
        }
        Ok(())
    }

    fn enter(&mut self, header: segment::Header, file: Arc<dyn File>) {
        self.give_back();
        self.header = header;
        self.file = file;
        self.tail = segment::HEADER_OCTETS;
        self.reserved = 0;
    }

    /// A segment that could not be made must not be there at the next open.
    fn abandon(&mut self, header: segment::Header) -> AppendError {
        match self.disk.remove(&segment::path(header.number)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => self.fail(&format!("a half-made segment could not be removed: {e}")),
            _ => AppendError::Full,
        }
    }

    /// Gives back the space that was set aside and not used.
    pub(crate) fn give_back(&mut self) {
        if self.reserved > self.tail && self.failed.is_none() {
            let _ = self.file.truncate(self.tail);
            self.reserved = 0;
        }
    }

    /// Setting space aside is an optimisation: when it fails, the write itself will tell.
    fn set_aside(&mut self, octets: u64) {
        let ahead = self.layout.ahead_octets;
        if ahead == 0 || self.tail + octets <= self.reserved {
            return;
        }
        let from = self.reserved.max(self.tail);
        if self.file.reserve(from, ahead.max(octets)).is_ok() {
            self.reserved = from + ahead.max(octets);
        }
    }

    /// A write failed: what it left behind is cut off, and only a full disk may go on.
    fn take_back(&mut self, e: &io::Error) -> AppendError {
        self.reserved = 0;
        if e.kind() != io::ErrorKind::StorageFull {
            return self.fail(&format!("a write to the log failed: {e}"));
        }
        match self.file.truncate(self.tail) {
            Ok(()) => AppendError::Full,
            Err(e) => self.fail(&format!("the log could not be cut after a full disk: {e}")),
        }
    }

    fn fail(&mut self, why: &str) -> AppendError {
        tracing::error!(why, "the store stops: nothing can be made durable any more");
        self.failed = Some(why.to_owned());
        AppendError::Final(why.to_owned())
    }
}

fn new_segment(disk: &dyn Disk, header: segment::Header) -> io::Result<Arc<dyn File>> {
    let file = disk.create(&segment::path(header.number))?;
    file.write_at(&header.encode(), 0)?;
    file.sync()?;
    disk.sync_folder(segment::FOLDER)?;
    Ok(file)
}
