//! Mail from other servers is asked who it is from, and what our accounts send is signed: a `Receiver` over a
//! store in memory and a DNS that answers from a script.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test: its purpose is to fail")]

use crate::context::{self, NOW};
use mail::{Address, Domain, Event, ReceiptId, Recipient, ReversePath, Role as MailboxRole, Uid};
use mailauth::dkim::{Algorithm, PrivateKey};
use mailauth::dns::Step;
use mailauth::spf::Session;
use mailauth::{Evidence, Limits};
use mta::Settings;
use mta::receive::{Context, Receiver};
use mta::settings::Dmarc;
use net::FakeDns;
use smtp::Reply;
use smtp::server::{Answer, Ask, MailCommand, Role};
use std::sync::Arc;
use store::auth::Credentials;
use store::{DkimKey, DkimKeyState, NewAccount, Store};
use wire::Handler;

pub(super) fn domain(text: &str) -> Domain {
    Domain::parse(text).unwrap()
}

pub(super) fn store() -> Store {
    let store = Store::memory();
    with_ann(&store);
    store
}

/// Makes the domain and its only account.
pub(super) fn with_ann(store: &Store) {
    store
        .write_blocking(|tx| {
            tx.domain_add(&domain("ours.example"), NOW)?;
            let address = Address::parse("ann@ours.example").unwrap();
            let new = NewAccount { name: String::new(), address, credentials: Credentials::none(), quota_octets_max: None };
            tx.account_create(new, NOW)
        })
        .unwrap();
}

pub(super) fn context(store: &Store, dns: FakeDns, dmarc: Dmarc) -> Arc<Context> {
    let mut settings = Settings::new(domain("mx.ours.example"));
    settings.receive.authentication.dmarc = dmarc;
    Arc::new(Context { dns: Some(Arc::new(dns)), ..context::of(store, settings) })
}

/// far.example: 192.0.2.1 may send; everything else is to be refused. doubt.example: the same set aside.
pub(super) fn dns() -> FakeDns {
    FakeDns::new()
        .with_txt(&domain("far.example"), "v=spf1 ip4:192.0.2.1 -all")
        .with_txt(&domain("_dmarc.far.example"), "v=DMARC1; p=reject")
        .with_txt(&domain("_dmarc.doubt.example"), "v=DMARC1; p=quarantine")
        .with_ptr("192.0.2.1".parse().unwrap(), &domain("mx.far.example"))
        .with_address(&domain("mx.far.example"), "192.0.2.1".parse().unwrap())
}

/// Sends one message in chunks; what is said to its end.
async fn send(context: &Arc<Context>, role: Role, peer: &str, reverse_path: &str, chunks: &[&str]) -> Reply {
    send_to(context, role, peer, (reverse_path, "ann@ours.example"), chunks).await
}

/// The same from somebody to somebody.
pub(super) async fn send_to(context: &Arc<Context>, role: Role, peer: &str, (from, to): (&str, &str), chunks: &[&str]) -> Reply {
    let mut receiver = Receiver::new(Arc::clone(context), role, peer.parse().unwrap());
    receiver.answer(Ask::Connect).await;
    receiver.answer(Ask::Helo { name: "mx.far.example".into(), esmtp: true, tls: None }).await;
    if role == Role::Submission {
        receiver.answer(Ask::Authenticated { account: 1, login: "ann@ours.example".into() }).await;
    }
    let mail = MailCommand::new(ReversePath(Address::parse(from).ok()));
    assert!(matches!(receiver.answer(Ask::Mail(mail)).await, Answer::Reply(reply) if reply.code == 250));
    receiver.answer(Ask::Rcpt(Recipient::new(Address::parse(to).unwrap()))).await;
    let (last, first) = chunks.split_last().unwrap();
    for chunk in first {
        assert!(matches!(receiver.answer(Ask::Body(chunk.as_bytes().to_vec())).await, Answer::Taken));
    }
    match receiver.answer(Ask::Data { last: last.as_bytes().to_vec() }).await {
        Answer::Reply(reply) => reply,
        _ => panic!("no reply"),
    }
}

/// The latest message of a mailbox of ann's.
pub(super) fn latest(store: &Store, role: MailboxRole) -> Option<String> {
    let read = store.read_blocking(move |tx| {
        let account = mail::AccountId(1);
        let mailbox = tx.mailbox_by_role(account, role)?.unwrap();
        let Some(last) = tx.messages(account, mailbox.id, Uid(1), Uid(u32::MAX), 1000)?.pop() else { return Ok(None) };
        tx.blob_read(&last.blob, 0, usize::MAX).map(Some)
    });
    read.unwrap().map(|octets| String::from_utf8(octets).unwrap())
}

const FAR: &str = "From: joe@far.example\r\nAuthentication-Results: mx.ours.example; dmarc=pass\r\nSubject: x\r\n\r\nHi\r\n";

#[tokio::test]
async fn results_are_written_and_forged_ones_go() {
    let store = store();
    let context = context(&store, dns(), Dmarc::Obey);
    let reply = send(&context, Role::Mx, "192.0.2.1", "joe@far.example", &[FAR]).await;
    assert_eq!(reply.code, 250, "{reply}");
    let message = latest(&store, MailboxRole::Inbox).unwrap();
    let results: Vec<_> = mail::header::fields(message.as_bytes()).filter(|field| field.is("Authentication-Results")).collect();
    let [results] = results.as_slice() else { panic!("{message}") };
    let results = mailauth::results::parse(&mail::header::unfold(results.value)).unwrap();
    let shown: Vec<_> = results.results.iter().map(|result| format!("{}={}", result.method, result.result)).collect();
    assert_eq!(shown, ["iprev=pass", "spf=none", "spf=pass", "dkim=none", "dmarc=pass"]);
    assert!(message.starts_with("Return-Path: <joe@far.example>\r\nX-Postrider-Verdict: accept;"), "{message}");
    assert!(message.contains("\r\nAuthentication-Results: mx.ours.example;"), "{message}");
}

#[tokio::test]
async fn an_old_decision_can_be_made_again_from_its_trail() {
    let store = store();
    let context = context(&store, dns(), Dmarc::Obey);
    let reply = send(&context, Role::Mx, "192.0.2.1", "joe@far.example", &[FAR]).await;
    let receipt: ReceiptId = reply.text.split(' ').next().unwrap().parse().unwrap();
    let trail = store.read_blocking(move |tx| tx.trail(receipt)).unwrap();
    let found = trail.iter().find_map(|entry| match &entry.event {
        Event::Authenticated { results, answers, .. } => Some((results.clone(), answers.clone())),
        _ => None,
    });
    let (results, answers) = found.expect("the trail tells of it");
    let peer = "192.0.2.1".parse().unwrap();
    let session = Session { peer, helo: "mx.far.example", receiver: "mx.ours.example", now: NOW };
    let step = Evidence::of(FAR.as_bytes(), &Limits::default()).step(&session, "joe@far.example", &mailauth::Settings::default(), &answers);
    let Step::Done(outcome) = step else { panic!("{step:?}") };
    let again = mailauth::results::value("mx.ours.example", &outcome, peer);
    assert_eq!(again.split_whitespace().collect::<Vec<_>>(), results.split_whitespace().collect::<Vec<_>>());
}

#[tokio::test]
async fn what_a_domain_asks_for_is_done() {
    let doubt = FAR.replace("far", "doubt");
    for (dmarc, message, peer, code, place) in [
        (Dmarc::Obey, FAR, "192.0.2.1", 250, Some(MailboxRole::Inbox)),
        (Dmarc::Obey, FAR, "192.0.2.9", 550, None),
        (Dmarc::Junk, FAR, "192.0.2.9", 250, Some(MailboxRole::Junk)),
        (Dmarc::Ignore, FAR, "192.0.2.9", 250, Some(MailboxRole::Inbox)),
        (Dmarc::Obey, &doubt, "192.0.2.9", 250, Some(MailboxRole::Junk)),
        // From this machine itself: nothing is asked.
        (Dmarc::Obey, FAR, "127.0.0.1", 250, Some(MailboxRole::Inbox)),
    ] {
        // In one piece, and in several.
        let long = format!("{message}{}", "text\r\n".repeat(20_000));
        let (half, rest) = long.split_at(70_000);
        for chunks in [&[message][..], &[half, rest]] {
            let store = store();
            let reply = send(&context(&store, dns(), dmarc), Role::Mx, peer, "joe@far.example", chunks).await;
            assert_eq!(reply.code, code, "{dmarc:?} {peer} {reply}");
            for role in [MailboxRole::Inbox, MailboxRole::Junk] {
                let found = latest(&store, role);
                assert_eq!(found.is_some(), Some(role) == place, "{dmarc:?} {peer} {role:?}");
                assert!(found.is_none_or(|found| found.ends_with("\r\n\r\nHi\r\n") || found.ends_with(&long[100..])));
            }
        }
    }
}

#[tokio::test]
async fn failures_of_dns_refuse_nothing() {
    let (store, dns) = (store(), dns());
    dns.fail(&domain("_dmarc.far.example"), "SERVFAIL");
    let reply = send(&context(&store, dns, Dmarc::Obey), Role::Mx, "192.0.2.9", "joe@far.example", &[FAR]).await;
    assert_eq!(reply.code, 250, "{reply}");
    assert!(latest(&store, MailboxRole::Inbox).unwrap().contains("dmarc=temperror"));
}

#[tokio::test]
async fn what_our_accounts_send_is_signed_with_keys_that_sign() {
    let store = store();
    let mut zone = Vec::new();
    for (selector, algorithm, state) in [
        ("e", Algorithm::Ed25519Sha256, DkimKeyState::Signing),
        ("r", Algorithm::RsaSha256, DkimKeyState::Signing),
        ("w", Algorithm::Ed25519Sha256, DkimKeyState::Waiting),
    ] {
        let pkcs8 = PrivateKey::generate(algorithm).unwrap();
        let record = PrivateKey::parse(algorithm, &pkcs8).unwrap().public().record();
        zone.push((format!("{selector}._domainkey.ours.example"), record.clone()));
        let key = DkimKey { algorithm: algorithm.as_str().to_owned(), pkcs8, record, state, created: NOW, changed: NOW };
        store.write_blocking(move |tx| tx.dkim_key_add(&domain("ours.example"), selector, &key)).unwrap();
    }
    let context = context(&store, FakeDns::new(), Dmarc::Obey);
    let text = "From: ann@ours.example\r\nSubject: x\r\n\r\nHi\r\n";
    let long = format!("{text}{}", "text\r\n".repeat(20_000));
    let (half, rest) = long.split_at(70_000);
    for chunks in [&[text][..], &[half, rest]] {
        let reply = send(&context, Role::Submission, "192.0.2.7", "ann@ours.example", chunks).await;
        assert_eq!(reply.code, 250, "{reply}");
        let message = latest(&store, MailboxRole::Inbox).unwrap();
        let evidence = Evidence::of(message.as_bytes(), &Limits::default());
        let session = Session { peer: "192.0.2.7".parse().unwrap(), helo: "x", receiver: "x", now: NOW };
        let mut answers = mailauth::dns::Recorded::default();
        let outcome = loop {
            match evidence.step(&session, "", &mailauth::Settings::default(), &answers) {
                Step::Done(outcome) => break outcome,
                Step::Need(questions) => questions.into_iter().for_each(|question| {
                    let found = zone.iter().find(|(name, _)| question == mail::lookup::Question::Txt(name.clone()));
                    let answer = found.map(|(_, record)| mail::lookup::Answer::Txt(vec![record.clone().into_bytes()]));
                    answers.put(question, answer.unwrap_or(mail::lookup::Answer::NoName));
                }),
            }
        };
        let results: Vec<_> = outcome.dkim.iter().map(|dkim| format!("{} {}", dkim.selector, dkim.result)).collect();
        assert_eq!(results, ["e pass", "r pass"], "{message:.2000}");
    }
}

/// What the trail says of the verdict for ann: junk, and the names of its reasons.
fn judged(store: &Store, reply: &Reply) -> (bool, Vec<String>) {
    let receipt: ReceiptId = reply.text.split(' ').next().unwrap().parse().unwrap();
    let trail = store.read_blocking(move |tx| tx.trail(receipt)).unwrap();
    let found = trail.into_iter().find_map(|entry| match entry.event {
        Event::Judged { is_junk, reasons, .. } => {
            Some((is_junk, reasons.iter().map(|(_, words)| words.split(':').next().unwrap_or_default().to_owned()).collect()))
        }
        _ => None,
    });
    found.expect("the trail tells of it")
}

const PROGRAM: &str = "From: joe@far.example\r\nDate: x\r\nMessage-ID: <p@far.example>\r\nX-Postrider-Verdict: accept;\r\n forged\r\n\
     Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nSee the file.\r\n--b\r\n\
     Content-Type: application/octet-stream; name=\"invoice.pdf.exe\"\r\n\r\nMZ\r\n--b--\r\n";

#[tokio::test]
async fn unwanted_mail_goes_to_junk_and_says_why() {
    let (long, ours) = ("Lines and lines.\r\n".repeat(10), "X-Postrider-Verdict: junk; score=8.00; disguised-program=8.00\r\n");
    for chunks in [&[PROGRAM][..], &[PROGRAM, &long]] {
        let store = store();
        let context = context(&store, dns(), Dmarc::Obey);
        let reply = send(&context, Role::Mx, "192.0.2.1", "joe@far.example", chunks).await;
        assert_eq!(judged(&store, &reply), (true, vec!["disguised-program".to_owned()]));
        let message = latest(&store, MailboxRole::Junk).unwrap();
        assert!(message.contains(ours) && !message.contains("forged"), "{message}");
        assert_eq!(latest(&store, MailboxRole::Inbox), None);
        // What comes from nearby is not judged.
        send(&context, Role::Mx, "127.0.0.1", "joe@far.example", chunks).await;
        assert!(latest(&store, MailboxRole::Inbox).is_some());
    }
}

#[tokio::test]
async fn whom_our_users_write_to_is_trusted_and_imitators_are_not() {
    let store = store();
    let context = context(&store, dns(), Dmarc::Obey);
    let noted = store.write_blocking(|tx| tx.correspondent_note(mail::AccountId(1), &Address::parse("joe@far.example").unwrap(), NOW));
    noted.unwrap();
    let reply = send(&context, Role::Mx, "192.0.2.1", "joe@far.example", &[PROGRAM]).await;
    assert_eq!(judged(&store, &reply), (false, ["disguised-program", "correspondent"].map(str::to_owned).to_vec()));
    let imitated = "From: joe@fаr.example\r\nDate: x\r\nMessage-ID: <i@x.example>\r\n\r\nPlease pay.\r\n";
    let reply = send(&context, Role::Mx, "192.0.2.9", "x@y.example", &[imitated]).await;
    let (is_junk, reasons) = judged(&store, &reply);
    assert!(is_junk && reasons.contains(&"imitation".to_owned()), "{reasons:?}");
}

#[tokio::test]
async fn our_users_writing_makes_correspondents() {
    let store = store();
    let context = context(&store, dns(), Dmarc::Obey);
    let message = "From: ann@ours.example\r\nTo: ann@ours.example\r\n\r\nHi\r\n";
    assert_eq!(send(&context, Role::Submission, "192.0.2.7", "ann@ours.example", &[message]).await.code, 250);
    let features = filter::Features { author: Some("ann@ours.example".to_owned()), ..filter::Features::default() };
    let known = store.read_blocking(move |tx| tx.acquaintance(mail::AccountId(1), &features)).unwrap();
    assert!(known.is_correspondent);
}

#[tokio::test]
async fn what_people_move_into_junk_is_found_there_next_time() {
    let store = store();
    let context = context(&store, dns(), Dmarc::Obey);
    let mail = |n: u32, text: &str| {
        format!("From: joe@far.example\r\nDate: x\r\nMessage-ID: <{n}@far.example>\r\nSubject: {text}\r\n\r\n{text}\r\n")
    };
    for n in 0..40 {
        let text = if n < 20 { "Cheap watches and pills, order today" } else { "Minutes of the meeting, see you there" };
        send(&context, Role::Mx, "192.0.2.1", "joe@far.example", &[&mail(n, text)]).await;
    }
    assert_eq!(latest(&store, MailboxRole::Junk), None);
    let moved = store.write_blocking(|tx| {
        let account = mail::AccountId(1);
        let role = |tx: &store::WriteTx, role| tx.mailbox_by_role(account, role).unwrap().unwrap().id;
        let (inbox, junk, archive) = (role(tx, MailboxRole::Inbox), role(tx, MailboxRole::Junk), role(tx, MailboxRole::Archive));
        tx.email_move(account, inbox, &"1:20".parse().unwrap(), junk, NOW)?;
        tx.email_move(account, inbox, &"21:40".parse().unwrap(), archive, NOW)
    });
    assert_eq!(moved.unwrap().len(), 20);
    let reply = send(&context, Role::Mx, "192.0.2.1", "joe@far.example", &[&mail(50, "Order pills and cheap watches")]).await;
    assert_eq!(judged(&store, &reply), (true, vec!["taught".to_owned()]));
    let reply = send(&context, Role::Mx, "192.0.2.1", "joe@far.example", &[&mail(51, "Minutes of another meeting")]).await;
    assert_eq!(judged(&store, &reply), (false, vec!["taught".to_owned()]));
}
