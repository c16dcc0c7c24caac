//! The `Received` field that each server puts on top of a message, and counting those of others
//! (RFC 5321 §4.4, §6.3).
//!
//! Not the `Return-Path`: final delivery writes that.
//!
//! Invariant: nothing a peer says can break out of its place in the field.

use crate::address::Address;
use crate::date::{self, DateTime};
use crate::domain::Domain;
use crate::header;
use crate::id::ReceiptId;
use crate::terms::Priority;
use std::fmt;
use std::net::IpAddr;

/// What one `Received` field tells; it is shown with its line end.
#[derive(Debug, Clone)]
pub struct Received<'a> {
    /// What the peer called itself in EHLO, HELO or LHLO.
    pub helo: &'a str,
    /// The peer's address; none hides where our own people are.
    pub peer: Option<IpAddr>,
    /// The name that DNS has for the address, if it leads back to it.
    pub peer_name: Option<&'a str>,
    /// Our own name.
    pub by: &'a str,
    /// How it came.
    pub protocol: Protocol,
    /// The TLS version and cipher, if any, as a comment (RFC 8314 §4.3).
    pub tls: Option<&'a str>,
    /// The receipt, where it is known before the message is stored.
    pub id: Option<ReceiptId>,
    /// The recipient, only if there is one: others must not learn of each other (RFC 5321 §7.6).
    pub recipient: Option<&'a Address>,
    /// How urgent it is, if that was said (RFC 6710 §10.1 `PRIORITY`).
    pub priority: Priority,
    /// When.
    pub at: DateTime,
}

/// The protocol behind a `with` keyword (RFC 3848, RFC 6531 §4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Protocol {
    /// Which protocol.
    pub kind: ProtocolKind,
    /// Whether TLS was on.
    pub tls: bool,
    /// Whether the peer signed in.
    pub authenticated: bool,
    /// Whether the message used SMTPUTF8.
    pub utf8: bool,
}

/// The protocols that carry mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProtocolKind {
    /// After HELO.
    Smtp,
    /// After EHLO.
    Esmtp,
    /// After LHLO.
    Lmtp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (self.kind, self.utf8) {
            (ProtocolKind::Smtp, _) => return f.write_str("SMTP"),
            (ProtocolKind::Esmtp, false) => "ESMTP",
            (ProtocolKind::Lmtp, false) => "LMTP",
            (ProtocolKind::Esmtp, true) => "UTF8SMTP",
            (ProtocolKind::Lmtp, true) => "UTF8LMTP",
        })?;
        f.write_str(if self.tls { "S" } else { "" })?;
        f.write_str(if self.authenticated { "A" } else { "" })
    }
}

/// The whole field, folded, with its line end.
impl fmt::Display for Received<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Received: from {}", harmless(self.helo))?;
        match (self.peer.map(Domain::from_ip), self.peer_name) {
            (Some(literal), Some(name)) => write!(f, " ({} {literal})", harmless(name))?,
            (Some(literal), None) => write!(f, " ({literal})")?,
            (None, _) => {}
        }
        write!(f, "\r\n\tby {} with {}", harmless(self.by), self.protocol)?;
        if let Some(tls) = self.tls {
            write!(f, " ({})", harmless(tls))?;
        }
        if let Some(id) = self.id {
            write!(f, " id {id}")?;
        }
        if let Some(recipient) = self.recipient {
            write!(f, "\r\n\tfor <{recipient}>")?;
        }
        if self.priority != Priority::NORMAL {
            write!(f, "\r\n\tPRIORITY {}", self.priority)?;
        }
        write!(f, ";\r\n\t{}\r\n", date::rfc5322(self.at))
    }
}

/// Longest word taken from a peer, characters: a domain (RFC 5321 §4.5.3.1.2).
const WORD_CHARS_MAX: usize = 255;

/// A word that stays a word: everything that a name, an address literal or a cipher has not becomes `?`.
fn harmless(word: &str) -> String {
    let fits = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '[' | ']' | ' ' | '/');
    let word: String = word.trim().chars().take(WORD_CHARS_MAX).map(|c| if fits(c) { c } else { '?' }).collect();
    if word.is_empty() { "unknown".to_owned() } else { word }
}

/// How many servers a message has passed: its `Received` fields (RFC 5321 §6.3).
pub fn count(header: &[u8]) -> usize {
    header::fields(header).filter(|field| field.is("received")).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timestamp::Timestamp;

    const ESMTP: Protocol = Protocol { kind: ProtocolKind::Esmtp, tls: false, authenticated: false, utf8: false };

    #[test]
    fn the_field_is_folded_and_complete() {
        let ann = Address::parse("ann@example.org").unwrap();
        let field = Received {
            helo: "client.example.com",
            peer: Some("192.0.2.1".parse().unwrap()),
            peer_name: Some("host.example.com"),
            by: "mx.example.org",
            protocol: Protocol { tls: true, ..ESMTP },
            tls: Some("TLS1.3 TLS_AES_256_GCM_SHA384"),
            id: Some(ReceiptId::default()),
            recipient: Some(&ann),
            priority: Priority::new(-3).unwrap(),
            at: DateTime { at: Timestamp::from_seconds(1_057_049_557), zone_minutes: 0 },
        };
        let want = format!(
            "Received: from client.example.com (host.example.com [192.0.2.1])\r\n\tby mx.example.org with ESMTPS (TLS1.3 TLS_AES_256_GCM_SHA384) id {}\r\n\tfor <ann@example.org>\r\n\tPRIORITY -3;\r\n\tTue, 1 Jul 2003 08:52:37 +0000\r\n",
            ReceiptId::default()
        );
        assert_eq!(field.to_string(), want);
        let hostile = Received {
            helo: "x\r\nSubject: y (",
            peer: Some("2001:db8::1".parse().unwrap()),
            peer_name: None,
            tls: None,
            recipient: None,
            priority: Priority::NORMAL,
            ..field
        };
        assert!(hostile.to_string().starts_with("Received: from x??Subject: y ? ([IPv6:2001:db8::1])\r\n\tby"));
        let hidden = Received { helo: " ", peer: None, id: None, ..hostile };
        assert!(hidden.to_string().starts_with("Received: from unknown\r\n\tby mx.example.org with ESMTPS;\r\n\tTue, "));
    }

    #[test]
    fn protocols_have_registered_names() {
        for (protocol, want) in [
            (ESMTP, "ESMTP"),
            (Protocol { tls: true, authenticated: true, ..ESMTP }, "ESMTPSA"),
            (Protocol { utf8: true, authenticated: true, ..ESMTP }, "UTF8SMTPA"),
            (Protocol { kind: ProtocolKind::Lmtp, tls: true, ..ESMTP }, "LMTPS"),
            (Protocol { kind: ProtocolKind::Smtp, tls: true, ..ESMTP }, "SMTP"),
        ] {
            assert_eq!(protocol.to_string(), want);
        }
    }

    #[test]
    fn hops_are_counted() {
        assert_eq!(count(b"Received: a\r\n b\r\nRECEIVED: c\r\nX-Received: d\r\n\r\nReceived: in the body"), 2);
    }
}
