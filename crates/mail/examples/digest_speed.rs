//! How long `Digest::of` takes: `cargo run --release -p postrider-mail --example digest_speed`.
//!
//! A measurement for people, not a test: the figures depend on the machine.

use mail::Digest;
use std::hint::black_box;
use std::time::Instant;

fn main() {
    let text = header("Content-Type: text/plain; charset=utf-8") + &"The quick brown fox jumps over the lazy dog.\r\n".repeat(60);
    let parts = "--b\r\nContent-Type: application/pdf; name=\"report.pdf\"\r\nContent-Transfer-Encoding: base64\r\nContent-Disposition: attachment; filename=\"report.pdf\"\r\n\r\n";
    let base64 = |octets: usize| "SGVsbG8gd29ybGQsIHRoaXMgaXMgYSBsaW5lIG9mIGJhc2U2NCB0aGF0IGlzIHNldmVudHlzaXgg\r\n".repeat(octets / 78);
    let mixed = |octets| {
        header("Content-Type: multipart/mixed; boundary=b") + "--b\r\n\r\nHello,\r\nsee below.\r\n" + parts + &base64(octets) + "--b--\r\n"
    };
    let html = header("Content-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable")
        + &"<p style=3D\"color:red\">caf=C3=A9 <b>au</b> lait</p>\r\n".repeat(20_000);
    let words = format!("Subject: {}\r\n\r\n", "=?utf-8?Q?=C3=A9?= ".repeat(55_000));
    let nested = "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n".repeat(10_000);
    let (small, large) = (mixed(3_000), mixed(1_000_000));
    for (name, message) in [
        ("4 KB text", text),
        ("4 KB mixed", small),
        ("1 MB mixed", large),
        ("1 MB html", html),
        ("1 MB subject", words),
        ("10,000 nested", nested),
    ] {
        measure(name, message.as_bytes());
    }
}

fn header(fields: &str) -> String {
    let received = "Received: from mail.example.org (mail.example.org [192.0.2.1])\r\n\tby mx.example.net with ESMTPS id 0123456789ABC\r\n\tfor <ann@example.net>; Tue, 1 Jul 2003 10:52:37 +0200\r\n";
    let who = "From: =?utf-8?Q?J=C3=B6rg?= <joerg@example.org>\r\nTo: Ann <ann@example.net>, \"B, C\" <bc@example.net>\r\nCc: list@example.org\r\n";
    let what = "Subject: Re: [list] the usual subject\r\nDate: Tue, 1 Jul 2003 10:52:37 +0200\r\nMessage-ID: <2@example.org>\r\nReferences: <0@example.org> <1@example.org>\r\nIn-Reply-To: <1@example.org>\r\nMIME-Version: 1.0\r\n";
    format!(
        "{received}{received}{received}DKIM-Signature: v=1; a=rsa-sha256; d=example.org; s=x; bh={0};\r\n\tb={0}{0}\r\n{who}{what}{fields}\r\n\r\n",
        "A".repeat(43)
    )
}

fn measure(name: &str, message: &[u8]) {
    let runs = (20_000_000 / message.len()).clamp(20, 20_000);
    let mut best = f64::MAX;
    for _ in 0..5 {
        let start = Instant::now();
        for _ in 0..runs {
            black_box(Digest::of(black_box(message)));
        }
        best = best.min(start.elapsed().as_secs_f64() / f64::from(u32::try_from(runs).unwrap_or(u32::MAX)));
    }
    let stored = postcard::to_allocvec(&Digest::of(message)).map_or(0, |stored| stored.len());
    println!("{name:14} {:8} octets {:10.1} µs {stored:8} octets stored", message.len(), best * 1e6);
}
