//! Domains whose mail is ours.

use super::{Admin, Operation, dkim, domain_name};
use crate::admin::alias::{read_targets, show_targets};
use crate::clock::now;
use crate::failure::{Failure, Result};
use mail::{Address, Domain};
use mailauth::dkim::key;
use serde::{Deserialize, Serialize};
use store::{DkimKeyState, ReadTx, Resolution};

/// A domain as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DomainView {
    /// Its name, A-labels.
    pub domain: String,
    /// How many accounts have an address in it.
    pub accounts: usize,
    /// How many aliases have.
    pub aliases: usize,
    /// Who gets mail for addresses that do not exist; empty: nobody, it is refused.
    pub catch_all: Vec<String>,
    /// Whether somebody gets mail for postmaster (RFC 5321 §4.5.1).
    #[serde(default)]
    pub has_postmaster: bool,
    /// The lines to publish in DNS for its signing keys that are in use or wait.
    #[serde(default)]
    pub dns: Vec<String>,
}

/// Makes a domain ours.
#[derive(Debug, Serialize, Deserialize)]
pub struct Add {
    /// Its name.
    pub domain: String,
}

impl Operation for Add {
    const NAME: &'static str = "domain.add";
    type Answer = DomainView;

    fn run(self, on: &Admin) -> Result<DomainView> {
        let domain = domain_name(&self.domain)?;
        let keys = dkim::new_keys()?;
        on.change(move |tx| {
            if tx.domain(&domain)?.is_some() {
                return Err(store::Error::Exists(format!("the domain {domain}")).into());
            }
            tx.domain_add(&domain, now())?;
            dkim::add(tx, &domain, &keys, DkimKeyState::Signing)?;
            view(tx, &domain)
        })
    }
}

/// All domains.
#[derive(Debug, Serialize, Deserialize)]
pub struct List {}

impl Operation for List {
    const NAME: &'static str = "domain.list";
    type Answer = Vec<DomainView>;

    fn run(self, on: &Admin) -> Result<Vec<DomainView>> {
        on.read(|tx| tx.domains()?.iter().map(|(domain, _)| view(tx, domain)).collect())
    }
}

/// One domain.
#[derive(Debug, Serialize, Deserialize)]
pub struct Show {
    /// Its name.
    pub domain: String,
}

impl Operation for Show {
    const NAME: &'static str = "domain.show";
    type Answer = DomainView;

    fn run(self, on: &Admin) -> Result<DomainView> {
        let domain = domain_name(&self.domain)?;
        on.read(move |tx| view(tx, &domain))
    }
}

/// Says who gets mail for addresses of a domain that do not exist.
#[derive(Debug, Serialize, Deserialize)]
pub struct CatchAll {
    /// The domain.
    pub domain: String,
    /// Accounts and addresses elsewhere; none: such mail is refused.
    pub targets: Vec<String>,
}

impl Operation for CatchAll {
    const NAME: &'static str = "domain.catch-all";
    type Answer = DomainView;

    fn run(self, on: &Admin) -> Result<DomainView> {
        let domain = domain_name(&self.domain)?;
        on.change(move |tx| {
            view(tx, &domain)?;
            let targets = read_targets(tx, &self.targets)?;
            tx.domain_catch_all_set(&domain, (!targets.is_empty()).then_some(targets))?;
            view(tx, &domain)
        })
    }
}

/// Makes a domain no longer ours; it must have no addresses.
#[derive(Debug, Serialize, Deserialize)]
pub struct Remove {
    /// Its name.
    pub domain: String,
}

impl Operation for Remove {
    const NAME: &'static str = "domain.remove";
    type Answer = DomainView;

    fn run(self, on: &Admin) -> Result<DomainView> {
        let domain = domain_name(&self.domain)?;
        on.change(move |tx| {
            let last = view(tx, &domain)?;
            if last.accounts + last.aliases > 0 {
                let holds = format!("{domain} still has {} accounts and {} aliases", last.accounts, last.aliases);
                return Err(Failure::new(crate::failure::Code::Refused, holds).hint("remove them first"));
            }
            tx.domain_remove(&domain)?;
            Ok(last)
        })
    }
}

fn view(tx: &ReadTx, domain: &Domain) -> Result<DomainView> {
    let record = tx.domain(domain)?.ok_or_else(|| Failure::not_found("domain", domain))?;
    let accounts = tx.accounts()?.iter().filter(|account| account.address.domain() == domain).count();
    let aliases = tx.aliases()?.iter().filter(|(address, _)| address.domain() == domain).count();
    let catch_all = show_targets(tx, record.catch_all.as_deref().unwrap_or_default())?;
    let published = tx.dkim_keys(domain)?.into_iter().filter(|(_, key)| key.state != DkimKeyState::Retired);
    let dns = published.map(|(selector, key)| key::zone_line(&selector, domain.as_str(), &key.record)).collect();
    let postmaster = Address::parse(&format!("postmaster@{domain}")).ok().map(|address| tx.resolve(&address)).transpose()?;
    let has_postmaster = matches!(postmaster, Some(Resolution::Found(_)));
    Ok(DomainView { domain: domain.to_string(), accounts, aliases, catch_all, has_postmaster, dns })
}
