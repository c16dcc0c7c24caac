//! Bodies: as many references as hold them, and the hash they are named by.

use super::Check;
use crate::error::Result;
use crate::index::KeyRange;
use crate::schema::Space;
use mail::BlobHash;

/// Octets read at once.
const READ_OCTETS: usize = 1 << 20;
/// Most bodies read in one transaction. Our own bound.
const BODIES_MAX: usize = 256;
/// Octets of bodies after which a transaction reads no further one. Our own bound.
const BODY_OCTETS_ENOUGH: u64 = 64 << 20;

impl Check<'_> {
    /// Compares references, and gives the blobs there are.
    pub(super) fn blobs(&mut self) -> Result<Vec<BlobHash>> {
        let mut blobs = Vec::new();
        for key in self.tx.keys(Space::Blob, &KeyRange::all(), usize::MAX)? {
            let Ok(hash) = <[u8; 32]>::try_from(key.as_slice()).map(BlobHash) else {
                self.find(Space::Blob, &key, "is no hash");
                continue;
            };
            let held = self.held.remove(&hash).unwrap_or_default();
            match self.tx.blob(&hash) {
                Ok(Some(blob)) => self.same(Space::Blob, &key, "references", blob.references, held),
                Ok(None) => {}
                Err(error) => self.find(Space::Blob, &key, error.to_string()),
            }
            blobs.push(hash);
        }
        self.figures(|figures| figures.blobs += blobs.len() as u64);
        for (hash, held) in std::mem::take(&mut self.held) {
            self.find(Space::Blob, &hash.0, format!("is missing; {held} hold it"));
        }
        Ok(blobs)
    }

    /// Reads and hashes some of the bodies, and takes them off the list. Those that were removed since the
    /// list was made are left out.
    pub(super) fn bodies(&mut self, blobs: &mut Vec<BlobHash>) {
        let enough = self.report.figures.octets_hashed + BODY_OCTETS_ENOUGH;
        for _ in 0..BODIES_MAX {
            let Some(hash) = blobs.pop() else { return };
            self.body(&hash);
            if self.report.figures.octets_hashed >= enough {
                return;
            }
        }
    }

    fn body(&mut self, hash: &BlobHash) {
        if matches!(self.tx.has(Space::Blob, &hash.0), Ok(false)) {
            return;
        }
        match self.hash(hash) {
            Ok((is, octets)) => {
                self.figures(|figures| figures.octets_hashed += octets);
                self.same(Space::Blob, &hash.0, "the hash of its octets", is, *hash);
            }
            Err(error) => self.find(Space::Blob, &hash.0, error.to_string()),
        }
    }

    fn hash(&self, hash: &BlobHash) -> Result<(BlobHash, u64)> {
        let (mut hasher, mut octets) = (blake3::Hasher::new(), 0);
        loop {
            let chunk = self.tx.blob_read(hash, octets, READ_OCTETS)?;
            if chunk.is_empty() {
                return Ok((BlobHash(*hasher.finalize().as_bytes()), octets));
            }
            hasher.update(&chunk);
            octets += chunk.len() as u64;
        }
    }
}
