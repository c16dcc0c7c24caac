//! One server: a store, the receivers of its connections, its queue.

use crate::certificates::{Authority, Shown};
use crate::chance::Chance;
use crate::faults::{Moody, Spot};
use crate::network::{Arrival, Network};
use crate::policies::Policies;
use mail::{Address, Domain, ReceiptId, Recipient, ReversePath, Role as MailboxRole, Terms, Timestamp, TrailEntry, Uid};
use mta::deliver::World as Outside;
use mta::outbound::Outbound;
use mta::queue::Queue;
use mta::receive::{Context, Receiver};
use mta::transport::Transport;
use mta::transport::sts::Sts;
use mta::{Counters, Settings};
use net::{Clock, FakeDns, Shell, Shutdown, Socket, Tlsa, Upgrade, VirtualClock};
use smtp::Reply;
use smtp::server::{Answer, Ask, Config, Connection, MailCommand, Role, Server};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use store::auth::{Authenticator, Credentials};
use store::disk::sim::SimDisk;
use store::schema::Space;
use store::{Direction, KeyRange, NewAccount, QueueMessage, Store};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;
use wire::Handler;

/// What hosts share.
#[derive(Debug, Clone)]
pub(crate) struct Surroundings {
    pub(crate) network: Network,
    pub(crate) dns: FakeDns,
    pub(crate) policies: Policies,
    pub(crate) clock: VirtualClock,
    pub(crate) chance: Chance,
}

/// A message that a host took from one of its accounts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submitted {
    /// Its `Message-ID`, without brackets.
    pub message_id: String,
    /// Who sent it.
    pub from: Address,
    /// To whom.
    pub to: Vec<Address>,
    /// The promise.
    pub receipt: ReceiptId,
    /// When it was given.
    pub at: Timestamp,
}

/// A message that an account has, wherever it keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// When it came.
    pub at: Timestamp,
    /// Its octets, as text.
    pub text: String,
}

/// One server. Clones are the same.
#[derive(Clone)]
pub struct Host(Arc<Inner>);

struct Inner {
    name: Domain,
    address: IpAddr,
    disk: SimDisk,
    store: Mutex<Store>,
    settings: Mutex<Arc<Settings>>,
    around: Surroundings,
    running: Mutex<Option<Running>>,
    submitted: Mutex<Vec<Submitted>>,
    /// How many messages its accounts tried to send.
    tries: AtomicU64,
    /// How many times it was started.
    starts: AtomicU64,
    /// What it says of itself to who connects.
    offer: Mutex<Config>,
    /// What it shows to who asks for TLS.
    shows: Mutex<Option<Arc<rustls::ServerConfig>>>,
    /// Since when its disk is known not to work.
    failing_since: Mutex<Option<Instant>>,
}

struct Running {
    context: Arc<Context>,
    /// It has been killed; its tasks end when they are next looked at.
    dead: Arc<AtomicBool>,
    shutdown: Shutdown,
    tasks: Vec<AbortHandle>,
}

impl Host {
    pub(crate) fn new(name: Domain, address: IpAddr, around: Surroundings) -> Self {
        let mut settings = Settings::new(name.clone());
        // Scenarios write to people who do not exist, again and again.
        settings.suppression.after = 0;
        // And in bulk, from accounts that nobody knows.
        settings.outbound = Outbound::unlimited();
        let settings = Mutex::new(Arc::new(settings));
        let disk = SimDisk::new();
        let store = open(&disk);
        store.write_blocking(|tx| tx.secret_keep(store::RETURN_PATH_SECRET, [7; 32])).expect("a new store takes a secret");
        let store = Mutex::new(store);
        let offer = Config { limits_offered: true, mt_priority: true, deliver_by: true, ..Config::new(name.as_str(), Role::Mx) };
        let inner = Inner {
            name,
            address,
            disk,
            store,
            settings,
            around,
            running: Mutex::default(),
            submitted: Mutex::default(),
            tries: AtomicU64::new(0),
            starts: AtomicU64::new(0),
            offer: Mutex::new(offer),
            shows: Mutex::default(),
            failing_since: Mutex::default(),
        };
        Self(Arc::new(inner))
    }

    /// What it calls itself.
    pub fn name(&self) -> &Domain {
        &self.0.name
    }

    /// Where it can be reached.
    pub fn address(&self) -> IpAddr {
        self.0.address
    }

    /// What it keeps. After a crash this is another one.
    pub fn store(&self) -> Store {
        self.0.store.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What its store is on: it can be made to fail or to be full.
    pub fn disk(&self) -> &SimDisk {
        &self.0.disk
    }

    /// Changes its settings; they hold from its next start.
    pub fn settings(&self, change: impl FnOnce(&mut Settings)) {
        let mut settings = self.0.settings.lock().unwrap_or_else(PoisonError::into_inner);
        change(Arc::make_mut(&mut settings));
    }

    /// Makes a domain its own.
    pub fn domain(&self, domain: &str) {
        let (domain, now) = (Domain::parse(domain).unwrap(), self.0.around.clock.wall());
        self.store().write_blocking(move |tx| tx.domain_add(&domain, now)).unwrap();
    }

    /// Makes an account. It has no password: nobody signs in here.
    pub fn account(&self, address: &str) -> &Self {
        let (address, now) = (Address::parse(address).unwrap(), self.0.around.clock.wall());
        let new = NewAccount { name: address.to_string(), address, credentials: Credentials::none(), quota_octets_max: None };
        self.store().write_blocking(move |tx| tx.account_create(new.clone(), now)).unwrap();
        self
    }

    /// Whether it runs.
    pub fn is_running(&self) -> bool {
        self.0.running.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Changes what it offers to who connects from now on.
    pub fn offer(&self, change: impl FnOnce(&mut Config)) {
        change(&mut self.0.offer.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// What it shows to who asks it for TLS from now on; returns the TLSA record of it, if there is one.
    pub fn show(&self, shown: Shown) -> Option<Tlsa> {
        let identity = Authority::of_the_world().identity(self.0.name.as_str(), shown);
        let (config, record) = identity.map(|identity| (identity.config, identity.record)).unzip();
        self.show_again(config);
        record
    }

    /// What it shows now.
    pub(crate) fn shows(&self) -> Option<Arc<rustls::ServerConfig>> {
        self.0.shows.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn show_again(&self, config: Option<Arc<rustls::ServerConfig>>) {
        *self.0.shows.lock().unwrap_or_else(PoisonError::into_inner) = config;
    }

    /// From now on its disk is known not to work, or to work again.
    pub fn disk_fails(&self, fails: bool) {
        let mut since = self.0.failing_since.lock().unwrap_or_else(PoisonError::into_inner);
        *since = fails.then(|| since.unwrap_or_else(Instant::now));
    }

    /// Starts it, if it does not run.
    pub fn start(&self) {
        let mut running = self.0.running.lock().unwrap_or_else(PoisonError::into_inner);
        if running.is_some() {
            return;
        }
        self.0.starts.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let shutdown = Shutdown::new();
        let context = Arc::new(self.context());
        let arrivals = self.0.around.network.listen(self.0.address);
        let dead = Arc::new(AtomicBool::new(false));
        let serving = tokio::spawn(serve(self.clone(), Arc::clone(&context), arrivals, shutdown.clone(), Arc::clone(&dead)));
        let queue = Queue::new(self.store(), Arc::clone(&context.settings), Arc::clone(&context.counters), self.outside());
        let queue = queue.urged_by(context.urge.clone());
        let queue = tokio::spawn(queue.run(shutdown.stop()));
        *running = Some(Running { context, dead, shutdown, tasks: vec![serving.abort_handle(), queue.abort_handle()] });
    }

    /// Kills it: whatever it is at is forgotten, what it wrote stays. Its store is opened again.
    pub fn kill(&self) {
        self.abort();
        self.0.disk.kill();
        self.reopen();
    }

    /// Cuts its power: what was not synced is kept, lost or torn, as chance has it.
    pub fn power_cut(&self) {
        self.abort();
        self.0.disk.power_cut(self.0.around.chance.draw());
        self.reopen();
    }

    fn abort(&self) {
        let running = self.0.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(running) = running {
            running.dead.store(true, Ordering::Relaxed);
            running.tasks.iter().for_each(AbortHandle::abort);
            let failing_since = *self.0.failing_since.lock().unwrap_or_else(PoisonError::into_inner);
            self.0.around.network.witness().died(self.0.address, failing_since);
        }
    }

    fn reopen(&self) {
        *self.0.store.lock().unwrap_or_else(PoisonError::into_inner) = open(&self.0.disk);
    }

    /// Urges its queue, as an administrator who asks for a retry does.
    pub fn urge(&self, domains: impl IntoIterator<Item = Domain>) {
        self.current().urge.tell(domains);
    }

    /// Tells it to stop, in an orderly way.
    pub fn stop(&self) {
        let running = self.0.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(running) = running {
            running.shutdown.tell();
        }
    }

    /// The context of what runs, or a fresh one.
    fn current(&self) -> Arc<Context> {
        let running = self.0.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.as_ref().map_or_else(|| Arc::new(self.context()), |running| Arc::clone(&running.context))
    }

    fn context(&self) -> Context {
        Context {
            store: self.store(),
            authenticator: Authenticator::in_place(self.store()),
            settings: Arc::clone(&self.0.settings.lock().unwrap_or_else(PoisonError::into_inner)),
            clock: Arc::new(self.0.around.clock),
            counters: Arc::new(Counters::default()),
            seed: self.0.starts.load(std::sync::atomic::Ordering::Relaxed),
            dns: None,
            call_ahead: Some(Arc::new(mta::receive::CallAhead::new(self.outside()))),
            keys: mta::receive::KeyRing::default(),
            urge: mta::queue::Urge::default(),
            messages: AtomicU64::new(0),
        }
    }

    fn outside(&self) -> Outside {
        Outside {
            dns: Arc::new(self.0.around.dns.clone()),
            dial: self.0.around.network.from(self.0.address),
            clock: Arc::new(self.0.around.clock),
            tls: Some(Authority::of_the_world().clients()),
            transport: self.transport(),
            nonce: Arc::new(|| "n".repeat(24)),
        }
    }

    fn transport(&self) -> Transport {
        let (dns, fetch) = (Arc::new(self.0.around.dns.clone()), Arc::new(self.0.around.policies.clone()));
        let sts = Sts::new(self.store(), dns, fetch, Arc::new(self.0.around.clock));
        Transport { sts: Some(Arc::new(sts)), ..Transport::default() }
    }

    /// How many recipients it takes in one transaction from now on.
    pub fn recipients_max(&self, max: usize) {
        self.offer(|config| config.limits.recipients_max = max);
    }

    /// Has one of its accounts send a message. Its text may be anything behind the header.
    pub async fn submit(&self, from: &str, to: &[&str], text: &str) -> Submitted {
        self.submit_on(from, to, text, Terms::default()).await
    }

    /// The same on terms of its own.
    pub async fn submit_on(&self, from: &str, to: &[&str], text: &str, terms: Terms) -> Submitted {
        let parse = |address: &str| Address::parse(address).unwrap();
        let to: Vec<Address> = to.iter().map(|to| parse(to)).collect();
        self.try_submit(&parse(from), &to, text, terms).await.unwrap_or_else(|reply| panic!("{reply}"))
    }

    /// The same where it may be refused.
    ///
    /// # Errors
    /// The reply to the message, when it is not 250: nothing was promised.
    pub async fn try_submit(&self, from: &Address, to: &[Address], text: &str, terms: Terms) -> Result<Submitted, Reply> {
        let number = self.0.submitted.lock().unwrap_or_else(PoisonError::into_inner).len();
        let tries = self.0.tries.fetch_add(1, Ordering::Relaxed);
        let message_id = format!("{tries}@{}", self.0.name);
        let octets = format!("From: {from}\r\nMessage-ID: <{message_id}>\r\nSubject: {number}\r\n\r\n{text}\r\n");
        let command = MailCommand { terms, ..MailCommand::new(ReversePath(Some(from.clone()))) };
        let reply = self.take(command, to.iter().cloned().map(Recipient::new), octets.into_bytes()).await;
        let receipt = reply.text.split_whitespace().next().and_then(|id| id.parse().ok());
        let (250, Some(receipt)) = (reply.code, receipt) else { return Err(reply) };
        let submitted = Submitted { message_id, from: from.clone(), to: to.to_vec(), receipt, at: self.0.around.clock.wall() };
        self.0.submitted.lock().unwrap_or_else(PoisonError::into_inner).push(submitted.clone());
        Ok(submitted)
    }

    /// Has one of its accounts send a whole message, with every parameter of MAIL and RCPT; the receipt.
    pub async fn submit_command(&self, command: MailCommand, to: Vec<Recipient>, octets: &str) -> ReceiptId {
        let reply = self.take(command, to, octets.as_bytes().to_vec()).await;
        assert_eq!(reply.code, 250, "{reply}");
        reply.text.split_whitespace().next().and_then(|id| id.parse().ok()).expect("a receipt in the 250")
    }

    async fn take(&self, command: MailCommand, to: impl IntoIterator<Item = Recipient>, octets: Vec<u8>) -> Reply {
        let login = command.reverse_path.to_string();
        let account = self.store().read_blocking({
            let login = login.clone();
            move |tx| tx.account_by_login(&login)
        });
        let Ok(account) = account else { return Reply::new(451, (4, 3, 0), "the store does not answer") };
        let account = account.expect("the sender has an account").id.0;
        let mut receiver = Receiver::new(self.current(), Role::Submission, self.0.address);
        receiver.answer(Ask::Authenticated { account, login }).await;
        for ask in std::iter::once(Ask::Mail(command)).chain(to.into_iter().map(Ask::Rcpt)) {
            let reply = reply_of(receiver.answer(ask).await);
            if !reply.is_positive() {
                return reply;
            }
        }
        reply_of(receiver.answer(Ask::Data { last: octets }).await)
    }

    /// What its accounts sent.
    pub fn submitted(&self) -> Vec<Submitted> {
        self.0.submitted.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The texts in an account's inbox, in order.
    pub fn inbox(&self, account: &str) -> Vec<String> {
        let login = account.to_owned();
        let read = self.store().read_blocking(move |tx| {
            let Some(account) = tx.account_by_login(&login)? else { return Ok(Vec::new()) };
            let Some(inbox) = tx.mailbox_by_role(account.id, MailboxRole::Inbox)? else { return Ok(Vec::new()) };
            let messages = tx.messages(account.id, inbox.id, Uid(1), Uid(u32::MAX), usize::MAX)?;
            let texts = messages.iter().map(|message| tx.blob_read(&message.blob, 0, usize::MAX));
            texts.map(|text| Ok(String::from_utf8_lossy(&text?).into_owned())).collect()
        });
        read.unwrap()
    }

    /// Everything that an account has, in all its mailboxes, by mailbox and then in order of arrival.
    pub fn kept(&self, account: &Address) -> Vec<Kept> {
        let login = account.to_string();
        let read = self.store().read_blocking(move |tx| {
            let mut kept = Vec::new();
            let Some(account) = tx.account_by_login(&login)? else { return Ok(kept) };
            for mailbox in tx.mailboxes(account.id)? {
                for message in tx.messages(account.id, mailbox.id, Uid(1), Uid(u32::MAX), usize::MAX)? {
                    let text = tx.blob_read(&message.blob, 0, usize::MAX)?;
                    kept.push(Kept { at: message.saved, text: String::from_utf8_lossy(&text).into_owned() });
                }
            }
            Ok(kept)
        });
        read.unwrap()
    }

    /// Whether nothing waits in its queue.
    pub fn is_idle(&self) -> bool {
        self.store().read_blocking(|tx| tx.queue_all(ReceiptId(0), 1)).is_ok_and(|queue| queue.is_empty())
    }

    /// What waits in its queue.
    pub fn queue(&self) -> Vec<QueueMessage> {
        self.store().read_blocking(|tx| tx.queue_all(ReceiptId(0), usize::MAX)).unwrap()
    }

    /// What is wrong in its store.
    pub fn damage(&self) -> Vec<String> {
        let report = store::check(&self.store(), store::check::Bodies::Read, |_| {}).unwrap();
        report.findings.iter().map(|finding| format!("{finding:?}")).collect()
    }

    /// Every trail, in order of receipts.
    pub fn trails(&self) -> Vec<(ReceiptId, Vec<TrailEntry>)> {
        let read = self.store().read_blocking(|tx| {
            let mut receipts = BTreeSet::new();
            tx.scan(Space::Trail, &KeyRange::all(), Direction::Forward, |key, _| {
                receipts.extend(key.first_chunk::<8>().map(|octets| ReceiptId(u64::from_be_bytes(*octets))));
                ControlFlow::Continue(())
            })?;
            receipts.into_iter().map(|receipt| Ok((receipt, tx.trail(receipt)?))).collect()
        });
        read.unwrap()
    }
}

fn open(disk: &SimDisk) -> Store {
    Store::simulated(disk, &store::Settings::simulated()).expect("the store opens, whatever happened to it")
}

fn reply_of(answer: Answer) -> Reply {
    match answer {
        Answer::Reply(reply) => reply,
        other => panic!("no reply: {other:?}"),
    }
}

/// Accepts connections until it is killed or told to stop; those that are open end with it.
async fn serve(
    host: Host,
    context: Arc<Context>,
    mut arrivals: mpsc::UnboundedReceiver<Arrival>,
    shutdown: Shutdown,
    dead: Arc<AtomicBool>,
) {
    let mut connections = JoinSet::new();
    while let Some(Arrival { stream, peer, line }) = arrivals.recv().await {
        while connections.try_join_next().is_some() {}
        if shutdown.is_told() {
            break;
        }
        let shows = host.shows();
        let offer = host.0.offer.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let config = Arc::new(Config { starttls: shows.is_some(), ..offer });
        let connection = Connection { peer, nonce: "n".repeat(24), tls: None, wall: context.clock.wall(), xclient: false };
        let server = Server::new(config, connection, context.clock.now());
        let network = &host.0.around.network;
        let receiver = Receiver::new(Arc::clone(&context), Role::Mx, peer);
        let spot = Spot {
            peer,
            faults: network.faults(host.address()),
            chance: host.0.around.chance.clone(),
            witness: network.witness().clone(),
            line,
            disk: host.disk().clone(),
            dead: Arc::clone(&dead),
        };
        let handler = Moody::new(receiver, spot);
        let shell = Shell::new(Arc::clone(&context.clock)).stopping(shutdown.stop());
        connections.spawn(net::drive(server, handler, Socket::any(stream), Upgrade::from(shows), shell));
    }
}

/// A moment as traces show it.
pub(crate) fn shown(at: Timestamp) -> String {
    mail::date::rfc5322(mail::date::DateTime { at, zone_minutes: 0 })
}
