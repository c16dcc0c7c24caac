//! The chain validation cases of `ValiMail`'s ARC suite.

use crate::{decide, documents, file};
use mail::Timestamp;
use mailauth::dns::{Answer, Question};
use mailauth::spf::Session;
use mailauth::{Evidence, Limits, Settings};
use std::collections::{HashMap, HashSet};
use yaml_rust2::Yaml;

/// Cases that end otherwise here, as what, and why. All others end as the suite says.
const OTHERWISE: [(&str, &str, &str); 5] = [
    ("cv_fail_i1_as_cv_fail", "fail", "the suite leaves the result empty; RFC 8617 §5.2 step 2 says fail"),
    ("cv_fail_i2_as2_fail", "fail", "the suite leaves the result empty; RFC 8617 §5.2 step 2 says fail"),
    ("cv_fail_i2_as1_fail", "fail", "the suite leaves the result empty; RFC 8617 §5.2 step 2 says fail"),
    ("ams_fields_c_na", "fail", "without c= both forms are simple (RFC 6376 §3.5); the suite takes relaxed for granted"),
    ("ams_fields_h_empty", "fail", "a signature that leaves From out is none (RFC 6376 §5.4, which RFC 8617 §4.1.2 keeps)"),
];

fn zone(scenario: &Yaml) -> HashMap<String, String> {
    let records = scenario["txt-records"].as_hash().into_iter().flatten();
    records.map(|(name, text)| (name.as_str().unwrap().to_ascii_lowercase(), text.as_str().unwrap().to_owned())).collect()
}

fn run(zone: &HashMap<String, String>, name: &str, test: &Yaml) -> Result<(), String> {
    let message = test["message"].as_str().unwrap_or_default().replace('\n', "\r\n");
    let session = Session {
        peer: "192.0.2.1".parse().unwrap(),
        helo: "mx.example.org",
        receiver: "here.example",
        now: Timestamp::from_seconds(1_500_000_000),
    };
    // The suite's keys have 1,024 bits, one of them 512.
    let limits = Limits { rsa_bits_min: 512, ..Limits::default() };
    let evidence = Evidence::of(message.as_bytes(), &limits);
    let settings = Settings { limits, ..Settings::default() };
    let outcome = decide(
        |recorded| evidence.step(&session, "jqd@d1.example.org", &settings, recorded),
        |question| match question {
            Question::Txt(name) => zone.get(name).map_or(Answer::NoName, |text| Answer::Txt(vec![text.clone().into_bytes()])),
            _ => Answer::NoName,
        },
    );
    let otherwise = OTHERWISE.iter().find(|(known, ..)| *known == name).map(|(_, want, _)| (*want).to_owned());
    let want = otherwise.unwrap_or_else(|| test["cv"].as_str().unwrap_or("None").to_ascii_lowercase());
    if want == outcome.arc.result.as_str() { Ok(()) } else { Err(format!("{name}: wanted {want}, got {:?}", outcome.arc)) }
}

/// The suite names two cases twice, which YAML forbids: the second of each gets a name of its own.
fn with_unique_names(suite: &str) -> String {
    let (mut seen, mut out) = (HashSet::new(), String::with_capacity(suite.len()));
    for line in suite.lines() {
        if line == "---" {
            seen.clear();
        }
        let name = line.strip_prefix("  ").and_then(|rest| rest.strip_suffix(':')).filter(|name| !name.starts_with(' '));
        match name {
            Some(name) if !seen.insert(name) => out.extend(["  ", name, "_again:"]),
            _ => out.push_str(line),
        }
        out.push('\n');
    }
    out
}

#[test]
fn the_suite_of_rfc_8617_passes() {
    let Some(suite) = file("arc/arc-draft-validation-tests.yml") else { return };
    let (mut ran, mut wrong) = (0, Vec::new());
    for scenario in documents(&with_unique_names(&suite)) {
        let zone = zone(&scenario);
        for (name, test) in scenario["tests"].as_hash().unwrap() {
            let name = name.as_str().unwrap();
            ran += 1;
            wrong.extend(run(&zone, name, test).err());
        }
    }
    assert!(wrong.is_empty(), "{} of {ran}:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(ran, 175);
}
