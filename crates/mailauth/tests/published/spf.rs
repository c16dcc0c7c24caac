//! The RFC 7208 suite of openspf: 203 tests in 16 scenarios; none is left out.

use crate::{decide, documents, file};
use mail::Timestamp;
use mailauth::dns::{Answer, Dns, Question};
use mailauth::spf::{self, Limits, Session};
use std::collections::HashMap;
use std::net::IpAddr;
use yaml_rust2::Yaml;

/// The records of one scenario, by name in lower case.
struct Zone(HashMap<String, Vec<Yaml>>);

impl Zone {
    fn read(scenario: &Yaml) -> Self {
        let mut names = HashMap::new();
        for (name, records) in scenario["zonedata"].as_hash().unwrap() {
            let name = name.as_str().unwrap().to_ascii_lowercase();
            names.insert(name, records.as_vec().cloned().unwrap_or_default());
        }
        Self(names)
    }

    fn answer(&self, question: &Question) -> Answer {
        match question {
            Question::Txt(name) => self.txt(name),
            Question::A(name) => self.list(name, &["A"], |found| Answer::Addresses(found.iter().filter_map(address).collect())),
            Question::Aaaa(name) => self.list(name, &["AAAA"], |found| Answer::Addresses(found.iter().filter_map(address).collect())),
            Question::Mx(name) => self.list(name, &["MX"], |found| Answer::Mx(found.iter().map(mx).collect())),
            Question::Ptr(address) => self.list(&reverse(*address), &["PTR"], |found| {
                Answer::Names(found.iter().filter_map(|name| name.as_str().map(str::to_owned)).collect())
            }),
        }
    }

    /// SPF records stand for TXT records, unless a name has TXT records of its own (`TXT: NONE`: none).
    fn txt(&self, name: &str) -> Answer {
        if let Some(alias) = self.0.get(name).and_then(|records| records.iter().find_map(|record| record["CNAME"].as_str())) {
            return self.txt(&alias.to_ascii_lowercase());
        }
        let own = self.0.get(name).is_some_and(|records| records.iter().any(|record| !record["TXT"].is_badvalue()));
        self.list(name, if own { &["TXT"] } else { &["SPF"] }, |found| Answer::Txt(found.iter().filter_map(text).collect()))
    }

    fn list(&self, name: &str, kinds: &[&str], made: fn(&[Yaml]) -> Answer) -> Answer {
        let Some(records) = self.0.get(name) else { return Answer::NoName };
        if let Some(alias) = records.iter().find_map(|record| record["CNAME"].as_str()) {
            return self.list(&alias.to_ascii_lowercase(), kinds, made);
        }
        let times_out = records.iter().any(|record| record.as_str() == Some("TIMEOUT"));
        let found: Vec<Yaml> = records
            .iter()
            .flat_map(|record| kinds.iter().map(|kind| record[*kind].clone()))
            .filter(|value| !value.is_badvalue() && value.as_str() != Some("NONE"))
            .collect();
        match (found.is_empty(), times_out) {
            (_, true) if found.is_empty() => Answer::Failed("TIMEOUT".to_owned()),
            (true, _) => Answer::NoData,
            (false, _) if found.iter().any(|value| value.as_str() == Some("TIMEOUT")) => Answer::Failed("TIMEOUT".to_owned()),
            (false, _) => made(&found),
        }
    }
}

fn address(value: &Yaml) -> Option<IpAddr> {
    value.as_str()?.parse().ok()
}

fn mx(value: &Yaml) -> (u16, String) {
    let preference = value[0].as_i64().unwrap_or_default().try_into().unwrap_or_default();
    (preference, value[1].as_str().unwrap_or_default().to_owned())
}

fn text(value: &Yaml) -> Option<Vec<u8>> {
    // The suite writes octets above 127 as the characters of that number.
    let octets = |text: &str| text.chars().map(|c| u8::try_from(u32::from(c)).unwrap_or(b'?')).collect::<Vec<u8>>();
    match value {
        Yaml::Array(parts) => Some(parts.iter().flat_map(|part| octets(part.as_str().unwrap_or_default())).collect()),
        other => other.as_str().map(octets),
    }
}

fn reverse(address: IpAddr) -> String {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, c, d] = v4.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        IpAddr::V6(v6) => {
            let digits: Vec<String> = format!("{:032x}", u128::from(v6)).chars().rev().map(String::from).collect();
            format!("{}.ip6.arpa", digits.join("."))
        }
    }
}

fn wanted(value: &Yaml) -> Vec<&str> {
    value.as_str().map_or_else(|| value.as_vec().unwrap().iter().filter_map(Yaml::as_str).collect(), |one| vec![one])
}

/// Runs one test; says what is wrong.
fn run(zone: &Zone, name: &str, test: &Yaml, default_explanation: &str) -> Result<(), String> {
    let session = Session {
        peer: test["host"].as_str().unwrap().parse().unwrap(),
        helo: test["helo"].as_str().unwrap(),
        receiver: "unknown",
        now: Timestamp::from_seconds(1_400_000_000),
    };
    let reverse_path = test["mailfrom"].as_str().unwrap();
    let outcome = decide(
        |recorded| Dns::run(recorded, |dns| spf::check_mail_from(dns, &session, reverse_path, &Limits::default())),
        |question| zone.answer(question),
    );
    let results = wanted(&test["result"]);
    if !results.contains(&outcome.result.as_str()) {
        return Err(format!("{name}: wanted {results:?}, got {outcome:?}"));
    }
    let explanation = outcome.explanation.as_deref().unwrap_or(default_explanation);
    match test["explanation"].as_str() {
        Some(want) if want != explanation => Err(format!("{name}: wanted the words {want:?}, got {explanation:?}")),
        _ => Ok(()),
    }
}

#[test]
fn the_suite_of_rfc_7208_passes() {
    let Some(suite) = file("spf/rfc7208-tests.yml") else { return };
    let (mut ran, mut wrong) = (0, Vec::new());
    for scenario in documents(&suite) {
        let zone = Zone::read(&scenario);
        for (name, test) in scenario["tests"].as_hash().unwrap() {
            let name = name.as_str().unwrap();
            ran += 1;
            wrong.extend(run(&zone, name, test, "DEFAULT").err());
        }
    }
    assert!(wrong.is_empty(), "{} of {ran}:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(ran, 203);
}
