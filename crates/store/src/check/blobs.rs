//! Bodies: as many references as hold them, and the hash they are named by.

use super::{Bodies, Check};
use crate::error::Result;
use crate::index::KeyRange;
use crate::schema::Space;
use mail::BlobHash;

/// Octets read at once.
const READ_OCTETS: usize = 1 << 20;
/// Blobs between two calls of progress.
const PROGRESS: u64 = 256;

impl Check<'_> {
    pub(super) fn blobs(&mut self, bodies: Bodies) -> Result<()> {
        let keys = self.tx.keys(Space::Blob, &KeyRange::all(), usize::MAX)?;
        for key in keys {
            let Ok(hash) = <[u8; 32]>::try_from(key.as_slice()).map(BlobHash) else {
                self.find(Space::Blob, &key, "is no hash");
                continue;
            };
            self.figures(|figures| figures.blobs += 1);
            let held = self.held.remove(&hash).unwrap_or_default();
            match self.tx.blob(&hash) {
                Ok(Some(blob)) => self.same(Space::Blob, &key, "references", blob.references, held),
                Ok(None) => {}
                Err(error) => self.find(Space::Blob, &key, error.to_string()),
            }
            if bodies == Bodies::Read {
                self.body(&key, &hash);
            }
            if self.report.figures.blobs.is_multiple_of(PROGRESS) {
                (self.progress)(&self.report.figures);
            }
        }
        for (hash, held) in std::mem::take(&mut self.held) {
            self.find(Space::Blob, &hash.0, format!("is missing; {held} hold it"));
        }
        Ok(())
    }

    fn body(&mut self, key: &[u8], hash: &BlobHash) {
        match self.hash(hash) {
            Ok((is, octets)) => {
                self.figures(|figures| figures.octets_hashed += octets);
                self.same(Space::Blob, key, "the hash of its octets", is, *hash);
            }
            Err(error) => self.find(Space::Blob, key, error.to_string()),
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
