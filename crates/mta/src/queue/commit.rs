//! Writes what became of jobs: many outcomes in one commit.
//!
//! Invariant: a part stays taken in the store until the outcomes of all its jobs are on disk. A commit that fails is tried
//! again for ever: what was handed over must not be handed over again.

use super::outcome::{Judged, Tried, judge};
use super::post::Post;
use crate::bounce;
use crate::bounce_class::BounceClass;
use crate::counters::Counters;
use crate::detour::{self, Diverted};
use crate::explain;
use crate::local;
use crate::outbound;
use crate::outbox;
use crate::settings::Settings;
use crate::subaddress;
use crate::suppress;
use mail::{AccountId, Address, Domain, EnhancedStatus, Event, ReceiptId, Timestamp, TrailEntry};
use smtp::client::Class;
use std::sync::Arc;
use std::time::Duration;
use store::{Delivery, Error, Final, QueueMessage, RecipientState, Resolution, Store, WriteTx};
use tokio::sync::{mpsc, oneshot};

/// Most outcomes of one commit.
const BATCH_MAX: usize = 256;
/// The wait before a failed commit is tried again.
const AGAIN_AFTER: Duration = Duration::from_secs(5);

/// The outcome of a job that has left the board.
#[derive(Debug)]
pub(crate) struct Completion {
    work: Arc<Work>,
    committed: Option<oneshot::Sender<()>>,
}

#[derive(Debug)]
struct Work {
    receipt: ReceiptId,
    kind: Kind,
    /// The parts that are finished by it: they wait for their time again.
    released: Vec<Domain>,
}

/// What became of a job.
#[derive(Debug)]
pub(crate) enum Kind {
    /// It was tried.
    Tried(Vec<Tried>),
    /// It is left alone until then, for this reason or because its destination is down; this counts as no attempt.
    Parked { places: Vec<usize>, until: Timestamp, why: Option<String> },
    /// It is for a mailbox here.
    Local { places: Vec<usize> },
    /// Nothing: it is not to be tried now.
    Back,
}

impl Completion {
    pub(crate) fn new(receipt: ReceiptId, kind: Kind, released: Vec<Domain>, committed: Option<oneshot::Sender<()>>) -> Self {
        Self { work: Arc::new(Work { receipt, kind, released }), committed }
    }
}

/// What is told to counters and logs once it is committed: the events of attempts.
type Told = Vec<(ReceiptId, Event)>;

/// The one that commits. It holds no way to bring outcomes, so that it ends when all who could are gone.
pub(crate) struct Committer {
    store: Store,
    settings: Arc<Settings>,
    counters: Arc<Counters>,
    clock: Arc<dyn net::Clock>,
}

impl Committer {
    pub(crate) fn of(post: &Post) -> Self {
        Self {
            store: post.store.clone(),
            settings: Arc::clone(&post.settings),
            counters: Arc::clone(&post.counters),
            clock: Arc::clone(&post.world.clock),
        }
    }
}

/// Commits outcomes until nobody can bring any more.
pub(crate) async fn run(committer: Committer, mut completions: mpsc::Receiver<Completion>) {
    let mut batch = Vec::new();
    while completions.recv_many(&mut batch, BATCH_MAX).await > 0 {
        commit(&committer, std::mem::take(&mut batch)).await;
    }
}

async fn commit(committer: &Committer, batch: Vec<Completion>) {
    let works: Arc<Vec<Arc<Work>>> = Arc::new(batch.iter().map(|completion| Arc::clone(&completion.work)).collect());
    match write(committer, &works).await {
        Ok(told) => committer.tell(&told),
        Err(error) => {
            tracing::error!(%error, outcomes = works.len(), "outcomes of deliveries could not be written; each is tried alone");
            for work in works.iter() {
                persist(committer, work).await;
            }
        }
    }
    for completion in batch {
        if let Some(committed) = completion.committed {
            let _ = committed.send(());
        }
    }
}

/// Writes one outcome, however long it takes, unless the store is closed.
async fn persist(committer: &Committer, work: &Arc<Work>) {
    let alone = Arc::new(vec![Arc::clone(work)]);
    loop {
        match write(committer, &alone).await {
            Ok(told) => return committer.tell(&told),
            Err(Error::Closed) => return,
            Err(error) => tracing::error!(receipt = %work.receipt, %error, "the outcome of a delivery could not be written"),
        }
        tokio::time::sleep(AGAIN_AFTER).await;
    }
}

async fn write(committer: &Committer, works: &Arc<Vec<Arc<Work>>>) -> store::Result<Told> {
    let (works, settings, now) = (Arc::clone(works), Arc::clone(&committer.settings), committer.clock.wall());
    let written = committer.store.write(move |tx| {
        let mut told = Told::new();
        works.iter().try_for_each(|work| apply(tx, work, now, &settings, &mut told))?;
        Ok(told)
    });
    written.await
}

impl Committer {
    fn tell(&self, told: &Told) {
        for (receipt, event) in told {
            match event {
                Event::Relayed { recipient, host } => {
                    Counters::count(&self.counters.relayed);
                    tracing::info!(%receipt, %recipient, host, "relayed");
                }
                Event::Delivered { recipient, account, .. } => {
                    Counters::count(&self.counters.delivered);
                    tracing::info!(%receipt, %recipient, %account, "delivered");
                }
                Event::Deferred { recipient, until, reason } => {
                    Counters::count(&self.counters.deferred);
                    tracing::info!(%receipt, %recipient, until = until.seconds(), reason, "deferred");
                }
                Event::Failed { recipient, status, reason } => {
                    Counters::count(&self.counters.bounced);
                    tracing::info!(%receipt, %recipient, %status, reason, "failed");
                }
                Event::Classified { class, .. } => self.counters.classified(BounceClass::by_name(class)),
                Event::Detoured { recipient, relay, reason } => {
                    tracing::warn!(%receipt, %recipient, relay, reason, "our address is blocked there: it goes over the relay");
                }
                Event::Reported { action, to, receipt: report } => tracing::info!(%receipt, action, %to, %report, "reported"),
                Event::Discarded { recipient, reason } => tracing::info!(%receipt, %recipient, reason, "discarded"),
                _ => {}
            }
        }
    }
}

/// Applies one outcome to the message as it is now: an administrator may have changed it meanwhile.
fn apply(tx: &mut WriteTx, work: &Work, now: Timestamp, settings: &Settings, told: &mut Told) -> store::Result<()> {
    let Some(mut message) = tx.queue_message(work.receipt)? else { return Ok(()) };
    let judged = match &work.kind {
        Kind::Back => Judged::default(),
        Kind::Tried(tried) => {
            let Diverted { states, events, left } = detour::divert(tx, &message, tried, now, settings.fallback.as_ref())?;
            let mut judged = judge(&message, &left, now, &settings.queue);
            note_addresses(tx, &message, &left, &judged, now, settings)?;
            judged.states.extend(states);
            judged.events.splice(0..0, events);
            judged
        }
        Kind::Parked { places, until, why } => parked(&message, places, *until, why.as_ref(), now, settings),
        Kind::Local { places } => file(tx, &message, places, now, settings)?,
    };
    let events = write_judged(tx, &mut message, judged, now, settings)?;
    let failed = events.iter().filter(|event| matches!(event, Event::Failed { .. })).count();
    outbound::failed(tx, message.account, failed, now, settings)?;
    told.extend(events.into_iter().map(|event| (work.receipt, event)));
    work.released.iter().try_for_each(|lane| tx.queue_back(work.receipt, lane))
}

/// Remembers which addresses took mail, and which do not exist.
fn note_addresses(
    tx: &mut WriteTx,
    message: &QueueMessage,
    tried: &[Tried],
    judged: &Judged,
    now: Timestamp,
    settings: &Settings,
) -> store::Result<()> {
    for (place, state) in &judged.states {
        let one = tried.iter().find(|one| one.index == *place);
        let (Some(one), Some(entry)) = (one, message.recipients.get(*place)) else { continue };
        let address = &entry.recipient.address;
        match state {
            RecipientState::Done(Final::Delivered { .. }) => suppress::delivered(tx, message.account, address)?,
            RecipientState::Done(Final::Failed { reason, .. }) if one.bounce_class().blames_address() => {
                suppress::failed(tx, message.account, address, reason, now, &settings.suppression)?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// Writes new states, the trail and reports; a message that nobody waits for leaves the queue.
/// Returns what was added to the trail.
pub(crate) fn write_judged(
    tx: &mut WriteTx,
    message: &mut QueueMessage,
    judged: Judged,
    now: Timestamp,
    settings: &Settings,
) -> store::Result<Vec<Event>> {
    let Judged { states, mut events, reports } = judged;
    let has_failed = states.iter().any(|(_, state)| matches!(state, RecipientState::Done(Final::Failed { .. })));
    for (place, state) in states {
        if let Some(entry) = message.recipients.get_mut(place) {
            entry.state = state;
        }
    }
    for report in &reports {
        events.extend(bounce::send(tx, &bounce::Subject::queued(message), report, now, settings)?);
    }
    let entries: Vec<TrailEntry> = events.iter().map(|event| TrailEntry { at: now, event: event.clone() }).collect();
    tx.trail_append(message.receipt, &entries)?;
    if has_failed {
        outbox::failed(tx, message, now)?;
    }
    if message.recipients.iter().all(|entry| matches!(entry.state, RecipientState::Done(_))) {
        tx.queue_remove(message.receipt)?;
    } else {
        tx.queue_put(message)?;
    }
    Ok(events)
}

/// Why a message that was never tried waits.
const LEFT_ALONE: &str = "not tried: its destination is down or busy";

/// Moves recipients to a later time without counting it as an attempt; those whose time is over fail.
fn parked(message: &QueueMessage, places: &[usize], until: Timestamp, why: Option<&String>, now: Timestamp, settings: &Settings) -> Judged {
    if now >= message.expires {
        let tried: Vec<Tried> = places.iter().map(|place| unreachable(message, *place)).collect();
        return judge(message, &tried, now, &settings.queue);
    }
    let mut judged = Judged::default();
    let until = until.min(message.expires);
    for place in places {
        if let Some(RecipientState::Open { attempts, delay_reported, last, .. }) = message.recipients.get(*place).map(|entry| &entry.state)
        {
            let last = why.or(last.as_ref()).cloned().or_else(|| Some(LEFT_ALONE.to_owned()));
            let state = RecipientState::Open { attempts: *attempts, next: until, delay_reported: *delay_reported, last };
            judged.states.push((*place, state));
        }
    }
    judged
}

fn unreachable(message: &QueueMessage, place: usize) -> Tried {
    let last = match message.recipients.get(place).map(|entry| &entry.state) {
        Some(RecipientState::Open { last: Some(last), .. }) => last.clone(),
        _ => "the destination cannot be reached".to_owned(),
    };
    Tried::ours(place, Class::Transient, EnhancedStatus::new(4, 4, 1), last)
}

/// Files a queued message for recipients that are ours: their mailbox was full, or their domain has
/// become ours. Those that get no mail of its account fail.
fn file(tx: &mut WriteTx, message: &QueueMessage, places: &[usize], now: Timestamp, settings: &Settings) -> store::Result<Judged> {
    let (body, digest) = local::again(tx, message)?;
    let trail = tx.trail(message.receipt)?;
    let (mut events, mut states, mut tried, mut delivered) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for place in places {
        let Some(entry) = message.recipients.get(*place) else { continue };
        if message.terms.returned_at().is_some_and(|at| now >= at) {
            let words = "the time by which it was to be delivered is over".to_owned();
            tried.push(Tried::ours(*place, Class::Permanent, EnhancedStatus::new(5, 4, 7), words));
            continue;
        }
        let address = &entry.recipient.address;
        if let Some(words) = suppress::reason(tx, message.account, address, now)? {
            tried.push(Tried::ours(*place, Class::Permanent, suppress::STATUS, words));
            continue;
        }
        let (account, detail) = match mailbox_of(tx, address, *place)? {
            Ok(found) => found,
            Err(nobody) => {
                tried.push(nobody);
                continue;
            }
        };
        let role = if explain::is_junk(&trail, account) { mail::Role::Junk } else { mail::Role::Inbox };
        let into = subaddress::mailbox(tx, account, detail.as_deref().filter(|_| role == mail::Role::Inbox), settings)?;
        match local::file(tx, account, into, role, &body, &digest, now) {
            Ok(filed) => {
                events.push(filed.event(address, account));
                delivered.push(&entry.recipient);
                states.push((*place, RecipientState::Done(Final::Delivered { at: now, host: settings.hostname.to_string() })));
            }
            Err(Error::OverQuota { .. } | Error::TooManyEmails { .. }) => {
                tried.push(Tried::ours(*place, Class::Transient, EnhancedStatus::new(4, 2, 2), "the mailbox is full".to_owned()));
            }
            Err(error) => return Err(error),
        }
    }
    let mut judged = judge(message, &tried, now, &settings.queue);
    judged.events.splice(0..0, events);
    judged.states.extend(states);
    judged.reports.extend(bounce::all_delivered(delivered, now));
    Ok(judged)
}

/// The account that an address of ours belongs to, and the address's detail.
fn mailbox_of(tx: &WriteTx, address: &Address, place: usize) -> store::Result<Result<(AccountId, Option<String>), Tried>> {
    let deliveries = match tx.resolve(address)? {
        Resolution::Found(deliveries) => deliveries,
        Resolution::Unknown => {
            return Ok(Err(Tried::ours(place, Class::Permanent, EnhancedStatus::new(5, 1, 1), "no such user here".to_owned())));
        }
        Resolution::NotLocal => Vec::new(),
    };
    let account = deliveries.into_iter().find_map(|delivery| match delivery {
        Delivery::Mailbox { account, detail } => Some((account, detail)),
        Delivery::Forward(_) => None,
    });
    let elsewhere =
        || Tried::ours(place, Class::Transient, EnhancedStatus::new(4, 3, 5), "the address leads to no mailbox here".to_owned());
    Ok(account.ok_or_else(elsewhere))
}

/// What an administrator does to a message, in its trail.
pub(crate) fn handled(action: &str, recipient: Option<&Address>) -> Event {
    Event::Handled { action: action.to_owned(), recipient: recipient.cloned() }
}
