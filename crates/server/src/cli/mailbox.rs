//! `postrider mailbox`

use super::Context;
use crate::admin::mailbox::{self, ShareView};
use crate::failure::Result;
use crate::output::{whole, words};
use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(super) enum Mailbox {
    /// Let somebody use a user's mailbox
    Share {
        /// Whose mailbox
        address: String,
        /// Its full name, e.g. Projects/2026
        mailbox: String,
        /// Who may: a user's address, or "anyone" in the owner's domain
        grantee: String,
        /// What: l see it, r read, s mark as read, w set flags, i add mail, k make mailboxes below, x delete it,
        /// t and e delete mail, a give rights; lrs to read only, lrswipkxte for everything but rights
        rights: String,
        /// Take these rights from what others give
        #[arg(long)]
        negative: bool,
    },
    /// List what is shared
    Shares {
        /// Only this user's
        address: Option<String>,
    },
    /// Let somebody use a user's mailbox no more
    Unshare {
        /// Whose mailbox
        address: String,
        /// Its full name
        mailbox: String,
        /// Who: a user's address, or "anyone"
        grantee: String,
        /// No longer take rights from what others give
        #[arg(long)]
        negative: bool,
    },
}

impl Mailbox {
    pub(super) fn run(self, context: &Context) -> Result<()> {
        match self {
            Self::Share { address, mailbox, grantee, rights, negative } => {
                let view = context.call(mailbox::Share { address, mailbox, grantee, negative, rights })?;
                context.printer.done(&view, &sentence(context, &view));
            }
            Self::Unshare { address, mailbox, grantee, negative } => {
                let view = context.call(mailbox::Share { address, mailbox, grantee, negative, rights: String::new() })?;
                context.printer.done(&view, &sentence(context, &view));
            }
            Self::Shares { address } => {
                let views = context.call(mailbox::List { address })?;
                let columns = [whole("user"), whole("mailbox"), whole("shared with"), words("rights")];
                context.printer.list(&views, &columns, |view| {
                    let rights = format!("{}{}", if view.negative { "not " } else { "" }, view.rights);
                    vec![view.address.clone(), view.mailbox.clone(), view.grantee.clone(), rights]
                });
            }
        }
        Ok(())
    }
}

fn sentence(context: &Context, view: &ShareView) -> String {
    let ShareView { address, mailbox, grantee, negative, rights } = view;
    let what = format!("{mailbox} of {address}");
    match (rights.is_empty(), negative) {
        (true, _) => format!("{} the share of {what} with {grantee}", context.did("removed", "remove")),
        (false, false) => format!("{} {what} with {grantee}: {rights}", context.did("shared", "share")),
        (false, true) => format!("{} {grantee} these rights to {what}: {rights}", context.did("denied", "deny")),
    }
}
