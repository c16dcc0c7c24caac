//! Filing by subaddress: `user+detail@domain` goes into the user's mailbox named by the detail (RFC 5233 §1).
//!
//! Only into one that is there already and has no role: anybody may write any detail, and mail of strangers belongs
//! neither into Sent nor into the Trash.

use crate::settings::Settings;
use mail::{AccountId, Address, MailboxId};
use store::ReadTx;

/// The mailbox that a detail names, if the operator wants that: by its whole name, with `.` for `/` where the first is
/// not there, in any case if no other fits.
pub(crate) fn mailbox(tx: &ReadTx, account: AccountId, detail: Option<&str>, settings: &Settings) -> store::Result<Option<MailboxId>> {
    let Some(detail) = detail.filter(|_| settings.receive.subaddress.folders) else { return Ok(None) };
    let mailboxes = tx.mailboxes(account)?;
    let mut free = mailboxes.iter().filter(|mailbox| mailbox.role.is_none());
    let names = [detail.to_owned(), detail.replace('.', "/")];
    let exact = names.iter().find_map(|name| free.clone().find(|mailbox| mailbox.name == *name));
    let found = exact.or_else(|| free.find(|mailbox| names.iter().any(|name| mailbox.name.to_lowercase() == name.to_lowercase())));
    Ok(found.map(|mailbox| mailbox.id))
}

/// An account's address with the detail under which mail for it waits.
pub(crate) fn of(address: Address, detail: Option<&str>) -> Address {
    detail.and_then(|detail| address.with_detail(detail)).unwrap_or(address)
}
