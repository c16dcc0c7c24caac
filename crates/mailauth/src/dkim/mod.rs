//! DKIM: signatures of domains over messages (RFC 6376, RFC 8301, RFC 8463, RFC 8616).
//!
//! [`signature`] reads the field, [`key`] keys and their records, [`verify`] decides, [`sign`] signs.
//!
//! Invariants: a failure of DNS is `temperror`; a signature that does not cover `From` is no signature.

pub mod key;
pub mod sign;
pub mod signature;
pub mod verify;

pub use key::{PrivateKey, PublicKey};
pub use sign::{Signer, sign};
pub use signature::{Algorithm, Signature};
pub use verify::{Dkim, DkimResult};
