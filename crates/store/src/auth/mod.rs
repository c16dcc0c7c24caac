//! Who may log in: credentials, and the authenticator that checks passwords against them.
//!
//! Also whose an access token is: one of ours (`crate::token`) or one that a configured issuer has signed.
//!
//! Not the SASL exchange (`wire::sasl`): its questions are answered here.
//!
//! The login is the account's address in any case, without `+detail`. Aliases are no logins: an alias
//! may lead to several accounts, and a password must belong to one.
//!
//! Invariants: a password is in no log, error or Debug output; an unknown login costs the same time
//! as a known one; whether an account is disabled is told only to who knows its password; work that
//! anybody can ask for waits in a bounded queue on few threads, off the async ones.

mod authenticator;
mod credentials;
mod guard;
mod jwt;
mod proofs;
mod sign_in;
mod tokens;
mod workers;

pub use authenticator::{AuthError, Authenticator, Limits};
pub(crate) use credentials::Credentials1;
pub use credentials::{Credentials, PASSWORD_CHARS_ADVISED, PASSWORD_OCTETS_MAX, PasswordError};
pub use guard::Settings as GuardSettings;
pub use sign_in::SignIn;
pub(crate) use tokens::fuzz as fuzz_tokens;
pub use tokens::{Issuer, IssuerError, Tokens};
