//! One connection: what is gathered, what is waited for, what ends it.

use crate::toy::{Answers, Client, Heard, IDLE_MAX, Toy};
use net::drive::{DriveError, End, Limits, Shell, Upgrade, drive};
use net::{Clock, Shutdown, Socket, VirtualClock};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, duplex};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;

fn clock() -> Arc<dyn Clock> {
    Arc::new(VirtualClock::starting_at(mail::Timestamp(0)))
}

fn serve(answers: Answers, socket: impl Into<Socket> + Send + 'static, shell: Shell) -> JoinHandle<Result<End, DriveError>> {
    let now = shell.clock.now();
    tokio::spawn(drive(Toy::new(now), answers, socket, Upgrade::None, shell))
}

fn start(answers: Answers) -> (DuplexStream, JoinHandle<Result<End, DriveError>>) {
    let (ours, theirs) = duplex(4096);
    (ours, serve(answers, theirs, Shell::new(clock())))
}

async fn heard(peer: &mut DuplexStream) -> String {
    let mut heard = String::new();
    peer.read_to_string(&mut heard).await.unwrap();
    heard
}

async fn expect(peer: &mut DuplexStream, want: &str) {
    let mut heard = vec![0; want.len()];
    peer.read_exact(&mut heard).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&heard), want);
}

#[tokio::test]
async fn commands_are_answered_until_the_session_closes() {
    let (mut peer, task) = start(Answers::default());
    peer.write_all(b"one\r\nASK two\r\nQUIT\r\nnever\r\n").await.unwrap();
    assert_eq!(heard(&mut peer).await, "hello\r\necho: one\r\nanswer to ASK two\r\nbye\r\n");
    drop(peer);
    assert_eq!(task.await.unwrap().unwrap(), End { read_octets: 27, written_octets: 42 });
}

#[tokio::test]
async fn a_peer_that_stops_sending_still_hears_the_rest() {
    let (mut peer, task) = start(Answers::default());
    peer.write_all(b"one\r\n").await.unwrap();
    peer.shutdown().await.unwrap();
    assert_eq!(heard(&mut peer).await, "hello\r\necho: one\r\nyou left\r\n");
    task.await.unwrap().unwrap();
}

#[tokio::test]
async fn what_was_said_goes_out_before_a_slow_answer() {
    let release = Arc::new(Notify::new());
    let (mut peer, task) = start(Answers { release: Arc::clone(&release), pushes: None });
    peer.write_all(b"one\r\nSLOW\r\ntwo\r\nQUIT\r\n").await.unwrap();
    expect(&mut peer, "hello\r\necho: one\r\n").await;
    release.notify_one();
    assert_eq!(heard(&mut peer).await, "answer to SLOW\r\necho: two\r\nbye\r\n");
    drop(peer);
    task.await.unwrap().unwrap();
}

/// Counts the writes.
struct Counting(DuplexStream, Arc<AtomicUsize>);

impl AsyncRead for Counting {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, into)
    }
}

impl AsyncWrite for Counting {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.1.fetch_add(1, Ordering::Relaxed);
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

#[tokio::test]
async fn the_answers_to_a_batch_are_one_write() {
    let (mut peer, theirs) = duplex(4096);
    let writes = Arc::new(AtomicUsize::new(0));
    peer.write_all(b"one\r\nASK two\r\nthree\r\nQUIT\r\n").await.unwrap();
    let socket = Socket::any(Counting(theirs, Arc::clone(&writes)));
    let task = serve(Answers::default(), socket, Shell::new(clock()));
    heard(&mut peer).await;
    drop(peer);
    task.await.unwrap().unwrap();
    // The greeting, then everything else.
    assert_eq!(writes.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn news_is_heard_between_commands() {
    let (news, pushes) = mpsc::channel(4);
    let (mut peer, task) = start(Answers { pushes: Some(pushes), ..Answers::default() });
    expect(&mut peer, "hello\r\n").await;
    news.send(7).await.unwrap();
    expect(&mut peer, "push 7\r\n").await;
    peer.write_all(b"QUIT\r\n").await.unwrap();
    expect(&mut peer, "bye\r\n").await;
    drop(peer);
    task.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_silent_peer_meets_the_deadline_of_its_last_command() {
    let started = tokio::time::Instant::now();
    let (mut peer, task) = start(Answers::default());
    tokio::time::sleep(Duration::from_secs(40)).await;
    peer.write_all(b"one\r\n").await.unwrap();
    assert_eq!(heard(&mut peer).await, "hello\r\necho: one\r\ntoo slow\r\n");
    let waited = started.elapsed().checked_sub(Duration::from_secs(40) + IDLE_MAX).unwrap();
    assert!(waited < Duration::from_secs(1), "{waited:?}");
    drop(peer);
    task.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_does_not_read_is_given_up() {
    let (mut peer, task) = start(Answers::default());
    peer.write_all(b"BIG\r\n").await.unwrap();
    let started = tokio::time::Instant::now();
    assert!(matches!(task.await.unwrap(), Err(DriveError::WriteTimeout)));
    assert_eq!(started.elapsed().as_secs(), Limits::default().write_max.as_secs());
}

#[tokio::test(start_paused = true)]
async fn a_closed_connection_does_not_linger_long() {
    let (mut peer, task) = start(Answers::default());
    peer.write_all(b"QUIT\r\n").await.unwrap();
    let started = tokio::time::Instant::now();
    task.await.unwrap().unwrap();
    assert!(started.elapsed() <= Limits::default().linger_max + Duration::from_millis(10));
    expect(&mut peer, "hello\r\nbye\r\n").await;
}

#[tokio::test]
async fn a_session_hears_that_the_server_stops_even_if_it_was_told_before() {
    for told_before in [false, true] {
        let shutdown = Shutdown::new();
        if told_before {
            shutdown.tell();
        }
        let (mut peer, theirs) = duplex(4096);
        let task = serve(Answers::default(), theirs, Shell::new(clock()).stopping(shutdown.stop()));
        expect(&mut peer, "hello\r\n").await;
        shutdown.tell();
        assert_eq!(heard(&mut peer).await, "stopping\r\n");
        drop(peer);
        task.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn tls_that_is_not_configured_ends_the_connection() {
    let (mut peer, task) = start(Answers::default());
    peer.write_all(b"TLS\r\n").await.unwrap();
    assert!(matches!(task.await.unwrap(), Err(DriveError::NoTls)));
    assert_eq!(heard(&mut peer).await, "hello\r\ngo\r\n");
}

#[tokio::test]
async fn two_sessions_can_talk_to_each_other() {
    let (a, b) = duplex(64);
    let clock = clock();
    let heard = Heard::default();
    let client = Client::new(clock.now(), &["one", "QUIT"]);
    let client = drive(client, heard.clone(), a, Upgrade::None, Shell::new(Arc::clone(&clock)));
    let server = drive(Toy::new(clock.now()), Answers::default(), b, Upgrade::None, Shell::new(clock));
    let (client, server) = tokio::join!(client, server);
    assert_eq!(client.unwrap().written_octets, server.unwrap().read_octets);
    assert_eq!(*heard.0.lock().unwrap(), ["hello", "echo: one", "bye"]);
}

#[tokio::test]
async fn a_session_whose_peer_is_gone_may_still_report() {
    let (a, mut peer) = duplex(64);
    let heard = Heard::default();
    let clock = clock();
    let mut client = Client::new(clock.now(), &["one"]);
    client.reports = true;
    let task = tokio::spawn(drive(client, heard.clone(), Socket::any(Failing(a)), Upgrade::None, Shell::new(clock)));
    peer.write_all(b"hello\r\n").await.unwrap();
    assert!(matches!(task.await.unwrap(), Err(DriveError::Write(_))));
    assert_eq!(*heard.0.lock().unwrap(), ["hello", "gone"]);
}

/// Can be read, but not written.
struct Failing(DuplexStream);

impl AsyncRead for Failing {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, into)
    }
}

impl AsyncWrite for Failing {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// The state of an idle connection is paid for ten thousand times. The bound is what is allowed,
/// not what is wished for: print the figure with `--nocapture`.
#[tokio::test]
async fn a_driven_session_is_small() {
    let (_peer, socket) = duplex(64);
    let clock = clock();
    let session = Toy::new(clock.now());
    let own = size_of_val(&session) + size_of::<Answers>() + size_of::<Socket>() + size_of::<Shell>() + size_of::<Upgrade>();
    let driven = drive(session, Answers::default(), socket, Upgrade::None, Shell::new(clock));
    println!("parts {own}, driven {}", size_of_val(&driven));
    assert!(size_of_val(&driven) <= own + 1024, "parts {own}, driven {}", size_of_val(&driven));
}
