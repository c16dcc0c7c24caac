//! Bans: networks whose connections are not taken for a while.
//!
//! Not the counting of failures (`auth::guard`): here is what came of it, and what an administrator wants, so
//! that a restart forgets neither.
//!
//! Invariants
//! - A network is banned once; a new ban takes the place of the old one.
//! - A ban that is over is kept for [`REMEMBERED`], so that the next one can be longer.
//! - There are at most [`BANS_MAX`].

use crate::error::{Error, Result};
use crate::index::KeyRange;
use crate::record::Record;
use crate::schema::Space;
use crate::tx::{ReadTx, WriteTx};
use mail::{Network, Timestamp};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::time::Duration;

/// Most bans. Our own bound: some 10 MB in memory.
pub const BANS_MAX: usize = 50_000;
/// How long a ban is remembered after its end. Our own choice.
pub(crate) const REMEMBERED: Duration = Duration::from_hours(7 * 24);
/// Longest reason, octets. Our own bound.
const REASON_OCTETS_MAX: usize = 200;

/// A network whose connections are not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ban {
    /// Which addresses.
    pub network: Network,
    /// What they may not do.
    pub scope: BanScope,
    /// Since when.
    pub since: Timestamp,
    /// Until when; `None`: until it is taken back.
    pub until: Option<Timestamp>,
    /// Why, for people.
    pub reason: String,
    /// How many bans this network has earned in a row, this one with; 0: made by hand.
    pub times: u32,
}

/// What a banned network may not do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum BanScope {
    /// Connect where accounts sign in. Mail from there is taken.
    SignIn,
    /// Connect anywhere.
    Everything,
}

impl Ban {
    /// Whether it holds.
    #[must_use]
    pub fn holds(&self, now: Timestamp) -> bool {
        self.until.is_none_or(|until| now < until)
    }

    /// Whether it may be forgotten.
    fn is_forgotten(&self, now: Timestamp) -> bool {
        self.until.is_some_and(|until| until.after(REMEMBERED) <= now)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BanRecord {
    pub(crate) scope: BanScope,
    pub(crate) since: Timestamp,
    pub(crate) until: Option<Timestamp>,
    pub(crate) reason: String,
    pub(crate) times: u32,
}

impl Record for BanRecord {
    const SPACE: Space = Space::Ban;
    const NAME: &'static str = "ban";
}

impl ReadTx {
    /// Every ban, those that are over with, in the order of addresses.
    ///
    /// # Errors
    /// When the store fails.
    pub fn bans(&self) -> Result<Vec<Ban>> {
        let records = self.records::<BanRecord>(&KeyRange::all())?;
        Ok(records.into_iter().filter_map(|(key, record)| ban(&key, record)).collect())
    }
}

impl WriteTx {
    /// Bans a network.
    ///
    /// # Errors
    /// [`Error::Limit`] when there are [`BANS_MAX`] bans that still hold.
    pub fn ban_set(&mut self, ban: &Ban, now: Timestamp) -> Result<()> {
        let key = key(&ban.network);
        if !self.has(Space::Ban, &key)? && self.keys(Space::Ban, &KeyRange::all(), BANS_MAX)?.len() >= BANS_MAX {
            self.bans_forget(|other| other.holds(now))?;
            if self.keys(Space::Ban, &KeyRange::all(), BANS_MAX)?.len() >= BANS_MAX {
                return Err(Error::Limit("bans".into()));
            }
        }
        let mut reason = ban.reason.clone();
        reason.truncate(reason.floor_char_boundary(REASON_OCTETS_MAX));
        self.save(&key, &BanRecord { scope: ban.scope, since: ban.since, until: ban.until, reason, times: ban.times })
    }

    /// Takes a ban back, and forgets that it was.
    ///
    /// # Errors
    /// [`Error::NotFound`] when the network is not banned.
    pub fn ban_remove(&mut self, network: &Network) -> Result<()> {
        let key = key(network);
        if !self.has(Space::Ban, &key)? {
            return Err(Error::NotFound("ban".into()));
        }
        self.delete(Space::Ban, &key);
        Ok(())
    }

    /// Forgets bans that have been over for [`REMEMBERED`].
    ///
    /// # Errors
    /// When the store fails.
    pub fn bans_sweep(&mut self, now: Timestamp) -> Result<()> {
        self.bans_forget(|ban| !ban.is_forgotten(now))
    }

    fn bans_forget(&mut self, keep: impl Fn(&Ban) -> bool) -> Result<()> {
        for ban in self.bans()?.iter().filter(|ban| !keep(ban)) {
            self.delete(Space::Ban, &key(&ban.network));
        }
        Ok(())
    }
}

/// Family (1), address (4 or 16), prefix (1).
fn key(network: &Network) -> Vec<u8> {
    let mut key = Vec::with_capacity(18);
    match network.base() {
        IpAddr::V4(v4) => {
            key.push(4);
            key.extend(v4.octets());
        }
        IpAddr::V6(v6) => {
            key.push(6);
            key.extend(v6.octets());
        }
    }
    key.push(network.prefix());
    key
}

fn ban(key: &[u8], record: BanRecord) -> Option<Ban> {
    let (family, rest) = key.split_first()?;
    let (prefix, address) = rest.split_last()?;
    let address = match family {
        4 => IpAddr::from(<[u8; 4]>::try_from(address).ok()?),
        _ => IpAddr::from(<[u8; 16]>::try_from(address).ok()?),
    };
    let BanRecord { scope, since, until, reason, times } = record;
    Some(Ban { network: Network::around(address, *prefix), scope, since, until, reason, times })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{said, tx, world};

    fn of(network: &str, until: Option<i64>) -> Ban {
        let (network, reason) = (network.parse().unwrap(), "é".repeat(150));
        Ban { network, scope: BanScope::SignIn, since: Timestamp(5), until: until.map(Timestamp), reason, times: 2 }
    }

    #[test]
    fn bans_are_kept_replaced_and_taken_back() {
        let (store, _) = world();
        tx(&store, |tx| {
            for ban in [of("2001:db8::/64", None), of("192.0.2.1", Some(10)), of("192.0.2.0/24", None), of("192.0.2.1", Some(20))] {
                tx.ban_set(&ban, Timestamp(5))?;
            }
            let known: Vec<_> = tx.bans()?.into_iter().map(|ban| (ban.network.to_string(), ban.until, ban.reason.len())).collect();
            let want = [("192.0.2.0/24", None, 200), ("192.0.2.1/32", Some(Timestamp(20)), 200), ("2001:db8::/64", None, 200)];
            assert_eq!(known, want.map(|(network, until, octets)| (network.to_owned(), until, octets)));
            tx.ban_remove(&"192.0.2.0/24".parse().unwrap())?;
            assert_eq!(said(tx.ban_remove(&"192.0.2.0/24".parse().unwrap())), "ban does not exist");
            Ok(())
        });
    }

    #[test]
    fn what_is_long_over_is_forgotten() {
        let (store, _) = world();
        tx(&store, |tx| {
            tx.ban_set(&of("192.0.2.1", Some(10)), Timestamp(5))?;
            tx.ban_set(&of("192.0.2.2", None), Timestamp(5))?;
            let over = Timestamp(10).after(REMEMBERED);
            tx.bans_sweep(Timestamp(over.0 - 1))?;
            assert_eq!(tx.bans()?.len(), 2);
            tx.bans_sweep(over)?;
            assert_eq!(tx.bans()?.iter().map(|ban| ban.network.to_string()).collect::<Vec<_>>(), ["192.0.2.2/32"]);
            assert!(of("192.0.2.1", Some(10)).holds(Timestamp(9)) && !of("192.0.2.1", Some(10)).holds(Timestamp(10)));
            Ok(())
        });
    }
}
