//! A protocol of one-word commands, and a client that follows a script.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Notify, mpsc};
use wire::inbox::Line;
use wire::{Handler, Inbox, Input, Output, Session, Tls};

pub(crate) const IDLE_MAX: Duration = Duration::from_mins(30);

/// Answers `echo: LINE`, except to `ASK`, `SLOW`, `TLS`, `WHO`, `BIG`, `PANIC` and `QUIT`.
pub(crate) struct Toy {
    inbox: Inbox,
    out: VecDeque<Output<String>>,
    deadline: Instant,
    tls: Option<Tls>,
}

impl Toy {
    pub(crate) fn new(now: Instant) -> Self {
        let out = VecDeque::from([Output::Send(b"hello\r\n".to_vec())]);
        Self { inbox: Inbox::new(100), out, deadline: now + IDLE_MAX, tls: None }
    }

    fn say(&mut self, text: &str) {
        self.out.push_back(Output::Send(format!("{text}\r\n").into_bytes()));
    }

    fn close(&mut self, text: &str) {
        self.say(text);
        self.out.push_back(Output::Close);
    }

    fn line(&mut self, line: &str) {
        match line {
            "QUIT" => self.close("bye"),
            "TLS" => {
                self.say("go");
                self.out.push_back(Output::StartTls);
            }
            "WHO" => {
                let tls = self.tls.clone().unwrap_or_default();
                self.say(&format!("{} {:?} {}", tls.version, tls.server_name, tls.exporter.is_some()));
            }
            "BIG" => (0..64).for_each(|_| self.out.push_back(Output::Send(vec![b'x'; 64 * 1024]))),
            "PANIC" => panic!("as asked"),
            ask if ask.starts_with("ASK") || ask == "SLOW" => self.out.push_back(Output::Ask(ask.to_owned())),
            other => self.say(&format!("echo: {other}")),
        }
    }
}

impl Session for Toy {
    type Ask = String;
    type Answer = String;
    type Push = u32;

    fn handle(&mut self, now: Instant, input: Input<'_, String, u32>) {
        self.deadline = now + IDLE_MAX;
        match input {
            Input::Bytes(bytes) => self.inbox.push(bytes),
            Input::Eof => self.close("you left"),
            Input::TlsStarted(tls) => {
                self.inbox.clear();
                self.tls = Some(tls);
            }
            Input::Answer(answer) => self.say(&answer),
            Input::Push(push) => self.say(&format!("push {push}")),
            Input::Tick => self.close("too slow"),
        }
    }

    fn poll(&mut self) -> Output<String> {
        loop {
            if let Some(output) = self.out.pop_front() {
                return output;
            }
            match self.inbox.line() {
                Some(Line::Whole(line)) => self.line(&String::from_utf8_lossy(&line)),
                Some(_) => self.say("bad"),
                None => return Output::Wait(self.deadline),
            }
        }
    }

    fn stop(&mut self, _now: Instant) {
        self.close("stopping");
    }
}

/// Answers at once, but waits for `release` before it answers `SLOW`; pushes what comes in.
#[derive(Default)]
pub(crate) struct Answers {
    pub(crate) release: Arc<Notify>,
    pub(crate) pushes: Option<mpsc::Receiver<u32>>,
}

impl Handler<Toy> for Answers {
    async fn answer(&mut self, ask: String) -> String {
        if ask == "SLOW" {
            self.release.notified().await;
        }
        format!("answer to {ask}")
    }

    async fn pushed(&mut self) -> u32 {
        match &mut self.pushes {
            Some(pushes) => pushes.recv().await.unwrap_or_default(),
            None => std::future::pending().await,
        }
    }
}

/// Sends a line, waits for one, and so on; starts TLS after `go`; closes at the end of its script.
pub(crate) struct Client {
    inbox: Inbox,
    script: VecDeque<&'static str>,
    out: VecDeque<Output<String>>,
    now: Instant,
    /// Asks one more question when the peer is gone.
    pub(crate) reports: bool,
}

impl Client {
    pub(crate) fn new(now: Instant, script: &[&'static str]) -> Self {
        Self { inbox: Inbox::new(100), script: script.iter().copied().collect(), out: VecDeque::new(), now, reports: false }
    }

    fn next(&mut self) {
        match self.script.pop_front() {
            Some(line) => self.out.push_back(Output::Send(format!("{line}\r\n").into_bytes())),
            None => self.out.push_back(Output::Close),
        }
    }
}

impl Session for Client {
    /// What was heard.
    type Ask = String;
    type Answer = ();
    type Push = ();

    fn handle(&mut self, now: Instant, input: Input<'_, (), ()>) {
        self.now = now;
        match input {
            Input::Bytes(bytes) => self.inbox.push(bytes),
            Input::Eof if self.reports => self.out.push_back(Output::Ask("gone".to_owned())),
            Input::Eof | Input::Tick => self.out.push_back(Output::Close),
            Input::TlsStarted(tls) => self.out.push_back(Output::Ask(format!("verified {}", tls.verified))),
            Input::Answer(()) | Input::Push(()) => self.next(),
        }
    }

    fn poll(&mut self) -> Output<String> {
        if let Some(output) = self.out.pop_front() {
            return output;
        }
        match self.inbox.line() {
            Some(Line::Whole(line)) if line == b"go" => Output::StartTls,
            Some(Line::Whole(line)) => Output::Ask(String::from_utf8_lossy(&line).into_owned()),
            Some(_) => Output::Close,
            None => Output::Wait(self.now + IDLE_MAX),
        }
    }
}

/// Writes down what a client heard.
#[derive(Clone, Default)]
pub(crate) struct Heard(pub(crate) Arc<std::sync::Mutex<Vec<String>>>);

impl Handler<Client> for Heard {
    async fn answer(&mut self, heard: String) {
        self.0.lock().unwrap().push(heard);
    }
}
