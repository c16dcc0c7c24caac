//! What a sender asks of the time that its message takes: how urgent it is (MT-PRIORITY, RFC 6710), not before
//! when (FUTURERELEASE, RFC 4865) and until when (DELIVERBY, RFC 2852).
//!
//! Times are moments, not spans: a span that was said on the wire began when it was said.

use crate::timestamp::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What is asked of the time; by default nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Terms {
    /// `MT-PRIORITY=`
    pub priority: Priority,
    /// `HOLDFOR=` or `HOLDUNTIL=`: it is not to leave before.
    pub hold_until: Option<Timestamp>,
    /// `BY=`
    pub deliver_by: Option<DeliverBy>,
}

/// How urgent a message is: -9 to 9, 0 being like any other (RFC 6710 §3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Priority(i8);

impl Priority {
    /// Like any other.
    pub const NORMAL: Self = Self(0);

    /// The priority of this number; `None` outside -9 to 9.
    pub fn new(number: i8) -> Option<Self> {
        (-9..=9).contains(&number).then_some(Self(number))
    }

    /// Its number.
    pub const fn number(self) -> i8 {
        self.0
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Until when a message is to be delivered (RFC 2852 §4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliverBy {
    /// The moment.
    pub at: Timestamp,
    /// What happens when it has passed.
    pub late: Late,
    /// Whether the sender wants to hear of every relay (`T`).
    pub trace: bool,
}

/// What happens to a message that is late.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Late {
    /// `N`: the sender is told, and it is tried on.
    Notify,
    /// `R`: it goes back.
    Return,
}

impl Terms {
    /// The moment after which the message is no longer to be delivered.
    pub fn returned_at(&self) -> Option<Timestamp> {
        self.deliver_by.filter(|by| by.late == Late::Return).map(|by| by.at)
    }

    /// The moment at which the sender is to be told that it waits.
    pub fn notified_at(&self) -> Option<Timestamp> {
        self.deliver_by.filter(|by| by.late == Late::Notify).map(|by| by.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn priorities_are_bounded() {
        for (number, known) in [(-10, false), (-9, true), (0, true), (9, true), (10, false)] {
            assert_eq!(Priority::new(number).is_some(), known, "{number}");
        }
    }
}
