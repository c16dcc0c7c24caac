//! Answers from a script, for tests and the simulation.
//!
//! Not a name server: no zones, no time to live. A name is known as soon as it has a record; it is
//! insecure unless the script says that it is signed or bogus.

use super::{Checked, Checking, Dns, DnsError, Host, Lookup, Mx, Security, Tlsa};
use mail::Domain;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Scripted DNS. Clones are the same; the script can change while it runs.
#[derive(Debug, Clone, Default)]
pub struct FakeDns(Arc<Mutex<Script>>);

#[derive(Debug, Default)]
struct Script {
    mx: BTreeMap<String, Vec<Mx>>,
    addresses: BTreeMap<String, Vec<IpAddr>>,
    txt: BTreeMap<String, Vec<Vec<u8>>>,
    ptr: BTreeMap<IpAddr, Vec<Domain>>,
    tlsa: BTreeMap<String, Vec<Tlsa>>,
    cname: BTreeMap<String, Domain>,
    security: BTreeMap<String, Security>,
    known: BTreeSet<String>,
    failing: BTreeMap<String, String>,
    asked: u64,
}

impl FakeDns {
    /// Knows no name.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an MX record; `None` is the null MX.
    #[must_use]
    pub fn with_mx(self, domain: &Domain, preference: u16, host: Option<&Domain>) -> Self {
        self.change(domain, |script, name| script.mx.entry(name).or_default().push(Mx { preference, host: host.cloned() }))
    }

    /// Adds an address record.
    #[must_use]
    pub fn with_address(self, host: &Domain, address: IpAddr) -> Self {
        self.change(host, |script, name| script.addresses.entry(name).or_default().push(address))
    }

    /// Adds a TXT record.
    #[must_use]
    pub fn with_txt(self, name: &Domain, text: &str) -> Self {
        self.change(name, |script, name| script.txt.entry(name).or_default().push(text.as_bytes().to_vec()))
    }

    /// Adds the name of an address.
    #[must_use]
    pub fn with_ptr(self, address: IpAddr, name: &Domain) -> Self {
        self.script().ptr.entry(address).or_default().push(name.clone());
        self
    }

    /// Adds a TLSA record.
    #[must_use]
    pub fn with_tlsa(self, name: &Domain, record: Tlsa) -> Self {
        self.change(name, |script, name| script.tlsa.entry(name).or_default().push(record))
    }

    /// Makes `alias` another name of `host`, for addresses.
    #[must_use]
    pub fn with_cname(self, alias: &Domain, host: &Domain) -> Self {
        self.change(alias, |script, name| {
            script.cname.insert(name, host.clone());
        })
    }

    /// Says what DNSSEC finds of every answer about `name`. A bogus name is still answered to who does not check.
    #[must_use]
    pub fn with_security(self, name: &Domain, security: Security) -> Self {
        self.script().security.insert(name.to_string(), security);
        self
    }

    /// Replaces all MX records of a domain; returns those it had. None at all: it has no such record.
    pub fn replace_mx(&self, domain: &Domain, records: Vec<Mx>) -> Vec<Mx> {
        let mut script = self.script();
        script.known.insert(domain.to_string());
        let before = if records.is_empty() { script.mx.remove(domain.as_str()) } else { script.mx.insert(domain.to_string(), records) };
        before.unwrap_or_default()
    }

    /// From now on every question about `name` fails for the given reason.
    pub fn fail(&self, name: &Domain, reason: &str) {
        self.script().failing.insert(name.to_string(), reason.to_owned());
    }

    /// Questions about `name` are answered again.
    pub fn recover(&self, name: &Domain) {
        self.script().failing.remove(name.as_str());
    }

    /// Forgets every record of `name`; its existence too.
    pub fn forget(&self, name: &Domain) {
        let mut script = self.script();
        script.mx.remove(name.as_str());
        script.addresses.remove(name.as_str());
        script.txt.remove(name.as_str());
        script.tlsa.remove(name.as_str());
        script.cname.remove(name.as_str());
        script.known.remove(name.as_str());
    }

    /// How many questions were asked.
    pub fn asked(&self) -> u64 {
        self.script().asked
    }

    fn change(self, name: &Domain, change: impl FnOnce(&mut Script, String)) -> Self {
        let mut script = self.script();
        script.known.insert(name.to_string());
        change(&mut script, name.to_string());
        drop(script);
        self
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn checked<T>(&self, name: &Domain, found: Result<T, DnsError>) -> Checked<T> {
        match self.script().security.get(name.as_str()).copied().unwrap_or(Security::Insecure) {
            Security::Bogus => Checked::bogus("the script says that it is bogus"),
            security => Checked { found, security },
        }
    }

    /// Follows one CNAME.
    fn canonical(&self, host: &Domain) -> Option<Domain> {
        self.script().cname.get(host.as_str()).cloned()
    }

    fn answer<T: Clone>(&self, name: &Domain, records: impl FnOnce(&Script) -> &BTreeMap<String, Vec<T>>) -> Result<Vec<T>, DnsError> {
        let mut script = self.script();
        script.asked += 1;
        if let Some(reason) = script.failing.get(name.as_str()) {
            return Err(DnsError::Temporary(reason.clone()));
        }
        let missing = if script.known.contains(name.as_str()) { DnsError::NoData } else { DnsError::NotFound };
        records(&script).get(name.as_str()).cloned().ok_or(missing)
    }
}

impl Dns for FakeDns {
    fn mx<'a>(&'a self, domain: &'a Domain) -> Lookup<'a, Vec<Mx>> {
        Box::pin(async move {
            let mut found = self.answer(domain, |script| &script.mx)?;
            found.sort();
            Ok(found)
        })
    }

    fn addresses<'a>(&'a self, host: &'a Domain) -> Lookup<'a, Vec<IpAddr>> {
        Box::pin(async move {
            match host.ip() {
                Some(address) => Ok(vec![address]),
                None => self.answer(&self.canonical(host).unwrap_or_else(|| host.clone()), |script| &script.addresses),
            }
        })
    }

    fn mx_checked<'a>(&'a self, domain: &'a Domain) -> Checking<'a, Vec<Mx>> {
        Box::pin(async move { self.checked(domain, self.mx(domain).await) })
    }

    fn addresses_checked<'a>(&'a self, host: &'a Domain) -> Checking<'a, Host> {
        Box::pin(async move {
            let canonical = self.canonical(host);
            let found = self.addresses(host).await.map(|addresses| Host { addresses, canonical: canonical.clone() });
            let at_alias = self.checked(host, found);
            match canonical.map(|canonical| self.checked(&canonical, Ok(()))) {
                Some(Checked { security: Security::Bogus, .. }) => Checked::bogus("the script says that it is bogus"),
                Some(end) => Checked { security: end.security.min(at_alias.security), ..at_alias },
                None => at_alias,
            }
        })
    }

    fn tlsa<'a>(&'a self, name: &'a Domain) -> Checking<'a, Vec<Tlsa>> {
        Box::pin(async move { self.checked(name, self.answer(name, |script| &script.tlsa)) })
    }

    fn txt<'a>(&'a self, name: &'a Domain) -> Lookup<'a, Vec<Vec<u8>>> {
        Box::pin(async move { self.answer(name, |script| &script.txt) })
    }

    fn ptr(&self, address: IpAddr) -> Lookup<'_, Vec<Domain>> {
        Box::pin(async move {
            let mut script = self.script();
            script.asked += 1;
            script.ptr.get(&address.to_canonical()).cloned().ok_or(DnsError::NotFound)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn domain(name: &str) -> Domain {
        Domain::parse(name).unwrap()
    }

    #[tokio::test]
    async fn answers_what_the_script_says() {
        let (example, mx1, mx2) = (domain("example.org"), domain("mx1.example.org"), domain("mx2.example.org"));
        let dns =
            FakeDns::new().with_mx(&example, 20, Some(&mx2)).with_mx(&example, 10, Some(&mx1)).with_mx(&domain("null.example"), 0, None);
        let hosts: Vec<_> = dns.mx(&example).await.unwrap().into_iter().map(|mx| mx.host.unwrap()).collect();
        assert_eq!(hosts, [mx1, mx2]);
        assert_eq!(dns.mx(&domain("null.example")).await.unwrap(), [Mx { preference: 0, host: None }]);
        assert_eq!(dns.addresses(&example).await, Err(DnsError::NoData));
        assert_eq!(dns.addresses(&domain("nowhere.example")).await, Err(DnsError::NotFound));
        assert_eq!(dns.addresses(&domain("[192.0.2.1]")).await.unwrap(), ["192.0.2.1".parse::<IpAddr>().unwrap()]);
        let before = dns.replace_mx(&example, vec![Mx { preference: 5, host: None }]);
        assert_eq!((before.len(), dns.mx(&example).await.unwrap().len()), (2, 1));
        assert_eq!(dns.replace_mx(&example, Vec::new()).len(), 1);
        assert_eq!(dns.mx(&example).await, Err(DnsError::NoData));
        dns.fail(&example, "SERVFAIL");
        assert_eq!(dns.mx(&example).await, Err(DnsError::Temporary("SERVFAIL".to_owned())));
        dns.recover(&example);
        dns.forget(&example);
        assert_eq!(dns.mx(&example).await, Err(DnsError::NotFound));
    }
}
