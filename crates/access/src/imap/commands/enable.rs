//! ENABLE (RFC 5161): a client says which extensions it understands; some change what we send.
//! Among them UTF8=ACCEPT (RFC 9755): names and texts are UTF-8 both ways; and UIDONLY (RFC 9586): messages
//! have no numbers but their Uids.

use crate::imap::command::Command;
use crate::imap::contexts;
use crate::imap::grammar::{Parsed, Parser};
use crate::imap::response::Status;
use crate::imap::serve::{Outcome, Server};
use crate::imap::session::{Answer, Done};

/// `ENABLE QRESYNC IMAP4rev2`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enable {
    /// The extensions it named, in upper case.
    pub names: Vec<String>,
}

/// What a client has enabled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "they are extensions, each enabled or not")]
pub struct Enabled {
    /// FETCH answers carry MODSEQ (RFC 7162 §3.1).
    pub condstore: bool,
    /// VANISHED instead of EXPUNGE (RFC 7162 §3.2).
    pub qresync: bool,
    /// ESEARCH instead of SEARCH, no `\Recent`, names in UTF-8 (RFC 9051 appendix E).
    pub rev2: bool,
    /// Names and texts in UTF-8, no CHARSET in SEARCH (RFC 9755 §3).
    pub utf8_accept: bool,
    /// Annotations that others change are told (RFC 5464 §4.4).
    pub metadata: bool,
    /// No sequence numbers: UIDFETCH and VANISHED instead of FETCH and EXPUNGE (RFC 9586).
    pub uid_only: bool,
}

impl Enabled {
    /// A client that has enabled nothing.
    pub const NOTHING: Self = Self { condstore: false, qresync: false, rev2: false, utf8_accept: false, metadata: false, uid_only: false };

    /// Names and texts are UTF-8 both ways.
    pub const fn utf8(self) -> bool {
        self.rev2 || self.utf8_accept
    }

    /// Whether a client may still name messages by sequence numbers.
    ///
    /// # Errors
    /// When it has given that up (RFC 9586 §3).
    pub fn sequence_numbers(self) -> Result<(), Status> {
        if self.uid_only { Err(Status::bad("You enabled UIDONLY: name messages by their Uids").code("UIDREQUIRED")) } else { Ok(()) }
    }

    /// Enables what is known; the names of what is newly enabled.
    pub fn enable(&mut self, names: &[String]) -> Vec<&'static str> {
        let mut news = Vec::new();
        for name in names {
            let known = match name.as_str() {
                "CONDSTORE" => (&mut self.condstore, "CONDSTORE"),
                "QRESYNC" => (&mut self.qresync, "QRESYNC"),
                "UTF8=ACCEPT" => (&mut self.utf8_accept, "UTF8=ACCEPT"),
                "METADATA" => (&mut self.metadata, "METADATA"),
                "UIDONLY" => (&mut self.uid_only, "UIDONLY"),
                "IMAP4REV2" => (&mut self.rev2, "IMAP4rev2"),
                _ => continue,
            };
            if !std::mem::replace(known.0, true) {
                news.push(known.1);
            }
        }
        // QRESYNC contains CONDSTORE (RFC 7162 §3.2.3).
        self.condstore |= self.qresync;
        news
    }

    /// The untagged answer (RFC 9051 §7.2.1).
    pub fn answer(news: &[&str]) -> Vec<u8> {
        let mut line = "* ENABLED".to_owned();
        for name in news {
            line.push(' ');
            line.push_str(name);
        }
        line.push_str("\r\n");
        line.into_bytes()
    }
}

/// Reads its arguments.
///
/// # Errors
/// When they are not its grammar.
pub fn parse(parser: &mut Parser<'_>) -> Parsed<Command> {
    let mut names = Vec::new();
    parser.space()?;
    loop {
        names.push(parser.atom()?.to_ascii_uppercase());
        if !parser.accept(b' ') || parser.is_done() {
            return Ok(Command::Enable(Enable { names }));
        }
    }
}

impl Enable {
    /// Turns on what is known.
    pub(crate) fn run(self, server: &mut Server) -> Outcome {
        let news = server.enabled_mut().enable(&self.names);
        if news.contains(&"METADATA") {
            server.annotations_from_now()?;
        }
        let mut data = Enabled::answer(&news);
        if server.enabled().uid_only {
            // What they would be told are sequence numbers (RFC 9586 §3).
            server.revise(|selected| {
                selected.contexts.retain(|context| {
                    if !context.by_uid {
                        contexts::refuse(&context.tag, "You have given up sequence numbers", &mut data);
                    }
                    context.by_uid
                });
            });
        }
        Ok(Answer::Done(Done { data, status: Status::ok("Enabled"), state: None }))
    }
}
