//! Sections of a message as IMAP numbers them, found by the digest alone (RFC 9051 §6.4.5.1).
//!
//! Not the grammar of `BODY[…]`: that is the session's.

use crate::digest::{BodyPart, Inside};
use std::ops::Range;

/// What of a part or message is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SectionText {
    /// `HEADER`, and what `HEADER.FIELDS` and `.NOT` choose from: of a message only.
    Header,
    /// `TEXT`: the body of a message.
    Text,
    /// `MIME`: the header of a part.
    Mime,
}

impl BodyPart {
    /// The part with these numbers, seen from the root of a message; the empty path is the root itself.
    pub fn section(&self, path: &[u32]) -> Option<&Self> {
        let (mut part, mut of_message) = (self, true);
        for number in path {
            let index = usize::try_from(number.checked_sub(1)?).ok()?;
            if let Some(nested) = part.message().filter(|_| !of_message) {
                (part, of_message) = (&nested.body, true);
            }
            part = match &part.inside {
                Inside::Parts(parts) => parts.get(index)?,
                // A message that is not multipart has one part: its whole body.
                _ if of_message && index == 0 => part,
                _ => return None,
            };
            of_message = false;
        }
        Some(part)
    }

    /// The octets of the message that `BODY[path]` or `BODY[path.text]` stands for, seen from the root;
    /// `None` if there is no such part or it is no message.
    pub fn section_range(&self, path: &[u32], text: Option<SectionText>) -> Option<Range<u64>> {
        let part = self.section(path)?;
        let message = if path.is_empty() { Some(part) } else { part.message().map(|nested| &nested.body) };
        match text {
            None if path.is_empty() => Some(part.header_start..part.body_end),
            None => Some(part.contents()),
            Some(SectionText::Header) => message.map(Self::header),
            Some(SectionText::Text) => message.map(Self::contents),
            Some(SectionText::Mime) => (!path.is_empty()).then(|| part.header()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;

    /// The example of RFC 9051 §6.4.5.1, each part saying its own number.
    const EXAMPLE: &str = "Subject: all\nContent-Type: multipart/mixed; boundary=a\n\n\
        --a\n\npart 1\n\
        --a\nContent-Type: application/octet-stream\n\npart 2\n\
        --a\nContent-Type: message/rfc822\nX: 3.MIME\n\nSubject: 3.HEADER\nContent-Type: multipart/mixed; boundary=b\n\n\
        --b\n\npart 3.1\n\
        --b\nContent-Type: application/octet-stream\n\npart 3.2\n\
        --b--\n\
        --a\nContent-Type: multipart/mixed; boundary=c\n\n\
        --c\nContent-Type: image/gif\nX: 4.1.MIME\n\npart 4.1\n\
        --c\nContent-Type: message/rfc822\n\nSubject: 4.2.HEADER\nContent-Type: multipart/mixed; boundary=d\n\n\
        --d\n\npart 4.2.1\n\
        --d\nContent-Type: multipart/alternative; boundary=e\n\n\
        --e\n\npart 4.2.2.1\n\
        --e\nContent-Type: text/richtext\n\npart 4.2.2.2\n\
        --e--\n--d--\n--c--\n--a--\n";

    fn section(message: &str, path: &[u32], text: Option<SectionText>) -> Option<String> {
        let range = Digest::of(message.as_bytes()).body.section_range(path, text)?;
        message.get(usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()).map(str::to_owned)
    }

    #[test]
    fn the_example_of_the_rfc_is_numbered_as_it_says() {
        for path in [&[1][..], &[2], &[3, 1], &[3, 2], &[4, 1], &[4, 2, 1], &[4, 2, 2, 1], &[4, 2, 2, 2]] {
            let number = path.iter().map(u32::to_string).collect::<Vec<_>>().join(".");
            assert_eq!(section(EXAMPLE, path, None), Some(format!("part {number}")));
        }
        let mime = |path| section(EXAMPLE, path, Some(SectionText::Mime)).unwrap();
        assert!(mime(&[3]).ends_with("X: 3.MIME\n\n") && mime(&[4, 1]).ends_with("X: 4.1.MIME\n\n"));
        let header = |path| section(EXAMPLE, path, Some(SectionText::Header)).unwrap();
        assert!(
            header(&[]).starts_with("Subject: all\n")
                && header(&[3]).starts_with("Subject: 3.H")
                && header(&[4, 2]).starts_with("Subject: 4.2.H")
        );
        let text = |path| section(EXAMPLE, path, Some(SectionText::Text)).unwrap();
        assert!(text(&[]).starts_with("--a\n") && text(&[3]).starts_with("--b\n") && text(&[4, 2]).starts_with("--d\n"));
        assert!(section(EXAMPLE, &[3], None).unwrap().starts_with("Subject: 3.HEADER"));
        assert_eq!(section(EXAMPLE, &[], None).as_deref(), Some(EXAMPLE));
        assert!(section(EXAMPLE, &[4, 2, 2], None).unwrap().starts_with("--e\n"));
    }

    #[test]
    fn there_are_no_other_sections() {
        for path in [&[0][..], &[5], &[1, 1], &[3, 3], &[4, 2, 1, 1], &[4, 1, 1], &[u32::MAX]] {
            assert_eq!(section(EXAMPLE, path, None), None, "{path:?}");
        }
        assert_eq!(section(EXAMPLE, &[1], Some(SectionText::Header)), None);
        assert_eq!(section(EXAMPLE, &[4], Some(SectionText::Text)), None);
        assert_eq!(section(EXAMPLE, &[], Some(SectionText::Mime)), None);
    }

    #[test]
    fn a_message_of_one_part_is_its_own_first_part() {
        let plain = "Subject: x\n\nbody";
        assert_eq!(section(plain, &[1], None).as_deref(), Some("body"));
        assert_eq!(section(plain, &[1], Some(SectionText::Mime)).as_deref(), Some("Subject: x\n\n"));
        assert_eq!((section(plain, &[2], None), section(plain, &[1, 1], None)), (None, None));
        let forwarded = "Content-Type: message/rfc822\n\nSubject: in\n\nbody";
        assert_eq!(section(forwarded, &[1], None).as_deref(), Some("Subject: in\n\nbody"));
        assert_eq!(section(forwarded, &[1, 1], None).as_deref(), Some("body"));
        assert_eq!(section(forwarded, &[1], Some(SectionText::Text)).as_deref(), Some("body"));
        assert_eq!(section(forwarded, &[1, 1, 1], None), None);
    }
}
