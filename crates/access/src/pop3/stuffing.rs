//! A message on its way to a POP3 client (RFC 1939 §3): lines end in CRLF, a line that starts with a
//! dot gets another one, and TOP ends early.
//!
//! Works on any split of the message. Not the closing dot's sender when a message broke off: a
//! client must not take a part for the whole.
//!
//! Deviation: a NUL octet is sent as 0x80, as Dovecot's `outlook-no-nuls` does: Outlook hangs on it.
//! Deviation: a bare LF, which only a foreign import can have left in the store, is sent as CRLF; the
//! client would take it for a line's end anyway, and `LF . LF` for the message's.

use memchr::memchr;

/// The state between two chunks.
#[derive(Debug)]
pub(crate) struct Stuffing {
    /// The next octet is the first of a line.
    at_line_start: bool,
    /// The last octet was a CR.
    after_cr: bool,
    /// The line so far holds nothing but perhaps a CR.
    line_empty: bool,
    part: Part,
}

/// How much is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Whole,
    /// TOP: the header, its empty line and so many lines.
    Header {
        lines: u64,
    },
    /// TOP, behind the empty line.
    Lines(u64),
}

impl Stuffing {
    /// All of a message.
    pub(crate) const fn whole() -> Self {
        Self { at_line_start: true, after_cr: false, line_empty: true, part: Part::Whole }
    }

    /// The header, the empty line and the first `lines` lines of the body.
    pub(crate) const fn top(lines: u64) -> Self {
        Self { part: Part::Header { lines }, ..Self::whole() }
    }

    /// Whether the whole message is wanted.
    pub(crate) fn is_whole(&self) -> bool {
        self.part == Part::Whole
    }

    /// Whether what is wanted has been sent.
    pub(crate) fn is_done(&self) -> bool {
        self.part == Part::Lines(0)
    }

    /// Sends the next octets of the message to `out`.
    pub(crate) fn push(&mut self, chunk: &[u8], out: &mut Vec<u8>) {
        if memchr(0, chunk).is_some() {
            let without: Vec<u8> = chunk.iter().map(|octet| if *octet == 0 { 0x80 } else { *octet }).collect();
            return self.push_lines(&without, out);
        }
        self.push_lines(chunk, out);
    }

    fn push_lines(&mut self, mut rest: &[u8], out: &mut Vec<u8>) {
        out.reserve(rest.len() + rest.len() / 32);
        while !rest.is_empty() && !self.is_done() {
            let Some((line, behind)) = memchr(b'\n', rest).and_then(|at| Some((rest.get(..at)?, rest.get(at + 1..)?))) else {
                return self.text(rest, out);
            };
            self.text(line, out);
            self.end_line(out);
            rest = behind;
        }
    }

    /// A line or a piece of one, without its LF.
    fn text(&mut self, text: &[u8], out: &mut Vec<u8>) {
        let Some(last) = text.last() else { return };
        if self.at_line_start && text.starts_with(b".") {
            out.push(b'.');
        }
        self.line_empty = self.at_line_start && text == b"\r";
        self.at_line_start = false;
        self.after_cr = *last == b'\r';
        out.extend_from_slice(text);
    }

    fn end_line(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(if self.after_cr { b"\n" } else { b"\r\n" });
        let empty = self.line_empty || self.at_line_start;
        (self.at_line_start, self.after_cr, self.line_empty) = (true, false, true);
        self.part = match self.part {
            Part::Header { lines } if empty => Part::Lines(lines),
            Part::Lines(left) => Part::Lines(left.saturating_sub(1)),
            part => part,
        };
    }

    /// Sends the end: the message is whole.
    pub(crate) fn finish(mut self, out: &mut Vec<u8>) {
        if !self.at_line_start {
            self.end_line(out);
        }
        out.extend_from_slice(b".\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sent(mut stuffing: Stuffing, message: &[u8], chunk_octets: usize) -> Vec<u8> {
        let mut out = Vec::new();
        for chunk in message.chunks(chunk_octets.max(1)) {
            stuffing.push(chunk, &mut out);
        }
        stuffing.finish(&mut out);
        out
    }

    fn check(stuffing: fn() -> Stuffing, message: &str, want: &str) {
        for chunk_octets in 1..=message.len() + 1 {
            let got = sent(stuffing(), message.as_bytes(), chunk_octets);
            assert_eq!(String::from_utf8_lossy(&got), want, "{message:?} by {chunk_octets}");
        }
    }

    #[test]
    fn lines_are_stuffed_and_ended() {
        check(Stuffing::whole, "", ".\r\n");
        check(Stuffing::whole, "a: b\r\n\r\ntext\r\n", "a: b\r\n\r\ntext\r\n.\r\n");
        check(Stuffing::whole, ".\r\n..\r\n.a\r\nb.\r\n", "..\r\n...\r\n..a\r\nb.\r\n.\r\n");
        check(Stuffing::whole, "no end", "no end\r\n.\r\n");
        check(Stuffing::whole, "half end\r", "half end\r\n.\r\n");
        check(Stuffing::whole, "bare\n.\nlf\n", "bare\r\n..\r\nlf\r\n.\r\n");
        check(Stuffing::whole, "bare\rcr\r\r\n", "bare\rcr\r\r\n.\r\n");
    }

    #[test]
    fn top_ends_after_so_many_lines() {
        let message = "a: b\r\n.c: d\r\n\r\none\r\n.two\r\nthree";
        check(|| Stuffing::top(0), message, "a: b\r\n..c: d\r\n\r\n.\r\n");
        check(|| Stuffing::top(2), message, "a: b\r\n..c: d\r\n\r\none\r\n..two\r\n.\r\n");
        check(|| Stuffing::top(9), message, "a: b\r\n..c: d\r\n\r\none\r\n..two\r\nthree\r\n.\r\n");
        check(|| Stuffing::top(0), "no body\r\n", "no body\r\n.\r\n");
        check(|| Stuffing::top(1), "\r\nno header\r\nx", "\r\nno header\r\n.\r\n");
        check(|| Stuffing::top(1), "bare: lf\n\none\ntwo\n", "bare: lf\r\n\r\none\r\n.\r\n");
    }

    #[test]
    fn nul_does_not_reach_outlook() {
        assert_eq!(sent(Stuffing::whole(), b"a\0b\r\n", 9), b"a\x80b\r\n.\r\n");
    }

    proptest! {
        /// What a client makes of it is the message, with its lines' ends put right.
        #[test]
        fn a_client_reads_what_was_stored(lines in prop::collection::vec("[.a\r]{0,4}", 0..8), chunk_octets in 1usize..9) {
            let message = lines.iter().fold(String::new(), |message, line| message + line.trim_end_matches('\r') + "\r\n");
            let got = sent(Stuffing::whole(), message.as_bytes(), chunk_octets);
            let body = got.strip_suffix(b".\r\n").unwrap();
            let unstuffed: Vec<u8> = body.split_inclusive(|octet| *octet == b'\n').flat_map(|line| line.strip_prefix(b".").unwrap_or(line)).copied().collect();
            prop_assert_eq!(unstuffed, message.as_bytes());
            prop_assert!(!body.starts_with(b".\r\n") && !memchr::memmem::find(body, b"\r\n.\r\n").is_some_and(|_| true));
        }
    }
}
