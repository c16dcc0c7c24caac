//! `postrider user`

use super::Context;
use crate::admin::outgoing;
use crate::admin::pop3::{self, Deleted, Pop3View};
use crate::admin::user::{self, UserDetails, UserView};
use crate::config::{Octets, Span};
use crate::failure::{Failure, Result};
use crate::output::{number, plural, size, whole, words};
use crate::secret::{Password, confirm};
use clap::{Args, Subcommand};
use serde::Serialize;
use std::path::{Path, PathBuf};

#[derive(Debug, Subcommand)]
pub(super) enum User {
    /// Make a user
    Add {
        /// Address and login
        address: String,
        /// The owner's name
        #[arg(long, default_value = "")]
        name: String,
        /// Most mail, e.g. 5GiB
        #[arg(long, value_name = "SIZE")]
        quota: Option<Octets>,
        /// Make the domain ours if it is not
        #[arg(long)]
        create_domain: bool,
        #[command(flatten)]
        password: PasswordFrom,
    },
    /// List users
    List {
        /// Only this domain's
        domain: Option<String>,
    },
    /// Show a user with its mailboxes
    Show {
        /// Address
        address: String,
    },
    /// Change a user's name or address, or make an administrator of it
    Set {
        /// Address
        address: String,
        /// The owner's name
        #[arg(long)]
        name: Option<String>,
        /// Another address and login
        #[arg(long, value_name = "ADDRESS")]
        address_new: Option<String>,
        /// Whether it sets quotas and annotates the server with its IMAP program
        #[arg(long, value_name = "true|false")]
        administrator: Option<bool>,
    },
    /// Let a user sign in no more; its mail still comes
    Disable {
        /// Address
        address: String,
    },
    /// Let a user sign in again
    Enable {
        /// Address
        address: String,
    },
    /// Remove a user and all its mail
    Remove {
        /// Address
        address: String,
    },
    /// Set a user's password
    Passwd {
        /// Address
        address: String,
        #[command(flatten)]
        password: PasswordFrom,
    },
    /// Show or set how a user's mail is served over POP3
    Pop3 {
        /// Address
        address: String,
        /// What becomes of messages that a client deletes
        #[arg(long, value_enum)]
        deleted: Option<Deleted>,
        /// The mailboxes in the maildrop, e.g. INBOX,Junk
        #[arg(long, value_name = "MAILBOXES", value_delimiter = ',')]
        folders: Option<Vec<String>>,
        /// Show what came within so many days, whatever clients have done with it; 0: no longer
        #[arg(long, value_name = "DAYS")]
        recent: Option<u32>,
        /// The form of unique ids: dovecot, courier, cyrus, a form of your own, or default
        #[arg(long, value_name = "FORM")]
        uidl: Option<String>,
        /// Take unique ids of another server from a file: on each line a Uid of the INBOX and its unique id
        #[arg(long, value_name = "FILE", conflicts_with_all = ["deleted", "folders", "recent", "uidl"])]
        uidl_file: Option<PathBuf>,
    },
    /// Show or set how long what a user sends waits in the Outbox, where it can be called back
    Hold {
        /// Address
        address: String,
        /// The time, e.g. 10s, at most 24h; 0s: it leaves at once. Without it the time is shown
        time: Option<Span>,
    },
    /// Show or set how much mail a user may have
    Quota {
        /// Address
        address: String,
        /// The size, e.g. 5GiB, or "none"; without it the quota is shown
        size: Option<String>,
        /// How many emails at most, or "none"
        #[arg(long, value_name = "NUMBER")]
        emails: Option<String>,
    },
}

/// Where a password comes from; without any of these it is asked for.
#[derive(Debug, Args)]
#[group(multiple = false)]
pub(super) struct PasswordFrom {
    /// Take the first line of standard input
    #[arg(long)]
    password_stdin: bool,
    /// Take the first line of a file
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// Make a random one and print it
    #[arg(long)]
    random: bool,
}

impl PasswordFrom {
    pub(super) fn read(&self, context: &Context, address: &str) -> Result<Password> {
        let password = match &self.password_file {
            Some(file) => Password::from_file(file)?,
            None if self.password_stdin => Password::from_stdin()?,
            None if self.random => Password::random()?,
            None => Password::prompt(&format!("password for {address}"))?,
        };
        if password.is_short() {
            context.printer.warn("the password is short: ten characters and more are advised");
        }
        Ok(password)
    }

    /// What was made and must be shown, for nobody else knows it.
    pub(super) fn made<'a>(&self, password: &'a Password) -> Option<&'a str> {
        self.random.then(|| password.reveal())
    }
}

/// A user and the password that was made for it.
#[derive(Serialize)]
struct Made<'a> {
    #[serde(flatten)]
    user: &'a UserView,
    #[serde(skip_serializing_if = "Option::is_none")]
    password: Option<&'a str>,
}

impl User {
    pub(super) fn run(self, context: &Context) -> Result<()> {
        match self {
            Self::Add { address, name, quota, create_domain, password } => {
                let secret = password.read(context, &address)?;
                let quota_octets_max = quota.map(|quota| quota.0);
                let user = context.call(user::Add { address, name, password: secret.clone(), quota_octets_max, create_domain })?;
                show_made(context, &user, password.made(&secret), &context.did("added", "add"));
            }
            Self::List { domain } => list(context, &context.call(user::List { domain })?),
            Self::Show { address } => show(context, &context.call(user::Show { address })?),
            Self::Set { address, name, address_new, administrator } => {
                if name.is_none() && address_new.is_none() && administrator.is_none() {
                    return Err(Failure::usage("nothing to change: expected --name, --address-new or --administrator"));
                }
                set(
                    context,
                    user::Set { name, new_address: address_new, administrator, ..user::Set::nothing(address) },
                    "changed",
                    "change",
                )?;
            }
            Self::Disable { address } => set(context, enabled(address, false), "disabled", "disable")?,
            Self::Enable { address } => set(context, enabled(address, true), "enabled", "enable")?,
            Self::Remove { address } => {
                confirm(&format!("Remove {address} and all its mail, for good?"), context.global.yes || context.global.dry_run)?;
                let view = context.call(user::Remove { address })?;
                context
                    .printer
                    .done(&view, &format!("{} {} and {}", context.did("removed", "remove"), view.address, plural(view.emails, "email")));
            }
            Self::Passwd { address, password } => {
                let secret = password.read(context, &address)?;
                let user = context.call(user::SetPassword { address, password: secret.clone() })?;
                show_made(context, &user, password.made(&secret), &context.did("changed the password of", "change the password of"));
            }
            Self::Pop3 { address, uidl_file: Some(file), .. } => take_uidls(context, &address, &file)?,
            Self::Pop3 { address, deleted: None, folders: None, recent: None, uidl: None, uidl_file: None } => {
                show_pop3(context, &context.call(pop3::Show { address })?);
            }
            Self::Pop3 { address, deleted, folders, recent, uidl, uidl_file: None } => {
                let change = pop3::Set { address, deleted, folders, recent_days: recent, uidl_format: uidl };
                let view = context.call(change)?;
                context.printer.done(&view, &format!("{} POP3 for {}", context.did("changed", "change"), view.user));
            }
            Self::Hold { address, time } => hold(context, address, time)?,
            Self::Quota { address, size, emails } => quota(context, address, size.as_deref(), emails.as_deref())?,
        }
        Ok(())
    }
}

fn show_pop3(context: &Context, view: &Pop3View) {
    let deleted = match view.deleted {
        Deleted::Remove => "are removed",
        Deleted::Trash => "go to the Trash",
        Deleted::Hide => "are hidden from POP3 and kept",
    };
    let recent = view.recent_days.map_or_else(|| "no".to_owned(), |days| format!("the last {}", plural(days.into(), "day")));
    let lines = [
        ("user", view.user.clone()),
        ("deleted messages", deleted.to_owned()),
        ("mailboxes", view.folders.join(", ")),
        ("recent mode", recent),
        ("unique ids", view.uidl_format.clone().unwrap_or_else(|| "as the server's".to_owned())),
    ];
    context.printer.one(view, &lines);
}

fn take_uidls(context: &Context, address: &str, file: &Path) -> Result<()> {
    let text = std::fs::read_to_string(file).map_err(|error| Failure::failed(&format!("cannot read {}", file.display()), error))?;
    let mut uidls = Vec::new();
    for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let pair = line.trim().split_once(' ').and_then(|(uid, uidl)| Some((uid.parse().ok()?, uidl.trim().to_owned())));
        let wrong = || Failure::usage(format!("{}, line {}: expected a Uid, a space and its unique id", file.display(), at + 1));
        uidls.push(pair.ok_or_else(wrong)?);
    }
    let taken = context.call(pop3::Uidls { address: address.to_owned(), uidls })?;
    let done = serde_json::json!({ "user": address, "taken": taken });
    context.printer.done(&done, &format!("{} {} for {address}", context.did("took", "take"), plural(taken as u64, "unique id")));
    Ok(())
}

fn enabled(address: String, enabled: bool) -> user::Set {
    user::Set { enabled: Some(enabled), ..user::Set::nothing(address) }
}

fn set(context: &Context, change: user::Set, done: &str, would: &str) -> Result<()> {
    let view = context.call(change)?;
    context.printer.done(&view, &format!("{} {}", context.did(done, would), view.address));
    Ok(())
}

fn show_made(context: &Context, user: &UserView, password: Option<&str>, did: &str) {
    let words = password.map(|password| format!(", password {password}")).unwrap_or_default();
    let sentence = format!("{did} {}{words}", user.address);
    if password.is_some() && context.printer.quiet && context.printer.format == crate::output::Format::Table {
        crate::output::print(password.unwrap_or_default());
    }
    context.printer.done(&Made { user, password }, &sentence);
}

fn hold(context: &Context, address: String, time: Option<Span>) -> Result<()> {
    let set_seconds = time.map(|time| time.0.as_secs());
    let view = context.call(outgoing::Hold { address, set_seconds })?;
    if set_seconds.is_none() {
        context.printer.one(&view, &[("user", view.user.clone()), ("what it sends", view.words())]);
    } else {
        context.printer.done(&view, &format!("{} the hold: what {} sends {}", context.did("set", "set"), view.user, view.words()));
    }
    Ok(())
}

fn quota(context: &Context, address: String, size: Option<&str>, emails: Option<&str>) -> Result<()> {
    if size.is_none() && emails.is_none() {
        let view = context.call(user::Show { address })?.user;
        context
            .printer
            .one(&view, &[("user", view.address.clone()), ("used", crate::output::size(view.used_octets)), ("quota", limit(&view))]);
        return Ok(());
    }
    let octets = |text: &str| text.parse::<Octets>().map(|octets| octets.0).map_err(|error| error.to_string());
    let number = |text: &str| text.parse::<u64>().map_err(|_| "a number".to_owned());
    let quota_octets_max = size.map(|text| or_none(text, octets)).transpose()?;
    let quota_emails_max = emails.map(|text| or_none(text, number)).transpose()?;
    let change = user::Set { quota_octets_max, quota_emails_max, ..user::Set::nothing(address) };
    let view = context.call(change)?;
    context.printer.done(&view, &format!("{} the quota of {} to {}", context.did("set", "set"), view.address, limit(&view)));
    Ok(())
}

fn or_none(text: &str, read: impl Fn(&str) -> std::result::Result<u64, String>) -> Result<Option<u64>> {
    if text == "none" {
        return Ok(None);
    }
    read(text).map(Some).map_err(|wrong| Failure::usage(format!("{text:?}: {wrong} or none")))
}

fn limit(user: &UserView) -> String {
    let octets = user.quota_octets_max.map_or_else(|| "none".to_owned(), size);
    user.quota_emails_max.map_or_else(|| octets.clone(), |max| format!("{octets}, {}", plural(max, "email")))
}

fn list(context: &Context, users: &[UserView]) {
    let columns = [whole("user"), words("name"), number("emails"), number("used"), number("quota"), words("state")];
    context.printer.list(users, &columns, |user| {
        let state = if !user.enabled {
            "disabled"
        } else if user.administrator {
            "administrator"
        } else {
            ""
        };
        vec![user.address.clone(), user.name.clone(), user.emails.to_string(), size(user.used_octets), limit(user), state.to_owned()]
    });
}

fn show(context: &Context, details: &UserDetails) {
    let user = &details.user;
    let lines = [
        ("user", user.address.clone()),
        ("name", user.name.clone()),
        ("state", if user.enabled { "enabled" } else { "disabled: cannot sign in, mail still comes" }.to_owned()),
        ("administrator", if user.administrator { "yes" } else { "no" }.to_owned()),
        ("mail", format!("{}, {}, quota {}", plural(user.emails, "email"), size(user.used_octets), limit(user))),
        ("aliases", if details.aliases.is_empty() { "none".to_owned() } else { details.aliases.join(", ") }),
        ("made", user.created.clone()),
    ];
    context.printer.one(details, &lines);
    if context.printer.format == crate::output::Format::Table {
        crate::output::print("");
        let columns = [words("mailbox"), number("emails"), number("unseen"), number("size")];
        context.printer.list(&details.mailboxes, &columns, |mailbox| {
            vec![mailbox.name.clone(), mailbox.emails.to_string(), mailbox.unseen.to_string(), size(mailbox.octets)]
        });
    }
}
