//! Access tokens: random texts by which a program logs in for an account, made and revoked one by one.
//!
//! Not the tokens of an identity provider: those are checked by `auth::tokens` and not kept. What is made
//! here serves as a bearer token (OAUTHBEARER, XOAUTH2) and as a password.
//!
//! A token is `prt-ACCOUNT-NUMBER-SECRET`; what is kept of it is a hash. The secret has 160 random bits, so
//! that a plain hash is as good as a slow one.
//!
//! Invariant: the text of a token is never stored.

use crate::error::{Error, Result};
use crate::index::KeyRange;
use crate::key;
use crate::record::Record;
use crate::schema::Space;
use crate::tx::{ReadTx, WriteTx};
use mail::{AccountId, Timestamp};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq as _;
use wire::sasl::Secret;

/// Most tokens of one account. Our own bound.
pub const TOKENS_MAX: usize = 100;

/// Longest name of a token, octets. Our own bound.
const NAME_OCTETS_MAX: usize = 100;

/// What every token begins with, so that people and scanners know one when they see it.
const PREFIX: &str = "prt-";

/// Octets of a token's secret.
pub(crate) const SECRET_OCTETS: usize = 20;

/// A token as its owner sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// Its number within the account.
    pub number: u32,
    /// What it is for, in the words of who made it; may be empty.
    pub name: String,
    /// When it was made.
    pub created: Timestamp,
    /// From when on it is worth nothing; `None`: it holds until it is revoked.
    pub expires: Option<Timestamp>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TokenRecord {
    pub(crate) name: String,
    /// BLAKE3 of the whole text.
    pub(crate) hash: [u8; 32],
    pub(crate) created: Timestamp,
    pub(crate) expires: Option<Timestamp>,
}

impl Record for TokenRecord {
    const SPACE: Space = Space::Token;
    const NAME: &'static str = "token record";
}

impl ReadTx {
    /// The tokens of an account, by number.
    ///
    /// # Errors
    /// When the store fails.
    pub fn tokens(&self, account: AccountId) -> Result<Vec<Token>> {
        let records = self.records::<TokenRecord>(&KeyRange::prefix(&key::account(account)))?;
        let view = |(key, record): (Vec<u8>, TokenRecord)| {
            let TokenRecord { name, created, expires, .. } = record;
            Some(Token { number: key::number_u32(&key, 4)?, name, created, expires })
        };
        Ok(records.into_iter().filter_map(view).collect())
    }

    /// Whose token this is; `None`: it is none, is revoked, or has expired.
    ///
    /// # Errors
    /// When the store fails.
    pub fn token_account(&self, token: &Secret, now: Timestamp) -> Result<Option<AccountId>> {
        let Some((account, number)) = parse(token.expose()) else { return Ok(None) };
        let Some(record) = self.record::<TokenRecord>(&key::token(account, number))? else { return Ok(None) };
        let right: bool = hash(token).ct_eq(&record.hash).into();
        let valid = record.expires.is_none_or(|expires| now < expires);
        Ok((right && valid).then_some(account))
    }
}

impl WriteTx {
    /// Makes a token from fresh random octets and returns its text, which is known to nobody afterwards.
    ///
    /// # Errors
    /// When there is no such account, it has [`TOKENS_MAX`] tokens already, or the name is too long or has
    /// control characters.
    pub fn token_add(
        &mut self,
        account: AccountId,
        name: &str,
        secret: [u8; 20],
        expires: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<(Token, Secret)> {
        self.account_record(account)?;
        if name.len() > NAME_OCTETS_MAX || name.chars().any(char::is_control) {
            return Err(Error::Invalid("a token's name has at most 100 octets and no control characters".into()));
        }
        let tokens = self.tokens(account)?;
        if tokens.len() >= TOKENS_MAX {
            return Err(Error::Limit("tokens of an account".into()));
        }
        let number = tokens.last().map_or(1, |last| last.number.saturating_add(1));
        let text = Secret::new(format!("{PREFIX}{}-{number}-{}", account.0, base32(secret)));
        let record = TokenRecord { name: name.to_owned(), hash: hash(&text), created: now, expires };
        self.save(&key::token(account, number), &record)?;
        Ok((Token { number, name: name.to_owned(), created: now, expires }, text))
    }

    /// Revokes a token.
    ///
    /// # Errors
    /// When there is no such token.
    pub fn token_remove(&mut self, account: AccountId, number: u32) -> Result<()> {
        let key = key::token(account, number);
        if !self.has(Space::Token, &key)? {
            return Err(Error::NotFound("token".into()));
        }
        self.delete(Space::Token, &key);
        Ok(())
    }
}

/// Whether a text has the form of our tokens.
pub(crate) fn is_one(text: &str) -> bool {
    parse(text).is_some()
}

fn parse(text: &str) -> Option<(AccountId, u32)> {
    let mut parts = text.strip_prefix(PREFIX)?.split('-');
    let (account, number, secret) = (parts.next()?, parts.next()?, parts.next()?);
    let whole = parts.next().is_none() && secret.len() == SECRET_OCTETS * 8 / 5;
    whole.then_some((AccountId(account.parse().ok()?), number.parse().ok()?))
}

fn hash(token: &Secret) -> [u8; 32] {
    *blake3::hash(token.expose().as_bytes()).as_bytes()
}

/// Letters and digits that nobody mistakes for each other, five bits each.
fn base32(octets: [u8; SECRET_OCTETS]) -> String {
    const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let mut bits = octets.iter().flat_map(|octet| (0..8).rev().map(move |bit| octet >> bit & 1));
    let mut text = String::new();
    while let Some(first) = bits.next() {
        let letter = bits.by_ref().take(4).fold(first, |letter, bit| letter << 1 | bit);
        text.extend(LETTERS.get(usize::from(letter)).map(|letter| char::from(*letter)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{account_add, findings, said, tx, world};

    const NOW: Timestamp = Timestamp(1_000);

    #[test]
    fn a_token_is_known_until_it_ends_or_is_revoked() {
        let (store, ann) = world();
        tx(&store, move |tx| {
            let (first, text) = tx.token_add(ann, "phone", [0xff; 20], Some(Timestamp(2_000)), NOW)?;
            assert_eq!(text.expose(), format!("prt-{}-1-{}", ann.0, "9".repeat(32)));
            let (second, other) = tx.token_add(ann, "", [1; 20], None, NOW)?;
            assert_eq!((first.number, second.number, tx.tokens(ann)?), (1, 2, vec![first, second]));
            let whose = |tx: &WriteTx, text: &Secret, at| tx.token_account(text, Timestamp(at));
            assert_eq!(whose(tx, &text, 1_999)?, Some(ann));
            assert_eq!(whose(tx, &text, 2_000)?, None, "expired");
            assert_eq!(whose(tx, &other, i64::MAX)?, Some(ann));
            for wrong in [
                "",
                "prt-",
                "prt-1-1",
                &text.expose().replace('9', "8"),
                &text.expose().replace("-1-", "-2-"),
                &format!("{}-x", text.expose()),
            ] {
                assert_eq!(whose(tx, &Secret::new(wrong), 1_000)?, None, "{wrong}");
            }
            tx.token_remove(ann, 2)?;
            assert_eq!(whose(tx, &other, 1_000)?, None);
            assert_eq!(said(tx.token_remove(ann, 2)), "token does not exist");
            Ok(())
        });
        assert_eq!(findings(&store), [""; 0]);
    }

    #[test]
    fn tokens_are_bounded_and_go_with_their_account() {
        let (store, ann) = world();
        tx(&store, move |tx| {
            let bob = account_add(tx, "bob@example.org")?;
            for _ in 0..TOKENS_MAX {
                tx.token_add(bob, "", [3; 20], None, NOW)?;
            }
            assert_eq!(said(tx.token_add(bob, "", [3; 20], None, NOW).map(drop)), "limit reached: tokens of an account");
            let (_, text) = tx.token_add(ann, "", [1; 20], None, NOW)?;
            tx.account_remove(ann)?;
            assert_eq!(tx.token_account(&text, NOW)?, None);
            assert!(tx.tokens(ann)?.is_empty());
            assert_eq!(said(tx.token_add(ann, "", [1; 20], None, NOW).map(drop)), "account does not exist");
            assert!(tx.token_add(bob, "a\nb", [1; 20], None, NOW).is_err());
            Ok(())
        });
        assert_eq!(findings(&store), [""; 0]);
    }
}
