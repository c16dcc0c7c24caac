//! Fetches a small document over HTTPS, or hands one over.
//!
//! Not a browser: no redirects, no cookies, no compression, no proxy, one request per connection. The
//! certificate must verify for the host's name.
//!
//! Invariants
//! - An answer's body is bounded in octets, the whole exchange in time.

use crate::dial::Dial;
use crate::resolve::Dns;
use crate::tls;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HOST, USER_AGENT};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use mail::Domain;
use rustls_pki_types::ServerName;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// Most addresses of a host that are tried. Our own bound.
const ADDRESSES_MAX: usize = 4;

/// Every bound of an exchange.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Longest body of an answer, octets. Default 64 KiB (RFC 8461 §3.2).
    pub body_octets_max: usize,
    /// How long connecting to one address may take. Default 10 seconds.
    pub connect_max: Duration,
    /// How long everything may take. Default 1 minute (RFC 8461 §3.3).
    pub exchange_max: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { body_octets_max: 64 * 1024, connect_max: Duration::from_secs(10), exchange_max: Duration::from_mins(1) }
    }
}

/// What to ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// Whose server; its certificate must be for this name.
    pub host: Domain,
    /// Its port, 443 as a rule.
    pub port: u16,
    /// Path and query, beginning with `/`.
    pub path: String,
}

impl Address {
    /// Reads `https://host[:port]/path`; anything else is `None`.
    pub fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_at_checked("https://".len())?;
        let rest = scheme.eq_ignore_ascii_case("https://").then_some(rest)?;
        let (authority, path) = rest.find('/').map_or((rest, "/"), |slash| rest.split_at(slash));
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, port.parse().ok()?),
            _ => (authority, 443),
        };
        let printable = path.bytes().all(|octet| octet.is_ascii_graphic());
        (printable && port != 0).then_some(())?;
        Some(Self { host: Domain::parse(host).ok()?, port, path: path.to_owned() })
    }

    fn authority(&self) -> String {
        if self.port == 443 { self.host.to_string() } else { format!("{}:{}", self.host, self.port) }
    }
}

/// What a server answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status, 200 and so on.
    pub status: u16,
    /// The media type without its parameters, in lower case; empty if there was none.
    pub media_type: String,
    /// The body.
    pub body: Vec<u8>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpsError {
    /// The name has no address, or there is no answer about it.
    #[error("no address of the server: {0}")]
    Dns(#[source] crate::resolve::DnsError),
    /// No address could be connected to.
    #[error("no connection: {0}")]
    Connect(String),
    /// The certificate did not verify, or TLS failed otherwise.
    #[error("TLS: {0}")]
    Tls(#[source] io::Error),
    /// The server broke the protocol, or went away.
    #[error("HTTP: {0}")]
    Http(String),
    /// The body was too long.
    #[error("the answer is longer than {0} octets")]
    TooLong(usize),
    /// The whole took too long.
    #[error("no answer in {} s", .0.as_secs())]
    Timeout(Duration),
}

/// Makes exchanges.
#[derive(Clone)]
pub struct Https {
    /// Finds the server.
    pub dns: Arc<dyn Dns>,
    /// Connects to it.
    pub dial: Arc<dyn Dial>,
    /// Verifies it.
    pub tls: tls::Client,
    /// Every bound.
    pub limits: Limits,
}

impl Https {
    /// Fetches a document. An answer that is not 200 is an answer, too; a redirect is not followed.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn get(&self, address: &Address) -> Result<Answer, HttpsError> {
        self.bounded(address, Method::GET, None, Vec::new()).await
    }

    /// Hands over a document of a media type.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn post(&self, address: &Address, media_type: &'static str, body: Vec<u8>) -> Result<Answer, HttpsError> {
        self.bounded(address, Method::POST, Some(media_type), body).await
    }

    async fn bounded(
        &self,
        address: &Address,
        method: Method,
        media_type: Option<&'static str>,
        body: Vec<u8>,
    ) -> Result<Answer, HttpsError> {
        let all = Box::pin(self.exchange(address, method, media_type, body));
        timeout(self.limits.exchange_max, all).await.map_err(|_| HttpsError::Timeout(self.limits.exchange_max))?
    }

    async fn exchange(
        &self,
        address: &Address,
        method: Method,
        media_type: Option<&'static str>,
        body: Vec<u8>,
    ) -> Result<Answer, HttpsError> {
        let socket = self.connect(address).await?;
        let mut request = Request::builder().method(method).uri(&address.path).header(HOST, address.authority());
        request = request.header(USER_AGENT, OURSELVES);
        if let Some(media_type) = media_type {
            request = request.header(CONTENT_TYPE, media_type);
        }
        let request = request.body(Full::new(Bytes::from(body))).map_err(|error| broken(&error))?;
        over(socket, request, self.limits.body_octets_max).await
    }

    async fn connect(&self, address: &Address) -> Result<crate::Socket, HttpsError> {
        let addresses = self.dns.addresses(&address.host).await.map_err(HttpsError::Dns)?;
        let name = match address.host.ip() {
            Some(ip) => ServerName::IpAddress(ip.into()),
            None => ServerName::try_from(address.host.as_str().to_owned()).map_err(|error| HttpsError::Connect(error.to_string()))?,
        };
        let mut last = "there is no address to try".to_owned();
        for ip in addresses.into_iter().take(ADDRESSES_MAX) {
            match self.dial.connect(SocketAddr::new(ip, address.port), None, self.limits.connect_max).await {
                Ok(socket) => return self.tls.connect(name, socket).await.map(|(socket, _)| socket).map_err(HttpsError::Tls),
                Err(error) => last = error.to_string(),
            }
        }
        Err(HttpsError::Connect(last))
    }
}

/// What we call ourselves.
pub(crate) const OURSELVES: &str = concat!("Postrider/", env!("CARGO_PKG_VERSION"));

/// Makes one request over a connection of its own.
pub(crate) async fn over(socket: crate::Socket, request: Request<Full<Bytes>>, octets_max: usize) -> Result<Answer, HttpsError> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(socket)).await.map_err(|error| broken(&error))?;
    let answering = async {
        let answer = sender.send_request(request).await.map_err(|error| broken(&error))?;
        let status = answer.status().as_u16();
        let media_type = answer.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).map(media_type_of).unwrap_or_default();
        let body = Limited::new(answer.into_body(), octets_max).collect().await;
        let body = body.map_err(|error| {
            let too_long = error.is::<http_body_util::LengthLimitError>();
            if too_long { HttpsError::TooLong(octets_max) } else { broken(error.as_ref()) }
        })?;
        Ok(Answer { status, media_type, body: body.to_bytes().to_vec() })
    };
    tokio::pin!(connection);
    tokio::pin!(answering);
    tokio::select! {
        biased;
        answer = &mut answering => answer,
        ended = &mut connection => match ended {
            Ok(()) => answering.await,
            Err(error) => Err(broken(&error)),
        },
    }
}

pub(crate) fn broken(error: &dyn std::error::Error) -> HttpsError {
    HttpsError::Http(with_causes(error))
}

/// An error and what caused it, in one line.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        words.extend([": ", &error.to_string()]);
        cause = error.source();
    }
    words
}

fn media_type_of(value: &str) -> String {
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read() {
        let read = |text: &str| Address::parse(text).map(|a| format!("{} {} {}", a.host, a.port, a.path));
        for (text, want) in [
            ("https://reports.example.org/v1?x=1", Some("reports.example.org 443 /v1?x=1")),
            ("HTTPS://reports.example.org", Some("reports.example.org 443 /")),
            ("https://reports.example.org:8443/", Some("reports.example.org 8443 /")),
            ("http://reports.example.org/", None),
            ("https:///x", None),
            ("https://user@host/", None),
            ("https://host:0/", None),
            ("https://host:x/", None),
            ("https://host/a b", None),
            ("mailto:a@b", None),
        ] {
            assert_eq!(read(text).as_deref(), want, "{text}");
        }
    }

    #[test]
    fn media_types_are_read_without_parameters() {
        assert_eq!(media_type_of("Text/Plain; charset=utf-8"), "text/plain");
    }
}
