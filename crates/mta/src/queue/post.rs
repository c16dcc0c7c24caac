//! What the queue's tasks share, and the way by which outcomes reach the one that commits them.

use super::board::{Board, Job};
use super::commit::{Completion, Kind};
use super::outcome::Tried;
use crate::counters::Counters;
use crate::deliver::World;
use crate::detour::Probes;
use crate::receive::KeyRing;
use crate::settings::Settings;
use std::sync::Arc;
use store::Store;
use tokio::sync::{mpsc, oneshot};

/// What the queue's tasks share.
pub(crate) struct Post {
    pub(crate) store: Store,
    pub(crate) settings: Arc<Settings>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) world: World,
    pub(crate) board: Board,
    /// Which domains' direct ways are being tried again.
    pub(crate) probes: Probes,
    /// What mail of our own is signed with.
    pub(crate) keys: KeyRing,
    pub(crate) completions: mpsc::Sender<Completion>,
}

impl Post {
    /// Hands a job's outcome over to be committed. `committed` is told when it is.
    pub(crate) async fn settle(&self, job: &Job, tried: Vec<Tried>, committed: Option<oneshot::Sender<()>>) {
        self.complete(job, Kind::Tried(tried), committed).await;
    }

    /// A job leaves the board; what became of it is handed over to be committed.
    pub(crate) async fn complete(&self, job: &Job, kind: Kind, committed: Option<oneshot::Sender<()>>) {
        let completion = Completion::new(job.message.receipt, kind, self.board.leave(job), committed);
        if self.completions.send(completion).await.is_err() {
            tracing::error!("an outcome came after the queue had ended; its delivery will be repeated");
        }
    }
}
