//! OAUTHBEARER (RFC 7628): a bearer token in one message.
//!
//! ```text
//!  Message ──n,a=user,^Aauth=Bearer …^A^A──▶ (Ask) ──▶ Done
//!                                              └─ refused: {"status":"invalid_token",…} ──▶ Over ──^A──▶ Failed
//! ```
//!
//! What the token is worth is the account store's business; `xoauth2` shares the words for a refusal.

use super::{Failure, SaslAsk, Secret, Step, prepared};
use std::fmt::Write as _;

/// What a client is told whose token is not taken (RFC 7628 §3.2.2).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TokenError {
    /// The scope a token must have, if any.
    pub scope: Option<String>,
    /// The URL of the issuer's `OpenID` configuration, from which a client learns where tokens are made.
    pub openid_configuration: Option<String>,
}

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

    pub(super) fn refused(&mut self, error: &TokenError) -> Step {
        self.refused = true;
        Step::Challenge(json("invalid_token", error).into_bytes())
    }
}

/// `gs2-header kvsep *kvpair kvsep`
///
/// Deviation: `host` and `port` are not compared with ours, as RFC 7628 §3.2 asks: clients reach a server
/// by aliases and tunnels that it knows nothing of, and a bearer token does not depend on them.
fn ask(message: &[u8]) -> Option<SaslAsk> {
    let text = std::str::from_utf8(message).ok()?;
    let (header, pairs) = text.strip_suffix("\u{1}\u{1}")?.split_once('\u{1}')?;
    let login = authzid(header)?;
    let mut auth = pairs.split('\u{1}').filter_map(|pair| pair.strip_prefix("auth="));
    let token = bearer(auth.next()?)?;
    auth.next().is_none().then_some(SaslAsk::Token { login, token })
}

/// The GS2 header `n,a=user,`: no channel binding, perhaps an identity (RFC 5801 §4).
#[expect(clippy::option_option, reason = "a header may be wrong, without an identity or with one")]
fn authzid(header: &str) -> Option<Option<String>> {
    let identity = header.strip_prefix("n,").or_else(|| header.strip_prefix("y,"))?.strip_suffix(',')?;
    if identity.is_empty() {
        return Some(None);
    }
    let name = super::scram::unescape_name(identity.strip_prefix("a=")?)?;
    Some(Some(prepared(&name)).filter(|name| !name.is_empty()))
}

/// The token of `Bearer …` (RFC 6750 §2.1).
pub(super) fn bearer(value: &str) -> Option<Secret> {
    let (scheme, token) = value.split_once(' ')?;
    let token = token.trim_start_matches(' ');
    let good = scheme.eq_ignore_ascii_case("Bearer") && !token.is_empty() && token.bytes().all(|octet| octet.is_ascii_graphic());
    good.then(|| Secret::new(token))
}

/// The error as JSON, with this status.
pub(super) fn json(status: &str, error: &TokenError) -> String {
    let mut text = format!("{{\"status\":{}", quoted(status));
    for (name, value) in [("scope", &error.scope), ("openid-configuration", &error.openid_configuration)] {
        if let Some(value) = value {
            let _ = write!(text, ",{}:{}", quoted(name), quoted(value));
        }
    }
    text.push('}');
    text
}

/// A JSON string (RFC 8259 §7).
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' | '\\' => out.extend(['\\', letter]),
            letter if letter.is_control() => {
                let _ = write!(out, "\\u{:04x}", u32::from(letter));
            }
            letter => out.push(letter),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::super::{Exchange, Mechanism, SaslAnswer, Success};
    use super::*;

    fn exchange() -> Exchange {
        Exchange::new(Mechanism::OAuthBearer, "", None)
    }

    #[test]
    fn messages_are_read() {
        let asked =
            |login: Option<&str>, token: &str| Step::Ask(SaslAsk::Token { login: login.map(str::to_owned), token: Secret::new(token) });
        let malformed = || Step::Failed(Failure::Malformed);
        for (message, want) in [
            // RFC 7628 §4.1
            (
                "n,a=user@example.com,\u{1}host=server.example.com\u{1}port=143\u{1}auth=Bearer vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==\u{1}\u{1}",
                asked(Some("user@example.com"), "vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg=="),
            ),
            ("n,,\u{1}auth=bearer abc\u{1}\u{1}", asked(None, "abc")),
            ("y,a=a=2Cb,\u{1}auth=Bearer  abc\u{1}x=y\u{1}\u{1}", asked(Some("a,b"), "abc")),
            ("n,a=,\u{1}auth=Bearer abc\u{1}\u{1}", asked(None, "abc")),
            ("", malformed()),
            ("\u{1}", malformed()),
            ("n,,\u{1}\u{1}", malformed()),
            ("n,,\u{1}auth=Bearer \u{1}\u{1}", malformed()),
            ("n,,\u{1}auth=Basic abc\u{1}\u{1}", malformed()),
            ("n,,\u{1}auth=Bearer abc\u{1}", malformed()),
            ("n,,\u{1}auth=Bearer a b\u{1}\u{1}", malformed()),
            ("n,,\u{1}auth=Bearer a\u{1}auth=Bearer b\u{1}\u{1}", malformed()),
            ("p=tls-exporter,,\u{1}auth=Bearer abc\u{1}\u{1}", malformed()),
            ("n,x=y,\u{1}auth=Bearer abc\u{1}\u{1}", malformed()),
        ] {
            assert_eq!(exchange().start(Some(message.as_bytes())), want, "{}", message.escape_debug());
        }
        assert_eq!(exchange().start(None), Step::Challenge(Vec::new()));
    }

    #[test]
    fn a_refusal_is_told_and_then_fails() {
        let error = TokenError { scope: Some("mail".to_owned()), openid_configuration: Some("https://id.example/\"x".to_owned()) };
        for after in [&b"\x01"[..], b"", b"n,,\x01auth=Bearer b\x01\x01"] {
            let mut exchange = exchange();
            exchange.step(b"n,,\x01auth=Bearer a\x01\x01");
            let told = exchange.answered(SaslAnswer::TokenRefused(error.clone()));
            let want = r#"{"status":"invalid_token","scope":"mail","openid-configuration":"https://id.example/\"x"}"#;
            assert_eq!(told, Step::Challenge(want.as_bytes().to_vec()));
            assert_eq!(exchange.step(after), Step::Failed(Failure::Credentials));
        }
    }

    #[test]
    fn an_account_is_let_in_and_what_cannot_be_checked_fails_at_once() {
        let mut good = exchange();
        good.step(b"n,,\x01auth=Bearer a\x01\x01");
        let login = "ann@example.org".to_owned();
        assert_eq!(good.answered(SaslAnswer::Account { account: 7, login: login.clone() }), Step::Done(Success { account: 7, login }));
        let mut later = exchange();
        later.step(b"n,,\x01auth=Bearer a\x01\x01");
        assert_eq!(later.answered(SaslAnswer::Refused(Failure::Temporary)), Step::Failed(Failure::Temporary));
    }
}
