//! Who is connected, and how many may be.
//!
//! Not a rate limit: it counts connections that are open now. IPv6 peers are counted by /64, which
//! one customer can fill at will.

use mail::Network;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How many connections may be open at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// In all. Default 20,000.
    pub total_max: u32,
    /// From one IPv4 address or IPv6 /64. Default 100: an office behind one address has many clients,
    /// and each IMAP client several connections.
    pub per_address_max: u32,
    /// Networks whose peers count towards the total only: our own proxies, the loopback.
    pub exempt: Vec<Network>,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self { total_max: 20_000, per_address_max: 100, exempt: Vec::new() }
    }
}

/// Counts the open connections, of one listener or of several that share it. Clones count together.
#[derive(Debug, Clone)]
pub struct Connections(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    limits: ConnectionLimits,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    total: u32,
    by_network: HashMap<Network, u32>,
}

/// Why a connection is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// Too many in all.
    Total,
    /// Too many from this address.
    PerAddress,
}

impl Connections {
    /// Nobody is connected yet.
    pub fn new(limits: ConnectionLimits) -> Self {
        Self(Arc::new(Shared { limits, open: Mutex::default() }))
    }

    /// Counts one more connection from `peer` until the result is dropped.
    ///
    /// # Errors
    /// When there are too many already.
    pub fn admit(&self, peer: IpAddr) -> Result<Admitted, Refused> {
        let limits = &self.0.limits;
        let mut open = self.open();
        if open.total >= limits.total_max {
            return Err(Refused::Total);
        }
        let exempt = limits.exempt.iter().any(|exempt| exempt.contains(peer));
        let network = (!exempt).then(|| Network::of_peer(peer));
        if let Some(network) = network {
            let count = open.by_network.entry(network).or_default();
            if *count >= limits.per_address_max {
                return Err(Refused::PerAddress);
            }
            *count += 1;
        }
        open.total += 1;
        Ok(Admitted { connections: self.clone(), network })
    }

    /// How many are open now.
    pub fn total(&self) -> u32 {
        self.open().total
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.0.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One counted connection.
#[derive(Debug)]
pub struct Admitted {
    connections: Connections,
    network: Option<Network>,
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut open = self.connections.open();
        open.total = open.total.saturating_sub(1);
        let Some(network) = self.network else { return };
        let Some(count) = open.by_network.get_mut(&network) else { return };
        *count = count.saturating_sub(1);
        if *count == 0 {
            open.by_network.remove(&network);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connections(total_max: u32, per_address_max: u32) -> Connections {
        let exempt = vec!["10.0.0.0/8".parse().unwrap()];
        Connections::new(ConnectionLimits { total_max, per_address_max, exempt })
    }

    fn admit(connections: &Connections, peer: &str) -> Result<Admitted, Refused> {
        connections.admit(peer.parse().unwrap())
    }

    #[test]
    fn one_address_cannot_take_everything() {
        let connections = connections(4, 2);
        let first = admit(&connections, "192.0.2.1").unwrap();
        let _second = admit(&connections, "::ffff:192.0.2.1").unwrap();
        assert_eq!(admit(&connections, "192.0.2.1").unwrap_err(), Refused::PerAddress);
        let _other = admit(&connections, "192.0.2.2").unwrap();
        drop(first);
        let _again = admit(&connections, "192.0.2.1").unwrap();
        let _last = admit(&connections, "192.0.2.3").unwrap();
        assert_eq!(admit(&connections, "192.0.2.4").unwrap_err(), Refused::Total);
        assert_eq!(connections.total(), 4);
    }

    #[test]
    fn ipv6_counts_by_64_bits() {
        let connections = connections(10, 1);
        let _one = admit(&connections, "2001:db8::1").unwrap();
        assert_eq!(admit(&connections, "2001:db8::2").unwrap_err(), Refused::PerAddress);
        let _other = admit(&connections, "2001:db8:0:1::1").unwrap();
    }

    #[test]
    fn exempt_peers_count_towards_the_total_only_and_nothing_is_left_behind() {
        let connections = connections(3, 1);
        let admitted: Vec<_> = (0..3).map(|_| admit(&connections, "10.1.1.1").unwrap()).collect();
        assert_eq!(admit(&connections, "10.1.1.1").unwrap_err(), Refused::Total);
        drop(admitted);
        drop(admit(&connections, "192.0.2.1").unwrap());
        assert_eq!(connections.total(), 0);
        assert!(connections.open().by_network.is_empty());
    }
}
