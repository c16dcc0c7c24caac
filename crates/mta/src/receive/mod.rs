//! Takes mail: answers the questions of an SMTP server session (RFC 5321, RFC 6409, RFC 2033).
//!
//! One file per question: `mail`, `rcpt`, `data`. What the three roles may do:
//!
//! | role | who | to whom |
//! |---|---|---|
//! | MX | anyone | our addresses; domains that a route accepts; anywhere for relay networks |
//! | submission | our accounts, under their own addresses | anywhere |
//! | LMTP | local programs | our addresses |
//!
//! ```text
//! Connect ─▶ Helo ─▶ (Auth ─▶ Authenticated) ─▶ Mail ─▶ Rcpt … ─▶ Body … ─▶ Data ─▶ Mail …
//!                                                 └────── Reset ◀──────┘
//! ```
//!
//! Invariants
//! - 250 after the data means: one commit holds the message and everything that follows from taking it.
//! - A refused or failed transaction leaves nothing in the store.

mod advise;
mod allowance;
mod backup;
mod call_ahead;
mod data;
mod domain_lists;
mod etrn;
mod first_contact;
mod forged;
mod inspect;
mod judge;
mod lists;
mod mail_from;
mod outbox;
mod rcpt;
mod refusal;
mod refused;
mod rejects;
mod returned;
mod seal;
mod sign;
mod trap;
mod tried;
mod verify;
mod xclient;

pub use call_ahead::CallAhead;
pub use inspect::ask_all;
pub use sign::KeyRing;
pub(crate) use sign::own_signatures;
pub use tried::{Bringer, Tried};

use crate::advisers::Advisers;
use crate::counters::Counters;
use crate::queue::Urge;
use crate::settings::Settings;
use allowance::Allowance;
use data::Incoming;
use inspect::Ahead;
use lists::Lists;
use mail::{AccountId, Event, ReceiptId, Recipient, Timestamp};
use smtp::Reply;
use smtp::server::{Answer, Ask, MailCommand, Role, Server};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use store::auth::{Authenticator, SignIn};
use store::{Delivery, Store};
use tried::Trial;
use wire::sasl::{SaslAnswer, SaslAsk};
use wire::{Handler, Tls};

/// What all receivers of a server share.
pub struct Context {
    /// Where mail is kept.
    pub store: Store,
    /// Who may sign in.
    pub authenticator: Authenticator,
    /// What the operator chose. A receiver keeps the context it started with.
    pub settings: Arc<Settings>,
    /// The time.
    pub clock: Arc<dyn net::Clock>,
    /// What is counted.
    pub counters: Arc<Counters>,
    /// What is asked who mail is from; none: it is not found out.
    pub dns: Option<Arc<dyn net::Dns>>,
    /// Asks the servers that we are a backup for about their recipients; none: nobody is asked.
    pub call_ahead: Option<Arc<CallAhead>>,
    /// Signing keys in their working form.
    pub keys: KeyRing,
    /// For Message-IDs: unlikely to be the same for two servers.
    pub seed: u64,
    /// Reaches the queue of the same server.
    pub urge: Urge,
    /// The last receipt chosen. Starts at 0.
    pub messages: AtomicU64,
}

impl Context {
    /// A receipt for a message that is just coming in: the time and a counter, ascending.
    fn receipt(&self, now: Timestamp) -> ReceiptId {
        let from_clock = u64::try_from(now.0).unwrap_or(0) << 20;
        let next = |last: u64| from_clock.max(last.saturating_add(1));
        let last = self.messages.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| Some(next(last)));
        ReceiptId(next(last.unwrap_or_else(|last| last)))
    }
}

/// Answers the questions of one connection.
pub struct Receiver {
    context: Arc<Context>,
    role: Role,
    peer: IpAddr,
    /// The name behind the peer's address, where a proxy of ours has said it.
    peer_name: Option<String>,
    helo: String,
    esmtp: bool,
    tls: Option<Tls>,
    account: Option<AccountId>,
    sign_in: SignIn,
    /// The login of that account, and how it signed in, for advisers.
    login: Option<String>,
    mechanism: &'static str,
    advisers: Advisers,
    /// What block and allow lists say of the peer.
    lists: Lists,
    /// A first contact, to be answered slowly.
    is_slowed: bool,
    transaction: Option<Transaction>,
    /// Nobody sent what it is given: nothing is written; this is noted instead.
    trial: Option<Trial>,
}

/// A message on its way in.
struct Transaction {
    mail: MailCommand,
    recipients: Vec<Accepted>,
    /// What the trail will tell of those that were not accepted, if the message is.
    refused: Vec<Event>,
    /// What its sender may still send, if that is an account of ours.
    allowance: Option<Box<Allowance>>,
    /// Spam traps that it was sent to.
    traps: Vec<mail::Address>,
    incoming: Incoming,
    /// What DNS is asked meanwhile.
    ahead: Option<Ahead>,
    /// Chosen at MAIL where advisers are told it.
    receipt: Option<ReceiptId>,
}

impl Transaction {
    /// Nobody but spam traps gets it.
    const fn is_for_traps_alone(&self) -> bool {
        self.recipients.is_empty() && !self.traps.is_empty()
    }
}

/// A recipient that was answered with 250.
#[derive(Debug, Clone)]
struct Accepted {
    recipient: Recipient,
    /// Where its mail goes; never empty.
    targets: Vec<Delivery>,
}

impl Receiver {
    /// The receiver of a connection from `peer`.
    pub fn new(context: Arc<Context>, role: Role, peer: IpAddr) -> Self {
        let advisers = Advisers::new(&context, role);
        let sign_in = SignIn::new(context.authenticator.clone(), Some(peer));
        let (peer_name, helo) = (None, String::new());
        Self {
            context,
            role,
            peer,
            peer_name,
            helo,
            esmtp: false,
            tls: None,
            account: None,
            sign_in,
            login: None,
            mechanism: "",
            advisers,
            lists: Lists::default(),
            is_slowed: false,
            transaction: None,
            trial: None,
        }
    }

    /// The same over implicit TLS.
    #[must_use]
    pub fn with_tls(self, tls: Tls) -> Self {
        Self { tls: Some(tls), ..self }
    }

    async fn auth(&mut self, ask: SaslAsk) -> SaslAnswer {
        let answer = self.sign_in.answer(ask).await;
        if matches!(answer, SaslAnswer::Refused(_)) {
            Counters::count(&self.context.counters.auth_failed);
            tracing::info!(peer = %self.peer, "sign-in refused");
        }
        answer
    }

    fn helo(&mut self, name: String, esmtp: bool, tls: Option<Tls>) {
        self.helo = name;
        self.esmtp = esmtp;
        self.tls = tls.or_else(|| self.tls.take());
        self.transaction = None;
    }

    /// The reply as an answer; refusals are counted.
    fn reply(&self, reply: Reply) -> Answer {
        self.reply_about(self.transaction.as_ref(), reply)
    }

    /// The same at the end of a transaction, which is then no longer the receiver's.
    fn reply_in(&self, transaction: &Transaction, reply: Reply) -> Answer {
        self.reply_about(Some(transaction), reply)
    }

    fn reply_about(&self, transaction: Option<&Transaction>, reply: Reply) -> Answer {
        if !reply.is_positive() {
            Counters::count(&self.context.counters.refused);
            let from = transaction.map(|transaction| transaction.mail.reverse_path.to_string());
            tracing::info!(peer = %self.peer, helo = self.helo, from, %reply, "refused");
        }
        Answer::Reply(reply)
    }
}

/// Version and cipher in words.
fn words_of(tls: &Tls) -> String {
    format!("{} {}", tls.version, tls.cipher)
}

impl Handler<Server> for Receiver {
    async fn answer(&mut self, ask: Ask) -> Answer {
        match ask {
            Ask::Connect => {
                self.ask_lists();
                self.advised_connect().await
            }
            Ask::Verify(text) => self.verify(&text),
            Ask::Expand(text) => self.expand(&text),
            Ask::Client(claim) => self.speaks_for(&claim),
            Ask::Etrn(node) => self.etrn(&node).await,
            Ask::Helo { name, esmtp, tls } => {
                self.helo(name, esmtp, tls);
                self.advised_helo().await
            }
            Ask::Auth(ask) => {
                self.mechanism = advise::mechanism(&ask);
                Answer::Auth(self.auth(ask).await)
            }
            Ask::Authenticated { account, login } => {
                self.sign_in.entered();
                self.login = Some(login);
                self.account = Some(AccountId(account));
                Answer::Taken
            }
            Ask::Mail(command) => {
                let reply = self.mail(command);
                let reply = self.advised_mail(reply).await;
                self.reply(reply)
            }
            Ask::Rcpt(recipient) => {
                let asked = self.is_advised().then(|| recipient.clone());
                let mut reply = self.rcpt(recipient).await;
                if let Some(recipient) = asked {
                    reply = self.advised_rcpt(recipient, reply).await;
                }
                self.reply(reply)
            }
            Ask::Body(chunk) => match self.body(&chunk) {
                Ok(()) => Answer::Taken,
                Err(reply) => self.reply(reply),
            },
            Ask::Data { last } => self.data(last).await,
            Ask::Reset => {
                self.transaction = None;
                Answer::Taken
            }
        }
    }
}
