//! Answers a client session's questions: which message is next, its octets, what became of it.
//!
//! A connection tries several addresses; what must survive from one to the next is in [`Carry`].
//!
//! Invariant: the body of a message leaves only after the outcome of the one before it on this
//! connection is committed: a crash repeats at most one delivery per connection.

use super::connection::{Unusable, millis_since};
use super::manner::Manner;
use crate::queue::board::Job;
use crate::queue::commit::Kind;
use crate::queue::outcome::{Attempt, Tried};
use crate::queue::post::Post;
use crate::receive::own_signatures;
use crate::route::{Destination, Target};
use crate::transport::Inquiry;
use crate::transport::policy::Decided;
use mail::event::Source;
use mail::{BodyType, EnhancedStatus, Envelope, Timestamp, TlsDemand};
use smtp::client::{Answer, Ask, Cause, Class, Client, Outcome, Stage, Transaction, TransactionOutcome};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use tokio::sync::oneshot;
use wire::Handler;

/// Destinations that are found unfit for a connection before no further ones are looked at.
const UNFIT_MAX: usize = 16;
/// Octets of a message read from the store at once.
const CHUNK_OCTETS: usize = 64 * 1024;

/// What a connection carries, over all addresses it tries. Clones are the same.
#[derive(Clone)]
pub(crate) struct Carry {
    post: Arc<Post>,
    destination: Destination,
    state: Arc<Mutex<State>>,
}

struct State {
    /// The job at hand, not settled yet.
    job: Option<Job>,
    /// When its attempt began.
    started: Instant,
    host: String,
    address: Option<IpAddr>,
    tls: Option<String>,
    /// Whether there was TLS with a message, and whether its certificate was one to trust.
    tls_seen: Option<bool>,
    /// How a certificate that is one to trust was checked.
    verified_by: &'static str,
    /// The session was ready for a message: the host is of use.
    ready: bool,
    /// Messages offered on this connection.
    offered: usize,
    /// Something of the message at hand has been asked for.
    body_began: bool,
    /// The message at hand as it is sent, if that is not what the queue has: converted for this server, or signed.
    as_sent: Option<Arc<Vec<u8>>>,
    failed: Option<Outcome>,
    /// The MX host, and what TLS with it had to be.
    decided: Option<(Target, Decided)>,
}

impl Carry {
    pub(crate) fn new(post: Arc<Post>, destination: Destination, first: Job, started: Instant) -> Self {
        let state = State {
            job: Some(first),
            started,
            host: String::new(),
            address: None,
            tls: None,
            tls_seen: None,
            verified_by: "verified",
            ready: false,
            offered: 0,
            body_began: false,
            as_sent: None,
            failed: None,
            decided: None,
        };
        Self { post, destination, state: Arc::new(Mutex::new(state)) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Another address is tried.
    pub(crate) fn begin(&self, target: &Target, address: IpAddr, manner: &Manner) {
        let mut state = self.state();
        state.decided = manner.decided.clone().map(|decided| (target.clone(), decided));
        state.host = target.host.to_string();
        state.address = Some(address);
        state.tls = None;
        state.tls_seen = None;
        state.verified_by = manner.verified_by();
        state.ready = false;
        state.failed = None;
    }

    /// Whether messages went over TLS, and if so whether the certificate was one to trust.
    pub(crate) fn tls_seen(&self) -> Option<bool> {
        self.state().tls_seen
    }

    /// The job that nobody took.
    pub(crate) fn take_job(&self) -> Option<Job> {
        self.state().job.take()
    }

    /// The connection is over, by an error of the socket or of TLS if there are words.
    ///
    /// # Errors
    /// When the host was of no use; the job is still at hand.
    pub(crate) async fn ended(&self, words: Option<String>) -> Result<(), Unusable> {
        let words = words.unwrap_or_else(|| "the connection ended".to_owned());
        if !self.state().ready {
            return Err(self.unusable(&words));
        }
        let (job, was_gone) = {
            let mut state = self.state();
            let was_gone = state.offered > 1 && !state.body_began;
            (state.job.take(), was_gone)
        };
        let Some(job) = job else { return Ok(()) };
        let outcome = Outcome::ours(Stage::Data, (4, 4, 2), format!("the connection broke: {words}"));
        self.finish(job, was_gone, |_| &outcome, Knows::default(), None).await;
        Ok(())
    }

    fn unusable(&self, words: &str) -> Unusable {
        let state = self.state();
        let outcome = state.failed.clone().unwrap_or_else(|| Outcome::ours(Stage::Greeting, (4, 4, 2), words));
        let status = outcome.status();
        // Another host, another time: a server that greets with 5xx says nothing about the recipient.
        let status = EnhancedStatus { class: 4, ..status };
        Unusable { class: Class::Transient, status, attempt: state.attempt(&outcome, 0) }
    }

    /// Settles a job, or gives it back if its connection was gone before it was used for it: however often, for such a
    /// connection had carried mail before, and what is opened instead of it carries this first.
    async fn finish<'a>(
        &self,
        job: Job,
        was_gone: bool,
        outcome: impl Fn(usize) -> &'a Outcome,
        knows: Knows,
        committed: Option<oneshot::Sender<()>>,
    ) {
        if was_gone {
            return self.post.board.give_back(job);
        }
        let now = self.post.world.clock.now();
        let tried = {
            let state = self.state();
            let millis = millis_since(state.started, now);
            let places = job.recipients.iter().enumerate();
            let direct = self.destination.is_direct();
            places.map(|(nth, index)| state.tried(*index, outcome(nth), knows, direct, millis)).collect()
        };
        self.post.settle(&job, tried, committed).await;
    }
}

impl State {
    fn attempt(&self, outcome: &Outcome, millis: u64) -> Attempt {
        let (code, reply) = match &outcome.cause {
            Cause::Reply(reply) => (Some(reply.code), reply.to_string()),
            Cause::Ours { text, .. } => (None, text.clone()),
        };
        Attempt { host: self.host.clone(), address: self.address, tls: self.tls.clone(), stage: Some(outcome.stage), code, reply, millis }
    }

    fn tried(&self, index: usize, outcome: &Outcome, knows: Knows, direct: bool, millis: u64) -> Tried {
        Tried {
            index,
            class: outcome.class,
            status: outcome.status(),
            direct,
            peer_reports: knows.dsn,
            peer_is_timely: knows.deliver_by,
            attempt: self.attempt(outcome, millis),
        }
    }
}

/// What the peer takes care of.
#[derive(Debug, Clone, Copy, Default)]
struct Knows {
    dsn: bool,
    deliver_by: bool,
}

/// Answers the questions of one connection to one address.
pub(crate) struct Carrier {
    carry: Carry,
    /// Resolves when the outcome before is committed.
    committing: Option<oneshot::Receiver<()>>,
    /// Destinations whose mail may go over this connection too, and those whose mail may not.
    fit: BTreeSet<Destination>,
    unfit: BTreeSet<Destination>,
}

impl Carrier {
    pub(crate) fn new(carry: Carry) -> Self {
        Self { carry, committing: None, fit: BTreeSet::new(), unfit: BTreeSet::new() }
    }

    async fn next(&mut self) -> Answer {
        let first = {
            let mut state = self.carry.state();
            state.ready = true;
            state.job.clone()
        };
        let mut next = match first {
            Some(job) => Some(job),
            None => self.another().await,
        };
        // It may have been held or dropped while it waited for a connection.
        let job = loop {
            let Some(job) = next else { return Answer::Quit };
            if self.is_wanted(&job) {
                break job;
            }
            self.carry.state().job = None;
            self.carry.post.complete(&job, Kind::Back, None).await;
            next = self.another().await;
        };
        let mut transaction = transaction(&job, self.carry.post.world.clock.wall());
        // What cannot be read now fails when its octets are asked for.
        let as_sent = if is_our_own(&job) { self.whole(&job).map(|octets| self.signed(octets)) } else { None };
        transaction.octets = as_sent.as_ref().map_or(transaction.octets, |octets| octets.len() as u64);
        let mut state = self.carry.state();
        state.offered += 1;
        state.body_began = false;
        state.as_sent = as_sent.map(Arc::new);
        state.job = Some(job);
        Answer::Message(transaction)
    }

    /// A queued message as it would go to the other server.
    fn whole(&self, job: &Job) -> Option<Vec<u8>> {
        let (blob, skip) = (job.message.blob, u64::from(job.message.skip_octets));
        let read = self.carry.post.store.read_short(|tx| tx.blob_read(&blob, skip, usize::MAX));
        read.inspect_err(|error| tracing::error!(receipt = %job.message.receipt, %error, "a queued message cannot be read")).ok()
    }

    /// A message of our own with its signatures. They are made now and not when it was written: that was in a commit, where
    /// others wait, and the keys may be others by now.
    fn signed(&self, octets: Vec<u8>) -> Vec<u8> {
        let post = &self.carry.post;
        let fields = post.store.read_short(|tx| own_signatures(tx, &post.keys, &octets, post.world.clock.wall()));
        match fields {
            Ok(fields) if fields.is_empty() => octets,
            Ok(fields) => [fields.into_bytes(), octets].concat(),
            Err(error) => {
                tracing::warn!(%error, "the signing keys cannot be read: a message of our own goes unsigned");
                octets
            }
        }
    }

    /// The message at hand as lines of 8 bits or of 7. Signatures over its body do not outlast that: it is done only where
    /// it could not be sent otherwise.
    fn convert(&self, to: BodyType) -> Answer {
        let Some(job) = self.carry.state().job.clone() else { return Answer::Abort };
        let Some(octets) = self.whole(&job) else { return Answer::Abort };
        let converted = if to == BodyType::SevenBit { mail::seven_bit::converted(&octets) } else { Some(mail::binary::to_lines(&octets)) };
        let Some(converted) = converted else { return Answer::Unfit };
        let as_sent = if is_our_own(&job) { self.signed(converted.into_owned()) } else { converted.into_owned() };
        let mut transaction = transaction(&job, self.carry.post.world.clock.wall());
        transaction.octets = as_sent.len() as u64;
        transaction.envelope.body = if as_sent.is_ascii() { BodyType::SevenBit } else { BodyType::EightBitMime };
        self.carry.state().as_sent = Some(Arc::new(as_sent));
        Answer::Message(transaction)
    }

    fn is_wanted(&self, job: &Job) -> bool {
        let receipt = job.message.receipt;
        // What cannot be read fails when its octets are asked for.
        self.carry
            .post
            .store
            .read_short(|tx| tx.queue_message(receipt))
            .map_or(true, |message| message.is_some_and(|message| !message.held))
    }

    async fn another(&mut self) -> Option<Job> {
        let (post, destination) = (Arc::clone(&self.carry.post), self.carry.destination.clone());
        if self.carry.state().offered >= post.board.messages_max(&destination, &post.settings.queue) {
            return None;
        }
        let job = match self.of_neighbour().await {
            Some(job) => Some(job),
            None => post.board.next(&destination, post.settings.delivery.linger, post.world.clock.as_ref()).await,
        };
        self.carry.state().started = post.world.clock.now();
        job
    }

    /// A message for another domain with the same mail exchangers, if it is its turn.
    async fn of_neighbour(&mut self) -> Option<Job> {
        let board = self.carry.post.board.clone();
        while self.unfit.len() < UNFIT_MAX {
            let neighbour = board.neighbour(&self.carry.destination, &self.unfit)?;
            if self.fit.contains(&neighbour) || self.fits(&neighbour).await {
                let job = board.take_from(&neighbour, self.carry.post.world.clock.wall())?;
                self.fit.insert(neighbour);
                return Some(job);
            }
            self.unfit.insert(neighbour);
        }
        None
    }

    /// Whether a destination's mail would have gone to this host in the same manner.
    async fn fits(&self, neighbour: &Destination) -> bool {
        let Destination::Mx(domain, ..) = neighbour else { return false };
        let Some((target, decided)) = self.carry.state().decided.clone() else { return false };
        let Post { world, settings, .. } = &*self.carry.post;
        let inquiry = Inquiry { dns: world.dns.as_ref(), transport: &world.transport, settings: &settings.transport };
        let of_domain = inquiry.domain(domain).await;
        let of_host = inquiry.host(&target.host, target.port).await;
        let own = inquiry.decide(&target.host, &of_domain, &of_host, neighbour.demand());
        own.is_ok_and(|own| (own.policy, own.requiretls, own.testing) == (decided.policy, decided.requiretls, decided.testing))
    }

    async fn body(&mut self, offset: u64) -> Answer {
        if let Some(committing) = self.committing.take()
            && committing.await.is_err()
        {
            return Answer::Abort;
        }
        let message = {
            let mut state = self.carry.state();
            state.body_began = true;
            if let Some(octets) = &state.as_sent {
                return Answer::Chunk(chunk_of(octets, offset));
            }
            state.job.as_ref().map(|job| Arc::clone(&job.message))
        };
        let Some(message) = message else { return Answer::Abort };
        if offset >= message.octets {
            return Answer::Chunk(Vec::new());
        }
        let (blob, at) = (message.blob, u64::from(message.skip_octets) + offset);
        match self.carry.post.store.read_short(|tx| tx.blob_read(&blob, at, CHUNK_OCTETS)) {
            Ok(octets) => Answer::Chunk(octets),
            Err(error) => {
                tracing::error!(receipt = %message.receipt, %error, "a queued message cannot be read");
                Answer::Abort
            }
        }
    }

    async fn outcome(&mut self, outcome: TransactionOutcome) {
        let (job, was_gone) = {
            let mut state = self.carry.state();
            state.tls = outcome.tls.as_ref().map(|tls| words_of(tls, state.verified_by));
            state.tls_seen = outcome.tls.as_ref().map(|tls| tls.verified);
            let was_gone = state.offered > 1 && !state.body_began && outcome.recipients.iter().all(is_gone);
            (state.job.take(), was_gone)
        };
        let Some(mut job) = job else { return };
        self.feed_back(&job, &outcome.recipients);
        let (committed, committing) = oneshot::channel();
        self.committing = Some(committing);
        let unknown = Outcome::ours(Stage::EndOfData, (4, 3, 0), "nothing was said about this recipient");
        let knows = Knows { dsn: outcome.dsn, deliver_by: outcome.deliver_by };
        let outcomes = self.set_aside(&mut job, outcome.recipients);
        let each = |nth: usize| outcomes.get(nth).unwrap_or(&unknown);
        self.carry.finish(job, was_gone, each, knows, Some(committed)).await;
    }

    /// Tells the board how the destination is.
    fn feed_back(&self, job: &Job, outcomes: &[Outcome]) {
        let board = &self.carry.post.board;
        match outcomes.iter().find_map(complaint) {
            Some(words) => board.complained(&job.destination, &words, self.carry.post.world.clock.wall()),
            None if outcomes.iter().any(|one| matches!(one.cause, Cause::Reply(_))) => board.succeeded(&job.destination),
            None => {}
        }
    }

    /// Recipients that were too many for a transaction which others went with have the next one, at once.
    fn set_aside(&self, job: &mut Job, outcomes: Vec<Outcome>) -> Vec<Outcome> {
        if !outcomes.iter().any(|one| one.class == Class::Delivered) {
            return outcomes;
        }
        let places = std::mem::take(&mut job.recipients);
        let (rest, tried): (Vec<_>, Vec<_>) = places.into_iter().zip(outcomes).partition(|(_, outcome)| is_too_many(outcome));
        let (places, outcomes) = tried.into_iter().unzip();
        job.recipients = places;
        if !rest.is_empty() {
            let recipients = rest.into_iter().map(|(place, _)| place).collect();
            self.carry.post.board.split(Job { recipients, given_back: false, active: false, ..job.clone() });
        }
        outcomes
    }
}

fn chunk_of(octets: &[u8], offset: u64) -> Vec<u8> {
    let rest = usize::try_from(offset).ok().and_then(|offset| octets.get(offset..)).unwrap_or_default();
    rest.get(..CHUNK_OCTETS).unwrap_or(rest).to_vec()
}

/// Version, cipher, and whether the certificate was one to trust.
fn words_of(tls: &wire::Tls, verified_by: &str) -> String {
    let words = format!("{} {}", tls.version, tls.cipher);
    if tls.verified { format!("{words} {verified_by}") } else { words }
}

/// The server had gone, or went, when the message was offered: it says nothing about the message.
fn is_gone(outcome: &Outcome) -> bool {
    let early = matches!(outcome.stage, Stage::Idle | Stage::Mail);
    let gone = match &outcome.cause {
        Cause::Ours { status, .. } => status.class == 4,
        Cause::Reply(reply) => reply.code == 421,
    };
    early && gone
}

/// What a server says when it has enough of us: 421 at any time, 450 and 451 with a status of policy (RFC 3463 §3.8).
/// Greylisting is none: it is about one sender and recipient, and fewer connections do not help.
fn complaint(outcome: &Outcome) -> Option<String> {
    let Cause::Reply(reply) = &outcome.cause else { return None };
    let status = outcome.status();
    let of_policy = matches!(reply.code, 450 | 451) && status.class == 4 && status.subject == 7;
    let text = reply.to_string();
    // By its words alone: the statuses that are used for it are used for everything else too.
    let lower = text.to_lowercase();
    let is_greylisting = ["grey", "gray"]
        .iter()
        .any(|colour| lower.split(colour).skip(1).any(|rest| rest.trim_start_matches([' ', '-']).starts_with("list")));
    (reply.code == 421 || (of_policy && !is_greylisting)).then_some(text)
}

/// Reports and notices that this server has written.
fn is_our_own(job: &Job) -> bool {
    job.message.source == Source::Local
}

/// Too many recipients for one transaction, says the server or said its LIMITS (RFC 5321 §4.5.3.1.10, RFC 9422).
fn is_too_many(outcome: &Outcome) -> bool {
    outcome.class == Class::Transient && outcome.stage == Stage::Rcpt && outcome.status() == EnhancedStatus::new(4, 5, 3)
}

fn transaction(job: &Job, now: Timestamp) -> Transaction {
    let message = &job.message;
    let recipients = job.recipients.iter().filter_map(|place| message.recipients.get(*place)).map(|entry| entry.recipient.clone());
    let envelope = Envelope {
        reverse_path: message.return_path(job.recipients.first().copied().unwrap_or_default()),
        recipients: recipients.collect(),
        body: message.body,
        smtputf8: message.smtputf8,
        ret: message.ret,
        envelope_id: message.envelope_id.clone(),
        require_tls: message.tls == TlsDemand::Required,
    };
    Transaction { envelope, octets: message.octets, terms: message.terms, now }
}

impl Handler<Client> for Carrier {
    async fn answer(&mut self, ask: Ask) -> Answer {
        match ask {
            Ask::Next => self.next().await,
            Ask::Convert(body) => self.convert(body),
            Ask::Body { offset } => self.body(offset).await,
            Ask::Outcome(outcome) => {
                self.outcome(outcome).await;
                Answer::Taken
            }
            Ask::Failed(outcome) => {
                self.carry.state().failed = Some(outcome);
                Answer::Taken
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use smtp::Reply;

    #[test]
    fn servers_that_have_enough_are_told_from_those_that_greylist() {
        for (code, status, text, want) in [
            (421, (4, 3, 2), "try later", true),
            (421, (4, 7, 0), "too many connections", true),
            (450, (4, 7, 1), "too much mail from you", true),
            (451, (4, 7, 500), "server busy", true),
            (451, (4, 7, 1), "Greylisted, come back in 5 minutes", false),
            (450, (4, 2, 1), "mailbox busy", false),
            (452, (4, 2, 2), "mailbox full", false),
            (550, (5, 7, 1), "no", false),
            (250, (2, 0, 0), "ok", false),
        ] {
            let class = if code >= 500 { Class::Permanent } else { Class::Transient };
            let outcome = Outcome { class, stage: Stage::Rcpt, cause: Cause::Reply(Reply::new(code, status, text)) };
            assert_eq!(complaint(&outcome).is_some(), want, "{code} {text}");
        }
    }
}
