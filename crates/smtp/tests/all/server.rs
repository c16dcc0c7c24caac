//! The server's session: every file of `transcripts/server` and `transcripts/lmtp` is one test, and any split of
//! the same octets gives the same words. `UPDATE=1` rewrites the files.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use crate::stage::{folder, options};
use proptest::prelude::*;
use smtp::Reply;
use smtp::server::{Answer, Ask, Config, Connection, Limits, Role, Server};
use std::collections::VecDeque;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;
use wire::sasl::{Failure, Hash, Mechanism, SaslAnswer, ScramVerifier, Secret, TokenError};
use wire::trace::Traced;
use wire::{Input, Output, Session, Tls, transcript};

/// The nonce of RFC 7677 §3.
const NONCE: &str = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";

/// The session for a script, whose `# config:` line changes the defaults.
fn server(script: &str, role: Role, now: Instant) -> Server {
    let mut config = Config::new("mx.example", role);
    config.pretence_key = [1; 32];
    let (mut tls, mut xclient) = (None, false);
    for (key, value) in options(script) {
        match key {
            "role" if value == "submission" => config.role = Role::Submission,
            "starttls" => config.starttls = true,
            "auth" => config.mechanisms = value.split(',').map(|name| Mechanism::parse(name).unwrap()).collect(),
            "auth-in-clear" => config.auth_needs_tls = false,
            "mail-needs-tls" => config.mail_needs_tls = true,
            "no-chunking" => config.chunking = false,
            "no-smtputf8" => config.smtputf8 = false,
            "no-requiretls" => config.requiretls = false,
            "limits" => config.limits_offered = true,
            "mt-priority" => config.mt_priority = true,
            "deliver-by" => config.deliver_by = true,
            "etrn" => config.etrn = true,
            "binarymime" => config.binary_mime = true,
            "xclient" => xclient = true,
            "hold-max" => config.hold_max = Some(std::time::Duration::from_secs(value.parse().unwrap())),
            "no-dsn" => config.dsn = false,
            "tls" => tls = Some(tls13()),
            "certificate" => tls = Some(Tls { verified: true, client_addresses: vec![value.to_owned()], ..tls13() }),
            _ => limit(&mut config.limits, key, value.parse().unwrap()),
        }
    }
    let connection = Connection {
        peer: "192.0.2.1".parse().unwrap(),
        nonce: NONCE.to_owned(),
        tls,
        wall: mail::Timestamp::from_seconds(1_700_000_000),
        xclient,
    };
    Server::new(Arc::new(config), connection, now)
}

fn tls13() -> Tls {
    Tls { version: "TLSv1.3".to_owned(), cipher: "TLS13_AES_128_GCM_SHA256".to_owned(), exporter: Some([7; 32]), ..Tls::default() }
}

fn limit(limits: &mut Limits, key: &str, value: usize) {
    match key {
        "command_octets_max" => limits.command_octets_max = value,
        "auth_octets_max" => limits.auth_octets_max = value,
        "recipients_max" => limits.recipients_max = value,
        "message_octets_max" => limits.message_octets_max = value as u64,
        "discard_octets_max" => limits.discard_octets_max = value as u64,
        "transactions_max" => limits.transactions_max = value,
        "errors_max" => limits.errors_max = value,
        "idle_commands_max" => limits.idle_commands_max = value,
        "auth_failures_max" => limits.auth_failures_max = value,
        key => panic!("no such option: {key}"),
    }
}

/// `taken`, `250 2.1.0 OK`, `account 7 ann`, `refused temporary`, `verifier PASSWORD`, `no verifier`,
/// `replies 250 OK | 550 No`.
fn answer(words: &str) -> Answer {
    let (head, rest) = words.split_once(' ').unwrap_or((words, ""));
    match head {
        "taken" => Answer::Taken,
        "account" => Answer::Auth(SaslAnswer::Account { account: 7, login: rest.trim_start_matches("7 ").to_owned() }),
        "verifier" => {
            let salt = b"\x5b\x6d\x99\x68\x9d\x12\x35\x8e\xec\xa0\x4b\x14\x12\x36\xfa\x81";
            Answer::Auth(SaslAnswer::Verifier(Some(ScramVerifier::derive(Hash::Sha256, &Secret::new(rest), salt, 4096, 7, "user"))))
        }
        "verifier-sha-1" => {
            Answer::Auth(SaslAnswer::Verifier(Some(ScramVerifier::derive(Hash::Sha1, &Secret::new(rest), &[1; 16], 4096, 7, "user"))))
        }
        "token-refused" => {
            let openid_configuration = Some("https://id.example/.well-known/openid-configuration".to_owned());
            Answer::Auth(SaslAnswer::TokenRefused(TokenError { scope: Some("mail".to_owned()), openid_configuration }))
        }
        "no" => Answer::Auth(SaslAnswer::Verifier(None)),
        "refused" => Answer::Auth(SaslAnswer::Refused(match rest {
            "temporary" => Failure::Temporary,
            "disabled" => Failure::Disabled,
            "wait" => Failure::Wait,
            _ => Failure::Credentials,
        })),
        "replies" => Answer::Replies(rest.split(" | ").map(reply).collect()),
        _ => Answer::Reply(reply(words)),
    }
}

/// `250 2.1.0 OK` or `250 OK`; `\n` separates lines.
fn reply(words: &str) -> Reply {
    let (code, text) = words.split_once(' ').unwrap_or((words, ""));
    let (status, text) = match text.split_once(' ').map(|(status, text)| (status.parse().ok(), text)) {
        Some((Some(status), text)) => (Some(status), text),
        _ => (None, text),
    };
    Reply { code: code.parse().unwrap_or_else(|_| panic!("no answer: {words}")), status, text: text.replace("\\n", "\n") }
}

/// What the client sends, in one piece up to each `@ tls` and after it. Other events are left out.
fn peer_octets(script: &str) -> Vec<Vec<u8>> {
    let mut parts = vec![Vec::new()];
    for line in script.lines() {
        if line == "@ tls" {
            parts.push(Vec::new());
        }
        if let Some(text) = line.strip_prefix("C:") {
            let octets = transcript::octets(text.strip_prefix(' ').unwrap_or(text));
            parts.last_mut().unwrap().extend(octets);
        }
    }
    parts
}

fn check(path: &Path, role: Role) {
    let script = std::fs::read_to_string(path).unwrap();
    let now = Instant::now();
    transcript::check(path, server(&script, role, now), now, answer, |_| unreachable!());
}

#[test]
fn server_transcripts() {
    for path in transcript::scripts(&folder("server")) {
        check(&path, Role::Mx);
    }
}

#[test]
fn lmtp_transcripts() {
    for path in transcript::scripts(&folder("lmtp")) {
        check(&path, Role::Lmtp);
    }
}

/// The trace of a session is the transcript it was made from, comments apart. Not where a line of the script is
/// several of the wire, nor where it shows how to log in.
#[test]
fn a_trace_can_be_played_again() {
    let mut played = 0;
    for path in transcript::scripts(&folder("server")) {
        let script = std::fs::read_to_string(&path).unwrap();
        let several = |line: &str| line.starts_with("C:") && (line.contains("\\r") || line.contains("\\n") || line.ends_with('\\'));
        if script.contains("AUTH ") || script.contains("# config: tls") || script.lines().any(several) {
            continue;
        }
        let now = Instant::now();
        let mut trace = String::new();
        let traced = Traced::server(server(&script, Role::Mx, now), |line: &str| trace.extend([line, "\n"]));
        transcript::play(&script, traced, now, answer, |_| unreachable!());
        let heard = trace.lines().filter(|line| !line.starts_with('@'));
        let closed = script.split("S: [closes]\n").next().unwrap();
        let want = closed.lines().filter(|line| !line.starts_with(['#', '@'])).map(str::trim_end);
        for (heard, want) in heard.zip(want) {
            assert_eq!(heard, want, "{}", path.display());
        }
        played += 1;
    }
    assert!(played > 20, "{played} scripts were played");
}

/// Everything a session said and asked.
fn heard(session: &mut Server, answers: &mut VecDeque<Answer>, now: Instant, out: &mut String) {
    loop {
        match session.poll() {
            Output::Send(bytes) => out.push_str(&transcript::escape(&bytes).replace("\\n", "\\n\n")),
            Output::Ask(ask) => {
                let _ = writeln!(out, "? {ask:?}");
                let Some(answer) = answers.pop_front() else { return };
                session.handle(now, Input::Answer(answer));
            }
            Output::StartTls => out.push_str("[starts TLS]\n"),
            Output::Close => return out.push_str("[closes]\n"),
            Output::Wait(_) => return,
        }
    }
}

/// What is said if the octets between two events of the script come in pieces of these sizes.
fn said_in_pieces(script: &str, role: Role, mut size: impl FnMut() -> usize) -> String {
    let now = Instant::now();
    let mut session = server(script, role, now);
    let mut answers: VecDeque<_> = script.lines().filter_map(|line| line.strip_prefix("! ")).map(answer).collect();
    let mut out = String::new();
    heard(&mut session, &mut answers, now, &mut out);
    for (n, part) in peer_octets(script).iter().enumerate() {
        if n > 0 {
            session.handle(now, Input::TlsStarted(tls13()));
            heard(&mut session, &mut answers, now, &mut out);
        }
        let mut rest = part.as_slice();
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(size().clamp(1, rest.len()));
            session.handle(now, Input::Bytes(piece));
            heard(&mut session, &mut answers, now, &mut out);
            rest = after;
        }
    }
    out
}

/// Scripts that any split must not change. Not those where what is behind STARTTLS matters: without the split it
/// is an injection, behind it, it is the handshake.
fn scripts_to_split() -> Vec<(String, Role)> {
    let read = |folder_name: &str, role: Role| {
        let paths = transcript::scripts(&folder(folder_name)).into_iter();
        paths.filter(|path| !path.to_string_lossy().contains("injection")).map(move |path| (std::fs::read_to_string(path).unwrap(), role))
    };
    read("server", Role::Mx).chain(read("lmtp", Role::Lmtp)).collect()
}

#[test]
fn octet_by_octet_it_says_the_same() {
    for (script, role) in scripts_to_split() {
        let whole = said_in_pieces(&script, role, || usize::MAX);
        assert_eq!(said_in_pieces(&script, role, || 1), whole, "{script}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn any_split_gives_the_same_words(sizes in proptest::collection::vec(1_usize..40, 1..20)) {
        for (script, role) in scripts_to_split() {
            let whole = said_in_pieces(&script, role, || usize::MAX);
            let mut cycle = sizes.iter().copied().cycle();
            prop_assert_eq!(said_in_pieces(&script, role, || cycle.next().unwrap()), whole, "{}", script);
        }
    }
}

/// Sends octets to a session inside a transaction, in pieces, and returns the message the handler got and the
/// largest chunk it was given.
fn message_received(octets: &[u8], piece: usize) -> (Vec<u8>, usize) {
    let now = Instant::now();
    let mut session = server("", Role::Mx, now);
    let (mut message, mut largest) = (Vec::new(), 0);
    let input = [b"EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<a@mx.example>\r\n", octets].concat();
    for bytes in [&[][..]].into_iter().chain(input.chunks(piece)) {
        session.handle(now, Input::Bytes(bytes));
        loop {
            match session.poll() {
                Output::Ask(Ask::Body(chunk) | Ask::Data { last: chunk }) => {
                    largest = largest.max(chunk.len());
                    message.extend_from_slice(&chunk);
                }
                Output::Ask(_) => {}
                Output::Send(reply) => {
                    assert!(matches!(reply.first(), Some(b'2' | b'3')), "{}", reply.escape_ascii());
                    continue;
                }
                _ => break,
            }
            session.handle(now, Input::Answer(Answer::Reply(Reply::new(250, (2, 0, 0), "OK"))));
        }
    }
    (message, largest)
}

#[test]
fn long_messages_come_in_chunks_of_at_most_64_kib() {
    let message = b"0123456789abcdef\r\n.0123456789\r\n".repeat(10_000);
    let stuffed = String::from_utf8(message.clone()).unwrap().replace("\r\n.", "\r\n..");
    let data = format!("DATA\r\n{stuffed}.\r\n").into_bytes();
    let mut bdat = format!("BDAT {} LAST\r\n", message.len()).into_bytes();
    bdat.extend_from_slice(&message);
    let (first, second) = message.split_at(65_536);
    let mut parts = format!("BDAT {}\r\n", first.len()).into_bytes();
    parts.extend_from_slice(first);
    parts.extend_from_slice(format!("BDAT {}\r\n", second.len()).as_bytes());
    parts.extend_from_slice(second);
    parts.extend_from_slice(b"BDAT 0 LAST\r\n");
    for input in [&data, &bdat, &parts] {
        for piece in [1000, 4096, 65_536, 65_537, usize::MAX] {
            let (got, largest) = message_received(input, piece);
            assert!(got == message, "{} octets came of {}", got.len(), message.len());
            assert_eq!(largest, 65_536);
        }
    }
}

proptest! {
    #[test]
    fn bdat_hands_on_any_octets(message in proptest::collection::vec(any::<u8>(), 0..200), cuts in proptest::collection::vec(0_usize..60, 0..5), piece in 1_usize..50) {
        let (mut input, mut rest) = (Vec::new(), message.as_slice());
        for cut in cuts {
            let (chunk, after) = rest.split_at(cut.min(rest.len()));
            input.extend_from_slice(format!("BDAT {}\r\n", chunk.len()).as_bytes());
            input.extend_from_slice(chunk);
            rest = after;
        }
        input.extend_from_slice(format!("BDAT {} LAST\r\n", rest.len()).as_bytes());
        input.extend_from_slice(rest);
        prop_assert_eq!(message_received(&input, piece).0, message);
    }
}

/// A handler whose disk is full says so at the second chunk: the rest is read, the reply said, nothing more asked.
#[test]
fn a_message_refused_in_its_midst_is_read_to_its_end() {
    let message = b"0123456789abcdef\r\n".repeat(20_000);
    let data = [b"DATA\r\n", &message[..], b".\r\n"].concat();
    let bdat = [format!("BDAT {} LAST\r\n", message.len()).as_bytes(), &message[..]].concat();
    let first_of_two = [format!("BDAT {}\r\n", message.len()).as_bytes(), &message[..], b"BDAT 4 LAST\r\nRSET"].concat();
    for (input, later) in [(data, ""), (bdat, ""), (first_of_two, "503 5.5.1 No transaction: its octets were dropped\r\n")] {
        let now = Instant::now();
        let mut session = server("", Role::Mx, now);
        let octets = [b"EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<a@mx.example>\r\n", &input[..], b"NOOP\r\n"].concat();
        let (mut said, mut bodies) = (String::new(), 0);
        for piece in [&[][..]].into_iter().chain(octets.chunks(10_000)) {
            session.handle(now, Input::Bytes(piece));
            loop {
                let answer = match session.poll() {
                    Output::Ask(Ask::Body(_)) if bodies == 1 => Answer::Reply(Reply::new(452, (4, 3, 1), "Disk full")),
                    Output::Ask(Ask::Body(_)) => Answer::Taken,
                    Output::Ask(Ask::Data { .. } | Ask::Reset) => panic!("asked once more"),
                    Output::Ask(_) => {
                        session.handle(now, Input::Answer(Answer::Taken));
                        continue;
                    }
                    Output::Send(bytes) => {
                        said.push_str(&String::from_utf8(bytes).unwrap());
                        continue;
                    }
                    _ => break,
                };
                bodies += 1;
                session.handle(now, Input::Answer(answer));
            }
        }
        assert_eq!(bodies, 2);
        assert!(said.ends_with(&format!("452 4.3.1 Disk full\r\n{later}250 2.0.0 OK\r\n")), "{said}");
    }
}
