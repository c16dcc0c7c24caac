//! One mailbox on disk, filled once, and clients that have it open.

use crate::post::Post;
use access::imap::serve::{Server, Shared};
use access::imap::{Answer, Ask, Config, Session};
use mail::{AccountId, Address, Digest, Domain, Flag, Flags, Role, Timestamp};
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Instant;
use store::auth::{Authenticator, Credentials};
use store::{Body, NewAccount, NewEmail, Settings, Store};
use tempfile::TempDir;
use wire::sasl::SaslAnswer;
use wire::{Handler, Input, Output, Session as _};

/// Messages of one commit.
const BATCH: u64 = 500;

pub(crate) static MAILBOX: LazyLock<Mailbox> = LazyLock::new(Mailbox::new);

pub(crate) struct Mailbox {
    /// How many messages it is filled with.
    pub(crate) messages: u64,
    store: Store,
    account: AccountId,
    shared: Arc<Shared>,
    delivered: AtomicU64,
    _directory: TempDir,
}

impl Mailbox {
    fn new() -> Self {
        let messages = std::env::var("POSTRIDER_BENCH_MESSAGES").map_or(100_000, |text| text.parse().unwrap());
        let directory = TempDir::new().unwrap();
        let store = Store::open(&Settings::at(directory.path())).unwrap();
        let account = store
            .write_blocking(|tx| {
                tx.domain_add(&Domain::parse("example.org").unwrap(), Timestamp(0))?;
                let address = Address::parse("ann@example.org").unwrap();
                let new = NewAccount { address, name: String::new(), credentials: Credentials::none(), quota_octets_max: None };
                tx.account_create(new, Timestamp(0))
            })
            .unwrap();
        let authenticator = Authenticator::in_place(store.clone());
        let clock = Arc::new(|| Timestamp::from_seconds(1_795_262_400));
        let shared = Arc::new(Shared::new(store.clone(), authenticator, Arc::new(Config::default()), clock));
        Self { messages, store, account, shared, delivered: AtomicU64::new(0), _directory: directory }
    }

    pub(crate) fn fill(&self) {
        let began = Instant::now();
        for _ in 0..self.messages.div_ceil(BATCH) {
            self.deliver(BATCH);
        }
        let figures = self.store.figures().unwrap();
        let octets = |octets: u64| octets / self.messages;
        println!(
            "{} messages in {:.1} s; octets a message: log {}, index {}",
            self.messages,
            began.elapsed().as_secs_f64(),
            octets(figures.log_octets),
            octets(figures.index_octets + figures.index_wal_octets)
        );
    }

    pub(crate) fn deliver_one(&self) {
        self.deliver(1);
    }

    fn deliver(&self, messages: u64) {
        let (account, first) = (self.account, self.delivered.fetch_add(messages, Ordering::Relaxed));
        let batch: Vec<_> = (first..first + messages)
            .map(|number| {
                let text = Post::new(number).text();
                (Body::new(text.as_bytes()), Digest::of(text.as_bytes()), number)
            })
            .collect();
        let add = move |tx: &mut store::WriteTx| {
            let inbox = tx.mailbox_by_role(account, Role::Inbox)?.unwrap().id;
            for (body, digest, number) in &batch {
                let at = Timestamp::from_seconds(1_700_000_000 + i64::try_from(*number).unwrap() * 60);
                let flags = if number % 4 == 0 { Flags::default() } else { Flags::from_iter([Flag::Seen]) };
                tx.email_add(account, inbox, NewEmail { body, digest, flags, internal_date: at, saved: at })?;
            }
            Ok(())
        };
        self.store.write_blocking(add).unwrap();
    }
}

/// One connection that is logged in.
pub(crate) struct Client {
    session: Session,
    server: Server,
    now: Instant,
}

impl Client {
    pub(crate) fn in_inbox() -> Self {
        let config = Arc::new(Config { plaintext_login: true, ..Config::default() });
        let now = Instant::now();
        let session = Session::new(config, "nonce-nonce-nonce-nonce-1".into(), None, now);
        let server = Server::new(MAILBOX.shared.clone(), [127, 0, 0, 1].into());
        let mut client = Self { session, server, now };
        client.run("LOGIN ann@example.org secret");
        client.run("SELECT INBOX");
        client
    }

    /// Runs a command to its end; how many octets answered it.
    pub(crate) fn run(&mut self, command: &str) -> usize {
        self.session.handle(self.now, Input::Bytes(format!("a {command}\r\n").as_bytes()));
        let mut octets = 0;
        loop {
            match self.session.poll() {
                Output::Send(sent) => {
                    assert!(!sent.starts_with(b"a BAD") && !sent.starts_with(b"a NO"), "{}", String::from_utf8_lossy(&sent));
                    octets += sent.len();
                }
                Output::Ask(Ask::Auth(_)) => {
                    let answer = SaslAnswer::Account { account: MAILBOX.account.0, login: "ann@example.org".into() };
                    self.session.handle(self.now, Input::Answer(Answer::Auth(answer)));
                }
                Output::Ask(ask) => {
                    let answer = block_on(self.server.answer(ask));
                    self.session.handle(self.now, Input::Answer(answer));
                }
                Output::Wait(_) => return octets,
                other => panic!("{other:?}"),
            }
        }
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(value) => return value,
            Poll::Pending => std::thread::park(),
        }
    }
}
