//! Who is told of a commit: sessions that watch an account, and the queue.
//!
//! A subscription carries only "the account is at this `ModSeq`"; what changed is read from the store.
//! A commit costs one look-up per changed account, however many subscriptions sleep.

use mail::{AccountId, ModSeq};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;

/// What a commit announces once it is durable.
#[derive(Debug, Clone, Default)]
pub(crate) struct News {
    pub(crate) accounts: BTreeMap<AccountId, ModSeq>,
    pub(crate) queue: bool,
}

impl News {
    /// Adds what a later commit of the same group announces.
    pub(crate) fn merge(&mut self, later: News) {
        self.accounts.extend(later.accounts);
        self.queue |= later.queue;
    }
}

/// All subscriptions.
#[derive(Debug)]
pub(crate) struct Feed {
    accounts: Mutex<HashMap<AccountId, watch::Sender<ModSeq>>>,
    queue: watch::Sender<u64>,
}

impl Feed {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { accounts: Mutex::default(), queue: watch::Sender::new(0) })
    }

    pub(crate) fn subscribe(self: &Arc<Self>, account: AccountId) -> Subscription {
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        let sender = accounts.entry(account).or_insert_with(|| watch::Sender::new(ModSeq(0)));
        Subscription { receiver: sender.subscribe(), account, feed: self.clone() }
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
        for (account, mod_seq) in &news.accounts {
            if let Some(sender) = accounts.get(account) {
                sender.send_replace(*mod_seq);
            }
        }
    }

    fn leave(&self, account: AccountId) {
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        if accounts.get(&account).is_some_and(|sender| sender.receiver_count() <= 1) {
            accounts.remove(&account);
        }
    }
}

/// Wakes when an account changes.
#[derive(Debug)]
pub struct Subscription {
    receiver: watch::Receiver<ModSeq>,
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
