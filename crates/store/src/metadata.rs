//! Annotations of mailboxes and of the server (RFC 5464): small values under names such as
//! `/shared/comment`.
//!
//! Shared ones are the same for all who may see the mailbox; private ones are each viewer's own. Those
//! of a mailbox are in its owner's account, whoever wrote them: they go with the mailbox, follow it
//! when it is renamed, and count in the owner's quota. Those that a viewer has for the server are in
//! the viewer's account; the server's shared ones are the administrators'.
//!
//! Invariant: the octets of an account's annotations are part of its used octets.

use crate::change::{AnnotationChange, LIST};
use crate::error::{Error, Result};
use crate::index::KeyRange;
use crate::key;
use crate::record::Record;
use crate::schema::Space;
use crate::tx::{ReadTx, WriteTx};
use mail::{AccountId, MailboxId, ModSeq};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Longest value, octets. Our own bound; RFC 5464 §4.1 asks for at least 1024.
pub const ANNOTATION_OCTETS_MAX: usize = 64 << 10;
/// Most annotations of a mailbox, or of the server, that are shared, and as many that are private to
/// each viewer. Our own bound; RFC 5464 §4.1 asks for at least 10.
pub const ANNOTATIONS_MAX: usize = 100;
/// Longest name of an entry, octets. Our own bound.
pub const ENTRY_OCTETS_MAX: usize = 256;

/// The name of an annotation (RFC 5464 §3.2), in lower case: names are the same in any case.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryName {
    private: bool,
    /// What stands behind `/shared` or `/private`: nothing, or a path with its first slash.
    path: String,
}

/// What is annotated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Annotated {
    /// The server as a whole.
    Server,
    /// A mailbox of an account.
    Mailbox(AccountId, MailboxId),
}

/// What became of a change of annotations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Annotating {
    /// There would be more than [`ANNOTATIONS_MAX`]: nothing was changed.
    TooMany,
    /// It is done; the account's ModSeq before and after, where an account has it.
    Done(ModSeq, ModSeq),
}

/// An annotation's value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AnnotationRecord(pub(crate) Vec<u8>);

impl Record for AnnotationRecord {
    const SPACE: Space = Space::Annotation;
    const NAME: &'static str = "annotation record";
}

/// A shared annotation of the server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ServerAnnotationRecord(pub(crate) Vec<u8>);

impl Record for ServerAnnotationRecord {
    const SPACE: Space = Space::ServerAnnotation;
    const NAME: &'static str = "server annotation record";
}

impl EntryName {
    /// Reads a name; `None` if it is none: it starts with `/shared` or `/private`, and has no empty
    /// component, wildcard, control character or letter beyond ASCII (RFC 5464 §3.2).
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.to_ascii_lowercase();
        let (private, path) = match (text.strip_prefix("/private"), text.strip_prefix("/shared")) {
            (Some(path), _) => (true, path),
            (_, Some(path)) => (false, path),
            _ => return None,
        };
        let bad = |c: char| !(' '..='~').contains(&c) || matches!(c, '*' | '%');
        let whole = path.is_empty() || (path.starts_with('/') && !path.ends_with('/') && !path.contains("//"));
        (whole && text.len() <= ENTRY_OCTETS_MAX && !path.contains(bad)).then(|| Self { private, path: path.to_owned() })
    }

    /// Whether each viewer has its own.
    #[must_use]
    pub const fn is_private(&self) -> bool {
        self.private
    }

    /// Whether something can have this name: it has a component besides its scope, and two more where
    /// the first is `vendor` (RFC 5464 §3.2).
    #[must_use]
    pub fn is_whole(&self) -> bool {
        let components = self.path.split('/').skip(1).count();
        components >= if self.path == "/vendor" || self.path.starts_with("/vendor/") { 3 } else { 1 }
    }

    /// How many components a name has below this one; `None` if it does not stand there.
    fn depth_of(&self, path: &str) -> Option<usize> {
        let rest = path.strip_prefix(self.path.as_str())?;
        (rest.is_empty() || rest.starts_with('/')).then(|| rest.matches('/').count())
    }

    fn with_path(&self, path: &str) -> Self {
        Self { private: self.private, path: path.to_owned() }
    }

    /// In which viewer's keys it stands; 0: in everybody's.
    const fn viewer(&self, viewer: AccountId) -> AccountId {
        if self.private { viewer } else { AccountId(0) }
    }
}

impl fmt::Display for EntryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.private { "/private" } else { "/shared" }, self.path)
    }
}

/// Where annotations are: in an account, or in the server's own space.
enum Place {
    Account(AccountId, MailboxId),
    Server,
}

impl Annotated {
    const fn place(self, viewer: AccountId, private: bool) -> Place {
        match self {
            Self::Mailbox(owner, mailbox) => Place::Account(owner, mailbox),
            Self::Server if private => Place::Account(viewer, LIST),
            Self::Server => Place::Server,
        }
    }
}

/// What an annotation counts in the quota.
pub(crate) fn annotation_octets(path: &str, value: &[u8]) -> u64 {
    (path.len() + value.len()) as u64
}

impl ReadTx {
    /// An annotation's value, as a viewer sees it.
    ///
    /// # Errors
    /// When the store fails.
    pub fn annotation(&self, of: Annotated, viewer: AccountId, name: &EntryName) -> Result<Option<Vec<u8>>> {
        match of.place(viewer, name.private) {
            Place::Server => Ok(self.record::<ServerAnnotationRecord>(name.path.as_bytes())?.map(|record| record.0)),
            Place::Account(account, mailbox) => {
                let key = key::annotation(account, mailbox, name.viewer(viewer), &name.path);
                Ok(self.record::<AnnotationRecord>(&key)?.map(|record| record.0))
            }
        }
    }

    /// The annotations of a name and at most `depth` components below it, in order.
    ///
    /// # Errors
    /// When the store fails.
    pub fn annotations(&self, of: Annotated, viewer: AccountId, name: &EntryName, depth: usize) -> Result<Vec<(EntryName, Vec<u8>)>> {
        let all = self.annotations_all(of, viewer, name.private)?;
        let wanted = |path: &str| name.depth_of(path).is_some_and(|below| below <= depth);
        Ok(all.into_iter().filter(|(path, _)| wanted(path)).map(|(path, value)| (name.with_path(&path), value)).collect())
    }

    /// Every path and value of a scope.
    fn annotations_all(&self, of: Annotated, viewer: AccountId, private: bool) -> Result<Vec<(String, Vec<u8>)>> {
        let path = |key: &[u8], at| key::text(key, at).unwrap_or_default().to_owned();
        match of.place(viewer, private) {
            Place::Server => {
                let records = self.records::<ServerAnnotationRecord>(&KeyRange::all())?;
                Ok(records.into_iter().map(|(key, record)| (path(&key, 0), record.0)).collect())
            }
            Place::Account(account, mailbox) => {
                let viewer = if private { viewer } else { AccountId(0) };
                let records = self.records::<AnnotationRecord>(&KeyRange::prefix(&key::annotation(account, mailbox, viewer, "")))?;
                Ok(records.into_iter().map(|(key, record)| (path(&key, 12), record.0)).collect())
            }
        }
    }
}

impl WriteTx {
    /// Sets annotations, or removes those without a value. All of them or none.
    ///
    /// # Errors
    /// When there is no such mailbox, a value is longer than [`ANNOTATION_OCTETS_MAX`], or the quota
    /// has no room.
    pub fn annotate(&mut self, of: Annotated, viewer: AccountId, changes: &[(EntryName, Option<Vec<u8>>)]) -> Result<Annotating> {
        if let Annotated::Mailbox(owner, mailbox) = of {
            self.mailbox_record(owner, mailbox)?;
        }
        if changes.iter().any(|(_, value)| value.as_ref().is_some_and(|value| value.len() > ANNOTATION_OCTETS_MAX)) {
            return Err(Error::Limit("octets of an annotation".into()));
        }
        for private in [false, true] {
            if self.annotations_after(of, viewer, private, changes)? > ANNOTATIONS_MAX {
                return Ok(Annotating::TooMany);
            }
        }
        let mut done = Annotating::Done(ModSeq(0), ModSeq(0));
        for (name, value) in changes {
            match of.place(viewer, name.private) {
                Place::Server => self.server_annotation_save(name, value.as_ref())?,
                Place::Account(account, mailbox) => {
                    let (before, now) = self.annotation_save(account, mailbox, viewer, name, value.clone())?;
                    done = match done {
                        Annotating::Done(ModSeq(0), _) => Annotating::Done(before, now),
                        Annotating::Done(first, _) => Annotating::Done(first, now),
                        Annotating::TooMany => Annotating::TooMany,
                    };
                }
            }
        }
        Ok(done)
    }

    /// How many there would be in a scope.
    fn annotations_after(
        &self,
        of: Annotated,
        viewer: AccountId,
        private: bool,
        changes: &[(EntryName, Option<Vec<u8>>)],
    ) -> Result<usize> {
        let mut here = changes.iter().filter(|(name, _)| name.private == private).peekable();
        if here.peek().is_none() {
            return Ok(0);
        }
        let all = self.annotations_all(of, viewer, private)?;
        let mut paths: std::collections::BTreeSet<_> = all.into_iter().map(|(path, _)| path).collect();
        let before = paths.len();
        for (name, value) in here {
            if value.is_some() {
                paths.insert(name.path.clone());
            } else {
                paths.remove(&name.path);
            }
        }
        Ok(if paths.len() > before { paths.len() } else { 0 })
    }

    fn server_annotation_save(&mut self, name: &EntryName, value: Option<&Vec<u8>>) -> Result<()> {
        let key = name.path.as_bytes();
        let Some(value) = value else {
            self.delete(Space::ServerAnnotation, key);
            return Ok(());
        };
        self.save(key, &ServerAnnotationRecord(value.clone()))
    }

    fn annotation_save(
        &mut self,
        account: AccountId,
        mailbox: MailboxId,
        viewer: AccountId,
        name: &EntryName,
        value: Option<Vec<u8>>,
    ) -> Result<(ModSeq, ModSeq)> {
        let key = key::annotation(account, mailbox, name.viewer(viewer), &name.path);
        let old = self.record::<AnnotationRecord>(&key)?.map(|record| record.0);
        let mut counters = self.counters(account)?;
        let before = counters.mod_seq;
        if old == value {
            return Ok((before, before));
        }
        let octets = |value: &Option<Vec<u8>>| value.as_ref().map_or(0, |value| annotation_octets(&name.path, value));
        counters.octets_change(octets(&old), octets(&value))?;
        match value {
            Some(value) => self.save(&key, &AnnotationRecord(value))?,
            None => self.delete(Space::Annotation, &key),
        }
        counters.next_mod_seq();
        let viewer = name.private.then_some(viewer);
        self.annotated(account, &mut counters, AnnotationChange { mailbox, viewer, entry: name.to_string() })?;
        self.counters_save(account, &counters)?;
        Ok((before, counters.mod_seq))
    }

    /// Removes the annotations of a mailbox that goes; the counters are the caller's.
    pub(crate) fn annotations_forget(&mut self, account: AccountId, mailbox: MailboxId) -> Result<u64> {
        let range = KeyRange::prefix(&key::mailbox(account, mailbox));
        let mut freed = 0;
        for (key, AnnotationRecord(value)) in self.records(&range)? {
            freed += annotation_octets(key::text(&key, 12).unwrap_or_default(), &value);
            self.delete(Space::Annotation, &key);
        }
        Ok(freed)
    }

    /// Gives a mailbox the annotations of another (RFC 5464 §4.1: INBOX is renamed and keeps its own).
    pub(crate) fn annotations_copy(&mut self, account: AccountId, from: MailboxId, to: MailboxId) -> Result<()> {
        let records = self.records::<AnnotationRecord>(&KeyRange::prefix(&key::mailbox(account, from)))?;
        for (key, AnnotationRecord(value)) in records {
            let viewer = AccountId(key::number_u32(&key, 8).unwrap_or_default());
            let name = EntryName { private: viewer != AccountId(0), path: key::text(&key, 12).unwrap_or_default().to_owned() };
            self.annotation_save(account, to, viewer, &name, Some(value))?;
        }
        Ok(())
    }

    /// Removes what an account that goes has annotated privately in others' mailboxes. Looks at every
    /// annotation of the store: there are few.
    pub(crate) fn annotations_of_viewer_forget(&mut self, viewer: AccountId) -> Result<()> {
        for key in self.keys(Space::Annotation, &KeyRange::all(), usize::MAX)? {
            let owner = AccountId(key::number_u32(&key, 0).unwrap_or_default());
            if owner == viewer || key::number_u32(&key, 8) != Some(viewer.0) {
                continue;
            }
            let value = self.record::<AnnotationRecord>(&key)?.map(|record| record.0).unwrap_or_default();
            let mut counters = self.counters(owner)?;
            counters.octets_change(annotation_octets(key::text(&key, 12).unwrap_or_default(), &value), 0)?;
            self.delete(Space::Annotation, &key);
            self.counters_save(owner, &counters)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{account_add, findings, inbox, now, said, tx, world};

    fn name(text: &str) -> EntryName {
        EntryName::parse(text).unwrap_or_else(|| panic!("{text}"))
    }

    fn set(text: &str, value: &str) -> Vec<(EntryName, Option<Vec<u8>>)> {
        vec![(name(text), Some(value.as_bytes().to_vec()))]
    }

    #[test]
    fn names_of_entries() {
        for (input, want) in [
            ("/shared/comment", Some(true)),
            ("/PRIVATE/Comment", Some(true)),
            ("/private/vendor/x/y", Some(true)),
            ("/private/vendor/x", Some(false)),
            ("/private/vendor", Some(false)),
            ("/private/vendors", Some(true)),
            ("/shared", Some(false)),
            ("/shared/", None),
            ("/shared//x", None),
            ("/sharedx/y", None),
            ("/shared/a*", None),
            ("/shared/a%b", None),
            ("/shared/ä", None),
            ("/shared/a\tb", None),
            ("/public/comment", None),
            ("comment", None),
            ("", None),
        ] {
            assert_eq!(EntryName::parse(input).map(|name| name.is_whole()), want, "{input}");
        }
        assert_eq!(name("/PRIVATE/Comment").to_string(), "/private/comment");
        assert_eq!(EntryName::parse(&format!("/shared/{}", "x".repeat(ENTRY_OCTETS_MAX))), None);
    }

    #[test]
    fn annotations_are_shared_or_private_and_found_by_depth() {
        let (store, ann) = world();
        tx(&store, move |tx| {
            let bob = account_add(tx, "bob@example.org")?;
            let of = Annotated::Mailbox(ann, inbox(tx, ann).id);
            for (viewer, entry, value) in [
                (ann, "/shared/a", "1"),
                (ann, "/shared/a/b", "2"),
                (bob, "/shared/a/b/c", "3"),
                (ann, "/private/a", "4"),
                (bob, "/private/a", "5"),
            ] {
                assert!(matches!(tx.annotate(of, viewer, &set(entry, value))?, Annotating::Done(..)));
            }
            let shown = |viewer, entry: &str, depth| {
                let found = tx.annotations(of, viewer, &name(entry), depth).unwrap();
                found.into_iter().map(|(name, value)| format!("{name}={}", String::from_utf8(value).unwrap())).collect::<Vec<_>>().join(" ")
            };
            assert_eq!(shown(ann, "/shared/a", 0), "/shared/a=1");
            assert_eq!(shown(ann, "/shared/a", 1), "/shared/a=1 /shared/a/b=2");
            assert_eq!(shown(bob, "/shared", usize::MAX), "/shared/a=1 /shared/a/b=2 /shared/a/b/c=3");
            assert_eq!((shown(ann, "/private", 1), shown(bob, "/private/a", 0)), ("/private/a=4".into(), "/private/a=5".into()));
            assert_eq!(tx.annotation(of, bob, &name("/SHARED/A"))?, Some(b"1".to_vec()));
            assert_eq!(tx.annotation(Annotated::Server, bob, &name("/shared/a"))?, None);
            tx.annotate(Annotated::Server, bob, &set("/shared/a", "s"))?;
            tx.annotate(Annotated::Server, bob, &set("/private/a", "p"))?;
            assert_eq!(tx.annotation(Annotated::Server, ann, &name("/shared/a"))?, Some(b"s".to_vec()));
            assert_eq!(tx.annotation(Annotated::Server, ann, &name("/private/a"))?, None);
            tx.account_remove(bob)?;
            assert_eq!(tx.annotations(of, bob, &name("/private"), 9)?, []);
            Ok(())
        });
        assert_eq!(findings(&store), [""; 0]);
    }

    #[test]
    fn annotations_have_bounds_and_count_in_the_quota() {
        let (store, ann) = world();
        tx(&store, move |tx| {
            let inbox = inbox(tx, ann).id;
            let of = Annotated::Mailbox(ann, inbox);
            let long = "x".repeat(ANNOTATION_OCTETS_MAX + 1);
            assert_eq!(said(tx.annotate(of, ann, &set("/shared/a", &long))), "limit reached: octets of an annotation");
            assert_eq!(said(tx.annotate(Annotated::Mailbox(ann, MailboxId(99)), ann, &set("/shared/a", ""))), "mailbox does not exist");
            for number in 0..ANNOTATIONS_MAX {
                assert_ne!(tx.annotate(of, ann, &set(&format!("/shared/{number:03}"), "v"))?, Annotating::TooMany);
            }
            assert_eq!(tx.annotate(of, ann, &set("/shared/more", "v"))?, Annotating::TooMany);
            assert_ne!(tx.annotate(of, ann, &set("/shared/000", "w"))?, Annotating::TooMany);
            assert_ne!(tx.annotate(of, ann, &set("/private/000", "w"))?, Annotating::TooMany);
            let swap = [(name("/shared/000"), None), (name("/shared/more"), Some(b"v".to_vec()))];
            assert_ne!(tx.annotate(of, ann, &swap)?, Annotating::TooMany);
            assert_eq!(tx.quota(ann)?.used_octets, 99 * 5 + 6 + 5);
            tx.account_set_quota(ann, Some(600))?;
            assert_eq!(said(tx.annotate(of, ann, &set("/shared/more", &"v".repeat(200)))), "over quota: 506 of 600 octets are used");
            let new = tx.mailbox_rename(ann, inbox, "Old", now()).map_err(|error| error.to_string());
            assert_eq!(new, Err("over quota: 596 of 600 octets are used".to_owned()), "its annotations are copied");
            Ok(())
        });
    }

    #[test]
    fn annotations_go_with_their_mailbox() {
        let (store, ann) = world();
        tx(&store, move |tx| {
            let work = tx.mailbox_create(ann, "Work", None)?;
            let since = tx.mod_seq(ann)?;
            tx.annotate(Annotated::Mailbox(ann, work), ann, &set("/shared/comment", "c"))?;
            tx.annotate(Annotated::Mailbox(ann, work), ann, &set("/private/comment", "p"))?;
            let told = tx.list_changes(ann, since)?.annotations;
            let told: Vec<_> = told.into_iter().map(|change| (change.mailbox, change.viewer, change.entry)).collect();
            assert_eq!(told, [(work, None, "/shared/comment".to_owned()), (work, Some(ann), "/private/comment".to_owned())]);
            tx.mailbox_rename(ann, work, "Job", now())?;
            assert_eq!(tx.annotation(Annotated::Mailbox(ann, work), ann, &name("/shared/comment"))?, Some(b"c".to_vec()));
            let inbox = inbox(tx, ann).id;
            tx.annotate(Annotated::Mailbox(ann, inbox), ann, &set("/shared/comment", "in"))?;
            let old = tx.mailbox_rename(ann, inbox, "Old", now())?;
            for id in [inbox, old] {
                assert_eq!(tx.annotation(Annotated::Mailbox(ann, id), ann, &name("/shared/comment"))?, Some(b"in".to_vec()));
            }
            tx.mailbox_delete(ann, old)?;
            tx.mailbox_delete(ann, work)?;
            assert_eq!(tx.quota(ann)?.used_octets, 10);
            Ok(())
        });
        assert_eq!(findings(&store), [""; 0]);
    }
}
