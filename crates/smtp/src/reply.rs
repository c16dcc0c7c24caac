//! What a server says: code, enhanced status and text (RFC 5321 §4.2, RFC 2034).

use mail::EnhancedStatus;
use std::fmt;

/// One reply, of one line or several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// 200 to 599.
    pub code: u16,
    /// The enhanced status, where there is one (RFC 3463).
    pub status: Option<EnhancedStatus>,
    /// The words for people; lines are separated by `\n`.
    pub text: String,
}

impl Reply {
    /// A reply with an enhanced status: `Reply::new(550, (5, 1, 1), "No such user")`.
    pub fn new(code: u16, status: (u8, u16, u16), text: impl Into<String>) -> Self {
        let status = EnhancedStatus::new(status.0, status.1, status.2);
        Self { code, status: Some(status), text: text.into() }
    }

    /// A reply without an enhanced status.
    pub fn plain(code: u16, text: impl Into<String>) -> Self {
        Self { code, status: None, text: text.into() }
    }

    /// 2xx: it was done.
    pub const fn is_positive(&self) -> bool {
        self.code >= 200 && self.code < 300
    }

    /// 4xx: it may work later.
    pub const fn is_transient(&self) -> bool {
        self.code >= 400 && self.code < 500
    }

    /// 5xx: it will never work.
    pub const fn is_permanent(&self) -> bool {
        self.code >= 500 && self.code < 600
    }

    /// Appends the reply as it goes over the wire. The enhanced status is repeated on every line (RFC 2034 §4),
    /// characters that a line cannot hold are shown as `?`.
    pub fn write(&self, out: &mut Vec<u8>) {
        let mut lines = self.text.split('\n').peekable();
        while let Some(line) = lines.next() {
            let mark = if lines.peek().is_some() { '-' } else { ' ' };
            out.extend_from_slice(format!("{}{mark}", self.code).as_bytes());
            if let Some(status) = self.status {
                out.extend_from_slice(format!("{status} ").as_bytes());
            }
            out.extend(line.bytes().map(|octet| if octet.is_ascii_control() && octet != b'\t' { b'?' } else { octet }));
            out.extend_from_slice(b"\r\n");
        }
    }

    /// The reply as it goes over the wire.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.text.len() + 16);
        self.write(&mut out);
        out
    }
}

/// In one line, as logs and reports show it: `550 5.1.1 No such user`.
impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.code)?;
        if let Some(status) = self.status {
            write!(f, " {status}")?;
        }
        self.text.split('\n').try_for_each(|line| write!(f, " {line}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_written() {
        for (reply, want) in [
            (Reply::new(250, (2, 0, 0), "OK"), "250 2.0.0 OK\r\n"),
            (Reply::plain(354, "Go ahead"), "354 Go ahead\r\n"),
            (Reply::plain(250, ""), "250 \r\n"),
            (Reply::new(550, (5, 7, 1), "No\nNever"), "550-5.7.1 No\r\n550 5.7.1 Never\r\n"),
            (Reply::new(550, (5, 7, 1), "a\r250 b"), "550 5.7.1 a?250 b\r\n"),
        ] {
            assert_eq!(String::from_utf8(reply.to_bytes()).unwrap(), want);
        }
    }
}
