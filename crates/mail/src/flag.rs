//! Message flags: the five system flags and keywords (RFC 9051 §2.3.2).
//!
//! `\Recent` is no flag here: it is a thing of one IMAP session.

use serde::{Deserialize, Serialize};
use std::fmt;

/// One flag of a message.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Flag {
    /// `\Seen`
    Seen,
    /// `\Answered`
    Answered,
    /// `\Flagged`
    Flagged,
    /// `\Deleted`
    Deleted,
    /// `\Draft`
    Draft,
    /// Anything else.
    Keyword(Keyword),
}

/// A keyword: an IMAP atom that does not start with a backslash, compared without regard to case
/// and kept as first written (RFC 9051 §2.3.2).
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Keyword(String);

/// The text cannot be a keyword.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a keyword: 1 to 255 octets of an IMAP atom are expected")]
pub struct NotAKeyword;

impl Keyword {
    /// Longest keyword, octets. Our own bound; common clients stay below 64.
    pub const OCTETS_MAX: usize = 255;

    /// A keyword from its text.
    ///
    /// # Errors
    /// When the text is empty, longer than [`Keyword::OCTETS_MAX`] or not an IMAP atom.
    pub fn parse(text: &str) -> Result<Self, NotAKeyword> {
        let atom = |b: u8| b.is_ascii_graphic() && !b"(){%*\"\\]".contains(&b);
        let fits = (1..=Self::OCTETS_MAX).contains(&text.len());
        if fits && text.bytes().all(atom) { Ok(Self(text.to_owned())) } else { Err(NotAKeyword) }
    }

    /// As first written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn folded(&self) -> impl Iterator<Item = u8> {
        self.0.bytes().map(|b| b.to_ascii_lowercase())
    }
}

impl PartialEq for Keyword {
    fn eq(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

impl Eq for Keyword {}

impl PartialOrd for Keyword {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Keyword {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.folded().cmp(other.folded())
    }
}

impl std::hash::Hash for Keyword {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.folded().for_each(|b| state.write_u8(b));
        state.write_u8(0xff);
    }
}

const SYSTEM: [Flag; 5] = [Flag::Seen, Flag::Answered, Flag::Flagged, Flag::Deleted, Flag::Draft];

impl Flag {
    /// Reads a flag as IMAP writes it; `None` for `\Recent` and unknown `\Flags`.
    pub fn parse(text: &str) -> Option<Self> {
        let Some(system) = text.strip_prefix('\\') else {
            return Keyword::parse(text).ok().map(Self::Keyword);
        };
        SYSTEM.iter().find(|flag| flag.to_string().get(1..).is_some_and(|name| name.eq_ignore_ascii_case(system))).cloned()
    }

    fn bit(&self) -> Option<u8> {
        SYSTEM.iter().position(|flag| flag == self).map(|at| 1 << at)
    }
}

impl fmt::Display for Flag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Seen => "\\Seen",
            Self::Answered => "\\Answered",
            Self::Flagged => "\\Flagged",
            Self::Deleted => "\\Deleted",
            Self::Draft => "\\Draft",
            Self::Keyword(keyword) => keyword.as_str(),
        })
    }
}

/// A set of flags; keywords are sorted and occur once.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Flags {
    system: u8,
    keywords: Vec<Keyword>,
}

impl Flags {
    /// Most keywords on one message. Our own bound.
    pub const KEYWORDS_MAX: usize = 64;

    /// Whether the flag is in the set.
    pub fn contains(&self, flag: &Flag) -> bool {
        match (flag.bit(), flag) {
            (Some(bit), _) => self.system & bit != 0,
            (None, Flag::Keyword(keyword)) => self.keywords.binary_search(keyword).is_ok(),
            (None, _) => false,
        }
    }

    /// Adds a flag; a keyword past [`Flags::KEYWORDS_MAX`] is not taken. True if the set changed.
    pub fn insert(&mut self, flag: Flag) -> bool {
        let had = self.contains(&flag);
        match (flag.bit(), flag) {
            (Some(bit), _) => self.system |= bit,
            (None, Flag::Keyword(keyword)) => match self.keywords.binary_search(&keyword) {
                Err(at) if self.keywords.len() < Self::KEYWORDS_MAX => self.keywords.insert(at, keyword),
                _ => return false,
            },
            (None, _) => {}
        }
        !had
    }

    /// Takes a flag out. True if the set changed.
    pub fn remove(&mut self, flag: &Flag) -> bool {
        let had = self.contains(flag);
        match (flag.bit(), flag) {
            (Some(bit), _) => self.system &= !bit,
            (None, Flag::Keyword(keyword)) => self.keywords.retain(|k| k != keyword),
            (None, _) => {}
        }
        had
    }

    /// Every flag: the system flags first, then keywords in order.
    pub fn iter(&self) -> impl Iterator<Item = Flag> + '_ {
        let system = SYSTEM.iter().filter(|flag| self.contains(flag)).cloned();
        system.chain(self.keywords.iter().cloned().map(Flag::Keyword))
    }

    /// The keywords, in order.
    pub fn keywords(&self) -> &[Keyword] {
        &self.keywords
    }

    /// Whether no flag is set.
    pub fn is_empty(&self) -> bool {
        self.system == 0 && self.keywords.is_empty()
    }
}

impl FromIterator<Flag> for Flags {
    fn from_iter<I: IntoIterator<Item = Flag>>(flags: I) -> Self {
        let mut set = Self::default();
        for flag in flags {
            set.insert(flag);
        }
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(text: &str) -> Flags {
        text.split_whitespace().filter_map(Flag::parse).collect()
    }

    fn shown(flags: &Flags) -> String {
        flags.iter().map(|flag| flag.to_string()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn flags_are_read_and_shown() {
        for (input, want) in [
            ("\\seen \\DELETED", "\\Seen \\Deleted"),
            ("$Forwarded $forwarded NonJunk", "$Forwarded NonJunk"),
            ("\\Recent \\Unknown bad{atom", ""),
        ] {
            assert_eq!(shown(&set(input)), want);
        }
    }

    #[test]
    fn insert_and_remove_tell_whether_something_changed() {
        let mut flags = set("\\Seen Work");
        assert!(!flags.insert(Flag::Seen));
        assert!(flags.insert(Flag::Draft));
        assert!(flags.remove(&Flag::parse("work").unwrap()));
        assert!(!flags.remove(&Flag::Answered));
        assert_eq!(shown(&flags), "\\Seen \\Draft");
    }
}
