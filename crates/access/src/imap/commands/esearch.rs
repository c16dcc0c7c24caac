//! ESEARCH: one search over several mailboxes (RFC 7377, MULTISEARCH).
//!
//! Not a selection: which mailbox is selected does not change, and numbers are Uids.

use crate::imap::command::Command;
use crate::imap::commands::returns::{Listed, Response, Returns};
use crate::imap::commands::search::{self, Key, Scope};
use crate::imap::grammar::{Parsed, Parser};
use crate::imap::granted::Granted;
use crate::imap::mailbox_name::DELIMITER;
use crate::imap::response::Status;
use crate::imap::selected::Selected;
use crate::imap::serve::{self, Outcome, Server};
use mail::uid_set::UidSet;
use mail::{AccountId, Rights, Role};
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use store::{Place, ReadTx};

/// `ESEARCH IN (personal subtree "lists") RETURN (COUNT) UNSEEN`
#[derive(Debug, Clone, PartialEq)]
pub struct ESearch {
    /// Which mailboxes.
    pub sources: Vec<Source>,
    /// What is returned of each.
    pub returns: Returns,
    /// CHARSET was given.
    pub names_charset: bool,
    /// What messages must be.
    pub key: Key,
}

/// Some mailboxes (RFC 5465 §6, RFC 7377 §2.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The selected one.
    Selected,
    /// Those that get new mail.
    Inboxes,
    /// All of the account.
    Personal,
    /// Those subscribed to.
    Subscribed,
    /// These and all below them.
    Subtree(Vec<String>),
    /// These and those one level below them.
    SubtreeOne(Vec<String>),
    /// These.
    Mailboxes(Vec<String>),
}

/// Most sources, and most names in one of them.
const SOURCES_MAX: usize = 64;

const EXPECTED: &str = "selected, inboxes, personal, subscribed, subtree, subtree-one or mailboxes";

/// Reads its arguments.
///
/// # Errors
/// When they are not its grammar, or SAVE is wanted of other mailboxes than the selected one.
pub fn parse(parser: &mut Parser<'_>) -> Parsed<Command> {
    parser.space()?;
    let mut sources = vec![Source::Selected];
    if parser.accept_word("IN ") {
        sources = parser.list(SOURCES_MAX, source)?;
        if sources.is_empty() {
            return parser.fault("mailboxes to search");
        }
        parser.space()?;
    }
    let start = parser.clone();
    let returns = Returns::parse(parser)?.map_or(Returns::ALL, |(returns, _)| returns);
    if returns.update {
        return start.fault("no UPDATE: it is for SEARCH and SORT of the selected mailbox");
    }
    if returns.save && sources != [Source::Selected] {
        return start.fault("no SAVE: other mailboxes than the selected one are searched");
    }
    let (key, names_charset) = search::keys(parser)?;
    if returns.relevancy && !key.is_fuzzy() {
        return start.fault("FUZZY beside RELEVANCY");
    }
    Ok(Command::ESearch(Box::new(ESearch { sources, returns, names_charset, key })))
}

/// Some mailboxes, as the client names them.
///
/// # Errors
/// When it is not its grammar.
pub fn source(parser: &mut Parser<'_>) -> Parsed<Source> {
    let start = parser.clone();
    let name = parser.name(EXPECTED)?.to_ascii_lowercase();
    let with_names = match name.as_str() {
        "selected" => return Ok(Source::Selected),
        "inboxes" => return Ok(Source::Inboxes),
        "personal" => return Ok(Source::Personal),
        "subscribed" => return Ok(Source::Subscribed),
        "subtree" => Source::Subtree,
        "subtree-one" => Source::SubtreeOne,
        "mailboxes" => Source::Mailboxes,
        _ => return start.fault(EXPECTED),
    };
    parser.space()?;
    let names = if parser.peek() == Some(b'(') { parser.list(SOURCES_MAX, Parser::mailbox)? } else { vec![parser.mailbox()?] };
    Ok(with_names(names))
}

impl Source {
    fn holds(&self, granted: &Granted, viewer: AccountId, selected: Option<&Place>, subscribed: &BTreeSet<String>) -> bool {
        let name = granted.mailbox.name.as_str();
        match self {
            Self::Selected => selected == Some(&place(granted)),
            Self::Inboxes => granted.mailbox.role == Some(Role::Inbox),
            Self::Personal => granted.account == viewer,
            Self::Subscribed => subscribed.contains(name),
            Self::Mailboxes(names) => names.iter().any(|known| known == name),
            Self::Subtree(names) => names.iter().any(|known| below(known, name).is_some()),
            Self::SubtreeOne(names) => names.iter().any(|known| below(known, name).is_some_and(|rest| !rest.contains(DELIMITER))),
        }
    }
}

/// What of a name stands below another: nothing if it is that name, `None` if it does not stand there.
pub(crate) fn below<'a>(above: &str, name: &'a str) -> Option<&'a str> {
    let rest = name.strip_prefix(above)?;
    if rest.is_empty() { Some(rest) } else { rest.strip_prefix(DELIMITER) }
}

/// An ESEARCH under way.
#[derive(Debug)]
pub(crate) struct Job {
    tag: String,
    search: Box<ESearch>,
    todo: VecDeque<Granted>,
}

impl ESearch {
    /// Searches mailbox by mailbox and answers for each that has a match.
    pub(crate) async fn run(self: Box<Self>, server: &mut Server, tag: String) -> Outcome {
        if self.names_charset && server.enabled().utf8_accept {
            // RFC 9755 §3
            return Err(Status::bad("Everything is UTF-8 since you enabled UTF8=ACCEPT: no CHARSET").code("CLIENTBUG"));
        }
        let selected = server.selected().map(|selected| Place { account: selected.account, mailbox: selected.mailbox });
        if self.sources.contains(&Source::Selected) {
            selected.clone()?;
        }
        server.enabled_mut().condstore |= self.key.names_mod_seq();
        let (account, sources, selected) = (server.account(), self.sources.clone(), selected.ok());
        let todo = server.read(move |tx| chosen(tx, account, &sources, selected)).await?;
        Box::new(Job { tag, search: self, todo }).step(server).await
    }
}

/// Each mailbox once, by name.
fn chosen(tx: &ReadTx, viewer: AccountId, sources: &[Source], selected: Option<Place>) -> store::Result<VecDeque<Granted>> {
    let subscribed = tx.subscriptions(viewer)?.into_iter().collect();
    let wanted = |granted: &Granted| sources.iter().any(|source| source.holds(granted, viewer, selected.as_ref(), &subscribed));
    let all = Granted::all(tx, viewer)?.into_iter().filter(|granted| granted.rights.contains(Rights::READ));
    Ok(all.filter(wanted).collect())
}

const fn place(granted: &Granted) -> Place {
    Place { account: granted.account, mailbox: granted.mailbox.id }
}

impl Job {
    /// Goes on until a mailbox has a match.
    pub(crate) async fn step(mut self: Box<Self>, server: &mut Server) -> Outcome {
        while let Some(granted) = self.todo.pop_front() {
            let Some(view) = view(server, &granted).await? else { continue };
            let scope = Scope { selected: &view, enabled: server.enabled() };
            let mut key = self.search.key.clone();
            key.resolve(&scope)?;
            let found = search::all_found(&key, &view, server).await?;
            let returns = self.search.returns;
            let listed = Listed::Set(found.uids.clone());
            if returns.save {
                let kept = returns.kept(&listed);
                server.revise(|selected| selected.saved = kept);
            }
            if listed.is_empty() || returns.is_save_alone() {
                continue;
            }
            let mod_seq = key.names_mod_seq().then(|| found.mod_seq(returns));
            let of = Some((granted.mailbox.name.as_str(), view.uid_validity, server.enabled().utf8()));
            let scores: Vec<_> = found.relevancies().into_iter().map(|(_, score)| score).collect();
            let mut data = Vec::new();
            Response { tag: &self.tag, of, by_uid: true, returns, listed: &listed, scores: &scores, mod_seq }.write(&mut data);
            return Ok(server.more(data, serve::Job::ESearch(self)));
        }
        server.finish(Status::ok("Done"), true).await
    }
}

/// The mailbox as the client sees it if it is selected, else as it is; `None` if it is gone.
async fn view(server: &Server, granted: &Granted) -> Result<Option<Arc<Selected>>, Status> {
    let (Place { account, mailbox: id }, rights) = (place(granted), granted.rights);
    if let Some(selected) = server.selected().ok().filter(|selected| (selected.account, selected.mailbox) == (account, id)) {
        return Ok(Some(selected));
    }
    server
        .read(move |tx| {
            let Some(mailbox) = tx.mailbox(account, id)? else { return Ok(None) };
            Ok(Some(Arc::new(Selected {
                account,
                mailbox: id,
                rights,
                uid_validity: mailbox.uid_validity,
                read_only: true,
                uids: tx.uids(account, id)?,
                gone: UidSet::new(),
                recent: UidSet::new(),
                saved: UidSet::new(),
                seen: tx.mod_seq(account)?,
                keywords: 0,
                contexts: Vec::new(),
                unheard: UidSet::new(),
                unsaid: UidSet::new(),
            })))
        })
        .await
}
