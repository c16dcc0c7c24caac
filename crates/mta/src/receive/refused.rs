//! A message that is refused as a whole at its end: the peer hears why, and a receipt by which an administrator finds
//! out more (`postrider explain`). What its readers may look into all the same is kept for them in the same commit.
//!
//! Not the reasons: those are in `inspect` and `judge`. Not what is kept: that is in `rejects`.
//!
//! Invariants
//! - The reply is said whether its trail could be written or not; without it names no receipt.
//! - The trail is written whether the message could be kept or not.
//! - Only what will never be taken has a trail: who is told to come back will be seen again.

use super::data::Findings;
use super::inspect::Inspected;
use super::rejects::Keep;
use super::{Receiver, Transaction, words_of};
use crate::local::Figures;
use mail::event::Source;
use mail::{EnhancedStatus, Event, ReceiptId, Timestamp, TrailEntry, header};
use smtp::Reply;
use smtp::server::{Answer, Role};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use store::{REJECTIONS_MAX, WriteTx};

/// Most recipients that a trail names. Our own bound.
const RECIPIENTS_MAX: usize = 100;
/// Longest Message-ID that is found again, octets. Our own bound.
const MESSAGE_ID_OCTETS_MAX: usize = 998;

/// Why a message is not taken, and what is known of it.
pub(super) struct Refused {
    pub(super) reply: Reply,
    /// What was found out, for the trail.
    pub(super) events: Vec<Event>,
    /// For the report to its author's domain.
    figures: Option<Figures>,
    message_id: Option<String>,
    pub(super) octets: u64,
    /// What was found out, where the message may be kept for its readers.
    pub(super) findings: Option<Box<Findings>>,
    /// The message, if it is kept for them.
    pub(super) keep: Option<Box<Keep>>,
}

impl From<Reply> for Refused {
    fn from(reply: Reply) -> Self {
        Self { reply, events: Vec::new(), figures: None, message_id: None, octets: 0, findings: None, keep: None }
    }
}

impl Refused {
    /// For what was found out; its readers may look into it all the same.
    pub(super) fn for_its(mut findings: Findings, reply: Reply) -> Self {
        let (mut events, figures) = told(findings.inspected.as_mut());
        events.append(&mut findings.judged.events);
        Self { events, figures, findings: Some(Box::new(findings)), ..Self::from(reply) }
    }

    /// With what was found out about the message.
    pub(super) fn after(self, mut inspected: Option<Inspected>, judged: Vec<Event>) -> Self {
        let (events, figures) = told(inspected.as_mut());
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

/// What an inspection found out, for the trail and for the report.
fn told(inspected: Option<&mut Inspected>) -> (Vec<Event>, Option<Figures>) {
    inspected.map_or_else(Default::default, |inspected| (std::mem::take(&mut inspected.events), inspected.figures.take()))
}

/// What is written of a refusal.
struct Record {
    wanted: ReceiptId,
    at: Timestamp,
    events: Vec<Event>,
    figures: Option<Figures>,
}

impl Record {
    /// Writes it, and keeps the message; its receipt, and for how many accounts it was kept anew.
    fn write(&self, tx: &mut WriteTx, keep: Option<&Keep>) -> store::Result<(ReceiptId, u64)> {
        let receipt = if tx.receipt_take(self.wanted)? { self.wanted } else { tx.receipt_next(self.at)? };
        let kept = keep.map(|keep| keep.put(tx, receipt, self.at)).transpose()?.unwrap_or_default();
        let entries: Vec<_> = self.events.iter().chain(&kept).map(|event| TrailEntry { at: self.at, event: event.clone() }).collect();
        tx.trail_reject(receipt, &entries, REJECTIONS_MAX)?;
        if let Some(figures) = &self.figures {
            figures.count(tx)?;
        }
        let is_new = |event: &&Event| matches!(event, Event::Kept { again: false, .. });
        Ok((receipt, kept.iter().filter(is_new).count() as u64))
    }
}

impl Receiver {
    /// Refuses the message of a transaction.
    pub(super) async fn refuse(&self, transaction: &Transaction, refused: Refused) -> Answer {
        if !refused.reply.is_permanent() || self.role == Role::Lmtp {
            return self.reply(refused.reply);
        }
        let mut reply = refused.reply.clone();
        match self.record(transaction, refused).await {
            Ok(receipt) => reply.text.extend(["; receipt ", &receipt.to_string()]),
            Err(error) => tracing::warn!(%error, "the trail of a refused message could not be written"),
        }
        self.reply_in(transaction, reply)
    }

    async fn record(&self, transaction: &Transaction, refused: Refused) -> store::Result<ReceiptId> {
        let at = self.context.clock.wall();
        let events = self.told_of(transaction, &refused);
        let Refused { figures, keep, .. } = refused;
        let wanted = keep.as_ref().map_or_else(|| self.context.receipt(at), |keep| keep.receipt);
        let mut record = Arc::new(Record { wanted, at, events, figures });
        if let Some(keep) = keep {
            match self.written(&record, Some(keep)).await {
                Ok(receipt) => return Ok(receipt),
                Err(error) => {
                    tracing::warn!(%error, "a refused message could not be kept");
                    if let Some(record) = Arc::get_mut(&mut record) {
                        record.events.push(Event::NotKept { account: None, reason: error.to_string() });
                    }
                }
            }
        }
        self.written(&record, None).await
    }

    async fn written(&self, record: &Arc<Record>, keep: Option<Box<Keep>>) -> store::Result<ReceiptId> {
        let record = Arc::clone(record);
        let (receipt, kept) = self.context.store.write(move |tx| record.write(tx, keep.as_deref())).await?;
        self.context.counters.rejects_kept.fetch_add(kept, Ordering::Relaxed);
        Ok(receipt)
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
