//! `postrider policy`

use super::Context;
use crate::admin::policy::{Begin, Change, LAST_MAX, Look, Seen};
use crate::clock::now;
use crate::config::{Config, Span};
use crate::failure::{Failure, Result};
use crate::output::{Format, print, whole, words};
use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use mail::Timestamp;
use mta::explain::Policy as Tried;
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

/// What decides about mail.
#[derive(Debug, Subcommand)]
pub(super) enum Policy {
    /// Decide about the mail of the last days again under other settings, and show what would have gone elsewhere
    Try(Try),
}

#[derive(Debug, Args)]
pub(super) struct Try {
    /// A setting to try, such as `filter.junk_points=4`; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Settings to try, instead of those in use
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
    /// How far back
    #[arg(long, value_name = "SPAN", default_value = "7d", conflicts_with = "last")]
    since: Span,
    /// So many of the latest messages instead
    #[arg(long, value_name = "MESSAGES")]
    last: Option<usize>,
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
        let policy = wanted.policy(context)?;
        let outcome = wanted.look(context, policy)?;
        show(context, &outcome);
        Ok(())
    }
}

impl Try {
    /// The settings in use with those that are to be tried.
    fn policy(&self, context: &Context) -> Result<Tried> {
        let path = self.settings.as_deref().unwrap_or(&context.global.config);
        let text = std::fs::read_to_string(path).map_err(|error| Failure::failed(&format!("cannot read {}", path.display()), error))?;
        let config = with(path, &text, &self.set)?;
        Ok(Tried::of(&crate::mail_path::settings(&config)?))
    }

    fn look(&self, context: &Context, policy: Tried) -> Result<Outcome> {
        let link = context.link()?;
        let back = i64::try_from(self.since.0.as_millis()).unwrap_or(i64::MAX);
        let since = Timestamp(now().0.saturating_sub(back));
        let span = link.call(Begin { last: self.last.map(|last| last.min(LAST_MAX)), since })?;
        let bar = progress(context, span.messages);
        let mut outcome = Outcome { messages: 0, decided: 0, unknown: BTreeMap::new(), changes: Vec::new() };
        let mut after = Some(span.after);
        while let Some(from) = after {
            let seen = link.call(Look { after: from, until: span.until, policy })?;
            after = seen.next;
            bar.inc(seen.messages as u64);
            outcome.add(seen);
        }
        bar.finish_and_clear();
        Ok(outcome)
    }
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

/// A config with some keys set otherwise.
fn with(path: &Path, text: &str, set: &[String]) -> Result<Config> {
    let mut table: toml::Table = toml::from_str(text).map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?;
    for pair in set {
        let (key, value) = pair.split_once('=').ok_or_else(|| Failure::usage(format!("{pair:?} is no KEY=VALUE")))?;
        put(&mut table, key.trim(), value.trim())?;
    }
    let text = toml::to_string(&table).map_err(|error| Failure::failed("the settings", error))?;
    Ok(Config::parse(path, &text)?)
}

fn put(table: &mut toml::Table, key: &str, value: &str) -> Result<()> {
    let Some((group, rest)) = key.split_once('.') else {
        table.insert(key.to_owned(), read(value));
        return Ok(());
    };
    let inner = table.entry(group).or_insert_with(|| toml::Value::Table(toml::Table::new()));
    let inner = inner.as_table_mut().ok_or_else(|| Failure::usage(format!("{group} has no keys below it")))?;
    put(inner, rest, value)
}

/// As a settings file would have it; what is neither a number nor true or false needs no quotes.
fn read(value: &str) -> toml::Value {
    let one = toml::from_str::<toml::Table>(&format!("v = {value}")).ok().and_then(|mut table| table.remove("v"));
    one.unwrap_or_else(|| toml::Value::String(value.to_owned()))
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
        let columns = [whole("receipt"), whole("at"), words("from"), words("for"), whole("was"), whole("would be"), words("why")];
        context.printer.list(&outcome.changes, &columns, |change| {
            let Change { receipt, at, from, account, was, would_be, why } = change.clone();
            vec![receipt, at, from, account, was, would_be, why]
        });
    }
    print(&format!(
        "{} of {} messages would have gone elsewhere, {} were decided again",
        outcome.changes.len(),
        outcome.messages,
        outcome.decided
    ));
    for (why, count) in &outcome.unknown {
        print(&format!("  {count} not: {why}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_set_in_the_words_of_the_config() {
        let set = |pairs: &[&str]| {
            let pairs: Vec<String> = pairs.iter().map(|pair| (*pair).to_owned()).collect();
            with(Path::new("p"), "hostname = \"h.example\"\n[filter]\njunk_points = 6\n", &pairs)
        };
        let config = set(&["filter.junk_points=4", "authentication.dmarc=junk", "authentication.check=false"]).unwrap();
        assert_eq!(
            (config.filter.junk_points, config.authentication.dmarc, config.authentication.check),
            (4, crate::config::Dmarc::Junk, false)
        );
        assert_eq!(set(&[]).unwrap().filter.junk_points, 6);
        assert!(set(&["filter.no_such_key=1"]).is_err() && set(&["hostname.x=1"]).is_err() && set(&["filter"]).is_err());
    }
}
