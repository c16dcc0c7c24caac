//! What a demo server starts with: a domain, two accounts, and mail that looks like mail.
//!
//! Not part of a real installation: only `postrider demo` calls it.

mod mail_box;
mod samples;

use crate::admin::{Admin, Operation, user};
use crate::clock::now;
use crate::failure::{Failure, Result};
use crate::secret::Password;
use mail_box::Folder;
use serde::Serialize;
use store::Store;

/// The demo's domain: reserved for tests, it can never be anyone's (RFC 6761 §6.2).
pub const DOMAIN: &str = "demo.test";

/// An account of the demo.
#[derive(Clone, Serialize)]
pub struct Account {
    /// Its address and login.
    pub address: String,
    /// Its password; nobody else knows it.
    pub password: String,
}

impl std::fmt::Debug for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} [secret]", self.address)
    }
}

/// Makes the two accounts; those that are there already get new passwords. Mail is put into those
/// that are made.
///
/// # Errors
/// When the store fails.
pub fn furnish(store: &Store) -> Result<Vec<Account>> {
    let admin = Admin { store: store.clone(), service: None, dry_run: false, mail: std::sync::Arc::new(settings()?) };
    [("ann", "Ann Archer"), ("bob", "Bob Bäcker")].into_iter().map(|(local, name)| account(&admin, local, name)).collect()
}

fn settings() -> Result<mta::Settings> {
    Ok(mta::Settings::new(crate::admin::domain_name(DOMAIN)?))
}

fn account(admin: &Admin, local: &str, name: &str) -> Result<Account> {
    let address = format!("{local}@{DOMAIN}");
    let password = Password::random()?;
    let login = address.clone();
    let exists = admin.read(move |tx| Ok(tx.account_by_login(&login)?.is_some()))?;
    if exists {
        user::SetPassword { address: address.clone(), password: password.clone() }.run(admin)?;
    } else {
        let add = user::Add {
            address: address.clone(),
            name: name.to_owned(),
            password: password.clone(),
            quota_octets_max: None,
            create_domain: true,
        };
        add.run(admin)?;
        fill(admin, local)?;
    }
    Ok(Account { address, password: password.reveal().to_owned() })
}

/// Puts the samples of one account into its mailboxes, oldest first, in one commit.
fn fill(admin: &Admin, local: &str) -> Result<()> {
    let address = crate::admin::address(&format!("{local}@{DOMAIN}"))?;
    let mut folder = Folder::new(address.clone(), now());
    samples::write(local, &mut folder);
    let mut letters = folder.letters();
    letters.sort_by_key(|letter| letter.date);
    let mut prepared = Vec::new();
    for letter in letters {
        let mut draft = admin.store.draft();
        draft.write(letter.text.as_bytes())?;
        prepared.push((draft.finish()?, mail::digest::Digest::of(letter.text.as_bytes()), letter));
    }
    admin.change(move |tx| {
        let account = tx.account_by_login(&address.to_string())?.ok_or_else(|| Failure::not_found("user", &address))?;
        for (body, digest, letter) in &prepared {
            let mailbox =
                tx.mailbox_by_role(account.id, letter.role)?.ok_or_else(|| Failure::not_found("mailbox", letter.role.default_name()))?;
            let new = store::NewEmail { body, digest, flags: letter.flags.clone(), internal_date: letter.date, saved: letter.date };
            tx.email_add(account.id, mailbox.id, new)?;
        }
        Ok(())
    })
}
