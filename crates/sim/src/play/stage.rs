//! Makes the world that a scenario describes, before anything happens in it.

use crate::certificates::Shown;
use crate::faults::Faults;
use crate::host::Host;
use crate::scenario::{DnsPlan, DomainPlan, Extension, HostPlan, Scenario, StsMode};
use crate::world::World;
use mail::Domain;
use mta::route::{Matching, Next, Pattern, Rule, Smarthost, Target, Tls};
use net::Security;
use smtp::server::Config;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

/// Makes hosts and what DNS and web servers say of them.
pub(super) fn set(scenario: &Scenario, world: &World) {
    for plan in &scenario.host {
        host(plan, world);
    }
    for (number, plan) in scenario.domain.iter().enumerate() {
        domain(plan, number, world);
    }
    policies(scenario, world);
}

fn host(plan: &HostPlan, world: &World) {
    let host = world.bare_host(plan.name.as_str(), |host| {
        plan.domains.iter().for_each(|domain| host.domain(domain.as_str()));
        host.settings(|settings| configure(settings, plan));
        host.offer(|offer| withhold(offer, plan));
    });
    for account in &plan.accounts {
        host.account(&account.to_string());
    }
    for domain in plan.domains.iter().chain(&plan.backup_for) {
        drop(world.dns().clone().with_mx(domain, plan.mx, Some(host.name())));
    }
    world.network().set_latency(host.address(), plan.latency.0);
    show(plan, &host, world);
}

fn configure(settings: &mut mta::Settings, plan: &HostPlan) {
    let queue = &mut settings.queue;
    if !plan.retry.is_empty() {
        queue.retry = plan.retry.iter().map(|span| span.0).collect();
    }
    queue.lifetime = plan.lifetime.map_or(queue.lifetime, |span| span.0);
    queue.warn_after = plan.delay_warning.map_or(queue.warn_after, |span| span.0);
    queue.connections_max = plan.connections_per_destination.unwrap_or(queue.connections_max);
    queue.connections_initial = queue.connections_initial.min(queue.connections_max);
    if plan.relay {
        settings.receive.relay_networks = vec!["10.0.0.0/8".parse().expect("a network")];
    }
    if !plan.backup_for.is_empty() {
        let domains = plan.backup_for.iter().cloned().map(Pattern::Exact).collect();
        settings.routes.push(Rule { matching: Matching::Recipients(domains), accept: true, next: Next::Mx });
    }
    if let Some(smarthost) = &plan.smarthost {
        let targets = vec![Target { host: smarthost.clone(), port: Target::PORT_DEFAULT }];
        let smarthost = Smarthost { targets, balanced: false, tls: Tls::Opportunistic, credentials: None };
        settings.routes.push(Rule { matching: Matching::Everything, accept: false, next: Next::Smarthost(Arc::new(smarthost)) });
    }
}

fn withhold(offer: &mut Config, plan: &HostPlan) {
    for extension in &plan.withholds {
        match extension {
            Extension::Chunking => offer.chunking = false,
            Extension::Smtputf8 => offer.smtputf8 = false,
            Extension::Dsn => offer.dsn = false,
            Extension::Requiretls => offer.requiretls = false,
            Extension::Limits => offer.limits_offered = false,
            Extension::MtPriority => offer.mt_priority = false,
            Extension::DeliverBy => offer.deliver_by = false,
        }
    }
    offer.limits.recipients_max = plan.recipients_max.unwrap_or(offer.limits.recipients_max);
}

/// Its certificate, and the record that names it.
fn show(plan: &HostPlan, host: &Host, world: &World) {
    if plan.tls == Shown::None {
        return;
    }
    let Some(record) = host.show(plan.tls).filter(|_| plan.dane) else { return };
    let named = Domain::parse(&format!("_25._tcp.{}", plan.name)).expect("a name");
    drop(world.dns().clone().with_tlsa(&named, record));
    for name in [&named, &plan.name].into_iter().chain(&plan.domains) {
        drop(world.dns().clone().with_security(name, Security::Secure));
    }
}

fn domain(plan: &DomainPlan, number: usize, world: &World) {
    let dns = world.dns();
    let exchanger = Domain::parse(&format!("mx.{}", plan.name)).unwrap_or_else(|_| plan.name.clone());
    let with_mx = || drop(dns.clone().with_mx(&plan.name, 10, Some(&exchanger)));
    // Hosts are in 10.0.0.0/24.
    let address = IpAddr::V4(Ipv4Addr::from_bits(0x0a01_0000 + u32::try_from(number).unwrap_or_default()));
    match plan.dns {
        DnsPlan::NullMx => drop(dns.clone().with_mx(&plan.name, 0, None)),
        DnsPlan::Missing => {}
        DnsPlan::Servfail => dns.fail(&plan.name, "SERVFAIL"),
        DnsPlan::Dangling => with_mx(),
        DnsPlan::BlackHole | DnsPlan::Refused => {
            with_mx();
            drop(dns.clone().with_address(&exchanger, address));
            let black_hole = if plan.dns == DnsPlan::BlackHole { 100 } else { 0 };
            world.network().set_faults(address, Faults { black_hole, ..Faults::NONE });
        }
    }
}

/// The MTA-STS policy of each domain names all its hosts that are said to have one.
fn policies(scenario: &Scenario, world: &World) {
    let mut policies: BTreeMap<&Domain, (StsMode, String)> = BTreeMap::new();
    for plan in &scenario.host {
        let Some(mode) = plan.mta_sts else { continue };
        for domain in plan.domains.iter().chain(&plan.backup_for) {
            let (_, hosts) = policies.entry(domain).or_insert_with(|| (mode, String::new()));
            let _ = write!(hosts, "mx: {}\r\n", plan.name);
        }
    }
    for (domain, (mode, hosts)) in policies {
        let mode = if mode == StsMode::Enforce { "enforce" } else { "testing" };
        let record = Domain::parse(&format!("_mta-sts.{domain}")).expect("a name");
        drop(world.dns().clone().with_txt(&record, "v=STSv1; id=1"));
        world.policies().set(domain.as_str(), Some(&format!("version: STSv1\r\nmode: {mode}\r\n{hosts}max_age: 604800\r\n")));
    }
}
