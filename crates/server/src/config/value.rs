//! The values of the config file that TOML has no word for: spans of time, sizes, networks.
//!
//! Each reads a short text, shows itself as it would be written, and says what was expected.

use serde::de::{Error as _, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A span of time: `90s`, `15m`, `1h30m`, `5d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

const SPAN_UNITS: [(&str, u64); 4] = [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)];

impl Span {
    /// That many seconds.
    pub const fn seconds(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// That many minutes.
    pub const fn minutes(minutes: u64) -> Self {
        Self::seconds(minutes * 60)
    }

    /// That many hours.
    pub const fn hours(hours: u64) -> Self {
        Self::seconds(hours * 3_600)
    }

    /// That many days.
    pub const fn days(days: u64) -> Self {
        Self::seconds(days * 86_400)
    }
}

/// What a [`Span`] looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected a span of time such as \"30s\", \"15m\", \"1h30m\" or \"5d\"")]
pub struct NotASpan;

impl FromStr for Span {
    type Err = NotASpan;

    fn from_str(text: &str) -> Result<Self, NotASpan> {
        let mut rest = text.trim();
        let mut seconds = 0_u64;
        if rest.is_empty() {
            return Err(NotASpan);
        }
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or(NotASpan)?;
            let (number, tail) = rest.split_at(digits);
            let (unit, factor) = SPAN_UNITS.iter().find(|(unit, _)| tail.starts_with(unit)).ok_or(NotASpan)?;
            let number: u64 = number.parse().map_err(|_| NotASpan)?;
            seconds = number.checked_mul(*factor).and_then(|part| seconds.checked_add(part)).ok_or(NotASpan)?;
            rest = tail.get(unit.len()..).unwrap_or_default();
        }
        Ok(Self::seconds(seconds))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0.as_secs();
        if rest == 0 {
            return f.write_str("0s");
        }
        for (unit, factor) in SPAN_UNITS {
            if rest >= factor {
                write!(f, "{}{unit}", rest / factor)?;
                rest %= factor;
            }
        }
        Ok(())
    }
}

/// A number of octets: `52428800`, `"50 MiB"`, `"2 GB"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Octets(pub u64);

const OCTET_UNITS: [(&str, u64); 8] = [
    ("tib", 1 << 40),
    ("gib", 1 << 30),
    ("mib", 1 << 20),
    ("kib", 1 << 10),
    ("tb", 1_000_000_000_000),
    ("gb", 1_000_000_000),
    ("mb", 1_000_000),
    ("kb", 1_000),
];

/// What [`Octets`] look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected a size such as 1048576, \"50 MiB\" or \"2 GB\"")]
pub struct NotOctets;

impl FromStr for Octets {
    type Err = NotOctets;

    fn from_str(text: &str) -> Result<Self, NotOctets> {
        let text = text.trim();
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let number: u64 = number.parse().map_err(|_| NotOctets)?;
        let unit = unit.trim().to_ascii_lowercase();
        if unit.is_empty() || unit == "b" {
            return Ok(Self(number));
        }
        let (_, factor) = OCTET_UNITS.iter().find(|(name, _)| *name == unit).ok_or(NotOctets)?;
        number.checked_mul(*factor).map(Self).ok_or(NotOctets)
    }
}

impl fmt::Display for Octets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact = |factor: u64| self.0 != 0 && self.0.is_multiple_of(factor);
        for (name, unit) in [("GiB", 1_u64 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)] {
            if exact(unit) {
                return write!(f, "{} {name}", self.0 / unit);
            }
        }
        write!(f, "{}", self.0)
    }
}

/// A network: an address alone, or with the length of its prefix: `10.0.0.0/8`, `::1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network(pub net::Network);

/// What a [`Network`] looks like.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected a network such as \"10.0.0.0/8\", \"192.0.2.7\" or \"2001:db8::/32\": {0}")]
pub struct NotANetwork(#[from] net::network::NetworkError);

impl FromStr for Network {
    type Err = NotANetwork;

    fn from_str(text: &str) -> Result<Self, NotANetwork> {
        Ok(Self(text.parse()?))
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Messages in a time: `600/1h`, `5/1s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate(pub mta::settings::Rate);

/// What a [`Rate`] looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected a rate such as \"600/1h\" or \"5/1s\": messages from 1 in a span of time")]
pub struct NotARate;

impl FromStr for Rate {
    type Err = NotARate;

    fn from_str(text: &str) -> Result<Self, NotARate> {
        let (messages, time) = text.split_once('/').ok_or(NotARate)?;
        let (messages, time): (u32, Span) = (messages.trim().parse().map_err(|_| NotARate)?, time.parse().map_err(|_| NotARate)?);
        if messages == 0 || time.0.is_zero() { Err(NotARate) } else { Ok(Self(mta::settings::Rate { messages, time: time.0 })) }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.0.messages, Span(self.0.time))
    }
}

macro_rules! as_text {
    ($($name:ident),*) => {$(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
    )*};
}

as_text!(Span, Octets, Network, Rate);

macro_rules! from_text {
    ($($name:ident),*) => {$(
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
            }
        }
    )*};
}

from_text!(Span, Network, Rate);

impl<'de> Deserialize<'de> for Octets {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OctetsVisitor)
    }
}

struct OctetsVisitor;

impl Visitor<'_> for OctetsVisitor {
    type Value = Octets;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a size such as 1048576, \"50 MiB\" or \"2 GB\"")
    }

    fn visit_u64<E: serde::de::Error>(self, octets: u64) -> Result<Octets, E> {
        Ok(Octets(octets))
    }

    fn visit_i64<E: serde::de::Error>(self, octets: i64) -> Result<Octets, E> {
        u64::try_from(octets).map(Octets).map_err(|_| E::custom(NotOctets))
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Octets, E> {
        text.parse().map_err(E::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_and_shown() {
        for (text, seconds) in [("90s", 90), ("15m", 900), ("1h30m", 5_400), ("5d", 432_000), ("0s", 0)] {
            assert_eq!(text.parse(), Ok(Span::seconds(seconds)), "{text}");
        }
        for bad in ["", "5", "5 m", "m", "5w", "-5s", "99999999999999999999d"] {
            assert_eq!(bad.parse::<Span>(), Err(NotASpan), "{bad}");
        }
        for (seconds, shown) in [(0, "0s"), (90, "1m30s"), (3_600, "1h"), (432_000, "5d")] {
            assert_eq!(Span::seconds(seconds).to_string(), shown);
        }
    }

    #[test]
    fn rates_are_read_and_shown() {
        for (text, shown) in [("600/1h", "600/1h"), ("5/90s", "5/1m30s")] {
            assert_eq!(text.parse::<Rate>().unwrap().to_string(), shown);
        }
        for bad in ["", "5", "0/1h", "5/0s", "-1/1h", "5/h", "x/1h"] {
            assert_eq!(bad.parse::<Rate>(), Err(NotARate), "{bad}");
        }
    }

    #[test]
    fn sizes_are_read_and_shown() {
        for (text, octets) in [("7", 7), ("1 KiB", 1024), ("50MiB", 50 << 20), ("2 gb", 2_000_000_000), ("1B", 1)] {
            assert_eq!(text.parse(), Ok(Octets(octets)), "{text}");
        }
        for bad in ["", "MiB", "1.5 GiB", "-1", "1 XB", "99999999999 TiB"] {
            assert_eq!(bad.parse::<Octets>(), Err(NotOctets), "{bad}");
        }
        for (octets, shown) in [(0, "0"), (1000, "1000"), (1024, "1 KiB"), (50 << 20, "50 MiB"), (1 << 30, "1 GiB")] {
            assert_eq!(Octets(octets).to_string(), shown);
        }
    }
}
