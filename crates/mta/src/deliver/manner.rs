//! How one host is talked to: what TLS must be, and why. Pure, but for making TLS clients.
//!
//! Not the decision for MX hosts, which is `transport::policy`'s; here its result, or a route's word, becomes
//! something that a connection can be made with.

use crate::deliver::Tls as Clients;
use crate::route::{Target, Tls};
use crate::transport::policy::{Decided, StsAnswer, TlsPolicy};
use crate::transport::tls_rpt::{self, PolicyDescription};
use mail::{Domain, TlsDemand};
use rustls_pki_types::ServerName;

/// How a host is talked to.
#[derive(Clone)]
pub(crate) struct Manner {
    /// When TLS starts, if at all.
    pub(crate) tls: Tls,
    /// Who makes the handshake; `None`: there can be no TLS.
    pub(crate) client: Option<net::tls::Client>,
    /// The name that is asked for.
    pub(crate) name: Domain,
    /// The server must offer REQUIRETLS.
    pub(crate) requiretls: bool,
    /// What was decided for an MX host.
    pub(crate) decided: Option<Decided>,
    /// Whose report a session belongs to, and the policy in it.
    pub(crate) about: Option<(Domain, PolicyDescription)>,
}

impl Manner {
    /// As a route says, or better where the message requires it.
    pub(crate) fn of_route(tls: Tls, demand: TlsDemand, target: &Target, clients: Option<&Clients>) -> Self {
        let requiretls = demand == TlsDemand::Required;
        let tls = match (tls, requiretls) {
            (Tls::None | Tls::Opportunistic, true) => Tls::Required,
            _ => tls,
        };
        let client = match tls {
            Tls::None => None,
            Tls::Opportunistic => clients.map(|clients| clients.opportunistic.clone()),
            Tls::Required | Tls::Implicit => clients.map(|clients| clients.verified.clone()),
        };
        Self { tls, client, name: target.host.clone(), requiretls, decided: None, about: None }
    }

    /// As was decided for an MX host.
    ///
    /// # Errors
    /// In words, when the cryptographic library fails.
    pub(crate) fn of_policy(decided: Decided, target: &Target, clients: Option<&Clients>) -> Result<Self, String> {
        let mut name = target.host.clone();
        let tls = if decided.policy.allows_plaintext() { Tls::Opportunistic } else { Tls::Required };
        let client = match (&decided.policy, clients) {
            (_, None) => None,
            (TlsPolicy::Opportunistic | TlsPolicy::Encrypted, Some(clients)) => Some(clients.opportunistic.clone()),
            (TlsPolicy::WebPki, Some(clients)) => Some(clients.verified.clone()),
            (TlsPolicy::Dane(records, base), Some(clients)) => {
                let names = [base, &target.host].into_iter().filter_map(server_name).collect();
                let dane = net::tls::Dane::new(records, names).ok_or("no TLSA record is usable")?;
                name = base.clone();
                let trust = clients.verified.trust().clone();
                Some(net::tls::Client::dane(trust, dane).map_err(|error| error.to_string())?)
            }
        };
        Ok(Self { tls, client, name, requiretls: decided.requiretls, decided: Some(decided), about: None })
    }

    /// The same, counted for a domain's report.
    pub(crate) fn about(self, domain: &Domain, sts: &StsAnswer) -> Self {
        let policy = tls_rpt::describe(domain, sts, self.decided.as_ref().map(|decided| &decided.policy));
        Self { about: Some((domain.clone(), policy)), ..self }
    }

    /// The same in clear text.
    pub(crate) fn in_clear(&self) -> Self {
        Self { tls: Tls::None, client: None, ..self.clone() }
    }

    /// Whether TLS that fails is done without.
    pub(crate) fn falls_back(&self) -> bool {
        self.tls == Tls::Opportunistic
    }

    /// Why there is no clear text, to be added to what went wrong.
    pub(crate) fn reason(&self) -> Option<&str> {
        self.decided.as_ref().filter(|decided| !decided.policy.allows_plaintext()).map(|decided| decided.because.as_str())
    }

    /// How the certificate was checked, for the trail.
    pub(crate) fn verified_by(&self) -> &'static str {
        match self.decided.as_ref().map(|decided| (&decided.policy, decided.testing)) {
            Some((TlsPolicy::Dane(..), _)) => "verified by DANE",
            Some((TlsPolicy::WebPki, _)) if !self.requiretls => "verified, as MTA-STS asks",
            _ => "verified",
        }
    }

    /// The name as TLS takes it.
    pub(crate) fn server_name(&self) -> Option<ServerName<'static>> {
        server_name(&self.name)
    }
}

fn server_name(host: &Domain) -> Option<ServerName<'static>> {
    match host.ip() {
        Some(ip) => Some(ServerName::IpAddress(ip.into())),
        None => ServerName::try_from(host.as_str().to_owned()).ok(),
    }
}
