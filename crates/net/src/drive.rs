//! Runs one session over one socket: the only loop that awaits a peer's bytes.
//!
//! What it is not: it knows no protocol, opens no connection and counts nobody (`listen`, `dial`).
//!
//! ```text
//!            ┌────────────── handle ◀─ bytes · eof · answer · push · tick · tls
//!            ▼
//!   poll ─▶ Send ─▶ gather        Ask ─▶ answer (flush first if it is not ready at once)
//!            StartTls ─▶ flush ─▶ handshake        Wait ─▶ flush ─▶ read | push | deadline | stop
//!            Close ─▶ flush ─▶ shut down ─▶ linger
//! ```
//!
//! Invariants
//! - Nothing is read while a question is outstanding or output is unwritten.
//! - Output held in memory is bounded by `gather_octets_max` and the session's longest `Send`.
//! - An idle connection holds no read buffer: bytes are read into a buffer of the thread.

use crate::clock::Clock;
use crate::shutdown::Stop;
use crate::socket::Socket;
use crate::tls;
use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::{Sleep, sleep_until, timeout};
use wire::{Handler, Input, Output, Session};

/// Octets read at once; the buffer belongs to the thread.
const READ_OCTETS: usize = 64 * 1024;

/// Octets that must be written within [`Limits::write_max`].
const WRITE_OCTETS: usize = 64 * 1024;

/// Questions that a session may still ask when its connection has broken: enough to report what
/// became of a transaction, too few to work on.
const LAST_QUESTIONS_MAX: u32 = 8;

thread_local! {
    static READ_BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_OCTETS]);
}

/// How long and how much, whatever the protocol.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// How long writing 64 KiB may take. Default 5 minutes (RFC 5321 §4.5.3.2.5 gives 3 for a block of data).
    pub write_max: Duration,
    /// How long a TLS handshake may take. Default 30 seconds.
    pub handshake_max: Duration,
    /// How long to read and drop what the peer still sends after we closed, so that our last words
    /// are not lost in a reset. Default 1 second.
    pub linger_max: Duration,
    /// Output gathered before it is written although the session has more to say, octets. Default 64 KiB.
    pub gather_octets_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            write_max: Duration::from_mins(5),
            handshake_max: Duration::from_secs(30),
            linger_max: Duration::from_secs(1),
            gather_octets_max: 64 * 1024,
        }
    }
}

/// What surrounds a connection.
pub struct Shell {
    /// Tells the session the time.
    pub clock: Arc<dyn Clock>,
    /// Tells the session that the server stops.
    pub stop: Stop,
    /// How long and how much.
    pub limits: Limits,
}

impl Shell {
    /// A shell with default limits that is never told to stop.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, stop: Stop::never(), limits: Limits::default() }
    }

    /// The same, told to stop through `stop`.
    #[must_use]
    pub fn stopping(self, stop: Stop) -> Self {
        Self { stop, ..self }
    }
}

/// What happens when the session asks for TLS.
pub enum Upgrade {
    /// It must not ask: [`DriveError::NoTls`].
    None,
    /// We are the server.
    Server(Arc<rustls::ServerConfig>),
    /// We are the client and ask for this name.
    Client(tls::Client, rustls_pki_types::ServerName<'static>),
}

impl From<Option<Arc<rustls::ServerConfig>>> for Upgrade {
    fn from(config: Option<Arc<rustls::ServerConfig>>) -> Self {
        config.map_or(Self::None, Self::Server)
    }
}

/// How much passed in a connection that the session ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct End {
    /// Octets from the peer, TLS taken off.
    pub read_octets: u64,
    /// Octets to the peer, TLS taken off.
    pub written_octets: u64,
}

/// Why a connection broke.
#[derive(Debug, thiserror::Error)]
pub enum DriveError {
    /// The peer's bytes could not be read.
    #[error("reading: {0}")]
    Read(#[source] io::Error),
    /// Our bytes could not be written.
    #[error("writing: {0}")]
    Write(#[source] io::Error),
    /// The peer took our bytes too slowly.
    #[error("the peer did not take what was written in time")]
    WriteTimeout,
    /// TLS could not be agreed.
    #[error("TLS handshake: {0}")]
    Handshake(#[source] io::Error),
    /// The TLS handshake took too long.
    #[error("the TLS handshake took too long")]
    HandshakeTimeout,
    /// The session asked for TLS where none is configured.
    #[error("TLS was started where none is configured")]
    NoTls,
}

/// Runs one connection until the session closes it.
///
/// The future borrows nothing and is small: a handler's answers are boxed while they are worked out.
/// It can be dropped at any time; the connection is then gone.
///
/// # Errors
/// When the socket or TLS fails; what the peer says wrong is the session's business.
pub fn drive<S, H>(
    session: S,
    handler: H,
    socket: impl Into<Socket>,
    upgrade: impl Into<Upgrade>,
    shell: Shell,
) -> impl Future<Output = Result<End, DriveError>>
where
    S: Session,
    H: Handler<S>,
{
    let (socket, upgrade) = (socket.into(), upgrade.into());
    let mut connection = Connection {
        session,
        socket: Some(socket),
        upgrade,
        shell,
        out: Vec::new(),
        end: End::default(),
        input: InputState::Open,
        told_to_stop: false,
    };
    let mut handler = handler;
    // The parts are captured, not passed to an `async fn`: its arguments would be stored twice.
    async move {
        let timer = pin!(sleep_until(connection.shell.clock.now().into()));
        match run(&mut connection, &mut handler, timer).await {
            Ok(()) => Ok(connection.end),
            Err(error) => {
                Box::pin(bury(&mut connection, &mut handler)).await;
                Err(error)
            }
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum InputState {
    Open,
    Ended,
}

struct Connection<S> {
    session: S,
    /// `None` only while a TLS handshake owns it.
    socket: Option<Socket>,
    upgrade: Upgrade,
    shell: Shell,
    out: Vec<u8>,
    end: End,
    input: InputState,
    told_to_stop: bool,
}

async fn run<S: Session, H: Handler<S>>(c: &mut Connection<S>, handler: &mut H, mut timer: Pin<&mut Sleep>) -> Result<(), DriveError> {
    loop {
        match c.session.poll() {
            Output::Send(bytes) => {
                c.gather(bytes);
                if c.out.len() >= c.shell.limits.gather_octets_max {
                    c.flush().await?;
                }
            }
            Output::Ask(ask) => answer(c, handler, ask).await?,
            Output::StartTls => {
                c.flush().await?;
                Box::pin(c.start_tls()).await?;
            }
            Output::Wait(until) => {
                c.flush().await?;
                wait(c, handler, until, timer.as_mut()).await?;
            }
            Output::Close => {
                c.flush().await?;
                Box::pin(c.close()).await;
                return Ok(());
            }
        }
    }
}

/// The connection broke: the session hears that the peer is gone, and may still tell its handler
/// what became of its work. What it says is dropped.
async fn bury<S: Session, H: Handler<S>>(c: &mut Connection<S>, handler: &mut H) {
    c.socket = None;
    if c.input == InputState::Open {
        c.heard(&[]);
    }
    let mut questions = 0;
    loop {
        match c.session.poll() {
            Output::Send(_) => {}
            Output::Ask(ask) if questions < LAST_QUESTIONS_MAX => {
                questions += 1;
                let answer = handler.answer(ask).await;
                let now = c.now();
                c.session.handle(now, Input::Answer(answer));
            }
            Output::Ask(_) | Output::StartTls | Output::Wait(_) | Output::Close => return,
        }
    }
}

/// Has one question answered. What was said before it goes out first, unless the answer is there at once.
async fn answer<S: Session, H: Handler<S>>(c: &mut Connection<S>, handler: &mut H, ask: S::Ask) -> Result<(), DriveError> {
    let mut answering = Box::pin(handler.answer(ask));
    let at_once = poll_fn(|context| match answering.as_mut().poll(context) {
        Poll::Ready(answer) => Poll::Ready(Some(answer)),
        Poll::Pending => Poll::Ready(None),
    });
    let (answer, flushed) = if let Some(answer) = at_once.await {
        (answer, Ok(()))
    } else {
        // Even if the peer is gone the question is answered: a session waits for nothing else.
        let flushed = c.flush().await;
        (answering.await, flushed)
    };
    let now = c.now();
    c.session.handle(now, Input::Answer(answer));
    flushed
}

/// What ended a wait; the bytes of a read have been handled already.
enum Woken<P> {
    Read(io::Result<usize>),
    Push(P),
    Tick,
    Stop,
}

/// Waits for bytes, news, the deadline or the end of the server, and tells the session.
async fn wait<S: Session, H: Handler<S>>(
    c: &mut Connection<S>,
    handler: &mut H,
    until: Instant,
    mut timer: Pin<&mut Sleep>,
) -> Result<(), DriveError> {
    let mut pushed = pin!(handler.pushed());
    let woken = poll_fn(|context| {
        if let Poll::Ready(read) = c.poll_read(context) {
            return Poll::Ready(Woken::Read(read));
        }
        if let Poll::Ready(push) = pushed.as_mut().poll(context) {
            return Poll::Ready(Woken::Push(push));
        }
        if !c.told_to_stop && c.shell.stop.poll_told(context).is_ready() {
            return Poll::Ready(Woken::Stop);
        }
        poll_deadline(timer.as_mut(), until, context).map(|()| Woken::Tick)
    })
    .await;
    let now = c.now();
    match woken {
        Woken::Read(Err(error)) => return Err(DriveError::Read(error)),
        Woken::Read(Ok(octets)) => c.end.read_octets += octets as u64,
        Woken::Push(push) => c.session.handle(now, Input::Push(push)),
        Woken::Tick => c.session.handle(now, Input::Tick),
        Woken::Stop => {
            c.told_to_stop = true;
            c.session.stop(now);
        }
    }
    Ok(())
}

/// The timer may be set for an earlier moment than `until`: deadlines mostly move on with every
/// command, and a timer that is set anew each time costs a lock.
fn poll_deadline(mut timer: Pin<&mut Sleep>, until: Instant, context: &mut Context<'_>) -> Poll<()> {
    if timer.deadline().into_std() > until {
        timer.as_mut().reset(until.into());
    }
    while timer.as_mut().poll(context).is_ready() {
        if timer.deadline().into_std() >= until {
            return Poll::Ready(());
        }
        timer.as_mut().reset(until.into());
    }
    Poll::Pending
}

impl<S: Session> Connection<S> {
    fn now(&self) -> Instant {
        self.shell.clock.now()
    }

    fn gather(&mut self, bytes: Vec<u8>) {
        if self.out.is_empty() {
            self.out = bytes;
        } else {
            self.out.extend_from_slice(&bytes);
        }
    }

    /// Reads once and hands the bytes to the session: the buffer belongs to the thread.
    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.input == InputState::Ended {
            return Poll::Pending;
        }
        READ_BUFFER.with_borrow_mut(|buffer| {
            let Some(socket) = &mut self.socket else { return Poll::Pending };
            let mut read = ReadBuf::new(buffer);
            match ready!(Pin::new(socket).poll_read(context, &mut read)) {
                Ok(()) => Poll::Ready(Ok(self.heard(read.filled()))),
                Err(error) if is_end(&error) => Poll::Ready(Ok(self.heard(&[]))),
                Err(error) => Poll::Ready(Err(error)),
            }
        })
    }

    fn heard(&mut self, bytes: &[u8]) -> usize {
        let now = self.now();
        if bytes.is_empty() {
            self.input = InputState::Ended;
            self.session.handle(now, Input::Eof);
        } else {
            self.session.handle(now, Input::Bytes(bytes));
        }
        bytes.len()
    }

    /// Writes what was gathered and gives its memory back. Mostly the socket takes it all at once,
    /// and then no timer is set.
    async fn flush(&mut self) -> Result<(), DriveError> {
        if self.out.is_empty() {
            return Ok(());
        }
        let out = std::mem::take(&mut self.out);
        let Some(socket) = &mut self.socket else { return Ok(()) };
        let mut written = 0;
        match poll_fn(|context| Poll::Ready(poll_write(socket, context, &out, &mut written))).await {
            Poll::Ready(outcome) => outcome.map_err(DriveError::Write)?,
            Poll::Pending => Box::pin(write_slowly(socket, &out, written, self.shell.limits.write_max)).await?,
        }
        self.end.written_octets += out.len() as u64;
        Ok(())
    }

    async fn start_tls(&mut self) -> Result<(), DriveError> {
        let Some(socket) = self.socket.take() else { return Err(DriveError::NoTls) };
        let handshake = async {
            match &self.upgrade {
                Upgrade::None => Err(DriveError::NoTls),
                Upgrade::Server(config) => tls::accept(Arc::clone(config), socket).await.map_err(DriveError::Handshake),
                Upgrade::Client(client, name) => client.connect(name.clone(), socket).await.map_err(DriveError::Handshake),
            }
        };
        let (socket, tls) = timeout(self.shell.limits.handshake_max, handshake).await.map_err(|_| DriveError::HandshakeTimeout)??;
        self.socket = Some(socket);
        let now = self.now();
        self.session.handle(now, Input::TlsStarted(tls));
        Ok(())
    }

    /// Closes our side and waits a little for the peer's: a socket closed with unread input is
    /// reset, and a reset overtakes our last words.
    async fn close(&mut self) {
        let Some(mut socket) = self.socket.take() else { return };
        let lingering = async {
            if socket.shutdown().await.is_err() || self.input == InputState::Ended {
                return;
            }
            while let Ok(1..) = poll_fn(|context| drop_input(&mut socket, context)).await {}
        };
        let _ = timeout(self.shell.limits.linger_max, lingering).await;
    }
}

/// Writes `bytes` from `written` on, and flushes.
fn poll_write(socket: &mut Socket, context: &mut Context<'_>, bytes: &[u8], written: &mut usize) -> Poll<io::Result<()>> {
    while let Some(rest) = bytes.get(*written..).filter(|rest| !rest.is_empty()) {
        match ready!(Pin::new(&mut *socket).poll_write(context, rest))? {
            0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            octets => *written += octets,
        }
    }
    Pin::new(socket).poll_flush(context)
}

/// The rest of a write that the socket did not take at once. A peer that takes too little in the
/// time is given up, however lively the rest of it may be.
async fn write_slowly(socket: &mut Socket, bytes: &[u8], mut written: usize, write_max: Duration) -> Result<(), DriveError> {
    loop {
        let part = bytes.get(..written + WRITE_OCTETS).unwrap_or(bytes);
        let writing = poll_fn(|context| poll_write(socket, context, part, &mut written));
        timeout(write_max, writing).await.map_err(|_| DriveError::WriteTimeout)?.map_err(DriveError::Write)?;
        if written == bytes.len() {
            return Ok(());
        }
    }
}

fn drop_input(socket: &mut Socket, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
    READ_BUFFER.with_borrow_mut(|buffer| {
        let mut read = ReadBuf::new(buffer);
        Pin::new(socket).poll_read(context, &mut read).map_ok(|()| read.filled().len())
    })
}

/// Peers that leave without TLS `close_notify`, or by a reset, have left all the same.
fn is_end(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::UnexpectedEof)
}
