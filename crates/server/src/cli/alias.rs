//! `postrider alias`

use super::Context;
use crate::admin::alias;
use crate::failure::Result;
use crate::output::{whole, words};
use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(super) enum Alias {
    /// Lead an address to users and to addresses elsewhere
    Add {
        /// The address; its domain must be ours
        address: String,
        /// Where its mail goes
        #[arg(required = true)]
        targets: Vec<String>,
    },
    /// List all aliases
    List,
    /// Remove an alias, or only some of its targets
    Remove {
        /// The address
        address: String,
        /// Only these targets
        targets: Vec<String>,
    },
}

impl Alias {
    pub(super) fn run(self, context: &Context) -> Result<()> {
        let printer = &context.printer;
        match self {
            Self::Add { address, targets } => {
                let view = context.call(alias::Add { address, targets })?;
                printer.done(&view, &format!("{} {} to {}", view.address, context.did("leads", "lead"), view.targets.join(", ")));
            }
            Self::List => {
                let views = context.call(alias::List {})?;
                printer.list(&views, &[whole("alias"), words("leads to")], |view| vec![view.address.clone(), view.targets.join(", ")]);
            }
            Self::Remove { address, targets } => {
                let view = context.call(alias::Remove { address, targets })?;
                let sentence = match view.targets.as_slice() {
                    [] => format!("{} {}", context.did("removed", "remove"), view.address),
                    left => format!("{} {} to {} only", view.address, context.did("leads", "lead"), left.join(", ")),
                };
                printer.done(&view, &sentence);
            }
        }
        Ok(())
    }
}
