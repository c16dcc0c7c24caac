//! Config, command line and wiring of the binary `postrider`.
//!
//! The layers below know nothing of files of settings, processes or terminals: this crate turns one
//! config value into theirs, starts everything and stops it again.
//!
//! What this crate is not: it holds no mail logic. A decision about mail that is made here is in the
//! wrong place.

pub mod admin;
pub mod advisers;
pub mod cli;
pub mod clock;
pub mod config;
pub mod demo;
pub mod dkim_rotation;
pub mod domain_check;
pub mod failure;
pub mod logging;
pub mod machine;
pub mod mail_path;
pub mod metrics;
pub mod output;
pub mod public_resolver;
pub mod random;
pub mod secret;
pub mod session_traces;
pub mod signals;
pub mod snapshot;
pub mod sweep;
pub mod transport;
pub mod well_known;
pub mod wire_up;
