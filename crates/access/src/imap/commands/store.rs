//! STORE (RFC 9051 §6.4.6), with UNCHANGEDSINCE (RFC 7162 §3.1.3).

use crate::imap::command::Command;
use crate::imap::commands::expunge::split;
use crate::imap::commands::message_limit::{self, Cut};
use crate::imap::grammar::{Parsed, Parser};
use crate::imap::response::{self, Status};
use crate::imap::selected::{Look, News, Own, Selected, Tell};
use crate::imap::sequence::SequenceSet;
use crate::imap::serve::{self, Outcome, Server};
use mail::uid_set::UidSet;
use mail::{Flags, ModSeq, Rights};
use std::sync::Arc;
use store::{FlagChange, WriteTx};

/// `UID STORE 1:3 (UNCHANGEDSINCE 12) +FLAGS.SILENT (\Seen)`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreFlags {
    /// Which messages.
    pub set: SequenceSet,
    /// The set holds Uids.
    pub by_uid: bool,
    /// Messages changed after this are left alone.
    pub unchanged_since: Option<ModSeq>,
    /// What is done with the flags.
    pub mode: Mode,
    /// The new flags are not told.
    pub silent: bool,
    /// The flags.
    pub flags: Flags,
}

/// What is done with the flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// `FLAGS`
    Set,
    /// `+FLAGS`
    Add,
    /// `-FLAGS`
    Remove,
}

/// Reads its arguments.
///
/// # Errors
/// When they are not its grammar.
pub fn parse(parser: &mut Parser<'_>, by_uid: bool) -> Parsed<Command> {
    parser.space()?;
    let set = parser.sequence_set()?;
    parser.space()?;
    let mut unchanged_since = None;
    if parser.accept(b'(') {
        if !parser.accept_word("UNCHANGEDSINCE ") {
            return parser.fault("UNCHANGEDSINCE");
        }
        unchanged_since = Some(ModSeq(parser.number()?));
        parser.octet(b')', "a closing parenthesis")?;
        parser.space()?;
    }
    let mode = match parser.peek() {
        Some(b'+') => Mode::Add,
        Some(b'-') => Mode::Remove,
        _ => Mode::Set,
    };
    if mode != Mode::Set {
        parser.accept(b'+');
        parser.accept(b'-');
    }
    if !parser.accept_word("FLAGS") {
        return parser.fault("FLAGS, +FLAGS or -FLAGS");
    }
    let silent = parser.accept_word(".SILENT");
    parser.space()?;
    let flags = flag_list(parser)?;
    Ok(Command::Store(StoreFlags { set, by_uid, unchanged_since, mode, silent, flags }))
}

/// With or without parentheses.
fn flag_list(parser: &mut Parser<'_>) -> Parsed<Flags> {
    if parser.peek() == Some(b'(') {
        return Ok(parser.list(Flags::KEYWORDS_MAX * 2, Parser::flag)?.into_iter().flatten().collect());
    }
    let mut flags = Flags::default();
    loop {
        if let Some(flag) = parser.flag()? {
            flags.insert(flag);
        }
        if !parser.accept(b' ') || parser.is_done() {
            return Ok(flags);
        }
    }
}

/// Messages changed by one write, so that others come between. Our own bound.
const BATCH: u32 = 1000;

/// A STORE under way.
#[derive(Debug)]
pub(crate) struct Job {
    todo: UidSet,
    change: FlagChange,
    unchanged_since: Option<ModSeq>,
    silent: bool,
    by_uid: bool,
    /// Messages left alone because others had changed them (MODIFIED).
    modified: UidSet,
    some_gone: bool,
    cut: Option<Cut>,
}

impl StoreFlags {
    /// Changes the flags, a batch of messages at a time.
    pub(crate) async fn run(self, server: &mut Server) -> Outcome {
        let change = allowed(self.mode, self.flags, server.selected()?.rights)?;
        let selected = server.selected_for_change(Rights::NONE)?;
        let messages_max = server.shared().config.limits.command_messages_max;
        let (todo, cut) = message_limit::highest(selected.resolve(&self.set, self.by_uid)?, messages_max);
        server.enabled_mut().condstore |= self.unchanged_since.is_some();
        let job = Job {
            change,
            unchanged_since: self.unchanged_since,
            silent: self.silent,
            by_uid: self.by_uid,
            modified: UidSet::new(),
            some_gone: !self.by_uid && !todo.intersect(&selected.gone).is_empty(),
            todo,
            cut,
        };
        Box::new(job).step(server).await
    }
}

/// What of a change the client may do: something, or it is refused (RFC 4314 §4, STORE).
fn allowed(mode: Mode, flags: Flags, rights: Rights) -> Result<FlagChange, Status> {
    let covered = rights.covered(&flags);
    let something = match mode {
        Mode::Set => rights.intersects(Rights::SEEN.union(Rights::WRITE).union(Rights::TRASH)),
        Mode::Add | Mode::Remove => flags.is_empty() || !covered.is_empty(),
    };
    match mode {
        _ if !something => Err(serve::refusal(&store::Error::Denied)),
        Mode::Set if rights.contains(Rights::ALL) => Ok(FlagChange::Set(flags)),
        Mode::Set => Ok(FlagChange::SetCovered(flags, rights)),
        Mode::Add => Ok(FlagChange::Add(covered)),
        Mode::Remove => Ok(FlagChange::Remove(covered)),
    }
}

impl Job {
    /// Changes the next batch.
    pub(crate) async fn step(mut self: Box<Self>, server: &mut Server) -> Outcome {
        let selected = server.selected()?;
        let (uids, rest) = split(&self.todo, BATCH);
        self.todo = rest;
        let change = Change {
            selected,
            uids,
            flags: self.change.clone(),
            unchanged_since: self.unchanged_since,
            tell: self.tell(server),
            look: server.look(false, self.by_uid),
        };
        let (news, modified, some_gone) = server.write(move |tx| change.make(tx)).await?;
        self.modified = self.modified.union(&modified);
        self.some_gone |= some_gone;
        let mut data = server.accept(news);
        if !self.todo.is_empty() {
            return Ok(server.more(data, serve::Job::Store(self)));
        }
        let status = Cut::tell(self.cut, self.status(server)?, &mut data);
        server.finish_told(data, status, self.by_uid).await
    }

    fn tell(&self, server: &Server) -> Tell {
        match (self.silent, server.enabled().condstore) {
            (false, _) => Tell::Flags,
            (true, true) => Tell::ModSeq,
            (true, false) => Tell::Nothing,
        }
    }

    fn status(&self, server: &Server) -> Result<Status, Status> {
        if !self.modified.is_empty() {
            let mut code = b"MODIFIED ".to_vec();
            let selected = server.selected()?;
            let ranks = || self.modified.iter().filter_map(|uid| selected.uids.rank(uid)).map(|number| mail::Uid(number.0)).collect();
            response::set(&mut code, &if self.by_uid { self.modified.clone() } else { ranks() });
            return Ok(Status::ok("Some had changed and were left alone").code(String::from_utf8(code).unwrap_or_default()));
        }
        if self.some_gone && !self.by_uid {
            return Ok(Status::no("EXPUNGEISSUED", "Some of the messages are gone"));
        }
        Ok(Status::ok("Done"))
    }
}

/// One write of flags and what the client is told of it, as seen by one transaction.
pub(crate) struct Change {
    pub(crate) selected: Arc<Selected>,
    pub(crate) uids: UidSet,
    pub(crate) flags: FlagChange,
    pub(crate) unchanged_since: Option<ModSeq>,
    pub(crate) tell: Tell,
    pub(crate) look: Look,
}

impl Change {
    /// Changes the flags; the news, which messages were left alone, and whether some are gone.
    pub(crate) fn make(&self, tx: &mut WriteTx) -> store::Result<(Option<News>, UidSet, bool)> {
        let Self { selected, uids, look, .. } = self;
        let others = selected.changed_by_others(tx, look)?;
        let outcome = tx.flags_change(look.account, selected.mailbox, uids, &self.flags, self.unchanged_since)?;
        let own = Own { others, tell: self.tell };
        let mut news = selected.news(tx, look, Some(&own))?;
        if self.tell == Tell::Flags && !outcome.unchanged.is_empty() {
            // What was so already is told too: the client asked for it.
            let news = news.get_or_insert_with(|| News {
                data: Vec::new(),
                selected: (**selected).clone(),
                arrived: UidSet::new(),
                overflow: false,
            });
            let untold = outcome.unchanged.subtract(&own.others);
            for (first, last) in untold.ranges() {
                for message in tx.messages(look.account, selected.mailbox, first, last, usize::MAX)? {
                    selected.flags_line(&message, look, Tell::Flags, &mut news.data);
                }
            }
        }
        let found = outcome.changed.len() + outcome.unchanged.len() as usize + outcome.modified.len() as usize;
        Ok((news, outcome.modified, found < uids.len() as usize))
    }
}
