//! VRFY: is there such an address (RFC 5321 §3.5)? Told only if the operator wants it, and only to those whom we know:
//! anybody else would gather addresses by it.

use super::rcpt::{Found, find};
use super::{Receiver, refusal};
use mail::Address;
use smtp::Reply;
use smtp::server::Answer;

impl Receiver {
    pub(super) fn verify(&self, text: &str) -> Answer {
        let told = self.context.settings.receive.verify && (self.account.is_some() || self.is_relay());
        let bare = text.strip_prefix('<').and_then(|text| text.strip_suffix('>')).unwrap_or(text);
        let Some(address) = Address::parse(bare).ok().filter(|_| told) else { return Answer::Taken };
        match self.context.store.read_short(|tx| find(tx, &address, 0)) {
            Ok(Found::Here(_) | Found::OverQuota) => Answer::Reply(Reply::new(250, (2, 1, 5), format!("<{address}>"))),
            Ok(Found::Elsewhere) => Answer::Taken,
            Ok(Found::Unknown) => Answer::Reply(refusal::unknown_user()),
            Ok(Found::Disabled) => Answer::Reply(refusal::disabled()),
            Err(error) => Answer::Reply(refusal::from_store(&error, false)),
        }
    }
}
