//! A whole server in this process, on free ports of the loopback address: one message in by SMTP,
//! out by IMAP and POP3, and what the administrator sees of it.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test says so by failing")]

use server::admin::Operation;
use server::admin::link::Link;
use server::admin::{ban, domain, queue, service, trace, user};
use server::config::{Config, Listener, Protocol};
use server::wire_up::Server;
use std::net::{SocketAddr, UdpSocket};
use std::path::PathBuf;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

const PASSWORD: &str = "correct horse battery";

struct Host {
    server: Server,
    data: PathBuf,
    _place: TempDir,
    /// A name server that never answers: what is queued stays there.
    _silence: UdpSocket,
}

impl Host {
    async fn start() -> Self {
        Self::start_with(|_| ()).await
    }

    async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        let place = TempDir::new().unwrap();
        let data = place.path().join("data");
        let mut config = Config::new(mail::Domain::parse("mx.example.test").unwrap(), data.clone());
        let listener = |protocol| Listener::new(protocol, "127.0.0.1:0".parse().unwrap());
        config.listener = Protocol::ALL.map(listener).to_vec();
        config.limits.shutdown = "1s".parse().unwrap();
        let silence = UdpSocket::bind("127.0.0.1:0").unwrap();
        config.dns = vec![silence.local_addr().unwrap()];
        config.allow_plaintext_login = vec!["127.0.0.0/8".parse().unwrap()];
        change(&mut config);
        let server = Server::start(config, None, None, None).await.unwrap();
        let host = Self { server, data, _place: place, _silence: silence };
        host.call(domain::Add { domain: "example.test".to_owned() }).await;
        let password = serde_json::from_value(PASSWORD.into()).unwrap();
        let (address, name) = ("ann@example.test".to_owned(), "Ann".to_owned());
        host.call(user::Add { address, name, password, quota_octets_max: None, create_domain: false }).await;
        host
    }

    /// Over the control socket, as the command line does.
    async fn call<O: Operation>(&self, operation: O) -> O::Answer {
        self.attempt(operation).await.unwrap()
    }

    async fn attempt<O: Operation>(&self, operation: O) -> server::failure::Result<O::Answer> {
        let data = self.data.clone();
        tokio::task::spawn_blocking(move || Link::to_server(&data)?.call(operation)).await.unwrap()
    }

    fn address(&self, protocol: Protocol) -> SocketAddr {
        self.server.ports().into_iter().find(|port| port.protocol == protocol).unwrap().address
    }

    async fn connect(&self, protocol: Protocol) -> Dialogue {
        Dialogue(BufReader::new(TcpStream::connect(self.address(protocol)).await.unwrap()))
    }

    /// Delivers a message and gives its receipt.
    async fn deliver(&self, text: &str) -> String {
        let mut smtp = self.connect(Protocol::Smtp).await;
        smtp.line().await;
        for command in ["EHLO client.example", "MAIL FROM:<bob@elsewhere.example>", "RCPT TO:<ann@example.test>", "DATA"] {
            smtp.say(command).await;
            smtp.reply().await;
        }
        smtp.say(&format!("{text}\r\n.")).await;
        let accepted = smtp.reply().await;
        assert!(accepted.starts_with("250 "), "{accepted}");
        let receipt = accepted.split_whitespace().find(|word| word.len() == 13 && word.parse::<mail::ReceiptId>().is_ok());
        receipt.unwrap_or_else(|| panic!("no receipt in {accepted:?}")).to_owned()
    }
}

/// A line protocol from the client's side.
struct Dialogue(BufReader<TcpStream>);

impl Dialogue {
    async fn say(&mut self, line: &str) {
        self.0.write_all(format!("{line}\r\n").as_bytes()).await.unwrap();
    }

    async fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).await.unwrap();
        line
    }

    /// The last line of an SMTP reply.
    async fn reply(&mut self) -> String {
        loop {
            let line = self.line().await;
            if line.as_bytes().get(3) != Some(&b'-') {
                return line;
            }
        }
    }

    /// All lines up to one that starts with `end`.
    async fn until(&mut self, end: &str) -> String {
        let mut all = String::new();
        loop {
            let line = self.line().await;
            assert!(!line.is_empty(), "the connection ended after {all:?}");
            all.push_str(&line);
            if line.starts_with(end) {
                return all;
            }
        }
    }
}

const MESSAGE: &str =
    "From: Bob <bob@elsewhere.example>\r\nTo: ann@example.test\r\nSubject: hello\r\nMessage-ID: <one@elsewhere.example>\r\n\r\nHi Ann";

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_accepted_is_there_and_has_a_trail() {
    let host = Host::start().await;
    let receipt = host.deliver(MESSAGE).await;
    let mut imap = host.connect(Protocol::Imap).await;
    imap.line().await;
    imap.say(&format!("a LOGIN ann@example.test \"{PASSWORD}\"")).await;
    assert!(imap.until("a ").await.contains("a OK"));
    imap.say("b SELECT INBOX").await;
    assert!(imap.until("b ").await.contains("* 1 EXISTS"));
    imap.say("c FETCH 1 BODY.PEEK[]").await;
    let fetched = imap.until("c ").await;
    assert!(fetched.contains("Subject: hello\r\n") && fetched.contains("Hi Ann"), "{fetched}");
    let mut pop3 = host.connect(Protocol::Pop3).await;
    pop3.line().await;
    for (command, want) in [("USER ann@example.test", "+OK"), (&format!("PASS {PASSWORD}"), "+OK"), ("STAT", "+OK 1 ")] {
        pop3.say(command).await;
        let reply = pop3.line().await;
        assert!(reply.starts_with(want), "{command}: {reply}");
    }
    for id in [receipt.as_str(), "<one@elsewhere.example>"] {
        let trails = host.call(trace::Trace { id: id.to_owned() }).await;
        let events: Vec<&str> = trails[0].events.iter().map(|event| event.event.as_str()).collect();
        assert_eq!((trails[0].receipt.as_str(), events.first(), events.last()), (receipt.as_str(), Some(&"accepted"), Some(&"delivered")));
    }
    host.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_guesses_passwords_is_banned_over_all_protocols_and_let_in_again() {
    let host = Host::start_with(|config| {
        for listener in &mut config.listener {
            listener.proxy_protocol_from = vec!["127.0.0.0/8".parse().unwrap()];
        }
        config.allow_plaintext_login.push("203.0.113.0/24".parse().unwrap());
        (config.sign_in.free_failures, config.sign_in.ban_after) = (3, 5);
    })
    .await;
    let from = async |protocol, last: u8| {
        let mut dialogue = host.connect(protocol).await;
        dialogue.say(&format!("PROXY TCP4 203.0.113.{last} 198.51.100.1 5 6")).await;
        let greeting = dialogue.line().await;
        (dialogue, greeting)
    };
    let (mut imap, _) = from(Protocol::Imap, 9).await;
    for (number, want) in [(1, "AUTHENTICATIONFAILED"), (2, "AUTHENTICATIONFAILED")] {
        imap.say(&format!("a LOGIN ann@example.test wrong{number}")).await;
        assert!(imap.until("a ").await.contains(want), "{number}");
    }
    let (mut pop3, _) = from(Protocol::Pop3, 9).await;
    // How long a check takes on this machine decides which of them are put off.
    for login in ["nobody@example.test", "ann@example.test", "x@example.test"] {
        pop3.say(&format!("USER {login}")).await;
        pop3.line().await;
        pop3.say("PASS other").await;
        let reply = pop3.line().await;
        assert!(reply.starts_with("-ERR [AUTH]") || reply.starts_with("-ERR [SYS/TEMP] too many failed logins"), "{login}: {reply}");
    }
    for (protocol, last, want) in [
        (Protocol::Imap, 9, "* BYE [UNAVAILABLE] connections from your address"),
        (Protocol::Pop3, 9, "-ERR [SYS/TEMP] connections"),
        (Protocol::Submission, 9, "421 4.7.0 mx.example.test connections"),
        (Protocol::Smtp, 9, "220 "),
        (Protocol::Imap, 8, "* OK"),
    ] {
        let (_, greeting) = from(protocol, last).await;
        assert!(greeting.starts_with(want), "{protocol} {last}: {greeting}");
    }
    let bans = host.call(ban::List { all: false }).await;
    let [only] = bans.as_slice() else { panic!("{bans:?}") };
    assert_eq!((only.network.as_str(), only.scope.as_str(), only.times), ("203.0.113.9", "sign-in", 1));
    host.call(ban::Remove { network: "203.0.113.9".to_owned() }).await;
    let (mut imap, _) = from(Protocol::Imap, 9).await;
    imap.say(&format!("a LOGIN ann@example.test \"{PASSWORD}\"")).await;
    assert!(imap.until("a ").await.contains("a OK"));
    let add = ban::Add { network: "203.0.113.0/24".to_owned(), seconds: Some(60), sign_in_only: false, reason: "spam".to_owned() };
    host.call(add).await;
    let (_, greeting) = from(Protocol::Smtp, 77).await;
    assert!(greeting.starts_with("421 4.7.0"), "{greeting}");
    assert!(host.attempt(ban::Remove { network: "192.0.2.1".to_owned() }).await.is_err());
    host.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_for_others_is_queued_and_can_be_handled() {
    let host = Host::start().await;
    let mut smtp = host.connect(Protocol::Submission).await;
    smtp.line().await;
    // AUTH PLAIN of ann@example.test with the password.
    let credentials = "AGFubkBleGFtcGxlLnRlc3QAY29ycmVjdCBob3JzZSBiYXR0ZXJ5";
    let auth = format!("AUTH PLAIN {credentials}");
    for command in ["EHLO client.example", &auth, "MAIL FROM:<ann@example.test>", "RCPT TO:<carl@far.example>", "DATA"] {
        smtp.say(command).await;
        let reply = smtp.reply().await;
        assert!(reply.starts_with(['2', '3']), "{command}: {reply}");
    }
    let held = queue::Act { action: queue::Action::Hold, selection: queue::Selection::default(), recipient: None };
    smtp.say(&format!("{}\r\n.", MESSAGE.replace("bob@elsewhere.example", "ann@example.test"))).await;
    assert!(smtp.reply().await.starts_with("250 "));
    assert_eq!(host.call(held).await.len(), 1);
    let listed = host.call(queue::List { selection: queue::Selection::default() }).await;
    assert!(listed[0].held);
    assert_eq!(listed[0].recipients[0].address, "carl@far.example");
    let selection = queue::Selection { to: Some("far.example".to_owned()), ..queue::Selection::default() };
    host.call(queue::Act { action: queue::Action::Drop, selection, recipient: None }).await;
    assert!(host.call(queue::List { selection: queue::Selection::default() }).await.is_empty());
    host.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_tells_how_it_is_and_refuses_a_second_one() {
    let host = Host::start().await;
    let status = host.call(service::Status {}).await;
    assert_eq!((status.domains, status.users, status.running.pid), (1, 1, std::process::id()));
    assert_eq!(status.running.listeners.len(), Protocol::ALL.len());
    let second = Server::start(Config::new(mail::Domain::parse("h").unwrap(), host.data.clone()), None, None, None).await;
    let Err(failure) = second else { panic!("a second server has the same data directory") };
    assert!(failure.message.contains(&std::process::id().to_string()), "{failure}");
    assert_eq!(host.call(service::Reload {}).await.need_restart, Vec::<String>::new());
    let data = host.data.clone();
    host.server.stop().await;
    assert!(Link::to_server(&data).is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn figures_are_read_over_http() {
    let host = Host::start().await;
    host.deliver(MESSAGE).await;
    let mut http = TcpStream::connect(host.address(Protocol::Metrics)).await.unwrap();
    http.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut page = String::new();
    http.read_to_string(&mut page).await.unwrap();
    assert!(page.starts_with("HTTP/1.1 200 OK\r\n"), "{page}");
    assert!(page.contains("postrider_messages_accepted_total{source=\"mx\"} 1\n"), "{page}");
    assert!(page.ends_with("# EOF\n"));
    let mut other = TcpStream::connect(host.address(Protocol::Metrics)).await.unwrap();
    other.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let mut page = String::new();
    other.read_to_string(&mut page).await.unwrap();
    assert!(page.starts_with("HTTP/1.1 404 "), "{page}");
    host.server.stop().await;
}
