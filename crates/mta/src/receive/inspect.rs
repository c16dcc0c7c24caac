//! Who is this message from? Asked of every message that another server brings, before its 250.
//!
//! The decision is `mailauth`'s, a pure function; here its questions are asked of DNS, and what follows is
//! done: the results are written into the message and its trail, and a domain that wants mail without its
//! backing refused or set aside is heard.
//!
//! | DMARC says | what happens |
//! |---|---|
//! | reject | 550 5.7.1, or the Junk mailbox, as [`crate::settings::Dmarc`] says |
//! | quarantine | the Junk mailbox |
//! | a failure of DNS | accepted, with a word about it in the results |
//!
//! SPF alone refuses nothing: forwarded mail would be lost.
//!
//! Invariants
//! - What peers on loopback, relay networks, accounts and local programs bring is not inspected.
//! - An inspection takes no longer than [`crate::settings::Authentication::wait_max`]; what is not answered
//!   by then counts as a failure of DNS.

use super::{Receiver, Transaction, refusal};
use crate::explain::{Inspection, authenticity, one_line, refuses, sets_aside};
use crate::forward::Prospect;
use crate::local::Figures;
use filter::Authenticity;
use mail::lookup::{Answer, Question, Recorded};
use mail::{Domain, Event, ReversePath, Timestamp};
use mailauth::arc::ArcResult;
use mailauth::dkim::DkimResult;
use mailauth::dmarc::DmarcResult;
use mailauth::dmarc::aggregate::Done;
use mailauth::dns::Step;
use mailauth::spf::{Session, SpfResult};
use mailauth::{Evidence, Outcome, Reader, results};
use net::DnsError;
use net::resolve::{Dns, Family};
use smtp::Reply;
use std::sync::Arc;
use tokio::task::{JoinHandle, JoinSet};

/// Octets of one answer of DNS that are looked at and kept; what is beyond counts as not there. Our own bound.
const ANSWER_OCTETS_MAX: usize = 16 * 1024;
/// From so many octets of answers on, only the start of each further one is. Our own bound.
const ANSWERS_OCTETS_MAX: usize = 64 * 1024;
/// That start, octets: longer than any policy. An answer is never dropped as a whole: large keys of one domain must not
/// hide the policy of another.
const START_OCTETS_MAX: usize = 1024;

/// Most questions asked at once. Our own bound.
const ASKED_AT_ONCE: usize = 32;

/// What was found out, and what follows from it.
pub(super) struct Inspected {
    /// The field with its line end.
    pub(super) field: String,
    /// For the trail.
    pub(super) events: Vec<Event>,
    /// For the report to the author's domain.
    pub(super) figures: Option<Figures>,
    /// Our users shall look at it with suspicion.
    pub(super) is_junk: bool,
    /// What a verdict has to know.
    pub(super) authenticity: Authenticity,
    /// Domains that stand for it.
    pub(super) domains: Vec<String>,
    /// What becomes of it if it is forwarded.
    pub(super) prospect: Prospect,
    /// What became of the chain of servers before us.
    pub(super) arc: ArcResult,
    /// The results without the field's name.
    pub(super) results: String,
    /// What the peer hears, if the author's domain wants it refused.
    pub(super) refusal: Option<Reply>,
}

impl Receiver {
    /// Whether what this peer brings is inspected.
    pub(super) fn is_inspected(&self) -> bool {
        self.is_stranger() && self.context.dns.is_some() && self.context.settings.receive.authentication.is_on
    }

    /// Reads a message's header for its inspection, if there will be one.
    pub(super) fn reader(&self, block: &[u8]) -> Option<Reader> {
        self.is_inspected().then(|| Reader::new(block, &self.context.settings.receive.authentication.inspection.limits))
    }

    /// Inspects a message.
    pub(super) async fn inspect(&self, transaction: &mut Transaction, evidence: Evidence) -> Option<Inspected> {
        let dns = self.context.dns.as_ref()?;
        let at = self.context.clock.wall();
        let (outcome, recorded) = self.decide(dns, transaction, &evidence, at).await;
        let settings = &self.context.settings.receive.authentication;
        let value = results::value(self.context.settings.hostname.as_str(), &outcome, self.peer);
        tracing::debug!(peer = %self.peer, results = one_line(&value), "inspected");
        let event = Event::Authenticated { results: one_line(&value), asked: outcome.dmarc.asked.to_string(), answers: recorded };
        let events = std::iter::once(event).chain(self.grounds(transaction, evidence, at).event()).collect();
        let refusal = refuses(&outcome, settings.dmarc).then(|| refusal::unauthenticated(&outcome.dmarc.domain));
        let is_junk = sets_aside(&outcome, settings.dmarc);
        let done = match (&refusal, is_junk) {
            (Some(_), _) => Done::Rejected,
            (None, true) => Done::Quarantined,
            (None, false) => Done::Taken,
        };
        let figures = settings.reports_dmarc.then(|| Figures::of(&outcome, self.peer, done, settings.inspection.discovery, at)).flatten();
        let field = format!("{}: {value}\r\n", results::FIELD);
        let (prospect, arc) = (Prospect::of(&outcome), outcome.arc.result);
        let authenticity = authenticity(&outcome, settings.dmarc);
        let domains = standing_for(&outcome, &transaction.mail.reverse_path);
        Some(Inspected { field, events, figures, is_junk, authenticity, domains, prospect, arc, results: value, refusal })
    }

    /// What the inspection rests on, beside the answers of DNS.
    fn grounds(&self, transaction: &Transaction, evidence: Evidence, at: Timestamp) -> Inspection {
        let settings = &self.context.settings;
        Inspection {
            peer: self.peer,
            helo: self.helo.clone(),
            receiver: settings.hostname.to_string(),
            at,
            reverse_path: transaction.mail.reverse_path.to_string(),
            evidence,
            discovery: settings.receive.authentication.inspection.discovery,
            dmarc: settings.receive.authentication.dmarc,
        }
    }

    /// Asks and goes on until it is decided.
    async fn decide(&self, dns: &Arc<dyn Dns>, transaction: &mut Transaction, evidence: &Evidence, now: Timestamp) -> (Outcome, Recorded) {
        let settings = &self.context.settings;
        let reverse_path = transaction.mail.reverse_path.to_string();
        let session = Session { peer: self.peer, helo: &self.helo, receiver: settings.hostname.as_str(), now };
        let deadline = tokio::time::Instant::now() + settings.receive.authentication.wait_max;
        let mut recorded = match transaction.ahead.take() {
            Some(ahead) => ahead.answers().await,
            None => Recorded::default(),
        };
        loop {
            match evidence.step(&session, &reverse_path, &settings.receive.authentication.inspection, &recorded) {
                Step::Done(outcome) => return (outcome, recorded),
                Step::Need(questions) => ask_all(dns, questions, deadline, &mut recorded).await,
            }
        }
    }

    /// Begins to ask what does not depend on the message, while it is still on its way.
    pub(super) fn ahead(&self, reverse_path: &ReversePath) -> Option<Ahead> {
        let dns = self.context.dns.clone().filter(|_| self.is_inspected())?;
        let (settings, now) = (Arc::clone(&self.context.settings), self.context.clock.wall());
        let (peer, helo, reverse_path) = (self.peer, self.helo.clone(), reverse_path.to_string());
        Some(Ahead(tokio::spawn(async move {
            let deadline = tokio::time::Instant::now() + settings.receive.authentication.wait_max;
            let session = Session { peer, helo: &helo, receiver: settings.hostname.as_str(), now };
            let mut recorded = Recorded::default();
            while let Step::Need(questions) =
                mailauth::ahead(&session, &reverse_path, &settings.receive.authentication.inspection, &recorded)
            {
                ask_all(&dns, questions, deadline, &mut recorded).await;
            }
            recorded
        })))
    }
}

/// Questions that are being asked since MAIL. They end with the transaction.
pub(super) struct Ahead(JoinHandle<Recorded>);

impl Ahead {
    /// What was answered. What could not be answered in time is among it; it began before the message did, so this is
    /// over before the message's own deadline is.
    async fn answers(mut self) -> Recorded {
        (&mut self.0).await.unwrap_or_default()
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The domains that have proven that they stand for a message: the author's, signers, the envelope's sender.
fn standing_for(outcome: &Outcome, reverse_path: &ReversePath) -> Vec<String> {
    let author = (outcome.dmarc.result == DmarcResult::Pass).then(|| outcome.dmarc.domain.clone());
    let signers = outcome.dkim.iter().filter(|dkim| dkim.result == DkimResult::Pass).map(|dkim| dkim.domain.clone());
    let sender = reverse_path.0.as_ref().filter(|_| outcome.mail_from.result == SpfResult::Pass).map(|sender| sender.domain().to_string());
    author.into_iter().chain(signers).chain(sender).collect()
}

/// Asks DNS all questions and records the answers. Every question gets one, if only that there was no time.
pub async fn ask_all(dns: &Arc<dyn Dns>, questions: Vec<Question>, deadline: tokio::time::Instant, recorded: &mut Recorded) {
    for group in questions.chunks(ASKED_AT_ONCE) {
        let mut asked = JoinSet::new();
        for question in group.iter().cloned() {
            let dns = Arc::clone(dns);
            asked.spawn(async move {
                let answer = tokio::time::timeout_at(deadline, ask(&*dns, &question)).await;
                let answer = answer.unwrap_or_else(|_| Answer::Failed("there was no time left".to_owned()));
                (question, answer)
            });
        }
        while let Some(joined) = asked.join_next().await {
            if let Ok((question, answer)) = joined {
                keep(recorded, question, answer);
            }
        }
        // A task that was lost with a panic or at the end of the server.
        for question in group {
            if recorded.answer(question).is_none() {
                recorded.put(question.clone(), Answer::Failed("the question was lost".to_owned()));
            }
        }
    }
}

/// What is decided by is what is kept, so that it can be decided again.
fn keep(recorded: &mut Recorded, question: Question, answer: Answer) {
    let octets_max = if recorded.octets() < ANSWERS_OCTETS_MAX { ANSWER_OCTETS_MAX } else { START_OCTETS_MAX };
    recorded.put(question, answer.within(octets_max));
}

/// Asks one question.
async fn ask(dns: &dyn Dns, question: &Question) -> Answer {
    let answer = match question {
        Question::Txt(name) => dns.txt_at(name).await.map(Answer::Txt),
        Question::A(name) => dns.addresses_at(name, Family::V4).await.map(Answer::Addresses),
        Question::Aaaa(name) => dns.addresses_at(name, Family::V6).await.map(Answer::Addresses),
        Question::Mx(name) => mx(dns, name).await,
        Question::Ptr(address) => dns.ptr(*address).await.map(|names| Answer::Names(names.iter().map(Domain::to_string).collect())),
    };
    answer.unwrap_or_else(|error| match error {
        DnsError::NotFound => Answer::NoName,
        DnsError::NoData => Answer::NoData,
        DnsError::Temporary(reason) => Answer::Failed(reason),
    })
}

/// A null MX names no host that could send (RFC 7505).
async fn mx(dns: &dyn Dns, name: &str) -> Result<Answer, DnsError> {
    let domain = Domain::parse(name).map_err(|_| DnsError::NotFound)?;
    let hosts = dns.mx(&domain).await?;
    Ok(Answer::Mx(hosts.into_iter().filter_map(|mx| Some((mx.preference, mx.host?.to_string()))).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_answers_of_one_domain_leave_room_for_the_policies_of_others() {
        let mut recorded = Recorded::default();
        let txt = |name: &str| Question::Txt(name.to_owned());
        for n in 0..200 {
            keep(&mut recorded, txt(&format!("s{n}")), Answer::Txt(vec![vec![b'k'; 60_000], vec![b'k'; 15_000], vec![b'k'; 900]]));
        }
        let policy = Answer::Txt(vec![b"v=DMARC1; p=reject".to_vec()]);
        keep(&mut recorded, txt("_dmarc"), policy.clone());
        assert_eq!(recorded.answer(&txt("_dmarc")), Some(&policy));
        assert!(recorded.octets() < ANSWERS_OCTETS_MAX + ANSWER_OCTETS_MAX + 201 * START_OCTETS_MAX, "{}", recorded.octets());
    }
}
