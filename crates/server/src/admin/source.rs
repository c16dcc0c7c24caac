//! Sources: the addresses that mail goes out from, and what those that warm up have sent today.

use super::{Admin, Operation};
use crate::clock::now;
use crate::failure::Result;
use mta::return_path::day;
use serde::{Deserialize, Serialize};

/// A source as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceView {
    /// What it is called.
    pub name: String,
    /// Its addresses.
    pub addresses: Vec<String>,
    /// The name in EHLO; null: the hostname.
    pub hostname: Option<String>,
    /// Recipients that it may have at one domain today; null: as many as there are.
    pub allowance: Option<u64>,
    /// What it has sent today, by domain; of those that warm up only.
    pub sent: Vec<SentView>,
}

/// What a source has sent to a domain today.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SentView {
    /// The domain.
    pub domain: String,
    /// Recipients.
    pub recipients: u64,
}

/// All sources.
#[derive(Debug, Serialize, Deserialize)]
pub struct List {}

impl Operation for List {
    const NAME: &'static str = "source.list";
    type Answer = Vec<SourceView>;

    fn run(self, on: &Admin) -> Result<Vec<SourceView>> {
        let (mail, today) = (on.mail(), day(now()));
        on.read(move |tx| {
            let sent = tx.sent_all(today)?;
            let view = |source: &mta::source::Source| SourceView {
                name: source.name.to_string(),
                addresses: source.ipv4.iter().chain(&source.ipv6).map(ToString::to_string).collect(),
                hostname: source.hostname.as_ref().map(ToString::to_string),
                allowance: source.allowance(today),
                sent: sent
                    .iter()
                    .filter(|(name, ..)| *name == *source.name)
                    .map(|(_, domain, recipients)| SentView { domain: domain.to_string(), recipients: *recipients })
                    .collect(),
            };
            Ok(mail.delivery.sources.iter().map(view).collect())
        })
    }
}
