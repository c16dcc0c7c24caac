//! A range of addresses in CIDR notation, for "who is trusted" and "who may".
//!
//! Invariant: the bits behind the prefix are zero.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// `192.0.2.0/24`, `2001:db8::/32`; a bare address is a range of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Network {
    base: IpAddr,
    prefix: u8,
}

/// Why a text is no network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    /// No address before the slash.
    #[error("not an IPv4 or IPv6 address, like 192.0.2.0/24 or 2001:db8::/32")]
    Address,
    /// No number from 0 to 32 (IPv4) or 128 (IPv6) behind the slash.
    #[error("the prefix length must be from 0 to {0}")]
    Prefix(u8),
    /// `192.0.2.1/24`: bits are set behind the prefix.
    #[error("bits are set behind the prefix; write {0}")]
    HostBits(Network),
}

impl Network {
    /// The range of one address.
    pub const fn of(address: IpAddr) -> Self {
        Self { base: address, prefix: bits(address) }
    }

    /// The range of `prefix` bits around an address; more bits than an address has are cut.
    pub fn around(address: IpAddr, prefix: u8) -> Self {
        let prefix = prefix.min(bits(address));
        Self { base: masked(address, prefix), prefix }
    }

    /// Whom an address stands for when peers are counted: itself, or the 64 bits of IPv6 that one customer has and
    /// fills at will.
    pub fn of_peer(address: IpAddr) -> Self {
        let address = address.to_canonical();
        Self::around(address, if address.is_ipv4() { 32 } else { 64 })
    }

    /// The first address of the range.
    pub const fn base(&self) -> IpAddr {
        self.base
    }

    /// How many bits all its addresses share.
    pub const fn prefix(&self) -> u8 {
        self.prefix
    }

    /// Whether the address lies in the range. An IPv4 address written as IPv6 counts as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.base.is_ipv4() && masked(address, self.prefix) == self.base
    }
}

const fn bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn masked(address: IpAddr, prefix: u8) -> IpAddr {
    let behind = u32::from(bits(address).saturating_sub(prefix));
    match address {
        IpAddr::V4(v4) => IpAddr::V4((v4.to_bits() & u32::MAX.checked_shl(behind).unwrap_or(0)).into()),
        IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() & u128::MAX.checked_shl(behind).unwrap_or(0)).into()),
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
        let address: IpAddr = address.parse().map_err(|_| NetworkError::Address)?;
        let Some(prefix) = prefix else { return Ok(Self::of(address)) };
        let prefix_max = bits(address);
        let prefix = prefix.parse().ok().filter(|prefix| *prefix <= prefix_max).ok_or(NetworkError::Prefix(prefix_max))?;
        let network = Self::around(address, prefix);
        if network.base == address { Ok(network) } else { Err(NetworkError::HostBits(network)) }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_read() {
        for (text, want) in [
            ("127.0.0.0/8", Ok("127.0.0.0/8")),
            ("192.0.2.7", Ok("192.0.2.7/32")),
            ("::/0", Ok("::/0")),
            ("0.0.0.0/0", Ok("0.0.0.0/0")),
            ("2001:DB8::/32", Ok("2001:db8::/32")),
            ("::1", Ok("::1/128")),
            ("localhost", Err(NetworkError::Address)),
            ("10.0.0.0/33", Err(NetworkError::Prefix(32))),
            ("10.0.0.0/", Err(NetworkError::Prefix(32))),
            ("10.0.0.1/8", Err(NetworkError::HostBits(Network::around([10, 0, 0, 0].into(), 8)))),
        ] {
            assert_eq!(text.parse::<Network>().map(|n| n.to_string()), want.map(str::to_owned), "{text}");
        }
    }

    #[test]
    fn addresses_are_found_in_them() {
        for (network, address, want) in [
            ("127.0.0.0/8", "127.9.9.9", true),
            ("127.0.0.0/8", "128.0.0.1", false),
            ("127.0.0.0/8", "::ffff:127.0.0.1", true),
            ("0.0.0.0/0", "::1", false),
            ("::/0", "::1", true),
            ("2001:db8::/32", "2001:db8:ffff::1", true),
            ("2001:db8::/32", "2001:db9::1", false),
            ("10.1.2.3", "10.1.2.3", true),
            ("10.1.2.3", "10.1.2.4", false),
        ] {
            assert_eq!(network.parse::<Network>().unwrap().contains(address.parse().unwrap()), want, "{address} in {network}");
        }
    }
}
