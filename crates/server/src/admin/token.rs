//! Access tokens of users: passwords for single programs.

use super::user::find;
use super::{Admin, Operation};
use crate::clock::now;
use crate::failure::Result;
use crate::output::rfc3339;
use crate::secret::Password;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use store::Token;

/// A token as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenView {
    /// Whose.
    pub user: String,
    /// Its number among the user's tokens.
    pub number: u32,
    /// What it is for.
    pub name: String,
    /// When it was made, RFC 3339.
    pub created: String,
    /// When it ends, RFC 3339; null: not before it is revoked.
    pub expires: Option<String>,
}

impl TokenView {
    fn new(user: String, token: Token) -> Self {
        let Token { number, name, created, expires } = token;
        Self { user, number, name, created: rfc3339(created), expires: expires.map(rfc3339) }
    }
}

/// A token and its text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Made {
    /// What is known of it later.
    #[serde(flatten)]
    pub token: TokenView,
    /// Its text, which is shown this once.
    pub text: Password,
}

/// Makes a token.
#[derive(Debug, Serialize, Deserialize)]
pub struct Add {
    /// Whose.
    pub address: String,
    /// What it is for.
    pub name: String,
    /// How long it holds, seconds; nothing: until it is revoked.
    pub lifetime_seconds: Option<u64>,
}

impl Operation for Add {
    const NAME: &'static str = "token.add";
    type Answer = Made;

    fn run(self, on: &Admin) -> Result<Made> {
        let (secret, now) = (crate::random::octets()?, now());
        let expires = self.lifetime_seconds.map(|seconds| now.after(Duration::from_secs(seconds)));
        on.change(move |tx| {
            let account = find(tx, &self.address)?;
            let (token, text) = tx.token_add(account.id, &self.name, secret, expires, now)?;
            let text = Password::from(text.expose().to_owned());
            Ok(Made { token: TokenView::new(account.address.to_string(), token), text })
        })
    }
}

/// The tokens of a user.
#[derive(Debug, Serialize, Deserialize)]
pub struct List {
    /// Whose.
    pub address: String,
}

impl Operation for List {
    const NAME: &'static str = "token.list";
    type Answer = Vec<TokenView>;

    fn run(self, on: &Admin) -> Result<Vec<TokenView>> {
        on.read(move |tx| {
            let account = find(tx, &self.address)?;
            let view = |token| TokenView::new(account.address.to_string(), token);
            Ok(tx.tokens(account.id)?.into_iter().map(view).collect())
        })
    }
}

/// Revokes a token.
#[derive(Debug, Serialize, Deserialize)]
pub struct Remove {
    /// Whose.
    pub address: String,
    /// Which.
    pub number: u32,
}

impl Operation for Remove {
    const NAME: &'static str = "token.remove";
    type Answer = ();

    fn run(self, on: &Admin) -> Result<()> {
        on.change(move |tx| {
            let account = find(tx, &self.address)?;
            Ok(tx.token_remove(account.id, self.number)?)
        })
    }
}
