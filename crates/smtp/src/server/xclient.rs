//! XCLIENT: a proxy in front of us says for whom it speaks (an extension of Postfix, which nginx and test programs
//! know too).
//!
//! Only where the connection was made by somebody trusted ([`super::Connection::xclient`]): anybody else hears that
//! there is no such command. After it the session begins anew, with another greeting; TLS stays as it is.

use super::{Answer, Ask, Asked, ClientClaim, Phase, Server, State, Transaction, refusal};
use crate::Reply;
use crate::grammar::decode_xtext;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What EHLO says.
pub(super) const OFFER: &str = "XCLIENT NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT";

/// Longest value, octets decoded. Our own bound: a name of RFC 5321 §4.5.3.1.2.
const VALUE_OCTETS_MAX: usize = 255;

impl Server {
    pub(super) fn xclient(&mut self, args: &str) {
        match parse(args, &self.claim) {
            Ok(claim) if self.idle_command() => self.ask(Ask::Client(claim.clone()), Asked::Client(Box::new(claim))),
            Ok(_) => {}
            Err(why) => self.say(&Reply::new(501, (5, 5, 4), why)),
        }
    }

    pub(super) fn claim_answered(&mut self, claim: ClientClaim, answer: Answer) {
        if let Some(reply) = refusal(answer) {
            return self.say(&reply);
        }
        self.authenticated = claim.login.is_some();
        self.claim = claim;
        self.transaction = Transaction::default();
        self.state = State::Command(Phase::Greeted);
        self.ask(Ask::Connect, Asked::Connect);
    }

    /// The name and the protocol of whom the proxy speaks for, where it has said them.
    pub(super) fn claimed_helo(&self, name: String, esmtp: bool) -> (String, bool) {
        (self.claim.helo.clone().unwrap_or(name), self.claim.esmtp.unwrap_or(esmtp))
    }
}

/// Reads `NAME=VALUE …`; what was said before stays unless it is said again.
fn parse(args: &str, before: &ClientClaim) -> Result<ClientClaim, String> {
    let mut claim = before.clone();
    let mut words = args.split([' ', '\t']).filter(|word| !word.is_empty()).peekable();
    if words.peek().is_none() {
        return Err("Syntax: XCLIENT name=value".to_owned());
    }
    for word in words {
        let (name, value) = word.split_once('=').ok_or("Syntax: XCLIENT name=value")?;
        attribute(&mut claim, name, value).ok_or_else(|| format!("{} cannot be read", name.to_ascii_uppercase()))?;
    }
    Ok(claim)
}

fn attribute(claim: &mut ClientClaim, name: &str, value: &str) -> Option<()> {
    let value = decode_xtext(value).filter(|value| value.len() <= VALUE_OCTETS_MAX && !value.contains([' ', '\t']))?;
    let known = !value.is_empty() && !["[UNAVAILABLE]", "[TEMPUNAVAIL]"].iter().any(|unknown| value.eq_ignore_ascii_case(unknown));
    let value = known.then_some(value);
    match name.to_ascii_uppercase().as_str() {
        "NAME" => claim.name = value,
        "ADDR" => claim.address = read(value, address)?,
        "PORT" => claim.port = read(value, |text| text.parse().ok())?,
        "PROTO" => claim.esmtp = read(value, protocol)?,
        "HELO" => claim.helo = value,
        "LOGIN" => claim.login = value,
        "DESTADDR" => claim.destination = read(value, address)?,
        "DESTPORT" => claim.destination_port = read(value, |text| text.parse().ok())?,
        _ => return None,
    }
    Some(())
}

/// `None`: it cannot be read; `Some(None)`: there is nothing to read.
#[expect(clippy::option_option, reason = "bad, unknown and known are three things")]
fn read<T>(value: Option<String>, parse: impl Fn(&str) -> Option<T>) -> Option<Option<T>> {
    value.map_or(Some(None), |value| parse(&value).map(Some))
}

fn address(text: &str) -> Option<IpAddr> {
    let six = text.get(..5).filter(|prefix| prefix.eq_ignore_ascii_case("IPV6:")).and_then(|prefix| text.get(prefix.len()..));
    match six {
        Some(six) => six.parse::<Ipv6Addr>().ok().map(IpAddr::from),
        None => text.parse::<Ipv4Addr>().ok().map(IpAddr::from),
    }
}

fn protocol(text: &str) -> Option<bool> {
    match text.to_ascii_uppercase().as_str() {
        "ESMTP" => Some(true),
        "SMTP" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_read() {
        for (args, want) in [
            ("ADDR=192.0.2.9 NAME=mail.example", "name=mail.example addr=192.0.2.9"),
            ("addr=IPV6:2001:db8::1 PORT=4711", "addr=2001:db8::1 port=4711"),
            ("PROTO=SMTP HELO=a+2Bb LOGIN=ann@x.example", "proto=smtp helo=a+b login=ann@x.example"),
            ("NAME=[UNAVAILABLE] ADDR=[TEMPUNAVAIL]", ""),
            ("DESTADDR=198.51.100.1 DESTPORT=25", "destaddr=198.51.100.1 destport=25"),
            ("", "! Syntax: XCLIENT name=value"),
            ("ADDR", "! Syntax: XCLIENT name=value"),
            ("ADDR=2001:db8::1", "! ADDR cannot be read"),
            ("ADDR=IPV6:192.0.2.9", "! ADDR cannot be read"),
            ("PORT=70000", "! PORT cannot be read"),
            ("PROTO=HTTP", "! PROTO cannot be read"),
            ("NAME=a+0D+0Ab", "! NAME cannot be read"),
            ("COLOR=red", "! COLOR cannot be read"),
        ] {
            let read = parse(args, &ClientClaim::default()).map_or_else(|why| format!("! {why}"), |claim| claim.to_string());
            assert_eq!(read, want, "{args}");
        }
    }
}
