//! The whole inspection of a message that arrives: everything above, in one step function.
//!
//! ```text
//! Reader::new(header) ─ body chunks ─▶ Evidence ─ step(answers) … ─▶ Outcome
//! ```
//!
//! Not a verdict: what is done about a message that fails is the mail path's decision.
//!
//! Invariant: signatures are verified once all keys are known, not once a round.

use crate::arc::{Arc, HashedChain, PendingChain};
use crate::dkim::Dkim;
use crate::dkim::signature::SignatureKind;
use crate::dkim::verify::{Bodies, Hashed, Pending};
use crate::dmarc::{self, Discovery, Dmarc, Given};
use crate::dns::{Dns, Open, Recorded, Step, name_of};
use crate::header::Header;
use crate::iprev::{self, Iprev};
use crate::limits::Limits;
use crate::spf::{self, Session, Spf};
use aws_lc_rs::digest;
use mail::header;
use serde::{Deserialize, Serialize};

/// How messages are inspected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Settings {
    /// How organizational domains are found.
    pub discovery: Discovery,
    /// What one message may cost.
    pub limits: Limits,
}

/// Everything that was found out about a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// The peer's address and its name.
    pub iprev: Iprev,
    /// The peer's name for itself.
    pub helo: Spf,
    /// The reverse-path.
    pub mail_from: Spf,
    /// The signatures that were verified, from the top.
    pub dkim: Vec<Dkim>,
    /// How many were passed over.
    pub dkim_passed_over: usize,
    /// The chain of servers before us.
    pub arc: Arc,
    /// The author's domain.
    pub dmarc: Dmarc,
}

/// Takes a message: its header at once, its body in chunks.
pub struct Reader {
    signatures: Vec<Pending>,
    passed_over: usize,
    chain: PendingChain,
    bodies: Bodies,
    authors: Vec<String>,
    sample: u8,
}

/// What a message brings to its inspection. Kept (in whatever form serde gives it), it is inspected again without the
/// message, with the same outcome.
#[derive(Serialize, Deserialize)]
pub struct Evidence {
    signatures: Vec<Hashed>,
    passed_over: usize,
    chain: HashedChain,
    authors: Vec<String>,
    sample: u8,
}

impl Reader {
    /// Reads a header block, or a message up to its first empty line.
    pub fn new(block: &[u8], limits: &Limits) -> Self {
        let header = Header::new(block);
        let signatures: Vec<Pending> = header
            .named("DKIM-Signature")
            .take(limits.signatures_max)
            .map(|field| Pending::new(&header, field, SignatureKind::Dkim, limits))
            .collect();
        let passed_over = header.named("DKIM-Signature").count() - signatures.len();
        let chain = PendingChain::new(&header, limits);
        let mut bodies = Bodies::default();
        for signature in &signatures {
            bodies.want(signature.body_form());
        }
        chain.want(&mut bodies);
        Self { signatures, passed_over, chain, bodies, authors: authors(&header, limits), sample: sample(block) }
    }

    /// The next octets of the body.
    pub fn body(&mut self, chunk: &[u8]) {
        self.bodies.update(chunk);
    }

    /// The body is over.
    pub fn finish(self) -> Evidence {
        let bodies = self.bodies.finish();
        Evidence {
            signatures: self.signatures.into_iter().map(|signature| signature.with_body(&bodies)).collect(),
            passed_over: self.passed_over,
            chain: self.chain.with_body(&bodies),
            authors: self.authors,
            sample: self.sample,
        }
    }
}

/// Everything that can be asked before the message comes: the peer's name, SPF for both names, and the policies of the
/// reverse-path's domain, which is most often the author's.
pub fn ahead(session: &Session<'_>, reverse_path: &str, settings: &Settings, recorded: &Recorded) -> Step<()> {
    Dns::run(recorded, |dns| {
        let limits = &settings.limits;
        let sender = sender_domain(reverse_path);
        let domains: Vec<&str> = sender.iter().map(String::as_str).collect();
        let asked = [
            dmarc::prefetch(dns, &domains, settings.discovery),
            iprev::check(dns, session.peer, limits.spf.ptr_names_max).map(drop),
            spf::check_helo(dns, session, &limits.spf).map(drop),
            spf::check_mail_from(dns, session, reverse_path, &limits.spf).map(drop),
        ];
        asked.into_iter().collect()
    })
}

fn sender_domain(reverse_path: &str) -> Option<String> {
    reverse_path.rsplit_once('@').and_then(|(_, domain)| name_of(domain))
}

/// The domains of the addresses in all `From` fields, each once, one more than the limit at most.
fn authors(header: &Header<'_>, limits: &Limits) -> Vec<String> {
    let mut domains = Vec::new();
    for field in header.named("From") {
        for address in header::addresses(&header::unfold(field.value), 100) {
            let Some(domain) = address.host.as_deref().and_then(name_of) else { continue };
            if !domains.contains(&domain) && domains.len() <= limits.author_domains_max {
                domains.push(domain);
            }
        }
    }
    domains
}

/// 0 to 99, the same for the same header.
fn sample(block: &[u8]) -> u8 {
    digest::digest(&digest::SHA256, block).as_ref().first().map_or(0, |octet| octet % 100)
}

impl Evidence {
    /// A message as a whole.
    pub fn of(message: &[u8], limits: &Limits) -> Self {
        let (block, body) = message.split_at(header::body_start(message));
        let mut reader = Reader::new(block, limits);
        reader.body(body);
        reader.finish()
    }

    /// The domains in `From`.
    pub fn authors(&self) -> &[String] {
        &self.authors
    }

    /// Goes on with the answers there are: to the outcome, or to the next questions.
    pub fn step(&self, session: &Session<'_>, reverse_path: &str, settings: &Settings, recorded: &Recorded) -> Step<Outcome> {
        Dns::run(recorded, |dns| self.inspect(dns, session, reverse_path, settings))
    }

    fn inspect(&self, dns: &mut Dns<'_>, session: &Session<'_>, reverse_path: &str, settings: &Settings) -> Result<Outcome, Open> {
        let limits = &settings.limits;
        // Each notes its open questions, so that one round asks all of them.
        let keys = self.ask_keys(dns);
        let policies = self.ask_policies(dns, reverse_path, settings.discovery);
        let iprev = iprev::check(dns, session.peer, limits.spf.ptr_names_max);
        let helo = spf::check_helo(dns, session, &limits.spf);
        let mail_from = spf::check_mail_from(dns, session, reverse_path, &limits.spf);
        let (iprev, helo, mail_from) = (iprev?, helo?, mail_from?);
        keys?;
        policies?;
        let dkim = self.signatures.iter().map(|signature| signature.judge(dns, session.now, limits)).collect::<Result<Vec<_>, Open>>()?;
        let arc = self.chain.judge(dns, session.now, limits)?;
        let given = Given {
            authors: &self.authors,
            spf: &mail_from,
            dkim: &dkim,
            discovery: settings.discovery,
            sample: self.sample,
            author_domains_max: limits.author_domains_max,
        };
        let dmarc = dmarc::check(dns, &given)?;
        Ok(Outcome { iprev, helo, mail_from, dkim, dkim_passed_over: self.passed_over, arc, dmarc })
    }

    fn ask_keys(&self, dns: &mut Dns<'_>) -> Result<(), Open> {
        let names = self.signatures.iter().filter_map(Hashed::key_name).chain(self.chain.key_names());
        let asked: Vec<_> = names.map(|name| dns.txt(&name).map(drop)).collect();
        asked.into_iter().collect()
    }

    fn ask_policies(&self, dns: &mut Dns<'_>, reverse_path: &str, discovery: Discovery) -> Result<(), Open> {
        let sender = sender_domain(reverse_path);
        let domains: Vec<&str> = self.authors.iter().take(4).chain(&sender).map(String::as_str).collect();
        dmarc::prefetch(dns, &domains, discovery)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arc::{self, ArcResult};
    use crate::dkim::{self, Algorithm, PrivateKey, Signer};
    use crate::dns::{Answer, Question};
    use mail::Timestamp;
    use std::time::Instant;

    const SESSION: Session<'static> = Session {
        peer: std::net::IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)),
        helo: "mx.example.org",
        receiver: "here.example",
        now: Timestamp::from_seconds(1_700_000_000),
    };

    /// `name` and TXT record; `!` stands for a failure of DNS. Everything else does not exist.
    fn inspect(message: &str, reverse_path: &str, zone: &[(&str, &str)]) -> Outcome {
        let evidence = Evidence::of(message.as_bytes(), &Limits::default());
        let mut recorded = Recorded::default();
        loop {
            match evidence.step(&SESSION, reverse_path, &Settings::default(), &recorded) {
                Step::Done(outcome) => return outcome,
                Step::Need(questions) => questions.into_iter().for_each(|question| {
                    let found = zone.iter().find(|(name, _)| question == Question::Txt((*name).to_owned()));
                    let answer = match found {
                        Some((_, "!")) => Answer::Failed("SERVFAIL".to_owned()),
                        Some((_, text)) => Answer::Txt(vec![text.as_bytes().to_vec()]),
                        None => Answer::NoName,
                    };
                    recorded.put(question, answer);
                }),
            }
        }
    }

    #[test]
    fn authors_domains_are_stood_for_or_not() {
        let reject = ("_dmarc.example.org", "v=DMARC1; p=reject; sp=quarantine; np=none");
        let passes = ("example.org", "v=spf1 ip4:192.0.2.1 -all");
        let check = |from: &str, zone: &[(&str, &str)], want: &str| {
            let dmarc = inspect(&format!("From: {from}\r\n\r\n"), "bounce@example.org", zone).dmarc;
            assert_eq!(format!("{} {} {}", dmarc.result, dmarc.policy, dmarc.asked), want, "{from} {zone:?}");
        };
        check("a@example.org", &[], "none none none");
        check("a@example.org", &[reject], "fail reject reject");
        check("a@example.org", &[reject, passes], "pass reject none");
        check("a@sub.example.org", &[reject, passes], "pass none none");
        check("a@sub.example.org", &[reject], "fail none none");
        check("a@example.org", &[("_dmarc.example.org", "v=DMARC1; p=reject; t=y")], "fail reject quarantine");
        check("a@example.org", &[("_dmarc.example.org", "v=DMARC1; p=quarantine; pct=0")], "fail quarantine none");
        check("a@sub.example.org", &[("_dmarc.example.org", "v=DMARC1; p=reject; aspf=s"), passes], "fail reject reject");
        check("a@example.org", &[("_dmarc.example.org", "v=DMARC1"), passes], "pass none none");
        check("a@example.org", &[("_dmarc.example.org", "v=DMARC1; p=rejct")], "permerror none none");
        check("a@sub.example.org", &[("_dmarc.example.org", "v=DMARC1; p=reject; sp=non")], "permerror none none");
        check("a@sub.example.org", &[("_dmarc.example.org", "v=DMARC1; p=reject; sp=non; rua=mailto:d@example.org")], "fail none none");
        check("a@sub.example.org", &[reject, ("_dmarc.sub.example.org", "v=DMARC1; p=odd")], "permerror none none");
        // A domain below one that publishes nothing is an organization of its own, and one at a suffix answers for it.
        check("a@sub.example.org", &[("_dmarc.sub.example.org", "v=DMARC1; p=reject"), passes], "fail reject reject");
        check("a@example.org", &[("_dmarc.org", "v=DMARC1; p=reject; sp=quarantine; psd=y")], "fail quarantine quarantine");
        // Several authors: the strictest failure decides.
        check(
            "a@example.org, b@example.com",
            &[reject, passes, ("_dmarc.example.com", "v=DMARC1; p=quarantine")],
            "fail quarantine quarantine",
        );
        check("a@example.org, b@example.com", &[reject, ("_dmarc.example.com", "v=DMARC1; p=quarantine")], "fail reject reject");
        // A failure of DNS is no pass and no failure.
        check("a@example.org", &[("_dmarc.example.org", "!")], "temperror none none");
        check("a@example.org", &[reject, ("example.org", "!")], "temperror reject none");
        check("a@example.org", &[reject, passes, ("_dmarc.org", "!")], "pass reject none");
        check("a@sub.example.org", &[reject, passes, ("_dmarc.org", "!")], "temperror none none");
        check("nobody", &[reject], "permerror none none");
        check("a@b1.example, a@b2.example, a@b3.example, a@b4.example, a@b5.example", &[], "permerror none none");
    }

    #[test]
    fn sealed_chains_hold_until_something_changes() {
        let key = PrivateKey::parse(Algorithm::RsaSha256, &PrivateKey::generate(Algorithm::RsaSha256).unwrap()).unwrap();
        let record = key.public().record();
        let zone = [("s._domainkey.list.example", record.as_str())];
        let mut message = "From: a@example.org\r\nSubject: x\r\n\r\nHi\r\n".to_owned();
        for state in [ArcResult::None, ArcResult::Pass, ArcResult::Pass] {
            let (block, body) = message.split_at(header::body_start(message.as_bytes()));
            let mut hash = dkim::sign::body_hash();
            hash.update(body.as_bytes());
            let signer = Signer { domain: "list.example", selector: "s", key: &key };
            let set = arc::seal::seal(
                block.as_bytes(),
                &hash.finish(),
                "list.example; spf=pass",
                state,
                &signer,
                SESSION.now,
                &Limits::default(),
            );
            message = set.unwrap() + &message;
            assert_eq!(inspect(&message, "", &zone).arc.result, ArcResult::Pass, "{message}");
        }
        let found = inspect(&message, "", &zone).arc;
        assert_eq!((found.sets, found.first_results.as_deref()), (3, Some("i=1; list.example; spf=pass")));
        let broken = message.replacen("spf=pass", "spf=fail", 1);
        assert_eq!(inspect(&broken, "", &zone).arc.result, ArcResult::Fail);
        assert_eq!(inspect(&message, "", &[("s._domainkey.list.example", "!")]).arc.result, ArcResult::TempError);
    }

    #[test]
    fn hostile_messages_cost_bounded_time() {
        let signature = "DKIM-Signature: v=1; a=rsa-sha256; d=example.org; s=s; h=from:subject; bh=AAAA; b=AAAA\r\n";
        let many = signature.repeat(10_000) + "From: a@example.org\r\n\r\nx";
        let names =
            format!("DKIM-Signature: v=1; a=rsa-sha256; d=example.org; s=s; h=from{}; bh=AAAA; b=AAAA\r\n\r\n", ":x".repeat(100_000));
        let fields = "X:\r\n".repeat(60_000) + signature + "From: a@b.example\r\n\r\n";
        let sets = "ARC-Seal: i=1; cv=none\r\nARC-Message-Signature: i=1\r\nARC-Authentication-Results: i=1; x\r\n".repeat(5_000);
        let authors = format!("From: {}\r\n\r\n", "a@b.example,".repeat(20_000));
        let started = Instant::now();
        for message in [many, names, fields, sets + "\r\n", authors] {
            let outcome = inspect(&message, "", &[]);
            assert!(outcome.dkim.len() <= 10 && outcome.dkim.iter().all(|dkim| dkim.result != dkim::DkimResult::Pass));
        }
        eprintln!("hostile messages took {:?}", started.elapsed());
    }

    #[test]
    fn recursive_policies_end() {
        let zone = [("example.org", "v=spf1 include:example.org -all"), ("mx.example.org", "v=spf1 redirect=mx.example.org")];
        let outcome = inspect("From: a@example.org\r\n\r\n", "a@example.org", &zone);
        assert_eq!((outcome.mail_from.result, outcome.helo.result), (spf::SpfResult::PermError, spf::SpfResult::PermError));
    }
}
