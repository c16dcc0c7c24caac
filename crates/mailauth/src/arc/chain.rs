//! Reads and judges the sets of a message (RFC 8617 §5.2).
//!
//! ```text
//! fields ─▶ sets 1…n, whole and in order ─▶ signature n ─▶ seals n…1 ─▶ pass
//!              └───────── anything else ──────────────────────────────▶ fail
//! ```

use super::{Arc, ArcResult};
use crate::body::BodyDigest;
use crate::dkim::DkimResult;
use crate::dkim::key::{KeyError, KeyRecord};
use crate::dkim::signature::{self, Algorithm, SignatureKind, key_name};
use crate::dkim::verify::{Bodies, Hashed, Pending};
use crate::dns::{Dns, Missing, Open, name_of};
use crate::header::{Canonicalization, Header};
use crate::limits::Limits;
use crate::tags::Tags;
use aws_lc_rs::digest;
use mail::Timestamp;
use mail::header::{Field, unfold};
use serde::{Deserialize, Serialize};

pub(crate) const RESULTS: &str = "ARC-Authentication-Results";
pub(crate) const MESSAGE_SIGNATURE: &str = "ARC-Message-Signature";
pub(crate) const SEAL: &str = "ARC-Seal";

/// The fields of one set.
pub(crate) struct Set<'h, 'a> {
    pub(crate) results: &'h Field<'a>,
    pub(crate) signature: &'h Field<'a>,
    pub(crate) seal: &'h Field<'a>,
}

/// What a seal says, and the hash of what it covers.
#[derive(Serialize, Deserialize)]
struct Seal {
    algorithm: Algorithm,
    #[serde(with = "crate::octets::base64_text")]
    signature: Vec<u8>,
    domain: String,
    selector: String,
    #[serde(with = "crate::octets::hash_text")]
    hash: digest::Digest,
}

/// A chain before the body has passed by.
pub(crate) struct PendingChain(Result<Option<Whole<Pending>>, Broken>);

/// A chain with everything that judging needs but the keys.
#[derive(Serialize, Deserialize)]
pub(crate) struct HashedChain(Result<Option<Whole<Hashed>>, Broken>);

#[derive(Serialize, Deserialize)]
struct Whole<S> {
    last: S,
    seals: Vec<Seal>,
    first_results: String,
}

#[derive(Serialize, Deserialize)]
struct Broken {
    reason: String,
    sets: usize,
}

impl PendingChain {
    pub(crate) fn new(header: &Header<'_>, limits: &Limits) -> Self {
        Self(read(header, limits))
    }

    pub(crate) fn want(&self, bodies: &mut Bodies) {
        if let Ok(Some(whole)) = &self.0 {
            bodies.want(whole.last.body_form());
        }
    }

    pub(crate) fn with_body(self, bodies: &[((Canonicalization, Option<u64>), BodyDigest)]) -> HashedChain {
        HashedChain(self.0.map(|whole| {
            whole.map(|whole| Whole { last: whole.last.with_body(bodies), seals: whole.seals, first_results: whole.first_results })
        }))
    }
}

fn read(header: &Header<'_>, limits: &Limits) -> Result<Option<Whole<Pending>>, Broken> {
    let sets = sets(header, limits)?;
    let Some(last) = sets.last() else { return Ok(None) };
    let broken = |reason: String| Broken { reason, sets: sets.len() };
    let mut seals = Vec::with_capacity(sets.len());
    for place in 0..sets.len() {
        let covered = sets.get(..=place).unwrap_or_default();
        seals.push(seal(header, covered).map_err(|reason| broken(format!("seal {}: {reason}", place + 1)))?);
    }
    let first_results = sets.first().map(|set| unfold(set.results.value)).unwrap_or_default();
    Ok(Some(Whole { last: Pending::new(header, last.signature, SignatureKind::Arc, limits), seals, first_results }))
}

/// The sets from the first to the last; an error if one is not whole (RFC 8617 §5.2 step 3).
pub(crate) fn sets_of<'h, 'a>(header: &'h Header<'a>, limits: &Limits) -> Option<Vec<Set<'h, 'a>>> {
    sets(header, limits).ok()
}

fn sets<'h, 'a>(header: &'h Header<'a>, limits: &Limits) -> Result<Vec<Set<'h, 'a>>, Broken> {
    let count = header.named(SEAL).count().max(header.named(MESSAGE_SIGNATURE).count()).max(header.named(RESULTS).count());
    let broken = |reason: String| Broken { reason, sets: count };
    if count > limits.arc_sets_max {
        return Err(broken(format!("more than {} sets", limits.arc_sets_max)));
    }
    let mut columns = Vec::with_capacity(3);
    for name in [RESULTS, MESSAGE_SIGNATURE, SEAL] {
        columns.push(in_order(header, name, count, limits).map_err(|reason| broken(format!("{name}: {reason}")))?);
    }
    let [results, signatures, seals] = columns.as_slice() else { return Ok(Vec::new()) };
    let triples = results.iter().zip(signatures).zip(seals);
    Ok(triples.map(|((results, signature), seal)| Set { results, signature, seal }).collect())
}

/// The fields of one name by their instance, each of 1…count once.
fn in_order<'h, 'a>(header: &'h Header<'a>, name: &str, count: usize, limits: &Limits) -> Result<Vec<&'h Field<'a>>, String> {
    let mut fields = vec![None; count];
    for field in header.named(name) {
        if field.value.len() > limits.signature_octets_max {
            return Err("the field is too long".to_owned());
        }
        let instance = instance(&unfold(field.value), name == RESULTS).ok_or("the instance cannot be read")?;
        let slot = instance.checked_sub(1).and_then(|at| fields.get_mut(at)).ok_or("an instance is missing")?;
        if slot.replace(field).is_some() {
            return Err("an instance stands twice".to_owned());
        }
    }
    fields.into_iter().collect::<Option<Vec<_>>>().ok_or_else(|| "an instance is missing".to_owned())
}

/// `i=`: in the results it stands first, elsewhere among the tags (RFC 8617 §4.2.1).
fn instance(value: &str, is_first: bool) -> Option<usize> {
    let text = if is_first {
        let (name, number) = value.split(';').next()?.split_once('=')?;
        (name.trim() == "i").then_some(number.trim())?
    } else {
        Tags::parse(value)?.value("i")?
    };
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

/// Reads the last seal of some sets and hashes what it covers: all of them (RFC 8617 §5.1.1).
fn seal(header: &Header<'_>, sets: &[Set<'_, '_>]) -> Result<Seal, String> {
    let last = sets.last().ok_or("there is no set")?;
    let value = unfold(last.seal.value);
    let tags = Tags::parse(&value).ok_or("it cannot be read")?;
    let state = tags.value("cv").ok_or("cv= is missing")?.to_ascii_lowercase();
    let wanted = if sets.len() == 1 { "none" } else { "pass" };
    if state != wanted {
        return Err(format!("cv= is not {wanted}"));
    }
    // RFC 8617 §4.1.3: a seal lists no fields and no body hash.
    if tags.value("h").is_some() || tags.value("bh").is_some() {
        return Err("h= or bh= in a seal".to_owned());
    }
    signature::number(&tags, "t").map_err(|error| error.to_string())?;
    Ok(Seal {
        algorithm: signature::algorithm(&tags).map_err(|error| error.to_string())?,
        signature: signature::octets(&tags, "b").map_err(|error| error.to_string())?,
        domain: tags.value("d").and_then(name_of).ok_or("tag d= is missing or wrong")?,
        selector: tags.value("s").and_then(name_of).ok_or("tag s= is missing or wrong")?,
        hash: hash_sets(header, sets),
    })
}

fn hash_sets(header: &Header<'_>, sets: &[Set<'_, '_>]) -> digest::Digest {
    let form = Canonicalization::Relaxed;
    let mut canonical = Vec::new();
    for (place, set) in sets.iter().enumerate() {
        header.canonical(set.results, form, &mut canonical);
        header.canonical(set.signature, form, &mut canonical);
        if place + 1 == sets.len() {
            header.canonical_unsigned(set.seal, form, &mut canonical);
        } else {
            header.canonical(set.seal, form, &mut canonical);
        }
    }
    digest::digest(&digest::SHA256, &canonical)
}

impl HashedChain {
    /// The names of all keys, for those who ask for several at once.
    pub(crate) fn key_names(&self) -> Vec<String> {
        let Ok(Some(whole)) = &self.0 else { return Vec::new() };
        let seals = whole.seals.iter().map(|seal| key_name(&seal.selector, &seal.domain));
        whole.last.key_name().into_iter().chain(seals).collect()
    }

    /// Judges it.
    pub(crate) fn judge(&self, dns: &mut Dns<'_>, now: Timestamp, limits: &Limits) -> Result<Arc, Open> {
        let outcome = |result, reason, sets, sealers, first_results| Arc { result, reason, sets, sealers, first_results };
        let whole = match &self.0 {
            Ok(None) => return Ok(outcome(ArcResult::None, None, 0, Vec::new(), None)),
            Err(broken) => return Ok(outcome(ArcResult::Fail, Some(broken.reason.clone()), broken.sets, Vec::new(), None)),
            Ok(Some(whole)) => whole,
        };
        let sealers: Vec<String> = whole.seals.iter().map(|seal| seal.domain.clone()).collect();
        let sets = whole.seals.len();
        Ok(match whole.judge(dns, now, limits)? {
            Ok(()) => outcome(ArcResult::Pass, None, sets, sealers, Some(whole.first_results.clone())),
            Err((result, reason)) => outcome(result, Some(reason), sets, sealers, None),
        })
    }
}

impl Whole<Hashed> {
    fn judge(&self, dns: &mut Dns<'_>, now: Timestamp, limits: &Limits) -> Result<Result<(), (ArcResult, String)>, Open> {
        let last = self.last.judge(dns, now, limits)?;
        let reason = || format!("message signature {}: {}", self.seals.len(), last.reason.as_deref().unwrap_or("neutral"));
        match last.result {
            DkimResult::Pass => {}
            DkimResult::TempError => return Ok(Err((ArcResult::TempError, reason()))),
            _ => return Ok(Err((ArcResult::Fail, reason()))),
        }
        for (place, seal) in self.seals.iter().enumerate().rev() {
            if let Err((result, reason)) = seal.judge(dns, limits)? {
                return Ok(Err((result, format!("seal {}: {reason}", place + 1))));
            }
        }
        Ok(Ok(()))
    }
}

impl Seal {
    fn judge(&self, dns: &mut Dns<'_>, limits: &Limits) -> Result<Result<(), (ArcResult, String)>, Open> {
        let failed = |reason: &str| Ok(Err((ArcResult::Fail, reason.to_owned())));
        let records = match dns.txt(&key_name(&self.selector, &self.domain))? {
            Ok(records) => records,
            Err(Missing::Void) => return failed("there is no key record"),
            Err(Missing::Failed) => return Ok(Err((ArcResult::TempError, "no answer for the key record".to_owned()))),
        };
        let keys: Result<Vec<KeyRecord>, KeyError> =
            records.iter().take(1).map(|record| KeyRecord::parse(record, self.algorithm, limits)).collect();
        let key = match keys.as_deref() {
            Err(error) => return failed(&error.to_string()),
            Ok([record]) => record.key.as_ref(),
            Ok(_) => None,
        };
        match key {
            None => failed("the key was revoked"),
            Some(key) if key.verifies(&self.hash, &self.signature) => Ok(Ok(())),
            Some(_) => failed("it does not fit the sets"),
        }
    }
}
