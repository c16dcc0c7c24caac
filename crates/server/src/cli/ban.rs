//! `postrider ban`

use super::Context;
use super::queue::ago;
use crate::admin::ban;
use crate::config::Span;
use crate::failure::Result;
use crate::output::{number, whole, words};
use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(super) enum Ban {
    /// List bans
    List {
        /// Those that are over, too: they make the next one longer
        #[arg(long)]
        all: bool,
    },
    /// Take no connections from an address or network; trusted networks and proxies are never banned
    Add {
        /// The address or network, e.g. 192.0.2.7 or 192.0.2.0/24
        network: String,
        /// For how long, e.g. 12h; without it until it is taken back
        #[arg(long = "for", value_name = "SPAN")]
        length: Option<Span>,
        /// Only where users sign in: mail from there is taken
        #[arg(long)]
        sign_in_only: bool,
        /// Why, for who reads the list
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Take a ban back
    Remove {
        /// The address or network as `list` shows it
        network: String,
    },
}

impl Ban {
    pub(super) fn run(self, context: &Context) -> Result<()> {
        let printer = &context.printer;
        match self {
            Self::List { all } => {
                let bans = context.call(ban::List { all })?;
                let columns = [whole("network"), whole("from"), whole("since"), whole("ends"), number("times"), words("reason")];
                printer.list(&bans, &columns, |ban| {
                    let ends = ban.until.as_deref().map_or_else(|| "when taken back".to_owned(), ago);
                    vec![ban.network.clone(), ban.scope.clone(), ago(&ban.since), ends, ban.times.to_string(), ban.reason.clone()]
                });
            }
            Self::Add { network, length, sign_in_only, reason } => {
                let seconds = length.map(|span| span.0.as_secs());
                let ban = context.call(ban::Add { network, seconds, sign_in_only, reason })?;
                let ends = ban.until.as_deref().map_or_else(String::new, |until| format!(" until {until}"));
                printer.done(&ban, &format!("{} {} from {}{ends}", context.did("banned", "ban"), ban.network, ban.scope));
            }
            Self::Remove { network } => {
                context.call(ban::Remove { network: network.clone() })?;
                let done = serde_json::json!({ "network": network });
                printer.done(&done, &format!("{} {network} again", context.did("let in", "let in")));
            }
        }
        Ok(())
    }
}
