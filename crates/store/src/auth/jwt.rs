//! Signed JSON web tokens: keys (RFC 7517) and the signature of a compact token (RFC 7515 §7.1).
//!
//! Not what the claims must say: that is the issuer's business (`tokens`).
//!
//! Invariants: only signatures with public keys count: no `none`, no HMAC; the algorithm must be one of the
//! key's own kind, so that a key is never taken for another kind of secret.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384,
    RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, RsaParameters,
    RsaPublicKeyComponents, UnparsedPublicKey,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::{Map, Value};

/// Longest token, octets: what a line of a SASL exchange may carry. Our own bound.
const TOKEN_OCTETS_MAX: usize = 16 * 1024;
/// Most keys of an issuer. Our own bound; issuers have two or three.
const KEYS_MAX: usize = 100;

/// The public keys of an issuer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Keys(Vec<Key>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Key {
    id: Option<String>,
    public: Public,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Public {
    Rsa {
        n: Vec<u8>,
        e: Vec<u8>,
    },
    /// Uncompressed points.
    P256(Vec<u8>),
    P384(Vec<u8>),
    Ed25519(Vec<u8>),
}

#[derive(Deserialize)]
struct JwkSet {
    keys: Vec<Map<String, Value>>,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    /// What must be understood (RFC 7515 §4.1.11); we understand nothing of the kind.
    crit: Option<Value>,
}

impl Keys {
    /// Reads a set of keys; those of kinds that sign no tokens are left out.
    ///
    /// # Errors
    /// In words, when it is no set or there is no key that could be used.
    pub(super) fn parse(json: &str) -> Result<Self, String> {
        let set: JwkSet = serde_json::from_str(json).map_err(|error| format!("no JSON web key set (RFC 7517 §5): {error}"))?;
        let keys: Vec<Key> = set.keys.iter().take(KEYS_MAX).filter_map(Key::read).collect();
        if keys.is_empty() { Err("no key in it that signs tokens (RSA, P-256, P-384 or Ed25519)".to_owned()) } else { Ok(Self(keys)) }
    }

    /// No keys: nothing is verified.
    pub(super) const fn none() -> Self {
        Self(Vec::new())
    }

    /// The claims of a token that one of these keys has signed.
    pub(super) fn verified(&self, token: &str) -> Option<Map<String, Value>> {
        if token.len() > TOKEN_OCTETS_MAX {
            return None;
        }
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let header: Header = serde_json::from_slice(&decode(header)?).ok()?;
        if header.crit.is_some() {
            return None;
        }
        let signature = decode(signature)?;
        let fits = |key: &&Key| header.kid.is_none() || key.id.is_none() || key.id == header.kid;
        self.0.iter().filter(fits).find(|key| key.public.verifies(&header.alg, signed.as_bytes(), &signature))?;
        serde_json::from_slice(&decode(claims)?).ok()
    }
}

impl Key {
    fn read(jwk: &Map<String, Value>) -> Option<Self> {
        let text = |name: &str| jwk.get(name).and_then(Value::as_str);
        if text("use").is_some_and(|purpose| purpose != "sig") {
            return None;
        }
        let octets = |name: &str| text(name).and_then(decode);
        let public = match (text("kty")?, text("crv")) {
            ("RSA", _) => Public::Rsa { n: trimmed(octets("n")?), e: trimmed(octets("e")?) },
            ("EC", Some("P-256")) => Public::P256(point(&octets("x")?, &octets("y")?, 32)?),
            ("EC", Some("P-384")) => Public::P384(point(&octets("x")?, &octets("y")?, 48)?),
            ("OKP", Some("Ed25519")) => Public::Ed25519(octets("x")?),
            _ => return None,
        };
        Some(Self { id: text("kid").map(str::to_owned), public })
    }
}

impl Public {
    fn verifies(&self, algorithm: &str, message: &[u8], signature: &[u8]) -> bool {
        let verified = match (self, algorithm) {
            (Self::Rsa { n, e }, algorithm) => {
                let Some(parameters) = rsa(algorithm) else { return false };
                RsaPublicKeyComponents { n, e }.verify(parameters, message, signature)
            }
            (Self::P256(point), "ES256") => UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, signature),
            (Self::P384(point), "ES384") => UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, point).verify(message, signature),
            // RFC 9864 has the second name.
            (Self::Ed25519(key), "EdDSA" | "Ed25519") => UnparsedPublicKey::new(&ED25519, key).verify(message, signature),
            _ => return false,
        };
        verified.is_ok()
    }
}

/// RFC 7518 §3.3, §3.5.
fn rsa(algorithm: &str) -> Option<&'static RsaParameters> {
    match algorithm {
        "RS256" => Some(&RSA_PKCS1_2048_8192_SHA256),
        "RS384" => Some(&RSA_PKCS1_2048_8192_SHA384),
        "RS512" => Some(&RSA_PKCS1_2048_8192_SHA512),
        "PS256" => Some(&RSA_PSS_2048_8192_SHA256),
        "PS384" => Some(&RSA_PSS_2048_8192_SHA384),
        "PS512" => Some(&RSA_PSS_2048_8192_SHA512),
        _ => None,
    }
}

fn decode(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

/// Some issuers write a number with leading zeros.
fn trimmed(mut number: Vec<u8>) -> Vec<u8> {
    let zeros = number.iter().take_while(|octet| **octet == 0).count();
    number.drain(..zeros);
    number
}

fn point(x: &[u8], y: &[u8], octets: usize) -> Option<Vec<u8>> {
    (x.len() == octets && y.len() == octets).then(|| [&[4], x, y].concat())
}

#[cfg(test)]
pub(super) mod testing {
    //! A key of an issuer, and tokens signed with it.

    use super::*;
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};

    pub(in crate::auth) fn pair() -> Ed25519KeyPair {
        Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap()
    }

    /// A key set of [`pair`], under the id `k1`.
    pub(in crate::auth) fn jwks() -> String {
        let x = URL_SAFE_NO_PAD.encode(pair().public_key());
        format!(r#"{{"keys":[{{"kty":"oct","k":"AAAA"}},{{"kty":"OKP","crv":"Ed25519","kid":"k1","use":"sig","x":"{x}"}}]}}"#)
    }

    pub(in crate::auth) fn token(header: &str, claims: &str) -> String {
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let signature = pair().sign(signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{jwks, token};
    use super::*;

    const GOOD: &str = r#"{"alg":"EdDSA","kid":"k1"}"#;

    #[test]
    fn only_what_the_key_has_signed_counts() {
        let keys = Keys::parse(&jwks()).unwrap();
        for (header, want) in [
            (GOOD, true),
            (r#"{"alg":"Ed25519"}"#, true),
            (r#"{"alg":"none","kid":"k1"}"#, false),
            (r#"{"alg":"HS256","kid":"k1"}"#, false),
            (r#"{"alg":"RS256","kid":"k1"}"#, false),
            (r#"{"alg":"EdDSA","kid":"k2"}"#, false),
            (r#"{"alg":"EdDSA","crit":["x"],"x":1}"#, false),
            ("{", false),
        ] {
            assert_eq!(keys.verified(&token(header, r#"{"sub":"a"}"#)).is_some(), want, "{header}");
        }
        let good = token(GOOD, r#"{"sub":"a"}"#);
        let (signed, signature) = good.rsplit_once('.').unwrap();
        let other = token(GOOD, r#"{"sub":"b"}"#);
        let stolen = format!("{}.{signature}", other.rsplit_once('.').unwrap().0);
        for wrong in ["", ".", "..", "a.b.c", signed, &format!("{signed}."), &stolen, &format!("{good}.{signature}"), &"a".repeat(20_000)] {
            assert_eq!(keys.verified(wrong), None, "{wrong}");
        }
    }

    /// The example of RFC 7515 §A.3: ES256.
    #[test]
    fn the_example_of_rfc_7515() {
        let keys = r#"{"keys":[{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}"#;
        let token = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
        let claims = Keys::parse(keys).unwrap().verified(token).unwrap();
        assert_eq!(claims.get("iss").and_then(Value::as_str), Some("joe"));
    }

    #[test]
    fn what_is_no_key_set() {
        for (json, want) in [
            ("", "no JSON web key set"),
            ("{}", "no JSON web key set"),
            (r#"{"keys":[]}"#, "no key in it"),
            (r#"{"keys":[{"kty":"oct","k":"AAAA"}]}"#, "no key in it"),
            (r#"{"keys":[{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}]}"#, "no key in it"),
            (r#"{"keys":[{"kty":"RSA","use":"enc","n":"AQAB","e":"AQAB"}]}"#, "no key in it"),
        ] {
            assert!(Keys::parse(json).unwrap_err().starts_with(want), "{json}");
        }
    }
}
