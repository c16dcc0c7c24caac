//! Entries for fuzzing: hostile octets to each side, in pieces; they must neither panic nor grow without bound.

use crate::Reply;
use crate::client::{self, Client, Transaction};
use crate::server::{self, Connection, Role, Server};
use mail::{Address, Envelope, Recipient};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Instant;
use wire::sasl::{Failure, Mechanism, SaslAnswer, Secret};
use wire::{Input, Output, Session, Tls};

/// Both sides, by the first octet.
pub fn fuzz(data: &[u8]) {
    let Some((kind, data)) = data.split_first() else { return };
    match kind % 4 {
        0 => serve(data, Role::Mx),
        1 => serve(data, Role::Submission),
        2 => serve(data, Role::Lmtp),
        _ => send(data),
    }
}

/// A client's octets; each piece's length is its first octet.
fn serve(data: &[u8], role: Role) {
    let now = Instant::now();
    let mut config = server::Config::new("mx.example", role);
    config.mechanisms = Mechanism::ALL.to_vec();
    config.auth_needs_tls = false;
    config.starttls = true;
    config.limits_offered = true;
    config.mt_priority = true;
    config.deliver_by = true;
    config.etrn = true;
    config.binary_mime = true;
    config.hold_max = Some(std::time::Duration::from_hours(1));
    config.limits.message_octets_max = 1000;
    let connection = Connection {
        peer: IpAddr::V4(Ipv4Addr::LOCALHOST),
        nonce: "nonce".to_owned(),
        tls: None,
        wall: mail::Timestamp(0),
        xclient: data.len().is_multiple_of(2),
    };
    let mut session = Server::new(Arc::new(config), connection, now);
    let mut asked = 0_usize;
    play(&mut session, data, |ask| {
        asked += 1;
        match ask {
            server::Ask::Auth(_) => server::Answer::Auth(match asked % 3 {
                0 => SaslAnswer::Account { account: 1, login: String::new() },
                1 => SaslAnswer::Verifier(None),
                _ => SaslAnswer::Refused(Failure::Credentials),
            }),
            server::Ask::Data { .. } => server::Answer::Reply(Reply::new(250, (2, 0, 0), "OK")),
            _ if asked.is_multiple_of(7) => server::Answer::Reply(Reply::new(550, (5, 1, 1), "No")),
            _ => server::Answer::Taken,
        }
    });
}

/// A server's octets.
fn send(data: &[u8]) {
    let mut config = client::Config::new("client.example");
    config.nonce.push_str("nonce");
    config.password_in_clear = true;
    let password = data.first().is_some_and(|octet| octet % 2 == 0);
    let credentials = || wire::sasl::client::Credentials { login: "user".to_owned(), password: Secret::new("pencil") };
    config.credentials = password.then(credentials);
    let mut session = Client::new(config, Instant::now());
    let recipients: Vec<_> = Address::parse("a@b.example").map(Recipient::new).into_iter().collect();
    play(&mut session, data, |ask| match ask {
        client::Ask::Next => {
            let body = if password { mail::BodyType::BinaryMime } else { mail::BodyType::SevenBit };
            let envelope = Envelope { recipients: recipients.clone(), body, ..Envelope::default() };
            client::Answer::Message(Transaction { envelope, octets: 4, terms: mail::Terms::default(), now: mail::Timestamp(0) })
        }
        client::Ask::Convert(body) => {
            let envelope = Envelope { recipients: recipients.clone(), body, ..Envelope::default() };
            client::Answer::Message(Transaction { envelope, octets: 4, terms: mail::Terms::default(), now: mail::Timestamp(0) })
        }
        client::Ask::Body { offset: 0 } => client::Answer::Chunk(b".\r\nx".to_vec()),
        client::Ask::Body { .. } => client::Answer::Chunk(Vec::new()),
        client::Ask::Outcome(_) | client::Ask::Failed(_) => client::Answer::Taken,
    });
}

fn play<S: Session>(session: &mut S, data: &[u8], mut answer: impl FnMut(S::Ask) -> S::Answer) {
    let now = Instant::now();
    let mut rest = data;
    while let Some((octets, after)) = rest.split_first() {
        let (piece, after) = after.split_at(usize::from(*octets).min(after.len()));
        rest = after;
        session.handle(now, Input::Bytes(piece));
        loop {
            match session.poll() {
                Output::Send(_) => {}
                Output::Ask(ask) => {
                    let answer = answer(ask);
                    session.handle(now, Input::Answer(answer));
                }
                Output::StartTls => session.handle(now, Input::TlsStarted(Tls::default())),
                Output::Close => return,
                Output::Wait(_) => break,
            }
        }
    }
    session.handle(now, Input::Eof);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn hostile_octets_do_no_harm(data in proptest::collection::vec(any::<u8>(), 0..300)) {
            super::fuzz(&data);
        }

        #[test]
        fn hostile_words_do_no_harm(kind in 0_u8..4, words in proptest::collection::vec("(EHLO a|MAIL FROM:<|RCPT TO:<|a@b>|DATA|\\.|BDAT 5|LAST|AUTH|PLAIN|LOGIN|=|\\*|STARTTLS|XCLIENT ADDR=192.0.2.9|BODY=BINARYMIME|EXPN|RSET|220 x|250-PIPELINING|250 AUTH PLAIN|250 CHUNKING|354|334|235|\r\n|\r|\n| )", 0..60)) {
            let mut data = vec![kind];
            for word in words {
                data.push(u8::try_from(word.len()).unwrap());
                data.extend_from_slice(word.as_bytes());
            }
            super::fuzz(&data);
        }
    }
}
