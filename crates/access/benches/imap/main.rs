//! The commands that meet every message, on a mailbox of 100,000: `cargo bench -p postrider-access`.
//!
//! Through the session and its handler over a store in a temporary directory; nothing is sent anywhere.
//! `POSTRIDER_BENCH_MESSAGES` sets another size, `cargo bench -p postrider-access -- search` takes some. Filling the
//! mailbox takes about half a minute. A measurement for people, not a test.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a measuring tool")]

mod post;
mod stage;

use divan::Bencher;
use divan::counter::ItemsCount;
use stage::Client;

fn main() {
    stage::MAILBOX.fill();
    divan::main();
}

/// Times a command on the whole mailbox.
fn whole(bencher: Bencher<'_, '_>, command: &str) {
    let mut client = Client::in_inbox();
    bencher.counter(ItemsCount::new(stage::MAILBOX.messages)).bench_local(|| client.run(command));
}

/// Times a command that should not care how large the mailbox is.
fn small(bencher: Bencher<'_, '_>, command: &str) {
    let mut client = Client::in_inbox();
    bencher.bench_local(|| client.run(command));
}

macro_rules! whole {
    ($($name:ident: $command:literal;)*) => { $(
        #[divan::bench(sample_count = 5, sample_size = 1)]
        fn $name(bencher: Bencher<'_, '_>) {
            whole(bencher, $command);
        }
    )* };
}

macro_rules! small {
    ($($name:ident: $command:literal;)*) => { $(
        #[divan::bench(sample_count = 50)]
        fn $name(bencher: Bencher<'_, '_>) {
            small(bencher, $command);
        }
    )* };
}

whole! {
    fetch_flags: "FETCH 1:* (FLAGS)";
    fetch_envelopes: "FETCH 1:* (UID FLAGS ENVELOPE)";
    fetch_as_thunderbird: "UID FETCH 1:* (UID RFC822.SIZE FLAGS BODY.PEEK[HEADER.FIELDS (From To Cc Bcc Subject Date Message-ID Priority X-Priority References Newsgroups In-Reply-To Content-Type Reply-To)])";
    search_unseen: "SEARCH UNSEEN";
    search_subject: "SEARCH SUBJECT invoice";
    search_subject_rare: "SEARCH SUBJECT zeppelin";
    search_from: "SEARCH FROM person17@";
    search_text_rare: "SEARCH TEXT zeppelin";
    search_body_rare: "SEARCH BODY zeppelin";
    search_two_letters: "SEARCH SUBJECT qx";
    search_fuzzy_subject: "SEARCH RETURN (ALL RELEVANCY) FUZZY SUBJECT zepelin";
    sort_by_date: "SORT (DATE) UTF-8 ALL";
    sort_by_subject: "SORT (SUBJECT) UTF-8 ALL";
    sort_by_arrival: "SORT (REVERSE ARRIVAL) UTF-8 ALL";
    thread_references: "THREAD REFERENCES UTF-8 ALL";
}

small! {
    select: "SELECT INBOX";
    noop: "NOOP";
    fetch_one_envelope: "FETCH 500 (UID FLAGS ENVELOPE)";
    fetch_one_body: "UID FETCH 500 BODY.PEEK[]";
    status: "STATUS INBOX (MESSAGES UNSEEN UIDNEXT)";
}

/// One flag set and taken back, each on disk.
#[divan::bench(sample_count = 50)]
fn store_one_flag(bencher: Bencher<'_, '_>) {
    let mut client = Client::in_inbox();
    let mut flagged = false;
    bencher.bench_local(|| {
        flagged = !flagged;
        client.run(if flagged { "STORE 500 +FLAGS (\\Flagged)" } else { "STORE 500 -FLAGS (\\Flagged)" })
    });
}

/// One message comes, on disk, and 50 sessions that have the mailbox open hear of it.
#[divan::bench(sample_count = 20)]
fn delivery_with_50_watchers(bencher: Bencher<'_, '_>) {
    let mut watchers: Vec<_> = (0..50).map(|_| Client::in_inbox()).collect();
    bencher.bench_local(|| {
        stage::MAILBOX.deliver_one();
        watchers.iter_mut().map(|client| client.run("NOOP")).sum::<usize>()
    });
}
