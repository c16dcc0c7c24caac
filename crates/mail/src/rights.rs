//! What somebody may do with a mailbox (RFC 4314 §2.1).
//!
//! The obsolete rights `c` and `d` of RFC 2086 are no rights of their own: they are read as the
//! rights they stood for, and written beside them.

use crate::flag::{Flag, Flags};
use serde::{Deserialize, Serialize};
use std::fmt;

/// A set of rights.
#[derive(Clone, Copy, PartialEq, Eq, Default, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Rights(u16);

/// Why a text is no set of rights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no right: lrswipkxtea and the obsolete c and d are known")]
pub struct NoRight(pub char);

/// The letters, in the order in which they are written; the position is the bit, which is stored.
const LETTERS: &str = "lrswipkxtea";

impl Rights {
    /// None.
    pub const NONE: Self = Self(0);
    /// `l`: the mailbox is seen in lists.
    pub const LOOKUP: Self = Self(1);
    /// `r`: it can be selected, its messages read.
    pub const READ: Self = Self(1 << 1);
    /// `s`: `\Seen` can be changed.
    pub const SEEN: Self = Self(1 << 2);
    /// `w`: other flags and keywords can be changed.
    pub const WRITE: Self = Self(1 << 3);
    /// `i`: messages can be added.
    pub const INSERT: Self = Self(1 << 4);
    /// `p`: mail can be sent to its submission address. Kept and shown; nothing here asks for it.
    pub const POST: Self = Self(1 << 5);
    /// `k`: mailboxes can be made below it.
    pub const CREATE: Self = Self(1 << 6);
    /// `x`: it can be deleted and renamed.
    pub const DELETE: Self = Self(1 << 7);
    /// `t`: `\Deleted` can be changed.
    pub const TRASH: Self = Self(1 << 8);
    /// `e`: messages can be expunged.
    pub const EXPUNGE: Self = Self(1 << 9);
    /// `a`: rights can be given and looked at.
    pub const ADMINISTER: Self = Self(1 << 10);
    /// All of them: an owner's.
    pub const ALL: Self = Self((1 << 11) - 1);

    /// The rights that letters name.
    ///
    /// # Errors
    /// When a letter is no right; capitals are none (RFC 4314 §2).
    pub fn parse(letters: &str) -> Result<Self, NoRight> {
        letters.chars().try_fold(Self::NONE, |rights, letter| Ok(rights.union(Self::of(letter)?)))
    }

    fn of(letter: char) -> Result<Self, NoRight> {
        match letter {
            'c' => Ok(Self::CREATE.union(Self::DELETE)),
            'd' => Ok(Self::TRASH.union(Self::EXPUNGE)),
            _ => LETTERS.find(letter).map(|at| Self(1 << at)).ok_or(NoRight(letter)),
        }
    }

    /// Whether all of these are among them.
    pub const fn contains(self, others: Self) -> bool {
        self.0 & others.0 == others.0
    }

    /// Whether any of these is among them.
    pub const fn intersects(self, others: Self) -> bool {
        self.0 & others.0 != 0
    }

    /// Whether there is none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Both together.
    #[must_use]
    pub const fn union(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    /// Those that are in both.
    #[must_use]
    pub const fn intersection(self, others: Self) -> Self {
        Self(self.0 & others.0)
    }

    /// These without others.
    #[must_use]
    pub const fn without(self, others: Self) -> Self {
        Self(self.0 & !others.0)
    }

    /// Whether they allow to change a flag (RFC 4314 §4).
    pub const fn cover(self, flag: &Flag) -> bool {
        self.contains(match flag {
            Flag::Seen => Self::SEEN,
            Flag::Deleted => Self::TRASH,
            _ => Self::WRITE,
        })
    }

    /// Those of the flags that they allow to change.
    #[must_use]
    pub fn covered(self, flags: &Flags) -> Flags {
        flags.iter().filter(|flag| self.cover(flag)).collect()
    }
}

impl fmt::Display for Rights {
    /// With `c` and `d` where a right that they stood for is there (RFC 4314 §2.1.1).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, letter) in LETTERS.char_indices().filter(|(_, letter)| *letter != 'a') {
            if self.0 & (1 << at) != 0 {
                write!(f, "{letter}")?;
            }
        }
        for (letter, stands_for) in [("c", Self::CREATE.union(Self::DELETE)), ("d", Self::TRASH.union(Self::EXPUNGE))] {
            if self.intersects(stands_for) {
                f.write_str(letter)?;
            }
        }
        if self.contains(Self::ADMINISTER) { f.write_str("a") } else { Ok(()) }
    }
}

impl fmt::Debug for Rights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Rights({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_are_read_and_written() {
        for (input, want) in [
            ("", Ok("")),
            ("lrswipkxtea", Ok("lrswipkxtecda")),
            ("aetx", Ok("xtecda")),
            ("lrswida", Ok("lrswiteda")),
            ("lrswikda", Ok("lrswiktecda")),
            ("c", Ok("kxc")),
            ("k", Ok("kc")),
            ("lll", Ok("l")),
            ("lrQ", Err(NoRight('Q'))),
            ("q", Err(NoRight('q'))),
            ("0", Err(NoRight('0'))),
            ("ä", Err(NoRight('ä'))),
        ] {
            assert_eq!(Rights::parse(input).map(|rights| rights.to_string()), want.map(str::to_owned), "{input}");
        }
        assert_eq!(Rights::parse("lrswipkxtea"), Ok(Rights::ALL));
    }

    #[test]
    fn rights_cover_flags() {
        let flags: Flags = ["\\Seen", "\\Deleted", "\\Draft", "Work"].into_iter().filter_map(Flag::parse).collect();
        for (rights, want) in [("s", "\\Seen"), ("t", "\\Deleted"), ("w", "\\Draft Work"), ("lriea", ""), ("st", "\\Seen \\Deleted")] {
            let covered: Vec<_> = Rights::parse(rights).unwrap().covered(&flags).iter().map(|flag| flag.to_string()).collect();
            assert_eq!(covered.join(" "), want, "{rights}");
        }
    }
}
