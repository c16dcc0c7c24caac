//! Keys: what a key record says, verifying with a public key, signing with a private one
//! (RFC 6376 §3.6.1, RFC 8463 §4).
//!
//! Invariants: a private key shows nothing of itself in Debug output; keys outside the limits are never
//! used.

use super::signature::{Algorithm, key_name};
use crate::limits::Limits;
use crate::tags::{self, Tags};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{self, Ed25519KeyPair, KeyPair as _, RsaKeyPair, UnparsedPublicKey};
use aws_lc_rs::{digest, encoding};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::fmt;

/// What a key record says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRecord {
    /// The key; none: it was revoked.
    pub key: Option<PublicKey>,
    /// `t=y`: the domain tries DKIM out.
    pub testing: bool,
    /// `t=s`: identities in subdomains are not meant.
    pub strict: bool,
}

/// A public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PublicKey {
    /// DER of a `SubjectPublicKeyInfo` or an `RSAPublicKey`, and the bits of its modulus.
    Rsa {
        /// The key.
        der: Vec<u8>,
        /// Length of the modulus.
        bits: u32,
    },
    /// 32 octets.
    Ed25519(Vec<u8>),
}

/// Why a key cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The record.
    #[error("the key record cannot be read")]
    Malformed,
    /// `k=`
    #[error("the key is of another kind than the signature")]
    Kind,
    /// `h=` leaves SHA-256 out.
    #[error("the key may not be used with SHA-256")]
    Hash,
    /// `s=` leaves mail out.
    #[error("the key is not for mail")]
    Service,
    /// RFC 8301 §3.2.
    #[error("an RSA key of {0} bits is not accepted")]
    Bits(u32),
    /// The octets are no key.
    #[error("the key cannot be read")]
    Octets,
}

impl KeyRecord {
    /// Reads a record for a signature of this algorithm.
    ///
    /// # Errors
    /// When it is no key for such a signature.
    pub fn parse(record: &[u8], algorithm: Algorithm, limits: &Limits) -> Result<Self, KeyError> {
        let text = String::from_utf8_lossy(record);
        let tags = Tags::parse(&text).ok_or(KeyError::Malformed)?;
        if tags.value("v").is_some_and(|version| version != "DKIM1" || tags.first() != Some(("v", version))) {
            return Err(KeyError::Malformed);
        }
        if !tags.value("k").unwrap_or("rsa").eq_ignore_ascii_case(algorithm.key_type()) {
            return Err(KeyError::Kind);
        }
        if tags.value("h").is_some_and(|hashes| !tags::colons(hashes).any(|hash| hash.eq_ignore_ascii_case("sha256"))) {
            return Err(KeyError::Hash);
        }
        let for_mail = |service: &str| service == "*" || service.eq_ignore_ascii_case("email");
        if tags.value("s").is_some_and(|services| !tags::colons(services).any(for_mail)) {
            return Err(KeyError::Service);
        }
        let flag = |flag: &str| tags.value("t").is_some_and(|flags| tags::colons(flags).any(|known| known == flag));
        let key = public_key(tags.value("p").ok_or(KeyError::Malformed)?, algorithm, limits)?;
        Ok(Self { key, testing: flag("y"), strict: flag("s") })
    }
}

fn public_key(text: &str, algorithm: Algorithm, limits: &Limits) -> Result<Option<PublicKey>, KeyError> {
    if text.is_empty() {
        return Ok(None);
    }
    let octets = tags::base64(text).ok_or(KeyError::Octets)?;
    match algorithm {
        Algorithm::Ed25519Sha256 if octets.len() == 32 => Ok(Some(PublicKey::Ed25519(octets))),
        Algorithm::Ed25519Sha256 => Err(KeyError::Octets),
        Algorithm::RsaSha256 => {
            let bits = rsa_bits(&octets).ok_or(KeyError::Octets)?;
            let fits = (limits.rsa_bits_min..=limits.rsa_bits_max).contains(&bits);
            if fits { Ok(Some(PublicKey::Rsa { der: octets, bits })) } else { Err(KeyError::Bits(bits)) }
        }
    }
}

/// The bits of the modulus in a `SubjectPublicKeyInfo` or an `RSAPublicKey` (RFC 8017 §A.1.1).
fn rsa_bits(der: &[u8]) -> Option<u32> {
    let (sequence, _) = element(der, 0x30)?;
    let numbers = match element(sequence, 0x30) {
        Some((_algorithm, rest)) => {
            let (bits, _) = element(rest, 0x03)?;
            element(bits.strip_prefix(&[0])?, 0x30)?.0
        }
        None => sequence,
    };
    let (modulus, _) = element(numbers, 0x02)?;
    let significant = modulus.iter().position(|b| *b != 0).and_then(|at| modulus.get(at..))?;
    let bits = u32::try_from(significant.len()).ok()?.checked_mul(8)?;
    Some(bits - significant.first()?.leading_zeros())
}

/// One DER element with this tag: its content and what follows.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let rest = der.strip_prefix(&[tag])?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81 | 0x82 => {
            let (number, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (number.iter().fold(0, |sum, b| (sum << 8) | usize::from(*b)), rest)
        }
        _ => return None,
    };
    rest.split_at_checked(length)
}

impl PublicKey {
    /// Whether the signature of the hashed header is this key's.
    pub fn verifies(&self, hash: &digest::Digest, signature: &[u8]) -> bool {
        match self {
            Self::Rsa { der, .. } => {
                let key = UnparsedPublicKey::new(&signature::RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY, der);
                key.verify_digest(hash, signature).is_ok()
            }
            Self::Ed25519(octets) => UnparsedPublicKey::new(&signature::ED25519, octets).verify(hash.as_ref(), signature).is_ok(),
        }
    }

    /// The text of its key record.
    pub fn record(&self) -> String {
        match self {
            Self::Rsa { der, .. } => format!("v=DKIM1; k=rsa; p={}", STANDARD.encode(der)),
            Self::Ed25519(octets) => format!("v=DKIM1; k=ed25519; p={}", STANDARD.encode(octets)),
        }
    }
}

/// A private key.
pub enum PrivateKey {
    /// For rsa-sha256.
    Rsa(Box<RsaKeyPair>),
    /// For ed25519-sha256.
    Ed25519(Box<Ed25519KeyPair>),
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey({}, [secret])", self.algorithm())
    }
}

impl PrivateKey {
    /// Makes a new key and gives its PKCS #8 octets: RSA of 2,048 bits, or Ed25519.
    ///
    /// The one function of this crate whose result is not given by its arguments: the library of
    /// cryptography takes no random numbers from outside.
    ///
    /// # Errors
    /// When the library cannot make one.
    pub fn generate(algorithm: Algorithm) -> Result<Vec<u8>, KeyError> {
        use encoding::AsDer;
        match algorithm {
            Algorithm::RsaSha256 => {
                let pair = RsaKeyPair::generate(KeySize::Rsa2048).map_err(|_| KeyError::Octets)?;
                let der = AsDer::<encoding::Pkcs8V1Der<'_>>::as_der(&pair).map_err(|_| KeyError::Octets)?;
                Ok(der.as_ref().to_vec())
            }
            Algorithm::Ed25519Sha256 => {
                let document = Ed25519KeyPair::generate_pkcs8v1(&SystemRandom::new()).map_err(|_| KeyError::Octets)?;
                Ok(document.as_ref().to_vec())
            }
        }
    }

    /// Reads PKCS #8 octets.
    ///
    /// # Errors
    /// When they are no key of this algorithm.
    pub fn parse(algorithm: Algorithm, pkcs8: &[u8]) -> Result<Self, KeyError> {
        match algorithm {
            Algorithm::RsaSha256 => RsaKeyPair::from_pkcs8(pkcs8).map(|pair| Self::Rsa(Box::new(pair))).map_err(|_| KeyError::Octets),
            Algorithm::Ed25519Sha256 => {
                let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(pkcs8);
                pair.map(|pair| Self::Ed25519(Box::new(pair))).map_err(|_| KeyError::Octets)
            }
        }
    }

    /// What it signs with.
    pub const fn algorithm(&self) -> Algorithm {
        match self {
            Self::Rsa(_) => Algorithm::RsaSha256,
            Self::Ed25519(_) => Algorithm::Ed25519Sha256,
        }
    }

    /// Its public half.
    pub fn public(&self) -> PublicKey {
        use encoding::AsDer;
        match self {
            Self::Rsa(pair) => {
                let spki = AsDer::<encoding::PublicKeyX509Der<'_>>::as_der(pair.public_key());
                let der = spki.map_or_else(|_| pair.public_key().as_ref().to_vec(), |spki| spki.as_ref().to_vec());
                let bits = rsa_bits(&der).unwrap_or(0);
                PublicKey::Rsa { der, bits }
            }
            Self::Ed25519(pair) => PublicKey::Ed25519(pair.public_key().as_ref().to_vec()),
        }
    }

    /// Signs a hashed header; none if the library cannot. The same key and hash give the same signature.
    pub fn sign(&self, hash: &digest::Digest) -> Option<Vec<u8>> {
        match self {
            Self::Ed25519(pair) => Some(pair.sign(hash.as_ref()).as_ref().to_vec()),
            Self::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign_digest(&signature::RSA_PKCS1_SHA256, hash, &mut signature).ok()?;
                Some(signature)
            }
        }
    }
}

/// A DNS record to publish, in the words of a zone file: strings of at most 255 octets.
pub fn zone_line(selector: &str, domain: &str, record: &str) -> String {
    let mut strings = Vec::new();
    let mut rest = record;
    while !rest.is_empty() {
        let (string, after) = rest.split_at_checked(255).unwrap_or((rest, ""));
        strings.push(format!("\"{string}\""));
        rest = after;
    }
    format!("{}. IN TXT {}", key_name(selector, domain), strings.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(text: &[u8]) -> digest::Digest {
        digest::digest(&digest::SHA256, text)
    }

    #[test]
    fn made_keys_sign_and_their_records_verify() {
        for algorithm in [Algorithm::RsaSha256, Algorithm::Ed25519Sha256] {
            let pkcs8 = PrivateKey::generate(algorithm).unwrap();
            let private = PrivateKey::parse(algorithm, &pkcs8).unwrap();
            let signature = private.sign(&hash(b"x")).unwrap();
            let record = private.public().record();
            let public = KeyRecord::parse(record.as_bytes(), algorithm, &Limits::default()).unwrap().key.unwrap();
            assert_eq!(public, private.public());
            assert!(public.verifies(&hash(b"x"), &signature), "{record}");
            assert!(!public.verifies(&hash(b"y"), &signature));
            assert!(!format!("{private:?}").contains("0x"), "Debug shows no octets");
            let line = zone_line("s", "example.org", &record);
            assert!(line.split('"').all(|part| part.len() <= 255), "{line}");
        }
    }

    #[test]
    fn key_records_are_read_or_refused() {
        let rsa = "MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWRiGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQiY/J16JYi0Qvx/byYzCNb3W91y3FutACDfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqMKrM3rG4hstT5QjvHO9PzoxZyVYLzBfO2EeC3Ip3G+2kryOTIKT+l/K4w3QIDAQAB";
        let check = |record: &str, want: Result<Option<u32>, KeyError>| {
            let parsed = KeyRecord::parse(record.as_bytes(), Algorithm::RsaSha256, &Limits::default());
            let bits = parsed.map(|record| record.key.map(|key| if let PublicKey::Rsa { bits, .. } = key { bits } else { 0 }));
            assert_eq!(bits, want, "{record}");
        };
        check(&format!("v=DKIM1; k=rsa; p={rsa}"), Ok(Some(1024)));
        check(&format!("p={rsa}"), Ok(Some(1024)));
        check("v=DKIM1; p=", Ok(None));
        check(&format!("k=rsa; v=DKIM1; p={rsa}"), Err(KeyError::Malformed));
        check(&format!("v=DKIM2; p={rsa}"), Err(KeyError::Malformed));
        check(&format!("h=sha1; p={rsa}"), Err(KeyError::Hash));
        check(&format!("s=tlsrpt; p={rsa}"), Err(KeyError::Service));
        check(&format!("k=ed25519; p={rsa}"), Err(KeyError::Kind));
        check("p=AAAA", Err(KeyError::Octets));
        check("v=DKIM1", Err(KeyError::Malformed));
        let huge = [&[0x30, 0x82, 0x08, 0x07, 0x02, 0x82, 0x08, 0x00][..], &[0xff; 2048], &[0x02, 0x01, 0x03]].concat();
        check(&format!("p={}", STANDARD.encode(huge)), Err(KeyError::Bits(16_384)));
        let small = [&[0x30, 0x45, 0x02, 0x40][..], &[0xff; 64], &[0x02, 0x01, 0x03]].concat();
        check(&format!("p={}", STANDARD.encode(small)), Err(KeyError::Bits(512)));
    }
}
