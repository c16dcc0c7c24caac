//! What the tests of the nouns share: a world with one account, and messages.

use crate::auth::Credentials;
use crate::{NewAccount, Result, Store, WriteTx};
use mail::{AccountId, Address, Domain, Timestamp};

pub(crate) fn now() -> Timestamp {
    Timestamp::from_seconds(1_700_000_000)
}

pub(crate) fn address(text: &str) -> Address {
    Address::parse(text).unwrap()
}

/// What an error says.
pub(crate) fn said<T: std::fmt::Debug>(result: Result<T>) -> String {
    result.unwrap_err().to_string()
}

/// Runs a transaction that must succeed.
pub(crate) fn tx<T: Send + 'static>(store: &Store, f: impl FnMut(&mut WriteTx) -> Result<T> + Send + 'static) -> T {
    store.write_blocking(f).unwrap()
}

pub(crate) fn account_add(tx: &mut WriteTx, text: &str) -> Result<AccountId> {
    let new = NewAccount { address: address(text), name: String::new(), credentials: Credentials::none(), quota_octets_max: None };
    tx.account_create(new, now())
}

/// A store with the domain example.org and the account ann@example.org.
pub(crate) fn world() -> (Store, AccountId) {
    let store = Store::memory();
    let ann = tx(&store, |tx| {
        tx.domain_add(&Domain::parse("example.org").unwrap(), now())?;
        account_add(tx, "ann@example.org")
    });
    (store, ann)
}
