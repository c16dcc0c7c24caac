//! What the fuzz target runs: any message, with its promises checked.

use crate::classifier::{Class, Memory};
use crate::{Authenticity, Evidence, Features, Known, Limits, Settings, judge};
use mail::Digest;

/// Judges a message.
///
/// # Panics
/// When a limit is exceeded, or learning and unlearning is not nothing.
pub fn fuzz(data: &[u8]) {
    let limits = Limits::default();
    let features = Features::of(data, &Digest::of(data), &limits);
    assert!(features.list.len() <= limits.features_max && features.links.len() <= limits.links_max);
    assert!(features.list.iter().all(|feature| feature.chars().count() <= limits.feature_chars_max));
    let mut memory = Memory::default();
    memory.learn(&features, Class::Spam);
    memory.unlearn(&features, Class::Spam);
    assert!(memory.known(&features).features.iter().all(|counts| counts.is_zero()));
    for _ in 0..6 {
        memory.learn(&features, Class::Spam);
        memory.learn(&Features::default(), Class::Ham);
    }
    let evidence = Evidence {
        features: &features,
        authenticity: Authenticity::Unproven,
        server: &memory.known(&features),
        account: &Known::default(),
        is_correspondent: false,
        is_reply: false,
        imitated: None,
    };
    let verdict = judge(&evidence, &Settings::default());
    assert!(verdict.opinion.is_some_and(|opinion| opinion.hundredths.is_finite() && opinion.hundredths >= 0.0));
}
