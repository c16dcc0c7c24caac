//! Messages that others collected, read by us: the structure must be what their parsers found, and no
//! message, however broken, may break an invariant of the digest.
//!
//! The data is not ours: `POSTRIDER_TESTDATA` names its folder (default `../shared/testdata` beside the
//! workspace). Where it is absent these tests say so and pass, unless `CI=true`.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests may panic, their helpers too")]

use mail::digest::{BodyPart, Digest, Inside};
use mail::imap_view::{self, Charset};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The folder of a corpus, or nothing where there is none.
fn corpus(name: &str) -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/testdata");
    let folder = std::env::var_os("POSTRIDER_TESTDATA").map_or_else(beside, PathBuf::from).join(name);
    if folder.is_dir() {
        return Some(folder);
    }
    assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "{} is absent", folder.display());
    eprintln!("skipped: {} is absent", folder.display());
    None
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

fn name(path: &Path, folder: &Path) -> String {
    path.strip_prefix(folder).unwrap().display().to_string()
}

/// Asserts that the names in both lists are the same, so that a case that is mended is noticed too.
fn known(found: &BTreeSet<String>, known: &[&str]) {
    let known: BTreeSet<String> = known.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(found, &known, "differences that are not known, or known ones that are no more");
}

#[test]
fn every_message_keeps_the_invariants() {
    let Some(folder) = corpus("mime") else { return };
    for path in files(&folder) {
        let octets = fs::read(&path).unwrap();
        for message in [octets.clone(), crlf(&octets), octets.get(..octets.len() / 2).unwrap().to_vec()] {
            let digest = Digest::of(&message);
            assert!(is_within(&digest.body, 0, message.len() as u64), "{}", path.display());
            for charset in [Charset::Ascii, Charset::Utf8] {
                grammatical(&digest, charset);
            }
            let stored = postcard::to_allocvec(&digest).unwrap();
            let read = Digest { grams: digest.grams.clone(), ..postcard::from_bytes(&stored).unwrap() };
            assert_eq!(read, digest, "{}", path.display());
            mail::text::texts(&message, &digest.body).for_each(drop);
            mail::dsn::parse(&message);
        }
    }
}

fn crlf(text: &[u8]) -> Vec<u8> {
    lines(text).join(&b"\r\n"[..])
}

fn lf(text: &[u8]) -> Vec<u8> {
    lines(text).join(&b'\n')
}

fn lines(text: &[u8]) -> Vec<&[u8]> {
    text.split(|b| *b == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line)).collect()
}

/// Parts lie within their parent and in order.
fn is_within(part: &BodyPart, from: u64, to: u64) -> bool {
    let mut at = part.body_start;
    let places = [from, part.header_start, part.body_start, part.body_end, to].is_sorted();
    let parts = part.parts().iter().all(|inner| is_within(inner, std::mem::replace(&mut at, inner.body_end), part.body_end));
    let nested = part.message().is_none_or(|nested| is_within(&nested.body, part.body_start, part.body_end));
    places && parts && nested
}

/// Brackets match, strings end, and outside of literals everything is what the client takes.
fn grammatical(digest: &Digest, charset: Charset) {
    let mut out = Vec::new();
    imap_view::envelope(&mut out, &digest.envelope, charset);
    imap_view::body_structure(&mut out, &digest.body, charset);
    let (mut rest, mut depth) = (out.as_slice(), 0_i32);
    while let Some((octet, after)) = rest.split_first() {
        rest = match octet {
            b'"' => after_quoted(after, charset),
            b'{' => {
                let end = after.iter().position(|b| *b == b'}').unwrap();
                let octets: usize = std::str::from_utf8(&after[..end]).unwrap().parse().unwrap();
                after[end..].strip_prefix(b"}\r\n").unwrap().get(octets..).unwrap()
            }
            b'(' | b')' => {
                depth += if *octet == b'(' { 1 } else { -1 };
                after
            }
            octet => {
                assert!(octet.is_ascii_alphanumeric() || *octet == b' ', "{}", String::from_utf8_lossy(&out));
                after
            }
        };
        assert!(depth >= 0);
    }
    assert_eq!(depth, 0);
}

fn after_quoted(text: &[u8], charset: Charset) -> &[u8] {
    let mut at = 0;
    loop {
        match text[at] {
            b'"' => return &text[at + 1..],
            b'\\' => at += 2,
            octet => {
                assert!(!matches!(octet, b'\r' | b'\n' | 0) && (octet.is_ascii() || charset == Charset::Utf8));
                at += 1;
            }
        }
    }
}

/// `m` message, `p(…)` multipart, `b` body: what mime4j's event files and our tree have in common.
fn outline(part: &BodyPart) -> String {
    match &part.inside {
        Inside::Leaf => "b".to_owned(),
        Inside::Parts(parts) => format!("p({})", parts.iter().map(outline).collect::<Vec<_>>().concat()),
        Inside::Message(nested) => format!("m{}", outline(&nested.body)),
    }
}

fn mime4j_outline(xml: &str) -> String {
    let mut out = String::new();
    for tag in xml.split('<').skip(1).filter_map(|rest| rest.split_once('>')).map(|(tag, _)| tag) {
        out.push_str(match tag {
            "message" => "m",
            "multipart" => "p(",
            "/multipart" => ")",
            "body" => "b",
            _ => "",
        });
    }
    out
}

#[test]
fn mime4j_found_the_same_parts() {
    let Some(folder) = corpus("mime/mime4j") else { return };
    let mut different = BTreeSet::new();
    for path in files(&folder).into_iter().filter(|path| path.extension().is_some_and(|e| e == "msg")) {
        // A multipart without parts is one part of text to us.
        let want = mime4j_outline(&String::from_utf8_lossy(&fs::read(path.with_extension("xml")).unwrap())).replace("p()", "p(b)");
        let found = format!("m{}", outline(&Digest::of(&fs::read(&path).unwrap()).body));
        if found != want {
            eprintln!("{}: {found}, they {want}", path.display());
            different.insert(name(&path, &folder));
        }
    }
    // IMAP knows no encoded messages: they have no fields, and no parts.
    known(&different, &["bad-newlines-multiple-parts-base64.msg", "base64encoded-rfc822message-nested.msg"]);
}

/// Leaves as (body start, body end), depth first.
fn leaves(part: &BodyPart, out: &mut Vec<(u64, u64)>) {
    match &part.inside {
        Inside::Leaf => out.push((part.body_start, part.body_end)),
        Inside::Parts(parts) => parts.iter().for_each(|part| leaves(part, out)),
        Inside::Message(nested) => leaves(&nested.body, out),
    }
}

fn their_leaves(message: &Value, at: usize, out: &mut Vec<(u64, u64)>) {
    let part = &message["parts"][at];
    let body = &part["body"];
    if let Some(parts) = body["Multipart"].as_array() {
        for inner in parts {
            their_leaves(message, usize::try_from(inner.as_u64().unwrap()).unwrap(), out);
        }
    } else if body["Message"].is_object() {
        their_leaves(&body["Message"], 0, out);
    } else {
        out.push((part["offset_body"].as_u64().unwrap(), part["offset_end"].as_u64().unwrap()));
    }
}

/// Where we read a message another way than mail-parser did, and mean to.
const MAIL_PARSER_DIFFERS: [&str; 17] = [
    // It ends in a lone CR, which the conversion to CRLF swallows here.
    "legacy/049.eml",
    // An empty part before a boundary, or at the end, is a part.
    "malformed/000.eml",
    "malformed/013.eml",
    "malformed/014.eml",
    // A boundary is the whole line: `--ab` is none of `a`, and an outer one ends what is within.
    "malformed/001.eml",
    "malformed/004.eml",
    "malformed/007.eml",
    "malformed/009.eml",
    "malformed/011.eml",
    "malformed/012.eml",
    "malformed/016.eml",
    "thirdparty/005.eml",
    // A multipart whose header ends at a boundary has one empty part.
    "thirdparty/015.eml",
    // The first of two Content-Type fields counts.
    "malformed/020.eml",
    "malformed/021.eml",
    // A message without an empty line is all header; an encoded message has no parts.
    "malformed/022.eml",
    "rfc/008.eml",
];

#[test]
fn mail_parser_found_the_same_bodies() {
    let Some(folder) = corpus("mime/stalwart-mail-parser/eml") else { return };
    let mut different = BTreeSet::new();
    for path in files(&folder).into_iter().filter(|path| path.extension().is_some_and(|e| e == "eml")) {
        let octets = fs::read(&path).unwrap();
        for (message, extension) in [(lf(&octets), "json"), (crlf(&octets), "crlf.json")] {
            let Ok(json) = fs::read(path.with_extension(extension)) else { continue };
            let (mut ours, mut theirs) = (Vec::new(), Vec::new());
            leaves(&Digest::of(&message).body, &mut ours);
            their_leaves(&serde_json::from_slice(&json).unwrap(), 0, &mut theirs);
            if ours != theirs {
                eprintln!("{} {extension}: {ours:?}, they {theirs:?}", name(&path, &folder));
                different.insert(name(&path, &folder));
            }
        }
    }
    known(&different, &MAIL_PARSER_DIFFERS);
}

#[test]
fn is_email_judges_envelope_addresses_alike() {
    let Some(folder) = corpus("addresses") else { return };
    let text = fs::read_to_string(folder.join("tests.xml")).unwrap();
    let (mut refused, mut taken) = (BTreeSet::new(), BTreeSet::new());
    for test in text.split("<test id=\"").skip(1) {
        let inside =
            |tag: &str| test.split_once(&format!("<{tag}>")).and_then(|(_, rest)| rest.split_once("</")).map_or("", |(text, _)| text);
        let address = unescape(inside("address"));
        let valid = matches!(inside("category"), "ISEMAIL_VALID_CATEGORY" | "ISEMAIL_DNSWARN");
        let ours = mail::Address::parse(&address).is_ok();
        if valid && !ours {
            refused.insert(address.clone());
        }
        if ours && inside("category") == "ISEMAIL_ERR" {
            taken.insert(address);
        }
    }
    known(&refused, &[]);
    known(&taken, &[]);
}

/// The XML of that suite: entities, and control pictures for controls.
fn unescape(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, entity)) = rest.split_once('&') {
        let (name, after) = entity.split_once(';').unwrap();
        out.push_str(before);
        out.push(match name {
            "amp" => '&',
            "lt" => '<',
            "gt" => '>',
            "quot" => '"',
            name => char::from_u32(u32::from_str_radix(name.trim_start_matches("#x"), 16).unwrap()).unwrap(),
        });
        rest = after;
    }
    out.push_str(rest);
    out.chars().map(|c| char::from_u32(u32::from(c).wrapping_sub(0x2400)).filter(char::is_ascii_control).unwrap_or(c)).collect()
}
