//! `postrider trace`

use super::Context;
use crate::admin::trace::{self, TrailView};
use crate::failure::Result;
use crate::output::{Format, print, whole, words};
use clap::Args;

#[derive(Debug, Args)]
pub(super) struct Trace {
    /// The receipt that the 250 named, a queue id (the same), or a Message-ID
    #[arg(value_name = "RECEIPT|QUEUE-ID|MESSAGE-ID")]
    id: String,
}

impl Trace {
    pub(super) fn run(self, context: &Context) -> Result<()> {
        let trails = context.call(trace::Trace { id: self.id })?;
        match context.printer.format {
            Format::Table => trails.iter().enumerate().for_each(|(place, trail)| {
                if place > 0 {
                    print("");
                }
                show(context, trail);
            }),
            _ => context.printer.list(&trails, &[], |_| Vec::new()),
        }
        Ok(())
    }
}

fn show(context: &Context, trail: &TrailView) {
    let state = if trail.queued { ", still in the queue" } else { "" };
    print(&format!("receipt {}{state}", trail.receipt));
    context.printer.list(&trail.events, &[whole(""), words("")], |event| vec![event.at.clone(), event.words.clone()]);
}
