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
    fn answers_are_kept_and_read_again() {
        let mut recorded = Recorded::default();
        recorded.put(Question::Ptr("192.0.2.1".parse().unwrap()), Answer::Names(vec!["mx.example".to_owned()]));
        recorded.put(Question::Mx("a".to_owned()), Answer::Mx(vec![(10, "b".to_owned())]));
        let kept = postcard::to_allocvec(&recorded).unwrap();
        assert_eq!(postcard::from_bytes::<Recorded>(&kept).unwrap(), recorded);
    }
}
