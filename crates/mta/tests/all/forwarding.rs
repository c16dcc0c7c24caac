//! Mail that aliases lead elsewhere: what survives DMARC is sent on, sealed; what does not is kept, and says so. And the
//! return paths of recipients.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test: its purpose is to fail")]

use super::authentication::{context, dns, domain, latest, send_to, store};
use super::context::NOW;
use mail::{Address, Event, ReceiptId, Role as MailboxRole, Timestamp};
use mailauth::arc::ArcResult;
use mailauth::dkim::{Algorithm, PrivateKey};
use mailauth::dns::Step;
use mailauth::spf::Session;
use mailauth::{Evidence, Limits};
use mta::receive::Context;
use mta::route::Sender;
use mta::settings::Dmarc;
use net::FakeDns;
use smtp::Reply;
use smtp::server::Role;
use std::sync::Arc;
use store::{DkimKey, DkimKeyState, QueueMessage, Store, Target};

const TEXT: &str = "From: joe@far.example\r\nSubject: x\r\n\r\nHi\r\n";

fn address(text: &str) -> Address {
    Address::parse(text).unwrap()
}

/// away@ours.example leads to joe@there.example; both@ours.example to ann, too.
pub(super) fn aliases() -> Store {
    let store = store();
    let written = store.write_blocking(|tx| {
        tx.secret_keep(store::RETURN_PATH_SECRET, [7; 32])?;
        let (ann, there) = (Target::Account(mail::AccountId(1)), Target::Address(address("joe@there.example")));
        tx.alias_set(&address("away@ours.example"), vec![there.clone()])?;
        tx.alias_set(&address("both@ours.example"), vec![ann, there])
    });
    written.unwrap();
    store
}

fn trail(store: &Store, reply: &Reply) -> Vec<Event> {
    let receipt: ReceiptId = reply.text.split(' ').next().unwrap().parse().unwrap();
    store.read_blocking(move |tx| tx.trail(receipt)).unwrap().into_iter().map(|entry| entry.event).collect()
}

pub(super) fn queue(store: &Store) -> Vec<QueueMessage> {
    store.read_blocking(|tx| tx.queue_all(ReceiptId(0), 100)).unwrap()
}

/// A context whose settings are changed.
pub(super) fn set(store: &Store, dns: FakeDns, change: impl FnOnce(&mut mta::Settings)) -> Arc<Context> {
    let mut context = context(store, dns, Dmarc::Obey);
    change(Arc::make_mut(&mut Arc::get_mut(&mut context).unwrap().settings));
    context
}

#[tokio::test]
async fn what_only_spf_stands_for_is_kept_where_somebody_can_keep_it() {
    let keep_at = |settings: &mut mta::Settings| settings.forwarding.keep_at = Some(address("ann@ours.example"));
    let all = |settings: &mut mta::Settings| settings.forwarding.keep = false;
    for (to, change, kept, queued, said) in [
        ("both@ours.example", None, true, false, "it is in the mailbox here"),
        ("away@ours.example", None, false, true, "nobody here could keep it"),
        ("away@ours.example", Some(&keep_at as &dyn Fn(&mut mta::Settings)), true, false, "ann@ours.example keeps it"),
        ("both@ours.example", Some(&all), true, true, "sent all the same: far.example asks for reject"),
    ] {
        let store = aliases();
        let context = set(&store, dns(), |settings| change.into_iter().for_each(|change| change(settings)));
        let reply = send_to(&context, Role::Mx, "192.0.2.1", ("joe@far.example", to), &[TEXT]).await;
        assert_eq!(reply.code, 250, "{reply}");
        let words: Vec<_> = trail(&store, &reply)
            .into_iter()
            .filter_map(|event| match event {
                Event::Forwarded { reason, .. } | Event::NotForwarded { reason, .. } => Some(reason),
                _ => None,
            })
            .collect();
        assert!(words.len() == 1 && words[0].contains(said), "{to} {words:?}");
        let inbox = latest(&store, MailboxRole::Inbox);
        assert_eq!((inbox.is_some(), queue(&store).len() == 1), (kept, queued), "{to}");
        let told = inbox.is_some_and(|inbox| inbox.contains("X-Postrider-Not-Forwarded: to joe@there.example:\r\n far.example asks"));
        assert_eq!(told, kept && !queued, "{to}");
    }
}

#[tokio::test]
async fn what_is_forwarded_is_sealed_and_has_a_sender_of_ours() {
    let store = aliases();
    let algorithm = Algorithm::RsaSha256;
    let pkcs8 = PrivateKey::generate(algorithm).unwrap();
    let record = PrivateKey::parse(algorithm, &pkcs8).unwrap().public().record();
    let key = DkimKey {
        algorithm: algorithm.as_str().to_owned(),
        pkcs8,
        record: record.clone(),
        state: DkimKeyState::Signing,
        created: NOW,
        changed: NOW,
    };
    store.write_blocking(move |tx| tx.dkim_key_add(&domain("ours.example"), "s", &key)).unwrap();
    let quiet = FakeDns::new().with_txt(&domain("far.example"), "v=spf1 ip4:192.0.2.1 -all");
    let long = format!("{TEXT}{}", "text\r\n".repeat(20_000));
    let (half, rest) = long.split_at(70_000);
    for chunks in [&[TEXT][..], &[half, rest]] {
        let context = set(&store, quiet.clone(), |_| ());
        let reply = send_to(&context, Role::Mx, "192.0.2.1", ("joe@far.example", "away@ours.example"), chunks).await;
        assert_eq!(reply.code, 250, "{reply}");
        let message = queue(&store).pop().unwrap();
        assert_eq!(message.reverse_path.to_string(), "joe@far.example", "reports of ours go to the sender");
        let sender = message.return_path(0).to_string();
        assert!(sender.starts_with("SRS0=") && sender.ends_with("=far.example=joe@ours.example"), "{sender}");
        let (blob, skip) = (message.blob, u64::from(message.skip_octets));
        let sent = store.read_blocking(move |tx| tx.blob_read(&blob, skip, usize::MAX)).unwrap();
        let evidence = Evidence::of(&sent, &Limits::default());
        let session = Session { peer: "192.0.2.7".parse().unwrap(), helo: "x", receiver: "x", now: NOW };
        let mut answers = mailauth::dns::Recorded::default();
        let outcome = loop {
            match evidence.step(&session, "", &mailauth::Settings::default(), &answers) {
                Step::Done(outcome) => break outcome,
                Step::Need(questions) => questions.into_iter().for_each(|question| {
                    let is_key = question == mail::lookup::Question::Txt("s._domainkey.ours.example".to_owned());
                    let answer =
                        if is_key { mail::lookup::Answer::Txt(vec![record.clone().into_bytes()]) } else { mail::lookup::Answer::NoName };
                    answers.put(question, answer);
                }),
            }
        };
        assert_eq!((outcome.arc.result, outcome.arc.sets), (ArcResult::Pass, 1), "{:.900}", String::from_utf8_lossy(&sent));
        assert!(outcome.arc.first_results.is_some_and(|results| results.contains("spf=pass")));
    }
}

#[tokio::test]
async fn each_recipient_has_a_return_path_and_what_comes_there_is_known() {
    let store = aliases();
    let context = set(&store, FakeDns::new(), |settings| {
        settings.delivery.return_paths = vec![Sender::parse("ann@ours.example").unwrap()];
        settings.suppression.after = 1;
    });
    let text = "From: ann@ours.example\r\n\r\nHi\r\n";
    let reply = send_to(&context, Role::Submission, "192.0.2.7", ("ann@ours.example", "bob@there.example"), &[text]).await;
    let message = queue(&store).pop().unwrap();
    let return_path = message.return_path(0).to_string();
    assert!(return_path.starts_with("ann+b-") && return_path.ends_with("@ours.example"), "{return_path}");
    let report = "From: MAILER-DAEMON@there.example\r\nContent-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\n\
        --b\r\n\r\nSorry.\r\n--b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; there.example\r\n\r\n\
        Final-Recipient: rfc822; other@there.example\r\nAction: failed\r\nStatus: 5.1.1\r\nDiagnostic-Code: smtp; 550 User unknown\r\n\r\n--b--\r\n";
    // A mail of somebody to that address is mail like any other.
    send_to(&context, Role::Mx, "192.0.2.9", ("joe@far.example", &return_path), &[report]).await;
    let suppressed = || store.read_blocking(|tx| tx.suppressed(Some(mail::AccountId(1)), &address("bob@there.example"), NOW)).unwrap();
    assert!(suppressed().is_none());
    let returned = send_to(&context, Role::Mx, "192.0.2.9", ("<>", &return_path), &[report]).await;
    assert!(latest(&store, MailboxRole::Inbox).unwrap().contains("MAILER-DAEMON"), "{returned}");
    let events = trail(&store, &reply);
    let Some(Event::Returned { recipient, class, reason, .. }) = events.last() else { panic!("{events:?}") };
    assert_eq!((recipient.to_string().as_str(), class.as_str(), reason.as_str()), ("bob@there.example", "bad-mailbox", "550 User unknown"));
    assert!(suppressed().is_some_and(|known| known.until > Some(Timestamp(NOW.0))));
}
