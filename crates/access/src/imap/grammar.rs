//! The tokens of IMAP: a parser over one whole command, its literals included (RFC 9051 §9).
//!
//! Not the commands: each file of `commands` reads its own arguments with these tokens. Not the
//! collecting of literals either: the session does that, with [`announced`], before anything is read.
//!
//! Invariants: nothing here panics or loops without consuming, whatever the octets; an error says
//! where it was found and what was expected there, never what stood there (it may be a password).

use crate::imap::mailbox_name;
use crate::imap::response::Status;
use crate::imap::sequence::SequenceSet;
use mail::{Flag, Timestamp};
use std::borrow::Cow;

/// Why a command was not understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Not the grammar: the octet of the command at which it went wrong, from 1, and what was expected.
    Syntax {
        /// Octets from the start of the command, its literals counted, from 1.
        at: usize,
        /// What should have stood there.
        expected: &'static str,
    },
    /// Understood, and refused.
    Refused(Box<Status>),
}

impl Fault {
    /// What the client hears.
    pub fn status(self) -> Status {
        match self {
            Self::Syntax { at, expected } => Status::bad(format!("Expected {expected} at octet {at}")),
            Self::Refused(status) => *status,
        }
    }
}

/// A token or the reason why there is none.
pub type Parsed<T> = Result<T, Fault>;

/// A literal announced at the end of a line: `{310}`, `{310+}`, `~{310}` (RFC 7888, RFC 3516).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Announced {
    /// How many octets follow the line.
    pub octets: u64,
    /// The client waits for our `+` before it sends them.
    pub waits: bool,
    /// Octets of the line up to the announcement, its `~` not counted.
    pub before: usize,
    /// `~{…}`: any octet may come (RFC 3516 §4.4).
    pub binary: bool,
}

/// The literal that a line announces at its end, if it does.
pub fn announced(line: &[u8]) -> Option<Announced> {
    let inner = line.strip_suffix(b"}")?;
    let open = memchr::memrchr(b'{', inner)?;
    let digits = inner.get(open + 1..)?;
    let (digits, waits) = digits.strip_suffix(b"+").map_or((digits, true), |digits| (digits, false));
    let before = line.get(..open)?;
    let (before, binary) = before.strip_suffix(b"~").map_or((before.len(), false), |before| (before.len(), true));
    // An announcement that no number can hold is still one: the client will send octets.
    let octets = decimal(digits)?;
    Some(Announced { octets, waits, before, binary })
}

/// Digits as a number, saturating; `None` if it is no number.
fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(digits.iter().fold(0_u64, |number, digit| number.saturating_mul(10).saturating_add(u64::from(digit - b'0'))))
}

/// Reads one command.
#[derive(Debug, Clone)]
pub struct Parser<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Mailbox names are UTF-8 (IMAP4rev2, UTF8=ACCEPT), not modified UTF-7.
    utf8_names: bool,
}

impl<'a> Parser<'a> {
    /// A parser of a command without its last CRLF.
    pub const fn new(bytes: &'a [u8], utf8_names: bool) -> Self {
        Self { bytes, at: 0, utf8_names }
    }

    /// A fault here.
    ///
    /// # Errors
    /// Always.
    pub const fn fault<T>(&self, expected: &'static str) -> Parsed<T> {
        Err(Fault::Syntax { at: self.at + 1, expected })
    }

    /// What is left.
    pub fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    /// The next octet, not taken.
    pub fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    /// Whether everything was read.
    pub fn is_done(&self) -> bool {
        self.at >= self.bytes.len()
    }

    /// Takes this octet if it is next.
    pub fn accept(&mut self, octet: u8) -> bool {
        let found = self.peek() == Some(octet);
        self.at += usize::from(found);
        found
    }

    /// Takes this word if it is next, in any case; it need not end there.
    pub fn accept_word(&mut self, word: &str) -> bool {
        let found = self.rest().get(..word.len()).is_some_and(|next| next.eq_ignore_ascii_case(word.as_bytes()));
        self.at += if found { word.len() } else { 0 };
        found
    }

    /// One space, no more and no less (RFC 9051 §9, note 2).
    ///
    /// # Errors
    /// When something else stands here.
    pub fn space(&mut self) -> Parsed<()> {
        if self.accept(b' ') { Ok(()) } else { self.fault("a space") }
    }

    /// This octet.
    ///
    /// # Errors
    /// When something else stands here.
    pub fn octet(&mut self, octet: u8, expected: &'static str) -> Parsed<()> {
        if self.accept(octet) { Ok(()) } else { self.fault(expected) }
    }

    /// The end of the command.
    ///
    /// # Errors
    /// When more follows; spaces at the end are forgiven.
    pub fn end(&mut self) -> Parsed<()> {
        // Deviation: several clients and most people at a terminal leave spaces at the end.
        if self.rest().iter().all(|octet| *octet == b' ') {
            self.at = self.bytes.len();
        }
        if self.is_done() { Ok(()) } else { self.fault("the end of the command") }
    }

    /// Takes all that is left.
    pub const fn skip(&mut self) {
        self.at = self.bytes.len();
    }

    fn run(&mut self, belongs: impl Fn(u8) -> bool) -> &'a [u8] {
        let rest = self.rest();
        let octets = rest.iter().position(|octet| !belongs(*octet)).unwrap_or(rest.len());
        self.at += octets;
        rest.get(..octets).unwrap_or_default()
    }

    fn some(&mut self, belongs: impl Fn(u8) -> bool, expected: &'static str) -> Parsed<&'a [u8]> {
        let found = self.run(belongs);
        if found.is_empty() { self.fault(expected) } else { Ok(found) }
    }

    /// A command's tag.
    ///
    /// # Errors
    /// When none stands here.
    pub fn tag(&mut self) -> Parsed<&'a str> {
        let tag = self.some(|octet| is_astring_char(octet) && octet != b'+', "a tag")?;
        Ok(std::str::from_utf8(tag).unwrap_or_default())
    }

    /// An atom: a word of the grammar.
    ///
    /// # Errors
    /// When none stands here.
    pub fn atom(&mut self) -> Parsed<&'a str> {
        let atom = self.some(is_atom_char, "a word")?;
        Ok(std::str::from_utf8(atom).unwrap_or_default())
    }

    /// Letters, digits, `.`, `-`: the name of a command, a FETCH item, a search key.
    ///
    /// # Errors
    /// When none stands here.
    pub fn name(&mut self, expected: &'static str) -> Parsed<&'a str> {
        let name = self.some(|octet| octet.is_ascii_alphanumeric() || b".-=_$".contains(&octet), expected)?;
        Ok(std::str::from_utf8(name).unwrap_or_default())
    }

    /// An atom that may hold `]`, a quoted string or a literal.
    ///
    /// # Errors
    /// When none stands here.
    pub fn astring(&mut self) -> Parsed<Cow<'a, [u8]>> {
        match self.peek() {
            Some(b'"' | b'{' | b'~') => self.string(),
            _ => self.some(|octet| is_astring_char(octet) || !octet.is_ascii(), "a string").map(Cow::Borrowed),
        }
    }

    /// An astring that is UTF-8.
    ///
    /// # Errors
    /// When none stands here, or it is not UTF-8.
    pub fn text(&mut self) -> Parsed<Cow<'a, str>> {
        let fault = self.fault("text in UTF-8");
        match self.astring()? {
            Cow::Borrowed(bytes) => std::str::from_utf8(bytes).map(Cow::Borrowed).or(fault),
            Cow::Owned(bytes) => String::from_utf8(bytes).map(Cow::Owned).or(fault),
        }
    }

    /// A quoted string or a literal.
    ///
    /// # Errors
    /// When none stands here.
    pub fn string(&mut self) -> Parsed<Cow<'a, [u8]>> {
        if self.peek() == Some(b'"') { self.quoted() } else { self.literal().map(Cow::Borrowed) }
    }

    fn quoted(&mut self) -> Parsed<Cow<'a, [u8]>> {
        self.octet(b'"', "a quoted string")?;
        let plain = self.run(|octet| !matches!(octet, b'"' | b'\\' | b'\r' | b'\n' | 0));
        if self.accept(b'"') {
            return Ok(Cow::Borrowed(plain));
        }
        let mut text = plain.to_vec();
        loop {
            if self.accept(b'"') {
                return Ok(Cow::Owned(text));
            }
            if self.accept(b'\\') {
                match self.peek().filter(|octet| !matches!(octet, b'\r' | b'\n' | 0)) {
                    Some(octet) => text.push(octet),
                    None => return self.fault("a quoted character"),
                }
                self.at += 1;
            }
            match self.peek() {
                Some(b'\r' | b'\n' | 0) | None => return self.fault("the closing quote"),
                _ => text.extend_from_slice(self.run(|octet| !matches!(octet, b'"' | b'\\' | b'\r' | b'\n' | 0))),
            }
        }
    }

    /// The octets of a literal, which the session has put behind its announcement.
    fn literal(&mut self) -> Parsed<&'a [u8]> {
        let start = self.clone();
        self.accept(b'~');
        self.octet(b'{', "a string")?;
        let octets = self.number()?;
        self.accept(b'+');
        let whole = self.accept(b'}') && self.accept(b'\r') && self.accept(b'\n');
        let body = usize::try_from(octets).ok().and_then(|octets| self.rest().get(..octets));
        let Some(body) = body.filter(|_| whole) else { return start.fault("a literal") };
        self.at += body.len();
        Ok(body)
    }

    /// A number of 64 bits.
    ///
    /// # Errors
    /// When none stands here or it is above 2^63 - 1 (RFC 9051 §9, number64).
    pub fn number(&mut self) -> Parsed<u64> {
        let start = self.clone();
        let digits = self.some(|octet| octet.is_ascii_digit(), "a number")?;
        match decimal(digits).filter(|number| *number <= i64::MAX.unsigned_abs()) {
            Some(number) => Ok(number),
            None => start.fault("a number up to 9223372036854775807"),
        }
    }

    /// A number from 1 to 4294967295.
    ///
    /// # Errors
    /// When none stands here.
    pub fn nz_number(&mut self) -> Parsed<u32> {
        let start = self.clone();
        match u32::try_from(self.number()?) {
            Ok(number) if number > 0 => Ok(number),
            _ => start.fault("a number from 1 to 4294967295"),
        }
    }

    /// A set of messages, or `$` (RFC 9051 §9, sequence-set).
    ///
    /// # Errors
    /// When none stands here.
    pub fn sequence_set(&mut self) -> Parsed<SequenceSet> {
        let start = self.clone();
        if self.accept(b'$') {
            return Ok(SequenceSet::saved());
        }
        let text = self.some(|octet| octet.is_ascii_digit() || b"*:,".contains(&octet), "a set of messages")?;
        match std::str::from_utf8(text).ok().and_then(SequenceSet::parse) {
            Some(set) => Ok(set),
            None => start.fault("a set of messages such as 1:3,7 or 5:*"),
        }
    }

    /// A mailbox's name, in UTF-8 whatever the client wrote; INBOX in upper case.
    ///
    /// # Errors
    /// When none stands here, or it is no text.
    pub fn mailbox(&mut self) -> Parsed<String> {
        let name = self.text()?;
        Ok(mailbox_name::read(&name, self.utf8_names))
    }

    /// A pattern of LIST: a mailbox's name that may hold `*` and `%`.
    ///
    /// # Errors
    /// When none stands here, or it is no text.
    pub fn list_mailbox(&mut self) -> Parsed<String> {
        let fault = self.fault("a pattern in UTF-8");
        let bytes = match self.peek() {
            Some(b'"' | b'{' | b'~') => self.string()?,
            _ => Cow::Borrowed(self.some(|octet| is_astring_char(octet) || b"*%".contains(&octet) || !octet.is_ascii(), "a pattern")?),
        };
        match std::str::from_utf8(&bytes) {
            Ok(pattern) => Ok(mailbox_name::read_pattern(pattern, self.utf8_names)),
            Err(_) => fault,
        }
    }

    /// A list in parentheses, which may be empty.
    ///
    /// # Errors
    /// When it does not start or end here, holds more than `max` items, or an item is at fault.
    pub fn list<T>(&mut self, max: usize, mut item: impl FnMut(&mut Self) -> Parsed<T>) -> Parsed<Vec<T>> {
        self.octet(b'(', "an opening parenthesis")?;
        let mut items = Vec::new();
        if self.accept(b')') {
            return Ok(items);
        }
        loop {
            if items.len() == max {
                return self.fault("a shorter list");
            }
            items.push(item(self)?);
            if self.accept(b')') {
                return Ok(items);
            }
            if !self.accept(b' ') {
                return self.fault("a space or a closing parenthesis");
            }
        }
    }

    /// A flag; `None` for `\Recent` and unknown ones, which cannot be set.
    ///
    /// # Errors
    /// When none stands here.
    pub fn flag(&mut self) -> Parsed<Option<Flag>> {
        let start = self.at;
        self.accept(b'\\');
        // Keywords with `]` are common ("[Gmail]"): the grammar of an atom is not insisted on.
        self.some(is_astring_char, "a flag")?;
        let text = std::str::from_utf8(self.bytes.get(start..self.at).unwrap_or_default()).unwrap_or_default();
        Ok(Flag::parse(text))
    }

    /// `17-Jul-1996`, quoted or not, as days since 1970-01-01.
    ///
    /// # Errors
    /// When none stands here.
    pub fn date(&mut self) -> Parsed<i64> {
        let start = self.clone();
        let text = self.text()?;
        mail::date::parse_day(&text).map_or_else(|| start.fault("a date such as 17-Jul-1996"), Ok)
    }

    /// `"17-Jul-1996 02:44:25 -0700"` (RFC 9051 §9, date-time).
    ///
    /// # Errors
    /// When none stands here.
    pub fn date_time(&mut self) -> Parsed<Timestamp> {
        let start = self.clone();
        let text = self.text()?;
        let date = mail::date::parse_internal_date(&text);
        date.map_or_else(|| start.fault("a date and time such as \"17-Jul-1996 02:44:25 -0700\""), |date| Ok(date.at))
    }
}

fn is_atom_char(octet: u8) -> bool {
    octet.is_ascii_graphic() && !b"(){%*\"\\]".contains(&octet)
}

fn is_astring_char(octet: u8) -> bool {
    is_atom_char(octet) || octet == b']'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_are_seen_at_the_end_of_a_line() {
        for (line, want) in [
            ("a APPEND x {310}", Some((310, true, 11))),
            ("a APPEND x {310+}", Some((310, false, 11))),
            ("a APPEND x ~{5}", Some((5, true, 11))),
            ("a LOGIN \"x{3}\"", None),
            ("a b {}", None),
            ("a b {-1}", None),
            ("a b {99999999999999999999999}", Some((u64::MAX, true, 4))),
            ("{1}", Some((1, true, 0))),
            ("}", None),
        ] {
            let found = announced(line.as_bytes()).map(|a| (a.octets, a.waits, a.before));
            assert_eq!(found, want, "{line}");
        }
    }

    #[test]
    fn strings_in_all_their_forms() {
        for (input, want) in [
            ("abc", Some("abc")),
            ("a]c", Some("a]c")),
            ("\"a b\"", Some("a b")),
            ("\"a\\\"b\\\\\"", Some("a\"b\\")),
            ("\"\"", Some("")),
            ("{3}\r\na b", Some("a b")),
            ("{3+}\r\na b", Some("a b")),
            ("~{1}\r\n\n", Some("\n")),
            ("{3}\r\nab", None),
            ("\"open", None),
            ("\"open\\", None),
            ("\"a\nb\"", None),
            ("(", None),
            ("", None),
        ] {
            let mut parser = Parser::new(input.as_bytes(), false);
            let found = parser.text().ok().filter(|_| parser.is_done());
            assert_eq!(found.as_deref(), want, "{input:?}");
        }
    }

    #[test]
    fn dates_are_read_quoted_or_not() {
        for (input, want) in [("1-Jan-1970", Some(0)), ("\"29-Feb-2024\"", Some(19_782)), ("29-Feb-2023", None), ("1-Jan-00", None)] {
            assert_eq!(Parser::new(input.as_bytes(), false).date().ok(), want, "{input}");
        }
        let moment = Parser::new(b"\"17-Jul-1996 02:44:25 -0700\"", false).date_time();
        assert_eq!(moment, Ok(Timestamp::from_seconds(837_596_665)));
    }

    #[test]
    fn faults_say_where() {
        let mut parser = Parser::new(b"a b", false);
        assert_eq!(parser.atom(), Ok("a"));
        assert_eq!(parser.octet(b'(', "a list"), Err(Fault::Syntax { at: 2, expected: "a list" }));
    }
}
