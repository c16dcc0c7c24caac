//! Changes the keys that sign mail by schedule: makes new ones when the old are old enough, waits until DNS has their
//! records, signs with them, and forgets the old ones later.
//!
//! ```text
//! signing, older than `dkim.rotate` ─▶ new keys wait ─ DNS has all their records, for an hour ─▶ they sign, the old retire
//!                                                                             retired for `dkim.keep` ─▶ forgotten
//! ```
//!
//! Not the publishing: records are an administrator's to publish; until then the log repeats them once a day.
//!
//! Invariant: nothing signs with a key whose record could not be seen in DNS.

use crate::admin::dkim;
use crate::domain_check::is_same;
use crate::failure::Result;
use mail::{Domain, Timestamp};
use net::{Clock, Dns};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use store::{DkimKey, DkimKeyState, Store};

/// Before the first look: a start has better things to do. Our own choice.
const FIRST_WAIT: Duration = Duration::from_mins(1);
/// Between two looks. Our own choice.
const INTERVAL: Duration = Duration::from_hours(1);
/// How long records must be seen before keys sign: who asked before they were there remembers that for a while. Our own
/// choice; RFC 2308 §5 thinks of hours.
const SEEN_MIN: Duration = Duration::from_hours(1);
/// How often what is to be published is said again. Our own choice.
const REMIND_EVERY: Duration = Duration::from_hours(24);

/// When keys change.
#[derive(Debug, Clone, Copy)]
pub struct Schedule {
    /// How old signing keys may be; zero: nothing is done.
    pub rotate: Duration,
    /// How long retired keys are kept.
    pub keep: Duration,
}

/// What is done next about a domain's keys.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// New keys are made.
    Make,
    /// It is looked whether DNS has these.
    Look(Vec<(String, DkimKey)>),
    /// These are forgotten.
    Forget(Vec<String>),
}

/// Where keys are and how they are asked for.
pub struct Rotation {
    /// The keys.
    pub store: Store,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Since when all records of a domain's waiting keys are seen.
    seen: BTreeMap<Domain, Timestamp>,
    /// When what is to be published was last said.
    reminded: BTreeMap<Domain, Timestamp>,
}

impl Rotation {
    /// Nothing was seen yet.
    pub const fn new(store: Store, clock: Arc<dyn Clock>) -> Self {
        Self { store, clock, seen: BTreeMap::new(), reminded: BTreeMap::new() }
    }

    /// Looks for ever. `now` is asked before each look: a reload can change the schedule and the resolvers.
    pub async fn run(mut self, now: impl Fn() -> (Schedule, Arc<dyn Dns>)) {
        tokio::time::sleep(FIRST_WAIT).await;
        loop {
            let (schedule, dns) = now();
            if !schedule.rotate.is_zero() {
                self.look(schedule, &*dns).await;
            }
            tokio::time::sleep(INTERVAL).await;
        }
    }

    async fn look(&mut self, schedule: Schedule, dns: &dyn Dns) {
        let domains = self.store.read(|tx| {
            let domains = tx.domains()?.into_iter();
            domains.map(|(domain, _)| Ok((domain.clone(), tx.dkim_keys(&domain)?))).collect::<store::Result<Vec<_>>>()
        });
        let domains = match domains.await {
            Ok(domains) => domains,
            Err(error) => return tracing::warn!(%error, "the signing keys cannot be read"),
        };
        for (domain, keys) in domains {
            for step in steps(&keys, self.clock.wall(), schedule) {
                if let Err(failure) = self.take(&domain, step, dns).await {
                    tracing::warn!(%domain, %failure, "the signing keys could not be changed");
                }
            }
        }
    }

    async fn take(&mut self, domain: &Domain, step: Step, dns: &dyn Dns) -> Result<()> {
        match step {
            Step::Make => self.make(domain).await,
            Step::Look(waiting) => self.activate_if_seen(domain, &waiting, dns).await,
            Step::Forget(selectors) => self.forget(domain, selectors).await,
        }
    }

    async fn make(&mut self, domain: &Domain) -> Result<()> {
        let keys = dkim::new_keys()?;
        let of = domain.clone();
        let made = self.store.write(move |tx| Ok(dkim::add(tx, &of, &keys, DkimKeyState::Waiting))).await??;
        let records: Vec<String> = made.into_iter().map(|key| key.dns).collect();
        self.remind(domain, &records);
        Ok(())
    }

    async fn activate_if_seen(&mut self, domain: &Domain, waiting: &[(String, DkimKey)], dns: &dyn Dns) -> Result<()> {
        let now = self.clock.wall();
        for (selector, key) in waiting {
            if !is_published(dns, domain, selector, key).await {
                self.seen.remove(domain);
                if self.reminded.get(domain).is_none_or(|last| now.since(*last) >= REMIND_EVERY) {
                    let records: Vec<String> = waiting
                        .iter()
                        .map(|(selector, key)| mailauth::dkim::key::zone_line(selector, domain.as_str(), &key.record))
                        .collect();
                    self.remind(domain, &records);
                }
                return Ok(());
            }
        }
        if now.since(*self.seen.entry(domain.clone()).or_insert(now)) < SEEN_MIN {
            return Ok(());
        }
        self.seen.remove(domain);
        let of = domain.clone();
        self.store
            .write(move |tx| {
                let keys = tx.dkim_keys(&of)?;
                Ok(dkim::activate(tx, &of, keys, now))
            })
            .await??;
        tracing::info!(%domain, "mail is signed with the new keys from now on; the records of the old ones are needed for some days more");
        Ok(())
    }

    async fn forget(&self, domain: &Domain, selectors: Vec<String>) -> Result<()> {
        let (of, gone) = (domain.clone(), selectors.join(", "));
        self.store.write(move |tx| selectors.iter().try_for_each(|selector| tx.dkim_key_remove(&of, selector))).await?;
        tracing::info!(%domain, selectors = gone, "old signing keys are forgotten: take their records out of DNS");
        Ok(())
    }

    fn remind(&mut self, domain: &Domain, records: &[String]) {
        self.reminded.insert(domain.clone(), self.clock.wall());
        tracing::warn!(%domain, "new signing keys wait: publish their records in DNS, then they sign by themselves");
        for record in records {
            tracing::warn!(%domain, record, "to be published");
        }
    }
}

/// What is to be done about a domain's keys.
fn steps(keys: &[(String, DkimKey)], now: Timestamp, schedule: Schedule) -> Vec<Step> {
    let of = |state| keys.iter().filter(move |(_, key)| key.state == state);
    let waiting: Vec<_> = of(DkimKeyState::Waiting).cloned().collect();
    let old = |(_, key): &&(String, DkimKey)| now.since(key.changed) >= schedule.keep;
    let forgotten: Vec<String> = of(DkimKeyState::Retired).filter(old).map(|(selector, _)| selector.clone()).collect();
    let aged = of(DkimKeyState::Signing).any(|(_, key)| now.since(key.changed) >= schedule.rotate);
    let next = if waiting.is_empty() { aged.then_some(Step::Make) } else { Some(Step::Look(waiting)) };
    let forget = (!forgotten.is_empty()).then_some(Step::Forget(forgotten));
    next.into_iter().chain(forget).collect()
}

/// Whether DNS has the record of a key, as it is; no answer is none.
async fn is_published(dns: &dyn Dns, domain: &Domain, selector: &str, key: &DkimKey) -> bool {
    let Ok(name) = Domain::parse(&format!("{selector}._domainkey.{domain}")) else { return false };
    let found = dns.txt(&name).await.unwrap_or_default();
    found.iter().any(|record| is_same(&String::from_utf8_lossy(record), &key.record))
}

#[cfg(test)]
mod tests {
    use super::*;
    use net::{FakeDns, VirtualClock};

    const NOW: Timestamp = Timestamp::from_seconds(1_795_000_000);
    const SCHEDULE: Schedule = Schedule { rotate: Duration::from_hours(24 * 180), keep: Duration::from_hours(24 * 14) };

    fn key(state: DkimKeyState, days_ago: i64) -> (String, DkimKey) {
        let changed = Timestamp(NOW.0 - days_ago * 86_400_000);
        let record = format!("v=DKIM1; k=ed25519; p={days_ago}");
        (
            format!("s{days_ago}"),
            DkimKey { algorithm: "ed25519-sha256".into(), pkcs8: Vec::new(), record, state, created: changed, changed },
        )
    }

    #[test]
    fn keys_change_when_they_are_old_and_the_new_ones_are_known() {
        let (signing, waiting, retired) = (DkimKeyState::Signing, DkimKeyState::Waiting, DkimKeyState::Retired);
        let check = |keys: &[(DkimKeyState, i64)], want: &[&str]| {
            let keys: Vec<_> = keys.iter().map(|(state, days)| key(*state, *days)).collect();
            let words = |step: Step| match step {
                Step::Make => "make".to_owned(),
                Step::Look(keys) => format!("look {}", keys.len()),
                Step::Forget(selectors) => format!("forget {}", selectors.join(" ")),
            };
            assert_eq!(steps(&keys, NOW, SCHEDULE).into_iter().map(words).collect::<Vec<_>>(), want);
        };
        check(&[], &[]);
        check(&[(signing, 179)], &[]);
        check(&[(signing, 180), (signing, 10)], &["make"]);
        check(&[(signing, 200), (waiting, 1), (waiting, 2)], &["look 2"]);
        check(&[(signing, 20), (retired, 13)], &[]);
        check(&[(signing, 200), (retired, 14)], &["make", "forget s14"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_rotation_waits_for_dns() {
        let store = Store::memory();
        let domain = Domain::parse("a.example").unwrap();
        let of = domain.clone();
        let (selector, old) = key(DkimKeyState::Signing, 200);
        let added = store.write_blocking(move |tx| {
            tx.domain_add(&of, NOW)?;
            tx.dkim_key_add(&of, &selector, &old)
        });
        added.unwrap();
        let clock = Arc::new(VirtualClock::starting_at(NOW));
        let mut rotation = Rotation::new(store.clone(), clock);
        let states = || {
            let of = domain.clone();
            let keys = store.read_blocking(move |tx| tx.dkim_keys(&of)).unwrap();
            keys.iter()
                .map(|(_, key)| format!("{:?}", key.state))
                .collect::<std::collections::BTreeSet<_>>()
                .into_iter()
                .collect::<Vec<_>>()
        };
        let nothing = FakeDns::new();
        for _ in 0..3 {
            rotation.look(SCHEDULE, &nothing).await;
            assert_eq!(states(), ["Signing", "Waiting"], "DNS has no records yet");
        }
        let of = domain.clone();
        let keys = store.read_blocking(move |tx| tx.dkim_keys(&of)).unwrap();
        let published = keys.iter().filter(|(_, key)| key.state == DkimKeyState::Waiting).fold(FakeDns::new(), |dns, (selector, key)| {
            dns.with_txt(&Domain::parse(&format!("{selector}._domainkey.a.example")).unwrap(), &key.record)
        });
        rotation.look(SCHEDULE, &published).await;
        assert_eq!(states(), ["Signing", "Waiting"], "they were not seen for long enough");
        tokio::time::sleep(Duration::from_hours(1)).await;
        rotation.look(SCHEDULE, &published).await;
        assert_eq!(states(), ["Retired", "Signing"]);
        tokio::time::sleep(Duration::from_hours(24 * 14)).await;
        rotation.look(SCHEDULE, &published).await;
        assert_eq!(states(), ["Signing"]);
    }
}
