//! XOAUTH2 (Google's, before RFC 7628): a user and a bearer token in one message.
//!
//! A refused token is told in JSON as a challenge; the client answers it with an empty message.

use super::oauthbearer::{TokenError, bearer, json};
use super::{Failure, SaslAsk, Step, read};

/// The server side.
#[derive(Debug, Default)]
pub(super) struct Server {
    /// The error was told: whatever the client says now, it has failed.
    refused: bool,
}

impl Server {
    pub(super) fn step(&mut self, message: &[u8]) -> Step {
        if self.refused {
            return Step::Failed(Failure::Credentials);
        }
        ask(message).map_or(Step::Failed(Failure::Malformed), Step::Ask)
    }

    /// Google's form of the error: its status is that of HTTP, and clients look for `401`.
    pub(super) fn refused(&mut self, error: &TokenError) -> Step {
        self.refused = true;
        let text = json("401", error).replacen(r#""401""#, r#""401","schemes":"bearer""#, 1);
        Step::Challenge(text.into_bytes())
    }
}

/// `user=… ^A auth=Bearer … ^A ^A`
fn ask(message: &[u8]) -> Option<SaslAsk> {
    let text = std::str::from_utf8(message).ok()?;
    let (user, auth) = text.strip_suffix("\u{1}\u{1}")?.split_once('\u{1}')?;
    let login = read(user.strip_prefix("user=")?.as_bytes())?;
    Some(SaslAsk::Token { login: Some(login), token: bearer(auth.strip_prefix("auth=")?)? })
}

#[cfg(test)]
mod tests {
    use super::super::{Exchange, Mechanism, SaslAnswer, Secret};
    use super::*;

    #[test]
    fn messages_are_read() {
        let asked = |login: &str, token: &str| Step::Ask(SaslAsk::Token { login: Some(login.to_owned()), token: Secret::new(token) });
        let malformed = || Step::Failed(Failure::Malformed);
        for (message, want) in [
            (
                "user=someuser@example.com\u{1}auth=Bearer ya29.vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg\u{1}\u{1}",
                asked("someuser@example.com", "ya29.vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg"),
            ),
            ("user=\u{1}auth=Bearer a\u{1}\u{1}", malformed()),
            ("user=a\u{1}auth=Bearer a\u{1}", malformed()),
            ("user=a\u{1}auth=Bearer\u{1}\u{1}", malformed()),
            ("auth=Bearer a\u{1}user=a\u{1}\u{1}", malformed()),
            ("", malformed()),
        ] {
            let mut exchange = Exchange::new(Mechanism::XOAuth2, "", None);
            assert_eq!(exchange.start(Some(message.as_bytes())), want, "{}", message.escape_debug());
        }
    }

    #[test]
    fn a_refusal_is_told_and_then_fails() {
        let mut exchange = Exchange::new(Mechanism::XOAuth2, "", None);
        exchange.step(b"user=a\x01auth=Bearer t\x01\x01");
        let told = exchange.answered(SaslAnswer::TokenRefused(TokenError { scope: Some("mail".to_owned()), ..TokenError::default() }));
        assert_eq!(told, Step::Challenge(br#"{"status":"401","schemes":"bearer","scope":"mail"}"#.to_vec()));
        assert_eq!(exchange.step(b""), Step::Failed(Failure::Credentials));
    }
}
