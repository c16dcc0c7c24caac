//! DMARC: does the domain that readers see stand for this message, and what does it want done if not?
//! (RFC 9989; RFC 7489 for the older way to find the organizational domain.)
//!
//! [`record`] reads policies, [`discovery`] finds them and organizational domains, this file decides; [`aggregate`] and
//! [`reporting`] are about reports of it.
//!
//! Invariants: a failure of DNS is `temperror`, never a pass; of several authors' domains the one that
//! fails with the strictest policy decides.

pub mod aggregate;
pub mod discovery;
pub mod record;
pub mod reporting;

pub use discovery::{Discovery, registered};
pub use record::{Alignment, Policy, Record};

use crate::dkim::{Dkim, DkimResult};
use crate::dns::{Dns, Missing, Open};
use crate::spf::{Spf, SpfResult};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The result (RFC 8601 §2.7.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DmarcResult {
    /// The domain has no policy.
    None,
    /// The domain stands for the message.
    Pass,
    /// It does not.
    Fail,
    /// DNS gave no answer.
    TempError,
    /// The message does not say who it is from, or its author's domain not what it wants.
    PermError,
}

impl DmarcResult {
    /// The word in header fields.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::TempError => "temperror",
            Self::PermError => "permerror",
        }
    }
}

impl fmt::Display for DmarcResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What became of the check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dmarc {
    /// The result.
    pub result: DmarcResult,
    /// The author's domain it was decided by.
    pub domain: String,
    /// Where its policy was found.
    pub policy_domain: Option<String>,
    /// What the policy asks for (`p`, `sp` or `np`).
    pub policy: Policy,
    /// What is asked for this message: less than the policy for domains that try it out (`t=y`) and for
    /// messages outside of the sample (`pct`); none unless the check failed.
    pub asked: Policy,
    /// SPF passed for a domain of the author's.
    pub spf_aligned: bool,
    /// A signature passed for a domain of the author's.
    pub dkim_aligned: bool,
    /// Why, in words; none for a pass.
    pub reason: Option<String>,
    /// Where reports are wanted (`rua`).
    pub reports_to: Vec<String>,
    /// The policy record as a whole.
    pub published: Option<Record>,
}

/// What a decision is made from.
#[derive(Debug, Clone, Copy)]
pub struct Given<'a> {
    /// The domains of the addresses in `From`.
    pub authors: &'a [String],
    /// Of the reverse-path.
    pub spf: &'a Spf,
    /// Of every signature.
    pub dkim: &'a [Dkim],
    /// How organizational domains are found.
    pub discovery: Discovery,
    /// 0 to 99: which part of the sample (`pct`) this message is.
    pub sample: u8,
    /// Most domains in `From`.
    pub author_domains_max: usize,
}

/// Asks for the policies that [`check`] can need, all at once.
pub(crate) fn prefetch(dns: &mut Dns<'_>, domains: &[&str], discovery: Discovery) -> Result<(), Open> {
    let asked: Vec<Result<(), Open>> = domains.iter().map(|domain| discovery::prefetch(dns, domain, discovery)).collect();
    asked.into_iter().collect()
}

/// Decides.
///
/// # Errors
/// While answers are missing.
pub fn check(dns: &mut Dns<'_>, given: &Given<'_>) -> Result<Dmarc, Open> {
    if given.authors.is_empty() {
        return Ok(unknown("", "the message has no author with a domain"));
    }
    if given.authors.len() > given.author_domains_max {
        return Ok(unknown(given.authors.first().map_or("", String::as_str), "the message has too many authors"));
    }
    let each: Vec<_> = given.authors.iter().map(|domain| check_author(dns, given, domain)).collect();
    let each = each.into_iter().collect::<Result<Vec<_>, Open>>()?;
    let strictest = each.into_iter().max_by_key(|dmarc| (weight(dmarc.result), dmarc.asked));
    Ok(strictest.unwrap_or_else(|| unknown("", "the message has no author with a domain")))
}

/// What decides among several authors: a failure over an open question over anything that holds.
const fn weight(result: DmarcResult) -> u8 {
    match result {
        DmarcResult::Pass => 0,
        DmarcResult::None => 1,
        DmarcResult::PermError => 2,
        DmarcResult::TempError => 3,
        DmarcResult::Fail => 4,
    }
}

fn unknown(domain: &str, reason: &str) -> Dmarc {
    let reason = Some(reason.to_owned());
    Dmarc { reason, ..blank(domain, DmarcResult::PermError) }
}

fn blank(domain: &str, result: DmarcResult) -> Dmarc {
    Dmarc {
        result,
        domain: domain.to_owned(),
        policy_domain: None,
        policy: Policy::None,
        asked: Policy::None,
        spf_aligned: false,
        dkim_aligned: false,
        reason: None,
        reports_to: Vec::new(),
        published: None,
    }
}

fn check_author(dns: &mut Dns<'_>, given: &Given<'_>, domain: &str) -> Result<Dmarc, Open> {
    let found = match discovery::policy(dns, domain, given.discovery)? {
        Ok(Some(found)) if found.record.applies => found,
        Ok(Some(found)) => {
            let reason = format!("the policy of {} cannot be read", found.domain);
            return Ok(Dmarc { reason: Some(reason), ..blank(domain, DmarcResult::PermError) });
        }
        Ok(None) => return Ok(Dmarc { reason: Some("no policy".to_owned()), ..blank(domain, DmarcResult::None) }),
        Err(_) => return Ok(Dmarc { reason: Some("no answer for the policy".to_owned()), ..blank(domain, DmarcResult::TempError) }),
    };
    let policy = policy_for(dns, domain, &found)?;
    let aligned = align(dns, given, domain, &found)?;
    let (result, reason) = aligned.result(given);
    Ok(Dmarc {
        policy_domain: Some(found.domain),
        policy,
        asked: if result == DmarcResult::Fail { asked(policy, &found.record, given.sample) } else { Policy::None },
        spf_aligned: aligned.spf,
        dkim_aligned: aligned.dkim,
        reason,
        reports_to: found.record.reports_to.clone(),
        published: Some(found.record),
        ..blank(domain, result)
    })
}

/// `p` for the domain itself, `np` for a name that does not exist, `sp` for another (RFC 9989 §4.7).
fn policy_for(dns: &mut Dns<'_>, domain: &str, found: &discovery::Found) -> Result<Policy, Open> {
    let record = &found.record;
    if found.domain == domain {
        return Ok(record.policy);
    }
    let sub = record.subdomain_policy.unwrap_or(record.policy);
    match record.nonexistent_policy {
        Some(policy) if policy != sub && !dns.exists(domain)?.unwrap_or(true) => Ok(policy),
        _ => Ok(sub),
    }
}

/// One step milder for a domain that tries its policy out, and outside of the sample (RFC 9989 §4.7 `t`;
/// RFC 7489 §6.6.4 `pct`).
fn asked(policy: Policy, record: &Record, sample: u8) -> Policy {
    if record.testing || sample >= record.percent { policy.milder() } else { policy }
}

#[derive(Default)]
struct Aligned {
    spf: bool,
    dkim: bool,
    /// DNS gave no answer that could have made a difference.
    open: bool,
}

impl Aligned {
    fn result(&self, given: &Given<'_>) -> (DmarcResult, Option<String>) {
        let spf_open = given.spf.result == SpfResult::TempError;
        let dkim_open = given.dkim.iter().any(|dkim| dkim.result == DkimResult::TempError);
        if self.spf || self.dkim {
            (DmarcResult::Pass, None)
        } else if self.open || spf_open || dkim_open {
            (DmarcResult::TempError, Some("no answer for something that could have made it pass".to_owned()))
        } else {
            (DmarcResult::Fail, Some("neither SPF nor a signature stands for the author's domain".to_owned()))
        }
    }
}

fn align(dns: &mut Dns<'_>, given: &Given<'_>, author: &str, found: &discovery::Found) -> Result<Aligned, Open> {
    let mut aligned = Aligned::default();
    if given.spf.result == SpfResult::Pass {
        let one = is_aligned(dns, given.discovery, author, &given.spf.domain, found.record.spf_alignment)?;
        aligned.spf = one == Ok(true);
        aligned.open |= one.is_err();
    }
    for dkim in given.dkim.iter().filter(|dkim| dkim.result == DkimResult::Pass) {
        let one = is_aligned(dns, given.discovery, author, &dkim.domain, found.record.dkim_alignment)?;
        aligned.dkim |= one == Ok(true);
        aligned.open |= one.is_err();
    }
    Ok(aligned)
}

fn is_aligned(
    dns: &mut Dns<'_>,
    discovery: Discovery,
    author: &str,
    other: &str,
    alignment: Alignment,
) -> Result<Result<bool, Missing>, Open> {
    let Some(other) = crate::dns::name_of(other) else { return Ok(Ok(false)) };
    if author == other {
        return Ok(Ok(true));
    }
    if alignment == Alignment::Strict {
        return Ok(Ok(false));
    }
    let (ours, theirs) = (discovery::organization(dns, author, discovery), discovery::organization(dns, &other, discovery));
    Ok(match (ours?, theirs?) {
        (Ok(ours), Ok(theirs)) => Ok(ours == theirs),
        (Err(missing), _) | (_, Err(missing)) => Err(missing),
    })
}
