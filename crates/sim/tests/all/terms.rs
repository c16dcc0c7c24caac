//! What senders ask of the time, over two servers: release later, deliver until, urgent first; and what servers
//! say they take at most.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test: its purpose is to fail")]

use mail::{DeliverBy, Late, Priority, Terms};
use sim::{Host, World};
use std::time::Duration;

/// A with ann and joe, and B with bob.
fn two(world: &World) -> (Host, Host) {
    let (a, b) = world.two_hosts();
    a.account("joe@a.example");
    (a, b)
}

fn by(world: &World, seconds: u64, late: Late) -> Terms {
    let at = world.now().after(Duration::from_secs(seconds));
    Terms { deliver_by: Some(DeliverBy { at, late, trace: false }), ..Terms::default() }
}

#[test]
fn what_is_to_leave_later_waits_for_everybody_even_over_a_crash() {
    sim::run(1, async |world| {
        let (a, b) = two(world);
        let terms = Terms { hold_until: Some(world.now().after(Duration::from_hours(240))), ..Terms::default() };
        a.submit_on("ann@a.example", &["bob@b.example", "joe@a.example"], "later", terms).await;
        world.pass(Duration::from_hours(120)).await;
        a.kill();
        a.start();
        world.pass(Duration::from_hours(119)).await;
        assert_eq!((b.inbox("bob@b.example").len(), a.inbox("joe@a.example").len()), (0, 0), "{}", world.trace());
        assert_eq!(a.inbox("ann@a.example").len(), 0, "a hold is no delay to be warned of");
        world.pass(Duration::from_hours(2)).await;
        assert_eq!((b.inbox("bob@b.example").len(), a.inbox("joe@a.example").len()), (1, 1), "{}", world.trace());
        world.audit().assert_sound();
    });
}

#[test]
fn late_mail_goes_back_or_is_told_of() {
    for (late, action, delivered) in [(Late::Return, "Action: failed", 0), (Late::Notify, "Action: delayed", 1)] {
        sim::run(1, async |world| {
            let (a, b) = two(world);
            world.down("mx.b.example", Duration::from_mins(30));
            a.submit_on("ann@a.example", &["bob@b.example"], "soon", by(world, 900, late)).await;
            world.pass(Duration::from_secs(890)).await;
            assert_eq!(a.inbox("ann@a.example").len(), 0, "{}", world.trace());
            world.pass(Duration::from_mins(5)).await;
            let reports = a.inbox("ann@a.example");
            assert!(matches!(reports.as_slice(), [only] if only.contains(action) && only.contains(".4.7\r\n")), "{reports:?}");
            world.pass(Duration::from_hours(3)).await;
            assert_eq!((b.inbox("bob@b.example").len(), a.inbox("ann@a.example").len()), (delivered, 1), "{}", world.trace());
            world.audit().assert_sound();
        });
    }
}

#[test]
fn timely_mail_is_delivered_and_nobody_is_told() {
    for late in [Late::Return, Late::Notify] {
        sim::run(1, async |world| {
            let (a, b) = two(world);
            a.submit_on("ann@a.example", &["bob@b.example"], "soon", by(world, 60, late)).await;
            world.pass(Duration::from_mins(10)).await;
            assert_eq!((b.inbox("bob@b.example").len(), a.inbox("ann@a.example").len()), (1, 0), "{}", world.trace());
        });
    }
}

#[test]
fn urgent_mail_overtakes_and_says_so_to_the_next_server() {
    sim::run(1, async |world| {
        let (a, b) = two(world);
        a.settings(|settings| {
            settings.queue.connections_initial = 1;
            settings.queue.connections_max = 1;
        });
        a.stop();
        a.start();
        world.down("mx.b.example", Duration::from_mins(1));
        for (text, priority) in [("normal", 0), ("low", -4), ("urgent", 4)] {
            let terms = Terms {
                priority: Priority::new(priority).unwrap(),
                hold_until: Some(world.now().after(Duration::from_mins(5))),
                ..Terms::default()
            };
            a.submit_on("ann@a.example", &["bob@b.example"], text, terms).await;
        }
        world.pass(Duration::from_mins(6)).await;
        let inbox = b.inbox("bob@b.example");
        let order: Vec<&str> = inbox.iter().filter_map(|text| text.trim_end().lines().last()).collect();
        assert_eq!(order, ["urgent", "normal", "low"], "{}", world.trace());
        assert!(inbox[2].contains("PRIORITY -4;") && !inbox[1].contains("PRIORITY"), "{}", inbox[2]);
    });
}

#[test]
fn recipients_that_were_too_many_go_at_once_in_the_next_transaction() {
    sim::run(1, async |world| {
        let (a, b) = two(world);
        b.recipients_max(2);
        let names: Vec<String> = (0..5).map(|n| format!("b{n}@b.example")).collect();
        for name in &names {
            b.account(name);
        }
        let to: Vec<&str> = names.iter().map(String::as_str).collect();
        a.submit("ann@a.example", &to, "to many").await;
        world.pass(Duration::from_secs(30)).await;
        let delivered: Vec<usize> = names.iter().map(|name| b.inbox(name).len()).collect();
        assert_eq!(delivered, [1; 5], "{}", world.trace());
        world.audit().assert_sound();
    });
}
