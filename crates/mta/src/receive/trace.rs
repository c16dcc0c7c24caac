//! The trace fields that go on top of a message taken in (RFC 5321 §4.4, RFC 3848). Pure.

use mail::date::{self, DateTime};
use mail::{Address, ReversePath, Timestamp};
use smtp::server::Role;
use std::fmt::Write as _;
use std::net::IpAddr;
use wire::Tls;

/// What is known of how a message came.
pub(super) struct Trace<'a> {
    pub(super) role: Role,
    pub(super) peer: IpAddr,
    pub(super) helo: &'a str,
    pub(super) esmtp: bool,
    pub(super) tls: Option<&'a Tls>,
    pub(super) signed_in: bool,
    pub(super) smtputf8: bool,
    pub(super) by: &'a str,
    /// Named only if it is the only one: nobody is told of the others.
    pub(super) recipient: Option<&'a Address>,
    pub(super) now: Timestamp,
}

/// The `Return-Path` field with its line end.
pub(super) fn return_path(reverse_path: &ReversePath) -> String {
    format!("Return-Path: <{reverse_path}>\r\n")
}

/// The `Received` field with its line ends.
///
/// Where our own accounts sent from is not told to the world: their address stays in the trail.
pub(super) fn received(trace: &Trace<'_>) -> String {
    let mut field = format!("Received: from {}", shown(trace.helo));
    if !trace.signed_in {
        let _ = write!(field, " ([{}])", literal(trace.peer));
    }
    let _ = write!(field, "\r\n\tby {} with {}", trace.by, protocol(trace));
    if let Some(tls) = trace.tls {
        let _ = write!(field, " ({} {})", shown(&tls.version), shown(&tls.cipher));
    }
    if let Some(recipient) = trace.recipient {
        let _ = write!(field, "\r\n\tfor <{recipient}>");
    }
    let _ = write!(field, ";\r\n\t{}\r\n", date::rfc5322(DateTime { at: trace.now, zone_minutes: 0 }));
    field
}

fn literal(peer: IpAddr) -> String {
    match peer {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => format!("IPv6:{v6}"),
    }
}

/// RFC 3848, RFC 6531 §4.3.
fn protocol(trace: &Trace<'_>) -> String {
    let base = match (trace.role, trace.esmtp, trace.smtputf8) {
        (Role::Lmtp, _, false) => "LMTP",
        (Role::Lmtp, _, true) => "UTF8LMTP",
        (_, true, true) => "UTF8SMTP",
        (_, true, false) => "ESMTP",
        (_, false, _) => "SMTP",
    };
    let tls = if trace.tls.is_some() { "S" } else { "" };
    let signed_in = if trace.signed_in { "A" } else { "" };
    format!("{base}{tls}{signed_in}")
}

/// What the peer calls itself can be any text: only what cannot disturb the field is shown.
fn shown(text: &str) -> String {
    let harmless = |c: char| c.is_ascii_alphanumeric() || ".-_:[]".contains(c);
    let shown: String = text.chars().map(|c| if harmless(c) { c } else { '?' }).collect();
    if shown.is_empty() { "unknown".to_owned() } else { shown }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn received_tells_how_it_came() {
        let recipient = Address::parse("ann@ours.example").unwrap();
        let trace = Trace {
            role: Role::Mx,
            peer: "192.0.2.1".parse().unwrap(),
            helo: "evil (x)\u{e4}",
            esmtp: true,
            tls: None,
            signed_in: false,
            smtputf8: false,
            by: "mx.ours.example",
            recipient: Some(&recipient),
            now: Timestamp::from_seconds(1_057_056_757),
        };
        assert_eq!(
            received(&trace),
            "Received: from evil??x?? ([192.0.2.1])\r\n\tby mx.ours.example with ESMTP\r\n\tfor <ann@ours.example>;\r\n\tTue, 1 Jul 2003 10:52:37 +0000\r\n"
        );
        let tls = Tls { version: "TLSv1.3".into(), cipher: "TLS13_AES_128_GCM_SHA256".into(), ..Tls::default() };
        let trace = Trace { tls: Some(&tls), signed_in: true, recipient: None, helo: "", ..trace };
        assert_eq!(
            received(&trace),
            "Received: from unknown\r\n\tby mx.ours.example with ESMTPSA (TLSv1.3 TLS13_AES_128_GCM_SHA256);\r\n\tTue, 1 Jul 2003 10:52:37 +0000\r\n"
        );
    }
}
