//! Letters for a demo account, and the few forms they come in.

use mail::date::{DateTime, rfc5322};
use mail::{Address, Flags, Role, Timestamp};
use std::fmt::Write;

/// A letter that is ready to be put into a mailbox.
pub(super) struct Letter {
    pub(super) role: Role,
    pub(super) flags: Flags,
    pub(super) date: Timestamp,
    pub(super) text: String,
}

/// Collects the letters of one account.
pub(super) struct Folder {
    owner: Address,
    now: Timestamp,
    letters: Vec<Letter>,
}

/// What all letters have, in any form.
#[derive(Clone, Copy, Default)]
pub(super) struct Head<'a> {
    pub(super) from: &'a str,
    /// The owner of the folder, if empty.
    pub(super) to: &'a str,
    pub(super) subject: &'a str,
    /// Hours before now.
    pub(super) hours: i64,
    /// A word for its Message-ID; replies name the letter they answer by it.
    pub(super) id: &'a str,
    /// The words of the letters it answers, oldest first.
    pub(super) answers: &'a [&'a str],
    /// Further header lines, each with CRLF.
    pub(super) more: &'a str,
}

/// Where a letter lies and what its owner did with it.
#[derive(Clone, Copy)]
pub(super) enum Place {
    Unread,
    Read,
    Flagged,
    Answered,
    Sent,
    Draft,
    Archived,
    Junk,
}

impl Place {
    fn role_and_flags(self) -> (Role, &'static [&'static str]) {
        match self {
            Self::Unread => (Role::Inbox, &[]),
            Self::Read => (Role::Inbox, &["\\Seen"]),
            Self::Flagged => (Role::Inbox, &["\\Seen", "\\Flagged"]),
            Self::Answered => (Role::Inbox, &["\\Seen", "\\Answered"]),
            Self::Sent => (Role::Sent, &["\\Seen"]),
            Self::Draft => (Role::Drafts, &["\\Seen", "\\Draft"]),
            Self::Archived => (Role::Archive, &["\\Seen"]),
            Self::Junk => (Role::Junk, &[]),
        }
    }
}

impl Folder {
    pub(super) fn new(owner: Address, now: Timestamp) -> Self {
        Self { owner, now, letters: Vec::new() }
    }

    pub(super) fn letters(self) -> Vec<Letter> {
        self.letters
    }

    /// Plain text.
    pub(super) fn plain(&mut self, place: Place, head: Head<'_>, text: &str) {
        let body = format!("{}\r\n{}", text_type("plain"), crlf(text));
        self.add(place, head, &body);
    }

    /// Plain text and HTML that say the same.
    pub(super) fn alternative(&mut self, place: Place, head: Head<'_>, text: &str, html: &str) {
        let parts = [text_part("plain", text), text_part("html", html)];
        self.add(place, head, &multipart("alternative", head.id, &parts));
    }

    /// Plain text with a file.
    pub(super) fn with_file(&mut self, place: Place, head: Head<'_>, text: &str, file: (&str, &str, &[u8])) {
        let (name, kind, octets) = file;
        let name = mail::words::encode_parameter("filename", name);
        let encoded = mail::encoding::base64_lines(octets);
        let attachment = format!(
            "Content-Type: {kind}\r\nContent-Disposition: attachment; {name}\r\nContent-Transfer-Encoding: base64\r\n\r\n{}\r\n",
            encoded.trim_end()
        );
        self.add(place, head, &multipart("mixed", head.id, &[text_part("plain", text), attachment]));
    }

    fn add(&mut self, place: Place, head: Head<'_>, body: &str) {
        let date = Timestamp::from_seconds(self.now.seconds() - head.hours * 3_600 - 137);
        let (role, flags) = place.role_and_flags();
        let flags = flags.iter().filter_map(|flag| mail::Flag::parse(flag)).collect();
        let text = format!("{}{body}", self.header(head, date));
        self.letters.push(Letter { role, flags, date, text });
    }

    fn header(&self, head: Head<'_>, date: Timestamp) -> String {
        let to = if head.to.is_empty() { self.owner.to_string() } else { head.to.to_owned() };
        let mut out = String::new();
        let mut line = |name: &str, value: &str| {
            let _infallible = write!(out, "{name}: {value}\r\n");
        };
        line("Date", &rfc5322(DateTime { at: date, zone_minutes: 60 }));
        line("From", &encoded_names(head.from));
        line("To", &encoded_names(&to));
        line("Subject", &mail::words::encode(head.subject));
        line("Message-ID", &message_id(head.id));
        if let Some(last) = head.answers.last() {
            line("In-Reply-To", &message_id(last));
            line("References", &head.answers.iter().map(|id| message_id(id)).collect::<Vec<_>>().join("\r\n "));
        }
        out.push_str(head.more);
        out.push_str("MIME-Version: 1.0\r\n");
        out
    }
}

fn message_id(word: &str) -> String {
    format!("<{word}@sample.demo.test>")
}

/// `Zoë <zoe@x>` with the name as an encoded word where it needs one (RFC 2047 §5).
fn encoded_names(addresses: &str) -> String {
    let encoded = addresses.split(", ").map(|address| match address.rsplit_once(" <") {
        Some((name, rest)) => format!("{} <{rest}", mail::words::encode(name)),
        None => address.to_owned(),
    });
    encoded.collect::<Vec<_>>().join(", ")
}

fn text_type(kind: &str) -> String {
    format!("Content-Type: text/{kind}; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n")
}

fn text_part(kind: &str, text: &str) -> String {
    format!("{}\r\n{}", text_type(kind), crlf(text))
}

fn multipart(kind: &str, word: &str, parts: &[String]) -> String {
    let boundary = format!("=_{word}");
    let mut out = format!("Content-Type: multipart/{kind}; boundary=\"{boundary}\"\r\n\r\n");
    for part in parts {
        let _infallible = write!(out, "--{boundary}\r\n{part}\r\n");
    }
    let _infallible = write!(out, "--{boundary}--\r\n");
    out
}

/// Every line with CRLF, one at the end, no indentation of ours.
fn crlf(text: &str) -> String {
    text.trim().lines().fold(String::new(), |mut out, line| {
        out.push_str(line.trim_start());
        out.push_str("\r\n");
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_messages_as_rfc_5322_wants_them() {
        for local in ["ann", "bob"] {
            let mut folder = Folder::new(Address::parse(&format!("{local}@demo.test")).unwrap(), Timestamp::from_seconds(1_800_000_000));
            super::super::samples::write(local, &mut folder);
            let letters = folder.letters();
            assert!(letters.len() >= 10, "{local}: {}", letters.len());
            for letter in letters {
                let (header, body) = letter.text.split_once("\r\n\r\n").unwrap();
                assert!(header.is_ascii(), "{header}");
                assert!(!body.trim().is_empty(), "{header}");
                assert!(letter.text.lines().all(|line| line.len() <= 998), "{header}");
                assert!(!letter.text.replace("\r\n", "").contains(['\r', '\n']), "{header}");
            }
        }
    }
}
