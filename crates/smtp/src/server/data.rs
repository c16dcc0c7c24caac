//! DATA (RFC 5321 §4.1.1.4), and the way of a message's octets to the handler, which BDAT shares.
//!
//! A message with a bare CR or LF is read to its real end and then refused (550 5.6.0); the connection goes on.
//! A message over the limit is read and dropped to its end as well, but not more of it than
//! [`super::Limits::discard_octets_max`].

use super::unstuff::Unstuff;
use super::{Answer, Ask, Asked, Phase, Refusal, Role, Server, State, Then, Transaction, local_error, refusal, reply};
use crate::Reply;

/// Octets handed over in one [`Ask::Body`].
pub(super) const BODY_CHUNK_OCTETS: usize = 64 * 1024;

impl Server {
    pub(super) fn data(&mut self, args: &str) {
        if !args.is_empty() {
            return self.say(&Reply::new(501, (5, 5, 4), "DATA takes no parameters"));
        }
        if self.transaction.binary {
            // RFC 3030 §3: what is no lines cannot end in a line.
            return self.say(&Reply::new(503, (5, 5, 1), "A binary message comes by BDAT"));
        }
        if self.transaction.recipients == 0 {
            // RFC 2033 §4.2 wants 503 where SMTP has 554 (RFC 2920 §3.1).
            let code = if self.config.role == Role::Lmtp { 503 } else { 554 };
            return self.say(&Reply::new(code, (5, 5, 1), "No valid recipients"));
        }
        self.state = State::Data(Unstuff::default());
        self.say(&Reply::plain(354, "Send the message; end it with CR LF . CR LF"));
    }

    /// Takes octets of a message; how many, is returned.
    pub(super) fn receive(&mut self, bytes: &[u8]) -> usize {
        match &mut self.state {
            State::Data(_) => self.receive_data(bytes),
            State::Chunk(_) => self.receive_chunk(bytes),
            _ => 0,
        }
    }

    fn receive_data(&mut self, bytes: &[u8]) -> usize {
        let State::Data(unstuff) = &mut self.state else { return 0 };
        let before = self.transaction.buffer.len();
        let room = BODY_CHUNK_OCTETS.saturating_sub(before);
        let piece = bytes.get(..room).unwrap_or(bytes);
        let fed = unstuff.feed(piece, &mut self.transaction.buffer);
        if unstuff.bare() && self.transaction.refusal.is_none() {
            self.transaction.refusal = Some(Refusal::Ours(bare()));
        }
        self.received(self.transaction.buffer.len() - before);
        if matches!(self.state, State::Closed) {
            return bytes.len();
        }
        if fed.ended {
            self.end_of_message();
        } else {
            self.hand_over();
        }
        fed.consumed
    }

    /// Counts octets that were put into the buffer; takes them out again if the message is refused.
    pub(super) fn received(&mut self, octets: usize) {
        let octets = u64::try_from(octets).unwrap_or(u64::MAX);
        self.transaction.octets = self.transaction.octets.saturating_add(octets);
        if self.transaction.refusal.is_none() && self.transaction.octets > self.config.limits.message_octets_max {
            self.transaction.refusal = Some(Refusal::Ours(self.too_big()));
        }
        if self.transaction.refusal.is_some() {
            self.transaction.buffer.clear();
            self.discarded(octets);
        }
    }

    /// Gives a full buffer to the handler.
    pub(super) fn hand_over(&mut self) {
        if self.transaction.buffer.len() >= BODY_CHUNK_OCTETS {
            let chunk = std::mem::take(&mut self.transaction.buffer);
            self.ask(Ask::Body(chunk), Asked::Body);
        }
    }

    /// Counts octets read in vain.
    pub(super) fn discarded(&mut self, octets: u64) {
        self.counts.discarded_octets = self.counts.discarded_octets.saturating_add(octets);
        if self.counts.discarded_octets > self.config.limits.discard_octets_max {
            self.give_up(&Reply::new(421, (4, 3, 2), "Too much to read in vain"));
        }
    }

    pub(super) fn body_answered(&mut self, answer: Answer) {
        if let Some(reply) = refusal(answer) {
            self.transaction.refusal = Some(Refusal::Handlers(reply));
        }
        self.end_of_chunk();
    }

    /// The end of DATA, or of the last BDAT.
    pub(super) fn end_of_message(&mut self) {
        let times = self.verdicts();
        match self.transaction.refusal.take() {
            None => {
                let last = std::mem::take(&mut self.transaction.buffer);
                self.ask(Ask::Data { last }, Asked::Data);
            }
            Some(refusal) => self.refuse_message(refusal, times),
        }
    }

    /// How many replies the end of a message has (RFC 2033 §4.2).
    pub(super) fn verdicts(&self) -> usize {
        if self.config.role == Role::Lmtp { self.transaction.recipients } else { 1 }
    }

    /// Ends the transaction with a refusal, said once or for each recipient.
    pub(super) fn refuse_message(&mut self, refusal: Refusal, times: usize) {
        self.end_transaction();
        match refusal {
            Refusal::Ours(reply) => self.ask(Ask::Reset, Asked::Reset(Then::Refuse(reply, times))),
            Refusal::Handlers(reply) => self.repeat(&reply, times),
        }
    }

    pub(super) fn data_answered(&mut self, answer: Answer) {
        let times = self.verdicts();
        self.end_transaction();
        match answer {
            Answer::Replies(replies) if self.config.role == Role::Lmtp => self.verdict_each(replies, times),
            answer => {
                let reply = reply(answer, local_error());
                self.repeat(&reply, times);
            }
        }
    }

    /// A recipient for which the handler has no reply is tried again.
    fn verdict_each(&mut self, replies: Vec<Reply>, times: usize) {
        let said = replies.into_iter().map(|verdict| reply(Answer::Reply(verdict), local_error()));
        let verdicts: Vec<_> = said.chain(std::iter::repeat_with(local_error)).take(times).collect();
        for verdict in verdicts {
            self.send(verdict.to_bytes());
        }
    }

    fn end_transaction(&mut self) {
        self.transaction = Transaction::default();
        self.counts.transactions += 1;
        self.counts.idle_commands = 0;
        self.state = State::Command(Phase::Ready);
    }
}

fn bare() -> Reply {
    Reply::new(550, (5, 6, 0), "The message has a CR or LF on its own; lines must end in CR LF")
}
