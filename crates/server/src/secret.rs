//! Passwords on their way from a terminal, a file or the control socket into the store.
//!
//! Invariant: never an argument, never in a log or `Debug`; wiped when dropped.

use crate::failure::{Code, Failure, Result};
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader, IsTerminal, Read, Write};
use std::path::Path;
use zeroize::Zeroizing;

/// Longest password, octets.
pub const PASSWORD_OCTETS_MAX: usize = 1024;

/// Shorter ones are taken with a warning, characters.
const PASSWORD_CHARACTERS_ADVISED: usize = 10;

/// A password.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub struct Password(Zeroizing<String>);

impl From<String> for Password {
    fn from(text: String) -> Self {
        Self(Zeroizing::new(text))
    }
}

impl Serialize for Password {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

impl Password {
    /// A password of 20 letters and digits that are hard to confuse, about 99 bits.
    ///
    /// # Errors
    /// When the system gives no random octets.
    pub fn random() -> Result<Self> {
        const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
        let octets = crate::random::octets::<20>()?;
        let letters = octets.iter().filter_map(|octet| LETTERS.get(usize::from(octet % 32)).copied().map(char::from));
        Ok(Self(Zeroizing::new(letters.collect())))
    }

    /// The password itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether it is shorter than is wise.
    pub fn is_short(&self) -> bool {
        self.0.chars().count() < PASSWORD_CHARACTERS_ADVISED
    }

    /// The first line of a file; `-` is standard input.
    ///
    /// # Errors
    /// When it cannot be read or holds no password.
    pub fn from_file(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|error| Failure::failed(&format!("cannot read {}", path.display()), error))?;
        first_line(BufReader::new(file))
    }

    /// The first line of standard input; asked for without echo if that is a terminal.
    ///
    /// # Errors
    /// When there is none.
    pub fn from_stdin() -> Result<Self> {
        first_line(std::io::stdin().lock())
    }

    /// Asks twice at the terminal, without echo.
    ///
    /// # Errors
    /// When there is no terminal or the two differ.
    pub fn prompt(what: &str) -> Result<Self> {
        if !std::io::stdin().is_terminal() {
            let failure = Failure::usage("a password is needed and standard input is no terminal");
            return Err(failure.hint("give it with --password-stdin, --password-file FILE, or let one be made with --random"));
        }
        let first = ask_without_echo(&format!("{what}: "))?;
        let second = ask_without_echo("again: ")?;
        if first == second { Ok(first) } else { Err(Failure::new(Code::Usage, "the two passwords differ")) }
    }
}

fn first_line(from: impl BufRead) -> Result<Password> {
    let mut line = Zeroizing::new(String::new());
    let limit = u64::try_from(PASSWORD_OCTETS_MAX).unwrap_or(u64::MAX).saturating_add(3);
    from.take(limit).read_line(&mut line).map_err(|error| Failure::failed("cannot read the password", error))?;
    let text = line.trim_end_matches(['\r', '\n']);
    if text.is_empty() {
        return Err(Failure::usage("the password is empty"));
    }
    if text.len() > PASSWORD_OCTETS_MAX {
        return Err(Failure::usage(format!("the password is longer than {PASSWORD_OCTETS_MAX} octets")));
    }
    Ok(Password(Zeroizing::new(text.to_owned())))
}

fn ask_without_echo(question: &str) -> Result<Password> {
    let unable = |error: &dyn fmt::Display| Failure::failed("cannot ask at the terminal", error);
    eprint_flush(question);
    let stdin = std::io::stdin();
    let before = tcgetattr(&stdin).map_err(|error| unable(&error))?;
    let mut silent = before.clone();
    silent.local_modes.remove(LocalModes::ECHO);
    silent.local_modes.insert(LocalModes::ECHONL);
    tcsetattr(&stdin, OptionalActions::Flush, &silent).map_err(|error| unable(&error))?;
    let answer = first_line(stdin.lock());
    tcsetattr(&stdin, OptionalActions::Flush, &before).map_err(|error| unable(&error))?;
    answer
}

fn eprint_flush(text: &str) {
    let mut err = std::io::stderr().lock();
    let _gone = write!(err, "{text}").and_then(|()| err.flush());
}

/// Asks a question at the terminal; an empty answer is `default`.
///
/// # Errors
/// When standard input ends.
pub fn ask(question: &str, default: &str) -> Result<String> {
    let shown = if default.is_empty() { format!("{question}: ") } else { format!("{question} [{default}]: ") };
    eprint_flush(&shown);
    let mut line = String::new();
    let octets =
        std::io::stdin().lock().take(4096).read_line(&mut line).map_err(|error| Failure::failed("cannot read an answer", error))?;
    if octets == 0 {
        return Err(Failure::usage("standard input ended before the question was answered"));
    }
    let answer = line.trim();
    Ok(if answer.is_empty() { default } else { answer }.to_owned())
}

/// Asks for a yes; `--yes` answers it beforehand. Without a terminal the answer is no.
///
/// # Errors
/// When the answer is no.
pub fn confirm(question: &str, yes: bool) -> Result<()> {
    if yes {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        return Err(Failure::usage(format!("{question} There is no terminal to ask at")).hint("say --yes"));
    }
    let answer = ask(&format!("{question} (yes or no)"), "no")?;
    if matches!(answer.as_str(), "y" | "yes") { Ok(()) } else { Err(Failure::new(Code::Refused, "not done")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_is_the_password() {
        assert_eq!(first_line(&b"a b \r\nnext"[..]).unwrap().reveal(), "a b ");
        assert!(first_line(&b"\n"[..]).is_err());
        assert!(first_line("x".repeat(1025).as_bytes()).is_err());
        assert_eq!(first_line("x".repeat(1024).as_bytes()).unwrap().reveal().len(), 1024);
    }

    #[test]
    fn passwords_are_not_shown() {
        let password = Password::random().unwrap();
        assert_eq!(format!("{password:?}"), "[secret]");
        assert_eq!(password.reveal().len(), 20);
        assert_ne!(password, Password::random().unwrap());
    }
}
