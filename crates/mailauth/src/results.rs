//! The Authentication-Results field: written, read, and removed where somebody else wrote it in our name
//! (RFC 8601).
//!
//! Invariants: what a peer chose is written as a token or a quoted string, so that it cannot add results of
//! its own; fields with our name do not survive arrival.

use crate::Outcome;
use crate::dkim::Dkim;
use crate::dns::name_of;
use crate::spf::{Identity, Spf};
use mail::header::{self, unfold};
use std::net::IpAddr;

/// The name of the field.
pub const FIELD: &str = "Authentication-Results";

/// Most results of a field that are read. Our own bound.
const RESULTS_MAX: usize = 100;

/// The value of a field: our name and every result, in lines. `peer`: whose address was checked.
pub fn value(authserv_id: &str, outcome: &Outcome, peer: IpAddr) -> String {
    let mut results = vec![iprev(outcome, peer), spf(&outcome.helo), spf(&outcome.mail_from)];
    results.extend(outcome.dkim.iter().map(dkim));
    if outcome.dkim.is_empty() {
        results.push("dkim=none".to_owned());
    }
    results.push(dmarc(outcome));
    if outcome.arc.sets > 0 {
        results.push(arc(outcome));
    }
    format!("{authserv_id};\r\n\t{}", results.join(";\r\n\t"))
}

/// The field with its line end.
pub fn field(authserv_id: &str, outcome: &Outcome, peer: IpAddr) -> String {
    format!("{FIELD}: {}\r\n", value(authserv_id, outcome, peer))
}

fn iprev(outcome: &Outcome, peer: IpAddr) -> String {
    let name = outcome.iprev.name.as_ref().map(|name| format!(" ({})", comment(name))).unwrap_or_default();
    format!("iprev={} policy.iprev={}{name}", outcome.iprev.result.as_str(), quoted(&peer.to_canonical().to_string()))
}

fn spf(spf: &Spf) -> String {
    let property = match spf.identity {
        Identity::Helo => "smtp.helo",
        Identity::MailFrom => "smtp.mailfrom",
    };
    let mut text = format!("spf={}", spf.result);
    reason(&mut text, spf.problem.as_deref());
    with(&mut text, property, &spf.domain);
    text
}

fn dkim(dkim: &Dkim) -> String {
    let mut text = format!("dkim={}", dkim.result);
    reason(&mut text, dkim.reason.as_deref());
    with(&mut text, "header.d", &dkim.domain);
    with(&mut text, "header.s", &dkim.selector);
    with(&mut text, "header.a", dkim.algorithm.map_or("", super::dkim::Algorithm::as_str));
    with(&mut text, "header.b", &dkim.signature_start);
    text
}

fn dmarc(outcome: &Outcome) -> String {
    let dmarc = &outcome.dmarc;
    let mut text = format!("dmarc={}", dmarc.result);
    if dmarc.policy_domain.is_some() {
        text.extend([" (p=", dmarc.policy.as_str(), ")"]);
    }
    reason(&mut text, dmarc.reason.as_deref());
    with(&mut text, "header.from", &dmarc.domain);
    text
}

fn arc(outcome: &Outcome) -> String {
    let mut text = format!("arc={} (i={})", outcome.arc.result, outcome.arc.sets);
    reason(&mut text, outcome.arc.reason.as_deref());
    text
}

fn reason(text: &mut String, reason: Option<&str>) {
    if let Some(reason) = reason {
        text.extend(["\r\n\t reason=", &quoted_string(reason)]);
    }
}

fn with(text: &mut String, property: &str, value: &str) {
    if !value.is_empty() {
        text.extend([" ", property, "=", &quoted(value)]);
    }
}

/// A value as it may stand in the field: as it is, or quoted.
fn quoted(value: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._@+!#$&'*^`|~{}".contains(c);
    if !value.is_empty() && value.chars().all(plain) { value.to_owned() } else { quoted_string(value) }
}

fn quoted_string(value: &str) -> String {
    let mut out = "\"".to_owned();
    for c in value.chars().filter(|c| !c.is_control()).take(300) {
        out.extend(matches!(c, '"' | '\\').then_some('\\'));
        out.push(c);
    }
    out.push('"');
    out
}

fn comment(value: &str) -> String {
    value.chars().filter(|c| c.is_ascii_graphic() && !"()\\".contains(*c)).take(255).collect()
}

/// A field that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Results {
    /// Whose results these are.
    pub authserv_id: String,
    /// One for each check; empty: `none`.
    pub results: Vec<MethodResult>,
}

/// The result of one check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MethodResult {
    /// `spf`, `dkim` …, lower case.
    pub method: String,
    /// `pass`, `fail` …, lower case.
    pub result: String,
    /// Why, in words.
    pub reason: Option<String>,
    /// `smtp.mailfrom` and its value, …
    pub properties: Vec<(String, String)>,
}

/// Reads a field's value; `None` if it breaks the grammar.
pub fn parse(value: &str) -> Option<Results> {
    let mut tokens = Tokens(value);
    let authserv_id = tokens.word()?;
    let mut results = Vec::new();
    match tokens.peek() {
        None | Some(';') => {}
        // A version behind the name.
        Some(_) => drop(tokens.word()?),
    }
    while tokens.take(';') {
        if tokens.peek().is_none() {
            break;
        }
        let name = tokens.word()?;
        if name.eq_ignore_ascii_case("none") && tokens.peek().is_none_or(|c| c == ';') {
            continue;
        }
        if results.len() == RESULTS_MAX {
            return None;
        }
        results.push(method_result(&mut tokens, &name)?);
    }
    tokens.peek().is_none().then_some(Results { authserv_id, results })
}

fn method_result(tokens: &mut Tokens<'_>, name: &str) -> Option<MethodResult> {
    if tokens.take('/') {
        tokens.word()?;
    }
    tokens.take('=').then_some(())?;
    let result = tokens.word()?.to_ascii_lowercase();
    let mut found = MethodResult { method: name.to_ascii_lowercase(), result, reason: None, properties: Vec::new() };
    while tokens.peek().is_some_and(|c| c != ';') {
        let mut name = tokens.word()?.to_ascii_lowercase();
        if tokens.take('.') {
            name.extend([".", &tokens.word()?.to_ascii_lowercase()]);
        }
        tokens.take('=').then_some(())?;
        let value = tokens.value()?;
        if name == "reason" { found.reason = Some(value) } else { found.properties.push((name, value)) }
    }
    (found.properties.len() <= RESULTS_MAX).then_some(found)
}

struct Tokens<'a>(&'a str);

impl Tokens<'_> {
    /// White space and comments.
    fn skip(&mut self) {
        let (mut depth, mut escaped) = (0_usize, false);
        let end = self.0.char_indices().find(|(_, c)| {
            match c {
                _ if escaped => escaped = false,
                '\\' if depth > 0 => escaped = true,
                '(' => depth += 1,
                ')' if depth > 0 => depth -= 1,
                _ => return depth == 0 && !c.is_whitespace(),
            }
            false
        });
        self.0 = self.0.get(end.map_or(self.0.len(), |(at, _)| at)..).unwrap_or_default();
    }

    fn peek(&mut self) -> Option<char> {
        self.skip();
        self.0.chars().next()
    }

    fn take(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        if found {
            self.0 = self.0.get(wanted.len_utf8()..).unwrap_or_default();
        }
        found
    }

    /// A token or a quoted string. Names hold dots here; where they part type and property is not asked.
    fn word(&mut self) -> Option<String> {
        self.value_of(|c| !c.is_whitespace() && !"();=\"/".contains(c))
    }

    /// A value: what a word is, and addresses.
    fn value(&mut self) -> Option<String> {
        self.value_of(|c| !c.is_whitespace() && !"();\"".contains(c))
    }

    /// Everything before the first result, run together; `None` where that is nothing or breaks the grammar.
    fn writer(&mut self) -> Option<String> {
        let mut out = String::new();
        while let Some(c) = self.peek().filter(|c| *c != ';') {
            if c == '"' {
                out.extend(self.word()?.chars().filter(|c| !c.is_whitespace()));
            } else {
                self.take(c);
                out.push(c);
            }
        }
        (!out.is_empty()).then_some(out)
    }

    fn value_of(&mut self, is_inner: impl Fn(char) -> bool) -> Option<String> {
        if self.take('"') {
            return self.quoted();
        }
        let end = self.0.find(|c| !is_inner(c)).unwrap_or(self.0.len());
        let (word, rest) = self.0.split_at(end);
        let word = word.to_owned();
        self.0 = rest;
        (!word.is_empty()).then_some(word)
    }

    fn quoted(&mut self) -> Option<String> {
        let mut out = String::new();
        let mut chars = self.0.char_indices();
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => {
                    self.0 = self.0.get(at + 1..).unwrap_or_default();
                    return Some(out);
                }
                '\\' => out.push(chars.next()?.1),
                c => out.push(c),
            }
        }
        None
    }
}

/// A header block without the fields that claim to be ours, and how many there were (RFC 8601 §5). A field
/// whose writer cannot be told goes too.
pub fn without_forged(block: &[u8], authserv_id: &str) -> (Vec<u8>, usize) {
    let (mut out, mut kept_to, mut removed) = (Vec::with_capacity(block.len()), 0, 0);
    for field in header::fields(block).filter(|field| is_claimed(field, authserv_id)) {
        out.extend_from_slice(block.get(kept_to..field.start).unwrap_or_default());
        kept_to = field.end;
        removed += 1;
    }
    out.extend_from_slice(block.get(kept_to..).unwrap_or_default());
    (out, removed)
}

/// Whether a field gives results in the name of `authserv_id`, or in nobody's.
pub fn is_claimed(field: &header::Field<'_>, authserv_id: &str) -> bool {
    if !field.is(FIELD) {
        return false;
    }
    let text = unfold(field.value);
    let is_ours = |writer: &str| match (name_of(writer), name_of(authserv_id)) {
        (Some(writer), Some(ours)) => writer == ours,
        _ => writer.eq_ignore_ascii_case(authserv_id),
    };
    let first = Tokens(&text).word();
    let all = Tokens(&text).writer();
    // Readers that take comments and white space out before they look see one word, with the version at its end.
    let is_run_together = |all: &str| is_ours(all.trim_end_matches(|c: char| c.is_ascii_digit())) || is_ours(all);
    first.is_none_or(|first| is_ours(&first)) || all.is_none_or(|all| is_run_together(&all))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read() {
        // RFC 8601 appendix B.
        for (input, want) in [
            ("example.org 1; none", Some("example.org")),
            ("example.com;\r\n spf=pass smtp.mailfrom=example.net", Some("example.com spf=pass smtp.mailfrom=example.net")),
            (
                "example.com;\r\n auth=pass (cleartext) smtp.auth=sender@example.com; spf=pass smtp.mailfrom=a@b",
                Some("example.com auth=pass smtp.auth=sender@example.com spf=pass smtp.mailfrom=a@b"),
            ),
            (
                "foo.example (foobar) 1 (baz); dkim (Because I like it) / 1 (One yay) = (wait for it) fail policy (A dot can go here) . (like that) expired (this surprised me) = (as I wasn't expecting it) 1362471462",
                Some("foo.example dkim=fail policy.expired=1362471462"),
            ),
            ("a; dkim=fail reason=\"bad; \\\"x\\\"\" header.d=b", Some("a dkim=fail reason=bad; \"x\" header.d=b")),
            ("a; spf", None),
            ("", None),
            ("a; spf=pass x", None),
            ("a; spf=\"pass", None),
        ] {
            let shown = parse(input).map(|results| {
                let each = results.results.into_iter().map(|result| {
                    let properties: String = result.properties.iter().map(|(name, value)| [" ", name, "=", value].concat()).collect();
                    let reason = result.reason.map(|reason| format!(" reason={reason}")).unwrap_or_default();
                    format!(" {}={}{reason}{properties}", result.method, result.result)
                });
                results.authserv_id + &each.collect::<String>()
            });
            assert_eq!(shown.as_deref(), want, "{input}");
        }
    }

    #[test]
    fn forged_fields_go() {
        let block = b"Authentication-Results: MX.example.org; spf=pass\r\nFrom: a\r\nauthentication-results : (x) mx.example.org 1;\r\n dkim=pass\r\nAuthentication-Results: other.example; none\r\nAuthentication-Results: ;\r\nTo: b\r\n\r\n";
        let (left, removed) = without_forged(block, "mx.example.org");
        assert_eq!(String::from_utf8_lossy(&left), "From: a\r\nAuthentication-Results: other.example; none\r\nTo: b\r\n\r\n");
        assert_eq!(removed, 3);
    }

    #[test]
    fn however_our_name_is_written_the_field_goes() {
        const OURS: &str = "mx.xn--bcher-kva.example";
        let check = |input: &str, is_forged: bool| {
            let block = format!("From: a\r\n{input}\r\nTo: b\r\n\r\nAuthentication-Results: {OURS}; spf=pass\r\n");
            let (left, removed) = without_forged(block.as_bytes(), OURS);
            let want = if is_forged { block.replacen(&format!("{input}\r\n"), "", 1) } else { block };
            assert_eq!((removed == 1, String::from_utf8(left).unwrap()), (is_forged, want), "{input:?}");
        };
        for forged in [
            "Authentication-Results: mx.xn--bcher-kva.example; dmarc=pass",
            "Authentication-Results:mx.xn--bcher-kva.example;dmarc=pass",
            // The name of the field.
            "AUTHENTICATION-RESULTS: mx.xn--bcher-kva.example; dmarc=pass",
            "Authentication-Results \t: mx.xn--bcher-kva.example; dmarc=pass",
            "Authentication-Results\r\n : mx.xn--bcher-kva.example; dmarc=pass",
            // Case, labels, the root's dot.
            "Authentication-Results: MX.XN--BCHER-KVA.Example; dmarc=pass",
            "Authentication-Results: mx.b\u{fc}cher.example; dmarc=pass",
            "Authentication-Results: mx.B\u{dc}CHER.example; dmarc=pass",
            "Authentication-Results: mx.xn--bcher-kva.example.; dmarc=pass",
            // Folded, with a version, with comments around it.
            "Authentication-Results:\r\n\tmx.xn--bcher-kva.example;\r\n\tdmarc=pass",
            "Authentication-Results: \r\n \r\n mx.xn--bcher-kva.example; dmarc=pass",
            "Authentication-Results: mx.xn--bcher-kva.example 1; dmarc=pass",
            "Authentication-Results: mx.xn--bcher-kva.example/1; dmarc=pass",
            "Authentication-Results: (other.example; none) mx.xn--bcher-kva.example; dmarc=pass",
            "Authentication-Results: (a (b \\) c) d) mx.xn--bcher-kva.example (e); dmarc=pass",
            "Authentication-Results: (\r\n folded)\r\n mx.xn--bcher-kva.example(x)1(y); dmarc=pass",
            "Authentication-Results: \u{a0}mx.xn--bcher-kva.example; dmarc=pass",
            // Quoted.
            "Authentication-Results: \"mx.xn--bcher-kva.example\"; dmarc=pass",
            "Authentication-Results: \"mx.\\xn--bcher-kva.example\" 1; dmarc=pass",
            "Authentication-Results: \"mx.xn--\r\n bcher-kva.example\"; dmarc=pass",
            // What only careless readers take for our name.
            "Authentication-Results: mx.(x)xn--bcher-kva.example; dmarc=pass",
            "Authentication-Results: mx.xn--bcher-kva\r\n .example; dmarc=pass",
            "Authentication-Results: \"mx.\"\"xn--bcher-kva.example\"; dmarc=pass",
            // Nobody's.
            "Authentication-Results:",
            "Authentication-Results: ; dmarc=pass",
            "Authentication-Results: \"mx.xn--bcher-kva.example; dmarc=pass",
            "Authentication-Results: (mx.xn--bcher-kva.example; dmarc=pass",
        ] {
            check(forged, true);
        }
        for theirs in [
            "Authentication-Results: other.example; dmarc=pass",
            "Authentication-Results: other.example (mx.xn--bcher-kva.example); dmarc=pass",
            "Authentication-Results: xn--bcher-kva.example; dmarc=pass",
            "Authentication-Results: mx.xn--bcher-kva.example.net; dmarc=pass",
            "Authentication-Results: other.example; none\r\n mx.xn--bcher-kva.example; dmarc=pass",
            "ARC-Authentication-Results: i=1; mx.xn--bcher-kva.example; dmarc=pass",
            "X-Authentication-Results: mx.xn--bcher-kva.example; dmarc=pass",
            "Original-Authentication-Results: mx.xn--bcher-kva.example; dmarc=pass",
            "Subject: Authentication-Results: mx.xn--bcher-kva.example; dmarc=pass",
        ] {
            check(theirs, false);
        }
    }

    #[test]
    fn what_a_peer_chose_stays_within_its_value() {
        for input in ["a; dmarc=pass", "a\"b", "a\r\nb", "", "a b(c", "ü"] {
            let text = format!("x; spf=none smtp.helo={}", quoted(input));
            let results = parse(&text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!((results.results.len(), results.results[0].properties.len()), (1, 1), "{text}");
        }
    }
}
