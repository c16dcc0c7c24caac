//! Header fields of a message as octets: finding them, unfolding them, and address lists
//! (RFC 5322 §2.2, §3.4, §4.4).
//!
//! Not the meaning of encoded words: that is `words`' business.
//!
//! Invariants: any octets are read without an error, in time linear in their length; every field is
//! a slice of the input, so that what is sent on is what came in.

use crate::address_list;
use crate::charset;
use crate::digest::AddressItem;
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

/// The value of the first field of that name, unfolded.
pub fn value(block: &[u8], name: &str) -> Option<String> {
    fields(block).find(|field| field.is(name)).map(|field| unfold(field.value))
}

/// A field's value as one line of text without white space at its ends: line ends and NUL go, octets that
/// are no UTF-8 are taken for Windows-1252 (RFC 5322 §2.2.3).
pub fn unfold(value: &[u8]) -> String {
    let text = charset::guess(value.trim_ascii());
    if memchr::memchr3(b'\r', b'\n', 0, text.as_bytes()).is_none() {
        return text.into_owned();
    }
    text.chars().filter(|c| !matches!(c, '\r' | '\n' | '\0')).collect()
}

/// The addresses of an unfolded field, at most `max` entries (RFC 5322 §3.4 and, as §4.4 wants, what was
/// written of old or is broken).
pub fn addresses(text: &str, max: usize) -> Vec<AddressItem> {
    address_list::parse(text, max)
}

/// The ids of a `Message-ID`, `In-Reply-To` or `References`, without brackets; where there are no brackets,
/// every word with an `@` (RFC 5322 §3.6.4).
pub fn message_ids(text: &str) -> impl Iterator<Item = &str> {
    let bracketed = text.split('<').skip(1).filter_map(|rest| rest.split_once('>')).map(|(id, _)| id.trim());
    let bare = text.split([' ', '\t', ',']).filter(move |word| word.contains('@') && !text.contains('<'));
    bracketed.chain(bare).filter(|id| !id.is_empty())
}

/// The fields that mail programs ask for to list a mailbox; [`crate::digest::Digest`] keeps them as they stand.
///
/// What Thunderbird, Apple Mail, Outlook, K-9, mutt and Roundcube fetch beside the flags.
pub const LISTED: [&str; 19] = [
    "From",
    "To",
    "Cc",
    "Bcc",
    "Subject",
    "Date",
    "Message-ID",
    "References",
    "In-Reply-To",
    "Reply-To",
    "Sender",
    "Content-Type",
    "Priority",
    "X-Priority",
    "Importance",
    "Newsgroups",
    "Disposition-Notification-To",
    "List-Post",
    "List-Id",
];

/// Whether a field is among [`LISTED`].
pub fn is_listed(name: &str) -> bool {
    LISTED.iter().any(|listed| listed.eq_ignore_ascii_case(name))
}

/// The fields of a block that have one of the names, or the others, with their line ends as they are and an
/// empty line at the end: `BODY[HEADER.FIELDS (…)]` and `.NOT` (RFC 9051 §6.4.5.1).
pub fn select(block: &[u8], names: &[impl AsRef<str>], listed: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(if listed { 512 } else { block.len() });
    for field in fields(block) {
        if names.iter().any(|name| field.is(name.as_ref())) == listed {
            out.extend_from_slice(block.get(field.range()).unwrap_or_default());
        }
    }
    // A block cut off within its last field.
    if out.last().is_some_and(|last| *last != b'\n') {
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"\r\n");
    out
}

/// Where the line that starts at `at` ends, behind its line feed.
pub(crate) fn line_end(block: &[u8], at: usize) -> usize {
    let rest = block.get(at..).unwrap_or_default();
    memchr::memchr(b'\n', rest).map_or(block.len(), |found| at + found + 1)
}

pub(crate) fn is_empty_line(line: &[u8]) -> bool {
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

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: &[u8] = b"From mbox Mon Jan  1 00:00:00 2024\r\nFrom: a\r\n b\r\nno colon\r\nSUBJECT : x\r\n \r\n\ty\r\n: no name\r\nlast:z\r\n\r\nBody: not this\r\n";

    #[test]
    fn fields_are_found_in_broken_blocks() {
        let found: Vec<_> = fields(BLOCK).map(|f| format!("{}={}", String::from_utf8_lossy(f.name), unfold(f.value))).collect();
        assert_eq!(found, ["From=a b", "SUBJECT=x \ty", "last=z"]);
        assert_eq!(BLOCK.get(body_start(BLOCK)..), Some(&b"Body: not this\r\n"[..]));
        for (input, want) in [("", 0), ("a: b", 4), ("a: b\n\nc", 6), ("\r\nc", 2), ("a: b\r\n", 6)] {
            assert_eq!(body_start(input.as_bytes()), want, "{input:?}");
        }
    }

    #[test]
    fn values_are_unfolded_to_clean_text() {
        for (input, want) in
            [(&b" a\r\n\tb "[..], "a\tb"), (b"caf\xe9", "caf\u{e9}"), ("é".as_bytes(), "é"), (b"a\0b\rc", "abc"), (b"", "")]
        {
            assert_eq!(unfold(input), want);
        }
    }

    #[test]
    fn fields_are_selected_by_name() {
        let check = |names: &[&str], listed, want: &str| assert_eq!(String::from_utf8_lossy(&select(BLOCK, names, listed)), want);
        check(&["subject", "LAST"], true, "SUBJECT : x\r\n \r\n\ty\r\nlast:z\r\n\r\n");
        check(&["subject", "from"], false, "last:z\r\n\r\n");
        check(&["x"], true, "\r\n");
        assert_eq!(select(b"a: b", &["a"], true), b"a: b\r\n\r\n");
    }

    #[test]
    fn ids_are_found() {
        for (input, want) in [("<a@b>", "a@b"), ("<a@b> (c) <d@e><f>", "a@b d@e f"), ("a@b, c d@e", "a@b d@e"), ("<>", ""), ("<a@b", "")] {
            assert_eq!(message_ids(input).collect::<Vec<_>>().join(" "), want, "{input}");
        }
    }
}
