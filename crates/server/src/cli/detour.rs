//! `postrider detour`

use super::Context;
use super::queue::ago;
use crate::admin::detour;
use crate::failure::Result;
use crate::output::{number, whole, words};
use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(super) enum Detour {
    /// List domains whose mail goes over the relay, and why
    List,
    /// Send a domain's mail over the relay until the direct way works
    Add {
        /// The domain
        domain: String,
        /// Why
        #[arg(long, default_value = "an administrator wants it")]
        reason: String,
    },
    /// Send a domain's mail directly again
    End {
        /// The domain
        domain: String,
    },
}

impl Detour {
    pub(super) fn run(self, context: &Context) -> Result<()> {
        match self {
            Self::List => {
                let columns = [whole("domain"), whole("since"), whole("tried again"), number("probes"), words("relay"), words("why")];
                context.printer.list(&context.call(detour::List {})?, &columns, |view| {
                    let host = if view.host.is_empty() { String::new() } else { format!("{}: ", view.host) };
                    let relay = view.relay.clone().unwrap_or_else(|| "none".to_owned());
                    let why = format!("{host}{}", view.reason);
                    vec![view.domain.clone(), ago(&view.since), ago(&view.next_probe), view.probes.to_string(), relay, why]
                });
            }
            Self::Add { domain, reason } => {
                let view = context.call(detour::Add { domain, reason })?;
                let relay = view.relay.clone().unwrap_or_default();
                context.printer.done(&view, &format!("mail for {} {} over {relay}", view.domain, context.did("goes", "go")));
            }
            Self::End { domain } => {
                let view = context.call(detour::End { domain })?;
                context.printer.done(&view, &format!("mail for {} {} directly again", view.domain, context.did("goes", "go")));
            }
        }
        Ok(())
    }
}
