//! THREAD (RFC 5256 §3): messages as conversations, by ORDEREDSUBJECT, REFERENCES or REFS.
//!
//! Not the algorithms: [`crate::imap::threading`] has them. What they want to know stands in the digests.

use crate::imap::command::Command;
use crate::imap::commands::search::{self, Key, Wants};
use crate::imap::commands::sort::sent;
use crate::imap::commands::walk::walk;
use crate::imap::grammar::{Parsed, Parser};
use crate::imap::response::{self, Status};
use crate::imap::selected::Selected;
use crate::imap::serve::{self, Outcome, Server};
use crate::imap::threading::{Algorithm, Builder, Member};
use mail::casemap::fold;
use mail::{AccountId, Uid, subject, words};
use store::{Error, Message, ReadTx};

/// `UID THREAD REFERENCES UTF-8 SINCE 5-MAR-2000`
#[derive(Debug, Clone, PartialEq)]
pub struct Thread {
    /// Uids are answered.
    pub by_uid: bool,
    /// How.
    pub algorithm: Algorithm,
    /// What messages must be.
    pub key: Key,
}

const EXPECTED: &str = "ORDEREDSUBJECT, REFERENCES or REFS";

/// Reads its arguments.
///
/// # Errors
/// When they are not its grammar, or name a charset that we do not know.
pub fn parse(parser: &mut Parser<'_>, by_uid: bool) -> Parsed<Command> {
    parser.space()?;
    let start = parser.clone();
    let algorithm = match parser.name(EXPECTED)?.to_ascii_uppercase().as_str() {
        "ORDEREDSUBJECT" => Algorithm::OrderedSubject,
        "REFERENCES" => Algorithm::References,
        "REFS" => Algorithm::Refs,
        _ => return start.fault(EXPECTED),
    };
    parser.space()?;
    let key = search::with_charset(parser)?;
    Ok(Command::Thread(Box::new(Thread { by_uid, algorithm, key })))
}

impl Thread {
    /// Finds, gathers, threads, and answers once.
    pub(crate) async fn run(self: Box<Self>, server: &mut Server, tag: String) -> Outcome {
        search::find(Wants::Thread(self), server, tag).await
    }

    pub(crate) async fn answer(self: Box<Self>, server: &mut Server, found: search::Found) -> Outcome {
        let selected = server.selected()?;
        let (algorithm, by_uid) = (self.algorithm, self.by_uid);
        let ids_max = server.shared().config.limits.thread_ids_max;
        let take = move |tx: &ReadTx, account, message: &Message, builder: &mut Builder| {
            if builder.len() > ids_max {
                return Err(Error::Limit("messages and references to put into threads".into()));
            }
            add(tx, account, message, algorithm, builder)
        };
        let builder = walk(server, selected.mailbox, &found.uids, Builder::default(), take).await?;
        let data = server.read(move |_| Ok(written(builder, algorithm, by_uid, &selected))).await?;
        let last = server.finish(Status::ok("Done"), by_uid).await?;
        Ok(serve::before(data, last))
    }
}

fn add(tx: &ReadTx, account: AccountId, message: &Message, algorithm: Algorithm, builder: &mut Builder) -> store::Result<()> {
    let digest = tx.digest(account, message.email)?;
    let marks = |written: &str| subject::base(&words::decode(written)).is_reply_or_forward;
    let member = Member {
        uid: message.uid,
        sent: sent(message, &digest),
        came: message.internal_date.0,
        is_reply: digest.envelope.subject.as_deref().is_some_and(marks),
        subject: if algorithm == Algorithm::Refs { String::new() } else { fold(&digest.base_subject) },
    };
    if algorithm == Algorithm::OrderedSubject {
        builder.add(member, None, []);
        return Ok(());
    }
    builder.add(member, digest.message_id.as_deref(), digest.references.iter().map(String::as_str));
    Ok(())
}

/// `* THREAD (2)(3 6 (4 23)(44 7 96))`
fn written(builder: Builder, algorithm: Algorithm, by_uid: bool, selected: &Selected) -> Vec<u8> {
    let mut data = b"* THREAD".to_vec();
    if !builder.is_empty() {
        data.push(b' ');
    }
    let number = |uid: Uid| if by_uid { uid.0 } else { selected.uids.rank(uid).map_or(0, |number| number.0) };
    builder.threads(algorithm).write(&mut data, |out, uid| response::number(out, number(uid)));
    data.extend_from_slice(b"\r\n");
    data
}
