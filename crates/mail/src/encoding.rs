//! Content transfer encodings: base64 and quoted-printable, both ways (RFC 2045 §6).
//!
//! Not the encodings of header fields: `words` has those, built on these.
//!
//! Invariants: decoding never fails: what cannot be decoded is left out (base64) or kept as it is
//! (quoted-printable); the decoders take their input in pieces cut anywhere.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// How a body is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransferEncoding {
    /// `7bit`, `8bit`, `binary`, and anything unknown.
    Identity,
    /// `base64`
    Base64,
    /// `quoted-printable`
    QuotedPrintable,
}

impl TransferEncoding {
    /// By the token of `Content-Transfer-Encoding`.
    pub fn parse(token: &str) -> Self {
        match token.trim() {
            token if token.eq_ignore_ascii_case("base64") => Self::Base64,
            token if token.eq_ignore_ascii_case("quoted-printable") => Self::QuotedPrintable,
            _ => Self::Identity,
        }
    }

    /// Whether the token is one of RFC 2045 §6.1: what has another cannot be decoded.
    pub fn is_known(token: &str) -> bool {
        let token = token.trim();
        let plain = ["7bit", "8bit", "binary"].iter().any(|known| token.eq_ignore_ascii_case(known));
        token.is_empty() || plain || Self::parse(token) != Self::Identity
    }
}

/// A decoder that is fed a body piece by piece.
#[derive(Debug, Clone)]
pub enum Decoder {
    /// Octets pass as they are.
    Identity,
    /// See [`Base64Decoder`].
    Base64(Base64Decoder),
    /// See [`QuotedPrintableDecoder`].
    QuotedPrintable(QuotedPrintableDecoder),
}

impl Decoder {
    /// A decoder for a body in this encoding.
    pub fn new(encoding: TransferEncoding) -> Self {
        match encoding {
            TransferEncoding::Identity => Self::Identity,
            TransferEncoding::Base64 => Self::Base64(Base64Decoder::default()),
            TransferEncoding::QuotedPrintable => Self::QuotedPrintable(QuotedPrintableDecoder::default()),
        }
    }

    /// Decodes the next piece to the end of `out`.
    pub fn feed(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        match self {
            Self::Identity => out.extend_from_slice(piece),
            Self::Base64(decoder) => decoder.feed(piece, out),
            Self::QuotedPrintable(decoder) => decoder.feed(piece, out),
        }
    }

    /// There is no more: writes what was held back.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        match self {
            Self::Identity => {}
            Self::Base64(decoder) => decoder.finish(out),
            Self::QuotedPrintable(decoder) => decoder.finish(out),
        }
    }
}

/// Decodes a whole body.
pub fn decode(encoding: TransferEncoding, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len());
    let mut decoder = Decoder::new(encoding);
    decoder.feed(body, &mut out);
    decoder.finish(&mut out);
    out
}

/// Base64 that passes over anything outside its alphabet; `=` ends a group, and another may follow.
#[derive(Debug, Clone, Default)]
pub struct Base64Decoder {
    bits: u32,
    /// Sextets in `bits`, 0 to 3.
    sextets: u8,
}

impl Base64Decoder {
    fn feed(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        for &octet in piece {
            match BASE64_VALUES.get(usize::from(octet)).copied().unwrap_or(SKIP) {
                SKIP if octet == b'=' => self.finish(out),
                SKIP => {}
                value => self.push(value, out),
            }
        }
    }

    fn push(&mut self, value: u8, out: &mut Vec<u8>) {
        self.bits = self.bits << 6 | u32::from(value);
        self.sextets += 1;
        if self.sextets == 4 {
            let [_, a, b, c] = self.bits.to_be_bytes();
            out.extend_from_slice(&[a, b, c]);
            *self = Self::default();
        }
    }

    /// Two sextets hold one octet, three hold two, one holds none.
    fn finish(&mut self, out: &mut Vec<u8>) {
        let [_, a, b, _] = (self.bits << (6 * (4 - u32::from(self.sextets)))).to_be_bytes();
        match self.sextets {
            2 => out.push(a),
            3 => out.extend_from_slice(&[a, b]),
            _ => {}
        }
        *self = Self::default();
    }
}

const SKIP: u8 = 0xff;

const BASE64_VALUES: [u8; 256] = {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut values = [SKIP; 256];
    let mut value = 0_u8;
    while value < 64 {
        #[expect(clippy::indexing_slicing, reason = "constant evaluation; a bad index would not compile")]
        {
            values[alphabet[value as usize] as usize] = value;
        }
        value += 1;
    }
    values
};

/// Quoted-printable: soft line breaks and white space before a line end go, a bad escape stays as it is.
#[derive(Debug, Clone, Default)]
pub struct QuotedPrintableDecoder {
    /// An escape or white space whose meaning the next octets tell.
    held: Vec<u8>,
}

impl QuotedPrintableDecoder {
    /// Most octets held back: a line of more white space than this is let through. Lines of mail have at
    /// most 998 octets (RFC 5322 §2.1.1).
    const HELD_OCTETS_MAX: usize = 1000;

    fn feed(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        for &octet in piece {
            self.push(octet, out);
        }
    }

    fn push(&mut self, octet: u8, out: &mut Vec<u8>) {
        match (self.held.as_slice(), octet) {
            ([], b'=' | b' ' | b'\t') => self.held.push(octet),
            ([], _) => out.push(octet),
            ([b'='], _) if octet.is_ascii_hexdigit() => self.held.push(octet),
            ([b'=', high], _) if high.is_ascii_hexdigit() => self.escape(*high, octet, out),
            // A soft break: everything from the `=` to the line feed goes.
            ([b'=', ..], b'\n') => self.held.clear(),
            // White space before a line end goes, the line end stays.
            ([.., b'\r'], b'\n') => self.line_end(b"\r\n", out),
            (_, b'\n') => self.line_end(b"\n", out),
            (_, b' ' | b'\t' | b'\r') if self.held.len() < Self::HELD_OCTETS_MAX => self.held.push(octet),
            _ => {
                out.append(&mut self.held);
                self.push(octet, out);
            }
        }
    }

    fn escape(&mut self, high: u8, low: u8, out: &mut Vec<u8>) {
        if let Some((high, low)) = hex(high).zip(hex(low)) {
            out.push(high << 4 | low);
            self.held.clear();
        } else {
            out.append(&mut self.held);
            self.push(low, out);
        }
    }

    fn line_end(&mut self, end: &[u8], out: &mut Vec<u8>) {
        self.held.clear();
        out.extend_from_slice(end);
    }

    /// An `=` at the very end is a soft break whose line end was cut off.
    fn finish(&mut self, out: &mut Vec<u8>) {
        if self.held.first() == Some(&b'=') && self.held.iter().skip(1).all(u8::is_ascii_whitespace) {
            self.held.clear();
        }
        out.append(&mut self.held);
    }
}

/// The value of a hexadecimal digit of either case.
pub(crate) fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

/// Base64 in lines of 76 characters, each with its line end (RFC 2045 §6.8).
pub fn base64_lines(octets: &[u8]) -> String {
    let mut out = String::with_capacity(octets.len() * 4 / 3 + octets.len() / 28 + 8);
    for line in octets.chunks(57) {
        STANDARD.encode_string(line, &mut out);
        out.push_str("\r\n");
    }
    out
}

/// Base64 in one piece.
pub fn base64(octets: &[u8]) -> String {
    STANDARD.encode(octets)
}

/// Quoted-printable of a text whose lines end in LF or CRLF; the result's end in CRLF (RFC 2045 §6.7).
pub fn quoted_printable(text: &[u8]) -> String {
    let mut out = String::with_capacity(text.len() + text.len() / 8);
    let mut lines = text.split(|b| *b == b'\n').peekable();
    while let Some(line) = lines.next() {
        let last = lines.peek().is_none();
        quoted_printable_line(if last { line } else { line.strip_suffix(b"\r").unwrap_or(line) }, &mut out);
        if !last {
            out.push_str("\r\n");
        }
    }
    out
}

/// Longest line of quoted-printable, without its line end (RFC 2045 §6.7 rule 5).
const LINE_CHARS_MAX: usize = 76;

fn quoted_printable_line(line: &[u8], out: &mut String) {
    let mut column = 0;
    for (at, &octet) in line.iter().enumerate() {
        let last = at + 1 == line.len();
        let plain = matches!(octet, b'!'..=b'<' | b'>'..=b'~') || (matches!(octet, b' ' | b'\t') && !last);
        let width = if plain { 1 } else { 3 };
        if column + width > LINE_CHARS_MAX - usize::from(!last) {
            out.push_str("=\r\n");
            column = 0;
        }
        if plain {
            out.push(char::from(octet));
        } else {
            push_escape(b'=', octet, out);
        }
        column += width;
    }
}

/// `=C3` or `%C3`.
pub(crate) fn push_escape(mark: u8, octet: u8, out: &mut String) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    out.push(char::from(mark));
    for nibble in [octet >> 4, octet & 15] {
        out.push(DIGITS.get(usize::from(nibble)).copied().map_or('0', char::from));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(encoding: TransferEncoding, input: &str, want: &[u8]) {
        assert_eq!(decode(encoding, input.as_bytes()), want, "{input:?}");
        let mut out = Vec::new();
        let mut decoder = Decoder::new(encoding);
        input.bytes().for_each(|octet| decoder.feed(&[octet], &mut out));
        decoder.finish(&mut out);
        assert_eq!(out, want, "octet by octet: {input:?}");
    }

    #[test]
    fn base64_is_read_whatever_stands_between() {
        for (input, want) in [
            ("", &b""[..]),
            ("SGVsbG8=", b"Hello"),
            ("SGVs\r\nbG8=\r\n", b"Hello"),
            ("SGVsbG8", b"Hello"),
            ("S G-V!s\0bG8=", b"Hello"),
            ("SGVsbG8=SGVsbG8=", b"HelloHello"),
            ("SGVsbG8====", b"Hello"),
            ("S", b""),
            ("SA", b"H"),
            ("=", b""),
        ] {
            check(TransferEncoding::Base64, input, want);
        }
    }

    #[test]
    fn quoted_printable_is_read_as_it_comes() {
        for (input, want) in [
            ("a=20b", &b"a b"[..]),
            ("caf=C3=a9", "café".as_bytes()),
            ("soft=\r\nbreak", b"softbreak"),
            ("soft=  \r\nbreak", b"softbreak"),
            ("soft=\nbreak", b"softbreak"),
            ("trailing \t \r\nline", b"trailing\r\nline"),
            ("inner  space", b"inner  space"),
            ("end  ", b"end  "),
            ("bad=XYescape", b"bad=XYescape"),
            ("bad=4Gescape", b"bad=4Gescape"),
            ("bad==41", b"bad=A"),
            ("cut=", b"cut"),
            ("cut=4", b"cut=4"),
            ("a \rb", b"a \rb"),
            ("a= b", b"a= b"),
        ] {
            check(TransferEncoding::QuotedPrintable, input, want);
        }
    }

    #[test]
    fn encodings_are_known_by_name() {
        for (token, want) in [
            (" BASE64 ", TransferEncoding::Base64),
            ("Quoted-Printable", TransferEncoding::QuotedPrintable),
            ("x-uue", TransferEncoding::Identity),
        ] {
            assert_eq!(TransferEncoding::parse(token), want);
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(octets in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert_eq!(decode(TransferEncoding::Base64, base64_lines(&octets).as_bytes()), octets.clone());
            let text: Vec<u8> = octets.into_iter().filter(|b| *b != b'\n' && *b != b'\r').collect();
            let lines = [text.clone(), b"x y \t ".to_vec(), text].join(&b"\r\n"[..]);
            let encoded = quoted_printable(&lines);
            prop_assert!(encoded.split("\r\n").all(|line| line.len() <= LINE_CHARS_MAX));
            prop_assert_eq!(decode(TransferEncoding::QuotedPrintable, encoded.as_bytes()), lines);
        }
    }
}
