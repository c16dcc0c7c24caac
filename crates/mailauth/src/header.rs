//! A message's header as signatures see it: fields by name, and their two canonical forms
//! (RFC 6376 §3.4).
//!
//! Not the meaning of fields: that is `mail::header`'s business.

use mail::header::{self, Field};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// How much a field or body may be changed on its way (RFC 6376 §3.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Canonicalization {
    /// Not at all.
    Simple,
    /// White space and the case of names.
    Relaxed,
}

impl Canonicalization {
    /// The word in `c=`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Simple => "simple",
            Self::Relaxed => "relaxed",
        }
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        match text {
            "simple" => Some(Self::Simple),
            "relaxed" => Some(Self::Relaxed),
            _ => None,
        }
    }
}

/// A header block with its fields found by name.
#[derive(Debug)]
pub(crate) struct Header<'a> {
    block: &'a [u8],
    fields: Vec<Field<'a>>,
    by_name: HashMap<Vec<u8>, Vec<usize>>,
}

impl<'a> Header<'a> {
    /// Reads a header block, or a message up to its first empty line.
    pub(crate) fn new(block: &'a [u8]) -> Self {
        let fields: Vec<Field<'a>> = header::fields(block).collect();
        let mut by_name: HashMap<Vec<u8>, Vec<usize>> = HashMap::new();
        for (place, field) in fields.iter().enumerate() {
            by_name.entry(field.name.to_ascii_lowercase()).or_default().push(place);
        }
        Self { block, fields, by_name }
    }

    /// The fields of that name, from the top.
    pub(crate) fn named<'s>(&'s self, name: &str) -> impl DoubleEndedIterator<Item = &'s Field<'a>> + use<'s, 'a> {
        let places = self.by_name.get(name.to_ascii_lowercase().as_bytes());
        places.into_iter().flatten().filter_map(|place| self.fields.get(*place))
    }

    /// The octets of a field with its line end.
    pub(crate) fn raw(&self, field: &Field<'_>) -> &'a [u8] {
        self.block.get(field.range()).unwrap_or_default()
    }

    /// The fields that a list of names stands for: each further mention of a name takes the next field up;
    /// mentions without a field stand for nothing (RFC 6376 §5.4.2).
    pub(crate) fn signed<'s, 'n>(&'s self, names: impl IntoIterator<Item = &'n str>) -> Vec<&'s Field<'a>> {
        let mut taken: HashMap<Vec<u8>, usize> = HashMap::new();
        let mut fields = Vec::new();
        for name in names {
            let name = name.to_ascii_lowercase().into_bytes();
            let Some(places) = self.by_name.get(&name) else { continue };
            let count = taken.entry(name).or_default();
            let place = places.len().checked_sub(*count + 1).and_then(|at| places.get(at));
            *count += 1;
            fields.extend(place.and_then(|place| self.fields.get(*place)));
        }
        fields
    }

    /// Adds a field's canonical form, with its line end.
    pub(crate) fn canonical(&self, field: &Field<'_>, form: Canonicalization, out: &mut Vec<u8>) {
        match form {
            Canonicalization::Simple => {
                let raw = self.raw(field);
                out.extend_from_slice(raw);
                // A block cut off within its last field.
                out.extend_from_slice(if raw.ends_with(b"\n") { b"" } else { b"\r\n" });
            }
            Canonicalization::Relaxed => relaxed_field(field.name, field.value, out),
        }
    }

    /// Adds the canonical form of a signature's own field: its `b=` emptied, without a line end
    /// (RFC 6376 §3.7).
    pub(crate) fn canonical_unsigned(&self, field: &Field<'_>, form: Canonicalization, out: &mut Vec<u8>) {
        match form {
            Canonicalization::Simple => {
                let raw = self.raw(field);
                let value_at = raw.iter().position(|b| *b == b':').map_or(raw.len(), |colon| colon + 1);
                let (name, value) = raw.split_at(value_at);
                let value = value.strip_suffix(b"\n").map_or(value, |value| value.strip_suffix(b"\r").unwrap_or(value));
                out.extend_from_slice(name);
                out.extend_from_slice(&without_signature(value));
            }
            Canonicalization::Relaxed => {
                relaxed_field(field.name, &without_signature(field.value), out);
                out.truncate(out.len().saturating_sub(2));
            }
        }
    }
}

/// RFC 6376 §3.4.2.
pub(crate) fn relaxed_field(name: &[u8], value: &[u8], out: &mut Vec<u8>) {
    out.extend(name.iter().map(u8::to_ascii_lowercase));
    out.push(b':');
    let start = out.len();
    let mut space = false;
    for &byte in value {
        match byte {
            b'\r' | b'\n' => {}
            b' ' | b'\t' => space = true,
            _ => {
                if space && out.len() > start {
                    out.push(b' ');
                }
                space = false;
                out.push(byte);
            }
        }
    }
    out.extend_from_slice(b"\r\n");
}

/// The value of a signature field with nothing behind `b=`.
fn without_signature(value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(value.len());
    for (place, spec) in value.split(|b| *b == b';').enumerate() {
        if place > 0 {
            out.push(b';');
        }
        let equals = spec.iter().position(|b| *b == b'=');
        let (name, _) = spec.split_at(equals.unwrap_or(0));
        let is_signature = name.trim_ascii() == b"b";
        let kept = if is_signature { equals.map_or(spec.len(), |at| at + 1) } else { spec.len() };
        out.extend_from_slice(spec.get(..kept).unwrap_or_default());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_become_canonical() {
        // RFC 6376 §3.4.5.
        let block = b"A: X\r\nB : Y\t\r\n\tZ  \r\n\r\nbody";
        let header = Header::new(block);
        let check = |form, want: &str| {
            let mut out = Vec::new();
            for field in header.signed(["a", "B", "missing"]) {
                header.canonical(field, form, &mut out);
            }
            assert_eq!(String::from_utf8_lossy(&out), want);
        };
        check(Canonicalization::Relaxed, "a:X\r\nb:Y Z\r\n");
        check(Canonicalization::Simple, "A: X\r\nB : Y\t\r\n\tZ  \r\n");
    }

    #[test]
    fn names_take_fields_from_the_bottom() {
        let header = Header::new(b"X: 1\r\nx: 2\r\nY: 3\r\n\r\n");
        let values: Vec<_> = header.signed(["x", "X", "x", "y"]).iter().map(|field| field.value.to_vec()).collect();
        assert_eq!(values, [b" 2", b" 1", b" 3"]);
    }

    #[test]
    fn the_signature_itself_is_left_out() {
        for (input, want) in [
            (" a=1; b=xyz; bh=q", " a=1; b=; bh=q"),
            (" a=1;\r\n b = x\r\n yz", " a=1;\r\n b ="),
            ("b=x;c=b=y", "b=;c=b=y"),
            ("a=1", "a=1"),
        ] {
            assert_eq!(String::from_utf8_lossy(&without_signature(input.as_bytes())), want, "{input}");
        }
    }
}
