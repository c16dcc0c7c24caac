//! Delivery under TLS: offered and working, offered and broken, required and not to be trusted,
//! implicit; signing in at a smarthost.
//!
//! The remote server is a real session behind pipes in memory; only the handshakes need the machine's
//! randomness.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test: its purpose is to fail")]

use crate::context;
use mail::{Address, Domain, Event, Recipient, ReversePath, Timestamp};
use mta::deliver::{Tls, World};
use mta::queue::Queue;
use mta::receive::{Context, Receiver};
use mta::route::{self, Smarthost, Target};
use mta::{Counters, Settings};
use net::dial::Dialing;
use net::tls::{Certificates, Client, Pair, Trust};
use net::{Dial, FakeDns, Shell, Shutdown, Socket, SystemClock, Upgrade};
use smtp::server::{Answer, Ask, Config, Connection, MailCommand, Role, Server};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use store::auth::Credentials;
use store::{NewAccount, RecipientState, Store};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use wire::Handler;
use wire::sasl::{Mechanism, Secret};

const PEER: &str = "192.0.2.1";

fn domain(text: &str) -> Domain {
    Domain::parse(text).unwrap()
}

/// How the remote server behaves.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// STARTTLS works.
    Good,
    /// STARTTLS is offered, and the handshake goes wrong.
    Broken,
    /// TLS from the first octet.
    Implicit,
    /// STARTTLS works, and nobody may send without signing in.
    SignIn,
}

struct Remote {
    store: Store,
    manner: Manner,
    tls: Arc<rustls::ServerConfig>,
    connections: AtomicUsize,
}

struct Pipes(Arc<Remote>);

impl Dial for Pipes {
    fn connect(&self, _to: SocketAddr, _from: Option<IpAddr>, _connect_max: Duration) -> Dialing<'_> {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        self.0.connections.fetch_add(1, Ordering::Relaxed);
        tokio::spawn(serve(Arc::clone(&self.0), theirs));
        Box::pin(async move { Ok(Socket::any(ours)) })
    }
}

async fn serve(remote: Arc<Remote>, stream: DuplexStream) {
    let role = if remote.manner == Manner::SignIn { Role::Submission } else { Role::Mx };
    let mut config = Config::new("mx.b.example", role);
    config.starttls = remote.manner != Manner::Implicit;
    config.mechanisms = if role == Role::Submission { vec![Mechanism::ScramSha256, Mechanism::Plain] } else { Vec::new() };
    let peer: IpAddr = PEER.parse().unwrap();
    let mut receiver = Receiver::new(Arc::new(context(&remote.store, "mx.b.example")), role, peer);
    let mut connection = Connection { peer, nonce: "n".repeat(24), tls: None, wall: mail::Timestamp(0), xclient: false };
    let (socket, upgrade) = match remote.manner {
        Manner::Implicit => {
            let (socket, tls) = net::tls::accept(Arc::clone(&remote.tls), Socket::any(stream)).await.unwrap();
            connection.tls = Some(tls.clone());
            receiver = receiver.with_tls(tls);
            (socket, Upgrade::None)
        }
        Manner::Good | Manner::SignIn => (Socket::any(stream), Upgrade::Server(Arc::clone(&remote.tls))),
        Manner::Broken => (Socket::any(spoil(stream)), Upgrade::Server(Arc::clone(&remote.tls))),
    };
    let server = Server::new(Arc::new(config), connection, std::time::Instant::now());
    let _ = net::drive(server, receiver, socket, upgrade, Shell::new(Arc::new(SystemClock))).await;
}

/// Passes everything on until TLS is about to start, then sends nonsense.
fn spoil(client: DuplexStream) -> DuplexStream {
    let (near, far) = tokio::io::duplex(64 * 1024);
    tokio::spawn(async move {
        let ((mut from_client, mut to_client), (mut from_server, mut to_server)) = (tokio::io::split(client), tokio::io::split(far));
        let up = async {
            let mut buffer = [0; 4096];
            while let Ok(octets @ 1..) = from_client.read(&mut buffer).await {
                let _ = to_server.write_all(&buffer[..octets]).await;
            }
            let _ = to_server.shutdown().await;
        };
        let down = async {
            let mut buffer = [0; 4096];
            let mut tls = false;
            while let Ok(octets @ 1..) = from_server.read(&mut buffer).await {
                let _ = if tls { to_client.write_all(b"nonsense").await } else { to_client.write_all(&buffer[..octets]).await };
                tls |= buffer[..octets].starts_with(b"220 2.0.0");
            }
            let _ = to_client.shutdown().await;
        };
        tokio::join!(up, down);
    });
    near
}

fn context(store: &Store, host: &str) -> Context {
    Context { clock: Arc::new(SystemClock), ..context::of(store, Settings::new(domain(host))) }
}

/// A store with one domain and one account.
fn store(address: &str, password: Option<&str>) -> Store {
    let store = Store::memory();
    let address = Address::parse(address).unwrap();
    let credentials = password.map_or_else(Credentials::none, |password| Credentials::new(&Secret::new(password)).unwrap());
    let new = NewAccount { name: String::new(), address: address.clone(), credentials, quota_octets_max: None };
    store
        .write_blocking(move |tx| {
            tx.domain_add(address.domain(), Timestamp(0))?;
            tx.account_create(new.clone(), Timestamp(0))
        })
        .unwrap();
    store
}

async fn submit(store: &Store, to: &str) {
    let mut receiver = Receiver::new(Arc::new(context(store, "mx.a.example")), Role::Submission, PEER.parse().unwrap());
    receiver.answer(Ask::Authenticated { account: 1, login: "ann@a.example".to_owned() }).await;
    let reverse_path = ReversePath(Address::parse("ann@a.example").ok());
    let command = MailCommand::new(reverse_path);
    receiver.answer(Ask::Mail(command)).await;
    receiver.answer(Ask::Rcpt(Recipient::new(Address::parse(to).unwrap()))).await;
    let answer = receiver.answer(Ask::Data { last: b"From: ann@a.example\r\n\r\nhello\r\n".to_vec() }).await;
    assert!(matches!(&answer, Answer::Reply(reply) if reply.is_positive()), "{answer:?}");
}

/// What came of one attempt.
struct Came {
    delivered: bool,
    /// The TLS of each attempt.
    tls: Vec<Option<String>>,
    /// What was answered, or went wrong.
    replies: Vec<String>,
    connections: usize,
}

/// Sends one message from A to a remote server of this manner. `route` is what A's route says of TLS;
/// without it, mail goes by MX.
fn attempt(manner: Manner, route: Option<(route::Tls, Option<&str>)>, trusted: bool) -> Came {
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    let names = ["mx.b.example".to_owned()];
    net::tls::self_signed(&certificate, &key, &names).unwrap();
    let certificates = Certificates::load(&Pair { certificate: certificate.clone(), key, names: Vec::new() }, &[]).unwrap();
    let other = folder.path().join("other.pem");
    net::tls::self_signed(&other, &folder.path().join("other-key.pem"), &names).unwrap();
    let trust = Trust::only(if trusted { &certificate } else { &other }).unwrap();

    let sender = store("ann@a.example", None);
    let tls = net::tls::server_config(certificates).unwrap();
    let bob = store("bob@b.example", (manner == Manner::SignIn).then_some("secret"));
    // Where one signs in, one sends as oneself: to the remote server, ann is an alias of bob.
    bob.write_blocking(|tx| {
        tx.domain_add(&domain("a.example"), Timestamp(0))?;
        tx.alias_set(&Address::parse("ann@a.example").unwrap(), vec![store::Target::Address(Address::parse("bob@b.example").unwrap())])
    })
    .unwrap();
    let remote = Arc::new(Remote { store: bob, manner, tls, connections: AtomicUsize::new(0) });
    let mut settings = Settings::new(domain("mx.a.example"));
    settings.queue.retry = vec![Duration::from_hours(1)];
    settings.delivery.linger = Duration::ZERO;
    if let Some((tls, credentials)) = route {
        let targets = vec![Target::parse("mx.b.example:587").unwrap()];
        let smarthost = Smarthost { targets, balanced: false, tls, credentials: credentials.map(str::to_owned) };
        let next = route::Next::Smarthost(Arc::new(smarthost));
        settings.routes = vec![route::Rule { matching: route::Matching::Everything, accept: false, next }];
        let credentials = wire::sasl::client::Credentials { login: "bob@b.example".to_owned(), password: Secret::new("secret") };
        settings.delivery.credentials.insert("bob".to_owned(), credentials);
    }
    let world = World {
        dns: Arc::new(
            FakeDns::new()
                .with_mx(&domain("b.example"), 10, Some(&domain("mx.b.example")))
                .with_address(&domain("mx.b.example"), PEER.parse().unwrap()),
        ),
        dial: Arc::new(Pipes(Arc::clone(&remote))),
        clock: Arc::new(SystemClock),
        tls: Some(Tls { opportunistic: Client::opportunistic(trust.clone()).unwrap(), verified: Client::verified(trust).unwrap() }),
        transport: mta::transport::Transport::default(),
        nonce: Arc::new(|| "c".repeat(24)),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        submit(&sender, "bob@b.example").await;
        let shutdown = Shutdown::new();
        let mut changes = sender.subscribe_queue();
        let queue = tokio::spawn(Queue::new(sender.clone(), Arc::new(settings), Arc::new(Counters::default()), world).run(shutdown.stop()));
        tokio::time::timeout(Duration::from_secs(20), async {
            while is_untried(&sender) {
                changes.changed().await;
            }
        })
        .await
        .unwrap();
        shutdown.tell();
        queue.await.unwrap();
    });
    came(&sender, &remote)
}

fn is_untried(store: &Store) -> bool {
    let queued = store.read_blocking(|tx| tx.queue_all(mail::ReceiptId(0), 10)).unwrap();
    queued.iter().flat_map(|message| &message.recipients).any(|entry| matches!(entry.state, RecipientState::Open { attempts: 0, .. }))
}

fn came(sender: &Store, remote: &Remote) -> Came {
    let sent = remote.store.read_blocking(|tx| tx.account_by_login("bob@b.example").map(|account| account.unwrap().emails));
    let delivered = sent.unwrap() == 1;
    let trails = sender.read_blocking(move |tx| {
        let mut all = Vec::new();
        let range = store::KeyRange::all();
        let mut found = std::collections::BTreeSet::new();
        tx.scan(store::schema::Space::Trail, &range, store::Direction::Forward, |key, _| {
            found.extend(key.first_chunk::<8>().map(|octets| mail::ReceiptId(u64::from_be_bytes(*octets))));
            std::ops::ControlFlow::Continue(())
        })?;
        for receipt in found {
            all.extend(tx.trail(receipt)?);
        }
        Ok(all)
    });
    let attempts: Vec<_> = trails
        .unwrap()
        .into_iter()
        .filter_map(|entry| match entry.event {
            Event::Attempted { tls, reply, .. } => Some((tls, reply)),
            _ => None,
        })
        .collect();
    let (tls, replies) = attempts.into_iter().unzip();
    Came { delivered, tls, replies, connections: remote.connections.load(Ordering::Relaxed) }
}

#[test]
fn tls_that_is_offered_is_used_whatever_the_certificate() {
    for (trusted, verified) in [(true, true), (false, false)] {
        let came = attempt(Manner::Good, None, trusted);
        assert!(came.delivered, "{:?}", came.replies);
        assert!(
            came.tls[0].as_ref().is_some_and(|tls| tls.starts_with("TLSv1.3") && tls.ends_with("verified") == verified),
            "{:?}",
            came.tls
        );
        assert_eq!(came.connections, 1);
    }
}

#[test]
fn tls_that_fails_is_done_without_on_a_new_connection() {
    let came = attempt(Manner::Broken, None, true);
    assert!(came.delivered, "{:?}", came.replies);
    assert_eq!((came.tls, came.connections), (vec![None], 2));
}

#[test]
fn where_tls_is_required_nothing_is_sent_without_trust() {
    let came = attempt(Manner::Good, Some((route::Tls::Required, None)), true);
    assert!(came.delivered, "{:?}", came.replies);
    for (manner, tls, trusted) in [
        (Manner::Good, route::Tls::Required, false),
        (Manner::Broken, route::Tls::Required, true),
        (Manner::Implicit, route::Tls::Implicit, false),
    ] {
        let came = attempt(manner, Some((tls, None)), trusted);
        assert!(!came.delivered && came.connections == 1, "{:?}", came.replies);
        assert!(came.replies[0].contains("TLS"), "{:?}", came.replies);
    }
}

#[test]
fn tls_from_the_first_octet() {
    let came = attempt(Manner::Implicit, Some((route::Tls::Implicit, None)), true);
    assert!(came.delivered, "{:?}", came.replies);
    assert!(came.tls[0].is_some());
}

#[test]
fn a_smarthost_is_signed_in_to() {
    let came = attempt(Manner::SignIn, Some((route::Tls::Required, Some("bob"))), true);
    assert!(came.delivered, "{:?}", came.replies);
    let came = attempt(Manner::SignIn, Some((route::Tls::Required, None)), true);
    assert!(came.replies[0].starts_with("530"), "{:?}", came.replies);
}
