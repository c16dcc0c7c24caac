//! PLAIN (RFC 4616): `authzid NUL authcid NUL passwd` in one message.

use super::{Failure, SaslAsk, Secret, Step, read};

/// The server side; it has no state.
#[derive(Debug)]
pub(super) struct Server;

impl Server {
    #[expect(clippy::unused_self, reason = "the shape of every mechanism")]
    pub(super) fn step(&mut self, message: &[u8]) -> Step {
        ask(message).map_or(Step::Failed(Failure::Malformed), Step::Ask)
    }
}

/// The client's one message.
pub(super) fn message(authzid: Option<&str>, login: &str, password: &Secret) -> Vec<u8> {
    format!("{}\0{login}\0{}", authzid.unwrap_or_default(), password.expose()).into_bytes()
}

fn ask(message: &[u8]) -> Option<SaslAsk> {
    let mut parts = message.split(|octet| *octet == 0);
    let (authzid, login, password) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    let authzid = std::str::from_utf8(authzid).ok()?;
    Some(SaslAsk::Password {
        authzid: (!authzid.is_empty()).then(|| authzid.to_owned()),
        login: read(login)?,
        password: Secret::new(read(password)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_read() {
        let asked = |authzid: Option<&str>, login: &str, password: &str| {
            let (authzid, login, password) = (authzid.map(str::to_owned), login.to_owned(), Secret::new(password));
            Step::Ask(SaslAsk::Password { authzid, login, password })
        };
        let malformed = || Step::Failed(Failure::Malformed);
        for (input, want) in [
            (&b"\0tim\0tanstaaftanstaaf"[..], asked(None, "tim", "tanstaaftanstaaf")),
            (b"Ursel\0Kurt\0xipj3plmq", asked(Some("Ursel"), "Kurt", "xipj3plmq")),
            ("\0I\u{ad}X\0p\u{a0}q".as_bytes(), asked(None, "IX", "p q")),
            (b"", malformed()),
            (b"tim\0secret", malformed()),
            (b"\0tim\0", malformed()),
            (b"\0\0secret", malformed()),
            (b"\0tim\0a\0b", malformed()),
            (b"\0t\xffm\0a", malformed()),
            ("\0tim\0\u{1f600}".as_bytes(), asked(None, "tim", "\u{1f600}")),
        ] {
            assert_eq!(Server.step(input), want, "{}", input.escape_ascii());
        }
    }

    #[test]
    fn the_client_writes_what_the_server_reads() {
        assert_eq!(message(None, "tim", &Secret::new("pw")), b"\0tim\0pw");
        assert_eq!(message(Some("a"), "tim", &Secret::new("pw")), b"a\0tim\0pw");
    }
}
