//! What became of everything that was sent: nothing may be lost, nothing may come twice.
//!
//! It looks at mailboxes and queues, not at trails: what a server says of itself is not evidence.

use crate::host::{Host, Submitted};
use mail::Address;
use std::collections::{BTreeMap, BTreeSet};
use store::{QueueMessage, QueueRecipient, RecipientState};

/// What became of one message for one recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Fate {
    /// How many times it is in the recipient's mailbox.
    pub delivered: usize,
    /// How many queues have it for the recipient.
    pub queued: usize,
    /// How many reports of its failure are in the sender's mailbox or on their way there.
    pub bounced: usize,
}

impl Fate {
    /// It is in exactly one place.
    pub fn is_sound(self) -> bool {
        self.delivered + self.queued + self.bounced == 1
    }
}

/// What became of everything.
#[derive(Debug, Default)]
pub struct Audit {
    /// By Message-ID and recipient.
    pub fates: BTreeMap<(String, Address), Fate>,
}

impl Audit {
    pub(crate) fn of(hosts: &[Host]) -> Self {
        let submitted: Vec<Submitted> = hosts.iter().flat_map(Host::submitted).collect();
        let evidence = Evidence::of(hosts, &submitted);
        let pairs = submitted.iter().flat_map(|submitted| submitted.to.iter().map(move |recipient| (submitted, recipient)));
        let fates =
            pairs.map(|(submitted, recipient)| ((submitted.message_id.clone(), recipient.clone()), evidence.fate(submitted, recipient)));
        Self { fates: fates.collect() }
    }

    /// What is nowhere.
    pub fn lost(&self) -> Vec<&(String, Address)> {
        self.those(|fate| fate.delivered + fate.queued + fate.bounced == 0)
    }

    /// What is in more than one place.
    pub fn duplicated(&self) -> Vec<&(String, Address)> {
        self.those(|fate| fate.delivered + fate.queued + fate.bounced > 1)
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

    /// Fails unless everything is in exactly one place.
    #[track_caller]
    pub fn assert_sound(&self) {
        assert!(self.lost().is_empty(), "lost: {:?}", self.lost());
        assert!(self.duplicated().is_empty(), "in more than one place: {:?}", self.duplicated());
    }
}

/// What mailboxes and queues hold.
struct Evidence {
    inboxes: BTreeMap<Address, Vec<String>>,
    /// With their texts.
    queued: Vec<(QueueMessage, String)>,
}

impl Evidence {
    fn of(hosts: &[Host], submitted: &[Submitted]) -> Self {
        let addresses: BTreeSet<&Address> = submitted.iter().flat_map(|one| one.to.iter().chain([&one.from])).collect();
        let inbox = |address: &Address| hosts.iter().flat_map(|host| host.inbox(&address.to_string())).collect();
        let inboxes = addresses.into_iter().map(|address| (address.clone(), inbox(address))).collect();
        let queued = hosts.iter().flat_map(|host| host.queue().into_iter().map(|message| with_text(host, message))).collect();
        Self { inboxes, queued }
    }

    fn inbox(&self, address: &Address) -> &[String] {
        self.inboxes.get(address).map_or(&[], Vec::as_slice)
    }

    fn fate(&self, submitted: &Submitted, recipient: &Address) -> Fate {
        let id = format!("Message-ID: <{}>", submitted.message_id);
        let failed = format!("Final-Recipient: rfc822; {recipient}\r\nAction: failed");
        let is_report = |text: &str| text.starts_with("Return-Path: <>");
        let reports = |text: &str| is_report(text) && text.contains(&id) && text.contains(&failed);
        let mut fate = Fate {
            delivered: self.inbox(recipient).iter().filter(|text| !is_report(text) && text.contains(&id)).count(),
            queued: 0,
            bounced: self.inbox(&submitted.from).iter().filter(|text| reports(text)).count(),
        };
        for (message, text) in &self.queued {
            if reports(text) {
                fate.bounced += 1;
            } else if !is_report(text) && text.contains(&id) {
                fate.queued += message.recipients.iter().filter(|entry| is_open_for(entry, recipient)).count();
            }
        }
        fate
    }
}

fn is_open_for(entry: &QueueRecipient, recipient: &Address) -> bool {
    entry.recipient.address == *recipient && matches!(entry.state, RecipientState::Open { .. })
}

fn with_text(host: &Host, message: QueueMessage) -> (QueueMessage, String) {
    let blob = message.blob;
    let text = host.store().read_blocking(move |tx| tx.blob_read(&blob, 0, usize::MAX)).unwrap();
    (message, String::from_utf8_lossy(&text).into_owned())
}
