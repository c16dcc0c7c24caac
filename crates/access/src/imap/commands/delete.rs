//! DELETE (RFC 9051 §6.3.5).

use crate::imap::command::Command;
use crate::imap::command::State;
use crate::imap::grammar::{Parsed, Parser};
use crate::imap::response::Status;
use crate::imap::serve::{Outcome, Server};
use crate::imap::session::{Answer, Done};
use store::Error;

/// `DELETE Projects`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delete {
    /// Its name.
    pub mailbox: String,
}

/// Reads its arguments.
///
/// # Errors
/// When they are not its grammar.
pub fn parse(parser: &mut Parser<'_>) -> Parsed<Command> {
    parser.space()?;
    Ok(Command::Delete(Delete { mailbox: parser.mailbox()? }))
}

impl Delete {
    /// Deletes the mailbox and its messages. Deleting the selected one also closes it.
    pub(crate) async fn run(self, server: &mut Server) -> Outcome {
        let account = server.account();
        let id = server
            .write(move |tx| {
                let mailbox = tx.mailbox_by_name(account, &self.mailbox)?.ok_or_else(|| Error::NotFound("mailbox".into()))?;
                tx.mailbox_delete(account, mailbox.id)?;
                Ok(mailbox.id)
            })
            .await?;
        if server.selected().is_ok_and(|selected| selected.mailbox == id) {
            server.select(None);
            let data = b"* OK [CLOSED] The selected mailbox was deleted\r\n".to_vec();
            return Ok(Answer::Done(Done { data, status: Status::ok("Deleted"), state: Some(State::Authenticated) }));
        }
        server.finish(Status::ok("Deleted"), true).await
    }
}
