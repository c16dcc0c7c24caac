//! The data directory belongs to one process at a time.

use crate::log::OpenError;
use rustix::fs::FlockOperation;
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

/// Held as long as the store is open; the system lets go of it when the process ends, however.
#[derive(Debug)]
pub(crate) struct DataLock {
    _file: File,
}

impl DataLock {
    pub(crate) fn take(data: &Path) -> Result<Self, OpenError> {
        let failed = |e| OpenError::io(format!("opening {}", data.display()), e);
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(data).map_err(failed)?;
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false);
        let mut file = options.open(data.join("lock")).map_err(failed)?;
        if rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            let mut pid = String::new();
            let _ = file.read_to_string(&mut pid);
            return Err(OpenError::Locked { pid: pid.trim().parse().ok() });
        }
        let sign = |file: &mut File| {
            file.set_len(0)?;
            file.rewind()?;
            writeln!(file, "{}", std::process::id())
        };
        // A lock without a pid is a lock all the same: a full disk must not keep the store shut.
        let _ = sign(&mut file);
        Ok(Self { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_told_who_has_it() {
        let data = tempfile::tempdir().unwrap();
        let lock = DataLock::take(data.path()).unwrap();
        let second = DataLock::take(data.path());
        assert!(matches!(second, Err(OpenError::Locked { pid: Some(pid) }) if pid == std::process::id()));
        drop(lock);
        assert!(DataLock::take(data.path()).is_ok());
    }
}
