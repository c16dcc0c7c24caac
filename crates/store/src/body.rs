//! Bodies: the octets of messages, named by their BLAKE3 hash and stored once however many hold them.
//!
//! A [`Body`] is hashed and compressed in the thread that made it; the writer only places it.
//! [`BlobRow`] is what the index knows of a stored body.

use crate::error::{Error, Result};
use mail::BlobHash;
use std::fmt;
use std::sync::Arc;

/// A message's octets, hashed and ready to be stored. Cheap to clone.
#[derive(Clone)]
pub struct Body {
    inner: Arc<Inner>,
}

struct Inner {
    hash: BlobHash,
    raw: Vec<u8>,
}

impl Body {
    /// Takes a whole message that is in memory anyway; [`crate::Store::draft`] is for streams.
    #[must_use]
    pub fn new(octets: &[u8]) -> Self {
        Self { inner: Arc::new(Inner { hash: BlobHash(*blake3::hash(octets).as_bytes()), raw: octets.to_vec() }) }
    }

    /// The name under which it is stored.
    #[must_use]
    pub fn hash(&self) -> BlobHash {
        self.inner.hash
    }

    /// Its length in octets.
    #[must_use]
    pub fn octets(&self) -> u64 {
        self.inner.raw.len() as u64
    }

    /// Octets from `offset` on, at most `octets_max`.
    pub fn read(&self, offset: u64, octets_max: usize) -> Result<Vec<u8>> {
        let from = usize::try_from(offset).map_err(|_| Error::Invalid("an offset beyond the body".into()))?;
        Ok(self.inner.raw.iter().skip(from).take(octets_max).copied().collect())
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Body({}, {} octets)", self.hash(), self.octets())
    }
}

/// A stored body, as far as the index tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Blob {
    /// Its length, uncompressed.
    pub octets: u64,
    /// How many refer to it: emails and queued messages.
    pub references: u64,
}

/// The value of `Space::Blob`: four big-endian numbers and a codec.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BlobRow {
    pub(crate) raw_octets: u64,
    pub(crate) references: u64,
}

impl BlobRow {
    pub(crate) fn encode(self) -> Vec<u8> {
        [self.raw_octets, self.references].iter().flat_map(|number| number.to_be_bytes()).collect()
    }

    pub(crate) fn decode(octets: &[u8]) -> Option<Self> {
        let number = |at: usize| octets.get(at..at + 8)?.try_into().ok().map(u64::from_be_bytes);
        Some(Self { raw_octets: number(0)?, references: number(8)? })
    }
}
