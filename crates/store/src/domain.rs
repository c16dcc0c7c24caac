//! The domains whose mail is ours.
//!
//! Not routing: a domain that we only relay for is not here.

use crate::alias::Target;
use crate::error::{Error, Result};
use crate::index::KeyRange;
use crate::key::{self, Key};
use crate::record::Record;
use crate::schema::Space;
use crate::tx::{ReadTx, WriteTx};
use mail::{Domain, Timestamp};
use serde::{Deserialize, Serialize};

/// A domain that is ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DomainRecord {
    /// Where mail to addresses that do not exist goes; none: it is refused.
    pub catch_all: Option<Vec<Target>>,
    /// When it was added.
    pub created: Timestamp,
}

impl Record for DomainRecord {
    const SPACE: Space = Space::Domain;
    const NAME: &'static str = "domain record";
}

pub(crate) fn key(domain: &Domain) -> Vec<u8> {
    Key::default().text(domain.as_str()).done()
}

impl ReadTx {
    /// The domain, if it is ours.
    ///
    /// # Errors
    /// When the store fails.
    pub fn domain(&self, domain: &Domain) -> Result<Option<DomainRecord>> {
        self.record(&key(domain))
    }

    /// Every domain of ours, in order.
    ///
    /// # Errors
    /// When the store fails.
    pub fn domains(&self) -> Result<Vec<(Domain, DomainRecord)>> {
        let read = |(key, record): (Vec<u8>, DomainRecord)| {
            let domain = key::text(&key, 0).and_then(|text| Domain::parse(text).ok());
            domain.map(|domain| (domain, record)).ok_or_else(|| crate::record::unreadable::<DomainRecord>(&key))
        };
        self.records(&KeyRange::all())?.into_iter().map(read).collect()
    }

    /// The record of a domain that must be ours.
    pub(crate) fn domain_of_ours(&self, domain: &Domain) -> Result<DomainRecord> {
        self.domain(domain)?.ok_or(Error::NotFound("domain".into()))
    }
}

impl WriteTx {
    /// Makes a domain ours.
    ///
    /// # Errors
    /// When it is ours already.
    pub fn domain_add(&mut self, domain: &Domain, now: Timestamp) -> Result<()> {
        if self.domain(domain)?.is_some() {
            return Err(Error::Exists("domain".into()));
        }
        self.save(&key(domain), &DomainRecord { catch_all: None, created: now })
    }

    /// Sets where mail to unknown addresses of the domain goes; `None`: it is refused.
    ///
    /// # Errors
    /// When the domain is not ours, or a target is an account that does not exist.
    pub fn domain_catch_all_set(&mut self, domain: &Domain, catch_all: Option<Vec<Target>>) -> Result<()> {
        let record = self.domain_of_ours(domain)?;
        self.targets_check(catch_all.as_deref().unwrap_or_default())?;
        self.save(&key(domain), &DomainRecord { catch_all: catch_all.filter(|targets| !targets.is_empty()), ..record })
    }

    /// Makes a domain no longer ours.
    ///
    /// # Errors
    /// When it is not ours, or accounts or aliases still have addresses in it.
    pub fn domain_remove(&mut self, domain: &Domain) -> Result<()> {
        self.domain_of_ours(domain)?;
        if self.addresses()?.iter().any(|(address, _)| address.domain() == domain) {
            return Err(Error::InUse("domain".into()));
        }
        for (selector, _) in self.dkim_keys(domain)? {
            self.dkim_key_remove(domain, &selector)?;
        }
        self.delete(Space::Domain, &key(domain));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{address, now, said, tx, world};

    #[test]
    fn a_domain_is_ours_until_it_is_removed() {
        let store = crate::Store::memory();
        tx(&store, move |tx| {
            let domain = Domain::parse("Example.ORG").unwrap();
            assert_eq!(tx.domain(&domain)?, None);
            tx.domain_add(&domain, now())?;
            assert_eq!(said(tx.domain_add(&domain, now())), "domain exists already");
            assert!(tx.domains()?.iter().map(|(domain, _)| domain).eq([&domain]));
            tx.domain_remove(&domain)?;
            assert_eq!(said(tx.domain_remove(&domain)), "domain does not exist");
            Ok(())
        });
    }

    #[test]
    fn a_domain_with_addresses_stays() {
        let (store, ann) = world();
        tx(&store, move |tx| {
            let domain = Domain::parse("example.org").unwrap();
            assert_eq!(said(tx.domain_remove(&domain)), "domain is in use");
            tx.account_remove(ann)?;
            tx.alias_set(&address("info@example.org"), vec![Target::Address(address("x@y.example"))])?;
            assert_eq!(said(tx.domain_remove(&domain)), "domain is in use");
            tx.alias_remove(&address("info@example.org"))?;
            tx.domain_remove(&domain)
        });
    }
}
