//! How a message's unique id is made of its mailbox's `UIDVALIDITY` and its Uid (RFC 1939 §7).
//!
//! Servers differ, and a client that finds other ids than before fetches everything again: who brings mailboxes
//! over with their Uids chooses the form of the server they come from. Forms are written as Dovecot's
//! `pop3_uidl_format`: `%v` is the `UIDVALIDITY`, `%u` the Uid; `%X…` is hexadecimal, `%08…` padded.
//!
//! Deviation: Outlook 2003 stumbles over `%v.%u`; Dovecot's form is the default for that.

use mail::{Uid, UidValidity};
use std::fmt::{self, Write as _};
use std::str::FromStr;

/// Most octets of a unique id (RFC 1939 §7).
const OCTETS_MAX: usize = 70;
/// Most digits of a number: so many has the largest one, in decimal.
const DIGITS_MAX: usize = 10;

/// A form of unique ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UidlFormat {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Number { of: Number, hexadecimal: Option<Case>, width: usize },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Number {
    Uid,
    Validity,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Case {
    Lower,
    Upper,
}

/// Why a text is no form of unique ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotAFormat;

impl fmt::Display for NotAFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "expected \"dovecot\", \"courier\", \"cyrus\", or a form such as \"%08Xu%08Xv\" with %u (Uid) and mostly %v (UIDVALIDITY)",
        )
    }
}

impl Default for UidlFormat {
    fn default() -> Self {
        let number = |of| Part::Number { of, hexadecimal: Some(Case::Upper), width: 8 };
        Self { parts: vec![number(Number::Uid), number(Number::Validity)] }
    }
}

impl FromStr for UidlFormat {
    type Err = NotAFormat;

    fn from_str(text: &str) -> Result<Self, NotAFormat> {
        let mut rest = match text {
            "dovecot" => "%08Xu%08Xv",
            "courier" => "UID%u-%v",
            "cyrus" => "%v.%u",
            other => other,
        };
        let mut parts = Vec::new();
        while !rest.is_empty() {
            let (part, behind) = Part::read(rest).ok_or(NotAFormat)?;
            parts.push(part);
            rest = behind;
        }
        let format = Self { parts };
        let longest = format.write(UidValidity(u32::MAX), Uid(u32::MAX)).len();
        if format.has(Number::Uid) && longest <= OCTETS_MAX { Ok(format) } else { Err(NotAFormat) }
    }
}

impl UidlFormat {
    /// The unique id of a message.
    pub fn write(&self, validity: UidValidity, uid: Uid) -> String {
        let mut text = String::new();
        for part in &self.parts {
            part.write(validity, uid, &mut text);
        }
        text
    }

    /// Whether ids are unique beyond one mailbox.
    pub fn tells_mailboxes(&self) -> bool {
        self.has(Number::Validity)
    }

    fn has(&self, number: Number) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Number { of, .. } if *of == number))
    }
}

impl Part {
    /// The first part of a form that is not empty, and what is behind it.
    fn read(text: &str) -> Option<(Self, &str)> {
        let Some(mut rest) = text.strip_prefix('%') else {
            let end = text.find('%').unwrap_or(text.len());
            let (text, rest) = text.split_at_checked(end)?;
            return text.bytes().all(|octet| octet.is_ascii_graphic()).then(|| (Self::Text(text.to_owned()), rest));
        };
        let mut width = 0;
        if let Some(padded) = rest.strip_prefix('0') {
            let digits = padded.bytes().take_while(u8::is_ascii_digit).count();
            width = padded.get(..digits)?.parse().ok().filter(|width| *width <= DIGITS_MAX)?;
            rest = padded.get(digits..)?;
        }
        let hexadecimal = match rest.as_bytes().first()? {
            b'X' => Some(Case::Upper),
            b'x' => Some(Case::Lower),
            _ => None,
        };
        if hexadecimal.is_some() {
            rest = rest.get(1..)?;
        }
        let of = match rest.as_bytes().first()? {
            b'u' => Number::Uid,
            b'v' => Number::Validity,
            _ => return None,
        };
        Some((Self::Number { of, hexadecimal, width }, rest.get(1..)?))
    }

    fn write(&self, validity: UidValidity, uid: Uid, out: &mut String) {
        let _ = match self {
            Self::Text(text) => out.write_str(text),
            Self::Number { of, hexadecimal, width } => {
                let number = match of {
                    Number::Uid => uid.0,
                    Number::Validity => validity.0,
                };
                match hexadecimal {
                    None => write!(out, "{number:0width$}"),
                    Some(Case::Upper) => write!(out, "{number:0width$X}"),
                    Some(Case::Lower) => write!(out, "{number:0width$x}"),
                }
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_of_other_servers() {
        for (form, want) in [
            ("dovecot", "0000002A4A5B6C7D"),
            ("%08Xu%08Xv", "0000002A4A5B6C7D"),
            ("courier", "UID42-1247505533"),
            ("cyrus", "1247505533.42"),
            ("%u", "42"),
            ("%v-%u", "1247505533-42"),
            ("%xv.%04xu", "4a5b6c7d.002a"),
        ] {
            let format: UidlFormat = form.parse().unwrap();
            assert_eq!(format.write(UidValidity(1_247_505_533), Uid(42)), want, "{form}");
        }
        assert_eq!("dovecot".parse(), Ok(UidlFormat::default()));
        assert!(!"%u".parse::<UidlFormat>().unwrap().tells_mailboxes());
    }

    #[test]
    fn what_is_no_form() {
        for form in ["", "x", "%v", "%", "%u%", "%q%u", "% u", "%011u", "%0", "%X", "a b%u", "ä%u", &format!("{}%u", "x".repeat(61))] {
            assert_eq!(form.parse::<UidlFormat>(), Err(NotAFormat), "{form}");
        }
    }
}
