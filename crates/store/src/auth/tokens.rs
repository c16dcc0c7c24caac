//! Whose a bearer token is: one of ours, or one that an issuer has signed.
//!
//! A token of an issuer is a JSON web token (RFC 7519) with the claims of RFC 9068: checked with the issuer's
//! public keys, which are at hand, so that no login waits for another host.
//!
//! Invariant: a token that is not surely good is refused; why is logged without the token.

use super::jwt::Keys;
use mail::Timestamp;
use serde_json::{Map, Value};
use wire::sasl::{Secret, TokenError};

/// How far the issuer's clock may be from ours, seconds. Our own choice.
const LEEWAY_SECONDS: i64 = 60;

/// Which bearer tokens are taken.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tokens {
    /// Those that `postrider token add` makes.
    pub own: bool,
    /// Those of an identity provider.
    pub issuer: Option<Issuer>,
    /// What a client with a bad token is told.
    pub hints: TokenError,
}

impl Tokens {
    /// Whether any bearer token could be good: then OAUTHBEARER and XOAUTH2 are worth offering.
    pub const fn any(&self) -> bool {
        self.own || self.issuer.is_some()
    }
}

/// An identity provider whose tokens are taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issuer {
    /// Its name, as `iss` has it.
    name: String,
    /// One of these must be in `aud`: a token made for another service is none for us.
    audience: Vec<String>,
    /// Must be in `scope` or `scp`.
    scope: Option<String>,
    /// Which claim is the login.
    login_claim: String,
    keys: Keys,
}

/// Why an issuer's keys cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct IssuerError(String);

impl Issuer {
    /// An issuer by its name (`iss`), the audiences that mean us, and its JSON web key set.
    ///
    /// # Errors
    /// When the key set cannot be used.
    pub fn new(name: &str, audience: Vec<String>, login_claim: &str, scope: Option<String>, jwks: &str) -> Result<Self, IssuerError> {
        let keys = Keys::parse(jwks).map_err(IssuerError)?;
        Ok(Self { name: name.to_owned(), audience, scope, login_claim: login_claim.to_owned(), keys })
    }

    /// The login that a token is for, or why it is for none.
    pub(super) fn login(&self, token: &Secret, now: Timestamp) -> Result<String, &'static str> {
        let claims = self.keys.verified(token.expose()).ok_or("it is not signed by one of the issuer's keys")?;
        self.check(&claims, now.seconds())?;
        let login = claims.get(&self.login_claim).and_then(Value::as_str).ok_or("it has no login claim")?;
        Ok(login.to_owned())
    }

    fn check(&self, claims: &Map<String, Value>, now: i64) -> Result<(), &'static str> {
        let seconds = |name: &str| claims.get(name).map(|value| number(value).ok_or("a time in it is no number")).transpose();
        if claims.get("iss").and_then(Value::as_str) != Some(&self.name) {
            return Err("it is of another issuer");
        }
        if !words(claims.get("aud")).any(|audience| self.audience.iter().any(|ours| ours == audience)) {
            return Err("it is for another audience");
        }
        if seconds("exp")?.is_none_or(|end| end.saturating_add(LEEWAY_SECONDS) <= now) {
            return Err("it has expired");
        }
        if seconds("nbf")?.is_some_and(|start| start.saturating_sub(LEEWAY_SECONDS) > now) {
            return Err("its time has not come");
        }
        let has_scope = |scope: &String| {
            words(claims.get("scope")).chain(words(claims.get("scp"))).flat_map(str::split_whitespace).any(|one| one == scope)
        };
        if !self.scope.as_ref().is_none_or(has_scope) {
            return Err("it lacks the scope");
        }
        if self.login_claim == "email" && claims.get("email_verified") == Some(&Value::Bool(false)) {
            return Err("the issuer has not verified its address");
        }
        Ok(())
    }
}

/// A claim that is a text or a list of texts.
fn words(claim: Option<&Value>) -> impl Iterator<Item = &str> {
    let (one, many) = match claim {
        Some(Value::String(text)) => (Some(text.as_str()), None),
        Some(Value::Array(list)) => (None, Some(list)),
        _ => (None, None),
    };
    one.into_iter().chain(many.into_iter().flatten().filter_map(Value::as_str))
}

/// Seconds, which some issuers write with a fraction (RFC 7519 §2, `NumericDate`).
fn number(value: &Value) -> Option<i64> {
    #[expect(clippy::cast_possible_truncation, reason = "a fraction of a second does not matter; what is too large stops at the end")]
    value.as_i64().or_else(|| value.as_f64().map(|seconds| seconds as i64))
}

/// Any octets as a token and as a key set.
pub(crate) fn fuzz(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let _ = crate::token::is_one(text);
    let (jwks, token) = text.split_once('\n').unwrap_or((text, text));
    for keys in [
        jwks,
        r#"{"keys":[{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}"#,
    ] {
        if let Ok(issuer) = Issuer::new("i", vec!["a".to_owned()], "email", None, keys) {
            let _ = issuer.login(&Secret::new(token), Timestamp(0));
        }
    }
    if let Ok(claims) = serde_json::from_str(token) {
        let issuer = Issuer {
            name: "i".to_owned(),
            audience: vec!["a".to_owned()],
            scope: Some("s".to_owned()),
            login_claim: "email".to_owned(),
            keys: Keys::none(),
        };
        let _ = issuer.check(&claims, 0);
    }
}

#[cfg(test)]
pub(super) mod testing {
    use super::super::jwt::testing::{jwks, token};
    use super::Issuer;

    pub(in crate::auth) fn issuer() -> Issuer {
        Issuer::new("https://id.example", vec!["mail".to_owned()], "email", Some("imap".to_owned()), &jwks()).unwrap()
    }

    pub(in crate::auth) fn signed(claims: &str) -> String {
        token(r#"{"alg":"EdDSA","kid":"k1"}"#, claims)
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{issuer, signed};
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn claims_are_checked() {
        let login = |claims: &str| issuer().login(&Secret::new(signed(claims)), Timestamp::from_seconds(1_000));
        let good = r#"{"iss":"https://id.example","aud":"mail","exp":2000,"scope":"openid imap","email":"ann@example.org"}"#;
        assert_eq!(login(good).as_deref(), Ok("ann@example.org"));
        for (from, to, want) in [
            (r#""mail""#, r#"["web","mail"]"#, Ok(())),
            (r#""scope":"openid imap""#, r#""scp":["imap"]"#, Ok(())),
            ("2000", "941", Ok(())),
            ("2000", "1500.5", Ok(())),
            ("2000", r#"2000,"nbf":1060"#, Ok(())),
            ("2000", "940", Err("it has expired")),
            (r#""exp":2000,"#, "", Err("it has expired")),
            ("2000", r#""soon""#, Err("a time in it is no number")),
            ("2000", r#"2000,"nbf":1061"#, Err("its time has not come")),
            (r#""mail""#, r#""web""#, Err("it is for another audience")),
            (r#""aud":"mail","#, "", Err("it is for another audience")),
            ("id.example", "evil.example", Err("it is of another issuer")),
            ("openid imap", "openid imaps", Err("it lacks the scope")),
            (r#""email":"#, r#""email_verified":false,"email":"#, Err("the issuer has not verified its address")),
            (r#""email":"ann@example.org""#, r#""sub":"ann""#, Err("it has no login claim")),
        ] {
            assert_eq!(login(&good.replacen(from, to, 1)).map(drop), want, "{to}");
        }
        assert_eq!(issuer().login(&Secret::new("a.b.c"), Timestamp(0)), Err("it is not signed by one of the issuer's keys"));
    }

    proptest! {
        #[test]
        fn hostile_tokens_do_no_harm(octets: Vec<u8>, words in prop::collection::vec(r#"(\{|\}|\[|\]|"exp":|"aud":|"iss":"i"|,|1e400|-9223372036854775808|"a"|\.|eyJhbGciOiJFUzI1NiJ9)"#, 0..12)) {
            fuzz(&octets);
            fuzz(words.concat().as_bytes());
        }
    }
}
