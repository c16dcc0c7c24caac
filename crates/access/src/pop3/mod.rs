//! POP3: fetch the mail of INBOX and go.
//!
//! RFC 1939 with CAPA, PIPELINING and RESP-CODES (RFC 2449), STLS (RFC 2595), AUTH (RFC 5034),
//! AUTH-RESP-CODE (RFC 3206) and UTF8 (RFC 6856). [`Session`] is the protocol, [`serve::Server`]
//! answers its questions from the store.
//!
//! What it is not: it knows one mailbox, no flags and no folders. APOP is not offered: it would need
//! passwords in clear in the store.

mod authorization;
mod command;
mod limits;
mod maildrop;
mod reply;
pub mod serve;
mod session;
mod stuffing;
mod transaction;

pub use limits::{Config, Connection, Limits};
pub use maildrop::{Entry, Maildrop};
pub use session::{Answer, Ask, Session};

#[doc(hidden)]
pub mod fuzz {
    //! The entry for the fuzzer: hostile octets in, no panic out.

    /// A client's lines.
    pub fn session(data: &[u8]) {
        super::session::fuzz(data);
    }
}
