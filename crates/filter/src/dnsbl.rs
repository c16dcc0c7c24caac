//! Block and allow lists in DNS (RFC 5782): what is asked, and what the answers mean.
//!
//! Not a resolver: whoever receives mail asks, and keeps the answers with the message's trail.
//!
//! | answer | meaning |
//! |---|---|
//! | no such name, no data | not listed |
//! | within 127.0.0.0/8, and one of the codes wanted | listed |
//! | 127.255.255.0/24 | the list refuses to answer us: .252 a mistyped zone, .254 a public resolver, .255 too many questions |
//! | 127.0.0.1, anything outside 127.0.0.0/8 | the zone is no list any more, or somebody answers for it |
//! | no answer | unknown |
//!
//! Invariant: an error is never a listing.

use crate::verdict::Reason;
use mail::Network;
use mail::lookup::{Answer, Question, Recorded};
use std::net::{IpAddr, Ipv4Addr};

/// Most lists that are asked of one peer. Our own bound.
pub const LISTS_MAX: usize = 16;

/// What reasons of lists are called.
pub const NAMES: [&str; 2] = ["block-list", "allow-list"];

/// A list that is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct List {
    /// Under which name its entries are: `zen.spamhaus.org`.
    pub zone: String,
    /// Which codes count; none: all that are listings.
    pub codes: Vec<Network>,
    /// Hundredths of a point of a listed peer; below zero for a list of good ones.
    pub weight: i32,
}

/// What a list says of a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// Nothing.
    NotListed,
    /// It is listed, with these codes.
    Listed(Vec<Ipv4Addr>),
    /// The list refuses to answer, or is no list; why.
    Error(String),
    /// There was no answer.
    Unknown,
}

impl List {
    /// What to ask about a peer (RFC 5782 §2.1, §2.4).
    #[must_use]
    pub fn question(&self, peer: IpAddr) -> Question {
        Question::A(format!("{}.{}", reversed(peer), self.zone))
    }

    /// What the answers say.
    #[must_use]
    pub fn standing(&self, peer: IpAddr, answers: &Recorded) -> Standing {
        let addresses = match answers.answer(&self.question(peer)) {
            Some(Answer::Addresses(addresses)) => addresses,
            Some(Answer::NoName | Answer::NoData) => return Standing::NotListed,
            _ => return Standing::Unknown,
        };
        if let Some(error) = addresses.iter().find_map(|address| error(*address)) {
            return Standing::Error(error);
        }
        let wanted = |address: &IpAddr| self.codes.is_empty() || self.codes.iter().any(|codes| codes.contains(*address));
        let v4 = |address: &IpAddr| match address {
            IpAddr::V4(v4) => Some(*v4),
            IpAddr::V6(_) => None,
        };
        let codes: Vec<_> = addresses.iter().filter(|address| wanted(address)).filter_map(v4).collect();
        if codes.is_empty() { Standing::NotListed } else { Standing::Listed(codes) }
    }
}

/// What the lists have found, for the verdict.
#[must_use]
pub fn findings(lists: &[List], peer: IpAddr, answers: &Recorded) -> Vec<Reason> {
    let finding = |list: &List| match list.standing(peer, answers) {
        Standing::Listed(codes) => {
            let codes: Vec<_> = codes.iter().map(Ipv4Addr::to_string).collect();
            let (name, words) = if list.weight > 0 { ("block-list", "lists") } else { ("allow-list", "vouches for") };
            let words = format!("{} {words} the sending host ({})", list.zone, codes.join(", "));
            Some(Reason { name: name.into(), weight: list.weight, words })
        }
        _ => None,
    };
    lists.iter().take(LISTS_MAX).filter_map(finding).collect()
}

fn error(address: IpAddr) -> Option<String> {
    let IpAddr::V4(v4) = address else { return Some(format!("{address} is no code of a list")) };
    match v4.octets() {
        [127, 255, 255, 252] => Some("the zone is mistyped (127.255.255.252)".to_owned()),
        [127, 255, 255, 254] => Some("the list does not answer public resolvers (127.255.255.254): use a resolver of your own".to_owned()),
        [127, 255, 255, 255] => Some("the list was asked too often (127.255.255.255)".to_owned()),
        [127, 255, 255, _] => Some(format!("the list refuses to answer ({v4})")),
        [127, 0, 0, 1] => Some("127.0.0.1 is no code of a list".to_owned()),
        [127, ..] => None,
        _ => Some(format!("{v4} is no code of a list: somebody else answers for the zone")),
    }
}

/// `7.2.0.192`, or the 32 hexadecimal digits of an IPv6 address, last first.
fn reversed(peer: IpAddr) -> String {
    match peer.to_canonical() {
        IpAddr::V4(v4) => {
            let [a, b, c, d] = v4.octets();
            format!("{d}.{c}.{b}.{a}")
        }
        IpAddr::V6(v6) => {
            let digits = v6.octets().into_iter().rev().flat_map(|octet| [octet & 15, octet >> 4]);
            digits.map(|digit| format!("{digit:x}")).collect::<Vec<_>>().join(".")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));

    fn list(codes: &[&str], weight: i32) -> List {
        List { zone: "bl.example".to_owned(), codes: codes.iter().map(|code| code.parse().unwrap()).collect(), weight }
    }

    fn answered(answer: Answer) -> Recorded {
        let mut answers = Recorded::default();
        answers.put(list(&[], 0).question(PEER), answer);
        answers
    }

    fn addresses(texts: &[&str]) -> Recorded {
        answered(Answer::Addresses(texts.iter().map(|text| text.parse().unwrap()).collect()))
    }

    #[test]
    fn names_are_made_as_rfc_5782_says() {
        assert_eq!(list(&[], 0).question(PEER), Question::A("7.2.0.192.bl.example".to_owned()));
        assert_eq!(list(&[], 0).question("::ffff:192.0.2.7".parse().unwrap()), list(&[], 0).question(PEER));
        let v6 = list(&[], 0).question("2001:db8:1:2:3:4:567:89ab".parse().unwrap());
        assert_eq!(v6, Question::A("b.a.9.8.7.6.5.0.4.0.0.0.3.0.0.0.2.0.0.0.1.0.0.0.8.b.d.0.1.0.0.2.bl.example".to_owned()));
    }

    #[test]
    fn an_error_is_never_a_listing() {
        let error = |text: &str| matches!(list(&[], 300).standing(PEER, &addresses(&[text])), Standing::Error(_));
        for text in ["127.255.255.252", "127.255.255.254", "127.255.255.255", "127.255.255.1", "127.0.0.1", "192.0.2.1", "::1"] {
            assert!(error(text), "{text}");
            assert!(findings(&[list(&[], 300)], PEER, &addresses(&[text, "127.0.0.2"])).is_empty(), "{text}");
        }
        for (answers, want) in [
            (answered(Answer::NoName), Standing::NotListed),
            (answered(Answer::NoData), Standing::NotListed),
            (answered(Answer::Failed("SERVFAIL".to_owned())), Standing::Unknown),
            (Recorded::default(), Standing::Unknown),
        ] {
            assert_eq!(list(&[], 300).standing(PEER, &answers), want);
            assert!(findings(&[list(&[], 300)], PEER, &answers).is_empty());
        }
    }

    #[test]
    fn codes_choose_what_counts() {
        let shown = |list: List, texts: &[&str]| {
            let found = findings(&[list], PEER, &addresses(texts));
            found.first().map_or_else(String::new, |found| format!("{} {} {}", found.name, found.weight, found.words))
        };
        assert_eq!(
            shown(list(&[], 300), &["127.0.0.2", "127.0.0.9"]),
            "block-list 300 bl.example lists the sending host (127.0.0.2, 127.0.0.9)"
        );
        assert_eq!(shown(list(&["127.0.0.2"], 300), &["127.0.0.10"]), "");
        assert_eq!(
            shown(list(&["127.0.0.0/29"], 300), &["127.0.0.10", "127.0.0.3"]),
            "block-list 300 bl.example lists the sending host (127.0.0.3)"
        );
        assert_eq!(shown(list(&[], -200), &["127.0.5.2"]), "allow-list -200 bl.example vouches for the sending host (127.0.5.2)");
    }
}
