//! What the security of transport must remember: MTA-STS policies of other domains (RFC 8461 §3.3), what
//! became of TLS day by day, and the reports that others sent us of it (RFC 8460).
//!
//! Not what the texts mean: `mta` writes and reads them.
//!
//! Invariant: reports received are bounded by [`TLS_REPORTS_MAX`]; the oldest make room.

use crate::error::Result;
use crate::index::{Direction, KeyRange};
use crate::key::{self, Key};
use crate::record::{Record, corrupt, decode};
use crate::schema::Space;
use crate::tx::{ReadTx, WriteTx};
use mail::{Domain, Timestamp};
use serde::{Deserialize, Serialize};

/// Most received reports that are kept. Our own bound.
pub const TLS_REPORTS_MAX: usize = 5_000;

/// The MTA-STS policy of a domain, as it was fetched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StsPolicy {
    /// The id that DNS gave when it was fetched.
    pub id: String,
    /// The policy's text.
    pub text: String,
    /// When it was fetched.
    pub fetched: Timestamp,
    /// Until when it holds.
    pub expires: Timestamp,
}

impl Record for StsPolicy {
    const SPACE: Space = Space::StsPolicy;
    const NAME: &'static str = "MTA-STS policy";
}

/// What became of TLS with a domain on one day, in the form of its report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TlsResult(pub(crate) String);

impl Record for TlsResult {
    const SPACE: Space = Space::TlsResult;
    const NAME: &'static str = "TLS result";
}

/// A report that another server sent us, JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TlsReport(pub(crate) String);

impl Record for TlsReport {
    const SPACE: Space = Space::TlsReport;
    const NAME: &'static str = "TLS report";
}

impl ReadTx {
    /// The policy of a domain, whether it still holds or not.
    pub fn sts_policy(&self, domain: &Domain) -> Result<Option<StsPolicy>> {
        self.record(&domain_key(domain))
    }

    /// What became of TLS on a day (days since 1970, UTC), by domain.
    pub fn tls_results(&self, day: u32) -> Result<Vec<(Domain, String)>> {
        self.gather(Space::TlsResult, &KeyRange::prefix(&key::day(day)), Direction::Forward, usize::MAX, |key, octets| {
            let domain = key::text(key, 4).and_then(|text| Domain::parse(text).ok());
            let domain = domain.ok_or_else(|| corrupt(Space::TlsResult, key, "names no domain"))?;
            Ok((domain, decode::<TlsResult>(key, octets)?.0))
        })
    }

    /// What became of TLS with one domain on a day.
    pub fn tls_result(&self, day: u32, domain: &Domain) -> Result<Option<String>> {
        Ok(self.record::<TlsResult>(&key::day_of(day, domain.as_str()))?.map(|result| result.0))
    }

    /// The first day of which something is known.
    pub fn tls_results_first_day(&self) -> Result<Option<u32>> {
        let first = self.gather(Space::TlsResult, &KeyRange::all(), Direction::Forward, 1, |key, _| Ok(key::number_u32(key, 0)))?;
        Ok(first.first().copied().flatten())
    }

    /// The reports received since, oldest first.
    pub fn tls_reports(&self, since: Timestamp) -> Result<Vec<(Timestamp, String)>> {
        let range = KeyRange { from: key::moment(since, 0), to: None };
        self.gather(Space::TlsReport, &range, Direction::Forward, usize::MAX, |key, octets| {
            let at = key::moment_read(key).ok_or_else(|| corrupt(Space::TlsReport, key, "has no time"))?;
            Ok((at, decode::<TlsReport>(key, octets)?.0))
        })
    }
}

impl WriteTx {
    /// Keeps a policy.
    pub fn sts_policy_set(&mut self, domain: &Domain, policy: &StsPolicy) -> Result<()> {
        self.save(&domain_key(domain), policy)
    }

    /// Forgets a policy.
    pub fn sts_policy_forget(&mut self, domain: &Domain) -> Result<()> {
        self.delete(Space::StsPolicy, &domain_key(domain));
        Ok(())
    }

    /// Sets what became of TLS with a domain on a day.
    pub fn tls_result_set(&mut self, day: u32, domain: &Domain, report: &str) -> Result<()> {
        self.save(&key::day_of(day, domain.as_str()), &TlsResult(report.to_owned()))
    }

    /// Forgets what became of TLS with a domain on a day.
    pub fn tls_result_forget(&mut self, day: u32, domain: &Domain) -> Result<()> {
        self.delete(Space::TlsResult, &key::day_of(day, domain.as_str()));
        Ok(())
    }

    /// Keeps a report that came in.
    pub fn tls_report_add(&mut self, at: Timestamp, report: &str) -> Result<()> {
        let known = self.keys(Space::TlsReport, &KeyRange::all(), usize::MAX)?;
        for old in known.iter().take(known.len().saturating_sub(TLS_REPORTS_MAX - 1)) {
            self.delete(Space::TlsReport, old);
        }
        self.save(&key::moment(at, key::hash(report)), &TlsReport(report.to_owned()))
    }
}

fn domain_key(domain: &Domain) -> Vec<u8> {
    Key::default().text(domain.as_str()).done()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Store;
    use crate::testing::{now, tx};

    #[test]
    fn what_is_kept_is_found() {
        let store = Store::memory();
        let (a, b) = (Domain::parse("a.example").unwrap(), Domain::parse("b.example").unwrap());
        tx(&store, move |tx| {
            let policy = StsPolicy { id: "1".into(), text: "version: STSv1".into(), fetched: now(), expires: now() };
            tx.sts_policy_set(&a, &policy)?;
            assert_eq!((tx.sts_policy(&a)?, tx.sts_policy(&b)?), (Some(policy), None));
            tx.sts_policy_forget(&a)?;
            assert_eq!(tx.sts_policy(&a)?, None);

            assert_eq!(tx.tls_results_first_day()?, None);
            tx.tls_result_set(8, &b, "b8")?;
            tx.tls_result_set(7, &a, "a7")?;
            tx.tls_result_set(7, &a, "a7 again")?;
            assert_eq!(tx.tls_results_first_day()?, Some(7));
            assert_eq!(tx.tls_results(7)?, [(a.clone(), "a7 again".to_owned())]);
            tx.tls_result_forget(7, &a)?;
            assert_eq!((tx.tls_results(7)?, tx.tls_result(8, &b)?), (vec![], Some("b8".to_owned())));

            let later = Timestamp(now().0 + 1);
            tx.tls_report_add(later, "second")?;
            tx.tls_report_add(now(), "first")?;
            tx.tls_report_add(now(), "first")?;
            assert_eq!(tx.tls_reports(Timestamp(0))?, [(now(), "first".to_owned()), (later, "second".to_owned())]);
            assert_eq!(tx.tls_reports(later)?.len(), 1);
            Ok(())
        });
    }
}
