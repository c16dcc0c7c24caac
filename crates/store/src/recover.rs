//! Opening: finds the end of the log, brings the index up to it, and names what is damaged.
//!
//! The index says how far it is; only what the log has beyond is read. An index that is missing, or
//! older than the log goes back, is filled from the log's base.

use crate::commit::{Committer, Extent, Shared};
use crate::disk::Disk;
use crate::error::Result;
use crate::files::Files;
use crate::index::derive::derive;
use crate::index::recent::RecentWriter;
use crate::index::{Direction, Index, KeyRange, Overlay, Position, View, Writer};
use crate::log::record::{self, Kind};
use crate::log::replay::{self, Expect, Record};
use crate::log::{Damage, Layout, Log, OpenError, segment};
use crate::schema::Space;
use crate::settings::Settings;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

/// How many changes are gathered before they are applied.
const BATCH: usize = 20_000;

type Opened<T> = std::result::Result<T, OpenError>;

/// What a store is made of.
pub(crate) struct Parts {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) index: Arc<dyn Index>,
    pub(crate) writer: RecentWriter,
}

/// Opens the store that is on a disk, or begins a new one.
pub(crate) fn recover(parts: Parts, settings: &Settings) -> Opened<Committer> {
    let Parts { disk, index, mut writer } = parts;
    let files = Files::new(disk.clone(), settings.open_files_max).map_err(|e| OpenError::io("listing the bodies", e))?;
    let layout = Layout { segment_octets_max: settings.segment_octets_max, ahead_octets: settings.segment_ahead_octets };
    let segments = Segments::find(&*disk)?;
    let mut replayed = Replayed { writer: &mut writer, batch: Overlay::default(), position: Position::default(), damage: Vec::new() };
    let log = match segments.last {
        Some(last) => {
            let tail = replayed.run(&*disk, &segments, last, settings.salvage)?;
            Log::resume(disk, layout, last, tail)?
        }
        None => replayed.begin(disk, layout)?,
    };
    let sequence = replayed.position.sequence;
    files.bodies_beyond(last_file(&writer)?);
    let extent = Extent { segments: segments.octets, header: log.header() };
    let shared = Shared::new(settings.clone(), index, files, extent);
    Ok(Committer::new(shared, log, writer, sequence))
}

fn last_file(view: &dyn View) -> Result<u64> {
    let mut last = 0;
    view.scan(Space::File, &KeyRange::all(), Direction::Back, &mut |key, _| {
        last = key.try_into().map_or(0, u64::from_be_bytes);
        ControlFlow::Break(())
    })?;
    Ok(last)
}

/// The segments on the disk.
struct Segments {
    octets: BTreeMap<u64, u64>,
    last: Option<segment::Header>,
}

impl Segments {
    fn find(disk: &dyn Disk) -> Opened<Self> {
        let failed = |e| OpenError::io("listing the log", e);
        let names = disk.list(segment::FOLDER).map_err(failed)?;
        let mut octets = BTreeMap::new();
        for number in names.iter().filter_map(|name| segment::number(name)) {
            octets.insert(number, disk.open(&segment::path(number)).and_then(|file| file.octets()).map_err(failed)?);
        }
        let mut segments = Self { octets, last: None };
        segments.last = segments.newest(disk)?;
        Ok(segments)
    }

    /// The newest segment with a header; one that was being made when the power went is removed.
    fn newest(&mut self, disk: &dyn Disk) -> Opened<Option<segment::Header>> {
        while let Some((number, octets)) = self.octets.last_key_value().map(|(number, octets)| (*number, *octets)) {
            if let Some(header) = header(disk, number)? {
                return Ok(Some(header));
            }
            if octets > segment::HEADER_OCTETS {
                return Err(unreadable(number));
            }
            tracing::warn!(segment = number, "a segment that was just being made is removed");
            disk.remove(&segment::path(number)).map_err(|e| OpenError::io("removing an unfinished segment", e))?;
            self.octets.remove(&number);
        }
        Ok(None)
    }
}

fn header(disk: &dyn Disk, number: u64) -> Opened<Option<segment::Header>> {
    let file = disk.open(&segment::path(number)).map_err(|e| OpenError::io("opening the log", e))?;
    Ok(segment::Header::read(&*file)?.filter(|header| header.number == number))
}

fn unreadable(segment: u64) -> OpenError {
    OpenError::Damaged(vec![Damage { segment, offset: 0, what: "the header of the segment is unreadable".into() }])
}

fn missing(segment: u64) -> OpenError {
    OpenError::Damaged(vec![Damage { segment, offset: 0, what: "the segment is missing".into() }])
}

/// The index while it catches up.
struct Replayed<'a> {
    writer: &'a mut dyn Writer,
    batch: Overlay,
    /// What of the log is in the index and the batch.
    position: Position,
    damage: Vec<Damage>,
}

impl Replayed<'_> {
    /// A log begins with segment 1; an index that knows more belongs to a log that is gone.
    fn begin(&mut self, disk: Arc<dyn Disk>, layout: Layout) -> Opened<Log> {
        if let Some(position) = self.writer.position()?.filter(|position| position.sequence > 0) {
            return Err(missing(position.segment));
        }
        self.writer.clear()?;
        Log::begin(disk, layout, segment::Header { number: 1, base: 1, base_octets: 0, sequence: 0 })
    }

    /// Brings the index up to the end of the log; the offset of that end.
    fn run(&mut self, disk: &dyn Disk, segments: &Segments, last: segment::Header, salvage: bool) -> Opened<u64> {
        self.position = self.start(disk, last)?;
        let mut tail = self.position.offset;
        for number in self.position.segment..=last.number {
            if !segments.octets.contains_key(&number) {
                return Err(missing(number));
            }
            tail = self.segment(disk, number, number < last.number)?;
            if !self.damage.is_empty() && !salvage {
                return Err(OpenError::Damaged(std::mem::take(&mut self.damage)));
            }
        }
        self.position.segment = last.number;
        self.position.offset = tail;
        self.apply()?;
        self.damage.iter().for_each(|damage| tracing::error!(%damage, "the log is damaged; left out"));
        Ok(tail)
    }

    fn start(&mut self, disk: &dyn Disk, last: segment::Header) -> Opened<Position> {
        match self.writer.position()? {
            Some(position) if position.segment > last.number => Err(missing(position.segment)),
            Some(position) if position.segment >= last.base => Ok(position),
            position => {
                if position.is_some() {
                    tracing::warn!("the index is older than the log goes back: it is rebuilt");
                }
                self.writer.clear()?;
                let base = header(disk, last.base)?.ok_or_else(|| unreadable(last.base))?;
                Ok(Position { segment: base.number, offset: replay::FIRST, sequence: base.sequence })
            }
        }
    }

    fn segment(&mut self, disk: &dyn Disk, number: u64, closed: bool) -> Opened<u64> {
        let header = header(disk, number)?.ok_or_else(|| unreadable(number))?;
        if number > self.position.segment {
            self.position = Position { segment: number, offset: replay::FIRST, sequence: self.position.sequence };
            self.expect(number, replay::FIRST, header.sequence + 1);
            self.position.sequence = header.sequence;
        }
        let file = disk.open(&segment::path(number)).map_err(|e| OpenError::io("opening the log", e))?;
        let expect = Expect { from: self.position.offset, sequence: self.position.sequence, closed };
        let outcome = replay::segment(&*file, number, expect, &mut |record| self.record(record))?;
        self.damage.extend(outcome.damage);
        self.damage.sort_by_key(|damage| (damage.segment, damage.offset));
        let octets = file.octets().map_err(|e| OpenError::io("opening the log", e))?;
        if !closed && octets > outcome.tail {
            tracing::info!(segment = number, tail = outcome.tail, octets, "the end of the log was never finished and is cut");
        }
        Ok(outcome.tail)
    }

    fn record(&mut self, record: &Record<'_>) -> Result<()> {
        if record.header.kind != Kind::Commit {
            return Ok(());
        }
        let commit = record::commit(record.payload)?;
        self.expect(record.place.segment, record.place.offset, commit.sequence);
        self.batch.merge(commit.changes);
        self.position = Position { segment: record.place.segment, offset: record.end(), sequence: commit.sequence };
        if self.batch.len() >= BATCH && self.damage.is_empty() { self.apply() } else { Ok(()) }
    }

    /// The next commit must have the number after the last one's.
    fn expect(&mut self, segment: u64, offset: u64, sequence: u64) {
        let next = self.position.sequence + 1;
        if sequence != next {
            let what = format!("commit {sequence} follows where {next} is expected");
            self.damage.push(Damage { segment, offset, what });
        }
    }

    fn apply(&mut self) -> Result<()> {
        let mut batch = std::mem::take(&mut self.batch);
        self.writer.begin()?;
        derive(&*self.writer, &mut batch)?;
        self.writer.apply(&[Arc::new(batch)], self.position)
    }
}

/// Reads every record of a closed part of the log: what is not as it was written.
pub(crate) fn verify(disk: &dyn Disk, extent: &Extent) -> Result<Vec<Damage>> {
    let mut damage = Vec::new();
    for number in extent.segments.keys().filter(|number| **number != extent.header.number) {
        let file = match disk.open(&segment::path(*number)) {
            Ok(file) => file,
            // It was reclaimed meanwhile.
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
            Err(e) => return Err(crate::Error::io("opening the log", e)),
        };
        let expect = Expect { from: replay::FIRST, sequence: 0, closed: true };
        damage.extend(replay::segment(&*file, *number, expect, &mut |_| Ok(()))?.damage);
    }
    Ok(damage)
}
