//! Mail that leaves under other senders than its own, and what comes back to them. The audit knows nothing of aliases:
//! the mailboxes are looked at instead.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test: its purpose is to fail")]

use mail::Address;
use sim::{Host, World};
use store::Target;

fn alias(host: &Host, name: &str, to: &[&str]) {
    let address = |text: &str| Address::parse(text).unwrap();
    let (name, to) = (address(name), to.iter().map(|to| Target::Address(address(to))).collect::<Vec<_>>());
    host.store().write_blocking(move |tx| tx.alias_set(&name, to.clone())).unwrap();
}

/// A with ann, B with bob, C with cyd; away@b.example leads to `to`.
fn three(world: &World, to: &[&str]) -> (Host, Host, Host) {
    let (a, b) = world.two_hosts();
    let c = world.host("mx.c.example", "c.example");
    c.account("cyd@c.example");
    alias(&b, "away@b.example", to);
    (a, b, c)
}

#[test]
fn forwarded_mail_has_a_sender_of_ours() {
    sim::run(1, async |world| {
        let (a, _, c) = three(world, &["cyd@c.example"]);
        a.submit("ann@a.example", &["away@b.example"], "hello").await;
        world.settle().await;
        let inbox = c.inbox("cyd@c.example");
        assert!(inbox[0].starts_with("Return-Path: <SRS0=") && inbox[0].contains("=a.example=ann@b.example>"), "{}", inbox[0]);
    });
}

#[test]
fn what_is_returned_to_a_forwarder_goes_back_to_the_sender() {
    sim::run(1, async |world| {
        // C takes the mail for list@c.example first, and finds out later that the next server does not want it.
        let (a, b, c) = three(world, &["list@c.example"]);
        let d = world.host("mx.d.example", "d.example");
        alias(&c, "list@c.example", &["nobody@d.example"]);
        a.submit("ann@a.example", &["away@b.example"], "hello").await;
        world.settle().await;
        let reports = a.inbox("ann@a.example");
        assert_eq!(reports.len(), 1, "{}", world.trace());
        assert!(reports[0].contains("nobody@d.example") && reports[0].contains("mailer-daemon@mx.c.example"), "{}", reports[0]);
        let trace = world.trace();
        assert!(trace.contains("return_path: ReversePath(Some(SRS1=") && trace.contains("=b.example=="), "{trace}");
        assert!(b.queue().is_empty() && d.queue().is_empty());
    });
}

#[test]
fn long_senders_find_back_too() {
    sim::run(1, async |world| {
        let (a, _, c) = three(world, &["nobody@d.example"]);
        drop(world.host("mx.d.example", "d.example"));
        drop(c);
        let long = format!("{}@a.example", "ann".repeat(20));
        a.account(&long);
        a.submit(&long, &["away@b.example"], "hello").await;
        world.settle().await;
        assert_eq!(a.inbox(&long).len(), 1, "{}", world.trace());
    });
}

#[test]
fn without_rewriting_the_sender_stays() {
    sim::run(1, async |world| {
        let (a, b, c) = three(world, &["cyd@c.example"]);
        b.settings(|settings| settings.forwarding.rewrite = false);
        b.stop();
        world.pass(std::time::Duration::from_secs(1)).await;
        b.start();
        a.submit("ann@a.example", &["away@b.example"], "hello").await;
        world.settle().await;
        assert!(c.inbox("cyd@c.example")[0].starts_with("Return-Path: <ann@a.example>"), "{}", world.trace());
    });
}

#[test]
fn addresses_that_do_not_exist_get_no_mail_after_some_failures() {
    sim::run(1, async |world| {
        let a = world.host_with("mx.a.example", "a.example", |settings| settings.suppression.after = 2);
        drop(world.dns().clone().with_mx(a.name(), 10, Some(a.name())));
        let b = world.host("mx.b.example", "b.example");
        a.account("ann@a.example");
        // The third leaves before the second has failed: it is given up without a connection.
        let hour = std::time::Duration::from_hours(1);
        a.submit("ann@a.example", &["nobody@b.example"], "one").await;
        world.pass(hour).await;
        a.submit("ann@a.example", &["nobody@b.example"], "two").await;
        let later = mail::Terms { hold_until: Some(world.now().after(hour)), ..mail::Terms::default() };
        a.submit_on("ann@a.example", &["nobody@b.example"], "three", later).await;
        world.settle().await;
        let reports = a.inbox("ann@a.example");
        assert_eq!(reports.len(), 3, "{}", world.trace());
        assert!(reports[2].contains("nobody@b.example is suppressed until") && reports[2].contains("three"), "{}", reports[2]);
        assert_eq!(b.trails().len(), 0, "nothing was taken");
        let trace = world.trace();
        assert_eq!(trace.matches("Classified { recipient: nobody@b.example, class: \"bad-mailbox\" }").count(), 2, "{trace}");
    });
}
