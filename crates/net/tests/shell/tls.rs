//! Handshakes in the middle of a connection, and whom they trust.

use crate::toy::{Answers, Client as ToyClient, Heard, Toy};
use net::drive::{DriveError, End, Shell, Upgrade, drive};
use net::tls::{Certificates, Client, Pair, Trust, self_signed, server_config};
use net::{Clock, SystemClock};
use rustls_pki_types::ServerName;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;
use tokio::io::duplex;
use tokio::net::{TcpListener, TcpStream};

fn pair(folder: &Path, name: &str) -> Pair {
    let pair =
        Pair { certificate: folder.join(format!("{name}.crt")), key: folder.join(format!("{name}.key")), names: vec![name.to_owned()] };
    self_signed(&pair.certificate, &pair.key, &[name.to_owned()]).unwrap();
    pair
}

fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock)
}

/// What the client hears when it upgrades and asks for `name`.
async fn upgraded(
    certificates: Arc<Certificates>,
    client: Client,
    name: &str,
) -> (Vec<String>, Result<End, DriveError>, Result<End, DriveError>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let (a, b) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
    let heard = Heard::default();
    let now = clock().now();
    let upgrade = Upgrade::Client(client, ServerName::try_from(name.to_owned()).unwrap());
    let client = drive(ToyClient::new(now, &["TLS", "WHO", "QUIT"]), heard.clone(), a.unwrap(), upgrade, Shell::new(clock()));
    let config = Some(server_config(certificates).unwrap());
    let server = drive(Toy::new(now), Answers::default(), b.unwrap().0, config, Shell::new(clock()));
    let (client, server) = tokio::join!(client, server);
    let heard = heard.0.lock().unwrap().clone();
    (heard, client, server)
}

#[tokio::test]
async fn both_sides_start_tls_in_the_middle() {
    let folder = TempDir::new().unwrap();
    let pair = pair(folder.path(), "mx.example");
    let certificates = Certificates::load(&pair, &[]).unwrap();
    let verified = Client::verified(Trust::only(&pair.certificate).unwrap()).unwrap();
    let (heard, client, server) = upgraded(certificates, verified, "mx.example").await;
    assert_eq!(heard, ["hello", "verified true", "TLSv1.3 Some(\"mx.example\") true", "bye"]);
    client.unwrap();
    server.unwrap();
}

#[tokio::test]
async fn opportunistic_tls_goes_on_and_says_so_verified_tls_refuses() {
    let folder = TempDir::new().unwrap();
    let (ours, other) = (pair(folder.path(), "mx.example"), pair(folder.path(), "other.example"));
    let certificates = Certificates::load(&ours, &[]).unwrap();
    let trust = Trust::only(&other.certificate).unwrap();
    let (heard, ..) = upgraded(Arc::clone(&certificates), Client::opportunistic(trust.clone()).unwrap(), "mx.example").await;
    assert_eq!(heard.get(1).unwrap(), "verified false");
    let (heard, client, server) = upgraded(Arc::clone(&certificates), Client::verified(trust).unwrap(), "mx.example").await;
    assert_eq!(heard, ["hello"]);
    assert!(matches!(client, Err(DriveError::Handshake(_))), "{client:?}");
    assert!(server.is_err());
    // The right authority, the wrong name.
    let trust = Trust::only(&ours.certificate).unwrap();
    let (heard, ..) = upgraded(certificates, Client::opportunistic(trust).unwrap(), "wrong.example").await;
    assert_eq!(heard.get(1).unwrap(), "verified false");
}

#[tokio::test]
async fn tls_runs_over_any_stream() {
    let folder = TempDir::new().unwrap();
    let pair = pair(folder.path(), "mx.example");
    let config = server_config(Certificates::load(&pair, &[]).unwrap()).unwrap();
    let client = Client::opportunistic(Trust::only(&pair.certificate).unwrap()).unwrap();
    let (a, b) = duplex(512);
    let name = ServerName::try_from("mx.example").unwrap();
    let (a, b) = tokio::join!(client.connect(name, a.into()), net::tls::accept(config, b.into()));
    let (a, b) = (a.unwrap().1, b.unwrap().1);
    assert_eq!(a.exporter, b.exporter);
    assert!(a.verified && !b.verified);
    assert_eq!(a.cipher, b.cipher);
    assert!(a.cipher.starts_with("TLS13_"), "{}", a.cipher);
    assert!(a.peer_certificate.is_some() && b.peer_certificate.is_none());
}

#[tokio::test]
async fn the_certificate_follows_the_name_and_can_be_swapped() {
    let folder = TempDir::new().unwrap();
    let (first, second, third) = (pair(folder.path(), "a.example"), pair(folder.path(), "b.example"), pair(folder.path(), "c.example"));
    let certificates = Certificates::load(&first, std::slice::from_ref(&second)).unwrap();
    let shown = async |authority: &Pair, name: &str| {
        let client = Client::opportunistic(Trust::only(&authority.certificate).unwrap()).unwrap();
        upgraded(Arc::clone(&certificates), client, name).await.0.get(1).cloned().unwrap()
    };
    assert_eq!(shown(&first, "a.example").await, "verified true");
    assert_eq!(shown(&second, "b.example").await, "verified true");
    assert_eq!(shown(&third, "c.example").await, "verified false");
    certificates.reload(&third, &[]).unwrap();
    assert_eq!(shown(&third, "c.example").await, "verified true");
    assert_eq!(shown(&second, "b.example").await, "verified false");
    let missing = Pair { key: folder.path().join("none.key"), ..first };
    certificates.reload(&missing, &[]).unwrap_err();
    assert_eq!(shown(&third, "c.example").await, "verified true");
}

#[test]
fn what_is_wrong_with_a_certificate_is_said_with_its_file() {
    let folder = TempDir::new().unwrap();
    let (one, two) = (pair(folder.path(), "a.example"), pair(folder.path(), "b.example"));
    let empty = folder.path().join("empty.pem");
    std::fs::write(&empty, "nothing").unwrap();
    for (certificate, key, want) in [
        (&one.certificate, &two.key, "b.example.key: this key does not belong to the certificate in"),
        (&one.key, &one.key, "a.example.key: no certificate in it"),
        (&empty, &one.key, "empty.pem: no certificate in it"),
        (&one.certificate, &empty, "empty.pem: no private key in it"),
        (&one.certificate, &folder.path().join("gone"), "gone: No such file"),
    ] {
        let pair = Pair { certificate: certificate.clone(), key: key.clone(), names: Vec::new() };
        let error = Certificates::load(&pair, &[]).unwrap_err().to_string();
        assert!(error.contains(want), "{error}");
    }
    assert!(Trust::only(&empty).unwrap_err().to_string().contains("empty.pem: no certificate in it"));
}

#[test]
fn the_first_certificate_is_made_once_and_its_key_is_private() {
    let folder = TempDir::new().unwrap();
    let made = pair(folder.path(), "mx.example");
    let key = std::fs::read(&made.key).unwrap();
    assert_eq!(std::fs::metadata(&made.key).unwrap().permissions().mode() & 0o777, 0o600);
    pair(folder.path(), "mx.example");
    assert_eq!(std::fs::read(&made.key).unwrap(), key);
    self_signed(&folder.path().join("ip.crt"), &folder.path().join("ip.key"), &["127.0.0.1".to_owned(), "::1".to_owned()]).unwrap();
}

/// What the server learns of a client that shows `shown`, or why there was no handshake.
async fn greeted(asking: Arc<rustls::ServerConfig>, trusted: &Pair, shown: Option<&Pair>) -> std::io::Result<wire::Tls> {
    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    use tokio::io::AsyncReadExt as _;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&trusted.certificate).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let client =
        rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap().with_root_certificates(roots);
    let client = match shown {
        None => client.with_no_client_auth(),
        Some(pair) => {
            let chain = vec![CertificateDer::from_pem_file(&pair.certificate).unwrap()];
            client.with_client_auth_cert(chain, PrivateKeyDer::from_pem_file(&pair.key).unwrap()).unwrap()
        }
    };
    let (a, b) = duplex(64 * 1024);
    let connector = tokio_rustls::TlsConnector::from(Arc::new(client));
    let connected = async move {
        let mut stream = connector.connect(ServerName::try_from("mx.example").unwrap(), a).await?;
        // With TLS 1.3 the client's side is done before its certificate is judged.
        stream.read_u8().await
    };
    let (accepted, _) = tokio::join!(
        async {
            let (socket, tls) = net::tls::accept(asking, net::Socket::any(b)).await?;
            drop(socket);
            Ok(tls)
        },
        connected
    );
    accepted
}

/// A self-signed certificate of a client, which is its own authority.
fn client_pair(folder: &Path, address: &str) -> Pair {
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.subject_alt_names.push(rcgen::SanType::Rfc822Name(address.try_into().unwrap()));
    params.extended_key_usages.push(rcgen::ExtendedKeyUsagePurpose::ClientAuth);
    let key = rcgen::KeyPair::generate().unwrap();
    let pair = Pair { certificate: folder.join(format!("{address}.crt")), key: folder.join(format!("{address}.key")), names: Vec::new() };
    std::fs::write(&pair.certificate, params.self_signed(&key).unwrap().pem()).unwrap();
    std::fs::write(&pair.key, key.serialize_pem()).unwrap();
    pair
}

#[tokio::test]
async fn clients_are_known_by_certificates_of_the_named_authority_only() {
    let folder = TempDir::new().unwrap();
    let ours = pair(folder.path(), "mx.example");
    let (ann, eve) = (client_pair(folder.path(), "ann@example.org"), client_pair(folder.path(), "eve@example.org"));
    let certificates = Certificates::load(&ours, &[]).unwrap();
    let asking = net::tls::server_config_asking_clients(Arc::clone(&certificates), &ann.certificate).unwrap();
    let known = greeted(Arc::clone(&asking), &ours, Some(&ann)).await.unwrap();
    assert_eq!((known.verified, known.client_addresses), (true, vec!["ann@example.org".to_owned()]));
    let unknown = greeted(Arc::clone(&asking), &ours, None).await.unwrap();
    assert_eq!((unknown.verified, unknown.client_addresses), (false, Vec::new()));
    greeted(asking, &ours, Some(&eve)).await.unwrap_err();
    // Where no authority is named, no certificate is asked for, and none is seen.
    let unasked = greeted(server_config(Arc::clone(&certificates)).unwrap(), &ours, Some(&ann)).await.unwrap();
    assert_eq!((unasked.verified, unasked.peer_certificate), (false, None));
    let none = net::tls::server_config_asking_clients(certificates, &ann.key).unwrap_err();
    assert!(none.to_string().ends_with("no certificate in it"), "{none}");
}
