//! The running server as an administrator sees it: what it is doing, and that it should read its
//! config again.

use super::{Admin, Operation};
use crate::failure::{Code, Failure, Result};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A running server.
pub trait Service: Send + Sync {
    /// What it is doing.
    fn status(&self) -> Running;
    /// Reads config and certificates again; new sessions use them.
    ///
    /// # Errors
    /// When the file is bad: everything stays as it was.
    fn reload(&self) -> Result<Reloaded>;
    /// The settings in use.
    fn config(&self) -> Arc<crate::config::Config>;
    /// The mail path's settings as they are now.
    fn mail(&self) -> Arc<mta::Settings>;
    /// Destinations of mail for these domains that could not be reached are tried again as soon as mail for them is due.
    fn urge(&self, domains: Vec<mail::Domain>);
    /// How the destinations are that the queue knows something of.
    fn destinations(&self) -> Vec<mta::queue::DestinationView>;
    /// Tries a message that nobody sent. Waits: not for a thread of the runtime.
    ///
    /// # Errors
    /// When it is larger than what is taken.
    fn try_message(&self, bringer: mta::receive::Bringer, message: &[u8]) -> Result<mta::receive::Tried>;
    /// Bans were changed in the store.
    fn bans_changed(&self);
}

/// What a running server says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    /// The version that runs.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// The name it gives itself.
    pub hostname: String,
    /// The data directory.
    pub data: String,
    /// When it was started, RFC 3339.
    pub started: String,
    /// For how long it has run, seconds.
    pub uptime_seconds: u64,
    /// Its ports.
    pub listeners: Vec<ListenerView>,
}

/// One port of a running server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerView {
    /// What is spoken there.
    pub name: String,
    /// Address and port.
    pub address: String,
    /// Connections open now.
    pub connections: u64,
    /// Connections taken since the start.
    pub connections_total: u64,
}

/// A running server and what it holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusView {
    /// The process and its ports.
    #[serde(flatten)]
    pub running: Running,
    /// How many domains are ours.
    pub domains: u64,
    /// How many users there are.
    pub users: u64,
    /// How many messages wait for other servers.
    pub queued: u64,
}

/// Asks how the server is.
#[derive(Debug, Serialize, Deserialize)]
pub struct Status {}

impl Operation for Status {
    const NAME: &'static str = "service.status";
    type Answer = StatusView;

    fn run(self, on: &Admin) -> Result<StatusView> {
        let running = service(on)?.status();
        on.read(move |tx| {
            let (domains, users) = (tx.domains()?.len() as u64, tx.accounts()?.len() as u64);
            Ok(StatusView { running, domains, users, queued: tx.queue_len()? })
        })
    }
}

/// What a reload did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    /// The file that was read.
    pub config: Option<String>,
    /// Keys that changed but need a restart.
    pub need_restart: Vec<String>,
}

/// Has the server read its config and certificates again.
#[derive(Debug, Serialize, Deserialize)]
pub struct Reload {}

impl Operation for Reload {
    const NAME: &'static str = "service.reload";
    type Answer = Reloaded;

    fn run(self, on: &Admin) -> Result<Reloaded> {
        service(on)?.reload()
    }
}

pub(super) fn service(on: &Admin) -> Result<&dyn Service> {
    on.service.as_deref().ok_or_else(|| Failure::new(Code::Unreachable, "no server runs on this data directory"))
}
