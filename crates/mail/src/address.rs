//! A mail address: local part and domain (RFC 5321 §4.1.2, RFC 6531 §3.3).
//!
//! This is the address of an envelope. Addresses in header fields, with names, comments and groups,
//! are `header`'s business.
//!
//! Invariant: an [`Address`] is valid, and its local part holds no quoting: `"a b"@x` is `a b` here
//! and is quoted again when it is shown.

use crate::domain::{Domain, DomainError};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A mail address of an envelope.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Address {
    local_part: String,
    domain: Domain,
}

/// Why a text is no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// No `@`.
    #[error("the address has no @")]
    NoAt,
    /// The part before the `@` is empty or has a character it may not have.
    #[error("the part before the @ is invalid")]
    BadLocalPart,
    /// Over 64 octets (RFC 5321 §4.5.3.1.1).
    #[error("the part before the @ is longer than 64 octets")]
    LocalPartTooLong,
    /// The part after the `@`.
    #[error(transparent)]
    Domain(#[from] DomainError),
}

impl Address {
    /// Longest local part, octets (RFC 5321 §4.5.3.1.1).
    pub const LOCAL_PART_OCTETS_MAX: usize = 64;

    /// Reads `local-part@domain`, the local part quoted or not.
    ///
    /// # Errors
    /// When the text is no address; the error says why.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let (local, domain) = text.rsplit_once('@').ok_or(AddressError::NoAt)?;
        let local_part = match local.strip_prefix('"') {
            Some(quoted) => unquote(quoted).ok_or(AddressError::BadLocalPart)?,
            None if is_dot_string(local) => local.to_owned(),
            None => return Err(AddressError::BadLocalPart),
        };
        if local_part.len() > Self::LOCAL_PART_OCTETS_MAX {
            return Err(AddressError::LocalPartTooLong);
        }
        Ok(Self { local_part, domain: Domain::parse(domain)? })
    }

    /// The local part without quoting, as written (case kept).
    pub fn local_part(&self) -> &str {
        &self.local_part
    }

    /// The domain.
    pub fn domain(&self) -> &Domain {
        &self.domain
    }

    /// Whether it can be sent without SMTPUTF8 (RFC 6531).
    pub fn is_ascii(&self) -> bool {
        self.local_part.is_ascii()
    }

    /// The form by which addresses of our own are looked up: everything in lower case.
    pub fn key(&self) -> String {
        format!("{}@{}", self.local_part.to_lowercase(), self.domain)
    }

    /// The same address without `+detail` (RFC 5233 §1), and the detail; `None` if there is none.
    pub fn without_detail(&self) -> Option<(Self, &str)> {
        self.split_at_any("+")
    }

    /// The same address up to the first of these characters, and what is behind it; `None` if there is none of them, or
    /// nothing before it.
    pub fn split_at_any(&self, separators: &str) -> Option<(Self, &str)> {
        let (user, detail) = self.local_part.split_once(|c| separators.contains(c))?;
        if user.is_empty() {
            return None;
        }
        Some((Self { local_part: user.to_owned(), domain: self.domain.clone() }, detail))
    }

    /// The same address with `+detail`; `None` if that would be no address.
    pub fn with_detail(&self, detail: &str) -> Option<Self> {
        Self::parse(&format!("{}+{detail}@{}", self.local_part, self.domain)).ok()
    }
}

fn is_dot_string(local: &str) -> bool {
    let atext = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&b) || !b.is_ascii();
    !local.is_empty() && local.split('.').all(|atom| !atom.is_empty() && atom.bytes().all(atext))
}

/// `quoted` starts behind the opening quote; `None` unless the closing one ends it.
fn unquote(quoted: &str) -> Option<String> {
    let mut out = String::new();
    let mut chars = quoted.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => return chars.next().is_none().then_some(out),
            // A pair is ASCII, even where the rest need not be (RFC 5321 §4.1.2 quoted-pairSMTP).
            '\\' => out.push(chars.next().filter(|c| matches!(c, ' '..='~'))?),
            c if c.is_control() => return None,
            c => out.push(c),
        }
    }
    None
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if is_dot_string(&self.local_part) {
            return write!(f, "{}@{}", self.local_part, self.domain);
        }
        let quoted = self.local_part.replace('\\', "\\\\").replace('"', "\\\"");
        write!(f, "\"{quoted}\"@{}", self.domain)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Address {
    type Err = AddressError;
    fn from_str(text: &str) -> Result<Self, AddressError> {
        Self::parse(text)
    }
}

impl TryFrom<String> for Address {
    type Error = AddressError;
    fn try_from(text: String) -> Result<Self, AddressError> {
        Self::parse(&text)
    }
}

impl From<Address> for String {
    fn from(address: Address) -> Self {
        address.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_valid_once_parsed() {
        for (input, want) in [
            ("Ann@Example.ORG", Ok("Ann@example.org")),
            ("\"a b\"@x.example", Ok("\"a b\"@x.example")),
            ("\"plain\"@x.example", Ok("plain@x.example")),
            ("\"q\\\"q\"@x.example", Ok("\"q\\\"q\"@x.example")),
            ("bär@bücher.example", Ok("bär@xn--bcher-kva.example")),
            ("a+b@x", Ok("a+b@x")),
            ("none", Err(AddressError::NoAt)),
            ("@x", Err(AddressError::BadLocalPart)),
            ("a..b@x", Err(AddressError::BadLocalPart)),
            ("a b@x", Err(AddressError::BadLocalPart)),
            ("\"a\"b@x", Err(AddressError::BadLocalPart)),
            ("a@", Err(AddressError::Domain(DomainError::Empty))),
        ] {
            assert_eq!(Address::parse(input).map(|a| a.to_string()), want.map(str::to_owned), "{input}");
        }
        assert_eq!(Address::parse(&format!("{}@x", "a".repeat(65))), Err(AddressError::LocalPartTooLong));
    }

    #[test]
    fn details_are_split_off() {
        let address = Address::parse("ann+lists@x").unwrap();
        let (user, detail) = address.without_detail().unwrap();
        assert_eq!((user.to_string().as_str(), detail), ("ann@x", "lists"));
        assert!(Address::parse("+x@y").unwrap().without_detail().is_none());
    }
}
