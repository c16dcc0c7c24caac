//! What would become of a message that nobody sent, if somebody brought it now: the receiver's own way, from RCPT to the
//! commit, which is then taken back.
//!
//! Differs from what happens to mail in this alone: advisers are not asked, for they act; a first contact that would have
//! to come again is noted and goes on; nobody waits.
//!
//! Invariants
//! - Nothing is written: no mail, no trail, no greeting, no count.
//! - The trail is the one that the message would have.

use super::data::{Ready, take_for_somebody};
use super::rejects::Keep;
use super::{Context, Receiver, refusal};
use crate::advisers::Advisers;
use crate::local::Arrival;
use crate::settings::FirstContact;
use mail::{Address, Event, Recipient, ReversePath, TrailEntry};
use smtp::Reply;
use smtp::server::{MailCommand, Role};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use store::WriteTx;

/// Octets of a message that are taken at once, as a session gives them.
const CHUNK_OCTETS: usize = 64 * 1024;

/// Who would bring it, and to whom.
#[derive(Debug, Clone)]
pub struct Bringer {
    /// Its address.
    pub peer: IpAddr,
    /// What it calls itself.
    pub helo: String,
    /// The envelope's sender.
    pub reverse_path: ReversePath,
    /// The envelope's recipients; none: only what does not depend on them is found out.
    pub recipients: Vec<Address>,
}

/// What would become of a message.
#[derive(Debug, Clone)]
pub struct Tried {
    /// The trail that it would have.
    pub trail: Vec<TrailEntry>,
    /// What its bringer would hear.
    pub reply: Reply,
    /// To which command.
    pub command: &'static str,
    /// What it would hear at first, as one that never brought such mail.
    pub come_again: Option<Reply>,
    /// How much later it would hear the reply, as one that never brought such mail.
    pub slowed: Option<Duration>,
    /// Who would be asked as well, and was not.
    pub unasked: Vec<String>,
}

/// What a trial notes.
#[derive(Debug, Default)]
pub(super) struct Trial {
    /// The reply to a first contact.
    pub(super) come_again: Option<Reply>,
}

impl Receiver {
    /// Tries a message with lines that end in CRLF, as a stranger's on the MX port.
    pub async fn try_message(context: Arc<Context>, bringer: Bringer, message: &[u8]) -> Tried {
        let mut receiver = Self::new(context, Role::Mx, bringer.peer);
        receiver.trial = Some(Trial::default());
        let unasked = receiver.advisers.names();
        receiver.advisers = Advisers::none(&receiver.context);
        receiver.ask_lists();
        receiver.helo(bringer.helo, true, None);
        let command = MailCommand { size: Some(message.len() as u64), ..MailCommand::new(bringer.reverse_path) };
        let mut last = ("MAIL", receiver.mail(command));
        for recipient in bringer.recipients {
            let reply = receiver.rcpt(Recipient::new(recipient)).await;
            // Refused for one, it can be taken for another.
            if last.0 == "MAIL" || !last.1.is_positive() {
                last = ("RCPT", reply);
            }
        }
        let slowed = match receiver.context.settings.receive.filter.first_contact {
            FirstContact::Slow(wait) if receiver.is_slowed => Some(wait),
            _ => None,
        };
        let (command, reply, events) = Box::pin(receiver.try_data(last, message)).await;
        let at = receiver.context.clock.wall();
        let trail = events.into_iter().map(|event| TrailEntry { at, event }).collect();
        let come_again = receiver.trial.and_then(|trial| trial.come_again);
        Tried { trail, reply, command, come_again, slowed, unasked }
    }

    /// The end of the message: what is said to which command, and the trail.
    async fn try_data(&mut self, last: (&'static str, Reply), message: &[u8]) -> (&'static str, Reply, Vec<Event>) {
        const DATA: &str = "DATA";
        let Some(mut transaction) = self.transaction.take() else { return (last.0, last.1, Vec::new()) };
        let (chunks, end) = message.split_at(message.len().saturating_sub(1) / CHUNK_OCTETS * CHUNK_OCTETS);
        for chunk in chunks.chunks(CHUNK_OCTETS) {
            if let Err(reply) = self.take_chunk(&mut transaction, chunk) {
                return (DATA, reply, Vec::new());
            }
        }
        let ready = match self.decided(&mut transaction, end.to_vec()).await {
            Ok(ready) => ready,
            Err(refused) => {
                let (reply, mut events) = (refused.reply.clone(), self.told_of(&transaction, &refused));
                events.extend(self.try_keep(refused.keep).await);
                return if last.1.is_positive() { (DATA, reply, events) } else { (last.0, last.1, events) };
            }
        };
        let taken = Reply::new(250, (2, 6, 0), "accepted");
        if transaction.is_for_traps_alone() {
            return (DATA, taken, self.sprung(&transaction, &ready));
        }
        let is_for_nobody = transaction.recipients.is_empty();
        match self.try_commit(&transaction, ready).await {
            Ok(events) if is_for_nobody && !last.1.is_positive() => (last.0, last.1, events),
            Ok(events) => (DATA, taken, events),
            Err(reply) => (DATA, reply, Vec::new()),
        }
    }

    /// Keeps a refused message, and takes it back.
    async fn try_keep(&self, keep: Option<Box<Keep>>) -> Vec<Event> {
        let Some(keep) = keep else { return Vec::new() };
        let now = self.context.clock.wall();
        self.take_back(move |tx| keep.put(tx, keep.receipt, now)).await.unwrap_or_default()
    }

    /// Writes, and takes it back; what was written, as `write` tells.
    async fn take_back<T: Send + 'static>(
        &self,
        mut write: impl FnMut(&mut WriteTx) -> store::Result<T> + Send + 'static,
    ) -> store::Result<T> {
        let told = Arc::new(Mutex::new(None));
        let inside = Arc::clone(&told);
        let written = self.context.store.write(move |tx: &mut WriteTx| {
            let result = write(tx)?;
            *inside.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
            Err::<(), _>(store::Error::Invalid("taken back".to_owned()))
        });
        let outcome = written.await;
        let told = told.lock().unwrap_or_else(PoisonError::into_inner).take();
        match (told, outcome) {
            (Some(told), _) => Ok(told),
            (None, Err(error)) => Err(error),
            (None, Ok(())) => Err(store::Error::Closed),
        }
    }

    /// Commits, and takes it back.
    async fn try_commit(&self, transaction: &super::Transaction, ready: Ready) -> Result<Vec<Event>, Reply> {
        let permanent = self.context.settings.receive.over_quota_is_permanent;
        let arrival = self.arrival(transaction, ready).map_err(|error| refusal::from_store(&error, permanent))?;
        if arrival.recipients.is_empty() {
            let Arrival { accepted, judged, refused, .. } = arrival;
            return Ok(std::iter::once(accepted).chain(judged).chain(refused).collect());
        }
        let (now, settings) = (self.context.clock.wall(), Arc::clone(&self.context.settings));
        let written = self.take_back(move |tx| {
            let placed = take_for_somebody(tx, &arrival, now, &settings)?;
            tx.trail(placed.receipt)
        });
        match written.await {
            Ok(trail) => Ok(trail.into_iter().map(|entry| entry.event).collect()),
            Err(error) => Err(refusal::from_store(&error, permanent)),
        }
    }
}
