//! The client side of SCRAM.

use super::super::client::{ClientError, Credentials};
use super::{BINDING, Hash, ITERATIONS_MAX, ITERATIONS_MIN, Key, attribute, decode, encode, escape_name, is_nonce, xor};
use crate::Tls;
use subtle::ConstantTimeEq as _;

#[derive(Debug)]
pub(in crate::sasl) struct Client {
    hash: Hash,
    nonce: String,
    exporter: Option<[u8; 32]>,
    plus: bool,
    state: State,
}

#[derive(Debug)]
enum State {
    First,
    /// Our first message without the GS2 header.
    Proof(String),
    /// The server's signature as it must be.
    Last(Key),
    Over,
}

impl Client {
    pub(in crate::sasl) fn new(hash: Hash, nonce: &str, tls: Option<&Tls>, plus: bool) -> Self {
        Self { hash, nonce: nonce.to_owned(), exporter: tls.and_then(|tls| tls.exporter), plus, state: State::First }
    }

    /// The first message, which needs no challenge.
    pub(in crate::sasl) fn first(&mut self, credentials: &Credentials) -> Vec<u8> {
        let login = escape_name(&super::super::prepared(&credentials.login));
        let bare = format!("n={login},r={}", self.nonce);
        let message = format!("{}{bare}", self.header());
        self.state = State::Proof(bare);
        message.into_bytes()
    }

    pub(in crate::sasl) fn step(&mut self, credentials: &Credentials, challenge: &[u8]) -> Result<Vec<u8>, ClientError> {
        let text = std::str::from_utf8(challenge).map_err(|_| ClientError::Malformed)?;
        match std::mem::replace(&mut self.state, State::Over) {
            State::First if text.is_empty() => Ok(self.first(credentials)),
            State::Proof(bare) => self.proof(credentials, &bare, text),
            State::Last(signature) => verified(&signature, text),
            State::First | State::Over => Err(ClientError::Malformed),
        }
    }

    /// Whether the server has shown that it knows the password too.
    pub(in crate::sasl) fn finished(&self) -> bool {
        matches!(self.state, State::Over)
    }

    /// `y` tells the server that we could bind but were not offered it (RFC 5802 §6).
    fn header(&self) -> String {
        match (self.plus, self.exporter) {
            (true, _) => format!("p={BINDING},,"),
            (false, Some(_)) => "y,,".to_owned(),
            (false, None) => "n,,".to_owned(),
        }
    }

    fn proof(&mut self, credentials: &Credentials, bare: &str, server_first: &str) -> Result<Vec<u8>, ClientError> {
        let (nonce, salt, iterations) = parse(server_first).ok_or(ClientError::Malformed)?;
        if nonce.strip_prefix(&self.nonce).is_none_or(|theirs| !is_nonce(theirs)) {
            return Err(ClientError::Malformed);
        }
        if !(ITERATIONS_MIN..=ITERATIONS_MAX).contains(&iterations) {
            return Err(ClientError::Iterations);
        }
        let salted = self.hash.salted(&credentials.password, &salt, iterations);
        let client_key = self.hash.client_key(&salted);
        let unproved = format!("c={},r={nonce}", encode(&self.binding()));
        let auth_message = [bare.as_bytes(), b",", server_first.as_bytes(), b",", unproved.as_bytes()];
        let proof = xor(&client_key, &self.hash.mac(&self.hash.of(&client_key), &auth_message));
        self.state = State::Last(self.hash.mac(&self.hash.server_key(&salted), &auth_message));
        Ok(format!("{unproved},p={}", encode(&proof)).into_bytes())
    }

    fn binding(&self) -> Vec<u8> {
        let mut binding = self.header().into_bytes();
        if self.plus {
            binding.extend_from_slice(self.exporter.as_ref().map_or(&[], |exporter| exporter.as_slice()));
        }
        binding
    }
}

fn parse(server_first: &str) -> Option<(&str, Vec<u8>, u32)> {
    let mut parts = server_first.split(',');
    let nonce = attribute(parts.next()?, 'r')?;
    let salt = decode(attribute(parts.next()?, 's')?)?;
    let iterations = attribute(parts.next()?, 'i')?.parse().ok()?;
    Some((nonce, salt, iterations))
}

fn verified(signature: &Key, text: &str) -> Result<Vec<u8>, ClientError> {
    let shown = attribute(text, 'v').and_then(decode).ok_or(ClientError::Malformed)?;
    if bool::from(shown.ct_eq(signature.as_slice())) { Ok(Vec::new()) } else { Err(ClientError::Impostor) }
}
