//! The index: ordered maps of octets, one per [`Space`], that remember how far in the log they are.
//!
//! It can be thrown away: the log is the truth and fills it again, octet for octet. Nothing above
//! this module knows which adapter is below.
//!
//! Invariants
//! - [`Writer::apply`] is atomic and stores the log position together with the changes.
//! - A [`View`] that is not the writer's sees one state for as long as it lives, whatever is applied
//!   meanwhile.

pub(crate) mod derive;
pub(crate) mod memory;
pub(crate) mod overlay;
pub(crate) mod recent;
pub(crate) mod sqlite;

pub(crate) use overlay::Overlay;

use crate::error::Result;
use crate::schema::Space;
use std::ops::ControlFlow;
use std::sync::Arc;

/// Keys from `from` (with it) up to `to` (without it); no `to`: to the end.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KeyRange {
    /// The first key that belongs to it.
    pub from: Vec<u8>,
    /// The first key beyond it.
    pub to: Option<Vec<u8>>,
}

impl KeyRange {
    /// Every key of a space.
    #[must_use]
    pub fn all() -> Self {
        Self::default()
    }

    /// Every key that starts with `prefix`.
    #[must_use]
    pub fn prefix(prefix: &[u8]) -> Self {
        Self { from: prefix.to_vec(), to: after_prefix(prefix) }
    }

    /// The keys from `from` (with it) to `to` (without it).
    #[must_use]
    pub fn new(from: &[u8], to: &[u8]) -> Self {
        Self { from: from.to_vec(), to: Some(to.to_vec()) }
    }

    /// The same, but only what comes after `key`.
    #[must_use]
    pub fn after(mut self, key: &[u8]) -> Self {
        let next = [key, &[0]].concat();
        self.from = self.from.max(next);
        self
    }

    /// Whether no key can be in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.to.as_ref().is_some_and(|to| *to <= self.from)
    }
}

/// The first key that is beyond all keys with this prefix; none when all its octets are 255.
fn after_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|octet| *octet < u8::MAX)?;
    let mut to: Vec<u8> = prefix.iter().take(last.saturating_add(1)).copied().collect();
    if let Some(octet) = to.last_mut() {
        *octet = octet.saturating_add(1);
    }
    Some(to)
}

/// Which way a scan goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the lowest key up.
    Forward,
    /// From the highest key down.
    Back,
}

/// What a scan calls for each key and value, in order; `Break` ends it.
pub(crate) type Visit<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>;

/// How far in the log the index is: everything before this place is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Position {
    /// The segment's number.
    pub(crate) segment: u64,
    /// The offset in it at which the next record begins.
    pub(crate) offset: u64,
    /// The sequence number of the last commit before it.
    pub(crate) sequence: u64,
}

impl Position {
    /// 24 octets: segment, offset, sequence.
    pub(crate) fn encode(self) -> Vec<u8> {
        [self.segment, self.offset, self.sequence].iter().flat_map(|number| number.to_be_bytes()).collect()
    }

    pub(crate) fn decode(octets: &[u8]) -> Option<Self> {
        let number = |at: usize| octets.get(at..at + 8)?.try_into().ok().map(u64::from_be_bytes);
        Some(Self { segment: number(0)?, offset: number(8)?, sequence: number(16)? })
    }
}

/// One state of the index, for reading.
pub(crate) trait View: Send {
    /// The value of a key.
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>>;
    /// Visits the keys of a range in order.
    fn scan(&self, space: Space, range: &KeyRange, direction: Direction, visit: Visit<'_>) -> Result<()>;
}

/// What readers and the keeper share.
pub(crate) trait Index: Send + Sync {
    /// A view of what has been applied so far.
    fn view(&self) -> Result<Box<dyn View>>;
    /// Makes durable what has been applied so far, beside the writer; how long the index's own log
    /// is, in octets.
    fn checkpoint(&self) -> Result<u64>;
    /// The size on disk in octets.
    fn octets(&self) -> u64;
    /// How long the index's own log is, in octets.
    fn wal_octets(&self) -> u64;
}

/// The one hand that changes the index; as a view it sees what it has applied.
pub(crate) trait Writer: View {
    /// Begins what [`Writer::apply`] or [`Writer::end`] ends.
    fn begin(&mut self) -> Result<()>;
    /// Makes all changes, later ones over earlier ones, and the position visible, or none of them.
    fn apply(&mut self, changes: &[Arc<Overlay>], position: Position) -> Result<()>;
    /// Ends without changes.
    fn end(&mut self);
    /// What has been applied.
    fn position(&self) -> Result<Option<Position>>;
    /// Forgets everything.
    fn clear(&mut self) -> Result<()>;
    /// Makes durable what has been applied, so that the index's own log can start over.
    fn checkpoint(&mut self) -> Result<()>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_become_ranges() {
        let check = |prefix: &[u8], to: Option<&[u8]>| {
            assert_eq!(KeyRange::prefix(prefix), KeyRange { from: prefix.to_vec(), to: to.map(<[u8]>::to_vec) });
        };
        check(b"", None);
        check(b"a", Some(b"b"));
        check(b"a\xff", Some(b"b"));
        check(b"\xff\xff", None);
        check(b"\x00", Some(b"\x01"));
        assert_eq!(KeyRange::prefix(b"a").after(b"ab").from, b"ab\0");
        assert!(KeyRange::new(b"b", b"b").is_empty() && !KeyRange::all().is_empty());
    }

    #[test]
    fn positions_read_back() {
        let position = Position { segment: 3, offset: 1 << 40, sequence: u64::MAX };
        assert_eq!(Position::decode(&position.encode()), Some(position));
        assert_eq!(Position::decode(b"short"), None);
    }
}
