//! Bounds of commands that look at many messages or bring many.

use super::stage::{Client, World};
use std::time::Instant;

fn say(client: &mut Client, command: &str) -> String {
    client.send(Instant::now(), command.as_bytes());
    String::from_utf8(client.heard()).unwrap()
}

/// 1,300 messages, whose subjects and references are known.
fn world() -> World {
    let world = World::new();
    for n in 0..1300 {
        // 7 has no divisor in common with 1,300: every subject once, in another order.
        let subject = n * 7 % 1300;
        let message = format!("Message-ID: <{n}@x>\r\nIn-Reply-To: <{}@x>\r\nSubject: {subject:04}\r\n\r\n", n - n % 100);
        world.deliver("INBOX", message.as_bytes());
    }
    world
}

#[test]
fn what_takes_several_reads_is_whole() {
    let mut client = world().ready(Instant::now(), "INBOX");
    let said = say(&mut client, "a1 SORT (SUBJECT) UTF-8 ALL\r\n");
    let mut by_subject: Vec<usize> = (0..1300).collect();
    by_subject.sort_by_key(|n| n * 7 % 1300);
    let want: Vec<_> = by_subject.iter().map(|n| (n + 1).to_string()).collect();
    assert_eq!(said, format!("* SORT {}\r\na1 OK Done\r\n", want.join(" ")));
    let said = say(&mut client, "a2 SORT RETURN (ALL COUNT) (SUBJECT) UTF-8 2:1299\r\n");
    assert!(said.contains(" COUNT 1298 ALL 744,187,"), "{said}");
    let said = say(&mut client, "a3 THREAD REFS UTF-8 ALL\r\n");
    assert_eq!(said.matches(")(").count(), 13 * 98 + 12, "{said}");
    assert!(said.starts_with("* THREAD (1 (2)(3)(4)"), "{said}");
}

#[test]
fn threads_have_a_bound() {
    let mut world = world();
    world.config.limits.thread_ids_max = 1000;
    let mut client = world.ready(Instant::now(), "INBOX");
    let said = say(&mut client, "a1 THREAD REFERENCES UTF-8 ALL\r\n");
    assert_eq!(said, "a1 NO [LIMIT] Too many or too much: messages and references to put into threads\r\n");
    assert!(say(&mut client, "a2 THREAD REFERENCES UTF-8 1:900\r\n").starts_with("* THREAD (1 "));
}

#[test]
fn messages_at_once_have_bounds() {
    let mut world = World::new();
    world.config.limits.append_messages_max = 2;
    world.config.limits.append_octets_together_max = 25;
    let mut client = world.ready(Instant::now(), "");
    let said = say(&mut client, "a1 APPEND INBOX {3+}\r\na\r\n {3+}\r\nb\r\n {3+}\r\nc\r\n\r\n");
    assert_eq!(said, "a1 NO [LIMIT] No more than 2 messages at once\r\n");
    let said = say(&mut client, "a2 APPEND INBOX {13+}\r\nSubject: a\r\n\r {13+}\r\nSubject: b\r\n\r\r\n");
    assert_eq!(said, "a2 NO [TOOBIG] The messages together are larger than this server takes at once\r\n");
    assert!(world.uids("INBOX").is_empty());
    let said = say(&mut client, "a3 APPEND INBOX {3+}\r\na\r\n {3+}\r\nb\r\n\r\n");
    assert!(said.ends_with(" 1:2] Kept\r\n"), "{said}");
}

#[test]
fn notify_ends_where_too_much_changes_at_once() {
    let mut world = World::new();
    world.config.limits.notify_messages_max = 2;
    world.config.limits.notify_statuses_max = 1;
    (0..3).for_each(|_| world.deliver("Sent", b"Subject: a\r\n\r\nx"));
    let (mut watching, mut busy) = (world.ready(Instant::now(), "INBOX"), world.ready(Instant::now(), "Sent"));
    let three = "a1 COPY 1:3 INBOX\r\n";
    say(&mut watching, "a1 NOTIFY SET (selected (MessageNew (UID) MessageExpunge))\r\n");
    say(&mut busy, three);
    let said = say(&mut watching, "");
    assert!(said.starts_with("* 3 EXISTS\r\n* 3 RECENT\r\n* OK [NOTIFICATIONOVERFLOW] "), "{said}");
    say(&mut busy, three);
    assert_eq!(say(&mut watching, "a2 NOOP\r\n"), "a2 OK Done\r\n");
    say(&mut watching, "a3 NOTIFY SET (personal (MessageNew MessageExpunge))\r\n");
    say(&mut busy, "a3 COPY 1 Drafts\r\na4 COPY 1 Trash\r\n");
    let said = say(&mut watching, "");
    assert!(said.starts_with("* OK [NOTIFICATIONOVERFLOW] ") && said.lines().count() == 1, "{said}");
}

#[test]
fn names_of_too_many_mailboxes_are_not_watched() {
    let mut world = World::new();
    world.config.limits.notify_mailboxes_max = 5;
    let mut client = world.ready(Instant::now(), "");
    assert!(say(&mut client, "a1 NOTIFY SET (personal (MailboxName))\r\n").starts_with("a1 NO [NOTIFICATIONOVERFLOW] "));
    assert_eq!(say(&mut client, "a2 NOTIFY SET (personal (MessageNew MessageExpunge))\r\n"), "a2 OK Done\r\n");
}

#[test]
fn contexts_have_bounds() {
    let mut world = World::new();
    (0..3).for_each(|_| world.deliver("INBOX", b"Subject: a\r\n\r\nx"));
    world.config.limits.contexts_max = 2;
    world.config.limits.sorted_context_messages_max = 2;
    world.config.limits.context_changes_max = 2;
    let mut client = world.ready(Instant::now(), "INBOX");
    let said = say(&mut client, "a1 SORT RETURN (UPDATE COUNT) (DATE) UTF-8 ALL\r\n");
    assert!(said.starts_with("* ESEARCH (TAG \"a1\") COUNT 3\r\n* NO [NOUPDATE \"a1\"] ") && said.ends_with("a1 OK Done\r\n"), "{said}");
    assert_eq!(say(&mut client, "a2 SEARCH RETURN (UPDATE COUNT) ALL\r\n"), "* ESEARCH (TAG \"a2\") COUNT 3\r\na2 OK Done\r\n");
    assert!(!say(&mut client, "a3 SORT RETURN (UPDATE COUNT) (DATE) UTF-8 1:2\r\n").contains("NOUPDATE"));
    assert!(say(&mut client, "a4 SEARCH RETURN (UPDATE COUNT) ALL\r\n").contains("* NO [NOUPDATE \"a4\"] "));
    let said = say(&mut client, "a5 STORE 1:3 +FLAGS.SILENT (\\Seen)\r\n");
    assert_eq!(said.matches("* NO [NOUPDATE ").count(), 2, "{said}");
    assert!(!say(&mut client, "a6 SEARCH RETURN (UPDATE COUNT) ALL\r\n").contains("NOUPDATE"));
}

#[test]
fn a_deflate_bomb_ends_the_connection() {
    let mut world = World::new();
    world.config.limits.inflated_octets_max = 1 << 20;
    let mut client = world.ready(Instant::now(), "INBOX");
    say(&mut client, "a1 COMPRESS DEFLATE\r\n");
    client.send(Instant::now(), &vec![b'a'; 2 << 20]);
    let said = String::from_utf8(client.heard()).unwrap();
    assert!(said.contains("* BYE [TOOBIG] ") && client.closed, "{said}");
    // Commands whose answers are long are answered as fast as the client reads, no faster.
    world.config.limits.inflated_octets_max = 64 << 20;
    let mut client = world.ready(Instant::now(), "INBOX");
    say(&mut client, "a1 COMPRESS DEFLATE\r\n");
    client.send(Instant::now(), "a CAPABILITY\r\n".repeat(20_000).as_bytes());
    let said = client.heard();
    assert_eq!(said.windows(5).filter(|window| window == b"\na OK").count(), 20_000);
    assert!(client.largest < 256 * 1024, "{}", client.largest);
}
