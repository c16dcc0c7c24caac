//! How the teaching was added up first: one sum over all features, by Robinson's probabilities.
//!
//! Nothing is judged so any more. It is here because decisions of that time are made again, and must come out as then.
//!
//! ```text
//! s, h    = (of the account's + K · share of the server's) / (the account's + K)    unwanted, wanted; K = 10
//! p(f)    = (S/2 + n·s/(s+h)) / (S + n)                                             n: messages with f
//! log-odds = Σ ln(p/(1-p)) / √k                                                     over the k features that were kept
//! points   = 0.8 · log-odds
//! ```
//!
//! Invariant: no number in here ever changes.

use super::{Counts, Heard, HeardFeature, Opinion, Telling};

const SERVER_MESSAGES: f64 = 10.0;
const DEVIATION_MIN: f64 = 0.1;
const PRIOR_STRENGTH: f64 = 0.3;
/// Hundredths of a point for one of log-odds.
const SCALE: f64 = 80.0;

pub(super) fn opinion_of(heard: &Heard) -> Opinion {
    let tell = |one: &HeardFeature| Some(Telling { weight: tell(one, heard.server, heard.account)?, feature: one.feature.clone() });
    let telling: Vec<Telling> = heard.features.iter().filter_map(tell).collect();
    let sum: f64 = telling.iter().map(|one| one.weight).sum();
    let heard = u32::try_from(telling.len()).unwrap_or(u32::MAX).max(1);
    Opinion { hundredths: sum / f64::from(heard).sqrt() * SCALE, telling }
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

/// The share of messages with a feature, as it was for this account.
fn share(server: u32, server_messages: u32, account: u32, account_messages: u32) -> f64 {
    let everywhere = f64::from(server) / f64::from(server_messages.max(1));
    everywhere.mul_add(SERVER_MESSAGES, f64::from(account)) / (f64::from(account_messages) + SERVER_MESSAGES)
}
