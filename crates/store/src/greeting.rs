//! First contacts: who tried to bring mail from whom to whom for the first time, and when (greylisting, RFC 6647).
//!
//! Not the decision: that is `mta`'s. Here is what a decision needs to be the same after a restart.
//!
//! Invariant: at most [`GREETINGS_MAX`] are known; a newer one takes an older one's place.

use crate::error::Result;
use crate::key;
use crate::record::Record;
use crate::schema::Space;
use crate::tx::{ReadTx, WriteTx};
use mail::Timestamp;
use serde::{Deserialize, Serialize};

/// Most first contacts that are remembered; a power of two.
pub const GREETINGS_MAX: u64 = 1 << 17;

/// What is known of a contact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Greeting {
    /// When it was tried first.
    pub first: Timestamp,
    /// When it was tried last after its wait; none: it was never let in.
    pub passed: Option<Timestamp>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GreetingRecord {
    pub(crate) hash: u64,
    pub(crate) greeting: Greeting,
}

impl Record for GreetingRecord {
    const SPACE: Space = Space::Greeting;
    const NAME: &'static str = "first contact";
}

impl ReadTx {
    /// What is known of a contact by its name.
    ///
    /// # Errors
    /// When the store fails.
    pub fn greeting(&self, name: &str) -> Result<Option<Greeting>> {
        let hash = key::hash(name);
        let found = self.record::<GreetingRecord>(&place(hash))?;
        Ok(found.filter(|record| record.hash == hash).map(|record| record.greeting))
    }
}

impl WriteTx {
    /// Remembers a contact.
    ///
    /// # Errors
    /// When the store fails.
    pub fn greeting_set(&mut self, name: &str, greeting: Greeting) -> Result<()> {
        let hash = key::hash(name);
        self.save(&place(hash), &GreetingRecord { hash, greeting })
    }
}

fn place(hash: u64) -> Vec<u8> {
    key::greeting(u32::try_from(hash % GREETINGS_MAX).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::KeyRange;
    use crate::testing::{tx, world};

    #[test]
    fn contacts_are_remembered_by_name() {
        let (store, _) = world();
        tx(&store, |tx| {
            let greeting = Greeting { first: Timestamp(5), passed: None };
            tx.greeting_set("a", greeting)?;
            assert_eq!((tx.greeting("a")?, tx.greeting("b")?), (Some(greeting), None));
            let passed = Greeting { passed: Some(Timestamp(9)), ..greeting };
            tx.greeting_set("a", passed)?;
            assert_eq!(tx.greeting("a")?, Some(passed));
            Ok(())
        });
    }

    #[test]
    fn a_newer_contact_takes_an_older_ones_place() {
        let (store, _) = world();
        let mut slots = std::collections::HashMap::new();
        let names = (0..).map(|n| format!("192.0.2.0/24 s{n}@x ann"));
        let (older, newer) = names.into_iter().find_map(|name| Some((slots.insert(place(key::hash(&name)), name.clone())?, name))).unwrap();
        assert!(slots.len() > 10, "names are spread");
        tx(&store, move |tx| {
            let greeting = Greeting { first: Timestamp(5), passed: None };
            let kept = |tx: &WriteTx| tx.keys(Space::Greeting, &KeyRange::new(&[], &[0xff; 8]), 10).unwrap().len();
            for name in [&older, &newer, &newer] {
                tx.greeting_set(name, greeting)?;
                assert_eq!(kept(tx), 1, "{name}");
            }
            assert_eq!((tx.greeting(&older)?, tx.greeting(&newer)?), (None, Some(greeting)));
            Ok(())
        });
        // However many are tried, no key lies beyond.
        let beyond = key::greeting(u32::try_from(GREETINGS_MAX).unwrap());
        assert!((0..10_000).all(|n| place(key::hash(&format!("{n}"))) < beyond));
    }
}
