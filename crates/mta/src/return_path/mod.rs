//! Reverse-paths that are not the sender's own address, and what comes back to them.
//!
//! [`srs`] rewrites the sender of mail that we forward, so that it leaves under a domain of ours; [`verp`] gives each
//! recipient of a message a return path of its own. Both are signed with a secret of the installation.
//!
//! Pure: secret and day are parameters. Not who gets what comes back: that is `receive`'s and `local`'s.
//!
//! Invariant: signatures are compared in constant time, and without regard to case: servers on the way change it.

pub mod srs;
pub mod verp;

use aws_lc_rs::{constant_time, hmac};
use mail::{Address, Domain, Timestamp};
use std::fmt;

/// The secret by which return paths are known.
#[derive(Clone)]
pub struct Key(hmac::Key);

impl Key {
    /// A key of these octets.
    pub fn new(octets: &[u8; store::SECRET_OCTETS]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, octets))
    }

    /// The key of an installation; `None`: it has none yet.
    ///
    /// # Errors
    /// When the store fails.
    pub fn of(tx: &store::ReadTx) -> store::Result<Option<Self>> {
        Ok(tx.secret(store::RETURN_PATH_SECRET)?.as_ref().map(Self::new))
    }

    /// `letters` letters and digits that nobody else can make for these texts.
    fn sign(&self, purpose: &str, texts: &[&str], letters: usize) -> String {
        let mut context = hmac::Context::with_key(&self.0);
        for text in std::iter::once(&purpose).chain(texts) {
            context.update(text.to_lowercase().as_bytes());
            context.update(&[0]);
        }
        base32(context.sign().as_ref()).chars().take(letters).collect()
    }

    fn verifies(&self, signature: &str, purpose: &str, texts: &[&str], letters: usize) -> bool {
        let expected = self.sign(purpose, texts, letters);
        constant_time::verify_slices_are_equal(signature.to_lowercase().as_bytes(), expected.as_bytes()).is_ok()
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key([secret])")
    }
}

/// Days since 1970, UTC.
pub fn day(at: Timestamp) -> u32 {
    u32::try_from(at.seconds() / 86_400).unwrap_or(0)
}

const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

fn letter(bits: u32) -> char {
    LETTERS.get(usize::try_from(bits & 31).unwrap_or(0)).copied().map_or('a', char::from)
}

/// Five bits a letter, what is left over being dropped.
fn base32(octets: &[u8]) -> String {
    let bits = octets.iter().flat_map(|octet| (0..8).rev().map(move |bit| u32::from((octet >> bit) & 1)));
    let bits: Vec<u32> = bits.collect();
    bits.chunks_exact(5).map(|five| letter(five.iter().fold(0, |number, bit| number << 1 | bit))).collect()
}

fn number(text: &str) -> Option<u32> {
    let digit = |c: char| LETTERS.iter().position(|known| char::from(*known) == c.to_ascii_lowercase());
    text.chars().try_fold(0_u32, |number, c| Some(number.checked_mul(32)? | u32::try_from(digit(c)?).ok()?))
}

/// An address of these parts, quoted if it must be; `None`: it would be too long.
fn address(local_part: &str, domain: &Domain) -> Option<Address> {
    let plain = format!("{local_part}@{domain}");
    let quoted = || format!("\"{}\"@{domain}", local_part.replace('\\', "\\\\").replace('"', "\\\""));
    Address::parse(&plain).or_else(|_| Address::parse(&quoted())).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_bits_make_a_letter() {
        assert_eq!(base32(&[0xff; 5]), "77777777");
        assert_eq!(base32(&[0, 0, 0, 0, 31]), "aaaaaaa7");
        assert_eq!((number("b7"), number("B7"), number("b1")), (Some(63), Some(63), None));
    }

    #[test]
    fn signatures_depend_on_everything_but_case() {
        let key = Key::new(&[1; 32]);
        let signature = key.sign("x", &["a", "bc"], 6);
        assert!(key.verifies(&signature.to_uppercase(), "x", &["A", "bc"], 6));
        for (purpose, texts) in [("y", ["a", "bc"]), ("x", ["ab", "c"]), ("x", ["a", "bd"])] {
            assert!(!key.verifies(&signature, purpose, &texts, 6));
        }
        assert!(!Key::new(&[2; 32]).verifies(&signature, "x", &["a", "bc"], 6));
        assert!(!key.verifies("", "x", &["a", "bc"], 6));
    }
}
