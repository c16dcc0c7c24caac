//! What serde cannot see in a file: names that must be there, keys that belong to a kind of fault.

use super::{Fault, FaultKind, HostPlan, Scenario, Traffic};
use mail::{Address, Domain};
use std::collections::BTreeSet;

/// What is wrong: the key, dotted (`fault[2].delay`), and what was expected.
pub type Wrong = (String, String);

/// Most hosts: each has an address of its own in 10.0.0.0/24.
const HOSTS_MAX: usize = 250;
/// Most messages of one file: they are all in memory.
const MESSAGES_MAX: u64 = 1_000_000;
/// Octets of the longest text.
const TEXT_OCTETS_MAX: u32 = 10_000_000;

fn wrong<T>(key: impl Into<String>, words: impl Into<String>) -> Result<T, Wrong> {
    Err((key.into(), words.into()))
}

impl Scenario {
    /// What serde cannot see.
    ///
    /// # Errors
    /// Names the key and what was expected.
    pub fn check(&self) -> Result<(), Wrong> {
        if self.host.is_empty() || self.host.len() > HOSTS_MAX {
            return wrong("host", format!("expected 1 to {HOSTS_MAX} hosts"));
        }
        for (place, host) in self.host.iter().enumerate() {
            self.check_host(host, place)?;
        }
        for (place, domain) in self.domain.iter().enumerate() {
            if self.is_served(&domain.name) {
                return wrong(format!("domain[{place}].name"), "a host serves this domain: expected one that none does");
            }
        }
        for (place, traffic) in self.traffic.iter().enumerate() {
            self.check_traffic(traffic, &format!("traffic[{place}]"))?;
        }
        if self.traffic.iter().map(|traffic| u64::from(traffic.messages)).sum::<u64>() > MESSAGES_MAX {
            return wrong("traffic", format!("expected at most {MESSAGES_MAX} messages in all"));
        }
        self.fault.iter().enumerate().try_for_each(|(place, fault)| self.check_fault(fault, &format!("fault[{place}]")))
    }

    fn check_host(&self, host: &HostPlan, place: usize) -> Result<(), Wrong> {
        let key = |name: &str| format!("host[{place}].{name}");
        let before = self.host.get(..place).unwrap_or_default();
        if before.iter().any(|other| other.name == host.name) {
            return wrong(key("name"), format!("there is a host {} already", host.name));
        }
        if let Some(domain) = host.domains.iter().find(|domain| before.iter().any(|other| other.domains.contains(domain))) {
            return wrong(key("domains"), format!("another host keeps the mail of {domain}"));
        }
        if let Some(account) = host.accounts.iter().find(|account| !host.domains.contains(account.domain())) {
            return wrong(key("accounts"), format!("{account} is in none of the host's domains"));
        }
        let mut seen = BTreeSet::new();
        if let Some(account) = host.accounts.iter().find(|account| !seen.insert(*account)) {
            return wrong(key("accounts"), format!("{account} is there twice"));
        }
        if let Some(other) = host.smarthost.as_ref().filter(|other| self.host_named(other).is_none()) {
            return wrong(key("smarthost"), format!("there is no host {other}"));
        }
        if host.recipients_max == Some(0) {
            return wrong(key("recipients_max"), "expected at least 1");
        }
        if host.dane && host.tls == crate::Shown::None {
            return wrong(key("dane"), "TLSA records name a certificate: expected tls = \"good\" or another beside it");
        }
        Ok(())
    }

    fn check_traffic(&self, traffic: &Traffic, key: &str) -> Result<(), Wrong> {
        if self.host_of(&traffic.from).is_none() {
            return wrong(format!("{key}.from"), format!("no host has an account {}", traffic.from));
        }
        let mut seen = BTreeSet::new();
        if let Some(again) = traffic.to.iter().find(|to| !seen.insert(*to)) {
            return wrong(format!("{key}.to"), format!("{again} is there twice"));
        }
        if traffic.to.is_empty() {
            return wrong(format!("{key}.to"), "expected at least one address");
        }
        if traffic.recipients == 0 || traffic.recipients > traffic.to.len() {
            return wrong(format!("{key}.recipients"), format!("expected 1 to {}, as many as there are in `to`", traffic.to.len()));
        }
        let [least, most] = traffic.octets;
        if least > most || most > TEXT_OCTETS_MAX {
            return wrong(
                format!("{key}.octets"),
                format!("expected the least and the most, such as [100, 2000], up to {TEXT_OCTETS_MAX}"),
            );
        }
        Ok(())
    }

    fn check_fault(&self, fault: &Fault, key: &str) -> Result<(), Wrong> {
        let needs = fault.kind.needs();
        let given = [
            ("host", fault.host.is_some(), needs.host),
            ("domain", fault.domain.is_some(), !needs.host),
            ("delay", fault.delay.is_some(), needs.delay),
            ("tls", fault.tls.is_some(), fault.kind == FaultKind::Certificate),
            ("to", fault.to.is_some(), fault.kind == FaultKind::LyingMx),
        ];
        for (name, is_given, is_needed) in given {
            match (is_given, is_needed) {
                (true, false) => return wrong(format!("{key}.{name}"), "a fault of this kind has no such key"),
                (false, true) => return wrong(format!("{key}.{name}"), "is missing: a fault of this kind needs it"),
                _ => {}
            }
        }
        if fault.percent.is_some_and(|percent| !needs.percent || percent == 0 || percent > 100) {
            let words = if needs.percent { "expected 1 to 100" } else { "a fault of this kind has no such key" };
            return wrong(format!("{key}.percent"), words);
        }
        for (name, host) in [("host", &fault.host), ("to", &fault.to)] {
            if let Some(host) = host.as_ref().filter(|host| self.host_named(host).is_none()) {
                return wrong(format!("{key}.{name}"), format!("there is no host {host}"));
            }
        }
        check_times(fault, key)
    }

    /// The host of this name.
    pub fn host_named(&self, name: &Domain) -> Option<&HostPlan> {
        self.host.iter().find(|host| host.name == *name)
    }

    /// The host that has the account.
    pub fn host_of(&self, account: &Address) -> Option<&HostPlan> {
        self.host.iter().find(|host| host.accounts.contains(account))
    }

    fn is_served(&self, domain: &Domain) -> bool {
        self.host.iter().any(|host| host.domains.contains(domain) || host.name == *domain)
    }
}

fn check_times(fault: &Fault, key: &str) -> Result<(), Wrong> {
    if fault.until.is_some_and(|until| until <= fault.from) {
        return wrong(format!("{key}.until"), "expected a time behind `from`");
    }
    match (fault.every, fault.lasting) {
        (Some(every), _) if every.0.is_zero() => wrong(format!("{key}.every"), "expected more than no time"),
        (Some(every), Some(lasting)) if lasting >= every => wrong(format!("{key}.lasting"), "expected less than `every`"),
        (Some(_), None) if !fault.kind.needs().strikes => wrong(format!("{key}.lasting"), "is missing: `every` needs it"),
        _ => Ok(()),
    }
}

/// What a kind of fault needs to be told.
#[expect(clippy::struct_excessive_bools, reason = "a row of a table")]
pub(crate) struct Needs {
    host: bool,
    percent: bool,
    delay: bool,
    /// It happens in a moment.
    pub(crate) strikes: bool,
}

impl FaultKind {
    pub(crate) fn needs(self) -> Needs {
        use FaultKind as K;
        Needs {
            host: !matches!(self, K::Servfail | K::Bogus | K::NullMx | K::LyingMx),
            percent: matches!(
                self,
                K::Refuse
                    | K::BlackHole
                    | K::Busy
                    | K::DeferRecipients
                    | K::DeferMessages
                    | K::RefuseMessages
                    | K::CutSending
                    | K::CutReceiving
            ),
            delay: matches!(self, K::Tarpit | K::Slow | K::LateReply),
            strikes: matches!(self, K::DiskError | K::Crash | K::PowerCut),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTS: &str = "[[host]]\nname = \"mx.a.example\"\ndomains = [\"a.example\"]\naccounts = [\"ann@a.example\"]\n";

    /// `key: words` of what is wrong with a file of one host and more.
    fn check(more: &str, want: &str) {
        let scenario: Scenario = toml::from_str(&format!("{HOSTS}{more}")).unwrap_or_else(|error| panic!("{more}: {error}"));
        let found = scenario.check().map_or_else(|(key, words)| format!("{key}: {words}"), |()| "good".to_owned());
        assert!(found.starts_with(want), "{more}\n{found}");
    }

    #[test]
    fn what_cannot_be_played_is_refused_by_its_key() {
        let traffic = |rest: &str| format!("[[traffic]]\nfrom = \"ann@a.example\"\nto = [\"bob@b.example\", \"bea@b.example\"]\n{rest}");
        let fault = |kind: &str, rest: &str| format!("[[fault]]\nkind = \"{kind}\"\n{rest}");
        check("", "good");
        check(&traffic(""), "good");
        check(&traffic("recipients = 3"), "traffic[0].recipients: expected 1 to 2");
        check(&traffic("octets = [3, 2]"), "traffic[0].octets: ");
        check("[[traffic]]\nfrom = \"bob@a.example\"\nto = [\"x@y.example\"]\n", "traffic[0].from: no host has an account bob@a.example");
        check("[[traffic]]\nfrom = \"ann@a.example\"\nto = []\n", "traffic[0].to: expected at least one");
        check("[[host]]\nname = \"mx.a.example\"\n", "host[1].name: there is a host mx.a.example already");
        check("[[host]]\nname = \"b\"\ndomains = [\"a.example\"]\n", "host[1].domains: another host");
        check("[[host]]\nname = \"b\"\naccounts = [\"x@b\"]\n", "host[1].accounts: x@b is in none");
        check("[[host]]\nname = \"b\"\ndane = true\n", "host[1].dane: ");
        check("[[host]]\nname = \"b\"\nsmarthost = \"c\"\n", "host[1].smarthost: there is no host c");
        check("[[domain]]\nname = \"a.example\"\ndns = \"null-mx\"\n", "domain[0].name: a host serves");
        check(&fault("refuse", "host = \"mx.a.example\"\npercent = 20\n"), "good");
        check(&fault("refuse", "host = \"mx.a.example\"\npercent = 0\n"), "fault[0].percent: expected 1 to 100");
        check(&fault("refuse", ""), "fault[0].host: is missing");
        check(&fault("refuse", "host = \"c\"\n"), "fault[0].host: there is no host c");
        check(&fault("refuse", "host = \"mx.a.example\"\ndelay = \"1s\"\n"), "fault[0].delay: a fault of this kind has no such key");
        check(&fault("tarpit", "host = \"mx.a.example\"\n"), "fault[0].delay: is missing");
        check(&fault("servfail", "domain = \"a.example\"\n"), "good");
        check(&fault("servfail", "host = \"mx.a.example\"\n"), "fault[0].host: a fault of this kind has no such key");
        check(&fault("crash", "host = \"mx.a.example\"\nevery = \"1h\"\n"), "good");
        check(&fault("busy", "host = \"mx.a.example\"\nevery = \"1h\"\n"), "fault[0].lasting: is missing");
        check(&fault("busy", "host = \"mx.a.example\"\nevery = \"1h\"\nlasting = \"2h\"\n"), "fault[0].lasting: expected less");
        check(&fault("busy", "host = \"mx.a.example\"\nfrom = \"1h\"\nuntil = \"1h\"\n"), "fault[0].until: ");
    }
}
