//! Tells senders what became of their mail: failures, delays and, where asked for, success
//! (RFC 3461, RFC 3464).
//!
//! A report is a message of its own, with a null reverse-path and a receipt: it goes into the
//! sender's mailbox if the sender is ours, else into the queue. It is written in the transaction
//! that decides what it reports.
//!
//! Invariant: nothing is reported about a message with a null reverse-path.

use crate::local::{self, Arrival, WhenFull};
use crate::queue::schedule::scramble;
use crate::settings::Settings;
use mail::date::{self, DateTime};
use mail::digest::Digest;
use mail::event::Source;
use mail::header;
use mail::{Address, BlobHash, BodyType, EnhancedStatus, Event, ReceiptId, Recipient, Ret, ReversePath, Timestamp};
use std::fmt::Write as _;
use store::{Body, Delivery, QueueMessage, Resolution, WriteTx};

/// A message up to this size goes back whole, unless its sender wants the header only; octets.
pub const RETURN_OCTETS_MAX: u64 = 50_000;
/// A message up to this size goes back whole if its sender asks for that; octets.
pub const RETURN_FULL_OCTETS_MAX: u64 = 1 << 20;
/// Most octets of a header that goes back.
pub const RETURN_HEADER_OCTETS_MAX: usize = 64 * 1024;

/// What is reported (RFC 3464 §2.3.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    Failed,
    Delayed,
    /// In the mailbox.
    Delivered,
    /// Handed to a server that reports no successes.
    Relayed,
}

/// One report about some recipients of a message.
#[derive(Debug, Clone)]
pub(crate) struct Report {
    pub(crate) action: Action,
    pub(crate) recipients: Vec<ReportedRecipient>,
}

/// One recipient in a report.
#[derive(Debug, Clone)]
pub(crate) struct ReportedRecipient {
    pub(crate) recipient: Recipient,
    pub(crate) status: EnhancedStatus,
    pub(crate) remote_host: Option<String>,
    /// The remote server's reply.
    pub(crate) reply: Option<String>,
    /// In words.
    pub(crate) reason: String,
    /// Until when it is tried.
    pub(crate) until: Option<Timestamp>,
}

impl ReportedRecipient {
    /// A recipient whose mailbox has the message.
    pub(crate) fn delivered(recipient: &Recipient) -> Self {
        let (recipient, reason) = (recipient.clone(), "it is in the mailbox".to_owned());
        Self { recipient, status: EnhancedStatus::new(2, 1, 5), remote_host: None, reply: None, reason, until: None }
    }
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
    pub(crate) accepted: Timestamp,
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
            accepted: message.accepted,
        }
    }
}

/// Writes a report and brings it on its way; the events belong into the trail of its subject.
pub(crate) fn send(tx: &mut WriteTx, subject: &Subject, report: &Report, now: Timestamp, settings: &Settings) -> store::Result<Vec<Event>> {
    let Some(to) = subject.reverse_path.0.clone() else { return Ok(Vec::new()) };
    let targets = match tx.resolve(&to)? {
        Resolution::Found(deliveries) => deliveries,
        Resolution::NotLocal => vec![Delivery::Forward(to.clone())],
        Resolution::Unknown => return Ok(nobody(&to)),
    };
    let octets = compose(tx, subject, report, &to, now, settings)?;
    let arrival = arrival(&octets, &to, targets, subject.smtputf8, settings);
    let placed = local::take(tx, &arrival, now, settings)?;
    Ok(vec![Event::Reported { action: report.action.word().to_owned(), to, receipt: placed.receipt }])
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
        source: Source::Local,
        account: None,
        reverse_path: ReversePath(None),
        ret: None,
        envelope_id: None,
        body_type,
        smtputf8,
        recipients: vec![(Recipient { notify: Some(mail::Notify::NEVER), ..Recipient::new(to.clone()) }, targets)],
        when_full: WhenFull::Queue,
        body,
        digest,
        skip_octets: u32::try_from(RETURN_PATH.len()).unwrap_or(0),
        accepted,
    }
}

/// What goes on top of every report.
const RETURN_PATH: &str = "Return-Path: <>\r\n";

impl Action {
    /// RFC 3464 §2.3.3.
    fn word(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Delayed => "delayed",
            Self::Delivered => "delivered",
            Self::Relayed => "relayed",
        }
    }

    fn subject(self) -> &'static str {
        match self {
            Self::Failed => "Your message could not be delivered",
            Self::Delayed => "Your message has not been delivered yet",
            Self::Delivered => "Your message was delivered",
            Self::Relayed => "Your message was passed on",
        }
    }

    fn opening(self) -> &'static str {
        match self {
            Self::Failed => "Your message could not be delivered to the recipients below, and no further attempt will be made.",
            Self::Delayed => {
                "Your message could not be delivered yet to the recipients below. You need not send it again: further attempts will be made."
            }
            Self::Delivered => "Your message was delivered to the recipients below.",
            Self::Relayed => {
                "Your message was passed on to another server for the recipients below. That server sends no reports of success, so this is all that is known."
            }
        }
    }
}

fn words(subject: &Subject, report: &Report, settings: &Settings) -> String {
    let mut text = format!("This is the mail server {}.\r\n\r\n{}\r\n", settings.hostname, report.action.opening());
    for one in &report.recipients {
        let _ = write!(text, "\r\n  {}\r\n", one.recipient.address);
        if let Some(host) = &one.remote_host {
            let _ = write!(text, "    server: {host}\r\n");
        }
        let _ = write!(text, "    {}: {}\r\n", if one.reply.is_some() { "it answered" } else { "reason" }, one_line(&one.reason));
        if let Some(until) = one.until {
            let _ = write!(text, "    attempts are made until {}\r\n", date(until));
        }
    }
    let _ = write!(text, "\r\nYour message's receipt here: {}\r\n", subject.receipt);
    text
}

fn date(at: Timestamp) -> String {
    date::rfc5322(DateTime { at, zone_minutes: 0 })
}

/// Remote text in one harmless line.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(500).collect()
}

/// How much of the message goes back, and whether that is all of it.
fn returned(tx: &WriteTx, subject: &Subject, action: Action) -> store::Result<(Vec<u8>, bool)> {
    let whole = match (action, subject.ret) {
        (Action::Failed, Some(Ret::Full)) => subject.octets <= RETURN_FULL_OCTETS_MAX,
        (Action::Failed, None) => subject.octets <= RETURN_OCTETS_MAX,
        _ => false,
    };
    let octets_max = if whole { usize::try_from(subject.octets).unwrap_or(usize::MAX) } else { RETURN_HEADER_OCTETS_MAX };
    let mut octets = tx.blob_read(&subject.blob, subject.skip_octets.into(), octets_max)?;
    if !whole {
        octets.truncate(header::body_start(&octets));
    }
    Ok((octets, whole))
}

/// The whole report: multipart/report with words for people, fields for programs, and what goes back
/// of the message (RFC 3464 §2, RFC 6522 §3; RFC 6533 §3 where addresses are not ASCII).
fn compose(tx: &WriteTx, subject: &Subject, report: &Report, to: &Address, now: Timestamp, settings: &Settings) -> store::Result<Vec<u8>> {
    let (returned, whole) = returned(tx, subject, report.action)?;
    let global = subject.smtputf8 && !(to.is_ascii() && report.recipients.iter().all(|one| one.recipient.address.is_ascii()));
    let boundary = boundary(subject, report, now, &returned);
    let about =
        header::fields(&returned).find(|field| field.is("Message-ID")).map(|field| String::from_utf8_lossy(field.value).into_owned());
    let mut out = top(report, to, now, settings, &boundary, about.as_deref()).into_bytes();
    part(&mut out, &boundary, "text/plain; charset=utf-8", words(subject, report, settings).as_bytes());
    let kind = if global { "message/global-delivery-status" } else { "message/delivery-status" };
    part(&mut out, &boundary, kind, fields(subject, report, now, settings).as_bytes());
    let kind = match (whole, global) {
        (true, false) => "message/rfc822",
        (true, true) => "message/global",
        (false, false) => "text/rfc822-headers",
        (false, true) => "message/global-headers",
    };
    part(&mut out, &boundary, kind, &returned);
    out.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    Ok(out)
}

/// The report's header; `about` is the Message-ID of its subject.
fn top(report: &Report, to: &Address, now: Timestamp, settings: &Settings, boundary: &str, about: Option<&str>) -> String {
    let host = &settings.hostname;
    let about = about.map(str::trim).filter(|id| id.len() < 500 && id.bytes().all(|b| b.is_ascii_graphic()));
    let mut lines = vec![
        format!("{RETURN_PATH}Date: {}", date(now)),
        format!("From: Mail Delivery System <mailer-daemon@{host}>"),
        format!("To: {to}"),
        format!("Subject: {}", report.action.subject()),
        format!("Message-ID: <{boundary}@{host}>"),
        "Auto-Submitted: auto-replied".to_owned(),
        "MIME-Version: 1.0".to_owned(),
        format!("Content-Type: multipart/report; report-type=delivery-status;\r\n\tboundary=\"{boundary}\""),
    ];
    if let Some(about) = about {
        lines.push(format!("In-Reply-To: {about}\r\nReferences: {about}"));
    }
    lines.join("\r\n") + "\r\n"
}

/// Unique: a message has one report of a kind about a set of recipients at a time. Not in what goes
/// back, too, unless somebody could guess the time.
fn boundary(subject: &Subject, report: &Report, now: Timestamp, returned: &[u8]) -> String {
    let first = report.recipients.first().map(|one| one.recipient.address.key()).unwrap_or_default();
    let mut number = first.bytes().fold(now.0.unsigned_abs(), |number, byte| scramble(number ^ u64::from(byte)));
    loop {
        let boundary = format!("{}.{}.{number:x}", subject.receipt, report.action.word());
        if memchr::memmem::find(returned, boundary.as_bytes()).is_none() {
            return boundary;
        }
        number = scramble(number);
    }
}

fn part(out: &mut Vec<u8>, boundary: &str, kind: &str, body: &[u8]) {
    let encoding = if body.is_ascii() { "7bit" } else { "8bit" };
    out.extend_from_slice(format!("\r\n--{boundary}\r\nContent-Type: {kind}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n").as_bytes());
    out.extend_from_slice(body);
}

/// The fields of the delivery status: one group for the message, one for each recipient (RFC 3464 §2.2, §2.3).
fn fields(subject: &Subject, report: &Report, now: Timestamp, settings: &Settings) -> String {
    let mut text = String::new();
    if let Some(id) = &subject.envelope_id {
        let _ = write!(text, "Original-Envelope-Id: {}\r\n", one_line(id));
    }
    let _ = write!(text, "Reporting-MTA: dns; {}\r\nArrival-Date: {}\r\n", settings.hostname, date(subject.accepted));
    for one in &report.recipients {
        text.push_str("\r\n");
        text.push_str(&recipient_fields(one, report.action, now));
    }
    text
}

fn recipient_fields(one: &ReportedRecipient, action: Action, now: Timestamp) -> String {
    let mut lines = Vec::new();
    if let Some(original) = &one.recipient.original {
        lines.push(format!("Original-Recipient: {}", one_line(&original.replacen(';', "; ", 1))));
    }
    let kind = if one.recipient.address.is_ascii() { "rfc822" } else { "utf-8" };
    lines.push(format!("Final-Recipient: {kind}; {}", one.recipient.address));
    lines.push(format!("Action: {}", action.word()));
    lines.push(format!("Status: {}", one.status));
    if let Some(host) = &one.remote_host {
        lines.push(format!("Remote-MTA: dns; {host}"));
    }
    if let Some(reply) = &one.reply {
        lines.push(format!("Diagnostic-Code: smtp; {}", one_line(reply)));
    }
    lines.push(format!("Last-Attempt-Date: {}", date(now)));
    if let Some(until) = one.until {
        lines.push(format!("Will-Retry-Until: {}", date(until)));
    }
    lines.join("\r\n") + "\r\n"
}
