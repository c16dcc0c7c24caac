//! What is written to the client: tagged statuses and the data of untagged responses (RFC 9051 §7).
//!
//! Not decisions: the commands decide what to say. Everything appends to one `Vec<u8>`; nothing
//! allocates per item, because a FETCH of a large mailbox passes here a hundred thousand times.
//!
//! Invariant: no octet of a client or of a message reaches the wire unquoted.

use crate::imap::mailbox_name;
use mail::uid_set::UidSet;
use mail::{Flag, Flags, Timestamp, Uid};
use std::borrow::Cow;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It was done.
    Ok,
    /// It was understood and not done.
    No,
    /// It was not understood.
    Bad,
    /// The connection ends.
    Bye,
}

/// A status response: `OK [CODE] text` (RFC 9051 §7.1, codes of RFC 5530).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// How it ended.
    pub kind: Kind,
    /// The response code without its brackets.
    pub code: Option<Cow<'static, str>>,
    /// For people; one line of ASCII.
    pub text: Cow<'static, str>,
}

impl Status {
    /// `OK text`
    pub fn ok(text: impl Into<Cow<'static, str>>) -> Self {
        Self { kind: Kind::Ok, code: None, text: text.into() }
    }

    /// `NO [code] text`
    pub fn no(code: impl Into<Cow<'static, str>>, text: impl Into<Cow<'static, str>>) -> Self {
        Self { kind: Kind::No, code: Some(code.into()), text: text.into() }
    }

    /// `BAD text`
    pub fn bad(text: impl Into<Cow<'static, str>>) -> Self {
        Self { kind: Kind::Bad, code: None, text: text.into() }
    }

    /// `BYE [code] text`
    pub fn bye(code: impl Into<Cow<'static, str>>, text: impl Into<Cow<'static, str>>) -> Self {
        Self { kind: Kind::Bye, code: Some(code.into()), text: text.into() }
    }

    /// The same with a response code.
    #[must_use]
    pub fn code(mut self, code: impl Into<Cow<'static, str>>) -> Self {
        self.code = Some(code.into());
        self
    }

    /// Appends `tag OK [CODE] text` and CRLF.
    pub fn write(&self, out: &mut Vec<u8>, tag: &str) {
        out.extend_from_slice(tag.as_bytes());
        out.extend_from_slice(match self.kind {
            Kind::Ok => b" OK ",
            Kind::No => b" NO ",
            Kind::Bad => b" BAD ",
            Kind::Bye => b" BYE ",
        });
        if let Some(code) = &self.code {
            out.push(b'[');
            out.extend_from_slice(code.as_bytes());
            out.extend_from_slice(b"] ");
        }
        out.extend_from_slice(self.text.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
}

/// Appends a decimal number.
pub fn number(out: &mut Vec<u8>, number: impl Into<u64>) {
    let mut digits = [b'0'; 20];
    let mut rest = number.into();
    let mut used = 0;
    for slot in digits.iter_mut().rev() {
        *slot = b'0' + u8::try_from(rest % 10).unwrap_or(0);
        rest /= 10;
        used += 1;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(digits.len() - used..).unwrap_or_default());
}

/// Longest string that is quoted, octets; a longer one is a literal.
const QUOTED_OCTETS_MAX: usize = 1000;

/// Appends a string: quoted if it can be, else a literal. With `utf8`, text beyond ASCII is quoted too.
pub fn string(out: &mut Vec<u8>, text: &[u8], utf8: bool) {
    let plain = |octet: &u8| !matches!(octet, b'\r' | b'\n' | 0) && octet.is_ascii();
    let fits = text.len() <= QUOTED_OCTETS_MAX;
    let quotable = text.iter().all(plain) || (utf8 && std::str::from_utf8(text).is_ok_and(|text| !text.contains(['\r', '\n', '\0'])));
    if !(fits && quotable) {
        literal(out, text.len() as u64);
        return out.extend_from_slice(text);
    }
    out.push(b'"');
    for octet in text {
        if matches!(octet, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(*octet);
    }
    out.push(b'"');
}

/// Appends the announcement of a literal; its octets follow.
pub fn literal(out: &mut Vec<u8>, octets: u64) {
    out.push(b'{');
    number(out, octets);
    out.extend_from_slice(b"}\r\n");
}

/// Appends a mailbox's name as this client reads it.
pub fn mailbox(out: &mut Vec<u8>, name: &str, utf8: bool) {
    string(out, mailbox_name::write(name, utf8).as_bytes(), utf8);
}

/// Appends `1:3,7`.
pub fn set(out: &mut Vec<u8>, uids: &UidSet) {
    for (at, (first, last)) in uids.ranges().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        number(out, first.0);
        if last > first {
            out.push(b':');
            number(out, last.0);
        }
    }
}

/// Appends `(\Seen Work)`.
pub fn flags(out: &mut Vec<u8>, flags: &Flags, recent: bool) {
    const SYSTEM: [(Flag, &[u8]); 5] = [
        (Flag::Seen, b"\\Seen "),
        (Flag::Answered, b"\\Answered "),
        (Flag::Flagged, b"\\Flagged "),
        (Flag::Deleted, b"\\Deleted "),
        (Flag::Draft, b"\\Draft "),
    ];
    out.push(b'(');
    let start = out.len();
    for (flag, text) in &SYSTEM {
        if flags.contains(flag) {
            out.extend_from_slice(text);
        }
    }
    for keyword in flags.keywords() {
        out.extend_from_slice(keyword.as_str().as_bytes());
        out.push(b' ');
    }
    if recent {
        out.extend_from_slice(b"\\Recent ");
    }
    if out.len() > start {
        out.pop();
    }
    out.push(b')');
}

/// Appends `"17-Jul-1996 02:44:25 +0000"` (RFC 9051 §9, date-time).
pub fn date_time(out: &mut Vec<u8>, at: Timestamp) {
    let seconds = at.seconds();
    let (year, month, day) = day_of(seconds.div_euclid(86_400));
    let of_day = seconds.rem_euclid(86_400);
    out.push(b'"');
    two(out, day, b' ');
    out.push(b'-');
    out.extend_from_slice(MONTHS.get(month - 1).map_or(b"Jan", |month| month.as_bytes()));
    out.push(b'-');
    two(out, year.div_euclid(100).clamp(0, 99), b'0');
    two(out, year.rem_euclid(100), b'0');
    for (sign, part) in [(b' ', of_day / 3600), (b':', of_day / 60 % 60), (b':', of_day % 60)] {
        out.push(sign);
        two(out, part, b'0');
    }
    out.extend_from_slice(b" +0000\"");
}

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Year, month and day of days since 1970-01-01.
fn day_of(days: i64) -> (i64, usize, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let months = (5 * of_year + 2) / 153;
    let day = of_year - (153 * months + 2) / 5 + 1;
    let month = if months < 10 { months + 3 } else { months - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), usize::try_from(month).unwrap_or(1), day)
}

fn two(out: &mut Vec<u8>, part: i64, fill: u8) {
    let digit = |part: i64| b'0' + u8::try_from(part.rem_euclid(10)).unwrap_or(0);
    out.push(if part < 10 { fill } else { digit(part / 10) });
    out.push(digit(part));
}

/// Appends `* 12 EXISTS` and its like.
pub fn count(out: &mut Vec<u8>, count: u32, name: &str) {
    out.extend_from_slice(b"* ");
    number(out, count);
    out.push(b' ');
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Appends `* VANISHED 1:3` (RFC 7162 §3.2.10); nothing for the empty set.
pub fn vanished(out: &mut Vec<u8>, uids: &UidSet, earlier: bool) {
    if uids.is_empty() {
        return;
    }
    out.extend_from_slice(if earlier { b"* VANISHED (EARLIER) " } else { b"* VANISHED " });
    set(out, uids);
    out.extend_from_slice(b"\r\n");
}

/// Appends one line of text: `* ` is the caller's.
pub fn line(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Appends `UID 7` and a space behind it.
pub fn uid_item(out: &mut Vec<u8>, uid: Uid) {
    out.extend_from_slice(b"UID ");
    number(out, uid.0);
    out.push(b' ');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn numbers_are_decimal() {
        for n in [0, 1, 9, 10, 4_294_967_295, u64::MAX] {
            assert_eq!(shown(|out| number(out, n)), n.to_string());
        }
    }

    #[test]
    fn strings_are_quoted_or_literal() {
        for (text, utf8, want) in [
            ("", false, "\"\""),
            ("a\"b\\", false, "\"a\\\"b\\\\\""),
            ("a\nb", false, "{3}\r\na\nb"),
            ("ü", false, "{2}\r\nü"),
            ("ü", true, "\"ü\""),
        ] {
            assert_eq!(shown(|out| string(out, text.as_bytes(), utf8)), want);
        }
        assert!(shown(|out| string(out, &[b'x'; 2000], false)).starts_with("{2000}\r\n"));
    }

    #[test]
    fn flags_and_dates() {
        let set: Flags = ["\\Draft", "Work", "\\Seen"].into_iter().filter_map(Flag::parse).collect();
        assert_eq!(shown(|out| flags(out, &set, true)), "(\\Seen \\Draft Work \\Recent)");
        assert_eq!(shown(|out| flags(out, &Flags::default(), false)), "()");
        assert_eq!(shown(|out| date_time(out, Timestamp::from_seconds(837_596_665))), "\"17-Jul-1996 09:44:25 +0000\"");
        assert_eq!(shown(|out| date_time(out, Timestamp::from_seconds(-1))), "\"31-Dec-1969 23:59:59 +0000\"");
    }

    #[test]
    fn statuses_carry_codes() {
        let status = Status::no("TRYCREATE", "No such mailbox");
        assert_eq!(shown(|out| status.write(out, "a1")), "a1 NO [TRYCREATE] No such mailbox\r\n");
    }
}
