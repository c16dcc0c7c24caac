//! The integration tests of this crate, one module a subject: one binary, linked once.

mod authentication;
mod delivery_tls;
mod explaining;
mod forwarding;
mod receive;
