//! Reading a segment back: every record in order, up to the end of what was written.
//!
//! A group of commits is written at once and synced before the next one. So a bad record with
//! nothing of a later group after it is a group that was being written when the power went: the end
//! of the log is cut there. A bad record with a later group after it, or in a segment that has a
//! successor, was durable once: it is damage, which is named and never skipped silently.
//!
//! A group's number is the sequence number of its first commit.

use super::record::{self, GROUP_END, HEADER_OCTETS, Header, Kind, Place};
use super::{Damage, segment};
use crate::disk::File;
use crate::error::{Error, Result};
use std::io;

/// How much is read at once, in octets.
const WINDOW_OCTETS: usize = 1 << 20;

/// One good record.
#[derive(Debug)]
pub(crate) struct Record<'a> {
    pub(crate) place: Place,
    pub(crate) header: Header,
    pub(crate) payload: &'a [u8],
}

impl Record<'_> {
    /// Where the record after it begins.
    pub(crate) fn end(&self) -> u64 {
        self.place.offset + self.header.record_octets()
    }
}

/// What is known of a segment before it is read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Expect {
    /// Where to begin; a record begins there.
    pub(crate) from: u64,
    /// The sequence number of the last commit before that place.
    pub(crate) sequence: u64,
    /// There is a later segment, so that this one was closed.
    pub(crate) closed: bool,
}

/// How a segment ends.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// Where the last whole commit ends.
    pub(crate) tail: u64,
    /// What is not as it was written.
    pub(crate) damage: Vec<Damage>,
}

/// Visits every good record of a segment in order. Damaged ones are reported, and reading goes on
/// after them as far as the next record can be found.
pub(crate) fn segment(file: &dyn File, number: u64, expect: Expect, visit: &mut dyn FnMut(&Record<'_>) -> Result<()>) -> Result<Outcome> {
    let octets = file.octets().map_err(|e| Error::io("reading the log", e))?;
    let window = Window { file, octets, start: 0, buffer: Vec::new() };
    let outcome = Outcome { tail: expect.from, damage: Vec::new() };
    let mut walk = Walk { window, number, expect, unfinished: expect.sequence + 1, outcome };
    if octets < expect.from {
        walk.report(octets, format!("the log ends here, but it was durable up to {}", expect.from));
        return Ok(walk.outcome);
    }
    walk.run(visit)?;
    Ok(walk.outcome)
}

struct Walk<'a> {
    window: Window<'a>,
    number: u64,
    expect: Expect,
    /// The group that a record at this place belongs to: groups after it were written later.
    unfinished: u64,
    outcome: Outcome,
}

enum Found {
    Good(Header),
    /// Nothing but zeros follows, or nothing at all.
    Nothing,
    Bad {
        what: String,
        next: Option<u64>,
    },
}

impl Walk<'_> {
    fn run(&mut self, visit: &mut dyn FnMut(&Record<'_>) -> Result<()>) -> Result<()> {
        let mut at = self.expect.from;
        loop {
            match self.look(at)? {
                Found::Good(header) => at = self.take(at, header, visit)?,
                Found::Nothing => return self.end(at),
                Found::Bad { what, next } => match self.bad(at, what, next)? {
                    Some(next) => at = next,
                    None => return Ok(()),
                },
            }
        }
    }

    fn place(&self, offset: u64) -> Place {
        Place { segment: self.number, offset }
    }

    fn look(&mut self, at: u64) -> Result<Found> {
        let place = self.place(at);
        let Some(header) = Header::decode(self.window.octets(at, HEADER_OCTETS)?, place) else {
            return Ok(if self.window.is_blank(at)? {
                Found::Nothing
            } else {
                Found::Bad { what: "an unreadable record".into(), next: None }
            });
        };
        let next = Some(at + header.record_octets());
        let payload = self.window.octets(at + HEADER_OCTETS as u64, header.length as usize)?;
        if payload.len() < header.length as usize || crc32c::crc32c(payload) != header.checksum {
            let what = format!("{}, whose checksum is wrong", record::describe(header.kind, payload));
            return Ok(Found::Bad { what, next });
        }
        Ok(Found::Good(header))
    }

    fn take(&mut self, at: u64, header: Header, visit: &mut dyn FnMut(&Record<'_>) -> Result<()>) -> Result<u64> {
        let place = self.place(at);
        let payload = self.window.octets(at + HEADER_OCTETS as u64, header.length as usize)?;
        let record = Record { place, header, payload };
        let end = record.end();
        visit(&record)?;
        if header.kind == Kind::Commit {
            self.unfinished = if header.flags & GROUP_END == 0 { group_of(payload) } else { sequence_of(payload) + 1 };
            self.outcome.tail = end;
        }
        Ok(end)
    }

    /// The segment's records end here; is that as it should be?
    fn end(&mut self, at: u64) -> Result<()> {
        if let Some(next) = self.find_later_group(at)? {
            self.report(at, format!("{} octets are zeros", next - at));
        }
        Ok(())
    }

    /// What to do about a bad record: go on behind it after naming it, or end the log here.
    fn bad(&mut self, at: u64, what: String, next: Option<u64>) -> Result<Option<u64>> {
        let was_durable = self.expect.closed || self.find_later_group(at)?.is_some();
        if !was_durable {
            return Ok(None);
        }
        let next = match next {
            Some(next) if self.is_record(next)? => Some(next),
            _ => self.find_record(at + 1, &mut |_| true)?,
        };
        self.report(at, what);
        Ok(next)
    }

    fn report(&mut self, offset: u64, what: String) {
        self.outcome.damage.push(Damage { segment: self.number, offset, what });
    }

    /// A record after `at` of a group that was begun only after what is at `at` was durable.
    fn find_later_group(&mut self, at: u64) -> Result<Option<u64>> {
        let mut record = at + 1;
        while let Some(found) = self.find_record(record, &mut |header| header.kind == Kind::Commit)? {
            if self.commit_group(found)?.is_some_and(|group| group > self.unfinished) {
                return Ok(Some(found));
            }
            record = found + 1;
        }
        Ok(None)
    }

    fn commit_group(&mut self, at: u64) -> Result<Option<u64>> {
        let Found::Good(header) = self.look(at)? else { return Ok(None) };
        Ok(Some(group_of(self.window.octets(at + HEADER_OCTETS as u64, header.length as usize)?)))
    }

    fn is_record(&mut self, at: u64) -> Result<bool> {
        let place = self.place(at);
        Ok(Header::decode(self.window.octets(at, HEADER_OCTETS)?, place).is_some())
    }

    /// The first place from `at` on that has a good header which `wanted` likes.
    fn find_record(&mut self, from: u64, wanted: &mut dyn FnMut(&Header) -> bool) -> Result<Option<u64>> {
        let mut at = from;
        while at + HEADER_OCTETS as u64 <= self.window.octets {
            let place = self.place(at);
            let octets = self.window.octets(at, WINDOW_OCTETS)?;
            for (shift, header) in octets.windows(HEADER_OCTETS).enumerate() {
                // The kind and the zeros are looked at first: a checksum at every octet is dear.
                if !matches!(header, [.., 1 | 2, 0 | 1, 0, 0]) {
                    continue;
                }
                let offset = at + shift as u64;
                if Header::decode(header, Place { offset, ..place }).is_some_and(|header| wanted(&header)) {
                    return Ok(Some(offset));
                }
            }
            at += (octets.len() - (HEADER_OCTETS - 1).min(octets.len())).max(1) as u64;
        }
        Ok(None)
    }
}

fn sequence_of(payload: &[u8]) -> u64 {
    payload.first_chunk::<8>().map_or(0, |sequence| u64::from_le_bytes(*sequence))
}

fn group_of(payload: &[u8]) -> u64 {
    payload.get(8..16).and_then(|group| group.try_into().ok()).map_or(0, u64::from_le_bytes)
}

/// A piece of the file in memory.
struct Window<'a> {
    file: &'a dyn File,
    octets: u64,
    start: u64,
    buffer: Vec<u8>,
}

impl Window<'_> {
    /// Octets from `at` on; fewer only at the file's end.
    fn octets(&mut self, at: u64, octets: usize) -> Result<&[u8]> {
        let rest = usize::try_from(self.octets.saturating_sub(at)).unwrap_or(usize::MAX);
        let octets = octets.min(rest);
        if at < self.start || at + octets as u64 > self.start + self.buffer.len() as u64 {
            self.fill(at, octets.max(WINDOW_OCTETS.min(rest))).map_err(|e| Error::io("reading the log", e))?;
        }
        let from = usize::try_from(at - self.start).unwrap_or(usize::MAX);
        Ok(self.buffer.get(from..).map_or(&[], |rest| rest.get(..octets).unwrap_or(rest)))
    }

    fn fill(&mut self, at: u64, octets: usize) -> io::Result<()> {
        self.buffer.resize(octets, 0);
        self.start = at;
        let read = self.file.read_at(&mut self.buffer, at)?;
        self.buffer.truncate(read);
        Ok(())
    }

    /// Whether a whole header's place is zeros, or the file ends.
    fn is_blank(&mut self, at: u64) -> Result<bool> {
        Ok(self.octets(at, HEADER_OCTETS)?.iter().all(|octet| *octet == 0))
    }
}

/// Where a segment's first record begins.
pub(crate) const FIRST: u64 = segment::HEADER_OCTETS;
