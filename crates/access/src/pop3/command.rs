//! The commands: their words and what stands behind them.
//!
//! Not their doing, nor when they may be given: `session` shares them out to `authorization` and
//! `transaction`.

use wire::sasl::Secret;

/// A command, understood.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// `AUTH [mechanism [initial-response]]` (RFC 5034 §4)
    Auth(Option<(String, Option<String>)>),
    /// `CAPA` (RFC 2449 §5)
    Capa,
    /// `DELE msg`
    Dele(u64),
    /// `LANG [range]` (RFC 6856 §3.2)
    Lang(Option<String>),
    /// `LIST [msg]`
    List(Option<u64>),
    /// `NOOP`
    Noop,
    /// `PASS string`: all that follows the space.
    Pass(Secret),
    /// `QUIT`
    Quit,
    /// `RETR msg`
    Retr(u64),
    /// `RSET`
    Rset,
    /// `STAT`
    Stat,
    /// `STLS` (RFC 2595 §4)
    Stls,
    /// `TOP msg n`
    Top(u64, u64),
    /// `UIDL [msg]`
    Uidl(Option<u64>),
    /// `USER name`
    User(String),
    /// `UTF8` (RFC 6856 §2.1)
    Utf8,
}

/// Why a line is no command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// No such command.
    Unknown,
    /// The arguments are wrong; how it is written.
    Usage(&'static str),
    /// Octets that are not UTF-8.
    NotUtf8,
}

/// Reads a line, without its CRLF.
pub(crate) fn parse(line: &[u8]) -> Result<Command, Fault> {
    let (verb, rest) = match memchr::memchr(b' ', line) {
        Some(at) => (line.get(..at).unwrap_or_default(), line.get(at + 1..)),
        None => (line, None),
    };
    let verb = verb.to_ascii_uppercase();
    let text = rest.map(|rest| std::str::from_utf8(rest).map_err(|_| Fault::NotUtf8)).transpose();
    let words = || text.map(|text| text.unwrap_or_default().split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>());
    match verb.as_slice() {
        b"AUTH" => auth(&words()?),
        b"CAPA" => bare(&words()?, Command::Capa, "CAPA"),
        b"DELE" => number(&words()?).map(Command::Dele).ok_or(Fault::Usage("DELE message-number")),
        b"LANG" => lang(&words()?),
        b"LIST" => numbered(&words()?).map(Command::List).ok_or(Fault::Usage("LIST [message-number]")),
        b"NOOP" => bare(&words()?, Command::Noop, "NOOP"),
        b"PASS" => text?.filter(|text| !text.is_empty()).map(|text| Command::Pass(Secret::new(text))).ok_or(Fault::Usage("PASS password")),
        b"QUIT" => bare(&words()?, Command::Quit, "QUIT"),
        b"RETR" => number(&words()?).map(Command::Retr).ok_or(Fault::Usage("RETR message-number")),
        b"RSET" => bare(&words()?, Command::Rset, "RSET"),
        b"STAT" => bare(&words()?, Command::Stat, "STAT"),
        b"STLS" => bare(&words()?, Command::Stls, "STLS"),
        b"TOP" => top(&words()?).ok_or(Fault::Usage("TOP message-number lines")),
        b"UIDL" => numbered(&words()?).map(Command::Uidl).ok_or(Fault::Usage("UIDL [message-number]")),
        b"USER" => {
            text?.map(str::trim).filter(|name| !name.is_empty()).map(|name| Command::User(name.to_owned())).ok_or(Fault::Usage("USER name"))
        }
        b"UTF8" => bare(&words()?, Command::Utf8, "UTF8"),
        _ => Err(Fault::Unknown),
    }
}

fn bare(words: &[&str], command: Command, usage: &'static str) -> Result<Command, Fault> {
    if words.is_empty() { Ok(command) } else { Err(Fault::Usage(usage)) }
}

fn auth(words: &[&str]) -> Result<Command, Fault> {
    match words {
        [] => Ok(Command::Auth(None)),
        [mechanism] => Ok(Command::Auth(Some(((*mechanism).to_owned(), None)))),
        [mechanism, initial] => Ok(Command::Auth(Some(((*mechanism).to_owned(), Some((*initial).to_owned()))))),
        _ => Err(Fault::Usage("AUTH mechanism [initial-response]")),
    }
}

fn lang(words: &[&str]) -> Result<Command, Fault> {
    match words {
        [] => Ok(Command::Lang(None)),
        [range] => Ok(Command::Lang(Some((*range).to_owned()))),
        _ => Err(Fault::Usage("LANG [language]")),
    }
}

fn top(words: &[&str]) -> Option<Command> {
    let [message, lines] = words else { return None };
    Some(Command::Top(decimal(message)?, decimal(lines)?))
}

fn number(words: &[&str]) -> Option<u64> {
    let [number] = words else { return None };
    decimal(number)
}

/// `Some(None)`: no number was given.
#[expect(clippy::option_option, reason = "an argument may be wrong, missing or there")]
fn numbered(words: &[&str]) -> Option<Option<u64>> {
    if words.is_empty() { Some(None) } else { number(words).map(Some) }
}

/// Digits only; a number too large for any message is still a number.
fn decimal(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_understood() {
        let user = |name: &str| Ok(Command::User(name.to_owned()));
        let pass = |text: &str| Ok(Command::Pass(Secret::new(text)));
        for (line, want) in [
            ("STAT", Ok(Command::Stat)),
            ("stat ", Ok(Command::Stat)),
            ("STAT 1", Err(Fault::Usage("STAT"))),
            ("LIST", Ok(Command::List(None))),
            ("list 2", Ok(Command::List(Some(2)))),
            ("LIST x", Err(Fault::Usage("LIST [message-number]"))),
            ("LIST -1", Err(Fault::Usage("LIST [message-number]"))),
            ("RETR", Err(Fault::Usage("RETR message-number"))),
            ("RETR 99999999999999999999999", Ok(Command::Retr(u64::MAX))),
            ("TOP 1 0", Ok(Command::Top(1, 0))),
            ("TOP 1", Err(Fault::Usage("TOP message-number lines"))),
            ("USER alice@example.org ", user("alice@example.org")),
            ("USER  two words", user("two words")),
            ("USER ", Err(Fault::Usage("USER name"))),
            ("PASS  with spaces ", pass(" with spaces ")),
            ("PASS", Err(Fault::Usage("PASS password"))),
            ("AUTH", Ok(Command::Auth(None))),
            ("auth plain =", Ok(Command::Auth(Some(("plain".to_owned(), Some("=".to_owned())))))),
            ("LANG", Ok(Command::Lang(None))),
            ("lang de", Ok(Command::Lang(Some("de".to_owned())))),
            ("LANG de en", Err(Fault::Usage("LANG [language]"))),
            ("APOP alice 0123", Err(Fault::Unknown)),
            ("LAST", Err(Fault::Unknown)),
            ("", Err(Fault::Unknown)),
        ] {
            assert_eq!(parse(line.as_bytes()), want, "{line}");
        }
        assert_eq!(parse(b"USER \xff"), Err(Fault::NotUtf8));
        assert_eq!(parse(b"\xff\xfe"), Err(Fault::Unknown));
    }
}
