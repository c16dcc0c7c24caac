//! What follows from the rows of bodies: how much of each segment is alive, which files are in use.
//!
//! Worked out whenever changes are applied, from the rows before and after: it depends on the rows
//! only, so that a rebuilt index has the same.

use super::{Overlay, View};
use crate::body::{BlobRow, Location};
use crate::error::{Error, Result};
use crate::schema::Space;
use std::collections::BTreeMap;

/// Adds the changes of derived spaces to `changes`, which are to be applied over `view`.
pub(crate) fn derive(view: &dyn View, changes: &mut Overlay) -> Result<()> {
    let mut derived = Derived::default();
    for (hash, change) in changes.space(Space::Blob) {
        let before = view.get(Space::Blob, hash)?;
        derived.change(hash, row(before.as_deref())?, row(change.as_deref())?);
    }
    derived.add(view, changes)
}

fn row(value: Option<&[u8]>) -> Result<Option<BlobRow>> {
    let Some(value) = value else { return Ok(None) };
    BlobRow::decode(value).map(Some).ok_or_else(|| Error::corrupt("the index entry of a blob"))
}

#[derive(Default)]
struct Derived {
    segments: BTreeMap<u64, i64>,
    files: BTreeMap<u64, Option<Vec<u8>>>,
}

impl Derived {
    fn change(&mut self, hash: &[u8], before: Option<BlobRow>, after: Option<BlobRow>) {
        if before.map(|row| row.location) == after.map(|row| row.location) {
            return;
        }
        if let Some(row) = before {
            self.count(row, -1, None);
        }
        if let Some(row) = after {
            self.count(row, 1, Some(hash.to_vec()));
        }
    }

    fn count(&mut self, row: BlobRow, sign: i64, hash: Option<Vec<u8>>) {
        match row.location {
            Location::Log(place) => {
                let octets = i64::try_from(row.stored_octets).unwrap_or(i64::MAX);
                let live = self.segments.entry(place.segment).or_default();
                *live = live.saturating_add(octets.saturating_mul(sign));
            }
            Location::File(number) => {
                // A number can pass from one body to another while a log is replayed: who has it wins.
                let holder = self.files.entry(number).or_default();
                *holder = hash.or(holder.take());
            }
        }
    }

    fn add(self, view: &dyn View, changes: &mut Overlay) -> Result<()> {
        for (number, hash) in self.files {
            put(changes, Space::File, number, hash);
        }
        for (number, delta) in self.segments {
            let live = live_octets(view, number)?.saturating_add_signed(delta);
            put(changes, Space::Segment, number, (live > 0).then(|| live.to_be_bytes().to_vec()));
        }
        Ok(())
    }
}

fn put(changes: &mut Overlay, space: Space, number: u64, value: Option<Vec<u8>>) {
    match value {
        Some(value) => changes.put(space, &number.to_be_bytes(), value),
        None => changes.delete(space, &number.to_be_bytes()),
    }
}

/// How many octets of a segment are records of stored bodies.
pub(crate) fn live_octets(view: &dyn View, segment: u64) -> Result<u64> {
    let value = view.get(Space::Segment, &segment.to_be_bytes())?;
    Ok(value.and_then(|value| value.try_into().ok()).map_or(0, u64::from_be_bytes))
}
