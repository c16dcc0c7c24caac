//! How octets are written where evidence is kept: as base64, and hashes as what they are.
//!
//! Invariant: what is written is read back equal.

/// Octets as base64.
pub(crate) mod base64_text {
    use base64::prelude::{BASE64_STANDARD as STANDARD, Engine as _};
    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer, T: AsRef<[u8]>>(octets: &T, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&STANDARD.encode(octets))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>, T: TryFrom<Vec<u8>>>(from: D) -> Result<T, D::Error> {
        let text = String::deserialize(from)?;
        let octets = STANDARD.decode(text).map_err(D::Error::custom)?;
        T::try_from(octets).map_err(|_| D::Error::custom("so many octets do not belong here"))
    }
}

/// A SHA-256 hash as base64.
pub(crate) mod hash_text {
    use aws_lc_rs::digest::{Digest, SHA256};
    use serde::de::Error as _;
    use serde::{Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(hash: &Digest, to: S) -> Result<S::Ok, S::Error> {
        super::base64_text::serialize(hash, to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Digest, D::Error> {
        let octets: Vec<u8> = super::base64_text::deserialize(from)?;
        Digest::import_less_safe(&octets, &SHA256).map_err(|_| D::Error::custom("this is no SHA-256 hash"))
    }
}
