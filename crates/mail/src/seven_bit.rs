//! Messages for servers that take 7 bits only (RFC 6152 §3): what has more becomes quoted-printable or base64.
//!
//! It changes the octets of the message, and with them what a DKIM signature says of its body: for the last resort,
//! where it could not be sent otherwise.
//!
//! What cannot be converted: a header beyond ASCII, whose character set nobody says, and what a signature within the
//! message stands for (RFC 1847 §2.1), which would be broken.
//!
//! Invariant: decoding a part gives the octets that it had before, but for line ends of texts.

use crate::binary::{self, Edits, edited, octets};
use crate::digest::{BodyPart, Inside};
use crate::{encoding, mime};
use std::borrow::Cow;

/// The message in 7 bits and lines; `None` if it cannot be converted. A message that is so already stays as it is.
pub fn converted(message: &[u8]) -> Option<Cow<'_, [u8]>> {
    if is_seven_bit(message) {
        return Some(Cow::Borrowed(message));
    }
    let mut edits = Vec::new();
    gather(message, &mime::index(message).body, &mut edits)?;
    let converted = edited(message, &edits)?;
    is_seven_bit(&converted).then_some(Cow::Owned(converted))
}

fn is_seven_bit(octets: &[u8]) -> bool {
    octets.is_ascii() && binary::is_lines(octets)
}

/// What is to be replaced, in the order of the message; `None`: something cannot be.
fn gather(message: &[u8], part: &BodyPart, edits: &mut Edits) -> Option<()> {
    let (header, contents) = (octets(&part.header()), octets(&part.contents()));
    let (head, body) = (message.get(header)?, message.get(contents.clone())?);
    if is_seven_bit(head) && is_seven_bit(body) {
        return Some(());
    }
    if !is_seven_bit(head) || (part.media == "multipart" && matches!(part.subtype.as_str(), "signed" | "encrypted")) {
        return None;
    }
    match &part.inside {
        Inside::Parts(parts) => {
            relabel(message, part, "7bit", edits);
            parts.iter().try_for_each(|part| gather(message, part, edits))
        }
        Inside::Message(nested) => {
            relabel(message, part, "7bit", edits);
            gather(message, &nested.body, edits)
        }
        // What is encoded and not in 7 bits all the same is damaged: nobody knows what it was to be.
        Inside::Leaf if matches!(part.encoding.as_str(), "base64" | "quoted-printable") => None,
        Inside::Leaf => {
            let is_text = part.media == "text" && is_text(body);
            relabel(message, part, if is_text { "quoted-printable" } else { "base64" }, edits);
            edits.push((contents, if is_text { encoding::quoted_printable(body) } else { encoding::base64_lines(body) }));
            Some(())
        }
    }
}

/// Whether quoted-printable keeps it: its lines are lines.
fn is_text(body: &[u8]) -> bool {
    let mostly = body.iter().filter(|octet| !octet.is_ascii()).count() <= body.len() / 2;
    mostly && binary::is_lines(body)
}

/// Says the part's encoding: in place of what it says, or at the end of its header.
fn relabel(message: &[u8], part: &BodyPart, encoding: &str, edits: &mut Edits) {
    let field = format!("Content-Transfer-Encoding: {encoding}\r\n");
    if let Some(said) = binary::field(message, part) {
        edits.push((said, field));
        return;
    }
    // A part without a field that it is 8bit is none that has to say 7bit.
    if encoding == "7bit" {
        return;
    }
    let header = octets(&part.header());
    let block = message.get(header.clone()).unwrap_or_default();
    let end = if block.ends_with(b"\r\n\r\n") || block == b"\r\n" { header.end - 2 } else { header.end };
    let field = if end == header.end { format!("{field}\r\n") } else { field };
    edits.push((end..end, field));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding::{TransferEncoding, decode};
    use crate::header;
    use proptest::prelude::*;

    fn check(message: &str, want: Option<&str>) {
        let got = converted(message.as_bytes()).map(|octets| String::from_utf8(octets.into_owned()).unwrap());
        assert_eq!(got.as_deref(), want, "{message:?}");
    }

    #[test]
    fn texts_are_quoted_and_others_in_base64() {
        check("Subject: x\r\n\r\nseven\r\n", Some("Subject: x\r\n\r\nseven\r\n"));
        check(
            "Content-Transfer-Encoding: 8BIT\r\nSubject: x\r\n\r\ngrün = green\r\n",
            Some("Content-Transfer-Encoding: quoted-printable\r\nSubject: x\r\n\r\ngr=C3=BCn =3D green\r\n"),
        );
        check("Subject: x\r\n\r\ngrün\r\n", Some("Subject: x\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\ngr=C3=BCn\r\n"));
        check(
            "Content-Type: image/gif\r\nContent-Transfer-Encoding: binary\r\n\r\nGü",
            Some("Content-Type: image/gif\r\nContent-Transfer-Encoding: base64\r\n\r\nR8O8\r\n"),
        );
    }

    #[test]
    fn parts_are_reached_however_deep() {
        let message = |outer: &str, inner: &str, text: &str| {
            format!(
                "Content-Type: multipart/mixed; boundary=a\r\nContent-Transfer-Encoding: {outer}\r\n\r\n--a\r\n\r\nplain\r\n--a\r\n\
                 Content-Type: message/rfc822\r\nContent-Transfer-Encoding: {outer}\r\n\r\n\
                 Content-Type: multipart/alternative; boundary=b\r\n\r\n--b\r\nContent-Transfer-Encoding: {inner}\r\n\r\n{text}\r\n\
                 --b--\r\n\r\n--a--\r\n"
            )
        };
        check(&message("8bit", "8bit", "grün"), Some(&message("7bit", "quoted-printable", "gr=C3=BCn")));
    }

    #[test]
    fn what_cannot_be_converted() {
        check("Subject: grün\r\n\r\nx\r\n", None);
        check("Content-Transfer-Encoding: base64\r\n\r\ngrün\r\n", None);
        let signed = "Content-Type: multipart/signed; boundary=a\r\n\r\n--a\r\n\r\ngrün\r\n--a--\r\n";
        check(signed, None);
        check(&signed.replace("ü", "ue"), Some(&signed.replace("ü", "ue")));
        let preamble = "Content-Type: multipart/mixed; boundary=a\r\n\r\ngrün\r\n--a\r\n\r\nx\r\n--a--\r\n";
        check(preamble, None);
    }

    proptest! {
        #[test]
        fn nothing_is_lost(contents in prop::collection::vec(any::<u8>(), 1..200)) {
            let head = b"Content-Type: application/x\r\nContent-Transfer-Encoding: binary\r\n\r\n";
            let message = [&head[..], &contents].concat();
            let changed = converted(&message).unwrap();
            let body = &changed[header::body_start(&changed)..];
            let encoded = changed.starts_with(b"Content-Type: application/x\r\nContent-Transfer-Encoding: base64");
            let got = if encoded { decode(TransferEncoding::Base64, body) } else { body.to_vec() };
            prop_assert_eq!(got, contents);
        }

        #[test]
        fn what_is_converted_is_in_seven_bits(message in prop::collection::vec(any::<u8>(), 0..300)) {
            if let Some(converted) = converted(&message) {
                prop_assert!(is_seven_bit(&converted));
            }
        }
    }
}
