//! IMAP: scripts, and what must hold whatever is said.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    reason = "a test says what is wrong by failing"
)]

mod scripts;
mod stage;
