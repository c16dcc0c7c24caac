//! Searches whose results are kept up to date: UPDATE of CONTEXT=SEARCH and CONTEXT=SORT (RFC 5267 §4.3).
//!
//! Not the search: `commands/search.rs` and `commands/sort.rs` find what a context begins with. Not a cache
//! either: what is asked again is searched again (§4.5), so CONTEXT, a hint, is taken and not used.
//!
//! Invariants
//! - The members of a context are what the client was told of its result; they change only together with the
//!   ADDTO or REMOVEFROM that tells it.
//! - A change costs what has changed: a message that came or has other flags is judged once for each context,
//!   and finds its place in a sorted one by halving.
//! - Members are Uids; numbers are those that the client knows when it reads them: REMOVEFROM stands before the
//!   EXPUNGE, ADDTO behind the EXISTS (§4.3.3, §4.3.4).

use crate::imap::commands::candidate::{self, Scene, Verdict};
use crate::imap::commands::fetch::Item;
use crate::imap::commands::search::Key;
use crate::imap::commands::sort::{self, Criterion};
use crate::imap::response::{self, Status};
use mail::Uid;
use mail::uid_set::UidSet;
use std::sync::Arc;
use store::{Message, ReadTx};

/// One search that is kept up to date.
#[derive(Debug, Clone)]
pub(crate) struct Context {
    /// The command's tag.
    pub(crate) tag: Arc<str>,
    /// Uids are told.
    pub(crate) by_uid: bool,
    /// What messages must be, and where.
    pub(crate) scene: Arc<Scene>,
    /// What is fetched of messages that come into the result (RFC 5465 §7).
    pub(crate) items: Arc<[Item]>,
    pub(crate) members: Members,
}

/// A result.
#[derive(Debug, Clone)]
pub(crate) enum Members {
    /// In the order of the mailbox.
    Set(UidSet),
    /// In another, and which.
    Sorted(Arc<Vec<Uid>>, Arc<[Criterion]>),
}

/// A change of a result: the position, 0 for the order of the mailbox, and messages.
type Update = (u32, UidSet);

impl Members {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Set(set) => set.len() as usize,
            Self::Sorted(list, _) => list.len(),
        }
    }

    fn position(&self, uid: Uid) -> Option<usize> {
        match self {
            Self::Set(set) => set.contains(uid).then_some(0),
            Self::Sorted(list, _) => list.iter().position(|member| *member == uid),
        }
    }

    /// Takes messages out; what the client is to be told.
    fn remove(&mut self, gone: &UidSet) -> Vec<Update> {
        match self {
            Self::Set(set) => {
                let lost = set.intersect(gone);
                *set = set.subtract(&lost);
                if lost.is_empty() { Vec::new() } else { vec![(0, lost)] }
            }
            Self::Sorted(list, _) => {
                let numbered = (1..=u32::MAX).zip(list.iter());
                // From the last to the first, so that no position moves before it is told.
                let mut gone_at: Vec<_> =
                    numbered.filter(|(_, uid)| gone.contains(**uid)).map(|(at, uid)| (at, UidSet::range(*uid, *uid))).collect();
                gone_at.reverse();
                if !gone_at.is_empty() {
                    Arc::make_mut(list).retain(|uid| !gone.contains(*uid));
                }
                gone_at
            }
        }
    }

    fn insert(&mut self, tx: &ReadTx, scene: &Scene, message: &Message) -> store::Result<Update> {
        let uid = UidSet::range(message.uid, message.uid);
        match self {
            Self::Set(set) => {
                set.insert(message.uid);
                Ok((0, uid))
            }
            Self::Sorted(list, criteria) => {
                let at = sort::place(tx, scene, criteria, list, message)?;
                Arc::make_mut(list).insert(at, message.uid);
                Ok((u32::try_from(at + 1).unwrap_or(u32::MAX), uid))
            }
        }
    }
}

impl Context {
    /// Whether what is sought can be known without being searched again: it depends on the message alone.
    pub(crate) fn can_follow(key: &Key) -> bool {
        !key.any(&|key| matches!(key, Key::Within(..) | Key::Recent(_) | Key::New | Key::Fuzzy(_)))
    }

    /// Messages are gone; they are named by the numbers they still have in `uids`.
    pub(crate) fn lose(&mut self, gone: &UidSet, uids: &UidSet, out: &mut Vec<u8>) {
        let lost = self.members.remove(gone);
        self.tell("REMOVEFROM", &lost, uids, out);
    }

    /// Messages came (behind `known`) or changed; those that came into the result by coming.
    ///
    /// # Errors
    /// When the store fails.
    pub(crate) fn follow(
        &mut self,
        tx: &ReadTx,
        messages: &[Message],
        known: Uid,
        uids: &UidSet,
        out: &mut Vec<u8>,
    ) -> store::Result<UidSet> {
        let by_flags = self.scene.key.any(&|key| matches!(key, Key::Flag(..) | Key::ModSeq(_)));
        let (mut added, mut lost, mut came) = (Vec::new(), UidSet::new(), UidSet::new());
        for message in messages.iter().filter(|message| (by_flags || message.uid > known) && uids.contains(message.uid)) {
            let matches = candidate::judge(tx, &self.scene, message, Verdict::Absent(0))?.0.is_some();
            match (self.members.position(message.uid), matches) {
                (None, true) => {
                    added.push(message);
                    if message.uid > known {
                        came.insert(message.uid);
                    }
                }
                (Some(_), false) => drop(lost.insert(message.uid)),
                _ => {}
            }
        }
        let lost = self.members.remove(&lost);
        self.tell("REMOVEFROM", &lost, uids, out);
        let mut updates: Vec<Update> = Vec::new();
        for message in added {
            let (at, uid) = self.members.insert(tx, &self.scene, message)?;
            match updates.last_mut().filter(|_| at == 0) {
                Some((_, all)) => *all = all.union(&uid),
                None => updates.push((at, uid)),
            }
        }
        self.tell("ADDTO", &updates, uids, out);
        Ok(came)
    }

    /// Appends `* ESEARCH (TAG "B01") UID ADDTO (0 32768:32769)`; nothing if nothing changed.
    fn tell(&self, verb: &str, updates: &[Update], uids: &UidSet, out: &mut Vec<u8>) {
        if updates.is_empty() {
            return;
        }
        out.extend_from_slice(b"* ESEARCH (TAG ");
        response::string(out, self.tag.as_bytes(), false);
        out.extend_from_slice(if self.by_uid { b") UID " } else { b") " });
        out.extend_from_slice(verb.as_bytes());
        out.extend_from_slice(b" (");
        for (at, members) in updates {
            response::number(out, *at);
            out.push(b' ');
            if self.by_uid {
                response::set(out, members);
            } else {
                let numbers = members.iter().filter_map(|uid| uids.rank(uid)).map(|number| Uid(number.0)).collect();
                response::set(out, &numbers);
            }
            out.push(b' ');
        }
        out.pop();
        out.extend_from_slice(b")\r\n");
    }
}

/// Appends `* NO [NOUPDATE "B02"] Too many contexts` (RFC 5267 §4.3.1).
pub(crate) fn refuse(tag: &str, why: &'static str, out: &mut Vec<u8>) {
    let mut code = b"NOUPDATE ".to_vec();
    response::string(&mut code, tag.as_bytes(), false);
    Status::no(String::from_utf8(code).unwrap_or_default(), why).write(out, "*");
}
