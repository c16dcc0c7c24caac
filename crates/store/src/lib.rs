//! Everything that survives a restart, and who may log in.
//!
//! The engine is a log of commits that is the truth, and an index that can be rebuilt from it; the
//! nouns of mail stand on its transactions. See `docs/design` for why.
//!
//! What this crate is not: it knows no protocol, no socket and no async runtime; its futures can be
//! awaited on any. Time is a parameter.
//!
//! Invariants
//! - A write resolves only after the commit is on disk.
//! - No crate above knows which engine is below.

#![expect(clippy::missing_errors_doc, reason = "one error type, documented variant by variant in `error`")]

mod account;
mod alias;
pub mod auth;
mod body;
mod change;
pub mod check;
mod commit;
mod domain;
mod draft;
mod email;
mod error;
mod feed;
mod index;
mod key;
mod mailbox;
mod message;
mod queue;
mod quota;
mod record;
pub mod schema;
mod settings;
#[cfg(test)]
mod testing;
mod thread;
mod trail;
mod tx;
mod uid;

pub use account::{ACCOUNT_NAME_OCTETS_MAX, Account, NewAccount};
pub use alias::{ALIAS_DEPTH_MAX, DELIVERIES_MAX, Delivery, Resolution, TARGETS_MAX, Target};
pub use body::{Blob, Body};
pub use change::{CHANGES_MAX, ListChanges, MailboxChanges};
pub use check::check;
pub use domain::DomainRecord;
pub use draft::Draft;
pub use email::{Added, DIGEST_OCTETS_MAX, Email, NewEmail, PLACES_MAX};
pub use error::{Class, Error, Result};
pub use feed::{QueueSubscription, Subscription};
pub use index::{Direction, KeyRange};
pub use mailbox::{
    DELIMITER, MAILBOX_DEPTH_MAX, MAILBOX_KEYWORDS_MAX, MAILBOX_NAME_OCTETS_MAX, MAILBOXES_MAX, Mailbox, SUBSCRIPTIONS_MAX, mailbox_name,
};
pub use message::{Expunged, FlagChange, FlagOutcome, Message};
pub use queue::{Final, QueueMessage, QueueRecipient, RecipientState};
pub use quota::Quota;
pub use settings::Settings;
pub use trail::RECEIPTS_MAX;
pub use tx::{ReadTx, WriteTx};

use commit::Shared;
use mail::AccountId;
use std::fmt;
use std::sync::Arc;

/// The store. Cheap to clone; all clones are the same store.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
}

impl Store {
    /// A store in memory that does everything in place, on the caller's thread: for tests and `sim`.
    #[must_use]
    pub fn memory() -> Self {
        Self { shared: Shared::memory() }
    }

    /// Runs `f` on one state of the store.
    pub fn read<T: Send + 'static>(
        &self,
        f: impl FnOnce(&ReadTx) -> Result<T> + Send + 'static,
    ) -> impl Future<Output = Result<T>> + Send + 'static {
        let shared = self.shared.clone();
        async move { shared.read(f) }
    }

    /// Runs `f` and makes its changes durable; resolves after the synced commit.
    ///
    /// `f` can run more than once. When it returns an error, nothing is written. When the future is
    /// dropped before it resolves, the commit may or may not happen.
    pub fn write<T: Send + 'static>(
        &self,
        f: impl FnMut(&mut WriteTx) -> Result<T> + Send + 'static,
    ) -> impl Future<Output = Result<T>> + Send + 'static {
        let shared = self.shared.clone();
        async move { shared.write(f) }
    }

    /// [`Store::read`] for callers without async: the command line, tests.
    pub fn read_blocking<T: Send + 'static>(&self, f: impl FnOnce(&ReadTx) -> Result<T> + Send + 'static) -> Result<T> {
        self.shared.read(f)
    }

    /// [`Store::write`] for callers without async: the command line, tests.
    pub fn write_blocking<T: Send + 'static>(&self, f: impl FnMut(&mut WriteTx) -> Result<T> + Send + 'static) -> Result<T> {
        self.shared.write(f)
    }

    /// A new body in the making.
    #[must_use]
    pub fn draft(&self) -> Draft {
        Draft::new()
    }

    /// Tells when an account changes.
    #[must_use]
    pub fn subscribe(&self, account: AccountId) -> Subscription {
        self.shared.feed.subscribe(account)
    }

    /// Tells when queue entries are added or changed.
    #[must_use]
    pub fn subscribe_queue(&self) -> QueueSubscription {
        self.shared.feed.subscribe_queue()
    }

    /// Closes the store: what runs is finished, the index is made durable. Later calls get
    /// [`Error::Closed`].
    pub fn close(self) {}
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ops::ControlFlow;

    #[test]
    fn writes_are_read_back_and_failed_ones_leave_no_trace() {
        let store = Store::memory();
        let body = Body::new(b"Subject: x\r\n\r\nhello");
        let hash = body.hash();
        store
            .write_blocking(move |tx| {
                tx.put(Space::Meta, b"a", b"1".to_vec());
                tx.put(Space::Meta, b"c", b"3".to_vec());
                tx.blob_put(&body)?;
                assert_eq!(tx.blob_read(&body.hash(), 9, 4)?, b"x\r\n\r"[..4].to_vec().as_slice());
                Ok(())
            })
            .unwrap();
        let failed = store.write_blocking(move |tx| {
            tx.put(Space::Meta, b"b", b"2".to_vec());
            tx.delete(Space::Meta, b"a");
            tx.blob_release(&hash)?;
            let mut seen = Vec::new();
            tx.scan(Space::Meta, &KeyRange::all(), Direction::Back, |key, _| {
                seen.push(key.to_vec());
                ControlFlow::Continue(())
            })?;
            assert_eq!(seen, [b"c", b"b"]);
            Err::<(), _>(Error::Full)
        });
        assert!(matches!(failed, Err(Error::Full)));
        let (a, b, blob, text) = store
            .read_blocking(move |tx| {
                Ok((tx.get(Space::Meta, b"a")?, tx.get(Space::Meta, b"b")?, tx.blob(&hash)?, tx.blob_read(&hash, 14, 100)?))
            })
            .unwrap();
        assert_eq!((a.as_deref(), b), (Some(&b"1"[..]), None));
        assert_eq!((blob, text.as_slice()), (Some(Blob { octets: 19, references: 1 }), &b"hello"[..]));
    }

    use schema::Space;
}
