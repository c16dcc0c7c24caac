//! Writes down what a session hears, says, asks and is answered, in the format of [`crate::transcript`].
//!
//! What an operator's trace shows can thus be played again as a test. It holds the text of messages: whom it is
//! shown to is the caller's business. Not a log: it knows no levels and no file.
//!
//! Invariant: what a client sends to log in is shown as `[secret]`, in SMTP, IMAP, POP3 and Sieve: the
//! arguments of AUTH, AUTHENTICATE, LOGIN, PASS and APOP, and every line of an exchange that follows them.

use crate::transcript::escape;
use crate::{Handler, Input, Output, Session};
use std::fmt::Debug;
use std::time::{Duration, Instant};

/// Longest line shown, octets; of a longer one only the length is shown. Our own bound.
const LINE_OCTETS_MAX: usize = 4096;

/// Most octets kept of a line that has not ended. Our own bound.
const WAITING_OCTETS_MAX: usize = 64 * 1024;

const SECRET: &str = "[secret]";

/// A session that writes down all that passes.
#[derive(Debug)]
pub struct Traced<S, F> {
    session: S,
    sink: F,
    /// Whether the session is the server's side.
    serves: bool,
    client: Lines,
    server: Lines,
    redactor: Redactor,
    /// Up to when time was written down.
    at: Option<Instant>,
}

impl<S, F: FnMut(&str)> Traced<S, F> {
    /// A server's session; `sink` takes one line at a time, without its end.
    pub fn server(session: S, sink: F) -> Self {
        Self::new(session, sink, true)
    }

    /// A client's session: in its transcript `S:` is the peer.
    pub fn client(session: S, sink: F) -> Self {
        Self::new(session, sink, false)
    }

    fn new(session: S, sink: F, serves: bool) -> Self {
        Self { session, sink, serves, client: Lines::default(), server: Lines::default(), redactor: Redactor::default(), at: None }
    }

    fn elapsed(&mut self, now: Instant) {
        let at = *self.at.get_or_insert(now);
        let seconds = now.saturating_duration_since(at).as_secs();
        if seconds > 0 {
            (self.sink)(&format!("@ +{seconds}"));
            self.at = Some(at + Duration::from_secs(seconds));
        }
    }

    fn said(&mut self, by_client: bool, bytes: &[u8]) {
        let lines = if by_client { &mut self.client } else { &mut self.server };
        lines.push(bytes);
        while let Some(line) = lines.next() {
            show(&mut self.sink, &mut self.redactor, by_client, &line);
        }
    }

    /// Shows half lines: nothing will complete them.
    fn flush(&mut self) {
        for by_client in [true, false] {
            let lines = if by_client { &mut self.client } else { &mut self.server };
            if let Some(line) = lines.rest() {
                show(&mut self.sink, &mut self.redactor, by_client, &line);
            }
        }
    }

    fn note(&mut self, mark: &str, what: &dyn Debug) {
        let line = format!("{mark} {what:?}");
        let octets = line.len();
        (self.sink)(if octets > LINE_OCTETS_MAX { line.get(..80).unwrap_or(mark) } else { &line });
    }

    /// What the session does rather than says.
    fn own(&mut self, what: &str) {
        let mark = if self.serves { 'S' } else { 'C' };
        (self.sink)(&format!("{mark}: {what}"));
    }
}

fn show(sink: &mut impl FnMut(&str), redactor: &mut Redactor, by_client: bool, line: &[u8]) {
    let (text, end) = match line.strip_suffix(b"\r\n") {
        Some(text) => (text, ""),
        None => (line, "\\"),
    };
    let mark = if by_client { 'C' } else { 'S' };
    let shown = match redactor.hidden(by_client, text) {
        Some(hidden) => hidden,
        None if text.len() > LINE_OCTETS_MAX => format!("[{} octets]", text.len()),
        None => escape(text) + end,
    };
    sink(format!("{mark}: {shown}").trim_end());
}

impl<S, F> Session for Traced<S, F>
where
    S: Session,
    S::Ask: Debug,
    S::Answer: Debug,
    S::Push: Debug,
    F: FnMut(&str),
{
    type Ask = S::Ask;
    type Answer = S::Answer;
    type Push = S::Push;

    fn handle(&mut self, now: Instant, input: Input<'_, Self::Answer, Self::Push>) {
        self.elapsed(now);
        match &input {
            Input::Bytes(bytes) => self.said(self.serves, bytes),
            Input::Eof => {
                self.flush();
                (self.sink)("@ eof");
            }
            Input::TlsStarted(_) => (self.sink)("@ tls"),
            Input::Answer(answer) => self.note("!", answer),
            Input::Push(push) => self.note("@ push", push),
            Input::Tick => {}
        }
        self.session.handle(now, input);
    }

    fn poll(&mut self) -> Output<Self::Ask> {
        let output = self.session.poll();
        match &output {
            Output::Send(bytes) => self.said(!self.serves, bytes),
            Output::Ask(ask) => self.note("?", ask),
            Output::StartTls => self.own("[starts TLS]"),
            Output::Close => {
                self.flush();
                self.own("[closes]");
            }
            Output::Wait(_) => {}
        }
        output
    }

    fn stop(&mut self, now: Instant) {
        self.elapsed(now);
        (self.sink)("@ stop");
        self.session.stop(now);
    }
}

/// Answers a traced session as the handler in it answers the session itself.
#[derive(Debug)]
pub struct Answering<H>(pub H);

impl<S, F, H> Handler<Traced<S, F>> for Answering<H>
where
    S: Session,
    S::Ask: Debug,
    S::Answer: Debug,
    S::Push: Debug,
    F: FnMut(&str),
    H: Handler<S>,
{
    fn answer(&mut self, ask: S::Ask) -> impl Future<Output = S::Answer> + Send {
        self.0.answer(ask)
    }

    fn pushed(&mut self) -> impl Future<Output = S::Push> + Send {
        self.0.pushed()
    }
}

/// Cuts octets into lines, their ends included; a line that does not end is cut at [`WAITING_OCTETS_MAX`].
#[derive(Debug, Default)]
struct Lines {
    waiting: Vec<u8>,
}

impl Lines {
    fn push(&mut self, bytes: &[u8]) {
        self.waiting.extend_from_slice(bytes);
    }

    fn next(&mut self) -> Option<Vec<u8>> {
        let Some(end) = memchr::memchr(b'\n', &self.waiting) else {
            return if self.waiting.len() > WAITING_OCTETS_MAX { self.rest() } else { None };
        };
        let rest = self.waiting.split_off(end + 1);
        Some(std::mem::replace(&mut self.waiting, rest))
    }

    fn rest(&mut self) -> Option<Vec<u8>> {
        Some(std::mem::take(&mut self.waiting)).filter(|rest| !rest.is_empty())
    }
}

/// Knows which lines hold secrets.
#[derive(Debug, Default)]
struct Redactor {
    /// A login is under way: what the client says belongs to it.
    exchange: bool,
}

impl Redactor {
    /// What is shown instead of a line, if it must not be shown.
    fn hidden(&mut self, by_client: bool, line: &[u8]) -> Option<String> {
        if by_client { self.client(line) } else { self.server(line) }
    }

    fn client(&mut self, line: &[u8]) -> Option<String> {
        if self.exchange {
            return Some(SECRET.to_owned());
        }
        let text = String::from_utf8_lossy(line);
        let shown = shown_words(&text)?;
        self.exchange = true;
        let mut kept: Vec<_> = text.split(' ').take(shown).map(|word| escape(word.as_bytes())).collect();
        if text.split(' ').nth(shown).is_some() {
            kept.push(SECRET.to_owned());
        }
        Some(kept.join(" "))
    }

    /// A challenge goes on with the exchange, IMAP's untagged lines change nothing, any other line ends it.
    fn server(&mut self, line: &[u8]) -> Option<String> {
        if !self.exchange {
            return None;
        }
        let (code, challenge) = match line {
            [b'3', b'3', b'4', challenge @ ..] => ("334", challenge),
            [b'+', challenge @ ..] if !challenge.starts_with(b"OK") => ("+", challenge),
            [b'*', b' ', ..] => return None,
            _ => {
                self.exchange = false;
                return None;
            }
        };
        if challenge.trim_ascii().is_empty() { None } else { Some(format!("{code} {SECRET}")) }
    }
}

/// How many words of a client's line may be shown, if it begins a login.
fn shown_words(line: &str) -> Option<usize> {
    let mut words = line.split(' ').map(str::to_ascii_uppercase);
    let (first, second) = (words.next()?, words.next().unwrap_or_default());
    match (first.as_str(), second.as_str()) {
        ("PASS", _) => Some(1),
        ("AUTH" | "AUTHENTICATE" | "APOP", _) | (_, "LOGIN") => Some(2),
        (_, "AUTHENTICATE") => Some(3),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;
    use std::convert::Infallible;

    /// Says back what it is told to, whatever it hears.
    struct Script(VecDeque<Output<&'static str>>);

    impl Session for Script {
        type Ask = &'static str;
        type Answer = u8;
        type Push = Infallible;

        fn handle(&mut self, _: Instant, _: Input<'_, u8, Infallible>) {}

        fn poll(&mut self) -> Output<&'static str> {
            self.0.pop_front().unwrap_or(Output::Close)
        }
    }

    fn send(text: &str) -> Output<&'static str> {
        Output::Send(text.as_bytes().to_vec())
    }

    #[test]
    fn a_trace_is_a_transcript() {
        let mut shown = Vec::new();
        let outputs = [send("220 mx\r\n250-a\r\n250 "), send("b\r\n"), Output::Ask("May it?"), Output::StartTls, send("half")];
        let mut traced = Traced::server(Script(outputs.into()), |line: &str| shown.push(line.to_owned()));
        let now = Instant::now();
        traced.handle(now, Input::Bytes(b"EHLO"));
        traced.poll();
        traced.handle(now + Duration::from_millis(2500), Input::Bytes(b" c\r\nx\ny\r\n"));
        for _ in 0..4 {
            traced.poll();
        }
        traced.handle(now + Duration::from_secs(3), Input::Answer(7));
        traced.handle(now + Duration::from_secs(3), Input::TlsStarted(crate::Tls::default()));
        traced.handle(now + Duration::from_secs(3), Input::Eof);
        traced.poll();
        let want = [
            "S: 220 mx",
            "S: 250-a",
            "@ +2",
            "C: EHLO c",
            "C: x\\n\\",
            "C: y",
            "S: 250 b",
            "? \"May it?\"",
            "S: [starts TLS]",
            "@ +1",
            "! 7",
            "@ tls",
            "S: half\\",
            "@ eof",
            "S: [closes]",
        ];
        assert_eq!(shown, want);
    }

    #[test]
    fn secrets_are_not_shown() {
        for (lines, want) in [
            (
                &["C AUTH PLAIN AGFubgBwdw==", "S 235 OK", "C MAIL FROM:<a@b>"][..],
                &["AUTH PLAIN [secret]", "235 OK", "MAIL FROM:<a@b>"][..],
            ),
            (
                &["C auth login", "S 334 VXNlcm5hbWU6", "C YW5u", "S 334 ", "C cHc=", "S 535 No", "C NOOP"],
                &["auth login", "334 [secret]", "[secret]", "334 ", "[secret]", "535 No", "NOOP"],
            ),
            (&["C a1 LOGIN ann pencil", "S a1 OK", "C a2 NOOP"], &["a1 LOGIN [secret]", "a1 OK", "a2 NOOP"]),
            (
                &["C a LOGIN {3}", "S + go", "C ann {6}", "S + ", "C pencil", "S a OK"],
                &["a LOGIN [secret]", "+ [secret]", "[secret]", "+ ", "[secret]", "a OK"],
            ),
            (&["C a authenticate PLAIN AGFubg==", "S a NO"], &["a authenticate PLAIN [secret]", "a NO"]),
            (&["C USER ann", "S +OK", "C PASS pen cil", "S +OK", "C STAT"], &["USER ann", "+OK", "PASS [secret]", "+OK", "STAT"]),
            (&["C APOP ann 1234", "S -ERR"], &["APOP ann [secret]", "-ERR"]),
        ] {
            let mut redactor = Redactor::default();
            let shown: Vec<_> = lines
                .iter()
                .map(|line| {
                    let (by, text) = line.split_once(' ').unwrap();
                    redactor.hidden(by == "C", text.as_bytes()).unwrap_or_else(|| text.to_owned())
                })
                .collect();
            assert_eq!(shown, want);
        }
    }
}
