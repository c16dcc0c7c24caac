//! Aggregate reports: what a domain's mail of one day looked like from where it arrived (RFC 9990; RFC 7489 appendix C).
//!
//! [`Row`] is what one message adds, [`write`] makes a report's XML, [`read`] takes one apart, whatever schema its writer
//! had in mind.
//!
//! Not the sending, and not the mail around a report.
//!
//! Invariant: what is read is bounded by [`Limits`]; what does not fit makes the report unreadable, never part of it.

mod read;
mod write;

pub use read::{Limits, ReadError, read};
pub use write::write;

use super::{Alignment, Discovery, DmarcResult, Policy};
use crate::dkim::DkimResult;
use crate::inspect::Outcome;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// Most signatures that a row tells of (RFC 9990 §3.1.2 wants no more than 100). Our own bound.
const SIGNATURES_MAX: usize = 10;
/// Longest name in a row, characters: what a stranger chose is not stored longer.
const NAME_CHARS_MAX: usize = 255;

/// The policy that a domain published, as a report repeats it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Published {
    /// Where it stands.
    pub domain: String,
    /// `psl` or `treewalk`.
    pub discovery: String,
    /// `p`
    pub p: String,
    /// `sp`
    pub sp: String,
    /// `np`
    pub np: String,
    /// `adkim`: `r` or `s`.
    pub adkim: String,
    /// `aspf`: `r` or `s`.
    pub aspf: String,
    /// `t`: `y` or `n`.
    pub testing: String,
    /// `fo`
    pub fo: String,
}

/// Messages that are alike in all that a report tells of them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Row {
    /// The connecting address.
    pub source: String,
    /// What was done: `none`, `pass`, `quarantine` or `reject`.
    pub disposition: String,
    /// A signature stands for the author: `pass` or `fail`.
    pub dkim: String,
    /// SPF stands for the author: `pass` or `fail`.
    pub spf: String,
    /// Why something else was done than the policy says: type and words.
    pub reasons: Vec<(String, String)>,
    /// The author's domain.
    pub header_from: String,
    /// The domain of the reverse-path.
    pub envelope_from: String,
    /// The signatures.
    pub signatures: Vec<Authenticated>,
    /// The reverse-path's.
    pub sender: Vec<Authenticated>,
}

/// One result in a row.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Authenticated {
    /// Whose.
    pub domain: String,
    /// A signature's selector.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub selector: String,
    /// As RFC 8601 has it.
    pub result: String,
}

/// A report.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Report {
    /// Who reports.
    pub organization: String,
    /// Whom to ask.
    pub email: String,
    /// Unique among the reporter's.
    pub id: String,
    /// The first second, since 1970.
    pub begin: i64,
    /// The last second.
    pub end: i64,
    /// What the reporter found wrong with the policy.
    pub errors: Vec<String>,
    /// The policy.
    pub published: Published,
    /// The rows, each with how many messages it stands for.
    pub rows: Vec<(Row, u64)>,
}

/// What was done with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Done {
    /// It was taken like any other.
    Taken,
    /// It was set aside because the domain asks for it.
    Quarantined,
    /// It was refused because the domain asks for it.
    Rejected,
}

impl Published {
    /// The policy by which a message was judged; `None`: there is none.
    pub fn of(outcome: &Outcome, discovery: Discovery) -> Option<Self> {
        let record = outcome.dmarc.published.as_ref()?;
        let letter = |alignment| if alignment == Alignment::Strict { "s" } else { "r" }.to_owned();
        let sp = record.subdomain_policy.unwrap_or(record.policy);
        Some(Self {
            domain: outcome.dmarc.policy_domain.clone()?,
            discovery: if discovery == Discovery::TreeWalk { "treewalk" } else { "psl" }.to_owned(),
            p: record.policy.to_string(),
            sp: sp.to_string(),
            np: record.nonexistent_policy.unwrap_or(sp).to_string(),
            adkim: letter(record.dkim_alignment),
            aspf: letter(record.spf_alignment),
            testing: if record.testing { "y" } else { "n" }.to_owned(),
            fo: String::new(),
        })
    }
}

impl Row {
    /// What a message adds to its author's report.
    pub fn of(outcome: &Outcome, peer: IpAddr, done: Done) -> Self {
        let dmarc = &outcome.dmarc;
        let word = |holds: bool| if holds { "pass" } else { "fail" }.to_owned();
        let disposition = match done {
            Done::Taken if dmarc.result == DmarcResult::Pass => "pass",
            Done::Taken => "none",
            Done::Quarantined => "quarantine",
            Done::Rejected => "reject",
        };
        let mut signatures: Vec<_> = outcome.dkim.iter().collect();
        // RFC 9990 §3.1.2: the author's own first, then those that pass.
        signatures.sort_by_key(|dkim| (dkim.result != DkimResult::Pass, dkim.domain != dmarc.domain));
        let signature = |dkim: &&crate::dkim::Dkim| Authenticated {
            domain: short(&dkim.domain),
            selector: short(&dkim.selector),
            result: dkim.result.to_string(),
        };
        let envelope_from = short(&outcome.mail_from.domain);
        Self {
            source: peer.to_canonical().to_string(),
            disposition: disposition.to_owned(),
            dkim: word(dmarc.dkim_aligned),
            spf: word(dmarc.spf_aligned),
            reasons: override_of(outcome, done).into_iter().collect(),
            header_from: short(&dmarc.domain),
            sender: vec![Authenticated {
                domain: envelope_from.clone(),
                selector: String::new(),
                result: outcome.mail_from.result.to_string(),
            }],
            envelope_from,
            signatures: signatures.iter().take(SIGNATURES_MAX).map(signature).collect(),
        }
    }

    /// The author's domain stands for it.
    pub fn passes(&self) -> bool {
        self.dkim == "pass" || self.spf == "pass"
    }
}

/// Why not what the policy says (RFC 9990 §3.1.6).
fn override_of(outcome: &Outcome, done: Done) -> Option<(String, String)> {
    let dmarc = &outcome.dmarc;
    let wanted = match dmarc.policy {
        Policy::None => Done::Taken,
        Policy::Quarantine => Done::Quarantined,
        Policy::Reject => Done::Rejected,
    };
    if dmarc.result != DmarcResult::Fail || done == wanted {
        return None;
    }
    let reason = |kind: &str, words: &str| Some((kind.to_owned(), words.to_owned()));
    if dmarc.asked < dmarc.policy && done != Done::Rejected {
        let tests = dmarc.published.as_ref().is_some_and(|record| record.testing);
        return if tests { reason("policy_test_mode", "") } else { reason("other", "outside of the sample (pct)") };
    }
    reason("local_policy", "")
}

fn short(name: &str) -> String {
    name.chars().filter(|c| !c.is_control()).take(NAME_CHARS_MAX).collect()
}
