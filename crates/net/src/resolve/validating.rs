//! Asks name servers and checks the signatures of what they say (RFC 4035), so that no server on the
//! way need be trusted.
//!
//! Not an iterative resolver: the servers asked must hand over signatures (all that are fit for DNSSEC
//! do, whether they check them or not). The checking is hickory's.
//!
//! ```text
//!   Auto:  untried ──the root is secure──▶ proven        (for good)
//!             ▲           │ it is not
//!             └─ a while ─┘ answers are indeterminate
//! ```

use super::resolver::{Dnssec, ResolverError, Settings, build, typed};
use super::{Checked, DnsError, Security};
use hickory_proto::dnssec::{Proof, TrustAnchors};
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{Name, Record, RecordType};
use hickory_resolver::TokioResolver;
use hickory_resolver::net::{DnsError as Failure, NetError};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// How long servers that strip signatures are not asked for them again. Default 10 minutes, our own choice.
const TRY_AGAIN_AFTER: Duration = Duration::from_mins(10);

/// Asks and checks.
pub(super) struct Validating {
    resolver: TokioResolver,
    mode: Dnssec,
    proven: AtomicBool,
    /// When the servers were last found to strip signatures.
    stripped: Mutex<Option<Instant>>,
}

impl fmt::Debug for Validating {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Validating({:?})", self.mode)
    }
}

impl Validating {
    /// Sets it up; nothing is asked yet.
    pub(super) fn new(settings: &Settings) -> Result<Self, ResolverError> {
        let anchors = match &settings.trust_anchors {
            None => TrustAnchors::default(),
            Some(path) => {
                TrustAnchors::from_file(path).map_err(|error| ResolverError(format!("trust anchors in {}: {error}", path.display())))?
            }
        };
        let options = |options: &mut hickory_resolver::config::ResolverOpts| {
            options.validate = true;
            options.edns0 = true;
        };
        let resolver = build(settings, options, Some(Arc::new(anchors)))?;
        Ok(Self { resolver, mode: settings.dnssec, proven: AtomicBool::new(false), stripped: Mutex::new(None) })
    }

    /// Asks and checks; `None`: the servers strip signatures, so that nothing can be checked.
    pub(super) async fn ask(&self, name: Name, kind: RecordType) -> Option<Checked<Vec<Record>>> {
        if self.mode == Dnssec::Auto && !self.can_check().await {
            return None;
        }
        Some(match self.resolver.lookup(name, kind).await {
            Ok(answer) => positive(answer.answers()),
            Err(error) => negative(&error),
        })
    }

    async fn can_check(&self) -> bool {
        if self.proven.load(Ordering::Relaxed) {
            return true;
        }
        if self.stripped().is_some_and(|at| at.elapsed() < TRY_AGAIN_AFTER) {
            return false;
        }
        let root = self.resolver.lookup(Name::root(), RecordType::SOA).await;
        let secure = matches!(&root, Ok(answer) if positive(answer.answers()).security == Security::Secure);
        if secure {
            self.proven.store(true, Ordering::Relaxed);
            tracing::info!("DNSSEC works with the configured DNS servers: DANE is used");
        } else {
            *self.stripped.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
            tracing::warn!("the DNS servers do not hand over the signed root zone: DNSSEC cannot be checked and DANE is not used");
        }
        secure
    }

    fn stripped(&self) -> Option<Instant> {
        *self.stripped.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The records without signatures; the weakest proof counts.
fn positive(answers: &[Record]) -> Checked<Vec<Record>> {
    let records: Vec<Record> = answers.iter().filter(|record| record.record_type() != RecordType::RRSIG).cloned().collect();
    let security = records.iter().map(|record| security(record.proof)).min().unwrap_or(Security::Indeterminate);
    if security == Security::Bogus {
        Checked::bogus("the signatures of the answer do not hold")
    } else {
        Checked { found: Ok(records), security }
    }
}

/// No records: how sure that is follows from the records that prove it.
fn negative(error: &NetError) -> Checked<Vec<Record>> {
    match error {
        NetError::Dns(Failure::NoRecordsFound(none)) => {
            let proofs = none.authorities.iter().flat_map(|records| records.iter());
            let weakest = proofs.filter(|record| record.record_type() != RecordType::RRSIG).map(|record| security(record.proof)).min();
            let found = Err(typed(error));
            match weakest {
                Some(Security::Bogus) => Checked::bogus("the proof that there is no such record does not hold"),
                weakest => Checked { found, security: weakest.unwrap_or(Security::Indeterminate) },
            }
        }
        NetError::Dns(Failure::Nsec { proof: Proof::Insecure, response, .. }) => {
            let missing = if response.response_code == ResponseCode::NXDomain { DnsError::NotFound } else { DnsError::NoData };
            Checked { found: Err(missing), security: Security::Insecure }
        }
        NetError::Dns(Failure::Nsec { .. } | Failure::DnssecBogus) => Checked::bogus("the signatures of the answer do not hold"),
        other => Checked::unchecked(Err(typed(other))),
    }
}

fn security(proof: Proof) -> Security {
    match proof {
        Proof::Secure => Security::Secure,
        Proof::Insecure => Security::Insecure,
        Proof::Bogus => Security::Bogus,
        Proof::Indeterminate => Security::Indeterminate,
    }
}
