//! COPY and MOVE (RFC 9051 §6.4.7, §6.4.8), with COPYUID (RFC 4315).

use crate::imap::command::Command;
use crate::imap::commands::message_limit::{self, Cut};
use crate::imap::grammar::{Parsed, Parser};
use crate::imap::granted::Granted;
use crate::imap::response::{self, Status};
use crate::imap::sequence::SequenceSet;
use crate::imap::serve::{Outcome, Server};
use crate::imap::session::{Answer, Done};
use mail::uid_set::UidSet;
use mail::{AccountId, Rights, Uid};
use store::{Place, ReadTx};

/// `UID MOVE 42:69 Trash`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copy {
    /// Which messages.
    pub set: SequenceSet,
    /// The set holds Uids.
    pub by_uid: bool,
    /// MOVE: they leave this mailbox.
    pub moves: bool,
    /// Where they go.
    pub mailbox: String,
}

/// Reads its arguments.
///
/// # Errors
/// When they are not its grammar.
pub fn parse(parser: &mut Parser<'_>, by_uid: bool, moves: bool) -> Parsed<Command> {
    parser.space()?;
    let set = parser.sequence_set()?;
    parser.space()?;
    Ok(Command::Copy(Copy { set, by_uid, moves, mailbox: parser.mailbox()? }))
}

/// What MOVE needs of the mailbox that the messages leave (RFC 6851 §4).
const MOVES: Rights = Rights::TRASH.union(Rights::EXPUNGE);

/// The mailbox into which messages are to be put; `None`: the client could make it.
///
/// # Errors
/// [`store::Error::Denied`] or [`store::Error::NotFound`] if it is another's and does not take them.
pub(crate) fn target(tx: &ReadTx, viewer: AccountId, name: &str) -> store::Result<Option<Granted>> {
    match Granted::find_for(tx, viewer, name, Rights::INSERT) {
        Err(store::Error::NotFound(_)) if !store::is_shared_name(name) => Ok(None),
        other => other.map(Some),
    }
}

/// What became of a copy.
enum Copied {
    NoMailbox,
    SomeGone,
    Done { uid_validity: mail::UidValidity, pairs: Vec<(Uid, Uid)> },
}

impl Copy {
    /// Copies or moves all of the messages in one write, or none (RFC 9051 §6.4.7).
    pub(crate) async fn run(self, server: &mut Server) -> Outcome {
        let selected = if self.moves { server.selected_for_change(MOVES)? } else { server.selected()? };
        let (uids, cut) = self.bounded(server, selected.resolve(&self.set, self.by_uid)?)?;
        let (viewer, now) = (server.account(), server.now());
        let from = Place { account: selected.account, mailbox: selected.mailbox };
        let Self { mailbox: name, moves, by_uid, .. } = self;
        let copied = server
            .write(move |tx| {
                let Some(granted) = target(tx, viewer, &name)? else { return Ok(Copied::NoMailbox) };
                if !by_uid && count(tx, from, &uids)? < uids.len() as usize {
                    return Ok(Copied::SomeGone);
                }
                let (to, rights) = (Place { account: granted.account, mailbox: granted.mailbox.id }, granted.rights);
                let pairs =
                    if moves { tx.email_move_to(from, &uids, to, rights, now)? } else { tx.email_copy_to(from, &uids, to, rights, now)? };
                Ok(Copied::Done { uid_validity: granted.mailbox.uid_validity, pairs })
            })
            .await?;
        match copied {
            Copied::NoMailbox => Err(Status::no("TRYCREATE", "There is no such mailbox")),
            Copied::SomeGone => server.finish(Status::no("EXPUNGEISSUED", "Some of the messages are gone"), true).await,
            Copied::Done { uid_validity, pairs } => told(server, moves, uid_validity, &pairs, cut).await,
        }
    }
}

impl Copy {
    /// MOVE need not be whole where the client knows how to go on (RFC 9738 §3.1).
    fn bounded(&self, server: &Server, uids: UidSet) -> Result<(UidSet, Option<Cut>), Status> {
        let limits = &server.shared().config.limits;
        match limits.command_messages_max {
            Some(max) if self.moves => Ok(message_limit::highest(uids, Some(max.min(limits.save_messages_max)))),
            _ => message_limit::all_or_none(uids, Some(limits.copy_messages_max())).map(|uids| (uids, None)),
        }
    }
}

/// How many messages of a set there are; costs what the set holds, not the mailbox.
fn count(tx: &ReadTx, from: Place, uids: &UidSet) -> store::Result<usize> {
    uids.ranges().map(|(first, last)| Ok(tx.messages(from.account, from.mailbox, first, last, usize::MAX)?.len())).sum()
}

/// COPYUID stands in COPY's tagged reply, and before the expunges of MOVE (RFC 6851 §4.3).
async fn told(server: &mut Server, moves: bool, uid_validity: mail::UidValidity, pairs: &[(Uid, Uid)], cut: Option<Cut>) -> Outcome {
    let status = Status::ok(if moves { "Moved" } else { "Copied" });
    if pairs.is_empty() {
        return server.finish(status, true).await;
    }
    let code = copy_uid(uid_validity, pairs);
    if !moves {
        return server.finish(status.code(code), true).await;
    }
    let mut data = Vec::new();
    Status::ok("Moved").code(code).write(&mut data, "*");
    data.extend(server.news(true).await?);
    let mut status = status;
    if server.enabled().condstore {
        let seen = server.selected()?.seen;
        status = status.code(format!("HIGHESTMODSEQ {seen}"));
    }
    let status = Cut::tell(cut, status, &mut data);
    Ok(Answer::Done(Done { data, status, state: None }))
}

/// `COPYUID 38505 304,319:320 3956:3958`: both sets in the same order.
fn copy_uid(uid_validity: mail::UidValidity, pairs: &[(Uid, Uid)]) -> String {
    let mut out = format!("COPYUID {uid_validity} ").into_bytes();
    response::set(&mut out, &pairs.iter().map(|(old, _)| *old).collect::<UidSet>());
    out.push(b' ');
    response::set(&mut out, &pairs.iter().map(|(_, new)| *new).collect::<UidSet>());
    String::from_utf8(out).unwrap_or_default()
}
