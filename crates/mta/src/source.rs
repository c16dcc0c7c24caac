//! From which of our addresses mail goes out, and under which name: pools by sender, and addresses that warm up. Pure.
//!
//! Providers judge a server by its address, and a new address that sends much at once is blocked. One that warms up
//! sends to each domain so much a day and no more, from day to day more; what is beyond goes from another address of
//! the pool, or waits for the next day.
//!
//! Not the counting, which is the store's: it is done when mail is taken from the queue, so that a restart forgets nothing.
//!
//! Invariant: mail that belongs to a pool never goes from an address outside of it.

use crate::queue::schedule::scramble;
use crate::return_path::day;
use crate::route::Sender;
use mail::{Address, Domain, ReceiptId, Timestamp};
use std::net::IpAddr;
use std::sync::Arc;

/// What an address sends to one domain on its first days; after that as much as there is. Our own schedule, slower than
/// what the large providers advise.
pub const PER_DAY: [u64; 12] = [50, 100, 200, 400, 800, 1_500, 3_000, 6_000, 12_000, 25_000, 50_000, 100_000];

/// One of our addresses, or one of each family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// What it is called.
    pub name: Arc<str>,
    /// Where IPv4 connections come from; none: it makes none.
    pub ipv4: Option<IpAddr>,
    /// Where IPv6 connections come from; none: it makes none.
    pub ipv6: Option<IpAddr>,
    /// The name in EHLO; it should be what the addresses' PTR records say. None: the hostname.
    pub hostname: Option<Domain>,
    /// Whose mail goes from it; empty: that of all who have no source of their own.
    pub senders: Vec<Sender>,
    /// How it warms up.
    pub warm_up: Option<WarmUp>,
}

/// How an address warms up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WarmUp {
    /// The first day, days since 1970 (UTC).
    pub start: u32,
    /// Recipients at one domain, day by day; after the last day as many as there are.
    pub per_day: Vec<u64>,
}

impl Source {
    /// Recipients at one domain on a day; `None`: as many as there are.
    pub fn allowance(&self, today: u32) -> Option<u64> {
        let warm_up = self.warm_up.as_ref()?;
        let Some(nth) = today.checked_sub(warm_up.start) else { return Some(0) };
        usize::try_from(nth).ok().and_then(|nth| warm_up.per_day.get(nth)).copied()
    }

    /// Where connections to an address come from.
    pub fn address(&self, to: IpAddr) -> Option<IpAddr> {
        if to.is_ipv4() { self.ipv4 } else { self.ipv6 }
    }
}

/// From where a message goes to a domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Choice<'a> {
    /// From wherever: there are no sources for it.
    Any,
    /// From this one.
    From(&'a Source),
    /// From nowhere today: all of its pool have sent what they may.
    Tomorrow,
}

/// Chooses among the sources of a sender; `sent` tells how much a source has sent to the domain today.
///
/// # Errors
/// Those of `sent`.
pub(crate) fn choose<'a, E>(
    sources: &'a [Source],
    sender: Option<&Address>,
    receipt: ReceiptId,
    now: Timestamp,
    mut sent: impl FnMut(&Source) -> Result<u64, E>,
) -> Result<Choice<'a>, E> {
    let own = |source: &&Source| sender.is_some_and(|sender| source.senders.iter().any(|one| one.matches(sender)));
    let mut pool: Vec<&Source> = sources.iter().filter(own).collect();
    if pool.is_empty() {
        pool = sources.iter().filter(|source| source.senders.is_empty()).collect();
    }
    let Ok(many @ 1..) = u64::try_from(pool.len()) else { return Ok(Choice::Any) };
    pool.rotate_left(usize::try_from(scramble(receipt.0) % many).unwrap_or(0));
    for source in pool {
        match source.allowance(day(now)) {
            Some(most) if sent(source)? >= most => {}
            _ => return Ok(Choice::From(source)),
        }
    }
    Ok(Choice::Tomorrow)
}

/// When the next day begins, and a little later: not everything at once.
pub(crate) fn tomorrow(now: Timestamp, receipt: ReceiptId) -> Timestamp {
    let spread = i64::try_from(scramble(receipt.0) % 3_600).unwrap_or(0);
    Timestamp::from_seconds((i64::from(day(now)) + 1) * 86_400 + spread)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::convert::Infallible;

    fn source(name: &str, senders: &str, warm_up: Option<(u32, &[u64])>) -> Source {
        let senders = senders.split_whitespace().map(|text| Sender::parse(text).unwrap()).collect();
        let warm_up = warm_up.map(|(start, per_day)| WarmUp { start, per_day: per_day.to_vec() });
        Source { name: name.into(), ipv4: "192.0.2.1".parse().ok(), ipv6: None, hostname: None, senders, warm_up }
    }

    /// The sources that are chosen over many messages, in order of their names.
    fn chosen(sources: &[Source], sender: &str, today: i64, sent: u64) -> String {
        let sender = Address::parse(sender).ok();
        let choose = |receipt| {
            let now = Timestamp::from_seconds(today * 86_400);
            match choose::<Infallible>(sources, sender.as_ref(), ReceiptId(receipt), now, |_| Ok(sent)) {
                Ok(Choice::From(source)) => source.name.to_string(),
                Ok(other) => format!("{other:?}"),
            }
        };
        (0..50).map(choose).collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn pools_are_by_sender_and_warm_up_by_the_day() {
        let sources = [
            source("bulk1", "news@a.example", None),
            source("bulk2", "news@a.example *.lists.example", Some((100, &[5, 10]))),
            source("rest", "", None),
        ];
        for (sender, today, sent, want) in [
            ("news@a.example", 100, 0, "bulk1 bulk2"),
            ("news+x@a.example", 100, 4, "bulk1 bulk2"),
            ("news@a.example", 100, 5, "bulk1"),
            ("news@a.example", 101, 5, "bulk1 bulk2"),
            ("news@a.example", 99, 0, "bulk1"),
            ("x@b.lists.example", 100, 4, "bulk2"),
            ("x@b.lists.example", 100, 5, "Tomorrow"),
            ("x@b.lists.example", 102, 5_000_000, "bulk2"),
            ("ann@a.example", 100, 99, "rest"),
            ("", 100, 99, "rest"),
        ] {
            assert_eq!(chosen(&sources, sender, today, sent), want, "{sender} {today} {sent}");
        }
        assert_eq!(chosen(&sources[..2], "ann@a.example", 100, 0), "Any");
        assert_eq!(chosen(&[], "ann@a.example", 100, 0), "Any");
    }

    #[test]
    fn what_is_too_much_for_a_day_waits_for_the_next() {
        let now = Timestamp::from_seconds(100 * 86_400 + 5);
        let next = tomorrow(now, ReceiptId(7)).seconds() - 101 * 86_400;
        assert!((0..3_600).contains(&next), "{next}");
    }
}
