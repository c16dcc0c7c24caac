//! `check_host()`: walks the terms of a policy until one matches (RFC 7208 §4).
//!
//! ```text
//! policy of the domain ─▶ mechanism ─ match ─▶ its qualifier
//!        ▲                    │ none matches
//!        └──── redirect ──────┴──────────────▶ neutral
//! ```
//!
//! Invariant: lookups are counted over all policies of one evaluation, so that a loop of includes ends.

use super::macros::{Template, TemplateKind, Values, validated_names};
use super::record::{Directive, Mechanism, Prefixes, Qualifier, Record, is_spf};
use super::{Identity, Limits, Session, Spf, SpfResult};
use crate::dns::{Dns, Missing, Open, is_within, name_of};
use std::net::IpAddr;

/// Why a walk ends before a term has matched.
enum Stop {
    Open,
    TempError(String),
    PermError(String),
}

impl From<Open> for Stop {
    fn from(Open: Open) -> Self {
        Self::Open
    }
}

struct Evaluation<'a, 'b> {
    dns: &'a mut Dns<'b>,
    session: &'a Session<'a>,
    peer: IpAddr,
    sender: &'a str,
    limits: &'a Limits,
    lookups: u32,
    void_lookups: u32,
}

/// What a policy said.
struct Decided {
    result: SpfResult,
    term: Option<String>,
    explanation: Option<String>,
}

/// Evaluates the policy of the sender's domain.
pub(super) fn check_host(dns: &mut Dns<'_>, session: &Session<'_>, sender: &str, identity: Identity, limits: &Limits) -> Result<Spf, Open> {
    let domain = sender.rsplit_once('@').map_or(sender, |(_, domain)| domain);
    let peer = session.peer.to_canonical();
    let mut evaluation = Evaluation { dns, session, peer, sender, limits, lookups: 0, void_lookups: 0 };
    let decided = if is_asked_for(domain) { evaluation.domain(domain, true) } else { Ok(None) };
    let lookups = evaluation.lookups;
    let spf = |result, term, explanation, problem| Spf { identity, domain: domain.to_owned(), result, term, explanation, problem, lookups };
    match decided {
        Ok(None) => Ok(spf(SpfResult::None, None, None, None)),
        Ok(Some(decided)) => Ok(spf(decided.result, decided.term, decided.explanation, None)),
        Err(Stop::TempError(problem)) => Ok(spf(SpfResult::TempError, None, None, Some(problem))),
        Err(Stop::PermError(problem)) => Ok(spf(SpfResult::PermError, None, None, Some(problem))),
        Err(Stop::Open) => Err(Open),
    }
}

/// A domain name of two labels or more, not an address literal (RFC 7208 §4.3).
fn is_asked_for(domain: &str) -> bool {
    let name = name_of(domain);
    name.is_some_and(|name| name.contains('.') && !name.starts_with('[') && !name.contains(|c: char| c.is_whitespace()))
}

impl<'a> Evaluation<'a, '_> {
    /// The policy of a domain; `None` if it has none. `explain`: whether its words for a `fail` are wanted.
    fn domain(&mut self, domain: &str, explain: bool) -> Result<Option<Decided>, Stop> {
        let Some(record) = self.record(domain)? else { return Ok(None) };
        for directive in &record.directives {
            if self.matches(directive, domain)? {
                return self.decided(directive, &record, domain, explain).map(Some);
            }
        }
        match &record.redirect {
            None => Ok(Some(Decided { result: SpfResult::Neutral, term: None, explanation: None })),
            Some(target) => self.redirect(target, domain, explain).map(Some),
        }
    }

    fn record(&mut self, domain: &str) -> Result<Option<Record>, Stop> {
        let records = match self.dns.txt(domain)? {
            Ok(records) => records,
            Err(Missing::Void) => return Ok(None),
            Err(Missing::Failed) => return Err(Stop::TempError(format!("no answer for the policy of {domain}"))),
        };
        let mut policies = records.into_iter().filter(|record| is_spf(record));
        let Some(policy) = policies.next() else { return Ok(None) };
        if policies.next().is_some() {
            return Err(Stop::PermError(format!("{domain} has several policies")));
        }
        Record::parse(policy).map(Some).map_err(|error| Stop::PermError(format!("policy of {domain}: {error}")))
    }

    fn redirect(&mut self, target: &Template, domain: &str, explain: bool) -> Result<Decided, Stop> {
        self.count_lookup()?;
        let target = self.target(Some(target), domain)?;
        let decided = if is_asked_for(&target) { self.domain(&target, explain)? } else { None };
        decided.ok_or_else(|| Stop::PermError(format!("redirect to {target}, which has no policy")))
    }

    fn decided(&mut self, directive: &Directive, record: &Record, domain: &str, explain: bool) -> Result<Decided, Stop> {
        let result = match directive.qualifier {
            Qualifier::Pass => SpfResult::Pass,
            Qualifier::Fail => SpfResult::Fail,
            Qualifier::SoftFail => SpfResult::SoftFail,
            Qualifier::Neutral => SpfResult::Neutral,
        };
        let wanted = record.explanation.as_ref().filter(|_| explain && result == SpfResult::Fail);
        let explanation = match wanted {
            Some(name) => self.explanation(name, domain)?,
            None => None,
        };
        Ok(Decided { result, term: Some(directive.text.clone()), explanation })
    }

    fn matches(&mut self, directive: &Directive, domain: &str) -> Result<bool, Stop> {
        match &directive.mechanism {
            Mechanism::All => Ok(true),
            Mechanism::Ip(network, bits) => Ok(shares_prefix(self.peer, *network, *bits)),
            Mechanism::Include(target) => self.include(target, domain),
            Mechanism::A(target, prefixes) => self.a(target.as_ref(), *prefixes, domain),
            Mechanism::Mx(target, prefixes) => self.mx(target.as_ref(), *prefixes, domain),
            Mechanism::Ptr(target) => self.ptr(target.as_ref(), domain),
            Mechanism::Exists(target) => self.exists(target, domain),
        }
    }

    fn include(&mut self, target: &Template, domain: &str) -> Result<bool, Stop> {
        self.count_lookup()?;
        let target = self.target(Some(target), domain)?;
        let decided = if is_asked_for(&target) { self.domain(&target, false)? } else { None };
        match decided {
            None => Err(Stop::PermError(format!("include of {target}, which has no policy"))),
            Some(decided) => Ok(decided.result == SpfResult::Pass),
        }
    }

    fn a(&mut self, target: Option<&Template>, prefixes: Prefixes, domain: &str) -> Result<bool, Stop> {
        self.count_lookup()?;
        let target = self.target(target, domain)?;
        let answer = self.dns.addresses(&target, self.peer)?;
        let found = self.found(&target, answer)?.unwrap_or_default();
        Ok(self.is_among(found, prefixes))
    }

    fn mx(&mut self, target: Option<&Template>, prefixes: Prefixes, domain: &str) -> Result<bool, Stop> {
        self.count_lookup()?;
        let target = self.target(target, domain)?;
        let answer = self.dns.mx(&target)?;
        let hosts = self.found(&target, answer)?.unwrap_or_default();
        if hosts.len() > self.limits.mx_hosts_max {
            return Err(Stop::PermError(format!("{target} has more than {} MX hosts", self.limits.mx_hosts_max)));
        }
        // All questions of one kind are asked in one round.
        let answers: Vec<_> = hosts.iter().map(|host| (*host, self.dns.addresses(host, self.peer))).collect();
        for (host, answer) in answers {
            let found = self.found(host, answer?)?.unwrap_or_default();
            if self.is_among(found, prefixes) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// DNS that fails makes this mechanism not match (RFC 7208 §5.5).
    fn ptr(&mut self, target: Option<&Template>, domain: &str) -> Result<bool, Stop> {
        self.count_lookup()?;
        let target = self.target(target, domain)?;
        let names = validated_names(self.dns, self.peer, self.limits.ptr_names_max)?;
        Ok(names.iter().any(|name| is_within(name, &target)))
    }

    /// Always asks for an IPv4 address (RFC 7208 §5.7).
    fn exists(&mut self, target: &Template, domain: &str) -> Result<bool, Stop> {
        self.count_lookup()?;
        let target = self.target(Some(target), domain)?;
        let answer = self.dns.addresses(&target, IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED))?;
        Ok(self.found(&target, answer)?.is_some())
    }

    /// The name a term asks for. Labels are taken off the left until it fits (RFC 7208 §7.3).
    fn target(&mut self, template: Option<&Template>, domain: &str) -> Result<String, Stop> {
        let Some(template) = template else { return Ok(domain.to_owned()) };
        let expanded = template.expand(&self.values(domain), self.dns)?;
        let mut name = expanded.strip_suffix('.').unwrap_or(&expanded);
        while name.len() > 253 {
            name = name.split_once('.').map_or("", |(_, rest)| rest);
        }
        Ok(name.to_owned())
    }

    /// What cannot be found or read is no explanation (RFC 7208 §6.2).
    fn explanation(&mut self, name: &Template, domain: &str) -> Result<Option<String>, Stop> {
        let name = self.target(Some(name), domain)?;
        let Ok(records) = self.dns.txt(&name)? else { return Ok(None) };
        let [only] = records.as_slice() else { return Ok(None) };
        let text = std::str::from_utf8(only).ok().filter(|text| text.is_ascii());
        let Some(template) = text.and_then(|text| Template::parse(text, TemplateKind::Explanation)) else { return Ok(None) };
        Ok(Some(template.expand(&self.values(domain), self.dns)?))
    }

    fn values<'v>(&self, domain: &'v str) -> Values<'v>
    where
        'a: 'v,
    {
        Values {
            sender: self.sender,
            domain,
            peer: self.peer,
            helo: self.session.helo,
            receiver: self.session.receiver,
            seconds: self.session.now.seconds(),
            ptr_names_max: self.limits.ptr_names_max,
        }
    }

    fn count_lookup(&mut self) -> Result<(), Stop> {
        self.lookups += 1;
        if self.lookups > self.limits.lookups_max {
            return Err(Stop::PermError(format!("more than {} lookups", self.limits.lookups_max)));
        }
        Ok(())
    }

    /// Counts lookups without an answer; a failure of DNS ends the evaluation (RFC 7208 §5).
    fn found<T>(&mut self, name: &str, answer: Result<T, Missing>) -> Result<Option<T>, Stop> {
        match answer {
            Ok(found) => Ok(Some(found)),
            Err(Missing::Failed) => Err(Stop::TempError(format!("no answer for {name}"))),
            Err(Missing::Void) => {
                self.void_lookups += 1;
                if self.void_lookups > self.limits.void_lookups_max {
                    return Err(Stop::PermError(format!("more than {} lookups found nothing", self.limits.void_lookups_max)));
                }
                Ok(None)
            }
        }
    }

    fn is_among(&self, addresses: &[IpAddr], prefixes: Prefixes) -> bool {
        let bits = if self.peer.is_ipv4() { prefixes.v4 } else { prefixes.v6 };
        addresses.iter().any(|address| shares_prefix(self.peer, *address, bits))
    }
}

/// Whether two addresses of one family have the same first `bits`.
fn shares_prefix(peer: IpAddr, network: IpAddr, bits: u8) -> bool {
    match (peer, network) {
        (IpAddr::V4(peer), IpAddr::V4(network)) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(bits.min(32))).unwrap_or(0);
            u32::from(peer) & mask == u32::from(network) & mask
        }
        (IpAddr::V6(peer), IpAddr::V6(network)) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(bits.min(128))).unwrap_or(0);
            u128::from(peer) & mask == u128::from(network) & mask
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_compared_by_their_first_bits() {
        for (peer, network, bits, want) in [
            ("192.0.2.9", "192.0.2.1", 24, true),
            ("192.0.3.9", "192.0.2.1", 24, false),
            ("192.0.3.9", "10.0.0.0", 0, true),
            ("2001:db8::1", "2001:db8::", 32, true),
            ("2001:db8::1", "::", 0, true),
            ("192.0.2.9", "::", 0, false),
        ] {
            assert_eq!(shares_prefix(peer.parse().unwrap(), network.parse().unwrap(), bits), want, "{peer} {network}/{bits}");
        }
    }
}
