//! One connection to a milter: its session is driven by a task of its own and told what happens step by step.
//!
//! Not the protocol (`milter::session`).
//!
//! Invariant: the task ends by itself when its link is dropped: the session says QUIT and closes; every wait of it has a deadline.

use super::Adviser;
use milter::session::{Answer, Ask, Heard, Order, Session};
use net::{Clock, Endpoint, Shell, Upgrade};
use std::sync::Arc;
use store::Body;
use tokio::sync::{mpsc, oneshot};
use wire::Handler;

/// A body as an adviser is shown it.
#[derive(Clone)]
pub(crate) enum Shown {
    /// In memory.
    Memory(Arc<[u8]>),
    /// In a draft of the store.
    Stored(Body),
}

impl Shown {
    /// How long it is.
    pub(crate) fn octets(&self) -> u64 {
        match self {
            Self::Memory(octets) => octets.len() as u64,
            Self::Stored(body) => body.octets(),
        }
    }

    /// At most `octets_max` octets from `offset` on; none at its end.
    pub(crate) fn read(&self, offset: u64, octets_max: usize) -> Result<Vec<u8>, String> {
        match self {
            Self::Memory(octets) => {
                let start = usize::try_from(offset).unwrap_or(usize::MAX).min(octets.len());
                let end = start.saturating_add(octets_max).min(octets.len());
                Ok(octets.get(start..end).unwrap_or_default().to_vec())
            }
            Self::Stored(body) if offset >= body.octets() => Ok(Vec::new()),
            Self::Stored(body) => body.read(offset, octets_max).map_err(|error| error.to_string()),
        }
    }
}

/// One connection to a milter.
pub(super) struct Link {
    jobs: mpsc::Sender<Job>,
}

/// One step, and who hears what became of it.
struct Job {
    order: Order,
    body: Shown,
    done: oneshot::Sender<Heard>,
}

impl Link {
    /// Connects and agrees on the protocol.
    pub(super) async fn open(endpoint: &Endpoint, adviser: &Adviser, clock: &Arc<dyn Clock>) -> Result<Self, String> {
        let socket = endpoint.connect(adviser.connect_max).await.map_err(|error| format!("no connection to {endpoint}: {error}"))?;
        let (jobs, waiting) = mpsc::channel(1);
        let (done, ready) = oneshot::channel();
        let talker = Talker { jobs: waiting, done: Some(done), body: Shown::Memory(Vec::new().into()) };
        let session = Session::new(adviser.limits.clone(), clock.now());
        let mut shell = Shell::new(Arc::clone(clock));
        shell.limits.write_max = adviser.limits.message_answer_max;
        tokio::spawn(net::drive(session, talker, socket, Upgrade::None, shell));
        match ready.await {
            Ok(Heard::Failed(why)) => Err(why),
            Ok(_) => Ok(Self { jobs }),
            Err(_) => Err("the connection broke".to_owned()),
        }
    }

    /// Takes one step; `body` is asked for where the step is a message.
    pub(super) async fn ask(&mut self, order: Order, body: Shown) -> Heard {
        let (done, heard) = oneshot::channel();
        let broke = || Heard::Failed("the connection broke".to_owned());
        if self.jobs.send(Job { order, body, done }).await.is_err() {
            return broke();
        }
        heard.await.unwrap_or_else(|_| broke())
    }
}

/// Answers the session's questions.
struct Talker {
    jobs: mpsc::Receiver<Job>,
    done: Option<oneshot::Sender<Heard>>,
    body: Shown,
}

impl Handler<Session> for Talker {
    async fn answer(&mut self, ask: Ask) -> Answer {
        match ask {
            Ask::Next(heard) => self.next(heard).await,
            Ask::Body { offset, octets_max } => match self.body.read(offset, octets_max) {
                Ok(octets) => Answer::Chunk(octets),
                Err(error) => {
                    tracing::error!(error, "a message cannot be read for an adviser");
                    Answer::Quit
                }
            },
        }
    }
}

impl Talker {
    async fn next(&mut self, heard: Heard) -> Answer {
        let failed = matches!(heard, Heard::Failed(_));
        if let Some(done) = self.done.take() {
            let _gone = done.send(heard);
        }
        let job = if failed { None } else { self.jobs.recv().await };
        let Some(Job { order, body, done }) = job else { return Answer::Quit };
        self.done = Some(done);
        self.body = body;
        Answer::Do(order)
    }
}
