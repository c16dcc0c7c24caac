//! Spam traps: addresses that nobody was ever given. Who writes to one got it from a list of guessed or stolen addresses.
//!
//! A trap is answered as any recipient, or the sender would strike it from the list. Its mail is not kept: the trail
//! tells of it, and the server learns who brought it. Where the same message is for real people too, that speaks
//! against it.
//!
//! Invariant: only what strangers bring on the MX port springs a trap.

use super::data::Ready;
use super::{Receiver, Transaction, refusal};
use mail::event::Source;
use mail::{Event, Recipient, TrailEntry};
use smtp::Reply;

/// Most traps of one message that the trail tells of. Our own bound.
const TOLD_MAX: usize = 20;

impl Receiver {
    /// Whether a recipient is a trap for this peer.
    pub(super) fn is_trap(&self, recipient: &Recipient) -> bool {
        let traps = &self.context.settings.receive.filter.traps;
        !traps.is_empty() && self.is_judged() && traps.iter().any(|trap| trap.key() == recipient.address.key())
    }

    /// Notes a trap that was written to.
    pub(super) fn trapped(&mut self, recipient: Recipient) -> Reply {
        let Some(transaction) = &mut self.transaction else { return refusal::out_of_order() };
        if transaction.traps.len() < TOLD_MAX {
            transaction.traps.push(recipient.address);
        }
        Reply::new(250, (2, 1, 5), "OK")
    }

    /// What the trail of a message for traps alone tells.
    pub(super) fn sprung(&self, transaction: &Transaction, ready: &Ready) -> Vec<Event> {
        let accepted = Event::Accepted {
            source: Source::Mx,
            peer: Some(self.peer),
            helo: self.helo.clone(),
            tls: None,
            account: None,
            reverse_path: transaction.mail.reverse_path.clone(),
            message_id: ready.digest.message_id.clone(),
            octets: ready.body.octets(),
        };
        let discarded =
            |trap: &mail::Address| Event::Discarded { recipient: trap.clone(), reason: "the address is a spam trap".to_owned() };
        [accepted].into_iter().chain(transaction.traps.iter().map(discarded)).collect()
    }

    /// A message for traps alone: nothing is kept of it but its trail.
    pub(super) async fn spring(&self, transaction: &Transaction, ready: &Ready) -> Reply {
        let events = self.sprung(transaction, ready);
        let (now, subjects) = (self.context.clock.wall(), ready.judged.subjects.clone());
        let written = self.context.store.write(move |tx| {
            let receipt = tx.receipt_next(now)?;
            tx.trap_sprung(&subjects, now)?;
            let entries: Vec<_> = events.iter().map(|event| TrailEntry { at: now, event: event.clone() }).collect();
            tx.trail_append(receipt, &entries)?;
            Ok(receipt)
        });
        match written.await {
            Ok(receipt) => {
                tracing::info!(%receipt, peer = %self.peer, "a spam trap was sprung");
                Reply::new(250, (2, 6, 0), format!("{receipt} accepted"))
            }
            Err(error) => refusal::from_store(&error, false),
        }
    }
}
