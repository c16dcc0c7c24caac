//! The client side of one SMTP or LMTP connection (RFC 5321, RFC 2033).
//!
//! ```text
//!  Greeting ─▶ Helo ─▶ [StartTls ─▶ Handshake ─▶ Helo] ─▶ [Auth] ─▶ (Next) ─▶ Envelope ─▶ Body ─▶ Verdict ─┐
//!                                                                     ▲ │                                   │
//!                                                                     │ └─▶ Quit                 (Outcome) ◀┘
//!                                                                     └────────────────────────────┘
//! ```
//!
//! Not here: where to connect, which messages, when to try again.
//!
//! Invariants
//! - Every message that was taken ([`Answer::Message`]) gets exactly one [`Ask::Outcome`] with a class for each
//!   recipient; only a 2xx to the end of the message is [`Class::Delivered`].
//! - What fails outside a transaction is transient: another host or another hour may do better.
//! - Whatever a server says or does not say, the session ends or goes on within the times of [`Limits`].
//! - What was said in clear is forgotten when TLS is up; a reply that nobody asked for ends the session.

mod ask;
mod auth;
mod config;
mod envelope;
mod hello;
mod message;
mod offers;
mod replies;
mod stuff;

pub use ask::{Answer, Ask, Cause, Class, Outcome, Stage, Transaction, TransactionOutcome};
pub use config::{Config, Limits, TlsPolicy};

use crate::Reply;
use envelope::{Running, Sent};
use offers::Offers;
use replies::Replies;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::{Duration, Instant};
use wire::{Input, Output, Session, Tls, sasl};

/// The client side of one connection.
#[derive(Debug)]
pub struct Client {
    config: Config,
    tls: Option<Tls>,
    offers: Offers,
    state: State,
    /// The message under way.
    running: Option<Running>,
    /// An earlier transaction was left open: RSET comes before MAIL.
    dirty: bool,
    /// Whether this connection has carried a transaction before.
    used: bool,
    /// MAIL commands said over this connection.
    mails: usize,
    replies: Replies,
    outbox: VecDeque<Output<Ask>>,
    asked: Option<Asked>,
    /// The peer closed its side while a question was outstanding.
    ended: bool,
    now: Instant,
    /// When the wait for the next reply began.
    since: Instant,
}

/// Which reply comes next.
#[derive(Debug)]
enum State {
    Greeting,
    /// EHLO or LHLO.
    Ehlo,
    /// HELO, EHLO having been refused.
    Helo,
    StartTls,
    /// No reply: the TLS handshake.
    Handshake,
    Auth(Box<sasl::client::Client>),
    /// No reply: a question is outstanding, or a message streams.
    Ready,
    /// The replies to the commands of a transaction.
    Transaction,
    Quit,
    Closed,
}

/// What follows the report of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    Another,
    /// The server takes no more over this connection (RFC 9422 MAILMAX).
    Quit,
    Close,
}

#[derive(Debug)]
enum Asked {
    Next,
    Convert,
    Body,
    Outcome { then: Then },
    Failed,
}

impl Client {
    /// A connection that has just been made, its implicit TLS (if any) being up.
    pub fn new(config: Config, now: Instant) -> Self {
        let limits = &config.limits;
        Self {
            replies: Replies::new(limits.reply_octets_max, limits.reply_lines_max),
            tls: config.tls.clone(),
            config,
            offers: Offers::default(),
            state: State::Greeting,
            running: None,
            dirty: false,
            used: false,
            mails: 0,
            outbox: VecDeque::new(),
            asked: None,
            ended: false,
            now,
            since: now,
        }
    }

    /// Works through the replies that have come, up to the next question.
    fn advance(&mut self) {
        while self.asked.is_none() && self.expects_reply() {
            match self.replies.next() {
                Ok(Some(reply)) => {
                    self.since = self.now;
                    self.replied(reply);
                }
                Ok(None) if self.ended => return self.broken((4, 4, 2), "The connection was closed"),
                Ok(None) => return,
                Err(garbage) => return self.broken((4, 5, 0), garbage.0),
            }
        }
        if matches!(self.state, State::Handshake | State::Closed) {
            self.replies.clear();
        }
    }

    fn expects_reply(&self) -> bool {
        !matches!(self.state, State::Handshake | State::Ready | State::Closed)
    }

    fn replied(&mut self, reply: Reply) {
        match self.state {
            State::Greeting => self.greeted(reply),
            State::Ehlo => self.ehlo_replied(reply),
            State::Helo => self.helo_replied(reply),
            State::StartTls => self.starttls_replied(reply),
            State::Auth(_) => self.auth_replied(reply),
            State::Transaction => self.transaction_replied(reply),
            State::Quit => self.close(),
            State::Handshake | State::Ready | State::Closed => {}
        }
    }

    fn answered(&mut self, answer: Answer) {
        let Some(asked) = self.asked.take() else { return };
        match (asked, answer) {
            (Asked::Next | Asked::Convert, Answer::Message(transaction)) => self.begin(transaction),
            (Asked::Convert, _) => self.unconvertible(),
            (Asked::Next | Asked::Outcome { then: Then::Quit }, _) => self.quit(),
            (Asked::Body, Answer::Chunk(chunk)) => self.chunk(chunk),
            (Asked::Body, _) => self.fail(&Outcome::ours(Stage::Data, (4, 3, 0), "The message cannot be read")),
            (Asked::Outcome { then: Then::Another }, _) => self.ask_next(),
            (Asked::Outcome { then: Then::Close } | Asked::Failed, _) => self.close(),
        }
    }

    fn ask_next(&mut self) {
        if !self.replies.is_empty() {
            return self.fail(&Outcome::ours(Stage::Idle, (4, 5, 0), "The server replies to what was not said"));
        }
        self.state = State::Ready;
        self.ask(Ask::Next, Asked::Next);
    }

    fn quit(&mut self) {
        self.state = State::Quit;
        self.send(b"QUIT\r\n".to_vec());
    }

    /// The connection is of no more use.
    fn broken(&mut self, status: (u8, u16, u16), why: &str) {
        if matches!(self.state, State::Quit) {
            return self.close();
        }
        self.fail(&Outcome::ours(self.stage(), status, why));
    }

    /// Ends the session, every undecided recipient having this outcome.
    fn fail(&mut self, outcome: &Outcome) {
        self.state = State::Ready;
        if self.running.is_some() {
            return self.conclude(outcome, false);
        }
        let failed = Outcome { class: Class::Transient, ..outcome.clone() };
        self.ask(Ask::Failed(failed), Asked::Failed);
    }

    /// Reports the transaction; recipients not yet decided have this outcome.
    fn conclude(&mut self, outcome: &Outcome, reusable: bool) {
        let Some(running) = self.running.take() else { return };
        let undecided = |decided: Option<Outcome>| decided.unwrap_or_else(|| outcome.clone());
        let recipients = running.outcomes.into_iter().map(undecided).collect();
        let in_step = reusable && self.replies.is_empty();
        let spent = self.offers.limits.mails.is_some_and(|max| self.mails >= max);
        let then = match (in_step, spent) {
            (false, _) => Then::Close,
            (true, true) => Then::Quit,
            (true, false) => Then::Another,
        };
        self.state = State::Ready;
        self.used = true;
        let report = TransactionOutcome {
            recipients,
            tls: self.tls.clone(),
            dsn: self.offers.dsn,
            deliver_by: self.offers.deliver_by,
            reusable: then == Then::Another,
        };
        self.ask(Ask::Outcome(report), Asked::Outcome { then });
    }

    fn ask(&mut self, ask: Ask, asked: Asked) {
        self.asked = Some(asked);
        self.outbox.push_back(Output::Ask(ask));
    }

    fn send(&mut self, bytes: Vec<u8>) {
        self.since = self.now;
        self.outbox.push_back(Output::Send(bytes));
    }

    fn close(&mut self) {
        if !matches!(self.state, State::Closed) {
            self.state = State::Closed;
            self.outbox.push_back(Output::Close);
        }
    }

    /// Where we are, for an outcome.
    fn stage(&self) -> Stage {
        match self.state {
            State::Greeting => Stage::Greeting,
            State::Ehlo | State::Helo => Stage::Helo,
            State::StartTls | State::Handshake => Stage::StartTls,
            State::Auth(_) => Stage::Auth,
            State::Ready | State::Quit | State::Closed => self.running.as_ref().map_or(Stage::Idle, |_| Stage::Data),
            State::Transaction => self.transaction_stage(),
        }
    }

    /// How long the server may take now.
    fn patience(&self) -> Duration {
        let limits = &self.config.limits;
        match (&self.state, self.waiting_for()) {
            (State::Greeting, _) => limits.greeting_max,
            (State::Quit | State::Closed, _) => limits.quit_max,
            (State::Transaction, Some(Sent::Mail)) => limits.mail_max,
            (State::Transaction, Some(Sent::Rcpt(_))) => limits.rcpt_max,
            (State::Transaction, Some(Sent::Data)) => limits.data_max,
            (State::Transaction, Some(Sent::End)) => limits.end_of_data_max,
            _ => limits.helo_max,
        }
    }

    fn deadline(&self) -> Instant {
        self.since + self.patience()
    }

    fn eof(&mut self) {
        self.ended = true;
        if matches!(self.state, State::Handshake) {
            self.broken((4, 4, 2), "The connection was closed");
        }
    }

    fn tick(&mut self) {
        if self.asked.is_none() && self.now >= self.deadline() {
            self.broken((4, 4, 2), "The server took too long");
        }
    }
}

impl Session for Client {
    type Ask = Ask;
    type Answer = Answer;
    type Push = Infallible;

    fn handle(&mut self, now: Instant, input: Input<'_, Answer, Infallible>) {
        if matches!(self.state, State::Closed) {
            return;
        }
        self.now = now;
        match input {
            Input::Bytes(bytes) => self.replies.push(bytes),
            Input::Answer(answer) => self.answered(answer),
            Input::TlsStarted(tls) => self.tls_started(tls),
            Input::Eof => self.eof(),
            Input::Push(never) => match never {},
            Input::Tick => self.tick(),
        }
        self.advance();
    }

    fn poll(&mut self) -> Output<Ask> {
        self.outbox.pop_front().unwrap_or_else(|| Output::Wait(self.deadline()))
    }
}
