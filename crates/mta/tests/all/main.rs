//! The integration tests of this crate, one module a subject: one binary, linked once.

mod advisers;
mod authentication;
mod context;
mod conversion;
mod delivery_tls;
mod explaining;
mod forged;
mod forwarding;
mod hostile;
mod mixed;
mod outbound;
mod published;
mod receive;
mod rejects;
mod strangers;
