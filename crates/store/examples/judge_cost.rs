//! What it costs to judge a message, and to be taught one: `cargo run --profile ci -p postrider-store --example judge_cost -- MAIL [DIRECTORY]`.
//!
//! MAIL has one directory a group of messages, as for the filter's `quality`; those whose names begin with `spam` are moved
//! to Junk, the others to the Archive. Then every message is judged as if it came again. Without DIRECTORY the store is in
//! memory. Each line is the mean of one message, in CPU time of all threads, so that a busy machine does not matter.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, clippy::cast_precision_loss, reason = "a measuring tool")]

use filter::{Authenticity, Evidence, Features, Limits, judge};
use mail::digest::Digest;
use mail::{Address, Flags, Role, Timestamp, UidSet};
use store::auth::Credentials;
use store::{Body, NewAccount, NewEmail, Settings, Store, WriteTx};

/// CPU time of all threads, nanoseconds.
fn spent() -> f64 {
    let of_thread = |task: std::fs::DirEntry| {
        let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<f64>().ok()
    };
    std::fs::read_dir("/proc/self/task").expect("Linux").flatten().filter_map(of_thread).sum()
}

fn measured<T>(name: &str, count: usize, work: impl FnOnce() -> T) -> T {
    let before = spent();
    let made = work();
    println!("{:>10.1} µs  {name}", (spent() - before) / 1e3 / count as f64);
    made
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let messages = read(&arguments.next().expect("a directory of mail"));
    let store = arguments.next().map_or_else(Store::memory, |directory| Store::open(&Settings::at(directory)).expect("a store"));
    let (count, now) = (messages.len(), Timestamp::from_seconds(1_700_000_000));
    let account = store
        .write_blocking(move |tx| {
            let address = Address::parse("ann@example.org").unwrap();
            tx.domain_add(address.domain(), now)?;
            tx.account_create(NewAccount { address, name: String::new(), credentials: Credentials::none(), quota_octets_max: None }, now)
        })
        .unwrap();
    let octets: usize = messages.iter().map(|(_, octets)| octets.len()).sum();
    println!("{count} messages of {} octets each", octets / count.max(1));
    let digests: Vec<Digest> = measured("digest", count, || messages.iter().map(|(_, octets)| Digest::of(octets)).collect());
    let limits = Limits::default();
    let features: Vec<Features> = measured("features", count, || {
        messages.iter().zip(&digests).map(|((_, octets), digest)| Features::of(octets, digest, &limits)).collect()
    });
    println!(
        "{:>10.0}     features of a message",
        features.iter().map(|features| features.list.len()).sum::<usize>() as f64 / count as f64
    );
    let made: Vec<_> = messages.into_iter().zip(digests).collect();
    measured("added to the inbox and moved, which teaches", count, || {
        for ((is_spam, octets), digest) in made {
            let add = move |tx: &mut WriteTx| {
                let of = |role| Ok::<_, store::Error>(tx.mailbox_by_role(account, role)?.unwrap().id);
                let (inbox, to) = (of(Role::Inbox)?, of(if is_spam { Role::Junk } else { Role::Archive })?);
                let body = Body::new(&octets);
                let new = NewEmail { body: &body, digest: &digest, flags: Flags::default(), internal_date: now, saved: now };
                let uid = tx.email_add(account, inbox, new)?.uid;
                tx.email_move(account, inbox, &UidSet::range(uid, uid), to, now).map(|_| ())
            };
            store.write_blocking(add).unwrap();
        }
    });
    let (known, features) = measured("what is known, from the store", count, || {
        let read = move |tx: &store::ReadTx| {
            let known = features.iter().map(|features| tx.acquaintance(account, features)).collect::<store::Result<Vec<_>>>()?;
            Ok((known, features.clone()))
        };
        store.read_blocking(read).unwrap()
    });
    let junk = measured("verdict", count, || {
        let is_junk = |(features, known): &(&Features, &store::Acquaintance)| {
            let evidence = Evidence {
                features,
                authenticity: Authenticity::Unknown,
                server: &known.server,
                account: &known.account,
                is_correspondent: known.is_correspondent,
                is_reply: known.is_reply,
                imitated: known.imitated.as_deref(),
            };
            judge(&evidence, &filter::Settings::default()).score >= 500
        };
        features.iter().zip(&known).filter(is_junk).count()
    });
    println!("{junk:>10}     would go to Junk");
}

fn read(directory: &str) -> Vec<(bool, Vec<u8>)> {
    let mut found = Vec::new();
    for group in std::fs::read_dir(directory).unwrap().flatten().filter(|entry| entry.path().is_dir()) {
        let is_spam = group.file_name().to_string_lossy().starts_with("spam");
        for file in std::fs::read_dir(group.path()).unwrap().flatten().filter(|file| file.path().extension().is_some_and(|e| e == "txt")) {
            found.push((is_spam, std::fs::read(file.path()).unwrap()));
        }
    }
    found
}
