//! What an idle connection costs.

use super::stage::World;
use access::imap::serve::Server;
use access::imap::{Ask, Session};
use std::time::Instant;
use wire::Handler;

#[test]
fn an_idle_connection_is_small() {
    let mut world = World::new();
    (0..1000).for_each(|_| world.deliver("INBOX", b"Subject: x\r\n\r\nx"));
    let mut client = world.ready(Instant::now(), "INBOX");
    client.send(Instant::now(), b"a1 IDLE\r\n");
    let server = client.server_mut();
    let answering = size_of_val(&server.answer(Ask::Continue));
    let pushing = size_of_val(&server.pushed());
    let sizes = [size_of::<Session>(), size_of::<Server>(), answering, pushing];
    println!("session {}, server {}, answer {}, pushed {}", sizes[0], sizes[1], sizes[2], sizes[3]);
    // What hangs on them (nonce, view, subscription) is a few hundred octets more.
    assert!(sizes.iter().sum::<usize>() < 2048, "{sizes:?}");
}
