//! Long bodies: a file of their own, compressed in frames, so that any part is read without the rest.
//!
//! ```text
//! file   header(32) frame* table(8 for each frame) checksum of the table (4)
//! header magic (8)  format (4)  raw octets of a frame (4)  0 (12)  checksum (4)
//! table  stored octets of the frame (4)  checksum of the stored octets (4)
//! ```
//!
//! A frame that compression does not shorten is stored as it is. The file is durable before any
//! commit refers to it; one that no commit took is removed with its last [`Spilled`], or at open.

use crate::body;
use crate::disk::{self, File};
use crate::error::{Error, Result};
use crate::files::{BODIES, FileName, Files};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Raw octets of a frame: what reading any octet of it costs.
pub(crate) const FRAME_OCTETS: usize = 128 << 10;

const MAGIC: &[u8; 8] = b"PstrdBdy";
const FORMAT: u32 = 1;
const HEADER_OCTETS: u64 = 32;
const ENTRY_OCTETS: usize = 8;

/// A long body's file, durable but perhaps not referred to yet.
pub(crate) struct Spilled {
    pub(crate) number: u64,
    pub(crate) stored_octets: u64,
    pub(crate) raw_octets: u64,
    files: Arc<Files>,
    adopted: AtomicBool,
}

impl Spilled {
    /// A commit refers to the file now.
    pub(crate) fn adopt(&self) {
        self.adopted.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_adopted(&self) -> bool {
        self.adopted.load(Ordering::Relaxed)
    }

    pub(crate) fn read(&self, offset: u64, octets_max: usize) -> Result<Vec<u8>> {
        let file = self.files.open(FileName::Body(self.number))?;
        read(&*file, self.stored_octets, self.raw_octets, offset, octets_max).map_err(|e| Error::io("reading a draft", e))
    }
}

impl Drop for Spilled {
    fn drop(&mut self) {
        if !self.is_adopted() {
            self.files.condemn(FileName::Body(self.number));
        }
    }
}

/// A long body's file while it is written.
pub(crate) struct Spill {
    number: u64,
    file: Arc<dyn File>,
    files: Arc<Files>,
    frame: Vec<u8>,
    table: Vec<u8>,
    offset: u64,
    raw_octets: u64,
    finished: bool,
}

impl Spill {
    pub(crate) fn begin(files: &Arc<Files>) -> Result<Self> {
        refuse_if_full(files)?;
        let number = files.next_body();
        let file = files.disk().create(&FileName::Body(number).path()).map_err(|e| Error::io("making a draft", e))?;
        let spill = Self {
            number,
            file,
            files: files.clone(),
            frame: Vec::with_capacity(FRAME_OCTETS),
            table: Vec::new(),
            offset: HEADER_OCTETS,
            raw_octets: 0,
            finished: false,
        };
        spill.put(&header(), 0)?;
        Ok(spill)
    }

    pub(crate) fn write(&mut self, mut octets: &[u8]) -> Result<()> {
        self.raw_octets += octets.len() as u64;
        while !octets.is_empty() {
            let room = FRAME_OCTETS - self.frame.len();
            let (now, later) = octets.split_at_checked(room).unwrap_or((octets, &[]));
            self.frame.extend_from_slice(now);
            octets = later;
            if self.frame.len() == FRAME_OCTETS {
                self.end_frame()?;
            }
        }
        Ok(())
    }

    fn end_frame(&mut self) -> Result<()> {
        refuse_if_full(&self.files)?;
        let compressed = body::compressed(&self.frame);
        let stored = compressed.as_ref().unwrap_or(&self.frame);
        self.put(stored, self.offset)?;
        self.offset += stored.len() as u64;
        self.table.extend(u32::try_from(stored.len()).unwrap_or(u32::MAX).to_le_bytes());
        self.table.extend(crc32c::crc32c(stored).to_le_bytes());
        self.frame.clear();
        Ok(())
    }

    pub(crate) fn raw_octets(&self) -> u64 {
        self.raw_octets
    }

    /// Makes the file durable.
    pub(crate) fn finish(mut self) -> Result<Spilled> {
        if !self.frame.is_empty() {
            self.end_frame()?;
        }
        let checksum = crc32c::crc32c(&self.table);
        self.table.extend(checksum.to_le_bytes());
        self.put(&self.table, self.offset)?;
        self.file.sync().and_then(|()| self.files.disk().sync_folder(BODIES)).map_err(|e| Error::io("syncing a draft", e))?;
        self.finished = true;
        Ok(Spilled {
            number: self.number,
            stored_octets: self.offset + self.table.len() as u64,
            raw_octets: self.raw_octets,
            files: self.files.clone(),
            adopted: AtomicBool::new(false),
        })
    }

    fn put(&self, octets: &[u8], offset: u64) -> Result<()> {
        self.file.write_at(octets, offset).map_err(|e| Error::io("writing a draft", e))
    }
}

impl Drop for Spill {
    fn drop(&mut self) {
        if !self.finished {
            self.files.condemn(FileName::Body(self.number));
        }
    }
}

/// What is left on a full disk is for deleting.
fn refuse_if_full(files: &Files) -> Result<()> {
    if files.full.load(Ordering::Relaxed) { Err(Error::Full) } else { Ok(()) }
}

fn header() -> Vec<u8> {
    let mut octets = MAGIC.to_vec();
    octets.extend(FORMAT.to_le_bytes());
    octets.extend(u32::try_from(FRAME_OCTETS).unwrap_or_default().to_le_bytes());
    octets.resize(28, 0);
    let checksum = crc32c::crc32c(&octets);
    octets.extend(checksum.to_le_bytes());
    octets
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// Octets of a long body from `offset` on, at most `octets_max`; fewer only at its end.
pub(crate) fn read(file: &dyn File, stored_octets: u64, raw_octets: u64, offset: u64, octets_max: usize) -> io::Result<Vec<u8>> {
    let end = offset.saturating_add(octets_max as u64).min(raw_octets);
    let frame_octets = FRAME_OCTETS as u64;
    let mut octets = Vec::new();
    if offset >= end {
        return Ok(octets);
    }
    let table = Table::read(file, stored_octets, raw_octets)?;
    for frame in offset / frame_octets..=(end - 1) / frame_octets {
        let raw = table.frame(file, frame, raw_octets)?;
        let start = frame * frame_octets;
        let from = offset.saturating_sub(start);
        octets.extend(body::cut(&raw, from, usize::try_from(end - start - from).unwrap_or(usize::MAX)));
    }
    Ok(octets)
}

struct Table(Vec<u8>);

impl Table {
    fn read(file: &dyn File, stored_octets: u64, raw_octets: u64) -> io::Result<Self> {
        let frames = usize::try_from(raw_octets.div_ceil(FRAME_OCTETS as u64)).map_err(|_| invalid("its length is wrong"))?;
        let octets = frames * ENTRY_OCTETS + 4;
        let at = stored_octets.checked_sub(octets as u64).ok_or_else(|| invalid("its length is wrong"))?;
        let mut table = disk::read_exactly(file, at, octets)?;
        let checksum = table.split_off(octets - 4);
        if checksum == crc32c::crc32c(&table).to_le_bytes() { Ok(Self(table)) } else { Err(invalid("its table's checksum is wrong")) }
    }

    fn entries(&self) -> impl Iterator<Item = (u32, u32)> {
        self.0.chunks_exact(ENTRY_OCTETS).filter_map(|entry| {
            let (stored, checksum) = entry.split_first_chunk::<4>()?;
            Some((u32::from_le_bytes(*stored), u32::from_le_bytes(*checksum.first_chunk::<4>()?)))
        })
    }

    fn frame(&self, file: &dyn File, number: u64, raw_octets: u64) -> io::Result<Vec<u8>> {
        let number = usize::try_from(number).map_err(|_| invalid("no such frame"))?;
        let at = HEADER_OCTETS + self.entries().take(number).map(|(stored, _)| u64::from(stored)).sum::<u64>();
        let (stored_octets, checksum) = self.entries().nth(number).ok_or_else(|| invalid("no such frame"))?;
        let stored = disk::read_exactly(file, at, stored_octets as usize)?;
        if crc32c::crc32c(&stored) != checksum {
            return Err(invalid("the checksum of a frame is wrong"));
        }
        let start = (number * FRAME_OCTETS) as u64;
        let raw = usize::try_from(raw_octets - start).unwrap_or(usize::MAX).min(FRAME_OCTETS);
        if stored.len() == raw { Ok(stored) } else { body::decompressed(&stored, raw) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::Disk;
    use crate::disk::sim::SimDisk;

    fn noise(octets: usize) -> Vec<u8> {
        let mut noise = vec![0; octets];
        blake3::Hasher::new().finalize_xof().fill(&mut noise);
        noise
    }

    #[test]
    fn any_part_reads_back() {
        let disk = SimDisk::new();
        let files = Files::new(Arc::new(disk), 10).unwrap();
        let mut raw = b"compressible ".repeat(20_000);
        raw.extend(noise(FRAME_OCTETS + 5));
        let mut spill = Spill::begin(&files).unwrap();
        raw.chunks(70_001).for_each(|chunk| spill.write(chunk).unwrap());
        let spilled = spill.finish().unwrap();
        assert!(spilled.stored_octets < raw.len() as u64 * 3 / 4);
        for (offset, octets) in [(0, 10), (FRAME_OCTETS - 3, 7), (FRAME_OCTETS, 1), (100, usize::MAX), (raw.len() - 1, 9), (raw.len(), 1)] {
            let expect: Vec<u8> = raw.iter().skip(offset).take(octets).copied().collect();
            assert_eq!(spilled.read(offset as u64, octets).unwrap(), expect, "{offset} {octets}");
        }
    }

    #[test]
    fn damage_is_noticed_and_unused_files_go() {
        let disk = SimDisk::new();
        let files = Files::new(Arc::new(disk.clone()), 10).unwrap();
        let mut spill = Spill::begin(&files).unwrap();
        spill.write(&noise(200_000)).unwrap();
        let spilled = spill.finish().unwrap();
        let path = disk.names().pop().unwrap();
        let good = disk.octets_of(&path).unwrap();
        for at in [40, 150_000, good.len() - 10] {
            let mut bad = good.clone();
            bad[at] ^= 1;
            disk.tamper(&path, bad);
            assert!(spilled.read(0, 200_000).is_err(), "{at}");
        }
        drop(spilled);
        drop(Spill::begin(&files).unwrap());
        files.sweep();
        assert_eq!(Disk::list(&disk, BODIES).unwrap(), Vec::<String>::new());
    }
}
