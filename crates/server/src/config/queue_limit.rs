//! `[[queue.limits]]`: what single destinations and providers are allowed.

use super::{Rate, at_least_one, wrong};
use mta::route::Pattern;
use mta::settings::{Limit, Limited};
use serde::{Deserialize, Serialize};

/// `[[queue.limits]]`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct QueueLimit {
    /// Each destination with mail for one of these domains.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub domains: Vec<String>,
    /// All destinations together whose first mail exchanger is one of these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mx: Vec<String>,
    /// Connections at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connections: Option<u32>,
    /// Messages in a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
    /// Messages over one connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub messages_per_connection: Option<u32>,
}

impl QueueLimit {
    /// `key` is where it stands in the file: `queue.limits[2]`.
    pub(super) fn check(&self, key: &str) -> Result<(), (String, String)> {
        if !self.domains.is_empty() && !self.mx.is_empty() {
            return wrong(&format!("{key}.mx"), "expected either domains or mx, not both");
        }
        for (name, texts) in [("domains", &self.domains), ("mx", &self.mx)] {
            if let Some(bad) = texts.iter().find(|text| Pattern::parse(text).is_err()) {
                return wrong(&format!("{key}.{name}"), &format!("{bad:?} is no domain: expected \"example.org\" or \"*.example.org\""));
            }
        }
        for (name, number) in [("connections", self.connections), ("messages_per_connection", self.messages_per_connection)] {
            at_least_one(&format!("{key}.{name}"), number.unwrap_or(1) as usize)?;
        }
        if self.connections.is_none() && self.rate.is_none() && self.messages_per_connection.is_none() {
            return wrong(key, "expected connections, rate or messages_per_connection");
        }
        Ok(())
    }

    /// As the queue takes it; texts that are no domains, which [`Self::check`] refuses, are left out.
    pub(crate) fn limit(&self) -> Limit {
        let patterns = |texts: &[String]| texts.iter().filter_map(|text| Pattern::parse(text).ok()).collect();
        let matching = match (self.domains.as_slice(), self.mx.as_slice()) {
            ([], []) => Limited::Everything,
            ([], mx) => Limited::Exchangers(patterns(mx)),
            (domains, _) => Limited::Domains(patterns(domains)),
        };
        let messages_per_connection = self.messages_per_connection.and_then(|messages| usize::try_from(messages).ok());
        Limit { matching, connections: self.connections, rate: self.rate.map(|rate| rate.0), messages_per_connection }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::*;
    use std::path::Path;
    use std::time::Duration;

    fn of(text: &str) -> Result<Vec<Limit>, String> {
        let text = format!("hostname = \"h.example\"\n[[queue.limits]]\n{}", text.replace("; ", "\n"));
        let config = Config::parse(Path::new("p"), &text).map_err(|problem| problem.to_string())?;
        Ok(config.queue.limits.iter().map(QueueLimit::limit).collect())
    }

    #[test]
    fn limits_are_for_domains_exchangers_or_everything() {
        let rate = Some(mta::settings::Rate { messages: 100, time: Duration::from_hours(1) });
        let patterns = |text: &str| vec![Pattern::parse(text).unwrap()];
        for (text, matching) in [
            ("domains = [\"a.example\"]; rate = \"100/1h\"", Limited::Domains(patterns("a.example"))),
            ("mx = [\"*.b.example\"]; rate = \"100/1h\"", Limited::Exchangers(patterns("*.b.example"))),
            ("rate = \"100/1h\"", Limited::Everything),
        ] {
            assert_eq!(of(text).unwrap(), [Limit { matching, connections: None, rate, messages_per_connection: None }], "{text}");
        }
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for (text, expected) in [
            ("domains = [\"a.example\"]", "expected connections, rate or messages_per_connection"),
            ("domains = [\"a b\"]; connections = 1", "is no domain"),
            ("domains = [\"a.x\"]; mx = [\"b.x\"]; connections = 1", "not both"),
            ("connections = 0", "expected a number from 1"),
            ("rate = \"0/1h\"", "expected a rate such as"),
            ("rate = \"5\"", "expected a rate such as"),
        ] {
            let problem = of(text).unwrap_err();
            assert!(problem.contains(expected), "{text}: {problem}");
        }
    }
}
