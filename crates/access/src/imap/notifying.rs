//! What a client that said NOTIFY is told of mailboxes that it has not selected (RFC 5465), and what it wants to
//! hear of the one that it has.
//!
//! Not the selected mailbox itself: `selected.rs` tells of that, by the [`Wishes`] kept here.
//!
//! Invariants
//! - What a commit costs a client is what it changed: the account's feed says in which mailboxes; no other is
//!   looked at.
//! - What the client itself has changed is not told, unless others changed something before it in the same moment
//!   (RFC 5465 §5: SHOULD).
//! - More than the limits allow at once is not told at all: then NOTIFY is over, and the client hears that.

use crate::imap::commands::enable::Enabled;
use crate::imap::commands::esearch::{Source, below};
use crate::imap::commands::fetch::Item;
use crate::imap::commands::metadata;
use crate::imap::commands::notify::{Events, Filter, Group, Notify};
use crate::imap::commands::status::{self, Teller};
use crate::imap::granted::Granted;
use crate::imap::mailbox_name::DELIMITER;
use crate::imap::response;
use mail::{MailboxId, ModSeq, Role};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use store::{Mailbox, MailboxNews, ReadTx};

/// Writes of our own that are remembered until they are passed over.
const OWN_MAX: usize = 64;

/// What one client is told.
#[derive(Debug, Default)]
pub(crate) struct Notifying {
    /// Of the selected mailbox.
    wishes: Wishes,
    /// `selected-delayed`: expunges wait for a command.
    pub(crate) delayed: bool,
    groups: Arc<[Group]>,
    /// Changes up to this one are told.
    pub(crate) seen: ModSeq,
    /// Names as the client knows them; none if it does not want to hear of names.
    known: Arc<Known>,
    /// From which ModSeq to which this client's own writes went.
    own: Mutex<Vec<(ModSeq, ModSeq)>>,
}

/// What is told of the selected mailbox.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wishes {
    /// Messages that come and go.
    pub(crate) messages: bool,
    /// Flags that others change.
    pub(crate) flags: bool,
    /// What is fetched of messages that come.
    pub(crate) items: Vec<Item>,
    /// This client's own writes.
    pub(crate) own: Vec<(ModSeq, ModSeq)>,
}

impl Wishes {
    /// Whether a change is this client's own.
    pub(crate) fn is_own(&self, mod_seq: ModSeq) -> bool {
        self.own.iter().any(|(before, after)| *before < mod_seq && mod_seq <= *after)
    }
}

/// The names and subscriptions a client knows.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Known {
    names: BTreeMap<MailboxId, String>,
    subscribed: BTreeSet<String>,
}

impl Known {
    fn read(tx: &ReadTx, teller: &Teller) -> store::Result<Self> {
        let names = tx.mailboxes(teller.viewer)?.into_iter().map(|mailbox| (mailbox.id, mailbox.name)).collect();
        Ok(Self { names, subscribed: tx.subscriptions(teller.viewer)?.into_iter().collect() })
    }
}

/// What is told of mailboxes, and what the client knows then.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) data: Vec<u8>,
    pub(crate) overflow: bool,
    seen: ModSeq,
    known: Arc<Known>,
}

/// What must be looked at, taken along into a read.
#[derive(Debug)]
pub(crate) struct Survey {
    groups: Arc<[Group]>,
    known: Arc<Known>,
    since: ModSeq,
    /// The selected mailbox: others tell of it.
    selected: Option<MailboxId>,
    /// HIGHESTMODSEQ is told.
    condstore: bool,
    statuses_max: usize,
    /// Annotations are told here: the client has not enabled METADATA, by which it hears of all.
    annotations: bool,
}

impl Notifying {
    /// Watches by a command from now on; what is told at once.
    ///
    /// # Errors
    /// When the store fails.
    pub(crate) fn begin(
        tx: &ReadTx,
        teller: &Teller,
        notify: Notify,
        selected: Option<MailboxId>,
        mailboxes_max: usize,
    ) -> store::Result<(Self, Vec<u8>)> {
        let (mut wishes, mut delayed) = (Wishes::default(), false);
        for group in &notify.groups {
            if let Filter::Selected(late) = group.filter {
                delayed = late;
                let Events { messages, flags, items, .. } = group.events.clone();
                wishes = Wishes { messages, flags, items, own: Vec::new() };
            }
        }
        let looks_at_all = notify.status || notify.groups.iter().any(|group| group.events.names || group.events.subscriptions);
        if looks_at_all && tx.mailboxes(teller.viewer)?.len() > mailboxes_max {
            return Err(store::Error::Limit("mailboxes to watch".into()));
        }
        let names = notify.groups.iter().any(|group| group.events.names || group.events.subscriptions);
        let known = if names { Known::read(tx, teller)? } else { Known::default() };
        let groups: Arc<[Group]> = notify.groups.into();
        let mut data = Vec::new();
        if notify.status {
            for mailbox in tx.mailboxes(teller.viewer)?.iter().filter(|mailbox| selected != Some(mailbox.id)) {
                let (messages, flags) = wanted(&groups, mailbox);
                tell_status(tx, teller, mailbox, &first_items(messages, flags), &mut data)?;
            }
        }
        let seen = tx.mod_seq(teller.viewer)?;
        Ok((Self { wishes, delayed, groups, seen, known: Arc::new(known), own: Mutex::default() }, data))
    }

    fn own(&self) -> Vec<(ModSeq, ModSeq)> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes a write of this client.
    pub(crate) fn wrote(&self, before: ModSeq, after: ModSeq) {
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        if before < after && own.len() < OWN_MAX {
            own.push((before, after));
        }
    }

    /// What is told of the selected mailbox now.
    pub(crate) fn wishes(&self) -> Wishes {
        Wishes { own: self.own(), ..self.wishes.clone() }
    }

    /// Whether anything is told.
    pub(crate) fn watches(&self) -> bool {
        !self.groups.is_empty()
    }

    /// Whether other mailboxes than the selected one are watched.
    pub(crate) fn looks_around(&self) -> bool {
        self.groups.iter().any(|group| matches!(group.filter, Filter::Others(_)))
    }

    /// What to look at next; what this client itself wrote is passed over.
    pub(crate) fn survey(&self, selected: Option<MailboxId>, enabled: Enabled, statuses_max: usize) -> Survey {
        let (groups, known) = (self.groups.clone(), self.known.clone());
        Survey { groups, known, since: self.since(), selected, condstore: enabled.condstore, statuses_max, annotations: !enabled.metadata }
    }

    /// Up to where changes are told or passed over.
    pub(crate) fn since(&self) -> ModSeq {
        self.own().iter().fold(self.seen, |seen, (before, after)| if *before == seen { *after } else { seen })
    }

    /// The client is told that.
    pub(crate) fn accept(&mut self, told: Told) -> Vec<u8> {
        self.seen = told.seen;
        self.known = told.known;
        self.own.lock().unwrap_or_else(PoisonError::into_inner).clear();
        told.data
    }
}

impl Survey {
    /// What changed in these mailboxes (all, if that is not known) and in their list.
    ///
    /// # Errors
    /// When the store fails.
    pub(crate) fn look(self, tx: &ReadTx, teller: &Teller, changed: Option<Vec<MailboxId>>) -> store::Result<Told> {
        let mut told = Told { data: Vec::new(), overflow: false, seen: tx.mod_seq(teller.viewer)?, known: self.known.clone() };
        let mailboxes: Vec<_> = match changed {
            Some(ids) => ids
                .into_iter()
                .map(|id| tx.mailbox(teller.viewer, id))
                .filter_map(store::Result::transpose)
                .collect::<store::Result<_>>()?,
            None => tx.mailboxes(teller.viewer)?,
        };
        if mailboxes.iter().filter(|mailbox| mailbox.mod_seq > self.since).count() > self.statuses_max {
            told.overflow = true;
            return Ok(told);
        }
        self.names(tx, teller, &mut told)?;
        self.annotations(tx, teller, &mut told.data)?;
        for mailbox in mailboxes.iter().filter(|mailbox| self.selected != Some(mailbox.id)) {
            self.status(tx, teller, mailbox, &mut told.data)?;
        }
        Ok(told)
    }

    fn status(&self, tx: &ReadTx, teller: &Teller, mailbox: &Mailbox, data: &mut Vec<u8>) -> store::Result<()> {
        let (messages, flags) = wanted(&self.groups, mailbox);
        if !messages {
            return Ok(());
        }
        let news = tx.mailbox_news(teller.viewer, mailbox.id, self.since)?;
        tell_status(tx, teller, mailbox, &items(news, flags, self.condstore), data)
    }

    /// Which annotations others changed, by name (RFC 5465 §5.6, §5.7).
    fn annotations(&self, tx: &ReadTx, teller: &Teller, data: &mut Vec<u8>) -> store::Result<()> {
        let watched = self.groups.iter().any(|group| group.events.annotations || group.events.server_annotations);
        if !(watched && self.annotations) || tx.list_mod_seq(teller.viewer)? <= self.since {
            return Ok(());
        }
        for change in tx.list_changes(teller.viewer, self.since)?.annotations {
            let mailbox = if change.mailbox.0 == 0 { None } else { tx.mailbox(teller.viewer, change.mailbox)? };
            let wants = |group: &Group| match (&group.filter, &mailbox) {
                (_, None) => change.mailbox.0 == 0 && group.events.server_annotations,
                (Filter::Others(source), Some(mailbox)) => {
                    group.events.annotations && covers(source, &mailbox.name, mailbox.role == Some(Role::Inbox), mailbox.subscribed)
                }
                (Filter::Selected(_), _) => false,
            };
            if self.groups.iter().any(wants) {
                metadata::changed(data, tx, teller.viewer, &[change], teller.utf8)?;
            }
        }
        Ok(())
    }

    /// What changed in the list of mailboxes, as far as the client has not changed it itself.
    fn names(&self, tx: &ReadTx, teller: &Teller, told: &mut Told) -> store::Result<()> {
        let watched = self.groups.iter().any(|group| group.events.names || group.events.subscriptions);
        if !watched {
            return Ok(());
        }
        let now = Known::read(tx, teller)?;
        if now == *self.known {
            return Ok(());
        }
        if tx.list_mod_seq(teller.viewer)? > self.since {
            let mut changes = Names { survey: self, teller, now: &now, told: BTreeSet::new() };
            changes.renamed_and_made(tx, &mut told.data)?;
            changes.deleted(tx, &mut told.data)?;
            changes.subscribed(tx, &mut told.data)?;
        }
        told.known = Arc::new(now);
        Ok(())
    }
}

/// Two states of the list of mailboxes.
struct Names<'a> {
    survey: &'a Survey,
    teller: &'a Teller,
    now: &'a Known,
    /// Names that are told already.
    told: BTreeSet<String>,
}

impl Names<'_> {
    fn renamed_and_made(&mut self, tx: &ReadTx, data: &mut Vec<u8>) -> store::Result<()> {
        let before = &self.survey.known.names;
        let changed = self.now.names.iter().filter(|(id, name)| before.get(id) != Some(name));
        for (id, name) in changed {
            let old = before.get(id);
            // Children go with their parent (RFC 5465 §5.4).
            if old.is_some_and(|old| self.went_along(old, name)) {
                continue;
            }
            if self.wants(name, |events| events.names) || old.is_some_and(|old| self.wants(old, |events| events.names)) {
                self.line(tx, name, old.map(String::as_str), data)?;
            }
            if old.is_none() {
                self.parent(tx, name, data)?;
            }
        }
        Ok(())
    }

    /// Whether a mailbox above was renamed in the same way.
    fn went_along(&self, old: &str, new: &str) -> bool {
        let before = &self.survey.known.names;
        before.iter().any(|(id, old_above)| {
            let Some(new_above) = self.now.names.get(id).filter(|name| *name != old_above) else { return false };
            let rest = below(old_above, old).filter(|rest| !rest.is_empty());
            rest.is_some() && rest == below(new_above, new)
        })
    }

    fn deleted(&mut self, tx: &ReadTx, data: &mut Vec<u8>) -> store::Result<()> {
        let gone = self.survey.known.names.iter().filter(|(id, _)| !self.now.names.contains_key(id));
        for (_, name) in gone {
            if self.wants(name, |events| events.names) {
                self.line(tx, name, None, data)?;
            }
            self.parent(tx, name, data)?;
        }
        Ok(())
    }

    /// A parent is affected when a child comes or goes: its attributes change.
    fn parent(&mut self, tx: &ReadTx, name: &str, data: &mut Vec<u8>) -> store::Result<()> {
        match name.rsplit_once(DELIMITER) {
            Some((parent, _)) if self.wants(parent, |events| events.names) => self.line(tx, parent, None, data),
            _ => Ok(()),
        }
    }

    fn subscribed(&mut self, tx: &ReadTx, data: &mut Vec<u8>) -> store::Result<()> {
        for name in self.survey.known.subscribed.symmetric_difference(&self.now.subscribed) {
            if self.wants(name, |events| events.subscriptions) {
                self.line(tx, name, None, data)?;
            }
        }
        Ok(())
    }

    fn wants(&self, name: &str, of: impl Fn(&Events) -> bool) -> bool {
        let subscribed = self.now.subscribed.contains(name) || self.survey.known.subscribed.contains(name);
        let covers = |source| covers(source, name, name == "INBOX", subscribed);
        self.survey.groups.iter().any(|group| of(&group.events) && matches!(&group.filter, Filter::Others(source) if covers(source)))
    }

    /// Appends `* LIST (\HasNoChildren) "/" New ("OLDNAME" (Old))`.
    fn line(&mut self, tx: &ReadTx, name: &str, old: Option<&str>, data: &mut Vec<u8>) -> store::Result<()> {
        if !self.told.insert(name.to_owned()) {
            return Ok(());
        }
        let mailbox = tx.mailbox_by_name(self.teller.viewer, name)?;
        let parent = self.now.names.values().any(|other| below(name, other).is_some_and(|rest| !rest.is_empty()));
        let mut attributes = vec![if parent { "\\HasChildren" } else { "\\HasNoChildren" }];
        if mailbox.is_none() {
            attributes.insert(0, "\\NonExistent");
        }
        if self.now.subscribed.contains(name) {
            attributes.push("\\Subscribed");
        }
        attributes.extend(mailbox.and_then(|mailbox| mailbox.role).and_then(Role::attribute));
        data.extend_from_slice(format!("* LIST ({}) \"{DELIMITER}\" ", attributes.join(" ")).as_bytes());
        response::mailbox(data, name, self.teller.utf8);
        if let Some(old) = old {
            data.extend_from_slice(b" (\"OLDNAME\" (");
            response::mailbox(data, old, self.teller.utf8);
            data.extend_from_slice(b"))");
        }
        data.extend_from_slice(b"\r\n");
        Ok(())
    }
}

/// Whether messages and flags of a mailbox that is not selected are watched.
fn wanted(groups: &[Group], mailbox: &Mailbox) -> (bool, bool) {
    let inbox = mailbox.role == Some(Role::Inbox);
    let of_it =
        |group: &&Group| matches!(&group.filter, Filter::Others(source) if covers(source, &mailbox.name, inbox, mailbox.subscribed));
    groups
        .iter()
        .filter(of_it)
        .fold((false, false), |(messages, flags), group| (messages | group.events.messages, flags | group.events.flags))
}

fn covers(source: &Source, name: &str, inbox: bool, subscribed: bool) -> bool {
    match source {
        Source::Selected => false,
        Source::Inboxes => inbox,
        Source::Personal => true,
        Source::Subscribed => subscribed,
        Source::Mailboxes(names) => names.iter().any(|known| known == name),
        Source::Subtree(names) => names.iter().any(|known| below(known, name).is_some()),
        Source::SubtreeOne(names) => names.iter().any(|known| below(known, name).is_some_and(|rest| !rest.contains(DELIMITER))),
    }
}

/// What NOTIFY SET STATUS tells of a mailbox (RFC 5465 §3.1).
fn first_items(messages: bool, flags: bool) -> Vec<status::Item> {
    let mut items = Vec::new();
    if messages {
        items.extend([status::Item::Messages, status::Item::UidNext, status::Item::UidValidity]);
    }
    if flags {
        items.extend([status::Item::Unseen, status::Item::HighestModSeq]);
    }
    items
}

/// What is told of a change (RFC 5465 §5.1, §5.2, §5.3).
fn items(news: MailboxNews, flags: bool, condstore: bool) -> Vec<status::Item> {
    let mut items = Vec::new();
    if news.came || news.went {
        items.extend([status::Item::Messages, status::Item::UidNext]);
    }
    if flags && (news.flags || !items.is_empty()) {
        items.push(status::Item::Unseen);
    }
    if !items.is_empty() {
        items.push(status::Item::UidValidity);
        items.extend(condstore.then_some(status::Item::HighestModSeq));
    }
    items
}

fn tell_status(tx: &ReadTx, teller: &Teller, mailbox: &Mailbox, items: &[status::Item], data: &mut Vec<u8>) -> store::Result<()> {
    if items.is_empty() { Ok(()) } else { teller.tell(tx, &Granted::own(teller.viewer, mailbox.clone()), items, data) }
}
