//! Bodies: the octets of messages, named by their BLAKE3 hash and stored once however many hold them.
//!
//! A [`Body`] is hashed and compressed in the thread that made it; the writer only places it. Small
//! ones become a record of the log, long ones a file of their own (`spill`). [`BlobRow`] is what the
//! index knows of a stored body.
//!
//! Invariant: what is read back has the length that was stored and a checksum that fits.

use crate::error::{Error, Result};
use crate::files::{FileName, Files};
use crate::log::record::{self, BodyHead, BodyRecord, HEADER_OCTETS, Header, Kind, Place};
use crate::spill::{self, Spilled};
use mail::BlobHash;
use std::cell::RefCell;
use std::fmt;
use std::io;
use std::sync::Arc;

/// zstd's level: the fastest, as bodies are mostly base64.
pub(crate) const LEVEL: i32 = 1;
/// Shorter bodies are not worth compressing, in octets.
const COMPRESS_OCTETS_MIN: usize = 256;

/// A message's octets, hashed and ready to be stored. Cheap to clone.
#[derive(Clone)]
pub struct Body {
    inner: Arc<Inner>,
}

struct Inner {
    hash: BlobHash,
    kept: Kept,
}

enum Kept {
    Small { raw: Vec<u8>, record: BodyRecord },
    Long(Spilled),
}

impl Body {
    /// Takes a message that is in memory anyway, of at most 4 GiB; [`crate::Store::draft`] is for
    /// streams and for what may be long.
    #[must_use]
    pub fn new(octets: &[u8]) -> Self {
        Self::from_vec(octets.to_vec())
    }

    /// [`Body::new`] without a copy.
    #[must_use]
    pub fn from_vec(raw: Vec<u8>) -> Self {
        let hash = BlobHash(*blake3::hash(&raw).as_bytes());
        let compressed = compressed(&raw);
        let (codec, stored) = compressed.as_ref().map_or((Codec::Plain, &raw), |octets| (Codec::Zstd, octets));
        let head = BodyHead { hash, raw_octets: u32::try_from(raw.len()).unwrap_or(u32::MAX), codec: codec.number() };
        let record = BodyRecord::new(head, stored);
        Self { inner: Arc::new(Inner { hash, kept: Kept::Small { raw, record } }) }
    }

    pub(crate) fn long(hash: BlobHash, spilled: Spilled) -> Self {
        Self { inner: Arc::new(Inner { hash, kept: Kept::Long(spilled) }) }
    }

    /// The name under which it is stored.
    #[must_use]
    pub fn hash(&self) -> BlobHash {
        self.inner.hash
    }

    /// Its length in octets.
    #[must_use]
    pub fn octets(&self) -> u64 {
        match &self.inner.kept {
            Kept::Small { raw, .. } => raw.len() as u64,
            Kept::Long(spilled) => spilled.raw_octets,
        }
    }

    /// All its octets, if it is small enough to be in memory (`Settings::small_body_octets_max`).
    #[must_use]
    pub fn in_memory(&self) -> Option<&[u8]> {
        match &self.inner.kept {
            Kept::Small { raw, .. } => Some(raw),
            Kept::Long(_) => None,
        }
    }

    /// Octets from `offset` on, at most `octets_max`; fewer only at its end.
    pub fn read(&self, offset: u64, octets_max: usize) -> Result<Vec<u8>> {
        match &self.inner.kept {
            Kept::Small { raw, .. } => Ok(cut(raw, offset, octets_max)),
            Kept::Long(spilled) => spilled.read(offset, octets_max),
        }
    }

    pub(crate) fn record(&self) -> Option<&BodyRecord> {
        match &self.inner.kept {
            Kept::Small { record, .. } => Some(record),
            Kept::Long(_) => None,
        }
    }

    pub(crate) fn spilled(&self) -> Option<&Spilled> {
        match &self.inner.kept {
            Kept::Small { .. } => None,
            Kept::Long(spilled) => Some(spilled),
        }
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Body({}, {} octets)", self.hash(), self.octets())
    }
}

/// The part of `octets` from `offset` on.
pub(crate) fn cut(octets: &[u8], offset: u64, octets_max: usize) -> Vec<u8> {
    let rest = usize::try_from(offset).ok().and_then(|from| octets.get(from..)).unwrap_or_default();
    rest.get(..octets_max).unwrap_or(rest).to_vec()
}

/// How octets are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Codec {
    Plain,
    Zstd,
}

impl Codec {
    const fn number(self) -> u8 {
        match self {
            Self::Plain => 0,
            Self::Zstd => 1,
        }
    }

    const fn by_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Plain),
            1 => Some(Self::Zstd),
            _ => None,
        }
    }
}

thread_local! {
    static COMPRESSOR: RefCell<Option<zstd::bulk::Compressor<'static>>> = const { RefCell::new(None) };
    static DECOMPRESSOR: RefCell<Option<zstd::bulk::Decompressor<'static>>> = const { RefCell::new(None) };
}

/// The octets compressed, if that saves a tenth at least.
pub(crate) fn compressed(raw: &[u8]) -> Option<Vec<u8>> {
    if raw.len() < COMPRESS_OCTETS_MIN {
        return None;
    }
    let compressed = COMPRESSOR.with_borrow_mut(|slot| {
        let compressor = match slot.take() {
            Some(compressor) => compressor,
            None => zstd::bulk::Compressor::new(LEVEL).ok()?,
        };
        slot.insert(compressor).compress(raw).ok()
    })?;
    (compressed.len() <= raw.len() - raw.len() / 10).then_some(compressed)
}

/// What [`compressed`] gave, back.
pub(crate) fn decompressed(stored: &[u8], raw_octets: usize) -> io::Result<Vec<u8>> {
    let raw = DECOMPRESSOR.with_borrow_mut(|slot| {
        let decompressor = match slot.take() {
            Some(decompressor) => decompressor,
            None => zstd::bulk::Decompressor::new()?,
        };
        slot.insert(decompressor).decompress(stored, raw_octets)
    })?;
    if raw.len() == raw_octets { Ok(raw) } else { Err(io::ErrorKind::InvalidData.into()) }
}

/// A stored body, as far as the index tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Blob {
    /// Its length, uncompressed.
    pub octets: u64,
    /// How many refer to it: emails and queued messages.
    pub references: u64,
}

/// Where a body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Location {
    /// A record of the log.
    Log(Place),
    /// A file of its own, with this number.
    File(u64),
}

/// The value of `Space::Blob`: 0 and the segment and offset of the record, or 1 and the number of
/// the file; then the octets it takes there, its raw octets, the references: varints all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BlobRow {
    pub(crate) location: Location,
    /// Octets of the whole record, or of the file.
    pub(crate) stored_octets: u64,
    pub(crate) raw_octets: u64,
    pub(crate) references: u64,
}

impl BlobRow {
    pub(crate) fn encode(self) -> Vec<u8> {
        let mut octets = Vec::with_capacity(20);
        let place = match self.location {
            Location::Log(place) => [0, place.segment, place.offset],
            Location::File(number) => [1, number, 0],
        };
        for number in place.into_iter().chain([self.stored_octets, self.raw_octets, self.references]) {
            record::append_varint(&mut octets, number);
        }
        octets
    }

    pub(crate) fn decode(mut octets: &[u8]) -> Option<Self> {
        let mut number = || record::take_varint(&mut octets);
        let (kind, first, second) = (number()?, number()?, number()?);
        let location = match kind {
            0 => Location::Log(Place { segment: first, offset: second }),
            1 => Location::File(first),
            _ => return None,
        };
        Some(Self { location, stored_octets: number()?, raw_octets: number()?, references: number()? })
    }

    /// Octets of the stored body; reads them wherever they are.
    pub(crate) fn read(&self, files: &Files, hash: &BlobHash, offset: u64, octets_max: usize) -> Result<Vec<u8>> {
        match self.location {
            Location::Log(place) => Ok(cut(&self.logged(files, hash, place)?, offset, octets_max)),
            Location::File(number) => {
                let file = files.open(FileName::Body(number))?;
                spill::read(&*file, self.stored_octets, self.raw_octets, offset, octets_max).map_err(|e| damaged(hash, &e.to_string()))
            }
        }
    }

    fn logged(&self, files: &Files, hash: &BlobHash, place: Place) -> Result<Vec<u8>> {
        let payload = self.payload(files, hash, place)?;
        let (head, stored) =
            record::body(&payload).filter(|(head, _)| head.hash == *hash).ok_or_else(|| damaged(hash, "another body is there"))?;
        match Codec::by_number(head.codec) {
            Some(Codec::Plain) => Ok(stored.to_vec()),
            Some(Codec::Zstd) => decompressed(stored, head.raw_octets as usize).map_err(|_| damaged(hash, "it cannot be decompressed")),
            None => Err(damaged(hash, "a newer version has written it")),
        }
    }

    /// The payload of its record in the log, checked.
    pub(crate) fn payload(&self, files: &Files, hash: &BlobHash, place: Place) -> Result<Vec<u8>> {
        let octets = usize::try_from(self.stored_octets).map_err(|_| damaged(hash, "its length"))?;
        let file = files.open(FileName::Segment(place.segment))?;
        let mut record = crate::disk::read_exactly(&*file, place.offset, octets).map_err(|e| match e.kind() {
            io::ErrorKind::UnexpectedEof => damaged(hash, "its segment ends before it does"),
            _ => Error::io("reading the log", e),
        })?;
        let header =
            Header::decode(&record, place).filter(|header| header.kind == Kind::Body && header.record_octets() == self.stored_octets);
        let header = header.ok_or_else(|| damaged(hash, "no such record is there"))?;
        let payload = record.split_off(HEADER_OCTETS);
        if crc32c::crc32c(&payload) == header.checksum { Ok(payload) } else { Err(damaged(hash, "its checksum is wrong")) }
    }
}

fn damaged(hash: &BlobHash, why: &str) -> Error {
    Error::corrupt(format!("blob {hash}: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn compression_must_pay() {
        let text = b"To be, or not to be. ".repeat(100);
        let small = compressed(&text).unwrap();
        assert_eq!(decompressed(&small, text.len()).unwrap(), text);
        assert!(decompressed(&small, text.len() + 1).is_err());
        assert!(compressed(b"short").is_none());
        let noise: Vec<u8> = (0..100_u32).flat_map(|n| *blake3::hash(&n.to_le_bytes()).as_bytes()).collect();
        assert!(compressed(&noise).is_none());
    }

    proptest! {
        #[test]
        fn rows_read_back(file: bool, first: u64, offset: u64, stored_octets: u64, raw_octets: u64, references: u64) {
            let location = if file { Location::File(first) } else { Location::Log(Place { segment: first, offset }) };
            let row = BlobRow { location, stored_octets, raw_octets, references };
            prop_assert_eq!(BlobRow::decode(&row.encode()), Some(row));
        }

        #[test]
        fn parts_are_cut_as_asked(octets: Vec<u8>, offset in 0_u64..200, octets_max in 0_usize..200) {
            let expect: Vec<u8> = octets.iter().skip(usize::try_from(offset).unwrap()).take(octets_max).copied().collect();
            prop_assert_eq!(Body::new(&octets).read(offset, octets_max).unwrap(), expect);
        }
    }
}
