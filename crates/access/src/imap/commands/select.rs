//! SELECT and EXAMINE (RFC 9051 §6.3.2, §6.3.3), with CONDSTORE and QRESYNC (RFC 7162 §3.1.8, §3.2.5).

use crate::imap::command::Command;
use crate::imap::command::State;
use crate::imap::commands::fetch::{Item, Job, Spec};
use crate::imap::grammar::{Parsed, Parser};
use crate::imap::granted::Granted;
use crate::imap::recent::first_saved_since;
use crate::imap::response::{self, Status};
use crate::imap::selected::{Selected, flags_defined, unusual};
use crate::imap::serve::{self, Outcome, Server, object_id};
use crate::imap::session::{Answer, Done};
use mail::uid_set::UidSet;
use mail::{AccountId, Rights, SeqNum};
use mail::{ModSeq, Uid};
use std::sync::Arc;
use store::{Mailbox, ReadTx};

/// `SELECT INBOX (QRESYNC (67890007 20050715194045000 41,43:211))`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Select {
    /// Its name.
    pub mailbox: String,
    /// EXAMINE: nothing may be changed.
    pub read_only: bool,
    /// CONDSTORE was asked for.
    pub condstore: bool,
    /// What the client knows from last time.
    pub known: Option<Known>,
}

/// The argument of QRESYNC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// The UIDVALIDITY it knows.
    pub uid_validity: u64,
    /// The mod-sequence up to which it knows everything.
    pub mod_seq: ModSeq,
    /// The Uids it knows; all if none were given.
    pub uids: Option<UidSet>,
    /// Sequence numbers were named too.
    pub names_numbers: bool,
}

/// Reads its arguments.
///
/// # Errors
/// When they are not its grammar.
pub fn parse(parser: &mut Parser<'_>, read_only: bool) -> Parsed<Command> {
    parser.space()?;
    let mailbox = parser.mailbox()?;
    let mut select = Select { mailbox, read_only, condstore: false, known: None };
    if parser.accept(b' ') && !parser.is_done() {
        parser.list(8, |parser| parameter(parser, &mut select))?;
    }
    Ok(Command::Select(select))
}

fn parameter(parser: &mut Parser<'_>, select: &mut Select) -> Parsed<()> {
    let name = parser.name("CONDSTORE or QRESYNC")?;
    if name.eq_ignore_ascii_case("CONDSTORE") {
        select.condstore = true;
        return Ok(());
    }
    if !name.eq_ignore_ascii_case("QRESYNC") {
        return parser.fault("CONDSTORE or QRESYNC");
    }
    parser.space()?;
    parser.octet(b'(', "an opening parenthesis")?;
    select.known = Some(known(parser)?);
    parser.octet(b')', "a closing parenthesis")
}

fn known(parser: &mut Parser<'_>) -> Parsed<Known> {
    let uid_validity = parser.number()?;
    parser.space()?;
    let mod_seq = ModSeq(parser.number()?);
    let mut uids = None;
    if parser.accept(b' ') {
        if parser.peek() != Some(b'(') {
            let set = parser.sequence_set()?;
            if set.has_star() || set.is_saved() {
                return parser.fault("known Uids without * or $");
            }
            uids = Some(set.uids(Uid(0)));
            if !parser.accept(b' ') {
                return Ok(Known { uid_validity, mod_seq, uids, names_numbers: false });
            }
        }
        sequence_match(parser)?;
        return Ok(Known { uid_validity, mod_seq, uids, names_numbers: true });
    }
    Ok(Known { uid_validity, mod_seq, uids, names_numbers: false })
}

/// Pairs of sequence numbers and Uids, a hint for servers that forget expunges early. It is read
/// and not used: the store knows what vanished.
fn sequence_match(parser: &mut Parser<'_>) -> Parsed<()> {
    parser.octet(b'(', "an opening parenthesis")?;
    parser.sequence_set()?;
    parser.space()?;
    parser.sequence_set()?;
    parser.octet(b')', "a closing parenthesis")
}

/// Messages looked at to find the first without `\Seen`, which IMAP4rev1 wants to know. Our own
/// bound: where unseen ones stand far behind, the client is not told.
const UNSEEN_SEARCHED_MAX: usize = 2000;

/// What one read learns of a mailbox.
struct Opened {
    mailbox: Mailbox,
    selected: Selected,
    keywords: Vec<mail::Keyword>,
    first_unseen: Option<SeqNum>,
    first_recent: Option<Uid>,
    /// What vanished and changed since the client was last here.
    since: Option<(UidSet, UidSet)>,
}

impl Select {
    /// Opens the mailbox; one that was selected is closed in any case (RFC 9051 §6.3.2).
    pub(crate) async fn run(self, server: &mut Server) -> Outcome {
        if self.known.is_some() && !server.enabled().qresync {
            return Err(Status::bad("ENABLE QRESYNC first").code("CLIENTBUG"));
        }
        if self.known.as_ref().is_some_and(|known| known.names_numbers) {
            server.enabled().sequence_numbers()?;
        }
        server.enabled_mut().condstore |= self.condstore;
        let mut data = Vec::new();
        let was_selected = server.select(None).is_some();
        if was_selected {
            response::line(&mut data, "* OK [CLOSED] The mailbox before is closed");
        }
        let opening = Opening { viewer: server.account(), shared: server.shared().clone(), rev2: server.enabled().rev2, select: self };
        // A mailbox that others have open too costs so little that it is read in place.
        let opened = match server.read_short(|tx| opening.in_place(tx)) {
            Ok(Some(opened)) => Ok(opened),
            _ => server.read(move |tx| opening.open(tx)).await,
        };
        match opened {
            Ok(opened) => Ok(told(server, data, opened)),
            Err(status) => Ok(Answer::Done(Done { data, status, state: Some(State::Authenticated) })),
        }
    }
}

/// Rights of which one makes it worth to select for more than reading (RFC 4314 §5.2).
const CHANGES: Rights = Rights::INSERT.union(Rights::EXPUNGE).union(Rights::SEEN).union(Rights::WRITE).union(Rights::TRASH);

/// What is needed to open a mailbox.
struct Opening {
    viewer: AccountId,
    shared: Arc<serve::Shared>,
    rev2: bool,
    select: Select,
}

impl Opening {
    /// Opens the mailbox if that takes a handful of keys.
    fn in_place(&self, tx: &ReadTx) -> store::Result<Option<Opened>> {
        let granted = self.granted(tx)?;
        let (account, id) = (granted.account, granted.mailbox.id);
        let is_known = self.rev2 || self.shared.recents.told(account, id).is_some();
        if self.select.known.is_some() || !is_known {
            return Ok(None);
        }
        match tx.uids_known(account, id)? {
            Some(uids) => self.with(tx, granted, uids).map(Some),
            None => Ok(None),
        }
    }

    fn open(&self, tx: &ReadTx) -> store::Result<Opened> {
        let granted = self.granted(tx)?;
        let uids = tx.uids(granted.account, granted.mailbox.id)?;
        self.with(tx, granted, uids)
    }

    fn granted(&self, tx: &ReadTx) -> store::Result<Granted> {
        Granted::find_for(tx, self.viewer, &self.select.mailbox, Rights::READ)
    }

    fn with(&self, tx: &ReadTx, granted: Granted, uids: UidSet) -> store::Result<Opened> {
        let Granted { account, rights, mailbox } = granted;
        let keywords = tx.mailbox_keywords(account, mailbox.id)?;
        let (mut first_unseen, mut first_recent) = (None, None);
        if !self.rev2 {
            first_unseen = tx.first_unseen(account, mailbox.id, UNSEEN_SEARCHED_MAX)?.and_then(|uid| uids.rank(uid));
            // Of a mailbox that was selected before, it is known what is recent.
            if self.shared.recents.told(account, mailbox.id).is_none() {
                first_recent = first_saved_since(tx, account, mailbox.id, &uids, self.shared.recents.started())?;
            }
        }
        let known = self.select.known.as_ref().filter(|known| known.uid_validity == u64::from(mailbox.uid_validity.0));
        let since = known.map(|known| changed_since(tx, account, &mailbox, known)).transpose()?;
        let selected = Selected {
            account,
            mailbox: mailbox.id,
            rights,
            uid_validity: mailbox.uid_validity,
            read_only: self.select.read_only || !rights.intersects(CHANGES),
            uids,
            gone: UidSet::new(),
            recent: UidSet::new(),
            saved: UidSet::new(),
            seen: tx.mod_seq(account)?,
            keywords: unusual(&keywords),
            contexts: Vec::new(),
            unheard: UidSet::new(),
            unsaid: UidSet::new(),
        };
        Ok(Opened { mailbox, selected, keywords, first_unseen, first_recent, since })
    }
}

/// Of the Uids the client knows, those that vanished; and those that changed or came.
fn changed_since(tx: &ReadTx, account: AccountId, mailbox: &Mailbox, known: &Known) -> store::Result<(UidSet, UidSet)> {
    let changes = tx.changes(account, mailbox.id, known.mod_seq)?;
    let given = UidSet::range(Uid(1), Uid(mailbox.uid_next.0.saturating_sub(1)));
    let of_client = known.uids.as_ref().unwrap_or(&given);
    let vanished = changes.vanished.intersect(of_client);
    let touched: UidSet = changes.messages.iter().map(|message| message.uid).collect();
    // Of messages it cannot know, the client hears by EXISTS; it fetches them itself.
    Ok((vanished, touched.intersect(of_client)))
}

fn told(server: &mut Server, mut data: Vec<u8>, opened: Opened) -> Answer {
    let Opened { mailbox, mut selected, keywords, first_unseen, first_recent, since } = opened;
    let rev2 = server.enabled().rev2;
    flags_defined(&mut data, &keywords, selected.changeable());
    response::count(&mut data, selected.uids.len(), "EXISTS");
    if !rev2 {
        selected.recent = recent(server, &selected, first_recent);
        response::count(&mut data, selected.recent.len(), "RECENT");
        if let Some(number) = first_unseen.filter(|_| !server.enabled().uid_only) {
            response::line(&mut data, &format!("* OK [UNSEEN {number}] The first unseen message"));
        }
    }
    response::line(&mut data, &format!("* OK [UIDVALIDITY {}] These Uids are valid", mailbox.uid_validity));
    response::line(&mut data, &format!("* OK [UIDNEXT {}] The next Uid", mailbox.uid_next));
    response::line(&mut data, &format!("* OK [HIGHESTMODSEQ {}] The last change", mailbox.mod_seq));
    response::line(&mut data, &format!("* OK [MAILBOXID ({})] Its id", object_id('M', mailbox.id.0.into())));
    if rev2 {
        data.extend_from_slice(b"* LIST () \"/\" ");
        response::mailbox(&mut data, &mailbox.name, true);
        data.extend_from_slice(b"\r\n");
    }
    let status = if selected.read_only { ("READ-ONLY", "Open for reading") } else { ("READ-WRITE", "Open") };
    let status = Status::ok(status.1).code(status.0);
    let view = selected.clone();
    server.select(Some(selected));
    let Some((vanished, changed)) = since else {
        return Answer::Done(Done { data, status, state: Some(State::Selected) });
    };
    response::vanished(&mut data, &vanished, true);
    let spec = Spec::new(vec![Item::Uid, Item::Flags, Item::ModSeq], true);
    let job = Job::new(spec, server.look(false, true), Arc::new(view), &changed, status);
    server.more(data, serve::Job::Fetch(Box::new(job.ending_in(State::Selected))))
}

/// Which messages this session is the first to be told of.
fn recent(server: &Server, selected: &Selected, first_recent: Option<Uid>) -> UidSet {
    let recents = &server.shared().recents;
    let known = recents.told(selected.account, selected.mailbox).is_some();
    let new = recents.claim(selected.account, selected, &selected.uids);
    match first_recent {
        _ if known => new,
        Some(first) => new.intersect(&UidSet::range(first, Uid(u32::MAX))),
        None => UidSet::new(),
    }
}
