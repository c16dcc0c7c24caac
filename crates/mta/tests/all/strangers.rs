//! What is known of who brings a message: block lists, what was taught of senders, replies, spam traps, first contacts.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test: its purpose is to fail")]

use crate::context;
use filter::dnsbl::{Fitness, List, Of};
use mail::{AccountId, Address, Domain, Event, Recipient, ReversePath, Role as MailboxRole, Timestamp, Uid, UidSet};
use mta::Settings;
use mta::receive::{Context, Receiver};
use mta::settings::{Filter, FirstContact};
use net::FakeDns;
use smtp::Reply;
use smtp::server::{Answer, Ask, MailCommand, Role};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};
use store::auth::Credentials;
use store::{NewAccount, Store};
use wire::Handler;

const START: i64 = 1_700_000_000;
const ANN: AccountId = AccountId(1);

/// Seconds since 1970, set by the test.
struct Clock(Instant, AtomicI64);

impl net::Clock for Clock {
    fn now(&self) -> Instant {
        self.0
    }
    fn wall(&self) -> Timestamp {
        Timestamp::from_seconds(self.1.load(Ordering::Relaxed))
    }
}

struct Stage {
    store: Store,
    clock: Arc<Clock>,
    context: Arc<Context>,
}

fn domain(text: &str) -> Domain {
    Domain::parse(text).unwrap()
}

impl Stage {
    fn new(dns: FakeDns, change: impl FnOnce(&mut Filter)) -> Self {
        let store = Store::memory();
        let made = store.write_blocking(|tx| {
            tx.domain_add(&domain("ours.example"), Timestamp::from_seconds(START))?;
            let address = Address::parse("ann@ours.example").unwrap();
            let new = NewAccount { name: String::new(), address, credentials: Credentials::none(), quota_octets_max: None };
            tx.account_create(new, Timestamp::from_seconds(START))
        });
        made.unwrap();
        let clock = Arc::new(Clock(Instant::now(), AtomicI64::new(START)));
        let mut settings = Settings::new(domain("mx.ours.example"));
        change(&mut settings.receive.filter);
        let context = Arc::new(Context { clock: Arc::clone(&clock) as _, dns: Some(Arc::new(dns)), ..context::of(&store, settings) });
        Self { store, clock, context }
    }

    /// Brings a message of joe's; what each RCPT heard, and the end.
    async fn bring(&self, peer: &str, to: &[&str], header: &str) -> (Vec<u16>, Option<Reply>) {
        let mut receiver = Receiver::new(Arc::clone(&self.context), Role::Mx, peer.parse().unwrap());
        receiver.answer(Ask::Connect).await;
        receiver.answer(Ask::Helo { name: "mx.far.example".into(), esmtp: true, tls: None }).await;
        let mail = MailCommand::new(ReversePath(Some(Address::parse("joe@far.example").unwrap())));
        receiver.answer(Ask::Mail(mail)).await;
        let mut codes = Vec::new();
        for to in to {
            let Answer::Reply(reply) = receiver.answer(Ask::Rcpt(Recipient::new(Address::parse(to).unwrap()))).await else { panic!() };
            codes.push(reply.code);
        }
        if !codes.contains(&250) {
            return (codes, None);
        }
        let last = format!("From: joe@far.example\r\nDate: x\r\nMessage-ID: <m@far.example>\r\n{header}Subject: x\r\n\r\nHi\r\n");
        let Answer::Reply(reply) = receiver.answer(Ask::Data { last: last.into_bytes() }).await else { panic!() };
        (codes, Some(reply))
    }

    /// The verdict in the latest message of a mailbox.
    fn verdict(&self, role: MailboxRole) -> Option<String> {
        let read = self.store.read_blocking(move |tx| {
            let mailbox = tx.mailbox_by_role(ANN, role)?.unwrap();
            let Some(last) = tx.messages(ANN, mailbox.id, Uid(1), Uid(u32::MAX), 1000)?.pop() else { return Ok(None) };
            tx.blob_read(&last.blob, 0, usize::MAX).map(Some)
        });
        let octets = read.unwrap()?;
        mail::header::value(&octets, "X-Postrider-Verdict").map(|value| mail::header::unfold(value.as_bytes()).trim().to_owned())
    }

    fn later(&self, span: Duration) {
        self.clock.1.fetch_add(i64::try_from(span.as_secs()).unwrap(), Ordering::Relaxed);
    }

    fn events(&self, reply: &Reply) -> Vec<Event> {
        let receipt = reply.text.split(' ').next().unwrap().parse().unwrap();
        self.store.read_blocking(move |tx| tx.trail(receipt)).unwrap().into_iter().map(|entry| entry.event).collect()
    }
}

fn list(zone: &str, weight: i32) -> List {
    List { of: Of::Hosts, zone: zone.to_owned(), codes: Vec::new(), weight }
}

#[tokio::test]
async fn lists_are_asked_and_an_error_is_no_listing() {
    let dns = FakeDns::new()
        .with_address(&domain("1.2.0.192.bl.example"), "127.0.0.2".parse().unwrap())
        .with_address(&domain("1.2.0.192.broken.example"), "127.255.255.254".parse().unwrap())
        .with_address(&domain("2.2.0.192.wl.example"), "127.0.5.1".parse().unwrap());
    let stage =
        Stage::new(dns, |filter| filter.lists = vec![list("bl.example", 600), list("broken.example", 900), list("wl.example", -200)]);
    let (_, reply) = stage.bring("192.0.2.1", &["ann@ours.example"], "").await;
    let verdict = stage.verdict(MailboxRole::Junk).unwrap();
    assert!(verdict.contains("block-list=6.00") && !verdict.contains("9.00"), "{verdict}");
    let events = stage.events(&reply.unwrap());
    let said = events.iter().find_map(|event| match event {
        Event::Listed { standings, answers } => Some((standings.clone(), answers.len())),
        _ => None,
    });
    let (standings, answers) = said.expect("the trail tells of it");
    let words: Vec<_> = standings.iter().map(|(_, words)| words.split(':').next().unwrap()).collect();
    assert_eq!((words, answers), (vec!["listed", "error", "not listed"], 3));
    stage.bring("192.0.2.2", &["ann@ours.example"], "").await;
    assert!(stage.verdict(MailboxRole::Inbox).unwrap().contains("allow-list=-2.00"));
    stage.bring("127.0.0.1", &["ann@ours.example"], "").await;
    assert_eq!(stage.verdict(MailboxRole::Inbox), None, "this machine itself is not asked about");
}

#[tokio::test]
async fn who_brought_unwanted_mail_is_remembered() {
    let stage = Stage::new(FakeDns::new(), |_| ());
    stage.bring("192.0.2.1", &["ann@ours.example"], "").await;
    assert!(!stage.verdict(MailboxRole::Inbox).unwrap().contains("reputation"));
    let moved = stage.store.write_blocking(|tx| {
        let of = |role| tx.mailbox_by_role(ANN, role).map(|mailbox| mailbox.unwrap().id);
        let (inbox, junk) = (of(MailboxRole::Inbox)?, of(MailboxRole::Junk)?);
        tx.email_move(ANN, inbox, &UidSet::range(Uid(1), Uid(1)), junk, Timestamp::from_seconds(START))
    });
    moved.unwrap();
    stage.bring("192.0.2.1", &["ann@ours.example"], "").await;
    assert!(stage.verdict(MailboxRole::Inbox).unwrap().contains("reputation=1.00"), "{:?}", stage.verdict(MailboxRole::Inbox));
}

#[tokio::test]
async fn replies_to_what_the_reader_wrote_are_known() {
    let stage = Stage::new(FakeDns::new(), |_| ());
    stage.store.write_blocking(|tx| context::has_sent(tx, ANN, "mine@ours.example", Timestamp::from_seconds(START))).unwrap();
    for (header, want) in [("In-Reply-To: <mine@ours.example>\r\n", true), ("In-Reply-To: <other@ours.example>\r\n", false)] {
        stage.bring("192.0.2.1", &["ann@ours.example"], header).await;
        let verdict = stage.verdict(MailboxRole::Inbox).unwrap();
        assert_eq!(verdict.contains("reply=-2.00"), want, "{header}: {verdict}");
    }
}

#[tokio::test]
async fn traps_take_mail_keep_none_and_teach() {
    let stage = Stage::new(FakeDns::new(), |filter| filter.traps = vec![Address::parse("trap@ours.example").unwrap()]);
    let (codes, reply) = stage.bring("192.0.2.1", &["Trap@ours.example"], "").await;
    assert_eq!(codes, [250]);
    let events = stage.events(&reply.unwrap());
    assert!(matches!(events.as_slice(), [Event::Accepted { .. }, Event::Discarded { .. }]), "{events:?}");
    let (codes, _) = stage.bring("192.0.2.1", &["trap@ours.example", "ann@ours.example"], "").await;
    assert_eq!(codes, [250, 250]);
    let verdict = stage.verdict(MailboxRole::Junk).unwrap();
    assert!(verdict.contains("trap=4.00") && verdict.contains("reputation="), "{verdict}");
    assert_eq!(stage.bring("127.0.0.1", &["trap@ours.example"], "").await.0, [550], "for this machine itself it is no address");
}

#[tokio::test]
async fn first_contacts_come_again_and_known_senders_need_not() {
    let minutes = |n: u64| Duration::from_secs(60 * n);
    let stage = Stage::new(FakeDns::new(), |filter| filter.first_contact = FirstContact::Grey(minutes(5)));
    let codes = async || stage.bring("192.0.2.1", &["ann@ours.example"], "").await.0;
    assert_eq!(codes().await, [451]);
    stage.later(minutes(2));
    assert_eq!(codes().await, [451]);
    stage.later(minutes(4));
    assert_eq!(codes().await, [250]);
    assert_eq!(stage.bring("192.0.2.99", &["ann@ours.example"], "").await.0, [250], "the same network");
    assert_eq!(stage.bring("198.51.100.1", &["ann@ours.example"], "").await.0, [451]);
    let joe = Address::parse("joe@far.example").unwrap();
    stage.store.write_blocking(move |tx| tx.correspondent_note(ANN, &joe, Timestamp::from_seconds(START))).unwrap();
    assert_eq!(stage.bring("203.0.113.1", &["ann@ours.example"], "").await.0, [250], "she has written to him");
}

#[tokio::test]
async fn lists_of_domains_are_asked_about_links_and_who_stands_for_a_message() {
    let dns = FakeDns::new()
        .with_address(&domain("shop.example.dbl.example"), "127.0.1.2".parse().unwrap())
        .with_address(&domain("far.example.dbl.example"), "127.255.255.254".parse().unwrap())
        .with_address(&domain("1.2.0.192.dbl.example"), "127.0.0.2".parse().unwrap());
    let domains = |zone, weight| List { of: Of::Domains, ..list(zone, weight) };
    let stage = Stage::new(dns, |filter| filter.lists = vec![domains("dbl.example", 600)]);
    let mail = "List-Id: x\r\nX-Y: http://no.example/\r\nSubject: x\r\n\r\nSee http://www.shop.example/a and https://shop.example/b, http://192.0.2.9/\r\n.";
    let (_, reply) = stage.bring("192.0.2.1", &["ann@ours.example"], mail).await;
    let verdict = stage.verdict(MailboxRole::Junk).unwrap();
    assert!(verdict.contains("block-list=6.00"), "{verdict}");
    let events = stage.events(&reply.unwrap());
    let said = events.iter().find_map(|event| match event {
        Event::Listed { standings, answers } => Some((standings.clone(), answers.len())),
        _ => None,
    });
    let (standings, answers) = said.expect("the trail tells of it");
    assert_eq!((standings.len(), answers), (1, 2), "each registered domain once, addresses never: {standings:?}");
    let words = &standings[0].1;
    assert!(words.contains("listed: 127.0.1.2 (shop.example)") && words.contains("public resolvers"), "{words}");
}

#[tokio::test]
async fn a_list_that_lists_everything_counts_for_nothing() {
    let dns = FakeDns::new().with_address(&domain("1.2.0.192.bl.example"), "127.0.0.2".parse().unwrap());
    let stage = Stage::new(dns, |filter| filter.lists = vec![list("bl.example", 600)]);
    stage.context.counters.left_alone.note(&[(list("bl.example", 600), Fitness::ListsAll)]);
    stage.bring("192.0.2.1", &["ann@ours.example"], "").await;
    assert!(!stage.verdict(MailboxRole::Inbox).unwrap().contains("block-list"));
    stage.context.counters.left_alone.note(&[(list("bl.example", 600), Fitness::Fit { ipv6: false })]);
    stage.bring("192.0.2.1", &["ann@ours.example"], "").await;
    assert!(stage.verdict(MailboxRole::Junk).unwrap().contains("block-list=6.00"));
}

#[tokio::test(start_paused = true)]
async fn strangers_are_answered_later_and_the_known_at_once() {
    let wait = Duration::from_secs(15);
    let dns = FakeDns::new().with_address(&domain("7.2.0.192.wl.example"), "127.0.5.1".parse().unwrap());
    let stage = Stage::new(dns, |filter| {
        filter.first_contact = FirstContact::Slow(wait);
        filter.lists = vec![list("wl.example", -100)];
    });
    let took = async |peer: &str| {
        let before = tokio::time::Instant::now();
        let (codes, reply) = stage.bring(peer, &["ann@ours.example"], "").await;
        assert_eq!((codes, reply.unwrap().code), (vec![250], 250), "{peer}");
        before.elapsed()
    };
    let short = Duration::from_secs(2);
    let slow = took("203.0.113.5").await;
    assert!(slow >= wait && slow < wait + short, "{slow:?}");
    assert!(took("203.0.113.5").await >= wait, "waiting once does not make it known");
    assert!(took("192.0.2.7").await < short, "an allow list vouches for it");
    assert!(took("127.0.0.1").await < short, "this machine");
    // People wanted what came from there.
    let moved = stage.store.write_blocking(|tx| {
        let of = |role| tx.mailbox_by_role(ANN, role).map(|mailbox| mailbox.unwrap().id);
        let (inbox, archive) = (of(MailboxRole::Inbox)?, of(MailboxRole::Archive)?);
        tx.email_move(ANN, inbox, &UidSet::range(Uid(1), Uid(1)), archive, Timestamp::from_seconds(START))
    });
    assert_eq!(moved.unwrap().len(), 1);
    assert!(took("203.0.113.5").await < short, "its mail was wanted");
    assert!(took("198.51.100.1").await >= wait);
    let joe = Address::parse("joe@far.example").unwrap();
    stage.store.write_blocking(move |tx| tx.correspondent_note(ANN, &joe, Timestamp::from_seconds(START))).unwrap();
    assert!(took("198.51.100.1").await < short, "she has written to him");
}
