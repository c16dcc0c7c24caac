//! What an idle connection costs: a measurement, not a test of correctness.
//!
//! `cargo test --release -p postrider-net --test shell -- --ignored --nocapture idle` prints it. The clients live in a
//! second process, so that only the server's memory is counted.

use crate::toy::{Answers, Toy};
use net::drive::{Shell, Upgrade, drive};
use net::limits::{ConnectionLimits, Connections};
use net::listen::{Accepted, Config, Listener};
use net::tls::{Certificates, Client, Pair, Trust, self_signed, server_config};
use net::{Clock, Shutdown, Socket, SystemClock};
use rustls_pki_types::ServerName;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use tempfile::TempDir;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

const CONNECTIONS: u32 = 4000;

fn resident_octets() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

fn clients(address: &str, certificate: &Path, tls: bool) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--ignored", "--exact", "idle::clients_of_the_measurement"]);
    command.env("IDLE_ADDRESS", address).env("IDLE_CERTIFICATE", certificate).env("IDLE_TLS", tls.to_string());
    command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap()
}

#[tokio::test]
#[ignore = "a part of idle::what_an_idle_connection_costs"]
async fn clients_of_the_measurement() {
    let Ok(address) = std::env::var("IDLE_ADDRESS") else { return };
    let certificate = PathBuf::from(std::env::var_os("IDLE_CERTIFICATE").unwrap());
    let client = Client::verified(Trust::only(&certificate).unwrap()).unwrap();
    let tls = std::env::var("IDLE_TLS").unwrap() == "true";
    let mut sockets = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut socket = Socket::Plain(TcpStream::connect(&address).await.unwrap());
        if tls {
            socket = client.connect(ServerName::try_from("mx.example").unwrap(), socket).await.unwrap().0;
        }
        socket.read_exact(&mut [0; 7]).await.unwrap();
        sockets.push(socket);
    }
    // The server closes our standard input when it has measured.
    tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new())).await.unwrap().unwrap();
}

#[tokio::test]
#[ignore = "a measurement"]
async fn what_an_idle_connection_costs() {
    let folder = TempDir::new().unwrap();
    let pair = Pair { certificate: folder.path().join("crt"), key: folder.path().join("key"), names: Vec::new() };
    self_signed(&pair.certificate, &pair.key, &["mx.example".to_owned()]).unwrap();
    let tls = server_config(Certificates::load(&pair, &[]).unwrap()).unwrap();
    for tls in [None, Some(tls)] {
        let connections = Connections::new(ConnectionLimits { per_address_max: CONNECTIONS + 1, ..ConnectionLimits::default() });
        let with_tls = tls.is_some();
        let listener = Listener::bind(Config { tls, connections, ..Config::new("idle", "127.0.0.1:0".parse().unwrap()) }).unwrap();
        let (address, counters, shutdown) = (listener.address().to_string(), listener.counters(), Shutdown::new());
        let running = tokio::spawn(listener.run(shutdown.clone(), serve));
        let before = resident_octets();
        let mut child = clients(&address, &pair.certificate, with_tls);
        while counters.active.load(std::sync::atomic::Ordering::Relaxed) < u64::from(CONNECTIONS) {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        let each = (resident_octets() - before) / u64::from(CONNECTIONS);
        println!("an idle connection, TLS {with_tls}: {each} octets");
        drop(child.stdin.take());
        child.wait().unwrap();
        shutdown.tell();
        running.await.unwrap();
    }
}

fn serve(accepted: Accepted) -> impl Future<Output = Result<net::End, net::DriveError>> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    drive(Toy::new(clock.now()), Answers::default(), accepted.socket, Upgrade::None, Shell::new(clock).stopping(accepted.stop))
}
