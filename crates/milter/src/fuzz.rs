//! Entries for the fuzzer: hostile bytes in, no panic out.

use crate::limits::Limits;
use crate::message::{Header, Message};
use crate::session::{Answer, Ask, Content, Heard, Order, Session, Step};
use crate::symbols::Symbols;
use mail::ReversePath;
use std::sync::Arc;
use std::time::Instant;
use wire::{Input, Output, Session as _};

/// A milter that says anything at every stage; what it wants to change is changed.
pub fn session(data: &[u8]) {
    let now = Instant::now();
    let mut session = Session::new(Limits::default(), now);
    let mut steps = steps().into_iter();
    let mut pieces = data.chunks(7);
    // Each round says something, asks something, or takes octets: none of these is endless.
    for _ in 0..2_000 {
        match session.poll() {
            Output::Send(_) => {}
            Output::Ask(Ask::Next(heard)) => {
                if let Heard::Advice(advice) = heard {
                    change(&advice);
                }
                let order = |step| Answer::Do(Order { step, symbols: Symbols::default() });
                session.handle(now, Input::Answer(steps.next().map_or(Answer::Quit, order)));
            }
            Output::Ask(Ask::Body { offset, .. }) => {
                let chunk = if offset < 100 { b"body".to_vec() } else { Vec::new() };
                session.handle(now, Input::Answer(Answer::Chunk(chunk)));
            }
            Output::Wait(_) => match pieces.next() {
                Some(piece) => session.handle(now, Input::Bytes(piece)),
                None => session.handle(now, Input::Eof),
            },
            Output::Close => return,
            Output::StartTls => unreachable!("a milter's session knows no TLS"),
        }
    }
}

/// A hook's answer; what it wants to change is changed.
pub fn hook(data: &[u8]) {
    if let Ok(advice) = crate::hook::advice(data, true, &Limits::default()) {
        change(&advice);
    }
}

fn steps() -> Vec<Step> {
    let content = Content { fields: vec![(b"Subject".to_vec(), b" x".to_vec())] };
    vec![
        Step::Helo("h".to_owned()),
        Step::Mail(vec!["<a@b>".to_owned()]),
        Step::Rcpt { arguments: vec!["<c@d>".to_owned()], refused: false },
        Step::Message(Arc::new(content)),
        Step::Mail(vec!["<a@b>".to_owned()]),
        Step::Abort,
    ]
}

fn change(advice: &crate::Advice) {
    let header = Header::new(b"", b"Received: x\r\n", b"Subject: x\r\n\r\n");
    let mut message = Message { reverse_path: ReversePath(None), recipients: Vec::new(), header, body: None, quarantine: None };
    for modification in &advice.modifications {
        let _ = message.apply(modification);
        let _ = modification.to_string();
    }
    let bytes = message.header.bytes();
    assert_eq!(mail::header::body_start(&bytes), bytes.len(), "the header ends early");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn hostile_octets_do_no_harm(data in prop::collection::vec(any::<u8>(), 0..300)) {
            super::session(&data);
            let negotiated = [&[0, 0, 0, 13, b'O', 0, 0, 0, 6, 0, 0, 1, 255, 0, 0, 0, 0][..], &data].concat();
            super::session(&negotiated);
            super::hook(&data);
        }

        #[test]
        fn hostile_packets_do_no_harm(packets in prop::collection::vec((any::<u8>(), prop::collection::vec(any::<u8>(), 0..20)), 0..20)) {
            let mut data = vec![0, 0, 0, 13, b'O', 0, 0, 0, 6, 0, 0, 1, 255, 0, 0, 2, 127];
            for (kind, payload) in packets {
                data.extend(crate::packet::encode(kind, &payload));
            }
            super::session(&data);
        }
    }
}
