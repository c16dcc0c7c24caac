//! The command line's end: to a running server over its control socket, or to the store itself.
//!
//! One request and one answer, each a line of JSON, then the connection ends.

use super::{Admin, Operation};
use crate::failure::{Code, Failure, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use store::{OpenError, Settings, Store};

/// The control socket's name in the data directory.
pub const SOCKET_NAME: &str = "control.sock";

/// Longest path that fits a Unix socket's address, octets.
const SOCKET_PATH_OCTETS_MAX: usize = 100;

/// What is asked.
#[derive(Debug, Serialize, Deserialize)]
pub struct Request {
    /// The operation's name.
    pub operation: String,
    /// Whether it is only tried.
    #[serde(default)]
    pub dry_run: bool,
    /// The operation.
    pub arguments: Value,
}

/// What is answered.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Response {
    /// It was done.
    Ok(Value),
    /// It was not.
    Error(Failure),
}

/// Where operations are run.
pub enum Link {
    /// By a running server.
    Remote {
        /// Its data directory.
        data: PathBuf,
        /// Whether changes are only tried.
        dry_run: bool,
    },
    /// Here, over the store.
    Local(Admin),
}

impl Link {
    /// To the server that runs on a data directory, else to the store in it.
    ///
    /// # Errors
    /// When neither can be reached.
    pub fn open(data: &Path, mail: mta::Settings, dry_run: bool) -> Result<Self> {
        if connect(data)?.is_some() {
            return Ok(Self::Remote { data: data.to_owned(), dry_run });
        }
        let store = open_store(data)?;
        Ok(Self::Local(Admin { store, service: None, dry_run, mail: Arc::new(mail) }))
    }

    /// To the server that runs on a data directory.
    ///
    /// # Errors
    /// When none does.
    pub fn to_server(data: &Path) -> Result<Self> {
        match connect(data)? {
            Some(_) => Ok(Self::Remote { data: data.to_owned(), dry_run: false }),
            None => {
                Err(Failure::new(Code::Unreachable, format!("no server runs on {}", data.display()))
                    .hint("start one with `postrider serve`"))
            }
        }
    }

    /// Has an operation done.
    ///
    /// # Errors
    /// What the operation says, or that the server cannot be reached.
    pub fn call<O: Operation>(&self, operation: O) -> Result<O::Answer> {
        match self {
            Self::Local(admin) => operation.run(admin),
            Self::Remote { data, dry_run } => {
                let stream = connect(data)?.ok_or_else(|| Failure::new(Code::Unreachable, "the server has gone away"))?;
                exchange(stream, &operation, *dry_run).and_then(|value| read_answer::<O>(value))
            }
        }
    }
}

/// Opens the store of a data directory; makes it if it is not there.
///
/// # Errors
/// When another process holds it, or it cannot be read.
pub fn open_store(data: &Path) -> Result<Store> {
    crate::wire_up::make_private_directory(data)?;
    open_with(&Settings::at(data))
}

/// Opens a store with its settings.
///
/// # Errors
/// As [`open_store`].
pub(super) fn open_with(settings: &Settings) -> Result<Store> {
    let data = &settings.data;
    Store::open(settings).map_err(|error| match error {
        OpenError::Locked { pid } => {
            let who = pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"));
            let message = format!("the data directory {} is in use by {who}", data.display());
            Failure::new(Code::Unreachable, message)
                .hint("is a server starting or stopping there? Only one process may use a data directory")
        }
        OpenError::Damaged(_) => Failure::failed(&format!("cannot open the store in {}", data.display()), error)
            .hint("copy the data directory first; `postrider store rebuild-index --salvage` then opens it without what is damaged"),
        error => Failure::failed(&format!("cannot open the store in {}", data.display()), error),
    })
}

/// None: no server listens there.
fn connect(data: &Path) -> Result<Option<UnixStream>> {
    let path = data.join(SOCKET_NAME);
    let connected = if path.as_os_str().len() <= SOCKET_PATH_OCTETS_MAX {
        UnixStream::connect(&path)
    } else {
        // The name is too long for a socket's address: go by the directory's descriptor.
        std::fs::File::open(data).and_then(|dir| UnixStream::connect(format!("/proc/self/fd/{}/{SOCKET_NAME}", dir.as_raw_fd())))
    };
    match connected {
        Ok(stream) => Ok(Some(stream)),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => Ok(None),
        Err(error) => Err(Failure::new(Code::Unreachable, format!("cannot reach the server at {}: {error}", path.display()))),
    }
}

fn exchange<O: Operation>(mut stream: UnixStream, operation: &O, dry_run: bool) -> Result<Value> {
    let broken = |error: &dyn std::fmt::Display| Failure::new(Code::Unreachable, format!("the server's answer is missing: {error}"));
    let arguments = serde_json::to_value(operation).map_err(|error| broken(&error))?;
    let request = Request { operation: O::NAME.to_owned(), dry_run, arguments };
    let mut line = zeroize::Zeroizing::new(serde_json::to_string(&request).map_err(|error| broken(&error))?);
    line.push('\n');
    stream.write_all(line.as_bytes()).map_err(|error| broken(&error))?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).map_err(|error| broken(&error))?;
    match serde_json::from_str(&answer) {
        Ok(Response::Ok(value)) => Ok(value),
        Ok(Response::Error(failure)) => Err(failure),
        Err(error) => Err(broken(&error)),
    }
}

fn read_answer<O: Operation>(value: Value) -> Result<O::Answer> {
    serde_json::from_value(value).map_err(|error| {
        Failure::failed("the server's answer is not understood", error).hint("are command and server of the same version?")
    })
}
