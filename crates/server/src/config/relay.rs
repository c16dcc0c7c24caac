//! `[relay_fallback]`: who takes the mail for domains whose servers refuse our address.

use super::{RouteTls, Span, wrong};
use mta::route::Target;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// `[relay_fallback]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RelayFallback {
    /// Hosts, `name`, `name:port` or `address:port`; none: there is no relay.
    pub hosts: Vec<String>,
    /// Whether the connection must be encrypted.
    pub tls: RouteTls,
    /// File with the login on its first line and the password on its second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credentials_file: Option<PathBuf>,
    /// When the direct way is tried again; doubled each time that it is in vain.
    pub probe: Span,
    /// The longest wait until then.
    pub probe_max: Span,
}

impl Default for RelayFallback {
    fn default() -> Self {
        Self { hosts: Vec::new(), tls: RouteTls::Required, credentials_file: None, probe: Span::hours(1), probe_max: Span::days(1) }
    }
}

impl RelayFallback {
    /// What serde cannot see.
    pub(super) fn check(&self) -> Result<(), (String, String)> {
        if let Some(bad) = self.hosts.iter().find(|text| Target::parse(text).is_err()) {
            let words = format!("{bad:?} is no host: expected \"smtp.example.net\" or \"smtp.example.net:587\"");
            return wrong("relay_fallback.hosts", &words);
        }
        if self.probe.0.is_zero() { wrong("relay_fallback.probe", "expected a span longer than 0s") } else { Ok(()) }
    }
}
