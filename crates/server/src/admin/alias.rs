//! Aliases: addresses of ours that lead to accounts and to addresses elsewhere.

use super::{Admin, Operation, address};
use crate::failure::{Failure, Result};
use mail::Address;
use serde::{Deserialize, Serialize};
use store::{ReadTx, Target};

/// An alias as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AliasView {
    /// The address.
    pub address: String,
    /// Where its mail goes: accounts by their address, and addresses elsewhere.
    pub targets: Vec<String>,
}

/// Adds targets to an alias, and makes it if it is not there.
#[derive(Debug, Serialize, Deserialize)]
pub struct Add {
    /// The address.
    pub address: String,
    /// Accounts and other addresses.
    pub targets: Vec<String>,
}

impl Operation for Add {
    const NAME: &'static str = "alias.add";
    type Answer = AliasView;

    fn run(self, on: &Admin) -> Result<AliasView> {
        let alias = address(&self.address)?;
        on.change(move |tx| {
            let mut targets = tx.alias(&alias)?.unwrap_or_default();
            for target in read_targets(tx, &self.targets)? {
                if !targets.contains(&target) {
                    targets.push(target);
                }
            }
            tx.alias_set(&alias, targets.clone()).map_err(|error| named(error, &alias))?;
            Ok(AliasView { address: alias.to_string(), targets: show_targets(tx, &targets)? })
        })
    }
}

fn named(error: store::Error, alias: &Address) -> Failure {
    match error {
        store::Error::NotFound(_) => Failure::not_found("domain", alias.domain()).hint(format!("postrider domain add {}", alias.domain())),
        store::Error::Exists(_) => store::Error::Exists(format!("an account {alias}")).into(),
        error => error.into(),
    }
}

/// All aliases.
#[derive(Debug, Serialize, Deserialize)]
pub struct List {}

impl Operation for List {
    const NAME: &'static str = "alias.list";
    type Answer = Vec<AliasView>;

    fn run(self, on: &Admin) -> Result<Vec<AliasView>> {
        on.read(|tx| {
            let shown = |(address, targets): (Address, Vec<Target>)| {
                Ok(AliasView { address: address.to_string(), targets: show_targets(tx, &targets)? })
            };
            tx.aliases()?.into_iter().map(shown).collect()
        })
    }
}

/// Removes targets from an alias; the alias itself if none is named or none is left.
#[derive(Debug, Serialize, Deserialize)]
pub struct Remove {
    /// The address.
    pub address: String,
    /// What it shall no longer lead to.
    pub targets: Vec<String>,
}

impl Operation for Remove {
    const NAME: &'static str = "alias.remove";
    type Answer = AliasView;

    fn run(self, on: &Admin) -> Result<AliasView> {
        let alias = address(&self.address)?;
        on.change(move |tx| {
            let mut targets = tx.alias(&alias)?.ok_or_else(|| Failure::not_found("alias", &alias))?;
            let unwanted = read_targets(tx, &self.targets)?;
            if let Some(stranger) = unwanted.iter().find(|target| !targets.contains(target)) {
                let name = show_target(tx, stranger)?;
                return Err(Failure::not_found("target", format!("{name} of {alias}")));
            }
            targets.retain(|target| !unwanted.is_empty() && !unwanted.contains(target));
            if targets.is_empty() {
                tx.alias_remove(&alias)?;
            } else {
                tx.alias_set(&alias, targets.clone())?;
            }
            Ok(AliasView { address: alias.to_string(), targets: show_targets(tx, &targets)? })
        })
    }
}

/// Reads targets: the address of an account means the account, any other an address.
pub(super) fn read_targets(tx: &ReadTx, texts: &[String]) -> Result<Vec<Target>> {
    let read = |text: &String| {
        let target = address(text)?;
        let account = tx.account_by_login(text)?.filter(|account| account.address.key() == target.key());
        Ok(account.map_or(Target::Address(target), |account| Target::Account(account.id)))
    };
    texts.iter().map(read).collect()
}

pub(super) fn show_targets(tx: &ReadTx, targets: &[Target]) -> Result<Vec<String>> {
    targets.iter().map(|target| show_target(tx, target)).collect()
}

fn show_target(tx: &ReadTx, target: &Target) -> Result<String> {
    Ok(match target {
        Target::Account(id) => tx.account(*id)?.map_or_else(|| format!("account {id}"), |account| account.address.to_string()),
        Target::Address(address) => address.to_string(),
    })
}
