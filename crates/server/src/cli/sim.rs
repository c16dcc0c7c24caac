//! `postrider sim`

use super::Context;
use crate::config::Problem;
use crate::failure::{Code, Failure, Result};
use crate::output::{Format, number, plural, print, whole, words};
use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use sim::outcome::{Outcome, Row};
use sim::{CrashAt, CutAt, Scenario, Trial, Way, scenario};
use std::ops::RangeInclusive;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Problems that are shown of one run.
const PROBLEMS_SHOWN_MAX: usize = 20;

/// Servers in one process, with a network, a DNS, disks and a clock that are not.
#[derive(Debug, Subcommand)]
pub(super) enum Sim {
    /// Play a file of hosts, traffic and faults, and check what became of every message; exit code 4 if something is wrong
    Run(Run),
}

#[derive(Debug, Args)]
pub(super) struct Run {
    /// The file (TOML); docs/simulation.md explains it
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// With this seed instead of the file's
    #[arg(long, value_name = "N", conflicts_with = "seeds")]
    seed: Option<u64>,
    /// With each of these seeds, both ends included
    #[arg(long, value_name = "A..B")]
    seeds: Option<Seeds>,
    /// Once for each octet of the first connection to this host, each way: there it breaks
    #[arg(long, value_name = "HOST")]
    every_octet: Option<String>,
    /// Once for each write of this host to its disk, at which it crashes: by a kill and by a power cut
    #[arg(long, value_name = "HOST", conflicts_with = "every_octet")]
    every_write: Option<String>,
    /// Show everything that happened, server by server
    #[arg(long)]
    trace: bool,
    /// Runs at once; as many as there are processors, if nothing is said
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
}

/// `1..100`
#[derive(Debug, Clone)]
struct Seeds(RangeInclusive<u64>);

impl FromStr for Seeds {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let bounds = text.split_once("..").and_then(|(first, last)| Some((first.parse().ok()?, last.parse().ok()?)));
        match bounds {
            Some((first, last)) if first <= last => Ok(Self(first..=last)),
            _ => Err("expected two numbers such as 1..100".to_owned()),
        }
    }
}

/// The answer in JSON where there is more than one run.
#[derive(Debug, Serialize)]
struct RunsView {
    ok: bool,
    runs: usize,
    /// Of all runs together.
    total: Row,
    failed: Vec<FailedView>,
}

#[derive(Debug, Serialize)]
struct FailedView {
    seed: u64,
    /// `out 117`, `back 20`: where the connection broke; `write 12`, `write 12, power cut`: where the host crashed.
    #[serde(skip_serializing_if = "Option::is_none")]
    broken_at: Option<String>,
    outcome: Outcome,
}

impl Sim {
    pub(super) fn run(self, context: &Context) -> Result<ExitCode> {
        let Self::Run(run) = self;
        let scenario = read(&run.file)?;
        let trials = run.trials(&scenario)?;
        let outcomes = play_all(&scenario, &trials, run.jobs, context);
        let ok = outcomes.iter().all(|outcome| outcome.ok);
        match outcomes.as_slice() {
            [outcome] => show(context, &scenario, outcome),
            _ => show_all(context, &scenario, &trials, outcomes),
        }
        Ok(ExitCode::from(if ok { 0 } else { Code::ProblemsFound.exit() }))
    }
}

/// Reads and checks a file.
fn read(path: &Path) -> Result<Scenario> {
    let unreadable = |error: std::io::Error| Failure::usage(format!("{}: cannot be read: {error}", path.display()));
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    let known: Vec<&'static str> = scenario::keys::KEYS.iter().map(|key| key.name).collect();
    let scenario: Scenario = toml::from_str(&text).map_err(|error| Problem::from_toml(path, &text, &error, &known))?;
    scenario.check().map_err(|(key, message)| Problem::at_key(path, &text, &key, message))?;
    Ok(scenario)
}

impl Run {
    fn trials(&self, scenario: &Scenario) -> Result<Vec<Trial>> {
        let seed = self.seed.unwrap_or(scenario.seed);
        let seeds = self.seeds.clone().map_or(seed..=seed, |seeds| seeds.0);
        let (Some(host), every) = (match (&self.every_octet, &self.every_write) {
            (Some(host), _) => (Some(host), sim::every_octet as fn(&Scenario, u64, &mail::Domain) -> Vec<Trial>),
            (None, host) => (host.as_ref(), sim::every_write as _),
        }) else {
            return Ok(seeds.map(|seed| Trial { seed, trace: self.trace, ..Trial::default() }).collect());
        };
        let host = &crate::admin::domain_name(host)?;
        if scenario.host_named(host).is_none() {
            return Err(Failure::not_found("host", host).hint("name one of the file's hosts"));
        }
        let trials: Vec<Trial> = seeds.flat_map(|seed| every(scenario, seed, host)).collect();
        if trials.is_empty() { Err(Failure::usage(format!("nothing happens at {host}"))) } else { Ok(trials) }
    }
}

/// Plays them on several threads; the outcomes are in the order of the trials.
fn play_all(scenario: &Scenario, trials: &[Trial], jobs: Option<usize>, context: &Context) -> Vec<Outcome> {
    let bar = if trials.len() > 1 && !context.printer.quiet { ProgressBar::new(trials.len() as u64) } else { ProgressBar::hidden() };
    bar.set_style(
        ProgressStyle::with_template("{bar:40} {pos} of {len} runs, {eta} left").unwrap_or_else(|_| ProgressStyle::default_bar()),
    );
    let jobs = jobs.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from)).clamp(1, trials.len().max(1));
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::with_capacity(trials.len())));
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                loop {
                    let place = next.fetch_add(1, Ordering::Relaxed);
                    let Some(trial) = trials.get(place) else { break };
                    let outcome = play(scenario, trial);
                    done.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push((place, outcome));
                    bar.inc(1);
                }
            });
        }
    });
    bar.finish_and_clear();
    let mut done = done.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    done.sort_by_key(|(place, _)| *place);
    done.into_iter().map(|(_, outcome)| outcome).collect()
}

/// Plays one; what panics has failed.
fn play(scenario: &Scenario, trial: &Trial) -> Outcome {
    catch_unwind(AssertUnwindSafe(|| sim::play(scenario, trial))).unwrap_or_else(|panic| {
        let words = panic.downcast_ref::<String>().cloned().or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        let problem = sim::outcome::Problem::general("panic", words.unwrap_or_else(|| "a server panicked".to_owned()));
        Outcome { seed: trial.seed, problems: vec![problem], ..Outcome::default() }
    })
}

fn show(context: &Context, scenario: &Scenario, outcome: &Outcome) {
    if context.printer.format != Format::Table {
        return context.printer.one(outcome, &[]);
    }
    describe(context, scenario);
    outcome.trace.iter().for_each(|line| print(line));
    let rows: Vec<&Row> = outcome.destinations.iter().chain(std::iter::once(&outcome.total)).collect();
    table(context, &rows);
    print("");
    show_problems(context, outcome);
    let crashes = if outcome.crashes > 0 { format!(", {}", counted(outcome.crashes, "crash", "crashes")) } else { String::new() };
    let refused = match outcome.refused_submissions {
        0 => String::new(),
        count => format!(", {} refused to senders", plural(count, "message")),
    };
    let queues = if outcome.quiet { "" } else { ", and queues are not empty" };
    let lasted = span(Duration::from_secs(outcome.lasted_seconds));
    context.printer.say(&format!("{lasted} of its time, {}{crashes}{refused}{queues}", plural(outcome.connections, "connection")));
    print(&verdict(outcome));
}

fn verdict(outcome: &Outcome) -> String {
    match outcome.problems.len() {
        0 => format!("Everything is accounted for (seed {}).", outcome.seed),
        count => format!("{} with seed {}: run it again with --seed {}.", plural(count as u64, "problem"), outcome.seed, outcome.seed),
    }
}

fn describe(context: &Context, scenario: &Scenario) {
    if !scenario.description.is_empty() {
        context.printer.say(&format!("{}\n", scenario.description.trim()));
    }
}

fn table(context: &Context, rows: &[&Row]) {
    let columns = [
        whole("destination"),
        number("accepted"),
        number("delivered"),
        number("bounced"),
        number("queued"),
        number("given up"),
        number("lost"),
        number("twice"),
        number("unexplained"),
        number("half within"),
        number("longest"),
    ];
    context.printer.list(rows, &columns, |row| {
        let counts = [row.accepted, row.delivered, row.bounced, row.queued, row.abandoned, row.lost, row.repeated, row.unexplained];
        let waits = [row.wait_median_millis, row.wait_max_millis].map(|millis| span(Duration::from_millis(millis)));
        std::iter::once(row.destination.clone()).chain(counts.map(|count| count.to_string())).chain(waits).collect()
    });
}

fn show_problems(context: &Context, outcome: &Outcome) {
    if outcome.problems.is_empty() {
        return;
    }
    let shown: Vec<_> = outcome.problems.iter().take(PROBLEMS_SHOWN_MAX).collect();
    context.printer.list(&shown, &[whole("PROBLEM"), whole("message"), whole("recipient"), words("")], |problem| {
        let text = |part: &Option<String>| part.clone().unwrap_or_default();
        vec![problem.kind.to_owned(), text(&problem.message), text(&problem.recipient), problem.words.clone()]
    });
    let more = outcome.problems.len() - shown.len();
    if more > 0 {
        print(&format!("and {more} more"));
    }
    print("");
}

fn show_all(context: &Context, scenario: &Scenario, trials: &[Trial], outcomes: Vec<Outcome>) {
    let runs = outcomes.len();
    let total = outcomes.iter().fold(Row { destination: "all".to_owned(), ..Row::default() }, |sum, outcome| sum.and(&outcome.total));
    let failed: Vec<FailedView> = trials
        .iter()
        .zip(outcomes)
        .filter(|(_, outcome)| !outcome.ok)
        .map(|(trial, outcome)| FailedView { seed: trial.seed, broken_at: place(trial), outcome })
        .collect();
    let view = RunsView { ok: failed.is_empty(), runs, total, failed };
    if context.printer.format != Format::Table {
        return context.printer.one(&view, &[]);
    }
    describe(context, scenario);
    table(context, &[&view.total]);
    print("");
    if !view.failed.is_empty() {
        context.printer.list(&view.failed, &[number("seed"), whole("broken at"), number("problems"), words("the first")], |failed| {
            let first = failed.outcome.problems.first().map(|problem| format!("{}: {}", problem.kind, problem.words));
            let place = failed.broken_at.clone().unwrap_or_default();
            vec![failed.seed.to_string(), place, failed.outcome.problems.len().to_string(), first.unwrap_or_default()]
        });
        print("");
    }
    let verdict = match view.failed.first() {
        None => "everything is accounted for".to_owned(),
        Some(first) => format!("{} of them failed; run one again with --seed {}", view.failed.len(), first.seed),
    };
    print(&format!("{}: {verdict}.", plural(runs as u64, "run")));
}

/// Where a connection breaks or a host crashes, in words.
fn place(trial: &Trial) -> Option<String> {
    let cut = trial.cut.as_ref().map(|CutAt { way, octets, .. }| match way {
        Way::Out => format!("out {octets}"),
        Way::Back => format!("back {octets}"),
    });
    let crash = trial.crash.as_ref().map(|CrashAt { write, power_cut, .. }| match power_cut {
        true => format!("write {write}, power cut"),
        false => format!("write {write}"),
    });
    cut.or(crash)
}

fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// `340 ms`, `12 s`, `5 min`, `3.5 h`, `5.0 d`
fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    let tenths = |unit: u64| format!("{}.{}", seconds / unit, seconds % unit * 10 / unit);
    match seconds {
        0..10 => format!("{} ms", time.as_millis()),
        10..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", tenths(3_600)),
        _ => format!("{} d", tenths(86_400)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_told_with_fitting_units() {
        for (millis, want) in [(340, "340 ms"), (12_000, "12 s"), (300_000, "5 min"), (12_600_000, "3.5 h"), (432_000_000, "5.0 d")] {
            assert_eq!(span(Duration::from_millis(millis)), want);
        }
    }

    #[test]
    fn seeds_are_two_numbers() {
        for (text, want) in [("1..3", Some(3)), ("5..5", Some(1)), ("3..1", None), ("1-3", None), ("1..", None)] {
            assert_eq!(text.parse::<Seeds>().ok().map(|seeds| seeds.0.count()), want, "{text}");
        }
    }

    #[test]
    fn a_wrong_file_is_refused_with_line_and_key() {
        let folder = tempfile::tempdir().unwrap();
        let host = "[[host]]\nname = \"mx.a.example\"\n";
        for (text, want, hint) in [
            ("", "f.toml:1: host: is missing", None),
            (
                "[[host]]\nnam = \"a\"\n",
                "f.toml:2: host[0].nam: unknown key: expected one of name, domains,",
                Some("did you mean host[].name?"),
            ),
            ("[[host]]\nname = \"a\"\nretry = [\"soon\"]\n", "f.toml:3: host[0].retry: expected a span of time", None),
            ("[[host]]\nname = \"a\"\n[[fault]]\nkind = \"rain\"\n", "f.toml:4: fault[0].kind: unknown variant `rain`", None),
            ("[[fault]]\nkind = \"refuse\"\nhost = \"mx.b.example\"\n", "f.toml:3: fault[0].host: there is no host mx.b.example", None),
        ] {
            let path = folder.path().join("f.toml");
            let head = if text.contains("[[host]]") || text.is_empty() { "" } else { host };
            // The hosts stand behind, so that lines are those of the case.
            std::fs::write(&path, format!("{text}{head}")).unwrap();
            let failure = read(&path).unwrap_err();
            assert!(failure.message.contains(want), "{text}\n{}", failure.message);
            assert_eq!(failure.hint.as_deref(), hint, "{text}");
            assert_eq!(failure.code, Code::Usage);
        }
        assert!(read(&folder.path().join("none")).unwrap_err().message.contains("cannot be read"));
    }
}
