//! What came of a scenario: a ledger by destination, and everything that must not be.
//!
//! Pure: made of an [`Audit`] and what is expected.

use crate::audit::{Audit, Fate};
use crate::scenario::{Expect, Span};
use mail::{Address, Domain};
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// What came of one run.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Outcome {
    /// With this seed it comes out the same again.
    pub seed: u64,
    /// Nothing was found.
    pub ok: bool,
    /// Every queue was empty at the end.
    pub quiet: bool,
    /// How long it took in its own time, seconds.
    pub lasted_seconds: u64,
    /// Connections that were made.
    pub connections: u64,
    /// Messages that were refused to their senders' programs, which tried again.
    pub refused_submissions: u64,
    /// How often a server was killed or lost its power.
    pub crashes: u64,
    /// By the recipients' domain.
    pub destinations: Vec<Row>,
    /// Of all.
    pub total: Row,
    /// What must not be.
    pub problems: Vec<Problem>,
    /// Everything that happened, if it was asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub trace: Vec<String>,
}

/// What became of the mail for one destination; each message counts once for each of its recipients.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Row {
    /// The recipients' domain.
    pub destination: String,
    /// What was promised.
    pub accepted: usize,
    /// It is in the recipient's mailbox.
    pub delivered: usize,
    /// It came back to its sender.
    pub bounced: usize,
    /// It waits.
    pub queued: usize,
    /// It failed, and the report of that could be delivered to nobody.
    pub abandoned: usize,
    /// It is nowhere.
    pub lost: usize,
    /// It is there more than once, where a connection broke between the final dot and its reply.
    pub repeated: usize,
    /// It is there more often than that explains.
    pub unexplained: usize,
    /// From promise to mailbox, milliseconds; of half of what was delivered it is no more.
    pub wait_median_millis: u64,
    /// The longest.
    pub wait_max_millis: u64,
}

impl Row {
    /// Both together; of the waits the longer ones.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        Self {
            destination: self.destination.clone(),
            accepted: self.accepted + other.accepted,
            delivered: self.delivered + other.delivered,
            bounced: self.bounced + other.bounced,
            queued: self.queued + other.queued,
            abandoned: self.abandoned + other.abandoned,
            lost: self.lost + other.lost,
            repeated: self.repeated + other.repeated,
            unexplained: self.unexplained + other.unexplained,
            wait_median_millis: self.wait_median_millis.max(other.wait_median_millis),
            wait_max_millis: self.wait_max_millis.max(other.wait_max_millis),
        }
    }
}

/// Something that must not be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// `lost`, `repeated`, `order`, `wait`, `expected`, `damage` or `panic`.
    pub kind: &'static str,
    /// The Message-ID, if it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Whom it was for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recipient: Option<String>,
    /// In words.
    pub words: String,
}

impl Problem {
    /// One that is about no single message.
    pub fn general(kind: &'static str, words: impl Into<String>) -> Self {
        Self { kind, message: None, recipient: None, words: words.into() }
    }

    fn of(kind: &'static str, message: &str, recipient: &Address, words: impl Into<String>) -> Self {
        Self { kind, message: Some(message.to_owned()), recipient: Some(recipient.to_string()), words: words.into() }
    }
}

/// Longest wait, as a number.
fn waited(fate: &Fate) -> Option<Duration> {
    fate.arrived.map(|arrived| arrived.since(fate.promised))
}

/// The rows by destination, and that of all.
pub(crate) fn rows(audit: &Audit) -> (Vec<Row>, Row) {
    let mut by_domain: BTreeMap<&Domain, Vec<&Fate>> = BTreeMap::new();
    for ((_, recipient), fate) in &audit.fates {
        by_domain.entry(recipient.domain()).or_default().push(fate);
    }
    let rows = by_domain.into_iter().map(|(domain, fates)| row(domain.as_str(), &fates));
    (rows.collect(), row("all", &audit.fates.values().collect::<Vec<_>>()))
}

fn row(destination: &str, fates: &[&Fate]) -> Row {
    let count = |wanted: fn(&Fate) -> bool| fates.iter().filter(|fate| wanted(fate)).count();
    let mut waits: Vec<u64> = fates.iter().filter_map(|fate| waited(fate)).map(millis).collect();
    waits.sort_unstable();
    Row {
        destination: destination.to_owned(),
        accepted: fates.len(),
        delivered: count(|fate| fate.delivered > 0),
        bounced: count(|fate| fate.bounced > 0),
        queued: count(|fate| fate.queued > 0),
        abandoned: count(|fate| fate.abandoned),
        lost: count(Fate::is_lost),
        repeated: count(|fate| !fate.is_lost() && !fate.is_sound() && !fate.abandoned && !fate.is_excessive()),
        unexplained: count(Fate::is_excessive),
        wait_median_millis: waits.get(waits.len() / 2).copied().unwrap_or_default(),
        wait_max_millis: waits.last().copied().unwrap_or_default(),
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Everything that must not be.
pub(crate) fn problems(audit: &Audit, rows: &[Row], quiet: bool, expect: &Expect) -> Vec<Problem> {
    let mut found: Vec<Problem> = audit.fates.iter().filter_map(|((id, recipient), fate)| of_fate(id, recipient, fate)).collect();
    found.extend(audit.repeated_reports.iter().map(|(id, to)| Problem::of("repeated", id, to, "a report came more than once")));
    if expect.order {
        let early = audit.out_of_order().into_iter();
        found.extend(early.map(|((from, to), id)| Problem::of("order", &id, &to, format!("it overtook an earlier message from {from}"))));
    }
    if expect.quiet && !quiet {
        found.push(Problem::general("expected", "a queue is not empty at the end"));
    }
    found.extend(expect.wait_max.into_iter().filter_map(|max| too_long(audit, |_| true, max)));
    for sender in &expect.sender {
        let sent = audit.of_sender(&sender.address);
        found.extend(too_long(audit, |key| sent.contains(key), sender.wait_max));
    }
    for destination in &expect.destination {
        found.extend(destination.wait_max.into_iter().filter_map(|max| too_long(audit, |key| *key.1.domain() == destination.domain, max)));
        let row = rows.iter().find(|row| row.destination == destination.domain.as_str()).cloned().unwrap_or_default();
        let bounds = [
            ("delivered", row.delivered, destination.delivered_min, None),
            ("bounced", row.bounced, destination.bounced_min, destination.bounced_max),
        ];
        found.extend(bounds.into_iter().filter_map(|bounds| out_of_bounds(&destination.domain, bounds)));
    }
    found
}

fn of_fate(id: &str, recipient: &Address, fate: &Fate) -> Option<Problem> {
    if fate.is_lost() {
        return Some(Problem::of("lost", id, recipient, "it was accepted, and is in no mailbox, no queue and no report"));
    }
    let Fate { delivered, queued, bounced, doubts, .. } = fate;
    let words = || {
        format!(
            "delivered {delivered} times, queued {queued} times, bounced {bounced} times; broken connections explain {doubts} more than one"
        )
    };
    fate.is_excessive().then(|| Problem::of("repeated", id, recipient, words()))
}

/// The message that waited longest, if that was too long.
fn too_long(audit: &Audit, is_meant: impl Fn(&(String, Address)) -> bool, max: Span) -> Option<Problem> {
    let meant = audit.fates.iter().filter(|(key, _)| is_meant(key));
    let longest = meant.filter_map(|(key, fate)| Some((waited(fate)?, key))).max()?;
    let (wait, (id, recipient)) = longest;
    (wait > max.0)
        .then(|| Problem::of("wait", id, recipient, format!("it waited {} s, at most {} s are expected", wait.as_secs(), max.0.as_secs())))
}

fn out_of_bounds(domain: &Domain, (what, count, min, max): (&str, usize, Option<usize>, Option<usize>)) -> Option<Problem> {
    let problem = |words: String| Problem::general("expected", format!("{domain}: {count} {what}, {words}"));
    match (min, max) {
        (Some(min), _) if count < min => Some(problem(format!("at least {min} are expected"))),
        (_, Some(max)) if count > max => Some(problem(format!("at most {max} are expected"))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mail::Timestamp;

    /// Delivered, queued, bounced, doubts, abandoned.
    fn fate(counts: [usize; 4], abandoned: bool) -> Fate {
        let [delivered, queued, bounced, doubts] = counts;
        let arrived = (delivered > 0).then_some(Timestamp(5_000));
        Fate { delivered, queued, bounced, doubts, abandoned, promised: Timestamp(1_000), arrived }
    }

    fn audit(fates: &[Fate]) -> Audit {
        let recipient = Address::parse("bob@b.example").unwrap();
        let fates = fates.iter().enumerate().map(|(n, fate)| ((n.to_string(), recipient.clone()), fate.clone()));
        Audit { fates: fates.collect(), ..Audit::default() }
    }

    fn kinds(audit: &Audit, quiet: bool, expect: &str) -> String {
        let (rows, _) = rows(audit);
        let found = problems(audit, &rows, quiet, &toml::from_str(expect).unwrap());
        found.iter().map(|problem| problem.kind).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn each_fate_is_judged() {
        for (counts, abandoned, want) in [
            ([1, 0, 0, 0], false, ""),
            ([0, 1, 0, 0], false, ""),
            ([0, 0, 1, 0], false, ""),
            ([0, 0, 0, 0], true, ""),
            ([0, 0, 0, 0], false, "lost"),
            ([0, 0, 0, 1], false, "lost"),
            ([2, 0, 0, 1], false, ""),
            ([2, 0, 0, 0], false, "repeated"),
            ([1, 1, 0, 0], false, "repeated"),
            ([1, 0, 1, 1], false, ""),
            ([3, 0, 0, 1], false, "repeated"),
        ] {
            assert_eq!(kinds(&audit(&[fate(counts, abandoned)]), true, ""), want, "{counts:?}");
        }
    }

    #[test]
    fn rows_count_and_measure() {
        let fates = [fate([1, 0, 0, 0], false), fate([2, 0, 0, 1], false), fate([0, 1, 0, 0], false), fate([0; 4], false)];
        let (rows, total) = rows(&audit(&fates));
        let [row] = rows.as_slice() else { panic!("{rows:?}") };
        assert_eq!((row.accepted, row.delivered, row.queued, row.lost, row.repeated, row.unexplained), (4, 2, 1, 1, 1, 0));
        assert_eq!((row.wait_median_millis, row.wait_max_millis), (4_000, 4_000));
        assert_eq!(Row { destination: "b.example".to_owned(), ..total }, *row);
    }

    #[test]
    fn what_is_expected_is_held_to() {
        let audit = audit(&[fate([1, 0, 0, 0], false)]);
        for (expect, want) in [
            ("wait_max = \"4s\"", ""),
            ("wait_max = \"3s\"", "wait"),
            ("quiet = true", "expected"),
            ("[[destination]]\ndomain = \"b.example\"\nwait_max = \"3s\"\ndelivered_min = 2\nbounced_min = 1", "wait expected expected"),
            ("[[destination]]\ndomain = \"c.example\"\nwait_max = \"3s\"\nbounced_max = 0", ""),
        ] {
            assert_eq!(kinds(&audit, false, expect), want, "{expect}");
        }
    }
}
