//! Mail that leaves under other senders than its own, and what comes back to them. The audit knows nothing of aliases:
//! the mailboxes are looked at instead.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test: its purpose is to fail")]

use mail::{Address, Domain};
use sim::{Host, World};
use std::time::Duration;
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

#[test]
fn where_our_address_is_blocked_mail_goes_over_the_relay_until_the_direct_way_is_open_again() {
    sim::run(1, async |world| {
        let relay = world.host_with("relay.example", "relay.example", |settings| {
            settings.receive.relay_networks = vec!["10.0.0.0/8".parse().unwrap()];
        });
        let smarthost = mta::route::Smarthost {
            targets: vec![mta::route::Target::parse("relay.example").unwrap()],
            balanced: false,
            tls: mta::route::Tls::Opportunistic,
            credentials: None,
        };
        let hour = Duration::from_hours(1);
        let fallback = mta::settings::Fallback { relay: smarthost.into(), probe: hour, probe_max: 24 * hour };
        let a = world.host_with("mx.a.example", "a.example", |settings| settings.fallback = Some(fallback));
        drop(world.dns().clone().with_mx(&Domain::parse("a.example").unwrap(), 10, Some(a.name())));
        let b = world.host("mx.b.example", "b.example");
        let c = world.host("mx.c.example", "c.example");
        a.account("ann@a.example");
        b.account("bob@b.example");
        c.account("cyd@c.example");
        world.faults("mx.b.example", sim::Faults { blocks: Some(a.address()), ..sim::Faults::default() });
        let over_relay = |host: &Host, account: &str| -> Vec<bool> {
            host.inbox(account).iter().map(|text| text.contains("by relay.example")).collect()
        };
        // At 0:00, and three more before anything is tried again: at 1:00 the first probe is in vain.
        for minutes in [0, 10, 10, 50] {
            world.pass(Duration::from_mins(minutes)).await;
            a.submit("ann@a.example", &["bob@b.example", "cyd@c.example"], "hello").await;
            world.pass(Duration::from_secs(10)).await;
        }
        world.pass(Duration::from_mins(1)).await;
        assert_eq!(over_relay(&b, "bob@b.example"), [true; 4], "{}", world.trace());
        assert_eq!(over_relay(&c, "cyd@c.example"), [false; 4], "only that destination");
        assert_eq!(world.trace().matches("Detoured {").count(), 2, "the first, and the probe\n{}", world.trace());
        // Now it is open again; the next probe finds that out.
        world.faults("mx.b.example", sim::Faults::default());
        a.submit("ann@a.example", &["bob@b.example"], "not yet").await;
        world.pass(2 * hour).await;
        a.submit("ann@a.example", &["bob@b.example"], "the probe").await;
        world.pass(Duration::from_mins(1)).await;
        a.submit("ann@a.example", &["bob@b.example"], "all").await;
        world.settle().await;
        assert_eq!(over_relay(&b, "bob@b.example")[4..], [true, false, false], "{}", world.trace());
        let detours = a.store().read_blocking(store::ReadTx::detours).unwrap();
        assert_eq!(detours, [], "it is over");
        assert!(a.inbox("ann@a.example").is_empty() && relay.queue().is_empty(), "nothing came back");
        world.audit().assert_sound();
    });
}

#[test]
fn a_backup_takes_what_the_primary_cannot_and_knows_whom_the_primary_knows() {
    sim::run(1, async |world| {
        let days = |n: u64| Duration::from_hours(24 * n);
        let of_b = || vec![mta::route::Pattern::parse("b.example").unwrap()];
        let (a, b) = world.two_hosts();
        let k = world.host_with("mx.k.example", "k.example", |settings| {
            let (matching, next) = (mta::route::Matching::Recipients(of_b()), mta::route::Next::Mx);
            settings.routes = vec![mta::route::Rule { matching, accept: true, next }];
            let known = mta::route::Known::Asked;
            settings.backups = vec![mta::route::Backup { domains: of_b(), known, lifetime: Some(days(9)) }];
        });
        drop(world.dns().clone().with_mx(&Domain::parse("b.example").unwrap(), 20, Some(k.name())));
        // Longer than other mail is kept.
        world.down("mx.b.example", days(6));
        a.submit("ann@a.example", &["bob@b.example", "nobody@b.example"], "hello").await;
        world.pass(Duration::from_hours(1)).await;
        assert_eq!((a.queue().len(), k.queue().len()), (0, 1), "{}", world.trace());
        world.settle().await;
        assert_eq!(b.inbox("bob@b.example").len(), 1, "{}", world.trace());
        assert_eq!(
            a.inbox("ann@a.example").iter().filter(|report| report.contains("Action: failed")).count(),
            1,
            "who is nobody comes back"
        );
        // Now the primary can be asked. This one's mail comes by way of the backup.
        let targets = vec![mta::route::Target::parse("mx.k.example").unwrap()];
        let smarthost = mta::route::Smarthost { targets, balanced: false, tls: mta::route::Tls::Opportunistic, credentials: None };
        let next = mta::route::Next::Smarthost(smarthost.into());
        let c = world.host_with("mx.c.example", "c.example", |settings| {
            settings.routes = vec![mta::route::Rule { matching: mta::route::Matching::Everything, accept: false, next }];
        });
        c.account("cyd@c.example");
        let before = k.trails().len();
        c.submit("cyd@c.example", &["nobody2@b.example"], "hello").await;
        world.settle().await;
        assert_eq!(k.trails().len(), before, "it was not even taken\n{}", world.trace());
        assert!(c.inbox("cyd@c.example")[0].contains("550 5.1.1 No such user here"), "{}", c.inbox("cyd@c.example")[0]);
        c.submit("cyd@c.example", &["bob@b.example"], "hello").await;
        world.settle().await;
        assert_eq!((b.inbox("bob@b.example").len(), k.trails().len()), (2, before + 1), "{}", world.trace());
        assert_eq!(b.inbox("bob@b.example").iter().filter(|text| text.contains("by mx.k.example")).count(), 2);
        world.audit().assert_sound();
    });
}

#[test]
fn mail_goes_from_the_address_of_its_sender_and_a_new_one_warms_up() {
    sim::run(1, async |world| {
        let source = |name: &str, ip: &str, hostname: &str, senders: &[&str], start: Option<u32>| mta::source::Source {
            name: name.into(),
            ipv4: ip.parse().ok(),
            ipv6: None,
            hostname: Domain::parse(hostname).ok(),
            senders: senders.iter().map(|text| mta::route::Sender::parse(text).unwrap()).collect(),
            warm_up: start.map(|start| mta::source::WarmUp { start, per_day: vec![2, 3] }),
        };
        let today = mta::return_path::day(world.now());
        let news = source("news", "10.9.0.2", "news.a.example", &["ann@a.example"], Some(today));
        let people = source("people", "10.9.0.1", "people.a.example", &[], None);
        let a = world.host_with("mx.a.example", "a.example", |settings| settings.delivery.sources = vec![people, news]);
        drop(world.dns().clone().with_mx(&Domain::parse("a.example").unwrap(), 10, Some(a.name())));
        let b = world.host("mx.b.example", "b.example");
        a.account("ann@a.example").account("ada@a.example");
        b.account("bob@b.example");
        a.submit("ada@a.example", &["bob@b.example"], "hello").await;
        for _ in 0..6 {
            a.submit("ann@a.example", &["bob@b.example"], "news").await;
        }
        let from = |part: &str| b.inbox("bob@b.example").iter().filter(|text| text.contains(part)).count();
        for (hours, want) in [(12, 2), (24, 5), (24, 6)] {
            world.pass(Duration::from_hours(hours)).await;
            let of_news = from("Received: from news.a.example ([10.9.0.2])");
            assert_eq!((of_news, from("Received: from people.a.example ([10.9.0.1])")), (want, 1), "{hours}\n{}", world.trace());
        }
        assert!(a.queue().is_empty() && a.inbox("ann@a.example").is_empty());
        world.audit().assert_sound();
    });
}
