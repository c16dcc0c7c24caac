//! `[[source]]`: from which of our addresses mail goes out, and how a new one warms up.

use super::wrong;
use mail::Domain;
use mta::route::Sender;
use mta::source::PER_DAY;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// `[[source]]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// What it is called.
    pub name: String,
    /// One address, or one of each family.
    pub addresses: Vec<IpAddr>,
    /// The name in EHLO; none: the hostname.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<Domain>,
    /// Whose mail goes from it; none: that of all who have no source of their own.
    #[serde(default)]
    pub senders: Vec<String>,
    /// The first day on which it sends; none: it is warm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warm_up_start: Option<String>,
    /// Recipients at one domain on the first day, the second, and so on.
    #[serde(default = "per_day")]
    pub warm_up_per_day: Vec<u64>,
}

fn per_day() -> Vec<u64> {
    PER_DAY.to_vec()
}

impl Source {
    /// `key` is where it stands in the file: `source[2]`.
    pub(super) fn check(&self, key: &str, before: &[Self]) -> Result<(), (String, String)> {
        if self.name.is_empty() || self.name.chars().any(char::is_control) || before.iter().any(|other| other.name == self.name) {
            return wrong(&format!("{key}.name"), "expected a name that no other source has");
        }
        let families = (self.addresses.iter().filter(|ip| ip.is_ipv4()).count(), self.addresses.iter().filter(|ip| ip.is_ipv6()).count());
        if self.addresses.is_empty() || families.0 > 1 || families.1 > 1 {
            return wrong(&format!("{key}.addresses"), "expected one address, or one IPv4 and one IPv6 address");
        }
        if let Some(bad) = self.senders.iter().find(|text| Sender::parse(text).is_err()) {
            let words = format!("{bad:?} is neither an address nor a domain: expected \"news@example.org\" or \"example.org\"");
            return wrong(&format!("{key}.senders"), &words);
        }
        if self.warm_up_start.as_ref().is_some_and(|text| day(text).is_none()) {
            return wrong(&format!("{key}.warm_up_start"), "expected a day, e.g. \"2026-12-01\"");
        }
        Ok(())
    }

    /// For the mail path.
    pub fn settings(&self) -> mta::source::Source {
        let family = |is: fn(&IpAddr) -> bool| self.addresses.iter().copied().find(is);
        let start = self.warm_up_start.as_deref().and_then(day);
        mta::source::Source {
            name: self.name.as_str().into(),
            ipv4: family(IpAddr::is_ipv4),
            ipv6: family(IpAddr::is_ipv6),
            hostname: self.hostname.clone(),
            senders: self.senders.iter().filter_map(|text| Sender::parse(text).ok()).collect(),
            warm_up: start.map(|start| mta::source::WarmUp { start, per_day: self.warm_up_per_day.clone() }),
        }
    }
}

/// Days since 1970 of `2026-12-01`.
fn day(text: &str) -> Option<u32> {
    let date: jiff::civil::Date = text.parse().ok()?;
    let days = date.since(jiff::civil::date(1970, 1, 1)).ok()?.get_days();
    u32::try_from(days).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_count_from_1970() {
        for (text, want) in [("1970-01-01", Some(0)), ("2026-11-22", Some(20_779)), ("tomorrow", None), ("1969-12-31", None)] {
            assert_eq!(day(text), want, "{text}");
        }
    }
}
