//! A body in the making: octets come in pieces, a [`Body`] comes out.
//!
//! Invariant: it holds at most `Settings::small_body_octets_max` and one frame in memory.

use crate::body::Body;
use crate::error::Result;
use crate::files::Files;
use crate::spill::Spill;
use mail::BlobHash;
use std::fmt;
use std::sync::Arc;

/// Collects a message's octets; a long one goes to a file as it comes. Dropping it leaves nothing
/// behind.
pub struct Draft {
    files: Arc<Files>,
    small_octets_max: usize,
    begun: Vec<u8>,
    long: Option<(Spill, Box<blake3::Hasher>)>,
}

impl Draft {
    pub(crate) fn new(files: Arc<Files>, small_octets_max: usize) -> Self {
        Self { files, small_octets_max, begun: Vec::new(), long: None }
    }

    /// Appends octets. A long draft writes to the disk here, in the caller's thread.
    ///
    /// [`crate::Error::Full`] when the disk is full.
    pub fn write(&mut self, octets: &[u8]) -> Result<()> {
        if self.long.is_none() && self.begun.len() + octets.len() > self.small_octets_max {
            let begun = std::mem::take(&mut self.begun);
            self.long = Some((Spill::begin(&self.files)?, Box::default()));
            self.write(&begun)?;
        }
        match &mut self.long {
            Some((spill, hasher)) => {
                hasher.update(octets);
                spill.write(octets)?;
            }
            None => self.begun.extend_from_slice(octets),
        }
        Ok(())
    }

    /// How many octets it holds.
    #[must_use]
    pub fn octets(&self) -> u64 {
        self.long.as_ref().map_or(self.begun.len() as u64, |(spill, _)| spill.raw_octets())
    }

    /// The whole as a body, hashed, compressed and ready to be stored. A long one is synced here, in
    /// the caller's thread.
    pub fn finish(self) -> Result<Body> {
        match self.long {
            Some((spill, hasher)) => Ok(Body::long(BlobHash(*hasher.finalize().as_bytes()), spill.finish()?)),
            None => Ok(Body::from_vec(self.begun)),
        }
    }
}

impl fmt::Debug for Draft {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Draft({} octets)", self.octets())
    }
}
