//! Text of any charset to UTF-8, by the label a message gives it.
//!
//! The web's encodings come from `encoding_rs`; UTF-7 (RFC 2152), ISO-2022-KR (RFC 1557), ISO-2022-CN
//! (RFC 1922, its GB 2312 half) and HZ (RFC 1843) are read here: no browser wants them, old mail has them.
//!
//! Invariant: decoding never fails; what has no meaning becomes U+FFFD.

use crate::encoding::Decoder;
use crate::encoding::TransferEncoding::Base64;
use encoding_rs::{EUC_KR, Encoding, GBK, REPLACEMENT, WINDOWS_1252};
use std::borrow::Cow;

/// Labels that mail uses and the web does not know, with one that it does.
const ALIASES: [(&str, &str); 8] = [
    ("cp932", "shift_jis"),
    ("cp936", "gbk"),
    ("cp949", "euc-kr"),
    ("cp950", "big5"),
    ("ansi_x3.4-1986", "us-ascii"),
    ("iso-8859-1-windows-3.1-latin-1", "windows-1252"),
    ("latin-1", "windows-1252"),
    ("utf8mb4", "utf-8"),
];

/// Decodes octets labelled with a charset; an unknown label, or plain ASCII that is none, is guessed.
pub fn decode<'a>(label: &str, octets: &'a [u8]) -> Cow<'a, str> {
    // RFC 2231 §5: a language may follow the charset of an encoded word.
    let label = label.split('*').next().unwrap_or_default().trim().to_ascii_lowercase();
    match label.as_str() {
        "" | "us-ascii" | "ascii" | "ansi_x3.4-1968" => guess(octets),
        "utf-7" | "unicode-1-1-utf-7" | "csunicode11utf7" => utf7(octets).into(),
        "iso-2022-kr" | "csiso2022kr" => owned(EUC_KR, &shifted(octets)),
        "iso-2022-cn" | "iso-2022-cn-ext" => owned(GBK, &shifted(octets)),
        "hz-gb-2312" | "hz" => owned(GBK, &braced(octets)),
        label => match web_encoding(label) {
            Some(encoding) => encoding.decode_with_bom_removal(octets).0,
            None => guess(octets),
        },
    }
}

/// Decodes octets that say nothing of their charset: UTF-8 if they are, else Windows-1252.
pub fn guess(octets: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(octets) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => WINDOWS_1252.decode_without_bom_handling(octets).0,
    }
}

/// Whether [`decode`] knows the label, so that IMAP can answer `BADCHARSET` (RFC 9051 §6.4.4).
pub fn is_known(label: &str) -> bool {
    let label = label.to_ascii_lowercase();
    matches!(label.as_str(), "utf-7" | "iso-2022-kr" | "iso-2022-cn" | "hz-gb-2312") || web_encoding(&label).is_some()
}

fn web_encoding(label: &str) -> Option<&'static Encoding> {
    let alias = ALIASES.iter().find(|(alias, _)| *alias == label).map_or(label, |(_, known)| known);
    Encoding::for_label(alias.as_bytes()).filter(|encoding| *encoding != REPLACEMENT)
}

fn owned(encoding: &'static Encoding, octets: &[u8]) -> Cow<'static, str> {
    Cow::Owned(encoding.decode_without_bom_handling(octets).0.into_owned())
}

/// RFC 2152: `+` starts base64 of UTF-16, which ends at the first character that is no base64; a `-` there goes.
fn utf7(octets: &[u8]) -> String {
    let mut out = String::with_capacity(octets.len());
    let mut rest = octets;
    while let Some(plus) = memchr::memchr(b'+', rest) {
        let (plain, shifted) = rest.split_at(plus);
        out.push_str(&guess(plain));
        let shifted = shifted.get(1..).unwrap_or_default();
        let end = shifted.iter().position(|b| !matches!(b, b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'+' | b'/')).unwrap_or(shifted.len());
        let (base64, after) = shifted.split_at(end);
        let dash = after.first() == Some(&b'-');
        if base64.is_empty() && dash {
            out.push('+');
        }
        out.extend(char::decode_utf16(utf16(base64)).map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER)));
        rest = after.get(usize::from(dash)..).unwrap_or_default();
    }
    out.push_str(&guess(rest));
    out
}

fn utf16(base64: &[u8]) -> Vec<u16> {
    let mut octets = Vec::with_capacity(base64.len());
    let mut decoder = Decoder::new(Base64);
    decoder.feed(base64, &mut octets);
    decoder.finish(&mut octets);
    octets.as_chunks::<2>().0.iter().map(|pair| u16::from_be_bytes(*pair)).collect()
}

/// ISO-2022 with SO and SI to EUC: designations go, shifted octets get their high bit.
fn shifted(octets: &[u8]) -> Vec<u8> {
    const ESC: u8 = 0x1b;
    const SO: u8 = 0x0e;
    const SI: u8 = 0x0f;
    let mut out = Vec::with_capacity(octets.len());
    let (mut high, mut rest) = (0, octets);
    while let Some((&octet, after)) = rest.split_first() {
        rest = after;
        match octet {
            ESC if after.first() == Some(&b'$') => rest = after.get(3..).unwrap_or_default(),
            SO => high = 0x80,
            SI => high = 0,
            b'\n' => {
                high = 0;
                out.push(octet);
            }
            b'!'..=b'~' => out.push(octet | high),
            _ => out.push(octet),
        }
    }
    out
}

/// RFC 1843: `~{` and `~}` around GB 2312, `~~` is a tilde, a tilde at the end of a line joins it to the next.
fn braced(octets: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(octets.len());
    let (mut high, mut rest) = (0, octets);
    while let Some((&octet, after)) = rest.split_first() {
        rest = after.get(1..).unwrap_or_default();
        match (octet, after.first()) {
            (b'~', Some(b'{')) => high = 0x80,
            (b'~', Some(b'}')) => high = 0,
            (b'~', Some(b'~')) => out.push(b'~'),
            (b'~', Some(b'\n')) => {}
            _ => {
                rest = after;
                out.push(if octet.is_ascii_graphic() { octet | high } else { octet });
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_decoded_by_their_label() {
        for (label, octets, want) in [
            ("utf-8", "café".as_bytes(), "café"),
            ("UTF-8", b"caf\xe9", "caf\u{fffd}"),
            ("utf-8", b"\xef\xbb\xbfbom", "bom"),
            ("iso-8859-1", b"caf\xe9", "café"),
            ("ISO-8859-1*en", b"caf\xe9", "café"),
            ("us-ascii", b"caf\xe9", "café"),
            ("us-ascii", "café".as_bytes(), "café"),
            ("x-unknown", b"caf\xe9", "café"),
            ("koi8-r", b"\xd0\xd2\xc9", "при"),
            ("iso-2022-jp", b"\x1b$B$3$s\x1b(B!", "こん!"),
            ("cp932", b"\x82\xb1", "こ"),
            ("gb2312", b"\xc4\xe3", "你"),
            ("iso-2022-kr", b"\x1b$)C\x0eGQ\x0f ok", "한 ok"),
            ("iso-2022-cn", b"\x1b$)A\x0eDc\x0f!", "你!"),
            ("hz-gb-2312", b"~{Dc~} ~~ a~\nb", "你 ~ ab"),
            ("utf-7", b"Hi Mom -+Jjo--!", "Hi Mom -☺-!"),
            ("utf-7", b"A+ImIDkQ.", "A≢Α."),
            ("utf-7", b"1 +- 1+", "1 + 1"),
            ("utf-7", b"+2D0-x", "\u{fffd}x"),
        ] {
            assert_eq!(decode(label, octets), want, "{label}");
        }
    }

    #[test]
    fn labels_are_known_or_not() {
        assert!(["us-ascii", "UTF-8", "utf-7", "latin-1", "ISO-8859-15"].into_iter().all(is_known));
        assert!(!["x-unknown", "", "replacement"].into_iter().any(is_known));
    }
}
