//! What the model's operations cost: `cargo run --release -p postrider-store --example cost [MESSAGES [DIRECTORY]]`.
//!
//! Without a directory the store is in memory. Each line is the mean of one operation, 64 of them in a
//! transaction, so that the disk's sync is shared as it is under load. CPU time of all threads is
//! counted where the system tells it (Linux), so that a busy machine does not matter.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, clippy::indexing_slicing, reason = "a measuring tool")]

use mail::digest::Digest;
use mail::{AccountId, Address, Flag, Flags, MailboxId, ModSeq, Role, Timestamp, Uid, UidSet};
use store::auth::Credentials;
use store::{Body, FlagChange, NewAccount, NewEmail, Result, Settings, Store, WriteTx};

/// A moment in CPU time.
struct Spent(f64);

impl Spent {
    fn now() -> Self {
        let of_thread = |task: std::fs::DirEntry| {
            let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
            text.split_whitespace().next()?.parse::<f64>().ok()
        };
        let tasks = std::fs::read_dir("/proc/self/task").expect("Linux");
        Self(tasks.flatten().filter_map(of_thread).sum())
    }

    fn micros(&self) -> f64 {
        (Self::now().0 - self.0) / 1e3
    }
}

/// Operations in one transaction.
const BATCH: u32 = 64;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let messages: u32 = arguments.next().map_or(100_000, |text| text.parse().expect("a number of messages"));
    let store = match arguments.next() {
        Some(directory) => Store::open(&Settings::at(directory)).expect("a store"),
        None => Store::memory(),
    };
    let now = Timestamp::from_seconds(1_700_000_000);
    let (account, inbox, archive) = store
        .write_blocking(move |tx| {
            let address = Address::parse("ann@example.org").unwrap();
            tx.domain_add(address.domain(), now)?;
            let new = NewAccount { address, name: String::new(), credentials: Credentials::none(), quota_octets_max: None };
            let account = tx.account_create(new, now)?;
            let mailbox = |tx: &WriteTx, role| Ok(tx.mailbox_by_role(account, role)?.unwrap().id);
            Ok((account, mailbox(tx, Role::Inbox)?, mailbox(tx, Role::Archive)?))
        })
        .unwrap();
    fill(&store, account, inbox, messages, now);
    batched(&store, "flags_change of one message", messages, move |tx, number| {
        let change = FlagChange::Add([Flag::Seen].into_iter().collect());
        tx.flags_change(account, inbox, &one(number), &change, None).map(|_| ())
    });
    batched(&store, "email_copy of one message", messages / 10, move |tx, number| {
        tx.email_copy(account, inbox, &one(number), archive, now).map(|_| ())
    });
    batched(&store, "email_move of one message", messages / 10, move |tx, number| {
        tx.email_move(account, archive, &one(number), inbox, now).map(|_| ())
    });
    read(&store, "uids of the mailbox", move |tx| Ok(tx.uids(account, inbox)?.len()));
    read(&store, "messages of the mailbox, 500 at a time", move |tx| {
        let (mut from, mut count) = (Uid(1), 0);
        loop {
            let some = tx.messages(account, inbox, from, Uid(u32::MAX), 500)?;
            let Some(last) = some.last() else { return Ok(count) };
            (from, count) = (last.uid.next(), count + u32::try_from(some.len()).unwrap());
        }
    });
    read(&store, "1000 digests", move |tx| {
        let some = tx.messages(account, inbox, Uid(1), Uid(u32::MAX), 1000)?;
        some.iter().try_for_each(|message| tx.digest(account, message.email).map(|_| ()))?;
        Ok(0)
    });
    read(&store, "changes, nothing new", move |tx| {
        let now = tx.mod_seq(account)?;
        Ok(u32::from(tx.changes(account, inbox, now)?.complete))
    });
    read(&store, "changes, the last five", move |tx| {
        let since = ModSeq(tx.mod_seq(account)?.0 - 5);
        Ok(u32::try_from(tx.changes(account, inbox, since)?.messages.len()).unwrap())
    });
    all_flagged(&store, account, inbox);
    let start = Spent::now();
    let report = store::check(&store, store::check::Bodies::Read, |_| {}).unwrap();
    println!("{:>12.1} ms  check, with bodies: {} findings", start.micros() / 1e3, report.findings.len());
    batched(&store, "messages_destroy of one message", messages / 2, move |tx, number| {
        tx.messages_destroy(account, inbox, &one(number)).map(|_| ())
    });
    let start = Spent::now();
    store.write_blocking(move |tx| tx.account_remove(account)).unwrap();
    println!("{:>12.1} ms  account_remove", start.micros() / 1e3);
}

fn one(number: u32) -> UidSet {
    UidSet::range(Uid(number + 1), Uid(number + 1))
}

fn fill(store: &Store, account: AccountId, inbox: MailboxId, messages: u32, now: Timestamp) {
    let made: Vec<_> = (0..messages)
        .map(|number| {
            let text = format!(
                "From: Ann <ann@example.org>\r\nTo: bob@example.org\r\nSubject: message {number}\r\nMessage-ID: <{number}@example.org>\r\n\r\nText.\r\n"
            );
            (Body::new(text.as_bytes()), Digest::of(text.as_bytes()))
        })
        .collect();
    let made = std::sync::Arc::new(made);
    let add = move |tx: &mut WriteTx, number: u32| {
        let (body, digest) = &made[number as usize];
        let new = NewEmail { body, digest, flags: Flags::default(), internal_date: now, saved: now };
        tx.email_add(account, inbox, new).map(|_| ())
    };
    batched(store, "email_add", messages, add);
}

fn batched(store: &Store, name: &str, count: u32, operation: impl Fn(&mut WriteTx, u32) -> Result<()> + Clone + Send + 'static) {
    let start = Spent::now();
    for first in (0..count).step_by(BATCH as usize) {
        let operation = operation.clone();
        store.write_blocking(move |tx| (first..(first + BATCH).min(count)).try_for_each(|number| operation(tx, number))).unwrap();
    }
    println!("{:>12.1} µs  {name}", start.micros() / f64::from(count));
}

fn read(store: &Store, name: &str, f: impl Fn(&store::ReadTx) -> Result<u32> + Clone + Send + 'static) {
    let start = Spent::now();
    let mut count = 0;
    for _ in 0..10 {
        count = store.read_blocking(f.clone()).unwrap();
    }
    println!("{:>12.1} µs  {name} ({count})", start.micros() / 10.0);
}

fn all_flagged(store: &Store, account: AccountId, inbox: MailboxId) {
    let start = Spent::now();
    let all = UidSet::range(Uid(1), Uid(u32::MAX));
    let change = FlagChange::Add([Flag::Flagged].into_iter().collect());
    let changed = store.write_blocking(move |tx| Ok(tx.flags_change(account, inbox, &all, &change, None)?.changed.len())).unwrap();
    println!("{:>12.1} ms  flags_change of all ({changed})", start.micros() / 1e3);
}
