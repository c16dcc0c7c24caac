//! `postrider status`

use super::Context;
use crate::admin::link::Link;
use crate::admin::service;
use crate::failure::Result;
use crate::output::{Format, number, plural, print, whole};
use clap::Args;

#[derive(Debug, Args)]
pub(super) struct Status {}

impl Status {
    pub(super) fn run(context: &Context) -> Result<()> {
        let status = Link::to_server(&context.data()?)?.call(service::Status {})?;
        let running = &status.running;
        let lines = [
            ("server", format!("{}, Postrider {}, process {}", running.hostname, running.version, running.pid)),
            ("data", running.data.clone()),
            ("started", format!("{} ({})", running.started, super::queue::ago(&running.started))),
            (
                "holds",
                format!(
                    "{}, {}, {} in the queue",
                    plural(status.domains, "domain"),
                    plural(status.users, "user"),
                    plural(status.queued, "message")
                ),
            ),
        ];
        context.printer.one(&status, &lines);
        if context.printer.format == Format::Table {
            print("");
            let columns = [whole("listener"), whole("address"), number("connections"), number("since start")];
            context.printer.list(&running.listeners, &columns, |l| {
                vec![l.name.clone(), l.address.clone(), l.connections.to_string(), l.connections_total.to_string()]
            });
        }
        Ok(())
    }
}
