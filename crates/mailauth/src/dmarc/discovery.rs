//! Finds the policy for a domain, and the organizational domain it belongs to (RFC 9989 §4.10; RFC 7489 §3.2
//! for the older rule by the public suffix list).
//!
//! Invariant: a walk asks at most eight names, however many labels a domain has.

use super::record::{Record, Suffix};
use crate::dns::{Dns, Missing, Open};
use serde::{Deserialize, Serialize};

/// How organizational domains are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Discovery {
    /// By the records of the domain and those above it (RFC 9989).
    #[default]
    TreeWalk,
    /// By the public suffix list (RFC 7489).
    PublicSuffix,
}

/// A policy and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The domain it was published for.
    pub domain: String,
    /// The policy.
    pub record: Record,
}

/// Asks for everything that [`policy`] and [`organization`] can need, in one round.
pub(super) fn prefetch(dns: &mut Dns<'_>, domain: &str, discovery: Discovery) -> Result<(), Open> {
    let names: Vec<String> = match discovery {
        Discovery::TreeWalk => walk(domain).map(str::to_owned).collect(),
        Discovery::PublicSuffix => vec![domain.to_owned(), registered(domain)],
    };
    let asked: Vec<_> = names.iter().map(|name| dns.txt(&format!("_dmarc.{name}")).map(drop)).collect();
    asked.into_iter().collect()
}

/// The policy that a message of this author's domain is judged by.
///
/// # Errors
/// While answers are missing.
pub fn policy(dns: &mut Dns<'_>, domain: &str, discovery: Discovery) -> Result<Result<Option<Found>, Missing>, Open> {
    match discovery {
        Discovery::PublicSuffix => match record(dns, domain)? {
            Ok(None) => record(dns, &registered(domain)),
            found => Ok(found),
        },
        Discovery::TreeWalk => {
            prefetch(dns, domain, discovery)?;
            match record(dns, domain)? {
                // What is above it does not matter, nor whether that can be found out.
                Ok(Some(own)) => Ok(Ok(Some(own))),
                Err(missing) => Ok(Err(missing)),
                Ok(None) => Ok(records(dns, domain)?.map(|found| policy_above(domain, found))),
            }
        }
    }
}

/// The organizational domain's record, else that of a public suffix (RFC 9989 §4.10.1).
fn policy_above(domain: &str, found: Vec<Found>) -> Option<Found> {
    let organization = organization_among(domain, &found);
    let place = |name: &str| found.iter().position(|found| found.domain == name);
    let suffix = || found.iter().position(|found| found.record.suffix == Suffix::Public);
    let chosen = place(&organization).or_else(suffix)?;
    found.into_iter().nth(chosen)
}

/// The organizational domain that a domain belongs to.
///
/// # Errors
/// While answers are missing.
pub fn organization(dns: &mut Dns<'_>, domain: &str, discovery: Discovery) -> Result<Result<String, Missing>, Open> {
    match discovery {
        Discovery::PublicSuffix => Ok(Ok(registered(domain))),
        Discovery::TreeWalk => Ok(records(dns, domain)?.map(|found| organization_among(domain, &found))),
    }
}

/// RFC 9989 §4.10.2.
fn organization_among(domain: &str, found: &[Found]) -> String {
    if let Some(own) = found.iter().find(|found| found.record.suffix == Suffix::Own) {
        return own.domain.clone();
    }
    let suffix = found.iter().find(|found| found.record.suffix == Suffix::Public && found.domain != domain);
    if let Some(below) = suffix.and_then(|suffix| one_label_below(domain, &suffix.domain)) {
        return below;
    }
    // The walk goes up: the last has the fewest labels.
    found.last().map_or_else(|| domain.to_owned(), |found| found.domain.clone())
}

fn one_label_below(domain: &str, suffix: &str) -> Option<String> {
    let front = domain.strip_suffix(suffix)?.strip_suffix('.')?;
    let label = front.rsplit_once('.').map_or(front, |(_, label)| label);
    Some(format!("{label}.{suffix}"))
}

/// The records that a walk finds, from the domain upwards, up to one that says what it is.
fn records(dns: &mut Dns<'_>, domain: &str) -> Result<Result<Vec<Found>, Missing>, Open> {
    prefetch(dns, domain, Discovery::TreeWalk)?;
    let mut all = Vec::new();
    for name in walk(domain) {
        match record(dns, name)? {
            Err(missing) => return Ok(Err(missing)),
            Ok(None) => {}
            Ok(Some(found)) => {
                let last = found.record.suffix != Suffix::Unsaid;
                all.push(found);
                if last {
                    break;
                }
            }
        }
    }
    Ok(Ok(all))
}

/// The domain and those above it; of one with more than eight labels the parts between are left out (RFC 9989 §4.10).
fn walk(domain: &str) -> impl Iterator<Item = &str> {
    let labels = domain.split('.').count();
    let skipped = if labels > 8 { labels - 7 } else { 1 };
    let above = domain.splitn(skipped + 1, '.').nth(skipped);
    std::iter::once(domain).chain(std::iter::successors(above, |name| name.split_once('.').map(|(_, rest)| rest)))
}

/// One name's policy; several count as none.
fn record(dns: &mut Dns<'_>, domain: &str) -> Result<Result<Option<Found>, Missing>, Open> {
    let texts = match dns.txt(&format!("_dmarc.{domain}"))? {
        Ok(texts) => texts,
        Err(Missing::Void) => return Ok(Ok(None)),
        Err(Missing::Failed) => return Ok(Err(Missing::Failed)),
    };
    let mut policies = texts.into_iter().filter_map(Record::parse);
    let (first, second) = (policies.next(), policies.next());
    let only = first.filter(|_| second.is_none());
    Ok(Ok(only.map(|record| Found { domain: domain.to_owned(), record })))
}

/// The domain one label below its public suffix, as the list of those has it; the domain itself if it is a suffix. In lower case.
#[must_use]
pub fn registered(domain: &str) -> String {
    psl::domain_str(domain).unwrap_or(domain).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::{Answer, Question, Recorded, Step};

    #[test]
    fn walks_ask_eight_names_at_most() {
        let check = |domain: &str, want: &[&str]| assert_eq!(walk(domain).collect::<Vec<_>>(), want, "{domain}");
        check("a.mail.example.com", &["a.mail.example.com", "mail.example.com", "example.com", "com"]);
        check("com", &["com"]);
        let long = "a.b.c.d.e.f.g.h.i.example.com";
        check(
            long,
            &[
                long,
                "e.f.g.h.i.example.com",
                "f.g.h.i.example.com",
                "g.h.i.example.com",
                "h.i.example.com",
                "i.example.com",
                "example.com",
                "com",
            ],
        );
        assert_eq!(walk("a.b.c.d.e.f.g.h").count(), 8);
        // The two examples of RFC 9989, §4.10 and §5.1.8.
        let long = "a.b.c.d.e.f.g.h.i.j.mail.example.com";
        let above = ["g.h.i.j", "h.i.j", "i.j", "j"].map(|front| format!("{front}.mail.example.com"));
        check(long, &[long, &above[0], &above[1], &above[2], &above[3], "mail.example.com", "example.com", "com"]);
        let second: Vec<_> = walk("mail.a.b.c.d.e.f.g.example.com").take(2).collect();
        assert_eq!(second, ["mail.a.b.c.d.e.f.g.example.com", "c.d.e.f.g.example.com"], "b.c.d.e.f.g.example.com is never asked");
    }

    /// Every name of the walk is answered: with the record given for it, or with nothing.
    fn recorded(zone: &[(&str, &str)]) -> Recorded {
        let mut recorded = Recorded::default();
        for (name, text) in zone {
            recorded.put(Question::Txt(format!("_dmarc.{name}")), Answer::Txt(vec![text.as_bytes().to_vec()]));
        }
        recorded
    }

    fn run<T>(zone: &[(&str, &str)], check: impl Fn(&mut Dns<'_>) -> Result<T, Open>) -> T {
        let mut recorded = recorded(zone);
        loop {
            match Dns::run(&recorded, &check) {
                Step::Done(done) => return done,
                Step::Need(questions) => questions.into_iter().for_each(|question| recorded.put(question, Answer::NoName)),
            }
        }
    }

    #[test]
    fn organizations_are_found() {
        let zone_own = [("example.com", "v=DMARC1; p=none"), ("com", "v=DMARC1; p=none; psd=y")];
        let zone_two = [("mail.example.com", "v=DMARC1; p=none"), ("example.com", "v=DMARC1; p=none")];
        let zone_cut = [("mail.example.com", "v=DMARC1; p=none; psd=n"), ("example.com", "v=DMARC1; p=none")];
        for (zone, domain, tree, list) in [
            (&zone_own[..], "a.mail.example.com", "example.com", "example.com"),
            (&zone_own[..1], "a.mail.example.com", "example.com", "example.com"),
            (&zone_cut[..], "a.mail.example.com", "mail.example.com", "example.com"),
            (&[], "a.mail.example.com", "a.mail.example.com", "example.com"),
            (&[], "a.example.co.uk", "a.example.co.uk", "example.co.uk"),
            (&zone_own[1..], "com", "com", "com"),
            // The three examples of RFC 9989 §4.10.2.
            (&zone_two[..], "a.mail.example.com", "example.com", "example.com"),
            (&zone_cut[..1], "a.mail.example.com", "mail.example.com", "example.com"),
            (&zone_own[1..], "a.mail.example.com", "example.com", "example.com"),
            // A record that does not apply to mail still marks a place; several records mark none.
            (&[("mail.example.com", "v=DMARC1; p=odd; psd=n")], "a.mail.example.com", "mail.example.com", "example.com"),
            (&[("example.com", "v=DMARC10; p=none")], "a.mail.example.com", "a.mail.example.com", "example.com"),
            (&[("example.com", "v = DMARC1; p=none")], "a.mail.example.com", "example.com", "example.com"),
            // A public suffix that sends mail itself stands for itself only.
            (&[("co.example", "v=DMARC1; psd=y"), ("example", "v=DMARC1")], "co.example", "co.example", "co.example"),
        ] {
            assert_eq!(run(zone, |dns| organization(dns, domain, Discovery::TreeWalk)), Ok(tree.to_owned()), "{domain}");
            assert_eq!(run(zone, |dns| organization(dns, domain, Discovery::PublicSuffix)), Ok(list.to_owned()), "{domain}");
        }
    }

    #[test]
    fn policies_are_found_and_failures_are_told() {
        let zone =
            [("example.com", "v=DMARC1; p=reject"), ("uk", "v=DMARC1; p=quarantine; psd=y"), ("own.example.com", "v=DMARC1; p=none")];
        let at = |domain: &str, discovery| run(&zone, |dns| policy(dns, domain, discovery)).map(|found| found.map(|found| found.domain));
        for discovery in [Discovery::TreeWalk, Discovery::PublicSuffix] {
            assert_eq!(at("a.example.com", discovery), Ok(Some("example.com".to_owned())));
            assert_eq!(at("own.example.com", discovery), Ok(Some("own.example.com".to_owned())));
            assert_eq!(at("example.net", discovery), Ok(None));
        }
        assert_eq!(at("example.co.uk", Discovery::TreeWalk), Ok(Some("uk".to_owned())));
        // A record of the author's own is enough, whatever is above it.
        let mut half = recorded(&zone);
        half.put(Question::Txt("_dmarc.com".to_owned()), Answer::Failed(String::new()));
        let own = Dns::run(&half, |dns| policy(dns, "own.example.com", Discovery::TreeWalk));
        assert!(matches!(own, Step::Done(Ok(Some(_)))), "{own:?}");
        let mut failing = recorded(&zone);
        failing.put(Question::Txt("_dmarc.a.example.com".to_owned()), Answer::Failed(String::new()));
        failing.put(Question::Txt("_dmarc.com".to_owned()), Answer::NoName);
        assert_eq!(Dns::run(&failing, |dns| policy(dns, "a.example.com", Discovery::TreeWalk)), Step::Done(Err(Missing::Failed)));
    }
}
