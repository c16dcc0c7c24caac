//! Sends the DMARC reports of days that are over (RFC 9990 §3.5, §4).
//!
//! Not what is in a report, nor the mail around it: `dmarc_report` writes those. The figures were counted in the commits
//! of their messages.
//!
//! Invariant: a day's figures are forgotten in the commit that brings their mail on its way.

use super::dmarc_report::{self, About, DayPolicy};
use super::reporting::{DAYS_MAX, Reporter};
use super::tls_rpt::day_of;
use crate::receive::ask_all;
use mail::lookup::Recorded;
use mail::{Address, Domain, TlsDemand};
use mailauth::dmarc::aggregate::Row;
use mailauth::dmarc::reporting::{Destination, destinations};
use mailauth::dns::{Dns, Missing, Step};
use std::time::Duration;
use store::DmarcFigures;

/// How long asking DNS for one domain's destinations may take. Our own bound.
const WAIT_MAX: Duration = Duration::from_secs(30);

impl Reporter {
    /// Sends the DMARC reports of all days that are over.
    pub async fn report_dmarc(&self) {
        let today = day_of(self.clock.wall());
        loop {
            let first = self.store.read(|tx| match tx.dmarc_first_day()? {
                Some(day) => Ok(Some((day, tx.dmarc_domains(day)?))),
                None => Ok(None),
            });
            let (day, domains) = match first.await {
                Ok(Some((day, domains))) if day < today => (day, domains),
                Ok(_) => return,
                Err(error) => return tracing::warn!(%error, "DMARC reports could not be made"),
            };
            let mut left = false;
            for domain in domains {
                left |= !self.report_dmarc_of(day, &domain, today).await;
            }
            if left {
                return;
            }
        }
    }

    /// Whether the figures of a domain's day are done with.
    async fn report_dmarc_of(&self, day: u32, domain: &Domain, today: u32) -> bool {
        let asked = domain.clone();
        let figures = match self.store.read(move |tx| tx.dmarc_figures(day, &asked)).await {
            Ok(Some(figures)) => figures,
            Ok(None) => return true,
            Err(error) => {
                tracing::warn!(%domain, %error, "a DMARC report could not be made");
                return false;
            }
        };
        let Ok(policy) = serde_json::from_str::<DayPolicy>(&figures.policy) else { return self.send_dmarc(day, domain, Vec::new()).await };
        let to = match self.destinations(domain, &policy.wanted).await {
            Ok(to) => to,
            Err(Missing::Failed) if today.saturating_sub(day) <= DAYS_MAX => {
                tracing::debug!(%domain, "a DMARC report waits for an answer of DNS");
                return false;
            }
            Err(_) => Vec::new(),
        };
        let Some(contact) = self.contact() else { return false };
        let about = About { hostname: &self.settings.hostname, contact: &contact, domain, day };
        let mails = self.mails(policy, &figures, &about, to);
        self.send_dmarc(day, domain, mails).await
    }

    /// Who gets the reports of a domain.
    async fn destinations(&self, domain: &Domain, wanted: &[String]) -> Result<Vec<Destination>, Missing> {
        let authentication = &self.settings.receive.authentication;
        if !authentication.reports_dmarc {
            return Ok(Vec::new());
        }
        let deadline = tokio::time::Instant::now() + WAIT_MAX;
        let mut recorded = Recorded::default();
        loop {
            let step = Dns::run(&recorded, |dns| destinations(dns, domain.as_str(), wanted, authentication.inspection.discovery));
            match step {
                Step::Done(found) => return found,
                Step::Need(questions) => ask_all(&self.dns, questions, deadline, &mut recorded).await,
            }
        }
    }

    /// The mails, without those that are longer than their receiver wants.
    fn mails(&self, policy: DayPolicy, figures: &DmarcFigures, about: &About<'_>, to: Vec<Destination>) -> Vec<(Vec<u8>, Address)> {
        let row = |(row, messages): &(String, u64)| Some((serde_json::from_str::<Row>(row).ok()?, *messages));
        let report = dmarc_report::compose_report(about, policy.published, figures.rows.iter().filter_map(row).collect());
        let now = self.clock.wall();
        let mut mails = Vec::new();
        for Destination { address, octets_max } in to {
            let octets = dmarc_report::message(&report, about, &address, now);
            if octets_max.is_some_and(|max| octets.len() as u64 > max) {
                tracing::info!(domain = %about.domain, to = %address, octets = octets.len(), "a DMARC report is longer than is wanted");
                continue;
            }
            mails.push((octets, address));
        }
        mails
    }

    /// Brings the mails on their way and forgets the figures; whether both are written.
    async fn send_dmarc(&self, day: u32, of: &Domain, mails: Vec<(Vec<u8>, Address)>) -> bool {
        let domain = of.clone();
        self.send("DMARC", of, mails, TlsDemand::ByPolicy, move |tx| tx.dmarc_forget(day, &domain)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;
    use crate::transport::tls_rpt::Results;
    use mail::Timestamp;
    use mailauth::dmarc::aggregate::Published;
    use net::{FakeDns, VirtualClock};
    use std::sync::Arc;
    use store::Store;

    #[tokio::test(start_paused = true)]
    async fn yesterdays_mail_becomes_a_report_to_who_may_get_it() {
        let domain = |name: &str| Domain::parse(name).unwrap();
        let (store, a, b) = (Store::memory(), domain("a.example"), domain("b.example"));
        let clock = Arc::new(VirtualClock::starting_at(Timestamp::from_seconds(20_778 * 86_400 + 3600)));
        let dns = FakeDns::new().with_txt(&domain("a.example._report._dmarc.yes.example"), "v=DMARC1");
        let reporter = Reporter {
            store: store.clone(),
            results: Results::default(),
            dns: Arc::new(dns),
            https: None,
            clock: Arc::clone(&clock) as _,
            settings: Arc::new(Settings::new(domain("mx.c.example"))),
        };
        let policy = |domain: &Domain| {
            let published = Published { domain: domain.to_string(), p: "none".into(), ..Published::default() };
            let wanted = ["d@a.example", "d@yes.example", "d@no.example", "d@a.example!1"].map(|to| format!("mailto:{to}"));
            serde_json::to_string(&DayPolicy { published, wanted: wanted.to_vec() }).unwrap()
        };
        let row = serde_json::to_string(&Row { source: "192.0.2.1".into(), ..Row::default() }).unwrap();
        let counted = [a, b].map(|domain| (policy(&domain), domain));
        store
            .write_blocking(move |tx| {
                for (policy, domain) in counted.iter().chain(&counted[..1]) {
                    tx.dmarc_count(20_778, domain, policy, &row)?;
                }
                Ok(())
            })
            .unwrap();
        reporter.report_dmarc().await;
        assert_eq!(store.read_blocking(store::ReadTx::queue_len).unwrap(), 0, "the day is not over");
        tokio::time::sleep(Duration::from_hours(24)).await;
        reporter.report_dmarc().await;
        let queued = store.read_blocking(|tx| tx.queue_all(mail::ReceiptId(0), 9)).unwrap();
        let mut to: Vec<String> = queued.iter().map(|mail| mail.recipients[0].recipient.address.to_string()).collect();
        to.sort();
        assert_eq!(to, ["d@a.example", "d@yes.example"], "of a only: nobody takes reports about b");
        let blob = queued[0].blob;
        let octets = store.read_blocking(move |tx| tx.blob_read(&blob, 0, usize::MAX)).unwrap();
        let Some(Ok(dmarc_report::Found::Aggregate(report))) = dmarc_report::find(&octets, &mail::digest::Digest::of(&octets)) else {
            panic!("no report")
        };
        assert_eq!((report.published.domain.as_str(), report.rows[0].1), ("a.example", 2));
        assert_eq!(store.read_blocking(store::ReadTx::dmarc_first_day).unwrap(), None);
    }
}
