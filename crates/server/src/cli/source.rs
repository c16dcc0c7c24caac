//! `postrider source`

use super::Context;
use crate::admin::source;
use crate::failure::Result;
use crate::output::{number, whole, words};
use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(super) enum Source {
    /// List the addresses that mail goes out from, and what those that warm up have sent today
    List,
}

impl Source {
    pub(super) fn run(self, context: &Context) -> Result<()> {
        let Self::List = self;
        let columns = [whole("source"), words("addresses"), whole("name"), number("a domain a day"), words("sent today")];
        context.printer.list(&context.call(source::List {})?, &columns, |view| {
            let allowance = view.allowance.map_or_else(|| "any".to_owned(), |most| most.to_string());
            let sent: Vec<String> = view.sent.iter().map(|sent| format!("{} {}", sent.domain, sent.recipients)).collect();
            vec![view.name.clone(), view.addresses.join(", "), view.hostname.clone().unwrap_or_default(), allowance, sent.join(", ")]
        });
        Ok(())
    }
}
