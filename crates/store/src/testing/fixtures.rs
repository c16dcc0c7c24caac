//! One value of every kind as format 1 writes it: what was stored once is read for ever.
//!
//! A line of `fixtures/format_1.txt` is a name and the octets. When a form changes, its format octet goes
//! up, `Record::upgrade` reads the old one, and the old line stays under a name of its own;
//! `UPDATE=1` adds lines that are new and changes none.

use super::{address, flags, now};
use crate::account::AccountRecord;
use crate::acl::GrantRecord;
use crate::alias::{AddressRecord, Target};
use crate::auth::Credentials;
use crate::ban::{BanRecord, BanScope};
use crate::change::{AnnotationChange, ChangeRecord};
use crate::detour::{Detour, Sent};
use crate::dkim_key::{DkimKey, DkimKeyState};
use crate::dmarc::{DmarcDay, DmarcReport, DmarcRow, FailureReport};
use crate::domain::DomainRecord;
use crate::email::EmailRecord;
use crate::greeting::{Greeting, GreetingRecord};
use crate::hold::{HoldRule, Suspension};
use crate::lesson::{CorrespondentRecord, LessonRecord, ServerLessonRecord, TaughtRecord};
use crate::mailbox::{KeywordRecord, MailboxRecord, NameRecord, RoleRecord};
use crate::message::MessageRecord;
use crate::metadata::{AnnotationRecord, ServerAnnotationRecord};
use crate::outbound::{Sending, SendingLimits, Traffic, TrafficRecord};
use crate::outbox::{HoldRecord, OutboxLink, OutboxRecord, OutboxState};
use crate::pop3::{Pop3Deletion, Pop3Message, Pop3Settings};
use crate::queue::{Final, QueueMessage, QueueRecipient, RecipientState};
use crate::record::{Record, decode, encode};
use crate::rejects::{RejectKey, RejectLink, RejectRecord};
use crate::reputation::{OriginRecord, ReputationRecord};
use crate::return_path::LongSender;
use crate::suppression::Suppression;
use crate::thread::{Link, ThreadRecord};
use crate::token::TokenRecord;
use crate::trail::TrailRecord;
use crate::transport::{StsPolicy, TlsReport, TlsResult};
use crate::uid::{Count, Counters};
use mail::digest::Digest;
use mail::event::Source;
use mail::grams::Heads;
use mail::lookup::{Answer, Question, Recorded};
use mail::*;
use std::collections::BTreeMap;
use std::fmt::{Debug, Write as _};
use std::path::Path;

/// The fixtures and what is new.
struct Fixtures {
    lines: BTreeMap<String, String>,
    update: bool,
}

impl Fixtures {
    /// A form that is no longer written.
    fn older<R: Record + PartialEq + Debug>(&self, name: &str, record: &R) {
        assert_eq!(decode::<R>(b"", &self.stored(name)).unwrap(), *record, "{name} is read otherwise than it was written");
    }

    fn stored(&self, name: &str) -> Vec<u8> {
        let line = self.lines.get(name).unwrap_or_else(|| panic!("{name} is in no line; UPDATE=1 adds it"));
        (0..line.len()).step_by(2).map(|at| u8::from_str_radix(&line[at..at + 2], 16).unwrap()).collect()
    }

    fn check<R: Record + PartialEq + Debug>(&mut self, name: &str, record: &R) {
        let octets = encode(record).unwrap();
        let written = octets.iter().fold(String::new(), |mut text, octet| {
            write!(text, "{octet:02x}").unwrap();
            text
        });
        if self.update {
            self.lines.entry(name.to_owned()).or_insert_with(|| written.clone());
        }
        assert_eq!(decode::<R>(b"", &self.stored(name)).unwrap(), *record, "{name} is read otherwise than it was written");
        assert_eq!(written, self.lines[name], "{name} is written otherwise: raise its FORMAT and keep reading this line");
    }
}

#[test]
fn every_record_is_read_as_it_was_written() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/format_1.txt");
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    let lines = text.lines().filter_map(|line| line.split_once(' ')).map(|(name, octets)| (name.to_owned(), octets.to_owned()));
    let mut fixtures = Fixtures { lines: lines.collect(), update: std::env::var_os("UPDATE").is_some() };
    accounts(&mut fixtures);
    messages(&mut fixtures);
    queue(&mut fixtures);
    events(&mut fixtures);
    rejects(&mut fixtures);
    if fixtures.update {
        let text: Vec<_> = fixtures.lines.iter().map(|(name, octets)| format!("{name} {octets}\n")).collect();
        std::fs::write(&path, text.concat()).unwrap();
    }
}

fn accounts(fixtures: &mut Fixtures) {
    let targets = vec![Target::Account(AccountId(300)), Target::Address(address("x@y.example"))];
    fixtures.check("count", &Count(1 << 60));
    fixtures.check("domain", &DomainRecord { catch_all: Some(targets.clone()), created: now() });
    fixtures.check("address.account", &AddressRecord::Account(AccountId(300)));
    fixtures.check("address.alias", &AddressRecord::Alias(address("info@example.org"), targets));
    let account =
        |credentials| AccountRecord { address: address("ann@example.org"), name: "Ann".into(), enabled: true, credentials, created: now() };
    fixtures.older("account", &account(Credentials::sample().incomplete()));
    fixtures.older("account.none", &account(Credentials::none()));
    fixtures.check("account.2", &account(Credentials::sample()));
    fixtures.check("account.2.none", &account(Credentials::none()));
    let deletion = Pop3Deletion::Trash;
    let pop3 = Pop3Settings { deletion, folders: vec!["INBOX".into()], recent_days: Some(30), uidl_format: Some("cyrus".into()) };
    fixtures.check("pop3", &pop3);
    fixtures.check("pop3_message", &Pop3Message { hidden: true, retrieved: Some(now()), uidl: Some("00000001".into()) });
    fixtures.check("token", &TokenRecord { name: "phone".into(), hash: [9; 32], created: now(), expires: Some(now()) });
    let counters = Counters {
        mod_seq: ModSeq(1),
        email: EmailId(2),
        mailbox: MailboxId(3),
        uid_validity: UidValidity(1_700_000_000),
        emails: 4,
        used_octets: 5,
        quota_octets_max: Some(6),
        mailboxes: 7,
        list_mod_seq: ModSeq(8),
        list_floor: ModSeq(9),
        list_changes: 10,
        quota_emails_max: None,
        rejects: 0,
        rejects_octets: 0,
    };
    fixtures.older("counters", &counters);
    fixtures.older("counters.2", &Counters { quota_emails_max: Some(11), ..counters.clone() });
    fixtures.check("counters.3", &Counters { rejects: 300, rejects_octets: 70_000, ..counters });
    let mailbox = MailboxRecord {
        name: "Entwürfe".into(),
        role: Some(Role::Drafts),
        uid_validity: UidValidity(1_700_000_000),
        uid_next: Uid(1000),
        emails: 900,
        unseen: 10,
        deleted: 1,
        octets: 1 << 33,
        mod_seq: ModSeq(77),
        change_floor: ModSeq(5),
        changes: 6,
    };
    fixtures.check("mailbox", &mailbox);
    fixtures.check("mailbox.outbox", &MailboxRecord { role: Some(Role::Outbox), ..mailbox.clone() });
    fixtures.check("mailbox.rejects", &MailboxRecord { role: Some(Role::Rejects), ..mailbox.clone() });
    fixtures.check("mailbox_name", &NameRecord(MailboxId(300)));
    fixtures.check("mailbox_role", &RoleRecord(MailboxId(300)));
    fixtures.check("grant", &GrantRecord(Rights::parse("lrtea").unwrap()));
    fixtures.check("annotation", &AnnotationRecord(b"a\0b".to_vec()));
    fixtures.check("server_annotation", &ServerAnnotationRecord(b"x".to_vec()));
    fixtures.check("lesson", &LessonRecord { ham: 300, spam: 2 });
    fixtures.check("server_lesson", &ServerLessonRecord(LessonRecord { ham: 1, spam: 70_000 }));
    fixtures.check("taught", &TaughtRecord { spam: true });
    let ban = BanRecord { scope: BanScope::SignIn, since: now(), until: Some(now()), reason: "scan".into(), times: 2 };
    fixtures.check("ban", &ban);
    fixtures.check("reputation", &ReputationRecord { subject: u64::MAX, ham: 1_500, spam: 70_000, at: now() });
    fixtures.check("traffic", &TrafficRecord(Traffic { messages: 1, recipients: 300, strangers: 2, failed: 70_000 }));
    let limits = SendingLimits { recipients_per_hour: Some(5), strangers_per_day: Some(0), ..SendingLimits::default() };
    let sending = Sending { limits, held: Some(now()), reason: "rate".into(), approved_until: Some(now()) };
    fixtures.older("sending", &sending);
    let limits = SendingLimits { messages_per_hour: Some(300), messages_per_day: Some(0), ..limits };
    fixtures.check("sending.messages", &Sending { limits, ..sending });
    let greeting = Greeting { first: now(), passed: Some(now()) };
    fixtures.check("greeting", &GreetingRecord { hash: u64::MAX, greeting });
    fixtures.check("origin", &OriginRecord { subjects: vec![1, u64::MAX], at: now() });
    fixtures.check("correspondent", &CorrespondentRecord { name: "bob@example.org".into(), last: now() });
    fixtures.check("keyword", &KeywordRecord(Keyword::parse("$Forwarded").unwrap()));
}

fn messages(fixtures: &mut Fixtures) {
    let message = MessageRecord {
        email: EmailId(1000),
        thread: ThreadId(999),
        flags: flags("\\Seen \\Flagged $Forwarded Work"),
        mod_seq: ModSeq(123_456),
        came: ModSeq(123_000),
        octets: 44_000,
        internal_date: now(),
        saved: now(),
        blob: BlobHash([0xab; 32]),
        heads: Digest::of(b"Subject: Lunch\r\n\r\n").grams.heads,
    };
    fixtures.check("message.heads", &message);
    fixtures.older("message", &MessageRecord { heads: Heads::default(), ..message });
    let email = EmailRecord {
        blob: BlobHash([0xab; 32]),
        octets: 44_000,
        thread: ThreadId(999),
        thread_ids: vec![1, u64::MAX],
        places: vec![(MailboxId(1), Uid(5)), (MailboxId(300), Uid(70_000))],
    };
    fixtures.check("email", &email);
    fixtures.check("thread", &ThreadRecord(vec![Link { subject: u64::MAX, thread: ThreadId(3), emails: 2 }]));
    fixtures.check("change.flags", &ChangeRecord::Flags("1:3,9".parse().unwrap()));
    fixtures.check("change.vanished", &ChangeRecord::Vanished("1,300:70000".parse().unwrap()));
    fixtures.check("change.destroyed", &ChangeRecord::Destroyed(vec![EmailId(1), EmailId(1000)]));
    let change = |viewer| AnnotationChange { mailbox: MailboxId(2), viewer, entry: "/private/comment".into() };
    fixtures.check("change.annotation", &ChangeRecord::Annotation(change(Some(AccountId(300)))));
    fixtures.check("change.annotation.shared", &ChangeRecord::Annotation(change(None)));
    fixtures.check("change.mailboxes", &ChangeRecord::Mailboxes(vec![MailboxId(2)]));
}

fn queue(fixtures: &mut Fixtures) {
    let recipient = Recipient { address: address("x@y.example"), notify: Some(Notify::NEVER), original: Some("rfc822;o@y.example".into()) };
    let states = [
        RecipientState::Open { attempts: 3, next: now(), delay_reported: true, last: Some("451 4.3.0 later".into()) },
        RecipientState::Done(Final::Delivered { at: now(), host: "mx.y.example".into() }),
        RecipientState::Done(Final::Failed { at: now(), status: EnhancedStatus::new(5, 1, 1), reason: "no such user".into() }),
        RecipientState::Done(Final::Dropped { at: now() }),
    ];
    let (receipt, mailbox) = (ReceiptId(u64::MAX - 1), MailboxId(7));
    let record = OutboxRecord { receipt, mailbox, state: OutboxState::Withheld, failed: true, added_octets: 300 };
    fixtures.check("outbox", &record);
    fixtures.check("outbox.waiting", &OutboxRecord { state: OutboxState::Waiting, ..record.clone() });
    fixtures.check("outbox.released", &OutboxRecord { state: OutboxState::Released, ..record });
    fixtures.check("outbox_link", &OutboxLink { account: AccountId(300), email: EmailId(1000) });
    fixtures.check("hold", &HoldRecord { seconds: 3600 });
    let message = QueueMessage {
        receipt: ReceiptId(u64::MAX - 1),
        source: Source::Submission,
        reverse_path: ReversePath(Some(address("ann@example.org"))),
        ret: Some(Ret::Headers),
        envelope_id: Some("e+1".into()),
        body: BodyType::EightBitMime,
        smtputf8: true,
        blob: BlobHash([0xcd; 32]),
        skip_octets: 40,
        octets: 44_000,
        accepted: now(),
        expires: now(),
        held: true,
        account: Some(AccountId(300)),
        recipients: states.map(|state| QueueRecipient { recipient: recipient.clone(), state }).to_vec(),
        tls: TlsDemand::ByPolicy,
        terms: Terms::default(),
        return_paths: BTreeMap::new(),
        held_by: None,
        release_request: None,
    };
    fixtures.older("queue", &message);
    let deliver_by = Some(DeliverBy { at: now(), late: Late::Return, trace: true });
    let terms = Terms { priority: Priority::new(-4).unwrap(), hold_until: Some(now()), deliver_by };
    let message = QueueMessage { tls: TlsDemand::Required, terms, ..message };
    fixtures.older("queue.2", &message);
    let (return_paths, release_request) = ([(1, address("srs0=x@example.org"))].into(), Some("for;3600".to_owned()));
    fixtures.check("queue.3", &QueueMessage { return_paths, held_by: Some(300), release_request, ..message });
    fixtures.check("long_sender", &LongSender { address: address("x@y.example"), last: now() });
    fixtures.check(
        "suppression",
        &Suppression { address: address("x@y.example"), failures: 2, last: now(), until: Some(now()), reason: "no".into() },
    );
    let detour = Detour { since: now(), next_probe: now(), probes: 3, host: "mx.y.example".into(), reason: "554 no".into() };
    fixtures.check("detour", &detour);
    fixtures.check("sent", &Sent(70_000));
    fixtures.check("suspension", &Suspension { since: now(), why: "maintenance".into() });
    let (sender, recipient) = (Some("ann@example.org".into()), Some("y.example".into()));
    let rule = HoldRule { number: 300, account: Some(AccountId(300)), sender, recipient, created: now(), why: "bulk".into() };
    fixtures.check("hold_rule", &rule);
    fixtures.check("sts_policy", &StsPolicy { id: "1".into(), text: "mode: none".into(), fetched: now(), expires: now() });
    fixtures.check("tls_result", &TlsResult("{}".into()));
    fixtures.check("tls_report", &TlsReport("{}".into()));
    fixtures.check("dmarc_row", &DmarcRow { row: "{}".into(), messages: 300 });
    fixtures.check("dmarc_day", &DmarcDay { policy: "{}".into(), rows: 2 });
    fixtures.check("dmarc_report", &DmarcReport("{}".into()));
    fixtures.check("failure_report", &FailureReport("{}".into()));
}

fn answers() -> Recorded {
    let mut answers = Recorded::default();
    for (question, answer) in [
        (Question::Txt("a.example".into()), Answer::Txt(vec![b"v=spf1".to_vec()])),
        (Question::A("a.example".into()), Answer::Addresses(vec![[192, 0, 2, 1].into()])),
        (Question::Aaaa("a.example".into()), Answer::NoData),
        (Question::Mx("a.example".into()), Answer::Mx(vec![(10, "mx.example".into())])),
        (Question::Ptr([192, 0, 2, 1].into()), Answer::Names(vec!["mx.example".into()])),
        (Question::Txt("b.example".into()), Answer::NoName),
        (Question::Txt("c.example".into()), Answer::Failed("SERVFAIL".into())),
    ] {
        answers.put(question, answer);
    }
    answers
}

fn events(fixtures: &mut Fixtures) {
    let recipient = address("x@y.example");
    let status = EnhancedStatus::new(4, 7, 1);
    let events = [
        Event::Accepted {
            source: Source::Mx,
            peer: Some([192, 0, 2, 1].into()),
            helo: "mx.example".into(),
            tls: Some("TLS1.3".into()),
            account: Some(AccountId(1)),
            reverse_path: ReversePath(None),
            message_id: Some("1@x".into()),
            octets: 5,
        },
        Event::Resolved { recipient: recipient.clone(), targets: vec!["account 1".into()] },
        Event::Refused { recipient: recipient.clone(), code: 550, status, text: "no".into() },
        Event::Delivered { recipient: recipient.clone(), account: AccountId(1), mailbox: MailboxId(2), email: EmailId(3), uid: Uid(4) },
        Event::Queued { recipient: recipient.clone() },
        Event::Attempted {
            recipient: recipient.clone(),
            host: "mx".into(),
            address: Some("2001:db8::1".parse().unwrap()),
            tls: None,
            reply: "250 ok".into(),
            code: Some(250),
            status: Some(status),
            millis: 12,
        },
        Event::Relayed { recipient: recipient.clone(), host: "mx".into() },
        Event::Deferred { recipient: recipient.clone(), until: now(), reason: "busy".into() },
        Event::Failed { recipient: recipient.clone(), status, reason: "no".into() },
        Event::Reported { action: "failed".into(), to: recipient.clone(), receipt: ReceiptId(9) },
        Event::Discarded { recipient: recipient.clone(), reason: "NOTIFY=NEVER".into() },
        Event::Handled { action: "hold".into(), recipient: Some(recipient) },
    ];
    let entries = events.map(|event| TrailEntry { at: now(), event });
    fixtures.check("trail", &TrailRecord::Entries(entries.to_vec()));
    let event = Event::Authenticated { results: "mx.example; spf=pass".into(), asked: "none".into(), answers: answers() };
    fixtures.check("trail.authenticated", &TrailRecord::Entries(vec![TrailEntry { at: now(), event }]));
    let reasons = vec![(500, "program: the file \"a.exe\" is a program".into())];
    let telling = vec![("+4.20".into(), "word:free".into())];
    let event = Event::Judged { account: AccountId(300), is_junk: true, score: 720, reasons, telling };
    fixtures.check("trail.judged", &TrailRecord::Entries(vec![TrailEntry { at: now(), event }]));
    let (to, reason) = (address("z@y.example"), "why".to_owned());
    let recipient = address("x@example.org");
    let forwarded = Event::Forwarded {
        recipient: recipient.clone(),
        to: to.clone(),
        return_path: ReversePath(Some(address("srs0=a@example.org"))),
        reason: reason.clone(),
    };
    let entries = [
        forwarded,
        Event::NotForwarded { recipient: recipient.clone(), to, reason: reason.clone() },
        Event::Classified { recipient: recipient.clone(), class: "bad-mailbox".into() },
        Event::Returned {
            recipient: recipient.clone(),
            receipt: ReceiptId(9),
            status: Some(status),
            class: "bad-mailbox".into(),
            reason: reason.clone(),
        },
        Event::Detoured { recipient, relay: "relay.example:587".into(), reason },
    ];
    fixtures.check("trail.routes", &TrailRecord::Entries(entries.map(|event| TrailEntry { at: now(), event }).to_vec()));
    let event = Event::Advised { by: "rspamd".into(), decision: "accept".into(), changes: vec!["add header X: y".into()], millis: 5 };
    fixtures.check("trail.advised", &TrailRecord::Entries(vec![TrailEntry { at: now(), event }]));
    let account = AccountId(300);
    let events = [
        Event::Held { until: now(), account, mailbox: MailboxId(7), email: EmailId(1000), uid: Uid(5) },
        Event::Released { account },
        Event::Withdrawn { account },
    ];
    fixtures.check("trail.outbox", &TrailRecord::Entries(events.map(|event| TrailEntry { at: now(), event }).to_vec()));
    let rejected = Event::Rejected {
        source: Source::Mx,
        peer: Some([192, 0, 2, 1].into()),
        helo: "mx.example".into(),
        tls: None,
        account: None,
        reverse_path: ReversePath(None),
        recipients: vec![address("x@y.example")],
        message_id: Some("1@x".into()),
        octets: 5,
        code: 550,
        status: EnhancedStatus::new(5, 7, 1),
        text: "no".into(),
    };
    fixtures.check("trail.rejected", &TrailRecord::Entries(vec![TrailEntry { at: now(), event: rejected }]));
    let grounds = Event::Grounds { stage: "filter".into(), account: Some(AccountId(300)), facts: "{}".into() };
    fixtures.check("trail.grounds", &TrailRecord::Entries(vec![TrailEntry { at: now(), event: grounds }]));
    let state = DkimKeyState::Signing;
    let (created, changed) = (now(), now());
    let key = DkimKey { algorithm: "rsa-sha256".into(), pkcs8: vec![1, 2], record: "v=DKIM1".into(), state, created, changed };
    fixtures.older("dkim_key", &key);
    fixtures.check("dkim_key.2", &key);
    fixtures.check("trail.message_id", &TrailRecord::MessageId(u64::MAX));
}

fn rejects(fixtures: &mut Fixtures) {
    let (account, mailbox, email, uid) = (AccountId(300), MailboxId(7), EmailId(1000), Uid(5));
    let events = [
        Event::Kept { account, mailbox, email, uid, until: now(), again: true },
        Event::NotKept { account: Some(account), reason: "too large".into() },
        Event::Readmitted { account, mailbox, email, uid },
    ];
    fixtures.check("trail.rejects", &TrailRecord::Entries(events.map(|event| TrailEntry { at: now(), event }).to_vec()));
    let (receipt, known_by, reply) = (ReceiptId(u64::MAX - 1), vec![1, u64::MAX], "550 5.7.1 Taken for spam".to_owned());
    fixtures.check("reject", &RejectRecord { receipt, mailbox, at: now(), octets: 70_000, known_by, reply, counted: true });
    fixtures.check("reject_key", &RejectKey(email));
    fixtures.check("reject_link", &RejectLink(email));
}
