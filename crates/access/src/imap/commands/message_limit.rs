//! MESSAGELIMIT and SAVELIMIT (RFC 9738): how many messages one command works on.
//!
//! Two bounds. What COPY and MOVE write is one transaction, so it has a bound always (SAVELIMIT). What other
//! commands look at comes in a row of short reads and needs none; an administrator may set one
//! (MESSAGELIMIT), which leaves clients that do not know it with the newest messages only (§4.1).

use crate::imap::limits::Limits;
use crate::imap::response::Status;
use mail::uid_set::UidSet;
use mail::{SeqNum, Uid};

/// Only the highest Uids of a command were worked on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cut {
    messages_max: u32,
    lowest: Uid,
}

/// The bound as a capability: MESSAGELIMIT if there is one, else SAVELIMIT.
pub(crate) fn capability(limits: &Limits) -> String {
    match limits.command_messages_max {
        Some(max) => format!("MESSAGELIMIT={max}"),
        None => format!("SAVELIMIT={}", limits.save_messages_max),
    }
}

/// The highest members of a set, and word of it if others were left out.
pub(crate) fn highest(uids: UidSet, messages_max: Option<u32>) -> (UidSet, Option<Cut>) {
    let over = messages_max.and_then(|max| uids.len().checked_sub(max).filter(|over| *over > 0));
    let first = over.and_then(|over| uids.nth(SeqNum(over + 1)));
    match (messages_max, first) {
        (Some(messages_max), Some(lowest)) => (uids.intersect(&UidSet::range(lowest, Uid(u32::MAX))), Some(Cut { messages_max, lowest })),
        _ => (uids, None),
    }
}

/// Refuses a command that works on all of its messages or on none.
///
/// # Errors
/// When there are too many.
pub(crate) fn all_or_none(uids: UidSet, messages_max: Option<u32>) -> Result<UidSet, Status> {
    match highest(uids, messages_max) {
        (uids, None) => Ok(uids),
        (_, Some(cut)) => Err(Status::no(cut.code(), "Too many messages at once, name fewer")),
    }
}

impl Cut {
    fn code(self) -> String {
        format!("MESSAGELIMIT {} {}", self.messages_max, self.lowest)
    }

    /// The tagged status with word of the cut; where it says something else already, an untagged NO does.
    pub(crate) fn tell(cut: Option<Self>, status: Status, data: &mut Vec<u8>) -> Status {
        let Some(cut) = cut else { return status };
        if status.code.is_none() {
            return status.code(cut.code());
        }
        Status::no(cut.code(), "Only the newest of the messages were worked on").write(data, "*");
        status
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_are_taken() {
        let uids: UidSet = [3, 5, 6, 9].into_iter().map(Uid).collect();
        for (max, want, lowest) in [(None, "3,5:6,9", None), (Some(4), "3,5:6,9", None), (Some(2), "6,9", Some(6)), (Some(1), "9", Some(9))]
        {
            let (taken, cut) = highest(uids.clone(), max);
            assert_eq!((taken.to_string(), cut.map(|cut| cut.lowest.0)), (want.to_owned(), lowest));
        }
        assert_eq!(highest(UidSet::new(), Some(1)), (UidSet::new(), None));
    }
}
