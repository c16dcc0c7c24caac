//! Why a message went where it went: each check, what it saw, what followed, and what would change it.
//!
//! Everything is read from the message's trail, and decided again from what was kept there: the explanation says whether
//! that gives the same.

use super::{Admin, Operation};
use crate::failure::{Failure, Result};
use crate::output::rfc3339;
use mail::{AccountId, Address, Event, ReceiptId, TrailEntry};
use mailauth::Outcome;
use mta::explain::{self, Again, Judgement, Was};
use mta::settings::Dmarc;
use serde::{Deserialize, Serialize};
use store::ReadTx;

/// The explanation of one message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
    /// What the peer heard, if it was refused.
    pub reply: Option<String>,
    /// Who it is from.
    pub checks: Vec<CheckView>,
    /// Questions to DNS and their answers.
    pub dns: Vec<String>,
    /// Whether each reader wants it.
    pub readers: Vec<ReaderView>,
    /// What was decided and by which rule, in sentences.
    pub decided: Vec<String>,
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
    /// Log-odds; above zero against it.
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
                    found.push(explanation(tx, Some(receipt), &trail));
                }
            }
            let hint = "nothing is known by that receipt or Message-ID, or it is older than is kept; `explain --file` tries a message";
            if found.is_empty() { Err(Failure::not_found("message", bare).hint(hint)) } else { Ok(found) }
        })
    }
}

/// Judges a message that nobody sent, for the accounts that an address leads to. Who it is from was found out before.
#[derive(Debug, Serialize, Deserialize)]
pub struct Try {
    /// The message's start, base64.
    pub message: String,
    /// To whom.
    pub to: Option<String>,
    /// What was found out, and when.
    pub trail: Vec<TrailEntry>,
    /// What the verdict has to know of that.
    pub authenticity: filter::Authenticity,
}

impl Operation for Try {
    const NAME: &'static str = "explain.try";
    type Answer = Explanation;

    fn run(self, on: &Admin) -> Result<Explanation> {
        let settings = on.mail();
        let to = self.to.as_deref().map(super::address).transpose()?;
        let octets = mail::encoding::decode(mail::encoding::TransferEncoding::Base64, self.message.as_bytes());
        let mut trail = self.trail;
        let at = trail.first().map_or_else(crate::clock::now, |entry| entry.at);
        on.read(move |tx| {
            if let Some(to) = to {
                let events = explain::tried::judge(tx, &settings, &to, &octets, self.authenticity)?;
                trail.push(TrailEntry { at, event: Event::Resolved { recipient: to, targets: Vec::new() } });
                trail.extend(events.into_iter().map(|event| TrailEntry { at, event }));
            }
            Ok(explanation(tx, None, &trail))
        })
    }
}

/// Explains a trail.
fn explanation(tx: &ReadTx, receipt: Option<ReceiptId>, trail: &[TrailEntry]) -> Explanation {
    let again = explain::again(trail, None);
    let was = match (receipt, &again) {
        // Nothing became of what nobody sent.
        (None, Ok(again)) => again.was.clone(),
        _ => explain::was(trail),
    };
    let mut view = head(receipt, trail);
    if let Ok(again) = &again {
        view.checks = again.outcome.as_ref().map(checks).unwrap_or_default();
    }
    view.dns = answers(trail);
    view.readers = readers(tx, trail, again.as_ref().ok(), &was);
    view.decided = decided(&view, again.as_ref().ok(), trail);
    (view.again, view.again_words) = compared(trail, &was, again.as_ref());
    view
}

/// Who brought what to whom.
fn head(receipt: Option<ReceiptId>, trail: &[TrailEntry]) -> Explanation {
    let mut view = Explanation {
        receipt: receipt.map(|receipt| receipt.to_string()),
        at: trail.first().map(|entry| rfc3339(entry.at)).unwrap_or_default(),
        state: "tried".to_owned(),
        peer: None,
        helo: String::new(),
        from: String::new(),
        to: Vec::new(),
        message_id: None,
        octets: 0,
        reply: None,
        checks: Vec::new(),
        dns: Vec::new(),
        readers: Vec::new(),
        decided: Vec::new(),
        again: String::new(),
        again_words: String::new(),
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
            Event::Resolved { recipient, .. } => view.to.push(recipient.to_string()),
            _ => {}
        }
    }
    view
}

fn checks(outcome: &Outcome) -> Vec<CheckView> {
    let check = |check: &str, result: &str, words: String| CheckView { check: check.to_owned(), result: result.to_owned(), words };
    let name =
        outcome.iprev.name.as_ref().map_or("no name of the address leads back to it".to_owned(), |name| format!("the address is {name}"));
    let mut checks = vec![check("iprev", outcome.iprev.result.as_str(), name)];
    for (label, spf) in [("spf helo", &outcome.helo), ("spf mail from", &outcome.mail_from)] {
        let mut words = format!("asked of {:?}", spf.domain);
        words.extend(spf.term.iter().map(|term| format!(", decided by {term:?}")));
        words.extend(spf.problem.iter().map(|problem| format!(": {problem}")));
        checks.push(check(label, spf.result.as_str(), words));
    }
    for dkim in &outcome.dkim {
        let reason = dkim.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
        checks.push(check("dkim", dkim.result.as_str(), format!("{} signed, selector {}{reason}", dkim.domain, dkim.selector)));
    }
    if outcome.dkim.is_empty() {
        checks.push(check("dkim", "none", "it has no signature".to_owned()));
    }
    if outcome.arc.sets > 0 {
        let reason = outcome.arc.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
        checks.push(check("arc", outcome.arc.result.as_str(), format!("sealed by {}{reason}", outcome.arc.sealers.join(", "))));
    }
    checks.push(check("dmarc", outcome.dmarc.result.as_str(), dmarc(outcome)));
    checks
}

fn dmarc(outcome: &Outcome) -> String {
    let dmarc = &outcome.dmarc;
    let mut words = format!("the author's domain is {}", dmarc.domain);
    words.extend(dmarc.policy_domain.iter().map(|domain| format!(", its policy at {domain} is {}", dmarc.policy)));
    let stands = match (dmarc.spf_aligned, dmarc.dkim_aligned) {
        (true, true) => ", SPF and a signature stand for it",
        (true, false) => ", SPF stands for it",
        (false, true) => ", a signature stands for it",
        (false, false) => "",
    };
    words.push_str(stands);
    words.extend(dmarc.reason.iter().map(|reason| format!(": {reason}")));
    if dmarc.asked != dmarc.policy && dmarc.result == mailauth::dmarc::DmarcResult::Fail {
        words.extend(["; asked for this message is ", dmarc.asked.as_str()]);
    }
    words
}

fn answers(trail: &[TrailEntry]) -> Vec<String> {
    let asked = trail.iter().filter_map(|entry| match &entry.event {
        Event::Authenticated { answers, .. } => Some(answers),
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
            let verdict = again.and_then(|again| again.verdicts.get(&account));
            let mut view = ReaderView {
                account: super::trace::account_name(tx, account),
                place: place(was, account).to_owned(),
                points: points(score),
                junk_at: kept.as_ref().map(|kept| points(kept.settings.junk_at)),
                reasons: reasons.iter().map(|(weight, words)| reason(*weight, words)).collect(),
                features: telling.iter().map(|(weight, feature)| told(weight, feature)).collect(),
                otherwise: Vec::new(),
            };
            if let (Some(kept), Some(verdict)) = (&kept, verdict) {
                view.features = features(kept, verdict);
                view.otherwise = otherwise(kept, verdict);
            }
            view
        })
        .collect()
}

fn place(was: &Was, account: AccountId) -> &'static str {
    match (was.refused, was.junk.contains(&account)) {
        (true, _) => "refused",
        (false, true) => "junk",
        (false, false) => "inbox",
    }
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

/// What would have made the verdict another one.
fn otherwise(kept: &Judgement, verdict: &filter::Verdict) -> Vec<String> {
    let line = kept.settings.junk_at;
    let is_junk = verdict.score >= line;
    let crosses = |weight: i32| (verdict.score - weight >= line) != is_junk;
    let mut words: Vec<String> = verdict
        .reasons
        .iter()
        .filter(|reason| crosses(reason.weight))
        .map(|reason| {
            format!(
                "without {:?} ({:+.2}) it would have {:.2} points",
                reason.name,
                points(reason.weight),
                points(verdict.score - reason.weight)
            )
        })
        .collect();
    let distance = points((verdict.score - line).abs());
    words.push(if is_junk {
        format!("with {distance:.2} points less, or filter.junk_points above {:.2}, it would go to the inbox", points(verdict.score))
    } else {
        format!("with {distance:.2} points more it would go to Junk")
    });
    words
}

/// Which rule decided.
fn decided(view: &Explanation, again: Option<&Again>, trail: &[TrailEntry]) -> Vec<String> {
    let mut words = Vec::new();
    let outcome = again.and_then(|again| again.outcome.as_ref());
    let asked = trail.iter().find_map(|entry| match &entry.event {
        Event::Authenticated { asked, .. } if asked != "none" => Some(asked.as_str()),
        _ => None,
    });
    match (&view.reply, outcome) {
        (Some(reply), Some(outcome)) if explain::refuses(outcome, Dmarc::Obey) => {
            words.push(format!("refused ({reply}), because the policy of {} asks for it", outcome.dmarc.domain));
            words.push("with authentication.dmarc = \"junk\" it would have gone to Junk; a signature of the author's domain, or its SPF, would have let it pass".to_owned());
        }
        (Some(reply), _) => words.push(format!("refused: {reply}")),
        (None, Some(outcome)) if view.state == "tried" && again.is_some_and(|again| again.was.refused) => {
            words.push(format!("it would be refused: DMARC is {} for {}", outcome.dmarc.result, outcome.dmarc.domain));
        }
        (None, _) => {}
    }
    if let (None, Some(asked)) = (&view.reply, asked) {
        words.push(format!(
            "the author's domain asks for {asked}: it goes to Junk, whatever the points, unless authentication.dmarc = \"ignore\""
        ));
    }
    for reader in &view.readers {
        let line = reader.junk_at.map(|line| format!(" (Junk from {line:.2} on)")).unwrap_or_default();
        words.push(format!("{} points for {}{line}: {}", number(reader.points), reader.account, reader.place));
    }
    if words.is_empty() {
        words.push("no check decided anything about it".to_owned());
    }
    words
}

fn number(points: f64) -> String {
    format!("{points:.2}")
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
