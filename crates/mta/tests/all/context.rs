//! The receiving side of a server over a store, at a time that stands still and without DNS; what a test wants otherwise it
//! says beside it.

use mail::event::Source;
use mail::{AccountId, Event, ReversePath, Timestamp, TrailEntry};
use mta::receive::{Context, KeyRing};
use mta::{Counters, Settings};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Instant;
use store::auth::Authenticator;
use store::{Store, WriteTx};

pub(super) const NOW: Timestamp = Timestamp::from_seconds(1_700_000_000);

struct FixedClock(Instant);

impl net::Clock for FixedClock {
    fn now(&self) -> Instant {
        self.0
    }
    fn wall(&self) -> Timestamp {
        NOW
    }
}

pub(super) fn of(store: &Store, settings: Settings) -> Context {
    Context {
        authenticator: Authenticator::in_place(store.clone()),
        store: store.clone(),
        settings: Arc::new(settings),
        clock: Arc::new(FixedClock(Instant::now())),
        counters: Arc::new(Counters::default()),
        seed: 7,
        dns: None,
        call_ahead: None,
        keys: KeyRing::default(),
        urge: mta::queue::Urge::default(),
        messages: AtomicU64::new(0),
    }
}

/// An account has sent a message with this Message-ID.
pub(super) fn has_sent(tx: &mut WriteTx, account: AccountId, message_id: &str, at: Timestamp) -> store::Result<()> {
    let event = Event::Accepted {
        source: Source::Submission,
        peer: None,
        helo: String::new(),
        tls: None,
        account: Some(account),
        reverse_path: ReversePath(None),
        message_id: Some(message_id.to_owned()),
        octets: 1,
    };
    let receipt = tx.receipt_next(at)?;
    tx.trail_append(receipt, &[TrailEntry { at, event }])
}
