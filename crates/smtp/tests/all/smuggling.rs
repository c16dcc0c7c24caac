//! What could make two servers disagree on where a message ends, or take what was said in clear for what was said under
//! TLS: every variant, whole and cut anywhere, in both roles.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use mail::{Address, BodyType, Envelope, Recipient, ReversePath};
use smtp::Reply;
use smtp::client::{self, Client, TlsPolicy, Transaction};
use smtp::server::{self, Connection, Role, Server};
use std::sync::Arc;
use std::time::Instant;
use wire::sasl::client::Credentials;
use wire::{Input, Output, Session, Tls};

/// What somebody may take for a line's end.
const ENDS: [&[u8]; 9] = [b"\n", b"\r", b"\r\n", b"\r\r\n", b"\n\r", b"\n\n", b"\0\r\n", b"\r\n\0", b"\x85"];

fn server(starttls: bool, now: Instant) -> Server {
    let mut config = server::Config::new("mx.example", Role::Mx);
    config.starttls = starttls;
    let connection =
        Connection { peer: "192.0.2.1".parse().unwrap(), nonce: "n".repeat(24), tls: None, wall: mail::Timestamp(0), xclient: false };
    Server::new(Arc::new(config), connection, now)
}

/// What the handler of a session heard, in short, and whether the session is over.
fn heard(session: &mut Server, now: Instant, out: &mut Vec<String>) -> bool {
    loop {
        match session.poll() {
            Output::Ask(ask) => {
                match &ask {
                    server::Ask::Helo { name, .. } => out.push(format!("helo {name}")),
                    server::Ask::Mail(command) => out.push(format!("mail {}", command.reverse_path)),
                    server::Ask::Data { .. } => out.push("message".to_owned()),
                    server::Ask::Reset => out.push("reset".to_owned()),
                    _ => {}
                }
                session.handle(now, Input::Answer(server::Answer::Reply(Reply::new(250, (2, 0, 0), "OK"))));
            }
            Output::StartTls => out.push("tls".to_owned()),
            Output::Close => return true,
            Output::Send(_) => {}
            Output::Wait(_) => return false,
        }
    }
}

fn said(pieces: &[&[u8]]) -> Vec<String> {
    let now = Instant::now();
    let mut session = server(false, now);
    let mut out = Vec::new();
    heard(&mut session, now, &mut out);
    for piece in pieces {
        session.handle(now, Input::Bytes(piece));
        if heard(&mut session, now, &mut out) {
            break;
        }
    }
    out
}

/// RFC 5321 §4.1.1.4: only CRLF `.` CRLF ends a message. What is hidden behind anything else stays part of it, and a
/// message with a line end that is none is refused as a whole.
#[test]
fn only_one_thing_ends_a_message() {
    for before in ENDS {
        for after in ENDS {
            let head = b"EHLO c\r\nMAIL FROM:<ann@c.example>\r\nRCPT TO:<bob@mx.example>\r\nDATA\r\nSubject: x\r\n\r\nbody";
            let hidden = b"MAIL FROM:<eve@c.example>\r\nRCPT TO:<bob@mx.example>\r\nDATA\r\nhidden\r\n.\r\nQUIT\r\n";
            let octets = [&head[..], before, b".", after, hidden].concat();
            let ends = before.ends_with(b"\r\n") && after.starts_with(b"\r\n");
            let first = [before, b".", if ends { b"\r\n" } else { after }].concat();
            let first_is_whole = if ends { lined(&[&first, &b""[..]].concat()) } else { lined(&[&first[..], b"\r\n"].concat()) };
            let verdict = if first_is_whole { "message" } else { "reset" };
            // Behind the true end stands what `after` has more than a line's end.
            let spoilt = ends && after.len() > 2;
            let mut want = vec!["helo c", "mail ann@c.example", verdict];
            // A NUL in a command: it is none.
            if ends && !spoilt {
                want.extend(["mail eve@c.example", "message"]);
            }
            let name = format!("{} . {}", before.escape_ascii(), after.escape_ascii());
            assert_eq!(said(&[&octets]), want, "{name}");
            let octet_by_octet: Vec<&[u8]> = octets.chunks(1).collect();
            assert_eq!(said(&octet_by_octet), want, "{name}, octet by octet");
        }
    }
}

/// No CR or LF on its own.
fn lined(octets: &[u8]) -> bool {
    let mut rest = octets.iter().copied().peekable();
    while let Some(octet) = rest.next() {
        match octet {
            b'\r' if rest.next() != Some(b'\n') => return false,
            b'\n' => return false,
            _ => {}
        }
    }
    true
}

/// What a client writes for a message, from DATA on.
fn written(body: &[u8], step: usize) -> Vec<u8> {
    let now = Instant::now();
    let mut session = Client::new(client::Config::new("client.example"), now);
    let envelope = Envelope {
        reverse_path: ReversePath(None),
        recipients: vec![Recipient::new(Address::parse("bob@mx.example").unwrap())],
        body: BodyType::SevenBit,
        ..Envelope::default()
    };
    let transaction = Transaction { envelope, octets: body.len() as u64, terms: mail::Terms::default(), now: mail::Timestamp(0) };
    let (mut out, mut messages) = (Vec::new(), Some(transaction).into_iter());
    for reply in ["220 mx\r\n", "250 mx\r\n", "250 ok\r\n", "250 ok\r\n", "354 go\r\n", "250 ok\r\n", "221 bye\r\n"] {
        session.handle(now, Input::Bytes(reply.as_bytes()));
        loop {
            match session.poll() {
                Output::Send(octets) => out.extend(octets),
                Output::Ask(client::Ask::Next) => {
                    let answer = messages.next().map_or(client::Answer::Quit, client::Answer::Message);
                    session.handle(now, Input::Answer(answer));
                }
                Output::Ask(client::Ask::Body { offset }) => {
                    let rest = &body[usize::try_from(offset).unwrap()..];
                    session.handle(now, Input::Answer(client::Answer::Chunk(rest[..rest.len().min(step)].to_vec())));
                }
                Output::Ask(_) => session.handle(now, Input::Answer(client::Answer::Taken)),
                _ => break,
            }
        }
    }
    let start = out.windows(6).position(|window| window == b"DATA\r\n").unwrap() + 6;
    let end = out.windows(6).position(|window| window == b"QUIT\r\n").unwrap();
    out[start..end].to_vec()
}

/// Whatever a message holds, it is sent as lines, and only its end looks like one.
#[test]
fn what_is_sent_has_one_end() {
    for before in ENDS {
        for after in ENDS {
            let body = [b"Subject: x\r\n\r\nbody", before, b".", after, b"MAIL FROM:<eve@c.example>\r\n"].concat();
            for step in [1, 3, body.len()] {
                let wire = written(&body, step);
                let ends = wire.windows(5).filter(|window| window == b"\r\n.\r\n").count();
                let name = format!("{} . {} by {step}: {}", before.escape_ascii(), after.escape_ascii(), wire.escape_ascii());
                assert!(ends == 1 && wire.ends_with(b"\r\n.\r\n") && lined(&wire), "{name}");
            }
        }
    }
}

fn tls() -> Tls {
    Tls { version: "TLSv1.3".to_owned(), ..Tls::default() }
}

/// RFC 3207 §4.2: what is put behind STARTTLS, in the same packet or in another one, is never heard.
#[test]
fn what_is_said_in_clear_is_forgotten_by_the_server() {
    let injected = b"EHLO evil\r\nMAIL FROM:<eve@c.example>\r\nRCPT TO:<bob@mx.example>\r\n";
    let octets = [&b"EHLO c\r\nSTARTTLS\r\n"[..], injected].concat();
    let (mut handshakes, mut closed) = (0, 0);
    for cut in 0..=octets.len() {
        let now = Instant::now();
        let mut session = server(true, now);
        let mut out = Vec::new();
        heard(&mut session, now, &mut out);
        let mut over = false;
        for piece in [&octets[..cut], &octets[cut..]] {
            session.handle(now, Input::Bytes(piece));
            over |= heard(&mut session, now, &mut out);
        }
        if over {
            closed += 1;
            assert_eq!(out, ["helo c"], "cut at {cut}");
            continue;
        }
        handshakes += 1;
        session.handle(now, Input::TlsStarted(tls()));
        heard(&mut session, now, &mut out);
        session.handle(now, Input::Bytes(b"MAIL FROM:<too-early@c.example>\r\nEHLO c\r\nQUIT\r\n"));
        heard(&mut session, now, &mut out);
        assert_eq!(out, ["helo c", "tls", "helo c"], "cut at {cut}");
    }
    assert!(handshakes > 0 && closed > 0);
}

/// The same in the other role: a reply put behind the one to STARTTLS is never taken for what comes under TLS.
#[test]
fn what_is_said_in_clear_is_forgotten_by_the_client() {
    let injected = b"250-evil\r\n250-AUTH PLAIN\r\n250 SIZE 1\r\n";
    let octets = [&b"220 go\r\n"[..], injected].concat();
    for cut in 0..=octets.len() {
        let now = Instant::now();
        let mut config = client::Config::new("client.example");
        config.tls_policy = TlsPolicy::Required;
        config.credentials = Some(Credentials { login: "ann".to_owned(), password: wire::sasl::Secret::new("pencil") });
        let mut session = Client::new(config, now);
        let (mut wire, mut failed) = (Vec::new(), false);
        let mut step = |session: &mut Client, input: Input<'_, client::Answer, _>| {
            session.handle(now, input);
            loop {
                match session.poll() {
                    Output::Send(octets) => wire.extend(octets),
                    Output::Ask(ask) => {
                        assert!(!matches!(ask, client::Ask::Next), "it is ready by what was injected, cut at {cut}");
                        failed = true;
                        session.handle(now, Input::Answer(client::Answer::Taken));
                    }
                    Output::StartTls => return true,
                    Output::Close | Output::Wait(_) => return false,
                }
            }
        };
        step(&mut session, Input::Bytes(b"220 mx\r\n"));
        step(&mut session, Input::Bytes(b"250-mx\r\n250 STARTTLS\r\n"));
        let mut handshake = step(&mut session, Input::Bytes(&octets[..cut]));
        handshake |= step(&mut session, Input::Bytes(&octets[cut..]));
        if handshake {
            step(&mut session, Input::TlsStarted(tls()));
            // The true server offers no AUTH: there is nobody to tell the password.
            step(&mut session, Input::Bytes(b"250 mx\r\n"));
        }
        let wire = String::from_utf8(wire).unwrap();
        assert!(failed && !wire.contains("AUTH"), "cut at {cut}: {wire}");
    }
}
