//! The client's session: every file of `transcripts/client` is one test, and replies that come octet by octet
//! change nothing. `UPDATE=1` rewrites the files.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use crate::stage::{folder, options};
use mail::{Address, BodyType, DeliverBy, Envelope, Late, Notify, Priority, Recipient, Ret, ReversePath, Terms, Timestamp};
use smtp::client::{Answer, Client, Config, Limits, TlsPolicy, Transaction};
use std::fmt::Write as _;
use std::time::{Duration, Instant};
use wire::sasl::Secret;
use wire::sasl::client::Credentials;
use wire::{Input, Output, Session, Tls, transcript};

/// The session for a script, whose `# config:` line changes the defaults.
fn client(script: &str, now: Instant) -> Client {
    let mut config = Config::new("client.example");
    config.nonce.push_str("rOprNGfwEbeRWgbNEkqO");
    for (key, value) in options(script) {
        match key {
            "tls" if value == "none" => config.tls_policy = TlsPolicy::None,
            "tls" if value == "required" => config.tls_policy = TlsPolicy::Required,
            "tls" => config.tls = Some(tls()),
            "requiretls" => config.requiretls = true,
            "lmtp" => config.lmtp = true,
            "no-chunking" => config.chunking = false,
            "in-clear" => config.password_in_clear = true,
            "password" => config.credentials = Some(Credentials { login: "user".to_owned(), password: Secret::new(value) }),
            _ => limit(&mut config.limits, key, value.parse().unwrap()),
        }
    }
    Client::new(config, now)
}

fn limit(limits: &mut Limits, key: &str, value: usize) {
    match key {
        "reply_octets_max" => limits.reply_octets_max = value,
        "reply_lines_max" => limits.reply_lines_max = value,
        "recipients_max" => limits.recipients_max = value,
        "pipelined_octets_max" => limits.pipelined_octets_max = value,
        "quit_max" => limits.quit_max = Duration::from_secs(value as u64),
        key => panic!("no such option: {key}"),
    }
}

fn tls() -> Tls {
    Tls { version: "TLSv1.3".to_owned(), cipher: "TLS13_AES_128_GCM_SHA256".to_owned(), exporter: Some([7; 32]), ..Tls::default() }
}

/// `message OCTETS FROM TO… [8bit binary utf8 ret=full envid=X notify=success,delay orcpt=X]` (the last two for the
/// recipient before them), `chunk TEXT`, `end`, `abort`, `unfit`, `quit`, `taken`.
fn answer(words: &str) -> Answer {
    let (head, rest) = words.split_once(' ').unwrap_or((words, ""));
    match head {
        "message" => Answer::Message(message(rest)),
        "chunk" => Answer::Chunk(transcript::octets(rest)),
        "end" => Answer::Chunk(Vec::new()),
        "abort" => Answer::Abort,
        "unfit" => Answer::Unfit,
        "quit" => Answer::Quit,
        "taken" => Answer::Taken,
        _ => panic!("no answer: {words}"),
    }
}

fn message(words: &str) -> Transaction {
    let mut words = words.split(' ');
    let octets = words.next().unwrap().parse().unwrap();
    let from = words.next().unwrap();
    let mut envelope = Envelope { reverse_path: ReversePath((from != "<>").then(|| from.parse().unwrap())), ..Envelope::default() };
    let (mut terms, now) = (Terms::default(), Timestamp::from_seconds(1000));
    for word in words {
        match word.split_once('=').unwrap_or((word, "")) {
            ("8bit", _) => envelope.body = BodyType::EightBitMime,
            ("binary", _) => envelope.body = BodyType::BinaryMime,
            ("utf8", _) => envelope.smtputf8 = true,
            ("requiretls", _) => envelope.require_tls = true,
            ("ret", "full") => envelope.ret = Some(Ret::Full),
            ("ret", _) => envelope.ret = Some(Ret::Headers),
            ("envid", id) => envelope.envelope_id = Some(id.to_owned()),
            ("notify", wanted) => {
                let has = |word| wanted.split(',').any(|given| given == word);
                let notify = Notify { success: has("success"), failure: has("failure"), delay: has("delay") };
                envelope.recipients.last_mut().unwrap().notify = Some(notify);
            }
            ("priority", number) => terms.priority = Priority::new(number.parse().unwrap()).unwrap(),
            ("by-return" | "by-notify", seconds) => {
                let late = if word.starts_with("by-return") { Late::Return } else { Late::Notify };
                let at = Timestamp::from_seconds(1000 + seconds.trim_end_matches('T').parse::<i64>().unwrap());
                terms.deliver_by = Some(DeliverBy { at, late, trace: seconds.ends_with('T') });
            }
            ("orcpt", original) => envelope.recipients.last_mut().unwrap().original = Some(original.to_owned()),
            _ => envelope.recipients.push(Recipient::new(word.parse::<Address>().unwrap())),
        }
    }
    Transaction { envelope, octets, terms, now }
}

#[test]
fn client_transcripts() {
    for path in transcript::scripts(&folder("client")) {
        let script = std::fs::read_to_string(&path).unwrap();
        let now = Instant::now();
        transcript::check_client(&path, client(&script, now), now, answer, |_| unreachable!());
    }
}

/// What is said if each line of the server comes in pieces of `step` octets.
fn said_in_pieces(script: &str, step: usize) -> String {
    let mut now = Instant::now();
    let mut session = client(script, now);
    let mut out = String::new();
    for line in script.lines() {
        if let Some(text) = line.strip_prefix("S:") {
            for piece in transcript::octets(text.strip_prefix(' ').unwrap_or(text)).chunks(step) {
                session.handle(now, Input::Bytes(piece));
                heard(&mut session, &mut out);
            }
        } else if let Some(words) = line.strip_prefix("! ") {
            session.handle(now, Input::Answer(answer(words)));
        } else if line == "@ tls" {
            session.handle(now, Input::TlsStarted(tls()));
        } else if line == "@ eof" {
            session.handle(now, Input::Eof);
        } else if let Some(seconds) = line.strip_prefix("@ +") {
            now += Duration::from_secs(seconds.parse().unwrap());
            session.handle(now, Input::Tick);
        }
        heard(&mut session, &mut out);
    }
    out
}

fn heard(session: &mut Client, out: &mut String) {
    loop {
        let _ = match session.poll() {
            Output::Send(bytes) => writeln!(out, "{}", transcript::escape(&bytes)),
            Output::Ask(ask) => writeln!(out, "? {ask:?}"),
            Output::StartTls => writeln!(out, "[starts TLS]"),
            Output::Close => writeln!(out, "[closes]"),
            Output::Wait(_) => return,
        };
    }
}

#[test]
fn replies_in_pieces_change_nothing() {
    for path in transcript::scripts(&folder("client")) {
        // Where several replies in one packet are the point, pieces make another story.
        if path.to_string_lossy().contains("one-packet") {
            continue;
        }
        let script = std::fs::read_to_string(&path).unwrap();
        let whole = said_in_pieces(&script, usize::MAX);
        for step in [1, 2, 3, 7] {
            assert_eq!(said_in_pieces(&script, step), whole, "{} by {step}", path.display());
        }
    }
}
