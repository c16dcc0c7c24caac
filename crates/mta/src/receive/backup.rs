//! RCPT for a domain that we are a backup for: is this one of its recipients?
//!
//! Invariant: whoever may be one is taken; a backup that does not know asks, and one that hears nothing takes.

use super::{Receiver, refusal};
use crate::route::{self, Known};
use mail::Recipient;
use smtp::Reply;
use smtp::server::Role;
use std::collections::BTreeSet;

impl Receiver {
    /// Refuses who is not known at the domain that we are a backup for.
    pub(super) async fn backed_up(&self, recipient: &Recipient) -> Result<(), Reply> {
        if self.role != Role::Mx || self.is_relay() {
            return Ok(());
        }
        let settings = &self.context.settings;
        let Some(backup) = route::backup(&settings.backups, recipient.address.domain()) else { return Ok(()) };
        let known = match &backup.known {
            Known::Anyone => true,
            Known::Listed(list) => list.contains(&recipient.address.key()) || without_detail_is_in(list, recipient),
            Known::Asked => match &self.context.call_ahead {
                Some(ahead) => ahead.knows(&recipient.address, settings).await.unwrap_or(true),
                None => true,
            },
        };
        if known { Ok(()) } else { Err(refusal::unknown_user()) }
    }
}

fn without_detail_is_in(list: &BTreeSet<String>, recipient: &Recipient) -> bool {
    recipient.address.without_detail().is_some_and(|(without, _)| list.contains(&without.key()))
}
