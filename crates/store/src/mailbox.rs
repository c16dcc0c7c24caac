//! Mailboxes: create, rename, delete, subscribe.
//!
//! Names are whole paths in UTF-8 with `/` between the levels; `INBOX` as first level is the same in
//! any case, everything else is told apart by case. Every level of a path is a mailbox itself: create
//! and rename make missing parents (RFC 9051 §6.3.4), and a mailbox with others below it is not
//! deleted (§6.3.5, `[HASCHILDREN]`). So LIST never has to show a parent that is not there, and JMAP's
//! tree is the same as IMAP's.
//!
//! A mailbox keeps its id, Uids and UidValidity when it is renamed. The one exception is INBOX:
//! renaming it moves its messages into a new mailbox and leaves INBOX empty and its children where
//! they are (§6.3.6).
//!
//! Subscriptions are names, whether or not a mailbox has them: deleting and renaming keeps them
//! (§6.3.7). A renamed mailbox that was subscribed is so under its new name too.
//!
//! Invariants: the counters in a mailbox's record are exact; UidValidity is never used again.

use crate::acl::shared_name;
use crate::error::{Error, Result};
use crate::index::KeyRange;
use crate::key;
use crate::message::Which;
use crate::record::{Record, unreadable};
use crate::schema::Space;
use crate::tx::{ReadTx, WriteTx};
use mail::{AccountId, Keyword, MailboxId, ModSeq, Role, Timestamp, Uid, UidSet, UidValidity};
use serde::{Deserialize, Serialize};

/// Between the levels of a name.
pub const DELIMITER: char = '/';
/// Longest name with all its levels, octets. Our own bound.
pub const MAILBOX_NAME_OCTETS_MAX: usize = 1_000;
/// Most levels of a name. Our own bound.
pub const MAILBOX_DEPTH_MAX: usize = 32;
/// Most mailboxes of an account. Our own bound.
pub const MAILBOXES_MAX: u32 = 10_000;
/// Most names an account subscribes to. Our own bound.
pub const SUBSCRIPTIONS_MAX: usize = 20_000;
/// Most different keywords in a mailbox. Our own bound.
pub const MAILBOX_KEYWORDS_MAX: usize = 256;

/// Names tried for a mailbox that is needed where others have its own. Our own bound.
const NAMES_TRIED_MAX: usize = 16;

/// A mailbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mailbox {
    /// Its number, also RFC 8474's MAILBOXID.
    pub id: MailboxId,
    /// The whole path.
    pub name: String,
    /// What it is for.
    pub role: Option<Role>,
    /// Whether its name is subscribed to.
    pub subscribed: bool,
    /// Which numbering its Uids belong to.
    pub uid_validity: UidValidity,
    /// The Uid of the next message.
    pub uid_next: Uid,
    /// Messages in it.
    pub emails: u32,
    /// Messages without `\Seen`.
    pub unseen: u32,
    /// Messages with `\Deleted`.
    pub deleted: u32,
    /// Octets of its messages.
    pub octets: u64,
    /// The highest ModSeq of anything in it, at least 1 (HIGHESTMODSEQ).
    pub mod_seq: ModSeq,
}

/// A mailbox as stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MailboxRecord {
    pub(crate) name: String,
    pub(crate) role: Option<Role>,
    pub(crate) uid_validity: UidValidity,
    pub(crate) uid_next: Uid,
    pub(crate) emails: u32,
    pub(crate) unseen: u32,
    pub(crate) deleted: u32,
    pub(crate) octets: u64,
    pub(crate) mod_seq: ModSeq,
    /// Changes up to this one are forgotten.
    pub(crate) change_floor: ModSeq,
    /// Keys of its change feed.
    pub(crate) changes: u32,
}

impl Record for MailboxRecord {
    const SPACE: Space = Space::Mailbox;
    const NAME: &'static str = "mailbox record";
}

/// The mailbox that a name or a role stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NameRecord(pub(crate) MailboxId);

impl Record for NameRecord {
    const SPACE: Space = Space::MailboxName;
    const NAME: &'static str = "mailbox name record";
}

/// The mailbox that a role stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RoleRecord(pub(crate) MailboxId);

impl Record for RoleRecord {
    const SPACE: Space = Space::MailboxRole;
    const NAME: &'static str = "mailbox role record";
}

/// A keyword as first written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KeywordRecord(pub(crate) Keyword);

impl Record for KeywordRecord {
    const SPACE: Space = Space::Keyword;
    const NAME: &'static str = "keyword record";
}

/// A name as the store keeps it: `inbox` as first level in capitals.
///
/// # Errors
/// When the name is empty, has an empty level or a control character, or is longer or deeper than
/// the store takes.
pub fn mailbox_name(name: &str) -> Result<String> {
    let bad = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
    match name {
        _ if name.len() > MAILBOX_NAME_OCTETS_MAX => Err(Error::Limit("octets of a mailbox name".into())),
        _ if name.split(DELIMITER).count() > MAILBOX_DEPTH_MAX => Err(Error::Limit("levels of a mailbox name".into())),
        _ if name.split(DELIMITER).any(|level| level.trim().is_empty()) => {
            Err(Error::Invalid("a level of the mailbox name is empty".into()))
        }
        _ if name.contains(bad) => Err(Error::Invalid("a mailbox name has no control characters".into())),
        _ => Ok(inbox_in_capitals(name)),
    }
}

fn inbox_in_capitals(name: &str) -> String {
    let (first, rest) = name.split_at(name.find(DELIMITER).unwrap_or(name.len()));
    if first.eq_ignore_ascii_case(INBOX) { format!("{INBOX}{rest}") } else { name.to_owned() }
}

const INBOX: &str = "INBOX";

/// The names below a name.
fn below(account: AccountId, name: &str) -> KeyRange {
    KeyRange::prefix(&key::name(account, &format!("{name}{DELIMITER}")))
}

impl ReadTx {
    /// Every mailbox of an account, by name.
    ///
    /// # Errors
    /// When the store fails.
    pub fn mailboxes(&self, account: AccountId) -> Result<Vec<Mailbox>> {
        let names = self.subscriptions(account)?;
        let read = |(key, record): (Vec<u8>, MailboxRecord)| {
            let id = key::number_u32(&key, 4).map(MailboxId).ok_or_else(|| unreadable::<MailboxRecord>(&key))?;
            let subscribed = names.binary_search(&record.name).is_ok();
            Ok(joined(id, record, subscribed))
        };
        let records = self.records(&KeyRange::prefix(&key::account(account)))?;
        let mut mailboxes = records.into_iter().map(read).collect::<Result<Vec<_>>>()?;
        mailboxes.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(mailboxes)
    }

    /// A mailbox.
    ///
    /// # Errors
    /// When the store fails.
    pub fn mailbox(&self, account: AccountId, id: MailboxId) -> Result<Option<Mailbox>> {
        let Some(record) = self.record::<MailboxRecord>(&key::mailbox(account, id))? else { return Ok(None) };
        let subscribed = self.has(Space::Subscription, &key::name(account, &record.name))?;
        Ok(Some(joined(id, record, subscribed)))
    }

    /// The mailbox with a name; `None` also for names that no mailbox can have.
    ///
    /// # Errors
    /// When the store fails.
    pub fn mailbox_by_name(&self, account: AccountId, name: &str) -> Result<Option<Mailbox>> {
        let Ok(name) = mailbox_name(name) else { return Ok(None) };
        match self.mailbox_id(account, &name)? {
            Some(id) => self.mailbox(account, id),
            None => Ok(None),
        }
    }

    /// The mailbox for a role.
    ///
    /// # Errors
    /// When the store fails.
    pub fn mailbox_by_role(&self, account: AccountId, role: Role) -> Result<Option<Mailbox>> {
        match self.record::<RoleRecord>(&key::role(account, role))? {
            Some(RoleRecord(id)) => self.mailbox(account, id),
            None => Ok(None),
        }
    }

    /// Every name an account subscribes to, in order, whether there is such a mailbox or not.
    ///
    /// # Errors
    /// When the store fails.
    pub fn subscriptions(&self, account: AccountId) -> Result<Vec<String>> {
        let keys = self.keys(Space::Subscription, &KeyRange::prefix(&key::account(account)), usize::MAX)?;
        Ok(keys.iter().filter_map(|key| key::text(key, 4)).map(str::to_owned).collect())
    }

    /// The keywords ever used in a mailbox, in order, as first written.
    ///
    /// # Errors
    /// When the store fails.
    pub fn mailbox_keywords(&self, account: AccountId, id: MailboxId) -> Result<Vec<Keyword>> {
        let records = self.records::<KeywordRecord>(&KeyRange::prefix(&key::mailbox(account, id)))?;
        Ok(records.into_iter().map(|(_, KeywordRecord(keyword))| keyword).collect())
    }

    pub(crate) fn mailbox_id(&self, account: AccountId, name: &str) -> Result<Option<MailboxId>> {
        Ok(self.record::<NameRecord>(&key::name(account, name))?.map(|NameRecord(id)| id))
    }

    pub(crate) fn mailbox_record_found(&self, account: AccountId, id: MailboxId) -> Result<Option<MailboxRecord>> {
        self.record(&key::mailbox(account, id))
    }

    pub(crate) fn mailbox_record(&self, account: AccountId, id: MailboxId) -> Result<MailboxRecord> {
        self.record(&key::mailbox(account, id))?.ok_or(Error::NotFound("mailbox".into()))
    }
}

fn joined(id: MailboxId, record: MailboxRecord, subscribed: bool) -> Mailbox {
    let MailboxRecord { name, role, uid_validity, uid_next, emails, unseen, deleted, octets, mod_seq, .. } = record;
    Mailbox { id, name, role, subscribed, uid_validity, uid_next, emails, unseen, deleted, octets, mod_seq }
}

impl WriteTx {
    /// Makes a mailbox, and its parents where they are missing.
    ///
    /// # Errors
    /// When the name is taken or no name, the role is taken, or the account has [`MAILBOXES_MAX`].
    pub fn mailbox_create(&mut self, account: AccountId, name: &str, role: Option<Role>) -> Result<MailboxId> {
        let name = mailbox_name(name)?;
        if self.mailbox_id(account, &name)?.is_some() {
            return Err(Error::Exists("mailbox".into()));
        }
        self.role_free(account, role)?;
        self.parents_create(account, &name)?;
        self.mailbox_make(account, name, role)
    }

    fn role_free(&self, account: AccountId, role: Option<Role>) -> Result<()> {
        let Some(role) = role else { return Ok(()) };
        if self.has(Space::MailboxRole, &key::role(account, role))? { Err(Error::Exists("mailbox with this role".into())) } else { Ok(()) }
    }

    fn parents_create(&mut self, account: AccountId, name: &str) -> Result<()> {
        let levels = name.match_indices(DELIMITER).filter_map(|(at, _)| name.get(..at));
        for parent in levels {
            if self.mailbox_id(account, parent)?.is_none() {
                self.mailbox_make(account, parent.to_owned(), None)?;
            }
        }
        Ok(())
    }

    fn mailbox_make(&mut self, account: AccountId, name: String, role: Option<Role>) -> Result<MailboxId> {
        let mut counters = self.counters(account)?;
        if counters.mailboxes >= MAILBOXES_MAX {
            return Err(Error::Limit("mailboxes of this account".into()));
        }
        let (id, mod_seq) = (counters.next_mailbox(), counters.next_mod_seq());
        let uid_validity = counters.next_uid_validity();
        counters.mailboxes += 1;
        self.save(&key::name(account, &name), &NameRecord(id))?;
        if let Some(role) = role {
            self.save(&key::role(account, role), &RoleRecord(id))?;
        }
        let record = MailboxRecord {
            name,
            role,
            uid_validity,
            uid_next: Uid(1),
            emails: 0,
            unseen: 0,
            deleted: 0,
            octets: 0,
            mod_seq,
            change_floor: ModSeq(0),
            changes: 0,
        };
        self.save(&key::mailbox(account, id), &record)?;
        self.list_changed(account, &mut counters, &[id], &[])?;
        self.counters_save(account, &counters)?;
        self.grants_inherit(account, id)?;
        Ok(id)
    }

    /// The mailbox with a role, made and subscribed to if there is none; one without any role that has its name becomes it.
    pub(crate) fn mailbox_needed(&mut self, account: AccountId, role: Role) -> Result<MailboxId> {
        if let Some(mailbox) = self.mailbox_by_role(account, role)? {
            return Ok(mailbox.id);
        }
        let name = role.default_name();
        let names = (1..=NAMES_TRIED_MAX).map(|n| if n == 1 { name.to_owned() } else { format!("{name} {n}") });
        for name in names {
            match self.mailbox_by_name(account, &name)? {
                Some(Mailbox { id, role: None, .. }) => {
                    self.mailbox_set_role(account, id, Some(role))?;
                    return Ok(id);
                }
                Some(_) => {}
                None => {
                    let id = self.mailbox_create(account, &name, Some(role))?;
                    self.mailbox_subscribe(account, &name, true)?;
                    return Ok(id);
                }
            }
        }
        Err(Error::Limit(format!("names for a mailbox {name}")))
    }

    /// Gives a mailbox, and those below it, another name; INBOX keeps its own and gives its messages
    /// to a new mailbox, whose id is returned (otherwise the mailbox's own).
    ///
    /// # Errors
    /// When there is no such mailbox, the new name is taken, no name, or below the mailbox itself.
    pub fn mailbox_rename(&mut self, account: AccountId, id: MailboxId, to: &str, now: Timestamp) -> Result<MailboxId> {
        let to = mailbox_name(to)?;
        let from = self.mailbox_record(account, id)?.name;
        if self.mailbox_id(account, &to)?.is_some() {
            return Err(Error::Exists("mailbox".into()));
        }
        if from == INBOX {
            return self.inbox_rename(account, id, &to, now);
        }
        if to.strip_prefix(from.as_str()).is_some_and(|rest| rest.starts_with(DELIMITER)) {
            return Err(Error::Invalid("a mailbox cannot be moved below itself".into()));
        }
        self.subtree_rename(account, id, &from, &to)?;
        Ok(id)
    }

    fn inbox_rename(&mut self, account: AccountId, inbox: MailboxId, to: &str, now: Timestamp) -> Result<MailboxId> {
        let new = self.mailbox_create(account, to, None)?;
        self.annotations_copy(account, inbox, new)?;
        self.email_move(account, inbox, &UidSet::range(Uid(1), Uid(u32::MAX)), new, now)?;
        Ok(new)
    }

    fn subtree_rename(&mut self, account: AccountId, id: MailboxId, from: &str, to: &str) -> Result<()> {
        let keys = self.keys(Space::MailboxName, &below(account, from), usize::MAX)?;
        let children = keys.iter().filter_map(|key| key::text(key, 4)).map(str::to_owned).collect::<Vec<_>>();
        let mut moved = vec![(id, to.to_owned())];
        for child in children {
            let rest = child.strip_prefix(from).unwrap_or_default();
            let name = mailbox_name(&format!("{to}{rest}"))?;
            let id = self.mailbox_id(account, &child)?.ok_or(Error::NotFound("mailbox".into()))?;
            moved.push((id, name));
        }
        self.parents_create(account, to)?;
        for (id, name) in &moved {
            self.name_change(account, *id, name)?;
        }
        let mut counters = self.counters(account)?;
        counters.next_mod_seq();
        let ids: Vec<_> = moved.iter().map(|(id, _)| *id).collect();
        self.list_changed(account, &mut counters, &ids, &[])?;
        self.counters_save(account, &counters)
    }

    fn name_change(&mut self, account: AccountId, id: MailboxId, name: &str) -> Result<()> {
        let mut record = self.mailbox_record(account, id)?;
        self.delete(Space::MailboxName, &key::name(account, &record.name));
        self.save(&key::name(account, name), &NameRecord(id))?;
        if self.has(Space::Subscription, &key::name(account, &record.name))? {
            self.put(Space::Subscription, &key::name(account, name), Vec::new());
        }
        let before = std::mem::replace(&mut record.name, name.to_owned());
        self.save(&key::mailbox(account, id), &record)?;
        let owner = self.account_record(account)?.address;
        self.share_renamed(account, id, &shared_name(&owner, &before), &shared_name(&owner, name))
    }

    fn mailbox_deletable(&self, account: AccountId, id: MailboxId) -> Result<MailboxRecord> {
        let record = self.mailbox_record(account, id)?;
        if record.name == INBOX {
            return Err(Error::Invalid("INBOX cannot be deleted".into()));
        }
        if !self.keys(Space::MailboxName, &below(account, &record.name), 1)?.is_empty() {
            return Err(Error::HasChildren);
        }
        Ok(record)
    }

    /// Deletes a mailbox in commits of bounded size: removes some of many messages and returns false, or does
    /// [`WriteTx::mailbox_delete`] and returns true. Call it until it does.
    ///
    /// # Errors
    /// As there; then no message is removed.
    pub fn mailbox_delete_next(&mut self, account: AccountId, id: MailboxId) -> Result<bool> {
        self.mailbox_deletable(account, id)?;
        if self.messages_destroy_some(account, id)? {
            return Ok(false);
        }
        self.mailbox_delete(account, id)?;
        Ok(true)
    }

    /// Deletes a mailbox and its messages; its subscription stays.
    ///
    /// # Errors
    /// When there is no such mailbox, it is INBOX, or it has others below it.
    pub fn mailbox_delete(&mut self, account: AccountId, id: MailboxId) -> Result<()> {
        let record = self.mailbox_deletable(account, id)?;
        let destroyed = self.messages_remove(account, id, &UidSet::range(Uid(1), Uid(u32::MAX)), Which::All)?.destroyed;
        for space in [Space::Keyword, Space::Change] {
            self.erase(space, &KeyRange::prefix(&key::mailbox(account, id)))?;
        }
        self.delete(Space::Mailbox, &key::mailbox(account, id));
        self.delete(Space::MailboxName, &key::name(account, &record.name));
        if let Some(role) = record.role {
            self.delete(Space::MailboxRole, &key::role(account, role));
        }
        self.grants_forget(account, id)?;
        let annotations = self.annotations_forget(account, id)?;
        let mut counters = self.counters(account)?;
        counters.octets_change(annotations, 0)?;
        counters.mailboxes = counters.mailboxes.saturating_sub(1);
        counters.next_mod_seq();
        self.list_changed(account, &mut counters, &[id], &destroyed)?;
        self.counters_save(account, &counters)
    }

    /// Gives a mailbox a role, or takes it away (RFC 6154 §5.2 leaves the rules to us: INBOX keeps
    /// its own, a role is given once).
    ///
    /// # Errors
    /// When there is no such mailbox, it is INBOX, or another mailbox has the role.
    pub fn mailbox_set_role(&mut self, account: AccountId, id: MailboxId, role: Option<Role>) -> Result<()> {
        let mut record = self.mailbox_record(account, id)?;
        if record.name == INBOX || role == Some(Role::Inbox) {
            return Err(Error::Invalid("INBOX keeps its role".into()));
        }
        if record.role == role {
            return Ok(());
        }
        self.role_free(account, role)?;
        if let Some(old) = record.role {
            self.delete(Space::MailboxRole, &key::role(account, old));
        }
        if let Some(new) = role {
            self.save(&key::role(account, new), &RoleRecord(id))?;
        }
        record.role = role;
        self.save(&key::mailbox(account, id), &record)?;
        let mut counters = self.counters(account)?;
        counters.next_mod_seq();
        self.list_changed(account, &mut counters, &[id], &[])?;
        self.counters_save(account, &counters)
    }

    /// Subscribes to a name or ends that; there need be no such mailbox (RFC 9051 §6.3.7). Doing it
    /// twice is no error.
    ///
    /// # Errors
    /// When the name is no name, or the account subscribes to [`SUBSCRIPTIONS_MAX`].
    pub fn mailbox_subscribe(&mut self, account: AccountId, name: &str, subscribed: bool) -> Result<()> {
        let key = key::name(account, &mailbox_name(name)?);
        if self.has(Space::Subscription, &key)? == subscribed {
            return Ok(());
        }
        if !subscribed {
            self.delete(Space::Subscription, &key);
        } else if self.subscriptions(account)?.len() < SUBSCRIPTIONS_MAX {
            self.put(Space::Subscription, &key, Vec::new());
        } else {
            return Err(Error::Limit("subscriptions of this account".into()));
        }
        let mut counters = self.counters(account)?;
        counters.next_mod_seq();
        let mailbox = self.mailbox_by_name(account, name)?.map(|mailbox| mailbox.id);
        self.list_changed(account, &mut counters, mailbox.as_slice(), &[])?;
        self.counters_save(account, &counters)
    }

    /// Remembers the keywords that a mailbox has not seen yet.
    pub(crate) fn keywords_note(&mut self, account: AccountId, id: MailboxId, keywords: &[Keyword]) -> Result<()> {
        for keyword in keywords {
            let key = key::keyword(account, id, keyword.as_str());
            if self.has(Space::Keyword, &key)? {
                continue;
            }
            let used = self.keys(Space::Keyword, &KeyRange::prefix(&key::mailbox(account, id)), MAILBOX_KEYWORDS_MAX)?;
            if used.len() >= MAILBOX_KEYWORDS_MAX {
                return Err(Error::Limit("keywords of this mailbox".into()));
            }
            self.save(&key, &KeywordRecord(keyword.clone()))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{add, findings, inbox, now, said, tx, uids, world};

    fn names(tx: &ReadTx, account: AccountId) -> String {
        let names: Vec<_> = tx.mailboxes(account).unwrap().into_iter().map(|mailbox| mailbox.name).collect();
        names.into_iter().filter(|name| !Role::ALL.map(Role::default_name).contains(&name.as_str())).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn names_are_paths() {
        for (input, want) in [
            ("inbox", Ok("INBOX")),
            ("Inbox/x", Ok("INBOX/x")),
            ("x/inbox", Ok("x/inbox")),
            ("inboxes", Ok("inboxes")),
            ("Entwürfe", Ok("Entwürfe")),
            ("100%*", Ok("100%*")),
            ("", Err("a level of the mailbox name is empty")),
            ("/a", Err("a level of the mailbox name is empty")),
            ("a/", Err("a level of the mailbox name is empty")),
            ("a//b", Err("a level of the mailbox name is empty")),
            ("a/ /b", Err("a level of the mailbox name is empty")),
            ("a\r\nb", Err("a mailbox name has no control characters")),
            ("a\u{2028}b", Err("a mailbox name has no control characters")),
        ] {
            let name = mailbox_name(input).map_err(|error| error.to_string());
            assert_eq!(name, want.map(str::to_owned).map_err(str::to_owned), "{input:?}");
        }
        assert_eq!(said(mailbox_name(&"x".repeat(MAILBOX_NAME_OCTETS_MAX + 1))), "limit reached: octets of a mailbox name");
        assert_eq!(said(mailbox_name(&vec!["x"; MAILBOX_DEPTH_MAX + 1].join("/"))), "limit reached: levels of a mailbox name");
    }

    #[test]
    fn mailboxes_are_made_with_their_parents_and_deleted_without_children() {
        let (store, ann) = world();
        tx(&store, move |tx| {
            let leaf = tx.mailbox_create(ann, "a/b/c", None)?;
            assert_eq!(names(tx, ann), "a a/b a/b/c");
            assert_eq!(said(tx.mailbox_create(ann, "a/b", None)), "mailbox exists already");
            assert_eq!(said(tx.mailbox_create(ann, "other", Some(Role::Sent))), "mailbox with this role exists already");
            let middle = tx.mailbox_by_name(ann, "a/b")?.unwrap().id;
            assert_eq!(said(tx.mailbox_delete(ann, middle)), "the mailbox has mailboxes below it");
            tx.mailbox_delete(ann, leaf)?;
            tx.mailbox_delete(ann, middle)?;
            assert_eq!(names(tx, ann), "a");
            assert_eq!(said(tx.mailbox_delete(ann, leaf)), "mailbox does not exist");
            assert_eq!(said(tx.mailbox_delete(ann, inbox(tx, ann).id)), "INBOX cannot be deleted");
            Ok(())
        });
        assert_eq!(findings(&store), [""; 0]);
    }

    #[test]
    fn a_mailbox_made_again_has_a_new_number_and_numbering() {
        let (store, ann) = world();
        tx(&store, move |tx| {
            let first = tx.mailbox_create(ann, "x", None)?;
            add(tx, ann, first, "one@x", "")?;
            let before = tx.mailbox(ann, first)?.unwrap();
            tx.mailbox_delete(ann, first)?;
            assert_eq!(tx.quota(ann)?.emails, 0);
            let second = tx.mailbox_create(ann, "x", None)?;
            let after = tx.mailbox(ann, second)?.unwrap();
            assert!(second > first && after.uid_validity > before.uid_validity && after.mod_seq > before.mod_seq);
            Ok(())
        });
    }

    #[test]
    fn a_whole_subtree_is_renamed() {
        let (store, ann) = world();
        tx(&store, move |tx| {
            let leaf = tx.mailbox_create(ann, "a/b/c", None)?;
            tx.mailbox_create(ann, "ab", None)?;
            tx.mailbox_subscribe(ann, "a/b/c", true)?;
            let before = tx.mailbox(ann, leaf)?.unwrap();
            let a = tx.mailbox_by_name(ann, "a")?.unwrap().id;
            assert_eq!(said(tx.mailbox_rename(ann, a, "a/b/x", now())), "a mailbox cannot be moved below itself");
            assert_eq!(said(tx.mailbox_rename(ann, a, "ab", now())), "mailbox exists already");
            assert_eq!(tx.mailbox_rename(ann, a, "x/y", now())?, a);
            assert_eq!(names(tx, ann), "ab x x/y x/y/b x/y/b/c");
            let after = tx.mailbox(ann, leaf)?.unwrap();
            assert_eq!(after, Mailbox { name: "x/y/b/c".into(), ..before });
            let subscriptions = tx.subscriptions(ann)?;
            assert!(["a/b/c", "x/y/b/c"].iter().all(|name| subscriptions.contains(&(*name).to_owned())));
            Ok(())
        });
        assert_eq!(findings(&store), [""; 0]);
    }

    #[test]
    fn renaming_inbox_moves_its_mail() {
        let (store, ann) = world();
        tx(&store, move |tx| {
            let inbox_id = inbox(tx, ann).id;
            tx.mailbox_create(ann, "INBOX/child", None)?;
            add(tx, ann, inbox_id, "one@x", "\\Seen")?;
            let new = tx.mailbox_rename(ann, inbox_id, "old/mail", now())?;
            assert_eq!(names(tx, ann), "INBOX/child old old/mail");
            assert_eq!((inbox(tx, ann).id, inbox(tx, ann).emails), (inbox_id, 0));
            assert_eq!(tx.mailbox(ann, new)?.map(|mailbox| (mailbox.emails, mailbox.unseen)), Some((1, 0)));
            Ok(())
        });
        assert_eq!(findings(&store), [""; 0]);
    }

    #[test]
    fn subscriptions_are_names() {
        let (store, ann) = world();
        tx(&store, move |tx| {
            tx.mailbox_subscribe(ann, "nowhere/at all", true)?;
            tx.mailbox_subscribe(ann, "nowhere/at all", true)?;
            tx.mailbox_subscribe(ann, "Sent", false)?;
            tx.mailbox_subscribe(ann, "Sent", false)?;
            let sent = tx.mailbox_by_role(ann, Role::Sent)?.unwrap();
            assert!(!sent.subscribed);
            let trash = tx.mailbox_by_role(ann, Role::Trash)?.unwrap();
            tx.mailbox_delete(ann, trash.id)?;
            assert_eq!(tx.mailbox_by_role(ann, Role::Trash)?, None);
            assert_eq!(tx.subscriptions(ann)?.join(" "), "Archive Drafts INBOX Junk Trash nowhere/at all");
            Ok(())
        });
    }

    #[test]
    fn roles_are_given_once() {
        let (store, ann) = world();
        tx(&store, move |tx| {
            let (sent, drafts) = (tx.mailbox_by_role(ann, Role::Sent)?.unwrap().id, tx.mailbox_by_role(ann, Role::Drafts)?.unwrap().id);
            assert_eq!(said(tx.mailbox_set_role(ann, drafts, Some(Role::Sent))), "mailbox with this role exists already");
            assert_eq!(said(tx.mailbox_set_role(ann, inbox(tx, ann).id, None)), "INBOX keeps its role");
            assert_eq!(said(tx.mailbox_set_role(ann, drafts, Some(Role::Inbox))), "INBOX keeps its role");
            tx.mailbox_set_role(ann, sent, None)?;
            tx.mailbox_set_role(ann, drafts, Some(Role::Sent))?;
            assert_eq!(tx.mailbox_by_role(ann, Role::Sent)?.map(|mailbox| mailbox.id), Some(drafts));
            assert_eq!(tx.mailbox_by_role(ann, Role::Drafts)?, None);
            Ok(())
        });
        assert_eq!(findings(&store), [""; 0]);
    }

    #[test]
    fn changes_of_the_list_are_told() {
        let (store, ann) = world();
        tx(&store, move |tx| {
            let start = tx.mod_seq(ann)?;
            let x = tx.mailbox_create(ann, "x", None)?;
            let y = tx.mailbox_create(ann, "y", None)?;
            let middle = tx.mod_seq(ann)?;
            tx.mailbox_delete(ann, y)?;
            assert_eq!(tx.list_changes(ann, start)?.mailboxes, [x, y]);
            assert_eq!(tx.list_changes(ann, middle)?.mailboxes, [y]);
            let inbox = inbox(tx, ann).id;
            assert!(tx.changes(ann, inbox, middle)?.list_changed);
            add(tx, ann, inbox, "one@x", "")?;
            let now = tx.mod_seq(ann)?;
            assert!(!tx.changes(ann, inbox, now)?.list_changed);
            assert!(tx.list_changes(ann, now)?.mailboxes.is_empty());
            Ok(())
        });
    }

    #[test]
    fn a_mailbox_remembers_its_keywords_and_has_only_so_many() {
        let (store, ann) = world();
        tx(&store, move |tx| {
            let inbox = inbox(tx, ann).id;
            add(tx, ann, inbox, "one@x", "Work $Forwarded")?;
            add(tx, ann, inbox, "two@x", "WORK play")?;
            tx.messages_destroy(ann, inbox, &uids("1"))?;
            let keywords: Vec<_> = tx.mailbox_keywords(ann, inbox)?.into_iter().map(|k| k.as_str().to_owned()).collect();
            assert_eq!(keywords, ["$Forwarded", "play", "Work"]);
            Ok(())
        });
        let error = store.write_blocking(move |tx| {
            let inbox = inbox(tx, ann).id;
            let many: Vec<_> = (0..=MAILBOX_KEYWORDS_MAX).map(|n| format!("k{n}")).collect();
            many.chunks(50).try_for_each(|some| add(tx, ann, inbox, "three@x", &some.join(" ")).map(|_| ()))
        });
        assert_eq!(said(error), "limit reached: keywords of this mailbox");
        assert_eq!(findings(&store), [""; 0]);
    }
}
