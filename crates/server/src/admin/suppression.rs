//! Addresses elsewhere that get no mail of a user, or of anybody, for a while.

use super::user::find;
use super::{Admin, Operation, address};
use crate::clock::now;
use crate::failure::{Failure, Result};
use crate::output::rfc3339;
use mail::AccountId;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use store::{FOR_EVER, ReadTx, Suppression};

/// A suppression as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SuppressionView {
    /// Whose mail it gets no more; null: everybody's.
    pub user: Option<String>,
    /// The address.
    pub address: String,
    /// Whether it gets none now; otherwise failures are counted.
    pub suppressed: bool,
    /// How often mail to it failed lately; 0: an administrator put it here.
    pub failures: u32,
    /// When that was last, RFC 3339.
    pub last: String,
    /// Until when it gets none, RFC 3339; null: for ever, or it still gets mail.
    pub until: Option<String>,
    /// The last failure, or the administrator's words.
    pub reason: String,
}

fn view(tx: &ReadTx, account: Option<AccountId>, known: &Suppression) -> Result<SuppressionView> {
    let named = |id: AccountId| Ok(tx.account(id)?.map_or_else(|| format!("account {id}"), |account| account.address.to_string()));
    Ok(SuppressionView {
        user: account.map(named).transpose().map_err(|error: store::Error| Failure::from(error))?,
        address: known.address.to_string(),
        suppressed: known.until.is_some_and(|until| until > now()),
        failures: known.failures,
        last: rfc3339(known.last),
        until: known.until.filter(|until| *until < FOR_EVER).map(rfc3339),
        reason: known.reason.clone(),
    })
}

fn writer(tx: &ReadTx, user: Option<&str>) -> Result<Option<AccountId>> {
    user.map(|user| Ok(find(tx, user)?.id)).transpose()
}

/// What is suppressed.
#[derive(Debug, Serialize, Deserialize)]
pub struct List {
    /// Only for this user.
    pub user: Option<String>,
    /// Also addresses whose failures are only counted yet.
    pub all: bool,
}

impl Operation for List {
    const NAME: &'static str = "suppression.list";
    type Answer = Vec<SuppressionView>;

    fn run(self, on: &Admin) -> Result<Vec<SuppressionView>> {
        on.read(move |tx| {
            let only = writer(tx, self.user.as_deref())?;
            let known = tx.suppressions()?.into_iter().filter(|(account, _)| only.is_none() || *account == only);
            let views = known.map(|(account, known)| view(tx, account, &known)).collect::<Result<Vec<_>>>()?;
            Ok(views.into_iter().filter(|view| self.all || view.suppressed).collect())
        })
    }
}

/// Suppresses an address.
#[derive(Debug, Serialize, Deserialize)]
pub struct Add {
    /// The address.
    pub address: String,
    /// For this user's mail only.
    pub user: Option<String>,
    /// How long, seconds; nothing: until it is removed.
    pub seconds: Option<u64>,
    /// Why, for those who write to it.
    pub reason: String,
}

impl Operation for Add {
    const NAME: &'static str = "suppression.add";
    type Answer = SuppressionView;

    fn run(self, on: &Admin) -> Result<SuppressionView> {
        let (address, now) = (address(&self.address)?, now());
        let until = self.seconds.map_or(FOR_EVER, |seconds| now.after(Duration::from_secs(seconds)));
        on.change(move |tx| {
            let account = writer(tx, self.user.as_deref())?;
            let known = Suppression { address: address.clone(), failures: 0, last: now, until: Some(until), reason: self.reason.clone() };
            tx.suppression_set(account, &known)?;
            view(tx, account, &known)
        })
    }
}

/// Lets an address get mail again.
#[derive(Debug, Serialize, Deserialize)]
pub struct Remove {
    /// The address.
    pub address: String,
    /// For this user's mail only; nothing: for everybody's, whoever it was suppressed for.
    pub user: Option<String>,
}

impl Operation for Remove {
    const NAME: &'static str = "suppression.remove";
    type Answer = Vec<SuppressionView>;

    fn run(self, on: &Admin) -> Result<Vec<SuppressionView>> {
        let address = address(&self.address)?;
        on.change(move |tx| {
            let only = writer(tx, self.user.as_deref())?;
            let of_address = |known: &Suppression| known.address.key() == address.key();
            let meant: Vec<_> = tx
                .suppressions()?
                .into_iter()
                .filter(|(account, known)| of_address(known) && (only.is_none() || *account == only))
                .collect();
            if meant.is_empty() {
                return Err(Failure::not_found("suppression of", &address).hint("postrider suppression list --all"));
            }
            let mut views = Vec::with_capacity(meant.len());
            for (account, known) in &meant {
                tx.suppression_remove(*account, &known.address)?;
                views.push(view(tx, *account, known)?);
            }
            Ok(views)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn admin() -> Admin {
        let mail = Arc::new(mta::Settings::new(mail::Domain::parse("mx.example").unwrap()));
        Admin { store: store::Store::memory(), service: None, dry_run: false, mail }
    }

    #[test]
    fn administrators_suppress_and_forgive() {
        let admin = admin();
        let add = |address: &str, seconds| Add { address: address.into(), user: None, seconds, reason: "asked".into() }.run(&admin);
        assert!(add("X@y.example", None).unwrap().until.is_none());
        assert!(add("z@y.example", Some(60)).unwrap().until.is_some());
        assert!(add("nonsense", None).is_err());
        let listed = List { user: None, all: false }.run(&admin).unwrap();
        assert_eq!(listed.iter().map(|view| view.address.as_str()).collect::<Vec<_>>(), ["X@y.example", "z@y.example"]);
        assert!(List { user: Some("nobody@x.example".into()), all: false }.run(&admin).is_err());
        assert_eq!(Remove { address: "x@y.example".into(), user: None }.run(&admin).unwrap().len(), 1);
        assert!(Remove { address: "x@y.example".into(), user: None }.run(&admin).is_err());
    }
}
