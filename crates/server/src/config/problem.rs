//! What is wrong with a config file: where, which key, what was expected.
//!
//! Not a general error type: it exists for the person who has just edited the file.

use serde::Serialize;
use std::fmt;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// One thing that is wrong with a config file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The file.
    pub file: PathBuf,
    /// From 1; none if the file could not be read at all.
    pub line: Option<usize>,
    /// The key, dotted: `listener[2].address`; empty if it is the file as a whole.
    pub key: String,
    /// What is wrong and what was expected.
    pub message: String,
    /// The nearest thing that would be right.
    pub hint: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if !self.key.is_empty() {
            write!(f, ": {}", self.key)?;
        }
        write!(f, ": {}", self.message)
    }
}

impl std::error::Error for Problem {}

impl Problem {
    /// The file cannot be read.
    pub fn unreadable(path: &Path, error: &io::Error) -> Self {
        let hint = match error.kind() {
            io::ErrorKind::NotFound => Some("make one with `postrider init`, or name another with --config FILE".to_owned()),
            _ => None,
        };
        Self { file: path.to_owned(), line: None, key: String::new(), message: format!("cannot be read: {error}"), hint }
    }

    /// What serde found; `known` are the keys that could have been meant.
    pub(crate) fn from_toml(path: &Path, text: &str, error: &toml::de::Error, known: &[&'static str]) -> Self {
        let span = error.span();
        let place = span.as_ref().and_then(|span| key_at(text, span)).unwrap_or_default();
        let (key, message) = in_words(&place, error.message());
        let hint = unknown(error.message()).and_then(|_| nearest(&key, known)).map(|key| format!("did you mean {key}?"));
        Self { file: path.to_owned(), line: span.map(|span| line_of(text, span.start)), key, message, hint }
    }

    /// What the checks behind serde found.
    pub(crate) fn at_key(path: &Path, text: &str, key: &str, message: String) -> Self {
        let line = span_of(text, key).map(|span| line_of(text, span.start));
        Self { file: path.to_owned(), line, key: key.to_owned(), message, hint: None }
    }
}

/// The name in "unknown field `name`".
fn unknown(message: &str) -> Option<&str> {
    message.strip_prefix("unknown field `")?.split('`').next()
}

/// Serde's words turned into ours: the key first, then what was expected.
fn in_words(place: &str, message: &str) -> (String, String) {
    if let Some(name) = message.strip_prefix("missing field `").and_then(|rest| rest.split('`').next()) {
        return (dotted(place, name), "is missing".to_owned());
    }
    let Some(name) = unknown(message) else { return (place.to_owned(), plain(message)) };
    let key = if place == name || place.ends_with(&format!(".{name}")) { place.to_owned() } else { dotted(place, name) };
    let expected = message.split_once("expected ").map_or("", |(_, rest)| rest).replace('`', "");
    let expected = expected.trim_start_matches("one of ");
    (key, format!("unknown key: expected one of {expected}"))
}

/// Libraries' words turned into an operator's.
fn plain(message: &str) -> String {
    match message {
        "invalid socket address syntax" => return "expected an address and a port such as \"127.0.0.1:25\" or \"[::]:25\"".to_owned(),
        "invalid IP address syntax" => return "expected an address such as \"192.0.2.7\" or \"2001:db8::7\"".to_owned(),
        _ => {}
    }
    ["usize", "u64", "u16"].iter().fold(message.to_owned(), |text, kind| text.replace(&format!("expected {kind}"), "expected a number"))
}

fn dotted(table: &str, name: &str) -> String {
    if table.is_empty() { name.to_owned() } else { format!("{table}.{name}") }
}

/// The known key that is written most like this one.
fn nearest(key: &str, known: &[&'static str]) -> Option<&'static str> {
    let bare: String = without_places(key);
    let near = known.iter().map(|known| (distance(&bare, &without_places(known)), *known)).min()?;
    (near.0 <= bare.len().div_ceil(3)).then_some(near.1)
}

/// `listener[0].address` and `listener[].address` alike become `listen.address`.
fn without_places(key: &str) -> String {
    let mut inside = false;
    let keep = |c: &char| {
        match c {
            '[' => inside = true,
            ']' => {
                inside = false;
                return false;
            }
            _ => {}
        }
        !inside
    };
    key.chars().filter(keep).collect()
}

/// Levenshtein's distance, octets.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut before = i + 1;
        let mut next = vec![before];
        for (y, pair) in b.bytes().zip(row.windows(2)) {
            let [diagonal, above] = pair else { continue };
            before = (diagonal + usize::from(x != y)).min(above + 1).min(before + 1);
            next.push(before);
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|b| *b == b'\n').count() + 1
}

/// The dotted key whose name or value covers `span` most closely.
fn key_at(text: &str, span: &Range<usize>) -> Option<String> {
    let mut best = None;
    visit(text, &mut |key, range| {
        if range.start <= span.start && span.end <= range.end {
            best = Some(key.to_owned());
        }
    })?;
    best
}

/// Where a dotted key is written.
fn span_of(text: &str, wanted: &str) -> Option<Range<usize>> {
    let mut found = None;
    visit(text, &mut |key, range| {
        if key == wanted && found.is_none() {
            found = Some(range.clone());
        }
    })?;
    // A key that is not written stands for a default: its table is the place.
    found.or_else(|| wanted.rsplit_once('.').and_then(|(table, _)| span_of(text, table)))
}

fn visit(text: &str, see: &mut dyn FnMut(&str, &Range<usize>)) -> Option<()> {
    let root = DeTable::parse(text).ok()?;
    visit_table("", root.get_ref(), see);
    Some(())
}

fn visit_table(prefix: &str, table: &DeTable<'_>, see: &mut dyn FnMut(&str, &Range<usize>)) {
    for (name, value) in table {
        let key = dotted(prefix, name.get_ref());
        see(&key, &name.span());
        visit_value(&key, value, see);
    }
}

fn visit_value(key: &str, value: &Spanned<DeValue<'_>>, see: &mut dyn FnMut(&str, &Range<usize>)) {
    see(key, &value.span());
    match value.get_ref() {
        DeValue::Table(table) => visit_table(key, table, see),
        DeValue::Array(items) => {
            for (place, item) in items.iter().enumerate() {
                visit_value(&format!("{key}[{place}]"), item, see);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::*;

    fn check(text: &str, want: &str, hint: Option<&str>) {
        let problem = Config::parse(Path::new("p.toml"), text).unwrap_err();
        assert_eq!(problem.to_string(), want, "{text}");
        assert_eq!(problem.hint.as_deref(), hint, "{text}");
    }

    #[test]
    fn messages_name_line_key_and_expectation() {
        check("", "p.toml:1: hostname: is missing", None);
        check(
            "hostname = \"mail.example.org\"\n[queue]\nlifetim = \"5d\"\n",
            "p.toml:3: queue.lifetim: unknown key: expected one of retry, lifetime, delay_warning, connections, connections_per_destination, messages_per_connection, connect_timeout, hold, limits",
            Some("did you mean queue.lifetime?"),
        );
        check(
            "hostname = \"h\"\n\n[queue]\nretry = [\"5m\", \"soon\"]\n",
            "p.toml:4: queue.retry: expected a span of time such as \"30s\", \"15m\", \"1h30m\" or \"5d\"",
            None,
        );
        check(
            "hostname = \"h\"\n[limits]\nconnections = \"many\"\n",
            "p.toml:3: limits.connections: invalid type: string \"many\", expected a number",
            None,
        );
        check(
            "hostname = \"h\"\n[[listener]]\nprotocol = \"smtp\"\naddress = \"localhost\"\n",
            "p.toml:4: listener[0].address: expected an address and a port such as \"127.0.0.1:25\" or \"[::]:25\"",
            None,
        );
        check(
            "hostname = \"h\"\n[tls]\nkey = \"/k\"\n",
            "p.toml:3: tls.key: a private key needs its certificate: expected tls.certificate beside it",
            None,
        );
        check(
            "hostname = \"h\"\n[limits]\nrecipients = 5\n",
            "p.toml:3: limits.recipients: expected at least 100 (RFC 5321 §4.5.3.1.8)",
            None,
        );
        check("hostname = \"a b\"\n", "p.toml:1: hostname: the domain has an invalid label", None);
    }

    #[test]
    fn near_keys_are_suggested_and_far_ones_not() {
        for (key, near) in [("hostnam", Some("hostname")), ("listener[1].adress", Some("listener[].address")), ("banana", None)] {
            assert_eq!(nearest(key, &super::super::keys::names()), near, "{key}");
        }
    }
}
