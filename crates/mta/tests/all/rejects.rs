//! What is refused at its end is kept for those it was for; and what taking it out of there does, and does not do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test: its purpose is to fail")]

use super::advisers::{adviser, milter};
use super::authentication::{context as context_of, dns, send_to, store};
use super::context::NOW;
use mail::{AccountId, Address, Event, ReceiptId, Recipient, ReversePath, Role as MailboxRole, Uid};
use milter::packet::{Packet, encode};
use mta::Settings;
use mta::advisers::OnFailure;
use mta::receive::{Context, Receiver};
use mta::settings::Dmarc;
use smtp::Reply;
use smtp::server::{Answer, Ask, MailCommand, Role};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use store::Store;
use wire::Handler;

const ANN: AccountId = AccountId(1);
const FORGED: &str = "From: Joe <joe@far.example>\r\nMessage-ID: <forged@far.example>\r\nAuthentication-Results: mx.ours.example; dmarc=pass\r\n\
    X-Postrider-Rejected: not at all\r\nSubject: x\r\n\r\nHi\r\n";

/// A receiver's context with settings changed.
fn context(store: &Store, change: impl FnOnce(&mut Settings)) -> Arc<Context> {
    let mut context = context_of(store, dns(), Dmarc::Obey);
    change(Arc::get_mut(&mut Arc::get_mut(&mut context).unwrap().settings).unwrap());
    context
}

/// Everything is refused for its points.
fn refuse_all(settings: &mut Settings) {
    settings.receive.filter.judgement = filter::Settings { junk_at: -2_000, reject_at: Some(-1_000) };
}

/// From a host for which far.example does not stand.
async fn forge(context: &Arc<Context>, chunks: &[&str]) -> Reply {
    send_to(context, Role::Mx, "192.0.2.66", ("x@y.example", "ann@ours.example"), chunks).await
}

fn receipt(reply: &Reply) -> ReceiptId {
    assert_eq!(reply.code, 550, "{reply}");
    reply.text.rsplit(' ').next().unwrap().parse().unwrap()
}

fn events(store: &Store, reply: &Reply) -> Vec<Event> {
    let receipt = receipt(reply);
    store.read_blocking(move |tx| tx.trail(receipt)).unwrap().into_iter().map(|entry| entry.event).collect()
}

/// What ann finds in a mailbox.
fn found(store: &Store, role: MailboxRole) -> Vec<String> {
    let read = store.read_blocking(move |tx| {
        let Some(mailbox) = tx.mailbox_by_role(ANN, role)? else { return Ok(Vec::new()) };
        let messages = tx.messages(ANN, mailbox.id, Uid(1), Uid(u32::MAX), 100)?;
        messages.iter().map(|message| tx.blob_read(&message.blob, 0, usize::MAX)).collect::<store::Result<Vec<_>>>()
    });
    read.unwrap().into_iter().map(|octets| String::from_utf8(octets).unwrap()).collect()
}

fn rejects(store: &Store) -> Vec<String> {
    found(store, MailboxRole::Rejects)
}

fn release_all(store: &Store) {
    let released = store.write_blocking(|tx| {
        let rejects = tx.rejects(ANN)?;
        rejects.iter().map(|reject| tx.reject_release(ANN, reject.email, NOW)).collect::<store::Result<Vec<_>>>()
    });
    assert!(released.unwrap().iter().all(|released| *released));
}

#[tokio::test]
async fn what_dmarc_refuses_is_kept_whole_and_says_why() {
    let body = "A line of the body.\r\n".repeat(9_000);
    let (start, rest) = body.split_at(100_000);
    for chunks in [vec![format!("{FORGED}{body}")], vec![format!("{FORGED}{start}"), rest.to_owned()]] {
        let store = store();
        let context = context(&store, |_| ());
        let chunks: Vec<&str> = chunks.iter().map(String::as_str).collect();
        let reply = forge(&context, &chunks).await;
        let (receipt, kept) = (receipt(&reply), rejects(&store));
        let [message] = kept.as_slice() else { panic!("{} kept", kept.len()) };
        let why = format!(
            "Return-Path: <x@y.example>\r\nX-Postrider-Rejected: 550 5.7.1 Not authenticated as from far.example, whose DMARC policy is to \
             reject such mail;\r\n receipt {receipt}; whoever brought it was told so\r\nAuthentication-Results: mx.ours.example;"
        );
        assert!(message.starts_with(&why), "{}", &message[..800]);
        assert!(message.ends_with(&format!("Subject: x\r\n\r\nHi\r\n{body}")), "the whole body");
        assert!(message.contains("dmarc=fail") && !message.contains("dmarc=pass") && !message.contains("not at all"));
        assert!(message.contains(&format!(" id {receipt}")), "Received has the same receipt");
        let events = events(&store, &reply);
        let until = NOW.after(Duration::from_hours(14 * 24));
        assert!(matches!(events[0], Event::Rejected { code: 550, .. }), "{events:?}");
        assert!(matches!(events.last().unwrap(), Event::Kept { account: ANN, again: false, until: at, .. } if *at == until), "{events:?}");
        assert_eq!(context.counters.rejects_kept.load(Ordering::Relaxed), 1);
        assert!(found(&store, MailboxRole::Inbox).is_empty() && found(&store, MailboxRole::Junk).is_empty());
    }
}

#[tokio::test]
async fn what_is_brought_again_is_kept_once() {
    let store = store();
    let context = context(&store, |_| ());
    forge(&context, &[FORGED]).await;
    for again in [FORGED.to_owned(), FORGED.replace("Hi", "Hi!"), FORGED.replace("<forged@", "<other@")] {
        let reply = forge(&context, &[&again]).await;
        assert!(matches!(events(&store, &reply).last(), Some(Event::Kept { again: true, .. })));
        assert_eq!(
            store
                .read_blocking({
                    let receipt = receipt(&reply);
                    move |tx| tx.rejects_by_receipt(receipt)
                })
                .unwrap()
                .len(),
            1
        );
    }
    forge(&context, &[&FORGED.replace("<forged@", "<other@").replace("Hi", "Hello")]).await;
    assert_eq!((rejects(&store).len(), context.counters.rejects_kept.load(Ordering::Relaxed)), (2, 2));
}

#[tokio::test]
async fn some_refused_mail_is_not_kept() {
    type Change = fn(&mut Settings);
    let looping = format!("{}{FORGED}", "Received: from a by b; x\r\n".repeat(60));
    let large = format!("{FORGED}{}", "x\r\n".repeat(100));
    let cases: [(Change, &str, &str); 4] = [
        (|settings| settings.receive.rejects.keep = Duration::ZERO, FORGED, ""),
        (|_| (), &looping, ""),
        (|settings| settings.receive.rejects.message_octets_max = 300, &large, "larger"),
        (|settings| settings.receive.rejects.octets_max = 300, &large, "larger"),
    ];
    for (change, message, want) in cases {
        let store = store();
        let context = context(&store, change);
        let reply = forge(&context, &[message]).await;
        assert!(rejects(&store).is_empty());
        let events = events(&store, &reply);
        match events.last().unwrap() {
            Event::NotKept { reason, .. } => assert!(!want.is_empty() && reason.contains(want), "{reason}"),
            _ => assert!(want.is_empty() && matches!(events[0], Event::Rejected { .. }), "{events:?}"),
        }
    }
}

#[tokio::test]
async fn the_trail_is_written_although_the_message_cannot_be_kept() {
    let store = store();
    let context = context(&store, |_| ());
    let mut receiver = Receiver::new(Arc::clone(&context), Role::Mx, "192.0.2.66".parse().unwrap());
    receiver.answer(Ask::Connect).await;
    receiver.answer(Ask::Helo { name: "mx.far.example".into(), esmtp: true, tls: None }).await;
    receiver.answer(Ask::Mail(MailCommand::new(ReversePath(None)))).await;
    receiver.answer(Ask::Rcpt(Recipient::new(Address::parse("ann@ours.example").unwrap()))).await;
    store.write_blocking(|tx| tx.account_remove(ANN)).unwrap();
    let Answer::Reply(reply) = receiver.answer(Ask::Data { last: FORGED.into() }).await else { panic!() };
    let events = events(&store, &reply);
    assert!(matches!(events.last(), Some(Event::NotKept { account: Some(ANN), .. })), "{events:?}");
}

#[tokio::test]
async fn what_is_refused_for_its_points_is_kept_with_them_and_release_lowers_them() {
    let store = store();
    let context = context(&store, refuse_all);
    let message = "From: joe@far.example\r\nSubject: x\r\n\r\nHi\r\n";
    let points = async || {
        let reply = send_to(&context, Role::Mx, "192.0.2.1", ("joe@far.example", "ann@ours.example"), &[message]).await;
        let events = events(&store, &reply);
        events.iter().find_map(|event| if let Event::Judged { score, .. } = event { Some(*score) } else { None }).unwrap()
    };
    let before = points().await;
    let kept = rejects(&store);
    assert!(kept[0].contains("\r\nX-Postrider-Rejected: 550 5.7.1 Taken for spam;\r\n"), "{}", kept[0]);
    assert!(kept[0].contains("\r\nX-Postrider-Verdict: reject; score="), "{}", kept[0]);
    assert_eq!(points().await, before, "keeping it teaches nothing");
    release_all(&store);
    assert!(rejects(&store).is_empty() && found(&store, MailboxRole::Inbox) == kept);
    // The author is proven: his address, his domain, his host and its network are wanted.
    assert_eq!(points().await, before - 200 - 150 - 50 - 25);
}

#[tokio::test]
async fn a_release_opens_no_door_to_forgers() {
    let store = store();
    let context = context(&store, |_| ());
    for n in 0..3 {
        let reply = forge(&context, &[&FORGED.replace("forged@", &format!("{n}@")).replace("Hi", &n.to_string())]).await;
        assert_eq!((reply.code, rejects(&store).len()), (550, 1), "DMARC is obeyed, whatever was released");
        release_all(&store);
    }
    assert_eq!(found(&store, MailboxRole::Inbox).len(), 3);
    // Nobody has proven to be joe: of him nothing was learned, only of the host that brought it.
    let joe = store.read_blocking(|tx| {
        let author = filter::reputation::Subject::all("198.51.100.1".parse().unwrap(), Some("joe@far.example"), ["far.example".to_owned()]);
        let host = filter::reputation::Subject::all("192.0.2.66".parse().unwrap(), None, []);
        Ok((tx.reputation(ANN, &author, NOW)?, tx.reputation(ANN, &host, NOW)?))
    });
    let (author, host) = joe.unwrap();
    assert!(author.iter().all(|known| known.account.is_nothing() && known.server.is_nothing()), "{author:?}");
    assert!(host.iter().all(|known| known.account.ham == 3_000), "{host:?}");
    let known = store.read_blocking(|tx| {
        tx.acquaintance(ANN, &filter::Features { author: Some("joe@far.example".to_owned()), ..filter::Features::default() })
    });
    assert!(!known.unwrap().is_correspondent);
}

#[tokio::test(flavor = "multi_thread")]
async fn advisers_are_asked_before_anything_is_kept() {
    type Says = fn(&Packet) -> Option<Vec<u8>>;
    let cases: [(Says, OnFailure, &str); 4] = [
        (
            |packet| (packet.kind == b'E').then(|| encode(b'y', b"554 5.6.0 A virus\0")),
            OnFailure::Defer,
            "an adviser does not take it either",
        ),
        (|packet| (packet.kind == b'E').then(|| encode(b'd', b"")), OnFailure::Defer, "adviser would throw it away"),
        (|packet| (packet.kind == b'E').then(Vec::new), OnFailure::Defer, "an adviser does not take it either"),
        (|packet| (packet.kind == b'E').then(|| [encode(b'h', b"X-Scanned\0yes\0"), encode(b'a', b"")].concat()), OnFailure::Defer, ""),
    ];
    for (says, on_failure, want) in cases {
        let store = store();
        let (kind, _) = milter(says);
        let context = context(&store, |settings| {
            settings.receive.advisers = vec![adviser(kind, on_failure)];
            refuse_all(settings);
        });
        let reply =
            send_to(&context, Role::Mx, "192.0.2.1", ("joe@far.example", "ann@ours.example"), &["From: joe@far.example\r\n\r\nHi\r\n"])
                .await;
        let events = events(&store, &reply);
        assert!(events.iter().any(|event| matches!(event, Event::Advised { .. })), "{events:?}");
        match (events.last().unwrap(), rejects(&store).as_slice()) {
            (Event::NotKept { reason, .. }, []) => assert_eq!(reason, want),
            (Event::Kept { .. }, [message]) => {
                assert!(want.is_empty() && message.contains("X-Scanned: yes\r\n"), "{message}");
                assert!(message.contains("\r\nX-Postrider-Rejected: 550"), "{message}");
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_full_mailbox_keeps_too_and_wanted_mail_hears_nothing_of_it() {
    let store = store();
    let context = context(&store, |_| ());
    let quota = store.write_blocking(|tx| tx.account_set_quota(ANN, Some(1_500)));
    quota.unwrap();
    for n in 0..5 {
        forge(&context, &[&FORGED.replace("forged@", &format!("{n}@")).replace("Hi", &n.to_string())]).await;
    }
    assert_eq!(rejects(&store).len(), 5);
    let wanted = "From: joe@far.example\r\nSubject: wanted\r\n\r\nHi\r\n";
    let reply = send_to(&context, Role::Mx, "192.0.2.1", ("joe@far.example", "ann@ours.example"), &[wanted]).await;
    assert_eq!(reply.code, 250, "{reply}");
}
