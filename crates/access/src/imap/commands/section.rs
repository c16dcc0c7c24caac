//! Sections of a message: `BODY[1.2.HEADER.FIELDS (FROM TO)]<0.100>` (RFC 9051 §6.4.5.1).

use crate::imap::grammar::{Parsed, Parser};
use crate::imap::response;

/// Which octets of a message are wanted, and under which name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// Numbers of parts; none for the message itself.
    pub path: Vec<u32>,
    /// What of that part.
    pub text: Text,
    /// First octet and number of octets.
    pub partial: Option<(u64, u64)>,
    /// `\Seen` is not set.
    pub peek: bool,
    /// The transfer encoding is taken off (RFC 3516).
    pub decoded: bool,
    /// The name under which it is answered: `BODY[1.TEXT]<0>`.
    pub label: Vec<u8>,
}

/// What of a part is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Text {
    /// The part's body, or the whole message.
    All,
    /// A message's header.
    Header,
    /// Some fields of it, or all but these.
    Fields {
        /// Their names.
        names: Vec<String>,
        /// All but these.
        not: bool,
    },
    /// A message's body.
    Text,
    /// A part's own header.
    Mime,
}

/// Deepest path of part numbers.
const PATH_MAX: usize = 64;
/// Most field names in one section.
const NAMES_MAX: usize = 256;

const EXPECTED: &str = "HEADER, HEADER.FIELDS, TEXT, MIME or the number of a part";

impl Section {
    /// A section of the message itself under an old name (RFC 3501 §6.4.5).
    pub fn whole(label: &str, text: Text, peek: bool) -> Self {
        Self { path: Vec::new(), text, partial: None, peek, decoded: false, label: label.as_bytes().to_vec() }
    }

    /// Reads `[…]<…>`.
    ///
    /// # Errors
    /// When it is not its grammar.
    pub fn parse(parser: &mut Parser<'_>, peek: bool) -> Parsed<Self> {
        parser.octet(b'[', "an opening bracket")?;
        let (path, named) = path(parser)?;
        let text = if named { text(parser, path.is_empty())? } else { Text::All };
        parser.octet(b']', "a closing bracket")?;
        let partial = partial(parser)?;
        let label = label("BODY[", &path, &text, partial);
        Ok(Self { path, text, partial, peek, decoded: false, label })
    }

    /// Reads `[1.2]<…>`; where only the size is asked for, no partial.
    ///
    /// # Errors
    /// When it is not its grammar.
    pub fn parse_binary(parser: &mut Parser<'_>, peek: bool, sized: bool) -> Parsed<Self> {
        parser.octet(b'[', "an opening bracket")?;
        let (path, named) = path(parser)?;
        if named {
            return parser.fault("the number of a part");
        }
        parser.octet(b']', "a closing bracket")?;
        let partial = if sized { None } else { partial(parser)? };
        let label = label("BINARY[", &path, &Text::All, partial);
        Ok(Self { path, text: Text::All, partial, peek, decoded: true, label })
    }
}

/// The numbers, and whether a name follows them.
fn path(parser: &mut Parser<'_>) -> Parsed<(Vec<u32>, bool)> {
    let mut path = Vec::new();
    loop {
        match parser.peek() {
            Some(b']') if path.is_empty() => return Ok((path, false)),
            Some(b'0'..=b'9') if path.len() < PATH_MAX => path.push(parser.nz_number()?),
            Some(b'0'..=b'9') => return parser.fault("a shorter path of parts"),
            _ => return Ok((path, true)),
        }
        if !parser.accept(b'.') {
            return Ok((path, false));
        }
    }
}

fn text(parser: &mut Parser<'_>, of_message: bool) -> Parsed<Text> {
    let start = parser.clone();
    match parser.name(EXPECTED)?.to_ascii_uppercase().as_str() {
        "HEADER" => Ok(Text::Header),
        "TEXT" => Ok(Text::Text),
        "MIME" if !of_message => Ok(Text::Mime),
        "HEADER.FIELDS" => Ok(Text::Fields { names: names(parser)?, not: false }),
        "HEADER.FIELDS.NOT" => Ok(Text::Fields { names: names(parser)?, not: true }),
        _ => start.fault(EXPECTED),
    }
}

fn names(parser: &mut Parser<'_>) -> Parsed<Vec<String>> {
    parser.space()?;
    parser.list(NAMES_MAX, |parser| Ok(String::from_utf8_lossy(&parser.astring()?).into_owned()))
}

fn partial(parser: &mut Parser<'_>) -> Parsed<Option<(u64, u64)>> {
    if !parser.accept(b'<') {
        return Ok(None);
    }
    let first = parser.number()?;
    parser.octet(b'.', "a dot and the number of octets")?;
    let octets = parser.number()?;
    if octets == 0 {
        return parser.fault("at least one octet");
    }
    parser.octet(b'>', "a closing angle bracket")?;
    Ok(Some((first, octets)))
}

fn label(start: &str, path: &[u32], text: &Text, partial: Option<(u64, u64)>) -> Vec<u8> {
    let mut out = start.as_bytes().to_vec();
    for (at, number) in path.iter().enumerate() {
        if at > 0 {
            out.push(b'.');
        }
        response::number(&mut out, *number);
    }
    if !(path.is_empty() || *text == Text::All) {
        out.push(b'.');
    }
    match text {
        Text::All => {}
        Text::Header => out.extend_from_slice(b"HEADER"),
        Text::Text => out.extend_from_slice(b"TEXT"),
        Text::Mime => out.extend_from_slice(b"MIME"),
        Text::Fields { names, not } => fields_label(&mut out, names, *not),
    }
    out.push(b']');
    if let Some((first, _)) = partial {
        out.push(b'<');
        response::number(&mut out, first);
        out.push(b'>');
    }
    out
}

fn fields_label(out: &mut Vec<u8>, names: &[String], not: bool) {
    out.extend_from_slice(if not { b"HEADER.FIELDS.NOT (" } else { b"HEADER.FIELDS (" });
    for (at, name) in names.iter().enumerate() {
        if at > 0 {
            out.push(b' ');
        }
        let plain = !name.is_empty() && name.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"-_.".contains(&octet));
        if plain {
            out.extend_from_slice(name.as_bytes());
        } else {
            response::string(out, name.as_bytes(), false);
        }
    }
    out.push(b')');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_are_read_and_labelled() {
        for (input, want) in [
            ("[]", Some("BODY[]")),
            ("[]<0.10>", Some("BODY[]<0>")),
            ("[header]", Some("BODY[HEADER]")),
            ("[1.2.mime]", Some("BODY[1.2.MIME]")),
            ("[1]<5.1>", Some("BODY[1]<5>")),
            ("[HEADER.FIELDS (From \"to\")]", Some("BODY[HEADER.FIELDS (From to)]")),
            ("[3.HEADER.FIELDS.NOT (\"a b\")]", Some("BODY[3.HEADER.FIELDS.NOT (\"a b\")]")),
            ("[MIME]", None),
            ("[0]", None),
            ("[1.]", None),
            ("[1", None),
            ("[]<0.0>", None),
            ("[]<0>", None),
            ("[HEADER.FIELDS]", None),
        ] {
            let mut parser = Parser::new(input.as_bytes(), false);
            let found = Section::parse(&mut parser, true).ok().map(|section| String::from_utf8(section.label).unwrap());
            assert_eq!(found.as_deref(), want, "{input}");
        }
    }
}
