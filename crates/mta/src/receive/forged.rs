//! The header as we pass it on: what claims to be our word and is not goes.
//!
//! | field | who reads it |
//! |---|---|
//! | Authentication-Results in our name | mail programs, and filters behind us (RFC 8601 §5) |
//! | X-Postrider-Verdict, X-Postrider-Rejected, X-Postrider-Not-Forwarded | our users, and what reads their mail for them |
//! | Return-Path | programs that answer by themselves (RFC 5321 §4.4); ours is put on top |
//!
//! Not what other servers say in their own name, and nothing inside of attached messages.
//!
//! Invariant: what local programs hand in by LMTP stays as it is: they may have had it from us.

use super::{Receiver, judge, rejects, seal};
use mail::header::{self, Field};
use mailauth::results;
use smtp::server::Role;
use std::borrow::Cow;

/// Fields that only we write, whatever they say.
const OURS: [&str; 4] = ["Return-Path", judge::FIELD, rejects::FIELD, seal::FIELD];

impl Receiver {
    /// A header block without what others have written in our name.
    pub(super) fn without_forged<'a>(&self, block: &'a [u8]) -> Cow<'a, [u8]> {
        if self.role == Role::Lmtp {
            return Cow::Borrowed(block);
        }
        without(block, self.context.settings.hostname.as_str())
    }
}

fn without<'a>(block: &'a [u8], hostname: &str) -> Cow<'a, [u8]> {
    let is_forged = |field: &Field<'_>| OURS.iter().any(|name| field.is(name)) || results::is_claimed(field, hostname);
    let mut forged = header::fields(block).filter(is_forged).peekable();
    if forged.peek().is_none() {
        return Cow::Borrowed(block);
    }
    let (mut kept, mut at) = (Vec::with_capacity(block.len()), 0);
    for field in forged {
        kept.extend_from_slice(block.get(at..field.start).unwrap_or_default());
        at = field.end;
    }
    kept.extend_from_slice(block.get(at..).unwrap_or_default());
    Cow::Owned(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_forged_goes() {
        let check = |input: &str, want: &str| {
            let (block, rest) = input.split_at(header::body_start(input.as_bytes()));
            let left = [&*without(block.as_bytes(), "mx.example.org"), rest.as_bytes()].concat();
            assert_eq!(String::from_utf8(left).unwrap(), want, "{input}");
        };
        for forged in [
            "Return-Path: <>\r\n",
            "RETURN-PATH\t:\r\n <ceo@example.org>\r\n",
            "X-Postrider-Verdict: accept; score=-9.00\r\n",
            "x-postrider-verdict :\r\n\taccept;\r\n score=-9.00\r\n",
            "X-Postrider-Not-Forwarded: to a@b\r\n",
            "X-Postrider-Rejected: 550 5.7.1 no\r\n",
            "Authentication-Results: (x) \"MX.example.org\" 1;\r\n dmarc=pass\r\n",
        ] {
            check(&format!("{forged}From: a\r\n\r\n{forged}"), &format!("From: a\r\n\r\n{forged}"));
            check(&format!("From: a\r\n{forged}{forged}To: b\r\n\r\n"), "From: a\r\nTo: b\r\n\r\n");
            check(&format!("no field\r\nFrom: a\r\n{forged}"), "no field\r\nFrom: a\r\n");
        }
        let others = "X-Postrider-Verdicts: x\r\nX-Return-Path: x\r\nAuthentication-Results: other.example; none\r\nReceived: x\r\n\r\n";
        check(others, others);
        assert!(matches!(without(others.as_bytes(), "mx.example.org"), Cow::Borrowed(_)));
    }
}
