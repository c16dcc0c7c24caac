//! Answers with what DNSSEC says of them (RFC 4035 §4.3), and the TLSA record (RFC 6698).
//!
//! Not a policy: what an insecure answer means for a message is the caller's decision.
//!
//! Invariant: a bogus answer has no records: they could be anybody's.

use super::{DnsError, Lookup};
use mail::Domain;
use std::fmt;
use std::net::IpAddr;
use std::pin::Pin;

/// A checked answer in the making.
pub type Checking<'a, T> = Pin<Box<dyn Future<Output = Checked<T>> + Send + 'a>>;

/// How far DNSSEC vouches for an answer, or for there being none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Security {
    /// It ought to be signed, and the signatures do not hold: a fault or a forgery.
    Bogus,
    /// Nothing is known: DNSSEC is not used, or its records could not be had.
    Indeterminate,
    /// It is proven that the zone is not signed.
    Insecure,
    /// Signed, by keys that lead to a trust anchor.
    Secure,
}

impl fmt::Display for Security {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bogus => "bogus",
            Self::Indeterminate => "indeterminate",
            Self::Insecure => "insecure",
            Self::Secure => "secure",
        })
    }
}

/// An answer and what DNSSEC says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked<T> {
    /// The records, or why there are none.
    pub found: Result<T, DnsError>,
    /// How far that can be believed.
    pub security: Security,
}

impl<T> Checked<T> {
    /// An answer that nobody vouches for.
    pub fn unchecked(found: Result<T, DnsError>) -> Self {
        Self { found, security: Security::Indeterminate }
    }

    /// No answer: its signatures do not hold. To be asked again later, as every failure of a server.
    pub fn bogus(words: &str) -> Self {
        Self { found: Err(DnsError::Temporary(format!("DNSSEC: {words}"))), security: Security::Bogus }
    }

    /// The same with other records.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Checked<U> {
        Checked { found: self.found.map(change), security: self.security }
    }
}

/// The addresses of a host, and the name it is an alias of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Host {
    /// IPv6 and IPv4.
    pub addresses: Vec<IpAddr>,
    /// Where its CNAMEs end, if it has some.
    pub canonical: Option<Domain>,
}

/// One TLSA record (RFC 6698 §2.1), as it stands in DNS.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tlsa {
    /// 0 PKIX-TA, 1 PKIX-EE, 2 DANE-TA, 3 DANE-EE.
    pub usage: u8,
    /// 0: the whole certificate; 1: its public key.
    pub selector: u8,
    /// 0: as it is; 1: SHA-256; 2: SHA-512.
    pub matching: u8,
    /// What is compared.
    pub data: Vec<u8>,
}

/// `3 1 1 0123…`
impl fmt::Display for Tlsa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {} ", self.usage, self.selector, self.matching)?;
        self.data.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

impl fmt::Debug for Tlsa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Turns a plain lookup into one that nobody vouches for.
pub(super) fn unchecked<'a, T: Send + 'a>(lookup: Lookup<'a, T>) -> Checking<'a, T> {
    Box::pin(async move { Checked::unchecked(lookup.await) })
}

/// One answer of the two address queries: what was found stands, and only that counts for its security.
pub(super) fn joined(v6: Checked<Host>, v4: Checked<Host>) -> Checked<Host> {
    let weaker = v6.security.min(v4.security);
    match (v6.found, v4.found) {
        (Ok(six), Ok(four)) => {
            let canonical = six.canonical.or(four.canonical);
            Checked { found: Ok(Host { addresses: [six.addresses, four.addresses].concat(), canonical }), security: weaker }
        }
        (Ok(six), Err(_)) => Checked { found: Ok(six), security: v6.security },
        (Err(_), Ok(four)) => Checked { found: Ok(four), security: v4.security },
        (Err(six), Err(four)) => {
            let none = super::joined(Err(six), Err(four));
            Checked { found: none.map(|_| Host::default()), security: weaker }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_that_was_not_found_takes_nothing_from_the_other() {
        let found = |security| Checked { found: Ok(Host { addresses: vec![[192, 0, 2, 1].into()], canonical: None }), security };
        let none = |error| Checked { found: Err(error), security: Security::Insecure };
        assert_eq!(joined(none(DnsError::NoData), found(Security::Secure)).security, Security::Secure);
        assert_eq!(joined(Checked::bogus("x"), found(Security::Secure)), found(Security::Secure));
        assert_eq!(joined(found(Security::Insecure), found(Security::Secure)).security, Security::Insecure);
        let neither = joined(Checked::bogus("x"), none(DnsError::NoData));
        assert_eq!(neither, Checked::bogus("x"));
    }

    #[test]
    fn tlsa_records_are_shown_as_in_a_zone_file() {
        let record = Tlsa { usage: 3, selector: 1, matching: 1, data: vec![0xab, 0x01] };
        assert_eq!(record.to_string(), "3 1 1 ab01");
    }
}
