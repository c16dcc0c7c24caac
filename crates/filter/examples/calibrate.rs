//! Where the weights of untaught rules come from: `cargo run --profile ci -p postrider-filter --example calibrate -- DIRECTORY`.
//!
//! DIRECTORY is as for `quality`. Half of the messages (by a hash of their names) are for fitting, the other half is
//! only judged. First the weights as they are in `rules` are reported on both halves, at several lines. Then those of
//! style and wording, and of the smaller rules of shape, are fitted anew on the first half, and what comes of it is
//! reported; weights are never below zero, because what a spammer can put into a message must not help it.
//!
//! The fit is a logistic regression with weights between 0 and 3 points by projected gradient, wanted mail counted
//! `HAM_WEIGHT` times, and scaled so that no wanted message of the first half
//! reaches five points, and a sixth less.

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
use filter::classifier::Class;
use filter::{Authenticity, Evidence, Features, Known, Limits, Settings, judge, rules};
use mail::Digest;
use std::collections::BTreeMap;
use std::path::Path;

/// How much more a wanted message counts.
const HAM_WEIGHT: f64 = 3.0;
/// Passes over the first half.
const PASSES: usize = 3_000;
/// Rules that are kept as they were set: what they find is rare in this corpus, says more than it shows, or was
/// peculiar when the corpus was gathered and is usual today (text in Base64, HTML alone, programs that give no name).
const SET_BY_HAND: [&str; 28] = [
    "missing-field",
    "other-reply",
    "disguised-program",
    "program",
    "macro",
    "page",
    "mixed-link",
    "mixed-author",
    "misleading-link",
    "user-in-link",
    "numeric-link",
    "address-in-name",
    "advance-fee",
    "wording-account",
    "html-only",
    "hidden-by-encoding",
    "hidden-text",
    "picture",
    "urgent",
    "nameless-author",
    "numbered-author",
    "to-its-author",
    "large-type",
    "red-type",
    "asking-subject",
    "form",
    "split-words",
    "removal-by-mail",
];

struct Message {
    features: Features,
    class: Class,
    is_first_half: bool,
}

fn main() {
    let directory = std::env::args().nth(1).unwrap();
    let messages = read(Path::new(&directory));
    for (first, name) in [(true, "first half"), (false, "second half")] {
        let half: Vec<_> = messages.iter().filter(|message| message.is_first_half == first).collect();
        println!("as shipped, {name}:");
        table(&half.iter().map(|message| (f64::from(verdict(&message.features)), message.class)).collect::<Vec<_>>());
    }
    fit(&messages);
}

fn read(directory: &Path) -> Vec<Message> {
    let message = |File { octets, class, is_first_half, .. }: File| Message {
        features: Features::of(&octets, &Digest::of(&octets), &Limits::default()),
        class,
        is_first_half,
    };
    corpus::read(directory).into_iter().map(message).collect()
}

fn verdict(features: &Features) -> i32 {
    let none = Known::default();
    let evidence = Evidence {
        features,
        authenticity: Authenticity::Unknown,
        server: &none,
        account: &none,
        is_correspondent: false,
        is_reply: false,
        imitated: None,
    };
    judge(&evidence, &Settings::default()).score
}

fn table(scored: &[(f64, Class)]) {
    let of = |class| scored.iter().filter(move |(_, of)| *of == class).map(|(score, _)| *score);
    let (spam, ham) = (of(Class::Spam).count(), of(Class::Ham).count());
    for line in [300.0, 400.0, 500.0, 600.0, 700.0, 800.0, 1_000.0] {
        let (caught, lost) =
            (of(Class::Spam).filter(|score| *score >= line).count(), of(Class::Ham).filter(|score| *score >= line).count());
        println!(
            "  {:>4.1} points: {caught} of {spam} spam caught ({:.1} %), {lost} of {ham} ham lost ({:.2} %)",
            line / 100.0,
            100.0 * caught as f64 / spam as f64,
            100.0 * lost as f64 / ham as f64
        );
    }
}

/// A message as the fit sees it: which rules hold, and points that are not fitted.
struct Row {
    columns: Vec<usize>,
    fixed: f64,
    class: Class,
}

fn fit(messages: &[Message]) {
    let mut names: BTreeMap<(&'static str, usize), usize> = BTreeMap::new();
    let mut rows = [Vec::new(), Vec::new()];
    for message in messages {
        let mut row = Row { columns: Vec::new(), fixed: 0.0, class: message.class };
        for sign in rules::signs(&message.features) {
            if SET_BY_HAND.contains(&sign.rule) {
                row.fixed += f64::from(sign.weight) / 100.0;
            } else {
                // More phrases never weigh less: each level adds to the one below.
                for level in sign.level.min(1)..=sign.level {
                    let next = names.len();
                    row.columns.push(*names.entry((sign.rule, level)).or_insert(next));
                }
            }
        }
        rows[usize::from(!message.is_first_half)].push(row);
    }
    let mut weights = vec![0.5_f64; names.len()];
    let (mut bias, mut scale) = (-3.0_f64, 1.0_f64);
    let total: f64 = rows[0].iter().map(|row| if row.class == Class::Ham { HAM_WEIGHT } else { 1.0 }).sum();
    for pass in 0..PASSES {
        let rate = 20.0 / (1.0 + pass as f64 / 500.0);
        let (mut slopes, mut slope_bias) = (vec![0.0; weights.len()], 0.0);
        for row in &rows[0] {
            let points: f64 = row.fixed + row.columns.iter().map(|column| weights[*column]).sum::<f64>();
            let (target, cost) = if row.class == Class::Spam { (1.0, 1.0) } else { (0.0, HAM_WEIGHT) };
            let slope = (1.0 / (1.0 + (-(points * scale + bias)).exp()) - target) * cost / total;
            slope_bias += slope;
            row.columns.iter().for_each(|column| slopes[*column] += slope * scale);
        }
        bias -= rate * 0.2 * slope_bias;
        for (weight, slope) in weights.iter_mut().zip(&slopes) {
            // A little towards zero, so that what says little gets nothing.
            *weight = (*weight - rate * (slope + 0.000_15)).clamp(0.0, 3.0);
        }
        scale = 1.0;
    }
    let points = |row: &Row, factor: f64| 100.0 * (row.fixed + factor * row.columns.iter().map(|column| weights[*column]).sum::<f64>());
    // Scaled so that no wanted message of the first half reaches five points, and a sixth less.
    let mut factor = 3.0_f64;
    let lost = |factor: f64| rows[0].iter().filter(|row| row.class == Class::Ham && points(row, factor) >= 500.0).count();
    while lost(factor * 1.2) > 0 && factor > 0.05 {
        factor -= 0.01;
    }
    println!("fitted on the first half, factor {factor:.2}:");
    for (rule, level) in names.keys() {
        let sum: f64 = names.iter().filter(|((of, at), _)| of == rule && at <= level).map(|(_, column)| weights[*column]).sum();
        println!("  {rule} {level}: {:.0}", 100.0 * factor * sum);
    }
    for (half, name) in [(0, "first half"), (1, "second half")] {
        println!("fitted, {name}:");
        table(&rows[half].iter().map(|row| (points(row, factor), row.class)).collect::<Vec<_>>());
    }
}
