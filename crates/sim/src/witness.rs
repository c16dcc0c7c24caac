//! What the network saw of every transaction: whose acceptance the sender may not have heard of.
//!
//! Where a connection breaks between the final dot and its reply, or the sender dies before it has
//! written down what became of a message, the message is sent again (RFC 5321 §4.5.3.2.6, §6.1): one
//! duplicate for each such doubt is nobody's fault, any other is somebody's. Doubts are found from
//! what passed over connections; what servers say of themselves is not asked.
//!
//! ```text
//!  final dot ─▶ accepted ─▶ replied ─▶ heard ─▶ the next message's first octet: settled
//!                  └── broken: doubt ──┘   └──────── the sender dies: doubt ───────┘
//! ```
//!
//! Invariant: an acceptance is doubted at most once.

use mail::Address;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// How long after the end of its connection an acceptance may still be unwritten at a healthy sender.
const UNWRITTEN_MAX: Duration = Duration::from_secs(30);

/// A connection, by the order of their making.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LineId(u64);

/// Which way octets go, as the side that connects sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From the sending server.
    Out,
    /// To it.
    Back,
}

/// The witness. Clones are the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Witness(Arc<Mutex<Seen>>);

#[derive(Debug, Default)]
struct Seen {
    made: u64,
    lines: BTreeMap<LineId, Line>,
    doubts: BTreeMap<(String, Address), usize>,
    /// Octets out and back of connections that are over, by whom they were to, in the order in which they were made.
    passed: BTreeMap<LineId, (IpAddr, (u64, u64))>,
}

/// A connection.
#[derive(Debug)]
struct Line {
    from: IpAddr,
    to: IpAddr,
    /// Under TLS nothing can be read from what passes.
    tls: bool,
    out_octets: u64,
    back_octets: u64,
    last: Option<Acceptance>,
    closed: Option<Instant>,
}

/// A message that the receiving server took.
#[derive(Debug)]
struct Acceptance {
    message_id: String,
    recipients: Vec<Address>,
    /// The reply has left the server.
    replied: bool,
    /// The sender has the reply.
    heard: bool,
}

impl Witness {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection is made.
    pub(crate) fn open(&self, from: IpAddr, to: IpAddr) -> LineId {
        let mut seen = self.seen();
        let id = LineId(seen.made);
        seen.made += 1;
        seen.lines.insert(id, Line { from, to, tls: false, out_octets: 0, back_octets: 0, last: None, closed: None });
        id
    }

    /// How many connections were made.
    pub(crate) fn connections(&self) -> u64 {
        self.seen().made
    }

    /// What passes from here on is under TLS.
    pub(crate) fn under_tls(&self, id: LineId) {
        self.seen().change(id, |line| line.tls = true);
    }

    /// Octets went by.
    pub(crate) fn passed(&self, id: LineId, way: Way, octets: &[u8]) {
        self.seen().change(id, |line| line.passed(way, octets));
    }

    /// The first octets of a message arrive: the sender has written down what became of the one before.
    pub(crate) fn began(&self, id: LineId) {
        self.seen().change(id, |line| line.last = None);
    }

    /// The receiving server took a message, and has not said so yet.
    pub(crate) fn accepted(&self, id: LineId, message_id: String, recipients: Vec<Address>) {
        let mut seen = self.seen();
        let last = Acceptance { message_id, recipients, replied: false, heard: false };
        match seen.lines.get_mut(&id).filter(|line| line.closed.is_none()) {
            Some(line) => line.last = Some(last),
            None => seen.count(last),
        }
    }

    /// The reply to the acceptance leaves the server.
    pub(crate) fn replied(&self, id: LineId) {
        self.seen().change(id, |line| line.last.iter_mut().for_each(|last| last.replied = true));
    }

    /// The connection is over, however it ended.
    pub(crate) fn closed(&self, id: LineId) {
        let mut seen = self.seen();
        let now = Instant::now();
        seen.change(id, |line| line.closed = Some(now));
        let passed = seen.lines.get(&id).map(|line| (line.to, (line.out_octets, line.back_octets)));
        seen.passed.extend(passed.map(|passed| (id, passed)));
        seen.doubt_unheard(id);
        // Of what is over long since, nothing can be unwritten but where a disk fails: that is kept.
        seen.lines.retain(|_, line| line.last.is_some() || line.closed.is_none());
    }

    /// A sender died; since `failing_since`, if it was not at once, it could write nothing down.
    pub(crate) fn died(&self, sender: IpAddr, failing_since: Option<Instant>) {
        let since = failing_since.unwrap_or_else(Instant::now).checked_sub(UNWRITTEN_MAX);
        let mut seen = self.seen();
        let unwritten = |line: &&Line| line.closed.is_none_or(|closed| since.is_none_or(|since| closed >= since));
        let of_sender: Vec<LineId> =
            seen.lines.iter().filter(|(_, line)| line.from == sender && unwritten(line)).map(|(id, _)| *id).collect();
        for id in of_sender {
            seen.doubt(id);
        }
    }

    /// How many copies of a message beyond one a recipient may have.
    pub(crate) fn doubts(&self, message_id: &str, recipient: &Address) -> usize {
        self.seen().doubts.get(&(message_id.to_owned(), recipient.clone())).copied().unwrap_or_default()
    }

    /// Octets out and back of the first connection to an address, once it is over.
    pub(crate) fn first_line(&self, to: IpAddr) -> Option<(u64, u64)> {
        self.seen().passed.values().find(|(at, _)| *at == to).map(|(_, octets)| *octets)
    }
}

impl Seen {
    fn change(&mut self, id: LineId, change: impl FnOnce(&mut Line)) {
        if let Some(line) = self.lines.get_mut(&id) {
            change(line);
        }
    }

    fn doubt_unheard(&mut self, id: LineId) {
        let unheard = self.lines.get(&id).and_then(|line| line.last.as_ref()).is_some_and(|last| !last.heard);
        if unheard {
            self.doubt(id);
        }
    }

    fn doubt(&mut self, id: LineId) {
        if let Some(last) = self.lines.get_mut(&id).and_then(|line| line.last.take()) {
            self.count(last);
        }
    }

    fn count(&mut self, last: Acceptance) {
        for recipient in last.recipients {
            *self.doubts.entry((last.message_id.clone(), recipient)).or_default() += 1;
        }
    }
}

impl Line {
    fn passed(&mut self, way: Way, octets: &[u8]) {
        let count = octets.len() as u64;
        match way {
            Way::Out => self.out_octets += count,
            Way::Back => self.back_octets += count,
        }
        let tells = match way {
            // It goes on: it has heard.
            Way::Out => !octets.is_empty(),
            Way::Back => !self.tls && octets.ends_with(b"\n"),
        };
        if let Some(last) = self.last.as_mut().filter(|last| last.replied) {
            last.heard |= tells;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));

    /// `o` out, `b` back, `p` part of a reply back, `n` a message begins, `a` accepted, `r` replied, `c` closed,
    /// `d` the sender dies.
    fn doubts(events: &str) -> usize {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let _entered = runtime.enter();
        let (witness, bob) = (Witness::default(), Address::parse("bob@b.example").unwrap());
        let id = witness.open(A, A);
        for event in events.chars() {
            match event {
                'o' => witness.passed(id, Way::Out, b"MAIL\r\n"),
                'b' => witness.passed(id, Way::Back, b"250 ok\r\n"),
                'p' => witness.passed(id, Way::Back, b"25"),
                'n' => witness.began(id),
                'a' => witness.accepted(id, "1".to_owned(), vec![bob.clone()]),
                'r' => witness.replied(id),
                'c' => witness.closed(id),
                'd' => witness.died(A, None),
                other => panic!("{other}"),
            }
        }
        witness.doubts("1", &bob)
    }

    #[test]
    fn an_acceptance_is_doubted_once_and_only_where_it_may_not_have_been_heard() {
        for (events, want) in [
            ("onarbc", 0),
            ("onarc", 1),
            ("onac", 1),
            ("onarpc", 1),
            ("onca", 1),
            ("onarboc", 0),
            ("onaorc", 1),
            ("onard", 1),
            ("onarbd", 1),
            ("onarbcd", 1),
            ("onarbond", 0),
            ("onarcd", 1),
            ("onarcdd", 1),
            ("oc", 0),
        ] {
            assert_eq!(doubts(events), want, "{events}");
        }
    }
}
