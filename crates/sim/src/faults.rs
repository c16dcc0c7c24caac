//! What goes wrong, and how often.

use crate::chance::Chance;
use crate::witness::{LineId, Way, Witness};
use mail::{Address, EnhancedStatus};
use smtp::Reply;
use smtp::server::{Answer, Ask, Server};
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use store::disk::sim::SimDisk;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use wire::Handler;

/// How often what goes wrong, in percent if nothing else is said. Nothing by default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Faults {
    /// Connections that are refused.
    pub refuse: u8,
    /// Connections that nobody answers.
    pub black_hole: u8,
    /// Connections that are greeted with 421.
    pub busy: u8,
    /// Connections that break while something is sent. Nothing can arrive twice by it: what was
    /// answered has been answered.
    pub cut_sending: u8,
    /// Connections that break while a reply is awaited. The last message may arrive twice.
    pub cut_receiving: u8,
    /// Recipients that are answered with 450.
    pub defer_recipient: u8,
    /// Messages that are answered with 451 at their end.
    pub defer_message: u8,
    /// Messages that are answered with 554 at their end.
    pub refuse_message: u8,
    /// Whose address is blocked: its recipients are answered with 554.
    pub blocks: Option<IpAddr>,
    /// How long each message waits for its answer, milliseconds.
    pub slow_millis: u32,
    /// How long a message that was taken waits for the words that say so, milliseconds.
    pub late_millis: u32,
    /// How long each command waits for its answer, milliseconds.
    pub tarpit_millis: u32,
}

impl Faults {
    /// Nothing goes wrong.
    pub const NONE: Self = Self {
        refuse: 0,
        black_hole: 0,
        busy: 0,
        cut_sending: 0,
        cut_receiving: 0,
        defer_recipient: 0,
        defer_message: 0,
        refuse_message: 0,
        blocks: None,
        slow_millis: 0,
        late_millis: 0,
        tarpit_millis: 0,
    };

    /// Both at once: the greater of each.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            refuse: self.refuse.max(other.refuse),
            black_hole: self.black_hole.max(other.black_hole),
            busy: self.busy.max(other.busy),
            cut_sending: self.cut_sending.max(other.cut_sending),
            cut_receiving: self.cut_receiving.max(other.cut_receiving),
            defer_recipient: self.defer_recipient.max(other.defer_recipient),
            defer_message: self.defer_message.max(other.defer_message),
            refuse_message: self.refuse_message.max(other.refuse_message),
            blocks: self.blocks.or(other.blocks),
            slow_millis: self.slow_millis.max(other.slow_millis),
            late_millis: self.late_millis.max(other.late_millis),
            tarpit_millis: self.tarpit_millis.max(other.tarpit_millis),
        }
    }
}

/// Most octets that pass before a connection that is to break breaks.
const CUT_OCTETS_MAX: u64 = 3000;

/// A connection as the side has it that made it: it may break.
#[derive(Debug)]
pub(crate) struct Cut {
    stream: DuplexStream,
    /// Octets that may still be sent.
    sends: u64,
    /// Octets that may still be received.
    receives: u64,
    witness: Witness,
    line: LineId,
}

/// After how many octets a connection breaks, each way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) out: u64,
    pub(crate) back: u64,
}

impl Limits {
    /// As chance has it.
    pub(crate) fn drawn(faults: Faults, chance: &Chance) -> Self {
        let limit = |percent| if chance.strikes(percent) { chance.below(CUT_OCTETS_MAX) } else { u64::MAX };
        Self { out: limit(faults.cut_sending), back: limit(faults.cut_receiving) }
    }

    /// One way, after so many.
    pub(crate) fn at(way: Way, octets: u64) -> Self {
        match way {
            Way::Out => Self { out: octets, back: u64::MAX },
            Way::Back => Self { out: u64::MAX, back: octets },
        }
    }
}

impl Cut {
    pub(crate) fn new(stream: DuplexStream, limits: Limits, witness: Witness, line: LineId) -> Self {
        Self { stream, sends: limits.out, receives: limits.back, witness, line }
    }
}

impl Drop for Cut {
    fn drop(&mut self) {
        self.witness.closed(self.line);
    }
}

fn broken() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, "the simulated connection broke")
}

impl AsyncRead for Cut {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.receives == 0 {
            return Poll::Ready(Err(broken()));
        }
        let room = into.remaining().min(usize::try_from(self.receives).unwrap_or(usize::MAX));
        let mut part = into.take(room);
        let read = Pin::new(&mut self.stream).poll_read(context, &mut part);
        let octets = part.filled().len();
        self.witness.passed(self.line, Way::Back, part.filled());
        into.advance(octets);
        self.receives = self.receives.saturating_sub(octets as u64);
        read
    }
}

impl AsyncWrite for Cut {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.sends == 0 {
            return Poll::Ready(Err(broken()));
        }
        let octets = bytes.len().min(usize::try_from(self.sends).unwrap_or(usize::MAX));
        let written = Pin::new(&mut self.stream).poll_write(context, bytes.get(..octets).unwrap_or_default());
        if let Poll::Ready(Ok(octets)) = &written {
            self.witness.passed(self.line, Way::Out, bytes.get(..*octets).unwrap_or_default());
            self.sends = self.sends.saturating_sub(*octets as u64);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// Octets of a message in which its Message-ID is looked for.
const HEAD_OCTETS_MAX: usize = 16 * 1024;

/// A handler that now and then says 4xx where another would have said 250, and tells the witness what it took.
pub(crate) struct Moody<H> {
    handler: H,
    peer: IpAddr,
    faults: Faults,
    chance: Chance,
    witness: Witness,
    line: LineId,
    disk: SimDisk,
    dead: Arc<AtomicBool>,
    recipients: Vec<Address>,
    head: Vec<u8>,
}

/// Where a connection arrives.
pub(crate) struct Spot {
    pub(crate) peer: IpAddr,
    pub(crate) faults: Faults,
    pub(crate) chance: Chance,
    pub(crate) witness: Witness,
    pub(crate) line: LineId,
    pub(crate) disk: SimDisk,
    /// The server has been killed.
    pub(crate) dead: Arc<AtomicBool>,
}

impl<H> Moody<H> {
    pub(crate) fn new(handler: H, spot: Spot) -> Self {
        let Spot { peer, faults, chance, witness, line, disk, dead } = spot;
        Self { handler, peer, faults, chance, witness, line, disk, dead, recipients: Vec::new(), head: Vec::new() }
    }

    /// The beginning of a message; the first of it says something about the message before.
    fn read(&mut self, octets: &[u8]) {
        if self.head.is_empty() {
            self.witness.began(self.line);
        }
        let room = HEAD_OCTETS_MAX.saturating_sub(self.head.len());
        self.head.extend(octets.iter().take(room));
    }
}

impl<H: Handler<Server> + Send> Moody<H> {
    /// Says no where another would ask its handler.
    fn refusal(&self, ask: &Ask) -> Option<Answer> {
        match ask {
            Ask::Connect if self.chance.strikes(self.faults.busy) => Some(reply(421, "too busy")),
            Ask::Rcpt(_) if self.faults.blocks == Some(self.peer) => Some(blocked(self.peer)),
            Ask::Rcpt(_) if self.chance.strikes(self.faults.defer_recipient) => Some(reply(450, "not now")),
            Ask::Data { .. } if self.chance.strikes(self.faults.defer_message) => Some(reply(451, "not now")),
            Ask::Data { .. } if self.chance.strikes(self.faults.refuse_message) => Some(reply(554, "never")),
            _ => None,
        }
    }

    /// How long an answer is made to wait for.
    fn delay(&self, ask: &Ask) -> u32 {
        match ask {
            Ask::Data { .. } => self.faults.slow_millis.max(self.faults.tarpit_millis),
            Ask::Body(_) => 0,
            _ => self.faults.tarpit_millis,
        }
    }

    async fn take(&mut self, last: Vec<u8>) -> Answer {
        self.read(&last);
        let answer = self.handler.answer(Ask::Data { last }).await;
        let taken = matches!(&answer, Answer::Reply(reply) if reply.is_positive());
        let dying = self.disk.is_off() || self.dead.load(Ordering::Relaxed);
        if taken || dying {
            let recipients = std::mem::take(&mut self.recipients);
            self.witness.accepted(self.line, message_id(&self.head).unwrap_or_default(), recipients);
        }
        // A server that dies under its commit says nothing; what it finds when it is back may be the message.
        if dying {
            return std::future::pending().await;
        }
        if taken {
            pause(self.faults.late_millis).await;
            self.witness.replied(self.line);
        }
        answer
    }
}

impl<H: Handler<Server> + Send> Handler<Server> for Moody<H> {
    async fn answer(&mut self, ask: Ask) -> Answer {
        pause(self.delay(&ask)).await;
        if let Some(refusal) = self.refusal(&ask) {
            if matches!(ask, Ask::Data { .. }) {
                self.handler.answer(Ask::Reset).await;
            }
            return refusal;
        }
        match ask {
            Ask::Data { last } => self.take(last).await,
            Ask::Rcpt(recipient) => {
                let address = recipient.address.clone();
                let answer = self.handler.answer(Ask::Rcpt(recipient)).await;
                if matches!(&answer, Answer::Reply(reply) if reply.is_positive()) {
                    self.recipients.push(address);
                }
                answer
            }
            ask => {
                match &ask {
                    Ask::Mail(_) | Ask::Reset => (self.recipients, self.head) = (Vec::new(), Vec::new()),
                    Ask::Body(octets) => self.read(octets),
                    Ask::Helo { tls: Some(_), .. } => self.witness.under_tls(self.line),
                    _ => {}
                }
                self.handler.answer(ask).await
            }
        }
    }
}

async fn pause(millis: u32) {
    if millis > 0 {
        tokio::time::sleep(Duration::from_millis(millis.into())).await;
    }
}

/// The `Message-ID` of a message, without brackets.
pub(crate) fn message_id(octets: &[u8]) -> Option<String> {
    let head = String::from_utf8_lossy(octets.get(..octets.len().min(HEAD_OCTETS_MAX)).unwrap_or_default());
    let line = head
        .split("\r\n")
        .take_while(|line| !line.is_empty())
        .find(|line| line.get(..11).is_some_and(|name| name.eq_ignore_ascii_case("Message-ID:")))?;
    Some(line.get(11..)?.trim().trim_start_matches('<').trim_end_matches('>').to_owned())
}

fn blocked(peer: IpAddr) -> Answer {
    let text = format!("Service unavailable; Client host [{peer}] blocked using list.example");
    Answer::Reply(Reply { code: 554, status: Some(EnhancedStatus::new(5, 7, 1)), text })
}

fn reply(code: u16, text: &str) -> Answer {
    let class = if code < 500 { 4 } else { 5 };
    Answer::Reply(Reply { code, status: Some(EnhancedStatus::new(class, 3, 0)), text: text.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_id_is_found_in_the_header_only() {
        for (text, want) in [
            ("From: a\r\nMessage-Id: <1@a>\r\n\r\nx", Some("1@a")),
            ("From: a\r\n\r\nMessage-ID: <1@a>\r\n", None),
            ("é: a\r\nmessage-id:<2@a>\r\n", Some("2@a")),
            ("", None),
        ] {
            assert_eq!(message_id(text.as_bytes()).as_deref(), want, "{text:?}");
        }
    }
}
