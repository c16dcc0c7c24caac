//! Serves the MTA-STS policy of our domains: `GET /.well-known/mta-sts.txt` of `mta-sts.DOMAIN` (RFC 8461 §3.3).
//!
//! Not a web server: one request a connection, one document. TLS, limits of connections and deadlines are those of
//! every listener.
//!
//! ```text
//!  request head ─▶ (is the domain ours?) ─▶ 200 with the policy | 404 ─▶ closed
//!               └▶ 400 | 405 | 404 ─▶ closed
//! ```

use mail::Domain;
use std::convert::Infallible;
use std::time::{Duration, Instant};
use store::Store;
use wire::{Handler, Input, Output, Session};

/// Longest head of a request, octets; beyond: 400. Our own bound.
const HEAD_OCTETS_MAX: usize = 8 * 1024;
/// How long a request may take. Our own bound.
const REQUEST_MAX: Duration = Duration::from_secs(10);
/// The one document.
const PATH: &str = "/.well-known/mta-sts.txt";

/// One connection.
pub struct Connection {
    policy: String,
    head: Vec<u8>,
    deadline: Instant,
    output: Vec<Output<Domain>>,
    done: bool,
}

impl Connection {
    /// A connection that has just been made; `policy` is the document.
    pub fn new(policy: String, now: Instant) -> Self {
        Self { policy, head: Vec::new(), deadline: now + REQUEST_MAX, output: Vec::new(), done: false }
    }

    fn heard(&mut self, octets: &[u8]) {
        self.head.extend_from_slice(octets);
        let Some(end) = self.head.windows(4).position(|four| four == b"\r\n\r\n") else {
            if self.head.len() > HEAD_OCTETS_MAX {
                self.answer("400 Bad Request", "The request is too long\n");
            }
            return;
        };
        let head = self.head.get(..end).unwrap_or_default().to_vec();
        match asked(&String::from_utf8_lossy(&head)) {
            Ok(domain) => {
                self.done = true;
                self.output.push(Output::Ask(domain));
            }
            Err(status) => self.answer(status, "There is only /.well-known/mta-sts.txt here\n"),
        }
    }

    fn answer(&mut self, status: &str, body: &str) {
        let head = format!("HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
        self.output.insert(0, Output::Close);
        self.output.insert(1, Output::Send([head.as_bytes(), body.as_bytes()].concat()));
        self.done = true;
    }
}

/// The domain whose policy is asked for, or the status of a refusal.
fn asked(head: &str) -> Result<Domain, &'static str> {
    let mut lines = head.split("\r\n");
    let mut words = lines.next().unwrap_or_default().split(' ');
    let (method, path, version) = (words.next(), words.next(), words.next());
    if !version.is_some_and(|version| version.starts_with("HTTP/1.")) {
        return Err("400 Bad Request");
    }
    if method != Some("GET") {
        return Err("405 Method Not Allowed");
    }
    if path != Some(PATH) {
        return Err("404 Not Found");
    }
    let host = lines.filter_map(|line| line.split_once(':')).find(|(name, _)| name.eq_ignore_ascii_case("host"));
    let host = host.map(|(_, value)| value.trim().to_ascii_lowercase()).unwrap_or_default();
    let name = host.split(':').next().unwrap_or_default();
    let domain = name.strip_prefix("mta-sts.").and_then(|domain| Domain::parse(domain).ok());
    domain.ok_or("404 Not Found")
}

impl Session for Connection {
    type Ask = Domain;
    type Answer = bool;
    type Push = Infallible;

    fn handle(&mut self, now: Instant, input: Input<'_, bool, Infallible>) {
        match input {
            Input::Bytes(octets) if !self.done => self.heard(octets),
            Input::Answer(true) => {
                let policy = std::mem::take(&mut self.policy);
                self.answer("200 OK", &policy);
            }
            Input::Answer(false) => self.answer("404 Not Found", "This domain is not ours\n"),
            Input::Eof => self.output = vec![Output::Close],
            Input::Tick if now >= self.deadline && !self.done => self.output = vec![Output::Close],
            Input::Bytes(_) | Input::TlsStarted(_) | Input::Tick => {}
            Input::Push(never) => match never {},
        }
    }

    fn poll(&mut self) -> Output<Domain> {
        self.output.pop().unwrap_or(Output::Wait(self.deadline + REQUEST_MAX))
    }
}

/// Knows which domains are ours.
pub struct Ours(pub Store);

impl Handler<Connection> for Ours {
    async fn answer(&mut self, domain: Domain) -> bool {
        self.0.read_short(|tx| tx.domain(&domain)).is_ok_and(|found| found.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write as _;

    #[test]
    fn requests_are_read() {
        let get = |host: &str| format!("GET {PATH} HTTP/1.1\r\nHost: {host}");
        for (head, want) in [
            (get("mta-sts.a.example"), Ok("a.example")),
            (get("MTA-STS.A.example:8443"), Ok("a.example")),
            (get("a.example"), Err("404 Not Found")),
            (get(""), Err("404 Not Found")),
            (format!("GET {PATH} HTTP/1.1"), Err("404 Not Found")),
            (format!("GET {PATH}x HTTP/1.1\r\nHost: mta-sts.a.example"), Err("404 Not Found")),
            (format!("POST {PATH} HTTP/1.1\r\nHost: mta-sts.a.example"), Err("405 Method Not Allowed")),
            (format!("GET {PATH}"), Err("400 Bad Request")),
            ("EHLO x".to_owned(), Err("400 Bad Request")),
        ] {
            assert_eq!(asked(&head).as_ref().map(Domain::as_str), want.as_ref().copied(), "{head}");
        }
    }

    fn said(connection: &mut Connection) -> String {
        let mut out = String::new();
        loop {
            match connection.poll() {
                Output::Send(octets) => out.push_str(&String::from_utf8(octets).unwrap()),
                Output::Ask(domain) => write!(out, "[{domain}?]").unwrap(),
                Output::Close => return out + "[closed]",
                Output::Wait(_) | Output::StartTls => return out,
            }
        }
    }

    #[test]
    fn the_policy_is_served_for_domains_of_ours_in_any_split() {
        let now = Instant::now();
        let request = format!("GET {PATH} HTTP/1.1\r\nHost: mta-sts.a.example\r\n\r\n");
        for ours in [true, false] {
            let mut connection = Connection::new("version: STSv1\r\n".to_owned(), now);
            let mut out = String::new();
            for octet in request.as_bytes() {
                connection.handle(now, Input::Bytes(&[*octet]));
                out += &said(&mut connection);
            }
            assert_eq!(out, "[a.example?]");
            connection.handle(now, Input::Answer(ours));
            let answer = said(&mut connection);
            assert!(answer.starts_with(if ours { "HTTP/1.1 200 OK" } else { "HTTP/1.1 404" }) && answer.ends_with("[closed]"), "{answer}");
            assert_eq!(answer.contains("version: STSv1"), ours);
        }
    }

    #[test]
    fn nonsense_and_silence_end() {
        let now = Instant::now();
        let mut connection = Connection::new(String::new(), now);
        connection.handle(now, Input::Bytes(&[b'x'; HEAD_OCTETS_MAX + 1]));
        assert!(said(&mut connection).starts_with("HTTP/1.1 400"));
        let mut connection = Connection::new(String::new(), now);
        connection.handle(now + REQUEST_MAX, Input::Tick);
        assert_eq!(said(&mut connection), "[closed]");
    }
}
