//! What was taught about who brings a message: its sender, its domain, the host and the network it comes from.
//!
//! Not who that is: only what has been proven is a [`Subject`] (SPF, DKIM, DMARC), but for the host's address, which
//! cannot be forged. Learned with the same lessons as the classifier, for the account and for the server.
//!
//! ```text
//! points = limit · (spam - ham) / (spam + ham + 2)      of the account's lessons and at most SERVER_LESSONS of the server's
//! ```
//!
//! | subject | at most against | at most for |
//! |---|---|---|
//! | the author's address, proven | 4 | 4 |
//! | a domain that stands for the message | 3 | 3 |
//! | the host | 2 | 1 |
//! | its network (IPv4 /24, IPv6 /48) | 1 | 0.5 |
//!
//! Invariants
//! - A lesson is worth half after [`HALF_LIFE`].
//! - Points are whole hundredths.

use crate::classifier::Class;
use crate::verdict::Reason;
use mail::{Network, Timestamp};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

/// After this time a lesson counts half. Our own choice.
pub const HALF_LIFE: Duration = Duration::from_hours(30 * 24);
/// For how many lessons of the account those of the whole server stand at most. Our own choice.
const SERVER_LESSONS: u64 = 4_000;
/// Domains that stand for one message and are looked at. Our own bound.
const DOMAINS_MAX: usize = 4;
/// A lesson, thousandths.
const LESSON: u64 = 1_000;

/// Who brings a message, in one respect.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// The author's address, proven; in lower case.
    Author(String),
    /// A domain that stands for the message, in lower case.
    Domain(String),
    /// The host.
    Host(IpAddr),
    /// The host's network.
    Network(Network),
}

impl Subject {
    /// The subjects of a message from `peer`; `author` only if it is proven.
    pub fn all(peer: IpAddr, author: Option<&str>, domains: impl IntoIterator<Item = String>) -> Vec<Self> {
        let peer = peer.to_canonical();
        let network = Network::around(peer, if peer.is_ipv4() { 24 } else { 48 });
        let domains: BTreeSet<String> =
            domains.into_iter().map(|domain| domain.to_lowercase()).filter(|domain| !domain.is_empty()).collect();
        let author = author.map(|author| Self::Author(author.to_lowercase()));
        let domains = domains.into_iter().take(DOMAINS_MAX).map(Self::Domain);
        author.into_iter().chain(domains).chain([Self::Host(peer), Self::Network(network)]).collect()
    }

    /// By what it is known: texts of different kinds are never the same.
    #[must_use]
    pub fn key(&self) -> String {
        match self {
            Self::Author(author) => format!("author {author}"),
            Self::Domain(domain) => format!("domain {domain}"),
            Self::Host(host) => format!("host {host}"),
            Self::Network(network) => format!("network {network}"),
        }
    }

    /// At most so many hundredths against it, and for it.
    const fn limits(&self) -> (i64, i64) {
        match self {
            Self::Author(_) => (400, 400),
            Self::Domain(_) => (300, 300),
            Self::Host(_) => (200, 100),
            Self::Network(_) => (100, 50),
        }
    }

    fn words(&self) -> String {
        match self {
            Self::Author(author) => format!("mail from {author}"),
            Self::Domain(domain) => format!("mail of {domain}"),
            Self::Host(host) => format!("mail from the host {host}"),
            Self::Network(network) => format!("mail from the network {network}"),
        }
    }
}

/// How many lessons there were, thousandths, as old as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Repute {
    /// That such mail is wanted.
    pub ham: u64,
    /// That it is not.
    pub spam: u64,
    /// When this was counted.
    pub at: Timestamp,
}

impl Repute {
    /// As it is at a later time.
    #[must_use]
    pub fn aged(self, now: Timestamp) -> Self {
        let halves = now.since(self.at).as_secs_f64() / HALF_LIFE.as_secs_f64();
        Self { ham: halved(self.ham, halves), spam: halved(self.spam, halves), at: self.at.max(now) }
    }

    /// With one lesson more.
    #[must_use]
    pub fn learn(self, class: Class, now: Timestamp) -> Self {
        let aged = self.aged(now);
        match class {
            Class::Ham => Self { ham: aged.ham.saturating_add(LESSON), ..aged },
            Class::Spam => Self { spam: aged.spam.saturating_add(LESSON), ..aged },
        }
    }

    /// With a lesson taken back, or what is left of it.
    #[must_use]
    pub fn unlearn(self, class: Class, now: Timestamp) -> Self {
        let aged = self.aged(now);
        match class {
            Class::Ham => Self { ham: aged.ham.saturating_sub(LESSON), ..aged },
            Class::Spam => Self { spam: aged.spam.saturating_sub(LESSON), ..aged },
        }
    }

    /// Nothing is known any more.
    #[must_use]
    pub const fn is_nothing(self) -> bool {
        self.ham == 0 && self.spam == 0
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "thousandths of lessons are few, and only halved"
)]
fn halved(thousandths: u64, halves: f64) -> u64 {
    (thousandths as f64 * (-halves).exp2()).floor() as u64
}

/// What is known of one subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// Who.
    pub subject: Subject,
    /// What the reader's account has taught, aged.
    pub account: Repute,
    /// What the whole server has, aged; the account's with it.
    pub server: Repute,
}

/// What the reputation says, for the verdict.
#[must_use]
pub fn findings(known: &[Known]) -> Vec<Reason> {
    known.iter().filter_map(finding).collect()
}

fn finding(known: &Known) -> Option<Reason> {
    let (against, favour) = known.subject.limits();
    let scale = SERVER_LESSONS.min(known.server.ham + known.server.spam);
    let of_server = |part: u64| part * scale / (known.server.ham + known.server.spam).max(1);
    let whole = |number: u64| i64::try_from(number).unwrap_or(i64::MAX / 8);
    let (ham, spam) = (whole(known.account.ham + of_server(known.server.ham)), whole(known.account.spam + of_server(known.server.spam)));
    let limit = if spam > ham { against } else { favour };
    let weight = limit * (spam - ham) / (spam + ham + 2 * whole(LESSON));
    let words = format!("{} was {}", known.subject.words(), if weight > 0 { "unwanted" } else { "wanted" });
    let weight = i32::try_from(weight).unwrap_or_default();
    (weight != 0).then_some(Reason { name: "reputation".into(), weight, words })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_hours(24);

    fn of(ham: u64, spam: u64) -> Repute {
        Repute { ham: ham * LESSON, spam: spam * LESSON, at: Timestamp(0) }
    }

    #[test]
    fn points_grow_with_lessons_and_are_bounded() {
        let author = Subject::Author("a@b.example".to_owned());
        let host = Subject::Host([192, 0, 2, 1].into());
        for (subject, account, server, want) in [
            (&author, of(0, 0), of(0, 0), None),
            (&author, of(0, 1), of(0, 1), Some(200)),
            (&author, of(0, 50), of(0, 50), Some(385)),
            (&author, of(5, 0), of(5, 0), Some(-327)),
            (&author, of(0, 0), of(0, 1_000), Some(266)),
            // The reader's own lessons outdo those of the others.
            (&author, of(20, 0), of(20, 1_000), Some(-248)),
            (&author, of(3, 3), of(3, 3), None),
            (&host, of(0, 9), of(0, 9), Some(173)),
            (&host, of(9, 0), of(9, 0), Some(-86)),
        ] {
            let known = Known { subject: subject.clone(), account, server };
            assert_eq!(finding(&known).map(|found| found.weight), want, "{account:?} {server:?}");
        }
    }

    #[test]
    fn lessons_age() {
        let taught = Repute::default().learn(Class::Spam, Timestamp(0)).learn(Class::Spam, Timestamp(0));
        let later = Timestamp(0).after(30 * DAY);
        assert_eq!((taught.aged(later).spam, taught.aged(Timestamp(0).after(300 * DAY)).spam), (1_000, 1));
        assert_eq!(taught.learn(Class::Ham, later), Repute { ham: 1_000, spam: 1_000, at: later });
        assert!(taught.unlearn(Class::Spam, later).is_nothing(), "a lesson is taken back as far as it is there");
        assert!(taught.aged(Timestamp(0).after(3_000 * DAY)).is_nothing());
    }

    #[test]
    fn subjects_are_what_is_proven_and_where_it_comes_from() {
        let keys = |peer: &str, author: Option<&str>, domains: &[&str]| {
            let subjects = Subject::all(peer.parse().unwrap(), author, domains.iter().map(|domain| (*domain).to_owned()));
            subjects.iter().map(Subject::key).collect::<Vec<_>>().join(", ")
        };
        assert_eq!(keys("::ffff:192.0.2.7", None, &[]), "host 192.0.2.7, network 192.0.2.0/24");
        assert_eq!(
            keys("2001:db8:1:2::3", Some("Ann@B.example"), &["B.example", "b.example", "lists.example"]),
            "author ann@b.example, domain b.example, domain lists.example, host 2001:db8:1:2::3, network 2001:db8:1::/48"
        );
    }
}
