//! An administrator's way to the running queue: to urge it, and to look at it.
//!
//! Not to its mail: that is in the store, where the queue hears of every change.

use super::board::{Board, DestinationView};
use crate::route::{self, Destination, Matching, Next, Rule};
use mail::Domain;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// The way. Clones are the same. A destination that could not be reached is otherwise left alone for a while, whoever's
/// mail is due.
#[derive(Debug, Clone, Default)]
pub struct Urge(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    asked: Mutex<Option<Asked>>,
    board: Mutex<Option<Board>>,
    told: Notify,
}

/// For whose mail somebody asked.
#[derive(Debug, Default)]
pub(super) struct Asked {
    domains: Vec<Domain>,
    /// Also for all below them.
    above: Vec<Domain>,
}

impl Urge {
    /// The queue forgets that the destinations of mail for these domains are down, before it next looks at what is due.
    /// To be called before the messages are made due by [`admin::retry`](super::admin::retry).
    pub fn tell(&self, domains: impl IntoIterator<Item = Domain>) {
        self.asked().get_or_insert_default().domains.extend(domains);
        self.0.told.notify_one();
    }

    /// The same for a domain and all below it.
    pub fn tell_below(&self, domain: Domain) {
        self.asked().get_or_insert_default().above.push(domain);
        self.0.told.notify_one();
    }

    /// How the destinations are that a running queue knows something of; none if none runs.
    pub fn destinations(&self) -> Vec<DestinationView> {
        self.board().as_ref().map(Board::view).unwrap_or_default()
    }

    pub(super) fn shows(&self, board: &Board) {
        *self.board() = Some(board.clone());
    }

    pub(super) fn take(&self) -> Option<Asked> {
        self.asked().take()
    }

    pub(super) async fn told(&self) {
        self.0.told.notified().await;
    }

    fn asked(&self) -> MutexGuard<'_, Option<Asked>> {
        self.0.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn board(&self) -> MutexGuard<'_, Option<Board>> {
        self.0.board.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Asked {
    /// Whether mail that was asked for goes there. A smarthost that mail of some senders goes to is always meant.
    pub(super) fn means(&self, destination: &Destination, routes: &[Rule]) -> bool {
        match destination {
            Destination::Local => false,
            Destination::Mx(domain, ..) => self.names(domain),
            Destination::Smarthost(smarthost, ..) => {
                let of_senders =
                    |rule: &Rule| matches!((&rule.matching, &rule.next), (Matching::Senders(_), Next::Smarthost(to)) if to == smarthost);
                let leads = |domain: &Domain| matches!(route::route(routes, domain, None, false), Destination::Smarthost(to, ..) if to == *smarthost);
                routes.iter().any(of_senders) || self.domains.iter().chain(&self.above).any(leads)
            }
        }
    }

    fn names(&self, domain: &Domain) -> bool {
        let below =
            |above: &Domain| domain == above || domain.as_str().strip_suffix(above.as_str()).is_some_and(|rest| rest.ends_with('.'));
        self.domains.contains(domain) || self.above.iter().any(below)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mail::TlsDemand;

    #[test]
    fn only_what_was_asked_for_is_meant() {
        let domain = |text: &str| Domain::parse(text).unwrap();
        let urge = Urge::default();
        assert!(urge.take().is_none());
        urge.tell([domain("a.example")]);
        urge.tell_below(domain("b.example"));
        let asked = urge.take().unwrap();
        for (to, want) in [
            ("a.example", true),
            ("x.a.example", false),
            ("b.example", true),
            ("x.b.example", true),
            ("xb.example", false),
            ("c.example", false),
        ] {
            assert_eq!(asked.means(&Destination::Mx(domain(to), TlsDemand::ByPolicy.into()), &[]), want, "{to}");
        }
    }
}
