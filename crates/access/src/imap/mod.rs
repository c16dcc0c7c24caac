//! IMAP4rev1 and IMAP4rev2 (RFC 3501, RFC 9051) with the extensions that [`commands`] name.
//!
//! [`Session`] is the protocol as a value: it collects commands and their literals, authenticates,
//! idles and keeps the order of replies. [`serve::Server`] answers its questions from the store.
//! `command.rs` is the table of commands; each has its own file in `commands`, where it is both
//! read and done.
//!
//! Invariants
//! - Tagged replies come in the order of the commands.
//! - What this client has been told (`selected`) changes only together with the octets that tell it.

pub mod command;
pub mod commands;
#[doc(hidden)]
pub mod compression;
pub(crate) mod contexts;
#[doc(hidden)]
pub mod fuzz;
pub mod grammar;
pub(crate) mod granted;
mod limits;
pub mod mailbox_name;
pub(crate) mod notifying;
pub mod quirks;
mod recent;
pub mod response;
pub mod selected;
pub mod sequence;
pub mod serve;
mod session;
pub mod threading;

pub use command::Command;
pub use limits::{Config, Limits};
pub use session::{Answer, Ask, Done, Push, Session};
