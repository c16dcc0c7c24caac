//! Where a domain's aggregate reports go (RFC 9990 §3.5, §4; RFC 7489 §6.2 for the limits of octets).
//!
//! Not the sending. Only mail is served: no other scheme was ever registered.
//!
//! Invariant: an address elsewhere gets reports only if its own domain says so in DNS.

use super::Discovery;
use super::discovery::organization;
use crate::dns::{Dns, Missing, Open, name_of};
use mail::Address;

/// Most destinations of one domain. Our own bound.
pub const DESTINATIONS_MAX: usize = 5;

/// Where one report goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// To whom.
    pub address: Address,
    /// Most octets of the mail; none: any.
    pub octets_max: Option<u64>,
}

impl Destination {
    /// Reads one URI of `rua`: `mailto:a@b!10m`.
    pub fn parse(uri: &str) -> Option<Self> {
        let (uri, octets_max) = match uri.trim().rsplit_once('!') {
            None => (uri.trim(), None),
            Some((uri, limit)) => (uri, Some(octets(limit)?)),
        };
        Some(Self { address: mail::mailto(uri)?, octets_max })
    }
}

/// `10m`: a number and k, m, g or t, powers of 1,024.
fn octets(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let power = match text.get(digits.len()..)?.to_ascii_lowercase().as_str() {
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(1024_u64.pow(power))
}

/// Those of the wanted destinations of a policy that may get its reports; an error if DNS gave no answer about one.
///
/// # Errors
/// While answers are missing.
pub fn destinations(
    dns: &mut Dns<'_>,
    policy_domain: &str,
    wanted: &[String],
    discovery: Discovery,
) -> Result<Result<Vec<Destination>, Missing>, Open> {
    let wanted = wanted.iter().filter_map(|uri| Destination::parse(uri)).take(DESTINATIONS_MAX);
    let each: Vec<_> = wanted.map(|destination| verified(dns, policy_domain, destination, discovery)).collect();
    let each: Result<Vec<_>, Open> = each.into_iter().collect();
    Ok(each?.into_iter().collect::<Result<Vec<_>, Missing>>().map(|found| {
        let mut known: Vec<Destination> = Vec::new();
        for destination in found.into_iter().flatten() {
            if !known.iter().any(|one| one.address == destination.address) {
                known.push(destination);
            }
        }
        known
    }))
}

/// RFC 9990 §4.
fn verified(
    dns: &mut Dns<'_>,
    policy_domain: &str,
    destination: Destination,
    discovery: Discovery,
) -> Result<Result<Option<Destination>, Missing>, Open> {
    let Some(host) = name_of(destination.address.domain().as_str()) else { return Ok(Ok(None)) };
    if host == policy_domain {
        return Ok(Ok(Some(destination)));
    }
    let (ours, theirs) = (organization(dns, policy_domain, discovery), organization(dns, &host, discovery));
    match (ours?, theirs?) {
        (Ok(ours), Ok(theirs)) if ours == theirs => return Ok(Ok(Some(destination))),
        (Err(missing), _) | (_, Err(missing)) => return Ok(Err(missing)),
        _ => {}
    }
    let records = match dns.txt(&format!("{policy_domain}._report._dmarc.{host}"))? {
        Ok(records) => records,
        Err(Missing::Void) => return Ok(Ok(None)),
        Err(Missing::Failed) => return Ok(Err(Missing::Failed)),
    };
    let said: Vec<Vec<String>> = records.iter().filter_map(|record| consent(record)).collect();
    if said.is_empty() {
        return Ok(Ok(None));
    }
    let others: Vec<&String> = said.iter().flatten().collect();
    let other = others.first().and_then(|uri| Destination::parse(uri));
    let stays = |other: &Destination| name_of(other.address.domain().as_str()).as_deref() == Some(host.as_str());
    Ok(Ok(match other {
        _ if others.is_empty() => Some(destination),
        // Neither of the two, if it leads elsewhere again.
        other => other.filter(stays),
    }))
}

/// The `rua` of a record that takes reports for another domain; `None`: it is no such record.
fn consent(record: &[u8]) -> Option<Vec<String>> {
    let text = std::str::from_utf8(record).ok()?;
    let mut tags = text.split(';').filter_map(|tag| tag.split_once('=')).map(|(name, value)| (name.trim(), value.trim()));
    if tags.next() != Some(("v", "DMARC1")) {
        return None;
    }
    let rua = tags.find(|(name, _)| name.eq_ignore_ascii_case("rua")).map(|(_, value)| value);
    Some(rua.into_iter().flat_map(|list| list.split(',')).map(|uri| uri.trim().to_owned()).take(DESTINATIONS_MAX).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::{Answer, Question, Recorded, Step};

    /// `name` and record; `!` stands for a failure of DNS. Everything else does not exist.
    fn check(wanted: &str, zone: &[(&str, &str)], want: &str) {
        let wanted: Vec<String> = wanted.split(',').map(str::to_owned).collect();
        let mut recorded = Recorded::default();
        let found = loop {
            match Dns::run(&recorded, |dns| destinations(dns, "example.org", &wanted, Discovery::PublicSuffix)) {
                Step::Done(found) => break found,
                Step::Need(questions) => questions.into_iter().for_each(|question| {
                    let known = zone.iter().find(|(name, _)| question == Question::Txt((*name).to_owned()));
                    let answer = match known {
                        Some((_, "!")) => Answer::Failed("SERVFAIL".to_owned()),
                        Some((_, text)) => Answer::Txt(vec![text.as_bytes().to_vec()]),
                        None => Answer::NoName,
                    };
                    recorded.put(question, answer);
                }),
            }
        };
        let words = match found {
            Err(_) => "later".to_owned(),
            Ok(found) => {
                let one = |one: &Destination| one.octets_max.map_or(one.address.to_string(), |octets| format!("{}!{octets}", one.address));
                found.iter().map(one).collect::<Vec<_>>().join(" ")
            }
        };
        assert_eq!(words, want, "{wanted:?} {zone:?}");
    }

    #[test]
    fn reports_go_where_they_are_wanted() {
        const ELSEWHERE: &str = "example.org._report._dmarc.red.example.net";
        check("mailto:d@example.org", &[], "d@example.org");
        check("mailto:d@mail.example.org!2k,mailto:d@mail.example.org", &[], "d@mail.example.org!2048");
        check("mailto:d@example.org!x,https://example.org/", &[], "");
        check("mailto:d@red.example.net", &[], "");
        check("mailto:d@red.example.net", &[(ELSEWHERE, "v=DMARC1")], "d@red.example.net");
        check("mailto:d@red.example.net", &[(ELSEWHERE, "v=spf1")], "");
        check("mailto:d@red.example.net", &[(ELSEWHERE, "v=DMARC1; rua=mailto:other@red.example.net")], "other@red.example.net");
        check("mailto:d@red.example.net", &[(ELSEWHERE, "v=DMARC1; rua=mailto:victim@blue.example.net")], "");
        check("mailto:d@red.example.net,mailto:d@example.org", &[(ELSEWHERE, "!")], "later");
    }
}
