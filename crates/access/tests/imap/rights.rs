//! Which right opens which command: each right alone, for each command (RFC 4314 §4).

use super::stage::World;
use mail::Rights;
use std::time::Instant;
use store::{Grant, Grantee};

const EACH: &str = "lrswipkxtea";

/// What answers Bob's command, the last of these, when he has these rights to Ann's mailbox `Work/Sub`.
fn answered(rights: &str, commands: &[&str]) -> String {
    let mut world = World::new();
    let (ann, bob, now) = (world.account, world.account_add("bob"), Instant::now());
    let given = Rights::parse(rights).unwrap();
    world
        .store
        .write_blocking(move |tx| {
            let work = tx.mailbox_create(ann, "Work", None)?;
            let sub = tx.mailbox_create(ann, "Work/Sub", None)?;
            tx.grant_set(ann, work, Grant { grantee: Grantee::Account(bob), negative: false, rights: Rights::CREATE })?;
            tx.grant_set(ann, sub, Grant { grantee: Grantee::Account(bob), negative: false, rights: given })
        })
        .unwrap();
    world.deliver("Work/Sub", b"Subject: x\r\n\r\ntext\r\n");
    world.deliver_to(bob, "INBOX", b"Subject: y\r\n\r\ntext\r\n");
    let mut client = world.ready_as(now, bob, "");
    for command in commands {
        client.heard();
        let command =
            command.replace("$M", "\"Other users/ann@example.org/Work/Sub\"").replace("$N", "\"Other users/ann@example.org/Work/New\"");
        client.send(now, format!("t {command}\r\n").as_bytes());
    }
    String::from_utf8(client.heard()).unwrap()
}

fn is_done(answer: &str) -> bool {
    let last = answer.lines().last().unwrap_or_default();
    assert!(last.starts_with("t OK") || last.starts_with("t NO ["), "{answer}");
    last.starts_with("t OK")
}

/// The rights of which each, besides `always`, lets Bob do it.
fn opening(always: &str, commands: &[&str]) -> String {
    EACH.chars().filter(|right| is_done(&answered(&format!("{always}{right}"), commands))).collect()
}

#[test]
fn each_right_opens_its_commands() {
    for (command, want) in [
        ("SELECT $M", "r"),
        ("EXAMINE $M", "r"),
        ("STATUS $M (MESSAGES)", "r"),
        ("GETQUOTAROOT $M", "r"),
        ("APPEND $M {3+}\r\na:b", "i"),
        ("APPEND INBOX CATENATE (URL \"/Other%20users/ann%40example.org/Work/Sub/;UID=1\")", "r"),
        ("CREATE \"Other users/ann@example.org/Work/Sub/Below\"", "k"),
        ("DELETE $M", "x"),
        ("RENAME $M $N", "x"),
        ("SETACL $M bob@example.org lr", "a"),
        ("SETACL $M anyone +l", "a"),
        ("DELETEACL $M bob@example.org", "a"),
        ("GETACL $M", "a"),
        ("LISTRIGHTS $M anyone", "a"),
        ("MYRIGHTS $M", EACH),
        ("SUBSCRIBE $M", EACH),
        ("UNSUBSCRIBE $M", EACH),
        ("LIST \"\" $M", EACH),
        ("GETMETADATA $M /shared/comment", "rswip"),
        ("SETMETADATA $M (/private/comment \"x\")", "rswip"),
        ("SETMETADATA $M (/shared/comment \"x\")", "w"),
    ] {
        assert_eq!(opening("l", &[command]), want, "{command}");
    }
    assert_eq!(opening("l", &["SELECT INBOX", "COPY 1 $M"]), "i");
    assert_eq!(opening("l", &["SELECT INBOX", "MOVE 1 $M"]), "i");
}

#[test]
fn each_right_opens_its_commands_in_the_selected_mailbox() {
    for (command, want) in [
        ("FETCH 1 (FLAGS BODY[])", EACH),
        ("SEARCH ALL", EACH),
        ("SORT (DATE) UTF-8 ALL", EACH),
        ("THREAD REFS UTF-8 ALL", EACH),
        ("ESEARCH IN (selected) ALL", EACH),
        ("COPY 1 INBOX", EACH),
        ("CLOSE", EACH),
        ("STORE 1 +FLAGS (\\Seen)", "s"),
        ("STORE 1 -FLAGS (\\Deleted)", "t"),
        ("STORE 1 +FLAGS (\\Flagged)", "w"),
        ("STORE 1 +FLAGS (Work)", "w"),
        ("STORE 1 FLAGS (Work)", "swt"),
        ("STORE 1 +FLAGS (\\Seen \\Deleted Work)", "swt"),
        ("EXPUNGE", "e"),
        ("UID EXPUNGE 1", "e"),
        ("MOVE 1 INBOX", ""),
        ("REPLACE 1 INBOX {3+}\r\na:b", ""),
    ] {
        assert_eq!(opening("lr", &["SELECT $M", command]), want, "{command}");
    }
    for command in ["MOVE 1 INBOX", "REPLACE 1 INBOX {3+}\r\na:b"] {
        assert_eq!(opening("lrt", &["SELECT $M", command]), "e", "{command}");
    }
}

#[test]
fn only_some_rights_make_a_mailbox_writable_and_only_s_marks_what_is_read() {
    for right in EACH.chars() {
        let rights = format!("lr{right}");
        let code = if "swite".contains(right) { "[READ-WRITE]" } else { "[READ-ONLY]" };
        assert!(answered(&rights, &["SELECT $M"]).contains(code), "{right}");
        assert!(answered(&rights, &["EXAMINE $M"]).contains("[READ-ONLY]"), "{right}");
        let seen = answered(&rights, &["SELECT $M", "FETCH 1 BODY[]", "FETCH 1 FLAGS"]).contains("\\Seen");
        assert_eq!(seen, right == 's', "{right}");
    }
}

#[test]
fn without_l_a_mailbox_that_may_not_be_used_is_as_if_it_were_not_there() {
    let there = [
        "SELECT $M",
        "STATUS $M (MESSAGES)",
        "DELETE $M",
        "RENAME $M $N",
        "GETACL $M",
        "GETMETADATA $M /shared/comment",
        "GETQUOTAROOT $M",
    ];
    for command in there {
        assert_eq!(answered("ip", &[command]), answered("ip", &[&command.replace("$M", "\"Other users/ann@example.org/Nowhere\"")]));
        assert!(answered("lip", &[command]).contains("[NOPERM]") || command.starts_with("GETMETADATA"), "{command}");
    }
    assert!(!answered("r", &["LIST \"\" *"]).contains("Work/Sub"));
}
