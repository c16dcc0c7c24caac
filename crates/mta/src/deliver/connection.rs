//! One connection to a destination: finds a host that answers, then hands over one message after
//! another.
//!
//! ```text
//! hosts ─▶ addresses ─▶ dial ─▶ drive(smtp::Client, Carrier) ─▶ used: done
//!    ▲          ▲         │            │ TLS failed, TLS not required: once more in clear
//!    └── next ◀─┴─ next ◀─┴────────────┘ not usable
//! none left: the destination could not be reached
//! ```
//!
//! Invariant: a job that is given to a connection is settled, given back, or (when the task is
//! dropped) stays open in the store.

use super::carrier::{Carrier, Carry};
use super::hosts::{self, Unroutable};
use crate::counters::Counters;
use crate::queue::board::Job;
use crate::queue::outcome::{Attempt, Tried};
use crate::queue::post::Post;
use crate::route::{Destination, Smarthost, Target, Tls};
use mail::{Domain, EnhancedStatus};
use net::{DnsError, DriveError, Shell, Socket, Upgrade};
use rustls_pki_types::ServerName;
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
}

impl Connection {
    /// Works until there is nothing more to send or the connection ends.
    pub(crate) async fn run(self, first: Job) {
        let started = self.post.world.clock.now();
        let carry = Carry::new(Arc::clone(&self.post), self.destination.clone(), first, started);
        match self.targets().await {
            Err(unroutable) => self.unroutable(&carry, &unroutable).await,
            Ok(targets) => {
                if let Err(unusable) = self.work_through(targets, &carry).await {
                    self.nobody_answers(&carry, unusable).await;
                }
            }
        }
    }

    /// The hosts to try, in order.
    async fn targets(&self) -> Result<Vec<Target>, Unroutable> {
        match &self.destination {
            Destination::Local => Ok(Vec::new()),
            Destination::Smarthost(smarthost) if smarthost.balanced => Ok(hosts::shuffled(smarthost.targets.clone(), self.seed())),
            Destination::Smarthost(smarthost) => Ok(smarthost.targets.clone()),
            Destination::Mx(domain) => self.exchangers(domain).await,
        }
    }

    async fn exchangers(&self, domain: &Domain) -> Result<Vec<Target>, Unroutable> {
        let settings = &self.post.settings;
        let target = |host: Domain| Target { host, port: settings.delivery.port };
        if domain.ip().is_some() {
            return Ok(vec![target(domain.clone())]);
        }
        let is_self = |host: &Domain| *host == settings.hostname || settings.delivery.own_names.contains(host);
        let hosts = match self.post.world.dns.mx(domain).await {
            Ok(records) => hosts::by_preference(&records, is_self, self.seed())?,
            Err(DnsError::NoData) if is_self(domain) => return Err(Unroutable::Loop),
            Err(DnsError::NoData) => vec![domain.clone()],
            Err(DnsError::NotFound) => return Err(Unroutable::NoSuchDomain),
            Err(DnsError::Temporary(why)) => return Err(Unroutable::Temporary(why)),
        };
        Ok(hosts.into_iter().take(settings.delivery.hosts_max).map(target).collect())
    }

    /// Changes with time, so that hosts of equal preference share the mail.
    fn seed(&self) -> u64 {
        self.post.settings.delivery.seed ^ self.post.world.clock.wall().0.unsigned_abs()
    }

    /// Tries one address after another until one was of use; the last failure if none was.
    async fn work_through(&self, targets: Vec<Target>, carry: &Carry) -> Result<(), Unusable> {
        let mut last = Unusable::ours("", None, (4, 4, 4), "there is no host to try".to_owned());
        let mut left = self.post.settings.delivery.addresses_max;
        for target in targets {
            let addresses = match self.post.world.dns.addresses(&target.host).await {
                Ok(addresses) => hosts::interleaved(addresses),
                Err(error) => {
                    last = self.no_address(&target, &error, &last);
                    continue;
                }
            };
            for address in addresses {
                if left == 0 {
                    return Err(last);
                }
                left -= 1;
                match self.attempt(&target, address, carry).await {
                    Ok(()) => return Ok(()),
                    Err(unusable) => last = unusable,
                }
            }
        }
        Err(last)
    }

    /// A host without addresses is a failure for good only where the domain is to blame and no other
    /// host gave hope.
    fn no_address(&self, target: &Target, error: &DnsError, last: &Unusable) -> Unusable {
        let words = format!("{} has no address: {error}", target.host);
        let hopeless = !matches!(error, DnsError::Temporary(_)) && matches!(self.destination, Destination::Mx(_));
        let first = last.attempt.host.is_empty();
        match error {
            _ if !hopeless => Unusable::ours(target.host.as_str(), None, (4, 4, 3), words),
            _ if !first && last.class == Class::Transient => last.clone(),
            DnsError::NotFound => Unusable::ours(target.host.as_str(), None, (5, 1, 2), words),
            _ => Unusable::ours(target.host.as_str(), None, (5, 4, 4), words),
        }
    }

    /// One address; in clear once more if TLS was offered, not required and failed.
    async fn attempt(&self, target: &Target, address: IpAddr, carry: &Carry) -> Result<(), Unusable> {
        let tls = self.tls();
        carry.begin(target, address);
        match self.talk(target, address, tls, carry).await {
            Err(Broken::Handshake(_)) if tls == Tls::Opportunistic => {
                carry.begin(target, address);
                self.talk(target, address, Tls::None, carry).await.map_err(|broken| broken.unusable(target, address))
            }
            other => other.map_err(|broken| broken.unusable(target, address)),
        }
    }

    fn tls(&self) -> Tls {
        match &self.destination {
            Destination::Smarthost(smarthost) => smarthost.tls,
            Destination::Mx(_) | Destination::Local => Tls::Opportunistic,
        }
    }

    async fn talk(&self, target: &Target, address: IpAddr, tls: Tls, carry: &Carry) -> Result<(), Broken> {
        let socket = self.dial(address, target.port).await?;
        Counters::count(&self.post.counters.connections);
        let mut config = self.config(target, tls);
        let (socket, upgrade) = match tls {
            Tls::Implicit => {
                let (socket, facts) = self.handshake(target, socket).await?;
                config.tls = Some(facts);
                (socket, Upgrade::None)
            }
            _ => (socket, self.upgrade(target, tls)),
        };
        if matches!(upgrade, Upgrade::None) {
            config.tls_policy = if tls == Tls::Required { TlsPolicy::Required } else { TlsPolicy::None };
        }
        let client = Client::new(config, self.post.world.clock.now());
        let carrier = Carrier::new(carry.clone());
        let ended = net::drive(client, carrier, socket, upgrade, Shell::new(Arc::clone(&self.post.world.clock))).await;
        match carry.ended(ended.as_ref().err().map(ToString::to_string)).await {
            Ok(()) => Ok(()),
            Err(_) if is_handshake(&ended) => Err(Broken::Handshake(ended.err().map(|error| error.to_string()).unwrap_or_default())),
            Err(unusable) => Err(Broken::Unusable(unusable)),
        }
    }

    async fn dial(&self, address: IpAddr, port: u16) -> Result<Socket, Broken> {
        let delivery = &self.post.settings.delivery;
        let from = if address.is_ipv4() { delivery.source_ipv4 } else { delivery.source_ipv6 };
        let dialing = self.post.world.dial.connect(SocketAddr::new(address, port), from, delivery.connect_timeout);
        dialing.await.map_err(|error| Broken::Connect(error.to_string()))
    }

    fn config(&self, target: &Target, tls: Tls) -> Config {
        let mut config = Config::new(self.post.settings.hostname.as_str());
        config.tls_policy = match tls {
            Tls::None | Tls::Implicit => TlsPolicy::None,
            Tls::Opportunistic => TlsPolicy::Opportunistic,
            Tls::Required => TlsPolicy::Required,
        };
        if let Destination::Smarthost(smarthost) = &self.destination {
            config.credentials = self.credentials(smarthost);
            config.nonce = (self.post.world.nonce)();
            config.password_in_clear = target.host.ip().is_some_and(|ip| ip.is_loopback());
        }
        config
    }

    fn credentials(&self, smarthost: &Smarthost) -> Option<wire::sasl::client::Credentials> {
        self.post.settings.delivery.credentials.get(smarthost.credentials.as_ref()?).cloned()
    }

    fn upgrade(&self, target: &Target, tls: Tls) -> Upgrade {
        match (&self.post.world.tls, server_name(&target.host), tls) {
            (Some(clients), Some(name), Tls::Opportunistic) => Upgrade::Client(clients.opportunistic.clone(), name),
            (Some(clients), Some(name), Tls::Required) => Upgrade::Client(clients.verified.clone(), name),
            _ => Upgrade::None,
        }
    }

    async fn handshake(&self, target: &Target, socket: Socket) -> Result<(Socket, wire::Tls), Broken> {
        let failed = |words: &str| Broken::Handshake(words.to_owned());
        let clients = self.post.world.tls.as_ref().ok_or_else(|| failed("TLS is required, but not set up here"))?;
        let name = server_name(&target.host).ok_or_else(|| failed("the host has no name that TLS could check"))?;
        let shaking = tokio::time::timeout(HANDSHAKE_MAX, clients.verified.connect(name, socket)).await;
        let shaken = shaking.map_err(|_| failed("the TLS handshake took too long"))?;
        shaken.map_err(|error| Broken::Handshake(error.to_string()))
    }

    async fn unroutable(&self, carry: &Carry, unroutable: &Unroutable) {
        let words = match &self.destination {
            Destination::Mx(domain) => unroutable.words(domain),
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
            self.post.board.unreachable(&self.destination, job, now, &self.post.settings.queue)
        };
        for job in jobs {
            let tried = job.recipients.iter().map(|index| tried(*index, &unusable)).collect();
            self.post.settle(&job, tried, None).await;
        }
    }
}

fn tried(index: usize, unusable: &Unusable) -> Tried {
    let Unusable { class, status, attempt } = unusable.clone();
    Tried { index, class, status, peer_reports: false, attempt }
}

fn is_handshake<T>(ended: &Result<T, DriveError>) -> bool {
    matches!(ended, Err(DriveError::Handshake(_) | DriveError::HandshakeTimeout))
}

fn server_name(host: &Domain) -> Option<ServerName<'static>> {
    match host.ip() {
        Some(ip) => Some(ServerName::IpAddress(ip.into())),
        None => ServerName::try_from(host.as_str().to_owned()).ok(),
    }
}

/// How far an attempt at one address came before it failed.
enum Broken {
    Connect(String),
    Handshake(String),
    Unusable(Unusable),
}

impl Broken {
    fn unusable(self, target: &Target, address: IpAddr) -> Unusable {
        let host = target.host.as_str();
        match self {
            Self::Connect(words) => Unusable::ours(host, Some(address), (4, 4, 1), format!("no connection to {host}: {words}")),
            Self::Handshake(words) => Unusable::ours(host, Some(address), (4, 7, 5), format!("no TLS with {host}: {words}")),
            Self::Unusable(unusable) => unusable,
        }
    }
}

/// How long since `started`, milliseconds.
pub(crate) fn millis_since(started: Instant, now: Instant) -> u64 {
    u64::try_from(now.saturating_duration_since(started).as_millis()).unwrap_or(u64::MAX)
}
