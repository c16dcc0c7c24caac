//! What a client reads first after each command: `+OK` or `-ERR`, a code and words.

use super::language::{Language, Words};

/// A response code (RFC 2449 §8, RFC 3206 §4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Code {
    /// The maildrop is locked by another session.
    InUse,
    /// Something is wrong here, and may be right later.
    SysTemp,
    /// Something is wrong here, and somebody must do something.
    SysPerm,
    /// The login or the password is wrong.
    Auth,
    /// The last login is not long enough ago (RFC 2449 §8.1.1).
    LoginDelay,
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
            Self::LoginDelay => "LOGIN-DELAY",
            Self::Utf8 => "UTF8",
        }
    }
}

/// A reply, in words that are put into the client's language when it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reply {
    positive: bool,
    code: Option<Code>,
    words: Words,
}

impl Reply {
    /// Its octets, with CRLF.
    pub(super) fn octets(&self, language: Language) -> Vec<u8> {
        let status = if self.positive { "+OK" } else { "-ERR" };
        let code = self.code.map(|code| format!(" [{}]", code.name())).unwrap_or_default();
        format!("{status}{code} {}\r\n", language.say(&self.words)).into_bytes()
    }
}

/// `+OK words`
pub(super) fn ok(words: impl Into<Words>) -> Reply {
    Reply { positive: true, code: None, words: words.into() }
}

/// `-ERR words`
pub(super) fn error(words: impl Into<Words>) -> Reply {
    Reply { positive: false, code: None, words: words.into() }
}

/// `-ERR [CODE] words`
pub(super) fn coded(code: Code, words: impl Into<Words>) -> Reply {
    Reply { positive: false, code: Some(code), words: words.into() }
}
