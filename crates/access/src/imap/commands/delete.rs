//! DELETE (RFC 9051 §6.3.5).

use crate::imap::command::Command;
use crate::imap::command::State;
use crate::imap::grammar::{Parsed, Parser};
use crate::imap::granted::Granted;
use crate::imap::response::Status;
use crate::imap::serve::{Outcome, Server};
use crate::imap::session::{Answer, Done};
use mail::Rights;
use store::WriteTx;

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
    /// Deletes the mailbox and its messages; many of them in several writes, so that others come between.
    /// Deleting the selected one also closes it.
    pub(crate) async fn run(self, server: &mut Server) -> Outcome {
        let viewer = server.account();
        let gone = loop {
            let name = self.mailbox.clone();
            let step = move |tx: &mut WriteTx| {
                let granted = Granted::find_for(tx, viewer, &name, Rights::DELETE)?;
                let gone = tx.mailbox_delete_next(granted.account, granted.mailbox.id)?;
                Ok(gone.then_some((granted.account, granted.mailbox.id)))
            };
            if let Some(gone) = server.write(step).await? {
                break gone;
            }
        };
        if server.selected().is_ok_and(|selected| (selected.account, selected.mailbox) == gone) {
            server.select(None);
            let data = b"* OK [CLOSED] The selected mailbox was deleted\r\n".to_vec();
            return Ok(Answer::Done(Done { data, status: Status::ok("Deleted"), state: Some(State::Authenticated) }));
        }
        server.finish(Status::ok("Deleted"), true).await
    }
}
