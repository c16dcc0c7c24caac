//! Spans of time as files write them: `250ms`, `90s`, `15m`, `1h30m`, `5d`.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use std::str::FromStr;
use std::time::Duration;

/// A span of time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

/// The longer names first: `ms` is no `m`.
const UNITS: [(&str, u64); 5] = [("ms", 1), ("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)];

/// What a [`Span`] looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected a span of time such as \"250ms\", \"30s\", \"1h30m\" or \"5d\"")]
pub struct NotASpan;

impl Span {
    /// Milliseconds, as many as a `u32` holds.
    pub(crate) fn millis(self) -> u32 {
        u32::try_from(self.0.as_millis()).unwrap_or(u32::MAX)
    }
}

impl FromStr for Span {
    type Err = NotASpan;

    fn from_str(text: &str) -> Result<Self, NotASpan> {
        let mut rest = text.trim();
        let mut millis = 0_u64;
        if rest.is_empty() {
            return Err(NotASpan);
        }
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or(NotASpan)?;
            let (number, tail) = rest.split_at(digits);
            let (unit, factor) = UNITS.iter().find(|(unit, _)| tail.starts_with(unit)).ok_or(NotASpan)?;
            let number: u64 = number.parse().map_err(|_| NotASpan)?;
            millis = number.checked_mul(*factor).and_then(|part| millis.checked_add(part)).ok_or(NotASpan)?;
            rest = tail.get(unit.len()..).unwrap_or_default();
        }
        Ok(Self(Duration::from_millis(millis)))
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read() {
        for (text, millis) in [("250ms", 250), ("90s", 90_000), ("1m500ms", 60_500), ("1h30m", 5_400_000), ("5d", 432_000_000), ("0s", 0)] {
            assert_eq!(text.parse(), Ok(Span(Duration::from_millis(millis))), "{text}");
        }
        for bad in ["", "5", "5 m", "m", "5w", "-5s", "99999999999999999999d", "99999999999999999d"] {
            assert_eq!(bad.parse::<Span>(), Err(NotASpan), "{bad}");
        }
    }
}
