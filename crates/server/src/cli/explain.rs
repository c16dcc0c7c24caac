//! `postrider explain`

use super::Context;
use crate::admin::explain::{Explain as Of, Explanation, ReaderView, TRIED_OCTETS_MAX, Try, with_line_ends};
use crate::admin::link::Link;
use crate::failure::{Code, Failure, Result};
use crate::output::{Format, plural, print, whole, words};
use clap::Args;
use mail::{ReceiptId, encoding, header};
use std::io::{ErrorKind, Read};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// Who would bring a message, if nothing else is said: an address of nobody's (RFC 5737).
const NOBODY: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

#[derive(Debug, Args)]
pub(super) struct Explain {
    /// The receipt that a 250 or a refusal named, a Message-ID, or a file to try
    #[arg(value_name = "RECEIPT|MESSAGE-ID|FILE", required_unless_present = "file", conflicts_with = "file")]
    id: Option<String>,
    /// A message to try, which nobody sends; - reads it from standard input
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Who would bring the file's message [default: 192.0.2.1]
    #[arg(long, value_name = "ADDRESS")]
    ip: Option<IpAddr>,
    /// What that server would call itself [default: unknown.invalid]
    #[arg(long, value_name = "NAME")]
    helo: Option<String>,
    /// The envelope's sender; "" for none. Without it the first address in From
    #[arg(long, value_name = "ADDRESS")]
    from: Option<String>,
    /// To whom; may be repeated. Without it only what does not depend on a reader is found out
    #[arg(long, value_name = "ADDRESS")]
    to: Vec<String>,
}

impl Explain {
    pub(super) fn run(self, context: &Context) -> Result<()> {
        let explanations = match (&self.id, self.tried_file()) {
            (_, Some(file)) => vec![self.tried(context, &file)?],
            (Some(id), None) => {
                self.refuse_envelope()?;
                context.call(Of { id: id.clone() })?
            }
            (None, None) => return Err(Failure::usage("name a receipt, a Message-ID or a file")),
        };
        match context.printer.format {
            Format::Table => explanations.iter().enumerate().for_each(|(place, one)| {
                if place > 0 {
                    print("");
                }
                show(context, one);
            }),
            _ => context.printer.list(&explanations, &[], |_| Vec::new()),
        }
        Ok(())
    }

    /// The file, if one is meant: a receipt or Message-ID is none.
    fn tried_file(&self) -> Option<PathBuf> {
        let named = || {
            let id = self.id.as_deref()?;
            let is_file = id == "-" || id.parse::<ReceiptId>().is_err() && Path::new(id).is_file();
            is_file.then(|| PathBuf::from(id))
        };
        self.file.clone().or_else(named)
    }

    /// What was sent has an envelope already.
    fn refuse_envelope(&self) -> Result<()> {
        let given =
            [("--ip", self.ip.is_some()), ("--helo", self.helo.is_some()), ("--from", self.from.is_some()), ("--to", !self.to.is_empty())];
        match given.iter().find(|(_, is_given)| *is_given) {
            Some((option, _)) => Err(Failure::usage(format!("{option} is for a message that is tried"))
                .hint("name the message's file with --file; mail that came has its envelope")),
            None => Ok(()),
        }
    }

    fn tried(&self, context: &Context, file: &Path) -> Result<Explanation> {
        let message = read(file)?;
        Link::to_server(&context.data()?)?.call(Try {
            message: encoding::base64(&message),
            ip: self.ip.unwrap_or(NOBODY),
            helo: self.helo.clone().unwrap_or_else(|| "unknown.invalid".to_owned()),
            from: self.from.clone(),
            to: self.to.clone(),
        })
    }
}

/// A message as it would come over SMTP.
fn read(file: &Path) -> Result<Vec<u8>> {
    let mut octets = Vec::new();
    let octets_max = TRIED_OCTETS_MAX as u64 + 1;
    let (name, done) = if file.as_os_str() == "-" {
        ("standard input".to_owned(), std::io::stdin().lock().take(octets_max).read_to_end(&mut octets))
    } else {
        let read = std::fs::File::open(file).and_then(|file| file.take(octets_max).read_to_end(&mut octets));
        (file.display().to_string(), read)
    };
    done.map_err(|error| match error.kind() {
        ErrorKind::NotFound => Failure::not_found("file", &name),
        _ => Failure::failed(&format!("cannot read {name}"), error),
    })?;
    let octets = message(&octets).map_err(|why| {
        Failure::new(Code::Usage, format!("{name} {why}")).hint("expected one message as it is sent: its header, an empty line, its text")
    })?;
    Ok(with_line_ends(octets))
}

/// The message in a file; an error says what it is instead.
fn message(octets: &[u8]) -> std::result::Result<&[u8], String> {
    if octets.is_empty() {
        return Err("is empty".to_owned());
    }
    if octets.len() > TRIED_OCTETS_MAX {
        return Err(format!("is larger than {} MiB", TRIED_OCTETS_MAX >> 20));
    }
    // A message out of an mbox has a line before its header.
    let envelope = octets.starts_with(b"From ").then(|| octets.iter().position(|octet| *octet == b'\n')).flatten();
    let octets = envelope.and_then(|at| octets.get(at + 1..)).unwrap_or(octets);
    let block = octets.get(..header::body_start(octets)).unwrap_or(octets);
    let has_a_name = |field: header::Field<'_>| field.start == 0 && !field.name.is_empty() && field.name.iter().all(u8::is_ascii_graphic);
    if header::fields(block).next().is_some_and(has_a_name) {
        Ok(octets)
    } else {
        Err("is no message: it begins with no header field".to_owned())
    }
}

fn show(context: &Context, one: &Explanation) {
    let receipt = one.receipt.as_ref().map(|receipt| format!("receipt {receipt}, ")).unwrap_or_default();
    print(&format!("{receipt}{} {}", one.state, one.at));
    let helo = if one.helo.is_empty() { String::new() } else { format!(" ({})", one.helo) };
    let mut facts = vec![
        ("from", format!("<{}>", one.from)),
        ("by", format!("{}{helo}", one.peer.as_deref().unwrap_or("this server"))),
        ("to", one.to.join(", ")),
        (
            "message",
            format!("{}{}", plural(one.octets, "octet"), one.message_id.as_ref().map(|id| format!(", <{id}>")).unwrap_or_default()),
        ),
    ];
    facts.retain(|(_, value)| !value.is_empty());
    context.printer.list(&facts, &[whole(""), words("")], |(name, value)| vec![format!("  {name}"), value.clone()]);
    section(context, "decided", &one.decided);
    section(context, if one.state == "tried" { "where it would go" } else { "where it went" }, &one.went);
    section(context, "what would change it", &one.otherwise);
    for reader in &one.readers {
        show_reader(context, reader);
    }
    if !one.checks.is_empty() {
        print("\nwho it is from");
        context.printer.list(&one.checks, &[whole(""), whole(""), words("")], |check| {
            vec![format!("  {}", check.check), check.result.clone(), check.words.clone()]
        });
    }
    section(context, "lists said of the host", &one.lists);
    section(context, "DNS said", &one.dns);
    section(context, "not tried", &one.notes);
    print("");
    context.printer.list(&[&one.again_words], &[words("")], |words| vec![(*words).clone()]);
}

fn show_reader(context: &Context, reader: &ReaderView) {
    print(&format!("\n{}: {}, {:.2} points", reader.account, reader.place, reader.points));
    let reasons: Vec<(String, String)> =
        reader.reasons.iter().map(|reason| (format!("  {:+6.2}", reason.points), format!("{}: {}", reason.name, reason.words))).collect();
    let features = reader.features.iter().filter(|feature| !feature.feature.is_empty()).map(|feature| {
        let ((ham, spam), (own_ham, own_spam)) = (feature.server, feature.own);
        let words = format!(
            "taught {:+.2} by {:?}: in {ham} wanted and {spam} unwanted messages, of the reader's {own_ham} and {own_spam}",
            feature.weight, feature.feature
        );
        (String::new(), words)
    });
    let rows: Vec<(String, String)> = reasons.into_iter().chain(features).collect();
    if !rows.is_empty() {
        context.printer.list(&rows, &[whole(""), words("")], |(points, words)| vec![points.clone(), words.clone()]);
    }
    section(context, "what would change it", &reader.otherwise);
}

/// A heading and lines below it.
fn section(context: &Context, title: &str, lines: &[String]) {
    if lines.is_empty() {
        return;
    }
    print(&format!("\n{title}"));
    context.printer.list(lines, &[whole(""), words("")], |line| vec![" ".to_owned(), line.clone()]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_are_no_messages_are_told_from_those_that_are() {
        let check = |octets: &[u8], want: std::result::Result<usize, &str>| {
            let found = message(octets).map(<[u8]>::len);
            assert_eq!(found.as_ref().map_err(String::as_str).copied(), want, "{:?}", octets.get(..20));
        };
        check(b"", Err("is empty"));
        check(b"From: a@b.example\n\nHi\n", Ok(22));
        check(b"From joe Mon Jan  1 00:00:00 2026\nFrom: a@b.example\n\nHi\n", Ok(22));
        check(b"Subject: no body", Ok(16));
        for none in
            [&b"Hello Ann,\n\nHow are you?\n"[..], b"\x7fELF\x02\x01\x01", b"\n\nFrom: late\n", b"two words: x\n\n", b"import sys\nx: y\n"]
        {
            check(none, Err("is no message: it begins with no header field"));
        }
        check(&vec![b'a'; TRIED_OCTETS_MAX + 1], Err("is larger than 32 MiB"));
    }
}
