//! LIST (RFC 9051 §6.3.9): LIST-EXTENDED, LIST-STATUS, SPECIAL-USE, CHILDREN.

use crate::imap::command::Command;
use crate::imap::commands::acl;
use crate::imap::commands::metadata;
use crate::imap::commands::status;
use crate::imap::commands::status::Teller;
use crate::imap::commands::xlist;
use crate::imap::grammar::{Parsed, Parser};
use crate::imap::granted::Granted;
use crate::imap::mailbox_name::{self, DELIMITER};
use crate::imap::response::{self, Status};
use crate::imap::serve::{self, Outcome, Server};
use mail::Rights;
use std::collections::{BTreeMap, BTreeSet};
use store::{EntryName, Mailbox, ReadTx};

/// `LIST (SUBSCRIBED) "" ("INBOX" "Lists/%") RETURN (STATUS (UNSEEN))`
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct List {
    /// The reference: it is put before each pattern.
    pub reference: String,
    /// What names must match.
    pub patterns: Vec<String>,
    /// Which mailboxes are wanted.
    pub only: Selection,
    /// What is told of each besides its attributes.
    pub returns: Returns,
    /// The extended form: `\NonExistent` and other attributes of RFC 5258 may be used.
    pub extended: bool,
}

/// Selection options (RFC 5258 §3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Selection {
    /// Only subscribed names, whether they exist or not.
    pub subscribed: bool,
    /// Only mailboxes with a special use (RFC 6154 §5).
    pub special_use: bool,
    /// Also parents of selected mailboxes (CHILDINFO).
    pub recursive: bool,
}

/// Return options (RFC 5258 §3.2, RFC 5819).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Returns {
    /// `\Subscribed`
    pub subscribed: bool,
    /// A STATUS response for each mailbox.
    pub status: Vec<status::Item>,
    /// A MYRIGHTS response for each mailbox (RFC 8440).
    pub my_rights: bool,
    /// A METADATA response with these for each mailbox (RFC 9590).
    pub metadata: Vec<EntryName>,
}

/// Most patterns in one LIST.
const PATTERNS_MAX: usize = 16;

/// Reads the arguments of LIST's older kin, LSUB and XLIST: the reference, and the pattern.
///
/// # Errors
/// When they are not their grammar.
pub fn reference_and_pattern(parser: &mut Parser<'_>) -> Parsed<(String, String)> {
    parser.space()?;
    let reference = parser.list_mailbox()?;
    parser.space()?;
    Ok((reference, parser.list_mailbox()?))
}

/// Reads its arguments.
///
/// # Errors
/// When they are not its grammar.
pub fn parse(parser: &mut Parser<'_>) -> Parsed<Command> {
    let mut list = List::default();
    parser.space()?;
    if parser.peek() == Some(b'(') {
        list.extended = true;
        parser.list(8, |parser| selection(parser, &mut list.only))?;
        parser.space()?;
    }
    list.reference = parser.list_mailbox()?;
    parser.space()?;
    if parser.peek() == Some(b'(') {
        list.extended = true;
        list.patterns = parser.list(PATTERNS_MAX, Parser::list_mailbox)?;
    } else {
        list.patterns.push(parser.list_mailbox()?);
    }
    if parser.accept(b' ') && !parser.is_done() {
        if !parser.accept_word("RETURN ") {
            return parser.fault("RETURN");
        }
        list.extended = true;
        parser.list(16, |parser| return_option(parser, &mut list.returns))?;
    }
    if list.only.recursive && !(list.only.subscribed || list.only.special_use) {
        return parser.fault("RECURSIVEMATCH only beside SUBSCRIBED or SPECIAL-USE");
    }
    Ok(Command::List(list))
}

fn selection(parser: &mut Parser<'_>, only: &mut Selection) -> Parsed<()> {
    let known = "SUBSCRIBED, SPECIAL-USE, RECURSIVEMATCH or REMOTE";
    match parser.name(known)?.to_ascii_uppercase().as_str() {
        "SUBSCRIBED" => only.subscribed = true,
        "SPECIAL-USE" => only.special_use = true,
        "RECURSIVEMATCH" => only.recursive = true,
        "REMOTE" => {}
        _ => return parser.fault(known),
    }
    Ok(())
}

fn return_option(parser: &mut Parser<'_>, returns: &mut Returns) -> Parsed<()> {
    let known = "SUBSCRIBED, CHILDREN, SPECIAL-USE, STATUS, MYRIGHTS or METADATA";
    match parser.name(known)?.to_ascii_uppercase().as_str() {
        "SUBSCRIBED" => returns.subscribed = true,
        // Told in any case.
        "CHILDREN" | "SPECIAL-USE" => {}
        "STATUS" => {
            parser.space()?;
            returns.status = status::items(parser)?;
        }
        "MYRIGHTS" => returns.my_rights = true,
        "METADATA" => {
            parser.space()?;
            returns.metadata = metadata::entries(parser)?;
        }
        _ => return parser.fault(known),
    }
    Ok(())
}

impl List {
    /// Answers with every mailbox that matches.
    pub(crate) async fn run(self, server: &mut Server) -> Outcome {
        answer(self, server, "LIST").await
    }
}

/// Answers LIST, or LSUB and XLIST under their names.
pub(crate) async fn answer(list: List, server: &mut Server, verb: &'static str) -> Outcome {
    let teller = Teller::of(server, &list.returns.status);
    let utf8 = server.enabled().utf8();
    let data = server.read(move |tx| Tree::read(tx, &teller, list, utf8)?.tell(tx, &teller, verb)).await?;
    let end = server.finish(Status::ok("Done"), true).await?;
    Ok(serve::before(data, end))
}

/// The names an account knows: its mailboxes, others' that it may look up with the levels above them, and
/// subscriptions to names that do not exist.
struct Tree {
    list: List,
    utf8: bool,
    names: BTreeMap<String, Option<Granted>>,
    subscribed: BTreeSet<String>,
    /// Names with others below them.
    parents: BTreeSet<String>,
}

impl Tree {
    fn read(tx: &ReadTx, teller: &Teller, list: List, utf8: bool) -> store::Result<Self> {
        let all = Granted::all(tx, teller.viewer)?;
        let subscribed: BTreeSet<String> = tx.subscriptions(teller.viewer)?.into_iter().collect();
        let parents: BTreeSet<String> = all.iter().flat_map(|granted| above(&granted.mailbox.name)).map(str::to_owned).collect();
        let mut names: BTreeMap<_, _> = all.into_iter().map(|granted| (granted.mailbox.name.clone(), Some(granted))).collect();
        // Above others' mailboxes, levels that are none, or that may not be looked up.
        for name in &parents {
            names.entry(name.clone()).or_insert(None);
        }
        if list.only.subscribed {
            for name in &subscribed {
                names.entry(name.clone()).or_insert(None);
            }
        }
        Ok(Self { list, utf8, names, subscribed, parents })
    }

    fn tell(&self, tx: &ReadTx, teller: &Teller, verb: &str) -> store::Result<Vec<u8>> {
        let mut out = Vec::new();
        if !self.list.extended && self.list.patterns.iter().all(String::is_empty) {
            // What the delimiter is (RFC 9051 §6.3.9).
            response::line(&mut out, &format!("* {verb} (\\Noselect) \"{DELIMITER}\" \"\""));
            return Ok(out);
        }
        let mut above_told = BTreeSet::new();
        for (name, granted) in &self.names {
            let mailbox = granted.as_ref().map(|granted| &granted.mailbox);
            let selected = self.is_selected(name, mailbox);
            let below = self.list.only.recursive && self.has_selected_below(name);
            if self.matches(name) && (selected || below) {
                self.line(&mut out, verb, name, mailbox, below);
                if let Some(granted) = granted.as_ref().filter(|_| selected) {
                    self.besides(tx, teller, granted, &mut out)?;
                }
            } else if selected && verb == "LSUB" {
                // A subscribed name below what `%` reaches shows its parent (RFC 3501 §6.3.9).
                let parent = above(name).find(|parent| self.matches(parent) && !self.subscribed.contains(*parent));
                if let Some(parent) = parent.filter(|parent| above_told.insert((*parent).to_owned())) {
                    response::line(&mut out, &format!("* LSUB (\\Noselect) \"{DELIMITER}\" {}", self.shown(parent)));
                }
            }
        }
        Ok(out)
    }

    /// What was asked for besides the line, as far as the client may know it.
    fn besides(&self, tx: &ReadTx, teller: &Teller, granted: &Granted, out: &mut Vec<u8>) -> store::Result<()> {
        let returns = &self.list.returns;
        if !returns.status.is_empty() && granted.rights.contains(Rights::READ) {
            teller.tell(tx, granted, &returns.status, out)?;
        }
        if returns.my_rights {
            acl::my_rights(out, granted, self.utf8);
        }
        metadata::listed(out, tx, teller.viewer, granted, &returns.metadata, self.utf8)
    }

    fn shown(&self, name: &str) -> String {
        let mut out = Vec::new();
        response::mailbox(&mut out, name, self.utf8);
        String::from_utf8(out).unwrap_or_default()
    }

    fn matches(&self, name: &str) -> bool {
        self.list.patterns.iter().any(|pattern| {
            // A pattern that starts at the root does not stand below the reference.
            let whole = format!("{}{pattern}", self.list.reference);
            mailbox_name::matches(if self.list.reference.is_empty() { pattern } else { &whole }, name)
        })
    }

    fn is_selected(&self, name: &str, mailbox: Option<&Mailbox>) -> bool {
        let only = self.list.only;
        let special = mailbox.and_then(|mailbox| mailbox.role).is_some_and(|role| role.attribute().is_some());
        (!only.subscribed || self.subscribed.contains(name)) && (!only.special_use || special)
    }

    fn has_selected_below(&self, name: &str) -> bool {
        let start = format!("{name}{DELIMITER}");
        let below = self.names.range(start.clone()..).take_while(|(name, _)| name.starts_with(&start));
        below.into_iter().any(|(name, granted)| self.is_selected(name, granted.as_ref().map(|granted| &granted.mailbox)))
    }

    fn line(&self, out: &mut Vec<u8>, verb: &str, name: &str, mailbox: Option<&Mailbox>, below: bool) {
        let mut attributes = Vec::new();
        if mailbox.is_none() {
            attributes.push(if self.list.extended { "\\NonExistent" } else { "\\Noselect" });
        }
        if verb != "LSUB" {
            attributes.push(if self.parents.contains(name) { "\\HasChildren" } else { "\\HasNoChildren" });
        }
        if self.list.extended && (self.list.only.subscribed || self.list.returns.subscribed) && self.subscribed.contains(name) {
            attributes.push("\\Subscribed");
        }
        // Deviation: told in every LIST: Apple Mail expects SPECIAL-USE without asking for it.
        let attribute = if verb == "XLIST" { xlist::attribute } else { mail::Role::attribute };
        attributes.extend(mailbox.and_then(|mailbox| mailbox.role).and_then(attribute));
        out.extend_from_slice(format!("* {verb} ({}) \"{DELIMITER}\" ", attributes.join(" ")).as_bytes());
        response::mailbox(out, name, self.utf8);
        if below {
            let option = if self.list.only.subscribed { "SUBSCRIBED" } else { "SPECIAL-USE" };
            out.extend_from_slice(format!(" (\"CHILDINFO\" (\"{option}\"))").as_bytes());
        }
        out.extend_from_slice(b"\r\n");
    }
}

/// The names above a name, the nearest first.
fn above(name: &str) -> impl Iterator<Item = &str> {
    name.rmatch_indices(DELIMITER).filter_map(|(at, _)| name.get(..at))
}
