//! Domains and addresses: whose they are must exist.

use super::Check;
use crate::account::AccountRecord;
use crate::alias::{self, AddressRecord, Target};
use crate::domain::{self, DomainRecord};
use crate::error::Result;
use crate::index::KeyRange;
use crate::key;
use crate::record::Record;
use crate::schema::Space;
use mail::{AccountId, Domain};

impl Check<'_> {
    pub(super) fn addresses(&mut self) -> Result<()> {
        for (key, domain) in self.records::<DomainRecord>(&KeyRange::all())? {
            self.targets(Space::Domain, &key, domain.catch_all.as_deref().unwrap_or_default());
        }
        for (key, address) in self.records::<AddressRecord>(&KeyRange::all())? {
            self.domain_exists(&key)?;
            match address {
                AddressRecord::Alias(_, targets) => self.targets(Space::Address, &key, &targets),
                AddressRecord::Account(account) => self.owner(&key, account)?,
            }
        }
        Ok(())
    }

    fn domain_exists(&mut self, address: &[u8]) -> Result<()> {
        let domain = key::text(address, 0).and_then(|text| text.rsplit_once('@')).and_then(|(_, domain)| Domain::parse(domain).ok());
        let exists = match domain {
            Some(domain) => self.tx.has(DomainRecord::SPACE, &domain::key(&domain))?,
            None => false,
        };
        if !exists {
            self.find(Space::Address, address, "its domain is not ours");
        }
        Ok(())
    }

    fn targets(&mut self, space: Space, key: &[u8], targets: &[Target]) {
        for target in targets {
            if let Target::Account(account) = target
                && !self.accounts.contains(account)
            {
                self.find(space, key, format!("leads to account {account}, which does not exist"));
            }
        }
    }

    fn owner(&mut self, key: &[u8], account: AccountId) -> Result<()> {
        let record = self.record::<AccountRecord>(&key::account(account))?;
        if record.is_none_or(|record| alias::key(&record.address) != key) {
            self.find(Space::Address, key, format!("names account {account}, whose address is another"));
        }
        Ok(())
    }
}
