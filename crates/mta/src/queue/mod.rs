//! Mail that waits for other servers.
//!
//! **Guarantee.** An accepted message is in exactly one of draft (no 250 yet), queued, delivered,
//! bounced, discarded by a rule; every step is one store transaction; a crash at any point repeats at
//! most one delivery per connection and loses none.
//!
//! ```text
//!  store: due index ──read──▶ route ──▶ board: a line for each destination ──schedule──▶ connections
//!        ▲                                                                                   │
//!        └───────────── one commit for many outcomes ◀── commit ◀── completions ◀────────────┘
//! ```
//!
//! The store's due index is the queue; in memory is only a bounded window of it, rebuilt at start.
//! [`schedule`] is the pure part, [`board`] what is being worked on, [`commit`] writes, [`admin`] is
//! what an administrator may do.

pub mod admin;
pub(crate) mod board;
pub(crate) mod commit;
pub(crate) mod outcome;
pub(crate) mod post;
pub mod schedule;

use crate::counters::Counters;
use crate::deliver::World;
use crate::deliver::connection::Connection;
use crate::outbox;
use crate::route::{self, Destination};
use crate::settings::Settings;
use board::{Board, Job};
use commit::Completion;
use mail::{Address, Domain, ReceiptId, Timestamp, TlsDemand};
use net::Stop;
use post::Post;
use std::collections::{BTreeMap, BTreeSet};
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use store::{QueueMessage, QueueSubscription, ReadTx, RecipientState, Store};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Most messages read from the store at once.
const READ_MAX: usize = 500;
/// The wait between two reads, for each message on the board: 200 ms with a window of 10,000.
const READ_PACE: Duration = Duration::from_micros(20);
/// Outcomes that may wait to be committed.
const COMPLETIONS_MAX: usize = 1024;
/// The wait after the store failed to tell what is due.
const READ_AGAIN_AFTER: Duration = Duration::from_secs(5);
/// How long connections may go on when the server stops.
const STOP_MAX: Duration = Duration::from_secs(20);

/// The queue's runner.
pub struct Queue {
    store: Store,
    settings: Arc<Settings>,
    counters: Arc<Counters>,
    world: World,
    urge: Urge,
}

/// By this an administrator who asks for a retry reaches the running queue: a destination that could not
/// be reached is otherwise left alone for a while, whoever's mail is due. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Urge(Arc<AtomicBool>);

impl Urge {
    /// The queue forgets which destinations are down, before it next looks at what is due. To be called
    /// before the messages are made due by [`admin::retry`].
    pub fn tell(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    fn take(&self) -> bool {
        self.0.swap(false, Ordering::SeqCst)
    }
}

impl Queue {
    /// A runner; nothing happens before [`Queue::run`].
    pub fn new(store: Store, settings: Arc<Settings>, counters: Arc<Counters>, world: World) -> Self {
        Self { store, settings, counters, world, urge: Urge::default() }
    }

    /// The same, urged by an administrator.
    #[must_use]
    pub fn urged_by(self, urge: Urge) -> Self {
        Self { urge, ..self }
    }

    /// Delivers mail until it is told to stop; then lets the connections finish what they are at,
    /// for a bounded time, and commits every outcome.
    ///
    /// When the future is dropped, deliveries that are not committed are repeated after the next start.
    pub async fn run(self, stop: Stop) {
        let (completions, outcomes) = mpsc::channel(COMPLETIONS_MAX);
        let Self { store, settings, counters, world, urge } = self;
        let post = Arc::new(Post { store, settings, counters, world, board: Board::default(), completions });
        let committing = commit::Committer::of(&post);
        let runner = Runner::new(post, urge);
        tokio::join!(runner.run(stop), commit::run(committing, outcomes));
    }
}

struct Runner {
    post: Arc<Post>,
    urge: Urge,
    changes: QueueSubscription,
    connections: JoinSet<()>,
    /// The store may hold due mail that is not on the board.
    unread: bool,
    /// When the next message is due that was not when it was read.
    next_due: Option<Timestamp>,
    /// Not to be read before: what is on the board is read past each time, so that the more there is
    /// the less often it is worth it.
    read_after: Timestamp,
}

/// Recipients by where they go, as places in their message.
type Ways = Vec<(Destination, Vec<usize>)>;

/// What the store says of the queue at one moment.
#[derive(Default)]
struct Due {
    messages: Vec<(QueueMessage, Ways)>,
    /// Messages whose time has come and that are still in their sender's Outbox.
    waiting: Vec<ReceiptId>,
    /// There is more that is due.
    more: bool,
    next: Option<Timestamp>,
}

impl Runner {
    fn new(post: Arc<Post>, urge: Urge) -> Self {
        let changes = post.store.subscribe_queue();
        Self { post, urge, changes, connections: JoinSet::new(), unread: true, next_due: None, read_after: Timestamp(0) }
    }

    async fn run(mut self, stop: Stop) {
        loop {
            self.read().await;
            self.start();
            if self.wait(&stop).await {
                break;
            }
        }
        self.finish().await;
    }

    fn now(&self) -> Timestamp {
        self.post.world.clock.wall()
    }

    /// Brings what is due to the board, as far as there is room.
    async fn read(&mut self) {
        let now = self.now();
        if self.urge.take() {
            self.post.board.forget_down();
        }
        self.unread |= self.next_due.is_some_and(|next| next <= now);
        while self.unread && self.read_after <= now {
            let on_board = self.post.board.len();
            let room = self.post.settings.queue.window_max.saturating_sub(on_board);
            if room == 0 {
                return;
            }
            self.read_after = now.after(READ_PACE.saturating_mul(u32::try_from(on_board).unwrap_or(u32::MAX)));
            let due = match self.due(now, room.min(READ_MAX)).await {
                Ok(due) => due,
                Err(error) => {
                    tracing::error!(%error, "the store does not tell what is due");
                    Due { next: Some(now.after(READ_AGAIN_AFTER)), ..Due::default() }
                }
            };
            self.unread = due.more || !due.waiting.is_empty();
            self.next_due = due.next;
            if !due.waiting.is_empty() {
                self.release(due.waiting).await;
            }
            for (message, ways) in due.messages {
                self.put(message, ways, now).await;
            }
        }
    }

    async fn due(&self, now: Timestamp, max: usize) -> store::Result<Due> {
        let on_board = self.post.board.messages();
        let settings = Arc::clone(&self.post.settings);
        self.post.store.read(move |tx| due(tx, now, max, &on_board, &settings)).await
    }

    /// Lets messages out of their sender's Outbox; they are found due again. Those that cannot be are left for a while.
    async fn release(&mut self, waiting: Vec<ReceiptId>) {
        let now = self.now();
        let released = self.post.store.write(move |tx| waiting.iter().try_for_each(|receipt| tx.outbox_release(*receipt, now).map(drop)));
        if let Err(error) = released.await {
            tracing::error!(%error, "what waits in an Outbox cannot leave it");
            self.unread = false;
            self.next_due = Some(now.after(READ_AGAIN_AFTER));
        }
    }

    async fn put(&self, message: QueueMessage, ways: Ways, now: Timestamp) {
        let (receipt, message) = (message.receipt, Arc::new(message));
        let recipients_max = self.post.settings.delivery.recipients_max.max(1);
        let mut jobs = Vec::with_capacity(ways.len());
        for (destination, places) in ways {
            for places in places.chunks(recipients_max) {
                let job = Job { message: Arc::clone(&message), recipients: places.to_vec(), given_back: false };
                jobs.push((destination.clone(), job));
            }
        }
        for (job, until) in self.post.board.put(receipt, jobs, now, &self.post.settings.queue) {
            let completion = match until {
                Some(until) => Completion::parked(job, until),
                None => Completion::local(job),
            };
            self.post.complete(completion).await;
        }
    }

    /// Opens the connections that may be opened.
    fn start(&mut self) {
        while self.connections.try_join_next().is_some() {}
        for (destination, job) in self.post.board.starts(self.now(), &self.post.settings.queue) {
            let ending = Ending { board: self.post.board.clone(), destination: destination.clone() };
            let connection = Connection { post: Arc::clone(&self.post), destination };
            self.connections.spawn(async move {
                let _ending = ending;
                connection.run(job).await;
            });
        }
    }

    /// Waits for something to do; true: it is over.
    async fn wait(&mut self, stop: &Stop) -> bool {
        let now = self.now();
        let read_at = self.unread.then_some(self.read_after).filter(|at| *at > now);
        let wake_at = [self.next_due.filter(|next| *next > now), self.post.board.next_up(now), read_at].into_iter().flatten().min();
        let idle = Duration::from_hours(1);
        let wait = wake_at.map_or(idle, |at| at.since(now)).max(Duration::from_millis(1));
        tokio::select! {
            biased;
            () = poll_fn(|context| stop.poll_told(context)) => return true,
            () = self.changes.changed() => self.unread = true,
            () = self.post.board.changed() => {}
            () = tokio::time::sleep(wait) => {}
        }
        false
    }

    /// Lets the connections finish; what they do not finish in time stays queued.
    async fn finish(mut self) {
        self.post.board.close();
        let all = async { while self.connections.join_next().await.is_some() {} };
        if tokio::time::timeout(STOP_MAX, all).await.is_err() {
            self.connections.shutdown().await;
        }
    }
}

/// Tells the board that a connection has ended, however it did.
struct Ending {
    board: Board,
    destination: Destination,
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.board.ended(&self.destination);
    }
}

/// Up to `max` messages that are due and not on the board, and where they go.
fn due(tx: &ReadTx, now: Timestamp, max: usize, on_board: &BTreeSet<ReceiptId>, settings: &Settings) -> store::Result<Due> {
    let listed = tx.queue_due(Timestamp(i64::MAX), on_board.len() + max + 1)?;
    let mut due = Due::default();
    let mut local = BTreeMap::new();
    for (at, receipt) in listed {
        // Also for a message on the board: its outcome is written, and it leaves the board in a moment.
        if at > now {
            due.next = Some(at);
            break;
        }
        if on_board.contains(&receipt) {
            continue;
        }
        if due.messages.len() + due.waiting.len() == max {
            due.more = true;
            break;
        }
        if let Some(message) = tx.queue_message(receipt)? {
            if outbox::waits(tx, &message)? {
                due.waiting.push(receipt);
                continue;
            }
            let ways = ways(tx, &message, now, settings, &mut local)?;
            due.messages.push((message, ways));
        }
    }
    Ok(due)
}

/// The recipients that are due, by destination.
fn ways(
    tx: &ReadTx,
    message: &QueueMessage,
    now: Timestamp,
    settings: &Settings,
    local: &mut BTreeMap<Domain, bool>,
) -> store::Result<Ways> {
    // What leaves under different reverse-paths cannot share a transaction.
    let mut ways: BTreeMap<(Destination, Option<&Address>), Vec<usize>> = BTreeMap::new();
    let sender = message.reverse_path.0.as_ref().map(mail::Address::domain);
    // A report goes on where REQUIRETLS is not to be had rather than not at all (RFC 8689 §5).
    let demand = if sender.is_none() && message.tls == TlsDemand::Required { TlsDemand::ByPolicy } else { message.tls };
    for (place, entry) in message.recipients.iter().enumerate() {
        if !matches!(entry.state, RecipientState::Open { next, .. } if next <= now) {
            continue;
        }
        let domain = entry.recipient.address.domain();
        let is_local = match local.get(domain) {
            Some(is_local) => *is_local,
            None => *local.entry(domain.clone()).or_insert(tx.domain(domain)?.is_some()),
        };
        // What gets no mail of this account is decided here, without asking anybody.
        let is_suppressed = !is_local && tx.suppressed(message.account, &entry.recipient.address, now)?.is_some();
        let way = route::route(&settings.routes, domain, sender, is_local || is_suppressed).demanding(demand);
        let return_path = u32::try_from(place).ok().and_then(|place| message.return_paths.get(&place));
        ways.entry((way, return_path)).or_default().push(place);
    }
    Ok(ways.into_iter().map(|((way, _), places)| (way, places)).collect())
}
