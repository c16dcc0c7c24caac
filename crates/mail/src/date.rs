//! Dates of messages: the `Date` field as people and programs really write it, and the forms we write
//! (RFC 5322 §3.3, §4.3; RFC 9051 §9 date-time).
//!
//! Not a clock and not a calendar: the moment and the zone are parameters.

use crate::timestamp::Timestamp;
use serde::{Deserialize, Serialize};

/// A moment and the zone it was written in, which `SENTBEFORE` and its like want to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct DateTime {
    /// The moment.
    pub at: Timestamp,
    /// Minutes east of UTC; unknown and military zones are 0 (RFC 5322 §4.3).
    pub zone_minutes: i16,
}
