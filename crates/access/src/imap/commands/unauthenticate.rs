//! UNAUTHENTICATE (RFC 8437): the connection is as it was before login, but for TLS.
//!
//! Not for what counts failed logins: those stay counted.

use crate::imap::command::State;
use crate::imap::response::Status;
use crate::imap::serve::Server;
use crate::imap::session::{Answer, Done};

/// Forgets the account and all that was enabled. NO is not allowed, the next login may be on its way (§3).
pub(crate) fn run(server: &mut Server) -> Answer {
    server.forget();
    Answer::Done(Done { data: Vec::new(), status: Status::ok("Logged out, not gone"), state: Some(State::NotAuthenticated) })
}
