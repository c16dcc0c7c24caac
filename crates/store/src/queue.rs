//! The queue: messages that another server must still take, and when each is tried next.
//!
//! Not the schedule (`mta::queue`): the store keeps what it decided.
//!
//! A message holds its blob. In which order messages are tried is kept by `lane`; a held message is in no order.

use crate::body::Body;
use crate::error::Result;
use crate::index::{Direction, KeyRange};
use crate::key;
use crate::record::{Record, decode};
use crate::schema::Space;
use crate::tx::{ReadTx, WriteTx};
use mail::event::Source;
use mail::{
    AccountId, Address, BlobHash, BodyType, EnhancedStatus, Event, ReceiptId, Recipient, Ret, ReversePath, Terms, Timestamp, TlsDemand,
    TrailEntry,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A message on its way to other servers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueMessage {
    /// The promise it was accepted under; its name in the queue.
    pub receipt: ReceiptId,
    /// How it came to us.
    pub source: Source,
    /// Where failures are reported.
    pub reverse_path: ReversePath,
    /// `RET=`
    pub ret: Option<Ret>,
    /// `ENVID=`, decoded.
    pub envelope_id: Option<String>,
    /// `BODY=`
    pub body: BodyType,
    /// Whether it needs SMTPUTF8.
    pub smtputf8: bool,
    /// Its octets.
    pub blob: BlobHash,
    /// How many octets at its start are not sent: our Return-Path field, and the verdict for our own readers.
    pub skip_octets: u32,
    /// Octets that are sent.
    pub octets: u64,
    /// When it was accepted.
    pub accepted: Timestamp,
    /// When it is given up.
    pub expires: Timestamp,
    /// Whether an administrator keeps it from being tried.
    pub held: bool,
    /// Whose it is, if one of our accounts sent it.
    pub account: Option<AccountId>,
    /// To whom; never none.
    pub recipients: Vec<QueueRecipient>,
    /// What its sender says of TLS (RFC 8689).
    pub tls: TlsDemand,
    /// What its sender asks of the time.
    pub terms: Terms,
    /// With which reverse-path it leaves for a recipient, by that one's place, where that is not the message's own:
    /// because it is forwarded, or because its sender wants a return path for each.
    pub return_paths: BTreeMap<u32, Address>,
    /// The rule by which it is held, if it was one.
    pub held_by: Option<u32>,
    /// How its sender asked for a later release, in the words of RFC 4865: `for;SECONDS` or `until;TIME`.
    pub release_request: Option<String>,
}

/// Format 2 of [`QueueMessage`]: one reverse-path for all.
#[derive(Serialize, Deserialize)]
struct QueueMessage2 {
    receipt: ReceiptId,
    source: Source,
    reverse_path: ReversePath,
    ret: Option<Ret>,
    envelope_id: Option<String>,
    body: BodyType,
    smtputf8: bool,
    blob: BlobHash,
    skip_octets: u32,
    octets: u64,
    accepted: Timestamp,
    expires: Timestamp,
    held: bool,
    account: Option<AccountId>,
    recipients: Vec<QueueRecipient>,
    tls: TlsDemand,
    terms: Terms,
}

impl From<QueueMessage2> for QueueMessage {
    fn from(old: QueueMessage2) -> Self {
        Self {
            receipt: old.receipt,
            source: old.source,
            reverse_path: old.reverse_path,
            ret: old.ret,
            envelope_id: old.envelope_id,
            body: old.body,
            smtputf8: old.smtputf8,
            blob: old.blob,
            skip_octets: old.skip_octets,
            octets: old.octets,
            accepted: old.accepted,
            expires: old.expires,
            held: old.held,
            account: old.account,
            recipients: old.recipients,
            tls: old.tls,
            terms: old.terms,
            return_paths: BTreeMap::new(),
            held_by: None,
            release_request: None,
        }
    }
}

/// Format 1 of [`QueueMessage`]: nothing was said of TLS, nor asked of the time.
#[derive(Serialize, Deserialize)]
struct QueueMessage1 {
    receipt: ReceiptId,
    source: Source,
    reverse_path: ReversePath,
    ret: Option<Ret>,
    envelope_id: Option<String>,
    body: BodyType,
    smtputf8: bool,
    blob: BlobHash,
    skip_octets: u32,
    octets: u64,
    accepted: Timestamp,
    expires: Timestamp,
    held: bool,
    account: Option<AccountId>,
    recipients: Vec<QueueRecipient>,
}

impl From<QueueMessage1> for QueueMessage2 {
    fn from(old: QueueMessage1) -> Self {
        Self {
            receipt: old.receipt,
            source: old.source,
            reverse_path: old.reverse_path,
            ret: old.ret,
            envelope_id: old.envelope_id,
            body: old.body,
            smtputf8: old.smtputf8,
            blob: old.blob,
            skip_octets: old.skip_octets,
            octets: old.octets,
            accepted: old.accepted,
            expires: old.expires,
            held: old.held,
            account: old.account,
            recipients: old.recipients,
            tls: TlsDemand::ByPolicy,
            terms: Terms::default(),
        }
    }
}

/// One recipient of a queued message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueRecipient {
    /// The recipient and what it wants to be told.
    pub recipient: Recipient,
    /// How far it is.
    pub state: RecipientState,
}

impl QueueRecipient {
    /// When it is tried next; `None`: it is finished.
    pub fn next(&self) -> Option<Timestamp> {
        match self.state {
            RecipientState::Open { next, .. } => Some(next),
            RecipientState::Done(_) => None,
        }
    }
}

/// How far a recipient is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum RecipientState {
    /// It is still to be tried.
    Open {
        /// Attempts so far.
        attempts: u32,
        /// When it is tried next.
        next: Timestamp,
        /// Whether the sender was told that it takes longer.
        delay_reported: bool,
        /// What the last attempt met, in words.
        last: Option<String>,
    },
    /// It is finished.
    Done(Final),
}

/// How a recipient ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Final {
    /// Another server, or one of our mailboxes, has it.
    Delivered {
        /// When.
        at: Timestamp,
        /// Which host took it.
        host: String,
    },
    /// It will not be delivered.
    Failed {
        /// When that was decided.
        at: Timestamp,
        /// Enhanced status.
        status: EnhancedStatus,
        /// Why, in words.
        reason: String,
    },
    /// An administrator dropped it without a report.
    Dropped {
        /// When.
        at: Timestamp,
    },
}

impl Record for QueueMessage {
    const SPACE: Space = Space::Queue;
    const NAME: &'static str = "queue record";
    const FORMAT: u8 = 3;

    fn upgrade(format: u8, octets: &[u8]) -> Option<Self> {
        match format {
            1 => postcard::from_bytes::<QueueMessage1>(octets).ok().map(|old| QueueMessage2::from(old).into()),
            2 => postcard::from_bytes::<QueueMessage2>(octets).ok().map(Self::from),
            _ => None,
        }
    }
}

/// How many messages are in the queue.
pub(crate) const QUEUE_LEN: &[u8] = b"queue_len";

impl QueueMessage {
    /// With which reverse-path it leaves for the recipient at a place.
    pub fn return_path(&self, place: usize) -> ReversePath {
        let own = u32::try_from(place).ok().and_then(|place| self.return_paths.get(&place));
        own.map_or_else(|| self.reverse_path.clone(), |own| ReversePath(Some(own.clone())))
    }

    /// When it is looked at next; `None`: it is held.
    pub fn due(&self) -> Option<Timestamp> {
        let open = self.recipients.iter().filter_map(QueueRecipient::next);
        if self.held { None } else { Some(open.min().unwrap_or(self.accepted)) }
    }
}

impl ReadTx {
    /// A queued message; `None`: it is not in the queue, or no longer.
    pub fn queue_message(&self, receipt: ReceiptId) -> Result<Option<QueueMessage>> {
        self.record(&key::receipt(receipt))
    }

    /// The messages behind a receipt in order of receipt, at most `max`; `ReceiptId(0)` starts.
    pub fn queue_all(&self, after: ReceiptId, max: usize) -> Result<Vec<QueueMessage>> {
        let range = KeyRange::all().after(&key::receipt(after));
        self.gather(Space::Queue, &range, Direction::Forward, max, decode)
    }

    /// How many messages are in the queue; one small read.
    pub fn queue_len(&self) -> Result<u64> {
        self.count(QUEUE_LEN)
    }
}

impl WriteTx {
    /// Puts a new message into the queue together with its octets.
    ///
    /// [`crate::Error::Exists`] when its receipt is in the queue.
    pub fn queue_add(&mut self, message: &QueueMessage, body: &Body) -> Result<()> {
        if self.queue_message(message.receipt)?.is_some() {
            return Err(crate::Error::Exists("queued message".into()));
        }
        if body.hash() != message.blob {
            return Err(crate::Error::Invalid("the queued message names another body".into()));
        }
        self.blob_put(body)?;
        self.queue_enter(message)
    }

    /// Updates a message of the queue, or puts a new one into it whose octets are stored already.
    ///
    /// [`crate::Error::NotFound`] when no such blob is stored.
    pub fn queue_put(&mut self, message: &QueueMessage) -> Result<()> {
        let Some(old) = self.queue_message(message.receipt)? else {
            self.blob_hold(&message.blob)?;
            return self.queue_enter(message);
        };
        if old.blob != message.blob {
            self.blob_hold(&message.blob)?;
            self.blob_release(&old.blob)?;
        }
        self.lanes_change(Some(&old), Some(message))?;
        self.announce_queue();
        self.save(&key::receipt(message.receipt), message)
    }

    fn queue_enter(&mut self, message: &QueueMessage) -> Result<()> {
        let len = self.queue_len()?;
        self.count_save(QUEUE_LEN, len.saturating_add(1))?;
        if let Some(held) = self.held_by_rule(message)? {
            let action = format!("hold by rule {}", held.held_by.unwrap_or_default());
            let event = Event::Handled { action, recipient: None };
            self.trail_append(message.receipt, &[TrailEntry { at: message.accepted, event }])?;
            return self.queue_keep(&held);
        }
        self.lanes_change(None, Some(message))?;
        self.queue_keep(message)
    }

    /// Saves a message that was not in the queue.
    fn queue_keep(&mut self, message: &QueueMessage) -> Result<()> {
        self.announce_queue();
        self.save_new(&key::receipt(message.receipt), message)
    }

    /// Takes a message out of the queue and lets go of its octets; its copy in the Outbox goes too. One that is not
    /// there is no error.
    pub fn queue_remove(&mut self, receipt: ReceiptId) -> Result<()> {
        let Some(message) = self.queue_message(receipt)? else { return Ok(()) };
        self.lanes_change(Some(&message), None)?;
        self.delete(Space::Queue, &key::receipt(receipt));
        self.blob_release(&message.blob)?;
        let len = self.queue_len()?;
        self.count_save(QUEUE_LEN, len.saturating_sub(1))?;
        self.announce_queue();
        if message.account.is_some() { self.outbox_sent(receipt) } else { Ok(()) }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::Store;
    use crate::testing::{address, now, said, tx};
    use std::time::Duration;

    fn later(minutes: u64) -> Timestamp {
        now().after(Duration::from_mins(minutes))
    }

    fn open(next: Timestamp) -> RecipientState {
        RecipientState::Open { attempts: 0, next, delay_reported: false, last: None }
    }

    pub(crate) fn queued(receipt: ReceiptId, body: &Body, next: Timestamp) -> QueueMessage {
        QueueMessage {
            receipt,
            source: Source::Submission,
            reverse_path: ReversePath(Some(address("ann@example.org"))),
            ret: None,
            envelope_id: None,
            body: BodyType::EightBitMime,
            smtputf8: false,
            blob: body.hash(),
            skip_octets: 0,
            octets: body.octets(),
            accepted: now(),
            expires: later(5 * 24 * 60),
            held: false,
            account: None,
            recipients: vec![QueueRecipient { recipient: Recipient::new(address("x@y.example")), state: open(next) }],
            tls: TlsDemand::ByPolicy,
            terms: Terms::default(),
            return_paths: BTreeMap::new(),
            held_by: None,
            release_request: None,
        }
    }

    fn due(tx: &ReadTx, minutes: u64) -> Vec<u64> {
        let range = KeyRange { from: Vec::new(), to: Some(key::queue_due(Timestamp(later(minutes).0 + 1), ReceiptId(0), "")) };
        tx.keys(Space::QueueDue, &range, 10).unwrap().iter().map(|key| key::number_u64(key, 8).unwrap()).collect()
    }

    #[test]
    fn messages_are_due_when_their_first_open_recipient_is() {
        let store = Store::memory();
        tx(&store, |tx| {
            let body = Body::new(b"a message");
            let message = |receipt: u64, next| queued(ReceiptId(receipt), &body, next);
            tx.queue_add(&message(1, later(20)), &body)?;
            tx.queue_add(&message(2, later(10)), &body)?;
            tx.queue_add(&message(3, later(20)), &body)?;
            assert_eq!(said(tx.queue_add(&message(3, now()), &body)), "queued message exists already");
            assert_eq!((due(tx, 9), due(tx, 10), due(tx, 20)), (vec![], vec![2], vec![2, 1, 3]));
            assert_eq!((tx.queue_next()?, tx.queue_len()?), (Some(later(10)), 3));

            let mut second = message(2, later(30));
            second.recipients.push(QueueRecipient { recipient: Recipient::new(address("z@y.example")), state: open(later(15)) });
            tx.queue_put(&second)?;
            assert_eq!((due(tx, 14), due(tx, 15)), (vec![], vec![2]));
            second.held = true;
            tx.queue_put(&second)?;
            assert_eq!(due(tx, 99), [1, 3]);
            second.held = false;
            for recipient in &mut second.recipients {
                recipient.state = RecipientState::Done(Final::Delivered { at: now(), host: "mx.y.example".into() });
            }
            tx.queue_put(&second)?;
            assert_eq!(due(tx, 0), [2], "what has nobody open is finished at once");
            assert_eq!(tx.queue_message(ReceiptId(2))?, Some(second));

            assert_eq!(tx.queue_all(ReceiptId(1), 1)?.iter().map(|m| m.receipt.0).collect::<Vec<_>>(), [2]);
            assert_eq!(tx.blob(&body.hash())?.map(|blob| blob.references), Some(3));
            for receipt in [1, 2, 3, 3] {
                tx.queue_remove(ReceiptId(receipt))?;
            }
            assert_eq!((tx.blob(&body.hash())?, tx.queue_len()?, due(tx, 99)), (None, 0, vec![]));
            Ok(())
        });
    }

    #[test]
    fn a_queued_message_needs_its_octets() {
        let store = Store::memory();
        tx(&store, |tx| {
            let (body, other) = (Body::new(b"one"), Body::new(b"other"));
            let message = queued(ReceiptId(1), &body, now());
            assert!(said(tx.queue_put(&message)).contains("does not exist"));
            assert_eq!(said(tx.queue_add(&message, &other)), "the queued message names another body");
            Ok(())
        });
    }
}
