//! APPEND (RFC 9051 §6.3.12) of one message or many (RFC 3502), and REPLACE (RFC 8508), with APPENDUID
//! (RFC 4315), a limit (RFC 7889), binary parts (RFC 3516 §4.4), headers in UTF-8 (RFC 6855 §4, RFC 9755) and
//! parts of messages that are here already (CATENATE, RFC 4469).
//!
//! The octets are never part of a command: the session sees a literal coming, asks with a [`Target`] or
//! with [`Step`]s whether it is welcome, and hands it over in chunks.
//!
//! Invariant: all messages of a command are kept by one write, or none; REPLACE removes the old one in it.

use crate::imap::command::{Command, Legal};
use crate::imap::commands::{copy, url};
use crate::imap::grammar::{Announced, Parsed, Parser};
use crate::imap::granted::Granted;
use crate::imap::response::{self, Status};
use crate::imap::sequence::SequenceSet;
use crate::imap::serve::{self, Outcome, Server, refusal};
use crate::imap::session::Answer;
use mail::digest::Digest;
use mail::uid_set::UidSet;
use mail::{Flags, Rights, Timestamp, binary};
use store::{Added, Body, Draft, NewEmail, Place, Store, WriteTx};

/// Where messages go, and what the first of them is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The mailbox's name.
    pub mailbox: String,
    /// The message of the selected mailbox that REPLACE removes.
    pub replaces: Option<Replaced>,
    /// What is known of the messages so far.
    pub steps: Vec<Step>,
}

/// Which message REPLACE removes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replaced {
    /// One message.
    pub set: SequenceSet,
    /// The set holds a Uid.
    pub by_uid: bool,
}

/// One step towards messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A message begins.
    Message {
        /// Its flags.
        flags: Flags,
        /// Its INTERNALDATE, if one was given.
        date: Option<Timestamp>,
    },
    /// Octets of a message that is here already (RFC 4469).
    Url(String),
    /// Octets that follow.
    Literal {
        /// How many.
        octets: u64,
        /// They come as literal8 and may be any (RFC 3516 §4.4).
        binary: bool,
    },
}

/// Where in the grammar of messages a client is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Within {
    /// Before a message.
    #[default]
    Start,
    /// Behind a message.
    Whole,
    /// Behind the literal of `UTF8 (…)` (RFC 6855 §4): a parenthesis follows.
    Wrapped,
    /// Behind a part of `CATENATE (…)`: another or a parenthesis follows.
    Catenation,
}

/// A command that brings messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// `APPEND`
    Append,
    /// `REPLACE`
    Replace,
    /// `UID REPLACE`
    UidReplace,
}

impl Verb {
    /// Takes the verb if it is one of these.
    pub fn take(parser: &mut Parser<'_>) -> Option<Self> {
        [("APPEND ", Self::Append), ("REPLACE ", Self::Replace), ("UID REPLACE ", Self::UidReplace)]
            .into_iter()
            .find_map(|(word, verb)| parser.accept_word(word).then_some(verb))
    }

    /// When it is legal.
    pub const fn legal(self) -> Legal {
        match self {
            Self::Append => Legal::Authenticated,
            Self::Replace => Legal::Numbered,
            Self::UidReplace => Legal::Selected,
        }
    }
}

/// Reads a command without a literal: its messages are made of what is here already.
///
/// # Errors
/// When they are not; the fault says where.
pub fn parse(parser: &mut Parser<'_>, verb: Verb) -> Parsed<Command> {
    parser.space()?;
    let (target, _) = target(parser, verb, None)?;
    Ok(Command::Append(Box::new(target)))
}

/// Reads all between the verb and the next literal, or the end.
///
/// # Errors
/// When it is not its grammar.
pub fn target(parser: &mut Parser<'_>, verb: Verb, literal: Option<Announced>) -> Parsed<(Target, Within)> {
    let mut replaces = None;
    if verb != Verb::Append {
        let set = parser.sequence_set()?;
        parser.space()?;
        replaces = Some(Replaced { set, by_uid: verb == Verb::UidReplace });
    }
    let mailbox = parser.mailbox()?;
    parser.space()?;
    let (steps, within) = steps(parser, Within::Start, replaces.is_some(), literal)?;
    Ok((Target { mailbox, replaces, steps }, within))
}

/// Reads to the next literal, or to the end; `single` where one message is all.
///
/// # Errors
/// When it is not its grammar.
pub fn steps(parser: &mut Parser<'_>, mut within: Within, single: bool, literal: Option<Announced>) -> Parsed<(Vec<Step>, Within)> {
    let mut steps = Vec::new();
    loop {
        within = match within {
            Within::Start => {
                steps.push(message(parser)?);
                if !parser.accept_word("CATENATE (") {
                    // RFC 9755 takes it away from clients; those of RFC 6855 send it.
                    let wrapped = parser.accept_word("UTF8 (");
                    steps.push(awaited(parser, literal)?);
                    return Ok((steps, if wrapped { Within::Wrapped } else { Within::Whole }));
                }
                if let Some(step) = part(parser, literal, &mut steps)? {
                    return Ok((step, Within::Catenation));
                }
                Within::Catenation
            }
            Within::Wrapped => {
                parser.octet(b')', "a closing parenthesis")?;
                Within::Whole
            }
            Within::Catenation if parser.accept(b')') => Within::Whole,
            Within::Catenation => {
                parser.octet(b' ', "a space or a closing parenthesis")?;
                if let Some(step) = part(parser, literal, &mut steps)? {
                    return Ok((step, Within::Catenation));
                }
                Within::Catenation
            }
            Within::Whole if parser.is_done() && literal.is_none() => return Ok((steps, Within::Whole)),
            Within::Whole if single => return parser.fault("the end of the command behind the message"),
            Within::Whole => {
                parser.octet(b' ', "another message or the end of the command behind the message")?;
                Within::Start
            }
        };
    }
}

/// Whether a literal that follows these octets is a URL, not a message.
pub fn is_before_url(octets: &[u8]) -> bool {
    octets.last_chunk::<5>().is_some_and(|end| end.eq_ignore_ascii_case(b" URL ") || end.eq_ignore_ascii_case(b"(URL "))
}

/// The flags and the date of a message.
fn message(parser: &mut Parser<'_>) -> Parsed<Step> {
    let mut flags = Flags::default();
    if parser.peek() == Some(b'(') {
        flags = parser.list(Flags::KEYWORDS_MAX * 2, Parser::flag)?.into_iter().flatten().collect();
        parser.space()?;
    }
    let mut date = None;
    if parser.peek() == Some(b'"') {
        date = Some(parser.date_time()?);
        parser.space()?;
    }
    Ok(Step::Message { flags, date })
}

/// The literal that must follow here.
fn awaited(parser: &Parser<'_>, literal: Option<Announced>) -> Parsed<Step> {
    match literal.filter(|_| parser.is_done()) {
        Some(Announced { octets, binary, .. }) => Ok(Step::Literal { octets, binary }),
        None => parser.fault("a literal with the message"),
    }
}

/// A part of a catenation; all steps if it is a literal that follows.
fn part(parser: &mut Parser<'_>, literal: Option<Announced>, steps: &mut Vec<Step>) -> Parsed<Option<Vec<Step>>> {
    if parser.accept_word("URL ") {
        steps.push(Step::Url(parser.text()?.into_owned()));
        return Ok(None);
    }
    if !parser.accept_word("TEXT ") {
        return parser.fault("URL or TEXT");
    }
    steps.push(awaited(parser, literal)?);
    Ok(Some(std::mem::take(steps)))
}

/// Messages on their way in.
#[derive(Debug)]
pub struct Upload {
    to: Place,
    /// What the client may do there: of the messages' flags, those are kept that it may set.
    rights: Rights,
    /// What REPLACE removes from the selected mailbox.
    replaces: Option<(Place, UidSet)>,
    /// The messages that are whole.
    kept: Vec<Kept>,
    /// The one that is coming.
    coming: Option<Coming>,
}

#[derive(Debug)]
struct Kept {
    flags: Flags,
    date: Option<Timestamp>,
    body: Body,
    digest: Digest,
}

/// A message of which something came.
#[derive(Debug)]
struct Coming {
    flags: Flags,
    date: Option<Timestamp>,
    draft: Draft,
    /// The literal at hand is literal8.
    binary: bool,
    /// One of them was.
    some_binary: bool,
    lines: Lines,
}

impl Target {
    /// Whether messages are welcome there, and what is known of the first.
    pub(crate) async fn upload(self: Box<Self>, server: &mut Server) -> Outcome {
        server.rights_again()?;
        let replaces = self.replaces.as_ref().map(|replaced| replaced.find(server)).transpose()?;
        // What REPLACE removes makes room: the write knows how much.
        let octets = if replaces.is_some() { 0 } else { octets_announced(&self.steps) };
        let granted = welcome(server, octets, self.mailbox).await?;
        let Some(granted) = granted else { return Err(Status::no("TRYCREATE", "There is no such mailbox")) };
        let (to, rights) = (Place { account: granted.account, mailbox: granted.mailbox.id }, granted.rights);
        *server.upload_mut() = Some(Box::new(Upload { to, rights, replaces, kept: Vec::new(), coming: None }));
        Upload::go_on(server, self.steps).await
    }

    /// The same where nothing more comes.
    pub(crate) async fn append(self: Box<Self>, server: &mut Server) -> Outcome {
        self.upload(server).await?;
        Upload::append(server, Vec::new()).await
    }
}

fn octets_announced(steps: &[Step]) -> u64 {
    let octets = |step: &Step| if let Step::Literal { octets, .. } = step { *octets } else { 0 };
    steps.iter().map(octets).fold(0, u64::saturating_add)
}

/// What REPLACE needs of the mailbox that the old message leaves (RFC 8508 §4.3).
const REPLACES: Rights = Rights::TRASH.union(Rights::EXPUNGE);

impl Replaced {
    fn find(&self, server: &Server) -> Result<(Place, UidSet), Status> {
        let selected = server.selected_for_change(REPLACES)?;
        let uids = selected.resolve(&self.set, self.by_uid)?;
        match uids.len() {
            0 => Err(Status::no("NONEXISTENT", "There is no such message")),
            1 => Ok((Place { account: selected.account, mailbox: selected.mailbox }, uids)),
            _ => Err(Status::bad("REPLACE takes one message").code("CLIENTBUG")),
        }
    }
}

/// The mailbox of that name, if there is room for that many octets.
async fn welcome(server: &Server, octets: u64, name: String) -> Result<Option<Granted>, Status> {
    let viewer = server.account();
    server
        .read(move |tx| {
            let Some(granted) = copy::target(tx, viewer, &name)? else { return Ok(None) };
            match tx.quota(granted.account)?.refusal(octets) {
                Some(refusal) if octets > 0 => Err(refusal),
                _ => Ok(Some(granted)),
            }
        })
        .await
}

impl Upload {
    /// Takes the next steps.
    pub(crate) async fn go_on(server: &mut Server, steps: Vec<Step>) -> Outcome {
        let Some(mut upload) = server.upload_mut().take() else { return Err(unexpected()) };
        for step in steps {
            upload.step(server, step).await?;
        }
        *server.upload_mut() = Some(upload);
        Ok(Answer::Taken)
    }

    async fn step(&mut self, server: &Server, step: Step) -> Result<(), Status> {
        match step {
            Step::Message { flags, date } => {
                self.keep(server)?;
                let draft = server.shared().store.draft();
                self.coming = Some(Coming { flags, date, draft, binary: false, some_binary: false, lines: Lines::default() });
            }
            Step::Literal { octets, binary } => {
                let coming = self.coming.as_mut().ok_or_else(unexpected)?;
                coming.room_for(octets, server)?;
                coming.binary = binary;
                coming.some_binary |= binary;
            }
            Step::Url(url) => {
                let coming = self.coming.as_mut().ok_or_else(unexpected)?;
                let part = url::find(server, &url).await?;
                coming.room_for(part.octets(), server)?;
                part.copy(server, &mut coming.draft).await?;
                coming.lines = Lines::default();
            }
        }
        self.bounded(server)
    }

    /// What came of all messages together has a bound.
    fn bounded(&self, server: &Server) -> Result<(), Status> {
        let kept = self.kept.iter().map(|kept| kept.body.octets()).fold(0, u64::saturating_add);
        let coming = self.coming.as_ref().map_or(0, |coming| coming.draft.octets());
        if kept.saturating_add(coming) > server.shared().config.limits.append_octets_together_max {
            return Err(Status::no("TOOBIG", "The messages together are larger than this server takes at once"));
        }
        Ok(())
    }

    /// Takes the next octets.
    pub(crate) fn chunk(server: &mut Server, octets: &[u8]) -> Outcome {
        let upload = server.upload_mut();
        let taken = upload.as_mut().and_then(|upload| upload.coming.as_mut()).map(|coming| coming.take(octets));
        match taken {
            Some(Ok(())) => Ok(Answer::Taken),
            Some(Err(error)) => {
                *upload = None;
                Err(refusal(&error))
            }
            None => Err(unexpected()),
        }
    }

    /// Puts the message that is whole, if there is one, with the others.
    fn keep(&mut self, server: &Server) -> Result<(), Status> {
        let Some(coming) = self.coming.take() else { return Ok(()) };
        if coming.draft.octets() == 0 {
            return Err(empty());
        }
        let store = &server.shared().store;
        let mut body = coming.draft.finish().map_err(|error| refusal(&error))?;
        let mut whole = read(&body)?;
        if coming.some_binary && !binary::is_lines(&whole) {
            body = in_lines(store, &whole)?;
            whole = read(&body)?;
        }
        let digest = Digest::of(&whole);
        self.kept.push(Kept { flags: coming.flags, date: coming.date, body, digest });
        Ok(())
    }

    /// Keeps the messages: one write, and the answer only after they are on disk.
    pub(crate) async fn append(server: &mut Server, steps: Vec<Step>) -> Outcome {
        Self::go_on(server, steps).await?;
        let Some(mut upload) = server.upload_mut().take() else { return Err(unexpected()) };
        upload.keep(server)?;
        let (now, replaces) = (server.now(), upload.replaces.is_some());
        let added = server.write(move |tx| upload.write(tx, now)).await?;
        let Some(code) = append_uid(&added) else {
            return server.finish(Status::no("EXPUNGEISSUED", "The message to replace is gone"), true).await;
        };
        if !replaces {
            return server.finish(Status::ok("Kept").code(code), true).await;
        }
        // RFC 8508 §3.2: before the old message is taken back.
        let mut data = Vec::new();
        Status::ok("Kept").code(code).write(&mut data, "*");
        let end = server.finish(Status::ok("Replaced"), true).await?;
        Ok(serve::before(data, end))
    }

    /// Nothing is added where the message to replace is gone.
    fn write(&self, tx: &mut WriteTx, now: Timestamp) -> store::Result<Vec<Added>> {
        if let Some((from, uids)) = &self.replaces
            && tx.messages_destroy(from.account, from.mailbox, uids)?.uids.is_empty()
        {
            return Ok(Vec::new());
        }
        let mut added = Vec::with_capacity(self.kept.len());
        for Kept { flags, date, body, digest } in &self.kept {
            let new = NewEmail { body, digest, flags: self.rights.covered(flags), internal_date: date.unwrap_or(now), saved: now };
            added.push(tx.email_add(self.to.account, self.to.mailbox, new)?);
        }
        Ok(added)
    }
}

impl Coming {
    // Deviation: mbsync, offlineimap and imapsync bring old mail with 8-bit headers and never enable
    // UTF8=ACCEPT. RFC 6855 §4 wants that refused; the mail is kept, and shown to them in encoded words.
    fn take(&mut self, octets: &[u8]) -> store::Result<()> {
        if self.binary { self.draft.write(octets) } else { self.lines.write(&mut self.draft, octets) }
    }

    /// Whether so many octets more still make a message that this server takes.
    fn room_for(&self, octets: u64, server: &Server) -> Result<(), Status> {
        if self.draft.octets().saturating_add(octets) > server.shared().config.limits.append_octets_max {
            return Err(too_big());
        }
        Ok(())
    }
}

/// What a client hears of a message that is too long.
pub(crate) fn too_big() -> Status {
    Status::no("TOOBIG", "The message is larger than this server takes")
}

/// What a client hears of a message of nothing, with which it can also abandon an APPEND (RFC 3502 §6.3.11).
pub(crate) fn empty() -> Status {
    Status::no("CANNOT", "A message has at least one octet")
}

fn unexpected() -> Status {
    Status::no("SERVERBUG", "No message is expected")
}

/// `APPENDUID 38505 3955:3957` (RFC 4315 §3); `None` if nothing was added.
fn append_uid(added: &[Added]) -> Option<String> {
    let mut code = format!("APPENDUID {} ", added.first()?.uid_validity).into_bytes();
    response::set(&mut code, &added.iter().map(|added| added.uid).collect());
    String::from_utf8(code).ok()
}

fn read(body: &Body) -> Result<Vec<u8>, Status> {
    let whole = usize::try_from(body.octets()).unwrap_or(usize::MAX);
    body.read(0, whole).map_err(|error| refusal(&error))
}

/// A binary message as lines: POP3, SMTP and BODY[] carry no others.
fn in_lines(store: &Store, whole: &[u8]) -> Result<Body, Status> {
    let encoded = binary::to_base64(whole);
    let whole = encoded.as_deref().unwrap_or(whole);
    if whole.contains(&0) {
        return Err(Status::no("UNKNOWN-CTE", "NUL stands only in parts whose Content-Transfer-Encoding is binary"));
    }
    let mut draft = store.draft();
    Lines::default().write(&mut draft, whole).and_then(|()| draft.finish()).map_err(|error| refusal(&error))
}

/// Line feeds on their own become line ends: POP3 counts and sends lines (RFC 5322 §2.3).
#[derive(Debug, Default)]
struct Lines {
    /// The last octet was a CR.
    after_cr: bool,
}

impl Lines {
    fn write(&mut self, draft: &mut Draft, octets: &[u8]) -> store::Result<()> {
        for line in octets.split_inclusive(|octet| *octet == b'\n') {
            let bare = match line {
                [] | [b'\n'] => !self.after_cr,
                [.., before, b'\n'] => *before != b'\r',
                _ => false,
            };
            match line.strip_suffix(b"\n").filter(|_| bare) {
                Some(text) => {
                    draft.write(text)?;
                    draft.write(b"\r\n")?;
                }
                None => draft.write(line)?,
            }
            self.after_cr = line.last() == Some(&b'\r');
        }
        Ok(())
    }
}
