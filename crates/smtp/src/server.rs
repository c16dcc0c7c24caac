//! The server side of one SMTP, submission or LMTP connection (RFC 5321, RFC 6409, RFC 2033).
//!
//! ```text
//!  (Connect) ──220──▶ Greeted ──EHLO──▶ Ready ──MAIL──▶ Mail ──RCPT──▶ Rcpt ──DATA──▶ Data ──┐
//!      │                 ▲               ▲ │ ▲                           │  BDAT              │
//!     554                └────STARTTLS───┘ │ │                           ▼                    │
//!      ▼                              AUTH │ │                    Chunk ◀──▶ Chunks           │
//!   Refused (QUIT only)                    ▼ │                      │                         │
//!                                        Auth └──── RSET, EHLO, end of message ───────────────┘
//! ```
//!
//! [`COMMANDS`] is the table of verbs; each has its function in a file of its own name.
//! Not here: whether a sender or recipient is welcome and where mail goes; that is asked ([`Ask`]).
//!
//! Invariants
//! - One question is outstanding at most; the peer's octets wait meanwhile.
//! - A message is never held: at most 65,536 octets of it wait for the handler.
//! - The handler hears of the end of every transaction it has accepted: [`Ask::Data`], [`Ask::Reset`], its own
//!   refusal of [`Ask::Body`], or its being dropped with the connection.

mod ask;
mod auth;
mod bdat;
mod config;
mod data;
mod etrn;
mod helo;
mod mail;
mod minor;
mod rcpt;
mod starttls;
mod terms;
mod unstuff;
mod xclient;

pub use ask::{Answer, Ask, ClientClaim, MailCommand};
pub use config::{Config, Connection, Limits, Role};

use crate::Reply;
use crate::grammar::split_verb;
use ::mail::Timestamp;
use auth::Asking;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Instant;
use wire::sasl::Exchange;
use wire::{Inbox, Input, Line, Output, Session, Tls};

/// The server side of one connection.
#[derive(Debug)]
pub struct Server {
    config: Arc<Config>,
    nonce: String,
    tls: Option<Tls>,
    /// Whether AUTH has succeeded.
    authenticated: bool,
    /// Whether the peer may say for whom it speaks.
    xclient: bool,
    /// What it said of that.
    claim: ClientClaim,
    state: State,
    transaction: Transaction,
    counts: Counts,
    inbox: Inbox,
    outbox: VecDeque<Output<Ask>>,
    asked: Option<Asked>,
    /// We take leave as soon as no transaction is in hand.
    leaving: bool,
    started: Instant,
    /// When something last happened.
    active: Instant,
    /// The time of day at `started`.
    wall: Timestamp,
}

/// What the peer's next octets are.
#[derive(Debug)]
enum State {
    /// A command.
    Command(Phase),
    /// A line of an AUTH exchange.
    Auth(Box<Exchange>),
    /// The message after DATA.
    Data(unstuff::Unstuff),
    /// The octets after BDAT.
    Chunk(bdat::Chunk),
    /// A TLS handshake: void for us.
    Handshake,
    /// Void: the connection ends.
    Closed,
}

/// Which commands are legal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The peer was refused; it may say QUIT.
    Refused,
    /// Before EHLO.
    Greeted,
    /// Between transactions.
    Ready,
    /// After MAIL.
    Mail,
    /// After at least one accepted RCPT.
    Rcpt,
    /// Between two BDATs.
    Chunks,
}

/// The transaction under way.
#[derive(Debug, Default)]
struct Transaction {
    /// Recipients accepted.
    recipients: usize,
    smtputf8: bool,
    /// The message need not be lines.
    binary: bool,
    /// Octets of the message so far.
    octets: u64,
    /// Octets for the next [`Ask::Body`].
    buffer: Vec<u8>,
    /// What is said at the message's end; until then its octets are dropped.
    refusal: Option<Refusal>,
}

#[derive(Debug)]
enum Refusal {
    /// We refuse it; the handler does not know yet.
    Ours(Reply),
    /// The handler refused it itself.
    Handlers(Reply),
}

/// What is counted against [`Limits`].
#[derive(Debug, Default)]
struct Counts {
    errors: usize,
    auths: usize,
    auth_failures: usize,
    idle_commands: usize,
    transactions: usize,
    discarded_octets: u64,
}

/// The question that is outstanding, and how to go on.
#[derive(Debug)]
enum Asked {
    Connect,
    Helo { esmtp: bool },
    Auth(Asking),
    Mail { smtputf8: bool, binary: bool },
    Rcpt,
    Body,
    Data,
    Reset(Then),
    Verify,
    Expand,
    Client(Box<ClientClaim>),
    Etrn,
}

/// What follows a reset.
#[derive(Debug)]
enum Then {
    Say(Reply),
    /// The message is refused, with one reply or one for each recipient.
    Refuse(Reply, usize),
    Helo {
        name: String,
        esmtp: bool,
    },
}

struct Command {
    verb: &'static str,
    roles: &'static [Role],
    legal: &'static [Phase],
    run: fn(&mut Server, &str),
}

const SMTP: &[Role] = &[Role::Mx, Role::Submission];
const LMTP: &[Role] = &[Role::Lmtp];
const ALL: &[Role] = &[Role::Mx, Role::Submission, Role::Lmtp];

const REFUSED: Phase = Phase::Refused;
const GREETED: Phase = Phase::Greeted;
const READY: Phase = Phase::Ready;
const MAIL: Phase = Phase::Mail;
const RCPT: Phase = Phase::Rcpt;
const CHUNKS: Phase = Phase::Chunks;
const ANY: &[Phase] = &[GREETED, READY, MAIL, RCPT, CHUNKS];

/// Every command: who may say it and when, and its function.
#[rustfmt::skip]
const COMMANDS: &[Command] = &[
    Command { verb: "EHLO",     roles: SMTP, legal: ANY,                run: Server::ehlo },
    Command { verb: "HELO",     roles: SMTP, legal: ANY,                run: Server::helo },
    Command { verb: "LHLO",     roles: LMTP, legal: ANY,                run: Server::ehlo },
    Command { verb: "STARTTLS", roles: ALL,  legal: &[READY],           run: Server::starttls },
    Command { verb: "AUTH",     roles: SMTP, legal: &[READY],           run: Server::auth },
    Command { verb: "MAIL",     roles: ALL,  legal: &[READY],           run: Server::mail },
    Command { verb: "RCPT",     roles: ALL,  legal: &[MAIL, RCPT],      run: Server::rcpt },
    Command { verb: "DATA",     roles: ALL,  legal: &[MAIL, RCPT],      run: Server::data },
    // Its octets must be read even where it is illegal, so it judges the phase itself.
    Command { verb: "BDAT",     roles: ALL,  legal: &[REFUSED, GREETED, READY, MAIL, RCPT, CHUNKS], run: Server::bdat },
    Command { verb: "RSET",     roles: ALL,  legal: ANY,                run: Server::rset },
    Command { verb: "NOOP",     roles: ALL,  legal: ANY,                run: Server::noop },
    Command { verb: "HELP",     roles: ALL,  legal: ANY,                run: Server::help },
    Command { verb: "VRFY",     roles: ALL,  legal: ANY,                run: Server::vrfy },
    Command { verb: "EXPN",     roles: ALL,  legal: ANY,                run: Server::expn },
    Command { verb: "ETRN",     roles: SMTP, legal: &[READY],           run: Server::etrn },
    Command { verb: "XCLIENT",  roles: ALL,  legal: &[GREETED, READY],  run: Server::xclient },
    Command { verb: "QUIT",     roles: ALL,  legal: &[REFUSED, GREETED, READY, MAIL, RCPT, CHUNKS], run: Server::quit },
    // A browser made to talk to us: the lines of its body must not be taken for commands.
    Command { verb: "GET",      roles: ALL,  legal: ANY,                run: Server::foreign },
    Command { verb: "POST",     roles: ALL,  legal: ANY,                run: Server::foreign },
    Command { verb: "CONNECT",  roles: ALL,  legal: ANY,                run: Server::foreign },
];

impl Server {
    /// A connection that has just been made, its implicit TLS (if any) being up.
    pub fn new(config: Arc<Config>, connection: Connection, now: Instant) -> Self {
        let line_octets_max = config.limits.command_octets_max.max(config.limits.auth_octets_max);
        let mut server = Self {
            config,
            nonce: connection.nonce,
            tls: connection.tls,
            authenticated: false,
            xclient: connection.xclient,
            claim: ClientClaim::default(),
            state: State::Command(Phase::Greeted),
            transaction: Transaction::default(),
            counts: Counts::default(),
            inbox: Inbox::new(line_octets_max),
            outbox: VecDeque::new(),
            asked: None,
            leaving: false,
            started: now,
            active: now,
            wall: connection.wall,
        };
        server.ask(Ask::Connect, Asked::Connect);
        server
    }

    /// Works through what the peer has said, up to the next question.
    fn advance(&mut self) {
        while self.asked.is_none() {
            self.leave();
            match self.state {
                State::Command(_) | State::Auth(_) => {
                    let Some(line) = self.inbox.line() else { return };
                    self.line(line);
                }
                State::Data(_) | State::Chunk(_) => {
                    let mut inbox = std::mem::take(&mut self.inbox);
                    let consumed = self.receive(inbox.peek());
                    inbox.consume(consumed);
                    self.inbox = inbox;
                    if consumed == 0 && self.in_message() {
                        return;
                    }
                }
                State::Handshake | State::Closed => {
                    self.inbox.clear();
                    return;
                }
            }
        }
    }

    /// RFC 5321 §3.8: 421 where nothing is lost by it.
    fn leave(&mut self) {
        let idle = matches!(self.state, State::Auth(_) | State::Command(Phase::Refused | Phase::Greeted | Phase::Ready));
        if self.leaving && idle {
            self.give_up(&Reply::new(421, (4, 3, 2), "The server is shutting down"));
        }
    }

    fn bytes(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        // The octets of a message go straight to where they belong.
        while self.asked.is_none() && self.inbox.is_empty() && !rest.is_empty() && self.in_message() {
            let consumed = self.receive(rest);
            rest = rest.get(consumed..).unwrap_or_default();
        }
        self.inbox.push(rest);
        self.advance();
    }

    /// Whether the next octets are those of a message.
    fn in_message(&self) -> bool {
        matches!(self.state, State::Data(_) | State::Chunk(_))
    }

    fn line(&mut self, line: Line) {
        let Line::Whole(line) = line else { return self.bad_line(&line) };
        if matches!(self.state, State::Auth(_)) {
            return self.auth_line(&line);
        }
        match String::from_utf8(line) {
            Ok(line) if line.chars().any(|c| c.is_control() && c != '\t') => {
                self.say(&Reply::new(500, (5, 5, 2), "Control characters are not allowed in commands"));
            }
            Ok(line) => self.command(&line),
            Err(_) => self.say(&Reply::new(500, (5, 5, 2), "The command is not UTF-8")),
        }
    }

    /// A bare CR or LF must never end a line: what follows it cannot be trusted to be a command.
    fn bad_line(&mut self, line: &Line) {
        match (line, &self.state) {
            (Line::TooLong, State::Auth(_)) => self.auth_line_too_long(),
            (Line::TooLong, _) => self.say(&Reply::new(500, (5, 5, 2), "Line too long")),
            _ => self.give_up(&Reply::new(421, (4, 5, 2), "Lines must end in CR LF, and hold neither alone")),
        }
    }

    fn command(&mut self, line: &str) {
        let State::Command(phase) = self.state else { return };
        let (verb, args) = split_verb(line);
        let octets_max = match verb {
            verb if verb.eq_ignore_ascii_case("AUTH") => self.config.limits.auth_octets_max,
            _ => self.config.limits.command_octets_max,
        };
        if line.len() > octets_max {
            return self.say(&Reply::new(500, (5, 5, 2), "Line too long"));
        }
        let ours = |command: &Command| command.roles.contains(&self.config.role) && (self.xclient || command.verb != "XCLIENT");
        let known = |command: &&Command| command.verb.eq_ignore_ascii_case(verb) && ours(command);
        match COMMANDS.iter().find(known) {
            None => self.say(&Reply::new(500, (5, 5, 1), "Command not recognized")),
            Some(command) if command.legal.contains(&phase) => (command.run)(self, args),
            Some(command) => self.out_of_order(command.verb, phase),
        }
    }

    fn out_of_order(&mut self, verb: &str, phase: Phase) {
        let why = match phase {
            Phase::Refused => "You are not welcome; say QUIT",
            Phase::Greeted if self.config.role == Role::Lmtp => "Say LHLO first",
            Phase::Greeted => "Say EHLO first",
            Phase::Ready => "Say MAIL first",
            Phase::Chunks => "The message is not complete: BDAT LAST is missing",
            Phase::Mail | Phase::Rcpt if verb == "MAIL" => "There is a transaction already",
            Phase::Mail | Phase::Rcpt => "Not during a transaction",
        };
        self.say(&Reply::new(503, (5, 5, 1), why));
    }

    fn answered(&mut self, answer: Answer) {
        let Some(asked) = self.asked.take() else { return };
        match asked {
            Asked::Connect => self.connected(answer),
            Asked::Helo { esmtp } => self.welcomed(answer, esmtp),
            Asked::Auth(asking) => self.auth_answered(asking, answer),
            Asked::Mail { smtputf8, binary } => self.mail_answered(answer, smtputf8, binary),
            Asked::Rcpt => self.rcpt_answered(answer),
            Asked::Body => self.body_answered(answer),
            Asked::Data => self.data_answered(answer),
            Asked::Verify => self.verified(answer),
            Asked::Expand => self.expanded(answer),
            Asked::Client(claim) => self.claim_answered(*claim, answer),
            Asked::Etrn => self.etrn_answered(answer),
            Asked::Reset(Then::Say(reply)) => self.say(&reply),
            Asked::Reset(Then::Refuse(reply, times)) => self.repeat(&reply, times),
            Asked::Reset(Then::Helo { name, esmtp }) => self.ask_helo(name, esmtp),
        }
    }

    /// RFC 5321 §3.1: who is refused by the greeting can only QUIT.
    fn connected(&mut self, answer: Answer) {
        let protocol = if self.config.role == Role::Lmtp { "LMTP" } else { "ESMTP" };
        match refusal(answer) {
            None => {
                let text = format!("{} {protocol} {}", self.config.hostname, self.config.greeting);
                self.say(&Reply::plain(220, text.trim_end()));
            }
            Some(reply) => {
                self.state = State::Command(Phase::Refused);
                self.say(&reply);
            }
        }
    }

    /// Ends the transaction and goes on by `then`; the handler is told if it knew of one.
    fn reset(&mut self, then: Then) {
        let known = matches!(self.state, State::Command(Phase::Mail | Phase::Rcpt | Phase::Chunks));
        self.transaction = Transaction::default();
        if known {
            self.state = State::Command(Phase::Ready);
            self.ask(Ask::Reset, Asked::Reset(then));
        } else {
            self.asked = Some(Asked::Reset(then));
            self.answered(Answer::Taken);
        }
    }

    fn ask(&mut self, ask: Ask, asked: Asked) {
        self.asked = Some(asked);
        self.outbox.push_back(Output::Ask(ask));
    }

    /// Says a reply, counts refusals, and ends the connection after 421 or too many of them.
    fn say(&mut self, reply: &Reply) {
        self.repeat(reply, 1);
    }

    /// Says the same for each of several recipients; it counts as one.
    fn repeat(&mut self, reply: &Reply, times: usize) {
        self.send(reply.to_bytes().repeat(times));
        if reply.code == 421 {
            return self.close();
        }
        self.counts.errors += usize::from(reply.is_permanent());
        if self.counts.errors > self.config.limits.errors_max {
            self.give_up(&Reply::new(421, (4, 7, 0), "Too many errors"));
        }
    }

    /// Counts a command that does nothing; false if it was one too many.
    fn idle_command(&mut self) -> bool {
        self.counts.idle_commands += 1;
        let fine = self.counts.idle_commands <= self.config.limits.idle_commands_max;
        if !fine {
            self.give_up(&Reply::new(421, (4, 7, 0), "Too many commands without a message"));
        }
        fine
    }

    /// Says a last reply.
    fn give_up(&mut self, reply: &Reply) {
        self.send(reply.to_bytes());
        self.close();
    }

    fn send(&mut self, bytes: Vec<u8>) {
        self.outbox.push_back(Output::Send(bytes));
    }

    fn close(&mut self) {
        if !matches!(self.state, State::Closed) {
            self.state = State::Closed;
            self.outbox.push_back(Output::Close);
        }
    }

    fn tick(&mut self, now: Instant) {
        if self.asked.is_some() || now < self.deadline() {
            return;
        }
        let limits = &self.config.limits;
        let text = if now >= self.started + limits.session_max { "The connection has lasted too long" } else { "Idle too long" };
        self.give_up(&Reply::new(421, (4, 4, 2), text));
    }

    fn deadline(&self) -> Instant {
        let limits = &self.config.limits;
        let idle_max = match self.state {
            State::Data(_) | State::Chunk(_) => limits.data_idle_max,
            _ => limits.idle_max,
        };
        (self.active + idle_max).min(self.started + limits.session_max)
    }
}

impl Session for Server {
    type Ask = Ask;
    type Answer = Answer;
    type Push = Infallible;

    fn handle(&mut self, now: Instant, input: Input<'_, Answer, Infallible>) {
        if matches!(self.state, State::Closed) {
            return;
        }
        if !matches!(input, Input::Tick) {
            self.active = now;
        }
        match input {
            Input::Bytes(bytes) => self.bytes(bytes),
            Input::Answer(answer) => {
                self.answered(answer);
                self.advance();
            }
            Input::TlsStarted(tls) => self.tls_started(tls),
            Input::Eof => self.close(),
            Input::Push(never) => match never {},
            Input::Tick => self.tick(now),
        }
    }

    fn stop(&mut self, _: Instant) {
        self.leaving = true;
        if self.asked.is_none() {
            self.leave();
        }
    }

    fn poll(&mut self) -> Output<Ask> {
        self.outbox.pop_front().unwrap_or_else(|| Output::Wait(self.deadline()))
    }
}

/// The handler's reply to a question, `good` where it only said to go on. What makes no sense as an answer is a
/// local error: the peer tries again.
fn reply(answer: Answer, good: Reply) -> Reply {
    match answer {
        Answer::Taken => good,
        Answer::Reply(reply) if reply.is_positive() || reply.is_transient() || reply.is_permanent() => reply,
        _ => local_error(),
    }
}

/// The handler's reply if it is not a good one.
fn refusal(answer: Answer) -> Option<Reply> {
    Some(reply(answer, Reply::plain(250, ""))).filter(|reply| !reply.is_positive())
}

fn local_error() -> Reply {
    Reply::new(451, (4, 3, 0), "Local error")
}
