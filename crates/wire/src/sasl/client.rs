//! The client side of SASL, for smarthosts.

use super::scram::Hash;
use super::scram::client::Client as Scram;
use super::{Mechanism, Secret, plain};
use crate::Tls;

/// What a client logs in with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The login name.
    pub login: String,
    /// The password.
    pub password: Secret,
}

/// Why the client side gave up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientError {
    /// The server's message breaks the mechanism's grammar.
    Malformed,
    /// The server asks for too few or too many iterations ([`super::scram::ITERATIONS_MAX`]).
    Iterations,
    /// The server does not know the password itself.
    Impostor,
}

/// One exchange, client side.
#[derive(Debug)]
pub struct Client {
    credentials: Credentials,
    state: State,
}

#[derive(Debug)]
enum State {
    Plain,
    /// How many challenges were answered.
    Login(u8),
    Scram(Box<Scram>),
    Over,
}

impl Client {
    /// Starts an exchange.
    ///
    /// `nonce` is at least 24 printable ASCII octets without a comma, fresh for every exchange. Where the server
    /// offers `-PLUS` and `tls` can bind, choose that: plain `SCRAM-SHA-256` then tells it of a downgrade.
    /// Mechanisms that take no password ([`Mechanism::takes_password`]) say nothing and fail at the first step.
    pub fn new(mechanism: Mechanism, credentials: Credentials, nonce: &str, tls: Option<&Tls>) -> Self {
        let scram = |hash, plus| State::Scram(Box::new(Scram::new(hash, nonce, tls, plus)));
        let state = match mechanism {
            Mechanism::Plain => State::Plain,
            Mechanism::Login => State::Login(0),
            Mechanism::ScramSha256 => scram(Hash::Sha256, false),
            Mechanism::ScramSha256Plus => scram(Hash::Sha256, true),
            Mechanism::ScramSha1 => scram(Hash::Sha1, false),
            Mechanism::ScramSha1Plus => scram(Hash::Sha1, true),
            Mechanism::OAuthBearer | Mechanism::XOAuth2 | Mechanism::External => State::Over,
        };
        Self { credentials, state }
    }

    /// The initial response to send with the command; `None` where the mechanism has none.
    pub fn initial(&mut self) -> Option<Vec<u8>> {
        match &mut self.state {
            State::Plain => {
                self.state = State::Over;
                Some(self.plain())
            }
            State::Scram(scram) => Some(scram.first(&self.credentials)),
            State::Login(_) | State::Over => None,
        }
    }

    /// Answers the server's challenge, decoded from base64.
    ///
    /// # Errors
    /// When the server breaks the mechanism; the exchange must be cancelled.
    pub fn step(&mut self, challenge: &[u8]) -> Result<Vec<u8>, ClientError> {
        match &mut self.state {
            State::Plain => {
                self.state = State::Over;
                Ok(self.plain())
            }
            State::Login(0) => {
                self.state = State::Login(1);
                Ok(self.credentials.login.clone().into_bytes())
            }
            State::Login(_) => {
                self.state = State::Over;
                Ok(self.credentials.password.expose().as_bytes().to_vec())
            }
            State::Scram(scram) => scram.step(&self.credentials, challenge),
            State::Over => Err(ClientError::Malformed),
        }
    }

    /// Whether success may be believed: SCRAM's server must have shown its signature first.
    pub fn finished(&self) -> bool {
        match &self.state {
            State::Scram(scram) => scram.finished(),
            State::Over => true,
            State::Plain | State::Login(_) => false,
        }
    }

    fn plain(&self) -> Vec<u8> {
        plain::message(None, &self.credentials.login, &self.credentials.password)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Exchange, Failure, SaslAnswer, SaslAsk, ScramVerifier, Step, Success};
    use super::*;

    fn credentials(password: &str) -> Credentials {
        Credentials { login: "an=n,a".to_owned(), password: Secret::new(password) }
    }

    /// Plays both sides against each other; the account's password is `pencil`.
    fn play(mechanism: Mechanism, password: &str, client_tls: Option<&Tls>, server_tls: Option<&Tls>) -> Result<Success, Failure> {
        let mut client = Client::new(mechanism, credentials(password), "client-nonce", client_tls);
        let mut server = Exchange::new(mechanism, "server-nonce", server_tls);
        let initial = client.initial();
        let mut step = server.start(initial.as_deref());
        loop {
            step = match step {
                Step::Challenge(challenge) => server.step(&client.step(&challenge).unwrap()),
                Step::Ask(SaslAsk::Password { password, .. }) if password.expose() == "pencil" => {
                    server.answered(SaslAnswer::Account { account: 7, login: "anna".to_owned() })
                }
                Step::Ask(SaslAsk::Password { .. }) => server.answered(SaslAnswer::Refused(Failure::Credentials)),
                Step::Ask(SaslAsk::Token { .. } | SaslAsk::Certificate { .. }) => panic!("no password is asked for"),
                Step::Ask(SaslAsk::ScramVerifier { hash, login }) => {
                    assert_eq!(login, "an=n,a");
                    let verifier = ScramVerifier::derive(hash, &Secret::new("pencil"), b"salt", 4096, 7, "anna");
                    server.answered(SaslAnswer::Verifier(Some(verifier)))
                }
                Step::Done(success) => {
                    assert!(client.finished());
                    return Ok(success);
                }
                Step::Failed(failure) => return Err(failure),
            }
        }
    }

    proptest::proptest! {
        #![proptest_config(proptest::test_runner::Config { cases: 24, ..Default::default() })]

        /// Whatever the login and the password are made of: the right one is let in, another is not.
        #[test]
        fn scram_agrees_about_every_login_and_password(
            login in "[ -~äß=,漢]{1,20}", password in "\\PC{1,20}", salt: [u8; 16], sha1: bool, plus: bool,
        ) {
            let mechanism = match (sha1, plus) {
                (false, false) => Mechanism::ScramSha256,
                (false, true) => Mechanism::ScramSha256Plus,
                (true, false) => Mechanism::ScramSha1,
                (true, true) => Mechanism::ScramSha1Plus,
            };
            let tls = plus.then(|| Tls { exporter: Some([5; 32]), ..Tls::default() });
            for (shown, want) in [(password.clone(), true), (format!("{password}x"), false)] {
                let credentials = Credentials { login: login.clone(), password: Secret::new(shown) };
                let mut client = Client::new(mechanism, credentials, "client-nonce", tls.as_ref());
                let mut server = Exchange::new(mechanism, "server-nonce", tls.as_ref());
                let mut step = server.start(client.initial().as_deref());
                let outcome = loop {
                    step = match step {
                        Step::Challenge(challenge) => server.step(&client.step(&challenge).unwrap()),
                        Step::Ask(SaslAsk::ScramVerifier { hash, .. }) => {
                            let keys = ScramVerifier::derive(hash, &Secret::new(password.clone()), &salt, 4096, 7, "ann");
                            server.answered(SaslAnswer::Verifier(Some(keys)))
                        }
                        Step::Done(_) => break client.finished(),
                        _ => break false,
                    };
                };
                proptest::prop_assert_eq!(outcome, want);
            }
        }
    }

    #[test]
    fn client_and_server_agree() {
        let tls = Tls { exporter: Some([5; 32]), ..Tls::default() };
        let other = Tls { exporter: Some([6; 32]), ..Tls::default() };
        let anna = Success { account: 7, login: "anna".to_owned() };
        for mechanism in [Mechanism::Plain, Mechanism::Login, Mechanism::ScramSha256, Mechanism::ScramSha1] {
            assert_eq!(play(mechanism, "pencil", None, None), Ok(anna.clone()), "{mechanism}");
            assert_eq!(play(mechanism, "pen", None, None), Err(Failure::Credentials), "{mechanism}");
        }
        let plus = Mechanism::ScramSha256Plus;
        assert_eq!(play(plus, "pencil", Some(&tls), Some(&tls)), Ok(anna));
        assert_eq!(play(plus, "pencil", Some(&tls), Some(&other)), Err(Failure::Credentials), "somebody is in between");
        assert_eq!(play(Mechanism::ScramSha256, "pencil", Some(&tls), Some(&tls)), Err(Failure::Credentials), "a downgrade");
    }

    #[test]
    fn the_example_of_rfc_7677() {
        let credentials = Credentials { login: "user".to_owned(), password: Secret::new("pencil") };
        let mut client = Client::new(Mechanism::ScramSha256, credentials, "rOprNGfwEbeRWgbNEkqO", None);
        assert_eq!(client.initial().unwrap(), b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let first = b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
        let last = b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
        assert_eq!(client.step(first).unwrap(), last);
        assert!(!client.finished());
        assert_eq!(client.step(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="), Ok(Vec::new()));
        assert!(client.finished());
    }

    #[test]
    fn hostile_servers_are_refused() {
        for (challenge, want) in [
            ("", ClientError::Malformed),
            ("r=other,s=AAAA,i=4096", ClientError::Malformed),
            ("r=client-nonce,s=AAAA,i=4096", ClientError::Malformed),
            ("r=client-nonce!,s=?,i=4096", ClientError::Malformed),
            ("r=client-nonce!,s=AAAA,i=4000000000", ClientError::Iterations),
            ("r=client-nonce!,s=AAAA,i=1", ClientError::Iterations),
        ] {
            let mut client = Client::new(Mechanism::ScramSha256, credentials("pencil"), "client-nonce", None);
            client.initial();
            assert_eq!(client.step(challenge.as_bytes()), Err(want), "{challenge}");
        }
        let mut client = Client::new(Mechanism::ScramSha256, credentials("pencil"), "client-nonce", None);
        client.initial();
        client.step(b"r=client-nonce!,s=AAAA,i=4096").unwrap();
        assert_eq!(client.step(b"v=AAAA"), Err(ClientError::Impostor));
    }
}
