//! Sessions over a real store in memory: locks, removal, reading ahead.

use access::pop3::serve::{Maildrops, Server};
use access::pop3::{Answer, Ask, Config, Connection, Limits, Session};
use mail::digest::Digest;
use mail::{AccountId, Address, Domain, Flags, Role, Timestamp};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};
use store::auth::{Authenticator, Credentials};
use store::{Body, NewAccount, NewEmail, Pop3Deletion, Pop3Message, Pop3Settings, Store};
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
    config: Config,
    /// The time, seconds since 1970.
    seconds: Arc<AtomicI64>,
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
        let world = Self {
            authenticator: Authenticator::in_place(store.clone()),
            maildrops: Maildrops::new(),
            store,
            account,
            config: Config::default(),
            seconds: Arc::default(),
        };
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

    fn settings(&self, settings: Pop3Settings) {
        let account = self.account;
        self.store.write_blocking(move |tx| tx.pop3_settings_set(account, &settings)).unwrap();
    }

    fn in_mailbox(&self, role: Role) -> u32 {
        let account = self.account;
        self.store.read_blocking(move |tx| Ok(tx.mailbox_by_role(account, role)?.unwrap().emails)).unwrap()
    }

    /// Logs in, deletes the first message and leaves.
    fn delete_first(&self) {
        let mut client = self.connect();
        client.login();
        client.say("DELE 1\r\nQUIT\r\n");
    }

    fn emails(&self) -> u64 {
        let account = self.account;
        self.store.read_blocking(move |tx| Ok(u64::from(tx.mailbox_by_role(account, Role::Inbox)?.unwrap().emails))).unwrap()
    }

    fn connect(&self) -> Client {
        let now = Instant::now();
        let config = Arc::new(Config { limits: Limits { chunk_octets_max: 100, ..Limits::default() }, ..self.config.clone() });
        let seconds = Arc::clone(&self.seconds);
        let clock = Arc::new(move || Timestamp::from_seconds(seconds.load(Ordering::Relaxed)));
        let connection = Connection { nonce: "0123456789abcdefghijklmn".to_owned(), tls: None, plaintext_login: true };
        let (store, authenticator) = (self.store.clone(), self.authenticator.clone());
        let server = Server::new(store, authenticator, self.maildrops.clone(), None, Arc::clone(&config), clock);
        Client { session: Session::new(config, connection, now), server, now }
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
    let ask = Ask::Read { mailbox: mail::MailboxId(1), uid: mail::Uid(1), offset: 0, octets_max: 10 };
    assert_eq!(now_or_never(client.server.answer(ask)), Answer::Failed);
    assert_eq!(now_or_never(client.server.answer(Ask::Close { deleted: Vec::new(), retrieved: Vec::new() })), Answer::Failed);
}

#[test]
fn deleted_messages_go_to_the_trash_or_are_hidden_if_the_owner_wants_it() {
    let world = World::new(&[ONE, TWO, ONE]);
    world.settings(Pop3Settings { deletion: Pop3Deletion::Trash, ..Pop3Settings::default() });
    world.delete_first();
    assert_eq!((world.emails(), world.in_mailbox(Role::Trash)), (2, 1));
    world.settings(Pop3Settings { deletion: Pop3Deletion::Hide, ..Pop3Settings::default() });
    world.delete_first();
    assert_eq!((world.emails(), world.in_mailbox(Role::Trash)), (2, 1));
    let mut client = world.connect();
    assert!(client.login().contains("+OK 1 message "), "one is hidden");
    client.say("QUIT\r\n");
    world.settings(Pop3Settings { deletion: Pop3Deletion::Hide, recent_days: Some(30), ..Pop3Settings::default() });
    let mut recent = world.connect();
    assert!(recent.login().contains("+OK 2 messages "), "recent mode shows what is hidden");
    recent.say("QUIT\r\n");
    world.seconds.store(31 * 86_400, Ordering::Relaxed);
    assert!(world.connect().login().contains("+OK 0 messages "), "and nothing old");
}

#[test]
fn a_maildrop_of_several_mailboxes() {
    let world = World::new(&[ONE, TWO]);
    world.settings(Pop3Settings { deletion: Pop3Deletion::Trash, ..Pop3Settings::default() });
    world.delete_first();
    world.settings(Pop3Settings {
        folders: vec!["INBOX".into(), "Nowhere".into(), "Trash".into(), "INBOX".into()],
        ..Pop3Settings::default()
    });
    let mut client = world.connect();
    assert!(client.login().contains("+OK 2 messages "));
    assert!(client.say("RETR 1\r\n").contains("second") && client.say("RETR 2\r\n").contains("first"));
    assert!(client.say("RETR 1\r\n").contains("second"), "back again");
    let uidls = client.say("UIDL\r\n");
    let [_, one, two, _] = uidls.lines().collect::<Vec<_>>()[..] else { panic!("{uidls}") };
    assert_ne!(one.split(' ').nth(1), two.split(' ').nth(1));
    client.say("DELE 1\r\nDELE 2\r\nQUIT\r\n");
    assert_eq!((world.emails(), world.in_mailbox(Role::Trash)), (0, 0));
}

#[test]
fn unique_ids_are_those_of_the_server_that_messages_come_from() {
    let world = World::new(&[ONE, TWO]);
    let account = world.account;
    let known = Pop3Message { uidl: Some("old-1".into()), ..Pop3Message::default() };
    let kept = world.store.write_blocking(move |tx| {
        let inbox = tx.mailbox_by_role(account, Role::Inbox)?.unwrap();
        tx.pop3_message_set(account, inbox.id, mail::Uid(1), &known)?;
        Ok(inbox.uid_validity.0)
    });
    world.settings(Pop3Settings { uidl_format: Some("courier".into()), ..Pop3Settings::default() });
    let mut client = world.connect();
    client.login();
    assert_eq!(client.say("UIDL\r\n"), format!("+OK unique ids follow\r\n1 old-1\r\n2 UID2-{}\r\n.\r\n", kept.unwrap()));
}

#[test]
fn logins_have_time_between_them_where_that_is_wanted() {
    let mut world = World::new(&[ONE]);
    world.config.login_delay = Duration::from_mins(5);
    let come = |world: &World| {
        let mut client = world.connect();
        let heard = client.login();
        client.say("QUIT\r\n");
        heard.lines().last().unwrap().to_owned()
    };
    for (seconds, want) in [(0, "+OK 1 message "), (299, "-ERR [LOGIN-DELAY] "), (300, "+OK 1 message "), (301, "-ERR [LOGIN-DELAY] ")] {
        world.seconds.store(seconds, Ordering::Relaxed);
        let heard = come(&world);
        assert!(heard.starts_with(want), "{seconds}: {heard}");
    }
}

#[test]
fn fetched_messages_expire_and_others_do_not() {
    let mut world = World::new(&[ONE, TWO]);
    let fetch = |world: &World, day: i64| {
        world.seconds.store(day * 86_400, Ordering::Relaxed);
        let mut client = world.connect();
        client.login();
        client.say("RETR 1\r\nTOP 2 9\r\nQUIT\r\n");
    };
    fetch(&world, 1);
    assert_eq!(world.emails(), 2, "without the setting nothing goes");
    world.config.expire_days = Some(30);
    fetch(&world, 10);
    world.seconds.store(39 * 86_400, Ordering::Relaxed);
    let mut early = world.connect();
    early.login();
    early.say("QUIT\r\n");
    assert_eq!(world.emails(), 2);
    world.seconds.store(40 * 86_400, Ordering::Relaxed);
    let mut late = world.connect();
    late.login();
    late.say("QUIT\r\n");
    assert_eq!(world.emails(), 1, "what was only looked at stays");
    world.config.expire_days = Some(0);
    fetch(&world, 41);
    assert_eq!(world.emails(), 0, "EXPIRE 0: what was fetched goes at QUIT");
}

#[test]
fn several_sessions_share_a_maildrop_where_that_is_wanted() {
    let mut world = World::new(&[ONE, TWO]);
    world.config.exclusive = false;
    let (mut first, mut second) = (world.connect(), world.connect());
    assert!(first.login().contains("+OK 2 messages ") && second.login().contains("+OK 2 messages "));
    first.say("DELE 1\r\nQUIT\r\n");
    assert!(second.say("RETR 1\r\n").starts_with("-ERR somebody removed"));
    assert!(second.say("DELE 1\r\nDELE 2\r\nQUIT\r\n").ends_with("+OK bye, 2 messages removed\r\n"));
    assert_eq!((world.emails(), world.maildrops.open()), (0, 0));
}
