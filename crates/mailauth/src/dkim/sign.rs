//! Signs messages: one field for each key, over the same fields and the same body (RFC 6376 §5).
//!
//! Fields that say who wrote to whom are signed once more often than they stand ("oversigned"), so that
//! nobody can add another one above; fields that lists add are signed only where they stand.
//!
//! Invariant: a field that this file makes verifies with the key's record.

use super::key::PrivateKey;
use crate::body::{BodyDigest, BodyHash};
use crate::header::{Canonicalization, Header, relaxed_field};
use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mail::Timestamp;

/// Fields that are signed, with one mention more than they have.
const OVERSIGNED: [&str; 11] =
    ["From", "To", "Cc", "Subject", "Date", "Message-ID", "Reply-To", "In-Reply-To", "References", "MIME-Version", "Content-Type"];

/// Fields that are signed where they stand.
const SIGNED: [&str; 14] = [
    "Content-Transfer-Encoding",
    "Content-Disposition",
    "Content-ID",
    "Content-Description",
    "Sender",
    "List-Id",
    "List-Help",
    "List-Unsubscribe",
    "List-Unsubscribe-Post",
    "List-Subscribe",
    "List-Post",
    "List-Owner",
    "List-Archive",
    "Autocrypt",
];

/// Most mentions of one name in `h=`. Our own bound: more of them are no mail of ours.
const MENTIONS_MAX: usize = 20;

/// Who signs, and with what.
#[derive(Debug, Clone, Copy)]
pub struct Signer<'a> {
    /// `d=`, A-labels.
    pub domain: &'a str,
    /// `s=`
    pub selector: &'a str,
    /// The key.
    pub key: &'a PrivateKey,
}

/// The hash of the body that [`sign`] wants: feed it the body in chunks.
pub fn body_hash() -> BodyHash {
    BodyHash::new(Canonicalization::Relaxed, None)
}

/// A `DKIM-Signature` field with its line end for each signer, to be put before the message. A signer whose
/// key fails is left out.
pub fn sign(header: &[u8], body: &BodyDigest, signers: &[Signer<'_>], now: Timestamp) -> Vec<String> {
    let header = Header::new(header);
    let names = names(&header);
    signers.iter().filter_map(|signer| field(&header, &names, body, signer, now)).collect()
}

/// The names of `h=`.
fn names(header: &Header<'_>) -> Vec<&'static str> {
    let oversigned = OVERSIGNED.iter().map(|name| (*name, header.named(name).count() + 1));
    let signed = SIGNED.iter().map(|name| (*name, header.named(name).count()));
    oversigned.chain(signed).flat_map(|(name, mentions)| std::iter::repeat_n(name, mentions.min(MENTIONS_MAX))).collect()
}

fn field(header: &Header<'_>, names: &[&str], body: &BodyDigest, signer: &Signer<'_>, now: Timestamp) -> Option<String> {
    let tags = [
        format!("v=1; a={}; c=relaxed/relaxed;", signer.key.algorithm()),
        format!("d={}; s={};", signer.domain, signer.selector),
        format!("t={};", now.seconds()),
        fold_names(names),
        format!("bh={};", STANDARD.encode(body.sha256)),
    ];
    let unsigned = format!(" {}\r\n\tb=", tags.join("\r\n\t"));
    let hash = hash(header, names, "DKIM-Signature", &unsigned);
    let signature = STANDARD.encode(signer.key.sign(&hash)?);
    Some(format!("DKIM-Signature:{unsigned}{}\r\n", fold(&signature)))
}

/// Hashes the named fields and, at their end, an unsigned field.
pub(crate) fn hash(header: &Header<'_>, names: &[&str], name: &str, unsigned: &str) -> digest::Digest {
    let mut canonical = Vec::with_capacity(2048);
    for field in header.signed(names.iter().copied()) {
        header.canonical(field, Canonicalization::Relaxed, &mut canonical);
    }
    relaxed_field(name.as_bytes(), unsigned.as_bytes(), &mut canonical);
    canonical.truncate(canonical.len().saturating_sub(2));
    digest::digest(&digest::SHA256, &canonical)
}

/// `h=…;` in lines of at most 78 characters.
pub(crate) fn fold_names(names: &[&str]) -> String {
    let (mut out, mut line) = ("h=".to_owned(), 3);
    for (place, name) in names.iter().enumerate() {
        let colon = if place == 0 { "" } else { ":" };
        if line + name.len() + 2 > 76 {
            out.extend([colon, "\r\n\t "]);
            line = 2;
        } else {
            out.push_str(colon);
        }
        out.push_str(name);
        line += name.len() + 1;
    }
    out.push(';');
    out
}

/// base64 in lines of 70 characters.
pub(crate) fn fold(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + text.len() / 16);
    let mut rest = text;
    while let Some((line, after)) = rest.split_at_checked(70).filter(|(_, after)| !after.is_empty()) {
        out.extend([line, "\r\n\t "]);
        rest = after;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::super::{Algorithm, DkimResult};
    use super::*;
    use crate::dkim::signature::SignatureKind;
    use crate::dkim::verify::{Bodies, Pending};
    use crate::dns::{Answer, Dns, Question, Recorded, Step};
    use crate::limits::Limits;
    use proptest::prelude::*;
    use std::sync::LazyLock;

    static KEYS: LazyLock<[PrivateKey; 2]> = LazyLock::new(|| {
        [Algorithm::RsaSha256, Algorithm::Ed25519Sha256]
            .map(|algorithm| PrivateKey::parse(algorithm, &PrivateKey::generate(algorithm).unwrap()).unwrap())
    });
    const NOW: Timestamp = Timestamp::from_seconds(1_700_000_000);

    fn signed(message: &str) -> String {
        let (header, body) = message.split_at(mail::header::body_start(message.as_bytes()));
        let mut hash = body_hash();
        hash.update(body.as_bytes());
        let [rsa, ed25519] = &*KEYS;
        let signers = [("r", rsa), ("e", ed25519)].map(|(selector, key)| Signer { domain: "example.org", selector, key });
        sign(header.as_bytes(), &hash.finish(), &signers, NOW).concat() + message
    }

    fn verify(message: &[u8]) -> Vec<DkimResult> {
        let (limits, [rsa, ed25519]) = (Limits::default(), &*KEYS);
        let mut recorded = Recorded::default();
        for (selector, key) in [("r", rsa), ("e", ed25519)] {
            let record = key.public().record().into_bytes();
            recorded.put(Question::Txt(format!("{selector}._domainkey.example.org")), Answer::Txt(vec![record]));
        }
        let (block, body) = message.split_at(mail::header::body_start(message));
        let header = Header::new(block);
        let pending: Vec<_> =
            header.named("DKIM-Signature").map(|field| Pending::new(&header, field, SignatureKind::Dkim, &limits)).collect();
        let mut bodies = Bodies::default();
        for pending in &pending {
            bodies.want(pending.body_form());
        }
        bodies.update(body);
        let bodies = bodies.finish();
        let judge = |pending: Pending| match Dns::run(&recorded, |dns| pending.with_body(&bodies).judge(dns, NOW, &limits)) {
            Step::Done(dkim) => dkim.result,
            // A flipped selector or domain has no key here.
            Step::Need(_) => DkimResult::PermError,
        };
        pending.into_iter().map(judge).collect()
    }

    const MESSAGE: &str =
        "From: Ann <ann@example.org>\r\nTo: bob@example.net\r\nSubject: a long\r\n\tsubject\r\n\r\nHi,\r\n\r\n  there \r\n\r\n";

    #[test]
    fn signatures_of_both_kinds_verify() {
        let message = signed(MESSAGE);
        assert_eq!(verify(message.as_bytes()), [DkimResult::Pass; 2], "{message}");
        assert!(message.split("\r\n").all(|line| line.len() <= 78), "{message}");
        // What relays change and relaxed forms forgive.
        let relayed = message.replace("Subject: a long\r\n\tsubject", "subject:  a long subject").replace("there \r\n\r\n", "there\r\n");
        assert_eq!(verify(relayed.as_bytes()), [DkimResult::Pass; 2]);
    }

    #[test]
    fn what_is_added_breaks_them() {
        let message = signed(MESSAGE);
        for added in ["From: eve@example.net\r\n", "Subject: x\r\n", "To: x@y\r\n", "Reply-To: x@y\r\n", "Content-Type: text/html\r\n"] {
            assert_eq!(verify(format!("{added}{message}").as_bytes()), [DkimResult::Fail; 2], "{added}");
        }
        assert_eq!(verify(format!("{message}more\r\n").as_bytes()), [DkimResult::Fail; 2]);
        assert_eq!(verify(format!("X-Other: x\r\n{message}").as_bytes()), [DkimResult::Pass; 2]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn any_message_verifies_and_any_flipped_octet_of_its_content_fails(
            subject in "[ -~]{0,40}", body in "([ -~]{0,30}\r\n){0,5}", at in any::<prop::sample::Index>(),
        ) {
            let content = format!("From: ann@example.org\r\nSubject: x{subject}x\r\n\r\nx{body}.\r\n");
            let message = signed(&content);
            prop_assert_eq!(verify(message.as_bytes()), [DkimResult::Pass; 2]);
            // Letters and digits: white space and the case of names may change.
            let start = message.len() - content.len();
            let mut flipped = message.into_bytes();
            let fields = ["From: ", "Subject: "].map(|name| content.find(name).unwrap() + start..content.find(name).unwrap() + start + name.len());
            let candidates: Vec<usize> = (start..flipped.len())
                .filter(|at| flipped[*at].is_ascii_graphic() && !fields.iter().any(|field| field.contains(at)))
                .collect();
            let at = candidates[at.index(candidates.len())];
            flipped[at] = if flipped[at] == b'q' { b'Q' } else { b'q' };
            prop_assert_eq!(verify(&flipped), [DkimResult::Fail; 2]);
        }
    }

    #[test]
    fn no_octet_of_a_signature_can_be_flipped() {
        let message = signed(MESSAGE);
        let end = message.find("\r\nFrom: Ann").unwrap();
        for at in (0..end).step_by(7) {
            let mut flipped = message.clone().into_bytes();
            if flipped[at].is_ascii_alphanumeric() {
                flipped[at] = if flipped[at] == b'0' { b'1' } else { b'0' };
                let results = verify(&flipped);
                assert!(results.iter().filter(|result| **result == DkimResult::Pass).count() < 2, "octet {at}");
            }
        }
    }
}
