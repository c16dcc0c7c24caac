//! One connection to a destination: finds a host that answers, then hands over one message after
//! another.
//!
//! ```text
//! hosts ─▶ addresses ─▶ dial ─▶ drive(smtp::Client, Carrier) ─▶ used: done
//!    ▲          ▲         │            │ TLS failed and clear text is allowed: once more in clear
//!    └── next ◀─┴─ next ◀─┴────────────┘ not usable
//! none left: the destination could not be reached
//! ```
//!
//! What TLS must be with an MX host is asked before its addresses are tried (`transport`).
//!
//! Invariants
//! - No octet of a message is sent in clear text where DANE, MTA-STS, REQUIRETLS or a route forbid it.
//! - A job that is given to a connection is settled, given back, or (when the task is
//!   dropped) stays open in the store.

use super::carrier::{Carrier, Carry};
use super::hosts::{self, Unroutable};
use super::manner::Manner;
use crate::counters::Counters;
use crate::queue::board::{Exchangers, Job};
use crate::queue::outcome::{Attempt, Tried};
use crate::queue::post::Post;
use crate::route::{Destination, Smarthost, Target, Tls};
use crate::source::Source;
use crate::transport::policy::{Refused, StsAnswer};
use crate::transport::tls_rpt::{self, FailureKind};
use crate::transport::{Inquiry, OfDomain};
use mail::{Domain, EnhancedStatus, TlsDemand};
use net::tls::Fault;
use net::{DnsError, DriveError, Shell, Socket, Upgrade};
use smtp::client::{Class, Client, Config, TlsPolicy};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a TLS handshake from the first octet may take.
const HANDSHAKE_MAX: Duration = Duration::from_secs(30);

/// One task: a connection to a destination, from its first job to its end.
pub(crate) struct Connection {
    pub(crate) post: Arc<Post>,
    pub(crate) destination: Destination,
}

/// Why a host could not be used.
#[derive(Debug, Clone)]
pub(crate) struct Unusable {
    pub(crate) class: Class,
    pub(crate) status: EnhancedStatus,
    pub(crate) attempt: Attempt,
}

impl Unusable {
    fn ours(host: &str, address: Option<IpAddr>, status: (u8, u16, u16), words: String) -> Self {
        let attempt = Attempt { host: host.to_owned(), address, reply: words, ..Attempt::default() };
        let class = if status.0 == 5 { Class::Permanent } else { Class::Transient };
        Self { class, status: EnhancedStatus::new(status.0, status.1, status.2), attempt }
    }

    /// The same with the reason why there was no clear text, where TLS was the trouble.
    fn because(mut self, reason: Option<&str>) -> Self {
        if let Some(reason) = reason.filter(|_| self.status.subject == 7) {
            self.attempt.reply = format!("{}; nothing is sent in clear text: {reason}", self.attempt.reply);
        }
        self
    }
}

impl Connection {
    /// Works until there is nothing more to send or the connection ends.
    pub(crate) async fn run(self, first: Job) {
        let started = self.post.world.clock.now();
        let carry = Carry::new(Arc::clone(&self.post), self.destination.clone(), first, started);
        match self.targets().await {
            Err(unroutable) => self.unroutable(&carry, &unroutable).await,
            Ok(targets) if !self.may_go_on(&targets) => {
                if let Some(job) = carry.take_job() {
                    self.post.board.put_off(job);
                }
            }
            Ok(targets) => {
                if let Err(unusable) = self.work_through(targets, &carry).await {
                    self.nobody_answers(&carry, self.final_where_required(unusable)).await;
                }
            }
        }
    }

    /// Where no host gives the TLS that a message requires, another time will not help (RFC 8689 §4.2.1).
    fn final_where_required(&self, unusable: Unusable) -> Unusable {
        let of_tls = unusable.status.subject == 7 && matches!(unusable.status.detail, 5 | 10 | 30);
        if self.destination.demand() == TlsDemand::Required && of_tls {
            let status = EnhancedStatus { class: 5, ..unusable.status };
            return Unusable { class: Class::Permanent, status, ..unusable };
        }
        unusable
    }

    /// The hosts to try, in order.
    async fn targets(&self) -> Result<Targets, Unroutable> {
        let named = |hosts| Targets { hosts, of_domain: None };
        match &self.destination {
            Destination::Local => Ok(named(Vec::new())),
            Destination::Smarthost(smarthost, _) if smarthost.balanced => {
                Ok(named(hosts::shuffled(smarthost.targets.clone(), self.seed())))
            }
            Destination::Smarthost(smarthost, _) => Ok(named(smarthost.targets.clone())),
            Destination::Mx(domain, _) => self.exchangers(domain).await,
        }
    }

    /// Asks about the security of the way.
    fn inquiry(&self) -> Inquiry<'_> {
        let world = &self.post.world;
        Inquiry { dns: world.dns.as_ref(), transport: &world.transport, settings: &self.post.settings.transport }
    }

    async fn exchangers(&self, domain: &Domain) -> Result<Targets, Unroutable> {
        let settings = &self.post.settings;
        let target = |host: Domain| Target { host, port: settings.delivery.port };
        if domain.ip().is_some() {
            return Ok(Targets { hosts: vec![target(domain.clone())], of_domain: None });
        }
        let is_self = |host: &Domain| *host == settings.hostname || settings.delivery.own_names.contains(host);
        let of_domain = self.inquiry().domain(domain).await;
        let hosts = match of_domain.mx.found.clone() {
            Ok(records) => hosts::by_preference(&records, is_self, self.seed())?,
            Err(DnsError::NoData) if is_self(domain) => return Err(Unroutable::Loop),
            Err(DnsError::NoData) => vec![domain.clone()],
            Err(DnsError::NotFound) => return Err(Unroutable::NoSuchDomain),
            Err(DnsError::Temporary(why)) => return Err(Unroutable::Temporary(why)),
        };
        self.report_policy_fault(domain, &of_domain.sts.answer);
        let hosts = hosts.into_iter().take(settings.delivery.hosts_max).map(target).collect();
        Ok(Targets { hosts, of_domain: Some((domain.clone(), of_domain)) })
    }

    /// Whether their provider may have another connection; it is known only now who that is.
    fn may_go_on(&self, targets: &Targets) -> bool {
        let Destination::Mx(..) = &self.destination else { return true };
        let Some(exchangers) = targets.exchangers(&self.post.settings.queue) else { return true };
        self.post.board.learn(&self.destination, exchangers, self.post.world.clock.wall(), &self.post.settings.queue)
    }

    /// Changes with time, so that hosts of equal preference share the mail.
    fn seed(&self) -> u64 {
        self.post.settings.delivery.seed ^ self.post.world.clock.wall().0.unsigned_abs()
    }

    /// Tries one address after another until one was of use; the last failure if none was.
    async fn work_through(&self, targets: Targets, carry: &Carry) -> Result<(), Unusable> {
        let mut last = Unusable::ours("", None, (4, 4, 4), "there is no host to try".to_owned());
        let mut left = self.post.settings.delivery.addresses_max;
        let Targets { hosts, of_domain } = targets;
        for target in hosts {
            let (addresses, manner) = match self.prepare(&target, of_domain.as_ref()).await {
                Prepared::Ready(addresses, manner) => (hosts::interleaved(addresses), *manner),
                Prepared::NoAddress(error) => {
                    last = self.no_address(&target, &error, &last);
                    continue;
                }
                Prepared::Refused(refused) => {
                    let EnhancedStatus { class, subject, detail } = refused.status;
                    last = Unusable::ours(target.host.as_str(), None, (class, subject, detail), refused.words);
                    continue;
                }
            };
            for address in addresses {
                if left == 0 {
                    return Err(last);
                }
                left -= 1;
                match self.attempt(&target, address, &manner, carry).await {
                    Ok(()) => return Ok(()),
                    Err(unusable) => last = unusable,
                }
            }
        }
        Err(last)
    }

    /// Everything that is to be known before a host is connected to.
    async fn prepare(&self, target: &Target, of_domain: Option<&(Domain, OfDomain)>) -> Prepared {
        let (demand, clients) = (self.destination.demand(), self.post.world.tls.as_ref());
        let Some((domain, of_domain)) = of_domain else {
            let tls = match &self.destination {
                Destination::Smarthost(smarthost, _) => smarthost.tls,
                Destination::Mx(..) | Destination::Local => Tls::Opportunistic,
            };
            return match self.post.world.dns.addresses(&target.host).await {
                Ok(addresses) => Prepared::Ready(addresses, Box::new(Manner::of_route(tls, demand, target, clients))),
                Err(error) => Prepared::NoAddress(error),
            };
        };
        let inquiry = self.inquiry();
        let of_host = inquiry.host(&target.host, target.port).await;
        let addresses = match &of_host.addresses.found {
            Ok(found) => found.addresses.clone(),
            Err(error) => return Prepared::NoAddress(error.clone()),
        };
        match inquiry.decide(&target.host, of_domain, &of_host, demand) {
            Err(refused) => {
                self.report_refusal(domain, of_domain, target, &refused);
                Prepared::Refused(refused)
            }
            Ok(decided) => match Manner::of_policy(decided, target, clients) {
                Ok(manner) => Prepared::Ready(addresses, Box::new(manner.about(domain, &of_domain.sts.answer))),
                Err(why) => Prepared::NoAddress(DnsError::Temporary(why)),
            },
        }
    }

    /// A host without addresses is a failure for good only where the domain is to blame and no other
    /// host gave hope.
    fn no_address(&self, target: &Target, error: &DnsError, last: &Unusable) -> Unusable {
        let words = format!("{} has no address: {error}", target.host);
        let hopeless = !matches!(error, DnsError::Temporary(_)) && matches!(self.destination, Destination::Mx(..));
        let first = last.attempt.host.is_empty();
        match error {
            _ if !hopeless => Unusable::ours(target.host.as_str(), None, (4, 4, 3), words),
            _ if !first && last.class == Class::Transient => last.clone(),
            DnsError::NotFound => Unusable::ours(target.host.as_str(), None, (5, 1, 2), words),
            _ => Unusable::ours(target.host.as_str(), None, (5, 4, 4), words),
        }
    }

    /// One address; in clear once more if TLS was offered and failed, and clear text is allowed.
    async fn attempt(&self, target: &Target, address: IpAddr, manner: &Manner, carry: &Carry) -> Result<(), Unusable> {
        carry.begin(target, address, manner);
        let talked = self.talk(target, address, manner, carry).await;
        self.report_session(target, address, manner, carry, talked.as_ref().err());
        let talked = match talked {
            Err(Broken::Handshake(..)) if manner.falls_back() => {
                let manner = manner.in_clear();
                carry.begin(target, address, &manner);
                self.talk(target, address, &manner, carry).await
            }
            other => other,
        };
        talked.map_err(|broken| broken.unusable(target, address).because(manner.reason()))
    }

    async fn talk(&self, target: &Target, address: IpAddr, manner: &Manner, carry: &Carry) -> Result<(), Broken> {
        let socket = self.dial(address, target.port).await?;
        Counters::count(&self.post.counters.connections);
        let mut config = self.config(target, manner);
        let (socket, upgrade) = match manner.tls {
            Tls::Implicit => {
                let (socket, facts) = handshake(manner, socket).await?;
                config.tls = Some(facts);
                (socket, Upgrade::None)
            }
            _ => (socket, upgrade(manner)),
        };
        if matches!(upgrade, Upgrade::None) {
            config.tls_policy = if manner.tls == Tls::Required { TlsPolicy::Required } else { TlsPolicy::None };
        }
        let client = Client::new(config, self.post.world.clock.now());
        let carrier = Carrier::new(carry.clone());
        let ended = net::drive(client, carrier, socket, upgrade, Shell::new(Arc::clone(&self.post.world.clock))).await;
        match carry.ended(ended.as_ref().err().map(ToString::to_string)).await {
            Ok(()) => Ok(()),
            Err(unusable) => Err(match ended {
                Err(DriveError::Handshake(error)) => Broken::Handshake(net::tls::words(&error), net::tls::fault(&error)),
                Err(error @ DriveError::HandshakeTimeout) => Broken::Handshake(error.to_string(), Fault::Other),
                _ => Broken::Unusable(unusable),
            }),
        }
    }

    async fn dial(&self, address: IpAddr, port: u16) -> Result<Socket, Broken> {
        let delivery = &self.post.settings.delivery;
        let from = match self.source() {
            None if address.is_ipv4() => delivery.source_ipv4,
            None => delivery.source_ipv6,
            Some(source) => {
                let family = if address.is_ipv4() { "IPv4" } else { "IPv6" };
                let none = || Broken::Connect(format!("the source {} has no {family} address", source.name));
                Some(source.address(address).ok_or_else(none)?)
            }
        };
        let dialing = self.post.world.dial.connect(SocketAddr::new(address, port), from, delivery.connect_timeout);
        dialing.await.map_err(|error| Broken::Connect(error.to_string()))
    }

    fn config(&self, target: &Target, manner: &Manner) -> Config {
        let own = self.source().and_then(|source| source.hostname.as_ref()).unwrap_or(&self.post.settings.hostname);
        let mut config = Config::new(own.as_str());
        config.requiretls = manner.requiretls;
        config.tls_policy = match manner.tls {
            Tls::None | Tls::Implicit => TlsPolicy::None,
            Tls::Opportunistic => TlsPolicy::Opportunistic,
            Tls::Required => TlsPolicy::Required,
        };
        if let Destination::Smarthost(smarthost, _) = &self.destination {
            config.credentials = self.credentials(smarthost);
            config.nonce = (self.post.world.nonce)();
            config.password_in_clear = target.host.ip().is_some_and(|ip| ip.is_loopback());
        }
        config
    }

    /// From which of our addresses it goes, if that matters.
    fn source(&self) -> Option<&Source> {
        let name = self.destination.source()?;
        self.post.settings.delivery.sources.iter().find(|source| *source.name == *name)
    }

    fn credentials(&self, smarthost: &Smarthost) -> Option<wire::sasl::client::Credentials> {
        self.post.settings.delivery.credentials.get(smarthost.credentials.as_ref()?).cloned()
    }

    /// Counts how a session went, for the domain's TLS report.
    fn report_session(&self, target: &Target, address: IpAddr, manner: &Manner, carry: &Carry, broken: Option<&Broken>) {
        let (Some((domain, policy)), Some(decided)) = (&manner.about, &manner.decided) else { return };
        let kind = match (broken, carry.tls_seen()) {
            (Some(Broken::Handshake(_, fault)), _) => Some(FailureKind::of_handshake(*fault)),
            (Some(Broken::Unusable(unusable)), _) if unusable.status.detail == 10 => Some(FailureKind::STARTTLS),
            (Some(Broken::Connect(_) | Broken::Unusable(_)), _) => return,
            (None, None) => Some(FailureKind::STARTTLS),
            (None, Some(false)) if decided.testing => Some(FailureKind::VALIDATION),
            (None, Some(_)) => None,
        };
        let words = match broken {
            Some(Broken::Handshake(words, _)) => words.as_str(),
            _ => "",
        };
        let failure = kind.map(|kind| tls_rpt::failure(kind, Some(&target.host), Some(address), words));
        self.post.world.transport.results.count(self.post.world.clock.wall(), domain, policy.clone(), failure);
    }

    /// Counts a host that was refused.
    fn report_refusal(&self, domain: &Domain, of_domain: &OfDomain, target: &Target, refused: &Refused) {
        let Some(kind) = FailureKind::of_refusal(refused.fault) else { return };
        let policy = tls_rpt::describe(domain, &of_domain.sts.answer, None);
        let failure = tls_rpt::failure(kind, Some(&target.host), None, &refused.words);
        self.post.world.transport.results.count(self.post.world.clock.wall(), domain, policy, Some(failure));
    }

    /// Counts a policy that could not be had.
    fn report_policy_fault(&self, domain: &Domain, sts: &StsAnswer) {
        let StsAnswer::Unknown(fault) = sts else { return };
        let policy = tls_rpt::describe(domain, sts, None);
        let failure = tls_rpt::failure(FailureKind::of_policy(fault), None, None, &fault.to_string());
        self.post.world.transport.results.count(self.post.world.clock.wall(), domain, policy, Some(failure));
    }

    async fn unroutable(&self, carry: &Carry, unroutable: &Unroutable) {
        let words = match &self.destination {
            Destination::Mx(domain, _) => unroutable.words(domain),
            other => other.to_string(),
        };
        let status = unroutable.status();
        let status = (status.class, status.subject, status.detail);
        self.nobody_answers(carry, Unusable::ours("", None, status, words)).await;
    }

    /// No host could be used. If others are at work there, one of them may take the job; if not, all
    /// that waits has failed with it.
    async fn nobody_answers(&self, carry: &Carry, unusable: Unusable) {
        let now = self.post.world.clock.wall();
        let Some(job) = carry.take_job() else { return };
        let jobs = if unusable.class == Class::Permanent {
            [job].into_iter().chain(self.post.board.give_up(&self.destination)).collect()
        } else {
            self.post.board.unreachable(job, &unusable.attempt.reply, now, &self.post.settings.queue)
        };
        for job in jobs {
            let direct = self.destination.is_direct();
            let tried = job.recipients.iter().map(|index| tried(*index, &unusable, direct)).collect();
            self.post.settle(&job, tried, None).await;
        }
    }
}

fn tried(index: usize, unusable: &Unusable, direct: bool) -> Tried {
    let Unusable { class, status, attempt } = unusable.clone();
    Tried { index, class, status, direct, peer_reports: false, peer_is_timely: false, attempt }
}

fn upgrade(manner: &Manner) -> Upgrade {
    match (&manner.client, manner.server_name()) {
        (Some(client), Some(name)) => Upgrade::Client(client.clone(), name),
        _ => Upgrade::None,
    }
}

async fn handshake(manner: &Manner, socket: Socket) -> Result<(Socket, wire::Tls), Broken> {
    let failed = |words: &str| Broken::Handshake(words.to_owned(), Fault::Other);
    let client = manner.client.as_ref().ok_or_else(|| failed("TLS is required, but not set up here"))?;
    let name = manner.server_name().ok_or_else(|| failed("the host has no name that TLS could check"))?;
    let shaking = tokio::time::timeout(HANDSHAKE_MAX, client.connect(name, socket)).await;
    let shaken = shaking.map_err(|_| failed("the TLS handshake took too long"))?;
    shaken.map_err(|error| Broken::Handshake(net::tls::words(&error), net::tls::fault(&error)))
}

/// The hosts of a destination, and what is known of the domain they serve.
struct Targets {
    hosts: Vec<Target>,
    of_domain: Option<(Domain, OfDomain)>,
}

impl Targets {
    /// The mail exchangers that mail goes to first; none of a route.
    fn exchangers(&self, settings: &crate::settings::Queue) -> Option<Exchangers> {
        let records = self.of_domain.as_ref().and_then(|(_, of_domain)| of_domain.mx.found.as_ref().ok());
        let best = records.and_then(|records| records.iter().map(|record| record.preference).min());
        let first = records.into_iter().flatten().filter(|record| Some(record.preference) == best);
        let mut hosts: Vec<Domain> = first.filter_map(|record| record.host.clone()).collect();
        hosts.sort();
        hosts.dedup();
        let named = hosts.first().or(self.hosts.first().map(|target| &target.host))?;
        let provider = settings.provider_of(named).0;
        Some(Exchangers { provider, hosts: if hosts.is_empty() { vec![named.clone()] } else { hosts } })
    }
}

/// What there is to know before a host is connected to.
enum Prepared {
    Ready(Vec<IpAddr>, Box<Manner>),
    NoAddress(DnsError),
    Refused(Refused),
}

/// How far an attempt at one address came before it failed.
enum Broken {
    Connect(String),
    Handshake(String, Fault),
    Unusable(Unusable),
}

impl Broken {
    fn unusable(self, target: &Target, address: IpAddr) -> Unusable {
        let host = target.host.as_str();
        match self {
            Self::Connect(words) => Unusable::ours(host, Some(address), (4, 4, 1), format!("no connection to {host}: {words}")),
            Self::Handshake(words, _) => Unusable::ours(host, Some(address), (4, 7, 5), format!("no TLS with {host}: {words}")),
            Self::Unusable(unusable) => unusable,
        }
    }
}

/// How long since `started`, milliseconds.
pub(crate) fn millis_since(started: Instant, now: Instant) -> u64 {
    u64::try_from(now.saturating_duration_since(started).as_millis()).unwrap_or(u64::MAX)
}
