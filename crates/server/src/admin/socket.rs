//! The control socket of a running server: a Unix socket in the data directory.
//!
//! Only root and the server's own user are answered, by the kernel's word (`SO_PEERCRED`); the
//! file's mode says the same.
//!
//! Invariants
//! - A request is at most [`REQUEST_OCTETS_MAX`] long and must come within [`REQUEST_MAX`].
//! - At most [`CONNECTIONS_MAX`] are served at once; the others wait in the kernel.

use super::link::{Request, Response, SOCKET_NAME};
use super::{Admin, perform};
use crate::failure::{Code, Failure, Result};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;

/// Longest request, octets: a message to be tried, in base64. Our own bound; only root and we ourselves are heard.
const REQUEST_OCTETS_MAX: u64 = (super::explain::TRIED_OCTETS_MAX as u64) * 3 / 2;
/// How long a request may take to arrive. Default 10 seconds, our own bound.
const REQUEST_MAX: Duration = Duration::from_secs(10);
/// Requests served at once. Default 16, our own bound.
const CONNECTIONS_MAX: usize = 16;

/// The control socket; its file goes when this is dropped.
#[derive(Debug)]
pub struct ControlSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl ControlSocket {
    /// Listens in a data directory whose store this process has open: an old socket file there is
    /// nobody's.
    ///
    /// # Errors
    /// When the socket cannot be made.
    pub fn bind(data: &Path) -> Result<Self> {
        let path = data.join(SOCKET_NAME);
        let unable = |error: io::Error| Failure::failed(&format!("cannot listen on {}", path.display()), error);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(unable(error)),
            _ => {}
        }
        let listener = bind_private(data, &path).map_err(unable)?;
        Ok(Self { listener, path: path.clone() })
    }

    /// Answers requests for ever.
    pub async fn run(self, admin: Admin) {
        let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { return };
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let admin = admin.clone();
                    tokio::spawn(async move {
                        if let Err(error) = serve(stream, admin).await {
                            tracing::debug!(%error, "a control connection broke");
                        }
                        drop(permit);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "the control socket cannot accept");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        let _gone = std::fs::remove_file(&self.path);
    }
}

/// The socket is made in a directory that only its owner may enter, so that it is never open to others.
fn bind_private(data: &Path, path: &Path) -> io::Result<UnixListener> {
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::PermissionsExt;
    let dir = std::fs::File::open(data)?;
    let listener = UnixListener::bind(format!("/proc/self/fd/{}/{SOCKET_NAME}", dir.as_raw_fd())).or_else(|_| UnixListener::bind(path))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

async fn serve(stream: UnixStream, admin: Admin) -> io::Result<()> {
    let peer = stream.peer_cred()?.uid();
    let mut stream = BufReader::new(stream);
    let response = if peer == 0 || peer == rustix::process::geteuid().as_raw() {
        answer(&mut stream, admin).await
    } else {
        Err(Failure::new(Code::Refused, format!("user {peer} may not manage this server")))
    };
    let response = response.map_or_else(Response::Error, Response::Ok);
    let mut line = serde_json::to_string(&response).unwrap_or_default();
    line.push('\n');
    stream.get_mut().write_all(line.as_bytes()).await
}

async fn answer(stream: &mut BufReader<UnixStream>, admin: Admin) -> Result<serde_json::Value> {
    let mut line = zeroize::Zeroizing::new(String::new());
    let mut bounded = stream.take(REQUEST_OCTETS_MAX);
    match tokio::time::timeout(REQUEST_MAX, bounded.read_line(&mut line)).await {
        Ok(Ok(_)) if line.ends_with('\n') => {}
        Ok(_) => return Err(Failure::usage("the request is no line of at most 48 MiB")),
        Err(_) => return Err(Failure::usage("the request did not come in time")),
    }
    let request: Request = serde_json::from_str(&line).map_err(|error| Failure::usage(format!("not a request: {error}")))?;
    let admin = Admin { dry_run: request.dry_run, ..admin };
    tracing::info!(operation = request.operation, dry_run = request.dry_run, "an administrator's request");
    let done = tokio::task::spawn_blocking(move || perform(&admin, &request.operation, request.arguments));
    done.await.map_err(|error| Failure::failed("the operation failed unexpectedly", error))?
}
