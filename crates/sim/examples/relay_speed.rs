//! How much work relaying a message is: two servers in one thread, stores in memory, no sockets.
//!
//! `cargo run --release -p postrider-sim --example relay_speed -- MESSAGES OCTETS`. Not what a disk and a
//! network add: it shows what our own code costs, both sides and the submission apart.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement")]

use std::time::{Duration, Instant};

fn main() {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<usize>().unwrap());
    let (messages, octets) = (arguments.next().unwrap_or(10_000), arguments.next().unwrap_or(4096));
    sim::run(1, async |world| {
        let a = world.host("mx.a.example", "a.example");
        let b = world.host("mx.b.example", "b.example");
        a.account("ann@a.example");
        b.account("bob@b.example");
        world.down("mx.b.example", Duration::from_secs(1));
        a.stop();
        let text = "A line of text as people write them, about seventy characters long.\r\n".repeat(octets / 70);
        let began = Instant::now();
        for _ in 0..messages {
            a.submit("ann@a.example", &["bob@b.example"], &text).await;
        }
        let submitted = began.elapsed();
        world.pass(Duration::from_secs(2)).await;
        let began = Instant::now();
        a.start();
        world.settle().await;
        let relayed = began.elapsed();
        let each = |time: Duration| time.as_secs_f64() * 1e6 / f64::from(u32::try_from(messages).unwrap());
        println!("submitted: {:.1} us a message; relayed: {:.1} us a message, both sides", each(submitted), each(relayed));
        println!("{} connections, {} arrived", world.network().connections(), b.inbox("bob@b.example").len());
    });
}
