//! MTA-STS: what a domain says of its mail exchangers (RFC 8461 §3). Pure.
//!
//! Not where the texts come from: `sts` asks and remembers.

use mail::Domain;
use std::fmt;
use std::time::Duration;

/// The longest time a policy may hold, seconds: about a year (RFC 8461 §3.2).
const MAX_AGE_SECONDS_MAX: u64 = 31_557_600;
/// Most patterns of a policy. Our own bound; real ones have a handful.
const PATTERNS_MAX: usize = 200;
/// Longest id, octets (RFC 8461 §3.1).
const ID_OCTETS_MAX: usize = 32;

/// What is to be done where the policy is not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// No delivery.
    Enforce,
    /// Delivery, and a report.
    Testing,
    /// There is no policy any more.
    None,
}

impl Mode {
    /// Its word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Testing => "testing",
            Self::None => "none",
        }
    }

    /// Reads its word.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Enforce, Self::Testing, Self::None].into_iter().find(|mode| mode.name() == text)
    }
}

/// A policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// What is to be done where it is not kept.
    pub mode: Mode,
    /// Which hosts may take the domain's mail; none only in mode `none`.
    pub mx: Vec<Pattern>,
    /// How long it may be kept.
    pub max_age: Duration,
}

/// A host name, or all names one label below a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pattern {
    /// `mx.example.org`
    Exact(Domain),
    /// `*.example.org`: one label, no more and no less (RFC 8461 §4.1).
    OneBelow(Domain),
}

/// Why a text is no policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// Not `version: STSv1`.
    #[error("the policy has no line \"version: STSv1\"")]
    Version,
    /// No mode, or an unknown one.
    #[error("the policy has no mode: enforce, testing or none")]
    Mode,
    /// No `max_age`, or no number of seconds.
    #[error("the policy has no max_age in seconds, at most 31557600")]
    MaxAge,
    /// No pattern although the mode needs one.
    #[error("the policy names no mx")]
    NoMx,
    /// A pattern that is none.
    #[error("the policy's mx {0:?} is no host name")]
    Mx(String),
    /// More patterns than we look at.
    #[error("the policy names more than 200 mx")]
    TooMany,
}

impl Pattern {
    /// Reads `mx.example.org` or `*.example.org`.
    pub fn parse(text: &str) -> Option<Self> {
        match text.strip_prefix("*.") {
            Some(rest) => Domain::parse(rest).ok().filter(|domain| domain.ip().is_none()).map(Self::OneBelow),
            None => Domain::parse(text).ok().filter(|domain| domain.ip().is_none()).map(Self::Exact),
        }
    }

    /// Whether a host is meant.
    pub fn matches(&self, host: &Domain) -> bool {
        match self {
            Self::Exact(exact) => exact == host,
            Self::OneBelow(above) => host.as_str().split_once('.').is_some_and(|(label, rest)| !label.is_empty() && rest == above.as_str()),
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(exact) => write!(f, "{exact}"),
            Self::OneBelow(above) => write!(f, "*.{above}"),
        }
    }
}

impl Policy {
    /// Reads a policy (RFC 8461 §3.2). Unknown keys are passed over; of a key that may come once the first counts.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        let fields: Vec<(&str, &str)> =
            text.lines().filter_map(|line| line.split_once(':')).map(|(name, value)| (name.trim(), value.trim())).collect();
        let first = |wanted: &str| fields.iter().find(|(name, _)| *name == wanted).map(|(_, value)| *value);
        if first("version") != Some("STSv1") {
            return Err(PolicyError::Version);
        }
        let mode = first("mode").and_then(Mode::parse).ok_or(PolicyError::Mode)?;
        let max_age = first("max_age").filter(|text| text.bytes().all(|octet| octet.is_ascii_digit()));
        let max_age = max_age.and_then(|text| text.parse().ok()).filter(|seconds| *seconds <= MAX_AGE_SECONDS_MAX);
        let max_age = Duration::from_secs(max_age.ok_or(PolicyError::MaxAge)?);
        let patterns = || fields.iter().filter(|(name, _)| *name == "mx").map(|(_, value)| *value);
        if patterns().count() > PATTERNS_MAX {
            return Err(PolicyError::TooMany);
        }
        let read = |text: &str| Pattern::parse(text).ok_or_else(|| PolicyError::Mx(text.to_owned()));
        let mx: Vec<Pattern> = patterns().map(read).collect::<Result<_, _>>()?;
        if mx.is_empty() && mode != Mode::None { Err(PolicyError::NoMx) } else { Ok(Self { mode, mx, max_age }) }
    }

    /// Whether a host may take the domain's mail.
    pub fn names(&self, host: &Domain) -> bool {
        self.mx.iter().any(|pattern| pattern.matches(host))
    }
}

/// As it is served.
impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "version: STSv1\r\nmode: {}\r\n", self.mode.name())?;
        self.mx.iter().try_for_each(|pattern| write!(f, "mx: {pattern}\r\n"))?;
        write!(f, "max_age: {}\r\n", self.max_age.as_secs())
    }
}

/// The id in the TXT records of `_mta-sts.DOMAIN`; `None`: the domain has no policy (RFC 8461 §3.1).
pub fn id(records: &[Vec<u8>]) -> Option<String> {
    let ours = |record: &&Vec<u8>| record.strip_prefix(b"v=STSv1").is_some_and(|rest| rest.trim_ascii_start().starts_with(b";"));
    let mut found = records.iter().filter(ours);
    let (Some(record), None) = (found.next(), found.next()) else { return None };
    let text = std::str::from_utf8(record).ok()?;
    let mut fields = text.split(';').filter_map(|field| field.split_once('=')).map(|(name, value)| (name.trim(), value.trim()));
    let (_, id) = fields.find(|(name, _)| *name == "id")?;
    let valid = (1..=ID_OCTETS_MAX).contains(&id.len()) && id.bytes().all(|octet| octet.is_ascii_alphanumeric());
    valid.then(|| id.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_are_read() {
        let head = "version: STSv1\nmode: enforce\n";
        for (text, want) in [
            (format!("{head}mx: mx.a.example\nmx: *.b.example\nmax_age: 604800\n"), Ok("enforce mx.a.example,*.b.example 604800")),
            (format!("{head}mx: mx.a.example\nmax_age: 604800").replace('\n', "\r\n"), Ok("enforce mx.a.example 604800")),
            (format!("{head}mode: none\nnew: thing\nmx:mx.a.example\nmax_age:1"), Ok("enforce mx.a.example 1")),
            ("version: STSv1\nmode: none\nmax_age: 0\n".to_owned(), Ok("none  0")),
            ("version: STSv1\nmode: testing\nmx: a.example\nmax_age: 31557600\n".to_owned(), Ok("testing a.example 31557600")),
            ("mode: none\nmax_age: 0\n".to_owned(), Err(PolicyError::Version)),
            ("version: STSv2\nmode: none\nmax_age: 0\n".to_owned(), Err(PolicyError::Version)),
            ("version: STSv1\nmode: strict\nmax_age: 0\n".to_owned(), Err(PolicyError::Mode)),
            (format!("{head}mx: a.example\n"), Err(PolicyError::MaxAge)),
            (format!("{head}mx: a.example\nmax_age: -1\n"), Err(PolicyError::MaxAge)),
            (format!("{head}mx: a.example\nmax_age: 31557601\n"), Err(PolicyError::MaxAge)),
            (format!("{head}max_age: 5\n"), Err(PolicyError::NoMx)),
            (format!("{head}mx: a b\nmax_age: 5\n"), Err(PolicyError::Mx("a b".to_owned()))),
            (format!("{head}mx: a.*.example\nmax_age: 5\n"), Err(PolicyError::Mx("a.*.example".to_owned()))),
            (format!("{head}{}max_age: 5\n", "mx: a.example\n".repeat(201)), Err(PolicyError::TooMany)),
            (String::new(), Err(PolicyError::Version)),
        ] {
            let shown = |policy: Policy| {
                let mx: Vec<_> = policy.mx.iter().map(ToString::to_string).collect();
                format!("{} {} {}", policy.mode.name(), mx.join(","), policy.max_age.as_secs())
            };
            assert_eq!(Policy::parse(&text).map(shown), want.map(str::to_owned), "{text}");
        }
    }

    #[test]
    fn what_is_served_is_read_back() {
        let policy = Policy {
            mode: Mode::Testing,
            mx: vec![Pattern::parse("mx.a.example").unwrap(), Pattern::parse("*.b.example").unwrap()],
            max_age: Duration::from_hours(24),
        };
        assert_eq!(Policy::parse(&policy.to_string()), Ok(policy));
    }

    #[test]
    fn patterns_match_one_label() {
        for (pattern, host, want) in [
            ("mx.a.example", "mx.a.example", true),
            ("MX.a.example", "mx.A.example", true),
            ("mx.a.example", "a.example", false),
            ("*.a.example", "mx.a.example", true),
            ("*.a.example", "a.example", false),
            ("*.a.example", "b.mx.a.example", false),
            ("*.a.example", "mx.ba.example", false),
        ] {
            let (pattern, host) = (Pattern::parse(pattern).unwrap(), Domain::parse(host).unwrap());
            assert_eq!(pattern.matches(&host), want, "{pattern} {host}");
        }
    }

    #[test]
    fn ids_are_read() {
        for (records, want) in [
            (vec!["v=STSv1; id=20160831085700Z;"], Some("20160831085700Z")),
            (vec!["v=STSv1;id=1"], Some("1")),
            (vec!["v=spf1 -all", "v=STSv1; x=y; id=a1"], Some("a1")),
            (vec!["v=STSv1; id=1", "v=STSv1; id=2"], None),
            (vec!["v=STSv1"], None),
            (vec!["v=STSv10; id=1"], None),
            (vec!["v=STSv1; id="], None),
            (vec!["v=STSv1; id=a-b"], None),
            (vec!["v=STSv1; id=123456789012345678901234567890123"], None),
            (vec![], None),
        ] {
            let octets: Vec<Vec<u8>> = records.iter().map(|record| record.as_bytes().to_vec()).collect();
            assert_eq!(id(&octets).as_deref(), want, "{records:?}");
        }
    }
}
