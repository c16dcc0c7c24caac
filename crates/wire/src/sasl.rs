//! SASL (RFC 4422): one exchange of authentication messages, as a value.
//!
//! The server side ([`Exchange`]) serves SMTP, IMAP and POP3 alike: they carry base64, it sees octets.
//! Not a password store: what must be known of an account is asked for ([`Step::Ask`]).
//!
//! ```text
//!  start ──▶ Challenge ◀──▶ step ──▶ Ask ──▶ answered ──▶ Challenge … ──▶ Done | Failed
//! ```
//!
//! Invariants
//! - An unknown login and a wrong password take the same steps and end in the same [`Failure`].
//! - Secrets are compared in constant time, are zeroized when dropped and have no `Debug` text.

pub mod client;
mod external;
mod login;
mod oauthbearer;
mod plain;
pub mod scram;
mod secret;
mod xoauth2;

pub use oauthbearer::TokenError;
pub use scram::{Hash, ScramVerifier};
pub use secret::Secret;

use crate::Tls;
use std::fmt;

/// A mechanism by its IANA name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mechanism {
    /// `PLAIN` (RFC 4616)
    Plain,
    /// `LOGIN` (draft-murchison-sasl-login), which Outlook needs.
    Login,
    /// `SCRAM-SHA-256` (RFC 7677)
    ScramSha256,
    /// `SCRAM-SHA-256-PLUS`: bound to the TLS connection by `tls-exporter` (RFC 9266).
    ScramSha256Plus,
    /// `SCRAM-SHA-1` (RFC 5802), for clients that know nothing younger.
    ScramSha1,
    /// `SCRAM-SHA-1-PLUS`: bound as `SCRAM-SHA-256-PLUS` is.
    ScramSha1Plus,
    /// `OAUTHBEARER` (RFC 7628): a bearer token instead of a password.
    OAuthBearer,
    /// `XOAUTH2`: Google's older form of the same.
    XOAuth2,
    /// `EXTERNAL` (RFC 4422 appendix A): the TLS client certificate says who it is.
    External,
}

impl Mechanism {
    /// Every mechanism, the strongest first.
    pub const ALL: [Self; 9] = [
        Self::External,
        Self::ScramSha256Plus,
        Self::ScramSha256,
        Self::ScramSha1Plus,
        Self::ScramSha1,
        Self::OAuthBearer,
        Self::XOAuth2,
        Self::Plain,
        Self::Login,
    ];

    /// Those that take an account's password, the strongest first.
    pub const WITH_PASSWORD: [Self; 6] =
        [Self::ScramSha256Plus, Self::ScramSha256, Self::ScramSha1Plus, Self::ScramSha1, Self::Plain, Self::Login];

    /// The IANA name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::Login => "LOGIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha256Plus => "SCRAM-SHA-256-PLUS",
            Self::ScramSha1 => "SCRAM-SHA-1",
            Self::ScramSha1Plus => "SCRAM-SHA-1-PLUS",
            Self::OAuthBearer => "OAUTHBEARER",
            Self::XOAuth2 => "XOAUTH2",
            Self::External => "EXTERNAL",
        }
    }

    /// Reads an IANA name, in any case.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mechanism| mechanism.name().eq_ignore_ascii_case(name))
    }

    /// Whether it shows a password or a token to whoever reads the wire: to be offered under TLS only.
    pub const fn shows_password(self) -> bool {
        matches!(self, Self::Plain | Self::Login | Self::OAuthBearer | Self::XOAuth2)
    }

    /// Whether it works with an account's password.
    pub const fn takes_password(self) -> bool {
        !matches!(self, Self::OAuthBearer | Self::XOAuth2 | Self::External)
    }

    /// Whether it binds the login to the TLS connection.
    pub const fn binds(self) -> bool {
        matches!(self, Self::ScramSha256Plus | Self::ScramSha1Plus)
    }

    /// Whether it can be offered on this connection: `-PLUS` needs a channel binding, `EXTERNAL` a verified
    /// client certificate with an address.
    pub fn available(self, tls: Option<&Tls>) -> bool {
        match self {
            Self::External => tls.is_some_and(|tls| tls.verified && !tls.client_addresses.is_empty()),
            _ => !self.binds() || tls.is_some_and(|tls| tls.exporter.is_some()),
        }
    }
}

impl fmt::Display for Mechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What the exchange wants next.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Send this to the client (it may be empty), and hand its answer to [`Exchange::step`].
    Challenge(Vec<u8>),
    /// Ask the account store, and hand its answer to [`Exchange::answered`].
    Ask(SaslAsk),
    /// The client is who it says.
    Done(Success),
    /// It is not, or cannot be heard.
    Failed(Failure),
}

/// A question to the account store.
#[derive(Debug, PartialEq, Eq)]
pub enum SaslAsk {
    /// Is this the password? Answered with [`SaslAnswer::Account`] or [`SaslAnswer::Refused`].
    Password {
        /// The identity to act as, where it was given and is not empty (RFC 4616 §2).
        authzid: Option<String>,
        /// The login name, prepared as [`prepared`] does.
        login: String,
        /// The password, prepared as [`prepared`] does.
        password: Secret,
    },
    /// What is known of this login? Answered with [`SaslAnswer::Verifier`] or [`SaslAnswer::Refused`].
    ScramVerifier {
        /// For which hash.
        hash: Hash,
        /// The login name, prepared as [`prepared`] does.
        login: String,
    },
    /// Whose is this bearer token? Answered with [`SaslAnswer::Account`], [`SaslAnswer::TokenRefused`] or
    /// [`SaslAnswer::Refused`].
    Token {
        /// The login that the client wants to be, if it says one.
        login: Option<String>,
        /// The token.
        token: Secret,
    },
    /// Whose is this verified certificate? Answered with [`SaslAnswer::Account`] or [`SaslAnswer::Refused`].
    Certificate {
        /// The login that the client wants to be, if it says one.
        login: Option<String>,
        /// The addresses that the certificate speaks for.
        addresses: Vec<String>,
    },
}

/// The account store's answer.
#[derive(Debug, PartialEq, Eq)]
pub enum SaslAnswer {
    /// The password is right.
    Account {
        /// The account's id.
        account: u32,
        /// Its login name as the store writes it.
        login: String,
    },
    /// It is wrong, or nothing can be said now.
    Refused(Failure),
    /// The keys of this login; `None` if there is no such login: the exchange then goes on with invented
    /// ones and fails at the proof.
    Verifier(Option<ScramVerifier>),
    /// The token is not taken; what the client needs to get a better one.
    TokenRefused(TokenError),
}

/// Who the client is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Success {
    /// The account's id.
    pub account: u32,
    /// Its login name as the store writes it.
    pub login: String,
}

/// Why an exchange failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// Unknown login or wrong password; which of them is not told.
    Credentials,
    /// The client's message breaks the mechanism's grammar.
    Malformed,
    /// The account store cannot answer now; trying again may help.
    Temporary,
    /// The account is switched off.
    Disabled,
    /// The login is right and may not act as the identity it asked for.
    Identity,
    /// Nothing was checked: too many have failed, from that address or for that login.
    Wait,
}

/// One exchange, server side.
#[derive(Debug)]
pub struct Exchange {
    state: State,
}

#[derive(Debug)]
enum State {
    Plain(plain::Server),
    Login(login::Server),
    Scram(Box<scram::server::Server>),
    OAuthBearer(oauthbearer::Server),
    XOAuth2(xoauth2::Server),
    External(external::Server),
}

impl Exchange {
    /// Starts an exchange.
    ///
    /// `nonce` is at least 24 printable ASCII octets without a comma, fresh for every exchange. `tls` is the
    /// connection's TLS, for channel binding and the client's certificate.
    pub fn new(mechanism: Mechanism, nonce: &str, tls: Option<&Tls>) -> Self {
        let scram = |hash, plus| State::Scram(Box::new(scram::server::Server::new(hash, nonce, tls, plus)));
        let state = match mechanism {
            Mechanism::Plain => State::Plain(plain::Server),
            Mechanism::Login => State::Login(login::Server::default()),
            Mechanism::ScramSha256 => scram(Hash::Sha256, false),
            Mechanism::ScramSha256Plus => scram(Hash::Sha256, true),
            Mechanism::ScramSha1 => scram(Hash::Sha1, false),
            Mechanism::ScramSha1Plus => scram(Hash::Sha1, true),
            Mechanism::OAuthBearer => State::OAuthBearer(oauthbearer::Server::default()),
            Mechanism::XOAuth2 => State::XOAuth2(xoauth2::Server::default()),
            Mechanism::External => State::External(external::Server::new(tls)),
        };
        Self { state }
    }

    /// Sets the key from which verifiers of unknown logins are invented: secret, random, and the same for
    /// every exchange of an installation, so that an unknown login always shows the same salt (RFC 5802 §9).
    ///
    /// Without it the salts of unknown logins change with the nonce, by which they can be told from known ones.
    #[must_use]
    pub fn pretending(mut self, key: &[u8; 32]) -> Self {
        if let State::Scram(scram) = &mut self.state {
            scram.pretend_with(key);
        }
        self
    }

    /// Says that no `-PLUS` is offered on this connection: a client that could bind is then not taken for the
    /// victim of a downgrade (RFC 5802 §6).
    #[must_use]
    pub fn unbound(mut self) -> Self {
        if let State::Scram(scram) = &mut self.state {
            scram.unbind();
        }
        self
    }

    /// The first step: with the initial response, if the client gave one with its command.
    pub fn start(&mut self, initial: Option<&[u8]>) -> Step {
        match (initial, &self.state) {
            (Some(message), _) => self.step(message),
            (None, State::Login(_)) => Step::Challenge(login::USERNAME.to_vec()),
            (None, _) => Step::Challenge(Vec::new()),
        }
    }

    /// Takes the client's next message, decoded from base64.
    pub fn step(&mut self, message: &[u8]) -> Step {
        match &mut self.state {
            State::Plain(plain) => plain.step(message),
            State::Login(login) => login.step(message),
            State::Scram(scram) => scram.step(message),
            State::OAuthBearer(bearer) => bearer.step(message),
            State::XOAuth2(xoauth2) => xoauth2.step(message),
            State::External(external) => external.step(message),
        }
    }

    /// Takes the answer to [`Step::Ask`].
    pub fn answered(&mut self, answer: SaslAnswer) -> Step {
        match (&mut self.state, answer) {
            (_, SaslAnswer::Refused(failure)) => Step::Failed(failure),
            (State::Scram(scram), SaslAnswer::Verifier(verifier)) => scram.verifier(verifier),
            (State::OAuthBearer(bearer), SaslAnswer::TokenRefused(error)) => bearer.refused(&error),
            (State::XOAuth2(xoauth2), SaslAnswer::TokenRefused(error)) => xoauth2.refused(&error),
            (State::Scram(_), SaslAnswer::Account { .. }) => Step::Failed(Failure::Temporary),
            (_, SaslAnswer::Account { account, login }) => Step::Done(Success { account, login }),
            _ => Step::Failed(Failure::Temporary),
        }
    }
}

/// `SASLprep` (RFC 4013) of a name or password, or the text as it is where that does not know it.
///
/// Deviation: RFC 4013 refuses characters younger than Unicode 3.2; people have such letters and pictures in
/// their passwords, and clients send them. Whoever stores a password must prepare it with this function.
pub fn prepared(text: &str) -> String {
    stringprep::saslprep(text).map_or_else(|_| text.to_owned(), std::borrow::Cow::into_owned)
}

/// What a client typed, prepared; `None` if it is empty or not UTF-8.
fn read(bytes: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(bytes).ok()?;
    Some(prepared(text)).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mechanisms_are_known_by_their_names() {
        for mechanism in Mechanism::ALL {
            assert_eq!(Mechanism::parse(&mechanism.to_string().to_lowercase()), Some(mechanism));
        }
        assert_eq!(Mechanism::parse("CRAM-MD5"), None);
    }

    #[test]
    fn plus_needs_a_channel_binding() {
        let tls12 = Tls::default();
        let tls13 = Tls { exporter: Some([1; 32]), ..Tls::default() };
        for (tls, want) in [(None, false), (Some(&tls12), false), (Some(&tls13), true)] {
            assert_eq!(Mechanism::ScramSha256Plus.available(tls), want);
            assert_eq!(Mechanism::ScramSha1Plus.available(tls), want);
            assert!(Mechanism::Plain.available(tls));
        }
    }

    #[test]
    fn external_needs_a_verified_certificate_with_an_address() {
        let ann = vec!["ann@example.org".to_owned()];
        let nobody = Tls { verified: true, ..Tls::default() };
        let unverified = Tls { client_addresses: ann.clone(), ..Tls::default() };
        let verified = Tls { verified: true, client_addresses: ann, ..Tls::default() };
        for (tls, want) in [(None, false), (Some(&nobody), false), (Some(&unverified), false), (Some(&verified), true)] {
            assert_eq!(Mechanism::External.available(tls), want);
        }
    }

    #[test]
    fn an_answer_of_the_wrong_kind_is_a_temporary_failure() {
        let mut exchange = Exchange::new(Mechanism::Plain, "nonce", None);
        assert_eq!(exchange.answered(SaslAnswer::Verifier(None)), Step::Failed(Failure::Temporary));
    }
}
