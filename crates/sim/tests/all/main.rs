//! The integration tests of this crate, one module a subject: one binary, linked once.

mod documentation;
mod dsn;
mod fairness;
mod outbox;
mod queue;
mod returns;
mod scenarios;
mod terms;
mod transport;
mod two_servers;
