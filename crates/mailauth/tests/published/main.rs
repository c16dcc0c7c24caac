//! The published suites: SPF (openspf), ARC (`ValiMail`), DKIM (mail-auth's samples). Those of reports are read by `mta`,
//! which finds them in mails.
//!
//! Every case runs; those that end otherwise here are named with the reason. Left out as a whole, of mail-auth's: its cases of
//! DKIM2, a draft that is not served; and its SPF samples, which are written in a language of its own (a name with
//! `_dns_error` stands for a failure, `exists` finds IPv6 addresses, against RFC 7208 §5.7) and ask nothing that openspf's do not.
//!
//! Their data is not in this repository: `POSTRIDER_TESTDATA` names its folder, by default
//! `../shared/testdata` beside the project. Without it the tests say so and pass, unless `CI=true`.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod arc;
mod dkim;
mod spf;

use mailauth::dns::{Answer, Question, Recorded, Step};
use std::path::PathBuf;
use yaml_rust2::{Yaml, YamlLoader};

/// A file of the suites; `None`, with a word about it, if they are not here.
fn file(path: &str) -> Option<String> {
    let folder = std::env::var_os("POSTRIDER_TESTDATA")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/testdata"), PathBuf::from);
    let full = folder.join(path);
    match std::fs::read(&full) {
        Ok(octets) => Some(String::from_utf8_lossy(&octets).into_owned()),
        Err(error) => {
            assert!(std::env::var("CI").is_err(), "{}: {error}", full.display());
            eprintln!("SKIPPED: {} is not there: {error}", full.display());
            None
        }
    }
}

fn documents(text: &str) -> Vec<Yaml> {
    YamlLoader::load_from_str(text).unwrap()
}

/// Runs a check, its questions answered by `zone`, and runs it once more from the record alone.
fn decide<T: PartialEq + std::fmt::Debug>(check: impl Fn(&Recorded) -> Step<T>, zone: impl Fn(&Question) -> Answer) -> T {
    let mut recorded = Recorded::default();
    for _round in 0..100 {
        match check(&recorded) {
            Step::Done(outcome) => {
                let kept = postcard::to_allocvec(&recorded).unwrap();
                let again = check(&postcard::from_bytes(&kept).unwrap());
                assert_eq!(
                    Step::Done(&outcome),
                    match &again {
                        Step::Done(again) => Step::Done(again),
                        Step::Need(need) => Step::Need(need.clone()),
                    }
                );
                return outcome;
            }
            Step::Need(questions) => {
                assert!(!questions.is_empty(), "a check that waits asks something");
                for question in questions {
                    assert!(recorded.answer(&question).is_none(), "asked twice: {question:?}");
                    let answer = zone(&question);
                    recorded.put(question, answer);
                }
            }
        }
    }
    panic!("no decision after 100 rounds")
}
