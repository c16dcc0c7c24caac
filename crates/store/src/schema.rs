//! Everything that is on disk, in one table: the key spaces, their keys and the format version.
//!
//! Keys are ordered octets: numbers are big-endian, so that a scan meets them in their order.
//! Values of the model are postcard, append-only. The number of a space is in the log: it is never
//! changed and never used again.
//!
//! What this is not: the files around it (`log::segment`, `body`) state their own layouts.

/// The version of keys and values this program writes; older stores are brought up at open.
pub const FORMAT: u32 = 3;

macro_rules! spaces {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $table:literal;)*) => {
        /// One ordered map of keys to values: a table of the index.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Space { $($(#[$doc])* $name,)* }

        impl Space {
            /// Every space, in the order of [`Space::slot`].
            pub const ALL: &'static [Space] = &[$(Space::$name,)*];

            /// The number in the log; never changed.
            #[must_use]
            pub const fn number(self) -> u8 {
                match self { $(Space::$name => $number,)* }
            }

            /// The space with this number, if this program knows it.
            #[must_use]
            pub const fn by_number(number: u8) -> Option<Space> {
                match number { $($number => Some(Space::$name),)* _ => None }
            }

            /// The name of the SQLite table and of the space in reports.
            #[must_use]
            pub const fn table(self) -> &'static str {
                match self { $(Space::$name => $table,)* }
            }
        }
    };
}

impl Space {
    /// Whether the engine works it out from other spaces, so that the log does not hold it.
    #[must_use]
    pub const fn is_derived(self) -> bool {
        matches!(self, Self::Segment | Self::File)
    }

    /// The place in [`Space::ALL`].
    #[must_use]
    pub const fn slot(self) -> usize {
        self as usize
    }
}

spaces! {
    // The engine's.
    /// name → value of the store as a whole: `format` (u32, big-endian).
    Meta = 0, "meta";
    /// blob hash (32) → where it is, its lengths, how many refer to it (`body::BlobRow`).
    Blob = 1, "blob";
    /// segment number (8) → live body octets in it (8). Derived by the engine, never in the log.
    Segment = 2, "segment";
    /// number of a body's own file (8) → blob hash (32). Derived by the engine, never in the log.
    File = 3, "file";
    // The model's, from 16 on. An append writes Message, Email, Grams, Mailbox, Counters, one Thread entry
    // and its blob; it needs no Change, because a message knows the ModSeq at which it came and Uids
    // ascend with it.
    /// name → a counter of the whole store: last receipt, last account, queue length.
    Count = 16, "count";
    /// domain → `DomainRecord`.
    Domain = 17, "domain";
    /// address in lower case → whose it is: an account's, or an alias with its targets.
    Address = 18, "address";
    /// account (4) → `AccountRecord`: address, name, credentials.
    Account = 19, "account";
    /// account (4) → `Counters`: last ModSeq and ids, octets used. Written by every change of the account.
    Counters = 20, "counters";
    /// account (4), mailbox (4) → `MailboxRecord`: name, role, next Uid, exact counters.
    Mailbox = 21, "mailbox";
    /// account (4), name → mailbox.
    MailboxName = 22, "mailbox_name";
    /// account (4), role (1) → mailbox.
    MailboxRole = 23, "mailbox_role";
    /// account (4), name → nothing: the name is subscribed to.
    Subscription = 24, "subscription";
    /// account (4), mailbox (4), keyword in lower case → the keyword as first written.
    Keyword = 25, "keyword";
    /// account (4), mailbox (4), Uid (4) → `MessageRecord`: what FETCH FLAGS, UID, MODSEQ,
    /// RFC822.SIZE and INTERNALDATE need, and where the body is.
    Message = 26, "message";
    /// account (4), mailbox (4), Uid (4) → nothing: the message has `\Deleted`.
    Deleted = 27, "deleted";
    /// account (4), email (8) → `EmailRecord`, then the digest: ENVELOPE, BODYSTRUCTURE, preview.
    Email = 28, "email";
    /// account (4), hash of a Message-ID (8) → the threads known by it.
    Thread = 29, "thread";
    /// account (4), mailbox (4; 0: the list of mailboxes), ModSeq (8), part (2) → `ChangeRecord`:
    /// flags changed, Uids vanished.
    Change = 30, "change";
    /// receipt (8) → `QueueRecord`: envelope, recipients and their states.
    Queue = 31, "queue";
    /// due (8, sign bit flipped), receipt (8), recipient domain → nothing: a part that waits for its time.
    QueueDue = 32, "queue_due";
    /// receipt (8), part (4) → entries of the trail, or a further Message-ID.
    Trail = 33, "trail";
    /// hash of a Message-ID (8), receipt (8) → nothing.
    MessageId = 34, "message_id";
    /// name → random octets that must not be guessed: the key of invented SCRAM verifiers.
    Secret = 35, "secret";
    /// account (4), email (8) → a format octet and the bits of `mail::grams::Texts`: the full-text
    /// index of the email. Written with the email, gone with it.
    Grams = 36, "grams";
    /// account (4), mailbox (4), grantee (4; 0: anyone), negative (1) → `GrantRecord`: rights.
    Grant = 40, "grant";
    /// grantee (4; 0: anyone), account (4), mailbox (4) → nothing: a grant of the mailbox names it.
    Share = 41, "share";
    /// account (4), mailbox (4; 0: the server as the account sees it), viewer (4; 0: all), path →
    /// `AnnotationRecord`: a value of METADATA.
    Annotation = 42, "annotation";
    /// path → `ServerAnnotationRecord`: what everybody sees of the server's METADATA.
    ServerAnnotation = 43, "server_annotation";
    /// account (4) → nothing: it is an administrator.
    Administrator = 44, "administrator";
    /// account (4), token (4) → `TokenRecord`: an access token's hash, name and end.
    Token = 48, "token";
    /// account (4) → `Pop3Settings`: how the owner wants POP3.
    Pop3 = 49, "pop3";
    /// account (4), mailbox (4), Uid (4) → `Pop3Message`: hidden, fetched, or known by another unique id.
    Pop3Message = 50, "pop3_message";
    // 52 to 55: who mail is from.
    /// domain, 0 (1), selector → `DkimKey`: a signing key.
    DkimKey = 52, "dkim_key";
    // Transport security, 60 to 65.
    /// domain → `StsPolicy`: the MTA-STS policy of another domain.
    StsPolicy = 60, "sts_policy";
    /// day since 1970 (4), domain → what became of TLS with it, as the report says it.
    TlsResult = 61, "tls_result";
    /// time (8, sign bit flipped), hash (8) → a TLS report that came in.
    TlsReport = 62, "tls_report";
    // 66 to 69: the order of the queue.
    /// receipt (8), recipient domain → taken? (1), rank (1), tag (8): a part that no longer waits for its time.
    QueuePart = 66, "queue_part";
    /// recipient domain, 0 (1), rank (1), tag (8), receipt (8) → nothing: the parts of a lane that are to be tried.
    QueueReady = 67, "queue_ready";
    /// kind (1), then: 1: rank, tag, receipt, domain: the first part of each open lane; 2: until (8), domain, and
    /// 3: domain → until: lanes that are passed over; 4: receipt, domain: parts being worked on; 5: rank, sender →
    /// where its next part begins (8); 6: rank → how far the rank has come (8); 7: domain, 0 (1), receipt: what waits, by
    /// lane.
    QueueOrder = 68, "queue_order";
    /// kind (1), then: 1: domain → `Suspension`; 2: number (4) → `HoldRule`.
    QueueRule = 69, "queue_rule";
    // Mail to other servers, 70 to 72.
    /// token → `LongSender`: a sender whose rewritten address would be too long.
    LongSender = 70, "long_sender";
    /// account (4; 0: everybody), address in lower case → `Suppression`: mail to it failed for good.
    Suppression = 71, "suppression";
    /// domain → `Detour`: its servers refuse our address, so that its mail goes over a relay.
    Detour = 72, "detour";
    // 73 to 75: the Outbox.
    /// account (4), email (8) → `OutboxRecord`: which queued message it is the sender's copy of, and whether it waits.
    Outbox = 73, "outbox";
    /// receipt (8) → `OutboxLink`: the sender's copy of a queued message.
    OutboxLink = 74, "outbox_link";
    /// account (4) → `HoldRecord`: how long what the account sends waits in its Outbox.
    Hold = 75, "hold";
    // 76 to 84: what mail is wanted, and who sends too much.
    /// account (4), bucket (4; missing: all messages) → `LessonRecord`: in how many messages a feature was.
    Lesson = 76, "lesson";
    /// bucket (4; missing: all messages) → `ServerLessonRecord`: the same for the whole server.
    ServerLesson = 77, "server_lesson";
    /// account (4), email (8) → `TaughtRecord`: what the email has taught.
    Taught = 78, "taught";
    /// account (4), domain? (1), slot (4) → `CorrespondentRecord`: to whom the account has written.
    Correspondent = 79, "correspondent";
    /// family (1: 4 or 6), address (4 or 16), prefix (1) → `BanRecord`: a network whose connections are not taken.
    Ban = 80, "ban";
    /// account (4; 0: the server), slot (4) → `ReputationRecord`: what was taught of a sender, domain, host or network.
    Reputation = 81, "reputation";
    /// account (4), email (8) → `OriginRecord`: who brought the email.
    Origin = 82, "origin";
    /// account (4), hour since 1970 (4) → `TrafficRecord`: what the account sent in that hour.
    Traffic = 83, "traffic";
    /// account (4) → `Sending`: limits of the account's own, held, approved.
    Sending = 84, "sending";
    /// day since 1970 (4), source, 0 (1), domain → `Sent`: how much a source that warms up has sent there.
    Sent = 93, "sent";
    /// slot (4) → `GreetingRecord`: who tried to write to whom from where for the first time.
    Greeting = 95, "greeting";
    // 90 to 92: what was refused and is kept.
    /// account (4), email (8) → `RejectRecord`: what the email was refused with, and whether it counts in the quota.
    Reject = 90, "reject";
    /// account (4), hash (8) → `RejectKey`: the email that is the same message.
    RejectKey = 91, "reject_key";
    /// receipt (8), account (4) → `RejectLink`: the email that the account keeps of it.
    RejectLink = 92, "reject_link";
    // 85 to 89: what is explained and reported.
    /// receipt (8) → nothing: its trail is of a message that was refused.
    Rejection = 85, "rejection";
    /// day since 1970 (4), domain, 0 (1), hash (8) → `DmarcRow`: messages alike in all that a report tells of them.
    DmarcRow = 86, "dmarc_row";
    /// day since 1970 (4), domain → `DmarcDay`: the policy met that day and the number of rows.
    DmarcDay = 87, "dmarc_day";
    /// time (8, sign bit flipped), hash (8) → a DMARC aggregate report that came in.
    DmarcReport = 88, "dmarc_report";
    /// time (8, sign bit flipped), hash (8) → a report of one failure (RFC 6591) that came in.
    FailureReport = 89, "failure_report";
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn numbers_and_tables_are_unique_and_read_back() {
        let numbers: BTreeSet<u8> = Space::ALL.iter().map(|space| space.number()).collect();
        let tables: BTreeSet<&str> = Space::ALL.iter().map(|space| space.table()).collect();
        assert_eq!((numbers.len(), tables.len()), (Space::ALL.len(), Space::ALL.len()));
        for (slot, space) in Space::ALL.iter().enumerate() {
            assert_eq!((space.slot(), Space::by_number(space.number())), (slot, Some(*space)));
        }
    }
}
