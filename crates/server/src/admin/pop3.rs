//! How users want POP3, and the unique ids that their messages had on another server.

use super::user::find;
use super::{Admin, Operation};
use crate::failure::{Failure, Result};
use mail::{Role, Uid};
use serde::{Deserialize, Serialize};
use store::{Pop3Deletion, Pop3Settings};

/// How a user wants POP3.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pop3View {
    /// Whose.
    pub user: String,
    /// What becomes of deleted messages: `remove`, `trash`, `hide`.
    pub deleted: Deleted,
    /// Whose messages are in the maildrop.
    pub folders: Vec<String>,
    /// What came within so many days is there, hidden or not; null: all that is not hidden.
    pub recent_days: Option<u32>,
    /// The form of unique ids; null: the server's.
    pub uidl_format: Option<String>,
}

/// What becomes of a message that a client deletes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Deleted {
    /// It is removed
    Remove,
    /// It is moved to the Trash
    Trash,
    /// It stays, and POP3 shows it no more
    Hide,
}

impl From<Pop3Deletion> for Deleted {
    fn from(deletion: Pop3Deletion) -> Self {
        match deletion {
            Pop3Deletion::Remove => Self::Remove,
            Pop3Deletion::Trash => Self::Trash,
            Pop3Deletion::Hide => Self::Hide,
        }
    }
}

impl From<Deleted> for Pop3Deletion {
    fn from(deleted: Deleted) -> Self {
        match deleted {
            Deleted::Remove => Self::Remove,
            Deleted::Trash => Self::Trash,
            Deleted::Hide => Self::Hide,
        }
    }
}

fn view(user: String, settings: Pop3Settings) -> Pop3View {
    let Pop3Settings { deletion, folders, recent_days, uidl_format } = settings;
    let folders = if folders.is_empty() { vec!["INBOX".to_owned()] } else { folders };
    Pop3View { user, deleted: deletion.into(), folders, recent_days, uidl_format }
}

/// Shows how a user wants POP3.
#[derive(Debug, Serialize, Deserialize)]
pub struct Show {
    /// Whose.
    pub address: String,
}

impl Operation for Show {
    const NAME: &'static str = "pop3.show";
    type Answer = Pop3View;

    fn run(self, on: &Admin) -> Result<Pop3View> {
        on.read(move |tx| {
            let account = find(tx, &self.address)?;
            Ok(view(account.address.to_string(), tx.pop3_settings(account.id)?))
        })
    }
}

/// Changes what is given; the rest stays.
#[derive(Debug, Serialize, Deserialize)]
pub struct Set {
    /// Whose.
    pub address: String,
    /// What becomes of deleted messages.
    pub deleted: Option<Deleted>,
    /// Whose messages are in the maildrop; INBOX alone is the default.
    pub folders: Option<Vec<String>>,
    /// Days; 0: no longer.
    pub recent_days: Option<u32>,
    /// The form of unique ids; `default`: the server's.
    pub uidl_format: Option<String>,
}

impl Operation for Set {
    const NAME: &'static str = "pop3.set";
    type Answer = Pop3View;

    fn run(self, on: &Admin) -> Result<Pop3View> {
        if let Some(format) = self.uidl_format.as_ref().filter(|format| *format != "default") {
            let checked = format.parse::<access::pop3::UidlFormat>();
            checked.map_err(|error| Failure::usage(format!("{format:?} is no form of unique ids: {error}")))?;
        }
        on.change(move |tx| {
            let account = find(tx, &self.address)?;
            let mut settings = tx.pop3_settings(account.id)?;
            if let Some(deleted) = self.deleted {
                settings.deletion = deleted.into();
            }
            if let Some(folders) = &self.folders {
                for name in folders {
                    tx.mailbox_by_name(account.id, name)?.ok_or_else(|| Failure::not_found("mailbox", name))?;
                }
                settings.folders = if *folders == ["INBOX"] { Vec::new() } else { folders.clone() };
            }
            if let Some(days) = self.recent_days {
                settings.recent_days = (days > 0).then_some(days);
            }
            if let Some(format) = &self.uidl_format {
                settings.uidl_format = (format != "default").then(|| format.clone());
            }
            tx.pop3_settings_set(account.id, &settings)?;
            Ok(view(account.address.to_string(), settings))
        })
    }
}

/// Gives messages of the INBOX the unique ids that they had on another server.
#[derive(Debug, Serialize, Deserialize)]
pub struct Uidls {
    /// Whose.
    pub address: String,
    /// Uids and unique ids.
    pub uidls: Vec<(u32, String)>,
}

impl Operation for Uidls {
    const NAME: &'static str = "pop3.uidls";
    type Answer = usize;

    fn run(self, on: &Admin) -> Result<usize> {
        on.change(move |tx| {
            let account = find(tx, &self.address)?;
            let inbox = tx.mailbox_by_role(account.id, Role::Inbox)?.ok_or_else(|| Failure::not_found("mailbox", "INBOX"))?;
            let mut known = tx.pop3_messages(account.id, inbox.id)?;
            for (uid, uidl) in &self.uidls {
                let mut message = known.remove(&Uid(*uid)).unwrap_or_default();
                message.uidl = Some(uidl.clone());
                tx.pop3_message_set(account.id, inbox.id, Uid(*uid), &message)?;
            }
            Ok(self.uidls.len())
        })
    }
}
