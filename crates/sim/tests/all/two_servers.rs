//! Two servers and what happens between them: delivery, retries over days, bounces, faults, crashes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test: its purpose is to fail")]

use mail::{Domain, Event};
use sim::{Faults, Host};
use std::time::Duration;

fn domain(text: &str) -> Domain {
    Domain::parse(text).unwrap()
}

/// The status and reason of every failure in the trails of a host.
fn failures(host: &Host) -> Vec<String> {
    let entries = host.trails().into_iter().flat_map(|(_, entries)| entries);
    let failed = entries.filter_map(|entry| match entry.event {
        Event::Failed { status, reason, .. } => Some(format!("{status} {reason}")),
        _ => None,
    });
    failed.collect()
}

fn attempts(host: &Host) -> usize {
    let entries = host.trails().into_iter().flat_map(|(_, entries)| entries);
    entries.filter(|entry| matches!(entry.event, Event::Attempted { .. })).count()
}

#[test]
fn mail_goes_from_a_to_b_at_once() {
    sim::run(1, async |world| {
        let (a, b) = world.two_hosts();
        a.submit("ann@a.example", &["bob@b.example"], "hello\r\n.dots\r\n..").await;
        world.pass(Duration::from_secs(1)).await;
        let inbox = b.inbox("bob@b.example");
        assert_eq!(inbox.len(), 1, "{}", world.trace());
        assert!(inbox[0].starts_with("Return-Path: <ann@a.example>\r\nX-Postrider-Verdict: accept;"), "{}", inbox[0]);
        assert!(inbox[0].contains("\r\nReceived: from mx.a.example ([10.0.0.1])"), "{}", inbox[0]);
        assert!(inbox[0].ends_with("\r\n\r\nhello\r\n.dots\r\n..\r\n"), "{}", inbox[0]);
        assert_eq!(inbox[0].matches("Return-Path").count(), 1);
        assert!(a.queue().is_empty());
        world.audit().assert_sound();
    });
}

#[test]
fn a_connection_is_used_for_many_messages() {
    sim::run(1, async |world| {
        let (a, b) = world.two_hosts();
        for n in 0..100 {
            a.submit("ann@a.example", &["bob@b.example"], &format!("{n}")).await;
        }
        world.settle().await;
        assert_eq!(b.inbox("bob@b.example").len(), 100);
        assert!(world.network().connections() <= 20, "{}", world.network().connections());
        world.audit().assert_sound();
    });
}

#[test]
fn what_the_other_server_refuses_comes_back() {
    sim::run(1, async |world| {
        let (a, b) = world.two_hosts();
        a.submit("ann@a.example", &["nobody@b.example", "bob@b.example"], "hello").await;
        world.settle().await;
        let reports = a.inbox("ann@a.example");
        assert_eq!((reports.len(), b.inbox("bob@b.example").len()), (1, 1), "{}", world.trace());
        for part in [
            "Final-Recipient: rfc822; nobody@b.example",
            "Action: failed",
            "Status: 5.1.1",
            "Remote-MTA: dns; mx.b.example",
            "Diagnostic-Code: smtp; 550 5.1.1",
            "\r\n\r\nhello\r\n",
        ] {
            assert!(reports[0].contains(part), "{part}\n{}", reports[0]);
        }
        assert!(!reports[0].contains("rfc822; bob@b.example"));
        world.audit().assert_sound();
    });
}

#[test]
fn domains_that_take_no_mail_fail_at_once_with_the_right_status() {
    sim::run(1, async |world| {
        let (a, _) = world.two_hosts();
        drop(world.dns().clone().with_mx(&domain("null.example"), 0, None));
        drop(world.dns().clone().with_txt(&domain("empty.example"), "no mail here"));
        drop(world.dns().clone().with_mx(&domain("mine.example"), 10, Some(a.name())));
        drop(world.dns().clone().with_mx(&domain("dangling.example"), 10, Some(&domain("gone.example"))));
        for to in ["x@null.example", "x@empty.example", "x@nowhere.example", "x@mine.example", "x@dangling.example"] {
            a.submit("ann@a.example", &[to], "hello").await;
        }
        world.pass(Duration::from_mins(1)).await;
        let statuses: Vec<_> = failures(&a).iter().map(|failure| failure.split(' ').next().unwrap().to_owned()).collect();
        assert_eq!(statuses, ["5.1.10", "5.4.4", "5.1.2", "5.4.6", "5.1.2"], "{}", world.trace());
        assert_eq!(a.inbox("ann@a.example").len(), 5);
        world.audit().assert_sound();
    });
}

#[test]
fn a_domain_without_mx_is_reached_by_its_address() {
    sim::run(1, async |world| {
        let a = world.host("mx.a.example", "a.example");
        let b = world.host_with("b.example", "b.example", |_| {});
        a.account("ann@a.example");
        b.account("bob@b.example");
        a.submit("ann@a.example", &["bob@b.example"], "hello").await;
        world.settle().await;
        assert_eq!(b.inbox("bob@b.example").len(), 1);
        world.audit().assert_sound();
    });
}

#[test]
fn the_next_host_is_tried_when_the_best_is_down() {
    sim::run(1, async |world| {
        let (a, b) = world.two_hosts();
        drop(world.dns().clone().with_mx(&domain("b.example"), 5, Some(&domain("dead.example"))));
        drop(world.dns().clone().with_address(&domain("dead.example"), "10.9.9.9".parse().unwrap()));
        a.submit("ann@a.example", &["bob@b.example"], "hello").await;
        world.pass(Duration::from_secs(5)).await;
        assert_eq!(b.inbox("bob@b.example").len(), 1, "{}", world.trace());
    });
}

#[test]
fn a_server_that_was_down_gets_its_mail_later() {
    sim::run(1, async |world| {
        let (a, b) = world.two_hosts();
        world.down("mx.b.example", Duration::from_hours(3));
        for n in 0..10 {
            a.submit("ann@a.example", &["bob@b.example"], &format!("{n}")).await;
        }
        world.pass(Duration::from_hours(3)).await;
        assert_eq!((a.queue().len(), b.inbox("bob@b.example").len()), (10, 0));
        world.settle().await;
        assert_eq!((b.inbox("bob@b.example").len(), a.inbox("ann@a.example").len()), (10, 0), "{}", world.trace());
        world.audit().assert_sound();
    });
}

#[test]
fn five_days_of_retries_end_with_a_report() {
    // Takes under a second of real time; shown, not asserted, because a busy machine is no fault of the queue.
    let started = std::time::Instant::now();
    sim::run(1, async |world| {
        let (a, _) = world.two_hosts();
        world.down("mx.b.example", Duration::from_hours(24 * 30));
        let began = world.now();
        a.submit("ann@a.example", &["bob@b.example"], "hello").await;
        world.settle().await;
        let took = world.now().since(began);
        assert!((Duration::from_hours(120)..Duration::from_hours(121)).contains(&took), "{took:?}");
        let reports = a.inbox("ann@a.example");
        assert_eq!(reports.len(), 2, "a warning and a failure\n{}", world.trace());
        assert!(reports[0].contains("Action: delayed") && reports[0].contains("Will-Retry-Until: Tue, 6 Jan 2026"), "{}", reports[0]);
        assert!(reports[1].contains("Action: failed") && reports[1].contains("Status: 5.4.7"), "{}", reports[1]);
        assert!((30..60).contains(&attempts(&a)), "{}", attempts(&a));
        world.audit().assert_sound();
    });
    println!("five days took {:?}", started.elapsed());
}

#[test]
fn a_full_disk_refuses_for_now_and_nothing_is_lost() {
    sim::run(1, async |world| {
        let (a, b) = world.two_hosts();
        b.disk().fail_at(b.disk().operations() + 1, store::disk::sim::Fault::Full);
        a.submit("ann@a.example", &["bob@b.example"], "hello").await;
        world.pass(Duration::from_mins(1)).await;
        assert_eq!((a.queue().len(), b.inbox("bob@b.example").len()), (1, 0));
        assert!(world.trace().contains("452 4.3.1"), "{}", world.trace());
        b.disk().heal();
        world.settle().await;
        assert_eq!(b.inbox("bob@b.example").len(), 1, "{}", world.trace());
        world.audit().assert_sound();
    });
}

#[test]
fn a_report_that_cannot_be_delivered_is_not_reported() {
    sim::run(1, async |world| {
        let (a, b) = world.two_hosts();
        // What B takes for list@b.example goes on to somebody who does not exist at A; the report of that
        // goes back to ann, who is gone by then.
        let forward = vec![store::Target::Address(mail::Address::parse("nobody@a.example").unwrap())];
        let alias = mail::Address::parse("list@b.example").unwrap();
        b.store().write_blocking(move |tx| tx.alias_set(&alias, forward.clone())).unwrap();
        a.submit("ann@a.example", &["list@b.example"], "hello").await;
        let ann = a.store().read_blocking(|tx| tx.account_by_login("ann@a.example")).unwrap().unwrap().id;
        a.store().write_blocking(move |tx| tx.account_remove(ann)).unwrap();
        world.settle().await;
        let trace = world.trace();
        assert!(trace.contains("Reported { action: \"failed\", to: ann@a.example"), "{trace}");
        assert!(trace.contains("Discarded { recipient: ann@a.example"), "{trace}");
    });
}

#[test]
fn mail_passes_over_a_smarthost() {
    sim::run(1, async |world| {
        let smarthost = world.host_with("relay.example", "relay.example", |settings| {
            settings.receive.relay_networks = vec!["10.0.0.0/8".parse().unwrap()];
        });
        let route = mta::route::Rule {
            matching: mta::route::Matching::Everything,
            accept: false,
            next: mta::route::Next::Smarthost(std::sync::Arc::new(mta::route::Smarthost {
                targets: vec![mta::route::Target::parse("relay.example:25").unwrap()],
                balanced: false,
                tls: mta::route::Tls::Opportunistic,
                credentials: None,
            })),
        };
        smarthost.stop();
        smarthost.start();
        let a = world.host_with("mx.a.example", "a.example", |settings| settings.routes = vec![route]);
        drop(world.dns().clone().with_mx(&domain("a.example"), 10, Some(a.name())));
        let b = world.host("mx.b.example", "b.example");
        a.account("ann@a.example");
        b.account("bob@b.example");
        a.submit("ann@a.example", &["bob@b.example", "nobody@b.example"], "hello").await;
        world.settle().await;
        let inbox = b.inbox("bob@b.example");
        assert_eq!(inbox.len(), 1, "{}", world.trace());
        assert!(inbox[0].contains("Received: from relay.example") && inbox[0].contains("Received: from mx.a.example"), "{}", inbox[0]);
        assert_eq!(a.inbox("ann@a.example").len(), 1, "the bounce comes back by MX\n{}", world.trace());
        world.audit().assert_sound();
    });
}

/// A busy hour with faults of every kind that cannot make duplicates; both sides are killed now and then.
fn storm(seed: u64, faults: Faults, kills: usize) -> (String, sim::Audit, usize) {
    sim::run(seed, async |world| {
        let (a, b) = world.two_hosts();
        b.account("bea@b.example");
        a.account("ada@a.example");
        world.faults("mx.b.example", faults);
        world.faults("mx.a.example", faults);
        let kill_every = 60_usize.checked_div(kills).unwrap_or(usize::MAX);
        for n in 0..60 {
            let to: &[&str] = match world.chance().below(4) {
                0 => &["bob@b.example", "bea@b.example"],
                1 => &["bea@b.example", "ada@a.example"],
                2 => &["nobody@b.example", "bob@b.example"],
                _ => &["bob@b.example"],
            };
            a.submit("ann@a.example", to, &format!("{n} {}", "x".repeat(usize::try_from(world.chance().below(2000)).unwrap()))).await;
            if world.chance().strikes(50) {
                b.submit("bob@b.example", &["ann@a.example"], "back").await;
            }
            world.pass(Duration::from_millis(world.chance().below(90_000))).await;
            if n % kill_every == kill_every - 1 {
                let victim = if world.chance().strikes(50) { &a } else { &b };
                if world.chance().strikes(50) {
                    victim.kill();
                } else {
                    victim.power_cut();
                }
                world.pass(Duration::from_millis(world.chance().below(60_000))).await;
                victim.start();
            }
        }
        world.faults("mx.b.example", Faults::default());
        world.faults("mx.a.example", Faults::default());
        world.settle().await;
        for host in [&a, &b] {
            assert!(host.damage().is_empty(), "seed {seed}, {}: {:?}", host.name(), host.damage());
        }
        (world.trace(), world.audit(), usize::try_from(world.network().connections()).unwrap())
    })
}

/// A few seeds, or as many as `SIM_SEEDS` says.
fn seeds() -> std::ops::Range<u64> {
    0..std::env::var("SIM_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(4)
}

const FAULTS: Faults = Faults { refuse: 20, cut_sending: 20, defer_recipient: 10, defer_message: 10, ..Faults::NONE };

#[test]
fn the_same_seed_gives_the_same_trace() {
    let (first, audit, _) = storm(42, FAULTS, 3);
    let (second, _, _) = storm(42, FAULTS, 3);
    let (other, _, _) = storm(43, FAULTS, 3);
    assert!(first == second, "two runs differ");
    assert!(first != other);
    assert!(audit.lost().is_empty(), "{:?}", audit.lost());
}

#[test]
fn with_faults_nothing_is_lost_and_nothing_comes_twice() {
    for seed in seeds() {
        let (trace, audit, _) = storm(seed, FAULTS, 0);
        assert!(audit.lost().is_empty() && audit.duplicated().is_empty(), "seed {seed}: {audit:?}\n{trace}");
        assert!(audit.bounced() > 0 && audit.delivered() > 60);
    }
}

#[test]
fn when_servers_are_killed_nothing_is_lost_and_one_delivery_a_kill_may_come_twice() {
    for seed in seeds() {
        let kills = 6;
        let faults = Faults { cut_receiving: 10, ..FAULTS };
        let (trace, audit, connections) = storm(seed, faults, kills);
        assert!(audit.lost().is_empty(), "seed {seed}: {audit:?}\n{trace}");
        assert!(audit.excessive().is_empty(), "seed {seed}: {:?}\n{trace}", audit.excessive());
        // One a kill, and one for each connection that broke while a reply was awaited: a tenth of all.
        let allowed = kills + connections / 5;
        assert!(audit.duplicated().len() <= allowed, "seed {seed}: {} of {allowed}", audit.duplicated().len());
    }
}
