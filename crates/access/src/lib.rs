//! How people read their mail: IMAP and POP3 over the store.
//!
//! What this crate is not: it knows no socket, no clock and no random numbers; the store and the
//! authenticator come from `store`, the bytes from `net`.

#[doc(hidden)]
pub mod fuzz;
pub mod imap;
pub mod pop3;
