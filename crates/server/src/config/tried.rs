//! Settings with some keys set otherwise, as `postrider policy try` has it: which keys can be tried, and why others cannot.
//!
//! Invariant: a value is read and checked by the same code as the settings file's.

use super::{Config, keys};
use crate::failure::{Failure, Result};
use mta::explain::Policy;
use std::path::Path;

/// Keys that decide about mail by nothing but what is kept with it.
const TRIABLE: [&str; 6] = [
    "authentication.check",
    "authentication.dmarc",
    "authentication.public_suffixes",
    "filter.check",
    "filter.junk_points",
    "filter.reject_points",
];

/// Keys that have a part in what becomes of mail, and why they cannot be tried.
const NOT_KEPT: [(&str, &str); 7] = [
    ("authentication.wait", "what DNS would have answered later is not known"),
    ("filter.learn", "what would have been learned is not known"),
    ("filter.traps", "who wrote to which trap is not kept"),
    ("filter.first_contact", "whether a host would have come again is not known"),
    ("filter.slow_by", "whether a host would have waited is not known"),
    ("filter.grey_for", "whether a host would have come again is not known"),
    ("relay_networks", "mail of hosts that were known then was not checked"),
];

/// How a list's key is written on the command line: `list.ZONE.points`.
const LIST: &str = "list.";

/// The policy of `base` with some keys set otherwise, and with those of a settings file before.
///
/// # Errors
/// When a key cannot be tried, or a value cannot be.
pub fn policy(base: &Config, file: Option<&str>, set: &[String]) -> Result<Policy> {
    let mut config = match file {
        Some(text) => Config::parse(Path::new("--settings"), text)?,
        None => base.clone(),
    };
    if !set.is_empty() {
        config = with(&config, set)?;
    }
    let mut policy = crate::mail_path::policy(&config);
    // What lists weighed then counts, unless that is what is tried: a list that is new was not asked about older mail.
    if config.lists() == base.lists() && !set.iter().any(|pair| pair.trim_start().starts_with(LIST)) {
        policy.lists = None;
    }
    Ok(policy)
}

/// The settings with some keys set otherwise; checked together, for some need each other.
fn with(config: &Config, set: &[String]) -> Result<Config> {
    let mut table = toml::Table::try_from(config).map_err(|error| Failure::failed("the settings", error))?;
    for pair in set {
        let (key, value) = pair
            .split_once('=')
            .ok_or_else(|| Failure::usage(format!("--set {pair:?} is no KEY=VALUE")).hint("for example --set filter.junk_points=4"))?;
        set_one(&mut table, key.trim(), value.trim())?;
    }
    let text = toml::to_string(&table).map_err(|error| Failure::failed("the settings", error))?;
    Config::parse(Path::new("--set"), &text).map_err(|problem| {
        let failure = Failure::usage(format!("--set {}: {}", problem.key, problem.message));
        problem.hint.into_iter().fold(failure, Failure::hint)
    })
}

fn set_one(table: &mut toml::Table, key: &str, value: &str) -> Result<()> {
    if let Some((zone, what)) = key.strip_prefix(LIST).and_then(|rest| rest.rsplit_once('.')) {
        return set_list(table, zone, what, value);
    }
    if TRIABLE.contains(&key) || !keys::names().contains(&key) {
        return put(table, key, value);
    }
    let why = NOT_KEPT.iter().find(|(other, _)| *other == key).map_or("it does not decide where mail goes", |(_, why)| why);
    Err(Failure::usage(format!("{key} cannot be tried: {why}")).hint(triable()))
}

/// What can be tried, in a sentence.
fn triable() -> String {
    format!("these can: {}, {LIST}ZONE.points (0: without that list)", TRIABLE.join(", "))
}

/// Weighs a list otherwise, or leaves it out.
fn set_list(table: &mut toml::Table, zone: &str, what: &str, value: &str) -> Result<()> {
    if what != "points" {
        return Err(Failure::usage(format!("{LIST}{zone}.{what} cannot be tried")).hint(triable()));
    }
    let lists = table.entry("list").or_insert_with(|| toml::Value::Array(Vec::new()));
    let lists = lists.as_array_mut().ok_or_else(|| Failure::usage("list has no entries"))?;
    let is_meant = |list: &toml::Value| list.get("zone").and_then(toml::Value::as_str).is_some_and(|name| name.eq_ignore_ascii_case(zone));
    let points = read(value);
    let Some(at) = lists.iter().position(is_meant) else {
        let known: Vec<&str> = lists.iter().filter_map(|list| list.get("zone").and_then(toml::Value::as_str)).collect();
        let known = if known.is_empty() { "none is set".to_owned() } else { format!("these are: {}", known.join(", ")) };
        return Err(Failure::usage(format!("there is no list {zone}: of one that was not asked nothing is known")).hint(known));
    };
    if points.as_integer() == Some(0) {
        lists.remove(at);
    } else if let Some(list) = lists.get_mut(at).and_then(toml::Value::as_table_mut) {
        list.insert("points".to_owned(), points);
    }
    Ok(())
}

fn put(table: &mut toml::Table, key: &str, value: &str) -> Result<()> {
    let Some((group, rest)) = key.split_once('.') else {
        table.insert(key.to_owned(), read(value));
        return Ok(());
    };
    let inner = table.entry(group).or_insert_with(|| toml::Value::Table(toml::Table::new()));
    let inner = inner.as_table_mut().ok_or_else(|| Failure::usage(format!("{group} has no keys below it")).hint(triable()))?;
    put(inner, rest, value)
}

/// As a settings file would have it; what is neither a number nor true or false needs no quotes.
fn read(value: &str) -> toml::Value {
    let one = toml::from_str::<toml::Table>(&format!("v = {value}")).ok().and_then(|mut table| table.remove("v"));
    one.unwrap_or_else(|| toml::Value::String(value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use mta::settings::Dmarc;

    const BASE: &str = "hostname = \"h.example\"\n[filter]\njunk_points = 6\n[[list]]\nzone = \"bl.example\"\npoints = 3\n[[list]]\nzone = \"wl.example\"\npoints = -2\n";

    fn of(set: &[&str]) -> Result<Policy> {
        let base = Config::parse(Path::new("p"), BASE).unwrap();
        let set: Vec<String> = set.iter().map(|pair| (*pair).to_owned()).collect();
        policy(&base, None, &set)
    }

    #[test]
    fn keys_are_set_in_the_words_of_the_settings_file() {
        let tried =
            of(&["filter.junk_points=4", " filter.reject_points = 9", "authentication.dmarc=junk", "authentication.check=false"]).unwrap();
        assert_eq!((tried.judgement.junk_at, tried.judgement.reject_at, tried.dmarc, tried.inspects), (400, Some(900), Dmarc::Junk, false));
        // Each alone cannot be, together they can.
        assert_eq!(of(&["filter.reject_points=3", "filter.junk_points=2"]).unwrap().judgement.reject_at, Some(300));
        let same = of(&[]).unwrap();
        assert_eq!((same.judgement.junk_at, same.judgement.reject_at, same.dmarc, same.lists), (600, None, Dmarc::Obey, None));
        let file = Config::parse(Path::new("p"), BASE).unwrap();
        let other = policy(&file, Some("hostname = \"other.example\"\n"), &["filter.junk_points=7".to_owned()]).unwrap();
        assert_eq!((other.judgement.junk_at, other.lists), (700, Some(Vec::new())));
    }

    #[test]
    fn lists_are_weighed_or_left_out() {
        let weights = |set: &[&str]| of(set).unwrap().lists.map(|lists| lists.iter().map(|list| list.weight).collect::<Vec<_>>());
        assert_eq!(weights(&["filter.junk_points=4"]), None);
        assert_eq!(weights(&["list.bl.example.points=5"]), Some(vec![500, -200]));
        assert_eq!(weights(&["list.BL.example.points=0"]), Some(vec![-200]));
    }

    #[test]
    fn what_cannot_be_tried_is_told_why() {
        for (set, words, hint) in [
            ("filter.learn=false", "filter.learn cannot be tried: what would have been learned", "these can: authentication.check"),
            ("hostname=x.example", "hostname cannot be tried: it does not decide", "these can"),
            ("filter.junk_point=4", "filter.junk_point: unknown key", "did you mean filter.junk_points?"),
            ("filter.junk_points=many", "--set filter.junk_points: invalid type", ""),
            ("authentication.dmarc=maybe", "--set authentication.dmarc: unknown variant", ""),
            ("filter.junk_points=-1", "--set filter.junk_points: ", ""),
            ("filter.junk_points", "is no KEY=VALUE", "for example"),
            ("list.other.example.points=3", "there is no list other.example", "these are: bl.example, wl.example"),
            ("list.bl.example.codes=1", "list.bl.example.codes cannot be tried", "these can"),
            ("list.bl.example.points=500", "expected points from 1 to 100", ""),
            ("hostname.x=1", "hostname has no keys below it", ""),
        ] {
            let failure = of(&[set]).unwrap_err();
            assert!(failure.message.contains(words), "{set}: {failure:?}");
            assert!(failure.hint.as_deref().unwrap_or_default().contains(hint), "{set}: {failure:?}");
        }
    }

    #[test]
    fn every_key_of_the_two_tables_can_be_tried_or_is_told_why_not() {
        let known =
            |key: &&str| TRIABLE.contains(key) || NOT_KEPT.iter().any(|(other, _)| other == key) || *key == "authentication.reports";
        let ours = keys::names().into_iter().filter(|key| key.starts_with("filter.") || key.starts_with("authentication."));
        assert_eq!(ours.filter(|key| !known(key)).collect::<Vec<_>>(), [""; 0]);
    }
}
