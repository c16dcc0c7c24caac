//! `postrider rejects`

use super::Context;
use super::queue::ago;
use crate::admin::rejects::{self, RejectView};
use crate::failure::Result;
use crate::output::{number, plural, size, whole, words};
use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(super) enum Rejects {
    /// List refused messages that are kept, the latest first
    List {
        /// Only those of this user
        user: Option<String>,
        /// At most so many
        #[arg(long, value_name = "NUMBER", default_value_t = 1000)]
        limit: usize,
    },
    /// Put refused messages into the inbox, as their users can themselves: that teaches that they were wanted
    Release {
        /// Their receipts, as `list` and the refusals name them
        #[arg(required = true, value_name = "RECEIPT")]
        receipts: Vec<String>,
        /// Only for this user; without it for everybody who has them
        #[arg(long, value_name = "ADDRESS")]
        user: Option<String>,
    },
}

impl Rejects {
    pub(super) fn run(self, context: &Context) -> Result<()> {
        match self {
            Self::List { user, limit } => list(context, &context.call(rejects::List { user, max: limit })?),
            Self::Release { receipts, user } => {
                let released = context.call(rejects::Release { receipts, user })?;
                let mut users: Vec<&str> = released.iter().map(|view| view.user.as_str()).collect();
                users.sort_unstable();
                users.dedup();
                let did = context.did("put", "put");
                let sentence = format!("{did} {} into the inbox of {}", plural(released.len() as u64, "message"), users.join(", "));
                context.printer.done(&released, &sentence);
            }
        }
        Ok(())
    }
}

fn list(context: &Context, views: &[RejectView]) {
    let columns =
        [whole("receipt"), whole("user"), whole("refused"), whole("gone"), whole("from"), number("size"), words("subject"), words("why")];
    context.printer.list(views, &columns, |view| {
        vec![
            view.receipt.clone(),
            view.user.clone(),
            ago(&view.at),
            ago(&view.until),
            view.from.clone(),
            size(view.octets),
            view.subject.clone(),
            view.reply.clone(),
        ]
    });
}
