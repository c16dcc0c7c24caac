//! One connection to a milter, as a value: what it is told, and what it says (protocol version 6, back to 2).
//!
//! ```text
//!  negotiate ──▶ ask: what next? ◀────────────────────────────────┐
//!                  │ connect · helo · mail · rcpt ──▶ an answer ──┤
//!                  │ message: data ▶ header… ▶ end ▶ body… ▶ end ─┘ changes and an answer
//!                  └ quit ──▶ closed
//!  anything wrong, or too late ──▶ ask (failed) ──▶ closed
//! ```
//!
//! One connection serves one SMTP connection, with as many transactions as that has. What a milter does not want to hear is answered
//! here with [`Decision::Continue`]; its macros are sent all the same.
//!
//! Not here: who connects, and what follows from the advice (`mta`).
//!
//! Invariants
//! - One question is outstanding at most; the body is asked for piece by piece and never held.
//! - Every answer is waited for until a deadline; progress extends it, but not beyond [`Limits::message_max`].
//! - After a failure nothing more is said: what the milter knows of the transaction is lost.

use crate::advice::{Advice, Decision, Modification};
use crate::command;
use crate::limits::Limits;
use crate::options::{Choice, NEGOTIATE, Options};
use crate::packet::{Packet, Reader, encode};
use crate::response::Response;
use crate::symbols::{Stage, Symbols};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use wire::{Input, Output};

/// A question of the session.
#[derive(Debug, PartialEq, Eq)]
pub enum Ask {
    /// What became of the step before, and what is next? [`Answer::Do`] or [`Answer::Quit`].
    Next(Heard),
    /// The octets of the body from `offset` on; [`Answer::Chunk`], empty at its end.
    Body {
        /// Octets before.
        offset: u64,
        /// Most octets wanted.
        octets_max: usize,
    },
}

/// What became of a step.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    /// The milter is there and knows our protocol; nothing was asked yet.
    Ready,
    /// It gave advice.
    Advice(Advice),
    /// It is of no use any more: why, in words. The session has ended.
    Failed(String),
}

/// An answer to the session.
#[derive(Debug)]
pub enum Answer {
    /// The next step.
    Do(Order),
    /// Octets of the body.
    Chunk(Vec<u8>),
    /// The body cannot be read, or nothing more is wanted.
    Quit,
}

/// A step, and the macros as they are by now.
#[derive(Debug, Clone)]
pub struct Order {
    /// What happens.
    pub step: Step,
    /// Every macro that has a value.
    pub symbols: Symbols,
}

/// What happens.
#[derive(Debug, Clone)]
pub enum Step {
    /// A client has connected.
    Connect {
        /// Its name, or its address in brackets.
        name: String,
        /// Its address.
        address: IpAddr,
        /// Its port; 0 if it is not known.
        port: u16,
    },
    /// It said who it is.
    Helo(String),
    /// It begins a transaction: the path in angle brackets, then its parameters.
    Mail(Vec<String>),
    /// A recipient, the same.
    Rcpt {
        /// Path and parameters.
        arguments: Vec<String>,
        /// We have refused it already; only milters that asked for those hear of it.
        refused: bool,
    },
    /// The whole message.
    Message(Arc<Content>),
    /// The transaction is over without a message.
    Abort,
}

/// A message: its header; the body is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Content {
    /// Names and values, those with what stands behind the colon.
    pub fields: Vec<(Vec<u8>, Vec<u8>)>,
}

/// One connection to a milter.
#[derive(Debug)]
pub struct Session {
    limits: Limits,
    options: Options,
    reader: Reader,
    outbox: VecDeque<Output<Ask>>,
    state: State,
    /// The milter has heard of a transaction that has not ended.
    in_transaction: bool,
    deadline: Instant,
    /// Nothing is waited for beyond.
    last_deadline: Instant,
}

#[derive(Debug)]
enum State {
    Negotiating,
    /// [`Ask::Next`] is outstanding.
    Asking,
    /// The answer to a step of the envelope.
    Waiting,
    /// A message is under way.
    Message(Box<Talk>),
    Closed,
}

/// A message under way.
#[derive(Debug)]
struct Talk {
    content: Arc<Content>,
    symbols: Symbols,
    /// What is sent next.
    next: Next,
    /// What was sent last and wants an answer.
    sent: Option<Sent>,
    modifications: Vec<Modification>,
    body: Option<Vec<u8>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Data,
    Field(usize),
    EndOfHeader,
    Body(u64),
    EndOfMessage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sent {
    Body,
    EndOfMessage,
    Other,
}

/// The oldest version that hears of DATA.
const VERSION_WITH_DATA: u32 = 4;

impl Session {
    /// A connection that has just been made.
    pub fn new(limits: Limits, now: Instant) -> Self {
        let reader = Reader::new(limits.packet_octets_max);
        let deadline = now + limits.answer_max;
        let outbox = VecDeque::from([Output::Send(Options::offer())]);
        let options = Options::default();
        Self { limits, options, reader, outbox, state: State::Negotiating, in_transaction: false, deadline, last_deadline: deadline }
    }

    fn send(&mut self, packet: Vec<u8>) {
        self.outbox.push_back(Output::Send(packet));
    }

    fn send_symbols(&mut self, stage: Stage, symbols: &Symbols) {
        if let Some(data) = self.options.wanted.packet(stage, symbols) {
            self.send(encode(command::MACROS, &data));
        }
    }

    fn wait(&mut self, now: Instant, at_most: Duration) {
        self.deadline = (now + at_most).min(self.last_deadline);
    }

    fn tell(&mut self, heard: Heard) {
        self.state = State::Asking;
        self.outbox.push_back(Output::Ask(Ask::Next(heard)));
    }

    fn decided(&mut self, decision: Decision) {
        self.tell(Heard::Advice(Advice::of(decision)));
    }

    fn failed(&mut self, why: impl Into<String>) {
        if matches!(self.state, State::Closed) {
            return;
        }
        let asking = matches!(self.state, State::Asking);
        self.outbox.clear();
        self.state = State::Closed;
        if !asking {
            self.outbox.push_back(Output::Ask(Ask::Next(Heard::Failed(why.into()))));
        }
        self.outbox.push_back(Output::Close);
    }

    fn heard(&mut self, now: Instant, packet: Packet) {
        match &mut self.state {
            State::Negotiating => self.negotiated(&packet),
            State::Waiting => match Response::parse(packet, &self.options) {
                Ok(Response::Decision(decision)) => self.decided(decision),
                Ok(Response::Progress) => self.wait(now, self.limits.answer_max),
                Ok(other) => self.failed(format!("it said {other:?} where a decision belongs")),
                Err(error) => self.failed(format!("it cannot be understood: {error:?}")),
            },
            State::Message(_) => match Response::parse(packet, &self.options) {
                Ok(response) => self.about_message(now, response),
                Err(error) => self.failed(format!("it cannot be understood: {error:?}")),
            },
            State::Asking => self.failed("it spoke without being asked"),
            State::Closed => {}
        }
    }

    fn negotiated(&mut self, packet: &Packet) {
        if packet.kind != NEGOTIATE {
            return self.failed("it does not negotiate: is it a milter?");
        }
        match Options::parse(&packet.data) {
            Ok(options) => {
                self.options = options;
                self.tell(Heard::Ready);
            }
            Err(error) => self.failed(format!("nothing can be agreed with it: {error:?}")),
        }
    }

    fn begin(&mut self, now: Instant, order: Order) {
        self.last_deadline = now + self.limits.message_max;
        let Order { step, symbols } = order;
        let has = |choice| self.options.has(choice);
        match step {
            Step::Connect { name, address, port } => {
                let packet = (!has(Choice::NoConnect)).then(|| command::connect(&name, address, port));
                self.step(now, Stage::Connect, &symbols, packet, Choice::SilentConnect);
            }
            Step::Helo(name) => {
                let packet = (!has(Choice::NoHelo)).then(|| command::helo(&name));
                self.step(now, Stage::Helo, &symbols, packet, Choice::SilentHelo);
            }
            Step::Mail(arguments) => {
                let packet = (!has(Choice::NoMail)).then(|| command::mail(&arguments));
                self.end_transaction();
                self.in_transaction = true;
                self.step(now, Stage::Mail, &symbols, packet, Choice::SilentMail);
            }
            Step::Rcpt { refused: true, .. } if !has(Choice::RefusedRcpt) => self.decided(Decision::Continue),
            Step::Rcpt { arguments, .. } => {
                let packet = (!has(Choice::NoRcpt)).then(|| command::rcpt(&arguments));
                self.step(now, Stage::Rcpt, &symbols, packet, Choice::SilentRcpt);
            }
            Step::Message(content) => {
                let talk = Talk { content, symbols, next: Next::Data, sent: None, modifications: Vec::new(), body: None };
                self.state = State::Message(Box::new(talk));
                self.advance(now);
            }
            Step::Abort => {
                self.end_transaction();
                self.decided(Decision::Continue);
            }
        }
    }

    /// One step of the envelope: macros, the command unless it is not wanted, and its answer unless there is none.
    fn step(&mut self, now: Instant, stage: Stage, symbols: &Symbols, packet: Option<Vec<u8>>, silent: Choice) {
        self.send_symbols(stage, symbols);
        let is_answered = packet.is_some() && !self.options.has(silent);
        if let Some(packet) = packet {
            self.send(packet);
        }
        if is_answered {
            self.state = State::Waiting;
            self.wait(now, self.limits.answer_max);
        } else {
            self.decided(Decision::Continue);
        }
    }

    fn end_transaction(&mut self) {
        if std::mem::take(&mut self.in_transaction) {
            self.send(encode(command::ABORT, &[]));
        }
    }

    /// Sends what is next of a message, up to what wants an answer.
    fn advance(&mut self, now: Instant) {
        let State::Message(talk) = std::mem::replace(&mut self.state, State::Asking) else { return };
        let mut talk = talk;
        talk.sent = None;
        while talk.sent.is_none() {
            let (stage, sent) = (talk.next, self.send_next(&mut talk));
            talk.sent = sent;
            if let (Next::Body(offset), None, Next::Body(_)) = (stage, sent, talk.next) {
                let octets_max = self.options.data_octets_max();
                self.outbox.push_back(Output::Ask(Ask::Body { offset, octets_max }));
                break;
            }
        }
        let patience = if talk.sent == Some(Sent::EndOfMessage) { self.limits.message_answer_max } else { self.limits.answer_max };
        self.wait(now, patience);
        self.state = State::Message(talk);
    }

    /// Sends one part of a message and moves on; what was sent, if it wants an answer.
    fn send_next(&mut self, talk: &mut Talk) -> Option<Sent> {
        match talk.next {
            Next::Data => {
                talk.next = Next::Field(0);
                self.send_symbols(Stage::Data, &talk.symbols);
                let unwanted = self.options.has(Choice::NoData) || self.options.version < VERSION_WITH_DATA;
                self.say(!unwanted, command::DATA, Choice::SilentData)
            }
            Next::Field(place) => {
                let content = Arc::clone(&talk.content);
                let field = content.fields.get(place).filter(|_| !self.options.has(Choice::NoHeader));
                let Some((name, value)) = field else {
                    talk.next = Next::EndOfHeader;
                    return None;
                };
                talk.next = Next::Field(place + 1);
                let (leading, octets_max) = (self.options.has(Choice::LeadingSpace), self.options.data_octets_max());
                self.send(command::header(name, value, leading, octets_max));
                (!self.options.has(Choice::SilentHeader)).then_some(Sent::Other)
            }
            Next::EndOfHeader => {
                talk.next = if self.options.has(Choice::NoBody) { Next::EndOfMessage } else { Next::Body(0) };
                self.send_symbols(Stage::EndOfHeader, &talk.symbols);
                self.say(!self.options.has(Choice::NoEndOfHeader), command::END_OF_HEADER, Choice::SilentEndOfHeader)
            }
            Next::Body(_) => None,
            Next::EndOfMessage => {
                self.send_symbols(Stage::EndOfMessage, &talk.symbols);
                self.send(encode(command::END_OF_MESSAGE, &[]));
                Some(Sent::EndOfMessage)
            }
        }
    }

    /// Says a command without data, if it is wanted; whether it wants an answer.
    fn say(&mut self, wanted: bool, kind: u8, silent: Choice) -> Option<Sent> {
        if wanted {
            self.send(encode(kind, &[]));
        }
        (wanted && !self.options.has(silent)).then_some(Sent::Other)
    }

    fn body(&mut self, now: Instant, chunk: &[u8]) {
        let State::Message(talk) = &mut self.state else { return };
        let Next::Body(offset) = talk.next else { return };
        if chunk.is_empty() {
            talk.next = Next::EndOfMessage;
            return self.advance(now);
        }
        talk.next = Next::Body(offset + chunk.len() as u64);
        let silent = self.options.has(Choice::SilentBody);
        talk.sent = (!silent).then_some(Sent::Body);
        self.send(encode(command::BODY, chunk));
        if silent { self.advance(now) } else { self.wait(now, self.limits.message_answer_max) }
    }

    fn about_message(&mut self, now: Instant, response: Response) {
        let State::Message(talk) = &mut self.state else { return };
        let at_end = talk.sent == Some(Sent::EndOfMessage);
        match response {
            _ if talk.sent.is_none() => self.failed("it spoke without being asked"),
            Response::Progress => self.wait(now, self.limits.message_answer_max),
            Response::Decision(decision) if at_end => self.message_decided(decision),
            Response::Decision(Decision::Continue) => self.advance(now),
            Response::Decision(decision) => self.decided(decision),
            Response::Skip if talk.sent == Some(Sent::Body) => {
                talk.next = Next::EndOfMessage;
                self.advance(now);
            }
            Response::Modification(modification) if at_end => {
                talk.modifications.push(modification);
                if talk.modifications.len() > self.limits.modifications_max {
                    return self.failed("it wants to change too much");
                }
                self.wait(now, self.limits.message_answer_max);
            }
            Response::Body(octets) if at_end => {
                let body = talk.body.get_or_insert_default();
                body.extend_from_slice(&octets);
                if body.len() > self.limits.body_octets_max {
                    return self.failed("it makes the message too large");
                }
                self.wait(now, self.limits.message_answer_max);
            }
            Response::Skip | Response::Modification(_) | Response::Body(_) => self.failed("it wants to change the message before its end"),
        }
    }

    fn message_decided(&mut self, decision: Decision) {
        self.in_transaction = false;
        let State::Message(talk) = std::mem::replace(&mut self.state, State::Asking) else { return };
        let mut modifications = talk.modifications;
        modifications.extend(talk.body.map(Modification::ReplaceBody));
        self.tell(Heard::Advice(Advice { decision, modifications }));
    }

    fn answered(&mut self, now: Instant, answer: Answer) {
        match (answer, &self.state) {
            (_, State::Closed) => {}
            (Answer::Do(order), State::Asking) => self.begin(now, order),
            (Answer::Chunk(chunk), State::Message(_)) => self.body(now, &chunk),
            _ => {
                self.state = State::Closed;
                self.outbox.clear();
                self.send(encode(command::QUIT, &[]));
                self.outbox.push_back(Output::Close);
            }
        }
    }
}

impl wire::Session for Session {
    type Ask = Ask;
    type Answer = Answer;
    type Push = Infallible;

    fn handle(&mut self, now: Instant, input: Input<'_, Answer, Infallible>) {
        match input {
            Input::Bytes(bytes) => {
                self.reader.push(bytes);
                loop {
                    match self.reader.packet() {
                        Ok(Some(packet)) => self.heard(now, packet),
                        Ok(None) => return,
                        Err(error) => return self.failed(format!("it does not speak the protocol: {error:?}")),
                    }
                }
            }
            Input::Eof => self.failed("it closed the connection"),
            Input::Answer(answer) => self.answered(now, answer),
            Input::Tick if now >= self.deadline => self.failed("it did not answer in time"),
            Input::Tick | Input::TlsStarted(_) => {}
            Input::Push(never) => match never {},
        }
    }

    fn poll(&mut self) -> Output<Ask> {
        self.outbox.pop_front().unwrap_or(Output::Wait(self.deadline))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::Session as _;

    /// A session and the conversation so far, one line for each thing that happens.
    struct Stage {
        session: Session,
        now: Instant,
        body: &'static [u8],
    }

    impl Stage {
        fn new(version: u32, actions: u32, choices: u32) -> Self {
            let now = Instant::now();
            let limits = Limits { modifications_max: 3, body_octets_max: 10, ..Limits::default() };
            let mut stage = Self { session: Session::new(limits, now), now, body: b"Hello" };
            assert!(stage.said().starts_with('O'));
            let data = [version.to_be_bytes(), actions.to_be_bytes(), choices.to_be_bytes()].concat();
            stage.hears(b'O', &data);
            stage
        }

        /// What the session does until it waits: packets to the milter, questions, the end.
        fn said(&mut self) -> String {
            let mut out = Vec::new();
            loop {
                match self.session.poll() {
                    Output::Send(octets) => {
                        let mut reader = Reader::new(usize::MAX);
                        reader.push(&octets);
                        while let Some(packet) = reader.packet().unwrap() {
                            let data = packet.data.escape_ascii().to_string().replace("\\x00", "|");
                            out.push(format!("{}{data}", char::from(packet.kind)));
                        }
                    }
                    Output::Ask(Ask::Body { offset, octets_max }) => {
                        assert_eq!(octets_max, 65_535);
                        let chunk = self.body.get(usize::try_from(offset).unwrap()..).unwrap().to_vec();
                        self.session.handle(self.now, Input::Answer(Answer::Chunk(chunk)));
                    }
                    Output::Ask(Ask::Next(Heard::Ready)) => out.push("[ready]".to_owned()),
                    Output::Ask(Ask::Next(Heard::Advice(advice))) => {
                        let changes = advice.modifications.iter().map(|one| format!(", {one}")).collect::<Vec<_>>().concat();
                        out.push(format!("[{}{changes}]", advice.decision.word()));
                    }
                    Output::Ask(Ask::Next(Heard::Failed(why))) => out.push(format!("[failed: {why}]")),
                    Output::Close => {
                        out.push("[closed]".to_owned());
                        return out.join(" ");
                    }
                    Output::Wait(_) => return out.join(" "),
                    Output::StartTls => unreachable!(),
                }
            }
        }

        fn hears(&mut self, kind: u8, data: &[u8]) -> String {
            self.session.handle(self.now, Input::Bytes(&encode(kind, data)));
            self.said()
        }

        fn does(&mut self, step: Step) -> String {
            let mut symbols = Symbols::default();
            symbols.set("i", "Q1");
            symbols.set("j", "mx");
            self.session.handle(self.now, Input::Answer(Answer::Do(Order { step, symbols })));
            self.said()
        }

        fn message(&mut self) -> String {
            let fields = vec![(b"From".to_vec(), b" a@b".to_vec()), (b"To".to_vec(), b" c@d".to_vec())];
            self.does(Step::Message(Arc::new(Content { fields })))
        }

        fn mail(&mut self) -> String {
            self.does(Step::Mail(vec!["<a@b>".to_owned()]))
        }
    }

    fn connect() -> Step {
        Step::Connect { name: "[192.0.2.1]".to_owned(), address: "192.0.2.1".parse().unwrap(), port: 0 }
    }

    fn rcpt(refused: bool) -> Step {
        Step::Rcpt { arguments: vec!["<c@d>".to_owned()], refused }
    }

    #[test]
    fn a_milter_that_wants_everything_hears_everything() {
        let mut stage = Stage::new(6, 0x1ff, 0);
        assert_eq!(stage.does(connect()), r"DCj|mx| C[192.0.2.1]|4||192.0.2.1|");
        assert_eq!(stage.hears(b'c', b""), "[continue]");
        assert_eq!(stage.does(Step::Helo("h".to_owned())), "Hh|");
        assert_eq!(stage.hears(b'c', b""), "[continue]");
        assert_eq!(stage.mail(), "DMi|Q1| M<a@b>|");
        assert_eq!(stage.hears(b'c', b""), "[continue]");
        assert_eq!(stage.does(rcpt(false)), "DRi|Q1| R<c@d>|");
        assert_eq!(stage.hears(b'y', b"550 5.1.1 no\0"), "[reject]");
        assert_eq!(stage.does(rcpt(true)), "[continue]", "it did not ask for refused recipients");
        assert_eq!(stage.message(), "DTi|Q1| T");
        assert_eq!(stage.hears(b'c', b""), "LFrom|a@b|");
        assert_eq!(stage.hears(b'c', b""), "LTo|c@d|");
        assert_eq!(stage.hears(b'c', b""), "DNi|Q1| N");
        assert_eq!(stage.hears(b'c', b""), "BHello");
        assert_eq!(stage.hears(b'c', b""), "DEi|Q1| E");
        assert_eq!(stage.hears(b'h', b"X\0y\0"), "");
        assert_eq!(stage.hears(b'p', b""), "");
        assert_eq!(stage.hears(b'b', b"new "), "");
        assert_eq!(stage.hears(b'b', b"body"), "");
        assert_eq!(stage.hears(b'a', b""), "[accept, add header X: y, replace the body by 8 octets]");
        assert_eq!(stage.mail(), "DMi|Q1| M<a@b>|", "the connection serves the next transaction");
        assert_eq!(stage.hears(b'c', b""), "[continue]");
        assert_eq!(stage.does(Step::Abort), "A [continue]");
        assert_eq!(stage.does(Step::Abort), "[continue]", "there is nothing to abort");
        stage.session.handle(stage.now, Input::Answer(Answer::Quit));
        assert_eq!(stage.said(), "Q [closed]");
    }

    #[test]
    fn a_milter_hears_only_what_it_wants() {
        // Nothing but the end of the message.
        let mut stage = Stage::new(6, 0, 0x27f);
        assert_eq!(stage.does(connect()), "DCj|mx| [continue]", "macros are told all the same");
        assert_eq!(stage.mail(), "DMi|Q1| [continue]");
        assert_eq!(stage.message(), "DTi|Q1| DNi|Q1| DEi|Q1| E");
        assert_eq!(stage.hears(b'c', b""), "[continue]");
    }

    #[test]
    fn a_silent_milter_is_not_waited_for() {
        let mut stage = Stage::new(6, 0, 0xd_f080);
        assert_eq!(stage.does(connect()), "DCj|mx| C[192.0.2.1]|4||192.0.2.1| [continue]");
        assert_eq!(stage.does(rcpt(false)), "DRi|Q1| R<c@d>| [continue]");
        assert_eq!(stage.message(), "DTi|Q1| T LFrom|a@b| LTo|c@d| DNi|Q1| N BHello DEi|Q1| E", "data is silent, too");
        assert_eq!(stage.hears(b'd', b""), "[discard]");
    }

    #[test]
    fn a_milter_of_version_2_does_not_hear_of_data() {
        let mut stage = Stage::new(2, 0x3f, 0x77);
        assert_eq!(stage.message(), "DTi|Q1| DNi|Q1| DEi|Q1| E");
    }

    #[test]
    fn a_milter_may_have_seen_enough() {
        let mut stage = Stage::new(6, 0, 0x460 | 0x200);
        assert_eq!(stage.message(), "DTi|Q1| DNi|Q1| BHello");
        assert_eq!(stage.hears(b's', b""), "DEi|Q1| E");
        let mut stage = Stage::new(6, 0, 0x60 | 0x200);
        stage.message();
        assert_eq!(stage.hears(b't', b""), "[defer]");
        assert_eq!(stage.does(Step::Helo("x".to_owned())), "Hx|");
    }

    #[test]
    fn a_transaction_that_ended_early_is_aborted_before_the_next() {
        let mut stage = Stage::new(6, 0, 0);
        stage.mail();
        assert_eq!(stage.hears(b'a', b""), "[accept]");
        assert_eq!(stage.mail(), "A DMi|Q1| M<a@b>|");
    }

    #[test]
    fn what_is_wrong_ends_the_session() {
        let wrong = |bytes: &[u8], want: &str| {
            let mut stage = Stage::new(6, 0x1f, 0);
            stage.mail();
            stage.session.handle(stage.now, Input::Bytes(bytes));
            assert_eq!(stage.said(), format!("[failed: {want}] [closed]"));
            stage.session.handle(stage.now, Input::Answer(Answer::Quit));
            assert_eq!(stage.said(), "");
        };
        wrong(&encode(b'h', b"X\0y\0"), "it said Modification(add header X: y) where a decision belongs");
        wrong(&encode(b'?', b""), "it cannot be understood: Unknown(63)");
        wrong(&encode(b'q', b"x\0"), "it cannot be understood: NotAgreed(113)");
        wrong(&[0; 4], "it does not speak the protocol: Empty");
        wrong(b"220 mx ESMTP\r\n", "it does not speak the protocol: TooLong(842149920)");
        let mut stage = Stage::new(6, 0, 0);
        stage.message();
        assert_eq!(stage.hears(b's', b""), "[failed: it wants to change the message before its end] [closed]");
        let mut stage = Stage::new(6, 0, 0);
        stage.mail();
        stage.session.handle(stage.now, Input::Eof);
        assert_eq!(stage.said(), "[failed: it closed the connection] [closed]");
        assert_eq!(Stage::new(6, 0, 0).hears(b'c', b""), "[closed]", "nobody asked");
    }

    #[test]
    fn nothing_can_be_agreed_with_some() {
        let now = Instant::now();
        for (kind, data, want) in [
            (b'O', vec![0; 11], "nothing can be agreed with it: Short"),
            (b'O', [0, 0, 0, 9].repeat(3), "nothing can be agreed with it: Version(9)"),
            (b'c', vec![], "it does not negotiate: is it a milter?"),
        ] {
            let mut stage = Stage { session: Session::new(Limits::default(), now), now, body: b"" };
            stage.said();
            assert_eq!(stage.hears(kind, &data), format!("[failed: {want}] [closed]"));
        }
    }

    #[test]
    fn too_much_ends_the_session() {
        let at_end = |choices| {
            let mut stage = Stage::new(6, 0x1ff, choices);
            stage.message();
            stage
        };
        let mut stage = at_end(0x27f);
        for _ in 0..3 {
            assert_eq!(stage.hears(b'h', b"X\0y\0"), "");
        }
        assert_eq!(stage.hears(b'h', b"X\0y\0"), "[failed: it wants to change too much] [closed]");
        let mut stage = at_end(0x27f);
        assert_eq!(stage.hears(b'b', b"eleven octs"), "[failed: it makes the message too large] [closed]");
    }

    #[test]
    fn progress_extends_the_deadline_but_not_for_ever() {
        let mut stage = Stage::new(6, 0, 0x27f);
        let limits = Limits::default();
        let begun = stage.now;
        stage.message();
        stage.now += limits.message_answer_max;
        assert_eq!(stage.hears(b'p', b""), "");
        assert_eq!(stage.session.deadline, begun + limits.message_max);
        stage.session.handle(begun + limits.message_answer_max + limits.answer_max, Input::Tick);
        assert_eq!(stage.said(), "", "it said that it is at work");
        stage.session.handle(begun + limits.message_max, Input::Tick);
        assert_eq!(stage.said(), "[failed: it did not answer in time] [closed]");
    }

    #[test]
    fn silence_ends_the_session() {
        let mut stage = Stage::new(6, 0, 0);
        stage.mail();
        stage.session.handle(stage.now + Limits::default().answer_max, Input::Tick);
        assert_eq!(stage.said(), "[failed: it did not answer in time] [closed]");
    }
}
