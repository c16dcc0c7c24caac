//! Input not yet understood: a line reader with a hard cap.
//!
//! Not a parser: it knows lines and counted octets, nothing else. Its buffer is released as soon as
//! it is empty, so that an idle connection holds none.

/// Input not yet understood, with a hard cap on a line's length.
#[derive(Debug, Default)]
pub struct Inbox {
    bytes: Vec<u8>,
    /// Octets of `bytes` already taken.
    taken: usize,
    /// Octets behind `taken` already searched for a line feed.
    searched: usize,
    line_octets_max: usize,
    /// The rest of an overlong line is dropped up to its line feed.
    skipping: bool,
}

/// One line of input.
#[derive(Debug, PartialEq, Eq)]
pub enum Line {
    /// The line without its CRLF.
    Whole(Vec<u8>),
    /// Longer than the cap; it was dropped up to and with its line feed.
    TooLong,
    /// A CR or LF on its own (RFC 5321 §2.3.8): the guard against SMTP smuggling.
    Bare,
}

impl Inbox {
    /// An empty inbox for lines of at most `line_octets_max` octets, CRLF not counted.
    pub fn new(line_octets_max: usize) -> Self {
        Self { line_octets_max, ..Self::default() }
    }

    /// Appends what the peer sent.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// How many octets wait.
    pub fn len(&self) -> usize {
        self.bytes.len() - self.taken
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What waits, untaken.
    pub fn peek(&self) -> &[u8] {
        self.bytes.get(self.taken..).unwrap_or_default()
    }

    /// Forgets everything; true if there was something to forget.
    pub fn clear(&mut self) -> bool {
        let had = !self.is_empty();
        *self = Self::new(self.line_octets_max);
        had
    }

    /// Takes up to `octets_max` octets, whatever they are.
    pub fn take(&mut self, octets_max: usize) -> Vec<u8> {
        let octets = self.len().min(octets_max);
        let bytes = self.peek().get(..octets).unwrap_or_default().to_vec();
        self.consume(octets);
        bytes
    }

    /// Drops the first `octets` of what waits (all of it, if there is less).
    pub fn consume(&mut self, octets: usize) {
        self.taken = (self.taken + octets).min(self.bytes.len());
        self.searched = 0;
        if self.taken == self.bytes.len() {
            self.bytes = Vec::new();
            self.taken = 0;
        } else if self.taken >= self.bytes.len() / 2 && self.taken > 4096 {
            self.bytes.drain(..self.taken);
            self.taken = 0;
        }
    }

    /// The next line, or `None` if none is complete.
    ///
    /// An overlong line is reported once, when the cap is passed or its end is seen, and dropped to
    /// its end; memory stays within the cap and one read.
    pub fn line(&mut self) -> Option<Line> {
        let Some(end) = self.line_feed() else {
            if self.len() > self.line_octets_max {
                self.consume(self.len());
                self.skipping = true;
            }
            return None;
        };
        let line = self.peek().get(..end).unwrap_or_default();
        let found = self.judge(line);
        self.consume(end + 1);
        self.skipping = false;
        Some(found)
    }

    fn line_feed(&mut self) -> Option<usize> {
        let unsearched = self.peek().get(self.searched..).unwrap_or_default();
        let found = memchr::memchr(b'\n', unsearched).map(|at| at + self.searched);
        if found.is_none() {
            self.searched = self.len();
        }
        found
    }

    /// `line` ends before its LF; the CR is still on it.
    fn judge(&self, line: &[u8]) -> Line {
        let Some((b'\r', text)) = line.split_last() else {
            return if self.skipping { Line::TooLong } else { Line::Bare };
        };
        if self.skipping || text.len() > self.line_octets_max {
            return Line::TooLong;
        }
        if memchr::memchr(b'\r', text).is_some() {
            return Line::Bare;
        }
        Line::Whole(text.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(inbox: &mut Inbox) -> Vec<Line> {
        std::iter::from_fn(|| inbox.line()).collect()
    }

    #[test]
    fn lines_are_cut_at_crlf_only() {
        let mut inbox = Inbox::new(8);
        inbox.push(b"one\r\ntw");
        assert_eq!(lines(&mut inbox), [Line::Whole(b"one".to_vec())]);
        inbox.push(b"o\r\nbare\nx\ry\r\n\r\n");
        assert_eq!(lines(&mut inbox), [Line::Whole(b"two".to_vec()), Line::Bare, Line::Bare, Line::Whole(vec![])]);
        assert!(inbox.is_empty());
    }

    #[test]
    fn an_overlong_line_is_reported_once_and_dropped_to_its_end() {
        let mut inbox = Inbox::new(4);
        for _ in 0..100 {
            inbox.push(b"0123456789");
            assert_eq!(lines(&mut inbox), []);
            assert!(inbox.len() <= 14);
        }
        inbox.push(b"\r\nok\r\n");
        assert_eq!(lines(&mut inbox), [Line::TooLong, Line::Whole(b"ok".to_vec())]);
    }
}
