//! NOTIFY (RFC 5465): a client says of which changes, in which mailboxes, it wants to hear at any time.
//!
//! Not the telling: [`crate::imap::notifying`] gathers what is told.

use crate::imap::command::Command;
use crate::imap::commands::esearch::{self, Source};
use crate::imap::commands::fetch::{self, Item};
use crate::imap::grammar::{Fault, Parsed, Parser};
use crate::imap::response::Status;
use crate::imap::serve::{self, Outcome, Server};

/// `NOTIFY SET STATUS (selected (MessageNew MessageExpunge)) (personal (MailboxName))`
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Notify {
    /// STATUS of the watched mailboxes is told at once.
    pub status: bool,
    /// Of what; nothing for NONE.
    pub groups: Vec<Group>,
}

/// Some mailboxes, and what is told of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Which mailboxes.
    pub filter: Filter,
    /// What is told.
    pub events: Events,
}

/// Which mailboxes (RFC 5465 §6).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Filter {
    /// The selected one, whichever that is; `selected-delayed` if true: expunges wait for a command.
    Selected(bool),
    /// Others.
    Others(Source),
}

/// What is told (RFC 5465 §5).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "they are the RFC's events, each wanted or not")]
pub struct Events {
    /// `MessageNew` and `MessageExpunge`, which always stand together.
    pub messages: bool,
    /// What is fetched of new messages.
    pub items: Vec<Item>,
    /// `FlagChange`
    pub flags: bool,
    /// `MailboxName`
    pub names: bool,
    /// `SubscriptionChange`
    pub subscriptions: bool,
    /// `MailboxMetadataChange`
    pub annotations: bool,
    /// `ServerMetadataChange`
    pub server_annotations: bool,
}

impl Events {
    /// Whether it names events of mailboxes or the server, not of messages.
    const fn is_of_mailboxes(&self) -> bool {
        self.names || self.subscriptions || self.annotations || self.server_annotations
    }
}

/// Most groups, and most events in one.
const GROUPS_MAX: usize = 64;
/// Most items fetched of new messages.
const ITEMS_MAX: usize = 32;

/// What can be watched, as BADEVENT tells it.
const SUPPORTED: &str =
    "BADEVENT (MessageNew MessageExpunge FlagChange MailboxName SubscriptionChange MailboxMetadataChange ServerMetadataChange)";

/// Reads its arguments.
///
/// # Errors
/// When they are not its grammar, or name an event that is not watched here.
pub fn parse(parser: &mut Parser<'_>) -> Parsed<Command> {
    parser.space()?;
    let start = parser.clone();
    let verb = parser.name("SET or NONE")?;
    if verb.eq_ignore_ascii_case("NONE") {
        return Ok(Command::Notify(Notify::default()));
    }
    if !verb.eq_ignore_ascii_case("SET") {
        return start.fault("SET or NONE");
    }
    parser.space()?;
    let status = parser.accept_word("STATUS ");
    let mut groups = vec![group(parser)?];
    while parser.accept(b' ') && !parser.is_done() {
        if groups.len() == GROUPS_MAX {
            return parser.fault("fewer groups");
        }
        groups.push(group(parser)?);
    }
    if groups.iter().filter(|group| matches!(group.filter, Filter::Selected(_))).count() > 1 {
        return start.fault("selected or selected-delayed once");
    }
    Ok(Command::Notify(Notify { status, groups }))
}

fn group(parser: &mut Parser<'_>) -> Parsed<Group> {
    parser.octet(b'(', "an opening parenthesis")?;
    let filter = filter(parser)?;
    parser.space()?;
    let events = events(parser, &filter)?;
    parser.octet(b')', "a closing parenthesis")?;
    Ok(Group { filter, events })
}

fn filter(parser: &mut Parser<'_>) -> Parsed<Filter> {
    if parser.accept_word("selected-delayed") {
        return Ok(Filter::Selected(true));
    }
    Ok(match esearch::source(parser)? {
        Source::Selected => Filter::Selected(false),
        source => Filter::Others(source),
    })
}

fn events(parser: &mut Parser<'_>, filter: &Filter) -> Parsed<Events> {
    let start = parser.clone();
    let mut read = Read::default();
    if parser.accept_word("NONE") {
        return Ok(read.events);
    }
    // The RFC's own examples leave these parentheses out (§3.1).
    let wrapped = parser.accept(b'(');
    for _ in 0..GROUPS_MAX {
        read.event(parser)?;
        if parser.peek() == Some(b')') {
            break;
        }
        parser.space()?;
    }
    if wrapped {
        parser.octet(b')', "a closing parenthesis")?;
    }
    let Read { events, came, went } = read;
    if came != went || (events.flags && !came) {
        return start.fault("MessageNew and MessageExpunge together, and both with FlagChange");
    }
    match filter {
        Filter::Selected(_) if events.is_of_mailboxes() => start.fault("events of messages only: this is the selected mailbox"),
        Filter::Others(_) if !events.items.is_empty() => start.fault("no items to fetch: this is not the selected mailbox"),
        _ => Ok(Events { messages: came, ..events }),
    }
}

/// Events as they are read.
#[derive(Default)]
struct Read {
    events: Events,
    came: bool,
    went: bool,
}

impl Read {
    fn event(&mut self, parser: &mut Parser<'_>) -> Parsed<()> {
        match parser.name("an event such as MessageNew")?.to_ascii_lowercase().as_str() {
            "messagenew" => {
                self.came = true;
                if parser.accept_word(" (") {
                    self.events.items = fetch::listed(parser, ITEMS_MAX)?;
                }
            }
            "messageexpunge" => self.went = true,
            "flagchange" => self.events.flags = true,
            "mailboxname" => self.events.names = true,
            "subscriptionchange" => self.events.subscriptions = true,
            "mailboxmetadatachange" => self.events.annotations = true,
            "servermetadatachange" => self.events.server_annotations = true,
            _ => return Err(Fault::Refused(Box::new(Status::no(SUPPORTED, "Some of that is not watched here")))),
        }
        Ok(())
    }
}

impl Notify {
    /// Watches from now on; tells what the client does not know yet of its selected mailbox, as NOOP does.
    pub(crate) async fn run(self, server: &mut Server) -> Outcome {
        let data = server.watch(self).await?;
        let end = server.finish(Status::ok("Done"), true).await?;
        Ok(serve::before(data, end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Notify, String> {
        let mut parser = Parser::new(text.as_bytes(), false);
        match parse(&mut parser).and_then(|command| parser.end().map(|()| command)) {
            Ok(Command::Notify(notify)) => Ok(notify),
            Ok(other) => Err(format!("{other:?}")),
            Err(fault) => Err(fault.status().text.into_owned()),
        }
    }

    #[test]
    fn what_is_wanted_is_read() {
        assert_eq!(read(" NONE"), Ok(Notify::default()));
        let notify =
            read(" SET STATUS (selected MessageNew (uid body.peek[header.fields (from to)]) MessageExpunge) (subtree Lists NONE)").unwrap();
        assert!(notify.status && notify.groups[0].events.messages && notify.groups[0].events.items.len() == 2);
        assert_eq!(notify.groups[1].filter, Filter::Others(Source::Subtree(vec!["Lists".into()])));
        assert_eq!(notify.groups[1].events, Events::default());
        let notify = read(" set (Selected-Delayed (messagenew messageexpunge flagchange)) (mailboxes (a b) (MailboxName))").unwrap();
        assert_eq!(notify.groups[0].filter, Filter::Selected(true));
        assert!(!notify.status && notify.groups[0].events.flags && notify.groups[1].events.names);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for text in [
            "",
            " SOME",
            " SET",
            " SET (selected (MessageNew))",
            " SET (selected (MessageExpunge FlagChange))",
            " SET (personal (FlagChange))",
            " SET (selected (MailboxName))",
            " SET (selected NONE) (selected-delayed NONE)",
            " SET (personal (MessageNew (UID) MessageExpunge))",
            " SET (personal (MessageNew MessageExpunge)",
            " SET (personal ())",
            " SET (everything NONE)",
        ] {
            assert!(read(text).unwrap_err().starts_with("Expected "), "{text}");
        }
        assert!(read(" SET (personal (AnnotationChange))").unwrap_err().contains("not watched"));
    }
}
