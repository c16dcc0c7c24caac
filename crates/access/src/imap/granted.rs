//! A mailbox and what one client may do with it: the only place where a name becomes a mailbox.
//!
//! A client's own mailboxes have the names that they have in the store; others' stand below
//! [`store::OTHERS`]. What a client may not look up does not exist for it: it gets the same answer as
//! for a name that nobody has (RFC 4314 §6).

use mail::{AccountId, Rights};
use store::{Error, Mailbox, ReadTx, Share, is_shared_name};

/// A mailbox as a client sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Granted {
    /// Whose it is.
    pub(crate) account: AccountId,
    /// What the client may do with it.
    pub(crate) rights: Rights,
    /// The mailbox under the client's name for it. Others' have no role: their Trash is not the client's.
    pub(crate) mailbox: Mailbox,
}

impl Granted {
    /// A mailbox of the client's own.
    pub(crate) const fn own(account: AccountId, mailbox: Mailbox) -> Self {
        Self { account, rights: Rights::ALL, mailbox }
    }

    /// A mailbox of another.
    pub(crate) fn of(share: Share) -> Self {
        let Share { owner, name, mailbox, rights } = share;
        Self { account: owner, rights, mailbox: Mailbox { name, role: None, subscribed: false, ..mailbox } }
    }

    /// The mailbox of a name; `None` also for those with which the client may do nothing.
    pub(crate) fn find(tx: &ReadTx, viewer: AccountId, name: &str) -> store::Result<Option<Self>> {
        if let Some(mailbox) = tx.mailbox_by_name(viewer, name)? {
            return Ok(Some(Self::own(viewer, mailbox)));
        }
        let Some((owner, rest)) = tx.owner_of(viewer, name)? else { return Ok(None) };
        let Some(mailbox) = tx.mailbox_by_name(owner, rest)? else { return Ok(None) };
        let rights = tx.rights(viewer, owner, mailbox.id)?;
        let share = Share { owner, name: name.to_owned(), mailbox, rights };
        Ok((!rights.is_empty()).then(|| Self::of(share)))
    }

    /// The mailbox of a name, with which the client may do this.
    ///
    /// # Errors
    /// [`Error::Denied`] if it may not, [`Error::NotFound`] if it may not know of it either.
    pub(crate) fn find_for(tx: &ReadTx, viewer: AccountId, name: &str, needed: Rights) -> store::Result<Self> {
        Self::find(tx, viewer, name)?.ok_or_else(not_found)?.allowing(needed)
    }

    /// The same, if the client may do this with it.
    pub(crate) fn allowing(self, needed: Rights) -> store::Result<Self> {
        if self.rights.contains(needed) { Ok(self) } else { Err(self.refused()) }
    }

    /// Why the client may not do something with it.
    pub(crate) fn refused(&self) -> Error {
        if self.rights.contains(Rights::LOOKUP) { Error::Denied } else { not_found() }
    }

    /// Every mailbox that the client may look up, by name.
    pub(crate) fn all(tx: &ReadTx, viewer: AccountId) -> store::Result<Vec<Self>> {
        let own = tx.mailboxes(viewer)?.into_iter().map(|mailbox| Self::own(viewer, mailbox));
        let shared = tx.shares(viewer)?.into_iter().map(Self::of).filter(|granted| granted.rights.contains(Rights::LOOKUP));
        let mut all: Vec<_> = own.chain(shared).collect();
        all.sort_by(|a, b| a.mailbox.name.cmp(&b.mailbox.name));
        Ok(all)
    }

    /// Whose a mailbox that is to be made will be, and what its owner will call it.
    ///
    /// In others' accounts the nearest mailbox above it must allow it (RFC 4314 §4, CREATE); what does not
    /// exist there is refused in the same words as what is not allowed.
    ///
    /// # Errors
    /// [`Error::Denied`] if the client may not make it.
    pub(crate) fn to_be_made<'a>(tx: &ReadTx, viewer: AccountId, name: &'a str) -> store::Result<(AccountId, &'a str)> {
        if !is_shared_name(name) {
            return Ok((viewer, name));
        }
        let (owner, rest) = tx.owner_of(viewer, name)?.ok_or(Error::Denied)?;
        for (at, _) in rest.rmatch_indices(store::DELIMITER) {
            if let Some(above) = tx.mailbox_by_name(owner, rest.get(..at).unwrap_or_default())? {
                let rights = tx.rights(viewer, owner, above.id)?;
                return if rights.contains(Rights::CREATE) { Ok((owner, rest)) } else { Err(Error::Denied) };
            }
        }
        Err(Error::Denied)
    }
}

fn not_found() -> Error {
    Error::NotFound("mailbox".into())
}
