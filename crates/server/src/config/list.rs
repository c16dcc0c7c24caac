//! `[[list]]`: block and allow lists in DNS; and what else of `[filter]` is more than a number.

use super::{Config, Network};
use mta::settings::FirstContact as Manner;
use serde::{Deserialize, Serialize};

/// `[[list]]`: a block list, or an allow list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct List {
    /// The name that its entries are under.
    pub zone: String,
    /// What it has entries of.
    #[serde(default)]
    pub of: Of,
    /// Points of a listed host; below zero for a list of good ones.
    pub points: i16,
    /// Which codes count; none: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub codes: Vec<Network>,
}

/// What a list has entries of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Of {
    /// Hosts that bring mail.
    #[default]
    Hosts,
    /// Domains: of links, of the author, of who stands for a message.
    Domains,
}

/// What is done about hosts that never brought mail from this sender to this reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FirstContact {
    /// Nothing.
    Off,
    /// The end of the message is answered later.
    Slow,
    /// They are to come again.
    Grey,
}

impl Config {
    /// The lists in the mail path's words.
    pub fn lists(&self) -> Vec<filter::dnsbl::List> {
        let list = |list: &List| filter::dnsbl::List {
            of: match list.of {
                Of::Hosts => filter::dnsbl::Of::Hosts,
                Of::Domains => filter::dnsbl::Of::Domains,
            },
            zone: list.zone.to_ascii_lowercase(),
            codes: list.codes.iter().map(|codes| codes.0).collect(),
            weight: i32::from(list.points) * 100,
        };
        self.list.iter().map(list).collect()
    }

    /// What is done about first contacts.
    pub fn first_contact(&self) -> Manner {
        match self.filter.first_contact {
            FirstContact::Off => Manner::Off,
            FirstContact::Slow => Manner::Slow(self.filter.slow_by.0),
            FirstContact::Grey => Manner::Grey(self.filter.grey_for.0),
        }
    }

    pub(super) fn check_lists(&self) -> Result<(), (String, String)> {
        if self.list.len() > filter::dnsbl::LISTS_MAX {
            return super::wrong("list", &format!("expected at most {} lists", filter::dnsbl::LISTS_MAX));
        }
        for (place, list) in self.list.iter().enumerate() {
            if mail::Domain::parse(&list.zone).is_err() {
                return super::wrong(&format!("list[{place}].zone"), "expected a name such as \"zen.spamhaus.org\"");
            }
            if list.points == 0 || list.points.abs() > 100 {
                return super::wrong(
                    &format!("list[{place}].points"),
                    "expected points from 1 to 100, or from -100 to -1 for a list of good hosts",
                );
            }
        }
        if let Some(bad) = self.filter.traps.iter().find(|trap| mail::Address::parse(trap).is_err()) {
            return super::wrong("filter.traps", &format!("{bad:?} is no mail address"));
        }
        // Most clients give up on a reply to the message after 10 minutes (RFC 5321 §4.5.3.2.6), some sooner.
        if self.filter.slow_by.0 > std::time::Duration::from_mins(2) {
            return super::wrong("filter.slow_by", "expected at most \"2m\"");
        }
        if self.filter.grey_for.0.is_zero() || self.filter.grey_for.0 >= std::time::Duration::from_hours(24) {
            return super::wrong("filter.grey_for", "expected a span longer than 0s and shorter than a day");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn parse(text: &str) -> Result<Config, super::super::Problem> {
        Config::parse(Path::new("p"), &format!("hostname = \"h\"\n{text}\n"))
    }

    #[test]
    fn lists_are_read_and_checked() {
        let config = parse(
            "[[list]]\nzone = \"Zen.Example\"\npoints = 4\ncodes = [\"127.0.0.0/28\"]\n[[list]]\nzone = \"wl.example\"\nof = \"domains\"\npoints = -3",
        );
        let lists = config.unwrap().lists();
        let shown: Vec<_> = lists.iter().map(|list| (list.zone.as_str(), list.of, list.weight, list.codes.len())).collect();
        let (hosts, domains) = (filter::dnsbl::Of::Hosts, filter::dnsbl::Of::Domains);
        assert_eq!(shown, [("zen.example", hosts, 400, 1), ("wl.example", domains, -300, 0)]);
        for (text, key) in [
            ("[[list]]\nzone = \"not a name\"\npoints = 4", "zone"),
            ("[[list]]\nzone = \"a.example\"\npoints = 0", "points"),
            ("[[list]]\nzone = \"a.example\"\npoints = 1\nof = \"urls\"", "of"),
            ("[filter]\ntraps = [\"nobody\"]", "filter.traps"),
            ("[filter]\nslow_by = \"5m\"", "filter.slow_by"),
            ("[filter]\ngrey_for = \"0s\"", "filter.grey_for"),
        ] {
            assert!(parse(text).unwrap_err().to_string().contains(key), "{text}");
        }
    }

    #[test]
    fn first_contacts_are_handled_as_the_words_say() {
        let manner = |text: &str| parse(text).unwrap().first_contact();
        assert_eq!(manner(""), Manner::Off);
        assert_eq!(manner("[filter]\nfirst_contact = \"slow\""), Manner::Slow(std::time::Duration::from_secs(15)));
        let grey = manner("[filter]\nfirst_contact = \"grey\"\ngrey_for = \"10m\"");
        assert_eq!(grey, Manner::Grey(std::time::Duration::from_mins(10)));
    }
}
