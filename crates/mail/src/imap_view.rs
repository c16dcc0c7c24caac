//! ENVELOPE, BODY and BODYSTRUCTURE as IMAP writes them (RFC 9051 §7.5.2, §9; RFC 3501 §7.4.2).
//!
//! Not FETCH: which items, in what order, is the session's business.
//!
//! Invariants: what is written is grammatical for every digest; without UTF-8 on, everything outside of
//! literals is ASCII.

use crate::digest::{AddressItem, BodyPart, Disposition, EnvelopeItem, Inside};
use crate::words;
use std::io::Write;

/// What the client takes in strings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Charset {
    /// `IMAP4rev1`: text beyond ASCII goes as encoded words where people read it and as literals elsewhere.
    Ascii,
    /// `UTF8=ACCEPT` (RFC 9755) or `IMAP4rev2`: quoted strings hold UTF-8.
    Utf8,
}

/// Writes ENVELOPE's parenthesized list; an empty Sender or Reply-To is the same as From.
pub fn envelope(out: &mut Vec<u8>, envelope: &EnvelopeItem, charset: Charset) {
    let or_from = |list: &'_ [AddressItem]| if list.is_empty() { envelope.from.clone() } else { list.to_vec() };
    out.push(b'(');
    nstring(out, envelope.date.as_deref(), charset);
    out.push(b' ');
    display(out, envelope.subject.as_deref(), charset);
    for list in [&envelope.from, &or_from(&envelope.sender), &or_from(&envelope.reply_to), &envelope.to, &envelope.cc, &envelope.bcc] {
        out.push(b' ');
        addresses(out, list, charset);
    }
    out.push(b' ');
    nstring(out, envelope.in_reply_to.as_deref(), charset);
    out.push(b' ');
    nstring(out, envelope.message_id.as_deref(), charset);
    out.push(b')');
}

/// Writes BODY's list: BODYSTRUCTURE without extension data.
pub fn body(out: &mut Vec<u8>, part: &BodyPart, charset: Charset) {
    Structure { charset, extended: false }.part(out, part);
}

/// Writes BODYSTRUCTURE's list, extension data included.
pub fn body_structure(out: &mut Vec<u8>, part: &BodyPart, charset: Charset) {
    Structure { charset, extended: true }.part(out, part);
}

/// Writes a string: quoted, or a literal where quotes cannot hold it.
pub fn string(out: &mut Vec<u8>, text: &str, charset: Charset) {
    let quotable = |b: u8| !matches!(b, b'\r' | b'\n' | 0) && (b.is_ascii() || charset == Charset::Utf8);
    if !text.bytes().all(quotable) {
        return literal(out, text.as_bytes());
    }
    out.push(b'"');
    for octet in text.bytes() {
        if matches!(octet, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(octet);
    }
    out.push(b'"');
}

/// Writes a string or NIL.
pub fn nstring(out: &mut Vec<u8>, text: Option<&str>, charset: Charset) {
    match text {
        Some(text) => string(out, text, charset),
        None => out.extend_from_slice(b"NIL"),
    }
}

/// Writes octets as a literal; NUL, which a literal cannot hold, goes as a space.
fn literal(out: &mut Vec<u8>, octets: &[u8]) {
    number(out, '{', octets.len() as u64);
    out.extend_from_slice(b"}\r\n");
    out.extend(octets.iter().map(|octet| if *octet == 0 { b' ' } else { *octet }));
}

/// Writes text that people read: beyond ASCII it goes as encoded words to those who want ASCII.
fn display(out: &mut Vec<u8>, text: Option<&str>, charset: Charset) {
    match text {
        Some(text) if charset == Charset::Ascii && !text.is_ascii() => string(out, &words::encode(&words::decode(text)), charset),
        text => nstring(out, text, charset),
    }
}

fn number(out: &mut Vec<u8>, before: char, number: u64) {
    // Writing to a Vec cannot fail.
    let _ = write!(out, "{before}{number}");
}

fn addresses(out: &mut Vec<u8>, list: &[AddressItem], charset: Charset) {
    if list.is_empty() {
        return out.extend_from_slice(b"NIL");
    }
    out.push(b'(');
    for address in list {
        out.push(b'(');
        display(out, address.name.as_deref(), charset);
        out.push(b' ');
        nstring(out, address.route.as_deref(), charset);
        out.push(b' ');
        // A group's name is read by people, a mailbox by machines.
        let group = address.host.is_none();
        if group {
            display(out, address.mailbox.as_deref(), charset);
        } else {
            nstring(out, address.mailbox.as_deref(), charset);
        }
        out.push(b' ');
        nstring(out, address.host.as_deref(), charset);
        out.push(b')');
    }
    out.push(b')');
}

struct Structure {
    charset: Charset,
    extended: bool,
}

impl Structure {
    fn part(&self, out: &mut Vec<u8>, part: &BodyPart) {
        out.push(b'(');
        if let Inside::Parts(parts) = &part.inside {
            for part in parts {
                self.part(out, part);
            }
            out.push(b' ');
            self.string(out, &part.subtype);
            if self.extended {
                out.push(b' ');
                self.parameters(out, &part.parameters);
                self.extension(out, part);
            }
        } else {
            self.single(out, part);
        }
        out.push(b')');
    }

    fn single(&self, out: &mut Vec<u8>, part: &BodyPart) {
        self.string(out, &part.media);
        out.push(b' ');
        self.string(out, &part.subtype);
        out.push(b' ');
        self.parameters(out, &part.parameters);
        out.push(b' ');
        nstring(out, part.id.as_deref(), self.charset);
        out.push(b' ');
        display(out, part.description.as_deref(), self.charset);
        out.push(b' ');
        self.string(out, &part.encoding);
        number(out, ' ', part.octets());
        if let Inside::Message(nested) = &part.inside {
            out.push(b' ');
            envelope(out, &nested.envelope, self.charset);
            out.push(b' ');
            self.part(out, &nested.body);
        }
        if part.media == "text" || part.message().is_some() {
            number(out, ' ', part.lines);
        }
        if self.extended {
            out.push(b' ');
            nstring(out, part.md5.as_deref(), self.charset);
            self.extension(out, part);
        }
    }

    /// What ends both kinds of list: disposition, language, location.
    fn extension(&self, out: &mut Vec<u8>, part: &BodyPart) {
        out.push(b' ');
        self.disposition(out, part.disposition.as_ref());
        out.push(b' ');
        self.languages(out, &part.language);
        out.push(b' ');
        nstring(out, part.location.as_deref(), self.charset);
    }

    fn disposition(&self, out: &mut Vec<u8>, disposition: Option<&Disposition>) {
        let Some(disposition) = disposition else { return out.extend_from_slice(b"NIL") };
        out.push(b'(');
        self.string(out, &disposition.kind);
        out.push(b' ');
        self.parameters(out, &disposition.parameters);
        out.push(b')');
    }

    fn languages(&self, out: &mut Vec<u8>, tags: &[String]) {
        match tags {
            [] => out.extend_from_slice(b"NIL"),
            [tag] => self.string(out, tag),
            tags => self.list(out, tags.iter().map(String::as_str)),
        }
    }

    fn parameters(&self, out: &mut Vec<u8>, parameters: &[(String, String)]) {
        if parameters.is_empty() {
            return out.extend_from_slice(b"NIL");
        }
        self.list(out, parameters.iter().flat_map(|(name, value)| [name.as_str(), value.as_str()]));
    }

    fn list<'a>(&self, out: &mut Vec<u8>, strings: impl Iterator<Item = &'a str>) {
        for (at, text) in strings.enumerate() {
            out.push(if at == 0 { b'(' } else { b' ' });
            self.string(out, text);
        }
        out.push(b')');
    }

    fn string(&self, out: &mut Vec<u8>, text: &str) {
        string(out, text, self.charset);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;

    type View = fn(&mut Vec<u8>, &Digest, Charset);

    fn check(view: View, charset: Charset, message: &[u8], want: &str) {
        let message = if message.contains(&b'\r') { message.to_vec() } else { crlf(message) };
        let mut out = Vec::new();
        view(&mut out, &Digest::of(&message), charset);
        assert_eq!(String::from_utf8(out).unwrap(), want);
    }

    fn crlf(text: &[u8]) -> Vec<u8> {
        text.split(|b| *b == b'\n').collect::<Vec<_>>().join(&b"\r\n"[..])
    }

    fn check_envelope(message: &[u8], want: &str) {
        check(|out, digest, charset| envelope(out, &digest.envelope, charset), Charset::Ascii, message, want);
    }

    fn check_structure(message: &[u8], want: &str) {
        check(|out, digest, charset| body_structure(out, &digest.body, charset), Charset::Ascii, message, want);
    }

    /// The message of RFC 3501 §8 and RFC 9051 §8, whose ENVELOPE is printed there.
    #[test]
    fn the_envelope_of_the_rfc() {
        check_envelope(
            b"Date: Wed, 17 Jul 1996 02:23:25 -0700 (PDT)\nFrom: Terry Gray <gray@cac.washington.edu>\n\
              Subject: IMAP4rev2 WG mtg summary and minutes\nTo: imap@cac.washington.edu\n\
              cc: minutes@CNRI.Reston.VA.US, John Klensin <KLENSIN@MIT.EDU>\n\
              Message-Id: <B27397-0100000@cac.washington.edu>\nMIME-Version: 1.0\nContent-Type: TEXT/PLAIN; CHARSET=US-ASCII\n\n",
            "(\"Wed, 17 Jul 1996 02:23:25 -0700 (PDT)\" \"IMAP4rev2 WG mtg summary and minutes\" \
             ((\"Terry Gray\" NIL \"gray\" \"cac.washington.edu\")) ((\"Terry Gray\" NIL \"gray\" \"cac.washington.edu\")) \
             ((\"Terry Gray\" NIL \"gray\" \"cac.washington.edu\")) ((NIL NIL \"imap\" \"cac.washington.edu\")) \
             ((NIL NIL \"minutes\" \"CNRI.Reston.VA.US\")(\"John Klensin\" NIL \"KLENSIN\" \"MIT.EDU\")) NIL NIL \
             \"<B27397-0100000@cac.washington.edu>\")",
        );
    }

    #[test]
    fn envelopes_default_and_fall_to_nil() {
        check_envelope(b"\n", "(NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL)");
        check_envelope(b"Subject:\nFrom:\nSender: \nDate: \n\n", "(\"\" \"\" NIL NIL NIL NIL NIL NIL NIL NIL)");
        check_envelope(
            b"From: a@x\nSender: s@x\nReply-To: r@x\nIn-Reply-To: <i@x>\n\n",
            "(NIL NIL ((NIL NIL \"a\" \"x\")) ((NIL NIL \"s\" \"x\")) ((NIL NIL \"r\" \"x\")) NIL NIL NIL \"<i@x>\" NIL)",
        );
        check_envelope(
            b"To: Team: a@x, \"B \\\"b\\\"\" <@r:b@x>;\nBcc: undisclosed:;\nCc: lonely\n\n",
            "(NIL NIL NIL NIL NIL ((NIL NIL \"Team\" NIL)(NIL NIL \"a\" \"x\")(\"B \\\"b\\\"\" \"@r\" \"b\" \"x\")(NIL NIL NIL NIL)) \
             ((NIL NIL \"lonely\" \"\")) ((NIL NIL \"undisclosed\" NIL)(NIL NIL NIL NIL)) NIL NIL)",
        );
    }

    #[test]
    fn raw_text_beyond_ascii_reaches_every_client() {
        let message = "Subject: =?utf-8?Q?a=C3=A9?= ü\r\nFrom: Bär <bär@x>\r\n\r\n".as_bytes();
        let from = "((\"=?utf-8?Q?B=C3=A4r?=\" NIL {4}\r\nbär \"x\"))";
        check_envelope(message, &format!("(NIL \"=?utf-8?B?YcOpIMO8?=\" {from} {from} {from} NIL NIL NIL NIL NIL)"));
        let utf8 = "((\"Bär\" NIL \"bär\" \"x\"))";
        let view: View = |out, digest, charset| envelope(out, &digest.envelope, charset);
        check(view, Charset::Utf8, message, &format!("(NIL \"=?utf-8?Q?a=C3=A9?= ü\" {utf8} {utf8} {utf8} NIL NIL NIL NIL NIL)"));
        check_envelope(b"Subject: caf\xe9 \x00\"\\\n\n", "(NIL \"=?utf-8?B?Y2Fmw6kgIlw=?=\" NIL NIL NIL NIL NIL NIL NIL NIL)");
    }

    #[test]
    fn a_single_part_has_size_and_lines() {
        let text = format!("Content-Type: TEXT/PLAIN; CHARSET=US-ASCII\n\n{}", "x\n".repeat(48));
        check_structure(text.as_bytes(), "(\"text\" \"plain\" (\"charset\" \"US-ASCII\") NIL NIL \"7bit\" 144 48 NIL NIL NIL NIL)");
        check_structure(b"\n", "(\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 0 0 NIL NIL NIL NIL)");
        check_structure(
            b"Content-Type: image/gif; name=\"a b\"\nContent-ID: <i@x>\nContent-Description: it\nContent-Transfer-Encoding: BASE64 \n\
              Content-MD5: Q2hlY2s=\nContent-Disposition: attachment; filename=\"q\\\"q\"\nContent-Language: en, de\nContent-Location: http://x/\n\nR0lG\n",
            "(\"image\" \"gif\" (\"name\" \"a b\") \"<i@x>\" \"it\" \"base64\" 6 \"Q2hlY2s=\" (\"attachment\" (\"filename\" \"q\\\"q\")) (\"en\" \"de\") \"http://x/\")",
        );
        check(
            |out, digest, charset| body(out, &digest.body, charset),
            Charset::Ascii,
            b"Content-Type: image/gif\nContent-MD5: Q2hlY2s=\nContent-Language: en\n\nx",
            "(\"image\" \"gif\" NIL NIL NIL \"7bit\" 1)",
        );
    }

    #[test]
    fn parts_nest_as_their_lists_do() {
        let message = b"Content-Type: multipart/mixed; boundary=b\nContent-Language: en\n\n\
            --b\n\none\ntwo\n--b\nContent-Type: message/rfc822\n\nSubject: in\nFrom: a@x\n\nhi\n\n--b\nContent-Type: text/x-diff; name=cc.diff\nContent-Disposition: attachment\n\n+\n--b--\n";
        let inner = "((NIL NIL \"a\" \"x\"))";
        let parts = |extension: &str, disposition: &str| {
            format!(
                "(\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 8 2{extension})\
                 (\"message\" \"rfc822\" NIL NIL NIL \"7bit\" 30 (NIL \"in\" {inner} {inner} {inner} NIL NIL NIL NIL NIL) \
                 (\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 4 1{extension}) 4{extension})\
                 (\"text\" \"x-diff\" (\"name\" \"cc.diff\") NIL NIL \"7bit\" 1 1{disposition})"
            )
        };
        check_structure(
            message,
            &format!("({} \"mixed\" (\"boundary\" \"b\") NIL \"en\" NIL)", parts(" NIL NIL NIL NIL", " NIL (\"attachment\" NIL) NIL NIL")),
        );
        check(|out, digest, charset| body(out, &digest.body, charset), Charset::Ascii, message, &format!("({} \"mixed\")", parts("", "")));
    }
}
