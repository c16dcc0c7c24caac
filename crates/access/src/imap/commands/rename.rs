//! RENAME (RFC 9051 §6.3.6). Renaming INBOX moves its messages; what is below a mailbox moves along.

use crate::imap::command::Command;
use crate::imap::grammar::{Parsed, Parser};
use crate::imap::granted::Granted;
use crate::imap::response::Status;
use crate::imap::serve::{Outcome, Server};
use mail::{Rights, Role};
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
        let (viewer, now) = (server.account(), server.now());
        let renamed = server.write(move |tx| {
            let granted = Granted::find_for(tx, viewer, &self.from, Rights::DELETE)?;
            let (owner, name) = Granted::to_be_made(tx, viewer, &self.to)?;
            if owner != granted.account {
                return Err(Error::Invalid("a mailbox stays in its account: copy its messages".into()));
            }
            if owner != viewer && tx.mailbox_by_role(owner, Role::Inbox)?.is_some_and(|inbox| inbox.id == granted.mailbox.id) {
                return Err(Error::Invalid("only its owner renames an INBOX".into()));
            }
            tx.mailbox_rename(owner, granted.mailbox.id, name, now)
        });
        renamed.await?;
        server.finish(Status::ok("Renamed"), true).await
    }
}
