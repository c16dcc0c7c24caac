//! `postrider token`

use super::Context;
use crate::admin::token;
use crate::config::Span;
use crate::failure::Result;
use crate::output::{Format, number, whole, words};
use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(super) enum Token {
    /// Make a token for a user and print it; it is not shown again
    Add {
        /// The user's address
        address: String,
        /// What it is for, e.g. "Ann's phone"
        #[arg(long, default_value = "")]
        name: String,
        /// How long it holds, e.g. 90d; without it until it is revoked
        #[arg(long, value_name = "SPAN")]
        expires: Option<Span>,
    },
    /// List a user's tokens
    List {
        /// The user's address
        address: String,
    },
    /// Revoke a token
    Revoke {
        /// The user's address
        address: String,
        /// The token's number, as `list` shows it
        number: u32,
    },
}

impl Token {
    pub(super) fn run(self, context: &Context) -> Result<()> {
        let printer = &context.printer;
        match self {
            Self::Add { address, name, expires } => {
                let lifetime_seconds = expires.map(|span| span.0.as_secs());
                let made = context.call(token::Add { address, name, lifetime_seconds })?;
                if printer.quiet && printer.format == Format::Table {
                    crate::output::print(made.text.reveal());
                }
                let did = context.did("made", "make");
                printer.done(&made, &format!("{did} token {} of {}: {}", made.token.number, made.token.user, made.text.reveal()));
            }
            Self::List { address } => {
                let tokens = context.call(token::List { address })?;
                let columns = [number("number"), words("name"), whole("made"), whole("ends")];
                printer.list(&tokens, &columns, |token| {
                    let ends = token.expires.clone().unwrap_or_else(|| "when revoked".to_owned());
                    vec![token.number.to_string(), token.name.clone(), token.created.clone(), ends]
                });
            }
            Self::Revoke { address, number } => {
                context.call(token::Remove { address: address.clone(), number })?;
                let done = serde_json::json!({ "user": address, "number": number });
                printer.done(&done, &format!("{} token {number} of {address}", context.did("revoked", "revoke")));
            }
        }
        Ok(())
    }
}
