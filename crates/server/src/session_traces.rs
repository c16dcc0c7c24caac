//! Writes what is said in each session to a file of its own, in the form of a transcript that can be played
//! again as a test: for `serve --trace-sessions DIR`, to see what a client really does.
//!
//! Not a log and not for every day: the files hold the text of messages, and each line is written where the
//! session runs.
//!
//! Invariants
//! - What a client sends to sign in is not shown ([`wire::trace`]); only the server's user can read the files.
//! - At most [`FILES_MAX`] files a process, of at most [`FILE_OCTETS_MAX`] octets.

use crate::config::Protocol;
use crate::failure::Result;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Most sessions that are written down by one process. Default 1,000, our own bound.
const FILES_MAX: u64 = 1_000;
/// Longest file, octets; its last line says that the rest is missing. Default 256 KiB, our own bound.
const FILE_OCTETS_MAX: usize = 256 * 1024;

/// A directory of traces.
#[derive(Debug)]
pub struct Traces {
    directory: PathBuf,
    files: AtomicU64,
}

impl Traces {
    /// Traces in this directory; makes it if it is not there.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn new(directory: &Path) -> Result<Self> {
        crate::wire_up::make_private_directory(directory)?;
        Ok(Self { directory: directory.to_owned(), files: AtomicU64::new(0) })
    }

    /// The file for a new session; none if there are enough, or it cannot be written.
    pub fn begin(&self, protocol: Protocol, peer: SocketAddr) -> Option<Trace> {
        let number = self.files.fetch_add(1, Ordering::Relaxed) + 1;
        if number > FILES_MAX {
            return None;
        }
        if number == FILES_MAX {
            tracing::warn!(files = FILES_MAX, "no further sessions are traced");
        }
        let now = crate::output::rfc3339(crate::clock::now());
        let path = self.directory.join(format!("{now}-{protocol}-{number}.txt"));
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
            Ok(file) => {
                let mut trace = Trace { file: Some(file), left: FILE_OCTETS_MAX };
                trace.line(&format!("# {protocol} from {peer}, {now}"));
                Some(trace)
            }
            Err(error) => {
                tracing::warn!(file = %path.display(), %error, "a session cannot be traced");
                None
            }
        }
    }
}

/// The trace of one session.
pub struct Trace {
    /// None: it is full, or could not be written.
    file: Option<File>,
    left: usize,
}

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trace").field("left", &self.left).finish_non_exhaustive()
    }
}

impl Trace {
    /// Writes a line, as long as there is room.
    pub fn line(&mut self, line: &str) {
        let Some(file) = &mut self.file else { return };
        if let Err(error) = write(file, line, &mut self.left) {
            if error.kind() != io::ErrorKind::FileTooLarge {
                tracing::warn!(%error, "the trace of a session is broken off");
            }
            self.file = None;
        }
    }
}

fn write(file: &mut File, line: &str, left: &mut usize) -> io::Result<()> {
    let octets = format!("{line}\n");
    if octets.len() > *left {
        file.write_all(b"# too long: the rest is missing\n")?;
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    *left -= octets.len();
    file.write_all(octets.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    fn texts(directory: &TempDir) -> Vec<String> {
        let files = std::fs::read_dir(directory.path()).unwrap();
        files.map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap()).collect()
    }

    fn peer() -> SocketAddr {
        "192.0.2.7:4711".parse().unwrap()
    }

    #[test]
    fn each_session_has_a_file_of_bounded_length() {
        let directory = TempDir::new().unwrap();
        let traces = Traces::new(directory.path()).unwrap();
        let mut trace = traces.begin(Protocol::Imap, peer()).unwrap();
        for _ in 0..=FILE_OCTETS_MAX / 1_000 {
            trace.line(&"x".repeat(999));
        }
        trace.line("C: more");
        let [text] = <[String; 1]>::try_from(texts(&directory)).unwrap();
        assert!(text.starts_with("# imap from 192.0.2.7:4711, "));
        assert!(text.ends_with("x\n# too long: the rest is missing\n"));
        assert!(text.len() <= FILE_OCTETS_MAX + 100);
    }

    #[test]
    fn there_is_a_largest_number_of_files() {
        let directory = TempDir::new().unwrap();
        let traces = Traces::new(directory.path()).unwrap();
        let begun = (0..FILES_MAX + 9).filter(|_| traces.begin(Protocol::Smtp, peer()).is_some()).count();
        assert_eq!(begun as u64, FILES_MAX);
        assert_eq!(texts(&directory).len() as u64, FILES_MAX);
    }
}
