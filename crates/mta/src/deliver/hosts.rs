//! Which hosts take a domain's mail, in which order (RFC 5321 §5, RFC 7505). Pure.
//!
//! Not DNS: the records are given. Not addresses: those are asked for host by host, when a host's
//! turn has come.

use crate::queue::schedule::scramble;
use mail::{Domain, EnhancedStatus};
use net::Mx;
use std::net::IpAddr;

/// Why a domain's mail cannot be handed to anyone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unroutable {
    /// The domain says that it takes no mail (RFC 7505).
    NullMx,
    /// We are the best host the domain names (RFC 5321 §5.1).
    Loop,
    /// The name does not exist.
    NoSuchDomain,
    /// The name exists, but has neither MX nor address records.
    NoHosts,
    /// DNS gave no answer; the text says why.
    Temporary(String),
}

impl Unroutable {
    /// The status of a report.
    pub const fn status(&self) -> EnhancedStatus {
        match self {
            Self::NullMx => EnhancedStatus::new(5, 1, 10),
            Self::Loop => EnhancedStatus::new(5, 4, 6),
            Self::NoSuchDomain => EnhancedStatus::new(5, 1, 2),
            Self::NoHosts => EnhancedStatus::new(5, 4, 4),
            Self::Temporary(_) => EnhancedStatus::new(4, 4, 3),
        }
    }

    /// In words, for trails and reports.
    pub fn words(&self, domain: &Domain) -> String {
        match self {
            Self::NullMx => format!("{domain} says in DNS that it takes no mail (null MX)"),
            Self::Loop => format!("the mail exchanger of {domain} is this server, but the domain is not served here"),
            Self::NoSuchDomain => format!("the domain {domain} does not exist"),
            Self::NoHosts => format!("{domain} has neither a mail exchanger nor an address"),
            Self::Temporary(why) => format!("no answer from DNS about {domain}: {why}"),
        }
    }
}

/// The hosts of a domain's MX records: lower preference first, equal ones in an order that depends
/// on `seed`. Our own host and everything not better than it is left out (RFC 5321 §5.1). Names
/// that are no host names are left out.
///
/// # Errors
/// [`Unroutable::NullMx`], [`Unroutable::Loop`] when nothing is left because of us,
/// [`Unroutable::NoHosts`] when no record names a host.
pub fn by_preference(records: &[Mx], is_self: impl Fn(&Domain) -> bool, seed: u64) -> Result<Vec<Domain>, Unroutable> {
    if let [Mx { host: None, .. }] = records {
        return Err(Unroutable::NullMx);
    }
    let named = records.iter().filter_map(|record| Some((record.preference, record.host.clone()?)));
    let mut hosts: Vec<(u16, Domain)> = named.collect();
    let had_hosts = !hosts.is_empty();
    if let Some(own) = hosts.iter().filter(|(_, host)| is_self(host)).map(|(preference, _)| *preference).min() {
        hosts.retain(|(preference, _)| *preference < own);
    }
    if hosts.is_empty() {
        return Err(if had_hosts { Unroutable::Loop } else { Unroutable::NoHosts });
    }
    hosts.sort_by_cached_key(|(preference, host)| (*preference, mixed(host.as_str(), seed)));
    hosts.dedup_by(|a, b| a.1 == b.1);
    Ok(hosts.into_iter().map(|(_, host)| host).collect())
}

/// The same things in an order that depends on `seed` (Fisher and Yates).
pub fn shuffled<T>(mut things: Vec<T>, seed: u64) -> Vec<T> {
    let mut state = seed;
    for last in (1..things.len()).rev() {
        state = scramble(state);
        let bound = u64::try_from(last + 1).unwrap_or(u64::MAX);
        things.swap(last, usize::try_from(state % bound).unwrap_or(0));
    }
    things
}

fn mixed(text: &str, seed: u64) -> u64 {
    text.bytes().fold(scramble(seed), |state, byte| scramble(state ^ u64::from(byte)))
}

/// IPv6 and IPv4 addresses by turns, IPv6 first, order otherwise kept, each once (RFC 8305 §4).
pub fn interleaved(addresses: Vec<IpAddr>) -> Vec<IpAddr> {
    let (mut six, mut four): (Vec<_>, Vec<_>) = addresses.into_iter().partition(IpAddr::is_ipv6);
    six.reverse();
    four.reverse();
    let mut out = Vec::with_capacity(six.len() + four.len());
    while !six.is_empty() || !four.is_empty() {
        out.extend(six.pop());
        out.extend(four.pop());
    }
    let mut seen = std::collections::BTreeSet::new();
    out.retain(|address| seen.insert(*address));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `records` as `10 a.example, 20 b.example`; the answer in the same spirit.
    fn ordered(records: &str, own: &str, seed: u64) -> Result<String, Unroutable> {
        let record = |text: &str| {
            let (preference, host) = text.trim().split_once(' ').unwrap();
            Mx { preference: preference.parse().unwrap(), host: Domain::parse(host).ok() }
        };
        let records: Vec<_> = records.split(',').filter(|r| !r.trim().is_empty()).map(record).collect();
        let hosts = by_preference(&records, |host| host.as_str() == own, seed)?;
        Ok(hosts.iter().map(Domain::as_str).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn hosts_come_by_preference_and_we_are_left_out() {
        for (records, want) in [
            ("20 b.example, 10 a.example", Ok("a.example b.example")),
            ("0 .", Err(Unroutable::NullMx)),
            ("0 ., 10 a.example", Ok("a.example")),
            ("10 a.example, 20 me.example, 20 b.example, 30 c.example", Ok("a.example")),
            ("10 me.example, 20 b.example", Err(Unroutable::Loop)),
            ("10 ., 20 .", Err(Unroutable::NoHosts)),
            ("10 a.example, 10 a.example", Ok("a.example")),
            ("", Err(Unroutable::NoHosts)),
        ] {
            assert_eq!(ordered(records, "me.example", 1), want.map(str::to_owned), "{records}");
        }
    }

    #[test]
    fn equal_preferences_are_shuffled_by_the_seed() {
        let orders: std::collections::BTreeSet<_> =
            (0..100).map(|seed| ordered("10 a.x, 10 b.x, 10 c.x, 20 d.x", "", seed).unwrap()).collect();
        assert_eq!(orders.len(), 6);
        assert!(orders.iter().all(|order| order.ends_with(" d.x")));
        assert_eq!(ordered("10 a.x, 10 b.x", "", 3), ordered("10 b.x, 10 a.x", "", 3));
    }

    #[test]
    fn shuffling_reaches_every_order() {
        let orders: std::collections::BTreeSet<_> = (0..200).map(|seed| shuffled(vec![1, 2, 3], seed)).collect();
        assert_eq!(orders.len(), 6);
    }

    #[test]
    fn families_take_turns() {
        for (given, want) in [("1.1.1.1 2.2.2.2 ::1 ::2 ::3", "::1 1.1.1.1 ::2 2.2.2.2 ::3"), ("1.1.1.1 1.1.1.1", "1.1.1.1"), ("", "")] {
            let addresses = given.split_whitespace().map(|a| a.parse().unwrap()).collect();
            let got: Vec<_> = interleaved(addresses).iter().map(ToString::to_string).collect();
            assert_eq!(got.join(" "), want);
        }
    }
}
