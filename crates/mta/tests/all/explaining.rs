//! What was decided about a message is decided again from its trail, octet for octet; refused mail has a receipt and a
//! trail; other settings give what they would have given.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test: its purpose is to fail")]

use crate::authentication::{context, dns, send_to, store};
use crate::context::NOW;
use crate::mixed;
use mail::{AccountId, Address, Event, ReceiptId, Role as MailboxRole, TrailEntry, Uid};
use mta::explain::{self, Policy, Unknown};
use mta::receive::Receiver;
use mta::settings::{Dmarc, FirstContact};
use smtp::Reply;
use smtp::server::Role;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
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

/// How often something was seen.
type Seen = BTreeMap<&'static str, usize>;

/// A thousand messages are tried, then brought: the trial foretells reply and trail, and what was decided is decided again
/// from the trail, octet for octet.
#[tokio::test]
async fn a_thousand_decisions_are_foretold_and_made_again() {
    let store = mixed::store();
    let context = mixed::context(&store, mixed::dns(), mixed::settings());
    let mut seen = Seen::new();
    for n in 0..1_000 {
        let (bringer, message) = mixed::case(n);
        let tried = Receiver::try_message(Arc::clone(&context), bringer.clone(), &message).await;
        let (command, reply) = mixed::bring(&context, &bringer, &message).await;
        assert_eq!(
            (tried.command, tried.reply.code, tried.reply.status),
            (command, reply.code, reply.status),
            "{n}: {} {reply}",
            tried.reply
        );
        let Some(receipt) = reply.text.split_whitespace().find_map(|word| word.parse().ok()) else {
            *seen.entry("refused before it came").or_default() += 1;
            continue;
        };
        let trail = trail(&store, receipt);
        assert_eq!(tried.trail, trail, "{n}");
        if reply.code == 250 && bringer.recipients.iter().all(|to| to.to_string().starts_with("trap@")) {
            assert_eq!(explain::again(&trail, None), Err(Unknown::Trapped), "{n}");
            *seen.entry("for traps alone").or_default() += 1;
            continue;
        }
        let again = explain::again(&trail, None).unwrap_or_else(|unknown| panic!("{n}: {unknown}"));
        made_again(&store, n, &trail, &again, &reply);
        count(&mut seen, &trail, &again, &reply);
        // People teach meanwhile: what was known then must come from the trail.
        if n % 25 == 24 {
            teach(&store, n).await;
        }
    }
    for (what, least) in [
        ("refused before it came", 30),
        ("for traps alone", 30),
        ("refused by DMARC", 30),
        ("refused by points", 10),
        ("refused otherwise", 5),
        ("inbox", 100),
        ("junk by points", 50),
        ("junk by DMARC", 10),
        ("forwarded or kept", 30),
        ("several readers", 50),
        ("readers who differ", 2),
        ("block-list", 20),
        ("allow-list", 20),
        ("reputation", 100),
        ("taught", 50),
        ("reply", 10),
        ("correspondent", 20),
        ("imitation", 10),
        ("trap", 20),
        ("DNS failed", 50),
        ("larger than a chunk", 10),
    ] {
        assert!(seen.get(what).copied().unwrap_or_default() >= least, "{what}: {seen:?}");
    }
}

/// What was decided again is what was written and done.
fn made_again(store: &Store, n: usize, trail: &[TrailEntry], again: &explain::Again, reply: &Reply) {
    assert_eq!(again.results, results(trail), "{n}");
    // One that has passed too many servers is refused for that.
    assert_eq!(again.was.refused, reply.code == 550, "{n} {reply}");
    let judged: Vec<_> = trail
        .iter()
        .filter_map(|entry| match &entry.event {
            Event::Judged { account, score, reasons, is_junk, .. } => Some((*account, *score, reasons.clone(), *is_junk)),
            _ => None,
        })
        .collect();
    let decided: Vec<_> = again
        .verdicts
        .iter()
        .map(|(account, verdict)| {
            let reasons: Vec<_> = verdict.reasons.iter().map(|one| (one.weight, format!("{}: {}", one.name, one.words))).collect();
            (*account, verdict.score, reasons, verdict.action != filter::Action::Accept)
        })
        .collect();
    assert_eq!(decided, judged, "{n}");
    if reply.code != 250 {
        return;
    }
    assert_eq!(again.was, explain::was(trail), "{n}");
    for account in &again.was.accounts {
        let role = if again.was.junk.contains(account) { MailboxRole::Junk } else { MailboxRole::Inbox };
        let stored = latest_of(store, *account, role).unwrap_or_else(|| panic!("{n}: nothing for {account}"));
        assert!(stored.contains(&format!("<{n}@x.example>")), "{n} is elsewhere for {account}");
        if let [(_, verdict)] = again.verdicts.iter().collect::<Vec<_>>().as_slice() {
            let field = format!("X-Postrider-Verdict: {}\r\n", verdict.short());
            assert!(stored.contains(&field), "{n}: {field}\n{}", stored.get(..2000).unwrap_or(&stored));
        }
    }
}

fn count(seen: &mut Seen, trail: &[TrailEntry], again: &explain::Again, reply: &Reply) {
    let mut note = |what, is_so: bool| *seen.entry(what).or_default() += usize::from(is_so);
    let has = |is_it: fn(&Event) -> bool| trail.iter().any(|entry| is_it(&entry.event));
    let aside = again.outcome.as_ref().is_some_and(|outcome| explain::sets_aside(outcome, Dmarc::Obey));
    let by_dmarc = again.outcome.as_ref().is_some_and(|outcome| explain::refuses(outcome, Dmarc::Obey));
    note("refused by DMARC", reply.code == 550 && by_dmarc);
    note("refused by points", reply.code == 550 && !by_dmarc);
    note("refused otherwise", reply.code == 554);
    note("inbox", reply.code == 250 && again.was.junk.is_empty());
    note("junk by points", reply.code == 250 && !aside && !again.was.junk.is_empty());
    note("junk by DMARC", reply.code == 250 && aside);
    note("forwarded or kept", has(|event| matches!(event, Event::Forwarded { .. } | Event::NotForwarded { .. })));
    note("several readers", again.verdicts.len() > 1);
    note("readers who differ", again.verdicts.values().any(|one| one.action != again.verdicts.values().next().unwrap().action));
    for name in ["block-list", "allow-list", "reputation", "taught", "reply", "correspondent", "imitation", "trap"] {
        note(name, again.verdicts.values().flat_map(|verdict| &verdict.reasons).any(|reason| reason.name == name));
    }
    note("DNS failed", results(trail).is_some_and(|results| results.contains("temperror")));
    note("larger than a chunk", has(|event| matches!(event, Event::Accepted { octets, .. } if *octets > 65_536)));
}

fn latest_of(store: &Store, account: AccountId, role: MailboxRole) -> Option<String> {
    let read = store.read_blocking(move |tx| {
        let mailbox = tx.mailbox_by_role(account, role)?.unwrap();
        let Some(last) = tx.messages(account, mailbox.id, Uid(mailbox.uid_next.0.saturating_sub(1)), Uid(u32::MAX), 10)?.pop() else {
            return Ok(None);
        };
        tx.blob_read(&last.blob, 0, usize::MAX).map(Some)
    });
    read.unwrap().map(|octets| String::from_utf8_lossy(&octets).into_owned())
}

/// Moves some of the latest of ann's inbox into Junk, or into the archive.
async fn teach(store: &Store, n: usize) {
    let to = if (n / 25).is_multiple_of(2) { MailboxRole::Junk } else { MailboxRole::Archive };
    let moved = store.write(move |tx| {
        let inbox = tx.mailbox_by_role(mixed::ANN, MailboxRole::Inbox)?.unwrap();
        let to = tx.mailbox_by_role(mixed::ANN, to)?.unwrap().id;
        let first = inbox.uid_next.0.saturating_sub(8).max(1);
        tx.email_move(mixed::ANN, inbox.id, &format!("{first}:{}", inbox.uid_next.0).parse().unwrap(), to, NOW)
    });
    moved.await.unwrap();
}

#[tokio::test]
async fn trying_a_message_leaves_nothing_behind() {
    let store = mixed::store();
    let mut settings = mixed::settings();
    settings.receive.filter.first_contact = FirstContact::Grey(Duration::from_mins(5));
    let context = mixed::context(&store, mixed::dns(), settings);
    let before = store.read_blocking(|tx| Ok((tx.trail_receipts_latest(100)?, tx.queue_len()?, tx.mod_seq(mixed::ANN)?))).unwrap();
    for n in 0..60 {
        let (bringer, message) = mixed::case(n);
        let tried = Receiver::try_message(Arc::clone(&context), bringer, &message).await;
        assert!(!tried.trail.is_empty() || !tried.reply.is_positive(), "{n}");
    }
    let after = store.read_blocking(|tx| Ok((tx.trail_receipts_latest(100)?, tx.queue_len()?, tx.mod_seq(mixed::ANN)?))).unwrap();
    assert_eq!(before, after);
    assert_eq!(context.counters.refused.load(Ordering::Relaxed) + context.counters.accepted_mx.load(Ordering::Relaxed), 0);
    // A first contact is told what it would hear at first, and what comes after.
    let (bringer, message) = mixed::case(4 * 13 * 7 + 13);
    let tried = Receiver::try_message(Arc::clone(&context), bringer.clone(), &message).await;
    assert_eq!(tried.come_again.as_ref().map(|reply| reply.code), Some(451), "{tried:?}");
    assert!(tried.trail.iter().any(|entry| matches!(entry.event, Event::Authenticated { .. })));
    let (command, reply) = mixed::bring(&context, &bringer, &message).await;
    assert_eq!((command, reply.code), ("RCPT", 451), "that it was tried is not known");
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
    let judged = |junk_at, reject_at| Policy { judgement: filter::Settings { junk_at, reject_at }, ..policy.clone() };
    let tried = |policy: &Policy| explain::again(&trail, Some(policy)).map(|again| (again.was.refused, again.was.junk.len()));
    assert_eq!(tried(&policy), Ok((false, 1)), "a program is five points");
    assert_eq!(tried(&judged(600, None)), Ok((false, 0)));
    assert_eq!(tried(&judged(300, Some(500))), Ok((true, 1)));
    assert_eq!(tried(&Policy { judges: false, ..policy.clone() }), Ok((false, 0)));
    let other = Policy { discovery: mailauth::dmarc::Discovery::PublicSuffix, ..policy };
    assert!(matches!(tried(&other), Ok(_) | Err(Unknown::NotAsked(_))));
    let without: Vec<_> = trail.iter().filter(|entry| !matches!(entry.event, Event::Grounds { .. })).cloned().collect();
    assert_eq!(explain::again(&without, None), Err(Unknown::NotKept("authentication")));
    assert_eq!(explain::again(&trail[..0], None), Err(Unknown::Unchecked));
}

#[tokio::test]
async fn lists_are_weighed_otherwise_by_the_answers_of_then() {
    let store = mixed::store();
    let context = mixed::context(&store, mixed::dns(), mixed::settings());
    let mail = "From: x@nowhere.example\r\nDate: x\r\nMessage-ID: <l@x.example>\r\n\r\nHi\r\n";
    let to = ("x@nowhere.example", "ann@ours.example");
    let reply = send_to(&context, Role::Mx, "198.51.100.7", to, &[mail]).await;
    let trail = trail(&store, receipt(&reply.text));
    let policy = Policy::of(&context.settings);
    let lists = policy.lists.clone().unwrap();
    let check = |lists: Vec<filter::dnsbl::List>, want: Result<i32, &str>| {
        let again = explain::again(&trail, Some(&Policy { lists: Some(lists), ..policy.clone() }));
        let points = again.map(|again| again.verdicts[&mixed::ANN].score);
        assert_eq!(points.map_err(|unknown| unknown.to_string()), want.map_err(str::to_owned));
    };
    let weighing = |zone: &str, weight: i32| {
        let changed = lists.iter().cloned().map(|list| if list.zone == zone { filter::dnsbl::List { weight, ..list } } else { list });
        changed.collect::<Vec<_>>()
    };
    let unlisted = explain::again(&trail, None).unwrap().verdicts[&mixed::ANN].score - 350;
    check(lists.clone(), Ok(unlisted + 350));
    check(weighing("bl.example", 600), Ok(unlisted + 600));
    check(weighing("wl.example", -900), Ok(unlisted + 350));
    check(Vec::new(), Ok(unlisted));
    check(weighing("broken.example", 100), Ok(unlisted + 350));
    let mut other = lists[0].clone();
    other.zone = "other.example".to_owned();
    check(vec![other], Err("DNS was not asked for A(\"7.100.51.198.other.example\") then"));
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
