//! AUTHENTICATE SCRAM-SHA-256, whose messages no script can hold.

use super::stage::World;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::time::Instant;
use wire::sasl::{Mechanism, Secret, client};

fn log_in(password: &str) -> (String, bool) {
    let mut world = World::new();
    let now = Instant::now();
    let mut connection = world.connect(now);
    connection.pump(now);
    connection.heard();
    let credentials = client::Credentials { login: "ann@example.org".into(), password: Secret::new(password) };
    let mut scram = client::Client::new(Mechanism::ScramSha256, credentials, "client-nonce-client-nonce", None);
    let first = STANDARD.encode(scram.initial().unwrap());
    connection.send(now, format!("a1 AUTHENTICATE SCRAM-SHA-256 {first}\r\n").as_bytes());
    loop {
        let said = String::from_utf8(connection.heard()).unwrap();
        let Some(challenge) = said.strip_prefix("+ ") else { return (said, scram.finished()) };
        let challenge = STANDARD.decode(challenge.trim_end()).unwrap();
        let answer = STANDARD.encode(scram.step(&challenge).unwrap_or_default());
        connection.send(now, format!("{answer}\r\n").as_bytes());
    }
}

#[test]
fn the_password_is_proved_on_both_sides() {
    let (said, finished) = log_in("secret");
    assert!(said.starts_with("a1 OK [CAPABILITY ") && finished, "{said}");
}

#[test]
fn a_wrong_password_fails_at_the_proof() {
    let (said, finished) = log_in("wrong");
    assert!(said.starts_with("a1 NO [AUTHENTICATIONFAILED]") && !finished, "{said}");
}
