//! What the transcript tests of both sides share.

#![allow(clippy::unwrap_used, clippy::panic, unreachable_pub, reason = "tests")]

use smtp::Reply;
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

/// `250 2.1.0 OK` or `250 OK`; `\n` separates lines.
pub fn reply(words: &str) -> Reply {
    let (code, text) = words.split_once(' ').unwrap_or((words, ""));
    let (status, text) = match text.split_once(' ').map(|(status, text)| (status.parse().ok(), text)) {
        Some((Some(status), text)) => (Some(status), text),
        _ => (None, text),
    };
    Reply { code: code.parse().unwrap_or_else(|_| panic!("no answer: {words}")), status, text: text.replace("\\n", "\n") }
}

/// What the peer (`mark`) sends, in one piece up to each `@ tls` and after it. Other events are left out.
pub fn peer_octets(script: &str, mark: &str) -> Vec<Vec<u8>> {
    let mut parts = vec![Vec::new()];
    for line in script.lines() {
        if line == "@ tls" {
            parts.push(Vec::new());
        }
        if let Some(text) = line.strip_prefix(mark) {
            let octets = wire::transcript::octets(text.strip_prefix(' ').unwrap_or(text));
            parts.last_mut().unwrap().extend(octets);
        }
    }
    parts
}
