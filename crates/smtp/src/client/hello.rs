//! From the greeting to the first message: EHLO, HELO, STARTTLS (RFC 5321 §3.2, RFC 3207).

use super::{Client, Offers, Outcome, Stage, State, TlsPolicy};
use crate::Reply;
use wire::{Output, Tls};

impl Client {
    pub(super) fn greeted(&mut self, reply: Reply) {
        if reply.code != 220 {
            return self.refused(Stage::Greeting, reply);
        }
        self.say_hello(if self.config.lmtp { "LHLO" } else { "EHLO" });
        self.state = State::Ehlo;
    }

    /// A server that does not know EHLO may know HELO (RFC 5321 §3.2).
    pub(super) fn ehlo_replied(&mut self, reply: Reply) {
        if reply.is_positive() {
            self.offers = Offers::parse(&reply.text);
            return self.greeted_back();
        }
        if reply.is_permanent() && !self.config.lmtp {
            self.say_hello("HELO");
            self.state = State::Helo;
            return;
        }
        self.refused(Stage::Helo, reply);
    }

    pub(super) fn helo_replied(&mut self, reply: Reply) {
        if !reply.is_positive() {
            return self.refused(Stage::Helo, reply);
        }
        self.offers = Offers::default();
        self.greeted_back();
    }

    fn say_hello(&mut self, verb: &str) {
        self.send(format!("{verb} {}\r\n", self.config.hostname).into_bytes());
    }

    fn greeted_back(&mut self) {
        if self.config.requiretls && self.tls.is_some() && !self.offers.requiretls {
            return self.fail(&Outcome::ours(Stage::Helo, (4, 7, 30), "The server does not offer REQUIRETLS"));
        }
        match (self.config.tls_policy, self.offers.starttls) {
            _ if self.tls.is_some() => self.authenticate(),
            (TlsPolicy::Required, false) => self.fail(&Outcome::ours(Stage::StartTls, (4, 7, 10), "The server does not offer STARTTLS")),
            (TlsPolicy::Required | TlsPolicy::Opportunistic, true) => {
                self.send(b"STARTTLS\r\n".to_vec());
                self.state = State::StartTls;
            }
            _ => self.authenticate(),
        }
    }

    /// What stands behind the 220 was not said by the server under TLS: somebody may have put it there.
    pub(super) fn starttls_replied(&mut self, reply: Reply) {
        if reply.code == 220 && !self.replies.is_empty() {
            return self.fail(&Outcome::ours(Stage::StartTls, (4, 7, 0), "Something follows the reply to STARTTLS in clear"));
        }
        if reply.code == 220 {
            self.state = State::Handshake;
            self.outbox.push_back(Output::StartTls);
            return;
        }
        if self.config.tls_policy == TlsPolicy::Required || reply.code == 421 {
            return self.refused(Stage::StartTls, reply);
        }
        self.authenticate();
    }

    pub(super) fn tls_started(&mut self, tls: Tls) {
        self.replies.clear();
        self.tls = Some(tls);
        self.offers = Offers::default();
        self.say_hello(if self.config.lmtp { "LHLO" } else { "EHLO" });
        self.state = State::Ehlo;
    }

    /// The server's reply ends the session before any message.
    pub(super) fn refused(&mut self, stage: Stage, reply: Reply) {
        self.fail(&Outcome::from_reply(stage, reply));
    }
}
