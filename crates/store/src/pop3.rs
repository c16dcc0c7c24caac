//! What POP3 keeps of an account and of its messages: how the owner wants it, and which messages are hidden,
//! fetched, or known by a unique id of another server.
//!
//! Not the maildrop (`access::pop3`). Who imports mail from another server puts the unique ids of that server
//! here ([`WriteTx::pop3_message_set`]), so that clients do not fetch everything again.
//!
//! Invariant: a message that leaves its mailbox takes what is kept here with it.

use crate::error::{Error, Result};
use crate::index::KeyRange;
use crate::key;
use crate::record::Record;
use crate::schema::Space;
use crate::tx::{ReadTx, WriteTx};
use mail::{AccountId, MailboxId, Timestamp, Uid};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Most octets of a unique id (RFC 1939 §7).
pub const POP3_UIDL_OCTETS_MAX: usize = 70;

/// Most mailboxes in one maildrop. Our own bound.
pub const POP3_FOLDERS_MAX: usize = 32;

/// What becomes of a message that a POP3 client deletes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Pop3Deletion {
    /// It is removed.
    #[default]
    Remove,
    /// It is moved to the Trash.
    Trash,
    /// It stays where it is, and POP3 shows it no more.
    Hide,
}

/// How an account's owner wants POP3.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Pop3Settings {
    /// What becomes of deleted messages.
    pub deletion: Pop3Deletion,
    /// Whose messages are in the maildrop, by name, in order; empty: INBOX alone.
    pub folders: Vec<String>,
    /// The maildrop holds what came within so many days, hidden or not; `None`: everything that is not hidden.
    pub recent_days: Option<u32>,
    /// The form of unique ids; `None`: the server's.
    pub uidl_format: Option<String>,
}

impl Record for Pop3Settings {
    const SPACE: Space = Space::Pop3;
    const NAME: &'static str = "POP3 settings";
}

/// What POP3 knows of a message.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Pop3Message {
    /// Deleted by a client where that hides messages.
    pub hidden: bool,
    /// When a client fetched it first, where messages expire after that.
    pub retrieved: Option<Timestamp>,
    /// Its unique id on the server it comes from.
    pub uidl: Option<String>,
}

impl Record for Pop3Message {
    const SPACE: Space = Space::Pop3Message;
    const NAME: &'static str = "POP3 message record";
}

impl ReadTx {
    /// How an account's owner wants POP3.
    ///
    /// # Errors
    /// When the store fails.
    pub fn pop3_settings(&self, account: AccountId) -> Result<Pop3Settings> {
        Ok(self.record(&key::account(account))?.unwrap_or_default())
    }

    /// The messages of a mailbox of which POP3 knows something.
    ///
    /// # Errors
    /// When the store fails.
    pub fn pop3_messages(&self, account: AccountId, mailbox: MailboxId) -> Result<BTreeMap<Uid, Pop3Message>> {
        let records = self.records::<Pop3Message>(&KeyRange::prefix(&key::mailbox(account, mailbox)))?;
        Ok(records.into_iter().filter_map(|(key, record)| Some((key::message_uid(&key)?, record))).collect())
    }
}

impl WriteTx {
    /// Sets how an account's owner wants POP3.
    ///
    /// # Errors
    /// When there is no such account, or there are more than [`POP3_FOLDERS_MAX`] folders.
    pub fn pop3_settings_set(&mut self, account: AccountId, settings: &Pop3Settings) -> Result<()> {
        self.account_record(account)?;
        if settings.folders.len() > POP3_FOLDERS_MAX {
            return Err(Error::Limit("mailboxes in a maildrop".into()));
        }
        if *settings == Pop3Settings::default() {
            self.delete(Space::Pop3, &key::account(account));
            return Ok(());
        }
        self.save(&key::account(account), settings)
    }

    /// Sets what POP3 knows of a message. A unique id of another server is taken over as it is.
    ///
    /// # Errors
    /// When there is no such message, or the unique id is none (RFC 1939 §7: 1 to 70 octets from `!` to `~`).
    pub fn pop3_message_set(&mut self, account: AccountId, mailbox: MailboxId, uid: Uid, known: &Pop3Message) -> Result<()> {
        let key = key::message(account, mailbox, uid);
        if !self.has(Space::Message, &key)? {
            return Err(Error::NotFound("message".into()));
        }
        if known.uidl.as_deref().is_some_and(|uidl| !is_uidl(uidl)) {
            return Err(Error::Invalid("a unique id has 1 to 70 octets from ! to ~".into()));
        }
        if *known == Pop3Message::default() {
            self.delete(Space::Pop3Message, &key);
            return Ok(());
        }
        self.save(&key, known)
    }

    /// Whether POP3 knows anything of a mailbox's messages: mostly not.
    pub(crate) fn pop3_knows(&self, account: AccountId, mailbox: MailboxId) -> Result<bool> {
        Ok(!self.keys(Space::Pop3Message, &KeyRange::prefix(&key::mailbox(account, mailbox)), 1)?.is_empty())
    }
}

fn is_uidl(text: &str) -> bool {
    (1..=POP3_UIDL_OCTETS_MAX).contains(&text.len()) && text.bytes().all(|octet| octet.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{add, findings, inbox, said, tx, world};
    use mail::UidSet;

    #[test]
    fn what_is_known_goes_with_its_message_and_its_account() {
        let (store, ann) = world();
        tx(&store, move |tx| {
            let inbox = inbox(tx, ann).id;
            add(tx, ann, inbox, "a@x", "")?;
            add(tx, ann, inbox, "b@x", "")?;
            let known = Pop3Message { uidl: Some("0000000153aa".into()), ..Pop3Message::default() };
            tx.pop3_message_set(ann, inbox, Uid(1), &known)?;
            tx.pop3_message_set(ann, inbox, Uid(2), &Pop3Message { hidden: true, ..known.clone() })?;
            assert_eq!(tx.pop3_messages(ann, inbox)?.get(&Uid(1)), Some(&known));
            for (uid, uidl, want) in [
                (3, "x", "message does not exist"),
                (1, "", "a unique id has 1 to 70 octets from ! to ~"),
                (1, "a b", "a unique id has 1 to 70 octets from ! to ~"),
                (1, &"x".repeat(71), "a unique id has 1 to 70 octets from ! to ~"),
            ] {
                let known = Pop3Message { uidl: Some(uidl.into()), ..Pop3Message::default() };
                assert_eq!(said(tx.pop3_message_set(ann, inbox, Uid(uid), &known)), want, "{uidl}");
            }
            tx.messages_destroy(ann, inbox, &UidSet::range(Uid(1), Uid(1)))?;
            assert_eq!(tx.pop3_messages(ann, inbox)?.keys().collect::<Vec<_>>(), [&Uid(2)]);
            tx.pop3_message_set(ann, inbox, Uid(2), &Pop3Message::default())?;
            assert!(!tx.pop3_knows(ann, inbox)?);
            let settings = Pop3Settings { deletion: Pop3Deletion::Hide, recent_days: Some(30), ..Pop3Settings::default() };
            tx.pop3_settings_set(ann, &settings)?;
            assert_eq!(tx.pop3_settings(ann)?, settings);
            let many = Pop3Settings { folders: vec!["x".into(); POP3_FOLDERS_MAX + 1], ..settings };
            assert_eq!(said(tx.pop3_settings_set(ann, &many)), "limit reached: mailboxes in a maildrop");
            tx.account_remove(ann)?;
            assert_eq!(tx.pop3_settings(ann)?, Pop3Settings::default());
            Ok(())
        });
        assert_eq!(findings(&store), [""; 0]);
    }
}
