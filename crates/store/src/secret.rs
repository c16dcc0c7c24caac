//! Random octets that an installation keeps and nobody may guess: keys of tokens that leave the server and come back.
//!
//! Not passwords of users (`auth`). Invariant: a secret is made once and never changes, so that what was signed with
//! it last week is known today.

use crate::error::{Error, Result};
use crate::schema::Space;
use crate::tx::{ReadTx, WriteTx};

/// Octets of a secret.
pub const SECRET_OCTETS: usize = 32;

/// The name of the secret by which return paths are signed.
pub const RETURN_PATH_SECRET: &str = "return_path";

impl ReadTx {
    /// A secret; `None`: it was not made yet.
    ///
    /// # Errors
    /// When the store fails, or what is kept is no secret.
    pub fn secret(&self, name: &str) -> Result<Option<[u8; SECRET_OCTETS]>> {
        let kept = self.get(Space::Secret, name.as_bytes())?;
        let whole = |octets: Vec<u8>| octets.try_into().map_err(|_| Error::corrupt(format!("secret {name} has the wrong length")));
        kept.map(whole).transpose()
    }
}

impl WriteTx {
    /// A secret; if there is none yet, `fresh` becomes it.
    ///
    /// # Errors
    /// When the store fails, or what is kept is no secret.
    pub fn secret_keep(&mut self, name: &str, fresh: [u8; SECRET_OCTETS]) -> Result<[u8; SECRET_OCTETS]> {
        if let Some(kept) = self.secret(name)? {
            return Ok(kept);
        }
        self.put(Space::Secret, name.as_bytes(), fresh.to_vec());
        Ok(fresh)
    }
}

#[cfg(test)]
mod tests {
    use crate::Store;
    use crate::testing::tx;

    #[test]
    fn a_secret_is_made_once() {
        let store = Store::memory();
        tx(&store, |tx| {
            assert_eq!(tx.secret("s")?, None);
            assert_eq!(tx.secret_keep("s", [1; 32])?, [1; 32]);
            assert_eq!(tx.secret_keep("s", [2; 32])?, [1; 32]);
            assert_eq!(tx.secret("s")?, Some([1; 32]));
            Ok(())
        });
    }
}
