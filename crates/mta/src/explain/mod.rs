//! Decides about a message again from what was kept with the first decision: to explain it, and to see what other
//! settings would have done.
//!
//! [`Policy`] is what decides, [`Inspection`] and [`Judgement`] are what is kept (in `Event::Grounds`), [`again`] goes
//! through a trail. The receiver uses the same functions, so that a decision made again is the decision. What would
//! become of a message that nobody sent is the receiver's to say (`receive::Receiver::try_message`).
//!
//! Not the words for people: those are the administrator's side.
//!
//! Invariants
//! - Nothing is asked of DNS, no message is read, no clock: the same trail and policy give the same answer for ever.
//! - What cannot be known is said; it is never guessed.
//! - Kept forms are read for ever: fields are only added, each with a default.

mod again;

pub(crate) use again::one_line;
pub use again::{Again, Unknown, Was, again, is_junk, policy, was};

use crate::settings::{Dmarc, Settings};
use filter::Authenticity;
use filter::dnsbl::List;
use mail::lookup::{Question, Recorded};
use mail::{AccountId, Event, Timestamp};
use mailauth::dkim::DkimResult;
use mailauth::dmarc::{self, Discovery, DmarcResult};
use mailauth::dns::Step;
use mailauth::spf::{Session, SpfResult};
use mailauth::{Evidence, Outcome};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// Longest facts that are kept with one decision, octets. Our own bound; of a message with more it cannot be made again.
pub const FACTS_OCTETS_MAX: usize = 32 * 1024;

/// The stage of an [`Inspection`] in `Event::Grounds`.
pub const AUTHENTICATION: &str = "authentication";
/// The stage of a [`Judgement`].
pub const FILTER: &str = "filter";

/// The settings that decide about a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Whether it is found out who mail is from.
    pub inspects: bool,
    /// What is done about what the author's domain does not stand for.
    pub dmarc: Dmarc,
    /// How organizational domains are found.
    pub discovery: Discovery,
    /// Whether it is judged.
    pub judges: bool,
    /// Where the lines are.
    pub judgement: filter::Settings,
    /// What lists weigh; `None`: what they weighed then.
    pub lists: Option<Vec<List>>,
}

impl Policy {
    /// What these settings decide by.
    pub fn of(settings: &Settings) -> Self {
        let (authentication, filter) = (&settings.receive.authentication, &settings.receive.filter);
        Self {
            inspects: authentication.is_on,
            dmarc: authentication.dmarc,
            discovery: authentication.inspection.discovery,
            judges: filter.is_on,
            judgement: filter.judgement,
            lists: Some(filter.lists.clone()),
        }
    }
}

/// What finding out who a message is from rests on, beside the answers of DNS.
#[derive(Serialize, Deserialize)]
pub struct Inspection {
    /// Whose connection it was.
    pub peer: IpAddr,
    /// What the peer called itself.
    pub helo: String,
    /// What we call ourselves.
    pub receiver: String,
    /// When it was inspected.
    pub at: Timestamp,
    /// The envelope's sender.
    pub reverse_path: String,
    /// What the message brought.
    pub evidence: Evidence,
    /// How organizational domains were found.
    pub discovery: Discovery,
    /// What was done about what the author's domain does not stand for.
    pub dmarc: Dmarc,
}

impl Inspection {
    /// The outcome by recorded answers; an error is the questions that were not asked then.
    ///
    /// # Errors
    /// When an answer is missing.
    pub fn outcome(&self, discovery: Discovery, answers: &Recorded) -> Result<Outcome, Vec<Question>> {
        let session = Session { peer: self.peer, helo: &self.helo, receiver: &self.receiver, now: self.at };
        let settings = mailauth::Settings { discovery, ..mailauth::Settings::default() };
        match self.evidence.step(&session, &self.reverse_path, &settings, answers) {
            Step::Done(outcome) => Ok(outcome),
            Step::Need(questions) => Err(questions),
        }
    }

    /// The event that keeps it; `None`: it is too long.
    pub fn event(&self) -> Option<Event> {
        kept(AUTHENTICATION, None, self)
    }
}

/// What a verdict rests on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Judgement {
    /// Where the lines were.
    pub settings: filter::Settings,
    /// Everything else.
    pub grounds: filter::Grounds,
}

impl Judgement {
    /// The event that keeps it; `None`: it is too long.
    pub fn event(&self, account: AccountId) -> Option<Event> {
        kept(FILTER, Some(account), self)
    }
}

fn kept(stage: &str, account: Option<AccountId>, facts: &impl Serialize) -> Option<Event> {
    let facts = serde_json::to_string(facts).ok().filter(|facts| facts.len() <= FACTS_OCTETS_MAX)?;
    Some(Event::Grounds { stage: stage.to_owned(), account, facts })
}

/// Whether a message is refused because its author's domain asks for it.
pub fn refuses(outcome: &Outcome, obeyed: Dmarc) -> bool {
    obeyed == Dmarc::Obey && outcome.dmarc.result == DmarcResult::Fail && outcome.dmarc.asked == dmarc::Policy::Reject
}

/// Whether it goes to Junk because its author's domain asks for no good.
pub fn sets_aside(outcome: &Outcome, obeyed: Dmarc) -> bool {
    obeyed != Dmarc::Ignore && outcome.dmarc.asked != dmarc::Policy::None
}

/// What the outcome says of the author, in the verdict's words.
pub fn authenticity(outcome: &Outcome, obeyed: Dmarc) -> Authenticity {
    let obeyed = obeyed != Dmarc::Ignore;
    let anybody = outcome.mail_from.result == SpfResult::Pass || outcome.dkim.iter().any(|dkim| dkim.result == DkimResult::Pass);
    match outcome.dmarc.result {
        DmarcResult::Pass => Authenticity::Proven,
        DmarcResult::Fail if obeyed && outcome.dmarc.asked != dmarc::Policy::None => Authenticity::Unwanted,
        DmarcResult::Fail if obeyed => Authenticity::Contradicted,
        DmarcResult::None | DmarcResult::PermError if !anybody => Authenticity::Unproven,
        _ => Authenticity::Unknown,
    }
}
