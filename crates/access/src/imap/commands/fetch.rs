//! FETCH (RFC 9051 §6.4.5), with CHANGEDSINCE and VANISHED (RFC 7162 §3.1.4, §3.2.6), BINARY (RFC 3516),
//! PARTIAL (RFC 9394).

use crate::imap::command::Command;
use crate::imap::command::State;
use crate::imap::commands::message::{Piece, Source};
use crate::imap::commands::message_limit::{self, Cut};
use crate::imap::commands::returns::Partial;
use crate::imap::commands::section::{Section, Text};
use crate::imap::commands::store::Change;
use crate::imap::grammar::{Parsed, Parser};
use crate::imap::response::{self, Status};
use crate::imap::selected::{Look, News, Selected, Tell};
use crate::imap::sequence::SequenceSet;
use crate::imap::serve::{self, Outcome, Server};
use crate::imap::session::{Answer, Done};
use mail::ModSeq;
use mail::uid_set::UidSet;
use mail::{Flag, Flags, Rights, Uid};
use std::collections::VecDeque;
use std::sync::Arc;
use store::{FlagChange, Message, ReadTx};

/// `UID FETCH 1:* (FLAGS BODY.PEEK[HEADER]) (CHANGEDSINCE 12 VANISHED)`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetch {
    /// Which messages.
    pub set: SequenceSet,
    /// The set holds Uids.
    pub by_uid: bool,
    /// What is wanted of each, in the client's order.
    pub items: Vec<Item>,
    /// Only messages changed after this.
    pub changed_since: Option<ModSeq>,
    /// Also what vanished since.
    pub vanished: bool,
    /// Only a stretch of the set (RFC 9394 §3.3).
    pub partial: Option<Partial>,
}

/// What can be wanted of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// `FLAGS`
    Flags,
    /// `UID`
    Uid,
    /// `INTERNALDATE`
    InternalDate,
    /// `RFC822.SIZE`
    Size,
    /// `ENVELOPE`
    Envelope,
    /// `BODY`
    Body,
    /// `BODYSTRUCTURE`
    BodyStructure,
    /// `MODSEQ` (RFC 7162)
    ModSeq,
    /// `EMAILID` (RFC 8474)
    EmailId,
    /// `THREADID` (RFC 8474)
    ThreadId,
    /// `SAVEDATE` (RFC 8514)
    SaveDate,
    /// `PREVIEW` (RFC 8970)
    Preview,
    /// `BODY[…]`, `BODY.PEEK[…]`, `RFC822` and its like, `BINARY[…]`
    Section(Section),
    /// `BINARY.SIZE[1.2]`
    BinarySize(Vec<u32>),
}

/// Most items in one FETCH.
const ITEMS_MAX: usize = 64;

const EXPECTED: &str = "a FETCH item such as FLAGS";

/// Reads its arguments.
///
/// # Errors
/// When they are not its grammar.
pub fn parse(parser: &mut Parser<'_>, by_uid: bool) -> Parsed<Command> {
    parser.space()?;
    let set = parser.sequence_set()?;
    parser.space()?;
    let items = items(parser)?;
    let mut fetch = Fetch { set, by_uid, items, changed_since: None, vanished: false, partial: None };
    if parser.accept(b' ') && !parser.is_done() {
        parser.list(4, |parser| modifier(parser, &mut fetch))?;
    }
    if fetch.vanished && !(by_uid && fetch.changed_since.is_some()) {
        return parser.fault("VANISHED only in UID FETCH and beside CHANGEDSINCE");
    }
    Ok(Command::Fetch(fetch))
}

fn items(parser: &mut Parser<'_>) -> Parsed<Vec<Item>> {
    if parser.peek() == Some(b'(') {
        let items = parser.list(ITEMS_MAX, item)?;
        return if items.is_empty() { parser.fault(EXPECTED) } else { Ok(items) };
    }
    let start = parser.clone();
    let all = [Item::Flags, Item::InternalDate, Item::Size, Item::Envelope, Item::Body];
    let of_macro = match parser.name(EXPECTED)?.to_ascii_uppercase().as_str() {
        "FAST" => 3,
        "ALL" => 4,
        "FULL" => 5,
        _ => {
            *parser = start;
            return item(parser).map(|item| vec![item]);
        }
    };
    Ok(all.into_iter().take(of_macro).collect())
}

/// The rest of a list of items behind its parenthesis: what is fetched of messages that will come.
///
/// # Errors
/// When it is not its grammar.
pub fn listed(parser: &mut Parser<'_>, max: usize) -> Parsed<Vec<Item>> {
    let mut items = Vec::new();
    loop {
        if items.len() == max {
            return parser.fault("a shorter list");
        }
        items.push(item(parser)?);
        if parser.accept(b')') {
            return Ok(items);
        }
        parser.space()?;
    }
}

fn modifier(parser: &mut Parser<'_>, fetch: &mut Fetch) -> Parsed<()> {
    let known = "CHANGEDSINCE, PARTIAL or VANISHED";
    match parser.name(known)?.to_ascii_uppercase().as_str() {
        "CHANGEDSINCE" => {
            parser.space()?;
            // Deviation: Apple Mail sends 0, which RFC 7162 does not allow: everything is newer.
            fetch.changed_since = Some(ModSeq(parser.number()?));
        }
        "VANISHED" => fetch.vanished = true,
        "PARTIAL" if fetch.by_uid => {
            parser.space()?;
            fetch.partial = Some(Partial::parse(parser)?);
        }
        _ => return parser.fault(known),
    }
    Ok(())
}

fn item(parser: &mut Parser<'_>) -> Parsed<Item> {
    let start = parser.clone();
    let name = parser.name(EXPECTED)?.to_ascii_uppercase();
    Ok(match name.as_str() {
        "FLAGS" => Item::Flags,
        "UID" => Item::Uid,
        "INTERNALDATE" => Item::InternalDate,
        "RFC822.SIZE" => Item::Size,
        "ENVELOPE" => Item::Envelope,
        "BODYSTRUCTURE" => Item::BodyStructure,
        "MODSEQ" => Item::ModSeq,
        "EMAILID" => Item::EmailId,
        "THREADID" => Item::ThreadId,
        "SAVEDATE" => Item::SaveDate,
        "PREVIEW" => {
            // LAZY: only if it costs nothing. It never does.
            let _ = parser.accept_word(" (LAZY)");
            Item::Preview
        }
        "RFC822" => Item::Section(Section::whole("RFC822", Text::All, false)),
        "RFC822.HEADER" => Item::Section(Section::whole("RFC822.HEADER", Text::Header, true)),
        "RFC822.TEXT" => Item::Section(Section::whole("RFC822.TEXT", Text::Text, false)),
        "BODY" if parser.peek() != Some(b'[') => Item::Body,
        "BODY" => Item::Section(Section::parse(parser, false)?),
        "BODY.PEEK" => Item::Section(Section::parse(parser, true)?),
        "BINARY" => Item::Section(Section::parse_binary(parser, false, false)?),
        "BINARY.PEEK" => Item::Section(Section::parse_binary(parser, true, false)?),
        "BINARY.SIZE" => Item::BinarySize(Section::parse_binary(parser, true, true)?.path),
        _ => return start.fault(EXPECTED),
    })
}

/// Octets of an answer computed by one read; a single part may take it to twice that. Our own bound.
pub(crate) const CHUNK_OCTETS: usize = 64 * 1024;
/// Message records read at once when no octets of messages are wanted, and when some are.
const BATCH: usize = 256;
const BATCH_WITH_OCTETS: usize = 16;
/// Messages whose `\Seen` is set by one write.
const SEEN_BATCH: u32 = 1000;

/// What is written for each message.
#[derive(Debug)]
pub(crate) struct Spec {
    items: Vec<Item>,
    by_uid: bool,
    /// Octets of messages are needed, not only their records.
    wants_octets: bool,
}

impl Spec {
    /// A specification for a FETCH or UID FETCH.
    pub(crate) fn new(items: Vec<Item>, by_uid: bool) -> Self {
        Self { wants_octets: items.iter().any(|item| matches!(item, Item::Section(_) | Item::BinarySize(_))), by_uid, items }
    }

    /// The UID is told though it was not asked for.
    fn adds_uid(&self) -> bool {
        self.by_uid && !self.items.contains(&Item::Uid)
    }

    fn marks_seen(&self) -> bool {
        self.items.iter().any(|item| matches!(item, Item::Section(section) if !section.peek))
    }
}

/// A FETCH under way.
#[derive(Debug)]
pub(crate) struct Job {
    spec: Arc<Spec>,
    selected: Arc<Selected>,
    look: Look,
    /// Ranges of Uids not yet answered.
    todo: VecDeque<(Uid, Uid)>,
    /// Messages whose `\Seen` this command has set.
    marked: UidSet,
    /// The rest of a message whose first octets are on their way.
    rest: VecDeque<Piece>,
    /// Messages answered, to know whether some were gone.
    answered: u32,
    wanted: u32,
    /// A part could not be decoded.
    undecodable: bool,
    /// Only the newest were answered.
    cut: Option<Cut>,
    status: Status,
    /// The state the session is in behind it.
    state: Option<State>,
}

/// Octets of a message that comes which are told without being asked for each time. Our own bound: of a larger one
/// the client hears what is not octets, and asks for these.
const UNASKED_OCTETS_MAX: u64 = 256 * 1024;

/// Appends what is fetched of a message that has come.
///
/// # Errors
/// When the store fails.
pub(crate) fn unasked(
    tx: &ReadTx,
    selected: &Selected,
    look: &Look,
    message: &Message,
    items: &[Item],
    out: &mut Vec<u8>,
) -> store::Result<()> {
    if !selected.open_line(message.uid, look.enabled, out) {
        return Ok(());
    }
    if !look.enabled.uid_only {
        response::uid_item(out, message.uid);
    }
    let (mut line, mut rest) = (Vec::new(), VecDeque::new());
    let mut source = Source::new(tx, look.account, message, &mut line, &mut rest);
    let small = message.octets <= UNASKED_OCTETS_MAX;
    let fits = |item: &&Item| **item != Item::Uid && (small || !matches!(item, Item::Section(_) | Item::BinarySize(_)));
    for item in items.iter().filter(fits) {
        source.item(item, selected.is_recent(message.uid, look.enabled), look.enabled.utf8())?;
        source.octets(b" ");
    }
    if look.enabled.condstore && !items.contains(&Item::ModSeq) {
        source.item(&Item::ModSeq, false, false)?;
        source.octets(b" ");
    }
    out.append(&mut line);
    Piece::write(&mut rest, tx, out, usize::MAX)?;
    out.pop();
    out.extend_from_slice(b")\r\n");
    Ok(())
}

impl Fetch {
    /// Answers message by message, a chunk at a time.
    pub(crate) async fn run(mut self, server: &mut Server) -> Outcome {
        let selected = server.selected()?;
        let mut uids = selected.named(&self.set, self.by_uid);
        let messages_max = server.shared().config.limits.command_messages_max;
        if let Some(partial) = self.partial {
            uids = partial.among(&uids);
            if let Some(max) = messages_max.filter(|max| uids.len() > *max) {
                return Err(Status::no(format!("MESSAGELIMIT {max}"), "That part has too many messages"));
            }
        }
        server.enabled_mut().condstore |= self.changed_since.is_some() || self.items.contains(&Item::ModSeq);
        if self.vanished && !server.enabled().qresync {
            return Err(Status::bad("ENABLE QRESYNC first").code("CLIENTBUG"));
        }
        let mut data = Vec::new();
        let mut wanted = uids.len();
        if let Some(since) = self.changed_since {
            if !self.items.contains(&Item::ModSeq) {
                self.items.push(Item::ModSeq);
            }
            // `*` may have been a message that is gone.
            let asked = self.set.uids(Uid(u32::MAX));
            let (changed, vanished) = changed_since(server, &selected, since, asked).await?;
            uids = uids.intersect(&changed);
            wanted = 0;
            if self.vanished {
                response::vanished(&mut data, &vanished, true);
            }
        }
        let (uids, cut) = message_limit::highest(uids, messages_max);
        wanted = wanted.min(uids.len());
        let spec = Spec::new(self.items, self.by_uid);
        let marks_seen = spec.marks_seen() && !selected.read_only && selected.rights.contains(Rights::SEEN);
        let marked = if marks_seen { mark_seen(server, &uids, self.by_uid, &mut data).await? } else { UidSet::new() };
        // The view may have moved on with what others did; its sequence numbers have not.
        let job = Job::new(spec, server.look(false, self.by_uid), server.selected()?, &uids, Status::ok("Done"));
        let job = Job { marked, wanted, cut, ..job };
        let first = Box::new(job).step(server).await?;
        Ok(serve::before(data, first))
    }
}

/// Messages that changed after a mod-sequence, and which of the Uids asked for vanished.
async fn changed_since(server: &Server, selected: &Selected, since: ModSeq, asked: UidSet) -> Result<(UidSet, UidSet), Status> {
    let (account, mailbox) = (selected.account, selected.mailbox);
    server
        .read(move |tx| {
            let changes = tx.changes(account, mailbox, since)?;
            let touched = changes.messages.iter().map(|message| message.uid).collect();
            Ok((touched, changes.vanished.intersect(&asked)))
        })
        .await
}

/// Sets `\Seen`; which messages had it not. They tell their flags themselves.
async fn mark_seen(server: &mut Server, uids: &UidSet, by_uid: bool, data: &mut Vec<u8>) -> Result<UidSet, Status> {
    let unseen = unseen(server, uids).await?;
    let mut todo = unseen.clone();
    while !todo.is_empty() {
        let (batch, rest) = super::expunge::split(&todo, SEEN_BATCH);
        let change = Change {
            selected: server.selected()?,
            uids: batch,
            flags: FlagChange::Add(Flags::from_iter([Flag::Seen])),
            unchanged_since: None,
            tell: Tell::Nothing,
            look: server.look(false, by_uid),
        };
        let (news, ..) = server.write(move |tx| change.make(tx)).await?;
        data.extend(server.accept(news));
        todo = rest;
    }
    Ok(unseen)
}

async fn unseen(server: &Server, uids: &UidSet) -> Result<UidSet, Status> {
    let (selected, uids) = (server.selected()?, uids.clone());
    let (account, mailbox) = (selected.account, selected.mailbox);
    server
        .read(move |tx| {
            let mut unseen = UidSet::new();
            let mut todo: VecDeque<_> = uids.ranges().collect();
            while let Some((first, last)) = todo.pop_front() {
                let messages = tx.messages(account, mailbox, first, last, BATCH)?;
                for message in messages.iter().filter(|message| !message.flags.contains(&Flag::Seen)) {
                    unseen.insert(message.uid);
                }
                let next = messages.last().filter(|message| messages.len() == BATCH && message.uid < last);
                todo.extend(next.map(|message| (message.uid.next(), last)));
            }
            Ok(unseen)
        })
        .await
}

impl Job {
    /// A job for these messages, which ends with a status.
    pub(crate) fn new(spec: Spec, look: Look, selected: Arc<Selected>, uids: &UidSet, status: Status) -> Self {
        let todo = uids.ranges().collect();
        let look = Look { by_uid: spec.by_uid, ..look };
        let state = None;
        Self {
            spec: Arc::new(spec),
            selected,
            look,
            todo,
            marked: UidSet::new(),
            rest: VecDeque::new(),
            answered: 0,
            wanted: 0,
            undecodable: false,
            cut: None,
            status,
            state,
        }
    }

    /// The same, for a command that ends in another state (SELECT).
    pub(crate) fn ending_in(self, state: State) -> Self {
        Self { state: Some(state), ..self }
    }

    /// Computes the next chunk in one read; the last one also has the news.
    pub(crate) async fn step(self: Box<Self>, server: &mut Server) -> Outcome {
        let (job, mut data, news) = server.read(move |tx| self.chunk(tx)).await?;
        if !job.is_done() {
            return Ok(server.more(data, serve::Job::Fetch(job)));
        }
        data.extend(server.accept(news));
        let some_gone = !job.spec.by_uid && job.answered < job.wanted;
        let status = if some_gone {
            Status::no("EXPUNGEISSUED", "Some of the messages are gone")
        } else if job.undecodable {
            Status::no("UNKNOWN-CTE", "A part has an encoding that is not known here")
        } else {
            job.status
        };
        let status = Cut::tell(job.cut, status, &mut data);
        Ok(Answer::Done(Done { data, status, state: job.state }))
    }

    fn is_done(&self) -> bool {
        self.todo.is_empty() && self.rest.is_empty()
    }

    fn chunk(mut self: Box<Self>, tx: &ReadTx) -> store::Result<(Box<Self>, Vec<u8>, Option<News>)> {
        let mut out = Vec::new();
        Piece::write(&mut self.rest, tx, &mut out, CHUNK_OCTETS)?;
        while self.rest.is_empty() && out.len() < CHUNK_OCTETS {
            let Some((first, last)) = self.todo.pop_front() else { break };
            self.batch(tx, first, last, &mut out)?;
        }
        let mut news = None;
        if self.is_done() {
            // Sequence numbers may move only behind commands that do not use them (RFC 9051 §7.5.1).
            let look = Look { expunges: self.spec.by_uid, ..self.look.clone() };
            news = self.selected.news(tx, &look, None)?;
        }
        Ok((self, out, news))
    }

    /// Answers messages of a range until the chunk is full; what is left of the range stays to be done.
    fn batch(&mut self, tx: &ReadTx, first: Uid, last: Uid, out: &mut Vec<u8>) -> store::Result<()> {
        let max = if self.spec.wants_octets { BATCH_WITH_OCTETS } else { BATCH };
        let messages = tx.messages(self.look.account, self.selected.mailbox, first, last, max)?;
        let whole = messages.len() < max;
        let mut next = None;
        for message in &messages {
            if out.len() >= CHUNK_OCTETS || !self.rest.is_empty() {
                next = Some(message.uid);
                break;
            }
            self.message(tx, message, out)?;
        }
        let next = next.or_else(|| messages.last().filter(|_| !whole).map(|message| message.uid.next()));
        if let Some(next) = next.filter(|next| *next <= last) {
            self.todo.push_front((next, last));
        }
        Ok(())
    }

    fn message(&mut self, tx: &ReadTx, message: &Message, out: &mut Vec<u8>) -> store::Result<()> {
        if !self.selected.open_line(message.uid, self.look.enabled, out) {
            return Ok(());
        }
        self.answered += 1;
        if self.spec.adds_uid() && !self.look.enabled.uid_only {
            response::uid_item(out, message.uid);
        }
        let mut source = Source::new(tx, self.look.account, message, out, &mut self.rest);
        let recent = self.selected.is_recent(message.uid, self.look.enabled);
        for item in &self.spec.items {
            source.item(item, recent, self.look.enabled.utf8())?;
            source.octets(b" ");
        }
        if self.marked.contains(message.uid) && !self.spec.items.contains(&Item::Flags) {
            source.item(&Item::Flags, recent, false)?;
            source.octets(b" ");
            if self.look.enabled.condstore && !self.spec.items.contains(&Item::ModSeq) {
                source.item(&Item::ModSeq, false, false)?;
                source.octets(b" ");
            }
        }
        self.undecodable |= !source.end();
        Ok(())
    }
}
