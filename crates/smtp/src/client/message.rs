//! The message itself: after DATA with dots doubled, or as one BDAT (RFC 3030).
//!
//! One BDAT carries all of it, since its size is known: no reply need be awaited in between.

use super::stuff::Stuff;
use super::{Client, Outcome, Stage};

impl Client {
    /// A verdict on a message that was not sent yet is no verdict.
    pub(super) fn start_data(&mut self) {
        if !self.replies.is_empty() {
            return self.fail(&Outcome::ours(Stage::Data, (4, 5, 0), "The server replies to what was not said"));
        }
        if let Some(running) = &mut self.running {
            running.stuff = Some(Stuff::new());
        }
        self.ask_body();
    }

    pub(super) fn start_bdat(&mut self) {
        let Some(running) = &self.running else { return };
        let octets = running.transaction.octets;
        if !self.replies.is_empty() {
            return self.fail(&Outcome::ours(Stage::Data, (4, 5, 0), "The server replies to what was not said"));
        }
        self.send(format!("BDAT {octets} LAST\r\n").into_bytes());
        if octets == 0 {
            return self.message_sent();
        }
        self.ask_body();
    }

    pub(super) fn chunk(&mut self, chunk: Vec<u8>) {
        if self.ended {
            return self.fail(&Outcome::ours(Stage::Data, (4, 4, 2), "The connection was closed"));
        }
        let Some(running) = &mut self.running else { return };
        running.offset += u64::try_from(chunk.len()).unwrap_or(u64::MAX);
        let (offset, octets) = (running.offset, running.transaction.octets);
        if let Some(stuff) = &mut running.stuff {
            let ended = chunk.is_empty();
            let bytes = if ended { stuff.end().to_vec() } else { stuff.feed(&chunk) };
            self.send(bytes);
            return if ended { self.message_sent() } else { self.ask_body() };
        }
        // BDAT has promised a size; nothing else can keep the connection in step.
        if offset > octets || chunk.is_empty() {
            return self.fail(&Outcome::ours(Stage::Data, (4, 3, 0), "The message is not as large as it was said to be"));
        }
        self.send(chunk);
        if offset == octets { self.message_sent() } else { self.ask_body() }
    }
}
