//! RCPT: does this recipient's mail have a place to go?

use super::{Accepted, Receiver, Transaction, refusal};
use crate::route;
use crate::settings::Settings;
use crate::suppress;
use mail::{EnhancedStatus, Event, Recipient};
use smtp::Reply;
use smtp::server::Role;
use store::{Delivery, ReadTx, Resolution};

/// Most refused recipients that a message's trail tells of. Our own bound.
const REFUSED_MAX: usize = 100;

/// What the store knows of a recipient.
pub(super) enum Found {
    /// The domain is not ours.
    Elsewhere,
    Unknown,
    Disabled,
    OverQuota,
    Here(Vec<Delivery>),
}

impl Receiver {
    pub(super) async fn rcpt(&mut self, recipient: Recipient) -> Reply {
        if self.is_trap(&recipient) {
            return self.trapped(recipient);
        }
        let mut targets = match self.targets(&recipient) {
            Ok(targets) => self.backed_up(&recipient).await.map(|()| targets),
            refused => refused,
        };
        targets = targets.and_then(|targets| self.allow(&recipient).map(|()| targets));
        if let Ok(found) = &targets
            && let Err(reply) = self.greet(&recipient, found).await
        {
            targets = Err(reply);
        }
        let Some(transaction) = &mut self.transaction else { return refusal::out_of_order() };
        match targets {
            Err(refused) => {
                transaction.refuse(recipient, &refused);
                refused
            }
            Ok(targets) => {
                transaction.recipients.push(Accepted { recipient, targets });
                Reply::new(250, (2, 1, 5), "OK")
            }
        }
    }

    fn targets(&self, recipient: &Recipient) -> Result<Vec<Delivery>, Reply> {
        if let Some(targets) = self.way_back(recipient) {
            return targets;
        }
        let permanent = self.context.settings.receive.over_quota_is_permanent;
        let octets = self.transaction.as_ref().and_then(|t| t.mail.size).unwrap_or(0);
        let found = self.context.store.read_short(|tx| find(tx, &recipient.address, octets, &self.context.settings));
        match found.map_err(|error| refusal::from_store(&error, permanent))? {
            Found::Elsewhere if self.may_relay(recipient) => self.elsewhere(&recipient.address),
            Found::Elsewhere => Err(refusal::relaying()),
            Found::Unknown => Err(refusal::unknown_user()),
            Found::Disabled => Err(refusal::disabled()),
            Found::OverQuota => Err(refusal::over_quota(permanent)),
            Found::Here(targets) => Ok(targets),
        }
    }

    /// An address elsewhere, unless mail to it failed too often.
    fn elsewhere(&self, address: &mail::Address) -> Result<Vec<Delivery>, Reply> {
        let now = self.context.clock.wall();
        match self.context.store.read_short(|tx| suppress::reason(tx, self.account, address, now)) {
            Ok(None) => Ok(vec![Delivery::Forward(address.clone())]),
            Ok(Some(words)) => Err(refusal::suppressed(&words)),
            Err(error) => Err(refusal::from_store(&error, false)),
        }
    }

    /// Whether the peer is one of those that may send anywhere.
    pub(super) fn is_relay(&self) -> bool {
        self.context.settings.receive.relay_networks.iter().any(|network| network.contains(self.peer))
    }

    /// Whether the peer is another server of which nothing is known: neither signed in, nor ours, nor on this machine.
    pub(super) fn is_stranger(&self) -> bool {
        self.role == Role::Mx && self.account.is_none() && !self.peer.to_canonical().is_loopback() && !self.is_relay()
    }

    fn may_relay(&self, recipient: &Recipient) -> bool {
        let settings = &self.context.settings;
        match self.role {
            Role::Submission => self.account.is_some(),
            Role::Mx => route::accepts(&settings.routes, recipient.address.domain()) || self.is_relay(),
            Role::Lmtp => false,
        }
    }
}

impl Transaction {
    /// Notes for the trail that a recipient was refused.
    pub(super) fn refuse(&mut self, recipient: Recipient, reply: &Reply) {
        if self.refused.len() < REFUSED_MAX {
            self.refused.push(event(recipient, reply));
        }
    }
}

fn event(recipient: Recipient, reply: &Reply) -> Event {
    let status = reply.status.unwrap_or(EnhancedStatus::new(5, 0, 0));
    Event::Refused { recipient: recipient.address, code: reply.code, status, text: reply.text.clone() }
}

/// Accounts that are switched off are left out of an alias; one that is full is only a reason to
/// refuse when nobody else is left.
pub(super) fn find(tx: &ReadTx, address: &mail::Address, octets: u64, settings: &Settings) -> store::Result<Found> {
    let deliveries = match tx.resolve_by(address, &settings.receive.subaddress.separators)? {
        Resolution::NotLocal => return Ok(Found::Elsewhere),
        Resolution::Unknown => return Ok(Found::Unknown),
        Resolution::Found(deliveries) => deliveries,
    };
    let (mut targets, mut room) = (Vec::with_capacity(deliveries.len()), false);
    for delivery in deliveries {
        if let Delivery::Mailbox { account, .. } = &delivery {
            let Some(account) = tx.account(*account)?.filter(|account| account.enabled) else { continue };
            room |= account.has_room(octets.max(1));
        } else {
            room = true;
        }
        targets.push(delivery);
    }
    Ok(match (targets.is_empty(), room) {
        (true, _) => Found::Disabled,
        (false, false) => Found::OverQuota,
        (false, true) => Found::Here(targets),
    })
}
