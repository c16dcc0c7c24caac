//! The keys that domains of ours sign their mail with.
//!
//! ```text
//! rotate ─▶ waiting ─ publish in DNS, then activate ─▶ signing ─ the next activate ─▶ retired ─▶ remove
//! ```
//!
//! A new domain's first keys sign at once: a signature whose key is not published yet counts as none.

use super::{Admin, Operation, domain_name};
use crate::clock::now;
use crate::failure::{Code, Failure, Result};
use crate::output::rfc3339;
use mail::{Domain, Timestamp};
use mailauth::dkim::{Algorithm, PrivateKey, key};
use serde::{Deserialize, Serialize};
use store::{DkimKey, DkimKeyState, ReadTx, WriteTx};

/// A key as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyView {
    /// Whose.
    pub domain: String,
    /// By which name it is found.
    pub selector: String,
    /// `rsa-sha256` or `ed25519-sha256`.
    pub algorithm: String,
    /// `waiting`, `signing` or `retired`.
    pub state: String,
    /// When it was made, RFC 3339.
    pub created: String,
    /// The line to publish, in the words of a zone file.
    pub dns: String,
}

/// The keys of one domain, or of all.
#[derive(Debug, Serialize, Deserialize)]
pub struct List {
    /// The domain; none: all.
    pub domain: Option<String>,
}

impl Operation for List {
    const NAME: &'static str = "dkim.list";
    type Answer = Vec<KeyView>;

    fn run(self, on: &Admin) -> Result<Vec<KeyView>> {
        let domain = self.domain.as_deref().map(domain_name).transpose()?;
        on.read(move |tx| {
            let domains: Vec<Domain> = match domain {
                Some(domain) => vec![ours(tx, domain)?],
                None => tx.domains()?.into_iter().map(|(domain, _)| domain).collect(),
            };
            let each: Vec<Vec<KeyView>> = domains.iter().map(|domain| views(tx, domain)).collect::<Result<_>>()?;
            Ok(each.concat())
        })
    }
}

/// Makes new keys, one of each kind; they wait until they are published and activated.
#[derive(Debug, Serialize, Deserialize)]
pub struct Rotate {
    /// The domain.
    pub domain: String,
}

impl Operation for Rotate {
    const NAME: &'static str = "dkim.rotate";
    type Answer = Vec<KeyView>;

    fn run(self, on: &Admin) -> Result<Vec<KeyView>> {
        let domain = domain_name(&self.domain)?;
        let keys = new_keys()?;
        on.change(move |tx| {
            let domain = ours(tx, domain.clone())?;
            add(tx, &domain, &keys, DkimKeyState::Waiting)
        })
    }
}

/// Signs with the keys that wait; those that signed are retired.
#[derive(Debug, Serialize, Deserialize)]
pub struct Activate {
    /// The domain.
    pub domain: String,
}

impl Operation for Activate {
    const NAME: &'static str = "dkim.activate";
    type Answer = Vec<KeyView>;

    fn run(self, on: &Admin) -> Result<Vec<KeyView>> {
        let domain = domain_name(&self.domain)?;
        on.change(move |tx| {
            let domain = ours(tx, domain.clone())?;
            let keys = tx.dkim_keys(&domain)?;
            if !keys.iter().any(|(_, key)| key.state == DkimKeyState::Waiting) {
                return Err(Failure::new(Code::Refused, format!("no key of {domain} waits")).hint("dkim rotate makes new ones"));
            }
            activate(tx, &domain, keys, now())?;
            views(tx, &domain)
        })
    }
}

/// Forgets a key that signs nothing.
#[derive(Debug, Serialize, Deserialize)]
pub struct Remove {
    /// The domain.
    pub domain: String,
    /// The key.
    pub selector: String,
}

impl Operation for Remove {
    const NAME: &'static str = "dkim.remove";
    type Answer = KeyView;

    fn run(self, on: &Admin) -> Result<KeyView> {
        let domain = domain_name(&self.domain)?;
        on.change(move |tx| {
            let domain = ours(tx, domain.clone())?;
            let found = views(tx, &domain)?.into_iter().find(|view| view.selector == self.selector);
            let last = found.ok_or_else(|| Failure::not_found("signing key", &self.selector))?;
            if last.state == state_word(DkimKeyState::Signing) {
                return Err(
                    Failure::new(Code::Refused, format!("{} signs mail", self.selector)).hint("dkim rotate and dkim activate first")
                );
            }
            tx.dkim_key_remove(&domain, &self.selector)?;
            Ok(last)
        })
    }
}

/// Signs with the keys of a domain that wait; those that signed are retired.
pub(crate) fn activate(tx: &mut WriteTx, domain: &Domain, keys: Vec<(String, DkimKey)>, now: Timestamp) -> Result<()> {
    for (selector, key) in keys {
        match key.state {
            DkimKeyState::Waiting => tx.dkim_key_set(domain, &selector, DkimKeyState::Signing, now)?,
            DkimKeyState::Signing => tx.dkim_key_set(domain, &selector, DkimKeyState::Retired, now)?,
            DkimKeyState::Retired => {}
        }
    }
    Ok(())
}

/// New keys of both kinds with their selectors, made outside of a transaction, for it can run twice.
pub(crate) fn new_keys() -> Result<Vec<(String, DkimKey)>> {
    let created = now();
    let date = rfc3339(created).chars().filter(char::is_ascii_digit).take(8).collect::<String>();
    [(Algorithm::RsaSha256, "r"), (Algorithm::Ed25519Sha256, "e")]
        .into_iter()
        .map(|(algorithm, kind)| {
            let failed = |error| Failure::failed("a signing key cannot be made", error);
            let pkcs8 = PrivateKey::generate(algorithm).map_err(failed)?;
            let record = PrivateKey::parse(algorithm, &pkcs8).map_err(failed)?.public().record();
            let key = DkimKey {
                algorithm: algorithm.as_str().to_owned(),
                pkcs8,
                record,
                state: DkimKeyState::Waiting,
                created,
                changed: created,
            };
            Ok((format!("{date}{kind}"), key))
        })
        .collect()
}

/// Adds keys to a domain; a selector that is taken gets a number.
pub(crate) fn add(tx: &mut WriteTx, domain: &Domain, keys: &[(String, DkimKey)], state: DkimKeyState) -> Result<Vec<KeyView>> {
    let taken: Vec<String> = tx.dkim_keys(domain)?.into_iter().map(|(selector, _)| selector).collect();
    let mut added = Vec::with_capacity(keys.len());
    for (wanted, key) in keys {
        let numbered = (2..1000).map(|number| format!("{wanted}{number}"));
        let free = std::iter::once(wanted.clone()).chain(numbered).find(|selector| !taken.contains(selector));
        let selector = free.ok_or_else(|| Failure::new(Code::Refused, format!("{domain} has too many keys")))?;
        let key = DkimKey { state, ..key.clone() };
        tx.dkim_key_add(domain, &selector, &key)?;
        added.push(view(domain, &selector, &key));
    }
    Ok(added)
}

fn ours(tx: &ReadTx, domain: Domain) -> Result<Domain> {
    tx.domain(&domain)?.ok_or_else(|| Failure::not_found("domain", &domain))?;
    Ok(domain)
}

fn views(tx: &ReadTx, domain: &Domain) -> Result<Vec<KeyView>> {
    Ok(tx.dkim_keys(domain)?.iter().map(|(selector, key)| view(domain, selector, key)).collect())
}

fn view(domain: &Domain, selector: &str, key: &DkimKey) -> KeyView {
    KeyView {
        domain: domain.to_string(),
        selector: selector.to_owned(),
        algorithm: key.algorithm.clone(),
        state: state_word(key.state).to_owned(),
        created: rfc3339(key.created),
        dns: key::zone_line(selector, domain.as_str(), &key.record),
    }
}

const fn state_word(state: DkimKeyState) -> &'static str {
    match state {
        DkimKeyState::Waiting => "waiting",
        DkimKeyState::Signing => "signing",
        DkimKeyState::Retired => "retired",
    }
}
