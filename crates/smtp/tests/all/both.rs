//! The client's and the server's session talk to each other in memory.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use mail::{Address, BodyType, Envelope, Recipient, ReversePath};
use proptest::prelude::*;
use smtp::Reply;
use smtp::client::{self, Class, Client, TlsPolicy, Transaction};
use smtp::server::{self, Connection, MailCommand, Role, Server};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;
use wire::sasl::client::Credentials;
use wire::sasl::{Mechanism, SaslAnswer, SaslAsk, ScramVerifier, Secret};
use wire::{Input, Output, Session, Tls};

/// What is to be sent, and how.
#[derive(Debug, Clone)]
struct Case {
    messages: Vec<Message>,
    chunking: bool,
    role: Role,
    starttls: bool,
    mechanism: Option<Mechanism>,
    /// Octets of the pieces in which both sides hear each other.
    pieces: Vec<usize>,
    /// Octets of the chunks in which the client is given a message.
    chunk: usize,
}

#[derive(Debug, Clone)]
struct Message {
    body: Vec<u8>,
    /// Whether each recipient is taken.
    recipients: Vec<bool>,
}

/// What the server's handler heard.
#[derive(Debug, Default)]
struct Received {
    command: Option<MailCommand>,
    recipients: Vec<Recipient>,
    body: Vec<u8>,
    complete: bool,
}

#[derive(Default)]
struct ServerSide {
    current: Received,
    done: Vec<Received>,
}

impl ServerSide {
    fn answer(&mut self, ask: server::Ask) -> server::Answer {
        use server::{Answer, Ask};
        match ask {
            Ask::Auth(SaslAsk::Password { login, password, .. }) => {
                assert_eq!((login.as_str(), password.expose()), ("ann", "pencil"));
                Answer::Auth(SaslAnswer::Account { account: 1, login })
            }
            Ask::Auth(SaslAsk::ScramVerifier { hash, login }) => {
                let verifier = ScramVerifier::derive(hash, &Secret::new("pencil"), b"salt", 4096, 1, &login);
                Answer::Auth(SaslAnswer::Verifier(Some(verifier)))
            }
            Ask::Mail(command) => {
                self.current = Received { command: Some(command), ..Received::default() };
                Answer::Taken
            }
            Ask::Rcpt(recipient) if recipient.address.local_part().starts_with("no") => {
                Answer::Reply(Reply::new(550, (5, 1, 1), "No such user"))
            }
            Ask::Rcpt(recipient) => {
                self.current.recipients.push(recipient);
                Answer::Taken
            }
            Ask::Body(chunk) => {
                self.current.body.extend_from_slice(&chunk);
                Answer::Taken
            }
            Ask::Data { last } => {
                self.current.body.extend_from_slice(&last);
                self.current.complete = true;
                self.done.push(std::mem::take(&mut self.current));
                Answer::Reply(Reply::new(250, (2, 0, 0), "Queued"))
            }
            _ => Answer::Taken,
        }
    }
}

struct ClientSide<'a> {
    case: &'a Case,
    next: usize,
    outcomes: Vec<Vec<Class>>,
}

impl ClientSide<'_> {
    fn answer(&mut self, ask: client::Ask) -> client::Answer {
        use client::{Answer, Ask};
        match ask {
            Ask::Next => match self.case.messages.get(self.next) {
                None => Answer::Quit,
                Some(message) => {
                    self.next += 1;
                    Answer::Message(transaction(message))
                }
            },
            Ask::Body { offset } => {
                let body = &self.case.messages[self.next - 1].body;
                let rest = &body[usize::try_from(offset).unwrap()..];
                Answer::Chunk(rest[..rest.len().min(self.case.chunk)].to_vec())
            }
            Ask::Outcome(outcome) => {
                assert!(outcome.reusable, "{outcome:?}");
                assert_eq!(outcome.tls.is_some(), self.case.starttls);
                self.outcomes.push(outcome.recipients.iter().map(|recipient| recipient.class).collect());
                Answer::Taken
            }
            Ask::Convert(body) => panic!("{body:?}"),
            Ask::Failed(outcome) => panic!("{outcome:?}"),
        }
    }
}

fn transaction(message: &Message) -> Transaction {
    let recipient = |(n, taken): (usize, &bool)| {
        let name = if *taken { "yes" } else { "no" };
        Recipient::new(Address::parse(&format!("{name}{n}@mx.example")).unwrap())
    };
    let envelope = Envelope {
        reverse_path: ReversePath(Some(Address::parse("ann@client.example").unwrap())),
        recipients: message.recipients.iter().enumerate().map(recipient).collect(),
        body: BodyType::EightBitMime,
        ..Envelope::default()
    };
    Transaction { envelope, octets: message.body.len() as u64, terms: mail::Terms::default(), now: mail::Timestamp(0) }
}

fn tls() -> Tls {
    Tls { version: "TLSv1.3".to_owned(), exporter: Some([5; 32]), ..Tls::default() }
}

/// Both sessions and what is on its way between them.
struct Talk<'a> {
    client: Client,
    server: Server,
    client_side: ClientSide<'a>,
    server_side: ServerSide,
    to_server: VecDeque<u8>,
    to_client: VecDeque<u8>,
    /// Whether the sides wait for a handshake: client, server.
    handshakes: (bool, bool),
    closed: bool,
    now: Instant,
}

impl Talk<'_> {
    fn run(mut self, pieces: &[usize]) -> (ServerSide, Vec<Vec<Class>>) {
        let mut sizes = pieces.iter().copied().cycle();
        for _ in 0..2_000_000 {
            self.poll_client();
            self.poll_server();
            if self.closed && self.to_server.is_empty() && self.to_client.is_empty() {
                return (self.server_side, self.client_side.outcomes);
            }
            let size = sizes.next().unwrap();
            if self.handshakes == (true, true) && self.to_client.is_empty() {
                self.handshakes = (false, false);
                self.client.handle(self.now, Input::TlsStarted(tls()));
                self.server.handle(self.now, Input::TlsStarted(tls()));
            }
            for (waiting, to_server) in [(&mut self.to_server, true), (&mut self.to_client, false)] {
                let piece: Vec<u8> = waiting.drain(..size.min(waiting.len())).collect();
                match to_server {
                    _ if piece.is_empty() => {}
                    true => self.server.handle(self.now, Input::Bytes(&piece)),
                    false => self.client.handle(self.now, Input::Bytes(&piece)),
                }
            }
        }
        panic!("the talk does not end");
    }

    fn poll_client(&mut self) {
        loop {
            match self.client.poll() {
                Output::Send(bytes) => self.to_server.extend(bytes),
                Output::Ask(ask) => {
                    let answer = self.client_side.answer(ask);
                    self.client.handle(self.now, Input::Answer(answer));
                }
                Output::StartTls => self.handshakes.0 = true,
                Output::Close => self.closed = true,
                Output::Wait(_) => return,
            }
        }
    }

    fn poll_server(&mut self) {
        loop {
            match self.server.poll() {
                Output::Send(bytes) => self.to_client.extend(bytes),
                Output::Ask(ask) => {
                    let answer = self.server_side.answer(ask);
                    self.server.handle(self.now, Input::Answer(answer));
                }
                Output::StartTls => self.handshakes.1 = true,
                Output::Close => {}
                Output::Wait(_) => return,
            }
        }
    }
}

fn talk(case: &Case) -> (ServerSide, Vec<Vec<Class>>) {
    let now = Instant::now();
    let mut server_config = server::Config::new("mx.example", case.role);
    server_config.chunking = case.chunking;
    server_config.starttls = case.starttls;
    server_config.auth_needs_tls = false;
    server_config.mechanisms.extend(case.mechanism);
    let mut client_config = client::Config::new("client.example");
    client_config.lmtp = case.role == Role::Lmtp;
    client_config.tls_policy = TlsPolicy::Opportunistic;
    client_config.password_in_clear = true;
    client_config.nonce.push_str("client-nonce");
    let credentials = || Credentials { login: "ann".to_owned(), password: Secret::new("pencil") };
    client_config.credentials = case.mechanism.map(|_| credentials());
    let connection = Connection {
        peer: "192.0.2.1".parse().unwrap(),
        nonce: "server-nonce".to_owned(),
        tls: None,
        wall: mail::Timestamp(0),
        xclient: false,
    };
    let talk = Talk {
        client: Client::new(client_config, now),
        server: Server::new(Arc::new(server_config), connection, now),
        client_side: ClientSide { case, next: 0, outcomes: Vec::new() },
        server_side: ServerSide::default(),
        to_server: VecDeque::new(),
        to_client: VecDeque::new(),
        handshakes: (false, false),
        closed: false,
        now,
    };
    talk.run(&case.pieces)
}

/// What DATA makes of a message: lines that end in CRLF.
fn as_lines(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut octets = body.iter().copied().peekable();
    while let Some(octet) = octets.next() {
        match octet {
            b'\r' | b'\n' => {
                if octet == b'\r' && octets.peek() == Some(&b'\n') {
                    octets.next();
                }
                out.extend_from_slice(b"\r\n");
            }
            octet => out.push(octet),
        }
    }
    if !out.is_empty() && !out.ends_with(b"\r\n") {
        out.extend_from_slice(b"\r\n");
    }
    out
}

fn check(case: &Case) {
    let (server_side, outcomes) = talk(case);
    let mut received = server_side.done.into_iter();
    for (message, outcomes) in case.messages.iter().zip(&outcomes) {
        let want: Vec<_> = message.recipients.iter().map(|taken| if *taken { Class::Delivered } else { Class::Permanent }).collect();
        assert_eq!(*outcomes, want);
        if !message.recipients.contains(&true) {
            continue;
        }
        let received = received.next().unwrap();
        let body = if case.chunking { message.body.clone() } else { as_lines(&message.body) };
        assert!(received.body == body, "{} became {}", body.escape_ascii(), received.body.escape_ascii());
        assert_eq!(received.recipients.len(), message.recipients.iter().filter(|taken| **taken).count());
        let command = received.command.unwrap();
        assert_eq!((command.size, command.body), (Some(message.body.len() as u64), BodyType::EightBitMime));
        assert!(received.complete);
    }
    assert_eq!(outcomes.len(), case.messages.len());
    assert!(received.next().is_none(), "no message came twice");
}

fn bodies() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        3 => "[a.\r\n]{0,60}".prop_map(String::into_bytes),
        1 => proptest::collection::vec(any::<u8>(), 0..200),
        1 => "(\\PC{0,20}\r\n\\.?){0,8}".prop_map(String::into_bytes),
    ]
}

fn messages() -> impl Strategy<Value = Message> {
    (bodies(), proptest::collection::vec(prop::bool::weighted(0.8), 1..5)).prop_map(|(body, recipients)| Message { body, recipients })
}

fn mechanisms() -> impl Strategy<Value = Option<Mechanism>> {
    prop_oneof![3 => Just(None), 1 => Just(Some(Mechanism::Plain)), 1 => Just(Some(Mechanism::Login))]
}

prop_compose! {
    fn cases()(
        messages in proptest::collection::vec(messages(), 0..4),
        chunking in any::<bool>(),
        lmtp in any::<bool>(),
        starttls in any::<bool>(),
        mechanism in mechanisms(),
        pieces in proptest::collection::vec(1_usize..60, 1..6),
        chunk in 1_usize..50,
    ) -> Case {
        let mechanism = mechanism.filter(|_| !lmtp);
        let role = match mechanism {
            _ if lmtp => Role::Lmtp,
            Some(_) => Role::Submission,
            None => Role::Mx,
        };
        Case { messages, chunking, role, starttls, mechanism, pieces, chunk }
    }
}

proptest! {
    #[test]
    fn what_is_sent_arrives(case in cases()) {
        check(&case);
    }
}

#[test]
fn large_messages_arrive() {
    let body = b"From: ann\r\n\r\n.a line of text\r\n".repeat(20_000);
    for (chunking, role) in [(true, Role::Mx), (false, Role::Mx), (true, Role::Lmtp), (false, Role::Lmtp)] {
        let message = Message { body: body.clone(), recipients: vec![true, false, true] };
        let messages = vec![message.clone(), message];
        check(&Case { messages, chunking, role, starttls: false, mechanism: None, pieces: vec![16_384, 1], chunk: 65_536 });
    }
}

#[test]
fn scram_logs_in_with_and_without_channel_binding() {
    for (mechanism, starttls) in
        [(Mechanism::ScramSha256, false), (Mechanism::ScramSha256, true), (Mechanism::ScramSha256Plus, true), (Mechanism::ScramSha1, true)]
    {
        let message = Message { body: b"hi\r\n".to_vec(), recipients: vec![true] };
        let mechanism = Some(mechanism);
        check(&Case { messages: vec![message], chunking: true, role: Role::Submission, starttls, mechanism, pieces: vec![7], chunk: 100 });
    }
}
