//! Plays SMTP transcripts to a real server session with a real `Receiver` over a store in memory, and
//! looks at what the store holds afterwards.
//!
//! | mark | meaning |
//! |---|---|
//! | `@ mx`, `@ submission`, `@ lmtp` | a new connection of this role from 192.0.2.1 |
//! | `@ from ADDRESS` | later connections come from there |
//! | `@ as LOGIN` | the connection is signed in as this account |
//! | `@ folders SEPARATORS`, `@ create LOGIN NAME` | mail is filed by subaddress; there is this mailbox |
//! | `C:`, `S:` | as in `wire::transcript` |
//! | `B:` | the last BDAT with these octets, escaped as in `wire::transcript` |
//! | `= octets` | the octets of the last queued message |
//! | `= mailbox LOGIN [NAME]`, `= queue`, `= trail` | what the store holds; the trail of the latest receipt |
//! | `@ proxy` | later connections may say for whom they speak |
//! | `@ hold LOGIN SECONDS` | what the account sends waits so long |
//!
//! `UPDATE=1` rewrites the files. Not for sockets: those are the server's tests.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test: its purpose is to fail")]

use crate::context;
use mail::{Address, Domain, Timestamp, Uid};
use mta::Settings;
use mta::receive::{Context, Receiver};
use smtp::server::{Answer, Ask, Config, Connection, Role, Server};
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use store::auth::Credentials;
use store::{NewAccount, Store, Target};
use wire::sasl::{Mechanism, SaslAnswer, SaslAsk};
use wire::{Handler, Input, Output, Session};

fn address(text: &str) -> Address {
    Address::parse(text).unwrap()
}

/// ours.example with ann, bob (1,000 octets of room), cyd (disabled), some aliases; catchall.example.
fn store() -> Store {
    let store = Store::memory();
    store
        .write_blocking(|tx| {
            let now = Timestamp::from_seconds(1_600_000_000);
            let (ours, all) = (Domain::parse("ours.example").unwrap(), Domain::parse("catchall.example").unwrap());
            tx.domain_add(&ours, now)?;
            tx.domain_add(&all, now)?;
            tx.secret_keep(store::RETURN_PATH_SECRET, [7; 32])?;
            let (gone, last) = (address("gone@far.example"), Timestamp::from_seconds(1_699_000_000));
            let until = Some(Timestamp::from_seconds(1_700_500_000));
            tx.suppression_set(None, &store::Suppression { address: gone, failures: 2, last, until, reason: "550 no such user".into() })?;
            let mut create = |name: &str, quota| {
                let credentials = Credentials::none();
                let new = NewAccount { address: address(name), name: name.to_owned(), credentials, quota_octets_max: quota };
                tx.account_create(new, now)
            };
            let ann = create("ann@ours.example", None)?;
            let bob = create("bob@ours.example", Some(1000))?;
            let cyd = create("cyd@ours.example", None)?;
            tx.account_set_enabled(cyd, false)?;
            tx.alias_set(&address("info@ours.example"), vec![Target::Account(ann), Target::Account(bob)])?;
            tx.alias_set(&address("away@ours.example"), vec![Target::Address(address("ann@far.example"))])?;
            tx.alias_set(&address("both@ours.example"), vec![Target::Account(ann), Target::Address(address("ann@far.example"))])?;
            tx.domain_catch_all_set(&all, Some(vec![Target::Account(ann)]))
        })
        .unwrap();
    store
}

struct Stage {
    context: Arc<Context>,
    peer: std::net::IpAddr,
    xclient: bool,
    connection: Option<(Server, Receiver)>,
    said: Vec<u8>,
    out: String,
}

impl Stage {
    fn new() -> Self {
        let store = store();
        let mut settings = Settings::new(Domain::parse("mx.ours.example").unwrap());
        settings.receive.relay_networks = vec!["198.51.100.0/24".parse().unwrap()];
        settings.receive.verify = true;
        settings.receive.hops_max = 3;
        settings.receive.header_octets_max = 70_000;
        settings.routes = vec![mta::route::Rule {
            matching: mta::route::Matching::Recipients(vec![mta::route::Pattern::parse("backup.example").unwrap()]),
            accept: true,
            next: mta::route::Next::Mx,
        }];
        let context = context::of(&store, settings);
        let peer = "192.0.2.1".parse().unwrap();
        Self { context: Arc::new(context), peer, xclient: false, connection: None, said: Vec::new(), out: String::new() }
    }

    fn line(&mut self, line: &str) {
        if line.starts_with("S:") || line.starts_with("> ") || line == ">" {
            return;
        }
        let _ = writeln!(self.out, "{line}");
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["@", "from", peer] => self.peer = peer.parse().unwrap(),
            ["@", "as", login] => self.sign_in(login),
            ["@", "proxy"] => self.xclient = true,
            ["@", role] => self.connect(role),
            ["@", "folders", separators] => self.folders(separators),
            ["@", "create", login, name] => self.create(login, name),
            ["=", "octets"] => self.octets(),
            ["@", "hold", login, seconds] => self.hold(login, seconds.parse().unwrap()),
            ["=", "mailbox", login] => self.mailbox(login, "INBOX"),
            ["=", "mailbox", login, name] => self.mailbox(login, name),
            ["=", "queue"] => self.queue(),
            ["=", "trail"] => self.trail(),
            _ => {
                if let Some(text) = line.strip_prefix("B: ") {
                    self.raw(&wire::transcript::octets(text));
                }
                if let Some(text) = line.strip_prefix("C:") {
                    self.client(text.strip_prefix(' ').unwrap_or(text));
                }
            }
        }
    }

    fn connect(&mut self, role: &str) {
        let role = match role {
            "mx" => Role::Mx,
            "submission" => Role::Submission,
            "lmtp" => Role::Lmtp,
            other => panic!("no such role: {other}"),
        };
        let connection = Connection {
            peer: self.peer,
            nonce: "n".repeat(24),
            tls: None,
            wall: Timestamp::from_seconds(1_700_000_000),
            xclient: self.xclient,
        };
        let mut config = Config::new("mx.ours.example", role);
        config.auth_needs_tls = false;
        config.mechanisms = if role == Role::Submission { vec![Mechanism::Plain] } else { Vec::new() };
        config.mt_priority = true;
        config.deliver_by = true;
        config.binary_mime = true;
        config.etrn = role != Role::Lmtp;
        config.hold_max = (role == Role::Submission).then_some(std::time::Duration::from_hours(24));
        let server = Server::new(Arc::new(config), connection, self.context.clock.now());
        self.connection = Some((server, Receiver::new(Arc::clone(&self.context), role, self.peer)));
        self.drain();
    }

    /// Signs in with AUTH PLAIN; every password is right: credentials are the store's own test.
    fn sign_in(&mut self, login: &str) {
        self.client(&format!("AUTH PLAIN {}", base64(format!("\0{login}\0x").as_bytes())));
    }

    fn authenticate(&self, ask: SaslAsk) -> SaslAnswer {
        let SaslAsk::Password { login, .. } = ask else { panic!("{ask:?}") };
        let found = self.context.store.read_blocking({
            let login = login.clone();
            move |tx| tx.account_by_login(&login)
        });
        SaslAnswer::Account { account: found.unwrap().unwrap().id.0, login }
    }

    fn client(&mut self, text: &str) {
        let (server, _) = self.connection.as_mut().expect("no connection yet");
        let repeated = match text.split_once('*') {
            Some((count, line)) if count.parse::<usize>().is_ok() => format!("{line}\r\n").repeat(count.parse().unwrap()),
            _ => format!("{text}\r\n"),
        };
        server.handle(self.context.clock.now(), Input::Bytes(repeated.as_bytes()));
        self.drain();
    }

    fn drain(&mut self) {
        loop {
            let (server, receiver) = self.connection.as_mut().unwrap();
            match server.poll() {
                Output::Send(bytes) => self.said.extend_from_slice(&bytes),
                Output::Ask(Ask::Auth(ask)) => {
                    let answer = self.authenticate(ask);
                    let (server, _) = self.connection.as_mut().unwrap();
                    server.handle(self.context.clock.now(), Input::Answer(Answer::Auth(answer)));
                }
                Output::Ask(ask) => {
                    let answer = block_on(receiver.answer(ask));
                    server.handle(self.context.clock.now(), Input::Answer(answer));
                }
                Output::Wait(_) | Output::StartTls => break,
                Output::Close => {
                    self.said.extend_from_slice(b"[closes]\r\n");
                    break;
                }
            }
        }
        for line in std::mem::take(&mut self.said).split_inclusive(|byte| *byte == b'\n') {
            let line = wire::transcript::escape(line.strip_suffix(b"\r\n").unwrap_or(line));
            let _ = writeln!(self.out, "S: {line}");
        }
    }

    fn show(&mut self, text: &str) {
        for line in text.lines() {
            let line = if line.len() > 120 { format!("{}… {} octets", &line[..60], line.len()) } else { line.to_owned() };
            let _ = writeln!(self.out, "{}", format!("> {line}").trim_end());
        }
    }

    fn folders(&mut self, separators: &str) {
        let context = Arc::get_mut(&mut self.context).expect("before the first connection");
        let settings = Arc::get_mut(&mut context.settings).unwrap();
        settings.receive.subaddress = mta::settings::Subaddress { folders: true, separators: separators.to_owned() };
    }

    fn create(&self, login: &str, name: &str) {
        let (login, name) = (login.to_owned(), name.to_owned());
        let create = move |tx: &mut store::WriteTx| {
            let account = tx.account_by_login(&login)?.unwrap().id;
            tx.mailbox_create(account, &name, None)
        };
        self.context.store.write_blocking(create).unwrap();
    }

    fn raw(&mut self, octets: &[u8]) {
        let (server, _) = self.connection.as_mut().expect("no connection yet");
        let chunk = [format!("BDAT {} LAST\r\n", octets.len()).as_bytes(), octets].concat();
        server.handle(self.context.clock.now(), Input::Bytes(&chunk));
        self.drain();
    }

    fn octets(&mut self) {
        let octets = self.context.store.read_blocking(|tx| {
            let last = tx.queue_all(mail::ReceiptId(0), 100)?.pop().expect("a queued message");
            tx.blob_read(&last.blob, last.skip_octets.into(), usize::MAX)
        });
        let octets = octets.unwrap();
        for line in octets.split_inclusive(|octet| *octet == b'\n') {
            let _ = writeln!(self.out, "> {}", wire::transcript::escape(line));
        }
    }

    fn hold(&self, login: &str, seconds: u64) {
        let login = login.to_owned();
        let set = move |tx: &mut store::WriteTx| {
            let account = tx.account_by_login(&login)?.unwrap().id;
            tx.hold_set(account, Some(std::time::Duration::from_secs(seconds)))
        };
        self.context.store.write_blocking(set).unwrap();
    }

    fn mailbox(&mut self, login: &str, name: &str) {
        let (login, name) = (login.to_owned(), name.to_owned());
        let read = self.context.store.read_blocking(move |tx| {
            let account = tx.account_by_login(&login)?.unwrap().id;
            let Some(mailbox) = tx.mailbox_by_name(account, &name)? else { return Ok("[no such mailbox]".to_owned()) };
            let mut texts = Vec::new();
            for message in tx.messages(account, mailbox.id, Uid(1), Uid(u32::MAX), 100)? {
                let text = tx.blob_read(&message.blob, 0, usize::MAX)?;
                let flags: Vec<_> = message.flags.iter().map(|flag| flag.to_string()).collect();
                let gap = if flags.is_empty() { "" } else { " " };
                texts.push(format!("[{} {} octets{gap}{}]\n{}", message.uid, text.len(), flags.join(" "), String::from_utf8_lossy(&text)));
            }
            Ok(texts.join("\n"))
        });
        self.show(&read.unwrap());
    }

    fn queue(&mut self) {
        let all = self.context.store.read_blocking(|tx| tx.queue_all(mail::ReceiptId(0), 100)).unwrap();
        for message in all {
            let recipients: Vec<_> =
                message.recipients.iter().map(|r| format!("<{}> {:?}", r.recipient.address, r.recipient.original)).collect();
            let shown = format!(
                "{} from <{}> body {:?} ret {:?} envid {:?} skip {} octets {} to {}",
                message.receipt,
                message.reverse_path,
                message.body,
                message.ret,
                message.envelope_id,
                message.skip_octets,
                message.octets,
                recipients.join(", ")
            );
            let _ = writeln!(self.out, "> {shown}");
            if message.terms != mail::Terms::default() {
                let (due, expires) = (message.due().map(Timestamp::seconds), message.expires.seconds());
                let _ = writeln!(self.out, "> due {due:?} expires {expires} {:?}", message.terms);
            }
        }
    }

    fn trail(&mut self) {
        let entries = self.context.store.read_blocking(|tx| {
            let mut latest = Vec::new();
            for counter in 0..16 {
                let receipt = mail::ReceiptId((1_700_000_000_000 << 20) | counter);
                let trail = tx.trail(receipt)?;
                latest = if trail.is_empty() { latest } else { trail };
            }
            Ok(latest)
        });
        for entry in entries.unwrap() {
            let _ = writeln!(self.out, "> {:?}", entry.event);
        }
    }
}

fn base64(octets: &[u8]) -> String {
    mail::encoding::base64(octets)
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

#[test]
fn transcripts() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/receive");
    let mut wrong = Vec::new();
    for path in wire::transcript::scripts(&folder) {
        let want = std::fs::read_to_string(&path).unwrap();
        let mut stage = Stage::new();
        want.lines().for_each(|line| stage.line(line));
        if stage.out != want && std::env::var_os("UPDATE").is_some() {
            std::fs::write(&path, &stage.out).unwrap();
        } else if stage.out != want {
            let differs = want.lines().zip(stage.out.lines()).position(|(a, b)| a != b).unwrap_or(0);
            wrong.push(format!("{}:{}\n{}", path.display(), differs + 1, stage.out));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
