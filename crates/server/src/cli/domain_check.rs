//! `postrider domain check`

use super::Context;
use super::domain::policy_id;
use crate::admin::{dkim, domain};
use crate::config::{Config, Protocol};
use crate::domain_check::{Check, Finding, Key, State, Wanted};
use crate::failure::{Code, Failure, Result};
use crate::output::{Format, print, whole, words};
use mail::Domain;
use net::Clock as _;
use serde::Serialize;
use std::net::IpAddr;
use std::process::ExitCode;
use std::sync::Arc;

/// The answer in JSON.
#[derive(Debug, Serialize)]
struct CheckView {
    domain: String,
    ok: bool,
    records: Vec<Finding>,
}

pub(super) fn run(context: &Context, domain: &str) -> Result<ExitCode> {
    let keys = context.call(dkim::List { domain: Some(domain.to_owned()) })?;
    let keys = keys.iter().filter(|key| key.state != "retired").filter_map(|key| Key::read(&key.dns, key.state == "signing"));
    let has_postmaster = context.call(domain::Show { domain: domain.to_owned() })?.has_postmaster;
    let config = context.config()?;
    let wanted = Wanted { has_postmaster, ..wanted(&config, crate::admin::domain_name(domain)?, keys.collect())? };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.map_err(|error| Failure::failed("cannot start", error))?;
    let records = runtime.block_on(async {
        let clock: Arc<dyn net::Clock> = Arc::new(net::SystemClock);
        let world = crate::transport::world(&config, &clock, &store::Store::memory(), &mta::transport::tls_rpt::Results::default())?;
        Ok::<_, Failure>(Check { wanted: &wanted, dns: world.dns }.run().await)
    })?;
    let view = CheckView { domain: wanted.domain.to_string(), ok: !records.iter().any(|record| record.state.is_problem()), records };
    show(context, &view);
    Ok(ExitCode::from(if view.ok { 0 } else { Code::ProblemsFound.exit() }))
}

fn wanted(config: &Config, domain: Domain, keys: Vec<Key>) -> Result<Wanted> {
    let hostname = config.hostname.clone();
    let certificate = crate::wire_up::certificate(config)?.certificate;
    let settings = crate::mail_path::settings(config)?;
    let serves_policy = config.listener.iter().any(|listener| listener.protocol == Protocol::MtaSts);
    Ok(Wanted {
        domain,
        own_names: config.own_names.clone(),
        keys,
        sources: sources(&settings, &hostname),
        tlsa: net::tls::record_of_file(&certificate).ok(),
        policy_id: serves_policy.then(|| policy_id(&config.transport.own_policy(&hostname).to_string())),
        has_postmaster: false,
        discovery: settings.receive.authentication.inspection.discovery,
        now: net::SystemClock.wall(),
        hostname,
    })
}

/// Addresses that mail goes out from, as far as the settings name them.
fn sources(settings: &mta::Settings, hostname: &Domain) -> Vec<(IpAddr, Domain)> {
    let single =
        [settings.delivery.source_ipv4, settings.delivery.source_ipv6].into_iter().flatten().map(|address| (address, hostname.clone()));
    let named = settings.delivery.sources.iter().flat_map(|source| {
        let name = source.hostname.as_ref().unwrap_or(hostname);
        [source.ipv4, source.ipv6].into_iter().flatten().map(|address| (address, name.clone()))
    });
    single.chain(named).collect()
}

fn show(context: &Context, view: &CheckView) {
    if context.printer.format != Format::Table {
        return context.printer.one(view, &[]);
    }
    context.printer.list(&view.records, &[whole(""), whole("type"), whole("name"), words("finding")], |record| {
        let mark = match record.state {
            State::Good => "ok",
            State::Note => "note",
            State::Missing => "MISSING",
            State::Different => "DIFFERENT",
            State::Unknown => "UNKNOWN",
        };
        vec![mark.to_owned(), record.kind.to_owned(), record.name.clone(), record.words.clone()]
    });
    let lines: Vec<&str> =
        view.records.iter().filter(|record| record.state.is_problem()).filter_map(|record| record.publish.as_deref()).collect();
    if !lines.is_empty() {
        print("");
        print("To be published:");
        print(&lines.join("\n"));
    }
    print("");
    print(if view.ok {
        "DNS says what the mail of this domain needs."
    } else {
        "Mail suffers from what is MISSING, DIFFERENT or UNKNOWN."
    });
}
