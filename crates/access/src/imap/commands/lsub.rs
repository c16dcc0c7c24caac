//! LSUB (RFC 3501 §6.3.9): subscribed names, for IMAP4rev1.

use crate::imap::command::Command;
use crate::imap::commands::list::{self, List, Selection};
use crate::imap::grammar::{Parsed, Parser};
use crate::imap::serve::{Outcome, Server};

/// `LSUB "" "*"`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lsub {
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
    Ok(Command::Lsub(Lsub { reference, pattern }))
}

impl Lsub {
    /// Answers as LIST (SUBSCRIBED) does, under the old name.
    ///
    /// Deviation: SPECIAL-USE attributes are told here too: Outlook 2013 and later look for them in LSUB.
    pub(crate) async fn run(self, server: &mut Server) -> Outcome {
        let only = Selection { subscribed: true, ..Selection::default() };
        let list = List { reference: self.reference, patterns: vec![self.pattern], only, ..List::default() };
        list::answer(list, server, "LSUB").await
    }
}
