//! Whether the lists in DNS that are asked do what lists do: tried at the start, once a day, and after the settings have
//! changed (RFC 5782 §5).
//!
//! A list that was closed often answers "listed" to everything for years. One that lists what no list does is left alone:
//! it counts for nothing until it is fit again.
//!
//! Invariants
//! - An answer that does not come changes nothing.
//! - Every trial's bad outcome is in the log.

use crate::receive::ask_all;
use filter::dnsbl::{Fitness, LISTS_MAX, List};
use mail::Timestamp;
use mail::lookup::Recorded;
use net::{Clock, Dns};
use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

/// Between two trials of the same lists. Our own choice.
const TRIED_EVERY: Duration = Duration::from_hours(24);
/// How soon changed settings are noticed. Our own choice.
const LOOKED_EVERY: Duration = Duration::from_mins(1);
/// How long a list has to answer a trial. Our own choice.
pub const TRIAL_WAIT: Duration = Duration::from_secs(10);

/// The zones that count for nothing, for all connections together.
#[derive(Debug, Default)]
pub struct LeftAlone(RwLock<BTreeSet<String>>);

impl LeftAlone {
    /// The lists that count.
    #[must_use]
    pub fn others(&self, lists: &[List]) -> Vec<List> {
        let left = self.0.read().unwrap_or_else(PoisonError::into_inner);
        lists.iter().take(LISTS_MAX).filter(|list| !left.contains(&list.zone)).cloned().collect()
    }

    /// Notes what trials have found.
    pub fn note(&self, tried: &[(List, Fitness)]) {
        let mut left = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for (list, fitness) in tried {
            match fitness {
                fitness if fitness.is_harmful() => {
                    left.insert(list.zone.clone());
                }
                Fitness::Fit { .. } => {
                    left.remove(&list.zone);
                }
                _ => {}
            }
        }
    }
}

/// Tries lists.
pub async fn tried(dns: &Arc<dyn Dns>, lists: &[List]) -> Vec<(List, Fitness)> {
    let lists: Vec<List> = lists.iter().take(LISTS_MAX).cloned().collect();
    let questions = lists.iter().flat_map(List::trial).collect();
    let mut answers = Recorded::default();
    ask_all(dns, questions, tokio::time::Instant::now() + TRIAL_WAIT, &mut answers).await;
    lists.into_iter().map(|list| (list.clone(), list.tried(&answers))).collect()
}

/// Tries lists for ever; `current` says who answers for DNS and which lists are set now.
pub async fn watch(clock: Arc<dyn Clock>, left_alone: impl Fn(&[(List, Fitness)]), current: impl Fn() -> (Arc<dyn Dns>, Vec<List>)) {
    let mut last: Option<(Timestamp, Vec<List>)> = None;
    loop {
        let (dns, lists) = current();
        let is_due = last.as_ref().is_none_or(|(at, tried)| *tried != lists || clock.wall() >= at.after(TRIED_EVERY));
        if is_due {
            let found = tried(&dns, &lists).await;
            found.iter().for_each(warn);
            left_alone(&found);
            last = Some((clock.wall(), lists));
        }
        tokio::time::sleep(LOOKED_EVERY).await;
    }
}

fn warn((list, fitness): &(List, Fitness)) {
    match fitness {
        Fitness::Fit { .. } => tracing::debug!(zone = list.zone, "the list works"),
        Fitness::Unknown => tracing::info!(zone = list.zone, "the list did not answer when it was tried"),
        _ => tracing::warn!(zone = list.zone, why = fitness.words(), "a list was tried and does not work"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use filter::dnsbl::Of;
    use mail::Domain;
    use net::FakeDns;

    fn list(zone: &str) -> List {
        List { of: Of::Hosts, zone: zone.to_owned(), codes: Vec::new(), weight: 300 }
    }

    fn with(dns: FakeDns, name: &str) -> FakeDns {
        dns.with_address(&Domain::parse(name).unwrap(), "127.0.0.2".parse().unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn a_list_that_lists_everything_is_left_alone_until_it_is_fit_again() {
        let lists = [list("good.example"), list("all.example"), list("gone.example")];
        let both = with(with(FakeDns::new(), "2.0.0.127.good.example"), "2.0.0.127.all.example");
        let (all, fit): (Arc<dyn Dns>, Arc<dyn Dns>) = (Arc::new(with(both, "1.0.0.127.all.example")), {
            Arc::new(with(with(FakeDns::new(), "2.0.0.127.good.example"), "2.0.0.127.all.example"))
        });
        let left = LeftAlone::default();
        let zones = |left: &LeftAlone| left.others(&lists).into_iter().map(|list| list.zone).collect::<Vec<_>>();
        let found = tried(&all, &lists).await;
        assert_eq!(
            found.iter().map(|(_, fitness)| fitness.clone()).collect::<Vec<_>>(),
            [Fitness::Fit { ipv6: false }, Fitness::ListsAll, Fitness::ListsNothing]
        );
        left.note(&found);
        assert_eq!(zones(&left), ["good.example", "gone.example"]);
        left.note(&[(list("all.example"), Fitness::Unknown)]);
        assert_eq!(zones(&left), ["good.example", "gone.example"], "no answer changes nothing");
        left.note(&tried(&fit, &lists).await);
        assert_eq!(zones(&left).len(), 3);
    }

    /// The wall clock goes with tokio's.
    struct Paused(tokio::time::Instant);

    impl Clock for Paused {
        fn now(&self) -> std::time::Instant {
            tokio::time::Instant::now().into_std()
        }
        fn wall(&self) -> Timestamp {
            Timestamp(0).after(tokio::time::Instant::now() - self.0)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn lists_are_tried_once_a_day_and_after_a_change() {
        let start = tokio::time::Instant::now();
        let tries = Arc::new(std::sync::Mutex::new(Vec::new()));
        let dns: Arc<dyn Dns> = Arc::new(FakeDns::new());
        let noted = Arc::clone(&tries);
        let changed = Duration::from_hours(30);
        let watched = watch(
            Arc::new(Paused(start)),
            move |found| noted.lock().unwrap().push((start.elapsed().as_secs() / 3600, found.len())),
            move || {
                let lists = if start.elapsed() < changed { vec![list("a.example")] } else { vec![list("a.example"), list("b.example")] };
                (Arc::clone(&dns), lists)
            },
        );
        assert!(tokio::time::timeout(Duration::from_hours(60), watched).await.is_err());
        assert_eq!(*tries.lock().unwrap(), [(0, 1), (24, 1), (30, 2), (54, 2)]);
    }
}
