//! Runs a session against a readable script.
//!
//! | mark | meaning |
//! |---|---|
//! | `C: text` | the client sends `text` and CRLF; `\r`, `\n`, `\t`, `\0`, `\\` and `\xHH` stand for those octets, a `\` at the very end of the line suppresses the CRLF |
//! | `S: text` | the session says this line (written with the same escapes) |
//! | `? ask` | the session asks this (its `Debug` form) |
//! | `! answer` | the handler answers; the test gives the words their meaning |
//! | `@ tls`, `@ eof`, `@ push WORDS`, `@ stop`, `@ +SECONDS` | TLS is up, end of input, news, the server stops, time passes |
//! | `# words` | a comment |
//!
//! In the script of a client's session ([`check_client`], [`play_client`]) `S:` is the peer and `C:` the session.
//!
//! With `UPDATE=1` in the environment the file is rewritten with what the session really said.
//! The run-time trace of a server writes the same format, so an operator's trace becomes a test.
//! It is not a general test framework: it panics, and belongs in tests only.
#![allow(clippy::panic, reason = "a test support module: its purpose is to fail tests")]

use crate::{Input, Output, Session, Tls};
use std::fmt::{Debug, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The scripts (`*.txt`) of a folder, sorted by name.
///
/// # Panics
/// When the folder cannot be read or holds none: a test that finds no script has failed.
pub fn scripts(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<_> =
        entries.flatten().map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|e| e == "txt")).collect();
    assert!(!paths.is_empty(), "{}: no transcript here", folder.display());
    paths.sort();
    paths
}

/// Plays the script at `path` to `session` and compares what is said.
///
/// # Panics
/// When what the session said differs from the file.
pub fn check<S>(path: &Path, session: S, now: Instant, answer: impl FnMut(&str) -> S::Answer, push: impl FnMut(&str) -> S::Push)
where
    S: Session,
    S::Ask: Debug,
{
    let script = read(path);
    let got = play(&script, session, now, answer, push);
    compare(path, &script, &got);
}

/// Like [`check`], for a client's session: the peer is `S:`.
///
/// # Panics
/// When what the session said differs from the file.
pub fn check_client<S>(path: &Path, session: S, now: Instant, answer: impl FnMut(&str) -> S::Answer, push: impl FnMut(&str) -> S::Push)
where
    S: Session,
    S::Ask: Debug,
{
    let script = read(path);
    let got = play_client(&script, session, now, answer, push);
    compare(path, &script, &got);
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

fn compare(path: &Path, want: &str, got: &str) {
    if got == want {
        return;
    }
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path, got).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        return;
    }
    for (n, (want, got)) in want.lines().zip(got.lines()).enumerate() {
        assert_eq!(got, want, "{}:{}", path.display(), n + 1);
    }
    panic!("{}: the session said {} lines, the file has {}\n{got}", path.display(), got.lines().count(), want.lines().count());
}

/// Plays a script and returns it with what the session really said.
pub fn play<S>(script: &str, session: S, now: Instant, answer: impl FnMut(&str) -> S::Answer, push: impl FnMut(&str) -> S::Push) -> String
where
    S: Session,
    S::Ask: Debug,
{
    Stage { session, now, deadline: None, out: String::new(), said: Vec::new(), answer, push, peer: 'C', own: 'S' }.play(script)
}

/// Like [`play`], for a client's session: the peer is `S:`.
pub fn play_client<S>(
    script: &str,
    session: S,
    now: Instant,
    answer: impl FnMut(&str) -> S::Answer,
    push: impl FnMut(&str) -> S::Push,
) -> String
where
    S: Session,
    S::Ask: Debug,
{
    Stage { session, now, deadline: None, out: String::new(), said: Vec::new(), answer, push, peer: 'S', own: 'C' }.play(script)
}

/// Escapes octets so that a line of a script shows them: printable ASCII and UTF-8 stay.
pub fn escape(bytes: &[u8]) -> String {
    let mut out = String::new();
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\\' => out.push_str("\\\\"),
                '\r' => out.push_str("\\r"),
                '\n' => out.push_str("\\n"),
                '\t' => out.push_str("\\t"),
                '\0' => out.push_str("\\0"),
                c if c.is_control() => {
                    let _ = write!(out, "\\x{:02x}", u32::from(c));
                }
                c => out.push(c),
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
    out
}

/// The octets that the text of a `C:` line stands for, CRLF included unless it is suppressed.
pub fn octets(text: &str) -> Vec<u8> {
    let (mut bytes, unfinished) = unescape(text);
    if !unfinished {
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

/// The octets that an escaped text stands for, and whether it ended in a lone `\`.
fn unescape(text: &str) -> (Vec<u8>, bool) {
    let mut out = Vec::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            continue;
        }
        match chars.next() {
            None => return (out, true),
            Some('r') => out.push(b'\r'),
            Some('n') => out.push(b'\n'),
            Some('t') => out.push(b'\t'),
            Some('0') => out.push(0),
            Some('x') => {
                let digits: String = chars.by_ref().take(2).collect();
                out.push(u8::from_str_radix(&digits, 16).unwrap_or_else(|_| panic!("bad escape \\x{digits}")));
            }
            Some(other) => out.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    (out, false)
}

struct Stage<S, A, P> {
    session: S,
    now: Instant,
    deadline: Option<Instant>,
    out: String,
    /// What the session has sent since its last whole line.
    said: Vec<u8>,
    answer: A,
    push: P,
    /// The letter of the peer.
    peer: char,
    /// The letter of the session.
    own: char,
}

impl<S, A, P> Stage<S, A, P>
where
    S: Session,
    S::Ask: Debug,
    A: FnMut(&str) -> S::Answer,
    P: FnMut(&str) -> S::Push,
{
    fn play(mut self, script: &str) -> String {
        self.drain();
        for line in script.lines() {
            self.line(line);
        }
        self.out
    }

    fn line(&mut self, line: &str) {
        let (mark, rest) = (line.get(..2).unwrap_or(line), line.get(3..).unwrap_or_default());
        let letter = mark.strip_suffix(':').and_then(|letter| letter.parse().ok());
        if mark == "? " || letter == Some(self.own) {
            return;
        }
        self.out.push_str(line);
        self.out.push('\n');
        match mark {
            _ if letter == Some(self.peer) => self.peer(rest),
            "! " => {
                let answer = (self.answer)(line.get(2..).unwrap_or_default());
                self.session.handle(self.now, Input::Answer(answer));
            }
            "@ " => self.event(line.get(2..).unwrap_or_default()),
            _ => return,
        }
        self.drain();
    }

    fn peer(&mut self, text: &str) {
        self.session.handle(self.now, Input::Bytes(&octets(text)));
    }

    fn event(&mut self, event: &str) {
        if let Some(words) = event.strip_prefix("push ") {
            let push = (self.push)(words);
            return self.session.handle(self.now, Input::Push(push));
        }
        match event {
            "tls" => self.session.handle(self.now, Input::TlsStarted(example_tls())),
            "eof" => self.session.handle(self.now, Input::Eof),
            "stop" => self.session.stop(self.now),
            time => {
                let seconds = time.strip_prefix('+').and_then(|s| s.parse().ok()).unwrap_or_else(|| panic!("unknown event: @ {time}"));
                self.now += Duration::from_secs(seconds);
                if self.deadline.is_some_and(|deadline| deadline <= self.now) {
                    self.session.handle(self.now, Input::Tick);
                }
            }
        }
    }

    fn drain(&mut self) {
        loop {
            match self.session.poll() {
                Output::Send(bytes) => self.said.extend_from_slice(&bytes),
                Output::Ask(ask) => self.note(&format!("? {ask:?}\n")),
                Output::StartTls => self.note(&format!("{}: [starts TLS]\n", self.own)),
                Output::Close => return self.note(&format!("{}: [closes]\n", self.own)),
                Output::Wait(until) => {
                    self.note("");
                    self.deadline = Some(until);
                    return;
                }
            }
        }
    }

    /// Writes out what was said so far, then `text`.
    fn note(&mut self, text: &str) {
        let said = std::mem::take(&mut self.said);
        for line in said.split_inclusive(|byte| *byte == b'\n') {
            let shown = match line.strip_suffix(b"\r\n") {
                Some(line) => escape(line),
                None => escape(line) + "\\",
            };
            self.out.push_str(format!("{}: {shown}", self.own).trim_end());
            self.out.push('\n');
        }
        self.out.push_str(text);
    }
}

/// The TLS of every `@ tls` in a script.
fn example_tls() -> Tls {
    Tls {
        version: "TLSv1.3".to_owned(),
        cipher: "TLS13_AES_128_GCM_SHA256".to_owned(),
        server_name: Some("mx.example".to_owned()),
        exporter: Some([7; 32]),
        peer_certificate: None,
        verified: false,
        client_addresses: Vec::new(),
    }
}
