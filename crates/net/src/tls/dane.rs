//! Verifies a server by TLSA records instead of by authorities (RFC 6698, RFC 7671, RFC 7672 §3). Pure.
//!
//! Not DNS: the records are given, and somebody has made sure that they are secure.
//!
//! - DANE-EE(3): the server's own certificate or key; names and times in it mean nothing (RFC 7672 §3.1.1).
//! - DANE-TA(2): a certificate of the chain; the chain up to it must hold and the name fit (RFC 7672 §3.1.2).
//!   A bare key (`2 1 0`) or digest is found in the chain that the server sends, nowhere else.
//! - PKIX-TA(0), PKIX-EE(1) and what is not known: unusable (RFC 7672 §3.1.3).

use super::accept::provider;
use crate::resolve::Tlsa;
use aws_lc_rs::digest;
use rustls::RootCertStore;
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;

/// The usages that have a meaning for SMTP.
const DANE_TA: u8 = 2;
const DANE_EE: u8 = 3;

/// What a server must show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dane {
    records: Vec<Tlsa>,
    names: Vec<ServerName<'static>>,
}

/// Why a server is not the one that the records speak of.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DaneError {
    /// No certificate, or one that cannot be read.
    #[error("the server's certificate cannot be read")]
    Certificate,
    /// No record matches.
    #[error("no TLSA record matches the server's certificate")]
    NoMatch,
    /// A DANE-TA record matches, but the chain does not lead to it.
    #[error("a TLSA record (DANE-TA) names an authority of the chain, but the chain does not hold: {0}")]
    Chain(String),
    /// A DANE-TA record matches, but the certificate is for another name.
    #[error("a TLSA record (DANE-TA) names an authority of the chain, but the certificate is for another name")]
    Name,
}

impl Dane {
    /// From a TLSA answer; `names` are those of which one must be in a certificate that an authority vouches
    /// for. `None`: no record is usable, so that the server can be asked for TLS but not verified
    /// (RFC 7672 §2.2).
    pub fn new(records: &[Tlsa], names: Vec<ServerName<'static>>) -> Option<Self> {
        let usable: Vec<Tlsa> = records.iter().filter(|record| is_usable(record)).cloned().collect();
        let records = strongest(&usable);
        (!records.is_empty()).then_some(Self { records, names })
    }

    /// The usable records.
    pub fn records(&self) -> &[Tlsa] {
        &self.records
    }

    /// The record by which the server is verified; `chain` has its own certificate first.
    ///
    /// # Errors
    /// When none does.
    pub fn verify(&self, chain: &[CertificateDer<'_>], now: UnixTime) -> Result<&Tlsa, DaneError> {
        let (own, above) = chain.split_first().ok_or(DaneError::Certificate)?;
        let parsed = ParsedCertificate::try_from(own).map_err(|_| DaneError::Certificate)?;
        if let Some(record) = self.of_usage(DANE_EE).find(|record| matches(record, own)) {
            return Ok(record);
        }
        let mut failure = DaneError::NoMatch;
        for record in self.of_usage(DANE_TA) {
            for authority in above.iter().filter(|certificate| matches(record, certificate)).cloned().chain(whole(record)) {
                match self.signed_by(&authority, &parsed, above, now) {
                    Ok(()) => return Ok(record),
                    Err(error) => failure = error,
                }
            }
        }
        Err(failure)
    }

    fn of_usage(&self, usage: u8) -> impl Iterator<Item = &Tlsa> {
        self.records.iter().filter(move |record| record.usage == usage)
    }

    fn signed_by(
        &self,
        authority: &CertificateDer<'_>,
        own: &ParsedCertificate<'_>,
        above: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), DaneError> {
        let mut roots = RootCertStore::empty();
        roots.add(authority.clone().into_owned()).map_err(|error| DaneError::Chain(error.to_string()))?;
        let algorithms = provider().signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(own, &roots, above, now, algorithms)
            .map_err(|error| DaneError::Chain(error.to_string()))?;
        let fits = self.names.iter().any(|name| verify_server_name(own, name).is_ok());
        if fits { Ok(()) } else { Err(DaneError::Name) }
    }
}

/// Whether a record has a meaning for SMTP (RFC 7672 §3.1) and a digest of the right length.
pub fn is_usable(record: &Tlsa) -> bool {
    let length_fits = match record.matching {
        0 => !record.data.is_empty(),
        1 => record.data.len() == 32,
        2 => record.data.len() == 64,
        _ => false,
    };
    matches!(record.usage, DANE_TA | DANE_EE) && record.selector <= 1 && length_fits
}

/// Of several digests of the same kind only the strongest count (RFC 7671 §9).
fn strongest(records: &[Tlsa]) -> Vec<Tlsa> {
    let stronger = |record: &Tlsa, other: &Tlsa| {
        (record.usage, record.selector) == (other.usage, other.selector) && record.matching == 1 && other.matching == 2
    };
    let outdone = |record: &Tlsa| records.iter().any(|other| stronger(record, other));
    records.iter().filter(|record| !outdone(record)).cloned().collect()
}

/// The certificate that a `2 0 0` record holds: the server need not send it.
fn whole(record: &Tlsa) -> Option<CertificateDer<'static>> {
    (record.selector == 0 && record.matching == 0).then(|| CertificateDer::from(record.data.clone()))
}

fn matches(record: &Tlsa, certificate: &CertificateDer<'_>) -> bool {
    let selected = match record.selector {
        0 => certificate.to_vec(),
        _ => match ParsedCertificate::try_from(certificate) {
            Ok(parsed) => parsed.subject_public_key_info().to_vec(),
            Err(_) => return false,
        },
    };
    match record.matching {
        0 => selected == record.data,
        1 => digest::digest(&digest::SHA256, &selected).as_ref() == record.data,
        _ => digest::digest(&digest::SHA512, &selected).as_ref() == record.data,
    }
}

/// The record that a server with this certificate (DER) publishes: `3 1 1`.
///
/// # Errors
/// When the certificate cannot be read.
pub fn record_of(certificate: &[u8]) -> Result<Tlsa, DaneError> {
    let certificate = CertificateDer::from(certificate);
    let parsed = ParsedCertificate::try_from(&certificate).map_err(|_| DaneError::Certificate)?;
    let data = digest::digest(&digest::SHA256, &parsed.subject_public_key_info()).as_ref().to_vec();
    Ok(Tlsa { usage: DANE_EE, selector: 1, matching: 1, data })
}

/// The same for the first certificate of a PEM file.
///
/// # Errors
/// When there is none that can be read.
pub fn record_of_file(path: &std::path::Path) -> Result<Tlsa, DaneError> {
    use rustls::pki_types::pem::PemObject as _;
    let certificate = CertificateDer::from_pem_file(path).map_err(|_| DaneError::Certificate)?;
    record_of(&certificate)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

    /// A server's certificate for mx.example.org under an authority, both valid in these years.
    fn chain(years: (i32, i32)) -> Vec<CertificateDer<'static>> {
        let mut authority = CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.distinguished_name.push(rcgen::DnType::CommonName, "authority");
        let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
        let mut own = CertificateParams::new(vec!["mx.example.org".to_owned()]).unwrap();
        own.not_before = rcgen::date_time_ymd(years.0, 1, 1);
        own.not_after = rcgen::date_time_ymd(years.1, 1, 1);
        let own = own.signed_by(&KeyPair::generate().unwrap(), &authority).unwrap();
        vec![own.der().clone(), authority.der().clone()]
    }

    fn record(usage: u8, selector: u8, matching: u8, certificate: &CertificateDer<'_>) -> Tlsa {
        let parsed = ParsedCertificate::try_from(certificate).unwrap();
        let selected = if selector == 0 { certificate.to_vec() } else { parsed.subject_public_key_info().to_vec() };
        let data = match matching {
            0 => selected,
            1 => digest::digest(&digest::SHA256, &selected).as_ref().to_vec(),
            _ => digest::digest(&digest::SHA512, &selected).as_ref().to_vec(),
        };
        Tlsa { usage, selector, matching, data }
    }

    fn dane(records: &[Tlsa], name: &str) -> Option<Dane> {
        Dane::new(records, vec![ServerName::try_from(name.to_owned()).unwrap()])
    }

    /// `ok`, `unusable`, or the error's first words.
    fn verified(records: &[Tlsa], chain: &[CertificateDer<'_>], name: &str) -> &'static str {
        match dane(records, name).map(|dane| dane.verify(chain, UnixTime::now()).map(|_| ())) {
            None => "unusable",
            Some(Ok(())) => "ok",
            Some(Err(DaneError::NoMatch)) => "no match",
            Some(Err(DaneError::Chain(_))) => "chain",
            Some(Err(DaneError::Name)) => "name",
            Some(Err(DaneError::Certificate)) => "certificate",
        }
    }

    #[test]
    fn every_usage_selector_and_matching_type() {
        let (good, expired, other) = (chain((2000, 2100)), chain((2000, 2001)), chain((2000, 2100)));
        for selector in [0, 1] {
            for matching in [0, 1, 2] {
                let ee = record(3, selector, matching, &good[0]);
                let ta = record(2, selector, matching, &good[1]);
                let words = format!("selector {selector} matching {matching}");
                for (case, records, shown, name, want) in [
                    ("EE", &ee, &good, "mx.example.org", "ok"),
                    ("EE: the name means nothing", &ee, &good, "other.example", "ok"),
                    ("EE: another certificate", &ee, &other, "mx.example.org", "no match"),
                    ("EE: the time means nothing", &record(3, selector, matching, &expired[0]), &expired, "mx.example.org", "ok"),
                    ("TA", &ta, &good, "mx.example.org", "ok"),
                    ("TA: another name", &ta, &good, "other.example", "name"),
                    ("TA: expired", &record(2, selector, matching, &expired[1]), &expired, "mx.example.org", "chain"),
                    ("TA: only the server's own", &record(2, selector, matching, &good[0]), &good, "mx.example.org", "no match"),
                    ("PKIX-TA", &record(0, selector, matching, &good[1]), &good, "mx.example.org", "unusable"),
                    ("PKIX-EE", &record(1, selector, matching, &good[0]), &good, "mx.example.org", "unusable"),
                ] {
                    // A whole certificate as `2 0 0` is an authority by itself, whoever it is.
                    let want = if case == "TA: only the server's own" && (selector, matching) == (0, 0) { "chain" } else { want };
                    assert_eq!(verified(std::slice::from_ref(records), shown, name), want, "{case}: {words}");
                }
            }
        }
    }

    #[test]
    fn an_authority_in_the_record_need_not_be_sent() {
        let chain = chain((2000, 2100));
        assert_eq!(verified(&[record(2, 0, 0, &chain[1])], &chain[..1], "mx.example.org"), "ok");
        assert_eq!(verified(&[record(2, 0, 1, &chain[1])], &chain[..1], "mx.example.org"), "no match");
    }

    #[test]
    fn a_stronger_digest_outdoes_a_weaker_one_of_its_kind() {
        let (good, other) = (chain((2000, 2100)), chain((2000, 2100)));
        let (weak, strong_of_other) = (record(3, 1, 1, &good[0]), record(3, 1, 2, &other[0]));
        assert_eq!(verified(&[weak.clone(), strong_of_other.clone()], &good, "x"), "no match");
        assert_eq!(verified(&[weak, Tlsa { selector: 0, ..strong_of_other }], &good, "x"), "ok");
    }

    #[test]
    fn records_that_cannot_be_used_are_left_out() {
        let good = chain((2000, 2100));
        let ee = record(3, 1, 1, &good[0]);
        for broken in [
            Tlsa { data: vec![1; 31], ..ee.clone() },
            Tlsa { matching: 3, ..ee.clone() },
            Tlsa { selector: 2, ..ee.clone() },
            Tlsa { usage: 4, ..ee.clone() },
            Tlsa { matching: 0, data: Vec::new(), ..ee.clone() },
        ] {
            assert_eq!(verified(std::slice::from_ref(&broken), &good, "x"), "unusable", "{broken}");
            assert_eq!(verified(&[broken, ee.clone()], &good, "x"), "ok");
        }
        assert_eq!(verified(&[ee], &[CertificateDer::from(vec![1, 2, 3])], "x"), "certificate");
        assert_eq!(record_of(&good[0]).unwrap(), record(3, 1, 1, &good[0]));
    }
}
