//! The Outbox over two servers: what waits is seen, called back, sent at its time, and comes back where it failed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test: its purpose is to fail")]

use mail::{Event, Role, Terms, Uid};
use sim::{Host, World};
use std::time::Duration;

fn held(world: &World, seconds: u64) -> Terms {
    Terms { hold_until: Some(world.now().after(Duration::from_secs(seconds))), ..Terms::default() }
}

/// The messages of ann's mailbox with a role: flags and text.
fn mailbox(host: &Host, role: Role) -> Vec<(String, String)> {
    let read = host.store().read_blocking(move |tx| {
        let ann = tx.account_by_login("ann@a.example")?.unwrap().id;
        let Some(mailbox) = tx.mailbox_by_role(ann, role)? else { return Ok(Vec::new()) };
        let messages = tx.messages(ann, mailbox.id, Uid(1), Uid(u32::MAX), 99)?;
        let text = |message: store::Message| {
            let flags: Vec<_> = message.flags.iter().map(|flag| flag.to_string()).collect();
            let octets = tx.blob_read(&message.blob, 0, usize::MAX)?;
            Ok((flags.join(" "), String::from_utf8_lossy(&octets).into_owned()))
        };
        messages.into_iter().map(text).collect::<store::Result<Vec<_>>>()
    });
    read.unwrap()
}

fn outbox(host: &Host) -> Vec<String> {
    mailbox(host, Role::Outbox).into_iter().map(|(flags, _)| flags).collect()
}

/// Ann moves everything in her Outbox to the mailbox with a role, or removes it.
async fn take_out(host: &Host, to: Option<Role>) {
    let moved = host.store().write(move |tx| {
        let ann = tx.account_by_login("ann@a.example")?.unwrap().id;
        let from = tx.mailbox_by_role(ann, Role::Outbox)?.unwrap().id;
        let all = mail::UidSet::range(Uid(1), Uid(u32::MAX));
        match to {
            Some(role) => {
                let to = tx.mailbox_by_role(ann, role)?.unwrap().id;
                tx.email_move(ann, from, &all, to, mail::Timestamp(0)).map(drop)
            }
            None => tx.messages_destroy(ann, from, &all).map(drop),
        }
    });
    moved.await.unwrap();
}

fn happened(host: &Host, receipt: mail::ReceiptId) -> String {
    let trail = host.store().read_blocking(move |tx| tx.trail(receipt)).unwrap();
    let names = trail.into_iter().filter_map(|entry| match entry.event {
        Event::Held { .. } => Some("held"),
        Event::Released { .. } => Some("released"),
        Event::Withdrawn { .. } => Some("withdrawn"),
        Event::Relayed { .. } => Some("relayed"),
        Event::Failed { .. } => Some("failed"),
        _ => None,
    });
    names.collect::<Vec<_>>().join(" ")
}

#[test]
fn what_waits_is_seen_and_goes_when_it_is_sent() {
    sim::run(1, async |world| {
        let (a, b) = world.two_hosts();
        let sent = a.submit_on("ann@a.example", &["bob@b.example"], "later", held(world, 60)).await;
        assert_eq!(outbox(&a), ["\\Seen $SubmitPending"]);
        world.down("mx.b.example", Duration::from_mins(10));
        world.pass(Duration::from_mins(2)).await;
        assert_eq!((outbox(&a), a.queue().len()), (vec!["\\Seen $Submitted".to_owned()], 1), "{}", world.trace());
        world.settle().await;
        assert_eq!((outbox(&a).len(), b.inbox("bob@b.example").len()), (0, 1), "{}", world.trace());
        assert_eq!(happened(&a, sent.receipt), "held released relayed");
        assert_eq!(a.damage(), [""; 0]);
        world.audit().assert_sound();
    });
}

#[test]
fn what_is_taken_out_before_its_time_is_not_sent() {
    for (to, draft) in [(None, 0), (Some(Role::Trash), 0), (Some(Role::Drafts), 1)] {
        sim::run(1, async |world| {
            let (a, b) = world.two_hosts();
            a.account("joe@a.example");
            let sent = a.submit_on("ann@a.example", &["bob@b.example", "joe@a.example"], "later", held(world, 60)).await;
            world.pass(Duration::from_secs(59)).await;
            take_out(&a, to).await;
            a.power_cut();
            a.start();
            world.pass(Duration::from_hours(1)).await;
            assert_eq!((b.inbox("bob@b.example").len(), a.inbox("joe@a.example").len()), (0, 0), "{}", world.trace());
            assert_eq!((a.queue().len(), happened(&a, sent.receipt)), (0, "held withdrawn".to_owned()));
            let drafts = mailbox(&a, Role::Drafts);
            assert_eq!(drafts.len(), draft);
            assert!(drafts.iter().all(|(flags, text)| flags == "\\Seen \\Draft" && text.contains("\r\nlater\r\n")), "{drafts:?}");
            assert_eq!(a.damage(), [""; 0]);
        });
    }
}

#[test]
fn what_left_is_sent_whatever_becomes_of_the_copy_even_over_a_crash() {
    sim::run(1, async |world| {
        let (a, b) = world.two_hosts();
        world.down("mx.b.example", Duration::from_mins(10));
        a.submit_on("ann@a.example", &["bob@b.example"], "later", held(world, 60)).await;
        world.pass(Duration::from_secs(61)).await;
        assert_eq!(outbox(&a), ["\\Seen $Submitted"]);
        a.power_cut();
        a.start();
        take_out(&a, Some(Role::Drafts)).await;
        world.settle().await;
        assert_eq!((outbox(&a).len(), b.inbox("bob@b.example").len()), (0, 1), "{}", world.trace());
        assert_eq!(a.damage(), [""; 0]);
        world.audit().assert_sound();
    });
}

#[test]
fn who_did_not_get_it_is_seen_in_the_outbox() {
    sim::run(1, async |world| {
        let (a, b) = world.two_hosts();
        let to = ["bob@b.example", "nobody@b.example", "nobody@nowhere.example"];
        let sent = a.submit_on("ann@a.example", &to, "later", held(world, 60)).await;
        world.settle().await;
        let seen = mailbox(&a, Role::Outbox);
        let [(flags, text)] = seen.as_slice() else { panic!("{seen:?}\n{}", world.trace()) };
        assert_eq!(flags, "\\Flagged $SubmitFailed");
        assert!(
            text.starts_with("X-Failed-Recipients: nobody@b.example,\r\n nobody@nowhere.example\r\nX-Failure: nobody@b.example: 5."),
            "{text}"
        );
        assert_eq!((text.matches("X-Failed-Recipients").count(), text.matches("X-Failure:").count()), (1, 2), "{text}");
        assert!(text.ends_with("\r\n\r\nlater\r\n"), "{text}");
        assert_eq!(b.inbox("bob@b.example").len(), 1);
        assert!(!b.inbox("bob@b.example")[0].contains("X-Fail"));
        assert!(!a.inbox("ann@a.example").is_empty(), "the report comes too");
        assert!(happened(&a, sent.receipt).starts_with("held released"));
        assert_eq!((a.queue().len(), a.damage()), (0, vec![]));
    });
}

/// The sender and the queue at the same moment: one of the two comes first, and both agree on which.
#[test]
fn it_is_sent_or_called_back_and_never_both() {
    let (mut sent, mut called_back) = (0, 0);
    for seed in 0..20 {
        sim::run(seed, async |world| {
            let (a, b) = world.two_hosts();
            let submitted = a.submit_on("ann@a.example", &["bob@b.example"], "later", held(world, 60)).await;
            world.pass(Duration::from_millis(59_995 + seed)).await;
            take_out(&a, None).await;
            world.settle().await;
            let happened = happened(&a, submitted.receipt);
            match happened.as_str() {
                "held withdrawn" => called_back += 1,
                "held released relayed" => sent += 1,
                other => panic!("{other}\n{}", world.trace()),
            }
            assert_eq!(b.inbox("bob@b.example").len(), usize::from(happened.ends_with("relayed")), "{}", world.trace());
            assert_eq!((a.queue().len(), outbox(&a).len(), a.damage()), (0, 0, vec![]));
        });
    }
    assert!(sent > 0 && called_back > 0, "{sent} {called_back}");
}
