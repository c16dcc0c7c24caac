//! Mail that is forwarded: it is sealed, so that who gets it can see what we found out about it (RFC 8617), and what is
//! kept instead of forwarded says so.
//!
//! Not the decision to forward, which is `forward`'s and `local`'s.
//!
//! Invariant: what cannot be sealed is forwarded without a seal.

use super::data::Findings;
use super::{Accepted, Receiver, Transaction};
use crate::forward::Prospect;
use mail::{Address, Domain, Timestamp};
use mailauth::arc::seal::seal;
use mailauth::dkim::Signer;
use store::{Delivery, DkimKey};

/// Our word in a message that was to be forwarded.
pub(super) const FIELD: &str = "X-Postrider-Not-Forwarded";

impl Receiver {
    /// The domain that seals a message, if it is forwarded and sealed.
    pub(super) fn sealer(&self, transaction: &Transaction) -> Option<Domain> {
        let wanted = self.context.settings.forwarding.seal && self.is_inspected();
        let (alias, _) = wanted.then(|| forwards(transaction).next()).flatten()?;
        Some(alias.domain().clone())
    }

    /// The fields of a seal with their line ends; `header` is what the next server gets.
    pub(super) fn seal(&self, transaction: &Transaction, header: &[u8], findings: &Findings, now: Timestamp) -> String {
        let (Some(domain), Some(inspected), Some(body)) = (self.sealer(transaction), &findings.inspected, &findings.hash) else {
            return String::new();
        };
        let Some((selector, record)) = self.sealing_key(&domain) else { return String::new() };
        let Some(key) = self.context.keys.key(&record) else { return String::new() };
        let signer = Signer { domain: domain.as_str(), selector: &selector, key: &key };
        let limits = &self.context.settings.receive.authentication.inspection.limits;
        seal(header, body, &inspected.results, inspected.arc, &signer, now, limits).unwrap_or_default()
    }

    /// RSA if there is one: a chain is good only if every server on the way can read it.
    fn sealing_key(&self, domain: &Domain) -> Option<(String, DkimKey)> {
        let asked = domain.clone();
        let mut keys = self.context.store.read_short(move |tx| tx.dkim_signing_keys(&asked)).unwrap_or_default();
        keys.sort_by_key(|(_, key)| key.algorithm != "rsa-sha256");
        keys.into_iter().next()
    }

    /// The field that tells our reader that a message was not forwarded.
    pub(super) fn kept(&self, transaction: &Transaction, findings: &Findings) -> String {
        let settings = &self.context.settings.forwarding;
        let Some(Prospect::Fails(why)) = findings.inspected.as_ref().map(|inspected| &inspected.prospect) else { return String::new() };
        let kept = forwards(transaction).filter(|(alias, _)| settings.keep_at.is_some() || has_mailbox(transaction, alias));
        let to: Vec<String> = kept.map(|(_, to)| to.to_string()).take(10).collect();
        if to.is_empty() || !settings.keep { String::new() } else { format!("{FIELD}: to {}:\r\n {why}\r\n", to.join(",\r\n ")) }
    }
}

/// Recipients that lead elsewhere, and where.
fn forwards(transaction: &Transaction) -> impl Iterator<Item = (&Address, &Address)> {
    transaction.recipients.iter().flat_map(elsewhere)
}

fn elsewhere(accepted: &Accepted) -> Vec<(&Address, &Address)> {
    let own = &accepted.recipient.address;
    let to = accepted.targets.iter().filter_map(|target| match target {
        Delivery::Forward(to) if to != own => Some((own, to)),
        _ => None,
    });
    to.collect()
}

fn has_mailbox(transaction: &Transaction, alias: &Address) -> bool {
    let of_alias = transaction.recipients.iter().filter(|accepted| accepted.recipient.address == *alias);
    of_alias.flat_map(|accepted| &accepted.targets).any(|target| matches!(target, Delivery::Mailbox { .. }))
}
