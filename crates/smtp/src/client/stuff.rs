//! Makes a message fit for DATA: lines end in CRLF, leading dots are doubled (RFC 5321 §4.5.2).
//!
//! A CR or LF on its own, as a message that came by BDAT may have, is sent as CRLF: RFC 5321 §2.3.8 forbids to
//! send it, and whoever takes it for a line's end elsewhere could be made to see the end of the message.

/// The state between two chunks.
#[derive(Debug)]
pub(super) struct Stuff {
    line_start: bool,
    /// The last octet was a CR, which was sent; its LF is still to come.
    after_cr: bool,
}

impl Stuff {
    pub(super) fn new() -> Self {
        Self { line_start: true, after_cr: false }
    }

    /// What goes over the wire for `chunk`.
    pub(super) fn feed(&mut self, chunk: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(chunk.len() + chunk.len() / 64 + 8);
        let mut rest = chunk;
        while let Some(octet) = rest.first() {
            if self.after_cr && *octet != b'\n' {
                out.push(b'\n');
            }
            if self.after_cr {
                self.line_start = true;
                self.after_cr = false;
                if *octet == b'\n' {
                    out.push(b'\n');
                    rest = rest.get(1..).unwrap_or_default();
                    continue;
                }
            }
            if self.line_start && *octet == b'.' {
                out.push(b'.');
            }
            rest = self.line(rest, &mut out);
        }
        out
    }

    /// Copies up to and with the next CR or LF.
    fn line<'a>(&mut self, rest: &'a [u8], out: &mut Vec<u8>) -> &'a [u8] {
        let Some(n) = memchr::memchr2(b'\r', b'\n', rest) else {
            self.line_start = false;
            out.extend_from_slice(rest);
            return &[];
        };
        let (text, end) = rest.split_at(n);
        out.extend_from_slice(text);
        out.push(b'\r');
        if end.first() == Some(&b'\r') {
            self.after_cr = true;
        } else {
            out.push(b'\n');
            self.line_start = true;
        }
        end.get(1..).unwrap_or_default()
    }

    /// What ends the message: its last line's end if that is missing, and the dot.
    pub(super) fn end(&self) -> &'static [u8] {
        match self {
            Self { after_cr: true, .. } => b"\n.\r\n",
            Self { line_start: true, .. } => b".\r\n",
            _ => b"\r\n.\r\n",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stuffed(message: &[u8], step: usize) -> String {
        let mut stuff = Stuff::new();
        let mut out: Vec<u8> = message.chunks(step).flat_map(|chunk| stuff.feed(chunk)).collect();
        out.extend_from_slice(stuff.end());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn dots_are_doubled_and_line_ends_made_whole() {
        for (message, want) in [
            ("", ".\r\n"),
            ("a", "a\r\n.\r\n"),
            ("a\r\n", "a\r\n.\r\n"),
            (".\r\n", "..\r\n.\r\n"),
            ("..a\r\n.b.\r\n", "...a\r\n..b.\r\n.\r\n"),
            ("a\nb", "a\r\nb\r\n.\r\n"),
            ("a\n.\nb\n", "a\r\n..\r\nb\r\n.\r\n"),
            ("a\r.\rb\r", "a\r\n..\r\nb\r\n.\r\n"),
            ("a\r\r\nb", "a\r\n\r\nb\r\n.\r\n"),
            ("\r\n\r\n", "\r\n\r\n.\r\n"),
            ("\n.", "\r\n..\r\n.\r\n"),
        ] {
            for step in 1..=message.len().max(1) {
                assert_eq!(stuffed(message.as_bytes(), step), want, "{message:?} by {step}");
            }
        }
    }
}
