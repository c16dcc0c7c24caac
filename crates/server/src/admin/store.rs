//! The store itself: whether it is whole, how large it is.

use super::link::{open_store, open_with};
use super::{Admin, Operation};
use crate::failure::{Code, Failure, Result};
use mail::{AccountId, EmailId};
use serde::{Deserialize, Serialize};
use std::path::Path;
use store::check::{self, Bodies};
use store::{Damage, Figures};

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
        let damage = if self.quick { Vec::new() } else { on.store.verify_log()? };
        Ok(view(check::check(&on.store, bodies, |_| {})?, &damage))
    }
}

fn view(report: check::Report, damage: &[Damage]) -> CheckView {
    let clean = report.is_clean() && damage.is_empty();
    let check::Report { findings, more, figures } = report;
    let check::Figures { accounts, mailboxes, messages, emails, queued, trails, blobs, octets_hashed } = figures;
    let checked = CheckedView { accounts, mailboxes, messages, emails, queued, trails, blobs, octets_hashed };
    let problem = |finding: check::Finding| {
        let place = format!("{} {}", finding.space.table(), crate::random::hex(&finding.key));
        ProblemView { place, problem: finding.what }
    };
    let damaged = damage.iter().map(|damage| ProblemView { place: "log".to_owned(), problem: damage.to_string() });
    let problems = damaged.chain(findings.into_iter().map(problem)).collect();
    CheckView { clean, checked, problems, more_problems: more }
}

/// How large the store is and what it did since it was opened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatsView {
    /// Segments of the mail log.
    pub segments: u64,
    /// Their length, octets.
    pub log_octets: u64,
    /// How much of that is mail that is still there, octets.
    pub live_octets: u64,
    /// The index on disk, octets.
    pub index_octets: u64,
    /// Durable commits.
    pub commits: u64,
    /// Syncs: each made a group of commits durable.
    pub syncs: u64,
    /// Time spent writing and syncing, microseconds.
    pub sync_micros: u64,
    /// Octets appended to the log.
    pub written_octets: u64,
    /// Read transactions.
    pub reads: u64,
    /// Octets moved to reclaim space.
    pub moved_octets: u64,
    /// Commits that were refused because the disk was full.
    pub refused_full: u64,
    /// Whether the disk is full: new mail is refused.
    pub full: bool,
}

impl From<Figures> for StatsView {
    fn from(figures: Figures) -> Self {
        Self {
            segments: figures.segments,
            log_octets: figures.log_octets,
            live_octets: figures.live_body_octets,
            index_octets: figures.index_octets + figures.index_wal_octets,
            commits: figures.commits,
            syncs: figures.groups,
            sync_micros: figures.sync_micros,
            written_octets: figures.written_octets,
            reads: figures.reads,
            moved_octets: figures.moved_octets,
            refused_full: figures.refused_full,
            full: figures.full,
        }
    }
}

/// Measures the store.
#[derive(Debug, Serialize, Deserialize)]
pub struct Stats {}

impl Operation for Stats {
    const NAME: &'static str = "store.stats";
    type Answer = StatsView;

    fn run(self, on: &Admin) -> Result<StatsView> {
        Ok(on.store.figures()?.into())
    }
}

/// Batches that one [`Reindex`] takes: a second or so, so that its caller can show how far it is.
const REINDEX_BATCHES: usize = 32;

/// Looks at some mail and makes its full-text index anew; `from` is where the one before stopped.
#[derive(Debug, Serialize, Deserialize)]
pub struct Reindex {
    /// Account and email to go on from; the first ones if there are none.
    pub from: Option<(u32, u64)>,
}

/// What [`Reindex`] did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReindexView {
    /// Messages looked at.
    pub emails: u64,
    /// Those whose index was not right and is now.
    pub changed: u64,
    /// Messages there are in all accounts.
    pub total: u64,
    /// Where to go on; nothing when it is done.
    pub next: Option<(u32, u64)>,
}

impl Operation for Reindex {
    const NAME: &'static str = "store.reindex";
    type Answer = ReindexView;

    fn run(self, on: &Admin) -> Result<ReindexView> {
        let total = on.read(|tx| Ok(tx.accounts()?.iter().map(|account| account.emails).sum()))?;
        let mut view = ReindexView { emails: 0, changed: 0, total, next: self.from };
        for _ in 0..REINDEX_BATCHES {
            let from = view.next.map(|(account, email)| (AccountId(account), EmailId(email)));
            let done = ::store::reindex(&on.store, from)?;
            view.emails += done.emails;
            view.changed += done.changed;
            view.next = done.next.map(|(account, email)| (account.0, email.0));
            if view.next.is_none() {
                break;
            }
        }
        Ok(view)
    }
}

/// The files of the index: they can be made again from the log.
const INDEX_FILES: [&str; 3] = ["index.sqlite", "index.sqlite-wal", "index.sqlite-shm"];

/// Makes the index anew from the log. Not an operation of a running server: nobody may have the store
/// open. With `salvage` damaged records of the log are left out, and reported.
///
/// # Errors
/// When another process has the store open, or the log cannot be read.
pub fn rebuild_index(data: &Path, salvage: bool) -> Result<StatsView> {
    // An index that cannot be opened is a reason to go on, another process is one to stop.
    match open_store(data) {
        Err(failure) if failure.code == Code::Unreachable => return Err(failure),
        Err(_) => {}
        Ok(store) => store.close(),
    }
    for name in INDEX_FILES {
        match std::fs::remove_file(data.join(name)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Failure::failed(&format!("cannot remove {name}"), error));
            }
            _ => {}
        }
    }
    let store = open_with(&::store::Settings { salvage, ..::store::Settings::at(data) })?;
    let view = store.figures()?.into();
    store.close();
    Ok(view)
}
