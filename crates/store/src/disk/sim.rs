//! A disk in memory that behaves as badly as disks may: it loses what was not synced when the power
//! goes, tears writes at sectors, fails or fills up at a chosen operation.
//!
//! For tests and `sim`. Everything it does follows from its seed.

use super::{Disk, File};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What a disk writes whole or not at all.
const SECTOR_OCTETS: usize = 512;

/// What happens at the chosen operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// This and every later operation fails: the machine is gone. See [`SimDisk::power_cut`].
    PowerLoss,
    /// This one write or sync fails with an input/output error.
    Error,
    /// No write that needs new space succeeds from here on, until [`SimDisk::heal`].
    Full,
}

/// The disk. Clones are the same disk.
#[derive(Debug, Clone, Default)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    files: BTreeMap<u64, Content>,
    names: BTreeMap<String, u64>,
    durable_names: BTreeMap<String, u64>,
    next_file: u64,
    /// Files opened before a power cut are dead after it.
    generation: u64,
    operations: u64,
    fault: Option<(u64, Fault)>,
    off: bool,
    full: bool,
    /// What removed files have given back since the disk is full, in octets.
    room: usize,
}

#[derive(Debug, Default, Clone)]
struct Content {
    now: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<Unsynced>,
}

#[derive(Debug, Clone)]
enum Unsynced {
    Write(usize, Vec<u8>),
    Length(usize),
}

impl SimDisk {
    /// An empty disk.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many changing operations (create, write, sync, truncate, remove …) there were so far.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.lock().operations
    }

    /// Lets `fault` happen at the `number`-th changing operation, counted from the beginning.
    pub fn fail_at(&self, number: u64, fault: Fault) {
        self.lock().fault = Some((number, fault));
    }

    /// Space is there again, and no fault is planned.
    pub fn heal(&self) {
        let mut state = self.lock();
        state.fault = None;
        state.full = false;
        state.room = 0;
    }

    /// The power goes and comes back: each write that was not synced is kept, lost or torn as the
    /// seed has it. Everything that was open is dead.
    pub fn power_cut(&self, seed: u64) {
        let mut state = self.lock();
        let mut chance = Chance(seed | 1);
        state.generation += 1;
        state.off = false;
        state.fault = None;
        state.names = survivors(&state.durable_names, &state.names, &mut chance);
        state.durable_names = state.names.clone();
        for content in state.files.values_mut() {
            content.lose(&mut chance);
        }
        let named: Vec<u64> = state.names.values().copied().collect();
        state.files.retain(|file, _| named.contains(file));
    }

    /// Whether [`Fault::PowerLoss`] has struck and the power is still off.
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.lock().off
    }

    /// The process is killed: nothing is lost but what it had in memory.
    pub fn kill(&self) {
        let mut state = self.lock();
        state.generation += 1;
        state.off = false;
        state.fault = None;
    }

    /// The names of all files.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.lock().names.keys().cloned().collect()
    }

    /// A file's octets.
    #[must_use]
    pub fn octets_of(&self, path: &str) -> Option<Vec<u8>> {
        let state = self.lock();
        state.files.get(state.names.get(path)?).map(|content| content.now.clone())
    }

    /// Replaces a file's octets behind everybody's back: a flipped bit, a lost tail.
    pub fn tamper(&self, path: &str, octets: Vec<u8>) {
        let mut state = self.lock();
        let Some(file) = state.names.get(path).copied() else { return };
        state.files.insert(file, Content { durable: octets.clone(), now: octets, unsynced: Vec::new() });
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn handle(&self, file: u64, generation: u64) -> Arc<dyn File> {
        Arc::new(SimFile { disk: self.clone(), file, generation })
    }
}

/// New names may have become durable by themselves, removed ones may be back.
fn survivors(durable: &BTreeMap<String, u64>, now: &BTreeMap<String, u64>, chance: &mut Chance) -> BTreeMap<String, u64> {
    let mut names = durable.clone();
    for (name, file) in now {
        if !durable.contains_key(name) && chance.even() {
            names.insert(name.clone(), *file);
        }
    }
    names.retain(|name, _| now.contains_key(name) || chance.even());
    names
}

impl Content {
    fn make_durable(&mut self) {
        for unsynced in std::mem::take(&mut self.unsynced) {
            match unsynced {
                Unsynced::Length(octets) => self.durable.resize(octets, 0),
                Unsynced::Write(offset, octets) => overwrite(&mut self.durable, offset, &octets),
            }
        }
    }

    fn lose(&mut self, chance: &mut Chance) {
        for unsynced in std::mem::take(&mut self.unsynced) {
            match unsynced {
                Unsynced::Length(octets) if chance.even() => self.durable.resize(octets, 0),
                Unsynced::Length(_) => {}
                Unsynced::Write(offset, octets) => self.keep_some(offset, &octets, chance),
            }
        }
        self.now = self.durable.clone();
    }

    fn keep_some(&mut self, offset: usize, octets: &[u8], chance: &mut Chance) {
        let fate = chance.next() % 3;
        let mut at = offset;
        for sector in octets.chunks(SECTOR_OCTETS) {
            if fate == 0 || (fate == 1 && chance.even()) {
                overwrite(&mut self.durable, at, sector);
            }
            at += sector.len();
        }
    }
}

fn overwrite(content: &mut Vec<u8>, offset: usize, octets: &[u8]) {
    let end = offset + octets.len();
    if content.len() < end {
        content.resize(end, 0);
    }
    if let Some(place) = content.get_mut(offset..end) {
        place.copy_from_slice(octets);
    }
}

/// A small generator of chances (xorshift); everything follows from the seed.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 8
    }

    fn even(&mut self) -> bool {
        self.next().is_multiple_of(2)
    }
}

fn power_is_off() -> io::Error {
    io::Error::other("the power is off")
}

impl State {
    /// Counts a changing operation and lets the planned fault happen.
    fn operation(&mut self) -> io::Result<()> {
        if self.off {
            return Err(power_is_off());
        }
        self.operations += 1;
        match self.fault {
            Some((number, fault)) if number == self.operations => self.strike(fault),
            _ => Ok(()),
        }
    }

    fn strike(&mut self, fault: Fault) -> io::Result<()> {
        self.fault = None;
        match fault {
            Fault::PowerLoss => self.off = true,
            Fault::Full => self.full = true,
            Fault::Error => return Err(io::Error::other("a planned error")),
        }
        if self.off { Err(power_is_off()) } else { Ok(()) }
    }

    /// Takes the space for a file to reach `end`, if there is any.
    fn take_room(&mut self, file: u64, end: usize) -> io::Result<()> {
        let octets = self.files.get(&file).map_or(0, |content| content.now.len());
        let more = end.saturating_sub(octets);
        if !self.full || more == 0 {
            return Ok(());
        }
        self.room = self.room.checked_sub(more).ok_or(io::ErrorKind::StorageFull)?;
        Ok(())
    }
}

fn number(path: &str, state: &State) -> io::Result<u64> {
    state.names.get(path).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
}

impl Disk for SimDisk {
    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        let state = self.lock();
        let within = |path: &String| path.strip_prefix(folder).and_then(|rest| rest.strip_prefix('/')).map(str::to_owned);
        Ok(state.names.keys().filter_map(within).collect())
    }

    fn create(&self, path: &str) -> io::Result<Arc<dyn File>> {
        let mut state = self.lock();
        state.operation()?;
        if state.full && state.room == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let file = state.next_file;
        state.next_file += 1;
        state.files.insert(file, Content::default());
        state.names.insert(path.to_owned(), file);
        Ok(self.handle(file, state.generation))
    }

    fn open(&self, path: &str) -> io::Result<Arc<dyn File>> {
        let state = self.lock();
        if state.off {
            return Err(power_is_off());
        }
        Ok(self.handle(number(path, &state)?, state.generation))
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        let mut state = self.lock();
        state.operation()?;
        let file = number(path, &state)?;
        state.room += state.files.get(&file).map_or(0, |content| content.now.len());
        state.names.remove(path);
        Ok(())
    }

    fn sync_folder(&self, folder: &str) -> io::Result<()> {
        let mut state = self.lock();
        state.operation()?;
        let within = |path: &String| path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'));
        let State { names, durable_names, files, .. } = &mut *state;
        durable_names.retain(|name, _| !within(name));
        durable_names.extend(names.iter().filter(|(name, _)| within(name)).map(|(name, file)| (name.clone(), *file)));
        let named: BTreeSet<u64> = names.values().chain(durable_names.values()).copied().collect();
        files.retain(|file, _| named.contains(file));
        Ok(())
    }

    fn free_octets(&self) -> io::Result<u64> {
        let state = self.lock();
        Ok(if state.full { state.room as u64 } else { u64::MAX })
    }
}

struct SimFile {
    disk: SimDisk,
    file: u64,
    generation: u64,
}

impl SimFile {
    fn alive(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.disk.lock();
        if state.off || state.generation != self.generation { Err(power_is_off()) } else { Ok(state) }
    }

    fn change(&self, end: usize, unsynced: Unsynced) -> io::Result<()> {
        let mut state = self.alive()?;
        state.operation()?;
        let room = state.take_room(self.file, end);
        let content = state.files.get_mut(&self.file).ok_or(io::ErrorKind::NotFound)?;
        // A write that does not fit leaves its first half behind.
        let unsynced = match (unsynced, &room) {
            (Unsynced::Write(offset, octets), Err(_)) => Unsynced::Write(offset, octets.iter().take(octets.len() / 2).copied().collect()),
            (unsynced, Ok(())) => unsynced,
            (Unsynced::Length(_), Err(_)) => return room,
        };
        match &unsynced {
            Unsynced::Write(offset, octets) => overwrite(&mut content.now, *offset, octets),
            Unsynced::Length(octets) => content.now.resize(*octets, 0),
        }
        content.unsynced.push(unsynced);
        room
    }
}

fn place(offset: u64) -> io::Result<usize> {
    usize::try_from(offset).map_err(io::Error::other)
}

impl File for SimFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let state = self.alive()?;
        let content = state.files.get(&self.file).ok_or(io::ErrorKind::NotFound)?;
        let rest = content.now.get(place(offset)?..).unwrap_or_default();
        let read = rest.len().min(buffer.len());
        buffer.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
        Ok(read)
    }

    fn write_at(&self, octets: &[u8], offset: u64) -> io::Result<()> {
        let offset = place(offset)?;
        self.change(offset + octets.len(), Unsynced::Write(offset, octets.to_vec()))
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.alive()?;
        state.operation()?;
        let content = state.files.get_mut(&self.file).ok_or(io::ErrorKind::NotFound)?;
        content.make_durable();
        Ok(())
    }

    fn octets(&self) -> io::Result<u64> {
        let state = self.alive()?;
        Ok(state.files.get(&self.file).ok_or(io::ErrorKind::NotFound)?.now.len() as u64)
    }

    fn truncate(&self, octets: u64) -> io::Result<()> {
        let octets = place(octets)?;
        self.change(octets, Unsynced::Length(octets))
    }

    fn reserve(&self, offset: u64, octets: u64) -> io::Result<()> {
        let end = place(offset + octets)?;
        let shorter = self.alive()?.files.get(&self.file).is_some_and(|content| content.now.len() < end);
        if shorter { self.change(end, Unsynced::Length(end)) } else { Ok(()) }
    }
}
