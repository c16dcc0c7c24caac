//! A set of messages as the client wrote it: numbers, ranges, `*` and `$` (RFC 9051 §9, sequence-set).
//!
//! Not yet messages: what the numbers mean depends on what this client has been told (`selected`).
//!
//! Invariant: the ends of a range may stand in either order; no set costs more than its text.

use mail::Uid;
use mail::uid_set::UidSet;

/// A sequence-set, `*` not yet resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SequenceSet {
    /// Ends of ranges; `None` is `*`.
    spans: Vec<(Option<u32>, Option<u32>)>,
    /// `$`: what the last SEARCH saved (RFC 5182).
    saved: bool,
}

impl SequenceSet {
    /// `$`
    pub const fn saved() -> Self {
        Self { spans: Vec::new(), saved: true }
    }

    /// `1:*`
    pub fn everything() -> Self {
        Self { spans: vec![(Some(1), None)], saved: false }
    }

    /// Reads `1:3,7,10:*`; `None` if it is something else.
    pub fn parse(text: &str) -> Option<Self> {
        let number = |text: &str| match text {
            "*" => Some(None),
            digits => digits.parse().ok().filter(|number| *number > 0).map(Some),
        };
        let span = |text: &str| match text.split_once(':') {
            Some((from, to)) => Some((number(from)?, number(to)?)),
            None => number(text).map(|one| (one, one)),
        };
        let spans = text.split(',').map(span).collect::<Option<_>>()?;
        Some(Self { spans, saved: false })
    }

    /// Whether it is `$`.
    pub const fn is_saved(&self) -> bool {
        self.saved
    }

    /// Whether it names `*`.
    pub fn has_star(&self) -> bool {
        self.spans.iter().any(|(from, to)| from.is_none() || to.is_none())
    }

    /// The numbers, with `last` for `*`.
    pub fn numbers(&self, last: u32) -> UidSet {
        let spans: Vec<_> = self.spans.iter().map(|(from, to)| (from.unwrap_or(last), to.unwrap_or(last))).collect();
        spans.into()
    }

    /// The highest number named, `*` not counted.
    pub fn highest(&self) -> u32 {
        self.spans.iter().flat_map(|(from, to)| [*from, *to]).flatten().max().unwrap_or(0)
    }

    /// The ranges of uids it names, with `last` for `*`.
    pub fn uids(&self, last: Uid) -> UidSet {
        self.numbers(last.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_read_as_written() {
        for (input, want) in [
            ("1", Some("1")),
            ("3:1,*", Some("1:3,9")),
            ("5:*", Some("5:9")),
            ("*:5", Some("5:9")),
            ("20:*", Some("9:20")),
            ("*", Some("9")),
            ("*:*", Some("9")),
            ("0", None),
            ("1,,2", None),
            ("1:", None),
            ("4294967296", None),
            ("1:2:3", None),
        ] {
            let found = SequenceSet::parse(input).map(|set| set.numbers(9).to_string());
            assert_eq!(found.as_deref(), want, "{input}");
        }
    }
}
