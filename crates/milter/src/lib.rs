//! What programs outside say about a message: the milter protocol, MTA hooks, and the changes both ask for.
//!
//! An *adviser* (a milter such as Rspamd's, or a web server that speaks MTA hooks) is told of each stage of an
//! SMTP transaction and gives *advice*: a [`Decision`], and at the end of the message [`Modification`]s.
//! [`session::Session`] is the milter protocol as a value, [`hook`] writes and reads the JSON of MTA hooks, and
//! [`Message::apply`] is the one place where a modification becomes part of envelope and message.
//!
//! What this crate is not: it knows no socket and no HTTP (`net`), and does not know which message is asked about when (`mta`).
//!
//! Invariants
//! - Whatever an adviser can make grow has a bound in [`Limits`]; beyond it the adviser counts as broken.
//! - A modification cannot end the header early nor smuggle a second field into it.

pub mod advice;
pub mod command;
#[doc(hidden)]
pub mod fuzz;
pub mod hook;
pub mod limits;
pub mod message;
pub mod options;
pub mod packet;
pub mod response;
pub mod session;
pub mod symbols;

pub use advice::{Advice, Decision, Modification, Reply};
pub use limits::Limits;
pub use message::Message;
pub use symbols::{Stage, Symbols};
