//! The integration tests of this crate, one module a subject: one binary, linked once.

mod outbox;
mod queue;
mod returns;
mod terms;
mod transport;
mod two_servers;
