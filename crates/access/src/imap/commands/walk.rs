//! Looks at many messages in a row of short reads, so that others come between.
//!
//! Not for SEARCH, whose reads are bounded by octets too.

use crate::imap::response::Status;
use crate::imap::serve::Server;
use mail::uid_set::UidSet;
use mail::{AccountId, MailboxId};
use std::collections::VecDeque;
use store::{Message, ReadTx};

/// Messages looked at by one read. Our own bound.
const BATCH: usize = 512;

/// Hands each of these messages that is there to `take`, in order; what came of it.
///
/// # Errors
/// When the store fails, or `take` does.
pub(crate) async fn walk<S, F>(server: &Server, mailbox: MailboxId, uids: &UidSet, mut state: S, take: F) -> Result<S, Status>
where
    S: Send + 'static,
    F: Fn(&ReadTx, AccountId, &Message, &mut S) -> store::Result<()> + Clone + Send + 'static,
{
    let account = server.watched();
    let mut todo: VecDeque<_> = uids.ranges().collect();
    while !todo.is_empty() {
        let take = take.clone();
        let batch = move |tx: &ReadTx| {
            let mut left = BATCH;
            while left > 0
                && let Some((first, last)) = todo.pop_front()
            {
                let messages = tx.messages(account, mailbox, first, last, left)?;
                let next = messages.last().filter(|_| messages.len() == left).map(|message| message.uid.next());
                left -= messages.len();
                messages.iter().try_for_each(|message| take(tx, account, message, &mut state))?;
                if let Some(next) = next.filter(|next| *next <= last) {
                    todo.push_front((next, last));
                }
            }
            Ok((todo, state))
        };
        (todo, state) = server.read(batch).await?;
    }
    Ok(state)
}
