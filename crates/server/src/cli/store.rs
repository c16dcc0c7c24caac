//! `postrider store`

use super::Context;
use crate::admin::store::{self as operation, CheckView};
use crate::failure::{Code, Result};
use crate::output::{Format, plural, size, whole, words};
use clap::Subcommand;
use std::process::ExitCode;

#[derive(Debug, Subcommand)]
pub(super) enum StoreCommand {
    /// Verify everything; exit code 4 if something is wrong
    Check {
        /// Leave out reading every message
        #[arg(long)]
        quick: bool,
    },
}

impl StoreCommand {
    pub(super) fn run(self, context: &Context) -> Result<ExitCode> {
        match self {
            Self::Check { quick } => check(context, quick),
        }
    }
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
