//! Mail of many kinds, and a server that gets it: authors who are proven, forged, set aside or known to nobody, hosts that
//! lists know, readers who share a message, traps, aliases that lead elsewhere, large and broken messages, DNS that fails.
//!
//! Kind, author, host and recipients change with numbers that have no common factor, so that every pair comes up.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test: its purpose is to fail")]

use crate::authentication::domain;
use crate::context::{self, NOW};
use filter::dnsbl::List;
use mail::{AccountId, Address, Recipient, ReversePath};
use mta::Settings;
use mta::receive::{Bringer, Context, Receiver};
use mta::settings::{Dmarc, FirstContact};
use net::FakeDns;
use smtp::Reply;
use smtp::server::{Answer, Ask, MailCommand, Role};
use std::sync::Arc;
use store::auth::Credentials;
use store::{NewAccount, Store, Target};
use wire::Handler;

/// The accounts: ann and bob of ours.example.
pub(super) const ANN: AccountId = AccountId(1);
pub(super) const BOB: AccountId = AccountId(2);

pub(super) fn address(text: &str) -> Address {
    Address::parse(text).unwrap()
}

/// ann and bob, an alias for both, one that leads elsewhere; ann writes to bob@friends.example and has sent a message.
pub(super) fn store() -> Store {
    let store = Store::memory();
    fill(&store);
    store
}

/// The same in a store that is there.
pub(super) fn fill(store: &Store) {
    crate::authentication::with_ann(store);
    let made = store.write_blocking(|tx| {
        let new = NewAccount {
            name: String::new(),
            address: address("bob@ours.example"),
            credentials: Credentials::none(),
            quota_octets_max: None,
        };
        tx.account_create(new, NOW)?;
        tx.alias_set(&address("team@ours.example"), vec![Target::Account(ANN), Target::Account(BOB)])?;
        tx.alias_set(&address("gone@ours.example"), vec![Target::Address(address("bob@elsewhere.example"))])?;
        tx.correspondent_note(ANN, &address("bob@friends.example"), NOW)?;
        context::has_sent(tx, ANN, "mine@ours.example", NOW)
    });
    made.unwrap();
}

pub(super) fn dns() -> FakeDns {
    let dns = crate::authentication::dns()
        .with_txt(&domain("friends.example"), "v=spf1 ip4:192.0.2.0/24 -all")
        .with_txt(&domain("_dmarc.friends.example"), "v=DMARC1; p=reject")
        .with_txt(&domain("loop.example"), "v=spf1 include:loop.example a mx -all")
        .with_address(&domain("7.100.51.198.bl.example"), "127.0.0.2".parse().unwrap())
        .with_address(&domain("7.100.51.198.broken.example"), "127.255.255.254".parse().unwrap())
        .with_address(&domain("5.113.0.203.wl.example"), "127.0.5.2".parse().unwrap());
    dns.fail(&domain("_dmarc.slow.example"), "SERVFAIL");
    dns.fail(&domain("slow.example"), "no answer");
    dns.fail(&domain("66.2.0.192.bl.example"), "no answer");
    dns
}

pub(super) fn settings() -> Settings {
    let mut settings = Settings::new(domain("mx.ours.example"));
    settings.receive.authentication.dmarc = Dmarc::Obey;
    let list = |zone: &str, weight| List { of: filter::dnsbl::Of::Hosts, zone: zone.to_owned(), codes: Vec::new(), weight };
    let filter = &mut settings.receive.filter;
    filter.lists = vec![list("bl.example", 350), list("broken.example", 900), list("wl.example", -250)];
    filter.traps = vec![address("trap@ours.example")];
    filter.judgement.reject_at = Some(900);
    filter.first_contact = FirstContact::Off;
    settings
}

pub(super) fn context(store: &Store, dns: FakeDns, settings: Settings) -> Arc<Context> {
    Arc::new(Context { dns: Some(Arc::new(dns)), ..context::of(store, settings) })
}

/// Who brings what to whom.
pub(super) fn case(n: usize) -> (Bringer, Vec<u8>) {
    let of = |list: &[&'static str]| list[n % list.len()];
    let peer = of(&["192.0.2.1", "192.0.2.99", "198.51.100.7", "203.0.113.5", "2001:db8::5", "192.0.2.66", "192.0.2.1"]);
    let author = of(&[
        "joe@far.example",
        "joe@doubt.example",
        "x@nowhere.example",
        "joe@sub.far.example",
        "bob@friends.example",
        "eve@fr1ends.example",
        "ann@ours.example",
        "joe@slow.example",
        "joe@loop.example",
        "postmaster@nowhere.example",
        "joe@far.example",
    ]);
    let recipients: &[&str] = [
        &["ann@ours.example"][..],
        &["bob@ours.example", "ann@ours.example"],
        &["team@ours.example"],
        &["ann@ours.example", "trap@ours.example"],
        &["ann@ours.example", "nobody@ours.example"],
        &["gone@ours.example"],
        &["trap@ours.example"],
        &["nobody@ours.example"],
        &["ann@ours.example", "gone@ours.example"],
        &["ann@ours.example"],
        &["ann@ours.example"],
        &["elsewhere@far.example", "ann@ours.example"],
        &["ann@ours.example"],
    ][n % 13];
    let sender = if author.starts_with("postmaster") { None } else { Some(address(author)) };
    let bringer = Bringer {
        peer: peer.parse().unwrap(),
        helo: of(&["mx.far.example", "[192.0.2.1]", "localhost", "mx.far.example", "loop.example"]).to_owned(),
        reverse_path: ReversePath(sender),
        recipients: recipients.iter().map(|to| address(to)).collect(),
    };
    (bringer, message(n, author))
}

fn message(n: usize, author: &str) -> Vec<u8> {
    let words: Vec<String> = (0..n % 37).map(|at| format!("w{}", (n * 7 + at * 13) % 90)).collect();
    let text = words.join("\r\n");
    let head =
        format!("From: {author}\r\nTo: ann@ours.example\r\nDate: x\r\nMessage-ID: <{n}@x.example>\r\nSubject: {}\r\n", words.join(" "));
    let body = match n % 17 {
        // A program, alone and disguised.
        0 | 8 => {
            let name = if n.is_multiple_of(2) { "a.exe" } else { "a.pdf.exe" };
            format!(
                "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nSee.\r\n--b\r\nContent-Type: x/y; name=\"{name}\"\r\n\r\nMZ\r\n--b--\r\n"
            )
        }
        // Larger than one chunk.
        1 => format!("\r\n{}{text}\r\n", format!("line {n}\r\n").repeat(8_000)),
        // MIME that is broken: no boundary, no end, deep, not base64.
        2 => format!("Content-Type: multipart/mixed\r\n\r\n--b\r\n\r\n{text}\r\n"),
        3 => {
            (0..40).fold(String::new(), |outer, at| format!("{outer}Content-Type: multipart/mixed; boundary=b{at}\r\n\r\n--b{at}\r\n"))
                + &text
        }
        4 => format!("Content-Type: text/html\r\nContent-Transfer-Encoding: base64\r\n\r\n!!!! {text}\r\n"),
        // A reply, and links of many kinds.
        5 => format!("In-Reply-To: <mine@ours.example>\r\n\r\n{text}\r\n"),
        6 => format!(
            "Content-Type: text/html\r\n\r\n<a href=\"http://198.51.100.9/x\">https://bank.example/</a> <a href=\"http://b\u{430}nk.example\">x</a>\r\n{text}\r\n"
        ),
        // Nothing behind the header, or not even an empty line.
        7 => "\r\n".to_owned(),
        // It has passed too many servers.
        9 if n.is_multiple_of(2) => "Received: from a by b; x\r\n".repeat(60) + "\r\nHi\r\n",
        // It claims what only we may say.
        10 => format!("Authentication-Results: mx.ours.example; dmarc=pass\r\nX-Postrider-Verdict: accept\r\n\r\n{text}\r\n"),
        11 => format!("DKIM-Signature: v=1; a=rsa-sha256; d=far.example; s=s; h=from; bh=AAAA; b=AAAA\r\n\r\n{text}\r\n"),
        12 => format!("Subject: =?utf-8?q?win_money?=\r\n\r\nDear friend, \u{1f4b0} claim your million dollars now!!! {text}\r\n"),
        _ => format!("\r\n{text}\r\n"),
    };
    (head + &body).into_bytes()
}

/// Brings a message as a session does; what is said to the last command that got an answer of its own, and which.
pub(super) async fn bring(context: &Arc<Context>, bringer: &Bringer, message: &[u8]) -> (&'static str, Reply) {
    let mut receiver = Receiver::new(Arc::clone(context), Role::Mx, bringer.peer);
    receiver.answer(Ask::Connect).await;
    receiver.answer(Ask::Helo { name: bringer.helo.clone(), esmtp: true, tls: None }).await;
    let mail = MailCommand { size: Some(message.len() as u64), ..MailCommand::new(bringer.reverse_path.clone()) };
    reply(receiver.answer(Ask::Mail(mail)).await);
    let mut heard = Vec::new();
    for to in &bringer.recipients {
        heard.push(reply(receiver.answer(Ask::Rcpt(Recipient::new(to.clone()))).await));
    }
    if !heard.iter().any(Reply::is_positive) {
        return ("RCPT", heard.pop().unwrap());
    }
    let mut chunks: Vec<&[u8]> = message.chunks(64 * 1024).collect();
    let last = chunks.pop().unwrap_or_default().to_vec();
    for chunk in chunks {
        match receiver.answer(Ask::Body(chunk.to_vec())).await {
            Answer::Taken => {}
            other => return ("DATA", reply(other)),
        }
    }
    ("DATA", reply(receiver.answer(Ask::Data { last }).await))
}

fn reply(answer: Answer) -> Reply {
    match answer {
        Answer::Reply(reply) => reply,
        _ => panic!("no reply"),
    }
}
