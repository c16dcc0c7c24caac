//! What the transcript tests of both sides share.

#![allow(clippy::unwrap_used, clippy::panic, unreachable_pub, reason = "tests")]

use std::path::PathBuf;

/// A folder of transcripts.
pub fn folder(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts").join(name)
}

/// The words of the script's `# config:` line: `key` or `key=value`.
pub fn options(script: &str) -> impl Iterator<Item = (&str, &str)> {
    let words = script.lines().find_map(|line| line.strip_prefix("# config:")).unwrap_or_default();
    words.split_whitespace().map(|word| word.split_once('=').unwrap_or((word, "")))
}
