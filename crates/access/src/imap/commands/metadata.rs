//! GETMETADATA and SETMETADATA (RFC 5464): annotations of mailboxes, and of the server where the
//! mailbox's name is empty. Also the METADATA of LIST (RFC 9590).
//!
//! `/shared/admin` of the server is worked out: the postmaster of the client's domain.

use crate::imap::command::Command;
use crate::imap::grammar::{Parsed, Parser};
use crate::imap::granted::Granted;
use crate::imap::response::{self, Status};
use crate::imap::serve::{self, Outcome, Server};
use mail::{AccountId, Rights};
use store::{ANNOTATION_OCTETS_MAX, Annotated, Annotating, AnnotationChange, EntryName, Error, ReadTx, WriteTx};

/// `GETMETADATA (DEPTH 1 MAXSIZE 1024) INBOX (/shared/comment /private/comment)`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GetMetadata {
    /// The mailbox's name; empty: the server.
    pub mailbox: String,
    /// How far below the entries.
    pub depth: usize,
    /// Longer values are left out, octets.
    pub octets_max: Option<u64>,
    /// Which.
    pub entries: Vec<EntryName>,
}

/// `SETMETADATA INBOX (/private/comment "mine")`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetMetadata {
    /// The mailbox's name; empty: the server.
    pub mailbox: String,
    /// Entries and their values; without one they are removed.
    pub changes: Vec<(EntryName, Option<Vec<u8>>)>,
}

/// Most entries of one command.
const ENTRIES_MAX: usize = 100;

const ENTRY: &str = "an entry such as /shared/comment";

/// Reads the arguments of GETMETADATA.
///
/// # Errors
/// When they are not its grammar.
pub fn parse_get(parser: &mut Parser<'_>) -> Parsed<Command> {
    parser.space()?;
    let mut get = GetMetadata { mailbox: String::new(), depth: 0, octets_max: None, entries: Vec::new() };
    options(parser, &mut get)?;
    get.mailbox = parser.mailbox()?;
    parser.space()?;
    // The examples of RFC 5464 have the options here, and clients follow them (erratum 1691).
    options(parser, &mut get)?;
    get.entries = entries(parser)?;
    Ok(Command::GetMetadata(get))
}

/// Takes options and the space behind them, if they stand here.
fn options(parser: &mut Parser<'_>, get: &mut GetMetadata) -> Parsed<()> {
    let mut ahead = parser.clone();
    if !(ahead.accept(b'(') && (ahead.accept_word("MAXSIZE") || ahead.accept_word("DEPTH"))) {
        return Ok(());
    }
    parser.list(4, |parser| option(parser, get))?;
    parser.space()
}

fn option(parser: &mut Parser<'_>, get: &mut GetMetadata) -> Parsed<()> {
    if parser.accept_word("MAXSIZE ") {
        get.octets_max = Some(parser.number()?);
        return Ok(());
    }
    if !parser.accept_word("DEPTH ") {
        return parser.fault("DEPTH or MAXSIZE");
    }
    let start = parser.clone();
    get.depth = match parser.atom()?.to_ascii_lowercase().as_str() {
        "0" => 0,
        "1" => 1,
        "infinity" => usize::MAX,
        _ => return start.fault("0, 1 or infinity"),
    };
    Ok(())
}

/// One entry, or a list of them.
///
/// # Errors
/// When none stands here, or its name can be none.
pub fn entries(parser: &mut Parser<'_>) -> Parsed<Vec<EntryName>> {
    if parser.peek() == Some(b'(') { parser.list(ENTRIES_MAX, entry) } else { Ok(vec![entry(parser)?]) }
}

fn entry(parser: &mut Parser<'_>) -> Parsed<EntryName> {
    let start = parser.clone();
    EntryName::parse(&parser.text()?).map_or_else(|| start.fault(ENTRY), Ok)
}

/// Reads the arguments of SETMETADATA.
///
/// # Errors
/// When they are not its grammar, or an entry can have no value.
pub fn parse_set(parser: &mut Parser<'_>) -> Parsed<Command> {
    parser.space()?;
    let mailbox = parser.mailbox()?;
    parser.space()?;
    let changes = parser.list(ENTRIES_MAX, |parser| {
        let start = parser.clone();
        let entry = entry(parser)?;
        if !entry.is_whole() {
            return start.fault("an entry with all its components");
        }
        parser.space()?;
        Ok((entry, value(parser)?))
    })?;
    Ok(Command::SetMetadata(SetMetadata { mailbox, changes }))
}

fn value(parser: &mut Parser<'_>) -> Parsed<Option<Vec<u8>>> {
    if parser.accept_word("NIL") { Ok(None) } else { Ok(Some(parser.string()?.into_owned())) }
}

/// Rights of which one lets somebody see annotations, besides the right to look the mailbox up (RFC 5464 §3.3).
const ANY: Rights = Rights::READ.union(Rights::SEEN).union(Rights::WRITE).union(Rights::INSERT).union(Rights::POST);

/// What a name stands for, and whether the client may change what is shared.
fn annotated(tx: &ReadTx, viewer: AccountId, mailbox: &str) -> store::Result<(Annotated, bool)> {
    if mailbox.is_empty() {
        return Ok((Annotated::Server, tx.is_administrator(viewer)?));
    }
    let granted = Granted::find_for(tx, viewer, mailbox, Rights::LOOKUP)?;
    if !granted.rights.intersects(ANY) {
        return Err(Error::Denied);
    }
    Ok((Annotated::Mailbox(granted.account, granted.mailbox.id), granted.rights.contains(Rights::WRITE)))
}

/// Whether an entry is worked out, so that nobody sets it (RFC 5464 §3.2.1.1).
fn is_administrators_address(of: Annotated, entry: &EntryName) -> bool {
    of == Annotated::Server && entry.to_string() == "/shared/admin"
}

impl SetMetadata {
    /// Sets all of them or none.
    pub(crate) async fn run(self, server: &mut Server) -> Outcome {
        if self.changes.iter().any(|(_, value)| value.as_ref().is_some_and(|value| value.len() > ANNOTATION_OCTETS_MAX)) {
            return Err(Status::no(format!("METADATA MAXSIZE {ANNOTATION_OCTETS_MAX}"), "That is too long"));
        }
        let viewer = server.account();
        match server.write(move |tx| self.make(tx, viewer)).await? {
            Annotating::TooMany => Err(Status::no("METADATA TOOMANY", "There are too many annotations")),
            Annotating::Done(before, now) => {
                server.annotated(before, now);
                server.finish(Status::ok("Done"), true).await
            }
        }
    }

    fn make(&self, tx: &mut WriteTx, viewer: AccountId) -> store::Result<Annotating> {
        let (of, may_share) = annotated(tx, viewer, &self.mailbox)?;
        let may = |entry: &EntryName| (entry.is_private() || may_share) && !is_administrators_address(of, entry);
        if !self.changes.iter().all(|(entry, _)| may(entry)) {
            return Err(Error::Denied);
        }
        tx.annotate(of, viewer, &self.changes)
    }
}

impl GetMetadata {
    /// Answers with the values; those that are too long are left out and their size is told.
    pub(crate) async fn run(self, server: &mut Server) -> Outcome {
        let (viewer, utf8) = (server.account(), server.enabled().utf8());
        let (data, longest) = server.read(move |tx| self.tell(tx, viewer, utf8)).await?;
        let status = match longest {
            Some(octets) => Status::ok("Some were too long").code(format!("METADATA LONGENTRIES {octets}")),
            None => Status::ok("Done"),
        };
        let end = server.finish(status, true).await?;
        Ok(serve::before(data, end))
    }

    fn tell(&self, tx: &ReadTx, viewer: AccountId, utf8: bool) -> store::Result<(Vec<u8>, Option<u64>)> {
        let (of, _) = annotated(tx, viewer, &self.mailbox)?;
        let mut found = Vec::new();
        for entry in &self.entries {
            found.extend(values(tx, of, viewer, entry, self.depth)?);
        }
        let is_long = |value: &Option<Vec<u8>>| {
            let octets = value.as_ref().map_or(0, Vec::len) as u64;
            self.octets_max.is_some_and(|max| octets > max).then_some(octets)
        };
        let longest = found.iter().filter_map(|(_, value)| is_long(value)).max();
        found.retain(|(_, value)| is_long(value).is_none());
        let mut data = Vec::new();
        write(&mut data, &self.mailbox, &found, utf8);
        Ok((data, longest))
    }
}

/// The values of an entry and of what stands below it; an entry that was asked for by its name and has
/// none is told as NIL.
fn values(
    tx: &ReadTx,
    of: Annotated,
    viewer: AccountId,
    entry: &EntryName,
    depth: usize,
) -> store::Result<Vec<(EntryName, Option<Vec<u8>>)>> {
    if is_administrators_address(of, entry) {
        let account = tx.account(viewer)?.ok_or_else(|| Error::NotFound("account".into()))?;
        return Ok(vec![(entry.clone(), Some(format!("mailto:postmaster@{}", account.address.domain()).into_bytes()))]);
    }
    if depth == 0 {
        return Ok(vec![(entry.clone(), tx.annotation(of, viewer, entry)?)]);
    }
    let found = tx.annotations(of, viewer, entry, depth)?;
    Ok(found.into_iter().map(|(entry, value)| (entry, Some(value))).collect())
}

/// Appends `* METADATA INBOX (/shared/comment "ours" /private/comment NIL)`; nothing without entries.
fn write(data: &mut Vec<u8>, mailbox: &str, values: &[(EntryName, Option<Vec<u8>>)], utf8: bool) {
    if values.is_empty() {
        return;
    }
    data.extend_from_slice(b"* METADATA ");
    response::mailbox(data, mailbox, utf8);
    for (at, (entry, value)) in values.iter().enumerate() {
        data.extend_from_slice(if at == 0 { b" (" } else { b" " });
        data.extend_from_slice(entry.to_string().as_bytes());
        data.push(b' ');
        match value {
            None => data.extend_from_slice(b"NIL"),
            Some(value) if value.contains(&0) => {
                data.push(b'~');
                response::literal(data, value.len() as u64);
                data.extend_from_slice(value);
            }
            Some(value) => response::string(data, value, utf8),
        }
    }
    response::line(data, ")");
}

/// Appends what LIST tells of a mailbox's annotations (RFC 9590 §3); nothing if the client may not see them.
pub(crate) fn listed(
    data: &mut Vec<u8>,
    tx: &ReadTx,
    viewer: AccountId,
    granted: &Granted,
    entries: &[EntryName],
    utf8: bool,
) -> store::Result<()> {
    if entries.is_empty() || !granted.rights.intersects(ANY) {
        return Ok(());
    }
    let of = Annotated::Mailbox(granted.account, granted.mailbox.id);
    let value = |entry: &EntryName| Ok((entry.clone(), tx.annotation(of, viewer, entry)?));
    let values = entries.iter().map(value).collect::<store::Result<Vec<_>>>()?;
    write(data, &granted.mailbox.name, &values, utf8);
    Ok(())
}

/// Appends the names of annotations that others have changed, for clients that have enabled METADATA
/// (RFC 5464 §4.4.2).
pub(crate) fn changed(data: &mut Vec<u8>, tx: &ReadTx, viewer: AccountId, changes: &[AnnotationChange], utf8: bool) -> store::Result<()> {
    for change in changes.iter().filter(|change| change.viewer.is_none_or(|of| of == viewer)) {
        let name = match change.mailbox.0 {
            0 => Some(String::new()),
            _ => tx.mailbox(viewer, change.mailbox)?.map(|mailbox| mailbox.name),
        };
        let Some(name) = name else { continue };
        data.extend_from_slice(b"* METADATA ");
        response::mailbox(data, &name, utf8);
        response::line(data, &format!(" {}", change.entry));
    }
    Ok(())
}
