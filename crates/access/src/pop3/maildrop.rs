//! The maildrop as it was at login, and which of its messages are marked deleted.
//!
//! Not the mailbox: others may add to that and take from it; message numbers stay (RFC 1939 §5).
//!
//! Invariant: entries are in ascending order of Uid and are never removed; the totals leave the
//! deleted ones out.

use mail::{Uid, UidSet, UidValidity};
use std::fmt::Write as _;

/// Octets of a listing made at a time.
const LISTING_OCTETS: usize = 16 * 1024;

/// One message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Its Uid in INBOX.
    pub uid: Uid,
    /// Its octets.
    pub octets: u64,
    /// Marked by DELE.
    pub deleted: bool,
}

impl Entry {
    /// A message that is not deleted.
    pub const fn new(uid: Uid, octets: u64) -> Self {
        Self { uid, octets, deleted: false }
    }
}

/// All messages at login.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Maildrop {
    uid_validity: UidValidity,
    entries: Vec<Entry>,
    octets: u64,
    count: u64,
}

/// Which listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Listing {
    /// Octets.
    List,
    /// Unique ids.
    Uidl,
}

impl Maildrop {
    /// The messages of a mailbox, in ascending order of Uid.
    pub fn new(uid_validity: UidValidity, entries: Vec<Entry>) -> Self {
        let mut maildrop = Self { uid_validity, entries, octets: 0, count: 0 };
        maildrop.add_up();
        maildrop
    }

    fn add_up(&mut self) {
        let left = || self.entries.iter().filter(|entry| !entry.deleted);
        self.count = left().count() as u64;
        self.octets = left().map(|entry| entry.octets).sum();
    }

    /// How many messages there are, deleted ones left out.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// Their octets.
    pub(crate) fn octets(&self) -> u64 {
        self.octets
    }

    /// The message of a number, from 1; `None` if it is deleted or never was.
    pub(crate) fn message(&self, number: u64) -> Option<Entry> {
        self.entries.get(index(number)?).filter(|entry| !entry.deleted).copied()
    }

    /// Marks a message deleted; false if there is none.
    pub(crate) fn delete(&mut self, number: u64) -> bool {
        let entry = index(number).and_then(|at| self.entries.get_mut(at)).filter(|entry| !entry.deleted);
        let Some(entry) = entry else { return false };
        entry.deleted = true;
        self.count -= 1;
        self.octets -= entry.octets;
        true
    }

    /// Takes all marks back.
    pub(crate) fn reset(&mut self) {
        self.entries.iter_mut().for_each(|entry| entry.deleted = false);
        self.add_up();
    }

    /// The messages marked deleted.
    pub(crate) fn deleted(&self) -> UidSet {
        self.entries.iter().filter(|entry| entry.deleted).map(|entry| entry.uid).collect()
    }

    /// One line of a listing, without its CRLF.
    pub(crate) fn line(&self, listing: Listing, number: u64, entry: Entry) -> String {
        match listing {
            Listing::List => format!("{number} {}", entry.octets),
            // Stable and unique as long as the mailbox keeps its numbering (RFC 1939 §7).
            Listing::Uidl => format!("{number} {}.{}", self.uid_validity, entry.uid),
        }
    }

    /// A piece of a listing from the message `from` (counted from 0) on, and where the next one
    /// begins; `None` at the end.
    pub(crate) fn lines(&self, listing: Listing, from: usize) -> Option<(String, usize)> {
        let mut text = String::new();
        for (at, entry) in self.entries.iter().enumerate().skip(from) {
            if text.len() >= LISTING_OCTETS {
                return Some((text, at));
            }
            if !entry.deleted {
                let _ = write!(text, "{}\r\n", self.line(listing, at as u64 + 1, *entry));
            }
        }
        (!text.is_empty()).then_some((text, self.entries.len()))
    }
}

fn index(number: u64) -> Option<usize> {
    usize::try_from(number).ok()?.checked_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn maildrop(messages: u32) -> Maildrop {
        Maildrop::new(UidValidity(7), (1..=messages).map(|n| Entry::new(Uid(n * 2), u64::from(n) * 10)).collect())
    }

    #[test]
    fn numbers_stay_and_totals_follow() {
        let mut maildrop = maildrop(3);
        assert_eq!((maildrop.count(), maildrop.octets()), (3, 60));
        assert!(maildrop.delete(2) && !maildrop.delete(2) && !maildrop.delete(0) && !maildrop.delete(4));
        assert_eq!((maildrop.count(), maildrop.octets()), (2, 40));
        assert_eq!(maildrop.message(2), None);
        assert_eq!(maildrop.message(3).unwrap().uid, Uid(6));
        assert_eq!(maildrop.lines(Listing::Uidl, 0).unwrap().0, "1 7.2\r\n3 7.6\r\n");
        assert_eq!(maildrop.deleted().to_string(), "4");
        maildrop.reset();
        assert_eq!((maildrop.count(), maildrop.octets()), (3, 60));
        assert!(maildrop.deleted().is_empty());
    }

    #[test]
    fn long_listings_come_in_pieces() {
        let maildrop = maildrop(10_000);
        let (mut from, mut all, mut pieces) = (0, String::new(), 0);
        while let Some((text, next)) = maildrop.lines(Listing::List, from) {
            assert!(text.len() < LISTING_OCTETS + 64);
            (from, pieces) = (next, pieces + 1);
            all += &text;
        }
        assert_eq!(all.lines().count(), 10_000);
        assert!(all.ends_with("\r\n10000 100000\r\n"));
        assert!(pieces > 5);
    }
}
