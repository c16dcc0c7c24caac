//! AUTH (RFC 4954), the strongest mechanism first.

use super::{Client, Outcome, Stage, State};
use crate::Reply;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use wire::sasl::{self, Mechanism};

impl Client {
    /// Logs in if there is something to log in with, and asks for the first message.
    pub(super) fn authenticate(&mut self) {
        let Some(credentials) = self.config.credentials.clone() else { return self.ask_next() };
        let Some(mechanism) = self.mechanism() else {
            return self.fail(&Outcome::ours(Stage::Auth, (4, 7, 0), "The server offers no AUTH that is safe here"));
        };
        let mut exchange = Box::new(sasl::client::Client::new(mechanism, credentials, &self.config.nonce, self.tls.as_ref()));
        let initial = match exchange.initial() {
            Some(message) => format!(" {}", STANDARD.encode(message)),
            None => String::new(),
        };
        self.send(format!("AUTH {mechanism}{initial}\r\n").into_bytes());
        self.state = State::Auth(exchange);
    }

    fn mechanism(&self) -> Option<Mechanism> {
        let in_clear = self.tls.is_some() || self.config.password_in_clear;
        let usable = |mechanism: &Mechanism| mechanism.available(self.tls.as_ref()) && (in_clear || !mechanism.shows_password());
        Mechanism::WITH_PASSWORD.into_iter().filter(usable).find(|mechanism| self.offers.mechanisms.contains(mechanism))
    }

    /// A 235 before the server has shown that it knows the password too is not believed.
    pub(super) fn auth_replied(&mut self, reply: Reply) {
        let State::Auth(exchange) = &mut self.state else { return };
        match reply.code {
            235 if exchange.finished() => self.ask_next(),
            235 => self.fail(&Outcome::ours(Stage::Auth, (4, 7, 0), "The server did not prove that it knows the password")),
            334 => {
                let answer = STANDARD.decode(reply.text.trim()).ok().and_then(|challenge| exchange.step(&challenge).ok());
                let Some(answer) = answer else {
                    return self.fail(&Outcome::ours(Stage::Auth, (4, 7, 0), "The server breaks the AUTH exchange"));
                };
                self.send(format!("{}\r\n", STANDARD.encode(answer)).into_bytes());
            }
            _ => self.refused(Stage::Auth, reply),
        }
    }
}
