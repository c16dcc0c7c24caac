//! The hash of a body in its canonical form, taken while the body passes by (RFC 6376 §3.4.3, §3.4.4, §3.7).
//!
//! Invariant: any split of the body into chunks gives the same hash; memory does not grow with the body.

use crate::header::Canonicalization;
use aws_lc_rs::digest;
use serde::{Deserialize, Serialize};

/// Octets gathered before they are hashed.
const GATHERED_OCTETS: usize = 8192;

/// Takes a body, chunk by chunk.
pub struct BodyHash {
    form: Canonicalization,
    /// Canonical octets that may still be hashed (`l=`).
    left: u64,
    /// Canonical octets so far, hashed or not.
    octets: u64,
    context: digest::Context,
    gathered: Vec<u8>,
    /// Empty lines that count only if something follows.
    empty_lines: u64,
    /// White space that counts only if something follows on its line (relaxed only).
    space: bool,
    /// A carriage return that may belong to a line end.
    carriage_return: bool,
    /// The line has octets that were taken already.
    in_line: bool,
}

/// What came out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BodyDigest {
    /// SHA-256 of the canonical body, up to `l=`.
    #[serde(with = "crate::octets::base64_text")]
    pub sha256: [u8; 32],
    /// Octets of the whole canonical body.
    pub octets: u64,
}

impl BodyHash {
    /// Nothing so far. `length`: how many canonical octets are hashed; none: all.
    pub fn new(form: Canonicalization, length: Option<u64>) -> Self {
        Self {
            form,
            left: length.unwrap_or(u64::MAX),
            octets: 0,
            context: digest::Context::new(&digest::SHA256),
            gathered: Vec::with_capacity(GATHERED_OCTETS),
            empty_lines: 0,
            space: false,
            carriage_return: false,
            in_line: false,
        }
    }

    /// The next octets of the body.
    pub fn update(&mut self, chunk: &[u8]) {
        let mut rest = chunk;
        while let Some((first, after)) = rest.split_first() {
            if self.carriage_return {
                self.carriage_return = false;
                if *first == b'\n' {
                    self.line_end();
                    rest = after;
                    continue;
                }
                self.octets_of_line(b"\r");
            }
            rest = match first {
                b'\r' => {
                    self.carriage_return = true;
                    after
                }
                // Deviation: a bare line feed ends a line. SMTP gives us none; files of other programs do.
                b'\n' => {
                    self.line_end();
                    after
                }
                b' ' | b'\t' if self.form == Canonicalization::Relaxed => {
                    self.space = true;
                    after
                }
                _ => self.run(rest),
            };
        }
    }

    /// Octets up to the next one with a meaning; returns what follows.
    fn run<'a>(&mut self, rest: &'a [u8]) -> &'a [u8] {
        let relaxed = self.form == Canonicalization::Relaxed;
        let ends = |b: &u8| matches!(b, b'\r' | b'\n') || (relaxed && matches!(b, b' ' | b'\t'));
        let (run, after) = rest.split_at(rest.iter().position(ends).unwrap_or(rest.len()));
        self.octets_of_line(run);
        after
    }

    fn octets_of_line(&mut self, octets: &[u8]) {
        for _ in 0..std::mem::take(&mut self.empty_lines) {
            self.take(b"\r\n");
        }
        if std::mem::take(&mut self.space) {
            self.take(b" ");
        }
        self.take(octets);
        self.in_line = true;
    }

    fn line_end(&mut self) {
        self.space = false;
        if std::mem::take(&mut self.in_line) { self.take(b"\r\n") } else { self.empty_lines += 1 }
    }

    fn take(&mut self, octets: &[u8]) {
        self.octets += octets.len() as u64;
        let fits = usize::try_from(self.left).unwrap_or(usize::MAX).min(octets.len());
        self.left -= fits as u64;
        let octets = octets.get(..fits).unwrap_or_default();
        if self.gathered.len() + octets.len() > GATHERED_OCTETS {
            self.context.update(&self.gathered);
            self.gathered.clear();
        }
        if octets.len() > GATHERED_OCTETS { self.context.update(octets) } else { self.gathered.extend_from_slice(octets) }
    }

    /// The body is over.
    pub fn finish(mut self) -> BodyDigest {
        if std::mem::take(&mut self.carriage_return) {
            self.octets_of_line(b"\r");
        }
        // A last line without a line end gets one.
        if self.in_line {
            self.take(b"\r\n");
        }
        if self.octets == 0 && self.form == Canonicalization::Simple {
            self.take(b"\r\n");
        }
        self.context.update(&self.gathered);
        let mut sha256 = [0; 32];
        sha256.copy_from_slice(self.context.finish().as_ref());
        BodyDigest { sha256, octets: self.octets }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn hash(form: Canonicalization, length: Option<u64>, chunks: &[&[u8]]) -> BodyDigest {
        let mut body = BodyHash::new(form, length);
        for chunk in chunks {
            body.update(chunk);
        }
        body.finish()
    }

    fn plain(text: &str) -> [u8; 32] {
        digest::digest(&digest::SHA256, text.as_bytes()).as_ref().try_into().unwrap()
    }

    #[test]
    fn bodies_become_canonical() {
        use Canonicalization::{Relaxed, Simple};
        for (form, input, want) in [
            // RFC 6376 §3.4.5.
            (Relaxed, " C \r\nD \t E\r\n\r\n\r\n", " C\r\nD E\r\n"),
            (Simple, " C \r\nD \t E\r\n\r\n\r\n", " C \r\nD \t E\r\n"),
            (Relaxed, "", ""),
            (Simple, "", "\r\n"),
            (Relaxed, "\r\n\r\n", ""),
            (Simple, "\r\n\r\n", "\r\n"),
            // Lines of white space at the end are empty lines (RFC 6376 §3.4.4).
            (Relaxed, "a\r\n \t\r\n\r\n \r\n", "a\r\n"),
            (Simple, "a\r\n \r\n", "a\r\n \r\n"),
            (Relaxed, "a\r\n\r\nb", "a\r\n\r\nb\r\n"),
            (Simple, "a", "a\r\n"),
            (Relaxed, "a\r b \r", "a\r b \r\r\n"),
            (Relaxed, "\r\n\r\n a", "\r\n\r\n a\r\n"),
        ] {
            let found = hash(form, None, &[input.as_bytes()]);
            assert_eq!((found.sha256, found.octets), (plain(want), want.len() as u64), "{form:?} {input:?}");
        }
        let cut = hash(Relaxed, Some(3), &[b"abcd\r\n"]);
        assert_eq!((cut.sha256, cut.octets), (plain("abc"), 6));
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_hash(text in "[ab \t\r\n]{0,40}", at in 0_usize..41, length in proptest::option::of(0_u64..40)) {
            let (front, back) = text.as_bytes().split_at(at.min(text.len()));
            for form in [Canonicalization::Simple, Canonicalization::Relaxed] {
                prop_assert_eq!(hash(form, length, &[text.as_bytes()]), hash(form, length, &[front, back]));
            }
        }
    }
}
