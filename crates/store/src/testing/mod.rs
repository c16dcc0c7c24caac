//! What the tests of the nouns share: a world with one account, and messages.

mod fixtures;
mod model;

use crate::auth::Credentials;
use crate::check::Bodies;
use crate::{Added, Body, Mailbox, NewAccount, NewEmail, ReadTx, Result, Store, WriteTx};
use mail::digest::Digest;
use mail::{AccountId, Address, Domain, Flag, Flags, MailboxId, Role, Timestamp, UidSet};

pub(crate) fn now() -> Timestamp {
    Timestamp::from_seconds(1_700_000_000)
}

pub(crate) fn address(text: &str) -> Address {
    Address::parse(text).unwrap()
}

/// What an error says.
pub(crate) fn said<T: std::fmt::Debug>(result: Result<T>) -> String {
    result.unwrap_err().to_string()
}

/// Runs a transaction that must succeed.
pub(crate) fn tx<T: Send + 'static>(store: &Store, f: impl FnMut(&mut WriteTx) -> Result<T> + Send + 'static) -> T {
    store.write_blocking(f).unwrap()
}

pub(crate) fn account_add(tx: &mut WriteTx, text: &str) -> Result<AccountId> {
    let new = NewAccount { address: address(text), name: String::new(), credentials: Credentials::none(), quota_octets_max: None };
    tx.account_create(new, now())
}

/// A store with the domain example.org and the account ann@example.org.
pub(crate) fn world() -> (Store, AccountId) {
    let store = Store::memory();
    let ann = tx(&store, |tx| {
        tx.domain_add(&Domain::parse("example.org").unwrap(), now())?;
        account_add(tx, "ann@example.org")
    });
    (store, ann)
}

/// A message with this subject and Message-ID, which answers to others.
pub(crate) fn message_text(subject: &str, id: &str, references: &[&str]) -> String {
    let references: Vec<_> = references.iter().map(|id| format!("<{id}>")).collect();
    format!(
        "From: ann@example.org\r\nSubject: {subject}\r\nMessage-ID: <{id}>\r\nReferences: {}\r\n\r\nText of {id}.\r\n",
        references.join(" ")
    )
}

/// What the store needs to know of a message for threads.
pub(crate) fn digest(subject: &str, id: &str, references: &[&str]) -> Digest {
    let mut digest = Digest::of(message_text(subject, id, references).as_bytes());
    digest.base_subject = subject.trim_start_matches("Re: ").to_owned();
    digest.message_id = Some(id.to_owned());
    digest.references = references.iter().map(|&id| id.to_owned()).collect();
    digest
}

/// Flags from their names.
pub(crate) fn flags(text: &str) -> Flags {
    text.split_whitespace().filter_map(Flag::parse).collect()
}

/// A set of Uids from its text; empty from nothing.
pub(crate) fn uids(text: &str) -> UidSet {
    text.parse().unwrap_or_default()
}

/// Adds a message of its own thread.
pub(crate) fn add(tx: &mut WriteTx, account: AccountId, mailbox: MailboxId, id: &str, with: &str) -> Result<Added> {
    let body = Body::new(message_text(id, id, &[]).as_bytes());
    let digest = digest(id, id, &[]);
    tx.email_add(account, mailbox, NewEmail { body: &body, digest: &digest, flags: flags(with), internal_date: now(), saved: now() })
}

pub(crate) fn inbox(tx: &ReadTx, account: AccountId) -> Mailbox {
    tx.mailbox_by_role(account, Role::Inbox).unwrap().unwrap()
}

/// What a check of everything finds.
pub(crate) fn findings(store: &Store) -> Vec<String> {
    let report = crate::check(store, Bodies::Read, |_| {}).unwrap();
    report.findings.iter().map(ToString::to_string).collect()
}
