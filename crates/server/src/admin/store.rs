//! The store itself: whether it is whole, how large it is.

use super::{Admin, Operation};
use crate::failure::Result;
use serde::{Deserialize, Serialize};
use store::check::{self, Bodies};

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckView {
    /// Whether nothing is wrong.
    pub clean: bool,
    /// What was looked at.
    pub checked: CheckedView,
    /// What is wrong.
    pub problems: Vec<ProblemView>,
    /// How many more problems there are than are listed.
    pub more_problems: u64,
}

/// How much a check looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "each is the number of what its name says")]
pub struct CheckedView {
    pub accounts: u64,
    pub mailboxes: u64,
    pub messages: u64,
    pub emails: u64,
    pub queued: u64,
    pub trails: u64,
    pub blobs: u64,
    pub octets_hashed: u64,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProblemView {
    /// Where: the key space and the key.
    pub place: String,
    /// What.
    pub problem: String,
}

/// Verifies everything.
#[derive(Debug, Serialize, Deserialize)]
pub struct Check {
    /// Leave out reading every message.
    pub quick: bool,
}

impl Operation for Check {
    const NAME: &'static str = "store.check";
    type Answer = CheckView;

    fn run(self, on: &Admin) -> Result<CheckView> {
        let bodies = if self.quick { Bodies::Skip } else { Bodies::Read };
        Ok(view(check::check(&on.store, bodies, |_| {})?))
    }
}

fn view(report: check::Report) -> CheckView {
    let clean = report.is_clean();
    let check::Report { findings, more, figures } = report;
    let check::Figures { accounts, mailboxes, messages, emails, queued, trails, blobs, octets_hashed } = figures;
    let checked = CheckedView { accounts, mailboxes, messages, emails, queued, trails, blobs, octets_hashed };
    let problem = |finding: check::Finding| {
        let place = format!("{} {}", finding.space.table(), crate::random::hex(&finding.key));
        ProblemView { place, problem: finding.what }
    };
    CheckView { clean, checked, problems: findings.into_iter().map(problem).collect(), more_problems: more }
}
