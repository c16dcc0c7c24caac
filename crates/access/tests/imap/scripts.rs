//! Every script of `tests/transcripts/imap`, and each of them cut anywhere.

use super::stage::play;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::path::PathBuf;
use wire::transcript::scripts;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts/imap")
}

fn whole(octets: &[u8]) -> Vec<Vec<u8>> {
    vec![octets.to_vec()]
}

#[test]
fn scripts_are_played_as_written() {
    let mut wrong = Vec::new();
    for path in scripts(&folder()) {
        let want = std::fs::read_to_string(&path).unwrap();
        let got = play(&want, &mut whole);
        if got == want {
            continue;
        }
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&path, got).unwrap();
            continue;
        }
        let differs = want.lines().zip(got.lines()).position(|(want, got)| want != got);
        let line = differs.unwrap_or_else(|| want.lines().count().min(got.lines().count()));
        let of = |text: &str| text.lines().nth(line).unwrap_or("(nothing)").to_owned();
        wrong.push(format!("{}:{}\n  want {}\n  got  {}", path.display(), line + 1, of(&want), of(&got)));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn any_split_of_the_input_gives_the_same_output() {
    let scripts: Vec<_> = scripts(&folder()).iter().map(|path| std::fs::read_to_string(path).unwrap()).collect();
    // Argon2 takes most of the time of those that log in.
    let cheap: Vec<_> = scripts.into_iter().filter(|script| script.contains("@ ready")).collect();
    let mut runner = TestRunner::new(Config { cases: 24, ..Config::default() });
    let cuts = (0..cheap.len(), prop::collection::vec(1_usize..9, 1..40));
    runner
        .run(&cuts, |(at, cuts)| {
            let want = play(&cheap[at], &mut whole);
            let mut cuts = cuts.iter().cycle();
            let got = play(&cheap[at], &mut |octets| {
                let mut rest = octets;
                let mut pieces = Vec::new();
                while !rest.is_empty() {
                    let (piece, after) = rest.split_at(rest.len().min(*cuts.next().unwrap()));
                    pieces.push(piece.to_vec());
                    rest = after;
                }
                pieces
            });
            prop_assert_eq!(got, want);
            Ok(())
        })
        .unwrap();
}
