//! The files that readers have open: segments of the log and bodies of their own.
//!
//! Handles are opened when needed and closed again when there are many. A file that nothing refers
//! to any more is condemned, and removed once no transaction that began before is left.

use crate::disk::{Disk, File};
use crate::error::{Error, Result};
use crate::log::segment;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The folder of bodies that have a file of their own.
pub(crate) const BODIES: &str = "bodies";

/// Which file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum FileName {
    Segment(u64),
    Body(u64),
}

impl FileName {
    pub(crate) fn path(self) -> String {
        match self {
            Self::Segment(number) => segment::path(number),
            Self::Body(number) => format!("{BODIES}/{number:012}.body"),
        }
    }
}

/// The number in the file name of a body.
fn body_number(name: &str) -> Option<u64> {
    name.strip_suffix(".body")?.parse().ok()
}

/// Open files, and what is to be removed.
pub(crate) struct Files {
    disk: Arc<dyn Disk>,
    open_max: usize,
    open: Mutex<Open>,
    readers: Mutex<Readers>,
    next_body: AtomicU64,
    /// The disk is full: nothing that adds mail is written.
    pub(crate) full: AtomicBool,
    /// What room there is is for wanted mail.
    pub(crate) scarce: AtomicBool,
}

#[derive(Default)]
struct Open {
    handles: HashMap<FileName, (Arc<dyn File>, u64)>,
    tick: u64,
}

/// Which transactions are running, and which files wait for their end.
#[derive(Default)]
struct Readers {
    epoch: u64,
    running: BTreeMap<u64, usize>,
    condemned: VecDeque<(u64, FileName)>,
}

/// Held by a transaction: no file it can see is removed meanwhile.
pub(crate) struct Reading {
    files: Arc<Files>,
    epoch: u64,
}

impl Drop for Reading {
    fn drop(&mut self) {
        let mut readers = lock(&self.files.readers);
        if let Some(count) = readers.running.get_mut(&self.epoch) {
            *count -= 1;
            if *count == 0 {
                readers.running.remove(&self.epoch);
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Files {
    pub(crate) fn new(disk: Arc<dyn Disk>, open_max: usize) -> io::Result<Arc<Self>> {
        let last = disk.list(BODIES)?.iter().filter_map(|name| body_number(name)).max().unwrap_or_default();
        Ok(Arc::new(Self {
            disk,
            open_max,
            open: Mutex::default(),
            readers: Mutex::default(),
            next_body: AtomicU64::new(last + 1),
            full: AtomicBool::new(false),
            scarce: AtomicBool::new(false),
        }))
    }

    pub(crate) fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    /// A file to read from.
    pub(crate) fn open(&self, name: FileName) -> Result<Arc<dyn File>> {
        let mut open = lock(&self.open);
        open.tick += 1;
        let tick = open.tick;
        if let Some((file, used)) = open.handles.get_mut(&name) {
            *used = tick;
            return Ok(file.clone());
        }
        let file = self.disk.open(&name.path()).map_err(|e| missing(name, e))?;
        if open.handles.len() >= self.open_max {
            open.close_oldest();
        }
        open.handles.insert(name, (file.clone(), tick));
        Ok(file)
    }

    /// Marks the beginning of a transaction.
    pub(crate) fn reading(self: &Arc<Self>) -> Reading {
        let mut readers = lock(&self.readers);
        let epoch = readers.epoch;
        *readers.running.entry(epoch).or_default() += 1;
        Reading { files: self.clone(), epoch }
    }

    /// Nothing in the index refers to this file any more.
    pub(crate) fn condemn(&self, name: FileName) {
        let mut readers = lock(&self.readers);
        let epoch = readers.epoch;
        readers.condemned.push_back((epoch, name));
        readers.epoch += 1;
    }

    /// Removes the condemned files that no running transaction can see.
    pub(crate) fn sweep(&self) {
        while let Some(name) = self.next_condemned() {
            lock(&self.open).handles.remove(&name);
            match self.disk.remove(&name.path()) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => tracing::warn!(file = name.path(), error = %e, "a file cannot be removed"),
                _ => {}
            }
        }
    }

    fn next_condemned(&self) -> Option<FileName> {
        let mut readers = lock(&self.readers);
        let oldest = readers.running.keys().next().copied().unwrap_or(u64::MAX);
        let condemned_in = readers.condemned.front()?.0;
        if condemned_in < oldest { readers.condemned.pop_front().map(|(_, name)| name) } else { None }
    }

    /// The number of a new body file; never one that exists or existed since the store was opened.
    pub(crate) fn next_body(&self) -> u64 {
        self.next_body.fetch_add(1, Ordering::Relaxed)
    }

    /// No body file with a number below this one belongs to a draft of this process, when called at
    /// open.
    pub(crate) fn first_new_body(&self) -> u64 {
        self.next_body.load(Ordering::Relaxed)
    }

    /// New body files get numbers beyond this one.
    pub(crate) fn bodies_beyond(&self, number: u64) {
        self.next_body.fetch_max(number + 1, Ordering::Relaxed);
    }

    /// The numbers of all body files.
    pub(crate) fn bodies(&self) -> io::Result<Vec<u64>> {
        Ok(self.disk.list(BODIES)?.iter().filter_map(|name| body_number(name)).collect())
    }
}

fn missing(name: FileName, e: io::Error) -> Error {
    if e.kind() == io::ErrorKind::NotFound { Error::corrupt(format!("{} is missing", name.path())) } else { Error::io(name.path(), e) }
}

impl Open {
    fn close_oldest(&mut self) {
        let oldest = self.handles.iter().min_by_key(|(_, (_, used))| *used).map(|(name, _)| *name);
        if let Some(name) = oldest {
            self.handles.remove(&name);
        }
    }
}
