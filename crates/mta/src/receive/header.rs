//! What is done to a message's header when it comes in. Pure.
//!
//! Relayed mail is left as it came (signatures cover it). Mail of our own accounts gets the fields
//! it lacks and loses `Bcc` and `Return-Path` (RFC 6409 §8, RFC 5322 §3.6.3).
//!
//! Invariant: every octet that is not one of those fields is kept.

use mail::header::{Field, fields};

/// The fields that a submitted message gets if it lacks them, as values without line ends.
#[derive(Debug, Clone)]
pub(super) struct Additions {
    /// The value of `Date`.
    pub(super) date: String,
    /// The value of `Message-ID`, with brackets.
    pub(super) message_id: String,
}

/// A header block ready to be stored.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Prepared {
    /// The block with the empty line at its end.
    pub(super) block: Vec<u8>,
    /// How many `Received` fields it came with.
    pub(super) hops: usize,
}

/// Prepares a header block, which ends with its empty line if the message has one. `trace` are the
/// whole fields that go on top; `additions` are given for submitted mail only.
pub(super) fn prepare(block: &[u8], trace: &str, additions: Option<&Additions>) -> Prepared {
    let mut out = Vec::with_capacity(trace.len() + block.len() + 256);
    out.extend_from_slice(trace.as_bytes());
    let found = match additions {
        Some(additions) => submit(&mut out, block, additions),
        None => relay(&mut out, block),
    };
    if found.fields == 0 && !block.starts_with(b"\r\n") {
        // The message has no header at all: what it starts with is its body.
        out.splice(out.len() - block.len()..out.len() - block.len(), *b"\r\n");
    }
    Prepared { block: out, hops: found.hops }
}

#[derive(Default)]
struct Found {
    fields: usize,
    hops: usize,
    date: bool,
    message_id: bool,
}

impl Found {
    fn note(&mut self, field: &Field<'_>) {
        self.fields += 1;
        self.hops += usize::from(field.is("Received"));
        self.date |= field.is("Date");
        self.message_id |= field.is("Message-ID");
    }
}

fn relay(out: &mut Vec<u8>, block: &[u8]) -> Found {
    let mut found = Found::default();
    fields(block).for_each(|field| found.note(&field));
    out.extend_from_slice(block);
    found
}

fn submit(out: &mut Vec<u8>, block: &[u8], additions: &Additions) -> Found {
    let mut found = Found::default();
    fields(block).for_each(|field| found.note(&field));
    if !found.date {
        add(out, "Date", &additions.date);
    }
    if !found.message_id {
        add(out, "Message-ID", &additions.message_id);
    }
    let mut kept_from = 0;
    for field in fields(block).filter(|field| field.is("Bcc") || field.is("Return-Path")) {
        out.extend_from_slice(block.get(kept_from..field.start).unwrap_or_default());
        kept_from = field.end;
    }
    out.extend_from_slice(block.get(kept_from..).unwrap_or_default());
    found
}

fn add(out: &mut Vec<u8>, name: &str, value: &str) {
    for part in [name, ": ", value, "\r\n"] {
        out.extend_from_slice(part.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prepared(block: &str, submitted: bool) -> (String, usize) {
        let additions = Additions { date: "D".into(), message_id: "<M>".into() };
        let prepared = prepare(block.replace('|', "\r\n").as_bytes(), "Received: T\r\n", submitted.then_some(&additions));
        (String::from_utf8(prepared.block).unwrap().replace("\r\n", "|"), prepared.hops)
    }

    #[test]
    fn relayed_headers_are_kept_and_submitted_ones_completed() {
        for (block, submitted, want, hops) in [
            ("From: a@b|Bcc: c@d||", false, "Received: T|From: a@b|Bcc: c@d||", 0),
            (
                "received: x|Received: y| folded|Received-SPF: z||",
                false,
                "Received: T|received: x|Received: y| folded|Received-SPF: z||",
                2,
            ),
            ("From: a@b||", true, "Received: T|Date: D|Message-ID: <M>|From: a@b||", 0),
            ("Date: x|Message-Id: <y>|From: a@b||", true, "Received: T|Date: x|Message-Id: <y>|From: a@b||", 0),
            ("Date: x|BCC: c@d,| e@f|Message-ID: <y>|bcc: g||", true, "Received: T|Date: x|Message-ID: <y>||", 0),
            ("Return-Path: <x>|Date: x|Message-ID: <y>||", true, "Received: T|Date: x|Message-ID: <y>||", 0),
            ("|", false, "Received: T||", 0),
            ("just words|", false, "Received: T||just words|", 0),
            ("just words|", true, "Received: T|Date: D|Message-ID: <M>||just words|", 0),
            ("", false, "Received: T||", 0),
        ] {
            assert_eq!(prepared(block, submitted), (want.to_owned(), hops), "{block}");
        }
    }
}
