//! The keys that a domain of ours signs its mail with (RFC 6376 §3.6).
//!
//! A key is made, published in DNS by an administrator, and then signs; one that no longer signs stays until
//! mail that it signed has been read. Not what signatures look like: that is `mailauth`'s business.
//!
//! Invariant: Debug output shows nothing of a key.

use crate::error::{Error, Result};
use crate::index::KeyRange;
use crate::key::{self, Key};
use crate::record::Record;
use crate::schema::Space;
use crate::tx::{ReadTx, WriteTx};
use mail::{Domain, Timestamp};
use serde::{Deserialize, Serialize};
use std::fmt;

/// A signing key.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DkimKey {
    /// `rsa-sha256` or `ed25519-sha256`.
    pub algorithm: String,
    /// The private key, PKCS #8.
    pub pkcs8: Vec<u8>,
    /// The text of its DNS record.
    pub record: String,
    /// What it is used for.
    pub state: DkimKeyState,
    /// When it was made.
    pub created: Timestamp,
    /// Since when it is used for that; since format 2.
    pub changed: Timestamp,
}

/// Format 1 of [`DkimKey`]: it was not known since when.
#[derive(Deserialize)]
struct DkimKey1 {
    algorithm: String,
    pkcs8: Vec<u8>,
    record: String,
    state: DkimKeyState,
    created: Timestamp,
}

/// What a signing key is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DkimKeyState {
    /// It is to be published; nothing is signed with it yet.
    Waiting,
    /// Mail is signed with it.
    Signing,
    /// Mail was signed with it; its record stays published for a while.
    Retired,
}

impl Record for DkimKey {
    const SPACE: Space = Space::DkimKey;
    const NAME: &'static str = "signing key";
    const FORMAT: u8 = 2;

    fn upgrade(format: u8, octets: &[u8]) -> Option<Self> {
        let old: DkimKey1 = (format == 1).then(|| postcard::from_bytes(octets).ok()).flatten()?;
        let DkimKey1 { algorithm, pkcs8, record, state, created } = old;
        Some(Self { algorithm, pkcs8, record, state, created, changed: created })
    }
}

impl fmt::Debug for DkimKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DkimKey({}, {:?}, [secret])", self.algorithm, self.state)
    }
}

/// The keys of a domain; a zero octet ends its name.
fn prefix(domain: &Domain) -> Vec<u8> {
    Key::default().text(domain.as_str()).text("\0").done()
}

fn key(domain: &Domain, selector: &str) -> Vec<u8> {
    Key::default().text(domain.as_str()).text("\0").text(selector).done()
}

impl ReadTx {
    /// The keys of a domain with their selectors, in the order of those.
    ///
    /// # Errors
    /// When the store fails.
    pub fn dkim_keys(&self, domain: &Domain) -> Result<Vec<(String, DkimKey)>> {
        let prefix = prefix(domain);
        let at = prefix.len();
        let read = |(key, record): (Vec<u8>, DkimKey)| {
            let selector = key::text(&key, at).map(str::to_owned);
            selector.map(|selector| (selector, record)).ok_or_else(|| crate::record::unreadable::<DkimKey>(&key))
        };
        self.records(&KeyRange::prefix(&prefix))?.into_iter().map(read).collect()
    }

    /// The keys that sign a domain's mail.
    ///
    /// # Errors
    /// When the store fails.
    pub fn dkim_signing_keys(&self, domain: &Domain) -> Result<Vec<(String, DkimKey)>> {
        let mut keys = self.dkim_keys(domain)?;
        keys.retain(|(_, key)| key.state == DkimKeyState::Signing);
        Ok(keys)
    }
}

impl WriteTx {
    /// Adds a key of a domain of ours.
    ///
    /// # Errors
    /// When the domain is not ours, or has a key with that selector.
    pub fn dkim_key_add(&mut self, domain: &Domain, selector: &str, record: &DkimKey) -> Result<()> {
        self.domain_of_ours(domain)?;
        let key = key(domain, selector);
        if self.record::<DkimKey>(&key)?.is_some() {
            return Err(Error::Exists("signing key".into()));
        }
        self.save(&key, record)
    }

    /// Says what a key is used for, from `now` on.
    ///
    /// # Errors
    /// When there is no such key.
    pub fn dkim_key_set(&mut self, domain: &Domain, selector: &str, state: DkimKeyState, now: Timestamp) -> Result<()> {
        let key = key(domain, selector);
        let record = self.record::<DkimKey>(&key)?.ok_or(Error::NotFound("signing key".into()))?;
        self.save(&key, &DkimKey { state, changed: now, ..record })
    }

    /// Forgets a key.
    ///
    /// # Errors
    /// When there is no such key.
    pub fn dkim_key_remove(&mut self, domain: &Domain, selector: &str) -> Result<()> {
        let key = key(domain, selector);
        self.record::<DkimKey>(&key)?.ok_or(Error::NotFound("signing key".into()))?;
        self.delete(Space::DkimKey, &key);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{now, said, tx, world};

    #[test]
    fn keys_belong_to_domains_of_ours_and_go_with_them() {
        let (store, ann) = world();
        tx(&store, move |tx| {
            let (domain, other) = (Domain::parse("example.org").unwrap(), Domain::parse("example.or").unwrap());
            let (algorithm, pkcs8, text) = ("rsa-sha256", vec![7; 9], "v=DKIM1");
            let record = |state| DkimKey {
                algorithm: algorithm.into(),
                pkcs8: pkcs8.clone(),
                record: text.into(),
                state,
                created: now(),
                changed: now(),
            };
            let waiting = record(DkimKeyState::Waiting);
            assert_eq!(said(tx.dkim_key_add(&other, "s", &waiting)), "domain does not exist");
            tx.dkim_key_add(&domain, "s2", &waiting)?;
            tx.dkim_key_add(&domain, "s1", &record(DkimKeyState::Signing))?;
            assert_eq!(said(tx.dkim_key_add(&domain, "s1", &waiting)), "signing key exists already");
            assert!(tx.dkim_keys(&domain)?.iter().map(|(selector, _)| selector.as_str()).eq(["s1", "s2"]));
            assert_eq!(tx.dkim_keys(&other)?, []);
            tx.dkim_key_set(&domain, "s1", DkimKeyState::Retired, now())?;
            tx.dkim_key_set(&domain, "s2", DkimKeyState::Signing, now())?;
            assert!(tx.dkim_signing_keys(&domain)?.iter().map(|(selector, _)| selector.as_str()).eq(["s2"]));
            assert!(!format!("{waiting:?}").contains('7'));
            tx.dkim_key_remove(&domain, "s1")?;
            assert_eq!(said(tx.dkim_key_remove(&domain, "s1")), "signing key does not exist");
            tx.account_remove(ann)?;
            tx.domain_remove(&domain)?;
            assert_eq!(tx.dkim_keys(&domain)?, []);
            Ok(())
        });
    }
}
