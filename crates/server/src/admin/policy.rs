//! What other settings would have done with the mail of the last days.
//!
//! A page at a time, so that mail does not wait for it and whoever asks sees how far it is. Nothing is changed.

use super::explain::Place;
use super::{Admin, Operation};
use crate::config::{Config, tried};
use crate::failure::{Failure, Result};
use crate::output::rfc3339;
use mail::{AccountId, Event, ReceiptId, Timestamp, TrailEntry};
use mta::explain::{self, Policy, Unknown, Was};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;
use store::ReadTx;

/// Most messages of one page. Our own bound: a fraction of a second of work.
pub const PAGE_MAX: usize = 500;
/// Most messages that can be asked for by their number. Our own bound.
pub const LAST_MAX: usize = 1_000_000;

/// The settings to try.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Tried {
    /// The text of a settings file; none: what the running server has in use.
    pub settings: Option<String>,
    /// `KEY=VALUE` over that.
    pub set: Vec<String>,
}

impl Tried {
    /// What they decide by.
    fn policy(&self, on: &Admin) -> Result<Policy> {
        let in_use = on.service.as_ref().map(|service| service.config());
        let settings = self.settings.as_deref();
        match (in_use, settings) {
            (Some(config), settings) => tried::policy(&config, settings, &self.set),
            (None, Some(text)) => tried::policy(&Config::parse(Path::new("--settings"), text)?, None, &self.set),
            (None, None) => Err(Failure::usage("no server runs whose settings could be tried").hint("name some with --settings FILE")),
        }
    }
}

/// Where to begin.
#[derive(Debug, Serialize, Deserialize)]
pub struct Begin {
    /// So many of the latest messages; none: all since.
    pub last: Option<usize>,
    /// Since when.
    pub since: Timestamp,
    /// The settings to try: a mistake in them is told before anything is read.
    pub tried: Tried,
}

/// What there is to look at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// Behind this receipt.
    pub after: ReceiptId,
    /// Up to then.
    pub until: Timestamp,
    /// How many messages.
    pub messages: usize,
}

impl Operation for Begin {
    const NAME: &'static str = "policy.begin";
    type Answer = Span;

    fn run(self, on: &Admin) -> Result<Span> {
        self.tried.policy(on)?;
        let until = crate::clock::now();
        on.read(move |tx| {
            let receipts = match self.last {
                Some(last) => tx.trail_receipts_latest(last.min(LAST_MAX))?,
                None => tx.trail_receipts(before(self.since), until, LAST_MAX)?,
            };
            let first = receipts.iter().min().copied().unwrap_or(ReceiptId(0));
            Ok(Span { after: ReceiptId(first.0.saturating_sub(1)), until, messages: receipts.len() })
        })
    }
}

fn before(at: Timestamp) -> ReceiptId {
    ReceiptId((u64::try_from(at.0).unwrap_or(0) << 20).saturating_sub(1))
}

/// Looks at some messages.
#[derive(Debug, Serialize, Deserialize)]
pub struct Look {
    /// Behind this receipt.
    pub after: ReceiptId,
    /// Up to then.
    pub until: Timestamp,
    /// The settings to try.
    pub tried: Tried,
}

/// What was seen.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Seen {
    /// Where to go on; none: that was all.
    pub next: Option<ReceiptId>,
    /// Messages looked at.
    pub messages: usize,
    /// Those among them that were decided again.
    pub decided: usize,
    /// Why the others were not, and how many.
    pub unknown: BTreeMap<String, usize>,
    /// What would have gone elsewhere.
    pub changes: Vec<Change>,
}

/// A message that would have gone elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Its receipt.
    pub receipt: String,
    /// When, RFC 3339.
    pub at: String,
    /// The envelope's sender.
    pub from: String,
    /// Whose mail; empty if it is about all.
    pub account: String,
    /// `inbox`, `junk` or `refused`.
    pub was: String,
    /// The same under the settings that are tried.
    pub would_be: String,
    /// The rule, in words.
    pub why: String,
}

impl Operation for Look {
    const NAME: &'static str = "policy.look";
    type Answer = Seen;

    fn run(self, on: &Admin) -> Result<Seen> {
        let policy = self.tried.policy(on)?;
        on.read(move |tx| {
            let receipts = tx.trail_receipts(self.after, self.until, PAGE_MAX)?;
            let mut seen = Seen { messages: receipts.len(), ..Seen::default() };
            seen.next = receipts.last().copied().filter(|_| receipts.len() == PAGE_MAX);
            for receipt in receipts {
                look(tx, receipt, &tx.trail(receipt)?, &policy, &mut seen);
            }
            Ok(seen)
        })
    }
}

/// A verdict's points, without the place that follows.
fn points(verdict: &filter::Verdict) -> String {
    let short = verdict.short();
    short.split_once("; ").map_or_else(String::new, |(_, points)| points.to_owned())
}

/// Few kinds, however many messages.
fn reason(unknown: &Unknown) -> String {
    match unknown {
        Unknown::NotAsked(_) => "DNS would have been asked what it was not asked then".to_owned(),
        other => other.to_string(),
    }
}

fn look(tx: &ReadTx, receipt: ReceiptId, trail: &[TrailEntry], policy: &Policy, seen: &mut Seen) {
    let again = match explain::again(trail, Some(policy)) {
        Ok(again) => again,
        Err(unknown) => {
            *seen.unknown.entry(reason(&unknown)).or_default() += 1;
            return;
        }
    };
    seen.decided += 1;
    let was = explain::was(trail);
    if was.refused && again.was.refused {
        return;
    }
    let change = |account: Option<AccountId>, before: &str, after: &str, why: String| Change {
        receipt: receipt.to_string(),
        at: trail.first().map(|entry| rfc3339(entry.at)).unwrap_or_default(),
        from: sender(trail),
        account: account.map(|account| super::trace::account_name(tx, account)).unwrap_or_default(),
        was: before.to_owned(),
        would_be: after.to_owned(),
        why,
    };
    let dmarc = || again.outcome.as_ref().map_or_else(String::new, |outcome| format!("dmarc={}", outcome.dmarc.result));
    if was.accounts.is_empty() && was.refused != again.was.refused {
        // Refused before it was judged for anybody.
        let is_aside = again.outcome.as_ref().is_some_and(|outcome| explain::sets_aside(outcome, policy.dmarc));
        let would_be = if is_aside && !again.was.refused { "junk" } else { place(&again.was, None) };
        seen.changes.push(change(None, place(&was, None), would_be, dmarc()));
    }
    for account in &was.accounts {
        let (before, after) = (place(&was, Some(*account)), place(&again.was, Some(*account)));
        if before != after {
            let score = again.verdicts.get(account).map_or_else(&dmarc, points);
            seen.changes.push(change(Some(*account), before, after, score));
        }
    }
}

fn place(was: &Was, account: Option<AccountId>) -> &'static str {
    match account {
        Some(account) => Place::of(was, account).word(),
        None if was.refused => "refused",
        None => "accepted",
    }
}

fn sender(trail: &[TrailEntry]) -> String {
    let found = trail.iter().find_map(|entry| match &entry.event {
        Event::Accepted { reverse_path, .. } | Event::Rejected { reverse_path, .. } => Some(reverse_path.to_string()),
        _ => None,
    });
    found.unwrap_or_default()
}
