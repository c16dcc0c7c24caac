//! What an administrator may do to queued mail, as functions over one transaction of the store.
//!
//! Not who may: that is the caller's business. The running queue hears of changes through the store's
//! subscription; an attempt that is under way goes on, and what it brings is written to the message
//! as it is then.

use super::commit::{handled, write_judged};
use super::outcome::{Tried, judge};
use crate::settings::Settings;
use mail::{Address, Domain, EnhancedStatus, Event, ReceiptId, Timestamp, TrailEntry};
use smtp::client::Class;
use store::{Error, Final, HoldRule, QueueMessage, QueueRecipient, RecipientState, Result, WriteTx};

/// Makes a message, or one of its recipients, due now. A held message stays held. Tell
/// [`Urge`](super::Urge) before, or it may wait until its destination is no longer left alone.
///
/// # Errors
/// [`Error::NotFound`] when there is no such message or no such open recipient.
pub fn retry(tx: &mut WriteTx, receipt: ReceiptId, recipient: Option<&Address>, now: Timestamp) -> Result<()> {
    let mut message = find(tx, receipt)?;
    for entry in chosen(&mut message, recipient)? {
        if let RecipientState::Open { next, .. } = &mut entry.state {
            *next = now;
        }
    }
    note(tx, &message, handled("retry", recipient), now)?;
    tx.queue_put(&message)
}

/// Messages that [`retry_domain`] makes due in one transaction. Our own bound; what lies behind has its own times.
const HASTENED_MAX: usize = 10_000;

/// Makes what waits for a domain, or also for its subdomains, due now; how many messages, is returned. What its
/// sender or an administrator holds stays held. Looks at what waits for these domains only, however long the queue is.
///
/// # Errors
/// Those of the store.
pub fn retry_domain(tx: &mut WriteTx, domain: &Domain, subdomains: bool, now: Timestamp) -> Result<usize> {
    let lanes = if subdomains { tx.queue_waiting_lanes()? } else { vec![domain.clone()] };
    let (mut messages, mut left) = (0, HASTENED_MAX);
    for lane in lanes.iter().filter(|lane| is_of(lane, domain, subdomains)) {
        let waiting = tx.queue_waiting(lane, left)?;
        left -= waiting.len().min(left);
        for receipt in waiting {
            let Some(mut message) = tx.queue_message(receipt)? else { continue };
            let held = message.held || message.terms.hold_until.is_some_and(|until| until > now);
            if !held && hasten(&mut message, domain, subdomains, now) {
                note(tx, &message, handled("retry", None), now)?;
                tx.queue_put(&message)?;
                messages += 1;
            }
        }
    }
    Ok(messages)
}

/// Whether a domain is the one that is meant, or below it where that is meant too.
fn is_of(domain: &Domain, wanted: &Domain, subdomains: bool) -> bool {
    let below = || domain.as_str().strip_suffix(wanted.as_str()).is_some_and(|rest| rest.ends_with('.'));
    domain == wanted || (subdomains && below())
}

/// Whether anything is due earlier by it.
fn hasten(message: &mut QueueMessage, domain: &Domain, subdomains: bool, now: Timestamp) -> bool {
    let mut hastened = false;
    for entry in &mut message.recipients {
        let meant = is_of(entry.recipient.address.domain(), domain, subdomains);
        if let RecipientState::Open { next, .. } = &mut entry.state
            && meant
            && *next > now
        {
            *next = now;
            hastened = true;
        }
    }
    hastened
}

/// Keeps a message from being tried until it is released. Its lifetime goes on.
///
/// # Errors
/// [`Error::NotFound`] when there is no such message.
pub fn hold(tx: &mut WriteTx, receipt: ReceiptId, now: Timestamp) -> Result<()> {
    set_held(tx, receipt, true, None, now)
}

/// The same because of a rule.
///
/// # Errors
/// [`Error::NotFound`] when there is no such message.
pub fn hold_by(tx: &mut WriteTx, receipt: ReceiptId, rule: &HoldRule, now: Timestamp) -> Result<()> {
    set_held(tx, receipt, true, Some(rule.number), now)
}

/// Lets a held message be tried again, at the times that were set before.
///
/// # Errors
/// [`Error::NotFound`] when there is no such message.
pub fn release(tx: &mut WriteTx, receipt: ReceiptId, now: Timestamp) -> Result<()> {
    set_held(tx, receipt, false, None, now)
}

fn set_held(tx: &mut WriteTx, receipt: ReceiptId, held: bool, rule: Option<u32>, now: Timestamp) -> Result<()> {
    let mut message = find(tx, receipt)?;
    message.held = held;
    message.held_by = rule;
    let action = match rule {
        Some(number) => &format!("hold by rule {number}"),
        None if held => "hold",
        None => "release",
    };
    note(tx, &message, handled(action, None), now)?;
    tx.queue_put(&message)
}

/// Gives a message, or one of its recipients, up and reports the failure to the sender.
///
/// # Errors
/// [`Error::NotFound`] when there is no such message or no such open recipient.
pub fn bounce(tx: &mut WriteTx, receipt: ReceiptId, recipient: Option<&Address>, now: Timestamp, settings: &Settings) -> Result<()> {
    let mut message = find(tx, receipt)?;
    let places = places(&message, recipient)?;
    let words = "an administrator gave the message up";
    let status = EnhancedStatus::new(5, 7, 0);
    let tried: Vec<_> = places.into_iter().map(|place| Tried::ours(place, Class::Permanent, status, words.to_owned())).collect();
    let mut judged = judge(&message, &tried, now, &settings.queue);
    judged.events.retain(|event| !matches!(event, Event::Attempted { .. }));
    judged.events.insert(0, handled("bounce", recipient));
    write_judged(tx, &mut message, judged, now, settings).map(|_| ())
}

/// Takes a message, or one of its recipients, out of the queue without a word to the sender.
///
/// # Errors
/// [`Error::NotFound`] when there is no such message or no such open recipient.
pub fn drop(tx: &mut WriteTx, receipt: ReceiptId, recipient: Option<&Address>, now: Timestamp) -> Result<()> {
    let mut message = find(tx, receipt)?;
    for entry in chosen(&mut message, recipient)? {
        entry.state = RecipientState::Done(Final::Dropped { at: now });
    }
    note(tx, &message, handled("drop", recipient), now)?;
    if message.recipients.iter().all(|entry| !is_open(entry)) { tx.queue_remove(receipt) } else { tx.queue_put(&message) }
}

fn find(tx: &WriteTx, receipt: ReceiptId) -> Result<QueueMessage> {
    tx.queue_message(receipt)?.ok_or_else(|| Error::NotFound("queued message".into()))
}

/// The open recipients that are meant.
fn chosen<'a>(message: &'a mut QueueMessage, recipient: Option<&Address>) -> Result<Vec<&'a mut QueueRecipient>> {
    let meant = |entry: &&mut QueueRecipient| is_open(entry) && recipient.is_none_or(|r| entry.recipient.address.key() == r.key());
    let chosen: Vec<_> = message.recipients.iter_mut().filter(meant).collect();
    if chosen.is_empty() { Err(Error::NotFound("open recipient".into())) } else { Ok(chosen) }
}

fn places(message: &QueueMessage, recipient: Option<&Address>) -> Result<Vec<usize>> {
    let meant = |entry: &QueueRecipient| is_open(entry) && recipient.is_none_or(|r| entry.recipient.address.key() == r.key());
    let places: Vec<_> = message.recipients.iter().enumerate().filter(|(_, entry)| meant(entry)).map(|(place, _)| place).collect();
    if places.is_empty() { Err(Error::NotFound("open recipient".into())) } else { Ok(places) }
}

fn is_open(entry: &QueueRecipient) -> bool {
    matches!(entry.state, RecipientState::Open { .. })
}

fn note(tx: &mut WriteTx, message: &QueueMessage, event: Event, now: Timestamp) -> Result<()> {
    tx.trail_append(message.receipt, &[TrailEntry { at: now, event }])
}
