//! `postrider report`

use super::Context;
use crate::admin::tls_report::{self, TlsReportView};
use crate::failure::{Failure, Result};
use crate::output::{number, whole, words};
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// What other servers report.
#[derive(Debug, Subcommand)]
pub(super) enum Report {
    /// TLS reports about our domains (RFC 8460), as they came in
    Tls(Tls),
}

#[derive(Debug, Args)]
pub(super) struct Tls {
    /// Only about this domain
    #[arg(long)]
    domain: Option<String>,
    /// How many days back
    #[arg(long, default_value_t = 30)]
    days: u32,
    /// Read these reports (JSON, also compressed) instead of those that came in
    files: Vec<PathBuf>,
}

impl Report {
    pub(super) fn run(self, context: &Context) -> Result<()> {
        let Self::Tls(tls) = self;
        let views = if tls.files.is_empty() {
            context.call(tls_report::List { domain: tls.domain, days: tls.days })?
        } else {
            tls.files.iter().map(read).collect::<Result<Vec<_>>>()?.into_iter().flatten().collect()
        };
        let columns =
            [whole("domain"), whole("from"), words("reporter"), whole("policy"), number("well"), number("failed"), words("failures")];
        context.printer.list(&views, &columns, |view| {
            vec![
                view.domain.clone(),
                view.from.get(..10).unwrap_or_default().to_owned(),
                view.reporter.clone(),
                view.policy.clone(),
                view.well.to_string(),
                view.failed.to_string(),
                view.failures.join(", "),
            ]
        });
        Ok(())
    }
}

fn read(path: &PathBuf) -> Result<Vec<TlsReportView>> {
    let octets = std::fs::read(path).map_err(|error| Failure::failed(&format!("cannot read {}", path.display()), error))?;
    let report = mta::transport::tls_rpt::Report::read(&octets).map_err(|why| Failure::usage(format!("{}: {why}", path.display())))?;
    Ok(tls_report::views(&report))
}
