//! `postrider policy`

use super::Context;
use crate::admin::link::Link;
use crate::admin::policy::{Begin, Change, LAST_MAX, Look, Seen, Tried};
use crate::clock::now;
use crate::config::Span;
use crate::failure::{Failure, Result};
use crate::output::{Format, plural, print, whole};
use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use mail::Timestamp;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::io::IsTerminal;
use std::path::PathBuf;

/// What decides about mail.
#[derive(Debug, Subcommand)]
pub(super) enum Policy {
    /// Decide about the mail of the last days again under other settings, and show what would have gone elsewhere
    Try(Try),
}

#[derive(Debug, Args)]
pub(super) struct Try {
    /// A setting to try, such as `filter.junk_points=4` or `list.bl.example.points=2`; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// A settings file to try instead of the settings in use
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
    /// How far back
    #[arg(long, value_name = "SPAN", default_value = "7d", value_parser = some_time, conflicts_with = "last")]
    since: Span,
    /// So many of the latest messages instead
    #[arg(long, value_name = "MESSAGES", value_parser = clap::value_parser!(u64).range(1..=LAST_MAX as u64))]
    last: Option<u64>,
}

/// Everything that was seen, in JSON.
#[derive(Debug, Serialize)]
struct Outcome {
    messages: usize,
    decided: usize,
    unknown: BTreeMap<String, usize>,
    changes: Vec<Change>,
}

impl Policy {
    pub(super) fn run(self, context: &Context) -> Result<()> {
        let Self::Try(wanted) = self;
        let outcome = wanted.look(context)?;
        show(context, &outcome);
        Ok(())
    }
}

impl Try {
    /// What is to be tried: without a server the settings file's settings are those in use.
    fn tried(&self, context: &Context, link: &Link) -> Result<Tried> {
        let path = match (&self.settings, link) {
            (Some(path), _) => Some(path),
            (None, Link::Local(_)) => Some(&context.global.config),
            (None, Link::Remote { .. }) => None,
        };
        let read = |path: &PathBuf| {
            std::fs::read_to_string(path)
                .map_err(|error| Failure::usage(format!("cannot read the settings in {}: {error}", path.display())))
        };
        Ok(Tried { settings: path.map(read).transpose()?, set: self.set.clone() })
    }

    fn look(&self, context: &Context) -> Result<Outcome> {
        let link = context.link()?;
        let tried = self.tried(context, &link)?;
        let back = i64::try_from(self.since.0.as_millis()).unwrap_or(i64::MAX);
        let since = Timestamp(now().0.saturating_sub(back));
        let last = self.last.map(|last| usize::try_from(last).unwrap_or(LAST_MAX));
        let span = link.call(Begin { last, since, tried: tried.clone() })?;
        let bar = progress(context, span.messages);
        let mut outcome = Outcome { messages: 0, decided: 0, unknown: BTreeMap::new(), changes: Vec::new() };
        let mut after = Some(span.after);
        while let Some(from) = after {
            let seen = link.call(Look { after: from, until: span.until, tried: tried.clone() })?;
            after = seen.next;
            bar.inc(seen.messages as u64);
            outcome.add(seen);
        }
        bar.finish_and_clear();
        Ok(outcome)
    }
}

/// A span of time that is longer than none.
fn some_time(text: &str) -> std::result::Result<Span, String> {
    let span: Span = text.parse().map_err(|error: crate::config::NotASpan| error.to_string())?;
    if span.0.is_zero() { Err("expected a span of time longer than 0".to_owned()) } else { Ok(span) }
}

impl Outcome {
    fn add(&mut self, seen: Seen) {
        self.messages += seen.messages;
        self.decided += seen.decided;
        for (why, count) in seen.unknown {
            *self.unknown.entry(why).or_default() += count;
        }
        self.changes.extend(seen.changes);
    }
}

fn progress(context: &Context, messages: usize) -> ProgressBar {
    if context.printer.quiet || context.printer.format != Format::Table || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(messages as u64);
    let style = ProgressStyle::with_template("{bar:40} {pos} of {len} messages, {eta} left");
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn show(context: &Context, outcome: &Outcome) {
    if context.printer.format != Format::Table {
        return context.printer.one(outcome, &[]);
    }
    if !outcome.changes.is_empty() {
        let columns = [whole("receipt"), whole("at"), whole("was"), whole("would be")];
        context.printer.list_with_remarks(&outcome.changes, &columns, "why", |change| {
            let Change { receipt, at, from, account, was, would_be, why } = change.clone();
            let account = if account.is_empty() { "all".to_owned() } else { account };
            vec![receipt, at, was, would_be, format!("from <{from}> for {account}: {why}")]
        });
        print("");
    }
    let elsewhere: BTreeSet<&str> = outcome.changes.iter().map(|change| change.receipt.as_str()).collect();
    print(&format!(
        "{} would have gone elsewhere; {} of {} were decided again",
        plural(elsewhere.len() as u64, "message"),
        outcome.decided,
        plural(outcome.messages as u64, "message"),
    ));
    for (why, count) in &outcome.unknown {
        print(&format!("  {count} not: {why}"));
    }
}
