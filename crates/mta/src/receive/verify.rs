//! VRFY and EXPN: is there such an address, and who is behind it (RFC 5321 §3.5)? Told only if the operator wants it, and
//! only to those whom we know: anybody else would gather addresses by it.

use super::rcpt::{Found, find};
use super::{Receiver, refusal};
use mail::Address;
use smtp::Reply;
use smtp::server::Answer;
use store::{Delivery, ReadTx, Resolution};

impl Receiver {
    /// The address that is asked for, if its asker is told.
    fn asked_for(&self, text: &str) -> Option<Address> {
        let told = self.context.settings.receive.verify && (self.account.is_some() || self.is_relay());
        let bare = text.strip_prefix('<').and_then(|text| text.strip_suffix('>')).unwrap_or(text);
        Address::parse(bare).ok().filter(|_| told)
    }

    /// Who gets mail for an address, one a line. Nobody is told of what is not ours.
    pub(super) fn expand(&self, text: &str) -> Answer {
        let Some(address) = self.asked_for(text) else { return Answer::Taken };
        match self.context.store.read_short(|tx| members(tx, &address, &self.context.settings.receive.subaddress.separators)) {
            Ok(Some(members)) => Answer::Reply(Reply::new(250, (2, 1, 5), members.join("\n"))),
            Ok(None) => Answer::Reply(refusal::unknown_user()),
            Err(error) => Answer::Reply(refusal::from_store(&error, false)),
        }
    }

    pub(super) fn verify(&self, text: &str) -> Answer {
        let Some(address) = self.asked_for(text) else { return Answer::Taken };
        match self.context.store.read_short(|tx| find(tx, &address, 0, &self.context.settings)) {
            Ok(Found::Here(_) | Found::OverQuota) => Answer::Reply(Reply::new(250, (2, 1, 5), format!("<{address}>"))),
            Ok(Found::Elsewhere) => Answer::Taken,
            Ok(Found::Unknown) => Answer::Reply(refusal::unknown_user()),
            Ok(Found::Disabled) => Answer::Reply(refusal::disabled()),
            Err(error) => Answer::Reply(refusal::from_store(&error, false)),
        }
    }
}

/// The addresses that one leads to, in brackets; `None`: nobody is there.
fn members(tx: &ReadTx, address: &Address, separators: &str) -> store::Result<Option<Vec<String>>> {
    let Resolution::Found(deliveries) = tx.resolve_by(address, separators)? else { return Ok(None) };
    let mut members = Vec::with_capacity(deliveries.len());
    for delivery in deliveries {
        match delivery {
            Delivery::Mailbox { account, .. } => {
                members.extend(tx.account(account)?.filter(|account| account.enabled).map(|account| format!("<{}>", account.address)));
            }
            Delivery::Forward(address) => members.push(format!("<{address}>")),
        }
    }
    Ok(Some(members).filter(|members| !members.is_empty()))
}
