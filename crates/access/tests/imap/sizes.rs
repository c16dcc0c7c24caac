//! What an idle connection costs.

use super::stage::World;
use access::imap::serve::Server;
use access::imap::{Ask, Session};
use std::time::Instant;
use wire::Handler;

#[test]
fn an_idle_connection_is_small() {
    let mut world = World::new();
    (0..1000).for_each(|_| world.deliver("INBOX", b"Subject: x\r\n\r\nx"));
    let mut client = world.ready(Instant::now(), "INBOX");
    client.send(Instant::now(), b"a1 IDLE\r\n");
    let server = client.server_mut();
    let answering = size_of_val(&server.answer(Ask::Continue));
    let pushing = size_of_val(&server.pushed());
    let sizes = [size_of::<Session>(), size_of::<Server>(), answering, pushing];
    println!("session {}, server {}, answer {}, pushed {}", sizes[0], sizes[1], sizes[2], sizes[3]);
    // What hangs on them (nonce, view, subscription) is a few hundred octets more.
    assert!(sizes.iter().sum::<usize>() < 2048, "{sizes:?}");
}

/// What a delivery costs those who watch, in mailboxes of two sizes: `--ignored --nocapture`.
#[test]
#[ignore = "it measures"]
fn watchers_cost_the_same_in_a_large_mailbox() {
    for messages in [600, 60_000] {
        let now = Instant::now();
        let mut world = World::new();
        (0..10).for_each(|_| world.deliver("Sent", b"Subject: x\r\n\r\nx"));
        let mut filler = world.ready(now, "Sent");
        while world.uids("Sent").len() < messages {
            let half = world.uids("Sent").len().min(messages - world.uids("Sent").len());
            filler.send(now, format!("a UID COPY 1:{half} Sent\r\n").as_bytes());
        }
        let mut watchers: Vec<_> = (0..50).map(|_| world.ready(now, "Sent")).collect();
        for (number, watcher) in watchers.iter_mut().enumerate() {
            let command =
                if number % 2 == 0 { "a IDLE" } else { "a NOTIFY SET (selected (MessageNew (UID FLAGS) MessageExpunge FlagChange))" };
            watcher.send(now, format!("{command}\r\n").as_bytes());
            watcher.heard();
        }
        let mut spent = std::time::Duration::ZERO;
        for _ in 0..20 {
            world.deliver("Sent", b"Subject: x\r\n\r\nx");
            let start = Instant::now();
            for watcher in &mut watchers {
                watcher.pump(now);
                assert!(!watcher.heard().is_empty());
            }
            spent += start.elapsed();
        }
        println!("{messages} messages: {:?} for a delivery to 50 watchers", spent / 20);
    }
}
