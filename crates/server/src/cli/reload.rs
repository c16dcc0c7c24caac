//! `postrider reload`

use super::Context;
use crate::admin::link::Link;
use crate::admin::service;
use crate::failure::Result;
use clap::Args;

#[derive(Debug, Args)]
pub(super) struct Reload {}

impl Reload {
    pub(super) fn run(context: &Context) -> Result<()> {
        let done = Link::to_server(&context.data()?)?.call(service::Reload {})?;
        context.printer.done(&done, "the server has read its config and certificates; new connections use them");
        for key in &done.need_restart {
            context.printer.warn(&format!("{key} has changed: that needs a restart"));
        }
        Ok(())
    }
}
