//! Writing small messages of our own: header fields folded and encoded, a text, parts (RFC 5322, RFC 2045).
//!
//! Not for changing what others wrote: their octets are passed on as they are.
//!
//! Invariants: no value can break out of its field; lines have at most 78 characters where they can be
//! folded; everything but the values of SMTPUTF8 addresses is ASCII.

use crate::address::Address;
use crate::date::{self, DateTime};
use crate::encoding;
use crate::words;
use std::borrow::Cow;

/// Length of a line that folding aims at, characters (RFC 5322 §2.1.1).
pub const LINE_CHARS: usize = 78;

/// Longest line that mail can carry, octets (RFC 5322 §2.1.1).
pub const LINE_OCTETS_MAX: usize = 998;

/// A header block that grows field by field.
#[derive(Debug, Clone, Default)]
pub struct Fields {
    block: String,
}

impl Fields {
    /// No fields.
    pub const fn new() -> Self {
        Self { block: String::new() }
    }

    /// Adds a field of structured ASCII text, folded at its spaces.
    #[must_use]
    pub fn raw(mut self, name: &str, value: &str) -> Self {
        fold(&mut self.block, name, &one_line(value));
        self
    }

    /// Adds a field of free text, encoded where it must be (RFC 2047).
    #[must_use]
    pub fn text(self, name: &str, value: &str) -> Self {
        let value = one_line(value);
        self.raw(name, &words::encode(&value))
    }

    /// Adds a date field.
    #[must_use]
    pub fn date(self, name: &str, date: DateTime) -> Self {
        self.raw(name, &date::rfc5322(date))
    }

    /// Adds an address field with one address and the name to show.
    #[must_use]
    pub fn address(self, name: &str, display: &str, address: &Address) -> Self {
        self.raw(name, &mailbox(display, address))
    }

    /// The block so far, without an empty line.
    pub fn as_str(&self) -> &str {
        &self.block
    }
}

/// `Ann <ann@example.org>`, the name quoted or encoded as it must be; without a name only the address.
pub fn mailbox(display: &str, address: &Address) -> String {
    let display = one_line(display);
    let atoms = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~ ".contains(&b);
    let name = match words::encode(&display) {
        Cow::Owned(encoded) => encoded,
        Cow::Borrowed("") => return address.to_string(),
        Cow::Borrowed(plain) if plain.bytes().all(atoms) => plain.to_owned(),
        Cow::Borrowed(plain) => format!("\"{}\"", plain.replace('\\', "\\\\").replace('"', "\\\"")),
    };
    format!("{name} <{address}>")
}

/// Line ends and other controls become spaces.
fn one_line(value: &str) -> Cow<'_, str> {
    if value.contains(char::is_control) { Cow::Owned(value.replace(char::is_control, " ")) } else { Cow::Borrowed(value) }
}

/// Writes a field, broken before words that would make a line too long.
fn fold(out: &mut String, name: &str, value: &str) {
    out.push_str(name);
    out.push(':');
    let mut column = name.len() + 1;
    for word in value.split(' ').filter(|word| !word.is_empty()) {
        // A line holds at least one word, and the first stays with the field's name.
        if column + 1 + word.len() > LINE_CHARS && column > name.len() + 1 {
            out.push_str("\r\n");
            column = 0;
        }
        out.push(' ');
        out.push_str(word);
        column += 1 + word.len();
    }
    out.push_str("\r\n");
}

/// One part of a multipart, its header and its body.
#[derive(Debug, Clone)]
pub struct Part {
    /// `Content-…` fields.
    pub fields: Fields,
    /// The body as it is sent.
    pub body: Vec<u8>,
}

/// A part of plain text; lines may end in LF. It is left readable where it is ASCII in lines that mail can
/// carry, and is quoted-printable otherwise.
pub fn text_part(text: &str) -> Part {
    let fields = Fields::new();
    let lines: Vec<&str> = text.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line)).collect();
    if text.is_ascii() && lines.iter().all(|line| line.len() <= LINE_OCTETS_MAX) {
        let fields = fields.raw("Content-Type", "text/plain; charset=us-ascii");
        return Part { fields, body: lines.join("\r\n").into_bytes() };
    }
    let fields = fields.raw("Content-Type", "text/plain; charset=utf-8").raw("Content-Transfer-Encoding", "quoted-printable");
    Part { fields, body: encoding::quoted_printable(text.as_bytes()).into_bytes() }
}

/// A whole message of one part.
pub fn single(fields: Fields, part: &Part) -> Vec<u8> {
    let Fields { block } = fields.raw("MIME-Version", "1.0");
    [block.as_bytes(), part.fields.as_str().as_bytes(), b"\r\n", &part.body].concat()
}

/// A whole message of several parts. `content_type` is `multipart/mixed` or such, with parameters; the boundary
/// is made from `seed`, a token that is new for each message, so that it occurs in no part.
pub fn multipart(fields: Fields, content_type: &str, seed: &str, parts: &[Part]) -> Vec<u8> {
    let boundary = boundary(seed, parts);
    let fields = fields.raw("MIME-Version", "1.0").raw("Content-Type", &format!("{content_type}; boundary=\"{boundary}\""));
    let mut out = fields.block.into_bytes();
    for part in parts {
        out.extend_from_slice(format!("\r\n--{boundary}\r\n{}\r\n", part.fields.as_str()).as_bytes());
        out.extend_from_slice(&part.body);
    }
    out.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    out
}

/// Tries of a boundary that occurs in a part. Only somebody who knows the seed could make one fail.
const BOUNDARY_TRIES: usize = 100;

fn boundary(seed: &str, parts: &[Part]) -> String {
    let seed: String = seed.chars().filter(char::is_ascii_alphanumeric).take(40).collect();
    let free = |boundary: &String| parts.iter().all(|part| memchr::memmem::find(&part.body, boundary.as_bytes()).is_none());
    let mut tries = (0..=BOUNDARY_TRIES).map(|number| format!("=_{seed}_{number}"));
    tries.by_ref().take(BOUNDARY_TRIES).find(free).or_else(|| tries.next()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;

    #[test]
    fn fields_are_folded_and_encoded() {
        let address = Address::parse("ann@example.org").unwrap();
        let fields = Fields::new()
            .text("Subject", "short")
            .text("X-Long", &"word ".repeat(40))
            .text("X-Words", &"über ".repeat(40))
            .text("X-Evil", "a\r\nBcc: b\0")
            .raw("X-One", &"x".repeat(100))
            .raw("X-None", "");
        assert!(fields.as_str().starts_with("Subject: short\r\nX-Long: word word"));
        assert!(fields.as_str().contains("\r\nX-Evil: a Bcc: b\r\nX-One: xxx") && fields.as_str().ends_with("x\r\nX-None:\r\n"));
        assert!(fields.as_str().split("\r\n").all(|line| line.len() <= LINE_CHARS || line.starts_with("X-One")));
        assert_eq!(words::decode(&crate::header::value(fields.as_str().as_bytes(), "x-words").unwrap()), "über ".repeat(40));
        for (display, want) in [
            ("", "ann@example.org"),
            ("Ann B", "Ann B <ann@example.org>"),
            ("Ann \"B\", C.", "\"Ann \\\"B\\\", C.\" <ann@example.org>"),
            ("Jörg", "=?utf-8?Q?J=C3=B6rg?= <ann@example.org>"),
        ] {
            assert_eq!(mailbox(display, &address), want);
        }
    }

    #[test]
    fn what_is_composed_is_read_back() {
        let fields = || Fields::new().text("Subject", "it");
        let plain = single(fields(), &text_part("one\ntwo\n"));
        assert!(plain.ends_with(b"charset=us-ascii\r\n\r\none\r\ntwo\r\n"));
        let parts = [text_part("naïve"), Part { fields: Fields::new().raw("Content-Type", "image/gif"), body: b"--=_seed_0\r\n".to_vec() }];
        let message = multipart(fields(), "multipart/mixed", "seed", &parts);
        let digest = Digest::of(&message);
        assert_eq!(digest.body.parts().iter().map(|part| part.media.as_str()).collect::<Vec<_>>(), ["text", "image"]);
        assert_eq!((digest.preview.as_str(), digest.body.parts()[1].octets()), ("naïve", 12));
    }
}
