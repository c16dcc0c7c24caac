//! `postrider domain`

use super::Context;
use crate::admin::domain::{self, DomainView};
use crate::failure::Result;
use crate::output::{number, whole, words};
use crate::secret::confirm;
use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(super) enum Domain {
    /// Make a domain ours
    Add {
        /// Its name
        domain: String,
    },
    /// List all domains
    List,
    /// Show one domain
    Show {
        /// Its name
        domain: String,
    },
    /// Say who gets mail for addresses of the domain that do not exist
    CatchAll {
        /// The domain
        domain: String,
        /// Users and addresses elsewhere; none: such mail is refused
        targets: Vec<String>,
    },
    /// Give up a domain that has no users and aliases
    Remove {
        /// Its name
        domain: String,
    },
}

impl Domain {
    pub(super) fn run(self, context: &Context) -> Result<()> {
        let printer = &context.printer;
        match self {
            Self::Add { domain } => {
                let view = context.call(domain::Add { domain })?;
                printer.done(&view, &format!("{} {}", context.did("added", "add"), view.domain));
            }
            Self::List => {
                let views = context.call(domain::List {})?;
                let columns = [whole("domain"), number("users"), number("aliases"), words("catch-all")];
                printer.list(&views, &columns, |view| {
                    vec![view.domain.clone(), view.accounts.to_string(), view.aliases.to_string(), view.catch_all.join(", ")]
                });
            }
            Self::Show { domain } => show(context, &context.call(domain::Show { domain })?),
            Self::CatchAll { domain, targets } => {
                let view = context.call(domain::CatchAll { domain, targets })?;
                let to = if view.catch_all.is_empty() { "nobody".to_owned() } else { view.catch_all.join(", ") };
                printer.done(&view, &format!("mail for unknown addresses of {} {} to {to}", view.domain, context.did("goes", "go")));
            }
            Self::Remove { domain } => {
                confirm(&format!("Remove {domain}?"), context.global.yes || context.global.dry_run)?;
                let view = context.call(domain::Remove { domain })?;
                printer.done(&view, &format!("{} {}", context.did("removed", "remove"), view.domain));
            }
        }
        Ok(())
    }
}

fn show(context: &Context, view: &DomainView) {
    let catch_all =
        if view.catch_all.is_empty() { "none: mail for unknown addresses is refused".to_owned() } else { view.catch_all.join(", ") };
    let lines = [
        ("domain", view.domain.clone()),
        ("users", view.accounts.to_string()),
        ("aliases", view.aliases.to_string()),
        ("catch-all", catch_all),
    ];
    context.printer.one(view, &lines);
}
