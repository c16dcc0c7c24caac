//! SUBSCRIBE and UNSUBSCRIBE (RFC 9051 §6.3.7, §6.3.8).

use crate::imap::command::Command;
use crate::imap::grammar::{Parsed, Parser};
use crate::imap::response::Status;
use crate::imap::serve::{Outcome, Server};

/// `SUBSCRIBE Projects`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscribe {
    /// Its name.
    pub mailbox: String,
    /// SUBSCRIBE, not UNSUBSCRIBE.
    pub subscribed: bool,
}

/// Reads its arguments.
///
/// # Errors
/// When they are not its grammar.
pub fn parse(parser: &mut Parser<'_>, subscribed: bool) -> Parsed<Command> {
    parser.space()?;
    Ok(Command::Subscribe(Subscribe { mailbox: parser.mailbox()?, subscribed }))
}

impl Subscribe {
    /// Notes the subscription; there need be no such mailbox.
    pub(crate) async fn run(self, server: &mut Server) -> Outcome {
        let account = server.account();
        server.write(move |tx| tx.mailbox_subscribe(account, &self.mailbox, self.subscribed)).await?;
        server.finish(Status::ok("Done"), true).await
    }
}
