//! What goes wrong, and how often.

use mail::EnhancedStatus;
use smtp::Reply;
use smtp::server::{Answer, Ask, Server};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use wire::Handler;

use crate::chance::Chance;

/// How often what goes wrong, in percent if nothing else is said. Nothing by default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Faults {
    /// Connections that are refused.
    pub refuse: u8,
    /// Connections that break while something is sent. Nothing can arrive twice by it: what was
    /// answered has been answered.
    pub cut_sending: u8,
    /// Connections that break while a reply is awaited. The last message may arrive twice.
    pub cut_receiving: u8,
    /// Recipients that are answered with 450.
    pub defer_recipient: u8,
    /// Messages that are answered with 451 at their end.
    pub defer_message: u8,
    /// How long each message waits for its answer, milliseconds.
    pub slow_millis: u32,
}

/// Most octets that pass before a connection that is to break breaks.
const CUT_OCTETS_MAX: u64 = 3000;

/// A connection that may break.
#[derive(Debug)]
pub(crate) struct Cut {
    stream: DuplexStream,
    /// Octets that may still be sent.
    sends: u64,
    /// Octets that may still be received.
    receives: u64,
}

impl Cut {
    pub(crate) fn new(stream: DuplexStream, faults: Faults, chance: &Chance) -> Self {
        let limit = |percent| if chance.strikes(percent) { chance.below(CUT_OCTETS_MAX) } else { u64::MAX };
        Self { stream, sends: limit(faults.cut_sending), receives: limit(faults.cut_receiving) }
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

/// A handler that now and then says 4xx where another would have said 250.
pub(crate) struct Moody<H> {
    pub(crate) handler: H,
    pub(crate) faults: Faults,
    pub(crate) chance: Chance,
}

impl<H: Handler<Server> + Send> Handler<Server> for Moody<H> {
    async fn answer(&mut self, ask: Ask) -> Answer {
        if matches!(ask, Ask::Data { .. }) && self.faults.slow_millis > 0 {
            tokio::time::sleep(Duration::from_millis(self.faults.slow_millis.into())).await;
        }
        match ask {
            Ask::Rcpt(_) if self.chance.strikes(self.faults.defer_recipient) => not_now(450),
            Ask::Data { .. } if self.chance.strikes(self.faults.defer_message) => {
                self.handler.answer(Ask::Reset).await;
                not_now(451)
            }
            ask => self.handler.answer(ask).await,
        }
    }
}

fn not_now(code: u16) -> Answer {
    Answer::Reply(Reply { code, status: Some(EnhancedStatus::new(4, 3, 0)), text: "not now".to_owned() })
}
