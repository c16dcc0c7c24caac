//! The server's side of a handshake.

use super::client::add_file;
use super::identity::client_addresses;
use super::{Certificates, TrustError};
use crate::socket::Socket;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{CommonState, RootCertStore, ServerConfig};
use std::io;
use std::path::Path;
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;
use wire::Tls;

/// The label of the `tls-exporter` channel binding (RFC 9266 §2).
const EXPORTER_LABEL: &[u8] = b"EXPORTER-Channel-Binding";

/// TLS 1.2 and 1.3 with the certificates of `store`; swapping those needs no new configuration.
///
/// # Errors
/// When the cryptographic library cannot make session tickets.
pub fn server_config(store: Arc<Certificates>) -> Result<Arc<ServerConfig>, rustls::Error> {
    configured(store, WebPkiClientVerifier::no_client_auth())
}

/// The same, asking clients for a certificate of an authority in the PEM file `client_ca_file`. Clients may go
/// without one; a handshake with a bad one fails.
///
/// # Errors
/// When the file holds no certificate that could be an authority's, or as [`server_config`].
pub fn server_config_asking_clients(store: Arc<Certificates>, client_ca_file: &Path) -> Result<Arc<ServerConfig>, TrustError> {
    let bad = |reason: String| TrustError::File { path: client_ca_file.to_owned(), reason };
    let mut roots = RootCertStore::empty();
    add_file(&mut roots, client_ca_file).map_err(bad)?;
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider()).allow_unauthenticated().build();
    let verifier = verifier.map_err(|error| bad(error.to_string()))?;
    configured(store, verifier).map_err(|error| TrustError::Verifier(error.to_string()))
}

fn configured(store: Arc<Certificates>, clients: Arc<dyn ClientCertVerifier>) -> Result<Arc<ServerConfig>, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .with_client_cert_verifier(clients)
        .with_cert_resolver(store);
    config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new()?;
    config.send_tls13_tickets = 1;
    Ok(Arc::new(config))
}

/// The one cryptographic library of the tree.
pub(super) fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// Takes part in a handshake as the server. Bounding its time is the caller's business.
///
/// # Errors
/// When the peer does not agree or goes away.
pub async fn accept(config: Arc<ServerConfig>, socket: Socket) -> io::Result<(Socket, Tls)> {
    let acceptor = TlsAcceptor::from(config);
    match socket {
        Socket::Plain(stream) => {
            let stream = acceptor.accept(stream).await?;
            let tls = server_facts(stream.get_ref().1);
            Ok((Socket::Tls(Box::new(stream.into())), tls))
        }
        other => {
            let stream = acceptor.accept(other).await?;
            let tls = server_facts(stream.get_ref().1);
            Ok((Socket::any(stream), tls))
        }
    }
}

fn server_facts(connection: &rustls::ServerConnection) -> Tls {
    let exporter = connection.export_keying_material([0; 32], EXPORTER_LABEL, None).ok();
    let server_name = connection.server_name().map(|name| name.trim_end_matches('.').to_ascii_lowercase());
    let facts = facts(connection, exporter);
    // A certificate that does not verify ends the handshake: one that is here is good.
    let client_addresses = facts.peer_certificate.as_deref().map(client_addresses).unwrap_or_default();
    Tls { server_name, verified: facts.peer_certificate.is_some(), client_addresses, ..facts }
}

pub(super) fn client_facts(connection: &rustls::ClientConnection) -> Tls {
    facts(connection, connection.export_keying_material([0; 32], EXPORTER_LABEL, None).ok())
}

fn facts(connection: &CommonState, exporter: Option<[u8; 32]>) -> Tls {
    let tls13 = connection.protocol_version() == Some(rustls::ProtocolVersion::TLSv1_3);
    Tls {
        version: if tls13 { "TLSv1.3" } else { "TLSv1.2" }.to_owned(),
        cipher: connection.negotiated_cipher_suite().map(|suite| format!("{:?}", suite.suite())).unwrap_or_default(),
        server_name: None,
        // RFC 9266 §4.2: not for TLS 1.2 without the extended master secret; we offer it with 1.3 only.
        exporter: exporter.filter(|_| tls13),
        peer_certificate: connection.peer_certificates().and_then(|chain| chain.first()).map(|certificate| certificate.to_vec()),
        verified: false,
        client_addresses: Vec::new(),
    }
}
