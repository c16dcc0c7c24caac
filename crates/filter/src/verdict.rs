//! The one verdict: authentication, rules, teaching and acquaintance, added up.
//!
//! | evidence | points |
//! |---|---|
//! | the author's domain asks for quarantine, and has reason to | Junk, whatever else speaks for it |
//! | nobody stands for the author; authentication failed | +0.5; +1.5 |
//! | the author's domain imitates the reader's or a correspondent's | +6 |
//! | a rule | its weight |
//! | what was taught of its author, domains, host and network | [`crate::reputation`] |
//! | a block or allow list | what the operator says |
//! | it was sent to a spam trap, too | +4 |
//! | what was taught | the points of [`crate::classifier`], between -7 and +7 |
//! | the reader writes to the author, who is proven; not contradicted | -5; -1.5 |
//! | it replies to what the reader wrote, author not contradicted | -2 |
//!
//! Junk from [`Settings::junk_at`] points on. Rejected only from [`Settings::reject_at`] on, if that is set.
//!
//! Invariant: points are whole hundredths, so that every machine adds them up alike.

use crate::classifier::{Known, Opinion};
use crate::features::Features;
use crate::grounds::{Grounds, NAMED_MAX};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// What is known about who the author is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Authenticity {
    /// It was not looked at, or could not be found out.
    #[default]
    Unknown,
    /// The author's domain stands for it.
    Proven,
    /// Nobody stands for it; nobody denies it.
    Unproven,
    /// The author's domain publishes who sends for it, and it is none of those.
    Contradicted,
    /// Contradicted, and the domain asks that such mail be set aside.
    Unwanted,
}

/// Everything that a verdict rests on.
#[derive(Debug, Clone, Copy)]
pub struct Evidence<'a> {
    /// The message.
    pub features: &'a Features,
    /// Who it is from.
    pub authenticity: Authenticity,
    /// What the whole server has taught about its features.
    pub server: &'a Known,
    /// What the reader has.
    pub account: &'a Known,
    /// The reader has written to the author.
    pub is_correspondent: bool,
    /// It answers a message of the reader.
    pub is_reply: bool,
    /// The domain that the author's only looks like: the reader's own, or a correspondent's.
    pub imitated: Option<&'a str>,
}

/// Where the lines are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// From so many hundredths of a point on a message goes to Junk. Default 500.
    pub junk_at: i32,
    /// From so many on it is rejected. Default none: nothing is.
    pub reject_at: Option<i32>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { junk_at: 500, reject_at: None }
    }
}

impl Settings {
    /// What is done at so many hundredths of a point; `is_aside`: the author's domain asks that it be set aside.
    #[must_use]
    pub fn action(&self, score: i32, is_aside: bool) -> Action {
        match self.reject_at {
            Some(line) if score >= line => Action::Reject,
            _ if score >= self.junk_at || is_aside => Action::Junk,
            _ => Action::Accept,
        }
    }
}

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Into the inbox, or wherever the reader's rules say.
    Accept,
    /// Into the Junk mailbox.
    Junk,
    /// Not taken.
    Reject,
}

/// One piece of evidence and its weight.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// Short: a rule's name, `taught`, `authentication`, `correspondent`, `reply` or `imitation`.
    pub name: Cow<'static, str>,
    /// Hundredths of a point; above zero against the message.
    pub weight: i32,
    /// In words.
    pub words: String,
}

/// What becomes of a message and why.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// What is done.
    pub action: Action,
    /// The sum of all weights, hundredths of a point.
    pub score: i32,
    /// The weightiest first.
    pub reasons: Vec<Reason>,
    /// What the teaching says; `None`: too little is known.
    pub opinion: Option<Opinion>,
}

/// The furthest that the teaching alone can move a message, hundredths of a point.
const TAUGHT_MAX: f64 = 700.0;

/// Decides.
#[must_use]
pub fn judge(evidence: &Evidence<'_>, settings: &Settings) -> Verdict {
    Grounds::of(evidence).judge(settings)
}

/// Decides by what is kept.
pub(crate) fn decide(grounds: &Grounds, settings: &Settings) -> Verdict {
    let opinion = grounds.opinion();
    let mut reasons: Vec<Reason> = grounds
        .findings
        .iter()
        .cloned()
        .chain(authentication(grounds.authenticity))
        .chain(acquaintance(grounds))
        .chain(opinion.as_ref().and_then(taught))
        .collect();
    reasons.sort_by(|a, b| b.weight.abs().cmp(&a.weight.abs()).then_with(|| a.name.cmp(&b.name)));
    let score = reasons.iter().map(|reason| reason.weight).fold(0, i32::saturating_add);
    let action = settings.action(score, grounds.authenticity == Authenticity::Unwanted);
    Verdict { action, score, reasons, opinion }
}

fn authentication(authenticity: Authenticity) -> Option<Reason> {
    let (weight, words) = match authenticity {
        Authenticity::Unknown | Authenticity::Proven => return None,
        Authenticity::Unproven => (50, "nobody stands for the author"),
        Authenticity::Contradicted => (150, "the author's domain does not stand for it"),
        Authenticity::Unwanted => (500, "the author's domain does not stand for it and asks that it be set aside"),
    };
    Some(Reason { name: "authentication".into(), weight, words: words.to_owned() })
}

fn acquaintance(grounds: &Grounds) -> Vec<Reason> {
    let denied = matches!(grounds.authenticity, Authenticity::Contradicted | Authenticity::Unwanted);
    let proven = grounds.authenticity == Authenticity::Proven;
    let reason = |name: &'static str, weight, words: String| Reason { name: name.into(), weight, words };
    let imitated =
        grounds.imitated.as_ref().map(|domain| reason("imitation", 600, format!("the author's domain only looks like {domain}")));
    let known = (grounds.is_correspondent && !denied)
        .then(|| reason("correspondent", if proven { -500 } else { -150 }, "the reader writes to the author".to_owned()));
    let reply = (grounds.is_reply && !denied).then(|| reason("reply", -200, "it answers a message of the reader".to_owned()));
    [imitated, known, reply].into_iter().flatten().collect()
}

fn taught(opinion: &Opinion) -> Option<Reason> {
    let points = opinion.hundredths.clamp(-TAUGHT_MAX, TAUGHT_MAX).round();
    #[expect(clippy::cast_possible_truncation, reason = "it was clamped")]
    let weight = points as i32;
    // Only of those whose names are kept, so that a decision made again has the same words.
    let named = opinion.telling.iter().take(NAMED_MAX).filter(|one| !one.feature.is_empty() && (one.weight > 0.0) == (weight > 0));
    let strongest: Vec<_> = named.take(3).map(|one| format!("{:?}", one.feature)).collect();
    let like = if strongest.is_empty() { "like it".to_owned() } else { format!("with {}", strongest.join(", ")) };
    let words = format!("messages {like} were {}", if weight > 0 { "unwanted" } else { "wanted" });
    (weight != 0).then_some(Reason { name: "taught".into(), weight, words })
}

impl Verdict {
    /// One line for a header field: `junk; score=7.20; program=5.00 authentication=1.50`.
    #[must_use]
    pub fn short(&self) -> String {
        let action = match self.action {
            Action::Accept => "accept",
            Action::Junk => "junk",
            Action::Reject => "reject",
        };
        let reasons: Vec<_> = self.reasons.iter().take(6).map(|reason| format!("{}={}", reason.name, points(reason.weight))).collect();
        let reasons = if reasons.is_empty() { String::new() } else { format!("; {}", reasons.join(" ")) };
        format!("{action}; score={}{reasons}", points(self.score))
    }
}

/// Hundredths as points: `-1.50`.
#[must_use]
pub(crate) fn points(hundredths: i32) -> String {
    let sign = if hundredths < 0 { "-" } else { "" };
    let whole = hundredths.unsigned_abs();
    format!("{sign}{}.{:02}", whole / 100, whole % 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: &Known = &Known { messages: crate::Counts { ham: 0, spam: 0 }, features: Vec::new() };

    fn check(change: impl Fn(&mut Evidence<'_>), files: &[&str], want: &str) {
        let features = Features { files: files.iter().map(|name| (*name).to_owned()).collect(), ..Features::default() };
        let mut evidence = Evidence {
            features: &features,
            authenticity: Authenticity::Proven,
            server: NONE,
            account: NONE,
            is_correspondent: false,
            is_reply: false,
            imitated: None,
        };
        change(&mut evidence);
        assert_eq!(judge(&evidence, &Settings::default()).short(), want);
    }

    #[test]
    fn evidence_adds_up() {
        check(|_| (), &[], "accept; score=0.00");
        check(|_| (), &["a.exe"], "junk; score=5.00; program=5.00");
        check(|evidence| evidence.is_correspondent = true, &["a.exe"], "accept; score=0.00; correspondent=-5.00 program=5.00");
        check(
            |evidence| {
                evidence.is_correspondent = true;
                evidence.authenticity = Authenticity::Contradicted;
            },
            &["a.exe"],
            "junk; score=6.50; program=5.00 authentication=1.50",
        );
        check(|evidence| evidence.authenticity = Authenticity::Unwanted, &[], "junk; score=5.00; authentication=5.00");
        check(|evidence| evidence.imitated = Some("example.org"), &[], "junk; score=6.00; imitation=6.00");
        check(|evidence| evidence.is_reply = true, &[], "accept; score=-2.00; reply=-2.00");
    }

    #[test]
    fn nothing_is_rejected_unless_somebody_wants_it() {
        let features = Features { files: vec!["a.pdf.exe".to_owned()], ..Features::default() };
        let evidence = Evidence {
            features: &features,
            authenticity: Authenticity::Unwanted,
            server: NONE,
            account: NONE,
            is_correspondent: false,
            is_reply: false,
            imitated: Some("x.example"),
        };
        let action = |reject_at| judge(&evidence, &Settings { reject_at, ..Settings::default() }).action;
        assert_eq!((action(None), action(Some(1_500)), action(Some(5_000))), (Action::Junk, Action::Reject, Action::Junk));
    }
}
