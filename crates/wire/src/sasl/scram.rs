//! SCRAM-SHA-256, SCRAM-SHA-1 and their -PLUS forms (RFC 5802, RFC 7677; channel binding RFC 9266).
//!
//! Here: keys and the parts of messages; `server` and `client` are the two sides. SHA-1 is for clients that
//! know nothing younger; its weakness against collisions is none of HMAC's and PBKDF2's.

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

/// A key of a mechanism: as many octets as its hash has.
type Key = Zeroizing<Vec<u8>>;

/// The hash of a SCRAM mechanism.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hash {
    /// `SCRAM-SHA-1` (RFC 5802)
    Sha1,
    /// `SCRAM-SHA-256` (RFC 7677)
    Sha256,
}

impl Hash {
    /// Octets of its output, and so of each key.
    pub const fn octets(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
        }
    }

    fn hmac(self) -> hmac::Algorithm {
        match self {
            Self::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => hmac::HMAC_SHA256,
        }
    }

    fn pbkdf2(self) -> pbkdf2::Algorithm {
        match self {
            Self::Sha1 => pbkdf2::PBKDF2_HMAC_SHA1,
            Self::Sha256 => pbkdf2::PBKDF2_HMAC_SHA256,
        }
    }

    fn of(self, bytes: &[u8]) -> Key {
        let algorithm = match self {
            Self::Sha1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => &digest::SHA256,
        };
        Zeroizing::new(digest::digest(algorithm, bytes).as_ref().to_vec())
    }

    fn mac(self, key: &[u8], parts: &[&[u8]]) -> Key {
        let mut context = hmac::Context::with_key(&hmac::Key::new(self.hmac(), key));
        for part in parts {
            context.update(part);
        }
        Zeroizing::new(context.sign().as_ref().to_vec())
    }

    fn salted(self, password: &Secret, salt: &[u8], iterations: u32) -> Key {
        let mut out = Zeroizing::new(vec![0; self.octets()]);
        let prepared = Zeroizing::new(super::prepared(password.expose()));
        let rounds = NonZeroU32::new(iterations).unwrap_or(NonZeroU32::MIN);
        pbkdf2::derive(self.pbkdf2(), rounds, salt, prepared.as_bytes(), &mut out);
        out
    }

    fn client_key(self, salted: &[u8]) -> Key {
        self.mac(salted, &[b"Client Key"])
    }

    fn server_key(self, salted: &[u8]) -> Key {
        self.mac(salted, &[b"Server Key"])
    }
}

/// What the server keeps of a password (RFC 5802 §3): enough to check a proof, not enough to log in.
#[derive(Clone, PartialEq, Eq)]
pub struct ScramVerifier {
    /// By which hash the keys are made.
    pub hash: Hash,
    /// Random octets.
    pub salt: Vec<u8>,
    /// PBKDF2 iterations.
    pub iterations: u32,
    /// `H(HMAC(SaltedPassword, "Client Key"))`
    pub stored_key: Vec<u8>,
    /// `HMAC(SaltedPassword, "Server Key")`
    pub server_key: Vec<u8>,
    /// The account's id.
    pub account: u32,
    /// Its login name as the store writes it.
    pub login: String,
}

impl ScramVerifier {
    /// Derives the keys of a password; it costs `iterations` rounds of HMAC.
    ///
    /// `password` is prepared here ([`super::prepared`]). `iterations` is taken as at least 1.
    pub fn derive(hash: Hash, password: &Secret, salt: &[u8], iterations: u32, account: u32, login: &str) -> Self {
        let salted = hash.salted(password, salt, iterations);
        Self {
            hash,
            salt: salt.to_vec(),
            iterations,
            stored_key: hash.of(&hash.client_key(&salted)).to_vec(),
            server_key: hash.server_key(&salted).to_vec(),
            account,
            login: login.to_owned(),
        }
    }

    /// The invented verifier of a login that does not exist: always the same for the same key and login.
    fn pretended(hash: Hash, key: &[u8], login: &str) -> Self {
        let part = |name: &str, octets| {
            let whole = Hash::Sha256.mac(key, &[name.as_bytes(), &[label(hash)], b"\0", login.as_bytes()]);
            whole.get(..octets).unwrap_or_default().to_vec()
        };
        let (stored_key, server_key) = (part("stored key", hash.octets()), part("server key", hash.octets()));
        Self { hash, salt: part("salt", SALT_OCTETS), iterations: ITERATIONS, stored_key, server_key, account: 0, login: login.to_owned() }
    }
}

/// Each hash has salts of its own, invented ones too.
const fn label(hash: Hash) -> u8 {
    match hash {
        Hash::Sha1 => 1,
        Hash::Sha256 => 2,
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

fn xor(a: &[u8], b: &[u8]) -> Key {
    Zeroizing::new(a.iter().zip(b).map(|(x, y)| x ^ y).collect())
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

pub(super) fn unescape_name(text: &str) -> Option<String> {
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
        let verifier = ScramVerifier::derive(Hash::Sha256, &Secret::new("pencil"), b"salt", 1, 7, "ann");
        assert_eq!(format!("{verifier:?}"), "ScramVerifier { account: 7, login: \"ann\", keys: [secret] }");
    }
}
