//! Who may do what with whose mailboxes (RFC 4314), and how they are named by those who may.
//!
//! A mailbox's owner may do everything with it, always. Everybody else may do what the grants of the
//! mailbox say: those to the account and those to `anyone` together, without the negative ones. A new
//! mailbox starts with the grants of the mailbox above it.
//!
//! Grants name accounts by number, so that they outlive a change of address. `anyone` is everybody in
//! the owner's domain: several organisations may share a server without knowing of each other.
//!
//! Others' mailboxes stand below [`OTHERS`], by their owner's address. Who is given a mailbox is
//! subscribed to it: Thunderbird shows no other.
//!
//! Invariants: a grant has a right; each grant has its entry in `Space::Share`, and no other entry is
//! there; grants go with their mailbox, with its owner and with whom they name.

use crate::error::{Error, Result};
use crate::index::KeyRange;
use crate::key;
use crate::mailbox::{DELIMITER, Mailbox};
use crate::record::Record;
use crate::schema::Space;
use crate::tx::{ReadTx, WriteTx};
use mail::{AccountId, Address, MailboxId, Rights};
use serde::{Deserialize, Serialize};

/// The first level of the names of others' mailboxes (RFC 2342).
pub const OTHERS: &str = "Other users";
/// Most grants of one mailbox. Our own bound.
pub const GRANTS_MAX: usize = 1_000;

/// To whom rights are given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grantee {
    /// `anyone`: every account of the owner's domain.
    Anyone,
    /// One account.
    Account(AccountId),
}

/// Rights given to somebody, or taken from what others give.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    /// To whom.
    pub grantee: Grantee,
    /// These rights are taken away (RFC 4314 §2, "negative rights").
    pub negative: bool,
    /// Which; never none.
    pub rights: Rights,
}

/// A mailbox of another account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    /// Whose it is.
    pub owner: AccountId,
    /// The whole name by which others know it.
    pub name: String,
    /// The mailbox as its owner knows it.
    pub mailbox: Mailbox,
    /// What may be done with it; never nothing.
    pub rights: Rights,
}

/// The rights of a grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GrantRecord(pub(crate) Rights);

impl Record for GrantRecord {
    const SPACE: Space = Space::Grant;
    const NAME: &'static str = "grant record";
}

impl Grantee {
    /// The number in keys; accounts start at 1.
    pub(crate) const fn number(self) -> u32 {
        match self {
            Self::Anyone => 0,
            Self::Account(account) => account.0,
        }
    }

    pub(crate) const fn by_number(number: u32) -> Self {
        if number == 0 { Self::Anyone } else { Self::Account(AccountId(number)) }
    }
}

/// The name by which others know a mailbox.
pub fn shared_name(owner: &Address, mailbox: &str) -> String {
    format!("{OTHERS}{DELIMITER}{owner}{DELIMITER}{mailbox}")
}

/// Whether a name is one of others' mailboxes, or stands above them.
pub fn is_shared_name(name: &str) -> bool {
    name.strip_prefix(OTHERS).is_some_and(|rest| rest.is_empty() || rest.starts_with(DELIMITER))
}

impl ReadTx {
    /// The grants of a mailbox: `anyone` first, then accounts by number, each before its negative.
    ///
    /// # Errors
    /// When the store fails.
    pub fn grants(&self, owner: AccountId, mailbox: MailboxId) -> Result<Vec<Grant>> {
        let records = self.records::<GrantRecord>(&KeyRange::prefix(&key::mailbox(owner, mailbox)))?;
        let read = |(key, GrantRecord(rights)): (Vec<u8>, GrantRecord)| {
            let (grantee, negative) = key::grantee(&key)?;
            Some(Grant { grantee, negative, rights })
        };
        Ok(records.into_iter().filter_map(read).collect())
    }

    /// What an account may do with a mailbox.
    ///
    /// # Errors
    /// When the store fails.
    pub fn rights(&self, viewer: AccountId, owner: AccountId, mailbox: MailboxId) -> Result<Rights> {
        if viewer == owner {
            return Ok(Rights::ALL);
        }
        let (mut given, mut taken) = (Rights::NONE, Rights::NONE);
        for grant in self.grants(owner, mailbox)? {
            if self.is_meant(grant.grantee, viewer, owner)? {
                let sum = if grant.negative { &mut taken } else { &mut given };
                *sum = sum.union(grant.rights);
            }
        }
        Ok(given.without(taken))
    }

    fn is_meant(&self, grantee: Grantee, viewer: AccountId, owner: AccountId) -> Result<bool> {
        match grantee {
            Grantee::Account(account) => Ok(account == viewer),
            Grantee::Anyone => self.are_of_one_domain(viewer, owner),
        }
    }

    fn are_of_one_domain(&self, one: AccountId, other: AccountId) -> Result<bool> {
        Ok(self.account_record(one)?.address.domain() == self.account_record(other)?.address.domain())
    }

    /// Every mailbox of others with which an account may do something, by name. Costs what is shared
    /// with it, and what is shared with anyone.
    ///
    /// # Errors
    /// When the store fails.
    pub fn shares(&self, viewer: AccountId) -> Result<Vec<Share>> {
        let mut named = Vec::new();
        for grantee in [Grantee::Account(viewer), Grantee::Anyone] {
            let keys = self.keys(Space::Share, &KeyRange::prefix(&key::shares(grantee)), usize::MAX)?;
            named.extend(keys.iter().filter_map(|key| key::shared(key)));
        }
        named.sort_unstable();
        named.dedup();
        let mut shares = Vec::new();
        for (owner, mailbox) in named {
            shares.extend(self.share(viewer, owner, mailbox)?);
        }
        shares.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(shares)
    }

    /// A mailbox of another account, if something may be done with it.
    fn share(&self, viewer: AccountId, owner: AccountId, id: MailboxId) -> Result<Option<Share>> {
        let rights = self.rights(viewer, owner, id)?;
        if owner == viewer || rights.is_empty() {
            return Ok(None);
        }
        let Some(mailbox) = self.mailbox(owner, id)? else { return Ok(None) };
        let name = shared_name(&self.account_record(owner)?.address, &mailbox.name);
        Ok(Some(Share { owner, name, mailbox, rights }))
    }

    /// Whose a name of others' mailboxes is, and the name by which its owner knows it.
    ///
    /// # Errors
    /// When the store fails.
    pub fn owner_of<'a>(&self, viewer: AccountId, shared_name: &'a str) -> Result<Option<(AccountId, &'a str)>> {
        let rest = shared_name.strip_prefix(OTHERS).and_then(|rest| rest.strip_prefix(DELIMITER));
        let Some((address, name)) = rest.and_then(|rest| rest.split_once(DELIMITER)) else { return Ok(None) };
        let owner = self.account_by_login(address)?.map(|account| account.id);
        Ok(owner.filter(|owner| *owner != viewer).map(|owner| (owner, name)))
    }
}

impl WriteTx {
    /// Gives somebody exactly these rights to a mailbox, or takes exactly these from what others give;
    /// none: the grant is gone. An account that then sees the mailbox is subscribed to it.
    ///
    /// # Errors
    /// When there is no such mailbox or account, the account is its owner, or it has [`GRANTS_MAX`].
    pub fn grant_set(&mut self, owner: AccountId, mailbox: MailboxId, grant: Grant) -> Result<()> {
        let name = self.mailbox_record(owner, mailbox)?.name;
        if let Grantee::Account(account) = grant.grantee {
            self.account_record(account)?;
            if account == owner {
                return Err(Error::Invalid("the owner has all rights".into()));
            }
        }
        if self.grants(owner, mailbox)?.len() >= GRANTS_MAX && !grant.rights.is_empty() {
            return Err(Error::Limit("grants of this mailbox".into()));
        }
        self.grant_save(owner, mailbox, &name, grant)?;
        let mut counters = self.counters(owner)?;
        counters.next_mod_seq();
        self.list_changed(owner, &mut counters, &[mailbox], &[])?;
        self.counters_save(owner, &counters)
    }

    fn grant_save(&mut self, owner: AccountId, mailbox: MailboxId, name: &str, grant: Grant) -> Result<()> {
        let key = key::grant(owner, mailbox, grant.grantee, grant.negative);
        if grant.rights.is_empty() {
            self.delete(Space::Grant, &key);
        } else {
            self.save(&key, &GrantRecord(grant.rights))?;
        }
        self.share_note(owner, mailbox, grant.grantee)?;
        match grant.grantee {
            Grantee::Account(account) if self.rights(account, owner, mailbox)?.contains(Rights::LOOKUP) => {
                self.share_subscribe(account, owner, name)
            }
            _ => Ok(()),
        }
    }

    /// Keeps the entry by which whoever is named finds the mailbox.
    fn share_note(&mut self, owner: AccountId, mailbox: MailboxId, grantee: Grantee) -> Result<()> {
        let key = key::share(grantee, owner, mailbox);
        let both = [false, true].map(|negative| self.has(Space::Grant, &key::grant(owner, mailbox, grantee, negative)));
        let [given, taken] = both;
        if given? || taken? {
            self.put(Space::Share, &key, Vec::new());
        } else {
            self.delete(Space::Share, &key);
        }
        Ok(())
    }

    fn share_subscribe(&mut self, viewer: AccountId, owner: AccountId, mailbox: &str) -> Result<()> {
        let name = shared_name(&self.account_record(owner)?.address, mailbox);
        match self.mailbox_subscribe(viewer, &name, true) {
            // A grant does not fail for want of room in somebody's list, nor for a long name.
            Err(Error::Limit(_) | Error::Invalid(_)) => Ok(()),
            other => other,
        }
    }

    /// Gives a new mailbox the grants of the one above it (RFC 4314 §4, CREATE).
    pub(crate) fn grants_inherit(&mut self, owner: AccountId, mailbox: MailboxId) -> Result<()> {
        let name = self.mailbox_record(owner, mailbox)?.name;
        let Some((above, _)) = name.rsplit_once(DELIMITER) else { return Ok(()) };
        let Some(above) = self.mailbox_id(owner, above)? else { return Ok(()) };
        for grant in self.grants(owner, above)? {
            self.grant_save(owner, mailbox, &name, grant)?;
        }
        Ok(())
    }

    /// Removes the grants of a mailbox that goes.
    pub(crate) fn grants_forget(&mut self, owner: AccountId, mailbox: MailboxId) -> Result<()> {
        for grant in self.grants(owner, mailbox)? {
            self.delete(Space::Grant, &key::grant(owner, mailbox, grant.grantee, grant.negative));
            self.delete(Space::Share, &key::share(grant.grantee, owner, mailbox));
        }
        Ok(())
    }

    /// Removes the grants to an account that goes, and the entries of its own; its own grants are
    /// removed with its other keys.
    pub(crate) fn shares_forget(&mut self, account: AccountId) -> Result<()> {
        let gone = Grantee::Account(account);
        for key in self.keys(Space::Share, &KeyRange::prefix(&key::shares(gone)), usize::MAX)? {
            let Some((owner, mailbox)) = key::shared(&key) else { continue };
            self.delete(Space::Share, &key);
            for negative in [false, true] {
                self.delete(Space::Grant, &key::grant(owner, mailbox, gone, negative));
            }
        }
        for key in self.keys(Space::Grant, &KeyRange::prefix(&key::account(account)), usize::MAX)? {
            if let (Some((grantee, _)), Some(mailbox)) = (key::grantee(&key), key::number_u32(&key, 4)) {
                self.delete(Space::Share, &key::share(grantee, account, MailboxId(mailbox)));
            }
        }
        Ok(())
    }

    /// Who is subscribed to a mailbox of another under its name before is so under its name now.
    pub(crate) fn share_renamed(&mut self, owner: AccountId, mailbox: MailboxId, before: &str, now: &str) -> Result<()> {
        for grant in self.grants(owner, mailbox)? {
            let Grantee::Account(viewer) = grant.grantee else { continue };
            if !self.has(Space::Subscription, &key::name(viewer, before))? {
                continue;
            }
            match self.mailbox_subscribe(viewer, now, true) {
                Err(Error::Limit(_) | Error::Invalid(_)) => {}
                other => other?,
            }
        }
        Ok(())
    }

    /// The same for all that an account shares, when it gets another address.
    pub(crate) fn shares_readdressed(&mut self, owner: AccountId, before: &Address, now: &Address) -> Result<()> {
        let keys = self.keys(Space::Grant, &KeyRange::prefix(&key::account(owner)), usize::MAX)?;
        let mut mailboxes: Vec<_> = keys.iter().filter_map(|key| key::number_u32(key, 4)).map(MailboxId).collect();
        mailboxes.dedup();
        for id in mailboxes {
            let name = self.mailbox_record(owner, id)?.name;
            self.share_renamed(owner, id, &shared_name(before, &name), &shared_name(now, &name))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{account_add, address, findings, inbox, now, said, tx, world};
    use mail::Domain;

    fn rights(letters: &str) -> Rights {
        Rights::parse(letters).unwrap()
    }

    fn give(tx: &mut WriteTx, owner: AccountId, mailbox: MailboxId, grantee: Grantee, letters: &str) -> Result<()> {
        let (negative, letters) = letters.strip_prefix('-').map_or((false, letters), |letters| (true, letters));
        tx.grant_set(owner, mailbox, Grant { grantee, negative, rights: rights(letters) })
    }

    fn shown(tx: &ReadTx, viewer: AccountId) -> String {
        let shares = tx.shares(viewer).unwrap();
        shares.iter().map(|share| format!("{}={}", share.name, share.rights)).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn rights_are_the_sum_of_what_is_given_without_what_is_taken() {
        let (store, ann) = world();
        tx(&store, move |tx| {
            tx.domain_add(&Domain::parse("example.com").unwrap(), now())?;
            let (bob, eve) = (account_add(tx, "bob@example.org")?, account_add(tx, "eve@example.com")?);
            let id = inbox(tx, ann).id;
            let (to_bob, to_eve) = (Grantee::Account(bob), Grantee::Account(eve));
            for (grants, of_bob, of_eve) in [
                (vec![], "", ""),
                (vec![(to_bob, "lrs")], "lrs", ""),
                (vec![(Grantee::Anyone, "p")], "lrsp", ""),
                (vec![(to_bob, "-rp"), (to_eve, "lr")], "ls", "lr"),
                (vec![(to_bob, "")], "", "lr"),
                (vec![(Grantee::Anyone, "lrp"), (Grantee::Anyone, "-l")], "", "lr"),
                (vec![(to_bob, "-"), (Grantee::Anyone, "-")], "lrp", "lr"),
            ] {
                for (grantee, letters) in &grants {
                    give(tx, ann, id, *grantee, letters)?;
                }
                assert_eq!((tx.rights(bob, ann, id)?, tx.rights(eve, ann, id)?), (rights(of_bob), rights(of_eve)), "{grants:?}");
            }
            assert_eq!(tx.rights(ann, ann, id)?, Rights::ALL);
            assert_eq!(shown(tx, bob), "Other users/ann@example.org/INBOX=lrp");
            assert_eq!(said(give(tx, ann, id, Grantee::Account(ann), "l")), "the owner has all rights");
            assert_eq!(said(give(tx, ann, id, Grantee::Account(AccountId(99)), "l")), "account does not exist");
            assert_eq!(said(give(tx, ann, MailboxId(99), Grantee::Anyone, "l")), "mailbox does not exist");
            Ok(())
        });
        assert_eq!(findings(&store), [""; 0]);
    }

    #[test]
    fn a_share_is_subscribed_to_inherited_and_follows_its_names() {
        let (store, ann) = world();
        tx(&store, move |tx| {
            let bob = account_add(tx, "bob@example.org")?;
            let shares_of_bob = |tx: &ReadTx| {
                let names = tx.subscriptions(bob).unwrap();
                names.into_iter().filter(|name| is_shared_name(name)).collect::<Vec<_>>().join(" ")
            };
            let work = tx.mailbox_create(ann, "Work", None)?;
            give(tx, ann, work, Grantee::Account(bob), "lr")?;
            tx.mailbox_create(ann, "Work/New", None)?;
            assert_eq!(shown(tx, bob), "Other users/ann@example.org/Work=lr Other users/ann@example.org/Work/New=lr");
            assert_eq!(shares_of_bob(tx), "Other users/ann@example.org/Work Other users/ann@example.org/Work/New");
            tx.mailbox_rename(ann, work, "Job", now())?;
            assert!(shares_of_bob(tx).contains("Other users/ann@example.org/Job "));
            tx.account_set_address(ann, address("anna@example.org"))?;
            assert!(shares_of_bob(tx).contains("Other users/anna@example.org/Job/New"));
            assert_eq!(shown(tx, bob), "Other users/anna@example.org/Job=lr Other users/anna@example.org/Job/New=lr");
            assert_eq!(tx.owner_of(bob, "Other users/ANNA@example.org/Job/New")?, Some((ann, "Job/New")));
            for nobody in ["Other users/anna@example.org", "Other users", "Job", "Other users/x@y/Job", "Other users/bob@example.org/INBOX"]
            {
                assert_eq!(tx.owner_of(bob, nobody)?, None, "{nobody}");
            }
            Ok(())
        });
        assert_eq!(findings(&store), [""; 0]);
    }

    #[test]
    fn grants_go_with_what_they_name() {
        let (store, ann) = world();
        tx(&store, move |tx| {
            let (bob, carl) = (account_add(tx, "bob@example.org")?, account_add(tx, "carl@example.org")?);
            let work = tx.mailbox_create(ann, "Work", None)?;
            give(tx, ann, work, Grantee::Account(bob), "lr")?;
            give(tx, ann, work, Grantee::Account(carl), "lr")?;
            give(tx, ann, work, Grantee::Account(bob), "-r")?;
            tx.account_remove(bob)?;
            assert_eq!(tx.grants(ann, work)?.len(), 1);
            tx.mailbox_delete(ann, work)?;
            assert_eq!((shown(tx, carl), tx.keys(Space::Share, &KeyRange::all(), 9)?.len()), (String::new(), 0));
            give(tx, ann, inbox(tx, ann).id, Grantee::Account(carl), "lr")?;
            give(tx, ann, inbox(tx, ann).id, Grantee::Anyone, "l")?;
            tx.account_remove(ann)?;
            assert_eq!((shown(tx, carl), tx.keys(Space::Share, &KeyRange::all(), 9)?.len()), (String::new(), 0));
            Ok(())
        });
        assert_eq!(findings(&store), [""; 0]);
    }
}
