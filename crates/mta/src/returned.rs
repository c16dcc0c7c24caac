//! What comes to the return path of one recipient (VERP): a server that had taken our mail tells later, in whatever form,
//! that it could not deliver it.
//!
//! The report is filed like any other mail; here the trail of the message that it is about hears of it, and so does
//! the count of failures of the address.
//!
//! Invariant: only what comes with a null reverse-path to an address that we made counts.

use crate::bounce_class::{BounceClass, Given, classify};
use crate::local::Arrival;
use crate::return_path::{Key, verp};
use crate::settings::Settings;
use crate::suppress;
use mail::dsn::{self, Action};
use mail::{AccountId, Address, EnhancedStatus, Event, ReceiptId, Timestamp, TrailEntry};
use store::WriteTx;

/// Longest report that is read, octets. Our own bound.
const REPORT_OCTETS_MAX: usize = 256 * 1024;
/// Longest text of a report that a trail tells, characters. Our own bound.
const REASON_CHARS_MAX: usize = 500;

/// What a report says.
struct Report {
    status: Option<EnhancedStatus>,
    class: BounceClass,
    reason: String,
}

/// Tells the messages that a report is about.
pub(crate) fn note(
    tx: &mut WriteTx,
    key: Option<&Key>,
    arrival: &Arrival,
    receipt: ReceiptId,
    now: Timestamp,
    settings: &Settings,
) -> store::Result<()> {
    let Some(key) = key.filter(|_| arrival.reverse_path.0.is_none()) else { return Ok(()) };
    let returned: Vec<_> = arrival.recipients.iter().filter_map(|(recipient, _)| verp::read(key, &recipient.address)).collect();
    if returned.is_empty() {
        return Ok(());
    }
    let Some(Report { status, class, reason }) = read(&arrival.body.read(0, REPORT_OCTETS_MAX)?) else { return Ok(()) };
    for verp::Returned { receipt: about, place, .. } in returned {
        let Some((recipient, account)) = recipient_of(tx, about, place)? else { continue };
        if class.blames_address() {
            suppress::failed(tx, account, &recipient, &reason, now, &settings.suppression)?;
        }
        let event = Event::Returned { recipient, receipt, status, class: class.name().to_owned(), reason: reason.clone() };
        tx.trail_append(about, &[TrailEntry { at: now, event }])?;
    }
    Ok(())
}

/// To whom a message went at a place, and whose it was; `None`: its trail is gone.
fn recipient_of(tx: &WriteTx, receipt: ReceiptId, place: usize) -> store::Result<Option<(Address, Option<AccountId>)>> {
    let trail = tx.trail(receipt)?;
    let account = trail.iter().find_map(|entry| match entry.event {
        Event::Accepted { account, .. } => Some(account),
        _ => None,
    });
    // The queue's places are in the order in which the trail says that they were queued.
    let mut queued = trail.iter().filter_map(|entry| match &entry.event {
        Event::Queued { recipient } => Some(recipient),
        _ => None,
    });
    Ok(queued.nth(place).map(|recipient| (recipient.clone(), account.flatten())))
}

/// `None`: it reports no failure.
fn read(message: &[u8]) -> Option<Report> {
    let Some(parsed) = dsn::parse(message) else {
        let reason = "a report in no known form".to_owned();
        return Some(Report { status: None, class: BounceClass::Unknown, reason });
    };
    let failed = parsed.recipients.into_iter().find(|recipient| recipient.action == Action::Failed)?;
    let text = failed.diagnostic.unwrap_or_default();
    let code = text.split([' ', '-']).next().and_then(|word| word.parse().ok()).filter(|code| (400..600).contains(code));
    let class = classify(&Given { stage: None, code: code.or(Some(550)), status: failed.status, text: &text });
    let reason = if text.is_empty() { class.words().to_owned() } else { text.chars().take(REASON_CHARS_MAX).collect() };
    Some(Report { status: failed.status, class, reason })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_of_failures_are_read_and_others_passed_over() {
        let dsn = |action: &str, diagnostic: &str| {
            format!(
                "From: MAILER-DAEMON@x.example\r\nContent-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\n\
                 --b\r\n\r\nSorry.\r\n--b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; x.example\r\n\r\n\
                 Final-Recipient: rfc822; bob@x.example\r\nAction: {action}\r\nStatus: 5.1.1\r\n{diagnostic}\r\n--b--\r\n"
            )
        };
        for (message, want) in [
            (dsn("failed", "Diagnostic-Code: smtp; 550 5.1.1 User unknown\r\n"), "5.1.1 bad-mailbox 550 5.1.1 User unknown"),
            (dsn("failed", "Diagnostic-Code: smtp; 552 mailbox is full\r\n"), "5.1.1 mailbox-full 552 mailbox is full"),
            (dsn("failed", ""), "5.1.1 bad-mailbox there is no such mailbox"),
            (dsn("delayed", ""), "nothing"),
            ("Subject: failure notice\r\n\r\nSorry, it did not work.\r\n".to_owned(), "- unknown a report in no known form"),
        ] {
            let got = read(message.as_bytes()).map(|report| {
                let status = report.status.map_or("-".to_owned(), |status| status.to_string());
                format!("{status} {} {}", report.class, report.reason)
            });
            assert_eq!(got.as_deref().unwrap_or("nothing"), want);
        }
    }
}
