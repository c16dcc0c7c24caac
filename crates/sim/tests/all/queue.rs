//! The queue as an administrator and a busy server see it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test: its purpose is to fail")]

use mail::{ReceiptId, Timestamp};
use mta::queue::admin;
use sim::{Faults, Host, World};
use std::time::Duration;
use store::WriteTx;

/// A with ann, and B with bob, which nobody reaches for a while.
fn two(world: &World, down: Duration) -> (Host, Host) {
    let (a, b) = world.two_hosts();
    world.down("mx.b.example", down);
    (a, b)
}

async fn change(host: &Host, mut f: impl FnMut(&mut WriteTx) -> store::Result<()> + Send + 'static) {
    host.store().write(move |tx| f(tx)).await.unwrap();
}

fn handled(host: &Host, receipt: ReceiptId) -> Vec<String> {
    let trail = host.store().read_blocking(move |tx| tx.trail(receipt)).unwrap();
    let actions = trail.into_iter().filter_map(|entry| match entry.event {
        mail::Event::Handled { action, .. } => Some(action),
        _ => None,
    });
    actions.collect()
}

#[test]
fn held_mail_waits_until_it_is_released() {
    sim::run(1, async |world| {
        let (a, b) = two(world, Duration::from_hours(1));
        let receipt = a.submit("ann@a.example", &["bob@b.example"], "hello").await.receipt;
        world.pass(Duration::from_mins(1)).await;
        let now = world.now();
        change(&a, move |tx| admin::hold(tx, receipt, now)).await;
        world.pass(Duration::from_hours(48)).await;
        assert_eq!((a.queue().len(), b.inbox("bob@b.example").len()), (1, 0), "{}", world.trace());
        let now = world.now();
        change(&a, move |tx| admin::release(tx, receipt, now)).await;
        world.pass(Duration::from_secs(1)).await;
        assert_eq!(b.inbox("bob@b.example").len(), 1, "{}", world.trace());
        assert_eq!(handled(&a, receipt), ["hold", "release"]);
        world.audit().assert_sound();
    });
}

#[test]
fn a_retry_does_not_wait_for_its_time() {
    sim::run(1, async |world| {
        let (a, b) = two(world, Duration::from_hours(10));
        let receipt = a.submit("ann@a.example", &["bob@b.example"], "hello").await.receipt;
        world.pass(Duration::from_hours(10)).await;
        let next = a.queue()[0].due().unwrap();
        assert!(next > world.now());
        let now = world.now();
        change(&a, move |tx| admin::retry(tx, receipt, None, now)).await;
        world.pass(Duration::from_secs(1)).await;
        assert_eq!(b.inbox("bob@b.example").len(), 1, "{}", world.trace());
        world.audit().assert_sound();
    });
}

#[test]
fn a_message_can_be_bounced_or_dropped() {
    sim::run(1, async |world| {
        let (a, _) = two(world, Duration::from_hours(10));
        let bounced = a.submit("ann@a.example", &["bob@b.example"], "one").await.receipt;
        let dropped = a.submit("ann@a.example", &["bob@b.example"], "two").await.receipt;
        world.pass(Duration::from_mins(1)).await;
        let (now, settings) = (world.now(), mta::Settings::new(a.name().clone()));
        change(&a, move |tx| admin::bounce(tx, bounced, None, now, &settings)).await;
        change(&a, move |tx| admin::drop(tx, dropped, None, now)).await;
        assert!(a.queue().is_empty());
        let reports = a.inbox("ann@a.example");
        assert_eq!(reports.len(), 1);
        assert!(reports[0].contains("Status: 5.7.0") && reports[0].contains("\r\n\r\none\r\n"), "{}", reports[0]);
        assert_eq!((handled(&a, bounced), handled(&a, dropped)), (vec!["bounce".to_owned()], vec!["drop".to_owned()]));
        let again = a.store().write(move |tx| admin::retry(tx, dropped, None, Timestamp(0))).await;
        assert!(matches!(again, Err(store::Error::NotFound(_))));
    });
}

#[test]
fn one_recipient_of_several_can_be_dropped() {
    sim::run(1, async |world| {
        let (a, b) = two(world, Duration::from_mins(30));
        b.account("bea@b.example");
        let receipt = a.submit("ann@a.example", &["bob@b.example", "bea@b.example"], "one").await.receipt;
        world.pass(Duration::from_mins(1)).await;
        let (now, bea) = (world.now(), mail::Address::parse("BEA@b.example").unwrap());
        change(&a, move |tx| admin::drop(tx, receipt, Some(&bea), now)).await;
        world.settle().await;
        assert_eq!((b.inbox("bob@b.example").len(), b.inbox("bea@b.example").len()), (1, 0), "{}", world.trace());
    });
}

#[test]
fn a_slow_destination_does_not_hold_up_the_others() {
    sim::run(1, async |world| {
        let a = world.host_with("mx.a.example", "a.example", |settings| {
            settings.queue.window_max = 400;
            settings.queue.waiting_max = 100;
        });
        let slow = world.host("mx.slow.example", "slow.example");
        let b = world.host("mx.b.example", "b.example");
        a.account("ann@a.example");
        slow.account("sue@slow.example");
        b.account("bob@b.example");
        world.faults("mx.slow.example", Faults { slow_millis: 60_000, ..Faults::default() });
        for _ in 0..300 {
            a.submit("ann@a.example", &["sue@slow.example"], "slow").await;
        }
        world.pass(Duration::from_secs(10)).await;
        a.submit("ann@a.example", &["bob@b.example"], "fast").await;
        world.pass(Duration::from_secs(5)).await;
        assert_eq!(b.inbox("bob@b.example").len(), 1);
        world.settle().await;
        assert_eq!(slow.inbox("sue@slow.example").len(), 300);
        world.audit().assert_sound();
    });
}

#[test]
fn a_queue_that_is_stopped_in_an_orderly_way_repeats_nothing() {
    sim::run(1, async |world| {
        let (a, b) = two(world, Duration::ZERO);
        for n in 0..50 {
            a.submit("ann@a.example", &["bob@b.example"], &format!("{n}")).await;
        }
        world.pass(Duration::from_millis(20)).await;
        a.stop();
        world.pass(Duration::from_mins(1)).await;
        a.start();
        world.settle().await;
        assert_eq!(b.inbox("bob@b.example").len(), 50);
        world.audit().assert_sound();
    });
}

/// Several connections wait idle for more mail when the server goes and comes back: that says nothing of the message
/// that finds them gone, one after another.
#[test]
fn connections_that_are_gone_when_they_are_used_again_delay_no_mail() {
    sim::run(1, async |world| {
        let (a, b) = world.two_hosts();
        world.faults("mx.b.example", Faults { slow_millis: 500, ..Faults::default() });
        a.submit("ann@a.example", &["bob@b.example"], "the first").await;
        world.pass(Duration::from_millis(200)).await;
        for _ in 0..8 {
            a.submit("ann@a.example", &["bob@b.example"], "at once").await;
        }
        world.pass(Duration::from_millis(1_500)).await;
        assert_eq!(b.inbox("bob@b.example").len(), 9);
        let connections = world.network().connections();
        assert!(connections >= 4, "{connections}");
        b.kill();
        b.start();
        a.submit("ann@a.example", &["bob@b.example"], "later").await;
        world.pass(Duration::from_secs(10)).await;
        assert_eq!(b.inbox("bob@b.example").len(), 10, "{}", world.trace());
        assert_eq!(world.network().connections(), connections + 1);
        world.audit().assert_sound();
    });
}
