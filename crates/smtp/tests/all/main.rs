//! The integration tests of this crate, one module a subject: one binary, linked once.

mod both;
mod client;
mod server;
mod smuggling;
mod stage;
