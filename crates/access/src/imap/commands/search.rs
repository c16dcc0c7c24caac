//! SEARCH (RFC 9051 §6.4.4): the keys of both revisions, ESEARCH (RFC 4731), SEARCHRES (RFC 5182), PARTIAL
//! (RFC 9394), FUZZY (RFC 6203), texts compared by `i;unicode-casemap` (RFC 5255 I18NLEVEL=1), MODSEQ (RFC 7162 §3.1.5), WITHIN (RFC 5032), SAVEDATE (RFC 8514), OBJECTID (RFC 8474).

use crate::imap::command::Command;
use crate::imap::commands::candidate::{self, Scene};
use crate::imap::commands::enable::Enabled;
use crate::imap::commands::fetch::Item;
use crate::imap::commands::message_limit::{self, Cut};
use crate::imap::commands::returns::{Listed, Response, Returns};
use crate::imap::commands::sort::Sort;
use crate::imap::commands::thread::Thread;
use crate::imap::contexts::{self, Context, Members};
use crate::imap::grammar::{Fault, Parsed, Parser};
use crate::imap::response;
use crate::imap::response::Status;
use crate::imap::selected::Selected;
use crate::imap::sequence::SequenceSet;
use crate::imap::serve::{self, Outcome, Server};
use mail::Uid;
use mail::casemap::fold;
use mail::fuzzy::Words;
use mail::grams::Pattern;
use mail::uid_set::UidSet;
use mail::{AccountId, Flag, MailboxId, ModSeq, Timestamp};
use std::collections::VecDeque;
use std::sync::Arc;
use store::ReadTx;

/// `UID SEARCH RETURN (MIN COUNT) UNSEEN FROM "ann"`
#[derive(Debug, Clone, PartialEq)]
pub struct Search {
    /// Uids are answered.
    pub by_uid: bool,
    /// RETURN was given: ESEARCH is answered.
    pub returns: Option<Returns>,
    /// What is fetched of messages that come into the result later.
    pub items: Vec<Item>,
    /// CHARSET was given.
    pub names_charset: bool,
    /// What messages must be.
    pub key: Key,
}

/// What a message must be.
#[derive(Debug, Clone, PartialEq)]
pub enum Key {
    /// Anything.
    All,
    /// It has the flag, or it has it not.
    Flag(Flag, bool),
    /// `RECENT`, or `OLD` if false.
    Recent(bool),
    /// `NEW`
    New,
    /// Can never be: a flag that is no flag.
    Never,
    /// An address field or the subject holds a text.
    Field(Field, Needle),
    /// A field of that name holds a text; an empty text: there is such a field.
    Header(String, Needle),
    /// The body holds a text.
    Body(Needle),
    /// Header or body hold a text.
    Text(Needle),
    /// A date stands so to a day (days since 1970-01-01).
    Date(Dated, When, i64),
    /// INTERNALDATE is at most (true) or at least that many seconds ago.
    Within(bool, u64),
    /// More octets than this.
    Larger(u64),
    /// Fewer octets than this.
    Smaller(u64),
    /// Changed at or after this.
    ModSeq(ModSeq),
    /// One of these sequence numbers, as written.
    Set(SequenceSet),
    /// One of these Uids, as written.
    Uid(SequenceSet),
    /// A Uid above (true) or below this one (RFC 9738 §3.2).
    Beyond(bool, Uid),
    /// One of these Uids.
    Uids(UidSet),
    /// The email's id.
    EmailId(String),
    /// The thread's id.
    ThreadId(String),
    /// SAVEDATE is supported here.
    SaveDateSupported,
    /// Not so.
    Not(Box<Self>),
    /// One of the two.
    Or(Box<Self>, Box<Self>),
    /// All of these.
    And(Vec<Self>),
    /// This, and its texts need only be nearly so.
    Fuzzy(Box<Self>),
}

/// The fields that the digest holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// `BCC`
    Bcc,
    /// `CC`
    Cc,
    /// `FROM`
    From,
    /// `SUBJECT`
    Subject,
    /// `TO`
    To,
}

/// Which of a message's dates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dated {
    /// INTERNALDATE
    Internal,
    /// The `Date` field.
    Sent,
    /// When it came into this mailbox.
    Saved,
}

/// How a date must stand to a day; times and zones are disregarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// `BEFORE`
    Before,
    /// `ON`
    On,
    /// `SINCE`
    Since,
}

/// A text to find.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Needle {
    /// The text, folded.
    pub text: String,
    /// Its grams, for the full-text index.
    pub pattern: Pattern,
    /// Which of the texts of its search it is; less than 64.
    pub number: usize,
    /// Under FUZZY: its words, which need not be exactly as they are.
    pub words: Option<Words>,
}

impl Needle {
    /// Whether a folded text holds it.
    pub fn is_in(&self, text: &str) -> bool {
        self.is_among(std::iter::once(text))
    }

    /// Whether one of several folded texts holds it, or all together hold its words.
    pub fn is_among<'a>(&self, mut texts: impl Iterator<Item = &'a str>) -> bool {
        let Some(words) = &self.words else { return texts.any(|text| text.contains(&self.text)) };
        let mut hits = words.no_hits();
        texts.any(|text| {
            words.look(text, &mut hits);
            hits.are_all()
        })
    }

    /// How well a folded text holds it, in percent.
    pub fn quality_in(&self, text: &str) -> u32 {
        let Some(words) = &self.words else { return if text.contains(&self.text) { 100 } else { 0 } };
        let mut hits = words.no_hits();
        words.look(text, &mut hits);
        hits.quality()
    }
}

/// Most keys in one SEARCH.
const KEYS_MAX: usize = 2000;
/// Most of them that look for a text: each is looked for in every text of every message, and has a bit of a u64.
const TEXTS_MAX: usize = 64;
/// Deepest nesting of keys.
const DEPTH_MAX: usize = 32;

const EXPECTED: &str = "a search key";

/// Reads its arguments.
///
/// # Errors
/// When they are not its grammar, or name a charset that we do not know.
pub fn parse(parser: &mut Parser<'_>, by_uid: bool) -> Parsed<Command> {
    parser.space()?;
    let start = parser.clone();
    let (returns, items) = Returns::parse(parser)?.unzip();
    let (key, names_charset) = keys(parser)?;
    if returns.is_some_and(|returns| returns.relevancy) && !key.is_fuzzy() {
        return start.fault("FUZZY beside RELEVANCY");
    }
    Ok(Command::Search(Box::new(Search { by_uid, returns, items: items.unwrap_or_default(), names_charset, key })))
}

/// Reads keys, and a charset before them if one stands there; whether it does.
///
/// # Errors
/// When they are not their grammar, or the charset is not known.
pub fn keys(parser: &mut Parser<'_>) -> Parsed<(Key, bool)> {
    if parser.accept_word("CHARSET ") {
        return Ok((with_charset(parser)?, true));
    }
    Ok((all(parser, None)?, false))
}

/// Reads a charset and the keys written in it: the end of SORT and THREAD.
///
/// # Errors
/// When they are not their grammar, or the charset is not known.
pub fn with_charset(parser: &mut Parser<'_>) -> Parsed<Key> {
    let named = charset(parser)?;
    parser.space()?;
    all(parser, Some(named))
}

/// Reads keys to the end of the command.
fn all(parser: &mut Parser<'_>, charset: Option<String>) -> Parsed<Key> {
    let mut keys = Keys { left: KEYS_MAX, texts_left: TEXTS_MAX, charset, fuzzy: false };
    let mut all = vec![keys.key(parser, 0)?];
    while parser.accept(b' ') && !parser.is_done() {
        all.push(keys.key(parser, 0)?);
    }
    Ok(if all.len() == 1 { all.pop().unwrap_or(Key::All) } else { Key::And(all) })
}

fn charset(parser: &mut Parser<'_>) -> Parsed<String> {
    let name = parser.text()?.into_owned();
    if mail::charset::is_known(&name) {
        return Ok(name);
    }
    Err(Fault::Refused(Box::new(Status::no("BADCHARSET (UTF-8 US-ASCII)", "That charset is not known here"))))
}

/// Reads keys and counts them.
struct Keys {
    left: usize,
    texts_left: usize,
    /// In which texts are written; UTF-8 if none was named.
    charset: Option<String>,
    /// Within FUZZY.
    fuzzy: bool,
}

impl Keys {
    fn key(&mut self, parser: &mut Parser<'_>, depth: usize) -> Parsed<Key> {
        if self.left == 0 || depth > DEPTH_MAX {
            return parser.fault("a simpler search");
        }
        self.left -= 1;
        match parser.peek() {
            Some(b'(') => {
                let keys = parser.list(KEYS_MAX, |parser| self.key(parser, depth + 1))?;
                if keys.is_empty() { parser.fault(EXPECTED) } else { Ok(Key::And(keys)) }
            }
            Some(b'0'..=b'9' | b'*' | b'$') => Ok(Key::Set(parser.sequence_set()?)),
            _ => self.named(parser, depth),
        }
    }

    fn named(&mut self, parser: &mut Parser<'_>, depth: usize) -> Parsed<Key> {
        let start = parser.clone();
        let name = parser.name(EXPECTED)?.to_ascii_uppercase();
        if let Some(key) = plain(&name) {
            return Ok(key);
        }
        parser.space()?;
        match name.as_str() {
            "NOT" => Ok(Key::Not(Box::new(self.key(parser, depth + 1)?))),
            "OR" => {
                let left = self.key(parser, depth + 1)?;
                parser.space()?;
                Ok(Key::Or(Box::new(left), Box::new(self.key(parser, depth + 1)?)))
            }
            "FUZZY" => {
                let outer = std::mem::replace(&mut self.fuzzy, true);
                let key = self.key(parser, depth + 1);
                self.fuzzy = outer;
                Ok(Key::Fuzzy(Box::new(key?)))
            }
            _ => self.with_argument(parser, &name).unwrap_or_else(|| start.fault(EXPECTED)),
        }
    }

    /// Keys with an argument; the space before it is taken. `None` if there is no such key.
    fn with_argument(&mut self, parser: &mut Parser<'_>, name: &str) -> Option<Parsed<Key>> {
        Some(match name {
            "BCC" => self.field(parser, Field::Bcc),
            "CC" => self.field(parser, Field::Cc),
            "FROM" => self.field(parser, Field::From),
            "SUBJECT" => self.field(parser, Field::Subject),
            "TO" => self.field(parser, Field::To),
            "BODY" => self.needle(parser).map(Key::Body),
            "TEXT" => self.needle(parser).map(Key::Text),
            "HEADER" => self.header(parser),
            _ => return without_text(parser, name),
        })
    }

    fn field(&mut self, parser: &mut Parser<'_>, field: Field) -> Parsed<Key> {
        self.needle(parser).map(|needle| Key::Field(field, needle))
    }

    fn header(&mut self, parser: &mut Parser<'_>) -> Parsed<Key> {
        let name = parser.text()?.into_owned();
        parser.space()?;
        Ok(Key::Header(name, self.needle(parser)?))
    }

    fn needle(&mut self, parser: &mut Parser<'_>) -> Parsed<Needle> {
        if self.texts_left == 0 {
            return parser.fault("fewer texts to look for");
        }
        self.texts_left -= 1;
        let text = match &self.charset {
            Some(charset) => fold(&mail::charset::decode(charset, &parser.astring()?)),
            None => fold(&parser.text()?),
        };
        let words = if self.fuzzy { Words::of(&text) } else { None };
        // Words that are only nearly right have other grams.
        let pattern = if words.is_some() { Pattern::default() } else { Pattern::of(&text) };
        Ok(Needle { pattern, number: self.texts_left, words, text })
    }
}

/// Keys without an argument.
fn plain(name: &str) -> Option<Key> {
    let flags = [
        ("ANSWERED", Flag::Answered),
        ("DELETED", Flag::Deleted),
        ("DRAFT", Flag::Draft),
        ("FLAGGED", Flag::Flagged),
        ("SEEN", Flag::Seen),
    ];
    for (word, flag) in flags {
        if name == word {
            return Some(Key::Flag(flag, true));
        }
        if name.strip_prefix("UN") == Some(word) {
            return Some(Key::Flag(flag, false));
        }
    }
    Some(match name {
        "ALL" => Key::All,
        "NEW" => Key::New,
        "OLD" => Key::Recent(false),
        "RECENT" => Key::Recent(true),
        "SAVEDATESUPPORTED" => Key::SaveDateSupported,
        _ => return None,
    })
}

/// Keys with an argument that is no text to find.
fn without_text(parser: &mut Parser<'_>, name: &str) -> Option<Parsed<Key>> {
    Some(match name {
        "KEYWORD" => keyword(parser, true),
        "UNKEYWORD" => keyword(parser, false),
        "LARGER" => parser.number().map(Key::Larger),
        "SMALLER" => parser.number().map(Key::Smaller),
        "YOUNGER" => parser.number().map(|seconds| Key::Within(true, seconds)),
        "OLDER" => parser.number().map(|seconds| Key::Within(false, seconds)),
        "UID" => parser.sequence_set().map(Key::Uid),
        "UIDAFTER" => parser.nz_number().map(|uid| Key::Beyond(true, Uid(uid))),
        "UIDBEFORE" => parser.nz_number().map(|uid| Key::Beyond(false, Uid(uid))),
        "MODSEQ" => mod_seq(parser),
        "EMAILID" => parser.atom().map(|id| Key::EmailId(id.to_owned())),
        "THREADID" => parser.atom().map(|id| Key::ThreadId(id.to_owned())),
        _ => {
            let (dated, when) = dated(name)?;
            parser.date().map(|day| Key::Date(dated, when, day))
        }
    })
}

fn dated(name: &str) -> Option<(Dated, When)> {
    let (dated, when) = match name {
        _ if name.starts_with("SENT") => (Dated::Sent, name.get(4..)?),
        _ if name.starts_with("SAVED") => (Dated::Saved, name.get(5..)?),
        _ => (Dated::Internal, name),
    };
    match when {
        "BEFORE" => Some((dated, When::Before)),
        "ON" => Some((dated, When::On)),
        "SINCE" => Some((dated, When::Since)),
        _ => None,
    }
}

fn keyword(parser: &mut Parser<'_>, has: bool) -> Parsed<Key> {
    let flag = parser.flag()?;
    Ok(match flag {
        Some(flag) => Key::Flag(flag, has),
        None if has => Key::Never,
        None => Key::All,
    })
}

/// `MODSEQ 620162338` or `MODSEQ "/flags/\\draft" all 620162338`; we keep one mod-sequence a message.
fn mod_seq(parser: &mut Parser<'_>) -> Parsed<Key> {
    if parser.peek() == Some(b'"') {
        parser.string()?;
        parser.space()?;
        parser.atom()?;
        parser.space()?;
    }
    Ok(Key::ModSeq(ModSeq(parser.number()?)))
}

impl Key {
    /// Whether MODSEQ is asked for, which turns CONDSTORE on.
    pub fn names_mod_seq(&self) -> bool {
        match self {
            Self::ModSeq(_) => true,
            Self::Not(key) | Self::Fuzzy(key) => key.names_mod_seq(),
            Self::Or(left, right) => left.names_mod_seq() || right.names_mod_seq(),
            Self::And(keys) => keys.iter().any(Self::names_mod_seq),
            _ => false,
        }
    }

    /// Whether FUZZY is in it, without which there is no relevancy.
    pub fn is_fuzzy(&self) -> bool {
        self.any(&|key| matches!(key, Self::Fuzzy(_)))
    }

    /// Whether it, or a key within it, is so.
    pub(crate) fn any(&self, is: &dyn Fn(&Self) -> bool) -> bool {
        is(self)
            || match self {
                Self::Not(key) | Self::Fuzzy(key) => key.any(is),
                Self::Or(left, right) => left.any(is) || right.any(is),
                Self::And(keys) => keys.iter().any(|key| key.any(is)),
                _ => false,
            }
    }
}

/// Messages looked at by one read, and octets read by it: then others come between. Our own bounds.
const BATCH: usize = 512;
const OCTETS_MAX: u64 = 4 * 1024 * 1024;

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) uids: UidSet,
    /// ModSeq of the first, of the last, and the highest of all.
    mod_seqs: (ModSeq, ModSeq, ModSeq),
    /// How well each matches, in the order of Uids, where FUZZY asks for it; in no unit.
    weights: Vec<u32>,
    /// Only the newest were looked at.
    pub(crate) cut: Option<Cut>,
}

impl Search {
    /// Looks at the messages in rows of short reads and answers once.
    pub(crate) async fn run(self: Box<Self>, server: &mut Server, tag: String) -> Outcome {
        if self.names_charset && server.enabled().utf8_accept {
            // RFC 9755 §3
            return Err(Status::bad("Everything is UTF-8 since you enabled UTF8=ACCEPT: no CHARSET").code("CLIENTBUG"));
        }
        find(Wants::Search(self), server, tag).await
    }

    async fn answer(self: Box<Self>, server: &mut Server, tag: &str, found: Found) -> Outcome {
        let selected = server.selected()?;
        if let Some(returns) = self.returns.filter(|returns| returns.save) {
            let kept = returns.kept(&Listed::Set(found.uids.clone()));
            server.revise(|selected| selected.saved = kept);
        }
        // IMAP4rev2 knows no SEARCH response (RFC 9051 §7.3.4).
        let returns = self.returns.or_else(|| server.enabled().rev2.then_some(Returns::ALL));
        let mut data = self.told(returns, &selected, &found, tag);
        if returns.is_some_and(|returns| returns.update) {
            let members = Members::Set(found.uids.clone());
            keep_up(server, Context::new(server, &selected, tag, self.by_uid, &self.key, self.items, members), &found, &mut data);
        }
        let status = Cut::tell(found.cut, Status::ok("Done"), &mut data);
        let last = server.finish(status, self.by_uid).await?;
        Ok(serve::before(data, last))
    }

    fn told(&self, returns: Option<Returns>, selected: &Selected, found: &Found, tag: &str) -> Vec<u8> {
        let listed = Listed::Set(if self.by_uid { found.uids.clone() } else { numbers(selected, &found.uids) });
        let names_mod_seq = self.key.names_mod_seq();
        let mut data = Vec::new();
        match returns {
            None => plain_response(&mut data, &listed, names_mod_seq.then_some(found.mod_seqs.2)),
            Some(returns) if returns.is_save_alone() => {}
            Some(returns) => {
                let mod_seq = names_mod_seq.then(|| found.mod_seq(returns));
                let scores: Vec<_> = found.relevancies().into_iter().map(|(_, score)| score).collect();
                Response { tag, of: None, by_uid: self.by_uid, returns, listed: &listed, scores: &scores, mod_seq }.write(&mut data);
            }
        }
        data
    }
}

/// `* SEARCH 2 84 882 (MODSEQ 917162500)`
fn plain_response(data: &mut Vec<u8>, listed: &Listed, mod_seq: Option<ModSeq>) {
    data.extend_from_slice(b"* SEARCH");
    listed.write_each(data);
    if let Some(mod_seq) = mod_seq.filter(|_| !listed.is_empty()) {
        data.extend_from_slice(b" (MODSEQ ");
        response::number(data, mod_seq.0);
        data.push(b')');
    }
    data.extend_from_slice(b"\r\n");
}

/// The sequence numbers of Uids.
fn numbers(selected: &Selected, uids: &UidSet) -> UidSet {
    let rank = |uid: Uid| selected.uids.rank(uid).map_or(0, |number| number.0);
    uids.intersect(&selected.uids).iter().map(|uid| Uid(rank(uid))).collect()
}

/// What sequence numbers and `$` stand for.
pub(crate) struct Scope<'a> {
    pub(crate) selected: &'a Selected,
    pub(crate) enabled: Enabled,
}

impl Context {
    /// A result to be kept up to date from now on.
    pub(crate) fn new(
        server: &Server,
        selected: &Selected,
        tag: &str,
        by_uid: bool,
        key: &Key,
        items: Vec<Item>,
        members: Members,
    ) -> Self {
        Self { tag: tag.into(), by_uid, scene: Arc::new(Scene::new(key, selected, server)), items: items.into(), members }
    }
}

/// Keeps a result up to date, or says why not (RFC 5267 §4.3.1).
pub(crate) fn keep_up(server: &mut Server, context: Context, found: &Found, data: &mut Vec<u8>) {
    let limits = &server.shared().config.limits;
    let sorted = matches!(context.members, Members::Sorted(..));
    let kept = server.selected().map_or(0, |selected| selected.contexts.len());
    let why = if kept >= limits.contexts_max {
        "Too many contexts"
    } else if sorted && context.members.len() > limits.sorted_context_messages_max {
        "Too many messages to keep in order"
    } else if found.cut.is_some() {
        "Not all of the mailbox was searched"
    } else if !Context::can_follow(&context.scene.key) {
        "What is sought changes with the time or the session"
    } else {
        return server.revise(|selected| selected.contexts.push(context));
    };
    contexts::refuse(&context.tag, why, data);
}

/// Looks at all messages without a word in between.
pub(crate) async fn all_found(key: &Key, selected: &Selected, server: &Server) -> Result<Found, Status> {
    let scene = Arc::new(Scene::new(key, selected, server));
    let mut todo: VecDeque<_> = key.among(&selected.uids.subtract(&selected.gone)).ranges().collect();
    let mut found = Found::default();
    while !todo.is_empty() {
        let scene = scene.clone();
        (todo, found) = server.read(move |tx| look(tx, &scene, todo, found)).await?;
    }
    Ok(found)
}

impl Scene {
    fn new(key: &Key, selected: &Selected, server: &Server) -> Self {
        Self::of(key.clone(), selected.account, selected.mailbox, server.now(), selected.recent.clone())
    }

    pub(crate) fn of(key: Key, account: AccountId, mailbox: MailboxId, now: Timestamp, recent: UidSet) -> Self {
        let mut texts = Vec::new();
        key.texts(&mut texts);
        Self { weighs: key.is_fuzzy(), account, mailbox, key, now, recent, texts }
    }
}

/// What is to be done with what is found.
#[derive(Debug)]
pub(crate) enum Wants {
    Search(Box<Search>),
    Sort(Box<Sort>),
    Thread(Box<Thread>),
}

impl Wants {
    const fn key_mut(&mut self) -> &mut Key {
        match self {
            Self::Search(search) => &mut search.key,
            Self::Sort(sort) => &mut sort.key,
            Self::Thread(thread) => &mut thread.key,
        }
    }

    fn returns(&self) -> Returns {
        let returns = match self {
            Self::Search(search) => search.returns,
            Self::Sort(sort) => sort.returns,
            Self::Thread(_) => None,
        };
        returns.unwrap_or_default()
    }
}

/// A search under way.
#[derive(Debug)]
pub(crate) struct Job {
    tag: String,
    wants: Wants,
    scene: Arc<Scene>,
    /// Ranges of Uids not yet looked at.
    todo: VecDeque<(Uid, Uid)>,
    found: Found,
    /// How many messages there are to look at.
    goal: u32,
    /// When the client last heard of it.
    told: Timestamp,
}

/// Finds the messages that are as a key says, and answers. Where that saves and fails, `$` is empty (RFC 5182 §2.1).
pub(crate) async fn find(mut wants: Wants, server: &mut Server, tag: String) -> Outcome {
    let selected = server.selected()?;
    let (returns, key) = (wants.returns(), wants.key_mut());
    if returns.update && selected.contexts.iter().any(|context| *context.tag == *tag) {
        // RFC 5267 §4.3
        return Err(Status::bad("That tag's search is kept up to date already").code("CLIENTBUG"));
    }
    if let Err(status) = key.resolve(&Scope { selected: &selected, enabled: server.enabled() }) {
        if returns.save {
            server.revise(|selected| selected.saved = UidSet::new());
        }
        return Err(status);
    }
    server.enabled_mut().condstore |= key.names_mod_seq();
    let scene = Arc::new(Scene::new(key, &selected, server));
    // Messages that are gone and of which the client does not know are found no more.
    let messages_max = server.shared().config.limits.command_messages_max;
    let (among, cut) = message_limit::highest(key.among(&selected.uids.subtract(&selected.gone)), messages_max);
    if let Some(max) = messages_max.filter(|_| cut.is_some() && !matches!(wants, Wants::Search(_))) {
        // RFC 9738 §3.3
        return Err(Status::no(format!("MESSAGELIMIT {max}"), "Too many messages to sort or thread, name fewer"));
    }
    let found = Found { cut, ..Found::default() };
    let (todo, goal) = (among.ranges().collect(), among.len());
    Box::new(Job { tag, wants, scene, todo, found, goal, told: server.now() }).step(server).await
}

impl Job {
    /// Looks on until all was looked at, or until the client should hear of it (RFC 9585).
    pub(crate) async fn step(mut self: Box<Self>, server: &mut Server) -> Outcome {
        let progress_wait = server.shared().config.limits.progress_wait;
        while !self.todo.is_empty() {
            let (scene, todo, found) = (self.scene.clone(), self.todo, self.found);
            (self.todo, self.found) = server.read(move |tx| look(tx, &scene, todo, found)).await?;
            let now = server.now();
            if !self.todo.is_empty() && now.since(self.told) >= progress_wait {
                self.told = now;
                let data = self.progress();
                return Ok(server.more(data, serve::Job::Find(self)));
            }
        }
        let Self { tag, wants, found, .. } = *self;
        match wants {
            Wants::Search(search) => search.answer(server, &tag, found).await,
            Wants::Sort(sort) => sort.answer(server, &tag, found).await,
            Wants::Thread(thread) => thread.answer(server, found).await,
        }
    }

    /// `* OK [INPROGRESS ("a1" 512 10000)] Still looking`; a tag that would end the code is left out (RFC 9585 §4).
    fn progress(&self) -> Vec<u8> {
        // The ranges hold messages only, those that were there when the search began.
        let left: u32 = self.todo.iter().map(|(first, last)| last.0 - first.0 + 1).sum();
        let done = self.goal.saturating_sub(left);
        let mut data = Vec::new();
        let tag = if self.tag.contains(']') { "NIL".to_owned() } else { format!("\"{}\"", self.tag) };
        Status::ok("Still looking").code(format!("INPROGRESS ({tag} {done} {})", self.goal)).write(&mut data, "*");
        data
    }
}

impl Found {
    /// That of the messages returned (RFC 7162 §3.1.10).
    pub(crate) fn mod_seq(&self, returns: Returns) -> ModSeq {
        let (first, last, highest) = self.mod_seqs;
        match (returns.all || returns.count || returns.partial.is_some(), returns.min, returns.max) {
            (false, true, true) => first.max(last),
            (false, true, false) => first,
            (false, false, true) => last,
            _ => highest,
        }
    }

    /// How relevant each message is, from 1 to 100: the best has 100 and the worst 1 (RFC 6203 §4).
    pub(crate) fn relevancies(&self) -> Vec<(Uid, u8)> {
        let (least, most) = self.weights.iter().fold((u32::MAX, 0), |(least, most), weight| (least.min(*weight), most.max(*weight)));
        let scaled = |weight: u32| match most.saturating_sub(least) {
            0 => 100,
            range => 1 + u64::from(weight - least) * 99 / u64::from(range),
        };
        let score = |weight: &u32| u8::try_from(scaled(*weight)).unwrap_or(100);
        self.uids.iter().zip(self.weights.iter().map(score)).collect()
    }

    fn add(&mut self, uid: Uid, mod_seq: ModSeq) {
        if self.uids.is_empty() {
            self.mod_seqs.0 = mod_seq;
        }
        self.mod_seqs.1 = mod_seq;
        self.mod_seqs.2 = self.mod_seqs.2.max(mod_seq);
        self.uids.insert(uid);
    }
}

/// Looks at messages until there are enough for one read.
fn look(tx: &ReadTx, scene: &Scene, mut todo: VecDeque<(Uid, Uid)>, mut found: Found) -> store::Result<(VecDeque<(Uid, Uid)>, Found)> {
    let (mut messages_left, mut octets_left) = (BATCH, OCTETS_MAX);
    while let Some((first, last)) = todo.pop_front() {
        let messages = tx.messages(scene.account, scene.mailbox, first, last, messages_left)?;
        let all = messages.len() < messages_left;
        messages_left -= messages.len();
        let mut next = messages.last().filter(|_| !all).map(|message| message.uid.next());
        let verdicts = candidate::verdicts(tx, scene, &messages)?;
        for (message, verdict) in messages.iter().zip(verdicts) {
            if octets_left == 0 {
                next = Some(message.uid);
                break;
            }
            let (weight, octets) = candidate::judge(tx, scene, message, verdict)?;
            octets_left = octets_left.saturating_sub(octets);
            if let Some(weight) = weight {
                found.add(message.uid, message.mod_seq);
                found.weights.extend(Some(weight).filter(|_| scene.weighs));
            }
        }
        if let Some(next) = next.filter(|next| *next <= last) {
            todo.push_front((next, last));
        }
        if messages_left == 0 || octets_left == 0 {
            break;
        }
    }
    Ok((todo, found))
}

impl Key {
    /// The texts that are looked for where only the message's own index can tell that they are not.
    fn texts(&self, found: &mut Vec<(usize, Pattern)>) {
        match self {
            Self::Header(_, needle) | Self::Body(needle) | Self::Text(needle) if needle.pattern.is_telling() => {
                found.push((needle.number, needle.pattern.clone()));
            }
            Self::Not(key) | Self::Fuzzy(key) => key.texts(found),
            Self::Or(left, right) => {
                left.texts(found);
                right.texts(found);
            }
            Self::And(keys) => keys.iter().for_each(|key| key.texts(found)),
            _ => {}
        }
    }

    /// Turns sequence numbers, `*` and `$` into Uids.
    pub(crate) fn resolve(&mut self, scope: &Scope<'_>) -> Result<(), Status> {
        match self {
            Self::Set(set) => {
                if !set.is_saved() {
                    scope.enabled.sequence_numbers()?;
                }
                *self = Self::Uids(scope.selected.named(set, false));
            }
            Self::Uid(set) => *self = Self::Uids(scope.selected.named(set, true)),
            Self::Beyond(true, uid) if uid.0 == u32::MAX => *self = Self::Never,
            Self::Beyond(true, uid) => *self = Self::Uids(UidSet::range(uid.next(), Uid(u32::MAX))),
            Self::Beyond(false, Uid(1)) => *self = Self::Never,
            Self::Beyond(false, uid) => *self = Self::Uids(UidSet::range(Uid(1), Uid(uid.0 - 1))),
            Self::Not(key) | Self::Fuzzy(key) => key.resolve(scope)?,
            Self::Or(left, right) => {
                left.resolve(scope)?;
                right.resolve(scope)?;
            }
            Self::And(keys) => {
                for key in keys.iter_mut() {
                    key.resolve(scope)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// The Uids among which matches can be: all, unless the search names some.
    fn among(&self, uids: &UidSet) -> UidSet {
        match self {
            Self::Uids(set) => uids.intersect(set),
            Self::And(keys) => keys.iter().fold(uids.clone(), |uids, key| key.among(&uids)),
            Self::Fuzzy(key) => key.among(uids),
            _ => uids.clone(),
        }
    }
}
