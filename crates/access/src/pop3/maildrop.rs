//! The maildrop as it was at login, and which of its messages are marked deleted.
//!
//! Not the mailbox: others may add to that and take from it; message numbers stay (RFC 1939 §5).
//!
//! Invariant: entries are in ascending order of Uid within their mailbox and are never removed; the totals leave the
//! deleted ones out.

use super::session::Marked;
use super::uidl::UidlFormat;
use mail::{MailboxId, Uid, UidSet, UidValidity};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Octets of a listing made at a time.
const LISTING_OCTETS: usize = 16 * 1024;

/// One message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Which of the maildrop's mailboxes it is in, from 0.
    pub source: u16,
    /// Its Uid there.
    pub uid: Uid,
    /// Its octets.
    pub octets: u64,
    /// Marked by DELE.
    pub deleted: bool,
    /// Sent whole in this session.
    pub retrieved: bool,
}

impl Entry {
    /// A message of the first mailbox that is not deleted.
    pub const fn new(uid: Uid, octets: u64) -> Self {
        Self { source: 0, uid, octets, deleted: false, retrieved: false }
    }
}

/// All messages at login.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Maildrop {
    sources: Vec<Source>,
    entries: Vec<Entry>,
    format: UidlFormat,
    /// Unique ids that came from another server, by place in `entries`.
    uidls: BTreeMap<usize, String>,
    octets: u64,
    count: u64,
}

/// A mailbox of the maildrop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Source {
    /// Which.
    pub mailbox: MailboxId,
    /// Its numbering.
    pub uid_validity: UidValidity,
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
    /// The messages of mailboxes, one mailbox after the other, in each in ascending order of Uid. `uidls` are unique
    /// ids that differ from the form, by place in `entries`.
    pub fn new(sources: Vec<Source>, entries: Vec<Entry>, format: UidlFormat, uidls: BTreeMap<usize, String>) -> Self {
        let mut maildrop = Self { sources, entries, format, uidls, octets: 0, count: 0 };
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
    pub(crate) fn deleted(&self) -> Marked {
        self.marked(|entry| entry.deleted)
    }

    /// The messages that were sent whole and are not marked deleted.
    pub(crate) fn retrieved(&self) -> Marked {
        self.marked(|entry| entry.retrieved && !entry.deleted)
    }

    fn marked(&self, wanted: impl Fn(&Entry) -> bool) -> Marked {
        let mut marked = Marked::new();
        for entry in self.entries.iter().filter(|entry| wanted(entry)) {
            let Some(mailbox) = self.mailbox(*entry) else { continue };
            match marked.last_mut() {
                Some((last, uids)) if *last == mailbox => {
                    uids.insert(entry.uid);
                }
                _ => marked.push((mailbox, UidSet::from_iter([entry.uid]))),
            }
        }
        marked
    }

    /// The mailbox of a message.
    pub(crate) fn mailbox(&self, entry: Entry) -> Option<MailboxId> {
        self.sources.get(usize::from(entry.source)).map(|source| source.mailbox)
    }

    /// Notes that a message was sent whole.
    pub(crate) fn sent(&mut self, number: u64) {
        if let Some(entry) = index(number).and_then(|at| self.entries.get_mut(at)) {
            entry.retrieved = true;
        }
    }

    /// Stable and unique as long as the mailbox keeps its numbering (RFC 1939 §7). Where the form does not tell
    /// mailboxes from each other, it serves the first one, and the default form the others.
    fn uidl(&self, number: u64, entry: Entry) -> String {
        if let Some(uidl) = index(number).and_then(|at| self.uidls.get(&at)) {
            return uidl.clone();
        }
        let validity = self.sources.get(usize::from(entry.source)).map(|source| source.uid_validity).unwrap_or_default();
        if entry.source == 0 || self.format.tells_mailboxes() {
            return self.format.write(validity, entry.uid);
        }
        UidlFormat::default().write(validity, entry.uid)
    }

    /// One line of a listing, without its CRLF.
    pub(crate) fn line(&self, listing: Listing, number: u64, entry: Entry) -> String {
        match listing {
            Listing::List => format!("{number} {}", entry.octets),
            Listing::Uidl => format!("{number} {}", self.uidl(number, entry)),
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
        let source = Source { mailbox: MailboxId(1), uid_validity: UidValidity(7) };
        let entries = (1..=messages).map(|n| Entry::new(Uid(n * 2), u64::from(n) * 10)).collect();
        Maildrop::new(vec![source], entries, "cyrus".parse().unwrap(), BTreeMap::new())
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
        assert_eq!(maildrop.deleted(), [(MailboxId(1), "4".parse().unwrap())]);
        maildrop.reset();
        assert_eq!((maildrop.count(), maildrop.octets()), (3, 60));
        assert!(maildrop.deleted().is_empty());
    }

    #[test]
    fn unique_ids_tell_mailboxes_apart() {
        let sources =
            [(1, 7), (2, 8)].map(|(mailbox, validity)| Source { mailbox: MailboxId(mailbox), uid_validity: UidValidity(validity) });
        let entries = vec![Entry::new(Uid(1), 1), Entry::new(Uid(2), 1), Entry { source: 1, ..Entry::new(Uid(1), 1) }];
        for (format, want) in [("courier", "1 UID1-7\r\n2 old\r\n3 UID1-8\r\n"), ("%u", "1 1\r\n2 old\r\n3 0000000100000008\r\n")] {
            let uidls = BTreeMap::from([(1, "old".to_owned())]);
            let mut maildrop = Maildrop::new(sources.to_vec(), entries.clone(), format.parse().unwrap(), uidls);
            assert_eq!(maildrop.lines(Listing::Uidl, 0).unwrap().0, want);
            assert!(maildrop.delete(1) && maildrop.delete(3));
            let one = || "1".parse().unwrap();
            assert_eq!(maildrop.deleted(), [(MailboxId(1), one()), (MailboxId(2), one())]);
            maildrop.sent(1);
            maildrop.sent(2);
            assert_eq!(maildrop.retrieved(), [(MailboxId(1), "2".parse().unwrap())]);
        }
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
