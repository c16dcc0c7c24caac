//! The shell around the protocols, seen from both ends of a connection.
//!
//! The protocol is a toy: it answers lines, and its commands make the driver do what it can do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod drive;
mod idle;
mod listen;
mod resolve;
mod tls;
mod toy;
