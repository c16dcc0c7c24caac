//! A body in the making: octets come in pieces, a [`Body`] comes out.

use crate::body::Body;
use crate::error::Result;

/// Collects a message's octets. Dropping it leaves nothing behind.
#[derive(Debug, Default)]
pub struct Draft {
    octets: Vec<u8>,
}

impl Draft {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Appends octets.
    pub fn write(&mut self, octets: &[u8]) -> Result<()> {
        self.octets.extend_from_slice(octets);
        Ok(())
    }

    /// How many octets it holds.
    #[must_use]
    pub fn octets(&self) -> u64 {
        self.octets.len() as u64
    }

    /// The whole as a body, hashed and ready to be stored.
    pub fn finish(self) -> Result<Body> {
        Ok(Body::new(&self.octets))
    }
}
