//! What an attempt means for its recipients: done, again later, or over. Pure.
//!
//! Not the commit: [`super::commit`] writes what is judged here.

use super::schedule::retry_at;
use crate::bounce::{Report, utc};
use crate::bounce_class::{BounceClass, Given, classify};
use crate::settings::Queue as Settings;
use mail::dsn::{Action, RecipientReport};
use mail::{EnhancedStatus, Event, Notify, Recipient, Timestamp};
use smtp::client::{Class, Stage};
use std::net::IpAddr;
use store::{Final, QueueMessage, RecipientState};

/// What one attempt brought for one recipient.
#[derive(Debug, Clone)]
pub(crate) struct Tried {
    /// The recipient's place in the message's list.
    pub(crate) index: usize,
    pub(crate) class: Class,
    pub(crate) status: EnhancedStatus,
    /// It went to a mail exchanger of its domain, not to a host that a route names.
    pub(crate) direct: bool,
    /// The peer takes care of reports of success (RFC 3461 §5.2.1).
    pub(crate) peer_reports: bool,
    /// The peer knows until when it is to be delivered, if that was said (RFC 2852).
    pub(crate) peer_is_timely: bool,
    pub(crate) attempt: Attempt,
}

impl Tried {
    /// Something that was decided here, not by a peer.
    pub(crate) fn ours(index: usize, class: Class, status: EnhancedStatus, reply: String) -> Self {
        let attempt = Attempt { reply, ..Attempt::default() };
        Self { index, class, status, direct: false, peer_reports: false, peer_is_timely: false, attempt }
    }

    /// The attempt as the trail tells it.
    pub(crate) fn event(&self, recipient: &Recipient) -> Event {
        attempted(recipient, self)
    }

    /// Why it failed.
    pub(crate) fn bounce_class(&self) -> BounceClass {
        let Attempt { stage, code, reply, .. } = &self.attempt;
        classify(&Given { stage: *stage, code: *code, status: Some(self.status), text: reply })
    }
}

/// The attempt as the trail shows it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Attempt {
    /// Empty if no host was found.
    pub(crate) host: String,
    pub(crate) address: Option<IpAddr>,
    pub(crate) tls: Option<String>,
    /// How far the session was, if there was one.
    pub(crate) stage: Option<Stage>,
    /// The code of the peer's reply, if there was one.
    pub(crate) code: Option<u16>,
    /// The peer's reply, or what went wrong.
    pub(crate) reply: String,
    pub(crate) millis: u64,
}

/// What is to be written about a message.
#[derive(Debug, Default)]
pub(crate) struct Judged {
    /// New states by place.
    pub(crate) states: Vec<(usize, RecipientState)>,
    pub(crate) events: Vec<Event>,
    /// What the sender is told.
    pub(crate) reports: Vec<Report>,
}

impl Judged {
    /// Notes that the sender wants to hear of a recipient.
    fn report(&mut self, recipient: RecipientReport) {
        let action = recipient.action;
        match self.reports.iter_mut().find(|report| report.action == action) {
            Some(report) => report.recipients.push(recipient),
            None => self.reports.push(Report { action, recipients: vec![recipient] }),
        }
    }
}

/// Judges an attempt at `now`. Recipients that are not open any more are passed over.
pub(crate) fn judge(message: &QueueMessage, tried: &[Tried], now: Timestamp, settings: &Settings) -> Judged {
    let mut judged = Judged::default();
    for one in tried {
        let Some(entry) = message.recipients.get(one.index) else { continue };
        let RecipientState::Open { attempts, delay_reported, .. } = &entry.state else { continue };
        judged.events.push(attempted(&entry.recipient, one));
        if one.class != Class::Delivered {
            let class = one.bounce_class().name().to_owned();
            judged.events.push(Event::Classified { recipient: entry.recipient.address.clone(), class });
        }
        match one.class {
            Class::Delivered => relayed(&mut judged, message, &entry.recipient, one, now),
            Class::Permanent => failed(&mut judged, message, &entry.recipient, one, one.status, &one.attempt.reply, now),
            Class::Transient => {
                let attempts = attempts.saturating_add(1);
                match retry_at(now, attempts, message.expires, message.receipt, settings) {
                    Some(next) => {
                        // The moment at which the sender is to hear is not slept through.
                        let next = message.terms.notified_at().filter(|at| *at > now).map_or(next, |at| at.min(next));
                        let deferral = Deferral { attempts, next, delay_reported: *delay_reported };
                        deferred(&mut judged, message, &entry.recipient, one, deferral, now, settings);
                    }
                    None => expired(&mut judged, message, &entry.recipient, one, now),
                }
            }
        }
    }
    judged
}

fn attempted(recipient: &Recipient, one: &Tried) -> Event {
    let Attempt { host, address, tls, code, reply, millis, .. } = one.attempt.clone();
    Event::Attempted { recipient: recipient.address.clone(), host, address, tls, reply, code, status: Some(one.status), millis }
}

fn relayed(judged: &mut Judged, message: &QueueMessage, recipient: &Recipient, one: &Tried, now: Timestamp) {
    judged.states.push((one.index, RecipientState::Done(Final::Delivered { at: now, host: one.attempt.host.clone() })));
    judged.events.push(Event::Relayed { recipient: recipient.address.clone(), host: one.attempt.host.clone() });
    let asked = !one.peer_reports && notify(recipient).success;
    if message.reverse_path.0.is_some() && (asked || traced(message, recipient, one)) {
        judged.report(reported(Action::Relayed, recipient, EnhancedStatus::new(2, 0, 0), one, now));
    }
}

/// RFC 2852 §4.1.4: who asked until when it is to be delivered hears of each relay if it asked for that too, and of
/// one to a server that does not know of it.
fn traced(message: &QueueMessage, recipient: &Recipient, one: &Tried) -> bool {
    let wanted = message.terms.deliver_by.is_some_and(|by| by.trace || !one.peer_is_timely);
    wanted && notify(recipient) != Notify::NEVER
}

fn failed(
    judged: &mut Judged,
    message: &QueueMessage,
    recipient: &Recipient,
    one: &Tried,
    status: EnhancedStatus,
    reason: &str,
    now: Timestamp,
) {
    judged.states.push((one.index, RecipientState::Done(Final::Failed { at: now, status, reason: reason.to_owned() })));
    judged.events.push(Event::Failed { recipient: recipient.address.clone(), status, reason: reason.to_owned() });
    let silence = if message.reverse_path.0.is_none() {
        Some("it has no sender to report to: a report itself")
    } else if !notify(recipient).failure {
        Some("the sender asked for no report")
    } else {
        None
    };
    match silence {
        Some(reason) => judged.events.push(Event::Discarded { recipient: recipient.address.clone(), reason: reason.to_owned() }),
        None => judged.report(reported(Action::Failed, recipient, status, one, now)),
    }
}

fn expired(judged: &mut Judged, message: &QueueMessage, recipient: &Recipient, one: &Tried, now: Timestamp) {
    let reason = format!("the time to deliver it is over; the last attempt: {}", one.attempt.reply);
    failed(judged, message, recipient, one, EnhancedStatus::new(5, 4, 7), &reason, now);
}

#[derive(Clone, Copy)]
struct Deferral {
    attempts: u32,
    next: Timestamp,
    delay_reported: bool,
}

fn deferred(
    judged: &mut Judged,
    message: &QueueMessage,
    recipient: &Recipient,
    one: &Tried,
    deferral: Deferral,
    now: Timestamp,
    settings: &Settings,
) {
    let reason = one.attempt.reply.clone();
    judged.events.push(Event::Deferred { recipient: recipient.address.clone(), until: deferral.next, reason: reason.clone() });
    let warn = delay_is_told(message, recipient, now, settings) && !deferral.delay_reported && message.reverse_path.0.is_some();
    if warn {
        let status = if message.terms.notified_at().is_some() { EnhancedStatus::new(4, 4, 7) } else { one.status };
        let report = reported(Action::Delayed, recipient, status, one, now);
        judged.report(RecipientReport { will_retry_until: Some(utc(message.expires)), ..report });
    }
    let delay_reported = deferral.delay_reported || warn;
    let state = RecipientState::Open { attempts: deferral.attempts, next: deferral.next, delay_reported, last: Some(reason) };
    judged.states.push((one.index, state));
}

/// Whether it is time to tell that a message waits: when its sender said so (RFC 2852 §4.1.3), else after a while.
fn delay_is_told(message: &QueueMessage, recipient: &Recipient, now: Timestamp, settings: &Settings) -> bool {
    if let Some(at) = message.terms.notified_at() {
        return now >= at && notify(recipient) != Notify::NEVER;
    }
    let leaves = message.terms.hold_until.map_or(message.accepted, |until| until.max(message.accepted));
    now.since(leaves) >= settings.warn_after && notify(recipient).delay
}

fn notify(recipient: &Recipient) -> Notify {
    recipient.notify.unwrap_or_default()
}

/// What went wrong here, or what a server's reply means.
fn in_words(one: &Tried) -> Option<String> {
    match (one.attempt.code, one.class) {
        (None, _) => Some(one.attempt.reply.clone()),
        (_, Class::Delivered) => None,
        _ => Some(one.bounce_class()).filter(|class| *class != BounceClass::Unknown).map(|class| class.words().to_owned()),
    }
}

fn reported(action: Action, recipient: &Recipient, status: EnhancedStatus, one: &Tried, now: Timestamp) -> RecipientReport {
    let Attempt { host, code, reply, .. } = &one.attempt;
    RecipientReport {
        recipient: recipient.clone(),
        action,
        status,
        reason: in_words(one),
        remote_host: (!host.is_empty()).then(|| host.clone()),
        reply: code.map(|_| reply.clone()),
        last_attempt: Some(utc(now)),
        will_retry_until: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mail::event::Source;
    use mail::{Address, BlobHash, BodyType, DeliverBy, Late, ReceiptId, ReversePath};
    use store::QueueRecipient;

    const DAY: i64 = 86_400;

    /// A message of one recipient, accepted at 0, with `attempts` behind it.
    fn message(sender: &str, notify: Option<Notify>, attempts: u32, warned: bool) -> QueueMessage {
        let recipient = Recipient { notify, ..Recipient::new(Address::parse("bob@b.example").unwrap()) };
        let state = RecipientState::Open { attempts, next: Timestamp(0), delay_reported: warned, last: None };
        QueueMessage {
            receipt: ReceiptId(1),
            source: Source::Submission,
            reverse_path: ReversePath(Address::parse(sender).ok()),
            ret: None,
            envelope_id: None,
            body: BodyType::SevenBit,
            smtputf8: false,
            blob: BlobHash([0; 32]),
            skip_octets: 0,
            octets: 10,
            accepted: Timestamp(0),
            expires: Timestamp::from_seconds(5 * DAY),
            held: false,
            account: None,
            recipients: vec![QueueRecipient { recipient, state }],
            tls: mail::TlsDemand::ByPolicy,
            terms: mail::Terms::default(),
            return_paths: std::collections::BTreeMap::new(),
            held_by: None,
            release_request: None,
        }
    }

    fn judged(message: &QueueMessage, class: Class, peer_reports: bool, now: i64) -> String {
        judged_by(message, class, peer_reports, false, now)
    }

    fn judged_by(message: &QueueMessage, class: Class, peer_reports: bool, peer_is_timely: bool, now: i64) -> String {
        let settings = Settings { jitter_percent: 0, ..Settings::default() };
        let status = match class {
            Class::Delivered => EnhancedStatus::new(2, 0, 0),
            Class::Transient => EnhancedStatus::new(4, 4, 1),
            Class::Permanent => EnhancedStatus::new(5, 1, 1),
        };
        let attempt = Attempt { host: "mx.b.example".into(), reply: "words".into(), ..Attempt::default() };
        let judged = judge(
            message,
            &[Tried { index: 0, class, status, direct: true, peer_reports, peer_is_timely, attempt }],
            Timestamp::from_seconds(now),
            &settings,
        );
        let state = match judged.states.as_slice() {
            [(0, RecipientState::Open { attempts, next, delay_reported, .. })] => {
                format!("open {attempts} {} {delay_reported}", next.seconds())
            }
            [(0, RecipientState::Done(Final::Failed { status, .. }))] => format!("failed {status}"),
            [(0, RecipientState::Done(Final::Delivered { .. }))] => "delivered".to_owned(),
            other => format!("{other:?}"),
        };
        let discarded = judged.events.iter().any(|event| matches!(event, Event::Discarded { .. }));
        let reports: Vec<_> = judged.reports.iter().map(|report| report.action.to_string()).collect();
        format!("{state}; {}{}", reports.join(" "), if discarded { "discarded" } else { "" })
    }

    #[test]
    fn outcomes_are_judged() {
        let success = Some(Notify { success: true, failure: true, delay: false });
        for (sender, notify, attempts, warned, class, peer_reports, now, want) in [
            ("ann@a.example", None, 0, false, Class::Delivered, false, 0, "delivered; "),
            ("ann@a.example", success, 0, false, Class::Delivered, false, 0, "delivered; relayed"),
            ("ann@a.example", success, 0, false, Class::Delivered, true, 0, "delivered; "),
            ("", success, 0, false, Class::Delivered, false, 0, "delivered; "),
            ("ann@a.example", None, 0, false, Class::Permanent, false, 0, "failed 5.1.1; failed"),
            ("", None, 0, false, Class::Permanent, false, 0, "failed 5.1.1; discarded"),
            ("ann@a.example", Some(Notify::NEVER), 0, false, Class::Permanent, false, 0, "failed 5.1.1; discarded"),
            ("ann@a.example", None, 0, false, Class::Transient, false, 100, "open 1 400 false; "),
            ("ann@a.example", None, 5, false, Class::Transient, false, 4 * 3600, "open 6 21600 true; delayed"),
            ("ann@a.example", None, 5, true, Class::Transient, false, 4 * 3600, "open 6 21600 true; "),
            ("ann@a.example", success, 5, false, Class::Transient, false, 4 * 3600, "open 6 21600 false; "),
            ("", None, 5, false, Class::Transient, false, 4 * 3600, "open 6 21600 false; "),
            ("ann@a.example", None, 40, true, Class::Transient, false, 5 * DAY - 1, "open 41 432000 true; "),
            ("ann@a.example", None, 41, true, Class::Transient, false, 5 * DAY, "failed 5.4.7; failed"),
        ] {
            let got = judged(&message(sender, notify, attempts, warned), class, peer_reports, now);
            assert_eq!(got, want, "{sender} {notify:?} {attempts} {class:?} {now}");
        }
    }

    #[test]
    fn a_time_of_delivery_is_kept() {
        let success = Some(Notify { success: true, failure: true, delay: false });
        let (notify, return_, trace) = ((Late::Notify, false), (Late::Return, false), (Late::Return, true));
        for (asked, (late, trace), class, timely, now, want) in [
            (None, notify, Class::Transient, true, 10, "open 1 60 false; "),
            (None, notify, Class::Transient, true, 60, "open 1 360 true; delayed"),
            (success, notify, Class::Transient, true, 60, "open 1 360 true; delayed"),
            (Some(Notify::NEVER), notify, Class::Transient, true, 60, "open 1 360 false; "),
            (None, return_, Class::Transient, true, 60, "failed 5.4.7; failed"),
            (None, return_, Class::Delivered, true, 10, "delivered; "),
            (None, trace, Class::Delivered, true, 10, "delivered; relayed"),
            (None, notify, Class::Delivered, false, 10, "delivered; relayed"),
            (Some(Notify::NEVER), trace, Class::Delivered, false, 10, "delivered; "),
        ] {
            let mut message = message("ann@a.example", asked, 0, false);
            let at = Timestamp::from_seconds(60);
            message.terms.deliver_by = Some(DeliverBy { at, late, trace });
            message.expires = message.terms.returned_at().unwrap_or(message.expires);
            assert_eq!(judged_by(&message, class, true, timely, now), want, "{asked:?} {late:?} {class:?} {now}");
        }
    }

    #[test]
    fn a_recipient_that_an_administrator_finished_meanwhile_is_passed_over() {
        let mut message = message("ann@a.example", None, 0, false);
        message.recipients[0].state = RecipientState::Done(Final::Dropped { at: Timestamp(0) });
        assert_eq!(judged(&message, Class::Permanent, false, 0), "[]; ");
    }
}
