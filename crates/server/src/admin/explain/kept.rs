//! Where a refused message is kept for those it was for.

use super::super::trace::account_name;
use crate::output::rfc3339;
use mail::{Event, TrailEntry};
use serde::{Deserialize, Serialize};
use store::ReadTx;

/// A refused message in a user's Rejects.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptView {
    /// Whose.
    pub account: String,
    /// Until when, RFC 3339, unless newer ones need the room.
    pub until: String,
    /// Whether it is there now; what nobody sent is not.
    pub there: bool,
}

/// Where a refused message is kept, or would be.
pub(super) fn kept(tx: &ReadTx, trail: &[TrailEntry], is_tried: bool) -> Vec<KeptView> {
    let each = trail.iter().filter_map(|entry| match &entry.event {
        Event::Kept { account, email, until, .. } => Some((*account, *email, *until)),
        _ => None,
    });
    let view = |(account, email, until)| KeptView {
        account: account_name(tx, account),
        until: rfc3339(until),
        there: !is_tried && tx.reject(account, email).is_ok_and(|found| found.is_some()),
    };
    each.map(view).collect()
}

impl KeptView {
    /// In a sentence.
    pub(super) fn words(&self, is_tried: bool) -> String {
        let Self { account, until, there } = self;
        match (is_tried, there) {
            (true, _) => format!("it would be kept in the Rejects of {account} until {until}"),
            (false, true) => {
                format!("it is kept in the Rejects of {account} until {until}; `postrider rejects release` puts it into the inbox")
            }
            (false, false) => format!("it was kept in the Rejects of {account} until {until} at the latest, and is no longer there"),
        }
    }
}
