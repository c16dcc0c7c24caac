//! A trail's decision made again, under the settings of then or under others.

use super::{AUTHENTICATION, FILTER, Inspection, Judgement, Policy, authenticity, refuses, sets_aside};
use crate::settings::Dmarc;
use filter::dnsbl::{self, List};
use filter::{Action, Authenticity, Reason, Verdict};
use mail::lookup::Recorded;
use mail::{AccountId, Event, TrailEntry};
use mailauth::{Outcome, results};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// What became of a message, as far as checks decided it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Was {
    /// It was refused.
    pub refused: bool,
    /// Whose Junk got it.
    pub junk: BTreeSet<AccountId>,
    /// Whom it was judged for, or delivered to.
    pub accounts: BTreeSet<AccountId>,
}

/// A decision made again.
#[derive(Debug, Clone, PartialEq)]
pub struct Again {
    /// Who it is from.
    pub outcome: Option<Outcome>,
    /// The same as the message's field has it, on one line.
    pub results: Option<String>,
    /// For each reader whose verdict was kept.
    pub verdicts: BTreeMap<AccountId, Verdict>,
    /// What became of it.
    pub was: Was,
}

/// Why a decision cannot be made again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unknown {
    /// Nothing was checked: the peer is one of ours, or checks were off.
    Unchecked,
    /// It was for spam traps alone: nothing is decided about such mail.
    Trapped,
    /// It was checked, but what the decision rests on was not kept, or it is not read by this version.
    NotKept(&'static str),
    /// Other questions would have been asked of DNS.
    NotAsked(String),
}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unchecked => f.write_str("nothing was checked: whoever brought it is known here, or checks were off"),
            Self::Trapped => f.write_str("it was for spam traps alone, and nothing is decided about such mail"),
            Self::NotKept(stage) => write!(f, "what the {stage} rests on was not kept"),
            Self::NotAsked(question) => write!(f, "DNS was not asked for {question} then"),
        }
    }
}

/// Whether a message is for an account's Junk, as it was decided when it came: for who files it later.
pub fn is_junk(trail: &[TrailEntry], of: AccountId) -> bool {
    let judged = |entry: &TrailEntry| matches!(&entry.event, Event::Judged { account, is_junk: true, .. } if *account == of);
    was_set_aside(trail) || trail.iter().any(judged)
}

/// The author's domain asked for no good, and was heard.
fn was_set_aside(trail: &[TrailEntry]) -> bool {
    let asked = trail.iter().any(|entry| matches!(&entry.event, Event::Authenticated { asked, .. } if asked != "none"));
    asked && inspection(trail).is_some_and(|kept| kept.dmarc != Dmarc::Ignore)
}

/// What was decided, as the trail tells.
pub fn was(trail: &[TrailEntry]) -> Was {
    let mut was = Was::default();
    for entry in trail {
        match &entry.event {
            Event::Rejected { .. } => was.refused = true,
            Event::Judged { account, is_junk, .. } => {
                was.accounts.insert(*account);
                if *is_junk {
                    was.junk.insert(*account);
                }
            }
            Event::Delivered { account, .. } => {
                was.accounts.insert(*account);
            }
            _ => {}
        }
    }
    if was_set_aside(trail) {
        was.junk.extend(was.accounts.iter().copied());
    }
    was
}

/// By which settings a message was decided about, as far as that was kept.
pub fn policy(trail: &[TrailEntry]) -> Option<Policy> {
    let judgement = facts(trail, FILTER).find_map(|(_, facts)| serde_json::from_str::<Judgement>(facts).ok());
    let inspection = inspection(trail);
    if judgement.is_none() && inspection.is_none() {
        return None;
    }
    Some(Policy {
        inspects: inspection.is_some(),
        dmarc: inspection.as_ref().map_or(Dmarc::Obey, |kept| kept.dmarc),
        discovery: inspection.map_or_else(Default::default, |kept| kept.discovery),
        judges: judgement.is_some(),
        judgement: judgement.map_or_else(Default::default, |kept| kept.settings),
        lists: None,
    })
}

/// Decides again; `policy` none: as it was set then.
///
/// # Errors
/// When not everything is known that the decision rests on.
pub fn again(trail: &[TrailEntry], policy: Option<&Policy>) -> Result<Again, Unknown> {
    let inspected = trail.iter().any(|entry| matches!(entry.event, Event::Authenticated { .. }));
    let judged = trail.iter().any(|entry| matches!(entry.event, Event::Judged { .. }));
    if !inspected && !judged {
        let is_trapped = trail.iter().any(|entry| matches!(entry.event, Event::Discarded { .. }));
        return Err(if is_trapped { Unknown::Trapped } else { Unknown::Unchecked });
    }
    let found = if inspected && policy.is_none_or(|policy| policy.inspects) { Some(inspect(trail, policy)?) } else { None };
    let proven = found.as_ref().map_or(Authenticity::Unknown, |(outcome, obeyed, _)| authenticity(outcome, *obeyed));
    let verdicts = if judged && policy.is_none_or(|policy| policy.judges) { judge(trail, policy, proven)? } else { BTreeMap::new() };
    let (outcome, obeyed, results) = match found {
        Some((outcome, obeyed, results)) => (Some(outcome), obeyed, Some(results)),
        None => (None, Dmarc::Ignore, None),
    };
    let was = decide(outcome.as_ref(), obeyed, &verdicts, was(trail).accounts, is_for_others(trail, &verdicts));
    Ok(Again { outcome, results, verdicts, was })
}

fn decide(
    outcome: Option<&Outcome>,
    obeyed: Dmarc,
    verdicts: &BTreeMap<AccountId, Verdict>,
    accounts: BTreeSet<AccountId>,
    is_for_others: bool,
) -> Was {
    let nobody_wants_it = !verdicts.is_empty() && verdicts.values().all(|verdict| verdict.action == Action::Reject);
    let refused = outcome.is_some_and(|outcome| refuses(outcome, obeyed)) || nobody_wants_it && !is_for_others;
    let mut junk: BTreeSet<AccountId> =
        verdicts.iter().filter(|(_, verdict)| verdict.action != Action::Accept).map(|(account, _)| *account).collect();
    if outcome.is_some_and(|outcome| sets_aside(outcome, obeyed)) {
        junk.extend(accounts.iter().copied());
    }
    Was { refused, junk, accounts }
}

/// Whether somebody gets it for whom there is no verdict: then points do not refuse it.
fn is_for_others(trail: &[TrailEntry], verdicts: &BTreeMap<AccountId, Verdict>) -> bool {
    let targets = trail.iter().filter_map(|entry| match &entry.event {
        Event::Resolved { targets, .. } => Some(targets),
        _ => None,
    });
    let is_judged = |target: &String| {
        let account = target.strip_prefix("account ").and_then(|number| number.parse().ok());
        account.is_some_and(|account| verdicts.contains_key(&AccountId(account)))
    };
    targets.flatten().any(|target| !is_judged(target))
}

fn inspection(trail: &[TrailEntry]) -> Option<Inspection> {
    facts(trail, AUTHENTICATION).next().and_then(|(_, facts)| serde_json::from_str(facts).ok())
}

fn facts<'a>(trail: &'a [TrailEntry], of: &'static str) -> impl Iterator<Item = (Option<AccountId>, &'a str)> {
    trail.iter().filter_map(move |entry| match &entry.event {
        Event::Grounds { stage, account, facts } if stage == of => Some((*account, facts.as_str())),
        _ => None,
    })
}

fn answers(trail: &[TrailEntry]) -> Option<&Recorded> {
    trail.iter().find_map(|entry| match &entry.event {
        Event::Authenticated { answers, .. } => Some(answers),
        _ => None,
    })
}

fn inspect(trail: &[TrailEntry], policy: Option<&Policy>) -> Result<(Outcome, Dmarc, String), Unknown> {
    let (kept, answers) = inspection(trail).zip(answers(trail)).ok_or(Unknown::NotKept("authentication"))?;
    let (discovery, obeyed) = policy.map_or((kept.discovery, kept.dmarc), |policy| (policy.discovery, policy.dmarc));
    let outcome = kept.outcome(discovery, answers).map_err(|open| Unknown::NotAsked(format!("{:?}", open.first())))?;
    let results = one_line(&results::value(&kept.receiver, &outcome, kept.peer));
    Ok((outcome, obeyed, results))
}

fn judge(trail: &[TrailEntry], policy: Option<&Policy>, proven: Authenticity) -> Result<BTreeMap<AccountId, Verdict>, Unknown> {
    let mut verdicts = BTreeMap::new();
    let listed = policy.and_then(|policy| policy.lists.as_deref()).map(|lists| listed(trail, lists)).transpose()?;
    for (account, facts) in facts(trail, FILTER) {
        let kept: Option<Judgement> = serde_json::from_str(facts).ok();
        let (Some(Judgement { settings, mut grounds }), Some(account)) = (kept, account) else { return Err(Unknown::NotKept("verdict")) };
        grounds.authenticity = proven;
        if let Some(listed) = &listed {
            grounds.findings.retain(|found| !dnsbl::NAMES.contains(&found.name.as_ref()));
            grounds.findings.extend(listed.iter().cloned());
        }
        verdicts.insert(account, grounds.judge(policy.map_or(&settings, |policy| &policy.judgement)));
    }
    let judged = trail.iter().filter(|entry| matches!(entry.event, Event::Judged { .. })).count();
    if verdicts.len() < judged { Err(Unknown::NotKept("verdict")) } else { Ok(verdicts) }
}

/// What these lists find by the answers that were given then.
fn listed(trail: &[TrailEntry], lists: &[List]) -> Result<Vec<Reason>, Unknown> {
    let peer = trail.iter().find_map(|entry| match &entry.event {
        Event::Accepted { peer, .. } | Event::Rejected { peer, .. } => *peer,
        _ => None,
    });
    let asked = trail.iter().find_map(|entry| match &entry.event {
        Event::Listed { standings, answers } => Some((standings.as_slice(), answers)),
        _ => None,
    });
    let none = Recorded::default();
    let ((standings, answers), Some(peer)) = (asked.unwrap_or((&[], &none)), peer) else { return Ok(Vec::new()) };
    let (of_hosts, of_domains): (Vec<&List>, Vec<&List>) =
        lists.iter().take(dnsbl::LISTS_MAX).partition(|list| list.of == dnsbl::Of::Hosts);
    let open = of_hosts.iter().map(|list| list.question(peer)).find(|question| answers.answer(question).is_none());
    // Which domains a message has is not kept, but a list of them that was asked has its place among the standings.
    let unasked = of_domains.iter().find(|list| !standings.iter().any(|(zone, _)| *zone == list.zone));
    match (open, unasked) {
        (Some(question), _) => Err(Unknown::NotAsked(format!("{question:?}"))),
        (None, Some(list)) => Err(Unknown::NotAsked(format!("the domains of the message under {}", list.zone))),
        (None, None) => Ok([dnsbl::findings(lists, peer, answers), dnsbl::domain_findings_of(lists, answers)].concat()),
    }
}

/// A field's value as trails have it.
pub(crate) fn one_line(value: &str) -> String {
    value.split_whitespace().collect::<Vec<_>>().join(" ")
}
