//! RCPT to a sender that we rewrote: what comes back goes on to who sent the message that we forwarded.
//!
//! Invariant: only reports, which have a null reverse-path, and only to addresses that we made ourselves: an address
//! that somebody reads in a header is no way to send anything else through us.

use super::{Receiver, refusal};
use crate::return_path::srs::{self, Back, NoWayBack};
use crate::return_path::{Key, day};
use mail::{Address, Recipient};
use smtp::Reply;
use store::{Delivery, ReadTx, Resolution};

/// What a rewritten sender leads to.
enum Way {
    /// Nowhere: it is an address like any other.
    None,
    TooLate,
    To(Address, Resolution),
}

impl Receiver {
    /// Where mail to a rewritten sender goes; `None`: it is none.
    pub(super) fn way_back(&self, recipient: &Recipient) -> Option<Result<Vec<Delivery>, Reply>> {
        if !srs::is_rewritten(&recipient.address) {
            return None;
        }
        let today = day(self.context.clock.wall());
        let way = match self.context.store.read_short(|tx| way(tx, &recipient.address, today)) {
            Ok(way) => way,
            Err(error) => return Some(Err(refusal::from_store(&error, false))),
        };
        let is_report = self.transaction.as_ref().is_some_and(|transaction| transaction.mail.reverse_path.0.is_none());
        match way {
            Way::None => None,
            Way::TooLate => Some(Err(refusal::too_late())),
            Way::To(..) if !is_report => Some(Err(refusal::reports_only())),
            Way::To(_, Resolution::Found(deliveries)) => Some(Ok(deliveries)),
            Way::To(_, Resolution::Unknown) => Some(Err(refusal::unknown_user())),
            Way::To(sender, Resolution::NotLocal) => Some(Ok(vec![Delivery::Forward(sender)])),
        }
    }
}

fn way(tx: &ReadTx, address: &Address, today: u32) -> store::Result<Way> {
    if tx.domain(address.domain())?.is_none() {
        return Ok(Way::None);
    }
    let Some(key) = Key::of(tx)? else { return Ok(Way::None) };
    let sender = match srs::back(&key, address, today) {
        Ok(Back::To(sender)) => Some(sender),
        Ok(Back::Named(token)) => tx.long_sender(&token)?,
        Err(NoWayBack::Expired) => return Ok(Way::TooLate),
        Err(NoWayBack::Forged | NoWayBack::Other) => return Ok(Way::None),
    };
    let Some(sender) = sender else { return Ok(Way::TooLate) };
    let resolution = tx.resolve(&sender)?;
    Ok(Way::To(sender, resolution))
}
