//! Tells senders what became of their mail: failures, delays and, where asked for, success
//! (RFC 3461, RFC 3464).
//!
//! A report is a message of its own, with a null reverse-path and a receipt: it goes into the
//! sender's mailbox if the sender is ours, else into the queue. It is written in the transaction
//! that decides what it reports.
//!
//! Invariant: nothing is reported about a message with a null reverse-path.

use crate::forward::Prospect;
use crate::local::{self, Arrival, WhenFull};
use crate::queue::schedule::scramble;
use crate::settings::Settings;
use mail::date::DateTime;
use mail::digest::Digest;
use mail::dsn::{Action, Original, RecipientReport};
use mail::event::Source;
use mail::header;
use mail::{Address, BlobHash, BodyType, EnhancedStatus, Event, ReceiptId, Recipient, Ret, ReversePath, Terms, Timestamp, TlsDemand};
use store::{Body, Delivery, QueueMessage, Resolution, WriteTx};

/// A message up to this size goes back whole, unless its sender wants the header only; octets.
pub const RETURN_OCTETS_MAX: u64 = 50_000;
/// A message up to this size goes back whole if its sender asks for that; octets.
pub const RETURN_FULL_OCTETS_MAX: u64 = 1 << 20;
/// Most octets of a header that goes back.
pub const RETURN_HEADER_OCTETS_MAX: usize = 64 * 1024;

/// One report about some recipients of a message, all with the same action.
#[derive(Debug, Clone)]
pub(crate) struct Report {
    pub(crate) action: Action,
    pub(crate) recipients: Vec<RecipientReport>,
}

/// A recipient whose mailbox has the message.
fn delivered(recipient: &Recipient, now: Timestamp) -> RecipientReport {
    RecipientReport {
        recipient: recipient.clone(),
        action: Action::Delivered,
        status: EnhancedStatus::new(2, 1, 5),
        reason: None,
        remote_host: None,
        reply: None,
        last_attempt: Some(utc(now)),
        will_retry_until: None,
    }
}

/// The report of those recipients whose mailbox has the message and whose sender wants to hear of it, if there are any.
pub(crate) fn all_delivered<'a>(recipients: impl IntoIterator<Item = &'a Recipient>, now: Timestamp) -> Option<Report> {
    let wanted = |recipient: &&Recipient| recipient.notify.is_some_and(|notify| notify.success);
    let recipients: Vec<_> = recipients.into_iter().filter(wanted).map(|recipient| delivered(recipient, now)).collect();
    (!recipients.is_empty()).then_some(Report { action: Action::Delivered, recipients })
}

/// The message that a report is about.
#[derive(Debug, Clone)]
pub(crate) struct Subject {
    pub(crate) receipt: ReceiptId,
    pub(crate) reverse_path: ReversePath,
    pub(crate) ret: Option<Ret>,
    pub(crate) envelope_id: Option<String>,
    pub(crate) blob: BlobHash,
    pub(crate) skip_octets: u32,
    pub(crate) octets: u64,
    pub(crate) smtputf8: bool,
    pub(crate) tls: TlsDemand,
    pub(crate) accepted: Timestamp,
    pub(crate) release_request: Option<String>,
}

impl Subject {
    /// A message of the queue.
    pub(crate) fn queued(message: &QueueMessage) -> Self {
        Self {
            receipt: message.receipt,
            reverse_path: message.reverse_path.clone(),
            ret: message.ret,
            envelope_id: message.envelope_id.clone(),
            blob: message.blob,
            skip_octets: message.skip_octets,
            octets: message.octets,
            smtputf8: message.smtputf8,
            tls: message.tls,
            accepted: message.accepted,
            release_request: message.release_request.clone(),
        }
    }
}

/// Writes a report and brings it on its way; the events belong into the trail of its subject.
pub(crate) fn send(tx: &mut WriteTx, subject: &Subject, report: &Report, now: Timestamp, settings: &Settings) -> store::Result<Vec<Event>> {
    let Some(to) = subject.reverse_path.0.clone() else { return Ok(Vec::new()) };
    let targets = match tx.resolve_by(&to, &settings.receive.subaddress.separators)? {
        Resolution::Found(deliveries) => deliveries,
        Resolution::NotLocal => vec![Delivery::Forward(to.clone())],
        Resolution::Unknown => return Ok(nobody(&to)),
    };
    let octets = compose(tx, subject, report, &to, now, settings)?;
    let mut arrival = arrival(&octets, &to, targets, subject.smtputf8, settings);
    // What must be protected on its way is protected on the way back (RFC 8689 §5).
    if subject.tls == TlsDemand::Required {
        arrival.tls = TlsDemand::Required;
    }
    let placed = local::take(tx, &arrival, now, settings)?;
    Ok(vec![Event::Reported { action: report.action.to_string(), to, receipt: placed.receipt }])
}

/// Brings a message of our own on its way, with a null reverse-path; whether there is anyone to take it.
pub(crate) fn post(
    tx: &mut WriteTx,
    octets: &[u8],
    to: &Address,
    tls: TlsDemand,
    now: Timestamp,
    settings: &Settings,
) -> store::Result<bool> {
    let targets = match tx.resolve_by(to, &settings.receive.subaddress.separators)? {
        Resolution::Found(deliveries) => deliveries,
        Resolution::NotLocal => vec![Delivery::Forward(to.clone())],
        Resolution::Unknown => return Ok(false),
    };
    let octets = [RETURN_PATH.as_bytes(), octets].concat();
    let arrival = Arrival { tls, ..arrival(&octets, to, targets, false, settings) };
    local::take(tx, &arrival, now, settings).map(|placed| !placed.is_nowhere())
}

fn nobody(to: &Address) -> Vec<Event> {
    vec![Event::Discarded { recipient: to.clone(), reason: "the sender to report to does not exist here".to_owned() }]
}

fn arrival(octets: &[u8], to: &Address, targets: Vec<Delivery>, smtputf8: bool, settings: &Settings) -> Arrival {
    let body_type = if octets.is_ascii() { BodyType::SevenBit } else { BodyType::EightBitMime };
    let (body, digest) = (Body::new(octets), Digest::of(octets));
    let accepted = Event::Accepted {
        source: Source::Local,
        peer: None,
        helo: settings.hostname.to_string(),
        tls: None,
        account: None,
        reverse_path: ReversePath(None),
        message_id: digest.message_id.clone(),
        octets: body.octets(),
    };
    Arrival {
        receipt: None,
        source: Source::Local,
        account: None,
        reverse_path: ReversePath(None),
        ret: None,
        envelope_id: None,
        body_type,
        smtputf8,
        tls: TlsDemand::ByPolicy,
        tls_report: None,
        dmarc_report: None,
        figures: None,
        terms: Terms::default(),
        recipients: vec![(Recipient { notify: Some(mail::Notify::NEVER), ..Recipient::new(to.clone()) }, targets)],
        refused: Vec::new(),
        when_full: WhenFull::Queue,
        body,
        digest,
        skip_octets: u32::try_from(RETURN_PATH.len()).unwrap_or(0),
        accepted,
        copy: None,
        filed: None,
        release_request: None,
        judged: Vec::new(),
        junk: std::collections::BTreeSet::new(),
        subjects: Vec::new(),
        is_trapped: false,
        fate: crate::local::Fate::Deliver,
        role: mail::Role::Inbox,
        prospect: Prospect::unasked(),
    }
}

/// What goes on top of every report.
const RETURN_PATH: &str = "Return-Path: <>\r\n";

/// How much of the message goes back, and whether that is all of it.
fn returned(tx: &WriteTx, subject: &Subject, action: Action) -> store::Result<(Vec<u8>, bool)> {
    let whole = match (action, subject.ret) {
        _ if subject.tls == TlsDemand::Required => false,
        (Action::Failed, Some(Ret::Full)) => subject.octets <= RETURN_FULL_OCTETS_MAX,
        (Action::Failed, None) => subject.octets <= RETURN_OCTETS_MAX,
        _ => false,
    };
    let octets_max = if whole { usize::try_from(subject.octets).unwrap_or(usize::MAX) } else { RETURN_HEADER_OCTETS_MAX };
    let mut octets = tx.blob_read(&subject.blob, subject.skip_octets.into(), octets_max)?;
    if !whole {
        octets.truncate(header::body_start(&octets));
    }
    // A binary message goes back as lines, so that everybody takes the report.
    Ok((mail::binary::to_lines(&octets).into_owned(), whole))
}

/// The whole report, with what final delivery puts on top.
fn compose(tx: &WriteTx, subject: &Subject, report: &Report, to: &Address, now: Timestamp, settings: &Settings) -> store::Result<Vec<u8>> {
    let (returned, whole) = returned(tx, subject, report.action)?;
    let from = Address::parse(&format!("mailer-daemon@{}", settings.hostname)).unwrap_or_else(|_| to.clone());
    let built = mail::dsn::Report {
        reporting_host: settings.hostname.as_str(),
        from: &from,
        to,
        message_id: &message_id(subject, report, now, settings),
        at: utc(now),
        arrived: Some(utc(subject.accepted)),
        envelope_id: subject.envelope_id.as_deref(),
        release_request: subject.release_request.as_deref(),
        recipients: &report.recipients,
        original: if whole { Original::Full(&returned) } else { Original::Headers(&returned) },
        receipt: Some(subject.receipt),
        smtputf8: subject.smtputf8,
    };
    Ok([RETURN_PATH.as_bytes(), &built.build()].concat())
}

/// Unique: a message has one report of a kind about a set of recipients at a time.
fn message_id(subject: &Subject, report: &Report, now: Timestamp, settings: &Settings) -> String {
    let first = report.recipients.first().map(|one| one.recipient.address.key()).unwrap_or_default();
    let number = first.bytes().fold(now.0.unsigned_abs(), |number, byte| scramble(number ^ u64::from(byte)));
    format!("{}.{}.{number:x}@{}", subject.receipt, report.action, settings.hostname)
}

pub(crate) fn utc(at: Timestamp) -> DateTime {
    DateTime { at, zone_minutes: 0 }
}
