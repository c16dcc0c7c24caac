//! Senders whose rewritten address (SRS) would have a local part of more than 64 octets: the rewritten one names them by
//! a token instead.
//!
//! Not how addresses are rewritten: that is `mta`'s.
//!
//! Invariant: whoever was used within the time that rewritten addresses are good for is still known.

use crate::error::Result;
use crate::index::KeyRange;
use crate::key::Key;
use crate::record::Record;
use crate::schema::Space;
use crate::tx::{ReadTx, WriteTx};
use mail::{Address, Timestamp};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How exactly the last use is known: a sender is not written again within this time.
const EXACT: Duration = Duration::from_hours(24);

/// A sender with a long address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LongSender {
    pub(crate) address: Address,
    /// When its mail was last forwarded, to a day.
    pub(crate) last: Timestamp,
}

impl Record for LongSender {
    const SPACE: Space = Space::LongSender;
    const NAME: &'static str = "long sender";
}

fn key(token: &str) -> Vec<u8> {
    Key::default().text(token).done()
}

impl ReadTx {
    /// Whom a token names.
    ///
    /// # Errors
    /// When the store fails.
    pub fn long_sender(&self, token: &str) -> Result<Option<Address>> {
        Ok(self.record::<LongSender>(&key(token))?.map(|sender| sender.address))
    }
}

impl WriteTx {
    /// Remembers whom a token names.
    ///
    /// # Errors
    /// When the store fails.
    pub fn long_sender_note(&mut self, token: &str, address: &Address, now: Timestamp) -> Result<()> {
        let key = key(token);
        match self.record::<LongSender>(&key)? {
            Some(known) if now.since(known.last) < EXACT => Ok(()),
            _ => self.save(&key, &LongSender { address: address.clone(), last: now }),
        }
    }

    /// Forgets those that were last used before a time.
    ///
    /// # Errors
    /// When the store fails.
    pub fn long_senders_sweep(&mut self, before: Timestamp) -> Result<()> {
        let old = self.records::<LongSender>(&KeyRange::all())?.into_iter().filter(|(_, sender)| sender.last < before);
        old.for_each(|(key, _)| self.delete(Space::LongSender, &key));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Store;
    use crate::testing::{address, now, tx};

    #[test]
    fn senders_are_known_while_they_are_used() {
        let store = Store::memory();
        tx(&store, |tx| {
            let later = |days: u64| now().after(Duration::from_hours(24 * days));
            tx.long_sender_note("a", &address("a@x.example"), now())?;
            tx.long_sender_note("b", &address("b@x.example"), now())?;
            tx.long_sender_note("a", &address("a@x.example"), later(20))?;
            tx.long_senders_sweep(later(10))?;
            assert_eq!((tx.long_sender("a")?, tx.long_sender("b")?), (Some(address("a@x.example")), None));
            Ok(())
        });
    }
}
