//! The client's side of a handshake, and whom it trusts.
//!
//! A [`Client`] either refuses a server whose certificate does not verify, or (opportunistic TLS,
//! RFC 7435) goes on and records in [`Tls::verified`] that it did not. By [`Client::dane`] a server is
//! verified by its TLSA records, whatever the authorities say.

use super::Dane;
use super::accept::{client_facts, provider};
use crate::socket::Socket;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, OtherError, RootCertStore, SignatureScheme};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio_rustls::TlsConnector;
use wire::Tls;

/// The authorities whose certificates we trust.
#[derive(Debug, Clone)]
pub struct Trust(Arc<WebPkiServerVerifier>);

/// Why there is no trust.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The file of extra authorities cannot be read.
    #[error("{}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The verifier could not be made.
    #[error("{0}")]
    Verifier(String),
}

impl Trust {
    /// The system's authorities (Mozilla's if the system has none) and those in the PEM file `extra`.
    ///
    /// # Errors
    /// When `extra` cannot be read or holds no certificate.
    pub fn system(extra: Option<&Path>) -> Result<Self, TrustError> {
        let mut roots = RootCertStore::empty();
        let found = rustls_native_certs::load_native_certs();
        for error in &found.errors {
            tracing::debug!(%error, "a system certificate was skipped");
        }
        roots.add_parsable_certificates(found.certs);
        if roots.is_empty() {
            roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        }
        Self::with_extra(roots, extra)
    }

    /// Only the authorities in the PEM file `extra`.
    ///
    /// # Errors
    /// When `extra` cannot be read or holds no certificate.
    pub fn only(extra: &Path) -> Result<Self, TrustError> {
        Self::with_extra(RootCertStore::empty(), Some(extra))
    }

    /// Only these authorities.
    ///
    /// # Errors
    /// When one of them cannot be an authority's certificate, or there is none.
    pub fn of(authorities: impl IntoIterator<Item = CertificateDer<'static>>) -> Result<Self, TrustError> {
        let mut roots = RootCertStore::empty();
        authorities.into_iter().try_for_each(|one| roots.add(one)).map_err(|error| TrustError::Verifier(error.to_string()))?;
        Self::with_roots(roots)
    }

    fn with_extra(mut roots: RootCertStore, extra: Option<&Path>) -> Result<Self, TrustError> {
        if let Some(path) = extra {
            add_file(&mut roots, path).map_err(|reason| TrustError::File { path: path.to_owned(), reason })?;
        }
        Self::with_roots(roots)
    }

    fn with_roots(roots: RootCertStore) -> Result<Self, TrustError> {
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider());
        verifier.build().map(Self).map_err(|error| TrustError::Verifier(error.to_string()))
    }

    /// Whether a chain, the server's own certificate first, is trusted for `name` now.
    pub fn verifies(&self, chain: &[CertificateDer<'_>], name: &ServerName<'_>) -> bool {
        let Some((own, intermediates)) = chain.split_first() else { return false };
        self.0.verify_server_cert(own, intermediates, name, &[], UnixTime::now()).is_ok()
    }
}

pub(super) fn add_file(roots: &mut RootCertStore, path: &Path) -> Result<(), String> {
    let pem = std::fs::read(path).map_err(|error| error.to_string())?;
    let mut added = 0;
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| error.to_string())?;
        roots.add(certificate).map_err(|error| error.to_string())?;
        added += 1;
    }
    if added == 0 { Err("no certificate in it".to_owned()) } else { Ok(()) }
}

/// Makes handshakes as the client. Clones are cheap.
#[derive(Debug, Clone)]
pub struct Client {
    config: Arc<ClientConfig>,
    trust: Trust,
    /// The server is verified by its TLSA records.
    by_dane: bool,
}

impl Client {
    /// Goes on without verification; [`Tls::verified`] says what it would have said.
    ///
    /// # Errors
    /// When the cryptographic library offers no TLS version.
    pub fn opportunistic(trust: Trust) -> Result<Self, rustls::Error> {
        let verifier = Arc::new(AnyCertificate(Arc::clone(&trust.0)));
        Self::with_verifier(trust, verifier)
    }

    /// Refuses a server whose certificate does not verify.
    ///
    /// # Errors
    /// When the cryptographic library offers no TLS version.
    pub fn verified(trust: Trust) -> Result<Self, rustls::Error> {
        let verifier = Arc::clone(&trust.0);
        Self::with_verifier(trust, verifier)
    }

    /// Refuses a server that its TLSA records do not speak of. Made for one server: it is not shared.
    ///
    /// # Errors
    /// When the cryptographic library offers no TLS version.
    pub fn dane(trust: Trust, dane: Dane) -> Result<Self, rustls::Error> {
        let verifier = Arc::new(ByRecords { dane, signatures: AnyCertificate(Arc::clone(&trust.0)) });
        let client = Self::with_verifier(trust, verifier)?;
        Ok(Self { by_dane: true, ..client })
    }

    /// Whom this client trusts.
    pub fn trust(&self) -> &Trust {
        &self.trust
    }

    fn with_verifier(trust: Trust, verifier: Arc<dyn ServerCertVerifier>) -> Result<Self, rustls::Error> {
        let config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        Ok(Self { config: Arc::new(config), trust, by_dane: false })
    }

    /// Takes part in a handshake as the client. Bounding its time is the caller's business.
    ///
    /// # Errors
    /// When the peer does not agree, goes away, or is not whom it should be.
    pub async fn connect(&self, name: ServerName<'static>, socket: Socket) -> io::Result<(Socket, Tls)> {
        let connector = TlsConnector::from(Arc::clone(&self.config));
        match socket {
            Socket::Plain(stream) => {
                let stream = connector.connect(name.clone(), stream).await?;
                let tls = self.facts(stream.get_ref().1, &name);
                Ok((Socket::Tls(Box::new(stream.into())), tls))
            }
            other => {
                let stream = connector.connect(name.clone(), other).await?;
                let tls = self.facts(stream.get_ref().1, &name);
                Ok((Socket::any(stream), tls))
            }
        }
    }

    fn facts(&self, connection: &rustls::ClientConnection, name: &ServerName<'static>) -> Tls {
        let verified = self.by_dane || connection.peer_certificates().is_some_and(|chain| self.trust.verifies(chain, name));
        Tls { verified, server_name: Some(name.to_str().into_owned()), ..client_facts(connection) }
    }
}

/// What was wrong with a server's certificate, or with the handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// It is out of date.
    Expired,
    /// It is for another name.
    Name,
    /// No authority that we trust vouches for it.
    Untrusted,
    /// No TLSA record speaks of it.
    Dane,
    /// Anything else: no common version, the peer went away, nonsense.
    Other,
}

/// What was wrong in a handshake that failed.
pub fn fault(error: &io::Error) -> Fault {
    let Some(rustls::Error::InvalidCertificate(error)) = error.get_ref().and_then(|inner| inner.downcast_ref()) else {
        return Fault::Other;
    };
    match error {
        CertificateError::Expired
        | CertificateError::ExpiredContext { .. }
        | CertificateError::NotValidYet
        | CertificateError::NotValidYetContext { .. } => Fault::Expired,
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => Fault::Name,
        CertificateError::Other(OtherError(inner)) if inner.is::<super::DaneError>() => Fault::Dane,
        _ => Fault::Untrusted,
    }
}

/// Why a handshake failed, in words for people.
pub fn words(error: &io::Error) -> String {
    let dane = || match error.get_ref().and_then(|inner| inner.downcast_ref()) {
        Some(rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(inner)))) => inner.to_string(),
        _ => error.to_string(),
    };
    match fault(error) {
        Fault::Expired => "the server's certificate is out of date".to_owned(),
        Fault::Name => "the server's certificate is for another name".to_owned(),
        Fault::Untrusted => format!("no authority that is trusted here vouches for the server's certificate ({error})"),
        Fault::Dane => dane(),
        Fault::Other => error.to_string(),
    }
}

/// Takes the certificate that TLSA records speak of.
#[derive(Debug)]
struct ByRecords {
    dane: Dane,
    signatures: AnyCertificate,
}

impl ServerCertVerifier for ByRecords {
    fn verify_server_cert(
        &self,
        own: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let chain: Vec<CertificateDer<'_>> = [own].into_iter().chain(intermediates).cloned().collect();
        let verified = self.dane.verify(&chain, now).map(|_| ServerCertVerified::assertion());
        verified.map_err(|error| rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(error)))))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.signatures.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.signatures.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.signatures.supported_verify_schemes()
    }
}

/// Takes any certificate, but the peer must hold its key.
#[derive(Debug)]
struct AnyCertificate(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _own: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
