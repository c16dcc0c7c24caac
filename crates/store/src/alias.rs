//! Whose an address is: accounts, aliases, subaddresses, catch-alls.
//!
//! Not the routing of foreign mail: an address elsewhere ends here as [`Delivery::Forward`].
//!
//! Order of resolution: the address itself; without its `+detail` (RFC 5233); the catch-all of its
//! domain. Aliases may lead to aliases; each address is followed once, so that loops end, and an alias
//! that leads only to itself is nobody's.
//!
//! Invariant: an address is an account's or an alias, never both.

use crate::error::{Error, Result};
use crate::index::KeyRange;
use crate::key::{self, Key};
use crate::record::{Record, unreadable};
use crate::schema::Space;
use crate::tx::{ReadTx, WriteTx};
use mail::{AccountId, Address};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Most targets of one alias or catch-all. Our own bound; a larger circle is a mailing list's work.
pub const TARGETS_MAX: usize = 1_000;
/// Most aliases followed in a row. Our own bound.
pub const ALIAS_DEPTH_MAX: usize = 10;
/// Most deliveries of one recipient. Our own bound: what lies beyond is an error of the settings.
pub const DELIVERIES_MAX: usize = 2_000;

/// Where an alias leads.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Target {
    /// An account, whatever its address becomes.
    Account(AccountId),
    /// An address, ours or not.
    Address(Address),
}

/// What an address of ours is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum AddressRecord {
    /// The address of an account.
    Account(AccountId),
    /// As it was written, and where it leads.
    Alias(Address, Vec<Target>),
}

impl Record for AddressRecord {
    const SPACE: Space = Space::Address;
    const NAME: &'static str = "address record";
}

/// Whose an address is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolution {
    /// The domain is not ours.
    NotLocal,
    /// The domain is ours and has no such address (550 5.1.1).
    Unknown,
    /// Where the mail goes; each once, never none.
    Found(Vec<Delivery>),
}

/// What stands before a detail unless the operator says otherwise.
const SEPARATOR: &str = "+";

/// One place to which mail for an address goes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Delivery {
    /// An account here.
    Mailbox {
        /// Whose.
        account: AccountId,
        /// What stood behind the `+` (RFC 5233 §1).
        detail: Option<String>,
    },
    /// An address elsewhere.
    Forward(Address),
}

/// What has been followed and found so far.
struct Walk<'a> {
    /// One of these stands before a detail.
    separators: &'a str,
    seen: BTreeSet<String>,
    found: Vec<Delivery>,
}

pub(crate) fn key(address: &Address) -> Vec<u8> {
    Key::default().text(&address.key()).done()
}

impl ReadTx {
    pub(crate) fn address(&self, address: &Address) -> Result<Option<AddressRecord>> {
        self.record(&key(address))
    }

    /// Every address of ours with what it is, in order.
    pub(crate) fn addresses(&self) -> Result<Vec<(Address, AddressRecord)>> {
        let read = |(key, record): (Vec<u8>, AddressRecord)| {
            let address = key::text(&key, 0).and_then(read_key);
            address.map(|address| (address, record)).ok_or_else(|| unreadable::<AddressRecord>(&key))
        };
        self.records(&KeyRange::all())?.into_iter().map(read).collect()
    }

    /// Every alias as it was written, and where it leads; in order.
    ///
    /// # Errors
    /// When the store fails.
    pub fn aliases(&self) -> Result<Vec<(Address, Vec<Target>)>> {
        let alias = |(_, record)| match record {
            AddressRecord::Alias(address, targets) => Some((address, targets)),
            AddressRecord::Account(_) => None,
        };
        Ok(self.addresses()?.into_iter().filter_map(alias).collect())
    }

    /// Where an alias leads; `None`: there is no such alias.
    ///
    /// # Errors
    /// When the store fails.
    pub fn alias(&self, address: &Address) -> Result<Option<Vec<Target>>> {
        Ok(match self.address(address)? {
            Some(AddressRecord::Alias(_, targets)) => Some(targets),
            _ => None,
        })
    }

    /// Whether an account may send as an address: its own, with any `+detail`, or an alias of ours
    /// that leads to it.
    ///
    /// # Errors
    /// When the store fails.
    pub fn may_send_as(&self, account: AccountId, address: &Address) -> Result<bool> {
        self.may_send_as_by(account, address, SEPARATOR)
    }

    /// The same where other characters stand before a detail.
    ///
    /// # Errors
    /// When the store fails.
    pub fn may_send_as_by(&self, account: AccountId, address: &Address, separators: &str) -> Result<bool> {
        let Resolution::Found(deliveries) = self.resolve_by(address, separators)? else { return Ok(false) };
        let reached = deliveries.iter().any(|d| matches!(d, Delivery::Mailbox { account: found, .. } if *found == account));
        // What only the catch-all leads here is not the account's own.
        let own = self.address(address)?.is_some() || self.base(address, separators)?.is_some();
        Ok(reached && own)
    }

    /// Whose an address is.
    ///
    /// # Errors
    /// When the store fails, or aliases lead to more than [`DELIVERIES_MAX`] places.
    pub fn resolve(&self, address: &Address) -> Result<Resolution> {
        self.resolve_by(address, SEPARATOR)
    }

    /// The same where other characters stand before a detail.
    ///
    /// # Errors
    /// As there.
    pub fn resolve_by(&self, address: &Address, separators: &str) -> Result<Resolution> {
        if self.domain(address.domain())?.is_none() {
            return Ok(Resolution::NotLocal);
        }
        let mut walk = Walk::new(separators);
        self.follow(address, None, 0, &mut walk)?;
        Ok(if walk.found.is_empty() { Resolution::Unknown } else { Resolution::Found(walk.found) })
    }

    fn follow(&self, address: &Address, detail: Option<&str>, depth: usize, walk: &mut Walk<'_>) -> Result<()> {
        if depth > ALIAS_DEPTH_MAX || !walk.seen.insert(address.key()) {
            return Ok(());
        }
        let Some(domain) = self.domain(address.domain())? else { return walk.find(Delivery::Forward(address.clone())) };
        if let Some(record) = self.address(address)? {
            return self.follow_record(record, detail, depth, walk);
        }
        if let Some((record, detail)) = self.base(address, walk.separators)? {
            return self.follow_record(record, Some(detail), depth, walk);
        }
        self.follow_targets(domain.catch_all.as_deref().unwrap_or_default(), detail, depth, walk)
    }

    /// What the address without its detail is, and the detail.
    fn base<'a>(&self, address: &'a Address, separators: &str) -> Result<Option<(AddressRecord, &'a str)>> {
        let Some((base, detail)) = address.split_at_any(separators) else { return Ok(None) };
        Ok(self.address(&base)?.map(|record| (record, detail)))
    }

    fn follow_record(&self, record: AddressRecord, detail: Option<&str>, depth: usize, walk: &mut Walk<'_>) -> Result<()> {
        match record {
            AddressRecord::Account(account) => walk.find(mailbox(account, detail)),
            AddressRecord::Alias(_, targets) => self.follow_targets(&targets, detail, depth, walk),
        }
    }

    fn follow_targets(&self, targets: &[Target], detail: Option<&str>, depth: usize, walk: &mut Walk<'_>) -> Result<()> {
        targets.iter().try_for_each(|target| match target {
            Target::Account(account) => walk.find(mailbox(*account, detail)),
            Target::Address(address) => self.follow(address, detail, depth + 1, walk),
        })
    }
}

fn mailbox(account: AccountId, detail: Option<&str>) -> Delivery {
    Delivery::Mailbox { account, detail: detail.filter(|detail| !detail.is_empty()).map(str::to_owned) }
}

/// The address of a key: its local part is not quoted there.
fn read_key(key: &str) -> Option<Address> {
    let (local, domain) = key.rsplit_once('@')?;
    let quoted = local.replace('\\', "\\\\").replace('"', "\\\"");
    Address::parse(key).or_else(|_| Address::parse(&format!("\"{quoted}\"@{domain}"))).ok()
}

impl<'a> Walk<'a> {
    const fn new(separators: &'a str) -> Self {
        Self { separators, seen: BTreeSet::new(), found: Vec::new() }
    }

    fn find(&mut self, delivery: Delivery) -> Result<()> {
        if self.found.contains(&delivery) {
            return Ok(());
        }
        if self.found.len() >= DELIVERIES_MAX {
            return Err(Error::Limit("deliveries of one recipient".into()));
        }
        self.found.push(delivery);
        Ok(())
    }
}

impl WriteTx {
    /// Makes an address an alias, or leads it elsewhere.
    ///
    /// # Errors
    /// When its domain is not ours, an account has the address, there is no target or more than
    /// [`TARGETS_MAX`], or a target is an account that does not exist.
    pub fn alias_set(&mut self, address: &Address, targets: Vec<Target>) -> Result<()> {
        self.domain_of_ours(address.domain())?;
        if matches!(self.address(address)?, Some(AddressRecord::Account(_))) {
            return Err(Error::Exists("account".into()));
        }
        if targets.is_empty() {
            return Err(Error::Invalid("an alias needs a target".into()));
        }
        self.targets_check(&targets)?;
        self.save(&key(address), &AddressRecord::Alias(address.clone(), targets))
    }

    /// Removes an alias.
    ///
    /// # Errors
    /// When there is no such alias.
    pub fn alias_remove(&mut self, address: &Address) -> Result<()> {
        self.alias(address)?.ok_or(Error::NotFound("alias".into()))?;
        self.delete(Space::Address, &key(address));
        Ok(())
    }

    pub(crate) fn targets_check(&self, targets: &[Target]) -> Result<()> {
        if targets.len() > TARGETS_MAX {
            return Err(Error::Limit("targets of one alias".into()));
        }
        targets.iter().try_for_each(|target| match target {
            Target::Account(account) => self.counters(*account).map(|_| ()),
            Target::Address(_) => Ok(()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{account_add, address, now, said, tx, world};
    use mail::Domain;

    fn targets(texts: &[&str]) -> Vec<Target> {
        texts.iter().map(|text| Target::Address(address(text))).collect()
    }

    fn shown(resolution: Resolution) -> String {
        match resolution {
            Resolution::NotLocal => "not local".to_owned(),
            Resolution::Unknown => "unknown".to_owned(),
            Resolution::Found(found) => found.iter().map(show).collect::<Vec<_>>().join(" "),
        }
    }

    fn show(delivery: &Delivery) -> String {
        match delivery {
            Delivery::Mailbox { account, detail: None } => account.to_string(),
            Delivery::Mailbox { account, detail: Some(detail) } => format!("{account}+{detail}"),
            Delivery::Forward(address) => address.to_string(),
        }
    }

    #[test]
    fn addresses_lead_where_they_should() {
        let (store, ann) = world();
        tx(&store, move |tx| {
            let bob = account_add(tx, "Bob@example.org")?;
            assert_eq!((ann, bob), (AccountId(1), AccountId(2)));
            tx.alias_set(&address("info@example.org"), targets(&["ANN@example.org", "x@y.example", "bob+info@example.org"]))?;
            tx.alias_set(&address("all@example.org"), targets(&["info@example.org", "ann@example.org"]))?;
            tx.alias_set(&address("loop@example.org"), targets(&["pool@example.org"]))?;
            tx.alias_set(&address("pool@example.org"), targets(&["loop@example.org"]))?;
            tx.alias_set(&address("half@example.org"), targets(&["half@example.org", "bob@example.org"]))?;
            tx.alias_set(&address("dead@example.org"), targets(&["nobody@example.org"]))?;
            tx.alias_set(&address("\"odd one\"@example.org"), vec![Target::Account(bob)])?;
            tx.alias_set(&address("ann+special@example.org"), vec![Target::Account(bob)])?;
            tx.domain_add(&Domain::parse("catch.example").unwrap(), now())?;
            tx.domain_catch_all_set(&Domain::parse("catch.example").unwrap(), Some(vec![Target::Account(ann)]))?;
            for (recipient, want) in [
                ("ann@example.org", "1"),
                ("ANN@EXAMPLE.org", "1"),
                ("ann+shop@example.org", "1+shop"),
                ("ann+@example.org", "1"),
                ("ann+special@example.org", "2"),
                ("info@example.org", "1 x@y.example 2+info"),
                ("info+now@example.org", "1+now x@y.example 2+info"),
                ("all@example.org", "1 x@y.example 2+info"),
                ("loop@example.org", "unknown"),
                ("half@example.org", "2"),
                ("dead@example.org", "unknown"),
                ("\"Odd One\"@example.org", "2"),
                ("any@catch.example", "1"),
                ("nobody@example.org", "unknown"),
                ("nobody+x@example.org", "unknown"),
                ("x@elsewhere.example", "not local"),
            ] {
                assert_eq!(shown(tx.resolve(&address(recipient))?), want, "{recipient}");
            }
            assert_eq!(tx.aliases()?.len(), 8);
            Ok(())
        });
    }

    #[test]
    fn an_account_sends_only_as_itself() {
        let (store, ann) = world();
        tx(&store, move |tx| {
            let bob = account_add(tx, "bob@example.org")?;
            tx.alias_set(&address("info@example.org"), vec![Target::Account(ann)])?;
            tx.domain_catch_all_set(&Domain::parse("example.org").unwrap(), Some(vec![Target::Account(bob)]))?;
            for (account, sender, want) in [
                (ann, "Ann@example.org", true),
                (ann, "ann+x@example.org", true),
                (ann, "info@example.org", true),
                (bob, "info@example.org", false),
                (bob, "ann@example.org", false),
                (bob, "made-up@example.org", false),
                (ann, "ann@elsewhere.example", false),
            ] {
                assert_eq!(tx.may_send_as(account, &address(sender))?, want, "{account} {sender}");
            }
            Ok(())
        });
    }

    #[test]
    fn what_an_alias_may_not_be() {
        let (store, _) = world();
        tx(&store, move |tx| {
            for (name, leads, want) in [
                ("info@elsewhere.example", targets(&["a@b"]), "domain does not exist"),
                ("ann@example.org", targets(&["a@b"]), "account exists already"),
                ("info@example.org", vec![], "an alias needs a target"),
                ("info@example.org", vec![Target::Account(AccountId(9))], "account does not exist"),
                ("info@example.org", vec![Target::Address(address("a@b")); TARGETS_MAX + 1], "limit reached: targets of one alias"),
            ] {
                assert_eq!(said(tx.alias_set(&address(name), leads)), want, "{name}");
            }
            assert_eq!(said(tx.alias_remove(&address("ann@example.org"))), "alias does not exist");
            Ok(())
        });
    }
}
