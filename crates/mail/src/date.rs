//! Dates of messages: the `Date` field as people and programs really write it, and the forms that we
//! write ourselves (RFC 5322 §3.3, §4.3; RFC 9051 §9 date-time).
//!
//! Not a clock: the moment and the zone are parameters.

use crate::timestamp::Timestamp;
use jiff::civil;
use jiff::tz::Offset;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// A moment and the zone it was written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct DateTime {
    /// The moment.
    pub at: Timestamp,
    /// Minutes east of UTC; unknown and military zones are 0 (RFC 5322 §4.3).
    pub zone_minutes: i16,
}

/// Octets of a date field that are looked at. Our own bound; written well it has about 40.
pub const TEXT_OCTETS_MAX: usize = 256;

/// Longest date of RFC 3339, octets: nine digits of a second and a zone.
const RFC3339_OCTETS_MAX: usize = 35;

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
const ZONES: [(&str, i16); 8] =
    [("EDT", -240), ("EST", -300), ("CDT", -300), ("CST", -360), ("MDT", -360), ("MST", -420), ("PDT", -420), ("PST", -480)];

impl DateTime {
    /// Days from 1970-01-01 to the date as it was written, in its own zone: what `SENTBEFORE` and its
    /// like compare (RFC 9051 §6.4.4).
    pub fn day(self) -> i64 {
        (self.at.seconds() + i64::from(self.zone_minutes) * 60).div_euclid(86_400)
    }

    fn civil(self) -> (civil::DateTime, Offset) {
        let offset = Offset::from_seconds(i32::from(self.zone_minutes) * 60).unwrap_or(Offset::UTC);
        let end = if self.at.0 < 0 { jiff::Timestamp::MIN } else { jiff::Timestamp::MAX };
        let at = jiff::Timestamp::from_millisecond(self.at.0).unwrap_or(end);
        (offset.to_datetime(at), offset)
    }
}

/// Reads a `Date` field: any order of its parts, comments, a missing weekday, seconds or zone, years of
/// two and three digits, and the zones of old (RFC 5322 §4.3). `None` if day, month, year or time is missing
/// or there is no such day.
pub fn parse(text: &str) -> Option<DateTime> {
    let text = text.get(..text.floor_char_boundary(TEXT_OCTETS_MAX)).unwrap_or(text);
    let mut found = Found::default();
    for word in without_comments(text).split([' ', '\t', '\r', '\n', ',']).filter(|word| !word.is_empty()) {
        found.take(word);
    }
    found.date_time()
}

/// Reads `2026-07-01T10:52:37+02:00` (RFC 3339 §5.6 `date-time`); `None` if it is none.
pub fn parse_rfc3339(text: &str) -> Option<Timestamp> {
    let known = |octet: u8| octet.is_ascii_digit() || b"TtZz:.+-".contains(&octet);
    let octet = |at: usize| text.as_bytes().get(at).map(u8::to_ascii_uppercase);
    let shaped = (octet(10), octet(13), octet(16)) == (Some(b'T'), Some(b':'), Some(b':'));
    let good = (20..=RFC3339_OCTETS_MAX).contains(&text.len()) && text.bytes().all(known) && shaped;
    let at: jiff::Timestamp = if good { text.parse().ok()? } else { return None };
    Some(Timestamp(at.as_millisecond()))
}

/// `2026-07-01T08:52:37Z` (RFC 3339 §5.6), in whole seconds.
pub fn rfc3339(at: Timestamp) -> String {
    jiff::Timestamp::from_second(at.seconds()).unwrap_or(jiff::Timestamp::MAX).to_string()
}

/// `Tue, 1 Jul 2003 10:52:37 +0200` (RFC 5322 §3.3).
pub fn rfc5322(date: DateTime) -> String {
    let (when, _) = date.civil();
    let weekday = name(&DAYS, when.weekday().to_monday_zero_offset());
    format!("{weekday}, {} {} {:04} {} {}", when.day(), month(when), when.year(), time(when), zone(date))
}

/// ` 1-Jul-2003 10:52:37 +0200`, without the quotes (RFC 9051 §9 date-time).
pub fn internal_date(date: DateTime) -> String {
    let (when, _) = date.civil();
    format!("{:2}-{}-{:04} {} {}", when.day(), month(when), when.year(), time(when), zone(date))
}

/// Reads what [`internal_date`] writes, and nothing else; the day may also have one digit.
pub fn parse_internal_date(text: &str) -> Option<DateTime> {
    let mut words = text.trim_start_matches(' ').split(' ');
    let (day, time, zone) = (words.next()?, words.next()?, words.next()?);
    let whole = words.next().is_none() && (text.len() == 26 || text.len() == 25) && time.len() == 8 && zone.len() == 5;
    let mut found = Found { day: None, month: None, year: None, time: clock(time), zone: offset(zone) };
    (found.day, found.month, found.year) = split_day(day)?;
    found.date_time().filter(|_| whole && found.zone.is_some())
}

/// Days from 1970-01-01 to a date of SEARCH, `1-Feb-1994` (RFC 9051 §9 date-text).
pub fn parse_day(text: &str) -> Option<i64> {
    let (day, month, year) = split_day(text)?;
    let date = Found { day, month, year, time: Some((0, 0, 0)), zone: None }.date_time()?;
    Some(date.day())
}

fn split_day(text: &str) -> Option<(Option<i8>, Option<i8>, Option<i16>)> {
    let mut parts = text.split('-');
    let (day, month, year) = (parts.next()?, parts.next()?, parts.next()?);
    let digits = |text: &str, most: usize| text.len() <= most && text.bytes().all(|b| b.is_ascii_digit());
    let well = parts.next().is_none() && digits(day, 2) && digits(year, 4) && year.len() == 4 && month.len() == 3;
    well.then(|| (day.parse().ok(), month_number(month), year.parse().ok()))
}

/// What has been seen of a date so far.
#[derive(Default)]
struct Found {
    day: Option<i8>,
    month: Option<i8>,
    year: Option<i16>,
    time: Option<(i8, i8, i8)>,
    zone: Option<i16>,
}

impl Found {
    fn take(&mut self, word: &str) {
        let first = word.bytes().next().unwrap_or_default();
        if word.contains(':') && first.is_ascii_digit() {
            return self.take_time(word);
        }
        if matches!(first, b'+' | b'-') {
            self.zone = self.zone.or_else(|| offset(word));
        } else if word.bytes().all(|b| b.is_ascii_digit()) {
            self.take_number(word);
        } else if first.is_ascii_digit() && word.contains('-') {
            word.split('-')
                .for_each(|part| if part.bytes().all(|b| b.is_ascii_digit()) { self.take_number(part) } else { self.take_name(part) });
        } else {
            self.take_name(word);
        }
    }

    /// `10:52:37`, perhaps with the zone stuck to it.
    fn take_time(&mut self, word: &str) {
        let (time, zone) = word.split_at(word.find(['+', '-']).unwrap_or(word.len()));
        self.time = self.time.or_else(|| clock(time));
        self.zone = self.zone.or_else(|| offset(zone));
    }

    fn take_number(&mut self, word: &str) {
        match (self.day, word.len()) {
            (None, 1 | 2) => self.day = word.parse().ok(),
            _ => self.year = self.year.or_else(|| year(word)),
        }
    }

    /// A month, a zone, or a weekday, which nobody needs.
    fn take_name(&mut self, word: &str) {
        if self.month.is_none() {
            self.month = month_number(word);
        }
        if self.zone.is_none() {
            self.zone = ZONES.iter().find(|(name, _)| starts_with(word, name)).map(|(_, minutes)| *minutes);
        }
        if let Some((_, zone)) = word.split_at_checked(3).filter(|(gmt, _)| matches!(*gmt, "GMT" | "UTC")) {
            self.zone = self.zone.or_else(|| offset(zone));
        }
    }

    fn date_time(&self) -> Option<DateTime> {
        let (hour, minute, second) = self.time?;
        let date = civil::Date::new(self.year?, self.month?, self.day?).ok()?;
        // A leap second is the last second of its minute.
        let when = date.at(hour, minute, second.min(59), 0);
        let zone_minutes = self.zone.unwrap_or(0);
        let utc = Offset::UTC.to_timestamp(when).ok()?.as_second();
        Some(DateTime { at: Timestamp::from_seconds(utc - i64::from(zone_minutes) * 60), zone_minutes })
    }
}

/// Two and three digits are years of old (RFC 5322 §4.3).
fn year(word: &str) -> Option<i16> {
    let number: i16 = word.parse().ok()?;
    match word.len() {
        2 if number < 50 => Some(number + 2000),
        2 | 3 => Some(number + 1900),
        4 => Some(number),
        _ => None,
    }
}

fn clock(word: &str) -> Option<(i8, i8, i8)> {
    let mut parts = word.split([':', '.']);
    let mut number =
        |max: i8| parts.next().map(|part| if part.len() <= 2 { part.parse::<i8>().ok().filter(|n| (0..=max).contains(n)) } else { None });
    let (hour, minute) = (number(23)??, number(59)??);
    let second = number(60).unwrap_or(Some(0))?;
    Some((hour, minute, second))
}

/// `+0200`, `-07:00`
fn offset(word: &str) -> Option<i16> {
    let sign = match word.bytes().next()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let digits: Cow<'_, str> = if word.contains(':') { word.replace(':', "").into() } else { word.into() };
    let digits = digits.get(1..).filter(|digits| digits.len() == 4 && digits.bytes().all(|b| b.is_ascii_digit()))?;
    let (hours, minutes) = digits.split_at(2);
    let (hours, minutes): (i16, i16) = (hours.parse().ok()?, minutes.parse().ok()?);
    (hours < 24 && minutes < 60).then_some(sign * (hours * 60 + minutes))
}

fn month_number(word: &str) -> Option<i8> {
    (1..).zip(MONTHS).find(|(_, month)| starts_with(word, month)).map(|(number, _)| number)
}

fn starts_with(word: &str, name: &str) -> bool {
    word.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name))
}

fn without_comments(text: &str) -> Cow<'_, str> {
    if !text.contains('(') {
        return Cow::Borrowed(text);
    }
    let (mut out, mut depth, mut escaped) = (String::with_capacity(text.len()), 0_usize, false);
    for c in text.chars() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            c if depth == 0 => out.push(c),
            _ => {}
        }
        if c == ')' && depth == 0 {
            out.push(' ');
        }
    }
    Cow::Owned(out)
}

fn name<'a>(names: &[&'a str], index: i8) -> &'a str {
    usize::try_from(index).ok().and_then(|index| names.get(index)).copied().unwrap_or_default()
}

fn month(when: civil::DateTime) -> &'static str {
    name(&MONTHS, when.month() - 1)
}

fn time(when: civil::DateTime) -> String {
    format!("{:02}:{:02}:{:02}", when.hour(), when.minute(), when.second())
}

fn zone(date: DateTime) -> String {
    let (_, offset) = date.civil();
    let minutes = offset.seconds() / 60;
    let sign = if minutes < 0 { '-' } else { '+' };
    format!("{sign}{:02}{:02}", minutes.abs() / 60, minutes.abs() % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_read_as_they_are_written() {
        for (input, want) in [
            ("Tue, 1 Jul 2003 10:52:37 +0200", "Tue, 1 Jul 2003 10:52:37 +0200"),
            ("Thu,\r\n   13\r\n  Feb\r\n    1969\r\n  23:32\r\n  -0330 (Newfoundland Time)\r\n", "Thu, 13 Feb 1969 23:32:00 -0330"),
            (" 1 Jul 2003 (comment about date) 10:52:37 +0200", "Tue, 1 Jul 2003 10:52:37 +0200"),
            ("Tue, 1 Jul 2003 ((tricky) \\) comment)10:52:37 +0200", "Tue, 1 Jul 2003 10:52:37 +0200"),
            ("21 Nov 97 09:55:06 GMT", "Fri, 21 Nov 1997 09:55:06 +0000"),
            ("Wed, 27 Jun 99 04:11 +0900", "Sun, 27 Jun 1999 04:11:00 +0900"),
            ("1 jan 49 0:0:0 UT", "Fri, 1 Jan 2049 00:00:00 +0000"),
            ("1 jan 103 00:00:00 Z", "Wed, 1 Jan 2003 00:00:00 +0000"),
            ("Sun, 27 Oct 2002 23:57:07 EST", "Sun, 27 Oct 2002 23:57:07 -0500"),
            ("10 Jul 1997 14:53:31 EST5EDT", "Thu, 10 Jul 1997 14:53:31 -0500"),
            ("10 Jul 1997 14:53:31 A", "Thu, 10 Jul 1997 14:53:31 +0000"),
            ("10 July 1997 14:53:31 pdt", "Thu, 10 Jul 1997 14:53:31 -0700"),
            ("10 Jul 1997 14:53:31", "Thu, 10 Jul 1997 14:53:31 +0000"),
            ("10-Jul-1997 14:53:31 -07:00", "Thu, 10 Jul 1997 14:53:31 -0700"),
            ("Thu Jul 10 14:53:31 1997", "Thu, 10 Jul 1997 14:53:31 +0000"),
            ("Thu, 10 Jul 1997 14:53:31 GMT+0100", "Thu, 10 Jul 1997 14:53:31 +0100"),
            ("17 May 2026 22:15:15 +1345", "Sun, 17 May 2026 22:15:15 +1345"),
            ("31 Dec 2016 23:59:60 +0000", "Sat, 31 Dec 2016 23:59:59 +0000"),
            ("29 Feb 2023 00:00:00 +0000", ""),
            ("1 Jan 2021 24:00:00 +0000", ""),
            ("13 zzz 2021 09:55:06 +0200", ""),
            ("Tue, 7 00 2026 19:14:51 +0000", ""),
            ("Tue, 1 Jul 2003 ((open)\r\ncomment 10:52:37 +0200", ""),
            ("10:52:37", ""),
            ("", ""),
        ] {
            assert_eq!(parse(input).map(rfc5322).unwrap_or_default(), want, "{input:?}");
        }
    }

    #[test]
    fn internal_dates_are_read_strictly() {
        for text in [" 1-Jul-2003 10:52:37 +0200", "17-Jul-1996 02:44:25 -0700"] {
            assert_eq!(parse_internal_date(text).map(internal_date).as_deref(), Some(text));
        }
        assert_eq!(parse_internal_date("1-Jul-2003 10:52:37 +0200"), parse_internal_date(" 1-Jul-2003 10:52:37 +0200"));
        for bad in ["", "1 Jul 2003 10:52:37 +0200", "32-Jul-2003 10:52:37 +0200", "17-Jul-1996 02:44:25 PST", "17-Jul-1996 2:44:25 -07000"]
        {
            assert_eq!(parse_internal_date(bad), None, "{bad}");
        }
    }

    #[test]
    fn dates_of_rfc_3339_are_read_strictly() {
        for (input, want) in [
            ("2026-07-01T10:52:37+02:00", Some("2026-07-01T08:52:37Z")),
            ("2026-07-01t08:52:37.25z", Some("2026-07-01T08:52:37Z")),
            ("2026-07-01 08:52:37Z", None),
            ("2026-07-01T08:52:37", None),
            ("2026-07-01T08:52:37Z[UTC]", None),
            ("2026-02-30T08:52:37Z", None),
            ("20260701T085237+0000", None),
            ("", None),
        ] {
            assert_eq!(parse_rfc3339(input).map(rfc3339).as_deref(), want, "{input}");
        }
    }

    #[test]
    fn days_are_counted_in_the_zone_of_the_date() {
        assert_eq!(parse_day("1-Jan-1970"), Some(0));
        assert_eq!(parse_day("01-Feb-1994"), Some(8797));
        assert_eq!(parse("1 Feb 1994 00:30:00 +0200").map(DateTime::day), Some(8797));
        assert_eq!(parse("31 Jan 1994 23:30:00 -0800").map(DateTime::day), Some(8796));
        for bad in ["", "1-Feb-94", "31-Feb-1994", "1-Foo-1994", "-1-Feb-1994", "1-Feb-1994-2"] {
            assert_eq!(parse_day(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_ends_of_time_are_written_too() {
        for at in [i64::MIN, i64::MAX] {
            assert!(rfc5322(DateTime { at: Timestamp(at), zone_minutes: i16::MAX }).ends_with("+0000"));
        }
    }
}
