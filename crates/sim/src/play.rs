//! Plays a scenario: makes its world, lets mail flow and things go wrong, and looks what came of it.
//!
//! ```text
//! scenario ─▶ stage (hosts, DNS, policies) ─▶ traffic ┐
//!                                             faults  ├─▶ time passes until all is quiet ─▶ outcome
//! ```
//!
//! Invariant: the same scenario with the same seed has the same outcome.

mod stage;
mod storm;

use crate::Chance;
use crate::host::Host;
use crate::outcome::{self, Outcome, Problem};
use crate::scenario::{Scenario, Traffic};
use crate::witness::Way;
use crate::world::World;
use mail::{Address, Domain, Terms};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use store::disk::sim::Fault as DiskFault;
use storm::Storm;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

/// How often it is looked whether all is quiet.
const LOOK_EVERY: Duration = Duration::from_mins(1);
/// How often it is looked whether a server has crashed.
const LOOK_FOR_CRASH_EVERY: Duration = Duration::from_millis(100);
/// When a program tries again whose message was refused for now.
const SUBMIT_AGAIN_AFTER: Duration = Duration::from_mins(1);
/// Octets of a line of text.
const LINE_OCTETS: usize = 72;

/// One run of a scenario.
#[derive(Debug, Clone, Default)]
pub struct Trial {
    /// The seed.
    pub seed: u64,
    /// The first connection to a host breaks here.
    pub cut: Option<CutAt>,
    /// A host crashes here.
    pub crash: Option<CrashAt>,
    /// Whether the outcome is to tell everything that happened.
    pub trace: bool,
}

/// Where a connection breaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CutAt {
    /// The first connection to this host.
    pub host: Domain,
    /// Which octets are counted.
    pub way: Way,
    /// After so many.
    pub octets: u64,
}

/// Where a server crashes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CrashAt {
    /// This one.
    pub host: Domain,
    /// At this one of its writes, counted from the first after its start.
    pub write: u64,
    /// What was not synced is kept, lost or torn; otherwise it is kept.
    pub power_cut: bool,
}

/// How long a server is down that crashes at a given write.
const CRASH_DOWN: Duration = Duration::from_secs(30);

/// Plays a scenario that has passed its check.
pub fn play(scenario: &Scenario, trial: &Trial) -> Outcome {
    crate::run(trial.seed, async |world| {
        let played = Played::of(scenario, trial, world).await;
        played.outcome(scenario, trial, world)
    })
}

/// How many octets go out and come back on the first connection to a host, if there is one.
pub fn octets(scenario: &Scenario, seed: u64, host: &Domain) -> Option<(u64, u64)> {
    crate::run(seed, async |world| {
        Played::of(scenario, &Trial { seed, ..Trial::default() }, world).await;
        let address = world.hosts().iter().find(|one| one.name() == host).map(Host::address)?;
        world.network().first_connection(address)
    })
}

/// One trial for each octet of the first connection to a host, each way.
pub fn every_octet(scenario: &Scenario, seed: u64, host: &Domain) -> Vec<Trial> {
    let Some((out, back)) = octets(scenario, seed, host) else { return Vec::new() };
    let ways = (0..=out).map(|octets| (Way::Out, octets)).chain((0..=back).map(|octets| (Way::Back, octets)));
    ways.map(|(way, octets)| Trial { seed, cut: Some(CutAt { host: host.clone(), way, octets }), ..Trial::default() }).collect()
}

/// One trial for each write of a host to its disk, at which it crashes: by a kill, and by a power cut.
pub fn every_write(scenario: &Scenario, seed: u64, host: &Domain) -> Vec<Trial> {
    let writes = crate::run(seed, async |world| {
        let played = Played::of(scenario, &Trial { seed, ..Trial::default() }, world).await;
        let host = world.hosts().into_iter().find(|one| one.name() == host)?;
        Some(host.disk().operations() - played.writes_before.get(host.name()).copied().unwrap_or_default())
    });
    let crashes = (1..=writes.unwrap_or_default()).flat_map(|write| [false, true].map(|power_cut| (write, power_cut)));
    let crash = |(write, power_cut)| Some(CrashAt { host: host.clone(), write, power_cut });
    crashes.map(|at| Trial { seed, crash: crash(at), ..Trial::default() }).collect()
}

/// Lets a server crash at a given write, and starts it again.
async fn crash(host: Host, at: CrashAt) {
    host.disk().fail_at(host.disk().operations() + at.write, DiskFault::PowerLoss);
    while !host.disk().is_off() {
        sleep(LOOK_FOR_CRASH_EVERY).await;
    }
    if at.power_cut {
        host.power_cut();
    } else {
        host.kill();
    }
    sleep(CRASH_DOWN).await;
    host.start();
}

/// What is known of a run beside what is in its world.
struct Played {
    quiet: bool,
    lasted: Duration,
    refused: u64,
    crashes: u64,
    /// What hosts had written to their disks before anything happened.
    writes_before: BTreeMap<Domain, u64>,
}

impl Played {
    async fn of(scenario: &Scenario, trial: &Trial, world: &World) -> Self {
        let began = Instant::now();
        stage::set(scenario, world);
        let writes_before = world.hosts().iter().map(|host| (host.name().clone(), host.disk().operations())).collect();
        if let Some(cut) = &trial.cut
            && let Some(host) = world.hosts().iter().find(|host| *host.name() == cut.host)
        {
            world.network().cut_next(host.address(), cut.way, cut.octets);
        }
        let refused = Arc::new(AtomicU64::new(0));
        let mut senders = JoinSet::new();
        for traffic in &scenario.traffic {
            if let Some(host) =
                world.hosts().into_iter().find(|host| scenario.host_of(&traffic.from).is_some_and(|plan| plan.name == *host.name()))
            {
                senders.spawn(send(host, traffic.clone(), world.chance().clone(), Arc::clone(&refused)));
            }
        }
        let storm = Storm::new(scenario, world);
        let mut faults: JoinSet<()> =
            scenario.fault.iter().enumerate().map(|(place, fault)| storm.clone().rage(place, fault.clone())).collect();
        if let Some(at) = &trial.crash
            && let Some(host) = world.hosts().into_iter().find(|host| *host.name() == at.host)
        {
            faults.spawn(crash(host, at.clone()));
        }
        let quiet = until_quiet(world, began + scenario.deadline.0, &mut senders, &mut faults).await;
        faults.shutdown().await;
        senders.shutdown().await;
        // Who has no power at the end gets it back: what is on its disk is to be looked at.
        world.hosts().iter().filter(|host| host.disk().is_off()).for_each(Host::kill);
        Self { quiet, lasted: began.elapsed(), refused: refused.load(Ordering::Relaxed), crashes: storm.crashes(), writes_before }
    }

    fn outcome(&self, scenario: &Scenario, trial: &Trial, world: &World) -> Outcome {
        let audit = world.audit();
        let (destinations, total) = outcome::rows(&audit);
        let mut problems = outcome::problems(&audit, &destinations, self.quiet, &scenario.expect);
        for host in world.hosts() {
            let damage = host.damage().into_iter();
            problems.extend(damage.map(|words| Problem::general("damage", format!("the store of {}: {words}", host.name()))));
        }
        Outcome {
            seed: trial.seed,
            ok: problems.is_empty(),
            quiet: self.quiet,
            lasted_seconds: self.lasted.as_secs(),
            connections: world.network().connections(),
            refused_submissions: self.refused,
            crashes: self.crashes,
            destinations,
            total,
            problems,
            trace: if trial.trace { world.trace().lines().map(str::to_owned).collect() } else { Vec::new() },
        }
    }
}

/// Lets time pass until everything is sent and every queue is empty; false: until the deadline.
async fn until_quiet(world: &World, deadline: Instant, senders: &mut JoinSet<()>, faults: &mut JoinSet<()>) -> bool {
    loop {
        world.pass(LOOK_EVERY.min(deadline - Instant::now())).await;
        while let Some(ended) = senders.try_join_next() {
            ended.expect("sending goes well");
        }
        while let Some(ended) = faults.try_join_next() {
            ended.expect("faults do what they do");
        }
        if senders.is_empty() && world.is_idle() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
    }
}

/// Sends what one account sends.
async fn send(host: Host, traffic: Traffic, chance: Chance, refused: Arc<AtomicU64>) {
    sleep(traffic.start.0).await;
    for _ in 0..traffic.messages {
        let to = drawn(&traffic.to, traffic.recipients, &chance);
        let [least, most] = traffic.octets;
        let text = text(u64::from(least) + chance.below(u64::from(most - least) + 1));
        submit(&host, &traffic.from, &to, &text, &refused).await;
        sleep(traffic.every.0).await;
    }
}

/// Sends one message, again and again while the server does not take it for now.
async fn submit(host: &Host, from: &Address, to: &[Address], text: &str, refused: &AtomicU64) {
    loop {
        if host.is_running() {
            match host.try_submit(from, to, text, Terms::default()).await {
                Ok(_) => return,
                Err(reply) => {
                    refused.fetch_add(1, Ordering::Relaxed);
                    if reply.code >= 500 {
                        return;
                    }
                }
            }
        }
        sleep(SUBMIT_AGAIN_AFTER).await;
    }
}

/// Some of many, in their order.
fn drawn(all: &[Address], count: usize, chance: &Chance) -> Vec<Address> {
    let mut left = all.to_vec();
    while left.len() > count {
        let place = usize::try_from(chance.below(left.len() as u64)).unwrap_or_default();
        left.remove(place);
    }
    left
}

fn text(octets: u64) -> String {
    let octets = usize::try_from(octets).unwrap_or_default();
    let line = format!("{}\r\n", "x".repeat(LINE_OCTETS - 2));
    let mut text = line.repeat(octets / LINE_OCTETS);
    text.push_str(&"x".repeat(octets % LINE_OCTETS));
    text
}
