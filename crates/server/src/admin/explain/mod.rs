//! Why a message went where it went: each check, what it saw, what followed, and what would change it.
//!
//! Everything is read from the message's trail, and decided again from what was kept there: the explanation says whether
//! that gives the same.

mod checks;
mod kept;
mod otherwise;

pub use kept::KeptView;

pub(super) use otherwise::Place;

use super::{Admin, Operation};
use crate::failure::{Failure, Result};
use crate::output::rfc3339;
use mail::digest::{AddressItem, Digest};
use mail::{AccountId, Address, Event, ReceiptId, ReversePath, TrailEntry, encoding};
use mta::explain::{self, Again, Judgement, Was};
use mta::receive::{Bringer, Tried};
use mta::settings::Dmarc;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use store::ReadTx;

/// Longest message that is tried, octets. Our own bound; a server's own may be lower.
pub const TRIED_OCTETS_MAX: usize = 32 << 20;

/// As much of a message is looked at for its author, octets.
const HEADER_OCTETS_MAX: usize = 256 * 1024;

/// The explanation of one message.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Explanation {
    /// The receipt; none: nobody sent it.
    pub receipt: Option<String>,
    /// When, RFC 3339.
    pub at: String,
    /// `accepted`, `refused` or `tried`.
    pub state: String,
    /// Whose connection.
    pub peer: Option<String>,
    /// What the peer called itself.
    pub helo: String,
    /// The envelope's sender.
    pub from: String,
    /// The envelope's recipients, as far as the trail names them.
    pub to: Vec<String>,
    /// `Message-ID` without brackets.
    pub message_id: Option<String>,
    /// Octets.
    pub octets: u64,
    /// What the peer heard if it was refused, or would hear.
    pub reply: Option<String>,
    /// To which command, if it was tried.
    pub command: Option<String>,
    /// Who it is from.
    pub checks: Vec<CheckView>,
    /// What block and allow lists say of the host.
    pub lists: Vec<String>,
    /// Questions to DNS and their answers.
    pub dns: Vec<String>,
    /// Where it went, or would go, for each recipient.
    pub went: Vec<String>,
    /// Whether each reader wants it.
    pub readers: Vec<ReaderView>,
    /// Where it is kept although it was refused.
    #[serde(default)]
    pub kept: Vec<KeptView>,
    /// What was decided and by which rule, in sentences.
    pub decided: Vec<String>,
    /// What would have made it otherwise for everybody, in sentences.
    pub otherwise: Vec<String>,
    /// What a trial leaves out.
    pub notes: Vec<String>,
    /// Whether deciding again gives the same: `same`, `differs` or `unknown`.
    pub again: String,
    /// The same in a sentence.
    pub again_words: String,
}

/// One check of who a message is from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckView {
    /// `iprev`, `spf helo`, `spf mail from`, `dkim`, `arc`, `dmarc`.
    pub check: String,
    /// RFC 8601's word.
    pub result: String,
    /// Why, in words.
    pub words: String,
}

/// One reader's verdict.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReaderView {
    /// Who.
    pub account: String,
    /// `inbox`, `junk` or `refused`.
    pub place: String,
    /// Points; above zero against it.
    pub points: f64,
    /// From so many points on it is Junk.
    pub junk_at: Option<f64>,
    /// From so many on it is refused.
    pub reject_at: Option<f64>,
    /// What the points are for, the weightiest first.
    pub reasons: Vec<ReasonView>,
    /// What the teaching rests on, the strongest first.
    pub features: Vec<FeatureView>,
    /// What would have made it otherwise, in sentences.
    pub otherwise: Vec<String>,
}

/// One reason.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReasonView {
    /// Its name.
    pub name: String,
    /// Points.
    pub points: f64,
    /// In words.
    pub words: String,
}

/// One feature that spoke.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FeatureView {
    /// Which; empty where its name was not kept.
    pub feature: String,
    /// Points that it adds; above zero against it. In old decisions: log-odds.
    pub weight: f64,
    /// In how many wanted and unwanted messages of the whole server it was.
    pub server: (u32, u32),
    /// The same in the reader's.
    pub own: (u32, u32),
}

/// Explains by receipt or Message-ID.
#[derive(Debug, Serialize, Deserialize)]
pub struct Explain {
    /// The id.
    pub id: String,
}

impl Operation for Explain {
    const NAME: &'static str = "explain";
    type Answer = Vec<Explanation>;

    fn run(self, on: &Admin) -> Result<Vec<Explanation>> {
        on.read(move |tx| {
            let bare = self.id.trim().trim_start_matches('<').trim_end_matches('>');
            let receipts = match bare.parse::<ReceiptId>() {
                Ok(receipt) => vec![receipt],
                Err(_) => tx.receipts_by_message_id(bare)?,
            };
            let mut found = Vec::new();
            for receipt in receipts {
                let trail = tx.trail(receipt)?;
                if !trail.is_empty() {
                    found.push(explanation(tx, Some(receipt), &trail, None));
                }
            }
            let hint = "nothing is known by that receipt or Message-ID, or it is older than is kept; `explain --file` tries a message that nobody sent";
            if found.is_empty() { Err(Failure::not_found("message", bare).hint(hint)) } else { Ok(found) }
        })
    }
}

/// Tries a message that nobody sent: what would become of it, if somebody brought it now.
#[derive(Debug, Serialize, Deserialize)]
pub struct Try {
    /// The message, base64; its lines end in CRLF.
    pub message: String,
    /// Who would bring it.
    pub ip: IpAddr,
    /// What that server would call itself.
    pub helo: String,
    /// The envelope's sender, empty for none; `None`: the first address in From.
    pub from: Option<String>,
    /// To whom.
    pub to: Vec<String>,
}

impl Operation for Try {
    const NAME: &'static str = "explain.try";
    type Answer = Explanation;

    fn run(self, on: &Admin) -> Result<Explanation> {
        let service = super::service::service(on)?;
        let message = encoding::decode(encoding::TransferEncoding::Base64, self.message.as_bytes());
        let reverse_path = match self.from.as_deref() {
            None => ReversePath(author(&message)),
            Some("") => ReversePath(None),
            Some(from) => ReversePath(Some(super::address(from)?)),
        };
        let recipients = self.to.iter().map(|to| super::address(to)).collect::<Result<Vec<_>>>()?;
        let bringer = Bringer { peer: self.ip, helo: self.helo.clone(), reverse_path: reverse_path.clone(), recipients };
        let tried = service.try_message(bringer, &message)?;
        let mut view = on.read(move |tx| Ok(explanation(tx, None, &tried.trail, Some(&tried))))?;
        (view.peer, view.helo, view.from, view.to) = (Some(self.ip.to_string()), self.helo, reverse_path.to_string(), self.to);
        view.octets = message.len() as u64;
        Ok(view)
    }
}

/// The first address in From.
fn author(message: &[u8]) -> Option<Address> {
    let digest = Digest::of(message.get(..HEADER_OCTETS_MAX).unwrap_or(message));
    digest.envelope.from.iter().find_map(AddressItem::address).and_then(|address| Address::parse(&address).ok())
}

/// Explains a trail; `tried`: of a message that nobody sent.
fn explanation(tx: &ReadTx, receipt: Option<ReceiptId>, trail: &[TrailEntry], tried: Option<&Tried>) -> Explanation {
    let again = explain::again(trail, None);
    let was = explain::was(trail);
    let mut view = head(receipt, trail);
    if let Some(tried) = tried {
        "tried".clone_into(&mut view.state);
        view.reply = Some(tried.reply.to_string());
        view.command = Some(tried.command.to_owned());
        view.notes = notes(tried);
    }
    if let Ok(again) = &again {
        view.checks = again.outcome.as_ref().map(checks::checks).unwrap_or_default();
    }
    view.lists = lists(trail);
    view.dns = answers(trail);
    view.went = trail.iter().filter_map(|entry| went(tx, &entry.event)).collect();
    view.readers = readers(tx, trail, again.as_ref().ok(), &was);
    view.kept = kept::kept(tx, trail, tried.is_some());
    view.went.extend(view.kept.iter().map(|kept| kept.words(tried.is_some())));
    view.decided = decided(&view, again.as_ref().ok(), trail);
    view.otherwise = again.as_ref().map(|again| otherwise::of_all(trail, again, &was)).unwrap_or_default();
    (view.again, view.again_words) = compared(trail, &was, again.as_ref());
    view
}

/// Who brought what to whom.
fn head(receipt: Option<ReceiptId>, trail: &[TrailEntry]) -> Explanation {
    let mut view = Explanation {
        receipt: receipt.map(|receipt| receipt.to_string()),
        at: trail.first().map(|entry| rfc3339(entry.at)).unwrap_or_default(),
        ..Explanation::default()
    };
    for entry in trail {
        match &entry.event {
            Event::Accepted { peer, helo, reverse_path, message_id, octets, .. } => {
                "accepted".clone_into(&mut view.state);
                (view.peer, view.helo) = (peer.map(|peer| peer.to_string()), helo.clone());
                (view.from, view.message_id, view.octets) = (reverse_path.to_string(), message_id.clone(), *octets);
            }
            Event::Rejected { peer, helo, reverse_path, recipients, message_id, octets, code, status, text, .. } => {
                "refused".clone_into(&mut view.state);
                (view.peer, view.helo) = (peer.map(|peer| peer.to_string()), helo.clone());
                (view.from, view.message_id, view.octets) = (reverse_path.to_string(), message_id.clone(), *octets);
                view.to = recipients.iter().map(Address::to_string).collect();
                view.reply = Some(format!("{code} {status} {text}"));
            }
            Event::Resolved { recipient, .. } | Event::Discarded { recipient, .. } => {
                let recipient = recipient.to_string();
                if !view.to.contains(&recipient) {
                    view.to.push(recipient);
                }
            }
            _ => {}
        }
    }
    view
}

/// What a trial leaves out.
fn notes(tried: &Tried) -> Vec<String> {
    let mut words = Vec::new();
    words.extend(tried.come_again.as_ref().map(|reply| {
        format!(
            "as a first contact it would hear {reply:?} to RCPT at first; this is about when it has come again",
            reply = reply.to_string()
        )
    }));
    words.extend(
        tried.slowed.map(|wait| format!("as a first contact it would be answered {} seconds later (filter.first_contact)", wait.as_secs())),
    );
    if !tried.unasked.is_empty() {
        words.push(format!(
            "{} would be asked as well and can decide otherwise; they are not asked about what nobody sent",
            tried.unasked.join(", ")
        ));
    }
    words
}

/// What became of it for a recipient.
fn went(tx: &ReadTx, event: &Event) -> Option<String> {
    Some(match event {
        Event::Delivered { recipient, account, mailbox, .. } => {
            let (mailbox, account) = (super::trace::mailbox_name(tx, *account, *mailbox), super::trace::account_name(tx, *account));
            format!("{recipient}: {mailbox} of {account}")
        }
        Event::Queued { recipient } => format!("{recipient}: the queue, to be sent on"),
        Event::Forwarded { recipient, to, reason, .. } => format!("{recipient}: sent on to {to}: {reason}"),
        Event::NotForwarded { recipient, to, reason } => format!("{recipient}: not sent on to {to}: {reason}"),
        Event::Discarded { recipient, reason } => format!("{recipient}: thrown away: {reason}"),
        Event::Refused { recipient, code, status, text } => format!("{recipient}: refused: {code} {status} {text}"),
        Event::Advised { .. } | Event::Handled { .. } | Event::NotKept { .. } | Event::Readmitted { .. } => super::trace::words(tx, event),
        _ => return None,
    })
}

/// What lists say of the host.
fn lists(trail: &[TrailEntry]) -> Vec<String> {
    let standings = trail.iter().filter_map(|entry| match &entry.event {
        Event::Listed { standings, .. } => Some(standings),
        _ => None,
    });
    standings.flatten().map(|(zone, words)| format!("{zone}: {words}")).collect()
}

fn answers(trail: &[TrailEntry]) -> Vec<String> {
    let asked = trail.iter().filter_map(|entry| match &entry.event {
        Event::Authenticated { answers, .. } | Event::Listed { answers, .. } => Some(answers),
        _ => None,
    });
    asked.flat_map(|answers| answers.iter().map(|(question, answer)| super::trace::asked(question, answer))).collect()
}

fn readers(tx: &ReadTx, trail: &[TrailEntry], again: Option<&Again>, was: &Was) -> Vec<ReaderView> {
    let judged = trail.iter().filter_map(|entry| match &entry.event {
        Event::Judged { account, score, reasons, telling, .. } => Some((*account, *score, reasons, telling)),
        _ => None,
    });
    judged
        .map(|(account, score, reasons, telling)| {
            let kept = judgement(trail, account);
            let mut view = ReaderView {
                account: super::trace::account_name(tx, account),
                place: Place::of(was, account).word().to_owned(),
                points: points(score),
                junk_at: kept.as_ref().map(|kept| points(kept.settings.junk_at)),
                reject_at: kept.as_ref().and_then(|kept| kept.settings.reject_at).map(points),
                reasons: reasons.iter().map(|(weight, words)| reason(*weight, words)).collect(),
                features: telling.iter().map(|(weight, feature)| told(weight, feature)).collect(),
                otherwise: Vec::new(),
            };
            if let (Some(kept), Some(again)) = (&kept, again)
                && let Some(verdict) = again.verdicts.get(&account)
            {
                view.features = features(kept, verdict);
                view.otherwise = otherwise::of(trail, again, was, account);
            }
            view
        })
        .collect()
}

/// Which rule decided.
fn decided(view: &Explanation, again: Option<&Again>, trail: &[TrailEntry]) -> Vec<String> {
    let mut words = Vec::new();
    let outcome = again.and_then(|again| again.outcome.as_ref());
    let would = if view.state == "tried" { "would be " } else { "" };
    let is_refused = trail.iter().any(|entry| matches!(entry.event, Event::Rejected { .. }));
    let to = view.command.as_ref().map(|command| format!(" after {command}")).unwrap_or_default();
    match (&view.reply, outcome) {
        (Some(reply), Some(outcome)) if is_refused && explain::refuses(outcome, Dmarc::Obey) => {
            words.push(format!("{would}refused{to} ({reply}), because the policy of {} asks for it", outcome.dmarc.domain));
        }
        (Some(reply), _) if is_refused && view.readers.iter().any(|reader| reader.place == "refused") => {
            words.push(format!("{would}refused{to} ({reply}), because it has so many points for everybody it is for"));
        }
        (Some(reply), _) if !reply.starts_with('2') => words.push(format!("{would}refused{to}: {reply}")),
        (Some(reply), _) => words.push(format!("{would}taken: {reply}")),
        (None, _) => {}
    }
    let asked = trail.iter().find_map(|entry| match &entry.event {
        Event::Authenticated { asked, .. } if asked != "none" => Some(asked.as_str()),
        _ => None,
    });
    let was = explain::was(trail);
    let is_trapped = explain::again(trail, None) == Err(explain::Unknown::Trapped);
    if let (false, Some(asked), Some(outcome)) = (is_refused, asked, outcome) {
        let words_of_domain = format!("the policy of {} asks for {asked}", outcome.dmarc.domain);
        let is_heard = explain::policy(trail).is_some_and(|policy| policy.dmarc != Dmarc::Ignore);
        words.push(match (is_heard, was.accounts.is_empty()) {
            (true, _) => format!("{words_of_domain}: it belongs in Junk, whatever its points"),
            (false, _) => format!("{words_of_domain}, which is passed over (authentication.dmarc = \"ignore\")"),
        });
    }
    for reader in &view.readers {
        let lines = reader.junk_at.into_iter().map(|line| format!("Junk from {line:.2} on"));
        let lines: Vec<String> = lines.chain(reader.reject_at.map(|line| format!("refused from {line:.2} on"))).collect();
        let lines = if lines.is_empty() { String::new() } else { format!(" ({})", lines.join(", ")) };
        words.push(format!("{:.2} points for {}{lines}: {}", reader.points, reader.account, reader.place));
    }
    if is_trapped {
        words.push("it is for spam traps alone: it is thrown away, and who brought it is remembered".to_owned());
    }
    if words.is_empty() {
        words.push("no check decided anything about it".to_owned());
    }
    words
}

fn judgement(trail: &[TrailEntry], of: AccountId) -> Option<Judgement> {
    trail.iter().find_map(|entry| match &entry.event {
        Event::Grounds { stage, account: Some(account), facts } if stage == explain::FILTER && *account == of => {
            serde_json::from_str(facts).ok()
        }
        _ => None,
    })
}

fn points(hundredths: i32) -> f64 {
    f64::from(hundredths) / 100.0
}

/// `program: the file "a.exe" is a program`
fn reason(weight: i32, text: &str) -> ReasonView {
    let (name, words) = text.split_once(": ").unwrap_or((text, ""));
    ReasonView { name: name.to_owned(), points: points(weight), words: words.to_owned() }
}

fn told(weight: &str, feature: &str) -> FeatureView {
    FeatureView { feature: feature.to_owned(), weight: weight.parse().unwrap_or(0.0), server: (0, 0), own: (0, 0) }
}

fn features(kept: &Judgement, verdict: &filter::Verdict) -> Vec<FeatureView> {
    let telling = verdict.opinion.iter().flat_map(|opinion| &opinion.telling);
    let heard = kept.grounds.heard.iter().flat_map(|heard| &heard.features);
    let view = |(one, heard): (&filter::Telling, &filter::HeardFeature)| FeatureView {
        feature: one.feature.clone(),
        weight: one.weight,
        server: (heard.server.ham, heard.server.spam),
        own: (heard.account.ham, heard.account.spam),
    };
    telling.zip(heard).take(filter::NAMED_MAX).map(view).collect()
}

/// Whether deciding again gives what was decided.
fn compared(trail: &[TrailEntry], was: &Was, again: std::result::Result<&Again, &explain::Unknown>) -> (String, String) {
    let again = match again {
        Err(unknown) => return ("unknown".to_owned(), format!("it cannot be decided again: {unknown}")),
        Ok(again) => again,
    };
    let mut other = Vec::new();
    let written = trail.iter().find_map(|entry| match &entry.event {
        Event::Authenticated { results, .. } => Some(results),
        _ => None,
    });
    if again.results.as_ref() != written {
        other.push("the results of authentication".to_owned());
    }
    for entry in trail {
        if let Event::Judged { account, score, .. } = &entry.event {
            let again = again.verdicts.get(account).map(|verdict| verdict.score);
            if again != Some(*score) {
                other.push(format!("the points of account {account}"));
            }
        }
    }
    let checked = Was { refused: was.refused && again.was.refused, ..was.clone() };
    if again.was.junk != checked.junk || again.was.refused != checked.refused {
        other.push("where it goes".to_owned());
    }
    match other.as_slice() {
        [] => ("same".to_owned(), "deciding it again from what was kept gives the same".to_owned()),
        other => ("differs".to_owned(), format!("deciding it again gives something else: {}", other.join(", "))),
    }
}

/// A file's message as it would come over SMTP: lines end in CRLF.
pub fn with_line_ends(octets: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(octets.len() + octets.len() / 32);
    let mut last = 0;
    for octet in octets {
        if *octet == b'\n' && last != b'\r' {
            out.push(b'\r');
        }
        out.push(*octet);
        last = *octet;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_get_the_line_ends_of_mail() {
        for (file, want) in [("a\nb\r\n\n", "a\r\nb\r\n\r\n"), ("", ""), ("\n", "\r\n"), ("a\r\r\n", "a\r\r\n")] {
            assert_eq!(with_line_ends(file.as_bytes()), want.as_bytes(), "{file:?}");
        }
    }
}
