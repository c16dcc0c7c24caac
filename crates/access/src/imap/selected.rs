//! What one client has been told of its selected mailbox: which Uid stands at which sequence number,
//! what is gone without its knowing, and up to which ModSeq it knows everything.
//!
//! Not the mailbox itself: the store has that, and other sessions change it. What they changed becomes
//! [`News`] at the moments at which RFC 9051 §7.5.1 lets sequence numbers move.
//!
//! Invariants
//! - A [`Selected`] is a value: news make a new one together with the octets that tell it, so that a
//!   failed or repeated transaction never leaves the client with another view than ours.
//! - It costs ranges, not messages: a dense mailbox of any size takes a few dozen octets; and the ranges are
//!   shared by all sessions that know as much.

use crate::imap::commands::enable::Enabled;
use crate::imap::commands::fetch::{self, Item};
use crate::imap::contexts::{self, Context};
use crate::imap::notifying::Wishes;
use crate::imap::response::{self, Status};
use crate::imap::sequence::SequenceSet;
use mail::uid_set::UidSet;
use mail::{AccountId, Flag, Keyword, MailboxId, ModSeq, Rights, SeqNum, Uid, UidValidity};
use std::sync::Arc;
use store::{Message, ReadTx};

/// One client's view of its mailbox.
#[derive(Debug, Clone)]
pub struct Selected {
    /// Whose the mailbox is.
    pub account: AccountId,
    /// The mailbox.
    pub mailbox: MailboxId,
    /// What the client may do with it.
    pub rights: Rights,
    /// Its numbering.
    pub uid_validity: UidValidity,
    /// EXAMINE, or nothing may be changed.
    pub read_only: bool,
    /// Every message that the client was told of and that was not taken back.
    pub uids: UidSet,
    /// Those of them that are gone, which the client does not know yet.
    pub gone: UidSet,
    /// Those that this session was the first to be told of (RFC 3501 §2.3.2).
    pub recent: UidSet,
    /// What `$` stands for (RFC 5182).
    pub saved: UidSet,
    /// Changes up to this one are told, or noted in `gone`.
    pub seen: ModSeq,
    /// How many keywords FLAGS has named besides those that it always names.
    pub keywords: usize,
    /// Searches that are kept up to date (RFC 5267 §4.3).
    pub(crate) contexts: Vec<Context>,
    /// Messages that came, of which the client does not want to hear (NOTIFY).
    pub(crate) unheard: UidSet,
    /// Messages that others gave other flags, of which it does not want to hear.
    pub(crate) unsaid: UidSet,
}

/// For whom and at what moment news are gathered.
#[derive(Debug, Clone)]
pub struct Look {
    /// Whose the selected mailbox is.
    pub account: AccountId,
    /// How the client wants it.
    pub enabled: Enabled,
    /// Messages may be taken back now.
    pub expunges: bool,
    /// A command with UIDs runs: its answers name them.
    pub by_uid: bool,
    /// Changes that are looked at at once for searches that are kept up to date.
    pub context_changes_max: usize,
    /// New messages of which NOTIFY tells more than their number.
    pub notify_messages_max: u32,
    /// The command itself takes messages away: that is told whatever NOTIFY says.
    pub takes_away: bool,
    /// What a client that said NOTIFY wants to hear; all, if it did not.
    pub(crate) wishes: Option<Arc<Wishes>>,
}

/// What a client is to be told, and its view once it is.
#[derive(Debug)]
pub struct News {
    /// Untagged responses.
    pub data: Vec<u8>,
    /// The view after them.
    pub selected: Selected,
    /// Messages that are new to it.
    pub arrived: UidSet,
    /// So many are new that what NOTIFY wants of them is not told.
    pub overflow: bool,
}

impl Look {
    /// Messages that come and go are told.
    fn messages(&self) -> bool {
        self.wishes.as_ref().is_none_or(|wishes| wishes.messages)
    }

    /// Flags that others change are told.
    fn flags(&self) -> bool {
        self.wishes.as_ref().is_none_or(|wishes| wishes.flags)
    }

    /// Messages are taken back now.
    fn takes_back(&self) -> bool {
        self.expunges && (self.takes_away || self.messages())
    }
}

/// A change of flags by this client itself, in the transaction in which news are gathered.
#[derive(Debug)]
pub struct Own {
    /// Messages that others changed before it: they are told in any case.
    pub others: UidSet,
    /// What is told of the rest.
    pub tell: Tell,
}

/// What is told of a client's own change of flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tell {
    /// The flags.
    Flags,
    /// The new ModSeq only (`.SILENT` with CONDSTORE, RFC 7162 §3.1.3).
    ModSeq,
    /// Nothing: `.SILENT`, or FETCH tells it itself.
    Nothing,
}

impl Selected {
    /// Rights to change flags, none if it is selected to read only.
    pub const fn changeable(&self) -> Rights {
        if self.read_only { Rights::NONE } else { self.rights }
    }

    /// The messages of a set, for commands that change them.
    ///
    /// # Errors
    /// A `BAD` when it names sequence numbers that do not exist (RFC 9051 §9, seq-number).
    pub fn resolve(&self, set: &SequenceSet, by_uid: bool) -> Result<UidSet, Status> {
        let exists = self.uids.len();
        // Deviation: RFC 9051 wants a BAD for `*` in an empty mailbox too; clients send `1:*` without
        // looking (Python's imaplib makes an exception of the BAD).
        let is_empty = exists == 0 && set.has_star();
        if !(by_uid || set.is_saved() || is_empty) && set.highest() > exists {
            return Err(Status::bad(format!("There are {exists} messages, the set names others")).code("CLIENTBUG"));
        }
        Ok(self.named(set, by_uid))
    }

    /// The messages of a set, for commands that only look.
    ///
    /// Deviation: RFC 9051 wants a BAD where sequence numbers do not exist. Web mail and users of Python's
    /// imaplib fetch and search beyond the end; Cyrus lets them do both, Dovecot search.
    pub fn named(&self, set: &SequenceSet, by_uid: bool) -> UidSet {
        if set.is_saved() {
            return self.saved.intersect(&self.uids);
        }
        if by_uid {
            return set.uids(self.uids.last().unwrap_or(Uid(1))).intersect(&self.uids);
        }
        self.within(set)
    }

    /// The messages of a set of sequence numbers, those that exist.
    fn within(&self, set: &SequenceSet) -> UidSet {
        let Some(exists) = Some(self.uids.len()).filter(|exists| *exists > 0) else { return UidSet::new() };
        let numbers = set.numbers(exists).intersect(&UidSet::range(Uid(1), Uid(exists)));
        let ends = |(first, last): (Uid, Uid)| Some((self.uids.nth(SeqNum(first.0))?.0, self.uids.nth(SeqNum(last.0))?.0));
        let spans: Vec<_> = numbers.ranges().filter_map(ends).collect();
        UidSet::from(spans).intersect(&self.uids)
    }

    /// Which told messages others have changed, as far as this client does not know.
    ///
    /// # Errors
    /// When the store fails, or the mailbox is gone.
    pub fn changed_by_others(&self, tx: &ReadTx, look: &Look) -> store::Result<UidSet> {
        if tx.mod_seq(look.account)? == self.seen {
            return Ok(UidSet::new());
        }
        let changes = tx.changes(look.account, self.mailbox, self.seen)?;
        Ok(changes.messages.iter().map(|message| message.uid).collect())
    }

    /// What this client must be told; `None` if there is nothing, not even for ourselves.
    ///
    /// # Errors
    /// When the store fails, or the mailbox is gone.
    pub fn news(&self, tx: &ReadTx, look: &Look, own: Option<&Own>) -> store::Result<Option<News>> {
        if !self.owes(look) && tx.mod_seq(look.account)? == self.seen {
            return Ok(None);
        }
        let mut changes = tx.changes(look.account, self.mailbox, self.seen)?;
        let mut news = News { data: Vec::new(), selected: self.clone(), arrived: UidSet::new(), overflow: false };
        self.add_owed(tx, look, &mut changes.messages)?;
        let next = &mut news.selected;
        next.seen = changes.mod_seq;
        next.gone = next.gone.union(&changes.vanished.intersect(&self.uids));
        next.unheard = next.unheard.subtract(&changes.vanished);
        next.unsaid = next.unsaid.subtract(&changes.vanished);
        let mut kept = std::mem::take(&mut next.contexts);
        for context in &mut kept {
            context.lose(&changes.vanished, &self.uids, &mut news.data);
        }
        if look.takes_back() {
            next.take_back(look, &mut news.data);
        }
        for message in &changes.messages {
            // Uids only ascend: what stands below the last one and is not known was gone before.
            if self.uids.last().is_some_and(|last| message.uid <= last) {
                continue;
            }
            if look.messages() {
                next.unheard.remove(message.uid);
                next.uids.insert(message.uid);
                news.arrived.insert(message.uid);
            } else {
                next.unheard.insert(message.uid);
            }
        }
        if next.gone.is_empty() && next.uids != self.uids {
            next.share(tx, look)?;
        }
        if !news.arrived.is_empty() {
            response::count(&mut news.data, next.uids.len(), "EXISTS");
        }
        if changes.messages.iter().any(|message| !message.flags.keywords().is_empty()) {
            next.tell_keywords(tx, look, &mut news.data)?;
        }
        for message in changes.messages.iter().filter(|message| self.uids.contains(message.uid)) {
            next.tell_change(message, look, own, &mut news.data);
        }
        news.overflow =
            news.arrived.len() > look.notify_messages_max && look.wishes.as_ref().is_some_and(|wishes| !wishes.items.is_empty());
        let items = look.wishes.as_ref().filter(|_| !news.overflow);
        next.follow(tx, look, &changes.messages, kept, (self.uids.last().unwrap_or_default(), items), &mut news.data)?;
        Ok(Some(news))
    }

    /// Whether something is to be told that is no change since the last time.
    fn owes(&self, look: &Look) -> bool {
        (look.takes_back() && !self.gone.is_empty())
            || (look.messages() && !self.unheard.is_empty())
            || (look.flags() && !self.unsaid.is_empty())
    }

    /// Adds messages of which the client did not want to hear and now does.
    fn add_owed(&self, tx: &ReadTx, look: &Look, messages: &mut Vec<Message>) -> store::Result<()> {
        let nothing = UidSet::new();
        let unheard = if look.messages() { &self.unheard } else { &nothing };
        let unsaid = if look.flags() { &self.unsaid } else { &nothing };
        let owed = unheard.union(unsaid).subtract(&messages.iter().map(|message| message.uid).collect());
        for (first, last) in owed.ranges() {
            messages.extend(tx.messages(look.account, self.mailbox, first, last, usize::MAX)?);
        }
        if !owed.is_empty() {
            messages.sort_unstable_by_key(|message| message.uid);
        }
        Ok(())
    }

    /// What changes in the results of searches that are kept up to date. `known` is the last Uid that was
    /// known. Of what came, what is wished for is told.
    fn follow(
        &mut self,
        tx: &ReadTx,
        look: &Look,
        messages: &[Message],
        mut contexts: Vec<Context>,
        (known, wishes): (Uid, Option<&Arc<Wishes>>),
        data: &mut Vec<u8>,
    ) -> store::Result<()> {
        if messages.len() > look.context_changes_max {
            for context in &contexts {
                contexts::refuse(&context.tag, "Too much has changed at once, search again", data);
            }
            contexts.clear();
        }
        let mut updates = Vec::new();
        let mut wanted: Vec<(UidSet, Vec<Item>)> = Vec::new();
        for context in &mut contexts {
            let came = context.follow(tx, messages, known, &self.uids, &mut updates)?;
            if !context.items.is_empty() {
                wanted.push((came, context.items.to_vec()));
            }
        }
        // The RFC's example has FETCH between EXISTS and ESEARCH (RFC 5465 §7).
        for message in messages.iter().filter(|message| message.uid > known) {
            // Not of what the client has put here itself (RFC 5465 §5.2).
            let of_notify = wishes.filter(|wishes| !wishes.is_own(message.mod_seq)).map(|wishes| &wishes.items);
            let of_contexts = wanted.iter().filter(|(came, _)| came.contains(message.uid)).flat_map(|(_, items)| items);
            let items: Vec<_> = of_notify.into_iter().flatten().chain(of_contexts).collect();
            self.tell_arrived(tx, look, message, &items, data)?;
        }
        data.append(&mut updates);
        self.contexts = contexts;
        Ok(())
    }

    /// What was asked to be fetched of a message that has come, each item once.
    fn tell_arrived(&self, tx: &ReadTx, look: &Look, message: &Message, items: &[&Item], data: &mut Vec<u8>) -> store::Result<()> {
        let mut once: Vec<Item> = Vec::new();
        for item in items {
            if !once.contains(item) {
                once.push((*item).clone());
            }
        }
        if once.is_empty() { Ok(()) } else { fetch::unasked(tx, self, look, message, &once, data) }
    }

    /// EXPUNGE from the last to the first, so that no number moves before it is used; or VANISHED.
    fn take_back(&mut self, look: &Look, data: &mut Vec<u8>) {
        let gone = std::mem::take(&mut self.gone);
        if look.enabled.qresync || look.enabled.uid_only {
            response::vanished(data, &gone, false);
        } else {
            for number in gone.iter().rev().filter_map(|uid| self.uids.rank(uid)) {
                response::count(data, number.0, "EXPUNGE");
            }
        }
        self.uids = self.uids.subtract(&gone);
        self.recent = self.recent.subtract(&gone);
        self.saved = self.saved.subtract(&gone);
    }

    /// Who knows everything has the same set as all others who do: one is enough.
    fn share(&mut self, tx: &ReadTx, look: &Look) -> store::Result<()> {
        if let Some(uids) = tx.uids_known(look.account, self.mailbox)?
            && uids.len() == self.uids.len()
        {
            self.uids = uids;
        }
        Ok(())
    }

    /// FLAGS anew when the mailbox has keywords that the client has not heard of.
    fn tell_keywords(&mut self, tx: &ReadTx, look: &Look, data: &mut Vec<u8>) -> store::Result<()> {
        let keywords = tx.mailbox_keywords(look.account, self.mailbox)?;
        let unusual = unusual(&keywords);
        if unusual != self.keywords {
            flags_defined(data, &keywords, self.changeable());
            self.keywords = unusual;
        }
        Ok(())
    }

    fn tell_change(&mut self, message: &Message, look: &Look, own: Option<&Own>, data: &mut Vec<u8>) {
        let by_others = own.is_none_or(|own| own.others.contains(message.uid));
        if by_others && !look.flags() {
            self.unsaid.insert(message.uid);
            return;
        }
        self.unsaid.remove(message.uid);
        let tell = own.filter(|own| !own.others.contains(message.uid)).map_or(Tell::Flags, |own| own.tell);
        if tell != Tell::Nothing {
            self.flags_line(message, look, tell, data);
        }
    }

    /// Appends `* 3 FETCH (`, or `* 7 UIDFETCH (` (RFC 9586 §3); false if the client has no such message.
    pub fn open_line(&self, uid: Uid, enabled: Enabled, out: &mut Vec<u8>) -> bool {
        let Some(number) = self.uids.rank(uid) else { return false };
        out.extend_from_slice(b"* ");
        response::number(out, if enabled.uid_only { uid.0 } else { number.0 });
        out.extend_from_slice(if enabled.uid_only { b" UIDFETCH (" } else { b" FETCH (" });
        true
    }

    /// Appends `* 3 FETCH (UID 7 FLAGS (\Seen) MODSEQ (12))`.
    pub fn flags_line(&self, message: &Message, look: &Look, tell: Tell, out: &mut Vec<u8>) {
        if !self.open_line(message.uid, look.enabled, out) {
            return;
        }
        let names_uid = look.by_uid || look.wishes.is_some() || look.enabled.condstore || look.enabled.rev2;
        if names_uid && !look.enabled.uid_only {
            response::uid_item(out, message.uid);
        }
        if tell == Tell::Flags {
            out.extend_from_slice(b"FLAGS ");
            response::flags(out, &message.flags, self.is_recent(message.uid, look.enabled));
            out.push(b' ');
        }
        if look.enabled.condstore {
            out.extend_from_slice(b"MODSEQ (");
            response::number(out, message.mod_seq.0);
            out.extend_from_slice(b") ");
        }
        out.pop();
        out.extend_from_slice(b")\r\n");
    }

    /// Whether the message carries `\Recent` for this client.
    pub fn is_recent(&self, uid: Uid, enabled: Enabled) -> bool {
        !enabled.rev2 && self.recent.contains(uid)
    }
}

/// Keywords that every mailbox takes, whether they were used or not (RFC 9051 §2.3.2).
const KNOWN: [&str; 5] = ["$Forwarded", "$MDNSent", "$Junk", "$NotJunk", "$Phishing"];

/// How many keywords are not among those that FLAGS always names.
pub fn unusual(keywords: &[Keyword]) -> usize {
    keywords.iter().filter(|keyword| !KNOWN.iter().any(|known| keyword.as_str().eq_ignore_ascii_case(known))).count()
}

/// Appends FLAGS with the keywords of a mailbox, and PERMANENTFLAGS with those flags that the client may
/// change (RFC 4314 §5.1.1).
pub fn flags_defined(data: &mut Vec<u8>, keywords: &[Keyword], changeable: Rights) {
    const SYSTEM: [Flag; 5] = [Flag::Answered, Flag::Flagged, Flag::Deleted, Flag::Seen, Flag::Draft];
    let (mut list, mut kept) = (String::new(), String::new());
    for flag in SYSTEM {
        let shown = format!("{flag} ");
        list.push_str(&shown);
        if changeable.cover(&flag) {
            kept.push_str(&shown);
        }
    }
    let unused = KNOWN.iter().filter(|known| !keywords.iter().any(|keyword| keyword.as_str().eq_ignore_ascii_case(known)));
    for keyword in keywords.iter().map(Keyword::as_str).chain(unused.copied()) {
        list.push_str(keyword);
        list.push(' ');
        if changeable.contains(Rights::WRITE) {
            kept.push_str(keyword);
            kept.push(' ');
        }
    }
    if changeable.contains(Rights::WRITE) {
        kept.push_str("\\*");
    }
    response::line(data, &format!("* FLAGS ({})", list.trim_end()));
    let text = if kept.is_empty() { "No flags can be changed" } else { "These are kept" };
    response::line(data, &format!("* OK [PERMANENTFLAGS ({})] {text}", kept.trim_end()));
}
