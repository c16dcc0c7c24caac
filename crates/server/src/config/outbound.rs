//! `[outbound]`: what users may send, and what happens when that is unlike them.

use serde::{Deserialize, Serialize};

/// `[outbound]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Outbound {
    /// Messages of a user within an hour; 0: no limit.
    pub messages_per_hour: u32,
    /// Messages of a user within a day; 0: no limit.
    pub messages_per_day: u32,
    /// Recipients of a user within an hour; 0: no limit.
    pub recipients_per_hour: u32,
    /// Recipients of a user within a day; 0: no limit.
    pub recipients_per_day: u32,
    /// Recipients within a day that the user never wrote to before; 0: no limit.
    pub new_recipients_per_day: u32,
    /// Whether mail of users who send unlike themselves is kept.
    pub hold_unusual: bool,
}

impl Default for Outbound {
    fn default() -> Self {
        let mta::outbound::Outbound {
            messages_per_hour,
            messages_per_day,
            recipients_per_hour,
            recipients_per_day,
            strangers_per_day,
            hold_unusual,
        } = mta::outbound::Outbound::default();
        Self {
            messages_per_hour,
            messages_per_day,
            recipients_per_hour,
            recipients_per_day,
            new_recipients_per_day: strangers_per_day,
            hold_unusual,
        }
    }
}

impl Outbound {
    /// In the mail path's words.
    pub fn settings(&self) -> mta::outbound::Outbound {
        mta::outbound::Outbound {
            messages_per_hour: self.messages_per_hour,
            messages_per_day: self.messages_per_day,
            recipients_per_hour: self.recipients_per_hour,
            recipients_per_day: self.recipients_per_day,
            strangers_per_day: self.new_recipients_per_day,
            hold_unusual: self.hold_unusual,
        }
    }
}
