//! STATUS (RFC 9051 §6.3.11): counters of a mailbox without selecting it; SIZE, HIGHESTMODSEQ (RFC
//! 7162), APPENDLIMIT (RFC 7889), MAILBOXID (RFC 8474), DELETED-STORAGE (RFC 9208).

use crate::imap::command::Command;
use crate::imap::grammar::{Parsed, Parser};
use crate::imap::granted::Granted;
use crate::imap::recent::first_saved_since;
use crate::imap::response::{self, Status};
use crate::imap::serve::{self, Outcome, Server, object_id};
use mail::uid_set::UidSet;
use mail::{AccountId, Rights, Timestamp, Uid};
use store::{Mailbox, ReadTx};

/// `STATUS INBOX (MESSAGES UNSEEN)`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusOf {
    /// Its name.
    pub mailbox: String,
    /// What is asked for, in the client's order, in which it is answered.
    pub items: Vec<Item>,
}

/// What can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Item {
    /// How many messages there are.
    Messages,
    /// How many of them no session was told of before (RFC 3501).
    Recent,
    /// The next Uid.
    UidNext,
    /// The numbering.
    UidValidity,
    /// How many are not `\Seen`.
    Unseen,
    /// How many are `\Deleted`.
    Deleted,
    /// Octets of the `\Deleted` messages: what EXPUNGE frees at most (RFC 9208 §4.1.4).
    DeletedStorage,
    /// Octets of all messages.
    Size,
    /// The highest mod-sequence.
    HighestModSeq,
    /// Octets of a message that APPEND takes.
    AppendLimit,
    /// The mailbox's id.
    MailboxId,
}

/// Their names.
pub const ITEMS: [(&str, Item); 11] = [
    ("MESSAGES", Item::Messages),
    ("RECENT", Item::Recent),
    ("UIDNEXT", Item::UidNext),
    ("UIDVALIDITY", Item::UidValidity),
    ("UNSEEN", Item::Unseen),
    ("DELETED", Item::Deleted),
    ("DELETED-STORAGE", Item::DeletedStorage),
    ("SIZE", Item::Size),
    ("HIGHESTMODSEQ", Item::HighestModSeq),
    ("APPENDLIMIT", Item::AppendLimit),
    ("MAILBOXID", Item::MailboxId),
];

/// Reads its arguments.
///
/// # Errors
/// When they are not its grammar.
pub fn parse(parser: &mut Parser<'_>) -> Parsed<Command> {
    parser.space()?;
    let mailbox = parser.mailbox()?;
    parser.space()?;
    Ok(Command::Status(StatusOf { mailbox, items: items(parser)? }))
}

/// The list of items.
///
/// # Errors
/// When it is none, or names an item twice as often as there are items.
pub fn items(parser: &mut Parser<'_>) -> Parsed<Vec<Item>> {
    parser.list(ITEMS.len() * 2, |parser| {
        let known = "a STATUS item such as MESSAGES";
        let name = parser.name(known)?;
        let found = ITEMS.iter().find(|(item, _)| item.eq_ignore_ascii_case(name));
        found.map_or_else(|| parser.fault(known), |(_, item)| Ok(*item))
    })
}

impl StatusOf {
    /// Answers from the mailbox's own record: no message is looked at.
    pub(crate) async fn run(self, server: &mut Server) -> Outcome {
        let teller = Teller::of(server, &self.items);
        let data = server.read_short(|tx| {
            let granted = Granted::find_for(tx, teller.viewer, &self.mailbox, Rights::READ)?;
            let mut data = Vec::new();
            teller.tell(tx, &granted, &self.items, &mut data)?;
            Ok(data)
        })?;
        let last = server.finish(Status::ok("Done"), true).await?;
        Ok(serve::before(data, last))
    }
}

/// Writes STATUS responses for one client.
#[derive(Debug, Clone)]
pub(crate) struct Teller {
    pub(crate) viewer: AccountId,
    pub(crate) utf8: bool,
    append_octets_max: u64,
    started: Timestamp,
    shared: std::sync::Arc<crate::imap::serve::Shared>,
}

impl Teller {
    /// A writer for the client; asking for HIGHESTMODSEQ turns CONDSTORE on (RFC 7162 §3.1).
    pub(crate) fn of(server: &mut Server, items: &[Item]) -> Self {
        server.enabled_mut().condstore |= items.contains(&Item::HighestModSeq);
        Self {
            viewer: server.account(),
            utf8: server.enabled().utf8(),
            append_octets_max: server.shared().config.limits.append_octets_max,
            started: server.shared().recents.started(),
            shared: server.shared().clone(),
        }
    }

    /// Appends `* STATUS INBOX (MESSAGES 3)`.
    pub(crate) fn tell(&self, tx: &ReadTx, granted: &Granted, items: &[Item], out: &mut Vec<u8>) -> store::Result<()> {
        out.extend_from_slice(b"* STATUS ");
        response::mailbox(out, &granted.mailbox.name, self.utf8);
        out.extend_from_slice(b" (");
        for (at, item) in items.iter().enumerate() {
            if at > 0 {
                out.push(b' ');
            }
            let name = ITEMS.iter().find(|(_, known)| known == item).map_or("", |(name, _)| name);
            out.extend_from_slice(name.as_bytes());
            out.push(b' ');
            self.item(tx, granted, *item, out)?;
        }
        out.extend_from_slice(b")\r\n");
        Ok(())
    }

    fn item(&self, tx: &ReadTx, granted: &Granted, item: Item, out: &mut Vec<u8>) -> store::Result<()> {
        let mailbox = &granted.mailbox;
        let number = match item {
            Item::Messages => mailbox.emails.into(),
            Item::Recent => self.recent(tx, granted.account, mailbox)?.into(),
            Item::UidNext => mailbox.uid_next.0.into(),
            Item::UidValidity => mailbox.uid_validity.0.into(),
            Item::Unseen => mailbox.unseen.into(),
            Item::Deleted => mailbox.deleted.into(),
            Item::DeletedStorage => deleted_octets(tx, granted.account, mailbox)?,
            Item::Size => mailbox.octets,
            Item::HighestModSeq => mailbox.mod_seq.0,
            Item::AppendLimit => self.append_octets_max,
            Item::MailboxId => {
                out.extend_from_slice(format!("({})", object_id('M', mailbox.id.0.into())).as_bytes());
                return Ok(());
            }
        };
        response::number(out, number);
        Ok(())
    }

    fn recent(&self, tx: &ReadTx, account: AccountId, mailbox: &Mailbox) -> store::Result<u32> {
        let told = self.shared.recents.told(account, mailbox.id);
        if told.is_some_and(|told| told.next() >= mailbox.uid_next) {
            return Ok(0);
        }
        let uids = tx.uids(account, mailbox.id)?;
        let first = match told {
            Some(told) => Some(told.next()),
            None => first_saved_since(tx, account, mailbox.id, &uids, self.started)?,
        };
        Ok(first.map_or(0, |first| uids.intersect(&UidSet::range(first, Uid(u32::MAX))).len()))
    }
}

/// Costs what is deleted, not the mailbox.
fn deleted_octets(tx: &ReadTx, account: AccountId, mailbox: &Mailbox) -> store::Result<u64> {
    if mailbox.deleted == 0 {
        return Ok(0);
    }
    let deleted = tx.uids_deleted(account, mailbox.id, Uid(1), Uid(u32::MAX))?;
    let octets = |uid| Ok(tx.message(account, mailbox.id, uid)?.map_or(0, |message| message.octets));
    deleted.iter().map(octets).sum()
}
