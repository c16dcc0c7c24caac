//! The grammar of SMTP's commands: paths and parameters (RFC 5321 §4.1.2, §4.1.1.11) and xtext (RFC 3461 §4).
//!
//! Invariant: what is read here holds no control characters, so that it may stand in a header field or a log.

use mail::{Address, AddressError};
use std::fmt::Write as _;

/// The verb of a command line and what follows it, without the blanks between and at the end.
pub(crate) fn split_verb(line: &str) -> (&str, &str) {
    let line = line.trim_end_matches(BLANK);
    let (verb, args) = line.split_once(BLANK).unwrap_or((line, ""));
    (verb, args.trim_start_matches(BLANK))
}

const BLANK: [char; 2] = [' ', '\t'];

/// What stands between `<` and `>`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Path<'a> {
    /// `<>`
    Null,
    /// `<Postmaster>`, in any case (RFC 5321 §4.5.1).
    Postmaster,
    /// A mailbox; its source route was dropped (RFC 5321 appendix C).
    Mailbox(Address, &'a str),
}

/// Why a command's arguments cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// `FROM:` or `TO:` is missing.
    Keyword,
    /// No `<…>`.
    Brackets,
    /// No address between the brackets.
    Address(AddressError),
    /// A parameter that is no `keyword` or `keyword=value`.
    Parameter,
}

/// Reads `FROM:<path> parameters`.
///
/// Deviation: blanks around the colon and before the path are skipped; Outlook sends one there.
pub(crate) fn path<'a>(args: &'a str, keyword: &str) -> Result<(Path<'a>, Vec<Parameter<'a>>), Fault> {
    let head = args.get(..keyword.len()).filter(|head| head.eq_ignore_ascii_case(keyword)).ok_or(Fault::Keyword)?;
    let rest = args.get(head.len()..).unwrap_or_default().trim_start_matches(BLANK);
    let rest = rest.strip_prefix(':').ok_or(Fault::Keyword)?.trim_start_matches(BLANK);
    let inside = rest.strip_prefix('<').ok_or(Fault::Brackets)?;
    let end = closing_bracket(inside).ok_or(Fault::Brackets)?;
    let (text, after) = (inside.get(..end).unwrap_or_default(), inside.get(end + 1..).unwrap_or_default());
    if !after.is_empty() && !after.starts_with(BLANK) {
        return Err(Fault::Brackets);
    }
    let parameters = after.split(BLANK).filter(|word| !word.is_empty()).map(Parameter::parse);
    let parameters = parameters.collect::<Option<Vec<_>>>().ok_or(Fault::Parameter)?;
    Ok((mailbox(text)?, parameters))
}

/// Where the `>` is that no quotes enclose.
fn closing_bracket(text: &str) -> Option<usize> {
    let (mut quoted, mut escaped) = (false, false);
    for (at, octet) in text.bytes().enumerate() {
        match octet {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'>' if !quoted => return Some(at),
            _ => {}
        }
    }
    None
}

fn mailbox(text: &str) -> Result<Path<'_>, Fault> {
    if text.is_empty() {
        return Ok(Path::Null);
    }
    if text.eq_ignore_ascii_case("postmaster") {
        return Ok(Path::Postmaster);
    }
    let mailbox = without_route(text);
    Address::parse(mailbox).map(|address| Path::Mailbox(address, mailbox)).map_err(Fault::Address)
}

/// `@relay.example,@other.example:user@host` is `user@host`.
fn without_route(text: &str) -> &str {
    if !text.starts_with('@') {
        return text;
    }
    text.split_once(':').map_or(text, |(_, mailbox)| mailbox)
}

/// One ESMTP parameter.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Parameter<'a> {
    /// In any case.
    pub(crate) keyword: &'a str,
    pub(crate) value: Option<&'a str>,
}

impl<'a> Parameter<'a> {
    fn parse(word: &'a str) -> Option<Self> {
        let (keyword, value) = match word.split_once('=') {
            Some((keyword, value)) => (keyword, Some(value)),
            None => (word, None),
        };
        let known = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
        let good = !keyword.is_empty() && keyword.bytes().all(known) && value != Some("");
        good.then_some(Self { keyword, value })
    }

    pub(crate) fn is(&self, keyword: &str) -> bool {
        self.keyword.eq_ignore_ascii_case(keyword)
    }
}

/// Decodes xtext (RFC 3461 §4); `None` if it is malformed, not UTF-8, or hides control characters.
pub(crate) fn decode_xtext(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut octets = text.bytes();
    while let Some(octet) = octets.next() {
        match octet {
            b'+' => out.push(hex(octets.next()?)? << 4 | hex(octets.next()?)?),
            b'=' => return None,
            octet if octet.is_ascii_graphic() || !octet.is_ascii() => out.push(octet),
            _ => return None,
        }
    }
    String::from_utf8(out).ok().filter(|text| !text.chars().any(char::is_control))
}

/// Encodes as xtext.
pub(crate) fn encode_xtext(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for octet in text.bytes() {
        if octet.is_ascii_graphic() && octet != b'+' && octet != b'=' {
            out.push(char::from(octet));
        } else {
            let _ = write!(out, "+{octet:02X}");
        }
    }
    out
}

/// Upper case only (RFC 3461 §4).
fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mail::DomainError;
    use proptest::prelude::*;

    #[test]
    fn verbs_are_split_off() {
        for (input, want) in [
            ("NOOP", ("NOOP", "")),
            ("mail FROM:<>", ("mail", "FROM:<>")),
            ("HELO  a \t", ("HELO", "a")),
            ("", ("", "")),
            (" NOOP", ("", "NOOP")),
        ] {
            assert_eq!(split_verb(input), want, "{input}");
        }
    }

    /// The path as shown again, and the number of parameters.
    fn read(args: &str) -> Result<(String, usize), Fault> {
        path(args, "FROM").map(|(path, parameters)| {
            let shown = match path {
                Path::Null => "null".to_owned(),
                Path::Postmaster => "postmaster".to_owned(),
                Path::Mailbox(address, _) => address.to_string(),
            };
            (shown, parameters.len())
        })
    }

    #[test]
    fn paths_are_read() {
        let good = |shown: &str, parameters| Ok((shown.to_owned(), parameters));
        for (input, want) in [
            ("FROM:<a@b.example>", good("a@b.example", 0)),
            ("from:<a@b.example> SIZE=5  BODY=8BITMIME ", good("a@b.example", 2)),
            ("FROM: <a@b.example>", good("a@b.example", 0)),
            ("FROM : <a@b.example>", good("a@b.example", 0)),
            ("FROM:<>", good("null", 0)),
            ("FROM:<PostMaster>", good("postmaster", 0)),
            ("FROM:<@r.example,@s.example:a@b.example>", good("a@b.example", 0)),
            ("FROM:<\"a>b\"@c.example> X", good("\"a>b\"@c.example", 1)),
            ("FROM:<\"a\\\">b\"@c.example>", good("\"a\\\">b\"@c.example", 0)),
            ("FROM:<a@[192.0.2.1]>", good("a@[192.0.2.1]", 0)),
            ("FROM:<a@[IPv6:2001:db8::1]>", good("a@[IPv6:2001:db8::1]", 0)),
            ("FROM:<bär@b.example>", good("bär@b.example", 0)),
            ("<a@b.example>", Err(Fault::Keyword)),
            ("FROM<a@b.example>", Err(Fault::Keyword)),
            ("FROM:a@b.example", Err(Fault::Brackets)),
            ("FROM:<a@b.example", Err(Fault::Brackets)),
            ("FROM:<a@b.example>SIZE=5", Err(Fault::Brackets)),
            ("FROM:<\"a>@b.example>", Err(Fault::Brackets)),
            ("FROM:<a>", Err(Fault::Address(AddressError::NoAt))),
            ("FROM:<@r.example:>", Err(Fault::Address(AddressError::NoAt))),
            ("FROM:<a@b..c>", Err(Fault::Address(AddressError::Domain(DomainError::BadLabel)))),
            ("FROM:<> =5", Err(Fault::Parameter)),
            ("FROM:<> SIZE=", Err(Fault::Parameter)),
            ("FROM:<> S/IZE=1", Err(Fault::Parameter)),
        ] {
            assert_eq!(read(input), want, "{input}");
        }
    }

    #[test]
    fn xtext_is_decoded() {
        for (input, want) in [
            ("QQ314159", Some("QQ314159")),
            ("a+2Bb+3Dc", Some("a+b=c")),
            ("bär+C3+A4", Some("bärä")),
            ("+2b", None),
            ("a=b", None),
            ("a+", None),
            ("a+4", None),
            ("+FF", None),
            ("a+0D+0Ab", None),
        ] {
            assert_eq!(decode_xtext(input).as_deref(), want, "{input}");
        }
    }

    proptest! {
        #[test]
        fn xtext_round_trips(text in "\\PC{0,40}") {
            let encoded = encode_xtext(&text);
            prop_assert!(encoded.bytes().all(|b| b.is_ascii_graphic()));
            prop_assert_eq!(decode_xtext(&encoded), Some(text));
        }
    }
}
