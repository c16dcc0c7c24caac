//! What a delivery to a domain would do about security, step by step: for `postrider check`.
//!
//! It asks what a delivery asks, decides as a delivery decides and, where that is wanted, connects and makes the
//! same handshake; then it says QUIT. No message is sent and nothing is counted.

use super::policy::{Decided, StsAnswer, TlsaAnswer};
use super::{Inquiry, OfDomain, OfHost};
use crate::deliver::World;
use crate::deliver::hosts;
use crate::deliver::manner::Manner;
use crate::route::{Target, Tls};
use crate::settings::Settings;
use mail::{Domain, TlsDemand};
use net::{DnsError, Security, Shell, Upgrade};
use serde::{Deserialize, Serialize};
use smtp::client::{Answer, Ask, Client, Config, Outcome};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use wire::Handler;

/// Most hosts of a domain that are looked at.
const HOSTS_MAX: usize = 10;

/// How good a step is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mark {
    /// As it should be.
    Good,
    /// Worth knowing.
    Note,
    /// Mail would wait or fail.
    Problem,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// What was looked at: a name, a host, an address.
    pub subject: String,
    /// How good it is.
    pub mark: Mark,
    /// In words.
    pub words: String,
}

/// What is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// Look at DANE.
    pub dane: bool,
    /// Look at MTA-STS.
    pub mta_sts: bool,
    /// Connect and make the handshake.
    pub connect: bool,
}

/// Explains.
pub struct Explainer<'a> {
    /// The world that deliveries use.
    pub world: &'a World,
    /// What the operator chose.
    pub settings: &'a Settings,
    /// What is wanted.
    pub wanted: Wanted,
}

impl Explainer<'_> {
    /// Looks at a domain and its mail exchangers.
    pub async fn domain(&self, domain: &Domain) -> Vec<Step> {
        let mut steps = Vec::new();
        let of_domain = self.inquiry().domain(domain).await;
        if self.wanted.mta_sts {
            sts_steps(domain, &of_domain, &mut steps);
        }
        let hosts = self.exchangers(domain, &of_domain, &mut steps);
        for host in hosts.into_iter().take(HOSTS_MAX) {
            self.host(&host, &of_domain, &mut steps).await;
        }
        steps
    }

    fn inquiry(&self) -> Inquiry<'_> {
        Inquiry { dns: self.world.dns.as_ref(), transport: &self.world.transport, settings: &self.settings.transport }
    }

    fn exchangers(&self, domain: &Domain, of_domain: &OfDomain, steps: &mut Vec<Step>) -> Vec<Domain> {
        let security = of_domain.mx.security;
        let found = match &of_domain.mx.found {
            Ok(records) => hosts::by_preference(records, |_| false, 0).map_err(|unroutable| unroutable.words(domain)),
            Err(DnsError::NoData) => Ok(vec![domain.clone()]),
            Err(error) => Err(format!("no mail exchanger: {error}")),
        };
        match found {
            Ok(hosts) => {
                let names: Vec<_> = hosts.iter().map(Domain::as_str).collect();
                let mark = if self.wanted.dane && security != Security::Secure { Mark::Note } else { Mark::Good };
                steps.push(step(domain, mark, format!("mail exchangers: {} (DNSSEC: {security})", names.join(", "))));
                hosts
            }
            Err(words) => {
                steps.push(step(domain, Mark::Problem, words));
                Vec::new()
            }
        }
    }

    async fn host(&self, host: &Domain, of_domain: &OfDomain, steps: &mut Vec<Step>) {
        let of_host = self.inquiry().host(host, self.settings.delivery.port).await;
        let addresses = match &of_host.addresses.found {
            Ok(found) => hosts::interleaved(found.addresses.clone()),
            Err(error) => return steps.push(step(host, Mark::Problem, format!("no address: {error}"))),
        };
        let shown: Vec<_> = addresses.iter().map(ToString::to_string).collect();
        steps.push(step(host, Mark::Good, format!("addresses: {} (DNSSEC: {})", shown.join(", "), of_host.addresses.security)));
        if self.wanted.dane {
            tlsa_steps(host, &of_host, steps);
        }
        match self.inquiry().decide(host, of_domain, &of_host, TlsDemand::ByPolicy) {
            Err(refused) => steps.push(step(host, Mark::Problem, format!("no mail: {}", refused.words))),
            Ok(decided) => {
                steps.push(step(host, Mark::Good, format!("to be used: {}; {}", decided.policy.words(), decided.because)));
                if self.wanted.connect {
                    self.connect(host, &addresses, decided, steps).await;
                }
            }
        }
    }

    /// Tries every address.
    async fn connect(&self, host: &Domain, addresses: &[IpAddr], decided: Decided, steps: &mut Vec<Step>) {
        let target = Target { host: host.clone(), port: self.settings.delivery.port };
        let manner = match Manner::of_policy(decided, &target, self.world.tls.as_ref()) {
            Ok(manner) => manner,
            Err(why) => return steps.push(step(host, Mark::Problem, why)),
        };
        for address in addresses.iter().take(self.settings.delivery.addresses_max) {
            let (mark, words) = match self.probe(*address, target.port, &manner).await {
                Ok(words) => words,
                Err(words) => (Mark::Problem, words),
            };
            steps.push(step(address, mark, words));
        }
    }

    async fn probe(&self, address: IpAddr, port: u16, manner: &Manner) -> Result<(Mark, String), String> {
        let timeout = self.settings.delivery.connect_timeout;
        let dialed = self.world.dial.connect(SocketAddr::new(address, port), None, timeout).await;
        let socket = dialed.map_err(|error| format!("no connection: {error}"))?;
        let mut config = Config::new(self.settings.hostname.as_str());
        config.tls_policy =
            if manner.tls == Tls::Required { smtp::client::TlsPolicy::Required } else { smtp::client::TlsPolicy::Opportunistic };
        let upgrade = match (&manner.client, manner.server_name()) {
            (Some(client), Some(name)) => Upgrade::Client(client.clone(), name),
            _ => Upgrade::None,
        };
        let probe = Probe::default();
        let client = Client::new(config, self.world.clock.now());
        let shell = Shell::new(Arc::clone(&self.world.clock));
        let ended = net::drive(Seen { client, probe: probe.clone() }, probe.clone(), socket, upgrade, shell).await;
        let state = probe.state();
        let tls = state.tls.as_ref().map(|tls| format!("{} {}", tls.version, tls.cipher));
        match (&state.failed, state.ready, ended) {
            (_, false, Err(net::DriveError::Handshake(error))) => Err(format!("no TLS: {}", net::tls::words(&error))),
            (Some(failed), ..) => Err(format!("{failed:?}")),
            (None, true, _) => Ok(match (tls, state.tls.as_ref().is_some_and(|tls| tls.verified)) {
                (Some(tls), true) => (Mark::Good, format!("{tls}, certificate {}", manner.verified_by())),
                (Some(tls), false) => (Mark::Note, format!("{tls}, certificate not verified, which is not asked for")),
                (None, _) => (Mark::Note, "no TLS is offered: clear text would be used".to_owned()),
            }),
            (None, false, Err(error)) => Err(error.to_string()),
            (None, false, Ok(_)) => Err("the server went away".to_owned()),
        }
    }
}

fn step(subject: &impl ToString, mark: Mark, words: String) -> Step {
    Step { subject: subject.to_string(), mark, words }
}

fn sts_steps(domain: &Domain, of_domain: &OfDomain, steps: &mut Vec<Step>) {
    steps.extend(of_domain.sts.steps.iter().map(|words| step(domain, Mark::Note, words.clone())));
    let (mark, words) = match &of_domain.sts.answer {
        StsAnswer::None => (Mark::Note, "no MTA-STS policy".to_owned()),
        StsAnswer::Unknown(fault) => (Mark::Problem, fault.to_string()),
        StsAnswer::Policy(policy) => {
            let patterns: Vec<_> = policy.mx.iter().map(ToString::to_string).collect();
            (Mark::Good, format!("MTA-STS policy, mode {}: {}", policy.mode.name(), patterns.join(", ")))
        }
    };
    steps.push(step(domain, mark, words));
}

fn tlsa_steps(host: &Domain, of_host: &OfHost, steps: &mut Vec<Step>) {
    let (mark, words) = match &of_host.tlsa {
        TlsaAnswer::Unasked => (Mark::Note, "TLSA records are not asked for: DNSSEC does not vouch for the address".to_owned()),
        TlsaAnswer::None => (Mark::Note, "no TLSA records that DNSSEC vouches for".to_owned()),
        TlsaAnswer::Failed(why) => (Mark::Problem, format!("TLSA records: {why}")),
        TlsaAnswer::Found(records, base) => {
            let shown: Vec<_> = records.iter().map(shown).collect();
            let usable = records.iter().any(net::tls::is_usable);
            (if usable { Mark::Good } else { Mark::Note }, format!("TLSA records at {base}: {}", shown.join(", ")))
        }
    };
    steps.push(step(host, mark, words));
}

fn shown(record: &net::Tlsa) -> String {
    let usable = if net::tls::is_usable(record) { "" } else { " (unusable)" };
    format!("{record}{usable}")
}

/// What was seen of a server. Clones are the same.
#[derive(Clone, Default)]
struct Probe(Arc<Mutex<ProbeState>>);

#[derive(Clone, Default)]
struct ProbeState {
    ready: bool,
    tls: Option<wire::Tls>,
    failed: Option<Outcome>,
}

impl Probe {
    fn state(&self) -> ProbeState {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn change(&self, change: impl FnOnce(&mut ProbeState)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// A client session whose TLS is noted.
struct Seen {
    client: Client,
    probe: Probe,
}

impl wire::Session for Seen {
    type Ask = Ask;
    type Answer = Answer;
    type Push = std::convert::Infallible;

    fn handle(&mut self, now: std::time::Instant, input: wire::Input<'_, Answer, Self::Push>) {
        if let wire::Input::TlsStarted(tls) = &input {
            self.probe.change(|state| state.tls = Some(tls.clone()));
        }
        self.client.handle(now, input);
    }

    fn poll(&mut self) -> wire::Output<Ask> {
        self.client.poll()
    }
}

impl Handler<Seen> for Probe {
    async fn answer(&mut self, ask: Ask) -> Answer {
        match ask {
            Ask::Next => {
                self.change(|state| state.ready = true);
                Answer::Quit
            }
            Ask::Failed(outcome) => {
                self.change(|state| state.failed = Some(outcome));
                Answer::Taken
            }
            Ask::Convert(_) | Ask::Body { .. } | Ask::Outcome(_) => Answer::Abort,
        }
    }
}

/// Whether a step says that mail would wait or fail.
pub fn has_problem(steps: &[Step]) -> bool {
    steps.iter().any(|step| step.mark == Mark::Problem)
}
