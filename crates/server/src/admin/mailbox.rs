//! Mailboxes that users share: who may do what with whose.

use super::user::find;
use super::{Admin, Operation};
use crate::failure::{Failure, Result};
use mail::{AccountId, Rights};
use serde::{Deserialize, Serialize};
use store::{Account, Grant, Grantee, Mailbox, ReadTx};

/// Rights that somebody has to a mailbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShareView {
    /// Whose mailbox.
    pub address: String,
    /// Its full name.
    pub mailbox: String,
    /// Who has the rights: an address, or `anyone` in the owner's domain.
    pub grantee: String,
    /// These rights are taken from what others give.
    pub negative: bool,
    /// The letters of RFC 4314; none once they are taken away.
    pub rights: String,
}

/// Gives somebody exactly these rights to a user's mailbox.
#[derive(Debug, Serialize, Deserialize)]
pub struct Share {
    /// Whose mailbox.
    pub address: String,
    /// Its full name.
    pub mailbox: String,
    /// To whom: an address, or `anyone`.
    pub grantee: String,
    /// Take these rights from what others give.
    pub negative: bool,
    /// The letters of RFC 4314; empty: none any more.
    pub rights: String,
}

impl Operation for Share {
    const NAME: &'static str = "mailbox.share";
    type Answer = ShareView;

    fn run(self, on: &Admin) -> Result<ShareView> {
        let rights = Rights::parse(&self.rights).map_err(|error| Failure::usage(error.to_string()))?;
        on.change(move |tx| {
            let owner = find(tx, &self.address)?;
            let mailbox = mailbox(tx, &owner, &self.mailbox)?;
            let grant = Grant { grantee: grantee(tx, &self.grantee)?, negative: self.negative, rights };
            tx.grant_set(owner.id, mailbox.id, grant)?;
            view(tx, &owner, &mailbox, &grant)
        })
    }
}

/// What users share.
#[derive(Debug, Serialize, Deserialize)]
pub struct List {
    /// Only this user's.
    pub address: Option<String>,
}

impl Operation for List {
    const NAME: &'static str = "mailbox.list";
    type Answer = Vec<ShareView>;

    fn run(self, on: &Admin) -> Result<Vec<ShareView>> {
        on.read(move |tx| {
            let owners = match &self.address {
                Some(address) => vec![find(tx, address)?],
                None => tx.accounts()?,
            };
            let mut views = Vec::new();
            for owner in owners {
                for mailbox in tx.mailboxes(owner.id)? {
                    for grant in tx.grants(owner.id, mailbox.id)? {
                        views.push(view(tx, &owner, &mailbox, &grant)?);
                    }
                }
            }
            Ok(views)
        })
    }
}

fn mailbox(tx: &ReadTx, owner: &Account, name: &str) -> Result<Mailbox> {
    tx.mailbox_by_name(owner.id, name)?.ok_or_else(|| Failure::not_found("mailbox", name))
}

fn grantee(tx: &ReadTx, text: &str) -> Result<Grantee> {
    if text == ANYONE { Ok(Grantee::Anyone) } else { Ok(Grantee::Account(find(tx, text)?.id)) }
}

const ANYONE: &str = "anyone";

fn view(tx: &ReadTx, owner: &Account, mailbox: &Mailbox, grant: &Grant) -> Result<ShareView> {
    let address = |id: AccountId| Ok::<_, Failure>(tx.account(id)?.map(|account| account.address.to_string()).unwrap_or_default());
    let grantee = match grant.grantee {
        Grantee::Anyone => ANYONE.to_owned(),
        Grantee::Account(id) => address(id)?,
    };
    let (address, mailbox) = (owner.address.to_string(), mailbox.name.clone());
    Ok(ShareView { address, mailbox, grantee, negative: grant.negative, rights: grant.rights.to_string() })
}
