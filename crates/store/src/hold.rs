//! What an administrator keeps back: destinations that are suspended, and rules by which mail is held.
//!
//! A suspended destination's mail stays ready and is not tried (`lane`); mail that a rule holds is held like mail that
//! was held by hand, and says by which rule. Its lifetime goes on in both cases.

use crate::error::{Error, Result};
use crate::index::{Direction, KeyRange};
use crate::key;
use crate::queue::QueueMessage;
use crate::record::{Record, decode};
use crate::schema::Space;
use crate::tx::{ReadTx, WriteTx};
use mail::{AccountId, Address, Domain, Timestamp};
use serde::{Deserialize, Serialize};

/// Most rules. Our own bound: each is looked at for every message that is queued.
pub const HOLD_RULES_MAX: usize = 1_000;

/// That a destination gets no mail for now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suspension {
    /// Since when.
    pub since: Timestamp,
    /// Why, in the words of who did it; may be empty.
    pub why: String,
}

impl Record for Suspension {
    const SPACE: Space = Space::QueueRule;
    const NAME: &'static str = "suspension";
}

/// Mail that is held as it enters the queue. All that is said must fit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldRule {
    /// Its number; never given again while it is the highest.
    pub number: u32,
    /// Only mail of this account.
    pub account: Option<AccountId>,
    /// Only mail from this address or domain.
    pub sender: Option<String>,
    /// Only mail with a recipient of this address or domain.
    pub recipient: Option<String>,
    /// When it was made.
    pub created: Timestamp,
    /// Why, in the words of who made it; may be empty.
    pub why: String,
}

impl Record for HoldRule {
    const SPACE: Space = Space::QueueRule;
    const NAME: &'static str = "hold rule";
}

impl HoldRule {
    /// Whether it is about a message.
    pub fn fits(&self, message: &QueueMessage) -> bool {
        let account = self.account.is_none_or(|account| message.account == Some(account));
        let sender = self.sender.as_deref().is_none_or(|wanted| message.reverse_path.0.as_ref().is_some_and(|from| is_at(from, wanted)));
        let is_to = |wanted: &str| message.recipients.iter().any(|entry| is_at(&entry.recipient.address, wanted));
        account && sender && self.recipient.as_deref().is_none_or(is_to)
    }
}

/// Whether an address is this one, or in this domain.
fn is_at(address: &Address, wanted: &str) -> bool {
    address.domain().as_str() == wanted || address.key() == wanted
}

fn suspension_key(lane: &Domain) -> Vec<u8> {
    key::queue_named(1, lane.as_str())
}

impl ReadTx {
    /// The suspended destinations, by domain.
    pub fn queue_suspended(&self) -> Result<Vec<(Domain, Suspension)>> {
        self.gather(Space::QueueRule, &KeyRange::prefix(&[1]), Direction::Forward, usize::MAX, |key, octets| {
            let domain = key::text(key, 1).and_then(|text| Domain::parse(text).ok());
            let domain = domain.ok_or_else(|| crate::record::corrupt(Space::QueueRule, key, "names no domain"))?;
            Ok((domain, decode(key, octets)?))
        })
    }

    pub(crate) fn queue_is_suspended(&self, lane: &Domain) -> Result<bool> {
        self.has(Space::QueueRule, &suspension_key(lane))
    }

    /// The rules by which mail is held, by number.
    pub fn hold_rules(&self) -> Result<Vec<HoldRule>> {
        self.gather(Space::QueueRule, &KeyRange::prefix(&[2]), Direction::Forward, usize::MAX, decode)
    }
}

impl WriteTx {
    /// Suspends a destination: mail for the domain is not tried. One that is suspended already gets the new words.
    pub fn queue_suspend(&mut self, domain: &Domain, why: &str, now: Timestamp) -> Result<()> {
        self.lane_unlist(domain)?;
        self.announce_queue();
        self.save(&suspension_key(domain), &Suspension { since: now, why: why.to_owned() })
    }

    /// Has a suspended destination's mail tried again; false: it was not suspended.
    pub fn queue_resume(&mut self, domain: &Domain) -> Result<bool> {
        if !self.queue_is_suspended(domain)? {
            return Ok(false);
        }
        self.delete(Space::QueueRule, &suspension_key(domain));
        self.lane_list(domain)?;
        self.announce_queue();
        Ok(true)
    }

    /// Adds a rule; its `number` is given here. What is in the queue already stays as it is.
    ///
    /// # Errors
    /// [`Error::Invalid`] when it says nothing, [`Error::Limit`] when there are [`HOLD_RULES_MAX`].
    pub fn hold_rule_add(&mut self, rule: &HoldRule) -> Result<HoldRule> {
        if rule.account.is_none() && rule.sender.is_none() && rule.recipient.is_none() {
            return Err(Error::Invalid("a rule that would hold all mail".into()));
        }
        let rules = self.hold_rules()?;
        if rules.len() >= HOLD_RULES_MAX {
            return Err(Error::Limit("hold rules".into()));
        }
        let number = rules.last().map_or(1, |last| last.number.saturating_add(1));
        let lower = |text: &Option<String>| text.as_deref().map(str::to_lowercase);
        let rule = HoldRule { number, sender: lower(&rule.sender), recipient: lower(&rule.recipient), ..rule.clone() };
        self.save(&key::hold_rule(number), &rule)?;
        Ok(rule)
    }

    /// Removes a rule; what it held stays held.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is none of this number.
    pub fn hold_rule_remove(&mut self, number: u32) -> Result<HoldRule> {
        let key = key::hold_rule(number);
        let rule = self.record(&key)?.ok_or_else(|| Error::NotFound("hold rule".into()))?;
        self.delete(Space::QueueRule, &key);
        Ok(rule)
    }

    /// The message as rules want it: held, if one is about it.
    pub(crate) fn held_by_rule(&self, message: &QueueMessage) -> Result<Option<QueueMessage>> {
        if message.held {
            return Ok(None);
        }
        let rule = self.hold_rules()?.into_iter().find(|rule| rule.fits(message));
        Ok(rule.map(|rule| QueueMessage { held: true, held_by: Some(rule.number), ..message.clone() }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::tests::queued;
    use crate::testing::{now, said, tx};
    use crate::{Body, Store};
    use mail::ReceiptId;

    fn rule(account: Option<u32>, sender: Option<&str>, recipient: Option<&str>) -> HoldRule {
        let text = |text: Option<&str>| text.map(str::to_owned);
        HoldRule {
            number: 0,
            account: account.map(AccountId),
            sender: text(sender),
            recipient: text(recipient),
            created: now(),
            why: String::new(),
        }
    }

    #[test]
    fn a_rule_holds_what_fits_all_it_says() {
        let body = Body::new(b"a message");
        let message = QueueMessage { account: Some(AccountId(7)), ..queued(ReceiptId(1), &body, now()) };
        for (rule, want) in [
            (rule(Some(7), None, None), true),
            (rule(Some(8), None, None), false),
            (rule(None, Some("example.org"), None), true),
            (rule(None, Some("ann@example.org"), None), true),
            (rule(None, Some("bob@example.org"), None), false),
            (rule(None, None, Some("y.example")), true),
            (rule(None, None, Some("example")), false),
            (rule(Some(7), Some("example.org"), Some("x@y.example")), true),
            (rule(Some(7), Some("example.com"), Some("x@y.example")), false),
        ] {
            assert_eq!(rule.fits(&message), want, "{rule:?}");
        }
    }

    #[test]
    fn rules_hold_what_enters_the_queue_and_say_so() {
        tx(&Store::memory(), |tx| {
            let body = Body::new(b"a message");
            let made = tx.hold_rule_add(&rule(None, None, Some("Y.Example")))?;
            assert_eq!((made.number, tx.hold_rules()?), (1, vec![made.clone()]));
            tx.queue_add(&queued(ReceiptId(1), &body, now()), &body)?;
            let held = tx.queue_message(ReceiptId(1))?.unwrap();
            assert_eq!((held.held, held.held_by, tx.queue_firsts(None, 9)?), (true, Some(1), vec![]));
            assert_eq!(tx.hold_rule_remove(1)?, made);
            assert!(said(tx.hold_rule_remove(1)).contains("does not exist"));
            tx.queue_add(&queued(ReceiptId(2), &body, now()), &body)?;
            assert_eq!(tx.queue_firsts(None, 9)?.len(), 1);
            assert!(said(tx.hold_rule_add(&rule(None, None, None))).contains("all mail"));
            Ok(())
        });
    }
}
