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
