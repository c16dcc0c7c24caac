//! Verifies signatures: what they cover is hashed while the message passes by, and judged when their keys
//! are known (RFC 6376 §6).
//!
//! ```text
//! header ─▶ Pending (signature read, header hashed) ─ body chunks ─▶ Hashed ─ key record ─▶ Dkim
//! ```
//!
//! Invariant: the message is read once, however many signatures it has; those beyond the limit are counted
//! and passed over.

use super::key::KeyRecord;
use super::signature::{Signature, SignatureKind};
use crate::body::{BodyDigest, BodyHash};
use crate::dns::{Dns, Missing, Open, name_of};
use crate::header::{Canonicalization, Header};
use crate::limits::Limits;
use aws_lc_rs::digest;
use mail::Timestamp;
use mail::header::{Field, unfold};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The result of verifying a signature (RFC 8601 §2.7.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DkimResult {
    /// It is the domain's, and the message is as it was.
    Pass,
    /// It does not fit the message or the key.
    Fail,
    /// It may fit, but is not acceptable here: an expired one, a weak key, a body signed in part.
    Policy,
    /// It cannot be judged.
    Neutral,
    /// DNS gave no answer.
    TempError,
    /// The signature or its key record cannot be used.
    PermError,
}

impl DkimResult {
    /// The word in header fields.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Policy => "policy",
            Self::Neutral => "neutral",
            Self::TempError => "temperror",
            Self::PermError => "permerror",
        }
    }
}

impl fmt::Display for DkimResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What became of one signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dkim {
    /// The result.
    pub result: DkimResult,
    /// Why, in words; none for a pass.
    pub reason: Option<String>,
    /// `d=`, as far as it could be read.
    pub domain: String,
    /// `s=`, as far as it could be read.
    pub selector: String,
    /// `i=`, as far as it could be read.
    pub identity: String,
    /// `a=`, as far as it could be read.
    pub algorithm: Option<super::Algorithm>,
    /// The first octets of `b=`, by which signatures of one domain are told apart (RFC 6008).
    pub signature_start: String,
    /// The domain tries DKIM out (`t=y`).
    pub testing: bool,
}

/// Which body hash a signature wants.
type BodyForm = (Canonicalization, Option<u64>);

/// A signature before the body has passed by.
#[derive(Serialize, Deserialize)]
pub(crate) struct Pending {
    /// What it says, with the hash of the header as it asks; or why it cannot be read.
    read: Result<(Signature, HeaderHash), String>,
    fallback: Named,
}

/// The hash of the signed fields.
#[derive(Serialize, Deserialize)]
struct HeaderHash(#[serde(with = "crate::octets::hash_text")] digest::Digest);

/// What can be told of a signature that cannot be read.
#[derive(Default, Serialize, Deserialize)]
struct Named {
    domain: String,
    selector: String,
    identity: String,
    start: String,
}

/// A signature with everything that verifying needs but its key.
#[derive(Serialize, Deserialize)]
pub(crate) struct Hashed {
    pending: Pending,
    body: Option<BodyDigest>,
}

impl Pending {
    /// Reads a signature field and hashes the header as it asks.
    pub(crate) fn new(header: &Header<'_>, field: &Field<'_>, kind: SignatureKind, limits: &Limits) -> Self {
        let value = unfold(field.value);
        let read = match Signature::parse(&value, kind, limits) {
            Ok(signature) => {
                let hash = HeaderHash(hash_header(header, field, &signature));
                Ok((signature, hash))
            }
            Err(error) => Err(error.to_string()),
        };
        Self { read, fallback: Named::of(&value) }
    }

    /// Which hash of the body it wants.
    pub(crate) fn body_form(&self) -> Option<BodyForm> {
        self.read.as_ref().ok().map(|(signature, _)| (signature.body_form, signature.body_length))
    }

    /// The name of the key, for those who ask for several at once.
    pub(crate) fn key_name(&self) -> Option<String> {
        self.read.as_ref().ok().map(|(signature, _)| signature.key_name())
    }

    pub(crate) fn with_body(self, bodies: &[(BodyForm, BodyDigest)]) -> Hashed {
        let form = self.body_form();
        let body = bodies.iter().find(|(known, _)| Some(*known) == form).map(|(_, digest)| digest.clone());
        Hashed { pending: self, body }
    }
}

/// RFC 6376 §3.7.
fn hash_header(header: &Header<'_>, field: &Field<'_>, signature: &Signature) -> digest::Digest {
    let mut context = digest::Context::new(&digest::SHA256);
    let mut canonical = Vec::with_capacity(512);
    for signed in header.signed(signature.fields.iter().map(String::as_str)) {
        canonical.clear();
        header.canonical(signed, signature.header_form, &mut canonical);
        context.update(&canonical);
    }
    canonical.clear();
    header.canonical_unsigned(field, signature.header_form, &mut canonical);
    context.update(&canonical);
    context.finish()
}

/// Takes the body for all signatures of a message.
#[derive(Default)]
pub(crate) struct Bodies(Vec<(BodyForm, BodyHash)>);

impl Bodies {
    pub(crate) fn want(&mut self, form: Option<BodyForm>) {
        let Some(form) = form else { return };
        if !self.0.iter().any(|(known, _)| *known == form) {
            self.0.push((form, BodyHash::new(form.0, form.1)));
        }
    }

    pub(crate) fn update(&mut self, chunk: &[u8]) {
        self.0.iter_mut().for_each(|(_, hash)| hash.update(chunk));
    }

    pub(crate) fn finish(self) -> Vec<(BodyForm, BodyDigest)> {
        self.0.into_iter().map(|(form, hash)| (form, hash.finish())).collect()
    }
}

impl Hashed {
    /// The name of the key.
    pub(crate) fn key_name(&self) -> Option<String> {
        self.pending.key_name()
    }

    /// Judges it.
    pub(crate) fn judge(&self, dns: &mut Dns<'_>, now: Timestamp, limits: &Limits) -> Result<Dkim, Open> {
        let (signature, hash) = match &self.pending.read {
            Ok(read) => read,
            Err(error) => return Ok(self.outcome(DkimResult::PermError, Some(error.clone()), false)),
        };
        let (result, reason, testing) = match key_of(dns, signature, limits)? {
            Ok(record) => {
                let (result, reason) = self.fit((signature, hash), &record, now, limits);
                (result, reason, record.testing)
            }
            Err((result, reason)) => (result, Some(reason), false),
        };
        Ok(self.outcome(result, reason, testing))
    }

    fn fit(
        &self,
        (signature, hash): (&Signature, &HeaderHash),
        record: &KeyRecord,
        now: Timestamp,
        limits: &Limits,
    ) -> (DkimResult, Option<String>) {
        let said = |result, reason: &str| (result, Some(reason.to_owned()));
        let Some(key) = &record.key else { return said(DkimResult::PermError, "the key was revoked") };
        if record.strict && !identity_is(&signature.identity, &signature.domain) {
            return said(DkimResult::PermError, "the key is not for subdomains");
        }
        let Some(body) = self.body.as_ref() else { return said(DkimResult::Neutral, "the body was not read") };
        if signature.body_length.is_some_and(|length| length > body.octets) {
            return said(DkimResult::PermError, "the body is shorter than was signed");
        }
        if body.sha256 != *signature.body_hash {
            return said(DkimResult::Fail, "the body was changed");
        }
        if !key.verifies(&hash.0, &signature.signature) {
            return said(DkimResult::Fail, "the signature does not fit the header");
        }
        let seconds = u64::try_from(now.seconds()).unwrap_or(0);
        if signature.expires_at.is_some_and(|expires| expires < seconds) {
            return said(DkimResult::Policy, "the signature has expired");
        }
        if signature.signed_at.is_some_and(|signed| signed > seconds.saturating_add(limits.clock_skew_seconds)) {
            return said(DkimResult::Policy, "the signature is dated in the future");
        }
        // RFC 6376 §8.2: what was added behind the signed part could replace it before a reader's eyes.
        if signature.body_length.is_some_and(|length| length < body.octets) {
            return said(DkimResult::Policy, "only a part of the body is signed");
        }
        (DkimResult::Pass, None)
    }

    fn outcome(&self, result: DkimResult, reason: Option<String>, testing: bool) -> Dkim {
        let (fallback, read) = (&self.pending.fallback, self.pending.read.as_ref().ok().map(|(signature, _)| signature));
        Dkim {
            result,
            reason,
            domain: read.map_or_else(|| fallback.domain.clone(), |signature| signature.domain.clone()),
            selector: read.map_or_else(|| fallback.selector.clone(), |signature| signature.selector.clone()),
            identity: read.map_or_else(|| fallback.identity.clone(), |signature| signature.identity.clone()),
            algorithm: read.map(|signature| signature.algorithm),
            signature_start: fallback.start.clone(),
            testing,
        }
    }
}

/// The first record that is a key (RFC 6376 §3.6.2.2 leaves several to us).
fn key_of(dns: &mut Dns<'_>, signature: &Signature, limits: &Limits) -> Result<Result<KeyRecord, (DkimResult, String)>, Open> {
    let records = match dns.txt(&signature.key_name())? {
        Ok(records) => records,
        Err(Missing::Void) => return Ok(Err((DkimResult::PermError, "there is no key record".to_owned()))),
        Err(Missing::Failed) => return Ok(Err((DkimResult::TempError, "no answer for the key record".to_owned()))),
    };
    let mut error = None;
    for record in records.iter().take(10) {
        match KeyRecord::parse(record, signature.algorithm, limits) {
            Ok(record) => return Ok(Ok(record)),
            Err(wrong) => error = error.or(Some(wrong)),
        }
    }
    let (result, reason) = match error {
        Some(super::key::KeyError::Bits(bits)) => (DkimResult::Policy, super::key::KeyError::Bits(bits).to_string()),
        Some(error) => (DkimResult::PermError, error.to_string()),
        None => (DkimResult::PermError, "there is no key record".to_owned()),
    };
    Ok(Err((result, reason)))
}

fn identity_is(identity: &str, domain: &str) -> bool {
    identity.rsplit_once('@').and_then(|(_, found)| name_of(found)).is_some_and(|found| found == domain)
}

impl Named {
    fn of(value: &str) -> Self {
        let value = value.get(..2000).unwrap_or(value);
        let specs = value.split(';').filter_map(|spec| spec.split_once('='));
        let mut named = Self::default();
        for (name, value) in specs {
            let shown = || value.chars().filter(char::is_ascii_graphic).take(255).collect::<String>();
            match name.trim() {
                "d" => named.domain = shown().to_ascii_lowercase(),
                "s" => named.selector = shown().to_ascii_lowercase(),
                "i" => named.identity = shown(),
                "b" => named.start = shown().chars().take(8).collect(),
                _ => {}
            }
        }
        named
    }
}
