//! What a verdict rests on, kept with it: small enough for a trail, and enough to come to the same verdict again, or to
//! another one under other settings.
//!
//! Not the message: of its features only the counts of those that were heard are here, and the names of the strongest
//! [`NAMED_MAX`]. What a feature's count was when the message came cannot be found out later, for people go on teaching.
//!
//! Invariants
//! - [`crate::judge`] goes through this: a verdict made again is the verdict.
//! - Kept forms are read for ever: fields are only added, each with a default.

use crate::classifier::{Heard, Opinion, heard, opinion_of};
use crate::rules;
use crate::verdict::{Authenticity, Evidence, Reason, Settings, Verdict, decide};
use serde::{Deserialize, Serialize};

/// Features that are kept by their names. The others are kept as counts alone.
pub const NAMED_MAX: usize = 8;

/// Everything that a verdict rests on.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Grounds {
    /// What the rules found, and whoever else looked at the message.
    pub findings: Vec<Reason>,
    /// Who it is from.
    pub authenticity: Authenticity,
    /// The reader has written to the author.
    pub is_correspondent: bool,
    /// It answers a message of the reader.
    pub is_reply: bool,
    /// The domain that the author's only looks like.
    pub imitated: Option<String>,
    /// What was taught about the features that were heard, the strongest first; `None`: too little was taught.
    pub heard: Option<Heard>,
}

impl Grounds {
    /// What a verdict on this evidence rests on.
    #[must_use]
    pub fn of(evidence: &Evidence<'_>) -> Self {
        let found = rules::findings(evidence.features);
        let found = found.into_iter().map(|found| Reason { name: found.rule.into(), weight: found.weight, words: found.found });
        Self {
            findings: found.collect(),
            authenticity: evidence.authenticity,
            is_correspondent: evidence.is_correspondent,
            is_reply: evidence.is_reply,
            imitated: evidence.imitated.map(str::to_owned),
            heard: heard(evidence.features, evidence.server, evidence.account),
        }
    }

    /// What else was found joins the rules' findings.
    #[must_use]
    pub fn with(mut self, findings: impl IntoIterator<Item = Reason>) -> Self {
        self.findings.extend(findings);
        self
    }

    /// The verdict under some settings.
    #[must_use]
    pub fn judge(&self, settings: &Settings) -> Verdict {
        decide(self, settings)
    }

    /// What the teaching said.
    #[must_use]
    pub fn opinion(&self) -> Option<Opinion> {
        self.heard.as_ref().map(opinion_of)
    }

    /// The form that is kept: most features without their names.
    #[must_use]
    pub fn for_keeping(mut self) -> Self {
        if let Some(heard) = &mut self.heard {
            heard.features.iter_mut().skip(NAMED_MAX).for_each(|one| one.feature.clear());
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classifier::{Class, Known, Memory};
    use crate::{Features, judge};
    use proptest::prelude::*;

    fn features(words: &[u8]) -> Features {
        let list = words.iter().map(|word| format!("word:{word}")).collect();
        Features { list, files: if words.contains(&7) { vec!["a.exe".to_owned()] } else { Vec::new() }, ..Features::default() }
    }

    proptest! {
        /// The kept form, written and read, gives the very verdict.
        #[test]
        fn a_kept_verdict_is_made_again(
            taught in proptest::collection::vec((proptest::collection::vec(0_u8..250, 0..30), any::<bool>()), 0..40),
            message in proptest::collection::vec(0_u8..250, 0..220),
            junk_at in -300_i32..900,
        ) {
            let mut memory = Memory::default();
            for (words, is_spam) in &taught {
                memory.learn(&features(words), if *is_spam { Class::Spam } else { Class::Ham });
            }
            let features = features(&message);
            let evidence = Evidence {
                features: &features,
                authenticity: if junk_at % 2 == 0 { Authenticity::Contradicted } else { Authenticity::Proven },
                server: &memory.known(&features),
                account: &Known::default(),
                is_correspondent: junk_at % 3 == 0,
                is_reply: false,
                imitated: (junk_at % 5 == 0).then_some("example.org"),
            };
            let settings = Settings { junk_at, ..Settings::default() };
            let verdict = judge(&evidence, &settings);
            let kept = serde_json::to_string(&Grounds::of(&evidence).for_keeping()).unwrap();
            let again = serde_json::from_str::<Grounds>(&kept).unwrap().judge(&settings);
            prop_assert_eq!((again.action, again.score, &again.reasons), (verdict.action, verdict.score, &verdict.reasons));
            prop_assert_eq!(again.short(), verdict.short());
            let odds = |verdict: &Verdict| verdict.opinion.as_ref().map(|opinion| opinion.hundredths.to_bits());
            prop_assert_eq!(odds(&again), odds(&verdict));
        }
    }

    #[test]
    fn what_an_older_program_kept_is_read() {
        let kept =
            r#"{"findings":[{"name":"program","weight":500,"words":"the file \"a.exe\" is a program"}],"authenticity":"contradicted"}"#;
        let verdict = serde_json::from_str::<Grounds>(kept).unwrap().judge(&Settings::default());
        assert_eq!(verdict.short(), "junk; score=6.50; program=5.00 authentication=1.50");
    }
}
