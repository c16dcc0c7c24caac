//! Counts failed sign-ins by address and by login, and says who has to wait and who is banned.
//!
//! Not the check of a password, and not the bans of the store (`crate::ban`): a value that is told what happens.
//!
//! ```text
//! failures of an address:  free ─▶ wait 1 s, 2 s, 4 s … 5 min between two tries ─▶ banned 15 min, 30 min … 1 day
//! failures of a login:     free ─▶ wait 1 s, 2 s … 1 min between two tries, from addresses that it never signed in from
//! ```
//!
//! | what | counts |
//! |---|---|
//! | a wrong password | 1 |
//! | a login that does not exist | 2: those are guessed by scans |
//! | the same wrong password of the same login again | nothing: a forgotten phone |
//! | a try before its time | as a failure, and is not checked |
//! | a right password of a disabled account | nothing |
//!
//! A failure is forgiven after [`Settings::forgive`], and at once when that login signs in from that address.
//!
//! Invariants
//! - Trusted networks never wait for their address and are never banned; nor is an address from which somebody has
//!   signed in within [`GOOD_FOR`]. It waits, but not for logins that have signed in from it.
//! - What is kept in memory is bounded ([`ADDRESSES_MAX`], [`LOGINS_MAX`], [`KNOWN_MAX`]); the longest silent make room.
//! - No login and no password is kept, only hashes under a key of this process; of passwords 32 bits.

use crate::ban::{Ban, BanScope};
use mail::{Network, Timestamp};
use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasher, Hash, RandomState};
use std::net::IpAddr;
use std::time::Duration;

/// Most addresses (IPv6: /64) whose failures are counted; some 150 octets each. Our own bound.
const ADDRESSES_MAX: usize = 50_000;
/// Most logins whose failures are counted. Our own bound.
const LOGINS_MAX: usize = 50_000;
/// Most pairs of address and login that are known to be good. Our own bound.
const KNOWN_MAX: usize = 50_000;
/// How long an address is not banned after somebody signed in from it. Our own choice.
const GOOD_FOR: Duration = Duration::from_hours(24);
/// How long a login need not wait at an address from which it has signed in. Our own choice.
const KNOWN_FOR: Duration = Duration::from_hours(30 * 24);
/// Different tries of one address that are remembered. Our own bound.
const TRIES_MAX: usize = 8;
/// The longest wait of an address between two tries. Our own choice.
const ADDRESS_WAIT_MAX: Duration = Duration::from_mins(5);
/// The longest wait of a login: who attacks an account must not lock its owner out. Our own choice.
const LOGIN_WAIT_MAX: Duration = Duration::from_mins(1);
/// So many times the free failures of an address are free for a login, which many addresses may try. Our own choice.
const LOGIN_FREE_FACTOR: u32 = 2;
/// Failures are counted in thousandths, because they are forgiven bit by bit.
const ONE: u64 = 1_000;

/// How much is borne.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Whether anybody waits or is banned. Default yes.
    pub is_on: bool,
    /// Never banned. Default none; loopback addresses are trusted always.
    pub trusted: Vec<Network>,
    /// Failures of an address before it waits. Default 5.
    pub free_failures: u32,
    /// Failures of an address before it is banned; 0: never. Default 20.
    pub ban_after: u32,
    /// How long the first ban is; each further one twice as long. Default 15 minutes.
    pub ban: Duration,
    /// The longest ban. Default 1 day.
    pub ban_max: Duration,
    /// After this time one failure is forgiven. Default 10 minutes.
    pub forgive: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            is_on: true,
            trusted: Vec::new(),
            free_failures: 5,
            ban_after: 20,
            ban: Duration::from_mins(15),
            ban_max: Duration::from_hours(24),
            forgive: Duration::from_mins(10),
        }
    }
}

impl Settings {
    fn trusts(&self, peer: IpAddr) -> bool {
        peer.to_canonical().is_loopback() || self.trusted.iter().any(|network| network.contains(peer))
    }
}

/// What is kept of an attempt to sign in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Attempt {
    /// Of the login.
    login: u64,
    /// Of login and password; none: they cannot be compared.
    secret: Option<u32>,
}

impl Attempt {
    /// The attempt where it was not checked: one that is repeated counts once, whatever its mechanism.
    pub(super) fn early(self) -> Self {
        Self { secret: self.secret.or(Some(0)), ..self }
    }
}

/// Everything that is counted.
pub(super) struct Guard {
    settings: Settings,
    hasher: RandomState,
    addresses: Recent<Network, Address>,
    logins: Recent<u64, Score>,
    /// When a login signed in from an address.
    known: Recent<(Network, u64), Timestamp>,
    bans: Bans,
}

/// What one address has done.
#[derive(Default)]
struct Address {
    score: Score,
    good: Timestamp,
    /// The last different tries: login, secret, and what they cost.
    tries: Vec<(Attempt, u64)>,
}

/// Failures that are forgiven with time.
#[derive(Default, Clone, Copy)]
struct Score {
    thousandths: u64,
    at: Timestamp,
    /// No try is taken before.
    next: Timestamp,
}

impl Guard {
    pub(super) fn new(settings: Settings, bans: Vec<Ban>) -> Self {
        let (addresses, logins, known) = (Recent::new(ADDRESSES_MAX), Recent::new(LOGINS_MAX), Recent::new(KNOWN_MAX));
        Self { settings, hasher: RandomState::new(), addresses, logins, known, bans: Bans::of(bans) }
    }

    pub(super) fn set(&mut self, settings: Settings) {
        self.settings = settings;
    }

    /// Who is let in again starts afresh.
    pub(super) fn set_bans(&mut self, bans: Vec<Ban>) {
        let before = std::mem::replace(&mut self.bans, Bans::of(bans));
        for network in before.by_network.into_keys().filter(|network| self.bans.at(network).is_none()) {
            self.addresses.forget(&network);
        }
    }

    /// Names an attempt.
    pub(super) fn attempt(&self, login: &str, secret: Option<&str>) -> Attempt {
        let login = login.to_lowercase();
        #[expect(clippy::cast_possible_truncation, reason = "32 bits tell two passwords apart and tell nobody which they are")]
        let secret = secret.map(|secret| self.hash((&login, secret)) as u32);
        Attempt { login: self.hash(&login), secret }
    }

    fn hash(&self, what: impl Hash) -> u64 {
        self.hasher.hash_one(what)
    }

    /// Whether connections of a peer are not taken.
    pub(super) fn is_banned(&self, peer: IpAddr, signs_in: bool, now: Timestamp) -> bool {
        let bars = |ban: &Ban| (signs_in || ban.scope == BanScope::Everything) && ban.holds(now);
        !self.settings.trusts(peer) && self.bans.of_peer(peer).any(bars)
    }

    /// How many bans hold.
    pub(super) fn bans_held(&self, now: Timestamp) -> usize {
        self.bans.all().filter(|ban| ban.holds(now)).count()
    }

    /// Whether an attempt may be checked now.
    pub(super) fn admits(&self, peer: Option<IpAddr>, attempt: Attempt, now: Timestamp) -> bool {
        if !self.settings.is_on {
            return true;
        }
        let trusted = peer.is_none_or(|peer| self.settings.trusts(peer));
        let network = peer.map(Network::of_peer);
        if !trusted && network.is_some_and(|network| self.knows(network, attempt.login, now)) {
            return true;
        }
        if peer.is_some_and(|peer| self.is_banned(peer, true, now)) {
            return false;
        }
        let waits = |score: Option<Score>| score.is_some_and(|score| now < score.next);
        let address = network.filter(|_| !trusted).and_then(|network| self.addresses.find(&network)).map(|address| address.score);
        !waits(address) && !waits(self.logins.find(&attempt.login).copied())
    }

    fn knows(&self, network: Network, login: u64, now: Timestamp) -> bool {
        self.known.find(&(network, login)).is_some_and(|at| now < at.after(KNOWN_FOR))
    }

    /// Counts a failure; the ban that it brought about.
    pub(super) fn failed(&mut self, peer: Option<IpAddr>, attempt: Attempt, exists: bool, now: Timestamp) -> Option<Ban> {
        let peer = peer.filter(|peer| self.settings.is_on && !self.settings.trusts(*peer));
        let cost = if exists { ONE } else { 2 * ONE };
        let Some(peer) = peer else {
            self.login_failed(attempt.login, now);
            return None;
        };
        if self.is_banned(peer, true, now) {
            return None;
        }
        let network = Network::of_peer(peer);
        let (free, forgive) = (self.settings.free_failures, self.settings.forgive);
        let address = self.addresses.entry(network);
        if attempt.secret.is_some() && address.tries.iter().any(|(before, _)| *before == attempt) {
            return None;
        }
        address.remember(attempt, cost);
        address.score.add(cost, free, ADDRESS_WAIT_MAX, forgive, now);
        let earned = self.settings.ban_after > 0 && address.score.thousandths >= u64::from(self.settings.ban_after) * ONE;
        let spared = address.good != Timestamp::default() && now < address.good.after(GOOD_FOR);
        let ban = (earned && !spared).then(|| self.ban(network, now));
        self.login_failed(attempt.login, now);
        ban
    }

    fn login_failed(&mut self, login: u64, now: Timestamp) {
        let (free, forgive) = (self.settings.free_failures.saturating_mul(LOGIN_FREE_FACTOR), self.settings.forgive);
        self.logins.entry(login).add(ONE, free, LOGIN_WAIT_MAX, forgive, now);
    }

    /// Each ban is twice as long as the one before, if that is remembered.
    fn ban(&mut self, network: Network, now: Timestamp) -> Ban {
        let before = self.bans.at(&network).map_or(0, |ban| ban.times);
        let length = self.settings.ban.saturating_mul(1 << before.min(20)).min(self.settings.ban_max);
        let until = Some(now.after(length));
        let reason = format!("{} failed sign-ins", self.settings.ban_after);
        let ban = Ban { network, scope: BanScope::SignIn, since: now, until, reason, times: before.saturating_add(1) };
        self.bans.put(ban.clone());
        self.addresses.entry(network).score = Score::default();
        ban
    }

    /// Somebody has signed in: what that login failed from that address is forgiven.
    pub(super) fn succeeded(&mut self, peer: Option<IpAddr>, attempt: Attempt, now: Timestamp) {
        let Some(peer) = peer.filter(|_| self.settings.is_on) else { return };
        let network = Network::of_peer(peer);
        *self.known.entry((network, attempt.login)) = now;
        let address = self.addresses.entry(network);
        address.good = now;
        let forgiven = address.forgive(attempt.login);
        if forgiven > 0 {
            let login = self.logins.entry(attempt.login);
            login.thousandths = login.thousandths.saturating_sub(forgiven);
        }
    }
}

impl Address {
    fn remember(&mut self, attempt: Attempt, cost: u64) {
        if self.tries.len() >= TRIES_MAX {
            self.tries.remove(0);
        }
        self.tries.push((attempt, cost));
    }

    /// What it was.
    fn forgive(&mut self, login: u64) -> u64 {
        let cost = self.tries.iter().filter(|(attempt, _)| attempt.login == login).map(|(_, cost)| cost).sum();
        self.tries.retain(|(attempt, _)| attempt.login != login);
        self.score.thousandths = self.score.thousandths.saturating_sub(cost);
        self.score.next = Timestamp::default();
        cost
    }
}

impl Score {
    fn add(&mut self, cost: u64, free: u32, wait_max: Duration, forgive: Duration, now: Timestamp) {
        let forgiven = now.since(self.at).as_millis().saturating_mul(ONE.into()) / forgive.as_millis().max(1);
        let forgiven = if self.at == Timestamp::default() { 0 } else { u64::try_from(forgiven).unwrap_or(u64::MAX) };
        self.thousandths = self.thousandths.saturating_sub(forgiven).saturating_add(cost);
        self.at = now;
        let over = (self.thousandths / ONE).saturating_sub(free.into());
        if over > 0 {
            let wait = Duration::from_secs(1 << (over - 1).min(30)).min(wait_max);
            self.next = now.after(wait);
        }
    }
}

/// The bans in memory.
#[derive(Default)]
struct Bans {
    by_network: HashMap<Network, Ban>,
    /// Which lengths of prefixes there are.
    prefixes: BTreeSet<u8>,
}

impl Bans {
    fn of(bans: Vec<Ban>) -> Self {
        let mut all = Self::default();
        for ban in bans {
            all.put(ban);
        }
        all
    }

    fn put(&mut self, ban: Ban) {
        if self.by_network.len() < crate::ban::BANS_MAX || self.by_network.contains_key(&ban.network) {
            self.prefixes.insert(ban.network.prefix());
            self.by_network.insert(ban.network, ban);
        }
    }

    fn at(&self, network: &Network) -> Option<&Ban> {
        self.by_network.get(network)
    }

    fn all(&self) -> impl Iterator<Item = &Ban> {
        self.by_network.values()
    }

    fn of_peer(&self, peer: IpAddr) -> impl Iterator<Item = &Ban> {
        let peer = peer.to_canonical();
        self.prefixes.iter().filter_map(move |prefix| self.by_network.get(&Network::around(peer, *prefix)))
    }
}

/// A map that forgets: when it is full, those go that were not asked for since it was half full.
struct Recent<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    max: usize,
}

impl<K: Eq + Hash, V: Default> Recent<K, V> {
    fn new(max: usize) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), max }
    }

    fn find(&self, key: &K) -> Option<&V> {
        self.young.get(key).or_else(|| self.old.get(key))
    }

    fn forget(&mut self, key: &K) {
        self.young.remove(key);
        self.old.remove(key);
    }

    fn entry(&mut self, key: K) -> &mut V {
        if self.young.len() >= self.max / 2 && !self.young.contains_key(&key) {
            self.old = std::mem::take(&mut self.young);
        }
        let before = self.old.remove(&key);
        self.young.entry(key).or_insert_with(|| before.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ATTACKER: &str = "203.0.113.9";

    struct Stage {
        guard: Guard,
        now: Timestamp,
    }

    impl Stage {
        fn new() -> Self {
            let trusted = vec!["198.51.100.0/24".parse().unwrap()];
            Self { guard: Guard::new(Settings { trusted, ..Settings::default() }, Vec::new()), now: Timestamp(1_000_000) }
        }

        fn later(&mut self, seconds: u64) {
            self.now = self.now.after(Duration::from_secs(seconds));
        }

        fn admits(&self, peer: &str, login: &str) -> bool {
            self.guard.admits(Some(peer.parse().unwrap()), self.guard.attempt(login, None), self.now)
        }

        fn fails(&mut self, peer: &str, login: &str, password: &str) -> Option<Ban> {
            let attempt = self.guard.attempt(login, Some(password));
            self.guard.failed(Some(peer.parse().unwrap()), attempt, true, self.now)
        }

        fn signs_in(&mut self, peer: &str, login: &str) {
            let attempt = self.guard.attempt(login, None);
            self.guard.succeeded(Some(peer.parse().unwrap()), attempt, self.now);
        }

        /// How many failures in a row until there is a ban, each as soon as it is admitted.
        fn until_banned(&mut self, peer: &str) -> Ban {
            (0..500).find_map(|number| self.fails(peer, &format!("user{number}"), "x")).expect("a ban")
        }

        fn is_banned(&self, peer: &str, signs_in: bool) -> bool {
            self.guard.is_banned(peer.parse().unwrap(), signs_in, self.now)
        }
    }

    #[test]
    fn waits_grow_and_end() {
        let mut stage = Stage::new();
        for (number, wait) in [(5, 0), (6, 1), (7, 2), (8, 4), (9, 8)] {
            let done = stage.guard.addresses.find(&"203.0.113.9".parse().unwrap()).map_or(0, |a| a.score.thousandths / ONE);
            (done..number).for_each(|number| drop(stage.fails(ATTACKER, &format!("u{number}"), "x")));
            assert_eq!(stage.admits(ATTACKER, "ann"), wait == 0, "{number}");
            assert!(stage.admits("203.0.113.8", "ann"), "another address does not wait");
            let now = stage.now;
            stage.later(wait);
            assert!(stage.admits(ATTACKER, "ann"), "{number}: it has waited {wait} s");
            stage.now = now;
        }
    }

    #[test]
    fn a_ban_ends_and_the_next_is_longer() {
        let mut stage = Stage::new();
        for minutes in [15, 30, 60] {
            let ban = stage.until_banned(ATTACKER);
            assert_eq!(ban.until, Some(stage.now.after(Duration::from_mins(minutes))));
            assert_eq!((stage.is_banned(ATTACKER, true), stage.is_banned(ATTACKER, false)), (true, false), "mail is taken");
            assert!(!stage.admits(ATTACKER, "ann"));
            stage.later(minutes * 60);
            assert!(!stage.is_banned(ATTACKER, true));
        }
    }

    #[test]
    fn ipv6_customers_have_64_bits() {
        let mut stage = Stage::new();
        (0..60).for_each(|number| drop(stage.fails(&format!("2001:db8::{number}"), &format!("u{number}"), "x")));
        assert!(stage.is_banned("2001:db8::ffff", true) && !stage.is_banned("2001:db8:0:1::1", true));
    }

    #[test]
    fn the_same_wrong_password_counts_once_and_unknown_logins_twice() {
        let mut stage = Stage::new();
        for _ in 0..1000 {
            assert_eq!(stage.fails(ATTACKER, "ann", "old password"), None);
        }
        assert!(stage.admits(ATTACKER, "bob"));
        let mut scanned = Stage::new();
        let attempt = |guard: &Guard, number: u32| guard.attempt(&format!("u{number}"), Some("x"));
        let bans = (1..=10).filter(|number| {
            let attempt = attempt(&scanned.guard, *number);
            scanned.guard.failed(Some(ATTACKER.parse().unwrap()), attempt, false, scanned.now).is_some()
        });
        assert_eq!(bans.collect::<Vec<_>>(), [10]);
    }

    #[test]
    fn who_has_signed_in_goes_on_and_the_address_is_not_banned() {
        let mut stage = Stage::new();
        stage.signs_in(ATTACKER, "Ann@Example.org");
        for number in 0..100 {
            assert_eq!(stage.fails(ATTACKER, "bob", &number.to_string()), None);
        }
        assert!(stage.admits(ATTACKER, "ann@example.org") && !stage.admits(ATTACKER, "bob"));
        stage.later(25 * 3600);
        assert!(stage.until_banned(ATTACKER).until.is_some(), "that was yesterday");
    }

    #[test]
    fn trusted_networks_are_never_banned() {
        let mut stage = Stage::new();
        for peer in ["198.51.100.7", "127.0.0.1", "::1", "::ffff:198.51.100.7"] {
            for number in 0..100 {
                assert_eq!(stage.fails(peer, &format!("{peer}{number}"), "x"), None, "{peer}");
            }
            assert!(!stage.is_banned(peer, true) && stage.admits(peer, "ann"));
        }
    }

    #[test]
    fn an_attacked_login_waits_everywhere_but_where_it_signed_in() {
        let mut stage = Stage::new();
        stage.signs_in("192.0.2.1", "ann");
        (0..40).for_each(|number| drop(stage.fails(&format!("203.0.113.{number}"), "ann", &number.to_string())));
        assert!(stage.admits("192.0.2.1", "ann") && !stage.admits("192.0.2.2", "ann") && stage.admits("192.0.2.2", "bob"));
        stage.later(60);
        assert!(stage.admits("192.0.2.2", "ann"), "never longer than a minute");
    }

    #[test]
    fn success_and_time_forgive() {
        let mut stage = Stage::new();
        (0..8).for_each(|number| drop(stage.fails("192.0.2.1", "ann", &number.to_string())));
        assert!(!stage.admits("192.0.2.1", "bob"));
        stage.signs_in("192.0.2.1", "ann");
        assert!(stage.admits("192.0.2.1", "bob"));
        (0..15).for_each(|number| drop(stage.fails(ATTACKER, "ann", &number.to_string())));
        stage.later(3 * 3600);
        assert_eq!(stage.fails(ATTACKER, "bob", "x"), None, "15 were forgiven");
        assert!(stage.admits(ATTACKER, "bob"));
    }

    #[test]
    fn what_is_switched_off_counts_nothing() {
        let mut stage = Stage::new();
        stage.guard.set(Settings { is_on: false, ..Settings::default() });
        for number in 0..100 {
            assert_eq!(stage.fails(ATTACKER, "ann", &number.to_string()), None);
        }
        assert!(stage.admits(ATTACKER, "ann"));
    }

    #[test]
    fn memory_is_bounded() {
        let mut recent: Recent<u32, u32> = Recent::new(10);
        for key in 0..1000 {
            *recent.entry(key) = key;
            *recent.entry(7) = 7;
            assert!(recent.young.len() + recent.old.len() <= 10);
        }
        assert_eq!((recent.find(&7), recent.find(&999), recent.find(&1)), (Some(&7), Some(&999), None));
    }
}
