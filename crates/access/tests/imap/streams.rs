//! Long answers come in pieces, and the pieces are the whole.

use super::stage::{Client, World};
use std::time::Instant;

/// No piece is larger than a chunk and what one message may add to it.
const PIECE_OCTETS_MAX: usize = 3 * 64 * 1024;

fn say(client: &mut Client, command: &str) -> Vec<u8> {
    client.send(Instant::now(), command.as_bytes());
    client.heard()
}

/// The literals of an answer, in order.
fn literals(mut said: &[u8]) -> Vec<&[u8]> {
    let mut found = Vec::new();
    while let Some(open) = said.iter().position(|octet| *octet == b'{') {
        let after = &said[open + 1..];
        let close = after.iter().position(|octet| *octet == b'}').unwrap();
        let octets: usize = std::str::from_utf8(&after[..close]).unwrap().parse().unwrap();
        found.push(&after[close + 3..close + 3 + octets]);
        said = &after[close + 3 + octets..];
    }
    found
}

fn message(octets: usize, seed: usize) -> Vec<u8> {
    let line = format!("{seed:07} is the number of this line's message, which has nothing else to say..\r\n");
    let mut message = format!("Subject: {seed}\r\n\r\n").into_bytes();
    while message.len() < octets {
        message.extend_from_slice(line.as_bytes());
    }
    message
}

#[test]
fn bodies_of_all_sizes_arrive_whole() {
    let mut world = World::new();
    let messages: Vec<_> = [10, 70_000, 500_000, 65_536, 65_537, 200].iter().enumerate().map(|(at, octets)| message(*octets, at)).collect();
    for message in &messages {
        world.deliver("INBOX", message);
    }
    let mut client = world.ready(Instant::now(), "INBOX");
    let said = say(&mut client, "a1 UID FETCH 1:* (BODY.PEEK[] FLAGS)\r\n");
    assert_eq!(literals(&said), messages);
    let said = say(&mut client, "a2 FETCH 3 (BODY.PEEK[]<100000.300000> BODY.PEEK[HEADER] BODY.PEEK[TEXT]<499990.999>)\r\n");
    let third = &messages[2];
    assert_eq!(literals(&said), [&third[100_000..400_000], b"Subject: 2\r\n\r\n".as_slice(), &third[499_990 + 14..]]);
    assert!(client.largest < PIECE_OCTETS_MAX, "{}", client.largest);
}

#[test]
fn many_messages_come_in_pieces_and_once() {
    let mut world = World::new();
    (0..2200).for_each(|_| world.deliver("INBOX", b"Subject: x\r\nFrom: a@b\r\n\r\nx"));
    let mut client = world.ready(Instant::now(), "INBOX");
    for (command, want) in [
        ("a1 FETCH 1:* (FLAGS UID ENVELOPE)\r\n", 2200),
        ("a2 UID FETCH 1000:1999,1:10 (FLAGS BODYSTRUCTURE)\r\n", 1010),
        ("a3 STORE 1:* +FLAGS (\\Flagged)\r\n", 2200),
        ("a4 FETCH 1:* BODY[TEXT]\r\n", 2200),
        ("a5 STORE 5:1604 +FLAGS.SILENT (\\Deleted)\r\n", 0),
    ] {
        let said = String::from_utf8(say(&mut client, command)).unwrap();
        assert_eq!(said.lines().filter(|line| line.contains(" FETCH (")).count(), want, "{command}");
        assert!(said.ends_with("OK Done\r\n"), "{command}");
    }
    let said = String::from_utf8(say(&mut client, "a6 EXPUNGE\r\n")).unwrap();
    assert_eq!(said.lines().filter(|line| line.ends_with("EXPUNGE")).count(), 1600);
    assert_eq!(world.uids("INBOX").to_string(), "1:4,1605:2200");
    assert!(client.largest < PIECE_OCTETS_MAX, "{}", client.largest);
}

#[test]
fn a_large_message_is_appended_in_chunks() {
    let mut world = World::new();
    let mut client = world.ready(Instant::now(), "INBOX");
    let whole = message(400_000, 7);
    let mut said = say(&mut client, &format!("a1 APPEND INBOX {{{}}}\r\n", whole.len()));
    assert_eq!(said, b"+ Ready\r\n");
    for piece in whole.chunks(10_000) {
        client.send(Instant::now(), piece);
    }
    said = say(&mut client, "\r\n");
    assert!(said.ends_with(b"Kept\r\n"), "{}", String::from_utf8_lossy(&said));
    let said = say(&mut client, "a2 FETCH 1 BODY.PEEK[]\r\n");
    assert_eq!(literals(&said), [&whole]);
}
