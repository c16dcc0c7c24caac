//! Whole servers in one process: real stores (in memory), real SMTP sessions, real queues, over a
//! network, a DNS and a clock that are not.
//!
//! Time is tokio's paused time: it moves on when nobody has anything to do, so that five days pass
//! in a moment. Everything that is left to chance comes from one seed: the same seed gives the same
//! trails, byte for byte.
//!
//! ```ignore
//! sim::run(7, async |world| {
//!     let a = world.host("mx.a.example", "a.example");
//!     let b = world.host("mx.b.example", "b.example");
//!     a.account("ann@a.example");
//!     b.account("bob@b.example");
//!     world.down("mx.b.example", Duration::from_hours(3));
//!     a.submit("ann@a.example", &["bob@b.example"], "hello").await;
//!     world.settle().await;
//!     world.audit().assert_sound();
//! });
//! ```
//!
//! TLS is real, over the pipes of the network; the disks are in memory and fail when they are told to.
//!
//! A whole world can come from a file: [`scenario`] reads it, [`play()`] plays it, [`outcome`] is what came of it.
//!
//! What this crate is not: it tests no sockets and no real disk; those have tests of their own.
//!
//! Invariant: nothing here asks the machine for the time or for randomness.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "a simulation whose own machinery fails has failed: whoever runs it says so"
)]

pub mod audit;
pub mod certificates;
pub mod chance;
pub mod faults;
pub mod host;
pub mod network;
pub mod outcome;
pub mod play;
pub mod policies;
pub mod scenario;
pub mod witness;
pub mod world;

pub use audit::{Audit, Fate};
pub use certificates::Shown;
pub use chance::Chance;
pub use faults::Faults;
pub use host::Host;
pub use network::Network;
pub use outcome::Outcome;
pub use play::{CrashAt, CutAt, Trial, every_octet, every_write, play};
pub use policies::Policies;
pub use scenario::Scenario;
pub use witness::Way;
pub use world::World;

/// Runs a simulation to its end, in virtual time, on this thread.
pub fn run<T>(seed: u64, scenario: impl AsyncFnOnce(&World) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.expect("a runtime on this thread");
    let outcome = runtime.block_on(async {
        let world = World::new(seed);
        scenario(&world).await
    });
    runtime.shutdown_background();
    outcome
}
