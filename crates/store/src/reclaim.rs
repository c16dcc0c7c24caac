//! Space that comes back: segments of the log whose bodies are mostly gone.
//!
//! Two steps, both through the single writer, in small commits between those of others.
//!
//! 1. **Restate.** When enough of the log is dead, a new segment begins, every key and value is said
//!    again behind it, and the segment after that names it as the new base. From then on a rebuild
//!    begins there, so that what keys and values the segments before it hold no longer matters: no
//!    deletion has to be carried along, and a rebuild never takes longer than the store is large.
//! 2. **Move.** In a segment before the base only bodies can be alive. Where few are, they are
//!    appended again, and the file is removed when no reader can see it any more.
//!
//! Invariant: at every moment the log from its base on, and the bodies that it refers to, are all
//! there; a crash anywhere only repeats work.

use crate::commit::{Command, Extent, Shared};
use crate::door::Door;
use crate::error::Result;
use crate::files::FileName;
use crate::index::{Direction, KeyRange};
use crate::log::record::{self, BodyRecord, Kind, Place};
use crate::log::replay::{self, Expect, Record};
use crate::schema::Space;
use crate::tx::ReadTx;
use mail::BlobHash;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::oneshot;

/// How many octets of bodies are moved in one commit.
const MOVE_OCTETS: usize = 1 << 20;

/// What one pass did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reclaimed {
    /// Whether every key and value was said again.
    pub restated: bool,
    /// Octets of bodies that were moved.
    pub moved_octets: u64,
    /// Segments that were removed.
    pub segments: u64,
}

/// Reclaims space. `pause` is told after each commit how many octets it moved, so that it can hold
/// back; true: stop here.
pub(crate) struct Reclaim<'a> {
    pub(crate) shared: &'a Arc<Shared>,
    pub(crate) door: &'a Door,
    pub(crate) pause: &'a dyn Fn(u64) -> bool,
}

type Moves = Vec<(BlobHash, Place, BodyRecord)>;

impl Reclaim<'_> {
    /// One pass over the whole log.
    pub(crate) fn pass(&self) -> Result<Reclaimed> {
        let mut reclaimed = Reclaimed::default();
        if self.is_worth_restating()? {
            reclaimed.restated = self.restate()?;
        }
        let extent = self.shared.extent().clone();
        let live = self.live()?;
        for (number, octets) in extent.segments.range(..extent.header.base) {
            let live = live.get(number).copied().unwrap_or_default();
            if !self.is_mostly_dead(*octets, live) {
                continue;
            }
            if (self.pause)(0) {
                break;
            }
            reclaimed.moved_octets += self.empty(*number)?;
            reclaimed.segments += u64::from(self.remove(*number)?);
        }
        Ok(reclaimed)
    }

    fn is_mostly_dead(&self, octets: u64, live: u64) -> bool {
        let dead = octets.saturating_sub(live);
        dead.saturating_mul(100) >= octets.saturating_mul(u64::from(self.shared.settings.dead_percent))
    }

    fn read_tx(&self) -> Result<ReadTx> {
        self.shared.read_tx()
    }

    /// Live octets of bodies by segment.
    fn live(&self) -> Result<BTreeMap<u64, u64>> {
        live(&self.read_tx()?)
    }

    /// Whether more is dead since the base than saying everything again would write.
    fn is_worth_restating(&self) -> Result<bool> {
        let Extent { segments, header } = self.shared.extent().clone();
        let live = self.live()?;
        let octets: u64 = segments.range(header.base..).map(|(_, octets)| octets).sum();
        let alive: u64 = live.range(header.base..).map(|(_, octets)| octets).sum();
        let dead = octets.saturating_sub(alive).saturating_sub(header.base_octets);
        Ok(dead >= self.shared.settings.restate_octets.max(header.base_octets))
    }

    fn roll(&self, base: Option<(u64, u64)>) -> Result<u64> {
        let (answer, number) = oneshot::channel();
        self.door.command(Command::Roll(base, answer))?;
        crate::backlog::block_on(number).map_err(|_| crate::Error::Closed)?
    }

    fn restate(&self) -> Result<bool> {
        let base = self.roll(None)?;
        let mut octets = 0;
        for space in Space::ALL.iter().filter(|space| !space.is_derived()) {
            let mut from = Some(Vec::new());
            while let Some(key) = from {
                let space = *space;
                let (next, restated) = self.door.write(move |tx| tx.restate(space, &key))?;
                octets += restated;
                from = next;
                if (self.pause)(restated) {
                    return Ok(false);
                }
            }
        }
        self.roll(Some((base, octets)))?;
        Ok(true)
    }

    /// Moves the live bodies out of a segment.
    fn empty(&self, number: u64) -> Result<u64> {
        let file = self.shared.files.open(FileName::Segment(number))?;
        let (mut batch, mut waiting, mut moved) = (Moves::new(), 0, 0);
        let expect = Expect { from: replay::FIRST, sequence: 0, closed: true };
        let outcome = replay::segment(&*file, number, expect, &mut |record| {
            if let Some(body) = self.live_body(record)? {
                waiting += body.2.payload.len();
                batch.push(body);
            }
            if waiting >= MOVE_OCTETS {
                moved += self.move_all(std::mem::take(&mut batch))?;
                waiting = 0;
            }
            Ok(())
        })?;
        moved += self.move_all(batch)?;
        outcome.damage.iter().for_each(|damage| tracing::error!(%damage, "the log is damaged"));
        Ok(moved)
    }

    fn live_body(&self, record: &Record<'_>) -> Result<Option<(BlobHash, Place, BodyRecord)>> {
        let Some((head, _)) = record::body(record.payload).filter(|_| record.header.kind == Kind::Body) else { return Ok(None) };
        let row = self.read_tx()?.blob_row(&head.hash)?;
        let here = crate::body::Location::Log(record.place);
        let alive = row.is_some_and(|row| row.location == here);
        Ok(alive.then(|| (head.hash, record.place, BodyRecord::of(record.payload.to_vec()))))
    }

    fn move_all(&self, moves: Moves) -> Result<u64> {
        if moves.is_empty() {
            return Ok(0);
        }
        let octets = moves.iter().map(|(_, _, record)| record.record_octets()).sum();
        self.door.write(move |tx| {
            for (hash, from, record) in &moves {
                tx.blob_move(hash, *from, record)?;
            }
            Ok(())
        })?;
        self.shared.counters.moved_octets.fetch_add(octets, Ordering::Relaxed);
        (self.pause)(octets);
        Ok(octets)
    }

    /// Removes a segment in which nothing is alive any more; one that holds a damaged body stays.
    fn remove(&self, number: u64) -> Result<bool> {
        if self.live()?.contains_key(&number) {
            return Ok(false);
        }
        self.shared.extent().segments.remove(&number);
        self.shared.files.condemn(FileName::Segment(number));
        self.shared.counters.segments_removed.fetch_add(1, Ordering::Relaxed);
        Ok(true)
    }
}

/// Live octets of bodies by segment.
pub(crate) fn live(tx: &ReadTx) -> Result<BTreeMap<u64, u64>> {
    let mut live = BTreeMap::new();
    let number = |octets: &[u8]| octets.try_into().map_or(0, u64::from_be_bytes);
    tx.scan(Space::Segment, &KeyRange::all(), Direction::Forward, |key, value| {
        live.insert(number(key), number(value));
        ControlFlow::Continue(())
    })?;
    Ok(live)
}

/// Removes the files of bodies that nothing refers to: drafts of a process that was killed.
/// `below`: numbers from here on belong to this process.
pub(crate) fn orphans(shared: &Arc<Shared>, below: u64) -> Result<u64> {
    let tx = shared.read_tx()?;
    let mut removed = 0;
    for number in shared.files.bodies().map_err(|e| crate::Error::io("listing the bodies", e))? {
        if number < below && tx.get(Space::File, &number.to_be_bytes())?.is_none() {
            shared.files.condemn(FileName::Body(number));
            removed += 1;
        }
    }
    Ok(removed)
}
