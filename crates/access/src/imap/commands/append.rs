//! APPEND (RFC 9051 §6.3.12), with APPENDUID (RFC 4315) and a limit (RFC 7889).
//!
//! The message itself is never part of a command: the session sees its literal coming, asks with a
//! [`Target`] whether it is welcome, and hands it over in chunks.

use crate::imap::command::Command;
use crate::imap::grammar::{Parsed, Parser};
use crate::imap::response::Status;
use crate::imap::serve::{Outcome, Server, refusal};
use crate::imap::session::Answer;
use mail::MailboxId;
use mail::digest::Digest;
use mail::{Flags, Timestamp};
use store::{Draft, Error, NewEmail};

/// Where a message goes: everything of an APPEND but the message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The mailbox's name.
    pub mailbox: String,
    /// Its flags.
    pub flags: Flags,
    /// Its INTERNALDATE, if one was given.
    pub date: Option<Timestamp>,
    /// How long it is.
    pub octets: u64,
}

/// Reads an APPEND whose message is no literal at the end of a line: there is none, so it is at fault.
///
/// # Errors
/// Always; the fault says where.
pub fn parse(parser: &mut Parser<'_>) -> Parsed<Command> {
    target(parser)?;
    parser.fault("a literal with the message")
}

/// Reads all up to the message's literal.
///
/// # Errors
/// When it is not its grammar.
pub fn target(parser: &mut Parser<'_>) -> Parsed<Target> {
    parser.space()?;
    let mailbox = parser.mailbox()?;
    parser.space()?;
    let mut flags = Flags::default();
    if parser.peek() == Some(b'(') {
        flags = parser.list(Flags::KEYWORDS_MAX * 2, Parser::flag)?.into_iter().flatten().collect();
        parser.space()?;
    }
    let mut date = None;
    if parser.peek() == Some(b'"') {
        date = Some(parser.date_time()?);
        parser.space()?;
    }
    Ok(Target { mailbox, flags, date, octets: 0 })
}

/// A message on its way in.
#[derive(Debug)]
pub struct Upload {
    target: Target,
    mailbox: MailboxId,
    draft: Draft,
    /// The last octet was a CR.
    after_cr: bool,
}

impl Target {
    /// Whether a message of that length is welcome there.
    pub(crate) async fn upload(self: Box<Self>, server: &mut Server) -> Outcome {
        let (account, name, octets) = (server.account(), self.mailbox.clone(), self.octets);
        let mailbox = server
            .read(move |tx| {
                let holder = tx.account(account)?.ok_or_else(|| Error::NotFound("account".into()))?;
                if let Some(octets_max) = holder.quota_octets_max.filter(|max| holder.used_octets.saturating_add(octets) > *max) {
                    return Err(Error::OverQuota { used_octets: holder.used_octets, octets_max });
                }
                Ok(tx.mailbox_by_name(account, &name)?.map(|mailbox| mailbox.id))
            })
            .await?;
        let Some(mailbox) = mailbox else { return Err(Status::no("TRYCREATE", "There is no such mailbox")) };
        let draft = server.shared().store.draft();
        *server.upload_mut() = Some(Box::new(Upload { target: *self, mailbox, draft, after_cr: false }));
        Ok(Answer::Taken)
    }
}

impl Upload {
    /// Takes the next octets.
    pub(crate) fn chunk(server: &mut Server, octets: &[u8]) -> Outcome {
        let upload = server.upload_mut();
        let taken = upload.as_mut().map(|upload| upload.take(octets));
        match taken {
            Some(Ok(())) => Ok(Answer::Taken),
            Some(Err(error)) => {
                *upload = None;
                Err(refusal(&error))
            }
            None => Err(Status::no("SERVERBUG", "No message is expected")),
        }
    }

    /// Line feeds on their own become line ends: POP3 counts and sends lines (RFC 5322 §2.3).
    fn take(&mut self, octets: &[u8]) -> store::Result<()> {
        for line in octets.split_inclusive(|octet| *octet == b'\n') {
            let bare = match line {
                [] | [b'\n'] => !self.after_cr,
                [.., before, b'\n'] => *before != b'\r',
                _ => false,
            };
            match line.strip_suffix(b"\n").filter(|_| bare) {
                Some(text) => {
                    self.draft.write(text)?;
                    self.draft.write(b"\r\n")?;
                }
                None => self.draft.write(line)?,
            }
            self.after_cr = line.last() == Some(&b'\r');
        }
        Ok(())
    }

    /// Keeps the message: one write, and the answer only after it is on disk.
    pub(crate) async fn append(server: &mut Server) -> Outcome {
        let Some(upload) = server.upload_mut().take() else { return Err(Status::no("SERVERBUG", "No message is expected")) };
        let Self { target, mailbox, draft, .. } = *upload;
        let body = draft.finish().map_err(|error| refusal(&error))?;
        let whole = usize::try_from(body.octets()).unwrap_or(usize::MAX);
        let digest = Digest::of(&body.read(0, whole).map_err(|error| refusal(&error))?);
        let (account, now) = (server.account(), server.now());
        let internal_date = target.date.unwrap_or(now);
        let added = server
            .write(move |tx| {
                let new = NewEmail { body: &body, digest: &digest, flags: target.flags.clone(), internal_date, saved: now };
                tx.email_add(account, mailbox, new)
            })
            .await?;
        let code = format!("APPENDUID {} {}", added.uid_validity, added.uid);
        server.finish(Status::ok("Kept").code(code), true).await
    }
}
