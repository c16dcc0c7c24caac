//! TLS reports that came in (RFC 8460): what other servers met when they sent us mail.

use super::{Admin, Operation};
use crate::failure::Result;
use mail::Timestamp;
use mta::transport::tls_rpt::Report;
use serde::{Deserialize, Serialize};

/// Milliseconds of a day.
const DAY_MILLIS: i64 = 86_400_000;

/// What one reporter met under one policy of ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsReportView {
    /// Whose mail servers.
    pub domain: String,
    /// From when, RFC 3339.
    pub from: String,
    /// Until when.
    pub until: String,
    /// Who reports.
    pub reporter: String,
    /// `tlsa`, `sts` or `no-policy-found`.
    pub policy: String,
    /// Sessions that kept to the policy.
    pub well: u64,
    /// Sessions that did not.
    pub failed: u64,
    /// How, and how often.
    pub failures: Vec<String>,
}

/// Lists what came in.
#[derive(Debug, Serialize, Deserialize)]
pub struct List {
    /// Only about this domain.
    pub domain: Option<String>,
    /// How many days back.
    pub days: u32,
}

impl Operation for List {
    const NAME: &'static str = "tls_report.list";
    type Answer = Vec<TlsReportView>;

    fn run(self, on: &Admin) -> Result<Vec<TlsReportView>> {
        let since = Timestamp(crate::clock::now().0.saturating_sub(i64::from(self.days).saturating_mul(DAY_MILLIS)));
        let wanted = self.domain.map(|domain| domain.to_ascii_lowercase());
        on.read(move |tx| {
            let reports = tx.tls_reports(since)?;
            let read = reports.iter().filter_map(|(_, text)| Report::read(text.as_bytes()).ok());
            let views = read.flat_map(|report| views(&report));
            Ok(views.filter(|view| wanted.as_ref().is_none_or(|domain| *domain == view.domain)).collect())
        })
    }
}

/// A report, policy by policy.
pub fn views(report: &Report) -> Vec<TlsReportView> {
    let view = |one: &mta::transport::tls_rpt::PolicyResults| TlsReportView {
        domain: one.policy.policy_domain.to_ascii_lowercase(),
        from: report.date_range.start_datetime.clone(),
        until: report.date_range.end_datetime.clone(),
        reporter: report.organization_name.clone(),
        policy: one.policy.policy_type.clone(),
        well: one.summary.total_successful_session_count,
        failed: one.summary.total_failure_session_count,
        failures: one.failure_details.iter().map(failure).collect(),
    };
    report.policies.iter().map(view).collect()
}

fn failure(detail: &mta::transport::tls_rpt::FailureDetails) -> String {
    let at = detail.receiving_mx_hostname.as_ref().map(|host| format!(" at {host}")).unwrap_or_default();
    format!("{}{at} ({})", detail.result_type, detail.failed_session_count)
}
