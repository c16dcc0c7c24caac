//! Is this message who it says? SPF, DKIM, DMARC, ARC, and the field that tells of them.
//!
//! Every check is a pure function of the message, the session, the policy, recorded DNS answers and the
//! time; [`dns`] says how it asks for answers that it does not have.
//!
//! What this crate is not: it opens no socket, reads no clock, and decides nothing about where mail goes:
//! it returns outcomes and what they rest on.
//!
//! Invariants
//! - A failure of DNS is a temporary error, never a pass.
//! - Everything that a sender or a domain can make grow has a named maximum.
//! - The same arguments give the same outcome, now and in a year.

pub mod arc;
mod body;
pub mod dkim;
pub mod dmarc;
pub mod dns;
#[doc(hidden)]
pub mod fuzz;
mod header;
mod inspect;
pub mod iprev;
pub mod limits;
mod octets;
pub mod results;
pub mod spf;
mod tags;

pub use body::{BodyDigest, BodyHash};
pub use header::Canonicalization;
pub use inspect::{Evidence, Outcome, Reader, Settings, ahead};
pub use limits::Limits;
