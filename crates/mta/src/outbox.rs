//! The mail path's side of the Outbox: a message that waits is put into it, released when its time has come, and those
//! whom it did not reach are written into the sender's copy.
//!
//! Not what the sender does there: that is decided in the store (`store::outbox`), in the commit of the act.
//!
//! Invariant: nothing of a message is handed to anybody before its release is committed.

use crate::local::Arrival;
use mail::digest::Digest;
use mail::{Event, ReceiptId, Timestamp};
use std::fmt::Write as _;
use store::{Body, Final, QueueMessage, ReadTx, RecipientState, WriteTx};

/// Longest reason of a failure that is written into the copy, octets. Our own bound; the report has all.
const REASON_OCTETS_MAX: usize = 500;

/// Puts the sender's copy of a message that waits into the Outbox; the event for the message's trail.
pub(crate) fn enter(tx: &mut WriteTx, arrival: &Arrival, receipt: ReceiptId, now: Timestamp) -> store::Result<Option<Event>> {
    let (Some(account), Some((body, digest)), Some(until)) = (arrival.account, &arrival.copy, arrival.terms.hold_until) else {
        return Ok(None);
    };
    let placed = tx.outbox_add(account, receipt, body, digest, now)?;
    Ok(placed.map(|(mailbox, added)| Event::Held { until, account, mailbox, email: added.email, uid: added.uid }))
}

/// Whether a message of the queue is to be released before anything else.
pub(crate) fn waits(tx: &ReadTx, message: &QueueMessage) -> store::Result<bool> {
    Ok(message.account.is_some() && message.terms.hold_until.is_some() && tx.outbox_waits(message.receipt)?)
}

/// Writes those who have failed so far into the sender's copy, if the Outbox has one.
pub(crate) fn failed(tx: &mut WriteTx, message: &QueueMessage, now: Timestamp) -> store::Result<()> {
    let Some(outgoing) = tx.outgoing(message.receipt)? else { return Ok(()) };
    let Some(email) = tx.email(outgoing.account, outgoing.email)? else { return Ok(()) };
    let fields = fields(message);
    let rest = tx.blob_read(&email.blob, outgoing.added_octets.into(), usize::MAX)?;
    let octets = [fields.as_bytes(), &rest].concat();
    let added_octets = u32::try_from(fields.len()).unwrap_or(0);
    tx.outbox_failed(message.receipt, &Body::new(&octets), &Digest::of(&octets), added_octets, now)
}

/// Who did not get it, as other servers say it too, and why.
fn fields(message: &QueueMessage) -> String {
    let (mut who, mut why) = (Vec::new(), String::new());
    for entry in &message.recipients {
        let RecipientState::Done(Final::Failed { status, reason, .. }) = &entry.state else { continue };
        who.push(entry.recipient.address.to_string());
        let _ = write!(why, "X-Failure: {}: {status} {}\r\n", entry.recipient.address, one_line(reason));
    }
    format!("X-Failed-Recipients: {}\r\n{why}", who.join(",\r\n "))
}

/// A peer's words as part of a header field: without what would end it.
fn one_line(reason: &str) -> String {
    let words: Vec<&str> = reason.split(|c: char| c.is_control() || c.is_whitespace()).filter(|word| !word.is_empty()).collect();
    let line = words.join(" ");
    let end = (0..=line.len().min(REASON_OCTETS_MAX)).rev().find(|end| line.is_char_boundary(*end)).unwrap_or(0);
    line.get(..end).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_stays_in_its_field() {
        assert_eq!(one_line("550 5.1.1 no\r\nSubject: x\t y"), "550 5.1.1 no Subject: x y");
        assert_eq!(one_line(&"ä".repeat(300)).len(), 500);
        assert_eq!(one_line(&format!("x{}", "ä".repeat(300))).len(), 499);
    }
}
