//! Does DNS say of a domain of ours what its mail needs? Mail exchangers, the server's addresses and their names, SPF, DKIM,
//! DMARC, and what there is of TLSA, MTA-STS and TLS reports.
//!
//! Not what mail to the domain would meet: `postrider check` connects; this asks DNS only, as others would.
//!
//! Invariant: no answer is never good, and never a reason to publish something.

use mail::lookup::Recorded;
use mail::{Domain, Timestamp};
use mailauth::dmarc::discovery::{self, Discovery};
use mailauth::dmarc::{self, reporting};
use mailauth::dns::{Missing, Open, Step};
use mailauth::spf::{self, Session, SpfResult};
use mta::receive::ask_all;
use net::resolve::{Dns, Tlsa};
use net::{DnsError, Mx};
use serde::Serialize;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// How long one check may wait for DNS. Our own bound.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// How it is about a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// As it should be.
    Good,
    /// It does no harm, but could be better.
    Note,
    /// There is none.
    Missing,
    /// There is another one.
    Different,
    /// DNS gave no answer.
    Unknown,
}

impl State {
    /// Whether mail suffers from it.
    pub const fn is_problem(self) -> bool {
        matches!(self, Self::Missing | Self::Different | Self::Unknown)
    }
}

/// What was found of one record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Its name, without the dot at the end.
    pub name: String,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// How it is.
    pub state: State,
    /// In words.
    pub words: String,
    /// What to publish instead, in the words of a zone file.
    pub publish: Option<String>,
}

/// A signing key as it should stand in DNS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// The name of its record.
    pub name: String,
    /// What it says.
    pub record: String,
    /// The line of a zone file.
    pub line: String,
    /// Mail is signed with it; otherwise it waits for its record.
    pub is_signing: bool,
}

impl Key {
    /// Reads the line of a zone file that `dkim list` prints.
    pub fn read(line: &str, is_signing: bool) -> Option<Self> {
        let (name, data) = line.split_once(" IN TXT ")?;
        let record = data.split('"').skip(1).step_by(2).collect();
        Some(Self { name: name.trim_end_matches('.').to_owned(), record, line: line.to_owned(), is_signing })
    }
}

/// What is compared with DNS.
pub struct Wanted {
    /// The domain.
    pub domain: Domain,
    /// The server's name.
    pub hostname: Domain,
    /// Other names of it.
    pub own_names: Vec<Domain>,
    /// Its signing keys that sign or wait.
    pub keys: Vec<Key>,
    /// Addresses that mail goes out from beside those of `hostname`, each with its name.
    pub sources: Vec<(IpAddr, Domain)>,
    /// The record of our certificate.
    pub tlsa: Option<Tlsa>,
    /// The id of the policy that we serve; none: we serve none.
    pub policy_id: Option<String>,
    /// Somebody here gets mail for postmaster.
    pub has_postmaster: bool,
    /// How organizations are found.
    pub discovery: Discovery,
    /// When this is.
    pub now: Timestamp,
}

/// Asks DNS.
pub struct Check<'a> {
    /// What there should be.
    pub wanted: &'a Wanted,
    /// Who is asked.
    pub dns: Arc<dyn Dns>,
}

impl Check<'_> {
    /// Everything that was found, in the order in which it is best mended.
    pub async fn run(&self) -> Vec<Finding> {
        let mut found = vec![self.mail_exchangers().await];
        let mut senders = self.addresses(&mut found).await;
        senders.extend(self.wanted.sources.iter().cloned());
        for (address, name) in &senders {
            found.push(self.pointer(*address, name).await);
        }
        found.push(self.spf(&senders).await);
        found.extend(self.spf_of_name(&senders).await);
        for key in &self.wanted.keys {
            found.push(self.key(key).await);
        }
        self.dmarc(&mut found).await;
        found.extend(self.tlsa().await);
        found.extend(self.mta_sts().await);
        found.push(self.tls_reports().await);
        found.push(self.postmaster());
        found
    }

    /// The one thing that is not DNS's: where the records that are printed send reports must be somebody.
    fn postmaster(&self) -> Finding {
        let name = format!("postmaster@{}", self.wanted.domain);
        let (state, words) = if self.wanted.has_postmaster {
            (State::Good, "somebody here gets its mail".to_owned())
        } else {
            (State::Missing, format!("nobody gets its mail, nor the reports that are sent there: postrider alias add {name} USER"))
        };
        Finding { name, kind: "address", state, words, publish: None }
    }

    fn is_own(&self, host: &Domain) -> bool {
        *host == self.wanted.hostname || self.wanted.own_names.contains(host)
    }

    async fn mail_exchangers(&self) -> Finding {
        let Wanted { domain, hostname, .. } = self.wanted;
        let finding = |state, words: String| Finding {
            name: domain.to_string(),
            kind: "MX",
            state,
            words,
            publish: matches!(state, State::Missing | State::Different).then(|| format!("{domain}. MX 10 {hostname}.")),
        };
        let records: Vec<Mx> = match self.dns.mx(domain).await {
            Ok(records) => records,
            Err(DnsError::Temporary(why)) => return finding(State::Unknown, format!("no answer: {why}")),
            Err(_) => return finding(State::Missing, "nobody is named who takes its mail".to_owned()),
        };
        let hosts: Vec<String> = records.iter().filter_map(|mx| Some(format!("{} {}", mx.preference, mx.host.as_ref()?))).collect();
        let first = records.iter().map(|mx| mx.preference).min();
        let own = records.iter().find(|mx| mx.host.as_ref().is_some_and(|host| self.is_own(host)));
        match own {
            Some(own) if Some(own.preference) == first => finding(State::Good, hosts.join(", ")),
            Some(_) => finding(State::Note, format!("others come before this server: {}", hosts.join(", "))),
            None if hosts.is_empty() => finding(State::Different, "it says that the domain takes no mail".to_owned()),
            None => finding(State::Different, format!("this server is not among {}", hosts.join(", "))),
        }
    }

    /// The addresses of the server's name.
    async fn addresses(&self, found: &mut Vec<Finding>) -> Vec<(IpAddr, Domain)> {
        let hostname = &self.wanted.hostname;
        let finding = |state, words: String| Finding { name: hostname.to_string(), kind: "A/AAAA", state, words, publish: None };
        match self.dns.addresses(hostname).await {
            Ok(addresses) => {
                let shown: Vec<String> = addresses.iter().map(ToString::to_string).collect();
                found.push(finding(State::Good, shown.join(", ")));
                addresses.into_iter().map(|address| (address, hostname.clone())).collect()
            }
            Err(DnsError::Temporary(why)) => {
                found.push(finding(State::Unknown, format!("no answer: {why}")));
                Vec::new()
            }
            Err(_) => {
                let publish = Some(format!("{hostname}. A (this server's address)"));
                found.push(Finding { publish, ..finding(State::Missing, "the server's name has no address".to_owned()) });
                Vec::new()
            }
        }
    }

    async fn pointer(&self, address: IpAddr, name: &Domain) -> Finding {
        let finding = |state, words: String| Finding {
            name: address.to_string(),
            kind: "PTR",
            state,
            words,
            publish: matches!(state, State::Missing | State::Different)
                .then(|| format!("for {address}: PTR {name}. (at whoever gave you the address)")),
        };
        if is_inside(address) {
            return finding(State::Note, "not an address of the internet: nobody elsewhere sees it".to_owned());
        }
        let names = match self.dns.ptr(address).await {
            Ok(names) => names,
            Err(DnsError::Temporary(why)) => return finding(State::Unknown, format!("no answer: {why}")),
            Err(_) => return finding(State::Missing, "the address has no name: large providers refuse mail from it".to_owned()),
        };
        let shown: Vec<String> = names.iter().map(ToString::to_string).collect();
        let is_right = names.contains(name);
        finding(if is_right { State::Good } else { State::Different }, shown.join(", "))
    }

    /// Runs a check of `mailauth` to its end.
    async fn decide<T>(&self, check: impl Fn(&mut mailauth::dns::Dns<'_>) -> Result<T, Open>) -> T {
        let deadline = tokio::time::Instant::now() + WAIT_MAX;
        let mut recorded = Recorded::default();
        loop {
            match mailauth::dns::Dns::run(&recorded, &check) {
                Step::Done(outcome) => return outcome,
                Step::Need(questions) => ask_all(&self.dns, questions, deadline, &mut recorded).await,
            }
        }
    }

    /// Whether SPF lets an address send with a reverse-path; an empty one is that of reports.
    async fn spf_from(&self, address: IpAddr, helo: &Domain, reverse_path: &str) -> spf::Spf {
        let session = Session { peer: address, helo: helo.as_str(), receiver: helo.as_str(), now: self.wanted.now };
        self.decide(|dns| spf::check_mail_from(dns, &session, reverse_path, &spf::Limits::default())).await
    }

    async fn spf(&self, senders: &[(IpAddr, Domain)]) -> Finding {
        let domain = &self.wanted.domain;
        let finding = |state, words: String| Finding {
            name: domain.to_string(),
            kind: "TXT (SPF)",
            state,
            words,
            publish: matches!(state, State::Missing | State::Different).then(|| format!("{domain}. TXT \"v=spf1 mx -all\"")),
        };
        // Without an address of our own any will do to find out whether there is a policy.
        let (some, helo) = senders.first().cloned().unwrap_or_else(|| (IpAddr::from([192, 0, 2, 1]), self.wanted.hostname.clone()));
        let sender = format!("postmaster@{domain}");
        let first = self.spf_from(some, &helo, &sender).await;
        match (first.result, first.problem) {
            (SpfResult::None, _) => return finding(State::Missing, "nobody is named who sends its mail".to_owned()),
            (SpfResult::TempError, problem) => return finding(State::Unknown, problem.unwrap_or_default()),
            (SpfResult::PermError, problem) => return finding(State::Different, problem.unwrap_or_default()),
            _ => {}
        }
        let mut not = Vec::new();
        for (address, helo) in senders {
            let result = self.spf_from(*address, helo, &sender).await.result;
            not.extend((result != SpfResult::Pass).then(|| format!("{address} ({result})")));
        }
        match not.as_slice() {
            [] if senders.is_empty() => finding(State::Note, "there is one; the server has no address to try it with".to_owned()),
            [] => finding(State::Good, "mail from all addresses of this server passes".to_owned()),
            not => finding(State::Different, format!("mail does not pass from {}", not.join(", "))),
        }
    }

    /// SPF of the names that the server calls itself, where that is not the domain: reports have no other sender.
    async fn spf_of_name(&self, senders: &[(IpAddr, Domain)]) -> Vec<Finding> {
        let mut found: Vec<Finding> = Vec::new();
        for (address, helo) in senders.iter().filter(|(_, helo)| *helo != self.wanted.domain) {
            let spf = self.spf_from(*address, helo, "").await;
            let (state, words) = match spf.result {
                SpfResult::Pass => (State::Good, "reports from this server pass".to_owned()),
                SpfResult::None => (State::Note, "none: reports from this server pass by their signature only".to_owned()),
                SpfResult::TempError => (State::Unknown, spf.problem.unwrap_or_default()),
                result => (State::Different, format!("reports from {address} do not pass ({result})")),
            };
            let publish = (state != State::Good && state != State::Unknown).then(|| format!("{helo}. TXT \"v=spf1 a -all\""));
            let finding = Finding { name: helo.to_string(), kind: "TXT (SPF)", state, words, publish };
            match found.iter_mut().find(|known| known.name == finding.name) {
                Some(known) if known.state.is_problem() || known.state == finding.state => {}
                Some(known) => *known = finding,
                None => found.push(finding),
            }
        }
        found
    }

    async fn key(&self, key: &Key) -> Finding {
        let finding = |state, words: &str| Finding {
            name: key.name.clone(),
            kind: "TXT (DKIM)",
            state,
            words: words.to_owned(),
            publish: (!matches!(state, State::Good | State::Unknown)).then(|| key.line.clone()),
        };
        let records = match self.texts(&key.name).await {
            Ok(records) => records,
            Err(why) => return finding(State::Unknown, &format!("no answer: {why}")),
        };
        let is_there = records.iter().any(|record| is_same(record, &key.record));
        match (is_there, records.is_empty(), key.is_signing) {
            (true, _, true) => finding(State::Good, "the key that mail is signed with"),
            (true, _, false) => finding(State::Good, "the key that waits: `dkim activate` begins to sign with it"),
            (false, _, false) => finding(State::Note, "the key that waits has no such record yet"),
            (false, true, true) => finding(State::Missing, "mail is signed with this key, and nobody can tell"),
            (false, false, true) => finding(State::Different, "another key stands there: signatures of mail fail"),
        }
    }

    /// The TXT records of a name; none of a name that is not there.
    async fn texts(&self, name: &str) -> Result<Vec<String>, String> {
        match self.dns.txt_at(name).await {
            Ok(records) => Ok(records.iter().map(|record| String::from_utf8_lossy(record).into_owned()).collect()),
            Err(DnsError::NotFound | DnsError::NoData) => Ok(Vec::new()),
            Err(DnsError::Temporary(why)) => Err(why),
        }
    }

    async fn dmarc(&self, found: &mut Vec<Finding>) {
        let Wanted { domain, discovery, .. } = self.wanted;
        let finding = |state, words: String| Finding {
            name: format!("_dmarc.{domain}"),
            kind: "TXT (DMARC)",
            state,
            words,
            publish: matches!(state, State::Missing | State::Different)
                .then(|| format!("_dmarc.{domain}. TXT \"v=DMARC1; p=none; rua=mailto:postmaster@{domain}\"")),
        };
        let policy = self.decide(|dns| discovery::policy(dns, domain.as_str(), *discovery)).await;
        let policy = match policy {
            Err(Missing::Failed | Missing::Void) => return found.push(finding(State::Unknown, "no answer".to_owned())),
            Ok(None) => {
                let several = self.texts(&format!("_dmarc.{domain}")).await.is_ok_and(|records| records.len() > 1);
                let words = if several {
                    "several records: they count as none"
                } else {
                    "others are not told what to do with mail that is not yours"
                };
                return found.push(finding(if several { State::Different } else { State::Missing }, words.to_owned()));
            }
            Ok(Some(policy)) if !policy.record.applies => {
                return found.push(finding(State::Different, format!("the policy at {} cannot be read", policy.domain)));
            }
            Ok(Some(policy)) => policy,
        };
        let record = &policy.record;
        let is_own = policy.domain == domain.as_str();
        let asked = if is_own { record.policy } else { record.subdomain_policy.unwrap_or(record.policy) };
        let of = if is_own { String::new() } else { format!(", from {}", policy.domain) };
        let (state, more) = match asked {
            _ if record.reports_to.is_empty() => (State::Note, "; nobody gets reports (rua=)"),
            dmarc::Policy::None => (State::Note, ": only watched; `report dmarc` says when more is safe"),
            _ if record.testing => (State::Note, "; on trial (t=y)"),
            _ => (State::Good, ""),
        };
        found.push(finding(state, format!("p={asked}{of}{more}")));
        let wanted = &record.reports_to;
        let allowed = self.decide(|dns| reporting::destinations(dns, &policy.domain, wanted, *discovery)).await;
        let Ok(allowed) = allowed else { return };
        for destination in wanted.iter().filter_map(|uri| reporting::Destination::parse(uri)) {
            let host = destination.address.domain().clone();
            if !allowed.iter().any(|one| one.address.domain() == &host) {
                let name = format!("{}._report._dmarc.{host}", policy.domain);
                let publish = Some(format!("{name}. TXT \"v=DMARC1\""));
                let words = format!("{host} does not say that it takes reports for {}: none are sent there", policy.domain);
                found.push(Finding { name, kind: "TXT (DMARC)", state: State::Missing, words, publish });
            }
        }
    }

    /// Only if there is one: without DNSSEC it is of no use.
    async fn tlsa(&self) -> Option<Finding> {
        let own = self.wanted.tlsa.as_ref()?;
        let name = format!("_25._tcp.{}", self.wanted.hostname);
        let records = self.dns.tlsa(&Domain::parse(&name).ok()?).await.found.ok().filter(|records| !records.is_empty())?;
        let (state, words) = if records.contains(own) {
            (State::Good, "fits the certificate of this server")
        } else {
            (State::Different, "none of them is that of this server's certificate: who checks them (DANE) does not deliver")
        };
        let publish = (state == State::Different).then(|| format!("{name}. TLSA {own}"));
        Some(Finding { name, kind: "TLSA", state, words: words.to_owned(), publish })
    }

    /// Only if there is a record or a policy.
    async fn mta_sts(&self) -> Option<Finding> {
        let name = format!("_mta-sts.{}", self.wanted.domain);
        let finding = |state, words: &str, publish| {
            Some(Finding { name: name.clone(), kind: "TXT (MTA-STS)", state, words: words.to_owned(), publish })
        };
        let records = match self.texts(&name).await {
            Ok(records) => records.into_iter().filter(|record| record.starts_with("v=STSv1")).collect::<Vec<_>>(),
            Err(why) => return finding(State::Unknown, &format!("no answer: {why}"), None),
        };
        let Some(id) = &self.wanted.policy_id else {
            let is_there = !records.is_empty();
            return is_there.then(|| finding(State::Note, "this server serves no policy (no mta-sts listener)", None)).flatten();
        };
        let publish = Some(format!("{name}. TXT \"v=STSv1; id={id}\""));
        match records.as_slice() {
            [] => finding(State::Missing, "this server serves a policy that nobody is told of", publish),
            [record] if record.contains(id.as_str()) => finding(State::Good, "the id of the policy that is served", None),
            _ => finding(State::Different, "the id is not that of the policy that is served: others go on with the old one", publish),
        }
    }

    async fn tls_reports(&self) -> Finding {
        let domain = &self.wanted.domain;
        let name = format!("_smtp._tls.{domain}");
        let (state, words) = match self.texts(&name).await {
            Ok(records) if records.iter().any(|record| record.starts_with("v=TLSRPTv1")) => (State::Good, records.join(" ")),
            Ok(_) => (State::Note, "nobody gets reports of TLS".to_owned()),
            Err(why) => (State::Unknown, format!("no answer: {why}")),
        };
        let publish = (state == State::Note).then(|| format!("{name}. TXT \"v=TLSRPTv1; rua=mailto:postmaster@{domain}\""));
        Finding { name, kind: "TXT (TLS reports)", state, words, publish }
    }
}

/// Whether two records say the same, however they are spaced.
pub(crate) fn is_same(found: &str, wanted: &str) -> bool {
    let bare = |text: &str| text.chars().filter(|c| !c.is_whitespace()).collect::<String>();
    bare(found).trim_end_matches(';') == bare(wanted).trim_end_matches(';')
}

/// Whether an address means something inside of a network only.
fn is_inside(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_private() || v4.is_link_local() || v4.is_unspecified(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local() || v6.is_unspecified(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use net::FakeDns;

    fn domain(text: &str) -> Domain {
        Domain::parse(text).unwrap()
    }

    fn wanted() -> Wanted {
        let key = |selector: &str, is_signing| {
            Key::read(&format!("{selector}._domainkey.a.example. IN TXT \"v=DKIM1; k=rsa; \" \"p=AAAA\""), is_signing)
        };
        Wanted {
            domain: domain("a.example"),
            hostname: domain("mx.a.example"),
            own_names: Vec::new(),
            keys: [key("s", true), key("w", false)].into_iter().flatten().collect(),
            sources: Vec::new(),
            tlsa: None,
            policy_id: Some("17".to_owned()),
            has_postmaster: true,
            discovery: Discovery::TreeWalk,
            now: Timestamp(0),
        }
    }

    /// Everything is as it should be.
    fn dns() -> FakeDns {
        FakeDns::new()
            .with_mx(&domain("a.example"), 10, Some(&domain("mx.a.example")))
            .with_address(&domain("mx.a.example"), "192.0.2.25".parse().unwrap())
            .with_ptr("192.0.2.25".parse().unwrap(), &domain("mx.a.example"))
            .with_txt(&domain("a.example"), "v=spf1 mx -all")
            .with_txt(&domain("mx.a.example"), "v=spf1 a -all")
            .with_txt(&domain("s._domainkey.a.example"), "v=DKIM1;k=rsa;p=AA AA;")
            .with_txt(&domain("w._domainkey.a.example"), "v=DKIM1; k=rsa; p=AAAA")
            .with_txt(&domain("_dmarc.a.example"), "v=DMARC1; p=reject; rua=mailto:postmaster@a.example")
            .with_txt(&domain("_mta-sts.a.example"), "v=STSv1; id=17")
            .with_txt(&domain("_smtp._tls.a.example"), "v=TLSRPTv1; rua=mailto:postmaster@a.example")
    }

    /// What is not good: `NAME state`, and what is to be published.
    async fn check(dns: FakeDns, wanted: &Wanted) -> Vec<String> {
        let found = Check { wanted, dns: Arc::new(dns) }.run().await;
        let is_mended = |finding: &Finding| {
            finding.kind == "address" || finding.publish.is_some() || !matches!(finding.state, State::Missing | State::Different)
        };
        assert!(found.iter().all(is_mended), "{found:?}");
        let bad = found.into_iter().filter(|finding| finding.state != State::Good);
        bad.map(|finding| format!("{} {:?}: {}", finding.name, finding.state, finding.words)).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_right_is_found_right() {
        assert_eq!(check(dns(), &wanted()).await, [""; 0]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_missing_is_told() {
        let found = check(FakeDns::new(), &Wanted { has_postmaster: false, ..wanted() }).await;
        let states: Vec<_> = found.iter().map(|line| line.split(':').next().unwrap()).collect();
        assert_eq!(
            states,
            [
                "a.example Missing",
                "mx.a.example Missing",
                "a.example Missing",
                "s._domainkey.a.example Missing",
                "w._domainkey.a.example Note",
                "_dmarc.a.example Missing",
                "_mta-sts.a.example Missing",
                "_smtp._tls.a.example Note",
                "postmaster@a.example Missing"
            ]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_different_is_told() {
        let other = |name: &str, text: &str| {
            let zone = dns();
            zone.forget(&domain(name));
            zone.with_txt(&domain(name), text)
        };
        for (zone, name, state, words) in [
            (other("a.example", "v=spf1 -all"), "a.example", State::Different, "192.0.2.25 (fail)"),
            (other("a.example", "v=spf1 ip4:192.0.2.25 ip4:nonsense -all"), "a.example", State::Different, "policy of a.example"),
            (other("s._domainkey.a.example", "v=DKIM1; k=rsa; p=BBBB"), "s._domainkey.a.example", State::Different, "another key"),
            (other("_dmarc.a.example", "v=DMARC1; p=rejct"), "_dmarc.a.example", State::Different, "cannot be read"),
            (other("_dmarc.a.example", "v=DMARC1; p=none; rua=mailto:d@a.example"), "_dmarc.a.example", State::Note, "only watched"),
            (other("_dmarc.a.example", "v=DMARC1; p=reject"), "_dmarc.a.example", State::Note, "nobody gets reports"),
            (
                other("_dmarc.a.example", "v=DMARC1; p=reject; rua=mailto:d@b.test"),
                "a.example._report._dmarc.b.test",
                State::Missing,
                "b.test does not say",
            ),
            (other("_mta-sts.a.example", "v=STSv1; id=16"), "_mta-sts.a.example", State::Different, "the old one"),
        ] {
            let found = Check { wanted: &wanted(), dns: Arc::new(zone) }.run().await;
            let one = found.iter().find(|finding| finding.name == name && finding.words.contains(words));
            assert_eq!(one.map(|finding| finding.state), Some(state), "{name} {words}: {found:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn no_answer_is_not_good_and_asks_for_nothing() {
        let zone = dns();
        for name in ["a.example", "_dmarc.a.example", "s._domainkey.a.example", "_mta-sts.a.example", "_smtp._tls.a.example"] {
            zone.fail(&domain(name), "SERVFAIL");
        }
        let found = Check { wanted: &wanted(), dns: Arc::new(zone) }.run().await;
        for name in ["_dmarc.a.example", "s._domainkey.a.example", "_mta-sts.a.example", "_smtp._tls.a.example"] {
            let one = found.iter().find(|finding| finding.name == name).unwrap();
            assert_eq!((one.state, &one.publish), (State::Unknown, &None), "{name}");
        }
        assert!(found.iter().filter(|finding| finding.name == "a.example").all(|finding| finding.state == State::Unknown), "{found:?}");
    }
}
