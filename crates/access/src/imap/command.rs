//! The table of commands: verb, legal states, and the function that reads its arguments.
//!
//! Not their meaning: that is in `commands`, one file each, and [`crate::imap::serve`] sends each
//! command there.

use crate::imap::commands::append::Verb;
use crate::imap::commands::{
    acl, append, authenticate, cancel_update, compress, copy, create, delete, enable, esearch, expunge, fetch, id, list, login, lsub,
    metadata, notify, quota, rename, search, select, sort, status, store, subscribe, thread, uidbatches, xlist,
};
use crate::imap::grammar::{Parsed, Parser};

/// Where a session stands (RFC 9051 §3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Before LOGIN or AUTHENTICATE.
    NotAuthenticated,
    /// After it, no mailbox chosen.
    Authenticated,
    /// A mailbox is selected.
    Selected,
}

/// The states in which a command is legal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Legal {
    /// In every state.
    Always,
    /// Only before login.
    NotAuthenticated,
    /// After login.
    Authenticated,
    /// Only with a mailbox selected.
    Selected,
    /// The same, and only for clients that use sequence numbers (RFC 9586 §3).
    Numbered,
}

impl Legal {
    /// Whether a command so marked is legal in a state; if not, what to do first.
    ///
    /// # Errors
    /// When it is not.
    pub const fn check(self, state: State) -> Result<(), &'static str> {
        match (self, state) {
            (Self::NotAuthenticated, State::Authenticated | State::Selected) => Err("You are logged in already"),
            (Self::Authenticated | Self::Selected | Self::Numbered, State::NotAuthenticated) => Err("Log in first"),
            (Self::Selected | Self::Numbered, State::Authenticated) => Err("Select a mailbox first"),
            _ => Ok(()),
        }
    }
}

/// A command and its arguments.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "each variant is the RFC's command of that name, explained in its file")]
pub enum Command {
    Capability,
    Noop,
    Logout,
    Id(id::Id),
    StartTls,
    Authenticate(authenticate::Authenticate),
    Login(login::Login),
    Enable(enable::Enable),
    Compress(compress::Compress),
    Select(select::Select),
    Create(create::Create),
    Delete(delete::Delete),
    Rename(rename::Rename),
    Subscribe(subscribe::Subscribe),
    List(list::List),
    Lsub(lsub::Lsub),
    XList(xlist::XList),
    Namespace,
    JmapAccess,
    Quota(quota::QuotaOf),
    SetQuota(quota::SetQuota),
    SetAcl(acl::SetAcl),
    Acl(acl::Asked),
    GetMetadata(metadata::GetMetadata),
    SetMetadata(metadata::SetMetadata),
    Unauthenticate,
    Status(status::StatusOf),
    Idle,
    Notify(notify::Notify),
    CancelUpdate(cancel_update::CancelUpdate),
    Check,
    Close,
    Unselect,
    Expunge(expunge::Expunge),
    Search(Box<search::Search>),
    ESearch(Box<esearch::ESearch>),
    Sort(Box<sort::Sort>),
    Thread(Box<thread::Thread>),
    Fetch(fetch::Fetch),
    Store(store::StoreFlags),
    Append(Box<append::Target>),
    Copy(copy::Copy),
    UidBatches(uidbatches::UidBatches),
}

/// One line of the table.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// The command's name in upper case.
    pub verb: &'static str,
    /// When it is legal.
    pub legal: Legal,
    /// Reads what stands behind the verb, the space before it included, but not the end of the line.
    pub parse: fn(&mut Parser<'_>) -> Parsed<Command>,
}

const fn row(verb: &'static str, legal: Legal, parse: fn(&mut Parser<'_>) -> Parsed<Command>) -> Row {
    Row { verb, legal, parse }
}

/// Every command.
pub const TABLE: &[Row] = &[
    row("CAPABILITY", Legal::Always, |_| Ok(Command::Capability)),
    row("NOOP", Legal::Always, |_| Ok(Command::Noop)),
    row("LOGOUT", Legal::Always, |_| Ok(Command::Logout)),
    row("ID", Legal::Always, id::parse),
    row("STARTTLS", Legal::NotAuthenticated, |_| Ok(Command::StartTls)),
    row("AUTHENTICATE", Legal::NotAuthenticated, authenticate::parse),
    row("LOGIN", Legal::NotAuthenticated, login::parse),
    row("COMPRESS", Legal::Authenticated, compress::parse),
    row("ENABLE", Legal::Authenticated, enable::parse),
    row("SELECT", Legal::Authenticated, |p| select::parse(p, false)),
    row("EXAMINE", Legal::Authenticated, |p| select::parse(p, true)),
    row("CREATE", Legal::Authenticated, create::parse),
    row("DELETE", Legal::Authenticated, delete::parse),
    row("RENAME", Legal::Authenticated, rename::parse),
    row("SUBSCRIBE", Legal::Authenticated, |p| subscribe::parse(p, true)),
    row("UNSUBSCRIBE", Legal::Authenticated, |p| subscribe::parse(p, false)),
    row("LIST", Legal::Authenticated, list::parse),
    row("LSUB", Legal::Authenticated, lsub::parse),
    row("XLIST", Legal::Authenticated, xlist::parse),
    row("GETQUOTA", Legal::Authenticated, quota::parse),
    row("GETQUOTAROOT", Legal::Authenticated, quota::parse_root),
    row("SETQUOTA", Legal::Authenticated, quota::parse_set),
    row("SETACL", Legal::Authenticated, acl::parse_set),
    row("DELETEACL", Legal::Authenticated, acl::parse_delete),
    row("GETACL", Legal::Authenticated, acl::parse_grants),
    row("LISTRIGHTS", Legal::Authenticated, acl::parse_list),
    row("MYRIGHTS", Legal::Authenticated, acl::parse_mine),
    row("GETMETADATA", Legal::Authenticated, metadata::parse_get),
    row("SETMETADATA", Legal::Authenticated, metadata::parse_set),
    row("UNAUTHENTICATE", Legal::Authenticated, |_| Ok(Command::Unauthenticate)),
    row("GETJMAPACCESS", Legal::Authenticated, |_| Ok(Command::JmapAccess)),
    row("NAMESPACE", Legal::Authenticated, |_| Ok(Command::Namespace)),
    row("STATUS", Legal::Authenticated, status::parse),
    row("APPEND", Legal::Authenticated, |p| append::parse(p, Verb::Append)),
    row("NOTIFY", Legal::Authenticated, notify::parse),
    row("IDLE", Legal::Authenticated, |_| Ok(Command::Idle)),
    row("CANCELUPDATE", Legal::Selected, cancel_update::parse),
    row("CHECK", Legal::Selected, |_| Ok(Command::Check)),
    row("CLOSE", Legal::Selected, |_| Ok(Command::Close)),
    row("UNSELECT", Legal::Selected, |_| Ok(Command::Unselect)),
    row("EXPUNGE", Legal::Selected, |_| Ok(Command::Expunge(expunge::Expunge { uids: None }))),
    row("UID EXPUNGE", Legal::Selected, expunge::parse),
    row("SEARCH", Legal::Numbered, |p| search::parse(p, false)),
    row("UID SEARCH", Legal::Selected, |p| search::parse(p, true)),
    row("ESEARCH", Legal::Authenticated, esearch::parse),
    row("SORT", Legal::Numbered, |p| sort::parse(p, false)),
    row("UID SORT", Legal::Selected, |p| sort::parse(p, true)),
    row("THREAD", Legal::Numbered, |p| thread::parse(p, false)),
    row("UID THREAD", Legal::Selected, |p| thread::parse(p, true)),
    row("FETCH", Legal::Numbered, |p| fetch::parse(p, false)),
    row("UID FETCH", Legal::Selected, |p| fetch::parse(p, true)),
    row("STORE", Legal::Numbered, |p| store::parse(p, false)),
    row("UID STORE", Legal::Selected, |p| store::parse(p, true)),
    row("COPY", Legal::Numbered, |p| copy::parse(p, false, false)),
    row("UID COPY", Legal::Selected, |p| copy::parse(p, true, false)),
    row("REPLACE", Legal::Numbered, |p| append::parse(p, Verb::Replace)),
    row("UID REPLACE", Legal::Selected, |p| append::parse(p, Verb::UidReplace)),
    row("MOVE", Legal::Numbered, |p| copy::parse(p, false, true)),
    row("UID MOVE", Legal::Selected, |p| copy::parse(p, true, true)),
    row("UIDBATCHES", Legal::Selected, uidbatches::parse),
];

/// The line of a verb, which is taken; `None` if there is no such command.
///
/// # Errors
/// When no word stands here.
pub fn find(parser: &mut Parser<'_>) -> Parsed<Option<&'static Row>> {
    let verb = parser.name("a command")?;
    if !verb.eq_ignore_ascii_case("UID") {
        return Ok(TABLE.iter().find(|row| row.verb.eq_ignore_ascii_case(verb)));
    }
    parser.space()?;
    let verb = parser.name("COPY, EXPUNGE, FETCH, MOVE, REPLACE, SEARCH, SORT, STORE or THREAD")?;
    Ok(TABLE.iter().find(|row| row.verb.strip_prefix("UID ").is_some_and(|name| name.eq_ignore_ascii_case(verb))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verbs_are_found_in_any_case_and_once() {
        for row in TABLE {
            let mut parser = Parser::new(row.verb.as_bytes(), false);
            assert_eq!(find(&mut parser).unwrap().map(|found| found.verb), Some(row.verb));
            assert_eq!(TABLE.iter().filter(|other| other.verb == row.verb).count(), 1);
        }
        assert!(find(&mut Parser::new(b"uid noop", false)).unwrap().is_none());
        assert!(find(&mut Parser::new(b"xyzzy", false)).unwrap().is_none());
    }

    #[test]
    fn states_are_checked() {
        assert!(Legal::Selected.check(State::Selected).is_ok());
        assert!(Legal::Authenticated.check(State::Selected).is_ok());
        assert!(Legal::NotAuthenticated.check(State::Authenticated).is_err());
        assert!(Legal::Selected.check(State::Authenticated).is_err());
    }
}
