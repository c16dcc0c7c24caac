//! IMAP: scripts, and what must hold whatever is said.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what is wrong by failing"
)]

mod bounds;
mod crowd;
mod rights;
mod scram;
mod scripts;
mod sizes;
mod stage;
mod streams;
mod views;
