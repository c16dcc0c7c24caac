//! The certificates we show, by name, exchangeable while the server runs.
//!
//! Not ACME: somebody else puts the files there.

use super::accept::provider;
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::collections::HashMap;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{SystemTime, UNIX_EPOCH};

/// How long a self-signed certificate is valid: until it is replaced by a real one, and not so long
/// that a client's calendar overflows.
const SELF_SIGNED_YEARS: i32 = 10;

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{}: {reason}", path.display())]
pub struct CertificateError {
    /// The file at fault.
    pub path: PathBuf,
    /// What is wrong with it.
    pub reason: String,
}

/// A chain and its key, in PEM files, and the names it is shown for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// The chain, the server's own certificate first.
    pub certificate: PathBuf,
    /// The private key: PKCS#8, PKCS#1 or SEC1.
    pub key: PathBuf,
    /// The SNI names it is shown for; empty: for all others.
    pub names: Vec<String>,
}

/// The certificates we show. The first one loaded is shown to who asks for no name or an unknown one.
#[derive(Debug)]
pub struct Certificates(RwLock<Arc<Shown>>);

#[derive(Debug)]
struct Shown {
    default: Arc<CertifiedKey>,
    by_name: HashMap<String, Arc<CertifiedKey>>,
}

impl Certificates {
    /// Reads the first pair, shown by default, and more for the names they carry.
    ///
    /// # Errors
    /// Names the file and what is wrong with it; a key that does not belong to its certificate is
    /// an error of the key.
    pub fn load(default: &Pair, more: &[Pair]) -> Result<Arc<Self>, CertificateError> {
        Ok(Arc::new(Self(RwLock::new(Arc::new(Shown::load(default, more)?)))))
    }

    /// One chain, the server's own certificate first, shown to everybody; its key in any form of DER.
    ///
    /// # Errors
    /// When the key is none that can be used.
    pub fn of(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Result<Arc<Self>, rustls::Error> {
        let default = Arc::new(CertifiedKey::new(chain, provider().key_provider.load_private_key(key)?));
        Ok(Arc::new(Self(RwLock::new(Arc::new(Shown { default, by_name: HashMap::new() })))))
    }

    /// Reads them again. New handshakes see the new ones; on an error the old ones stay.
    ///
    /// # Errors
    /// As [`Certificates::load`].
    pub fn reload(&self, default: &Pair, more: &[Pair]) -> Result<(), CertificateError> {
        let shown = Arc::new(Shown::load(default, more)?);
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = shown;
        Ok(())
    }

    fn shown(&self) -> Arc<Shown> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Shown {
    fn load(default: &Pair, more: &[Pair]) -> Result<Self, CertificateError> {
        let default_key = Arc::new(load_pair(default)?);
        let mut by_name: HashMap<_, _> = default.names.iter().map(|name| (lower(name), Arc::clone(&default_key))).collect();
        for pair in more {
            let key = Arc::new(load_pair(pair)?);
            by_name.extend(pair.names.iter().map(|name| (lower(name), Arc::clone(&key))));
        }
        Ok(Self { default: default_key, by_name })
    }

    /// The certificate for a name, a wildcard for its parent, or the default.
    fn choose(&self, name: Option<&str>) -> Arc<CertifiedKey> {
        let exact = name.map(lower);
        let wildcard = exact.as_deref().and_then(|name| name.split_once('.')).map(|(_, parent)| format!("*.{parent}"));
        let found = [exact, wildcard].into_iter().flatten().find_map(|name| self.by_name.get(&name));
        Arc::clone(found.unwrap_or(&self.default))
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.shown().choose(hello.server_name()))
    }
}

fn lower(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}

fn load_pair(pair: &Pair) -> Result<CertifiedKey, CertificateError> {
    let chain = load_chain(&pair.certificate).map_err(|reason| CertificateError { path: pair.certificate.clone(), reason })?;
    let of_key = |reason| CertificateError { path: pair.key.clone(), reason };
    let pem = std::fs::read(&pair.key).map_err(|error| of_key(error.to_string()))?;
    let key = PrivateKeyDer::from_pem_slice(&pem).map_err(|error| of_key(format!("no private key in it: {error}")))?;
    let key = provider().key_provider.load_private_key(key).map_err(|error| of_key(error.to_string()))?;
    let certified = CertifiedKey::new(chain, key);
    match certified.keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => Ok(certified),
        Err(rustls::Error::InconsistentKeys(_)) => {
            Err(of_key(format!("this key does not belong to the certificate in {}", pair.certificate.display())))
        }
        Err(error) => Err(CertificateError { path: pair.certificate.clone(), reason: error.to_string() }),
    }
}

fn load_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let pem = std::fs::read(path).map_err(|error| error.to_string())?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let chain = chain.map_err(|error| error.to_string())?;
    if chain.is_empty() { Err("no certificate in it".to_owned()) } else { Ok(chain) }
}

/// Makes a self-signed certificate for `names` (host names or addresses) unless both files exist.
/// The key's file can be read by its owner only.
///
/// # Errors
/// Names the file that could not be written.
pub fn self_signed(certificate: &Path, key: &Path, names: &[String]) -> Result<(), CertificateError> {
    if certificate.exists() && key.exists() {
        return Ok(());
    }
    let failed = |path: &Path, reason: String| CertificateError { path: path.to_owned(), reason };
    let made = generate(names).map_err(|error| failed(certificate, error.to_string()))?;
    write_new(key, &made.1, 0o600).map_err(|error| failed(key, error.to_string()))?;
    write_new(certificate, &made.0, 0o644).map_err(|error| failed(certificate, error.to_string()))
}

/// A certificate and its key, PEM.
fn generate(names: &[String]) -> Result<(String, String), rcgen::Error> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(names.to_vec())?;
    let year = this_year();
    params.not_before = rcgen::date_time_ymd(year, 1, 1);
    params.not_after = rcgen::date_time_ymd(year + SELF_SIGNED_YEARS, 1, 1);
    if let Some(name) = names.first() {
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::CommonName, name.as_str());
    }
    Ok((params.self_signed(&key)?.pem(), key.serialize_pem()))
}

/// About: a day early or late at the turn of the year does no harm.
fn this_year() -> i32 {
    const SECONDS_OF_A_YEAR: u64 = 31_556_952;
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    1970 + i32::try_from(since_epoch / SECONDS_OF_A_YEAR).unwrap_or_default()
}

/// Writes a file whole: a reader sees the old one or the new one.
fn write_new(path: &Path, text: &str, mode: u32) -> std::io::Result<()> {
    let mut beside = path.to_owned().into_os_string();
    beside.push(".new");
    let _ = std::fs::remove_file(&beside);
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&beside)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&beside, path)
}
