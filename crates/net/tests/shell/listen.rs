//! Listeners on real sockets: who is let in, who is turned away, how it ends.

use crate::toy::{Answers, Toy};
use net::drive::{DriveError, End, Shell, Upgrade, drive};
use net::limits::{ConnectionLimits, Connections};
use net::listen::{Accepted, Config, Counters, Listener};
use net::tls::{Certificates, Client, Pair, Trust, self_signed, server_config};
use net::{Clock, Shutdown, Socket, SystemClock};
use rustls_pki_types::ServerName;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

struct Running {
    address: SocketAddr,
    shutdown: Shutdown,
    counters: Arc<Counters>,
    task: JoinHandle<()>,
}

fn config() -> Config {
    Config::new("toy", "127.0.0.1:0".parse().unwrap())
}

fn run(config: Config) -> Running {
    let listener = Listener::bind(config).unwrap();
    let (address, counters, shutdown) = (listener.address(), listener.counters(), Shutdown::new());
    let task = tokio::spawn(listener.run(shutdown.clone(), serve));
    Running { address, shutdown, counters, task }
}

/// The toy, whose greeting is preceded by the peer's address.
fn serve(accepted: Accepted) -> impl Future<Output = Result<End, DriveError>> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let mut socket = accepted.socket;
    async move {
        socket.write_all(format!("{}>{}\r\n", accepted.peer, accepted.local).as_bytes()).await.map_err(DriveError::Write)?;
        drive(Toy::new(clock.now()), Answers::default(), socket, Upgrade::None, Shell::new(clock).stopping(accepted.stop)).await
    }
}

async fn talk(address: SocketAddr, words: &[u8]) -> String {
    let mut peer = TcpStream::connect(address).await.unwrap();
    let _ = peer.write_all(words).await;
    let mut heard = Vec::new();
    let _ = peer.read_to_end(&mut heard).await;
    String::from_utf8(heard).unwrap()
}

async fn line(peer: &mut (impl AsyncReadExt + Unpin)) -> String {
    let mut line = Vec::new();
    while !line.ends_with(b"\n") {
        line.push(peer.read_u8().await.unwrap());
    }
    String::from_utf8(line).unwrap()
}

#[tokio::test]
async fn connections_are_served_and_counted() {
    let running = run(config());
    let heard = talk(running.address, b"one\r\nQUIT\r\n").await;
    assert!(heard.starts_with("127.0.0.1:"), "{heard}");
    assert!(heard.ends_with("hello\r\necho: one\r\nbye\r\n"), "{heard}");
    running.shutdown.tell();
    running.task.await.unwrap();
    assert_eq!(running.counters.opened.load(Ordering::Relaxed), 1);
    assert_eq!(running.counters.active.load(Ordering::Relaxed), 0);
    TcpStream::connect(running.address).await.unwrap_err();
}

#[tokio::test]
async fn a_panic_ends_one_connection_only() {
    let running = run(config());
    let mut other = TcpStream::connect(running.address).await.unwrap();
    line(&mut other).await;
    talk(running.address, b"PANIC\r\n").await;
    other.write_all(b"still here\r\n").await.unwrap();
    assert_eq!(line(&mut other).await, "hello\r\n");
    assert_eq!(line(&mut other).await, "echo: still here\r\n");
    drop(other);
    running.shutdown.tell();
    running.task.await.unwrap();
    assert_eq!(running.counters.panicked.load(Ordering::Relaxed), 1);
    assert_eq!(running.counters.active.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn one_connection_too_many_reads_why() {
    let limits = ConnectionLimits { per_address_max: 1, ..ConnectionLimits::default() };
    let refusal = b"421 4.7.0 too many connections\r\n".to_vec();
    let running = run(Config { connections: Connections::new(limits), refusal, ..config() });
    let mut first = TcpStream::connect(running.address).await.unwrap();
    line(&mut first).await;
    assert_eq!(talk(running.address, b"").await, "421 4.7.0 too many connections\r\n");
    assert_eq!(running.counters.refused_per_address.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_banned_peer_reads_why_and_its_proxy_is_not_meant() {
    let banned: net::listen::Banned = Arc::new(|peer| peer == std::net::IpAddr::from([192, 0, 2, 1]));
    let proxies = vec!["127.0.0.0/8".parse().unwrap()];
    let running = run(Config { proxies, banned: Some(banned), banned_refusal: b"421 4.7.0 banned\r\n".to_vec(), ..config() });
    let of = |last: u8| format!("PROXY TCP4 192.0.2.{last} 198.51.100.2 5 25\r\nQUIT\r\n");
    assert_eq!(talk(running.address, of(1).as_bytes()).await, "421 4.7.0 banned\r\n");
    assert!(talk(running.address, of(2).as_bytes()).await.ends_with("bye\r\n"));
    assert_eq!(running.counters.refused_banned.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn idle_connections_are_told_and_busy_ones_cut_off() {
    let running = run(Config { grace: Duration::from_millis(50), ..config() });
    let mut idle = TcpStream::connect(running.address).await.unwrap();
    line(&mut idle).await;
    let mut busy = TcpStream::connect(running.address).await.unwrap();
    line(&mut busy).await;
    busy.write_all(b"one\r\nSLOW\r\n").await.unwrap();
    assert_eq!(line(&mut busy).await, "hello\r\n");
    assert_eq!(line(&mut busy).await, "echo: one\r\n");
    assert_eq!(line(&mut idle).await, "hello\r\n");
    running.shutdown.tell();
    assert_eq!(line(&mut idle).await, "stopping\r\n");
    running.task.await.unwrap();
    let mut rest = Vec::new();
    let _ = busy.read_to_end(&mut rest).await;
    assert!(rest.is_empty());
    assert_eq!(running.counters.active.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_proxy_says_who_the_peer_is() {
    let limits = ConnectionLimits { per_address_max: 1, ..ConnectionLimits::default() };
    let running = run(Config {
        proxies: vec!["127.0.0.0/8".parse().unwrap()],
        connections: Connections::new(limits),
        refusal: b"full\r\n".to_vec(),
        ..config()
    });
    let v1 = b"PROXY TCP4 192.0.2.1 198.51.100.2 5 25\r\nQUIT\r\n";
    assert_eq!(talk(running.address, v1).await, "192.0.2.1:5>198.51.100.2:25\r\nhello\r\nbye\r\n");
    let v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0f\xc0\0\x02\x09\xc6\x33\x64\x02\0\x07\0\x19\x04\0\0QUIT\r\n";
    assert_eq!(talk(running.address, v2).await, "192.0.2.9:7>198.51.100.2:25\r\nhello\r\nbye\r\n");
    let local = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0QUIT\r\n";
    assert!(talk(running.address, local).await.starts_with("127.0.0.1:"));
    assert_eq!(talk(running.address, b"EHLO example\r\n").await, "");
    assert_eq!(running.counters.failed_proxy.load(Ordering::Relaxed), 1);
    // The limit counts the client, not the proxy.
    let mut first = TcpStream::connect(running.address).await.unwrap();
    first.write_all(b"PROXY TCP4 192.0.2.1 198.51.100.2 5 25\r\n").await.unwrap();
    line(&mut first).await;
    assert_eq!(talk(running.address, v1).await, "full\r\n");
    assert!(talk(running.address, v2).await.ends_with("bye\r\n"));
}

#[tokio::test]
async fn a_stranger_cannot_pose_as_a_proxy() {
    let running = run(Config { proxies: vec!["192.0.2.0/24".parse().unwrap()], ..config() });
    let heard = talk(running.address, b"PROXY TCP4 192.0.2.1 198.51.100.2 5 25\r\nQUIT\r\n").await;
    assert!(heard.starts_with("127.0.0.1:") && heard.contains("echo: PROXY TCP4"), "{heard}");
}

#[tokio::test]
async fn implicit_tls_comes_before_the_first_word() {
    let folder = TempDir::new().unwrap();
    let pair = Pair { certificate: folder.path().join("crt"), key: folder.path().join("key"), names: Vec::new() };
    self_signed(&pair.certificate, &pair.key, &["mx.example".to_owned()]).unwrap();
    let tls = Some(server_config(Certificates::load(&pair, &[]).unwrap()).unwrap());
    let running = run(Config { tls, ..config() });
    let client = Client::verified(Trust::only(&pair.certificate).unwrap()).unwrap();
    let stream = TcpStream::connect(running.address).await.unwrap();
    let (mut socket, _) = client.connect(ServerName::try_from("mx.example").unwrap(), Socket::Plain(stream)).await.unwrap();
    line(&mut socket).await;
    socket.write_all(b"QUIT\r\n").await.unwrap();
    assert_eq!(line(&mut socket).await, "hello\r\n");
    drop(socket);
    talk(running.address, b"EHLO example\r\n\r\n\r\n").await;
    running.shutdown.tell();
    running.task.await.unwrap();
    assert_eq!(running.counters.failed_tls.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn every_address_is_ipv4_too_and_peers_are_written_so() {
    let running = run(Config::new("toy", "[::]:0".parse().unwrap()));
    let heard = talk(SocketAddr::from(([127, 0, 0, 1], running.address.port())), b"QUIT\r\n").await;
    assert!(heard.starts_with("127.0.0.1:") && heard.contains(">127.0.0.1:"), "{heard}");
}

#[tokio::test]
async fn a_port_that_is_taken_is_named() {
    let first = Listener::bind(config()).unwrap();
    let error = Listener::bind(Config::new("smtp", first.address())).err().unwrap().to_string();
    assert!(error.starts_with(&format!("listener smtp: cannot listen on {}", first.address())), "{error}");
}
