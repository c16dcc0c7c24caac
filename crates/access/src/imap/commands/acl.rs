//! SETACL, DELETEACL, GETACL, LISTRIGHTS and MYRIGHTS (RFC 4314 §3): who may do what with a mailbox.
//!
//! Identifiers are the addresses of accounts and `anyone`, each also with a `-` before it. The owner is
//! shown with all rights and keeps them.

use crate::imap::command::Command;
use crate::imap::grammar::{Fault, Parsed, Parser};
use crate::imap::granted::Granted;
use crate::imap::response::{self, Status};
use crate::imap::serve::{self, Outcome, Server};
use mail::{AccountId, Rights};
use store::{Error, Grant, Grantee, ReadTx, WriteTx};

/// `SETACL Projects bob@example.org +lrs`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetAcl {
    /// The mailbox's name.
    pub mailbox: String,
    /// To whom.
    pub identifier: String,
    /// What becomes of the rights they have.
    pub mode: Mode,
    /// The rights.
    pub rights: Rights,
}

/// What becomes of rights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// These are all.
    Replace,
    /// `+`: these are added.
    Add,
    /// `-`: these are taken away.
    Remove,
}

/// A question about a mailbox's rights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// GETACL
    Grants(String),
    /// LISTRIGHTS: what may be given to whom.
    Possible(String, String),
    /// MYRIGHTS
    Mine(String),
}

/// Reads the arguments of SETACL.
///
/// # Errors
/// When they are not its grammar, or name a right that is none.
pub fn parse_set(parser: &mut Parser<'_>) -> Parsed<Command> {
    let (mailbox, identifier) = mailbox_and_identifier(parser)?;
    parser.space()?;
    let text = parser.text()?;
    let (mode, letters) = match (text.strip_prefix('+'), text.strip_prefix('-')) {
        (Some(letters), _) => (Mode::Add, letters),
        (_, Some(letters)) => (Mode::Remove, letters),
        _ => (Mode::Replace, text.as_ref()),
    };
    // An unknown right must be a BAD (RFC 4314 §3.1).
    let unknown = || Fault::Refused(Box::new(Status::bad("Only the rights lrswipkxtea, and c and d of old, are known")));
    let rights = Rights::parse(letters).map_err(|_| unknown())?;
    Ok(Command::SetAcl(SetAcl { mailbox, identifier, mode, rights }))
}

/// Reads the arguments of DELETEACL.
///
/// # Errors
/// When they are not its grammar.
pub fn parse_delete(parser: &mut Parser<'_>) -> Parsed<Command> {
    let (mailbox, identifier) = mailbox_and_identifier(parser)?;
    Ok(Command::SetAcl(SetAcl { mailbox, identifier, mode: Mode::Replace, rights: Rights::NONE }))
}

/// Reads the arguments of LISTRIGHTS.
///
/// # Errors
/// When they are not its grammar.
pub fn parse_list(parser: &mut Parser<'_>) -> Parsed<Command> {
    let (mailbox, identifier) = mailbox_and_identifier(parser)?;
    Ok(Command::Acl(Asked::Possible(mailbox, identifier)))
}

/// Reads the arguments of GETACL.
///
/// # Errors
/// When they are not its grammar.
pub fn parse_grants(parser: &mut Parser<'_>) -> Parsed<Command> {
    parser.space()?;
    Ok(Command::Acl(Asked::Grants(parser.mailbox()?)))
}

/// Reads the arguments of MYRIGHTS.
///
/// # Errors
/// When they are not its grammar.
pub fn parse_mine(parser: &mut Parser<'_>) -> Parsed<Command> {
    parser.space()?;
    Ok(Command::Acl(Asked::Mine(parser.mailbox()?)))
}

fn mailbox_and_identifier(parser: &mut Parser<'_>) -> Parsed<(String, String)> {
    parser.space()?;
    let mailbox = parser.mailbox()?;
    parser.space()?;
    let start = parser.clone();
    let identifier = parser.text()?.into_owned();
    // What is prepared to nothing is a BAD (RFC 4314 §3).
    if identifier.trim_matches('-').trim().is_empty() { start.fault("an address or anyone") } else { Ok((mailbox, identifier)) }
}

/// Whom an identifier names; `None`: nobody.
fn grantee(tx: &ReadTx, identifier: &str) -> store::Result<Option<(Grantee, bool)>> {
    let (name, negative) = identifier.strip_prefix('-').map_or((identifier, false), |name| (name, true));
    if name.eq_ignore_ascii_case("anyone") {
        return Ok(Some((Grantee::Anyone, negative)));
    }
    Ok(tx.account_by_login(name)?.map(|account| (Grantee::Account(account.id), negative)))
}

/// How a grant's identifier is written; `None`: it names nobody any more.
fn identifier(tx: &ReadTx, grant: &Grant) -> store::Result<Option<String>> {
    let name = match grant.grantee {
        Grantee::Anyone => Some("anyone".to_owned()),
        Grantee::Account(account) => tx.account(account)?.map(|account| account.address.to_string()),
    };
    Ok(name.map(|name| if grant.negative { format!("-{name}") } else { name }))
}

impl SetAcl {
    /// Changes the rights of one identifier.
    pub(crate) async fn run(self, server: &mut Server) -> Outcome {
        let viewer = server.account();
        let known = server.write(move |tx| self.make(tx, viewer)).await?;
        if !known {
            return Err(Status::no("NONEXISTENT", "There is no such account"));
        }
        server.finish(Status::ok("Done"), true).await
    }

    /// Whether there is whom it names.
    fn make(&self, tx: &mut WriteTx, viewer: AccountId) -> store::Result<bool> {
        let granted = Granted::find_for(tx, viewer, &self.mailbox, Rights::ADMINISTER)?;
        let Some((to, negative)) = grantee(tx, &self.identifier)? else { return Ok(false) };
        let (owner, mailbox) = (granted.account, granted.mailbox.id);
        let now = tx.grants(owner, mailbox)?.into_iter().find(|grant| (grant.grantee, grant.negative) == (to, negative));
        let now = now.map(|grant| grant.rights).unwrap_or_default();
        let rights = match self.mode {
            Mode::Replace => self.rights,
            Mode::Add => now.union(self.rights),
            Mode::Remove => now.without(self.rights),
        };
        tx.grant_set(owner, mailbox, Grant { grantee: to, negative, rights })?;
        Ok(true)
    }
}

/// Rights that let somebody ask for his own (RFC 4314 §4, MYRIGHTS).
const ANY: Rights =
    Rights::LOOKUP.union(Rights::READ).union(Rights::INSERT).union(Rights::CREATE).union(Rights::DELETE).union(Rights::ADMINISTER);

/// What can be given to anybody but the owner: each right for itself (RFC 4314 §3.7).
const POSSIBLE: &str = "\"\" l r s w i p k x t e c d a";

impl Asked {
    /// Answers from the mailbox's grants.
    pub(crate) async fn run(self, server: &mut Server) -> Outcome {
        let (viewer, utf8) = (server.account(), server.enabled().utf8());
        let data = server.read(move |tx| self.tell(tx, viewer, utf8)).await?;
        let Some(data) = data else { return Err(Status::no("NONEXISTENT", "There is no such account")) };
        let end = server.finish(Status::ok("Done"), true).await?;
        Ok(serve::before(data, end))
    }

    /// `None`: there is no such account.
    fn tell(&self, tx: &ReadTx, viewer: AccountId, utf8: bool) -> store::Result<Option<Vec<u8>>> {
        let mut data = Vec::new();
        match self {
            Self::Mine(name) => {
                let granted = Granted::find(tx, viewer, name)?.filter(|granted| granted.rights.intersects(ANY));
                let granted = granted.ok_or_else(|| Error::NotFound("mailbox".into()))?;
                my_rights(&mut data, &granted, utf8);
            }
            Self::Grants(name) => {
                let granted = Granted::find_for(tx, viewer, name, Rights::ADMINISTER)?;
                grants(&mut data, tx, &granted, utf8)?;
            }
            Self::Possible(name, to) => {
                let granted = Granted::find_for(tx, viewer, name, Rights::ADMINISTER)?;
                let Some((whom, _)) = grantee(tx, to)? else { return Ok(None) };
                data.extend_from_slice(b"* LISTRIGHTS ");
                response::mailbox(&mut data, &granted.mailbox.name, utf8);
                data.push(b' ');
                // As the client wrote it (RFC 4314 §3.4).
                response::string(&mut data, to.as_bytes(), utf8);
                let owns = whom == Grantee::Account(granted.account);
                response::line(&mut data, &if owns { format!(" {}", Rights::ALL) } else { format!(" {POSSIBLE}") });
            }
        }
        Ok(Some(data))
    }
}

/// Appends `* MYRIGHTS INBOX lrs`.
pub(crate) fn my_rights(data: &mut Vec<u8>, granted: &Granted, utf8: bool) {
    data.extend_from_slice(b"* MYRIGHTS ");
    response::mailbox(data, &granted.mailbox.name, utf8);
    response::line(data, &format!(" {}", granted.rights));
}

/// Appends `* ACL INBOX "ann@example.org" lrswipkxtecda "bob@example.org" lr`.
fn grants(data: &mut Vec<u8>, tx: &ReadTx, granted: &Granted, utf8: bool) -> store::Result<()> {
    data.extend_from_slice(b"* ACL ");
    response::mailbox(data, &granted.mailbox.name, utf8);
    let owner = Grant { grantee: Grantee::Account(granted.account), negative: false, rights: Rights::ALL };
    for grant in std::iter::once(owner).chain(tx.grants(granted.account, granted.mailbox.id)?) {
        if let Some(identifier) = identifier(tx, &grant)? {
            data.push(b' ');
            response::string(data, identifier.as_bytes(), utf8);
            data.extend_from_slice(format!(" {}", grant.rights).as_bytes());
        }
    }
    response::line(data, "");
    Ok(())
}
