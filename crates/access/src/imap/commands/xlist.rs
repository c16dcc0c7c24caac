//! XLIST: how Gmail told what mailboxes are for before SPECIAL-USE (RFC 6154) was written.
//!
//! Not in any RFC. Old Apple Mail, Airmail and Evolution ask for it where it is offered.

use crate::imap::command::Command;
use crate::imap::commands::list::{self, List};
use crate::imap::grammar::{Parsed, Parser};
use crate::imap::serve::{Outcome, Server};
use mail::Role;

/// `XLIST "" "*"`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct XList {
    /// The reference: it is put before the pattern.
    pub reference: String,
    /// What names must match.
    pub pattern: String,
}

/// Reads its arguments.
///
/// # Errors
/// When they are not its grammar.
pub fn parse(parser: &mut Parser<'_>) -> Parsed<Command> {
    let (reference, pattern) = list::reference_and_pattern(parser)?;
    Ok(Command::XList(XList { reference, pattern }))
}

impl XList {
    /// Answers as LIST does, with Gmail's names of uses.
    pub(crate) async fn run(self, server: &mut Server) -> Outcome {
        let list = List { reference: self.reference, patterns: vec![self.pattern], ..List::default() };
        list::answer(list, server, "XLIST").await
    }
}

/// Gmail's name of a use.
pub const fn attribute(role: Role) -> Option<&'static str> {
    match role {
        Role::Inbox => Some("\\Inbox"),
        Role::Junk => Some("\\Spam"),
        other => other.attribute(),
    }
}
