//! RENAME (RFC 9051 §6.3.6). Renaming INBOX moves its messages; what is below a mailbox moves along.

use crate::imap::command::Command;
use crate::imap::grammar::{Parsed, Parser};
use crate::imap::response::Status;
use crate::imap::serve::{Outcome, Server};
use store::Error;

/// `RENAME Projects Work/Projects`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rename {
    /// Its name now.
    pub from: String,
    /// Its name then.
    pub to: String,
}

/// Reads its arguments.
///
/// # Errors
/// When they are not its grammar.
pub fn parse(parser: &mut Parser<'_>) -> Parsed<Command> {
    parser.space()?;
    let from = parser.mailbox()?;
    parser.space()?;
    Ok(Command::Rename(Rename { from, to: parser.mailbox()? }))
}

impl Rename {
    /// Gives the mailbox its new name.
    pub(crate) async fn run(self, server: &mut Server) -> Outcome {
        let (account, now) = (server.account(), server.now());
        server
            .write(move |tx| {
                let mailbox = tx.mailbox_by_name(account, &self.from)?.ok_or_else(|| Error::NotFound("mailbox".into()))?;
                tx.mailbox_rename(account, mailbox.id, &self.to, now)
            })
            .await?;
        server.finish(Status::ok("Renamed"), true).await
    }
}
