//! Files as the log needs them: written at a place, synced, removed, and nothing else.
//!
//! [`real`] is the operating system's; [`sim`] is a disk in memory that can lose power, tear writes,
//! fail and fill up. Paths are relative to the data directory, with at most one `/`.
//!
//! Invariant: nothing is durable before [`File::sync`], and no name before [`Disk::sync_folder`].

pub(crate) mod real;
pub mod sim;

use std::io;
use std::sync::Arc;

/// A directory of files.
pub(crate) trait Disk: Send + Sync {
    /// The names of the files in a folder; the folder is made if it is not there.
    fn list(&self, folder: &str) -> io::Result<Vec<String>>;
    /// A new, empty file; one that has this name already is emptied.
    fn create(&self, path: &str) -> io::Result<Arc<dyn File>>;
    /// A file that exists.
    fn open(&self, path: &str) -> io::Result<Arc<dyn File>>;
    /// Removes a file; readers that have it open keep it.
    fn remove(&self, path: &str) -> io::Result<()>;
    /// Makes the names in a folder durable.
    fn sync_folder(&self, folder: &str) -> io::Result<()>;
    /// How many octets more the disk can take.
    fn free_octets(&self) -> io::Result<u64>;
}

/// One open file.
pub(crate) trait File: Send + Sync {
    /// Reads at a place; less than asked only at the end of the file.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes all octets at a place; on an error any part of them may have been written.
    fn write_at(&self, octets: &[u8], offset: u64) -> io::Result<()>;
    /// Makes what was written durable.
    fn sync(&self) -> io::Result<()>;
    /// The file's length.
    fn octets(&self) -> io::Result<u64>;
    /// Sets the file's length.
    fn truncate(&self, octets: u64) -> io::Result<()>;
    /// Sets space aside from `offset` on, which reads as zeros until it is written.
    fn reserve(&self, offset: u64, octets: u64) -> io::Result<()>;
}

/// Exactly `octets` octets from `offset` on; an end of file before is an error.
pub(crate) fn read_exactly(file: &dyn File, offset: u64, octets: usize) -> io::Result<Vec<u8>> {
    let mut buffer = vec![0; octets];
    let read = file.read_at(&mut buffer, offset)?;
    if read < octets { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(buffer) }
}
