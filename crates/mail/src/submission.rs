//! What a submission server may mend in a header: a missing Date or Message-ID, and the Bcc that nobody
//! else may see, and a Return-Path that is not the sender's to write (RFC 6409 §8, RFC 5322 §3.6.3, §3.6.7).
//!
//! It works on the header block alone, so that the body can be streamed behind it.
//!
//! Invariant: every field that is not removed stays octet for octet.

use crate::date::{self, DateTime};
use crate::header;

/// What is put where something is missing.
#[derive(Debug, Clone, Copy)]
pub struct Completion<'a> {
    /// When the message was submitted, in the zone to show.
    pub date: DateTime,
    /// A new id without brackets, unique in the world.
    pub message_id: &'a str,
}

/// The header block of a submitted message, empty line included, made complete: `message[..body_start]`.
pub fn complete(block: &[u8], completion: &Completion<'_>) -> Vec<u8> {
    let has = |name: &str| header::fields(block).any(|field| field.is(name) && !field.value.trim_ascii().is_empty());
    let mut out = Vec::with_capacity(block.len() + 128);
    if !has("date") {
        out.extend_from_slice(format!("Date: {}\r\n", date::rfc5322(completion.date)).as_bytes());
    }
    if !has("message-id") {
        out.extend_from_slice(format!("Message-ID: <{}>\r\n", completion.message_id).as_bytes());
    }
    if header::fields(block).next().is_none() && !block.starts_with(b"\r\n") {
        // There is no header at all: what the message starts with is its body.
        out.extend_from_slice(b"\r\n");
    }
    without_removed(block, &mut out);
    out
}

/// Copies a block without blind copies and Return-Path, and without empty fields that [`complete`] has written anew.
fn without_removed(block: &[u8], out: &mut Vec<u8>) {
    let mut kept = 0;
    for field in header::fields(block) {
        let empty = field.value.trim_ascii().is_empty() && (field.is("date") || field.is("message-id"));
        if empty || ["bcc", "resent-bcc", "return-path"].iter().any(|name| field.is(name)) {
            out.extend_from_slice(block.get(kept..field.start).unwrap_or_default());
            kept = field.end;
        }
    }
    out.extend_from_slice(block.get(kept..).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timestamp::Timestamp;

    fn check(input: &str, want: &str) {
        let completion = Completion { date: DateTime { at: Timestamp(0), zone_minutes: 60 }, message_id: "id@x" };
        assert_eq!(String::from_utf8(complete(input.as_bytes(), &completion)).unwrap(), want);
    }

    #[test]
    fn headers_are_made_complete() {
        const DATE: &str = "Date: Thu, 1 Jan 1970 01:00:00 +0100\r\n";
        check("From: a\r\n\r\n", &format!("{DATE}Message-ID: <id@x>\r\nFrom: a\r\n\r\n"));
        check("date: x\r\nMESSAGE-ID: <y>\r\n\r\n", "date: x\r\nMESSAGE-ID: <y>\r\n\r\n");
        check("Date: \r\nMessage-ID: <y>\r\n\r\n", &format!("{DATE}Message-ID: <y>\r\n\r\n"));
        check(
            "Return-Path: <a>\r\nDate: x\r\nBcc: a@b,\r\n c@d\r\nMessage-ID: <y>\r\nBCC:\r\nResent-Bcc: e\r\nLast: z\r\n\r\n",
            "Date: x\r\nMessage-ID: <y>\r\nLast: z\r\n\r\n",
        );
        check("just words\r\n", &format!("{DATE}Message-ID: <id@x>\r\n\r\njust words\r\n"));
        check("\r\n", &format!("{DATE}Message-ID: <id@x>\r\n\r\n"));
    }
}
