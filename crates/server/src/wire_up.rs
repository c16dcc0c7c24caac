//! Starts everything, in order, and stops it again.
//!
//! ```text
//! store (takes the lock) ─▶ certificates ─▶ ports ─▶ control socket ─▶ queue ─▶ ready
//! stop: ports close ─▶ sessions end ─▶ queue ends ─▶ store closes
//! ```
//!
//! Invariants
//! - Every port is bound before anyone hears that the server is ready.
//! - A reload that fails changes nothing.

use crate::admin::service::{ListenerView, Reloaded, Running, Service};
use crate::admin::socket::ControlSocket;
use crate::admin::{Admin, link};
use crate::config::{Config, Protocol};
use crate::failure::{Code, Failure, Result};
use crate::metrics;
use crate::session_traces::{Trace, Traces};
use crate::snapshot::{ByPeer, Snapshot};
use crate::sweep;
use access::pop3::serve::Maildrops;
use mail::Timestamp;
use mta::deliver::World;
use mta::receive::{Bringer, Context, Receiver, Tried};
use mta::transport::reporting::Reporter;
use mta::transport::tls_rpt::Results;
use net::tls::{Certificates, Pair};
use net::{Clock, DriveError, End, Shell, Shutdown, SystemClock};
use std::fmt::Debug;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use store::Store;
use store::auth::Authenticator;
use tokio::sync::watch;
use tokio::task::JoinSet;
use wire::trace::{Answering, Traced};
use wire::{Handler, Session};

/// What listeners get beyond their own time of grace before they are cut off.
const STOP_SLACK: Duration = Duration::from_millis(500);

/// Reads the config again, command line included.
pub type ReadConfig = Box<dyn Fn() -> Result<Config> + Send + Sync>;

/// A running server.
pub struct Server {
    host: Arc<Host>,
    tasks: JoinSet<()>,
    shutdown: Shutdown,
}

/// A port that is listened on.
#[derive(Debug, Clone)]
pub struct Port {
    /// What is spoken there.
    pub protocol: Protocol,
    /// Where, with the real port.
    pub address: SocketAddr,
    counters: Arc<net::listen::Counters>,
}

/// What all parts of a running server share.
struct Host {
    config: RwLock<Arc<Config>>,
    current: RwLock<Arc<Current>>,
    read_config: Option<ReadConfig>,
    config_path: Option<PathBuf>,
    store: Store,
    authenticator: Authenticator,
    maildrops: Maildrops,
    counters: Arc<mta::Counters>,
    clock: Arc<dyn Clock>,
    /// What became of TLS with other servers and is not stored yet.
    results: Results,
    certificates: Arc<Certificates>,
    tls: Arc<rustls::ServerConfig>,
    pretence_key: [u8; 32],
    ports: RwLock<Vec<Port>>,
    started: Timestamp,
    urge: mta::queue::Urge,
    traces: Option<Traces>,
    /// The queue is started again with each new value.
    outbound: watch::Sender<Arc<Current>>,
}

/// What a reload replaces.
struct Current {
    snapshot: Snapshot,
    receive: Arc<Context>,
    imap: ByPeer<access::imap::serve::Shared>,
    /// Takes the tokens that the config names.
    authenticator: Authenticator,
    world: World,
}

impl Server {
    /// Starts a server over a config: opens the store, binds the ports, runs the queue. With `traces` all
    /// sessions are written down.
    ///
    /// # Errors
    /// Says which part cannot be started; nothing is left running then.
    pub async fn start(
        config: Config,
        read_config: Option<ReadConfig>,
        config_path: Option<PathBuf>,
        traces: Option<Traces>,
    ) -> Result<Self> {
        let store = open(&config).await?;
        let certificate = certificate(&config)?;
        let certificates = Certificates::load(&certificate, &[]).map_err(|error| Failure::usage(format!("TLS: {error}")))?;
        let tls = net::tls::server_config(Arc::clone(&certificates)).map_err(|error| Failure::failed("TLS", error))?;
        let authenticator = Authenticator::new(store.clone());
        let pretence_key = *authenticator.pretend_key();
        let fresh = crate::random::octets()?;
        store.write(move |tx| tx.secret_keep(store::RETURN_PATH_SECRET, fresh)).await?;
        let (counters, clock): (_, Arc<dyn Clock>) = (Arc::new(mta::Counters::default()), Arc::new(SystemClock));
        let results = Results::default();
        let urge = mta::queue::Urge::default();
        let parts = Parts {
            store: &store,
            authenticator: &authenticator,
            counters: &counters,
            clock: &clock,
            results: &results,
            pretence_key,
            urge: &urge,
        };
        let current = Arc::new(Current::new(&config, &parts)?);
        let host = Arc::new(Host {
            current: RwLock::new(Arc::clone(&current)),
            read_config,
            config_path,
            store,
            authenticator,
            maildrops: Maildrops::new(),
            counters,
            clock,
            results,
            certificates,
            tls,
            pretence_key,
            ports: RwLock::default(),
            started: crate::clock::now(),
            urge,
            traces,
            outbound: watch::channel(current).0,
            config: RwLock::new(Arc::new(config)),
        });
        Self::listen(host).await
    }

    async fn listen(host: Arc<Host>) -> Result<Self> {
        let (mut tasks, shutdown) = (JoinSet::new(), Shutdown::new());
        let config = host.config();
        let connections = net::Connections::new(net::limits::ConnectionLimits {
            total_max: u32::try_from(config.limits.connections).unwrap_or(u32::MAX),
            per_address_max: u32::try_from(config.limits.connections_per_address).unwrap_or(u32::MAX),
            exempt: Vec::new(),
        });
        let control = ControlSocket::bind(&config.data)?;
        let mut scraped = Vec::new();
        for listener in &config.listener {
            if listener.protocol == Protocol::Metrics {
                let socket = tokio::net::TcpListener::bind(listener.address).await;
                let socket =
                    socket.map_err(|error| Failure::failed(&format!("cannot listen on {} for metrics", listener.address), error))?;
                let address = socket.local_addr().unwrap_or(listener.address);
                host.add_port(Port { protocol: Protocol::Metrics, address, counters: Arc::default() });
                scraped.push(socket);
                continue;
            }
            let tls = host.tls_of(listener)?;
            let bound = bind(&host, listener, &tls, &connections)?;
            host.add_port(Port { protocol: listener.protocol, address: bound.address(), counters: bound.counters() });
            tasks.spawn(run_listener(Arc::clone(&host), listener.protocol, tls, bound, shutdown.clone()));
        }
        let sources = Arc::new(host.metric_sources());
        for socket in scraped {
            tasks.spawn(until(shutdown.clone(), metrics::serve(socket, Arc::clone(&sources))));
        }
        let service: Arc<dyn Service> = Arc::clone(&host) as _;
        let mail = Arc::clone(&host.current().snapshot.mail);
        let admin = Admin { store: host.store.clone(), service: Some(service), dry_run: false, mail };
        tasks.spawn(until(shutdown.clone(), control.run(admin)));
        tasks.spawn(run_queue(Arc::clone(&host), shutdown.clone()));
        let (swept, keep) = (host.store.clone(), Arc::clone(&host));
        let spans = move || {
            let config = keep.config();
            sweep::Spans { trails: config.trail.keep.0, rejects: config.rejects.keep.0 }
        };
        tasks.spawn(until(shutdown.clone(), sweep::run(swept, Arc::clone(&host.clock), spans)));
        let rotation = crate::dkim_rotation::Rotation::new(host.store.clone(), Arc::clone(&host.clock));
        let rotating = Arc::clone(&host);
        tasks.spawn(until(
            shutdown.clone(),
            rotation.run(move || (rotating.config().dkim.schedule(), Arc::clone(&rotating.current().world.dns))),
        ));
        crate::public_resolver::warn(&config);
        let (trying, noting) = (Arc::clone(&host), Arc::clone(&host.counters));
        let current = move || {
            let current = trying.current();
            (Arc::clone(&current.world.dns), current.snapshot.mail.receive.filter.lists.clone())
        };
        let noted = move |found: &[_]| noting.left_alone.note(found);
        tasks.spawn(until(shutdown.clone(), mta::list_trial::watch(Arc::clone(&host.clock), noted, current)));
        Ok(Self { host, tasks, shutdown })
    }

    /// Its ports.
    pub fn ports(&self) -> Vec<Port> {
        self.host.ports()
    }

    /// The store, for who runs a server in his own process.
    pub fn store(&self) -> &Store {
        &self.host.store
    }

    /// Reads config and certificates again.
    ///
    /// # Errors
    /// When the file is bad: everything stays as it was.
    pub fn reload(&self) -> Result<Reloaded> {
        self.host.reload()
    }

    /// Resolves with the reason when the store can no longer promise anything: the process should end.
    pub fn failed(&self) -> impl Future<Output = String> + Send + 'static {
        self.host.store.stopped()
    }

    /// Stops: no new connections, sessions end, the queue finishes what is under way, the store is
    /// closed. What is not done after the config's `limits.shutdown` is cut off; a delivery that is
    /// cut off is repeated after the next start.
    pub async fn stop(mut self) {
        self.shutdown.tell();
        let patience = self.host.config().limits.shutdown.0 + STOP_SLACK;
        if tokio::time::timeout(patience, join_all(&mut self.tasks)).await.is_err() {
            tracing::warn!("some connections did not end in time and are cut off");
            self.tasks.shutdown().await;
        }
        let store = self.host.store.clone();
        drop(self.host);
        let _joined = tokio::task::spawn_blocking(move || store.close()).await;
    }
}

async fn join_all(tasks: &mut JoinSet<()>) {
    while let Some(ended) = tasks.join_next().await {
        if let Err(error) = ended {
            tracing::error!(%error, "a part of the server did not end well");
        }
    }
}

/// The parts that a [`Current`] is made over.
struct Parts<'a> {
    store: &'a Store,
    authenticator: &'a Authenticator,
    counters: &'a Arc<mta::Counters>,
    clock: &'a Arc<dyn Clock>,
    results: &'a Results,
    pretence_key: [u8; 32],
    urge: &'a mta::queue::Urge,
}

impl Current {
    fn new(config: &Config, parts: &Parts<'_>) -> Result<Self> {
        let snapshot = Snapshot::new(config, parts.pretence_key)?;
        parts.authenticator.set_guard(config.guard());
        let learn = config.filter.learn;
        parts.store.write_blocking(move |tx| tx.learning_set(learn)).map_err(|error| Failure::failed("the filter's learning", error))?;
        let authenticator = parts.authenticator.taking(Arc::clone(&snapshot.tokens));
        let world = crate::transport::world(config, parts.clock, parts.store, parts.results)?;
        let receive = Context {
            store: parts.store.clone(),
            authenticator: authenticator.clone(),
            settings: Arc::clone(&snapshot.mail),
            clock: Arc::clone(parts.clock),
            counters: Arc::clone(parts.counters),
            seed: u64::from_le_bytes(crate::random::octets()?),
            dns: Some(Arc::clone(&world.dns)),
            call_ahead: Some(Arc::new(mta::receive::CallAhead::new(world.clone()))),
            keys: mta::receive::KeyRing::default(),
            urge: parts.urge.clone(),
            messages: AtomicU64::new(0),
        };
        let imap = ByPeer::new(|trusted| {
            let wall = Arc::clone(parts.clock);
            let (store, authenticator) = (parts.store.clone(), authenticator.clone());
            access::imap::serve::Shared::new(store, authenticator, snapshot.imap.of(trusted), Arc::new(move || wall.wall()))
        });
        Ok(Self { snapshot, receive: Arc::new(receive), imap, authenticator, world })
    }
}

impl Host {
    fn config(&self) -> Arc<Config> {
        Arc::clone(&self.config.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn current(&self) -> Arc<Current> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn ports(&self) -> Vec<Port> {
        self.ports.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn add_port(&self, port: Port) {
        self.ports.write().unwrap_or_else(PoisonError::into_inner).push(port);
    }

    fn metric_sources(&self) -> metrics::Sources {
        let ports = self.ports().into_iter().filter(|port| port.protocol != Protocol::Metrics);
        metrics::Sources {
            store: self.store.clone(),
            authenticator: self.authenticator.clone(),
            mail: Arc::clone(&self.counters),
            listeners: ports.map(|port| (port.protocol, port.counters)).collect(),
            started: self.started.seconds(),
        }
    }

    /// The TLS of a listener: its own where it asks for clients' certificates.
    fn tls_of(&self, listener: &crate::config::Listener) -> Result<Arc<rustls::ServerConfig>> {
        let Some(file) = &listener.client_ca_file else { return Ok(Arc::clone(&self.tls)) };
        let asking = net::tls::server_config_asking_clients(Arc::clone(&self.certificates), file);
        asking.map_err(|error| Failure::usage(format!("client_ca_file of {}: {error}", listener.protocol)))
    }

    /// Serves one connection to its end.
    async fn serve(
        self: Arc<Self>,
        protocol: Protocol,
        server_tls: Arc<rustls::ServerConfig>,
        accepted: net::listen::Accepted,
    ) -> std::result::Result<End, DriveError> {
        let current = self.current();
        let net::listen::Accepted { socket, peer, tls, stop, .. } = accepted;
        let trace = self.traces.as_ref().and_then(|traces| traces.begin(protocol, peer));
        let shell = Shell::new(Arc::clone(&self.clock)).stopping(stop);
        let (now, peer) = (self.clock.now(), peer.ip());
        let Ok(nonce) = crate::random::nonce() else { return Ok(End::default()) };
        let upgrade = tls.is_none().then_some(server_tls);
        let snapshot = &current.snapshot;
        let plaintext = snapshot.allows_plaintext(peer);
        match protocol {
            Protocol::Smtp | Protocol::Submission | Protocol::Submissions | Protocol::Lmtp => {
                let config = match protocol {
                    Protocol::Smtp => Arc::clone(&snapshot.mx),
                    Protocol::Lmtp => Arc::clone(&snapshot.lmtp),
                    _ => snapshot.submission.of(plaintext),
                };
                let mut receiver = Receiver::new(Arc::clone(&current.receive), config.role, peer);
                if let Some(tls) = &tls {
                    receiver = receiver.with_tls(tls.clone());
                }
                let xclient = snapshot.trusts_as_proxy(peer);
                let connection = smtp::server::Connection { peer, nonce, tls, wall: self.clock.wall(), xclient };
                let session = smtp::server::Server::new(config, connection, now);
                match trace {
                    None => net::drive(session, receiver, socket, upgrade, shell).await,
                    Some(trace) => drive_traced(session, receiver, socket, upgrade, shell, trace).await,
                }
            }
            Protocol::Imap | Protocol::Imaps => {
                let shared = current.imap.of(plaintext);
                let session = access::imap::Session::new(Arc::clone(&shared.config), nonce, tls, now);
                let handler = access::imap::serve::Server::new(shared, peer);
                match trace {
                    None => net::drive(session, handler, socket, upgrade, shell).await,
                    Some(trace) => drive_traced(session, handler, socket, upgrade, shell, trace).await,
                }
            }
            Protocol::Pop3 | Protocol::Pop3s => {
                let connection = access::pop3::Connection { nonce, tls, plaintext_login: plaintext };
                let session = access::pop3::Session::new(Arc::clone(&snapshot.pop3), connection, now);
                let (store, authenticator, maildrops) = (self.store.clone(), current.authenticator.clone(), self.maildrops.clone());
                let wall = Arc::clone(&self.clock);
                let (config, clock) = (Arc::clone(&snapshot.pop3), Arc::new(move || wall.wall()));
                let handler = access::pop3::serve::Server::new(store, authenticator, maildrops, Some(peer), config, clock);
                match trace {
                    None => net::drive(session, handler, socket, upgrade, shell).await,
                    Some(trace) => drive_traced(session, handler, socket, upgrade, shell, trace).await,
                }
            }
            Protocol::MtaSts => {
                let config = self.config();
                let policy = config.transport.own_policy(&config.hostname).to_string();
                let session = crate::well_known::Connection::new(policy, now);
                net::drive(session, crate::well_known::Ours(self.store.clone()), socket, None, shell).await
            }
            Protocol::Metrics => Ok(End::default()),
        }
    }
}

/// Drives a session and writes it down. Boxed, so that it adds nothing to the size of the usual case.
fn drive_traced<S, H>(
    session: S,
    handler: H,
    socket: net::Socket,
    upgrade: Option<Arc<rustls::ServerConfig>>,
    shell: Shell,
    mut trace: Trace,
) -> Pin<Box<dyn Future<Output = std::result::Result<End, DriveError>> + Send>>
where
    S: Session + Send + 'static,
    S::Ask: Debug + Send,
    S::Answer: Debug + Send,
    S::Push: Debug + Send,
    H: Handler<S> + Send + 'static,
{
    let traced = Traced::server(session, move |line: &str| trace.line(line));
    Box::pin(net::drive(traced, Answering(handler), socket, upgrade, shell))
}

impl Service for Host {
    fn status(&self) -> Running {
        let config = self.config();
        let view = |port: Port| ListenerView {
            name: port.protocol.to_string(),
            address: port.address.to_string(),
            connections: port.counters.active.load(std::sync::atomic::Ordering::Relaxed),
            connections_total: port.counters.opened.load(std::sync::atomic::Ordering::Relaxed),
        };
        Running {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            hostname: config.hostname.to_string(),
            data: config.data.display().to_string(),
            started: crate::output::rfc3339(self.started),
            uptime_seconds: crate::clock::now().since(self.started).as_secs(),
            listeners: self.ports().into_iter().map(view).collect(),
        }
    }

    fn reload(&self) -> Result<Reloaded> {
        let old = self.config();
        let new = self.read_config.as_ref().map_or_else(|| Ok((*old).clone()), |read| read())?;
        let parts = Parts {
            store: &self.store,
            authenticator: &self.authenticator,
            counters: &self.counters,
            clock: &self.clock,
            results: &self.results,
            pretence_key: self.pretence_key,
            urge: &self.urge,
        };
        let current = Arc::new(Current::new(&new, &parts)?);
        self.certificates.reload(&certificate(&new)?, &[]).map_err(|error| Failure::usage(format!("TLS: {error}")))?;
        let need_restart = need_restart(&old, &new);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&current);
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(new);
        self.outbound.send_replace(current);
        tracing::info!(need_restart = need_restart.join(", "), "config and certificates read again");
        Ok(Reloaded { config: self.config_path.as_ref().map(|path| path.display().to_string()), need_restart })
    }

    fn config(&self) -> Arc<Config> {
        Self::config(self)
    }

    fn mail(&self) -> Arc<mta::Settings> {
        Arc::clone(&self.current().snapshot.mail)
    }

    fn urge(&self, domains: Vec<mail::Domain>) {
        self.urge.tell(domains);
    }

    fn destinations(&self) -> Vec<mta::queue::DestinationView> {
        self.urge.destinations()
    }

    fn try_message(&self, bringer: Bringer, message: &[u8]) -> Result<Tried> {
        let current = self.current();
        let octets_max = current.snapshot.mx.limits.message_octets_max;
        if message.len() as u64 > octets_max {
            let message = format!("the message has {} octets, and this server takes {octets_max} (limits.message_octets)", message.len());
            return Err(Failure::new(Code::Refused, message).hint("its bringer would hear 552 5.3.4"));
        }
        let runtime = tokio::runtime::Handle::try_current().map_err(|error| Failure::failed("cannot try a message", error))?;
        Ok(runtime.block_on(Receiver::try_message(Arc::clone(&current.receive), bringer, message)))
    }

    fn bans_changed(&self) {
        self.authenticator.read_bans();
    }
}

/// Keys that are only read at the start.
fn need_restart(old: &Config, new: &Config) -> Vec<String> {
    let changed = [
        ("data", old.data != new.data),
        ("listener", old.listener != new.listener),
        ("log", old.log != new.log),
        ("limits.connections", old.limits.connections != new.limits.connections),
        ("limits.connections_per_address", old.limits.connections_per_address != new.limits.connections_per_address),
        ("limits.shutdown", old.limits.shutdown != new.limits.shutdown),
    ];
    changed.into_iter().filter(|(_, changed)| *changed).map(|(key, _)| key.to_owned()).collect()
}

async fn open(config: &Config) -> Result<Store> {
    let data = config.data.clone();
    let opened = tokio::task::spawn_blocking(move || {
        make_private_directory(&data)?;
        link::open_store(&data)
    });
    opened.await.map_err(|error| Failure::failed("the store failed unexpectedly", error))?
}

/// Makes a directory that only its owner may enter, and those above it.
///
/// # Errors
/// When that is not possible.
pub fn make_private_directory(path: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|error| Failure::failed(&format!("cannot make the directory {}", path.display()), error))
}

/// The certificate that the config names, or a self-signed one in the data directory.
///
/// # Errors
/// When the self-signed one cannot be made.
pub fn certificate(config: &Config) -> Result<Pair> {
    if let (Some(certificate), Some(key)) = (&config.tls.certificate, &config.tls.key) {
        return Ok(Pair { certificate: certificate.clone(), key: key.clone(), names: Vec::new() });
    }
    let pair = self_sign(config)?;
    tracing::warn!(file = %pair.certificate.display(), "no certificate is configured: a self-signed one is used, which clients will not trust");
    Ok(pair)
}

/// Makes a self-signed certificate in the data directory, unless there is one.
///
/// # Errors
/// When it cannot be written.
pub fn self_sign(config: &Config) -> Result<Pair> {
    let (certificate, key) = self_signed_files(&config.data);
    make_private_directory(&config.data.join("tls"))?;
    let names = [config.hostname.as_str(), "localhost", "127.0.0.1", "::1"].map(str::to_owned);
    net::tls::self_signed(&certificate, &key, &names).map_err(|error| Failure::failed("TLS", error))?;
    Ok(Pair { certificate, key, names: Vec::new() })
}

/// Where the self-signed certificate and its key are in a data directory.
pub fn self_signed_files(data: &Path) -> (PathBuf, PathBuf) {
    (data.join("tls").join("cert.pem"), data.join("tls").join("key.pem"))
}

fn bind(
    host: &Host,
    listener: &crate::config::Listener,
    tls: &Arc<rustls::ServerConfig>,
    connections: &net::Connections,
) -> Result<net::Listener> {
    let protocol = listener.protocol;
    let config = host.config();
    let mut settings = net::listen::Config::new(protocol.name(), listener.address);
    settings.tls = protocol.implicit_tls().then(|| Arc::clone(tls));
    settings.proxies = listener.proxy_protocol_from.iter().map(|network| network.0).collect();
    settings.connections = connections.clone();
    settings.refusal = refusal(protocol, config.hostname.as_str(), "too many connections, try again later");
    settings.banned_refusal = refusal(protocol, config.hostname.as_str(), "connections from your address are not taken for now");
    let (authenticator, signs_in) = (host.authenticator.clone(), protocol.signs_in());
    settings.banned = Some(Arc::new(move |peer| authenticator.is_banned(peer, signs_in)));
    settings.grace = config.limits.shutdown.0;
    net::Listener::bind(settings).map_err(|error| {
        let hint = match error.source.kind() {
            std::io::ErrorKind::PermissionDenied => "ports below 1024 need root or CAP_NET_BIND_SERVICE",
            std::io::ErrorKind::AddrInUse => "another program listens there; which one says: ss -ltnp",
            _ => return Failure::new(crate::failure::Code::Failed, error.to_string()),
        };
        Failure::new(crate::failure::Code::Failed, error.to_string()).hint(hint)
    })
}

/// What a peer reads whose connection is not taken.
fn refusal(protocol: Protocol, hostname: &str, why: &str) -> Vec<u8> {
    let line = match protocol {
        Protocol::Imap | Protocol::Imaps => format!("* BYE [UNAVAILABLE] {why}\r\n"),
        Protocol::Pop3 | Protocol::Pop3s => format!("-ERR [SYS/TEMP] {why}\r\n"),
        _ => format!("421 4.7.0 {hostname} {why}\r\n"),
    };
    line.into_bytes()
}

async fn run_listener(host: Arc<Host>, protocol: Protocol, tls: Arc<rustls::ServerConfig>, listener: net::Listener, shutdown: Shutdown) {
    listener.run(shutdown, move |accepted| Arc::clone(&host).serve(protocol, Arc::clone(&tls), accepted)).await;
}

/// Runs something until the shutdown is told.
async fn until(shutdown: Shutdown, work: impl Future<Output = ()>) {
    let stop = shutdown.stop();
    tokio::select! {
        () = stop.told() => {}
        () = work => {}
    }
}

/// Runs the queue; with each reload it is stopped and started again with the new settings.
async fn run_queue(host: Arc<Host>, shutdown: Shutdown) {
    let mut settings = host.outbound.subscribe();
    let over = shutdown.stop();
    while !over.is_told() {
        let current = Arc::clone(&settings.borrow_and_update());
        let (mail, world) = (Arc::clone(&current.snapshot.mail), current.world.clone());
        let queue = mta::queue::Queue::new(host.store.clone(), mail, Arc::clone(&host.counters), world).urged_by(host.urge.clone());
        let inner = Shutdown::new();
        let reporter = Arc::new(Reporter {
            store: host.store.clone(),
            results: host.results.clone(),
            dns: Arc::clone(&current.world.dns),
            https: current.world.tls.as_ref().map(|tls| crate::transport::https(&current.world.dns, &tls.verified)),
            clock: Arc::clone(&host.clock),
            settings: Arc::clone(&current.snapshot.mail),
        });
        // In sets, so that they end when this task is cut off.
        let mut reporting = JoinSet::new();
        let reports = Arc::clone(&reporter);
        reporting.spawn(async move { reports.run().await });
        let mut running = JoinSet::new();
        running.spawn(queue.run(inner.stop()));
        let ended = tokio::select! {
            () = over.told() => None,
            _ = settings.changed() => None,
            ended = running.join_next() => ended,
        };
        inner.tell();
        let ended = match ended {
            Some(ended) => Some(ended),
            None => running.join_next().await,
        };
        reporting.shutdown().await;
        reporter.save().await;
        if let Some(Err(error)) = ended {
            tracing::error!(%error, "the queue failed and is started again");
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
}
