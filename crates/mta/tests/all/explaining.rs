//! What was decided about a message is decided again from its trail, octet for octet; refused mail has a receipt and a
//! trail; other settings give what they would have given.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test: its purpose is to fail")]

use crate::authentication::{NOW, context, dns, latest, send_to, store};
use mail::{AccountId, Address, Event, ReceiptId, Role as MailboxRole, TrailEntry};
use mta::explain::{self, Policy, Unknown};
use mta::settings::Dmarc;
use smtp::server::Role;
use std::collections::BTreeMap;
use store::Store;

fn trail(store: &Store, receipt: ReceiptId) -> Vec<TrailEntry> {
    store.read_blocking(move |tx| tx.trail(receipt)).unwrap()
}

/// The receipt that a reply names, taken or refused.
fn receipt(text: &str) -> ReceiptId {
    text.split_whitespace().find_map(|word| word.parse().ok()).unwrap_or_else(|| panic!("no receipt in {text:?}"))
}

fn results(trail: &[TrailEntry]) -> Option<String> {
    trail.iter().find_map(|entry| match &entry.event {
        Event::Authenticated { results, .. } => Some(results.clone()),
        _ => None,
    })
}

/// A message of many kinds: authors whose domains pass, fail, ask for Junk or say nothing; words of many sorts; files.
fn message(n: usize) -> (String, String, String) {
    let authors = ["joe@far.example", "joe@doubt.example", "x@nowhere.example", "joe@sub.far.example", "ann@ours.example"];
    let author = authors[n % authors.len()];
    let words: Vec<String> = (0..n % 37).map(|at| format!("w{}", (n * 7 + at * 13) % 90)).collect();
    let file = match n % 11 {
        0 => {
            "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nSee.\r\n--b\r\nContent-Type: x/y; name=\"a.exe\"\r\n\r\nMZ\r\n--b--\r\n"
        }
        _ => "\r\n",
    };
    let message = format!(
        "From: {author}\r\nDate: x\r\nMessage-ID: <{n}@x.example>\r\nSubject: {}\r\n{file}{}\r\n",
        words.join(" "),
        words.join("\r\n")
    );
    let peer = if n.is_multiple_of(3) { "192.0.2.1" } else { "192.0.2.99" };
    (peer.to_owned(), author.to_owned(), message)
}

#[tokio::test]
async fn a_thousand_decisions_are_made_again() {
    let store = store();
    let context = context(&store, dns(), Dmarc::Obey);
    let mut counted = BTreeMap::new();
    for n in 0..1_000 {
        let (peer, author, message) = message(n);
        let reply = send_to(&context, Role::Mx, &peer, (&author, "ann@ours.example"), &[&message]).await;
        let trail = trail(&store, receipt(&reply.text));
        let again = explain::again(&trail, None).unwrap_or_else(|unknown| panic!("{n}: {unknown}"));
        assert_eq!(again.results, results(&trail), "{n}");
        assert_eq!((again.was.refused, reply.code), (reply.code == 550, if again.was.refused { 550 } else { 250 }), "{n} {reply}");
        if reply.code == 250 {
            let role = if again.was.junk.is_empty() { MailboxRole::Inbox } else { MailboxRole::Junk };
            let stored = latest(&store, role).unwrap();
            assert!(stored.contains(&format!("<{n}@x.example>")), "{n} is elsewhere");
            let verdict = again.verdicts[&AccountId(1)].short();
            assert!(stored.contains(&format!("X-Postrider-Verdict: {verdict}\r\n")), "{n}: {verdict}\n{stored}");
            assert_eq!(again.was, explain::was(&trail), "{n}");
        }
        *counted.entry((reply.code, again.was.junk.len(), again.verdicts.values().any(|one| one.opinion.is_some()))).or_insert(0) += 1;
        // People teach meanwhile: what was known then must come from the trail.
        if n % 40 == 39 {
            teach(&store, n).await;
        }
    }
    let kinds: Vec<_> = counted.keys().copied().collect();
    assert!(kinds.contains(&(550, 0, false)) && kinds.contains(&(250, 0, true)) && kinds.contains(&(250, 1, true)), "{counted:?}");
}

/// Moves the latest of the inbox into Junk, or into the archive.
async fn teach(store: &Store, n: usize) {
    let to = if (n / 40).is_multiple_of(2) { MailboxRole::Junk } else { MailboxRole::Archive };
    let moved = store.write(move |tx| {
        let account = AccountId(1);
        let inbox = tx.mailbox_by_role(account, MailboxRole::Inbox)?.unwrap();
        let to = tx.mailbox_by_role(account, to)?.unwrap().id;
        let first = inbox.uid_next.0.saturating_sub(12).max(1);
        tx.email_move(account, inbox.id, &format!("{first}:{}", inbox.uid_next.0).parse().unwrap(), to, NOW)
    });
    moved.await.unwrap();
}

#[tokio::test]
async fn refused_mail_names_a_receipt_and_can_be_explained() {
    let store = store();
    let context = context(&store, dns(), Dmarc::Obey);
    let forged = "From: joe@far.example\r\nMessage-ID: <forged@far.example>\r\n\r\nHi\r\n";
    let reply = send_to(&context, Role::Mx, "192.0.2.66", ("x@y.example", "ann@ours.example"), &[forged]).await;
    assert_eq!((reply.code, reply.text.contains("; receipt ")), (550, true), "{reply}");
    let trail = trail(&store, receipt(&reply.text));
    let Event::Rejected { message_id, recipients, octets, code, .. } = &trail[0].event else { panic!("{trail:?}") };
    assert_eq!((message_id.as_deref(), recipients.len(), *octets, *code), (Some("forged@far.example"), 1, forged.len() as u64, 550));
    assert_eq!(store.read_blocking(|tx| tx.receipts_by_message_id("<forged@far.example>")).unwrap(), [receipt(&reply.text)]);
    assert!(explain::again(&trail, None).unwrap().was.refused);
    let milder = Policy { dmarc: Dmarc::Junk, ..Policy::of(&context.settings) };
    assert!(!explain::again(&trail, Some(&milder)).unwrap().was.refused);
}

#[tokio::test]
async fn other_settings_give_what_they_would_have_given() {
    let store = store();
    let context = context(&store, dns(), Dmarc::Obey);
    let program = "From: joe@far.example\r\nDate: x\r\nMessage-ID: <p@far.example>\r\nContent-Type: x/y; name=a.exe\r\n\r\nMZ\r\n";
    let reply = send_to(&context, Role::Mx, "192.0.2.1", ("joe@far.example", "ann@ours.example"), &[program]).await;
    let trail = trail(&store, receipt(&reply.text));
    let policy = Policy::of(&context.settings);
    let judged = |junk_at, reject_at| Policy { judgement: filter::Settings { junk_at, reject_at }, ..policy };
    let tried = |policy: &Policy| explain::again(&trail, Some(policy)).map(|again| (again.was.refused, again.was.junk.len()));
    assert_eq!(tried(&policy), Ok((false, 1)), "a program is five points");
    assert_eq!(tried(&judged(600, None)), Ok((false, 0)));
    assert_eq!(tried(&judged(300, Some(500))), Ok((true, 1)));
    assert_eq!(tried(&Policy { judges: false, ..policy }), Ok((false, 0)));
    let other = Policy { discovery: mailauth::dmarc::Discovery::PublicSuffix, ..policy };
    assert!(matches!(tried(&other), Ok(_) | Err(Unknown::NotAsked(_))));
    let without: Vec<_> = trail.iter().filter(|entry| !matches!(entry.event, Event::Grounds { .. })).cloned().collect();
    assert_eq!(explain::again(&without, None), Err(Unknown::NotKept("authentication")));
    assert_eq!(explain::again(&trail[..0], None), Err(Unknown::Unchecked));
}

#[tokio::test]
async fn who_files_a_message_later_knows_whether_it_is_for_junk() {
    let store = store();
    let context = context(&store, dns(), Dmarc::Obey);
    let check = async |peer: &str, author: &str, file: &str, want: [bool; 2]| {
        let mail = format!("From: {author}\r\nDate: x\r\nMessage-ID: <{peer}@x>\r\nContent-Type: x/y; name={file}\r\n\r\nMZ\r\n");
        let reply = send_to(&context, Role::Mx, peer, (author, "ann@ours.example"), &[&mail]).await;
        let trail = trail(&store, receipt(&reply.text));
        assert_eq!([1, 2].map(|account| explain::is_junk(&trail, AccountId(account))), want, "{author} {file}");
    };
    check("192.0.2.1", "joe@far.example", "a.txt", [false, false]).await;
    // What a reader's verdict says is his; what the author's domain asks for is everybody's.
    check("192.0.2.1", "joe@far.example", "a.exe", [true, false]).await;
    check("192.0.2.66", "joe@doubt.example", "a.txt", [true, true]).await;
}

#[tokio::test]
async fn what_authors_domains_are_told_is_counted_with_the_message() {
    let store = store();
    let dns = dns().with_txt(&mail::Domain::parse("_dmarc.told.example").unwrap(), "v=DMARC1; p=reject; rua=mailto:d@told.example");
    let context = context(&store, dns, Dmarc::Obey);
    let mail = "From: joe@told.example\r\n\r\nHi\r\n";
    for _ in 0..2 {
        let reply = send_to(&context, Role::Mx, "192.0.2.66", ("x@y.example", "ann@ours.example"), &[mail]).await;
        assert_eq!(reply.code, 550, "{reply}");
    }
    send_to(&context, Role::Mx, "192.0.2.1", ("joe@far.example", "ann@ours.example"), &["From: joe@far.example\r\n\r\nHi\r\n"]).await;
    let day = store.read_blocking(store::ReadTx::dmarc_first_day).unwrap().unwrap();
    let found = store.read_blocking(move |tx| {
        let domains = tx.dmarc_domains(day)?;
        let figures = domains.iter().map(|domain| tx.dmarc_figures(day, domain)).collect::<store::Result<Vec<_>>>()?;
        Ok((domains, figures))
    });
    let (domains, figures) = found.unwrap();
    assert_eq!(domains.iter().map(mail::Domain::as_str).collect::<Vec<_>>(), ["told.example"], "far.example wants none");
    let [(row, 2)] = figures[0].as_ref().unwrap().rows.as_slice() else { panic!("{figures:?}") };
    let row: mailauth::dmarc::aggregate::Row = serde_json::from_str(row).unwrap();
    assert_eq!([row.source, row.disposition, row.dkim, row.header_from], ["192.0.2.66", "reject", "fail", "told.example"]);
}

#[tokio::test]
async fn reports_that_come_in_are_kept() {
    let store = store();
    let context = context(&store, dns(), Dmarc::Ignore);
    let xml = "<feedback><report_metadata><org_name>o</org_name><report_id>1</report_id></report_metadata>\
        <policy_published><domain>ours.example</domain><p>none</p></policy_published></feedback>";
    let aggregate = format!(
        "From: r@o.example\r\nSubject: Report Domain: ours.example Submitter: o Report-ID: <1>\r\nContent-Type: text/xml; name=\"o!ours.example!1!2.xml\"\r\n\r\n{xml}\r\n"
    );
    let to = Address::parse("ann@ours.example").unwrap().to_string();
    send_to(&context, Role::Mx, "192.0.2.1", ("r@o.example", &to), &[&aggregate]).await;
    let kept = store.read_blocking(|tx| tx.dmarc_reports(mail::Timestamp(0))).unwrap();
    let [(_, kept)] = kept.as_slice() else { panic!("{kept:?}") };
    let report: mailauth::dmarc::aggregate::Report = serde_json::from_str(kept).unwrap();
    assert_eq!((report.organization.as_str(), report.published.domain.as_str()), ("o", "ours.example"));
}
