//! Accounts: who has mail here.
//!
//! Not who may log in: that is [`crate::auth`], which reads the credentials kept here.
//!
//! A disabled account cannot log in and still gets its mail.
//!
//! Invariants: an account id is never used again; an account has one address, which is its login, and
//! an INBOX.

use crate::alias::{self, AddressRecord, Target};
use crate::auth::{Credentials, Credentials1};
use crate::error::{Error, Result};
use crate::index::KeyRange;
use crate::key;
use crate::quota::Quota;
use crate::record::Record;
use crate::schema::Space;
use crate::tx::{ReadTx, WriteTx};
use crate::uid::Counters;
use mail::{AccountId, Address, Role, Timestamp};
use serde::{Deserialize, Serialize};

/// Longest name of an account's owner, octets. Our own bound.
pub const ACCOUNT_NAME_OCTETS_MAX: usize = 256;

/// What an account starts with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewAccount {
    /// Its address and login; the domain must be ours.
    pub address: Address,
    /// The owner's name as people write it; may be empty.
    pub name: String,
    /// By what the owner is known at login.
    pub credentials: Credentials,
    /// Most octets of mail; `None`: as much as the disk takes.
    pub quota_octets_max: Option<u64>,
}

/// An account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its number.
    pub id: AccountId,
    /// Its address as first written: the login.
    pub address: Address,
    /// The owner's name.
    pub name: String,
    /// Whether it may log in.
    pub enabled: bool,
    /// Most octets of mail; `None`: as much as the disk takes.
    pub quota_octets_max: Option<u64>,
    /// Octets of its emails, each counted once however many mailboxes hold it.
    pub used_octets: u64,
    /// How many emails it has.
    pub emails: u64,
    /// Most emails; `None`: as many as there is room for.
    pub quota_emails_max: Option<u64>,
    /// Whether it may set quotas and annotate the server, for everybody.
    pub administrator: bool,
    /// By what the owner is known at login.
    pub credentials: Credentials,
    /// When it was made.
    pub created: Timestamp,
}

impl Account {
    /// Whether an email of this size still finds room.
    #[must_use]
    pub fn has_room(&self, octets: u64) -> bool {
        let Self { used_octets, quota_octets_max: octets_max, emails, quota_emails_max: emails_max, .. } = *self;
        Quota { used_octets, octets_max, emails, emails_max }.has_room(octets)
    }
}

/// What of an account does not change with its mail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AccountRecord {
    pub(crate) address: Address,
    pub(crate) name: String,
    pub(crate) enabled: bool,
    pub(crate) credentials: Credentials,
    pub(crate) created: Timestamp,
}

impl Record for AccountRecord {
    const SPACE: Space = Space::Account;
    const NAME: &'static str = "account record";
    /// 2: credentials hold keys for SCRAM-SHA-1 too.
    const FORMAT: u8 = 2;

    fn upgrade(format: u8, octets: &[u8]) -> Option<Self> {
        (format == 1).then(|| postcard::from_bytes::<AccountRecord1>(octets).ok()).flatten().map(Self::from)
    }
}

/// Format 1.
#[derive(Deserialize)]
struct AccountRecord1 {
    address: Address,
    name: String,
    enabled: bool,
    credentials: Credentials1,
    created: Timestamp,
}

impl From<AccountRecord1> for AccountRecord {
    fn from(old: AccountRecord1) -> Self {
        let AccountRecord1 { address, name, enabled, credentials, created } = old;
        Self { address, name, enabled, credentials: credentials.into(), created }
    }
}

impl ReadTx {
    /// An account.
    ///
    /// # Errors
    /// When the store fails.
    pub fn account(&self, id: AccountId) -> Result<Option<Account>> {
        let Some(record) = self.record::<AccountRecord>(&key::account(id))? else { return Ok(None) };
        Ok(Some(joined(id, record, &self.counters(id)?, self.is_administrator(id)?)))
    }

    /// Whether an account is an administrator.
    ///
    /// # Errors
    /// When the store fails.
    pub fn is_administrator(&self, id: AccountId) -> Result<bool> {
        self.has(Space::Administrator, &key::account(id))
    }

    /// The account with an address, in any case and without `+detail`; aliases are no logins.
    ///
    /// # Errors
    /// When the store fails.
    pub fn account_by_login(&self, login: &str) -> Result<Option<Account>> {
        let Ok(address) = Address::parse(login) else { return Ok(None) };
        match self.address(&address)? {
            Some(AddressRecord::Account(id)) => self.account(id),
            _ => Ok(None),
        }
    }

    /// Every account, by number.
    ///
    /// # Errors
    /// When the store fails.
    pub fn accounts(&self) -> Result<Vec<Account>> {
        let ids = self.account_ids()?;
        let accounts = ids.into_iter().map(|id| self.account(id)?.ok_or(Error::NotFound("account".into())));
        accounts.collect()
    }

    pub(crate) fn account_ids(&self) -> Result<Vec<AccountId>> {
        let keys = self.keys(Space::Account, &KeyRange::all(), usize::MAX)?;
        Ok(keys.iter().filter_map(|key| key::number_u32(key, 0)).map(AccountId).collect())
    }

    pub(crate) fn account_record(&self, id: AccountId) -> Result<AccountRecord> {
        self.record(&key::account(id))?.ok_or(Error::NotFound("account".into()))
    }
}

fn joined(id: AccountId, record: AccountRecord, counters: &Counters, administrator: bool) -> Account {
    let AccountRecord { address, name, enabled, credentials, created } = record;
    let Counters { used_octets, emails, quota_octets_max, quota_emails_max, .. } = *counters;
    Account { id, address, name, enabled, quota_octets_max, used_octets, emails, quota_emails_max, administrator, credentials, created }
}

impl WriteTx {
    /// Makes an account with a mailbox for each role, all subscribed.
    ///
    /// # Errors
    /// When the domain is not ours, the address is taken, or the name is too long.
    pub fn account_create(&mut self, new: NewAccount, now: Timestamp) -> Result<AccountId> {
        self.domain_of_ours(new.address.domain())?;
        name_check(&new.name)?;
        self.address_free(&new.address)?;
        let id = self.next_account()?;
        let NewAccount { address, name, credentials, quota_octets_max } = new;
        self.save(&alias::key(&address), &AddressRecord::Account(id))?;
        let record = AccountRecord { address, name, enabled: true, credentials, created: now };
        self.save(&key::account(id), &record)?;
        let counters = Counters { uid_validity: self.uid_validity_start(now)?, quota_octets_max, ..Counters::default() };
        self.counters_save(id, &counters)?;
        for role in Role::INITIAL {
            self.mailbox_create(id, role.default_name(), Some(role))?;
            self.mailbox_subscribe(id, role.default_name(), true)?;
        }
        Ok(id)
    }

    fn address_free(&self, address: &Address) -> Result<()> {
        match self.address(address)? {
            None => Ok(()),
            Some(AddressRecord::Account(_)) => Err(Error::Exists("account".into())),
            Some(AddressRecord::Alias(..)) => Err(Error::Exists("alias".into())),
        }
    }

    /// Lets an account log in, or not.
    ///
    /// # Errors
    /// When there is no such account.
    pub fn account_set_enabled(&mut self, id: AccountId, enabled: bool) -> Result<()> {
        self.account_change(id, |record| record.enabled = enabled)
    }

    /// Gives an account new credentials; whoever knew the old ones is a stranger from then on.
    ///
    /// # Errors
    /// When there is no such account.
    pub fn account_set_credentials(&mut self, id: AccountId, credentials: Credentials) -> Result<()> {
        self.account_change(id, |record| record.credentials = credentials)
    }

    /// Adds the SCRAM-SHA-1 keys that credentials of an older Postrider lack; nothing if they have changed.
    pub(crate) fn account_complete_credentials(&mut self, id: AccountId, complete: &Credentials) -> Result<()> {
        let Some(record) = self.record::<AccountRecord>(&key::account(id))? else { return Ok(()) };
        if record.credentials.version() != complete.version() {
            return Ok(());
        }
        self.account_change(id, |record| record.credentials = complete.clone())
    }

    /// Sets the owner's name.
    ///
    /// # Errors
    /// When there is no such account, or the name is longer than [`ACCOUNT_NAME_OCTETS_MAX`].
    pub fn account_set_name(&mut self, id: AccountId, name: &str) -> Result<()> {
        name_check(name)?;
        self.account_change(id, |record| name.clone_into(&mut record.name))
    }

    /// Sets how many octets of mail the account may have; less than it has is allowed and keeps new
    /// mail out.
    ///
    /// # Errors
    /// When there is no such account.
    pub fn account_set_quota(&mut self, id: AccountId, quota_octets_max: Option<u64>) -> Result<()> {
        let counters = Counters { quota_octets_max, ..self.counters(id)? };
        self.counters_save(id, &counters)
    }

    /// Sets how many emails the account may have; fewer than it has is allowed and keeps new mail out.
    ///
    /// # Errors
    /// When there is no such account.
    pub fn account_set_quota_emails(&mut self, id: AccountId, quota_emails_max: Option<u64>) -> Result<()> {
        let counters = Counters { quota_emails_max, ..self.counters(id)? };
        self.counters_save(id, &counters)
    }

    /// Makes an account an administrator, or no longer one.
    ///
    /// # Errors
    /// When there is no such account.
    pub fn account_set_administrator(&mut self, id: AccountId, administrator: bool) -> Result<()> {
        self.account_record(id)?;
        if administrator {
            self.put(Space::Administrator, &key::account(id), Vec::new());
        } else {
            self.delete(Space::Administrator, &key::account(id));
        }
        Ok(())
    }

    /// Gives an account another address, and with it another login. The old one becomes free.
    ///
    /// # Errors
    /// When there is no such account, the domain is not ours or the address is taken.
    pub fn account_set_address(&mut self, id: AccountId, address: Address) -> Result<()> {
        self.domain_of_ours(address.domain())?;
        let old = self.account_record(id)?.address;
        if old.key() != address.key() {
            self.address_free(&address)?;
            self.delete(Space::Address, &alias::key(&old));
            self.save(&alias::key(&address), &AddressRecord::Account(id))?;
        }
        self.shares_readdressed(id, &old, &address)?;
        self.account_change(id, |record| record.address = address)
    }

    fn account_change(&mut self, id: AccountId, change: impl FnOnce(&mut AccountRecord)) -> Result<()> {
        let mut record = self.account_record(id)?;
        change(&mut record);
        self.save(&key::account(id), &record)
    }

    /// Removes an account in commits of bounded size: the first keeps it from logging in, each removes some of
    /// many messages and returns false; the last does [`WriteTx::account_remove`] and returns true. Call it
    /// until it does.
    ///
    /// # Errors
    /// When there is no such account.
    pub fn account_remove_next(&mut self, id: AccountId) -> Result<bool> {
        for mailbox in self.mailboxes(id)? {
            if self.messages_destroy_some(id, mailbox.id)? {
                self.account_set_enabled(id, false)?;
                return Ok(false);
            }
        }
        self.account_remove(id)?;
        Ok(true)
    }

    /// Removes an account, all its mail, what it shares and what is shared with it, and itself from the
    /// aliases that lead to it; an alias that then leads nowhere goes too.
    ///
    /// Everything in one commit, for which other writers wait: [`WriteTx::account_remove_next`] is for accounts
    /// with much mail.
    ///
    /// # Errors
    /// When there is no such account.
    pub fn account_remove(&mut self, id: AccountId) -> Result<()> {
        let record = self.account_record(id)?;
        let counters = self.counters(id)?;
        self.uid_validity_retire(counters.uid_validity)?;
        // Who watches the account wakes and finds it gone.
        self.announce(id, counters.mod_seq.next());
        self.outbox_forget(id)?;
        self.rejects_forget(id)?;
        self.emails_release(id)?;
        self.shares_forget(id)?;
        self.annotations_of_viewer_forget(id)?;
        for space in OF_AN_ACCOUNT {
            self.erase(space, &KeyRange::prefix(&key::account(id)))?;
        }
        self.delete(Space::Address, &alias::key(&record.address));
        self.targets_forget(id)
    }

    fn targets_forget(&mut self, id: AccountId) -> Result<()> {
        let gone = Target::Account(id);
        for (address, mut targets) in self.aliases()? {
            if !targets.contains(&gone) {
                continue;
            }
            targets.retain(|target| *target != gone);
            if targets.is_empty() {
                self.alias_remove(&address)?;
            } else {
                self.alias_set(&address, targets)?;
            }
        }
        for (domain, record) in self.domains()? {
            let Some(mut targets) = record.catch_all.filter(|targets| targets.contains(&gone)) else { continue };
            targets.retain(|target| *target != gone);
            self.domain_catch_all_set(&domain, Some(targets))?;
        }
        Ok(())
    }
}

/// The spaces whose keys start with the account.
pub(crate) const OF_AN_ACCOUNT: [Space; 31] = [
    Space::Account,
    Space::Counters,
    Space::Mailbox,
    Space::MailboxName,
    Space::MailboxRole,
    Space::Subscription,
    Space::Keyword,
    Space::Message,
    Space::Deleted,
    Space::Email,
    Space::Grams,
    Space::Thread,
    Space::Change,
    Space::Grant,
    Space::Annotation,
    Space::Administrator,
    Space::Token,
    Space::Pop3,
    Space::Pop3Message,
    Space::Lesson,
    Space::Taught,
    Space::Correspondent,
    Space::Suppression,
    Space::Outbox,
    Space::Hold,
    Space::Reputation,
    Space::Origin,
    Space::Traffic,
    Space::Sending,
    Space::Reject,
    Space::RejectKey,
];

fn name_check(name: &str) -> Result<()> {
    match name {
        _ if name.len() > ACCOUNT_NAME_OCTETS_MAX => Err(Error::Limit("octets of an account's name".into())),
        _ if name.chars().any(char::is_control) => Err(Error::Invalid("a name has no control characters".into())),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{account_add, add, address, findings, inbox, said, tx, world};

    #[test]
    fn an_account_starts_with_its_mailboxes() {
        let (store, ann) = world();
        tx(&store, move |tx| {
            let names: Vec<_> = tx.mailboxes(ann)?.into_iter().map(|m| (m.name, m.role.is_some(), m.subscribed)).collect();
            let expected = ["Archive", "Drafts", "INBOX", "Junk", "Sent", "Trash"].map(|name| (name.to_owned(), true, true));
            assert_eq!(names, expected);
            let account = tx.account_by_login("ANN@example.ORG")?.unwrap();
            assert_eq!((account.id, account.enabled, account.emails, account.used_octets), (ann, true, 0, 0));
            for stranger in ["bob@example.org", "ann+x@example.org", "ann", ""] {
                assert_eq!(tx.account_by_login(stranger)?, None, "{stranger}");
            }
            Ok(())
        });
    }

    #[test]
    fn what_cannot_be_an_account() {
        let (store, _) = world();
        tx(&store, |tx| {
            tx.alias_set(&address("info@example.org"), vec![Target::Address(address("x@y"))])?;
            for (text, want) in [
                ("Ann@example.org", "account exists already"),
                ("info@example.org", "alias exists already"),
                ("x@elsewhere.example", "domain does not exist"),
            ] {
                assert_eq!(said(account_add(tx, text)), want, "{text}");
            }
            let long = "x".repeat(ACCOUNT_NAME_OCTETS_MAX + 1);
            assert_eq!(said(tx.account_set_name(AccountId(1), &long)), "limit reached: octets of an account's name");
            assert_eq!(said(tx.account_set_name(AccountId(1), "a\nb")), "a name has no control characters");
            Ok(())
        });
    }

    #[test]
    fn an_account_changes() {
        let (store, ann) = world();
        tx(&store, move |tx| {
            tx.account_set_name(ann, "Ann Example")?;
            tx.account_set_enabled(ann, false)?;
            tx.account_set_quota(ann, Some(99))?;
            tx.account_set_address(ann, address("Anna@example.org"))?;
            let account = tx.account(ann)?.unwrap();
            assert_eq!((account.name.as_str(), account.enabled, account.quota_octets_max), ("Ann Example", false, Some(99)));
            assert_eq!(tx.account_by_login("ann@example.org")?, None);
            assert_eq!(tx.account_by_login("anna@example.org")?.map(|account| account.id), Some(ann));
            tx.account_set_address(ann, address("ANNA@example.org"))?;
            let bob = account_add(tx, "ann@example.org")?;
            assert_eq!(tx.accounts()?.into_iter().map(|account| account.id).collect::<Vec<_>>(), [ann, bob]);
            assert_eq!(said(tx.account_set_address(bob, address("anna@example.org"))), "account exists already");
            Ok(())
        });
        assert_eq!(findings(&store), [""; 0]);
    }

    #[test]
    fn much_mail_goes_in_steps() {
        let (store, ann) = world();
        let many = u32::try_from(crate::message::REMOVED_AT_ONCE).unwrap() + 1;
        tx(&store, move |tx| {
            let (kept, large) = (inbox(tx, ann).id, tx.mailbox_create(ann, "large", None)?);
            for number in 0..=many {
                add(tx, ann, large, &format!("{number}@x"), "\\Deleted")?;
            }
            assert_eq!(said(tx.mailbox_delete_next(ann, kept)), "INBOX cannot be deleted");
            assert!(!tx.mailbox_delete_next(ann, large)?);
            assert_eq!(tx.mailbox(ann, large)?.map(|mailbox| (mailbox.emails, mailbox.deleted)), Some((2, 2)));
            assert!(tx.mailbox_delete_next(ann, large)? && tx.mailbox(ann, large)?.is_none());
            for number in 0..many {
                add(tx, ann, kept, &format!("{number}@y"), "")?;
            }
            assert!(!tx.account_remove_next(ann)?);
            assert!(!tx.account(ann)?.unwrap().enabled && inbox(tx, ann).emails == 1);
            assert!(tx.account_remove_next(ann)? && tx.account(ann)?.is_none());
            Ok(())
        });
        assert_eq!(findings(&store), [""; 0]);
    }

    #[test]
    fn an_account_leaves_nothing_and_its_successor_starts_above_it() {
        let (store, ann) = world();
        tx(&store, move |tx| {
            let bob = account_add(tx, "bob@example.org")?;
            tx.alias_set(&address("both@example.org"), vec![Target::Account(ann), Target::Account(bob)])?;
            tx.alias_set(&address("only@example.org"), vec![Target::Account(ann)])?;
            tx.domain_catch_all_set(address("x@example.org").domain(), Some(vec![Target::Account(ann)]))?;
            let (first, second) = (inbox(tx, ann), inbox(tx, bob));
            add(tx, ann, first.id, "shared@x", "")?;
            add(tx, bob, second.id, "shared@x", "")?;
            let highest = tx.mailboxes(ann)?.iter().map(|mailbox| mailbox.uid_validity).max();
            tx.account_remove(ann)?;
            assert_eq!(tx.account(ann)?, None);
            assert_eq!(tx.alias(&address("both@example.org"))?, Some(vec![Target::Account(bob)]));
            assert_eq!(tx.alias(&address("only@example.org"))?, None);
            assert_eq!(tx.domain(address("x@example.org").domain())?.and_then(|domain| domain.catch_all), None);
            let again = account_add(tx, "ann@example.org")?;
            assert!(again > bob, "an account's number is never used again");
            assert!(tx.mailboxes(again)?.iter().map(|mailbox| mailbox.uid_validity).min() > highest);
            assert_eq!(said(tx.account_remove(ann)), "account does not exist");
            Ok(())
        });
        assert_eq!(findings(&store), [""; 0]);
    }
}
