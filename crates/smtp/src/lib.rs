//! SMTP and LMTP: the grammar, the server's session and the client's session.
//!
//! Both sessions are values ([`wire::Session`]): they know no socket, no clock and no random numbers, and can
//! talk to each other in memory. What they cannot know they ask; who answers is `mta`'s business.
//!
//! Invariants
//! - Only CRLF ends a line and only CRLF `.` CRLF ends a message (RFC 5321 §2.3.8, §4.1.1.4).
//! - Everything the peer can make grow is bounded by a field of [`server::Limits`] or [`client::Limits`].

pub mod client;
mod grammar;
pub mod reply;
pub mod server;

#[doc(hidden)]
pub mod fuzz;

pub use reply::Reply;
