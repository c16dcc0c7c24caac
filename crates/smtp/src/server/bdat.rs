//! BDAT (RFC 3030): counted octets instead of a line with a dot.
//!
//! The octets are handed on as they are: as they are counted, a bare LF in them can end nothing. Whoever sends
//! the message on by DATA must make lines of it.
//!
//! Invariant: the octets of a refused BDAT are read and dropped all the same, so that they are never taken for
//! commands. Where their number cannot be known, the connection ends.

use super::data::BODY_CHUNK_OCTETS;
use super::{Phase, Refusal, Server, State};
use crate::Reply;

/// The chunk under way.
#[derive(Debug)]
pub(super) struct Chunk {
    /// Octets still to come.
    pub(super) left: u64,
    /// Octets in all.
    octets: u64,
    last: bool,
    /// BDAT was said in this phase, where it is illegal.
    illegal: Option<Phase>,
}

impl Server {
    pub(super) fn bdat(&mut self, args: &str) {
        let State::Command(phase) = self.state else { return };
        let Some((octets, last)) = parse(args) else {
            return self.give_up(&Reply::new(421, (4, 5, 4), "Syntax: BDAT size [LAST]; what follows cannot be understood"));
        };
        let legal = matches!(phase, Phase::Rcpt | Phase::Chunks) && self.config.chunking;
        self.state = State::Chunk(Chunk { left: octets, octets, last, illegal: (!legal).then_some(phase) });
        if legal && self.transaction.octets.saturating_add(octets) > self.config.limits.message_octets_max {
            self.transaction.refusal.get_or_insert(Refusal::Ours(self.too_big()));
            self.transaction.buffer.clear();
        }
        self.end_of_chunk();
    }

    pub(super) fn receive_chunk(&mut self, bytes: &[u8]) -> usize {
        let State::Chunk(chunk) = &mut self.state else { return 0 };
        let room = BODY_CHUNK_OCTETS.saturating_sub(self.transaction.buffer.len());
        let octets = room.min(bytes.len()).min(usize::try_from(chunk.left).unwrap_or(usize::MAX));
        let octets_64 = u64::try_from(octets).unwrap_or(u64::MAX);
        chunk.left = chunk.left.saturating_sub(octets_64);
        if chunk.illegal.is_some() {
            self.discarded(octets_64);
        } else {
            self.transaction.buffer.extend_from_slice(bytes.get(..octets).unwrap_or_default());
            self.received(octets);
        }
        let complete = matches!(self.state, State::Chunk(Chunk { left: 0, last: true, .. }));
        if !complete {
            self.hand_over();
        }
        if self.asked.is_none() {
            self.end_of_chunk();
        }
        octets
    }

    /// Answers the chunk if it is complete.
    pub(super) fn end_of_chunk(&mut self) {
        let State::Chunk(Chunk { left: 0, octets, last, illegal }) = self.state else { return };
        if let Some(phase) = illegal {
            self.state = State::Command(phase);
            return self.say(&self.illegal_chunk(phase));
        }
        if last {
            return self.end_of_message();
        }
        if let Some(refusal) = self.transaction.refusal.take() {
            return self.refuse_message(refusal, 1);
        }
        self.state = State::Command(Phase::Chunks);
        self.say(&Reply::new(250, (2, 0, 0), format!("{octets} octets received")));
    }

    fn illegal_chunk(&self, phase: Phase) -> Reply {
        if !self.config.chunking {
            return Reply::new(502, (5, 5, 1), "BDAT is not offered");
        }
        let code = if phase == Phase::Mail { 554 } else { 503 };
        let text = if phase == Phase::Mail { "No valid recipients" } else { "No transaction: its octets were dropped" };
        Reply::new(code, (5, 5, 1), text)
    }
}

/// `size [LAST]`
fn parse(args: &str) -> Option<(u64, bool)> {
    let (size, last) = match args.split_once(' ') {
        Some((size, last)) if last.trim().eq_ignore_ascii_case("LAST") => (size, true),
        Some(_) => return None,
        None => (args, false),
    };
    let digits = !size.is_empty() && size.bytes().all(|octet| octet.is_ascii_digit());
    digits.then(|| size.parse().ok())?.map(|octets| (octets, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read() {
        for (input, want) in [
            ("0 LAST", Some((0, true))),
            ("86 last", Some((86, true))),
            ("1000", Some((1000, false))),
            ("", None),
            ("LAST", None),
            ("-1", None),
            ("+1", None),
            ("10 FIRST", None),
            ("10 LAST LAST", None),
            ("99999999999999999999999", None),
        ] {
            assert_eq!(parse(input), want, "{input}");
        }
    }
}
