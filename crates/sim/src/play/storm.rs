//! What goes wrong in a scenario, when its time has come.
//!
//! Faults of the network at one host add up; of two faults of one domain's DNS, or of one disk, the later one holds.

use crate::faults::Faults;
use crate::host::Host;
use crate::scenario::{Fault, FaultKind, Scenario, Span};
use crate::world::World;
use crate::{Chance, Network};
use mail::Domain;
use net::{FakeDns, Mx, Security};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use store::disk::sim::Fault as DiskFault;
use tokio::time::{Instant, sleep, sleep_until};

/// A crash or an error strikes one of so many next operations of the disk.
const OPERATIONS_MAX: u64 = 40;
/// How often it is looked whether it has.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// A server that writes nothing for so long is killed all the same.
const CRASH_WAIT_MAX: Duration = Duration::from_mins(5);
/// How long a server is down that crashes, if nothing is said.
const DOWN: Duration = Duration::from_secs(30);

/// What goes wrong. Clones are the same.
#[derive(Clone)]
pub(super) struct Storm(Arc<Inner>);

struct Inner {
    hosts: BTreeMap<Domain, Host>,
    network: Network,
    dns: FakeDns,
    chance: Chance,
    /// Names that DNSSEC vouches for while nothing is wrong.
    signed: BTreeSet<Domain>,
    /// What is wrong with the network now, by the fault's place in the file.
    weather: Mutex<BTreeMap<usize, (IpAddr, Faults)>>,
    crashes: AtomicU64,
}

/// What is to be done when a fault is over.
enum Undo {
    Nothing,
    Weather,
    Certificate(Host, Option<Arc<rustls::ServerConfig>>),
    Answers(Domain),
    Security(Domain),
    Records(Domain, Vec<Mx>),
    Disk(Host),
}

impl Storm {
    pub(super) fn new(scenario: &Scenario, world: &World) -> Self {
        let signed = scenario.host.iter().filter(|host| host.dane).flat_map(|host| host.domains.iter().cloned());
        let inner = Inner {
            hosts: world.hosts().into_iter().map(|host| (host.name().clone(), host)).collect(),
            network: world.network().clone(),
            dns: world.dns().clone(),
            chance: world.chance().clone(),
            signed: signed.collect(),
            weather: Mutex::default(),
            crashes: AtomicU64::new(0),
        };
        Self(Arc::new(inner))
    }

    /// How often a server crashed.
    pub(super) fn crashes(&self) -> u64 {
        self.0.crashes.load(Ordering::Relaxed)
    }

    /// One fault, from its first moment to its last.
    pub(super) async fn rage(self, place: usize, fault: Fault) {
        let began = Instant::now();
        let until = fault.until.map(|until| began + until.0);
        sleep(fault.from.0).await;
        loop {
            let at = Instant::now();
            self.once(place, &fault, until).await;
            let Some(Span(every)) = fault.every else { return };
            sleep_until(at + every).await;
            if until.is_some_and(|until| Instant::now() >= until) {
                return;
            }
        }
    }

    async fn once(&self, place: usize, fault: &Fault, until: Option<Instant>) {
        if fault.kind.needs().strikes {
            return self.strike(fault).await;
        }
        let undo = self.begin(place, fault);
        let end = fault.lasting.map(|lasting| Instant::now() + lasting.0);
        match [end, until].into_iter().flatten().min() {
            Some(end) => sleep_until(end).await,
            None => std::future::pending().await,
        }
        self.end(place, undo);
    }

    fn host(&self, fault: &Fault) -> Option<&Host> {
        self.0.hosts.get(fault.host.as_ref()?)
    }

    fn begin(&self, place: usize, fault: &Fault) -> Undo {
        if let Some(domain) = &fault.domain {
            return self.begin_dns(domain, fault);
        }
        let Some(host) = self.host(fault) else { return Undo::Nothing };
        match fault.kind {
            FaultKind::Certificate => {
                let before = host.shows();
                host.show(fault.tls.unwrap_or_default());
                Undo::Certificate(host.clone(), before)
            }
            FaultKind::DiskFull => {
                host.disk().fail_at(host.disk().operations() + 1, DiskFault::Full);
                host.disk_fails(true);
                Undo::Disk(host.clone())
            }
            _ => {
                self.weather(place, Some((host.address(), of_network(fault))));
                Undo::Weather
            }
        }
    }

    fn begin_dns(&self, domain: &Domain, fault: &Fault) -> Undo {
        let dns = &self.0.dns;
        let record = |preference, host| vec![Mx { preference, host }];
        match fault.kind {
            FaultKind::Servfail => {
                dns.fail(domain, "SERVFAIL");
                Undo::Answers(domain.clone())
            }
            FaultKind::Bogus => {
                drop(dns.clone().with_security(domain, Security::Bogus));
                Undo::Security(domain.clone())
            }
            FaultKind::NullMx => Undo::Records(domain.clone(), dns.replace_mx(domain, record(0, None))),
            FaultKind::LyingMx => Undo::Records(domain.clone(), dns.replace_mx(domain, record(10, fault.to.clone()))),
            _ => Undo::Nothing,
        }
    }

    fn end(&self, place: usize, undo: Undo) {
        match undo {
            Undo::Nothing => {}
            Undo::Weather => self.weather(place, None),
            Undo::Certificate(host, before) => host.show_again(before),
            Undo::Answers(domain) => self.0.dns.recover(&domain),
            Undo::Security(domain) => {
                let security = if self.0.signed.contains(&domain) { Security::Secure } else { Security::Insecure };
                drop(self.0.dns.clone().with_security(&domain, security));
            }
            Undo::Records(domain, before) => drop(self.0.dns.replace_mx(&domain, before)),
            Undo::Disk(host) => {
                host.disk().heal();
                host.disk_fails(false);
            }
        }
    }

    /// Changes what one fault does to the network; what others do to the same host stays.
    fn weather(&self, place: usize, change: Option<(IpAddr, Faults)>) {
        let mut weather = self.0.weather.lock().unwrap_or_else(PoisonError::into_inner);
        let before = weather.remove(&place);
        let Some((address, _)) = change.or(before) else { return };
        weather.extend(change.map(|change| (place, change)));
        let all = weather.values().filter(|(at, _)| *at == address).fold(Faults::NONE, |sum, (_, faults)| sum.and(*faults));
        self.0.network.set_faults(address, all);
    }

    /// What happens in a moment.
    async fn strike(&self, fault: &Fault) {
        let Some(host) = self.host(fault) else { return };
        let operation = host.disk().operations() + 1 + self.0.chance.below(OPERATIONS_MAX);
        if fault.kind == FaultKind::DiskError {
            return host.disk().fail_at(operation, DiskFault::Error);
        }
        host.disk().fail_at(operation, DiskFault::PowerLoss);
        let patience = Instant::now() + CRASH_WAIT_MAX;
        while !host.disk().is_off() && Instant::now() < patience {
            sleep(LOOK_EVERY).await;
        }
        self.0.crashes.fetch_add(1, Ordering::Relaxed);
        match fault.kind {
            FaultKind::PowerCut => host.power_cut(),
            _ => host.kill(),
        }
        sleep(fault.lasting.map_or(DOWN, |lasting| lasting.0)).await;
        host.start();
    }
}

/// A fault of the network at one host.
fn of_network(fault: &Fault) -> Faults {
    let percent = fault.percent.unwrap_or(100);
    let millis = fault.delay.unwrap_or_default().millis();
    let none = Faults::NONE;
    match fault.kind {
        FaultKind::Refuse => Faults { refuse: percent, ..none },
        FaultKind::BlackHole => Faults { black_hole: percent, ..none },
        FaultKind::Busy => Faults { busy: percent, ..none },
        FaultKind::DeferRecipients => Faults { defer_recipient: percent, ..none },
        FaultKind::DeferMessages => Faults { defer_message: percent, ..none },
        FaultKind::RefuseMessages => Faults { refuse_message: percent, ..none },
        FaultKind::CutSending => Faults { cut_sending: percent, ..none },
        FaultKind::CutReceiving => Faults { cut_receiving: percent, ..none },
        FaultKind::Tarpit => Faults { tarpit_millis: millis, ..none },
        FaultKind::Slow => Faults { slow_millis: millis, ..none },
        FaultKind::LateReply => Faults { late_millis: millis, ..none },
        _ => none,
    }
}
