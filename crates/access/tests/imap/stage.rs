//! Plays a script to real sessions and the real server over a store in memory.
//!
//! | mark | meaning |
//! |---|---|
//! | `C: text`, `C2: text` | client 1 or 2 sends it; escapes as in `wire::transcript` |
//! | `S: text`, `S2: text` | what the server says to that client |
//! | `@ mail MAILBOX TEXT` | Ann gets this message; `<name` stands for the file `tests/mail/name` |
//! | `@ many COUNT MAILBOX` | Ann gets that many small messages |
//! | `@ flags MAILBOX UID FLAGS` | another program sets flags |
//! | `@ expunge MAILBOX UID` | another program removes a message |
//! | `@ delete MAILBOX` | another program deletes a mailbox |
//! | `@ outbox RECEIPT TEXT` | Ann has sent this message, which waits in her Outbox |
//! | `@ release RECEIPT`, `@ sent RECEIPT` | its time comes; it is sent |
//! | `@ queue` | behind `S=` is what is queued, `held` if it does not leave, and what was last said of each message |
//! | `@ quota OCTETS` | Ann's quota |
//! | `@ account NAME` | there is NAME@example.org too |
//! | `@ give MAILBOX NAME RIGHTS` | Ann gives NAME, or `anyone`, rights to her mailbox |
//! | `@ administrator` | Ann is an administrator |
//! | `@ other NAME [MAILBOX]` | client 2 is logged in as NAME and has selected |
//! | `@ ready [MAILBOX]`, `@ ready2 [MAILBOX]` | the client is logged in and has selected; nothing of it is shown |
//! | `@ slow SECONDS` | each look at the clock takes that long; before the first client |
//! | `@ limit NAME NUMBER` | a field of `Limits`; before the first client |
//! | `@ jmap URL` | JMAP is served there; before the first client |
//! | `@ secure` | passwords are taken under TLS only |
//! | `@ tls`, `@ eof`, `@ +SECONDS` | of client 1; time passes for both |
//! | `@ raw HEX` | client 1 sends these octets as they are, whatever is compressed |
//! | `# words` | a comment |
//!
//! A client that is told `DEFLATE active` deflates and inflates from there to UNAUTHENTICATE; what is shown is text.
//!
//! The time is 2026-11-21 12:00:00 UTC; Ann is ann@example.org and her password is `secret`.

use access::imap::compression::Compression;
use access::imap::serve::{Server, Shared};
use access::imap::{Answer, Ask, Config, Session};
use mail::digest::Digest;
use mail::{AccountId, Address, Domain, Flag, MailboxId, ReceiptId, Recipient, Rights, Timestamp, Uid, UidSet};
use std::pin::pin;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};
use store::auth::{Authenticator, Credentials, Tokens};
use store::{Body, FlagChange, Grant, Grantee, NewAccount, NewEmail, QueueMessage, QueueRecipient, RecipientState, Store};
use wire::sasl::{Mechanism, SaslAnswer, Secret, TokenError};
use wire::transcript::{escape, octets};
use wire::{Handler, Input, Output, Session as _, Tls};

const NOON: i64 = 1_795_262_400;

static CREDENTIALS: LazyLock<Credentials> = LazyLock::new(|| Credentials::new(&Secret::new("secret")).unwrap());

/// A store with Ann in it, and what tells its time.
pub(crate) struct World {
    pub(crate) store: Store,
    pub(crate) account: AccountId,
    tokens: Arc<Tokens>,
    tls: Option<Tls>,
    pub(crate) config: Config,
    seconds: Arc<AtomicI64>,
    /// How much time passes whenever the server looks at the clock.
    slowness: i64,
    shared: Option<Arc<Shared>>,
}

/// One connection.
pub(crate) struct Client {
    session: Session,
    server: Server,
    said: Vec<u8>,
    /// The client's side of COMPRESS.
    compression: Option<Compression>,
    deadline: Option<Instant>,
    pub(crate) closed: bool,
    /// Octets of the largest piece the session had in hand.
    pub(crate) largest: usize,
}

impl World {
    pub(crate) fn new() -> Self {
        let store = Store::memory();
        let now = Timestamp::from_seconds(NOON);
        let account = store
            .write_blocking(move |tx| {
                tx.domain_add(&Domain::parse("example.org").unwrap(), now)?;
                let address = Address::parse("ann@example.org").unwrap();
                let new = NewAccount { address, name: "Ann".into(), credentials: CREDENTIALS.clone(), quota_octets_max: None };
                tx.account_create(new, now)
            })
            .unwrap();
        let config = Config { plaintext_login: true, ..Config::default() };
        Self {
            store,
            account,
            tokens: Arc::default(),
            tls: None,
            config,
            seconds: Arc::new(AtomicI64::new(NOON)),
            slowness: 0,
            shared: None,
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::from_seconds(self.seconds.load(Ordering::Relaxed))
    }

    fn shared(&mut self) -> Arc<Shared> {
        let (seconds, slowness) = (self.seconds.clone(), self.slowness);
        let clock = Arc::new(move || Timestamp::from_seconds(seconds.fetch_add(slowness, Ordering::Relaxed)));
        let new = || {
            let authenticator = Authenticator::in_place(self.store.clone()).taking(self.tokens.clone());
            Arc::new(Shared::new(self.store.clone(), authenticator, Arc::new(self.config.clone()), clock))
        };
        self.shared.get_or_insert_with(new).clone()
    }

    fn limit(&mut self, name: &str, number: u32) {
        let limits = &mut self.config.limits;
        match name {
            "save_messages" => limits.save_messages_max = number,
            "command_messages" => limits.command_messages_max = Some(number),
            "append_octets" => limits.append_octets_max = number.into(),
            "literals_octets" => limits.literals_octets_max = number.into(),
            "line_octets" => limits.line_octets_max = number as usize,
            other => panic!("unknown limit: {other}"),
        }
    }

    pub(crate) fn connect(&mut self, now: Instant) -> Client {
        let shared = self.shared();
        let config = Arc::new(self.config.clone());
        let session = Session::new(config, "nonce-nonce-nonce-nonce-1".into(), self.tls.clone(), now);
        let server = Server::new(shared, [127, 0, 0, 1].into());
        Client { session, server, said: Vec::new(), compression: None, deadline: None, closed: false, largest: 0 }
    }

    /// A client that is logged in, and has selected if a mailbox is named.
    pub(crate) fn ready(&mut self, now: Instant, mailbox: &str) -> Client {
        self.ready_as(now, self.account, mailbox)
    }

    /// Makes NAME@example.org.
    pub(crate) fn account_add(&self, name: &str) -> AccountId {
        let (address, now) = (Address::parse(&format!("{name}@example.org")).unwrap(), self.now());
        let new = NewAccount { address, name: String::new(), credentials: CREDENTIALS.clone(), quota_octets_max: None };
        self.store.write_blocking(move |tx| tx.account_create(new.clone(), now)).unwrap()
    }

    /// The account of NAME@example.org.
    fn account_of(&self, name: &str) -> AccountId {
        let login = format!("{name}@example.org");
        self.store.read_blocking(move |tx| tx.account_by_login(&login)).unwrap().expect("an account").id
    }

    pub(crate) fn ready_as(&mut self, now: Instant, account: AccountId, mailbox: &str) -> Client {
        let mut client = self.connect(now);
        client.session.handle(now, Input::Bytes(b"x LOGIN ann@example.org secret\r\n"));
        while let output = client.session.poll()
            && !matches!(output, Output::Ask(Ask::Auth(_)))
        {
            assert!(matches!(output, Output::Send(_)), "{output:?}");
        }
        // Argon2 is dear, and other scripts show it.
        let answer = SaslAnswer::Account { account: account.0, login: "ann@example.org".into() };
        client.session.handle(now, Input::Answer(Answer::Auth(answer)));
        client.pump(now);
        if !mailbox.is_empty() {
            client.send(now, format!("x SELECT \"{mailbox}\"\r\n").as_bytes());
        }
        client.said.clear();
        client
    }

    pub(crate) fn mailbox(&self, name: &str) -> MailboxId {
        self.mailbox_of(self.account, name)
    }

    fn mailbox_of(&self, account: AccountId, name: &str) -> MailboxId {
        let name = name.to_owned();
        self.store.read_blocking(move |tx| Ok(tx.mailbox_by_name(account, &name)?.map(|mailbox| mailbox.id))).unwrap().expect("a mailbox")
    }

    pub(crate) fn deliver(&self, mailbox: &str, message: &[u8]) {
        self.deliver_to(self.account, mailbox, message);
    }

    pub(crate) fn deliver_to(&self, account: AccountId, mailbox: &str, message: &[u8]) {
        let (mailbox, now) = (self.mailbox_of(account, mailbox), self.now());
        let (body, digest) = (Body::new(message), Digest::of(message));
        let add = move |tx: &mut store::WriteTx| {
            let new = NewEmail { body: &body, digest: &digest, flags: mail::Flags::default(), internal_date: now, saved: now };
            tx.email_add(account, mailbox, new)
        };
        self.store.write_blocking(add).unwrap();
    }

    /// Every mechanism, and one token of ann's.
    fn take_tokens(&mut self) {
        self.config.mechanisms = Mechanism::ALL.to_vec();
        let openid_configuration = Some("https://id.example/.well-known/openid-configuration".into());
        self.tokens = Arc::new(Tokens { own: true, issuer: None, hints: TokenError { scope: Some("imap".into()), openid_configuration } });
        let (account, now) = (self.account, self.now());
        self.store.write_blocking(move |tx| tx.token_add(account, "", [7; 20], None, now).map(drop)).unwrap();
    }

    fn event(&mut self, event: &str) {
        let (verb, rest) = event.split_once(' ').unwrap_or((event, ""));
        let (mailbox, argument) = rest.split_once(' ').unwrap_or((rest, ""));
        let account = self.account;
        match verb {
            "mail" => self.deliver(mailbox, &message(argument)),
            "many" => (1..=mailbox.parse().unwrap()).for_each(|n: u32| self.deliver(argument, small(n).as_bytes())),
            "flags" => {
                let (uid, flags) = argument.split_once(' ').unwrap();
                let change = FlagChange::Set(flags.replace("\\\\", "\\").split(' ').filter_map(Flag::parse).collect());
                let (uids, mailbox) = (uid.parse::<UidSet>().unwrap(), self.mailbox(mailbox));
                self.store.write_blocking(move |tx| tx.flags_change(account, mailbox, &uids, &change, None)).unwrap();
            }
            "expunge" => {
                let (uids, mailbox) = (argument.parse::<UidSet>().unwrap(), self.mailbox(mailbox));
                self.store.write_blocking(move |tx| tx.messages_destroy(account, mailbox, &uids)).unwrap();
            }
            "delete" => {
                let mailbox = self.mailbox(mailbox);
                self.store.write_blocking(move |tx| tx.mailbox_delete(account, mailbox)).unwrap();
            }
            "outbox" => self.outbox(ReceiptId(mailbox.parse().unwrap()), &message(argument)),
            "release" => {
                let (receipt, now) = (ReceiptId(mailbox.parse().unwrap()), self.now());
                self.store.write_blocking(move |tx| tx.outbox_release(receipt, now)).unwrap();
            }
            "sent" => {
                let receipt = ReceiptId(mailbox.parse().unwrap());
                self.store.write_blocking(move |tx| tx.queue_remove(receipt)).unwrap();
            }
            "quota" => {
                let octets = mailbox.parse().unwrap();
                self.store.write_blocking(move |tx| tx.account_set_quota(account, Some(octets))).unwrap();
            }
            "account" => drop(self.account_add(mailbox)),
            "give" => {
                let (name, rights) = argument.split_once(' ').unwrap_or((argument, ""));
                let grantee = if name == "anyone" { Grantee::Anyone } else { Grantee::Account(self.account_of(name)) };
                let (mailbox, rights) = (self.mailbox(mailbox), Rights::parse(rights).unwrap());
                let grant = Grant { grantee, negative: false, rights };
                self.store.write_blocking(move |tx| tx.grant_set(account, mailbox, grant)).unwrap();
            }
            "administrator" => self.store.write_blocking(move |tx| tx.account_set_administrator(account, true)).unwrap(),
            "slow" => self.slowness = mailbox.parse().unwrap(),
            "limit" => self.limit(mailbox, argument.parse().unwrap()),
            "jmap" => self.config.jmap_url = Some(mailbox.into()),
            "tokens" => self.take_tokens(),
            "certificate" => {
                self.config.mechanisms = Mechanism::ALL.to_vec();
                self.tls = Some(Tls { verified: true, client_addresses: vec![mailbox.into()], ..Tls::default() });
            }
            "secure" => self.config.plaintext_login = false,
            other => panic!("unknown event: @ {other}"),
        }
    }

    /// Ann has sent a message that waits.
    fn outbox(&self, receipt: ReceiptId, text: &[u8]) {
        let (account, now) = (self.account, self.now());
        let (body, digest) = (Body::new(text), Digest::of(text));
        let next = now.after(Duration::from_hours(1));
        let recipient = Recipient::new(Address::parse("bob@far.example").unwrap());
        let message = QueueMessage {
            receipt,
            source: mail::event::Source::Submission,
            reverse_path: mail::ReversePath(Address::parse("ann@example.org").ok()),
            ret: None,
            envelope_id: None,
            body: mail::BodyType::SevenBit,
            smtputf8: false,
            blob: body.hash(),
            skip_octets: 0,
            octets: body.octets(),
            accepted: now,
            expires: next,
            held: false,
            account: Some(account),
            recipients: vec![QueueRecipient {
                recipient,
                state: RecipientState::Open { attempts: 0, next, delay_reported: false, last: None },
            }],
            tls: mail::TlsDemand::ByPolicy,
            terms: mail::Terms { hold_until: Some(next), ..mail::Terms::default() },
            return_paths: std::collections::BTreeMap::new(),
            held_by: None,
            release_request: None,
        };
        let send = move |tx: &mut store::WriteTx| {
            tx.receipt_take(receipt)?;
            tx.queue_add(&message, &body)?;
            tx.outbox_add(account, receipt, &body, &digest, now)
        };
        self.store.write_blocking(send).unwrap().expect("room");
    }

    /// Every Uid of a mailbox.
    pub(crate) fn uids(&self, mailbox: &str) -> UidSet {
        let (account, mailbox) = (self.account, self.mailbox(mailbox));
        self.store.read_blocking(move |tx| tx.uids(account, mailbox)).unwrap()
    }

    /// The ModSeq of a message.
    pub(crate) fn mod_seq(&self, mailbox: &str, uid: Uid) -> u64 {
        let (account, mailbox) = (self.account, self.mailbox(mailbox));
        self.store.read_blocking(move |tx| tx.message(account, mailbox, uid)).unwrap().expect("a message").mod_seq.0
    }

    /// The flags of a message.
    pub(crate) fn flags(&self, mailbox: &str, uid: Uid) -> mail::Flags {
        let (account, mailbox) = (self.account, self.mailbox(mailbox));
        self.store.read_blocking(move |tx| tx.message(account, mailbox, uid)).unwrap().expect("a message").flags
    }
}

fn message(text: &str) -> Vec<u8> {
    match text.strip_prefix('<') {
        Some(file) => {
            let path = format!("{}/tests/mail/{file}", env!("CARGO_MANIFEST_DIR"));
            std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}")).replace('\n', "\r\n").into_bytes()
        }
        None => octets(&format!("{text}\\")),
    }
}

/// What is offered after login is shown once, by CAPABILITY, not in each script that logs in.
fn without_capabilities(line: String) -> String {
    match line.split_once(" OK [CAPABILITY ") {
        Some((tag, rest)) if rest.ends_with("] Logged in") => format!("{tag} OK [CAPABILITY ...] Logged in"),
        _ => line,
    }
}

fn small(n: u32) -> String {
    format!(
        "From: Bob <bob@example.net>\r\nTo: ann@example.org\r\nSubject: Number {n}\r\nMessage-ID: <{n}@example.net>\r\n\r\nText {n}\r\n"
    )
}

impl Client {
    /// Sends octets and lets the server answer them.
    pub(crate) fn send(&mut self, now: Instant, octets: &[u8]) {
        if self.closed {
            return;
        }
        let deflated = self.compression.as_mut().map(|compression| compression.deflate(octets));
        self.send_raw(now, deflated.as_deref().unwrap_or(octets));
    }

    /// Sends octets that are deflated already, or ought to be.
    pub(crate) fn send_raw(&mut self, now: Instant, octets: &[u8]) {
        self.session.handle(now, Input::Bytes(octets));
        self.pump(now);
    }

    /// Reads what the server sent.
    fn read(&mut self, octets: &[u8]) {
        let Some(compression) = &mut self.compression else {
            self.said.extend_from_slice(octets);
            if self.said.ends_with(b" OK DEFLATE active\r\n") {
                self.compression = Some(Compression::default());
            }
            return;
        };
        compression.push(octets);
        while compression.has_input() {
            self.said.extend(compression.inflate().unwrap());
        }
        if self.said.ends_with(b" OK Logged out, not gone\r\n") {
            self.compression = None;
        }
    }

    /// What answers it.
    pub(crate) const fn server_mut(&mut self) -> &mut Server {
        &mut self.server
    }

    /// What the server has said since the last time.
    pub(crate) fn heard(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.said)
    }

    /// Runs the session and its server until they wait for the client.
    pub(crate) fn pump(&mut self, now: Instant) {
        while !self.closed {
            match self.session.poll() {
                Output::Send(octets) => {
                    self.largest = self.largest.max(octets.len());
                    self.read(&octets);
                }
                Output::Ask(ask) => {
                    let answer = block_on(self.server.answer(ask));
                    self.session.handle(now, Input::Answer(answer));
                }
                Output::StartTls => self.said.extend_from_slice(b"[starts TLS]\r\n"),
                Output::Close => {
                    self.said.extend_from_slice(b"[closes]\r\n");
                    self.closed = true;
                }
                Output::Wait(until) => {
                    self.deadline = Some(until);
                    let pushed = pin!(self.server.pushed()).poll(&mut Context::from_waker(Waker::noop()));
                    match pushed {
                        Poll::Ready(push) => self.session.handle(now, Input::Push(push)),
                        Poll::Pending => return,
                    }
                }
            }
        }
    }

    fn input(&mut self, now: Instant, input: Input<'_, Answer, access::imap::Push>) {
        if !self.closed {
            self.session.handle(now, input);
            self.pump(now);
        }
    }
}

/// A store in memory answers at once.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("the store in memory does not wait"),
    }
}

/// A script being played.
struct Stage<'a> {
    world: World,
    clients: Vec<Option<Client>>,
    now: Instant,
    out: String,
    /// Cuts what a client sends.
    split: &'a mut dyn FnMut(&[u8]) -> Vec<Vec<u8>>,
}

/// Plays a script and returns it with what the server really said. `split` cuts what clients send.
pub(crate) fn play(script: &str, split: &mut dyn FnMut(&[u8]) -> Vec<Vec<u8>>) -> String {
    let mut stage = Stage { world: World::new(), clients: vec![None, None], now: Instant::now(), out: String::new(), split };
    for line in script.lines().filter(|line| !line.starts_with('S')) {
        stage.line(line);
    }
    stage.out
}

impl Stage<'_> {
    fn line(&mut self, line: &str) {
        self.out.push_str(line);
        self.out.push('\n');
        let text = |start: usize| line.get(start..).unwrap_or_default();
        match line.split(' ').next().unwrap_or_default() {
            "C:" => self.say(0, text(3)),
            "C2:" => self.say(1, text(4)),
            "@" => self.event(text(2)),
            _ => {}
        }
        self.note();
    }

    fn client(&mut self, number: usize) -> &mut Client {
        if self.clients[number].is_none() {
            let mut client = self.world.connect(self.now);
            client.pump(self.now);
            self.clients[number] = Some(client);
        }
        self.clients[number].as_mut().unwrap()
    }

    fn say(&mut self, number: usize, text: &str) {
        let now = self.now;
        for piece in (self.split)(&octets(text)) {
            self.client(number).send(now, &piece);
        }
    }

    fn event(&mut self, event: &str) {
        let now = self.now;
        match event.split_once(' ').unwrap_or((event, "")) {
            ("connect", _) => drop(self.client(0)),
            ("tls", _) => {
                let tls = Tls { version: "TLSv1.3".into(), exporter: Some([7; 32]), ..Tls::default() };
                self.client(0).input(now, Input::TlsStarted(tls));
            }
            ("raw", hex) => {
                let octet = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
                let octets: Vec<_> = (0..hex.len()).step_by(2).map(octet).collect();
                self.client(0).send_raw(now, &octets);
            }
            ("queue", _) => self.queue(),
            ("eof", _) => self.client(0).input(now, Input::Eof),
            ("stop", _) => {
                self.client(0).session.stop(now);
                self.client(0).pump(now);
            }
            ("ready", mailbox) => self.clients[0] = Some(self.world.ready(now, mailbox)),
            ("other", argument) => {
                let (name, mailbox) = argument.split_once(' ').unwrap_or((argument, ""));
                let account = self.world.account_of(name);
                self.clients[1] = Some(self.world.ready_as(now, account, mailbox));
            }
            ("ready2", mailbox) => self.clients[1] = Some(self.world.ready(now, mailbox)),
            (time, _) if time.starts_with('+') => self.pass(time[1..].parse().unwrap()),
            _ => self.world.event(event),
        }
    }

    fn queue(&mut self) {
        let read = self.world.store.read_blocking(|tx| {
            let mut lines = Vec::new();
            for number in 1..=9 {
                let queued = tx.queue_message(ReceiptId(number))?.map(|message| if message.held { "held" } else { "queued" });
                let last = tx.trail(ReceiptId(number))?.pop().map(|entry| format!(" {} {:?}", entry.at.seconds() - NOON, entry.event));
                if queued.is_some() || last.is_some() {
                    lines.push(format!("S= {number} {}{}", queued.unwrap_or("gone"), last.unwrap_or_default()));
                }
            }
            Ok(lines)
        });
        for line in read.unwrap() {
            self.out.push_str(&line);
            self.out.push('\n');
        }
    }

    fn pass(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
        self.world.seconds.fetch_add(seconds.try_into().unwrap(), Ordering::Relaxed);
        for client in self.clients.iter_mut().flatten() {
            if client.deadline.is_some_and(|deadline| deadline <= self.now) {
                client.input(self.now, Input::Tick);
            }
        }
    }

    /// Writes down what was said to each client.
    fn note(&mut self) {
        for (number, client) in self.clients.iter_mut().enumerate() {
            let Some(client) = client else { continue };
            client.pump(self.now);
            let said = std::mem::take(&mut client.said);
            for line in said.split_inclusive(|octet| *octet == b'\n') {
                let shown = match line.strip_suffix(b"\r\n") {
                    Some(line) => without_capabilities(escape(line)),
                    None => escape(line) + "\\",
                };
                let mark = if number == 0 { "S:" } else { "S2:" };
                self.out.push_str(format!("{mark} {shown}").trim_end());
                self.out.push('\n');
            }
        }
    }
}
