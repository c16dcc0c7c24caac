//! What waits is shown to its sender: when it may leave, and the sender's own copy for the Outbox.
//!
//! The copy is the message as its sender has it: without what this server has written on top, and with the blind
//! recipients, who are in nothing that is sent, so that a draft that is made of it again has them.
//!
//! Not what becomes of the copy: that is the store's.

use super::{Receiver, Transaction};
use mail::digest::Digest;
use mail::{Address, Terms};
use smtp::server::Role;
use std::collections::BTreeSet;
use store::Body;

impl Receiver {
    /// What is asked of the time: by the sender's program, or, where that says nothing, by the sender's account. Who says
    /// until when it is to be there is in a hurry.
    pub(super) fn terms(&self, transaction: &Transaction) -> store::Result<Terms> {
        let terms = transaction.mail.terms;
        let (Role::Submission, Some(account)) = (self.role, self.account) else { return Ok(terms) };
        if terms.hold_until.is_some() || terms.deliver_by.is_some() {
            return Ok(terms);
        }
        let hold = self.context.store.read_short(|tx| tx.hold(account))?;
        Ok(Terms { hold_until: hold.map(|hold| self.context.clock.wall().after(hold)), ..terms })
    }

    /// The copy of a message that waits; `own_octets` at the start of `body` are not the sender's.
    pub(super) fn outbox_copy(
        &self,
        transaction: &Transaction,
        terms: &Terms,
        body: &Body,
        digest: &Digest,
        own_octets: usize,
    ) -> store::Result<Option<(Body, Digest)>> {
        let waits = terms.hold_until.is_some_and(|until| until > self.context.clock.wall());
        if !waits || self.role != Role::Submission || self.account.is_none() {
            return Ok(None);
        }
        let recipients = transaction.recipients.iter().map(|accepted| &accepted.recipient.address);
        let copy = self.joined(blind(recipients, digest).as_bytes(), body, own_octets as u64)?;
        let digest = crate::local::digest(&copy)?;
        Ok(Some((copy, digest)))
    }
}

/// The `Bcc` field of those whom the header does not name; empty if it names all.
fn blind<'a>(recipients: impl Iterator<Item = &'a Address>, digest: &Digest) -> String {
    let items = digest.envelope.to.iter().chain(&digest.envelope.cc);
    let named = |mailbox: &str, host: &str| format!("{mailbox}@{host}").to_lowercase();
    let named: BTreeSet<String> = items.filter_map(|item| Some(named(item.mailbox.as_deref()?, item.host.as_deref()?))).collect();
    let blind: Vec<String> = recipients.filter(|address| !named.contains(&address.key())).map(ToString::to_string).collect();
    if blind.is_empty() { String::new() } else { format!("Bcc: {}\r\n", blind.join(",\r\n ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whom_the_header_does_not_name_is_blind() {
        for (header, recipients, want) in [
            ("To: ann@x.example\r\n\r\n", "ann@x.example", ""),
            ("To: Ann <ANN@X.example>\r\nCc: bob@x.example\r\n\r\n", "ann@x.example bob@x.example", ""),
            ("To: ann@x.example\r\n\r\n", "ann@x.example cyd@x.example", "Bcc: cyd@x.example\r\n"),
            ("\r\n", "a@x.example b@x.example", "Bcc: a@x.example,\r\n b@x.example\r\n"),
        ] {
            let addresses: Vec<_> = recipients.split(' ').map(|text| Address::parse(text).unwrap()).collect();
            assert_eq!(blind(addresses.iter(), &Digest::of(header.as_bytes())), want, "{header}");
        }
    }
}
