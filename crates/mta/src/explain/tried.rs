//! What would become of a message that nobody sent: the same checks, with events as a trail would have them.
//!
//! Invariant: nothing is written, and no reader is told.

use super::{Inspection, Judgement, authenticity, one_line};
use crate::receive::{ask_all, told};
use crate::settings::Settings;
use filter::{Authenticity, Evidence, Features, Grounds};
use mail::digest::Digest;
use mail::lookup::Recorded;
use mail::{AccountId, Address, Event, Timestamp};
use mailauth::dns::Step;
use mailauth::results;
use mailauth::spf::Session;
use net::Dns;
use std::net::IpAddr;
use std::sync::Arc;
use store::{Acquaintance, Delivery, ReadTx, Resolution};

/// Who would bring it.
#[derive(Debug, Clone)]
pub struct Bringer {
    /// Its address.
    pub peer: IpAddr,
    /// What it calls itself.
    pub helo: String,
    /// The envelope's sender; empty: none.
    pub reverse_path: String,
}

/// Finds out who a message would be from, and what the verdict has to know of that.
pub async fn inspect(
    dns: &Arc<dyn Dns>,
    settings: &Settings,
    bringer: &Bringer,
    message: &[u8],
    at: Timestamp,
) -> (Vec<Event>, Authenticity) {
    let authentication = &settings.receive.authentication;
    let evidence = mailauth::Evidence::of(message, &authentication.inspection.limits);
    let Bringer { peer, helo, reverse_path } = bringer.clone();
    let receiver = settings.hostname.to_string();
    let deadline = tokio::time::Instant::now() + authentication.wait_max;
    let mut answers = Recorded::default();
    let outcome = loop {
        let session = Session { peer, helo: &helo, receiver: &receiver, now: at };
        match evidence.step(&session, &reverse_path, &authentication.inspection, &answers) {
            Step::Done(outcome) => break outcome,
            Step::Need(questions) => ask_all(dns, questions, deadline, &mut answers).await,
        }
    };
    let results = one_line(&results::value(&receiver, &outcome, peer));
    let event = Event::Authenticated { results, asked: outcome.dmarc.asked.to_string(), answers };
    let (discovery, dmarc) = (authentication.inspection.discovery, authentication.dmarc);
    let proven = authenticity(&outcome, dmarc);
    let kept = Inspection { peer, helo, receiver, at, reverse_path, evidence, discovery, dmarc };
    (std::iter::once(event).chain(kept.event()).collect(), proven)
}

/// Judges a message for each of our accounts that an address leads to.
///
/// # Errors
/// When the store cannot be read.
pub fn judge(tx: &ReadTx, settings: &Settings, to: &Address, message: &[u8], proven: Authenticity) -> store::Result<Vec<Event>> {
    let Resolution::Found(deliveries) = tx.resolve(to)? else { return Ok(Vec::new()) };
    let features = features(message);
    let judgement = settings.receive.filter.judgement;
    let mut events = Vec::new();
    for delivery in deliveries {
        let Delivery::Mailbox { account, .. } = delivery else { continue };
        let grounds = grounds(&features, proven, &tx.acquaintance(account, &features)?);
        events.extend(judged(account, &grounds, judgement));
    }
    Ok(events)
}

/// What is looked at of a message.
pub(crate) fn features(sample: &[u8]) -> Features {
    Features::of(sample, &Digest::of(sample), &filter::Limits::default())
}

/// What a verdict rests on for a reader of whom this is known.
pub(crate) fn grounds(features: &Features, authenticity: Authenticity, known: &Acquaintance) -> Grounds {
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
pub(crate) fn judged(account: AccountId, grounds: &Grounds, settings: filter::Settings) -> impl Iterator<Item = Event> {
    let told = told(account, &grounds.judge(&settings));
    let kept = Judgement { settings, grounds: grounds.clone().for_keeping() }.event(account);
    std::iter::once(told).chain(kept)
}
