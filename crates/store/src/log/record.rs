//! The records of the log: what is written, octet for octet.
//!
//! ```text
//! record   header(16) payload(length)
//! header   checksum of the rest of the header and of the record's place (4)
//!          checksum of the payload (4)   length of the payload (4)   kind (1)   flags (1)   0 (2)
//! body     blob hash (32)   length of the raw octets (4)   codec (1)   the octets, as stored
//! commit   sequence (8)   group (8)   { operation (1)   space (1)   key   [value] }*
//! ```
//!
//! Fixed numbers are little-endian, checksums CRC32C; keys and values stand after their length, a
//! varint. The bodies of a commit come before it; the commit record ends it. A group of commits is
//! what one sync makes durable; its last commit carries [`GROUP_END`].

use crate::error::{Error, Result};
use crate::index::Overlay;
use crate::index::overlay::Change;
use crate::schema::Space;
use mail::BlobHash;

/// Octets of a record before its payload.
pub(crate) const HEADER_OCTETS: usize = 16;
/// Octets of a body's payload before the stored octets.
pub(crate) const BODY_HEAD_OCTETS: usize = 37;
/// Flag of the commit that ends its group.
pub(crate) const GROUP_END: u8 = 1;

/// What a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Body,
    Commit,
}

impl Kind {
    const fn number(self) -> u8 {
        match self {
            Self::Body => 1,
            Self::Commit => 2,
        }
    }

    const fn by_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Body),
            2 => Some(Self::Commit),
            _ => None,
        }
    }
}

/// Where a record stands; part of its checksum, so that no record passes for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) segment: u64,
    pub(crate) offset: u64,
}

/// What stands before a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) kind: Kind,
    pub(crate) flags: u8,
    pub(crate) length: u32,
    pub(crate) checksum: u32,
}

impl Header {
    pub(crate) fn encode(self, place: Place) -> [u8; HEADER_OCTETS] {
        let mut octets = [0; HEADER_OCTETS];
        let rest = self.rest();
        let fields = salted(&rest, place).to_le_bytes().into_iter().chain(rest);
        octets.iter_mut().zip(fields).for_each(|(to, from)| *to = from);
        octets
    }

    fn rest(self) -> Vec<u8> {
        let mut rest = Vec::with_capacity(12);
        rest.extend(self.checksum.to_le_bytes());
        rest.extend(self.length.to_le_bytes());
        rest.extend([self.kind.number(), self.flags, 0, 0]);
        rest
    }

    /// The header at a place, if there is a whole one.
    pub(crate) fn decode(octets: &[u8], place: Place) -> Option<Self> {
        let (checksum, rest) = octets.get(..HEADER_OCTETS)?.split_first_chunk::<4>()?;
        if u32::from_le_bytes(*checksum) != salted(rest, place) {
            return None;
        }
        let number = |at: usize| rest.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes);
        let kind = Kind::by_number(*rest.get(8)?)?;
        Some(Self { kind, flags: *rest.get(9)?, checksum: number(0)?, length: number(4)? })
    }

    /// Octets of the whole record.
    pub(crate) fn record_octets(&self) -> u64 {
        HEADER_OCTETS as u64 + u64::from(self.length)
    }
}

fn salted(octets: &[u8], place: Place) -> u32 {
    let sum = crc32c::crc32c(&place.segment.to_le_bytes());
    let sum = crc32c::crc32c_append(sum, &place.offset.to_le_bytes());
    crc32c::crc32c_append(sum, octets)
}

/// The payload of a body record and its checksum: made in the thread that has the body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BodyRecord {
    pub(crate) payload: Vec<u8>,
    pub(crate) checksum: u32,
}

/// What stands before the stored octets of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BodyHead {
    pub(crate) hash: BlobHash,
    pub(crate) raw_octets: u32,
    pub(crate) codec: u8,
}

impl BodyRecord {
    pub(crate) fn new(head: BodyHead, stored: &[u8]) -> Self {
        let mut payload = Vec::with_capacity(BODY_HEAD_OCTETS + stored.len());
        payload.extend(head.hash.0);
        payload.extend(head.raw_octets.to_le_bytes());
        payload.push(head.codec);
        payload.extend_from_slice(stored);
        Self::of(payload)
    }

    pub(crate) fn of(payload: Vec<u8>) -> Self {
        let checksum = crc32c::crc32c(&payload);
        Self { payload, checksum }
    }

    /// Octets of the whole record.
    pub(crate) fn record_octets(&self) -> u64 {
        (HEADER_OCTETS + self.payload.len()) as u64
    }

    /// Appends the record to `buffer`, whose first octet is written at `start`.
    pub(crate) fn append(&self, buffer: &mut Vec<u8>, start: Place) {
        append(buffer, start, Kind::Body, 0, &self.payload, self.checksum);
    }
}

/// The head of a body's payload and the stored octets.
pub(crate) fn body(payload: &[u8]) -> Option<(BodyHead, &[u8])> {
    let (head, stored) = payload.split_at_checked(BODY_HEAD_OCTETS)?;
    let (hash, rest) = head.split_first_chunk::<32>()?;
    let (raw_octets, codec) = rest.split_first_chunk::<4>()?;
    let head = BodyHead { hash: BlobHash(*hash), raw_octets: u32::from_le_bytes(*raw_octets), codec: *codec.first()? };
    Some((head, stored))
}

fn append(buffer: &mut Vec<u8>, start: Place, kind: Kind, flags: u8, payload: &[u8], checksum: u32) {
    let place = Place { offset: start.offset + buffer.len() as u64, ..start };
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    buffer.extend(Header { kind, flags, length, checksum }.encode(place));
    buffer.extend_from_slice(payload);
}

/// One commit, as the log has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Commit {
    pub(crate) sequence: u64,
    pub(crate) group: u64,
    pub(crate) changes: Overlay,
}

/// Appends a commit record.
pub(crate) fn append_commit<'a>(
    buffer: &mut Vec<u8>,
    start: Place,
    (sequence, group): (u64, u64),
    changes: impl Iterator<Item = (Space, &'a Vec<u8>, &'a Change)>,
) {
    let mut payload = Vec::with_capacity(512);
    payload.extend(sequence.to_le_bytes());
    payload.extend(group.to_le_bytes());
    for (space, key, change) in changes {
        append_operation(&mut payload, space, key, change.as_deref());
    }
    let checksum = crc32c::crc32c(&payload);
    append(buffer, start, Kind::Commit, 0, &payload, checksum);
}

/// Marks the commit record that begins at `at` in `buffer` as the last of its group.
pub(crate) fn end_group(buffer: &mut [u8], start: Place, at: usize) {
    let place = Place { offset: start.offset + at as u64, ..start };
    let Some(octets) = buffer.get_mut(at..at + HEADER_OCTETS) else { return };
    let Some(header) = Header::decode(octets, place) else { return };
    octets.copy_from_slice(&Header { flags: header.flags | GROUP_END, ..header }.encode(place));
}

const PUT: u8 = 1;
const DELETE: u8 = 0;

fn append_operation(payload: &mut Vec<u8>, space: Space, key: &[u8], value: Option<&[u8]>) {
    payload.push(if value.is_some() { PUT } else { DELETE });
    payload.push(space.number());
    append_octets(payload, key);
    if let Some(value) = value {
        append_octets(payload, value);
    }
}

fn append_octets(payload: &mut Vec<u8>, octets: &[u8]) {
    append_varint(payload, octets.len() as u64);
    payload.extend_from_slice(octets);
}

/// Seven bits an octet, the lowest first; the high bit says that more follow.
pub(crate) fn append_varint(to: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        to.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    to.push((number & 0x7f) as u8);
}

/// Takes a varint off the front.
pub(crate) fn take_varint(octets: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (first, rest) = octets.split_first()?;
        *octets = rest;
        number |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

fn take_octets<'a>(octets: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(take_varint(octets)?).ok()?;
    let (taken, rest) = octets.split_at_checked(length)?;
    *octets = rest;
    Some(taken)
}

/// Reads a commit's payload, whose checksum was right.
pub(crate) fn commit(payload: &[u8]) -> Result<Commit> {
    let mut rest = payload;
    let mut commit = start_of_commit(&mut rest).ok_or_else(|| Error::corrupt("a commit record without its numbers"))?;
    while !rest.is_empty() {
        operation(&mut rest, &mut commit.changes).ok_or_else(|| operation_error(&commit))?;
    }
    Ok(commit)
}

fn operation_error(commit: &Commit) -> Error {
    Error::corrupt(format!("commit {} has an operation this program does not know", commit.sequence))
}

fn start_of_commit(rest: &mut &[u8]) -> Option<Commit> {
    let (sequence, more) = rest.split_first_chunk::<8>()?;
    let (group, more) = more.split_first_chunk::<8>()?;
    *rest = more;
    Some(Commit { sequence: u64::from_le_bytes(*sequence), group: u64::from_le_bytes(*group), changes: Overlay::default() })
}

fn operation(rest: &mut &[u8], changes: &mut Overlay) -> Option<()> {
    let ([operation, space], more) = rest.split_first_chunk::<2>()?;
    let space = Space::by_number(*space)?;
    *rest = more;
    let key = take_octets(rest)?;
    match *operation {
        DELETE => changes.delete(space, key),
        PUT => changes.put(space, key, take_octets(rest)?.to_vec()),
        _ => return None,
    }
    Some(())
}

/// What a damaged commit held, as far as it can be read: for the report.
pub(crate) fn describe(kind: Kind, payload: &[u8]) -> String {
    match kind {
        Kind::Body => {
            body(payload).map_or_else(|| "a body".into(), |(head, _)| format!("body {} of {} octets", head.hash, head.raw_octets))
        }
        Kind::Commit => describe_commit(payload),
    }
}

fn describe_commit(payload: &[u8]) -> String {
    let mut rest = payload;
    let Some(mut commit) = start_of_commit(&mut rest) else { return "a commit".into() };
    while operation(&mut rest, &mut commit.changes).is_some() {}
    let mut spaces: Vec<&str> = commit.changes.iter().map(|(space, _, _)| space.table()).collect();
    spaces.dedup();
    format!("commit {} with changes of {}", commit.sequence, spaces.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PLACE: Place = Place { segment: 7, offset: 64 };

    #[test]
    fn a_header_is_good_at_its_place_only() {
        let header = Header { kind: Kind::Commit, flags: 1, length: 99, checksum: 5 };
        let octets = header.encode(PLACE);
        assert_eq!(Header::decode(&octets, PLACE), Some(header));
        assert_eq!(Header::decode(&octets, Place { offset: 65, ..PLACE }), None);
        assert_eq!(Header::decode(&octets, Place { segment: 8, ..PLACE }), None);
        assert_eq!(Header::decode(&[0; HEADER_OCTETS], Place { segment: 0, offset: 0 }), None);
    }

    #[test]
    fn the_last_commit_of_a_group_is_marked() {
        let mut buffer = vec![0; 10];
        let changes = Overlay::default();
        append_commit(&mut buffer, PLACE, (1, 1), changes.iter());
        end_group(&mut buffer, PLACE, 10);
        let header = Header::decode(&buffer[10..], Place { offset: 74, ..PLACE }).unwrap();
        assert_eq!((header.flags, header.record_octets()), (GROUP_END, 32));
    }

    proptest! {
        #[test]
        fn commits_read_back(
            puts in proptest::collection::vec((any::<Vec<u8>>(), proptest::option::of(any::<Vec<u8>>())), 0..20),
            sequence: u64,
        ) {
            let mut changes = Overlay::default();
            for (key, value) in puts {
                match value {
                    Some(value) => changes.put(Space::Meta, &key, value),
                    None => changes.delete(Space::Blob, &key),
                }
            }
            let mut buffer = Vec::new();
            append_commit(&mut buffer, PLACE, (sequence, 3), changes.iter());
            let header = Header::decode(&buffer, PLACE).unwrap();
            prop_assert_eq!(crc32c::crc32c(&buffer[HEADER_OCTETS..]), header.checksum);
            prop_assert_eq!(commit(&buffer[HEADER_OCTETS..]).unwrap(), Commit { sequence, group: 3, changes });
        }

        #[test]
        fn no_octets_make_it_fall_over(octets: Vec<u8>) {
            let _ = commit(&octets);
            let _ = (describe(Kind::Commit, &octets), describe(Kind::Body, &octets), Header::decode(&octets, PLACE));
        }

        #[test]
        fn varints_read_back(number: u64) {
            let mut octets = Vec::new();
            append_varint(&mut octets, number);
            prop_assert_eq!(take_varint(&mut &octets[..]), Some(number));
        }
    }
}
