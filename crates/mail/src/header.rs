//! Header fields of a message as octets: finding them, unfolding them, and address lists
//! (RFC 5322 §2.2, §3.4, §4.4).
//!
//! Not the meaning of encoded words: that is `words`' business.
//!
//! Invariants: any octets are read without an error, in time linear in their length; every field is
//! a slice of the input, so that what is sent on is what came in.

use std::ops::Range;

/// One field of a header block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field<'a> {
    /// Before the colon, without white space at its end; any case.
    pub name: &'a [u8],
    /// Behind the colon, folded as it came, without the line end at its end.
    pub value: &'a [u8],
    /// Where the field starts in the block, octets.
    pub start: usize,
    /// Where the next line starts.
    pub end: usize,
}

impl Field<'_> {
    /// Whether the field has this name; case does not matter.
    pub fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name.as_bytes())
    }

    /// The whole field with its line ends, as a range of the block.
    pub const fn range(&self) -> Range<usize> {
        self.start..self.end
    }
}

/// The fields of a block, in order; lines that are no field (an mbox `From ` line, garbage) are passed over.
#[derive(Debug, Clone)]
pub struct Fields<'a> {
    block: &'a [u8],
    at: usize,
}

/// The fields of a header block, or of a message up to its first empty line.
pub const fn fields(block: &[u8]) -> Fields<'_> {
    Fields { block, at: 0 }
}

/// Where the body starts: behind the first empty line, or at the end if there is none.
pub fn body_start(message: &[u8]) -> usize {
    let mut at = 0;
    loop {
        let line = line_end(message, at);
        if line == at || is_empty_line(message.get(at..line).unwrap_or_default()) {
            return line;
        }
        at = line;
    }
}

/// Where the line that starts at `at` ends, behind its line feed.
fn line_end(block: &[u8], at: usize) -> usize {
    let rest = block.get(at..).unwrap_or_default();
    memchr::memchr(b'\n', rest).map_or(block.len(), |found| at + found + 1)
}

fn is_empty_line(line: &[u8]) -> bool {
    matches!(line, b"\r\n" | b"\n")
}

impl<'a> Iterator for Fields<'a> {
    type Item = Field<'a>;

    fn next(&mut self) -> Option<Field<'a>> {
        loop {
            let start = self.at;
            let mut end = line_end(self.block, start);
            if start == end || is_empty_line(self.block.get(start..end)?) {
                return None;
            }
            while matches!(self.block.get(end), Some(b' ' | b'\t')) {
                end = line_end(self.block, end);
            }
            self.at = end;
            if let Some(field) = field(self.block, start, end) {
                return Some(field);
            }
        }
    }
}

/// Reads one field with its continuation lines; `None` if it has no colon or no name before it.
fn field(block: &[u8], start: usize, end: usize) -> Option<Field<'_>> {
    let text = block.get(start..end)?;
    let colon = memchr::memchr(b':', text)?;
    let name = text.get(..colon)?.trim_ascii_end();
    let named = !name.is_empty() && name.iter().all(|b| b.is_ascii_graphic() || !b.is_ascii());
    let value = text.get(colon + 1..)?;
    let value = value.strip_suffix(b"\n").map_or(value, |value| value.strip_suffix(b"\r").unwrap_or(value));
    named.then_some(Field { name, value, start, end })
}
