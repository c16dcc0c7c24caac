//! Forgets trails that are older than they are to be kept, refused mail likewise, what sending mail left behind, and bans that
//! are long over: soon after the start, then once an hour.
//!
//! Not what is forgotten: the store knows which trails are old and which belong to queued messages.
//!
//! Invariant: it writes in short transactions with pauses between them, so that mail never waits for it.

use mail::{ReceiptId, Timestamp};
use net::Clock;
use std::sync::Arc;
use std::time::Duration;
use store::{Result, Store};

/// Before the first sweep: a start has better things to do. Default 10 seconds, our own choice.
const FIRST_WAIT: Duration = Duration::from_secs(10);
/// Between two sweeps. Default 1 hour, our own choice.
const INTERVAL: Duration = Duration::from_hours(1);
/// Most receipts looked at in one transaction. Default 500, our own bound: some milliseconds of the writer's time.
const RECEIPTS_MAX: usize = 500;
/// Most refused messages removed in one transaction. Default 100, our own bound.
const REJECTS_MAX: usize = 100;
/// Between two transactions of one sweep. Default 50 milliseconds, our own choice.
const PAUSE: Duration = Duration::from_millis(50);

/// How long failures to reach an address are remembered that did not suppress it. Our own choice: `bounces.suppress_within`
/// beyond it counts no further back.
const SUPPRESSION_DAYS: u32 = 90;

/// How long things are kept.
#[derive(Debug, Clone, Copy)]
pub struct Spans {
    /// Trails.
    pub trails: Duration,
    /// What was refused.
    pub rejects: Duration,
}

/// Sweeps for ever. `keep` is asked before each sweep: a reload can change it.
pub async fn run(store: Store, clock: Arc<dyn Clock>, keep: impl Fn() -> Spans) {
    tokio::time::sleep(FIRST_WAIT).await;
    loop {
        if let Err(error) = expire_rejects(&store, oldest_kept(clock.wall(), keep().rejects)).await {
            tracing::warn!(%error, "old refused mail could not be removed");
        }
        match pass(&store, oldest_kept(clock.wall(), keep().trails), RECEIPTS_MAX).await {
            Ok(transactions) => tracing::debug!(transactions, "old trails are forgotten"),
            Err(error) => tracing::warn!(%error, "old trails could not be forgotten"),
        }
        if let Err(error) = forget_returns(&store, clock.wall()).await {
            tracing::warn!(%error, "what mail to other servers left behind could not be forgotten");
        }
        let now = clock.wall();
        if let Err(error) = store.write(move |tx| tx.bans_sweep(now)).await {
            tracing::warn!(%error, "old bans could not be forgotten");
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

/// Removes what was refused before a time.
async fn expire_rejects(store: &Store, before: Timestamp) -> Result<()> {
    for account in store.read(move |tx| tx.accounts_with_old_rejects(before)).await? {
        while store.write(move |tx| tx.rejects_expire(account, before, REJECTS_MAX)).await? == REJECTS_MAX {
            tokio::time::sleep(PAUSE).await;
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}

/// Forgets senders whose rewritten addresses lead nowhere any more, suppressions that are over, and old counts.
async fn forget_returns(store: &Store, now: Timestamp) -> Result<()> {
    let days = move |days: u32| oldest_kept(now, Duration::from_hours(24) * days);
    let written = store.write(move |tx| {
        // A day more: the last use is known to a day.
        tx.long_senders_sweep(days(mta::return_path::srs::DAYS_MAX + 2))?;
        tx.suppressions_sweep(days(SUPPRESSION_DAYS), now)?;
        tx.sent_sweep(mta::return_path::day(days(2)))
    });
    written.await
}

/// The trails of messages that were accepted earlier are forgotten.
fn oldest_kept(now: Timestamp, keep: Duration) -> Timestamp {
    Timestamp(now.0.saturating_sub(i64::try_from(keep.as_millis()).unwrap_or(i64::MAX)))
}

/// Forgets all trails of messages accepted before a time; how many transactions it took.
///
/// # Errors
/// When the store cannot be written; what was forgotten until then stays so.
async fn pass(store: &Store, before: Timestamp, receipts_max: usize) -> Result<u64> {
    let (mut after, mut transactions) = (ReceiptId(0), 0);
    loop {
        let from = after;
        let next = store.write(move |tx| tx.trail_sweep(before, from, receipts_max)).await?;
        transactions += 1;
        let Some(next) = next else { return Ok(transactions) };
        after = next;
        tokio::time::sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mail::{Address, Event, TrailEntry};
    use net::clock::VirtualClock;

    const NOW: Timestamp = Timestamp(1_795_294_080_000);

    /// A store with trails of messages that were accepted so many hours before [`NOW`].
    fn trails(hours: &[u64]) -> (Store, Vec<ReceiptId>) {
        let (store, hours) = (Store::memory(), hours.to_vec());
        let receipts = store.write_blocking(move |tx| {
            let recipient = Address::parse("x@elsewhere.example").unwrap();
            let add = |hours: &u64| {
                let at = oldest_kept(NOW, Duration::from_hours(*hours));
                let receipt = tx.receipt_next(at)?;
                tx.trail_append(receipt, &[TrailEntry { at, event: Event::Queued { recipient: recipient.clone() } }])?;
                Ok(receipt)
            };
            hours.iter().map(add).collect::<Result<Vec<_>>>()
        });
        (store, receipts.unwrap())
    }

    fn known(store: &Store, receipts: &[ReceiptId]) -> Vec<bool> {
        let receipts = receipts.to_vec();
        store.read_blocking(move |tx| receipts.iter().map(|receipt| Ok(!tx.trail(*receipt)?.is_empty())).collect()).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_pass_goes_on_until_nothing_old_is_left() {
        let (store, receipts) = trails(&[100, 90, 80, 70, 3, 2]);
        let transactions = pass(&store, oldest_kept(NOW, Duration::from_hours(24)), 2).await.unwrap();
        assert_eq!(known(&store, &receipts), [false, false, false, false, true, true]);
        assert_eq!(transactions, 3, "two at a time, and one that finds nothing more");
    }

    #[tokio::test(start_paused = true)]
    async fn it_sweeps_soon_after_the_start_and_every_hour() {
        let (store, receipts) = trails(&[100, 23]);
        let clock = Arc::new(VirtualClock::starting_at(NOW));
        let sweeping = tokio::spawn(run(store.clone(), clock, || Spans { trails: Duration::from_hours(24), rejects: Duration::ZERO }));
        tokio::time::sleep(Duration::from_mins(1)).await;
        assert_eq!(known(&store, &receipts), [false, true]);
        tokio::time::sleep(Duration::from_hours(2)).await;
        assert_eq!(known(&store, &receipts), [false, false]);
        assert!(!sweeping.is_finished());
    }

    #[tokio::test(start_paused = true)]
    async fn refused_mail_is_kept_as_long_as_is_set() {
        let store = Store::memory();
        let made = store.write_blocking(|tx| {
            tx.domain_add(&mail::Domain::parse("x.example").unwrap(), NOW)?;
            let new = store::NewAccount {
                address: Address::parse("ann@x.example").unwrap(),
                name: String::new(),
                credentials: store::auth::Credentials::none(),
                quota_octets_max: None,
            };
            let account = tx.account_create(new, NOW)?;
            for hours in [100, 90, 3] {
                let at = oldest_kept(NOW, Duration::from_hours(hours));
                let text = format!("Subject: {hours}\r\n\r\n");
                let (body, digest) = (store::Body::new(text.as_bytes()), mail::digest::Digest::of(text.as_bytes()));
                let receipt = tx.receipt_next(at)?;
                let new = store::NewReject { receipt, body: &body, digest: &digest, reply: "550 no", known_by: &[], subjects: &[] };
                tx.reject_keep(account, new, store::RejectsMax { messages: 9, octets: 9_999 }, at)?;
            }
            Ok(account)
        });
        let account = made.unwrap();
        for (hours, want) in [(99, 2), (50, 1), (0, 0)] {
            expire_rejects(&store, oldest_kept(NOW, Duration::from_hours(hours))).await.unwrap();
            assert_eq!(store.read_blocking(move |tx| tx.rejects(account)).unwrap().len(), want, "{hours}");
        }
    }

    #[test]
    fn nothing_is_older_than_time_itself() {
        assert_eq!(oldest_kept(Timestamp(5), Duration::MAX), Timestamp(5_i64.saturating_sub(i64::MAX)));
    }
}
