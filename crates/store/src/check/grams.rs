//! The full-text index is what the messages make it.

use super::Check;
use crate::error::Result;
use crate::key;
use crate::schema::Space;
use mail::{AccountId, EmailId};

impl Check<'_> {
    /// Reads some emails and compares their index; where to go on.
    pub(super) fn grams(&mut self, account: AccountId, from: EmailId) -> Result<Option<EmailId>> {
        let batch = self.tx.email_batch(account, from)?;
        for (id, record) in &batch {
            // A message that cannot be read was found by its blob.
            let Ok(Some(grams)) = self.tx.grams_made(record) else { continue };
            if self.tx.grams_differ(account, *id, record, &grams)? {
                self.find(
                    Space::Grams,
                    &key::email(account, *id),
                    "the full-text index is not that of the message: store reindex makes it anew",
                );
            }
        }
        Ok(batch.last().map(|(last, _)| last.next()))
    }
}
