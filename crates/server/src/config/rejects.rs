//! `[rejects]`: how long and how much is kept of what was refused, for those it was for.

use super::{Octets, Span, wrong};
use serde::{Deserialize, Serialize};

/// `[rejects]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rejects {
    /// How long; zero: nothing is kept.
    pub keep: Span,
    /// Most messages of a user.
    pub messages: u32,
    /// Most octets of one message.
    pub message_octets: Octets,
    /// Most octets of a user's together.
    pub octets: Octets,
}

impl Default for Rejects {
    fn default() -> Self {
        Self { keep: Span::days(14), messages: 500, message_octets: Octets(10 << 20), octets: Octets(100 << 20) }
    }
}

impl Rejects {
    /// What serde cannot see.
    pub(super) fn check(&self) -> Result<(), (String, String)> {
        if self.message_octets > self.octets {
            return wrong("rejects.message_octets", "expected at most rejects.octets");
        }
        Ok(())
    }

    /// For the mail path.
    pub fn settings(&self) -> mta::settings::Rejects {
        mta::settings::Rejects {
            keep: self.keep.0,
            messages_max: self.messages,
            message_octets_max: self.message_octets.0,
            octets_max: self.octets.0,
        }
    }
}
