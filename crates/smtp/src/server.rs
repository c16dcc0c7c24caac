//! The server side of one SMTP, submission or LMTP connection.

mod ask;
mod config;

pub use ask::{Answer, Ask, MailCommand};
pub use config::{Config, Connection, Limits, Role};

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Instant;
use wire::{Input, Output, Session};

/// The server side of one connection.
#[derive(Debug)]
pub struct Server {
    now: Instant,
}

impl Server {
    /// A connection that has just been made.
    pub fn new(_config: Arc<Config>, _connection: Connection, now: Instant) -> Self {
        Self { now }
    }
}

impl Session for Server {
    type Ask = Ask;
    type Answer = Answer;
    type Push = Infallible;

    fn handle(&mut self, _now: Instant, _input: Input<'_, Answer, Infallible>) {}

    fn poll(&mut self) -> Output<Ask> {
        Output::Wait(self.now)
    }
}
