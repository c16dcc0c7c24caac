//! ID (RFC 2971): who is there, on both sides.

use crate::imap::command::Command;
use crate::imap::grammar::{Parsed, Parser};
use crate::imap::response;

/// Names and values that a client tells of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Id {
    /// In the client's order; values that are NIL are left out.
    pub fields: Vec<(String, String)>,
}

/// Most fields of an ID (RFC 2971 §3.3).
const FIELDS_MAX: usize = 30;

/// Reads its arguments.
///
/// Deviation: some programs put commas between the fields or forget quotes (Apache James has met them). Whoever
/// asks who we are is told; what they say of themselves is left out.
///
/// # Errors
/// When there are none.
pub fn parse(parser: &mut Parser<'_>) -> Parsed<Command> {
    parser.space()?;
    let id = fields(parser).ok().filter(|_| parser.clone().end().is_ok());
    if id.is_none() {
        parser.skip();
    }
    Ok(Command::Id(id.unwrap_or_default()))
}

fn fields(parser: &mut Parser<'_>) -> Parsed<Id> {
    if parser.accept_word("NIL") {
        return Ok(Id::default());
    }
    let fields = parser.list(FIELDS_MAX, field)?;
    Ok(Id { fields: fields.into_iter().flatten().collect() })
}

fn field(parser: &mut Parser<'_>) -> Parsed<Option<(String, String)>> {
    let name = String::from_utf8_lossy(&parser.string()?).into_owned();
    parser.space()?;
    if parser.accept_word("NIL") {
        return Ok(None);
    }
    let value = String::from_utf8_lossy(&parser.string()?).into_owned();
    Ok(Some((name, value)))
}

/// Our own answer.
pub fn answer(fields: &[(String, String)]) -> Vec<u8> {
    let mut out = b"* ID (".to_vec();
    for (name, value) in fields {
        response::string(&mut out, name.as_bytes(), false);
        out.push(b' ');
        response::string(&mut out, value.as_bytes(), false);
        out.push(b' ');
    }
    if !fields.is_empty() {
        out.pop();
    }
    out.extend_from_slice(b")\r\n");
    out
}
