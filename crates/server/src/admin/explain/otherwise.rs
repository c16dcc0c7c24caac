//! What would have made a decision another one: found by deciding again, so that it is true.
//!
//! Invariant: nothing is said that was not decided again with that one thing changed.

use super::{judgement, points};
use filter::{Action, Verdict};
use mail::{AccountId, TrailEntry};
use mailauth::dmarc::Discovery;
use mta::explain::{self, Again, Policy, Was};
use mta::settings::Dmarc;
use std::collections::BTreeMap;

/// Where a message goes for one reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::admin) enum Place {
    Inbox,
    Junk,
    Refused,
}

impl Place {
    pub(in crate::admin) fn of(was: &Was, account: AccountId) -> Self {
        match (was.refused, was.junk.contains(&account)) {
            (true, _) => Self::Refused,
            (false, true) => Self::Junk,
            (false, false) => Self::Inbox,
        }
    }

    pub(in crate::admin) const fn word(self) -> &'static str {
        match self {
            Self::Inbox => "inbox",
            Self::Junk => "junk",
            Self::Refused => "refused",
        }
    }

    const fn words(self) -> &'static str {
        match self {
            Self::Inbox => "it would go to the inbox",
            Self::Junk => "it would go to Junk",
            Self::Refused => "it would be refused",
        }
    }
}

/// For one reader, in sentences.
pub(super) fn of(trail: &[TrailEntry], again: &Again, was: &Was, account: AccountId) -> Vec<String> {
    let now = Place::of(was, account);
    let mut words: Vec<String> = without_one_reason(trail, again, now, account);
    words.extend(with_acquaintance(trail, again, now, account));
    let Some(policy) = explain::policy(trail) else { return words };
    let lines = again.verdicts.get(&account).map(|verdict| other_lines(&policy, verdict)).unwrap_or_default();
    for (setting, policy) in lines.into_iter().chain(other_settings(&policy)) {
        let Ok(other) = explain::again(trail, Some(&policy)) else { continue };
        let place = Place::of(&other.was, account);
        if place != now {
            words.push(format!("with {setting} {}", place.words()));
        }
    }
    words.extend(distance(trail, again, now, account));
    words
}

/// How many points are between it and the next place.
fn distance(trail: &[TrailEntry], again: &Again, now: Place, account: AccountId) -> Option<String> {
    let (score, settings) = (again.verdicts.get(&account)?.score, judgement(trail, account)?.settings);
    let (line, more) = match now {
        Place::Inbox => (settings.junk_at, "more"),
        Place::Junk => (settings.junk_at.saturating_sub(1), "less"),
        Place::Refused => (settings.reject_at?.saturating_sub(1), "less"),
    };
    let place = place_with(trail, again, account, line)?;
    let points = points(line.saturating_sub(score).saturating_abs());
    (place != now).then(|| format!("with {points:.2} points {more} {}", place.words()))
}

/// For everybody, where it was refused before anybody's verdict.
pub(super) fn of_all(trail: &[TrailEntry], again: &Again, was: &Was) -> Vec<String> {
    let (Some(outcome), Some(policy)) = (&again.outcome, explain::policy(trail)) else { return Vec::new() };
    if !was.refused || !explain::refuses(outcome, policy.dmarc) {
        return Vec::new();
    }
    let domain = &outcome.dmarc.domain;
    let mut words = vec![format!("a signature of {domain} that holds, or SPF of {domain} for the sending host, would have let it pass")];
    for (setting, other) in other_settings(&policy) {
        let Ok(again) = explain::again(trail, Some(&other)) else { continue };
        if !again.was.refused {
            let is_aside = again.outcome.as_ref().is_some_and(|outcome| explain::sets_aside(outcome, other.dmarc));
            let place = if is_aside { "it would go to Junk" } else { "it would be taken, and go where its points lead" };
            words.push(format!("with {setting} {place}"));
        }
    }
    words
}

/// The same settings with one of them changed, and how that is written.
fn other_settings(policy: &Policy) -> Vec<(String, Policy)> {
    let mut others = Vec::new();
    for (word, dmarc) in [("obey", Dmarc::Obey), ("junk", Dmarc::Junk), ("ignore", Dmarc::Ignore)] {
        if dmarc != policy.dmarc && policy.inspects {
            others.push((format!("authentication.dmarc = \"{word}\""), Policy { dmarc, ..policy.clone() }));
        }
    }
    let (public, discovery) = match policy.discovery {
        Discovery::TreeWalk => (true, Discovery::PublicSuffix),
        Discovery::PublicSuffix => (false, Discovery::TreeWalk),
    };
    if policy.inspects {
        others.push((format!("authentication.public_suffixes = {public}"), Policy { discovery, ..policy.clone() }));
        others.push(("authentication.check = false".to_owned(), Policy { inspects: false, ..policy.clone() }));
    }
    if policy.judges {
        others.push(("filter.check = false".to_owned(), Policy { judges: false, ..policy.clone() }));
    }
    others
}

/// The settings with the nearest lines beyond this verdict's points. Lines are whole points.
fn other_lines(policy: &Policy, verdict: &Verdict) -> Vec<(String, Policy)> {
    let with = |judgement| Policy { judgement, ..policy.clone() };
    let mut others = Vec::new();
    let beyond = verdict.score.div_euclid(100).saturating_add(1);
    let within = verdict.score.div_euclid(100);
    let line = if verdict.score >= policy.judgement.junk_at { beyond } else { within };
    if line > 0 {
        let judgement = filter::Settings { junk_at: line.saturating_mul(100), ..policy.judgement };
        others.push((format!("filter.junk_points = {line}"), with(judgement)));
    }
    if policy.judgement.reject_at.is_some_and(|line| verdict.score >= line) {
        let judgement = filter::Settings { reject_at: Some(beyond.saturating_mul(100)), ..policy.judgement };
        others.push((format!("filter.reject_points = {beyond}"), with(judgement)));
    }
    others
}

/// Which reasons it hangs on.
fn without_one_reason(trail: &[TrailEntry], again: &Again, now: Place, account: AccountId) -> Vec<String> {
    let Some(verdict) = again.verdicts.get(&account) else { return Vec::new() };
    let sentence = |reason: &filter::Reason| {
        let score = verdict.score.saturating_sub(reason.weight);
        let place = place_with(trail, again, account, score)?;
        let words = format!(
            "without {:?} ({:+.2}) it would have {:.2} points: {}",
            reason.name,
            points(reason.weight),
            points(score),
            place.words()
        );
        (place != now).then_some(words)
    };
    verdict.reasons.iter().filter_map(sentence).collect()
}

/// Whether it would have helped to know the author.
fn with_acquaintance(trail: &[TrailEntry], again: &Again, now: Place, account: AccountId) -> Option<String> {
    let kept = judgement(trail, account)?;
    let mut grounds = kept.grounds;
    if grounds.is_correspondent || now == Place::Inbox {
        return None;
    }
    grounds.is_correspondent = true;
    grounds.authenticity = again.outcome.as_ref().map_or(grounds.authenticity, |outcome| {
        explain::authenticity(outcome, explain::policy(trail).map_or(Dmarc::Obey, |policy| policy.dmarc))
    });
    let score = grounds.judge(&kept.settings).score;
    let place = place_with(trail, again, account, score)?;
    (place != now)
        .then(|| format!("if the reader had written to its author before, it would have {:.2} points: {}", points(score), place.words()))
}

/// Where it would go with these points for one reader and everything else as it is.
fn place_with(trail: &[TrailEntry], again: &Again, account: AccountId, score: i32) -> Option<Place> {
    let policy = explain::policy(trail)?;
    let settings = judgement(trail, account)?.settings;
    let aside = again.outcome.as_ref().is_some_and(|outcome| explain::sets_aside(outcome, policy.dmarc));
    let action = settings.action(score, aside);
    let mut actions: BTreeMap<AccountId, Action> = again.verdicts.iter().map(|(of, verdict)| (*of, verdict.action)).collect();
    actions.insert(account, action);
    let refused = actions.values().all(|action| *action == Action::Reject);
    Some(match action {
        _ if refused => Place::Refused,
        Action::Accept => Place::Inbox,
        Action::Junk | Action::Reject => Place::Junk,
    })
}
