//! Entries for the fuzzer: one for each parser of hostile input, and what must hold whatever comes in.
//!
//! A broken promise is an assertion here, so that the fuzzer sees it.

use crate::digest::{BodyPart, Digest};
use crate::encoding::{self, Decoder, TransferEncoding};
use crate::imap_view::{self, Charset};
use crate::uid_set::UidSet;
use crate::{Address, DateTime, Domain, Timestamp};
use crate::{
    address_list, binary, casemap, charset, compose, date, dsn, header, mime, received, seven_bit, subject, submission, text, words,
};

/// Everything at once.
pub fn fuzz(data: &[u8]) {
    message(data);
    headers(data);
    encodings(data);
    texts(&String::from_utf8_lossy(data));
}

/// The index, the digest and its IMAP views, sections, decoded texts, reports.
pub fn message(data: &[u8]) {
    let digest = Digest::of(data);
    parts_lie_within(&digest.body, 0, data.len() as u64);
    let mut out = Vec::new();
    for charset in [Charset::Ascii, Charset::Utf8] {
        imap_view::envelope(&mut out, &digest.envelope, charset);
        imap_view::body(&mut out, &digest.body, charset);
        imap_view::body_structure(&mut out, &digest.body, charset);
    }
    assert!(digest.preview.chars().count() <= Digest::PREVIEW_CHARS_MAX);
    for path in [&[1][..], &[1, 1], &[2, 1, 1]] {
        let range = digest.body.section_range(path, None).unwrap_or_default();
        assert!(range.start <= range.end && range.end <= digest.octets);
    }
    text::texts(data, &digest.body).for_each(drop);
    assert!(binary::is_lines(&binary::to_lines(data)));
    if let Some(converted) = seven_bit::converted(data) {
        assert!(converted.is_ascii() && binary::is_lines(&converted));
        assert_eq!(seven_bit::converted(&converted).as_deref(), Some(&*converted), "what is converted stays as it is");
    }
    dsn::parse(data);
}

fn parts_lie_within(part: &BodyPart, from: u64, to: u64) {
    assert!([from, part.header_start, part.body_start, part.body_end, to].is_sorted());
    let mut at = part.body_start;
    for inner in part.parts() {
        parts_lie_within(inner, at, part.body_end);
        at = inner.body_end;
    }
    if let Some(nested) = part.message() {
        parts_lie_within(&nested.body, part.body_start, part.body_end);
    }
}

/// Fields, choosing among them, mending them.
pub fn headers(data: &[u8]) {
    let block = data.get(..header::body_start(data)).unwrap_or_default();
    for field in header::fields(block) {
        let value = header::unfold(field.value);
        assert!(!value.contains(['\r', '\n', '\0']));
    }
    header::select(block, &["subject"], false);
    received::count(block);
    text::fields(block).for_each(drop);
    let completion = submission::Completion { date: DateTime { at: Timestamp(0), zone_minutes: 0 }, message_id: "x@y" };
    assert!(!header::fields(&submission::complete(block, &completion)).any(|field| field.is("bcc")));
}

/// Transfer encodings, whole and in pieces, and charsets.
pub fn encodings(data: &[u8]) {
    for encoding in [TransferEncoding::Base64, TransferEncoding::QuotedPrintable] {
        let (first, second) = data.split_at(data.len() / 2);
        let (mut decoder, mut pieces) = (Decoder::new(encoding), Vec::new());
        decoder.feed(first, &mut pieces);
        decoder.feed(second, &mut pieces);
        decoder.finish(&mut pieces);
        assert_eq!(pieces, encoding::decode(encoding, data));
    }
    for label in ["utf-8", "utf-7", "iso-2022-kr", "iso-2022-jp", "hz-gb-2312", ""] {
        charset::decode(label, data);
    }
}

/// Everything that is read from one line of text.
pub fn texts(line: &str) {
    let _ = casemap::fold(line);
    assert!(address_list::parse(line, 100).len() <= 100);
    if let Some(read) = date::parse(line) {
        assert_eq!(date::parse(&date::rfc5322(read)), Some(read));
    }
    date::parse_internal_date(line);
    date::parse_day(line);
    mime::content_type(line);
    subject::base(line);
    text::strip_html(line);
    header::message_ids(line).for_each(drop);
    if !line.contains(char::is_control) {
        assert_eq!(words::decode(&words::encode(&words::decode(line))), words::decode(line));
    }
    let fields = compose::Fields::new().text("Subject", line);
    assert_eq!(header::fields(fields.as_str().as_bytes()).count(), 1);
    if let Ok(set) = line.parse::<UidSet>() {
        assert_eq!(set.to_string().parse(), Ok(set));
    }
    if let Ok(address) = Address::parse(line) {
        assert_eq!(Address::parse(&address.to_string()), Ok(address));
    }
    if let Ok(domain) = Domain::parse(line) {
        assert_eq!(Domain::parse(domain.as_str()), Ok(domain));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    /// Pieces that matter to the parsers, so that chance finds more than garbage.
    fn pieces() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop::sample::select(vec![
            "\r\n",
            "\n",
            "\r\n\r\n",
            "--b",
            "--b--",
            "--c\r\n",
            "Content-Type: ",
            "multipart/mixed; boundary=b",
            "multipart/digest; boundary=\"c\"",
            "message/rfc822",
            "text/html",
            "Subject: ",
            "To: ",
            "Bcc: ",
            "Date: ",
            "1 Jul 03",
            " 10:52:37",
            " +0200",
            "=?utf-8?Q?",
            "=C3=A9",
            "?=",
            "=?iso-2022-jp?B?",
            "a@b",
            "<",
            ">",
            ",",
            ";",
            ":",
            "(",
            ")",
            "\"",
            "\\",
            "[",
            "]",
            " ",
            "\t",
            "=",
            "*0*=",
            "é",
            "Re: ",
            "&amp;",
            "<style>",
            "+AGE-",
            "~{",
            "1:3",
            "filename*=utf-8''%41",
        ]);
        let any = prop::collection::vec(any::<u8>(), 0..4);
        prop::collection::vec(prop_oneof![6 => piece.prop_map(|text| text.as_bytes().to_vec()), 1 => any], 0..60)
            .prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn no_promise_is_broken(data in pieces()) {
            super::fuzz(&data);
        }
    }
}
