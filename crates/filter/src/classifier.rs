//! What people have taught, and what it says about a message.
//!
//! For every feature it is known in how many wanted and unwanted messages it was. A feature stands in one [`Place`] of the
//! message; the strong features of each place give a mean, so that no place can outvote the others by having more to say: a
//! long text is one voice, and who it is from is another.
//!
//! ```text
//! rate(f, class) = (of the account's + K · (of the server's + A)/(the server's + 2A)) / (the account's + K)
//!                  (of the server alone, where the account never taught f)
//! weight(f)      = ln( rate(f, unwanted) / rate(f, wanted) )                     heard from |weight| ≥ WEIGHT_MIN on
//! trust(f)       = the greater of n/(n + TRUST) and m/(m + SEEN)
//!                  n: messages taught of the rarer kind; m: of so many, how many would have f
//! voice(place)   = Σ trust(f) · weight(f) / (k + DOUBT)                          its k ≤ PLACE_MAX strongest features
//! points         = SCALE · Σ share(place) · voice(place)
//! ```
//!
//! Who has taught little is trusted little: with `n` = [`TRUST`] half of what it will be. But what came again and again is
//! believed sooner. `docs/filter.md` says how the numbers were chosen, and has the figures of the methods not taken.
//!
//! Counting can be undone exactly, which gradients cannot: a message that was taken for spam by mistake
//! leaves nothing behind.
//!
//! Invariants
//! - Without [`MESSAGES_MIN`] messages of each kind there is no opinion.
//! - The points of the features add up to the points of the opinion.
//! - What was heard under an earlier [`Manner`] is added up in that manner for ever.

mod former;

use crate::features::Features;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// For how many messages of the account the teaching of the whole server stands (K).
pub const SERVER_MESSAGES: u32 = 10;
/// Wanted and unwanted messages, each, that the server must know before there is an opinion.
pub const MESSAGES_MIN: u32 = 5;
/// With so many messages of the rarer kind the teaching has half its weight.
pub const TRUST: u32 = 250;
/// A feature of so many messages has half its weight, however little was taught beside.
pub const SEEN: u32 = 30;
/// Most features of one place that an opinion rests on.
pub const PLACE_MAX: usize = 30;
/// Hundredths of a point for one of log-odds, of a voice whose share is 1.
const SCALE: f64 = 200.0;
/// Log-odds from which on a feature is heard.
const WEIGHT_MIN: f64 = 2.0;
/// As if each feature had been in so much of a message of each kind, and not in as much (A).
const UNSEEN: f64 = 0.05;
/// Features that say nothing and are counted among those of each place, so that one alone is not its whole voice.
const DOUBT: f64 = 3.0;

/// Where in a message a feature stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    /// Who it is from, and by which list.
    Sender,
    /// The shape of the header, and which program wrote it.
    Header,
    /// Which fields the header has.
    Fields,
    /// The words of the subject.
    Subject,
    /// The words of the text.
    #[default]
    Text,
    /// Where links lead, and what files come with it.
    Links,
}

impl Place {
    /// Every place.
    const ALL: [Self; 6] = [Self::Sender, Self::Header, Self::Fields, Self::Subject, Self::Text, Self::Links];

    /// Where a feature stands.
    #[must_use]
    pub fn of(feature: &str) -> Self {
        match feature.split(':').next().unwrap_or_default() {
            "from" | "from.domain" | "from.name" | "reply.domain" | "id.domain" | "list" => Self::Sender,
            "field" => Self::Fields,
            "subject" => Self::Subject,
            "word" => Self::Text,
            "link" | "file" | "part" => Self::Links,
            _ => Self::Header,
        }
    }

    /// How much it has to say. Rounded from a fit (`docs/filter.md`).
    const fn share(self) -> f64 {
        match self {
            Self::Sender | Self::Header => 1.0,
            Self::Fields => 0.6,
            Self::Subject => 0.8,
            Self::Text | Self::Links => 1.2,
        }
    }
}

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
    /// Which; empty where it was not kept.
    pub feature: String,
    /// Points that it adds. In decisions of before [`Manner::Places`]: its log-odds.
    pub weight: f64,
}

/// What was taught says this about a message.
#[derive(Debug, Clone, PartialEq)]
pub struct Opinion {
    /// Hundredths of a point, unrounded; above zero for spam.
    pub hundredths: f64,
    /// The features it rests on, the strongest first.
    pub telling: Vec<Telling>,
}

/// A feature that is heard, and in how many messages it was.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct HeardFeature {
    /// Which; empty where it was not kept.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub feature: String,
    /// Where it stands.
    #[serde(default, skip_serializing_if = "is_text")]
    pub place: Place,
    /// In the whole server's teaching.
    pub server: Counts,
    /// In the account's.
    pub account: Counts,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
fn is_text(place: &Place) -> bool {
    *place == Place::Text
}

/// How what was heard is added up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Manner {
    /// The first: one sum of all features. Decisions of that time are made again so.
    #[default]
    Sum,
    /// A voice for each place.
    Places,
}

/// What was taught about the features of a message that are heard.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Heard {
    /// How it is added up.
    #[serde(default)]
    pub manner: Manner,
    /// All messages that the server has learned.
    pub server: Counts,
    /// All that the account has.
    pub account: Counts,
    /// The features, those that say most first; at most [`PLACE_MAX`] of each place.
    pub features: Vec<HeardFeature>,
}

/// Which features of a message are heard; `server` includes what `account` has taught. `None`: too little is known.
#[must_use]
pub fn heard(features: &Features, server: &Known, account: &Known) -> Option<Heard> {
    if server.messages.ham < MESSAGES_MIN || server.messages.spam < MESSAGES_MIN {
        return None;
    }
    let at = |known: &Known, at: usize| known.features.get(at).copied().unwrap_or_default();
    let weighed = |(number, feature): (usize, &String)| {
        let (server_counts, account_counts) = (at(server, number), at(account, number));
        let one = HeardFeature { feature: feature.clone(), place: Place::of(feature), server: server_counts, account: account_counts };
        let weight = weight(&one, server.messages, account.messages);
        (!server_counts.is_zero() && weight.abs() >= WEIGHT_MIN).then_some((weight, one))
    };
    let mut found: Vec<(f64, HeardFeature)> = features.list.iter().enumerate().filter_map(weighed).collect();
    found.sort_by(|(a, of_a), (b, of_b)| b.abs().total_cmp(&a.abs()).then_with(|| of_a.feature.cmp(&of_b.feature)));
    let mut features = Vec::new();
    for place in Place::ALL {
        features.extend(found.iter().filter(|(_, one)| one.place == place).take(PLACE_MAX).map(|(_, one)| one.clone()));
    }
    let mut heard = Heard { manner: Manner::Places, server: server.messages, account: account.messages, features };
    sort_by_points(&mut heard);
    Some(heard)
}

/// Those that say most first.
fn sort_by_points(heard: &mut Heard) {
    let told = opinion_of(heard).telling;
    let mut weighed: Vec<(f64, HeardFeature)> = told.into_iter().map(|one| one.weight.abs()).zip(heard.features.drain(..)).collect();
    weighed.sort_by(|(a, of_a), (b, of_b)| b.total_cmp(a).then_with(|| of_a.feature.cmp(&of_b.feature)));
    heard.features = weighed.into_iter().map(|(_, one)| one).collect();
}

/// What the teaching says.
#[must_use]
pub fn opinion_of(heard: &Heard) -> Opinion {
    match heard.manner {
        Manner::Sum => former::opinion_of(heard),
        Manner::Places => of_places(heard),
    }
}

/// What the teaching says about a message; `server` includes what `account` has taught. `None`: too little
/// is known.
#[must_use]
pub fn opinion(features: &Features, server: &Known, account: &Known) -> Option<Opinion> {
    heard(features, server, account).as_ref().map(opinion_of)
}

fn of_places(heard: &Heard) -> Opinion {
    let factor = |place: Place| {
        let features = heard.features.iter().filter(|one| one.place == place).count();
        SCALE * place.share() / (f64::from(u32::try_from(features).unwrap_or(u32::MAX)) + DOUBT)
    };
    let factors = Place::ALL.map(|place| (place, factor(place)));
    let factor = |place: Place| factors.iter().find(|(of, _)| *of == place).map_or(0.0, |(_, factor)| *factor);
    let hundredths = |one: &HeardFeature| trust(one.server, heard.server) * weight(one, heard.server, heard.account) * factor(one.place);
    let telling: Vec<Telling> =
        heard.features.iter().map(|one| Telling { feature: one.feature.clone(), weight: hundredths(one) / 100.0 }).collect();
    Opinion { hundredths: heard.features.iter().map(hundredths).sum(), telling }
}

/// How far a feature is believed, from 0 to 1. Of the kind that was taught more often no more counts than of the other: there
/// it would not have been seen either.
fn trust(one: Counts, all: Counts) -> f64 {
    let rarer = f64::from(all.ham.min(all.spam));
    let share = |of: u32, all: u32| f64::from(of) / f64::from(all.max(1));
    let seen = rarer * share(one.ham, all.ham).max(share(one.spam, all.spam));
    (rarer / (rarer + f64::from(TRUST))).max(seen / (seen + f64::from(SEEN)))
}

/// The log-odds of a feature.
fn weight(one: &HeardFeature, server: Counts, account: Counts) -> f64 {
    // Of what the account never taught it has no opinion: silence is no evidence.
    let account = if one.account.is_zero() { Counts::default() } else { account };
    let ham = rate(one.server.ham, server.ham, one.account.ham, account.ham);
    let spam = rate(one.server.spam, server.spam, one.account.spam, account.spam);
    (spam / ham).ln()
}

/// The share of messages with a feature, as it is for this account; never 0.
fn rate(server: u32, server_messages: u32, account: u32, account_messages: u32) -> f64 {
    let everywhere = (f64::from(server) + UNSEEN) / 2.0_f64.mul_add(UNSEEN, f64::from(server_messages));
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
        Some(opinion(&features, &memory.known(&features), &own.known(&features))?.hundredths)
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
        let mut server = taught(40);
        for _ in 0..3 {
            own.learn(&words("pills"), Class::Ham);
            server.learn(&words("pills"), Class::Ham);
        }
        assert!(odds(&server, &own, "pills") < odds(&server, &Memory::default(), "pills"));
    }

    #[test]
    fn who_only_complains_changes_nothing_that_it_never_taught() {
        let (mut own, mut server) = (Memory::default(), taught(40));
        for _ in 0..20 {
            own.learn(&words("lottery"), Class::Spam);
            server.learn(&words("lottery"), Class::Spam);
        }
        for text in ["pills", "notes meeting", "hello"] {
            assert_eq!(odds(&server, &own, text), odds(&server, &Memory::default(), text), "{text}");
        }
        assert!(odds(&server, &own, "lottery") > odds(&server, &Memory::default(), "lottery"));
    }

    #[test]
    fn who_taught_little_is_trusted_little() {
        let none = Memory::default();
        let of = |times| odds(&taught(times), &none, "pills").unwrap();
        assert!(of(5) < 60.0 && of(5) < of(50) && of(50) < of(500), "{} {} {}", of(5), of(50), of(500));
        // Twenty of a kind are believed, two among forty others are not yet.
        let mut memory = Memory::default();
        for n in 0..20 {
            memory.learn(&words(&format!("word:same word:a{n} word:c{}", n / 2)), Class::Spam);
            memory.learn(&words(&format!("word:b{n}")), Class::Ham);
        }
        let of = |text| odds(&memory, &none, text).unwrap();
        assert!(of("word:same") > 4.0 * of("word:c3") && of("word:a3") < of("word:c3"), "{} {}", of("word:same"), of("word:c3"));
    }

    #[test]
    fn no_place_outvotes_the_others_by_having_more_to_say() {
        let mut memory = Memory::default();
        let long = (0..400).map(|n| format!("word:w{n}")).collect::<Vec<_>>().join(" ");
        for _ in 0..300 {
            memory.learn(&words(&long), Class::Spam);
            memory.learn(&words("from:bob@b.example from.domain:b.example list:club"), Class::Ham);
        }
        let text = odds(&memory, &Memory::default(), &long).unwrap();
        let both = odds(&memory, &Memory::default(), &format!("{long} from:bob@b.example from.domain:b.example list:club")).unwrap();
        assert!(text > 500.0 && both < text - 400.0, "{text} {both}");
        assert_eq!(["from:a@b", "x-priority:1", "field:to", "subject:a:b", "word:a", "link:x", "new:kind"].map(Place::of), {
            [Place::Sender, Place::Header, Place::Fields, Place::Subject, Place::Text, Place::Links, Place::Header]
        });
    }

    #[test]
    fn points_of_features_add_up() {
        let memory = taught(30);
        let features = words("word:x hello meeting cheap pills notes");
        let found = opinion(&features, &memory.known(&features), &Known::default()).unwrap();
        let sum: f64 = found.telling.iter().map(|one| one.weight).sum();
        assert!((sum * 100.0 - found.hundredths).abs() < 1e-9 && found.telling.len() == 4, "{found:?}");
    }

    /// As decisions of before places were kept: the numbers are those of then.
    #[test]
    fn what_was_heard_in_the_former_manner_is_added_up_so() {
        let kept = r#"{"server":{"ham":5,"spam":5},"account":{"ham":0,"spam":0},"features":[
            {"feature":"word:pills","server":{"ham":0,"spam":5},"account":{"ham":0,"spam":0}},
            {"server":{"ham":4,"spam":0},"account":{"ham":0,"spam":0}}]}"#;
        let found = opinion_of(&serde_json::from_str::<Heard>(kept).unwrap());
        // ln(5.15/0.15) and ln(0.15/4.15), added, by the root of two, four fifths of a point each.
        let want = ((5.15_f64 / 0.15).ln() + (0.15_f64 / 4.15).ln()) / 2.0_f64.sqrt() * 80.0;
        assert!((found.hundredths - want).abs() < 1e-9 && found.telling.len() == 2, "{found:?} {want}");
    }

    #[test]
    fn the_strongest_come_first() {
        let memory = taught(9);
        let features = words("hello meeting cheap");
        let found = opinion(&features, &memory.known(&features), &Known::default()).unwrap();
        assert_eq!(found.telling.iter().map(|one| one.feature.as_str()).collect::<Vec<_>>(), ["cheap", "meeting"]);
    }
}
