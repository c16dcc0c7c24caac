//! One IMAP connection as a value: octets and answers in, octets and questions out.
//!
//! Not the commands' doing: that is asked for ([`Ask::Run`]) and answered by [`crate::imap::serve`].
//!
//! ```text
//!            ┌──────────── line without a literal: a command ───────────────┐
//!            │                                                              ▼
//!  Ready ────┼─ {n} ─▶ Literal ─▶ Ready        STARTTLS ─▶ Tls ─▶ Ready   Running ─▶ Ready
//!    ▲       ├─ APPEND … {n} ─▶ Offered ─▶ Receiving ─▶ Following ────────▶ ▲
//!    │       ├─ refused {n+} ─▶ Discarding ─▶ Ready                         │ Answer::More: again
//!    │       ├─ AUTHENTICATE ─▶ Challenged ◀─▶ Asked ─▶ Running (Ask::Enter)
//!    │       └─ IDLE ─▶ Running ─▶ Idle ─ DONE or any other line ─▶ Running ─▶ Ready
//! ```
//!
//! Invariants
//! - At most one question is outstanding; while it is, input waits in the inbox.
//! - A command's literals are capped together; APPEND's message is passed on in chunks.
//! - After a fault the connection goes on at the next command: what a refused literal holds is never
//!   read as commands.

use crate::imap::command::{self, Command, Legal, State};
use crate::imap::commands::append::{self, Target, Verb, Within};
use crate::imap::commands::authenticate::{self, Authenticate};
use crate::imap::commands::capability;
use crate::imap::commands::compress::Compress;
use crate::imap::commands::enable::Enabled;
use crate::imap::commands::id;
use crate::imap::commands::login::Login;
use crate::imap::compression::Compression;
use crate::imap::grammar::{Announced, Fault, Parsed, Parser, announced};
use crate::imap::limits::Config;
use crate::imap::quirks::Quirks;
use crate::imap::response::{self, Kind, Status};
use mail::AccountId;
use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;
use wire::sasl::{Exchange, Failure, Mechanism, SaslAnswer, SaslAsk, Step, Success};
use wire::{Inbox, Input, Line, Output, Tls};

/// What only the store can answer.
#[derive(Debug, PartialEq)]
pub enum Ask {
    /// Do this. Answered with [`Answer::More`], [`Answer::Done`] or, for IDLE, [`Answer::Taken`].
    Run {
        /// Its tag, which ESEARCH repeats.
        tag: String,
        /// What to do.
        command: Box<Command>,
    },
    /// The last [`Answer::More`] is on its way: go on.
    Continue,
    /// May this login in? Answered with [`Answer::Auth`].
    Auth(SaslAsk),
    /// The client is this account from now on. Answered with [`Answer::Done`].
    Enter(AccountId),
    /// A first message is announced for this mailbox. Answered with [`Answer::Taken`] or [`Answer::Done`].
    Upload(Box<Target>),
    /// The literal is whole, and another is announced. Answered with [`Answer::Taken`] or [`Answer::Done`].
    Pieces(Vec<append::Step>),
    /// What follows is at fault: forget the messages that came. Answered with [`Answer::Done`] of this.
    Abandon(Box<Status>),
    /// The next octets of the message. Answered with [`Answer::Taken`] or [`Answer::Done`].
    Chunk(Vec<u8>),
    /// With these the messages are whole: keep them. Answered with [`Answer::Done`].
    Append(Vec<append::Step>),
    /// IDLE is over. Answered with [`Answer::Done`].
    IdleEnd,
}

/// The store's answer.
#[derive(Debug, PartialEq)]
pub enum Answer {
    /// Octets of a long response; the rest is computed when these are taken.
    More(Vec<u8>),
    /// The command is done.
    Done(Done),
    /// Go on with the message, or with IDLE.
    Taken,
    /// Whether the login may in.
    Auth(SaslAnswer),
}

/// How a command ended.
#[derive(Debug, PartialEq)]
pub struct Done {
    /// Untagged responses that stand before the tagged one.
    pub data: Vec<u8>,
    /// The tagged response; [`Kind::Bye`] ends the connection.
    pub status: Status,
    /// The state from now on; `None` if it is as it was.
    pub state: Option<State>,
}

impl Done {
    /// Nothing but a status.
    pub const fn status(status: Status) -> Self {
        Self { data: Vec::new(), status, state: None }
    }
}

/// News for a client in IDLE, or for one that said NOTIFY, whatever it does.
#[derive(Debug, PartialEq, Eq)]
pub enum Push {
    /// Untagged responses.
    News(Vec<u8>),
    /// The connection cannot go on.
    Bye(Status),
}

/// Octets of an overlong line among which its tag is looked for. Our own bound.
const TAG_OCTETS_MAX: usize = 128;

/// What the session is at.
#[derive(Debug)]
enum Phase {
    /// Reads a command; `self.command` holds what came of it so far.
    Ready,
    /// Reads a literal of the command; behind a message's octets if that has a tag.
    Literal { left: u64, behind: Option<String> },
    /// Drops a refused literal and the rest of its command.
    Discarding { left: u64, reply: Box<(String, Status)> },
    /// Asked whether a message is welcome.
    Offered { tag: String, announced: Announced },
    /// Reads the message; `asked` while a chunk is being taken.
    Receiving { tag: String, left: u64, asked: bool },
    /// Reads what stands behind a message's octets.
    Following { tag: String },
    /// A question is outstanding for this command.
    Running { tag: String },
    /// Waits for the client's next SASL message.
    Challenged { tag: String, exchange: Box<Exchange> },
    /// Asked about a login.
    Asked { tag: String, exchange: Option<Box<Exchange>> },
    /// IDLE.
    Idle { tag: String },
    /// Waits for TLS.
    Tls,
    /// Nothing more is said.
    Closed,
}

/// The messages of an APPEND that were announced so far.
#[derive(Debug, Clone, Copy, Default)]
struct Sending {
    messages: u32,
    parts: u32,
    octets: u64,
    /// REPLACE: one is all.
    single: bool,
    /// Where in their grammar the next octets stand.
    within: Within,
}

/// One connection.
#[derive(Debug)]
pub struct Session {
    config: Arc<Config>,
    nonce: String,
    tls: Option<Box<Tls>>,
    inbox: Inbox,
    /// What is to be said and is not in the outbox yet.
    unsent: Vec<u8>,
    outbox: VecDeque<Output<Ask>>,
    /// COMPRESS was said.
    compression: Option<Box<Compression>>,
    /// Octets that came out of it since the last read or answer.
    inflated_octets: u64,
    /// The compression has ended, and what its last flush left may still come.
    trailing: bool,
    phase: Phase,
    state: State,
    enabled: Enabled,
    /// The command so far: lines and literals as they came.
    command: Vec<u8>,
    literals_octets: u64,
    sending: Sending,
    faults: u32,
    login_failures: u32,
    exchanges: u32,
    /// When the client last said something.
    heard_at: Instant,
    /// When we last said something in IDLE.
    said: Instant,
    /// The server is stopping: BYE as soon as nothing is in hand.
    stopping: bool,
    /// A client that went on without DONE may still send it.
    late_done: bool,
    /// What its program needs.
    quirks: Quirks,
    /// The tag of a line that is too long, whose start is dropped before its end comes.
    long_tag: Option<String>,
}

impl Session {
    /// A session that greets. `nonce` is at least 24 printable ASCII octets without a comma, fresh for
    /// each connection; `tls` is that of a connection that began with TLS.
    pub fn new(config: Arc<Config>, nonce: String, tls: Option<Tls>, now: Instant) -> Self {
        let inbox = Inbox::new(config.limits.line_octets_max);
        let mut session = Self {
            config,
            nonce,
            tls: tls.map(Box::new),
            inbox,
            unsent: Vec::new(),
            outbox: VecDeque::new(),
            compression: None,
            inflated_octets: 0,
            trailing: false,
            phase: Phase::Ready,
            state: State::NotAuthenticated,
            enabled: Enabled::default(),
            command: Vec::new(),
            literals_octets: 0,
            sending: Sending::default(),
            faults: 0,
            login_failures: 0,
            exchanges: 0,
            heard_at: now,
            said: now,
            stopping: false,
            late_done: false,
            quirks: Quirks::default(),
            long_tag: None,
        };
        let greeting = Status::ok(session.config.greeting.clone()).code(format!("CAPABILITY {}", session.capabilities()));
        session.reply("*", &greeting);
        session
    }

    fn capabilities(&self) -> String {
        let all = match self.state {
            State::NotAuthenticated => capability::before_login(&self.config, self.tls.as_deref()),
            _ => capability::after_login(&self.config),
        };
        if self.quirks.rev1_only { capability::without_rev2(&all) } else { all }
    }

    /// Pieces are joined, so that the driver writes once, and deflates once.
    fn send(&mut self, octets: Vec<u8>) {
        if self.unsent.is_empty() {
            self.unsent = octets;
        } else {
            self.unsent.extend_from_slice(&octets);
        }
    }

    /// Lets what was said go out, before something else is done.
    fn seal(&mut self) {
        if self.unsent.is_empty() {
            return;
        }
        let text = std::mem::take(&mut self.unsent);
        let octets = match &mut self.compression {
            Some(compression) => compression.deflate(&text),
            None => text,
        };
        self.outbox.push_back(Output::Send(octets));
    }

    fn reply(&mut self, tag: &str, status: &Status) {
        let mut out = Vec::new();
        status.write(&mut out, if status.kind == Kind::Bye { "*" } else { tag });
        self.send(out);
        if status.kind == Kind::Bye {
            self.close();
        }
    }

    fn ask(&mut self, ask: Ask) {
        self.seal();
        self.outbox.push_back(Output::Ask(ask));
    }

    fn close(&mut self) {
        self.phase = Phase::Closed;
        self.inbox.clear();
        self.command = Vec::new();
        self.seal();
        self.compression = None;
        self.outbox.push_back(Output::Close);
    }

    /// Reads on until something is missing, also from what is compressed.
    fn advance(&mut self) {
        self.read_on();
        while self.inflate() {
            self.read_on();
        }
    }

    /// Inflates a step more, if the session reads and its peer has room for the answers.
    fn inflate(&mut self) -> bool {
        let reads = match self.phase {
            Phase::Ready
            | Phase::Literal { .. }
            | Phase::Following { .. }
            | Phase::Discarding { .. }
            | Phase::Challenged { .. }
            | Phase::Idle { .. } => true,
            Phase::Receiving { asked, .. } => !asked,
            _ => false,
        };
        let room = self.unsent.len() < self.config.limits.unsent_octets_max;
        let Some(compression) = self.compression.as_mut().filter(|compression| reads && room && compression.has_input()) else {
            return false;
        };
        let Ok(said) = compression.inflate() else {
            self.reply("*", &Status::bye("CLIENTBUG", "What came is not DEFLATE"));
            return false;
        };
        let more = compression.has_input();
        self.inbox.push(&said);
        self.inflated_octets += said.len() as u64;
        if self.inflated_octets > self.config.limits.inflated_octets_max {
            self.reply("*", &Status::bye("TOOBIG", "That is too much at once"));
        }
        more || !said.is_empty()
    }

    /// Takes what the peer sent.
    fn heard(&mut self, mut bytes: &[u8]) {
        self.inflated_octets = 0;
        if let Some(compression) = &mut self.compression {
            return compression.push(bytes);
        }
        if self.trailing {
            let command = bytes.iter().position(u8::is_ascii_graphic);
            self.trailing = command.is_none();
            bytes = bytes.get(command.unwrap_or(bytes.len())..).unwrap_or_default();
        }
        self.inbox.push(bytes);
    }

    fn compress(&mut self, tag: &str, compress: &Compress) {
        if !compress.is_deflate {
            return self.fault(tag, &Status::bad("DEFLATE is the one mechanism there is"));
        }
        if self.compression.is_some() {
            return self.fault(tag, &Status::no("COMPRESSIONACTIVE", "DEFLATE is active already"));
        }
        self.reply(tag, &Status::ok("DEFLATE active"));
        self.seal();
        let mut compression = Compression::default();
        // A client waits for our OK (RFC 4978 §3): what is here already is deflated, or breaks the rule.
        compression.push(&self.inbox.take(usize::MAX));
        self.compression = Some(Box::new(compression));
    }

    /// UNAUTHENTICATE ends it behind its CRLF and ours (RFC 8437 §4.1). What is left of the client's last flush
    /// is not text; its next command begins with a graphic octet.
    fn decompress(&mut self) {
        self.seal();
        if let Some(compression) = self.compression.take() {
            self.trailing = true;
            self.heard(&compression.into_rest());
        }
    }

    fn read_on(&mut self) {
        loop {
            let moved = match std::mem::replace(&mut self.phase, Phase::Ready) {
                Phase::Ready if self.stopping && self.command.is_empty() => self.leave(),
                Phase::Ready => self.next_line(),
                Phase::Literal { left, behind } => self.literal(left, behind),
                Phase::Following { tag } => self.following(tag),
                Phase::Discarding { left, reply } => self.discard(left, reply),
                Phase::Receiving { tag, left, asked: false } => self.receive(tag, left),
                Phase::Challenged { tag, exchange } => self.challenged(tag, exchange),
                Phase::Idle { tag } => self.idling(tag),
                waiting => {
                    self.phase = waiting;
                    false
                }
            };
            if !moved {
                return;
            }
        }
    }

    fn leave(&mut self) -> bool {
        self.reply("*", &Status::bye("UNAVAILABLE", "The server is stopping, come back soon"));
        false
    }

    fn next_line(&mut self) -> bool {
        let max = self.config.limits.line_octets_max;
        if self.inbox.len() > max && self.long_tag.is_none() {
            let start = self.inbox.peek();
            self.long_tag = Some(self.tag_of(start.get(..start.len().min(TAG_OCTETS_MAX)).unwrap_or_default()));
        }
        let line = self.inbox.line();
        if line.is_none() {
            return false;
        }
        let long_tag = self.long_tag.take();
        match line {
            Some(Line::Whole(line)) => self.line(&line),
            Some(Line::TooLong) => self.bad_line(long_tag, format!("A line has at most {max} octets").into()),
            _ => self.bad_line(None, "Lines end with CR and LF".into()),
        }
        true
    }

    fn bad_line(&mut self, tag: Option<String>, text: Cow<'static, str>) {
        let tag = tag.unwrap_or_else(|| self.tag_of(&[]));
        self.forget_command();
        self.fault(&tag, &Status::bad(text));
    }

    fn line(&mut self, line: &[u8]) {
        if self.late_done && line.eq_ignore_ascii_case(b"DONE") {
            self.late_done = false;
            return;
        }
        match announced(line) {
            Some(announced) => self.announced(line, announced),
            None if self.command.is_empty() => self.execute(line),
            None => {
                let mut command = std::mem::take(&mut self.command);
                command.extend_from_slice(line);
                self.forget_command();
                self.execute(&command);
            }
        }
    }

    fn forget_command(&mut self) {
        self.command = Vec::new();
        self.literals_octets = 0;
    }

    /// The tag of the command so far and `more`; `*` if it has none.
    fn tag_of(&self, more: &[u8]) -> String {
        let start = if self.command.is_empty() { more } else { &self.command };
        let mut parser = Parser::new(start, false);
        let tag = parser.tag().unwrap_or_default();
        if tag.is_empty() || parser.space().is_err() { "*".to_owned() } else { tag.to_owned() }
    }

    fn announced(&mut self, line: &[u8], announced: Announced) {
        match self.message_target(line, announced) {
            Some((tag, Ok((target, within)))) => {
                self.sending = Sending { single: target.replaces.is_some(), ..Sending::default() };
                self.forget_command();
                let refused = self.count(&target.steps, within);
                return self.offer(tag, announced, refused, Ask::Upload(Box::new(target)));
            }
            Some((_, Err(fault))) => return self.refuse(line, announced, fault.status()),
            None => {}
        }
        if let Err(status) = self.collect(line, announced) {
            return self.refuse(line, announced, status);
        }
        self.phase = Phase::Literal { left: announced.octets, behind: None };
    }

    /// Takes a line of the command that ends in a literal, if the command stays within its bounds.
    fn collect(&mut self, line: &[u8], announced: Announced) -> Result<(), Status> {
        let limits = &self.config.limits;
        let max = match self.state {
            State::NotAuthenticated => limits.literals_octets_before_login_max,
            _ => limits.literals_octets_max,
        };
        self.literals_octets = self.literals_octets.saturating_add(announced.octets);
        if self.literals_octets > max || self.command.len() + line.len() > limits.line_octets_max + self.literal_room() {
            return Err(Status::bad(format!("Literals of a command have at most {max} octets together")).code("TOOBIG"));
        }
        self.command.extend_from_slice(line);
        self.command.extend_from_slice(b"\r\n");
        if announced.waits {
            self.send(b"+ Ready\r\n".to_vec());
        }
        Ok(())
    }

    fn literal_room(&self) -> usize {
        usize::try_from(self.literals_octets).unwrap_or(usize::MAX / 2)
    }

    /// The tag and target of an APPEND or REPLACE, if this literal is its message, or what is wrong before it.
    fn message_target(&self, line: &[u8], announced: Announced) -> Option<(String, Parsed<(Target, Within)>)> {
        let mut command = self.command.clone();
        command.extend_from_slice(line.get(..announced.before)?);
        let mut parser = Parser::new(&command, self.enabled.utf8());
        let tag = parser.tag().ok()?.to_owned();
        parser.space().ok()?;
        let verb = Verb::take(&mut parser)?;
        verb.legal().check(self.state).ok()?;
        if verb.legal() == Legal::Numbered
            && let Err(status) = self.enabled.sequence_numbers()
        {
            return Some((tag, Err(Fault::Refused(Box::new(status)))));
        }
        match append::target(&mut parser, verb, Some(announced)) {
            Ok(found) => Some((tag, Ok(found))),
            // Where all was read and more is wanted, the literal is an argument.
            Err(_) if parser.is_done() => None,
            Err(fault) => Some((tag, Err(fault))),
        }
    }

    /// Asks whether a message is welcome, if it is not refused for its announcement.
    fn offer(&mut self, tag: String, announced: Announced, refused: Option<Status>, ask: Ask) {
        self.phase = Phase::Offered { tag, announced };
        self.ask(refused.map_or(ask, |status| Ask::Abandon(Box::new(status))));
    }

    /// Counts what messages are made of; why that is too much.
    fn count(&mut self, steps: &[append::Step], within: Within) -> Option<Status> {
        let limits = &self.config.limits;
        let sending = &mut self.sending;
        sending.within = within;
        for step in steps {
            match step {
                append::Step::Message { .. } => sending.messages = sending.messages.saturating_add(1),
                append::Step::Url(_) => sending.parts = sending.parts.saturating_add(1),
                append::Step::Literal { octets, .. } if *octets > limits.append_octets_max => return Some(append::too_big()),
                append::Step::Literal { octets: 0, .. } if within != Within::Catenation => return Some(append::empty()),
                append::Step::Literal { octets, .. } => {
                    sending.parts = sending.parts.saturating_add(1);
                    sending.octets = sending.octets.saturating_add(*octets);
                }
            }
        }
        if sending.messages > limits.append_messages_max {
            Some(Status::no("LIMIT", format!("No more than {} messages at once", limits.append_messages_max)))
        } else if sending.parts > limits.append_parts_max {
            Some(Status::no("LIMIT", format!("No more than {} parts at once", limits.append_parts_max)))
        } else if sending.octets > limits.append_octets_together_max {
            Some(Status::no("TOOBIG", "The messages together are larger than this server takes at once"))
        } else {
            None
        }
    }

    /// Refuses the command in hand at a literal.
    fn refuse(&mut self, line: &[u8], announced: Announced, status: Status) {
        let tag = self.tag_of(line);
        self.forget_command();
        self.skip(tag, announced, status);
    }

    /// A literal that waits for us never comes; another is dropped before the reply.
    fn skip(&mut self, tag: String, announced: Announced, status: Status) {
        if announced.waits {
            self.phase = Phase::Ready;
            return self.fault(&tag, &status);
        }
        if announced.octets > self.config.limits.append_octets_max.saturating_mul(4) {
            return self.reply("*", &Status::bye("TOOBIG", "That literal is absurd"));
        }
        self.phase = Phase::Discarding { left: announced.octets, reply: Box::new((tag, status)) };
    }

    fn discard(&mut self, left: u64, reply: Box<(String, Status)>) -> bool {
        let waiting = self.inbox.len();
        let now = usize::try_from(left).map_or(waiting, |left| left.min(waiting));
        self.inbox.consume(now);
        let left = left - now as u64;
        if left > 0 {
            self.phase = Phase::Discarding { left, reply };
            return false;
        }
        let Some(line) = self.inbox.line() else {
            self.phase = Phase::Discarding { left: 0, reply };
            return false;
        };
        let next = if let Line::Whole(line) = line { announced(&line) } else { None };
        let (tag, status) = *reply;
        match next.filter(|next| !next.waits) {
            Some(next) => self.skip(tag, next, status),
            None => self.fault(&tag, &status),
        }
        true
    }

    fn literal(&mut self, left: u64, behind: Option<String>) -> bool {
        let bytes = self.inbox.take(usize::try_from(left).unwrap_or(usize::MAX));
        self.command.extend_from_slice(&bytes);
        let left = left - bytes.len() as u64;
        self.phase = match behind {
            behind if left > 0 => Phase::Literal { left, behind },
            Some(tag) => Phase::Following { tag },
            None => Phase::Ready,
        };
        left == 0
    }

    /// Says that a command failed, and ends the patience with a client that never says a right one.
    fn fault(&mut self, tag: &str, status: &Status) {
        self.reply(tag, status);
        if self.state != State::NotAuthenticated || matches!(self.phase, Phase::Closed) {
            return;
        }
        self.faults += 1;
        if self.faults >= self.config.limits.faults_before_login_max {
            self.reply("*", &Status::bye("CLIENTBUG", "Too many faulty commands"));
        }
    }

    fn execute(&mut self, command: &[u8]) {
        let mut parser = Parser::new(command, self.enabled.utf8());
        let tag = match parser.tag() {
            Ok(tag) if parser.space().is_ok() => tag.to_owned(),
            _ => return self.fault("*", &Status::bad("A command starts with a tag and a space")),
        };
        match self.parse(&mut parser) {
            Ok(command) => self.run(tag, command),
            Err(fault) => self.fault(&tag, &fault.status()),
        }
    }

    fn parse(&self, parser: &mut Parser<'_>) -> Result<Command, Fault> {
        let refused = |status| Err(Fault::Refused(Box::new(status)));
        let Some(row) = command::find(parser)? else { return refused(Status::bad("Unknown command")) };
        if let Err(first) = row.legal.check(self.state) {
            return refused(Status::bad(first).code("CLIENTBUG"));
        }
        if row.legal == Legal::Numbered {
            self.enabled.sequence_numbers().map_err(|status| Fault::Refused(Box::new(status)))?;
        }
        let command = (row.parse)(parser)?;
        parser.end()?;
        Ok(command)
    }

    fn run(&mut self, tag: String, command: Command) {
        match command {
            Command::Capability => {
                let text = format!("* CAPABILITY {}\r\n", self.capabilities());
                self.send(text.into_bytes());
                self.reply(&tag, &Status::ok("That is what I can"));
            }
            Command::JmapAccess => self.jmap_access(&tag),
            Command::Id(id) => {
                self.quirks = Quirks::of(&id.fields);
                self.send(id::answer(&self.config.id));
                self.reply(&tag, &Status::ok("Pleased to meet you"));
            }
            Command::Logout => {
                self.send(b"* BYE Goodbye\r\n".to_vec());
                self.reply(&tag, &Status::ok("Logged out"));
                self.close();
            }
            Command::StartTls => self.start_tls(&tag),
            Command::Compress(compress) => self.compress(&tag, &compress),
            Command::Login(login) => self.login(tag, &login),
            Command::Authenticate(authenticate) => self.authenticate(tag, &authenticate),
            Command::Enable(enable) => {
                let mut enabled = self.enabled;
                enabled.enable(&enable.names);
                self.enabled = enabled;
                self.start(tag, Command::Enable(enable));
            }
            Command::Append(target) => {
                self.sending = Sending::default();
                match self.count(&target.steps, Within::Whole) {
                    Some(status) => self.fault(&tag, &status),
                    None => self.start(tag, Command::Append(target)),
                }
            }
            command => self.start(tag, command),
        }
    }

    fn start(&mut self, tag: String, command: Command) {
        self.phase = Phase::Running { tag: tag.clone() };
        self.ask(Ask::Run { tag, command: Box::new(command) });
    }

    fn jmap_access(&mut self, tag: &str) {
        let Some(url) = self.config.jmap_url.clone() else {
            return self.fault(tag, &Status::no("CANNOT", "There is no JMAP here"));
        };
        let mut data = b"* JMAPACCESS ".to_vec();
        response::string(&mut data, url.as_bytes(), false);
        data.extend_from_slice(b"\r\n");
        self.send(data);
        self.reply(tag, &Status::ok("That is where"));
    }

    fn start_tls(&mut self, tag: &str) {
        if self.tls.is_some() {
            return self.fault(tag, &Status::bad("TLS is up already").code("CLIENTBUG"));
        }
        if !self.config.starttls {
            return self.fault(tag, &Status::bad("STARTTLS is not offered here"));
        }
        self.reply(tag, &Status::ok("Begin TLS now"));
        // What came behind it in clear is not from whom we will talk to (RFC 9051 §6.2.1).
        self.inbox.clear();
        self.phase = Phase::Tls;
        self.seal();
        self.outbox.push_back(Output::StartTls);
    }

    fn login(&mut self, tag: String, login: &Login) {
        if !capability::passwords_allowed(&self.config, self.tls.as_deref()) {
            return self.fault(&tag, &Status::no("PRIVACYREQUIRED", "Start TLS first"));
        }
        self.phase = Phase::Asked { tag, exchange: None };
        self.ask(Ask::Auth(login.ask()));
    }

    fn authenticate(&mut self, tag: String, authenticate: &Authenticate) {
        let tls = self.tls.as_deref();
        let Some(mechanism) = Mechanism::parse(&authenticate.mechanism) else {
            return self.fault(&tag, &Status::no("CANNOT", "That mechanism is not offered"));
        };
        if !capability::offered(&self.config, tls).any(|offered| offered == mechanism) {
            return self.fault(&tag, &Status::no("PRIVACYREQUIRED", "That mechanism is not offered on this connection"));
        }
        let initial = match &authenticate.initial {
            None => None,
            Some(text) => match authenticate::decode(text.expose().as_bytes()) {
                Some(initial) => Some(initial),
                None => return self.fault(&tag, &Status::bad("The initial response is no base64")),
            },
        };
        self.exchanges += 1;
        let nonce = format!("{}{}", self.nonce, self.exchanges);
        let exchange = Exchange::new(mechanism, &nonce, tls).pretending(&self.config.pretence_key);
        // Where no binding is offered, a client that could bind is not taken for a victim of a downgrade.
        let binds = capability::offered(&self.config, tls).any(Mechanism::binds);
        let mut exchange = Box::new(if binds { exchange } else { exchange.unbound() });
        let step = exchange.start(initial.as_deref());
        self.step(tag, exchange, step);
    }

    fn step(&mut self, tag: String, exchange: Box<Exchange>, step: Step) {
        match step {
            Step::Challenge(challenge) => {
                self.send(format!("+ {}\r\n", authenticate::encode(&challenge)).into_bytes());
                self.phase = Phase::Challenged { tag, exchange };
            }
            Step::Ask(ask) => {
                self.phase = Phase::Asked { tag, exchange: Some(exchange) };
                self.ask(Ask::Auth(ask));
            }
            Step::Done(success) => self.enter(tag, &success),
            Step::Failed(failure) => self.login_failed(&tag, failure),
        }
    }

    fn challenged(&mut self, tag: String, mut exchange: Box<Exchange>) -> bool {
        let Some(line) = self.inbox.line() else {
            self.phase = Phase::Challenged { tag, exchange };
            return false;
        };
        let message = match &line {
            Line::Whole(line) if line == b"*" => {
                self.fault(&tag, &Status::bad("Cancelled"));
                return true;
            }
            Line::Whole(line) => authenticate::decode(line),
            Line::TooLong | Line::Bare => None,
        };
        match message {
            Some(message) => {
                let step = exchange.step(&message);
                self.step(tag, exchange, step);
            }
            None => self.fault(&tag, &Status::bad("A response in base64 is expected")),
        }
        true
    }

    fn authorised(&mut self, tag: String, exchange: Option<Box<Exchange>>, answer: SaslAnswer) {
        match (exchange, answer) {
            (Some(mut exchange), answer) => {
                let step = exchange.answered(answer);
                self.step(tag, exchange, step);
            }
            (None, SaslAnswer::Account { account, login }) => self.enter(tag, &Success { account, login }),
            (None, SaslAnswer::Refused(failure)) => self.login_failed(&tag, failure),
            (None, SaslAnswer::Verifier(_) | SaslAnswer::TokenRefused(_)) => self.login_failed(&tag, Failure::Temporary),
        }
    }

    fn enter(&mut self, tag: String, success: &Success) {
        self.phase = Phase::Running { tag };
        self.ask(Ask::Enter(AccountId(success.account)));
    }

    fn login_failed(&mut self, tag: &str, failure: Failure) {
        self.phase = Phase::Ready;
        let status = match failure {
            Failure::Credentials => Status::no("AUTHENTICATIONFAILED", "Wrong name or password"),
            Failure::Identity => Status::no("AUTHORIZATIONFAILED", "You may not act as that identity"),
            Failure::Malformed => Status::bad("The response breaks the mechanism's grammar"),
            Failure::Temporary => Status::no("UNAVAILABLE", "Cannot check that now, try again"),
            Failure::Wait => Status::no("UNAVAILABLE", "Too many failed logins, try again later"),
            Failure::Disabled => Status::no("CONTACTADMIN", "This account is switched off"),
        };
        self.login_failures += 1;
        self.reply(tag, &status);
        if self.login_failures >= self.config.limits.login_failures_max {
            self.reply("*", &Status::bye("AUTHENTICATIONFAILED", "Too many failed logins"));
        }
    }

    fn receive(&mut self, tag: String, left: u64) -> bool {
        if left == 0 {
            self.phase = Phase::Following { tag };
            return true;
        }
        let max = usize::try_from(left).unwrap_or(usize::MAX).min(self.config.limits.chunk_octets_max);
        let bytes = self.inbox.take(max);
        let asked = !bytes.is_empty();
        self.phase = Phase::Receiving { tag, left: left - bytes.len() as u64, asked };
        if asked {
            self.ask(Ask::Chunk(bytes));
        }
        false
    }

    /// A message's octets came; what follows them is the end, another part, or another message.
    fn following(&mut self, tag: String) -> bool {
        let Some(line) = self.inbox.line() else {
            self.phase = Phase::Following { tag };
            return false;
        };
        let line = if let Line::Whole(line) = &line { line.as_slice() } else { b"?" };
        let next = announced(line);
        let mut command = std::mem::take(&mut self.command);
        let read = command.len();
        command.extend_from_slice(line.get(..next.map_or(line.len(), |next| next.before)).unwrap_or_default());
        let mut parser = Parser::new(&command, self.enabled.utf8());
        match (append::steps(&mut parser, self.sending.within, self.sending.single, next), next) {
            (Ok((steps, within)), next) => {
                self.literals_octets = 0;
                let refused = self.count(&steps, within);
                match (next, refused) {
                    (Some(next), refused) => self.offer(tag, next, refused, Ask::Pieces(steps)),
                    (None, Some(status)) => self.abandon(tag, None, status),
                    (None, None) => {
                        self.phase = Phase::Running { tag };
                        self.ask(Ask::Append(steps));
                    }
                }
            }
            (Err(_), Some(next)) if parser.is_done() && append::is_before_url(&command) => {
                command.truncate(read);
                self.command = command;
                match self.collect(line, next) {
                    Ok(()) => self.phase = Phase::Literal { left: next.octets, behind: Some(tag) },
                    Err(status) => self.abandon(tag, Some(next), status),
                }
                return true;
            }
            (Err(fault), next) => self.abandon(tag, next, fault.status()),
        }
        false
    }

    /// Gives up messages of which something came.
    fn abandon(&mut self, tag: String, next: Option<Announced>, status: Status) {
        self.forget_command();
        self.phase = match next {
            Some(announced) => Phase::Offered { tag, announced },
            None => Phase::Running { tag },
        };
        self.ask(Ask::Abandon(Box::new(status)));
    }

    fn idling(&mut self, tag: String) -> bool {
        let waiting = self.inbox.peek();
        let done = waiting.len() >= 4 && waiting.get(..4).is_some_and(|word| word.eq_ignore_ascii_case(b"DONE"));
        if done || waiting.first().is_some_and(|first| !first.eq_ignore_ascii_case(&b'D')) {
            // Deviation: iOS 18 sends its next command right behind IDLE. Anything but DONE ends IDLE
            // too and stays where it is, to be read as a command.
            let ended = !done || self.inbox.line().is_some();
            if ended {
                self.late_done = !done;
                self.phase = Phase::Running { tag };
                self.ask(Ask::IdleEnd);
                return false;
            }
        } else if waiting.len() >= 4 || waiting.contains(&b'\n') {
            self.late_done = true;
            self.phase = Phase::Running { tag };
            self.ask(Ask::IdleEnd);
            return false;
        }
        self.phase = Phase::Idle { tag };
        false
    }

    fn answered(&mut self, answer: Answer) {
        match (std::mem::replace(&mut self.phase, Phase::Ready), answer) {
            (Phase::Running { tag }, Answer::More(octets)) => {
                self.send(octets);
                self.phase = Phase::Running { tag };
                self.ask(Ask::Continue);
            }
            (Phase::Running { tag }, Answer::Done(done)) => self.done(&tag, done),
            (Phase::Running { tag }, Answer::Taken) => {
                self.send(b"+ Idling\r\n".to_vec());
                self.said = self.heard_at;
                self.late_done = false;
                self.phase = Phase::Idle { tag };
            }
            (Phase::Offered { tag, announced }, Answer::Taken) => {
                if announced.waits {
                    self.send(b"+ Ready\r\n".to_vec());
                }
                self.phase = Phase::Receiving { tag, left: announced.octets, asked: false };
            }
            (Phase::Offered { tag, announced }, Answer::Done(done)) => self.skip(tag, announced, done.status),
            (Phase::Receiving { tag, left, .. }, Answer::Taken) => self.phase = Phase::Receiving { tag, left, asked: false },
            (Phase::Receiving { tag, left, .. }, Answer::Done(done)) => {
                self.phase = Phase::Discarding { left, reply: Box::new((tag, done.status)) };
            }
            (Phase::Asked { tag, exchange }, Answer::Auth(answer)) => self.authorised(tag, exchange, answer),
            (Phase::Closed, _) => self.phase = Phase::Closed,
            (_, _) => self.reply("*", &Status::bye("SERVERBUG", "Lost track of your command")),
        }
    }

    fn done(&mut self, tag: &str, done: Done) {
        let entered = self.state == State::NotAuthenticated && done.state.is_some();
        self.state = done.state.unwrap_or(self.state);
        if self.state == State::NotAuthenticated {
            self.enabled = Enabled::NOTHING;
        }
        self.send(done.data);
        let status = if entered { done.status.code(format!("CAPABILITY {}", self.capabilities())) } else { done.status };
        self.reply(tag, &status);
        if self.state == State::NotAuthenticated {
            self.decompress();
        }
    }

    fn pushed(&mut self, now: Instant, push: Push) {
        match push {
            Push::News(octets) => {
                self.said = now;
                self.send(octets);
            }
            Push::Bye(status) => self.reply("*", &status),
        }
    }

    fn ticked(&mut self, now: Instant) {
        if matches!(self.phase, Phase::Closed | Phase::Running { .. } | Phase::Asked { .. } | Phase::Offered { .. }) {
            return;
        }
        if now >= self.heard_at + self.silence_max() {
            return self.reply("*", &Status::bye("UNAVAILABLE", "You have been silent for too long"));
        }
        if matches!(self.phase, Phase::Idle { .. }) && now >= self.said + self.config.limits.keep_alive {
            self.said = now;
            self.reply("*", &Status::ok("Still here"));
        }
    }

    fn silence_max(&self) -> std::time::Duration {
        let limits = &self.config.limits;
        match (&self.phase, self.state) {
            (_, State::NotAuthenticated) => limits.login_wait_max,
            (Phase::Idle { .. }, _) => limits.idle_max,
            _ => limits.silence_max,
        }
    }

    fn deadline(&self) -> Instant {
        let silence = self.heard_at + self.silence_max();
        if matches!(self.phase, Phase::Idle { .. }) { silence.min(self.said + self.config.limits.keep_alive) } else { silence }
    }
}

impl wire::Session for Session {
    type Ask = Ask;
    type Answer = Answer;
    type Push = Push;

    fn handle(&mut self, now: Instant, input: Input<'_, Answer, Push>) {
        if matches!(self.phase, Phase::Closed) {
            return;
        }
        match input {
            Input::Bytes(bytes) => {
                self.heard_at = now;
                self.heard(bytes);
            }
            Input::Eof => return self.close(),
            Input::TlsStarted(tls) => {
                self.inbox.clear();
                self.forget_command();
                self.tls = Some(Box::new(tls));
                self.phase = Phase::Ready;
                self.heard_at = now;
            }
            Input::Answer(answer) => {
                self.inflated_octets = 0;
                self.answered(answer);
            }
            Input::Push(push) => self.pushed(now, push),
            Input::Tick => self.ticked(now),
        }
        self.advance();
    }

    fn stop(&mut self, _now: Instant) {
        self.stopping = true;
        if matches!(self.phase, Phase::Idle { .. }) {
            self.leave();
        } else {
            self.advance();
        }
    }

    fn poll(&mut self) -> Output<Ask> {
        if self.outbox.is_empty() {
            // What did not fit before the peer took our answers.
            self.advance();
            self.seal();
        }
        let output = self.outbox.pop_front();
        if self.outbox.is_empty() {
            // An idle session holds no buffer.
            self.outbox = VecDeque::new();
        }
        output.unwrap_or_else(|| Output::Wait(self.deadline()))
    }
}
