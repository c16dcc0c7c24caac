//! `postrider suppression`

use super::Context;
use super::queue::ago;
use crate::admin::suppression::{self, SuppressionView};
use crate::config::Span;
use crate::failure::Result;
use crate::output::{number, plural, whole, words};
use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(super) enum Suppression {
    /// List addresses that get no mail, and why
    List {
        /// Only those that get none of this user
        #[arg(long, value_name = "ADDRESS")]
        user: Option<String>,
        /// Also addresses whose failures are only counted so far
        #[arg(long)]
        all: bool,
    },
    /// Send no more mail to an address
    Add {
        /// The address
        address: String,
        /// Only none of this user
        #[arg(long, value_name = "ADDRESS")]
        user: Option<String>,
        /// For how long, e.g. 90d; without it until it is removed
        #[arg(long = "for", value_name = "SPAN")]
        time: Option<Span>,
        /// Why; those who write to it are told
        #[arg(long, default_value = "an administrator wants no mail sent there")]
        reason: String,
    },
    /// Send mail to an address again
    Remove {
        /// The address
        address: String,
        /// Only that of this user
        #[arg(long, value_name = "ADDRESS")]
        user: Option<String>,
    },
}

impl Suppression {
    pub(super) fn run(self, context: &Context) -> Result<()> {
        match self {
            Self::List { user, all } => list(context, &context.call(suppression::List { user, all })?),
            Self::Add { address, user, time, reason } => {
                let seconds = time.map(|span| span.0.as_secs());
                let view = context.call(suppression::Add { address, user, seconds, reason })?;
                let did = context.did("suppressed", "suppress");
                context.printer.done(&view, &format!("{did} {} for {}", view.address, whose(&view)));
            }
            Self::Remove { address, user } => {
                let views = context.call(suppression::Remove { address: address.clone(), user })?;
                let did = context.did("removed", "remove");
                context.printer.done(&views, &format!("{did} {} of {address}", plural(views.len() as u64, "suppression")));
            }
        }
        Ok(())
    }
}

fn whose(view: &SuppressionView) -> String {
    view.user.clone().unwrap_or_else(|| "everybody's mail".to_owned())
}

fn list(context: &Context, views: &[SuppressionView]) {
    let columns = [whole("address"), whole("user"), number("failures"), whole("last"), whole("until"), words("why")];
    context.printer.list(views, &columns, |view| {
        let until = match (&view.until, view.suppressed) {
            (Some(until), _) => ago(until),
            (None, true) => "removed".to_owned(),
            (None, false) => "only counted".to_owned(),
        };
        let failures = if view.failures == 0 { String::new() } else { view.failures.to_string() };
        let user = view.user.clone().unwrap_or_else(|| "all".to_owned());
        vec![view.address.clone(), user, failures, ago(&view.last), until, view.reason.clone()]
    });
}
