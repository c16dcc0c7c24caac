//! Milters and hooks beside a `Receiver`: a scripted milter and a scripted web server on sockets of this machine.
//!
//! The real programs are tried in `tests/test_milters.py`; here is what becomes of a message in each case.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test: its purpose is to fail")]

use crate::context::{self, NOW};
use mail::{Address, Domain, Event, Recipient, ReversePath, Role as MailboxRole, Uid};
use milter::packet::{Packet, Reader, encode};
use mta::Settings;
use mta::advisers::{Adviser, HookStage, Kind, Limits, OnFailure};
use mta::receive::{Context, Receiver};
use smtp::Reply;
use smtp::server::{Answer, Ask, MailCommand, Role};
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use store::auth::Credentials;
use store::{NewAccount, Store};
use wire::Handler;

fn address(text: &str) -> Address {
    Address::parse(text).unwrap()
}

fn store() -> Store {
    let store = Store::memory();
    store
        .write_blocking(|tx| {
            tx.domain_add(&Domain::parse("ours.example").unwrap(), NOW)?;
            for name in ["ann@ours.example", "bob@ours.example"] {
                let credentials = Credentials::none();
                tx.account_create(NewAccount { name: String::new(), address: address(name), credentials, quota_octets_max: None }, NOW)?;
            }
            Ok(())
        })
        .unwrap();
    store
}

pub(super) fn adviser(kind: Kind, on_failure: OnFailure) -> Arc<Adviser> {
    let roles = vec![Role::Mx];
    let (connect_max, limits) = (Duration::from_secs(5), Limits::default());
    Arc::new(Adviser { name: "adviser".to_owned(), kind, roles, on_failure, connect_max, limits, message_octets_max: 100_000 })
}

fn context(store: &Store, advisers: Vec<Arc<Adviser>>) -> Arc<Context> {
    let mut settings = Settings::new(Domain::parse("mx.ours.example").unwrap());
    settings.receive.advisers = advisers;
    settings.receive.filter.is_on = false;
    Arc::new(Context { clock: Arc::new(net::SystemClock), ..context::of(store, settings) })
}

/// What a milter heard, packet by packet.
pub(super) type Heard = Arc<Mutex<Vec<String>>>;

/// A milter on a port of its own. `says` is its answer to a packet: whole packets, `None` for `continue`, nothing to close the connection.
pub(super) fn milter(says: fn(&Packet) -> Option<Vec<u8>>) -> (Kind, Heard) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = listener.local_addr().unwrap().to_string().parse().unwrap();
    let heard = Heard::default();
    let noted = Arc::clone(&heard);
    std::thread::spawn(move || {
        'connections: while let Ok((mut socket, _)) = listener.accept() {
            let (mut reader, mut buffer) = (Reader::new(usize::MAX), [0; 4096]);
            while let Ok(octets @ 1..) = socket.read(&mut buffer) {
                reader.push(&buffer[..octets]);
                while let Some(packet) = reader.packet().unwrap() {
                    noted.lock().unwrap().push(format!("{}{}", char::from(packet.kind), packet.data.escape_ascii()));
                    let answer = match packet.kind {
                        b'O' => encode(b'O', &[6_u32, 0x1ff, 0].map(u32::to_be_bytes).concat()),
                        b'D' | b'A' | b'Q' => continue,
                        _ => says(&packet).unwrap_or_else(|| encode(b'c', b"")),
                    };
                    if answer.is_empty() {
                        continue 'connections;
                    }
                    socket.write_all(&answer).unwrap();
                }
            }
        }
    });
    (Kind::Milter(endpoint), heard)
}

/// A web server that answers each request with this JSON; the requests.
fn hook(json: &'static str, stages: Vec<HookStage>) -> (Kind, Heard) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap()).parse().unwrap();
    let heard = Heard::default();
    let noted = Arc::clone(&heard);
    std::thread::spawn(move || {
        while let Ok((mut socket, _)) = listener.accept() {
            let (mut request, mut buffer) = (String::new(), [0; 4096]);
            while !request.ends_with("}}") {
                let octets = socket.read(&mut buffer).unwrap();
                request += std::str::from_utf8(&buffer[..octets]).unwrap();
            }
            noted.lock().unwrap().push(request.split_once("\r\n\r\n").unwrap().1.to_owned());
            let status = if json.is_empty() { "500 Oh no" } else { "200 OK" };
            write!(socket, "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{json}", json.len()).unwrap();
        }
    });
    let (connect_max, exchange_max) = (Duration::from_secs(5), Duration::from_secs(5));
    let web = net::web::Web { url, tls: None, authorization: None, body_octets_max: 100_000, connect_max, exchange_max };
    (Kind::Hook { web, stages }, heard)
}

/// One connection from another server.
struct Peer(Receiver);

impl Peer {
    async fn new(context: &Arc<Context>) -> Self {
        let mut receiver = Receiver::new(Arc::clone(context), Role::Mx, "192.0.2.1".parse().unwrap());
        receiver.answer(Ask::Connect).await;
        receiver.answer(Ask::Helo { name: "mx.far.example".into(), esmtp: true, tls: None }).await;
        Self(receiver)
    }

    async fn mail(&mut self) -> Reply {
        let mail = MailCommand::new(ReversePath(Some(address("eve@far.example"))));
        reply(self.0.answer(Ask::Mail(mail)).await)
    }

    async fn rcpt(&mut self, to: &str) -> Reply {
        reply(self.0.answer(Ask::Rcpt(Recipient::new(address(to)))).await)
    }

    async fn data(&mut self, chunks: &[&str]) -> Reply {
        let (last, first) = chunks.split_last().unwrap();
        for chunk in first {
            assert!(matches!(self.0.answer(Ask::Body(chunk.as_bytes().to_vec())).await, Answer::Taken));
        }
        reply(self.0.answer(Ask::Data { last: last.as_bytes().to_vec() }).await)
    }

    /// A whole transaction; the first refusal, or the reply to the message.
    async fn send(&mut self, chunks: &[&str]) -> Reply {
        let mail = self.mail().await;
        if mail.code != 250 {
            return mail;
        }
        let rcpt = self.rcpt("ann@ours.example").await;
        if rcpt.code == 250 { self.data(chunks).await } else { rcpt }
    }
}

fn reply(answer: Answer) -> Reply {
    match answer {
        Answer::Reply(reply) => reply,
        other => panic!("no reply: {other:?}"),
    }
}

const MESSAGE: &str = "From: eve@far.example\r\nSubject: hello\r\n\r\nbody\r\n";

/// Sends one message past one adviser.
async fn past(kind: Kind, on_failure: OnFailure, chunks: &[&str]) -> (Store, Reply) {
    let store = store();
    let context = context(&store, vec![adviser(kind, on_failure)]);
    let reply = Peer::new(&context).await.send(chunks).await;
    (store, reply)
}

fn mailbox(store: &Store, login: &str) -> Vec<String> {
    let login = login.to_owned();
    let read = store.read_blocking(move |tx| {
        let account = tx.account_by_login(&login)?.unwrap().id;
        let inbox = tx.mailbox_by_role(account, MailboxRole::Inbox)?.unwrap();
        let messages = tx.messages(account, inbox.id, Uid(1), Uid(u32::MAX), 100)?;
        messages.iter().map(|message| tx.blob_read(&message.blob, 0, usize::MAX)).collect::<store::Result<Vec<_>>>()
    });
    read.unwrap().into_iter().map(|octets| String::from_utf8(octets).unwrap()).collect()
}

/// The trail behind a 250: names of events, and the advice.
fn trail(store: &Store, reply: &Reply) -> Vec<String> {
    assert_eq!(reply.code, 250, "{reply}");
    let receipt = reply.text.split_whitespace().next().unwrap().parse().unwrap();
    let entries = store.read_blocking(move |tx| tx.trail(receipt)).unwrap();
    let shown = |event: &Event| match event {
        Event::Advised { decision, changes, .. } => format!("{decision} {changes:?}"),
        Event::Discarded { reason, .. } => format!("discarded {reason}"),
        other => format!("{other:?}").split_once(' ').unwrap().0.to_owned(),
    };
    entries.iter().map(|entry| shown(&entry.event)).collect()
}

/// At the end of the message: a header above everything, another subject, another body, another recipient.
fn changing(packet: &Packet) -> Option<Vec<u8>> {
    let changes = [
        encode(b'i', b"\0\0\0\0X-Top\0yes\0"),
        encode(b'm', b"\0\0\0\x01Subject\0changed\0"),
        encode(b'b', b"new\nbody\n"),
        encode(b'+', b"<bob@ours.example>\0"),
        encode(b'-', b"<ann@ours.example>\0"),
        encode(b'e', b"<new@far.example>\0"),
        encode(b'a', b""),
    ];
    (packet.kind == b'E').then(|| changes.concat())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_milter_changes_envelope_and_message_in_one_piece_or_many() {
    for chunks in [&[MESSAGE][..], &["From: eve@far.example\r\nSubj", "ect: hello\r\n\r\n", "body\r\n"]] {
        let (kind, heard) = milter(changing);
        let (store, reply) = past(kind, OnFailure::Defer, chunks).await;
        let [message] = mailbox(&store, "bob@ours.example").try_into().unwrap();
        assert!(message.starts_with("Return-Path: <new@far.example>\r\nX-Top: yes\r\nReceived: from"), "{message}");
        assert!(message.ends_with("From: eve@far.example\r\nSubject: changed\r\n\r\nnew\r\nbody\r\n"), "{message}");
        assert!(mailbox(&store, "ann@ours.example").is_empty());
        assert!(trail(&store, &reply).iter().any(|one| one.starts_with("accept [\"insert header 0 X-Top: yes\"")));
        let heard = heard.lock().unwrap().clone();
        for want in ["Bbody\\r\\n", "LSubject\\x00hello\\x00", "M<eve@far.example>\\x00", "R<ann@ours.example>\\x00", "T", "N"] {
            assert!(heard.iter().any(|one| one == want), "{want}: {heard:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_milter_holds_a_message() {
    let (kind, _) = milter(|packet| (packet.kind == b'E').then(|| [encode(b'q', b"odd\0"), encode(b'c', b"")].concat()));
    let (store, reply) = past(kind, OnFailure::Defer, &[MESSAGE]).await;
    assert_eq!(trail(&store, &reply)[1], "quarantine [\"quarantine: odd\"]");
    assert!(mailbox(&store, "ann@ours.example").is_empty());
    let queued = store.read_blocking(|tx| tx.queue_all(mail::ReceiptId(0), 10)).unwrap();
    assert_eq!(queued.iter().map(|message| message.held).collect::<Vec<_>>(), [true]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_milter_throws_a_message_away() {
    for stage in [b'M', b'R', b'E', b'L'] {
        let (kind, _) = match stage {
            b'M' => milter(|packet| (packet.kind == b'M').then(|| encode(b'd', b""))),
            b'R' => milter(|packet| (packet.kind == b'R').then(|| encode(b'd', b""))),
            b'L' => milter(|packet| (packet.kind == b'L').then(|| encode(b'd', b""))),
            _ => milter(|packet| (packet.kind == b'E').then(|| encode(b'd', b""))),
        };
        let (store, reply) = past(kind, OnFailure::Defer, &[MESSAGE]).await;
        assert_eq!(trail(&store, &reply).last().unwrap(), "discarded by adviser", "{}", char::from(stage));
        assert!(mailbox(&store, "ann@ours.example").is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_without_recipients_is_gone_but_for_its_trail() {
    let (kind, _) = milter(|packet| (packet.kind == b'E').then(|| [encode(b'-', b"ann@ours.example\0"), encode(b'a', b"")].concat()));
    let (store, reply) = past(kind, OnFailure::Defer, &[MESSAGE]).await;
    assert!(trail(&store, &reply)[1].contains("delete recipient ann@ours.example"));
    assert!(mailbox(&store, "ann@ours.example").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_are_the_milters_own() {
    type Says = fn(&Packet) -> Option<Vec<u8>>;
    let cases: [(Says, &str); 5] = [
        (|packet| (packet.kind == b'E').then(|| encode(b'y', b"554 5.6.0 A virus\0")), "554 5.6.0 A virus"),
        (|packet| (packet.kind == b'N').then(|| encode(b'r', b"")), "550 5.7.1 Refused by policy"),
        (|packet| (packet.kind == b'R').then(|| encode(b't', b"")), "451 4.7.1 Try again later"),
        (|packet| (packet.kind == b'M').then(|| encode(b'r', b"")), "550 5.7.1 Refused by policy"),
        (|packet| (packet.kind == b'E').then(|| encode(b'?', b"")), "451 4.7.1 Mail cannot be checked now; try again later"),
    ];
    for (says, want) in cases {
        let (kind, _) = milter(says);
        let (store, reply) = past(kind, OnFailure::Defer, &[MESSAGE]).await;
        assert!(reply.to_string().starts_with(want), "{reply}");
        assert!(mailbox(&store, "ann@ours.example").is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_trail_of_a_refused_message_says_who_refused_it() {
    let (kind, _) = milter(|packet| (packet.kind == b'E').then(|| encode(b'r', b"")));
    let (store, reply) = past(kind, OnFailure::Defer, &[MESSAGE]).await;
    let receipt = reply.text.rsplit(' ').next().unwrap().parse().unwrap();
    let entries = store.read_blocking(move |tx| tx.trail(receipt)).unwrap();
    let advised =
        entries.iter().any(|entry| matches!(&entry.event, Event::Advised { by, decision, .. } if by == "adviser" && decision == "reject"));
    assert!(advised, "{entries:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recipient_that_a_milter_refuses_is_not_reached_and_the_others_are() {
    let (kind, _) = milter(|packet| packet.data.starts_with(b"<bob").then(|| encode(b'y', b"550 5.1.1 not he\0")));
    let store = store();
    let mut peer = Peer::new(&context(&store, vec![adviser(kind, OnFailure::Defer)])).await;
    peer.mail().await;
    assert_eq!(peer.rcpt("bob@ours.example").await.to_string(), "550 5.1.1 not he");
    assert_eq!(peer.rcpt("ann@ours.example").await.code, 250);
    let reply = peer.data(&[MESSAGE]).await;
    assert!(trail(&store, &reply).contains(&"Refused".to_owned()));
    assert_eq!((mailbox(&store, "ann@ours.example").len(), mailbox(&store, "bob@ours.example").len()), (1, 0));
}

/// A port where nobody listens.
fn nobody() -> Kind {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    Kind::Milter(listener.local_addr().unwrap().to_string().parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_milter_mail_waits_or_goes_on_as_the_settings_say() {
    let (_, reply) = past(nobody(), OnFailure::Defer, &[MESSAGE]).await;
    assert_eq!(reply.to_string(), "451 4.7.1 Mail cannot be checked now; try again later");
    let (_, reply) = past(nobody(), OnFailure::Reject, &[MESSAGE]).await;
    assert_eq!(reply.to_string(), "554 5.7.1 Mail cannot be checked");
    let (store, reply) = past(nobody(), OnFailure::Accept, &[MESSAGE]).await;
    assert!(trail(&store, &reply)[1].starts_with("none [\"no connection to 127.0.0.1:"), "{:?}", trail(&store, &reply));
    assert_eq!(mailbox(&store, "ann@ours.example").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_milter_that_goes_away_in_between_is_connected_to_again() {
    static TRANSACTIONS: AtomicU64 = AtomicU64::new(0);
    // The first connection ends with the second message.
    let (kind, _) = milter(|packet| {
        let number = if packet.kind == b'M' { TRANSACTIONS.fetch_add(1, Ordering::Relaxed) } else { 0 };
        (number == 1).then(Vec::new)
    });
    let store = store();
    let context = context(&store, vec![adviser(kind, OnFailure::Defer)]);
    let mut peer = Peer::new(&context).await;
    assert_eq!(peer.send(&[MESSAGE]).await.code, 250);
    assert_eq!(peer.send(&[MESSAGE]).await.code, 250, "over another connection");
    assert_eq!(TRANSACTIONS.load(Ordering::Relaxed), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_message_goes_on_without_advice() {
    let (kind, _) = milter(changing);
    let long = format!("{MESSAGE}{}", "0123456789abcdef\r\n".repeat(6_000));
    let (store, reply) = past(kind, OnFailure::Defer, &[&long]).await;
    assert_eq!(trail(&store, &reply)[1], "none [\"it is larger than 100000 octets\"]");
    assert!(mailbox(&store, "ann@ours.example")[0].contains("Subject: hello"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_without_a_header_keeps_its_body() {
    let (kind, heard) = milter(|packet| (packet.kind == b'E').then(|| [encode(b'h', b"X-A\0b\0"), encode(b'a', b"")].concat()));
    let (store, _) = past(kind, OnFailure::Defer, &["just words\r\n\r\nmore\r\n"]).await;
    assert!(mailbox(&store, "ann@ours.example")[0].ends_with("X-A: b\r\n\r\njust words\r\n\r\nmore\r\n"));
    assert!(heard.lock().unwrap().contains(&"Bjust words\\r\\n\\r\\nmore\\r\\n".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hook_hears_of_its_stages_and_changes_the_message() {
    let json = r#"{"action":"accept","modifications":[{"type":"addHeader","name":"X-Hook","value":"yes"},{"type":"addRecipient","value":"bob@ours.example"}]}"#;
    let (kind, heard) = hook(json, vec![HookStage::Rcpt, HookStage::Data]);
    let (store, reply) = past(kind, OnFailure::Defer, &[MESSAGE]).await;
    assert!(mailbox(&store, "bob@ours.example")[0].contains("Subject: hello\r\nX-Hook: yes\r\n\r\nbody\r\n"));
    assert_eq!(trail(&store, &reply)[1], "accept [\"add header X-Hook: yes\", \"add recipient bob@ours.example\"]");
    let heard = heard.lock().unwrap().clone();
    let [rcpt, data] = heard.as_slice() else { panic!("{heard:?}") };
    assert!(
        rcpt.contains(r#""stage":"RCPT""#) && rcpt.contains(r#""to":[{"address":"ann@ours.example""#) && !rcpt.contains("contents"),
        "{rcpt}"
    );
    assert!(
        data.contains(r#""headers":[["From","eve@far.example"],["Subject","hello"]]"#) && data.contains(r#""contents":"body\r\n""#),
        "{data}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn hooks_refuse_hold_and_fail() {
    for (json, on_failure, want) in [
        (r#"{"action":"reject","response":{"status":554,"enhancedStatus":"5.7.1","message":"no"}}"#, OnFailure::Defer, "554 5.7.1 no"),
        (r#"{"action":"what"}"#, OnFailure::Defer, "451 4.7.1 Mail cannot be checked now; try again later"),
        ("", OnFailure::Reject, "554 5.7.1 Mail cannot be checked"),
    ] {
        let (kind, _) = hook(json, vec![HookStage::Data]);
        let (_, reply) = past(kind, on_failure, &[MESSAGE]).await;
        assert!(reply.to_string().starts_with(want), "{reply}");
    }
    let (kind, _) = hook(r#"{"action":"quarantine","response":{"message":"odd"}}"#, vec![HookStage::Data]);
    let (store, reply) = past(kind, OnFailure::Defer, &[MESSAGE]).await;
    assert_eq!(trail(&store, &reply)[1], "quarantine [\"quarantine: odd\"]");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_adviser_sees_what_the_first_made() {
    let (first, _) = milter(changing);
    let (second, heard) = hook(r#"{"action":"accept"}"#, vec![HookStage::Data]);
    let store = store();
    let advisers = vec![adviser(first, OnFailure::Defer), adviser(second, OnFailure::Defer)];
    assert_eq!(Peer::new(&context(&store, advisers)).await.send(&[MESSAGE]).await.code, 250);
    let heard = heard.lock().unwrap().clone();
    assert!(
        heard[0].contains(r#"["X-Top","yes"],["From","eve@far.example"],["Subject","changed"]"#) && heard[0].contains(r"new\r\nbody\r\n"),
        "{heard:?}"
    );
}
