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
mod acl;
mod alias;
pub mod auth;
mod backlog;
mod ban;
mod body;
mod change;
pub mod check;
mod commit;
mod detour;
pub mod disk;
mod dkim_key;
mod dmarc;
mod domain;
mod door;
mod draft;
mod email;
mod engine;
#[cfg(test)]
mod engine_tests;
mod error;
mod feed;
mod figures;
mod files;
#[doc(hidden)]
pub mod fuzz;
mod grams;
mod greeting;
mod hold;
mod index;
mod keeper;
mod key;
#[cfg(test)]
mod kill_tests;
mod lane;
mod lesson;
mod lock;
mod log;
mod mailbox;
mod message;
mod metadata;
mod migrate;
mod outbound;
mod outbox;
mod pop3;
mod queue;
mod quota;
mod reclaim;
mod record;
mod recover;
mod rejects;
mod reputation;
mod return_path;
mod roster;
pub mod schema;
mod secret;
mod settings;
mod spill;
mod suppression;
#[cfg(test)]
mod testing;
mod thread;
mod token;
mod trail;
mod transfer;
mod transport;
mod tx;
mod uid;

pub use account::{ACCOUNT_NAME_OCTETS_MAX, Account, NewAccount};
pub use acl::{GRANTS_MAX, Grant, Grantee, OTHERS, Share, is_shared_name, shared_name};
pub use alias::{ALIAS_DEPTH_MAX, DELIVERIES_MAX, Delivery, Resolution, TARGETS_MAX, Target};
pub use ban::{BANS_MAX, Ban, BanScope};
pub use body::{Blob, Body};
pub use change::{AnnotationChange, CHANGES_MAX, ListChanges, MailboxChanges, MailboxNews};
pub use check::check;
pub use detour::Detour;
pub use dkim_key::{DkimKey, DkimKeyState};
pub use dmarc::{DMARC_DOMAINS_MAX, DMARC_REPORTS_MAX, DMARC_ROWS_MAX, DmarcFigures, FAILURE_REPORTS_MAX};
pub use domain::DomainRecord;
pub use draft::Draft;
pub use email::{Added, DIGEST_OCTETS_MAX, Email, NewEmail, PLACES_MAX};
pub use error::{Class, Error, Result};
pub use feed::{QueueSubscription, Subscription};
pub use figures::{Figures, SYNC_MICROS};
pub use grams::{Reindexed, reindex};
pub use greeting::{GREETINGS_MAX, Greeting};
pub use hold::{HOLD_RULES_MAX, HoldRule, Suspension};
pub use index::{Direction, KeyRange};
pub use lane::{Part, RANKS, rank};
pub use lesson::{Acquaintance, BUCKETS_ACCOUNT, BUCKETS_SERVER, CORRESPONDENTS_MAX, LESSONS_MAX};
pub use log::{Damage, OpenError};
pub use mailbox::{
    DELIMITER, MAILBOX_DEPTH_MAX, MAILBOX_KEYWORDS_MAX, MAILBOX_NAME_OCTETS_MAX, MAILBOXES_MAX, Mailbox, SUBSCRIPTIONS_MAX, mailbox_name,
};
pub use message::{Expunged, FlagChange, FlagOutcome, Message};
pub use metadata::{ANNOTATION_OCTETS_MAX, ANNOTATIONS_MAX, Annotated, Annotating, ENTRY_OCTETS_MAX, EntryName};
pub use outbound::{HOURS_KEPT, Sending, SendingLimits, Traffic, hour};
pub use outbox::{HOLD_MAX, OutboxState, Outgoing};
pub use pop3::{POP3_FOLDERS_MAX, POP3_UIDL_OCTETS_MAX, Pop3Deletion, Pop3Message, Pop3Settings};
pub use queue::{Final, QueueMessage, QueueRecipient, RecipientState};
pub use quota::Quota;
pub use reclaim::Reclaimed;
pub use rejects::{KeptReject, NewReject, Reject, RejectsMax};
pub use secret::{RETURN_PATH_SECRET, SECRET_OCTETS};
pub use settings::Settings;
pub use suppression::{FOR_EVER, Suppression};
pub use token::{TOKENS_MAX, Token};
pub use trail::{RECEIPTS_MAX, REJECTIONS_MAX, RejectionsMax};
pub use transfer::Place;
pub use transport::{StsPolicy, TLS_REPORTS_MAX};
pub use tx::{ReadTx, WriteTx};

use disk::sim::SimDisk;
use engine::Engine;
use mail::AccountId;
use std::fmt;
use std::sync::Arc;

/// The store. Cheap to clone; all clones are the same store. When the last one is dropped, it closes.
#[derive(Clone)]
pub struct Store {
    engine: Arc<Engine>,
}

impl Store {
    /// Opens the store in `settings.data`, or begins one there, and takes the directory's lock.
    ///
    /// What the index does not know yet is read from the log; see [`OpenError`] for why it may fail.
    pub fn open(settings: &Settings) -> std::result::Result<Self, OpenError> {
        Ok(Self { engine: Arc::new(Engine::open(settings)?) })
    }

    /// A store in memory that does everything in place, on the caller's thread: for tests and `sim`.
    ///
    /// # Panics
    /// Never: an empty disk in memory has nothing on which opening it could fail.
    #[must_use]
    #[expect(clippy::panic, reason = "it cannot happen, see above")]
    pub fn memory() -> Self {
        match Self::simulated(&SimDisk::new(), &Settings::simulated()) {
            Ok(store) => store,
            Err(e) => panic!("an empty store in memory does not open: {e}"),
        }
    }

    /// A store on a simulated disk, in place, with an index in memory that is rebuilt at each open.
    pub fn simulated(disk: &SimDisk, settings: &Settings) -> std::result::Result<Self, OpenError> {
        Ok(Self { engine: Arc::new(Engine::simulated(disk, settings)?) })
    }

    /// Runs `f` on one state of the store.
    pub fn read<T: Send + 'static>(
        &self,
        f: impl FnOnce(&ReadTx) -> Result<T> + Send + 'static,
    ) -> impl Future<Output = Result<T>> + Send + 'static {
        let engine = self.engine.clone();
        async move { engine.read(f).await }
    }

    /// [`Store::read`] without a change of thread: for a handful of keys, or one stretch of a body.
    ///
    /// Such a read costs less than handing it to another thread would; the worst it can wait for is
    /// a page that is not in memory. What walks through a mailbox belongs in [`Store::read`].
    pub fn read_short<T>(&self, f: impl FnOnce(&ReadTx) -> Result<T>) -> Result<T> {
        self.engine.read_here(f)
    }

    /// Runs `f` and makes its changes durable; resolves after the synced commit.
    ///
    /// `f` can run more than once. When it returns an error, nothing is written. When the future is
    /// dropped before it resolves, the commit may or may not happen.
    pub fn write<T: Send + 'static>(
        &self,
        f: impl FnMut(&mut WriteTx) -> Result<T> + Send + 'static,
    ) -> impl Future<Output = Result<T>> + Send + 'static {
        let engine = self.engine.clone();
        async move { engine.write(f).await }
    }

    /// [`Store::write`] without waiting for the disk: resolves once the changes are ordered and visible. They are made
    /// durable with the next commit that somebody waits for, at no cost of their own, and when the store is closed.
    ///
    /// A power cut before that undoes them: for what is worth nothing after a restart. What adds a body, or is announced to the watchers of an account, is made durable all the same.
    pub fn write_early<T: Send + 'static>(
        &self,
        f: impl FnMut(&mut WriteTx) -> Result<T> + Send + 'static,
    ) -> impl Future<Output = Result<T>> + Send + 'static {
        let engine = self.engine.clone();
        async move { engine.write_early(f).await }
    }

    /// [`Store::read`] in the caller's thread: for the command line, tests, and whoever has a thread
    /// to wait in.
    pub fn read_blocking<T: Send + 'static>(&self, f: impl FnOnce(&ReadTx) -> Result<T> + Send + 'static) -> Result<T> {
        self.engine.read_here(f)
    }

    /// [`Store::write`], waiting in the caller's thread.
    pub fn write_blocking<T: Send + 'static>(&self, f: impl FnMut(&mut WriteTx) -> Result<T> + Send + 'static) -> Result<T> {
        self.engine.write_here(f)
    }

    /// A new body in the making.
    #[must_use]
    pub fn draft(&self) -> Draft {
        self.engine.draft()
    }

    /// Tells when an account changes.
    #[must_use]
    pub fn subscribe(&self, account: AccountId) -> Subscription {
        self.engine.shared().feed.subscribe(account)
    }

    /// Tells when queue entries are added or changed.
    #[must_use]
    pub fn subscribe_queue(&self) -> QueueSubscription {
        self.engine.shared().feed.subscribe_queue()
    }

    /// What the engine counts, and how large everything is.
    pub fn figures(&self) -> Result<Figures> {
        self.engine.figures()
    }

    /// Resolves with the reason when the store had to stop: a sync failed, so that nothing may be
    /// acknowledged any more. The process should end; what was acknowledged is safe.
    pub fn stopped(&self) -> impl Future<Output = String> + Send + 'static {
        let mut stopped = self.engine.shared().stopped.subscribe();
        async move {
            let why = stopped.wait_for(Option::is_some).await.ok().and_then(|why| why.clone());
            match why {
                Some(why) => why,
                None => std::future::pending().await,
            }
        }
    }

    /// Looks for space to reclaim and reclaims it, now and in this thread. An open store does so by
    /// itself now and then.
    pub fn reclaim(&self) -> Result<Reclaimed> {
        self.engine.reclaim()
    }

    /// Reads every record of the closed segments of the log: what is not as it was written.
    pub fn verify_log(&self) -> Result<Vec<Damage>> {
        self.engine.verify_log()
    }

    /// Closes the store: what waits is finished, the index is made durable, the threads end. Later
    /// calls get [`Error::Closed`].
    pub fn close(self) {
        self.engine.close();
    }
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
            tx.scan(Space::Meta, &KeyRange::new(b"a", b"d"), Direction::Back, |key, _| {
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
