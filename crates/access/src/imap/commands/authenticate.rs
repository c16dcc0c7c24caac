//! AUTHENTICATE (RFC 9051 §6.2.2), with an initial response (RFC 4959).

use crate::imap::command::Command;
use crate::imap::grammar::{Parsed, Parser};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use wire::sasl::Secret;

/// `AUTHENTICATE PLAIN AGFubgBzZWNyZXQ=`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authenticate {
    /// The mechanism's name as written.
    pub mechanism: String,
    /// The initial response, still in base64; `=` is an empty one.
    pub initial: Option<Secret>,
}

/// Reads its arguments.
///
/// # Errors
/// When they are not its grammar.
pub fn parse(parser: &mut Parser<'_>) -> Parsed<Command> {
    parser.space()?;
    let mechanism = parser.atom()?.to_owned();
    let mut initial = None;
    if parser.accept(b' ') && !parser.is_done() {
        let text = parser.text()?;
        initial = Some(Secret::new(text));
    }
    Ok(Command::Authenticate(Authenticate { mechanism, initial }))
}

/// The octets of a response in base64; `None` if it is none.
pub fn decode(text: &[u8]) -> Option<Vec<u8>> {
    if text == b"=" { Some(Vec::new()) } else { STANDARD.decode(text).ok() }
}

/// A challenge in base64.
pub fn encode(challenge: &[u8]) -> String {
    STANDARD.encode(challenge)
}
