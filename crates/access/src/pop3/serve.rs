//! Answers a session's questions from the store, and keeps the maildrop's lock.
//!
//! Not the protocol: what the client reads is the session's business.
//!
//! Invariants
//! - A maildrop is open in at most one POP3 session of the process; every end of the session gives
//!   it back, because the lock is a value that the handler owns. IMAP may work on the same mailbox.
//! - What QUIT removes is removed in one commit, or not at all.

use super::maildrop::{Entry, Maildrop};
use super::session::{Answer, Ask, Session};
use mail::{AccountId, BlobHash, MailboxId, Role, Uid, UidSet, UidValidity};
use std::collections::{HashSet, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use store::auth::Authenticator;
use store::{Error, ReadTx, Result, Store};
use wire::Handler;

/// Messages listed in one step.
const BATCH: usize = 1000;
/// Messages read ahead of a client that fetches one after the other. Our own bound.
const AHEAD_MESSAGES_MAX: usize = 32;
/// Octets read ahead. Our own bound; one read of the store instead of dozens.
const AHEAD_OCTETS_MAX: usize = 256 * 1024;
/// The last Uid there can be.
const UID_MAX: Uid = Uid(u32::MAX);

/// The maildrops that are open in this process. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Maildrops(Arc<Mutex<HashSet<AccountId>>>);

impl Maildrops {
    /// None is open.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many are open.
    pub fn open(&self) -> usize {
        self.accounts().len()
    }

    fn lock(&self, account: AccountId) -> Option<Lock> {
        let locked = self.accounts().insert(account);
        locked.then(|| Lock { maildrops: self.clone(), account })
    }

    fn accounts(&self) -> MutexGuard<'_, HashSet<AccountId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An open maildrop; closed when dropped.
#[derive(Debug)]
struct Lock {
    maildrops: Maildrops,
    account: AccountId,
}

impl Drop for Lock {
    fn drop(&mut self) {
        self.maildrops.accounts().remove(&self.account);
    }
}

/// Answers one session.
pub struct Server {
    store: Store,
    authenticator: Authenticator,
    maildrops: Maildrops,
    peer: Option<IpAddr>,
    open: Option<Open>,
}

/// What is open.
struct Open {
    lock: Lock,
    mailbox: MailboxId,
    /// The message that was asked for last.
    current: Option<(Uid, BlobHash)>,
    /// Whole messages behind it, in order.
    ahead: VecDeque<(Uid, Vec<u8>)>,
}

/// A message and those that were read with it.
struct ReadAhead {
    blob: BlobHash,
    octets: Vec<u8>,
    ahead: VecDeque<(Uid, Vec<u8>)>,
}

impl Server {
    /// Answers a session of the client at `peer`.
    pub fn new(store: Store, authenticator: Authenticator, maildrops: Maildrops, peer: Option<IpAddr>) -> Self {
        Self { store, authenticator, maildrops, peer, open: None }
    }

    async fn open(&mut self, account: AccountId, messages_max: usize) -> Answer {
        let Some(lock) = self.maildrops.lock(account) else { return Answer::InUse };
        match self.store.read(move |tx| list(tx, account, messages_max)).await {
            Ok((mailbox, maildrop)) => {
                self.open = Some(Open { lock, mailbox, current: None, ahead: VecDeque::new() });
                Answer::Maildrop(maildrop)
            }
            Err(error) => failed("opening the maildrop", &error),
        }
    }

    async fn read(&mut self, uid: Uid, offset: u64, octets_max: usize) -> Answer {
        let Some(open) = &mut self.open else { return Answer::Failed };
        if let Some(octets) = open.read_already(uid, offset, octets_max) {
            return Answer::Chunk(octets);
        }
        let (account, mailbox) = (open.lock.account, open.mailbox);
        let read = match open.current {
            Some((current, blob)) if current == uid => self.store.read_short(|tx| tx.blob_read(&blob, offset, octets_max)).map(Some),
            last => {
                let in_turn = last.is_some_and(|(last, _)| last < uid);
                let read = self.store.read(move |tx| read_ahead(tx, (account, mailbox), uid, (offset, octets_max), in_turn)).await;
                read.map(|found| found.map(|found| open.went_ahead(uid, found)))
            }
        };
        match read {
            Ok(Some(octets)) => Answer::Chunk(octets),
            Ok(None) | Err(Error::NotFound(_)) => Answer::Gone,
            Err(error) => failed("reading a message", &error),
        }
    }

    /// Removes what was deleted; the maildrop is free afterwards, whatever came of it.
    async fn close(&mut self, remove: UidSet) -> Answer {
        let Some(Open { lock, mailbox, .. }) = self.open.take() else { return Answer::Failed };
        if remove.is_empty() {
            return Answer::Closed;
        }
        let account = lock.account;
        let removed = self.store.write(move |tx| tx.messages_destroy(account, mailbox, &remove).map(drop)).await;
        removed.map_or_else(|error| failed("removing messages", &error), |()| Answer::Closed)
    }
}

impl Handler<Session> for Server {
    async fn answer(&mut self, ask: Ask) -> Answer {
        match ask {
            Ask::Auth(ask) => Answer::Auth(self.authenticator.answer(ask, self.peer).await),
            Ask::Open { account, messages_max } => self.open(account, messages_max).await,
            Ask::Read { uid, offset, octets_max } => self.read(uid, offset, octets_max).await,
            Ask::Close { remove } => self.close(remove).await,
        }
    }
}

impl Open {
    /// Octets of a message that was read ahead; what lies before it is given back.
    fn read_already(&mut self, uid: Uid, offset: u64, octets_max: usize) -> Option<Vec<u8>> {
        while self.ahead.front().is_some_and(|(ahead, _)| *ahead < uid) {
            self.ahead.pop_front();
        }
        let (_, octets) = self.ahead.front().filter(|(ahead, _)| *ahead == uid)?;
        let rest = octets.get(usize::try_from(offset).ok()?..)?;
        Some(rest.get(..octets_max).unwrap_or(rest).to_vec())
    }

    fn went_ahead(&mut self, uid: Uid, found: ReadAhead) -> Vec<u8> {
        self.current = Some((uid, found.blob));
        self.ahead = found.ahead;
        found.octets
    }
}

fn failed(what: &str, error: &Error) -> Answer {
    tracing::warn!(%error, "POP3: {what} failed");
    Answer::Failed
}

/// INBOX and its oldest messages.
fn list(tx: &ReadTx, account: AccountId, messages_max: usize) -> Result<(MailboxId, Maildrop)> {
    let inbox = tx.mailbox_by_role(account, Role::Inbox)?.ok_or_else(|| Error::NotFound("INBOX".into()))?;
    let mut entries: Vec<Entry> = Vec::new();
    let mut from = Uid(1);
    while entries.len() < messages_max {
        let batch = tx.messages(account, inbox.id, from, UID_MAX, BATCH.min(messages_max - entries.len()))?;
        let Some(last) = batch.last() else { break };
        from = last.uid.next();
        entries.extend(batch.iter().map(|message| Entry::new(message.uid, message.octets)));
    }
    Ok((inbox.id, Maildrop::new(UidValidity(inbox.uid_validity.0), entries)))
}

/// Octets of a message; `None`: it is gone. If the client takes one message after the other, small
/// ones that follow are read in the same step.
fn read_ahead(
    tx: &ReadTx,
    (account, mailbox): (AccountId, MailboxId),
    uid: Uid,
    (offset, octets_max): (u64, usize),
    in_turn: bool,
) -> Result<Option<ReadAhead>> {
    let messages_max = if in_turn { 1 + AHEAD_MESSAGES_MAX } else { 1 };
    let mut messages = tx.messages(account, mailbox, uid, UID_MAX, messages_max)?.into_iter();
    let Some(first) = messages.next().filter(|first| first.uid == uid) else { return Ok(None) };
    let octets = tx.blob_read(&first.blob, offset, octets_max)?;
    let mut ahead = VecDeque::new();
    let mut left = AHEAD_OCTETS_MAX;
    for message in messages {
        let wanted = usize::try_from(message.octets).unwrap_or(usize::MAX);
        let Some(rest) = left.checked_sub(wanted) else { break };
        left = rest;
        // What cannot be read is told when it is asked for.
        let Ok(octets) = tx.blob_read(&message.blob, 0, wanted) else { break };
        ahead.push_back((message.uid, octets));
    }
    Ok(Some(ReadAhead { blob: first.blob, octets, ahead }))
}
