//! A fuzzer's entry: any octets, to a session in each state.
//!
//! The answers are made up; what they are does not matter to what a client may send.

use crate::imap::command::State;
use crate::imap::commands::url;
use crate::imap::response::Status;
use crate::imap::{Answer, Ask, Config, Done, Session};
use mail::AccountId;
use std::sync::Arc;
use std::time::Instant;
use wire::sasl::{SaslAnswer, SaslAsk, TokenError};
use wire::{Input, Output, Session as _};

/// Says `data` to a new session, to one that is logged in, and to one with a mailbox selected.
///
/// The first octet says into which pieces the rest is cut.
pub fn fuzz(data: &[u8]) {
    let Some((cut, data)) = data.split_first() else { return };
    url::fuzz(data);
    for start in ["", "a LOGIN b c\r\n", "a LOGIN b c\r\na SELECT d\r\n"] {
        let config = Arc::new(Config { plaintext_login: true, ..Config::default() });
        let mut session = Session::new(config, "nonce-nonce-nonce-nonce-1".to_owned(), None, Instant::now());
        run(&mut session, start.as_bytes());
        for piece in data.chunks(usize::from(*cut).max(1)) {
            run(&mut session, piece);
        }
    }
}

fn run(session: &mut Session, octets: &[u8]) {
    let now = Instant::now();
    session.handle(now, Input::Bytes(octets));
    loop {
        match session.poll() {
            Output::Send(_) => {}
            Output::Ask(ask) => session.handle(now, Input::Answer(made_up(ask))),
            Output::StartTls => session.handle(now, Input::TlsStarted(wire::Tls::default())),
            Output::Wait(_) | Output::Close => return,
        }
    }
}

fn made_up(ask: Ask) -> Answer {
    let done = |state| Answer::Done(Done { data: Vec::new(), status: Status::ok("Done"), state });
    match ask {
        Ask::Auth(SaslAsk::ScramVerifier { .. }) => Answer::Auth(SaslAnswer::Verifier(None)),
        Ask::Auth(SaslAsk::Token { .. }) => Answer::Auth(SaslAnswer::TokenRefused(TokenError::default())),
        Ask::Auth(SaslAsk::Certificate { .. }) => Answer::Auth(SaslAnswer::Account { account: 1, login: String::new() }),
        Ask::Auth(SaslAsk::Password { login, .. }) => Answer::Auth(SaslAnswer::Account { account: 1, login }),
        Ask::Enter(AccountId(_)) => done(Some(State::Authenticated)),
        Ask::Upload(_) | Ask::Pieces(_) | Ask::Chunk(_) => Answer::Taken,
        Ask::Run { command, .. } => match *command {
            crate::imap::Command::Select(_) => done(Some(State::Selected)),
            crate::imap::Command::Idle => Answer::Taken,
            _ => done(None),
        },
        Ask::Abandon(status) => Answer::Done(Done::status(*status)),
        Ask::Continue | Ask::Append(_) | Ask::IdleEnd => done(None),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    /// Words of the grammar, so that random rows of them get somewhere.
    const WORDS: [&str; 44] = [
        "a ",
        "UID ",
        "FETCH ",
        "SEARCH ",
        "STORE ",
        "SELECT ",
        "APPEND ",
        "LIST ",
        "IDLE",
        "DONE",
        "1:*",
        "$",
        "(",
        ")",
        "\"",
        "\\",
        "{3}\r\n",
        "{3+}\r\n",
        "~{2+}\r\n",
        "\r\n",
        "\n",
        " ",
        "FLAGS ",
        "BODY[",
        "]<0.1>",
        "HEADER.FIELDS ",
        "NOT ",
        "INBOX ",
        "*",
        "{99999999999+}\r\n",
        "~{3}\r\n",
        "UTF8 (",
        "REPLACE ",
        "abc",
        "RETURN (",
        "PARTIAL 1:-2",
        "ESEARCH ",
        "IN (subtree ",
        "SORT ",
        "(REVERSE DATE) ",
        "THREAD ",
        "REFERENCES ",
        "UTF-8 ",
        "1",
    ];

    proptest! {
        #[test]
        fn nothing_panics(cut in any::<u8>(), octets in prop::collection::vec(any::<u8>(), 0..200)) {
            super::fuzz(&[vec![cut], octets].concat());
        }

        #[test]
        fn no_row_of_words_panics(cut in any::<u8>(), words in prop::collection::vec(prop::sample::select(&WORDS[..]), 0..40)) {
            super::fuzz(&[vec![cut], words.concat().into_bytes()].concat());
        }
    }
}
