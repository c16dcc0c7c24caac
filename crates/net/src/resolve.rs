//! Asks DNS what mail needs to know.
//!
//! [`Dns`] is the question, [`Resolver`] asks real servers, [`FakeDns`] answers from a script. Not a
//! policy: which of several hosts is tried first, and what a failure means for a message, is the
//! caller's decision.

mod checked;
mod fake;
mod resolver;
mod trusted;
mod validating;

pub use checked::{Checked, Checking, Host, Security, Tlsa};
pub use fake::FakeDns;
pub use resolver::{Dnssec, Resolver, ResolverError, Settings};

use mail::Domain;
use std::net::IpAddr;
use std::pin::Pin;

/// An answer in the making.
pub type Lookup<'a, T> = Pin<Box<dyn Future<Output = Result<T, DnsError>> + Send + 'a>>;

/// Asks DNS.
pub trait Dns: Send + Sync {
    /// The hosts that take mail for `domain`, most preferred first. An empty list: there are MX
    /// records, but none names a host one could ask for.
    fn mx<'a>(&'a self, domain: &'a Domain) -> Lookup<'a, Vec<Mx>>;
    /// The addresses of `host`, IPv6 and IPv4; CNAMEs are followed. An address literal is its own answer.
    fn addresses<'a>(&'a self, host: &'a Domain) -> Lookup<'a, Vec<IpAddr>>;
    /// The TXT records of `name`, the strings of each joined (RFC 7208 §3.3).
    fn txt<'a>(&'a self, name: &'a Domain) -> Lookup<'a, Vec<Vec<u8>>>;
    /// The names of an address.
    fn ptr(&self, address: IpAddr) -> Lookup<'_, Vec<Domain>>;
    /// [`Dns::txt`] of a name that need not be a host's: SPF makes names of local parts (RFC 7208 §7).
    fn txt_at<'a>(&'a self, name: &'a str) -> Lookup<'a, Vec<Vec<u8>>> {
        Box::pin(async move { self.txt(&host_name(name)?).await })
    }
    /// The addresses of one family of a name that need not be a host's. A failure is not hidden by what the
    /// other family has.
    fn addresses_at<'a>(&'a self, name: &'a str, family: Family) -> Lookup<'a, Vec<IpAddr>> {
        Box::pin(async move {
            let mut found = self.addresses(&host_name(name)?).await?;
            found.retain(|address| address.is_ipv4() == (family == Family::V4));
            if found.is_empty() { Err(DnsError::NoData) } else { Ok(found) }
        })
    }
    /// [`Dns::mx`] with what DNSSEC says of the answer.
    fn mx_checked<'a>(&'a self, domain: &'a Domain) -> Checking<'a, Vec<Mx>> {
        checked::unchecked(self.mx(domain))
    }
    /// [`Dns::addresses`] with what DNSSEC says of the answer and of every CNAME on the way to it.
    fn addresses_checked<'a>(&'a self, host: &'a Domain) -> Checking<'a, Host> {
        Box::pin(async move { Checked::unchecked(self.addresses(host).await).map(|addresses| Host { addresses, canonical: None }) })
    }
    /// The TLSA records of a name such as `_25._tcp.mx.example.org` (RFC 6698 §3).
    fn tlsa<'a>(&'a self, _name: &'a Domain) -> Checking<'a, Vec<Tlsa>> {
        Box::pin(async { Checked::unchecked(Err(DnsError::NoData)) })
    }
}

/// A family of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// IPv4, A records.
    V4,
    /// IPv6, AAAA records.
    V6,
}

fn host_name(name: &str) -> Result<Domain, DnsError> {
    Domain::parse(name).ok().filter(|domain| domain.ip().is_none()).ok_or(DnsError::NotFound)
}

/// One MX record.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mx {
    /// Lower is tried first.
    pub preference: u16,
    /// `None`: the "null MX", the domain takes no mail (RFC 7505).
    pub host: Option<Domain>,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DnsError {
    /// The name does not exist (NXDOMAIN).
    #[error("the name does not exist")]
    NotFound,
    /// The name exists, but has no record of this kind.
    #[error("the name has no such record")]
    NoData,
    /// No server gave an answer: time ran out, SERVFAIL, REFUSED and so on. Ask again later.
    #[error("no answer: {0}")]
    Temporary(String),
}

/// One answer of the two address queries: what was found stands, whatever became of the other.
fn joined(v6: Result<Vec<IpAddr>, DnsError>, v4: Result<Vec<IpAddr>, DnsError>) -> Result<Vec<IpAddr>, DnsError> {
    match (v6, v4) {
        (Ok(v6), Ok(v4)) => Ok([v6, v4].concat()),
        (Ok(found), Err(_)) | (Err(_), Ok(found)) => Ok(found),
        (Err(DnsError::Temporary(reason)), Err(_)) | (Err(_), Err(DnsError::Temporary(reason))) => Err(DnsError::Temporary(reason)),
        (Err(DnsError::NotFound), Err(DnsError::NotFound)) => Err(DnsError::NotFound),
        (Err(_), Err(_)) => Err(DnsError::NoData),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_family_of_addresses_is_enough() {
        let found = || Ok(vec!["::1".parse().unwrap()]);
        let temporary = || Err(DnsError::Temporary("SERVFAIL".to_owned()));
        assert_eq!(joined(found(), Err(DnsError::NoData)), found());
        assert_eq!(joined(temporary(), found()), found());
        assert_eq!(joined(Err(DnsError::NoData), temporary()), temporary());
        assert_eq!(joined(Err(DnsError::NotFound), Err(DnsError::NotFound)), Err(DnsError::NotFound));
        assert_eq!(joined(Err(DnsError::NotFound), Err(DnsError::NoData)), Err(DnsError::NoData));
    }
}
