//! Mail that was made to cost much: what DNS is asked, and what the trail keeps, stay within bounds whatever it holds.
//!
//! Counts, not times.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test: its purpose is to fail")]

use crate::authentication::domain;
use crate::mixed;
use mail::{Event, TrailEntry};
use mta::explain;
use mta::receive::{Bringer, Context};
use net::FakeDns;
use std::sync::Arc;
use store::Store;

/// Questions for one message: two evaluations of SPF at their limits, keys, policies, lists.
const QUESTIONS_MAX: u64 = 516;
/// What one message leaves in the trail, octets: answers, what is kept of two decisions, and words.
const TRAIL_OCTETS_MAX: usize = 192 * 1024;

/// `fields` before a usual header, and `body` behind it.
fn mail(fields: &str, body: &str) -> Vec<u8> {
    format!("{fields}From: joe@big.example\r\nDate: x\r\nMessage-ID: <h@big.example>\r\nSubject: x\r\n{body}").into_bytes()
}

fn numbered(count: usize, line: impl Fn(usize) -> String) -> String {
    (0..count).map(line).collect()
}

/// A zone made to cost much: includes that include, MX by the hundred, answers of 60 KiB, names that are nowhere.
fn dns() -> FakeDns {
    let long = |start: &str| format!("{start} {}", "x".repeat(60_000));
    let mut dns = FakeDns::new();
    let includes = numbered(20, |n| format!(" include:i{n}.big.example mx:m{n}.big.example exists:%{{ir}}.{n}.big.example ptr"));
    dns = dns.with_txt(&domain("big.example"), &format!("v=spf1{includes} -all"));
    dns = dns.with_txt(&domain("_dmarc.big.example"), &long("v=DMARC1; p=reject; n="));
    for n in 0..20 {
        let name = domain(&format!("i{n}.big.example"));
        for more in 0..40 {
            dns = dns.with_txt(&name, &format!("{more} {}", "y".repeat(1_500)));
        }
        dns = dns.with_txt(&name, &format!("v=spf1{includes} include:big.example ~all"));
        dns = dns.with_txt(&domain(&format!("s{n}._domainkey.big.example")), &long("v=DKIM1; k=rsa; p="));
        for host in 0..100 {
            dns = dns.with_mx(&domain(&format!("m{n}.big.example")), host, Some(&domain(&format!("h{host}.m{n}.big.example"))));
        }
    }
    for n in 0..300 {
        dns = dns.with_ptr("192.0.2.7".parse().unwrap(), &domain(&format!("p{n}.{}.big.example", "z".repeat(60))));
    }
    // A key of 16,384 bits, by its length.
    let huge = mail::encoding::base64(
        &[vec![0x30, 0x82, 0x08, 0x0a, 0x02, 0x82, 0x08, 0x01, 0x00], vec![0xAB; 2_048], vec![2, 3, 1, 0, 1]].concat(),
    );
    dns.with_txt(&domain("huge._domainkey.big.example"), &format!("v=DKIM1; k=rsa; p={huge}"))
}

fn hostile() -> Vec<(&'static str, Vec<u8>)> {
    let signature =
        |n: usize, d: &str| format!("DKIM-Signature: v=1; a=rsa-sha256; d={d}; s=s{n}; h=from:subject; bh=AAAA; b={}\r\n", "A".repeat(340));
    let text = "\r\nHi\r\n";
    let deep = numbered(800, |n| format!("Content-Type: multipart/mixed; boundary=b{n}\r\n\r\n--b{n}\r\n"));
    let nested = numbered(400, |_| "Content-Type: message/rfc822\r\n\r\n".to_owned());
    let parts = numbered(4_000, |n| format!("--b\r\nContent-Type: x/y; name=\"{}{n}.pdf.exe\"\r\n\r\nMZ\r\n", "n".repeat(300)));
    let links = numbered(10_000, |n| format!("<a href=\"http://198.51.100.{}/{}\">https://bank{n}.example/</a>", n % 250, "p".repeat(60)));
    vec![
        ("signatures", mail(&numbered(500, |n| signature(n, "big.example")), text)),
        ("signatures of long domains", mail(&numbered(12, |n| signature(n, &format!("{}.big.example", "d".repeat(15_000)))), text)),
        ("signature by a key of 16,384 bits", mail(&signature(0, "big.example").replace("s=s0", "s=huge"), text)),
        (
            "a signature of many fields",
            mail(&signature(0, "big.example").replace("h=from", &format!("h=from{}", ":x".repeat(7_000))), text),
        ),
        (
            "seals",
            mail(
                &numbered(400, |n| {
                    format!(
                        "ARC-Seal: i={n}; a=rsa-sha256; cv=pass; d=big.example; s=s{}; b=AAAA\r\nARC-Message-Signature: i={n}; a=rsa-sha256; d=big.example; s=s{n}; h=from; bh=AAAA; b=AAAA\r\nARC-Authentication-Results: i={n}; a.example; spf=pass\r\n",
                        n % 20
                    )
                }),
                text,
            ),
        ),
        (
            "fifty seals",
            mail(
                &numbered(50, |n| {
                    let (i, long) = (n + 1, "r".repeat(3_000));
                    format!(
                        "ARC-Seal: i={i}; a=rsa-sha256; cv={}; d=d{n}.big.example; s=s{n}; b=AAAA\r\nARC-Message-Signature: i={i}; a=rsa-sha256; d=big.example; s=s{n}; h=from; bh=AAAA; b=AAAA\r\nARC-Authentication-Results: i={i}; a.example; spf=pass reason={long}\r\n",
                        if n == 0 { "none" } else { "pass" }
                    )
                }),
                text,
            ),
        ),
        ("traces", mail(&"Received: from a by b; x\r\n".repeat(9_000), text)),
        ("forged results", mail(&"Authentication-Results: mx.ours.example; dmarc=pass\r\n".repeat(4_500), text)),
        ("authors", mail(&format!("From: {}\r\n", numbered(9_000, |n| format!("a@b{n}.example, "))), text)),
        (
            "a long author",
            mail(&format!("From: \"{} <x@{}.example>\" <joe@big.example>\r\n", "n".repeat(100_000), "d".repeat(60_000)), text),
        ),
        ("a long subject", mail(&format!("Subject: {}\r\n", "win money now ".repeat(15_000)), text)),
        ("a long Message-ID", mail(&format!("Message-ID: <{}@x.example>\r\n", "m".repeat(200_000)), text)),
        ("references", mail(&format!("References: {}\r\n", numbered(9_000, |n| format!("<{n}@x.example> "))), text)),
        ("deep MIME", mail("", &deep)),
        ("nested messages", mail("", &nested)),
        ("parts with long names", mail("Content-Type: multipart/mixed; boundary=b\r\n", &format!("\r\n{parts}--b--\r\n"))),
        ("links", mail("Content-Type: text/html\r\n", &format!("\r\n{links}"))),
        (
            "much behind Base64",
            mail(
                "Content-Type: text/html\r\nContent-Transfer-Encoding: base64\r\n",
                &format!("\r\n{}", mail::encoding::base64_lines(&vec![b'a'; 2 << 20])),
            ),
        ),
        ("words", mail("", &format!("\r\n{}", numbered(100_000, |n| format!("word{n} "))))),
        ("one line", mail("", &format!("\r\n{}", "!".repeat(2 << 20)))),
    ]
}

fn trail_of(store: &Store, reply: &smtp::Reply) -> Vec<TrailEntry> {
    let Some(receipt) = reply.text.split_whitespace().find_map(|word| word.parse().ok()) else { return Vec::new() };
    store.read_blocking(move |tx| tx.trail(receipt)).unwrap()
}

#[tokio::test]
async fn what_hostile_mail_asks_and_leaves_is_bounded() {
    let mut worst = (0, 0);
    for (what, message) in hostile() {
        let dns = Arc::new(dns());
        let store = mixed::store();
        let context = mixed::context(&store, FakeDns::new(), mixed::settings());
        let context = Arc::new(Context { dns: Some(Arc::clone(&dns) as _), ..Arc::into_inner(context).unwrap() });
        let many =
            [mixed::address("team@ours.example")].into_iter().chain((0..200).map(|n| mixed::address(&format!("ann+{n}@ours.example"))));
        let bringer = Bringer {
            peer: "192.0.2.7".parse().unwrap(),
            helo: "big.example".to_owned(),
            reverse_path: mail::ReversePath(Some(mixed::address("joe@big.example"))),
            recipients: many.collect(),
        };
        let (_, reply) = mixed::bring(&context, &bringer, &message).await;
        let trail = trail_of(&store, &reply);
        let octets = trail.iter().map(octets).sum();
        eprintln!("{what}: {} octets, {reply}: {} questions, {octets} octets of trail", message.len(), dns.asked());
        assert!(dns.asked() <= QUESTIONS_MAX, "{what}: {} questions", dns.asked());
        assert!(octets <= TRAIL_OCTETS_MAX, "{what}: {octets} octets of trail: {:?}", largest(&trail));
        if trail.iter().any(|entry| matches!(entry.event, Event::Authenticated { .. })) {
            let again = explain::again(&trail, None).unwrap_or_else(|unknown| panic!("{what}: {unknown}"));
            assert_eq!(again.was.refused, reply.code == 550, "{what}");
        }
        worst = (worst.0.max(dns.asked()), worst.1.max(octets));
    }
    assert!(worst.0 > 50 && worst.1 > 10_000, "nothing here is hostile: {worst:?}");
}

/// What an event takes in the trail; JSON has four octets for one of DNS.
fn octets(entry: &TrailEntry) -> usize {
    match &entry.event {
        Event::Authenticated { results, asked, answers } => results.len() + asked.len() + answers.octets(),
        Event::Listed { standings, answers } => {
            standings.iter().map(|(zone, words)| zone.len() + words.len()).sum::<usize>() + answers.octets()
        }
        event => serde_json::to_vec(event).unwrap().len(),
    }
}

/// The sizes of the largest events.
fn largest(trail: &[TrailEntry]) -> Vec<(usize, String)> {
    let size = |entry: &TrailEntry| {
        let text = serde_json::to_string(&entry.event).unwrap();
        (octets(entry), text.chars().take(120).collect::<String>())
    };
    let mut sizes: Vec<_> = trail.iter().map(size).collect();
    sizes.sort_unstable_by(|a, b| b.cmp(a));
    sizes.truncate(4);
    sizes
}

/// What the trail of typical mail takes, and what refusing mail costs: figures for `docs/PERFORMANCE.md`. Of the messages in
/// the folder that `POSTRIDER_CORPUS` names, half are taught (in Junk where their path has "spam" in it), the others measured.
#[tokio::test]
#[ignore = "a measurement"]
async fn cost_of_trails() {
    let Ok(folder) = std::env::var("POSTRIDER_CORPUS") else { return };
    let mut files = Vec::new();
    gather(std::path::Path::new(&folder), &mut files);
    let store = mixed::store();
    let context = mixed::context(&store, mixed::dns(), mixed::settings());
    let step = files.len().div_ceil(1_200).max(1);
    let (mut totals, mut parts) = (Vec::new(), std::collections::BTreeMap::<String, Vec<usize>>::new());
    for (n, file) in files.iter().step_by(step).enumerate() {
        let text = String::from_utf8_lossy(&std::fs::read(file).unwrap()).replace("\r\n", "\n").replace('\n', "\r\n");
        let (mut bringer, _) = mixed::case(n * 13);
        bringer.reverse_path = mail::ReversePath(Some(mixed::address("x@nowhere.example")));
        bringer.peer = "192.0.2.99".parse().unwrap();
        let (_, reply) = mixed::bring(&context, &bringer, text.as_bytes()).await;
        let trail = trail_of(&store, &reply);
        if n.is_multiple_of(2) {
            let folder = file.parent().and_then(|folder| folder.file_name()).unwrap();
            teach(&store, folder.to_string_lossy().starts_with("spam")).await;
        } else if n > 400 {
            totals.push(trail.iter().map(octets).sum());
            for entry in &trail {
                let name = serde_json::to_value(&entry.event).unwrap().as_object().unwrap().keys().next().unwrap().clone();
                let name = match &entry.event {
                    Event::Grounds { stage, .. } => format!("{name} {stage}"),
                    _ => name,
                };
                parts.entry(name).or_default().push(octets(entry));
            }
        }
    }
    eprintln!("{} messages: {}", totals.len(), spread(&mut totals));
    for (name, mut sizes) in parts {
        eprintln!("  {name}: {} times, {}", sizes.len(), spread(&mut sizes));
    }
}

/// Median, 95th of a hundred, and the most.
fn spread(sizes: &mut [usize]) -> String {
    sizes.sort_unstable();
    let at = |percent: usize| sizes.get((sizes.len().saturating_sub(1)) * percent / 100).copied().unwrap_or_default();
    format!("median {}, 95 % {}, most {} octets", at(50), at(95), at(100))
}

fn gather(folder: &std::path::Path, files: &mut Vec<std::path::PathBuf>) {
    let mut entries: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            gather(&path, files);
        } else if path.extension().is_some_and(|end| end == "txt" || end == "eml") {
            files.push(path);
        }
    }
}

/// Moves the latest of ann's inbox into Junk or the archive.
async fn teach(store: &Store, is_spam: bool) {
    let to = if is_spam { mail::Role::Junk } else { mail::Role::Archive };
    let moved = store.write(move |tx| {
        let inbox = tx.mailbox_by_role(mixed::ANN, mail::Role::Inbox)?.unwrap();
        let to = tx.mailbox_by_role(mixed::ANN, to)?.unwrap().id;
        tx.email_move(mixed::ANN, inbox.id, &format!("1:{}", inbox.uid_next.0).parse().unwrap(), to, crate::context::NOW)
    });
    moved.await.unwrap();
}

/// What it writes to refuse mail by the thousand over many connections, and whether mail beside it is taken meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "a measurement"]
async fn cost_of_refusing() {
    let folder = tempfile::tempdir().unwrap();
    for (what, refused, wanted) in [("wanted alone", 0, 400), ("both", 4_000, 400), ("refused alone", 4_000, 0)] {
        let data = folder.path().join(what.replace(' ', "-"));
        let store = Store::open(&store::Settings::at(&data)).unwrap();
        mixed::fill(&store);
        let context = mixed::context(&store, mixed::dns(), mixed::settings());
        let before = store.figures().unwrap();
        let started = std::time::Instant::now();
        let bringing = |count: usize, author: &'static str, at_once: usize| {
            let (context, per_task) = (Arc::clone(&context), count / at_once);
            (0..at_once).map(move |_| {
                let context = Arc::clone(&context);
                tokio::spawn(async move {
                    let mut slowest = std::time::Duration::ZERO;
                    for n in 0..per_task {
                        let (mut bringer, _) = mixed::case(13 * 7);
                        bringer.recipients = vec![mixed::address("ann@ours.example")];
                        bringer.peer = "192.0.2.99".parse().unwrap();
                        bringer.reverse_path = mail::ReversePath(Some(mixed::address(author)));
                        let message = format!(
                            "From: {author}\r\nDate: x\r\nMessage-ID: <{n}@x.example>\r\n\r\n{}",
                            "A line of text.\r\n".repeat(250)
                        );
                        let began = std::time::Instant::now();
                        let (_, reply) = mixed::bring(&context, &bringer, message.as_bytes()).await;
                        assert_eq!(reply.code, if author.starts_with("joe") { 550 } else { 250 }, "{reply}");
                        slowest = slowest.max(began.elapsed());
                    }
                    slowest
                })
            })
        };
        let of_refused: Vec<_> = bringing(refused, "joe@far.example", 40).collect();
        let of_wanted: Vec<_> = bringing(wanted, "x@nowhere.example", 4).collect();
        let mut slowest = std::time::Duration::ZERO;
        for task in of_wanted {
            slowest = slowest.max(task.await.unwrap());
        }
        let wanted_took = started.elapsed();
        for task in of_refused {
            task.await.unwrap();
        }
        let after = store.figures().unwrap();
        let commits = after.commits - before.commits;
        eprintln!(
            "{what}: {commits} commits in {} groups, {} octets a commit; wanted done after {wanted_took:?}, slowest {slowest:?}; all after {:?}",
            after.groups - before.groups,
            (after.written_octets - before.written_octets) / commits.max(1),
            started.elapsed()
        );
    }
}
