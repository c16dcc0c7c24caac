//! Mail that waits for other servers.
//!
//! **Guarantee.** An accepted message is in exactly one of draft (no 250 yet), queued, delivered,
//! bounced, discarded by a rule; every step is one store transaction; a crash at any point repeats at
//! most one delivery per connection and loses none.
//!
//! ```text
//!  store: lanes ──plan, take──▶ board: a line for each destination ──schedule──▶ connections
//!    ▲                                                                               │
//!    └───────────── one commit for many outcomes ◀── commit ◀── completions ◀────────┘
//! ```
//!
//! The store's order is the queue; in memory is only a bounded window of it, which the store has marked as taken.
//! [`reading`] takes what is next, [`schedule`] is the pure part, [`board`] what is being worked on, [`commit`]
//! writes, [`admin`] is what an administrator may do. `docs/design/queue.md` says what is fair and what it costs.

pub mod admin;
pub(crate) mod board;
pub(crate) mod commit;
pub(crate) mod outcome;
pub(crate) mod post;
mod reading;
pub mod schedule;
mod urge;

pub use board::DestinationView;
pub use urge::Urge;

use crate::counters::Counters;
use crate::deliver::World;
use crate::deliver::connection::Connection;
use crate::detour::Probes;
use crate::receive::KeyRing;
use crate::route::Destination;
use crate::settings::Settings;
use board::{Board, Job};
use commit::Kind;
use mail::{Domain, EnhancedStatus, ReceiptId, Timestamp};
use net::Stop;
use outcome::Tried;
use post::Post;
use reading::{Plan, Taken};
use smtp::client::Class;
use std::collections::BTreeSet;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;
use store::{QueueSubscription, RecipientState, Store};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Most messages taken from the store at once.
const READ_MAX: usize = 500;
/// Most parts whose time has come that are put in order at once.
const READY_MAX: usize = 1_000;
/// The wait before the store is read again when there was no room for what is due.
const CROWDED_PACE: Duration = Duration::from_millis(200);
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

impl Queue {
    /// A runner; nothing happens before [`Queue::run`].
    pub fn new(store: Store, settings: Arc<Settings>, counters: Arc<Counters>, world: World) -> Self {
        Self { store, settings, counters, world, urge: Urge::default() }
    }

    /// The same, within reach of an administrator.
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
        let (board, probes) = (Board::default(), Probes::default());
        urge.shows(&board);
        let post = Arc::new(Post { store, settings, counters, world, board, probes, keys: KeyRing::default(), completions });
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
    /// What a runner before this one had taken is put back.
    recovered: bool,
    /// The store may hold due mail that is not on the board.
    unread: bool,
    /// When the next message is due that was not when it was read.
    next_due: Option<Timestamp>,
    /// Not to be read before.
    read_after: Timestamp,
}

impl Runner {
    fn new(post: Arc<Post>, urge: Urge) -> Self {
        let changes = post.store.subscribe_queue();
        let connections = JoinSet::new();
        let read_after = Timestamp(i64::MIN);
        Self { post, urge, changes, connections, recovered: false, unread: true, next_due: None, read_after }
    }

    async fn run(mut self, stop: Stop) {
        loop {
            if let Err(error) = self.read().await {
                tracing::error!(%error, "the store does not tell what is due");
                self.read_after = self.now().after(READ_AGAIN_AFTER);
                self.unread = true;
            }
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
    async fn read(&mut self) -> store::Result<()> {
        let now = self.now();
        self.urged();
        if !self.recovered {
            while self.post.store.write(|tx| tx.queue_back_all(READY_MAX)).await? {}
            self.recovered = true;
        }
        self.unread |= self.next_due.is_some_and(|next| next <= now);
        while self.unread && self.read_after <= now {
            self.withdraw_suspended().await?;
            let settings = &self.post.settings.queue;
            let room = settings.window_max.saturating_sub(self.post.board.len());
            // One free place is not worth a commit.
            if room < (settings.window_max / 8).clamp(1, READ_MAX) {
                return Ok(());
            }
            self.unread = false;
            if self.next_due.take().is_some_and(|next| next <= now) {
                self.unread = self.post.store.write_early(move |tx| tx.queue_ready(now, READY_MAX)).await?;
            }
            let plan = self.plan(now, room.min(READ_MAX)).await?;
            self.next_due = plan.next;
            self.unread |= plan.more || plan.crowded || plan.next.is_some_and(|next| next <= now);
            if plan.crowded && !plan.more {
                self.read_after = now.after(CROWDED_PACE);
            }
            if !plan.waiting.is_empty() {
                self.release(plan.waiting.clone()).await;
            }
            if !plan.is_empty() {
                self.take(plan, now).await?;
            }
        }
        Ok(())
    }

    /// Does what administrators asked for.
    fn urged(&self) {
        if let Some(asked) = self.urge.take() {
            self.post.board.forget_down(|destination| asked.means(destination, &self.post.settings.routes));
        }
    }

    async fn plan(&self, now: Timestamp, max: usize) -> store::Result<Plan> {
        let (board, settings, probes) = (self.post.board.clone(), Arc::clone(&self.post.settings), self.post.probes.clone());
        self.post.store.read(move |tx| reading::plan(tx, now, max, &board, &settings, &probes)).await
    }

    /// Lets messages out of their sender's Outbox; they are found due again. Those that cannot be are left for a while.
    async fn release(&mut self, waiting: Vec<ReceiptId>) {
        let now = self.now();
        let released = self.post.store.write(move |tx| waiting.iter().try_for_each(|receipt| tx.outbox_release(*receipt, now).map(drop)));
        if let Err(error) = released.await {
            tracing::error!(%error, "what waits in an Outbox cannot leave it");
            self.read_after = now.after(READ_AGAIN_AFTER);
        }
        self.unread = true;
    }

    async fn take(&self, plan: Plan, now: Timestamp) -> store::Result<()> {
        let settings = Arc::clone(&self.post.settings);
        // After a crash all that was taken is put back: nobody need wait for the disk.
        let taken = self.post.store.write_early(move |tx| reading::take(tx, &plan, now, &settings)).await?;
        // First all, so that what one of them finishes does not release what another has yet to bring.
        let mut put = Vec::with_capacity(taken.len());
        for Taken { jobs, down } in taken {
            for job in jobs {
                let in_line = down.is_none() && job.destination != Destination::Local && !job.recipients.is_empty();
                let job = self.post.board.put(job, in_line, &self.post.settings.queue);
                if !in_line {
                    put.push((job, down.clone()));
                }
            }
        }
        for (job, down) in put {
            self.settle_at_once(job, down).await;
        }
        Ok(())
    }

    /// What is for our own mailboxes, for nobody, or for a destination that is down needs no connection.
    async fn settle_at_once(&self, job: Job, down: Option<(Timestamp, String)>) {
        let places = job.recipients.clone();
        let kind = match down {
            _ if places.is_empty() => Kind::Back,
            _ if job.destination == Destination::Local => Kind::Local { places },
            // Nothing went wrong: the next day it goes.
            Some((until, words)) if words == reading::SPENT => Kind::Parked { places, until, why: Some(words) },
            Some((_, words)) if was_tried(&job) => failed_with_others(&places, &words),
            Some((until, _)) => Kind::Parked { places, until, why: None },
            None => Kind::Back,
        };
        self.post.complete(&job, kind, None).await;
    }

    /// What waits for a connection goes back when its destination is suspended.
    async fn withdraw_suspended(&self) -> store::Result<()> {
        let suspended = self.post.store.read_short(store::ReadTx::queue_suspended)?;
        let domains: BTreeSet<Domain> = suspended.into_iter().map(|(domain, _)| domain).collect();
        if domains.is_empty() {
            return Ok(());
        }
        for job in self.post.board.withdraw(&domains) {
            self.post.complete(&job, Kind::Back, None).await;
        }
        Ok(())
    }

    /// Opens the connections that may be opened.
    fn start(&mut self) {
        while self.connections.try_join_next().is_some() {}
        for job in self.post.board.starts(self.now(), &self.post.settings.queue) {
            let destination = job.destination.clone();
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
            () = self.urge.told() => self.unread = true,
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

/// Whether any of a job's recipients has been tried, or left alone because its destination was down.
fn was_tried(job: &Job) -> bool {
    let entries = job.recipients.iter().filter_map(|place| job.message.recipients.get(*place));
    entries.into_iter().any(|entry| matches!(&entry.state, RecipientState::Open { last: Some(_), .. }))
}

/// The destination could not be reached a moment ago: this would not have been otherwise.
fn failed_with_others(places: &[usize], words: &str) -> Kind {
    let words = format!("{words} (found with other mail)");
    let tried = |place: &usize| Tried::ours(*place, Class::Transient, EnhancedStatus::new(4, 4, 1), words.clone());
    Kind::Tried(places.iter().map(tried).collect())
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
