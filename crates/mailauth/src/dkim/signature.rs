//! Reads a signature field: `DKIM-Signature`, and `ARC-Message-Signature`, which differs in two tags
//! (RFC 6376 §3.5, RFC 8617 §4.1.2).
//!
//! Invariant: a [`Signature`] has everything that verifying needs, and its identity lies within its domain.

use crate::dns::{is_within, name_of};
use crate::header::Canonicalization;
use crate::limits::Limits;
use crate::tags::{self, Tags};
use serde::{Deserialize, Serialize};
use std::fmt;

/// How a signature was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256 (RFC 6376 §3.3.2).
    RsaSha256,
    /// Ed25519 over a SHA-256 hash (RFC 8463).
    Ed25519Sha256,
}

impl Algorithm {
    /// The word in `a=`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RsaSha256 => "rsa-sha256",
            Self::Ed25519Sha256 => "ed25519-sha256",
        }
    }

    /// The word in a key record's `k=`.
    pub const fn key_type(self) -> &'static str {
        match self {
            Self::RsaSha256 => "rsa",
            Self::Ed25519Sha256 => "ed25519",
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a signature field says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signature {
    /// `a=`
    pub algorithm: Algorithm,
    /// `b=`, decoded.
    #[serde(with = "crate::octets::base64_text")]
    pub signature: Vec<u8>,
    /// `bh=`, decoded.
    #[serde(with = "crate::octets::base64_text")]
    pub body_hash: Vec<u8>,
    /// `c=`: of the header.
    pub header_form: Canonicalization,
    /// `c=`: of the body.
    pub body_form: Canonicalization,
    /// `d=`, A-labels in lower case.
    pub domain: String,
    /// `i=`, as it stands; the domain behind an `@` if it is not there.
    pub identity: String,
    /// `s=`, A-labels in lower case.
    pub selector: String,
    /// `h=`, in order.
    pub fields: Vec<String>,
    /// `l=`: how many octets of the canonical body are signed; none: all.
    pub body_length: Option<u64>,
    /// `t=`, seconds since 1970.
    pub signed_at: Option<u64>,
    /// `x=`, seconds since 1970.
    pub expires_at: Option<u64>,
}

/// Which field is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignatureKind {
    /// `DKIM-Signature`
    Dkim,
    /// `ARC-Message-Signature`: no version, `i=` is a number, `From` need not be signed twice over.
    Arc,
}

/// Why a field is no signature that can be verified.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// The list of tags.
    #[error("the signature cannot be read")]
    Malformed,
    /// A tag.
    #[error("tag {0}= is missing or wrong")]
    Tag(&'static str),
    /// An algorithm that must not be used any more or that nobody knows (RFC 8301 §3.1).
    #[error("algorithm {0} is not accepted")]
    Algorithm(String),
    /// `h=` lacks `From` (RFC 6376 §5.4).
    #[error("From is not signed")]
    FromUnsigned,
    /// `i=` is outside of `d=` (RFC 6376 §3.5).
    #[error("the identity is outside of the domain")]
    Identity,
    /// More than the limit.
    #[error("the signature is too long")]
    TooLong,
}

impl Signature {
    /// Reads a field's unfolded value.
    ///
    /// # Errors
    /// When it cannot be verified; the error says why.
    pub fn parse(value: &str, kind: SignatureKind, limits: &Limits) -> Result<Self, SignatureError> {
        if value.len() > limits.signature_octets_max {
            return Err(SignatureError::TooLong);
        }
        let tags = Tags::parse(value).ok_or(SignatureError::Malformed)?;
        if kind == SignatureKind::Dkim && tags.value("v") != Some("1") {
            return Err(SignatureError::Tag("v"));
        }
        let (header_form, body_form) = forms(&tags)?;
        let domain = tags.value("d").and_then(name_of).ok_or(SignatureError::Tag("d"))?;
        let signature = Self {
            algorithm: algorithm(&tags)?,
            signature: octets(&tags, "b")?,
            body_hash: octets(&tags, "bh")?,
            header_form,
            body_form,
            identity: identity(&tags, &domain, kind)?,
            domain,
            selector: tags.value("s").and_then(name_of).ok_or(SignatureError::Tag("s"))?,
            fields: fields(&tags, kind, limits)?,
            body_length: number(&tags, "l")?,
            signed_at: number(&tags, "t")?,
            expires_at: number(&tags, "x")?,
        };
        signature.check(&tags)
    }

    fn check(self, tags: &Tags<'_>) -> Result<Self, SignatureError> {
        if tags.value("q").is_some_and(|methods| !tags::colons(methods).any(|method| method == "dns/txt")) {
            return Err(SignatureError::Tag("q"));
        }
        if self.expires_at.zip(self.signed_at).is_some_and(|(expires, signed)| expires < signed) {
            return Err(SignatureError::Tag("x"));
        }
        Ok(self)
    }

    /// The name of its key.
    pub fn key_name(&self) -> String {
        key_name(&self.selector, &self.domain)
    }
}

/// Where the key of a selector is (RFC 6376 §3.6.2.1).
pub fn key_name(selector: &str, domain: &str) -> String {
    format!("{selector}._domainkey.{domain}")
}

pub(crate) fn algorithm(tags: &Tags<'_>) -> Result<Algorithm, SignatureError> {
    match tags.value("a").ok_or(SignatureError::Tag("a"))?.to_ascii_lowercase().as_str() {
        "rsa-sha256" => Ok(Algorithm::RsaSha256),
        "ed25519-sha256" => Ok(Algorithm::Ed25519Sha256),
        other => Err(SignatureError::Algorithm(other.chars().filter(char::is_ascii_graphic).take(30).collect())),
    }
}

pub(crate) fn octets(tags: &Tags<'_>, name: &'static str) -> Result<Vec<u8>, SignatureError> {
    tags.value(name).and_then(tags::base64).filter(|octets| !octets.is_empty()).ok_or(SignatureError::Tag(name))
}

pub(crate) fn number(tags: &Tags<'_>, name: &'static str) -> Result<Option<u64>, SignatureError> {
    let Some(text) = tags.value(name) else { return Ok(None) };
    let digits = !text.is_empty() && text.len() <= 76 && text.bytes().all(|b| b.is_ascii_digit());
    if digits { Ok(Some(text.parse().unwrap_or(u64::MAX))) } else { Err(SignatureError::Tag(name)) }
}

fn forms(tags: &Tags<'_>) -> Result<(Canonicalization, Canonicalization), SignatureError> {
    let wrong = SignatureError::Tag("c");
    let text = tags.value("c").unwrap_or("simple/simple").to_ascii_lowercase();
    let (header, body) = text.split_once('/').unwrap_or((&text, "simple"));
    Canonicalization::parse(header.trim()).zip(Canonicalization::parse(body.trim())).ok_or(wrong)
}

fn identity(tags: &Tags<'_>, domain: &str, kind: SignatureKind) -> Result<String, SignatureError> {
    let written = tags.value("i").filter(|_| kind == SignatureKind::Dkim);
    let Some(written) = written else { return Ok(format!("@{domain}")) };
    let (_, identity_domain) = written.rsplit_once('@').ok_or(SignatureError::Identity)?;
    let within = name_of(identity_domain).is_some_and(|identity_domain| is_within(&identity_domain, domain));
    if within { Ok(written.to_owned()) } else { Err(SignatureError::Identity) }
}

fn fields(tags: &Tags<'_>, kind: SignatureKind, limits: &Limits) -> Result<Vec<String>, SignatureError> {
    let text = tags.value("h").filter(|text| !text.is_empty()).ok_or(SignatureError::Tag("h"))?;
    let fields: Vec<String> = tags::colons(text).take(limits.signed_fields_max + 1).map(str::to_ascii_lowercase).collect();
    if fields.len() > limits.signed_fields_max {
        return Err(SignatureError::TooLong);
    }
    let has = |name: &str| fields.iter().any(|field| field == name);
    if !has("from") {
        return Err(SignatureError::FromUnsigned);
    }
    // RFC 8617 §4.1.2: a message signature covers no seal.
    if kind == SignatureKind::Arc && has("arc-seal") {
        return Err(SignatureError::Tag("h"));
    }
    Ok(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_or_refused() {
        let good = "v=1; a=rsa-sha256; d=Example.org; s=Sel; h=from:to; bh=AAAA; b=AA==";
        let check = |value: &str, want: Result<&str, &str>| {
            let parsed = Signature::parse(value, SignatureKind::Dkim, &Limits::default());
            let shown = parsed.map(|signature| signature.key_name()).map_err(|error| error.to_string());
            assert_eq!(shown, want.map(str::to_owned).map_err(str::to_owned), "{value}");
        };
        let name = Ok("sel._domainkey.example.org");
        check(good, name);
        check(&format!("{good}; i=joe@sub.example.org; c=relaxed; l=0; t=1; x=2; q=dns/txt"), name);
        for (tag, want) in [
            ("; i=joe@example.com", "the identity is outside of the domain"),
            ("; i=joe", "the identity is outside of the domain"),
            ("; c=odd", "tag c= is missing or wrong"),
            ("; x=1; t=2", "tag x= is missing or wrong"),
            ("; l=-1", "tag l= is missing or wrong"),
            ("; q=http", "tag q= is missing or wrong"),
            ("; v=1", "the signature cannot be read"),
        ] {
            check(&format!("{good}{tag}"), Err(want));
        }
        check(&good.replace("from:to", "to"), Err("From is not signed"));
        check(&good.replace("rsa-sha256", "rsa-sha1"), Err("algorithm rsa-sha1 is not accepted"));
        check(&good.replace("v=1", "v=2"), Err("tag v= is missing or wrong"));
        check(&good.replace("b=AA==", "b=!"), Err("tag b= is missing or wrong"));
        check("", Err("the signature cannot be read"));
    }
}
