//! What programs outside think of mail that comes in: asks the advisers at each stage, and makes of a message what they want.
//!
//! Not whom to ask and how (`advisers`), and not what a change does (`milter::Message`).
//!
//! The order of things at the end of a message:
//!
//! 1. who it is from and whether it is wanted, of the message as it came (`inspect`, `judge`);
//! 2. the advisers, of the message with our Authentication-Results, completed if it is a submission, without our `Received`;
//! 3. our own signatures, of what the advisers made of it;
//! 4. the commit.
//!
//! What is stored begins with `Return-Path` and the verdict; then signatures or a seal; then what advisers put above everything; then our
//! results and `Received`; then the message.
//!
//! Invariants
//! - Without advisers nothing here costs anything.
//! - A change of the envelope never leads to an address without a place to go.

use super::data::{Facts, Findings, Ready};
use super::rcpt::{Found, find};
use super::refused::Refused;
use super::{Accepted, Receiver, Transaction, refusal};
use crate::advisers::{Advised, Known, Refusal, Shown};
use crate::local::Fate;
use mail::{Event, ReceiptId, Recipient, ReversePath, header, received};
use mailauth::{BodyDigest, dkim};
use milter::Message;
use milter::message::Header;
use smtp::Reply;
use smtp::server::{Answer, Role};
use store::{Body, Delivery};
use wire::sasl::{Hash, SaslAsk};

/// A message with what is to become of it.
pub(super) struct Advice {
    pub(super) message: Message,
    pub(super) advised: Advised,
}

/// The octets of a message that is asked about.
pub(super) struct Parts<'a> {
    /// The header with its empty line.
    pub(super) block: &'a [u8],
    pub(super) body: Shown,
    /// Header or body have octets above 127.
    pub(super) eight_bit: bool,
}

impl Receiver {
    /// Whether somebody is asked about what this peer brings.
    pub(super) fn is_advised(&self) -> bool {
        !self.advisers.is_empty()
    }

    pub(super) async fn advised_connect(&mut self) -> Answer {
        let known = self.known(None, &[]);
        self.told(self.is_advised(), known, Stage::Connect).await
    }

    pub(super) async fn advised_helo(&mut self) -> Answer {
        let known = self.known(None, &[]);
        self.told(self.is_advised(), known, Stage::Helo).await
    }

    async fn told(&mut self, is_advised: bool, known: Known, stage: Stage) -> Answer {
        if !is_advised {
            return Answer::Taken;
        }
        let refused = match stage {
            Stage::Connect => self.advisers.connect(&known).await,
            Stage::Helo => self.advisers.helo(&known).await,
        };
        refused.map_or(Answer::Taken, |reply| self.reply(reply))
    }

    /// MAIL, which we answer with `reply` if nobody minds.
    pub(super) async fn advised_mail(&mut self, reply: Reply) -> Reply {
        if !self.is_advised() || !reply.is_positive() {
            return reply;
        }
        let receipt = self.context.receipt(self.context.clock.wall());
        let Some(transaction) = &mut self.transaction else { return reply };
        transaction.receipt = Some(receipt);
        let known = self.known(self.transaction.as_ref(), &[]);
        let Some(refused) = self.advisers.mail(&known).await else { return reply };
        self.transaction = None;
        refused
    }

    /// RCPT, the same.
    pub(super) async fn advised_rcpt(&mut self, recipient: Recipient, reply: Reply) -> Reply {
        if self.transaction.is_none() {
            return reply;
        }
        let is_refused = !reply.is_positive();
        let known = self.known(self.transaction.as_ref(), std::slice::from_ref(&recipient));
        let Some(refused) = self.advisers.rcpt(&known, is_refused).await.filter(|_| !is_refused) else { return reply };
        if let Some(transaction) = &mut self.transaction {
            transaction.recipients.pop();
            transaction.refuse(recipient, &refused);
        }
        refused
    }

    /// What is known by now; `last` is the recipient in question, if it is not among the transaction's last.
    fn known(&self, transaction: Option<&Transaction>, last: &[Recipient]) -> Known {
        let accepted = transaction.map(|transaction| transaction.recipients.as_slice()).unwrap_or_default();
        let mut recipients: Vec<Recipient> = accepted.iter().map(|accepted| accepted.recipient.clone()).collect();
        if recipients.last() != last.last() {
            recipients.extend_from_slice(last);
        }
        Known {
            hostname: self.context.settings.hostname.to_string(),
            role: self.role,
            peer: self.peer,
            peer_name: self.peer_name.clone(),
            helo: self.helo.clone(),
            tls: self.tls.clone(),
            login: self.login.clone().map(|login| (login, self.mechanism)),
            receipt: transaction.and_then(|transaction| transaction.receipt),
            mail: transaction.map(|transaction| transaction.mail.clone()),
            recipients,
        }
    }

    /// The end of the message: everybody is asked, and the message is made ready as they want it.
    pub(super) async fn ready_advised(
        &mut self,
        transaction: &mut Transaction,
        parts: Parts<'_>,
        mut findings: Findings,
    ) -> Result<Ready, Refused> {
        let receipt = transaction.receipt.unwrap_or_else(|| self.context.receipt(self.context.clock.wall()));
        let (hops, tls_optional) = (received::count(parts.block), super::data::says_tls_optional(parts.block));
        let (whole, octets) = (parts.block, parts.block.len() as u64 + parts.body.octets());
        let (block, body) = with_header(parts.block, parts.body)?;
        let header = self.header(transaction, block, receipt, &findings);
        let Advice { mut message, advised } = match self.advice(transaction, header, body.clone()).await {
            Ok(advice) => advice,
            Err(refusal) => {
                findings.judged.events.extend(refusal.events);
                return Err(Refused::from(refusal.reply).after(findings.inspected, findings.judged.events).about(whole, octets));
            }
        };
        if let Some(body) = &message.body {
            message.header.close();
            findings.hash = findings.hash.is_some().then(|| hashed(body));
        }
        transaction.mail.reverse_path = message.reverse_path.clone();
        let Advised { mut events, discarded_by, is_junk } = advised;
        events.extend(self.readdress(transaction, &message.recipients)?);
        if is_junk {
            findings.judged.junk.extend(super::judge::accounts(transaction));
        }
        let (start, skip_octets) = self.advised_start(transaction, &message, &findings);
        let own_octets = start.len().saturating_sub(message.header.below_trace().len());
        let stored = self.stored(start, message.body.as_deref(), &body)?;
        let readable = stored.read(0, usize::MAX).and_then(|octets| self.readable(&octets));
        let (filed, digest) = readable.map_err(|error| refusal::from_store(&error, false))?;
        let eight_bit = parts.eight_bit || !message.header.bytes().is_ascii() || message.body.as_ref().is_some_and(|body| !body.is_ascii());
        let fate = fate(transaction, &message, discarded_by);
        let facts = Facts { receipt, hops, skip_octets, own_octets, tls_optional };
        let Findings { inspected, judged, .. } = findings;
        Ok(Ready { body: stored, filed, digest, eight_bit, facts, inspected, judged, advised: events, fate })
    }

    /// The header that advisers see, below our own trace.
    pub(super) fn header(&self, transaction: &Transaction, block: &[u8], receipt: ReceiptId, findings: &Findings) -> Header {
        let now = self.context.clock.wall();
        let received = self.received(transaction, receipt, now);
        if self.role == Role::Submission {
            return Header::new(b"", received.as_bytes(), &self.completed(block, receipt, now));
        }
        let results = findings.inspected.as_ref().map_or("", |inspected| &inspected.field);
        Header::new(results.as_bytes(), received.as_bytes(), &self.without_forged(block))
    }

    pub(super) async fn advice(&mut self, transaction: &Transaction, header: Header, body: Shown) -> Result<Advice, Refusal> {
        let known = self.known(Some(transaction), &[]);
        let recipients = transaction.recipients.iter().map(|accepted| accepted.recipient.clone()).collect();
        let reverse_path: ReversePath = transaction.mail.reverse_path.clone();
        let mut message = Message { reverse_path, recipients, header, body: None, quarantine: None };
        let advised = self.advisers.message(&known, &mut message, body).await?;
        if message.header.bytes().len() > self.context.settings.receive.header_octets_max.saturating_mul(2) {
            return Err(Refusal { reply: refusal::header_too_large(), events: advised.events });
        }
        Ok(Advice { message, advised })
    }

    /// The header as it is stored, with what is for our own readers, and how many octets those are: our signatures and seals are of what
    /// the advisers made of the message.
    pub(super) fn advised_start(&self, transaction: &Transaction, message: &Message, findings: &Findings) -> (Vec<u8>, u32) {
        let now = self.context.clock.wall();
        let header = message.header.bytes();
        let mut start = format!("Return-Path: <{}>\r\n{}", message.reverse_path, findings.judged.field).into_bytes();
        start.extend_from_slice(self.kept(transaction, findings).as_bytes());
        let skip_octets = u32::try_from(start.len()).unwrap_or(0);
        let signed = match (self.role, &findings.hash) {
            (Role::Submission, Some(hash)) => self.signatures(&message.header.message_bytes(), hash, now),
            (Role::Submission, None) => String::new(),
            _ => self.seal(transaction, &header, findings, now),
        };
        start.extend_from_slice(signed.as_bytes());
        start.extend_from_slice(&header);
        (start, skip_octets)
    }

    /// Gives the transaction the recipients that advisers want; one without a place to go is left out, and the trail says so.
    fn readdress(&self, transaction: &mut Transaction, wanted: &[Recipient]) -> Result<Vec<Event>, Reply> {
        let known = std::mem::take(&mut transaction.recipients);
        let mut events = Vec::new();
        for recipient in wanted {
            if let Some(accepted) = known.iter().find(|accepted| accepted.recipient.address.key() == recipient.address.key()) {
                transaction.recipients.push(accepted.clone());
                continue;
            }
            let found = self
                .context
                .store
                .read_short(|tx| find(tx, &recipient.address, 0, &self.context.settings))
                .map_err(|error| refusal::from_store(&error, false))?;
            let targets = match found {
                Found::Here(targets) => targets,
                Found::Elsewhere => vec![Delivery::Forward(recipient.address.clone())],
                Found::Unknown | Found::Disabled | Found::OverQuota => {
                    events.push(Event::Resolved { recipient: recipient.address.clone(), targets: Vec::new() });
                    continue;
                }
            };
            transaction.recipients.push(Accepted { recipient: recipient.clone(), targets });
        }
        Ok(events)
    }

    pub(super) fn stored(&self, mut start: Vec<u8>, replaced: Option<&[u8]>, body: &Shown) -> Result<Body, Reply> {
        match (replaced, body) {
            (Some(octets), _) => start.extend_from_slice(octets),
            (None, Shown::Memory(octets)) => start.extend_from_slice(octets),
            (None, Shown::Stored(body)) => return self.joined(&start, body, 0).map_err(|error| refusal::from_store(&error, false)),
        }
        let mut draft = self.context.store.draft();
        draft.write(&start).and_then(|()| draft.finish()).map_err(|error| refusal::from_store(&error, false))
    }
}

/// A stage before MAIL.
#[derive(Clone, Copy)]
enum Stage {
    Connect,
    Helo,
}

/// Header and body; without any header what the message starts with is its body.
fn with_header(block: &[u8], body: Shown) -> Result<(&[u8], Shown), Reply> {
    if header::fields(block).next().is_some() || block.starts_with(b"\r\n") {
        return Ok((block, body));
    }
    let rest = body.read(0, usize::MAX).map_err(|error| unreadable(&error))?;
    Ok((b"\r\n", Shown::Memory([block, &rest].concat().into())))
}

fn hashed(body: &[u8]) -> BodyDigest {
    let mut hash = dkim::sign::body_hash();
    hash.update(body);
    hash.finish()
}

/// What is to become of it.
fn fate(transaction: &Transaction, message: &Message, discarded_by: Option<String>) -> Fate {
    let nobody = transaction.recipients.is_empty().then(|| "advisers, which left no recipient".to_owned());
    match discarded_by.or(nobody) {
        Some(by) => Fate::Discard(format!("by {by}")),
        None if message.quarantine.is_some() => Fate::Hold,
        None => Fate::Deliver,
    }
}

fn unreadable(error: &str) -> Reply {
    tracing::error!(error, "a message cannot be read for its advisers");
    Reply::new(451, (4, 3, 0), "A local error; try again later")
}

/// What advisers are told of how somebody signs in.
pub(super) const fn mechanism(ask: &SaslAsk) -> &'static str {
    match ask {
        SaslAsk::Password { .. } => "PLAIN",
        SaslAsk::ScramVerifier { hash: Hash::Sha256, .. } => "SCRAM-SHA-256",
        SaslAsk::ScramVerifier { .. } => "SCRAM-SHA-1",
        SaslAsk::Token { .. } => "OAUTHBEARER",
        SaslAsk::Certificate { .. } => "EXTERNAL",
    }
}
