//! Segment files: `log/NNNNNNNNNNNN.seg`, a header and then records.
//!
//! ```text
//! header(64)  magic (8)  format (4)  0 (4)  number (8)  base (8)  base octets (8)  sequence (8)  0 (12)  checksum (4)
//! ```
//!
//! `base` is the segment from which the index is rebuilt: everything the keys and values before it
//! said has been said again from there on. Segments before it hold bodies only, as far as anybody
//! cares. A segment's rest that was never written is missing or zeros.

use super::OpenError;
use crate::disk::{self, File};
use std::io;

/// Octets of a segment before its first record.
pub(crate) const HEADER_OCTETS: u64 = 64;
/// The folder of the segments.
pub(crate) const FOLDER: &str = "log";
/// The version of the log this program writes.
pub(crate) const FORMAT: u32 = 1;

const MAGIC: &[u8; 8] = b"PstrdLog";
const CHECKED_OCTETS: usize = 60;

/// What a segment says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) number: u64,
    /// The segment from which the index can be rebuilt.
    pub(crate) base: u64,
    /// How much of the log restated everything when `base` was made.
    pub(crate) base_octets: u64,
    /// The sequence number of the last commit before this segment.
    pub(crate) sequence: u64,
}

impl Header {
    pub(crate) fn encode(self) -> Vec<u8> {
        let mut octets = MAGIC.to_vec();
        octets.extend(FORMAT.to_le_bytes());
        octets.extend([0; 4]);
        for number in [self.number, self.base, self.base_octets, self.sequence] {
            octets.extend(number.to_le_bytes());
        }
        octets.resize(CHECKED_OCTETS, 0);
        let checksum = crc32c::crc32c(&octets);
        octets.extend(checksum.to_le_bytes());
        octets
    }

    /// None: this is no whole header (a crash while it was written, or damage).
    pub(crate) fn decode(octets: &[u8]) -> Result<Option<Self>, OpenError> {
        let Some((checked, checksum)) = octets.split_at_checked(CHECKED_OCTETS) else { return Ok(None) };
        if checksum != crc32c::crc32c(checked).to_le_bytes() || !checked.starts_with(MAGIC) {
            return Ok(None);
        }
        let number = |at: usize| checked.get(at..at + 8).and_then(|n| n.try_into().ok()).map_or(0, u64::from_le_bytes);
        match checked.get(8..12).and_then(|n| n.try_into().ok()).map_or(0, u32::from_le_bytes) {
            found if found > FORMAT => Err(OpenError::NewerFormat { found, known: FORMAT }),
            _ => Ok(Some(Self { number: number(16), base: number(24), base_octets: number(32), sequence: number(40) })),
        }
    }

    pub(crate) fn read(file: &dyn File) -> Result<Option<Self>, OpenError> {
        let header_octets = usize::try_from(HEADER_OCTETS).unwrap_or_default();
        match disk::read_exactly(file, 0, header_octets) {
            Ok(octets) => Self::decode(&octets),
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(e) => Err(OpenError::io("reading a segment of the log", e)),
        }
    }
}

/// The path of a segment.
pub(crate) fn path(number: u64) -> String {
    format!("{FOLDER}/{number:012}.seg")
}

/// The number in a segment's file name.
pub(crate) fn number(name: &str) -> Option<u64> {
    name.strip_suffix(".seg")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_read_back_and_newer_ones_are_named() {
        let header = Header { number: 3, base: 2, base_octets: 77, sequence: 5 };
        let octets = header.encode();
        assert_eq!(octets.len() as u64, HEADER_OCTETS);
        assert_eq!(Header::decode(&octets).unwrap(), Some(header));
        assert_eq!(Header::decode(&octets[..63]).unwrap(), None);
        let mut newer = octets[..60].to_vec();
        newer[8] = 9;
        newer.extend(crc32c::crc32c(&newer).to_le_bytes());
        assert!(matches!(Header::decode(&newer), Err(OpenError::NewerFormat { found: 9, known: FORMAT })));
    }

    #[test]
    fn names_tell_the_number() {
        assert_eq!(number(path(12).rsplit('/').next().unwrap()), Some(12));
        assert_eq!(number("12.body"), None);
    }
}
