//! What the process asks of the machine at its start.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the limit on open files to what the system allows: each connection is one.
/// What cannot be raised is logged and borne.
pub fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => tracing::debug!(files = limit.maximum, "open files allowed"),
        Err(error) => tracing::warn!(%error, files = limit.current, "the limit on open files stays"),
    }
}
