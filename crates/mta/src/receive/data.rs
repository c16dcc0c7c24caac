//! DATA and BDAT: the octets come in, and at their end one commit takes the message or nothing does.
//!
//! What is parsed and hashed is parsed and hashed here, on the connection's own thread; the writer
//! only places it.
//!
//! One mailbox of several that turns out to be full at the last moment does not spoil the message
//! for the others: that recipient is queued for local delivery, and tried again like any other. If
//! nobody else gets the message, it is refused. LMTP has a reply for each and needs neither.

use super::advise::Parts;
use super::inspect::Inspected;
use super::judge::Judged;
use super::refused::Refused;
use super::{Accepted, Receiver, Transaction, refusal, words_of};
use crate::advisers::Shown;
use crate::counters::Counters;
use crate::forward::Prospect;
use crate::local::{self, Arrival, Fate, Placed, WhenFull};
use crate::settings::Settings;
use crate::transport::{dmarc_report, tls_rpt};
use mail::binary;
use mail::date::DateTime;
use mail::digest::Digest;
use mail::event::Source;
use mail::received::{self, Protocol, ProtocolKind, Received};
use mail::submission::{self, Completion};
use mail::{Address, BodyType, Event, ReceiptId, Timestamp, TlsDemand, header};
use smtp::Reply;
use smtp::server::{Answer, MailCommand, Role};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use store::{Body, Draft, WriteTx};

/// Longest mail in which a TLS report is looked for, octets. Our own bound.
const TLS_REPORT_OCTETS_MAX: u64 = 4 << 20;

/// Longest mail in which a DMARC report is looked for, octets. Our own bound.
const DMARC_REPORT_OCTETS_MAX: u64 = 8 << 20;

/// Octets of a long body that are copied at once.
const COPIED_OCTETS: usize = 256 * 1024;

/// The message so far.
#[derive(Default)]
pub(super) struct Incoming {
    /// What came until the header was whole.
    head: Vec<u8>,
    /// The message being stored, from the moment that it is known to be larger than one chunk.
    spilled: Option<Spilled>,
}

struct Spilled {
    draft: Draft,
    eight_bit: bool,
    start: Start,
}

/// What stands before the body.
enum Start {
    /// It is in the draft.
    Written(Box<Facts>),
    /// It waits for what the body says about the message; this is the header as it came.
    Held(Vec<u8>, Box<Watch>),
}

/// What is gathered of the body while it comes.
#[derive(Default)]
struct Watch {
    /// For those who want to know who it is from.
    reader: Option<mailauth::Reader>,
    /// For our signature.
    hash: Option<mailauth::BodyHash>,
    /// The start of the message, for the verdict.
    sample: Option<Vec<u8>>,
}

impl Watch {
    const fn is_idle(&self) -> bool {
        self.reader.is_none() && self.hash.is_none() && self.sample.is_none()
    }

    fn body(&mut self, chunk: &[u8]) {
        if let Some(reader) = &mut self.reader {
            reader.body(chunk);
        }
        if let Some(hash) = &mut self.hash {
            hash.update(chunk);
        }
        if let Some(sample) = &mut self.sample {
            let room = filter::Limits::default().message_octets_max.saturating_sub(sample.len());
            sample.extend_from_slice(chunk.get(..room).unwrap_or(chunk));
        }
    }
}

/// What the message as a whole gave.
#[derive(Default)]
pub(super) struct Findings {
    pub(super) inspected: Option<Inspected>,
    pub(super) judged: Judged,
    pub(super) hash: Option<mailauth::BodyDigest>,
}

/// What is known once the header is whole.
#[derive(Clone, Copy)]
pub(super) struct Facts {
    /// The receipt that stands in our `Received` field.
    pub(super) receipt: ReceiptId,
    /// How many `Received` fields it came with.
    pub(super) hops: usize,
    /// Octets at the start that are for our own readers: `Return-Path` and the verdict.
    pub(super) skip_octets: u32,
    /// Octets at the start that are not the sender's.
    pub(super) own_octets: usize,
    /// It says `TLS-Required: No` (RFC 8689 §3).
    pub(super) tls_optional: bool,
}

/// A message that is ready to be committed.
pub(super) struct Ready {
    pub(super) body: Body,
    /// The same as lines, if it is none.
    pub(super) filed: Option<Body>,
    /// Of what is filed.
    pub(super) digest: Digest,
    /// It has octets above 127, whatever MAIL said of it.
    pub(super) eight_bit: bool,
    pub(super) facts: Facts,
    pub(super) inspected: Option<Inspected>,
    pub(super) judged: Judged,
    /// What advisers said of it, and what is to become of it.
    pub(super) advised: Vec<Event>,
    pub(super) fate: Fate,
}

impl Spilled {
    fn take(&mut self, chunk: &[u8]) -> store::Result<()> {
        self.eight_bit |= !chunk.is_ascii();
        if let Start::Held(_, watch) = &mut self.start {
            watch.body(chunk);
        }
        self.draft.write(chunk)
    }
}

impl Receiver {
    /// A chunk of the message, not the last.
    pub(super) fn body(&mut self, chunk: &[u8]) -> Result<(), Reply> {
        let Some(mut transaction) = self.transaction.take() else { return Err(refusal::out_of_order()) };
        self.take_chunk(&mut transaction, chunk)?;
        self.transaction = Some(transaction);
        Ok(())
    }

    pub(super) fn take_chunk(&self, transaction: &mut Transaction, chunk: &[u8]) -> Result<(), Reply> {
        if let Some(spilled) = &mut transaction.incoming.spilled {
            return spilled.take(chunk).map_err(|error| refusal::from_store(&error, false));
        }
        transaction.incoming.head.extend_from_slice(chunk);
        let head = &transaction.incoming.head;
        if !has_whole_header(head) {
            let too_large = head.len() > self.context.settings.receive.header_octets_max;
            return if too_large { Err(refusal::header_too_large()) } else { Ok(()) };
        }
        let head = std::mem::take(&mut transaction.incoming.head);
        check_lines(head.get(..header::body_start(&head)).unwrap_or(&head))?;
        let spilled = self.spill(transaction, &head).map_err(|error| refusal::from_store(&error, false))?;
        transaction.incoming.spilled = Some(spilled);
        Ok(())
    }

    /// Begins the draft of a message whose header is whole.
    fn spill(&self, transaction: &Transaction, head: &[u8]) -> store::Result<Spilled> {
        let (block, body) = head.split_at(header::body_start(head));
        let watch = self.watch(transaction, block);
        let mut draft = self.context.store.draft();
        let (first, start) = if watch.is_idle() && !self.is_advised() {
            let (start, facts) = self.start(transaction, block, &Findings::default());
            (start, Start::Written(Box::new(facts)))
        } else {
            (Vec::new(), Start::Held(block.to_vec(), Box::new(watch)))
        };
        draft.write(&first)?;
        let mut spilled = Spilled { draft, eight_bit: !first.is_ascii(), start };
        spilled.take(body)?;
        Ok(spilled)
    }

    fn watch(&self, transaction: &Transaction, block: &[u8]) -> Watch {
        Watch { reader: self.reader(block), hash: self.body_hash(transaction), sample: self.is_judged().then(|| block.to_vec()) }
    }

    /// The end of the message: everything is decided here.
    pub(super) async fn data(&mut self, last: Vec<u8>) -> Answer {
        let Some(mut transaction) = self.transaction.take() else { return self.reply(refusal::out_of_order()) };
        let ready = match self.decided(&mut transaction, last).await {
            Ok(ready) => ready,
            Err(refused) => return self.refuse(&transaction, refused).await,
        };
        if transaction.is_for_traps_alone() {
            let reply = self.spring(&transaction, &ready).await;
            return self.reply_in(&transaction, reply);
        }
        self.slow().await;
        self.commit(transaction, ready).await
    }

    /// Decides about a message: it is ready to be committed, or refused. Nothing is written.
    pub(super) async fn decided(&mut self, transaction: &mut Transaction, last: Vec<u8>) -> Result<Ready, Refused> {
        self.settle_lists().await;
        let ready = self.ready(transaction, last).await?;
        match self.judge(&ready) {
            Ok(()) => Ok(ready),
            Err(reply) => {
                let Ready { body, inspected, mut judged, advised, .. } = ready;
                judged.events.extend(advised);
                let start = body.read(0, self.context.settings.receive.header_octets_max).unwrap_or_default();
                Err(Refused::from(reply).after(inspected, judged.events).about(&start, body.octets()))
            }
        }
    }

    /// The message's header with the fields it gets, as it is stored.
    pub(super) fn start(&self, transaction: &Transaction, block: &[u8], findings: &Findings) -> (Vec<u8>, Facts) {
        let now = self.context.clock.wall();
        let receipt = transaction.receipt.unwrap_or_else(|| self.context.receipt(now));
        let return_path = format!("Return-Path: <{}>\r\n", transaction.mail.reverse_path);
        let received = self.received(transaction, receipt, now);
        let hops = received::count(block);
        let mut start = Vec::with_capacity(return_path.len() + received.len() + block.len() + 1024);
        start.extend_from_slice(return_path.as_bytes());
        start.extend_from_slice(findings.judged.field.as_bytes());
        start.extend_from_slice(self.kept(transaction, findings).as_bytes());
        // None of them is for whom it is passed on to.
        let skip_octets = u32::try_from(start.len()).unwrap_or(0);
        let mut own_octets = 0;
        if self.role == Role::Submission {
            let completed = self.completed(block, receipt, now);
            let signatures = findings.hash.as_ref().map(|hash| self.signatures(&completed, hash, now));
            start.extend_from_slice(signatures.unwrap_or_default().as_bytes());
            start.extend_from_slice(received.as_bytes());
            own_octets = start.len();
            start.extend_from_slice(&completed);
        } else {
            let mut passed = findings.inspected.as_ref().map_or("", |inspected| &inspected.field).as_bytes().to_vec();
            passed.extend_from_slice(received.as_bytes());
            // Without any header what the message starts with is its body.
            let headless = header::fields(block).next().is_none() && !block.starts_with(b"\r\n");
            passed.extend_from_slice(if headless { b"\r\n" } else { b"" });
            passed.extend_from_slice(&self.without_forged(block));
            start.extend_from_slice(self.seal(transaction, &passed, findings, now).as_bytes());
            start.extend_from_slice(&passed);
        }
        (start, Facts { receipt, hops, skip_octets, own_octets, tls_optional: says_tls_optional(block) })
    }

    /// Where our own accounts sent from is not told to the world: their address stays in the trail.
    pub(super) fn received(&self, transaction: &Transaction, receipt: ReceiptId, now: Timestamp) -> String {
        let recipient = match transaction.recipients.as_slice() {
            [only] => Some(&only.recipient.address),
            _ => None,
        };
        let kind = match (self.role, self.esmtp) {
            (Role::Lmtp, _) => ProtocolKind::Lmtp,
            (_, true) => ProtocolKind::Esmtp,
            (_, false) => ProtocolKind::Smtp,
        };
        let authenticated = self.account.is_some();
        let tls = self.tls.as_ref().map(words_of);
        let field = Received {
            helo: &self.helo,
            peer: (!authenticated).then_some(self.peer),
            peer_name: self.peer_name.as_deref().filter(|_| !authenticated),
            by: self.context.settings.hostname.as_str(),
            protocol: Protocol { kind, tls: tls.is_some(), authenticated, utf8: transaction.mail.smtputf8 },
            tls: tls.as_deref(),
            id: Some(receipt),
            recipient,
            priority: transaction.mail.terms.priority,
            at: utc(now),
        };
        field.to_string()
    }

    pub(super) fn completed(&self, block: &[u8], receipt: ReceiptId, now: Timestamp) -> Vec<u8> {
        let message_id = format!("{receipt}.{:x}@{}", self.context.seed, self.context.settings.hostname);
        submission::complete(&self.without_forged(block), &Completion { date: utc(now), message_id: &message_id })
    }

    async fn ready(&mut self, transaction: &mut Transaction, last: Vec<u8>) -> Result<Ready, Refused> {
        let Some(mut spilled) = transaction.incoming.spilled.take() else { return self.ready_whole(transaction, last).await };
        let failure = |error| refusal::from_store(&error, false);
        spilled.take(&last).map_err(failure)?;
        let body = spilled.draft.finish().map_err(failure)?;
        if let Start::Held(block, _) = &spilled.start
            && self.is_lined_first(transaction)
        {
            let octets = body.read(0, usize::MAX).map_err(failure)?;
            return self.ready_whole(transaction, [block.as_slice(), &octets].concat()).await;
        }
        let (body, facts, inspected, judged) = match spilled.start {
            Start::Written(facts) => (body, *facts, None, Judged::default()),
            Start::Held(block, watch) => {
                let findings = match self.findings(transaction, *watch).await {
                    Ok(findings) => findings,
                    Err(refused) => {
                        let parts = Parts { block: &block, body: Shown::Stored(body), eight_bit: spilled.eight_bit };
                        return Err(Box::pin(self.kept_back(transaction, refused, parts)).await);
                    }
                };
                if self.is_advised() {
                    let parts = Parts { block: &block, body: Shown::Stored(body), eight_bit: spilled.eight_bit };
                    return self.ready_advised(transaction, parts, findings).await;
                }
                let (start, facts) = self.start(transaction, &block, &findings);
                (self.joined(&start, &body, 0).map_err(failure)?, facts, findings.inspected, findings.judged)
            }
        };
        let (filed, digest) = body.read(0, usize::MAX).and_then(|octets| self.readable(&octets)).map_err(failure)?;
        let eight_bit = spilled.eight_bit || inspected.as_ref().is_some_and(|inspected| !inspected.field.is_ascii());
        Ok(Ready { body, filed, digest, eight_bit, facts, inspected, judged, advised: Vec::new(), fate: Fate::Deliver })
    }

    /// What our readers get of a body if that is no lines, and the digest of what they get.
    pub(super) fn readable(&self, octets: &[u8]) -> store::Result<(Option<Body>, Digest)> {
        if binary::is_lines(octets) {
            return Ok((None, Digest::of(octets)));
        }
        let lines = binary::to_lines(octets);
        let mut draft = self.context.store.draft();
        draft.write(&lines)?;
        Ok((Some(draft.finish()?), Digest::of(&lines)))
    }

    /// A binary message that we sign is made lines before: most servers take no others, and its signature would not
    /// outlast that (RFC 6376 §5.3).
    fn is_lined_first(&self, transaction: &Transaction) -> bool {
        self.role == Role::Submission && transaction.mail.body == BodyType::BinaryMime
    }

    /// A message that came in one piece.
    async fn ready_whole(&mut self, transaction: &mut Transaction, last: Vec<u8>) -> Result<Ready, Refused> {
        let mut whole = std::mem::take(&mut transaction.incoming.head);
        if whole.is_empty() {
            whole = last;
        } else {
            whole.extend_from_slice(&last);
        }
        if self.is_lined_first(transaction) {
            whole = binary::to_lines(&whole).into_owned();
        }
        let (block, body) = whole.split_at(header::body_start(&whole));
        check_lines(block)?;
        let mut watch = self.watch(transaction, block);
        watch.body(body);
        let findings = match self.findings(transaction, watch).await {
            Ok(findings) => findings,
            Err(refused) => {
                let parts = Parts { block, body: Shown::Memory(body.into()), eight_bit: !whole.is_ascii() };
                return Err(Box::pin(self.kept_back(transaction, refused, parts)).await);
            }
        };
        if self.is_advised() {
            let parts = Parts { block, body: Shown::Memory(body.into()), eight_bit: !whole.is_ascii() };
            return self.ready_advised(transaction, parts, findings).await;
        }
        let (mut stored, facts) = self.start(transaction, block, &findings);
        stored.extend_from_slice(body);
        let (filed, digest) = self.readable(&stored).map_err(|error| refusal::from_store(&error, false))?;
        let eight_bit = !stored.is_ascii();
        let Findings { inspected, judged, .. } = findings;
        let body = Body::from_vec(stored);
        Ok(Ready { body, filed, digest, eight_bit, facts, inspected, judged, advised: Vec::new(), fate: Fate::Deliver })
    }

    async fn findings(&self, transaction: &mut Transaction, watch: Watch) -> Result<Findings, Refused> {
        let hash = watch.hash.map(mailauth::BodyHash::finish);
        let mut inspected = match watch.reader.map(mailauth::Reader::finish) {
            Some(evidence) => self.inspect(transaction, evidence).await,
            None => None,
        };
        if let Some(reply) = inspected.as_mut().and_then(|inspected| inspected.refusal.take()) {
            let judged = Judged { subjects: self.brought_by(None, inspected.as_ref()), ..Judged::default() };
            return Err(Refused::for_its(Findings { inspected, judged, hash }, reply));
        }
        let judged = match watch.sample {
            Some(sample) => self.wanted(transaction, &sample, inspected.as_ref()).await,
            None => Judged::default(),
        };
        if judged.is_refused {
            return Err(Refused::for_its(Findings { inspected, judged, hash }, refusal::unwanted()));
        }
        Ok(Findings { inspected, judged, hash })
    }

    /// A body from an octet on, with what stands before it.
    pub(super) fn joined(&self, start: &[u8], body: &Body, from: u64) -> store::Result<Body> {
        let mut draft = self.context.store.draft();
        draft.write(start)?;
        let mut at = from;
        while at < body.octets() {
            let chunk = body.read(at, COPIED_OCTETS)?;
            if chunk.is_empty() {
                break;
            }
            draft.write(&chunk)?;
            at += chunk.len() as u64;
        }
        draft.finish()
    }

    /// What speaks against the message itself.
    fn judge(&self, ready: &Ready) -> Result<(), Reply> {
        if ready.facts.hops > self.context.settings.receive.hops_max {
            return Err(refusal::looping());
        }
        let (Role::Submission, Some(account)) = (self.role, self.account) else { return Ok(()) };
        let Some(authors) = authors(&ready.digest) else { return Err(refusal::not_your_address()) };
        let read = self.context.store.read_short(|tx| {
            for author in &authors {
                if !tx.may_send_as_by(account, author, &self.context.settings.receive.subaddress.separators)? {
                    return Ok(false);
                }
            }
            Ok(true)
        });
        match read {
            Ok(true) => Ok(()),
            Ok(false) => Err(refusal::not_your_address()),
            Err(error) => Err(refusal::from_store(&error, false)),
        }
    }

    async fn commit(&self, transaction: Transaction, ready: Ready) -> Answer {
        let arrival = match self.arrival(&transaction, ready) {
            Ok(arrival) => Arc::new(arrival),
            Err(error) => return self.reply(refusal::from_store(&error, false)),
        };
        let all_or_nothing = self.role != Role::Lmtp;
        let (inside, now) = (Arc::clone(&arrival), self.context.clock.wall());
        let settings = Arc::clone(&self.context.settings);
        let written = self.context.store.write(move |tx| {
            if all_or_nothing { take_for_somebody(tx, &inside, now, &settings) } else { local::take(tx, &inside, now, &settings) }
        });
        let permanent = self.context.settings.receive.over_quota_is_permanent;
        match written.await {
            Ok(placed) => self.accepted(&arrival, &placed, permanent),
            Err(error) => {
                let refused = refusal::from_store(&error, permanent);
                if self.role == Role::Lmtp { Answer::Replies(vec![refused; arrival.recipients.len()]) } else { self.reply(refused) }
            }
        }
    }

    pub(super) fn arrival(&self, transaction: &Transaction, ready: Ready) -> store::Result<Arrival> {
        let terms = self.terms(transaction)?;
        let copy =
            self.outbox_copy(transaction, &terms, ready.filed.as_ref().unwrap_or(&ready.body), &ready.digest, ready.facts.own_octets)?;
        let command = &transaction.mail;
        let Ready { body, filed, digest, eight_bit, facts, mut inspected, judged, advised, fate } = ready;
        let role = if inspected.as_ref().is_some_and(|inspected| inspected.is_junk) { mail::Role::Junk } else { mail::Role::Inbox };
        let source = match self.role {
            Role::Mx => Source::Mx,
            Role::Submission => Source::Submission,
            Role::Lmtp => Source::Lmtp,
        };
        let accepted = Event::Accepted {
            source,
            peer: Some(self.peer),
            helo: self.helo.clone(),
            tls: self.tls.as_ref().map(words_of),
            account: self.account,
            reverse_path: command.reverse_path.clone(),
            message_id: digest.message_id.clone(),
            octets: body.octets(),
        };
        Ok(Arrival {
            receipt: Some(facts.receipt),
            source,
            account: self.account,
            reverse_path: command.reverse_path.clone(),
            ret: command.ret,
            envelope_id: command.envelope_id.clone(),
            body_type: body_type(command.body, eight_bit, filed.is_some()),
            smtputf8: command.smtputf8,
            tls: demand(command, &facts),
            tls_report: if source == Source::Mx { tls_report(&body, &digest) } else { None },
            dmarc_report: if source == Source::Mx { dmarc_report(&body, &digest) } else { None },
            terms,
            release_request: command.release_request.clone(),
            recipients: transaction.recipients.iter().map(|Accepted { recipient, targets }| (recipient.clone(), targets.clone())).collect(),
            refused: transaction.refused.clone(),
            when_full: if self.role == Role::Lmtp { WhenFull::Refuse } else { WhenFull::QueueUnlessAll },
            body,
            filed,
            digest,
            skip_octets: facts.skip_octets,
            accepted,
            copy,
            prospect: inspected.as_ref().map_or_else(Prospect::unasked, |inspected| inspected.prospect.clone()),
            figures: inspected.as_mut().and_then(|inspected| inspected.figures.take()),
            judged: inspected.map(|inspected| inspected.events).into_iter().flatten().chain(judged.events).chain(advised).collect(),
            junk: judged.junk,
            subjects: judged.subjects,
            is_trapped: !transaction.traps.is_empty(),
            role,
            fate,
        })
    }

    fn accepted(&self, arrival: &Arrival, placed: &Placed, over_quota_is_permanent: bool) -> Answer {
        self.tell(arrival, placed);
        let taken = Reply::new(250, (2, 6, 0), format!("{} accepted", placed.receipt));
        if self.role != Role::Lmtp {
            return Answer::Reply(taken);
        }
        let each = |reached: &bool| if *reached { taken.clone() } else { refusal::over_quota(over_quota_is_permanent) };
        Answer::Replies(placed.reached.iter().map(each).collect())
    }
}

impl Receiver {
    fn tell(&self, arrival: &Arrival, placed: &Placed) {
        if placed.is_nowhere() {
            return;
        }
        let counters = &self.context.counters;
        Counters::count(match self.role {
            Role::Mx => &counters.accepted_mx,
            Role::Submission => &counters.accepted_submission,
            Role::Lmtp => &counters.accepted_lmtp,
        });
        counters.delivered.fetch_add(placed.delivered, Ordering::Relaxed);
        tracing::info!(
            receipt = %placed.receipt,
            source = ?arrival.source,
            peer = %self.peer,
            account = arrival.account.map(|account| account.0),
            from = %arrival.reverse_path,
            message_id = arrival.digest.message_id.as_deref(),
            octets = arrival.body.octets(),
            delivered = placed.delivered,
            queued = placed.queued,
            "accepted"
        );
    }
}

/// Takes a message, unless nobody has room for it.
pub(super) fn take_for_somebody(tx: &mut WriteTx, arrival: &Arrival, now: Timestamp, settings: &Settings) -> store::Result<Placed> {
    let placed = local::take(tx, arrival, now, settings)?;
    if placed.is_nowhere() { Err(store::Error::OverQuota { used_octets: 0, octets_max: 0 }) } else { Ok(placed) }
}

/// What the octets are, whatever MAIL said: binary only if they are no lines.
const fn body_type(said: BodyType, eight_bit: bool, binary: bool) -> BodyType {
    match (said, eight_bit) {
        (BodyType::BinaryMime, _) if binary => BodyType::BinaryMime,
        (BodyType::SevenBit | BodyType::BinaryMime, false) => BodyType::SevenBit,
        _ => BodyType::EightBitMime,
    }
}

/// The message may go without TLS, says its header (RFC 8689 §3).
pub(super) fn says_tls_optional(block: &[u8]) -> bool {
    header::value(block, "TLS-Required").is_some_and(|value| value.trim().eq_ignore_ascii_case("no"))
}

/// What the sender says of TLS; the header field counts where MAIL says nothing (RFC 8689 §4.1).
fn demand(command: &MailCommand, facts: &Facts) -> TlsDemand {
    match (command.require_tls, facts.tls_optional) {
        (true, _) => TlsDemand::Required,
        (false, true) => TlsDemand::Optional,
        (false, false) => TlsDemand::ByPolicy,
    }
}

/// The TLS report that the message carries, if it does; one that cannot be read is mail like any other.
fn tls_report(body: &Body, digest: &Digest) -> Option<String> {
    let carries = digest.body.parameter("report-type").is_some_and(|kind| kind.eq_ignore_ascii_case("tlsrpt"));
    if !carries || body.octets() > TLS_REPORT_OCTETS_MAX {
        return None;
    }
    let octets = body.read(0, usize::MAX).ok()?;
    match tls_rpt::find(&octets, digest)? {
        Ok(report) => Some(report.json()),
        Err(why) => {
            tracing::info!(why, "a mail with a TLS report cannot be read");
            None
        }
    }
}

/// The DMARC report that the message carries, if it does; one that cannot be read is mail like any other.
fn dmarc_report(body: &Body, digest: &Digest) -> Option<dmarc_report::Found> {
    if body.octets() > DMARC_REPORT_OCTETS_MAX || !dmarc_report::may_carry(digest) {
        return None;
    }
    let octets = body.read(0, usize::MAX).ok()?;
    match dmarc_report::find(&octets, digest)? {
        Ok(found) => Some(found),
        Err(why) => {
            tracing::info!(why, "a mail with a DMARC report cannot be read");
            None
        }
    }
}

/// Who the message says it is from: every address of `From` and `Sender`. `None` if one of them is no
/// address that we could compare with ours.
fn authors(digest: &Digest) -> Option<Vec<Address>> {
    let items = digest.envelope.from.iter().chain(&digest.envelope.sender);
    let mailboxes = items.filter_map(|item| Some((item.mailbox.as_deref()?, item.host.as_deref()?)));
    mailboxes.map(|(mailbox, host)| Address::parse(&format!("{}@{host}", quoted(mailbox))).ok()).collect()
}

/// A local part as an envelope writes it.
fn quoted(local_part: &str) -> String {
    let plain = local_part.chars().all(|c| c.is_alphanumeric() || "!#$%&'*+-/=?^_`{|}~.".contains(c));
    if plain { local_part.to_owned() } else { format!("\"{}\"", local_part.replace('\\', "\\\\").replace('"', "\\\"")) }
}

fn utc(at: Timestamp) -> DateTime {
    DateTime { at, zone_minutes: 0 }
}

/// A header is lines, also of a binary message (RFC 3030 §3). A CR on its own would be a line's end for some readers, and
/// what they take for a field we would not have seen.
fn check_lines(block: &[u8]) -> Result<(), Reply> {
    let is_alone = |(at, octet): (usize, &u8)| *octet == b'\r' && block.get(at + 1) != Some(&b'\n');
    if block.iter().enumerate().any(is_alone) { Err(refusal::bare()) } else { Ok(()) }
}

fn has_whole_header(head: &[u8]) -> bool {
    let start = header::body_start(head);
    start < head.len() || head.ends_with(b"\r\n\r\n") || head == b"\r\n"
}
