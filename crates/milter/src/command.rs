//! What a milter is told: the commands of the protocol as packets.
//!
//! Not when they are said: that is `session`.

use crate::packet::encode;
use std::net::IpAddr;

/// A command without data: DATA, end of header, end of message, abort, quit.
pub(crate) const DATA: u8 = b'T';
pub(crate) const END_OF_HEADER: u8 = b'N';
pub(crate) const END_OF_MESSAGE: u8 = b'E';
pub(crate) const ABORT: u8 = b'A';
pub(crate) const QUIT: u8 = b'Q';
/// The macros for the command behind it.
pub(crate) const MACROS: u8 = b'D';
/// A piece of the body.
pub(crate) const BODY: u8 = b'B';

/// A connection (`SMFIC_CONNECT`).
pub(crate) fn connect(name: &str, address: IpAddr, port: u16) -> Vec<u8> {
    let mut data = text(name);
    data.push(if address.is_ipv4() { b'4' } else { b'6' });
    data.extend_from_slice(&port.to_be_bytes());
    data.extend(text(&address.to_string()));
    encode(b'C', &data)
}

/// HELO or EHLO (`SMFIC_HELO`).
pub(crate) fn helo(name: &str) -> Vec<u8> {
    encode(b'H', &text(name))
}

/// MAIL: the path in angle brackets and its parameters (`SMFIC_MAIL`).
pub(crate) fn mail(arguments: &[String]) -> Vec<u8> {
    encode(b'M', &texts(arguments))
}

/// RCPT, the same (`SMFIC_RCPT`).
pub(crate) fn rcpt(arguments: &[String]) -> Vec<u8> {
    encode(b'R', &texts(arguments))
}

/// A field of the header (`SMFIC_HEADER`): lines end with LF alone, NUL is no part of it, and what is longer than a packet is cut.
pub(crate) fn header(name: &[u8], value: &[u8], leading_space: bool, data_octets_max: usize) -> Vec<u8> {
    let value = if leading_space { value } else { value.strip_prefix(b" ").unwrap_or(value) };
    let mut data = Vec::with_capacity(name.len() + value.len() + 2);
    data.extend(name.iter().filter(|octet| **octet != 0));
    data.push(0);
    data.extend(value.iter().filter(|octet| !matches!(octet, 0 | b'\r')));
    data.truncate(data_octets_max.saturating_sub(1));
    data.push(0);
    encode(b'L', &data)
}

/// A text with the NUL at its end; NUL within would end it early and becomes `?`.
fn text(text: &str) -> Vec<u8> {
    let mut out: Vec<u8> = text.bytes().map(|octet| if octet == 0 { b'?' } else { octet }).collect();
    out.push(0);
    out
}

fn texts(all: &[String]) -> Vec<u8> {
    all.iter().flat_map(|one| text(one)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(packet: &[u8]) -> String {
        packet[4..].escape_ascii().to_string()
    }

    #[test]
    fn commands_are_written() {
        assert_eq!(shown(&connect("mx.a.example", "192.0.2.7".parse().unwrap(), 513)), r"Cmx.a.example\x004\x02\x01192.0.2.7\x00");
        assert_eq!(shown(&connect("[2001:db8::1]", "2001:db8::1".parse().unwrap(), 0)), r"C[2001:db8::1]\x006\x00\x002001:db8::1\x00");
        assert_eq!(shown(&helo("h\0x")), r"Hh?x\x00");
        assert_eq!(shown(&mail(&["<a@b>".to_owned(), "SIZE=10".to_owned()])), r"M<a@b>\x00SIZE=10\x00");
        assert_eq!(shown(&rcpt(&["<a@b>".to_owned()])), r"R<a@b>\x00");
    }

    #[test]
    fn fields_lose_what_the_protocol_cannot_say() {
        let check = |value: &[u8], leading, max| shown(&header(b"Subject", value, leading, max));
        assert_eq!(check(b" one\r\n two\0", false, 100), r"LSubject\x00one\n two\x00");
        assert_eq!(check(b" one", true, 100), r"LSubject\x00 one\x00");
        assert_eq!(check(b"  one", false, 100), r"LSubject\x00 one\x00");
        assert_eq!(check(b"long enough", true, 12), r"LSubject\x00lon\x00");
    }
}
