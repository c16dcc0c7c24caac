//! A domain name as mail uses it, and address literals (RFC 5321 §4.1.2, §4.1.3).
//!
//! Invariant: a [`Domain`] is valid: lower-case A-labels, or an address literal in canonical form.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

/// A domain name in lower-case ASCII (A-labels), without a trailing dot, or an address literal.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Domain(String);

/// Why a text is no domain.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DomainError {
    /// Nothing there.
    #[error("the domain is empty")]
    Empty,
    /// Over 255 octets (RFC 5321 §4.5.3.1.2).
    #[error("the domain is longer than 255 octets")]
    TooLong,
    /// A label that DNS cannot hold or IDNA forbids.
    #[error("the domain has an invalid label")]
    BadLabel,
    /// `[…]` around something that is no address.
    #[error("the address literal holds no IPv4 or IPv6 address")]
    BadLiteral,
}

impl Domain {
    /// Longest domain, octets (RFC 5321 §4.5.3.1.2).
    pub const OCTETS_MAX: usize = 255;

    /// Reads a domain name (U-labels are turned into A-labels) or an address literal in brackets.
    ///
    /// # Errors
    /// When the text is no domain; the error says why.
    pub fn parse(text: &str) -> Result<Self, DomainError> {
        if text.is_empty() {
            return Err(DomainError::Empty);
        }
        if text.len() > Self::OCTETS_MAX {
            return Err(DomainError::TooLong);
        }
        if let Some(literal) = text.strip_prefix('[') {
            return Self::literal(literal.strip_suffix(']').ok_or(DomainError::BadLiteral)?);
        }
        let name =
            if text.is_ascii() { text.to_ascii_lowercase() } else { idna::domain_to_ascii(text).map_err(|_| DomainError::BadLabel)? };
        if name.len() > Self::OCTETS_MAX {
            return Err(DomainError::TooLong);
        }
        if name.split('.').all(is_label) { Ok(Self(name)) } else { Err(DomainError::BadLabel) }
    }

    fn literal(inner: &str) -> Result<Self, DomainError> {
        let v6 = inner.get(..5).filter(|tag| tag.eq_ignore_ascii_case("IPv6:")).and_then(|_| inner.get(5..));
        let address: Option<IpAddr> = match v6 {
            Some(text) => text.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
            None => inner.parse().ok().map(IpAddr::V4),
        };
        address.map(Self::from_ip).ok_or(DomainError::BadLiteral)
    }

    /// The address literal of an address.
    pub fn from_ip(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(v4) => Self(format!("[{v4}]")),
            IpAddr::V6(v6) => Self(format!("[IPv6:{v6}]")),
        }
    }

    /// The address, if this is an address literal.
    pub fn ip(&self) -> Option<IpAddr> {
        let inner = self.0.strip_prefix('[')?.strip_suffix(']')?;
        match inner.strip_prefix("IPv6:") {
            Some(v6) => v6.parse().ok(),
            None => inner.parse().ok(),
        }
    }

    /// Lower-case A-labels or an address literal.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// With U-labels, for people.
    pub fn to_unicode(&self) -> String {
        if self.ip().is_some() { self.0.clone() } else { idna::domain_to_unicode(&self.0).0 }
    }
}

/// Letters, digits, hyphens and underscores (the last for the hosts that exist), 1 to 63 octets.
fn is_label(label: &str) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    (1..=63).contains(&label.len()) && label.bytes().all(inner) && !label.starts_with('-') && !label.ends_with('-')
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Domain {
    type Error = DomainError;
    fn try_from(text: String) -> Result<Self, DomainError> {
        Self::parse(&text)
    }
}

impl From<Domain> for String {
    fn from(domain: Domain) -> Self {
        domain.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains_are_valid_once_parsed() {
        for (input, want) in [
            ("Example.ORG", Ok("example.org")),
            ("bücher.example", Ok("xn--bcher-kva.example")),
            ("localhost", Ok("localhost")),
            ("[127.0.0.1]", Ok("[127.0.0.1]")),
            ("[ipv6:2001:DB8::1]", Ok("[IPv6:2001:db8::1]")),
            ("", Err(DomainError::Empty)),
            ("a..b", Err(DomainError::BadLabel)),
            ("example.org.", Err(DomainError::BadLabel)),
            ("-a.b", Err(DomainError::BadLabel)),
            ("a b", Err(DomainError::BadLabel)),
            ("[1.2.3]", Err(DomainError::BadLiteral)),
            ("[::1]", Err(DomainError::BadLiteral)),
        ] {
            assert_eq!(Domain::parse(input).map(|d| d.to_string()), want.map(str::to_owned), "{input}");
        }
    }
}
