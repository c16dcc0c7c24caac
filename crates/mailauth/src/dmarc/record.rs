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
    /// False: it asks for something that cannot be read, and for no reports either. DMARC is then not applied to mail of
    /// its domain, but the record still says where an organization begins (RFC 9989 §4.10).
    pub applies: bool,
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

/// Most tags that are read. Our own bound.
const TAGS_MAX: usize = 50;

impl Record {
    /// Reads a TXT record; `None` if it is no DMARC policy. Tags that cannot be read count as not there (RFC 9989 §4.8),
    /// but for `p`, `sp` and `np`: where one of them cannot be read the record means `p=none` if it wants reports, and else
    /// does not apply (§4.10.1). Without `p` it means `p=none` (§4.7).
    pub fn parse(record: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(record).ok()?;
        let (version, rest) = text.split_once(';').unwrap_or((text, ""));
        if !is_version(version) {
            return None;
        }
        let specs = rest.split(';').filter_map(|spec| spec.split_once('='));
        let tags: Vec<(String, &str)> =
            specs.take(TAGS_MAX).map(|(name, value)| (name.trim().to_ascii_lowercase(), value.trim())).collect();
        let value = |name: &str| tags.iter().find(|(known, _)| known == name).map(|(_, value)| *value);
        let reports_to = uris(value("rua"));
        let asked = ["p", "sp", "np"].map(|name| value(name).map(Policy::parse));
        let is_read = !asked.contains(&Some(None));
        let [policy, subdomain_policy, nonexistent_policy] = asked.map(|policy| policy.flatten().filter(|_| is_read));
        Some(Self {
            policy: policy.unwrap_or(Policy::None),
            applies: is_read || !reports_to.is_empty(),
            subdomain_policy,
            nonexistent_policy,
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

/// `v=DMARC1`, the first of all tags; the version's case matters (RFC 9989 §4.8).
fn is_version(tag: &str) -> bool {
    tag.split_once('=').is_some_and(|(name, value)| name.trim().eq_ignore_ascii_case("v") && value.trim() == "DMARC1")
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
        let no = "no record";
        let check = |input: &str, want: &str| {
            let word = |policy: Option<Policy>| policy.map_or("-", Policy::as_str);
            let found = Record::parse(input.as_bytes()).map_or(no.to_owned(), |record| {
                let policies = [record.policy.as_str(), word(record.subdomain_policy), word(record.nonexistent_policy)];
                format!("{}{}", if record.applies { "" } else { "not applied: " }, policies.join(" "))
            });
            assert_eq!(found, want, "{input}");
        };
        check("v=DMARC1; p=reject", "reject - -");
        check("v=DMARC1;p=Quarantine;", "quarantine - -");
        check(" v = DMARC1 ; P = reject ; SP = None ;", "reject none -");
        check("v=DMARC1; rua=mailto:a@b; p=reject", "reject - -");
        // Nothing is asked for: that is p=none.
        check("v=DMARC1; rua=mailto:a@b", "none - -");
        check("v=DMARC1", "none - -");
        check("v=DMARC1;", "none - -");
        check("v=DMARC1; psd=n", "none - -");
        // What is asked for cannot be read.
        check("v=DMARC1; p=odd; rua=mailto:a@b", "none - -");
        check("v=DMARC1; p=reject; sp=odd; rua=mailto:a@b", "none - -");
        check("v=DMARC1; p=reject; np=; rua=mailto:a@b", "none - -");
        check("v=DMARC1; p=odd", "not applied: none - -");
        check("v=DMARC1; p=reject; sp=odd", "not applied: none - -");
        check("v=DMARC1; p=odd; rua=a@b", "not applied: none - -");
        check("v=DMARC1; p=reject sp=none", "not applied: none - -");
        // What is not known, or not asked for, may be anything.
        check("v=DMARC1; p=reject; adkim=odd; pct=many; x; =; y=1", "reject - -");
        check("p=reject; v=DMARC1", no);
        check("x; v=DMARC1; p=reject", no);
        check("; v=DMARC1; p=reject", no);
        check("v=dmarc1; p=reject", no);
        check("v=DMARC10; p=reject", no);
        check("v=DMARC1 p=reject", no);
        check("v=spf1 -all", no);
        check("", no);
        let record =
            Record::parse(b"v=DMARC1; p=reject; sp=none; np=quarantine; adkim=s; t=y; pct=7; psd=n; rua=mailto:a@b,mailto:c@d").unwrap();
        assert_eq!((record.subdomain_policy, record.nonexistent_policy), (Some(Policy::None), Some(Policy::Quarantine)));
        assert_eq!((record.dkim_alignment, record.spf_alignment), (Alignment::Strict, Alignment::Relaxed));
        assert_eq!((record.testing, record.percent, record.suffix, record.reports_to.len()), (true, 7, Suffix::Own, 2));
    }
}
