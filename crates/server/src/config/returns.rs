//! `[forwarding]` and `[bounces]`: under which senders mail leaves that is not simply our users' own, and what is done
//! about what comes back.

use super::{Span, wrong};
use mail::{Address, Domain};
use mta::route::Sender;
use serde::{Deserialize, Serialize};

/// `[forwarding]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Forwarding {
    /// Whether senders elsewhere are rewritten.
    pub rewrite_sender: bool,
    /// Under which domain; none: that of the alias.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rewrite_domain: Option<String>,
    /// Whether mail that would be refused where it is forwarded to is kept.
    pub keep_unsurvivable: bool,
    /// Who keeps it where the alias has no mailbox.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_at: Option<String>,
    /// Whether it is sealed.
    pub seal: bool,
}

impl Default for Forwarding {
    fn default() -> Self {
        Self { rewrite_sender: true, rewrite_domain: None, keep_unsurvivable: true, keep_at: None, seal: true }
    }
}

impl Forwarding {
    /// What serde cannot see.
    pub(super) fn check(&self) -> Result<(), (String, String)> {
        if self.rewrite_domain.as_ref().is_some_and(|text| Domain::parse(text).is_err()) {
            return wrong("forwarding.rewrite_domain", "expected a domain of ours, e.g. \"example.org\"");
        }
        if self.keep_at.as_ref().is_some_and(|text| Address::parse(text).is_err()) {
            return wrong("forwarding.keep_at", "expected an address of ours, e.g. \"postmaster@example.org\"");
        }
        Ok(())
    }

    /// For the mail path.
    pub fn settings(&self) -> mta::settings::Forwarding {
        mta::settings::Forwarding {
            rewrite: self.rewrite_sender,
            rewrite_domain: self.rewrite_domain.as_ref().and_then(|text| Domain::parse(text).ok()),
            keep: self.keep_unsurvivable,
            keep_at: self.keep_at.as_ref().and_then(|text| Address::parse(text).ok()),
            seal: self.seal,
        }
    }
}

/// `[bounces]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Bounces {
    /// Whose mail has a return path for each recipient.
    pub return_paths: Vec<String>,
    /// After how many failures an address gets no more mail; 0: it always does.
    pub suppress_after: u32,
    /// Failures that are further apart do not count together.
    pub suppress_within: Span,
    /// How long it gets none.
    pub suppress_for: Span,
}

impl Default for Bounces {
    fn default() -> Self {
        Self { return_paths: Vec::new(), suppress_after: 2, suppress_within: Span::days(30), suppress_for: Span::days(30) }
    }
}

impl Bounces {
    /// What serde cannot see.
    pub(super) fn check(&self) -> Result<(), (String, String)> {
        match self.return_paths.iter().find(|text| Sender::parse(text).is_err()) {
            Some(bad) => wrong(
                "bounces.return_paths",
                &format!("{bad:?} is neither an address nor a domain: expected \"news@example.org\", \"example.org\" or \"*.example.org\""),
            ),
            None => Ok(()),
        }
    }

    /// Whose mail has a return path for each recipient, for the mail path.
    pub fn return_paths(&self) -> Vec<Sender> {
        self.return_paths.iter().filter_map(|text| Sender::parse(text).ok()).collect()
    }

    /// For the mail path.
    pub fn suppression(&self) -> mta::settings::Suppression {
        mta::settings::Suppression { after: self.suppress_after, within: self.suppress_within.0, time: self.suppress_for.0 }
    }
}
