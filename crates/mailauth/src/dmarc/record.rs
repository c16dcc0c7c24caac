//! Reads a DMARC policy record (RFC 9989 §4.7, §5.4; RFC 7489 §6.3 for `pct`).

use serde::{Deserialize, Serialize};
use std::fmt;

/// What a domain wants done with mail that it does not stand for; in order of strictness.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Policy {
    /// Nothing.
    None,
    /// Treat it with suspicion.
    Quarantine,
    /// Refuse it.
    Reject,
}

impl Policy {
    /// The word in records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Quarantine => "quarantine",
            Self::Reject => "reject",
        }
    }

    /// The next less strict one.
    #[must_use]
    pub const fn milder(self) -> Self {
        match self {
            Self::Reject => Self::Quarantine,
            Self::Quarantine | Self::None => Self::None,
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::None, Self::Quarantine, Self::Reject].into_iter().find(|policy| policy.as_str().eq_ignore_ascii_case(text))
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How close two domains must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Alignment {
    /// The same organizational domain.
    Relaxed,
    /// The same domain.
    Strict,
}

/// What kind of domain a record is for (`psd`, RFC 9989 §4.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Suffix {
    /// `y`: others register names below it.
    Public,
    /// `n`: it is an organization's own.
    Own,
    /// `u` or nothing.
    Unsaid,
}

/// A policy record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// `p`
    pub policy: Policy,
    /// `sp`
    pub subdomain_policy: Option<Policy>,
    /// `np`
    pub nonexistent_policy: Option<Policy>,
    /// `adkim`
    pub dkim_alignment: Alignment,
    /// `aspf`
    pub spf_alignment: Alignment,
    /// `t=y`
    pub testing: bool,
    /// `pct`, 0 to 100.
    pub percent: u8,
    /// `psd`
    pub suffix: Suffix,
    /// `rua`: URIs, at most [`URIS_MAX`].
    pub reports_to: Vec<String>,
    /// `ruf`: URIs, at most [`URIS_MAX`].
    pub failures_to: Vec<String>,
}

/// Most URIs of one list that are kept. Our own bound.
pub const URIS_MAX: usize = 10;

impl Record {
    /// Reads a TXT record; `None` if it is no DMARC policy. Tags that cannot be read count as not there
    /// (RFC 9989 §5.4); without a policy a record that wants reports means `p=none` (§4.7).
    pub fn parse(record: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(record).ok()?;
        let mut specs = text.split(';').filter_map(|spec| spec.split_once('=')).map(|(name, value)| (name.trim(), value.trim()));
        if specs.next() != Some(("v", "DMARC1")) {
            return None;
        }
        let tags: Vec<(String, &str)> = specs.take(50).map(|(name, value)| (name.to_ascii_lowercase(), value)).collect();
        let value = |name: &str| tags.iter().find(|(known, _)| known == name).map(|(_, value)| *value);
        let reports_to = uris(value("rua"));
        let policy = value("p").and_then(Policy::parse).or_else(|| (!reports_to.is_empty()).then_some(Policy::None))?;
        Some(Self {
            policy,
            subdomain_policy: value("sp").and_then(Policy::parse),
            nonexistent_policy: value("np").and_then(Policy::parse),
            dkim_alignment: alignment(value("adkim")),
            spf_alignment: alignment(value("aspf")),
            testing: value("t").is_some_and(|flag| flag.eq_ignore_ascii_case("y")),
            percent: value("pct").and_then(|number| number.parse().ok()).filter(|percent| *percent <= 100).unwrap_or(100),
            suffix: match value("psd") {
                Some("y" | "Y") => Suffix::Public,
                Some("n" | "N") => Suffix::Own,
                _ => Suffix::Unsaid,
            },
            reports_to,
            failures_to: uris(value("ruf")),
        })
    }
}

fn alignment(value: Option<&str>) -> Alignment {
    if value.is_some_and(|value| value.eq_ignore_ascii_case("s")) { Alignment::Strict } else { Alignment::Relaxed }
}

fn uris(value: Option<&str>) -> Vec<String> {
    let uris = value.unwrap_or_default().split(',').map(str::trim).filter(|uri| uri.contains(':'));
    uris.take(URIS_MAX).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_or_are_none() {
        for (input, want) in [
            ("v=DMARC1; p=reject", Some(Policy::Reject)),
            ("v=DMARC1;p=Quarantine;", Some(Policy::Quarantine)),
            ("v=DMARC1; rua=mailto:a@b", Some(Policy::None)),
            ("v=DMARC1; p=odd; rua=mailto:a@b", Some(Policy::None)),
            ("v=DMARC1; p=odd", None),
            ("v=DMARC1", None),
            ("p=reject; v=DMARC1", None),
            ("v=dmarc1; p=reject", None),
            ("v=spf1 -all", None),
        ] {
            assert_eq!(Record::parse(input.as_bytes()).map(|record| record.policy), want, "{input}");
        }
        let record =
            Record::parse(b"v=DMARC1; p=reject; sp=none; np=quarantine; adkim=s; t=y; pct=7; psd=n; rua=mailto:a@b,mailto:c@d").unwrap();
        assert_eq!((record.subdomain_policy, record.nonexistent_policy), (Some(Policy::None), Some(Policy::Quarantine)));
        assert_eq!((record.dkim_alignment, record.spf_alignment), (Alignment::Strict, Alignment::Relaxed));
        assert_eq!((record.testing, record.percent, record.suffix, record.reports_to.len()), (true, 7, Suffix::Own, 2));
    }
}
