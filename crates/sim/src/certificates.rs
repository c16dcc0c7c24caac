//! The authority of a world, and what hosts show when they are asked for TLS.
//!
//! The keys are Ed25519 and the serial numbers fixed, so that every handshake has the same number of
//! octets: a connection that breaks at an octet breaks at the same one in every run. (The keys
//! themselves are not from the seed: nothing that happens depends on them.)

use net::Tlsa;
use net::tls::{Certificates, Client, Trust};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, PKCS_ED25519, SerialNumber};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde::Deserialize;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// What a host shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Shown {
    /// It does not offer STARTTLS.
    #[default]
    None,
    /// A certificate for its name, by an authority that everybody trusts.
    Good,
    /// The same, out of date.
    Expired,
    /// A certificate for another name.
    OtherName,
    /// A certificate that nobody vouches for.
    SelfSigned,
}

/// Years in which a good certificate is valid, and an expired one was.
const YEARS_GOOD: (i32, i32) = (2000, 2100);
const YEARS_EXPIRED: (i32, i32) = (2000, 2001);

/// The authority. One is enough for all worlds of a process.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    serial: Mutex<u64>,
}

/// A certificate with its key.
pub(crate) struct Identity {
    /// For STARTTLS.
    pub(crate) config: Arc<rustls::ServerConfig>,
    /// The record that names it (`3 1 1`).
    pub(crate) record: Tlsa,
}

impl Authority {
    /// The authority that everybody trusts.
    pub(crate) fn of_the_world() -> &'static Self {
        static AUTHORITY: OnceLock<Authority> = OnceLock::new();
        AUTHORITY.get_or_init(Self::new)
    }

    fn new() -> Self {
        let mut params = dated(CertificateParams::default(), YEARS_GOOD);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "authority of the simulation");
        let issuer = CertifiedIssuer::self_signed(params, key()).expect("an authority");
        Self { issuer, serial: Mutex::new(1 << 32) }
    }

    /// TLS as every host's client side does it.
    pub(crate) fn clients(&self) -> mta::deliver::Tls {
        let trust = Trust::of([self.issuer.der().clone()]).expect("an authority");
        mta::deliver::Tls {
            opportunistic: Client::opportunistic(trust.clone()).expect("TLS"),
            verified: Client::verified(trust).expect("TLS"),
        }
    }

    /// A certificate for a name; none where there is no TLS.
    pub(crate) fn identity(&self, name: &str, shown: Shown) -> Option<Identity> {
        let (name, years) = match shown {
            Shown::None => return None,
            Shown::Good | Shown::SelfSigned => (name, YEARS_GOOD),
            Shown::Expired => (name, YEARS_EXPIRED),
            Shown::OtherName => ("other.example", YEARS_GOOD),
        };
        let mut params = dated(CertificateParams::new(vec![name.to_owned()]).expect("a host name"), years);
        params.serial_number = Some(self.next_serial());
        let own = key();
        let made = if shown == Shown::SelfSigned { params.self_signed(&own) } else { params.signed_by(&own, &self.issuer) };
        Some(identity(made.expect("a certificate").der().clone(), &own))
    }

    fn next_serial(&self) -> SerialNumber {
        let mut serial = self.serial.lock().unwrap_or_else(PoisonError::into_inner);
        *serial += 1;
        SerialNumber::from(*serial)
    }
}

fn identity(own: CertificateDer<'static>, key: &KeyPair) -> Identity {
    let record = net::tls::record_of(&own).expect("a certificate that can be read");
    let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a private key");
    let certificates = Certificates::of(vec![own], key).expect("a key of a kind that is known");
    Identity { config: net::tls::server_config(certificates).expect("TLS"), record }
}

fn key() -> KeyPair {
    KeyPair::generate_for(&PKCS_ED25519).expect("a key")
}

fn dated(mut params: CertificateParams, years: (i32, i32)) -> CertificateParams {
    params.not_before = rcgen::date_time_ymd(years.0, 1, 1);
    params.not_after = rcgen::date_time_ymd(years.1, 1, 1);
    params.serial_number = Some(SerialNumber::from(1_u64 << 32));
    params
}
