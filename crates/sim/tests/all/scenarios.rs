//! The example files of `docs/sim`, played; and one transaction broken at each of its octets.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test: its purpose is to fail")]

use sim::outcome::Row;
use sim::scenario::Extension;
use sim::{Outcome, Scenario, Shown, Trial, Way};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs")
}

fn read(name: &str) -> Scenario {
    let text = std::fs::read_to_string(docs().join("sim").join(name)).unwrap();
    let scenario: Scenario = toml::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
    scenario.check().unwrap_or_else(|(key, words)| panic!("{name}: {key}: {words}"));
    scenario
}

fn play(name: &str, seed: u64) -> Outcome {
    let outcome = sim::play(&read(name), &Trial { seed, ..Trial::default() });
    assert!(outcome.ok, "{name} with seed {seed}: {:#?}", outcome.problems);
    outcome
}

fn row<'a>(outcome: &'a Outcome, destination: &str) -> &'a Row {
    outcome.destinations.iter().find(|row| row.destination == destination).unwrap()
}

/// One seed, or as many as `SIM_SEEDS` says.
fn seeds() -> std::ops::RangeInclusive<u64> {
    1..=std::env::var("SIM_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(1)
}

#[test]
fn a_storm_loses_nothing() {
    for seed in seeds() {
        let outcome = play("storm.toml", seed);
        let total = &outcome.total;
        assert_eq!(total.accepted, 80 * 2 + 60 + 30);
        assert!(total.delivered > 150 && total.bounced > 50, "{total:?}");
        assert!(outcome.crashes >= 5, "{outcome:?}");
    }
}

#[test]
fn where_tls_must_hold_mail_waits_until_it_does() {
    let outcome = play("transport-security.toml", 1);
    assert!(row(&outcome, "dane.example").wait_max_millis > 8 * 3_600_000, "it did not wait: {outcome:?}");
    assert!(row(&outcome, "sts.example").wait_max_millis > 8 * 3_600_000, "it did not wait: {outcome:?}");
}

#[test]
fn a_slow_neighbour_is_nobodys_trouble() {
    let outcome = play("slow-neighbour.toml", 1);
    assert!(row(&outcome, "slow.example").wait_max_millis > 60_000);
}

#[test]
fn a_backup_hands_on_what_it_took() {
    for seed in seeds() {
        let outcome = play("backup.toml", seed);
        assert_eq!((outcome.total.delivered + outcome.total.bounced, outcome.total.lost), (60, 0), "{outcome:?}");
    }
}

#[test]
fn a_quiet_line_keeps_the_order() {
    play("order.toml", 1);
}

#[test]
fn every_example_is_a_test() {
    let mut names: Vec<String> =
        std::fs::read_dir(docs().join("sim")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    let here = include_str!("scenarios.rs");
    for name in names {
        assert!(here.contains(&format!("(\"{name}\"")), "{name} is not played here");
    }
}

#[test]
fn the_same_seed_has_the_same_outcome() {
    let (scenario, trial) = (read("storm.toml"), Trial { seed: 3, trace: true, ..Trial::default() });
    let (first, second) = (sim::play(&scenario, &trial), sim::play(&scenario, &trial));
    assert!(first.trace == second.trace, "two runs differ");
    assert_eq!(first.destinations, second.destinations);
    let mut quiet = read("order.toml");
    quiet.traffic[0].messages = 5;
    let other = |seed| sim::play(&quiet, &Trial { seed, ..trial.clone() }).trace;
    assert!(other(3) != other(4));
}

/// What a ledger is for: it must see what is missing and what is there too often.
#[test]
fn what_goes_wrong_is_seen() {
    let mut scenario = read("one-message.toml");
    scenario.expect.destination[0].delivered_min = Some(2);
    let outcome = sim::play(&scenario, &Trial::default());
    assert_eq!(outcome.problems.iter().map(|problem| problem.kind).collect::<Vec<_>>(), ["expected"]);
}

/// Plays the trials on several threads; how many ended with something that is there twice.
fn play_all(scenario: &Scenario, trials: &[Trial]) -> usize {
    let (next, twice) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(trial) = trials.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let outcome = sim::play(scenario, trial);
                    assert!(outcome.ok, "{:?}: {:#?}", trial.cut, outcome.problems);
                    twice.fetch_add(outcome.total.repeated, Ordering::Relaxed);
                }
            });
        }
    });
    twice.into_inner()
}

/// Every octet of a session in clear text with BDAT; every few of one with DATA and of one under TLS (`SIM_SEEDS`: all
/// of those too). Only where the reply to the end of the message was under way may it be there twice.
#[test]
fn a_connection_may_break_at_every_octet() {
    let in_full = std::env::var_os("SIM_SEEDS").is_some();
    for (tls, withholds, step) in [(Shown::None, vec![], 1), (Shown::None, vec![Extension::Chunking], 5), (Shown::Good, vec![], 11)] {
        let mut scenario = read("one-message.toml");
        scenario.host[1].tls = tls;
        scenario.host[1].withholds = withholds;
        let host = scenario.host[1].name.clone();
        let trials = sim::every_octet(&scenario, 1, &host);
        assert!(trials.len() > 500, "{}", trials.len());
        let trials: Vec<Trial> = trials.into_iter().step_by(if in_full { 1 } else { step }).collect();
        let twice = play_all(&scenario, &trials);
        let back = trials.iter().filter(|trial| trial.cut.as_ref().is_some_and(|cut| cut.way == Way::Back)).count();
        assert!(twice > 0 && twice < back / 2, "{twice} of {} were there twice", trials.len());
    }
}

/// A kill and a power cut at every write of the sender and of the receiver.
#[test]
fn a_server_may_crash_at_every_write() {
    let scenario = read("one-message.toml");
    for host in &scenario.host {
        let trials = sim::every_write(&scenario, 1, &host.name);
        assert!(trials.len() >= 4, "{}", trials.len());
        play_all(&scenario, &trials);
    }
}

#[test]
fn a_bulk_sender_holds_up_another_for_minutes_only() {
    let outcome = play("bulk-sender.toml", 1);
    assert!(outcome.total.wait_max_millis > 60_000, "the bulk had to wait: {outcome:?}");
}
