//! Resolvers that everybody may use, by their addresses: block lists do not answer them, or answer them wrongly, because
//! they count who asks.
//!
//! Not a test of what a resolver does: one of our own network may pass every question on to a public one. Lists that notice
//! say so themselves (127.255.255.254).

use crate::config::Config;
use std::net::IpAddr;
use std::path::Path;

/// Where the system keeps its resolvers.
const SYSTEM_FILE: &str = "/etc/resolv.conf";

/// Who answers at which addresses. Well known, and not all there are.
const PUBLIC: [(&str, &[&str]); 9] = [
    ("Google", &["8.8.8.8", "8.8.4.4", "2001:4860:4860::8888", "2001:4860:4860::8844"]),
    ("Cloudflare", &["1.1.1.1", "1.0.0.1", "1.1.1.2", "1.0.0.2", "1.1.1.3", "1.0.0.3", "2606:4700:4700::1111", "2606:4700:4700::1001"]),
    ("Quad9", &["9.9.9.9", "149.112.112.112", "9.9.9.10", "149.112.112.10", "9.9.9.11", "2620:fe::fe", "2620:fe::9"]),
    ("OpenDNS", &["208.67.222.222", "208.67.220.220", "208.67.222.123", "208.67.220.123", "2620:119:35::35", "2620:119:53::53"]),
    ("AdGuard", &["94.140.14.14", "94.140.15.15", "94.140.14.140", "2a10:50c0::ad1:ff", "2a10:50c0::ad2:ff"]),
    ("CleanBrowsing", &["185.228.168.9", "185.228.169.9", "185.228.168.168", "185.228.169.168"]),
    ("Yandex", &["77.88.8.8", "77.88.8.1", "77.88.8.88", "77.88.8.2"]),
    ("Level3", &["4.2.2.1", "4.2.2.2", "4.2.2.3", "4.2.2.4"]),
    ("DNS4EU", &["86.54.11.1", "86.54.11.100", "86.54.11.201"]),
];

/// The resolvers in use, each with whose it is if it is known to be public.
pub fn in_use(config: &Config) -> Vec<(IpAddr, Option<&'static str>)> {
    let addresses =
        if config.dns.is_empty() { of_system(Path::new(SYSTEM_FILE)) } else { config.dns.iter().map(std::net::SocketAddr::ip).collect() };
    addresses.into_iter().map(|address| (address, owner(address))).collect()
}

/// Warns where lists are asked through one.
pub fn warn(config: &Config) {
    if config.list.is_empty() {
        return;
    }
    for (address, owner) in in_use(config) {
        let Some(owner) = owner else { continue };
        tracing::warn!(%address, owner, "lists ([[list]]) are asked through a public resolver: most do not answer it; use one of your own");
    }
}

fn of_system(file: &Path) -> Vec<IpAddr> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let server = |line: &str| {
        let mut words = line.split_whitespace();
        words.next().filter(|word| *word == "nameserver")?;
        words.next()?.split('%').next()?.parse().ok()
    };
    text.lines().filter_map(server).collect()
}

fn owner(address: IpAddr) -> Option<&'static str> {
    let address = address.to_canonical();
    let is_of = |(_, addresses): &&(&str, &[&str])| addresses.iter().any(|one| one.parse() == Ok(address));
    PUBLIC.iter().find(is_of).map(|(owner, _)| *owner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn public_resolvers_are_known() {
        for (_, addresses) in PUBLIC {
            assert!(addresses.iter().all(|address| address.parse::<IpAddr>().is_ok()), "{addresses:?}");
        }
        for (address, want) in
            [("8.8.8.8", Some("Google")), ("::ffff:9.9.9.9", Some("Quad9")), ("127.0.0.53", None), ("2620:119:35::35", Some("OpenDNS"))]
        {
            assert_eq!(owner(address.parse().unwrap()), want, "{address}");
        }
        let config = |dns: &str| Config::parse(Path::new("p"), &format!("hostname = \"h\"\ndns = [{dns}]")).unwrap();
        assert_eq!(in_use(&config("\"1.1.1.1:53\"")), [("1.1.1.1".parse().unwrap(), Some("Cloudflare"))]);
    }

    #[test]
    fn the_systems_are_read() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("resolv.conf");
        std::fs::write(&file, "# x\nnameserver 8.8.8.8\nsearch a\nnameserver fe80::1%eth0\nnameserver\n").unwrap();
        assert_eq!(of_system(&file), ["8.8.8.8".parse::<IpAddr>().unwrap(), "fe80::1".parse().unwrap()]);
        assert!(of_system(Path::new("/nonexistent")).is_empty());
    }
}
