//! AUTH (RFC 4954): one SASL exchange in base64.

use super::{Answer, Ask, Asked, Phase, Server, State, refusal};
use crate::Reply;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use wire::sasl::{Exchange, Failure, Mechanism, SaslAnswer, Step};

/// What AUTH has asked.
#[derive(Debug)]
pub(super) enum Asking {
    /// Something of the account.
    Sasl(Box<Exchange>),
    /// Whether the success may stand.
    Success,
    /// Whose the client's certificate is, at a MAIL with these arguments.
    Implied(String),
    /// Whether that may stand.
    ImpliedSuccess(String),
}

impl Server {
    pub(super) fn auth(&mut self, args: &str) {
        if let Some(reply) = self.auth_not_now() {
            return self.say(&reply);
        }
        let (name, initial) = args.split_once(' ').map_or((args, None), |(name, initial)| (name, Some(initial.trim())));
        let Some(mechanism) = self.mechanisms().find(|mechanism| mechanism.name().eq_ignore_ascii_case(name)) else {
            return self.say(&Reply::new(504, (5, 5, 4), "That mechanism is not offered"));
        };
        let mut exchange = Box::new(self.exchange(mechanism));
        let step = match initial {
            None => exchange.start(None),
            Some("=") => exchange.start(Some(b"")),
            Some(text) => match STANDARD.decode(text) {
                Ok(message) => exchange.start(Some(&message)),
                Err(_) => return self.say(&not_base64()),
            },
        };
        self.auth_step(exchange, step);
    }

    /// Whether AUTH is offered now.
    pub(super) fn auth_allowed(&self) -> bool {
        self.mechanisms().next().is_some() && (self.tls.is_some() || !self.config.auth_needs_tls)
    }

    /// The mechanisms that this connection can have.
    pub(super) fn mechanisms(&self) -> impl Iterator<Item = Mechanism> {
        self.config.mechanisms.iter().copied().filter(|mechanism| mechanism.available(self.tls.as_ref()))
    }

    fn auth_not_now(&self) -> Option<Reply> {
        if self.config.mechanisms.is_empty() {
            return Some(Reply::new(502, (5, 5, 1), "AUTH is not offered"));
        }
        if self.authenticated {
            return Some(Reply::new(503, (5, 5, 1), "You are authenticated already"));
        }
        (!self.auth_allowed()).then(|| Reply::new(538, (5, 7, 11), "Must issue a STARTTLS command first"))
    }

    /// Each exchange of a connection has a nonce of its own.
    fn exchange(&mut self, mechanism: Mechanism) -> Exchange {
        let nonce = match self.counts.auths {
            0 => self.nonce.clone(),
            n => format!("{}{n}", self.nonce),
        };
        self.counts.auths += 1;
        let exchange = Exchange::new(mechanism, &nonce, self.tls.as_ref()).pretending(&self.config.pretence_key);
        if self.mechanisms().any(Mechanism::binds) { exchange } else { exchange.unbound() }
    }

    /// A line of the exchange.
    pub(super) fn auth_line(&mut self, line: &[u8]) {
        let State::Auth(mut exchange) = std::mem::replace(&mut self.state, State::Command(Phase::Ready)) else { return };
        if line == b"*" {
            return self.say(&Reply::new(501, (5, 7, 0), "Authentication cancelled"));
        }
        match STANDARD.decode(line) {
            Ok(message) => {
                let step = exchange.step(&message);
                self.auth_step(exchange, step);
            }
            Err(_) => self.say(&not_base64()),
        }
    }

    pub(super) fn auth_line_too_long(&mut self) {
        self.state = State::Command(Phase::Ready);
        self.say(&Reply::new(500, (5, 5, 6), "Authentication line too long"));
    }

    fn auth_step(&mut self, exchange: Box<Exchange>, step: Step) {
        match step {
            Step::Challenge(challenge) => {
                self.state = State::Auth(exchange);
                self.say(&Reply::plain(334, STANDARD.encode(challenge)));
            }
            Step::Ask(ask) => self.ask(Ask::Auth(ask), Asked::Auth(Asking::Sasl(exchange))),
            Step::Done(success) => {
                let ask = Ask::Authenticated { account: success.account, login: success.login };
                self.ask(ask, Asked::Auth(Asking::Success));
            }
            Step::Failed(failure) => self.auth_failed(failure),
        }
    }

    pub(super) fn auth_answered(&mut self, asking: Asking, answer: Answer) {
        match (asking, answer) {
            (Asking::Sasl(mut exchange), Answer::Auth(answer)) => {
                let step = exchange.answered(answer);
                self.auth_step(exchange, step);
            }
            (Asking::Sasl(mut exchange), _) => {
                let step = exchange.answered(SaslAnswer::Refused(Failure::Temporary));
                self.auth_step(exchange, step);
            }
            (Asking::Success, answer) => self.auth_succeeded(answer),
            (Asking::Implied(args), Answer::Auth(SaslAnswer::Account { account, login })) => {
                self.ask(Ask::Authenticated { account, login }, Asked::Auth(Asking::ImpliedSuccess(args)));
            }
            (Asking::Implied(_), _) => {
                self.counts.auth_failures += 1;
                self.say(&Reply::new(530, (5, 7, 0), "Authentication required"));
                self.auth_failures_bounded();
            }
            (Asking::ImpliedSuccess(args), answer) => {
                if let Some(reply) = refusal(answer) {
                    return self.say(&reply);
                }
                self.authenticated = true;
                self.mail(&args);
            }
        }
    }

    /// What to ask at a MAIL without AUTH, if the client has shown a certificate.
    ///
    /// Deviation: RFC 6409 §4.3 wants AUTH first; Thunderbird leaves EXTERNAL out where it is set up to sign in
    /// by a TLS certificate.
    pub(super) fn implied_external(&mut self) -> Option<Ask> {
        if self.authenticated || !self.mechanisms().any(|mechanism| mechanism == Mechanism::External) {
            return None;
        }
        match self.exchange(Mechanism::External).step(b"") {
            Step::Ask(ask) => Some(Ask::Auth(ask)),
            _ => None,
        }
    }

    fn auth_succeeded(&mut self, answer: Answer) {
        self.state = State::Command(Phase::Ready);
        if let Some(reply) = refusal(answer) {
            return self.say(&reply);
        }
        self.authenticated = true;
        self.say(&Reply::new(235, (2, 7, 0), "Authentication succeeded"));
    }

    fn auth_failed(&mut self, failure: Failure) {
        self.state = State::Command(Phase::Ready);
        let reply = match failure {
            Failure::Credentials | Failure::Identity => Reply::new(535, (5, 7, 8), "Authentication credentials invalid"),
            Failure::Malformed => Reply::new(501, (5, 5, 2), "Cannot understand that authentication message"),
            Failure::Temporary => Reply::new(454, (4, 7, 0), "Temporary authentication failure"),
            Failure::Wait => Reply::new(454, (4, 7, 0), "Too many failed sign-ins; try again later"),
            Failure::Disabled => Reply::new(525, (5, 7, 13), "User account disabled"),
        };
        self.counts.auth_failures += usize::from(failure != Failure::Temporary);
        self.say(&reply);
        self.auth_failures_bounded();
    }

    fn auth_failures_bounded(&mut self) {
        if self.counts.auth_failures >= self.config.limits.auth_failures_max && !matches!(self.state, State::Closed) {
            self.give_up(&Reply::new(421, (4, 7, 0), "Too many failed authentications"));
        }
    }
}

fn not_base64() -> Reply {
    Reply::new(501, (5, 5, 2), "That is not base64")
}
