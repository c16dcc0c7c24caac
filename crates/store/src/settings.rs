//! What the engine can be told: where its files are, and its limits.

use std::path::PathBuf;

/// The engine's settings; every one but the place has a default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The data directory. One process at a time owns it.
    pub data: PathBuf,
}

impl Settings {
    /// The defaults, with the data in this directory.
    #[must_use]
    pub fn at(data: impl Into<PathBuf>) -> Self {
        Self { data: data.into() }
    }
}
