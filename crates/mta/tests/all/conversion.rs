//! What becomes of a message on its way to servers that do not take its octets: it is converted for them (RFC 3030 §3,
//! RFC 6152 §3), or it comes back.
//!
//! The other server is a script behind a pipe: it offers what the test says, and writes down what it is sent.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test: its purpose is to fail")]

use crate::context;
use mail::lookup::{Answer as Found, Question, Recorded};
use mail::{Address, BodyType, Domain, Recipient, ReversePath};
use mailauth::dkim::{Algorithm, PrivateKey};
use mailauth::dns::Step;
use mailauth::spf::Session;
use mailauth::{Evidence, Limits};
use mta::deliver::World;
use mta::queue::Queue;
use mta::receive::{Context, Receiver};
use mta::{Counters, Settings};
use net::dial::Dialing;
use net::{Clock as _, Dial, FakeDns, Shutdown, Socket, SystemClock};
use smtp::server::{Answer, Ask, MailCommand, Role};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use store::{DkimKey, DkimKeyState, Store};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, DuplexStream};
use wire::Handler;

const RELAY: &str = "198.51.100.7";

/// What was sent: `MAIL`'s parameters, and the message.
type Sent = Arc<Mutex<Vec<(String, Vec<u8>)>>>;

/// The other server: what it offers, and what it was sent.
struct Peer {
    offers: &'static str,
    got: Sent,
}

impl Dial for Peer {
    fn connect(&self, _to: SocketAddr, _from: Option<IpAddr>, _connect_max: Duration) -> Dialing<'_> {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        tokio::spawn(talk(theirs, self.offers, Arc::clone(&self.got)));
        Box::pin(async move { Ok(Socket::any(ours)) })
    }
}

async fn talk(stream: DuplexStream, offers: &str, got: Sent) -> Option<()> {
    let (from, mut to) = tokio::io::split(stream);
    let mut from = BufReader::new(from);
    to.write_all(b"220 mx.b.example ESMTP\r\n").await.ok()?;
    let mut parameters = String::new();
    loop {
        let mut line = String::new();
        from.read_line(&mut line).await.ok().filter(|octets| *octets > 0)?;
        let line = line.trim_end();
        let reply = match line.split([' ', ':']).next()? {
            "EHLO" => format!("250-mx.b.example\r\n{offers}250 ENHANCEDSTATUSCODES\r\n"),
            "MAIL" => {
                line.split_once("> ").map_or("", |(_, rest)| rest).clone_into(&mut parameters);
                "250 2.1.0 OK\r\n".to_owned()
            }
            "BDAT" => {
                let mut octets = vec![0; line.split(' ').nth(1)?.parse().ok()?];
                from.read_exact(&mut octets).await.ok()?;
                got.lock().unwrap().push((parameters.clone(), octets));
                "250 2.0.0 Queued\r\n".to_owned()
            }
            "DATA" => {
                to.write_all(b"354 Go on\r\n").await.ok()?;
                let mut octets = Vec::new();
                while !octets.ends_with(b"\r\n.\r\n") {
                    from.read_until(b'\n', &mut octets).await.ok()?;
                }
                octets.truncate(octets.len() - 3);
                got.lock().unwrap().push((parameters.clone(), octets));
                "250 2.0.0 Queued\r\n".to_owned()
            }
            _ => "250 2.0.0 OK\r\n".to_owned(),
        };
        to.write_all(reply.as_bytes()).await.ok()?;
    }
}

fn context(store: &Store) -> Context {
    let mut settings = Settings::new(Domain::parse("mx.a.example").unwrap());
    settings.receive.relay_networks = vec!["198.51.100.0/24".parse().unwrap()];
    Context { clock: Arc::new(SystemClock), ..context::of(store, settings) }
}

async fn relay(store: &Store, from: ReversePath, to: &str, body: BodyType, message: &[u8]) {
    let mut receiver = Receiver::new(Arc::new(context(store)), Role::Mx, RELAY.parse().unwrap());
    let command = MailCommand { body, ..MailCommand::new(from) };
    receiver.answer(Ask::Mail(command)).await;
    receiver.answer(Ask::Rcpt(Recipient::new(Address::parse(to).unwrap()))).await;
    let answer = receiver.answer(Ask::Data { last: message.to_vec() }).await;
    assert!(matches!(&answer, Answer::Reply(reply) if reply.is_positive()), "{answer:?}");
}

/// What the other server got, from our Received field on, and how each message failed that it did not get.
fn sent(offers: &'static str, body: BodyType, message: &[u8]) -> Result<(String, Vec<u8>), String> {
    let store = Store::memory();
    sent_by(&store, offers, ReversePath(None), "bob@b.example", body, message).ok_or_else(|| failure(&store))
}

/// What the other server, which has all mail of `b.example`, got last.
fn sent_by(store: &Store, offers: &'static str, from: ReversePath, to: &str, body: BodyType, message: &[u8]) -> Option<(String, Vec<u8>)> {
    let got = Arc::new(Mutex::new(Vec::new()));
    let world = World {
        dns: Arc::new(
            FakeDns::new()
                .with_mx(&Domain::parse("b.example").unwrap(), 10, Some(&Domain::parse("mx.b.example").unwrap()))
                .with_address(&Domain::parse("mx.b.example").unwrap(), "192.0.2.1".parse().unwrap()),
        ),
        dial: Arc::new(Peer { offers, got: Arc::clone(&got) }),
        clock: Arc::new(SystemClock),
        tls: None,
        transport: mta::transport::Transport::default(),
        nonce: Arc::new(|| "c".repeat(24)),
    };
    let mut settings = Settings::new(Domain::parse("mx.a.example").unwrap());
    settings.delivery.linger = Duration::ZERO;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        relay(store, from, to, body, message).await;
        let shutdown = Shutdown::new();
        let mut changes = store.subscribe_queue();
        let queue = tokio::spawn(Queue::new(store.clone(), Arc::new(settings), Arc::new(Counters::default()), world).run(shutdown.stop()));
        let done = async {
            while store.read_blocking(store::ReadTx::queue_len).unwrap() > 0 {
                changes.changed().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), done).await.unwrap();
        shutdown.tell();
        queue.await.unwrap();
    });
    got.lock().unwrap().pop()
}

fn failure(store: &Store) -> String {
    let trails = store.read_blocking(|tx| {
        let mut failures = Vec::new();
        tx.scan(store::schema::Space::Trail, &store::KeyRange::all(), store::Direction::Forward, |key, _| {
            failures.extend(key.first_chunk::<8>().map(|octets| mail::ReceiptId(u64::from_be_bytes(*octets))));
            std::ops::ControlFlow::Continue(())
        })?;
        failures.into_iter().map(|receipt| tx.trail(receipt)).collect::<store::Result<Vec<_>>>()
    });
    let failed = trails.unwrap().into_iter().flatten().find_map(|entry| match entry.event {
        mail::Event::Failed { status, .. } => Some(status.to_string()),
        _ => None,
    });
    failed.expect("it was delivered or it failed")
}

/// A message's header behind our own field, and its body.
fn check(offers: &'static str, body: BodyType, message: &str, want: Result<(&str, &str), &str>) {
    let came = sent(offers, body, message.as_bytes()).map(|(parameters, octets)| {
        let text = String::from_utf8_lossy(&octets).into_owned();
        let start = text.find("Subject: x\r\n").expect("the message's own header");
        (parameters, text[start..].to_owned())
    });
    // SIZE is that of what is sent.
    let words = |text: &str| text.split(' ').filter(|word| !word.starts_with("SIZE=")).collect::<Vec<_>>().join(" ");
    let came = came.map(|(parameters, text)| (words(&parameters), text));
    let want = want.map(|(parameters, text)| (parameters.to_owned(), text.to_owned())).map_err(str::to_owned);
    assert_eq!(came, want, "{offers:?} {body:?}");
}

const BINARY: &str = "Subject: x\r\nContent-Type: image/gif\r\nContent-Transfer-Encoding: binary\r\n\r\nG\0F\n";
const EIGHT_BIT: &str = "Subject: x\r\nContent-Transfer-Encoding: 8bit\r\n\r\ngrün\r\n";
const ALL: &str = "250-8BITMIME\r\n250-CHUNKING\r\n250-BINARYMIME\r\n250-SIZE\r\n";

#[test]
fn who_takes_the_octets_gets_them() {
    check(ALL, BodyType::BinaryMime, BINARY, Ok(("BODY=BINARYMIME", BINARY)));
    check(ALL, BodyType::EightBitMime, EIGHT_BIT, Ok(("BODY=8BITMIME", EIGHT_BIT)));
    check("250-SIZE\r\n", BodyType::SevenBit, "Subject: x\r\n\r\nseven\r\n", Ok(("", "Subject: x\r\n\r\nseven\r\n")));
}

#[test]
fn who_does_not_gets_what_it_takes() {
    let base64 = "Subject: x\r\nContent-Type: image/gif\r\nContent-Transfer-Encoding: base64\r\n\r\nRwBGCg==\r\n";
    for offers in ["250-8BITMIME\r\n250-SIZE\r\n", "250-8BITMIME\r\n250-BINARYMIME\r\n", "250-CHUNKING\r\n250-SIZE\r\n", ""] {
        check(offers, BodyType::BinaryMime, BINARY, Ok(("", base64)));
    }
    let quoted = "Subject: x\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\ngr=C3=BCn\r\n";
    check("250-SIZE\r\n", BodyType::EightBitMime, EIGHT_BIT, Ok(("", quoted)));
    let both = format!(
        "Subject: x\r\nContent-Type: multipart/mixed; boundary=b\r\nContent-Transfer-Encoding: binary\r\n\r\n--b\r\n\
         Content-Transfer-Encoding: 8bit\r\n\r\ngrün\r\n--b\r\n{}\r\n--b--\r\n",
        BINARY.strip_prefix("Subject: x\r\n").unwrap()
    );
    let lines = both
        .replace("Encoding: binary\r\n\r\n--b", "Encoding: 8bit\r\n\r\n--b")
        .replace(BINARY.strip_prefix("Subject: x\r\n").unwrap(), base64.strip_prefix("Subject: x\r\n").unwrap());
    check("250-8BITMIME\r\n", BodyType::BinaryMime, &both, Ok(("BODY=8BITMIME", &lines)));
}

#[test]
fn what_cannot_be_converted_comes_back() {
    check("250-SIZE\r\n", BodyType::EightBitMime, "Subject: x\r\nX: grün\r\n\r\nx\r\n", Err("5.6.3"));
    let signed = "Subject: x\r\nContent-Type: multipart/signed; boundary=b\r\n\r\n--b\r\n\r\ngrün\r\n--b--\r\n";
    check("250-SIZE\r\n", BodyType::EightBitMime, signed, Err("5.6.3"));
    check("250-8BITMIME\r\n", BodyType::EightBitMime, signed, Ok(("BODY=8BITMIME", signed)));
}

/// The results of a message's signatures by the keys of the store, each with its domain.
fn verified(store: &Store, message: &[u8]) -> Vec<String> {
    let keys = store.read_blocking(|tx| tx.dkim_keys(&Domain::parse("a.example").unwrap())).unwrap();
    let evidence = Evidence::of(message, &Limits::default());
    let session = Session { peer: RELAY.parse().unwrap(), helo: "mx.a.example", receiver: "mx.b.example", now: SystemClock.wall() };
    let mut recorded = Recorded::default();
    loop {
        match evidence.step(&session, "", &mailauth::Settings::default(), &recorded) {
            Step::Done(outcome) => return outcome.dkim.iter().map(|dkim| format!("{} {}", dkim.result, dkim.domain)).collect(),
            Step::Need(questions) => questions.into_iter().for_each(|question| {
                let record = keys
                    .iter()
                    .find(|(selector, _)| question == Question::Txt(format!("{selector}._domainkey.a.example")))
                    .map(|(_, key)| Found::Txt(vec![key.record.clone().into_bytes()]));
                recorded.put(question, record.unwrap_or(Found::NoName));
            }),
        }
    }
}

#[test]
fn reports_are_signed_as_they_are_sent() {
    let store = Store::memory();
    let domain = Domain::parse("a.example").unwrap();
    let keys = [(Algorithm::RsaSha256, "r"), (Algorithm::Ed25519Sha256, "e")].map(|(algorithm, selector)| {
        let pkcs8 = PrivateKey::generate(algorithm).unwrap();
        let record = PrivateKey::parse(algorithm, &pkcs8).unwrap().public().record();
        let (state, at) = (DkimKeyState::Signing, SystemClock.wall());
        (selector, DkimKey { algorithm: algorithm.as_str().to_owned(), pkcs8, record, state, created: at, changed: at })
    });
    let added = store.write_blocking(move |tx| {
        tx.domain_add(&domain, SystemClock.wall())?;
        keys.iter().try_for_each(|(selector, key)| tx.dkim_key_add(&domain, selector, key))
    });
    added.unwrap();
    let sender = ReversePath(Some(Address::parse("eve@b.example").unwrap()));
    // The second server takes no octets above 127: what is signed is what it gets.
    for (offers, body) in [(ALL, "BODY=8BITMIME"), ("250-SIZE\r\n", "")] {
        let got = sent_by(&store, offers, sender.clone(), "bob@nowhere.example", BodyType::EightBitMime, EIGHT_BIT.as_bytes());
        let (parameters, report) = got.expect("a report");
        let text = String::from_utf8_lossy(&report);
        assert!(text.contains("From: ") && text.contains("<mailer-daemon@mx.a.example>"), "{text}");
        assert!(parameters.contains(&format!("SIZE={}", report.len())), "{parameters} for {} octets", report.len());
        assert_eq!(parameters.contains("BODY=8BITMIME"), !body.is_empty() && !report.is_ascii(), "{parameters}");
        assert_eq!(verified(&store, &report), ["pass a.example", "pass a.example"], "{text}");
    }
}
