//! The queue: mail that waits for other servers.

use super::{Admin, Operation, address};
use crate::clock::now;
use crate::failure::{Failure, Result};
use crate::output::rfc3339;
use mail::{Address, Domain, ReceiptId};
use serde::{Deserialize, Serialize};
use store::{Final, QueueMessage, QueueRecipient, ReadTx, RecipientState};

/// Most messages that are listed at once, and read in one transaction. Our own bound.
const LISTED_MAX: usize = 100_000;

/// A queued message as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueView {
    /// Its receipt, which is its queue id.
    pub id: String,
    /// The reverse-path; empty for reports.
    pub from: String,
    /// Its size.
    pub octets: u64,
    /// When it was accepted, RFC 3339.
    pub accepted: String,
    /// When it is given up, RFC 3339.
    pub expires: String,
    /// Whether an administrator holds it back.
    pub held: bool,
    /// The rule by which it is held, if it is one.
    #[serde(default)]
    pub held_by: Option<u32>,
    /// To whom it goes.
    pub recipients: Vec<RecipientView>,
}

/// A recipient of a queued message as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecipientView {
    /// To whom.
    pub address: String,
    /// `waiting`, or what became of it: `delivered`, `failed`, `dropped`.
    pub state: String,
    /// How often it was tried.
    pub attempts: u32,
    /// When it is tried next, RFC 3339; null once it is done.
    pub next: Option<String>,
    /// What happened last.
    pub last: Option<String>,
    /// What that means: `mailbox-full`, `our-address-blocked` …; null: nothing failed.
    pub class: Option<String>,
}

/// Which messages: the parts must all fit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Selection {
    /// These; empty: all.
    pub ids: Vec<String>,
    /// Only with a recipient of this address or domain.
    pub to: Option<String>,
    /// Only from this address or domain.
    pub from: Option<String>,
    /// Only what this rule holds.
    #[serde(default)]
    pub rule: Option<u32>,
}

/// The messages in the queue.
#[derive(Debug, Serialize, Deserialize)]
pub struct List {
    /// Which.
    pub selection: Selection,
}

impl Operation for List {
    const NAME: &'static str = "queue.list";
    type Answer = Vec<QueueView>;

    fn run(self, on: &Admin) -> Result<Vec<QueueView>> {
        on.read(move |tx| Ok(select(tx, &self.selection)?.iter().map(view).collect()))
    }
}

/// One message in the queue.
#[derive(Debug, Serialize, Deserialize)]
pub struct Show {
    /// Its id.
    pub id: String,
}

impl Operation for Show {
    const NAME: &'static str = "queue.show";
    type Answer = QueueView;

    fn run(self, on: &Admin) -> Result<QueueView> {
        let id = receipt(&self.id)?;
        on.read(move |tx| Ok(view(&find(tx, id)?)))
    }
}

/// What can be done with a queued message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Try it now.
    Retry,
    /// Keep it, but do not try it.
    Hold,
    /// Try it again.
    Release,
    /// Give up: return it to its sender.
    Bounce,
    /// Forget it without a word.
    Drop,
}

/// Does something with messages in the queue.
#[derive(Debug, Serialize, Deserialize)]
pub struct Act {
    /// What.
    pub action: Action,
    /// With which.
    pub selection: Selection,
    /// Only for this recipient of theirs.
    pub recipient: Option<String>,
}

impl Operation for Act {
    const NAME: &'static str = "queue.act";
    type Answer = Vec<QueueView>;

    fn run(self, on: &Admin) -> Result<Vec<QueueView>> {
        let recipient = self.recipient.as_deref().map(address).transpose()?;
        let settings = on.mail();
        if let (Action::Retry, false, Some(service)) = (self.action, on.dry_run, &on.service) {
            let (selection, recipient) = (self.selection.clone(), recipient.clone());
            let domains = on.read(move |tx| Ok(domains(&select(tx, &selection)?, recipient.as_ref())))?;
            service.urge(domains);
        }
        on.change(move |tx| {
            let chosen = select(tx, &self.selection)?;
            for message in &chosen {
                act(tx, self.action, message.receipt, recipient.as_ref(), &settings)?;
            }
            Ok(chosen.iter().map(view).collect())
        })
    }
}

/// The domains of recipients that are not finished.
fn domains(messages: &[QueueMessage], only: Option<&Address>) -> Vec<Domain> {
    let open = messages.iter().flat_map(|message| &message.recipients).filter(|entry| entry.next().is_some());
    let open = open.map(|entry| &entry.recipient.address).filter(|address| only.is_none_or(|only| only.key() == address.key()));
    let domains: std::collections::BTreeSet<&Domain> = open.map(Address::domain).collect();
    domains.into_iter().cloned().collect()
}

fn act(tx: &mut store::WriteTx, action: Action, id: ReceiptId, recipient: Option<&Address>, settings: &mta::Settings) -> Result<()> {
    use mta::queue::admin;
    let done = match action {
        Action::Retry => admin::retry(tx, id, recipient, now()),
        Action::Hold => admin::hold(tx, id, now()),
        Action::Release => admin::release(tx, id, now()),
        Action::Bounce => admin::bounce(tx, id, recipient, now(), settings),
        Action::Drop => admin::drop(tx, id, recipient, now()),
    };
    Ok(done?)
}

fn select(tx: &ReadTx, selection: &Selection) -> Result<Vec<QueueMessage>> {
    let messages = if selection.ids.is_empty() {
        tx.queue_all(ReceiptId(0), LISTED_MAX)?
    } else {
        selection.ids.iter().map(|id| find(tx, receipt(id)?)).collect::<Result<_>>()?
    };
    Ok(messages.into_iter().filter(|message| fits(message, selection)).collect())
}

fn fits(message: &QueueMessage, selection: &Selection) -> bool {
    let to = selection.to.as_deref().is_none_or(|wanted| message.recipients.iter().any(|r| is_at(&r.recipient.address, wanted)));
    let from = selection.from.as_deref().is_none_or(|wanted| message.reverse_path.0.as_ref().is_some_and(|from| is_at(from, wanted)));
    to && from && selection.rule.is_none_or(|rule| message.held && message.held_by == Some(rule))
}

/// Whether an address is this one, or in this domain.
fn is_at(address: &Address, wanted: &str) -> bool {
    let wanted = wanted.to_lowercase();
    address.key() == wanted || address.domain().as_str() == wanted.trim_start_matches('@')
}

fn find(tx: &ReadTx, id: ReceiptId) -> Result<QueueMessage> {
    let gone = || Failure::not_found("message in the queue with the id", id).hint(format!("postrider trace {id} says what became of it"));
    tx.queue_message(id)?.ok_or_else(gone)
}

pub(super) fn receipt(text: &str) -> Result<ReceiptId> {
    text.parse().map_err(|error| Failure::usage(format!("{text:?} is {error}")))
}

fn view(message: &QueueMessage) -> QueueView {
    QueueView {
        id: message.receipt.to_string(),
        from: message.reverse_path.to_string(),
        octets: message.octets,
        accepted: rfc3339(message.accepted),
        expires: rfc3339(message.expires),
        held: message.held,
        held_by: message.held_by,
        recipients: message.recipients.iter().map(recipient_view).collect(),
    }
}

fn recipient_view(recipient: &QueueRecipient) -> RecipientView {
    let address = recipient.recipient.address.to_string();
    let class = |words: &str| Some(mta::bounce_class::of_words(words).name().to_owned());
    match &recipient.state {
        RecipientState::Open { attempts, next, last, .. } => RecipientView {
            address,
            state: "waiting".to_owned(),
            attempts: *attempts,
            next: Some(rfc3339(*next)),
            class: last.as_deref().and_then(class),
            last: last.clone(),
        },
        RecipientState::Done(done) => {
            let (state, last) = match done {
                Final::Delivered { host, .. } => ("delivered", Some(format!("taken by {host}"))),
                Final::Failed { status, reason, .. } => ("failed", Some(format!("{status} {reason}"))),
                Final::Dropped { .. } => ("dropped", None),
            };
            let class = match done {
                Final::Failed { reason, .. } => class(reason),
                _ => None,
            };
            RecipientView { address, state: state.to_owned(), attempts: 0, next: None, last, class }
        }
    }
}
