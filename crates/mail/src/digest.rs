//! What the store keeps beside each email so that no command must parse it again: ENVELOPE,
//! BODYSTRUCTURE with offsets, a preview, and what threads are made of.
//!
//! Not the message: its octets stay where they are and are found by the offsets here.
//!
//! Invariants: texts hold no CR, LF or NUL and are valid UTF-8; the stored form knows fields and
//! variants by their place, so they are only added at the end.

use crate::date::{self, DateTime};
use crate::grams::Grams;
use crate::mime::{self, Index};
use crate::{header, subject, text, words};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::ops::Range;

/// Everything about an email that listings, FETCH and threads need.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digest {
    /// Octets of the message.
    pub octets: u64,
    /// The fields that IMAP calls ENVELOPE.
    pub envelope: EnvelopeItem,
    /// The root of the tree of parts.
    pub body: BodyPart,
    /// The first words of the text, one line, at most [`Digest::PREVIEW_CHARS_MAX`] characters (RFC 8970).
    pub preview: String,
    /// Whether a part is meant to be saved rather than shown (RFC 8621 §4.1.4).
    pub has_attachment: bool,
    /// The `Date` field, if it could be read.
    pub sent: Option<DateTime>,
    /// `Message-ID` without brackets.
    pub message_id: Option<String>,
    /// The ids of `References` without brackets, in order, each once; where there are none, the first one of
    /// `In-Reply-To` (RFC 5256 §3).
    pub references: Vec<String>,
    /// The subject without `Re:` and its like, decoded (RFC 5256 §2.1).
    pub base_subject: String,
    /// The fields of [`header::LISTED`] as they stand, with an empty line at the end, so that listing a
    /// mailbox reads no message. `None`: too long, or not UTF-8.
    pub listed: Option<String>,
    /// The full-text index of the message. Not part of the stored form: the store keeps it apart, so that
    /// reading a digest does not read it; then it is unknown.
    #[serde(skip)]
    pub grams: Grams,
}

/// IMAP's ENVELOPE (RFC 9051 §7.5.2): texts unfolded, encoded words left as they are.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct EnvelopeItem {
    /// `Date`
    pub date: Option<String>,
    /// `Subject`
    pub subject: Option<String>,
    /// `From`
    pub from: Vec<AddressItem>,
    /// `Sender`; empty when the message has none: `imap_view` puts `From` there.
    pub sender: Vec<AddressItem>,
    /// `Reply-To`; empty when the message has none: `imap_view` puts `From` there.
    pub reply_to: Vec<AddressItem>,
    /// `To`
    pub to: Vec<AddressItem>,
    /// `Cc`
    pub cc: Vec<AddressItem>,
    /// `Bcc`
    pub bcc: Vec<AddressItem>,
    /// `In-Reply-To`
    pub in_reply_to: Option<String>,
    /// `Message-ID`, with its brackets.
    pub message_id: Option<String>,
}

/// One entry of an address list, groups flattened as IMAP wants it: a group starts with an entry
/// whose host is `None` and whose mailbox is the group's name, and ends with an empty entry.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct AddressItem {
    /// The display name without quoting, encoded words left as they are.
    pub name: Option<String>,
    /// The source route (`@a,@b`), which nobody writes any more.
    pub route: Option<String>,
    /// The part before the `@` without quoting, or a group's name.
    pub mailbox: Option<String>,
    /// The domain.
    pub host: Option<String>,
}

impl AddressItem {
    /// `mailbox@host`, nothing quoted; `None`: it is none, but an end of a group.
    #[must_use]
    pub fn address(&self) -> Option<String> {
        Some(format!("{}@{}", self.mailbox.as_deref()?, self.host.as_deref()?))
    }
}

/// One part of a message, and where it stands in the message's octets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BodyPart {
    /// Type, lower case: `text`.
    pub media: String,
    /// Subtype, lower case: `plain`.
    pub subtype: String,
    /// Parameters of `Content-Type`, names in lower case, values unquoted.
    pub parameters: Vec<(String, String)>,
    /// `Content-ID`
    pub id: Option<String>,
    /// `Content-Description`
    pub description: Option<String>,
    /// `Content-Transfer-Encoding`, lower case; `7bit` when there is none.
    pub encoding: String,
    /// `Content-MD5`
    pub md5: Option<String>,
    /// `Content-Disposition`
    pub disposition: Option<Disposition>,
    /// `Content-Language`
    pub language: Vec<String>,
    /// `Content-Location`
    pub location: Option<String>,
    /// Where the part's header starts, octets from the start of the message.
    pub header_start: u64,
    /// Where its body starts, behind the empty line.
    pub body_start: u64,
    /// Where its body ends; the line end before a boundary belongs to the boundary.
    pub body_end: u64,
    /// Lines of the body; a last line without an end counts.
    pub lines: u64,
    /// What is inside.
    pub inside: Inside,
}

/// What a part holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Inside {
    /// Octets.
    Leaf,
    /// Parts; never none.
    Parts(Vec<BodyPart>),
    /// A whole message.
    Message(Box<Nested>),
}

/// A message within a message (message/rfc822).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nested {
    /// Its ENVELOPE.
    pub envelope: EnvelopeItem,
    /// Its root part, whose header is the message's header.
    pub body: BodyPart,
}

/// `Content-Disposition` (RFC 2183).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disposition {
    /// Lower case: `attachment`, `inline`.
    pub kind: String,
    /// Names in lower case, values unquoted.
    pub parameters: Vec<(String, String)>,
}

impl Digest {
    /// Longest preview, characters (RFC 8970 §4.1 asks for about 200).
    pub const PREVIEW_CHARS_MAX: usize = 200;

    /// Most references kept: the first, and the last ones. Our own bound; long threads have 50.
    pub const REFERENCES_MAX: usize = 100;

    /// Most octets of [`Digest::listed`]. Our own bound; those of ordinary mail take 300 to 1,000.
    pub const LISTED_OCTETS_MAX: usize = 4096;

    /// The digest of a message; any octets have one.
    pub fn of(message: &[u8]) -> Self {
        let Index { envelope, body, references } = mime::index(message);
        let subject = envelope.subject.as_deref().unwrap_or_default();
        let mut digest = Self {
            octets: message.len() as u64,
            preview: text::preview(message, &body),
            has_attachment: has_attachment(&body),
            sent: envelope.date.as_deref().and_then(date::parse),
            message_id: envelope.message_id.as_deref().and_then(|text| header::message_ids(text).next()).map(str::to_owned),
            references: gathered(references.as_deref(), envelope.in_reply_to.as_deref()),
            base_subject: subject::base(&words::decode(subject)).base,
            listed: listed(message, body.body_start),
            envelope,
            body,
            grams: Grams::default(),
        };
        digest.grams = Grams::of(message, &digest);
        digest
    }
}

fn listed(message: &[u8], body_start: u64) -> Option<String> {
    let block = message.get(..usize::try_from(body_start).ok()?)?;
    let fields = String::from_utf8(header::select(block, &header::LISTED, true)).ok()?;
    (fields.len() <= Digest::LISTED_OCTETS_MAX).then_some(fields)
}

/// The ids of `References`, each once, or the first of `In-Reply-To`, which may name people behind it.
fn gathered(references: Option<&str>, in_reply_to: Option<&str>) -> Vec<String> {
    let mut ids: Vec<String> = Vec::new();
    for id in references.into_iter().flat_map(header::message_ids) {
        if ids.iter().any(|known| known == id) {
            continue;
        }
        if ids.len() == Digest::REFERENCES_MAX {
            ids.remove(1);
        }
        ids.push(id.to_owned());
    }
    if ids.is_empty() {
        ids.extend(in_reply_to.and_then(|text| header::message_ids(text).next()).map(str::to_owned));
    }
    ids
}

/// Whether a part is marked as an attachment, or is neither text nor shown within one (RFC 8621 §4.1.4).
fn has_attachment(part: &BodyPart) -> bool {
    let kind = part.disposition.as_ref().map(|disposition| disposition.kind.as_str());
    match (&part.inside, kind) {
        (Inside::Parts(parts), _) => part.subtype != "report" && parts.iter().any(has_attachment),
        (_, Some("attachment")) => true,
        (Inside::Message(_), kind) => kind != Some("inline"),
        (Inside::Leaf, Some("inline")) => false,
        (Inside::Leaf, _) => !(part.media == "text" || part.id.is_some() || part.subtype.ends_with("-signature")),
    }
}

impl BodyPart {
    /// A parameter of `Content-Type` as it is written, or decoded if it is extended (RFC 2231 §4): for those
    /// that programs read.
    pub fn parameter_decoded(&self, name: &str) -> Option<Cow<'_, str>> {
        self.parameter(name).map(Cow::Borrowed).or_else(|| words::parameter(&self.parameters, name))
    }

    /// A parameter of `Content-Type` as it is written; see [`words::parameter`] for those that people read.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The name to save it under, decoded: of `Content-Disposition`, or else of `Content-Type`.
    pub fn file_name(&self) -> Option<Cow<'_, str>> {
        let disposed = self.disposition.as_ref().and_then(|disposition| words::parameter(&disposition.parameters, "filename"));
        disposed.or_else(|| words::parameter(&self.parameters, "name"))
    }

    /// The part's own header with the empty line behind it: `BODY[1.MIME]`.
    pub fn header(&self) -> Range<u64> {
        self.header_start..self.body_start
    }

    /// The part's body: `BODY[1]`.
    pub fn contents(&self) -> Range<u64> {
        self.body_start..self.body_end
    }

    /// Octets of the body, encoded.
    pub fn octets(&self) -> u64 {
        self.body_end.saturating_sub(self.body_start)
    }

    /// The parts of a multipart; none for others.
    pub fn parts(&self) -> &[Self] {
        match &self.inside {
            Inside::Parts(parts) => parts,
            _ => &[],
        }
    }

    /// The message in a message/rfc822 part.
    pub fn message(&self) -> Option<&Nested> {
        match &self.inside {
            Inside::Message(nested) => Some(nested),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listed_fields_stand_as_in_the_header_and_long_ones_are_not_kept() {
        let header = "Received: by x\r\nsubject:  Hi\r\n\tthere\r\nX-Other: 1\r\nFROM: a@x\r\n\r\n";
        let listed = Digest::of(format!("{header}body").as_bytes()).listed.unwrap();
        assert_eq!(listed, "subject:  Hi\r\n\tthere\r\nFROM: a@x\r\n\r\n");
        let names = ["From", "Date"];
        assert_eq!(header::select(listed.as_bytes(), &names, true), header::select(header.as_bytes(), &names, true));
        assert_eq!(digest("no header\r\n").listed.as_deref(), Some("\r\n"));
        assert_eq!(digest(&format!("Subject: {}\r\n\r\n", "x".repeat(Digest::LISTED_OCTETS_MAX))).listed, None);
    }

    fn digest(message: &str) -> Digest {
        Digest::of(message.replace('\n', "\r\n").as_bytes())
    }

    #[test]
    fn threads_and_dates_are_found() {
        let digest = digest(
            "From: a@b\nSubject: Re: [l] =?utf-8?Q?caf=C3=A9?=\nDate: Tue, 1 Jul 2003 10:52:37 +0200\nMessage-ID: <1@b> (x)\nIn-Reply-To: <r2@b>\nReferences: <r1@b>\n <r2@b>\n\nHi",
        );
        assert_eq!(digest.base_subject, "café");
        assert_eq!(digest.message_id.as_deref(), Some("1@b"));
        assert_eq!(digest.references, ["r1@b", "r2@b"]);
        assert_eq!(digest.sent.map(|sent| (sent.at.seconds(), sent.zone_minutes)), Some((1_057_049_557, 120)));
        assert_eq!(digest.envelope.message_id.as_deref(), Some("<1@b> (x)"));
        assert_eq!(digest.octets, 166);
    }

    #[test]
    fn references_go_before_in_reply_to() {
        for (header, want) in [
            ("References: <a@x> <b@x> <a@x>\nIn-Reply-To: <c@x>\n", &["a@x", "b@x"][..]),
            ("References: none\nIn-Reply-To: <c@x> from <ann@x>\n", &["c@x"]),
            ("In-Reply-To: <c@x>\n", &["c@x"]),
            ("In-Reply-To: your letter\n", &[]),
        ] {
            assert_eq!(digest(&format!("{header}\n")).references, want, "{header}");
        }
    }

    #[test]
    fn long_reference_lists_keep_their_ends() {
        let references = (0..300).map(|n| format!("<{n}@x>")).collect::<Vec<_>>().concat();
        let digest = digest(&format!("References: {references}\n\n"));
        assert_eq!((digest.references.len(), digest.references.first().map(String::as_str)), (Digest::REFERENCES_MAX, Some("0@x")));
        assert_eq!(digest.references.last().map(String::as_str), Some("299@x"));
    }

    #[test]
    fn attachments_are_told_from_what_is_shown() {
        let check = |header: &str, want| assert_eq!(digest(&format!("{header}\n\nx")).has_attachment, want, "{header}");
        check("Content-Type: text/plain", false);
        check("Content-Type: text/plain\nContent-Disposition: attachment; filename=x", true);
        check("Content-Type: application/pdf", true);
        check("Content-Type: image/png\nContent-Disposition: inline", false);
        check("Content-Type: image/png\nContent-ID: <logo@x>", false);
        check("Content-Type: application/pgp-signature", false);
        check("Content-Type: message/rfc822", true);
        check("Content-Type: multipart/mixed; boundary=b\n\n--b\n\ntext\n--b\nContent-Type: image/gif\n", true);
        check("Content-Type: multipart/report; boundary=b\n\n--b\n\ntext\n--b\nContent-Type: message/delivery-status\n", false);
    }

    #[test]
    fn files_have_names() {
        let check = |header: &str, want| assert_eq!(digest(&format!("{header}\n\nx")).body.file_name().as_deref(), want, "{header}");
        check("Content-Type: image/png; name=a.png", Some("a.png"));
        check("Content-Type: image/png; name=a.png\nContent-Disposition: attachment; filename*=utf-8''%C3%A9.png", Some("é.png"));
        check("Content-Type: image/png", None);
    }
}
