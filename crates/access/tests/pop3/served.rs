//! Sessions over a real store in memory: locks, removal, reading ahead.

use access::pop3::serve::{Maildrops, Server};
use access::pop3::{Answer, Ask, Config, Connection, Limits, Session};
use mail::digest::Digest;
use mail::{AccountId, Address, Domain, Flags, Role, Timestamp};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;
use store::auth::{Authenticator, Credentials};
use store::{Body, NewAccount, NewEmail, Store};
use wire::sasl::Secret;
use wire::{Handler as _, Input, Output, Session as _};

/// The store in memory is always ready.
fn now_or_never<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("the store in memory is not ready"),
    }
}

struct World {
    store: Store,
    authenticator: Authenticator,
    maildrops: Maildrops,
    account: AccountId,
}

impl World {
    fn new(messages: &[&str]) -> Self {
        let store = Store::memory();
        let credentials = Credentials::new(&Secret::new("secret")).unwrap();
        let account = store
            .write_blocking(move |tx| {
                tx.domain_add(&Domain::parse("example.org").unwrap(), Timestamp(0))?;
                let address = Address::parse("alice@example.org").unwrap();
                let new = NewAccount { address, name: String::new(), credentials: credentials.clone(), quota_octets_max: None };
                tx.account_create(new, Timestamp(0))
            })
            .unwrap();
        let world = Self { authenticator: Authenticator::in_place(store.clone()), maildrops: Maildrops::new(), store, account };
        for message in messages {
            world.deliver(message);
        }
        world
    }

    fn deliver(&self, message: &str) {
        let (account, message) = (self.account, message.to_owned());
        let stored = self.store.write_blocking(move |tx| {
            let inbox = tx.mailbox_by_role(account, Role::Inbox)?.unwrap().id;
            let (body, digest) = (Body::new(message.as_bytes()), Digest::of(message.as_bytes()));
            let new = NewEmail { body: &body, digest: &digest, flags: Flags::default(), internal_date: Timestamp(0), saved: Timestamp(0) };
            tx.email_add(account, inbox, new).map(drop)
        });
        stored.unwrap();
    }

    fn emails(&self) -> u64 {
        let account = self.account;
        self.store.read_blocking(move |tx| Ok(u64::from(tx.mailbox_by_role(account, Role::Inbox)?.unwrap().emails))).unwrap()
    }

    fn connect(&self) -> Client {
        let now = Instant::now();
        let config = Config { limits: Limits { chunk_octets_max: 100, ..Limits::default() }, ..Config::default() };
        let connection = Connection { nonce: "0123456789abcdefghijklmn".to_owned(), tls: None, plaintext_login: true };
        let server = Server::new(self.store.clone(), self.authenticator.clone(), self.maildrops.clone(), None);
        Client { session: Session::new(Arc::new(config), connection, now), server, now }
    }
}

struct Client {
    session: Session,
    server: Server,
    now: Instant,
}

impl Client {
    /// Says something and hears all that comes of it.
    fn say(&mut self, words: &str) -> String {
        self.session.handle(self.now, Input::Bytes(words.as_bytes()));
        let mut heard = Vec::new();
        loop {
            match self.session.poll() {
                Output::Send(octets) => heard.extend_from_slice(&octets),
                Output::Ask(ask) => {
                    let answer = now_or_never(self.server.answer(ask));
                    self.session.handle(self.now, Input::Answer(answer));
                }
                Output::StartTls => panic!("not asked for"),
                Output::Wait(_) | Output::Close => return String::from_utf8(heard).unwrap(),
            }
        }
    }

    fn login(&mut self) -> String {
        self.say("USER alice@example.org\r\nPASS secret\r\n")
    }
}

const ONE: &str = "Subject: one\r\n\r\n.first\r\n";
const TWO: &str = "Subject: two\r\n\r\nsecond\r\n";

#[test]
fn mail_is_fetched_and_removed_at_quit() {
    let world = World::new(&[ONE, TWO, ONE]);
    let mut client = world.connect();
    assert!(client.login().ends_with(&format!("+OK 3 messages ({} octets)\r\n", ONE.len() * 2 + TWO.len())));
    let long = TWO.replace("second", &"second\r\n".repeat(100));
    world.deliver(&long);
    assert_eq!(client.say("RETR 1\r\n"), format!("+OK {} octets\r\nSubject: one\r\n\r\n..first\r\n.\r\n", ONE.len()));
    assert_eq!(client.say("RETR 4\r\n"), "-ERR no such message\r\n");
    let uidl = client.say("UIDL\r\n");
    client.say("DELE 1\r\nDELE 3\r\n");
    assert_eq!(world.emails(), 4);
    assert_eq!(client.say("QUIT\r\n"), "+OK bye, 2 messages removed\r\n");
    assert_eq!(world.emails(), 2);
    let mut again = world.connect();
    again.login();
    assert_eq!(uidl.lines().nth(2).unwrap().split(' ').nth(1), again.say("UIDL 1\r\n").trim_end().split(' ').nth(2));
    assert_eq!(again.say("RETR 2\r\n"), format!("+OK {} octets\r\n{long}.\r\n", long.len()));
}

#[test]
fn one_session_has_the_maildrop_until_it_ends() {
    let world = World::new(&[ONE]);
    let (mut first, mut second) = (world.connect(), world.connect());
    first.login();
    assert!(second.login().contains("-ERR [IN-USE] "));
    first.say("DELE 1\r\n");
    drop(first);
    assert!(second.login().contains("+OK 1 message "), "a broken session removes nothing and frees the maildrop");
    second.say("QUIT\r\n");
    assert_eq!(world.maildrops.open(), 0, "QUIT frees it before the connection is gone");
    assert_eq!(world.emails(), 1);
}

#[test]
fn a_wrong_password_is_refused_and_scram_finds_its_verifier() {
    let world = World::new(&[]);
    assert!(world.connect().say("USER alice@example.org\r\nPASS wrong\r\n").ends_with("-ERR [AUTH] login or password is wrong\r\n"));
    assert!(world.connect().say("USER bob@example.org\r\nPASS secret\r\n").ends_with("-ERR [AUTH] login or password is wrong\r\n"));
    let first = "biwsbj1hbGljZUBleGFtcGxlLm9yZyxyPXJPcHJOR2Z3RWJlUldnYk5Fa3FP";
    let heard = world.connect().say(&format!("AUTH SCRAM-SHA-256 {first}\r\n"));
    assert!(heard.lines().last().unwrap().starts_with("+ "), "{heard}");
}

#[test]
fn many_small_messages_cost_few_reads_and_come_whole() {
    let messages: Vec<String> = (0..100).map(|n| format!("Subject: {n}\r\n\r\n{}\r\n", "x".repeat(n * 3))).collect();
    let world = World::new(&messages.iter().map(String::as_str).collect::<Vec<_>>());
    let mut client = world.connect();
    client.login();
    for (n, message) in messages.iter().enumerate() {
        assert_eq!(client.say(&format!("RETR {}\r\n", n + 1)), format!("+OK {} octets\r\n{message}.\r\n", message.len()));
    }
    // Backwards, and by TOP.
    for (n, message) in messages.iter().enumerate().rev().step_by(7) {
        assert_eq!(client.say(&format!("TOP {} 0\r\n", n + 1)), format!("+OK {} octets\r\nSubject: {n}\r\n\r\n.\r\n", message.len()));
    }
}

#[test]
fn a_message_that_another_client_removed_is_gone() {
    let world = World::new(&[ONE, TWO]);
    let mut client = world.connect();
    client.login();
    let account = world.account;
    let removed = world.store.write_blocking(move |tx| {
        let inbox = tx.mailbox_by_role(account, Role::Inbox)?.unwrap().id;
        tx.messages_destroy(account, inbox, &"1".parse().unwrap()).map(drop)
    });
    removed.unwrap();
    assert_eq!(client.say("RETR 1\r\n"), "-ERR somebody removed this message in the meantime\r\n");
    assert!(client.say("RETR 2\r\n").starts_with("+OK "));
    client.say("DELE 1\r\nDELE 2\r\n");
    assert!(client.say("QUIT\r\n").starts_with("+OK "));
    assert_eq!(world.emails(), 0);
}

#[test]
fn nothing_is_answered_for_who_has_not_opened() {
    let world = World::new(&[]);
    let mut client = world.connect();
    let ask = Ask::Read { uid: mail::Uid(1), offset: 0, octets_max: 10 };
    assert_eq!(now_or_never(client.server.answer(ask)), Answer::Failed);
    assert_eq!(now_or_never(client.server.answer(Ask::Close { remove: mail::UidSet::new() })), Answer::Failed);
}
