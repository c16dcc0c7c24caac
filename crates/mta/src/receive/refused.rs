//! A message that is refused as a whole at its end: the peer hears why, and a receipt by which an administrator finds
//! out more (`postrider explain`).
//!
//! Not the reasons: those are in `inspect` and `judge`.
//!
//! Invariants
//! - The reply is said whether its trail could be written or not; without it names no receipt.
//! - Only what will never be taken has a trail: who is told to come back will be seen again.

use super::inspect::Inspected;
use super::{Receiver, Transaction, words_of};
use crate::local::Figures;
use mail::event::Source;
use mail::{EnhancedStatus, Event, ReceiptId, TrailEntry, header};
use smtp::Reply;
use smtp::server::{Answer, Role};
use store::REJECTIONS_MAX;

/// Most recipients that a trail names. Our own bound.
const RECIPIENTS_MAX: usize = 100;
/// Longest Message-ID that is found again, octets. Our own bound.
const MESSAGE_ID_OCTETS_MAX: usize = 998;

/// Why a message is not taken, and what is known of it.
pub(super) struct Refused {
    pub(super) reply: Reply,
    /// What was found out, for the trail.
    events: Vec<Event>,
    /// For the report to its author's domain.
    figures: Option<Figures>,
    message_id: Option<String>,
    octets: u64,
}

impl From<Reply> for Refused {
    fn from(reply: Reply) -> Self {
        Self { reply, events: Vec::new(), figures: None, message_id: None, octets: 0 }
    }
}

impl Refused {
    /// With what its author's domain is to be told.
    pub(super) fn with(self, events: Vec<Event>, figures: Option<Figures>) -> Self {
        Self { events, figures, ..self }
    }

    /// With what was found out about the message.
    pub(super) fn after(self, inspected: Option<Inspected>, judged: Vec<Event>) -> Self {
        let (events, figures) = inspected.map_or_else(Default::default, |inspected| (inspected.events, inspected.figures));
        Self { events: events.into_iter().chain(judged).collect(), figures, ..self }
    }

    /// With what the message says of itself.
    pub(super) fn about(mut self, block: &[u8], octets: u64) -> Self {
        let named = header::value(block, "Message-ID").and_then(|id| id.split(['<', '>']).nth(1).map(str::to_owned));
        self.message_id = named.filter(|id| id.len() <= MESSAGE_ID_OCTETS_MAX);
        self.octets = octets;
        self
    }
}

impl Receiver {
    /// Refuses the message of a transaction.
    pub(super) async fn refuse(&self, transaction: &Transaction, refused: Refused) -> Answer {
        if !refused.reply.is_permanent() || self.role == Role::Lmtp {
            return self.reply(refused.reply);
        }
        let mut reply = refused.reply.clone();
        match self.keep(transaction, refused).await {
            Ok(receipt) => reply.text.extend(["; receipt ", &receipt.to_string()]),
            Err(error) => tracing::warn!(%error, "the trail of a refused message could not be written"),
        }
        self.reply_in(transaction, reply)
    }

    async fn keep(&self, transaction: &Transaction, refused: Refused) -> store::Result<ReceiptId> {
        let now = self.context.clock.wall();
        let events = self.told_of(transaction, &refused);
        let (figures, wanted) = (refused.figures, self.context.receipt(now));
        let written = self.context.store.write(move |tx| {
            let receipt = if tx.receipt_take(wanted)? { wanted } else { tx.receipt_next(now)? };
            let entries: Vec<_> = events.iter().map(|event| TrailEntry { at: now, event: event.clone() }).collect();
            tx.trail_reject(receipt, &entries, REJECTIONS_MAX)?;
            if let Some(figures) = &figures {
                figures.count(tx)?;
            }
            Ok(receipt)
        });
        written.await
    }

    /// What the trail of a refused message tells.
    pub(super) fn told_of(&self, transaction: &Transaction, refused: &Refused) -> Vec<Event> {
        let rejected = self.rejected(transaction, refused);
        std::iter::once(rejected).chain(refused.events.iter().cloned()).chain(transaction.refused.iter().cloned()).collect()
    }

    fn rejected(&self, transaction: &Transaction, refused: &Refused) -> Event {
        let recipients = transaction.recipients.iter().take(RECIPIENTS_MAX);
        Event::Rejected {
            source: if self.role == Role::Submission { Source::Submission } else { Source::Mx },
            peer: Some(self.peer),
            helo: self.helo.clone(),
            tls: self.tls.as_ref().map(words_of),
            account: self.account,
            reverse_path: transaction.mail.reverse_path.clone(),
            recipients: recipients.map(|accepted| accepted.recipient.address.clone()).collect(),
            message_id: refused.message_id.clone(),
            octets: refused.octets,
            code: refused.reply.code,
            status: refused.reply.status.unwrap_or(EnhancedStatus::new(5, 0, 0)),
            text: refused.reply.text.clone(),
        }
    }
}
