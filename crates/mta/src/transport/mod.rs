//! The security of mail on its way to other servers: what is asked, what follows from the answers, what is
//! reported of it.
//!
//! [`policy`] decides (pure), [`mta_sts`] reads policies (pure), [`sts`] gets and remembers them, [`tls_rpt`] counts
//! what became of TLS and writes and reads reports of it. An [`Inquiry`] asks DNS: deliveries and
//! `postrider check` go through the same one.

pub mod dmarc_report;
mod dmarc_reporting;
pub mod explain;
pub mod mta_sts;
pub mod policy;
pub mod reporting;
pub mod sts;
pub mod tls_rpt;

use crate::settings::Transport as Settings;
use mail::{Domain, TlsDemand};
use net::resolve::Host;
use net::{Checked, Dns, DnsError, Mx, Security, Tlsa};
use policy::{Decided, Recorded, Refused, StsAnswer, TlsaAnswer};
use std::sync::Arc;
use sts::{Known, Sts};
use tls_rpt::Results;

/// What outlives a restart of the queue.
#[derive(Clone, Default)]
pub struct Transport {
    /// Policies of other domains; `None`: MTA-STS is not looked at.
    pub sts: Option<Arc<Sts>>,
    /// What became of TLS, for reports.
    pub results: Results,
}

/// Asks what is to be known before a domain's mail is sent.
pub struct Inquiry<'a> {
    /// The questions go there.
    pub dns: &'a dyn Dns,
    /// And there.
    pub transport: &'a Transport,
    /// What the operator says.
    pub settings: &'a Settings,
}

/// What is known of a domain.
#[derive(Debug, Clone)]
pub struct OfDomain {
    /// Its MX records.
    pub mx: Checked<Vec<Mx>>,
    /// Its MTA-STS policy.
    pub sts: Known,
}

/// What is known of one of its hosts.
#[derive(Debug, Clone)]
pub struct OfHost {
    /// Its addresses.
    pub addresses: Checked<Host>,
    /// Its TLSA records.
    pub tlsa: TlsaAnswer,
}

impl Inquiry<'_> {
    /// Asks for a domain's mail exchangers and its policy.
    pub async fn domain(&self, domain: &Domain) -> OfDomain {
        let mx = if self.settings.dane { self.dns.mx_checked(domain).await } else { Checked::unchecked(self.dns.mx(domain).await) };
        let sts = match &self.transport.sts {
            Some(sts) if self.settings.mta_sts && domain.ip().is_none() => sts.explained(domain).await,
            _ => Known { answer: StsAnswer::None, steps: vec!["MTA-STS is not looked at".to_owned()] },
        };
        OfDomain { mx, sts }
    }

    /// Asks for a host's addresses and, where DNSSEC vouches for those, its TLSA records (RFC 7672 §2.2.2).
    pub async fn host(&self, host: &Domain, port: u16) -> OfHost {
        if !self.settings.dane || host.ip().is_some() {
            let addresses = self.dns.addresses(host).await.map(|addresses| Host { addresses, canonical: None });
            return OfHost { addresses: Checked::unchecked(addresses), tlsa: TlsaAnswer::Unasked };
        }
        let addresses = self.dns.addresses_checked(host).await;
        let tlsa = match (&addresses.found, addresses.security) {
            (Ok(found), Security::Secure) => self.tlsa(host, found.canonical.as_ref(), port).await,
            _ => TlsaAnswer::Unasked,
        };
        OfHost { addresses, tlsa }
    }

    /// The records at the end of the host's CNAMEs or, if there are none, at its own name (RFC 7672 §2.2.3).
    async fn tlsa(&self, host: &Domain, canonical: Option<&Domain>, port: u16) -> TlsaAnswer {
        let mut answer = TlsaAnswer::None;
        for base in [canonical, Some(host)].into_iter().flatten() {
            let Ok(name) = Domain::parse(&format!("_{port}._tcp.{base}")) else { continue };
            answer = tlsa_answer(self.dns.tlsa(&name).await, base);
            if answer != TlsaAnswer::None {
                break;
            }
        }
        answer
    }

    /// What TLS with a host must be.
    ///
    /// # Errors
    /// When it must not get the mail.
    pub fn decide(&self, host: &Domain, of_domain: &OfDomain, of_host: &OfHost, demand: TlsDemand) -> Result<Decided, Refused> {
        let recorded =
            Recorded { host, mx: of_domain.mx.security, tlsa: &of_host.tlsa, sts: &of_domain.sts.answer, demand, settings: self.settings };
        policy::decide(&recorded)
    }
}

fn tlsa_answer(checked: Checked<Vec<Tlsa>>, base: &Domain) -> TlsaAnswer {
    match (checked.found, checked.security) {
        (Ok(records), Security::Secure) if !records.is_empty() => TlsaAnswer::Found(records, base.clone()),
        (Ok(_) | Err(DnsError::NotFound | DnsError::NoData), _) => TlsaAnswer::None,
        (Err(DnsError::Temporary(why)), _) => TlsaAnswer::Failed(why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use net::FakeDns;

    fn domain(name: &str) -> Domain {
        Domain::parse(name).unwrap()
    }

    fn record(octet: u8) -> Tlsa {
        Tlsa { usage: 3, selector: 1, matching: 1, data: vec![octet; 32] }
    }

    async fn tlsa(dns: &FakeDns) -> String {
        let (transport, settings) = (Transport::default(), Settings::default());
        let inquiry = Inquiry { dns, transport: &transport, settings: &settings };
        match inquiry.host(&domain("mx.a.example"), 25).await.tlsa {
            TlsaAnswer::Found(records, base) => format!("{:02x} at {base}", records[0].data[0]),
            TlsaAnswer::Failed(_) => "failed".to_owned(),
            other => format!("{other:?}"),
        }
    }

    /// RFC 7672 §2.2.2 and §2.2.3.
    #[tokio::test]
    async fn tlsa_records_are_looked_for_where_dnssec_vouches_for_the_address() {
        let (host, name) = (domain("mx.a.example"), domain("_25._tcp.mx.a.example"));
        let address = "192.0.2.1".parse().unwrap();
        let plain = || FakeDns::new().with_address(&host, address).with_tlsa(&name, record(1)).with_security(&name, Security::Secure);
        assert_eq!(tlsa(&plain()).await, "Unasked");
        let signed = || plain().with_security(&host, Security::Secure);
        assert_eq!(tlsa(&signed()).await, "01 at mx.a.example");
        assert_eq!(tlsa(&signed().with_security(&name, Security::Insecure)).await, "None");
        assert_eq!(tlsa(&signed().with_security(&name, Security::Bogus)).await, "failed");
        let failing = signed();
        failing.fail(&name, "SERVFAIL");
        assert_eq!(tlsa(&failing).await, "failed");
        failing.recover(&name);
        failing.forget(&name);
        assert_eq!(tlsa(&failing).await, "None");
    }

    #[tokio::test]
    async fn behind_a_cname_the_last_name_comes_first_and_then_the_own() {
        let (host, end) = (domain("mx.a.example"), domain("real.b.example"));
        let (own, last) = (domain("_25._tcp.mx.a.example"), domain("_25._tcp.real.b.example"));
        let dns = FakeDns::new().with_cname(&host, &end).with_address(&end, "192.0.2.1".parse().unwrap());
        let secure = [&host, &end, &own, &last].into_iter().fold(dns, |dns, name| dns.with_security(name, Security::Secure));
        let dns = secure.with_tlsa(&own, record(1));
        assert_eq!(tlsa(&dns).await, "01 at mx.a.example");
        let dns = dns.with_tlsa(&last, record(2));
        assert_eq!(tlsa(&dns).await, "02 at real.b.example");
        assert_eq!(tlsa(&dns.with_security(&end, Security::Insecure)).await, "Unasked");
    }
}
