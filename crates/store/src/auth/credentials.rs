//! What is kept of a password: an argon2id hash, and SCRAM keys of SHA-256 and SHA-1.
//!
//! All let a stolen store be attacked by guessing, and only so: argon2id at 19 MiB a guess, the SCRAM
//! keys at PBKDF2 prices. Logging in with them is not possible.

use argon2::password_hash::{PasswordHash, PasswordHasher as _, PasswordVerifier as _, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};
use aws_lc_rs::rand;
use mail::AccountId;
use serde::{Deserialize, Serialize};
use std::fmt;
use wire::sasl::scram::{ITERATIONS, SALT_OCTETS};
use wire::sasl::{Hash, ScramVerifier, Secret, prepared};
use zeroize::Zeroizing;

/// Longest password, octets: what a SASL message may carry is bounded too.
pub const PASSWORD_OCTETS_MAX: usize = 1_024;
/// Shorter passwords deserve a word of warning where they are set (NIST SP 800-63B §5.1.1.2); the
/// store takes them.
pub const PASSWORD_CHARS_ADVISED: usize = 8;

/// Memory of one argon2id hash, KiB (OWASP's first choice; RFC 9106 §4 asks for more where there is).
const ARGON2_KIB: u32 = 19 * 1024;
/// Passes over that memory.
const ARGON2_PASSES: u32 = 2;
/// Lanes.
const ARGON2_LANES: u32 = 1;

/// Why a text cannot be a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    /// Nothing there.
    #[error("the password is empty")]
    Empty,
    /// Over [`PASSWORD_OCTETS_MAX`].
    #[error("the password is longer than 1024 octets")]
    TooLong,
    /// The machine has no memory or no randomness for it.
    #[error("the password cannot be hashed now")]
    Unavailable,
}

/// By what an account's owner is known at login.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credentials {
    password: Option<Password>,
    /// Random, new with each change: what was proved against other credentials counts no more.
    version: u64,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Password {
    /// argon2id in PHC form.
    hash: String,
    sha256: Scram<[u8; 32]>,
    /// `None`: the password was set by a Postrider that did not make these; they come with its next use.
    sha1: Option<Scram<[u8; 20]>>,
}

/// Keys of one hash; `K` is as many octets as that has.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Scram<K> {
    salt: Vec<u8>,
    iterations: u32,
    stored_key: K,
    server_key: K,
}

impl<K: for<'a> TryFrom<&'a [u8]> + AsRef<[u8]>> Scram<K> {
    fn derive(hash: Hash, password: &Secret) -> Result<Self, PasswordError> {
        let verifier = ScramVerifier::derive(hash, password, &random::<SALT_OCTETS>()?, ITERATIONS, 0, "");
        let key = |octets: &[u8]| K::try_from(octets).map_err(|_| PasswordError::Unavailable);
        let (stored_key, server_key) = (key(&verifier.stored_key)?, key(&verifier.server_key)?);
        Ok(Self { salt: verifier.salt.clone(), iterations: verifier.iterations, stored_key, server_key })
    }

    fn verifier(&self, hash: Hash, account: AccountId, login: &str) -> ScramVerifier {
        ScramVerifier {
            hash,
            salt: self.salt.clone(),
            iterations: self.iterations,
            stored_key: self.stored_key.as_ref().to_vec(),
            server_key: self.server_key.as_ref().to_vec(),
            account: account.0,
            login: login.to_owned(),
        }
    }
}

/// As in an account's record of format 1.
#[derive(Deserialize)]
pub(crate) struct Credentials1 {
    password: Option<Password1>,
    version: u64,
}

#[derive(Deserialize)]
struct Password1 {
    hash: String,
    scram: Scram<[u8; 32]>,
}

impl From<Credentials1> for Credentials {
    fn from(old: Credentials1) -> Self {
        let password = old.password.map(|Password1 { hash, scram }| Password { hash, sha256: scram, sha1: None });
        Self { password, version: old.version }
    }
}

impl Credentials {
    /// Credentials for a password, whatever its quality ([`PASSWORD_CHARS_ADVISED`]).
    ///
    /// Costs some 20 ms of CPU and 19 MiB for a moment: not for an async thread.
    pub fn new(password: &Secret) -> Result<Self, PasswordError> {
        let password = prepare(password)?;
        let salt = SaltString::encode_b64(&random::<16>()?).map_err(|_| PasswordError::Unavailable)?;
        let hash = argon2()?.hash_password(password.expose().as_bytes(), &salt).map_err(|_| PasswordError::Unavailable)?;
        let (sha256, sha1) = (Scram::derive(Hash::Sha256, &password)?, Some(Scram::derive(Hash::Sha1, &password)?));
        Ok(Self { password: Some(Password { hash: hash.to_string(), sha256, sha1 }), version: u64::from_be_bytes(random()?) })
    }

    /// Whether keys are missing that could be made of the password.
    pub(super) fn is_incomplete(&self) -> bool {
        self.password.as_ref().is_some_and(|password| password.sha1.is_none())
    }

    /// The same credentials with the keys that were missing; `password` is known to be right.
    pub(super) fn completed(&self, password: &Secret) -> Result<Self, PasswordError> {
        let mut complete = self.clone();
        if let Some(stored) = &mut complete.password {
            stored.sha1 = Some(Scram::derive(Hash::Sha1, &prepare(password)?)?);
        }
        Ok(complete)
    }

    /// Credentials by which nobody logs in.
    pub const fn none() -> Self {
        Self { password: None, version: 0 }
    }

    /// Whether there is a password.
    pub const fn has_password(&self) -> bool {
        self.password.is_some()
    }

    /// Which credentials these are: others have another number.
    pub(crate) const fn version(&self) -> u64 {
        self.version
    }

    /// Whether this is the password; costs as much as [`Credentials::new`]'s hash.
    pub(super) fn verify(&self, password: &Secret) -> Result<bool, PasswordError> {
        let Some(stored) = &self.password else { return Ok(false) };
        let password = prepare(password)?;
        let hash = PasswordHash::new(&stored.hash).map_err(|_| PasswordError::Unavailable)?;
        match argon2()?.verify_password(password.expose().as_bytes(), &hash) {
            Ok(()) => Ok(true),
            Err(argon2::password_hash::Error::Password) => Ok(false),
            Err(_) => Err(PasswordError::Unavailable),
        }
    }

    /// The keys for SCRAM with this hash, if there are any.
    pub(super) fn verifier(&self, hash: Hash, account: AccountId, login: &str) -> Option<ScramVerifier> {
        let password = self.password.as_ref()?;
        match hash {
            Hash::Sha256 => Some(password.sha256.verifier(hash, account, login)),
            Hash::Sha1 => Some(password.sha1.as_ref()?.verifier(hash, account, login)),
        }
    }
}

fn argon2() -> Result<Argon2<'static>, PasswordError> {
    let params = Params::new(ARGON2_KIB, ARGON2_PASSES, ARGON2_LANES, None).map_err(|_| PasswordError::Unavailable)?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

fn prepare(password: &Secret) -> Result<Secret, PasswordError> {
    let prepared = Zeroizing::new(prepared(password.expose()));
    match prepared.len() {
        0 => Err(PasswordError::Empty),
        1..=PASSWORD_OCTETS_MAX => Ok(Secret::new(prepared.as_str())),
        _ => Err(PasswordError::TooLong),
    }
}

pub(super) fn random<const N: usize>() -> Result<[u8; N], PasswordError> {
    let mut octets = [0; N];
    rand::fill(&mut octets).map_err(|_| PasswordError::Unavailable)?;
    Ok(octets)
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.has_password() { "Credentials([secret])" } else { "Credentials(none)" })
    }
}

#[cfg(test)]
impl Credentials {
    /// Credentials without work and randomness, for fixtures.
    pub(crate) fn sample() -> Self {
        let sha256 = Scram { salt: vec![1; 16], iterations: 4096, stored_key: [2; 32], server_key: [3; 32] };
        let sha1 = Some(Scram { salt: vec![4; 16], iterations: 4096, stored_key: [5; 20], server_key: [6; 20] });
        Self { password: Some(Password { hash: "$argon2id$sample".into(), sha256, sha1 }), version: 7 }
    }

    /// The same as an older Postrider has stored them.
    pub(crate) fn incomplete(mut self) -> Self {
        if let Some(password) = &mut self.password {
            password.sha1 = None;
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_known_again_and_not_shown() {
        let credentials = Credentials::new(&Secret::new("pässword")).unwrap();
        for (password, want) in [("pässword", Ok(true)), ("password", Ok(false)), ("", Err(PasswordError::Empty))] {
            assert_eq!(credentials.verify(&Secret::new(password)), want, "{password}");
        }
        assert_eq!(format!("{credentials:?}"), "Credentials([secret])");
        assert_eq!(Credentials::none().verify(&Secret::new("x")), Ok(false));
        assert_eq!(Credentials::new(&Secret::new("x".repeat(PASSWORD_OCTETS_MAX + 1))), Err(PasswordError::TooLong));
    }

    #[test]
    fn equal_passwords_have_different_credentials() {
        let one = || Credentials::new(&Secret::new("secret")).unwrap();
        let (a, b) = (one(), one());
        assert_ne!(a, b);
        assert_ne!(a.version(), b.version());
    }
}
