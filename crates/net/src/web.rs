//! Hands a document to a web server that the operator names, and takes its answer: HTTP, or HTTPS with a certificate that verifies.
//!
//! Not for other people's servers: that is `https`. One request per connection, no redirects, no cookies, no proxy.
//!
//! Invariants
//! - An answer's body is bounded in octets, the whole exchange in time.
//! - What a request is authorized with is not shown by Debug.

use crate::Endpoint;
use crate::https::{Answer, HttpsError, OURSELVES, broken, over};
use crate::tls;
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue, USER_AGENT};
use hyper::{Method, Request};
use rustls_pki_types::ServerName;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;
use tokio::time::timeout;

/// Where a document is handed to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    /// Whether the connection is encrypted.
    pub tls: bool,
    /// The server.
    pub endpoint: Endpoint,
    /// Path and query, beginning with `/`.
    pub path: String,
    host: String,
}

/// What a [`Url`] looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected \"http://HOST[:PORT]/PATH\" or \"https://HOST[:PORT]/PATH\"")]
pub struct NotAUrl;

impl FromStr for Url {
    type Err = NotAUrl;

    fn from_str(text: &str) -> Result<Self, NotAUrl> {
        let (tls, rest) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
            (Some(rest), _) => (true, rest),
            (None, Some(rest)) => (false, rest),
            (None, None) => return Err(NotAUrl),
        };
        let (authority, path) = rest.find('/').map_or((rest, "/"), |slash| rest.split_at(slash));
        let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| !port.contains(']'));
        let default = if tls { 443 } else { 80 };
        let address = if has_port { authority.to_owned() } else { format!("{authority}:{default}") };
        let printable = path.bytes().all(|octet| octet.is_ascii_graphic()) && !authority.contains('@');
        let endpoint = address.parse().ok().filter(|_| printable).ok_or(NotAUrl)?;
        Ok(Self { tls, endpoint, path: path.to_owned(), host: authority.to_owned() })
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http{}://{}{}", if self.tls { "s" } else { "" }, self.host, self.path)
    }
}

/// Hands documents to one server.
#[derive(Clone)]
pub struct Web {
    /// Where.
    pub url: Url,
    /// Verifies it; not needed without TLS.
    pub tls: Option<tls::Client>,
    /// The Authorization field.
    pub authorization: Option<String>,
    /// Longest body of an answer, octets.
    pub body_octets_max: usize,
    /// How long connecting may take, TLS included.
    pub connect_max: Duration,
    /// How long everything may take.
    pub exchange_max: Duration,
}

impl fmt::Debug for Web {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Web({}{})", self.url, if self.authorization.is_some() { ", authorized" } else { "" })
    }
}

impl Web {
    /// Hands over JSON. An answer that is not 200 is an answer, too.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn post_json(&self, body: Vec<u8>) -> Result<Answer, HttpsError> {
        let all = Box::pin(self.exchange(body));
        timeout(self.exchange_max, all).await.map_err(|_| HttpsError::Timeout(self.exchange_max))?
    }

    async fn exchange(&self, body: Vec<u8>) -> Result<Answer, HttpsError> {
        let connecting = Box::pin(self.connect());
        let socket = timeout(self.connect_max, connecting).await.map_err(|_| HttpsError::Timeout(self.connect_max))??;
        let mut request = Request::builder().method(Method::POST).uri(&self.url.path).header(HOST, &self.url.host);
        request = request.header(USER_AGENT, OURSELVES).header(CONTENT_TYPE, "application/json").header(ACCEPT, "application/json");
        if let Some(words) = &self.authorization {
            let mut value = HeaderValue::from_str(words).map_err(|error| broken(&error))?;
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        let request = request.body(Full::new(Bytes::from(body))).map_err(|error| broken(&error))?;
        over(socket, request, self.body_octets_max).await
    }

    async fn connect(&self) -> Result<crate::Socket, HttpsError> {
        let socket = self.url.endpoint.connect(self.connect_max).await.map_err(|error| HttpsError::Connect(error.to_string()))?;
        if !self.url.tls {
            return Ok(socket);
        }
        let (Some(tls), Endpoint::Tcp { host, .. }) = (&self.tls, &self.url.endpoint) else {
            return Err(HttpsError::Connect("TLS is not set up".to_owned()));
        };
        let name = ServerName::try_from(host.clone()).map_err(|error| HttpsError::Connect(error.to_string()))?;
        tls.connect(name, socket).await.map(|(socket, _)| socket).map_err(HttpsError::Tls)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    #[test]
    fn urls_are_read() {
        for (text, want) in [
            ("http://127.0.0.1:8080/hook", Some("127.0.0.1:8080 /hook false")),
            ("https://hooks.example.org", Some("hooks.example.org:443 / true")),
            ("http://[::1]/x?y=z", Some("[::1]:80 /x?y=z false")),
            ("ftp://h/", None),
            ("http://", None),
            ("http://user@h/", None),
            ("http://h:0/", None),
            ("http://h/a b", None),
        ] {
            let read = text.parse::<Url>().ok().map(|url| format!("{} {} {}", url.endpoint, url.path, url.tls));
            assert_eq!(read.as_deref(), want, "{text}");
        }
    }

    async fn answered(answer: &'static str, body_octets_max: usize) -> (Result<Answer, HttpsError>, String) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap()).parse().unwrap();
        let (connect_max, exchange_max) = (Duration::from_secs(5), Duration::from_secs(5));
        let web = Web { url, tls: None, authorization: Some("Bearer t0ken".to_owned()), body_octets_max, connect_max, exchange_max };
        assert!(!format!("{web:?}").contains("t0ken"));
        let serve = async {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut heard = Vec::new();
            while !heard.ends_with(b"{}") {
                assert_ne!(socket.read_buf(&mut heard).await.unwrap(), 0);
            }
            socket.write_all(answer.as_bytes()).await.unwrap();
            String::from_utf8(heard).unwrap().to_ascii_lowercase()
        };
        tokio::join!(web.post_json(b"{}".to_vec()), serve)
    }

    #[tokio::test]
    async fn documents_are_handed_over() {
        let (answer, heard) = answered("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 4\r\n\r\n[1] ", 10).await;
        assert_eq!(answer.unwrap(), Answer { status: 200, media_type: "application/json".to_owned(), body: b"[1] ".to_vec() });
        assert!(heard.starts_with("post /hook http/1.1\r\n") && heard.contains("authorization: bearer t0ken\r\n"), "{heard}");
    }

    #[tokio::test]
    async fn long_answers_are_not_read() {
        let (answer, _) = answered("HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n01234567890", 10).await;
        assert!(matches!(answer, Err(HttpsError::TooLong(10))), "{answer:?}");
    }
}
