//! The way in for fuzzers: what is read back from the disk, as if somebody had written anything there.

use crate::body::BlobRow;
use crate::disk::Disk;
use crate::disk::sim::SimDisk;
use crate::log::record::{self, Kind};
use crate::log::replay::{self, Expect};
use crate::log::segment;

/// Reads `data` as a commit, a body, a row and a segment; nothing may fall over.
pub fn fuzz(data: &[u8]) {
    let _ = (record::commit(data).is_ok(), record::body(data).is_some(), BlobRow::decode(data).is_some());
    let _ = (record::describe(Kind::Commit, data), segment::Header::decode(data).is_ok());
    let disk = SimDisk::new();
    let Ok(file) = disk.create(&segment::path(1)) else { return };
    if file.write_at(data, 0).is_ok() {
        let expect = Expect { from: 0, sequence: 0, closed: data.len().is_multiple_of(2) };
        let _ = replay::segment(&*file, 1, expect, &mut |_| Ok(()));
    }
}

/// Reads `data` as a bearer token and as an issuer's keys.
pub fn tokens(data: &[u8]) {
    crate::auth::fuzz_tokens(data);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn nothing_on_disk_makes_it_fall_over(data in proptest::collection::vec(any::<u8>(), 0..300)) {
            super::fuzz(&data);
        }
    }
}
