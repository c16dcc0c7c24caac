//! Is this message wanted? Asked of every message that another server brings, for each of our accounts that
//! gets it, after it was asked who it is from.
//!
//! The verdict is `filter`'s, a pure function; here its evidence is read from the store, and what follows is
//! done: a field in the message, an event in its trail for each account, and the Junk mailbox.
//!
//! The message is stored once for all its readers, so there is one field: it has the verdict of the only
//! reader, or, where there are several, what the server alone would say.
//!
//! Invariants
//! - A message that cannot be judged is taken all the same, unjudged.
//! - A message is refused for its looks only if the settings say so, it is bad enough for each of its readers, and it
//!   goes to nobody else.

use super::inspect::Inspected;
use super::{Receiver, Transaction};
use crate::explain::Judgement;
use filter::reputation::Subject;
use filter::{Action, Authenticity, Evidence, Features, Grounds, Reason, Verdict, dnsbl};
use mail::digest::Digest;
use mail::{AccountId, Event};
use std::cell::LazyCell;
use std::collections::BTreeSet;
use store::{Acquaintance, Delivery};

/// Our word in a message.
pub(super) const FIELD: &str = "X-Postrider-Verdict";
/// Most accounts that are judged for themselves; for those beyond counts what the server alone says.
const ACCOUNTS_MAX: usize = 32;
/// Features that the trail tells of.
const TOLD_MAX: usize = 8;

/// Hundredths of a point of a message that is for a spam trap, too.
const TRAP_WEIGHT: i32 = 400;

/// What was decided.
#[derive(Default)]
pub(super) struct Judged {
    /// The field with its line end.
    pub(super) field: String,
    /// For the trail.
    pub(super) events: Vec<Event>,
    /// Who gets it into Junk.
    pub(super) junk: BTreeSet<AccountId>,
    /// Nobody wants it.
    pub(super) is_refused: bool,
    /// Who brings it, as far as that is proven.
    pub(super) subjects: Vec<Subject>,
}

impl Receiver {
    /// Whether what this peer brings is judged.
    pub(super) fn is_judged(&self) -> bool {
        self.is_stranger() && self.context.settings.receive.filter.is_on
    }

    /// Judges the start of a message.
    pub(super) async fn wanted(&self, transaction: &Transaction, sample: &[u8], inspected: Option<&Inspected>) -> Judged {
        let accounts = accounts(transaction);
        let features = features_of(sample);
        let authenticity = inspected.map_or(Authenticity::Unknown, |inspected| inspected.authenticity);
        let subjects = self.brought_by(features.author.as_deref(), inspected);
        if accounts.is_empty() {
            return Judged { subjects, ..Judged::default() };
        }
        let mut domains = self.ask_domains(&features, inspected).await;
        let mut elsewhere = self.found_elsewhere(transaction);
        elsewhere.append(&mut domains.findings);
        let (asked, of, brought, now) = (accounts.clone(), features.clone(), subjects.clone(), self.context.clock.wall());
        let read = self.context.store.read(move |tx| {
            let known = |account: &AccountId| Ok((*account, tx.acquaintance_with(*account, &of, &brought, now)?));
            asked.iter().take(ACCOUNTS_MAX).map(known).collect::<store::Result<Vec<_>>>()
        });
        match read.await {
            Ok(known) => {
                let judged = self.judged(&accounts, &features, authenticity, &known, &elsewhere);
                let is_refused = judged.is_refused && !goes_elsewhere(transaction);
                let events = self.listed(domains).into_iter().chain(judged.events).collect();
                Judged { events, is_refused, subjects, ..judged }
            }
            Err(error) => {
                tracing::warn!(%error, "a message could not be judged");
                Judged { subjects, ..Judged::default() }
            }
        }
    }

    /// Who brings a message, as far as that is proven; what is not judged is not learned from.
    pub(super) fn brought_by(&self, author: Option<&str>, inspected: Option<&Inspected>) -> Vec<Subject> {
        if !self.is_judged() {
            return Vec::new();
        }
        let proven = inspected.is_some_and(|inspected| inspected.authenticity == Authenticity::Proven);
        let author = author.filter(|_| proven);
        Subject::all(self.peer, author, inspected.map(|inspected| inspected.domains.clone()).unwrap_or_default())
    }

    /// What was found without looking at the message.
    fn found_elsewhere(&self, transaction: &Transaction) -> Vec<Reason> {
        let lists = self.heeded_lists();
        let listed = self.listings().map(|answers| dnsbl::findings(&lists, self.peer, answers)).unwrap_or_default();
        let trap = (!transaction.traps.is_empty()).then(|| Reason {
            name: "trap".into(),
            weight: TRAP_WEIGHT,
            words: "it was sent to a spam trap, too".to_owned(),
        });
        listed.into_iter().chain(trap).collect()
    }

    fn judged(
        &self,
        accounts: &BTreeSet<AccountId>,
        features: &Features,
        authenticity: Authenticity,
        known: &[(AccountId, Acquaintance)],
        elsewhere: &[Reason],
    ) -> Judged {
        let settings = &self.context.settings.receive.filter.judgement;
        let grounds = |known: &Acquaintance| grounds_of(features, authenticity, known).with(elsewhere.iter().cloned());
        let Some((_, first)) = known.first() else { return Judged::default() };
        // Hardly ever needed: most mail has one reader.
        let of_server =
            LazyCell::new(|| grounds(&Acquaintance { server: first.server.clone(), ..Acquaintance::default() }).judge(settings));
        let decided = |(account, known): &(AccountId, Acquaintance)| {
            let grounds = grounds(known);
            let verdict = grounds.judge(settings);
            (*account, grounds, verdict)
        };
        let decided: Vec<(AccountId, Grounds, Verdict)> = known.iter().map(decided).collect();
        let told = match decided.as_slice() {
            [(_, _, only)] => only,
            _ => &of_server,
        };
        let is_junk = |account: &AccountId| {
            let own = decided.iter().find(|(of, ..)| of == account).map_or_else(|| &*of_server, |(.., verdict)| verdict);
            own.action != Action::Accept
        };
        Judged {
            field: format!("{FIELD}: {}\r\n", told.short()),
            junk: accounts.iter().copied().filter(is_junk).collect(),
            is_refused: decided.len() == accounts.len() && decided.iter().all(|(.., verdict)| verdict.action == Action::Reject),
            events: decided.iter().flat_map(|(account, grounds, verdict)| events_of(*account, grounds, verdict, *settings)).collect(),
            subjects: Vec::new(),
        }
    }
}

/// Our accounts that get a message.
pub(super) fn accounts(transaction: &Transaction) -> BTreeSet<AccountId> {
    let deliveries = transaction.recipients.iter().flat_map(|accepted| &accepted.targets);
    let account = |delivery: &Delivery| match delivery {
        Delivery::Mailbox { account, .. } => Some(*account),
        Delivery::Forward(_) => None,
    };
    deliveries.filter_map(account).collect()
}

/// Whether somebody gets it who is not judged for.
fn goes_elsewhere(transaction: &Transaction) -> bool {
    transaction.recipients.iter().flat_map(|accepted| &accepted.targets).any(|delivery| matches!(delivery, Delivery::Forward(_)))
}

/// What is looked at of a message.
fn features_of(sample: &[u8]) -> Features {
    Features::of(sample, &Digest::of(sample), &filter::Limits::default())
}

/// What a verdict rests on for a reader of whom this is known.
fn grounds_of(features: &Features, authenticity: Authenticity, known: &Acquaintance) -> Grounds {
    let evidence = Evidence {
        features,
        authenticity,
        server: &known.server,
        account: &known.account,
        is_correspondent: known.is_correspondent,
        is_reply: known.is_reply,
        imitated: known.imitated.as_deref(),
    };
    Grounds::of(&evidence).with(filter::reputation::findings(&known.reputation))
}

/// The verdict for a reader, and what it rests on, as events.
fn events_of(account: AccountId, grounds: &Grounds, verdict: &Verdict, settings: filter::Settings) -> impl Iterator<Item = Event> {
    let told = told(account, verdict);
    let kept = Judgement { settings, grounds: grounds.clone().for_keeping() }.event(account);
    std::iter::once(told).chain(kept)
}

/// A verdict as the trail tells it.
fn told(account: AccountId, verdict: &Verdict) -> Event {
    let telling = verdict.opinion.as_ref().map(|opinion| opinion.telling.as_slice()).unwrap_or_default();
    Event::Judged {
        account,
        is_junk: verdict.action != Action::Accept,
        score: verdict.score,
        reasons: verdict.reasons.iter().map(|reason| (reason.weight, format!("{}: {}", reason.name, reason.words))).collect(),
        telling: telling.iter().take(TOLD_MAX).map(|one| (format!("{:+.2}", one.weight), one.feature.clone())).collect(),
    }
}
