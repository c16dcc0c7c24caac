//! How much time of one CPU a message costs the server's session: `cargo run --release -p postrider-smtp --example speed`.
//!
//! It counts the session alone: no socket, no store. A benchmark, not a test.

use smtp::Reply;
use smtp::server::{Answer, Ask, Config, Connection, Role, Server};
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Instant;
use wire::{Input, Output, Session};

const MESSAGES: u32 = 20_000;

/// Gives the session octets and answers what it asks.
fn tell(session: &mut Server, now: Instant, bytes: &[u8]) {
    session.handle(now, Input::Bytes(bytes));
    loop {
        match session.poll() {
            Output::Ask(Ask::Data { last }) => {
                black_box(last);
                session.handle(now, Input::Answer(Answer::Reply(Reply::new(250, (2, 0, 0), "OK"))));
            }
            Output::Ask(_) => session.handle(now, Input::Answer(Answer::Taken)),
            Output::Wait(_) | Output::Close => return,
            Output::Send(bytes) => drop(black_box(bytes)),
            Output::StartTls => {}
        }
    }
}

fn measure(name: &str, envelope: &[u8], message: &[u8]) {
    let now = Instant::now();
    let mut config = Config::new("mx.example", Role::Mx);
    config.limits.transactions_max = usize::MAX;
    let connection =
        Connection { peer: IpAddr::V4(Ipv4Addr::LOCALHOST), nonce: String::new(), tls: None, wall: mail::Timestamp(0), xclient: false };
    let mut session = Server::new(Arc::new(config), connection, now);
    tell(&mut session, now, b"EHLO client.example\r\n");
    for _ in 0..MESSAGES {
        tell(&mut session, now, envelope);
        tell(&mut session, now, message);
    }
    let each = now.elapsed() / MESSAGES;
    println!("{name}: {each:?} a message of {} octets", message.len());
}

fn main() {
    let line = b"The quick brown fox jumps over the lazy dog, again and again and again...\r\n";
    for lines in [1, 54, 540] {
        let body = line.repeat(lines);
        let envelope = b"MAIL FROM:<ann@client.example> SIZE=4096\r\nRCPT TO:<bob@mx.example>\r\nDATA\r\n";
        measure("DATA", envelope, &[&body[..], b".\r\n"].concat());
        let envelope = format!("MAIL FROM:<ann@client.example>\r\nRCPT TO:<bob@mx.example>\r\nBDAT {} LAST\r\n", body.len());
        measure("BDAT", envelope.as_bytes(), &body);
    }
}
