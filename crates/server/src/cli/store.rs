//! `postrider store`

use super::Context;
use crate::admin::store::{self as operation, CheckView, ReindexView, StatsView};
use crate::failure::{Code, Failure, Result};
use crate::output::{Format, plural, size, whole, words};
use clap::Subcommand;
use indicatif::{ProgressBar, ProgressStyle};
use std::process::ExitCode;

#[derive(Debug, Subcommand)]
pub(super) enum StoreCommand {
    /// Verify everything; exit code 4 if something is wrong
    Check {
        /// Leave out reading every message
        #[arg(long)]
        quick: bool,
    },
    /// Show how large the store is and what it did since it was opened
    Stats,
    /// Make the full-text index of all mail anew, while the server runs
    Reindex,
    /// Make the index anew from the mail log; no server may be running
    RebuildIndex {
        /// Leave out damaged records of the log; copy the data directory first
        #[arg(long)]
        salvage: bool,
    },
}

impl StoreCommand {
    pub(super) fn run(self, context: &Context) -> Result<ExitCode> {
        match self {
            Self::Check { quick } => return check(context, quick),
            Self::Stats => stats(context, &context.call(operation::Stats {})?),
            Self::Reindex => reindex(context)?,
            Self::RebuildIndex { salvage } => rebuild_index(context, salvage)?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn reindex(context: &Context) -> Result<()> {
    if context.global.dry_run {
        return Err(Failure::usage("reindex cannot be tried without doing it"));
    }
    let bar = ProgressBar::no_length().with_style(
        ProgressStyle::with_template("{bar:40} {pos} of {len} messages, {eta} left").unwrap_or_else(|_| ProgressStyle::default_bar()),
    );
    let mut all = context.call(operation::Reindex { from: None })?;
    while all.next.is_some() {
        bar.set_length(all.total);
        bar.set_position(all.emails);
        let more = context.call(operation::Reindex { from: all.next })?;
        all = ReindexView { emails: all.emails + more.emails, changed: all.changed + more.changed, ..more };
    }
    bar.finish_and_clear();
    let sentence = format!("looked at {}, {} of them had no right index", plural(all.emails, "message"), all.changed);
    context.printer.done(&all, &sentence);
    Ok(())
}

fn rebuild_index(context: &Context, salvage: bool) -> Result<()> {
    if context.global.dry_run {
        return Err(Failure::usage("rebuild-index cannot be tried without doing it"));
    }
    let view = operation::rebuild_index(&context.data()?, salvage)?;
    context.printer.done(&view, &format!("made the index anew from {} of log", size(view.log_octets)));
    Ok(())
}

fn stats(context: &Context, view: &StatsView) {
    let dead = view.log_octets.saturating_sub(view.live_octets);
    let lines = [
        (
            "log",
            format!(
                "{} in {}, {} of it mail that is there, {} to be reclaimed or metadata",
                size(view.log_octets),
                plural(view.segments, "segment"),
                size(view.live_octets),
                size(dead)
            ),
        ),
        ("index", size(view.index_octets)),
        ("commits", format!("{} in {}, {} written", view.commits, plural(view.syncs, "sync"), size(view.written_octets))),
        ("sync time", format!("{} µs on average", view.sync_micros / view.syncs.max(1))),
        ("reads", view.reads.to_string()),
        ("reclaimed", format!("{} moved", size(view.moved_octets))),
        ("disk", if view.full { "full: new mail is refused" } else { "has room" }.to_owned()),
    ];
    context.printer.one(view, &lines);
}

fn check(context: &Context, quick: bool) -> Result<ExitCode> {
    let view = context.call(operation::Check { quick })?;
    match context.printer.format {
        Format::Table => show(context, &view),
        _ => context.printer.one(&view, &[]),
    }
    Ok(if view.clean { ExitCode::SUCCESS } else { ExitCode::from(Code::ProblemsFound.exit()) })
}

fn show(context: &Context, view: &CheckView) {
    if !view.problems.is_empty() {
        context.printer.list(&view.problems, &[whole("where"), words("problem")], |p| vec![p.place.clone(), p.problem.clone()]);
    }
    let looked = &view.checked;
    let what = [
        plural(looked.accounts, "account"),
        plural(looked.mailboxes, "mailbox"),
        plural(looked.messages, "message"),
        plural(looked.queued, "queued message"),
        plural(looked.trails, "trail"),
        plural(looked.blobs, "body"),
    ];
    let read = if looked.octets_hashed > 0 { format!(", {} read and compared", size(looked.octets_hashed)) } else { String::new() };
    let problems = view.problems.len() as u64 + view.more_problems;
    let verdict = if view.clean { "everything is right".to_owned() } else { plural(problems, "problem") };
    context.printer.say(&format!("checked {}{read}: {verdict}", what.join(", ")));
}
