//! Adds a set to a message's chain (RFC 8617 §5.1).
//!
//! Not for every message: a set says what we found out before somebody else gets the message from us.

use super::ArcResult;
use super::chain::{self, MESSAGE_SIGNATURE, RESULTS, SEAL};
use crate::body::BodyDigest;
use crate::dkim::sign::{Signer, fold, fold_names, hash};
use crate::header::{Canonicalization, Header, relaxed_field};
use crate::limits::Limits;
use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mail::Timestamp;

/// Fields that a set's message signature covers, if they are there.
const SIGNED: [&str; 14] = [
    "From",
    "To",
    "Cc",
    "Subject",
    "Date",
    "Message-ID",
    "Reply-To",
    "In-Reply-To",
    "References",
    "MIME-Version",
    "Content-Type",
    "Content-Transfer-Encoding",
    "DKIM-Signature",
    "List-Id",
];

/// The three fields of the next set, with line ends, to be put before the message. `results` is what stands
/// in an Authentication-Results field of ours, our name first; `state` what became of the chain so far.
/// None: the chain is longer than it may be, failed before, or the key fails.
pub fn seal(
    header: &[u8],
    body: &BodyDigest,
    results: &str,
    state: ArcResult,
    signer: &Signer<'_>,
    now: Timestamp,
    limits: &Limits,
) -> Option<String> {
    let header = Header::new(header);
    let sets = if state == ArcResult::None { Vec::new() } else { chain::sets_of(&header, limits)? };
    let instance = sets.len() + 1;
    if instance > limits.arc_sets_max || matches!(state, ArcResult::Fail | ArcResult::TempError) {
        return None;
    }
    let (key, algorithm, seconds) = (signer.key, signer.key.algorithm(), now.seconds());
    let results = format!(" i={instance}; {results}");
    let names = names(&header);
    let unsigned = format!(
        " i={instance}; a={algorithm}; c=relaxed/relaxed;\r\n\td={}; s={};\r\n\tt={seconds};\r\n\t{}\r\n\tbh={};\r\n\tb=",
        signer.domain,
        signer.selector,
        fold_names(&names),
        STANDARD.encode(body.sha256)
    );
    let signature = key.sign(&hash(&header, &names, MESSAGE_SIGNATURE, &unsigned))?;
    let message_signature = format!("{unsigned}{}", fold(&STANDARD.encode(signature)));

    let mut canonical = Vec::new();
    for set in &sets {
        for field in [set.results, set.signature, set.seal] {
            header.canonical(field, Canonicalization::Relaxed, &mut canonical);
        }
    }
    relaxed_field(RESULTS.as_bytes(), results.as_bytes(), &mut canonical);
    relaxed_field(MESSAGE_SIGNATURE.as_bytes(), message_signature.as_bytes(), &mut canonical);
    let unsealed =
        format!(" i={instance}; a={algorithm}; t={seconds}; cv={state};\r\n\td={}; s={};\r\n\tb=", signer.domain, signer.selector);
    relaxed_field(SEAL.as_bytes(), unsealed.as_bytes(), &mut canonical);
    canonical.truncate(canonical.len().saturating_sub(2));
    let sealed = key.sign(&digest::digest(&digest::SHA256, &canonical))?;
    let seal = format!("{unsealed}{}", fold(&STANDARD.encode(sealed)));
    Some(format!("{SEAL}:{seal}\r\n{MESSAGE_SIGNATURE}:{message_signature}\r\n{RESULTS}:{results}\r\n"))
}

fn names(header: &Header<'_>) -> Vec<&'static str> {
    SIGNED.iter().flat_map(|name| std::iter::repeat_n(*name, header.named(name).count().min(20))).collect()
}
