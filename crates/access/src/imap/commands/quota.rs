//! GETQUOTA and GETQUOTAROOT (RFC 9208): how much room there is.
//!
//! An account has one quota root, whose name is empty, for all its mailboxes. Only storage is limited. Quotas
//! are set by the administrator, not here: there is no SETQUOTA.

use crate::imap::command::Command;
use crate::imap::grammar::{Parsed, Parser};
use crate::imap::response::{self, Status};
use crate::imap::serve::{self, Outcome, Server};
use store::Quota;

/// `GETQUOTA ""` and `GETQUOTAROOT INBOX`
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum QuotaOf {
    /// A root.
    Root(String),
    /// The root of a mailbox, which need not exist (RFC 9208 §4.1.2).
    Mailbox(String),
}

/// Octets of RFC 9208's unit of storage (§5.1).
const UNIT_OCTETS: u64 = 1024;

/// Reads the arguments of GETQUOTA.
///
/// # Errors
/// When they are not its grammar.
pub fn parse(parser: &mut Parser<'_>) -> Parsed<Command> {
    parser.space()?;
    Ok(Command::Quota(QuotaOf::Root(parser.text()?.into_owned())))
}

/// Reads the arguments of GETQUOTAROOT.
///
/// # Errors
/// When they are not its grammar.
pub fn parse_root(parser: &mut Parser<'_>) -> Parsed<Command> {
    parser.space()?;
    Ok(Command::Quota(QuotaOf::Mailbox(parser.mailbox()?)))
}

impl QuotaOf {
    /// Answers from the account's record.
    pub(crate) async fn run(self, server: &mut Server) -> Outcome {
        let mut data = Vec::new();
        match self {
            Self::Root(root) if !root.is_empty() => return Err(Status::no("NONEXISTENT", "The only quota root is \"\"")),
            Self::Root(_) => {}
            Self::Mailbox(name) => {
                data.extend_from_slice(b"* QUOTAROOT ");
                response::mailbox(&mut data, &name, server.enabled().utf8());
                data.extend_from_slice(b" \"\"\r\n");
            }
        }
        let account = server.account();
        let quota = server.read(move |tx| tx.quota(account)).await?;
        told(&mut data, quota);
        let last = server.finish(Status::ok("Done"), true).await?;
        Ok(serve::before(data, last))
    }
}

/// What is not limited is not told (RFC 9208 §4.2.1).
fn told(data: &mut Vec<u8>, quota: Quota) {
    let limit = quota.octets_max.map(|max| format!("STORAGE {} {}", units(quota.used_octets), units(max)));
    response::line(data, &format!("* QUOTA \"\" ({})", limit.unwrap_or_default()));
}

/// Rounded up, so that a full account shows as full.
const fn units(octets: u64) -> u64 {
    octets.div_ceil(UNIT_OCTETS)
}
