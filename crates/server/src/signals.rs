//! What the operating system asks of a running server: SIGTERM and SIGINT stop it, SIGHUP has it
//! read its config again. systemd is told when it is ready, reloading and stopping.

use crate::failure::{Failure, Result};
use crate::wire_up::Server;
use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that are listened for.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    /// Listens from now on; a signal that comes during the start is not lost.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn listen() -> Result<Self> {
        let on = |kind| signal(kind).map_err(|error| Failure::failed("cannot listen for signals", error));
        Ok(Self { terminate: on(SignalKind::terminate())?, interrupt: on(SignalKind::interrupt())?, hang_up: on(SignalKind::hangup())? })
    }

    /// Keeps a server running until it is to stop, and stops it. A second signal ends the process at once.
    ///
    /// # Errors
    /// When the store had to stop: nothing more may be acknowledged.
    pub async fn run(mut self, server: Server) -> Result<()> {
        notify(NotifyState::Ready);
        let failed = server.failed();
        tokio::pin!(failed);
        let mut outcome = Ok(());
        loop {
            tokio::select! {
                why = &mut failed => {
                    tracing::error!(why, "the store has stopped: nothing more can be acknowledged");
                    outcome = Err(Failure::failed("the store has stopped", why));
                    break;
                }
                _ = self.terminate.recv() => break,
                _ = self.interrupt.recv() => break,
                _ = self.hang_up.recv() => reload(&server),
            }
        }
        notify(NotifyState::Stopping);
        tracing::info!("stopping");
        tokio::select! {
            () = server.stop() => tracing::info!("stopped"),
            _ = self.terminate.recv() => tracing::warn!("stopped at once by a second signal"),
            _ = self.interrupt.recv() => tracing::warn!("stopped at once by a second signal"),
        }
        outcome
    }
}

fn reload(server: &Server) {
    notify(NotifyState::Reloading);
    if let Err(failure) = server.reload() {
        tracing::error!(%failure, "the config was not read again: everything stays as it was");
    }
    notify(NotifyState::Ready);
}

/// Without systemd there is nobody to tell.
fn notify(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(false, &[state]) {
        tracing::debug!(%error, "systemd was not told");
    }
}
