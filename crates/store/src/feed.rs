//! Who is told of a commit: sessions that watch an account, and the queue.
//!
//! A subscription carries only "the account is at this `ModSeq`", and in which mailboxes something changed of
//! late; what changed is read from the store. A commit costs one look-up per changed account, however many
//! subscriptions sleep and however many mailboxes there are.

use mail::{AccountId, MailboxId, ModSeq};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;

/// What a commit announces once it is durable.
#[derive(Debug, Clone, Default)]
pub(crate) struct News {
    pub(crate) accounts: BTreeMap<AccountId, ModSeq>,
    /// In which mailboxes messages came, went or changed, in order of ModSeq.
    pub(crate) mailboxes: Vec<(AccountId, ModSeq, MailboxId)>,
    pub(crate) queue: bool,
}

/// Changes of mailboxes that are remembered for each account that is watched. Our own bound: 4 KB.
const RECENT_MAX: usize = 256;

/// An account that somebody watches.
#[derive(Debug)]
struct Watched {
    sender: watch::Sender<ModSeq>,
    recent: Mutex<Recent>,
}

/// In which mailboxes something changed of late.
#[derive(Debug, Default)]
struct Recent {
    changes: VecDeque<(ModSeq, MailboxId)>,
    /// What changed up to here is forgotten.
    floor: ModSeq,
}

impl Recent {
    fn note(&mut self, mod_seq: ModSeq, mailbox: MailboxId) {
        self.changes.push_back((mod_seq, mailbox));
        if self.changes.len() > RECENT_MAX
            && let Some((forgotten, _)) = self.changes.pop_front()
        {
            self.floor = forgotten;
        }
    }

    fn since(&self, since: ModSeq) -> Option<Vec<MailboxId>> {
        if since < self.floor {
            return None;
        }
        let mut mailboxes: Vec<_> = self.changes.iter().filter(|(mod_seq, _)| *mod_seq > since).map(|(_, mailbox)| *mailbox).collect();
        mailboxes.sort_unstable();
        mailboxes.dedup();
        Some(mailboxes)
    }
}

impl News {
    /// Adds what a later commit of the same group announces.
    pub(crate) fn merge(&mut self, later: News) {
        self.accounts.extend(later.accounts);
        self.mailboxes.extend(later.mailboxes);
        self.queue |= later.queue;
    }
}

/// All subscriptions.
#[derive(Debug)]
pub(crate) struct Feed {
    accounts: Mutex<HashMap<AccountId, Arc<Watched>>>,
    queue: watch::Sender<u64>,
}

impl Feed {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { accounts: Mutex::default(), queue: watch::Sender::new(0) })
    }

    pub(crate) fn subscribe(self: &Arc<Self>, account: AccountId) -> Subscription {
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || Arc::new(Watched { sender: watch::Sender::new(ModSeq(0)), recent: Mutex::default() });
        let watched = accounts.entry(account).or_insert_with(new).clone();
        Subscription { receiver: watched.sender.subscribe(), watched, account, feed: self.clone() }
    }

    pub(crate) fn subscribe_queue(&self) -> QueueSubscription {
        QueueSubscription { receiver: self.queue.subscribe() }
    }

    pub(crate) fn publish(&self, news: &News) {
        if news.queue {
            self.queue.send_modify(|count| *count = count.wrapping_add(1));
        }
        if news.accounts.is_empty() {
            return;
        }
        let accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        for (account, mod_seq, mailbox) in &news.mailboxes {
            if let Some(watched) = accounts.get(account) {
                watched.recent.lock().unwrap_or_else(PoisonError::into_inner).note(*mod_seq, *mailbox);
            }
        }
        for (account, mod_seq) in &news.accounts {
            if let Some(watched) = accounts.get(account) {
                watched.sender.send_replace(*mod_seq);
            }
        }
    }

    fn leave(&self, account: AccountId) {
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        if accounts.get(&account).is_some_and(|watched| watched.sender.receiver_count() <= 1) {
            accounts.remove(&account);
        }
    }
}

/// Wakes when an account changes.
#[derive(Debug)]
pub struct Subscription {
    receiver: watch::Receiver<ModSeq>,
    watched: Arc<Watched>,
    account: AccountId,
    feed: Arc<Feed>,
}

impl Subscription {
    /// Resolves once the account has changed since the last call (or since subscribing), with the
    /// `ModSeq` it is at. Several changes may be told as one. Cancel-safe; needs no runtime.
    pub async fn changed(&mut self) -> ModSeq {
        if self.receiver.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
        *self.receiver.borrow_and_update()
    }

    /// In which mailboxes messages came, went or changed after `since`, each once; `None` if that is too long ago.
    ///
    /// `since` is a `ModSeq` that was read after subscribing.
    #[must_use]
    pub fn mailboxes_since(&self, since: ModSeq) -> Option<Vec<MailboxId>> {
        self.watched.recent.lock().unwrap_or_else(PoisonError::into_inner).since(since)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.feed.leave(self.account);
    }
}

/// Wakes when queue entries were added or changed.
#[derive(Debug)]
pub struct QueueSubscription {
    receiver: watch::Receiver<u64>,
}

impl QueueSubscription {
    /// Resolves once the queue has changed since the last call (or since subscribing). Cancel-safe.
    pub async fn changed(&mut self) {
        if self.receiver.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mailboxes_that_changed_are_remembered_for_a_while() {
        let mut recent = Recent::default();
        for (mod_seq, mailbox) in [(5, 1), (6, 2), (6, 3), (7, 1)] {
            recent.note(ModSeq(mod_seq), MailboxId(mailbox));
        }
        let since = |recent: &Recent, since| recent.since(ModSeq(since)).map(|found| found.iter().map(|id| id.0).collect::<Vec<_>>());
        assert_eq!(since(&recent, 4), Some(vec![1, 2, 3]));
        assert_eq!(since(&recent, 6), Some(vec![1]));
        assert_eq!(since(&recent, 7), Some(vec![]));
        (0..256).for_each(|n| recent.note(ModSeq(8 + n), MailboxId(9)));
        assert_eq!(since(&recent, 6), None);
        assert_eq!(since(&recent, 7), Some(vec![9]));
    }
}
