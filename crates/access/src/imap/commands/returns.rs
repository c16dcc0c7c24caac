//! What an extended SEARCH or SORT is to return, and the ESEARCH response (RFC 4731, RFC 5182, RFC 5267 §3,
//! RFC 9394 §3.1).
//!
//! Not the finding and not the sorting: `search` and `sort` do that.

use crate::imap::commands::fetch::{self, Item};
use crate::imap::grammar::{Parsed, Parser};
use crate::imap::response;
use mail::uid_set::UidSet;
use mail::{ModSeq, SeqNum, Uid, UidValidity};
use std::ops::Range;

/// What is to be returned (RFC 4731 §3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "they are the RFC's options, each on or off")]
pub struct Returns {
    /// `MIN`
    pub min: bool,
    /// `MAX`
    pub max: bool,
    /// `ALL`
    pub all: bool,
    /// `COUNT`
    pub count: bool,
    /// `SAVE`: the result becomes `$`.
    pub save: bool,
    /// `RELEVANCY` (RFC 6203 §4)
    pub relevancy: bool,
    /// `PARTIAL 1:500`
    pub partial: Option<Partial>,
    /// `UPDATE`: from now on the client hears how the result changes (RFC 5267 §4.3).
    pub update: bool,
    /// `CONTEXT`: more will be asked of this result. A hint that is not used.
    pub context: bool,
}

/// A stretch of a result, counted from 1, from its start or from its end (RFC 9394 §3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Partial {
    ends: (u32, u32),
    from_end: bool,
}

const KNOWN: &str = "MIN, MAX, ALL, COUNT, SAVE, PARTIAL, RELEVANCY, UPDATE or CONTEXT";
/// Most items fetched of messages that come into a result.
const ITEMS_MAX: usize = 32;

impl Returns {
    /// What is returned where nothing is said.
    pub const ALL: Self = Self {
        min: false,
        max: false,
        all: true,
        count: false,
        save: false,
        relevancy: false,
        partial: None,
        update: false,
        context: false,
    };

    /// Reads `RETURN (…) ` if it stands here; also what is to be fetched of messages that come (RFC 5465 §7).
    ///
    /// # Errors
    /// When it is not its grammar, or asks for all and for a part.
    pub fn parse(parser: &mut Parser<'_>) -> Parsed<Option<(Self, Vec<Item>)>> {
        if !parser.accept_word("RETURN ") {
            return Ok(None);
        }
        let (mut returns, mut items) = (Self::default(), Vec::new());
        let start = parser.clone();
        parser.list(16, |parser| returns.option(parser, &mut items))?;
        if returns.all && returns.partial.is_some() {
            return start.fault("either ALL or PARTIAL");
        }
        parser.space()?;
        // No option means ALL; SAVE alone returns nothing.
        returns.all |= returns == Self::default();
        Ok(Some((returns, items)))
    }

    fn option(&mut self, parser: &mut Parser<'_>, items: &mut Vec<Item>) -> Parsed<()> {
        match parser.name(KNOWN)?.to_ascii_uppercase().as_str() {
            "MIN" => self.min = true,
            "MAX" => self.max = true,
            "ALL" => self.all = true,
            "COUNT" => self.count = true,
            "SAVE" => self.save = true,
            "RELEVANCY" => self.relevancy = true,
            "CONTEXT" => self.context = true,
            "UPDATE" if !self.update => {
                self.update = true;
                if parser.accept_word(" (") {
                    *items = fetch::listed(parser, ITEMS_MAX)?;
                }
            }
            "PARTIAL" if self.partial.is_none() => {
                parser.space()?;
                self.partial = Some(Partial::parse(parser)?);
            }
            _ => return parser.fault(KNOWN),
        }
        Ok(())
    }

    /// Only `$` is wanted, no response.
    pub fn is_save_alone(self) -> bool {
        self == Self { save: true, ..Self::default() }
    }

    /// What `$` is from now on (RFC 5182 §2.1, RFC 9394 §3.2).
    pub fn kept(self, found: &Listed) -> UidSet {
        if self.all || self.count || !(self.min || self.max || self.partial.is_some()) {
            return found.set();
        }
        let mut kept = self.partial.map(|partial| found.part(partial).set()).unwrap_or_default();
        for uid in [found.first().filter(|_| self.min), found.last().filter(|_| self.max)].into_iter().flatten() {
            kept.insert(uid);
        }
        kept
    }
}

impl Partial {
    /// Reads `1:500` or `-1:-100`.
    ///
    /// # Errors
    /// When it is not its grammar.
    pub fn parse(parser: &mut Parser<'_>) -> Parsed<Self> {
        let from_end = parser.accept(b'-');
        let first = parser.nz_number()?;
        parser.octet(b':', "a colon and the other end")?;
        if from_end {
            parser.octet(b'-', "a minus: both ends count from the end")?;
        }
        Ok(Self { ends: (first, parser.nz_number()?), from_end })
    }

    /// Which of so many results it names, from 0.
    fn of(self, results: u32) -> Range<u32> {
        let (low, high) = (self.ends.0.min(self.ends.1), self.ends.0.max(self.ends.1));
        let range = if self.from_end { results.saturating_sub(high)..results.saturating_sub(low - 1) } else { low - 1..high };
        range.start.min(results)..range.end.min(results)
    }

    /// The members of a set that it names.
    pub fn among(self, uids: &UidSet) -> UidSet {
        let range = self.of(uids.len());
        match (uids.nth(SeqNum(range.start + 1)), uids.nth(SeqNum(range.end))) {
            (Some(first), Some(last)) if first <= last => uids.intersect(&UidSet::range(first, last)),
            _ => UidSet::new(),
        }
    }

    fn write(self, out: &mut Vec<u8>) {
        let sign: &[u8] = if self.from_end { b"-" } else { b"" };
        out.extend_from_slice(sign);
        response::number(out, self.ends.0);
        out.push(b':');
        out.extend_from_slice(sign);
        response::number(out, self.ends.1);
    }
}

/// A result: Uids or sequence numbers, in their order or sorted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listed {
    /// In the order of the mailbox.
    Set(UidSet),
    /// In another.
    Sorted(Vec<Uid>),
}

impl Listed {
    /// How many there are.
    pub fn len(&self) -> u32 {
        match self {
            Self::Set(set) => set.len(),
            Self::Sorted(list) => u32::try_from(list.len()).unwrap_or(u32::MAX),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The members in their order.
    pub fn in_order(&self) -> Vec<Uid> {
        match self {
            Self::Set(set) => set.iter().collect(),
            Self::Sorted(list) => list.clone(),
        }
    }

    fn first(&self) -> Option<Uid> {
        match self {
            Self::Set(set) => set.first(),
            Self::Sorted(list) => list.first().copied(),
        }
    }

    fn last(&self) -> Option<Uid> {
        match self {
            Self::Set(set) => set.last(),
            Self::Sorted(list) => list.last().copied(),
        }
    }

    fn set(&self) -> UidSet {
        match self {
            Self::Set(set) => set.clone(),
            Self::Sorted(list) => list.iter().copied().collect(),
        }
    }

    fn part(&self, partial: Partial) -> Self {
        match self {
            Self::Set(set) => Self::Set(partial.among(set)),
            Self::Sorted(list) => {
                let range = partial.of(self.len());
                Self::Sorted(list.get(range.start as usize..range.end as usize).unwrap_or_default().to_vec())
            }
        }
    }

    /// Appends them with spaces between: the old SEARCH and SORT responses.
    pub fn write_each(&self, out: &mut Vec<u8>) {
        let mut each = |uid: Uid| {
            out.push(b' ');
            response::number(out, uid.0);
        };
        match self {
            Self::Set(set) => set.iter().for_each(&mut each),
            Self::Sorted(list) => list.iter().copied().for_each(&mut each),
        }
    }

    /// Appends a sequence-set, in this order; ranges only ascend (RFC 5267 §3.2).
    fn write(&self, out: &mut Vec<u8>) {
        let list = match self {
            Self::Set(set) => return response::set(out, set),
            Self::Sorted(list) => list,
        };
        for (at, run) in list.chunk_by(|a, b| a.next() == *b).enumerate() {
            if at > 0 {
                out.push(b',');
            }
            let Some((first, rest)) = run.split_first() else { continue };
            response::number(out, first.0);
            if let Some(last) = rest.last() {
                out.push(b':');
                response::number(out, last.0);
            }
        }
    }
}

/// An ESEARCH response.
#[derive(Debug)]
pub struct Response<'a> {
    /// The command's tag.
    pub tag: &'a str,
    /// Of which mailbox, its numbering, and whether names are UTF-8 (RFC 7377 §2.1); `None` if it is the selected one.
    pub of: Option<(&'a str, UidValidity, bool)>,
    /// The numbers are Uids.
    pub by_uid: bool,
    /// What is told.
    pub returns: Returns,
    /// Of what.
    pub listed: &'a Listed,
    /// How relevant each of them is, in their order (RFC 6203 §4).
    pub scores: &'a [u8],
    /// The mod-sequence, where one is told (RFC 7162 §3.1.5).
    pub mod_seq: Option<ModSeq>,
}

impl Response<'_> {
    /// Appends `* ESEARCH (TAG "a1") UID MIN 2 COUNT 3`.
    pub fn write(&self, out: &mut Vec<u8>) {
        let Self { returns, listed, .. } = self;
        out.extend_from_slice(b"* ESEARCH (TAG ");
        response::string(out, self.tag.as_bytes(), false);
        if let Some((mailbox, uid_validity, utf8)) = self.of {
            out.extend_from_slice(b" MAILBOX ");
            response::mailbox(out, mailbox, utf8);
            out.extend_from_slice(b" UIDVALIDITY ");
            response::number(out, uid_validity.0);
        }
        out.extend_from_slice(if self.by_uid { b") UID" } else { b")" });
        for (name, wanted, number) in [(" MIN ", returns.min, listed.first()), (" MAX ", returns.max, listed.last())] {
            if let Some(number) = number.filter(|_| wanted) {
                out.extend_from_slice(name.as_bytes());
                response::number(out, number.0);
            }
        }
        if returns.count {
            out.extend_from_slice(b" COUNT ");
            response::number(out, listed.len());
        }
        if returns.all && !listed.is_empty() {
            out.extend_from_slice(b" ALL ");
            listed.write(out);
        }
        if let Some(partial) = returns.partial {
            out.extend_from_slice(b" PARTIAL (");
            partial.write(out);
            out.push(b' ');
            let part = listed.part(partial);
            if part.is_empty() {
                out.extend_from_slice(b"NIL");
            } else {
                part.write(out);
            }
            out.push(b')');
        }
        if returns.relevancy {
            self.relevancy(out);
        }
        if let Some(mod_seq) = self.mod_seq.filter(|_| !listed.is_empty()) {
            out.extend_from_slice(b" MODSEQ ");
            response::number(out, mod_seq.0);
        }
        out.extend_from_slice(b"\r\n");
    }

    /// `RELEVANCY (4 99 42)`, of the messages that are told: of a part, its own.
    fn relevancy(&self, out: &mut Vec<u8>) {
        let part = self.returns.partial.map(|partial| partial.of(self.listed.len()));
        let told = part.map_or(self.scores, |part| self.scores.get(part.start as usize..part.end as usize).unwrap_or_default());
        out.extend_from_slice(b" RELEVANCY (");
        for (at, score) in told.iter().enumerate() {
            if at > 0 {
                out.push(b' ');
            }
            response::number(out, *score);
        }
        out.push(b')');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partial(text: &str) -> Option<Partial> {
        let mut parser = Parser::new(text.as_bytes(), false);
        Partial::parse(&mut parser).ok().filter(|_| parser.is_done())
    }

    #[test]
    fn partials_name_stretches() {
        for (text, of, want) in [
            ("1:5", 10, Some(0..5)),
            ("5:1", 10, Some(0..5)),
            ("8:20", 10, Some(7..10)),
            ("11:20", 10, Some(10..10)),
            ("-1:-3", 10, Some(7..10)),
            ("-3:-1", 10, Some(7..10)),
            ("-9:-30", 10, Some(0..2)),
            ("-11:-30", 10, Some(0..0)),
            ("1:4294967295", 0, Some(0..0)),
            ("-1:-4294967295", 3, Some(0..3)),
            ("-1:3", 10, None),
            ("0:3", 10, None),
            ("1", 10, None),
        ] {
            assert_eq!(partial(text).map(|partial| partial.of(of)), want, "{text}");
        }
    }

    #[test]
    fn stretches_of_sets_with_gaps() {
        let uids: UidSet = [3, 5, 6, 9].into_iter().map(Uid).collect();
        for (text, want) in [("1:2", "3,5"), ("2:3", "5:6"), ("-1:-1", "9"), ("5:9", "")] {
            assert_eq!(partial(text).unwrap().among(&uids).to_string(), want, "{text}");
        }
    }

    #[test]
    fn sorted_lists_have_ascending_ranges() {
        let list = Listed::Sorted([5, 6, 7, 3, 2, 1, 9].into_iter().map(Uid).collect());
        let mut out = Vec::new();
        list.write(&mut out);
        assert_eq!(out, b"5:7,3,2,1,9");
    }
}
