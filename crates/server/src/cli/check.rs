//! `postrider check`

use super::Context;
use super::check_dnsbl::Dnsbl;
use crate::failure::{Code, Failure, Result};
use crate::output::{Format, print, whole, words};
use clap::{Args, Subcommand};
use mta::transport::explain::{Explainer, Mark, Step, Wanted, has_problem};
use mta::transport::tls_rpt::Results;
use serde::Serialize;
use std::process::ExitCode;
use std::sync::Arc;

/// What a delivery would do, without delivering anything; and whether block lists work.
#[derive(Debug, Subcommand)]
pub(super) enum Check {
    /// Mail exchangers, DNSSEC, TLSA records, and whether the servers fit them
    Dane(Domain),
    /// The MTA-STS policy, and whether mail exchangers and certificates keep it
    MtaSts(Domain),
    /// Everything, with a connection to each mail exchanger
    Smtp(Domain),
    /// Whether block and allow lists work, whether their resolver is a public one, and what they say
    Dnsbl(Dnsbl),
}

#[derive(Debug, Args)]
pub(super) struct Domain {
    /// The domain (what stands behind the @) or a mail exchanger
    #[arg(value_name = "HOST")]
    host: String,
    /// Do not connect to the mail exchangers
    #[arg(long)]
    no_connect: bool,
}

/// The answer in JSON.
#[derive(Debug, Serialize)]
struct CheckView {
    domain: String,
    ok: bool,
    steps: Vec<Step>,
}

impl Check {
    pub(super) fn run(self, context: &Context) -> Result<ExitCode> {
        let (domain, dane, mta_sts) = match self {
            Self::Dane(domain) => (domain, true, false),
            Self::MtaSts(domain) => (domain, false, true),
            Self::Smtp(domain) => (domain, true, true),
            Self::Dnsbl(lists) => return check_lists(context, &lists),
        };
        let steps = steps(context, &domain, Wanted { dane, mta_sts, connect: !domain.no_connect })?;
        let ok = !has_problem(&steps);
        let verdict = if ok { "Mail would be delivered so." } else { "Mail would wait or fail where it says PROBLEM." };
        show(context, &CheckView { domain: domain.host, ok, steps }, verdict);
        Ok(ExitCode::from(if ok { 0 } else { Code::ProblemsFound.exit() }))
    }
}

fn check_lists(context: &Context, lists: &Dnsbl) -> Result<ExitCode> {
    let config = context.config()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.map_err(|error| Failure::failed("cannot start", error))?;
    let steps = runtime.block_on(async {
        let clock: Arc<dyn net::Clock> = Arc::new(net::SystemClock);
        let world = crate::transport::world(&config, &clock, &store::Store::memory(), &Results::default())?;
        lists.steps(&config, &world.dns).await
    })?;
    let ok = !has_problem(&steps);
    let verdict = if ok { "The lists can be relied upon." } else { "What says PROBLEM counts for nothing, or will soon." };
    show(context, &CheckView { domain: lists.subject(), ok, steps }, verdict);
    Ok(ExitCode::from(if ok { 0 } else { Code::ProblemsFound.exit() }))
}

fn steps(context: &Context, domain: &Domain, wanted: Wanted) -> Result<Vec<Step>> {
    let config = context.config()?;
    let mut settings = crate::mail_path::settings(&config)?;
    settings.transport.mta_sts &= wanted.mta_sts || wanted.dane && wanted.connect;
    let name = crate::admin::domain_name(&domain.host)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.map_err(|error| Failure::failed("cannot start", error))?;
    runtime.block_on(async {
        // Policies are asked for anew: a store of its own, in memory.
        let clock: Arc<dyn net::Clock> = Arc::new(net::SystemClock);
        let world = crate::transport::world(&config, &clock, &store::Store::memory(), &Results::default())?;
        Ok(Explainer { world: &world, settings: &settings, wanted }.domain(&name).await)
    })
}

fn show(context: &Context, view: &CheckView, verdict: &str) {
    if context.printer.format != Format::Table {
        return context.printer.one(view, &[]);
    }
    context.printer.list(&view.steps, &[whole(""), whole("what"), words("finding")], |step| {
        let mark = match step.mark {
            Mark::Good => "ok",
            Mark::Note => "note",
            Mark::Problem => "PROBLEM",
        };
        vec![mark.to_owned(), step.subject.clone(), step.words.clone()]
    });
    print("");
    print(verdict);
}
