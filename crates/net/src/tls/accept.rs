//! The server's side of a handshake.

use super::Certificates;
use crate::socket::Socket;
use rustls::{CommonState, ServerConfig};
use std::io;
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
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .with_no_client_auth()
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
    Tls { server_name, ..facts(connection, exporter) }
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
    }
}
