//! Where queued mail goes: how each destination is, and keeping its mail back for a while.

use super::{Admin, Operation, domain_name};
use crate::clock::now;
use crate::failure::{Failure, Result};
use crate::output::rfc3339;
use mail::{Domain, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use store::{ReadTx, Suspension};

/// Most domains that are shown with mail to be tried, and most messages that are counted for each. Our own bounds.
const LANES_MAX: usize = 500;
const COUNTED_MAX: usize = 1_000;

/// A destination as it is shown.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DestinationView {
    /// Where mail goes: a domain, or the first host of a route.
    pub destination: String,
    /// The mail exchanger that it shares with others, or the limit that names it; null if it is not known yet.
    pub provider: Option<String>,
    /// `suspended`, `down`, `slowed`, `busy`, `waiting` or `idle`.
    pub state: String,
    /// Messages that are to be tried and are in no connection; at most 1,000 are counted of those not in memory.
    pub waiting: usize,
    /// Connections open now.
    pub connections: u32,
    /// Connections that it may have now.
    pub allowed: Option<u32>,
    /// Milliseconds between two messages, if it has them spaced.
    pub pace_ms: Option<u64>,
    /// Until when it is left alone, RFC 3339.
    pub down_until: Option<String>,
    /// What it said or did last that was not success.
    pub last: Option<String>,
    /// When, RFC 3339.
    pub last_at: Option<String>,
    /// Since when it is suspended, RFC 3339.
    pub suspended_since: Option<String>,
    /// Why, in the words of who did it.
    pub why: Option<String>,
}

/// How destinations are. Without a running server only what the store knows is shown.
#[derive(Debug, Serialize, Deserialize)]
pub struct List {}

impl Operation for List {
    const NAME: &'static str = "destination.list";
    type Answer = Vec<DestinationView>;

    fn run(self, on: &Admin) -> Result<Vec<DestinationView>> {
        let known = on.service.as_ref().map(|service| service.destinations()).unwrap_or_default();
        on.read(move |tx| {
            let mut views: BTreeMap<String, DestinationView> =
                known.iter().map(|known| (known.destination.clone(), view(known, now()))).collect();
            let suspended = tx.queue_suspended()?;
            for lane in lanes(tx, &suspended)? {
                let waiting = tx.queue_lane(&lane, None, COUNTED_MAX)?.len();
                entry(&mut views, &lane).waiting += waiting;
            }
            for (domain, Suspension { since, why }) in suspended {
                let view = entry(&mut views, &domain);
                "suspended".clone_into(&mut view.state);
                view.suspended_since = Some(rfc3339(since));
                view.why = Some(why).filter(|why| !why.is_empty());
            }
            Ok(views.into_values().collect())
        })
    }
}

/// The domains that have mail to be tried, as far as they are shown, and those that are suspended.
fn lanes(tx: &ReadTx, suspended: &[(Domain, Suspension)]) -> Result<Vec<Domain>> {
    let firsts = tx.queue_firsts(None, LANES_MAX)?;
    Ok(firsts.into_iter().map(|part| part.lane).chain(suspended.iter().map(|(domain, _)| domain.clone())).collect())
}

fn entry<'a>(views: &'a mut BTreeMap<String, DestinationView>, domain: &Domain) -> &'a mut DestinationView {
    let new = || DestinationView { destination: domain.to_string(), state: "waiting".to_owned(), ..DestinationView::default() };
    views.entry(domain.to_string()).or_insert_with(new)
}

fn view(known: &mta::queue::DestinationView, now: Timestamp) -> DestinationView {
    let down = known.down_until.filter(|until| *until > now);
    let state = if down.is_some() {
        "down"
    } else if known.is_slowed {
        "slowed"
    } else if known.connections > 0 {
        "busy"
    } else if known.waiting > 0 {
        "waiting"
    } else {
        "idle"
    };
    DestinationView {
        destination: known.destination.clone(),
        provider: known.provider.clone(),
        state: state.to_owned(),
        waiting: known.waiting,
        connections: known.connections,
        allowed: Some(known.allowed),
        pace_ms: Some(known.pace).filter(|pace| !pace.is_zero()).and_then(|pace| u64::try_from(pace.as_millis()).ok()),
        down_until: down.map(rfc3339),
        last: known.last.as_ref().map(|(_, words)| words.clone()),
        last_at: known.last.as_ref().map(|(at, _)| rfc3339(*at)),
        ..DestinationView::default()
    }
}

/// A suspension as it is answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suspended {
    /// The domain.
    pub domain: String,
    /// Whether it is suspended now.
    pub suspended: bool,
}

/// Keeps mail for a domain from being tried.
#[derive(Debug, Serialize, Deserialize)]
pub struct Suspend {
    /// The recipients' domain.
    pub domain: String,
    /// Why; may be empty.
    pub why: String,
}

impl Operation for Suspend {
    const NAME: &'static str = "destination.suspend";
    type Answer = Suspended;

    fn run(self, on: &Admin) -> Result<Suspended> {
        let domain = domain_name(&self.domain)?;
        on.change(move |tx| {
            tx.queue_suspend(&domain, &self.why, now())?;
            Ok(Suspended { domain: domain.to_string(), suspended: true })
        })
    }
}

/// Has mail for a suspended domain tried again, at once.
#[derive(Debug, Serialize, Deserialize)]
pub struct Resume {
    /// The recipients' domain.
    pub domain: String,
}

impl Operation for Resume {
    const NAME: &'static str = "destination.resume";
    type Answer = Suspended;

    fn run(self, on: &Admin) -> Result<Suspended> {
        let domain = domain_name(&self.domain)?;
        on.change(move |tx| {
            if !tx.queue_resume(&domain)? {
                return Err(Failure::not_found("suspended destination", &domain).hint("postrider queue destinations shows which are"));
            }
            Ok(Suspended { domain: domain.to_string(), suspended: false })
        })
    }
}
