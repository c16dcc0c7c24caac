//! The sign-ins of one connection: answers its questions, and tells the guard how they went.
//!
//! A password is judged by the answer itself. With SCRAM the session judges the proof, so that an exchange
//! whose keys were asked for has failed if the next exchange, or the end of the connection, comes before
//! success:
//!
//! ```text
//!  idle ── keys asked for ──▶ begun ── entered ──▶ idle: signed in
//!                              └── asked again, dropped ──▶ idle: failed
//! ```

use super::Authenticator;
use crate::ban::Ban;
use std::net::IpAddr;
use wire::sasl::{SaslAnswer, SaslAsk};

/// What a handler of one connection has to answer questions of SASL.
#[derive(Debug)]
pub struct SignIn {
    authenticator: Authenticator,
    peer: Option<IpAddr>,
    begun: Option<Begun>,
}

#[derive(Debug)]
struct Begun {
    login: String,
    exists: bool,
}

impl SignIn {
    /// For a connection from `peer`; without one nothing is counted by address.
    pub const fn new(authenticator: Authenticator, peer: Option<IpAddr>) -> Self {
        Self { authenticator, peer, begun: None }
    }

    /// Answers a question of a SASL exchange.
    pub async fn answer(&mut self, ask: SaslAsk) -> SaslAnswer {
        if let Some(ban) = self.give_up() {
            self.authenticator.keep(ban).await;
        }
        let login = match &ask {
            SaslAsk::ScramVerifier { login, .. } => Some(login.clone()),
            _ => None,
        };
        let answer = self.authenticator.answer(ask, self.peer).await;
        if let (Some(login), SaslAnswer::Verifier(verifier)) = (login, &answer) {
            self.begun = Some(Begun { login, exists: verifier.is_some() });
        }
        answer
    }

    /// The session says that the client is who it says.
    pub fn entered(&mut self) {
        if let Some(begun) = self.begun.take() {
            self.authenticator.scram_succeeded(&begun.login, self.peer);
        }
    }

    /// The ban that it brought about.
    fn give_up(&mut self) -> Option<Ban> {
        let begun = self.begun.take()?;
        self.authenticator.scram_failed(&begun.login, begun.exists, self.peer)
    }
}

impl Drop for SignIn {
    fn drop(&mut self) {
        if let Some(ban) = self.give_up() {
            self.authenticator.keep_later(ban);
        }
    }
}
