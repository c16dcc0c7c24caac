//! POP3: fetch the mail of INBOX and go.
//!
//! RFC 1939 with CAPA, PIPELINING and RESP-CODES (RFC 2449), STLS (RFC 2595), AUTH (RFC 5034),
//! AUTH-RESP-CODE (RFC 3206), UTF8 and LANG (RFC 6856), EXPIRE and LOGIN-DELAY (RFC 2449). [`Session`] is the protocol, [`serve::Server`]
//! answers its questions from the store.
//!
//! A maildrop is INBOX, or the mailboxes that the account's owner has chosen, one after the other.
//!
//! What it is not: it knows no flags. APOP is not offered: it would need
//! passwords in clear in the store.

mod authorization;
mod command;
mod language;
mod limits;
mod maildrop;
mod reply;
pub mod serve;
mod session;
mod stuffing;
mod transaction;
mod uidl;

pub use language::Language;
pub use limits::{Config, Connection, Limits};
pub use maildrop::{Entry, Maildrop, Source};
pub use session::{Answer, Ask, Marked, Session};
pub use uidl::{NotAFormat, UidlFormat};

#[doc(hidden)]
pub mod fuzz {
    //! The entry for the fuzzer: hostile octets in, no panic out.

    /// A client's lines.
    pub fn session(data: &[u8]) {
        super::session::fuzz(data);
    }
}
