//! `postrider serve`

use super::{Context, Overrides};
use crate::config::Config;
use crate::failure::{Failure, Result};
use crate::session_traces::Traces;
use crate::signals::Signals;
use crate::wire_up::Server;
use clap::Args;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(super) struct Serve {
    #[command(flatten)]
    overrides: Overrides,
    /// Write what is said in each session to a file in this directory, passwords left out; for a short look only
    #[arg(long, value_name = "DIR")]
    trace_sessions: Option<PathBuf>,
}

impl Serve {
    #[cfg(test)]
    pub(super) fn overrides(&self) -> &Overrides {
        &self.overrides
    }

    pub(super) fn run(self, context: &Context) -> Result<()> {
        let path = context.global.config.clone();
        let config = read(&path, context.global.data.as_ref(), &self.overrides)?;
        crate::logging::start(&config.log, self.overrides.log.as_deref())?;
        crate::machine::raise_open_files();
        let traces = self.trace_sessions.as_deref().map(Traces::new).transpose()?;
        let data = context.global.data.clone();
        let again = path.clone();
        runtime()?.block_on(async move {
            let signals = Signals::listen()?;
            let read_again = Box::new(move || read(&again, data.as_ref(), &self.overrides));
            let server = Server::start(config, Some(read_again), Some(path), traces).await?;
            for port in server.ports() {
                tracing::info!(listener = %port.protocol, address = %port.address, "listening");
            }
            tracing::info!(version = env!("CARGO_PKG_VERSION"), "ready");
            signals.run(server).await
        })
    }
}

fn read(path: &std::path::Path, data: Option<&PathBuf>, overrides: &Overrides) -> Result<Config> {
    let mut config = Config::load(path)?;
    if let Some(data) = data {
        config.data.clone_from(data);
    }
    overrides.apply(&mut config);
    Ok(config)
}

/// The runtime that serves connections: as many threads as there are cores.
pub(super) fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("postrider")
        .build()
        .map_err(|error| Failure::failed("cannot start the runtime", error))
}
