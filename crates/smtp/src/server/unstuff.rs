//! The octets after DATA: finds their end and takes the stuffed dots away (RFC 5321 §4.5.2).
//!
//! ```text
//!             ┌──────────── LF ───────────┐
//!  LineStart ─┤                           │
//!      │ '.'  └─ other ─▶ Text ── CR ──▶ Cr
//!      ▼                   ▲ other (a dot is dropped)
//!     Dot ─────────────────┘
//!      └── CR ──▶ DotCr ── LF ──▶ the end
//! ```
//!
//! Invariant: only CRLF ends a line. A CR or LF on its own makes the message [`Unstuff::bare`]; it never ends a
//! line, so `LF . CRLF` and its like (SMTP smuggling) are text of a message that is refused at its real end.

/// Where the next octet stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum At {
    #[default]
    LineStart,
    Text,
    Cr,
    Dot,
    DotCr,
}

/// The state between two reads.
#[derive(Debug, Default)]
pub(super) struct Unstuff {
    at: At,
    bare: bool,
}

/// How far a read went.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fed {
    /// Octets of the input that were used.
    pub(super) consumed: usize,
    /// Whether the end was seen.
    pub(super) ended: bool,
}

impl Unstuff {
    /// Whether a CR or LF on its own was seen. What was put out since is void.
    pub(super) fn bare(&self) -> bool {
        self.bare
    }

    /// Appends the message's octets in `input` to `out`: never more than `input` has.
    pub(super) fn feed(&mut self, input: &[u8], out: &mut Vec<u8>) -> Fed {
        let (mut at, mut copied) = (0, 0);
        while let Some(octet) = input.get(at) {
            match (self.at, octet) {
                (At::Text, _) => at = self.text(input, at),
                (At::Cr, b'\n') => {
                    self.at = At::LineStart;
                    at += 1;
                }
                (At::LineStart, b'.') => {
                    out.extend_from_slice(input.get(copied..at).unwrap_or_default());
                    self.at = At::Dot;
                    at += 1;
                    copied = at;
                }
                (At::Dot, b'\r') => {
                    self.at = At::DotCr;
                    at += 1;
                    copied = at;
                }
                (At::DotCr, b'\n') => return Fed { consumed: at + 1, ended: true },
                (At::Cr | At::DotCr, _) => {
                    self.bare = true;
                    self.at = At::Text;
                }
                (At::LineStart | At::Dot, _) => self.at = At::Text,
            }
        }
        out.extend_from_slice(input.get(copied..at).unwrap_or_default());
        Fed { consumed: at, ended: false }
    }

    /// Skips to behind the next CR or LF, or to the end of the input.
    fn text(&mut self, input: &[u8], at: usize) -> usize {
        let rest = input.get(at..).unwrap_or_default();
        let Some(n) = memchr::memchr2(b'\r', b'\n', rest) else { return input.len() };
        if rest.get(n) == Some(&b'\r') {
            self.at = At::Cr;
        } else {
            self.bare = true;
        }
        at + n + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The message, whether it was bare, and what follows its end; fed in pieces of `step` octets.
    fn unstuffed(input: &[u8], step: usize) -> (Vec<u8>, bool, Option<Vec<u8>>) {
        let (mut unstuff, mut out) = (Unstuff::default(), Vec::new());
        let mut done = 0;
        for piece in input.chunks(step) {
            let fed = unstuff.feed(piece, &mut out);
            done += fed.consumed;
            if fed.ended {
                return (out, unstuff.bare(), Some(input[done..].to_vec()));
            }
        }
        (out, unstuff.bare(), None)
    }

    #[test]
    fn dots_are_taken_away_and_the_end_is_found() {
        for (input, message, rest) in [
            ("a\r\n.\r\n", "a\r\n", Some("")),
            (".\r\n", "", Some("")),
            ("..\r\n.\r\nQUIT\r\n", ".\r\n", Some("QUIT\r\n")),
            (".a\r\n..b\r\n.\r\n", "a\r\n.b\r\n", Some("")),
            ("a.\r\n.\r\n", "a.\r\n", Some("")),
            ("\r\n\r\n.\r\n", "\r\n\r\n", Some("")),
            ("a\r\n.", "a\r\n", None),
        ] {
            for step in 1..=input.len() {
                let (got, bare, after) = unstuffed(input.as_bytes(), step);
                assert_eq!(String::from_utf8(got).unwrap(), message, "{input:?} by {step}");
                assert_eq!(after.as_deref(), rest.map(str::as_bytes), "{input:?} by {step}");
                assert!(!bare, "{input:?}");
            }
        }
    }

    #[test]
    fn a_bare_cr_or_lf_neither_ends_the_message_nor_passes() {
        for smuggled in ["\n.\n", "\n.\r\n", "\r\n.\n", "\r.\r", "\r\n.\r", "\r\r\n.\r\r\n", "\n\n.\r\n", "\r.\r\n", "a\nb", "a\rb"] {
            let input = format!("a{smuggled}b\r\n.\r\nX");
            for step in 1..=input.len() {
                let (_, bare, after) = unstuffed(input.as_bytes(), step);
                assert!(bare, "{smuggled:?} by {step}");
                assert_eq!(after.as_deref(), Some(&b"X"[..]), "{smuggled:?} by {step}");
            }
        }
    }

    proptest! {
        #[test]
        fn never_more_comes_out_than_went_in(input in "[.\r\na]{0,40}", step in 1_usize..8) {
            let (out, ..) = unstuffed(input.as_bytes(), step);
            prop_assert!(out.len() <= input.len());
        }
    }
}
