//! The client side of one SMTP or LMTP connection.

mod ask;
mod config;

pub use ask::{Answer, Ask, Cause, Class, Outcome, Stage, Transaction, TransactionOutcome};
pub use config::{Config, Limits, TlsPolicy};

use std::convert::Infallible;
use std::time::Instant;
use wire::{Input, Output, Session};

/// The client side of one connection.
#[derive(Debug)]
pub struct Client {
    now: Instant,
}

impl Client {
    /// A connection that has just been made.
    pub fn new(_config: Config, now: Instant) -> Self {
        Self { now }
    }
}

impl Session for Client {
    type Ask = Ask;
    type Answer = Answer;
    type Push = Infallible;

    fn handle(&mut self, _now: Instant, _input: Input<'_, Answer, Infallible>) {}

    fn poll(&mut self) -> Output<Ask> {
        Output::Wait(self.now)
    }
}
