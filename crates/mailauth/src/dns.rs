//! What a check wants to know of DNS, and the answers it was given.
//!
//! Not a resolver: a check reads [`Recorded`] answers. Where one is missing it says which
//! [`Question`]s are open and stops; the caller asks them, records the answers and runs the same check
//! again. So a decision depends on nothing but its arguments, and an old one can be made again exactly
//! from the answers that were kept.
//!
//! ```text
//! step(recorded) ─▶ Need(questions) ─▶ the caller asks and records ─▶ step(recorded) … ─▶ Done(outcome)
//! ```
//!
//! Invariant: a check asks at most [`QUESTIONS_MAX`] questions; the next one counts as failed.

pub use mail::lookup::{Answer, Question, Recorded};

use std::collections::BTreeSet;
use std::net::IpAddr;

/// Most questions of one decision. Our own bound: two SPF identities at their limits ask 260.
pub const QUESTIONS_MAX: usize = 500;

/// Most octets of the records of one answer that are looked at; what is beyond counts as not there.
pub const ANSWER_OCTETS_MAX: usize = 65_536;

/// Why there are no records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// There are none: the name or the record does not exist.
    Void,
    /// Nobody knows: ask again later.
    Failed,
}

/// An answer is needed that is not recorded yet; [`Dns`] knows which.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Open;

/// Where a check stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step<T> {
    /// These questions must be answered first.
    Need(Vec<Question>),
    /// The outcome.
    Done(T),
}

/// What a check reads answers through: it notes those that are missing.
#[derive(Debug)]
pub struct Dns<'a> {
    recorded: &'a Recorded,
    open: BTreeSet<Question>,
}

impl<'a> Dns<'a> {
    /// Over what is recorded.
    pub const fn new(recorded: &'a Recorded) -> Self {
        Self { recorded, open: BTreeSet::new() }
    }

    /// The questions that were asked and have no answer yet.
    pub fn open(self) -> Vec<Question> {
        self.open.into_iter().collect()
    }

    /// Runs a check to its end or to its next questions.
    pub fn run<T>(recorded: &'a Recorded, check: impl FnOnce(&mut Self) -> Result<T, Open>) -> Step<T> {
        let mut dns = Self::new(recorded);
        match check(&mut dns) {
            Ok(outcome) => Step::Done(outcome),
            Err(Open) => Step::Need(dns.open()),
        }
    }

    fn ask(&mut self, question: Question) -> Result<Result<&'a Answer, Missing>, Open> {
        if let Some(answer) = self.recorded.answer(&question) {
            return Ok(match answer {
                Answer::NoData | Answer::NoName => Err(Missing::Void),
                Answer::Failed(_) => Err(Missing::Failed),
                found => Ok(found),
            });
        }
        if self.recorded.len() + self.open.len() >= QUESTIONS_MAX && !self.open.contains(&question) {
            return Ok(Err(Missing::Failed));
        }
        self.open.insert(question);
        Err(Open)
    }

    /// The TXT records of a name, each as its octets.
    ///
    /// # Errors
    /// While there is no answer.
    pub fn txt(&mut self, name: &str) -> Result<Result<Vec<&'a [u8]>, Missing>, Open> {
        let answer = match name_of(name) {
            None => return Ok(Err(Missing::Void)),
            Some(name) => self.ask(Question::Txt(name))?,
        };
        Ok(answer.and_then(|answer| match answer {
            Answer::Txt(records) if !records.is_empty() => Ok(within(records)),
            _ => Err(Missing::Void),
        }))
    }

    /// The addresses of a name in the family of `like`.
    ///
    /// # Errors
    /// While there is no answer.
    pub fn addresses(&mut self, name: &str, like: IpAddr) -> Result<Result<&'a [IpAddr], Missing>, Open> {
        let question = match name_of(name) {
            None => return Ok(Err(Missing::Void)),
            Some(name) if like.is_ipv4() => Question::A(name),
            Some(name) => Question::Aaaa(name),
        };
        Ok(self.ask(question)?.and_then(|answer| match answer {
            Answer::Addresses(found) if !found.is_empty() => Ok(found.as_slice()),
            _ => Err(Missing::Void),
        }))
    }

    /// The MX hosts of a name, most preferred first.
    ///
    /// # Errors
    /// While there is no answer.
    pub fn mx(&mut self, name: &str) -> Result<Result<Vec<&'a str>, Missing>, Open> {
        let Some(name) = name_of(name) else { return Ok(Err(Missing::Void)) };
        Ok(self.ask(Question::Mx(name))?.and_then(|answer| match answer {
            Answer::Mx(found) if !found.is_empty() => Ok(by_preference(found)),
            _ => Err(Missing::Void),
        }))
    }

    /// Whether a name exists, whatever records it has.
    ///
    /// # Errors
    /// While there is no answer.
    pub fn exists(&mut self, name: &str) -> Result<Result<bool, Missing>, Open> {
        let Some(name) = name_of(name) else { return Ok(Ok(false)) };
        let question = Question::A(name);
        Ok(match self.ask(question.clone())? {
            Ok(_) => Ok(true),
            Err(Missing::Void) => Ok(self.recorded.answer(&question) != Some(&Answer::NoName)),
            Err(Missing::Failed) => Err(Missing::Failed),
        })
    }

    /// The names of an address.
    ///
    /// # Errors
    /// While there is no answer.
    pub fn names(&mut self, address: IpAddr) -> Result<Result<&'a [String], Missing>, Open> {
        Ok(self.ask(Question::Ptr(address))?.and_then(|answer| match answer {
            Answer::Names(found) if !found.is_empty() => Ok(found.as_slice()),
            _ => Err(Missing::Void),
        }))
    }
}

/// A name as questions hold it: lower case, no trailing dot, non-ASCII labels as A-labels; `None` if DNS
/// cannot hold it (labels of 1 to 63 octets, 253 octets in all).
pub fn name_of(text: &str) -> Option<String> {
    let text = text.strip_suffix('.').unwrap_or(text);
    let name = if text.is_ascii() { text.to_ascii_lowercase() } else { idna::domain_to_ascii(text).ok()? };
    let fits = (1..=253).contains(&name.len()) && name.split('.').all(|label| (1..=63).contains(&label.len()));
    fits.then_some(name)
}

/// Whether `name` is `parent` or lies below it; case does not matter.
pub fn is_within(name: &str, parent: &str) -> bool {
    let (name, parent) = (name.trim_end_matches('.').as_bytes(), parent.trim_end_matches('.').as_bytes());
    let Some(cut) = name.len().checked_sub(parent.len()) else { return false };
    let (front, back) = name.split_at(cut);
    back.eq_ignore_ascii_case(parent) && (front.is_empty() || front.ends_with(b"."))
}

fn within(records: &[Vec<u8>]) -> Vec<&[u8]> {
    let mut left = ANSWER_OCTETS_MAX;
    let fitting = records.iter().take_while(|record| {
        let fits = record.len() <= left;
        left = left.saturating_sub(record.len());
        fits
    });
    fitting.map(Vec::as_slice).collect()
}

fn by_preference(found: &[(u16, String)]) -> Vec<&str> {
    let mut sorted: Vec<_> = found.iter().map(|(preference, host)| (*preference, host.as_str())).collect();
    sorted.sort_unstable();
    sorted.into_iter().map(|(_, host)| host).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_stops_at_what_is_open_and_goes_on_with_the_answer() {
        let mut recorded = Recorded::default();
        let check = |dns: &mut Dns<'_>| Ok(dns.txt("Example.ORG.")?.map(|records| records.len()));
        let need = vec![Question::Txt("example.org".to_owned())];
        assert_eq!(Dns::run(&recorded, check), Step::Need(need.clone()));
        recorded.put(need[0].clone(), Answer::Txt(vec![b"x".to_vec()]));
        assert_eq!(Dns::run(&recorded, check), Step::Done(Ok(1)));
        recorded.put(need[0].clone(), Answer::Failed("SERVFAIL".to_owned()));
        assert_eq!(Dns::run(&recorded, check), Step::Done(Err(Missing::Failed)));
    }

    #[test]
    fn too_many_questions_are_failures() {
        let mut recorded = Recorded::default();
        for n in 0..QUESTIONS_MAX {
            recorded.put(Question::Txt(format!("n{n}")), Answer::NoName);
        }
        assert_eq!(Dns::run(&recorded, |dns| dns.txt("n0")), Step::Done(Err(Missing::Void)));
        assert_eq!(Dns::run(&recorded, |dns| dns.txt("more")), Step::Done(Err(Missing::Failed)));
    }

    #[test]
    fn names_are_compared_by_labels() {
        for (name, parent, want) in [
            ("a.example.org", "example.org", true),
            ("Example.ORG.", "example.org", true),
            ("notexample.org", "example.org", false),
            ("org", "example.org", false),
        ] {
            assert_eq!(is_within(name, parent), want, "{name} {parent}");
        }
        assert_eq!(name_of("a..b"), None);
        assert_eq!(name_of("A=b+c.x."), Some("a=b+c.x".to_owned()));
    }
}
