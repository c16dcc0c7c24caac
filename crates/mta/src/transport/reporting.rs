//! Stores what became of TLS, and sends the reports of days that are over (RFC 8460 §5; `dmarc_reporting` those of DMARC).
//!
//! Not what is in a report: `tls_rpt` writes it. Reports are sent as mail through the queue, with `TLS-Required: No`:
//! they must arrive also where TLS is what fails (RFC 8460 §5.3).
//!
//! Invariant: a day's figures are forgotten in the commit that brings their mail on its way.

use super::tls_rpt::{self, About, PolicyResults, Receiver, Report, Results};
use crate::bounce;
use crate::settings::Settings;
use mail::{Address, Domain, TlsDemand};
use net::https::{self, Https};
use net::{Clock, Dns, DnsError};
use std::sync::Arc;
use std::time::Duration;
use store::{Store, WriteTx};

/// How often figures are stored. What is lost in a crash is a minute of figures. Our own choice.
const STORE_EVERY: Duration = Duration::from_mins(1);
/// How often it is looked for reports that are due.
const LOOK_EVERY: Duration = Duration::from_mins(15);
/// Figures older than so many days are forgotten although nobody could be asked where they go.
pub(super) const DAYS_MAX: u32 = 3;
/// Most receivers of a domain. Our own bound.
const RECEIVERS_MAX: usize = 5;

/// Sends reports.
pub struct Reporter {
    /// Where figures are kept.
    pub store: Store,
    /// What is not stored yet.
    pub results: Results,
    /// Where receivers are asked for.
    pub dns: Arc<dyn Dns>,
    /// For receivers on the web; none: only mail.
    pub https: Option<Https>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// What the operator chose.
    pub settings: Arc<Settings>,
}

impl Reporter {
    /// Stores figures and sends reports for ever. When dropped, what is not stored is in `results`.
    pub async fn run(&self) {
        let mut look_at = self.clock.wall();
        loop {
            tokio::time::sleep(STORE_EVERY).await;
            self.save().await;
            if self.clock.wall() >= look_at {
                look_at = self.clock.wall().after(LOOK_EVERY);
                self.report().await;
                self.report_dmarc().await;
            }
        }
    }

    /// Stores what was counted.
    pub async fn save(&self) {
        let taken = self.results.take();
        if taken.is_empty() {
            return;
        }
        let writing = taken.clone();
        let written = self.store.write(move |tx| {
            for ((day, domain), more) in &writing {
                let mut all = tx.tls_result(*day, domain)?.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
                tls_rpt::merge(&mut all, more.clone());
                tx.tls_result_set(*day, domain, &serde_json::to_string(&all).unwrap_or_default())?;
            }
            Ok(())
        });
        if let Err(error) = written.await {
            tracing::warn!(%error, "what became of TLS could not be stored");
            self.results.put_back(taken);
        }
    }

    /// Sends the reports of all days that are over.
    pub async fn report(&self) {
        let today = tls_rpt::day_of(self.clock.wall());
        loop {
            let first = self.store.read(|tx| match tx.tls_results_first_day()? {
                Some(day) => Ok(Some((day, tx.tls_results(day)?))),
                None => Ok(None),
            });
            let (day, results) = match first.await {
                Ok(Some((day, results))) if day < today => (day, results),
                Ok(_) => return,
                Err(error) => return tracing::warn!(%error, "TLS reports could not be made"),
            };
            let mut left = false;
            for (domain, text) in results {
                left |= !self.report_one(day, &domain, &text, today).await;
            }
            if left {
                return;
            }
        }
    }

    /// Whether the figures of a domain are done with.
    async fn report_one(&self, day: u32, domain: &Domain, text: &str, today: u32) -> bool {
        let receivers = match self.receivers(domain).await {
            Ok(receivers) => receivers,
            Err(why) if today.saturating_sub(day) <= DAYS_MAX => {
                tracing::debug!(%domain, why, "a TLS report waits");
                return false;
            }
            Err(_) => Vec::new(),
        };
        let policies: Vec<PolicyResults> = serde_json::from_str(text).unwrap_or_default();
        let Some(contact) = self.contact() else { return false };
        let about = About { hostname: &self.settings.hostname, contact: &contact, domain, day };
        let report = tls_rpt::compose_report(&about, policies);
        for receiver in &receivers {
            if let Receiver::Web(uri) = receiver {
                self.post(&report, uri, domain).await;
            }
        }
        self.mail(&report, &about, receivers).await
    }

    async fn receivers(&self, domain: &Domain) -> Result<Vec<Receiver>, String> {
        if !self.settings.transport.tls_reports {
            return Ok(Vec::new());
        }
        let Ok(name) = Domain::parse(&format!("_smtp._tls.{domain}")) else { return Ok(Vec::new()) };
        match self.dns.txt(&name).await {
            Ok(records) => Ok(tls_rpt::receivers(&records).into_iter().take(RECEIVERS_MAX).collect()),
            Err(DnsError::NotFound | DnsError::NoData) => Ok(Vec::new()),
            Err(DnsError::Temporary(why)) => Err(why),
        }
    }

    /// The author of reports; `None` if the hostname makes no address, which a config check rules out.
    pub(super) fn contact(&self) -> Option<Address> {
        let default = || Address::parse(&format!("postmaster@{}", self.settings.hostname)).ok();
        self.settings.transport.report_from.clone().or_else(default)
    }

    /// Hands a report to a web server; one that does not take it does not get it.
    async fn post(&self, report: &Report, uri: &str, domain: &Domain) {
        let (Some(https), Some(address)) = (&self.https, https::Address::parse(uri)) else { return };
        match https.post(&address, "application/tlsrpt+gzip", report.gzip()).await {
            Ok(answer) if (200..300).contains(&answer.status) => tracing::info!(%domain, uri, "a TLS report was handed over"),
            Ok(answer) => tracing::info!(%domain, uri, status = answer.status, "a TLS report was refused"),
            Err(error) => tracing::info!(%domain, uri, %error, "a TLS report could not be handed over"),
        }
    }

    /// Brings the mails on their way and forgets the figures.
    async fn mail(&self, report: &Report, about: &About<'_>, receivers: Vec<Receiver>) -> bool {
        let now = self.clock.wall();
        let mails = receivers.into_iter().filter_map(|receiver| match receiver {
            Receiver::Mail(to) => Some((tls_rpt::message(report, about, &to, now), to)),
            Receiver::Web(_) => None,
        });
        let (domain, day) = (about.domain.clone(), about.day);
        self.send("TLS", about.domain, mails.collect(), TlsDemand::Optional, move |tx| tx.tls_result_forget(day, &domain)).await
    }

    /// Brings the mails of a report on their way and forgets its figures in one commit; whether that is written.
    pub(super) async fn send(
        &self,
        kind: &str,
        of: &Domain,
        mails: Vec<(Vec<u8>, Address)>,
        tls: TlsDemand,
        mut forget: impl FnMut(&mut WriteTx) -> store::Result<()> + Send + 'static,
    ) -> bool {
        let (now, settings, sent) = (self.clock.wall(), Arc::clone(&self.settings), mails.len());
        let written = self.store.write(move |tx| {
            for (octets, to) in &mails {
                bounce::post(tx, octets, to, tls, now, &settings)?;
            }
            forget(tx)
        });
        match written.await {
            Ok(()) if sent > 0 => tracing::info!(domain = %of, sent, "a {kind} report is on its way"),
            Ok(()) => {}
            Err(error) => {
                tracing::warn!(domain = %of, %error, "a {kind} report could not be brought on its way");
                return false;
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::policy::StsAnswer;
    use mail::Timestamp;
    use net::{FakeDns, VirtualClock};

    #[tokio::test(start_paused = true)]
    async fn yesterdays_figures_become_a_mail_to_who_wants_it() {
        let domain = |name: &str| Domain::parse(name).unwrap();
        let (store, a, b) = (Store::memory(), domain("a.example"), domain("b.example"));
        let clock = Arc::new(VirtualClock::starting_at(Timestamp::from_seconds(20_778 * 86_400 + 3600)));
        let dns = FakeDns::new().with_txt(&domain("_smtp._tls.a.example"), "v=TLSRPTv1; rua=mailto:tls@a.example");
        let reporter = Reporter {
            store: store.clone(),
            results: Results::default(),
            dns: Arc::new(dns),
            https: None,
            clock: Arc::clone(&clock) as _,
            settings: Arc::new(Settings::new(domain("mx.c.example"))),
        };
        for of in [&a, &a, &b] {
            reporter.results.count(clock.wall(), of, tls_rpt::describe(of, &StsAnswer::None, None), None);
            reporter.save().await;
        }
        reporter.report().await;
        assert_eq!(store.read_blocking(store::ReadTx::queue_len).unwrap(), 0, "the day is not over");
        tokio::time::sleep(Duration::from_hours(24)).await;
        reporter.report().await;
        let queued = store.read_blocking(|tx| tx.queue_all(mail::ReceiptId(0), 9)).unwrap();
        let [mail] = queued.as_slice() else { panic!("{queued:?}") };
        assert_eq!((mail.recipients[0].recipient.address.to_string(), mail.tls), ("tls@a.example".to_owned(), TlsDemand::Optional));
        let blob = mail.blob;
        let octets = store.read_blocking(move |tx| tx.blob_read(&blob, 0, usize::MAX)).unwrap();
        let report = tls_rpt::find(&octets, &mail::digest::Digest::of(&octets)).unwrap().unwrap();
        assert_eq!(report.summary().total_successful_session_count, 2);
        assert_eq!(store.read_blocking(store::ReadTx::tls_results_first_day).unwrap(), None);
    }
}
