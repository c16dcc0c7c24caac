//! LOGIN (RFC 9051 §6.2.3): a name and a password in clear, only under TLS unless the settings allow more.

use crate::imap::command::Command;
use crate::imap::grammar::{Parsed, Parser};
use wire::sasl::{SaslAsk, Secret, prepared};

/// `LOGIN ann secret`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// The login name.
    pub name: String,
    /// The password.
    pub password: Secret,
}

/// Reads its arguments.
///
/// # Errors
/// When they are not its grammar.
pub fn parse(parser: &mut Parser<'_>) -> Parsed<Command> {
    parser.space()?;
    let name = parser.text()?.into_owned();
    parser.space()?;
    let password = Secret::new(parser.text()?);
    Ok(Command::Login(Login { name, password }))
}

impl Login {
    /// The question whether name and password belong together.
    pub fn ask(&self) -> SaslAsk {
        SaslAsk::Password { authzid: None, login: prepared(&self.name), password: Secret::new(prepared(self.password.expose())) }
    }
}
