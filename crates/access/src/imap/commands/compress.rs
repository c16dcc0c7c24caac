//! COMPRESS (RFC 4978): from its OK on, both sides deflate what they send.
//!
//! Not the codec: [`crate::imap::compression`]. TLS of today compresses nothing, so nothing is compressed twice.

use crate::imap::command::Command;
use crate::imap::grammar::{Parsed, Parser};

/// `COMPRESS DEFLATE`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compress {
    /// Whether it names the one mechanism that there is.
    pub is_deflate: bool,
}

/// Reads its argument.
///
/// # Errors
/// When there is none.
pub fn parse(parser: &mut Parser<'_>) -> Parsed<Command> {
    parser.space()?;
    Ok(Command::Compress(Compress { is_deflate: parser.atom()?.eq_ignore_ascii_case("DEFLATE") }))
}
