//! The contract between a protocol and a socket.
//!
//! A [`Session`] is a protocol written as a value: bytes and answers go in, bytes and questions
//! come out. It never reads a clock, a socket, a file or a random number. A [`Handler`] answers its
//! questions; `net::drive` is the only code that awaits the bytes.
//!
//! What this crate is not: it knows no protocol (`smtp`, `access`) and no runtime (`net`).
//!
//! Invariants
//! - A session has at most one question outstanding: after [`Output::Ask`] it says nothing more
//!   until [`Input::Answer`] has come.
//! - Everything is polled until [`Output::Wait`] or [`Output::Close`]; after `Close` nothing follows.
//! - After [`Output::StartTls`] the session forgets what the peer said in clear (RFC 3207 §4.2).

#[doc(hidden)]
pub mod fuzz;
pub mod inbox;
pub mod sasl;
pub mod trace;
pub mod transcript;

pub use inbox::{Inbox, Line};

use std::fmt;
use std::time::Instant;

/// What the driver tells a session.
#[derive(Debug)]
pub enum Input<'a, A, P> {
    /// Bytes from the peer, in order. May hold half a line or ten commands.
    Bytes(&'a [u8]),
    /// The peer closed its writing side.
    Eof,
    /// TLS is up; everything the peer said before it is void (RFC 3207 §4.2).
    TlsStarted(Tls),
    /// The handler's reply to the one outstanding [`Output::Ask`].
    Answer(A),
    /// Something changed that this peer asked to hear of (IMAP IDLE, NOTIFY).
    Push(P),
    /// The deadline of the last [`Output::Wait`] has passed.
    Tick,
}

/// What a session tells the driver. Polled until it says `Wait` or `Close`.
#[derive(Debug, PartialEq, Eq)]
pub enum Output<Q> {
    /// Octets for the peer, in order. The driver may gather several before it writes.
    Send(Vec<u8>),
    /// A question only the world can answer. At most one is outstanding.
    Ask(Q),
    /// Everything sent so far goes out in clear, then the TLS handshake starts.
    StartTls,
    /// Nothing to do until more input, or until this instant.
    Wait(Instant),
    /// Everything sent so far goes out, then the connection ends.
    Close,
}

/// What is known of the connection's TLS once its handshake is done.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Tls {
    /// `TLSv1.3` or `TLSv1.2`.
    pub version: String,
    /// The cipher suite's IANA name.
    pub cipher: String,
    /// The name the client asked for (SNI), without a trailing dot.
    pub server_name: Option<String>,
    /// `tls-exporter` channel binding, 32 octets (RFC 9266); TLS 1.3 only.
    pub exporter: Option<[u8; 32]>,
    /// The peer's certificate, DER, where one was given.
    pub peer_certificate: Option<Vec<u8>>,
    /// For clients: the peer's certificate is trusted and valid for the name we asked for. For servers: the
    /// client gave a certificate of an authority that the settings name, and has its key.
    pub verified: bool,
    /// For servers: the mail addresses that the client's certificate speaks for.
    pub client_addresses: Vec<String>,
}

/// One line for traces; the channel binding is not shown.
impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.version, self.cipher)?;
        self.server_name.as_ref().map_or(Ok(()), |name| write!(f, " {name}"))
    }
}

/// A protocol as a value.
pub trait Session {
    /// A question only the world can answer.
    type Ask;
    /// The answer to it.
    type Answer;
    /// News from outside that this peer wants to hear.
    type Push;
    /// Takes one input. Call [`Session::poll`] afterwards until it waits or closes.
    fn handle(&mut self, now: Instant, input: Input<'_, Self::Answer, Self::Push>);
    /// The next thing the session wants done.
    fn poll(&mut self) -> Output<Self::Ask>;
    /// The server is about to stop: take leave (`421`, `* BYE`) as soon as nothing is in hand, at
    /// once if the peer is idle. Told at most once, between inputs; poll afterwards. A session that
    /// does not care is cut off when the time of grace is over.
    fn stop(&mut self, now: Instant) {
        let _ = now;
    }
}

/// Answers a session's questions: the store, DNS, the spam filter.
pub trait Handler<S: Session> {
    /// Answers one question. The session waits; the peer's bytes wait in the socket.
    fn answer(&mut self, ask: S::Ask) -> impl Future<Output = S::Answer> + Send;
    /// Resolves when there is something to push. Must be cancel-safe; pends for ever by default.
    fn pushed(&mut self) -> impl Future<Output = S::Push> + Send {
        std::future::pending()
    }
}
