//! SPF: may this address send for this domain? (RFC 7208 with its errata.)
//!
//! [`record`] reads policies, [`macros`] expands their texts, [`evaluate`] decides. Not a verdict about a
//! message: a `fail` alone refuses nothing here.
//!
//! Invariants: one evaluation stays within [`Limits`]; a failure of DNS is `temperror`, never a pass.

mod evaluate;
pub mod macros;
pub mod record;

use crate::dns::{Dns, Open};
use mail::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::IpAddr;

/// The result of an evaluation (RFC 7208 §2.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SpfResult {
    /// No policy, or no domain to ask for.
    None,
    /// The domain says nothing about this address.
    Neutral,
    /// The address may send.
    Pass,
    /// The address may not send.
    Fail,
    /// The address probably may not send.
    SoftFail,
    /// DNS gave no answer.
    TempError,
    /// The policy cannot be understood.
    PermError,
}

impl SpfResult {
    /// The word in header fields (RFC 8601 §2.7.2).
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Neutral => "neutral",
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::SoftFail => "softfail",
            Self::TempError => "temperror",
            Self::PermError => "permerror",
        }
    }
}

impl fmt::Display for SpfResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Which name was checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Identity {
    /// What the peer called itself (RFC 7208 §2.3).
    Helo,
    /// The reverse-path (RFC 7208 §2.4).
    MailFrom,
}

/// What is known of the peer.
#[derive(Debug, Clone, Copy)]
pub struct Session<'a> {
    /// Its address; an IPv4 address mapped into IPv6 counts as IPv4.
    pub peer: IpAddr,
    /// What it called itself in HELO or EHLO.
    pub helo: &'a str,
    /// Our own name, for `%{r}`.
    pub receiver: &'a str,
    /// When, for `%{t}`.
    pub now: Timestamp,
}

/// What an evaluation may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most terms that ask DNS. Default 10 (RFC 7208 §4.6.4); beyond: `permerror`.
    pub lookups_max: u32,
    /// Most lookups without an answer. Default 2 (RFC 7208 §4.6.4); beyond: `permerror`.
    pub void_lookups_max: u32,
    /// Most hosts of one `mx`. Default 10 (RFC 7208 §4.6.4); beyond: `permerror`.
    pub mx_hosts_max: usize,
    /// Most names of the address that are looked at for `ptr` and `%{p}`. Default 10 (RFC 7208 §4.6.4);
    /// the others are passed over.
    pub ptr_names_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { lookups_max: 10, void_lookups_max: 2, mx_hosts_max: 10, ptr_names_max: 10 }
    }
}

/// The outcome of one evaluation and what it rests on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spf {
    /// Which name was checked.
    pub identity: Identity,
    /// The domain whose policy was asked for, as given.
    pub domain: String,
    /// The result.
    pub result: SpfResult,
    /// The term that decided, as the policy writes it; none if no term matched.
    pub term: Option<String>,
    /// The domain's own words for a `fail` (RFC 7208 §6.2).
    pub explanation: Option<String>,
    /// What is wrong with the policy or DNS, in words.
    pub problem: Option<String>,
    /// How many terms asked DNS.
    pub lookups: u32,
}

/// Checks what the peer called itself.
///
/// # Errors
/// While answers are missing.
pub fn check_helo(dns: &mut Dns<'_>, session: &Session<'_>, limits: &Limits) -> Result<Spf, Open> {
    let sender = format!("postmaster@{}", session.helo);
    evaluate::check_host(dns, session, &sender, Identity::Helo, limits)
}

/// Checks the reverse-path, `local-part@domain`; an empty one stands for `postmaster` at the HELO name
/// (RFC 7208 §2.4).
///
/// # Errors
/// While answers are missing.
pub fn check_mail_from(dns: &mut Dns<'_>, session: &Session<'_>, reverse_path: &str, limits: &Limits) -> Result<Spf, Open> {
    let sender = match reverse_path.rsplit_once('@') {
        None if reverse_path.is_empty() => format!("postmaster@{}", session.helo),
        None => format!("postmaster@{reverse_path}"),
        Some(("", domain)) => format!("postmaster@{domain}"),
        Some(_) => reverse_path.to_owned(),
    };
    evaluate::check_host(dns, session, &sender, Identity::MailFrom, limits)
}
