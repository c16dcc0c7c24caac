//! What became of everything that was sent: nothing may be lost, nothing may come twice but where a
//! connection broke between the final dot and its reply.
//!
//! It looks at mailboxes and queues, not at trails: what a server says of itself is not evidence. The one
//! exception is the report that could be delivered to nobody: that it was given up is in a trail only.

use crate::faults::message_id;
use crate::host::{Host, Submitted};
use crate::witness::Witness;
use mail::{Address, Event, ReceiptId, Timestamp, TrailEntry};
use std::collections::{BTreeMap, BTreeSet};
use store::{QueueRecipient, RecipientState};

/// What became of one message for one recipient.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fate {
    /// How many times it is in the recipient's mailbox.
    pub delivered: usize,
    /// How many queues have it for the recipient.
    pub queued: usize,
    /// How many reports of its failure are in the sender's mailbox or on their way there.
    pub bounced: usize,
    /// A report of its failure could not be delivered, and was given up.
    pub abandoned: bool,
    /// How many times it may be there beyond once, because an acceptance may not have been heard.
    pub doubts: usize,
    /// When it was promised.
    pub promised: Timestamp,
    /// When it first came into the recipient's mailbox.
    pub arrived: Option<Timestamp>,
}

impl Fate {
    fn places(&self) -> usize {
        self.delivered + self.queued + self.bounced
    }

    /// It is nowhere.
    pub fn is_lost(&self) -> bool {
        self.places() == 0 && !self.abandoned
    }

    /// It is in exactly one place.
    pub fn is_sound(&self) -> bool {
        self.places() == 1
    }

    /// It is in more places than the network can explain.
    pub fn is_excessive(&self) -> bool {
        self.places() > 1 + self.doubts
    }
}

/// What became of everything.
#[derive(Debug, Default)]
pub struct Audit {
    /// By Message-ID and recipient.
    pub fates: BTreeMap<(String, Address), Fate>,
    /// Who sent what, in order: Message-IDs by sender and recipient.
    pub sent: BTreeMap<(Address, Address), Vec<String>>,
    /// What came, in order, first copies only: Message-IDs by recipient.
    pub came: BTreeMap<Address, Vec<String>>,
    /// Reports that came more often than the network can explain, by Message-ID and the sender they went to.
    pub repeated_reports: Vec<(String, Address)>,
}

impl Audit {
    pub(crate) fn of(hosts: &[Host], witness: &Witness) -> Self {
        let submitted: Vec<Submitted> = hosts.iter().flat_map(Host::submitted).collect();
        let evidence = Evidence::of(hosts, &submitted);
        let mut audit = Self { repeated_reports: evidence.repeated_reports(witness), ..Self::default() };
        for one in &submitted {
            for recipient in &one.to {
                let fate = evidence.fate(one, recipient, witness.doubts(&one.message_id, recipient));
                audit.fates.insert((one.message_id.clone(), recipient.clone()), fate);
                audit.sent.entry((one.from.clone(), recipient.clone())).or_default().push(one.message_id.clone());
            }
        }
        audit.came = evidence.order;
        audit
    }

    /// What is nowhere.
    pub fn lost(&self) -> Vec<&(String, Address)> {
        self.those(Fate::is_lost)
    }

    /// What is in more than one place.
    pub fn duplicated(&self) -> Vec<&(String, Address)> {
        self.those(|fate| fate.places() > 1)
    }

    /// What is in more places than the network can explain.
    pub fn excessive(&self) -> Vec<&(String, Address)> {
        self.those(Fate::is_excessive)
    }

    /// What was delivered, at least once.
    pub fn delivered(&self) -> usize {
        self.those(|fate| fate.delivered > 0).len()
    }

    /// What came back.
    pub fn bounced(&self) -> usize {
        self.those(|fate| fate.bounced > 0).len()
    }

    fn those(&self, wanted: impl Fn(&Fate) -> bool) -> Vec<&(String, Address)> {
        self.fates.iter().filter(|(_, fate)| wanted(fate)).map(|(key, _)| key).collect()
    }

    /// What somebody sent.
    pub fn of_sender(&self, sender: &Address) -> BTreeSet<(String, Address)> {
        let pairs = self.sent.iter().filter(|((from, _), _)| from == sender);
        pairs.flat_map(|((_, to), ids)| ids.iter().map(move |id| (id.clone(), to.clone()))).collect()
    }

    /// Pairs of sender and recipient whose mail did not come in the order in which it was sent, with the
    /// first message that came too early.
    pub fn out_of_order(&self) -> Vec<((Address, Address), String)> {
        let pairs = self.sent.iter().filter_map(|(pair, sent)| {
            let came: Vec<&String> = self.came.get(&pair.1)?.iter().filter(|id| sent.contains(id)).collect();
            let there: BTreeSet<&String> = came.iter().copied().collect();
            let due = sent.iter().filter(|id| there.contains(id));
            let early = came.iter().zip(due).find(|(came, due)| **came != *due)?;
            Some((pair.clone(), (*early.0).clone()))
        });
        pairs.collect()
    }

    /// Fails unless everything is in exactly one place.
    #[track_caller]
    pub fn assert_sound(&self) {
        assert!(self.lost().is_empty(), "lost: {:?}", self.lost());
        assert!(self.duplicated().is_empty(), "in more than one place: {:?}", self.duplicated());
    }

    /// Fails unless everything is somewhere, and in no more places than the network can explain.
    #[track_caller]
    pub fn assert_explained(&self) {
        assert!(self.lost().is_empty(), "lost: {:?}", self.lost());
        assert!(self.excessive().is_empty(), "in more places than doubts explain: {:?}", self.excessive());
        assert!(self.repeated_reports.is_empty(), "reports that came twice: {:?}", self.repeated_reports);
    }
}

/// A message and whom it is for.
type Key = (String, Address);

/// What mailboxes and queues hold, by Message-ID and recipient.
#[derive(Default)]
struct Evidence {
    delivered: BTreeMap<Key, Vec<Timestamp>>,
    queued: BTreeMap<Key, usize>,
    /// Message-IDs of the reports that say that it failed.
    bounced: BTreeMap<Key, BTreeSet<String>>,
    abandoned: BTreeSet<Key>,
    /// How many copies of a report there are, by the report's Message-ID and the one it is for.
    reports: BTreeMap<Key, usize>,
    order: BTreeMap<Address, Vec<String>>,
}

impl Evidence {
    fn of(hosts: &[Host], submitted: &[Submitted]) -> Self {
        let mut evidence = Self::default();
        let addresses: BTreeSet<&Address> = submitted.iter().flat_map(|one| one.to.iter().chain([&one.from])).collect();
        for host in hosts {
            for address in &addresses {
                for kept in host.kept(address) {
                    evidence.found(address, &kept.text, Some(kept.at));
                }
            }
            evidence.waiting(host);
            evidence.given_up(&host.trails());
        }
        evidence
    }

    /// A text that somebody has (if it is known since when) or that waits for somebody.
    fn found(&mut self, whose: &Address, text: &str, at: Option<Timestamp>) {
        let Some(id) = message_id(text.as_bytes()) else { return };
        let is_report = text.starts_with("Return-Path: <>");
        let key = (id.clone(), whose.clone());
        if is_report {
            *self.reports.entry(key).or_default() += 1;
            for failed in failures(text) {
                self.bounced.entry(failed).or_default().insert(id.clone());
            }
        } else if let Some(at) = at {
            let copies = self.delivered.entry(key).or_default();
            if copies.is_empty() {
                self.order.entry(whose.clone()).or_default().push(id);
            }
            copies.push(at);
        } else {
            *self.queued.entry(key).or_default() += 1;
        }
    }

    fn waiting(&mut self, host: &Host) {
        for message in host.queue() {
            let blob = message.blob;
            let text = host.store().read_blocking(move |tx| tx.blob_read(&blob, 0, usize::MAX)).unwrap();
            let text = String::from_utf8_lossy(&text);
            for entry in message.recipients.iter().filter(|entry| is_open(entry)) {
                self.found(&entry.recipient.address, &text, None);
            }
        }
    }

    /// Failures whose report could not be delivered.
    fn given_up(&mut self, trails: &[(ReceiptId, Vec<TrailEntry>)]) {
        let discarded: BTreeSet<ReceiptId> = trails.iter().filter(|(_, trail)| is_discarded(trail)).map(|(receipt, _)| *receipt).collect();
        for (receipt, trail) in trails {
            let Some(id) = trail.iter().find_map(message_id_of) else { continue };
            let reports = trail.iter().filter_map(|entry| match &entry.event {
                Event::Reported { receipt, .. } => Some(receipt),
                _ => None,
            });
            if discarded.contains(receipt) || reports.into_iter().any(|report| discarded.contains(report)) {
                self.abandoned.extend(trail.iter().filter_map(failed).map(|recipient| (id.clone(), recipient)));
            }
        }
    }

    fn fate(&self, submitted: &Submitted, recipient: &Address, doubts: usize) -> Fate {
        let key = (submitted.message_id.clone(), recipient.clone());
        let copies = self.delivered.get(&key);
        Fate {
            delivered: copies.map_or(0, Vec::len),
            queued: self.queued.get(&key).copied().unwrap_or_default(),
            bounced: self.bounced.get(&key).map_or(0, BTreeSet::len),
            abandoned: self.abandoned.contains(&key),
            doubts,
            promised: submitted.at,
            arrived: copies.and_then(|copies| copies.iter().min()).copied(),
        }
    }

    fn repeated_reports(&self, witness: &Witness) -> Vec<Key> {
        let repeated = self.reports.iter().filter(|((id, to), copies)| **copies > 1 + witness.doubts(id, to));
        repeated.map(|(key, _)| key.clone()).collect()
    }
}

fn is_open(entry: &QueueRecipient) -> bool {
    matches!(entry.state, RecipientState::Open { .. })
}

fn is_discarded(trail: &[TrailEntry]) -> bool {
    trail.iter().any(|entry| matches!(entry.event, Event::Discarded { .. }))
}

fn message_id_of(entry: &TrailEntry) -> Option<String> {
    match &entry.event {
        Event::Accepted { message_id, .. } => message_id.clone(),
        _ => None,
    }
}

fn failed(entry: &TrailEntry) -> Option<Address> {
    match &entry.event {
        Event::Failed { recipient, .. } => Some(recipient.clone()),
        _ => None,
    }
}

/// The message that a report is about, with each recipient that it calls failed.
fn failures(report: &str) -> Vec<(String, Address)> {
    let Some((_, returned)) = report.split_once("\r\n\r\n") else { return Vec::new() };
    let original = returned.split("\r\n").filter_map(|line| message_id(line.as_bytes())).last();
    let Some(id) = original else { return Vec::new() };
    let recipients = returned.split("Final-Recipient: rfc822; ").skip(1).filter_map(|part| {
        let (recipient, rest) = part.split_once("\r\n")?;
        rest.starts_with("Action: failed").then(|| Address::parse(recipient).ok()).flatten()
    });
    recipients.map(|recipient| (id.clone(), recipient)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_names_its_message_and_whom_it_failed_for() {
        let report = "Return-Path: <>\r\nMessage-ID: <r@b>\r\n\r\nwords\r\n\r\nFinal-Recipient: rfc822; x@b.example\r\nAction: failed\r\n\r\n\
                      Final-Recipient: rfc822; y@b.example\r\nAction: delayed\r\n\r\nMessage-ID: <1@a>\r\n\r\ntext\r\n";
        assert_eq!(failures(report), [("1@a".to_owned(), Address::parse("x@b.example").unwrap())]);
        assert_eq!(failures("Return-Path: <>\r\n\r\nnothing"), []);
    }

    #[test]
    fn mail_that_overtakes_is_found_and_mail_that_is_missing_is_no_overtaking() {
        let address = |text: &str| Address::parse(text).unwrap();
        let (ann, bob) = (address("ann@a.example"), address("bob@b.example"));
        for (came, early) in [("1 2 3", None), ("1 3", None), ("2 1 3", Some("2")), ("1 3 2", Some("3")), ("", None)] {
            let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
            let audit = Audit {
                sent: [((ann.clone(), bob.clone()), words("1 2 3"))].into(),
                came: [(bob.clone(), words(came))].into(),
                ..Audit::default()
            };
            assert_eq!(audit.out_of_order().first().map(|(_, id)| id.as_str()), early, "{came}");
        }
    }
}
