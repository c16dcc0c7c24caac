//! The way to the single writer: a queue before its thread, or the writer itself, in place.

use crate::backlog::{Backlog, block_on};
use crate::commit::{self, Command, Committer, Job, Until};
use crate::error::{Error, Result};
use crate::tx::WriteTx;
use std::sync::{Arc, Mutex, PoisonError};

/// Where writes go.
pub(crate) enum Door {
    /// To the writer's thread.
    Queue(Arc<Backlog<Command>>),
    /// Done at once by whoever asks; nobody else's jobs join the group.
    InPlace(Box<Mutex<Committer>>),
}

impl Door {
    /// Runs a closure on the writer and waits for the durable commit, in this thread.
    pub(crate) fn write<T: Send + 'static>(&self, f: impl FnMut(&mut WriteTx) -> Result<T> + Send + 'static) -> Result<T> {
        let (job, outcome) = commit::job(Until::Durable, f);
        self.command(Command::Write(job))?;
        commit::settle(block_on(outcome))
    }

    /// The same for callers that may not be blocked, and say what they wait for.
    pub(crate) async fn write_async<T: Send + 'static>(
        &self,
        until: Until,
        f: impl FnMut(&mut WriteTx) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (job, outcome) = commit::job(until, f);
        match self {
            Self::Queue(backlog) => backlog.push(Command::Write(job)).await?,
            Self::InPlace(_) => self.command(Command::Write(job))?,
        }
        commit::settle(outcome.await)
    }

    /// Hands a command over; what comes of it is in its own channel.
    pub(crate) fn command(&self, command: Command) -> Result<()> {
        match self {
            Self::Queue(backlog) => block_on(backlog.push(command)),
            Self::InPlace(committer) => {
                let mut committer = committer.lock().unwrap_or_else(PoisonError::into_inner);
                if committer.shared().closed.load(std::sync::atomic::Ordering::Relaxed) {
                    return Err(Error::Closed);
                }
                committer.run(command, &mut || None);
                committer.shared().files.sweep();
                Ok(())
            }
        }
    }
}

/// The writer's thread: until the queue is closed and empty.
pub(crate) fn write_loop(mut committer: Committer, backlog: &Backlog<Command>) {
    while let Some(command) = backlog.pop() {
        committer.run(command, &mut || next_write(backlog));
    }
    committer.finish();
}

fn next_write(backlog: &Backlog<Command>) -> Option<Box<dyn Job>> {
    match backlog.pop_if(|command| matches!(command, Command::Write(_)))? {
        Command::Write(job) => Some(job),
        _ => None,
    }
}
