//! What people have taught, and what it says about a message.
//!
//! For every feature it is known in how many wanted and unwanted messages it was (Robinson's
//! probabilities); the strongest features of a message give one sum of log-odds. The server's teaching stands
//! for [`SERVER_MESSAGES`] messages of each kind beside what the reader's own account has taught.
//!
//! ```text
//! s, h    = (of the account's + K · share of the server's) / (the account's + K)    unwanted, wanted; K = SERVER_MESSAGES
//! p(f)    = (S/2 + n·s/(s+h)) / (S + n)                                             n: messages with f
//! log-odds = Σ ln(p/(1-p)) / √k              over the k ≤ TELLING_MAX features furthest from ½
//! ```
//!
//! Counting can be undone exactly, which gradients cannot: a message that was taken for spam by mistake
//! leaves nothing behind. `docs/filter.md` has the figures, and those of the methods not taken.
//!
//! Invariant: without [`MESSAGES_MIN`] messages of each kind there is no opinion.

use crate::features::Features;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// For how many messages of the account the teaching of the whole server stands.
pub const SERVER_MESSAGES: u32 = 10;
/// Wanted and unwanted messages, each, that the server must know before there is an opinion.
pub const MESSAGES_MIN: u32 = 5;
/// Most features that an opinion rests on.
pub const TELLING_MAX: usize = 150;
/// How far from ½ a feature must be to be heard.
const DEVIATION_MIN: f64 = 0.1;
/// How strong the belief is that an unknown feature says nothing (Robinson's s).
const PRIOR_STRENGTH: f64 = 0.3;

/// What a person says of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Wanted.
    Ham,
    /// Unwanted.
    Spam,
}

/// In how many messages something was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counts {
    /// Wanted ones.
    pub ham: u32,
    /// Unwanted ones.
    pub spam: u32,
}

impl Counts {
    /// One message more.
    #[must_use]
    pub const fn learn(self, class: Class) -> Self {
        match class {
            Class::Ham => Self { ham: self.ham.saturating_add(1), ..self },
            Class::Spam => Self { spam: self.spam.saturating_add(1), ..self },
        }
    }

    /// One message less, as if it had never been learned.
    #[must_use]
    pub const fn unlearn(self, class: Class) -> Self {
        match class {
            Class::Ham => Self { ham: self.ham.saturating_sub(1), ..self },
            Class::Spam => Self { spam: self.spam.saturating_sub(1), ..self },
        }
    }

    /// Nothing is counted.
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.ham == 0 && self.spam == 0
    }
}

/// What is known about the features of one message.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Known {
    /// All messages that were learned.
    pub messages: Counts,
    /// For each feature of the message, in its order.
    pub features: Vec<Counts>,
}

/// A feature and what it says: above zero for spam.
#[derive(Debug, Clone, PartialEq)]
pub struct Telling {
    /// Which.
    pub feature: String,
    /// Log-odds, before they are summed.
    pub weight: f64,
}

/// What was taught says this about a message.
#[derive(Debug, Clone, PartialEq)]
pub struct Opinion {
    /// Above zero for spam; most messages are between -40 and 40.
    pub log_odds: f64,
    /// The features it rests on, the strongest first.
    pub telling: Vec<Telling>,
}

/// A feature that is heard, and in how many messages it was.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct HeardFeature {
    /// Which; empty where it was not kept.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub feature: String,
    /// In the whole server's teaching.
    pub server: Counts,
    /// In the account's.
    pub account: Counts,
}

/// What was taught about the features of a message that are heard.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Heard {
    /// All messages that the server has learned.
    pub server: Counts,
    /// All that the account has.
    pub account: Counts,
    /// The features furthest from ½, the furthest first; at most [`TELLING_MAX`].
    pub features: Vec<HeardFeature>,
}

/// Which features of a message are heard; `server` includes what `account` has taught. `None`: too little is known.
#[must_use]
pub fn heard(features: &Features, server: &Known, account: &Known) -> Option<Heard> {
    if server.messages.ham < MESSAGES_MIN || server.messages.spam < MESSAGES_MIN {
        return None;
    }
    let at = |known: &Known, at: usize| known.features.get(at).copied().unwrap_or_default();
    let weighed = |(place, feature): (usize, &String)| {
        let one = HeardFeature { feature: feature.clone(), server: at(server, place), account: at(account, place) };
        Some((tell(&one, server.messages, account.messages)?, one))
    };
    let mut found: Vec<(f64, HeardFeature)> = features.list.iter().enumerate().filter_map(weighed).collect();
    found.sort_by(|(a, of_a), (b, of_b)| b.abs().total_cmp(&a.abs()).then_with(|| of_a.feature.cmp(&of_b.feature)));
    found.truncate(TELLING_MAX);
    Some(Heard { server: server.messages, account: account.messages, features: found.into_iter().map(|(_, one)| one).collect() })
}

/// What the teaching says.
#[must_use]
pub fn opinion_of(heard: &Heard) -> Opinion {
    let tell = |one: &HeardFeature| Some(Telling { weight: tell(one, heard.server, heard.account)?, feature: one.feature.clone() });
    let telling: Vec<Telling> = heard.features.iter().filter_map(tell).collect();
    let sum: f64 = telling.iter().map(|one| one.weight).sum();
    let heard = u32::try_from(telling.len()).unwrap_or(u32::MAX).max(1);
    Opinion { log_odds: sum / f64::from(heard).sqrt(), telling }
}

/// What the teaching says about a message; `server` includes what `account` has taught. `None`: too little
/// is known.
#[must_use]
pub fn opinion(features: &Features, server: &Known, account: &Known) -> Option<Opinion> {
    heard(features, server, account).as_ref().map(opinion_of)
}

/// The log-odds of a feature; `None`: it is too close to ½ to be heard.
fn tell(one: &HeardFeature, server: Counts, account: Counts) -> Option<f64> {
    let n = f64::from(one.server.ham) + f64::from(one.server.spam);
    if n == 0.0 {
        return None;
    }
    let ham = share(one.server.ham, server.ham, one.account.ham, account.ham);
    let spam = share(one.server.spam, server.spam, one.account.spam, account.spam);
    let p = PRIOR_STRENGTH.mul_add(0.5, n * spam / (spam + ham)) / (PRIOR_STRENGTH + n);
    let heard = (p - 0.5).abs() >= DEVIATION_MIN;
    heard.then(|| (p / (1.0 - p)).ln())
}

/// The share of messages with a feature, as it is for this account.
fn share(server: u32, server_messages: u32, account: u32, account_messages: u32) -> f64 {
    let everywhere = f64::from(server) / f64::from(server_messages.max(1));
    let stands_for = f64::from(SERVER_MESSAGES);
    everywhere.mul_add(stands_for, f64::from(account)) / (f64::from(account_messages) + stands_for)
}

/// What was taught, in memory: for tests and measurements. The store has its own.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    messages: Counts,
    features: BTreeMap<u32, Counts>,
}

impl Memory {
    /// Learns a message.
    pub fn learn(&mut self, features: &Features, class: Class) {
        self.count(features, |counts| counts.learn(class));
    }

    /// Takes back what was learned.
    pub fn unlearn(&mut self, features: &Features, class: Class) {
        self.count(features, |counts| counts.unlearn(class));
    }

    fn count(&mut self, features: &Features, change: impl Fn(Counts) -> Counts) {
        self.messages = change(self.messages);
        for bucket in features.buckets() {
            let counts = self.features.entry(bucket).or_default();
            *counts = change(*counts);
            if counts.is_zero() {
                self.features.remove(&bucket);
            }
        }
    }

    /// What is known about a message.
    #[must_use]
    pub fn known(&self, features: &Features) -> Known {
        let of = |bucket| self.features.get(&bucket).copied().unwrap_or_default();
        Known { messages: self.messages, features: features.buckets().into_iter().map(of).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Features {
        Features { list: text.split(' ').map(str::to_owned).collect(), ..Features::default() }
    }

    fn taught(times: u32) -> Memory {
        let mut memory = Memory::default();
        for _ in 0..times {
            memory.learn(&words("meeting notes hello"), Class::Ham);
            memory.learn(&words("pills cheap hello"), Class::Spam);
        }
        memory
    }

    fn odds(memory: &Memory, own: &Memory, text: &str) -> Option<f64> {
        let features = words(text);
        Some(opinion(&features, &memory.known(&features), &own.known(&features))?.log_odds)
    }

    #[test]
    fn an_opinion_needs_both_kinds() {
        let none = Memory::default();
        assert_eq!(odds(&taught(4), &none, "pills"), None);
        assert!(odds(&taught(5), &none, "pills").is_some_and(|odds| odds > 2.0));
        assert!(odds(&taught(5), &none, "notes").is_some_and(|odds| odds < -2.0));
        assert!(odds(&taught(5), &none, "hello stranger").is_some_and(|odds| odds.abs() < 0.01));
    }

    #[test]
    fn what_was_learned_can_be_taken_back() {
        let mut memory = taught(5);
        let before = memory.clone();
        memory.learn(&words("pills new"), Class::Spam);
        memory.unlearn(&words("pills new"), Class::Spam);
        assert_eq!((memory.messages, memory.features), (before.messages, before.features));
    }

    #[test]
    fn the_readers_own_teaching_counts_more() {
        let mut own = Memory::default();
        let mut server = taught(5);
        for _ in 0..3 {
            own.learn(&words("pills"), Class::Ham);
            server.learn(&words("pills"), Class::Ham);
        }
        assert!(odds(&server, &own, "pills") < odds(&server, &Memory::default(), "pills"));
    }

    #[test]
    fn the_strongest_come_first() {
        let memory = taught(9);
        let features = words("hello meeting cheap");
        let found = opinion(&features, &memory.known(&features), &Known::default()).unwrap();
        assert_eq!(found.telling.iter().map(|one| one.feature.as_str()).collect::<Vec<_>>(), ["cheap", "meeting"]);
    }
}
