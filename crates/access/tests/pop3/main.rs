//! POP3 sessions against their transcripts, and against any split of the input.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use access::pop3::{Answer, Ask, Config, Connection, Entry, Language, Limits, Maildrop, Session, Source, UidlFormat};
use mail::{MailboxId, Uid, UidValidity};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use wire::sasl::{Failure, Hash, Mechanism, SaslAnswer, ScramVerifier, Secret, TokenError, scram};
use wire::{Input, Output, Session as _, transcript};

const NONCE: &str = "0123456789abcdefghijklmn";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts/pop3")
}

/// The settings of a script: its first comment may be `# clear`, `# no-stls`, `# implicit-tls` or `# tight`, or several of these.
fn session(script: &str, now: Instant) -> Session {
    let settings = script.lines().find(|line| line.starts_with('#')).unwrap_or_default();
    let has = |word: &str| settings.split(' ').any(|setting| setting == word);
    let mut limits = Limits { chunk_octets_max: 16, ..Limits::default() };
    if has("tight") {
        (limits.faults_max, limits.command_octets_max, limits.auth_octets_max) = (3, 20, 40);
    }
    let mut config = Config { stls: !has("no-stls"), limits, ..Config::default() };
    if has("german") {
        config.language = Language::German;
    }
    if has("delay-and-expiry") {
        (config.login_delay, config.expire_days) = (Duration::from_mins(5), Some(30));
    }
    if has("all-mechanisms") {
        config.mechanisms = Mechanism::ALL.to_vec();
    }
    let mut tls = has("implicit-tls").then(|| wire::Tls { exporter: Some([7; 32]), ..wire::Tls::default() });
    if let Some(tls) = tls.as_mut().filter(|_| has("certificate")) {
        (tls.verified, tls.client_addresses) = (true, vec!["ann@example.org".to_owned()]);
    }
    let connection = Connection { nonce: NONCE.to_owned(), tls, plaintext_login: has("clear") };
    Session::new(Arc::new(config), connection, now)
}

/// The words of `!` lines.
fn answer(words: &str) -> Answer {
    let (verb, rest) = words.split_once(' ').unwrap_or((words, ""));
    match verb {
        "account" => Answer::Auth(SaslAnswer::Account { account: 1, login: rest.to_owned() }),
        "refused" => Answer::Auth(SaslAnswer::Refused(match rest {
            "credentials" => Failure::Credentials,
            "temporary" => Failure::Temporary,
            "disabled" => Failure::Disabled,
            "wait" => Failure::Wait,
            other => panic!("unknown failure {other}"),
        })),
        "verifier" => Answer::Auth(SaslAnswer::Verifier(Some(ScramVerifier::derive(
            Hash::Sha256,
            &Secret::new("pencil"),
            &[1; scram::SALT_OCTETS],
            4096,
            1,
            "user",
        )))),
        "token-refused" => {
            let openid_configuration = Some("https://id.example/.well-known/openid-configuration".to_owned());
            Answer::Auth(SaslAnswer::TokenRefused(TokenError { scope: Some("mail".to_owned()), openid_configuration }))
        }
        "no-verifier" => Answer::Auth(SaslAnswer::Verifier(None)),
        "maildrop" => Answer::Maildrop(maildrop(rest)),
        "too-soon" => Answer::TooSoon,
        "in-use" => Answer::InUse,
        "chunk" => Answer::Chunk(rest.replace("\\r", "\r").replace("\\n", "\n").replace("\\0", "\0").into_bytes()),
        "gone" => Answer::Gone,
        "closed" => Answer::Closed,
        "failed" => Answer::Failed,
        other => panic!("unknown answer {other}"),
    }
}

/// `UID:OCTETS …`
fn maildrop(words: &str) -> Maildrop {
    let entries = words.split(' ').filter(|word| !word.is_empty()).map(|word| {
        let (uid, octets) = word.split_once(':').unwrap();
        Entry::new(Uid(uid.parse().unwrap()), octets.parse().unwrap())
    });
    let source = Source { mailbox: MailboxId(1), uid_validity: UidValidity(9) };
    Maildrop::new(vec![source], entries.collect(), UidlFormat::default(), BTreeMap::new())
}

#[test]
fn sessions_say_what_their_transcripts_say() {
    for path in transcript::scripts(&folder()) {
        let now = Instant::now();
        let script = std::fs::read_to_string(&path).unwrap();
        transcript::check(&path, session(&script, now), now, answer, |push| panic!("POP3 pushes nothing: {push}"));
    }
}

mod served;

const INPUT: &[u8] = b"CAPA\r\nNOPE\r\nUSER alice\r\nPASS one two\r\nSTAT\r\nLIST\r\nUIDL 2\r\nRETR 1\r\nTOP 2 1\r\nDELE 1\r\nRETR 1\r\n\
LIST\r\nbare\nRSET\r\nDELE 2\r\nAUTH PLAIN\r\nQUIT\r\nSTAT\r\n";

const MESSAGE: &[u8] = b"Subject: x\r\n\r\n.one\r\ntwo\r\n.\r\nthree and more";

/// What the world answers, whatever was split how.
fn world(ask: &Ask) -> Answer {
    match ask {
        Ask::Auth(_) => answer("account alice"),
        Ask::Open { .. } => Answer::Maildrop(maildrop(&format!("3:{0} 5:{0}", MESSAGE.len()))),
        Ask::Read { offset, octets_max, .. } => {
            let rest = &MESSAGE[usize::try_from(*offset).unwrap()..];
            Answer::Chunk(rest[..rest.len().min(*octets_max)].to_vec())
        }
        Ask::Close { .. } => Answer::Closed,
    }
}

fn said(pieces: &[&[u8]]) -> String {
    let now = Instant::now();
    let mut session = session("# clear", now);
    let mut said = Vec::new();
    let mut pieces = pieces.iter();
    loop {
        match session.poll() {
            Output::Send(octets) => said.extend_from_slice(&octets),
            Output::Ask(ask) => {
                let answer = world(&ask);
                session.handle(now, Input::Answer(answer));
            }
            Output::StartTls => panic!("not asked for"),
            Output::Wait(_) => match pieces.next() {
                Some(piece) => session.handle(now, Input::Bytes(piece)),
                None => session.handle(now, Input::Eof),
            },
            Output::Close => return String::from_utf8(said).unwrap(),
        }
    }
}

#[test]
fn the_fixed_input_reaches_the_end() {
    let said = said(&[INPUT]);
    assert!(said.ends_with("+OK bye, 1 message removed\r\n"), "{said}");
    assert!(said.contains("\r\n..one\r\ntwo\r\n..\r\nthree and more\r\n.\r\n"), "{said}");
    assert!(said.contains("\r\n\r\n..one\r\n.\r\n"), "{said}");
}

#[test]
fn a_server_that_stops_says_so_and_removes_nothing() {
    let now = Instant::now();
    let mut session = session("# clear", now);
    assert!(matches!(session.poll(), Output::Send(_)));
    session.stop(now);
    let Output::Send(words) = session.poll() else { panic!("no words") };
    assert_eq!(words, b"-ERR [SYS/TEMP] the server is stopping; nothing was removed\r\n");
    assert_eq!(session.poll(), Output::Close);
}

proptest! {
    #[test]
    fn any_split_of_the_input_gives_the_same_output(cuts in prop::collection::btree_set(0..INPUT.len(), 0..24)) {
        let mut pieces = Vec::new();
        let mut from = 0;
        for cut in cuts.into_iter().chain([INPUT.len()]) {
            pieces.push(&INPUT[from..cut]);
            from = cut;
        }
        prop_assert_eq!(said(&pieces), said(&[INPUT]));
    }

    #[test]
    fn hostile_octets_do_no_harm(octets: Vec<u8>, words in prop::collection::vec("(USER a|PASS b|RETR 1|TOP 1 1|LIST|UIDL|DELE 1|AUTH PLAIN|AUTH SCRAM-SHA-256|=|\\*|STLS|QUIT|CAPA)\r\n", 0..12)) {
        access::pop3::fuzz::session(&octets);
        access::pop3::fuzz::session(words.concat().as_bytes());
        access::pop3::fuzz::session(&[words.concat().as_bytes(), &octets].concat());
    }
}
