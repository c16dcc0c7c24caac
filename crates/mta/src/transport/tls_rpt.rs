//! TLS reports (RFC 8460): what became of TLS with a domain on one day, and the reports of it. Pure, but for
//! the figures that [`Results`] gathers in memory until they are stored.
//!
//! Not the sending: that is `reporting`'s.

use super::policy::{RefusedFault, StsAnswer, StsFault, TlsPolicy};
use flate2::Compression;
use flate2::read::{GzDecoder, GzEncoder};
use mail::compose::{self, Fields, Part};
use mail::date::DateTime;
use mail::{Address, Domain, Timestamp, encoding};
use net::tls::Fault;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::Read as _;
use std::sync::{Arc, Mutex, PoisonError};

/// Most domains about which figures are held in memory; beyond, those of new domains are lost. Our own bound.
const DOMAINS_MAX: usize = 20_000;
/// Most lines of details for one policy. Our own bound.
const DETAILS_MAX: usize = 200;
/// Longest report that is read, octets, decompressed. Our own bound.
const REPORT_OCTETS_MAX: u64 = 4 << 20;
/// Seconds of a day.
const DAY_SECONDS: i64 = 86_400;

/// A report (RFC 8460 §4).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Report {
    /// Who reports.
    pub organization_name: String,
    /// Of when.
    pub date_range: DateRange,
    /// Whom to ask.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contact_info: Option<String>,
    /// Unique.
    pub report_id: String,
    /// One for each policy that was met.
    pub policies: Vec<PolicyResults>,
}

/// From when to when, RFC 3339.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct DateRange {
    /// The first second.
    pub start_datetime: String,
    /// The last second.
    pub end_datetime: String,
}

/// What became of sessions under one policy.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct PolicyResults {
    /// Which.
    pub policy: PolicyDescription,
    /// How many.
    pub summary: Summary,
    /// Why not.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub failure_details: Vec<FailureDetails>,
}

/// A policy in a report.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct PolicyDescription {
    /// `tlsa`, `sts` or `no-policy-found`.
    pub policy_type: String,
    /// Its lines or records.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub policy_string: Vec<String>,
    /// Whose it is.
    pub policy_domain: String,
    /// The patterns of an MTA-STS policy: a list (erratum 6241), which some write as one text.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "one_or_many")]
    pub mx_host: Vec<String>,
}

/// How many sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Summary {
    /// That kept to the policy.
    pub total_successful_session_count: u64,
    /// That did not.
    pub total_failure_session_count: u64,
}

/// One kind of failure with one host.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct FailureDetails {
    /// RFC 8460 §4.3.
    pub result_type: String,
    /// From where.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sending_mta_ip: Option<String>,
    /// To which host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receiving_mx_hostname: Option<String>,
    /// At which address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receiving_ip: Option<String>,
    /// How many.
    pub failed_session_count: u64,
    /// In words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure_reason_code: Option<String>,
}

fn one_or_many<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum OneOrMany {
        One(String),
        Many(Vec<String>),
    }
    Ok(match OneOrMany::deserialize(deserializer)? {
        OneOrMany::One(one) => vec![one],
        OneOrMany::Many(many) => many,
    })
}

/// How a session failed (RFC 8460 §4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FailureKind(&'static str);

impl FailureKind {
    /// STARTTLS was not offered, or refused.
    pub const STARTTLS: Self = Self("starttls-not-supported");
    /// TLS could not be agreed, or the certificate was wrong in a way that has no name of its own.
    pub const VALIDATION: Self = Self("validation-failure");

    /// A handshake that failed under a policy.
    pub fn of_handshake(fault: Fault) -> Self {
        Self(match fault {
            Fault::Expired => "certificate-expired",
            Fault::Name => "certificate-host-mismatch",
            Fault::Untrusted => "certificate-not-trusted",
            Fault::Dane | Fault::Other => "validation-failure",
        })
    }

    /// A host that was not even tried.
    pub fn of_refusal(fault: RefusedFault) -> Option<Self> {
        match fault {
            RefusedFault::Tlsa => Some(Self("dnssec-invalid")),
            RefusedFault::StsMx => Some(Self("certificate-host-mismatch")),
            RefusedFault::Unvouched => None,
        }
    }

    /// A policy that could not be had.
    pub fn of_policy(fault: &StsFault) -> Self {
        Self(match fault {
            StsFault::Fetch(_) => "sts-policy-fetch-error",
            StsFault::WebPki(_) => "sts-webpki-invalid",
            StsFault::Invalid(_) => "sts-policy-invalid",
        })
    }
}

/// The policy under which a session was, for its report.
pub fn describe(domain: &Domain, sts: &StsAnswer, tls: Option<&TlsPolicy>) -> PolicyDescription {
    let policy_domain = domain.to_string();
    match (tls, sts) {
        (Some(TlsPolicy::Dane(records, _)), _) => {
            let policy_string = records.iter().map(ToString::to_string).collect();
            PolicyDescription { policy_type: "tlsa".to_owned(), policy_string, policy_domain, mx_host: Vec::new() }
        }
        (_, StsAnswer::Policy(policy)) => {
            let policy_string = policy.to_string().lines().map(str::to_owned).collect();
            let mx_host = policy.mx.iter().map(ToString::to_string).collect();
            PolicyDescription { policy_type: "sts".to_owned(), policy_string, policy_domain, mx_host }
        }
        (_, StsAnswer::Unknown(_)) => PolicyDescription { policy_type: "sts".to_owned(), policy_domain, ..PolicyDescription::default() },
        _ => PolicyDescription { policy_type: "no-policy-found".to_owned(), policy_domain, ..PolicyDescription::default() },
    }
}

/// The day of a moment, days since 1970, UTC.
pub fn day_of(at: Timestamp) -> u32 {
    u32::try_from(at.seconds().div_euclid(DAY_SECONDS)).unwrap_or(0)
}

/// Figures that are not stored yet. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Results(Arc<Mutex<Counted>>);

/// By day and policy domain.
type Counted = BTreeMap<(u32, Domain), Vec<PolicyResults>>;

impl Results {
    /// Counts one session: well, or with what failed.
    pub fn count(&self, at: Timestamp, domain: &Domain, policy: PolicyDescription, failure: Option<FailureDetails>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (day_of(at), domain.clone());
        if all.len() >= DOMAINS_MAX && !all.contains_key(&key) {
            return;
        }
        let failed = u64::from(failure.is_some());
        let summary = Summary { total_successful_session_count: 1 - failed, total_failure_session_count: failed };
        let one = PolicyResults { policy, summary, failure_details: failure.into_iter().collect() };
        merge(all.entry(key).or_default(), vec![one]);
    }

    /// Takes everything out, to be stored.
    pub fn take(&self) -> BTreeMap<(u32, Domain), Vec<PolicyResults>> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts back what could not be stored.
    pub fn put_back(&self, results: BTreeMap<(u32, Domain), Vec<PolicyResults>>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (key, more) in results {
            merge(all.entry(key).or_default(), more);
        }
    }
}

/// A detail of one failure, counted once.
pub fn failure(kind: FailureKind, host: Option<&Domain>, address: Option<std::net::IpAddr>, words: &str) -> FailureDetails {
    FailureDetails {
        result_type: kind.0.to_owned(),
        sending_mta_ip: None,
        receiving_mx_hostname: host.map(ToString::to_string),
        receiving_ip: address.map(|address| address.to_string()),
        failed_session_count: 1,
        failure_reason_code: (!words.is_empty()).then(|| words.chars().take(200).collect()),
    }
}

/// Adds figures to figures: what is about the same policy and the same failure is one entry.
pub fn merge(into: &mut Vec<PolicyResults>, more: Vec<PolicyResults>) {
    for one in more {
        let Some(known) = into.iter_mut().find(|known| known.policy == one.policy) else {
            into.push(one);
            continue;
        };
        known.summary.total_successful_session_count += one.summary.total_successful_session_count;
        known.summary.total_failure_session_count += one.summary.total_failure_session_count;
        for detail in one.failure_details {
            merge_detail(&mut known.failure_details, detail);
        }
    }
}

fn merge_detail(into: &mut Vec<FailureDetails>, detail: FailureDetails) {
    let same =
        |known: &&mut FailureDetails| FailureDetails { failed_session_count: detail.failed_session_count, ..(**known).clone() } == detail;
    if let Some(known) = into.iter_mut().find(same) {
        known.failed_session_count += detail.failed_session_count;
    } else if into.len() < DETAILS_MAX {
        into.push(detail);
    }
}

/// Where a domain wants its reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Receiver {
    /// `mailto:`
    Mail(Address),
    /// `https:`
    Web(String),
}

/// The receivers in the TXT records of `_smtp._tls.DOMAIN` (RFC 8460 §3); none if there is not exactly one record.
pub fn receivers(records: &[Vec<u8>]) -> Vec<Receiver> {
    let ours = |record: &&Vec<u8>| record.strip_prefix(b"v=TLSRPTv1").is_some_and(|rest| rest.trim_ascii_start().starts_with(b";"));
    let mut found = records.iter().filter(ours);
    let (Some(record), None) = (found.next(), found.next()) else { return Vec::new() };
    let Ok(text) = std::str::from_utf8(record) else { return Vec::new() };
    let mut fields = text.split(';').filter_map(|field| field.split_once('=')).map(|(name, value)| (name.trim(), value.trim()));
    let Some((_, list)) = fields.find(|(name, _)| *name == "rua") else { return Vec::new() };
    list.split(',').filter_map(|uri| receiver(uri.trim())).collect()
}

fn receiver(uri: &str) -> Option<Receiver> {
    let (scheme, _) = uri.split_once(':')?;
    let web = || scheme.eq_ignore_ascii_case("https").then(|| Receiver::Web(uri.to_owned()));
    mail::mailto(uri).map(Receiver::Mail).or_else(web)
}

/// What a report is about.
#[derive(Debug, Clone, Copy)]
pub struct About<'a> {
    /// Who reports.
    pub hostname: &'a Domain,
    /// Whom to ask; the mail's author.
    pub contact: &'a Address,
    /// Of whose mail servers.
    pub domain: &'a Domain,
    /// Of which day, since 1970.
    pub day: u32,
}

/// The report of a day, ready to be sent.
pub fn compose_report(about: &About<'_>, policies: Vec<PolicyResults>) -> Report {
    let About { hostname, contact, domain, day } = *about;
    let date = date_of(day);
    Report {
        organization_name: hostname.to_string(),
        date_range: DateRange { start_datetime: format!("{date}T00:00:00Z"), end_datetime: format!("{date}T23:59:59Z") },
        contact_info: Some(contact.to_string()),
        report_id: format!("{date}_{domain}@{hostname}"),
        policies,
    }
}

/// `2026-11-21`
pub(crate) fn date_of(day: u32) -> String {
    // Days to a date of the Gregorian calendar, with years that begin in March.
    let days = i64::from(day) + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let (day, month) = (of_year - (153 * shifted + 2) / 5 + 1, if shifted < 10 { shifted + 3 } else { shifted - 9 });
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

impl Report {
    /// Its JSON.
    pub fn json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Its JSON, compressed (gzip).
    pub fn gzip(&self) -> Vec<u8> {
        let json = self.json();
        let mut out = Vec::new();
        // Reading from memory does not fail.
        let _octets = GzEncoder::new(json.as_bytes(), Compression::default()).read_to_end(&mut out);
        out
    }

    /// Reads JSON, compressed or not.
    ///
    /// # Errors
    /// In words: it is too long, or no report.
    pub fn read(octets: &[u8]) -> Result<Self, String> {
        let mut json = Vec::new();
        if octets.starts_with(&[0x1f, 0x8b]) {
            let mut limited = GzDecoder::new(octets).take(REPORT_OCTETS_MAX + 1);
            limited.read_to_end(&mut json).map_err(|error| format!("it cannot be decompressed: {error}"))?;
        } else {
            json.extend_from_slice(octets);
        }
        if json.len() as u64 > REPORT_OCTETS_MAX {
            return Err(format!("it is longer than {REPORT_OCTETS_MAX} octets"));
        }
        let report: Self = serde_json::from_slice(&json).map_err(|error| format!("it is no TLS report: {error}"))?;
        if report.report_id.is_empty() && report.policies.is_empty() { Err("it is no TLS report".to_owned()) } else { Ok(report) }
    }

    /// How many sessions, in all policies.
    pub fn summary(&self) -> Summary {
        self.policies.iter().fold(Summary::default(), |sum, one| Summary {
            total_successful_session_count: sum.total_successful_session_count.saturating_add(one.summary.total_successful_session_count),
            total_failure_session_count: sum.total_failure_session_count.saturating_add(one.summary.total_failure_session_count),
        })
    }
}

/// The mail that carries a report (RFC 8460 §5.3).
pub fn message(report: &Report, about: &About<'_>, to: &Address, now: Timestamp) -> Vec<u8> {
    let About { hostname, contact: from, domain, day } = *about;
    let (date, begin) = (date_of(day), i64::from(day) * DAY_SECONDS);
    let end = begin + DAY_SECONDS - 1;
    let file = format!("{hostname}!{domain}!{begin}!{end}.json.gz");
    let sum = report.summary();
    let words = format!(
        "This is a report about TLS with the mail servers of {domain} on {date} (RFC 8460).\n\n{} sessions went well, {} did not. \
         The attached file has the details.\n",
        sum.total_successful_session_count, sum.total_failure_session_count
    );
    let fields = Fields::new()
        .date("Date", DateTime { at: now, zone_minutes: 0 })
        .address("From", "TLS reports", from)
        .address("To", "", to)
        .raw("Subject", &format!("Report Domain: {domain} Submitter: {hostname} Report-ID: <{}>", report.report_id))
        .raw("Message-ID", &format!("<{}.{}@{hostname}>", now.0, report.report_id.replace('@', ".at.")))
        .raw("TLS-Report-Domain", domain.as_str())
        .raw("TLS-Report-Submitter", hostname.as_str())
        .raw("TLS-Required", "No")
        .raw("Auto-Submitted", "auto-generated");
    let attached = Part {
        fields: Fields::new()
            .raw("Content-Type", "application/tlsrpt+gzip")
            .raw("Content-Transfer-Encoding", "base64")
            .raw("Content-Disposition", &format!("attachment; filename=\"{file}\"")),
        body: encoding::base64_lines(&report.gzip()).into_bytes(),
    };
    let parts = [compose::text_part(&words), attached];
    compose::multipart(fields, "multipart/report; report-type=tlsrpt", &format!("{}{}", now.0, report.report_id), &parts)
}

/// The report that a mail carries; `None`: it is no mail with a TLS report.
///
/// # Errors
/// In words: it says that it carries one, which cannot be read.
pub fn find(message: &[u8], digest: &mail::digest::Digest) -> Option<Result<Report, String>> {
    let top = &digest.body;
    let carries = top.parameter("report-type").is_some_and(|kind| kind.eq_ignore_ascii_case("tlsrpt"));
    if !carries {
        return None;
    }
    // tlsrpt+gzip and tlsrpt+json (RFC 8460 §5.3); some reporters write what the drafts had, without what is behind the plus.
    let is_report = |subtype: &str| subtype == "tlsrpt" || subtype.starts_with("tlsrpt+");
    let part = top.parts().iter().find(|part| is_report(&part.subtype.to_ascii_lowercase()));
    let Some(part) = part else { return Some(Err("no part of it is a report".to_owned())) };
    let contents = part.contents();
    let range = usize::try_from(contents.start).unwrap_or(usize::MAX)..usize::try_from(contents.end).unwrap_or(usize::MAX);
    let octets = message.get(range).unwrap_or_default();
    Some(Report::read(&encoding::decode(encoding::TransferEncoding::parse(&part.encoding), octets)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use mail::digest::Digest;

    fn domain(name: &str) -> Domain {
        Domain::parse(name).unwrap()
    }

    #[test]
    fn receivers_are_read() {
        let read = |records: &[&str]| {
            let octets: Vec<Vec<u8>> = records.iter().map(|record| record.as_bytes().to_vec()).collect();
            let words = receivers(&octets).into_iter().map(|receiver| match receiver {
                Receiver::Mail(address) => address.to_string(),
                Receiver::Web(uri) => uri,
            });
            words.collect::<Vec<_>>().join(" ")
        };
        for (records, want) in [
            (vec!["v=TLSRPTv1; rua=mailto:a@x.example"], "a@x.example"),
            (vec!["v=TLSRPTv1;rua=mailto:a%2Bb@x.example,https://x.example/r;"], "a+b@x.example https://x.example/r"),
            (vec!["v=TLSRPTv1; rua=mailto:a@x.example?subject=y, ftp://x"], "a@x.example"),
            (vec!["v=spf1", "v=TLSRPTv1; rua=mailto:a@x.example"], "a@x.example"),
            (vec!["v=TLSRPTv1; rua=mailto:a@x", "v=TLSRPTv1; rua=mailto:b@x"], ""),
            (vec!["v=TLSRPTv12; rua=mailto:a@x.example"], ""),
            (vec!["v=TLSRPTv1; rua=mailto:a%2@x.example"], ""),
            (vec![], ""),
        ] {
            assert_eq!(read(&records), want, "{records:?}");
        }
    }

    #[test]
    fn days_are_dates() {
        for (day, want) in [(0, "1970-01-01"), (59, "1970-03-01"), (11_016, "2000-02-29"), (20_778, "2026-11-21"), (47_540, "2100-02-28")] {
            assert_eq!(date_of(day), want);
        }
        assert_eq!(day_of(Timestamp::from_seconds(20_778 * 86_400 + 86_399)), 20_778);
    }

    fn results() -> Results {
        let (results, at, a) = (Results::default(), Timestamp::from_seconds(20_778 * 86_400), domain("a.example"));
        let none = || describe(&a, &StsAnswer::None, None);
        let broken = || failure(FailureKind::STARTTLS, Some(&domain("mx.a.example")), Some([192, 0, 2, 1].into()), "");
        results.count(at, &a, none(), None);
        results.count(at, &a, none(), Some(broken()));
        results.count(at, &a, none(), Some(broken()));
        let sts = StsAnswer::Unknown(StsFault::Fetch("404".to_owned()));
        results.count(
            at,
            &a,
            describe(&a, &sts, None),
            Some(failure(FailureKind::of_policy(&StsFault::Fetch(String::new())), None, None, "404")),
        );
        results
    }

    #[test]
    fn sessions_are_counted_by_policy_and_failure() {
        let results = results();
        let taken = results.take();
        results.put_back(taken.clone());
        results.put_back(taken);
        let all: Vec<_> = results.take().into_values().flatten().collect();
        let shown: Vec<_> = all
            .iter()
            .map(|one| {
                let details: Vec<_> = one.failure_details.iter().map(|d| format!("{} {}", d.result_type, d.failed_session_count)).collect();
                let Summary { total_successful_session_count: well, total_failure_session_count: failed } = one.summary;
                format!("{} {well} {failed} {}", one.policy.policy_type, details.join(","))
            })
            .collect();
        assert_eq!(shown, ["no-policy-found 2 4 starttls-not-supported 4", "sts 0 2 sts-policy-fetch-error 2"]);
        assert!(results.take().is_empty());
    }

    #[test]
    fn a_report_is_mailed_and_read_back() {
        let (host, of) = (domain("mx.b.example"), domain("a.example"));
        let (from, to) = (Address::parse("tls@b.example").unwrap(), Address::parse("r@a.example").unwrap());
        let policies = results().take().into_values().next().unwrap();
        let about = About { hostname: &host, contact: &from, domain: &of, day: 20_778 };
        let report = compose_report(&about, policies);
        let mail = message(&report, &about, &to, Timestamp::from_seconds(1_800_000_000));
        let digest = Digest::of(&mail);
        assert_eq!(find(&mail, &digest), Some(Ok(report)));
        let text = String::from_utf8(mail).unwrap();
        assert!(text.contains("Subject: Report Domain: a.example Submitter: mx.b.example Report-ID:"), "{text}");
        assert!(text.contains("mx.b.example!a.example!1795219200!1795305599.json.gz"), "{text}");
    }

    #[test]
    fn reports_of_others_are_read() {
        let text = r#"{"organization-name":"Company-X","date-range":{"start-datetime":"2016-04-01T00:00:00Z","end-datetime":"2016-04-01T23:59:59Z"},
            "contact-info":"sts-reporting@company-x.example","report-id":"5065427c","policies":[{"policy":{"policy-type":"sts",
            "policy-string":["version: STSv1","mode: testing"],"policy-domain":"company-y.example","mx-host":"*.mail.company-y.example"},
            "summary":{"total-successful-session-count":5326,"total-failure-session-count":303},"failure-details":[{"result-type":
            "certificate-expired","sending-mta-ip":"2001:db8::1","receiving-mx-hostname":"mx1.mail.company-y.example","failed-session-count":100}]}]}"#;
        let report = Report::read(text.as_bytes()).unwrap();
        assert_eq!(report.summary(), Summary { total_successful_session_count: 5326, total_failure_session_count: 303 });
        assert_eq!(report.policies[0].policy.mx_host, ["*.mail.company-y.example"]);
        assert_eq!(Report::read(&report.gzip()), Ok(report));
        assert!(Report::read(b"{}").is_err() && Report::read(b"\x1f\x8bnonsense").is_err() && Report::read(b"").is_err());
    }
}
