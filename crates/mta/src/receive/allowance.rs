//! RCPT of our own accounts: may this account send so much, and to so many?
//!
//! What it has sent lately is read once for each message; what two connections send at the same time can so exceed a
//! limit by one message.

use super::{Receiver, refusal};
use crate::outbound::{History, Outbound, exceeded};
use mail::Recipient;
use smtp::Reply;
use smtp::server::Role;
use store::Traffic;

/// What is left to a message's sender.
pub(super) struct Allowance {
    history: History,
    limits: Outbound,
    /// What the message adds so far.
    more: Traffic,
}

impl Allowance {
    /// One recipient more; in words why not.
    fn take(&mut self, is_stranger: bool) -> Result<(), String> {
        let more = self.more.and(Traffic { recipients: 1, strangers: u32::from(is_stranger), ..Traffic::default() });
        if let Some(words) = exceeded(&self.history, more, &self.limits) {
            return Err(words);
        }
        self.more = more;
        Ok(())
    }
}

impl Receiver {
    /// Counts a recipient that an account writes to, unless that is too much.
    pub(super) fn allow(&mut self, recipient: &Recipient) -> Result<(), Reply> {
        let (Role::Submission, Some(account), Some(transaction)) = (self.role, self.account, &mut self.transaction) else { return Ok(()) };
        let (now, settings) = (self.context.clock.wall(), self.context.settings.outbound);
        let before = transaction.allowance.take();
        let read = self.context.store.read_short(|tx| {
            let allowance = match before {
                Some(before) => before,
                None => Box::new(Allowance {
                    history: History::read(tx, account, now)?,
                    limits: settings.of(tx.sending(account)?.limits),
                    more: Traffic { messages: 1, ..Traffic::default() },
                }),
            };
            Ok((allowance, tx.is_stranger(account, &recipient.address)?))
        });
        let (mut allowance, is_stranger) = read.map_err(|error| refusal::from_store(&error, false))?;
        let taken = allowance.take(is_stranger);
        transaction.allowance = Some(allowance);
        taken.map_err(refusal::too_much)
    }
}
