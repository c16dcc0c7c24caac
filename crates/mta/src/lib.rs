//! The way of a message: received, routed, queued, delivered, reported.
//!
//! [`receive`] answers the questions of SMTP server sessions, [`queue`] decides when mail is tried,
//! [`route`] where it goes, [`deliver`] hands it on, [`bounce`] tells senders what became of it.
//!
//! What this crate is not: it knows no command of SMTP (`smtp`), no socket (`net`) and no engine
//! (`store`).
//!
//! **Guarantee.** An accepted message is in exactly one of draft (no 250 yet), queued, delivered,
//! bounced, discarded by a rule. Every step is one store transaction; a crash at any point repeats
//! at most one delivery per connection and loses none.
//!
//! Invariants
//! - Whatever is not known to be permanent is transient: the mail is kept.
//! - An attempt's outcome is committed before the next message's body leaves on its connection.
//! - Every decision leaves an event in the message's trail.

pub mod bounce;
pub mod counters;
pub mod deliver;
mod local;
pub mod queue;
pub mod receive;
pub mod route;
pub mod settings;

pub use counters::Counters;
pub use settings::Settings;
