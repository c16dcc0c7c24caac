//! Text in header fields beyond ASCII: encoded words (RFC 2047) and parameter values (RFC 2231).
//!
//! Not the fields themselves: `header` finds and unfolds them.
//!
//! Invariant: decoding never fails and is linear in its input; what is no encoded word stays as it is.

use crate::charset;
use crate::encoding::{self, TransferEncoding, hex, push_escape};
use std::borrow::Cow;

/// Longest encoded word that we write, characters. RFC 2047 §2 allows 75, in lines of 76: this leaves room
/// for the field's name.
pub const WORD_CHARS_MAX: usize = 60;

/// One encoded word: `=?charset?encoding?text?=`.
struct Word<'a> {
    charset: &'a str,
    octets: Vec<u8>,
}

/// Decodes the encoded words of an unfolded text. White space between two of them goes; words that share
/// a charset are decoded together, for characters cut in two by careless writers.
pub fn decode(text: &str) -> Cow<'_, str> {
    if !text.contains("=?") {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut open: Option<Word<'_>> = None;
    let mut rest = text;
    while let Some(at) = rest.find("=?") {
        let (before, from) = rest.split_at(at);
        let Some((word, after)) = encoded_word(from) else {
            // Only the mark is passed over: a word may start right behind it.
            close(&mut open, &mut out);
            out.push_str(before);
            out.push('=');
            rest = from.get(1..).unwrap_or_default();
            continue;
        };
        let apart = open.is_some() && before.bytes().all(|b| b.is_ascii_whitespace());
        if !apart {
            close(&mut open, &mut out);
            out.push_str(before);
        }
        match &mut open {
            Some(open) if open.charset.eq_ignore_ascii_case(word.charset) => open.octets.extend_from_slice(&word.octets),
            _ => {
                close(&mut open, &mut out);
                open = Some(word);
            }
        }
        rest = after;
    }
    close(&mut open, &mut out);
    out.push_str(rest);
    Cow::Owned(out)
}

/// Writes a finished run of words; line ends and NUL cannot be smuggled in by them.
fn close(open: &mut Option<Word<'_>>, out: &mut String) {
    let Some(word) = open.take() else { return };
    let text = charset::decode(word.charset, &word.octets);
    out.extend(text.chars().filter(|c| !matches!(c, '\r' | '\n' | '\0')));
}

/// Reads the encoded word that `text` starts with, and what is behind it. A space within is tolerated.
fn encoded_word(text: &str) -> Option<(Word<'_>, &str)> {
    let inner = text.strip_prefix("=?")?;
    let (charset, inner) = split_token(inner)?;
    let (encoding, inner) = split_token(inner)?;
    // No `?` may be in the text, so that no octet is looked at for many words in vain.
    let (text, after) = inner.split_once('?')?;
    let after = after.strip_prefix('=')?;
    let octets = match encoding {
        "B" | "b" => encoding::decode(TransferEncoding::Base64, text.as_bytes()),
        "Q" | "q" => decode_q(text.as_bytes()),
        _ => return None,
    };
    Some((Word { charset, octets }, after))
}

/// The token before the next `?`: short and without white space.
fn split_token(text: &str) -> Option<(&str, &str)> {
    const OCTETS_MAX: usize = 60;
    let end = text.bytes().take(OCTETS_MAX).position(|b| b == b'?' || b.is_ascii_whitespace())?;
    let token = text.get(..end)?;
    Some((token, text.get(end..)?.strip_prefix('?')?)).filter(|_| !token.is_empty())
}

/// Q: `_` is a space, `=XX` an octet (RFC 2047 §4.2).
fn decode_q(text: &[u8]) -> Vec<u8> {
    decode_escapes(text, b'=')
}

fn decode_escapes(text: &[u8], mark: u8) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&octet, after)) = rest.split_first() {
        let escaped = match after {
            [high, low, ..] if octet == mark => hex(*high).zip(hex(*low)).map(|(high, low)| high << 4 | low),
            _ => None,
        };
        rest = if escaped.is_some() { after.get(2..).unwrap_or_default() } else { after };
        out.push(escaped.unwrap_or(if octet == b'_' && mark == b'=' { b' ' } else { octet }));
    }
    out
}

/// Writes a text as encoded words of UTF-8 separated by spaces, where it can be folded (RFC 2047 §5); plain
/// ASCII that cannot be mistaken for one stays as it is.
pub fn encode(text: &str) -> Cow<'_, str> {
    let plain = |b: u8| matches!(b, b' '..=b'~' | b'\t');
    if text.bytes().all(plain) && !text.contains("=?") {
        return Cow::Borrowed(text);
    }
    let ascii = text.bytes().filter(u8::is_ascii_alphanumeric).count();
    Cow::Owned(if ascii * 2 >= text.len() { encode_q(text) } else { encode_b(text) })
}

const Q_START: &str = "=?utf-8?Q?";
const B_START: &str = "=?utf-8?B?";

fn encode_q(text: &str) -> String {
    let mut out = String::from(Q_START);
    let mut room = WORD_CHARS_MAX - Q_START.len() - 2;
    for c in text.chars() {
        let mut octets = [0; 4];
        let octets = c.encode_utf8(&mut octets).as_bytes();
        // Only these are safe in a phrase too (RFC 2047 §5 rule 3).
        let plain = c == ' ' || c.is_ascii_alphanumeric() || matches!(c, '!' | '*' | '+' | '-' | '/');
        let width = if plain { 1 } else { octets.len() * 3 };
        if width > room {
            out.push_str("?= ");
            out.push_str(Q_START);
            room = WORD_CHARS_MAX - Q_START.len() - 2;
        }
        room -= width;
        match c {
            ' ' => out.push('_'),
            c if plain => out.push(c),
            _ => octets.iter().for_each(|octet| push_escape(b'=', *octet, &mut out)),
        }
    }
    out.push_str("?=");
    out
}

fn encode_b(text: &str) -> String {
    const OCTETS_MAX: usize = (WORD_CHARS_MAX - B_START.len() - 2) / 4 * 3;
    let mut words = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (word, after) = rest.split_at(rest.floor_char_boundary(OCTETS_MAX));
        words.push(format!("{B_START}{}?=", encoding::base64(word.as_bytes())));
        rest = after;
    }
    words.join(" ")
}

/// The decoded value of a parameter, in whatever way it is written: `name=`, `name*=` (RFC 2231 §4), or with
/// encoded words in it, which is wrong and common.
pub fn parameter<'a>(parameters: &'a [(String, String)], name: &str) -> Option<Cow<'a, str>> {
    let named = |wanted: &str| parameters.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value.as_str());
    match named(&format!("{name}*")) {
        Some(extended) => Some(decode_extended(extended)),
        None => named(name).map(decode),
    }
}

/// `charset'language'text%20with%20escapes` (RFC 2231 §4).
fn decode_extended(value: &str) -> Cow<'_, str> {
    let mut parts = value.splitn(3, '\'');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(charset), Some(_), Some(text)) => {
            let octets = decode_escapes(text.as_bytes(), b'%');
            let text = charset::decode(charset, &octets);
            Cow::Owned(text.chars().filter(|c| !matches!(c, '\r' | '\n' | '\0')).collect())
        }
        _ => Cow::Borrowed(value),
    }
}

/// Joins the pieces of continued parameters, `name*0`, `name*1*` and so on, to one: `name`, or `name*` if a
/// piece is extended, still escaped (RFC 2231 §3, §4.1; RFC 9051 §7.5.2 asks servers to).
///
/// Deviation: RFC 9051 would have extended ones decoded to UTF-8 under the name `name*`; clients read what
/// stands under that name as an escaped value with its charset, so that is what they get.
pub fn join_continuations(parameters: &mut Vec<(String, String)>) {
    if !parameters.iter().any(|(name, _)| name.contains('*')) {
        return;
    }
    let mut pieces: Vec<Piece> = Vec::new();
    parameters.retain(|(name, value)| match piece(name, value) {
        Some(piece) => {
            pieces.push(piece);
            false
        }
        None => true,
    });
    pieces.sort_by(|a, b| (&a.name, a.number).cmp(&(&b.name, b.number)));
    for run in pieces.chunk_by(|a, b| a.name == b.name) {
        let extended = run.iter().any(|piece| piece.extended);
        let name = run.first().map(|piece| piece.name.clone()).unwrap_or_default();
        let value = run.iter().map(|piece| piece.text(extended)).collect();
        parameters.push((if extended { name + "*" } else { name }, value));
    }
}

struct Piece {
    name: String,
    number: u32,
    extended: bool,
    value: String,
}

impl Piece {
    /// The value as a piece of an extended one, if that is what it becomes.
    fn text(&self, extended: bool) -> String {
        if self.extended || !extended { self.value.clone() } else { escape(&self.value) }
    }
}

fn piece(name: &str, value: &str) -> Option<Piece> {
    let (name, number) = name.split_once('*')?;
    let (number, extended) = number.strip_suffix('*').map_or((number, false), |number| (number, true));
    let digits = (1..=4).contains(&number.len()) && number.bytes().all(|b| b.is_ascii_digit());
    let number = number.parse().ok().filter(|_| digits)?;
    Some(Piece { name: name.to_owned(), number, extended, value: value.to_owned() })
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for octet in text.bytes() {
        if octet.is_ascii_alphanumeric() || matches!(octet, b'.' | b'-' | b'_') {
            out.push(char::from(octet));
        } else {
            push_escape(b'%', octet, &mut out);
        }
    }
    out
}

/// Writes a parameter: a token, a quoted string, or `name*=utf-8''…` (RFC 2231 §4).
pub fn encode_parameter(name: &str, value: &str) -> String {
    let token = |b: u8| b.is_ascii_graphic() && !b"()<>@,;:\\\"/[]?=".contains(&b);
    if !value.is_empty() && value.bytes().all(token) {
        return format!("{name}={value}");
    }
    if value.bytes().all(|b| matches!(b, b' '..=b'~')) {
        return format!("{name}=\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""));
    }
    format!("{name}*=utf-8''{}", escape(value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn encoded_words_are_decoded() {
        for (input, want) in [
            ("plain", "plain"),
            ("=?iso-8859-1?q?this=20is=20some=20text?=", "this is some text"),
            (
                "=?ISO-8859-1?B?SWYgeW91IGNhbiByZWFkIHRoaXMgeW8=?= =?ISO-8859-2?B?dSB1bmRlcnN0YW5kIHRoZSBleGFtcGxlLg==?=",
                "If you can read this you understand the example.",
            ),
            ("=?ISO-8859-1?Q?a?=  \t =?ISO-8859-1?Q?b?=", "ab"),
            ("=?ISO-8859-1?Q?a?= b", "a b"),
            ("=?ISO-8859-1?Q?a_b?=", "a b"),
            ("=?ISO-8859-1?Q?a?= =?ISO-8859-2?Q?_b?=", "a b"),
            ("=?US-ASCII*EN?Q?Keith_Moore?= x", "Keith Moore x"),
            ("=?utf-8?q?this is wrong but common?=", "this is wrong but common"),
            ("=?utf-8?B?w6?= =?utf-8?B?k=?=", "\u{fffd}"),
            ("=?utf-8?Q?caf=C3?= =?utf-8?Q?=A9?=", "café"),
            ("[SPAM]=?utf-8?B?VGhpcw==?=", "[SPAM]This"),
            ("=?utf-8?Q??=here", "here"),
            ("=?utf-8?Q?=?=", "="),
            ("=?", "=?"),
            ("=?utf-8", "=?utf-8"),
            ("=?utf-8?X?a?=", "=?utf-8?X?a?="),
            ("=?=?utf-8?Q?a?=", "=?a"),
            ("let's = try =?iso-8859-1? to break =? the parser", "let's = try =?iso-8859-1? to break =? the parser"),
            ("=?utf-8?Q?a=0D=0AEvil:_b?=", "aEvil: b"),
            ("=?utf-7?Q?+Jjo-?=", "☺"),
        ] {
            assert_eq!(decode(input), want, "{input}");
        }
    }

    #[test]
    fn parameters_are_decoded() {
        let check = |pairs: &[(&str, &str)], want: &str| {
            let mut parameters: Vec<_> = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            join_continuations(&mut parameters);
            assert_eq!(parameter(&parameters, "name").as_deref(), Some(want), "{parameters:?}");
        };
        check(&[("name", "a b.txt")], "a b.txt");
        check(&[("name*", "us-ascii'en-us'This%20is%20%2A%2A%2Afun%2A%2A%2A")], "This is ***fun***");
        check(&[("name*1", "cs.utk.edu"), ("name*0", "ftp://")], "ftp://cs.utk.edu");
        check(
            &[("name*0*", "us-ascii'en'This%20is%20even%20more%20"), ("name*1*", "%2A%2A%2Afun%2A%2A%2A%20"), ("name*2", "isn't it!")],
            "This is even more ***fun*** isn't it!",
        );
        check(&[("name", "=?utf-8?q?=E3=83=8F?=.png")], "ハ.png");
        check(&[("name*", "no quotes")], "no quotes");
        check(&[("x", "y"), ("name", "z")], "z");
    }

    #[test]
    fn parameters_are_written() {
        for (value, want) in
            [("a.txt", "name=a.txt"), ("a b\".txt", "name=\"a b\\\".txt\""), ("", "name=\"\""), ("é b", "name*=utf-8''%C3%A9%20b")]
        {
            assert_eq!(encode_parameter("name", value), want);
        }
    }

    #[test]
    fn hostile_words_cost_no_more_than_their_length() {
        for piece in ["=?utf-8?Q?=C3=A9?= ", "=?", "=?a?b?", "=?utf-8?Q?a?=\t", "=?utf-8?Q?", "=?a?q? "] {
            let text = piece.repeat(200_000 / piece.len());
            assert!(decode(&text).len() <= text.len());
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(text in "\\PC{0,120}") {
            let encoded = encode(&text);
            prop_assert!(encoded.is_ascii() || encoded == text);
            if encoded != text {
                prop_assert!(encoded.split(' ').all(|word| word.len() <= WORD_CHARS_MAX));
            }
            prop_assert_eq!(decode(&encoded), text.as_str());
        }
    }
}
