//! What a milter answers: its packets in words.
//!
//! Not what follows from them: that is `session`.

use crate::advice::{Decision, Modification, Reply};
use crate::options::Options;
use crate::packet::{Data, Packet};

/// One answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Response {
    /// The last word about a stage.
    Decision(Decision),
    /// A change; others and a decision follow.
    Modification(Modification),
    /// A piece of another body; all of them together are the body.
    Body(Vec<u8>),
    /// Still at work.
    Progress,
    /// It has seen enough of the body.
    Skip,
}

/// Why a packet is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResponseError {
    /// A kind that the protocol has not; the kind.
    Unknown(u8),
    /// Its data cannot be read; the kind.
    Data(u8),
    /// A change that the milter did not say it might make; the kind.
    NotAgreed(u8),
}

/// Bits of the actions.
const ADD_HEADERS: u32 = 0x01;
const CHANGE_BODY: u32 = 0x02;
const ADD_RECIPIENTS: u32 = 0x04;
const DELETE_RECIPIENTS: u32 = 0x08;
const CHANGE_HEADERS: u32 = 0x10;
const QUARANTINE: u32 = 0x20;
const CHANGE_FROM: u32 = 0x40;
const ADD_RECIPIENTS_WITH_PARAMETERS: u32 = 0x80;

impl Response {
    /// Reads a packet from a milter.
    ///
    /// # Errors
    /// When it is no answer, or one that was not agreed on.
    pub fn parse(packet: Packet, options: &Options) -> Result<Self, ResponseError> {
        let Packet { kind, data } = packet;
        if needed(kind).is_some_and(|action| !options.may(action)) {
            return Err(ResponseError::NotAgreed(kind));
        }
        if kind == b'b' {
            return Ok(Self::Body(data));
        }
        if let Some(decision) = decision(kind, &data) {
            return Ok(Self::Decision(decision));
        }
        match kind {
            b'p' => Ok(Self::Progress),
            b's' => Ok(Self::Skip),
            _ if needed(kind).is_some() => {
                modification(kind, Data::new(&data), options).map(Self::Modification).ok_or(ResponseError::Data(kind))
            }
            _ => Err(ResponseError::Unknown(kind)),
        }
    }
}

/// Which action a change needs.
const fn needed(kind: u8) -> Option<u32> {
    match kind {
        b'h' | b'i' => Some(ADD_HEADERS),
        b'b' => Some(CHANGE_BODY),
        b'+' => Some(ADD_RECIPIENTS),
        b'2' => Some(ADD_RECIPIENTS_WITH_PARAMETERS),
        b'-' => Some(DELETE_RECIPIENTS),
        b'm' => Some(CHANGE_HEADERS),
        b'q' => Some(QUARANTINE),
        b'e' => Some(CHANGE_FROM),
        _ => None,
    }
}

/// A reply that refuses nothing is taken for a refusal for now, as is a milter that wants its connection to the world to fail.
fn decision(kind: u8, data: &[u8]) -> Option<Decision> {
    Some(match kind {
        b'c' => Decision::Continue,
        b'a' => Decision::Accept,
        b'd' => Decision::Discard,
        b'r' => Decision::Reject(None),
        b't' | b'f' => Decision::Defer(None),
        b'4' => Decision::Defer(Reply::new(421, None, "Service not available, closing the connection")),
        b'y' => match Reply::parse(&String::from_utf8_lossy(data.strip_suffix(b"\0").unwrap_or(data))) {
            Some(reply) if reply.is_permanent() => Decision::Reject(Some(reply)),
            other => Decision::Defer(other),
        },
        _ => return None,
    })
}

fn modification(kind: u8, mut data: Data<'_>, options: &Options) -> Option<Modification> {
    let words = |text: &[u8]| String::from_utf8_lossy(text).into_owned();
    let value = |text: &[u8]| options_value(text, options);
    Some(match kind {
        b'h' => Modification::AddHeader { name: words(data.text()?), value: value(data.last_text()?) },
        b'i' => Modification::InsertHeader { index: data.number()?, name: words(data.text()?), value: value(data.last_text()?) },
        b'm' => {
            let (index, name) = (data.number()?, words(data.text()?));
            match data.last_text() {
                None | Some(b"") => Modification::DeleteHeader { index, name },
                Some(text) => Modification::ChangeHeader { index, name, value: value(text) },
            }
        }
        b'+' => Modification::AddRecipient { address: words(data.last_text()?), parameters: String::new() },
        b'2' => Modification::AddRecipient { address: words(data.text()?), parameters: data.last_text().map(words).unwrap_or_default() },
        b'-' => Modification::DeleteRecipient(words(data.last_text()?)),
        b'e' => {
            let address = words(data.last_text()?);
            Modification::ChangeFrom { address, parameters: data.last_text().map(words).unwrap_or_default() }
        }
        b'q' => Modification::Quarantine(words(data.last_text()?)),
        _ => return None,
    })
}

/// A field's value with what stands behind the colon.
fn options_value(text: &[u8], options: &Options) -> Vec<u8> {
    if options.has(crate::options::Choice::LeadingSpace) { text.to_vec() } else { [b" ", text].concat() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(actions: u32, choices: u32) -> Options {
        Options::parse(&[6_u32.to_be_bytes(), actions.to_be_bytes(), choices.to_be_bytes()].concat()).unwrap()
    }

    fn check(kind: u8, data: &[u8], want: &str) {
        let found = Response::parse(Packet { kind, data: data.to_vec() }, &options(0x1ff, 0));
        assert_eq!(format!("{found:?}"), want, "{}", char::from(kind));
    }

    #[test]
    fn decisions_are_read() {
        check(b'c', b"", "Ok(Decision(Continue))");
        check(b'a', b"", "Ok(Decision(Accept))");
        check(b'd', b"", "Ok(Decision(Discard))");
        check(b'r', b"", "Ok(Decision(Reject(None)))");
        check(b't', b"", "Ok(Decision(Defer(None)))");
        check(b'f', b"", "Ok(Decision(Defer(None)))");
        check(b'p', b"", "Ok(Progress)");
        check(b's', b"", "Ok(Skip)");
        check(
            b'y',
            b"554 5.7.1 no\0",
            "Ok(Decision(Reject(Some(Reply { code: 554, status: Some(EnhancedStatus { class: 5, subject: 7, detail: 1 }), text: \"no\" }))))",
        );
        check(b'y', b"451 later\0", "Ok(Decision(Defer(Some(Reply { code: 451, status: None, text: \"later\" }))))");
        check(b'y', b"250 nonsense\0", "Ok(Decision(Defer(None)))");
        check(b'Z', b"", "Err(Unknown(90))");
    }

    #[test]
    fn changes_are_read() {
        check(b'h', b"X-A\0yes\0", "Ok(Modification(add header X-A: yes))");
        check(b'i', b"\0\0\0\x01X-A\0yes\0", "Ok(Modification(insert header 1 X-A: yes))");
        check(b'm', b"\0\0\0\x02Subject\0new\0", "Ok(Modification(change header 2 Subject: new))");
        check(b'm', b"\0\0\0\x01Subject\0\0", "Ok(Modification(delete header 1 Subject))");
        check(b'm', b"\0\0\0\x01Subject\0", "Ok(Modification(delete header 1 Subject))");
        check(b'+', b"<a@b>\0", "Ok(Modification(add recipient <a@b>))");
        check(b'2', b"<a@b>\0NOTIFY=NEVER\0", "Ok(Modification(add recipient <a@b>))");
        check(b'-', b"<a@b>\0", "Ok(Modification(delete recipient <a@b>))");
        check(b'e', b"<a@b>\0SIZE=1\0", "Ok(Modification(change reverse-path to <a@b>))");
        check(b'q', b"looks odd\0", "Ok(Modification(quarantine: looks odd))");
        check(b'b', b"text", "Ok(Body([116, 101, 120, 116]))");
        check(b'h', b"X-A", "Err(Data(104))");
        check(b'i', b"\0\0", "Err(Data(105))");
        check(b'+', b"", "Err(Data(43))");
    }

    #[test]
    fn blanks_behind_the_colon_are_as_agreed() {
        for (choices, data, want) in [(0, &b"X\0 a\0"[..], b"  a".to_vec()), (0x10_0000, b"X\0 a\0", b" a".to_vec())] {
            let packet = Packet { kind: b'h', data: data.to_vec() };
            let found = Response::parse(packet, &options(1, choices)).unwrap();
            assert_eq!(found, Response::Modification(Modification::AddHeader { name: "X".to_owned(), value: want }));
        }
    }

    #[test]
    fn changes_that_were_not_agreed_are_refused() {
        for kind in *b"hib+2-mqe" {
            let packet = Packet { kind, data: b"\0\0\0\x01a\0b\0".to_vec() };
            assert_eq!(Response::parse(packet, &options(0, 0)), Err(ResponseError::NotAgreed(kind)));
        }
    }
}
