//! STARTTLS (RFC 3207).
//!
//! Invariant: nothing the peer said in clear counts after the handshake (RFC 3207 §4.2): neither what it said
//! before, nor what was put behind STARTTLS into the same packet.

use super::{Phase, Server, State, Transaction};
use crate::Reply;
use wire::{Output, Tls};

impl Server {
    pub(super) fn starttls(&mut self, args: &str) {
        if self.tls.is_some() {
            return self.say(&Reply::new(503, (5, 5, 1), "TLS is up already"));
        }
        if !self.config.starttls {
            return self.say(&Reply::new(502, (5, 5, 1), "STARTTLS is not offered"));
        }
        if !args.is_empty() {
            return self.say(&Reply::new(501, (5, 5, 4), "STARTTLS takes no parameters"));
        }
        if self.inbox.clear() {
            return self.give_up(&Reply::new(554, (5, 5, 1), "Nothing may follow STARTTLS before the handshake"));
        }
        self.say(&Reply::new(220, (2, 0, 0), "Ready to start TLS"));
        self.state = State::Handshake;
        self.outbox.push_back(Output::StartTls);
    }

    pub(super) fn tls_started(&mut self, tls: Tls) {
        self.inbox.clear();
        self.tls = Some(tls);
        self.authenticated = false;
        self.transaction = Transaction::default();
        self.state = State::Command(Phase::Greeted);
    }
}
