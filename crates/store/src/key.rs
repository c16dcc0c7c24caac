//! The keys of the model, octet by octet.
//!
//! What each is for stands in [`crate::schema`]; here they are built and read. Numbers are
//! big-endian, so that keys sort as the numbers do; a text at the end of a key is UTF-8 and runs to
//! the end.

use crate::acl::Grantee;
use crate::index::KeyRange;
use mail::{AccountId, EmailId, MailboxId, ModSeq, ReceiptId, Role, Timestamp, Uid};

/// A key under construction.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Key(Vec<u8>);

impl Key {
    fn u8(mut self, number: u8) -> Self {
        self.0.push(number);
        self
    }

    fn u16(mut self, number: u16) -> Self {
        self.0.extend(number.to_be_bytes());
        self
    }

    pub(crate) fn u32(mut self, number: u32) -> Self {
        self.0.extend(number.to_be_bytes());
        self
    }

    pub(crate) fn u64(mut self, number: u64) -> Self {
        self.0.extend(number.to_be_bytes());
        self
    }

    pub(crate) fn text(mut self, text: &str) -> Self {
        self.0.extend(text.as_bytes());
        self
    }

    pub(crate) fn done(self) -> Vec<u8> {
        self.0
    }
}

/// `Account`, `Counters`, `Hold`, `Sending`.
pub(crate) fn account(account: AccountId) -> Vec<u8> {
    Key::default().u32(account.0).done()
}

/// `Token`.
pub(crate) fn token(account: AccountId, token: u32) -> Vec<u8> {
    Key::default().u32(account.0).u32(token).done()
}

/// `Mailbox`, and the start of the keys of `Message`, `Deleted`, `Keyword` and `Change`.
pub(crate) fn mailbox(account: AccountId, mailbox: MailboxId) -> Vec<u8> {
    Key::default().u32(account.0).u32(mailbox.0).done()
}

/// `MailboxName`, `Subscription`.
pub(crate) fn name(account: AccountId, name: &str) -> Vec<u8> {
    Key::default().u32(account.0).text(name).done()
}

/// `MailboxRole`. The numbers are stored: never change them.
pub(crate) fn role(account: AccountId, role: Role) -> Vec<u8> {
    let number = match role {
        Role::Inbox => 1,
        Role::Drafts => 2,
        Role::Sent => 3,
        Role::Junk => 4,
        Role::Trash => 5,
        Role::Archive => 6,
        Role::Outbox => 7,
        Role::Rejects => 8,
    };
    Key::default().u32(account.0).u8(number).done()
}

/// `Keyword`.
pub(crate) fn keyword(account: AccountId, mailbox: MailboxId, keyword: &str) -> Vec<u8> {
    Key::default().u32(account.0).u32(mailbox.0).text(&keyword.to_ascii_lowercase()).done()
}

/// `Message`, `Deleted`.
pub(crate) fn message(account: AccountId, mailbox: MailboxId, uid: Uid) -> Vec<u8> {
    Key::default().u32(account.0).u32(mailbox.0).u32(uid.0).done()
}

/// `Message`, `Deleted`: from one Uid to another, both with.
pub(crate) fn messages(account: AccountId, mailbox: MailboxId, from: Uid, to: Uid) -> KeyRange {
    let mut end = message(account, mailbox, to);
    end.push(0);
    KeyRange::new(&message(account, mailbox, from), &end)
}

/// The Uid of a `Message` or `Deleted` key.
pub(crate) fn message_uid(key: &[u8]) -> Option<Uid> {
    number_u32(key, 8).map(Uid)
}

/// `Email`, `Grams`, `Taught`, `Outbox`, `Origin`, `Reject`.
pub(crate) fn email(account: AccountId, email: EmailId) -> Vec<u8> {
    Key::default().u32(account.0).u64(email.0).done()
}

/// `RejectKey`
pub(crate) fn reject_key(account: AccountId, hash: u64) -> Vec<u8> {
    Key::default().u32(account.0).u64(hash).done()
}

/// `RejectLink`
pub(crate) fn reject_link(receipt: ReceiptId, account: AccountId) -> Vec<u8> {
    Key::default().u64(receipt.0).u32(account.0).done()
}

/// `Lesson`; without a bucket: of all messages.
pub(crate) fn lesson(account: AccountId, bucket: Option<u32>) -> Vec<u8> {
    let key = Key::default().u32(account.0);
    bucket.map_or(key.clone(), |bucket| key.u32(bucket)).done()
}

/// `ServerLesson`; without a bucket: of all messages.
pub(crate) fn server_lesson(bucket: Option<u32>) -> Vec<u8> {
    bucket.map_or(Key::default(), |bucket| Key::default().u32(bucket)).done()
}

/// `Correspondent`.
pub(crate) fn correspondent(account: AccountId, is_domain: bool, slot: u32) -> Vec<u8> {
    Key::default().u32(account.0).u8(u8::from(is_domain)).u32(slot).done()
}

/// `Greeting`.
pub(crate) fn greeting(slot: u32) -> Vec<u8> {
    Key::default().u32(slot).done()
}

/// `Traffic`.
pub(crate) fn traffic(account: AccountId, hour: u32) -> Vec<u8> {
    Key::default().u32(account.0).u32(hour).done()
}

/// `Reputation`; account 0 is the server.
pub(crate) fn reputation(account: AccountId, slot: u32) -> Vec<u8> {
    Key::default().u32(account.0).u32(slot).done()
}

/// `Thread`.
pub(crate) fn thread(account: AccountId, hash: u64) -> Vec<u8> {
    Key::default().u32(account.0).u64(hash).done()
}

/// `Change`.
pub(crate) fn change(account: AccountId, mailbox: MailboxId, mod_seq: ModSeq, part: u16) -> Vec<u8> {
    Key::default().u32(account.0).u32(mailbox.0).u64(mod_seq.0).u16(part).done()
}

/// `Change`: of one mailbox, later than `since`.
pub(crate) fn changes_since(account: AccountId, mailbox_id: MailboxId, since: ModSeq) -> KeyRange {
    let whole = KeyRange::prefix(&mailbox(account, mailbox_id));
    KeyRange { from: change(account, mailbox_id, since.next(), 0), ..whole }
}

/// The ModSeq of a `Change` key.
pub(crate) fn change_mod_seq(key: &[u8]) -> Option<ModSeq> {
    number_u64(key, 8).map(ModSeq)
}

/// `Queue`, `OutboxLink`, and the start of the keys of `Trail` and `RejectLink`.
pub(crate) fn receipt(receipt: ReceiptId) -> Vec<u8> {
    Key::default().u64(receipt.0).done()
}

/// `QueueDue`
pub(crate) fn queue_due(due: Timestamp, receipt: ReceiptId, lane: &str) -> Vec<u8> {
    [moment(due, receipt.0), lane.as_bytes().to_vec()].concat()
}

/// `QueuePart`
pub(crate) fn queue_part(receipt: ReceiptId, lane: &str) -> Vec<u8> {
    Key::default().u64(receipt.0).text(lane).done()
}

/// `QueueReady`; the start is the lane's.
pub(crate) fn queue_ready(lane: &str, rank: u8, tag: u64, receipt: ReceiptId) -> Vec<u8> {
    Key(queue_lane(lane)).u8(rank).u64(tag).u64(receipt.0).done()
}

/// The start of the keys of `QueueReady`.
pub(crate) fn queue_lane(lane: &str) -> Vec<u8> {
    Key::default().text(lane).u8(0).done()
}

/// `QueueOrder`, the first part of a lane.
pub(crate) fn queue_first(rank: u8, tag: u64, receipt: ReceiptId, lane: &str) -> Vec<u8> {
    Key::default().u8(1).u8(rank).u64(tag).u64(receipt.0).text(lane).done()
}

/// `QueueOrder`, a lane that is passed over until then.
pub(crate) fn queue_passed(until: Timestamp, lane: &str) -> Vec<u8> {
    Key::default().u8(2).u64(ordered(until)).text(lane).done()
}

/// `QueueOrder` of kind 3 and 6, and `QueueRule` of kind 1: anything under a text.
pub(crate) fn queue_named(kind: u8, name: &str) -> Vec<u8> {
    Key::default().u8(kind).text(name).done()
}

/// `QueueOrder`, a part being worked on.
pub(crate) fn queue_taken(receipt: ReceiptId, lane: &str) -> Vec<u8> {
    Key::default().u8(4).u64(receipt.0).text(lane).done()
}

/// `QueueOrder`, where the next part of a sender begins.
pub(crate) fn queue_sender(rank: u8, sender: &str) -> Vec<u8> {
    Key::default().u8(5).u8(rank).text(sender).done()
}

/// `QueueOrder`, how far a rank has come.
pub(crate) fn queue_progress(rank: u8) -> Vec<u8> {
    Key::default().u8(6).u8(rank).done()
}

/// `QueueOrder`, a part of a lane that waits for its time.
pub(crate) fn queue_waiting(lane: &str, receipt: ReceiptId) -> Vec<u8> {
    Key(queue_waiting_in(lane)).u64(receipt.0).done()
}

/// The start of the keys of what waits in a lane.
pub(crate) fn queue_waiting_in(lane: &str) -> Vec<u8> {
    Key::default().u8(7).text(lane).u8(0).done()
}

/// `QueueRule`, a rule by which mail is held.
pub(crate) fn hold_rule(number: u32) -> Vec<u8> {
    Key::default().u8(2).u32(number).done()
}

/// A moment as a number that sorts: times before 1970 first.
pub(crate) fn ordered(at: Timestamp) -> u64 {
    at.0.cast_unsigned() ^ (1 << 63)
}

/// The moment at an offset of a key.
pub(crate) fn moment_at(key: &[u8], at: usize) -> Option<Timestamp> {
    Some(Timestamp((number_u64(key, at)? ^ (1 << 63)).cast_signed()))
}

/// The start of the keys of `TlsResult`.
pub(crate) fn day(day: u32) -> Vec<u8> {
    Key::default().u32(day).done()
}

/// `TlsResult`
pub(crate) fn day_of(day: u32, domain: &str) -> Vec<u8> {
    Key::default().u32(day).text(domain).done()
}

/// `TlsReport`
pub(crate) fn moment(at: Timestamp, hash: u64) -> Vec<u8> {
    Key::default().u64(ordered(at)).u64(hash).done()
}

pub(crate) fn moment_read(key: &[u8]) -> Option<Timestamp> {
    moment_at(key, 0)
}

/// `Trail`.
pub(crate) fn trail(receipt: ReceiptId, part: u32) -> Vec<u8> {
    Key::default().u64(receipt.0).u32(part).done()
}

/// `MessageId`: every receipt of a Message-ID.
pub(crate) fn message_ids(hash: u64) -> KeyRange {
    KeyRange::prefix(&Key::default().u64(hash).done())
}

/// `MessageId`.
pub(crate) fn message_id(hash: u64, receipt: ReceiptId) -> Vec<u8> {
    Key::default().u64(hash).u64(receipt.0).done()
}

/// `Grant`: the start is the mailbox's.
pub(crate) fn grant(owner: AccountId, mailbox: MailboxId, grantee: Grantee, negative: bool) -> Vec<u8> {
    Key::default().u32(owner.0).u32(mailbox.0).u32(grantee.number()).u8(u8::from(negative)).done()
}

/// To whom a `Grant` key gives, and whether it takes away.
pub(crate) fn grantee(key: &[u8]) -> Option<(Grantee, bool)> {
    Some((Grantee::by_number(number_u32(key, 8)?), *key.get(12)? != 0))
}

/// The start of the `Share` keys of whoever is named in grants.
pub(crate) fn shares(grantee: Grantee) -> Vec<u8> {
    Key::default().u32(grantee.number()).done()
}

/// `Share`.
pub(crate) fn share(grantee: Grantee, owner: AccountId, mailbox: MailboxId) -> Vec<u8> {
    Key::default().u32(grantee.number()).u32(owner.0).u32(mailbox.0).done()
}

/// Whose mailbox a `Share` key leads to, and which.
pub(crate) fn shared(key: &[u8]) -> Option<(AccountId, MailboxId)> {
    Some((AccountId(number_u32(key, 4)?), MailboxId(number_u32(key, 8)?)))
}

/// `Annotation`; `viewer` is 0 where it is shared.
pub(crate) fn annotation(account: AccountId, mailbox: MailboxId, viewer: AccountId, path: &str) -> Vec<u8> {
    Key::default().u32(account.0).u32(mailbox.0).u32(viewer.0).text(path).done()
}

/// The u32 at an offset of a key.
pub(crate) fn number_u32(key: &[u8], at: usize) -> Option<u32> {
    key.get(at..at + 4)?.try_into().ok().map(u32::from_be_bytes)
}

/// The u64 at an offset of a key.
pub(crate) fn number_u64(key: &[u8], at: usize) -> Option<u64> {
    key.get(at..at + 8)?.try_into().ok().map(u64::from_be_bytes)
}

/// The text from an offset of a key to its end.
pub(crate) fn text(key: &[u8], at: usize) -> Option<&str> {
    std::str::from_utf8(key.get(at..)?).ok()
}

/// A hash of a text for a key: the first 8 octets of its BLAKE3 hash, so that nobody makes two
/// Message-IDs collide cheaply.
pub(crate) fn hash(text: &str) -> u64 {
    number_u64(blake3::hash(text.as_bytes()).as_bytes(), 0).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_sort_as_what_they_hold() {
        let due = |at: i64| queue_due(Timestamp(at), ReceiptId(7), "a.example");
        assert!(due(-5) < due(-1) && due(-1) < due(0) && due(0) < due(1) && due(1) < due(i64::MAX));
        assert_eq!(moment_at(&due(-5), 0), Some(Timestamp(-5)));
        let (account, mailbox) = (AccountId(1), MailboxId(2));
        assert!(message(account, mailbox, Uid(255)) < message(account, mailbox, Uid(256)));
        assert_eq!(message_uid(&message(account, mailbox, Uid(77))), Some(Uid(77)));
        assert_eq!(change_mod_seq(&change(account, mailbox, ModSeq(9), 3)), Some(ModSeq(9)));
    }

    #[test]
    fn a_range_of_uids_holds_both_ends_and_no_other_mailbox() {
        let uids = messages(AccountId(1), MailboxId(1), Uid(2), Uid(u32::MAX));
        let inside = |key: Vec<u8>| uids.from <= key && uids.to.as_ref().is_none_or(|to| key < *to);
        for (mailbox, uid, want) in [(1, 1, false), (1, 2, true), (1, u32::MAX, true), (2, 1, false)] {
            assert_eq!(inside(message(AccountId(1), MailboxId(mailbox), Uid(uid))), want, "{mailbox} {uid}");
        }
    }
}
