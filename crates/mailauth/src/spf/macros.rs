//! Texts with macros: `%{ir}.%{v}._spf.%{d2}` (RFC 7208 §7).
//!
//! Invariant: a [`Template`] is well-formed; expanding it cannot fail, and its result is bounded by the
//! length of what is put in times the length of the text.

use crate::dns::{Dns, Open, is_within};
use std::fmt::Write as _;
use std::net::IpAddr;

/// Longest result of an expansion, octets; what would be longer is cut. Our own bound: a record of 64 KiB
/// of `%{s}` is no name and no explanation.
pub const EXPANDED_OCTETS_MAX: usize = 4096;

/// A text with macros.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Macro(Macro),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Macro {
    letter: char,
    url_escaped: bool,
    /// Right-hand parts kept; none: all.
    parts: Option<usize>,
    reversed: bool,
    delimiters: String,
}

/// Where a text stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TemplateKind {
    /// A name to ask for: ends in a label that can be a top one, or in a macro.
    DomainSpec,
    /// The value of a modifier that we do not know.
    MacroString,
    /// The words for a `fail`: `c`, `r`, `t` and spaces are allowed.
    Explanation,
}

/// What macros stand for.
#[derive(Debug, Clone, Copy)]
pub struct Values<'a> {
    /// `%{s}`
    pub sender: &'a str,
    /// `%{d}`: whose policy is being read.
    pub domain: &'a str,
    /// `%{i}`
    pub peer: IpAddr,
    /// `%{h}`
    pub helo: &'a str,
    /// `%{r}`
    pub receiver: &'a str,
    /// `%{t}`, seconds since 1970.
    pub seconds: i64,
    /// Names of the address that are looked at for `%{p}`.
    pub ptr_names_max: usize,
}

impl Template {
    /// Reads a text; `None` if it breaks the grammar (RFC 7208 §7.1).
    pub fn parse(text: &str, kind: TemplateKind) -> Option<Self> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('%') {
            push_text(&mut pieces, before);
            rest = piece(&mut pieces, after, kind)?;
        }
        push_text(&mut pieces, rest);
        let template = Self(pieces);
        let printable = text.bytes().all(|b| (0x21..=0x7e).contains(&b) || (kind == TemplateKind::Explanation && b == b' '));
        let ends = kind != TemplateKind::DomainSpec || template.ends_as_domain(text);
        (printable && ends).then_some(template)
    }

    /// `domain-end` of RFC 7208 §7.1. Asked of the text as it is written, before expansion.
    fn ends_as_domain(&self, text: &str) -> bool {
        match self.0.last() {
            None => false,
            Some(Piece::Macro(_)) => text.ends_with('}'),
            Some(Piece::Text(_)) => {
                let text = text.strip_suffix('.').unwrap_or(text);
                text.rsplit_once('.').is_some_and(|(_, label)| is_top_label(label))
            }
        }
    }

    /// The text with its macros replaced.
    ///
    /// # Errors
    /// While the names of the address are needed and not known.
    pub fn expand(&self, values: &Values<'_>, dns: &mut Dns<'_>) -> Result<String, Open> {
        let mut out = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => out.push_str(text),
                Piece::Macro(expansion) => out.push_str(&expansion.expand(values, dns)?),
            }
            if out.len() > EXPANDED_OCTETS_MAX {
                let cut = (0..=EXPANDED_OCTETS_MAX).rev().find(|at| out.is_char_boundary(*at)).unwrap_or(0);
                out.truncate(cut);
                break;
            }
        }
        Ok(out)
    }
}

fn push_text(pieces: &mut Vec<Piece>, text: &str) {
    match pieces.last_mut() {
        _ if text.is_empty() => {}
        Some(Piece::Text(last)) => last.push_str(text),
        _ => pieces.push(Piece::Text(text.to_owned())),
    }
}

/// Reads what stands behind a `%`; returns the rest.
fn piece<'a>(pieces: &mut Vec<Piece>, after: &'a str, kind: TemplateKind) -> Option<&'a str> {
    let (first, rest) = after.split_at_checked(1)?;
    match first {
        "%" => push_text(pieces, "%"),
        "_" => push_text(pieces, " "),
        "-" => push_text(pieces, "%20"),
        "{" => {
            let (inner, rest) = rest.split_once('}')?;
            pieces.push(Piece::Macro(Macro::parse(inner, kind)?));
            return Some(rest);
        }
        _ => return None,
    }
    Some(rest)
}

/// Letters, digits and hyphens within, not digits alone (RFC 7208 §7.1 `toplabel`).
fn is_top_label(label: &str) -> bool {
    let inner = label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let alone = label.bytes().all(|b| b.is_ascii_digit());
    !label.is_empty() && inner && !alone && !label.starts_with('-') && !label.ends_with('-')
}

impl Macro {
    fn parse(inner: &str, kind: TemplateKind) -> Option<Self> {
        let (letter, transformers) = inner.split_at_checked(1)?;
        let written = letter.chars().next()?;
        let letter = written.to_ascii_lowercase();
        let known = "slodiphv".contains(letter) || (kind == TemplateKind::Explanation && "crt".contains(letter));
        let digits = transformers.find(|c: char| !c.is_ascii_digit()).unwrap_or(transformers.len());
        let (number, rest) = transformers.split_at(digits);
        let (reversed, delimiters) = match rest.strip_prefix(['r', 'R']) {
            Some(rest) => (true, rest),
            None => (false, rest),
        };
        let parts = if number.is_empty() { None } else { Some(number.parse::<usize>().unwrap_or(usize::MAX)) };
        let well = known && parts != Some(0) && delimiters.chars().all(|c| ".-+,/_=".contains(c));
        let url_escaped = written.is_ascii_uppercase();
        well.then(|| Self { letter, url_escaped, parts, reversed, delimiters: delimiters.to_owned() })
    }

    fn expand(&self, values: &Values<'_>, dns: &mut Dns<'_>) -> Result<String, Open> {
        let value = self.value(values, dns)?;
        let transformed = self.transform(&value);
        Ok(if self.url_escaped { url_escape(&transformed) } else { transformed })
    }

    fn value(&self, values: &Values<'_>, dns: &mut Dns<'_>) -> Result<String, Open> {
        let (local_part, sender_domain) = values.sender.rsplit_once('@').unwrap_or(("postmaster", values.sender));
        Ok(match self.letter {
            's' => values.sender.to_owned(),
            'l' => local_part.to_owned(),
            'o' => sender_domain.to_owned(),
            'd' => values.domain.to_owned(),
            'i' => dotted(values.peer),
            'p' => validated_name(dns, values.peer, values.domain, values.ptr_names_max)?,
            'v' => if values.peer.is_ipv4() { "in-addr" } else { "ip6" }.to_owned(),
            'h' => values.helo.to_owned(),
            'c' => values.peer.to_string(),
            'r' => values.receiver.to_owned(),
            _ => values.seconds.to_string(),
        })
    }

    fn transform(&self, value: &str) -> String {
        if self.parts.is_none() && !self.reversed && self.delimiters.is_empty() {
            return value.to_owned();
        }
        let delimiters = if self.delimiters.is_empty() { "." } else { &self.delimiters };
        let mut parts: Vec<&str> = value.split(|c| delimiters.contains(c)).collect();
        if self.reversed {
            parts.reverse();
        }
        let skipped = parts.len().saturating_sub(self.parts.unwrap_or(usize::MAX));
        parts.split_off(skipped).join(".")
    }
}

/// An IPv4 address as it is written; an IPv6 address as nibbles with dots (RFC 7208 §7.3).
fn dotted(peer: IpAddr) -> String {
    match peer {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => {
            let digits = format!("{:032X}", u128::from(v6));
            let mut out = String::with_capacity(64);
            for digit in digits.chars() {
                out.extend((!out.is_empty()).then_some('.'));
                out.push(digit);
            }
            out
        }
    }
}

/// `%{p}`: a name of the address that leads back to it, best the domain itself, then one within it, then any;
/// `unknown` if there is none or DNS fails (RFC 7208 §7.3).
fn validated_name(dns: &mut Dns<'_>, peer: IpAddr, domain: &str, names_max: usize) -> Result<String, Open> {
    let names = validated_names(dns, peer, names_max)?;
    let same = names.iter().find(|name| name.eq_ignore_ascii_case(domain));
    let within = names.iter().find(|name| is_within(name, domain));
    Ok(same.or(within).or(names.first()).map_or_else(|| "unknown".to_owned(), |name| (*name).to_owned()))
}

/// The names of an address that lead back to it; none if DNS fails (RFC 7208 §5.5).
pub(super) fn validated_names<'a>(dns: &mut Dns<'a>, peer: IpAddr, names_max: usize) -> Result<Vec<&'a str>, Open> {
    let Ok(names) = dns.names(peer)? else { return Ok(Vec::new()) };
    // All questions of one kind are asked in one round.
    let forward: Vec<_> = names.iter().take(names_max).map(|name| (name, dns.addresses(name, peer))).collect();
    let mut validated = Vec::new();
    for (name, addresses) in forward {
        if addresses?.is_ok_and(|addresses| addresses.contains(&peer)) {
            validated.push(name.trim_end_matches('.'));
        }
    }
    Ok(validated)
}

/// Everything but RFC 3986's unreserved characters as `%XX` (RFC 7208 §7.3).
fn url_escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::{Recorded, Step};

    const VALUES: Values<'static> = Values {
        sender: "strong-bad@email.example.com",
        domain: "email.example.com",
        peer: IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 3)),
        helo: "mx.example.org",
        receiver: "here.example",
        seconds: 7,
        ptr_names_max: 10,
    };

    #[test]
    fn macros_expand_as_the_examples_of_the_rfc() {
        // RFC 7208 §7.4.
        for (input, want) in [
            ("%{s}", "strong-bad@email.example.com"),
            ("%{o}", "email.example.com"),
            ("%{d4}", "email.example.com"),
            ("%{d2}", "example.com"),
            ("%{d1}", "com"),
            ("%{dr}", "com.example.email"),
            ("%{d2r}", "example.email"),
            ("%{l}", "strong-bad"),
            ("%{l-}", "strong.bad"),
            ("%{lr-}", "bad.strong"),
            ("%{l1r-}", "strong"),
            ("%{ir}.%{v}._spf.%{d2}", "3.2.0.192.in-addr._spf.example.com"),
            ("%{lr-}.lp._spf.%{d2}", "bad.strong.lp._spf.example.com"),
            ("%{S}%%%_%-", "strong-bad%40email.example.com% %20"),
        ] {
            let recorded = Recorded::default();
            let template = Template::parse(input, TemplateKind::MacroString).unwrap();
            let expanded = Dns::run(&recorded, |dns| template.expand(&VALUES, dns));
            assert_eq!(expanded, Step::Done(want.to_owned()), "{input}");
        }
    }

    #[test]
    fn broken_texts_are_refused() {
        for input in ["%", "%(d)", "%{d", "%{x}", "%{c}", "%{d0}", "%{d2!}", "a.b%", "abc", "a.12", "a.-b", "a b.c"] {
            assert_eq!(Template::parse(input, TemplateKind::DomainSpec), None, "{input}");
        }
        assert!(Template::parse("%{c} says %{r}, %{t}", TemplateKind::Explanation).is_some());
    }
}
