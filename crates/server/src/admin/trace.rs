//! The trail of a message: everything that was decided about it, in order.

use super::{Admin, Operation};
use crate::failure::{Failure, Result};
use crate::output::rfc3339;
use mail::lookup::{Answer, Question};
use mail::{AccountId, Event, MailboxId, ReceiptId, TrailEntry};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use store::ReadTx;

/// One message's trail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrailView {
    /// The receipt that the 250 named.
    pub receipt: String,
    /// Whether it still waits in the queue.
    pub queued: bool,
    /// What happened, in order.
    pub events: Vec<EventView>,
}

/// One event of a trail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventView {
    /// When, RFC 3339.
    pub at: String,
    /// What kind: `accepted`, `delivered`, `attempted` …
    pub event: String,
    /// The same in a sentence.
    pub words: String,
    /// Its fields.
    pub details: Map<String, Value>,
}

/// Finds trails by receipt, queue id (the same) or Message-ID.
#[derive(Debug, Serialize, Deserialize)]
pub struct Trace {
    /// The id.
    pub id: String,
}

impl Operation for Trace {
    const NAME: &'static str = "trace";
    type Answer = Vec<TrailView>;

    fn run(self, on: &Admin) -> Result<Vec<TrailView>> {
        on.read(move |tx| {
            let id = self.id.trim();
            let bare = id.trim_start_matches('<').trim_end_matches('>');
            let receipts = match bare.parse::<ReceiptId>() {
                Ok(receipt) => vec![receipt],
                Err(_) => tx.receipts_by_message_id(bare)?,
            };
            let trails: Vec<TrailView> = receipts.into_iter().map(|receipt| view(tx, receipt)).collect::<Result<_>>()?;
            let known: Vec<TrailView> = trails.into_iter().filter(|trail| !trail.events.is_empty()).collect();
            let hint = "it was never accepted here, or its trail is older than is kept";
            if known.is_empty() { Err(Failure::not_found("trail of", id).hint(hint)) } else { Ok(known) }
        })
    }
}

fn view(tx: &ReadTx, receipt: ReceiptId) -> Result<TrailView> {
    let events = tx.trail(receipt)?.iter().map(|entry| event_view(tx, entry)).collect();
    Ok(TrailView { receipt: receipt.to_string(), queued: tx.queue_message(receipt)?.is_some(), events })
}

fn event_view(tx: &ReadTx, entry: &TrailEntry) -> EventView {
    let (event, details) = fields(&entry.event);
    EventView { at: rfc3339(entry.at), event, words: words(tx, &entry.event), details }
}

/// The variant's name and its fields, moments and codes as people write them.
fn fields(event: &Event) -> (String, Map<String, Value>) {
    let Ok(Value::Object(outer)) = serde_json::to_value(event) else { return (String::new(), Map::new()) };
    let Some((name, Value::Object(mut fields))) = outer.into_iter().next() else { return (String::new(), Map::new()) };
    if let Some(status) = fields.get_mut("status").filter(|status| status.is_object()) {
        let part = |name: &str| status.get(name).and_then(Value::as_u64).unwrap_or_default();
        *status = json!(format!("{}.{}.{}", part("class"), part("subject"), part("detail")));
    }
    if let Event::Authenticated { answers, .. } = event {
        fields.insert("answers".to_owned(), json!(answers.iter().map(|(question, answer)| asked(question, answer)).collect::<Vec<_>>()));
    }
    if let Some(until) = fields.get_mut("until") {
        *until = json!(rfc3339(mail::Timestamp(until.as_i64().unwrap_or_default())));
    }
    if let Some(receipt) = fields.get_mut("receipt") {
        *receipt = json!(ReceiptId(receipt.as_u64().unwrap_or_default()).to_string());
    }
    (name, fields)
}

/// A question to DNS and its answer as people write them.
pub(super) fn asked(question: &Question, answer: &Answer) -> String {
    let question = match question {
        Question::Txt(name) => format!("{name} TXT"),
        Question::A(name) => format!("{name} A"),
        Question::Aaaa(name) => format!("{name} AAAA"),
        Question::Mx(name) => format!("{name} MX"),
        Question::Ptr(address) => format!("{address} PTR"),
    };
    let answer = match answer {
        Answer::Txt(records) => records.iter().map(|record| format!("{:?}", String::from_utf8_lossy(record))).collect::<Vec<_>>().join(" "),
        Answer::Addresses(addresses) => addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
        Answer::Mx(hosts) => hosts.iter().map(|(preference, host)| format!("{preference} {host}")).collect::<Vec<_>>().join(", "),
        Answer::Names(names) => names.join(" "),
        Answer::NoData => "has no such record".to_owned(),
        Answer::NoName => "does not exist".to_owned(),
        Answer::Failed(reason) => format!("no answer: {reason}"),
    };
    format!("{question}: {answer}")
}

/// One event as a sentence.
pub(super) fn words(tx: &ReadTx, event: &Event) -> String {
    match event {
        Event::Accepted { source, peer, helo, tls, account, reverse_path, message_id, octets } => {
            let how = match source {
                mail::event::Source::Mx => "from another server",
                mail::event::Source::Submission => "from an account",
                mail::event::Source::Lmtp => "over LMTP",
                mail::event::Source::Local => "made here",
            };
            let mut words = format!("accepted {how}, from <{reverse_path}>, {octets} octets");
            let mut more = |label: &str, value: Option<String>| {
                if let Some(value) = value.filter(|value| !value.is_empty()) {
                    words.extend([", ", label, " ", &value]);
                }
            };
            more("signed in as", account.map(|account| account_name(tx, account)));
            more("peer", peer.map(|peer| peer.to_string()));
            more("called", Some(helo.clone()));
            more("with", tls.clone());
            more("Message-ID", message_id.as_ref().map(|id| format!("<{id}>")));
            words
        }
        Event::Resolved { recipient, targets } if targets.is_empty() => format!("{recipient} leads nowhere"),
        Event::Resolved { recipient, targets } => {
            let named: Vec<String> = targets.iter().map(|target| target_name(tx, target)).collect();
            format!("{recipient} leads to {}", named.join(", "))
        }
        Event::Refused { recipient, code, status, text } => format!("refused for {recipient}: {code} {status} {text}"),
        Event::Delivered { recipient, account, mailbox, uid, .. } => {
            format!("delivered for {recipient} to {} of {} as uid {uid}", mailbox_name(tx, *account, *mailbox), account_name(tx, *account))
        }
        Event::Queued { recipient } => format!("queued for {recipient}"),
        Event::Attempted { recipient, host, address, tls, reply, millis, .. } => {
            let at = if host.is_empty() { String::new() } else { format!(" at {host}") };
            let with = address.map(|address| format!(" ({address}, {})", tls.as_deref().unwrap_or("no TLS"))).unwrap_or_default();
            format!("tried for {recipient}{at}{with}, {millis} ms: {reply}")
        }
        Event::Relayed { recipient, host } => format!("{host} has taken it for {recipient}"),
        Event::Deferred { recipient, until, reason } => format!("put off for {recipient} until {}: {reason}", rfc3339(*until)),
        Event::Failed { recipient, status, reason } => format!("failed for {recipient}: {status} {reason}"),
        Event::Reported { action, to, receipt } => format!("reported as {action} to {to}, receipt {receipt}"),
        Event::Discarded { recipient, reason } => format!("discarded for {recipient}: {reason}"),
        Event::Handled { action, recipient } => {
            let whom = recipient.as_ref().map(|recipient| format!(" for {recipient}")).unwrap_or_default();
            format!("{} by an administrator{whom}", done(action))
        }
        Event::Authenticated { results, asked, answers } => {
            let asked = if asked == "none" { String::new() } else { format!("; its domain asks for {asked}") };
            format!("found out who it is from, by {} answers of DNS{asked}: {results}", answers.len())
        }
        Event::Listed { standings, answers } => {
            let said: Vec<_> = standings.iter().map(|(zone, words)| format!("; {zone}: {words}")).collect();
            format!("asked lists, by {} answers of DNS{}", answers.len(), said.concat())
        }
        Event::Judged { account, is_junk, score, reasons, telling } => {
            let points = |hundredths: i32| format!("{:+.2}", f64::from(hundredths) / 100.0);
            let reasons: Vec<_> = reasons.iter().map(|(weight, words)| format!("; {} {words}", points(*weight))).collect();
            let telling: Vec<_> = telling.iter().map(|(weight, feature)| format!("{feature} {weight}")).collect();
            let telling = if telling.is_empty() { String::new() } else { format!("; taught: {}", telling.join(", ")) };
            let place = if *is_junk { "Junk" } else { "no junk" };
            format!("judged for {} as {place}, {} points{}{telling}", account_name(tx, *account), points(*score), reasons.concat())
        }
        Event::Advised { by, decision, changes, millis } => {
            let said = if decision == "none" { "was not asked".to_owned() } else { format!("says {decision} after {millis} ms") };
            let changes: Vec<_> = changes.iter().map(|change| format!("; {change}")).collect();
            format!("{by} {said}{}", changes.concat())
        }
        Event::Held { until, account, .. } => format!("waits in the Outbox of {} until {}", account_name(tx, *account), rfc3339(*until)),
        Event::Released { account } => format!("left the Outbox of {}: its time had come", account_name(tx, *account)),
        Event::Withdrawn { account } => {
            format!("taken out of the Outbox of {} before its time: it is not sent", account_name(tx, *account))
        }
        Event::Forwarded { recipient, to, return_path, reason } => {
            format!("forwarded for {recipient} to {to}, from <{return_path}>: {reason}")
        }
        Event::NotForwarded { recipient, to, reason } => format!("not forwarded for {recipient} to {to}: {reason}"),
        Event::Classified { recipient, class } => {
            let words = mta::bounce_class::BounceClass::by_name(class).map_or("", mta::bounce_class::BounceClass::words);
            format!("that means for {recipient}: {words} ({class})")
        }
        Event::Returned { recipient, receipt, status, class, reason } => {
            let status = status.map(|status| format!("{status} ")).unwrap_or_default();
            format!("returned for {recipient}, {class}: {status}{reason}; the report has the receipt {receipt}")
        }
        Event::Detoured { recipient, relay, reason } => {
            format!("for {recipient} it goes over {relay}, because this server's address is blocked there: {reason}")
        }
        Event::Rejected { peer, helo, reverse_path, recipients, code, status, text, .. } => {
            let to: Vec<String> = recipients.iter().map(ToString::to_string).collect();
            let peer = peer.map(|peer| format!(" by {peer}")).unwrap_or_default();
            format!("refused: {code} {status} {text}; brought{peer} ({helo}) from <{reverse_path}> to {}", to.join(", "))
        }
        Event::Grounds { stage, facts, .. } => {
            format!("kept what its {stage} rests on, {} octets: `postrider explain` reads it", facts.len())
        }
        Event::Kept { .. } | Event::NotKept { .. } | Event::Readmitted { .. } => rejects_words(tx, event),
        _ => "an event that this version does not know".to_owned(),
    }
}

/// The same of what became of refused mail.
fn rejects_words(tx: &ReadTx, event: &Event) -> String {
    match event {
        Event::Kept { account, until, again, .. } => {
            let account = account_name(tx, *account);
            let again = if *again { ", where it was already, because it had been brought before" } else { "" };
            format!("kept in the Rejects of {account} until {}{again}", rfc3339(*until))
        }
        Event::NotKept { account, reason } => {
            let whose = account.map(|account| format!(" of {}", account_name(tx, account))).unwrap_or_default();
            format!("not kept in the Rejects{whose}: {reason}")
        }
        Event::Readmitted { account, mailbox, .. } => {
            format!("taken out of the Rejects of {} into {}", account_name(tx, *account), mailbox_name(tx, *account, *mailbox))
        }
        _ => String::new(),
    }
}

/// What an administrator did, as a participle.
fn done(action: &str) -> &str {
    match action {
        "retry" => "made due",
        "hold" => "held",
        "release" => "released",
        "bounce" => "given up",
        "drop" => "dropped",
        other => other,
    }
}

/// Trails name accounts by number, for their addresses can change.
fn target_name(tx: &ReadTx, target: &str) -> String {
    let number = target.strip_prefix("account ").and_then(|number| number.parse().ok());
    number.map_or_else(|| target.to_owned(), |number| account_name(tx, AccountId(number)))
}

pub(super) fn account_name(tx: &ReadTx, account: AccountId) -> String {
    tx.account(account).ok().flatten().map_or_else(|| format!("account {account}"), |account| account.address.to_string())
}

pub(super) fn mailbox_name(tx: &ReadTx, account: AccountId, mailbox: MailboxId) -> String {
    tx.mailbox(account, mailbox).ok().flatten().map_or_else(|| format!("mailbox {mailbox}"), |mailbox| mailbox.name)
}
