//! What a client does with its maildrop: STAT, LIST, UIDL, RETR, TOP, DELE, RSET, NOOP.
//!
//! Not QUIT's removal: that is asked for by the session.

use super::command::Command;
use super::language::Words;
use super::limits::Limits;
use super::maildrop::{Entry, Listing, Maildrop};
use super::reply::{Code, Reply, coded, error, ok};
use super::session::{Answer, Ask, Marked};
use super::stuffing::Stuffing;
use mail::{MailboxId, Uid};

/// Octets read at first for TOP: most headers are shorter.
const TOP_OCTETS: usize = 8 * 1024;

/// The maildrop and what is on its way from it.
#[derive(Debug)]
pub(super) struct Transaction {
    maildrop: Maildrop,
    transfer: Transfer,
}

#[derive(Debug)]
enum Transfer {
    None,
    /// A listing, from this entry on.
    Listing(Listing, usize),
    /// A message; its next octets are asked for.
    Message(Fetch),
}

/// A message on its way.
#[derive(Debug)]
struct Fetch {
    number: u64,
    mailbox: MailboxId,
    uid: Uid,
    octets: u64,
    read_octets: u64,
    /// RETR, not TOP.
    whole: bool,
    chunk_octets_max: usize,
    stuffing: Stuffing,
}

/// What a command comes to.
pub(super) enum Doing {
    /// This reply.
    Say(Reply),
    /// This question.
    Ask(Ask),
}

/// What the octets of a message come to.
pub(super) enum Fetched {
    /// Why there is none.
    Say(Reply),
    /// The end of the message.
    End(Option<Reply>, Vec<u8>),
    /// A part of it; the next one is asked for.
    More(Option<Reply>, Vec<u8>, Ask),
    /// It cannot be finished.
    Broken,
}

impl Transaction {
    pub(super) const fn new(maildrop: Maildrop) -> Self {
        Self { maildrop, transfer: Transfer::None }
    }

    /// Whether octets of a message are asked for.
    pub(super) const fn is_fetching(&self) -> bool {
        matches!(self.transfer, Transfer::Message(_))
    }

    /// The messages that QUIT removes.
    pub(super) fn deleted(&self) -> Marked {
        self.maildrop.deleted()
    }

    /// The messages that the client has now, and that stay.
    pub(super) fn retrieved(&self) -> Marked {
        self.maildrop.retrieved()
    }

    /// Does a command; `None`: it is not one of ours.
    pub(super) fn command(&mut self, command: &Command, limits: &Limits) -> Option<Doing> {
        let reply = match *command {
            Command::Stat => ok(Words::Data(format!("{} {}", self.maildrop.count(), self.maildrop.octets()))),
            Command::List(number) => self.list(Listing::List, number),
            Command::Uidl(number) => self.list(Listing::Uidl, number),
            Command::Retr(number) => return Some(self.fetch(number, Stuffing::whole(), limits.chunk_octets_max)),
            Command::Top(number, lines) => {
                return Some(self.fetch(number, Stuffing::top(lines), limits.chunk_octets_max.min(TOP_OCTETS)));
            }
            Command::Dele(number) if self.maildrop.delete(number) => ok("deleted at QUIT"),
            Command::Dele(_) => no_such_message(),
            Command::Rset => {
                self.maildrop.reset();
                ok(totals(&self.maildrop))
            }
            Command::Noop => ok("nothing done"),
            _ => return None,
        };
        Some(Doing::Say(reply))
    }

    fn list(&mut self, listing: Listing, number: Option<u64>) -> Reply {
        let Some(number) = number else {
            self.transfer = Transfer::Listing(listing, 0);
            return match listing {
                Listing::List => ok(totals(&self.maildrop)),
                Listing::Uidl => ok("unique ids follow"),
            };
        };
        match self.maildrop.message(number) {
            Some(entry) => ok(Words::Data(self.maildrop.line(listing, number, entry))),
            None => no_such_message(),
        }
    }

    /// The next piece of a listing; `None` if there is none under way.
    pub(super) fn listed(&mut self) -> Option<Vec<u8>> {
        let Transfer::Listing(listing, from) = self.transfer else { return None };
        let Some((text, next)) = self.maildrop.lines(listing, from) else {
            self.transfer = Transfer::None;
            return Some(b".\r\n".to_vec());
        };
        self.transfer = Transfer::Listing(listing, next);
        Some(text.into_bytes())
    }

    fn fetch(&mut self, number: u64, stuffing: Stuffing, chunk_octets_max: usize) -> Doing {
        let found = self.maildrop.message(number).and_then(|entry| Some((entry, self.maildrop.mailbox(entry)?)));
        let Some((Entry { uid, octets, .. }, mailbox)) = found else { return Doing::Say(no_such_message()) };
        let whole = stuffing.is_whole();
        let fetch = Fetch { number, mailbox, uid, octets, read_octets: 0, whole, chunk_octets_max, stuffing };
        let ask = fetch.ask();
        self.transfer = Transfer::Message(fetch);
        Doing::Ask(ask)
    }

    /// Takes the answer to the question for octets.
    pub(super) fn fetched(&mut self, answer: Answer) -> Fetched {
        let Transfer::Message(fetch) = std::mem::replace(&mut self.transfer, Transfer::None) else { return Fetched::Broken };
        match answer {
            Answer::Chunk(chunk) => self.chunk(fetch, &chunk),
            _ if fetch.read_octets > 0 => Fetched::Broken,
            Answer::Gone => Fetched::Say(error("somebody removed this message in the meantime")),
            _ => Fetched::Say(coded(Code::SysTemp, "the message cannot be read now; try again later")),
        }
    }

    fn chunk(&mut self, mut fetch: Fetch, chunk: &[u8]) -> Fetched {
        let begin = (fetch.read_octets == 0).then(|| ok(Words::Octets(fetch.octets)));
        let mut out = Vec::new();
        fetch.stuffing.push(chunk, &mut out);
        fetch.read_octets += chunk.len() as u64;
        if fetch.stuffing.is_done() || fetch.read_octets >= fetch.octets {
            fetch.stuffing.finish(&mut out);
            if fetch.whole {
                self.maildrop.sent(fetch.number);
            }
            return Fetched::End(begin, out);
        }
        if chunk.is_empty() {
            // Shorter than it should be: a damaged store must not look like a short message.
            return Fetched::Broken;
        }
        let ask = fetch.ask();
        self.transfer = Transfer::Message(fetch);
        Fetched::More(begin, out, ask)
    }
}

impl Fetch {
    fn ask(&self) -> Ask {
        Ask::Read { mailbox: self.mailbox, uid: self.uid, offset: self.read_octets, octets_max: self.chunk_octets_max }
    }
}

/// How many messages, and their octets, for people.
pub(super) fn totals(maildrop: &Maildrop) -> Words {
    Words::Totals(maildrop.count(), maildrop.octets())
}

fn no_such_message() -> Reply {
    error("no such message")
}
