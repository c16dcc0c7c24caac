//! `[transport]`: the security of mail on its way to other servers, and what ours promise to others.

use super::{Span, wrong};
use mail::{Address, Domain};
use mta::transport::mta_sts::{Mode, Pattern, Policy};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::PathBuf;

/// `[transport]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Transport {
    /// Who checks the signatures of DNS.
    pub dnssec: Dnssec,
    /// DNSKEY records to trust instead of the root's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trust_anchors: Option<PathBuf>,
    /// Whether servers are verified by TLSA records.
    pub dane: bool,
    /// Whether the MTA-STS policies of other domains are kept.
    pub mta_sts: bool,
    /// The port of web servers that have policies and take reports.
    pub https_port: u16,
    /// Whether TLS reports are sent.
    pub tls_reports: bool,
    /// Who writes them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub report_from: Option<String>,
    /// The mode of our own policy.
    pub own_mode: OwnMode,
    /// The hosts in it; none: the hostname.
    pub own_mx: Vec<String>,
    /// How long it holds.
    pub own_max_age: Span,
}

impl Default for Transport {
    fn default() -> Self {
        Self {
            dnssec: Dnssec::Auto,
            trust_anchors: None,
            dane: true,
            mta_sts: true,
            https_port: 443,
            tls_reports: true,
            report_from: None,
            own_mode: OwnMode::Testing,
            own_mx: Vec::new(),
            own_max_age: Span::days(7),
        }
    }
}

/// Who checks the signatures of DNS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dnssec {
    /// Nobody.
    Off,
    /// We, as soon as the resolvers hand over signatures.
    Auto,
    /// We, always.
    Validate,
    /// The resolvers, which are on this machine.
    TrustResolver,
}

/// The mode of our own policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the words are RFC 8461's")]
pub enum OwnMode {
    Enforce,
    Testing,
    None,
}

impl Transport {
    /// What serde cannot see.
    pub(super) fn check(&self, dns: &[SocketAddr]) -> Result<(), (String, String)> {
        let loopback = !dns.is_empty() && dns.iter().all(|server| server.ip().is_loopback());
        if self.dnssec == Dnssec::TrustResolver && !loopback {
            return wrong("transport.dnssec", "trust_resolver needs dns servers on a loopback address, e.g. dns = [\"127.0.0.1:53\"]");
        }
        if self.report_from.as_ref().is_some_and(|text| Address::parse(text).is_err()) {
            return wrong("transport.report_from", "expected a mail address, e.g. \"tls-reports@example.org\"");
        }
        if let Some(bad) = self.own_mx.iter().find(|text| Pattern::parse(text).is_none()) {
            return wrong("transport.own_mx", &format!("{bad:?} is no host: expected \"mx.example.org\" or \"*.example.org\""));
        }
        if self.own_max_age.0.as_secs() > 31_557_600 {
            return wrong("transport.own_max_age", "expected at most a year (RFC 8461 §3.2)");
        }
        if self.https_port == 0 { wrong("transport.https_port", "expected a port from 1") } else { Ok(()) }
    }

    /// For the resolver.
    pub fn dnssec(&self) -> net::resolve::Dnssec {
        match self.dnssec {
            _ if !self.dane => net::resolve::Dnssec::Off,
            Dnssec::Off => net::resolve::Dnssec::Off,
            Dnssec::Auto => net::resolve::Dnssec::Auto,
            Dnssec::Validate => net::resolve::Dnssec::Validate,
            Dnssec::TrustResolver => net::resolve::Dnssec::TrustServers,
        }
    }

    /// For the mail path.
    pub fn settings(&self) -> mta::settings::Transport {
        mta::settings::Transport {
            dane: self.dane && self.dnssec != Dnssec::Off,
            mta_sts: self.mta_sts,
            tls_reports: self.tls_reports,
            report_from: self.report_from.as_ref().and_then(|text| Address::parse(text).ok()),
        }
    }

    /// The policy that we serve for our domains.
    pub fn own_policy(&self, hostname: &Domain) -> Policy {
        let mode = match self.own_mode {
            OwnMode::Enforce => Mode::Enforce,
            OwnMode::Testing => Mode::Testing,
            OwnMode::None => Mode::None,
        };
        let named: Vec<Pattern> = self.own_mx.iter().filter_map(|text| Pattern::parse(text)).collect();
        let mx = if named.is_empty() { vec![Pattern::Exact(hostname.clone())] } else { named };
        Policy { mode, mx, max_age: self.own_max_age.0 }
    }
}
