//! How many messages a second one core inspects: two signatures (RSA of 2,048 bits and Ed25519), SPF, DMARC,
//! all DNS answers at hand, with bodies of 2 KB to 1 MB.
//!
//! `cargo bench -p postrider-mailauth`. Not a comparison: docs/PERFORMANCE.md has the figures.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a benchmark stops at the first surprise")]

use mail::Timestamp;
use mailauth::dkim::{self, Algorithm, DkimResult, PrivateKey, Signer};
use mailauth::dns::{Answer, Question, Recorded, Step};
use mailauth::spf::Session;
use mailauth::{Evidence, Limits, Settings};
use std::hint::black_box;
use std::time::{Duration, Instant};

const NOW: Timestamp = Timestamp::from_seconds(1_700_000_000);
const MEASURED: Duration = Duration::from_secs(2);

fn main() {
    let keys = [("r", Algorithm::RsaSha256), ("e", Algorithm::Ed25519Sha256)]
        .map(|(selector, algorithm)| (selector, PrivateKey::parse(algorithm, &PrivateKey::generate(algorithm).unwrap()).unwrap()));
    let recorded = recorded(&keys);
    println!("{:>8} {:>14} {:>10} {:>14}", "body", "inspected/s", "MB/s", "signed/s");
    for octets in [2 << 10, 20 << 10, 200 << 10, 1 << 20] {
        let body = "A line of text that is about as long as lines in mail are.\r\n".repeat(octets / 60);
        let header = "From: ann@example.org\r\nTo: bob@example.net\r\nSubject: speed\r\nMessage-ID: <1@example.org>\r\n\r\n";
        let message = sign(&keys, header, &body) + header + &body;
        inspect(message.as_bytes(), &recorded);
        let inspected = per_second(|| inspect(message.as_bytes(), &recorded));
        let signed = per_second(|| drop(black_box(sign(&keys, header, &body))));
        let megabytes = inspected * f64::from(u32::try_from(message.len()).unwrap()) / 1e6;
        println!("{octets:>8} {inspected:>14.0} {megabytes:>10.0} {signed:>14.0}");
    }
}

fn recorded(keys: &[(&str, PrivateKey)]) -> Recorded {
    let mut recorded = Recorded::default();
    let mut txt = |name: &str, text: String| recorded.put(Question::Txt(name.to_owned()), Answer::Txt(vec![text.into_bytes()]));
    for (selector, key) in keys {
        txt(&format!("{selector}._domainkey.example.org"), key.public().record());
    }
    txt("example.org", "v=spf1 ip4:192.0.2.0/24 -all".to_owned());
    txt("_dmarc.example.org", "v=DMARC1; p=reject".to_owned());
    for name in ["_dmarc.org", "mx.example.org"] {
        recorded.put(Question::Txt(name.to_owned()), Answer::NoName);
    }
    recorded.put(Question::Ptr([192, 0, 2, 1].into()), Answer::NoName);
    recorded
}

fn sign(keys: &[(&str, PrivateKey)], header: &str, body: &str) -> String {
    let mut hash = dkim::sign::body_hash();
    hash.update(body.as_bytes());
    let signers: Vec<Signer<'_>> = keys.iter().map(|(selector, key)| Signer { domain: "example.org", selector, key }).collect();
    dkim::sign(header.as_bytes(), &hash.finish(), &signers, NOW).concat()
}

fn inspect(message: &[u8], recorded: &Recorded) {
    let evidence = Evidence::of(message, &Limits::default());
    let session = Session { peer: [192, 0, 2, 1].into(), helo: "mx.example.org", receiver: "here.example", now: NOW };
    let Step::Done(outcome) = evidence.step(&session, "ann@example.org", &Settings::default(), recorded) else {
        panic!("an answer is missing")
    };
    assert!(outcome.dkim.len() == 2 && outcome.dkim.iter().all(|dkim| dkim.result == DkimResult::Pass));
}

fn per_second(mut work: impl FnMut()) -> f64 {
    let (started, mut rounds) = (Instant::now(), 0_u32);
    while started.elapsed() < MEASURED {
        work();
        rounds += 1;
    }
    f64::from(rounds) / started.elapsed().as_secs_f64()
}
