//! Mailbox names on the wire: modified UTF-7 for IMAP4rev1, UTF-8 for IMAP4rev2 (RFC 3501 §5.1.3,
//! RFC 9051 §5.1), and the patterns of LIST.
//!
//! Within the server a name is UTF-8 with `/` between its levels.
//!
//! Invariant: every text is some name: what is not modified UTF-7 is taken as it stands, and reading
//! what [`write`] wrote gives the name back.

use base64::Engine as _;
use base64::alphabet::IMAP_MUTF7;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// What stands between the levels of a name. Never NIL: some clients break on it.
pub const DELIMITER: char = '/';

const MODIFIED: GeneralPurpose = GeneralPurpose::new(
    &IMAP_MUTF7,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::RequireNone),
);

/// A client's name in UTF-8, INBOX in upper case, without a delimiter at its end.
pub fn read(name: &str, utf8: bool) -> String {
    let name = read_pattern(name, utf8);
    let trimmed = name.strip_suffix(DELIMITER).filter(|name| !name.is_empty()).map(str::to_owned).unwrap_or(name);
    canonical(trimmed)
}

/// A client's pattern in UTF-8.
pub fn read_pattern(pattern: &str, utf8: bool) -> String {
    // Deviation: Thunderbird enables UTF8=ACCEPT and then sends `&` as it is, others never encode
    // it: what is not modified UTF-7 is taken as it stands.
    if utf8 || !pattern.contains('&') { pattern.to_owned() } else { decode(pattern).unwrap_or_else(|| pattern.to_owned()) }
}

/// INBOX is INBOX in any case, also as the first level of a longer name (RFC 9051 §5.1).
fn canonical(name: String) -> String {
    let first = name.split(DELIMITER).next().unwrap_or_default();
    if !first.eq_ignore_ascii_case("INBOX") {
        return name;
    }
    format!("INBOX{}", name.get(first.len()..).unwrap_or_default())
}

/// The name as this client reads it.
pub fn write(name: &str, utf8: bool) -> String {
    if utf8 || name.bytes().all(|octet| octet != b'&' && (octet == b' ' || octet.is_ascii_graphic())) {
        return name.to_owned();
    }
    encode(name)
}

fn encode(name: &str) -> String {
    let mut out = String::new();
    let mut units: Vec<u8> = Vec::new();
    for c in name.chars() {
        if !(' '..='~').contains(&c) {
            units.extend(c.encode_utf16(&mut [0; 2]).iter().flat_map(|unit| unit.to_be_bytes()));
            continue;
        }
        shift(&mut out, &mut units);
        out.push(c);
        if c == '&' {
            out.push('-');
        }
    }
    shift(&mut out, &mut units);
    out
}

fn shift(out: &mut String, units: &mut Vec<u8>) {
    if units.is_empty() {
        return;
    }
    out.push('&');
    MODIFIED.encode_string(&*units, out);
    out.push('-');
    units.clear();
}

/// `None` if it is not modified UTF-7.
fn decode(name: &str) -> Option<String> {
    let mut out = String::new();
    let mut rest = name;
    while let Some((plain, shifted)) = rest.split_once('&') {
        out.push_str(plain);
        let (run, after) = shifted.split_once('-')?;
        if run.is_empty() {
            out.push('&');
        } else {
            out.push_str(&decode_run(run)?);
        }
        rest = after;
    }
    out.push_str(rest);
    Some(out)
}

fn decode_run(run: &str) -> Option<String> {
    let bytes = MODIFIED.decode(run).ok()?;
    let (pairs, left) = bytes.as_chunks::<2>();
    if !left.is_empty() {
        return None;
    }
    let units: Vec<u16> = pairs.iter().map(|pair| u16::from_be_bytes(*pair)).collect();
    String::from_utf16(&units).ok().filter(|text| !text.contains('\0'))
}

/// Whether a name matches a pattern of LIST: `*` is anything, `%` anything within one level.
/// INBOX matches in any case.
pub fn matches(pattern: &str, name: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let name: Vec<char> = name.chars().collect();
    let inbox =
        name.get(..5).is_some_and(|first| first.iter().collect::<String>() == "INBOX") && name.get(5).is_none_or(|next| *next == DELIMITER);
    let same = |at: usize, a: char, b: char| a == b || (inbox && at < 5 && a.eq_ignore_ascii_case(&b));
    glob(&pattern, &name, &same)
}

/// Keeps, for each prefix of the pattern, which lengths of the name it matches: time is the product
/// of the two lengths whatever the pattern holds.
fn glob(pattern: &[char], name: &[char], same: &dyn Fn(usize, char, char) -> bool) -> bool {
    let mut reached = vec![false; name.len() + 1];
    if let Some(start) = reached.first_mut() {
        *start = true;
    }
    for token in pattern {
        if !reached.contains(&true) {
            return false;
        }
        reached = step(*token, &reached, name, same);
    }
    reached.last().copied().unwrap_or(false)
}

fn step(token: char, reached: &[bool], name: &[char], same: &dyn Fn(usize, char, char) -> bool) -> Vec<bool> {
    let wild = matches!(token, '*' | '%');
    let mut next = Vec::with_capacity(reached.len());
    let mut flowing = false;
    for (at, here) in reached.iter().enumerate() {
        let before = at.checked_sub(1).and_then(|at| name.get(at)).copied();
        let matched = if wild {
            flowing &= token == '*' || before != Some(DELIMITER);
            flowing |= *here;
            flowing
        } else {
            let reached_before = at.checked_sub(1).and_then(|at| reached.get(at)).copied().unwrap_or(false);
            reached_before && before.is_some_and(|c| same(at - 1, token, c))
        };
        next.push(matched);
    }
    next
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_are_read_and_written() {
        for (wire, name) in [
            ("INBOX", "INBOX"),
            ("Entw&APw-rfe", "Entwürfe"),
            ("~peter/mail/&U,BTFw-/&ZeVnLIqe-", "~peter/mail/台北/日本語"),
            ("R&-D", "R&D"),
            ("&2D3eAA-", "😀"),
        ] {
            assert_eq!(read(wire, false), name);
            assert_eq!(write(name, false), wire);
            assert_eq!(read(name, true), name);
            assert_eq!(write(name, true), name);
        }
    }

    #[test]
    fn odd_names_are_taken() {
        for (wire, name) in [
            ("inbox", "INBOX"),
            ("InBox/Sub", "INBOX/Sub"),
            ("Inboxes", "Inboxes"),
            ("Trailing/", "Trailing"),
            ("R&D", "R&D"),
            ("a&@-", "a&@-"),
            ("/", "/"),
            ("", ""),
        ] {
            assert_eq!(read(wire, false), name, "{wire}");
        }
    }

    #[test]
    fn patterns_match_as_list_does() {
        for (pattern, name, want) in [
            ("*", "a/b/c", true),
            ("%", "a", true),
            ("%", "a/b", false),
            ("a/%", "a/b", true),
            ("a/%", "a/b/c", false),
            ("a/*", "a/b/c", true),
            ("a*c", "a/b/c", true),
            ("%/%", "a/b", true),
            ("inbox", "INBOX", true),
            ("in%", "INBOX", true),
            ("trash", "Trash", false),
            ("", "", true),
            ("", "a", false),
            ("*%*%*%*%*%*%*%*%*%*%*%*%*%*b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false),
        ] {
            assert_eq!(matches(pattern, name), want, "{pattern} {name}");
        }
    }

    proptest! {
        #[test]
        fn any_name_survives_the_wire(name in "[^\0/]{1,12}(/[^\0/]{1,5})?") {
            prop_assume!(!name.to_ascii_uppercase().starts_with("INBOX"));
            prop_assert_eq!(read(&write(&name, false), false), name);
        }
    }
}
