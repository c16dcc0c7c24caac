//! Who has to wait for whom: bulk senders, slow destinations, urgent mail, providers that have enough, and what an
//! administrator keeps back.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test: its purpose is to fail")]

use mail::{Domain, Priority, ReceiptId, Terms};
use mta::settings::{Limit, Limited, Queue, Rate};
use sim::{Faults, Host, World};
use std::time::Duration;
use store::HoldRule;

/// A with ann and bulk, and settings of its queue.
fn sender(world: &World, change: impl FnOnce(&mut Queue)) -> Host {
    let a = world.host_with("mx.a.example", "a.example", |settings| change(&mut settings.queue));
    a.account("ann@a.example").account("bulk@a.example");
    a
}

/// Makes a host the mail exchanger of further domains, each with sue.
fn serves(world: &World, host: &Host, domains: &[String]) {
    for domain in domains {
        host.domain(domain);
        drop(world.dns().clone().with_mx(&Domain::parse(domain).unwrap(), 10, Some(host.name())));
        host.account(&format!("sue@{domain}"));
    }
}

fn numbered(count: usize, of: &str) -> Vec<String> {
    (0..count).map(|number| format!("d{number}.{of}")).collect()
}

/// What is behind the header of each message.
fn bodies(texts: &[String]) -> Vec<String> {
    texts.iter().map(|text| text.split("\r\n\r\n").nth(1).unwrap().trim().to_owned()).collect()
}

#[test]
fn a_bulk_sender_to_many_slow_domains_starves_nobody() {
    sim::run(1, async |world| {
        let a = sender(world, |queue| {
            queue.window_max = 32;
            queue.connections_total_max = 8;
        });
        let slow: Vec<Host> = (0..8).map(|number| world.host(&format!("mx.s{number}.example"), &format!("s{number}.example"))).collect();
        let mut to = Vec::new();
        for (number, host) in slow.iter().enumerate() {
            world.faults(host.name().as_str(), Faults { slow_millis: 300_000, ..Faults::default() });
            let domains = numbered(6, &format!("s{number}.example"));
            serves(world, host, &domains);
            to.extend(domains);
        }
        let b = world.host("mx.b.example", "b.example");
        b.account("bob@b.example");
        for domain in &to {
            a.submit("bulk@a.example", &[&format!("sue@{domain}")], "bulk").await;
        }
        world.pass(Duration::from_secs(30)).await;
        a.submit("ann@a.example", &["bob@b.example"], "ann's").await;
        world.pass(Duration::from_secs(5)).await;
        assert_eq!(bodies(&b.inbox("bob@b.example")), ["ann's"]);
        world.settle().await;
        assert_eq!(world.audit().delivered(), 49);
        world.audit().assert_sound();
    });
}

#[test]
fn senders_take_turns_at_one_slow_destination() {
    sim::run(1, async |world| {
        let a = sender(world, |queue| {
            queue.window_max = 40;
            queue.connections_max = 1;
            queue.sender_waiting_max = 20;
        });
        let b = world.host("mx.b.example", "b.example");
        b.account("bob@b.example");
        world.faults("mx.b.example", Faults { slow_millis: 1_000, ..Faults::default() });
        for number in 0..100 {
            a.submit("bulk@a.example", &["bob@b.example"], &format!("bulk {number}")).await;
        }
        world.pass(Duration::from_secs(10)).await;
        a.submit("ann@a.example", &["bob@b.example"], "ann's").await;
        world.settle().await;
        let order = bodies(&b.inbox("bob@b.example"));
        let place = order.iter().position(|body| body == "ann's").unwrap();
        assert!((8..16).contains(&place), "behind what was on its way, before the other 80: {place}");
        world.audit().assert_sound();
    });
}

#[test]
fn urgent_mail_goes_first_over_the_whole_queue() {
    sim::run(1, async |world| {
        let a = sender(world, |queue| {
            queue.window_max = 32;
            queue.connections_max = 1;
        });
        let b = world.host("mx.b.example", "b.example");
        b.account("bob@b.example");
        world.faults("mx.b.example", Faults { slow_millis: 1_000, ..Faults::default() });
        for number in 0..100 {
            a.submit("ann@a.example", &["bob@b.example"], &format!("{number}")).await;
        }
        world.pass(Duration::from_secs(10)).await;
        let terms = Terms { priority: Priority::new(4).unwrap(), ..Terms::default() };
        a.submit_on("ann@a.example", &["bob@b.example"], "urgent", terms).await;
        world.settle().await;
        let order = bodies(&b.inbox("bob@b.example"));
        let place = order.iter().position(|body| body == "urgent").unwrap();
        assert!((8..18).contains(&place), "behind what had left, not behind 100: {place}");
        world.audit().assert_sound();
    });
}

#[test]
fn domains_with_one_mail_exchanger_share_connections() {
    sim::run(1, async |world| {
        let a = sender(world, |queue| {
            queue.connections_initial = 1;
            queue.connections_max = 1;
        });
        let b = world.host("mx.b.example", "b.example");
        let domains = numbered(30, "b.example");
        serves(world, &b, &domains);
        for domain in &domains {
            a.submit("ann@a.example", &[&format!("sue@{domain}")], "hello").await;
        }
        world.settle().await;
        assert_eq!(world.audit().delivered(), 30);
        assert!(world.network().connections() <= 3, "{} connections for one exchanger", world.network().connections());
        world.audit().assert_sound();
    });
}

#[test]
fn a_provider_gets_no_more_in_a_time_than_it_is_allowed() {
    sim::run(1, async |world| {
        let a = sender(world, |queue| {
            let rate = Some(Rate { messages: 6, time: Duration::from_mins(1) });
            let matching = Limited::Exchangers(vec![mta::route::Pattern::parse("*.b.example").unwrap()]);
            queue.limits = vec![Limit { matching, connections: None, rate, messages_per_connection: None }];
        });
        let b = world.host("mx.b.example", "b.example");
        let domains = numbered(4, "b.example");
        serves(world, &b, &domains);
        for number in 0..24 {
            a.submit("ann@a.example", &[&format!("sue@{}", domains[number % 4])], "hello").await;
        }
        let arrived = || domains.iter().map(|domain| b.inbox(&format!("sue@{domain}")).len()).sum::<usize>();
        world.pass(Duration::from_secs(115)).await;
        assert!((10..=14).contains(&arrived()), "{} in two minutes", arrived());
        world.pass(Duration::from_mins(3)).await;
        assert_eq!(arrived(), 24);
        world.audit().assert_sound();
    });
}

#[test]
fn a_suspended_destination_waits_and_goes_on_when_it_is_resumed() {
    sim::run(1, async |world| {
        let a = sender(world, |_| {});
        let (b, c) = (world.host("mx.b.example", "b.example"), world.host("mx.c.example", "c.example"));
        b.account("bob@b.example");
        c.account("cid@c.example");
        let domain = Domain::parse("b.example").unwrap();
        let (now, suspended) = (world.now(), domain.clone());
        a.store().write(move |tx| tx.queue_suspend(&suspended, "", now)).await.unwrap();
        a.submit("ann@a.example", &["bob@b.example", "cid@c.example"], "hello").await;
        world.pass(Duration::from_hours(10)).await;
        a.stop();
        world.pass(Duration::from_mins(1)).await;
        a.start();
        world.pass(Duration::from_hours(10)).await;
        assert_eq!((b.inbox("bob@b.example").len(), c.inbox("cid@c.example").len()), (0, 1));
        a.store().write(move |tx| tx.queue_resume(&domain)).await.unwrap();
        world.pass(Duration::from_secs(1)).await;
        assert_eq!(b.inbox("bob@b.example").len(), 1, "{}", world.trace());
        world.audit().assert_sound();
    });
}

#[test]
fn what_waits_for_a_connection_stays_when_its_destination_is_suspended() {
    sim::run(1, async |world| {
        let a = sender(world, |queue| queue.connections_max = 1);
        let b = world.host("mx.b.example", "b.example");
        b.account("bob@b.example");
        world.faults("mx.b.example", Faults { slow_millis: 60_000, ..Faults::default() });
        for _ in 0..5 {
            a.submit("ann@a.example", &["bob@b.example"], "hello").await;
        }
        world.pass(Duration::from_secs(30)).await;
        let domain = Domain::parse("b.example").unwrap();
        let (now, suspended) = (world.now(), domain.clone());
        a.store().write(move |tx| tx.queue_suspend(&suspended, "", now)).await.unwrap();
        world.pass(Duration::from_hours(1)).await;
        assert_eq!(b.inbox("bob@b.example").len(), 1, "the one that was on its way");
        a.store().write(move |tx| tx.queue_resume(&domain)).await.unwrap();
        world.settle().await;
        assert_eq!(b.inbox("bob@b.example").len(), 5);
        world.audit().assert_sound();
    });
}

#[test]
fn a_hold_rule_keeps_mail_until_it_is_released() {
    sim::run(1, async |world| {
        let a = sender(world, |_| {});
        let b = world.host("mx.b.example", "b.example");
        b.account("bob@b.example");
        let (sender, created) = (Some("bulk@a.example".to_owned()), world.now());
        let rule = HoldRule { number: 0, account: None, sender, recipient: None, created, why: String::new() };
        a.store().write(move |tx| tx.hold_rule_add(&rule)).await.unwrap();
        a.submit("ann@a.example", &["bob@b.example"], "ann's").await;
        let receipt = a.submit("bulk@a.example", &["bob@b.example"], "bulk").await.receipt;
        world.pass(Duration::from_hours(1)).await;
        assert_eq!(bodies(&b.inbox("bob@b.example")), ["ann's"]);
        assert_eq!(a.queue().iter().map(|message| (message.receipt, message.held_by)).collect::<Vec<_>>(), [(receipt, Some(1))]);
        let now = world.now();
        a.store().write(move |tx| mta::queue::admin::release(tx, receipt, now)).await.unwrap();
        world.settle().await;
        assert_eq!(b.inbox("bob@b.example").len(), 2);
        world.audit().assert_sound();
    });
}

#[test]
fn what_was_taken_when_the_power_went_is_put_back() {
    for seed in 0..8 {
        sim::run(seed, async |world| {
            let a = sender(world, |queue| queue.connections_max = 2);
            let b = world.host("mx.b.example", "b.example");
            b.account("bob@b.example");
            world.faults("mx.b.example", Faults { slow_millis: 10_000, ..Faults::default() });
            for _ in 0..40 {
                a.submit("ann@a.example", &["bob@b.example"], "hello").await;
            }
            world.pass(Duration::from_secs(15)).await;
            a.power_cut();
            assert_eq!(a.damage(), Vec::<String>::new());
            a.start();
            world.settle().await;
            let audit = world.audit();
            assert!(audit.lost().is_empty(), "{:?}", audit.lost());
            assert!(audit.duplicated().len() <= 2, "at most one for each connection: {:?}", audit.duplicated());
            assert_eq!(a.damage(), Vec::<String>::new());
        });
    }
}

#[test]
fn a_retry_wakes_only_the_destination_that_it_is_for() {
    sim::run(1, async |world| {
        let a = sender(world, |_| {});
        for (name, domain, who) in [("mx.b.example", "b.example", "bob@b.example"), ("mx.c.example", "c.example", "cid@c.example")] {
            world.host(name, domain).account(who);
            world.down(name, Duration::from_secs(20));
        }
        let to_b = a.submit("ann@a.example", &["bob@b.example"], "hello").await.receipt;
        let to_c = a.submit("ann@a.example", &["cid@c.example"], "hello").await.receipt;
        world.pass(Duration::from_secs(25)).await;
        let now = world.now();
        a.urge([Domain::parse("b.example").unwrap()]);
        let retry = move |tx: &mut store::WriteTx, receipt: ReceiptId| mta::queue::admin::retry(tx, receipt, None, now);
        a.store().write(move |tx| retry(tx, to_b).and_then(|()| retry(tx, to_c))).await.unwrap();
        world.pass(Duration::from_secs(2)).await;
        let inbox = |name: usize, who: &str| world.hosts()[name].inbox(who).len();
        assert_eq!((inbox(1, "bob@b.example"), inbox(2, "cid@c.example")), (1, 0), "{}", world.trace());
        world.settle().await;
        world.audit().assert_sound();
    });
}
