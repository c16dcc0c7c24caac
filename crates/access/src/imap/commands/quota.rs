//! GETQUOTA, GETQUOTAROOT and SETQUOTA (RFC 9208): how much room there is.
//!
//! An account has one quota root for all its mailboxes. Its own is named by nothing, another's by the
//! first levels of the names of that account's mailboxes. Storage and the number of emails are limited,
//! and set by administrators.

use crate::imap::command::Command;
use crate::imap::grammar::{Parsed, Parser};
use crate::imap::granted::Granted;
use crate::imap::response::{self, Status};
use crate::imap::serve::{self, Outcome, Server};
use mail::{AccountId, Rights};
use store::{DELIMITER, Error, OTHERS, Quota, ReadTx};

/// `GETQUOTA ""` and `GETQUOTAROOT INBOX`
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum QuotaOf {
    /// A root.
    Root(String),
    /// The root of a mailbox, which need not exist (RFC 9208 §4.1.2).
    Mailbox(String),
}

/// `SETQUOTA "" (STORAGE 512)`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetQuota {
    /// The root.
    pub root: String,
    /// What is limited, and to how much; what is not named is not limited (RFC 9208 §4.1.3).
    pub limits: Vec<(String, u64)>,
}

/// Octets of RFC 9208's unit of storage (§5.1).
const UNIT_OCTETS: u64 = 1024;
/// Most resources named in one SETQUOTA.
const RESOURCES_MAX: usize = 16;

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

/// Reads the arguments of SETQUOTA.
///
/// # Errors
/// When they are not its grammar.
pub fn parse_set(parser: &mut Parser<'_>) -> Parsed<Command> {
    parser.space()?;
    let root = parser.text()?.into_owned();
    parser.space()?;
    let limits = parser.list(RESOURCES_MAX, |parser| {
        let name = parser.atom()?.to_ascii_uppercase();
        parser.space()?;
        Ok((name, parser.number()?))
    })?;
    Ok(Command::SetQuota(SetQuota { root, limits }))
}

impl QuotaOf {
    /// Answers from the account's record.
    pub(crate) async fn run(self, server: &mut Server) -> Outcome {
        let (viewer, utf8) = (server.account(), server.enabled().utf8());
        let data = server.read(move |tx| self.tell(tx, viewer, utf8)).await?;
        let Some(data) = data else { return Err(no_root()) };
        let last = server.finish(Status::ok("Done"), true).await?;
        Ok(serve::before(data, last))
    }

    /// `None`: there is no such root for this client.
    fn tell(&self, tx: &ReadTx, viewer: AccountId, utf8: bool) -> store::Result<Option<Vec<u8>>> {
        let mut data = Vec::new();
        let account = match self {
            Self::Root(root) => match whose(tx, viewer, root)? {
                Some(account) if may_see(tx, viewer, account)? => account,
                _ => return Ok(None),
            },
            Self::Mailbox(name) => {
                let account = account_of(tx, viewer, name)?;
                data.extend_from_slice(b"* QUOTAROOT ");
                response::mailbox(&mut data, name, utf8);
                if !limits(tx.quota(account)?).is_empty() {
                    data.push(b' ');
                    response::string(&mut data, root_name(tx, viewer, account)?.as_bytes(), utf8);
                }
                response::line(&mut data, "");
                account
            }
        };
        told(&mut data, &root_name(tx, viewer, account)?, tx.quota(account)?, utf8);
        Ok(Some(data))
    }
}

fn no_root() -> Status {
    Status::no("NONEXISTENT", "There is no such quota root")
}

/// In whose account a mailbox is; of others' only those that the client may read (RFC 9208 §6).
fn account_of(tx: &ReadTx, viewer: AccountId, name: &str) -> store::Result<AccountId> {
    if !store::is_shared_name(name) {
        return Ok(viewer);
    }
    Ok(Granted::find_for(tx, viewer, name, Rights::READ)?.account)
}

/// Whose root it is.
fn whose(tx: &ReadTx, viewer: AccountId, root: &str) -> store::Result<Option<AccountId>> {
    if root.is_empty() {
        return Ok(Some(viewer));
    }
    let address = root.strip_prefix(OTHERS).and_then(|rest| rest.strip_prefix(DELIMITER));
    let Some(address) = address else { return Ok(None) };
    Ok(tx.account_by_login(address)?.map(|account| account.id))
}

fn root_name(tx: &ReadTx, viewer: AccountId, account: AccountId) -> store::Result<String> {
    if account == viewer {
        return Ok(String::new());
    }
    let owner = tx.account(account)?.ok_or_else(|| Error::NotFound("account".into()))?;
    Ok(format!("{OTHERS}{DELIMITER}{}", owner.address))
}

/// Its own, any for an administrator, and those of mailboxes that it may read.
fn may_see(tx: &ReadTx, viewer: AccountId, account: AccountId) -> store::Result<bool> {
    if account == viewer || tx.is_administrator(viewer)? {
        return Ok(true);
    }
    Ok(tx.shares(viewer)?.iter().any(|share| share.owner == account && share.rights.contains(Rights::READ)))
}

/// What is not limited is not told (RFC 9208 §4.2.1), and a root without any limit not at all: its grammar has no
/// empty list, and Thunderbird's parser fails at one.
fn told(data: &mut Vec<u8>, root: &str, quota: Quota, utf8: bool) {
    let limits = limits(quota);
    if limits.is_empty() {
        return;
    }
    data.extend_from_slice(b"* QUOTA ");
    response::string(data, root.as_bytes(), utf8);
    response::line(data, &format!(" ({})", limits.join(" ")));
}

/// Each resource that is limited, with its use and its limit.
fn limits(quota: Quota) -> Vec<String> {
    let storage = quota.octets_max.map(|max| format!("STORAGE {} {}", units(quota.used_octets), units(max)));
    let messages = quota.emails_max.map(|max| format!("MESSAGE {} {max}", quota.emails));
    storage.into_iter().chain(messages).collect()
}

/// Rounded up, so that a full account shows as full.
const fn units(octets: u64) -> u64 {
    octets.div_ceil(UNIT_OCTETS)
}

/// What became of SETQUOTA.
enum Setting {
    Done(Vec<u8>),
    NoRoot,
}

impl SetQuota {
    /// Sets the limits, for administrators.
    pub(crate) async fn run(self, server: &mut Server) -> Outcome {
        if let Some((name, _)) = self.limits.iter().find(|(name, _)| !matches!(name.as_str(), "STORAGE" | "MESSAGE")) {
            let known = name.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-');
            let name = if known { name } else { "that" };
            return Err(Status::no("CANNOT", format!("STORAGE and MESSAGE can be limited, {name} cannot")));
        }
        let (viewer, utf8) = (server.account(), server.enabled().utf8());
        let limit = |wanted: &str| self.limits.iter().find(|(name, _)| name == wanted).map(|(_, limit)| *limit);
        let (octets_max, emails_max) = (limit("STORAGE").map(|units| units.saturating_mul(UNIT_OCTETS)), limit("MESSAGE"));
        let set = server.write(move |tx| {
            if !tx.is_administrator(viewer)? {
                return Err(Error::Denied);
            }
            let Some(account) = whose(tx, viewer, &self.root)? else { return Ok(Setting::NoRoot) };
            tx.account_set_quota(account, octets_max)?;
            tx.account_set_quota_emails(account, emails_max)?;
            let mut data = Vec::new();
            told(&mut data, &root_name(tx, viewer, account)?, tx.quota(account)?, utf8);
            Ok(Setting::Done(data))
        });
        match set.await? {
            Setting::NoRoot => Err(no_root()),
            Setting::Done(data) => {
                let last = server.finish(Status::ok("Done"), true).await?;
                Ok(serve::before(data, last))
            }
        }
    }
}
