//! What lists of domains say of the domains of a message: asked when the message is there, all at once.
//!
//! Which domains those are, and the meaning of the answers, is `filter::dnsbl`'s.
//!
//! Invariants
//! - At most [`filter::dnsbl::DOMAINS_MAX`] domains, for no longer than [`crate::settings::Filter::lists_wait`].
//! - Every answer is in the message's trail.

use super::Receiver;
use super::inspect::{Inspected, ask_all};
use super::lists::{warn, words};
use filter::dnsbl::{Domains, List, Of, Standing, domain_findings};
use filter::{Features, Reason};
use mail::lookup::Recorded;

/// What was found.
#[derive(Default)]
pub(super) struct DomainsListed {
    /// For the verdict.
    pub(super) findings: Vec<Reason>,
    /// For the trail: each list, and what it said.
    pub(super) standings: Vec<(String, String)>,
    /// For the trail: every answer.
    pub(super) answers: Recorded,
}

impl Receiver {
    /// Asks about the domains of a message.
    pub(super) async fn ask_domains(&self, features: &Features, inspected: Option<&Inspected>) -> DomainsListed {
        let lists: Vec<List> = self.heeded_lists().into_iter().filter(|list| list.of == Of::Domains).collect();
        let Some(dns) = self.context.dns.as_ref().filter(|_| !lists.is_empty() && self.is_judged()) else {
            return DomainsListed::default();
        };
        let standing = inspected.map(|inspected| inspected.domains.clone()).unwrap_or_default();
        let domains = Domains::new(standing, features.author_domain.as_deref(), &features.links, mailauth::dmarc::registered);
        let deadline = tokio::time::Instant::now() + self.context.settings.receive.filter.lists_wait;
        let mut answers = Recorded::default();
        ask_all(dns, domains.questions(&lists), deadline, &mut answers).await;
        let now = self.context.clock.wall();
        let standings = lists.iter().map(|list| {
            let said: Vec<_> = domains.asked_of(list).map(|domain| (domain, list.standing_of(domain, &answers))).collect();
            for (_, standing) in &said {
                warn(list, standing, now);
            }
            (list.zone.clone(), told(&said))
        });
        DomainsListed { standings: standings.collect(), findings: domain_findings(&lists, &domains, &answers), answers }
    }
}

/// `listed: 127.0.1.2 (a.example); no answer (b.example)`; those that are not listed are only counted.
fn told(said: &[(&String, Standing)]) -> String {
    let known = said.iter().filter(|(_, standing)| *standing != Standing::NotListed);
    let known: Vec<String> = known.map(|(domain, standing)| format!("{} ({domain})", words(standing))).collect();
    let others = said.len() - known.len();
    let others = (others > 0 || known.is_empty()).then(|| format!("not listed ({others} domains)"));
    known.into_iter().chain(others).collect::<Vec<_>>().join("; ")
}
