//! Reads a policy: `v=spf1` and its terms (RFC 7208 §4.5, §5, §6, §12).
//!
//! Invariant: a record is read as a whole; one error anywhere makes all of it `permerror` (§4.6).

use super::macros::{Template, TemplateKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its mechanisms, in order.
    pub directives: Vec<Directive>,
    /// Where to go on when none matches.
    pub redirect: Option<Template>,
    /// Where the words for a `fail` are.
    pub explanation: Option<Template>,
}

/// A mechanism and what it means when it matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directive {
    /// What a match means.
    pub qualifier: Qualifier,
    /// What must match.
    pub mechanism: Mechanism,
    /// As it was written.
    pub text: String,
}

/// What a match means (RFC 7208 §4.6.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Qualifier {
    /// `+` or nothing.
    Pass,
    /// `-`
    Fail,
    /// `~`
    SoftFail,
    /// `?`
    Neutral,
}

/// What must match (RFC 7208 §5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mechanism {
    /// Always.
    All,
    /// The policy of another domain passes.
    Include(Template),
    /// An address of the name; none: of the domain itself.
    A(Option<Template>, Prefixes),
    /// An address of its MX hosts.
    Mx(Option<Template>, Prefixes),
    /// A name of the address lies within the name.
    Ptr(Option<Template>),
    /// The network.
    Ip(IpAddr, u8),
    /// The name has an IPv4 address.
    Exists(Template),
}

/// Leading bits that are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prefixes {
    /// Of IPv4 addresses, 0 to 32.
    pub v4: u8,
    /// Of IPv6 addresses, 0 to 128.
    pub v6: u8,
}

/// What is wrong with a record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot read {0:?}")]
pub struct RecordError(pub String);

/// Whether a TXT record is an SPF policy (RFC 7208 §4.5).
pub fn is_spf(record: &[u8]) -> bool {
    let version = record.get(..6).is_some_and(|start| start.eq_ignore_ascii_case(b"v=spf1"));
    version && matches!(record.get(6), None | Some(b' '))
}

impl Record {
    /// Reads a record of which [`is_spf`] holds.
    ///
    /// # Errors
    /// Names the term that is wrong.
    pub fn parse(record: &[u8]) -> Result<Self, RecordError> {
        let text = std::str::from_utf8(record).ok().filter(|text| text.is_ascii());
        let text = text.ok_or_else(|| RecordError("octets above 127".to_owned()))?;
        let mut parsed = Self { directives: Vec::new(), redirect: None, explanation: None };
        for term in text.get(6..).unwrap_or_default().split(' ').filter(|term| !term.is_empty()) {
            parsed.term(term).ok_or_else(|| RecordError(term.chars().take(100).collect()))?;
        }
        Ok(parsed)
    }

    fn term(&mut self, term: &str) -> Option<()> {
        match modifier(term) {
            Some((name, value)) if name.eq_ignore_ascii_case("redirect") => once(&mut self.redirect, domain_spec(value)?),
            Some((name, value)) if name.eq_ignore_ascii_case("exp") => once(&mut self.explanation, domain_spec(value)?),
            Some((_, value)) => Template::parse(value, TemplateKind::MacroString).map(drop),
            None => {
                self.directives.push(directive(term)?);
                Some(())
            }
        }
    }
}

/// RFC 7208 §6: `redirect` and `exp` stand at most once.
fn once(slot: &mut Option<Template>, value: Template) -> Option<()> {
    slot.replace(value).is_none().then_some(())
}

/// `name=value`, if the term is a modifier.
fn modifier(term: &str) -> Option<(&str, &str)> {
    let (name, value) = term.split_once('=')?;
    let starts = name.starts_with(|c: char| c.is_ascii_alphabetic());
    let named = name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    (starts && named).then_some((name, value))
}

fn directive(term: &str) -> Option<Directive> {
    let (qualifier, rest) = match term.split_at_checked(1)? {
        ("+", rest) => (Qualifier::Pass, rest),
        ("-", rest) => (Qualifier::Fail, rest),
        ("~", rest) => (Qualifier::SoftFail, rest),
        ("?", rest) => (Qualifier::Neutral, rest),
        _ => (Qualifier::Pass, term),
    };
    let name_end = rest.find([':', '/']).unwrap_or(rest.len());
    let (name, argument) = rest.split_at(name_end);
    let mechanism = mechanism(&name.to_ascii_lowercase(), argument)?;
    Some(Directive { qualifier, mechanism, text: term.to_owned() })
}

/// `argument` starts with its `:` or `/`, if there is one.
fn mechanism(name: &str, argument: &str) -> Option<Mechanism> {
    match name {
        "all" => argument.is_empty().then_some(Mechanism::All),
        "include" => Some(Mechanism::Include(domain_spec(argument.strip_prefix(':')?)?)),
        "exists" => Some(Mechanism::Exists(domain_spec(argument.strip_prefix(':')?)?)),
        "ptr" if argument.is_empty() => Some(Mechanism::Ptr(None)),
        "ptr" => Some(Mechanism::Ptr(Some(domain_spec(argument.strip_prefix(':')?)?))),
        "a" => with_prefixes(argument).map(|(name, prefixes)| Mechanism::A(name, prefixes)),
        "mx" => with_prefixes(argument).map(|(name, prefixes)| Mechanism::Mx(name, prefixes)),
        "ip4" => network(argument.strip_prefix(':')?, 32, |text| text.parse::<Ipv4Addr>().ok().map(IpAddr::V4)),
        "ip6" => network(argument.strip_prefix(':')?, 128, |text| text.parse::<Ipv6Addr>().ok().map(IpAddr::V6)),
        _ => None,
    }
}

fn domain_spec(text: &str) -> Option<Template> {
    Template::parse(text, TemplateKind::DomainSpec)
}

fn network(text: &str, bits_max: u8, address: impl Fn(&str) -> Option<IpAddr>) -> Option<Mechanism> {
    let (address_text, bits) = match text.split_once('/') {
        Some((address, length)) => (address, prefix_length(length, bits_max)?),
        None => (text, bits_max),
    };
    Some(Mechanism::Ip(address(address_text)?, bits))
}

/// `[":" domain-spec] ["/" n] ["//" n]`
fn with_prefixes(argument: &str) -> Option<(Option<Template>, Prefixes)> {
    let (front, v6) = cut_length(argument, "//", 128)?;
    let (front, v4) = cut_length(front, "/", 32)?;
    let prefixes = Prefixes { v4, v6 };
    match front.strip_prefix(':') {
        Some(name) => Some((Some(domain_spec(name)?), prefixes)),
        None => front.is_empty().then_some((None, prefixes)),
    }
}

/// Takes a length off the end, if one is there. `None`: it is out of range.
fn cut_length<'a>(text: &'a str, mark: &str, bits_max: u8) -> Option<(&'a str, u8)> {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    match text.rsplit_once(mark) {
        Some((front, length)) if is_number(length) => Some((front, prefix_length(length, bits_max)?)),
        _ => Some((text, bits_max)),
    }
}

/// Digits without a leading zero (RFC 7208 §5.6).
fn prefix_length(text: &str, bits_max: u8) -> Option<u8> {
    let plain = text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    plain.then(|| text.parse().ok()).flatten().filter(|bits| *bits <= bits_max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_as_a_whole() {
        for (input, want) in [
            ("v=spf1", Ok(0)),
            ("v=spf1 -all", Ok(1)),
            ("v=spf1  a  mx/24 a:x.example/24//64 ip6:::1/64 ", Ok(4)),
            ("v=spf1 unknown=%{d} -all", Ok(1)),
            ("v=spf1 a/33", Err("a/33")),
            ("v=spf1 a/024", Err("a/024")),
            ("v=spf1 all:x", Err("all:x")),
            ("v=spf1 include:", Err("include:")),
            ("v=spf1 include", Err("include")),
            ("v=spf1 ip4:1.2.3", Err("ip4:1.2.3")),
            ("v=spf1 redirect=a.b redirect=c.d", Err("redirect=c.d")),
            ("v=spf1 wat", Err("wat")),
            ("v=spf1 a:x.example..", Err("a:x.example..")),
        ] {
            let parsed = Record::parse(input.as_bytes()).map(|record| record.directives.len());
            assert_eq!(parsed, want.map_err(|term| RecordError(term.to_owned())), "{input}");
        }
    }

    #[test]
    fn policies_are_told_from_other_records() {
        for (input, want) in [("v=spf1", true), ("V=SPF1 a", true), ("v=spf10", false), ("v=spf1\ta", false), ("x", false)] {
            assert_eq!(is_spf(input.as_bytes()), want, "{input}");
        }
    }
}
