//! What domains say of TLS, and mail that must not go in clear text: hosts of this world have no TLS at all.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test: its purpose is to fail")]

use mail::Domain;
use net::{Security, Tlsa};
use sim::{Host, World};
use std::time::Duration;

const ENFORCE: &str = "version: STSv1\nmode: enforce\nmx: *.b.example\nmax_age: 86400\n";

fn domain(name: &str) -> Domain {
    Domain::parse(name).unwrap()
}

/// The names of b.example are signed, or bogus.
fn say(world: &World, security: Security) {
    for name in ["b.example", "mx.b.example", "_25._tcp.mx.b.example"] {
        drop(world.dns().clone().with_security(&domain(name), security));
    }
}

/// After an hour the mail waits for this reason, in words, and nothing has arrived.
async fn waits(world: &World, a: &Host, b: &Host, reason: &str) {
    world.pass(Duration::from_hours(1)).await;
    assert_eq!((a.queue().len(), b.inbox("bob@b.example").len()), (1, 0), "{}", world.trace());
    assert!(world.trace().contains(reason), "{}", world.trace());
}

#[test]
fn bogus_dns_makes_mail_wait_until_it_is_repaired() {
    sim::run(1, async |world| {
        let (a, b) = world.two_hosts();
        say(world, Security::Bogus);
        a.submit("ann@a.example", &["bob@b.example"], "hello").await;
        waits(world, &a, &b, "DNSSEC").await;
        say(world, Security::Secure);
        world.settle().await;
        assert_eq!(b.inbox("bob@b.example").len(), 1);
        world.audit().assert_sound();
    });
}

#[test]
fn where_tlsa_records_are_nothing_goes_in_clear_text() {
    sim::run(2, async |world| {
        let (a, b) = world.two_hosts();
        let name = domain("_25._tcp.mx.b.example");
        drop(world.dns().clone().with_tlsa(&name, Tlsa { usage: 3, selector: 1, matching: 1, data: vec![1; 32] }));
        say(world, Security::Secure);
        a.submit("ann@a.example", &["bob@b.example"], "hello").await;
        waits(world, &a, &b, "nothing is sent in clear text").await;
        world.dns().fail(&name, "SERVFAIL");
        waits(world, &a, &b, "whether mx.b.example has TLSA records is not known").await;
        world.dns().recover(&name);
        world.dns().forget(&name);
        world.settle().await;
        assert_eq!(b.inbox("bob@b.example").len(), 1);
        world.audit().assert_sound();
    });
}

#[test]
fn an_enforced_policy_holds_while_its_server_and_its_record_are_gone() {
    sim::run(3, async |world| {
        let (a, b) = world.two_hosts();
        let record = domain("_mta-sts.b.example");
        drop(world.dns().clone().with_txt(&record, "v=STSv1; id=1"));
        world.policies().set("b.example", Some(ENFORCE));
        a.submit("ann@a.example", &["bob@b.example"], "hello").await;
        waits(world, &a, &b, "MTA-STS policy is enforced").await;
        world.dns().forget(&record);
        world.policies().set("b.example", None);
        waits(world, &a, &b, "MTA-STS policy is enforced").await;
        world.pass(Duration::from_hours(23)).await;
        world.settle().await;
        assert_eq!(b.inbox("bob@b.example").len(), 1, "its time is over\n{}", world.trace());
        world.audit().assert_sound();
    });
}

#[test]
fn without_a_way_to_keep_the_policy_the_sender_hears_of_it() {
    sim::run(4, async |world| {
        let (a, b) = world.two_hosts();
        drop(world.dns().clone().with_txt(&domain("_mta-sts.b.example"), "v=STSv1; id=1"));
        world.policies().set("b.example", Some(&ENFORCE.replace("*.b.example", "mx.c.example")));
        a.submit("ann@a.example", &["bob@b.example"], "hello").await;
        world.settle().await;
        assert_eq!(b.inbox("bob@b.example").len(), 0);
        let reports = a.inbox("ann@a.example").concat();
        assert!(reports.contains("does not name mx.b.example"), "{reports}");
        world.audit().assert_sound();
    });
}
