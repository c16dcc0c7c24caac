//! Users: accounts with a mailbox and a login.

use super::{Admin, Operation, address};
use crate::clock::now;
use crate::failure::{Code, Failure, Result};
use crate::output::rfc3339;
use crate::secret::Password;
use mail::Address;
use serde::{Deserialize, Serialize};
use store::auth::Credentials;
use store::{Account, NewAccount, ReadTx};

/// An account as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserView {
    /// Its number.
    pub id: u32,
    /// Its address and login.
    pub address: String,
    /// The owner's name; may be empty.
    pub name: String,
    /// Whether it may sign in.
    pub enabled: bool,
    /// Most octets of mail; null: no limit.
    pub quota_octets_max: Option<u64>,
    /// Octets of mail.
    pub used_octets: u64,
    /// How many emails.
    pub emails: u64,
    /// Most emails; null: no limit.
    pub quota_emails_max: Option<u64>,
    /// Whether it sets quotas and annotates the server over IMAP.
    pub administrator: bool,
    /// When it was made, RFC 3339.
    pub created: String,
}

impl From<Account> for UserView {
    fn from(account: Account) -> Self {
        Self {
            id: account.id.0,
            address: account.address.to_string(),
            name: account.name,
            enabled: account.enabled,
            quota_octets_max: account.quota_octets_max,
            used_octets: account.used_octets,
            emails: account.emails,
            quota_emails_max: account.quota_emails_max,
            administrator: account.administrator,
            created: rfc3339(account.created),
        }
    }
}

/// One user to make.
#[derive(Debug, Serialize, Deserialize)]
pub struct Add {
    /// Address and login.
    pub address: String,
    /// The owner's name.
    pub name: String,
    /// The password.
    pub password: Password,
    /// Most octets of mail.
    pub quota_octets_max: Option<u64>,
    /// Make the domain ours if it is not.
    pub create_domain: bool,
}

impl Operation for Add {
    const NAME: &'static str = "user.add";
    type Answer = UserView;

    fn run(self, on: &Admin) -> Result<UserView> {
        let wanted = address(&self.address)?;
        let domain = wanted.domain().clone();
        check_before_hashing(on, &wanted, self.create_domain)?;
        let credentials = credentials(&self.password)?;
        let keys = if self.create_domain { super::dkim::new_keys()? } else { Vec::new() };
        let new = NewAccount { address: wanted.clone(), name: self.name, credentials, quota_octets_max: self.quota_octets_max };
        on.change(move |tx| {
            if self.create_domain && tx.domain(&domain)?.is_none() {
                tx.domain_add(&domain, now())?;
                super::dkim::add(tx, &domain, &keys, store::DkimKeyState::Signing)?;
            }
            let id = tx.account_create(new.clone(), now()).map_err(|error| named(error, &wanted))?;
            Ok(tx.account(id)?.ok_or_else(|| Failure::not_found("user", &wanted))?.into())
        })
    }
}

/// Deriving keys costs tens of milliseconds: not for what cannot be.
fn check_before_hashing(on: &Admin, wanted: &Address, create_domain: bool) -> Result<()> {
    let wanted = wanted.clone();
    on.read(move |tx| {
        if tx.domain(wanted.domain())?.is_none() && !create_domain {
            return Err(no_domain(&wanted));
        }
        match tx.account_by_login(&wanted.to_string())? {
            Some(account) if account.address.key() == wanted.key() => {
                Err(Failure::new(Code::Exists, format!("the user {wanted} exists already")))
            }
            _ => Ok(()),
        }
    })
}

fn no_domain(wanted: &Address) -> Failure {
    let domain = wanted.domain();
    Failure::not_found("domain", domain).hint(format!("postrider domain add {domain}, or say --create-domain"))
}

fn named(error: store::Error, wanted: &Address) -> Failure {
    match error {
        store::Error::NotFound(_) => no_domain(wanted),
        store::Error::Exists(what) => Failure::new(Code::Exists, format!("{wanted} is taken: {what} exists already")),
        error => error.into(),
    }
}

fn credentials(password: &Password) -> Result<Credentials> {
    Credentials::new(&wire::sasl::Secret::new(password.reveal()))
        .map_err(|error| Failure::new(Code::Usage, format!("the password cannot be used: {error}")))
}

/// All users, or those of a domain.
#[derive(Debug, Serialize, Deserialize)]
pub struct List {
    /// Only this domain's.
    pub domain: Option<String>,
}

impl Operation for List {
    const NAME: &'static str = "user.list";
    type Answer = Vec<UserView>;

    fn run(self, on: &Admin) -> Result<Vec<UserView>> {
        let domain = self.domain.as_deref().map(super::domain_name).transpose()?;
        on.read(move |tx| {
            if let Some(domain) = &domain {
                tx.domain(domain)?.ok_or_else(|| Failure::not_found("domain", domain))?;
            }
            let wanted = |account: &Account| domain.as_ref().is_none_or(|domain| account.address.domain() == domain);
            let mut users: Vec<UserView> = tx.accounts()?.into_iter().filter(wanted).map(UserView::from).collect();
            users.sort_by(|a, b| a.address.cmp(&b.address));
            Ok(users)
        })
    }
}

/// A user and its mailboxes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserDetails {
    /// The account.
    #[serde(flatten)]
    pub user: UserView,
    /// Aliases that lead to it.
    pub aliases: Vec<String>,
    /// Its mailboxes.
    pub mailboxes: Vec<MailboxView>,
}

/// A mailbox as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MailboxView {
    /// Its full name.
    pub name: String,
    /// How many emails.
    pub emails: u64,
    /// How many of them are unseen.
    pub unseen: u64,
    /// Their octets.
    pub octets: u64,
}

/// One user with its mailboxes.
#[derive(Debug, Serialize, Deserialize)]
pub struct Show {
    /// Address.
    pub address: String,
}

impl Operation for Show {
    const NAME: &'static str = "user.show";
    type Answer = UserDetails;

    fn run(self, on: &Admin) -> Result<UserDetails> {
        on.read(move |tx| {
            let account = find(tx, &self.address)?;
            let here = store::Target::Account(account.id);
            let aliases =
                tx.aliases()?.into_iter().filter(|(_, targets)| targets.contains(&here)).map(|(alias, _)| alias.to_string()).collect();
            let view = |mailbox: store::Mailbox| MailboxView {
                name: mailbox.name,
                emails: u64::from(mailbox.emails),
                unseen: u64::from(mailbox.unseen),
                octets: mailbox.octets,
            };
            let mailboxes = tx.mailboxes(account.id)?.into_iter().map(view).collect();
            Ok(UserDetails { user: account.into(), aliases, mailboxes })
        })
    }
}

/// Changes what is given; the rest stays.
#[derive(Debug, Serialize, Deserialize)]
pub struct Set {
    /// Whose.
    pub address: String,
    /// The owner's name.
    pub name: Option<String>,
    /// Another address and login.
    pub new_address: Option<String>,
    /// Whether it may sign in.
    pub enabled: Option<bool>,
    /// Most octets of mail; `Some(None)`: no limit.
    #[serde(default, with = "quota")]
    pub quota_octets_max: Option<Option<u64>>,
    /// Most emails; `Some(None)`: no limit.
    #[serde(default, with = "quota")]
    pub quota_emails_max: Option<Option<u64>>,
    /// Whether it is an administrator.
    pub administrator: Option<bool>,
}

impl Set {
    /// Changes nothing of a user.
    #[must_use]
    pub const fn nothing(address: String) -> Self {
        Self { address, name: None, new_address: None, enabled: None, quota_octets_max: None, quota_emails_max: None, administrator: None }
    }
}

/// A quota on its way: nothing, `"none"`, or a number.
mod quota {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    enum Change {
        Keep,
        None,
        Most(u64),
    }

    #[expect(
        clippy::option_option,
        clippy::ref_option,
        reason = "serde gives the signature; nothing, no limit and a limit are three things"
    )]
    pub(super) fn serialize<S: Serializer>(quota: &Option<Option<u64>>, serializer: S) -> Result<S::Ok, S::Error> {
        match quota {
            None => Change::Keep,
            Some(None) => Change::None,
            Some(Some(max)) => Change::Most(*max),
        }
        .serialize(serializer)
    }

    #[expect(clippy::option_option, reason = "nothing, no limit and a limit are three things")]
    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<u64>>, D::Error> {
        Ok(match Change::deserialize(deserializer)? {
            Change::Keep => None,
            Change::None => Some(None),
            Change::Most(max) => Some(Some(max)),
        })
    }
}

impl Operation for Set {
    const NAME: &'static str = "user.set";
    type Answer = UserView;

    fn run(self, on: &Admin) -> Result<UserView> {
        let new_address = self.new_address.as_deref().map(address).transpose()?;
        on.change(move |tx| {
            let id = find(tx, &self.address)?.id;
            if let Some(name) = &self.name {
                tx.account_set_name(id, name)?;
            }
            if let Some(enabled) = self.enabled {
                tx.account_set_enabled(id, enabled)?;
            }
            if let Some(quota) = self.quota_octets_max {
                tx.account_set_quota(id, quota)?;
            }
            if let Some(quota) = self.quota_emails_max {
                tx.account_set_quota_emails(id, quota)?;
            }
            if let Some(administrator) = self.administrator {
                tx.account_set_administrator(id, administrator)?;
            }
            if let Some(new) = &new_address {
                tx.account_set_address(id, new.clone()).map_err(|error| named(error, new))?;
            }
            Ok(tx.account(id)?.ok_or_else(|| Failure::not_found("user", &self.address))?.into())
        })
    }
}

/// Sets a password; who knew the old one is a stranger from then on.
#[derive(Debug, Serialize, Deserialize)]
pub struct SetPassword {
    /// Whose.
    pub address: String,
    /// The new one.
    pub password: Password,
}

impl Operation for SetPassword {
    const NAME: &'static str = "user.passwd";
    type Answer = UserView;

    fn run(self, on: &Admin) -> Result<UserView> {
        let name = self.address.clone();
        on.read(move |tx| find(tx, &name).map(drop))?;
        let credentials = credentials(&self.password)?;
        on.change(move |tx| {
            let account = find(tx, &self.address)?;
            tx.account_set_credentials(account.id, credentials.clone())?;
            Ok(account.into())
        })
    }
}

/// Removes a user and all its mail; much mail in several transactions, between which others write. If it is
/// interrupted, the user can no longer log in, and removing it again goes on.
#[derive(Debug, Serialize, Deserialize)]
pub struct Remove {
    /// Whose.
    pub address: String,
}

impl Operation for Remove {
    const NAME: &'static str = "user.remove";
    type Answer = UserView;

    fn run(self, on: &Admin) -> Result<UserView> {
        let mut as_it_was = None;
        loop {
            let (address, dry_run) = (self.address.clone(), on.dry_run);
            let done = on.change(move |tx| {
                let account = find(tx, &address)?;
                // What is tried is tried in one step: nothing of it is kept.
                let done = if dry_run { tx.account_remove(account.id).map(|()| true)? } else { tx.account_remove_next(account.id)? };
                Ok((done, UserView::from(account)))
            })?;
            let view = as_it_was.get_or_insert(done.1).clone();
            if done.0 {
                return Ok(view);
            }
        }
    }
}

/// The account of exactly this address: `ann+x@…` is not `ann@…` for an administrator.
pub(super) fn find(tx: &ReadTx, text: &str) -> Result<Account> {
    let wanted = address(text)?;
    let found = tx.account_by_login(text)?.filter(|account| account.address.key() == wanted.key());
    found.ok_or_else(|| Failure::not_found("user", wanted))
}
