//! Accepts connections and gives each its task.
//!
//! ```text
//! accept ─▶ counted? ─▶ [PROXY header] ─▶ counted? ─▶ [TLS handshake] ─▶ serve ─▶ logged, counted
//!             └ refusal line, closed
//! ```
//! What it is not: it knows no protocol; the line a refused peer reads is given to it.
//!
//! Invariants
//! - Every task it starts is joined before [`Listener::run`] returns, or dropped after the time of grace.
//! - A panic ends one connection, is logged and counted, and touches no other.
//! - The PROXY header is read only from networks that are configured as proxies, and required there.

use crate::drive::{DriveError, End};
use crate::limits::{Admitted, Connections, Refused};
use crate::proxy_protocol::{Addresses, HEADER_OCTETS_MAX, Parsed, parse};
use crate::shutdown::{Shutdown, Stop};
use crate::socket::Socket;
use crate::tls;
use mail::Network;
use std::any::Any;
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;
use wire::Tls;

/// How long to wait after the machine ran out of descriptors or memory.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(200);

/// Says of a peer whether its connections are not taken.
pub type Banned = Arc<dyn Fn(IpAddr) -> bool + Send + Sync>;

/// How one port is listened on.
#[derive(Clone)]
pub struct Config {
    /// `smtp`, `imaps`: for logs and figures.
    pub name: String,
    /// Where; port 0 takes any free one, `[::]` is every address of the machine, IPv4 too.
    pub address: SocketAddr,
    /// TLS from the first octet, if given.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// Proxies in front of us: their connections start with a PROXY header.
    pub proxies: Vec<Network>,
    /// Who is connected; listeners may share it.
    pub connections: Connections,
    /// What a peer reads when there are too many connections, CRLF included: `421 4.7.0 …`,
    /// `* BYE …`, `-ERR …`. Not said under implicit TLS, where no clear text can be said.
    pub refusal: Vec<u8>,
    /// Whose connections are not taken at all, asked with the real peer; none: everybody's are.
    pub banned: Option<Banned>,
    /// What such a peer reads; as [`Config::refusal`].
    pub banned_refusal: Vec<u8>,
    /// How long the PROXY header and the TLS handshake may take, each. Default 30 seconds.
    pub greeting_max: Duration,
    /// How long connections may go on after the shutdown is told. Default 30 seconds.
    pub grace: Duration,
    /// Connections that the system keeps for us until we accept them. Default 1,024.
    pub backlog: i32,
}

impl Config {
    /// A port in clear with defaults and limits of its own.
    pub fn new(name: &str, address: SocketAddr) -> Self {
        Self {
            name: name.to_owned(),
            address,
            tls: None,
            proxies: Vec::new(),
            connections: Connections::new(crate::limits::ConnectionLimits::default()),
            refusal: Vec::new(),
            banned: None,
            banned_refusal: Vec::new(),
            greeting_max: Duration::from_secs(30),
            grace: Duration::from_secs(30),
            backlog: 1024,
        }
    }
}

/// What happened at one listener since the start.
#[derive(Debug, Default)]
pub struct Counters {
    /// Connections accepted, refused ones too.
    pub opened: AtomicU64,
    /// Connections open now.
    pub active: AtomicU64,
    /// Refused: too many from that address.
    pub refused_per_address: AtomicU64,
    /// Refused: too many in all.
    pub refused_total: AtomicU64,
    /// Refused: from a banned network.
    pub refused_banned: AtomicU64,
    /// Implicit TLS handshakes that failed.
    pub failed_tls: AtomicU64,
    /// Missing or bad PROXY headers.
    pub failed_proxy: AtomicU64,
    /// Connections that ended in an I/O error or a time-out.
    pub broken: AtomicU64,
    /// Connections that ended in a panic: bugs.
    pub panicked: AtomicU64,
    /// Times that the system could not give us a connection.
    pub failed_accept: AtomicU64,
}

/// A port cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("listener {name}: cannot listen on {address}: {source}")]
pub struct BindError {
    /// The listener's name.
    pub name: String,
    /// The address.
    pub address: SocketAddr,
    /// Why.
    pub source: io::Error,
}

/// A connection, ready for its session.
#[derive(Debug)]
pub struct Accepted {
    /// Its bytes, behind PROXY header and implicit TLS.
    pub socket: Socket,
    /// The real peer; IPv4 is never written as IPv6.
    pub peer: SocketAddr,
    /// Where it connected to.
    pub local: SocketAddr,
    /// What implicit TLS agreed on.
    pub tls: Option<Tls>,
    /// Hears that the server stops; goes into the [`crate::Shell`].
    pub stop: Stop,
}

/// A bound port.
pub struct Listener {
    door: Arc<Door>,
    socket: TcpListener,
    address: SocketAddr,
}

impl Listener {
    /// Binds the port; the system starts to take connections. Call it inside the runtime.
    ///
    /// # Errors
    /// When the address is taken, not ours or not allowed.
    pub fn bind(config: Config) -> Result<Self, BindError> {
        let bound = bind(config.address, config.backlog).and_then(|socket| Ok((socket.local_addr()?, socket)));
        match bound {
            Ok((address, socket)) => Ok(Self { door: Arc::new(Door { config, counters: Arc::default() }), socket, address }),
            Err(source) => Err(BindError { name: config.name, address: config.address, source }),
        }
    }

    /// The address it is bound to; the port is the real one.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its name in logs and figures.
    pub fn name(&self) -> &str {
        &self.door.config.name
    }

    /// What happened here; the counters live on when the listener is gone.
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.door.counters)
    }

    /// Accepts connections and has each served in a task of its own until the shutdown is told;
    /// then waits for them, at most the time of grace.
    pub async fn run<F, W>(self, shutdown: Shutdown, serve: F)
    where
        F: Fn(Accepted) -> W + Send + Sync + 'static,
        W: Future<Output = Result<End, DriveError>> + Send + 'static,
    {
        let serve = Arc::new(serve);
        let stop = shutdown.stop();
        let mut tasks = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                () = stop.told() => break,
                accepted = self.socket.accept() => accepted,
                Some(_) = tasks.join_next() => continue,
            };
            match accepted {
                Ok((stream, peer)) => {
                    if let Some(visitor) = self.door.open(stream, peer, &shutdown) {
                        tasks.spawn(visit(Arc::clone(&self.door), visitor, Arc::clone(&serve)));
                    }
                }
                Err(error) => self.door.pause(&error).await,
            }
        }
        drop(self.socket);
        finish(tasks, &self.door.config).await;
    }
}

/// What all connections of one listener share.
struct Door {
    config: Config,
    counters: Arc<Counters>,
}

/// A connection that was accepted and is not yet greeted.
struct Visitor {
    stream: TcpStream,
    peer: SocketAddr,
    /// `None`: a proxy, whose client is counted when we know it.
    admitted: Option<Admitted>,
    stop: Stop,
}

impl Door {
    /// Counts a connection; one too many reads the refusal and is closed.
    fn open(&self, stream: TcpStream, peer: SocketAddr, shutdown: &Shutdown) -> Option<Visitor> {
        self.counters.opened.fetch_add(1, Ordering::Relaxed);
        let peer = canonical(peer);
        let proxied = self.config.proxies.iter().any(|proxy| proxy.contains(peer.ip()));
        let admitted = if proxied { None } else { Some(self.admit(&stream, peer)?) };
        // Without it small replies wait for the peer's delayed acknowledgement.
        let _ = stream.set_nodelay(true);
        Some(Visitor { stream, peer, admitted, stop: shutdown.stop() })
    }

    fn admit(&self, stream: &TcpStream, peer: SocketAddr) -> Option<Admitted> {
        if self.config.banned.as_ref().is_some_and(|banned| banned(peer.ip())) {
            self.counters.refused_banned.fetch_add(1, Ordering::Relaxed);
            tracing::debug!(listener = %self.config.name, %peer, "refused: banned");
            self.refuse(stream, &self.config.banned_refusal);
            return None;
        }
        let counter = match self.config.connections.admit(peer.ip()) {
            Ok(admitted) => return Some(admitted),
            Err(Refused::Total) => &self.counters.refused_total,
            Err(Refused::PerAddress) => &self.counters.refused_per_address,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        tracing::info!(listener = %self.config.name, %peer, "refused: too many connections");
        self.refuse(stream, &self.config.refusal);
        None
    }

    fn refuse(&self, stream: &TcpStream, words: &[u8]) {
        if self.config.tls.is_none() {
            // A fresh socket takes one line at once; if it does not, the peer goes without.
            let _ = stream.try_write(words);
        }
    }

    /// Reads the PROXY header and shakes hands; `None` if the visitor is not to be served.
    async fn receive(&self, visitor: Visitor) -> Option<(Accepted, Admitted)> {
        let Visitor { mut stream, mut peer, admitted, stop } = visitor;
        let mut local = canonical(stream.local_addr().ok()?);
        let admitted = if let Some(admitted) = admitted {
            admitted
        } else {
            if let Some(real) = self.proxied(&mut stream, peer).await? {
                (peer, local) = (canonical(real.source), canonical(real.destination));
            }
            self.admit(&stream, peer)?
        };
        let (socket, tls) = self.greet(stream, peer).await?;
        Some((Accepted { socket, peer, local, tls, stop }, admitted))
    }

    /// `None` ends the connection; `Some(None)` is a proxy that speaks for itself.
    async fn proxied(&self, stream: &mut TcpStream, proxy: SocketAddr) -> Option<Option<Addresses>> {
        let reason = match timeout(self.config.greeting_max, read_header(stream)).await {
            Ok(Ok(addresses)) => return Some(addresses),
            Ok(Err(reason)) => reason,
            Err(_) => "no PROXY header in time".to_owned(),
        };
        self.counters.failed_proxy.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(listener = %self.config.name, %proxy, %reason, "no PROXY header from a configured proxy");
        None
    }

    async fn greet(&self, stream: TcpStream, peer: SocketAddr) -> Option<(Socket, Option<Tls>)> {
        let Some(config) = &self.config.tls else { return Some((Socket::Plain(stream), None)) };
        let handshake = tls::accept(Arc::clone(config), Socket::Plain(stream));
        let reason = match timeout(self.config.greeting_max, handshake).await {
            Ok(Ok((socket, tls))) => return Some((socket, Some(tls))),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "took too long".to_owned(),
        };
        self.counters.failed_tls.fetch_add(1, Ordering::Relaxed);
        tracing::debug!(listener = %self.config.name, %peer, %reason, "TLS handshake failed");
        None
    }

    /// A connection that was gone before we took it is nothing; without descriptors or memory there
    /// is nothing to do but to wait until others end.
    async fn pause(&self, error: &io::Error) {
        self.counters.failed_accept.fetch_add(1, Ordering::Relaxed);
        if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted) {
            return;
        }
        tracing::error!(listener = %self.config.name, %error, "cannot accept connections; trying again shortly");
        tokio::time::sleep(EXHAUSTED_PAUSE).await;
    }

    fn note(&self, peer: SocketAddr, outcome: Result<Result<End, DriveError>, Panic>) {
        let name = &self.config.name;
        match outcome {
            Ok(Ok(end)) => tracing::trace!(listener = %name, %peer, read = end.read_octets, written = end.written_octets, "closed"),
            Ok(Err(error)) => {
                self.counters.broken.fetch_add(1, Ordering::Relaxed);
                tracing::debug!(listener = %name, %peer, %error, "connection broke");
            }
            Err(panic) => {
                self.counters.panicked.fetch_add(1, Ordering::Relaxed);
                tracing::error!(listener = %name, %peer, panic = words_of(&*panic), "a connection ended in a bug");
            }
        }
    }
}

/// One connection from its first octet to its last.
async fn visit<F, W>(door: Arc<Door>, visitor: Visitor, serve: Arc<F>)
where
    F: Fn(Accepted) -> W,
    W: Future<Output = Result<End, DriveError>>,
{
    let _active = Active::count(&door.counters);
    // Boxed, so that a connection that is served does not carry the room its greeting took.
    let Some((accepted, _admitted)) = Box::pin(door.receive(visitor)).await else { return };
    let peer = accepted.peer;
    let outcome = contained(|| serve(accepted)).await;
    door.note(peer, outcome);
}

/// Counts a connection as active while it lives, however it ends.
struct Active(Arc<Counters>);

impl Active {
    fn count(counters: &Arc<Counters>) -> Self {
        counters.active.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(counters))
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.0.active.fetch_sub(1, Ordering::Relaxed);
    }
}

type Panic = Box<dyn Any + Send>;

/// Runs a future and hands out its panic as a value. What it owned is dropped, so nothing half
/// changed is seen afterwards but what is shared, and that is guarded by its own rules.
async fn contained<W: Future>(start: impl FnOnce() -> W) -> Result<W::Output, Panic> {
    let mut work = catch_unwind(AssertUnwindSafe(|| Box::pin(start())))?;
    poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(context))) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
        Err(panic) => Poll::Ready(Err(panic)),
    })
    .await
}

fn words_of(panic: &(dyn Any + Send)) -> &str {
    let words = panic.downcast_ref::<&str>().copied();
    words.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no words")
}

/// Waits for the connections that are left, then drops them.
async fn finish(mut tasks: JoinSet<()>, config: &Config) {
    let waiting = async { while tasks.join_next().await.is_some() {} };
    if timeout(config.grace, waiting).await.is_err() {
        tracing::warn!(listener = %config.name, connections = tasks.len(), "still open after the time of grace; cut off");
        tasks.shutdown().await;
    }
}

/// Reads exactly the header: what follows it stays in the socket.
async fn read_header(stream: &mut TcpStream) -> Result<Option<Addresses>, String> {
    let mut header = Vec::with_capacity(64);
    loop {
        match parse(&header) {
            Parsed::Header { addresses, .. } => return Ok(addresses),
            Parsed::Invalid(reason) => return Err(reason.to_owned()),
            Parsed::Incomplete { octets } => {
                let wanted = octets.min(HEADER_OCTETS_MAX) as u64;
                let read = stream.take(wanted).read_buf(&mut header).await.map_err(|error| error.to_string())?;
                if read == 0 {
                    return Err("the connection ended inside the header".to_owned());
                }
            }
        }
    }
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// `[::]` is every address of the machine, IPv4 too, also where there is no IPv6.
fn bind(address: SocketAddr, backlog: i32) -> io::Result<TcpListener> {
    match bind_one(address, backlog) {
        Err(error) if address.ip() == Ipv6Addr::UNSPECIFIED && is_without_ipv6(&error) => {
            bind_one(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), address.port()), backlog)
        }
        outcome => outcome,
    }
}

/// `EAFNOSUPPORT` has no kind of its own in the standard library.
fn is_without_ipv6(error: &io::Error) -> bool {
    const EAFNOSUPPORT: i32 = 97;
    error.kind() == io::ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(EAFNOSUPPORT)
}

fn bind_one(address: SocketAddr, backlog: i32) -> io::Result<TcpListener> {
    use socket2::{Domain, Protocol, Type};
    let socket = socket2::Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // Whatever the system's default is.
        socket.set_only_v6(address.ip() != Ipv6Addr::UNSPECIFIED)?;
    }
    // Accepted connections inherit it: half-dead peers of long IDLEs are found out.
    socket.set_tcp_keepalive(&keepalive())?;
    socket.bind(&address.into())?;
    socket.listen(backlog)?;
    TcpListener::from_std(socket.into())
}

fn keepalive() -> socket2::TcpKeepalive {
    socket2::TcpKeepalive::new().with_time(Duration::from_mins(10)).with_interval(Duration::from_mins(1)).with_retries(5)
}
