//! EXPUNGE (RFC 9051 §6.4.3) and UID EXPUNGE (RFC 4315 §2.1).

use crate::imap::command::Command;
use crate::imap::command::State;
use crate::imap::commands::message_limit::{self, Cut};
use crate::imap::grammar::{Parsed, Parser};
use crate::imap::response::Status;
use crate::imap::selected::Selected;
use crate::imap::sequence::SequenceSet;
use crate::imap::serve::{self, Outcome, Server};
use crate::imap::session::{Answer, Done};
use mail::uid_set::UidSet;
use mail::{Rights, Uid};

/// `UID EXPUNGE 3000:3002`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expunge {
    /// Only these of the messages that are `\Deleted`.
    pub uids: Option<SequenceSet>,
}

/// Reads the arguments of UID EXPUNGE.
///
/// # Errors
/// When they are not its grammar.
pub fn parse(parser: &mut Parser<'_>) -> Parsed<Command> {
    parser.space()?;
    Ok(Command::Expunge(Expunge { uids: Some(parser.sequence_set()?) }))
}

/// Messages removed by one write, so that others come between. Our own bound.
const BATCH: u32 = 1000;

/// An EXPUNGE under way.
#[derive(Debug)]
pub(crate) struct Job {
    todo: UidSet,
    removed: bool,
    cut: Option<Cut>,
}

impl Expunge {
    /// Removes what is `\Deleted`.
    pub(crate) async fn run(self, server: &mut Server) -> Outcome {
        let selected = server.selected_for_change(Rights::EXPUNGE)?;
        let wanted = match &self.uids {
            Some(set) => selected.resolve(set, true)?,
            None => UidSet::range(Uid(1), Uid(u32::MAX)),
        };
        let todo = deleted(server, &selected, wanted).await?;
        // EXPUNGE has no bound (RFC 9738 §3.1).
        let messages_max = server.shared().config.limits.command_messages_max.filter(|_| self.uids.is_some());
        let (todo, cut) = message_limit::highest(todo, messages_max);
        Box::new(Job { todo, removed: false, cut }).step(server).await
    }
}

impl Job {
    /// Removes the next batch.
    pub(crate) async fn step(mut self: Box<Self>, server: &mut Server) -> Outcome {
        let selected = server.selected()?;
        let (batch, rest) = split(&self.todo, BATCH);
        self.todo = rest;
        if batch.is_empty() {
            let mut status = Status::ok("Expunged");
            if self.removed && server.enabled().condstore {
                let seen = selected.seen;
                status = status.code(format!("HIGHESTMODSEQ {seen}"));
            }
            let mut data = Vec::new();
            let status = Cut::tell(self.cut, status, &mut data);
            let end = server.finish(status, true).await?;
            return Ok(serve::before(data, end));
        }
        let (account, mailbox) = (selected.account, selected.mailbox);
        server.write(move |tx| tx.expunge(account, mailbox, &batch)).await?;
        self.removed = true;
        let data = server.news(true).await?;
        Ok(server.more(data, serve::Job::Expunge(self)))
    }
}

async fn deleted(server: &Server, selected: &Selected, wanted: UidSet) -> Result<UidSet, Status> {
    let (account, mailbox) = (selected.account, selected.mailbox);
    let (Some(first), Some(last)) = (wanted.first(), wanted.last()) else { return Ok(wanted) };
    server.read(move |tx| Ok(tx.uids_deleted(account, mailbox, first, last)?.intersect(&wanted))).await
}

/// The first members of a set, and the others.
pub(crate) fn split(set: &UidSet, members: u32) -> (UidSet, UidSet) {
    match set.nth(mail::SeqNum(members)) {
        None => (set.clone(), UidSet::new()),
        Some(last) => {
            let first = set.intersect(&UidSet::range(Uid(1), last));
            let rest = set.subtract(&first);
            (first, rest)
        }
    }
}

/// CLOSE, which removes what is `\Deleted` without a word (RFC 9051 §6.4.1), and UNSELECT, which does not.
pub(crate) async fn close(server: &mut Server, expunge: bool) -> Outcome {
    let selected = server.selected()?;
    // Who may not expunge is not told so (RFC 4314 §4, CLOSE).
    if expunge && !selected.read_only && selected.rights.contains(Rights::EXPUNGE) {
        let (account, mailbox) = (selected.account, selected.mailbox);
        let mut todo = deleted(server, &selected, UidSet::range(Uid(1), Uid(u32::MAX))).await?;
        while !todo.is_empty() {
            let (batch, rest) = split(&todo, BATCH);
            server.write(move |tx| tx.expunge(account, mailbox, &batch)).await?;
            todo = rest;
        }
    }
    server.select(None);
    Ok(Answer::Done(Done { data: Vec::new(), status: Status::ok("Closed"), state: Some(State::Authenticated) }))
}
