//! `postrider dkim`

use super::Context;
use crate::admin::dkim::{self, KeyView};
use crate::failure::Result;
use crate::output::{whole, words};
use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(super) enum Dkim {
    /// List signing keys
    List {
        /// Only those of this domain
        domain: Option<String>,
    },
    /// Print the lines to publish in DNS
    Records {
        /// The domain
        domain: String,
    },
    /// Make new keys; they sign once they are published and activated
    Rotate {
        /// The domain
        domain: String,
    },
    /// Sign with the new keys from now on
    Activate {
        /// The domain
        domain: String,
    },
    /// Forget a key that signs nothing
    Remove {
        /// The domain
        domain: String,
        /// The key's selector
        selector: String,
    },
}

impl Dkim {
    pub(super) fn run(self, context: &Context) -> Result<()> {
        match self {
            Self::List { domain } => list(context, &context.call(dkim::List { domain })?),
            Self::Records { domain } => {
                let mut views = context.call(dkim::List { domain: Some(domain) })?;
                views.retain(|view| view.state != "retired");
                context.printer.done(&views, &records(&views));
            }
            Self::Rotate { domain } => {
                let views = context.call(dkim::Rotate { domain: domain.clone() })?;
                let next = format!(
                    "Then wait until the records are seen everywhere (their time to live) and run: postrider dkim activate {domain}"
                );
                let made = context.did("made new keys", "make new keys");
                context.printer.done(&views, &format!("{made} for {domain}; publish these records in DNS:\n{}\n{next}", records(&views)));
            }
            Self::Activate { domain } => {
                let views = context.call(dkim::Activate { domain: domain.clone() })?;
                let old: Vec<&str> = views.iter().filter(|view| view.state == "retired").map(|view| view.selector.as_str()).collect();
                let keep = if old.is_empty() {
                    String::new()
                } else {
                    format!("\nKeep the records of {} for a week, then remove them and run dkim remove.", old.join(" and "))
                };
                context.printer.done(&views, &format!("mail of {domain} {} signed with the new keys{keep}", context.did("is", "would be")));
            }
            Self::Remove { domain, selector } => {
                let view = context.call(dkim::Remove { domain, selector })?;
                context.printer.done(&view, &format!("{} key {} of {}", context.did("removed", "remove"), view.selector, view.domain));
            }
        }
        Ok(())
    }
}

fn list(context: &Context, views: &[KeyView]) {
    let columns = [whole("domain"), whole("selector"), whole("algorithm"), whole("state"), words("created")];
    context.printer.list(views, &columns, |view| {
        vec![view.domain.clone(), view.selector.clone(), view.algorithm.clone(), view.state.clone(), view.created.clone()]
    });
}

fn records(views: &[KeyView]) -> String {
    views.iter().map(|view| view.dns.as_str()).collect::<Vec<_>>().join("\n")
}
