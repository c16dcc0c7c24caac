//! What senders ask to be told (RFC 3461), over two servers, also beyond ASCII (RFC 6533).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test: its purpose is to fail")]

use mail::dsn::{self, Action};
use mail::{Address, BodyType, Notify, Recipient, Ret, ReversePath, Terms};
use sim::World;
use smtp::server::MailCommand;
use std::time::Duration;

fn address(text: &str) -> Address {
    Address::parse(text).unwrap()
}

fn from(text: &str) -> MailCommand {
    MailCommand::new(ReversePath(Some(address(text))))
}

fn to(text: &str, notify: Option<Notify>, original: Option<&str>) -> Recipient {
    Recipient { notify, original: original.map(str::to_owned), ..Recipient::new(address(text)) }
}

const SUCCESS: Notify = Notify { success: true, failure: false, delay: false };
const MESSAGE: &str = "From: ann@a.example\r\nMessage-ID: <m@a.example>\r\nSubject: Lunch\r\n\r\nSoup.\r\n";

/// What is asked goes with the message to the server that delivers it, and comes back in its report, word for word.
#[test]
fn every_parameter_goes_on_and_comes_back() {
    for (ret, returned) in [(Some(Ret::Headers), false), (Some(Ret::Full), true), (None, true)] {
        sim::run(1, async |world| {
            let (a, _) = world.two_hosts();
            let command = MailCommand { ret, envelope_id: Some("QQ+314=159".to_owned()), ..from("ann@a.example") };
            let original = Some("rfc822;Dana@Ivory.example");
            a.submit_command(command, vec![to("nobody@b.example", None, original)], MESSAGE).await;
            world.settle().await;
            let reports = a.inbox("ann@a.example");
            let [report] = reports.as_slice() else { panic!("{reports:?}") };
            let parsed = dsn::parse(report.as_bytes()).unwrap();
            assert_eq!(parsed.envelope_id.as_deref(), Some("QQ+314=159"), "{report}");
            assert!(report.contains("\r\nOriginal-Recipient: rfc822;Dana@Ivory.example\r\n"), "{report}");
            assert!(report.contains("\r\nFinal-Recipient: rfc822; nobody@b.example\r\n"), "{report}");
            assert_eq!(report.contains("\r\nSoup.\r\n"), returned, "{report}");
            assert_eq!(report.contains("Content-Type: message/rfc822"), returned, "{report}");
            assert_eq!(parsed.recipients[0].action, Action::Failed, "{report}");
        });
    }
}

/// Which reports come for which NOTIFY, by what becomes of the message; the server that delivers makes that of success.
#[test]
fn what_is_told_is_what_was_asked() {
    let all = Notify { success: true, failure: true, delay: true };
    for (recipient, notify, want) in [
        ("bob@b.example", None, None),
        ("bob@b.example", Some(SUCCESS), Some((Action::Delivered, "mx.b.example"))),
        ("bob@b.example", Some(all), Some((Action::Delivered, "mx.b.example"))),
        ("bob@b.example", Some(Notify::NEVER), None),
        ("nobody@b.example", None, Some((Action::Failed, "mx.a.example"))),
        ("nobody@b.example", Some(SUCCESS), None),
        ("nobody@b.example", Some(Notify::NEVER), None),
        ("joe@a.example", Some(SUCCESS), Some((Action::Delivered, "mx.a.example"))),
    ] {
        sim::run(1, async |world| {
            let (a, _) = world.two_hosts();
            a.account("joe@a.example");
            a.submit_command(from("ann@a.example"), vec![to(recipient, notify, None)], MESSAGE).await;
            world.settle().await;
            let reports = a.inbox("ann@a.example");
            let told: Vec<_> = reports.iter().map(|report| dsn::parse(report.as_bytes()).unwrap().recipients[0].action).collect();
            assert_eq!(told, want.iter().map(|(action, _)| *action).collect::<Vec<_>>(), "{recipient} {notify:?}");
            if let Some((_, host)) = want {
                assert!(reports[0].contains(&format!("\r\nReporting-MTA: dns; {host}\r\n")), "{}", reports[0]);
            }
        });
    }
}

/// A report of what was to leave later says so, as it was asked (RFC 4865 §4.5).
#[test]
fn a_later_release_is_named() {
    sim::run(1, async |world: &World| {
        let (a, _) = world.two_hosts();
        let terms = Terms { hold_until: Some(world.now().after(Duration::from_mins(1))), ..Terms::default() };
        let command = MailCommand { terms, release_request: Some("for;60".to_owned()), ..from("ann@a.example") };
        a.submit_command(command, vec![to("nobody@b.example", None, None)], MESSAGE).await;
        world.settle().await;
        assert!(a.inbox("ann@a.example")[0].contains("\r\nFuture-Release-Request: for;60\r\n"), "{:?}", a.inbox("ann@a.example"));
    });
}

/// Addresses and headers beyond ASCII, and the report about them, are in UTF-8 from one end to the other.
#[test]
fn reports_beyond_ascii_are_read_by_those_who_can() {
    sim::run(1, async |world| {
        let (a, b) = world.two_hosts();
        a.account("jörg@a.example");
        b.account("bøb@b.example");
        let command = MailCommand { smtputf8: true, body: BodyType::EightBitMime, ..from("jörg@a.example") };
        let message = "From: jörg@a.example\r\nTo: bøb@b.example\r\nMessage-ID: <m@a.example>\r\nSubject: Grüße\r\n\r\nHallo.\r\n";
        let recipients =
            vec![to("bøb@b.example", Some(SUCCESS), None), to("niemand-ø@b.example", None, Some("utf-8;niemand-\\x{F8}@b.example"))];
        a.submit_command(command, recipients, message).await;
        world.settle().await;
        assert!(b.inbox("bøb@b.example")[0].contains("\r\nSubject: Grüße\r\n"), "{:?}", b.inbox("bøb@b.example"));
        let reports = a.inbox("jörg@a.example");
        assert_eq!(reports.len(), 2, "{reports:?}");
        for (action, recipient) in [("delivered", "bøb@b.example"), ("failed", "niemand-ø@b.example")] {
            let report = reports.iter().find(|report| report.contains(&format!("\r\nAction: {action}\r\n"))).expect("a report");
            for line in [
                "report-type=global-delivery-status".to_owned(),
                "Content-Type: message/global-delivery-status".to_owned(),
                format!("\r\nFinal-Recipient: utf-8; {recipient}\r\n"),
                "Subject: Grüße\r\n".to_owned(),
            ] {
                assert!(report.contains(&line), "{line}\n{report}");
            }
            let parsed = dsn::parse(report.as_bytes()).unwrap();
            assert_eq!(parsed.recipients.len(), 1, "{report}");
        }
        let failed = reports.iter().find(|report| report.contains("\r\nAction: failed\r\n")).unwrap();
        assert!(failed.contains("\r\nOriginal-Recipient: utf-8;niemand-\\x{F8}@b.example\r\n"), "{failed}");
    });
}

/// A binary message, and an 8-bit one, over a server that takes the octets as they are: nothing is changed on the way but
/// for the reader.
#[test]
fn binary_mail_arrives_for_readers_of_lines() {
    sim::run(1, async |world| {
        let (a, b) = world.two_hosts();
        let command = MailCommand { body: BodyType::BinaryMime, ..from("ann@a.example") };
        let message = "From: ann@a.example\r\nMessage-ID: <m@a.example>\r\nContent-Type: image/gif\r\nContent-Transfer-Encoding: binary\r\n\r\nG\0F\n";
        a.submit_command(command, vec![to("bob@b.example", None, None)], message).await;
        world.settle().await;
        let got = b.inbox("bob@b.example");
        assert!(got[0].contains("Content-Transfer-Encoding: base64\r\n\r\nRwBGCg==\r\n"), "{got:?}");
    });
}
