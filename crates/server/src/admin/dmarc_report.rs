//! What others report about mail in our domains' name (RFC 9990, RFC 6591): who sends as us, and how much of it is ours.

use super::{Admin, Operation};
use crate::failure::Result;
use crate::output::rfc3339;
use mail::Timestamp;
use mailauth::dmarc::aggregate::{Report, Row};
use mta::transport::dmarc_report::Failure;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Milliseconds of a day.
const DAY_MILLIS: i64 = 86_400_000;
/// Share of messages that must pass before a stricter policy is advised, percent. Our own choice.
const SAFE_PERCENT: f64 = 99.0;
/// Fewest messages that an advice rests on. Our own choice.
const MESSAGES_MIN: u64 = 100;

/// Everything that is known about one domain.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DomainView {
    /// Whose policy.
    pub domain: String,
    /// The policy, as the latest report saw it.
    pub policy: String,
    /// How many reports.
    pub reports: usize,
    /// Who sent them.
    pub reporters: Vec<String>,
    /// Messages in all.
    pub messages: u64,
    /// Messages that passed.
    pub passed: u64,
    /// Share of those, percent.
    pub passed_percent: f64,
    /// What to do, in a sentence.
    pub advice: String,
    /// Who sends, the most first.
    pub sources: Vec<SourceView>,
}

/// Mail from one address.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SourceView {
    /// Which.
    pub source: String,
    /// Messages.
    pub messages: u64,
    /// Those with an aligned signature.
    pub dkim: u64,
    /// Those with an aligned SPF.
    pub spf: u64,
    /// Those with either.
    pub passed: u64,
    /// Those that were quarantined or rejected.
    pub stopped: u64,
    /// Which domains signed, and which were in the reverse-path.
    pub names: Vec<String>,
}

/// Summarises what came in.
#[derive(Debug, Serialize, Deserialize)]
pub struct Summary {
    /// Only about this domain.
    pub domain: Option<String>,
    /// How many days back.
    pub days: u32,
}

impl Operation for Summary {
    const NAME: &'static str = "dmarc_report.summary";
    type Answer = Vec<DomainView>;

    fn run(self, on: &Admin) -> Result<Vec<DomainView>> {
        let since = since(self.days);
        let wanted = self.domain.map(|domain| domain.to_ascii_lowercase());
        on.read(move |tx| {
            let reports = tx.dmarc_reports(since)?.into_iter().filter_map(|(_, text)| serde_json::from_str(&text).ok());
            let of = |report: &Report| wanted.as_ref().is_none_or(|domain| *domain == report.published.domain);
            Ok(summary(reports.filter(of)))
        })
    }
}

/// Lists reports of single failures.
#[derive(Debug, Serialize, Deserialize)]
pub struct Failures {
    /// How many days back.
    pub days: u32,
}

/// A failure and when its report came, RFC 3339.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailureView {
    /// When the report came.
    pub at: String,
    /// What it says.
    #[serde(flatten)]
    pub failure: Failure,
}

impl Operation for Failures {
    const NAME: &'static str = "dmarc_report.failures";
    type Answer = Vec<FailureView>;

    fn run(self, on: &Admin) -> Result<Vec<FailureView>> {
        let since = since(self.days);
        on.read(move |tx| {
            let found = tx.failure_reports(since)?.into_iter();
            let view = |(at, text): (Timestamp, String)| Some(FailureView { at: rfc3339(at), failure: serde_json::from_str(&text).ok()? });
            Ok(found.filter_map(view).collect())
        })
    }
}

fn since(days: u32) -> Timestamp {
    Timestamp(crate::clock::now().0.saturating_sub(i64::from(days).saturating_mul(DAY_MILLIS)))
}

/// Reports, domain by domain; one that came twice counts once.
pub fn summary(reports: impl IntoIterator<Item = Report>) -> Vec<DomainView> {
    let mut known = BTreeSet::new();
    let mut domains: BTreeMap<String, Vec<Report>> = BTreeMap::new();
    for report in reports {
        if known.insert((report.organization.clone(), report.id.clone(), report.begin, report.published.domain.clone())) {
            domains.entry(report.published.domain.clone()).or_default().push(report);
        }
    }
    domains.into_iter().map(|(domain, reports)| of_domain(domain, &reports)).collect()
}

fn of_domain(domain: String, reports: &[Report]) -> DomainView {
    let mut sources: BTreeMap<&str, SourceView> = BTreeMap::new();
    for (row, messages) in reports.iter().flat_map(|report| &report.rows) {
        add(sources.entry(&row.source).or_default(), row, *messages);
    }
    let sum = |of: fn(&SourceView) -> u64| sources.values().map(of).fold(0, u64::saturating_add);
    let (messages, passed) = (sum(|source| source.messages), sum(|source| source.passed));
    let policy = reports.iter().max_by_key(|report| report.end).map(|report| report.published.p.clone()).unwrap_or_default();
    let reporters: BTreeSet<&String> = reports.iter().map(|report| &report.organization).collect();
    let mut sources: Vec<SourceView> = sources.into_values().collect();
    sources.sort_by(|a, b| b.messages.cmp(&a.messages).then_with(|| a.source.cmp(&b.source)));
    let passed_percent = percent(passed, messages);
    let advice = advice(&policy, messages, passed_percent, &sources);
    let reporters = reporters.into_iter().cloned().collect();
    DomainView { domain, policy, reports: reports.len(), reporters, messages, passed, passed_percent, advice, sources }
}

fn add(view: &mut SourceView, row: &Row, messages: u64) {
    view.source.clone_from(&row.source);
    let count = |holds: bool| if holds { messages } else { 0 };
    view.messages = view.messages.saturating_add(messages);
    view.dkim = view.dkim.saturating_add(count(row.dkim == "pass"));
    view.spf = view.spf.saturating_add(count(row.spf == "pass"));
    view.passed = view.passed.saturating_add(count(row.passes()));
    view.stopped = view.stopped.saturating_add(count(matches!(row.disposition.as_str(), "quarantine" | "reject")));
    for one in row.signatures.iter().chain(&row.sender).filter(|one| one.result == "pass") {
        if !view.names.contains(&one.domain) && view.names.len() < 10 {
            view.names.push(one.domain.clone());
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a share that people read")]
fn percent(part: u64, of: u64) -> f64 {
    if of == 0 { 0.0 } else { (part as f64 / of as f64 * 1000.0).round() / 10.0 }
}

/// Where that leads.
fn advice(policy: &str, messages: u64, passed: f64, sources: &[SourceView]) -> String {
    let failing: Vec<&str> =
        sources.iter().filter(|source| source.passed * 2 < source.messages).take(3).map(|source| source.source.as_str()).collect();
    let next = match policy {
        "none" => "quarantine",
        "quarantine" => "reject",
        _ if passed >= SAFE_PERCENT => return "p=reject holds, and hardly anything of yours fails".to_owned(),
        _ => return format!("p=reject, and {:.1} % fail: look whether {} send for you", 100.0 - passed, failing.join(", ")),
    };
    if messages < MESSAGES_MIN {
        return format!("too few messages to tell whether p={next} is safe: wait for more reports");
    }
    if passed >= SAFE_PERCENT {
        return format!("{passed:.1} % pass: it is safe to move to p={next}");
    }
    format!(
        "{:.1} % fail: before p={next}, see to those that send for you ({}): a signature or an SPF record each; the others are not yours",
        100.0 - passed,
        failing.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use mailauth::dmarc::aggregate::Published;

    fn report(id: &str, p: &str, rows: &[(&str, bool, u64)]) -> Report {
        let row = |(source, passes, messages): &(&str, bool, u64)| {
            let word = if *passes { "pass" } else { "fail" };
            (Row { source: (*source).to_owned(), dkim: word.to_owned(), spf: "fail".to_owned(), ..Row::default() }, *messages)
        };
        let published = Published { domain: "a.example".into(), p: p.into(), ..Published::default() };
        Report { id: id.into(), organization: "o".into(), published, rows: rows.iter().map(row).collect(), ..Report::default() }
    }

    #[test]
    fn advice_follows_from_what_passes() {
        let check = |p: &str, rows: &[(&str, bool, u64)], want: &str| {
            let views = summary([report("1", p, rows)]);
            assert!(views[0].advice.starts_with(want), "{}", views[0].advice);
        };
        check("none", &[("1", true, 20)], "too few messages");
        check("none", &[("1", true, 995), ("2", false, 5)], "99.5 % pass: it is safe to move to p=quarantine");
        check("quarantine", &[("1", true, 500)], "100.0 % pass: it is safe to move to p=reject");
        check("quarantine", &[("1", true, 300), ("2", false, 100)], "25.0 % fail: before p=reject, see to those that send for you (2)");
        check("reject", &[("1", true, 500)], "p=reject holds");
    }

    #[test]
    fn reports_count_once_and_sources_are_added_up() {
        let one = report("1", "none", &[("192.0.2.1", true, 3), ("192.0.2.2", false, 4)]);
        let views = summary([one.clone(), one, report("2", "none", &[("192.0.2.1", false, 2)])]);
        let [view] = views.as_slice() else { panic!("{views:?}") };
        assert_eq!((view.reports, view.messages, view.passed), (2, 9, 3));
        let shown: Vec<_> = view.sources.iter().map(|source| (source.source.as_str(), source.messages, source.passed)).collect();
        assert_eq!(shown, [("192.0.2.1", 5, 3), ("192.0.2.2", 4, 0)]);
    }
}
