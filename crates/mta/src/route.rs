//! Where a recipient's mail goes next: to a mailbox here, to a named host, or by MX. Pure.
//!
//! Not DNS (`deliver::hosts`) and not when (`queue::schedule`).
//!
//! The order: our own domains are local; then the rules for recipient domains, in the order
//! written; then the rules for sender domains; then the rule for everything; then MX.

use mail::{Address, Domain, TlsDemand};
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// One rule of the routing table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Which mail.
    pub matching: Matching,
    /// The MX port takes mail for these recipient domains from anyone, as a backup or relay does.
    /// Means nothing for rules about senders.
    pub accept: bool,
    /// Where it goes.
    pub next: Next,
}

/// Which mail a rule is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Matching {
    /// Mail to these domains.
    Recipients(Vec<Pattern>),
    /// Mail from these domains.
    Senders(Vec<Pattern>),
    /// All mail that nothing else matched.
    Everything,
}

/// A domain of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pattern {
    /// This domain and nothing below it.
    Exact(Domain),
    /// Everything below this domain, not itself: `*.example.org`.
    Below(Domain),
}

impl Pattern {
    /// Reads `example.org` or `*.example.org`.
    ///
    /// # Errors
    /// When the text is no domain.
    pub fn parse(text: &str) -> Result<Self, mail::DomainError> {
        match text.strip_prefix("*.") {
            Some(rest) => Domain::parse(rest).map(Self::Below),
            None => Domain::parse(text).map(Self::Exact),
        }
    }

    /// Whether the domain is meant.
    pub fn matches(&self, domain: &Domain) -> bool {
        match self {
            Self::Exact(exact) => exact == domain,
            Self::Below(above) => domain.as_str().strip_suffix(above.as_str()).is_some_and(|rest| rest.ends_with('.')),
        }
    }
}

/// Domains whose mail we take when their own servers cannot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backup {
    /// Which.
    pub domains: Vec<Pattern>,
    /// Who is one of their recipients.
    pub known: Known,
    /// How long their mail is kept, if it is not as long as other mail.
    pub lifetime: Option<Duration>,
}

/// Who is a recipient of a domain that we are a backup for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Known {
    /// Everybody.
    Anyone,
    /// These, in lower case.
    Listed(Arc<BTreeSet<String>>),
    /// Whom the domain's own server knows.
    Asked,
}

/// What we do as a backup for a domain; `None`: we are none.
pub fn backup<'a>(backups: &'a [Backup], domain: &Domain) -> Option<&'a Backup> {
    backups.iter().find(|backup| matches_any(&backup.domains, domain))
}

/// Whose mail something is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sender {
    /// This address's, with or without detail.
    Address(Address),
    /// That of all addresses of a domain.
    Domain(Pattern),
}

impl Sender {
    /// Reads `ann@example.org`, `example.org` or `*.example.org`.
    ///
    /// # Errors
    /// When the text is neither an address nor a domain.
    pub fn parse(text: &str) -> Result<Self, mail::AddressError> {
        if text.contains('@') { Address::parse(text).map(Self::Address) } else { Ok(Self::Domain(Pattern::parse(text)?)) }
    }

    /// Whether it is an address's.
    pub fn matches(&self, address: &Address) -> bool {
        match self {
            Self::Address(own) => {
                own.key() == address.key() || address.without_detail().is_some_and(|(without, _)| without.key() == own.key())
            }
            Self::Domain(pattern) => pattern.matches(address.domain()),
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(domain) => write!(f, "{domain}"),
            Self::Below(domain) => write!(f, "*.{domain}"),
        }
    }
}

/// Where a rule sends mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// By the MX records of the recipient's domain.
    Mx,
    /// To named hosts, whose MX records are not asked for.
    Smarthost(Arc<Smarthost>),
}

/// Named hosts that take mail for others.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Smarthost {
    /// The hosts; at least one.
    pub targets: Vec<Target>,
    /// Whether they are tried in a random order instead of the one written.
    pub balanced: bool,
    /// What TLS must be.
    pub tls: Tls,
    /// The name of the credentials to sign in with, if any.
    pub credentials: Option<String>,
}

/// One host of a smarthost.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    /// A name or an address literal.
    pub host: Domain,
    /// The port; 25 where none is written.
    pub port: u16,
}

/// Why a text is no target.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// The host.
    #[error(transparent)]
    Host(#[from] mail::DomainError),
    /// The port is no number from 1 to 65535.
    #[error("the port must be a number from 1 to 65535")]
    Port,
}

impl Target {
    /// The port where none is written.
    pub const PORT_DEFAULT: u16 = 25;

    /// Reads `host`, `host:port`, `[192.0.2.1]:port`, `192.0.2.1:port`.
    ///
    /// # Errors
    /// When the host is no domain name or address, or the port no port.
    pub fn parse(text: &str) -> Result<Self, TargetError> {
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, Some(port)),
            _ => (text, None),
        };
        let port = port.map_or(Ok(Self::PORT_DEFAULT), |port| port.parse().map_err(|_| TargetError::Port))?;
        let host = match host.parse() {
            Ok(v4) => Domain::from_ip(std::net::IpAddr::V4(v4)),
            Err(_) => Domain::parse(host)?,
        };
        if port == 0 { Err(TargetError::Port) } else { Ok(Self { host, port }) }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// What TLS to a smarthost must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Tls {
    /// Never.
    None,
    /// If it is offered and works; no certificate is checked (RFC 7435).
    #[default]
    Opportunistic,
    /// STARTTLS with a certificate that is valid for the host's name, or no delivery.
    Required,
    /// TLS from the first octet (port 465, RFC 8314), certificate valid for the host's name.
    Implicit,
}

/// What keeps mail for the same exchangers from sharing connections.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Apart {
    /// What its senders say of TLS.
    pub demand: TlsDemand,
    /// From which of our addresses it goes: the name of a [`crate::source::Source`].
    pub source: Option<Arc<str>>,
}

impl From<TlsDemand> for Apart {
    fn from(demand: TlsDemand) -> Self {
        Self { demand, source: None }
    }
}

/// Where mail goes next, and the name under which its queue is kept.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Destination {
    /// Our own mailboxes.
    Local,
    /// The mail exchangers of a domain, or the host of an address literal.
    Mx(Domain, Apart),
    /// Named hosts.
    Smarthost(Arc<Smarthost>, TlsDemand),
}

impl Destination {
    /// The same for mail whose sender says something of TLS.
    #[must_use]
    pub fn demanding(self, demand: TlsDemand) -> Self {
        match self {
            Self::Local => Self::Local,
            Self::Mx(domain, apart) => Self::Mx(domain, Apart { demand, ..apart }),
            Self::Smarthost(smarthost, _) => Self::Smarthost(smarthost, demand),
        }
    }

    /// Whether a connection to the one could go on with mail for the other, if their hosts are the same.
    pub fn shares(&self, other: &Self) -> bool {
        matches!((self, other), (Self::Mx(_, one), Self::Mx(_, another)) if one == another)
    }

    /// The same from one of our addresses.
    #[must_use]
    pub fn from_source(self, source: &Arc<str>) -> Self {
        match self {
            Self::Mx(domain, apart) => Self::Mx(domain, Apart { source: Some(Arc::clone(source)), ..apart }),
            other => other,
        }
    }

    /// From which of our addresses it goes, if that matters.
    pub fn source(&self) -> Option<&str> {
        match self {
            Self::Mx(_, apart) => apart.source.as_deref(),
            Self::Local | Self::Smarthost(..) => None,
        }
    }

    /// Whether these are a domain's own mail exchangers.
    pub const fn is_direct(&self) -> bool {
        matches!(self, Self::Mx(..))
    }

    /// What the senders of its mail say of TLS.
    pub const fn demand(&self) -> TlsDemand {
        match self {
            Self::Local => TlsDemand::ByPolicy,
            Self::Mx(_, apart) => apart.demand,
            Self::Smarthost(_, demand) => *demand,
        }
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local => f.write_str("local"),
            Self::Mx(domain, Apart { source: None, .. }) => write!(f, "{domain}"),
            Self::Mx(domain, Apart { source: Some(source), .. }) => write!(f, "{domain} from {source}"),
            Self::Smarthost(smarthost, _) => match smarthost.targets.first() {
                Some(target) => write!(f, "{target}"),
                None => f.write_str("a smarthost without hosts"),
            },
        }
    }
}

/// Decides where a recipient's mail goes next.
pub fn route(rules: &[Rule], recipient: &Domain, sender: Option<&Domain>, is_local: bool) -> Destination {
    if is_local {
        return Destination::Local;
    }
    let found = by_recipient(rules, recipient).or_else(|| by_sender(rules, sender?)).or_else(|| everything(rules));
    match found.map(|rule| &rule.next) {
        Some(Next::Smarthost(smarthost)) => Destination::Smarthost(Arc::clone(smarthost), TlsDemand::ByPolicy),
        Some(Next::Mx) | None => Destination::Mx(recipient.clone(), Apart::default()),
    }
}

/// Whether the MX port takes mail for this domain, although it is not ours, from anyone.
pub fn accepts(rules: &[Rule], recipient: &Domain) -> bool {
    by_recipient(rules, recipient).is_some_and(|rule| rule.accept)
}

fn by_recipient<'a>(rules: &'a [Rule], recipient: &Domain) -> Option<&'a Rule> {
    rules.iter().find(|rule| matches!(&rule.matching, Matching::Recipients(patterns) if matches_any(patterns, recipient)))
}

fn by_sender<'a>(rules: &'a [Rule], sender: &Domain) -> Option<&'a Rule> {
    rules.iter().find(|rule| matches!(&rule.matching, Matching::Senders(patterns) if matches_any(patterns, sender)))
}

fn everything(rules: &[Rule]) -> Option<&Rule> {
    rules.iter().find(|rule| rule.matching == Matching::Everything)
}

fn matches_any(patterns: &[Pattern], domain: &Domain) -> bool {
    patterns.iter().any(|pattern| pattern.matches(domain))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(host: &str) -> Next {
        let targets = vec![Target::parse(host).unwrap()];
        Next::Smarthost(Arc::new(Smarthost { targets, balanced: false, tls: Tls::Opportunistic, credentials: None }))
    }

    fn rule(matching: Matching, next: Next) -> Rule {
        Rule { matching, accept: false, next }
    }

    fn patterns(text: &str) -> Vec<Pattern> {
        text.split(' ').map(|p| Pattern::parse(p).unwrap()).collect()
    }

    #[test]
    fn recipients_come_before_senders_and_senders_before_everything() {
        let rules = [
            rule(Matching::Everything, to("all.example")),
            rule(Matching::Senders(patterns("sender.example")), to("bysender.example:587")),
            rule(Matching::Recipients(patterns("partner.example *.lab.example")), to("[192.0.2.7]:2525")),
            rule(Matching::Recipients(patterns("direct.example")), Next::Mx),
        ];
        for (recipient, sender, local, want) in [
            ("ours.example", "sender.example", true, "local"),
            ("partner.example", "sender.example", false, "[192.0.2.7]:2525"),
            ("a.lab.example", "", false, "[192.0.2.7]:2525"),
            ("lab.example", "", false, "all.example:25"),
            ("xlab.example", "", false, "all.example:25"),
            ("direct.example", "sender.example", false, "direct.example"),
            ("else.example", "sender.example", false, "bysender.example:587"),
            ("else.example", "other.example", false, "all.example:25"),
        ] {
            let (recipient, sender) = (Domain::parse(recipient).unwrap(), Domain::parse(sender).ok());
            assert_eq!(route(&rules, &recipient, sender.as_ref(), local).to_string(), want, "{recipient}");
        }
    }

    #[test]
    fn without_rules_mail_goes_by_mx_and_is_not_accepted_for_strangers() {
        let domain = Domain::parse("x.example").unwrap();
        assert_eq!(route(&[], &domain, None, false), Destination::Mx(domain.clone(), Apart::default()));
        assert!(!accepts(&[], &domain));
        let relay = Rule { matching: Matching::Recipients(patterns("x.example")), accept: true, next: Next::Mx };
        assert!(accepts(&[relay], &domain));
    }

    #[test]
    fn senders_are_addresses_or_domains() {
        for (sender, address, want) in [
            ("ann@a.example", "Ann@a.example", true),
            ("ann@a.example", "ann+news@a.example", true),
            ("ann@a.example", "bob@a.example", false),
            ("a.example", "bob@a.example", true),
            ("a.example", "bob@x.a.example", false),
            ("*.a.example", "bob@x.a.example", true),
        ] {
            assert_eq!(Sender::parse(sender).unwrap().matches(&Address::parse(address).unwrap()), want, "{sender} {address}");
        }
        assert!(Sender::parse("a b").is_err() && Sender::parse("@").is_err());
    }

    #[test]
    fn targets_are_read() {
        for (text, want) in [
            ("mx.example", Ok("mx.example:25")),
            ("mx.example:2525", Ok("mx.example:2525")),
            ("127.0.0.1:2525", Ok("[127.0.0.1]:2525")),
            ("[127.0.0.1]", Ok("[127.0.0.1]:25")),
            ("[IPv6:::1]:26", Ok("[IPv6:::1]:26")),
            ("[IPv6:::1]", Ok("[IPv6:::1]:25")),
            ("mx.example:0", Err(TargetError::Port)),
            ("mx.example:x", Err(TargetError::Port)),
        ] {
            assert_eq!(Target::parse(text).map(|t| t.to_string()), want.map(str::to_owned), "{text}");
        }
    }
}
