//! URLs of messages on this server, as CATENATE names them (RFC 5092, RFC 4469 §3):
//! `/Drafts;UIDVALIDITY=385759045/;UID=20/;SECTION=1.MIME/;PARTIAL=0.100`.
//!
//! Only relative ones: those with a scheme or a server, and those that carry an authorisation, name what
//! this session cannot see. A URL without a mailbox is one of the selected mailbox.
//!
//! Invariant: what a URL names is read in pieces; a large part is never in memory as a whole.

use crate::imap::commands::message::{Part, part, read_all};
use crate::imap::commands::section::Section;
use crate::imap::grammar::Parser;
use crate::imap::granted::Granted;
use crate::imap::mailbox_name;
use crate::imap::response::Status;
use crate::imap::serve::{Server, refusal};
use mail::{BlobHash, Rights, Uid};
use std::fmt::Write as _;
use store::Draft;

/// Octets copied by one read. Our own bound.
const PIECE_OCTETS: u64 = 1024 * 1024;

/// What a URL says.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Url {
    /// The selected mailbox if none is named.
    mailbox: Option<String>,
    uid_validity: Option<u32>,
    uid: Uid,
    section: Section,
}

/// What a URL names.
#[derive(Debug)]
pub(crate) struct Found {
    blob: BlobHash,
    part: Part,
}

/// The octets that a URL names.
pub(crate) async fn find(server: &Server, text: &str) -> Result<Found, Status> {
    let bad = || Status::no(format!("BADURL \"{}\"", shown(text)), "That URL names no message or part that is here");
    let url = Url::parse(text).ok_or_else(bad)?;
    let (viewer, selected) = (server.account(), server.selected().ok());
    let found = server
        .read(move |tx| {
            let (account, mailbox, uid_validity) = match (&url.mailbox, selected) {
                // What the client may not read is not here for it.
                (Some(name), _) => match Granted::find(tx, viewer, name)?.filter(|granted| granted.rights.contains(Rights::READ)) {
                    Some(granted) => (granted.account, granted.mailbox.id, granted.mailbox.uid_validity),
                    None => return Ok(None),
                },
                (None, Some(selected)) => (selected.account, selected.mailbox, selected.uid_validity),
                (None, None) => return Ok(None),
            };
            if url.uid_validity.is_some_and(|known| known != uid_validity.0) {
                return Ok(None);
            }
            let Some(message) = tx.message(account, mailbox, url.uid)? else { return Ok(None) };
            Ok(part(tx, account, &message, &url.section)?.map(|part| Found { blob: message.blob, part }))
        })
        .await?;
    found.ok_or_else(bad)
}

impl Found {
    /// How many octets it names.
    pub(crate) fn octets(&self) -> u64 {
        match &self.part {
            Part::Range(range) => range.end.saturating_sub(range.start),
            Part::Octets(octets) => octets.len() as u64,
        }
    }

    /// Appends them.
    pub(crate) async fn copy(self, server: &Server, draft: &mut Draft) -> Result<(), Status> {
        let mut range = match self.part {
            Part::Octets(octets) => return draft.write(&octets).map_err(|error| refusal(&error)),
            Part::Range(range) => range,
        };
        while !range.is_empty() {
            let end = range.end.min(range.start + PIECE_OCTETS);
            let (blob, piece) = (self.blob, range.start..end);
            let octets = server.read(move |tx| read_all(tx, &blob, &piece)).await?;
            draft.write(&octets).map_err(|error| refusal(&error))?;
            range.start = end;
        }
        Ok(())
    }
}

impl Url {
    /// `None` if it is no URL of a message on this server.
    fn parse(text: &str) -> Option<Self> {
        // `//server`, `imap:` and what the session cannot see.
        let path = text.strip_prefix('/').unwrap_or(text);
        if path.starts_with('/') || path.split(['/', ';']).next()?.contains(':') || path.contains('?') || path.contains('#') {
            return None;
        }
        let at = path.to_ascii_uppercase().find(";UID=")?;
        let (of_mailbox, rest) = (path.get(..at)?, path.get(at + 5..)?);
        let (mailbox, uid_validity) = mailbox(of_mailbox.strip_suffix('/').unwrap_or(of_mailbox))?;
        let mut segments = rest.split("/;");
        let uid = Uid(number(segments.next()?).filter(|uid| *uid > 0)?);
        let (mut section, mut partial) = (String::new(), String::new());
        for segment in segments {
            let (name, value) = segment.split_once('=')?;
            match name.to_ascii_uppercase().as_str() {
                "SECTION" if section.is_empty() && partial.is_empty() => section = unescaped(value)?,
                "PARTIAL" if partial.is_empty() => value.clone_into(&mut partial),
                _ => return None,
            }
        }
        Some(Self { mailbox, uid_validity, uid, section: self::section(&section, &partial)? })
    }
}

/// `Drafts;UIDVALIDITY=385759045`
fn mailbox(text: &str) -> Option<(Option<String>, Option<u32>)> {
    let (name, uid_validity) = match text.split_once(';') {
        None => (text, None),
        Some((name, option)) => {
            let (key, value) = option.split_once('=')?;
            (name, Some(number(value).filter(|_| key.eq_ignore_ascii_case("UIDVALIDITY"))?))
        }
    };
    let name = unescaped(name)?;
    Some((if name.is_empty() { None } else { Some(mailbox_name::read(&name, true)) }, uid_validity))
}

/// The section in the words of FETCH; a partial may lack its length (RFC 5092 §6).
fn section(section: &str, partial: &str) -> Option<Section> {
    let partial = match partial {
        "" => String::new(),
        both if both.contains('.') => format!("<{both}>"),
        offset => format!("<{offset}.{}>", i64::MAX),
    };
    let text = format!("[{section}]{partial}");
    let mut parser = Parser::new(text.as_bytes(), true);
    Section::parse(&mut parser, true).ok().filter(|_| parser.is_done())
}

fn number(text: &str) -> Option<u32> {
    text.parse().ok().filter(|_| text.bytes().all(|octet| octet.is_ascii_digit()))
}

/// Without its percent signs; `None` if they are wrong, or it is no text then.
fn unescaped(text: &str) -> Option<String> {
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'%' {
            octets.push(*first);
            continue;
        }
        let digits = std::str::from_utf8(rest.get(..2)?).ok().filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))?;
        octets.push(u8::from_str_radix(digits, 16).ok().filter(|octet| *octet != 0)?);
        rest = rest.get(2..)?;
    }
    String::from_utf8(octets).ok()
}

/// A client's URL within a response code: what would end it is escaped.
fn shown(text: &str) -> String {
    let mut out = String::new();
    for octet in text.bytes() {
        match octet {
            b'!' | b'#'..=b'[' | b'^'..=b'~' => out.push(char::from(octet)),
            _ => drop(write!(out, "%{octet:02X}")),
        }
    }
    out
}

/// A fuzzer's entry: any octets as a URL; what is shown of it ends no response code.
pub(crate) fn fuzz(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let _ = Url::parse(&text);
    assert!(!shown(&text).bytes().any(|octet| octet.is_ascii_control() || b"]\" ".contains(&octet)), "{text:?}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<String> {
        let url = Url::parse(text)?;
        let label = String::from_utf8(url.section.label).unwrap();
        Some(format!(
            "{} {} {} {label} {:?}",
            url.mailbox.as_deref().unwrap_or("-"),
            url.uid_validity.unwrap_or(0),
            url.uid,
            url.section.partial
        ))
    }

    #[test]
    fn urls_are_read() {
        for (text, want) in [
            ("/Drafts;UIDVALIDITY=385759045/;UID=20/;section=HEADER", Some("Drafts 385759045 20 BODY[HEADER] None")),
            ("/Drafts;UIDVALIDITY=385759045/;UID=20/;Section=1.MIME", Some("Drafts 385759045 20 BODY[1.MIME] None")),
            ("/inbox/;uid=7", Some("INBOX 0 7 BODY[] None")),
            ("Lists/Rust/;UID=7/;SECTION=1.2/;PARTIAL=5.10", Some("Lists/Rust 0 7 BODY[1.2]<5> Some((5, 10))")),
            ("/INBOX/;UID=7/;PARTIAL=5", Some("INBOX 0 7 BODY[]<5> Some((5, 9223372036854775807))")),
            (";UID=7/;SECTION=TEXT", Some("- 0 7 BODY[TEXT] None")),
            ("/;UID=7", Some("- 0 7 BODY[] None")),
            ("/Entw%C3%BCrfe/;UID=1", Some("Entwürfe 0 1 BODY[] None")),
            ("/a%20b/;UID=1/;SECTION=HEADER.FIELDS%20(From%20To)", Some("a b 0 1 BODY[HEADER.FIELDS (From To)] None")),
            ("imap://ann@host/INBOX/;UID=7", None),
            ("//host/INBOX/;UID=7", None),
            ("/INBOX", None),
            ("/INBOX/;UID=0", None),
            ("/INBOX/;UID=+7", None),
            ("/INBOX/;UID=7/;SECTION=", Some("INBOX 0 7 BODY[] None")),
            ("/INBOX/;UID=7/;SECTION=0", None),
            ("/INBOX/;UID=7/;PARTIAL=1.0", None),
            ("/INBOX/;UID=7/;URLAUTH=anonymous", None),
            ("/INBOX;UIDVALIDITY=x/;UID=7", None),
            ("/INBOX?SUBJECT/;UID=7", None),
            ("/a%GG/;UID=1", None),
            ("/a%00/;UID=1", None),
            ("/a%F/;UID=1", None),
            ("", None),
        ] {
            assert_eq!(read(text).as_deref(), want, "{text}");
        }
    }

    #[test]
    fn urls_end_no_response_code() {
        assert_eq!(shown("/a]\r\n\"\\ü;UID=1"), "/a%5D%0D%0A%22%5C%C3%BC;UID=1");
    }
}
