//! What others write in our name reaches nobody: not our readers, not whom mail is forwarded to, by whichever door it comes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test: its purpose is to fail")]

use super::authentication::{latest, send_to};
use super::forwarding::{aliases, queue, set};
use mail::{Address, Recipient, ReversePath, Role as MailboxRole, header};
use mta::receive::Receiver;
use net::FakeDns;
use smtp::server::{Answer, Ask, MailCommand, Role};
use wire::Handler as _;

/// Each of them says something that only we may say; all but the first hide it.
const FORGED: [&str; 7] = [
    "Authentication-Results: mx.ours.example; dmarc=pass header.from=forged.example\r\n",
    "AUTHENTICATION-RESULTS\t:\r\n (a;b)\r\n \"mx.OURS.example.\" 1;\r\n dmarc=pass header.from=forged.example\r\n",
    "Authentication-Results: mx.(x)ours.example; dmarc=pass header.from=forged.example\r\n",
    "X-Postrider-Verdict: accept; forged\r\n",
    "x-postrider-verdict :\r\n\taccept;\r\n forged\r\n",
    "X-Postrider-Not-Forwarded: to forged@there.example:\r\n forged\r\n",
    "Return-Path: <forged@far.example>\r\n",
];

/// In a message that is attached nothing is ours to touch.
const ATTACHED: &str = "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: message/rfc822\r\n\r\n\
    Authentication-Results: mx.ours.example; dmarc=pass\r\nX-Postrider-Verdict: accept\r\nReturn-Path: <a@b>\r\n\r\nx\r\n--b--\r\n";

#[tokio::test]
async fn by_no_door_and_to_nobody() {
    let top = FORGED.concat();
    let between = FORGED.map(|field| format!("X-Other: x\r\n{field}")).concat();
    for fields in [&top, &between] {
        let text = |author: &str| format!("{fields}From: {author}\r\nMessage-ID: <a@b>\r\nDate: x\r\nSubject: x\r\n{ATTACHED}");
        let (strange, ours) = (text("joe@far.example"), text("ann@ours.example"));
        for (role, peer, from, to, message) in [
            (Role::Mx, "192.0.2.1", "joe@far.example", "ann@ours.example", &strange),
            (Role::Mx, "127.0.0.1", "joe@far.example", "ann@ours.example", &strange),
            (Role::Mx, "192.0.2.1", "joe@far.example", "away@ours.example", &strange),
            (Role::Submission, "192.0.2.1", "ann@ours.example", "ann@ours.example", &ours),
            (Role::Submission, "192.0.2.1", "ann@ours.example", "joe@far.example", &ours),
        ] {
            let long = format!("{message}{}", "text\r\n".repeat(20_000));
            let (half, rest) = long.split_at(70_000);
            for chunks in [&[message.as_str()][..], &[half, rest]] {
                let store = aliases();
                let context = set(&store, FakeDns::new(), |_| ());
                let reply = send_to(&context, role, peer, (from, to), chunks).await;
                assert_eq!(reply.code, 250, "{reply}");
                let got = latest(&store, MailboxRole::Inbox).unwrap_or_else(|| {
                    let queued = queue(&store).pop().expect("it is somewhere");
                    let (blob, skip) = (queued.blob, u64::from(queued.skip_octets));
                    String::from_utf8(store.read_blocking(move |tx| tx.blob_read(&blob, skip, usize::MAX)).unwrap()).unwrap()
                });
                let (block, body) = got.split_at(header::body_start(got.as_bytes()));
                assert!(!block.contains("forged"), "{role:?} {peer} {to}\n{block}");
                assert!(block.matches("Return-Path").count() <= 1 && block.contains("Subject: x\r\n"), "{block}");
                assert!(body.starts_with(ATTACHED.split_once("\r\n\r\n").unwrap().1), "{body:.300}");
            }
        }
    }
}

#[tokio::test]
async fn local_programs_may_give_back_what_they_had_from_us() {
    let store = aliases();
    let context = set(&store, FakeDns::new(), |_| ());
    let text = format!("{}From: joe@far.example\r\n\r\nx\r\n", FORGED[0]);
    let mut receiver = Receiver::new(context, Role::Lmtp, "127.0.0.1".parse().unwrap());
    receiver.answer(Ask::Mail(MailCommand::new(ReversePath(None)))).await;
    receiver.answer(Ask::Rcpt(Recipient::new(Address::parse("ann@ours.example").unwrap()))).await;
    let answer = receiver.answer(Ask::Data { last: text.into_bytes() }).await;
    assert!(matches!(answer, Answer::Replies(_)));
    assert!(latest(&store, MailboxRole::Inbox).unwrap().contains(FORGED[0]));
}

/// By BDAT octets come that are no lines; what readers get of them is made lines later.
#[tokio::test]
async fn a_bare_cr_hides_no_field() {
    let tail = "text\r\n".repeat(20_000);
    for header in ["Subject: x\rAuthentication-Results: mx.ours.example; dmarc=pass\r\n", "Subject: x\r\rReturn-Path: <a@b>\r\n", "\r"] {
        let text = format!("From: joe@far.example\r\n{header}\r\n\r\nx\r\n{tail}");
        let (half, rest) = text.split_at(70_000);
        for chunks in [&[text.as_str()][..], &[half, rest]] {
            let store = aliases();
            let context = set(&store, FakeDns::new(), |_| ());
            let mut receiver = Receiver::new(context, Role::Mx, "192.0.2.1".parse().unwrap());
            receiver.answer(Ask::Mail(MailCommand::new(ReversePath(None)))).await;
            receiver.answer(Ask::Rcpt(Recipient::new(Address::parse("ann@ours.example").unwrap()))).await;
            let (last, first) = chunks.split_last().unwrap();
            let mut answers = Vec::new();
            for chunk in first {
                answers.push(receiver.answer(Ask::Body(chunk.as_bytes().to_vec())).await);
            }
            answers.push(receiver.answer(Ask::Data { last: last.as_bytes().to_vec() }).await);
            let refused = answers.iter().find_map(|answer| match answer {
                Answer::Reply(reply) => Some((reply.code, reply.status.map(|status| status.to_string()))),
                _ => None,
            });
            assert_eq!(refused, Some((550, Some("5.6.0".to_owned()))), "{header:?}");
            assert_eq!(latest(&store, MailboxRole::Inbox), None);
        }
    }
}
