//! The checks of who a message is from, in words.

use super::CheckView;
use mailauth::Outcome;
use mailauth::iprev::IprevResult;

/// One line for each check.
pub(super) fn checks(outcome: &Outcome) -> Vec<CheckView> {
    let check = |check: &str, result: &str, words: String| CheckView { check: check.to_owned(), result: result.to_owned(), words };
    let name = match (&outcome.iprev.name, outcome.iprev.result) {
        (Some(name), _) => format!("the address is {name}"),
        (None, IprevResult::TempError) => "DNS did not say what the address is called".to_owned(),
        (None, _) => "no name of the address leads back to it".to_owned(),
    };
    let mut checks = vec![check("iprev", outcome.iprev.result.as_str(), name)];
    for (label, spf) in [("spf helo", &outcome.helo), ("spf mail from", &outcome.mail_from)] {
        let mut words = format!("asked of {:?}", spf.domain);
        words.extend(spf.term.iter().map(|term| format!(", decided by {term:?}")));
        words.extend(spf.problem.iter().map(|problem| format!(": {problem}")));
        checks.push(check(label, spf.result.as_str(), words));
    }
    for dkim in &outcome.dkim {
        let reason = dkim.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
        checks.push(check("dkim", dkim.result.as_str(), format!("{} signed, selector {}{reason}", dkim.domain, dkim.selector)));
    }
    if outcome.dkim.is_empty() {
        checks.push(check("dkim", "none", "it has no signature".to_owned()));
    }
    if outcome.arc.sets > 0 {
        let reason = outcome.arc.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
        checks.push(check("arc", outcome.arc.result.as_str(), format!("sealed by {}{reason}", outcome.arc.sealers.join(", "))));
    }
    checks.push(check("dmarc", outcome.dmarc.result.as_str(), dmarc(outcome)));
    checks
}

fn dmarc(outcome: &Outcome) -> String {
    let dmarc = &outcome.dmarc;
    if dmarc.domain.is_empty() {
        return dmarc.reason.clone().unwrap_or_else(|| "it has no author with a domain".to_owned());
    }
    let mut words = format!("the author's domain is {}", dmarc.domain);
    words.extend(dmarc.policy_domain.iter().map(|domain| format!(", its policy at {domain} is {}", dmarc.policy)));
    let stands = match (dmarc.spf_aligned, dmarc.dkim_aligned) {
        (true, true) => ", SPF and a signature stand for it",
        (true, false) => ", SPF stands for it",
        (false, true) => ", a signature stands for it",
        (false, false) => "",
    };
    words.push_str(stands);
    words.extend(dmarc.reason.iter().map(|reason| format!(": {reason}")));
    if dmarc.asked != dmarc.policy && dmarc.result == mailauth::dmarc::DmarcResult::Fail {
        words.extend(["; asked for this message is ", dmarc.asked.as_str()]);
    }
    words
}
