//! The world of a simulation: its hosts, its network, its time.

use crate::audit::Audit;
use crate::chance::Chance;
use crate::faults::Faults;
use crate::host::{Host, Surroundings, shown};
use crate::network::Network;
use crate::policies::Policies;
use mail::{Domain, Timestamp};
use net::{FakeDns, VirtualClock};
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// When every simulation begins: 2026-01-01T00:00:00Z.
const BEGINNING: Timestamp = Timestamp::from_seconds(1_767_225_600);
/// How often [`World::settle`] looks.
const LOOK_EVERY: Duration = Duration::from_mins(1);
/// After this time [`World::settle`] gives up: longer than any queue's lifetime.
const SETTLE_MAX: Duration = Duration::from_hours(10 * 24);

/// A world. Dropping it ends its hosts.
pub struct World {
    around: Surroundings,
    hosts: Mutex<Vec<Host>>,
}

impl World {
    /// An empty world. Call it inside a runtime with paused time, or use [`crate::run`].
    pub fn new(seed: u64) -> Self {
        let chance = Chance::new(seed);
        let network = Network::new(chance.clone());
        let around = Surroundings {
            network,
            dns: FakeDns::new(),
            policies: Policies::default(),
            clock: VirtualClock::starting_at(BEGINNING),
            chance,
        };
        Self { around, hosts: Mutex::default() }
    }

    /// A server of this name that serves a domain: it listens, and DNS names it as the domain's mail
    /// exchanger.
    pub fn host(&self, name: &str, domain: &str) -> Host {
        let host = self.host_with(name, domain, |_| {});
        let (name, domain) = (host.name().clone(), Domain::parse(domain).unwrap());
        drop(self.around.dns.clone().with_mx(&domain, 10, Some(&name)));
        host
    }

    /// A with ann and B with bob: mx.a.example and mx.b.example.
    pub fn two_hosts(&self) -> (Host, Host) {
        let a = self.host("mx.a.example", "a.example");
        let b = self.host("mx.b.example", "b.example");
        a.account("ann@a.example");
        b.account("bob@b.example");
        (a, b)
    }

    /// A host with settings of its own, and without an MX record.
    pub fn host_with(&self, name: &str, domain: &str, change: impl FnOnce(&mut mta::Settings)) -> Host {
        self.bare_host(name, |host| {
            host.domain(domain);
            host.settings(change);
        })
    }

    /// A host that is known to DNS by its address only; `prepare` is called before it starts.
    pub fn bare_host(&self, name: &str, prepare: impl FnOnce(&Host)) -> Host {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        let number = u8::try_from(hosts.len() + 1).expect("at most 255 hosts");
        let address = IpAddr::V4(Ipv4Addr::new(10, 0, 0, number));
        let host = Host::new(Domain::parse(name).unwrap(), address, self.around.clone());
        drop(self.around.dns.clone().with_address(host.name(), address));
        prepare(&host);
        host.start();
        hosts.push(host.clone());
        host
    }

    /// Its hosts, in the order in which they were made.
    pub fn hosts(&self) -> Vec<Host> {
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn address_of(&self, name: &str) -> IpAddr {
        self.hosts().iter().find(|host| host.name().as_str() == name).expect("a host of this name").address()
    }

    /// The DNS that all hosts ask.
    pub fn dns(&self) -> &FakeDns {
        &self.around.dns
    }

    /// The MTA-STS policies that web servers have.
    pub fn policies(&self) -> &Policies {
        &self.around.policies
    }

    /// The network between the hosts.
    pub fn network(&self) -> &Network {
        &self.around.network
    }

    /// Chance from the seed, for scenarios.
    pub fn chance(&self) -> &Chance {
        &self.around.chance
    }

    /// The time of day.
    pub fn now(&self) -> Timestamp {
        net::Clock::wall(&self.around.clock)
    }

    /// Nobody reaches the host for a while.
    pub fn down(&self, name: &str, time: Duration) {
        self.around.network.down(self.address_of(name), time);
    }

    /// What goes wrong with connections to the host from now on.
    pub fn faults(&self, name: &str, faults: Faults) {
        self.around.network.set_faults(self.address_of(name), faults);
    }

    /// Lets time pass.
    pub async fn pass(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }

    /// Lets time pass until every queue is empty.
    pub async fn settle(&self) {
        let deadline = tokio::time::Instant::now() + SETTLE_MAX;
        while !self.is_idle() {
            assert!(tokio::time::Instant::now() < deadline, "the queues do not become empty\n{}", self.trace());
            self.pass(LOOK_EVERY).await;
        }
    }

    /// Whether every queue is empty.
    pub fn is_idle(&self) -> bool {
        self.hosts().iter().all(Host::is_idle)
    }

    /// Everything that happened, host by host, as text: the same for the same seed.
    pub fn trace(&self) -> String {
        let mut out = String::new();
        for host in self.hosts() {
            for (receipt, entries) in host.trails() {
                for entry in entries {
                    let _ = writeln!(out, "{} {receipt} {} {:?}", host.name(), shown(entry.at), entry.event);
                }
            }
        }
        out
    }

    /// What became of everything that was sent.
    pub fn audit(&self) -> Audit {
        Audit::of(&self.hosts(), self.around.network.witness())
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.hosts().iter().for_each(Host::kill);
    }
}
