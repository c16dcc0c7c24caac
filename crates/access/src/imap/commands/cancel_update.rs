//! CANCELUPDATE (RFC 5267 §4.3.5): these searches are no longer kept up to date.

use crate::imap::command::Command;
use crate::imap::grammar::{Parsed, Parser};
use crate::imap::response::Status;
use crate::imap::serve::{Outcome, Server};

/// `CANCELUPDATE "B01"`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CancelUpdate {
    /// The tags of their commands.
    pub tags: Vec<String>,
}

/// Reads its arguments.
///
/// # Errors
/// When they are not its grammar.
pub fn parse(parser: &mut Parser<'_>) -> Parsed<Command> {
    let mut tags = Vec::new();
    parser.space()?;
    loop {
        tags.push(parser.text()?.into_owned());
        if !parser.accept(b' ') || parser.is_done() {
            return Ok(Command::CancelUpdate(CancelUpdate { tags }));
        }
    }
}

impl CancelUpdate {
    /// Forgets them. A tag that is not known has no updates already.
    pub(crate) async fn run(self, server: &mut Server) -> Outcome {
        server.revise(|selected| selected.contexts.retain(|context| !self.tags.iter().any(|tag| **tag == *context.tag)));
        server.finish(Status::ok("No further updates"), true).await
    }
}
