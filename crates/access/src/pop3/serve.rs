//! Answers a session's questions from the store, and keeps the maildrop's lock.
//!
//! Not the protocol: what the client reads is the session's business.
//!
//! Invariants
//! - A maildrop is open in at most one POP3 session of the process, unless the config lets several in; every end
//!   of the session gives it back, because the lock is a value that the handler owns. IMAP may work on the same
//!   mailboxes.
//! - What QUIT removes is removed in one commit, or not at all.

use super::limits::Config;
use super::maildrop::{Maildrop, Source};
use super::session::{Answer, Ask, Marked, Session};
use mail::{AccountId, BlobHash, MailboxId, Role, Timestamp, Uid, UidSet, UidValidity};
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use store::auth::{Authenticator, SignIn};
use store::{Error, Pop3Deletion, Pop3Message, Pop3Settings, ReadTx, Result, Store, WriteTx};
use wire::Handler;

/// Messages listed in one step.
const BATCH: usize = 1000;
/// Messages read ahead of a client that fetches one after the other. Our own bound.
const AHEAD_MESSAGES_MAX: usize = 32;
/// Octets read ahead. Our own bound; one read of the store instead of dozens.
const AHEAD_OCTETS_MAX: usize = 256 * 1024;
/// The last Uid there can be.
const UID_MAX: Uid = Uid(u32::MAX);

/// Most accounts whose last login is remembered; then those whose wait is over are forgotten. Our own bound.
const LOGINS_MAX: usize = 10_000;

/// The maildrops that are open in this process, and who came lately. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Maildrops(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// How many sessions have each.
    open: HashMap<AccountId, usize>,
    /// The last logins, where there must be time between them.
    logins: HashMap<AccountId, Timestamp>,
}

impl Maildrops {
    /// None is open.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many are open.
    pub fn open(&self) -> usize {
        self.state().open.len()
    }

    /// The lock of an account's maildrop, or why not.
    fn lock(&self, account: AccountId, config: &Config, now: Timestamp) -> std::result::Result<Lock, Answer> {
        let mut state = self.state();
        let wait_over = |last: &Timestamp| now < *last || now.since(*last) >= config.login_delay;
        if !state.logins.get(&account).is_none_or(wait_over) {
            return Err(Answer::TooSoon);
        }
        let sessions = state.open.entry(account).or_default();
        if config.exclusive && *sessions > 0 {
            return Err(Answer::InUse);
        }
        *sessions += 1;
        if !config.login_delay.is_zero() {
            if state.logins.len() >= LOGINS_MAX {
                state.logins.retain(|_, last| !wait_over(last));
            }
            state.logins.insert(account, now);
        }
        Ok(Lock { maildrops: self.clone(), account })
    }

    fn state(&self) -> MutexGuard<'_, State> {
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
        if let Entry::Occupied(mut open) = self.maildrops.state().open.entry(self.account) {
            *open.get_mut() -= 1;
            if *open.get() == 0 {
                open.remove();
            }
        }
    }
}

/// What the time is.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Answers one session.
pub struct Server {
    store: Store,
    sign_in: SignIn,
    maildrops: Maildrops,
    config: Arc<Config>,
    clock: Clock,
    open: Option<Open>,
}

/// What is open.
struct Open {
    lock: Lock,
    settings: Pop3Settings,
    /// The message that was asked for last.
    current: Option<(MailboxId, Uid, BlobHash)>,
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
    /// Answers a session of the client at `peer`, which has the same config.
    pub fn new(
        store: Store,
        authenticator: Authenticator,
        maildrops: Maildrops,
        peer: Option<IpAddr>,
        config: Arc<Config>,
        clock: Clock,
    ) -> Self {
        Self { store, sign_in: SignIn::new(authenticator, peer), maildrops, config, clock, open: None }
    }

    async fn open(&mut self, account: AccountId, messages_max: usize) -> Answer {
        let now = (self.clock)();
        let lock = match self.maildrops.lock(account, &self.config, now) {
            Ok(lock) => lock,
            Err(answer) => return answer,
        };
        let config = Arc::clone(&self.config);
        match self.store.read(move |tx| list(tx, account, messages_max, &config, now)).await {
            Ok((settings, maildrop)) => {
                self.open = Some(Open { lock, settings, current: None, ahead: VecDeque::new() });
                Answer::Maildrop(maildrop)
            }
            Err(error) => failed("opening the maildrop", &error),
        }
    }

    async fn read(&mut self, mailbox: MailboxId, uid: Uid, offset: u64, octets_max: usize) -> Answer {
        let Some(open) = &mut self.open else { return Answer::Failed };
        if open.current.is_some_and(|(current, ..)| current != mailbox) {
            (open.current, open.ahead) = (None, VecDeque::new());
        }
        if let Some(octets) = open.read_already(uid, offset, octets_max) {
            return Answer::Chunk(octets);
        }
        let account = open.lock.account;
        let read = match open.current {
            Some((_, current, blob)) if current == uid => self.store.read_short(|tx| tx.blob_read(&blob, offset, octets_max)).map(Some),
            last => {
                let in_turn = last.is_some_and(|(_, last, _)| last < uid);
                let read = self.store.read(move |tx| read_ahead(tx, (account, mailbox), uid, (offset, octets_max), in_turn)).await;
                read.map(|found| found.map(|found| open.went_ahead(mailbox, uid, found)))
            }
        };
        match read {
            Ok(Some(octets)) => Answer::Chunk(octets),
            Ok(None) | Err(Error::NotFound(_)) => Answer::Gone,
            Err(error) => failed("reading a message", &error),
        }
    }

    /// Deletes what was deleted and what has expired; the maildrop is free afterwards, whatever came of it.
    async fn close(&mut self, deleted: Marked, retrieved: Marked) -> Answer {
        let Some(Open { lock, settings, .. }) = self.open.take() else { return Answer::Failed };
        let expire_days = self.config.expire_days;
        if deleted.is_empty() && expire_days.is_none() {
            return Answer::Closed;
        }
        let (account, now) = (lock.account, (self.clock)());
        let closed = self.store.write(move |tx| {
            tx.happens_at(now);
            for (mailbox, uids) in &deleted {
                delete(tx, account, *mailbox, uids, settings.deletion, now)?;
            }
            match expire_days {
                Some(days) => expire(tx, account, &settings, &retrieved, days, now),
                None => Ok(()),
            }
        });
        closed.await.map_or_else(|error| failed("removing messages", &error), |()| Answer::Closed)
    }
}

impl Handler<Session> for Server {
    async fn answer(&mut self, ask: Ask) -> Answer {
        match ask {
            Ask::Auth(ask) => Answer::Auth(self.sign_in.answer(ask).await),
            Ask::Open { account, messages_max } => {
                self.sign_in.entered();
                self.open(account, messages_max).await
            }
            Ask::Read { mailbox, uid, offset, octets_max } => self.read(mailbox, uid, offset, octets_max).await,
            Ask::Close { deleted, retrieved } => self.close(deleted, retrieved).await,
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

    fn went_ahead(&mut self, mailbox: MailboxId, uid: Uid, found: ReadAhead) -> Vec<u8> {
        self.current = Some((mailbox, uid, found.blob));
        self.ahead = found.ahead;
        found.octets
    }
}

fn failed(what: &str, error: &Error) -> Answer {
    tracing::warn!(%error, "POP3: {what} failed");
    Answer::Failed
}

/// How the owner wants it, and the oldest messages of the mailboxes that are wanted.
fn list(tx: &ReadTx, account: AccountId, messages_max: usize, config: &Config, now: Timestamp) -> Result<(Pop3Settings, Maildrop)> {
    let settings = tx.pop3_settings(account)?;
    // A form that this version does not know is no reason to keep people from their mail.
    let format = settings.uidl_format.as_deref().and_then(|format| format.parse().ok()).unwrap_or_else(|| config.uidl_format.clone());
    let (mut sources, mut entries, mut uidls) = (Vec::new(), Vec::new(), BTreeMap::new());
    for mailbox in mailboxes(tx, account, &settings)? {
        let source = u16::try_from(sources.len()).unwrap_or(u16::MAX);
        sources.push(Source { mailbox: mailbox.id, uid_validity: UidValidity(mailbox.uid_validity.0) });
        let known = tx.pop3_messages(account, mailbox.id)?;
        let mut from = Uid(1);
        while entries.len() < messages_max {
            let batch = tx.messages(account, mailbox.id, from, UID_MAX, BATCH.min(messages_max - entries.len()))?;
            let Some(last) = batch.last() else { break };
            from = last.uid.next();
            for message in &batch {
                let known = known.get(&message.uid);
                if !is_shown(&settings, message.saved, known, now) {
                    continue;
                }
                if let Some(uidl) = known.and_then(|known| known.uidl.clone()) {
                    uidls.insert(entries.len(), uidl);
                }
                entries.push(super::Entry { source, ..super::Entry::new(message.uid, message.octets) });
            }
        }
    }
    Ok((settings, Maildrop::new(sources, entries, format, uidls)))
}

/// INBOX, or the chosen mailboxes; those that are not there any more are left out.
fn mailboxes(tx: &ReadTx, account: AccountId, settings: &Pop3Settings) -> Result<Vec<store::Mailbox>> {
    if settings.folders.is_empty() {
        let inbox = tx.mailbox_by_role(account, Role::Inbox)?.ok_or_else(|| Error::NotFound("INBOX".into()))?;
        return Ok(vec![inbox]);
    }
    let mut found: Vec<store::Mailbox> = Vec::new();
    for name in &settings.folders {
        let mailbox = tx.mailbox_by_name(account, name)?;
        found.extend(mailbox.filter(|mailbox| found.iter().all(|other| other.id != mailbox.id)));
    }
    Ok(found)
}

/// Recent mode shows what came lately, whatever other clients have done with it.
fn is_shown(settings: &Pop3Settings, saved: Timestamp, known: Option<&Pop3Message>, now: Timestamp) -> bool {
    match settings.recent_days {
        Some(days) => now.since(saved) <= span_of_days(days),
        None => !known.is_some_and(|known| known.hidden),
    }
}

fn span_of_days(days: u32) -> Duration {
    Duration::from_secs(u64::from(days) * 86_400)
}

/// Does with deleted messages as the owner wants it.
fn delete(tx: &mut WriteTx, account: AccountId, mailbox: MailboxId, uids: &UidSet, deletion: Pop3Deletion, now: Timestamp) -> Result<()> {
    match deletion {
        Pop3Deletion::Remove => tx.messages_destroy(account, mailbox, uids).map(drop),
        Pop3Deletion::Trash => match tx.mailbox_by_role(account, Role::Trash)?.filter(|trash| trash.id != mailbox) {
            Some(trash) => {
                tx.email_copy(account, mailbox, uids, trash.id, now)?;
                tx.messages_destroy(account, mailbox, uids).map(drop)
            }
            None => tx.messages_destroy(account, mailbox, uids).map(drop),
        },
        Pop3Deletion::Hide => remember(tx, account, mailbox, uids, |known| known.hidden = true),
    }
}

/// Changes what is known of messages; those that others have removed are left out.
fn remember(tx: &mut WriteTx, account: AccountId, mailbox: MailboxId, uids: &UidSet, change: impl Fn(&mut Pop3Message)) -> Result<()> {
    let mut known = tx.pop3_messages(account, mailbox)?;
    for uid in uids.iter() {
        let mut message = known.remove(&uid).unwrap_or_default();
        let before = message.clone();
        change(&mut message);
        if message == before {
            continue;
        }
        match tx.pop3_message_set(account, mailbox, uid, &message) {
            Ok(()) | Err(Error::NotFound(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Notes what was fetched, and removes what was fetched so many days ago.
fn expire(tx: &mut WriteTx, account: AccountId, settings: &Pop3Settings, retrieved: &Marked, days: u32, now: Timestamp) -> Result<()> {
    for (mailbox, uids) in retrieved {
        remember(tx, account, *mailbox, uids, |known| known.retrieved = known.retrieved.or(Some(now)))?;
    }
    for mailbox in mailboxes(tx, account, settings)? {
        let known = tx.pop3_messages(account, mailbox.id)?;
        let is_over = |known: &Pop3Message| !known.hidden && known.retrieved.is_some_and(|at| now.since(at) >= span_of_days(days));
        let over: UidSet = known.iter().filter(|(_, known)| is_over(known)).map(|(uid, _)| *uid).collect();
        if !over.is_empty() {
            delete(tx, account, mailbox.id, &over, settings.deletion, now)?;
        }
    }
    Ok(())
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
