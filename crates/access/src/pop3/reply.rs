//! What a client reads first after each command: `+OK` or `-ERR`, a code and words.

/// A response code (RFC 2449 §8, RFC 3206 §4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    /// The maildrop is locked by another session.
    InUse,
    /// Something is wrong here, and may be right later.
    SysTemp,
    /// Something is wrong here, and somebody must do something.
    SysPerm,
    /// The login or the password is wrong.
    Auth,
    /// What the client says is not UTF-8 (RFC 6856 §5).
    Utf8,
}

impl Code {
    const fn name(self) -> &'static str {
        match self {
            Self::InUse => "IN-USE",
            Self::SysTemp => "SYS/TEMP",
            Self::SysPerm => "SYS/PERM",
            Self::Auth => "AUTH",
            Self::Utf8 => "UTF8",
        }
    }
}

/// `+OK words` and CRLF.
pub(crate) fn ok(words: &str) -> Vec<u8> {
    format!("+OK {words}\r\n").into_bytes()
}

/// `-ERR words` and CRLF.
pub(crate) fn error(words: &str) -> Vec<u8> {
    format!("-ERR {words}\r\n").into_bytes()
}

/// `-ERR [CODE] words` and CRLF.
pub(crate) fn coded(code: Code, words: &str) -> Vec<u8> {
    format!("-ERR [{}] {words}\r\n", code.name()).into_bytes()
}
