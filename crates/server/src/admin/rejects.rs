//! What was refused and is kept for those it was for: what there is, and taking it out.

use super::user::find;
use super::{Admin, Operation};
use crate::clock::now;
use crate::failure::{Failure, Result};
use crate::output::rfc3339;
use mail::ReceiptId;
use mail::digest::AddressItem;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use store::{ReadTx, Reject, WriteTx};

/// A refused message as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RejectView {
    /// Whose Rejects it is in.
    pub user: String,
    /// The receipt that the refusal named.
    pub receipt: String,
    /// When it was refused, RFC 3339.
    pub at: String,
    /// Until when it is kept, RFC 3339, unless newer ones need the room.
    pub until: String,
    /// Who the message says it is from.
    pub from: String,
    /// What it says it is about.
    pub subject: String,
    /// Octets.
    pub octets: u64,
    /// What the peer heard.
    pub reply: String,
    /// Whether it was copied to another mailbox, too.
    pub elsewhere: bool,
}

fn view(tx: &ReadTx, reject: &Reject, keep: Duration) -> Result<RejectView> {
    let digest = tx.digest(reject.account, reject.email)?;
    let author = digest.envelope.from.iter().find_map(AddressItem::address);
    Ok(RejectView {
        user: super::trace::account_name(tx, reject.account),
        receipt: reject.receipt.to_string(),
        at: rfc3339(reject.at),
        until: rfc3339(reject.at.after(keep)),
        from: author.unwrap_or_default(),
        subject: digest.envelope.subject.unwrap_or_default(),
        octets: reject.octets,
        reply: reject.reply.clone(),
        elsewhere: reject.is_elsewhere,
    })
}

/// What is kept, the latest first.
#[derive(Debug, Serialize, Deserialize)]
pub struct List {
    /// Only for this user.
    pub user: Option<String>,
    /// At most so many.
    pub max: usize,
}

impl Operation for List {
    const NAME: &'static str = "rejects.list";
    type Answer = Vec<RejectView>;

    fn run(self, on: &Admin) -> Result<Vec<RejectView>> {
        let keep = on.mail().receive.rejects.keep;
        on.read(move |tx| {
            let accounts = match &self.user {
                Some(user) => vec![find(tx, user)?.id],
                None => tx.accounts()?.into_iter().map(|account| account.id).collect(),
            };
            let each = accounts.into_iter().map(|account| tx.rejects(account));
            let mut rejects: Vec<Reject> = each.collect::<store::Result<Vec<_>>>()?.into_iter().flatten().collect();
            rejects.sort_by_key(|reject| std::cmp::Reverse((reject.at, reject.receipt)));
            rejects.iter().take(self.max).map(|reject| view(tx, reject, keep)).collect()
        })
    }
}

/// Takes refused messages out of the Rejects into the inbox.
#[derive(Debug, Serialize, Deserialize)]
pub struct Release {
    /// Their receipts.
    pub receipts: Vec<String>,
    /// Only for this user; nothing: for everybody who has it.
    pub user: Option<String>,
}

impl Operation for Release {
    const NAME: &'static str = "rejects.release";
    type Answer = Vec<RejectView>;

    fn run(self, on: &Admin) -> Result<Vec<RejectView>> {
        let keep = on.mail().receive.rejects.keep;
        on.change(move |tx| {
            let only = self.user.as_deref().map(|user| find(tx, user)).transpose()?.map(|account| account.id);
            let mut released = Vec::new();
            for receipt in &self.receipts {
                let meant: Vec<_> =
                    kept(tx, receipt)?.into_iter().filter(|reject| only.is_none_or(|only| only == reject.account)).collect();
                if meant.is_empty() {
                    let hint = "`postrider rejects list` shows what is kept; what is older, deleted or taken out already is not";
                    return Err(Failure::not_found("refused message", receipt).hint(hint));
                }
                for reject in &meant {
                    released.push(release(tx, reject, keep)?);
                }
            }
            Ok(released)
        })
    }
}

fn kept(tx: &ReadTx, receipt: &str) -> Result<Vec<Reject>> {
    let wrong = || Failure::usage(format!("{receipt:?} is no receipt")).hint("`postrider rejects list` shows the receipts of what is kept");
    let receipt: ReceiptId = receipt.trim().parse().map_err(|_| wrong())?;
    Ok(tx.rejects_by_receipt(receipt)?)
}

fn release(tx: &mut WriteTx, reject: &Reject, keep: Duration) -> Result<RejectView> {
    let view = view(tx, reject, keep)?;
    let full = |error: store::Error| match error {
        store::Error::OverQuota { .. } | store::Error::TooManyEmails { .. } => {
            Failure::failed(&format!("no room for {} in the mailbox of {}", view.receipt, view.user), error)
                .hint(format!("`postrider user set {} --quota SIZE` gives more", view.user))
        }
        error => error.into(),
    };
    tx.reject_release(reject.account, reject.email, now()).map_err(full)?;
    Ok(view)
}

#[cfg(test)]
mod tests {
    use super::*;
    use mail::digest::Digest;
    use std::sync::Arc;
    use store::auth::Credentials;
    use store::{Body, NewAccount, NewReject, RejectsMax, Store};

    const MESSAGE: &[u8] = b"From: Joe <joe@far.example>\r\nSubject: Lunch\r\n\r\nHi\r\n";

    /// Ann and bob, for both of whom one message was refused; its receipt.
    fn refused() -> (Admin, String) {
        let mail = Arc::new(mta::Settings::new(mail::Domain::parse("mx.example").unwrap()));
        let admin = Admin { store: Store::memory(), service: None, dry_run: false, mail };
        let at = now();
        let made = admin.store.write_blocking(move |tx| {
            tx.domain_add(&mail::Domain::parse("x.example").unwrap(), at)?;
            let receipt = tx.receipt_next(at)?;
            for name in ["ann@x.example", "bob@x.example"] {
                let address = mail::Address::parse(name).unwrap();
                let new = NewAccount { address, name: String::new(), credentials: Credentials::none(), quota_octets_max: None };
                let account = tx.account_create(new, at)?;
                let (body, digest) = (Body::new(MESSAGE), Digest::of(MESSAGE));
                let new = NewReject { receipt, body: &body, digest: &digest, reply: "550 no", known_by: &[], subjects: &[] };
                tx.reject_keep(account, new, RejectsMax { messages: 9, octets: 9_999 }, at)?;
            }
            Ok(receipt)
        });
        (admin, made.unwrap().to_string())
    }

    fn listed(admin: &Admin) -> Vec<String> {
        let listed = List { user: None, max: 9 }.run(admin).unwrap();
        listed.iter().map(|view| format!("{} {} {} {}", view.user, view.from, view.subject, view.reply)).collect()
    }

    #[test]
    fn what_was_refused_is_listed_and_taken_out() {
        let (admin, receipt) = refused();
        let release =
            |receipt: &str, user: Option<&str>| Release { receipts: vec![receipt.to_owned()], user: user.map(str::to_owned) }.run(&admin);
        assert_eq!(listed(&admin), ["ann@x.example joe@far.example Lunch 550 no", "bob@x.example joe@far.example Lunch 550 no"]);
        assert_eq!(List { user: Some("bob@x.example".into()), max: 9 }.run(&admin).unwrap().len(), 1);
        assert_eq!(release(&receipt, Some("bob@x.example")).unwrap().len(), 1);
        assert_eq!(listed(&admin), ["ann@x.example joe@far.example Lunch 550 no"]);
        assert_eq!(release(&receipt, Some("bob@x.example")).unwrap_err().code.exit(), 3);
        assert_eq!(release(&receipt, None).unwrap()[0].user, "ann@x.example");
        assert_eq!(release("nonsense!", None).unwrap_err().code.exit(), 2);
    }

    #[test]
    fn without_room_nothing_is_taken_out() {
        let (admin, receipt) = refused();
        admin.store.write_blocking(|tx| tx.account_set_quota(mail::AccountId(1), Some(1))).unwrap();
        let failure = Release { receipts: vec![receipt], user: None }.run(&admin).unwrap_err();
        assert!(failure.hint.unwrap().contains("--quota"));
        assert_eq!(listed(&admin).len(), 2);
    }
}
