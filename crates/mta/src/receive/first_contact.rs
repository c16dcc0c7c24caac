//! First contact: a host that never brought mail from this sender to this reader is slowed, or asked to come again.
//!
//! | setting | what happens |
//! |---|---|
//! | off | nothing |
//! | slow | the end of the message is answered some seconds later: who sends to millions has no patience |
//! | grey | RCPT is answered 451 4.7.1 until the host has come again after some minutes (RFC 6647) |
//!
//! Never slowed: to whom one of the readers has written, hosts and networks whose mail people wanted, hosts that an allow
//! list vouches for, reports (with a null reverse-path), and whoever was let in within [`REMEMBERED`].
//!
//! Invariants
//! - [`decide`] is a pure function of what is known, the time and the settings.
//! - A failure of the store slows nobody.

use super::{Receiver, refusal};
use crate::settings::FirstContact;
use filter::reputation::Subject;
use mail::{Network, Recipient, Timestamp};
use smtp::Reply;
use std::time::Duration;
use store::{Delivery, Greeting, ReadTx};

/// How long somebody who was let in is known. Our own choice.
const REMEMBERED: Duration = Duration::from_hours(36 * 24);
/// Who comes again later than this is new again (RFC 6647 §5 has one day).
const COMES_AGAIN_WITHIN: Duration = Duration::from_hours(24);

/// What is done about a contact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// It is known.
    Known,
    /// It is let in now, and known from now on.
    LetIn,
    /// It waits.
    Wait,
}

fn decide(known: Option<Greeting>, now: Timestamp, wait: Duration) -> Manner {
    match known {
        Some(Greeting { passed: Some(passed), .. }) if now < passed.after(REMEMBERED) => Manner::Known,
        Some(Greeting { first, .. }) if now >= first.after(wait) && now < first.after(COMES_AGAIN_WITHIN) => Manner::LetIn,
        _ => Manner::Wait,
    }
}

impl Receiver {
    /// Whether this recipient may be written to at once.
    pub(super) async fn greet(&mut self, recipient: &Recipient, targets: &[Delivery]) -> Result<(), Reply> {
        let manner = self.context.settings.receive.filter.first_contact;
        if manner == FirstContact::Off || !self.is_judged() {
            return Ok(());
        }
        // An allow list can vouch for the host.
        self.settle_lists().await;
        if self.is_known(targets) {
            return Ok(());
        }
        let FirstContact::Grey(wait) = manner else {
            self.is_slowed = true;
            return Ok(());
        };
        let (name, now) = (self.contact(recipient), self.context.clock.wall());
        let known = self.context.store.read_short(|tx| tx.greeting(&name)).unwrap_or_default();
        let manner = decide(known, now, wait);
        if let Some(trial) = &mut self.trial {
            // What comes after it came again is of more interest.
            trial.come_again = (manner == Manner::Wait).then(|| refusal::come_again(wait)).or(trial.come_again.take());
            return Ok(());
        }
        let greeting = match (manner, known) {
            (Manner::Known, _) => return Ok(()),
            (Manner::LetIn, Some(known)) => Greeting { passed: Some(now), ..known },
            (_, Some(known)) if now < known.first.after(wait) => return Err(refusal::come_again(wait)),
            _ => Greeting { first: now, passed: None },
        };
        let written = self.context.store.write(move |tx| tx.greeting_set(&name, greeting)).await;
        if greeting.passed.is_some() || written.is_err() { Ok(()) } else { Err(refusal::come_again(wait)) }
    }

    /// Waits before a first contact is answered.
    pub(super) async fn slow(&mut self) {
        if let FirstContact::Slow(wait) = self.context.settings.receive.filter.first_contact
            && std::mem::take(&mut self.is_slowed)
        {
            tokio::time::sleep(wait).await;
        }
    }

    /// Host, sender and reader; hosts of one network count as one, because large senders come from many.
    fn contact(&self, recipient: &Recipient) -> String {
        let peer = self.peer.to_canonical();
        let network = Network::around(peer, if peer.is_ipv4() { 24 } else { 48 });
        let sender = self.transaction.as_ref().map(|transaction| transaction.mail.reverse_path.to_string().to_lowercase());
        format!("{network} {} {}", sender.unwrap_or_default(), recipient.address.key())
    }

    /// Whether there is no reason to slow it.
    fn is_known(&self, targets: &[Delivery]) -> bool {
        let Some(sender) = self.transaction.as_ref().and_then(|transaction| transaction.mail.reverse_path.0.clone()) else { return true };
        let subjects = Subject::all(self.peer, None, []);
        let now = self.context.clock.wall();
        let known = self.context.store.read_short(|tx| {
            for target in targets {
                if let Delivery::Mailbox { account, .. } = target
                    && !tx.is_stranger(*account, &sender)?
                {
                    return Ok(true);
                }
            }
            is_wanted(tx, &subjects, now)
        });
        let vouched = self
            .listings()
            .is_some_and(|answers| filter::dnsbl::findings(&self.heeded_lists(), self.peer, answers).iter().any(|found| found.weight < 0));
        vouched || known.unwrap_or(true)
    }
}

/// Whether people wanted what came from there.
fn is_wanted(tx: &ReadTx, subjects: &[Subject], now: Timestamp) -> store::Result<bool> {
    let known = tx.reputation(mail::AccountId(0), subjects, now)?;
    Ok(known.iter().any(|known| known.server.ham > 500 && known.server.ham > 2 * known.server.spam))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_again_in_time_is_let_in_and_known() {
        let (minute, hour) = (Duration::from_mins(1), Duration::from_hours(1));
        let at = |wait: Duration| Timestamp(0).after(wait);
        let tried = |passed: Option<Duration>| Some(Greeting { first: Timestamp(0), passed: passed.map(at) });
        for (known, now, want) in [
            (None, minute, Manner::Wait),
            (tried(None), minute, Manner::Wait),
            (tried(None), 5 * minute, Manner::LetIn),
            (tried(None), 25 * hour, Manner::Wait),
            (tried(Some(hour)), 2 * hour, Manner::Known),
            (tried(Some(hour)), 35 * 24 * hour, Manner::Known),
            (tried(Some(hour)), 37 * 24 * hour, Manner::Wait),
        ] {
            assert_eq!(decide(known, at(now), 5 * minute), want, "{known:?} {now:?}");
        }
    }
}
