//! When mail is tried, and over how many connections. Pure: time and randomness are parameters.
//!
//! [`schedule`] deals connections out to destinations; [`retry_at`] says when a recipient's next
//! attempt is; [`Destination`] is what feedback has taught about one destination.
//!
//! Feedback: a destination starts with a few connections, may have one more each time as many
//! messages went through as it has connections, and is halved when it could not be reached. When
//! it could not be reached at all it is left alone for a while, then probed with one connection.

use crate::settings::Queue;
use mail::{ReceiptId, Timestamp};
use std::time::Duration;

/// What is known of one destination; kept in memory only and learnt again after a start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// How many connections it may have now.
    pub allowed: u32,
    /// How many it has or is getting.
    pub active: u32,
    /// How many of the active ones wait for a message.
    pub idle: u32,
    /// Not to be connected to before this moment.
    pub down_until: Option<Timestamp>,
    /// Messages handed over since `allowed` last changed.
    successes: u32,
    /// Times in a row that it could not be reached.
    failures: u32,
}

impl Destination {
    /// A destination of which nothing is known.
    pub fn new(settings: &Queue) -> Self {
        Self { allowed: settings.connections_initial.max(1), active: 0, idle: 0, down_until: None, successes: 0, failures: 0 }
    }

    /// A message was handed over or refused in an orderly way: the destination is well.
    pub fn succeeded(&mut self, settings: &Queue) {
        self.failures = 0;
        self.down_until = None;
        self.successes += 1;
        if self.successes >= self.allowed && self.allowed < settings.connections_max {
            self.allowed += 1;
            self.successes = 0;
        }
    }

    /// No connection could be made, or it broke before it could be used.
    ///
    /// With other connections open the destination only asks for fewer; without any it is down.
    pub fn unreachable(&mut self, now: Timestamp, settings: &Queue) {
        self.allowed = (self.allowed / 2).max(1);
        self.successes = 0;
        if self.active > 1 {
            return;
        }
        let doubled = settings.down_initial.saturating_mul(1 << self.failures.min(16));
        self.down_until = Some(now.after(doubled.min(settings.down_max)));
        self.failures += 1;
    }

    /// Whether it is left alone at this moment.
    pub fn is_down(&self, now: Timestamp) -> bool {
        self.down_until.is_some_and(|until| until > now)
    }

    /// Whether nothing would be lost by forgetting it.
    pub fn is_forgettable(&self, now: Timestamp) -> bool {
        self.active == 0 && !self.is_down(now)
    }
}

/// Mail that waits for a destination.
#[derive(Debug)]
pub struct Waiting<'a, K> {
    /// Where to.
    pub key: K,
    /// How many transactions wait for a connection.
    pub waiting: usize,
    /// What is known of it.
    pub destination: &'a Destination,
}

/// A number of connections to start.
#[derive(Debug, PartialEq, Eq)]
pub struct Start<K> {
    /// Where to.
    pub key: K,
    /// How many; at least 1.
    pub connections: u32,
}

/// Deals out connections: no destination over what it is allowed, all together not over the total,
/// and where the total does not suffice, those with the fewest first, one each in turn.
pub fn schedule<'a, K: Clone>(
    now: Timestamp,
    waiting: impl IntoIterator<Item = Waiting<'a, K>>,
    active: u32,
    settings: &Queue,
) -> Vec<Start<K>> {
    let mut wants: Vec<Want<K>> = waiting.into_iter().filter_map(|w| want(now, &w)).collect();
    let mut room = settings.connections_total_max.saturating_sub(active);
    wants.sort_by_key(|want| want.has);
    while room > 0 && wants.iter().any(|want| want.given < want.wants) {
        for want in wants.iter_mut().filter(|want| want.given < want.wants) {
            if room > 0 {
                want.given += 1;
                room -= 1;
            }
        }
    }
    wants.into_iter().filter(|want| want.given > 0).map(|want| Start { key: want.key, connections: want.given }).collect()
}

struct Want<K> {
    key: K,
    has: u32,
    wants: u32,
    given: u32,
}

fn want<K: Clone>(now: Timestamp, waiting: &Waiting<'_, K>) -> Option<Want<K>> {
    let destination = waiting.destination;
    if destination.is_down(now) {
        return None;
    }
    // After a failure one connection probes before others follow.
    let allowed = if destination.failures > 0 { 1 } else { destination.allowed };
    let unserved = u32::try_from(waiting.waiting).unwrap_or(u32::MAX).saturating_sub(destination.idle);
    let wants = unserved.min(allowed.saturating_sub(destination.active));
    (wants > 0).then(|| Want { key: waiting.key.clone(), has: destination.active, wants, given: 0 })
}

/// When the attempt after `attempts` failed ones is due; `None` when the recipient's time is over.
///
/// The last attempt is made when the time is just over, so that no wait is cut from it.
pub fn retry_at(now: Timestamp, attempts: u32, expires: Timestamp, receipt: ReceiptId, settings: &Queue) -> Option<Timestamp> {
    if now >= expires {
        return None;
    }
    let nth = usize::try_from(attempts.saturating_sub(1)).unwrap_or(usize::MAX);
    let wait = settings.retry.get(nth).or(settings.retry.last()).copied().unwrap_or(Duration::from_hours(1));
    Some(now.after(jittered(wait, settings.jitter_percent, receipt.0 ^ (u64::from(attempts) << 48))).min(expires))
}

/// `wait` moved by up to `percent` of it to either side; the same for the same seed.
fn jittered(wait: Duration, percent: u32, seed: u64) -> Duration {
    let span = wait.saturating_mul(2 * percent.min(100)) / 100;
    let millis = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    let moved = if millis == 0 { 0 } else { scramble(seed) % (millis + 1) };
    (wait.saturating_sub(span / 2) + Duration::from_millis(moved)).max(Duration::from_millis(1))
}

/// A number that looks random and depends on `seed` alone (the finaliser of `SplitMix64`).
pub(crate) fn scramble(seed: u64) -> u64 {
    let mixed = (seed ^ (seed >> 30)).wrapping_add(0x9e37_79b9_7f4a_7c15).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Queue {
        Queue { connections_initial: 2, connections_max: 5, connections_total_max: 6, ..Queue::default() }
    }

    fn destination(allowed: u32, active: u32, idle: u32) -> Destination {
        Destination { allowed, active, idle, ..Destination::new(&settings()) }
    }

    /// `wanted`: (waiting, allowed, active, idle) of each destination; the answer: connections of each.
    fn dealt(wanted: &[(usize, u32, u32, u32)], active: u32) -> Vec<u32> {
        let destinations: Vec<_> = wanted.iter().map(|w| destination(w.1, w.2, w.3)).collect();
        let waiting =
            wanted.iter().zip(&destinations).enumerate().map(|(key, (w, destination))| Waiting { key, waiting: w.0, destination });
        let mut given = vec![0; wanted.len()];
        for start in schedule(Timestamp(0), waiting, active, &settings()) {
            given[start.key] = start.connections;
        }
        given
    }

    #[test]
    fn connections_are_dealt_out() {
        for (wanted, active, want) in [
            (vec![(0, 2, 0, 0)], 0, vec![0]),
            (vec![(1, 2, 0, 0)], 0, vec![1]),
            (vec![(9, 2, 0, 0)], 0, vec![2]),
            (vec![(9, 2, 1, 0)], 1, vec![1]),
            (vec![(9, 2, 2, 0)], 2, vec![0]),
            (vec![(1, 2, 1, 1)], 1, vec![0]),
            (vec![(2, 2, 1, 1)], 1, vec![1]),
            (vec![(9, 5, 0, 0), (9, 5, 0, 0)], 0, vec![3, 3]),
            (vec![(9, 5, 3, 0), (9, 5, 0, 0)], 3, vec![1, 2]),
            (vec![(9, 5, 0, 0)], 6, vec![0]),
        ] {
            assert_eq!(dealt(&wanted, active), want, "{wanted:?}");
        }
    }

    #[test]
    fn success_opens_and_failure_closes() {
        let settings = settings();
        let mut destination = Destination::new(&settings);
        for allowed in [2, 3, 3, 3, 4] {
            destination.succeeded(&settings);
            assert_eq!(destination.allowed, allowed);
        }
        destination.active = 3;
        destination.unreachable(Timestamp(0), &settings);
        assert_eq!((destination.allowed, destination.down_until), (2, None));
    }

    #[test]
    fn an_unreachable_destination_is_left_alone_longer_each_time_and_then_probed() {
        let settings = settings();
        let mut destination = Destination { active: 1, ..Destination::new(&settings) };
        let mut now = Timestamp(0);
        for seconds in [30, 60, 120, 240, 480, 600, 600] {
            destination.unreachable(now, &settings);
            let until = now.after(Duration::from_secs(seconds));
            assert_eq!(destination.down_until, Some(until));
            now = until;
        }
        destination.active = 0;
        let start = |destination: &Destination, now| schedule(now, [Waiting { key: (), waiting: 9, destination }], 0, &settings);
        assert_eq!(start(&destination, Timestamp(now.0 - 1)), []);
        assert_eq!(start(&destination, now), [Start { key: (), connections: 1 }]);
        destination.succeeded(&settings);
        destination.succeeded(&settings);
        assert_eq!(start(&destination, now), [Start { key: (), connections: 2 }]);
    }

    #[test]
    fn retries_follow_the_intervals_and_end_with_the_lifetime() {
        let settings = Queue { jitter_percent: 0, ..Queue::default() };
        let expires = Timestamp::from_seconds(5 * 86_400);
        let at =
            |now: i64, attempts| retry_at(Timestamp::from_seconds(now), attempts, expires, ReceiptId(7), &settings).map(Timestamp::seconds);
        for (now, attempts, want) in [
            (0, 1, Some(300)),
            (300, 2, Some(900)),
            (0, 8, Some(4 * 3600)),
            (0, 80, Some(4 * 3600)),
            (5 * 86_400 - 1, 40, Some(5 * 86_400)),
            (5 * 86_400, 41, None),
        ] {
            assert_eq!(at(now, attempts), want, "{now} {attempts}");
        }
    }

    #[test]
    fn jitter_stays_within_its_bounds_and_depends_on_the_seed_alone() {
        let wait = Duration::from_secs(1000);
        let all: Vec<_> = (0..1000).map(|seed| jittered(wait, 10, seed)).collect();
        assert!(all.iter().all(|j| (900..=1100).contains(&j.as_secs())));
        assert!(all.iter().any(|j| j.as_secs() < 910) && all.iter().any(|j| j.as_secs() > 1090));
        assert_eq!(jittered(wait, 10, 5), jittered(wait, 10, 5));
        assert_eq!(jittered(wait, 0, 5), wait);
    }
}
