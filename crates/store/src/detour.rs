//! Which domains' servers refuse our address, so that their mail goes over a relay, and how much sources that warm up
//! have sent.
//!
//! Not the decision: `mta` makes it. Kept so that a restart does not forget it.

use crate::error::Result;
use crate::index::KeyRange;
use crate::key::{self, Key};
use crate::record::{Record, unreadable};
use crate::schema::Space;
use crate::tx::{ReadTx, WriteTx};
use mail::{Domain, Timestamp};
use serde::{Deserialize, Serialize};

/// A domain whose mail goes over the relay for a while.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Detour {
    /// Since when.
    pub since: Timestamp,
    /// When the direct way is tried again.
    pub next_probe: Timestamp,
    /// How often it was tried again in vain.
    pub probes: u32,
    /// Which host refused us; empty: an administrator set the detour.
    pub host: String,
    /// What it said, or why the administrator did it.
    pub reason: String,
}

impl Record for Detour {
    const SPACE: Space = Space::Detour;
    const NAME: &'static str = "detour";
}

/// How many recipients a source has sent to at a domain on a day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sent(pub(crate) u64);

impl Record for Sent {
    const SPACE: Space = Space::Sent;
    const NAME: &'static str = "count of mail sent";
}

fn detour_key(domain: &Domain) -> Vec<u8> {
    Key::default().text(domain.as_str()).done()
}

fn sent_key(day: u32, source: &str, domain: &Domain) -> Vec<u8> {
    key::day_of(day, &format!("{source}\0{domain}"))
}

impl ReadTx {
    /// The detour of a domain.
    ///
    /// # Errors
    /// When the store fails.
    pub fn detour(&self, domain: &Domain) -> Result<Option<Detour>> {
        self.record(&detour_key(domain))
    }

    /// All detours, in order of domains.
    ///
    /// # Errors
    /// When the store fails.
    pub fn detours(&self) -> Result<Vec<(Domain, Detour)>> {
        let read = |(key, record): (Vec<u8>, Detour)| {
            let domain = key::text(&key, 0).and_then(|text| Domain::parse(text).ok());
            domain.map(|domain| (domain, record)).ok_or_else(|| unreadable::<Detour>(&key))
        };
        self.records(&KeyRange::all())?.into_iter().map(read).collect()
    }

    /// How many recipients a source has sent to at a domain on a day (days since 1970, UTC).
    ///
    /// # Errors
    /// When the store fails.
    pub fn sent(&self, day: u32, source: &str, domain: &Domain) -> Result<u64> {
        Ok(self.record::<Sent>(&sent_key(day, source, domain))?.map_or(0, |sent| sent.0))
    }

    /// The same for all sources and domains.
    ///
    /// # Errors
    /// When the store fails.
    pub fn sent_all(&self, day: u32) -> Result<Vec<(String, Domain, u64)>> {
        let read = |(key, Sent(count)): (Vec<u8>, Sent)| {
            let parts = key::text(&key, 4).and_then(|text| text.split_once('\0'));
            let parts = parts.and_then(|(source, domain)| Some((source.to_owned(), Domain::parse(domain).ok()?)));
            parts.map(|(source, domain)| (source, domain, count)).ok_or_else(|| unreadable::<Sent>(&key))
        };
        self.records(&KeyRange::prefix(&key::day(day)))?.into_iter().map(read).collect()
    }
}

impl WriteTx {
    /// Sets the detour of a domain.
    ///
    /// # Errors
    /// When the store fails.
    pub fn detour_set(&mut self, domain: &Domain, detour: &Detour) -> Result<()> {
        self.save(&detour_key(domain), detour)
    }

    /// Ends the detour of a domain; none is no error.
    ///
    /// # Errors
    /// When the store fails.
    pub fn detour_end(&mut self, domain: &Domain) -> Result<()> {
        self.delete(Space::Detour, &detour_key(domain));
        Ok(())
    }

    /// Counts what a source has sent to a domain.
    ///
    /// # Errors
    /// When the store fails.
    pub fn sent_add(&mut self, day: u32, source: &str, domain: &Domain, recipients: u64) -> Result<()> {
        let sent = self.sent(day, source, domain)?;
        self.save(&sent_key(day, source, domain), &Sent(sent.saturating_add(recipients)))
    }

    /// Forgets what was counted before a day.
    ///
    /// # Errors
    /// When the store fails.
    pub fn sent_sweep(&mut self, before: u32) -> Result<()> {
        self.erase(Space::Sent, &KeyRange { from: Vec::new(), to: Some(key::day(before)) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Store;
    use crate::testing::{now, tx};

    #[test]
    fn detours_and_counts_are_kept_until_they_are_ended() {
        let store = Store::memory();
        tx(&store, |tx| {
            let (a, b) = (Domain::parse("a.example").unwrap(), Domain::parse("b.example").unwrap());
            let detour = Detour { since: now(), next_probe: now(), probes: 0, host: "mx.a.example".into(), reason: "554".into() };
            tx.detour_set(&a, &detour)?;
            assert_eq!((tx.detour(&a)?, tx.detour(&b)?), (Some(detour.clone()), None));
            assert_eq!(tx.detours()?, [(a.clone(), detour)]);
            tx.detour_end(&a)?;
            tx.detour_end(&a)?;
            assert_eq!(tx.detours()?, []);

            tx.sent_add(7, "one", &a, 2)?;
            tx.sent_add(7, "one", &a, 3)?;
            tx.sent_add(8, "one", &b, 1)?;
            assert_eq!((tx.sent(7, "one", &a)?, tx.sent(7, "one", &b)?, tx.sent(7, "two", &a)?), (5, 0, 0));
            assert_eq!(tx.sent_all(8)?, [("one".to_owned(), b.clone(), 1)]);
            tx.sent_sweep(8)?;
            assert_eq!((tx.sent(7, "one", &a)?, tx.sent(8, "one", &b)?), (0, 1));
            Ok(())
        });
    }
}
