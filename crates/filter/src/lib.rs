//! Is this message wanted? What a message looks like, what people have taught about such messages, and
//! rules that need no teaching, put together into one verdict.
//!
//! ```text
//! message ─▶ Features ─┬─▶ classifier::heard(what was taught) ─┐
//!                      └─▶ rules::findings ────────────────────┴─▶ Grounds ─▶ Verdict
//! ```
//!
//! What this crate is not: it asks no DNS, keeps nothing (the store has what was taught), and moves no
//! mail. Who a message is from is `mailauth`'s to find out; here it is one more piece of evidence.
//!
//! Invariants
//! - The same arguments give the same verdict, now and in a year.
//! - A message of any octets costs time and memory bounded by [`Limits`].
//! - Nothing is rejected unless the settings say so: what is doubtful is kept where its reader finds it.

pub mod classifier;
pub mod dnsbl;
mod features;
#[doc(hidden)]
pub mod fuzz;
mod grounds;
mod links;
pub mod lookalike;
pub mod reputation;
pub mod rules;
mod verdict;
mod wording;

pub use classifier::{Class, Counts, Heard, HeardFeature, Known, Manner, Opinion, Place, Telling};
pub use features::{Features, Limits, bucket};
pub use grounds::{Grounds, NAMED_MAX};
pub use verdict::{Action, Authenticity, Evidence, Reason, Settings, Verdict, judge};
