//! Every bound of what an adviser may say and how long it may take.

use std::time::Duration;

/// Every bound of what an adviser may say and how long it may take. Beyond any of them it counts as broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Longest packet from a milter, octets behind the length. Default 1 MiB: the protocol's largest size of data.
    pub packet_octets_max: usize,
    /// Most modifications of one message. Default 1,000.
    pub modifications_max: usize,
    /// Largest body that an adviser may put in the place of a message's, octets. Default 50 MiB.
    pub body_octets_max: usize,
    /// Longest answer to a stage of the envelope. Default 30 seconds.
    pub answer_max: Duration,
    /// Longest answer to the message itself; a milter that reports progress gets as much again. Default 5 minutes.
    pub message_answer_max: Duration,
    /// Longest time from the end of a message to the last word about it, whatever the progress. Default 9 minutes: the client waits
    /// for 10 (RFC 5321 §4.5.3.2.6).
    pub message_max: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            packet_octets_max: 1024 * 1024,
            modifications_max: 1_000,
            body_octets_max: 50 * 1024 * 1024,
            answer_max: Duration::from_secs(30),
            message_answer_max: Duration::from_mins(5),
            message_max: Duration::from_mins(9),
        }
    }
}
