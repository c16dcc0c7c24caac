//! APPEND (RFC 9051 §6.3.12) of one message or many (RFC 3502), and REPLACE (RFC 8508), with APPENDUID
//! (RFC 4315), a limit (RFC 7889), binary parts (RFC 3516 §4.4) and headers in UTF-8 (RFC 6855 §4, RFC 9755).
//!
//! The messages are never part of a command: the session sees a literal coming, asks with a [`Target`]
//! or a [`Parcel`] whether it is welcome, and hands it over in chunks.
//!
//! Invariant: all messages of a command are kept by one write, or none; REPLACE removes the old one in it.

use crate::imap::command::{Command, Legal};
use crate::imap::grammar::{Announced, Parsed, Parser};
use crate::imap::response::{self, Status};
use crate::imap::sequence::SequenceSet;
use crate::imap::serve::{self, Outcome, Server, refusal};
use crate::imap::session::Answer;
use mail::digest::Digest;
use mail::uid_set::UidSet;
use mail::{AccountId, Flags, MailboxId, Timestamp, binary};
use store::{Added, Body, Draft, NewEmail, Store, WriteTx};

/// Where messages go, and the first of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The mailbox's name.
    pub mailbox: String,
    /// The message of the selected mailbox that REPLACE removes.
    pub replaces: Option<Replaced>,
    /// The first message.
    pub parcel: Parcel,
}

/// Which message REPLACE removes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replaced {
    /// One message.
    pub set: SequenceSet,
    /// The set holds a Uid.
    pub by_uid: bool,
}

/// One message of an APPEND, but for its octets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parcel {
    /// Its flags.
    pub flags: Flags,
    /// Its INTERNALDATE, if one was given.
    pub date: Option<Timestamp>,
    /// How long it is.
    pub octets: u64,
    /// It comes as literal8 and may hold any octet (RFC 3516 §4.4).
    pub binary: bool,
    /// It stands in `UTF8 (…)` (RFC 6855 §4); a parenthesis follows it.
    pub wrapped: bool,
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

/// Reads a command whose message is no literal at the end of a line: there is none, so it is at fault.
///
/// # Errors
/// Always; the fault says where.
pub fn parse(parser: &mut Parser<'_>, verb: Verb) -> Parsed<Command> {
    parser.space()?;
    target(parser, verb)?;
    parser.fault("a literal with the message")
}

/// Reads all between the verb and the message's literal.
///
/// # Errors
/// When it is not its grammar.
pub fn target(parser: &mut Parser<'_>, verb: Verb) -> Parsed<Target> {
    let mut replaces = None;
    if verb != Verb::Append {
        let set = parser.sequence_set()?;
        parser.space()?;
        replaces = Some(Replaced { set, by_uid: verb == Verb::UidReplace });
    }
    let mailbox = parser.mailbox()?;
    parser.space()?;
    Ok(Target { mailbox, replaces, parcel: Parcel::read(parser)? })
}

impl Parcel {
    fn read(parser: &mut Parser<'_>) -> Parsed<Self> {
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
        // RFC 9755 takes it away from clients; those of RFC 6855 send it.
        let wrapped = parser.accept_word("UTF8 (");
        Ok(Self { flags, date, octets: 0, binary: false, wrapped })
    }

    /// The same with what its literal says.
    #[must_use]
    pub fn announced(self, announced: Announced) -> Self {
        Self { octets: announced.octets, binary: announced.binary, ..self }
    }

    /// Reads the message that follows another; `None` if it is not its grammar.
    pub fn following(line: &[u8], announced: Announced) -> Option<Self> {
        let mut parser = Parser::new(line.get(..announced.before)?, false);
        parser.space().ok()?;
        let parcel = Self::read(&mut parser).ok()?;
        parser.is_done().then(|| parcel.announced(announced))
    }
}

/// Messages on their way in.
#[derive(Debug)]
pub struct Upload {
    mailbox: MailboxId,
    /// What REPLACE removes from the selected mailbox.
    replaces: Option<(MailboxId, UidSet)>,
    /// The messages that are whole.
    kept: Vec<Kept>,
    /// The one that is coming.
    parcel: Parcel,
    draft: Draft,
    lines: Lines,
}

#[derive(Debug)]
struct Kept {
    flags: Flags,
    date: Option<Timestamp>,
    body: Body,
    digest: Digest,
}

impl Target {
    /// Whether a message of that length is welcome there.
    pub(crate) async fn upload(self: Box<Self>, server: &mut Server) -> Outcome {
        let replaces = self.replaces.as_ref().map(|replaced| replaced.find(server)).transpose()?;
        // What REPLACE removes makes room: the write knows how much.
        let octets = if replaces.is_some() { 0 } else { self.parcel.octets };
        let mailbox = welcome(server, octets, self.mailbox).await?;
        let Some(mailbox) = mailbox else { return Err(Status::no("TRYCREATE", "There is no such mailbox")) };
        let draft = server.shared().store.draft();
        let upload = Upload { mailbox, replaces, kept: Vec::new(), parcel: self.parcel, draft, lines: Lines::default() };
        *server.upload_mut() = Some(Box::new(upload));
        Ok(Answer::Taken)
    }
}

impl Replaced {
    fn find(&self, server: &Server) -> Result<(MailboxId, UidSet), Status> {
        let selected = server.selected_for_change()?;
        let uids = selected.resolve(&self.set, self.by_uid)?;
        match uids.len() {
            0 => Err(Status::no("NONEXISTENT", "There is no such message")),
            1 => Ok((selected.mailbox, uids)),
            _ => Err(Status::bad("REPLACE takes one message")),
        }
    }
}

/// The mailbox of that name, if there is room for that many octets.
async fn welcome(server: &Server, octets: u64, name: String) -> Result<Option<MailboxId>, Status> {
    let account = server.account();
    server
        .read(move |tx| {
            if let Some(refusal) = tx.quota(account)?.refusal(octets) {
                return Err(refusal);
            }
            Ok(tx.mailbox_by_name(account, &name)?.map(|mailbox| mailbox.id))
        })
        .await
}

impl Upload {
    /// The message is whole and another follows it.
    pub(crate) fn another(server: &mut Server, parcel: Parcel) -> Outcome {
        let store = server.shared().store.clone();
        let Some(mut upload) = server.upload_mut().take() else { return Err(unexpected()) };
        upload.keep(&store)?;
        upload.parcel = parcel;
        *server.upload_mut() = Some(upload);
        Ok(Answer::Taken)
    }

    /// Takes the next octets.
    pub(crate) fn chunk(server: &mut Server, octets: &[u8]) -> Outcome {
        let upload = server.upload_mut();
        let taken = upload.as_mut().map(|upload| upload.take(octets));
        match taken {
            Some(Ok(())) => Ok(Answer::Taken),
            Some(Err(error)) => {
                *upload = None;
                Err(refusal(&error))
            }
            None => Err(unexpected()),
        }
    }

    // Deviation: mbsync, offlineimap and imapsync bring old mail with 8-bit headers and never enable
    // UTF8=ACCEPT. RFC 6855 §4 wants that refused; the mail is kept, and shown to them in encoded words.
    fn take(&mut self, octets: &[u8]) -> store::Result<()> {
        if self.parcel.binary { self.draft.write(octets) } else { self.lines.write(&mut self.draft, octets) }
    }

    /// Puts the message that is whole with the others.
    fn keep(&mut self, store: &Store) -> Result<(), Status> {
        self.lines = Lines::default();
        let draft = std::mem::replace(&mut self.draft, store.draft());
        let mut body = draft.finish().map_err(|error| refusal(&error))?;
        let mut whole = read(&body)?;
        if self.parcel.binary && !binary::is_lines(&whole) {
            body = in_lines(store, &whole)?;
            whole = read(&body)?;
        }
        let digest = Digest::of(&whole);
        self.kept.push(Kept { flags: std::mem::take(&mut self.parcel.flags), date: self.parcel.date, body, digest });
        Ok(())
    }

    /// Keeps the messages: one write, and the answer only after they are on disk.
    pub(crate) async fn append(server: &mut Server) -> Outcome {
        let store = server.shared().store.clone();
        let Some(mut upload) = server.upload_mut().take() else { return Err(unexpected()) };
        upload.keep(&store)?;
        let (account, now, replaces) = (server.account(), server.now(), upload.replaces.is_some());
        let added = server.write(move |tx| upload.write(tx, account, now)).await?;
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
    fn write(&self, tx: &mut WriteTx, account: AccountId, now: Timestamp) -> store::Result<Vec<Added>> {
        if let Some((mailbox, uids)) = &self.replaces
            && tx.messages_destroy(account, *mailbox, uids)?.uids.is_empty()
        {
            return Ok(Vec::new());
        }
        let mut added = Vec::with_capacity(self.kept.len());
        for Kept { flags, date, body, digest } in &self.kept {
            let new = NewEmail { body, digest, flags: flags.clone(), internal_date: date.unwrap_or(now), saved: now };
            added.push(tx.email_add(account, self.mailbox, new)?);
        }
        Ok(added)
    }
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
