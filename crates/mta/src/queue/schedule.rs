//! When mail is tried, and over how many connections. Pure: time and randomness are parameters.
//!
//! [`schedule`] deals connections out to destinations; [`retry_at`] says when a recipient's next
//! attempt is; [`Destination`] is what feedback has taught about one destination, or about a provider: the
//! hosts that several destinations share.
//!
//! Feedback: a destination starts with a few connections and may have one more each time as many
//! messages went through as it has connections. When it says that it has enough (421, 450 and 451 with 4.7) it is
//! halved; at one connection its messages are spaced, ever wider, and closer again when they go through. When
//! it could not be reached at all it is left alone for a while, then probed with one connection.

use crate::settings::{Queue, Rate};
use mail::{ReceiptId, Timestamp};
use std::collections::BTreeMap;
use std::time::Duration;

/// The first space between two messages for a destination that has enough at one connection. Our own choice.
const PACE_FIRST: Duration = Duration::from_secs(1);
/// The widest space. Our own choice.
const PACE_MAX: Duration = Duration::from_mins(1);
/// Messages that go through before they are spaced half as wide.
const PACE_SUCCESSES: u32 = 5;
/// How long trouble is remembered after it is over.
const REMEMBERED: Duration = Duration::from_mins(10);
/// Complaints within this time count once: they answer what was sent before the first one was heard.
const COMPLAINT_SPAN: Duration = Duration::from_secs(5);

/// What an operator allows a destination or a provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bounds {
    /// Connections at first.
    pub connections_initial: u32,
    /// Most connections.
    pub connections_max: u32,
    /// Most messages in a time.
    pub rate: Option<Rate>,
    /// Most messages over one connection.
    pub messages_max: usize,
}

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
    /// The least time between two messages that feedback asks for.
    pub pace: Duration,
    /// What it said or did last that was not success, and when.
    pub last: Option<(Timestamp, String)>,
    /// Before this moment no message is to leave, by pace and rate.
    next_message: Timestamp,
    /// Messages handed over since `allowed` or `pace` last changed.
    successes: u32,
    /// Times in a row that it could not be reached.
    failures: u32,
    /// When it last complained.
    complained: Option<Timestamp>,
    bounds: Bounds,
}

impl Destination {
    /// A destination of which nothing is known.
    pub fn new(bounds: Bounds) -> Self {
        Self {
            allowed: bounds.connections_initial.clamp(1, bounds.connections_max.max(1)),
            active: 0,
            idle: 0,
            down_until: None,
            pace: Duration::ZERO,
            last: None,
            next_message: Timestamp(i64::MIN),
            successes: 0,
            failures: 0,
            complained: None,
            bounds,
        }
    }

    /// What the operator allows it.
    pub const fn bounds(&self) -> &Bounds {
        &self.bounds
    }

    /// A message was handed over or refused in an orderly way: the destination is well.
    pub fn succeeded(&mut self) {
        self.failures = 0;
        self.down_until = None;
        self.successes += 1;
        if !self.pace.is_zero() {
            if self.successes >= PACE_SUCCESSES {
                self.pace = if self.pace < PACE_FIRST { Duration::ZERO } else { self.pace / 2 };
                self.successes = 0;
            }
        } else if self.successes >= self.allowed && self.allowed < self.bounds.connections_max {
            self.allowed += 1;
            self.successes = 0;
        }
    }

    /// It said that it has enough: fewer connections, at one connection more time between messages.
    pub fn complained(&mut self, now: Timestamp, words: &str) {
        self.last = Some((now, words.to_owned()));
        if self.complained.is_some_and(|at| now.since(at) < COMPLAINT_SPAN) {
            return;
        }
        self.complained = Some(now);
        self.successes = 0;
        if self.allowed > 1 {
            self.allowed /= 2;
        } else {
            self.pace = (self.pace * 2).clamp(PACE_FIRST, PACE_MAX);
        }
    }

    /// No connection could be made, or it broke before it could be used.
    ///
    /// With other connections open the destination only asks for fewer; without any it is down.
    pub fn unreachable(&mut self, now: Timestamp, words: &str, settings: &Queue) {
        self.last = Some((now, words.to_owned()));
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

    /// Whether it may have fewer connections than at first, or its messages are spaced by what it said.
    pub fn is_slowed(&self) -> bool {
        !self.pace.is_zero() || self.allowed < self.bounds.connections_initial.clamp(1, self.bounds.connections_max.max(1))
    }

    /// Whether it has more connections than it may have now.
    pub const fn has_too_many(&self) -> bool {
        self.active > self.allowed
    }

    /// When the next message may leave; a moment that has passed: now.
    pub const fn next_message(&self) -> Timestamp {
        self.next_message
    }

    /// A message leaves.
    pub fn leaves(&mut self, now: Timestamp) {
        let space = self.space();
        if !space.is_zero() {
            self.next_message = self.next_message.max(now).after(space);
        }
    }

    /// The time between two messages, by feedback and by what the operator allows.
    fn space(&self) -> Duration {
        self.pace.max(self.bounds.rate.map_or(Duration::ZERO, Rate::space))
    }

    /// Whether nothing would be lost by forgetting it. Trouble is remembered for a while, unless there is too much to
    /// remember.
    pub fn is_forgettable(&self, now: Timestamp, brief: bool) -> bool {
        let over = self.next_message <= now && (brief || self.last.as_ref().is_none_or(|(at, _)| now.since(*at) > REMEMBERED));
        self.active == 0 && !self.is_down(now) && over
    }

    /// How many more connections it may have now.
    fn room(&self, now: Timestamp) -> u32 {
        if self.is_down(now) || self.next_message > now {
            return 0;
        }
        // After a failure one connection probes before others follow; spaced messages need no more than one at once.
        let allowed = if self.failures > 0 { 1 } else { self.allowed };
        let room = allowed.saturating_sub(self.active);
        if self.space().is_zero() { room } else { room.min(1) }
    }
}

/// Mail that waits for a destination.
#[derive(Debug)]
pub struct Waiting<'a, K, P> {
    /// Where to.
    pub key: K,
    /// How many transactions wait for a connection.
    pub waiting: usize,
    /// The place of the first of them: rank, then tag.
    pub first: (u8, u64),
    /// What is known of it.
    pub destination: &'a Destination,
    /// The provider, if it is known, and what is known of that.
    pub provider: Option<(P, &'a Destination)>,
}

/// A number of connections to start.
#[derive(Debug, PartialEq, Eq)]
pub struct Start<K> {
    /// Where to.
    pub key: K,
    /// How many; at least 1.
    pub connections: u32,
}

/// Deals out connections: no destination and no provider over what it is allowed, all together not over the total,
/// and where the total does not suffice, the urgent and then those with the fewest first, one each in turn.
pub fn schedule<'a, K, P: Ord>(
    now: Timestamp,
    waiting: impl IntoIterator<Item = Waiting<'a, K, P>>,
    active: u32,
    settings: &Queue,
) -> Vec<Start<K>> {
    let mut room = settings.connections_total_max.saturating_sub(active);
    let mut providers: Vec<u32> = Vec::new();
    let mut known = BTreeMap::new();
    let mut wants: Vec<Want<K>> = Vec::new();
    for waiting in waiting {
        let provider = waiting.provider.map(|(provider, state)| {
            *known.entry(provider).or_insert_with(|| {
                providers.push(state.room(now));
                providers.len() - 1
            })
        });
        let unserved = u32::try_from(waiting.waiting).unwrap_or(u32::MAX).saturating_sub(waiting.destination.idle);
        let wants_now = unserved.min(waiting.destination.room(now));
        if wants_now > 0 {
            let order = (waiting.first.0, waiting.destination.active, waiting.first.1);
            wants.push(Want { key: waiting.key, order, wants: wants_now, given: 0, provider });
        }
    }
    wants.sort_by_key(|want| want.order);
    let mut progress = true;
    while room > 0 && progress {
        progress = false;
        for want in wants.iter_mut().filter(|want| want.given < want.wants) {
            let mut none = 1;
            let left = want.provider.and_then(|place| providers.get_mut(place)).unwrap_or(&mut none);
            if room > 0 && *left > 0 {
                *left -= 1;
                room -= 1;
                want.given += 1;
                progress = true;
            }
        }
    }
    wants.into_iter().filter(|want| want.given > 0).map(|want| Start { key: want.key, connections: want.given }).collect()
}

struct Want<K> {
    key: K,
    order: (u8, u32, u64),
    wants: u32,
    given: u32,
    /// Its provider's place in the list of those.
    provider: Option<usize>,
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

    fn new() -> Destination {
        Destination::new(settings().bounds())
    }

    fn destination(allowed: u32, active: u32, idle: u32) -> Destination {
        Destination { allowed, active, idle, ..new() }
    }

    /// `wanted`: (waiting, allowed, active, idle) of each destination; the answer: connections of each.
    fn dealt(wanted: &[(usize, u32, u32, u32)], provider: Option<&Destination>, active: u32) -> Vec<u32> {
        let destinations: Vec<_> = wanted.iter().map(|w| destination(w.1, w.2, w.3)).collect();
        let waiting = wanted.iter().zip(&destinations).enumerate().map(|(key, (w, destination))| Waiting {
            key,
            waiting: w.0,
            first: (9, 0),
            destination,
            provider: provider.map(|provider| ((), provider)),
        });
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
            assert_eq!(dealt(&wanted, None, active), want, "{wanted:?}");
        }
    }

    #[test]
    fn destinations_of_one_provider_share_what_it_is_allowed() {
        let wanted = [(9, 5, 0, 0), (9, 5, 0, 0)];
        for (allowed, active, want) in [(5, 0, [3, 2]), (1, 0, [1, 0]), (2, 1, [1, 0]), (2, 2, [0, 0])] {
            assert_eq!(dealt(&wanted, Some(&destination(allowed, active, 0)), active), want, "{allowed} {active}");
        }
    }

    #[test]
    fn the_urgent_and_then_those_with_the_fewest_connections_come_first() {
        let (idle, busy) = (destination(2, 0, 0), destination(2, 1, 0));
        let start = |waiting: [((u8, u64), &Destination); 3]| {
            let waiting = waiting.into_iter().enumerate();
            let waiting =
                waiting.map(|(key, (first, destination))| Waiting::<_, ()> { key, waiting: 1, first, destination, provider: None });
            schedule(Timestamp(0), waiting, 5, &settings()).remove(0).key
        };
        assert_eq!(start([((9, 7), &idle), ((9, 3), &idle), ((9, 1), &busy)]), 1);
        assert_eq!(start([((9, 7), &idle), ((9, 3), &idle), ((5, 9), &busy)]), 2);
    }

    #[test]
    fn success_opens_and_failure_closes() {
        let mut destination = new();
        for allowed in [2, 3, 3, 3, 4] {
            destination.succeeded();
            assert_eq!(destination.allowed, allowed);
        }
        destination.active = 3;
        destination.unreachable(Timestamp(0), "", &settings());
        assert_eq!((destination.allowed, destination.down_until), (2, None));
    }

    #[test]
    fn complaints_take_connections_and_then_time() {
        let mut destination = Destination { allowed: 4, active: 4, ..new() };
        let mut seen = Vec::new();
        for seconds in [0, 1, 10, 20, 30, 40, 50, 60, 70, 80, 90] {
            destination.complained(Timestamp::from_seconds(seconds), "421 enough");
            seen.push((destination.allowed, destination.pace.as_secs()));
        }
        assert_eq!(seen, [(2, 0), (2, 0), (1, 0), (1, 1), (1, 2), (1, 4), (1, 8), (1, 16), (1, 32), (1, 60), (1, 60)]);
        assert!(destination.has_too_many());
        let mut messages = 0;
        while destination.allowed < 3 {
            destination.succeeded();
            messages += 1;
        }
        assert!((30..60).contains(&messages), "it comes back slowly: {messages}");
    }

    #[test]
    fn a_rate_spaces_messages_evenly() {
        let rate = Some(Rate { messages: 6, time: Duration::from_mins(1) });
        let mut destination = Destination::new(Bounds { rate, ..settings().bounds() });
        let wanted = |destination: &Destination, now| {
            let waiting = [Waiting::<_, ()> { key: (), waiting: 9, first: (9, 0), destination, provider: None }];
            schedule(now, waiting, 0, &settings()).first().map_or(0, |start| start.connections)
        };
        assert_eq!(wanted(&destination, Timestamp(0)), 1, "one at a time");
        destination.leaves(Timestamp(0));
        assert_eq!(destination.next_message(), Timestamp::from_seconds(10));
        assert_eq!((wanted(&destination, Timestamp(9_999)), wanted(&destination, Timestamp(10_000))), (0, 1));
        destination.leaves(Timestamp::from_seconds(100));
        assert_eq!(destination.next_message(), Timestamp::from_seconds(110), "what was not used is not saved up");
    }

    #[test]
    fn an_unreachable_destination_is_left_alone_longer_each_time_and_then_probed() {
        let settings = settings();
        let mut destination = Destination { active: 1, ..new() };
        let mut now = Timestamp(0);
        for seconds in [30, 60, 120, 240, 480, 600, 600] {
            destination.unreachable(now, "", &settings);
            let until = now.after(Duration::from_secs(seconds));
            assert_eq!(destination.down_until, Some(until));
            now = until;
        }
        destination.active = 0;
        let start = |destination: &Destination, now| {
            schedule(now, [Waiting::<_, ()> { key: (), waiting: 9, first: (9, 0), destination, provider: None }], 0, &settings)
        };
        assert_eq!(start(&destination, Timestamp(now.0 - 1)), []);
        assert_eq!(start(&destination, now), [Start { key: (), connections: 1 }]);
        destination.succeeded();
        destination.succeeded();
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
