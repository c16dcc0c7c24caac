//! Rules by which mail is held as it enters the queue.

use super::{Admin, Operation, address};
use crate::clock::now;
use crate::failure::{Failure, Result};
use crate::output::rfc3339;
use mail::{Address, Domain, ReceiptId};
use mta::queue::admin;
use serde::{Deserialize, Serialize};
use store::{HoldRule, QueueMessage, ReadTx};

/// Most queued messages that a rule is held against when it comes or goes. Our own bound.
const LOOKED_AT_MAX: usize = 100_000;

/// A rule as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldRuleView {
    /// Its number.
    pub number: u32,
    /// Only mail of this user.
    pub user: Option<String>,
    /// Only mail from this address or domain.
    pub from: Option<String>,
    /// Only mail with a recipient of this address or domain.
    pub to: Option<String>,
    /// Why it was made.
    pub why: String,
    /// When, RFC 3339.
    pub created: String,
    /// How many messages of the queue it holds.
    pub held: usize,
}

/// The rules.
#[derive(Debug, Serialize, Deserialize)]
pub struct List {}

impl Operation for List {
    const NAME: &'static str = "hold_rule.list";
    type Answer = Vec<HoldRuleView>;

    fn run(self, on: &Admin) -> Result<Vec<HoldRuleView>> {
        on.read(move |tx| {
            let rules = tx.hold_rules()?;
            let messages = if rules.is_empty() { Vec::new() } else { tx.queue_all(ReceiptId(0), LOOKED_AT_MAX)? };
            rules.iter().map(|rule| view(tx, rule, held_by(&messages, rule).count())).collect()
        })
    }
}

/// Makes a rule; one of its parts must be given, and all that are given must fit.
#[derive(Debug, Serialize, Deserialize)]
pub struct Add {
    /// Only mail of this user.
    pub user: Option<String>,
    /// Only mail from this address or domain.
    pub from: Option<String>,
    /// Only mail with a recipient of this address or domain.
    pub to: Option<String>,
    /// Why; may be empty.
    pub why: String,
    /// Also what is in the queue already.
    pub queued: bool,
}

impl Operation for Add {
    const NAME: &'static str = "hold_rule.add";
    type Answer = HoldRuleView;

    fn run(self, on: &Admin) -> Result<HoldRuleView> {
        if self.user.is_none() && self.from.is_none() && self.to.is_none() {
            return Err(Failure::usage("which mail? Expected --user, --from or --to"));
        }
        let user = self.user.as_deref().map(address).transpose()?;
        for text in [&self.from, &self.to].into_iter().flatten() {
            who(text)?;
        }
        on.change(move |tx| {
            let account = match &user {
                Some(user) => {
                    let found = tx.account_by_login(&user.to_string())?;
                    Some(found.ok_or_else(|| Failure::not_found("user", user))?.id)
                }
                None => None,
            };
            let new = HoldRule {
                number: 0,
                account,
                sender: self.from.clone(),
                recipient: self.to.clone(),
                created: now(),
                why: self.why.clone(),
            };
            let rule = tx.hold_rule_add(&new)?;
            let messages = if self.queued { tx.queue_all(ReceiptId(0), LOOKED_AT_MAX)? } else { Vec::new() };
            let meant: Vec<ReceiptId> =
                messages.iter().filter(|message| !message.held && rule.fits(message)).map(|message| message.receipt).collect();
            for receipt in &meant {
                admin::hold_by(tx, *receipt, &rule, now())?;
            }
            view(tx, &rule, meant.len())
        })
    }
}

/// Removes a rule.
#[derive(Debug, Serialize, Deserialize)]
pub struct Remove {
    /// Its number.
    pub number: u32,
    /// Whether what it held is tried again.
    pub release: bool,
}

impl Operation for Remove {
    const NAME: &'static str = "hold_rule.remove";
    type Answer = HoldRuleView;

    fn run(self, on: &Admin) -> Result<HoldRuleView> {
        on.change(move |tx| {
            let gone = |_| Failure::not_found("hold rule", self.number).hint("postrider queue hold-rules list shows them");
            let rule = tx.hold_rule_remove(self.number).map_err(gone)?;
            let messages = tx.queue_all(ReceiptId(0), LOOKED_AT_MAX)?;
            let held: Vec<ReceiptId> = held_by(&messages, &rule).map(|message| message.receipt).collect();
            if self.release {
                held.iter().try_for_each(|receipt| admin::release(tx, *receipt, now()))?;
            }
            view(tx, &rule, if self.release { 0 } else { held.len() })
        })
    }
}

fn held_by<'a>(messages: &'a [QueueMessage], rule: &HoldRule) -> impl Iterator<Item = &'a QueueMessage> {
    let number = rule.number;
    messages.iter().filter(move |message| message.held && message.held_by == Some(number))
}

fn view(tx: &ReadTx, rule: &HoldRule, held: usize) -> Result<HoldRuleView> {
    let user = match rule.account {
        Some(account) => {
            Some(tx.account(account)?.map_or_else(|| format!("removed user {}", account.0), |account| account.address.to_string()))
        }
        None => None,
    };
    Ok(HoldRuleView {
        number: rule.number,
        user,
        from: rule.sender.clone(),
        to: rule.recipient.clone(),
        why: rule.why.clone(),
        created: rfc3339(rule.created),
        held,
    })
}

/// An address or a domain.
fn who(text: &str) -> Result<()> {
    if Address::parse(text).is_ok() || Domain::parse(text).is_ok() {
        return Ok(());
    }
    Err(Failure::usage(format!("{text:?} is neither an address nor a domain")))
}
