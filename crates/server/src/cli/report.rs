//! `postrider report`

use super::Context;
use crate::admin::dmarc_report::{self, DomainView};
use crate::admin::tls_report::{self, TlsReportView};
use crate::failure::{Failure, Result};
use crate::output::{Format, number, print, whole, words};
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// What other servers report.
#[derive(Debug, Subcommand)]
pub(super) enum Report {
    /// TLS reports about our domains (RFC 8460), as they came in
    Tls(Tls),
    /// DMARC reports about our domains (RFC 9990): who sends in their name, and whether a stricter policy is safe
    Dmarc(Dmarc),
    /// Reports of single messages that failed DMARC (RFC 6591)
    Failures(Failures),
}

#[derive(Debug, Args)]
pub(super) struct Dmarc {
    /// Only about this domain
    #[arg(long)]
    domain: Option<String>,
    /// How many days back
    #[arg(long, default_value_t = 30)]
    days: u32,
    /// Read these reports (XML, also compressed) instead of those that came in
    files: Vec<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct Failures {
    /// How many days back
    #[arg(long, default_value_t = 30)]
    days: u32,
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
        match self {
            Self::Tls(tls) => tls.run(context),
            Self::Dmarc(dmarc) => dmarc.run(context),
            Self::Failures(failures) => failures.run(context),
        }
    }
}

impl Dmarc {
    fn run(self, context: &Context) -> Result<()> {
        let views = if self.files.is_empty() {
            context.call(dmarc_report::Summary { domain: self.domain, days: self.days })?
        } else {
            dmarc_report::summary(self.files.iter().map(read_dmarc).collect::<Result<Vec<_>>>()?)
        };
        match context.printer.format {
            Format::Table if !views.is_empty() => views.iter().for_each(|view| show(context, view)),
            _ => context.printer.list(&views, &[], |_| Vec::new()),
        }
        Ok(())
    }
}

fn read_dmarc(path: &PathBuf) -> Result<mailauth::dmarc::aggregate::Report> {
    let octets = std::fs::read(path).map_err(|error| Failure::failed(&format!("cannot read {}", path.display()), error))?;
    mta::transport::dmarc_report::read(&octets).map_err(|why| Failure::usage(format!("{}: {why}", path.display())))
}

fn show(context: &Context, view: &DomainView) {
    let DomainView { domain, policy, reports, messages, passed_percent, advice, .. } = view;
    print(&format!("{domain}: p={policy}, {messages} messages in {reports} reports, {passed_percent:.1} % pass"));
    print(&format!("  {advice}"));
    let columns = [whole("source"), number("messages"), number("pass"), number("signed"), number("SPF"), number("stopped"), words("as")];
    context.printer.list(&view.sources, &columns, |source| {
        let counts = [source.messages, source.passed, source.dkim, source.spf, source.stopped];
        let counts = counts.iter().map(ToString::to_string);
        std::iter::once(source.source.clone()).chain(counts).chain([source.names.join(", ")]).collect()
    });
}

impl Failures {
    fn run(self, context: &Context) -> Result<()> {
        let views = context.call(dmarc_report::Failures { days: self.days })?;
        let columns = [whole("at"), whole("domain"), words("kind"), whole("source"), words("from"), words("subject"), words("reporter")];
        context.printer.list(&views, &columns, |view| {
            let one = &view.failure;
            [&view.at, &one.domain, &one.kind, &one.source, &one.author, &one.subject, &one.reporter].map(Clone::clone).to_vec()
        });
        Ok(())
    }
}

impl Tls {
    fn run(self, context: &Context) -> Result<()> {
        let tls = self;
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
