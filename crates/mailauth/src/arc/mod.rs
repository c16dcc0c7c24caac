//! ARC: what the servers on a message's way found out about it (RFC 8617).
//!
//! [`Chain`] reads the sets of a message and judges them, [`seal`] adds one. Not a verdict: whether a chain
//! that holds says anything depends on who sealed it.
//!
//! Invariants: a failure of DNS is `temperror`; a broken chain stays broken.

mod chain;
pub mod seal;

pub(crate) use chain::{HashedChain, PendingChain};

use serde::{Deserialize, Serialize};
use std::fmt;

/// The state of a chain (RFC 8617 §4.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ArcResult {
    /// There are no sets.
    None,
    /// Every seal holds, and so does the last signature.
    Pass,
    /// Something does not.
    Fail,
    /// DNS gave no answer. Not a word of RFC 8617: a chain is not failed for what nobody knows.
    TempError,
}

impl ArcResult {
    /// The word in header fields.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::TempError => "temperror",
        }
    }
}

impl fmt::Display for ArcResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What became of the chain of a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arc {
    /// The result.
    pub result: ArcResult,
    /// Why, in words; none for a pass.
    pub reason: Option<String>,
    /// How many sets there are.
    pub sets: usize,
    /// Who sealed, from the first to the last.
    pub sealers: Vec<String>,
    /// What the first sealer found out, as its field says it; only of a chain that holds.
    pub first_results: Option<String>,
}
