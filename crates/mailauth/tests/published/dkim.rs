//! mail-auth's samples: signed messages behind a list of their keys.

use crate::{decide, file};
use mail::Timestamp;
use mailauth::dns::{Answer, Question};
use mailauth::spf::Session;
use mailauth::{Evidence, Limits, Outcome, Settings};
use std::collections::HashMap;

/// Inspects a sample.
fn inspect(path: &str, now: Timestamp) -> Option<Outcome> {
    let text = file(path)?.replace("\r\n", "\n");
    let (keys, message) = text.split_once("\n\n").unwrap();
    let keys: HashMap<_, _> = keys.lines().filter_map(|line| line.split_once(' ')).collect();
    let session = Session { peer: "192.0.2.1".parse().unwrap(), helo: "mx.example.org", receiver: "here.example", now };
    let evidence = Evidence::of(message.replace('\n', "\r\n").as_bytes(), &Limits::default());
    Some(decide(
        |recorded| evidence.step(&session, "", &Settings::default(), recorded),
        |question| match question {
            Question::Txt(name) => keys.get(name.as_str()).map_or(Answer::NoName, |text| Answer::Txt(vec![text.as_bytes().to_vec()])),
            _ => Answer::NoName,
        },
    ))
}

/// While the sample that expires was good.
const THEN: Timestamp = Timestamp::from_seconds(1_667_862_900);
/// After all samples were taken.
const LATER: Timestamp = Timestamp::from_seconds(1_700_000_000);

#[test]
fn samples_of_signatures_pass() {
    for (sample, want) in [("001", 2), ("002", 1), ("003", 2), ("004", 1), ("005", 1), ("006", 1)] {
        let Some(outcome) = inspect(&format!("dkim/mail-auth/dkim/{sample}.txt"), THEN) else { return };
        let passed: Vec<_> = outcome.dkim.iter().filter(|dkim| dkim.result.as_str() == "pass").collect();
        assert_eq!((passed.len(), outcome.dkim.len()), (want, want), "{sample}: {:?}", outcome.dkim);
    }
}

#[test]
fn samples_of_chains_pass() {
    for sample in ["001", "002"] {
        let Some(outcome) = inspect(&format!("dkim/mail-auth/arc/{sample}.txt"), LATER) else { return };
        assert_eq!(outcome.arc.result.as_str(), "pass", "{sample}: {:?}", outcome.arc);
    }
}
