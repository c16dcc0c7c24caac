//! Takes a message into the store: mailboxes, queue, trail and receipt in one transaction.
//!
//! Used by whoever brings a message: a receiver, a report, the queue for mail that was once elsewhere's.
//!
//! Invariant: every recipient ends in exactly one of filed, queued or not reached; an account gets a
//! message once however many recipients lead to it.

use crate::bounce;
use crate::forward::{self, Prospect};
use crate::outbound;
use crate::outbox;
use crate::queue::schedule::retry_at;
use crate::return_path::srs::{self, Rewritten};
use crate::return_path::{Key, verp};
use crate::returned;
use crate::route::backup;
use crate::settings::Settings;
use crate::subaddress;
use crate::transport::dmarc_report::{DayPolicy, Found};
use crate::transport::tls_rpt::day_of;
use filter::reputation::Subject;
use mail::binary;
use mail::digest::Digest;
use mail::event::Source;
use mail::{
    AccountId, Address, BodyType, Domain, EmailId, Event, Flags, MailboxId, ReceiptId, Recipient, Ret, ReversePath, Role, Terms, Timestamp,
    TlsDemand, TrailEntry, Uid,
};
use mailauth::dmarc::Discovery;
use mailauth::dmarc::aggregate::{Done, Published, Row};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;
use store::{Body, Delivery, Error, NewEmail, QueueMessage, QueueRecipient, RecipientState, Resolution, WriteTx};

/// Recipients of one message that count as people its sender writes to: who writes to more knows them less.
const CORRESPONDENTS_NOTED_MAX: usize = 50;

/// A message that arrives, with everything that is known of it.
#[derive(Debug)]
pub(crate) struct Arrival {
    /// The receipt that was written into it, if one was.
    pub(crate) receipt: Option<ReceiptId>,
    pub(crate) source: Source,
    pub(crate) account: Option<AccountId>,
    pub(crate) reverse_path: ReversePath,
    pub(crate) ret: Option<Ret>,
    pub(crate) envelope_id: Option<String>,
    pub(crate) body_type: BodyType,
    pub(crate) smtputf8: bool,
    /// What the sender says of TLS.
    pub(crate) tls: TlsDemand,
    /// A TLS report that it carries, JSON.
    pub(crate) tls_report: Option<String>,
    /// A DMARC report that it carries.
    pub(crate) dmarc_report: Option<Found>,
    pub(crate) terms: Terms,
    /// How the sender asked for a later release, in words.
    pub(crate) release_request: Option<String>,
    /// Each with where it leads.
    pub(crate) recipients: Vec<(Recipient, Vec<Delivery>)>,
    /// What the trail tells of recipients that were refused.
    pub(crate) refused: Vec<Event>,
    /// What is done about full mailboxes.
    pub(crate) when_full: WhenFull,
    pub(crate) body: Body,
    /// What mailboxes get instead where the message is no lines: IMAP and POP3 carry no others.
    pub(crate) filed: Option<Body>,
    /// Of what mailboxes get.
    pub(crate) digest: Digest,
    /// Octets at the start that other servers do not get.
    pub(crate) skip_octets: u32,
    /// The first event of the trail.
    pub(crate) accepted: Event,
    /// Its sender's copy, for the Outbox, if it waits.
    pub(crate) copy: Option<(Body, Digest)>,
    /// What was found out about it, for the trail.
    pub(crate) judged: Vec<Event>,
    /// For the report to its author's domain.
    pub(crate) figures: Option<Figures>,
    /// Accounts that get it into Junk.
    pub(crate) junk: BTreeSet<AccountId>,
    /// Who brings it, as far as that is proven: what is taught of it later is taught of them, too.
    pub(crate) subjects: Vec<Subject>,
    /// It was for a spam trap, too.
    pub(crate) is_trapped: bool,
    /// Where our users find it.
    pub(crate) role: Role,
    /// What becomes of it if it is forwarded.
    pub(crate) prospect: Prospect,
    /// What advisers want to become of it.
    pub(crate) fate: Fate,
}

/// What is to become of a message that is taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It goes where it is sent.
    Deliver,
    /// It is held in the queue, whoever it is for, until an administrator has looked at it.
    Hold,
    /// It is thrown away: by whom, in words.
    Discard(String),
}

/// What a message adds to the report of its author's domain (RFC 9990).
#[derive(Debug, Clone)]
pub(crate) struct Figures {
    day: u32,
    domain: Domain,
    policy: String,
    row: String,
}

impl Figures {
    /// `None`: the domain wants no reports.
    pub(crate) fn of(outcome: &mailauth::Outcome, peer: IpAddr, done: Done, discovery: Discovery, at: Timestamp) -> Option<Self> {
        let wanted = &outcome.dmarc.reports_to;
        let published = Published::of(outcome, discovery).filter(|_| !wanted.is_empty())?;
        let domain = Domain::parse(&published.domain).ok()?;
        let policy = serde_json::to_string(&DayPolicy { published, wanted: wanted.clone() }).ok()?;
        Some(Self { day: day_of(at), domain, policy, row: serde_json::to_string(&Row::of(outcome, peer, done)).ok()? })
    }

    pub(crate) fn count(&self, tx: &mut WriteTx) -> store::Result<()> {
        tx.dmarc_count(self.day, &self.domain, &self.policy, &self.row)
    }
}

/// What is done about recipients whose mailbox is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WhenFull {
    /// They are not reached; the peer hears it.
    Refuse,
    /// They are tried again from the queue, if somebody else gets the message.
    QueueUnlessAll,
    /// They are tried again from the queue.
    Queue,
}

/// What became of an arrival.
#[derive(Debug)]
pub(crate) struct Placed {
    pub(crate) receipt: ReceiptId,
    /// For each recipient whether anybody gets the message for it.
    pub(crate) reached: Vec<bool>,
    /// How many recipients it was filed for.
    pub(crate) delivered: u64,
    /// How many the queue has it for.
    pub(crate) queued: usize,
}

impl Placed {
    /// Nobody gets the message.
    pub(crate) fn is_nowhere(&self) -> bool {
        !self.reached.contains(&true)
    }
}

/// Where a message was filed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Filed {
    mailbox: MailboxId,
    email: EmailId,
    uid: Uid,
}

impl Filed {
    pub(crate) fn event(self, recipient: &Address, account: AccountId) -> Event {
        Event::Delivered { recipient: recipient.clone(), account, mailbox: self.mailbox, email: self.email, uid: self.uid }
    }
}

/// Takes a message. Full mailboxes are no error here: [`Placed::reached`] tells.
pub(crate) fn take(tx: &mut WriteTx, arrival: &Arrival, now: Timestamp, settings: &Settings) -> store::Result<Placed> {
    let receipt = receipt(tx, arrival, now)?;
    if let Fate::Discard(why) = &arrival.fate {
        return discard(tx, arrival, receipt, why, now);
    }
    let key = Key::of(tx)?;
    let mut taking = Taking {
        tx,
        arrival,
        now,
        settings,
        key: key.as_ref(),
        filed: BTreeMap::new(),
        queued: Vec::new(),
        queued_keys: BTreeSet::new(),
        return_paths: BTreeMap::new(),
        events: Vec::new(),
    };
    taking.events.push(arrival.accepted.clone());
    taking.events.extend(arrival.judged.iter().cloned());
    taking.events.extend(arrival.refused.iter().cloned());
    let outcomes =
        arrival.recipients.iter().map(|(recipient, targets)| taking.recipient(recipient, targets)).collect::<store::Result<Vec<_>>>()?;
    let Taking { mut queued, mut events, mut return_paths, .. } = taking;
    let mut reached: Vec<bool> = outcomes.iter().map(|outcome| outcome.reached).collect();
    let queue_full = match arrival.when_full {
        WhenFull::Refuse => false,
        WhenFull::QueueUnlessAll => reached.contains(&true),
        WhenFull::Queue => true,
    };
    if queue_full {
        for ((outcome, reached), (recipient, _)) in outcomes.iter().zip(&mut reached).zip(&arrival.recipients) {
            *reached |= !outcome.full.is_empty();
            for (account, detail) in &outcome.full {
                queued.extend(retry_full(tx, (*account, detail.as_deref()), recipient, receipt, now, settings)?);
            }
        }
    }
    let waiting = queued.len();
    let delivered = outcomes.iter().filter(|outcome| outcome.filed).count() as u64;
    if reached.contains(&true) {
        let held = submitted(tx, arrival, now, settings)?;
        if arrival.is_trapped {
            tx.trap_sprung(&arrival.subjects, now)?;
        }
        note_correspondents(tx, arrival, now)?;
        events.extend(queued.iter().map(|entry| Event::Queued { recipient: entry.recipient.address.clone() }));
        if !queued.is_empty() {
            return_path_each(arrival, receipt, key.as_ref(), &queued, &mut return_paths, settings);
            let held_by_any = held || arrival.fate == Fate::Hold;
            tx.queue_add(
                &QueueMessage { held: held_by_any, return_paths, ..entry(arrival, receipt, queued, now, settings) },
                &arrival.body,
            )?;
            events.extend(outbox::enter(tx, arrival, receipt, now)?);
            // What an adviser holds is not the outbound guard's to release.
            events.extend((held && arrival.fate != Fate::Hold).then(outbound::event));
        }
        if let Some(report) = &arrival.tls_report {
            tx.tls_report_add(now, report)?;
        }
        if let Some(figures) = &arrival.figures {
            figures.count(tx)?;
        }
        if let Some(report) = &arrival.dmarc_report {
            keep_report(tx, now, report)?;
        }
        events.extend(report_success(tx, arrival, &outcomes, receipt, now, settings)?);
        let entries: Vec<_> = events.into_iter().map(|event| TrailEntry { at: now, event }).collect();
        tx.trail_append(receipt, &entries)?;
        returned::note(tx, key.as_ref(), arrival, receipt, now, settings)?;
    }
    Ok(Placed { receipt, reached, delivered, queued: waiting })
}

/// Leaves nothing of a message but its trail.
fn discard(tx: &mut WriteTx, arrival: &Arrival, receipt: ReceiptId, why: &str, now: Timestamp) -> store::Result<Placed> {
    let mut events = vec![arrival.accepted.clone()];
    events.extend(arrival.judged.iter().chain(&arrival.refused).cloned());
    let gone = arrival.recipients.iter().map(|(to, _)| Event::Discarded { recipient: to.address.clone(), reason: why.to_owned() });
    events.extend(gone);
    let entries: Vec<_> = events.into_iter().map(|event| TrailEntry { at: now, event }).collect();
    tx.trail_append(receipt, &entries)?;
    if let Some(figures) = &arrival.figures {
        figures.count(tx)?;
    }
    Ok(Placed { receipt, reached: vec![true; arrival.recipients.len().max(1)], delivered: 0, queued: 0 })
}

/// Keeps a report that came in.
fn keep_report(tx: &mut WriteTx, now: Timestamp, report: &Found) -> store::Result<()> {
    let json = |written: serde_json::Result<String>| written.unwrap_or_default();
    match report {
        Found::Aggregate(report) => tx.dmarc_report_add(now, &json(serde_json::to_string(report))),
        Found::Failure(failure) => tx.failure_report_add(now, &json(serde_json::to_string(failure))),
    }
}

/// Counts what an account sends; whether it is held.
fn submitted(tx: &mut WriteTx, arrival: &Arrival, now: Timestamp, settings: &Settings) -> store::Result<bool> {
    let (Source::Submission, Some(account)) = (arrival.source, arrival.account) else { return Ok(false) };
    let recipients = arrival.recipients.iter().map(|(to, _)| &to.address);
    Ok(outbound::submitted(tx, account, recipients, now, settings)?.is_some())
}

/// Remembers to whom an account writes.
fn note_correspondents(tx: &mut WriteTx, arrival: &Arrival, now: Timestamp) -> store::Result<()> {
    let (Source::Submission, Some(account)) = (arrival.source, arrival.account) else { return Ok(()) };
    arrival.recipients.iter().take(CORRESPONDENTS_NOTED_MAX).try_for_each(|(to, _)| tx.correspondent_note(account, &to.address, now))
}

/// Gives each recipient elsewhere a return path of its own, if the sender's mail has that.
fn return_path_each(
    arrival: &Arrival,
    receipt: ReceiptId,
    key: Option<&Key>,
    queued: &[QueueRecipient],
    return_paths: &mut BTreeMap<u32, Address>,
    settings: &Settings,
) {
    let (Source::Submission, Some(sender), Some(key)) = (arrival.source, &arrival.reverse_path.0, key) else { return };
    if !settings.delivery.return_paths.iter().any(|one| one.matches(sender)) {
        return;
    }
    for place in 0..queued.len() {
        let own = u32::try_from(place).ok().zip(verp::make(key, sender, receipt, place));
        return_paths.extend(own.filter(|(place, _)| !return_paths.contains_key(place)));
    }
}

/// The receipt of an arrival: the one written into it, unless that was given to another meanwhile.
fn receipt(tx: &mut WriteTx, arrival: &Arrival, now: Timestamp) -> store::Result<ReceiptId> {
    match arrival.receipt {
        Some(receipt) if tx.receipt_take(receipt)? => Ok(receipt),
        _ => tx.receipt_next(now),
    }
}

/// What became of one recipient.
struct Outcome {
    reached: bool,
    /// A mailbox here has it.
    filed: bool,
    /// Accounts whose mailbox is full.
    full: Vec<(AccountId, Option<String>)>,
}

struct Taking<'a> {
    tx: &'a mut WriteTx,
    arrival: &'a Arrival,
    now: Timestamp,
    settings: &'a Settings,
    /// By which return paths are signed.
    key: Option<&'a Key>,
    filed: BTreeMap<AccountId, Option<Filed>>,
    queued: Vec<QueueRecipient>,
    queued_keys: BTreeSet<String>,
    /// By places in `queued`.
    return_paths: BTreeMap<u32, Address>,
    events: Vec<Event>,
}

impl Taking<'_> {
    fn recipient(&mut self, recipient: &Recipient, targets: &[Delivery]) -> store::Result<Outcome> {
        let words = targets.iter().map(words).collect();
        self.events.push(Event::Resolved { recipient: recipient.address.clone(), targets: words });
        let mut outcome = Outcome { reached: false, filed: false, full: Vec::new() };
        for target in targets {
            match target {
                Delivery::Mailbox { account, detail } if self.release() > self.now || self.arrival.fate == Fate::Hold => {
                    outcome.reached |= self.hold(*account, detail.as_deref(), recipient)?;
                }
                Delivery::Mailbox { account, detail } => match self.file_once(*account, detail.as_deref())? {
                    Some(filed) => {
                        self.events.push(filed.event(&recipient.address, *account));
                        outcome.reached = true;
                        outcome.filed = true;
                    }
                    None => outcome.full.push((*account, detail.clone())),
                },
                Delivery::Forward(address) if recipient.address == *address => {
                    outcome.reached = true;
                    self.queue(recipient, address);
                }
                Delivery::Forward(address) => self.forward(recipient, address, targets, &mut outcome)?,
            }
        }
        Ok(outcome)
    }

    /// An address of ours leads elsewhere: there it goes if it will be believed there, or if nobody here could keep it.
    fn forward(&mut self, recipient: &Recipient, to: &Address, targets: &[Delivery], outcome: &mut Outcome) -> store::Result<()> {
        let returns = srs::is_rewritten(&recipient.address);
        let reason = match &self.arrival.prospect {
            Prospect::Fails(why) if self.settings.forwarding.keep && !returns => match self.keep(recipient, targets, outcome)? {
                Some(kept) => {
                    let reason = format!("{why}; {kept}");
                    self.events.push(Event::NotForwarded { recipient: recipient.address.clone(), to: to.clone(), reason });
                    return Ok(());
                }
                None => format!("sent all the same, because nobody here could keep it: {why}"),
            },
            Prospect::Fails(why) => format!("sent all the same: {why}"),
            Prospect::Survives(why) => why.clone(),
        };
        outcome.reached = true;
        let return_path = self.return_path(&recipient.address)?;
        let told = ReversePath(return_path.clone().or_else(|| self.arrival.reverse_path.0.clone()));
        self.events.push(Event::Forwarded { recipient: recipient.address.clone(), to: to.clone(), return_path: told, reason });
        if self.queue(recipient, to)
            && let (Some(own), Ok(place)) = (return_path, u32::try_from(self.queued.len().saturating_sub(1)))
        {
            self.return_paths.insert(place, own);
        }
        Ok(())
    }

    /// Sees to it that somebody here has a message that is not forwarded; who, in words.
    fn keep(&mut self, recipient: &Recipient, targets: &[Delivery], outcome: &mut Outcome) -> store::Result<Option<String>> {
        if targets.iter().any(|target| matches!(target, Delivery::Mailbox { .. })) {
            return Ok(Some("it is in the mailbox here".to_owned()));
        }
        let Some(keeper) = self.settings.forwarding.keep_at.clone() else { return Ok(None) };
        let Resolution::Found(deliveries) = self.tx.resolve(&keeper)? else { return Ok(None) };
        let mut kept = None;
        for delivery in deliveries {
            let Delivery::Mailbox { account, detail } = delivery else { continue };
            match self.file_once(account, detail.as_deref())? {
                Some(filed) => {
                    self.events.push(filed.event(&recipient.address, account));
                    (outcome.reached, outcome.filed) = (true, true);
                }
                None => outcome.full.push((account, detail)),
            }
            kept = Some(format!("{keeper} keeps it"));
        }
        Ok(kept)
    }

    /// The sender under which an alias's mail leaves, if it is not the message's own.
    fn return_path(&mut self, alias: &Address) -> store::Result<Option<Address>> {
        let sender = &self.arrival.reverse_path;
        let is_ours = sender.0.as_ref().map(|sender| self.tx.domain(sender.domain())).transpose()?.flatten().is_some();
        let rewritten = forward::return_path(&self.settings.forwarding, self.key, sender, is_ours, alias, self.now);
        match (rewritten, &sender.0) {
            (Some(Rewritten::Named { address, token }), Some(sender)) => {
                self.tx.long_sender_note(&token, sender, self.now)?;
                Ok(Some(address))
            }
            (Some(Rewritten::Whole(address)), _) => Ok(Some(address)),
            _ => Ok(None),
        }
    }

    /// When it may leave us, and be filed.
    fn release(&self) -> Timestamp {
        self.arrival.terms.hold_until.map_or(self.now, |until| until.max(self.now))
    }

    /// Queues it for a mailbox here, whose own address then leads to nobody else.
    fn hold(&mut self, account: AccountId, detail: Option<&str>, recipient: &Recipient) -> store::Result<bool> {
        let Some(account) = self.tx.account(account)? else { return Ok(false) };
        self.queue(recipient, &subaddress::of(account.address, detail));
        Ok(true)
    }

    /// `None`: the mailbox is full.
    fn file_once(&mut self, account: AccountId, detail: Option<&str>) -> store::Result<Option<Filed>> {
        if let Some(filed) = self.filed.get(&account) {
            return Ok(*filed);
        }
        let role = if self.arrival.junk.contains(&account) { Role::Junk } else { self.arrival.role };
        let into = subaddress::mailbox(self.tx, account, detail.filter(|_| role == Role::Inbox), self.settings)?;
        let filed = match file(
            self.tx,
            account,
            into,
            role,
            self.arrival.filed.as_ref().unwrap_or(&self.arrival.body),
            &self.arrival.digest,
            self.now,
        ) {
            Ok(filed) => Some(filed),
            Err(Error::OverQuota { .. } | Error::TooManyEmails { .. }) => None,
            Err(error) => return Err(error),
        };
        if let Some(filed) = &filed {
            self.tx.origin_note(account, filed.email, &self.arrival.subjects, self.now)?;
        }
        self.filed.insert(account, filed);
        Ok(filed)
    }

    /// Whether it was not queued for that address already.
    fn queue(&mut self, recipient: &Recipient, to: &Address) -> bool {
        if !self.queued_keys.insert(to.key()) {
            return false;
        }
        let original = recipient.original.clone().or_else(|| (recipient.address != *to).then(|| format!("rfc822;{}", recipient.address)));
        let recipient = Recipient { address: to.clone(), notify: recipient.notify, original };
        self.queued.push(QueueRecipient { recipient, state: open(self.release()) });
        true
    }
}

fn open(next: Timestamp) -> RecipientState {
    RecipientState::Open { attempts: 0, next, delay_reported: false, last: None }
}

fn words(delivery: &Delivery) -> String {
    match delivery {
        Delivery::Mailbox { account, .. } => format!("account {account}"),
        Delivery::Forward(address) => address.to_string(),
    }
}

/// The queue's entry for an account whose mailbox is full: its own address, so that nobody else who
/// shares the recipient's address gets the message twice.
fn retry_full(
    tx: &mut WriteTx,
    (account, detail): (AccountId, Option<&str>),
    recipient: &Recipient,
    receipt: ReceiptId,
    now: Timestamp,
    settings: &Settings,
) -> store::Result<Option<QueueRecipient>> {
    let Some(account) = tx.account(account)? else { return Ok(None) };
    let expires = now.after(settings.queue.lifetime);
    let next = retry_at(now, 1, expires, receipt, &settings.queue).unwrap_or(expires);
    let last = Some("the mailbox is full".to_owned());
    let state = RecipientState::Open { attempts: 1, next, delay_reported: false, last };
    Ok(Some(QueueRecipient { recipient: Recipient { address: subaddress::of(account.address, detail), ..recipient.clone() }, state }))
}

/// The lifetime begins when the message may leave (RFC 4865 §4.2.2); what is to be returned when it is late is over
/// by then (RFC 2852 §4.1.3).
fn expires(terms: &Terms, now: Timestamp, lifetime: Duration) -> Timestamp {
    let lifetime_over = terms.hold_until.map_or(now, |until| until.max(now)).after(lifetime);
    terms.returned_at().map_or(lifetime_over, |at| at.min(lifetime_over))
}

/// The longest of those that its recipients' domains have; mail for domains that we are a backup for may be kept longer.
fn lifetime(source: Source, recipients: &[QueueRecipient], settings: &Settings) -> Duration {
    let own = |entry: &QueueRecipient| backup(&settings.backups, entry.recipient.address.domain())?.lifetime;
    let longest = recipients.iter().filter(|_| source == Source::Mx).filter_map(own).max();
    longest.map_or(settings.queue.lifetime, |longest| longest.max(settings.queue.lifetime))
}

fn entry(arrival: &Arrival, receipt: ReceiptId, recipients: Vec<QueueRecipient>, now: Timestamp, settings: &Settings) -> QueueMessage {
    QueueMessage {
        receipt,
        source: arrival.source,
        reverse_path: arrival.reverse_path.clone(),
        ret: arrival.ret,
        envelope_id: arrival.envelope_id.clone(),
        body: arrival.body_type,
        smtputf8: arrival.smtputf8,
        blob: arrival.body.hash(),
        skip_octets: arrival.skip_octets,
        octets: arrival.body.octets().saturating_sub(arrival.skip_octets.into()),
        accepted: now,
        expires: expires(&arrival.terms, now, lifetime(arrival.source, &recipients, settings)),
        held: false,
        account: arrival.account,
        recipients,
        tls: arrival.tls,
        terms: arrival.terms,
        return_paths: BTreeMap::new(),
        held_by: None,
        release_request: arrival.release_request.clone(),
    }
}

/// Tells the sender of what was filed at once, if that was asked for (RFC 3461 §4.1 NOTIFY=SUCCESS).
fn report_success(
    tx: &mut WriteTx,
    arrival: &Arrival,
    outcomes: &[Outcome],
    receipt: ReceiptId,
    now: Timestamp,
    settings: &Settings,
) -> store::Result<Vec<Event>> {
    let filed = outcomes.iter().zip(&arrival.recipients).filter(|(outcome, _)| outcome.filed).map(|(_, (recipient, _))| recipient);
    let Some(report) = bounce::all_delivered(filed, now).filter(|_| arrival.reverse_path.0.is_some()) else {
        return Ok(Vec::new());
    };
    let subject = bounce::Subject {
        receipt,
        reverse_path: arrival.reverse_path.clone(),
        ret: arrival.ret,
        envelope_id: arrival.envelope_id.clone(),
        blob: arrival.body.hash(),
        skip_octets: arrival.skip_octets,
        octets: arrival.body.octets().saturating_sub(arrival.skip_octets.into()),
        smtputf8: arrival.smtputf8,
        tls: arrival.tls,
        accepted: now,
        release_request: arrival.release_request.clone(),
    };
    bounce::send(tx, &subject, &report, now, settings)
}

/// What mailboxes get of a queued message, and its digest, made again.
pub(crate) fn again(tx: &WriteTx, message: &QueueMessage) -> store::Result<(Body, Digest)> {
    let octets = tx.blob_read(&message.blob, 0, usize::MAX)?;
    let octets = binary::to_lines(&octets);
    Ok((Body::new(&octets), Digest::of(&octets)))
}

/// The digest of a body that was too large to be kept in memory while it came.
pub(crate) fn digest(body: &Body) -> store::Result<Digest> {
    Ok(Digest::of(&body.read(0, usize::MAX)?))
}

/// Files a message in that mailbox of an account, else in that of the role, or in its inbox if there is none.
pub(crate) fn file(
    tx: &mut WriteTx,
    account: AccountId,
    into: Option<MailboxId>,
    role: Role,
    body: &Body,
    digest: &Digest,
    now: Timestamp,
) -> store::Result<Filed> {
    let mailbox = match into.map_or_else(|| tx.mailbox_by_role(account, role), |id| tx.mailbox(account, id))? {
        Some(mailbox) => mailbox,
        None => tx.mailbox_by_role(account, Role::Inbox)?.ok_or(Error::NotFound("mailbox".into()))?,
    };
    let added = tx.email_add(account, mailbox.id, NewEmail { body, digest, flags: Flags::default(), internal_date: now, saved: now })?;
    Ok(Filed { mailbox: mailbox.id, email: added.email, uid: added.uid })
}
