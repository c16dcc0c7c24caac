//! `[sign_in]`: what becomes of failed sign-ins.

use super::{Config, Network, Span};
use serde::{Deserialize, Serialize};
use store::auth::GuardSettings;

/// `[sign_in]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SignIn {
    /// Whether anybody waits or is banned for failed sign-ins.
    pub throttle: bool,
    /// Networks that are never banned.
    pub trusted_networks: Vec<Network>,
    /// Failures of an address before it has to wait between tries.
    pub free_failures: u32,
    /// Failures of an address before it is banned; 0: never.
    pub ban_after: u32,
    /// How long the first ban is.
    pub ban: Span,
    /// How long the longest ban is.
    pub ban_max: Span,
}

impl Default for SignIn {
    fn default() -> Self {
        let GuardSettings { free_failures, ban_after, .. } = GuardSettings::default();
        let (ban, ban_max) = (Span::minutes(15), Span::days(1));
        Self { throttle: true, trusted_networks: Vec::new(), free_failures, ban_after, ban, ban_max }
    }
}

impl SignIn {
    /// Numbers that contradict each other.
    pub(super) fn check(&self) -> Result<(), (String, String)> {
        if self.ban_after != 0 && self.ban_after <= self.free_failures {
            return super::wrong("sign_in.ban_after", "expected more than sign_in.free_failures, or 0 for no bans");
        }
        if self.ban.0.is_zero() {
            return super::wrong("sign_in.ban", "expected a span longer than 0s; sign_in.ban_after = 0 turns bans off");
        }
        if self.ban_max < self.ban {
            return super::wrong("sign_in.ban_max", "expected a span at least as long as sign_in.ban");
        }
        Ok(())
    }
}

impl Config {
    /// What is borne of failed sign-ins. Proxies and hosts that may relay are trusted too.
    pub fn guard(&self) -> GuardSettings {
        let SignIn { throttle, trusted_networks, free_failures, ban_after, ban, ban_max } = &self.sign_in;
        let proxies = self.listener.iter().flat_map(|listener| &listener.proxy_protocol_from);
        GuardSettings {
            is_on: *throttle,
            trusted: trusted_networks
                .iter()
                .chain(&self.relay_networks)
                .chain(&self.xclient_from)
                .chain(proxies)
                .map(|network| network.0)
                .collect(),
            free_failures: *free_failures,
            ban_after: *ban_after,
            ban: ban.0,
            ban_max: ban_max.0,
            ..GuardSettings::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use std::path::Path;

    #[test]
    fn proxies_and_relays_are_trusted() {
        let text = "hostname = \"h\"\nrelay_networks = [\"10.1.0.0/16\"]\n[sign_in]\ntrusted_networks = [\"192.0.2.7\"]\n[[listener]]\nprotocol = \"imap\"\naddress = \"[::]:143\"\nproxy_protocol_from = [\"10.2.0.1\"]\n";
        let guard = Config::parse(Path::new("p"), text).unwrap().guard();
        let trusted: Vec<_> = guard.trusted.iter().map(ToString::to_string).collect();
        assert_eq!(trusted, ["192.0.2.7/32", "10.1.0.0/16", "10.2.0.1/32"]);
    }

    #[test]
    fn numbers_that_contradict_each_other_are_refused() {
        for (text, key) in [
            ("free_failures = 20", "sign_in.ban_after"),
            ("ban = \"0s\"", "sign_in.ban"),
            ("ban = \"2d\"", "sign_in.ban_max"),
            ("ban_after = 0\nfree_failures = 100", ""),
        ] {
            let read = Config::parse(Path::new("p"), &format!("hostname = \"h\"\n[sign_in]\n{text}\n"));
            match read {
                Ok(_) => assert_eq!(key, "", "{text}"),
                Err(problem) => assert!(!key.is_empty() && problem.to_string().contains(key), "{text}: {problem}"),
            }
        }
    }
}
