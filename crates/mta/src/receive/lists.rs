//! What block and allow lists say of a peer: asked when it connects, all at once, while it talks.
//!
//! The meaning of the answers is `filter::dnsbl`'s. Nobody is refused for a listing: it is one piece of evidence among
//! others.
//!
//! ```text
//!  connect ─▶ Asking ── end of the first message, or time is over ──▶ Known ─▶ verdicts of all its messages
//! ```
//!
//! Invariants
//! - Only strangers on the MX port are asked about.
//! - A connection waits no longer than [`crate::settings::Filter::lists_wait`] after it began.

use super::Receiver;
use super::domain_lists::DomainsListed;
use super::inspect::ask_all;
use filter::dnsbl::{List, Of, Standing};
use mail::lookup::{Question, Recorded};
use mail::{Event, Timestamp};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use tokio::task::JoinSet;

/// Between two warnings that lists do not work, seconds. Our own choice.
const WARNED_EVERY_SECONDS: i64 = 600;

/// When that was warned of last, seconds since 1970, for all connections together.
static WARNED: AtomicI64 = AtomicI64::new(0);

/// What is known of the peer.
#[derive(Default)]
pub(super) enum Lists {
    /// Nothing was asked.
    #[default]
    Unasked,
    /// It is asked; ends with the connection.
    Asking(JoinSet<Recorded>),
    /// These are the answers.
    Known(Arc<Recorded>),
}

impl Receiver {
    /// Begins to ask.
    pub(super) fn ask_lists(&mut self) {
        let lists = self.host_lists();
        let Some(dns) = self.context.dns.clone().filter(|_| !lists.is_empty() && self.is_judged()) else { return };
        let deadline = tokio::time::Instant::now() + self.context.settings.receive.filter.lists_wait;
        let peer = self.peer;
        let questions: Vec<Question> = lists.iter().map(|list| list.question(peer)).collect();
        let mut asking = JoinSet::new();
        asking.spawn(async move {
            let mut recorded = Recorded::default();
            ask_all(&dns, questions, deadline, &mut recorded).await;
            recorded
        });
        self.lists = Lists::Asking(asking);
    }

    /// Waits for the answers.
    pub(super) async fn settle_lists(&mut self) {
        let Lists::Asking(asking) = &mut self.lists else { return };
        let answers = match asking.join_next().await {
            Some(Ok(recorded)) => recorded,
            _ => Recorded::default(),
        };
        for list in self.host_lists() {
            warn(&list, &list.standing(self.peer, &answers), self.context.clock.wall());
        }
        self.lists = Lists::Known(Arc::new(answers));
    }

    /// The answers, once they are there.
    pub(super) fn listings(&self) -> Option<&Arc<Recorded>> {
        match &self.lists {
            Lists::Known(answers) => Some(answers),
            Lists::Unasked | Lists::Asking(_) => None,
        }
    }

    /// The lists that are asked and heard: all but those that are left alone.
    pub(super) fn heeded_lists(&self) -> Vec<List> {
        self.context.counters.left_alone.others(&self.context.settings.receive.filter.lists)
    }

    fn host_lists(&self) -> Vec<List> {
        self.heeded_lists().into_iter().filter(|list| list.of == Of::Hosts).collect()
    }

    /// What the trail says of it.
    pub(super) fn listed(&self, domains: DomainsListed) -> Option<Event> {
        let mut answers = self.listings().map(|answers| Recorded::clone(answers)).unwrap_or_default();
        let lists = if self.listings().is_some() { self.host_lists() } else { Vec::new() };
        let of_host = lists.iter().map(|list| (list.zone.clone(), words(&list.standing(self.peer, &answers))));
        let standings: Vec<_> = of_host.collect::<Vec<_>>().into_iter().chain(domains.standings).collect();
        for (question, answer) in domains.answers.iter() {
            answers.put(question.clone(), answer.clone());
        }
        (!standings.is_empty()).then_some(Event::Listed { standings, answers })
    }
}

pub(super) fn words(standing: &Standing) -> String {
    match standing {
        Standing::NotListed => "not listed".to_owned(),
        Standing::Listed(codes) => format!("listed: {}", codes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")),
        Standing::Error(why) => format!("error: {why}"),
        Standing::Unknown => "no answer".to_owned(),
    }
}

/// An operator must hear of a list that refuses to answer, but not with each connection.
pub(super) fn warn(list: &List, standing: &Standing, now: Timestamp) {
    let Standing::Error(why) = standing else { return };
    let (seconds, before) = (now.seconds(), WARNED.load(Ordering::Relaxed));
    if seconds.saturating_sub(before) >= WARNED_EVERY_SECONDS || seconds < before {
        WARNED.store(seconds, Ordering::Relaxed);
        tracing::warn!(zone = list.zone, why, "a list does not work; it counts as not listed");
    }
}
