//! How long what users send waits in their Outbox before it leaves, so that they can call it back.

use super::user::find;
use super::{Admin, Operation};
use crate::config::Span;
use crate::failure::Result;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How long what a user sends waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldView {
    /// Whose.
    pub user: String,
    /// Seconds; 0: it leaves at once.
    pub hold_seconds: u64,
}

/// Shows how long what a user sends waits, or sets it.
#[derive(Debug, Serialize, Deserialize)]
pub struct Hold {
    /// Whose.
    pub address: String,
    /// Seconds from now on; 0: it leaves at once; none: only shown.
    pub set_seconds: Option<u64>,
}

impl Operation for Hold {
    const NAME: &'static str = "user.hold";
    type Answer = HoldView;

    fn run(self, on: &Admin) -> Result<HoldView> {
        let Some(seconds) = self.set_seconds else {
            return on.read(move |tx| {
                let account = find(tx, &self.address)?;
                let hold = tx.hold(account.id)?.unwrap_or_default();
                Ok(HoldView { user: account.address.to_string(), hold_seconds: hold.as_secs() })
            });
        };
        on.change(move |tx| {
            let account = find(tx, &self.address)?;
            tx.hold_set(account.id, Some(Duration::from_secs(seconds)))?;
            Ok(HoldView { user: account.address.to_string(), hold_seconds: seconds })
        })
    }
}

impl HoldView {
    /// In words.
    #[must_use]
    pub fn words(&self) -> String {
        if self.hold_seconds == 0 { "leaves at once".to_owned() } else { format!("waits {}", Span::seconds(self.hold_seconds)) }
    }
}
