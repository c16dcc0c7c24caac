//! How good the filter is: `cargo run --release -p postrider-filter --example quality -- DIRECTORY`.
//!
//! DIRECTORY has one directory a group of messages; those whose names begin with `spam` are unwanted. Messages
//! are dealt to five parts by a hash of their names; each part is judged by what the other four taught.
//! `docs/filter.md` has the figures.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss
)]

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
}

fn main() {
    let directory = std::env::args().nth(1).unwrap();
    let (messages, octets, millis) = read(Path::new(&directory));
    let spam = messages.iter().filter(|message| message.class == Class::Spam).count();
    println!("{} messages, {spam} of them spam, {octets} octets; read in {millis} ms", messages.len());
    untaught(&messages);
    crossed("log-odds (ours)", &messages, ours);
    crossed("Fisher's chi-squared", &messages, fisher);
    crossed("FTRL-proximal", &messages, ftrl);
    learning(&messages);
    account(&messages);
}

fn read(directory: &Path) -> (Vec<Message>, usize, u128) {
    let mut files: Vec<_> = Vec::new();
    for group in std::fs::read_dir(directory).unwrap().flatten().filter(|entry| entry.path().is_dir()) {
        let name = group.file_name().into_string().unwrap();
        for file in std::fs::read_dir(group.path()).unwrap().flatten().filter(|file| file.path().extension().is_some_and(|e| e == "txt")) {
            files.push((name.clone() + "/" + file.file_name().to_str().unwrap(), std::fs::read(file.path()).unwrap()));
        }
    }
    files.sort();
    let started = Instant::now();
    let octets = files.iter().map(|(_, octets)| octets.len()).sum();
    let limits = Limits::default();
    let message = |(name, octets): (String, Vec<u8>)| {
        let class = if name.starts_with("spam") { Class::Spam } else { Class::Ham };
        Message { features: Features::of(&octets, &Digest::of(&octets), &limits), name, class }
    };
    (files.into_iter().map(message).collect(), octets, started.elapsed().as_millis())
}

/// Mixed, the same every time.
fn place(message: &Message) -> u32 {
    bucket(&format!("place {}", message.name)).wrapping_mul(0x9e37_79b1) >> 8
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

fn untaught(messages: &[Message]) {
    let none = Known::default();
    report(
        "rules alone, line at 5 points",
        &messages.iter().map(|m| (f64::from(verdict(&m.features, &none, &none)), m.class)).collect::<Vec<_>>(),
        500.0,
    );
}

fn crossed(name: &str, messages: &[Message], method: fn(&[&Message], &[&Message]) -> Vec<f64>) {
    let mut scored = Vec::new();
    for part in 0..5 {
        let (tested, taught): (Vec<&Message>, Vec<&Message>) = messages.iter().partition(|message| place(message) % 5 == part);
        scored.extend(method(&taught, &tested).into_iter().zip(tested.iter().map(|message| message.class)));
    }
    report(name, &scored, 0.0);
    if name.contains("ours") {
        let mut scored = Vec::new();
        for part in 0..5 {
            let (tested, taught): (Vec<&Message>, Vec<&Message>) = messages.iter().partition(|message| place(message) % 5 == part);
            let memory = memory(&taught);
            scored.extend(tested.iter().map(|m| (f64::from(verdict(&m.features, &memory.known(&m.features), &Known::default())), m.class)));
        }
        report("the whole verdict, line at 5 points", &scored, 500.0);
    }
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
    tested.iter().map(|message| opinion(&message.features, &memory.known(&message.features), &none).map_or(0.0, |o| o.log_odds)).collect()
}

/// Robinson and Fisher: the difference of two chi-squared probabilities, as log so that ties are rare.
fn fisher(taught: &[&Message], tested: &[&Message]) -> Vec<f64> {
    let memory = memory(taught);
    let none = Known::default();
    let of = |message: &&Message| {
        let Some(found) = opinion(&message.features, &memory.known(&message.features), &none) else { return 0.0 };
        let probability = |weight: f64| 1.0 / (1.0 + (-weight).exp());
        let spam: f64 = found.telling.iter().map(|one| (1.0 - probability(one.weight)).ln()).sum();
        let ham: f64 = found.telling.iter().map(|one| probability(one.weight).ln()).sum();
        chi(-spam, found.telling.len()).ln().max(-700.0).mul_add(-1.0, chi(-ham, found.telling.len()).ln().max(-700.0))
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

/// Logistic regression, trained in one pass (FTRL-proximal, 2013).
fn ftrl(taught: &[&Message], tested: &[&Message]) -> Vec<f64> {
    let (alpha, beta, l1, l2) = (0.5, 1.0, 0.05, 0.1);
    let mut state: BTreeMap<u32, (f64, f64)> = BTreeMap::new();
    let weight = |&(z, n): &(f64, f64)| if z.abs() <= l1 { 0.0 } else { -(z - z.signum() * l1) / ((beta + n.sqrt()) / alpha + l2) };
    let mut mixed = taught.to_vec();
    mixed.sort_by_key(|message| place(message));
    for message in mixed {
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

/// One part in five is judged by ever more of the rest.
fn learning(messages: &[Message]) {
    let (tested, mut taught): (Vec<&Message>, Vec<&Message>) = messages.iter().partition(|message| place(message).is_multiple_of(5));
    taught.sort_by_key(|message| place(message));
    for of_each in [5, 10, 20, 50, 100, 200, 500, 1_000] {
        let of = |class| taught.iter().filter(move |message| message.class == class).take(of_each);
        let few: Vec<&Message> = of(Class::Ham).chain(of(Class::Spam)).copied().collect();
        let memory = memory(&few);
        let none = Known::default();
        let scored: Vec<_> = tested.iter().map(|m| (f64::from(verdict(&m.features, &memory.known(&m.features), &none)), m.class)).collect();
        report(&format!("verdict after {of_each} of each"), &scored, 500.0);
    }
}

/// A server that was taught by others, and one account whose taste differs: it wants no mailing lists.
fn account(messages: &[Message]) {
    let is_list = |message: &&Message| message.features.list.iter().any(|feature| feature.starts_with("list:"));
    let (tested, mut taught): (Vec<&Message>, Vec<&Message>) = messages.iter().partition(|message| place(message).is_multiple_of(5));
    taught.sort_by_key(|message| place(message));
    let others: Vec<&Message> = taught.iter().copied().filter(|message| !is_list(message)).collect();
    let lists: Vec<&Message> = taught.iter().copied().filter(is_list).collect();
    let tested: Vec<&Message> = tested.into_iter().filter(is_list).filter(|message| message.class == Class::Ham).collect();
    for own in [0, 5, 10, 20, 50, 100] {
        let (mut server, mut account) = (memory(&taught), Memory::default());
        for message in lists.iter().filter(|message| message.class == Class::Ham).take(own) {
            server.learn(&message.features, Class::Spam);
            account.learn(&message.features, Class::Spam);
        }
        for message in others.iter().filter(|message| message.class == Class::Ham).take(own) {
            account.learn(&message.features, Class::Ham);
        }
        let of = |m: &&&Message| verdict(&m.features, &server.known(&m.features), &account.known(&m.features)) >= 500;
        let other = |m: &&&Message| verdict(&m.features, &server.known(&m.features), &Known::default()) >= 500;
        let (own_junk, others_junk) = (tested.iter().filter(of).count(), tested.iter().filter(other).count());
        println!(
            "after {own} lists were put into Junk: {own_junk} of {} more for that account, {others_junk} for the others",
            tested.len()
        );
    }
}
