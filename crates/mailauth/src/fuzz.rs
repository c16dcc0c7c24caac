//! Entries for the fuzzer: one for each parser of hostile input, and what must hold whatever comes in.

use crate::dkim::key::KeyRecord;
use crate::dkim::signature::{Algorithm, Signature, SignatureKind};
use crate::dns::{Answer, Question, Recorded, Step};
use crate::spf::Session;
use crate::{Evidence, Limits, Settings, dmarc, results, spf};
use mail::Timestamp;
use std::net::{IpAddr, Ipv4Addr};

/// Everything at once.
pub fn fuzz(data: &[u8]) {
    records(data);
    results_field(data);
    message(data);
}

/// Records of DNS: SPF, DMARC, keys.
pub fn records(data: &[u8]) {
    let _ = spf::record::Record::parse(data);
    let _ = dmarc::Record::parse(data);
    for algorithm in [Algorithm::RsaSha256, Algorithm::Ed25519Sha256] {
        let _ = KeyRecord::parse(data, algorithm, &Limits::default());
    }
}

/// Authentication-Results and signature fields.
pub fn results_field(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let _ = results::parse(&text);
    let _ = Signature::parse(&text, SignatureKind::Dkim, &Limits::default());
    let (left, removed) = results::without_forged(data, "mx.example.org");
    assert!(removed > 0 || left == data);
}

/// A message before the first empty line of which DNS answers may stand, each on a line of its own: every
/// question is answered with them in turn.
pub fn message(data: &[u8]) {
    let (answers, message) = match data.windows(2).position(|pair| pair == b"\0\0") {
        Some(cut) => data.split_at(cut),
        None => (&[][..], data),
    };
    let answers: Vec<&[u8]> = answers.split(|b| *b == b'\n').collect();
    let session = Session {
        peer: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
        helo: "mx.example.org",
        receiver: "here.example",
        now: Timestamp::from_seconds(1_700_000_000),
    };
    let evidence = Evidence::of(message, &Limits::default());
    let mut recorded = Recorded::default();
    for _round in 0..200 {
        match evidence.step(&session, "a@example.org", &Settings::default(), &recorded) {
            Step::Done(outcome) => {
                let field = results::field("mx.example.org", &outcome, session.peer);
                let value = field.split_once(':').map(|(_, value)| value).unwrap_or_default();
                assert!(results::parse(value).is_some(), "{field:?}");
                return;
            }
            Step::Need(questions) => {
                assert!(!questions.is_empty());
                for question in questions {
                    let text = answers.get(recorded.len() % answers.len().max(1)).copied().unwrap_or_default();
                    let answer = answer(&question, text);
                    recorded.put(question, answer);
                }
            }
        }
    }
    unreachable_round();
}

#[expect(clippy::panic, reason = "the fuzzer must see it")]
fn unreachable_round() {
    panic!("an inspection did not end");
}

fn answer(question: &Question, text: &[u8]) -> Answer {
    let name = String::from_utf8_lossy(text).into_owned();
    match question {
        _ if text.is_empty() => Answer::NoName,
        Question::Txt(_) => Answer::Txt(vec![text.to_vec()]),
        Question::A(_) => Answer::Addresses(vec![IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1))]),
        Question::Aaaa(_) => Answer::NoData,
        Question::Mx(_) => Answer::Mx(vec![(0, name)]),
        Question::Ptr(_) => Answer::Names(vec![name]),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]
        #[test]
        fn hostile_octets_are_survived(data in proptest::collection::vec(any::<u8>(), 0..300)) {
            super::fuzz(&data);
        }

        #[test]
        fn hostile_texts_are_survived(text in "(v=spf1 |v=DMARC1; |DKIM-Signature: |From: |a=|b=|i=1; |%\\{d\\}|include:|a:|[ -~]|\r\n|\0\0){0,60}") {
            super::fuzz(text.as_bytes());
        }
    }
}
