//! Gets MTA-STS policies and remembers them (RFC 8461 §3, §5.1, §10.2).
//!
//! ```text
//!  TXT _mta-sts.DOMAIN ──id──▶ the same as remembered, and fresh ──▶ that one
//!        │ none                  │ another, or old, or nothing remembered
//!        ▼                       ▼
//!  what is remembered ◀──fails── fetch https://mta-sts.DOMAIN/.well-known/mta-sts.txt ──▶ remember
//! ```
//!
//! Invariant: a policy that was remembered holds until its time is over, whatever DNS and the web server say.

use super::mta_sts::{self, Mode, Policy};
use super::policy::{StsAnswer, StsFault};
use mail::{Domain, Timestamp};
use net::https::{Address, Https, HttpsError};
use net::{Clock, Dns};
use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use store::{Store, StsPolicy};

/// A policy is fetched again when it is older, although its id is the same: it is refreshed before it ends
/// (RFC 8461 §10.2 says once a day).
const REFRESH_AFTER: Duration = Duration::from_hours(24);
/// A web server that failed is left alone for so long (RFC 8461 §3.3 says five minutes at least).
const AGAIN_AFTER: Duration = Duration::from_mins(5);
/// Most domains whose failure is remembered. Our own bound.
const FAILURES_MAX: usize = 10_000;
/// The least time that a policy is remembered: many domains would otherwise be protected for seconds only.
const MAX_AGE_MIN: Duration = Duration::from_mins(5);

/// A policy's text in the making.
pub type Fetching<'a> = Pin<Box<dyn Future<Output = Result<String, StsFault>> + Send + 'a>>;

/// Fetches the text of a domain's policy.
pub trait Fetch: Send + Sync {
    /// From `https://mta-sts.DOMAIN/.well-known/mta-sts.txt`.
    fn fetch<'a>(&'a self, domain: &'a Domain) -> Fetching<'a>;
}

/// Fetches over HTTPS.
pub struct WebFetch {
    /// The client.
    pub https: Https,
    /// The web server's port: 443; other values are for tests.
    pub port: u16,
}

impl Fetch for WebFetch {
    fn fetch<'a>(&'a self, domain: &'a Domain) -> Fetching<'a> {
        Box::pin(async move {
            let host = Domain::parse(&format!("mta-sts.{domain}")).map_err(|error| StsFault::Fetch(error.to_string()))?;
            let address = Address { host, port: self.port, path: "/.well-known/mta-sts.txt".to_owned() };
            let answer = self.https.get(&address).await.map_err(|error| match error {
                HttpsError::Tls(_) => StsFault::WebPki(error.to_string()),
                other => StsFault::Fetch(other.to_string()),
            })?;
            if answer.status != 200 {
                return Err(StsFault::Fetch(format!("the web server answers {}", answer.status)));
            }
            // Deviation: RFC 8461 §3.3 would have text/plain only; many servers give a file without a suffix they
            // know another type. What is a web page is none.
            if answer.media_type == "text/html" {
                return Err(StsFault::Invalid("it is a web page".to_owned()));
            }
            String::from_utf8(answer.body).map_err(|_| StsFault::Invalid("it is no text".to_owned()))
        })
    }
}

/// Gets and remembers.
pub struct Sts {
    /// Where policies are kept.
    pub store: Store,
    /// Where ids come from.
    pub dns: Arc<dyn Dns>,
    /// Where policies come from.
    pub fetch: Arc<dyn Fetch>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    failures: Mutex<HashMap<Domain, (Timestamp, StsFault)>>,
}

/// A policy, and how we came by it, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// The answer.
    pub answer: StsAnswer,
    /// Step by step.
    pub steps: Vec<String>,
}

impl Sts {
    /// Over a store, DNS and a web client.
    pub fn new(store: Store, dns: Arc<dyn Dns>, fetch: Arc<dyn Fetch>, clock: Arc<dyn Clock>) -> Self {
        Self { store, dns, fetch, clock, failures: Mutex::default() }
    }

    /// What is known of a domain's policy.
    pub async fn policy(&self, domain: &Domain) -> StsAnswer {
        self.explained(domain).await.answer
    }

    /// The same with the steps that led there.
    pub async fn explained(&self, domain: &Domain) -> Known {
        let now = self.clock.wall();
        let mut steps = Vec::new();
        let kept = self.kept(domain, now, &mut steps).await;
        let id = self.id(domain, &mut steps).await;
        let answer = match (kept, id) {
            (None, None) => StsAnswer::None,
            (Some(kept), None) => {
                steps.push("DNS gives no id now: the policy that is remembered holds until its time is over".to_owned());
                answer_of(kept.1)
            }
            (Some((kept, policy)), Some(id)) if kept.id == id && now.since(kept.fetched) < REFRESH_AFTER => {
                steps.push(format!("the policy with id {id} is remembered"));
                answer_of(policy)
            }
            (kept, Some(id)) => match self.fetched(domain, &id, now, &mut steps).await {
                Ok(policy) => answer_of(policy),
                Err(fault) => without_a_new_one(kept.map(|(_, policy)| policy), fault, &mut steps),
            },
        };
        Known { answer, steps }
    }

    /// What is remembered and still holds.
    async fn kept(&self, domain: &Domain, now: Timestamp, steps: &mut Vec<String>) -> Option<(StsPolicy, Policy)> {
        let asked = domain.clone();
        match self.store.read(move |tx| tx.sts_policy(&asked)).await {
            Ok(Some(kept)) if kept.expires > now => {
                let policy = Policy::parse(&kept.text).ok()?;
                Some((kept, policy))
            }
            Ok(_) => None,
            Err(error) => {
                steps.push(format!("what is remembered cannot be read: {error}"));
                None
            }
        }
    }

    async fn id(&self, domain: &Domain, steps: &mut Vec<String>) -> Option<String> {
        let name = Domain::parse(&format!("_mta-sts.{domain}")).ok()?;
        match self.dns.txt(&name).await {
            Ok(records) => {
                let id = mta_sts::id(&records);
                steps.push(id.as_ref().map_or_else(|| format!("{name} has no MTA-STS record"), |id| format!("{name} says id={id}")));
                id
            }
            Err(error) => {
                steps.push(format!("{name}: {error}"));
                None
            }
        }
    }

    async fn fetched(&self, domain: &Domain, id: &str, now: Timestamp, steps: &mut Vec<String>) -> Result<Policy, StsFault> {
        if let Some(fault) = self.failed_lately(domain, now) {
            return Err(fault);
        }
        let read = |text: String| {
            let policy = Policy::parse(&text).map_err(|error| StsFault::Invalid(error.to_string()))?;
            Ok((text, policy))
        };
        match self.fetch.fetch(domain).await.and_then(read) {
            Ok((text, policy)) => {
                steps.push(format!(
                    "https://mta-sts.{domain}/.well-known/mta-sts.txt: mode {}, max_age {} s",
                    policy.mode.name(),
                    policy.max_age.as_secs()
                ));
                self.remember(domain, id, text, policy.max_age, now).await;
                Ok(policy)
            }
            Err(fault) => {
                self.note_failure(domain, now, &fault);
                Err(fault)
            }
        }
    }

    async fn remember(&self, domain: &Domain, id: &str, text: String, max_age: Duration, now: Timestamp) {
        let kept = StsPolicy { id: id.to_owned(), text, fetched: now, expires: now.after(max_age.max(MAX_AGE_MIN)) };
        let of = domain.clone();
        if let Err(error) = self.store.write(move |tx| tx.sts_policy_set(&of, &kept)).await {
            tracing::warn!(%domain, %error, "an MTA-STS policy could not be remembered");
        }
    }

    fn failed_lately(&self, domain: &Domain, now: Timestamp) -> Option<StsFault> {
        let failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.get(domain).filter(|(at, _)| now.since(*at) < AGAIN_AFTER).map(|(_, fault)| fault.clone())
    }

    fn note_failure(&self, domain: &Domain, now: Timestamp, fault: &StsFault) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        if failures.len() >= FAILURES_MAX {
            failures.clear();
        }
        failures.insert(domain.clone(), (now, fault.clone()));
    }
}

/// A policy that cannot be fetched: the remembered one holds, or mail goes as without one (RFC 8461 §3.3).
fn without_a_new_one(kept: Option<Policy>, fault: StsFault, steps: &mut Vec<String>) -> StsAnswer {
    let Some(policy) = kept else {
        steps.push(format!("{fault}; none is remembered, so that mail goes as without one"));
        return StsAnswer::Unknown(fault);
    };
    steps.push(format!("{fault}; the policy that is remembered holds until its time is over"));
    answer_of(policy)
}

fn answer_of(policy: Policy) -> StsAnswer {
    if policy.mode == Mode::None { StsAnswer::None } else { StsAnswer::Policy(policy) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use net::{FakeDns, VirtualClock};

    /// A web server with one text, or a fault; counts how often it was asked.
    struct Web(Mutex<(Result<String, StsFault>, u32)>);

    impl Fetch for Web {
        fn fetch<'a>(&'a self, _domain: &'a Domain) -> Fetching<'a> {
            Box::pin(async move {
                let mut web = self.0.lock().unwrap();
                web.1 += 1;
                web.0.clone()
            })
        }
    }

    fn text(mode: &str) -> String {
        format!("version: STSv1\nmode: {mode}\nmx: mx.a.example\nmax_age: 604800\n")
    }

    fn mode(answer: &StsAnswer) -> &'static str {
        match answer {
            StsAnswer::None => "nothing",
            StsAnswer::Policy(policy) => policy.mode.name(),
            StsAnswer::Unknown(_) => "unknown",
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_policy_is_fetched_kept_refreshed_and_outlives_its_server() {
        let (domain, record) = (Domain::parse("a.example").unwrap(), Domain::parse("_mta-sts.a.example").unwrap());
        let clock = Arc::new(VirtualClock::starting_at(Timestamp::from_seconds(1_000_000)));
        let web = Arc::new(Web(Mutex::new((Err(StsFault::Fetch("404".to_owned())), 0))));
        let dns = FakeDns::new();
        let sts = Sts::new(Store::memory(), Arc::new(dns.clone()), Arc::clone(&web) as _, clock);
        let set = |answer| web.0.lock().unwrap().0 = answer;
        let asked = || web.0.lock().unwrap().1;
        let pass = |hours: u64| tokio::time::sleep(Duration::from_hours(hours));

        assert_eq!((mode(&sts.policy(&domain).await), asked()), ("nothing", 0));
        let dns = dns.with_txt(&record, "v=STSv1; id=1");
        assert_eq!((mode(&sts.policy(&domain).await), asked()), ("unknown", 1));
        set(Ok(text("enforce")));
        assert_eq!((mode(&sts.policy(&domain).await), asked()), ("unknown", 1), "a failed server is left alone");
        pass(1).await;
        assert_eq!((mode(&sts.policy(&domain).await), asked()), ("enforce", 2));
        assert_eq!((mode(&sts.policy(&domain).await), asked()), ("enforce", 2), "it is remembered");
        pass(25).await;
        assert_eq!((mode(&sts.policy(&domain).await), asked()), ("enforce", 3), "it is refreshed");
        set(Err(StsFault::Invalid("nonsense".to_owned())));
        dns.forget(&record);
        let dns = dns.with_txt(&record, "v=STSv1; id=2");
        assert_eq!((mode(&sts.policy(&domain).await), asked()), ("enforce", 4), "a new one that cannot be had changes nothing");
        dns.fail(&record, "SERVFAIL");
        assert_eq!(mode(&sts.policy(&domain).await), "enforce", "nor does a record that is gone");
        pass(24 * 7).await;
        assert_eq!(mode(&sts.policy(&domain).await), "nothing", "until its time is over");
        dns.recover(&record);
        set(Ok(text("none")));
        assert_eq!(mode(&sts.policy(&domain).await), "nothing");
    }
}
