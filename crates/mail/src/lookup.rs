//! What was asked of DNS for a decision about a message, and the answers: kept in its trail, so that the
//! decision can be made again exactly.
//!
//! Not a resolver and not DNS's own format.
//!
//! Invariant: stored in a compact form that knows variants by their place; they are only added at the end.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// One question to DNS. Names are in lower case without a trailing dot; they may hold any octets that a
/// label can hold, because SPF makes names of local parts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Question {
    /// The TXT records of a name.
    Txt(String),
    /// The IPv4 addresses of a name.
    A(String),
    /// The IPv6 addresses of a name.
    Aaaa(String),
    /// The MX records of a name.
    Mx(String),
    /// The names of an address.
    Ptr(IpAddr),
}

impl Question {
    /// About how much of a trail it takes, octets.
    pub fn octets(&self) -> usize {
        match self {
            Self::Txt(name) | Self::A(name) | Self::Aaaa(name) | Self::Mx(name) => name.len() + 2,
            Self::Ptr(_) => 18,
        }
    }
}

/// What DNS said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// TXT records, the strings of each joined.
    Txt(Vec<Vec<u8>>),
    /// Addresses.
    Addresses(Vec<IpAddr>),
    /// Preference and host of each MX record.
    Mx(Vec<(u16, String)>),
    /// The names of an address.
    Names(Vec<String>),
    /// The name exists, but has no such record.
    NoData,
    /// The name does not exist.
    NoName,
    /// No server gave an answer; why, in words.
    Failed(String),
}

impl Answer {
    /// About how much of a trail it takes, octets.
    pub fn octets(&self) -> usize {
        match self {
            Self::Txt(records) => records.iter().map(|record| record.len() + 2).sum(),
            Self::Addresses(addresses) => addresses.len() * 17,
            Self::Mx(hosts) => hosts.iter().map(|(_, host)| host.len() + 4).sum(),
            Self::Names(names) => names.iter().map(|name| name.len() + 2).sum(),
            Self::NoData | Self::NoName => 1,
            Self::Failed(reason) => reason.len() + 2,
        }
    }

    /// Its first records, as many as fit; of TXT those first that begin as policies and keys do (`v=`).
    #[must_use]
    pub fn within(self, octets_max: usize) -> Self {
        if self.octets() <= octets_max {
            return self;
        }
        match self {
            Self::Txt(mut records) => {
                records.sort_by_key(|record| !record.starts_with(b"v="));
                Self::Txt(fitting(records, octets_max, |record| record.len() + 2))
            }
            Self::Addresses(addresses) => Self::Addresses(fitting(addresses, octets_max, |_| 17)),
            Self::Mx(hosts) => Self::Mx(fitting(hosts, octets_max, |(_, host)| host.len() + 4)),
            Self::Names(names) => Self::Names(fitting(names, octets_max, |name| name.len() + 2)),
            Self::Failed(reason) => Self::Failed(reason.chars().take(octets_max.saturating_sub(2) / 4).collect()),
            Self::NoData | Self::NoName => self,
        }
    }
}

fn fitting<T>(mut records: Vec<T>, octets_max: usize, octets: impl Fn(&T) -> usize) -> Vec<T> {
    let mut left = octets_max;
    let fits = |record: &T| left.checked_sub(octets(record)).map(|rest| left = rest).is_some();
    let count = records.iter().map(fits).take_while(|fits| *fits).count();
    records.truncate(count);
    records
}

/// Every answer a decision was made from; kept with it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<(Question, Answer)>", into = "Vec<(Question, Answer)>")]
pub struct Recorded(BTreeMap<Question, Answer>);

impl Recorded {
    /// Keeps an answer.
    pub fn put(&mut self, question: Question, answer: Answer) {
        self.0.insert(question, answer);
    }

    /// The answer to a question, if it was asked.
    pub fn answer(&self, question: &Question) -> Option<&Answer> {
        self.0.get(question)
    }

    /// About how much of a trail they take, octets.
    pub fn octets(&self) -> usize {
        self.0.iter().map(|(question, answer)| question.octets() + answer.octets()).sum()
    }

    /// How many answers there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing was asked.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Every question with its answer, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&Question, &Answer)> {
        self.0.iter()
    }
}

impl From<Vec<(Question, Answer)>> for Recorded {
    fn from(list: Vec<(Question, Answer)>) -> Self {
        Self(list.into_iter().collect())
    }
}

impl From<Recorded> for Vec<(Question, Answer)> {
    fn from(recorded: Recorded) -> Self {
        recorded.0.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_long_answers_the_first_records_are_kept() {
        let check = |answer: Answer, octets_max: usize, want: Answer| {
            let within = answer.clone().within(octets_max);
            assert!(within.octets() <= octets_max.max(1), "{answer:?}");
            assert_eq!(within, want, "{answer:?}");
        };
        let txt = |sizes: &[usize]| Answer::Txt(sizes.iter().map(|size| vec![b'x'; *size]).collect());
        check(txt(&[5, 5, 5]), 100, txt(&[5, 5, 5]));
        check(txt(&[5, 5, 5]), 14, txt(&[5, 5]));
        check(txt(&[50, 5]), 20, txt(&[]));
        let policy = b"v=spf1 -all".to_vec();
        check(Answer::Txt(vec![vec![b'x'; 50], policy.clone()]), 20, Answer::Txt(vec![policy]));
        let names = |names: &[&str]| Answer::Names(names.iter().map(|name| (*name).to_owned()).collect());
        check(names(&["a.example", "b.example"]), 12, names(&["a.example"]));
        check(Answer::Mx(vec![(1, "a".to_owned()), (2, "bb".to_owned())]), 6, Answer::Mx(vec![(1, "a".to_owned())]));
        check(Answer::Addresses(vec!["192.0.2.1".parse().unwrap(); 9]), 35, Answer::Addresses(vec!["192.0.2.1".parse().unwrap(); 2]));
        check(Answer::Failed("\u{1f4a5}".repeat(50)), 46, Answer::Failed("\u{1f4a5}".repeat(11)));
        check(Answer::NoData, 0, Answer::NoData);
    }

    #[test]
    fn answers_are_kept_and_read_again() {
        let mut recorded = Recorded::default();
        recorded.put(Question::Ptr("192.0.2.1".parse().unwrap()), Answer::Names(vec!["mx.example".to_owned()]));
        recorded.put(Question::Mx("a".to_owned()), Answer::Mx(vec![(10, "b".to_owned())]));
        let kept = postcard::to_allocvec(&recorded).unwrap();
        assert_eq!(postcard::from_bytes::<Recorded>(&kept).unwrap(), recorded);
    }
}
