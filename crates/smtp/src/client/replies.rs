//! Reads a server's replies (RFC 5321 §4.2.1), however hostile it is.
//!
//! Invariant: a reply is bounded in lines and octets; one that breaks the grammar ends the session.

use crate::Reply;
use mail::EnhancedStatus;
use wire::{Inbox, Line};

/// The replies that have come, and what has come of the next one.
#[derive(Debug)]
pub(super) struct Replies {
    inbox: Inbox,
    lines_max: usize,
    partial: Option<Partial>,
}

/// The lines of a reply but the last.
#[derive(Debug)]
struct Partial {
    code: u16,
    status: Option<EnhancedStatus>,
    lines: Vec<String>,
}

/// The server does not speak SMTP.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Garbage(pub(super) &'static str);

impl Replies {
    pub(super) fn new(octets_max: usize, lines_max: usize) -> Self {
        Self { inbox: Inbox::new(octets_max), lines_max, partial: None }
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.inbox.push(bytes);
    }

    /// Whether nothing has come beyond the replies that were taken.
    pub(super) fn is_empty(&self) -> bool {
        self.inbox.is_empty() && self.partial.is_none()
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.inbox.clear();
        self.partial = None;
    }

    /// The next whole reply.
    pub(super) fn next(&mut self) -> Result<Option<Reply>, Garbage> {
        while let Some(line) = self.inbox.line() {
            match line {
                Line::Whole(line) => {
                    if let Some(reply) = self.line(&line)? {
                        return Ok(Some(reply));
                    }
                }
                Line::TooLong => return Err(Garbage("The server's reply has too long a line")),
                Line::Bare => return Err(Garbage("The server's reply has a bare CR or LF")),
            }
        }
        Ok(None)
    }

    fn line(&mut self, line: &[u8]) -> Result<Option<Reply>, Garbage> {
        let (code, last, text) = parse(line).ok_or(Garbage("The server's reply is none"))?;
        let (status, text) = split_status(&text);
        let partial = self.partial.get_or_insert_with(|| Partial { code, status, lines: Vec::new() });
        if partial.code != code {
            return Err(Garbage("The server's reply changes its code"));
        }
        if partial.lines.len() >= self.lines_max {
            return Err(Garbage("The server's reply has too many lines"));
        }
        partial.lines.push(text.to_owned());
        if !last {
            return Ok(None);
        }
        Ok(self.partial.take().map(|whole| Reply { code, status: whole.status, text: whole.lines.join("\n") }))
    }
}

/// Code, whether it is the last line, text.
fn parse(line: &[u8]) -> Option<(u16, bool, String)> {
    let digits = line.get(..3)?;
    let [first @ b'2'..=b'5', second, third] = digits else { return None };
    if !second.is_ascii_digit() || !third.is_ascii_digit() {
        return None;
    }
    let code = [first, second, third].iter().fold(0, |code, digit| code * 10 + u16::from(**digit - b'0'));
    let last = match line.get(3) {
        None | Some(b' ') => true,
        Some(b'-') => false,
        Some(_) => return None,
    };
    let text = String::from_utf8_lossy(line.get(4..).unwrap_or_default());
    Some((code, last, text.replace(|c: char| c.is_control() && c != '\t', "?")))
}

/// RFC 2034 §4: the text may start with an enhanced status.
fn split_status(text: &str) -> (Option<EnhancedStatus>, &str) {
    let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
    match word.parse() {
        Ok(status) => (Some(status), rest),
        Err(_) => (None, text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(input: &[u8]) -> Vec<Result<String, Garbage>> {
        let mut replies = Replies::new(40, 3);
        replies.push(input);
        let next = || replies.next().map(|reply| reply.map(|reply| format!("{reply}"))).transpose();
        let mut out = Vec::new();
        for read in std::iter::from_fn(next) {
            let broken = read.is_err();
            out.push(read);
            if broken {
                break;
            }
        }
        out
    }

    #[test]
    fn replies_are_read() {
        for (input, want) in [
            (&b"250 2.1.0 OK\r\n"[..], "250 2.1.0 OK"),
            (b"250\r\n", "250 "),
            (b"250-a\r\n250-b\r\n250 c\r\n", "250 a b c"),
            (b"550-5.1.1 No\r\n550 5.1.1 such\r\n", "550 5.1.1 No such"),
            (b"354 5 x\r\n", "354 5 x"),
            (b"250 gr\xfcn\x07\r\n", "250 gr\u{fffd}n?"),
        ] {
            assert_eq!(read(input), [Ok(want.to_owned())], "{}", input.escape_ascii());
        }
        assert_eq!(read(b"250 a\r\n251 b\r\n25").len(), 2);
    }

    #[test]
    fn what_is_no_reply_is_garbage() {
        let long = [&b"250 "[..], &[b'x'; 50], b"\r\n"].concat();
        for input in [
            &b"hello\r\n"[..],
            b"\r\n",
            b"25\r\n",
            b"2500 x\r\n",
            b"150 x\r\n",
            b"600 x\r\n",
            b"250x\r\n",
            b"250-a\r\n550 b\r\n",
            b"250 a\n",
            b"250 a\rb\r\n",
            b"250-\r\n250-\r\n250-\r\n250 \r\n",
            &long,
        ] {
            assert!(matches!(read(input).as_slice(), [Err(_)]), "{}", input.escape_ascii());
        }
    }
}
