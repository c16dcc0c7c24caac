//! How values are written: one format octet, then postcard.
//!
//! A record only ever grows at its end. When it does, [`Record::FORMAT`] goes up and
//! [`Record::upgrade`] reads the forms before; a form that is newer than this program is an error,
//! never a guess.
//!
//! Invariant: `fixtures/format_1.txt` holds one value of every kind as format 1 writes it, and they
//! are read for ever (`testing::fixtures`).

use crate::error::{Error, Result};
use crate::index::{Direction, KeyRange};
use crate::schema::Space;
use crate::tx::{ReadTx, WriteTx};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt;
use std::ops::ControlFlow;

/// A kind of value and where it lives.
pub(crate) trait Record: Serialize + DeserializeOwned {
    /// Which space holds it.
    const SPACE: Space;
    /// What it is called in errors.
    const NAME: &'static str;
    /// The format octet that is written.
    const FORMAT: u8 = 1;

    /// Reads an older form.
    fn upgrade(_format: u8, _octets: &[u8]) -> Option<Self> {
        None
    }
}

/// The octets of a record.
pub(crate) fn encode<R: Record>(record: &R) -> Result<Vec<u8>> {
    let mut octets = Vec::with_capacity(96);
    octets.push(R::FORMAT);
    postcard::to_extend(record, octets).map_err(|_| Error::corrupt(format!("a {} that cannot be written", R::NAME)))
}

/// Reads a record; nothing may stand behind it.
pub(crate) fn decode<R: Record>(key: &[u8], octets: &[u8]) -> Result<R> {
    match decode_front::<R>(key, octets)? {
        (record, []) => Ok(record),
        _ => Err(unreadable::<R>(key)),
    }
}

/// Reads a record and returns what stands behind it.
pub(crate) fn decode_front<'a, R: Record>(key: &[u8], octets: &'a [u8]) -> Result<(R, &'a [u8])> {
    let read = match octets.split_first() {
        Some((format, rest)) if *format == R::FORMAT => postcard::take_from_bytes(rest).ok(),
        Some((format, rest)) => R::upgrade(*format, rest).map(|record| (record, [].as_slice())),
        None => None,
    };
    read.ok_or_else(|| unreadable::<R>(key))
}

/// The error for a value that cannot be read.
pub(crate) fn unreadable<R: Record>(key: &[u8]) -> Error {
    corrupt(R::SPACE, key, "cannot be read, or was written by a newer version")
}

/// The error that names a key and what is wrong with it.
pub(crate) fn corrupt(space: Space, key: &[u8], wrong: &str) -> Error {
    let key = Hex(key);
    Error::corrupt(format!("{} {key} {wrong}", space.table()))
}

/// Octets as people write keys down.
struct Hex<'a>(&'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

impl ReadTx {
    /// The record at a key.
    pub(crate) fn record<R: Record>(&self, key: &[u8]) -> Result<Option<R>> {
        self.get(R::SPACE, key)?.map(|octets| decode(key, &octets)).transpose()
    }

    /// The records of a range in order, with their keys.
    pub(crate) fn records<R: Record>(&self, range: &KeyRange) -> Result<Vec<(Vec<u8>, R)>> {
        self.gather(R::SPACE, range, Direction::Forward, usize::MAX, |key, octets| Ok((key.to_vec(), decode(key, octets)?)))
    }

    /// The keys of a range in order, at most `max`.
    pub(crate) fn keys(&self, space: Space, range: &KeyRange, max: usize) -> Result<Vec<Vec<u8>>> {
        self.gather(space, range, Direction::Forward, max, |key, _| Ok(key.to_vec()))
    }

    /// What `read` makes of the keys and values of a range, at most `max` of them.
    pub(crate) fn gather<T>(
        &self,
        space: Space,
        range: &KeyRange,
        direction: Direction,
        max: usize,
        mut read: impl FnMut(&[u8], &[u8]) -> Result<T>,
    ) -> Result<Vec<T>> {
        let mut found = Ok(Vec::new());
        self.scan(space, range, direction, |key, octets| {
            let Ok(list) = &mut found else { return ControlFlow::Break(()) };
            if list.len() >= max {
                return ControlFlow::Break(());
            }
            match read(key, octets) {
                Ok(one) => list.push(one),
                Err(error) => found = Err(error),
            }
            let full = found.as_ref().map_or(true, |list| list.len() >= max);
            if full { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        found
    }

    /// Whether a key is there.
    pub(crate) fn has(&self, space: Space, key: &[u8]) -> Result<bool> {
        Ok(self.get(space, key)?.is_some())
    }
}

impl WriteTx {
    /// Puts a record.
    pub(crate) fn save<R: Record>(&mut self, key: &[u8], record: &R) -> Result<()> {
        let octets = encode(record)?;
        self.put(R::SPACE, key, octets);
        Ok(())
    }

    /// Puts a record under a key that is not there.
    pub(crate) fn save_new<R: Record>(&mut self, key: &[u8], record: &R) -> Result<()> {
        let octets = encode(record)?;
        self.add(R::SPACE, key, octets);
        Ok(())
    }

    /// Deletes every key of a range.
    pub(crate) fn erase(&mut self, space: Space, range: &KeyRange) -> Result<()> {
        let keys = self.keys(space, range, usize::MAX)?;
        for key in &keys {
            self.delete(space, key);
        }
        Ok(())
    }
}
