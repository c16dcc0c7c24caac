//! Asks real name servers, with a cache that respects the time to live.
//!
//! Not a recursive resolver: it asks servers that are.

use super::trusted::Trusted;
use super::validating::Validating;
use super::{Checked, Checking, Dns, DnsError, Family, Host, Lookup, Mx, Security, Tlsa, checked, joined};
use hickory_proto::dnssec::TrustAnchors;
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts, ServerOrderingStrategy};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError as Failure, NetError};
use mail::Domain;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How names are looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The servers asked, UDP first, TCP for long answers. Empty: the system's (`/etc/resolv.conf`, `/etc/hosts`).
    pub servers: Vec<SocketAddr>,
    /// How long one server may take for one attempt. Default 5 seconds.
    pub timeout: Duration,
    /// How often a question is asked. Default 3.
    pub attempts: usize,
    /// Answers kept until their time to live has passed. Default 8,192.
    pub cache_answers_max: u64,
    /// How long an answer is kept at most, whatever its time to live. Default 1 day.
    pub cache_time_max: Duration,
    /// Who checks signatures. Default [`Dnssec::Auto`].
    pub dnssec: Dnssec,
    /// A file of DNSKEY records to trust instead of the root's keys, which are built in.
    pub trust_anchors: Option<PathBuf>,
}

/// Who checks the signatures of DNSSEC, for the lookups that ask for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Dnssec {
    /// Nobody: every answer is indeterminate.
    Off,
    /// We, as soon as the servers have once handed over the signed root zone; from then on for good, until
    /// then every answer is indeterminate. So a server that strips signatures stops DANE, but not the mail.
    #[default]
    Auto,
    /// We, always: behind a server that strips signatures everything is bogus.
    Validate,
    /// The servers, by their AD bit (RFC 6840 §5.8). Only for servers on this machine.
    TrustServers,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            timeout: Duration::from_secs(5),
            attempts: 3,
            cache_answers_max: 8192,
            cache_time_max: Duration::from_hours(24),
            dnssec: Dnssec::default(),
            trust_anchors: None,
        }
    }
}

/// Why there is no resolver.
#[derive(Debug, thiserror::Error)]
#[error("the DNS resolver cannot be set up: {0}")]
pub struct ResolverError(pub(super) String);

/// Asks name servers. Clones share the cache.
#[derive(Debug, Clone)]
pub struct Resolver {
    plain: TokioResolver,
    checking: Option<Checker>,
}

/// Who checks.
#[derive(Debug, Clone)]
enum Checker {
    We(Arc<Validating>),
    Servers(Arc<Trusted>),
}

impl Resolver {
    /// Sets it up; nothing is asked yet.
    ///
    /// # Errors
    /// When the system's settings are wanted and cannot be read.
    pub fn new(settings: &Settings) -> Result<Self, ResolverError> {
        let plain = build(settings, |_| {}, None)?;
        let checking = match settings.dnssec {
            Dnssec::Off => None,
            Dnssec::TrustServers => Some(Checker::Servers(Arc::new(Trusted::new(settings)?))),
            Dnssec::Auto | Dnssec::Validate => Some(Checker::We(Arc::new(Validating::new(settings)?))),
        };
        Ok(Self { plain, checking })
    }

    /// Forgets every answer.
    pub fn clear_cache(&self) {
        self.plain.clear_cache();
    }

    async fn ask<T>(&self, name: &Domain, kind: RecordType, pick: impl Fn(&RData) -> Option<T>) -> Result<Vec<T>, DnsError> {
        if name.ip().is_some() {
            return Err(DnsError::NotFound);
        }
        self.ask_name(dns_name(name)?, kind, pick).await
    }

    /// Asks with checking; `None`: nobody checks, ask without.
    async fn ask_checked<T>(&self, name: &Domain, kind: RecordType, pick: impl Fn(&RData) -> Option<T>) -> Option<Checked<Found<T>>> {
        let name = match dns_name(name) {
            Ok(name) => name,
            Err(error) => return Some(Checked::unchecked(Err(error))),
        };
        let checked = match self.checking.as_ref()? {
            Checker::We(validating) => validating.ask(name.clone(), kind).await?,
            Checker::Servers(trusted) => trusted.ask(name.clone(), kind).await,
        };
        let Checked { found, security } = checked;
        Some(Checked { found: found.and_then(|records| found_in(&records, &name, kind, pick)), security })
    }

    /// The addresses of one family.
    async fn family(&self, host: &Domain, kind: RecordType) -> Option<Checked<Host>> {
        let checked = self.ask_checked(host, kind, RData::ip_addr).await?;
        Some(checked.map(|found| Host { addresses: found.records, canonical: found.canonical }))
    }

    async fn ask_name<T>(&self, name: Name, kind: RecordType, pick: impl Fn(&RData) -> Option<T>) -> Result<Vec<T>, DnsError> {
        let answer = self.plain.lookup(name, kind).await.map_err(|error| typed(&error))?;
        let of_kind = answer.answers().iter().filter(|record| record.record_type() == kind);
        let records: Vec<&Record> = of_kind.collect();
        if records.is_empty() {
            return Err(DnsError::NoData);
        }
        Ok(records.into_iter().filter_map(|record| pick(&record.data)).collect())
    }
}

impl Dns for Resolver {
    fn mx<'a>(&'a self, domain: &'a Domain) -> Lookup<'a, Vec<Mx>> {
        Box::pin(async move {
            let mut found = self.ask(domain, RecordType::MX, mx).await?;
            found.sort();
            Ok(found)
        })
    }

    fn addresses<'a>(&'a self, host: &'a Domain) -> Lookup<'a, Vec<IpAddr>> {
        Box::pin(async move {
            if let Some(address) = host.ip() {
                return Ok(vec![address]);
            }
            let v6 = self.ask(host, RecordType::AAAA, RData::ip_addr);
            let v4 = self.ask(host, RecordType::A, RData::ip_addr);
            let (v6, v4) = tokio::join!(v6, v4);
            joined(v6, v4)
        })
    }

    fn txt<'a>(&'a self, name: &'a Domain) -> Lookup<'a, Vec<Vec<u8>>> {
        Box::pin(self.ask(name, RecordType::TXT, text))
    }

    fn ptr(&self, address: IpAddr) -> Lookup<'_, Vec<Domain>> {
        Box::pin(self.ask_name(Name::from(address.to_canonical()), RecordType::PTR, name))
    }

    fn txt_at<'a>(&'a self, name: &'a str) -> Lookup<'a, Vec<Vec<u8>>> {
        Box::pin(async move { self.ask_name(name_at(name)?, RecordType::TXT, text).await })
    }

    fn addresses_at<'a>(&'a self, name: &'a str, family: Family) -> Lookup<'a, Vec<IpAddr>> {
        let kind = match family {
            Family::V4 => RecordType::A,
            Family::V6 => RecordType::AAAA,
        };
        Box::pin(async move { self.ask_name(name_at(name)?, kind, RData::ip_addr).await })
    }

    fn mx_checked<'a>(&'a self, domain: &'a Domain) -> Checking<'a, Vec<Mx>> {
        Box::pin(async move {
            match self.ask_checked(domain, RecordType::MX, mx).await {
                Some(checked) => checked.map(|mut found| {
                    found.records.sort();
                    found.records
                }),
                None => Checked::unchecked(self.mx(domain).await),
            }
        })
    }

    fn addresses_checked<'a>(&'a self, host: &'a Domain) -> Checking<'a, Host> {
        Box::pin(async move {
            let literal = |address| Checked { found: Ok(Host { addresses: vec![address], canonical: None }), security: Security::Insecure };
            if let Some(address) = host.ip() {
                return literal(address);
            }
            match tokio::join!(self.family(host, RecordType::AAAA), self.family(host, RecordType::A)) {
                (Some(v6), Some(v4)) => checked::joined(v6, v4),
                _ => Checked::unchecked(self.addresses(host).await).map(|addresses| Host { addresses, canonical: None }),
            }
        })
    }

    fn tlsa<'a>(&'a self, name: &'a Domain) -> Checking<'a, Vec<Tlsa>> {
        Box::pin(async move {
            let checked = self.ask_checked(name, RecordType::TLSA, tlsa).await;
            checked.map_or_else(|| Checked::unchecked(Err(DnsError::NoData)), |checked| checked.map(|found| found.records))
        })
    }
}

/// A resolver with our options; `change` adds to them.
pub(super) fn build(
    settings: &Settings,
    change: impl FnOnce(&mut ResolverOpts),
    anchors: Option<Arc<TrustAnchors>>,
) -> Result<TokioResolver, ResolverError> {
    let failed = |error: NetError| ResolverError(error.to_string());
    let mut builder = if settings.servers.is_empty() {
        TokioResolver::builder_tokio().map_err(failed)?
    } else {
        let servers = settings.servers.iter().map(|server| name_server(*server)).collect();
        TokioResolver::builder_with_config(ResolverConfig::from_name_servers(servers), TokioRuntimeProvider::default())
    };
    let options = builder.options_mut();
    options.timeout = settings.timeout;
    options.attempts = settings.attempts.saturating_sub(1);
    options.cache_size = settings.cache_answers_max;
    options.positive_max_ttl = Some(settings.cache_time_max);
    options.negative_max_ttl = Some(settings.cache_time_max);
    options.max_active_requests = 512;
    options.try_tcp_on_error = true;
    if !settings.servers.is_empty() {
        options.use_hosts_file = ResolveHosts::Never;
        options.server_ordering_strategy = ServerOrderingStrategy::UserProvidedOrder;
        options.num_concurrent_reqs = 1;
    }
    change(options);
    if let Some(anchors) = anchors {
        builder = builder.with_trust_anchor(anchors);
    }
    builder.build().map_err(failed)
}

fn dns_name(domain: &Domain) -> Result<Name, DnsError> {
    if domain.ip().is_some() {
        return Err(DnsError::NotFound);
    }
    Name::from_ascii(format!("{domain}.")).map_err(|_| DnsError::NotFound)
}

/// A name that need not be a host's, each label as its octets.
fn name_at(name: &str) -> Result<Name, DnsError> {
    let mut name = Name::from_labels(name.split('.').map(str::as_bytes)).map_err(|_| DnsError::NotFound)?;
    name.set_fqdn(true);
    Ok(name)
}

/// Records of one kind, and the end of the CNAMEs that led to them.
struct Found<T> {
    records: Vec<T>,
    canonical: Option<Domain>,
}

/// The records of a kind at the end of the CNAMEs that begin at `name`.
fn found_in<T>(records: &[Record], name: &Name, kind: RecordType, pick: impl Fn(&RData) -> Option<T>) -> Result<Found<T>, DnsError> {
    let of_kind: Vec<&Record> = records.iter().filter(|record| record.record_type() == kind).collect();
    if of_kind.is_empty() {
        return Err(DnsError::NoData);
    }
    let canonical = of_kind.first().filter(|record| record.name != *name).and_then(|record| domain(&record.name));
    Ok(Found { records: of_kind.into_iter().filter_map(|record| pick(&record.data)).collect(), canonical })
}

/// UDP first, TCP when the answer was cut, both on the given port.
fn name_server(address: SocketAddr) -> NameServerConfig {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = address.port();
        connection
    });
    NameServerConfig::new(address.ip(), true, connections.to_vec())
}

fn mx(data: &RData) -> Option<Mx> {
    let RData::MX(record) = data else { return None };
    if record.exchange.is_root() {
        return Some(Mx { preference: record.preference, host: None });
    }
    domain(&record.exchange).map(|host| Mx { preference: record.preference, host: Some(host) })
}

fn text(data: &RData) -> Option<Vec<u8>> {
    let RData::TXT(record) = data else { return None };
    Some(record.txt_data.concat())
}

fn tlsa(data: &RData) -> Option<Tlsa> {
    let RData::TLSA(record) = data else { return None };
    let (usage, selector, matching) = (record.cert_usage.into(), record.selector.into(), record.matching.into());
    Some(Tlsa { usage, selector, matching, data: record.cert_data.clone() })
}

fn name(data: &RData) -> Option<Domain> {
    let RData::PTR(record) = data else { return None };
    domain(&record.0)
}

fn domain(name: &Name) -> Option<Domain> {
    Domain::parse(name.to_ascii().trim_end_matches('.')).ok()
}

pub(super) fn typed(error: &NetError) -> DnsError {
    match error {
        NetError::Dns(Failure::NoRecordsFound(none)) => match none.response_code {
            ResponseCode::NXDomain => DnsError::NotFound,
            ResponseCode::NoError => DnsError::NoData,
            other => DnsError::Temporary(other.to_string()),
        },
        NetError::Dns(Failure::ResponseCode(ResponseCode::NXDomain)) => DnsError::NotFound,
        other => DnsError::Temporary(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_proto::op::Query;
    use hickory_proto::rr::rdata;
    use hickory_resolver::net::NoRecords;

    fn no_records(code: ResponseCode) -> NetError {
        NoRecords::new(Query::new(), code).into()
    }

    #[test]
    fn failures_are_told_apart() {
        assert_eq!(typed(&no_records(ResponseCode::NXDomain)), DnsError::NotFound);
        assert_eq!(typed(&no_records(ResponseCode::NoError)), DnsError::NoData);
        assert!(matches!(typed(&no_records(ResponseCode::ServFail)), DnsError::Temporary(_)));
        assert!(matches!(typed(&Failure::ResponseCode(ResponseCode::Refused).into()), DnsError::Temporary(_)));
        assert!(matches!(typed(&NetError::Timeout), DnsError::Temporary(_)));
        assert!(matches!(typed(&NetError::NoConnections), DnsError::Temporary(_)));
    }

    #[test]
    fn records_become_nouns() {
        let exchange = |name: &str| RData::MX(rdata::MX::new(10, Name::from_ascii(name).unwrap()));
        assert_eq!(mx(&exchange("MX.Example.ORG.")), Some(Mx { preference: 10, host: Domain::parse("mx.example.org").ok() }));
        assert_eq!(mx(&exchange(".")), Some(Mx { preference: 10, host: None }));
        let odd = Name::from_labels([&b"a b"[..], b"example"]).unwrap();
        assert_eq!(mx(&RData::MX(rdata::MX::new(10, odd))), None);
        let strings = RData::TXT(rdata::TXT::new(vec!["v=spf1 ".to_owned(), "-all".to_owned()]));
        assert_eq!(text(&strings), Some(b"v=spf1 -all".to_vec()));
    }
}
