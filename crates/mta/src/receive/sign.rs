//! Signs what our accounts send, and what the server itself writes, with the keys of the author's domain (RFC 6376 §5).
//!
//! Invariants: a message that cannot be signed is sent unsigned, with a word in the log; a key never leaves
//! this file's memory.

use super::{Receiver, Transaction};
use mail::header::{self, unfold};
use mail::{Domain, Timestamp};
use mailauth::dkim::{self, Algorithm, PrivateKey, Signer};
use mailauth::{BodyDigest, BodyHash};
use smtp::server::Role;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use store::{DkimKey, ReadTx};

/// Most keys kept in their working form. Our own bound: beyond it they are read again.
const KEYS_MAX: usize = 1000;

/// Keys in their working form, by their octets: reading one costs more than signing with it.
#[derive(Debug, Default)]
pub struct KeyRing(Mutex<HashMap<Vec<u8>, Arc<PrivateKey>>>);

impl KeyRing {
    pub(super) fn key(&self, record: &DkimKey) -> Option<Arc<PrivateKey>> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(key) = known.get(record.pkcs8.as_slice()) {
            return Some(Arc::clone(key));
        }
        let key = Arc::new(private_key(record)?);
        if known.len() >= KEYS_MAX {
            known.clear();
        }
        known.insert(record.pkcs8.clone(), Arc::clone(&key));
        Some(key)
    }

    /// A signature field by each of a domain's keys; one that cannot be used is left out, with a word in the log.
    fn sign(&self, keys: &[(String, DkimKey)], domain: &Domain, block: &[u8], body: &BodyDigest, now: Timestamp) -> String {
        let ready: Vec<_> = keys.iter().filter_map(|(selector, record)| Some((selector, self.key(record)?))).collect();
        let signers: Vec<Signer<'_>> =
            ready.iter().map(|(selector, key)| Signer { domain: domain.as_str(), selector, key: key.as_ref() }).collect();
        if signers.len() < keys.len() {
            tracing::warn!(%domain, "a signing key cannot be used");
        }
        dkim::sign(block, body, &signers, now).concat()
    }
}

/// The signature fields of a message that this server has written itself, with their line ends, by the keys of its author's
/// domain or of one above it; empty if none has any, or if it is signed.
pub(crate) fn own_signatures(tx: &ReadTx, ring: &KeyRing, message: &[u8], now: Timestamp) -> store::Result<String> {
    let (block, body) = message.split_at(header::body_start(message));
    let mut domain = author(block).filter(|_| header::value(block, "DKIM-Signature").is_none());
    while let Some(of) = domain {
        let keys = tx.dkim_signing_keys(&of)?;
        if !keys.is_empty() {
            let mut hash = dkim::sign::body_hash();
            hash.update(body);
            return Ok(ring.sign(&keys, &of, block, &hash.finish(), now));
        }
        domain = of.as_str().split_once('.').and_then(|(_, above)| Domain::parse(above).ok());
    }
    Ok(String::new())
}

/// A stored key in its working form.
fn private_key(record: &DkimKey) -> Option<PrivateKey> {
    let algorithm = [Algorithm::RsaSha256, Algorithm::Ed25519Sha256].into_iter().find(|known| known.as_str() == record.algorithm)?;
    PrivateKey::parse(algorithm, &record.pkcs8).ok()
}

impl Receiver {
    /// Takes the body's hash, if the message is to be signed or sealed.
    pub(super) fn body_hash(&self, transaction: &Transaction) -> Option<BodyHash> {
        (self.role == Role::Submission || self.sealer(transaction).is_some()).then(dkim::sign::body_hash)
    }

    /// The signature fields of a message, with their line ends; none if its author's domain has no keys.
    pub(super) fn signatures(&self, block: &[u8], body: &BodyDigest, now: Timestamp) -> String {
        let Some(domain) = author(block) else { return String::new() };
        let asked = domain.clone();
        let keys = match self.context.store.read_short(move |tx| tx.dkim_signing_keys(&asked)) {
            Ok(keys) => keys,
            Err(error) => {
                tracing::warn!(%domain, %error, "the signing keys cannot be read: the message goes unsigned");
                return String::new();
            }
        };
        self.context.keys.sign(&keys, &domain, block, body, now)
    }
}

/// The domain of the first address in `From`.
fn author(block: &[u8]) -> Option<Domain> {
    let from = header::fields(block).find(|field| field.is("From"))?;
    let addresses = header::addresses(&unfold(from.value), 10);
    addresses.iter().find_map(|address| Domain::parse(address.host.as_deref()?).ok())
}
