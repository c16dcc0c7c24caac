//! How good the filter is: `cargo run --profile ci -p postrider-filter --example quality -- DIRECTORY [choose]`.
//!
//! DIRECTORY has one directory a group of messages; those whose names begin with `spam` are unwanted. A hash of the names
//! cuts them in two halves, the same as for `calibrate`. With `choose` only the first half is looked at: everything that
//! can be chosen is chosen there. Without, the other half is judged, which was looked at for nothing else.
//! `docs/filter.md` has the figures.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss
)]

mod corpus;

use corpus::File;
use filter::classifier::{Class, Memory, opinion};
use filter::{Authenticity, Evidence, Features, Known, Limits, Settings, bucket, judge};
use mail::Digest;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

struct Message {
    name: String,
    features: Features,
    class: Class,
    is_first_half: bool,
    /// Seconds since 1970, as its author says.
    sent: i64,
}

fn main() {
    let directory = std::env::args().nth(1).unwrap();
    let chooses = std::env::args().nth(2).is_some_and(|word| word == "choose");
    let all = read(Path::new(&directory));
    let (first, second): (Vec<&Message>, Vec<&Message>) = all.iter().partition(|message| message.is_first_half);
    let (taught, judged) = if chooses { (Vec::new(), first.clone()) } else { (first.clone(), second) };
    println!("judged: {} messages, {} of them spam", judged.len(), of(&judged, Class::Spam).count());
    untaught(&judged);
    crossed("teaching alone (ours)", &taught, &judged, 0.0, ours);
    crossed("the whole verdict, line at 5 points", &taught, &judged, 500.0, whole);
    crossed("one sum of Robinson's log-odds", &taught, &judged, 0.0, robinson);
    crossed("Fisher's chi-squared", &taught, &judged, 0.0, fisher);
    crossed("FTRL-proximal, one pass", &taught, &judged, 0.0, |taught, tested| ftrl(taught, tested, 1));
    crossed("FTRL-proximal, ten passes", &taught, &judged, 0.0, |taught, tested| ftrl(taught, tested, 10));
    if !chooses {
        later(&all);
    }
    let (pool, tested) = if chooses { first.iter().copied().partition(|message| place(message) % 5 > 1) } else { (taught, judged) };
    learning(&pool, &tested);
    taste(&pool, &tested);
    complaints(&pool, &tested);
    cost(&all);
}

fn of<'a>(messages: &'a [&'a Message], class: Class) -> impl Iterator<Item = &'a Message> + Clone {
    messages.iter().copied().filter(move |message| message.class == class)
}

fn read(directory: &Path) -> Vec<Message> {
    let files = corpus::read(directory);
    let started = Instant::now();
    let octets: usize = files.iter().map(|file| file.octets.len()).sum();
    let limits = Limits::default();
    let message = |File { name, octets, class, is_first_half }: File| {
        let digest = Digest::of(&octets);
        let sent = digest.sent.map_or(0, |sent| sent.at.seconds());
        Message { features: Features::of(&octets, &digest, &limits), name, class, is_first_half, sent }
    };
    let messages: Vec<Message> = files.into_iter().map(message).collect();
    let (millis, count) = (started.elapsed().as_millis(), messages.len());
    println!("{count} messages, {octets} octets; read in {millis} ms");
    messages
}

/// Mixed, the same every time.
fn place(message: &Message) -> u32 {
    drawn("place", message)
}

fn drawn(draw: &str, message: &Message) -> u32 {
    bucket(&format!("{draw} {}", message.name)).wrapping_mul(0x9e37_79b1) >> 8
}

fn verdict(features: &Features, server: &Known, account: &Known) -> i32 {
    let evidence = Evidence {
        features,
        authenticity: Authenticity::Unknown,
        server,
        account,
        is_correspondent: false,
        is_reply: false,
        imitated: None,
    };
    judge(&evidence, &Settings::default()).score
}

fn untaught(judged: &[&Message]) {
    let none = Known::default();
    let scored: Vec<_> = judged.iter().map(|m| (f64::from(verdict(&m.features, &none, &none)), m.class)).collect();
    report("rules alone, line at 5 points", &scored, 500.0);
}

/// Each fifth is judged by what the other fifths taught, and `taught` beside.
fn crossed(name: &str, taught: &[&Message], judged: &[&Message], line: f64, method: impl Fn(&[&Message], &[&Message]) -> Vec<f64>) {
    let mut scored = Vec::new();
    for part in 0..5 {
        let (tested, others): (Vec<&Message>, Vec<&Message>) = judged.iter().partition(|message| place(message) % 5 == part);
        let taught: Vec<&Message> = taught.iter().copied().chain(others).collect();
        scored.extend(method(&taught, &tested).into_iter().zip(tested.iter().map(|message| message.class)));
    }
    report(name, &scored, line);
}

/// The later half of either kind is judged by what the earlier one taught.
fn later(all: &[Message]) {
    let (mut taught, mut tested) = (Vec::new(), Vec::new());
    for class in [Class::Ham, Class::Spam] {
        let mut dated: Vec<&Message> = all.iter().filter(|message| message.class == class).collect();
        dated.sort_by_key(|message| (message.sent, &message.name));
        let (earlier, later) = dated.split_at(dated.len() / 2);
        taught.extend(earlier);
        tested.extend(later);
    }
    let scored = |method: fn(&[&Message], &[&Message]) -> Vec<f64>| -> Vec<(f64, Class)> {
        method(&taught, &tested).into_iter().zip(tested.iter().map(|message| message.class)).collect()
    };
    report("later by earlier: the whole verdict", &scored(whole), 500.0);
    report("later by earlier: one sum of Robinson's log-odds", &scored(robinson), 0.0);
}

fn memory(taught: &[&Message]) -> Memory {
    let mut memory = Memory::default();
    for message in taught {
        memory.learn(&message.features, message.class);
    }
    memory
}

fn ours(taught: &[&Message], tested: &[&Message]) -> Vec<f64> {
    let memory = memory(taught);
    let none = Known::default();
    tested.iter().map(|m| opinion(&m.features, &memory.known(&m.features), &none).map_or(0.0, |o| o.hundredths)).collect()
}

fn whole(taught: &[&Message], tested: &[&Message]) -> Vec<f64> {
    let memory = memory(taught);
    let none = Known::default();
    tested.iter().map(|m| f64::from(verdict(&m.features, &memory.known(&m.features), &none))).collect()
}

/// Robinson's log-odds of the 150 strongest features.
fn strongest(memory: &Memory, message: &Message) -> Vec<f64> {
    let known = memory.known(&message.features);
    let share = |count: u32, all: u32| f64::from(count) / f64::from(all.max(1));
    let odds = known.features.iter().filter(|counts| !counts.is_zero()).map(|counts| {
        let n = f64::from(counts.ham + counts.spam);
        let (ham, spam) = (share(counts.ham, known.messages.ham), share(counts.spam, known.messages.spam));
        let p = (0.15 + n * spam / (spam + ham)) / (0.3 + n);
        (p / (1.0 - p)).ln()
    });
    let mut odds: Vec<f64> = odds.filter(|odds| odds.abs() >= 0.405).collect();
    odds.sort_by(|a, b| b.abs().total_cmp(&a.abs()));
    odds.truncate(150);
    odds
}

/// As this program added up before.
fn robinson(taught: &[&Message], tested: &[&Message]) -> Vec<f64> {
    let memory = memory(taught);
    let sum = |odds: Vec<f64>| odds.iter().sum::<f64>() / (odds.len().max(1) as f64).sqrt();
    tested.iter().map(|message| sum(strongest(&memory, message))).collect()
}

/// Robinson and Fisher: the difference of two chi-squared probabilities, as log so that ties are rare.
fn fisher(taught: &[&Message], tested: &[&Message]) -> Vec<f64> {
    let memory = memory(taught);
    let of = |message: &&Message| {
        let odds = strongest(&memory, message);
        let probability = |weight: f64| 1.0 / (1.0 + (-weight).exp());
        let spam: f64 = odds.iter().map(|odds| (1.0 - probability(*odds)).ln()).sum();
        let ham: f64 = odds.iter().map(|odds| probability(*odds).ln()).sum();
        chi(-spam, odds.len()).ln().max(-700.0).mul_add(-1.0, chi(-ham, odds.len()).ln().max(-700.0))
    };
    tested.iter().map(of).collect()
}

fn chi(half: f64, n: usize) -> f64 {
    let (mut term, mut sum) = ((-half).exp(), (-half).exp());
    for i in 1..n {
        term *= half / i as f64;
        sum += term;
    }
    sum.clamp(f64::MIN_POSITIVE, 1.0)
}

/// Logistic regression, FTRL-proximal, 2013; it cannot forget.
fn ftrl(taught: &[&Message], tested: &[&Message], passes: usize) -> Vec<f64> {
    let (alpha, beta, l1, l2) = (0.5, 1.0, 0.05, 0.1);
    let mut state: BTreeMap<u32, (f64, f64)> = BTreeMap::new();
    let weight = |&(z, n): &(f64, f64)| if z.abs() <= l1 { 0.0 } else { -(z - z.signum() * l1) / ((beta + n.sqrt()) / alpha + l2) };
    let mut mixed = taught.to_vec();
    mixed.sort_by_key(|message| place(message));
    for message in std::iter::repeat_n(&mixed, passes).flatten() {
        let buckets = message.features.buckets();
        let scale = 1.0 / (buckets.len().max(1) as f64).sqrt();
        let sum: f64 = buckets.iter().map(|bucket| state.get(bucket).map_or(0.0, weight) * scale).sum();
        let target = f64::from(u8::from(message.class == Class::Spam));
        let slope = (1.0 / (1.0 + (-sum).exp()) - target) * scale;
        for bucket in buckets {
            let entry = state.entry(bucket).or_default();
            let w = weight(entry);
            let sigma = ((entry.1 + slope * slope).sqrt() - entry.1.sqrt()) / alpha;
            entry.0 += slope - sigma * w;
            entry.1 += slope * slope;
        }
    }
    let of = |message: &&Message| {
        let buckets = message.features.buckets();
        let scale = 1.0 / (buckets.len().max(1) as f64).sqrt();
        buckets.iter().map(|bucket| state.get(bucket).map_or(0.0, weight) * scale).sum()
    };
    tested.iter().map(of).collect()
}

fn report(name: &str, scored: &[(f64, Class)], line: f64) {
    let count = |class, test: &dyn Fn(f64) -> bool| scored.iter().filter(|(score, of)| *of == class && test(*score)).count();
    let all = |class| count(class, &|_| true) as f64;
    let (caught, lost) = (count(Class::Spam, &|score| score >= line), count(Class::Ham, &|score| score >= line));
    let right = caught + count(Class::Ham, &|score| score < line);
    let mut ham: Vec<f64> = scored.iter().filter(|(_, class)| *class == Class::Ham).map(|(score, _)| *score).collect();
    ham.sort_by(f64::total_cmp);
    let kept = |share: f64| {
        let line = ham[((ham.len() as f64 * share).ceil() as usize).min(ham.len()) - 1];
        (100.0 * count(Class::Spam, &|score| score > line) as f64 / all(Class::Spam), line)
    };
    println!(
        "{name}: right {:.2} %, spam caught {:.2} %, ham lost {lost} ({:.2} %); spam caught with 99.9 % of ham kept {:.1} % (line {:.2}), with 99.5 % {:.1} %",
        100.0 * right as f64 / scored.len() as f64,
        100.0 * caught as f64 / all(Class::Spam),
        100.0 * lost as f64 / all(Class::Ham),
        kept(0.999).0,
        kept(0.999).1,
        kept(0.995).0,
    );
}

/// How many of either kind reach five points: `spam of all, ham of all`.
fn reached(tested: &[&Message], server: &Memory, account: &Memory) -> (usize, usize) {
    let is_junk = |m: &&Message| verdict(&m.features, &server.known(&m.features), &account.known(&m.features)) >= 500;
    (of(tested, Class::Spam).filter(is_junk).count(), of(tested, Class::Ham).filter(is_junk).count())
}

/// Ever more of `pool` is taught, drawn ten times.
fn learning(pool: &[&Message], tested: &[&Message]) {
    const DRAWS: usize = 10;
    let (spam, ham) = (DRAWS * of(tested, Class::Spam).count(), DRAWS * of(tested, Class::Ham).count());
    for (hams, spams) in
        [(5, 5), (10, 10), (20, 20), (50, 50), (100, 100), (200, 200), (500, 500), (900, 900), (20, 200), (200, 20), (500, 10), (10, 500)]
    {
        let (mut caught, mut lost, mut worst) = (0, 0, 0);
        for draw in 0..DRAWS {
            let mut order = pool.to_vec();
            order.sort_by_key(|message| drawn(&format!("draw {draw}"), message));
            let few: Vec<&Message> = of(&order, Class::Ham).take(hams).chain(of(&order, Class::Spam).take(spams)).collect();
            let found = reached(tested, &memory(&few), &Memory::default());
            (caught, lost, worst) = (caught + found.0, lost + found.1, worst.max(found.1));
        }
        println!(
            "after {hams} wanted, {spams} unwanted: spam caught {:.1} %, ham lost {lost} of {ham} ({:.3} %), {worst} in the worst draw",
            100.0 * caught as f64 / spam as f64,
            100.0 * lost as f64 / ham as f64
        );
    }
}

/// A server that was taught by others, and one account whose taste differs: it wants no mailing lists.
fn taste(pool: &[&Message], tested: &[&Message]) {
    let is_list = |message: &&Message| message.features.list.iter().any(|feature| feature.starts_with("list:"));
    let mut taught = pool.to_vec();
    taught.sort_by_key(|message| place(message));
    let (lists, others): (Vec<&Message>, Vec<&Message>) = of(&taught, Class::Ham).partition(is_list);
    let (judged, kept): (Vec<&Message>, Vec<&Message>) = of(tested, Class::Ham).partition(is_list);
    let spam: Vec<&Message> = of(&taught, Class::Spam).collect();
    for (size, name) in [(usize::MAX, "large"), (100, "small")] {
        let before: Vec<&Message> = of(&taught, Class::Ham).take(size).chain(spam.iter().copied().take(size)).collect();
        for own in [0, 5, 10, 20, 50, 100] {
            let (mut server, mut account) = (memory(&before), Memory::default());
            let mut lesson = |message: &Message, class| {
                server.learn(&message.features, class);
                account.learn(&message.features, class);
            };
            lists.iter().take(own).for_each(|message| lesson(message, Class::Spam));
            others.iter().take(own).for_each(|message| lesson(message, Class::Ham));
            let none = Memory::default();
            println!(
                "{name} server ({} messages), {own} lists put into Junk: of {} lists {} are in Junk, {} of the others'; of {} other wanted messages {}, {}",
                before.len(),
                judged.len(),
                reached(&judged, &server, &account).1,
                reached(&judged, &server, &none).1,
                kept.len(),
                reached(&kept, &server, &account).1,
                reached(&kept, &server, &none).1,
            );
        }
    }
}

/// An account that only ever says what it does not want.
fn complaints(pool: &[&Message], tested: &[&Message]) {
    let mut taught = pool.to_vec();
    taught.sort_by_key(|message| place(message));
    let spam: Vec<&Message> = of(&taught, Class::Spam).collect();
    let ham: Vec<&Message> = of(&taught, Class::Ham).collect();
    for size in [100, 400] {
        for own in [0, 1, 5, 20, 50, 100] {
            let before: Vec<&Message> = ham.iter().take(size).chain(spam.iter().take(size)).copied().collect();
            let (mut server, mut account) = (memory(&before), Memory::default());
            for message in spam.iter().skip(size).take(own) {
                server.learn(&message.features, Class::Spam);
                account.learn(&message.features, Class::Spam);
            }
            let (caught, lost) = reached(tested, &server, &account);
            println!(
                "server of {size} of each, an account teaches {own} unwanted: {caught} spam caught, {lost} ham lost, of {}",
                tested.len()
            );
        }
    }
}

/// Features and verdict, with what was taught in memory.
fn cost(all: &[Message]) {
    let messages: Vec<&Message> = all.iter().collect();
    let (memory, none) = (memory(&messages), Known::default());
    let known: Vec<Known> = messages.iter().map(|message| memory.known(&message.features)).collect();
    let started = Instant::now();
    let sum: i64 = messages.iter().zip(&known).map(|(message, known)| i64::from(verdict(&message.features, known, &none))).sum();
    println!("verdict: {:.0} µs a message ({sum})", started.elapsed().as_micros() as f64 / messages.len() as f64);
}
