//! Mail that an address of ours leads elsewhere: under which sender it leaves, and whether who gets it will believe it. Pure.
//!
//! Forwarding breaks SPF, because the mail then comes from us. A signature of the author's domain survives, because we
//! change nothing that is signed. So mail whose author's domain asks to refuse what it does not stand for, and that only
//! SPF stands for, is better kept here than sent into a refusal.
//!
//! Not what an alias is (`store`), not the way itself (`queue`).

use crate::return_path::srs::{self, Rewritten};
use crate::return_path::{Key, day};
use crate::settings::Forwarding;
use mail::{Address, Domain, ReversePath, Timestamp};
use mailauth::dkim::DkimResult;
use mailauth::dmarc::{DmarcResult, Policy};

/// What the next server will find of a message that we forward.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Prospect {
    /// It stays as genuine as it came; why, in words.
    Survives(String),
    /// It will be refused, or put into Junk; why, in words.
    Fails(String),
}

impl Prospect {
    /// Of what nobody asked about: it comes from one of ours.
    pub(crate) fn unasked() -> Self {
        Self::Survives("it was not asked who it is from".to_owned())
    }

    /// What was found out about a message says how it goes on.
    pub(crate) fn of(outcome: &mailauth::Outcome) -> Self {
        let dmarc = &outcome.dmarc;
        let domain = &dmarc.domain;
        let survives = |words: String| Self::Survives(words);
        match (dmarc.result, dmarc.policy) {
            (DmarcResult::None | DmarcResult::PermError, _) => survives("its author's domain has no DMARC policy".to_owned()),
            (_, Policy::None) => survives(format!("{domain} asks for nothing by DMARC")),
            _ if dmarc.dkim_aligned => survives(format!("a signature stands for {domain}{}", signer(outcome))),
            (DmarcResult::TempError, _) => survives(format!("DNS gave no answer about {domain}")),
            (_, policy) => Self::Fails(format!(
                "{domain} asks for {} of what it does not stand for, and only SPF, which forwarding breaks, could stand for this",
                policy.as_str()
            )),
        }
    }
}

fn signer(outcome: &mailauth::Outcome) -> String {
    let passed = outcome.dkim.iter().find(|dkim| dkim.result == DkimResult::Pass);
    passed.map(|dkim| format!(" (d={})", dkim.domain)).unwrap_or_default()
}

/// With which reverse-path a message leaves that `alias` leads elsewhere; a token is to be remembered for its sender.
/// Reports, and mail from our own domains, keep theirs.
pub(crate) fn return_path(
    settings: &Forwarding,
    key: Option<&Key>,
    sender: &ReversePath,
    is_ours: bool,
    alias: &Address,
    now: Timestamp,
) -> Option<Rewritten> {
    let sender = sender.0.as_ref().filter(|_| settings.rewrite && !is_ours)?;
    let at: &Domain = settings.rewrite_domain.as_ref().unwrap_or(alias.domain());
    srs::rewrite(key?, sender, at, day(now))
}

#[cfg(test)]
mod tests {
    use super::*;
    use mail::Timestamp;
    use mail::lookup::{Answer, Question, Recorded};
    use mailauth::dns::Step;
    use mailauth::spf::Session;
    use mailauth::{Evidence, Limits};

    /// What comes of a message of joe@far.example that nobody signed.
    fn prospect(zone: &[(&str, &str)]) -> Prospect {
        let evidence = Evidence::of(b"From: joe@far.example\r\n\r\nHi\r\n", &Limits::default());
        let session =
            Session { peer: "192.0.2.1".parse().unwrap(), helo: "mx.far.example", receiver: "x.example", now: Timestamp::from_seconds(9) };
        let mut recorded = Recorded::default();
        loop {
            match evidence.step(&session, "joe@far.example", &mailauth::Settings::default(), &recorded) {
                Step::Done(outcome) => return Prospect::of(&outcome),
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
    fn what_only_spf_stands_for_does_not_survive() {
        let passes = ("far.example", "v=spf1 ip4:192.0.2.1 -all");
        for (zone, want) in [
            (vec![], "survives its author's domain has no DMARC policy"),
            (vec![passes, ("_dmarc.far.example", "v=DMARC1; p=none")], "survives far.example asks for nothing by DMARC"),
            (vec![("_dmarc.far.example", "!")], "survives far.example asks for nothing by DMARC"),
            (vec![("far.example", "!"), ("_dmarc.far.example", "v=DMARC1; p=reject")], "survives DNS gave no answer about far.example"),
            (
                vec![passes, ("_dmarc.far.example", "v=DMARC1; p=reject")],
                "fails far.example asks for reject of what it does not stand for, and only SPF, which forwarding breaks, could stand for this",
            ),
            (
                vec![("_dmarc.far.example", "v=DMARC1; p=quarantine")],
                "fails far.example asks for quarantine of what it does not stand for, and only SPF, which forwarding breaks, could stand for this",
            ),
        ] {
            let got = match prospect(&zone) {
                Prospect::Survives(words) => format!("survives {words}"),
                Prospect::Fails(words) => format!("fails {words}"),
            };
            assert_eq!(got, want, "{zone:?}");
        }
    }

    #[test]
    fn senders_elsewhere_are_rewritten_under_the_alias_or_as_set() {
        let key = Key::new(&[1; 32]);
        let path = |text: &str| ReversePath(Address::parse(text).ok());
        let alias = Address::parse("away@ours.example").unwrap();
        let set = Forwarding { rewrite_domain: Domain::parse("srs.example").ok(), ..Forwarding::default() };
        let off = Forwarding { rewrite: false, ..Forwarding::default() };
        for (settings, sender, is_ours, want) in [
            (&Forwarding::default(), "joe@far.example", false, "ours.example"),
            (&set, "joe@far.example", false, "srs.example"),
            (&off, "joe@far.example", false, ""),
            (&set, "", false, ""),
            (&set, "ann@ours.example", true, ""),
        ] {
            let got = return_path(settings, Some(&key), &path(sender), is_ours, &alias, Timestamp::from_seconds(9));
            let at = got.map(|(Rewritten::Whole(address) | Rewritten::Named { address, .. })| address.domain().to_string());
            assert_eq!(at.unwrap_or_default(), want, "{sender}");
        }
    }
}
