//! Accounts: their address, their counters, their mailboxes; and keys of accounts that do not exist.

use super::Check;
use crate::account::{AccountRecord, OF_AN_ACCOUNT};
use crate::alias::{self, AddressRecord};
use crate::error::Result;
use crate::index::{Direction, KeyRange};
use crate::key;
use crate::schema::Space;
use crate::uid::Counters;
use mail::AccountId;
use std::ops::ControlFlow;

impl Check<'_> {
    pub(super) fn account(&mut self, account: AccountId) -> Result<()> {
        self.figures(|figures| figures.accounts += 1);
        (self.progress)(&self.report.figures);
        let key = key::account(account);
        for (key, record) in self.records::<AccountRecord>(&KeyRange::prefix(&key))? {
            let owner = self.record::<AddressRecord>(&alias::key(&record.address))?;
            if owner != Some(AddressRecord::Account(account)) {
                self.find(Space::Account, &key, format!("its address {} is not known as its own", record.address));
            }
        }
        let Some((_, counters)) = self.records::<Counters>(&KeyRange::prefix(&key))?.pop() else {
            self.find(Space::Counters, &key, "the counters are missing");
            return Ok(());
        };
        self.mailboxes(account, &counters)?;
        self.grants(account)?;
        self.emails(account, &counters)?;
        self.list_feed(account, &counters)
    }

    /// Keys that belong to no account.
    pub(super) fn strangers(&mut self) -> Result<()> {
        for space in OF_AN_ACCOUNT {
            // What is suppressed for everybody's mail, and the server's own reputations, stand under no account.
            let mut from = Some(u32::from(matches!(space, Space::Suppression | Space::Reputation)));
            while let Some(start) = from {
                let found = self.first_account(space, start)?;
                if let Some((account, key)) = &found
                    && !self.accounts.contains(account)
                {
                    self.find(space, key, format!("belongs to account {account}, which does not exist"));
                }
                from = found.and_then(|(account, _)| account.0.checked_add(1));
            }
        }
        Ok(())
    }

    /// The first key of the first account from a number on.
    fn first_account(&self, space: Space, from: u32) -> Result<Option<(AccountId, Vec<u8>)>> {
        let range = KeyRange { from: key::account(AccountId(from)), to: None };
        let mut found = None;
        self.tx.scan(space, &range, Direction::Forward, |key, _| {
            found = key::number_u32(key, 0).map(|account| (AccountId(account), key.to_vec()));
            ControlFlow::Break(())
        })?;
        Ok(found)
    }
}
