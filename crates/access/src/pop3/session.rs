//! One POP3 connection as a value.
//!
//! ```text
//!  Authorization ─ USER, PASS ─▶ Checking ───────────┐
//!        │  ▲                                        ▼
//!        │  └── failed, in use ◀────────────────── Opening ─▶ Transaction ─ QUIT ─▶ Closing ─▶ closed
//!        └─ AUTH ─▶ Challenged ◀─▶ Verifying ────────▲          │    ▲
//!        └─ STLS ─▶ Authorization, all forgotten           RETR ▼    │ last chunk
//!                                                         a message on its way
//! ```
//! What it is not: it does not hold the maildrop's lock; the handler does (`serve`).
//!
//! Invariants
//! - Messages are removed only by QUIT in the Transaction state (RFC 1939 §6); no other end does.
//! - A message that cannot be sent whole is not ended with a dot: the connection breaks instead.
//! - While a question is outstanding, commands wait in the inbox.

use super::command::{self, Command, Fault};
use super::language::{Language, Words};
use super::limits::{Config, Connection};
use super::maildrop::Maildrop;
use super::reply::{Code, Reply, coded, error, ok};
use super::transaction::{Doing, Fetched, Transaction, totals};
use mail::{AccountId, MailboxId, Uid, UidSet};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Instant;
use wire::sasl::{Exchange, SaslAnswer, SaslAsk};
use wire::{Inbox, Input, Line, Output};

/// What only the store can answer.
#[derive(Debug, PartialEq, Eq)]
pub enum Ask {
    /// May this login in? Answered with [`Answer::Auth`].
    Auth(SaslAsk),
    /// Lock the maildrop and list it. Answered with [`Answer::Maildrop`], [`Answer::InUse`],
    /// [`Answer::TooSoon`] or [`Answer::Failed`].
    Open {
        /// Whose INBOX.
        account: AccountId,
        /// At most so many messages, the oldest.
        messages_max: usize,
    },
    /// Octets of a message. Answered with [`Answer::Chunk`], [`Answer::Gone`] or [`Answer::Failed`].
    Read {
        /// Its mailbox.
        mailbox: MailboxId,
        /// Which message.
        uid: Uid,
        /// From which octet on.
        offset: u64,
        /// At most so many; fewer only at the end of the message.
        octets_max: usize,
    },
    /// End the session: delete these messages in one step, and unlock the maildrop. Answered with [`Answer::Closed`] or [`Answer::Failed`].
    Close {
        /// Marked by DELE; may be empty.
        deleted: Marked,
        /// Fetched whole and not deleted.
        retrieved: Marked,
    },
}

/// Messages, by mailbox.
pub type Marked = Vec<(MailboxId, UidSet)>;

/// The store's answer.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    /// Whether the login may in.
    Auth(SaslAnswer),
    /// The maildrop is locked, and these are its messages.
    Maildrop(Maildrop),
    /// Another session has it.
    InUse,
    /// The last login is not long enough ago.
    TooSoon,
    /// Octets of the message.
    Chunk(Vec<u8>),
    /// Somebody removed the message in the meantime.
    Gone,
    /// The messages are removed, the maildrop is unlocked.
    Closed,
    /// It cannot be done now; nothing was changed.
    Failed,
}

/// One connection.
#[derive(Debug)]
pub struct Session {
    pub(super) config: Arc<Config>,
    pub(super) connection: Connection,
    pub(super) phase: Phase,
    /// The peer's USER, for the PASS that follows.
    pub(super) user: Option<String>,
    /// In which the client reads.
    pub(super) language: Language,
    pub(super) auth_failures: u32,
    /// AUTH commands so far: each has a nonce of its own.
    pub(super) exchanges: u32,
    inbox: Inbox,
    out: VecDeque<Output<Ask>>,
    faults: u32,
    deadline: Instant,
    input_ended: bool,
    closed: bool,
}

/// What the session is at.
#[derive(Debug)]
pub(super) enum Phase {
    /// Nobody has logged in.
    Authorization,
    /// The client's next SASL message is waited for.
    Challenged(Box<Exchange>),
    /// Asked on behalf of an exchange.
    Verifying(Box<Exchange>),
    /// Asked whether USER and PASS are right.
    Checking,
    /// Asked for the maildrop.
    Opening,
    /// The client works on its maildrop.
    Transaction(Box<Transaction>),
    /// Asked to remove so many messages.
    Closing(u32),
    /// The client was told to begin.
    StartingTls,
}

impl Session {
    /// A connection that has just been made; the greeting waits to be sent.
    pub fn new(config: Arc<Config>, connection: Connection, now: Instant) -> Self {
        let mut session = Self {
            inbox: Inbox::new(config.limits.auth_octets_max),
            deadline: now + config.limits.idle_max,
            language: config.language,
            config,
            connection,
            phase: Phase::Authorization,
            user: None,
            auth_failures: 0,
            exchanges: 0,
            out: VecDeque::new(),
            faults: 0,
            input_ended: false,
            closed: false,
        };
        let greeting = Words::Data(session.config.greeting.clone());
        session.say(&ok(greeting));
        session
    }

    pub(super) fn send(&mut self, octets: Vec<u8>) {
        self.out.push_back(Output::Send(octets));
    }

    pub(super) fn say(&mut self, reply: &Reply) {
        self.send(reply.octets(self.language));
    }

    pub(super) fn ask(&mut self, ask: Ask) {
        self.out.push_back(Output::Ask(ask));
    }

    /// RFC 2595 §4: what was said in clear is forgotten.
    pub(super) fn start_tls(&mut self) {
        self.out.push_back(Output::StartTls);
        self.phase = Phase::StartingTls;
        self.user = None;
        self.inbox.clear();
    }

    /// Everything said so far goes out, then the connection ends.
    pub(super) fn close(&mut self) {
        self.out.push_back(Output::Close);
        self.closed = true;
    }

    /// Refuses a command; too many of these end the connection.
    pub(super) fn fault(&mut self, reply: &Reply) {
        self.say(reply);
        self.faults += 1;
        if self.faults >= self.config.limits.faults_max {
            self.say(&error("too many errors"));
            self.close();
        }
    }

    /// Whether input has to wait.
    fn is_busy(&self) -> bool {
        match &self.phase {
            Phase::Authorization | Phase::Challenged(_) => false,
            Phase::Verifying(_) | Phase::Checking | Phase::Opening | Phase::Closing(_) | Phase::StartingTls => true,
            Phase::Transaction(transaction) => transaction.is_fetching(),
        }
    }

    fn line(&mut self, line: Line) {
        let text = match line {
            Line::Whole(text) => text,
            Line::TooLong => return self.broken_line("the line is too long"),
            Line::Bare => return self.broken_line("lines end in CRLF"),
        };
        match std::mem::replace(&mut self.phase, Phase::Authorization) {
            Phase::Challenged(exchange) => return self.response(exchange, &text),
            phase => self.phase = phase,
        }
        // Deviation: RFC 5034 §4 keeps the initial response within a command's line; Thunderbird and Outlook send
        // tokens of some thousand octets there.
        let is_auth = text.get(..5).is_some_and(|verb| verb.eq_ignore_ascii_case(b"AUTH "));
        if !is_auth && text.len() > self.config.limits.command_octets_max {
            return self.fault(&error("the line is too long"));
        }
        match command::parse(&text) {
            Ok(command) => self.command(command),
            Err(Fault::Unknown) => self.fault(&error("unknown command")),
            Err(Fault::Usage(usage)) => self.fault(&error(Words::Expected(usage))),
            Err(Fault::NotUtf8) => self.fault(&coded(Code::Utf8, "not UTF-8")),
        }
    }

    /// A line that cannot be read also ends an AUTH exchange: who knows what it was.
    fn broken_line(&mut self, words: &'static str) {
        if matches!(self.phase, Phase::Challenged(_)) {
            self.phase = Phase::Authorization;
        }
        self.fault(&error(words));
    }

    fn command(&mut self, command: Command) {
        let Phase::Transaction(transaction) = &mut self.phase else { return self.before_login(command) };
        match (transaction.command(&command, &self.config.limits), command) {
            (Some(Doing::Say(reply)), _) => self.say(&reply),
            (Some(Doing::Ask(ask)), _) => self.ask(ask),
            (None, Command::Capa) => self.capa(),
            (None, Command::Lang(range)) => self.lang(range.as_deref()),
            (None, Command::Quit) => {
                let (deleted, retrieved) = (transaction.deleted(), transaction.retrieved());
                self.phase = Phase::Closing(deleted.iter().map(|(_, uids)| uids.len()).sum());
                self.ask(Ask::Close { deleted, retrieved });
            }
            (None, _) => self.fault(&error("already logged in")),
        }
    }

    fn before_login(&mut self, command: Command) {
        match command {
            Command::Auth(arguments) => self.auth(arguments),
            Command::Capa => self.capa(),
            Command::Lang(range) => self.lang(range.as_deref()),
            // RFC 1939 §5 has it after login only; nobody gains by a refusal.
            Command::Noop => self.say(&ok("nothing done")),
            Command::Pass(password) => self.pass(&password),
            Command::Quit => {
                self.say(&ok("bye"));
                self.close();
            }
            Command::Stls => self.stls(),
            Command::User(name) => self.user(name),
            Command::Utf8 => self.say(&ok("UTF-8 is always welcome")),
            _ => self.fault(&error("log in first")),
        }
    }

    fn answer(&mut self, answer: Answer) {
        match (std::mem::replace(&mut self.phase, Phase::Authorization), answer) {
            (Phase::Verifying(exchange), Answer::Auth(answer)) => self.verified(exchange, answer),
            (Phase::Checking, Answer::Auth(answer)) => self.checked(&answer),
            (Phase::Opening, Answer::Maildrop(maildrop)) => {
                self.say(&ok(totals(&maildrop)));
                self.phase = Phase::Transaction(Box::new(Transaction::new(maildrop)));
            }
            (Phase::Opening, Answer::InUse) => {
                self.say(&coded(Code::InUse, "another session has this maildrop; try again when it is done"));
            }
            (Phase::Opening, Answer::TooSoon) => {
                self.say(&coded(Code::LoginDelay, "mail was fetched a moment ago; wait longer between logins"));
            }
            (Phase::Transaction(transaction), answer) => self.fetched(transaction, answer),
            (Phase::Closing(removed), Answer::Closed) => {
                self.say(&ok(Words::Removed(u64::from(removed))));
                self.close();
            }
            (Phase::Closing(_), _) => {
                self.say(&coded(Code::SysTemp, "the deleted messages could not be removed; all are kept"));
                self.close();
            }
            // The session stays where it was before the question: nobody has logged in.
            (_, _) => self.say(&coded(Code::SysTemp, "this cannot be done now; try again later")),
        }
    }

    /// A part of a message, after its reply if it is the first.
    fn part(&mut self, begin: Option<&Reply>, octets: &[u8]) {
        let mut out = begin.map(|reply| reply.octets(self.language)).unwrap_or_default();
        out.extend_from_slice(octets);
        self.send(out);
    }

    fn fetched(&mut self, mut transaction: Box<Transaction>, answer: Answer) {
        match transaction.fetched(answer) {
            Fetched::Say(reply) => self.say(&reply),
            Fetched::End(begin, octets) => self.part(begin.as_ref(), &octets),
            Fetched::More(begin, octets, ask) => {
                self.part(begin.as_ref(), &octets);
                self.ask(ask);
            }
            // No dot: the client must not take what it has for a whole message.
            Fetched::Broken => self.close(),
        }
        self.phase = Phase::Transaction(transaction);
    }
}

impl wire::Session for Session {
    type Ask = Ask;
    type Answer = Answer;
    type Push = Infallible;

    fn handle(&mut self, now: Instant, input: Input<'_, Answer, Infallible>) {
        if self.closed {
            return;
        }
        match input {
            Input::Bytes(octets) => {
                self.deadline = now + self.config.limits.idle_max;
                self.inbox.push(octets);
            }
            Input::Eof => self.input_ended = true,
            Input::TlsStarted(tls) => {
                self.inbox.clear();
                self.phase = Phase::Authorization;
                self.connection.tls = Some(tls);
            }
            Input::Answer(answer) => {
                self.deadline = now + self.config.limits.idle_max;
                self.answer(answer);
            }
            Input::Push(never) => match never {},
            // RFC 1939 §3: without a word, and nothing is removed.
            Input::Tick if now >= self.deadline => self.close(),
            Input::Tick => {}
        }
    }

    fn poll(&mut self) -> Output<Ask> {
        loop {
            if let Some(output) = self.out.pop_front() {
                return output;
            }
            if self.closed {
                return Output::Close;
            }
            if let Phase::Transaction(transaction) = &mut self.phase
                && let Some(octets) = transaction.listed()
            {
                return Output::Send(octets);
            }
            if self.is_busy() {
                return Output::Wait(self.deadline);
            }
            match self.inbox.line() {
                Some(line) => self.line(line),
                None if self.input_ended => self.close(),
                None => return Output::Wait(self.deadline),
            }
        }
    }

    fn stop(&mut self, _now: Instant) {
        if self.is_busy() || self.closed {
            return;
        }
        self.say(&coded(Code::SysTemp, "the server is stopping; nothing was removed"));
        self.close();
    }
}

/// Any octets, any answers: nothing may panic, and the session must come to rest.
pub(super) fn fuzz(data: &[u8]) {
    use wire::Session as _;
    let now = Instant::now();
    let connection = Connection { nonce: "0123456789abcdefghijklmn".to_owned(), tls: None, plaintext_login: true };
    let mut session = Session::new(Arc::default(), connection, now);
    let mut chunks = data.chunks(7);
    loop {
        match session.poll() {
            Output::Send(_) => {}
            Output::Ask(ask) => session.handle(now, Input::Answer(made_up(&ask, data))),
            Output::StartTls => session.handle(now, Input::TlsStarted(wire::Tls::default())),
            Output::Wait(_) => match chunks.next() {
                Some(chunk) => session.handle(now, Input::Bytes(chunk)),
                None => session.handle(now, Input::Eof),
            },
            Output::Close => return,
        }
    }
}

fn made_up_maildrop(octets: u64) -> Maildrop {
    let source = super::Source { mailbox: MailboxId(1), uid_validity: mail::UidValidity(1) };
    Maildrop::new(vec![source], vec![super::Entry::new(Uid(1), octets)], super::UidlFormat::default(), std::collections::BTreeMap::new())
}

fn made_up(ask: &Ask, data: &[u8]) -> Answer {
    match ask {
        Ask::Auth(SaslAsk::Password { login, .. }) => Answer::Auth(SaslAnswer::Account { account: 1, login: login.clone() }),
        Ask::Auth(SaslAsk::Token { .. }) => Answer::Auth(SaslAnswer::TokenRefused(wire::sasl::TokenError::default())),
        Ask::Auth(SaslAsk::Certificate { .. }) => Answer::Auth(SaslAnswer::Refused(wire::sasl::Failure::Credentials)),
        Ask::Auth(SaslAsk::ScramVerifier { .. }) => Answer::Auth(SaslAnswer::Verifier(None)),
        Ask::Open { .. } => Answer::Maildrop(made_up_maildrop(data.len() as u64)),
        Ask::Read { offset, octets_max, .. } => {
            let from = usize::try_from(*offset).unwrap_or(usize::MAX).min(data.len());
            let rest = data.get(from..).unwrap_or_default();
            Answer::Chunk(rest.get(..*octets_max).unwrap_or(rest).to_vec())
        }
        Ask::Close { .. } => Answer::Closed,
    }
}
