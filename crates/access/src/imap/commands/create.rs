//! CREATE (RFC 9051 §6.3.4), with a use (RFC 6154 §3).

use crate::imap::command::Command;
use crate::imap::grammar::{Fault, Parsed, Parser};
use crate::imap::granted::Granted;
use crate::imap::response::Status;
use crate::imap::serve::{Outcome, Server, object_id};
use mail::Role;
use store::is_shared_name;

/// `CREATE Projects (USE (\Archive))`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Create {
    /// Its name.
    pub mailbox: String,
    /// What it is for.
    pub role: Option<Role>,
}

/// Reads its arguments.
///
/// # Errors
/// When they are not its grammar, or ask for a use that we do not have.
pub fn parse(parser: &mut Parser<'_>) -> Parsed<Command> {
    parser.space()?;
    let mailbox = parser.mailbox()?;
    let mut role = None;
    if parser.accept(b' ') && !parser.is_done() {
        parser.list(4, |parser| {
            if !parser.accept_word("USE ") {
                return parser.fault("USE");
            }
            role = parser.list(8, usage)?.into_iter().next();
            Ok(())
        })?;
    }
    Ok(Command::Create(Create { mailbox, role }))
}

fn usage(parser: &mut Parser<'_>) -> Parsed<Role> {
    parser.octet(b'\\', "a use such as \\Archive")?;
    let name = parser.atom()?;
    let named = |role: &Role| role.attribute().is_some_and(|attribute| attribute.get(1..).is_some_and(|a| a.eq_ignore_ascii_case(name)));
    Role::ALL.into_iter().find(named).ok_or_else(|| Fault::Refused(Box::new(Status::no("USEATTR", "That use is not supported"))))
}

impl Create {
    /// Makes the mailbox, and its parents where they are missing.
    pub(crate) async fn run(self, server: &mut Server) -> Outcome {
        let viewer = server.account();
        let Self { mailbox, role } = self;
        if let Some(role) = role {
            if is_shared_name(&mailbox) {
                return Err(Status::no("USEATTR", "What another's mailbox is for is for its owner to say"));
            }
            if server.read(move |tx| tx.mailbox_by_role(viewer, role)).await?.is_some() {
                return Err(Status::no("USEATTR", "Another mailbox has that use"));
            }
        }
        let id = server.write(move |tx| {
            let (owner, name) = Granted::to_be_made(tx, viewer, &mailbox)?;
            tx.mailbox_create(owner, name, role)
        });
        let id = id.await?;
        // RFC 8474 §4.1
        server.finish(Status::ok("Created").code(format!("MAILBOXID ({})", object_id('M', id.0.into()))), true).await
    }
}
