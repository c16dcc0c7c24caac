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
//! A list is of hosts, or of domains: those are asked about the domains of links, of the author, and of who stands for the message.
//!
//! Every list has entries to try it by (RFC 5782 §5): [`List::trial`] and [`List::tried`].
//!
//! Invariant: an error is never a listing.

use crate::links::Link;
use crate::verdict::Reason;
use mail::Network;
use mail::lookup::{Answer, Question, Recorded};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

/// Most lists that are asked of one peer. Our own bound.
pub const LISTS_MAX: usize = 16;

/// What reasons of lists are called.
pub const NAMES: [&str; 2] = ["block-list", "allow-list"];

/// Most domains of one message that lists are asked about. Our own bound: links beyond are not asked about.
pub const DOMAINS_MAX: usize = 20;

/// What a list has entries of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Of {
    /// Hosts that bring mail, by their addresses.
    #[default]
    Hosts,
    /// Domains, by their names.
    Domains,
}

/// Whether a list does what lists do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fitness {
    /// It lists what it must and not what it must not.
    Fit {
        /// Also of IPv6 addresses; of a list of domains always false.
        ipv6: bool,
    },
    /// It lists what no list does: everything, most likely.
    ListsAll,
    /// It does not have the entry that every list has.
    ListsNothing,
    /// It refuses to answer, or is no list; why.
    Error(String),
    /// There was no answer.
    Unknown,
}

impl Fitness {
    /// Whether what it says must not count.
    #[must_use]
    pub const fn is_harmful(&self) -> bool {
        matches!(self, Self::ListsAll)
    }

    /// For a person.
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Self::Fit { ipv6: true } => "works, for IPv4 and IPv6".to_owned(),
            Self::Fit { ipv6: false } => "works".to_owned(),
            Self::ListsAll => "lists what no list does: everything, most likely. It counts for nothing".to_owned(),
            Self::ListsNothing => "does not have the entry that every list has: the name is wrong, or it is no list any more".to_owned(),
            Self::Error(why) => why.clone(),
            Self::Unknown => "does not answer".to_owned(),
        }
    }
}

/// A list that is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct List {
    /// What it has entries of.
    pub of: Of,
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

    /// What to ask about a domain.
    #[must_use]
    pub fn question_of(&self, domain: &str) -> Question {
        Question::A(format!("{domain}.{}", self.zone))
    }

    /// What the answers say of a peer.
    #[must_use]
    pub fn standing(&self, peer: IpAddr, answers: &Recorded) -> Standing {
        self.said(&self.question(peer), answers)
    }

    /// What they say of a domain.
    #[must_use]
    pub fn standing_of(&self, domain: &str, answers: &Recorded) -> Standing {
        self.said(&self.question_of(domain), answers)
    }

    /// What to ask to find out whether it works (RFC 5782 §5): what it must list, what it must not, and the same of IPv6.
    #[must_use]
    pub fn trial(&self) -> Vec<Question> {
        let under = |name: String| Question::A(format!("{name}.{}", self.zone));
        match self.of {
            Of::Hosts => {
                let v6 = |last: u8| digits(&Ipv4Addr::new(127, 0, 0, last).to_ipv6_mapped().octets());
                vec![under("2.0.0.127".to_owned()), under("1.0.0.127".to_owned()), under(v6(2)), under(v6(1))]
            }
            Of::Domains => vec![under("test".to_owned()), under("invalid".to_owned())],
        }
    }

    /// What the answers to [`List::trial`] say.
    #[must_use]
    pub fn tried(&self, answers: &Recorded) -> Fitness {
        // Its codes do not matter: what it must not list it must not list in any way.
        let any = Self { codes: Vec::new(), ..self.clone() };
        let said: Vec<Standing> = any.trial().iter().map(|question| any.said(question, answers)).collect();
        let is_listed = |at: usize| matches!(said.get(at), Some(Standing::Listed(_)));
        if is_listed(1) || is_listed(3) {
            return Fitness::ListsAll;
        }
        match said.first() {
            Some(Standing::Listed(_)) => Fitness::Fit { ipv6: is_listed(2) },
            Some(Standing::NotListed) if is_listed(2) => Fitness::Fit { ipv6: true },
            Some(Standing::NotListed) => Fitness::ListsNothing,
            Some(Standing::Error(why)) => Fitness::Error(why.clone()),
            Some(Standing::Unknown) | None => Fitness::Unknown,
        }
    }

    /// A reason's name and verb.
    const fn manner(&self) -> (&'static str, &'static str) {
        if self.weight > 0 { ("block-list", "lists") } else { ("allow-list", "vouches for") }
    }

    fn said(&self, question: &Question, answers: &Recorded) -> Standing {
        let addresses = match answers.answer(question) {
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

/// What the lists of hosts have found, for the verdict.
#[must_use]
pub fn findings(lists: &[List], peer: IpAddr, answers: &Recorded) -> Vec<Reason> {
    let finding = |list: &List| match list.standing(peer, answers) {
        Standing::Listed(codes) => {
            let (name, words) = list.manner();
            let words = format!("{} {words} the sending host ({})", list.zone, joined(&codes));
            Some(Reason { name: name.into(), weight: list.weight, words })
        }
        _ => None,
    };
    lists.iter().take(LISTS_MAX).filter(|list| list.of == Of::Hosts).filter_map(finding).collect()
}

/// What the lists of domains have found; each counts once, however many domains of a message it lists. A list of good ones
/// counts only for domains that stand for the message: whoever can write a link could else vouch for himself.
#[must_use]
pub fn domain_findings(lists: &[List], domains: &Domains, answers: &Recorded) -> Vec<Reason> {
    let finding = |list: &List| {
        let listed = |domain: &String| match list.standing_of(domain, answers) {
            Standing::Listed(codes) => Some(format!("{domain} ({})", joined(&codes))),
            _ => None,
        };
        let listed: Vec<String> = domains.asked_of(list).filter_map(listed).collect();
        let (name, words) = list.manner();
        let words = format!("{} {words} {}", list.zone, listed.join(", "));
        (!listed.is_empty()).then(|| Reason { name: name.into(), weight: list.weight, words })
    };
    lists.iter().take(LISTS_MAX).filter(|list| list.of == Of::Domains).filter_map(finding).collect()
}

/// The same by the answers alone: the domains are those that were asked about.
#[must_use]
pub fn domain_findings_of(lists: &[List], answers: &Recorded) -> Vec<Reason> {
    let asked = |list: &List| {
        let under = format!(".{}", list.zone);
        let domain = |question: &Question| match question {
            Question::A(name) => name.strip_suffix(&under).map(str::to_owned),
            _ => None,
        };
        Domains { standing: answers.iter().filter_map(|(question, _)| domain(question)).collect(), others: Vec::new() }
    };
    lists.iter().take(LISTS_MAX).flat_map(|list| domain_findings(std::slice::from_ref(list), &asked(list), answers)).collect()
}

/// The domains of a message that lists are asked about: as they are registered, each once.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Domains {
    standing: Vec<String>,
    others: Vec<String>,
}

impl Domains {
    /// Those that stand for a message first, then its author's, then those that its links lead to, at most [`DOMAINS_MAX`];
    /// `registered` is the domain that somebody has registered, by the list of public suffixes.
    pub fn new(
        standing: impl IntoIterator<Item = String>,
        author: Option<&str>,
        links: &[Link],
        registered: impl Fn(&str) -> String,
    ) -> Self {
        let name = |host: &str| {
            let is_name =
                host.contains('.') && host.parse::<IpAddr>().is_err() && !host.bytes().all(|octet| matches!(octet, b'.' | b'0'..=b'9'));
            let is_plain = |label: &str| {
                (1..=63).contains(&label.len()) && label.bytes().all(|octet| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_'))
            };
            let found = registered(&host.trim_end_matches('.').to_ascii_lowercase());
            (is_name && found.len() <= 128 && found.contains('.') && found.split('.').all(is_plain)).then_some(found)
        };
        let mut seen = BTreeSet::new();
        let mut fresh = |host: &str| name(host).filter(|name| seen.len() < DOMAINS_MAX && seen.insert(name.clone()));
        let standing = standing.into_iter().filter_map(|domain| fresh(&domain)).collect();
        let others = author.into_iter().chain(links.iter().map(|link| link.host.as_str())).filter_map(fresh).collect();
        Self { standing, others }
    }

    /// What to ask.
    #[must_use]
    pub fn questions(&self, lists: &[List]) -> Vec<Question> {
        let lists = lists.iter().take(LISTS_MAX).filter(|list| list.of == Of::Domains);
        lists.flat_map(|list| self.asked_of(list).map(|domain| list.question_of(domain))).collect()
    }

    /// Those that a list is asked about.
    pub fn asked_of<'a>(&'a self, list: &List) -> impl Iterator<Item = &'a String> + use<'a> {
        let others = if list.weight > 0 { self.others.as_slice() } else { &[] };
        self.standing.iter().chain(others)
    }
}

fn joined(codes: &[Ipv4Addr]) -> String {
    codes.iter().map(Ipv4Addr::to_string).collect::<Vec<_>>().join(", ")
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
        IpAddr::V6(v6) => digits(&v6.octets()),
    }
}

fn digits(octets: &[u8; 16]) -> String {
    let digits = octets.iter().rev().flat_map(|octet| [octet & 15, octet >> 4]);
    digits.map(|digit| format!("{digit:x}")).collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));

    fn list(codes: &[&str], weight: i32) -> List {
        List { of: Of::Hosts, zone: "bl.example".to_owned(), codes: codes.iter().map(|code| code.parse().unwrap()).collect(), weight }
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

    fn domains(standing: &[&str], author: Option<&str>, links: &[&str]) -> Domains {
        let links: Vec<Link> = links.iter().map(|host| Link { host: (*host).to_owned(), shown: None, has_user: false }).collect();
        let registered = |host: &str| host.rsplitn(3, '.').take(2).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join(".");
        Domains::new(standing.iter().map(|domain| (*domain).to_owned()), author, &links, registered)
    }

    #[test]
    fn domains_are_asked_about_once_and_addresses_never() {
        let asked = domains(
            &["Mail.A.example", "a.example"],
            Some("b.example"),
            &["www.c.example", "A.example", "192.0.2.1", "::1", "3232235777", "host", "c.example.", "x y.z", "ünï.dö"],
        );
        let block = List { of: Of::Domains, ..list(&[], 300) };
        let shown = |list: &List| {
            let questions = asked.questions(&[list.clone(), super::tests::list(&[], 100)]);
            questions.iter().map(|question| format!("{question:?}")).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(shown(&block), r#"A("a.example.bl.example") A("b.example.bl.example") A("c.example.bl.example")"#);
        assert_eq!(shown(&List { weight: -100, ..block.clone() }), r#"A("a.example.bl.example")"#, "whoever stands for it");
        let many: Vec<String> = (0..99).map(|n| format!("x{n}.example")).collect();
        let many = domains(&[], None, &many.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(many.questions(&[block]).len(), DOMAINS_MAX);
    }

    #[test]
    fn listed_domains_count_once() {
        let block = List { of: Of::Domains, ..list(&["127.0.1.0/24"], 400) };
        let asked = domains(&["a.example"], None, &["b.example", "c.example", "d.example"]);
        let mut answers = Recorded::default();
        for (domain, code) in
            [("b.example", "127.0.1.2"), ("c.example", "127.0.1.5"), ("d.example", "127.0.2.1"), ("a.example", "127.255.255.254")]
        {
            answers.put(block.question_of(domain), Answer::Addresses(vec![code.parse().unwrap()]));
        }
        let found = domain_findings(&[block.clone(), list(&[], 100)], &asked, &answers);
        let shown: Vec<_> = found.iter().map(|found| format!("{} {} {}", found.name, found.weight, found.words)).collect();
        assert_eq!(shown, ["block-list 400 bl.example lists b.example (127.0.1.2), c.example (127.0.1.5)"]);
        assert_eq!(domain_findings_of(&[block.clone(), list(&[], 100)], &answers), found, "the answers alone say the same");
        assert!(findings(&[block], PEER, &answers).is_empty(), "hosts are not asked about there");
    }

    #[test]
    fn lists_are_tried_by_the_entries_that_each_has() {
        let tried = |of: Of, answered: &[(usize, &str)]| {
            let list = List { of, ..list(&["127.0.0.9"], 300) };
            let mut answers = Recorded::default();
            for (at, question) in list.trial().into_iter().enumerate() {
                let said = answered.iter().find(|(place, _)| *place == at);
                answers.put(question, said.map_or(Answer::NoName, |(_, code)| Answer::Addresses(vec![code.parse().unwrap()])));
            }
            list.tried(&answers)
        };
        for (of, answered, want) in [
            (Of::Hosts, &[(0, "127.0.0.2")][..], Fitness::Fit { ipv6: false }),
            (Of::Hosts, &[(0, "127.0.0.2"), (2, "127.0.0.2")], Fitness::Fit { ipv6: true }),
            (Of::Hosts, &[(2, "127.0.0.2")], Fitness::Fit { ipv6: true }),
            (Of::Hosts, &[(0, "127.0.0.2"), (1, "127.0.0.2")], Fitness::ListsAll),
            (Of::Hosts, &[(0, "127.0.0.2"), (3, "127.0.0.4")], Fitness::ListsAll),
            (Of::Hosts, &[], Fitness::ListsNothing),
            (Of::Domains, &[(0, "127.0.0.2")], Fitness::Fit { ipv6: false }),
            (Of::Domains, &[(0, "127.0.0.2"), (1, "127.0.0.2")], Fitness::ListsAll),
        ] {
            assert_eq!(tried(of, answered), want, "{of:?} {answered:?}");
        }
        assert!(matches!(tried(Of::Hosts, &[(0, "127.255.255.254")]), Fitness::Error(why) if why.contains("public resolver")));
        assert_eq!(list(&[], 1).tried(&Recorded::default()), Fitness::Unknown);
        let names: Vec<_> = list(&[], 1).trial().iter().map(|question| format!("{question:?}")).collect();
        assert!(names[2].contains("2.0.0.0.0.0.f.7.f.f.f.f.0.0.0."), "{names:?}");
        let of_domains = List { of: Of::Domains, ..list(&[], 1) };
        assert_eq!(of_domains.trial(), ["test", "invalid"].map(|name| Question::A(format!("{name}.bl.example"))));
    }
}
