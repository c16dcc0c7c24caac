//! Who is there: USER, PASS, AUTH, STLS, and CAPA, which says what of these is offered.
//!
//! Invariant: a password is taken in clear only where the connection's settings allow it; USER is
//! refused there already, so that well-behaved clients never send it.

use super::language::{Language, Words};
use super::reply::{Code, coded, error, ok};
use super::session::{Ask, Phase, Session};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use mail::AccountId;
use wire::sasl::{Exchange, Failure, Mechanism, SaslAnswer, SaslAsk, Secret, Step, prepared};

impl Session {
    /// Whether a password may cross the wire.
    fn takes_passwords(&self) -> bool {
        self.connection.tls.is_some() || self.connection.plaintext_login
    }

    fn offers_stls(&self) -> bool {
        self.config.stls && self.connection.tls.is_none()
    }

    fn offered(&self) -> Vec<Mechanism> {
        let tls = self.connection.tls.as_ref();
        let offered = |mechanism: &Mechanism| mechanism.available(tls) && (!mechanism.shows_password() || self.takes_passwords());
        self.config.mechanisms.iter().copied().filter(offered).collect()
    }

    /// RFC 2449 §5: what is offered before login is announced after it too.
    pub(super) fn capa(&mut self) {
        let mut text = String::from("+OK\r\nTOP\r\nUIDL\r\nPIPELINING\r\nRESP-CODES\r\nAUTH-RESP-CODE\r\nUTF8 USER\r\nLANG\r\n");
        let expire = self.config.expire_days.map_or_else(|| "NEVER".to_owned(), |days| days.to_string());
        text.extend(["EXPIRE ", &expire, "\r\n"]);
        if !self.config.login_delay.is_zero() {
            text.extend(["LOGIN-DELAY ", &self.config.login_delay.as_secs().to_string(), "\r\n"]);
        }
        if self.takes_passwords() {
            text.push_str("USER\r\n");
        }
        let mechanisms = self.offered();
        if !mechanisms.is_empty() {
            text.push_str("SASL");
            text.extend(mechanisms.iter().flat_map(|mechanism| [" ", mechanism.name()]));
            text.push_str("\r\n");
        }
        if self.offers_stls() {
            text.push_str("STLS\r\n");
        }
        text.push_str("IMPLEMENTATION Postrider\r\n.\r\n");
        self.send(text.into_bytes());
    }

    /// RFC 2595 §4.
    pub(super) fn stls(&mut self) {
        if self.connection.tls.is_some() {
            return self.fault(&error("TLS is active already"));
        }
        if !self.offers_stls() {
            return self.fault(&error("TLS is not offered here"));
        }
        self.say(&ok("begin TLS"));
        self.start_tls();
    }

    /// Says nothing of whether there is such a user (RFC 1939 §13).
    pub(super) fn user(&mut self, name: String) {
        if !self.takes_passwords() {
            return self.fault(&error(self.words_for_no_tls()));
        }
        self.user = Some(name);
        self.say(&ok("send PASS"));
    }

    fn words_for_no_tls(&self) -> &'static str {
        if self.offers_stls() { "passwords are not taken in clear: use STLS first" } else { "passwords are not taken in clear" }
    }

    pub(super) fn pass(&mut self, password: &Secret) {
        let Some(name) = self.user.take() else { return self.fault(&error("USER first")) };
        let password = Secret::new(prepared(password.expose()));
        self.phase = Phase::Checking;
        self.ask(Ask::Auth(SaslAsk::Password { authzid: None, login: prepared(&name), password }));
    }

    /// The answer to USER and PASS.
    pub(super) fn checked(&mut self, answer: &SaslAnswer) {
        match answer {
            SaslAnswer::Account { account, .. } => self.open(*account),
            SaslAnswer::Refused(failure) => self.refused(*failure),
            SaslAnswer::Verifier(_) | SaslAnswer::TokenRefused(_) => self.refused(Failure::Temporary),
        }
    }

    /// RFC 5034 §4.
    ///
    /// Deviation: without an argument it lists the mechanisms, as clients older than CAPA expect.
    pub(super) fn auth(&mut self, arguments: Option<(String, Option<String>)>) {
        let Some((name, initial)) = arguments else { return self.list_mechanisms() };
        let known = |mechanism: &Mechanism| self.config.mechanisms.contains(mechanism) && mechanism.available(self.connection.tls.as_ref());
        let Some(mechanism) = Mechanism::parse(&name).filter(known) else {
            return self.fault(&error("this mechanism is not offered; see CAPA"));
        };
        if !self.offered().contains(&mechanism) {
            return self.fault(&error(self.words_for_no_tls()));
        }
        let initial = match initial.as_deref().map(decoded_initial) {
            Some(None) => return self.fault(&error("the initial response is not base64")),
            Some(Some(initial)) => Some(initial),
            None => None,
        };
        let mut exchange = Box::new(self.exchange(mechanism));
        let step = exchange.start(initial.as_deref());
        self.step(exchange, step);
    }

    fn list_mechanisms(&mut self) {
        let names = self.offered().into_iter().map(|mechanism| format!("{mechanism}\r\n"));
        let text = format!("+OK\r\n{}.\r\n", names.collect::<String>());
        self.send(text.into_bytes());
    }

    /// An exchange sees the channel binding only where `-PLUS` is offered: a client that could have
    /// used it and was not offered it is then not taken for the victim of a downgrade (RFC 5802 §6).
    fn exchange(&mut self, mechanism: Mechanism) -> Exchange {
        self.exchanges += 1;
        let nonce = format!("{}{}", self.connection.nonce, self.exchanges);
        let exchange = Exchange::new(mechanism, &nonce, self.connection.tls.as_ref()).pretending(&self.config.pretence_key);
        if self.offered().into_iter().any(Mechanism::binds) { exchange } else { exchange.unbound() }
    }

    /// RFC 6856 §3.2: a language, or a list of them.
    pub(super) fn lang(&mut self, range: Option<&str>) {
        let Some(range) = range else {
            self.say(&ok("languages follow"));
            let lines = Language::ALL.map(|language| format!("{} {}\r\n", language.tag(), language.name()));
            return self.send(format!("{}.\r\n", lines.concat()).into_bytes());
        };
        match Language::matching(range, self.config.language) {
            Some(language) => {
                self.language = language;
                self.say(&ok(Words::Chosen));
            }
            None => self.fault(&error("this language is not spoken here; see LANG")),
        }
    }

    /// The client's next line of an exchange.
    pub(super) fn response(&mut self, mut exchange: Box<Exchange>, line: &[u8]) {
        if line == b"*" {
            return self.fault(&error("cancelled"));
        }
        let Ok(message) = BASE64.decode(line) else { return self.fault(&error("the response is not base64")) };
        let step = exchange.step(&message);
        self.step(exchange, step);
    }

    /// The answer to an exchange's question.
    pub(super) fn verified(&mut self, mut exchange: Box<Exchange>, answer: SaslAnswer) {
        let step = exchange.answered(answer);
        self.step(exchange, step);
    }

    fn step(&mut self, exchange: Box<Exchange>, step: Step) {
        match step {
            Step::Challenge(message) => {
                self.send(format!("+ {}\r\n", BASE64.encode(message)).into_bytes());
                self.phase = Phase::Challenged(exchange);
            }
            Step::Ask(ask) => {
                self.phase = Phase::Verifying(exchange);
                self.ask(Ask::Auth(ask));
            }
            Step::Done(success) => self.open(success.account),
            Step::Failed(failure) => self.refused(failure),
        }
    }

    fn open(&mut self, account: u32) {
        self.phase = Phase::Opening;
        self.ask(Ask::Open { account: AccountId(account), messages_max: self.config.limits.messages_max });
    }

    fn refused(&mut self, failure: Failure) {
        self.say(&match failure {
            Failure::Credentials => coded(Code::Auth, "login or password is wrong"),
            Failure::Identity => coded(Code::Auth, "this login may not act as that identity"),
            Failure::Malformed => error("the response makes no sense"),
            Failure::Temporary => coded(Code::SysTemp, "this cannot be checked now; try again later"),
            Failure::Wait => coded(Code::SysTemp, "too many failed logins; try again later"),
            Failure::Disabled => coded(Code::SysPerm, "this account is switched off; ask your administrator"),
        });
        self.auth_failures += 1;
        if self.auth_failures >= self.config.limits.auth_failures_max {
            self.close();
        }
    }
}

/// `=` is an empty response (RFC 5034 §4); `None`: not base64.
fn decoded_initial(text: &str) -> Option<Vec<u8>> {
    if text == "=" { Some(Vec::new()) } else { BASE64.decode(text).ok() }
}
