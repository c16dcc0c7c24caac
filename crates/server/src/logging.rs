//! Where log lines go: standard error, as text or as one JSON object a line.
//!
//! Invariant: events carry ids (receipt, peer, account), never passwords or message text; that is
//! kept where they are written, not filtered here.

use crate::config::{Log, LogFormat, LogLevel};
use crate::failure::{Failure, Result};
use std::io::IsTerminal;
use std::panic::PanicHookInfo;
use tracing_subscriber::EnvFilter;

/// Starts logging for the rest of the process. `filter` is the command line's word: a level, or
/// `info,mta=debug`.
///
/// # Errors
/// When the filter is none.
pub fn start(log: &Log, filter: Option<&str>) -> Result<()> {
    let text = filter.map_or_else(|| default_filter(log.level), str::to_owned);
    let filter = EnvFilter::try_new(&text).map_err(|error| {
        Failure::usage(format!("{text:?} is no log filter: {error}")).hint("expected a level, or e.g. \"info,mta=debug\"")
    })?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match log.format {
        LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).with_target(false).try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
    // Tests start several servers in one process: the first one's logging serves them all.
    if started.is_ok() {
        std::panic::set_hook(Box::new(log_panic));
    }
    Ok(())
}

/// Libraries are left to speak of what goes wrong only.
fn default_filter(level: LogLevel) -> String {
    let level = match level {
        LogLevel::Error => "error",
        LogLevel::Warn => "warn",
        LogLevel::Info => "info",
        LogLevel::Debug => "debug",
        LogLevel::Trace => "trace",
    };
    format!("{level},hickory_resolver=error,hickory_net=error,hickory_proto=error,rustls=warn")
}

fn log_panic(info: &PanicHookInfo<'_>) {
    let place = info.location().map(ToString::to_string).unwrap_or_default();
    let message = info.payload_as_str().unwrap_or("no message");
    tracing::error!(%place, message, "a mistake of ours: something panicked");
}
