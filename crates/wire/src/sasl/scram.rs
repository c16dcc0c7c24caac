//! SCRAM-SHA-256 and SCRAM-SHA-256-PLUS (RFC 5802, RFC 7677; channel binding RFC 9266).
//!
//! Here: keys and the parts of messages; `server` and `client` are the two sides.

pub(super) mod client;
pub(super) mod server;

use super::Secret;
use aws_lc_rs::{digest, hmac, pbkdf2};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::fmt;
use std::num::NonZeroU32;
use zeroize::{Zeroize as _, Zeroizing};

/// Iterations for new verifiers; RFC 7677 §4 asks for at least 4096. The client pays them at each login.
pub const ITERATIONS: u32 = 16_384;

/// Fewest iterations our client works with (RFC 7677 §4).
pub const ITERATIONS_MIN: u32 = 4096;

/// Most iterations our client works with: a hostile server could ask for hours. Our own bound.
pub const ITERATIONS_MAX: u32 = 1_000_000;

/// Octets of salt in new and in invented verifiers.
pub const SALT_OCTETS: usize = 16;

/// The only channel binding we know (RFC 9266).
const BINDING: &str = "tls-exporter";

type Key = [u8; 32];

/// What the server keeps of a password (RFC 5802 §3): enough to check a proof, not enough to log in.
#[derive(Clone, PartialEq, Eq)]
pub struct ScramVerifier {
    /// Random octets.
    pub salt: Vec<u8>,
    /// PBKDF2 iterations.
    pub iterations: u32,
    /// `H(HMAC(SaltedPassword, "Client Key"))`
    pub stored_key: [u8; 32],
    /// `HMAC(SaltedPassword, "Server Key")`
    pub server_key: [u8; 32],
    /// The account's id.
    pub account: u32,
    /// Its login name as the store writes it.
    pub login: String,
}

impl ScramVerifier {
    /// Derives the keys of a password; it costs `iterations` rounds of HMAC.
    ///
    /// `password` is prepared here ([`super::prepared`]). `iterations` is taken as at least 1.
    pub fn derive(password: &Secret, salt: &[u8], iterations: u32, account: u32, login: &str) -> Self {
        let salted = salted(password, salt, iterations);
        let stored_key = hash(&*client_key(&salted));
        Self { salt: salt.to_vec(), iterations, stored_key, server_key: *server_key(&salted), account, login: login.to_owned() }
    }

    /// The invented verifier of a login that does not exist: always the same for the same key and login.
    fn pretended(key: &Key, login: &str) -> Self {
        let part = |name: &str| mac(key, &[name.as_bytes(), b"\0", login.as_bytes()]);
        let salt = part("salt").get(..SALT_OCTETS).unwrap_or_default().to_vec();
        let (stored_key, server_key) = (part("stored key"), part("server key"));
        Self { salt, iterations: ITERATIONS, stored_key, server_key, account: 0, login: login.to_owned() }
    }
}

impl fmt::Debug for ScramVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ScramVerifier {{ account: {}, login: {:?}, keys: [secret] }}", self.account, self.login)
    }
}

impl Drop for ScramVerifier {
    fn drop(&mut self) {
        self.stored_key.zeroize();
        self.server_key.zeroize();
    }
}

fn salted(password: &Secret, salt: &[u8], iterations: u32) -> Zeroizing<Key> {
    let mut out = Zeroizing::new([0; 32]);
    let prepared = Zeroizing::new(super::prepared(password.expose()));
    let rounds = NonZeroU32::new(iterations).unwrap_or(NonZeroU32::MIN);
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, rounds, salt, prepared.as_bytes(), &mut *out);
    out
}

fn client_key(salted: &Key) -> Zeroizing<Key> {
    Zeroizing::new(mac(salted, &[b"Client Key"]))
}

fn server_key(salted: &Key) -> Zeroizing<Key> {
    Zeroizing::new(mac(salted, &[b"Server Key"]))
}

fn mac(key: &[u8], parts: &[&[u8]]) -> Key {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key));
    for part in parts {
        context.update(part);
    }
    octets(context.sign().as_ref())
}

fn hash(bytes: &[u8]) -> Key {
    octets(digest::digest(&digest::SHA256, bytes).as_ref())
}

/// The 32 octets of a SHA-256 output.
fn octets(bytes: &[u8]) -> Key {
    bytes.try_into().unwrap_or_default()
}

fn xor(a: &Key, b: &Key) -> Zeroizing<Key> {
    let mut out = Zeroizing::new(*a);
    out.iter_mut().zip(b).for_each(|(x, y)| *x ^= y);
    out
}

fn encode(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

fn decode(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

/// The value of attribute `name` at the start of `part`: `r=abc` is `abc` for `r`.
fn attribute(part: &str, name: char) -> Option<&str> {
    part.strip_prefix(name)?.strip_prefix('=')
}

/// `,` and `=` of a name are written `=2C` and `=3D` (RFC 5802 §5.1).
fn escape_name(name: &str) -> String {
    name.replace('=', "=3D").replace(',', "=2C")
}

fn unescape_name(text: &str) -> Option<String> {
    let mut parts = text.split('=');
    let mut name = parts.next()?.to_owned();
    for part in parts {
        let (letter, rest) = match part.get(..2)? {
            "2C" => (',', part.get(2..)?),
            "3D" => ('=', part.get(2..)?),
            _ => return None,
        };
        name.push(letter);
        name.push_str(rest);
    }
    Some(name)
}

/// Printable ASCII without a comma (RFC 5802 §7).
fn is_nonce(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_graphic() && octet != b',')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped() {
        assert_eq!(escape_name("a,b=c"), "a=2Cb=3Dc");
        for (input, want) in [("a=2Cb=3Dc", Some("a,b=c")), ("a", Some("a")), ("=", None), ("a=2", None), ("a=2D", None), ("a=é", None)] {
            assert_eq!(unescape_name(input).as_deref(), want, "{input}");
        }
    }

    #[test]
    fn keys_do_not_show() {
        let verifier = ScramVerifier::derive(&Secret::new("pencil"), b"salt", 1, 7, "ann");
        assert_eq!(format!("{verifier:?}"), "ScramVerifier { account: 7, login: \"ann\", keys: [secret] }");
    }
}
