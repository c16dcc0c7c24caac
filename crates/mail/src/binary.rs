//! Messages with `binary` parts (RFC 2045 §2.9) in a form that goes by lines: those parts become base64.
//!
//! Not for what is sent on signed: it changes the message, and is done only where it could not be kept
//! otherwise (RFC 3516 §4.4).
//!
//! Invariant: decoding a part gives the octets that it had before.

use crate::digest::{BodyPart, Inside};
use crate::encoding;
use crate::header;
use crate::mime;
use std::borrow::Cow;
use std::ops::Range;

/// The message with those `binary` parts in base64 that do not consist of lines; `None` if there are none.
pub fn to_base64(message: &[u8]) -> Option<Vec<u8>> {
    let mut edits = Vec::new();
    gather(message, &mime::index(message).body, &mut edits);
    edited(message, &edits)
}

/// The message with its edits; `None` if there are none.
pub(crate) fn edited(message: &[u8], edits: &Edits) -> Option<Vec<u8>> {
    if edits.is_empty() {
        return None;
    }
    let mut out = Vec::with_capacity(message.len() + message.len() / 2);
    let mut at = 0;
    for (range, text) in edits {
        out.extend_from_slice(message.get(at..range.start)?);
        out.extend_from_slice(text.as_bytes());
        at = range.end;
    }
    out.extend_from_slice(message.get(at..)?);
    Some(out)
}

/// Any message as lines, for those who read no others: `binary` parts become base64, a CR or LF on its own a line's
/// end. A NUL that is left, which no message may have there (RFC 5322 §4.1), becomes an octet that says nothing, as
/// other servers do it.
pub fn to_lines(message: &[u8]) -> Cow<'_, [u8]> {
    if is_lines(message) {
        return Cow::Borrowed(message);
    }
    let encoded = to_base64(message).map_or(Cow::Borrowed(message), Cow::Owned);
    if is_lines(&encoded) {
        return encoded;
    }
    let mut out = with_line_ends(&encoded);
    out.iter_mut().filter(|octet| **octet == 0).for_each(|octet| *octet = NUL_SHOWN);
    Cow::Owned(out)
}

/// The same with CRLF for every end of a line, which may be CRLF, CR or LF on its own.
pub fn with_line_ends(octets: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(octets.len() + octets.len() / 32);
    let mut octets = octets.iter().copied().peekable();
    while let Some(octet) = octets.next() {
        match octet {
            b'\r' => {
                octets.next_if_eq(&b'\n');
                out.extend_from_slice(b"\r\n");
            }
            b'\n' => out.extend_from_slice(b"\r\n"),
            octet => out.push(octet),
        }
    }
    out
}

/// What stands for a NUL: no character of its own in UTF-8 and most other character sets.
const NUL_SHOWN: u8 = 0x80;

/// Whether octets are lines: no NUL, and CR and LF only together.
pub fn is_lines(octets: &[u8]) -> bool {
    // Every CR has its LF and no LF stands without: their places alternate, one behind the other.
    let mut awaited = None;
    for at in memchr::memchr3_iter(0, b'\r', b'\n', octets) {
        match (octets.get(at), awaited) {
            (Some(b'\r'), None) => awaited = Some(at + 1),
            (Some(b'\n'), Some(place)) if place == at => awaited = None,
            _ => return false,
        }
    }
    awaited.is_none()
}

/// What is to be replaced, in the order of the message.
pub(crate) type Edits = Vec<(Range<usize>, String)>;

fn gather(message: &[u8], part: &BodyPart, edits: &mut Edits) {
    let before = edits.len();
    match &part.inside {
        Inside::Parts(parts) => parts.iter().for_each(|part| gather(message, part, edits)),
        Inside::Message(nested) => gather(message, &nested.body, edits),
        Inside::Leaf if part.encoding == "binary" => {
            let contents = octets(&part.contents());
            let found = message.get(contents.clone()).unwrap_or_default();
            if !is_lines(found) {
                edits.push((contents, encoding::base64_lines(found)));
            }
        }
        Inside::Leaf => {}
    }
    // What is around a part that was encoded is binary no more either.
    if edits.len() > before && part.encoding == "binary" {
        let now = if matches!(part.inside, Inside::Leaf) { "base64" } else { "8bit" };
        edits.splice(before..before, field(message, part).map(|range| (range, format!("Content-Transfer-Encoding: {now}\r\n"))));
    }
}

/// Where the part says its encoding.
pub(crate) fn field(message: &[u8], part: &BodyPart) -> Option<Range<usize>> {
    let head = octets(&part.header());
    let block = message.get(head.clone())?;
    let found = header::fields(block).find(|field| field.is("content-transfer-encoding"))?;
    Some(head.start + found.start..head.start + found.end)
}

pub(crate) fn octets(range: &Range<u64>) -> Range<usize> {
    let place = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
    place(range.start)..place(range.end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding::{TransferEncoding, decode};
    use proptest::prelude::*;

    #[test]
    fn lines_are_told_from_others() {
        for (octets, want) in [("", true), ("a", true), ("a\r\nb", true), ("a\0", false), ("a\nb", false), ("a\rb", false), ("a\r", false)]
        {
            assert_eq!(is_lines(octets.as_bytes()), want, "{octets:?}");
        }
    }

    #[test]
    fn only_binary_parts_that_need_it_change() {
        let message = |first: &str, encoding: &str, second: &str| {
            format!(
                "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\nContent-Transfer-Encoding: {first}\r\n\r\n\
                 --b\r\nContent-Type: image/gif\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n{second}\r\n--b--\r\n"
            )
        };
        let changed = to_base64(message("binary", "BINARY", "G\0F\n").as_bytes()).map(|octets| String::from_utf8(octets).unwrap());
        assert_eq!(changed, Some(message("8bit", "base64", "RwBGCg==\r\n")));
        assert_eq!(to_base64(message("binary", "binary", "lines\r\nonly").as_bytes()), None);
        assert_eq!(to_base64(message("8bit", "8bit", "G\0F").as_bytes()), None);
    }

    #[test]
    fn any_message_becomes_lines() {
        let binary = "Content-Transfer-Encoding: binary\r\n\r\nG\0F\n";
        for (message, want) in [
            ("a: b\r\n\r\nc\r\n", "a: b\r\n\r\nc\r\n"),
            ("a: b\r\n\r\nc\nd\re\r\r\nf", "a: b\r\n\r\nc\r\nd\r\ne\r\n\r\nf"),
            (binary, "Content-Transfer-Encoding: base64\r\n\r\nRwBGCg==\r\n"),
        ] {
            assert_eq!(to_lines(message.as_bytes()), want.as_bytes(), "{message:?}");
        }
        assert_eq!(to_lines(b"a: b\r\n\r\nc\0d"), &b"a: b\r\n\r\nc\x80d"[..]);
    }

    #[test]
    fn a_message_within_is_reached() {
        let inner = "Content-Type: application/x\r\nContent-Transfer-Encoding: binary\r\n\r\n\0";
        let outer = format!("Content-Type: message/rfc822\r\nContent-Transfer-Encoding: binary\r\n\r\n{inner}");
        let want = "Content-Type: message/rfc822\r\nContent-Transfer-Encoding: 8bit\r\n\r\n\
                    Content-Type: application/x\r\nContent-Transfer-Encoding: base64\r\n\r\nAA==\r\n";
        assert_eq!(to_base64(outer.as_bytes()).unwrap(), want.as_bytes());
    }

    proptest! {
        #[test]
        fn nothing_is_lost(contents in prop::collection::vec(any::<u8>(), 1..200)) {
            let mut message = b"Content-Transfer-Encoding: binary\r\n\r\n".to_vec();
            message.extend(&contents);
            match to_base64(&message) {
                Some(changed) => {
                    let body = header::body_start(&changed);
                    prop_assert_eq!(decode(TransferEncoding::Base64, &changed[body..]), contents);
                }
                None => prop_assert!(is_lines(&contents)),
            }
        }

        #[test]
        fn nothing_panics(message in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(is_lines(&to_lines(&message)));
        }
    }
}
